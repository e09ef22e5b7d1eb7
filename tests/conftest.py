"""What every test may ask for (the folder of recorded data, where there is one), and what every test is held to."""

import os
from pathlib import Path

import hypothesis
import pytest
from tests.checks.fast import Fast
from tests.checks.properties import Properties
from tests.checks.skips import Skips

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def example_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of invented days that comes with the package: a storm, a calm week, a clock change."""
    from tieline.feeds.days.example import write_example

    folder = tmp_path_factory.mktemp("example") / "days"
    write_example(folder)
    return folder


@pytest.fixture(scope="session")
def more_data() -> Path | None:
    """Folder of recorded market, weather and demand data where there is one, for a test that has figures of its own and
    takes those there beside them: no test needs it."""
    folder = Path(os.environ.get("TIELINE_DATA", ROOT.parent / "shared" / "data"))
    return folder if (folder / "README.md").exists() else None


# Under --fast a property is tried this often: enough to see that it holds at all.
FAST_EXAMPLES = 15


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fast", action="store_true", help="only tests that start no process, open no socket and wait for nothing"
    )


# How long an example takes says how busy the machine is, not whether the code is right.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.register_profile("fast", deadline=None, max_examples=FAST_EXAMPLES)
# `make mutants`: the same examples for each mutant, and no search for the smallest one that tells it apart.
hypothesis.settings.register_profile(
    "mutants",
    derandomize=True,
    database=None,
    max_examples=60,
    deadline=None,
    phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Properties())
    config.pluginmanager.register(Skips())
    if config.getoption("--fast"):
        config.pluginmanager.register(Fast())
        hypothesis.settings.load_profile("fast")
    elif not config.getoption("--hypothesis-profile"):
        hypothesis.settings.load_profile("patient")

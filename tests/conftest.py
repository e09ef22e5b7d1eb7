"""What every test may ask for (the folder of recorded data, where there is one), and which tests are fast."""

import os
import re
import socket
import subprocess
from pathlib import Path

import hypothesis
import pytest
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
def shared_data() -> Path:
    """Folder of recorded market, weather and demand data; the test is skipped, with the reason, without it."""
    folder = Path(os.environ.get("TIELINE_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "README.md").exists():
        pytest.skip(f"no recorded data at {folder} (set TIELINE_DATA to a folder that has it)")
    return folder


# What a test module names when it starts something: a process, a socket, a browser, an engine, or waits for real.
_STARTS = re.compile(
    r"subprocess|create_server|open_connection|playwright|TestClient|uvicorn|asyncio\.sleep|time\.sleep|"
    r"tests\.(gateway\.(rig|engines|processes)|system|edge\.)|LuxOs|FakeRigs|NatsLink|httpserver|HTTPServer|socket\.|"
    r"threading\.Thread|feeds\.choose|app\.up|test_life|CliRunner\(\)\.invoke\(.*up|Popen|nats|edgar_server|nginx"
)
# Start nothing, and take seconds all the same.
_SLOW = {"test_replay_days.py", "test_promises_played.py", "test_paging.py", "test_forecast.py"}
# Under --fast a property is tried this often: enough to see that it holds at all.
FAST_EXAMPLES = 15


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fast", action="store_true", help="only tests that start no process, open no socket and wait for nothing"
    )


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
        hypothesis.settings.register_profile("fast", max_examples=FAST_EXAMPLES)
        hypothesis.settings.load_profile("fast")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --fast, leave out what starts something, by what its module and its folder's conftest name."""
    if not config.getoption("--fast"):
        return
    starts: dict[Path, bool] = {}
    left_in, left_out = [], []
    for item in items:
        path = item.path
        if path not in starts:
            text = path.read_text(encoding="utf-8")
            starts[path] = path.name in _SLOW or bool(_STARTS.search(text))
        slow = item.get_closest_marker("slow") or item.get_closest_marker("system")
        (left_out if starts[path] or slow else left_in).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = left_in


@pytest.fixture(autouse=True)
def _nothing_starts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under --fast a test that was wrongly let in fails where it opens a socket or starts a process."""
    if not request.config.getoption("--fast"):
        return

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a fast test opens no socket and starts no process")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "bind", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)

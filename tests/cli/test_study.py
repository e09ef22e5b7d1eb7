"""`tieline study` as somebody types it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from tests.study.ground import alternative, surfaces, text

from tieline.cli import main


def run(*words: object, given: str | None = None) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["study", *[str(word) for word in words]], input=given)
    return done.exit_code, done.output


def test_the_example_is_printed_and_a_mistake_is_one_line(tmp_path: Path) -> None:
    code, said = run("example")
    assert (code, said.startswith("# A study on invented ground")) == (0, True)
    code, said = run("-", given=said.replace("utilisation]\nstart = 0.62", "utilisation]\nstart = 62.0"))
    assert code == 2
    assert "<stdin>:" in said
    assert "write 95 % as 0.95" in said
    code, said = run(tmp_path / "nothing.toml")
    assert (code, "cannot be read" in said) == (2, True)


def test_a_study_is_written_as_four_files_and_says_that_paths_are_assumed(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    import tieline.study.surface

    monkeypatch.setattr(tieline.study.surface, "build", lambda *given: surfaces())
    file = tmp_path / "study.toml"
    file.write_text(text(months=24, paths=10, volatility=0.2))
    shown = ("--show", tmp_path / "data")
    code, said = run(file, "--out", tmp_path / "out", "--cache", tmp_path / "cache", "--json", *shown)
    assert code == 0, said
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"report.md", "report.json", "report.csv", "report.html", "paths.csv"}
    whole = json.loads((tmp_path / "out" / "report.json").read_text())
    assert whole["plans"][0]["name"] == "keep"
    assert "Paths are assumed, not forecast." in (tmp_path / "out" / "report.html").read_text()
    assert (tmp_path / "out" / "report.csv").read_text().count("\n") == 25
    assert (tmp_path / "data" / "studies" / "on-paper" / "report.html").exists()


# What a study runs on, and nothing that is light may load.
HEAVY = {"numpy", "joblib", "distributed", "dask", "pandas", "scipy", "pyarrow", "highspy"}


@pytest.mark.parametrize(
    "does",
    [
        "import tieline",
        "from tieline.cli import main; main(['--help'], standalone_mode=False)",
        "from tieline.cli import main; main(['study', '--help'], standalone_mode=False)",
        "from tieline.cli import main; main(['study', 'example'], standalone_mode=False)",
    ],
)
def test_a_light_install_loads_none_of_it(does: str, tmp_path: Path) -> None:
    script = f"import sys\n{does}\nprint('LOADED', *sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.rsplit("LOADED", 1)[1].split()
    assert not {name.partition(".")[0] for name in loaded} & HEAVY
    if "example" not in does:
        reads = {"tieline.study", "tieline.study.file", "tieline.study.reading", "tieline.study.checks"}
        study = {name for name in loaded if name.startswith("tieline.study")}
        assert study <= (reads if "study" in does else set())


def test_a_light_install_says_what_a_run_needs(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "for name in ('numpy', 'joblib'): sys.modules[name] = None\n"
        "from tieline.cli import main\n"
        "from tieline.study.reading import example_text\n"
        "import io; sys.stdin = io.StringIO(example_text())\n"
        "main(['study', '-'])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "Error: a study that is run needs numpy; pip install 'tieline[platform]'\n"


def reckoned(file: Path, given: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[str]]:
    import tieline.study.surface

    monkeypatch.setattr(tieline.study.surface, "build", lambda *given: surfaces())
    file.write_text(given)
    done = CliRunner().invoke(main, ["study", str(file), "--cache", str(cache), "--json"])
    return done.exit_code, done.stderr.splitlines()


BUYS = 'kind = "gpu"\nmw = 10.0\nstart = "2026-01"\nusd_per_node = 2.5e5\nshell_usd_per_mw = 4e6\n'
GIVES = 'kind = "sell"\nstart = "2026-02"\nsale_usd = 0.0\n'
DOES = '\n[[plan]]\nname = "do"\ndoes = ["it"]\n'


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (
            text(alternative(GIVES), months=24, paths=5) + DOES,
            0,
            r":\d+: plan\[2\]\.does: no path has an internal rate: .+; judge",
        ),
        (
            text(alternative(BUYS), months=24, paths=5) + DOES,
            0,
            r":\d+: money\.opening_cash_usd: every path of 'do' runs out of cash, the first in 2026-01; have .+ more",
        ),
        (
            text(months=24, paths=5).replace("[money]", "[money]\nfixed_usd_per_month = 1e8"),
            1,
            r":\d+: plan\[1\]: No plan has the cash it needs: keep.*runs out of cash on 100% of the paths.*; write",
        ),
        (
            text(months=24, paths=5).replace(
                "[assume]",
                '[assume]\ncorrelations = [["btc_usd", "power", 0.9], ["power", "difficulty", 0.9], '
                '["btc_usd", "difficulty", -0.9]]',
                1,
            ),
            2,
            r":\d+: assume\.correlations: these cannot hold together: .+; make them smaller",
        ),
    ],
)
def test_what_only_the_paths_show_is_one_line_with_its_remedy(
    given: str, code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "study.toml"
    found, said = reckoned(file, given, tmp_path / "cache", monkeypatch)
    assert found == code, said
    (line,) = [line for line in said if re.search(words, line)]
    assert str(file) in line


def test_several_internal_rates_are_said_with_where_and_what_to_do(tmp_path: Path) -> None:
    from tieline.study.reading import loads
    from tieline.study.report import complaints
    from tieline.study.results import summarise
    from tieline.study.sweep import run as sweep

    one = loads(text(alternative(BUYS), months=24, paths=5) + DOES)
    paths = sweep(one, surfaces(), tmp_path)
    results = summarise(one, surfaces(), paths)
    twice = msgspec.structs.replace(results.plans[1], several_rates_share=0.25, runs_out_share=0.0)
    (said,) = complaints(msgspec.structs.replace(results, plans=(results.plans[0], twice)))
    assert (said.path, said.problem) == (("plan", 1, "does"), "25.0% of paths have several internal rates")
    assert said.fix

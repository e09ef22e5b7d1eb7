"""The report says what was measured, needs nothing from elsewhere, and is the same each time."""

import csv
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.backtest.worlds import trouble, world

from tieline.backtest.bounds import bounds
from tieline.backtest.page import page
from tieline.backtest.report import best_rule, flat, to_csv, to_figures, to_markdown
from tieline.backtest.run import PERFECT, Numbers, ScenarioResult, Task, ablations, chosen, in_parallel, scarcity_days
from tieline.cli import main
from tieline.dispatch import Settings

NUMBERS = Numbers(80.0, (70.0, 0.3), 80.0)


@pytest.fixture(scope="module")
def result() -> ScenarioResult:
    made = world(7, hours=8, events=trouble())
    task = Task(made, Settings(reach=made.reach), 900, scarcity_days(made))
    rows = in_parallel(task, chosen(NUMBERS), 1, lambda what, done, of: None)
    cut = in_parallel(task, ablations()[:2], 1, lambda what, done, of: None)
    found = bounds(made, task.settings, 900, simple=False)
    out = ("x-1 (no price of <NOWHERE>)",)
    return ScenarioResult("B", rows, found, NUMBERS.words(), out, task.scarce, ("days",), ablations=cut)


class Tags(HTMLParser):
    """Every element opened and closed in order, every attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "line", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_page_stands_alone(result: ScenarioResult) -> None:
    found = Tags()
    found.feed(page([result]))
    assert found.open == []
    assert found.seen.count("svg") == 3
    assert "script" not in found.seen
    assert "link" not in found.seen
    assert not [value for name, value in found.attributes if name in ("src", "href")]
    assert "url(" not in page([result])
    words = " ".join(found.words)
    for row in result.rows:
        assert row.policy in words
    assert "<NOWHERE>" in words, "a name from a folder is shown as text, never as markup"


def test_every_row_and_bound_is_in_the_csv(result: ScenarioResult) -> None:
    lines = list(csv.DictReader(io.StringIO(to_csv([result]))))
    assert [line["policy"] for line in lines[: len(result.rows)]] == [row.policy for row in result.rows]
    assert len(lines) == len(result.rows) + 2
    for line, row in zip(lines, result.rows, strict=False):
        assert float(line["net_usd"]) == pytest.approx(row.tally.net, abs=0.01)
        parts = sum(float(line[f"{p}_usd"]) for p in ("mining", "inference", "reserves"))
        costs = sum(float(line[f"{p}_usd"]) for p in ("power", "wear", "peaks", "penalties", "credits"))
        assert parts - costs == pytest.approx(row.tally.net, abs=0.05)


def test_markdown_names_the_best_rule_and_what_was_left_out(result: ScenarioResult) -> None:
    best, text = best_rule(result), to_markdown(result)
    assert best is not None
    assert best.policy not in ("Tieline", PERFECT)
    assert f"best rule here ({best.policy})" in text
    assert "x-1" in text
    assert "Infeasible" in text
    mine = result.row("Tieline")
    assert mine is not None
    assert flat(result, mine)["against_best_rule"] == round(mine.tally.net / best.tally.net - 1, 6)


def test_figures_are_plain_json(result: ScenarioResult) -> None:
    figures = json.loads(json.dumps(to_figures(result)))
    assert len(figures["rows"]) == len(result.rows)
    mine = result.row("Tieline")
    assert mine is not None
    for one, row in zip(figures["ablations"], result.ablations, strict=True):
        assert one["less_usd"] == pytest.approx(mine.tally.net - row.tally.net, abs=0.01)


def run(data: Path, out: Path, *more: str) -> str:
    args = ["backtest", "--data", str(data), "--out", str(out), *more]
    done = CliRunner().invoke(main, args, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.slow
def test_the_same_days_give_the_same_bytes_however_many_processes(example_days: Path, tmp_path: Path) -> None:
    days = ["--scenario", "B", "--from", "2025-09-16T18:00", "--to", "2025-09-17", "--no-ablations", "--set"]
    days += ["80,70,0.3,80"]
    said = run(example_days, tmp_path / "one", *days)
    run(example_days, tmp_path / "two", *days, "--jobs", "2")
    assert "Tieline, perfect forecasts" in said
    for name in ("report.md", "report.csv", "report.html", "report.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--from", "2023-01-01"], "give both --from and --to"),
        (["--from", "2023-01-02", "--to", "2023-01-01"], "--from before --to"),
        (["--set", "80,70"], "four numbers"),
        (["--policy", "hope", "--set", "80,70,0.3,80", "--from", "2025-10-01", "--to", "2025-10-02"], "no policy hope"),
    ],
)
def test_what_cannot_be_run_is_one_line(example_days: Path, args: list[str], words: str) -> None:
    done = CliRunner().invoke(main, ["backtest", "--data", str(example_days), *args])
    assert done.exit_code != 0
    assert words in done.output
    assert "Traceback" not in done.output


def test_a_folder_of_another_shape_is_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["backtest", "--data", str(tmp_path), "--set", "80,70,0.3,80"])
    assert done.exit_code != 0
    assert "sites.csv" in done.output

"""`tieline study` as somebody types it."""

import json
from pathlib import Path

from click.testing import CliRunner
from tests.study.ground import surfaces, text

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

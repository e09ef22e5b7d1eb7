"""One shape for all commands, read off the tree itself: exit codes, --json, did-you-mean, completion."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from tieline.cli import main
from tieline.cli.shape import NO_JSON


def leaves(group: click.Command = main, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(group, click.Group):
        yield path, group
        return
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield from leaves(command, (*path, name))


LEAVES = dict(leaves())
GROUPS = sorted({path[:n] for path in LEAVES for n in range(len(path))})


def run(*words: str, **more: Any) -> Result:
    return CliRunner().invoke(main, list(words), **more)


def names(paths: Any) -> list[str]:
    return [" ".join(path) or "tieline" for path in paths]


@pytest.mark.parametrize("path", LEAVES, ids=names(LEAVES))
def test_whatever_prints_also_prints_json(path: tuple[str, ...]) -> None:
    has = any("--json" in param.opts for param in LEAVES[path].params)
    assert has != (" ".join(path) in NO_JSON)


def test_what_has_no_json_is_a_command() -> None:
    assert set(NO_JSON) <= {" ".join(path) for path in LEAVES}


@pytest.mark.parametrize("path", LEAVES, ids=names(LEAVES))
def test_an_option_that_there_is_not_is_2(path: tuple[str, ...]) -> None:
    assert run(*path, "--no-such-option").exit_code == 2


@pytest.mark.parametrize("path", GROUPS, ids=names(GROUPS))
def test_a_misspelt_command_is_2_and_told_the_nearest(path: tuple[str, ...]) -> None:
    right = next(one[len(path)] for one in LEAVES if one[: len(path)] == path and len(one[len(path)]) > 3)
    said = run(*path, right[:-1] + "zz")
    assert said.exit_code == 2
    assert f"Did you mean {right}" in said.output, said.output


def folders() -> list[tuple[str, ...]]:
    """Commands that read a data folder and need nothing but words."""
    found = []
    for path, command in LEAVES.items():
        reads = any("--data-dir" in p.opts for p in command.params)
        words = all(not p.required or isinstance(p.type, click.types.StringParamType) for p in command.params)
        starts = path[0] in ("up", "down", "status", "join", "gateway", "agent", "books", "update", "treasury")
        starts = starts or path == ("commit", "check")  # has words for a folder that cannot tell
        if reads and words and not starts:
            found.append(path)
    return found


@pytest.mark.parametrize("path", folders(), ids=names(folders()))
def test_a_folder_that_there_is_not_is_3_and_is_not_made(path: tuple[str, ...], tmp_path: Path) -> None:
    needed = [p for p in LEAVES[path].params if p.required or p.name == "names"]
    words = [w for p in needed for w in ((p.opts[0], "x") if isinstance(p, click.Option) else ("x",))]
    said = run(*path, *words, "--data-dir", str(tmp_path / "none"), input="x\nx\n")
    assert said.exit_code == 3, (said.output, said.exception)
    assert len(said.stderr.strip().splitlines()) >= 1
    assert not (tmp_path / "none").exists()


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with one lot of coins in 2026, before the time that the tests run at."""
    folder = tmp_path_factory.mktemp("books")
    (folder / "coins.csv").write_text("date,location,btc,cost_usd\n2026-01-02,Treasury,1,50000\n")
    made = run("import", "coins", str(folder / "coins.csv"), "--data-dir", str(folder / "data"))
    assert made.exit_code == 0, made.output
    return folder / "data"


BY_MONTH = [path for path, command in LEAVES.items() if any(param.name == "month" for param in command.params)]
# What is entered of a month may be of any; a month's bill is of a site that buys a day ahead.
ANY_MONTH = {("books", "add", "hashrate"), ("bid", "bill")}


@pytest.mark.parametrize("path", BY_MONTH, ids=names(BY_MONTH))
def test_a_month_is_2_where_it_is_none_and_3_where_nothing_is_known(path: tuple[str, ...], books: Path) -> None:
    def code(month: str) -> int:
        words: list[str] = []
        for param in LEAVES[path].params:
            value = month if param.name == "month" else "CANG" if param.required else None
            if value is not None:
                words += [value] if isinstance(param, click.Argument) else [param.opts[0], value]
            elif param.name == "data_dir":
                words += ["--data-dir", str(books)]
        return run(*path, *words).exit_code

    assert [code("2026-99"), code("month")] == [2, 2]
    if path not in ANY_MONTH:
        # A month before bitcoin's first is none to what reads miners.
        assert [code("2009-02"), code("2099-01")] == [3, 3]


# These run on, or ask somebody elsewhere.
ELSEWHERE = (
    "up",
    "down",
    "run",
    "join",
    "portal",
    "books fetch",
    "disclosures fetch",
    "disclosures refresh",
    "discover",
)


def alone() -> list[tuple[str, ...]]:
    """Commands that print JSON and need nothing but words."""
    found = []
    for path, command in LEAVES.items():
        words = all(not p.required or isinstance(p.type, click.types.StringParamType) for p in command.params)
        if words and " ".join(path) not in NO_JSON and not " ".join(path).startswith(ELSEWHERE):
            found.append(path)
    return found


def test_what_says_json_prints_json_or_nothing_and_ends_as_all_do(
    books: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # some write where they are told to
    wrong = []
    for path in alone():
        words: list[str] = []
        for param in LEAVES[path].params:
            value = "2026-02" if param.name == "month" else "x"
            if param.required:
                words += [value] if isinstance(param, click.Argument) else [param.opts[0], value]
            elif param.name == "data_dir":
                words += ["--data-dir", str(books)]
        said = run(*path, *words, "--json", input="x\nx\n")
        try:
            json.loads(said.stdout or "null")
        except ValueError:
            wrong.append((path, said.stdout))
        if said.exit_code not in (0, 1, 2, 3) or not isinstance(said.exception, (SystemExit, type(None))):
            wrong.append((path, repr(said.exception)))
    assert wrong == []


def test_a_command_without_a_shape_of_its_own_says_its_lines_as_json(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert run("people", "add", "ada", "--role", "viewer", "--data-dir", str(tmp_path)).exit_code == 0
    said = run("people", "remove", "ada", "--json", "--data-dir", str(tmp_path))
    assert json.loads(said.stdout) == {"said": ["ada is gone."]}
    again = run("people", "remove", "ada", "--json", "--data-dir", str(tmp_path))
    assert (again.exit_code, again.stdout) == (3, "")


# Click asks bash itself for its version.
@pytest.mark.parametrize("shell", [pytest.param("bash", marks=pytest.mark.slow), "zsh", "fish"])
def test_completion_is_installed_where_the_shell_looks(
    shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", f"/bin/{shell}")
    said = run("completion")
    assert said.exit_code == 0, said.output
    written = [one for one in tmp_path.rglob("*tieline*") if one.is_file()]
    assert len(written) == 1
    assert "_TIELINE_COMPLETE" in written[0].read_text()
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert run("completion").exit_code == 2


def completed(*words: str) -> list[str]:
    shell = ShellComplete(main, {}, "tieline", "_TIELINE_COMPLETE")
    return [one.value for one in shell.get_completions(list(words[:-1]), words[-1])]


def test_the_shell_completes_commands_sites_and_months(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert completed("obs") == ["observe"]
    assert completed("approvals", "w") == ["withdraw"]
    assert "na-tx-01" in completed("observe", "na-")
    months = completed("update", "20")
    assert len(months) == 24
    assert all(re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", one) for one in months)

"""`tieline study`: what powered sites could be turned into, over years, on the operation that dispatch gives."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict, Unpack

import click
import msgspec

from tieline.cli.outcome import AnswerIsNoError, NothingThereError
from tieline.config import ConfigError
from tieline.config.lines import MistakeError, dotted, line_of
from tieline.study.file import Study
from tieline.study.reading import example_text, loads


def default_cache() -> Path:
    """Where surfaces and finished blocks stay between runs."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tieline" / "study"


class StudyOptions(TypedDict):
    """What was asked on the command line."""

    out: Path | None
    jobs: int
    seed: int | None
    scheduler: str | None
    cache: Path | None
    show: Path | None
    books: Path | None
    as_json: bool


@click.command()
@click.argument("file", metavar="FILE|example")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for report.md, .json, .csv, .html and paths.csv.",
)
@click.option("--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes side by side.")
@click.option("--seed", type=click.IntRange(min=0, max=2**32 - 1), help="Another seed than the file's.")
@click.option(
    "--scheduler", metavar="ADDRESS", help="Of a Dask scheduler, tcp://...: blocks run there (extra: cluster)."
)
@click.option("--cache", type=click.Path(file_okay=False, path_type=Path), help="Folder for what has been computed.")
@click.option(
    "--show",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DATA_DIR",
    help="Put the report into a platform's data folder, where its console shows it.",
)
@click.option(
    "--books",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DATA_DIR",
    help="Opening cash, coins and loans out of this folder's books instead of the file's.",
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, on standard output.")
def study(file: str, **asked: Unpack[StudyOptions]) -> None:
    """Compare what capital could do at each site, from a study FILE ("-": standard input).

    \b
    tieline study example > study.toml        a study that runs, to copy and edit
    tieline study study.toml --out report

    What was computed is kept and used again; an interrupted run goes on where it stopped.
    """
    if file == "example":
        click.echo(example_text(), nl=False)
        return
    text, name = _text(file)
    given = loads_or_fail(text, name)
    given = given if asked["seed"] is None else msgspec.structs.replace(given, seed=asked["seed"])
    with _libraries():
        from tieline.study import page, report  # numpy, joblib and the backtest are loaded only for a run
        from tieline.study.results import summarise
        from tieline.study.surface import build
        from tieline.study.sweep import run

    cache, jobs = asked["cache"] or default_cache(), asked["jobs"]
    try:
        given = given if asked["books"] is None else _opened(given, asked["books"])
        surfaces = build(given, cache, jobs, lambda line: click.echo(line, err=True))
        with _libraries():
            paths = run(given, surfaces, cache, jobs, asked["scheduler"])
    except MistakeError as mistake:
        raise click.ClickException(told(mistake, text, name)) from mistake
    except (OSError, ValueError) as error:  # ConfigError and FolderError among them
        raise click.ClickException(str(error)) from error
    results = summarise(given, surfaces, paths)
    for folder in _folders(given, asked):
        for written in (*report.write(results, paths, folder), page.write(results, folder)):
            click.echo(written, err=True)
    click.echo(report.plain(results) if asked["as_json"] else report.markdown(results), nl=False)
    for complaint in report.complaints(results):
        click.echo(told(complaint, text, name), err=True)
    if all(plan.infeasible for plan in results.plans):
        short = MistakeError(("plan", 0), report.answer(results), "write plans that its cash and its lenders allow")
        raise AnswerIsNoError(told(short, text, name))


def _folders(given: Study, asked: StudyOptions) -> list[Path]:
    """Where the report goes."""
    show = asked["show"]
    shown = None if show is None else show / "studies" / slug(given.name)
    return [folder for folder in (asked["out"], shown) if folder is not None]


@contextlib.contextmanager
def _libraries() -> Iterator[None]:
    """What an install lacks is one line that says what brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("tieline"):
            raise
        extra = "cluster" if error.name in ("distributed", "dask") else "platform"
        words = f"a study that is run needs {error.name}; pip install 'tieline[{extra}]'"
        raise click.ClickException(words) from error


def told(mistake: MistakeError, text: str, name: str) -> str:
    """One line: file, line, field, remedy."""
    line, field = line_of(text, mistake.path), dotted(mistake.path)
    return str(ConfigError(name, line, field, mistake.problem, mistake.fix))


def _opened(given: Study, folder: Path) -> Study:
    """With the opening position of a data folder's books. Raises MistakeError."""
    from tieline.books.treasury.position import holding_of
    from tieline.cli.folder import config_and_now
    from tieline.cli.money.keep import keeper_of
    from tieline.study.books import opened

    if not (folder / "store.db").exists():
        raise NothingThereError(f"no books in {folder}; give a platform's data folder, or leave --books out")
    keeper = keeper_of(folder)
    for one in keeper.unbookable:
        click.echo(str(one), err=True)
    return opened(given, holding_of(keeper), keeper.loans, config_and_now(folder)[1])


def slug(name: str) -> str:
    """A study's name as a folder's and an address's."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "study"


def _text(file: str) -> tuple[str, str]:
    if file == "-":
        return sys.stdin.read(), "<stdin>"
    try:
        return Path(file).read_text(encoding="utf-8"), file
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{file} cannot be read: {error}; see: tieline study example") from error


def loads_or_fail(text: str, name: str) -> Study:
    try:
        return loads(text, name)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error

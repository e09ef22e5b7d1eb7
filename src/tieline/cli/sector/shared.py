"""What the commands of `tieline disclosures` share: options, errors in one line, how results are printed.

Knows no command.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
import msgspec

from tieline.clock import parse_utc
from tieline.disclosures.facts.claims import SourceKind
from tieline.disclosures.facts.lines import KeepError
from tieline.disclosures.facts.periods import checked
from tieline.disclosures.facts.verdict import Verdict

T = TypeVar("T")

facts_option = click.option(
    "--facts",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(".tieline") / "disclosures.jsonl",
    show_default=True,
    envvar="TIELINE_DISCLOSURES",
    help="The file that keeps your own facts, beside those shipped.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
as_of_option = click.option("--as-of", metavar="DATE", help="Only what could be known then (YYYY-MM-DD).")
epochs_option = click.option(
    "--epochs",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Difficulty of later epochs, lines of first height and bits as in a block header; else what the platform "
    "beside the facts has heard.",
)
kind_option = click.option(
    "--source-kind", type=click.Choice(get_args(SourceKind)), default=None, help="How near the source is to the issuer."
)


def _period(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    try:
        return None if text is None else checked(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


published_option = click.option(
    "--published", metavar="DATE", callback=_period, help="When it came out, YYYY-MM-DD or YYYY-MM."
)
period_option = click.option("--period", callback=_period, help="YYYY-MM, YYYYQn or YYYY-MM-DD.")


def parse_date(text: str) -> Any:
    try:
        return parse_utc(text).date()
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no date; write YYYY-MM-DD") from error


def guarded(job: Callable[[], T]) -> T:
    """Errors that a person can mend are one line."""
    try:
        return job()
    except (KeepError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    except (OSError, UnicodeError) as error:
        raise click.ClickException(f"{type(error).__name__}: {error}") from error


def report(done: Any, facts: Path, as_json: bool) -> None:
    if as_json:
        dump(done)
    else:
        for one in done.documents:
            says = one.problem or f"{one.facts} facts, {one.new} new"
            click.echo(f"{one.published or '':10} {one.source}: {says}")
            for line in one.contradicts:
                click.echo(f"  contradicts: {line}")
        click.echo(f"{len(done.documents)} documents, {done.kept.new} new facts kept in {facts}")
    if done.stopped is not None:
        raise click.ClickException(done.stopped)


def table_text(table: Any) -> str:
    """A month's comparison in columns as wide as their names; a column that nobody printed is left out."""
    columns = [name for name in _COLUMNS if any(name in row.cells for row in table.rows)]
    heads = ["", "rank", *(name.replace("_", " ") for name in columns)]
    grid = [heads] if table.rows else []
    for row in table.rows:
        cells = (_cell_text(row.cells.get(name)) for name in columns)
        grid.append([row.issuer, str(row.ranks.get("produced", "-")), *cells])
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    lines = [f"{table.month}: {table.coverage} ranked"]
    for issuer, *shown in grid:
        cells = (f"  {text:>{width}}" for text, width in zip(shown, widths[1:], strict=True))
        lines.append(f"{issuer:7}{''.join(cells)}")
    lines.extend(f"sum {one.column}: {one.value:,f} {one.unit} over {one.coverage}" for one in table.sums)
    lines.extend(f"{gone.issuer}: {gone.says}" for gone in table.absent)
    lines.extend(["* computed. " + table.rule, ""])
    return "\n".join(lines)


def _cell_text(cell: Any) -> str:
    return "" if cell is None else f"{cell.value:,f}{'*' if cell.computed else ''}"


def verdicts_text(verdicts: list[Verdict], held: Any, ran: int) -> str:
    """Verdicts with their computations, how a text holds against the book, and how many of each outcome.

    `ran`: how many checks there were, those that are not shown with them.
    """
    lines = []
    for verdict in verdicts:
        lines.append(f"{verdict.outcome:9} {verdict.issuer} {verdict.period} {verdict.check}: {verdict.computation}")
        lines.append(f"          {verdict.says}")
    if held is not None:
        lines.append(f"against the book: {held.says()}")
        lines += [f"  differs: {line}" for line in held.differ]
    totals = ", ".join(f"{count} {name}" for name, count in counts(verdicts).items() if count)
    nothing = f"no finding: {ran} checks, each holds" if ran else "no check applies"
    return "\n".join([*lines, totals or nothing])


_COLUMNS = (
    "produced", "per_ehs", "operating_share", "implied_realised", "held", "unencumbered", "sold",
    "unexplained_outflow", "hashcost", "ltv",
)  # fmt: skip


def counts(verdicts: list[Verdict]) -> dict[str, int]:
    names = ("holds", "rounding", "explained", "differs", "open")
    return {name: sum(1 for verdict in verdicts if verdict.outcome == name) for name in names}


def dump(value: object) -> None:
    sys.stdout.buffer.write(msgspec.json.format(_ENCODER.encode(value), indent=2) + b"\n")


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")


_ENCODER = msgspec.json.Encoder(enc_hook=_plain, decimal_format="number")

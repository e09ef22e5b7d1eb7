"""What the console shows of disclosures: one month's dashboard, and one figure with its source and checks.

Pure: from a book to plain JSON-able dicts. Routes belong to the console. Both answers are cached by book.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec

from tieline.disclosures.checks import check
from tieline.disclosures.checks.production import fee_band
from tieline.disclosures.comparison import compare
from tieline.disclosures.comparison.columns import COLUMNS
from tieline.disclosures.comparison.explain import Bridge, bridge
from tieline.disclosures.comparison.grid import grid
from tieline.disclosures.facts import periods
from tieline.disclosures.facts.book import ClaimBook, IssuerPeriod
from tieline.disclosures.facts.claims import Claim
from tieline.disclosures.facts.fields import ALL
from tieline.disclosures.facts.verdict import CHECKS, Outcome, Verdict

# Fields drawn as lines over the months: as printed, plus what one division gives.
SERIES = ("btc_produced", "btc_held_end", "btc_sold", "deployed_ehs", "avg_operating_ehs", "efficiency_j_th")
OUTCOMES = ("differs", "explained", "open", "rounding", "holds")
"""The worst first."""


class NoFigureError(LookupError):
    """No figure of this name is in the book."""


def dashboard(book: ClaimBook, month: str | None = None) -> dict[str, Any]:
    """Months, miners, the month's table with figure ids, its verdicts, bridges, and series for charts.

    Without a month, `latest_month`. Raises ValueError for a month of the wrong shape; a month without rows has an
    empty table. The answer is shared between callers: read it, do not change it.
    """
    if month is not None and not periods.is_month(month):
        raise ValueError(f"month {month!r}: write YYYY-MM")
    return _dashboard(book, month or latest_month(book))


COMPARES = 5
"""Miners that a month must rank for the page to open at it: fewer are no comparison."""


def latest_month(book: ClaimBook) -> str:
    """The newest month that compares: it ranks `COMPARES` miners. Where none does, the newest of those that rank most.

    Raises ValueError for a book without a ranked month.
    """
    ranked = {
        month: sum(1 for issuer in book.issuers if compare.is_ranked(book, issuer, month))
        for month in reversed(compare.months(book))
    }
    # Of equals the first, which is the newest.
    best = max(ranked, key=lambda month: min(ranked[month], COMPARES), default="")
    if not best or not ranked[best]:
        raise ValueError("the book has no month with printed production; read a release first")
    return best


@lru_cache(maxsize=64)
def _dashboard(book: ClaimBook, month: str) -> dict[str, Any]:
    table = compare.table(book, month)
    verdicts = [verdict for verdict in check(book) if periods.month_of(verdict.period) == month]
    # Claim id -> the worst outcome of a check that it is the first subject of.
    worst_last = sorted(verdicts, key=lambda verdict: OUTCOMES.index(verdict.outcome), reverse=True)
    marks = {verdict.claims[0]: verdict.outcome for verdict in worst_last}
    bridges = [verdict for row in table.rows if isinstance(verdict := bridge(book, row.issuer, month), Bridge)]
    return {
        "month": month,
        "months": list(compare.months(book)),
        "issuers": list(book.issuers),
        "rule": table.rule,
        "columns": [{"name": c.name, "unit": c.unit, "meaning": c.meaning} for c in COLUMNS],
        "table": [_row(row, marks) for row in table.rows],
        "absent": plain(table.absent),
        "sums": [{**plain(one), "coverage": one.coverage} for one in table.sums],
        "coverage": table.coverage,
        "published": list(table.published),
        "verdicts": [_verdict(verdict) for verdict in verdicts],
        "counts": {name: sum(verdict.outcome == name for verdict in verdicts) for name in OUTCOMES},
        "bridges": plain(bridges),
        "series": _series(book),
        "fees": _named(fee_band(IssuerPeriod(book, "", month)), "low", "high", "why"),
        "checks": CHECKS,
    }


@lru_cache(maxsize=2048)
def figure(book: ClaimBook, name: str) -> dict[str, Any]:
    """One figure, or one claim (`figure~hash`): value, every claim with source and span, and its checks.

    Raises NoFigureError where the book has neither a claim nor a computed cell of that name.
    """
    stem = name.partition("~")[0]
    claims = book.of(stem)
    shown = _printed_figure(book, name, claims) if claims else _computed_figure(book, stem)
    ids = {claim["id"] for claim in shown["claims"]}
    verdicts = (verdict for verdict in check(book) if ids & set(verdict.claims))
    if shown["computed"] is not None:
        verdicts = (v for v in verdicts if (v.issuer, v.period) == (shown["issuer"], shown["period"]))
    return {"id": stem, "link": link(stem), **shown, "verdicts": [_verdict(verdict) for verdict in verdicts]}


def _printed_figure(book: ClaimBook, name: str, claims: tuple[Claim, ...]) -> dict[str, Any]:
    first = claims[0].fact
    best = book.best(claims[0].subject, first.period, first.field, first.scope)
    assert best is not None
    unit, meaning = ALL[first.field]
    asked = name if any(claim.id == name for claim in claims) else None
    return {
        "issuer": first.issuer, "period": first.period, "field": first.field, "scope": first.scope,
        "meaning": meaning, "value": plain(best.value), "unit": unit, "computed": None, "best": best.id,
        "asked": asked, "claims": [_claim(claim) for claim in claims],
    }  # fmt: skip


def _computed_figure(book: ClaimBook, stem: str) -> dict[str, Any]:
    period, _, field = stem.partition(".")[2].partition(".")
    rows = compare.table(book, period).rows if periods.is_month(period) else ()
    # The name holds the ticker as a link can hold it, so the whole name is compared.
    named = ((row.issuer, cell) for row in rows for cell in row.cells.values() if cell.id == stem)
    issuer, cell = next(named, (None, None))
    if cell is None:
        raise NoFigureError(f"no figure {stem!r} in the book; `tieline disclosures compare` lists a month's figures")
    used = [claim for one in cell.claims for claim in book.of(one.partition("~")[0]) if claim.id == one]
    return {
        "issuer": issuer, "period": period, "field": field, "scope": None,
        "meaning": "computed from printed figures", "value": plain(cell.value), "unit": cell.unit,
        "computed": cell.computed, "best": None, "asked": None, "claims": [_claim(claim) for claim in used],
    }  # fmt: skip


def link(figure_name: str) -> str:
    """The permanent link of a figure on the console's page."""
    return f"/disclosures#{figure_name}"


@lru_cache(maxsize=8)
def _series(book: ClaimBook) -> dict[str, dict[str, list[list[Any]]]]:
    """field -> issuer -> [[month, value], ...], as printed; a month that was not printed is absent."""
    drawn = {field: grid(book, field).lines for field in SERIES}
    return {
        field: {
            line.issuer: [[month, plain(cell.value)] for month, cell in reversed(line.cells.items())]
            for line in sorted(lines, key=lambda line: line.issuer)
        }
        for field, lines in drawn.items()
        if lines
    }


def _row(row: compare.IssuerMonth, marks: dict[str, Outcome]) -> dict[str, Any]:
    cells = {}
    for name, cell in row.cells.items():
        worst = min((marks[claim] for claim in cell.claims if claim in marks), key=OUTCOMES.index, default=None)
        cells[name] = {
            "figure": cell.id, "link": link(cell.id), "value": plain(cell.value), "shown": f"{cell.value:,f}",
            **_named(cell, "unit", "computed"), "mark": worst,
        }  # fmt: skip
    return {**_named(row, "issuer", "month", "included", "why", "ranks"), "cells": cells}


def _claim(claim: Claim) -> dict[str, Any]:
    fact = claim.fact
    return {
        **_named(claim, "id", "figure", "value"), "shown": f"{claim}", **_named(fact, "unit", "period"),
        **_named(claim, "source", "source_kind", "published"), "known_at": claim.known_at.isoformat(),
        "document": claim.document,
        **_named(fact, "span", "quote", "printed", "method", "rule", "restated", "approximate"), "note": claim.note,
    }  # fmt: skip


def _named(one: object, *names: str) -> dict[str, Any]:
    return {name: plain(getattr(one, name)) for name in names}


def _verdict(verdict: Verdict) -> dict[str, Any]:
    figures = list(dict.fromkeys(claim.partition("~")[0] for claim in verdict.claims))
    return {**plain(verdict), "rule": CHECKS[verdict.check], "figures": figures}


def plain(value: Any) -> Any:
    """Structs to dicts and lists, decimals to numbers: what any JSON writer takes."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    # Sizes and decimals here are far inside what a double holds.
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value

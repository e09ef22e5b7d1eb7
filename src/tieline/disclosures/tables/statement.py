"""Notes to financial statements: balances at dates, cost basis, a roll-forward in dollars.

Knows nothing of monthly updates. Amounts in such notes are thousands where the page says so, or where only thousands
give a bitcoin a price that it ever had; where neither holds, the amount is left out.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

from tieline.disclosures.documents.context import Context
from tieline.disclosures.finding import Finding
from tieline.disclosures.lexicon.numbers import PrintedNumber
from tieline.disclosures.lexicon.periods import Period, periods
from tieline.disclosures.lexicon.words import phrases
from tieline.disclosures.rules.naming import clean
from tieline.disclosures.tables.layout import Row

PLAUSIBLE = (Decimal(1_000), Decimal(1_000_000))
"""US dollars per bitcoin, cost or market, since 2017."""
_BALANCE, _HELD = phrases("balance_line"), phrases("held_line")
_COST_BASIS, _THOUSANDS = phrases("cost_line"), phrases("thousands")


class _NoteLine(NamedTuple):
    """A line of a note with one value, whose label names one date."""

    name: str
    date: Period
    start: int
    printed: PrintedNumber

    def finding(self, field: str, period: str | None) -> Finding:
        q, rule = self.printed, field.removesuffix("_kusd").replace("_", "-")
        return Finding(field, q.value, period or "", self.start, q.end, q.printed, f"statement:{rule}", label=self.name)


def claims(text: str, rows: list[Row], ctx: Context) -> list[Finding]:
    """Findings of a note's one-value lines, and of its opening and closing balance."""
    lines = [line for row in rows if (line := _dated_line(row)) is not None] if ctx.statement else []
    held = [line for line in lines if _HELD.match(line.name) and line.printed.unit in (None, "BTC")]
    costs = [line for line in lines if _COST_BASIS.match(line.name)]
    out = [line.finding("btc_held_end", line.date.key) for line in held]
    if not _in_thousands(text, held, costs):
        return out
    return out + [line.finding("cost_basis_kusd", line.date.key) for line in costs] + _roll_forward(lines)


def _roll_forward(lines: list[_NoteLine]) -> list[Finding]:
    """The opening and the closing balance of each quarter."""
    balances = [line for line in lines if _BALANCE.match(line.name) and line.printed.unit in (None, "USD")]
    out = []
    for opening, closing in pairwise(balances):
        if (quarter := _quarter(opening.date, closing.date)) is not None:
            out += [opening.finding("open_kusd", quarter), closing.finding("close_kusd", quarter)]
    return out


def _in_thousands(text: str, held: list[_NoteLine], costs: list[_NoteLine]) -> bool:
    """Are the amounts thousands: by the page's word, or because only then a coin has a price that it ever had?"""
    coins = {line.date.key: line.printed.value for line in held if line.printed.value}
    prices = [c.printed.value * 1000 / coins[c.date.key] for c in costs if c.date.key in coins]
    told = _THOUSANDS.search(text[:60_000]) is not None
    return told or any(PLAUSIBLE[0] <= price <= PLAUSIBLE[1] for price in prices)


def _dated_line(row: Row) -> _NoteLine | None:
    label = row.labels[-1]
    numbers = [v.quantity for v in row.values if v.quantity is not None]
    dates = [p for p in periods(label.text) if p.kind == "date" and p.year is not None]
    if len(numbers) != 1 or numbers[0] is not row.values[-1].quantity or len(dates) != 1:
        return None
    return _NoteLine(clean(label.text).lower(), dates[0], label.start, numbers[0])


def _quarter(opening: Period, closing: Period) -> str | None:
    """The quarter between two quarter ends."""
    if not (opening.ends_month and closing.ends_month) or opening.year is None or closing.year is None:
        return None
    months = closing.year * 12 + closing.month - opening.year * 12 - opening.month
    return f"{closing.year:04d}Q{closing.month // 3}" if months == 3 and closing.month % 3 == 0 else None

"""Notes to financial statements: balances at dates, cost basis, a roll-forward in dollars.

Knows nothing of monthly updates. Amounts in such notes are thousands where the page says so, or where only
thousands give a bitcoin a price that it ever had; where neither holds, the amount is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from tieline.disclosures.documents.context import Context
from tieline.disclosures.finding import Finding
from tieline.disclosures.lexicon.numbers import PrintedNumber
from tieline.disclosures.lexicon.periods import Period, periods
from tieline.disclosures.rules.naming import clean
from tieline.disclosures.tables.layout import Row

PLAUSIBLE = (Decimal(1_000), Decimal(1_000_000))
"""US dollars per bitcoin, cost or market, since 2017."""


_BALANCE = re.compile(r"(?:ending |closing |beginning |opening )?balance\b")
_HELD = re.compile(r"number of (?:bitcoins?|btc) held|(?:bitcoins?|btc) held")
_COST_BASIS = re.compile(r"cost basis of (?:bitcoins?|btc)")


def claims(text: str, rows: list[Row], ctx: Context) -> list[Finding]:
    """Findings of a note's one-value lines, and of its opening and closing balance."""
    if not ctx.statement:
        return []
    lines = list(filter(None, map(_dated_line, rows)))
    out = [line.finding("btc_held_end", "number-held") for line in lines if _HELD.match(line.name) and line.coins]
    costs = [line.finding("cost_basis_kusd", "cost-basis") for line in lines if _COST_BASIS.match(line.name)]
    if not _in_thousands(text, out, costs):
        return out
    out += costs
    for opening, closing in pairwise(line for line in lines if _BALANCE.match(line.name)):
        quarter = _quarter(opening.date, closing.date)
        if quarter is not None and opening.dollars and closing.dollars:
            out.append(opening.finding("open_kusd", "roll-forward", quarter))
            out.append(closing.finding("close_kusd", "roll-forward", quarter))
    return out


@dataclass(frozen=True, slots=True)
class _StatementLine:
    """A line with one value whose label names one date."""

    name: str
    date: Period
    start: int
    q: PrintedNumber
    end: int

    @property
    def coins(self) -> bool:
        return self.q.unit in (None, "BTC")

    @property
    def dollars(self) -> bool:
        return self.q.unit in (None, "USD")

    def finding(self, field: str, rule: str, period: str | None = None) -> Finding:
        key = period or self.date.key or ""
        return Finding(
            field, self.q.value, key, self.start, self.end, self.q.printed, f"statement:{rule}", label=self.name
        )


def _dated_line(row: Row) -> _StatementLine | None:
    label, start = row.labels[-1].text, row.labels[-1].start
    values = [v for v in row.values if v.quantity is not None]
    dates = [p for p in periods(label) if p.kind == "date" and p.year is not None]
    if len(values) != 1 or values[0] is not row.values[-1] or values[0].quantity is None or len(dates) != 1:
        return None
    return _StatementLine(clean(label).lower(), dates[0], start, values[0].quantity, values[0].end)


def _in_thousands(text: str, held: list[Finding], costs: list[Finding]) -> bool:
    """Are the amounts thousands: by the page's word, or because only then a coin has a price that it ever had?"""
    if re.search(r"in thousands|\(000s?\)|\$ ?000s?\b|thousands of", text[:60_000], re.IGNORECASE):
        return True
    coins = {c.period: c.value for c in held if c.value}
    prices = [c.value * 1000 / coins[c.period] for c in costs if c.period in coins]
    return any(PLAUSIBLE[0] <= price <= PLAUSIBLE[1] for price in prices)


def _quarter(opening: Period, closing: Period) -> str | None:
    """The quarter between two quarter ends."""
    if not (opening.ends_month and closing.ends_month) or opening.year is None or closing.year is None:
        return None
    months = closing.year * 12 + closing.month - opening.year * 12 - opening.month
    if months != 3 or closing.month % 3:
        return None
    return f"{closing.year:04d}Q{closing.month // 3}"

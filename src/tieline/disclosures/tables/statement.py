"""Notes to financial statements: balances at dates, cost basis, a roll-forward in dollars.

Knows nothing of monthly updates. Amounts in such notes are thousands where the page says so, or where only
thousands give a bitcoin a price that it ever had; where neither holds, the amount is left out.
"""

from __future__ import annotations

import re
from decimal import Decimal
from itertools import pairwise

from tieline.disclosures.documents.context import Context
from tieline.disclosures.finding import STRONG, Finding
from tieline.disclosures.lexicon.numbers import PrintedNumber
from tieline.disclosures.lexicon.periods import Period, periods
from tieline.disclosures.tables.labels import clean
from tieline.disclosures.tables.layout import Row
from tieline.disclosures.tables.stretches import Value

PLAUSIBLE = (Decimal(1_000), Decimal(1_000_000))
"""US dollars per bitcoin, cost or market, since 2017."""


def claims(text: str, rows: list[Row], ctx: Context) -> list[Finding]:
    """Findings of a note's one-value lines, and of its opening and closing balance."""
    if not ctx.statement:
        return []
    out: list[Finding] = []
    balances: list[tuple[Period, Row, PrintedNumber, Value]] = []
    for row in rows:
        value = row.values[-1] if row.values else None
        if value is None or value.quantity is None or len([v for v in row.values if v.quantity is not None]) != 1:
            continue
        label, start, _ = row.labels[-1]
        dates = [p for p in periods(label) if p.kind == "date" and p.year is not None]
        if len(dates) != 1:
            continue
        date, q = dates[0], value.quantity
        name = clean(label).lower()
        key = date.key
        if key is None:
            continue
        if re.match(r"(?:ending |closing |beginning |opening )?balance\b", name):
            balances.append((date, row, q, value))
        elif re.match(r"number of (?:bitcoins?|btc) held|(?:bitcoins?|btc) held", name) and q.unit in (None, "BTC"):
            out.append(
                Finding("btc_held_end", q.value, key, start, value.end, q.printed, "statement:number-held", STRONG)
            )
        elif re.match(r"cost basis of (?:bitcoins?|btc)", name):
            out.append(
                Finding("cost_basis_kusd", q.value, key, start, value.end, q.printed, "statement:cost-basis", STRONG)
            )
    scale = _scale(text, out)
    if scale is None:
        return [c for c in out if c.field == "btc_held_end"]
    for (d0, r0, q0, v0), (d1, r1, q1, v1) in pairwise(balances):
        quarter = _quarter(d0, d1)
        if quarter is not None and q0.unit in (None, "USD") and q1.unit in (None, "USD"):
            out.append(
                Finding(
                    "open_kusd",
                    q0.value,
                    quarter,
                    r0.labels[-1][1],
                    v0.end,
                    q0.printed,
                    "statement:roll-forward",
                    STRONG,
                )
            )
            out.append(
                Finding(
                    "close_kusd",
                    q1.value,
                    quarter,
                    r1.labels[-1][1],
                    v1.end,
                    q1.printed,
                    "statement:roll-forward",
                    STRONG,
                )
            )
    return out


def _scale(text: str, found: list[Finding]) -> int | None:
    """3 where the amounts are thousands; None where nothing says so."""
    if re.search(r"in thousands|\(000s?\)|\$ ?000s?\b|thousands of", text[:60_000], re.IGNORECASE):
        return 3
    held = {c.period: c.value for c in found if c.field == "btc_held_end"}
    for c in found:
        if c.field == "cost_basis_kusd" and held.get(c.period):
            price = c.value * 1000 / held[c.period]
            if PLAUSIBLE[0] <= price <= PLAUSIBLE[1]:
                return 3
    return None


def _quarter(opening: Period, closing: Period) -> str | None:
    """The quarter between two quarter ends."""
    if not (opening.ends_month and closing.ends_month) or opening.year is None or closing.year is None:
        return None
    months = closing.year * 12 + closing.month - opening.year * 12 - opening.month
    if months != 3 or closing.month % 3:
        return None
    return f"{closing.year:04d}Q{closing.month // 3}"

"""A figure found, before it is believed: the field, the value in the field's unit, its place and its strength.

Knows nothing of layouts or sentences. `convert` turns a printed quantity into a field's unit, or refuses: a
figure in another currency, a hashrate without a unit that could be two things, a percentage under a coin row.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from tieline.disclosures.facts.fact import Licence, Method
from tieline.disclosures.facts.fields import SIGNED, UNITS, bounds_of, unit_of
from tieline.disclosures.lexicon.numbers import PrintedNumber, exact

STRONG, MEDIUM, WEAK = 3, 2, 1
"""A labelled cell or a verb with its object; a noun near by; a reading by default."""


@dataclass(slots=True)
class Finding:
    """One candidate figure."""

    field: str
    value: Decimal
    period: str
    start: int
    end: int
    printed: str
    rule: str
    strength: int = STRONG
    scope: str | None = None
    issuer: str | None = None
    restated: bool = False
    approximate: bool = False
    method: Method = "rule"
    licensed: bool = False
    """Every licence that a text can give is proven; plausibility and a second voice are asked for later."""
    lacks: tuple[Licence, str] | None = None
    """The licence that is missing, and why, where its own reader knows."""
    label: str = ""
    """The row's label, for a figure of a table."""
    dated: bool = False
    """The column, the label or the title states the period; else it was supposed."""
    at: int = -1
    """Where the number itself begins."""
    holds_parts: bool = False
    """The text goes on to say of what the figure consists: `295 bitcoin, of which`."""


_FOREIGN = ("other money", "other coin", "energy", "power", "other")


def convert(name: str, q: PrintedNumber, label_unit: str | None) -> Decimal | str:
    """The quantity in the field's unit; a reason where that is not possible."""
    unit = unit_of(name)
    if (why := _another(unit, q)) is not None:
        return why
    value: Decimal | str = q.value
    match unit:
        case "EH/s" | "PH/s":
            value = _hashrate(q.value, q, label_unit, unit)
        case "USD" | "USD/BTC" | "kUSD":
            value = _money(q, label_unit, unit)
        case "USD/kWh":
            value = _power_price(q, label_unit)
        case "share":
            value = q.value.scaleb(-2)
    bounds = bounds_of(name)
    if isinstance(value, str) or bounds is None:
        return value
    low, high = bounds
    value = -value if q.negative and name in SIGNED else value
    return value if low <= value <= high else f"{q.printed} cannot be {name}"


def _another(unit: str, q: PrintedNumber) -> str | None:
    """Why a quantity can be no figure of a unit; None where it may be one."""
    if q.unit in _FOREIGN:
        return f"{q.printed} is in another unit"
    if q.unit == "%" and unit not in ("%", "share"):
        return f"{q.printed} is a percentage"
    known = UNITS.get(unit)
    if known is None or not known.printed:
        return None
    broken = unit in ("miners", "blocks") and q.value != q.value.to_integral_value()
    return f"{q.printed} is no {known.called}" if broken or q.unit not in known.printed else None


def _money(q: PrintedNumber, label_unit: str | None, unit: str) -> Decimal | str:
    if q.unit is None and label_unit not in ("USD", "kUSD", "mUSD") and unit != "USD/BTC":
        return f"{q.printed} has no currency"
    if unit == "USD/BTC" and q.value < 1000 and label_unit == "kUSD":
        return exact(q.value.scaleb(3))
    if unit == "USD" and q.value < 100_000 and label_unit in ("kUSD", "mUSD"):
        return exact(q.value.scaleb(3 if label_unit == "kUSD" else 6))
    return q.value


def _power_price(q: PrintedNumber, label_unit: str | None) -> Decimal:
    if label_unit == "USD/MWh" and q.unit in (None, "USD"):
        return exact(q.value.scaleb(-3))
    return exact(q.value.scaleb(-2)) if q.unit is None and q.value > 1 else q.value


def _hashrate(value: Decimal, q: PrintedNumber, label_unit: str | None, unit: str) -> Decimal | str:
    """EH/s from whatever unit is printed in the cell or the label; without one, only where it cannot be PH/s."""
    if q.unit == "EH/s":
        rate = value
    elif q.unit is not None:
        return f"{q.printed} is no hashrate"
    elif label_unit == "PH/s":
        rate = exact(value / 1000) if unit == "EH/s" else value / 1000
    elif label_unit == "TH/s":
        rate = value / 1_000_000
    elif label_unit == "EH/s" or Decimal("0.05") <= value <= 100:
        rate = value
    else:
        return f"{q.printed} has no unit and could be PH/s or EH/s"
    return exact(rate * 1000) if unit == "PH/s" else rate

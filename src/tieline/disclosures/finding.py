"""A figure found, before it is believed: the field, the value in the field's unit, its place and its strength.

Knows nothing of layouts or sentences. `convert` turns a printed quantity into a field's unit, or refuses: a
figure in another currency, a hashrate without a unit that could be two things, a percentage under a coin row.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from tieline.disclosures.facts.fact import Licence, Method
from tieline.disclosures.facts.fields import SIGNED, unit_of
from tieline.disclosures.lexicon.numbers import PrintedNumber, exact

STRONG, MEDIUM, WEAK = 3, 2, 1
"""A labelled cell or a verb with its object; a noun near by; a reading by default."""

FLOWS = {
    "btc_produced",
    "btc_sold",
    "btc_purchased",
    "service_fee_btc",
    "hosted_btc_customers",
    "jv_share_btc",
    "btc_equivalent_not_coins",
}
"""Fields for which a dash in a table is a zero. For a price or a rated hashrate it says that there is none."""

_RANGES: dict[str, tuple[Decimal, Decimal]] = {
    "J/TH": (Decimal(5), Decimal(150)),
    "USD/kWh": (Decimal("0.001"), Decimal("0.6")),
    "EH/s": (Decimal("0.0001"), Decimal(2000)),
    "PH/s": (Decimal("0.1"), Decimal(2_000_000)),
    "%": (Decimal(0), Decimal(100)),
    "BTC": (Decimal(0), Decimal(1_000_000)),
    "BTC/day": (Decimal(0), Decimal(900)),
    "blocks": (Decimal(1), Decimal(4464)),
    "miners": (Decimal(1), Decimal(5_000_000)),
    "USD": (Decimal(1_000), Decimal(100_000_000_000)),
    "USD/BTC": (Decimal(500), Decimal(2_000_000)),
    "share": (Decimal("0.01"), Decimal(2)),
}
"""What can be at all: a coin's price since 2016, 900 coins a day in all, 4,464 blocks in a month of 31 days."""
_RANGES_OF: dict[str, tuple[Decimal, Decimal]] = {
    "btc_produced_mom_pct": (Decimal(-100), Decimal(100_000)),
    "btc_lenders_net": (Decimal(-1_000_000), Decimal(1_000_000)),
    "btc_entered_net": (Decimal(-1_000_000), Decimal(1_000_000)),
    "cash_usd": (Decimal(-100_000_000_000), Decimal(100_000_000_000)),
}
"""Of fields that may be less than their unit allows."""


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
    told: bool = False
    """A row of the grammar reads it so, in a sentence that proves it or does not."""
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


# A field's unit -> the units that its figure may be printed with, and what it is not where it has another.
_PRINTED: dict[str, tuple[frozenset[str | None], str]] = {
    "USD": (frozenset({None, "USD"}), "amount of money"),
    "USD/BTC": (frozenset({None, "USD"}), "amount of money"),
    "kUSD": (frozenset({None, "USD"}), "amount of money"),
    "USD/kWh": (frozenset({None, "USD", "USD/kWh"}), "power price"),
    "BTC": (frozenset({None, "BTC"}), "amount of bitcoin"),
    "BTC/day": (frozenset({None, "BTC"}), "amount of bitcoin"),
    "BTC/(EH/s)": (frozenset({None, "BTC"}), "amount of bitcoin"),
    "J/TH": (frozenset({None, "J/TH"}), "efficiency"),
    "miners": (frozenset({None, "miners"}), "count of machines"),
    "blocks": (frozenset({None, "blocks", "BTC"}), "count of blocks"),
    "%": (frozenset({None, "%"}), "percentage"),
    "share": (frozenset({"%"}), "percentage"),
}
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
    span = _RANGES_OF.get(name, _RANGES.get(unit))
    if isinstance(value, str) or span is None:
        return value
    low, high = span
    value = -value if q.negative and name in SIGNED else value
    return value if low <= value <= high else f"{q.printed} cannot be {name}"


def _another(unit: str, q: PrintedNumber) -> str | None:
    """Why a quantity can be no figure of a unit; None where it may be one."""
    if q.unit in _FOREIGN:
        return f"{q.printed} is in another unit"
    if q.unit == "%" and unit not in ("%", "share"):
        return f"{q.printed} is a percentage"
    allowed, thing = _PRINTED.get(unit, (None, ""))
    broken = unit in ("miners", "blocks") and q.value != q.value.to_integral_value()
    return f"{q.printed} is no {thing}" if broken or (allowed is not None and q.unit not in allowed) else None


def _money(q: PrintedNumber, label_unit: str | None, unit: str) -> Decimal | str:
    if q.unit is None and label_unit not in ("USD", "kUSD", "mUSD") and unit != "USD/BTC":
        return f"{q.printed} has no currency"
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

"""A two-settlement bill: what was bought before at its own price, and only the difference at real time.

Pure and exact: energies are whole watt-hours, money is Decimal, each line of each hour is rounded to the cent (half to
even), and a total is the sum of its lines. With q bought a day ahead at p, legs l at their price, and the metered
energy m grossed up by the contract's `scale` for losses, an hour costs

    sum(l x price) + q x p + (m x scale x (1 + losses) - sum(l) - q) x real-time price + m x (adder + network's charges)

An hour without a meter reading is left out and named: nothing metered is not zero metered. A resettlement is the same
bill with what is known later; the difference of the two is the correction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal

CENT = Decimal("0.01")
_WH_PER_MWH = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Bought:
    """Energy bought before the hour (below 0: sold), in Wh, at its price."""

    what: str
    energy_wh: int
    usd_per_mwh: Decimal


@dataclass(frozen=True, slots=True)
class SettledHour:
    """One hour as far as it is known. `real_time` USD/MWh, `metered_wh`; None: not known."""

    at: datetime
    metered_wh: int | None
    real_time: Decimal | None
    bought: tuple[Bought, ...] = ()
    # Charges of the network on what is metered, USD per MWh by name, and the share lost of it.
    network: tuple[tuple[str, Decimal], ...] = ()
    losses: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Line:
    """One amount of one hour; `usd` is whole cents, below 0 where it is paid out."""

    at: datetime
    what: str
    energy_wh: int
    usd_per_mwh: Decimal
    usd: Decimal


@dataclass(frozen=True, slots=True)
class PositionBill:
    """`unmetered`: hours that are in no line, since no meter reading of them is known."""

    lines: tuple[Line, ...]
    unmetered: tuple[datetime, ...] = ()

    @property
    def usd(self) -> Decimal:
        return sum((line.usd for line in self.lines), Decimal(0))

    def by_kind(self) -> dict[str, tuple[int, Decimal]]:
        """(Wh, USD) of each kind of line; they sum to the whole bill to the cent."""
        sums: dict[str, tuple[int, Decimal]] = {}
        for line in self.lines:
            wh, usd = sums.get(line.what, (0, Decimal(0)))
            sums[line.what] = (wh + line.energy_wh, usd + line.usd)
        return sums


def statement(hours: Iterable[SettledHour], scale: Decimal, adder_usd_per_mwh: Decimal) -> PositionBill:
    """Raises ValueError for an hour whose real-time price is needed and not known."""
    lines: list[Line] = []
    unmetered: list[datetime] = []
    for hour in hours:
        if hour.metered_wh is None:
            unmetered.append(hour.at)
            continue
        grossed_wh = int((hour.metered_wh * scale * (1 + hour.losses)).to_integral_value(ROUND_HALF_EVEN))
        lines += [_line(hour.at, one.what, one.energy_wh, one.usd_per_mwh) for one in hour.bought if one.energy_wh]
        rest_wh = grossed_wh - sum(one.energy_wh for one in hour.bought)
        if rest_wh:
            if hour.real_time is None:
                words = f"{rest_wh / 1e6:.3f} MWh settle at real time, whose price is not known"
                raise ValueError(f"{hour.at:%Y-%m-%d %H:%M} UTC: {words}")
            lines.append(_line(hour.at, "real time", rest_wh, hour.real_time))
        if adder_usd_per_mwh and hour.metered_wh:
            lines.append(_line(hour.at, "adder", hour.metered_wh, adder_usd_per_mwh))
        if hour.metered_wh:
            lines += [_line(hour.at, f"network {name}", hour.metered_wh, usd) for name, usd in hour.network if usd]
    return PositionBill(tuple(lines), tuple(unmetered))


def correction(before: PositionBill, after: PositionBill) -> PositionBill:
    """What a resettlement adds, a line for each hour and kind that changed; nothing where it is the same."""
    lines = []
    lines_before = {(line.at, line.what): line for line in before.lines}
    now = {(line.at, line.what): line for line in after.lines}
    for key in sorted({*lines_before, *now}):
        old, new = lines_before.get(key), now.get(key)
        usd = (new.usd if new is not None else Decimal(0)) - (old.usd if old is not None else Decimal(0))
        wh = (new.energy_wh if new is not None else 0) - (old.energy_wh if old is not None else 0)
        price = new.usd_per_mwh if new is not None else Decimal(0)
        if usd or wh:
            lines.append(Line(key[0], key[1], wh, price, usd))
    return PositionBill(tuple(lines))


def _line(at: datetime, what: str, energy_wh: int, usd_per_mwh: Decimal) -> Line:
    usd = (Decimal(energy_wh) / _WH_PER_MWH * usd_per_mwh).quantize(CENT, ROUND_HALF_EVEN)
    return Line(at, what, energy_wh, usd_per_mwh, usd)

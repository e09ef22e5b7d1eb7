"""What a rig group's power is worth, as bids in USD/MWh at the meter.

Pure. A rig group is a population over its firmware's modes: along the upper envelope of (power, revenue) each
step up is worth difference in revenue / difference in power, auxiliary load included, pool fee and rejects
off. With the price known and nothing coupling one interval to the next, running every step whose bid is above
the price is exactly optimal. For one mode the bid is hashprice / (0.024 x J/TH).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tieline.fleet import RigGroup
from tieline.fleet.physics import RIG_MODES


@dataclass(frozen=True, slots=True)
class ModePoint:
    """A whole group in one mode: draw at the meter and revenue."""

    mode: str
    power_w: float
    usd_per_h: float


@dataclass(frozen=True, slots=True)
class Step:
    """One step up the envelope: `power_w` more moves the group from one mode to the next."""

    lower: str
    upper: str
    power_w: float
    bid_usd_per_mwh: float


@dataclass(frozen=True, slots=True)
class GroupBid:
    """A rig group's curve: its draw at rest, then steps of falling value."""

    unit_id: str
    rest: str
    rest_w: float
    steps: tuple[Step, ...]

    @property
    def full_w(self) -> float:
        return self.rest_w + sum(step.power_w for step in self.steps)

    def shares_at(self, power_w: float) -> dict[str, float]:
        """How the population splits over its modes at this draw. Below rest: the rest of them off."""
        if power_w < self.rest_w:
            up = max(0.0, power_w) / self.rest_w
            return {"off": 1.0 - up, self.rest: up} if up > 0 else {"off": 1.0}
        left = power_w - self.rest_w
        mode = self.rest
        for step in self.steps:
            if left < step.power_w * (1.0 - 1e-9):
                part = left / step.power_w
                return {mode: 1.0} if part <= 1e-9 else {mode: 1.0 - part, step.upper: part}
            left -= step.power_w
            mode = step.upper
        return {mode: 1.0}


def mode_points(
    group: RigGroup, hashprice_usd: float, keeps: float, aux: float, derate: float, share: float, rest: str
) -> list[ModePoint]:
    """The modes at or above rest, as firmware has them. `share` of the rigs obeys; `derate` is the heat's."""
    points = []
    for mode in RIG_MODES.values():
        if rest == "sleep" and mode.name == "off":
            continue
        if mode.power_share > 0 and derate <= 0:
            continue
        watts = (mode.power_share * group.rated_w * derate + mode.fixed_w * group.rigs) * share * (1.0 + aux)
        hashes = mode.hash_share * group.rated_hs * derate * share
        points.append(ModePoint(mode.name, watts, hashes / 1e15 * hashprice_usd * keeps / 24.0))
    return points


def group_bid(unit_id: str, points: Sequence[ModePoint], rest: str) -> GroupBid:
    """The upper envelope from rest upwards (a mode under it is never worth using)."""
    base = next(point for point in points if point.mode == rest)
    hull = [base]
    for point in sorted(points, key=lambda p: (p.power_w, p.usd_per_h)):
        if point.power_w <= base.power_w:
            continue
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) <= _slope(hull[-2], point):
            hull.pop()
        hull.append(point)
    steps = tuple(
        Step(low.mode, high.mode, high.power_w - low.power_w, _slope(low, high)) for low, high in pairwise(hull)
    )
    return GroupBid(unit_id, rest, base.power_w, steps)


def _slope(low: ModePoint, high: ModePoint) -> float:
    return (high.usd_per_h - low.usd_per_h) / (high.power_w - low.power_w) * 1e6


def rig_group_bid(
    group: RigGroup,
    hashprice_usd: float,
    *,
    keeps: float,
    aux: float,
    derate: float = 1.0,
    share: float = 1.0,
    rest: str = "sleep",
) -> GroupBid:
    """The curve of a group at one hashprice and temperature."""
    return group_bid(group.id, mode_points(group, hashprice_usd, keeps, aux, derate, share, rest), rest)

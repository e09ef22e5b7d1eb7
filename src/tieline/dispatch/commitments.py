"""Promises to the grid as objects.

Pure. A load reserve must be drawing what it sells, so an accepted one is a floor until it is deployed or
released. A commitment is accepted only if what can really be shed within its response time, for its duration,
covers it, with everything sold before taken off, and if its payment is above what the floor costs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from tieline.records import Commitment

# Less than this below a promise is the meter's own error.
METER_W = 10_000.0


@dataclass(frozen=True, slots=True)
class Sheddable:
    """What a site can take off and how fast: a ladder of (seconds, watts), cumulative."""

    ladder: tuple[tuple[float, float], ...]

    def within(self, seconds: float) -> float:
        return max((watts for s, watts in self.ladder if s <= seconds), default=0.0)


# Rigs stop within a poll of their controller; replicas drain their streams first (both of the running system).
RIGS_SHED_S, REPLICAS_DRAIN_S = 30.0, 300.0
# Rigs that sleep hash again within so long (assumed; their makers name a few minutes).
RIGS_WAKE_S = 300


def sheddable(mining_w: float, rest_w: float, inference_w: float) -> Sheddable:
    """`mining_w` drawn by rigs that obey, `rest_w` their draw asleep."""
    rigs = max(0.0, mining_w - rest_w)
    return Sheddable(((RIGS_SHED_S, rigs), (REPLICAS_DRAIN_S, rigs + inference_w)))


@dataclass(frozen=True, slots=True)
class Keepable:
    """The promise can be kept; what it earns and what its floor costs."""

    spare_w: float
    pays_usd: float
    floor_costs_usd: float | None

    @property
    def worth_it(self) -> bool:
        return self.floor_costs_usd is None or self.pays_usd > self.floor_costs_usd


@dataclass(frozen=True, slots=True)
class NotKeepable:
    """Which limit fails, and by how many MW."""

    why: str
    missing_w: float


def check(
    offer: Commitment,
    can: Sheddable,
    most_w: float,
    sold: Iterable[Commitment],
    floor_costs_usd: float | None = None,
) -> Keepable | NotKeepable:
    """`can` at the load expected over the offer; `most_w` the most the site can draw then; `sold` what is
    promised already. No megawatt is sold twice."""
    if offer.power_w <= 0 or offer.until <= offer.at:
        return NotKeepable("an offer needs power above 0 and an end after its start", 0.0)
    taken = sum(c.power_w for c in sold if _overlaps(c, offer))
    if offer.takes and offer.response_s < RIGS_WAKE_S:
        return NotKeepable(
            f"rigs at rest take {RIGS_WAKE_S} s to run, and {offer.response_s} s are asked", offer.power_w
        )
    shed = can.within(offer.response_s)
    if not offer.takes and taken + offer.power_w > shed:
        missing = taken + offer.power_w - shed
        return NotKeepable(
            f"{shed / 1e6:.1f} MW can be shed within {offer.response_s} s, {taken / 1e6:.1f} MW of it is sold, "
            f"{offer.power_w / 1e6:.1f} MW is asked",
            missing,
        )
    if taken + offer.power_w > most_w:
        return NotKeepable(
            f"the site can draw {most_w / 1e6:.1f} MW then, {(taken + offer.power_w) / 1e6:.1f} MW must be "
            f"{'drawing or free to be' if offer.takes else 'drawing'}",
            taken + offer.power_w - most_w,
        )
    hours = (offer.until - offer.at).total_seconds() / 3600.0
    pays = offer.power_w / 1e6 * hours * offer.capacity_usd_per_mw_h
    return Keepable((most_w if offer.takes else shed) - taken - offer.power_w, pays, floor_costs_usd)


def by_site(commitments: Iterable[Commitment]) -> dict[str, list[Commitment]]:
    """Promises of each site that has some."""
    grouped: dict[str, list[Commitment]] = {}
    for one in commitments:
        grouped.setdefault(one.site_id, []).append(one)
    return grouped


def floor_w(commitments: Iterable[Commitment], start: datetime, end: datetime, lead: timedelta) -> float:
    """Load that accepted reserves need drawn in [start, end); `lead` ahead of each, since load comes back in
    stages. Deployed or released promises bind no more; those that take load bind while they are called."""
    total = 0.0
    for one in commitments:
        if one.takes:
            due = one.status == "deployed" and one.at < end and one.until > start
        else:
            due = one.status == "accepted" and one.at - lead < end and one.until > start
        total += one.power_w if due else 0.0
    return total


def unmet(
    commitments: Iterable[Commitment], start: datetime, end: datetime, load_w: float, limit: str, limit_w: float
) -> list[str]:
    """Accepted promises that a load does not cover in [start, end), the newest first to give way, each by how much."""
    standing = [
        c
        for c in commitments
        if c.status == "accepted" and not c.takes and c.at < end and c.until > start and c.power_w > 0
    ]
    parts, left_w = [], load_w
    for one in sorted(standing, key=lambda c: (c.known_at, c.commitment_id)):
        short_w = one.power_w - max(0.0, left_w)
        left_w -= one.power_w
        if short_w > METER_W:
            parts.append(
                f"promise {one.commitment_id} cannot be kept, short of {min(short_w, one.power_w) / 1e6:.1f} MW: "
                f"{one.power_w / 1e6:.1f} MW must be drawing, and {limit} ({limit_w / 1e6:.1f} MW) or the rigs leave "
                f"{max(0.0, one.power_w - short_w) / 1e6:.1f} MW for it"
            )
    return parts


def _overlaps(one: Commitment, other: Commitment) -> bool:
    return one.status in ("accepted", "deployed") and one.at < other.until and other.at < one.until

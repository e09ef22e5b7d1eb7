"""Calls of reserves in a backtest: when each would come, and how it was kept.

When a reserve is called is invented: a draw from its own name, an hour long, as often as its offer says that it is
deployed. Whoever sold it is called, nobody knows before. A call is an order to draw what was drawn just before less
what was promised, from its first minute; it is measured against the meter before it, from the response time on.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tieline.backtest.data import ScenarioWorld
from tieline.dispatch.inputs.arrays import Floats
from tieline.dispatch.inputs.forecast import SLOT_S
from tieline.records import Commitment

CALL_SLOTS = 3600 // SLOT_S
# Load that was called may take this long to be drawn again (assumed, as in the books).
RETURNS_SLOTS = 3 * 3600 // SLOT_S
# Less than this below a promise is the meter's own error.
METER_W = 10_000.0


@dataclass(frozen=True)
class Call:
    """One call: slots [first, last) of a site."""

    commitment_id: str
    site: int
    first: int
    last: int
    power_w: float
    response_s: int
    usd_per_mwh: float
    energy_usd_per_mwh: float = 0.0  # what its energy is paid, where a product pays it


def call_of(world: ScenarioWorld, offer: Commitment, share: float) -> Call | None:
    """The call that an offer would see, or none: the same for every policy and at every run."""
    first, last = world.slot(offer.at), world.slot(offer.until)
    draw = np.random.default_rng(zlib.crc32(f"{offer.commitment_id}|{offer.at.isoformat()}".encode()))
    hours = (last - first) * SLOT_S / 3600.0
    if last - first <= CALL_SLOTS or draw.random() >= share * hours:
        return None
    begins = first + int(draw.integers(1, last - first - CALL_SLOTS + 1))
    place = next(n for n, site in enumerate(world.fleet.sites) if site.id == offer.site_id)
    fine = offer.nonperformance_usd_per_mwh
    return Call(offer.commitment_id, place, begins, begins + CALL_SLOTS, offer.power_w, offer.response_s, fine)


@dataclass
class Played:
    """A site's calls that run: the load before each, and what was metered since."""

    before_w: dict[str, float] = field(default_factory=dict)
    metered: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # (seconds, watts) since the call

    def limit(self, calls: Mapping[str, Call], slot: int, load_w: Floats, limit_w: Floats) -> Floats:
        """`limit_w` (N,) with every call of this slot; `load_w` what was drawn just before."""
        out = limit_w.copy()
        for name, call in calls.items():
            if call.first <= slot < call.last:
                before = self.before_w.setdefault(name, float(load_w[call.site]))
                out[call.site] = min(out[call.site], max(0.0, before - call.power_w))
        return out

    def meter(self, calls: Mapping[str, Call], slot: int, seconds: float, load_w: Floats) -> None:
        for name, call in calls.items():
            if call.first <= slot < call.last:
                self.metered.setdefault(name, []).append((seconds, float(load_w[call.site])))

    def settle(self, call: Call) -> tuple[float, float] | None:
        """(MWh missed, USD of penalty); None where it was not played."""
        if call.commitment_id not in self.metered:
            return None
        passed, watt_s, counted_s = 0.0, 0.0, 0.0
        for seconds, watts in self.metered[call.commitment_id]:
            if passed >= call.response_s:
                watt_s, counted_s = watt_s + watts * seconds, counted_s + seconds
            passed += seconds
        if counted_s <= 0:
            return 0.0, 0.0
        missing_w = call.power_w - (self.before_w[call.commitment_id] - watt_s / counted_s)
        missed = missing_w / 1e6 * counted_s / 3600.0 if missing_w > METER_W else 0.0
        return missed, missed * call.usd_per_mwh

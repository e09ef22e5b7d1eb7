"""Modelled rig groups and node groups behind the same interface as real ones, always `kind="simulated"`.

One `World` moves all of them; it is advanced when somebody reads, at most once per second of its time, so
that forty agents that step together share one advance.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from tieline.dispatch.inference.gpu import GpuTable
from tieline.edge.device import Answer, Applied, Reading, Unreachable
from tieline.edge.surroundings import Surroundings
from tieline.fleet.physics import GPU_AUX, aux_share
from tieline.fleet.sites import Fleet, NodeGroup, RigGroup, Site
from tieline.records import Reason, Setpoint
from tieline.sim.world import Drawn, World

# The world moves in steps of at least this; shorter ones would only cost time.
SHORTEST = timedelta(seconds=1)
# After a pause (a suspended machine) it goes on from where it was, not through the hours missed.
LONGEST = timedelta(minutes=15)
# What a site's meter sees beyond its units. Losses of a loaded distribution transformer are about 1 %, lights, pumps
# and offices less than that; both shares are assumed.
TRANSFORMER_LOSS, STATION_FIXED_SHARE = 0.008, 0.001


class ModelledFleet:
    """The world that all modelled devices of one process share."""

    def __init__(self, fleet: Fleet, table: GpuTable, batch: int, surroundings: Surroundings) -> None:
        regions = tuple(sorted({site.region for site in fleet.sites}))
        self.world = World(fleet, table, batch, reach=dict.fromkeys(regions, regions))
        self._fleet, self._surroundings = fleet, surroundings
        self._at: datetime | None = None
        self._drawn: Drawn | None = None
        # Machines outlive the process that watches them: they are found running, as a host would run them, and
        # where nobody here may command them they stay so.
        for site in fleet.sites:
            for setpoint in _as_found(site):
                self.world.apply(setpoint)
        self.world.found_running()

    def drawn(self, now: datetime) -> tuple[datetime, Drawn]:
        """What everything drew when the world was last moved, and when that was."""
        if self._at is None or self._drawn is None:
            self._at, self._drawn = now, self._advance(now, SHORTEST)
        elif now - self._at >= SHORTEST:
            self._drawn = self._advance(now, min(now - self._at, LONGEST))
            self._at = now
        return self._at, self._drawn

    def _advance(self, now: datetime, span: timedelta) -> Drawn:
        self.world.set_weather({s.id: self._surroundings.temp_c(s, now) for s in self._fleet.sites})
        return self.world.advance(span.total_seconds(), self._surroundings.demand(now))

    def device(self, site: Site, unit: RigGroup | NodeGroup) -> ModelledDevice:
        return ModelledDevice(self, site, unit)

    def meter(self, site: Site) -> ModelledMeter | None:
        """None where real or fake rigs stand, of which this world knows nothing."""
        own = all(group.hardware == "modelled" for group in site.rig_groups)
        return ModelledMeter(self, site) if own else None


class ModelledDevice:
    """One modelled unit."""

    kind: Literal["measured", "simulated"] = "simulated"

    def __init__(self, fleet: ModelledFleet, site: Site, unit: RigGroup | NodeGroup) -> None:
        self.unit_id = unit.id
        self._fleet, self._unit = fleet, unit
        self._index = fleet.world.index[unit.id]
        self.highest_w = _highest_w(site, unit)
        self.lowest_w = 0.0  # told to draw nothing, the model's units are off, not asleep

    async def read(self, now: datetime) -> Reading | Unreachable:
        at, drawn = self._fleet.drawn(now)
        n = self._index
        is_rigs = isinstance(self._unit, RigGroup)
        count = self._unit.rigs if isinstance(self._unit, RigGroup) else self._unit.nodes
        return Reading(
            at=at,
            power_w=float(drawn.load_w[n] + drawn.aux_w[n]),
            hashrate_hs=float(drawn.hashrate_hs[n]) if is_rigs else None,
            devices=count,
            devices_heard=count,
            tokens_per_s=None if is_rigs else float(drawn.tokens_per_s[n]),
        )

    async def apply(self, setpoint: Setpoint, now: datetime) -> Answer:
        self._fleet.drawn(now)  # what was asked before holds until now
        self._fleet.world.apply(setpoint)
        return Applied("modelled")

    async def close(self) -> None:
        """Nothing is held."""


class ModelledMeter:
    """A site's meter in the model: its units, and its station's own load."""

    kind: Literal["measured", "simulated"] = "simulated"

    def __init__(self, fleet: ModelledFleet, site: Site) -> None:
        self._fleet, self._indices = fleet, [fleet.world.index[unit.id] for unit in site.units]
        self._fixed_w = STATION_FIXED_SHARE * site.interconnect.limit_w

    async def read(self, now: datetime) -> Reading | Unreachable:
        at, drawn = self._fleet.drawn(now)
        units_w = sum(float(drawn.load_w[n] + drawn.aux_w[n]) for n in self._indices)
        return Reading(at=at, power_w=units_w * (1 + TRANSFORMER_LOSS) + self._fixed_w)

    async def close(self) -> None:
        """Nothing is held."""


def _as_found(site: Site) -> list[Setpoint]:
    """All on, as far as the interconnect carries it on a hot day, the station's own load included."""
    reason = Reason(rule="host", text="found running")
    full_w = sum(_highest_w(site, unit) for unit in site.units)
    room_w = site.interconnect.limit_w * (1 - STATION_FIXED_SHARE) / (1 + TRANSFORMER_LOSS)
    part = min(1.0, room_w / full_w) if full_w > 0 else 1.0
    asked = []
    for unit in site.units:
        target_w = _highest_w(site, unit) * part
        if isinstance(unit, RigGroup):
            asked.append(Setpoint(unit_id=unit.id, target_w=target_w, reason=reason))
        else:
            count = int(unit.nodes * unit.replicas_per_node * part)
            asked.append(Setpoint(unit_id=unit.id, target_w=target_w, reason=reason, replicas=count))
    return asked


def _highest_w(site: Site, unit: RigGroup | NodeGroup) -> float:
    aux = aux_share(site.cooling_of(unit), None) if isinstance(unit, RigGroup) else GPU_AUX
    return unit.rated_w * (1 + aux)

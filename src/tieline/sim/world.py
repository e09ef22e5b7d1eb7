"""What a modelled fleet does with its setpoints: power, hashrate, tokens, over one span of time.

Knows no price, no policy and no store. Every unit is a population: a rig group split over its firmware's
modes, a node group with some replicas running. Physics and their assumptions are `fleet.physics`; a replica's
power and tokens come from a measured table (`dispatch.gpu`). Everything here is modelled, and whoever
publishes a figure of it says so. Deterministic: no clock, no chance.

Main path: `apply` what was asked, then `advance` by seconds; all units at once, arrays are (units,) or
(sites,) in the fleet's own order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tieline.dispatch.inference.gpu import GpuTable
from tieline.fleet import Fleet, NodeGroup, RigGroup
from tieline.fleet.models import Cooling
from tieline.fleet.physics import GPU_AUX, REBOOT_S, RIG_MODES, WAKE_S, aux_share, derate
from tieline.records import Setpoint

Floats = npt.NDArray[np.float64]

MODES = ("normal", "low", "sleep", "off")
_POWER = np.array([RIG_MODES[mode].power_share for mode in MODES])
_HASH = np.array([RIG_MODES[mode].hash_share for mode in MODES])
_FIXED_W = np.array([RIG_MODES[mode].fixed_w for mode in MODES])
_SLEEP, _OFF = MODES.index("sleep"), MODES.index("off")


@dataclass(frozen=True, slots=True)
class Drawn:
    """What happened over one span; averages over it, at the meter. Shapes (units,) unless said."""

    seconds: float
    load_w: Floats  # rigs or servers themselves
    aux_w: Floats  # cooling and fans that go with them
    hashrate_hs: Floats
    tokens_per_s: Floats  # output tokens served by modelled replicas
    started: Floats  # rigs or replicas that were started in this span
    unserved_per_s: dict[tuple[str, str], float]  # (model, region): tokens per second nobody could serve
    deferred_per_s: Floats  # of `tokens_per_s`, batch work that could have waited

    @property
    def power_w(self) -> Floats:
        return self.load_w + self.aux_w


def _cooled(fleet: Fleet) -> list[tuple[Cooling, str]]:
    """(how it is cooled, site's id) of each unit."""
    return [(site.cooling_of(unit), site.id) for site in fleet.sites for unit in site.units]


class World:
    """A modelled fleet and the state it is in."""

    def __init__(self, fleet: Fleet, table: GpuTable, batch: int, reach: Mapping[str, tuple[str, ...]] | None = None):
        """`batch`: concurrent streams a replica may carry; `reach`: regions that may serve another's users."""
        self.fleet, self.table = fleet, table
        self.reach = dict(reach or {})
        self.units = tuple(unit.id for site in fleet.sites for unit in site.units)
        self.index = {unit_id: n for n, unit_id in enumerate(self.units)}
        groups = [(s, unit) for s, site in enumerate(fleet.sites) for unit in site.units]
        count = len(groups)
        self._cooled = _cooled(fleet)
        self.site_of = np.array([s for s, _ in groups], dtype=np.intp)
        self.is_rig = np.array([isinstance(unit, RigGroup) for _, unit in groups], dtype=bool)
        self.rated_w = np.array([unit.rated_w for _, unit in groups], dtype=float)
        self.rated_hs = np.zeros(count)
        self.rigs = np.zeros(count)
        self.wake_s = np.zeros(count)
        self.replicas_max = np.zeros(count)
        self.places: dict[tuple[str, str], list[int]] = {}  # (model, region) -> its node groups
        for n, (s, unit) in enumerate(groups):
            match unit:
                case RigGroup():
                    self.rated_hs[n], self.rigs[n] = unit.rated_hs, unit.rigs
                    self.wake_s[n] = WAKE_S[unit.wake]
                case NodeGroup():
                    # Real replicas serve real tokens; they are not modelled here.
                    self.replicas_max[n] = max(0, unit.nodes * unit.replicas_per_node - unit.replicas_real)
                    self.places.setdefault((unit.model, fleet.sites[s].region), []).append(n)
        self._speeds = np.array([0.0, *(row[1] for row in table.rows)])
        self._watts = np.array([table.idle_w, *(row[2] * (1.0 + table.host_share) for row in table.rows)])
        self.replica_tokens_per_s = table.tokens_per_s(batch)
        self.shares = np.zeros((count, len(MODES)))  # (units, modes), rows of rig groups sum to 1
        self.shares[self.is_rig, _SLEEP] = 1.0
        self.replicas = np.zeros(count)
        self._asked = self.shares.copy()
        self._asked_replicas = self.replicas.copy()
        self._stuck = np.zeros(count)
        self._stuck_shares = self.shares.copy()
        self._waking = np.zeros(count)  # share of a group that draws and does not hash yet
        self._waking_s = np.zeros(count)
        self.aux = np.zeros(count)
        self.derate = np.ones(count)
        self.set_weather({})

    # --- what is asked, and what bears on it ---------------------------------

    def set_weather(self, temp_c: Mapping[str, float | None]) -> None:
        """Dry bulb by site id; a site that is absent has no known temperature."""
        felt = [(cooling, temp_c.get(site_id)) for cooling, site_id in self._cooled]
        self.aux = np.where(self.is_rig, [aux_share(*one) for one in felt], GPU_AUX)
        self.derate = np.where(self.is_rig, [derate(*one) for one in felt], 1.0)

    def apply(self, setpoint: Setpoint) -> None:
        """Ask one unit. Without `shares`, a rig group splits between normal and sleep to meet its watts."""
        n = self.index[setpoint.unit_id]
        if not self.is_rig[n]:
            wanted = self._replicas_for(n, setpoint)
            self._asked_replicas[n] = min(self.replicas_max[n], max(0.0, wanted))
        elif setpoint.shares:
            self._asked[n] = [setpoint.shares.get(mode, 0.0) for mode in MODES]
        else:
            self._asked[n] = self._shares_for(n, setpoint.target_w)

    def ask_all(self, shares: Floats, replicas: Floats) -> None:
        """Ask every unit at once: (units, modes) for rig groups, (units,) for node groups; the other rows of
        each are ignored."""
        self._asked = np.where(self.is_rig[:, None], shares, self._asked)
        wanted = np.clip(replicas, 0.0, self.replicas_max)
        self._asked_replicas = np.where(self.is_rig, self._asked_replicas, wanted)

    def found_running(self) -> None:
        """What was asked is how it has been running all along: nothing wakes, nothing loads."""
        self.shares, self.replicas = self._asked.copy(), self._asked_replicas.copy()
        self._waking = np.zeros_like(self._waking)
        self._waking_s = np.zeros_like(self._waking_s)

    def rest(self, unit_id: str) -> None:
        """A rig group sleeps; a node group drains: what a site does by itself when it is told nothing."""
        n = self.index[unit_id]
        self._asked[n] = 0.0
        if self.is_rig[n]:
            self._asked[n, _SLEEP] = 1.0
        self._asked_replicas[n] = 0.0

    def stick(self, stuck: Floats) -> None:
        """(sites,) share of each site's rigs that do not obey; they stay in the mode they are in now."""
        share = np.where(self.is_rig, stuck[self.site_of], 0.0)
        fresh = share != self._stuck
        self._stuck_shares[fresh] = self.shares[fresh]
        self._stuck = share

    def stuck_w(self) -> Floats:
        """(units,) draw at the meter of rigs that do not obey, in the mode they are stuck in."""
        load_w = self._stuck_shares @ _POWER * self.rated_w * self.derate + self._stuck_shares @ _FIXED_W * self.rigs
        return np.asarray(load_w * self._stuck * self.is_rig * (1.0 + self.aux))

    # --- what happens ----------------------------------------------------------

    def advance(
        self,
        seconds: float,
        demand: Mapping[tuple[str, str], float],
        supply: Floats | None = None,
        slow: Floats | None = None,
        limit_w: Floats | None = None,
        deferred: Floats | None = None,
        deferred_most: float = np.inf,
    ) -> Drawn:
        """Run for `seconds`. `demand`: output tokens per second by (model, region). All by site: `supply`, the
        share of the span with power from the grid; `slow`, how many times longer a wake takes; `limit_w`, what
        the site may draw: its own reflex sheds mining, least efficient first, when more would flow.
        `deferred` (units,): tokens per second of batch work that each unit may add to what it serves, in the
        room that interactive work leaves; all together at most `deferred_most`."""
        lit = np.ones(len(self.units)) if supply is None else supply[self.site_of]
        started = self._move(lit, np.ones(len(self.units)) if slow is None else slow[self.site_of])
        tokens, unserved, room = self._serve(demand, seconds, started, lit)
        later = np.zeros_like(tokens)
        if deferred is not None:
            later = np.minimum(np.maximum(0.0, deferred) * ~self.is_rig, np.maximum(0.0, room))
            if (total := float(later.sum())) > deferred_most:
                later *= max(0.0, deferred_most) / total
            tokens = tokens + later
        each = np.divide(tokens, self.replicas, out=np.zeros_like(tokens), where=self.replicas > 0)
        serving_w = self.replicas * np.interp(each, self._speeds, self._watts)
        mining_w = self._mining_w()
        if limit_w is not None:
            metered = np.bincount(self.site_of, (mining_w + serving_w) * (1.0 + self.aux) * lit, len(limit_w))
            for site in np.flatnonzero(metered > limit_w):
                self._shed(int(site), float(metered[site] - limit_w[site]))
            mining_w = self._mining_w()
        awake = self.shares[:, 0] + self.shares[:, 1]
        self._waking = np.minimum(self._waking, awake)
        lost = np.minimum(self._waking_s, seconds) / seconds * self._waking
        hashing = np.divide(awake - lost, awake, out=np.zeros_like(awake), where=awake > 0)
        hashrate = self.shares @ _HASH * self.rated_hs * self.derate * hashing * lit
        self._waking_s = np.maximum(0.0, self._waking_s - seconds)
        self._waking = np.where(self._waking_s > 0, self._waking, 0.0)
        load_w = (mining_w + serving_w) * lit
        if supply is not None:  # whoever was dark comes back from off, and has to boot
            dark = (lit < 1.0) & self.is_rig
            self.shares[dark] = 0.0
            self.shares[dark, _OFF] = 1.0
            self.replicas[lit < 1.0] = 0.0
        return Drawn(seconds, load_w, load_w * self.aux, hashrate, tokens, started, unserved, later)

    def full_mining_w(self) -> Floats:
        """(units,) draw at the meter of every rig in normal mode, as the heat allows."""
        return np.asarray(self.rated_w * self.derate * (1.0 + self.aux) * self.is_rig)

    def full_hashrate_hs(self) -> Floats:
        return np.asarray(self.rated_hs * self.derate)

    def _mining_w(self) -> Floats:
        modes = self.shares @ _POWER * self.rated_w * self.derate
        return np.asarray((modes + self.shares @ _FIXED_W * self.rigs) * self.is_rig)

    def _shed(self, site: int, over_w: float) -> None:
        """Put rigs of one site to sleep until `over_w` is gone from its meter, or nothing obeys any more."""
        here = [int(n) for n in np.flatnonzero((self.site_of == site) & self.is_rig)]
        for n in sorted(here, key=lambda n: -self.rated_w[n] / max(self.rated_hs[n], 1.0)):
            if over_w <= 0:
                return
            awake = self.shares[n, :_SLEEP]
            asleep_w = self.rigs[n] * _FIXED_W[_SLEEP] * awake.sum()
            saves_w = (float(awake @ _POWER[:_SLEEP]) * self.rated_w[n] * self.derate[n] - asleep_w) * (
                1.0 + self.aux[n]
            )
            if saves_w <= 0:
                continue
            part = min(1.0 - self._stuck[n], over_w / saves_w)
            self.shares[n, _SLEEP] += awake.sum() * part
            self.shares[n, :_SLEEP] = awake * (1.0 - part)
            over_w -= saves_w * part

    def _move(self, lit: Floats, slow: Floats) -> Floats:
        """Take the asked state, less what is stuck; returns how many machines were started."""
        new = self._asked * (1.0 - self._stuck)[:, None] + self._stuck_shares * self._stuck[:, None]
        new = np.where((self.is_rig & (lit > 0))[:, None], new, self.shares)
        before, after = self.shares[:, 0] + self.shares[:, 1], new[:, 0] + new[:, 1]
        woken = np.maximum(0.0, after - before)
        booted = np.minimum(woken, np.maximum(0.0, self.shares[:, _OFF] - new[:, _OFF]))
        takes_s = np.where(booted > 0, np.maximum(self.wake_s, REBOOT_S), self.wake_s) * slow
        self._waking_s = np.where(woken > 0, np.maximum(self._waking_s, takes_s), self._waking_s)
        self._waking = np.minimum(self._waking + woken, after)
        self.shares = new
        running = np.where(lit > 0, self._asked_replicas, self.replicas)
        loaded = np.maximum(0.0, running - self.replicas)
        self.replicas = running
        return woken * self.rigs + loaded

    def _serve(
        self, demand: Mapping[tuple[str, str], float], seconds: float, started: Floats, lit: Floats
    ) -> tuple[Floats, dict[tuple[str, str], float], Floats]:
        """Each region's demand to its own replicas first, then to those in reach with room; what room is left."""
        loading_s = min(self.table.load_s_warm, seconds)
        ready = self.replicas - np.minimum(started, self.replicas) * ~self.is_rig * (loading_s / seconds)
        room = ready * self.replica_tokens_per_s * lit
        tokens = np.zeros(len(self.units))
        left: dict[tuple[str, str], float] = {}
        for (model, region), wanted in demand.items():
            left[(model, region)] = self._fill(self.places.get((model, region), []), wanted, room, tokens)
        for model, region in list(left):
            for other in self.reach.get(region, ()):
                if left[(model, region)] > 0 and other != region:
                    places = self.places.get((model, other), [])
                    left[(model, region)] = self._fill(places, left[(model, region)], room, tokens)
        return tokens, {where: wanted for where, wanted in left.items() if wanted > 0}, room

    @staticmethod
    def _fill(places: list[int], wanted: float, room: Floats, tokens: Floats) -> float:
        """Share `wanted` over the places in proportion to their room; returns what is left."""
        total = float(room[places].sum()) if places else 0.0
        if total <= 0 or wanted <= 0:
            return max(0.0, wanted)
        taken = min(wanted, total)
        part = room[places] * (taken / total)
        tokens[places] += part
        room[places] -= part
        return wanted - taken

    def _shares_for(self, n: int, target_w: float) -> list[float]:
        meter = 1.0 + self.aux[n]
        full = self.rated_w[n] * self.derate[n] * meter
        rest = self.rigs[n] * _FIXED_W[_SLEEP] * meter
        if target_w < rest or full <= rest:
            asleep = max(0.0, target_w) / rest if rest > 0 else 0.0
            return [0.0, 0.0, min(1.0, asleep), 1.0 - min(1.0, asleep)]
        up = min(1.0, (target_w - rest) / (full - rest))
        return [up, 0.0, 1.0 - up, 0.0]

    def _replicas_for(self, n: int, setpoint: Setpoint) -> float:
        if setpoint.replicas is not None:
            return float(setpoint.replicas)
        return float(np.floor(setpoint.target_w / (self._watts[-1] * (1.0 + self.aux[n])) + 1e-9))

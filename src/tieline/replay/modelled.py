"""A modelled fleet living through known days: plans delivered, samples folded, money settled.

Between the controller and the modelled hardware stands what stands there in the field: a link that can be
lost, a plan that runs out, readings that go stale. Replay and a demo's history run through here; both label
what comes out as simulated.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from tieline.clock import Interval
from tieline.dispatch import Settings, load_table
from tieline.fleet import Fleet, NodeGroup, RigGroup
from tieline.records import Plan, Reason, Sample, Setpoint
from tieline.settlement.truth import Truth
from tieline.sim.world import Drawn, Floats, World

# A fault of the control plane itself (a late solve) is told of this site.
EVERY_SITE = "*"


@dataclass
class IntervalTotals:
    """One interval, added up from its parts: energies in Wh, hashes, tokens. Arrays are (units,)."""

    interval: Interval
    load_wh: Floats
    aux_wh: Floats
    hashes: Floats
    tokens: Floats
    started: Floats
    max_w: Floats
    over_limit_s: Floats  # (sites,) seconds above the limit that was in force
    always_on_wh: Floats  # (sites,) what mining would have drawn had it never been curtailed
    always_on_hashes: Floats  # (sites,)
    unserved: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def power_w(self) -> Floats:
        return (self.load_wh + self.aux_wh) / self.interval.hours


class ReplayFleet:
    """The world, and the site between it and the plan."""

    def __init__(self, fleet: Fleet, settings: Settings, source: str) -> None:
        self.fleet, self.source = fleet, source
        table = load_table(settings.gpu_table)
        self.world = World(fleet, table, settings.interactive_batch, settings.reach)
        self.in_force: dict[str, Plan] = {}
        self._site = {site.id: n for n, site in enumerate(fleet.sites)}
        self._site_id_of = [fleet.sites[s].id for s in self.world.site_of]
        self._temps: dict[str, float | None] = {}
        self._last_reading: dict[str, Sample] = {}
        self._held_back: dict[str, list[Sample]] = {}
        self._rig_counts = [int(n) for n in self.world.rigs]
        for site in fleet.sites:
            if not site.may_act:  # nobody here commands it: it runs as its host runs it, all on
                for unit in site.units:
                    self.world.apply(_all_on(unit))

    # --- plans in --------------------------------------------------------------

    def deliver(self, plans: Iterable[Plan], now: datetime, truth: Truth) -> None:
        """Give each site its plan, where the link and the solver let it through; what has run out falls to
        the site's safe default."""
        hosted = {site.id for site in self.fleet.sites if not site.may_act}
        cut = {f.site_id for what in ("link_loss", "late_solve") for f in truth.active(what, now)}
        if EVERY_SITE in cut:
            cut = {site.id for site in self.fleet.sites}
        for plan in plans:
            if plan.site_id in cut or plan.site_id in hosted:
                continue
            self.in_force[plan.site_id] = plan
            for setpoint in plan.setpoints:
                self.world.apply(setpoint)
        for site_id in sorted(cut):
            plan_held = self.in_force.get(site_id)
            if plan_held is not None and now >= plan_held.valid_until:
                self._safe_default(site_id)

    def _safe_default(self, site_id: str) -> None:
        site = self.fleet.site(site_id)
        if site.safe_default == "hold":
            return
        for unit in site.rig_groups if site.safe_default == "mining_off" else site.units:
            self.world.rest(unit.id)

    # --- the world between two moments -----------------------------------------

    def begin(self, interval: Interval) -> IntervalTotals:
        units, sites = len(self.world.units), len(self.fleet.sites)
        load, aux, hashes, tokens, started, peak = (np.zeros(units) for _ in range(6))
        over, always_wh, always_hashes = (np.zeros(sites) for _ in range(3))
        return IntervalTotals(interval, load, aux, hashes, tokens, started, peak, over, always_wh, always_hashes)

    def run(self, span: IntervalTotals, start: datetime, end: datetime, truth: Truth) -> None:
        """Let the world run over [start, end) of the span; nothing that bears on it changes inside."""
        seconds = (end - start).total_seconds()
        temps = truth.temperatures(start)
        if temps != self._temps:
            self._temps = temps
            self.world.set_weather(temps)
        sites = len(self.fleet.sites)
        supply, slow, stuck = np.ones(sites), np.ones(sites), np.zeros(sites)
        for fault in truth.faults:
            if fault.at <= start < (fault.until or fault.at) and fault.site_id in self._site:
                n = self._site[fault.site_id]
                if fault.what == "outage":
                    supply[n] = 0.0
                elif fault.what == "slow_wake" and fault.factor is not None:
                    slow[n] = max(slow[n], fault.factor)
                elif fault.what == "stuck_rigs" and fault.share is not None:
                    stuck[n] = max(stuck[n], fault.share)
        self.world.stick(stuck)
        limit_w = np.array([self._limit_w(site.id, truth, start) for site in self.fleet.sites])
        drawn = self.world.advance(seconds, truth.demand(start), supply, slow, limit_w)
        self._add(span, drawn, supply, limit_w)

    def _add(self, span: IntervalTotals, drawn: Drawn, supply: Floats, limit_w: Floats) -> None:
        hours, world = drawn.seconds / 3600.0, self.world
        power_w = drawn.power_w
        span.load_wh += drawn.load_w * hours
        span.aux_wh += drawn.aux_w * hours
        span.hashes += drawn.hashrate_hs * drawn.seconds
        span.tokens += drawn.tokens_per_s * drawn.seconds
        span.started += drawn.started
        span.max_w = np.maximum(span.max_w, power_w)
        for where, lost in drawn.unserved_per_s.items():
            span.unserved[where] = span.unserved.get(where, 0.0) + lost * drawn.seconds
        sites = len(self.fleet.sites)
        metered_w = np.bincount(world.site_of, power_w, sites)
        # Rounding of setpoints is tenths of a watt; a tenth of a per mille is not.
        span.over_limit_s += (metered_w > limit_w * 1.0001 + 1.0) * drawn.seconds
        serving_w = np.bincount(world.site_of, power_w * ~world.is_rig, sites)
        full_w = np.bincount(world.site_of, world.full_mining_w(), sites) * supply
        share = np.clip((limit_w - serving_w) / np.where(full_w > 0, full_w, 1.0), 0.0, 1.0)
        span.always_on_wh += full_w * share * hours
        full_hs = np.bincount(world.site_of, world.full_hashrate_hs(), sites) * supply
        span.always_on_hashes += full_hs * share * drawn.seconds

    def _limit_w(self, site_id: str, truth: Truth, moment: datetime) -> float:
        """What the site might draw: interconnect, lowered by derates and by orders past their notice."""
        limit_w = self.fleet.sites[self._site[site_id]].interconnect.limit_w
        for fault in truth.faults:
            if (
                fault.limit_w is not None
                and fault.site_id == site_id
                and fault.at <= moment < (fault.until or fault.at)
            ):
                limit_w = min(limit_w, fault.limit_w)
        for order in truth.orders:
            due = order.at + timedelta(seconds=order.notice_s)
            if order.site_id == site_id and due <= moment < order.until:
                limit_w = min(limit_w, order.limit_w)
        return limit_w

    # --- samples out -------------------------------------------------------------

    def samples(self, span: IntervalTotals, truth: Truth) -> list[Sample]:
        """One per unit, as they arrive: stale readings repeat, and a site without its link tells later."""
        interval, seconds = span.interval, span.interval.length.total_seconds()
        at, end = interval.start, interval.end
        stale = {f.site_id for f in truth.active("stale_readings", at)}
        silent = {f.site_id for f in truth.active("link_loss", end)}
        power, peak = np.round(span.power_w, 1).tolist(), np.round(span.max_w, 1).tolist()
        hashrate = np.round(span.hashes / seconds, -6).tolist()
        tokens = np.rint(span.tokens).tolist()
        samples = self._come_back(silent)
        for n, unit_id in enumerate(self.world.units):
            site_id, rig = self._site_id_of[n], bool(self.world.is_rig[n])
            last = self._last_reading.get(unit_id) if site_id in stale else None
            temp, devices = self._temps.get(site_id), self._rig_counts[n] if rig else None
            if last is not None:
                reading = (last.power_w, last.power_max_w, last.hashrate_hs, last.tokens, last.last_heard)
            else:
                made = (hashrate[n], None) if rig else (None, int(tokens[n]))
                reading = (power[n], peak[n], *made, end)
            sample = Sample(
                at=at,
                known_at=end,
                source=self.source,
                kind="simulated",
                site_id=site_id,
                unit_id=unit_id,
                length_s=int(seconds),
                readings=1,
                power_w=reading[0],
                power_max_w=reading[1],
                hashrate_hs=reading[2],
                temp_c=None if temp is None else round(temp, 2),
                devices=devices,
                devices_heard=devices,
                tokens=reading[3],
                last_heard=reading[4],
            )
            if last is None:
                self._last_reading[unit_id] = sample
            if site_id in silent:
                self._held_back.setdefault(site_id, []).append(sample)
            else:
                samples.append(sample)
        return [s if s.known_at >= end else _told_at(s, end) for s in samples]

    def _come_back(self, silent: set[str]) -> list[Sample]:
        """Samples of sites whose link is there again."""
        samples: list[Sample] = []
        for site_id in [s for s in self._held_back if s not in silent]:
            samples += self._held_back.pop(site_id)
        return samples


def _all_on(unit: RigGroup | NodeGroup) -> Setpoint:
    reason = Reason(rule="host", text="runs as its host runs it")
    if isinstance(unit, RigGroup):
        return Setpoint(unit_id=unit.id, target_w=unit.rated_w, reason=reason, shares={"normal": 1.0})
    return Setpoint(unit_id=unit.id, target_w=unit.rated_w, reason=reason, replicas=unit.nodes * unit.replicas_per_node)


def _told_at(sample: Sample, moment: datetime) -> Sample:
    """The same sample, known only when the link was back."""
    fields = {name: getattr(sample, name) for name in sample.__struct_fields__}
    return Sample(**{**fields, "known_at": moment})

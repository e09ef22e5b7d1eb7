"""A modelled fleet driven through recorded time, and what it earned.

The same for every policy: physics (`sim.world`), the edge's reflex (limits and orders hold within a minute
whatever a policy asks), staged restore, and settlement at true prices. Everything is modelled; prices,
weather, difficulty and the shape of demand are recorded.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np

from tieline.backtest.calls import Call, Played
from tieline.backtest.data import ScenarioWorld, SiteEvent
from tieline.backtest.tokens import ServedTokens, Tokens
from tieline.clock import micros
from tieline.dispatch.contracts import network_path, resale_path
from tieline.dispatch.inference.gpu import GpuTable
from tieline.dispatch.inputs.arrays import LOW, Bools, FleetArrays, Floats, fleet_arrays, heat
from tieline.dispatch.inputs.forecast import SLOT_S, SLOTS_PER_DAY
from tieline.dispatch.mining.lookahead import Ahead, powers
from tieline.dispatch.settings import Settings
from tieline.fleet import NodeGroup, Site
from tieline.fleet.physics import GPU_AUX
from tieline.sim.world import Drawn
from tieline.sim.world import World as Physics

REACT = timedelta(minutes=1)  # the edge's reflex, generously
NONPERFORMANCE_USD_PER_MWH = 2_000.0  # of every offer of the standard scenario


@dataclass(frozen=True)
class PlantTargets:
    """A policy's word for one interval: (G,) share that runs, whether low or normal pays, whether the rest is
    off rather than asleep; (nodes,) replicas, and the tokens/s of batch work that may run (None: all at once)."""

    run: Floats
    up: Bools
    off: Bools
    replicas: Floats
    batch: float | None = None


@dataclass
class Tally:
    """What a run came to. USD unless named."""

    mining: float = 0.0
    inference: float = 0.0
    power: float = 0.0
    wear: float = 0.0
    peaks: float = 0.0
    penalties: float = 0.0
    credits: float = 0.0
    reserves: float = 0.0
    reserve_mwh: float = 0.0  # MW x hours of capacity awarded day by day
    mwh: float = 0.0
    mining_mwh: float = 0.0
    tokens: float = 0.0
    tokens_lost: float = 0.0  # interactive, not served when asked
    batch_tokens: float = 0.0  # of `tokens`
    batch_lost: float = 0.0  # past their deadline
    starts: float = 0.0  # whole-group starts, summed over groups
    most_starts: float = 0.0  # of one group in one day
    group_days: float = 0.0
    violation_minutes: float = 0.0
    infeasible: list[str] = field(default_factory=list)
    commitments: int = 0
    commitments_kept: int = 0
    calls: int = 0  # of reserves that were sold
    calls_kept: int = 0
    missed_mwh: float = 0.0  # of what calls were promised
    short: set[tuple[int, int]] = field(default_factory=set)  # (site, slot) under the floor of a reserve
    short_mwh: float = 0.0  # under the floors of reserves
    service_hours: int = 0
    service_missed: int = 0
    by_day: dict[str, float] = field(default_factory=dict)
    by_span: dict[str, float] = field(default_factory=dict)

    @property
    def net(self) -> float:
        return (
            self.mining
            + self.inference
            + self.reserves
            - self.power
            - self.wear
            - self.peaks
            - self.penalties
            - self.credits
        )


@dataclass(frozen=True, slots=True)
class _Step:
    """One step of the meter and what bound it; `slot` is the one it begins in."""

    slot: int
    begin: datetime
    seconds: int
    limit: Floats
    orders: list[SiteEvent]
    stuck_w: Floats
    floors: Floats | None

    @property
    def hours(self) -> float:
        return self.seconds / 3600.0

    @property
    def hour_ends(self) -> bool:
        return (micros(self.begin) + self.seconds * 1_000_000) % 3_600_000_000 == 0


@dataclass(frozen=True, slots=True)
class _Happening:
    """What happens at the sites in one step: (N,) each, and the orders that bind."""

    limit: Floats
    supply: Floats
    slow: Floats
    stuck: Floats
    cut: Bools
    orders: list[SiteEvent]


class Plant:
    """The fleet's state and its meter, moved from step to step."""

    def __init__(
        self,
        world: ScenarioWorld,
        fleet: FleetArrays,
        table: GpuTable,
        settings: Settings,
        *,
        simple: bool = False,
        end: int | None = None,
    ) -> None:
        """`simple`: no auxiliary load, heat, limits, waking or restore: the control, where a strike is optimal.
        `end`: the slot by which all batch work is due."""
        self.world, self.fleet, self.settings, self.simple = world, fleet, settings, simple
        self.physics = Physics(world.fleet, table, settings.interactive_batch, world.reach)
        self.table = table
        units = [(n, u) for n, s in enumerate(world.fleet.sites) for u in s.units]
        place = {u.id: i for i, (_, u) in enumerate(units)}
        self.rig_rows = np.array([place[name] for name in fleet.unit_ids], dtype=np.intp)
        self.nodes = [(i, n, u) for i, (n, u) in enumerate(units) if isinstance(u, NodeGroup)]
        self.node_rows = np.array([i for i, _, _ in self.nodes], dtype=np.intp)
        self.node_site = np.array([n for _, n, _ in self.nodes], dtype=np.intp)
        self.models = {u.model for _, _, u in self.nodes}
        self.model = next(iter(self.models), "")
        self.full_replica_w = table.power_w(table.tokens_per_s(settings.interactive_batch)) * (1.0 + GPU_AUX)
        self.tally = Tally()
        self.calls: dict[str, Call] = {}  # of what this policy sold
        self.played = Played()
        self.load_w = np.zeros(len(world.fleet.sites))  # at the end of the last step
        self.last_w = np.zeros(fleet.groups)  # mining draw at the end of the last step
        contract = [s.contract for s in world.fleet.sites]
        self.take_w = np.array(
            [c.take_share * s.interconnect.limit_w for c, s in zip(contract, world.fleet.sites, strict=True)]
        )
        self.fixed = np.array([c.basis == "fixed" for c in contract])
        self.true_price = true_prices(world, settings)
        self._sums: dict[str, Floats] = {}
        self.hour_mwh = np.zeros(len(contract))
        self.tokens = Tokens(world, settings, self.model, world.slots if end is None else end)
        self.started_today = np.zeros(fleet.groups)
        self.aux = np.zeros(fleet.groups)
        self.derate = np.ones(fleet.groups)

    # --- state a policy may see ---------------------------------------------

    @property
    def running(self) -> Floats:
        shares = self.physics.shares[self.rig_rows]
        return np.asarray(shares[:, 0] + shares[:, 1])

    @property
    def asleep(self) -> Floats:
        return np.asarray(self.physics.shares[self.rig_rows, 2])

    @property
    def replicas(self) -> Floats:
        return np.asarray(self.physics.replicas[self.node_rows])

    def sums_of(self, market: str) -> Floats:
        """(slots + 1,) running sum of a market's prices as they were settled."""
        if market not in self._sums:
            site = next(
                (s for s in self.world.fleet.sites if s.contract.market_15min == market),
                next((s for s in self.world.fleet.sites if s.contract.market == market), None),
            )
            series = None if site is None else settled(self.world, site)
            assert series is not None, f"nobody is settled at {market}"
            self._sums[market] = np.concatenate([[0.0], np.cumsum(series)])
        return self._sums[market]

    def inference_w(self) -> Floats:
        """(N,) at the meter, as the replicas now drawn would draw in full: the safe side of a limit."""
        out = np.zeros(len(self.world.fleet.sites))
        np.add.at(out, self.node_site, self.replicas * self.full_replica_w)
        return out

    # --- one interval ----------------------------------------------------------

    def run(self, slot: int, seconds: int, asked: PlantTargets, floors: Floats | None = None) -> None:
        """Carry out what was asked, in steps of five minutes or shorter where something happens."""
        temp = self.world.temp_c[slot]
        sites = self.world.fleet.sites
        if self.simple:
            self.aux, self.derate = np.zeros(self.fleet.groups), np.ones(self.fleet.groups)
            self.physics.aux = np.where(self.physics.is_rig, 0.0, GPU_AUX)
        else:
            self.aux, self.derate = heat(self.fleet.air, temp[self.fleet.site])
            known = {s.id: None if np.isnan(t) else float(t) for s, t in zip(sites, temp, strict=True)}
            self.physics.set_weather(known)
        at = 0
        for end in self._edges(slot, seconds):
            self._step(slot, at, end - at, asked, floors)
            at = end

    def _edges(self, slot: int, seconds: int) -> list[int]:
        begin = self.world.when(slot)
        finish = begin + timedelta(seconds=seconds)
        busy = [e for e in self.world.events if e.at - REACT < finish and e.until + REACT > begin]
        if not busy or self.simple:
            step = 300 if self.settings.restore_share_per_5min is not None and seconds <= 900 else seconds
            return list(range(step, seconds + 1, step))
        marks = set(range(300, seconds + 1, 300))
        for event in busy:
            for moment in (event.at, event.at + timedelta(seconds=event.notice_s), event.until):
                offset = (micros(moment) - micros(begin)) / 1e6
                minute = int(-(-offset // 60) * 60)
                if 0 < minute < seconds:
                    marks.add(minute)
        return sorted(marks)

    def _happening(self, now: datetime, end: datetime) -> _Happening:
        """What events make of the sites between two times; the control has none, and knows no waking."""
        sites = len(self.world.fleet.sites)
        limit = self.fleet.limit_w.copy() if not self.simple else np.full(sites, 1e12)
        supply, slow, stuck = np.ones(sites), np.full(sites, 0.0 if self.simple else 1.0), np.zeros(sites)
        cut = np.zeros(sites, dtype=bool)
        orders: list[SiteEvent] = []
        for event in () if self.simple else self.world.events:
            if event.at >= end or event.until <= now:
                continue
            match event.kind:
                case "order" if event.limit_w is not None and now >= event.at + timedelta(seconds=event.notice_s):
                    limit[event.site] = min(limit[event.site], event.limit_w)
                    orders.append(event)
                case "derate" if event.limit_w is not None:
                    limit[event.site] = min(limit[event.site], event.limit_w)
                case "outage":
                    supply[event.site] = 0.0
                case "slow_wake":
                    slow[event.site] = max(slow[event.site], event.factor)
                case "stuck_rigs":
                    stuck[event.site] = max(stuck[event.site], event.share)
                case "link_loss" if now - event.at >= timedelta(seconds=self.settings.valid_for_s):
                    cut[event.site] = True
                case _:
                    pass
        return _Happening(limit, supply, slow, stuck, cut, orders)

    def _step(self, slot: int, at: int, seconds: int, asked: PlantTargets, floors: Floats | None) -> None:
        now = self.world.when(slot) + timedelta(seconds=at)
        sites = len(self.world.fleet.sites)
        here = self._happening(now, now + timedelta(seconds=seconds))
        first = slot + at // SLOT_S
        limit = self.played.limit(self.calls, first, self.load_w, here.limit)
        self.physics.stick(here.stuck)
        stuck_w = self.physics.stuck_w()
        stuck_site = np.zeros(sites)
        np.add.at(stuck_site, self.physics.site_of, stuck_w)
        fits = np.floor(np.maximum(0.0, limit - stuck_site)[self.node_site] / self.full_replica_w)
        # A replica drains only when what replaces it has loaded.
        keep = np.maximum(asked.replicas, self.replicas) if at == 0 else asked.replicas
        replicas = np.minimum(keep, fits)
        base = stuck_site.copy()
        np.add.at(base, self.node_site, replicas * self.full_replica_w)
        shares, mining_w = self._fit(asked, limit, base, here.cut, here.stuck, seconds)
        all_shares = self.physics.shares.copy()
        all_shares[self.rig_rows] = shares
        all_replicas = self.physics.replicas.copy()
        all_replicas[self.node_rows] = replicas
        self.physics.ask_all(all_shares, all_replicas)
        demand = self.tokens.asked(first, seconds)
        later = None
        if self.nodes:
            later = np.zeros(len(self.physics.units))
            later[self.node_rows] = np.inf
        most = np.inf if asked.batch is None else asked.batch
        drawn = self.physics.advance(
            float(seconds),
            demand if self.nodes else {},
            here.supply,
            here.slow,
            deferred=later,
            deferred_most=min(most, self.tokens.backlog.tokens / seconds),
        )
        served = self.tokens.book(
            first, seconds, demand, drawn.unserved_per_s, float(drawn.deferred_per_s.sum()) * seconds
        )
        self.last_w = np.where(here.supply[self.fleet.site] > 0, mining_w, 0.0)
        self.tally.batch_tokens += float(drawn.deferred_per_s.sum()) * seconds
        self._book(_Step(first, now, seconds, limit, here.orders, stuck_w, floors), drawn, served)

    def _fit(
        self, asked: PlantTargets, limit: Floats, base: Floats, cut: Bools, stuck: Floats, seconds: int
    ) -> tuple[Floats, Floats]:
        """(G, modes) shares that hold the limit and come back in stages, and their draw."""
        fleet = self.fleet
        one = Ahead(
            hours=np.ones(1),
            usd_per_h=np.ones(fleet.groups),
            aux=self.aux[None],
            derate=self.derate[None],
            limit_w=limit[None],
            base_w=base[None],
            price=np.zeros((1, len(limit), 1)),
        )
        _, most = powers(fleet, one)
        cap = most[0]
        if self.settings.restore_share_per_5min is not None and not self.simple:
            rise = self.settings.restore_share_per_5min * fleet.limit_w[fleet.site] * seconds / 300.0
            cap = np.minimum(cap, self.last_w + rise)
        meter = fleet.rated_w * self.derate * (1.0 + self.aux) * (1.0 - stuck[fleet.site])
        sleep = np.where(asked.off, 0.0, fleet.sleep_w * (1.0 + self.aux))
        run = np.where(cut[fleet.site], 0.0, asked.run)
        low = np.maximum(1e-9, LOW.power_share * meter)
        on = np.clip(np.minimum(run, (cap - sleep) / np.maximum(1e-9, low - sleep)), 0.0, 1.0)
        on = np.where(meter > 1.0, on, 0.0)
        room = cap - on * low - (1.0 - on) * sleep
        up = np.clip(room / np.maximum(1e-9, (1.0 - LOW.power_share) * meter), 0.0, on) * asked.up
        rest = 1.0 - on
        off = np.where(asked.off | (cap < sleep * rest - 1.0), rest, 0.0)
        shares = np.stack([up, on - up, rest - off, off], axis=1)
        power = on * low + up * (1.0 - LOW.power_share) * meter + (rest - off) * fleet.sleep_w * (1.0 + self.aux)
        return shares, power

    def _book(self, step: _Step, drawn: Drawn, served: ServedTokens) -> None:
        tally, slot, seconds, hours = self.tally, step.slot, step.seconds, step.hours
        limit, hour_ends = step.limit, step.hour_ends
        sites = len(self.world.fleet.sites)
        site_w = np.zeros(sites)
        np.add.at(site_w, self.physics.site_of, drawn.power_w)
        self.load_w = site_w
        self.played.meter(self.calls, slot, seconds, site_w)
        mwh = site_w / 1e6 * hours
        above, below = self.true_price[0][slot], self.true_price[1][slot]
        self.hour_mwh += mwh
        spot = float((mwh * above)[~self.fixed].sum())
        hash_usd = float(drawn.hashrate_hs.sum()) / 1e15 / 24.0 * hours * float(self.world.hashprice_usd[slot])
        earned = hash_usd * self.settings.keeps
        started = drawn.started[self.rig_rows] / np.maximum(1.0, self.physics.rigs[self.rig_rows])
        wear = float((started * self.fleet.wear_usd).sum())
        tally.inference += served.usd
        tally.tokens += served.tokens
        tally.tokens_lost += served.lost
        tally.mining += earned
        tally.power += spot
        tally.wear += wear
        tally.mwh += float(mwh.sum())
        tally.mining_mwh += float(drawn.power_w[self.rig_rows].sum()) / 1e6 * hours
        tally.starts += float(started.sum())
        self.started_today += started
        if hour_ends and (slot + max(1, seconds // SLOT_S)) % SLOTS_PER_DAY == 0:
            self.close()
        tally.group_days += self.fleet.groups * hours / 24.0
        day = earned + served.usd - spot - wear
        over = site_w - limit
        for n in map(int, np.flatnonzero(over > 1e3)):
            rigs = self.fleet.site == n
            free = float((drawn.power_w - step.stuck_w)[self.rig_rows][rigs].sum())
            rest = float(self.fleet.sleep_w[rigs].sum()) * 1.2
            if free > rest + 1e4:
                tally.violation_minutes += seconds / 60.0
            elif len(tally.infeasible) < 200:
                tally.infeasible.append(f"{self.world.fleet.sites[n].id} over by {over[n] / 1e6:.2f} MW")
            for order in step.orders:
                if order.site == n:
                    fine = over[n] / 1e6 * hours * order.penalty_usd_per_mwh
                    tally.penalties += fine
                    day -= fine
        if not self.simple and self.world.peaks.was:
            usd = self.world.peaks.charge_usd(step.begin, seconds, site_w)
            tally.peaks += usd
            day -= usd
        when = self.world.when(slot)
        if step.floors is not None:
            day -= self._short_of(step, site_w)
        self._day(when.strftime("%Y-%m-%d"), day)
        if hour_ends:
            self._close_hour(above, below, slot + max(1, seconds // SLOT_S), when.strftime("%Y-%m-%d"))

    def close(self) -> None:
        """The end of a day: how often its busiest group was started."""
        self.tally.most_starts = max(self.tally.most_starts, float(self.started_today.max(initial=0.0)))
        self.started_today[:] = 0.0

    def _close_hour(self, above: Floats, below: Floats, next_slot: int, day: str) -> None:
        """Take-or-pay is billed by the hour, service levels too."""
        if self.fixed.any():
            take = self.take_w / 1e6
            # Power contracted and not drawn is paid, less what its sale brings.
            paid = above * np.maximum(self.hour_mwh, take) - below * np.maximum(0.0, take - self.hour_mwh)
            bill = float(paid[self.fixed].sum())
            self.tally.power += bill
            self._day(day, -bill)
        self.hour_mwh[:] = 0.0
        count, missed, credit, late = self.tokens.close_hour(next_slot)
        self.tally.service_hours += count
        self.tally.service_missed += missed
        self.tally.credits += credit
        self.tally.batch_lost += late
        self._day(day, -credit)

    def _short_of(self, step: _Step, site_w: Floats) -> float:
        """Penalty for load that a reserve needed drawn and was not; an order to shed releases it."""
        assert step.floors is not None
        due = np.where(step.limit < self.fleet.limit_w, np.minimum(step.floors, step.limit), step.floors)
        missing = np.maximum(0.0, due - site_w - 1e4) / 1e6 * step.hours
        fine = float(missing.sum()) * NONPERFORMANCE_USD_PER_MWH
        self.tally.penalties += fine
        self.tally.short_mwh += float(missing.sum())
        self.tally.short.update((int(n), step.slot) for n in np.flatnonzero(missing > 0))
        return fine

    def _day(self, day: str, usd: float) -> None:
        self.tally.by_day[day] = self.tally.by_day.get(day, 0.0) + usd


def true_prices(world: ScenarioWorld, settings: Settings) -> tuple[Floats, Floats]:
    """(slots, N) above and below the contracted level, as they were settled. A slot without a price is settled
    at the hourly market where the 15-minute one is missing, else at the last known price."""
    sites = world.fleet.sites
    above, below = np.zeros((world.slots, len(sites))), np.zeros((world.slots, len(sites)))
    for n, site in enumerate(sites):
        contract, series = site.contract, settled(world, site)
        if contract.basis == "fixed":
            fixed = np.full(world.slots, contract.fixed_usd_per_mwh or 0.0)
            above[:, n] = fixed + contract.adder_usd_per_mwh
            if contract.take_share <= 0:
                below[:, n] = above[:, n]
            elif contract.resale and series is not None:
                below[:, n] = resale_path(contract, series, settings.resale_discount)
            energy = fixed
        else:
            assert series is not None
            energy = series * contract.scale
            above[:, n] = below[:, n] = energy + contract.adder_usd_per_mwh
        if contract.network:
            taken = network_path(contract, [world.when(slot) for slot in range(world.slots)], energy)
            above[:, n] += taken
            below[:, n] += taken
    return above, below


def settled(world: ScenarioWorld, site: Site) -> Floats | None:
    """(slots,) the market price that a site's power was settled at."""
    series: Floats | None = None
    for name in (site.contract.market_15min, site.contract.market):
        if name is not None and name in world.markets:
            values = world.markets[name].values
            series = values.copy() if series is None else np.where(np.isnan(series), values, series)
    if series is None:
        return None
    place = np.maximum.accumulate(np.where(np.isnan(series), 0, np.arange(len(series))))
    return np.nan_to_num(series[place])


def groups_of(world: ScenarioWorld, settings: Settings, simple: bool) -> FleetArrays:
    """The fleet as arrays; in the control nothing takes time to wake."""
    fleet = fleet_arrays(world.fleet, settings)
    none = np.zeros(fleet.groups)
    return replace(fleet, wake_h=none, boot_h=none) if simple else fleet

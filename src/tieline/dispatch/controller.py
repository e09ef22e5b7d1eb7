"""Each interval: read what is known, decide every site, keep the plans, send them.

`step(now)` is the same live and in replay. Nothing here reads a clock; the only output is Plan records.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
import numpy as np

from tieline.clock import Interval, micros
from tieline.dispatch.commitments import by_site, floor_w, unmet
from tieline.dispatch.contracts import PowerCost, power_cost
from tieline.dispatch.demand_charge import Demands, with_demand
from tieline.dispatch.desk.peaks import PeakDesk
from tieline.dispatch.inference.afford import affordable, replica_bid_usd_per_mwh
from tieline.dispatch.inference.deferred import owed_words
from tieline.dispatch.inference.gpu import load_table
from tieline.dispatch.inference.serve import ServingTargets, reserved_at, serve
from tieline.dispatch.inference.serving import Room, Wanted, assign
from tieline.dispatch.inputs.arrays import Floats, fleet_arrays
from tieline.dispatch.inputs.expectations import expectations
from tieline.dispatch.inputs.forecast import Forecaster
from tieline.dispatch.inputs.forecasters import forecaster_of
from tieline.dispatch.inputs.foresight import FromOutlook, peak_adders, rules_of
from tieline.dispatch.inputs.horizon import Grid, grid
from tieline.dispatch.inputs.outlook import Outlook, SiteView
from tieline.dispatch.mining.ahead import SiteConditions, build, surroundings
from tieline.dispatch.mining.lookahead import held
from tieline.dispatch.mining.policy import Memory, Wish, decide, remember
from tieline.dispatch.plan import Decision, SiteProblem, plan_site
from tieline.dispatch.reasons import GroupTarget
from tieline.dispatch.settings import Settings
from tieline.fleet import Fleet, Site
from tieline.fleet.physics import GPU_AUX
from tieline.records import Commitment, Mode, Plan, Setpoint
from tieline.store import Store
from tieline.store.lead.fence import Turn

# A reserve's load comes back in stages, so it starts to run half an hour ahead.
FLOOR_LEAD = timedelta(minutes=30)


@dataclass(frozen=True)
class _Moment:
    """What every site's plan of one interval shares; `why_not`: why look-ahead did not decide."""

    interval: Interval
    now: datetime
    hashprice_usd: float | None
    serving: ServingTargets
    why_not: str


class Controller:
    """Decides for a whole fleet. Holds what it last asked of each site, read back from the store at a start."""

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        settings: Settings,
        publish: Callable[[Plan], Awaitable[None]] | None = None,
        live: bool = False,
    ) -> None:
        """`live`: decided on a thread of its own, so that whoever waits for an answer meanwhile gets one, and forecasts
        are fitted beside the interval, never in it."""
        self.live = live
        self.store, self.fleet, self.settings = store, fleet, settings
        # As it is configured; `fleet` has every contract in dollars at the rates of the moment.
        self._written, self._unpriced = fleet, dict[str, str]()
        self.publish = publish
        self.outlook = Outlook(fleet, settings)
        self.table = load_table(settings.gpu_table)
        self.arrays = fleet_arrays(fleet, settings)
        self.memory = Memory.of(self.arrays.groups)
        self.forecaster: Forecaster = forecaster_of(settings.forecaster, background=live)
        self._foretold: datetime | None = None
        self.demands = Demands(fleet)
        self.peak_desk = PeakDesk(fleet, rules_of(fleet, settings))
        self.last: dict[str, Plan] = {}
        self._promises: dict[str, list[Commitment]] = {}  # by site, as they stand in this decision
        self._started = False

    async def step(self, now: datetime, *, anew: bool = False) -> list[Plan]:
        """One Plan per site for the interval that holds `now`, appended and published. Where several may decide, an
        interval that was decided is not decided again: its plans are said again, as they are. `anew`: something came
        since (an order), and it is decided once more."""
        start = Interval.holding(now, timedelta(seconds=self.settings.interval_s)).start
        taken = {} if self.store.fence is None else self.store.turns(start)
        if taken and not anew and all(site.id in taken for site in self.fleet.sites):
            return await self._say(self.store.latest(Plan, now))
        plans = await asyncio.to_thread(self.decide, now) if self.live else self.decide(now)
        if not anew:
            plans = [plan for plan in plans if plan.site_id not in taken]
        turns = [Turn(plan.site_id, plan.at, taken.get(plan.site_id, 0)) for plan in plans]
        self.store.append(plans, () if self.store.fence is None else turns)
        await self._say(plans)
        if self.live:
            await asyncio.to_thread(self._foretell, now)
        else:
            self._foretell(now)
        return plans

    async def _say(self, plans: list[Plan]) -> list[Plan]:
        if self.publish is not None:
            for plan in plans:
                await self.publish(plan)
        return plans

    def _foretell(self, now: datetime) -> None:
        """After the plans are out: odds of peaks when they are due, and once an hour what is expected, as records."""
        self.store.append(self.peak_desk.step(self.store, now))
        hour = Interval.holding(now, timedelta(hours=1)).start
        if self.settings.policy != "lookahead" or self._foretold == hour:
            return
        self._foretold = hour
        self.store.append(expectations(self.outlook, self.fleet, self.settings, now, self.forecaster))

    def decide(self, now: datetime) -> list[Plan]:
        """The plans, not yet kept or sent."""
        self._remember_plans(now)
        self.outlook.read(self.store, now)
        self._promises = by_site(self.outlook.commitments.values())
        self.fleet, self._unpriced = self._written.at_rates(self.outlook.rates, now)
        self.fleet = msgspec.structs.replace(self.fleet, partners=self.outlook.fleet.partners)
        self.demands.fleet = self.fleet
        self.demands.read(self.store, now, self.last)
        length = timedelta(seconds=self.settings.interval_s)
        interval = Interval.holding(now, length)
        hashprice_usd, no_hashprice = self.outlook.hashprice(interval.start)
        views = {s.id: self.outlook.view(s, interval.start, interval.end) for s in self.fleet.sites}
        why_not = self._late(interval)
        around = None
        if self.settings.policy == "lookahead" and hashprice_usd is not None and not why_not:
            steps = grid(interval.start, self.settings.interval_s, self.settings.horizon_s)
            sight = FromOutlook(self.outlook, self.fleet, self.settings, self.forecaster)
            demand = self.demands.ahead(steps)
            around = surroundings(sight, self.fleet, self.arrays, self.settings, steps, hashprice_usd, demand)
            serving = self._serve_ahead(sight, around, views)
        else:
            serving = self._serve_now(views, interval.start, bool(why_not))
        wanted = serving.wanted
        targets = None if around is None else self._look(now, interval, around, views, wanted)
        adders = self._adders(interval)
        moment = _Moment(interval, now, hashprice_usd, serving, why_not)
        plans = []
        for n, site in enumerate(self.fleet.sites):
            view = views[site.id]
            cost = self._cost(site, view, interval.start)
            note = self._unpriced.get(site.id) or view.price_note
            why_unknown = "; ".join(filter(None, ["" if cost is not None else note, no_hashprice]))
            problem = SiteProblem(
                view,
                self._whole_cost(site, cost, interval, adders.get(n, 0.0)),
                hashprice_usd,
                why_unknown,
                wanted,
                self._last(site, now),
                self.settings,
                self.table,
                targets=targets,
                restore_w=self._restore_w(site, interval, now),
                floor_w=self._sold_w(site, interval),
            )
            decision = plan_site(problem)
            plans.append(self._plan(site, view, decision, cost, moment))
        if self.settings.policy == "lookahead":
            remember(self.arrays, plans, self.memory)
        self.last = {plan.site_id: plan for plan in plans}
        return plans

    def _remember_plans(self, now: datetime) -> None:
        """Once, at the first decision: what was decided before a restart."""
        if self._started:
            return
        self._started = True
        self.last = {plan.site_id: plan for plan in self.store.latest(Plan, now)}
        if self.settings.policy == "lookahead":
            day = self.store.between(Plan, now - timedelta(days=1), now, now=now)
            remember(self.arrays, day, self.memory)

    def _whole_cost(self, site: Site, cost: PowerCost | None, interval: Interval, adder: float) -> PowerCost | None:
        """What the plan is decided at: the contract's cost with its demand charge and odds of peaks, USD/MWh."""
        if cost is None:
            return None
        whole = with_demand(cost, self.demands.of(site, interval.start)).plus(adder)
        return whole.at_least(_floor(self.fleet, site))

    def _late(self, interval: Interval) -> str:
        """Why the strike decides instead of look-ahead, where that was asked for and failed."""
        if self.settings.policy == "lookahead" and self.arrays.groups > 0:
            for fault in self.outlook.faults.values():
                over = fault.until is not None and fault.until <= interval.start
                if fault.what == "late_solve" and fault.at < interval.end and not over:
                    return "look-ahead was late: the strike decides"
        return ""

    def _look(
        self,
        now: datetime,
        interval: Interval,
        around: SiteConditions,
        views: dict[str, SiteView],
        wanted: dict[str, Wanted],
    ) -> dict[str, GroupTarget] | None:
        """What look-ahead wants of each group."""
        if self.arrays.groups == 0:
            return None
        base = {site.id: self._base_w(site, views[site.id], wanted) for site in self.fleet.sites}
        expected = build(around, self.fleet, self.settings, base, self._sold_ahead(around.steps))
        wish = decide(self.arrays, expected, self.memory, self.settings, now)
        return self._targets(wish, base, interval)

    def _targets(self, wish: Wish, base: dict[str, float], interval: Interval) -> dict[str, GroupTarget]:
        arrays, seen = self.arrays, wish.seen
        need = [max(0.0, self._sold_w(s, interval) - base.get(s.id, 0.0)) for s in self.fleet.sites]
        floors, ups = held(arrays, seen.low_w, seen.high_w, np.array(need))
        targets = {}
        sure = np.isfinite(seen.run) & np.isfinite(seen.sleep)
        for g, unit_id in enumerate(arrays.unit_ids):
            site_id = arrays.site_ids[arrays.site[g]]
            if not sure[g]:
                continue  # nothing is expected of its price: the strike, or the last plan, decides there
            floor = float(floors[g])
            off = bool(wish.off[g])
            rest = max(float(seen.sleep[g]), float(seen.off[g]))
            targets[unit_id] = GroupTarget(
                run=max(float(wish.run[g]), floor),
                rest="off" if off else "sleep",
                stay_usd=float(seen.run[g]) - rest,
                start_usd=float(seen.boot_usd[g] if off else seen.wake_usd[g]),
                floor=floor,
                floor_up=float(ups[g]),
                split=self.fleet.site(site_id).contract.demand_usd_per_kw_month > 0,
            )
        return targets

    def _sold_w(self, site: Site, interval: Interval) -> float:
        """Load that accepted reserves need drawn: a floor, until each is called or released."""
        return floor_w(self._promises.get(site.id, ()), interval.start, interval.end, FLOOR_LEAD)

    def _sold_ahead(self, steps: Grid) -> Floats | None:
        """(T, N) load that accepted reserves need drawn in the steps ahead; None: nothing is sold."""
        place = {site.id: n for n, site in enumerate(self.fleet.sites)}
        standing = (c for c in self.outlook.commitments.values() if c.site_id in place)
        sold = [c for c in standing if c.status == ("deployed" if c.takes else "accepted")]
        if not sold:
            return None
        begin = micros(steps.start) / 1e6
        first = np.array([micros(one.at) for one in sold]) / 1e6 - FLOOR_LEAD.total_seconds() - begin
        last = np.array([micros(one.until) for one in sold]) / 1e6 - begin
        power_w, sites = np.array([one.power_w for one in sold]), np.array([place[one.site_id] for one in sold])
        out = np.zeros((len(steps.hours), len(place)))
        for t, (offset, length) in enumerate(zip(steps.offset_s, steps.length_s, strict=True)):
            hit = (offset < last) & (offset + length > first)
            if hit.any():
                out[t] = np.bincount(sites[hit], weights=power_w[hit], minlength=len(place))
        return out

    def _base_w(self, site: Site, view: SiteView, wanted: dict[str, Wanted]) -> float:
        """Load that comes before mining: inference, and what cannot be moved."""
        total = 0.0
        for node in site.node_groups:
            total += wanted[node.id].power_w(self.table, self.settings.interactive_batch)
        for group in site.rig_groups:
            seen = view.observed.get(group.id)
            if seen is not None and seen.held in ("unreachable", "silent"):
                total += group.rated_w if seen.power_w is None else seen.power_w
            else:
                total += view.stuck_share * group.rated_w
        return total

    def _adders(self, interval: Interval) -> dict[int, float]:
        """USD/MWh by site index that a chance of a coincident peak adds in this interval."""
        one = Grid(
            interval.start,
            np.zeros(1, dtype=np.intp),
            np.array([self.settings.interval_s], dtype=np.intp),
        )
        adders = peak_adders(self.outlook, self.fleet, one, self.settings)
        return {n: float(adder[0]) for n, adder in adders.items()}

    def _serve_ahead(self, sight: FromOutlook, around: SiteConditions, views: dict[str, SiteView]) -> ServingTargets:
        """Replicas and batch work over the horizon, where a MWh is cheapest."""
        cost = around.cost_of_power(self.arrays, self.settings.price_max_usd_per_mwh)
        price = {node.id: cost[:, n] for n, site in enumerate(self.fleet.sites) for node in site.node_groups}
        running = self._replicas_running()
        return serve(sight, self._rooms(views), around.steps, price, running, self.settings, self.table)

    def _serve_now(self, views: dict[str, SiteView], moment: datetime, stay: bool) -> ServingTargets:
        """Replicas for what is asked now. `stay`: what runs stays where it is, while look-ahead is late."""
        asked, costs = self.outlook.demands(moment), None
        rooms = self._affordable(self._rooms(views), views, moment)
        if stay:
            costs = dict.fromkeys((room.unit_id for room in rooms), 0.0)
        return ServingTargets(*assign(rooms, asked, self.table, self.settings, costs, self._replicas_running()))

    def _affordable(self, rooms: list[Room], views: dict[str, SiteView], moment: datetime) -> list[Room]:
        """What is worth the price of now."""
        price: dict[str, float] = {}
        for site in self.fleet.sites:
            cost = self._cost(site, views[site.id], moment)
            if cost is not None:
                least = cost.at_least(_floor(self.fleet, site)).price_usd_per_mwh
                price |= {node.id: least for node in site.node_groups}
        bids = {
            place: replica_bid_usd_per_mwh(self.table, self.settings, self.outlook.inputs_per_output(place))
            for place in {(room.model, room.region) for room in rooms}
        }
        return affordable(rooms, price, bids, reserved_at(moment, self.settings))

    def _cost(self, site: Site, view: SiteView, moment: datetime) -> PowerCost | None:
        limit_w = site.interconnect.limit_w
        return power_cost(site.contract, view.market_usd_per_mwh, limit_w, self.settings.resale_discount, moment)

    def _rooms(self, views: dict[str, SiteView]) -> list[Room]:
        full_w = self.table.power_w(self.table.tokens_per_s(self.settings.interactive_batch)) * (1.0 + GPU_AUX)
        rooms = []
        for site in self.fleet.sites:
            left_w = views[site.id].limit_w
            for node in site.node_groups:
                limit_w = min(left_w, *(f.limit_w for f in site.feeders if f.id == node.feeder))
                seen = views[site.id].observed.get(node.id)
                dark = seen is not None and seen.held == "unreachable"
                fits = 0 if dark else int(max(0.0, limit_w) / full_w + 1e-9)
                replicas = min(node.nodes * node.replicas_per_node, fits)
                left_w -= replicas * full_w
                keep = min(node.replicas_real, replicas)
                rooms.append(Room(node.id, site.region, node.model, replicas, keep))
        return rooms

    def _replicas_running(self) -> dict[str, int]:
        return {p.unit_id: p.replicas for plan in self.last.values() for p in plan.setpoints if p.replicas is not None}

    def _last(self, site: Site, now: datetime) -> dict[str, Setpoint] | None:
        plan = self.last.get(site.id)
        if plan is None or now - plan.at > timedelta(seconds=self.settings.keep_plan_s) or plan.at > now:
            return None
        return {point.unit_id: point for point in plan.setpoints}

    def _restore_w(self, site: Site, interval: Interval, now: datetime) -> float | None:
        """How far mining may rise in this interval. A second plan within one interval gets no second rise."""
        share, plan = self.settings.restore_share_per_5min, self.last.get(site.id)
        if share is None or plan is None:
            return None
        steps = (interval.start - plan.at).total_seconds() / 300.0
        return site.interconnect.limit_w * share * max(0.0, steps)

    def _plan(
        self,
        site: Site,
        view: SiteView,
        decision: Decision,
        cost: PowerCost | None,
        moment: _Moment,
    ) -> Plan:
        interval, serving, hashprice_usd = moment.interval, moment.serving, moment.hashprice_usd
        notes = [note for note in (decision.note, moment.why_not) if note]
        notes += [
            f"{lost:,.0f} tok/s asked in {region} cannot be carried"
            for (_, region), lost in sorted(serving.short.items())
            if region == site.region and site.node_groups
        ]
        notes += _floor_words(self.fleet, site, cost)
        mine = [c for c in self._promises.get(site.id, ()) if c.at <= interval.start]
        notes += unmet(mine, interval.start, interval.end, decision.load_w, view.limit_note, view.limit_w)
        models = {node.model for node in site.node_groups}
        notes += [w for model in sorted(models & set(serving.missed)) for w in owed_words(model, serving.missed[model])]
        return Plan(
            at=interval.start,
            known_at=moment.now,
            source="dispatch",
            kind="estimated",
            site_id=site.id,
            length_s=self.settings.interval_s,
            valid_until=interval.start + timedelta(seconds=self.settings.valid_for_s),
            mode=mode_of(site),
            limit_w=view.limit_w,
            price_usd_per_mwh=None if cost is None else cost.price_usd_per_mwh,
            hashprice_usd=None if hashprice_usd is None else round(hashprice_usd, 6),
            setpoints=decision.setpoints,
            decided_by="strike (fallback)" if moment.why_not else decision.decided_by,
            note="; ".join(notes),
            fence=self.store.fence_number,
        )


def _floor(fleet: Fleet, site: Site) -> float | None:
    """What a megawatt-hour drawn there has to earn at least, USD, by the word of whoever owns it."""
    partner = fleet.partner_of(site.id)
    return None if partner is None else partner.floor_usd_per_mwh


def _floor_words(fleet: Fleet, site: Site, cost: PowerCost | None) -> list[str]:
    """That a floor stands in for what power costs, where it does."""
    partner, floor = fleet.partner_of(site.id), _floor(fleet, site)
    if partner is None or floor is None or cost is None or cost.price_usd_per_mwh >= floor:
        return []
    return [f"{partner.name}'s floor of {floor:g} USD/MWh stands in for {cost.price_usd_per_mwh:.2f}"]


def mode_of(site: Site) -> Mode:
    """The site's mode; a hosted site is never acted on from here: its host is advised."""
    return "advise" if site.mode == "act" and not site.may_act else site.mode

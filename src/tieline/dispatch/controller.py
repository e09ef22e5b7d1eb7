"""Each interval: read what is known, decide every site, keep the plans, send them.

`step(now)` is the same live and in replay. Nothing here reads a clock; the only output is Plan records.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from tieline.clock import Interval
from tieline.dispatch.contracts import power_cost
from tieline.dispatch.gpu import load_table
from tieline.dispatch.outlook import Outlook, SiteView
from tieline.dispatch.plan import Decision, plan_site
from tieline.dispatch.serving import Room, Wanted, assign
from tieline.dispatch.settings import Settings
from tieline.fleet import Fleet, Site
from tieline.fleet.physics import GPU_AUX
from tieline.records import Mode, Plan, Setpoint
from tieline.store import Store


class Controller:
    """Decides for a whole fleet. Holds what it last asked of each site, read back from the store at a start."""

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        settings: Settings,
        publish: Callable[[Plan], Awaitable[None]] | None = None,
    ) -> None:
        self.store, self.fleet, self.settings = store, fleet, settings
        self.publish = publish
        self.outlook = Outlook(fleet, settings)
        self.table = load_table(settings.gpu_table)
        self.last: dict[str, Plan] = {}
        self._started = False

    async def step(self, now: datetime) -> list[Plan]:
        """One Plan per site for the interval that holds `now`, appended and published."""
        plans = self.decide(now)
        self.store.append(plans)
        if self.publish is not None:
            for plan in plans:
                await self.publish(plan)
        return plans

    def decide(self, now: datetime) -> list[Plan]:
        """The plans, not yet kept or sent."""
        if not self._started:
            self._started = True
            self.last = {plan.site_id: plan for plan in self.store.latest(Plan, now)}
        self.outlook.read(self.store, now)
        length = timedelta(seconds=self.settings.interval_s)
        interval = Interval.holding(now, length)
        hashprice_usd, no_hashprice = self.outlook.hashprice(interval.start)
        views = {s.id: self.outlook.view(s, interval.start, interval.end) for s in self.fleet.sites}
        wanted, short = self._serving(views, interval.start)
        plans = []
        for site in self.fleet.sites:
            view = views[site.id]
            cost = power_cost(
                site.contract,
                view.market_usd_per_mwh,
                site.interconnect.limit_w,
                self.settings.resale_discount,
            )
            unknown = [] if cost is not None else [view.price_note]
            unknown += [no_hashprice] if hashprice_usd is None else []
            decision = plan_site(
                view,
                cost,
                hashprice_usd,
                "; ".join(unknown),
                wanted,
                self._last(site, now),
                self.settings,
                self.table,
                restore_w=self._restore_w(site, interval, now),
            )
            plans.append(self._plan(site, view, decision, interval, now, hashprice_usd, cost, short))
        self.last = {plan.site_id: plan for plan in plans}
        return plans

    def _serving(
        self, views: dict[str, SiteView], moment: datetime
    ) -> tuple[dict[str, Wanted], dict[tuple[str, str], float]]:
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
        return assign(rooms, self.outlook.demands(moment), self.table, self.settings)

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
        interval: Interval,
        now: datetime,
        hashprice_usd: float | None,
        cost: object,
        short: dict[tuple[str, str], float],
    ) -> Plan:
        notes = [decision.note] if decision.note else []
        notes += [
            f"{lost:,.0f} tok/s asked in {region} cannot be carried"
            for (_, region), lost in sorted(short.items())
            if region == site.region and site.node_groups
        ]
        return Plan(
            at=interval.start,
            known_at=now,
            source="dispatch",
            kind="estimated",
            site_id=site.id,
            length_s=self.settings.interval_s,
            valid_until=interval.start + timedelta(seconds=self.settings.valid_for_s),
            mode=mode_of(site),
            limit_w=view.limit_w,
            price_usd_per_mwh=None if cost is None else getattr(cost, "price_usd_per_mwh", None),
            hashprice_usd=None if hashprice_usd is None else round(hashprice_usd, 6),
            setpoints=decision.setpoints,
            decided_by=decision.decided_by,
            note="; ".join(notes),
        )


def mode_of(site: Site) -> Mode:
    """The site's mode; a hosted site is never acted on from here: its host is advised."""
    return "advise" if site.mode == "act" and not site.may_act else site.mode

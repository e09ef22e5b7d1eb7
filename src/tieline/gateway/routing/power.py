"""What power says of a site: its price, what else a MWh there would earn, and what was announced. Pure.

A fold of the dispatcher's Plans and the grid's Instructions into two figures per site, made when a record arrives
and once a second, never per request:

    dear     0 to 1: the worth of a MWh there, w / (w + 60 USD/MWh). A tenant's latency class says how many seconds
             it may cost to be served where power is cheap; the score adds that many times `dear`.
    away_s   seconds added where inference will have to leave: an order whose limit is below what the site's
             replicas draw, or a plan that keeps none. From ten minutes before it begins, growing to 5 s.

The worth of a MWh is its price or, where mining is held back for want of power, the bid of what is held back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from tieline.gateway.routing.route import Replica
from tieline.gateway.settings import PATIENCE_S
from tieline.records import Instruction, Plan

# Wholesale power costs about this much over a year; there `dear` is one half.
MIDDLING_USD_PER_MWH: Final = 60.0
# A price that is not known is no reason to come and none to go.
UNKNOWN: Final = 0.5
# Announced this long before: most answers are over in ten minutes.
HORIZON_S: Final = 600.0
# A full replica's queue costs as much; where nobody else has room the site serves until it drains.
NOTICE_MIN_S: Final = 1.0
NOTICE_MAX_S: Final = 5.0
# Orders kept of one site; a grid operator revises an order under its own id.
MAX_ORDERS: Final = 64
# Rules that hold rigs back for want of power, not of money.
_HELD_BACK: Final = frozenset({"interconnect", "feeder", "inference", "instruction"})


@dataclass(frozen=True, slots=True)
class PowerTerm:
    """What routing adds for one site now. `usd_per_mwh` None: not known."""

    dear: float = 0.0
    away_s: float = 0.0
    usd_per_mwh: float | None = None
    why: str = ""


@dataclass(slots=True)
class _Site:
    plan: Plan | None = None
    orders: dict[str, Instruction] = field(default_factory=dict)


class SitePowers:
    """All sites that said something."""

    def __init__(self) -> None:
        self._sites: dict[str, _Site] = {}

    def heard(self, record: Plan | Instruction) -> None:
        """A plan in force, or an order; an earlier one that comes late changes nothing."""
        site = self._sites.setdefault(record.site_id, _Site())
        if isinstance(record, Plan):
            if site.plan is None or record.known_at >= site.plan.known_at:
                site.plan = record
            return
        known = site.orders.get(record.instruction_id)
        if known is None or record.known_at >= known.known_at:
            site.orders[record.instruction_id] = record
            while len(site.orders) > MAX_ORDERS:
                del site.orders[min(site.orders, key=lambda one: site.orders[one].until)]

    def knows(self, site_id: str) -> bool:
        return site_id in self._sites

    def batch_lines(self, site_id: str, now: datetime) -> int | None:
        """Lines of batch work that the plan lets a site carry; None: it says nothing, or is not in force there."""
        site = self._sites.get(site_id)
        plan = None if site is None else site.plan
        if plan is None or plan.mode != "act" or plan.valid_until <= now:
            return None
        lines = [one.batch_lines for one in plan.setpoints if one.batch_lines is not None]
        return sum(lines) if lines else None

    def term(self, site_id: str, now: datetime) -> PowerTerm:
        site = self._sites.get(site_id)
        if site is None:
            return PowerTerm(UNKNOWN if self._sites else 0.0)
        site.orders = {id_: one for id_, one in site.orders.items() if one.until > now}
        plan = site.plan if site.plan is not None and site.plan.valid_until > now else None
        worth = None if plan is None else worth_of(plan)
        away_s, why = _away(site.plan, plan, site.orders.values(), now)
        return PowerTerm(UNKNOWN if worth is None else dear(worth), away_s, worth, why)


def dear(usd_per_mwh: float) -> float:
    """0 where power is free or paid for taking, one half at a middling price, towards 1."""
    worth = max(0.0, usd_per_mwh)
    return worth / (worth + MIDDLING_USD_PER_MWH)


def worth_of(plan: Plan) -> float | None:
    """USD/MWh: the price, or the bid of mining that is held back for want of power. None: no price is known."""
    if plan.price_usd_per_mwh is None:
        return None
    held = [
        one.reason.bid_usd_per_mwh
        for one in plan.setpoints
        if one.replicas is None and one.reason.rule in _HELD_BACK and one.reason.bid_usd_per_mwh is not None
    ]
    return max([plan.price_usd_per_mwh, *held])


def _away(last: Plan | None, plan: Plan | None, orders: Iterable[Instruction], now: datetime) -> tuple[float, str]:
    serving = [] if last is None else [one for one in last.setpoints if one.replicas is not None]
    if plan is not None and plan.mode == "act" and serving and not any(one.replicas for one in serving):
        return NOTICE_MAX_S, "the plan keeps no replica here"
    need_w = sum(one.target_w for one in serving)
    worst, why = 0.0, ""
    for order in orders:
        lead_s = (order.at - now).total_seconds()
        # Without a plan nobody knows what the replicas draw: only an order to draw nothing is sure to reach them.
        if lead_s > HORIZON_S or order.limit_w >= (need_w or 1.0):
            continue
        near = 1.0 - max(0.0, lead_s) / HORIZON_S
        term = NOTICE_MIN_S + (NOTICE_MAX_S - NOTICE_MIN_S) * near
        if term > worst:
            worst, why = term, f"order {order.instruction_id}: at most {order.limit_w / 1e6:g} MW"
    return worst, why


def apply(power: SitePowers, replicas: Iterable[Replica], kwh_per_mtok: float, now: datetime) -> None:
    """Write each site's term to its replicas."""
    terms: dict[str, PowerTerm] = {}
    for replica in replicas:
        term = terms.get(replica.site)
        if term is None:
            term = terms[replica.site] = power.term(replica.site, now)
        replica.dear, replica.away_s = term.dear, term.away_s
        replica.power_term_s = term.away_s + PATIENCE_S["standard"] * term.dear
        replica.price_usd_per_mtok = 0.0 if term.usd_per_mwh is None else term.usd_per_mwh * kwh_per_mtok / 1_000.0
        replica.power_note = term.why

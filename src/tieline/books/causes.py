"""Why mining was below full operation, share by share.

Pure: from what a site was asked, told and measured in an interval to a split of its shortfall that sums exactly. Each
unit walks down from its rating, as far as the interconnect carries it: what the heat allows (weather), what supply
there was (fault), what the plan asked (by the plan's own reason), what the site's reflex asked within the interval (by
its outcome), what was drawn. What is left between asked and drawn is a fault, or within what ratings vary by no cause
at all. Hashes are lost in the same proportion as watt-hours; what drew and did not hash is a fault.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tieline.clock import Interval
from tieline.fleet import RigGroup, Site
from tieline.fleet.physics import aux_share, derate
from tieline.records import (
    Cause,
    Commitment,
    Fault,
    Instruction,
    Kind,
    NetworkTick,
    Outcome,
    Plan,
    Sample,
    Setpoint,
    Shortfall,
)

CAUSES: tuple[Cause, ...] = ("economic", "commitment", "fault", "weather", "order", "override", "none")
# An order that carries out the call of a commitment is named after it.
CALLED = "call:"
# Makers state power within 5 %: less than that below rating is not a shortfall with a cause.
RATING_VARIES = 0.05
_BY_RULE: dict[str, Cause] = {
    "instruction": "order",
    "kept free": "commitment",
    "override": "override",
    "partner": "none",
    "derate": "weather",
    "fault": "fault",
    "fallback": "fault",
    "unreachable": "fault",
    "safe_default": "fault",
}


@dataclass
class Lost:
    """One site's sums of a span, before they are rounded: Wh and hashes."""

    full_wh: float = 0.0
    drawn_wh: float = 0.0
    full_hashes: float = 0.0
    made_hashes: float = 0.0
    short_wh: dict[Cause, float] = field(default_factory=lambda: defaultdict(float))
    lost_hashes: dict[Cause, float] = field(default_factory=lambda: defaultdict(float))
    unheard_s: float = 0.0


@dataclass(frozen=True)
class SiteLog:
    """What one site's records say of a span: readings, what came of orders, the orders, its faults."""

    samples: Sequence[Sample] = ()
    outcomes: Sequence[Outcome] = ()
    orders: Sequence[Instruction] = ()
    faults: Sequence[Fault] = ()


def add_interval(
    total: Lost,
    site: Site,
    interval: Interval,
    plan: Plan | None,
    log: SiteLog,
    temp_c: float | None,
    before: dict[str, Cause],
) -> None:
    """Add one interval. The samples of `log` are those of the interval; the rest of it may be of any time.
    `before` remembers why each unit was last below its rating: load that comes back in stages is short for that."""
    samples = {s.unit_id: s for s in log.samples if s.site_id == site.id and s.power_w is not None}
    supply = 1.0 - _outage_share(site.id, interval, log.faults)
    asked = {} if plan is None else {point.unit_id: point for point in plan.setpoints}
    acted = plan is not None and plan.mode == "act"
    called = _lowest(site.id, interval, log.orders)
    # More rigs than the interconnect carries is how a site was built, not a shortfall.
    at_meter = {group.id: 1.0 + aux_share(site.cooling_of(group), temp_c) for group in site.rig_groups}
    all_w = sum(group.rated_w * at_meter[group.id] for group in site.rig_groups)
    fits = min(1.0, site.interconnect.limit_w / all_w) if all_w > 0 else 1.0
    for group in site.rig_groups:
        sample = samples.get(group.id)
        if sample is None or sample.power_w is None:
            total.unheard_s += interval.length.total_seconds()
            continue
        rated_w = group.rated_w * at_meter[group.id] * fits
        hot = derate(site.cooling_of(group), temp_c)
        drawn_w = max(0.0, sample.power_w)
        levels: list[tuple[Cause, float]] = [("weather", rated_w * hot), ("fault", rated_w * hot * supply)]
        if acted and group.id in asked:
            cause = _cause(asked[group.id], called, before.get(group.id, "economic"))
            levels.append((cause, asked[group.id].target_w))
        levels += _reflex(group, interval, log.outcomes, called)
        shares = _steps(max(rated_w, drawn_w), drawn_w, levels, rated_w, acted or site.may_act)
        biggest = max(shares, key=lambda c: shares[c], default=None)
        if biggest is not None and biggest != "none" and shares[biggest] > RATING_VARIES * rated_w:
            before[group.id] = biggest
        elif drawn_w > (1.0 - RATING_VARIES) * rated_w:
            before.pop(group.id, None)
        _add(total, group, interval, max(rated_w, drawn_w), drawn_w, fits, sample.hashrate_hs, shares)


def shortfall(
    total: Lost, site_id: str, span: Interval, network: NetworkTick | None, keeps: float, source: str, kind: Kind
) -> Shortfall:
    """The record of a span. `keeps`: share of a hash's value left after the pool's fee and rejects."""
    full, drawn = round(total.full_wh), round(total.drawn_wh)
    full_sats = made_sats = None
    lost: dict[str, int] = {}
    if network is not None:
        per_hash = network.subsidy_btc * (1.0 + network.fee_share) * keeps * 1e8 / (network.difficulty * 2.0**32)
        full_sats, made_sats = round(total.full_hashes * per_hash), round(total.made_hashes * per_hash)
        lost = split(full_sats - made_sats, total.lost_hashes)
    return Shortfall(
        at=span.start,
        known_at=span.end,
        source=source,
        kind=kind,
        site_id=site_id,
        length_s=int(span.length.total_seconds()),
        full_wh=full,
        drawn_wh=drawn,
        short_wh=split(full - drawn, total.short_wh),
        full_sats=full_sats,
        made_sats=made_sats,
        lost_sats=lost,
        unheard_s=round(total.unheard_s),
    )


def split(total: int, weights: Mapping[Cause, float]) -> dict[str, int]:
    """`total` in whole parts by weight, largest remainder first; they sum to it exactly. Nothing to go by: "none"."""
    whole = sum(weights.values())
    if total == 0:
        return {}
    if whole <= 0:
        return {"none": total}
    exact = {cause: total * weights[cause] / whole for cause in CAUSES if weights.get(cause, 0.0) > 0}
    parts = {cause: int(part // 1) for cause, part in exact.items()}
    left = total - sum(parts.values())
    for cause in sorted(exact, key=lambda c: (parts[c] - exact[c], c))[:left]:
        parts[cause] += 1
    return {cause: part for cause, part in parts.items() if part}


def calls_of(commitments: Iterable[Commitment]) -> list[tuple[Commitment, datetime, datetime]]:
    """(promise as called, from, to) of each call: until it is released, or its own end."""
    calls, open_ = [], {}
    for one in sorted(commitments, key=lambda c: (c.known_at, c.commitment_id)):
        if one.status == "deployed" and one.commitment_id not in open_:
            open_[one.commitment_id] = one
        elif one.status == "released" and one.commitment_id in open_:
            call = open_.pop(one.commitment_id)
            calls.append((call, max(call.at, call.known_at), min(call.until, one.known_at)))
    calls += [(call, max(call.at, call.known_at), call.until) for call in open_.values()]
    return sorted(((c, a, b) for c, a, b in calls if a < b), key=lambda f: f[1])


def _steps(
    full_w: float, drawn_w: float, levels: Sequence[tuple[Cause, float]], rated_w: float, ours: bool
) -> dict[Cause, float]:
    """Watts between full and drawn, each given to the first level that took it."""
    shares: dict[Cause, float] = defaultdict(float)
    at_w = full_w
    for cause, level_w in levels:
        below = max(drawn_w, min(at_w, level_w))
        if below < at_w:
            shares[cause] += at_w - below
            at_w = below
    rest = at_w - drawn_w
    if rest > 0:
        shares["none" if not ours or rest <= RATING_VARIES * rated_w else "fault"] += rest
    return dict(shares)


def _add(
    total: Lost,
    group: RigGroup,
    interval: Interval,
    full_w: float,
    drawn_w: float,
    fits: float,
    hashrate_hs: float | None,
    shares: Mapping[Cause, float],
) -> None:
    seconds = interval.length.total_seconds()
    total.full_wh += full_w * seconds / 3600.0
    total.drawn_wh += drawn_w * seconds / 3600.0
    for cause, watts in shares.items():
        total.short_wh[cause] += watts * seconds / 3600.0
    if hashrate_hs is None:
        return
    full_hs = max(group.rated_hs * fits, hashrate_hs)
    total.full_hashes += full_hs * seconds
    total.made_hashes += hashrate_hs * seconds
    lost_hs = full_hs - hashrate_hs
    if lost_hs <= 0:
        return
    watts = sum(shares.values())
    if watts <= 0 or (lost_hs > RATING_VARIES * full_hs and watts <= RATING_VARIES * full_w):
        # It drew and did not hash: waking, or broken.
        total.lost_hashes["none" if lost_hs <= RATING_VARIES * full_hs else "fault"] += lost_hs * seconds
        return
    for cause, share in shares.items():
        total.lost_hashes[cause] += lost_hs * seconds * share / watts


def _cause(point: Setpoint, called: Instruction | None, before: Cause) -> Cause:
    rule = point.reason.rule
    if rule == "restore":
        return before
    return _of_order(called) if rule == "instruction" else _BY_RULE.get(rule, "economic")


def _of_order(order: Instruction | None) -> Cause:
    return "commitment" if order is not None and order.instruction_id.startswith(CALLED) else "order"


def _lowest(site_id: str, interval: Interval, orders: Sequence[Instruction]) -> Instruction | None:
    """The order that binds; where none does, the last that ended: a site's reflex brings load back in stages for it."""
    begun = [o for o in orders if o.site_id == site_id and o.at < interval.end]
    mine = [o for o in begun if o.until > interval.start]
    last = max(begun, key=lambda o: (o.until, o.instruction_id), default=None)
    return min(mine, key=lambda o: (o.limit_w, o.instruction_id), default=last)


def _reflex(
    group: RigGroup, interval: Interval, outcomes: Sequence[Outcome], called: Instruction | None
) -> list[tuple[Cause, float]]:
    """What the site's own reflex asked within the interval, over the rest of it."""
    causes: list[tuple[Cause, float]] = []
    for one in sorted(outcomes, key=lambda o: o.known_at):
        inside = interval.start <= one.known_at < interval.end and one.unit_id == group.id
        if not inside or one.cause in ("economic", "none"):
            continue
        cause = _of_order(called) if one.cause == "order" else one.cause
        began = max(interval.start, min(one.at, one.known_at))
        share = (interval.end - began) / interval.length
        # For part of the interval it was asked this, before that what it was rated: the mean is what was possible.
        causes.append((cause, one.asked_w * share + group.rated_w * (1.0 - share)))
    return causes


def _outage_share(site_id: str, interval: Interval, faults: Sequence[Fault]) -> float:
    """Share of the interval without supply."""
    out = timedelta(0)
    for fault in faults:
        if fault.site_id == site_id and fault.what == "outage":
            end = interval.end if fault.until is None else min(fault.until, interval.end)
            out = max(out, end - max(fault.at, interval.start))
    return min(1.0, out / interval.length)

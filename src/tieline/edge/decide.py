"""What each unit of one site should draw now: a pure function of orders and readings.

Needs no link and no solver, so that it works when both are gone. First what each unit was asked (plan,
override, safe default), then the caps: feeder limits, then the tightest of interconnect, grid orders and
an operator's cap. A cap cuts mining first, the least efficient first, inference last. What cannot be
commanded counts at its last known power. An order that has ended goes on as a cap that rises in steps, so that a
grid that was short of power does not get all of the load back in one second.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from tieline.fleet.sites import Site
from tieline.records import Cause, Instruction, Override, Plan, Reason, Setpoint

# A rig is down within seconds of being told; starting this early makes the limit hold from its first second.
LEAD = timedelta(seconds=20)
# Load returns by this share of the interconnect in each step: dispatch's own 20 % in five minutes, which is assumed,
# since grid operators name no common rate. Known from the order alone, so that a restarted agent goes on with it.
RESTORE_SHARE, RESTORE_STEP = 0.04, timedelta(minutes=1)
RESTORE_FOR = RESTORE_STEP / RESTORE_SHARE
# A group's meter error, and what its control boards draw: above asked by this much is obeyed all the same.
SLACK_OF_ASKED, SLACK_OF_HIGHEST = 0.03, 0.005


@dataclass(frozen=True, slots=True)
class UnitView:
    """A unit as the site's agent knows it. `known_w`: its last known power, or its highest where it was never
    heard. `stuck_w`: what it draws above the last order although there was time to obey."""

    unit_id: str
    feeder: str
    load: Literal["mining", "inference"]
    rank: float  # J/TH for rigs: the higher, the sooner shed
    known_w: float
    highest_w: float
    lowest_w: float = 0.0
    commandable: bool = True
    stuck_w: float = 0.0
    sent_w: float | None = None  # what it was last told; None: nothing yet


@dataclass(frozen=True, slots=True)
class Orders:
    """All that binds a site at one moment."""

    plan: Plan | None = None  # the valid one, if there is one
    cut_off: bool = False  # there was a plan, or should be one, and it is no longer valid
    overrides: tuple[Override, ...] = ()
    instructions: tuple[Instruction, ...] = ()
    ended: tuple[Instruction, ...] = ()  # those from which the site may still be coming back


@dataclass(frozen=True, slots=True)
class Target:
    """What one unit is asked, on whose word. `setpoint` None: left as it is."""

    unit_id: str
    setpoint: Setpoint | None
    at: datetime
    known_at: datetime
    cause: Cause = "economic"


@dataclass(frozen=True, slots=True)
class UnitTargets:
    """Targets in the order of the units given. `short_w`: power above a limit that nothing here can shed."""

    targets: tuple[Target, ...]
    limit_w: float
    bound_by: str
    short_w: float = 0.0


def decide(
    site: Site, now: datetime, orders: Orders, units: Sequence[UnitView], uncounted_w: float = 0.0
) -> UnitTargets:
    """The main path: ask, then cap. `uncounted_w`: what the site's meter sees beyond its units."""
    asked = {unit.unit_id: _asked(site, now, orders, unit) for unit in units}
    for feeder in site.feeders:
        on_feeder = [unit for unit in units if unit.feeder == feeder.id]
        text = f"feeder {feeder.id} carries at most {feeder.limit_w / 1e6:.3f} MW"
        reason = Reason(rule="feeder", text=text, limit_w=feeder.limit_w)
        _cap(asked, on_feeder, feeder.limit_w, reason, now, now, "fault")
    limit_w, reason, at, known_at, cause = _limit(site, now, orders)
    short_w = _cap(asked, units, limit_w - uncounted_w, reason, at, known_at, cause)
    drawn_w = sum(expected_w(unit, asked[unit.unit_id]) for unit in units)
    _hold_back(asked, units, limit_w - uncounted_w - drawn_w, reason, at, known_at)
    if reason.rule == "restore":  # a pace of our own: only what stands over a true limit is short
        short_w = max(0.0, short_w - (_limit(site, now, replace(orders, ended=()))[0] - limit_w))
    return UnitTargets(tuple(asked[unit.unit_id] for unit in units), limit_w, reason.rule, short_w)


def restored_w(order: Instruction, interconnect_w: float, now: datetime) -> float:
    """What the site may draw again after an order: its limit, and one step more with each minute since."""
    steps = (now - order.until) // RESTORE_STEP + 1
    return order.limit_w + steps * RESTORE_SHARE * interconnect_w


def in_force(start: datetime, until: datetime, now: datetime) -> bool:
    return start - LEAD <= now < until


def expected_w(unit: UnitView, target: Target) -> float:
    """What the unit will draw once it has obeyed: what cannot be commanded stays, what is stuck is added."""
    if not unit.commandable or target.setpoint is None:
        return unit.known_w
    return max(target.setpoint.target_w, unit.lowest_w) + unit.stuck_w


def must_wait(site: Site, decided: UnitTargets, units: Sequence[UnitView], uncounted_w: float = 0.0) -> frozenset[str]:
    """The units that are not told to draw more yet, because their room is what others were only asked to leave.

    A unit that is asked for less may be deaf or refuse, and load that went up beside it stands above the limit until
    that is known. So it goes up once the others are seen to have gone, or `decide` no longer counts on them.
    """
    targets = {target.unit_id: target for target in decided.targets}
    every = (*((one.limit_w, one.id) for one in site.feeders), (decided.limit_w - uncounted_w, None))
    waiting: set[str] = set()
    for limit_w, feeder in every:
        here = [unit for unit in units if feeder is None or unit.feeder == feeder]
        late_w = sum(_late_w(unit, targets[unit.unit_id]) for unit in here)
        if late_w > 0 and sum(expected_w(unit, targets[unit.unit_id]) for unit in here) + late_w > limit_w:
            waiting |= {unit.unit_id for unit in here if _rises(unit, targets[unit.unit_id])}
    return frozenset(waiting)


def _late_w(unit: UnitView, target: Target) -> float:
    """What a unit still draws above what it is asked and expected to come down to."""
    goal_w = expected_w(unit, target)
    above_w = unit.known_w - goal_w
    return above_w if above_w > SLACK_OF_ASKED * goal_w + SLACK_OF_HIGHEST * unit.highest_w else 0.0


def _rises(unit: UnitView, target: Target) -> bool:
    """Whether it would draw more; less than it was told before is less, whatever it draws yet."""
    if target.setpoint is None or target.setpoint.target_w <= unit.known_w:
        return False
    return unit.sent_w is None or target.setpoint.target_w >= unit.sent_w


def shed_order(units: Iterable[UnitView]) -> list[UnitView]:
    """Mining before inference, the least efficient first; ids break ties, so that it is the same each time."""
    return sorted(units, key=lambda u: (u.load == "inference", -u.rank, u.unit_id))


def local_source(site_id: str) -> str:
    """The source of what a person at the site says there."""
    return f"site:{site_id}/local"


def _override(site: Site, orders: Orders, unit: UnitView) -> Override | None:
    """The newest word on this unit; who stands before the machines is heard before who does not."""
    overrides = [o for o in reversed(orders.overrides) if o.unit_id == unit.unit_id and o.target_w is not None]
    return next((o for o in overrides if o.source == local_source(site.id)), overrides[0] if overrides else None)


def _asked(site: Site, now: datetime, orders: Orders, unit: UnitView) -> Target:
    override = _override(site, orders, unit)
    if override is not None and override.target_w is not None:
        reason = Reason(rule="override", text=f"{override.by}: {override.why}")
        setpoint = Setpoint(unit_id=unit.unit_id, target_w=override.target_w, reason=reason)
        return Target(unit.unit_id, setpoint, override.at, override.known_at, "override")
    if orders.plan is not None:
        planned = next((s for s in orders.plan.setpoints if s.unit_id == unit.unit_id), None)
        return Target(unit.unit_id, planned, orders.plan.at, orders.plan.known_at, "economic")
    if orders.cut_off and _falls_off(site, unit):
        reason = Reason(rule="safe_default", text=f"no valid plan; {site.safe_default} is declared for this")
        setpoint = Setpoint(unit_id=unit.unit_id, target_w=0.0, reason=reason)
        return Target(unit.unit_id, setpoint, now, now, "fault")
    return Target(unit.unit_id, None, now, now, "none")


def _falls_off(site: Site, unit: UnitView) -> bool:
    return site.safe_default == "all_off" or (site.safe_default == "mining_off" and unit.load == "mining")


def _limit(site: Site, now: datetime, orders: Orders) -> tuple[float, Reason, datetime, datetime, Cause]:
    """The tightest of what the site may draw, and whose word it is."""
    limit_w = site.interconnect.limit_w
    text = f"interconnect carries at most {limit_w / 1e6:.3f} MW"
    best: tuple[float, Reason, datetime, datetime, Cause] = (
        limit_w, Reason(rule="interconnect", text=text, limit_w=limit_w), now, now, "fault",
    )  # fmt: skip
    for override in orders.overrides:
        if override.unit_id is None and override.target_w is not None and override.target_w < best[0]:
            words = f"{override.by} caps the site: {override.why}"
            reason = Reason(rule="override", text=words, limit_w=override.target_w)
            best = (override.target_w, reason, override.at, override.known_at, "override")
    for order in orders.instructions:
        if order.limit_w < best[0]:
            words = f"grid order {order.instruction_id}: at most {order.limit_w / 1e6:.3f} MW"
            words += f" until {order.until.isoformat(timespec='minutes')}"
            reason = Reason(rule="instruction", text=words, limit_w=order.limit_w)
            best = (order.limit_w, reason, order.at, order.known_at, "order")
    for order in orders.ended:
        back_w = restored_w(order, limit_w, now)
        if back_w < best[0]:
            words = f"after grid order {order.instruction_id}: at most {back_w / 1e6:.3f} MW, more each minute"
            reason = Reason(rule="restore", text=words, limit_w=back_w)
            best = (back_w, reason, order.until, order.known_at, "order")
    return best


def _cap(
    asked: dict[str, Target],
    units: Sequence[UnitView],
    limit_w: float,
    reason: Reason,
    at: datetime,
    known_at: datetime,
    cause: Cause,
) -> float:
    """Lower targets in `asked` until the units fit under the limit; returns what is left over it."""
    over_w = sum(expected_w(unit, asked[unit.unit_id]) for unit in units) - limit_w
    for unit in shed_order(units):
        if over_w <= 0:
            return 0.0
        target = asked[unit.unit_id]
        now_w = expected_w(unit, target)
        stuck_w = unit.stuck_w if unit.commandable else 0.0
        lower_w = max(unit.lowest_w + stuck_w, now_w - over_w)
        if lower_w >= now_w:
            continue
        if not unit.commandable and target.setpoint is not None and target.setpoint.target_w <= lower_w:
            continue  # it is asked for less than that already: asking for more, it would seem to hear again
        # What cannot be commanded is asked all the same, so that it hears it if it comes back and is named if
        # it does not; its power still counts, and others make room for it.
        if unit.commandable:
            over_w -= now_w - lower_w
        # What is stuck is drawn whatever is asked, so the rest of the unit is asked to make room for it.
        setpoint = Setpoint(
            unit_id=unit.unit_id,
            target_w=max(0.0, lower_w - stuck_w),
            reason=_with_worth(reason, target.setpoint),
        )
        asked[unit.unit_id] = replace(target, setpoint=setpoint, at=at, known_at=known_at, cause=cause)
    return max(0.0, over_w)


def _hold_back(
    asked: dict[str, Target], units: Sequence[UnitView], room_w: float, reason: Reason, at: datetime, known_at: datetime
) -> None:
    """What cannot be commanded counts at its last known power, so it is not asked for more than there is room for: it
    may hear."""
    for unit in units:
        target = asked[unit.unit_id]
        if unit.commandable or target.setpoint is None or target.setpoint.target_w <= unit.known_w:
            continue
        more_w = min(target.setpoint.target_w - unit.known_w, max(0.0, room_w))
        room_w -= more_w
        if unit.known_w + more_w < target.setpoint.target_w:
            held = Setpoint(
                unit_id=unit.unit_id, target_w=unit.known_w + more_w, reason=_with_worth(reason, target.setpoint)
            )
            asked[unit.unit_id] = replace(target, setpoint=held, at=at, known_at=known_at, cause="fault")


def _with_worth(reason: Reason, was: Setpoint | None) -> Reason:
    """The cap's reason, keeping what the cut megawatts would have been worth."""
    if was is None:
        return reason
    return Reason(
        rule=reason.rule,
        text=reason.text,
        limit_w=reason.limit_w,
        bid_usd_per_mwh=was.reason.bid_usd_per_mwh,
        price_usd_per_mwh=was.reason.price_usd_per_mwh,
    )

"""How a promise or an order was kept, from the meter, in MW and in money. Pure.

A load reserve is paid for drawing what it sells; each MWh below its floor is missed, but not while it is called, while
its load comes back, or while an order forbids it. Called, its load must be down within the response time: what it
delivers is its baseline less its mean load from then on; what is missing of the promise, times the time, is missed.
An order's missed energy is what was drawn above its limit after its notice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypedDict, Unpack

from tieline.books.baselines import BaselineRule
from tieline.records import Commitment, Instruction, Kind, Performance

# Load that was called comes back in stages; reserves commonly leave three hours for it (assumed).
RETURNS_WITHIN = timedelta(hours=3)


class Stamp(TypedDict):
    """Whose word a record is, and of what kind."""

    source: str
    kind: Kind


# Less than this below a promise is the meter's own error.
METER_W = 10_000.0
# At least this much of a span has to be heard before anything is said about it.
HEARD = 0.8


@dataclass(frozen=True, slots=True)
class Load:
    """One site's metered load over [at, until); None: not every unit of it was heard."""

    at: datetime
    until: datetime
    watts: float | None


class MeteredLoads:
    """Means over spans of a site's metered loads, oldest first."""

    def __init__(self, loads: Sequence[Load]) -> None:
        self.loads = sorted(loads, key=lambda one: one.at)

    def __call__(self, start: datetime, end: datetime) -> float | None:
        """Mean watts over the loads that lie inside the span in whole, or None where less than four fifths of it was
        heard. A load that began before it says as much of what was before."""
        touching = self.within(start, end)
        whole = [one for one in touching if one.at >= start and one.until <= end]
        edges_s = sum(_overlap_s(one, start, end) for one in touching if one not in whole) if whole else 0.0
        watt_s, heard_s = 0.0, 0.0
        for one in whole or touching:
            if one.watts is not None:
                seconds = _overlap_s(one, start, end)
                watt_s, heard_s = watt_s + one.watts * seconds, heard_s + seconds
        span_s = (end - start).total_seconds() - edges_s
        return watt_s / heard_s if span_s > 0 and heard_s >= HEARD * span_s else None

    def within(self, start: datetime, end: datetime) -> list[Load]:
        return [one for one in self.loads if one.at < end and one.until > start]

    def unheard_s(self, start: datetime, end: datetime) -> int:
        metered_s = sum(_overlap_s(one, start, end) for one in self.within(start, end) if one.watts is not None)
        return max(0, round((end - start).total_seconds() - metered_s))


def _overlap_s(one: Load, start: datetime, end: datetime) -> float:
    return (min(one.until, end) - max(one.at, start)).total_seconds()


def deployment(
    promise: Commitment,
    start: datetime,
    end: datetime,
    meter: MeteredLoads,
    rule: BaselineRule,
    called: Callable[[datetime], bool],
    **stamp: Unpack[Stamp],
) -> Performance:
    """One call of a promise over [start, end)."""
    due = min(end, start + timedelta(seconds=promise.response_s))
    baseline_w, mean_w = rule.watts(meter, start, end, called), meter(due, end)
    hours = (end - due).total_seconds() / 3600.0
    delivered_w = missed_wh = None
    if baseline_w is not None and mean_w is not None:
        delivered_w = mean_w - baseline_w if promise.takes else baseline_w - mean_w
        missing_w = promise.power_w - delivered_w
        missed_wh = round(missing_w * hours) if missing_w > METER_W else 0
    fine = _usd(missed_wh or 0, promise.nonperformance_usd_per_mwh)
    name = promise.commitment_id
    if delivered_w is None or baseline_w is None or mean_w is None:
        line = f"{name}: called {start:%m-%d %H:%M} to {end:%H:%M}; too little was heard to say what was delivered"
    else:
        based, metered = f"{_mw(baseline_w)} baseline ({rule.name})", f"{_mw(mean_w)} metered from {due:%H:%M}"
        line = (
            f"{name}: called {start:%m-%d %H:%M} to {end:%H:%M}; "
            f"{f'{metered} - {based}' if promise.takes else f'{based} - {metered}'} = {_mw(delivered_w)} of "
            f"{_mw(promise.power_w)} MW; "
            f"{_mw((missed_wh or 0) / hours if hours else 0.0)} MW x {hours:.2f} h x "
            f"{promise.nonperformance_usd_per_mwh:,.2f} USD/MWh = {fine:,.2f} USD penalty"
        )
    return Performance(
        at=start,
        known_at=end,
        what="deployment",
        event_id=name,
        site_id=promise.site_id,
        until=end,
        rule=rule.name,
        promised_w=promise.power_w,
        baseline_w=baseline_w,
        mean_w=mean_w,
        delivered_w=delivered_w,
        missed_wh=missed_wh or 0,
        paid_usd=Decimal(0),
        penalty_usd=fine,
        line=line,
        unheard_s=meter.unheard_s(due, end),
        **stamp,
    )


def reserve(
    promise: Commitment,
    calls: Sequence[tuple[datetime, datetime]],
    orders: Sequence[Instruction],
    meter: MeteredLoads,
    **stamp: Unpack[Stamp],
) -> Performance:
    """A promise over its whole time: paid for its megawatts, fined where its load was not there."""
    excused = [(a, b + RETURNS_WITHIN) for a, b in calls]
    excused += [(o.at, o.until + RETURNS_WITHIN) for o in orders if o.site_id == promise.site_id]
    missed = 0.0
    for one in meter.within(promise.at, promise.until):
        if one.watts is None or any(one.at < b and a < one.until for a, b in excused):
            continue
        # What was to rest can be missed in its calls alone: what a site can draw is no reading.
        below_w = 0.0 if promise.takes else promise.power_w - one.watts
        if below_w > METER_W:
            missed += below_w * _overlap_s(one, promise.at, promise.until) / 3600.0
    hours = (promise.until - promise.at).total_seconds() / 3600.0
    paid = _usd(round(promise.power_w * hours), promise.capacity_usd_per_mw_h)
    missed_wh = round(missed)
    fine = _usd(missed_wh, promise.nonperformance_usd_per_mwh)
    mean_w = meter(promise.at, promise.until)
    line = (
        f"{promise.commitment_id}: {_mw(promise.power_w)} MW x {hours:.2f} h x {promise.capacity_usd_per_mw_h:,.2f} "
        f"USD/MW,h = {paid:,.2f} USD; {missed_wh / 1e6:.3f} MWh {'not free' if promise.takes else 'below its floor'} x "
        f"{promise.nonperformance_usd_per_mwh:,.2f} USD/MWh = {fine:,.2f} USD penalty"
    )
    return Performance(
        at=promise.at,
        known_at=promise.until,
        what="reserve",
        event_id=promise.commitment_id,
        site_id=promise.site_id,
        until=promise.until,
        rule="load free to be drawn" if promise.takes else "drawn load",
        promised_w=promise.power_w,
        baseline_w=None,
        mean_w=mean_w,
        delivered_w=None if mean_w is None or promise.takes else min(mean_w, promise.power_w),
        missed_wh=missed_wh,
        paid_usd=paid,
        penalty_usd=fine,
        line=line,
        unheard_s=meter.unheard_s(promise.at, promise.until),
        **stamp,
    )


def obeyed(order: Instruction, meter: MeteredLoads, **stamp: Unpack[Stamp]) -> Performance:
    """An order from its notice's end on: what was drawn above its limit."""
    due = min(order.until, order.at + timedelta(seconds=order.notice_s))
    over = 0.0
    for one in meter.within(due, order.until):
        inside = one.at >= due and one.until <= order.until
        if inside and one.watts is not None and one.watts - order.limit_w > METER_W:
            over += (one.watts - order.limit_w) * _overlap_s(one, due, order.until) / 3600.0
    missed_wh, mean_w = round(over), meter(due, order.until)
    fine = _usd(missed_wh, order.penalty_usd_per_mwh)
    drawn = "too little was heard of its load" if mean_w is None else f"{_mw(mean_w)} MW drawn on average"
    return Performance(
        at=order.at,
        known_at=order.until,
        what="order",
        event_id=order.instruction_id,
        site_id=order.site_id,
        until=order.until,
        rule="limit",
        promised_w=order.limit_w,
        baseline_w=None,
        mean_w=mean_w,
        delivered_w=None,
        missed_wh=missed_wh,
        paid_usd=Decimal(0),
        penalty_usd=fine,
        line=(
            f"{order.instruction_id}: at most {_mw(order.limit_w)} MW from {due:%m-%d %H:%M} to {order.until:%H:%M}; "
            f"{drawn}; {missed_wh / 1e6:.3f} MWh above x {order.penalty_usd_per_mwh:,.2f} USD/MWh = "
            f"{fine:,.2f} USD penalty"
        ),
        unheard_s=meter.unheard_s(due, order.until),
        **stamp,
    )


@dataclass(frozen=True)
class PeakWindow:
    """A span in which a rule's coincident peak may fall, how likely that is, and what a megawatt in it costs."""

    rule: str
    start: datetime
    end: datetime
    probability: float
    usd_per_mw: float


def peak(
    site_id: str,
    window: PeakWindow,
    meter: MeteredLoads,
    baseline: BaselineRule,
    called: Callable[[datetime], bool],
    **stamp: Unpack[Stamp],
) -> Performance:
    """A window that may have been a coincident peak: what was shed in it, and what that is worth by its odds. No money
    moves: next year's charge will say."""
    start, end, probability = window.start, window.end, window.probability
    baseline_w, mean_w = baseline.watts(meter, start, end, called), meter(start, end)
    shed_w = None if baseline_w is None or mean_w is None else baseline_w - mean_w
    what = f"{window.rule} window {start:%m-%d %H:%M}, odds {probability:.1%}"
    if shed_w is None or baseline_w is None or mean_w is None:
        line = f"{what}: too little is known to say what was shed"
    else:
        worth = shed_w / 1e6 * probability * window.usd_per_mw
        line = (
            f"{what}: {_mw(baseline_w)} baseline ({baseline.name}) - {_mw(mean_w)} metered = {_mw(shed_w)} MW; x "
            f"{probability:.1%} x {window.usd_per_mw:,.0f} USD/MW = {worth:,.2f} USD expected to be saved, not booked"
        )
    return Performance(
        at=start,
        known_at=end,
        what="peak",
        event_id=f"{window.rule}@{site_id}|{start.isoformat()}",
        site_id=site_id,
        until=end,
        rule=baseline.name,
        promised_w=0.0,
        baseline_w=baseline_w,
        mean_w=mean_w,
        delivered_w=shed_w,
        missed_wh=0,
        paid_usd=Decimal(0),
        penalty_usd=Decimal(0),
        line=line,
        unheard_s=meter.unheard_s(start, end),
        **stamp,
    )


def _usd(wh: int, usd_per_mwh: float) -> Decimal:
    return (Decimal(wh) / 1_000_000 * Decimal(repr(usd_per_mwh))).quantize(Decimal("0.01"))


def _mw(watts: float) -> str:
    return f"{watts / 1e6:.2f}"

"""Why a setpoint is what it is, in words and numbers: the strike, a limit, a start that does not pay, a promise.

Pure. An operator at three in the morning reads these and agrees, or overrides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tieline.dispatch.bids import GroupBid, Step
from tieline.dispatch.inputs.outlook import SiteView
from tieline.fleet import Feeder, RigGroup
from tieline.records import Reason

# Below this a remainder is rounding, not power.
EPS_W = 1.0


@dataclass(frozen=True, slots=True)
class GroupTarget:
    """What look-ahead asks of a rig group: the share that runs, how the rest rests, and what it weighed."""

    run: float
    rest: str
    stay_usd: float  # what running on is worth over resting, over the horizon
    start_usd: float
    floor: float = 0.0  # share that must run because it is promised
    floor_up: float = 0.0  # of it, share that must run above the least mode
    split: bool = False  # part of the group may run, up to the level above which a MWh would not pay
    above_by_strike: bool = False  # only the floor is given: above it the strike decides


def shares_words(shares: Mapping[str, float]) -> str:
    return " and ".join(f"{s:.0%} {m}" if s < 0.9995 else m for m, s in shares.items())


def rest_reason(view: SiteView, bid: GroupBid, price: float, target: GroupTarget | None) -> Reason:
    if view.limit_rule == "partner":
        return Reason(rule="partner", text=f"{view.limit_note}: {bid.rest}", price_usd_per_mwh=rounded(price))
    if not bid.steps:
        hot = f" at {view.temp_c:.0f} C" if view.temp_c is not None else ""
        return Reason(rule="derate", text=f"too hot to run{hot}: {bid.rest}", price_usd_per_mwh=rounded(price))
    best = bid.steps[0].bid_usd_per_mwh
    rule, text = "strike", f"price {price:.2f} is not below the strike {best:.2f} USD/MWh: {bid.rest}"
    if target is not None and best > price:
        rule = "lookahead"
        text = (
            f"strike {best:.2f} is above price {price:.2f} USD/MWh, but not for long enough to earn a start of "
            f"{target.start_usd:,.0f} USD: {bid.rest}"
        )
    return Reason(rule=rule, text=text, bid_usd_per_mwh=rounded(best), price_usd_per_mwh=rounded(price))


def run_reason(view: SiteView, step: Step, price: float, words: str, target: GroupTarget | None) -> Reason:
    bid = step.bid_usd_per_mwh
    rule, text = "strike", f"strike {bid:.2f} ({step.upper}) above price {price:.2f} USD/MWh: {words}"
    if target is not None and bid <= price:
        rule = "lookahead"
        text = (
            f"price {price:.2f} is above the strike {bid:.2f} USD/MWh, but running on is worth "
            f"{target.stay_usd:,.0f} USD more than stopping; a start costs {target.start_usd:,.0f} USD: {words}"
        )
        if target.stay_usd <= 0:
            rule = "minimum_up"
            text = (
                f"price {price:.2f} is above the strike {bid:.2f} USD/MWh; running on costs "
                f"{-target.stay_usd:,.0f} USD, but these rigs started too short a time ago to stop: {words}"
            )
        if target.floor > 0:
            rule, text = "commitment", f"a reserve sold must be drawing: {target.floor:.0%} runs; {words}"
    if "last price" in view.price_note:
        text += f" ({view.price_note})"
    return Reason(rule=rule, text=text, bid_usd_per_mwh=rounded(bid), price_usd_per_mwh=rounded(price))


def limit_reason(view: SiteView, group: RigGroup, step: Step, power_w: float, price: float) -> Reason:
    feeder: Feeder | None = next((f for f in view.site.feeders if f.id == group.feeder), None)
    own = feeder is not None and feeder.limit_w < view.limit_w and power_w >= feeder.limit_w - 2 * EPS_W
    rule = "feeder" if own else view.limit_rule
    what = f"feeder {group.feeder}" if own else view.limit_note
    limit_w = feeder.limit_w if own and feeder is not None else view.limit_w
    return Reason(
        rule=rule,
        text=f"{what} ({mw(limit_w)}) leaves {mw(power_w)}, though {step.bid_usd_per_mwh:.2f} beats "
        f"{price:.2f} USD/MWh",
        bid_usd_per_mwh=rounded(step.bid_usd_per_mwh),
        price_usd_per_mwh=rounded(price),
        limit_w=limit_w,
    )


def more(reason: Reason, words: str) -> Reason:
    return Reason(
        rule=reason.rule,
        text=reason.text + words,
        bid_usd_per_mwh=reason.bid_usd_per_mwh,
        price_usd_per_mwh=reason.price_usd_per_mwh,
        limit_w=reason.limit_w,
    )


def mw(power_w: float) -> str:
    return f"{power_w / 1e6:.3f} MW" if power_w < 1e7 else f"{power_w / 1e6:.1f} MW"


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)

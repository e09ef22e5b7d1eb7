"""Whether offered commitments can be kept: by what can really be shed in time, in every hour, all promises counted.

Reads an Outlook and changes nothing. An accepted promise is a floor (its load draws until called), so what a
site can sell is what its rigs can draw in the worst hour of the offer under heat, limits, faults and
overrides as known now, less their draw at rest. Inference is not sold: it is shed last. After a call load
comes back at the restore rate, so a promise that follows soon on another may find it not yet drawing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

import msgspec
import numpy as np

from tieline.clock import Interval
from tieline.dispatch import Outlook, Settings, load_table
from tieline.dispatch.commitments import RIGS_SHED_S, NotKeepable, Sheddable, check, sheddable
from tieline.dispatch.inputs.arrays import FleetArrays, Floats, fleet_arrays
from tieline.dispatch.inputs.foresight import FromOutlook
from tieline.dispatch.inputs.horizon import grid
from tieline.dispatch.mining.ahead import build, surroundings
from tieline.dispatch.mining.lookahead import Ahead, powers
from tieline.fleet import Fleet, Site
from tieline.fleet.physics import GPU_AUX, RIG_MODES
from tieline.records import Commitment

# Weather forecasts and past days of prices say little beyond a week.
FURTHEST = timedelta(days=7)
_EPS_W = 1_000.0


@dataclass(frozen=True, slots=True)
class Offer:
    """A commitment offered, and how much of its time it is likely to be called."""

    promise: Commitment
    called_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Rebound:
    """How load comes back after a call of everything sold: so fast, never above this."""

    watts_per_5min: float | None  # None: at once
    minutes: float
    most_w: float


@dataclass(frozen=True, slots=True)
class Deliverable:
    """It can be kept. Money None: not known, `notes` says why. Powers are those of the tightest hour."""

    offer: Offer
    spare_w: float
    sheddable_w: float
    sold_w: float
    draw_w: float
    tightest: datetime
    rebound: Rebound
    pays_usd: float
    costs_usd: float | None
    notes: tuple[str, ...]

    @property
    def worth_it(self) -> bool | None:
        return None if self.costs_usd is None else self.pays_usd > self.costs_usd


@dataclass(frozen=True, slots=True)
class Broken:
    """It cannot: `promise` is the one that would be broken (the offer itself, or one sold before), when, why."""

    offer: Offer
    promise: str
    at: datetime
    why: str
    missing_w: float
    notes: tuple[str, ...]


Answer = Deliverable | Broken


def appraise(
    outlook: Outlook,
    fleet: Fleet,
    settings: Settings,
    now: datetime,
    offers: Sequence[Offer],
    sold: Sequence[Commitment] = (),
    commanded: bool = True,
) -> list[Answer]:
    """In order; one that can be kept counts as sold for the next. `sold` comes besides what the outlook knows.
    `commanded` False: a site's mode does not matter (recorded days).

    Raises KeyError for a site that is not there, ValueError for an offer that is over or too far ahead.
    """
    taken = [*outlook.commitments.values(), *sold]
    answers: list[Answer] = []
    for offer in offers:
        site = fleet.site(offer.promise.site_id)
        answer = _one(outlook, site, settings, now, offer, taken, commanded)
        answers.append(answer)
        if isinstance(answer, Deliverable):
            taken.append(msgspec.structs.replace(offer.promise, status="accepted"))
    return answers


def _one(
    outlook: Outlook,
    site: Site,
    settings: Settings,
    now: datetime,
    offer: Offer,
    taken: Iterable[Commitment],
    commanded: bool,
) -> Answer:
    promise = offer.promise
    if promise.at < now:
        raise ValueError(f"offer {promise.commitment_id} began at {promise.at:%Y-%m-%d %H:%M} UTC, which is past")
    if promise.until > now + FURTHEST:
        raise ValueError(
            f"offer {promise.commitment_id} ends {(promise.until - now).days} days ahead; nothing is known of "
            f"prices and weather more than {FURTHEST.days} days ahead"
        )
    mine = [
        c
        for c in taken
        if c.site_id == site.id
        and c.status in ("accepted", "deployed")
        and c.until > now
        and c.commitment_id != promise.commitment_id
    ]
    if commanded and not site.may_act:
        who = f"is in {site.mode}" if site.mode != "act" else f"is {site.ownership}"
        why = f"{site.id} {who}: nothing is commanded there, so nothing is sure to be shed in {promise.response_s} s"
        return Broken(offer, promise.commitment_id, promise.at, why, promise.power_w, ())
    ground = _Ground.of(outlook, site, settings, now, promise.until, mine)
    return ground.broken(offer) or ground.broken_by_return(offer) or ground.kept(offer)


@dataclass(frozen=True)
class _Ground:
    """One site over the steps ahead: what its rigs can draw, what is sold of it, what power is expected to cost."""

    site: Site
    settings: Settings
    arrays: FleetArrays
    ahead: Ahead
    start: datetime
    begins_s: Floats  # (T,) of each step
    high_w: Floats  # (T, G) at most
    rest_w: Floats  # (T, G)
    sold: Sequence[Commitment]
    priced: bool
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls, outlook: Outlook, site: Site, settings: Settings, now: datetime, end: datetime, sold: Sequence[Commitment]
    ) -> _Ground:
        start = Interval.holding(now, timedelta(seconds=settings.interval_s)).start
        ends = max([end, *(c.at for c in sold if c.at <= now + FURTHEST)])
        horizon_s = int((ends - start).total_seconds()) + 2 * 3600
        settings = msgspec.structs.replace(settings, horizon_s=horizon_s)
        alone = Fleet(name=site.id, sites=(site,))
        arrays = fleet_arrays(alone, settings)
        steps = grid(start, settings.interval_s, settings.horizon_s)
        hashprice_usd, no_hashprice = outlook.hashprice(start)
        sight = FromOutlook(outlook, alone, settings)
        ahead = build(surroundings(sight, alone, arrays, settings, steps, hashprice_usd or 0.0), alone, settings, {})
        moves, base_w, notes = _moves(outlook, site, settings, arrays, steps.offset_s.astype(float), start)
        ahead = replace(ahead, derate=ahead.derate * moves, base_w=base_w)
        _, high_w = powers(arrays, ahead)
        rest_w = np.minimum(arrays.sleep_w * (1.0 + ahead.aux) * (moves > 0), high_w)
        markets = (site.contract.market_15min, site.contract.market)
        needs_market = site.contract.basis != "fixed" or site.contract.resale
        has_price = any(m in outlook.price_slots for m in markets if m is not None)
        if no_hashprice:
            notes.append(f"{no_hashprice}: what the floor costs is not known")
        elif needs_market and not has_price:
            notes.append(f"no price of {site.contract.market} is known: what the floor costs is not known")
        if site.has_air and (site.weather_station or "") not in outlook.temp_slots:
            notes.append("no weather is known here: no loss to heat is counted")
        priced = hashprice_usd is not None and (has_price or not needs_market)
        begins_s = steps.offset_s.astype(float)
        return cls(
            site, settings, arrays, ahead, start, begins_s, high_w, rest_w, sold, priced, tuple(dict.fromkeys(notes))
        )

    def broken(self, offer: Offer) -> Broken | None:
        """The worst piece of the offer's time in which it, with what is sold, exceeds what can be shed."""
        promise, worst, missing_w = offer.promise, None, -1.0
        for begin, end in self._pieces(promise):
            step = self._step(begin)
            can, most_w = self._can(step)
            piece = msgspec.structs.replace(promise, at=begin, until=end)
            breach = check(piece, can, most_w, self.sold)
            if isinstance(breach, NotKeepable) and breach.missing_w > missing_w:
                missing_w = breach.missing_w
                names = ", ".join(c.commitment_id for c in self._standing(begin))
                why = f"{breach.why}{f' ({names})' if names else ''}"
                if promise.response_s < RIGS_SHED_S:
                    why += f"; rigs take {RIGS_SHED_S:.0f} s to stop"
                worst = Broken(offer, promise.commitment_id, begin, why, breach.missing_w, self.notes)
        return worst

    def broken_by_return(self, offer: Offer) -> Broken | None:
        """A promise that begins before the load called by an earlier one is back."""
        if (rate_w := self._rate_w()) is None:
            return None
        new, worst = offer.promise, None
        for old in self.sold:
            first, second = (old, new) if old.until <= new.at else (new, old)
            if first.until > second.at:
                continue  # at the same time: no megawatt of one is the other's, counted in `broken`
            draw_w = self._draw(self._step(second.at))
            gap_s = (second.at - first.until).total_seconds()
            back_w = min(draw_w, draw_w - first.power_w + rate_w * gap_s / 300.0)
            others = sum(c.power_w for c in (*self.sold, new) if c.at <= second.at < c.until)
            missing_w = others - back_w
            if missing_w > _EPS_W and (worst is None or missing_w > worst.missing_w):
                why = (
                    f"{first.commitment_id} may be called to its end at {first.until:%H:%M}; load comes back at "
                    f"{rate_w / 1e6:.1f} MW per 5 min, so {max(0.0, back_w) / 1e6:.1f} MW draw when "
                    f"{second.commitment_id} begins at {second.at:%H:%M} and {others / 1e6:.1f} MW must"
                )
                worst = Broken(offer, second.commitment_id, second.at, why, missing_w, self.notes)
        return worst

    def kept(self, offer: Offer) -> Deliverable:
        promise = offer.promise
        spare_w, tightest = np.inf, promise.at
        for begin, _ in self._pieces(promise):
            can, most_w = self._can(self._step(begin))
            left_w = min(can.within(promise.response_s), most_w) - sum(c.power_w for c in self._standing(begin))
            if left_w - promise.power_w < spare_w:
                spare_w, tightest = left_w - promise.power_w, begin
        step = self._step(tightest)
        can, most_w = self._can(step)
        sold_w = sum(c.power_w for c in self._standing(tightest))
        hours = (promise.until - promise.at).total_seconds() / 3600.0
        rate_w, called_w = self._rate_w(), sold_w + promise.power_w
        minutes = 0.0 if rate_w is None else 5.0 * called_w / rate_w
        return Deliverable(
            offer,
            float(spare_w),
            can.within(promise.response_s),
            sold_w,
            self._draw(step),
            tightest,
            Rebound(rate_w, minutes, float(self.ahead.limit_w[step, 0])),
            promise.power_w / 1e6 * hours * promise.capacity_usd_per_mw_h,
            self._costs_usd(offer) if self.priced else None,
            self.notes,
        )

    def _costs_usd(self, offer: Offer) -> float:
        """What the floor is expected to lose where power is dearer than its hash, and its calls to cost.

        Low mode earns the most per MWh, so a floor is kept in it, the best rigs first.
        """
        promise, low = offer.promise, RIG_MODES["low"]
        total = 0.0
        for begin, end in self._pieces(promise):
            t, hours = self._step(begin), (end - begin).total_seconds() / 3600.0
            meter = self.arrays.rated_w * self.ahead.derate[t] * (1.0 + self.ahead.aux[t]) * low.power_share
            earns = self.ahead.usd_per_h * self.ahead.derate[t] * low.hash_share
            runs = np.flatnonzero(meter > 0)
            order = runs[np.argsort(-earns[runs] / meter[runs])]
            left_w, before_w = promise.power_w, sum(c.power_w for c in self._standing(begin))
            price = self.ahead.price[t, 0]
            if self.ahead.below is not None and self.ahead.take_w is not None and self.ahead.take_w[0] > 0:
                above = before_w + promise.power_w + self.ahead.base_w[t, 0] > self.ahead.take_w[0]
                price = price if above else self.ahead.below[t, 0]
            for g in order:
                skipped = min(before_w, float(meter[g]))
                before_w -= skipped
                part_w = min(left_w, float(meter[g]) - skipped)
                left_w -= part_w
                strike = float(earns[g] / meter[g]) * 1e6
                loss = float(np.maximum(0.0, price - strike).mean())
                margin = float(np.maximum(0.0, strike - price).mean())
                start = self.settings.wear_usd_per_kw_start * 1e3
                total += part_w / 1e6 * hours * (loss + offer.called_share * (margin + start))
        return total

    def _can(self, step: int) -> tuple[Sheddable, float]:
        draw_w = self._draw(step)
        return sheddable(draw_w, float(self.rest_w[step].sum()), 0.0), draw_w

    def _draw(self, step: int) -> float:
        return float(self.high_w[step].sum())

    def _rate_w(self) -> float | None:
        share = self.settings.restore_share_per_5min
        return None if share is None or share <= 0 else share * self.site.interconnect.limit_w

    def _step(self, moment: datetime) -> int:
        at = (moment - self.start).total_seconds()
        return max(0, int(np.searchsorted(self.begins_s, at + 1e-6, side="right")) - 1)

    def _standing(self, moment: datetime) -> list[Commitment]:
        return [c for c in self.sold if c.at <= moment < c.until]

    def _pieces(self, promise: Commitment) -> list[tuple[datetime, datetime]]:
        """The offer's time cut where a step or another promise begins or ends."""
        cuts = {promise.at, promise.until}
        cuts |= {self.start + timedelta(seconds=float(s)) for s in self.begins_s}
        cuts |= {moment for c in self.sold for moment in (c.at, c.until)}
        inside = sorted(c for c in cuts if promise.at <= c <= promise.until)
        return list(pairwise(inside))


def _moves(
    outlook: Outlook, site: Site, settings: Settings, arrays: FleetArrays, begins_s: Floats, start: datetime
) -> tuple[Floats, Floats, list[str]]:
    """(T, G) share of each group that can be commanded, (T, 1) load that comes before mining, and what was found.

    Inference counts at its full load, the safe side. What is held or does not answer keeps its draw.
    """
    share = np.ones((len(begins_s), arrays.groups))
    base = np.zeros((len(begins_s), 1))
    table = load_table(settings.gpu_table)
    each_w = table.power_w(table.tokens_per_s(settings.interactive_batch)) * (1.0 + GPU_AUX)
    limits = {f.id: f.limit_w for f in site.feeders}
    for node in site.node_groups:
        base += min(limits[node.feeder], node.nodes * node.replicas_per_node * each_w)
    notes: list[str] = []
    hours = (start, start + timedelta(seconds=float(begins_s[-1]) + 1.0))
    view = outlook.view(site, *hours)
    for group in site.rig_groups:
        g, seen = arrays.unit_ids.index(group.id), outlook.observed.get(group.id)
        if seen is not None and seen.held is not None:
            drawn_w = group.rated_w if seen.power_w is None else seen.power_w
            share[:, g], base = 0.0, base + drawn_w
            notes.append(f"{group.id} is {_SAYS.get(seen.held, seen.held)}: its {drawn_w / 1e6:.1f} MW cannot be sold")
            continue
        if view.stuck_share > 0:
            share[:, g] *= 1.0 - view.stuck_share
            base = base + view.stuck_share * group.rated_w
            notes.append(f"{view.stuck_share:.0%} of the rigs do not obey and cannot be sold")
        for over in outlook.overrides.values():
            if over.site_id != site.id or over.unit_id not in (None, group.id) or over.until <= start:
                continue
            if over.unit_id is None and over.target_w is not None:
                continue  # a limit, counted as one
            first, last = (over.at - start).total_seconds(), (over.until - start).total_seconds()
            hit = (begins_s < last) & (begins_s >= first - settings.interval_s)
            held_w = group.rated_w if over.target_w is None else over.target_w
            share[hit, g] = 0.0
            base[hit, 0] += held_w
            notes.append(f"{group.id} is held by {over.by} until {over.until:%m-%d %H:%M}: not to be sold until then")
    return share, base, notes


_SAYS = {"unreachable": "unreachable", "silent": "not heard", "refused": "not obeying"}

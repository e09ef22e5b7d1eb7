"""Which rigs run now, seeing what stopping and starting will cost later.

Pure, on arrays: T steps, G rig groups, N sites, S scenarios. Sites couple through prices, groups of a site
through its limit, which is settled by merit order; what is left is a choice per rig over time: run, sleep, or
off, with wear, waking and booting paid at each start. Within running, low against normal costs nothing to
change, so the better one is taken step by step. An exact dynamic programme per group and scenario gives what
each choice of the first step is worth; the scenarios share that step, so the choice with the best mean wins.
A group is a population: rigs that run and rigs that rest are asked separately, since only these pay a start.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from tieline.dispatch.inputs.arrays import LOW, Bools, FleetArrays, Floats
from tieline.fleet.physics import RIG_MODES

_LOW_W, _LOW_HS = LOW.power_share, LOW.hash_share
assert RIG_MODES["normal"].power_share == 1.0
# Numbers in an array over the steps, groups and scenarios of a block: a megabyte, and a dozen such are in use at once.
BLOCK_NUMBERS = 131_072


@dataclass(frozen=True)
class Ahead:
    """What is expected over the steps ahead. Prices are marginal USD/MWh at the site's meter."""

    hours: Floats  # (T,)
    usd_per_h: Floats  # (G,) of a whole group in normal mode, net of pool, before heat
    aux: Floats  # (T, G)
    derate: Floats  # (T, G)
    limit_w: Floats  # (T, N)
    base_w: Floats  # (T, N) load that comes first: inference, what cannot be moved
    price: Floats  # (T, N, S)
    below: Floats | None = None  # (T, N, S) price under the contracted level; None: one price
    take_w: Floats | None = None  # (N,)
    split: Bools | None = None  # (N,) where part of a group may run, up to `take_w`
    restore_share_per_h: float | None = None  # of the site's limit
    level: Floats | None = None  # (T,) of `usd_per_h`, where it changes over the steps
    sold_w: Floats | None = None  # (T, N) load that reserves sold need drawn; None: nothing is sold
    short_usd_per_mwh: float = 0.0  # what a MWh of it costs that is not drawn
    outages_per_h: float = 0.0  # chance that a site goes dark, after which every rig is off and has to boot

    def block(self, sites: slice, groups: slice) -> Ahead:
        """The same for these sites alone; `groups` are theirs."""
        return replace(
            self,
            usd_per_h=self.usd_per_h[groups],
            aux=self.aux[:, groups],
            derate=self.derate[:, groups],
            limit_w=self.limit_w[:, sites],
            base_w=self.base_w[:, sites],
            price=self.price[:, sites],
            below=None if self.below is None else self.below[:, sites],
            take_w=None if self.take_w is None else self.take_w[sites],
            split=None if self.split is None else self.split[sites],
            sold_w=None if self.sold_w is None else self.sold_w[:, sites],
        )

    def first(self) -> Ahead:
        """The first step alone."""
        return replace(
            self,
            hours=self.hours[:1],
            aux=self.aux[:1],
            derate=self.derate[:1],
            limit_w=self.limit_w[:1],
            base_w=self.base_w[:1],
            price=self.price[:1],
            below=None if self.below is None else self.below[:1],
            level=None if self.level is None else self.level[:1],
            sold_w=None if self.sold_w is None else self.sold_w[:1],
        )


@dataclass(frozen=True)
class Look:
    """Worth, from the first step on, of each state of a whole group; shapes (G,), USD."""

    run: Floats
    sleep: Floats
    off: Floats
    wake_usd: Floats  # paid now by a group that starts from sleep
    boot_usd: Floats  # from off
    price: Floats  # (G,) mean price of the first step
    low_w: Floats  # (G,) draw of the group at the first step: all low, and at the most the limit leaves
    high_w: Floats
    run_usd_per_h: Floats  # (G,) mean margin of running in the first step

    @property
    def rest(self) -> Floats:
        return np.maximum(self.sleep, self.off)

    @property
    def stays(self) -> Bools:
        """(G,) whether rigs that run go on."""
        return np.asarray(self.run >= self.rest - 1e-9)

    @property
    def wakes(self) -> Bools:
        """Whether rigs that sleep start."""
        return np.asarray(self.run - self.wake_usd > self.rest + 1e-9)

    @property
    def boots(self) -> Bools:
        """Whether rigs that are off start: one may also sleep on standby, or stay off."""
        return np.asarray(self.run - self.boot_usd > self.rest + 1e-9)

    def wants(self, running: Floats, asleep: Floats) -> tuple[Floats, Floats]:
        """(share of the group that should run, share that should be off), given the shares that run and that
        sleep now; the rest is off now."""
        run = running * self.stays + asleep * self.wakes + (1.0 - running - asleep) * self.boots
        return np.asarray(run), self.outside(run)

    def outside(self, run: Floats) -> Floats:
        """(G,) share that should be off where `run` of each group runs."""
        return np.asarray(np.where(self.off > self.sleep + 1e-9, 1.0 - run, 0.0))


def powers(fleet: FleetArrays, ahead: Ahead) -> tuple[Floats, Floats]:
    """(T, G) draw of each group when it runs: at the least (all low) and at the most, by merit order under
    the site's limit. Where even all-low does not fit, both are what fits."""
    meter = fleet.rated_w * ahead.derate * (1.0 + ahead.aux)
    # At the start every group sleeps, where even that fits; each step of merit order then trades what a group
    # holds for what it wants.
    high = np.zeros_like(meter)
    low = np.zeros_like(meter)
    left = ahead.limit_w - ahead.base_w
    for place in range(int(fleet.first.max(initial=-1)) + 1):
        groups = np.flatnonzero(fleet.first == place)
        sites = fleet.site[groups]
        sleep = np.minimum(fleet.sleep_w[groups] * (1.0 + ahead.aux[:, groups]), meter[:, groups])
        high[:, groups] = np.minimum(sleep, np.maximum(0.0, left[:, sites]))
        left[:, sites] -= high[:, groups]
    for groups, up in fleet.ranks:
        sites, held = fleet.site[groups], high[:, groups]
        room = np.minimum(np.maximum(0.0, left[:, sites]) + held, fleet.feeder_w[groups])
        whole = low[:, groups] >= _LOW_W * meter[:, groups] - 1.0
        want = np.where(whole, meter[:, groups], held) if up else _LOW_W * meter[:, groups]
        give = np.minimum(want, room)
        if not up:
            low[:, groups] = give
        left[:, sites] += held - give
        high[:, groups] = give
    return low, np.maximum(low, high)


def look(fleet: FleetArrays, ahead: Ahead) -> Look:
    """Solve every group over every scenario and average at the shared first step.

    Sites do not meet in here, so they are taken a block at a time, which stays in the processor's cache."""
    count = len(fleet.site_ids)
    numbers = ahead.price.shape[0] * ahead.price.shape[2] * fleet.groups
    most = max(1, BLOCK_NUMBERS * count // max(1, numbers))
    if count <= most:
        return _look(fleet, ahead)
    # Groups stand site by site, so those of a block are a slice.
    begins = np.searchsorted(fleet.site, np.arange(count + 1))
    plans = []
    for at in range(0, count, most):
        sites = slice(at, min(count, at + most))
        groups = slice(int(begins[sites.start]), int(begins[sites.stop]))
        plans.append(_look(fleet.block(sites, groups), ahead.block(sites, groups)))
    return Look(**{one.name: np.concatenate([getattr(look, one.name) for look in plans]) for one in fields(Look)})


def _look(fleet: FleetArrays, ahead: Ahead) -> Look:
    stage = stages(fleet, ahead)
    run, sleep, off = values(stage, ahead.hours, ahead.outages_per_h)
    first = stage.run[0].mean(axis=1)
    return Look(
        run=(stage.run[0] + run[0]).mean(axis=1),
        sleep=(stage.sleep[0] + sleep[0]).mean(axis=1),
        off=off[0].mean(axis=1),
        wake_usd=stage.wake[0],
        boot_usd=stage.boot[0],
        price=ahead.price[0].mean(axis=1)[fleet.site],
        low_w=stage.low_w[0],
        high_w=stage.high_w[0],
        run_usd_per_h=first / ahead.hours[0],
    )


@dataclass(frozen=True)
class Stages:
    """Margins per step: (T, G, S) of running and sleeping (off is zero); (T, G) of starting."""

    run: Floats
    sleep: Floats
    wake: Floats
    boot: Floats
    low_w: Floats
    high_w: Floats


def stages(fleet: FleetArrays, ahead: Ahead) -> Stages:
    low_w, high_w = powers(fleet, ahead)
    low_usd, high_usd, fits = _revenue(fleet, ahead, low_w, high_w)
    base = _before(fleet, ahead.base_w, high_w)
    hours = ahead.hours[:, None, None]
    sleep_w = fleet.sleep_w * (1.0 + ahead.aux)
    run = np.maximum(
        low_usd[:, :, None] - _cost(fleet, ahead, base, low_w),
        high_usd[:, :, None] - _cost(fleet, ahead, base, high_w),
    )
    if ahead.split is not None and ahead.take_w is not None:
        # The part of a group that the level still carries, in normal mode; the rest of it rests.
        part_w = np.clip(ahead.take_w[fleet.site] - base, 0.0, high_w) * ahead.split[fleet.site]
        part_usd = np.divide(high_usd * part_w, high_w, where=high_w > 0, out=np.zeros_like(high_w))
        part = part_usd[:, :, None] - _cost(fleet, ahead, base, part_w)
        run = np.where(part_w[:, :, None] > 0, np.maximum(run, part), run)
    run *= hours
    sleep = -_cost(fleet, ahead, base, sleep_w) * hours
    lost = np.minimum(ahead.hours[:, None], fleet.wake_h) * high_usd
    booting = np.minimum(ahead.hours[:, None], fleet.boot_h) * high_usd
    wear = fleet.wear_usd * fits
    if ahead.restore_share_per_h is not None:
        # Load comes back in stages: on average half of the ramp passes without these rigs' margin.
        limit_w = np.maximum(1.0, fleet.limit_w[fleet.site])
        ramp_h = high_w / (ahead.restore_share_per_h * limit_w) / 2.0
        slow = np.minimum(ahead.hours[:, None], ramp_h) / ahead.hours[:, None] * np.maximum(0.0, run.mean(axis=2))
        lost, booting = lost + slow, booting + slow
    return Stages(run, sleep, wear + lost, wear + booting, low_w, high_w)


def levels(fleet: FleetArrays, ahead: Ahead) -> tuple[Floats, Floats]:
    """(T, G, S) USD/h of a group that runs: all low, and at the most that the limit leaves."""
    low_w, high_w = powers(fleet, ahead)
    low_usd, high_usd, _ = _revenue(fleet, ahead, low_w, high_w)
    base = _before(fleet, ahead.base_w, high_w)
    return (
        low_usd[:, :, None] - _cost(fleet, ahead, base, low_w),
        high_usd[:, :, None] - _cost(fleet, ahead, base, high_w),
    )


def _revenue(fleet: FleetArrays, ahead: Ahead, low_w: Floats, high_w: Floats) -> tuple[Floats, Floats, Floats]:
    """(T, G) USD/h at the least and at the most, and the share of the group that fits at all."""
    meter = fleet.rated_w * ahead.derate * (1.0 + ahead.aux)
    full_usd = ahead.usd_per_h * ahead.derate
    if ahead.level is not None:
        full_usd = full_usd * ahead.level[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        fits = np.where(meter > 0, np.minimum(1.0, low_w / (_LOW_W * meter)), 0.0)
        up = np.where(meter > 0, np.clip((high_w - low_w) / ((1.0 - _LOW_W) * meter), 0.0, 1.0), 0.0)
    low_usd = full_usd * _LOW_HS * fits
    return low_usd, low_usd + full_usd * (1.0 - _LOW_HS) * up * (fits >= 1.0 - 1e-9), fits


def values(stage: Stages, hours: Floats, outages_per_h: float = 0.0) -> tuple[Floats, Floats, Floats]:
    """(T, G, S) worth after each step of having run, slept or been off in it: the backward pass.

    An outage is not seen coming, so it is no scenario, which would plan around it: with its chance every step ends
    with all rigs off, whatever they did."""
    steps, groups, scenarios = stage.run.shape
    run, sleep, off = (np.zeros((steps, groups, scenarios)) for _ in range(3))
    next_run, next_sleep, next_off = run[-1], sleep[-1], off[-1]
    for t in range(steps - 1, 0, -1):
        on, rest = stage.run[t] + next_run, np.maximum(stage.sleep[t] + next_sleep, next_off)
        np.maximum(on, rest, out=run[t - 1])
        np.maximum(on - stage.wake[t][:, None], rest, out=sleep[t - 1])
        np.maximum(on - stage.boot[t][:, None], rest, out=off[t - 1])
        if outages_per_h > 0.0:
            dark = 1.0 - np.exp(-outages_per_h * hours[t - 1])
            run[t - 1] += dark * (off[t - 1] - run[t - 1])
            sleep[t - 1] += dark * (off[t - 1] - sleep[t - 1])
        next_run, next_sleep, next_off = run[t - 1], sleep[t - 1], off[t - 1]
    return run, sleep, off


def _before(fleet: FleetArrays, base_w: Floats, high_w: Floats) -> Floats:
    """(T, G) load that comes before each group in its site's merit order."""
    before_w = base_w[:, fleet.site].copy()
    for place in range(1, int(fleet.first.max(initial=0)) + 1):
        later = np.flatnonzero(fleet.first == place)
        before_w[:, later] = before_w[:, later - 1] + high_w[:, later - 1]
    return before_w


def _cost(fleet: FleetArrays, ahead: Ahead, base: Floats, power_w: Floats) -> Floats:
    """(T, G, S) USD/h of drawing `power_w` on top of `base`, under the site's contract, less what it spares of the
    penalty for reserves that were sold."""
    price = ahead.price[:, fleet.site, :]
    cost = price * (power_w / 1e6)[:, :, None]
    if ahead.below is not None and ahead.take_w is not None:
        take = ahead.take_w[fleet.site]
        under = np.minimum(base + power_w, take) - np.minimum(base, take)
        cost += (ahead.below[:, fleet.site, :] - price) * (under / 1e6)[:, :, None]
    if ahead.sold_w is not None:
        owed = ahead.sold_w[:, fleet.site]
        held = np.minimum(base + power_w, owed) - np.minimum(base, owed)
        cost -= ahead.short_usd_per_mwh * (held / 1e6)[:, :, None]
    return cost


def held(fleet: FleetArrays, low_w: Floats, high_w: Floats, need_w: Floats) -> tuple[Floats, Floats]:
    """(G,) share of each group that must run at least low, and share that must run in normal mode, for (N,) watts to be
    drawn by its site: the best steps first, as they run anyway."""
    run, up, left = np.zeros(fleet.groups), np.zeros(fleet.groups), need_w.astype(float).copy()
    for groups, normal in fleet.ranks:
        sites = fleet.site[groups]
        width = (high_w[groups] - low_w[groups]) if normal else low_w[groups]
        share = np.divide(np.minimum(left[sites], width), width, out=np.zeros(len(groups)), where=width > 1.0)
        share = np.where(left[sites] > 1.0, np.clip(share, 0.0, 1.0), 0.0)
        left[sites] = np.maximum(0.0, left[sites] - share * width)
        if normal:
            up[groups] = share
        else:
            run[groups] = share
    return run, up


def held_share(fleet: FleetArrays, low_w: Floats, high_w: Floats, need_w: Floats) -> Floats:
    """(G,) share of each group that draws as much in normal mode."""
    run, up = held(fleet, low_w, high_w, need_w)
    drawn = run * low_w + up * (high_w - low_w)
    return np.asarray(np.divide(drawn, high_w, out=np.ones_like(run), where=high_w > 1.0))

"""The same decision as one mixed-integer programme, for HiGHS: what look-ahead is checked against.

Not used to run anything. One scenario, all couplings at once: rigs as populations over modes with starts from
sleep and from off, the site's limit, staged restore, contracts (with a binary where resale makes the cost
concave), replicas as whole numbers with a load cost, tokens routed between regions. `follow` walks look-ahead's
own choices through the same steps and prices them with the same costs, so the two values can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import highspy
import numpy as np
import numpy.typing as npt

from tieline.dispatch.inputs.arrays import LOW, Bools, FleetArrays, Floats, Ints
from tieline.dispatch.mining.lookahead import Ahead, Stages, held, levels, stages, values

_INF = highspy.kHighsInf


@dataclass(frozen=True)
class Serving:
    """Inference beside mining. Shapes: K node groups, R regions, T steps."""

    site: Ints  # (K,)
    most: Floats  # (K,) replicas
    tokens_per_s: float  # of one replica
    idle_w: float  # at the meter, one replica
    busy_w: float  # more at full load
    load_usd: float  # of loading one replica
    reach: npt.NDArray[np.bool_]  # (R, K) may serve
    demand: Floats  # (T, R) tokens/s
    usd_per_token: float


@dataclass
class _Model:
    """Columns and rows as they are added, then one sparse matrix."""

    cost: list[Floats] = field(default_factory=list)
    low: list[Floats] = field(default_factory=list)
    high: list[Floats] = field(default_factory=list)
    whole: list[Floats] = field(default_factory=list)
    columns: int = 0
    entries: list[tuple[Ints, Ints, Floats]] = field(default_factory=list)
    row_low: list[Floats] = field(default_factory=list)
    row_high: list[Floats] = field(default_factory=list)
    rows: int = 0

    def add(self, shape: tuple[int, ...], usd: Floats | float, top: Floats | float, whole: bool = False) -> Ints:
        """Columns from 0 to `top`; `usd` is what one unit earns."""
        count = int(np.prod(shape))
        columns = (self.columns + np.arange(count)).reshape(shape)
        self.cost.append(-np.broadcast_to(np.asarray(usd, dtype=float), shape).ravel())
        self.low.append(np.zeros(count))
        self.high.append(np.broadcast_to(np.asarray(top, dtype=float), shape).ravel())
        self.whole.append(np.full(count, float(whole)))
        self.columns += count
        return columns

    def rule(self, terms: Sequence[tuple[Ints, Floats | float]], low: Floats | float, high: Floats | float) -> None:
        """low <= sum of coefficient x column <= high, element by element of the first term's shape."""
        shape = terms[0][0].shape
        count = int(np.prod(shape))
        rows = (self.rows + np.arange(count)).reshape(shape)
        for columns, factor in terms:
            wide = np.broadcast_to(np.asarray(factor, dtype=float), columns.shape)
            self.entries.append((np.broadcast_to(rows, columns.shape).ravel(), columns.ravel(), wide.ravel()))
        self.row_low.append(np.broadcast_to(np.asarray(low, dtype=float), shape).ravel())
        self.row_high.append(np.broadcast_to(np.asarray(high, dtype=float), shape).ravel())
        self.rows += count

    def sums(self, columns: Ints, factor: Floats, row_of: Ints, low: Floats, high: Floats) -> None:
        """One rule per distinct row: sum over columns that share it."""
        self.entries.append((self.rows + row_of.ravel(), columns.ravel(), factor.ravel()))
        self.row_low.append(low.ravel())
        self.row_high.append(high.ravel())
        self.rows += len(low.ravel())

    def built(self) -> highspy.HighsLp:
        rows = np.concatenate([e[0] for e in self.entries])
        columns = np.concatenate([e[1] for e in self.entries])
        factors = np.concatenate([e[2] for e in self.entries])
        order = np.lexsort((columns, rows))
        rows, columns, factors = rows[order], columns[order], factors[order]
        starts = np.searchsorted(rows, np.arange(self.rows + 1))
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = self.columns, self.rows
        lp.col_cost_ = np.concatenate(self.cost)
        lp.col_lower_, lp.col_upper_ = np.concatenate(self.low), np.concatenate(self.high)
        lp.row_lower_, lp.row_upper_ = np.concatenate(self.row_low), np.concatenate(self.row_high)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = starts, columns, factors
        whole = np.concatenate(self.whole)
        if whole.any():
            kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
            lp.integrality_ = [kinds[int(w)] for w in whole]
        return lp


@dataclass(frozen=True)
class Solved:
    """USD over the horizon; `bound_usd` is proven; seconds are for the caller to measure."""

    value_usd: float
    bound_usd: float
    status: str
    columns: int
    rows: int


@dataclass(frozen=True)
class _Modes:
    """The rigs' columns, (T, G) each, and what a whole group draws in them."""

    low: Ints
    normal: Ints
    asleep: Ints
    meter_w: Floats
    sleep_w: Floats


# What weighs on a site's meter: columns, MW of one, and the row (step x site) of each.
_Loads = list[tuple[Ints, Floats, Ints]]


def build(fleet: FleetArrays, ahead: Ahead, running: Floats, serving: Serving | None) -> highspy.HighsLp:
    """The programme for the first scenario of `ahead`; every rig that does not run sleeps at the start."""
    steps, sites = len(ahead.hours), len(fleet.limit_w)
    hours = ahead.hours[:, None]
    model = _Model()
    modes = _populations(model, fleet, ahead, running)
    # Site power in MW, below and above the contracted level.
    above = model.add((steps, sites), -ahead.price[:, :, 0] * hours, 1e6)
    take = np.zeros(sites) if ahead.take_w is None else ahead.take_w
    cheap = ahead.price[:, :, 0] if ahead.below is None else ahead.below[:, :, 0]
    below = model.add((steps, sites), -cheap * hours, np.broadcast_to(take / 1e6, (steps, sites)))
    at = np.arange(steps)[:, None] * sites + fleet.site[None, :]
    grid, out = np.arange(steps * sites).reshape(steps, sites), np.full((steps, sites), -1.0)
    loads: _Loads = [
        (modes.low, LOW.power_share * modes.meter_w / 1e6, at),
        (modes.normal, modes.meter_w / 1e6, at),
        (modes.asleep, modes.sleep_w / 1e6, at),
        (above, out, grid),
        (below, out, grid),
    ]
    if serving is not None:
        loads += _replicas(model, serving, hours, sites)
    base = ahead.base_w / 1e6
    columns, factors, rows = (np.concatenate([part[n].ravel() for part in loads]) for n in range(3))
    model.sums(columns, factors, rows, -base.ravel(), -base.ravel())
    model.rule([(above, 1.0), (below, 1.0)], -_INF, ahead.limit_w / 1e6)
    if ahead.sold_w is not None:
        # What is sold and not drawn is paid for.
        short = model.add((steps, sites), -ahead.short_usd_per_mwh * hours, np.maximum(0.0, ahead.sold_w) / 1e6)
        model.rule([(above, 1.0), (below, 1.0), (short, 1.0)], ahead.sold_w / 1e6, _INF)
    concave = (cheap > ahead.price[:, :, 0] + 1e-9) & (take > 0)
    if concave.any():
        chosen = model.add((int(concave.sum()),), 0.0, 1.0, whole=True)
        limit = np.broadcast_to(fleet.limit_w / 1e6, concave.shape)[concave]
        model.rule([(above[concave], 1.0), (chosen, -limit)], -_INF, 0.0)
        model.rule([(below[concave], 1.0), (chosen, -np.broadcast_to(take / 1e6, concave.shape)[concave])], 0.0, _INF)
    if ahead.restore_share_per_h is not None:
        _restore(model, fleet, ahead, modes, ahead.restore_share_per_h)
    return model.built()


def _populations(model: _Model, fleet: FleetArrays, ahead: Ahead, running: Floats) -> _Modes:
    """Each group's shares over modes, and its starts from sleep and from off."""
    shape, hours = (len(ahead.hours), fleet.groups), ahead.hours[:, None]
    full_usd = ahead.usd_per_h * ahead.derate
    low = model.add(shape, full_usd * LOW.hash_share * hours, 1.0)
    normal = model.add(shape, full_usd * hours, 1.0)
    asleep = model.add(shape, 0.0, 1.0)
    off = model.add(shape, 0.0, 1.0)
    stage = stages(fleet, replace(ahead, restore_share_per_h=None))
    wake = model.add(shape, -stage.wake, 1.0)
    boot = model.add(shape, -stage.boot, 1.0)
    model.rule([(low, 1.0), (normal, 1.0), (asleep, 1.0), (off, 1.0)], 1.0, 1.0)
    model.rule(
        [(low[1:], 1.0), (normal[1:], 1.0), (low[:-1], -1.0), (normal[:-1], -1.0), (wake[1:], -1.0), (boot[1:], -1.0)],
        -_INF,
        0.0,
    )
    model.rule([(low[0], 1.0), (normal[0], 1.0), (wake[0], -1.0), (boot[0], -1.0)], -_INF, running)
    model.rule([(wake[1:], 1.0), (asleep[:-1], -1.0)], -_INF, 0.0)
    model.rule([(boot[1:], 1.0), (off[:-1], -1.0)], -_INF, 0.0)
    model.rule([(wake[0], 1.0)], -_INF, 1.0 - running)
    model.rule([(boot[0], 1.0)], -_INF, 0.0)
    meter_w = fleet.rated_w * ahead.derate * (1.0 + ahead.aux)
    return _Modes(low, normal, asleep, meter_w, fleet.sleep_w * (1.0 + ahead.aux))


def _replicas(model: _Model, serving: Serving, hours: Floats, sites: int) -> _Loads:
    """Replicas as whole numbers, their loads, and tokens that flow from regions to them."""
    steps, count, regions = len(hours), len(serving.site), serving.demand.shape[1]
    replicas = model.add((steps, count), 0.0, serving.most, whole=True)
    loads = model.add((steps, count), -serving.load_usd, np.broadcast_to(serving.most, (steps, count)))
    tokens = model.add((steps, count), 0.0, 1e12)
    model.rule([(tokens, 1.0), (replicas, -serving.tokens_per_s)], -_INF, 0.0)
    model.rule([(replicas[1:], 1.0), (replicas[:-1], -1.0), (loads[1:], -1.0)], -_INF, 0.0)
    usd = serving.usd_per_token * 3600.0 * hours[:, :, None]
    may = np.broadcast_to(np.where(serving.reach, 1e12, 0.0), (steps, regions, count))
    flow = model.add((steps, regions, count), np.broadcast_to(usd, (steps, regions, count)), may)
    ones = np.ones((steps, regions, count))
    row_r = np.arange(steps * regions).reshape(steps, regions, 1)
    least = np.full(steps * regions, -_INF)
    model.sums(flow, ones, np.broadcast_to(row_r, flow.shape), least, serving.demand.ravel())
    row_k = np.arange(steps * count).reshape(steps, 1, count)
    both = np.concatenate([flow.ravel(), tokens.ravel()])
    signs = np.concatenate([ones.ravel(), -np.ones(steps * count)])
    rows = np.concatenate([np.broadcast_to(row_k, flow.shape).ravel(), np.arange(steps * count)])
    model.sums(both, signs, rows, np.zeros(steps * count), np.zeros(steps * count))
    where = np.arange(steps)[:, None] * sites + serving.site[None, :]
    each = serving.busy_w / serving.tokens_per_s
    return [
        (replicas, np.full((steps, count), serving.idle_w / 1e6), where),
        (tokens, np.full((steps, count), each / 1e6), where),
    ]


def _restore(model: _Model, fleet: FleetArrays, ahead: Ahead, modes: _Modes, share_per_h: float) -> None:
    """Mining comes back in stages: no faster than a share of the site's limit per hour."""
    rise = share_per_h * ahead.hours[1:, None] * fleet.limit_w[fleet.site]
    low, normal, meter = modes.low, modes.normal, modes.meter_w
    model.rule(
        [
            (low[1:], LOW.power_share * meter[1:]),
            (normal[1:], meter[1:]),
            (low[:-1], -LOW.power_share * meter[:-1]),
            (normal[:-1], -meter[:-1]),
        ],
        -_INF,
        rise,
    )


def solve(lp: highspy.HighsLp, gap: float = 1e-4, limit_s: float = 120.0) -> Solved:
    """One thread. `limit_s` bounds a check on a person's machine; it decides nothing that runs."""
    highs = highspy.Highs()
    for name, value in (
        ("output_flag", False),
        ("threads", 1),
        ("mip_rel_gap", gap),
        ("time_limit", limit_s),
    ):
        highs.setOptionValue(name, value)
    highs.passModel(lp)
    highs.run()
    info = highs.getInfo()
    whole = len(lp.integrality_) > 0
    bound = info.mip_dual_bound if whole else info.objective_function_value
    return Solved(
        -info.objective_function_value, -bound, str(highs.getModelStatus()).split(".")[-1], lp.num_col_, lp.num_row_
    )


@dataclass(frozen=True)
class _Walk:
    """One way of looking at the same steps: its stages, worths and margins, and what running draws."""

    stage: Stages
    run_v: Floats
    sleep_v: Floats
    off_v: Floats
    low: Floats  # (T, G) USD/h of running at the least, and at the most
    high: Floats

    @classmethod
    def of(cls, fleet: FleetArrays, ahead: Ahead) -> _Walk:
        stage = stages(fleet, ahead)
        low, high = levels(fleet, ahead)
        return cls(stage, *values(stage, ahead.hours), low[:, :, 0], high[:, :, 0])

    def wants(self, t: int, on: Floats, out: Floats) -> tuple[Floats, Floats, Bools]:
        """(G,) share that runs, what a whole group then draws, and where resting is better off than asleep."""
        asleep, stage = 1.0 - on - out, self.stage
        go = stage.run[t, :, 0] + self.run_v[t, :, 0]
        sleeping = stage.sleep[t, :, 0] + self.sleep_v[t, :, 0]
        rest = np.maximum(sleeping, self.off_v[t, :, 0])
        want = on * (go >= rest) + asleep * (go - stage.wake[t] > rest) + out * (go - stage.boot[t] > rest)
        use = np.where(self.high[t] >= self.low[t], stage.high_w[t], stage.low_w[t])
        return want, use, self.off_v[t, :, 0] > sleeping

    def margin(self, t: int, use: Floats) -> Floats:
        """(G,) USD/h of a whole group that draws `use`."""
        low_w, high_w = self.stage.low_w[t], self.stage.high_w[t]
        part = np.clip((use - low_w) / np.maximum(1e-9, high_w - low_w), 0.0, 1.0)
        return np.asarray(self.low[t] + part * (self.high[t] - self.low[t]))


def follow(fleet: FleetArrays, ahead: Ahead, running: Floats) -> float:
    """The value of look-ahead's own choices for the first scenario, staged restore included; mining alone. Where
    reserves are sold, what they need runs, best steps first, and the rest is decided as if nothing were sold; a MWh
    that is missing is paid for."""
    walk = _Walk.of(fleet, replace(ahead, sold_w=None))
    plain = stages(fleet, replace(ahead, restore_share_per_h=None, sold_w=None))
    on, out, total = running.copy(), np.zeros(fleet.groups), 0.0
    drawn = on * plain.high_w[0]
    for t, hours in enumerate(ahead.hours):
        want, use, best_off = walk.wants(t, on, out)
        if ahead.sold_w is not None:
            want, use = _at_least(fleet, ahead, plain, t, want, use)
        if ahead.restore_share_per_h is not None and t > 0:
            cap = drawn + ahead.restore_share_per_h * hours * fleet.limit_w[fleet.site]
            at_low = np.maximum(1.0, plain.low_w[t])
            want = np.minimum(want, np.maximum(on, cap / at_low))
            use = np.minimum(use, np.maximum(plain.low_w[t], cap / np.maximum(1e-9, want)))
        woken = np.minimum(np.maximum(0.0, want - on), 1.0 - on - out)
        booted = np.maximum(0.0, want - on - woken)
        sleeping = np.where(best_off, 0.0, 1.0 - want)
        total += float((want * walk.margin(t, use) * hours + sleeping * walk.stage.sleep[t, :, 0]).sum())
        total -= float((woken * plain.wake[t] + booted * plain.boot[t]).sum())
        on, out = want, np.where(best_off, 1.0 - want, 0.0)
        drawn = want * use
        if ahead.sold_w is not None:
            rest_w = sleeping * fleet.sleep_w * (1.0 + ahead.aux[t])
            load = ahead.base_w[t] + np.bincount(fleet.site, weights=drawn + rest_w, minlength=len(fleet.limit_w))
            short = np.maximum(0.0, ahead.sold_w[t] - load)
            total -= ahead.short_usd_per_mwh * float(short.sum()) / 1e6 * float(hours)
    return total


def _at_least(
    fleet: FleetArrays, ahead: Ahead, plain: Stages, t: int, want: Floats, use: Floats
) -> tuple[Floats, Floats]:
    """The same shares and draws with what is sold in the step drawn besides."""
    assert ahead.sold_w is not None, "asked only where something is sold"
    low_w, high_w = plain.low_w[t], plain.high_w[t]
    run, up = held(fleet, low_w, high_w, np.maximum(0.0, ahead.sold_w[t] - ahead.base_w[t]))
    more = np.maximum(want, run)
    watts = np.maximum(want * use, run * low_w + up * (high_w - low_w))
    watts = np.maximum(watts, more * low_w)
    return more, np.where(more > 0, watts / np.maximum(1e-12, more), use)

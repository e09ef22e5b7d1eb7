"""From all paths to what somebody decides by: worth, returns, cash, what tips the choice, the cost of being wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from tieline.study.alternatives import CATEGORIES, Block
from tieline.study.drivers import BLOCK, Drivers, draw
from tieline.study.file import Study, StudyLoan
from tieline.study.interpolate import ALL, Coupling
from tieline.study.surface import StudySurfaces
from tieline.study.sweep import PlanPaths, worth, worth_added

Floats = NDArray[np.float64]

# What is varied for the tornado and searched for break-even, with how far either way.
VARIED: Final = {
    "btc_usd": 0.3, "difficulty": 0.2, "power": 0.2, "gpu_usd_per_hour": 0.3, "utilisation": 0.2, "fee_share": 0.5,
    "fx": 0.2,
}  # fmt: skip
# Break-evens are searched on this many of the paths.
SEARCHED: Final = 200
_STEPS: Final = 30
# Errors of a median that are told: on eighty studies of one plan twice the paths moved it by more in five.
SURE: Final = 2.58
# Doubling the paths may move a printed median by this share before the report says that it does.
STEADY: Final = 0.01


class Spread(msgspec.Struct, frozen=True):
    """Of the paths that have a value: the tenth, fiftieth and ninetieth of a hundred; `share` that have one."""

    p10: float | None
    p50: float | None
    p90: float | None
    share: float


class Swing(msgspec.Struct, frozen=True):
    """The median worth with a driver lower and higher by `by`."""

    driver: str
    by: float
    low: float
    high: float


class PlanResult(msgspec.Struct, frozen=True, kw_only=True):
    """One plan. Money in the study's currency; months from the start; rates per year. `added` is against the study's
    first plan, its rate and payback before loans. The last three kinds of worth: of rigs that rest when power is dear,
    of the room that computers leave them, of resting in coincident peaks."""

    name: str
    does: tuple[str, ...]
    npv: Spread
    added_npv: Spread
    added_rate: Spread
    several_rates_share: float
    payback_months: Spread
    lowest_cash: Spread
    lowest_cash_month: str
    runs_out_share: float
    short: Spread
    first_short_month: str | None
    infeasible: bool
    # Paths on which a covenant is broken that the plan does not survive; None: no loan has such a one.
    stopped_share: float | None
    first_stopped: str | None
    cover_broken_share: float | None
    first_cover_broken: str | None
    value_broken_share: float | None
    first_value_broken: str | None
    worth: dict[str, float]
    best_share: float
    regret: float
    breakeven: dict[str, float | None]
    tornado: tuple[Swing, ...]
    curtailing: float
    sharing_room: float
    avoiding_peaks: float
    cash_p10: tuple[float, ...]
    cash_p50: tuple[float, ...]
    cash_p90: tuple[float, ...]
    mwh: tuple[float, ...]
    btc: tuple[float, ...]
    tokens: tuple[float, ...]


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """All plans of a study; `moved`: the largest share by which twice the paths may move a median, and of what plan."""

    study: Study
    currency: str
    markets: tuple[str, ...]
    months_run: tuple[str, ...]
    days_run: str
    invented_days: bool
    surface: str
    plans: tuple[PlanResult, ...]
    moved: float
    moved_plan: str
    hashprice_p10: tuple[float, ...]
    hashprice_p50: tuple[float, ...]
    hashprice_p90: tuple[float, ...]


def spread(values: Floats) -> Spread:
    """nan and inf count as none."""
    good = values[np.isfinite(values)]
    if not len(good):
        return Spread(None, None, None, 0.0)
    low, middle, high = (float(one) for one in np.percentile(good, (10, 50, 90)))
    return Spread(low, middle, high, len(good) / len(values))


def summarise(study: Study, surfaces: StudySurfaces, plans: Sequence[PlanPaths]) -> Results:
    """Everything that the report prints."""
    worths = np.stack([one.npv for one in plans], axis=1)
    best = np.argmax(worths, axis=1)
    regret = worths.max(axis=1, keepdims=True) - worths
    sample = _Sample(study, surfaces)
    summaries = [
        _plan(study, sample, plans, n, float((best == n).mean()), float(regret[:, n].mean())) for n in range(len(plans))
    ]
    moves = [moves_by(one.npv) / max(abs(_middle(one.npv)), 1.0) for one in plans]
    prices = np.percentile(sample.block.hashprice, (10, 50, 90), axis=0)
    return Results(
        study=study,
        currency=study.money.currency,
        markets=surfaces.markets,
        months_run=surfaces.days,
        days_run=surfaces.ran,
        invented_days=surfaces.invented,
        surface=surfaces.digest,
        plans=tuple(summaries),
        moved=max(moves),
        moved_plan=study.plan[moves.index(max(moves))].name,
        hashprice_p10=tuple(map(float, prices[0])),
        hashprice_p50=tuple(map(float, prices[1])),
        hashprice_p90=tuple(map(float, prices[2])),
    )


def moves_by(values: Floats) -> float:
    """What twice as many paths may move a median by. It moves by half the difference of two medians of as many paths;
    a median errs by its distance between ranks times the root of the sum, over the pairs that paths come in, of the
    squares of their signs about it, halved. `SURE` of that, or what the second half of these paths moved it by, if that
    is more."""
    middle, count = _middle(values), len(values)
    half = abs(_middle(values[: count // 2]) - middle)
    ranks = 0.98 * np.sqrt(count)  # to either side of the median, where it lies in 19 of 20 samples
    if count < 8:
        return half
    low, high = np.percentile(values, (50.0 - 100.0 * ranks / count, 50.0 + 100.0 * ranks / count))
    signs = np.sign(values[: count // 2 * 2] - middle).reshape(-1, 2).sum(axis=1)
    error = (high - low) / (2.0 * ranks) * np.sqrt((signs**2).sum()) / 2.0
    return float(max(half, SURE * error / np.sqrt(2.0)))


def bridge(results: Results, one: str, other: str) -> dict[str, float]:
    """Mean worth of the second plan less that of the first, by category; the parts sum to the difference."""
    by = {plan.name: plan.worth for plan in results.plans}
    return {name: by[other][name] - by[one][name] for name in CATEGORIES}


def _middle(values: Floats) -> float:
    return float(np.median(values)) if len(values) else 0.0


@dataclass
class _Sample:
    """The first paths, on which what-ifs are reckoned again."""

    study: Study
    surfaces: StudySurfaces

    def __post_init__(self) -> None:
        count = min(SEARCHED, self.study.paths, BLOCK)
        small = msgspec.structs.replace(self.study, paths=count)
        self.drivers = draw(small, 0, len(self.surfaces.markets))
        self.small = small
        self.block = Block(small, self.surfaces, self.drivers)
        self._medians: dict[tuple[str, float, Coupling], list[float]] = {}

    def median(self, plan: int, driver: str = "", factor: float = 1.0, coupling: Coupling = ALL) -> float:
        """The median worth of a plan with one driver times a factor; plans share what sites do, so all are reckoned."""
        key = (driver, factor, coupling)
        if key not in self._medians:
            block = self.varied(driver, factor, coupling)
            self._medians[key] = [_middle(worth(block, n)) for n in range(len(self.study.plan))]
        return self._medians[key][plan]

    def varied(self, driver: str = "", factor: float = 1.0, coupling: Coupling = ALL) -> Block:
        used: Drivers = self.drivers.scaled(driver, factor) if driver else self.drivers
        return Block(self.small, self.surfaces, used, coupling)


def balances(study: Study, one: PlanPaths) -> Floats:
    """(paths, months) cash at each month's end, in the study's currency."""
    code = study.money.currency
    rate = 1.0 if code == "USD" else study.assume.fx[code].start
    return np.asarray(study.money.opening_cash_usd / rate + np.cumsum(one.cash, axis=1))


@dataclass(frozen=True)
class _Broken:
    """On what share of the paths a covenant is broken, and in which month first; None: no loan has one, or none is."""

    share: float | None
    first: str | None

    @classmethod
    def of(cls, study: Study, months: Floats, limits: Sequence[float | None]) -> _Broken:
        if all(limit is None for limit in limits):
            return cls(None, None)
        broken = months[np.isfinite(months)]
        return cls(len(broken) / len(months), study.label(int(broken.min())) if len(broken) else None)


def _stopping(loan: StudyLoan) -> float | None:
    """One of its limits, where a breach is one that the plan does not survive."""
    limits = [limit for limit in (loan.cover_at_least, loan.value_at_most) if limit is not None]
    return limits[0] if limits and loan.on_breach == "infeasible" else None


def _plan(study: Study, sample: _Sample, plans: Sequence[PlanPaths], n: int, best: float, regret: float) -> PlanResult:
    one, first = plans[n], plans[0]
    cash = balances(study, one)
    lowest = cash.min(axis=1)
    short = np.maximum(0.0, -lowest)
    out = lowest < 0
    when = np.argmin(np.percentile(cash, 50, axis=0))
    loans = study.loans_of(study.plan[n])
    cover = _Broken.of(study, one.cover_broken, [loan.cover_at_least for loan in loans])
    value = _Broken.of(study, one.value_broken, [loan.value_at_most for loan in loans])
    stopped = _Broken.of(study, one.stops, [_stopping(loan) for loan in loans])
    base = sample.median(n)
    return PlanResult(
        name=study.plan[n].name,
        does=study.plan[n].does,
        npv=spread(one.npv),
        added_npv=spread(one.npv - first.npv),
        added_rate=spread(one.added_rate),
        several_rates_share=float(one.added_several.mean()) if n else 0.0,
        payback_months=spread(one.payback),
        lowest_cash=spread(lowest),
        lowest_cash_month=study.label(int(when)),
        runs_out_share=float(out.mean()),
        short=spread(np.where(out, short, np.nan)),
        first_short_month=study.label(int(np.argmax(cash[out] < 0, axis=1).min())) if out.any() else None,
        infeasible=float((out | np.isfinite(one.stops)).mean()) > study.money.may_run_out,
        stopped_share=stopped.share,
        first_stopped=stopped.first,
        cover_broken_share=cover.share,
        first_cover_broken=cover.first,
        value_broken_share=value.share,
        first_value_broken=value.first,
        worth={name: float(one.worth[:, c].mean()) for c, name in enumerate(CATEGORIES)},
        best_share=best,
        regret=regret,
        breakeven={name: _breakeven(sample, name, n) for name in ("hashprice", "utilisation", "gpu_usd_per_hour")},
        tornado=tuple(
            Swing(name, by, sample.median(n, name, 1.0 - by), sample.median(n, name, 1.0 + by))
            for name, by in VARIED.items()
            if name != "fx" or study.currencies
        ),
        curtailing=base - sample.median(n, coupling=Coupling(curtails=False)),
        sharing_room=base - sample.median(n, coupling=Coupling(shares=False)),
        avoiding_peaks=base - sample.median(n, coupling=Coupling(avoids_peaks=False)),
        cash_p10=tuple(map(float, np.percentile(cash, 10, axis=0))),
        cash_p50=tuple(map(float, np.percentile(cash, 50, axis=0))),
        cash_p90=tuple(map(float, np.percentile(cash, 90, axis=0))),
        mwh=tuple(map(float, one.mwh)),
        btc=tuple(map(float, one.btc)),
        tokens=tuple(map(float, one.tokens)),
    )


def _breakeven(sample: _Sample, driver: str, n: int) -> float | None:
    """The driver's mean level, all its months times one factor, at which the plan adds nothing to the first on the
    median path; None where no factor between a tenth and ten does it. Of the first: where it is worth nothing."""
    name = "btc_usd" if driver == "hashprice" else driver

    def gap(factor: float) -> float:
        block = sample.varied(name, factor)
        return _middle(worth_added(block, n) if n else worth(block, 0))

    low, high = 0.1, 10.0 if driver != "utilisation" else 1.0 / max(1e-9, float(sample.drivers.utilisation.mean()))
    at_low, at_high = gap(low), gap(high)
    if at_low == at_high or (at_low < 0) == (at_high < 0):
        return None
    factor = _root(gap, low, high, at_low, at_high)
    level = sample.block.hashprice if driver == "hashprice" else getattr(sample.drivers, driver)
    return float(level.mean()) * factor


def _root(gap: Callable[[float], float], low: float, high: float, at_low: float, at_high: float) -> float:
    """Where `gap` is nothing, to a thousandth, by the chord with the end that stays halved (the Illinois rule)."""
    middle = low
    for _ in range(_STEPS):
        before, middle = middle, (low * at_high - high * at_low) / (at_high - at_low)
        here = gap(middle)
        if (here < 0) == (at_high < 0):
            high, at_high, at_low = middle, here, at_low / 2.0
        else:
            low, at_low, at_high = middle, here, at_high / 2.0
        if here == 0 or abs(middle - before) < 1e-3 * abs(middle):
            break
    return middle

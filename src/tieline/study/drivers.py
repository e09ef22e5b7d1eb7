"""Monthly paths of what nobody knows: seeded, correlated, each marked as assumed by the file that states it.

A block of paths depends on the study's seed and on its own number alone, so the same paths come out however many
processes draw them, and more paths begin with the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tieline.config.lines import MistakeError
from tieline.economics import BLOCKS_PER_HALVING, HASHES_PER_DIFFICULTY, subsidy_btc
from tieline.study.file import Assumption, Study

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Paths are drawn and reckoned in blocks of this many.
BLOCK: Final = 500
# The chain's block at the beginning of 2026, and blocks a month at one in ten minutes.
HEIGHT_2026, BLOCKS_PER_MONTH = 930_340, 144 * 365.25 / 12
# A resampled history keeps this many months together.
KEPT_TOGETHER: Final = 6


@dataclass(frozen=True)
class Drivers:
    """(paths, months) each, but where another shape is named. `subsidy` is (months,), `power` (paths, months, markets),
    `uniforms` (paths, alternatives): one draw each for delays, and `ends` (paths, alternatives, months) none where no
    contract may end early. `fx` (paths, months, currencies): USD for one of each."""

    btc_usd: Floats
    difficulty: Floats
    fee_share: Floats
    power: Floats
    gpu_usd_per_hour: Floats
    utilisation: Floats
    subsidy: Floats
    delay: Ints
    ends: Floats
    fx: Floats

    @property
    def hashprice(self) -> Floats:
        """USD per PH/s and day; as economics.hashprice, for arrays."""
        blocks = 1e15 * 86_400 / (self.difficulty * HASHES_PER_DIFFICULTY)
        price: Floats = blocks * self.subsidy * (1.0 + self.fee_share) * self.btc_usd
        return price

    def scaled(self, name: str, factor: float) -> Drivers:
        """The same paths with one driver times a factor; a utilisation stays a share. `fx`: all other currencies."""
        if name == "fx":
            # From the second month on: amounts are written at the start's rate.
            moved = self.fx * factor
            moved[:, 0] = self.fx[:, 0]
            return replace(self, fx=moved)
        values = getattr(self, name) * factor
        return replace(self, **{name: np.minimum(values, 1.0) if name == "utilisation" else values})


def correlation(study: Study) -> Floats:
    """The lower triangle that correlates the shocks. Raises MistakeError where none can have these correlations."""
    names = study.drivers
    matrix = np.eye(len(names))
    for a, b, value in study.assume.correlations:
        i, j = names.index(a), names.index(b)
        matrix[i, j] = matrix[j, i] = value
    if float(np.linalg.eigvalsh(matrix)[0]) < -1e-9:
        raise MistakeError(
            ("assume", "correlations"),
            "these cannot hold together: the matrix is none of correlations",
            "make them smaller",
        )
    return np.asarray(np.linalg.cholesky(matrix + np.eye(len(names)) * 1e-9), dtype=np.float64)


def draw(study: Study, block: int, markets: int) -> Drivers:
    """The paths of one block; the last may be smaller."""
    count = min(BLOCK, study.paths - block * BLOCK)
    months, assume = study.months, study.assume
    rng = np.random.default_rng(np.random.SeedSequence([study.seed, block]))
    shocks = _pairs(rng, (months, len(study.drivers))) @ correlation(study).T
    own = _pairs(rng, (months, max(1, markets)))
    late = rng.exponential(1.0, (BLOCK, max(1, len(study.alternative))))
    ends = rng.random((BLOCK, max(1, len(study.alternative)), months))
    picks = rng.integers(0, 1 << 30, (BLOCK, months))
    by = {name: shocks[:count, :, n] for n, name in enumerate(study.drivers)}
    btc = _path(assume.btc_usd, by["btc_usd"], picks[:count])
    subsidy = subsidies(study)
    # Half of a market's shocks are the region's weather and gas, half its own.
    power = np.stack(
        [
            _path(assume.power, (by["power"] + own[:count, :, m]) / np.sqrt(2.0), picks[:count])
            for m in range(max(1, markets))
        ],
        axis=2,
    )
    used = _path(assume.utilisation, by["utilisation"], picks[:count])
    rates = [_path(assume.fx[code], by[f"fx.{code}"], picks[:count]) for code in study.currencies]
    return Drivers(
        btc_usd=btc,
        difficulty=_difficulty(study, btc * subsidy, by["difficulty"]),
        fee_share=_path(assume.fee_share, by["fee_share"], picks[:count]),
        power=power,
        gpu_usd_per_hour=_gpu(study, by["gpu_usd_per_hour"]),
        utilisation=np.minimum(used, 1.0),
        subsidy=subsidy,
        delay=np.rint(late[:count] * assume.delay_months).astype(np.int64),
        ends=ends[:count],
        fx=np.stack(rates, axis=2) if rates else np.zeros((count, months, 0)),
    )


def _pairs(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """(BLOCK, *shape) standard normals; each second path has the shocks of the one before with the other sign, which
    steadies means and medians (antithetic variates, Hammersley and Morton 1956)."""
    half = rng.standard_normal((BLOCK // 2, *shape))
    return np.stack([half, -half], axis=1).reshape(BLOCK, *shape)


def subsidies(study: Study) -> Floats:
    """(months,) mean subsidy of each month's blocks; a halving within a month is shared by days."""
    first = HEIGHT_2026 + study.month("2026-01") * -1 * BLOCKS_PER_MONTH
    path = np.empty(study.months)
    for n in range(study.months):
        begin, end = first + n * BLOCKS_PER_MONTH, first + (n + 1) * BLOCKS_PER_MONTH
        turn = (int(begin) // BLOCKS_PER_HALVING + 1) * BLOCKS_PER_HALVING
        before, after = subsidy_btc(max(0, int(begin))), subsidy_btc(max(0, turn))
        share = min(1.0, (turn - begin) / (end - begin))
        path[n] = share * before + (1.0 - share) * after
    return path


def _path(one: Assumption, shocks: Floats, picks: Ints) -> Floats:
    """(paths, months) of one driver."""
    count, months = shocks.shape
    years = np.arange(months) / 12.0
    step = one.volatility / np.sqrt(12.0)
    if one.model == "table":
        place = np.minimum(np.arange(months), len(one.values) - 1)
        return np.broadcast_to(np.array(one.values)[place], (count, months)).copy()
    if one.model == "history":
        changes = np.diff(np.log(np.array(one.values)))
        begin = picks[:, ::KEPT_TOGETHER] % len(changes)
        drawn = (np.repeat(begin, KEPT_TOGETHER, axis=1)[:, :months] + np.arange(months) % KEPT_TOGETHER) % len(changes)
        moved = changes[drawn]
        moved[:, 0] = 0.0
        path: Floats = one.start * np.exp(np.cumsum(moved, axis=1))
        return path
    trend = np.log1p(one.drift) * years
    if one.model == "walk":
        moved = np.cumsum(shocks * step, axis=1) - shocks[:, :1] * step
        return np.asarray(one.start * np.exp(trend + moved))
    keep = np.exp(-1.0 / one.revert_months)
    away = np.zeros((count, months))
    for n in range(1, months):
        away[:, n] = away[:, n - 1] * keep + shocks[:, n] * step
    return np.asarray(one.start * np.exp(trend + away))


def _difficulty(study: Study, revenue: Floats, shocks: Floats) -> Floats:
    one = study.assume.difficulty
    pull = np.log(revenue) - np.log(revenue[:, :1])
    keep = np.exp(-1.0 / one.lag_months)
    felt = np.zeros_like(pull)
    for n in range(1, pull.shape[1]):
        felt[:, n] = felt[:, n - 1] * keep + pull[:, n] * (1.0 - keep)
    noise = np.cumsum(shocks * one.volatility / np.sqrt(12.0), axis=1)
    years = np.arange(pull.shape[1]) / 12.0
    path: Floats = one.start * np.exp(np.log1p(one.growth) * years + one.answer * felt + noise - noise[:, :1])
    return path


def _gpu(study: Study, shocks: Floats) -> Floats:
    one = study.assume.gpu_usd_per_hour
    months = np.arange(study.months)
    fall = np.log1p(-min(one.decline, 0.999)) * months / 12.0
    fall += np.log1p(-min(one.generation_drop, 0.999)) * (months // one.generation_months)
    noise = np.cumsum(shocks * one.volatility / np.sqrt(12.0), axis=1)
    path: Floats = one.start * np.exp(fall + noise - noise[:, :1])
    return path

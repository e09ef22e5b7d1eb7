"""Demand that nobody could foresee: the recorded week is repeated, so without this no policy is ever wrong about it.

Each region's demand is multiplied by its own path: an autoregressive one, in logarithms, that forgets half of a
surprise in four hours, with its mean kept at one. Seeded; the same seed gives the same demand for every policy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tieline.backtest.data import ScenarioWorld
from tieline.dispatch.inputs.arrays import Floats

_HALF_LIFE_H = 4.0
# Demand is recorded by the half hour.
_WINDOW = 2


@dataclass(frozen=True, slots=True)
class Noise:
    """`spread`: standard deviation of the logarithm."""

    spread: float
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0.0 <= self.spread <= 1.0:
            raise ValueError(f"the spread of demand is between 0 and 1, got {self.spread:g}")
        if self.seed < 0:
            raise ValueError(f"a seed is 0 or above, got {self.seed}")

    def words(self) -> str:
        return (
            f"demand is multiplied by a made-up path (seed {self.seed}): log-normal, spread {self.spread:.0%}, half of "
            f"a surprise forgotten in {_HALF_LIFE_H:g} h, each region by itself"
        )


def shaken(world: ScenarioWorld, noise: Noise) -> ScenarioWorld:
    """The same days with demand that strays from last week's."""
    demand = {}
    for n, region in enumerate(sorted(world.demand)):
        path = _path(world.slots, noise, n)
        demand[region] = world.demand[region] * path
    return replace(world, demand={region: demand[region] for region in world.demand})


def _path(slots: int, noise: Noise, region: int) -> Floats:
    rng = np.random.default_rng([noise.seed, region])
    keep = 0.5 ** (1.0 / (_HALF_LIFE_H * 2.0))
    count = -(-slots // _WINDOW)
    fresh = rng.normal(0.0, noise.spread * np.sqrt(1.0 - keep**2), count)
    at, path = rng.normal(0.0, noise.spread), np.empty(count)
    for t in range(count):
        at = keep * at + fresh[t]
        path[t] = at
    return np.repeat(np.exp(path - noise.spread**2 / 2.0), _WINDOW)[:slots]

"""How many replicas to have ready now, seeing what will be asked.

Pure. One more replica is one more level of a region's need over time. At each level being ready is worth a
reload where the level is needed, and costs idle power where it is not: with V the advantage of being up,

    V(t) = reload                          where needed
    V(t) = max(0, V(t + 1) - idle(t))      elsewhere

so a short dip is sat out and a long one is not. Levels are independent, which makes this exact. A replica that
loads for minutes is asked for that long before it is needed.
"""

from __future__ import annotations

import numpy as np

from tieline.dispatch.inputs.arrays import Floats, Ints


def ready_now(
    need: Floats,
    running: int,
    starts_s: Ints,
    load_s: float,
    idle_usd: Floats,
    reload_usd: float,
    risk: float = 0.95,
) -> int:
    """Replicas to have up in the first step.

    `need` (T, S) replicas by step and scenario of demand; `starts_s` (T,) when each step begins; `idle_usd`
    (T,) what a replica that waits costs in each step; `risk`: the share of scenarios that must be carried.
    """
    due = need[starts_s <= load_s]
    at_least = int(np.ceil(np.quantile(due.max(axis=0), risk) - 1e-9))
    low, high = at_least, max(at_least, running)
    # What is needed only after idling has cost a reload is no reason to wait: those steps change nothing.
    idle_usd = np.maximum(0.0, idle_usd)
    matter = 1 + int(np.searchsorted(np.cumsum(idle_usd), reload_usd, side="right"))
    need, idle_usd = need[:matter], idle_usd[:matter]
    # Higher levels are needed later and more seldom: the first that is not worth its wait ends the search.
    while low < high:
        level = (low + high + 1) // 2
        if _advantage(need, level, idle_usd, reload_usd) > 0.0:
            low = level
        else:
            high = level - 1
    return low


def _advantage(need: Floats, level: int, idle_usd: Floats, reload_usd: float) -> float:
    """USD that one more step of waiting is worth to a replica that is up, mean over scenarios."""
    up = np.zeros(need.shape[1])
    for t in range(len(need) - 1, 0, -1):
        up = np.where(need[t] >= level, reload_usd, np.maximum(0.0, up - idle_usd[t]))
    return float(np.where(need[0] >= level, reload_usd, up - idle_usd[0]).mean())

"""Chance without a state: numbers that depend on a seed, a name and a place in time, and on nothing else.

A hash gives the value at each knot; between knots it is smooth. So any moment can be asked for, in any order,
on any machine, and is the same.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MASK = (1 << 64) - 1


@lru_cache(maxsize=4096)
def name_key(seed: int, name: str) -> int:
    """64 bits of a seed and a name."""
    return int.from_bytes(hashlib.blake2b(f"{seed}|{name}".encode(), digest_size=8).digest(), "big")


def uniform(key: int, n: int) -> float:
    """In [0, 1), for knot `n` (splitmix64's finaliser over key and n)."""
    z = (key + (n + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((z ^ (z >> 31)) >> 11) / float(1 << 53)


def smooth(key: int, moment: datetime, every: timedelta) -> float:
    """In [-1, 1], with a knot each `every`, eased between."""
    place = (moment - _EPOCH) / every
    left = int(place // 1)
    part = place - left
    ease = part * part * (3.0 - 2.0 * part)
    low, high = uniform(key, left), uniform(key, left + 1)
    return 2.0 * (low + (high - low) * ease) - 1.0

"""Reserves of recorded days: what each product cleared at, and when it was called.

Prices are recorded; calls are invented, draws from a product's own name and day, as often as its table says.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from tieline.dispatch.inputs.arrays import Floats, Ints
from tieline.dispatch.inputs.forecast import SLOT_S, SLOTS_PER_DAY
from tieline.fleet import Fleet
from tieline.fleet.reserves import ReserveProduct

HOUR_SLOTS = 3600 // SLOT_S


@dataclass(frozen=True)
class ReserveMarket:
    """`price` by product, (slots,) USD per MW and hour, nan where it was not traded; `known`: for each slot the first
    one whose price is not known yet; `calls`: slots [first, last)."""

    products: tuple[ReserveProduct, ...] = ()
    price: Mapping[str, Floats] = field(default_factory=dict)
    known: Mapping[str, Ints] = field(default_factory=dict)
    calls: Mapping[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.products)

    def best(self, fleet: Fleet, slots: Ints) -> Floats:
        """(T, N) the most that a MW sold is paid in each of `slots`; 0 where nothing is traded."""
        out = np.zeros((len(slots), len(fleet.sites)))
        for n, site in enumerate(fleet.sites):
            for name in site.reserves:
                if name in self.price:
                    out[:, n] = np.maximum(out[:, n], np.nan_to_num(self.price[name][slots]))
        return out


def drawn_calls(product: ReserveProduct, start: datetime, slots: int) -> tuple[tuple[int, int], ...]:
    """Slots [first, last) of a product's invented calls: the same for every policy and at every run."""
    calls = []
    length = max(1, -(-product.call_s // SLOT_S))
    for n in range(slots // SLOTS_PER_DAY):
        day = start + timedelta(days=n)
        draw = np.random.default_rng(zlib.crc32(f"{product.name}|{day:%Y-%m-%d}".encode()))
        if draw.random() < product.calls_per_year / 365.25:
            first = n * SLOTS_PER_DAY + int(draw.integers(0, SLOTS_PER_DAY))
            calls.append((first, min(slots, first + length)))
    return tuple(calls)

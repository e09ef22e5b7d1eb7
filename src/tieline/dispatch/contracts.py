"""What one more or one less megawatt-hour costs a site under its contract.

Pure. Take-or-pay: power below the contracted share is paid whether drawn or not, so drawing it costs only
what it could be sold for (nothing without resale); above it each MWh costs the price. Where reselling pays
more than the price, cost is concave and both sides of the contracted level are candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from tieline.fleet import Contract
from tieline.fleet.network import NetworkNow

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PowerCost:
    """Marginal price above `take_w`, and below it; `take_w` 0: one price."""

    price_usd_per_mwh: float
    below_usd_per_mwh: float
    take_w: float

    def usd_per_h(self, load_w: float) -> float:
        """Cost of drawing `load_w`, against drawing nothing."""
        below = min(load_w, self.take_w)
        return (below * self.below_usd_per_mwh + (load_w - below) * self.price_usd_per_mwh) / 1e6

    def plus(self, adder_usd_per_mwh: float) -> PowerCost:
        """With something that each MWh drawn costs besides, a chance of a peak charge, say."""
        if adder_usd_per_mwh == 0:
            return self
        above, below = self.price_usd_per_mwh, self.below_usd_per_mwh
        return PowerCost(above + adder_usd_per_mwh, below + adder_usd_per_mwh, self.take_w)

    def at_least(self, floor_usd_per_mwh: float | None) -> PowerCost:
        """No cheaper than the floor that whoever owns the site sets."""
        if floor_usd_per_mwh is None or min(self.price_usd_per_mwh, self.below_usd_per_mwh) >= floor_usd_per_mwh:
            return self
        floor = floor_usd_per_mwh
        return PowerCost(max(floor, self.price_usd_per_mwh), max(floor, self.below_usd_per_mwh), self.take_w)

    def marginal(self, load_w: float) -> float:
        return self.below_usd_per_mwh if load_w < self.take_w else self.price_usd_per_mwh


def power_cost(
    contract: Contract,
    market_usd_per_mwh: float | None,
    capacity_w: float,
    resale_discount: float,
    moment: datetime | None,
) -> PowerCost | None:
    """None where the contract needs a market price that is not known. Network charges and losses are those of `moment`;
    None: without them. They are paid for what is drawn, contracted or not."""
    charge, losses = NetworkNow() if moment is None else contract.network_at(moment)
    cost = _energy_cost(contract, market_usd_per_mwh, capacity_w, resale_discount)
    if cost is None or (charge == 0 and losses == 0):
        return cost
    energy = contract.fixed_usd_per_mwh if contract.basis == "fixed" else market_usd_per_mwh
    return cost.plus(charge + losses * (energy or 0.0) * (1.0 if contract.basis == "fixed" else contract.scale))


def _energy_cost(
    contract: Contract, market_usd_per_mwh: float | None, capacity_w: float, resale_discount: float
) -> PowerCost | None:
    if contract.basis != "fixed":
        if market_usd_per_mwh is None:
            return None
        price = market_usd_per_mwh * contract.scale + contract.adder_usd_per_mwh
        return PowerCost(price, price, 0.0)
    assert contract.fixed_usd_per_mwh is not None, "config refuses a fixed contract without its price"
    price = contract.fixed_usd_per_mwh + contract.adder_usd_per_mwh
    take_w = contract.take_share * capacity_w
    if take_w <= 0:
        return PowerCost(price, price, 0.0)
    if not contract.resale or contract.market is None:
        return PowerCost(price, 0.0, take_w)
    if market_usd_per_mwh is None:
        return None
    return PowerCost(price, resale_usd_per_mwh(contract, market_usd_per_mwh, resale_discount), take_w)


def resale_usd_per_mwh(contract: Contract, market_usd_per_mwh: float, resale_discount: float) -> float:
    """What contracted power that is not drawn brings. Selling is a right, not a duty: below zero it is left."""
    return max(0.0, market_usd_per_mwh * contract.scale * (1.0 - resale_discount))


def resale_path(contract: Contract, market_usd_per_mwh: Floats, resale_discount: float) -> Floats:
    """The same for prices of any shape; nan where a price is not known."""
    return np.maximum(0.0, market_usd_per_mwh * (contract.scale * (1.0 - resale_discount)))


def network_path(contract: Contract, moments: Sequence[datetime], energy_usd_per_mwh: Floats) -> Floats:
    """What the network adds to a MWh drawn at each moment: its charges, and its losses at what energy costs then, which
    is (T,) or (T, S)."""
    if not contract.network:
        return np.zeros_like(energy_usd_per_mwh)
    there = [contract.network_at(moment) for moment in moments]
    wide = (len(there), *([1] * (energy_usd_per_mwh.ndim - 1)))
    charge = np.array([one.usd_per_mwh for one in there]).reshape(wide)
    return np.asarray(charge + np.array([one.losses for one in there]).reshape(wide) * energy_usd_per_mwh)


def needed_market(contract: Contract) -> bool:
    """Whether any decision at this site waits for a market price."""
    return contract.basis != "fixed" or (contract.resale and contract.take_share > 0)


def cost_usd(power: PowerCost, load_w: float, hours: float) -> float:
    """The bill for a mean load: what contracted power costs undrawn (less what it is sold for), plus what
    drawing adds."""
    undrawn = power.take_w * (power.price_usd_per_mwh - power.below_usd_per_mwh) / 1e6
    return (undrawn + power.usd_per_h(load_w)) * hours

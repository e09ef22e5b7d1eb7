"""Quantities that refuse to mix: power, energy, its price, hashrate, efficiency.

Knows nothing of sites or money beyond USD per MWh. Each quantity holds one float in its base unit
(watt, watt-hour, USD per MWh, hash per second, joule per terahash) and adds, subtracts and compares only
with its own kind; the few products that mean something are spelled out. Public functions elsewhere take
these; inside numerics arrays carry the unit in their name (`load_w`, `price_usd_per_mwh`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True, order=True)
class Quantity:
    """One finite float in the base unit of its class."""

    value: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"{type(self).__name__} must be finite, got {self.value!r}")

    def __add__(self, other: Self) -> Self:
        self._same(other, "+")
        return type(self)(self.value + other.value)

    def __sub__(self, other: Self) -> Self:
        self._same(other, "-")
        return type(self)(self.value - other.value)

    def __neg__(self) -> Self:
        return type(self)(-self.value)

    def scaled(self, factor: float) -> Self:
        """The same quantity times a pure number."""
        return type(self)(self.value * factor)

    def ratio(self, other: Self) -> float | None:
        """self / other as a pure number; None where other is zero."""
        self._same(other, "/")
        return None if other.value == 0 else self.value / other.value

    def _same(self, other: object, op: str) -> None:
        if type(other) is not type(self):
            raise TypeError(f"{type(self).__name__} {op} {type(other).__name__} has no meaning")


class Power(Quantity):
    """Watts; drawn from the grid is positive."""

    __slots__ = ()

    @classmethod
    def w(cls, value: float) -> Power:
        return cls(float(value))

    @classmethod
    def kw(cls, value: float) -> Power:
        return cls(value * 1e3)

    @classmethod
    def mw(cls, value: float) -> Power:
        return cls(value * 1e6)

    @property
    def as_mw(self) -> float:
        return self.value / 1e6

    def over(self, length: timedelta) -> Energy:
        """Energy drawn at this power over `length`."""
        return Energy(self.value * length.total_seconds() / SECONDS_PER_HOUR)

    def __str__(self) -> str:
        return f"{self.as_mw:,.3f} MW" if abs(self.value) >= 1e4 else f"{self.value:,.0f} W"


class Energy(Quantity):
    """Watt-hours."""

    __slots__ = ()

    @classmethod
    def mwh(cls, value: float) -> Energy:
        return cls(value * 1e6)

    @property
    def as_mwh(self) -> float:
        return self.value / 1e6

    def cost_usd(self, price: EnergyPrice) -> float:
        """USD for this energy at one price; negative where the price is."""
        return self.as_mwh * price.value

    def __str__(self) -> str:
        return f"{self.as_mwh:,.3f} MWh"


class EnergyPrice(Quantity):
    """USD per MWh; negative prices are real."""

    __slots__ = ()

    @classmethod
    def usd_per_mwh(cls, value: float) -> EnergyPrice:
        return cls(float(value))

    @classmethod
    def usd_per_kwh(cls, value: float) -> EnergyPrice:
        return cls(value * 1e3)

    def __str__(self) -> str:
        return f"{self.value:,.2f} USD/MWh"


class Hashrate(Quantity):
    """Hashes per second."""

    __slots__ = ()

    @classmethod
    def th(cls, value: float) -> Hashrate:
        return cls(value * 1e12)

    @classmethod
    def ph(cls, value: float) -> Hashrate:
        return cls(value * 1e15)

    @classmethod
    def eh(cls, value: float) -> Hashrate:
        return cls(value * 1e18)

    @property
    def as_th(self) -> float:
        return self.value / 1e12

    @property
    def as_ph(self) -> float:
        return self.value / 1e15

    @property
    def as_eh(self) -> float:
        return self.value / 1e18

    def power_at(self, efficiency: Efficiency) -> Power:
        """Power drawn to hash at this rate."""
        return Power(self.as_th * efficiency.value)

    def __str__(self) -> str:
        return f"{self.as_eh:,.3f} EH/s" if self.value >= 1e17 else f"{self.as_ph:,.3f} PH/s"


class Efficiency(Quantity):
    """Joules per terahash (the same as W per TH/s)."""

    __slots__ = ()

    @classmethod
    def j_per_th(cls, value: float) -> Efficiency:
        return cls(float(value))

    def __str__(self) -> str:
        return f"{self.value:,.2f} J/TH"

"""Wet-bulb temperature from dry bulb and humidity (Stull 2011, at sea-level pressure, within 1 C)."""

from __future__ import annotations

from math import atan, sqrt


def wet_bulb_c(temp_c: float, rh_pct: float) -> float:
    """Humidity outside the formula's 5 to 99 % is taken at its edge."""
    rh = min(99.0, max(5.0, rh_pct))
    return (
        temp_c * atan(0.151977 * sqrt(rh + 8.313659))
        + atan(temp_c + rh)
        - atan(rh - 1.676331)
        + 0.00391838 * rh * sqrt(rh) * atan(0.023101 * rh)
        - 4.686035
    )

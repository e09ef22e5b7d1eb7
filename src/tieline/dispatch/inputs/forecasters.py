"""Forecasters by the names that a configuration uses."""

from __future__ import annotations

from typing import assert_never

from tieline.dispatch.inputs.forecast import Forecaster, analog_days, persistence
from tieline.dispatch.settings import Forecasting

FORECASTERS: tuple[Forecasting, ...] = ("persistence", "analog", "learned")


def forecaster_of(name: Forecasting, background: bool = False) -> Forecaster:
    """`background`: fits are made beside the interval, which never waits for them. Off, the same records give the
    same bytes. Raises learned.MissingLibraryError where the extra is not installed."""
    match name:
        case "persistence":
            return persistence
        case "analog":
            return analog_days
        case "learned":
            from tieline.dispatch.inputs.learned import Learned

            return Learned(background=background)
        case _:
            assert_never(name)

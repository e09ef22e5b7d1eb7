"""Figures as they leave for a page: MW, EH/s, seconds since 1970; what is not known leaves as null."""

from __future__ import annotations

from datetime import datetime


def mw(value_w: float | None) -> float | None:
    return None if value_w is None else round(value_w / 1e6, 4)


def ehs(value_hs: float | None) -> float | None:
    return None if value_hs is None else round(value_hs / 1e18, 5)


def seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()

"""What a replay is asked: days, a fleet, what was known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tieline.dispatch import Settings
from tieline.fleet import Fleet
from tieline.records import AnyRecord, Fault

# Run before the first hour and not counted: long enough for a fleet to come up in stages from nothing.
WARM_UP = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Asked:
    """What to replay. `records` hold everything known about the days, sorted by when it was known."""

    fleet: Fleet
    settings: Settings
    records: Sequence[AnyRecord]
    start: datetime
    end: datetime
    label: str
    scale: float = 1.0
    assumptions: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()  # injected besides those among the records

"""Reserved capacity: which replicas a tenant rents now. Pure.

A rental is for a number of replicas of a model in a region and for a period, not for machines by name: when one of
them goes dark another takes its place. Its tenant's requests go there first. Others may use what it leaves idle,
up to half of each replica's places, so that the tenant always finds room.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from tieline.gateway.routing.route import Replica, State
from tieline.gateway.settings import NANO_PER_USD, RentedReplicas
from tieline.records import Reserved

# Between two looks at the table; a process that stood still longer cannot say what served meanwhile.
MAX_STEP_S: Final = 2.0
HOUR: Final = timedelta(hours=1)


def assign(rentals: Iterable[RentedReplicas], replicas: Iterable[Replica], now: datetime) -> dict[RentedReplicas, int]:
    """Name the renter of every replica; returns how many each rental that holds now is short of.

    Earlier rentals come first. What a tenant rents stays the same while it serves, so that its caches stay warm.
    """
    table = sorted(replicas, key=lambda one: one.id)
    before = {one.id: one.renter for one in table}
    for one in table:
        one.renter, one.included = "", False
    short: dict[RentedReplicas, int] = {}
    for rental in sorted(rentals, key=lambda one: (one.since, one.tenant)):
        if not rental.since <= now < rental.until:
            continue
        able = [
            one
            for one in table
            if not one.renter
            and one.state is State.READY
            and rental.model in one.models
            and (not rental.region or one.region == rental.region)
        ]
        able.sort(key=lambda one: before[one.id] != rental.tenant)
        for one in able[: rental.replicas]:
            one.renter, one.included = rental.tenant, rental.usd_per_replica_hour > 0
        short[rental] = max(0, rental.replicas - len(able))
    return short


class RentalMeter:
    """Replica-seconds that each rental had, hour by hour; a record of each as the hour ends."""

    def __init__(self) -> None:
        self._had: dict[RentedReplicas, float] = {}
        self._hour: datetime | None = None
        self._last: datetime | None = None

    def step(self, short: dict[RentedReplicas, int], now: datetime, source: str) -> list[Reserved]:
        """`short`: what `assign` said. Returns records of the hour that has ended, if one has."""
        hour = now.replace(minute=0, second=0, microsecond=0)
        ended = []
        if self._hour is not None and hour > self._hour:
            ended = [
                record(rental, self._hour, int(had), now, source)
                for rental, had in self._had.items()
                if rental.usd_per_replica_hour > 0
            ]
            self._had.clear()
            self._last = max(self._last or hour, hour)  # the end of the old hour is not the new one's
        if self._last is not None:
            past_s = min(MAX_STEP_S, max(0.0, (now - self._last).total_seconds()))
            for rental, lacking in short.items():
                self._had[rental] = self._had.get(rental, 0.0) + past_s * (rental.replicas - lacking)
        self._hour, self._last = hour, now
        return ended


def record(rental: RentedReplicas, hour: datetime, provided_s: int, now: datetime, source: str) -> Reserved:
    """What a rental owes for one hour: whole nano-dollars, rounded down once an hour."""
    per_hour = int(rental.usd_per_replica_hour * NANO_PER_USD)
    return Reserved(
        at=hour,
        known_at=now,
        source=source,
        kind="measured",
        tenant=rental.tenant,
        model=rental.model,
        region=rental.region,
        rented_since=rental.since,
        replicas=rental.replicas,
        provided_s=min(provided_s, rental.replicas * int(HOUR.total_seconds())),
        usd_per_replica_hour=rental.usd_per_replica_hour,
        cost_nano_usd=per_hour * min(provided_s, rental.replicas * 3600) // 3600,
    )

"""Reserved capacity: which replicas a tenant rents now. Pure.

A rental is for a number of replicas of a model in a region and for a period, not for machines by name: when one of
them goes dark another takes its place. Its tenant's requests go there first. Others may use what it leaves idle,
up to half of each replica's places, so that the tenant always finds room.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from tieline.gateway.route import Replica, State
from tieline.gateway.settings import Rental


def assign(rentals: Iterable[Rental], replicas: Iterable[Replica], now: datetime) -> dict[Rental, int]:
    """Name the renter of every replica; returns how many each rental that holds now is short of.

    Earlier rentals come first. What a tenant rents stays the same while it serves, so that its caches stay warm.
    """
    table = sorted(replicas, key=lambda one: one.id)
    before = {one.id: one.renter for one in table}
    for one in table:
        one.renter = ""
    short: dict[Rental, int] = {}
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
            one.renter = rental.tenant
        short[rental] = max(0, rental.replicas - len(able))
    return short

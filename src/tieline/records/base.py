"""What all records share, and how a record declares what it is about and what makes it the same as another.

A record names its subject and its key in its class line, as patterns of its own fields:

    class Demand(Record, frozen=True, kw_only=True, subject="{model}@{region}", key=REVISED): ...

The key makes appending the same happening twice the same as once. Fields whose type is marked to be checked
(`intake.Moment`, `intake.Money`) are checked whenever a record is made, also when it is read back.
"""

from collections.abc import Callable, Hashable, Iterable
from datetime import timedelta
from typing import Literal, TypeVar

import msgspec

from tieline.intake import Checked, Label, Time
from tieline.records.declare import RecordType

Kind = Literal["measured", "forecast", "estimated", "simulated"]
Mode = Literal["observe", "advise", "act"]
Cause = Literal["economic", "commitment", "fault", "weather", "order", "override", "none"]

# The key of a record that may be told anew (a forecast, a revised price): one per `known_at`.
REVISED = "{subject}|{at}|{source}|{kind}|{known_at}"

# How far past the moment it arrives a record's `at` may lie: what was observed has happened, what is announced or
# agreed reaches years ahead.
OBSERVED, AGREED = timedelta(minutes=5), timedelta(days=366 * 40)


class Record(msgspec.Struct, metaclass=RecordType, frozen=True, kw_only=True, tag=True, reach=AGREED):
    """What all records share. `at` and `known_at` are aware UTC datetimes."""

    at: Time
    known_at: Time
    source: Label
    kind: Kind

    @property
    def subject(self) -> str:
        """What it is about (a market, a site, a tenant): the second index of the store."""
        return ""

    @property
    def key(self) -> str:
        """Idempotent: the same happening gives the same key, whoever tells it, however often."""
        return f"{self.subject}|{self.at.isoformat()}|{self.source}|{self.kind}"


class RecordPart(msgspec.Struct, metaclass=Checked, frozen=True, kw_only=True):
    """A part of a record, its fields checked in the same way."""


R = TypeVar("R", bound=Record)
K = TypeVar("K", bound=Hashable)


def newest_by(records: Iterable[R], thing: Callable[[R], K]) -> dict[K, R]:
    """Each thing's newest record by when it was known; of two known at one moment, the one further back in line."""
    newest: dict[K, R] = {}
    for record in records:
        name = thing(record)
        before = newest.get(name)
        if before is None or before.known_at <= record.known_at:
            newest[name] = record
    return newest

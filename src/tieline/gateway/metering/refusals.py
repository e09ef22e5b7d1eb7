"""What is refused at the door, by tenant, reason and hour: a request that is not taken leaves no bill that says so.

Bounded in all that it keeps and tells: names beyond MAX_NAMES in an hour are counted as OTHERS, and a minute tells of
so many at most; what is left is told in the next. Knows no clock: it is given the time.
"""

from __future__ import annotations

import secrets
from collections import Counter
from datetime import datetime
from typing import Final

from tieline.records import DoorRefusals

# Of a tenant and a reason, in one hour of one process.
MAX_NAMES: Final = 1_000
NOBODY, OTHERS = "(nobody)", "(others)"
# Between two tellings, and how much each says.
TELL_S: Final = 60.0
MOST_AT_ONCE: Final = 200


class DoorCounts:
    """Of one process."""

    def __init__(self) -> None:
        self.door = secrets.token_hex(4)
        self._hour: datetime | None = None
        self._new: Counter[tuple[str, str]] = Counter()  # of this hour, not told yet
        self._names: set[tuple[str, str]] = set()  # of this hour
        self._due: dict[tuple[datetime, str, str], int] = {}  # of hours before, not told yet
        self._told_at = float("-inf")
        self._part = 0

    def add(self, tenant: str, code: str) -> None:
        name = (tenant or NOBODY, code[:63] or "other")
        if name not in self._names and len(self._names) >= MAX_NAMES:
            name = (OTHERS, name[1]) if len(self._names) < 2 * MAX_NAMES else (OTHERS, "other")
        self._names.add(name)
        self._new[name] += 1

    def due(self, now: datetime, now_s: float, source: str, *, last: bool = False) -> list[DoorRefusals]:
        """What is to be told now; `now_s` by a clock that only goes forward. `last`: the process ends."""
        hour = now.replace(minute=0, second=0, microsecond=0)
        if self._hour is not None and hour != self._hour:
            self._put_by()
            self._names.clear()
        self._hour = hour
        if not last and (now_s - self._told_at < TELL_S or not (self._new or self._due)):
            return []
        self._told_at = now_s
        self._put_by()
        told = []
        for place in list(self._due)[:MOST_AT_ONCE]:
            at, tenant, code = place
            self._part += 1
            told.append(
                DoorRefusals(
                    at=at, known_at=now, source=source, kind="measured", tenant=tenant, code=code,
                    count=self._due.pop(place), door=self.door, part=self._part,
                )
            )  # fmt: skip
        return told

    def _put_by(self) -> None:
        assert self._hour is not None
        for (tenant, code), count in self._new.items():
            place = (self._hour, tenant, code)
            if place in self._due or len(self._due) < 2 * MAX_NAMES:  # beyond it nobody takes what is told
                self._due[place] = self._due.get(place, 0) + count
        self._new.clear()

"""What was used and what was done, read from the disks of this gateway's processes; a page at a time.

The sums and the deeds that are read here stay when the records they come from have gone to the core, so that a
gateway alone, one behind a platform and one that was started anew all tell the same past. Blocks: call it off the loop.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from tieline.gateway.errors import Refusal, bad_request
from tieline.gateway.wire.decoding import read_json
from tieline.store import used
from tieline.store.spool import look

MAX_PAGE: Final = 1_000
NUMBERS: Final = ("requests", "prompt_tokens", "output_tokens", "cost_nano_usd")  # units of models are not added up
_NUMBER: Final = re.compile("[0-9]{1,18}")
# A time after all deeds.
_LAST: Final = (2**62, "", 0)


class UsageLine(msgspec.Struct, frozen=True, order=True):
    """What one key used of one model: tokens, or `units` of another `unit`."""

    project: str
    key_id: str
    model: str
    requests: int
    prompt_tokens: int
    output_tokens: int
    cost_nano_usd: int
    unit: str = ""
    units: int = 0

    @property
    def place(self) -> tuple[str, str, str]:
        """Its place among all lines. A unit is a word, and a model's name may have a slash: it is the last one."""
        return self.project, self.key_id, f"{self.unit}/{self.model}"

    @property
    def cursor(self) -> str:
        return "/".join(self.place)


class TenantUsage(msgspec.Struct):
    """A tenant's usage of a time."""

    since: datetime
    until: datetime
    complete_since: datetime | None  # None: all of it is here
    lines: list[UsageLine]


def usage(
    folders: Sequence[Path], tenant: str, since: datetime, until: datetime, now: datetime
) -> TenantUsage | Refusal:
    """By project, key and model, or why these times cannot be told apart. Raises StoreError."""
    first, last = int(since.timestamp()), int(until.timestamp())
    running = int(now.timestamp()) // used.HOUR_S * used.HOUR_S
    if last > running:
        last = running + used.HOUR_S  # the hour that is running is told so far
    for name, moment in (("since", first), ("until", last)):
        if moment % used.HOUR_S:
            why = f"{name} must be a whole hour, such as 2026-12-01T15:00:00Z"
            return bad_request(why, "invalid_value", name)
    complete: int | None = None
    sums: dict[tuple[str, str, str, str], list[int]] = {}
    for folder in folders:
        with look(folder / "usage.db") as db:
            if db is None:
                continue
            records = used.kept(db)
            refusal = _apart(first, last, records.by_day)
            if refusal is not None:
                return refusal
            if records.since is not None and records.since > first:
                complete = max(complete or 0, records.since)
            for project, key_id, model, unit, *numbers in used.spent_by(db, tenant, first, last):
                before = sums.setdefault((project, key_id, model, unit), [0] * len(numbers))
                sums[project, key_id, model, unit] = [a + b for a, b in zip(before, numbers, strict=True)]
    lines = [
        UsageLine(project, key_id, model, requests, prompt, output, cost, unit, units)
        for (project, key_id, model, unit), (requests, prompt, output, units, cost) in sums.items()
    ]
    lines.sort(key=lambda line: line.place)
    return TenantUsage(since, until, None if complete is None else datetime.fromtimestamp(complete, UTC), lines)


def _apart(first: int, last: int, by_day: int) -> Refusal | None:
    """Why these times cannot be told apart where usage is kept by the day before `by_day` (seconds)."""
    for name, moment in (("since", first), ("until", last)):
        if moment < by_day and moment % used.DAY_S:
            day = datetime.fromtimestamp(by_day, UTC)
            why = f"{name}: before {day:%Y-%m-%d} usage is kept by the day; give a whole day (UTC)"
            return bad_request(why, "invalid_value", name)
    return None


def page(lines: list[UsageLine], after: str, limit: int) -> tuple[list[UsageLine], str | None]:
    """(lines beyond the cursor, the next cursor; None: there are no more)."""
    rest = [line for line in lines if line.place > tuple(after.split("/", 2))]
    return rest[:limit], rest[limit - 1].cursor if len(rest) > limit else None


def trail(folders: Sequence[Path], before: str, limit: int) -> tuple[list[Any], str | None] | Refusal:
    """(who did what, newest first; the next cursor, None: there is no more). Raises StoreError."""
    at_us, name, id_ = _LAST
    if before:
        parts = before.split("~")
        if len(parts) != 3 or not (
            parts[0].isascii() and parts[0].isdigit() and parts[2].isascii() and parts[2].isdigit()
        ):
            return bad_request("'before' must be the 'next' of the page before", "invalid_value", "before")
        at_us, name, id_ = int(parts[0]), parts[1], int(parts[2])
    deeds: list[tuple[int, str, int, bytes]] = []
    for folder in folders:
        # Deeds of one moment are ordered by folder, then by number.
        mine = id_ if folder.name == name else (2**62 if folder.name < name else 0)
        with look(folder / "usage.db") as db:
            if db is not None:
                deeds += [(d.at_us, folder.name, d.id, d.body) for d in used.deeds_before(db, at_us, mine, limit + 1)]
    deeds.sort(key=lambda one: one[:3], reverse=True)
    more = f"{deeds[limit - 1][0]}~{deeds[limit - 1][1]}~{deeds[limit - 1][2]}" if len(deeds) > limit else None
    return [read_json(body) for *_, body in deeds[:limit]], more

"""What a feed says when it cannot say more: a Fault record, once per change, naming the value or the reason."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime

from tieline.records import Fault

# A source that goes wrong in new ways each time is told this often a run, then only its last word changes.
MAX_KINDS = 64


@dataclass
class FaultBook:
    """Faults of one feed. `open` begins one, `close` ends it; telling the same twice tells it once."""

    feed: str
    _open: dict[str, Fault] = field(default_factory=dict)

    def open(self, what: str, detail: str, now: datetime) -> list[Fault]:
        if what in self._open or len(self._open) >= MAX_KINDS:
            return []
        fault = Fault(
            at=now,
            known_at=now,
            source=f"feed:{self.feed}",
            kind="measured",
            site_id=f"feed:{self.feed}",
            what=what,
            detail=detail[:500],
        )
        self._open[what] = fault
        return [fault]

    def close(self, what: str, now: datetime) -> list[Fault]:
        begun = self._open.pop(what, None)
        if begun is None:
            return []
        return [
            Fault(
                at=begun.at,
                known_at=now,
                source=begun.source,
                kind=begun.kind,
                site_id=begun.site_id,
                what=begun.what,
                detail=begun.detail,
                until=now,
            )
        ]


def number(value: object, low: float, high: float) -> float | None:
    """The value as a float within bounds; None for anything absurd (text, NaN, out of range)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    parsed = float(value)
    return parsed if math.isfinite(parsed) and low <= parsed <= high else None

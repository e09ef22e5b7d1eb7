"""What a load would have been without the call: baseline rules as objects. Rules change; code should not.

Pure, on means of metered load in watts; None is a span that was not heard.

- Meter before/after: the load just before the call stands for what it would have gone on drawing (NAESB REQ.13 and
  WEQ-015, Measurement and Verification of Demand Response: "Meter Before / Meter After").
- 10 of 10: the mean of the same hours of the last ten like days without a call, times how the hours before the call
  compare with the same hours of those days, that factor kept within 20 % (NAESB "Baseline Type I"; the days, the
  window and the cap as California's operator has them for proxy demand resources).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

# (start, end) -> mean watts over it, None where too little of it was heard.
Meter = Callable[[datetime, datetime], float | None]
DAY = timedelta(days=1)


class BaselineRule(msgspec.Struct, frozen=True, kw_only=True):
    """One way to say what a load would have been."""

    name: str
    kind: Literal["before", "days"]
    source: str
    # How long before the call the meter is read ("before"), or which hours before it adjust ("days").
    window_s: int = 900
    # "days": how many, how far back, and the end of the adjusting window before the call.
    days: int = 10
    look_back_days: int = 45
    gap_s: int = 3600
    adjusts_within: float = 0.2

    def watts(self, meter: Meter, start: datetime, end: datetime, called: Callable[[datetime], bool]) -> float | None:
        """The baseline of a call over [start, end). `called(day)`: whether load was called on the day of that moment,
        which then is not like the others. None where the meter says too little."""
        if self.kind == "before":
            return meter(start - timedelta(seconds=self.window_s), start)
        days: list[tuple[float, float | None]] = []
        until = start - timedelta(seconds=self.gap_s)
        since = until - timedelta(seconds=self.window_s)
        for back in range(1, self.look_back_days + 1):
            shift = back * DAY
            if not _like(start, start - shift) or called(start - shift):
                continue
            day = meter(start - shift, end - shift)
            if day is not None:
                days.append((day, meter(since - shift, until - shift)))
            if len(days) == self.days:
                break
        if len(days) < self.days:
            return None
        plain = sum(day for day, _ in days) / len(days)
        return plain * self.factor(meter(since, until), [early for _, early in days])

    def factor(self, now_w: float | None, then_w: Sequence[float | None]) -> float:
        """How today's hours before the call compare with those of the like days; 1 where either is not known."""
        known = [w for w in then_w if w is not None]
        usual = sum(known) / len(known) if known else 0.0
        if now_w is None or usual <= 0:
            return 1.0
        return min(1.0 + self.adjusts_within, max(1.0 - self.adjusts_within, now_w / usual))


def _like(day: datetime, other: datetime) -> bool:
    """Working days are like working days, weekend days like weekend days."""
    return (day.weekday() >= 5) == (other.weekday() >= 5)


BEFORE_AFTER = BaselineRule(
    name="meter before/after",
    kind="before",
    source="NAESB measurement and verification of demand response, Meter Before / Meter After; 15 minutes assumed",
)
TEN_OF_TEN = BaselineRule(
    name="10 of 10",
    kind="days",
    source="NAESB Baseline Type I; ten like days, three hours that end an hour before the call, within 20 %",
    window_s=3 * 3600,
)
BASELINES = {rule.name: rule for rule in (BEFORE_AFTER, TEN_OF_TEN)}


def baseline_of(name: str) -> BaselineRule:
    """By its name. Raises ValueError naming those there are."""
    if name not in BASELINES:
        raise ValueError(f"baseline {name!r} is not known; write one of: {', '.join(BASELINES)}")
    return BASELINES[name]

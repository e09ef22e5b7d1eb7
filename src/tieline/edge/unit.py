"""One unit as its site's agent knows it: what it last said, what it was told, and whether it does it.

Judges only; sends nothing. A command is confirmed by a reading that was begun after it and by nothing else: an older
or a missing one neither confirms nor accuses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from tieline.edge.beside import Beside
from tieline.edge.decide import SLACK_OF_ASKED, SLACK_OF_HIGHEST, Target, UnitView
from tieline.edge.device import Answer, Device, Reading, Unreachable
from tieline.edge.fold import IntervalFold
from tieline.fleet.sites import NodeGroup, RigGroup
from tieline.records import Cause, Setpoint

# How long a unit has to obey before it is named: rigs pause in seconds, a slow group wakes in minutes, and at
# least this many readings, so that fast worlds give it a chance too.
OBEY = timedelta(seconds=60)
OBEY_READINGS = 3
# A unit that draws more than asked is told again this often; one that draws less, less often.
REPEAT_ABOVE, REPEAT_BELOW = timedelta(seconds=10), timedelta(seconds=60)
# Rigs that draw this much less than asked do not do what they were told. Less than that is broken rigs, heat, or
# another temperature's auxiliary load, and is said beside "applied". Inference draws what its users ask of it.
SHORT_OF_ASKED = 0.25
# A unit that went less than this share of the way it was asked to go does not hear.
MOVED = 0.5
NEVER = datetime.min.replace(tzinfo=UTC)

Verdict = Literal["applied", "refused", "unreachable"]


@dataclass(slots=True)
class UnitState:
    """What the agent remembers of one unit."""

    device: Device
    group: RigGroup | NodeGroup
    fold: IntervalFold
    stale_after: timedelta
    reading: Reading | None = None
    silent: str | None = None  # why nothing was heard the last time
    sent: Setpoint | None = None  # what the machines were last told
    sent_at: datetime | None = None
    told_w: float = 0.0  # the most it may have taken since a reading that shows what it does
    told_before_w: float = 0.0
    refused: str | None = None
    pending: Target | None = None  # asked, not yet confirmed
    pending_since: datetime | None = None
    pending_readings: int = 0
    stuck_w: float = 0.0
    asked_from_w: float = 0.0  # what it drew when it was asked
    deaf: bool = False  # it had its time and hardly moved: others make room for what it draws
    reported: tuple[datetime, datetime, float] | None = None
    reader: Beside[Reading | Unreachable] = field(default_factory=Beside)
    setter: Beside[Answer] = field(default_factory=Beside)

    @property
    def known_w(self) -> float:
        """What counts against every limit: the last believable power, the highest where there was never one; of a unit
        that fell silent before it was seen to obey, what it was told since, where that is more."""
        if self.reading is None:
            return self.device.highest_w
        told_w = 0.0 if self.silent is None else min(self.told_w, self.device.highest_w)
        return max(self.reading.counted_w, told_w)

    @property
    def heard(self) -> bool:
        return self.silent is None and self.reading is not None

    def begin_reading(self, now: datetime, timeout_s: float) -> bool:
        """False while an earlier question is still open, or its answer not heard yet."""
        return not self.reader.ended and self.reader.start(lambda: self.device.read(now), timeout_s)

    def hear(self, now: datetime, reading: Reading) -> Reading | None:
        """Take a believable reading; None where it is too old to be one. Returns what the fold may take."""
        if now - reading.at > self.stale_after:
            self.silent = f"its last reading is of {reading.at.isoformat(timespec='seconds')}"
            return None
        if self.reading is None or reading.at > self.reading.at:
            self.pending_readings += 1
        self.reading, self.silent = reading, None
        if self.sent_at is None or reading.at - self.sent_at >= OBEY:
            self.told_w = self.told_before_w = 0.0
        if self.sent is not None and reading.counted_w <= self.sent.target_w + self.slack_w(self.sent):
            self.deaf = False  # it hears again
        return reading

    def age(self, now: datetime) -> None:
        """What is known grows old; a unit that was never heard and has not answered yet is silent."""
        if self.reading is None and self.silent is None:
            self.silent = "it has not answered yet"
        if self.reading is not None and self.silent is None and now - self.reading.at > self.stale_after:
            self.silent = f"nothing heard since {self.reading.at.isoformat(timespec='seconds')}"

    def view(self, may_act: bool) -> UnitView:
        group = self.group
        return UnitView(
            unit_id=self.device.unit_id,
            feeder=group.feeder,
            load="mining" if isinstance(group, RigGroup) else "inference",
            rank=group.rig.efficiency_j_th if isinstance(group, RigGroup) else 0.0,
            known_w=self.known_w,
            highest_w=self.device.highest_w,
            lowest_w=self.device.lowest_w,
            # Where nothing may be sent the decision is what would have been done.
            commandable=not may_act or (self.silent is None and self.refused is None and not self.deaf),
            stuck_w=self.stuck_w if may_act else 0.0,
            sent_w=self.sent.target_w if may_act and self.sent is not None else None,
        )

    def ask(self, target: Target, now: datetime) -> None:
        """Note what it is asked, and from when its time to obey runs."""
        before = self.pending
        if before is None or _differs(target.setpoint, before.setpoint) or origin(before) != origin(target):
            self.pending, self.pending_since, self.pending_readings = target, now, 0
            self.asked_from_w = self.known_w

    def tell(self, setpoint: Setpoint, now: datetime) -> None:
        """Note what it is sent. Until it answers that it did not take it, it may have."""
        self.sent, self.sent_at = setpoint, now
        self.told_before_w, self.told_w = self.told_w, max(self.told_w, setpoint.target_w)

    def must_send(self, setpoint: Setpoint, now: datetime) -> bool:
        if self.sent is None or self.sent_at is None or _differs(setpoint, self.sent):
            return True
        since = now - self.sent_at
        if self.silent is not None or self.refused is not None:
            return since >= REPEAT_ABOVE
        if self.reading is None:
            return False
        slack_w = self.slack_w(setpoint)
        if self.reading.disobeying or self.reading.counted_w > setpoint.target_w + slack_w:
            return since >= REPEAT_ABOVE  # a late joiner, or one that did not hear
        return self.reading.counted_w < setpoint.target_w - slack_w and since >= REPEAT_BELOW

    def judge(self, setpoint: Setpoint, now: datetime) -> Verdict | None:
        """How it does what it was asked; None while that cannot be said yet."""
        if self.pending_since is None:
            return None
        waited = now - self.pending_since
        over = waited >= OBEY and self.pending_readings >= OBEY_READINGS
        if self.silent is not None:
            return "unreachable" if waited >= OBEY else None
        reading = self.reading
        if reading is None or self.pending_readings == 0 or reading.at <= self.pending_since:
            return None  # the reading at hand is older than the order
        excess_w = reading.counted_w - setpoint.target_w - self.slack_w(setpoint)
        if self.refused is not None or reading.disobeying or excess_w > 0:
            if not over and self.refused is None:
                return None
            self.stuck_w = max(0.0, reading.counted_w - max(setpoint.target_w, self.device.lowest_w))
            self.deaf = excess_w > (1 - MOVED) * max(0.0, self.asked_from_w - setpoint.target_w)
            return "refused"
        self.deaf = False
        if self._falls_short(setpoint, reading):
            return "refused" if over else None
        self.stuck_w = self._overshoot_w(setpoint, reading)
        return "applied"

    def _falls_short(self, setpoint: Setpoint, reading: Reading) -> bool:
        """Rigs that were asked to run and do not, though none waits for its next start."""
        if not isinstance(self.group, RigGroup) or reading.waiting:
            return False
        one_w = 1.1 * self.group.rig.power_w  # whole rigs run: up to one less than fits
        return reading.counted_w < (1 - SHORT_OF_ASKED) * setpoint.target_w - self.slack_w(setpoint) - one_w

    def _overshoot_w(self, setpoint: Setpoint, reading: Reading) -> float:
        """What an obedient unit still draws above its order, in steps of its meter error, so that a limit made
        of many such units holds and noise does not move targets."""
        step_w = SLACK_OF_HIGHEST * self.device.highest_w / 2
        above_w = reading.counted_w - max(setpoint.target_w, self.device.lowest_w)
        if abs(above_w - self.stuck_w) < step_w:
            return self.stuck_w
        return max(0.0, math.ceil(above_w / step_w) * step_w)

    def slack_w(self, setpoint: Setpoint) -> float:
        above_lowest = max(0.0, self.device.lowest_w - setpoint.target_w)
        return SLACK_OF_ASKED * setpoint.target_w + SLACK_OF_HIGHEST * self.device.highest_w + above_lowest

    def detail(self, setpoint: Setpoint, result: str) -> str:
        """The outcome in words."""
        reading = self.reading
        if result == "unreachable":
            last = "never heard" if reading is None else f"last heard {reading.at.isoformat()}"
            return f"{self.silent}; {last}; counted at {self.known_w / 1e6:.3f} MW"
        if result == "refused" and self.refused is not None:
            return self.refused
        if reading is None:
            return setpoint.reason.rule
        drawn = f"draws {reading.counted_w / 1e6:.3f} MW of {setpoint.target_w / 1e6:.3f} MW asked"
        if result == "refused":
            named = ", ".join(reading.disobeying[:10])
            more = len(reading.disobeying) - 10
            named += f" and {more} more" if more > 0 else ""
            if not named:
                above = reading.counted_w > setpoint.target_w
                named = "the group draws more than asked" if above else "the group draws less than asked"
            return f"did not obey: {named}; {drawn}"
        if reading.counted_w < setpoint.target_w - self.slack_w(setpoint):
            wait = f"; {reading.waiting} rigs wait for their next start" if reading.waiting else ""
            return f"{drawn}{wait}"
        return setpoint.reason.rule

    def live(self, now: datetime) -> dict[str, object]:
        """What a page shows of it."""
        reading = self.reading
        return {
            "power_w": None if reading is None else reading.counted_w,
            "hashrate_hs": None if reading is None else reading.hashrate_hs,
            "tokens_per_s": None if reading is None else reading.tokens_per_s,
            "age_s": None if reading is None else (now - reading.at).total_seconds(),
            "heard": self.heard,
            "devices": None if reading is None else reading.devices,
            "devices_heard": None if reading is None or not self.heard else reading.devices_heard,
            "estimated_w": None if reading is None else reading.estimated_w,
            "asked_w": None if self.sent is None else self.sent.target_w,
            "kind": self.device.kind,
        }


def origin(target: Target | None) -> tuple[datetime, datetime, Cause] | None:
    """Whose word a target is. The safe default and the site's own limits are decided anew each step."""
    if target is None:
        return None
    if target.cause in ("fault", "none"):
        return (NEVER, NEVER, target.cause)
    return (target.at, target.known_at, target.cause)


def _differs(a: Setpoint | None, b: Setpoint | None) -> bool:
    if a is None or b is None:
        return a is not b
    return a.target_w != b.target_w or a.shares != b.shares or a.replicas != b.replicas

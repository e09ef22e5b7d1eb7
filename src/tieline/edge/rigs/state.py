"""What a group remembers of one rig, and what that means: asleep, disobeying, waking, a stranger.

Times are the event loop's own, so that no wall clock moves them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from tieline.edge.rigs.choose import RigView
from tieline.edge.rigs.driver import RigDriver, RigOrder, RigSample
from tieline.fleet.models import RigModel

# Below this share of rated power a rig is paused, above it runs: sleep draws 1 %, the lowest mode 70 %.
ASLEEP_BELOW = 0.2
# Rigs vary by a few per cent around their rating; the lowest step of a preset is 10 % and more.
LOWERED_BELOW = 0.92
# A paused rig is down well before; one that still draws after this is named.
OBEY_S = 20.0
# A rig draws from its first second awake, most of it within two minutes; one that does not by then is named.
WAKE_OBEY_S = 180.0
# A command that a rig took is given again after this long if the rig does not do it.
TELL_AGAIN_S = 8.0


@dataclass(slots=True)
class RigState:
    """One address of a group."""

    address: str
    driver: RigDriver | None = None
    asked_at: float = float("-inf")  # when last polled, or looked for
    sample: RigSample | None = None
    heard: bool = False
    why_silent: str = "not asked yet"
    awake_w: float | None = None
    stranger: str | None = None  # who stands there instead, both values named
    drift: str | None = None
    wanted: RigOrder | None = None
    told: RigOrder | None = None  # the last order it took
    told_at: float = float("-inf")
    refusal: str | None = None
    polling: asyncio.Task[None] | None = None
    telling: asyncio.Task[None] | None = None

    def asleep(self, model: RigModel) -> bool:
        """As its watts say where it tells them, else as it says itself. Never heard: running."""
        sample = self.sample
        if sample is None:
            return False
        if sample.estimated and sample.asleep is not None:
            return sample.asleep
        return sample.watts < ASLEEP_BELOW * model.power_w

    def looks_lowered(self, model: RigModel) -> bool:
        """Runs, and says that it draws well under its rating."""
        sample = self.sample
        return sample is not None and not sample.estimated and sample.watts < LOWERED_BELOW * model.power_w

    def drawn_w(self, model: RigModel) -> float:
        return model.power_w if self.sample is None else self.sample.watts

    def answered_since_told(self) -> bool:
        """Whether a question that began after the last command has been answered: only such a sample can confirm
        the command, or show that it was not obeyed."""
        return self.sample is not None and self.heard and self.sample.asked_at > self.told_at

    def does_as_wanted(self, model: RigModel) -> bool:
        if self.wanted is None:
            return True
        if self.asleep(model) != (self.wanted.mode == "sleep"):
            return False
        return self.wanted.mode == "sleep" or self.told is None or self.told == self.wanted

    def disobeys(self, model: RigModel, now_s: float) -> bool:
        """Told, has had its time, has answered since, and does not do it: in either direction."""
        if self.wanted is None or self.stranger is not None or not self.heard:
            return False
        if self.told is None or self.told.mode != self.wanted.mode or not self.answered_since_told():
            return False
        patience_s = OBEY_S if self.wanted.mode == "sleep" else WAKE_OBEY_S
        return now_s - self.told_at > patience_s and self.asleep(model) != (self.wanted.mode == "sleep")

    def view(self, model: RigModel, now_s: float, may_start: bool) -> RigView:
        """As the choice sees it. A rig that does not obey counts at what it draws, like one that is silent; one that
        was told to run counts as running while it still may be waking."""
        sample = self.sample
        disobeys = self.disobeys(model, now_s)
        waking = self.told is not None and self.told.mode != "sleep" and not disobeys
        rank = 0.0
        if sample is not None and sample.hashrate_hs:
            rank = sample.watts / (sample.hashrate_hs / 1e12)
        driver = self.driver
        return RigView(
            address=self.address,
            commandable=self.heard and self.stranger is None and not disobeys,
            asleep=self.asleep(model) and not waking,
            drawn_w=self.drawn_w(model),
            running_w=self.awake_w or model.power_w,
            takes_low=driver is not None and driver.capabilities.low,
            may_start=may_start,
            rank=rank,
        )

"""Which rigs of a group run, run low or sleep, so that the group stays within its target: a pure function.

Watts here are at the rigs, before auxiliary load. What cannot be commanded (silent rigs, strangers) counts at its
last known power and others make room for it. Rigs that run are kept running, and a rig that was started too often or
too lately is not started while another can be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tieline.edge.rigs.driver import RigOrder
from tieline.fleet.models import RigModel
from tieline.fleet.physics import RIG_MODES

# A rig's own reading wanders by about 1 %.
WANDERS = 1.01
# With shares given, dispatch may have reckoned with another temperature's auxiliary load.
WANDERS_WITH_SHARES = 1.05


@dataclass(frozen=True, slots=True)
class RigView:
    """One rig as its group knows it. `drawn_w`: last known, rated where it was never heard. `running_w`: what it
    draws when it runs. `rank`: J/TH as measured, the higher the sooner asleep."""

    address: str
    commandable: bool
    asleep: bool
    drawn_w: float
    running_w: float
    takes_low: bool = False
    may_start: bool = True
    rank: float = 0.0


@dataclass(frozen=True, slots=True)
class RigChoice:
    """An order for every rig; `waiting` are those that would run if they had not been started so lately."""

    orders: dict[str, RigOrder]
    waiting: tuple[str, ...] = ()


def choose(
    rigs: Sequence[RigView], model: RigModel, budget_w: float, shares: Mapping[str, float], may_exceed_starts: bool
) -> RigChoice:
    """As many rigs in each mode as the shares say and the budget has room for."""
    room = _room(rigs, model, budget_w, shares)
    orders = {rig.address: RigOrder("sleep") for rig in rigs}
    waiting = []
    for rig in sorted(rigs, key=_preference):
        if rig.commandable and rig.asleep and not (rig.may_start or may_exceed_starts):
            waiting.append(rig.address)
            continue
        order = room.take(rig)
        if order is not None:
            orders[rig.address] = order
    wanted = sum(order.mode != "sleep" for order in orders.values())
    return RigChoice(orders, tuple(waiting) if room.left and wanted < len(rigs) else ())


@dataclass(slots=True)
class _RigRoom:
    """What may still run: so many in normal, so many in low, and watts for them."""

    model: RigModel
    watts: float
    normal: float
    lowered: float

    @property
    def left(self) -> bool:
        return self.normal + self.lowered >= 1.0

    def take(self, rig: RigView) -> RigOrder | None:
        """The order of a rig that runs, None where there is no room for it."""
        low = RIG_MODES["low"]
        goes_low = rig.takes_low and self.lowered > 0
        # A firmware without a lower mode: as much of the lowered share runs in full as draws the same.
        if not self.left or (not goes_low and self.normal < 1.0 and self.lowered < 1.0):
            return None
        runs_w = low.power_share * self.model.power_w if goes_low else rig.running_w
        extra_w = runs_w - RIG_MODES["sleep"].fixed_w if rig.commandable else 0.0
        if extra_w > self.watts:
            return None
        self.watts -= extra_w
        if goes_low:
            self.lowered -= 1
            return RigOrder("low", low.power_share * self.model.power_w)
        if self.normal >= 1.0:
            self.normal -= 1
        else:
            self.lowered -= 1.0 / low.power_share
        return RigOrder("normal")


def _room(rigs: Sequence[RigView], model: RigModel, budget_w: float, shares: Mapping[str, float]) -> _RigRoom:
    """What is left of the budget with all that can be commanded asleep; the rest counts as it draws."""
    slack = WANDERS_WITH_SHARES if shares else WANDERS
    sleep_w = RIG_MODES["sleep"].fixed_w
    drawn_w = sum(sleep_w if rig.commandable else rig.drawn_w for rig in rigs)
    return _RigRoom(model, budget_w * slack + 1.0 - drawn_w, *_counts(len(rigs), shares))


def _counts(rigs: int, shares: Mapping[str, float]) -> tuple[float, float]:
    """How many run in normal and in low; without shares all may run in normal."""
    if not shares:
        return float(rigs), 0.0
    paused = shares.get("sleep", 0.0) + shares.get("off", 0.0)
    running = float(int(rigs * (1.0 - paused) + 1e-6))
    lowered = min(running, float(round(rigs * shares.get("low", 0.0))))
    return running - lowered, lowered


def _preference(rig: RigView) -> tuple[bool, bool, float, str]:
    """The commandable before the others, those that run before those that sleep, the efficient first."""
    return (not rig.commandable, rig.asleep, rig.rank, rig.address)

"""Fans of a rig group behind a coil: on before its rigs wake, off some time after all of them were seen down.

No rig is told to run while its fans are not read back on, and rigs that run by themselves get air at once. What a
contactor relay cannot say (a belt, a motor) is not known here: chip temperatures are the rigs' own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from tieline.edge.beside import Beside, Failed

# Boards are still hot when they stop; makers let fans run on for some minutes (assumed).
RUN_ON = timedelta(minutes=3)
# Fans that are not read back on by then are a fault, and their rigs stay down.
ON_WITHIN = timedelta(seconds=30)
SET_TIMEOUT_S = 5.0


class Fans(Protocol):
    """The fans of one rig group. `set` returns whether they read back as asked; it may raise."""

    @property
    def unit_id(self) -> str: ...

    async def set(self, on: bool) -> bool: ...

    async def close(self) -> None: ...


@dataclass(slots=True)
class _Fan:
    fans: Fans
    on: bool | None = None  # as read back; None: not known since the agent began
    asked: bool | None = None
    asked_since: datetime | None = None
    down_since: datetime | None = None
    call: Beside[bool] = field(default_factory=Beside)


class FanWatch:
    """The fans of one site. Nothing here waits."""

    def __init__(self, fans: Sequence[Fans]) -> None:
        self._by_unit = {one.unit_id: _Fan(one) for one in fans}

    def may_run(self, unit_id: str, now: datetime) -> bool:
        """Whether rigs of this group may be told to run; where not, its fans are told to."""
        fan = self._by_unit.get(unit_id)
        if fan is None:
            return True
        self._take(fan)
        fan.down_since = None
        if not fan.on:
            self._ask(fan, True, now)
        return fan.on is True

    def seen(self, unit_id: str, now: datetime, down: bool) -> None:
        """What the group was seen to do: running rigs get air at once, rigs that are down lose it after a while."""
        fan = self._by_unit.get(unit_id)
        if fan is None:
            return
        self._take(fan)
        if not down:
            fan.down_since = None
            if not fan.on:
                self._ask(fan, True, now)
            return
        fan.down_since = fan.down_since or now
        if fan.on is not False and now - fan.down_since >= RUN_ON:
            self._ask(fan, False, now)

    def trouble(self, now: datetime) -> str | None:
        """Fans that were told to run and do not read back on."""
        late = [
            fan.fans.unit_id
            for fan in self._by_unit.values()
            if fan.asked and not fan.on and fan.asked_since is not None and now - fan.asked_since >= ON_WITHIN
        ]
        return f"the fans of {', '.join(late)} do not read back on; their rigs stay down" if late else None

    async def close(self) -> None:
        for fan in self._by_unit.values():
            await fan.call.close()
            await fan.fans.close()

    def _ask(self, fan: _Fan, on: bool, now: datetime) -> None:
        if fan.asked is not on:
            fan.asked, fan.asked_since = on, now
        fan.call.start(lambda: fan.fans.set(on), SET_TIMEOUT_S)

    def _take(self, fan: _Fan) -> None:
        result = fan.call.take()
        if result is None:
            return
        fan.on = fan.asked if result is True else (None if isinstance(result, Failed) else not fan.asked)

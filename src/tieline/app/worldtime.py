"""What time it is in the world when the platform starts.

The wall's own, unless an earlier start ran faster than the wall and got ahead of it: then the world goes on from where
it was. How far it was is what this machine wrote down itself, every few seconds; what is stored came from others, and
nobody else's clock may move ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from tieline.clock import WallClock, wall_now
from tieline.intake import FIRST_MOMENT, LAST_MOMENT, IntakeError, Time, read
from tieline.store.files import write_private

log = logging.getLogger("tieline.up")

# A start after a power cut begins this much of the world later, so that it never goes back.
SAVE_EVERY_S = 10.0
# A world this close to the wall is the wall's.
SAME = timedelta(seconds=1)


class _Saved(msgspec.Struct, frozen=True, kw_only=True):
    """The world's time at a moment of the wall's."""

    world: Time
    wall: Time
    speed: float

    def __post_init__(self) -> None:
        if not 0 < self.speed < 1e9:
            raise ValueError(f"speed: {self.speed} is none")
        if not (FIRST_MOMENT <= self.wall <= LAST_MOMENT and FIRST_MOMENT <= self.world <= LAST_MOMENT):
            raise ValueError("world: not a time to go on from")


_read = msgspec.json.Decoder(_Saved).decode


def world_start(data: Path, wall: datetime) -> datetime:
    """The world's time for a start at `wall`."""
    path = _path(data)
    try:
        saved = read(path.read_bytes(), _read)
    except FileNotFoundError:
        return wall
    except (OSError, IntakeError) as error:
        log.warning("%s cannot be read (%s): the world starts at the wall's time", path, error)
        return wall
    if saved.world - saved.wall <= SAME:
        return wall
    return max(wall, saved.world + timedelta(seconds=SAVE_EVERY_S * saved.speed))


def save(data: Path, clock: WallClock) -> None:
    """Write down what time it is."""
    saved = _Saved(world=clock.now(), wall=wall_now(), speed=clock.speed)
    with contextlib.suppress(OSError):  # a full disk is said elsewhere, and the next start is then a little later
        write_private(_path(data), msgspec.json.encode(saved))


async def keep(data: Path, clock: WallClock) -> None:
    """For ever."""
    while True:
        save(data, clock)
        await asyncio.sleep(SAVE_EVERY_S)


def _path(data: Path) -> Path:
    return data / "run" / "clock.json"

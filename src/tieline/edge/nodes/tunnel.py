"""The site's end of its tunnels: connections held open to each gateway, over which requests come in.

The agent dials outward only. Some connections wait at each gateway; one that is used is replaced at once, and becomes a
pipe to one engine's own port on loopback until either side ends it. The gateway's certificate must be the one that it
named over the link.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import msgspec

from tieline.intake import IntakeError
from tieline.link import Link, heed
from tieline.link.tunnel import (
    ALIVE_S,
    BEAT_S,
    DOORS,
    FORGET_S,
    GONE_S,
    MAX_LINE,
    MOST,
    MOST_DOORS,
    SITES,
    SPARE,
    DoorNotice,
    SecretNotice,
    hello,
    notice_loss,
    read_door,
    read_opening,
)
from tieline.tasks import beat, end

log = logging.getLogger("tieline.edge")

DIAL_S, ENGINE_S = 5.0, 2.0
# What does not answer is dialled again after this, later each time up to a bound.
AGAIN_S, LATEST_S = 0.25, 5.0
PIECE = 65_536
STILL_S = 15.0

# Where a replica of this site listens here, "http://127.0.0.1:PORT"; None where it does not.
AddressOf = Callable[[str], str | None]


@dataclass
class _Door:
    """One gateway as it was last heard of."""

    notice: DoorNotice
    heard_at: float
    waiting: int = 0
    failing: bool = False  # the last that was dialled was not taken
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    pipes: set[asyncio.Task[None]] = field(default_factory=set)
    task: asyncio.Task[None] | None = None


class SiteTunnel:
    """All tunnels of one site."""

    def __init__(self, site_id: str, link: Link, address_of: AddressOf) -> None:
        self.site_id, self.link, self._address_of = site_id, link, address_of
        self._secret = secrets.token_hex(32)  # of this run
        self._doors: dict[str, _Door] = {}
        self._why: dict[str, str] = {}

    async def run(self) -> None:
        """For ever: say what connections begin with, hear where gateways are, hold connections to them."""
        hearing = asyncio.create_task(heed(self.link, DOORS, read_door, self._take))
        try:
            while True:
                beat(STILL_S)
                if hearing.done():
                    hearing.result()
                await self._tell()
                await self._forget()
                await asyncio.sleep(BEAT_S)
        finally:
            await end([hearing])
            await end([door.task for door in self._doors.values() if door.task is not None])
            self._doors.clear()

    async def _tell(self) -> None:
        notice = msgspec.json.encode(SecretNotice(secret=self._secret))
        await self.link.publish(SITES + self.site_id, notice)

    def counts(self) -> dict[str, tuple[int, int]]:
        """By gateway: connections that wait there, and all."""
        return {name: (door.waiting, len(door.pipes)) for name, door in self._doors.items()}

    def _take(self, notice: DoorNotice) -> None:
        now = asyncio.get_running_loop().time()
        known = self._doors.get(notice.gateway)
        if known is not None and known.notice == notice:
            known.heard_at = now
            return
        if known is None and len(self._doors) >= MOST_DOORS:
            raise IntakeError(f"more than {MOST_DOORS} gateways say that they are there")
        if known is not None and known.task is not None:
            known.task.cancel()  # it starts anew elsewhere, or with another certificate
        door = self._doors[notice.gateway] = _Door(notice, now)
        door.task = asyncio.create_task(self._hold(door))

    async def _forget(self) -> None:
        now = asyncio.get_running_loop().time()
        for name, door in list(self._doors.items()):
            # While connections hold, the gateway is there: the link may be away at either end.
            if now - door.heard_at > FORGET_S and door.failing and door.task is not None:
                del self._doors[name]
                await end([door.task])

    async def _hold(self, door: _Door) -> None:
        """Until cancelled: keep so many connections waiting at one gateway."""
        tls = ssl.create_default_context(cadata=door.notice.authority)
        tls.minimum_version = ssl.TLSVersion.TLSv1_3
        await self._tell()  # or what it is dialled with would be a stranger's
        again_s = AGAIN_S
        try:
            while True:
                door.changed.clear()
                room = min(SPARE - door.waiting, MOST - len(door.pipes))
                # One at a time where it does not answer.
                for _ in range(room if not door.failing else min(room, int(not door.waiting))):
                    door.waiting += 1
                    pipe = asyncio.create_task(self._one(door, tls))
                    door.pipes.add(pipe)
                    pipe.add_done_callback(partial(_ended, door))
                await door.changed.wait()
                again_s = min(2 * again_s, LATEST_S) if door.failing else AGAIN_S
                if door.failing:
                    await asyncio.sleep(again_s)
        finally:
            await end(list(door.pipes))

    async def _one(self, door: _Door, tls: ssl.SSLContext) -> None:
        """One connection: dial, wait to be used, carry one replica's bytes."""
        waits, notice = True, door.notice
        writer = None
        try:
            try:
                async with asyncio.timeout(DIAL_S):
                    reader, writer = await asyncio.open_connection(
                        notice.host, notice.port, ssl=tls, server_hostname=notice.host, limit=PIECE
                    )
            except (OSError, TimeoutError) as error:
                door.failing = True
                self._say(notice, f"{type(error).__name__}: {error}" if str(error) else "no answer")
                return
            notice_loss(writer.get_extra_info("socket"))
            writer.write(hello(self.site_id, self._secret))
            replica = await self._wait(door, reader)
            waits = False
            door.waiting -= 1
            door.changed.set()
            await self._carry(replica, reader, writer)
        except (OSError, TimeoutError, IntakeError) as error:
            log.info("a connection to gateway %s ended: %s", notice.gateway, error)
        finally:
            if waits:
                door.waiting -= 1
            if writer is not None:
                writer.close()

    async def _wait(self, door: _Door, reader: asyncio.StreamReader) -> str:
        """The replica that a connection is used for, in the end. Raises IntakeError."""
        try:
            line = await _line(reader)  # it was taken; else it does not know this site's secret yet, or has no room
        except IntakeError:
            door.failing = True
            raise
        door.failing = False
        self._say(door.notice, None)
        door.changed.set()
        while not line:
            line = await _line(reader)
        return read_opening(line)

    async def _carry(self, replica: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here = self._address_of(replica)
        if here is None:
            return  # the gateway sees it closed, and asks another
        host, _, port = here.removeprefix("http://").partition(":")
        async with asyncio.timeout(ENGINE_S):
            own_reader, own_writer = await asyncio.open_connection(host, int(port), limit=PIECE)
        ways = [asyncio.create_task(_copy(reader, own_writer)), asyncio.create_task(_copy(own_reader, writer))]
        try:
            # Whoever ends first ends both: an engine that closed has said all, a gateway that closed wants no more.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end(ways)
            own_writer.close()

    def _say(self, notice: DoorNotice, why: str | None) -> None:
        """A gateway that cannot be reached is said once, and when it can again."""
        before = self._why.get(notice.gateway)
        if why is None and before is not None:
            log.warning("%s: gateway %s is reached again", self.site_id, notice.gateway)
            del self._why[notice.gateway]
        elif why is not None and before is None:
            place = f"{notice.host}:{notice.port}"
            log.warning("%s: gateway %s at %s is not reached: %s", self.site_id, notice.gateway, place, why)
            self._why[notice.gateway] = why


def _ended(door: _Door, pipe: asyncio.Task[None]) -> None:
    door.pipes.discard(pipe)
    door.changed.set()
    if not pipe.cancelled() and (error := pipe.exception()) is not None:
        log.error("a tunnel of gateway %s failed", door.notice.gateway, exc_info=error)
        door.failing = True


async def _line(reader: asyncio.StreamReader) -> bytes:
    """Raises IntakeError where the gateway closes, says nothing for too long or no line."""
    try:
        # The gateway says an empty line every ten seconds; one that does not is gone.
        async with asyncio.timeout(2 * ALIVE_S + GONE_S):
            line = await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError:
        raise IntakeError("the gateway closed it") from None
    except (asyncio.LimitOverrunError, TimeoutError):
        raise IntakeError("the gateway said no line") from None
    if len(line) > MAX_LINE:
        raise IntakeError("the gateway said too long a line")
    return line.strip()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()

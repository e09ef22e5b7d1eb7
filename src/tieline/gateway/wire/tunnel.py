"""The gateway's door for sites that nobody can dial: their connections wait here until a request needs one.

Knows no requests. Who a connection belongs to is the word of the link: a secret that only that site could say there. A
site that is cut off loses its connections at once, those in use too.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import ssl
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import msgspec

from tieline.clock import wall_now
from tieline.gateway.wire.upstream import Backend, Conn
from tieline.intake import IntakeError
from tieline.link import Link, heed
from tieline.link.certificate import make_certificates
from tieline.link.tunnel import (
    ALIVE_S,
    BEAT_S,
    CUT,
    DOORS,
    MAX_LINE,
    MOST,
    SITES,
    DoorNotice,
    SecretNotice,
    notice_loss,
    opening,
    read_hello,
    read_secret,
)
from tieline.tasks import Registry, beat

log = logging.getLogger("tieline.gateway")

# Who dials has this long for TLS and its first line, and so many may be at it at once.
HELLO_S: Final = 5.0
MOST_UNKNOWN: Final = 256
# Connections of one site that wait; what it dials beyond is closed.
MOST_WAITING: Final = 64
# A clock that stands still: telling every two seconds.
STILL_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class DoorPlace:
    """Where the door listens and what sites dial. `port` 0: any free one."""

    host: str = "127.0.0.1"
    port: int = 0
    name: str = "127.0.0.1"


class TunnelDoor:
    """One per gateway process."""

    def __init__(self, place: DoorPlace, folder: Path, gateway: str, link: Link) -> None:
        self.place, self.gateway, self.link = place, gateway, link
        self._folder = folder
        self._secrets: dict[str, str] = {}
        self._waiting: dict[str, deque[_Waiting]] = {}
        self._wanted: dict[str, deque[asyncio.Future[_Waiting]]] = {}
        self._used: dict[str, set[_TunnelConn]] = {}
        self._unknown: set[_Waiting] = set()
        self._server: asyncio.Server | None = None
        self._notice: DoorNotice | None = None

    async def open(self, registry: Registry) -> None:
        """Listen, and keep what goes with it. Raises OSError where the address is taken, CertificateError."""
        place = self.place
        authority = make_certificates(self._folder, [place.name], wall_now())
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.minimum_version = ssl.TLSVersion.TLSv1_3
        tls.load_cert_chain(self._folder / "server.pem", self._folder / "server.key")
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Waiting(self), place.host, place.port, ssl=tls, ssl_handshake_timeout=HELLO_S, backlog=256
        )
        port = self._server.sockets[0].getsockname()[1]
        self._notice = DoorNotice(gateway=self.gateway, host=place.name, port=port, authority=authority)
        registry.keep("sites' door", "tells sites where to dial, keeps their connections", self._tell)
        registry.keep("sites' secrets", "hears what sites' connections begin with", self._hear)
        registry.keep("sites cut off", "hears who was cut off", self._hear_cut)

    async def road(self, backend: Backend, timeout_s: float) -> Conn:
        """A connection to a replica of a site. Raises OSError where none of the site's waits here in time."""
        site = backend.site
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        while True:
            waiting = self._next(site)
            if waiting is None:
                future: asyncio.Future[_Waiting] = loop.create_future()
                self._wanted.setdefault(site, deque()).append(future)
                try:
                    async with asyncio.timeout_at(until):
                        waiting = await future
                except TimeoutError:
                    raise OSError(f"no connection of {site} waits here") from None
                finally:
                    self._wanted[site].remove(future)
                    if waiting is None and future.done() and not future.cancelled():  # it came as we gave up
                        self._waiting.setdefault(site, deque()).append(future.result())
            transport = waiting.transport
            if transport is not None and not transport.is_closing():
                return self._give(backend, transport)

    def _give(self, backend: Backend, transport: asyncio.Transport) -> Conn:
        used = self._used.setdefault(backend.site, set())
        conn = _TunnelConn(backend, used)
        transport.set_protocol(conn)
        conn.connection_made(transport)
        transport.write(opening(backend.id))
        return conn

    def _next(self, site: str) -> _Waiting | None:
        """The one that came last: the likeliest to be there."""
        waiting = self._waiting.get(site)
        while waiting:
            one = waiting.pop()
            if one.transport is not None and not one.transport.is_closing():
                return one
        return None

    # --- connections ---------------------------------------------------------

    def came(self, one: _Waiting) -> bool:
        self._unknown.add(one)
        return len(self._unknown) <= MOST_UNKNOWN

    def known(self, one: _Waiting, line: bytes) -> None:
        """Its first line. Raises IntakeError for a stranger's, and for one too many."""
        site, secret = read_hello(line)
        if not hmac.compare_digest(self._secrets.get(site, ""), secret):
            raise IntakeError(f"{site}: it is not the secret that this site said over the link")
        for future in self._wanted.get(site, ()):
            if not future.done():
                one.site = site
                self._unknown.discard(one)
                future.set_result(one)
                return
        waiting = self._waiting.setdefault(site, deque())
        if len(waiting) >= MOST_WAITING or len(self._used.get(site, ())) >= MOST:
            raise IntakeError(f"{site}: more connections than are kept")
        one.site = site
        self._unknown.discard(one)
        waiting.append(one)
        if one.transport is not None:
            one.transport.write(b"\n")

    def went(self, one: _Waiting) -> None:
        self._unknown.discard(one)
        waiting = self._waiting.get(one.site or "")
        if waiting is not None and one in waiting:
            waiting.remove(one)

    def cut(self, site: str) -> None:
        """This site is cut off: nothing of it goes on here."""
        self._secrets.pop(site, None)
        waiting, used = list(self._waiting.pop(site, ())), list(self._used.get(site, ()))
        if waiting or used:
            log.warning("%s is cut off: %d connections of it end", site, len(waiting) + len(used))
        for transport in [*(one.transport for one in waiting), *(one.transport for one in used)]:
            if transport is not None:
                transport.abort()

    def counts(self) -> dict[str, tuple[int, int]]:
        """By site: connections that wait, and that are in use."""
        sites = self._waiting.keys() | self._used.keys()
        return {one: (len(self._waiting.get(one, ())), len(self._used.get(one, ()))) for one in sorted(sites)}

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for site in list(self._waiting.keys() | self._used.keys()):
            self.cut(site)
        for one in list(self._unknown):
            if one.transport is not None:
                one.transport.abort()

    # --- what is said over the link --------------------------------------------

    async def _tell(self) -> None:
        assert self._notice is not None
        notice, last = msgspec.json.encode(self._notice), 0.0
        loop = asyncio.get_running_loop()
        while True:
            beat(STILL_S)
            await self.link.publish(DOORS, notice)
            if loop.time() - last >= ALIVE_S:
                last = loop.time()
                for one in [one for waiting in self._waiting.values() for one in waiting]:
                    if one.transport is not None:
                        one.transport.write(b"\n")
            await asyncio.sleep(BEAT_S)

    async def _hear(self) -> None:
        def keep(subject: str, notice: SecretNotice) -> None:
            self._secrets[subject.removeprefix(SITES)] = notice.secret

        await heed(self.link, f"{SITES}*", read_secret, lambda _: None, keep)

    async def _hear_cut(self) -> None:
        async for subject, _ in self.link.follow(f"{CUT}*"):
            self.cut(subject.removeprefix(CUT))


class _Waiting(asyncio.Protocol):
    """A connection that is not in use: nobody's yet, then one site's."""

    def __init__(self, door: TunnelDoor) -> None:
        self._door = door
        self.transport: asyncio.Transport | None = None
        self.site: str | None = None
        self._line = b""
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        notice_loss(transport.get_extra_info("socket"))
        if not self._door.came(self):
            self.transport.abort()
            return
        self._late = asyncio.get_running_loop().call_later(HELLO_S, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        if self.site is not None:  # who waits has nothing to say
            self.transport.abort()
            return
        self._line += data
        line, end, rest = self._line.partition(b"\n")
        if not end and len(line) <= MAX_LINE:
            return
        if self._late is not None:
            self._late.cancel()
        try:
            if rest or not end:
                raise IntakeError("it says more than one line")
            self._door.known(self, line)
        except IntakeError as error:
            log.info("a connection to the sites' door is closed: %s", error)
            self.transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._late is not None:
            self._late.cancel()
        self._door.went(self)


class _TunnelConn(Conn):
    """One in use; counted until it is lost."""

    __slots__ = ("_used",)

    def __init__(self, backend: Backend, used: set[_TunnelConn]) -> None:
        super().__init__(backend)
        self._used = used
        used.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._used.discard(self)
        super().connection_lost(exc)

"""The link itself: requests, answers and published messages between sites and the control plane.

`LocalLink` carries them within one process (replay, tests), `NatsLink` over an embedded or a clustered NATS, core
request-reply: durability is the outbox's and the store's work, not the transport's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec
import nats
import nats.errors
from nats.aio.msg import Msg

from tieline.link.turns import Turns
from tieline.link.users import INBOX, inbox_of
from tieline.store.lead.fence import FencedError
from tieline.tasks import end

log = logging.getLogger("tieline.link")

REQUEST_TIMEOUT_S = 10.0
CONNECT_AGAIN_S = 1.0
# A link whose other end is silently gone is dialled again after some thirty seconds.
PING_S, PINGS_LOST = 10, 2
# Where there are several servers one that says nothing is left for another within two to three seconds.
SEVERAL_PING_S, SEVERAL_PINGS_LOST = 0.8, 1
# What listens answers a connection at once.
PORT_S = 1.0
# A link that is asked for for ever says after this long whether it is refused.
LATE_WAIT_S = 3.0

Handler = Callable[[str, bytes], Awaitable[bytes]]


class LinkDownError(ConnectionError):
    """The far side did not answer in time; nothing is lost, try again later."""


class LinkRefusedError(LinkDownError):
    """The server is there and does not take this user: it was cut off, or never joined."""


class Link(Protocol):
    """What both ends use. Subjects are dotted words: `records.<origin>`, `plan.<site>`, `command.<site>`."""

    @property
    def up(self) -> bool: ...

    @property
    def refused(self) -> bool: ...

    async def request(self, subject: str, data: bytes, timeout_s: float = REQUEST_TIMEOUT_S) -> bytes: ...

    async def serve(self, subject: str, handler: Handler) -> None: ...

    async def publish(self, subject: str, data: bytes) -> None: ...

    def follow(self, subject: str) -> AsyncIterator[tuple[str, bytes]]: ...

    async def close(self) -> None: ...


# A follower that is this far behind has stopped reading; the oldest are dropped and asked for again.
MAX_PENDING = 4096


class LocalLink:
    """Both ends in one process."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._followers: list[tuple[str, asyncio.Queue[tuple[str, bytes]]]] = []
        self.up, self.refused = True, False

    async def request(self, subject: str, data: bytes, timeout_s: float = REQUEST_TIMEOUT_S) -> bytes:
        handler = next((h for pattern, h in self._handlers.items() if _matches(pattern, subject)), None)
        if handler is None or not self.up:
            raise LinkDownError(f"nobody serves {subject}")
        try:
            return await handler(subject, data)
        except FencedError as error:
            raise LinkDownError(f"no answer on {subject}: {error}") from error

    async def serve(self, subject: str, handler: Handler) -> None:
        self._handlers[subject] = handler

    async def publish(self, subject: str, data: bytes) -> None:
        for pattern, queue in self._followers:
            if _matches(pattern, subject):
                if queue.full():
                    queue.get_nowait()
                queue.put_nowait((subject, data))

    async def follow(self, subject: str) -> AsyncIterator[tuple[str, bytes]]:
        queue: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(MAX_PENDING)
        entry = (subject, queue)
        self._followers.append(entry)
        try:
            while True:
                yield await queue.get()
        finally:
            self._followers.remove(entry)

    async def close(self) -> None:
        self._handlers.clear()


@dataclass(frozen=True, slots=True)
class LinkUser:
    """Who dials which server: `url`, or several parted by commas, any of which will do. `authority`: the certificate
    (PEM) that the server's must be signed with; a server beyond loopback has one."""

    url: str
    name: str
    password: str | None = None
    authority: str | None = None

    @property
    def urls(self) -> list[str]:
        return self.url.split(",")

    @property
    def places(self) -> list[tuple[str, int]]:
        """Host and port of each server."""
        parted = [one.partition("://")[2].rpartition(":") for one in self.urls]
        return [(host.strip("[]"), int(port)) for host, _, port in parted]

    @property
    def port(self) -> int:
        """Of the first."""
        return self.places[0][1]


class _Fate:
    """What became of one client: whether its server takes its user no longer, and whether it has ended for good."""

    def __init__(self) -> None:
        self.refused, self.ended = False, asyncio.Event()
        self.heard: list[Turns[Msg]] = []  # what followers have not taken yet

    async def error(self, error: Exception) -> None:
        """Losing the link is normal at a site; `up` and the age of records say it, not a traceback."""
        if _is_refusal(error):
            self.refused = True

    async def back(self) -> None:
        self.refused = False

    async def closed(self) -> None:
        self.ended.set()
        for turns in self.heard:
            turns.close()


class NatsLink:
    """The same over NATS; reconnects for ever, quietly. It ends for good when its user is taken away."""

    def __init__(self, client: nats.NATS, fate: _Fate) -> None:
        self._client, self._fate = client, fate

    @classmethod
    async def connect(cls, url: str, user: str, password: str | None = None, wait_s: float = 15.0) -> NatsLink:
        """As a user of the link (`users`) of a server on loopback."""
        return await cls.dial(LinkUser(url, user, password), wait_s)

    @classmethod
    async def dial(cls, user: LinkUser, wait_s: float = 15.0) -> NatsLink:
        """As a user of the link, whose answers come to an inbox of its own. Waits up to `wait_s` for the
        server's port before the first attempt (the client's own first failure prints a traceback and waits two
        seconds), and for the server to know the user. Raises LinkDownError, LinkRefusedError."""
        refused = False
        try:
            async with asyncio.timeout(wait_s):
                while (there := await _first_open(user.places)) is None:
                    await asyncio.sleep(0.05)
                while not isinstance(made := await _first(user, there), NatsLink):
                    refused = _is_refusal(made)
                    await asyncio.sleep(0.1)
        except (TimeoutError, OSError, nats.errors.Error) as error:
            if refused:
                raise LinkRefusedError(f"{user.url} does not take {user.name}") from error
            raise LinkDownError(f"no link at {user.url} within {wait_s:.0f} s") from error
        return made

    @property
    def refused(self) -> bool:
        """True where the server is there and takes this user no longer."""
        return self._fate.refused or (self._fate.ended.is_set() and _is_refusal(self._client.last_error))

    async def ended(self) -> None:
        """Until the link has ended for good."""
        await self._fate.ended.wait()

    @property
    def up(self) -> bool:
        return bool(self._client.is_connected)

    async def request(self, subject: str, data: bytes, timeout_s: float = REQUEST_TIMEOUT_S) -> bytes:
        try:
            reply = await self._client.request(subject, data, timeout=timeout_s)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise LinkDownError(f"no answer on {subject}: {type(error).__name__}") from error
        return bytes(reply.data)

    async def serve(self, subject: str, handler: Handler, group: str = "") -> None:
        """`group`: of those who serve the subject under one name each question goes to one alone. One is answered after
        another, of each who asks in turn."""

        async def answer(message: Msg) -> None:
            try:
                reply = await handler(message.subject, message.data)
            except FencedError:  # whoever leads now hears the same question, and answers it
                return
            except Exception as error:  # any: who asks is told, and the next request is served
                log.exception("the handler of %s failed", subject)
                reply = msgspec.json.encode({"error": f"{type(error).__name__} there", "retry": True})
            # An answer goes to an inbox and nowhere else: who answers may say more than who asks, and must not say it
            # for them on a subject that they name.
            if message.reply.startswith(INBOX):
                with contextlib.suppress(nats.errors.Error):
                    await message.respond(reply)

        turns: Turns[Msg] = Turns()
        answering: asyncio.Task[None] | None = None

        async def answer_all() -> None:
            loop = asyncio.get_running_loop()
            while (message := turns.next()) is not None:
                began = loop.time()
                await answer(message)
                # Or what others said meanwhile is not read before all of this is answered; and where somebody floods,
                # as much time goes to reading as to answering, or the server gives this client up for its backlog.
                await asyncio.sleep(loop.time() - began if turns.crowded else 0.0)

        async def take(message: Msg) -> None:
            nonlocal answering
            turns.put(message.subject, message)
            if answering is None or answering.done():
                answering = asyncio.create_task(answer_all())

        await self._client.subscribe(subject, queue=group, cb=take)

    async def publish(self, subject: str, data: bytes) -> None:
        with contextlib.suppress(nats.errors.Error):
            await self._client.publish(subject, data)

    async def follow(self, subject: str) -> AsyncIterator[tuple[str, bytes]]:
        turns: Turns[Msg] = Turns(MAX_PENDING)

        async def take(message: Msg) -> None:
            turns.put(message.subject, message)

        try:
            subscription = await self._client.subscribe(subject, cb=take)
        except nats.errors.Error as error:
            raise LinkDownError(f"{subject} cannot be followed: {error}") from error
        self._fate.heard.append(turns)
        try:
            while (message := await turns.take()) is not None:
                yield message.subject, message.data
        finally:
            self._fate.heard.remove(turns)
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def close(self) -> None:
        with contextlib.suppress(nats.errors.Error, TimeoutError, OSError):
            await asyncio.wait_for(self._client.close(), 2.0)


class LateLink:
    """A link that may not be there yet: it is asked for until it is. Until then requests find nobody, followers wait.

    For a part that can work without it, such as a gateway that knows its replicas from before, or a site's agent. A
    link whose user was taken away is asked for again, too: `refused` says so meanwhile.
    """

    def __init__(self, user: LinkUser) -> None:
        self._link: NatsLink | None = None
        self._there = asyncio.Event()
        self._refused = False
        self._handlers: list[tuple[str, Handler]] = []
        self._task = asyncio.create_task(self._keep(user))

    async def _keep(self, user: LinkUser) -> None:
        while True:
            try:
                link = await NatsLink.dial(user, LATE_WAIT_S)
                for subject, handler in self._handlers:
                    await link.serve(subject, handler)
            except LinkDownError as error:
                self._refused = isinstance(error, LinkRefusedError)
                await asyncio.sleep(CONNECT_AGAIN_S)
                continue
            self._link, self._refused = link, False
            self._there.set()
            await link.ended()
            self._refused, self._link = link.refused, None
            self._there.clear()

    @property
    def up(self) -> bool:
        return self._link is not None and self._link.up

    @property
    def refused(self) -> bool:
        """True where the server is there and takes this user no longer."""
        return self._refused if self._link is None else self._link.refused

    def _now(self) -> Link:
        if self._link is None:
            raise LinkDownError("the link is not there yet")
        return self._link

    async def request(self, subject: str, data: bytes, timeout_s: float = REQUEST_TIMEOUT_S) -> bytes:
        return await self._now().request(subject, data, timeout_s)

    async def serve(self, subject: str, handler: Handler) -> None:
        self._handlers.append((subject, handler))
        if self._link is not None:
            await self._link.serve(subject, handler)

    async def publish(self, subject: str, data: bytes) -> None:
        if self._link is not None:
            await self._link.publish(subject, data)

    async def follow(self, subject: str) -> AsyncIterator[tuple[str, bytes]]:
        await self._there.wait()
        async for pair in self._now().follow(subject):
            yield pair

    async def close(self) -> None:
        await end([self._task])
        if self._link is not None:
            await self._link.close()


async def _first(user: LinkUser, there: int) -> NatsLink | Exception:
    """A client that is connected, and from then on reconnects; else why not: the server may not know its user (yet). A
    client that may reconnect would go on trying by itself after its first failure, and not end when it is cancelled.
    `there`: which of the servers has answered; it is dialled first, since one without power is waited for."""
    client, fate = nats.NATS(), _Fate()
    tls = None
    if user.authority is not None:
        tls = ssl.create_default_context(cadata=user.authority)
        tls.minimum_version = ssl.TLSVersion.TLSv1_3
    several = len(user.urls) > 1
    try:
        await client.connect(
            [*user.urls[there:], *user.urls[:there]],
            dont_randomize=True,
            name=user.name,
            user=user.name if user.password is not None else None,
            password=user.password,
            inbox_prefix=inbox_of(user.name).encode(),
            allow_reconnect=False,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.25,
            connect_timeout=2,
            ping_interval=SEVERAL_PING_S if several else PING_S,
            max_outstanding_pings=SEVERAL_PINGS_LOST if several else PINGS_LOST,
            error_cb=fate.error,
            disconnected_cb=_quiet_state,
            reconnected_cb=fate.back,
            closed_cb=fate.closed,
            tls=tls,
            # Of several each is asked for its own name.
            tls_hostname=user.places[0][0] if tls is not None and not several else None,
            tls_handshake_first=tls is not None,  # or who stands between could ask for the password in the clear
        )
    except (nats.errors.Error, OSError, TimeoutError) as error:
        with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
            await asyncio.wait_for(client.close(), 1.0)
        return error
    client.options["allow_reconnect"] = True
    fate.ended.clear()
    return NatsLink(client, fate)


def _is_refusal(error: Exception | None) -> bool:
    words = str(error).lower()
    return isinstance(error, nats.errors.AuthorizationError) or "authoriz" in words or "authentication" in words


async def _first_open(places: list[tuple[str, int]]) -> int | None:
    """Which of the servers answers first, within a second: one without power answers nothing at all, for minutes."""
    asked = [asyncio.create_task(_port_open(host, port)) for host, port in places]
    try:
        async with asyncio.timeout(PORT_S):
            waiting = set(asked)
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for one in done:
                    if one.result():
                        return asked.index(one)
    except TimeoutError:
        pass
    finally:
        await end(asked)
    return None


async def _port_open(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


async def _quiet_state() -> None:
    pass


def _matches(pattern: str, subject: str) -> bool:
    """NATS wildcards: `*` one word, `>` the rest."""
    wanted, given = pattern.split("."), subject.split(".")
    for index, word in enumerate(wanted):
        if word == ">":
            return len(given) > index
        if index >= len(given) or word not in ("*", given[index]):
            return False
    return len(wanted) == len(given)

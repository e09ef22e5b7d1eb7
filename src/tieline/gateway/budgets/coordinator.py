"""The coordinator's socket: lines of JSON from gateways, answered by `recall`.

A gateway asks (`join`, `renew`, `ask`), the coordinator may call back (`recall`), and is answered (`given`).
Messages of one connection keep their order in both directions; the exactness of `recall` rests on that.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from tieline.gateway.budgets.claims import MAX_ANSWER, Claims, KeepClaim
from tieline.gateway.budgets.lease import CONCURRENT, Coordinator, limited
from tieline.gateway.budgets.ordered import OrderedChanges, patch_from
from tieline.gateway.budgets.recall import LeaseRequest, Recalls, Say
from tieline.gateway.budgets.remote import MAX_GATEWAYS, Remembers, proof
from tieline.gateway.wire.decoding import json_reader
from tieline.tasks import Connections

log = logging.getLogger("tieline.gateway")

# Above the largest answer that is kept for a repeated call.
MAX_LINE: Final = 524_288
# A connection says who it is by then.
JOIN_S: Final = 5.0
# A gateway whose connection closed and that lives is back within this: it dials again at once. One that was killed is
# not, and what it ran has ended with it.
BACK_S: Final = 1.0

encode = msgspec.json.Encoder().encode
decode = json_reader(dict[str, Any])

Audit = Callable[[str], dict[str, int] | None]


class CoordinatorServer:
    """Serves a Coordinator to the gateways of its machine, and of others where it listens to them.

    `audit` reads the disk of one that is not running; None: it cannot be read. `remembered`, `calls`: what is written
    down before it is told.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        audit: Audit,
        remembered: Remembers | None = None,
        calls: KeepClaim = lambda name, claim: None,
    ) -> None:
        self.coordinator, self.audit, self.remembered = coordinator, audit, remembered
        # Gateways that the coordinator before this one had, until they are back or it is too late: what they have is
        # not known yet; and those that make a call which is to be made once.
        self.awaited: dict[str, float] = {}
        self.owners: dict[str, float] = {}
        self._closed: dict[str, float] = {}  # gateways whose connection closed, and until when they may be back
        self.learn: Callable[[], None] = lambda: None  # reads the limits anew if they have changed
        # What is changed at run time at any gateway, where it is kept for all; and who hears of it.
        self.changes: OrderedChanges | None = None
        self._follow: set[str] = set()
        self._remote: set[str] = set()
        self.recalls = Recalls(coordinator)
        self.claims = Claims(calls)
        self._writers: dict[str, asyncio.StreamWriter] = {}
        self._servers: list[asyncio.Server] = []
        self._connections = Connections()
        self._timer: asyncio.TimerHandle | None = None

    async def start(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._servers.append(await asyncio.start_unix_server(self._serve, path, limit=MAX_LINE))
        path.chmod(0o600)

    async def listen(self, host: str, port: int, secret: bytes, tls: ssl.SSLContext | None) -> int:
        """Serve other machines too; returns the port. Raises OSError."""
        assert self.remembered is not None
        for gateway, most in self.remembered.load().items():
            self.coordinator.known(gateway, most)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if len(self._writers) >= MAX_GATEWAYS:
                writer.close()
                return
            nonce = secrets.token_hex(16)
            writer.write(encode({"hello": nonce}) + b"\n")
            await self._serve(reader, writer, (secret, nonce))

        server = await asyncio.start_server(serve, host, port, ssl=tls, limit=MAX_LINE)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for server in self._servers:
            server.close()
        await self._connections.close()

    def sweep(self) -> None:
        """Once a second: free what dead gateways held."""
        now = asyncio.get_running_loop().time()
        self.claims.sweep(now)
        self.awaited = {one: until for one, until in self.awaited.items() if now < until}
        for gateway in [one for one, until in self._closed.items() if now >= until]:
            del self._closed[gateway]
            self.coordinator.free_slots(gateway)
        for gateway in [one for one, until in self.owners.items() if now >= until]:
            del self.owners[gateway]
            self._send(self.claims.dropped(gateway))
        for gateway in self.coordinator.lapsed(now):
            remote = gateway in self._remote
            log.warning(
                "gateway %s is gone; %s", gateway,
                "what it was given counts as spent until it is back" if remote else "its shares are freed",
            )  # fmt: skip
            self.coordinator.drop(gateway, None if remote else self.audit(gateway), now)
            self._send(self.claims.dropped(gateway))

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, proven: tuple[bytes, str] | None = None
    ) -> None:
        """`proven`: the secret, and the number that the proof must name."""
        with self._connections.serving(writer):
            await self._hear(reader, writer, proven)

    async def _hear(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, proven: tuple[bytes, str] | None
    ) -> None:
        gateway = ""
        now = asyncio.get_running_loop().time
        try:
            while line := await (reader.readline() if gateway else asyncio.wait_for(reader.readline(), JOIN_S)):
                message = decode(line)
                if message["do"] == "join":
                    if gateway and message["gateway"] != gateway:
                        raise ValueError("one name a connection")
                    if proven is not None:
                        self._admit(message, *proven)
                    gateway = message["gateway"]
                    self._writers[gateway] = writer
                if self._writers.get(gateway) is not writer:
                    raise ValueError("join first; or another gateway joined under this name")
                self._heard(gateway, message, now())
        except (OSError, msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
            log.info("gateway %s: %r", gateway, error)
        finally:
            if self._writers.get(gateway) is writer:
                del self._writers[gateway]
                self._closed[gateway] = now() + BACK_S
                self.claims.left(gateway)
                self._send(self.recalls.left(gateway, now()))

    def _admit(self, message: dict[str, Any], secret: bytes, nonce: str) -> None:
        """A gateway of another machine wants to join. Raises ValueError."""
        gateway = str(message["gateway"])
        if secret and not hmac.compare_digest(str(message.get("proof", "")), proof(secret, nonce, gateway)):
            log.warning("somebody asked to join as %.40s without the secret", gateway)
            raise ValueError("the proof is wrong")
        if not gateway.startswith("gateway-"):
            raise ValueError("a gateway of another machine is named 'gateway-...'")
        self._remote.add(gateway)

    def _heard(self, gateway: str, message: dict[str, Any], now: float) -> None:
        word, recalls = message["do"], self.recalls
        recalls.heard(gateway)
        if word == "join":
            fence = self.coordinator.join(gateway, message["totals"], now, message["claims"])
            self.awaited.pop(gateway, None)
            self.owners.pop(gateway, None)
            self._closed.pop(gateway, None)
            self._send([Say(gateway, {"re": message["n"], "fence": fence, **self._newest()})])
            self._follow.discard(gateway)
            if "changes" in message:  # one of a version before would not know what to do with a change
                self._follow.add(gateway)
            self._send(self.claims.joined(gateway, message.get("calls", {}), now))
        elif word == "renew":
            ok = self.coordinator.renew(gateway, message["fence"], now)
            self._send([Say(gateway, {"re": message["n"], "ok": ok, **self._newest()})])
        elif word == "given":
            fence, number = message["fence"], message["n"]
            self._send(recalls.given(gateway, fence, number, message["name"], message["amount"], now))
        elif word == "ask":
            self._asked(gateway, message, now)
        elif word == "used":
            self.coordinator.used(gateway, message["fence"], message["used"], now)
        elif word == "claim":
            self._claimed(gateway, message, now)
        elif word == "ended":
            answer = message["answer"]
            if answer is not None and len(answer["text"]) > MAX_ANSWER:
                answer = None
            says = self.claims.ended(gateway, message["name"], answer, keep=message["keep"])
            self._send([*says, Say(gateway, {"re": message["n"], "ended": message["name"]})])
        elif word in ("change", "changes") and self.changes is not None:
            self._changed(gateway, message, self.changes)

    def _newest(self) -> dict[str, Any]:
        return {} if self.changes is None else {"changes": self.changes.number}

    def _changed(self, gateway: str, message: dict[str, Any], changes: OrderedChanges) -> None:
        """A gateway asks for all changes, or makes one: written down, then told to everybody, then answered."""
        answer: dict[str, Any]
        if message["do"] == "changes":
            answer = changes.piece(int(message["offset"]))
        else:
            base = int(message["base"])
            try:
                change = changes.propose(base, patch_from(message["patch"]), int(message["above"]))
            except OSError as error:
                log.error("a change cannot be written down, so it is not made: %s", error)
                answer = {"error": str(error)}
            else:
                answer = {"newest": changes.number} if change is None else {"number": change.number}
                if change is not None:
                    word = {"change": {"number": change.number, "patch": change.patch}, "base": base}
                    self._send([Say(one, word) for one in self._writers if one in self._follow])
        self._send([Say(gateway, {"re": message["n"], **answer})])

    def _asked(self, gateway: str, message: dict[str, Any], now: float) -> None:
        names = tuple(message["names"])
        if any(self.coordinator.account(name) is None for name in names):
            self.learn()
        if self._too_early(names, now):
            self._send([Say(gateway, {"re": message["n"], "wait": 1.0})])
            return
        number, more = message["n"], message.get("more")
        if more is None and gateway in self._remote:
            more = 0
        ask = LeaseRequest(gateway, message["fence"], names, message["least"], message["most"], number, more)
        self._send(self.recalls.asked(ask, now))

    def _too_early(self, names: tuple[str, ...], now: float) -> bool:
        """Slots are held by gateways alone, so that as long as some are not back none is given."""
        return any(now < until for until in self.awaited.values()) and any(limited(one) == CONCURRENT for one in names)

    def _claimed(self, gateway: str, message: dict[str, Any], now: float) -> None:
        says = [Say(gateway, {"re": message["n"], "claim": "busy"})]
        if self.coordinator.renew(gateway, message["fence"], now):
            try:
                says = self.claims.asked(gateway, message["name"], message["digest"], message["n"], now)
            except OSError as error:
                log.error("a call that is to be made once cannot be written down, so it is not made: %s", error)
        self._send(says)

    def _send(self, says: list[Say]) -> None:
        for say in says:
            if self.awaited and not limited(str(say.message.get("spent", "|tokens"))):
                # What those who are not back yet have left may be enough: this is not known yet.
                say = Say(say.gateway, {"re": say.message["re"], "wait": 1.0})
            writer = self._writers.get(say.gateway)
            if say.gateway in self._remote and ("granted" in say.message or "fence" in say.message):
                assert self.remembered is not None
                try:
                    self.remembered.keep(say.gateway, self.coordinator.most(say.gateway))
                except OSError as error:
                    log.error("what is granted cannot be written down, so it is not granted: %s", error)
                    self._take_back(say)
                    continue
            if writer is not None and not writer.is_closing():
                writer.write(encode(say.message) + b"\n")
        deadline = self.recalls.deadline
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if deadline is None else asyncio.get_running_loop().call_at(deadline, self._late)

    def _take_back(self, say: Say) -> None:
        """The asker was told nothing, and gives up in 50 ms."""
        member = self.coordinator.members.get(say.gateway)
        if member is not None and "granted" in say.message:
            extras = say.message["extras"].items()
            amounts = {name: more + (1 if limited(name) else say.message["granted"]) for name, more in extras}
            self.coordinator.give_back(say.gateway, member.fence, amounts)

    def _late(self) -> None:
        self._timer = None
        self._send(self.recalls.late(asyncio.get_running_loop().time()))

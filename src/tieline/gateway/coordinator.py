"""The coordinator's socket: lines of JSON from gateways, answered by `rounds`.

A gateway asks (`join`, `renew`, `ask`), the coordinator may call back (`recall`), and is answered (`given`).
Messages of one connection keep their order in both directions; the exactness of `rounds` rests on that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from tieline.gateway.lease import Coordinator
from tieline.gateway.rounds import Asked, Rounds, Say

log = logging.getLogger("tieline.gateway")

MAX_LINE: Final = 65_536

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(dict[str, Any]).decode

Audit = Callable[[str], dict[str, int] | None]


class CoordinatorServer:
    """Serves a Coordinator to the gateways of one machine."""

    def __init__(self, coordinator: Coordinator, audit: Audit) -> None:
        self.coordinator, self.audit = coordinator, audit
        self.rounds = Rounds(coordinator)
        self._writers: dict[str, asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def start(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, path, limit=MAX_LINE)
        path.chmod(0o600)

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._server is not None:
            self._server.close()
        for writer in self._writers.values():
            writer.close()

    def sweep(self) -> None:
        """Once a second: free what dead gateways held."""
        for gateway in self.coordinator.lapsed(asyncio.get_running_loop().time()):
            log.warning("gateway %s is gone; its slices are freed", gateway)
            self.coordinator.drop(gateway, self.audit(gateway))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gateway = ""
        now = asyncio.get_running_loop().time
        try:
            while line := await reader.readline():
                message = decode(line)
                if message["do"] == "join":
                    gateway = message["gateway"]
                    self._writers[gateway] = writer
                if self._writers.get(gateway) is not writer:
                    raise ValueError("join first; or another gateway joined under this name")
                self._heard(gateway, message, now())
        except (ConnectionError, msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
            log.info("gateway %s: %r", gateway, error)
        finally:
            if self._writers.get(gateway) is writer:
                del self._writers[gateway]
                self._send(self.rounds.left(gateway, now()))
            writer.close()

    def _heard(self, gateway: str, message: dict[str, Any], now: float) -> None:
        word, rounds = message["do"], self.rounds
        rounds.heard(gateway)
        if word == "join":
            fence = self.coordinator.join(gateway, message["totals"], now, message["claims"])
            self._send([Say(gateway, {"re": message["n"], "fence": fence})])
        elif word == "renew":
            ok = self.coordinator.renew(gateway, message["fence"], now)
            self._send([Say(gateway, {"re": message["n"], "ok": ok})])
        elif word == "given":
            fence, number = message["fence"], message["n"]
            self._send(rounds.given(gateway, fence, number, message["name"], message["amount"], now))
        elif word == "ask":
            names = tuple(message["names"])
            ask = Asked(gateway, message["fence"], names, message["least"], message["most"], message["n"])
            self._send(rounds.asked(ask, now))

    def _send(self, says: list[Say]) -> None:
        for say in says:
            writer = self._writers.get(say.gateway)
            if writer is not None and not writer.is_closing():
                writer.write(encode(say.message) + b"\n")
        deadline = self.rounds.deadline
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if deadline is None else asyncio.get_running_loop().call_at(deadline, self._late)

    def _late(self) -> None:
        self._timer = None
        self._send(self.rounds.late(asyncio.get_running_loop().time()))

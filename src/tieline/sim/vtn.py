"""A fake OpenADR 3 server: the events it is given, a token for those who know the secret, bad manners on request."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from tieline.sim.listener import FakeListener
from tieline.sim.rigs.page import PageAnswer, PageRequest, serve_page

CLIENT, SECRET = "simulated-ven", "simulated-secret"


@dataclass
class FakeVtn(FakeListener):
    """`events` as they are listed; `token` changes when old ones are to be refused."""

    events: list[dict[str, Any]] = field(default_factory=list)
    token: str = "simulated-token"
    manner: Literal["well", "error", "text"] = "well"
    requests: int = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(
            OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.CancelledError
        ):
            await serve_page(reader, writer, self._respond)
        with contextlib.suppress(OSError, RuntimeError):
            writer.close()

    def _respond(self, asked: PageRequest) -> PageAnswer:
        self.requests += 1
        if self.manner == "error":
            return PageAnswer({"title": "simulated failure"}, 500)
        if self.manner == "text":
            return PageAnswer("<html>maintenance</html>")
        path = urlsplit(asked.path)
        if path.path == "/auth/token":
            form = parse_qs(asked.body.decode())
            right = form.get("client_id") == [CLIENT] and form.get("client_secret") == [SECRET]
            return PageAnswer(
                {"access_token": self.token, "token_type": "Bearer"} if right else {}, 200 if right else 401
            )
        if asked.headers.get("authorization") != f"Bearer {self.token}":
            return PageAnswer({"title": "unauthorized"}, 401)
        if path.path == "/events":
            query = parse_qs(path.query)
            wanted, skip = query.get("programID", [""])[0], int(query.get("skip", ["0"])[0])
            events = [event for event in self.events if not isinstance(event, dict) or event.get("programID") == wanted]
            return PageAnswer(events[skip : skip + int(query.get("limit", ["50"])[0])])
        return PageAnswer({"title": "not found"}, 404)


def event(event_id: str, program: str, start: str, duration: str, limits_kw: list[float]) -> dict[str, Any]:
    """An event with one interval for each limit."""
    return {
        "id": event_id,
        "objectType": "EVENT",
        "programID": program,
        "payloadDescriptors": [
            {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "IMPORT_CAPACITY_LIMIT", "units": "KW"}
        ],
        "intervalPeriod": {"start": start, "duration": duration},
        "intervals": [
            {"id": n, "payloads": [{"type": "IMPORT_CAPACITY_LIMIT", "values": [limit]}]}
            for n, limit in enumerate(limits_kw)
        ],
    }

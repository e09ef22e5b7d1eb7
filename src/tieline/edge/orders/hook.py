"""Orders by HTTP at the site itself: `POST /orders` with a bearer token, `DELETE /orders/ID`, `GET /orders`.

For a grid operator's box, a PLC or a script on the site's own network. One request a connection, small and bounded;
an answer says in one line what is wrong. A posted order holds until its own end or until it is deleted; posting it
again changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from datetime import datetime
from typing import Any

import msgspec

from tieline.clock import Clock
from tieline.edge.orders.sources import read_orders
from tieline.feeds.notices.standing import MAX_ORDERS, StatedOrder
from tieline.tasks import Connections

MAX_HEAD, MAX_BODY, REQUEST_TIMEOUT_S = 8192, 100_000, 5.0
AT_ONCE = 16


class HookSource:
    """Listens once started. `token`: at least 16 characters; compared in constant time."""

    doubt: str | None = None

    def __init__(self, clock: Clock, token: str, host: str = "127.0.0.1", port: int = 0, name: str = "http") -> None:
        if len(token) < 16:
            raise ValueError("token: give at least 16 characters")
        self.name, self._clock, self._token, self._host, self.port = name, clock, token, host, port
        self._orders: dict[str, StatedOrder] = {}
        self._in_force: list[str] = []
        self._server: asyncio.Server | None = None
        self._open = 0
        self._connections = Connections()
        self.arrived = asyncio.Event()  # an order that cannot wait for the next reading

    async def start(self) -> None:
        """Raises OSError where the port cannot be had."""
        self._server = await asyncio.start_server(self._serve, self._host, self.port, limit=MAX_HEAD)
        self.port = self._server.sockets[0].getsockname()[1]

    async def read(self, now: datetime) -> list[StatedOrder]:
        if self._server is None:
            await self.start()
        for key in [key for key, said in self._orders.items() if said.until is not None and said.until <= now]:
            del self._orders[key]
        return list(self._orders.values())

    def tell(self, now: datetime, taken: list[str]) -> None:
        self._in_force = taken

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            await self._connections.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            with (
                self._connections.serving(writer),
                contextlib.suppress(
                    OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError
                ),
            ):
                if self._open > AT_ONCE:
                    await _answer(writer, 503, {"error": f"more than {AT_ONCE} requests at once"})
                    return
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    await self._one(reader, writer)
        finally:
            self._open -= 1

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip().split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        method, path, *_ = [*first.split(" "), "", ""]
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            await _answer(writer, 401, {"error": "give the site's token as Authorization: Bearer"})
            return
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MAX_BODY:
            await _answer(writer, 413, {"error": f"at most {MAX_BODY} bytes"})
            return
        await _answer(writer, *self._respond(method, path, await reader.readexactly(int(length))))

    def _respond(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if method == "GET" and path == "/orders":
            return 200, {"orders": list(self._orders), "in_force": self._in_force}
        if method == "POST" and path == "/orders":
            return self._post(body)
        if method == "DELETE" and path.startswith("/orders/"):
            known = self._orders.pop(path.removeprefix("/orders/"), None)
            self.arrived.set()
            return (200, {"ended": known.order_id}) if known else (404, {"error": "no such order"})
        return 404, {"error": "POST /orders, GET /orders, DELETE /orders/ID"}

    def _post(self, body: bytes) -> tuple[int, dict[str, Any]]:
        try:
            given = read_orders(body, self._clock.now())
        except ValueError as error:
            return 400, {"error": str(error)}
        new = [one for one in given if one.order_id not in self._orders]
        if len(self._orders) + len(new) > MAX_ORDERS:
            return 409, {"error": f"{MAX_ORDERS} orders are in force; delete one"}
        for one in given:
            before = self._orders.get(one.order_id)
            # Sent again, an order in minutes is the same order: it does not begin anew.
            if before is None or before.limit_w != one.limit_w or one.start is not None:
                self._orders[one.order_id] = one
        self.arrived.set()
        return 200, {"taken": [one.order_id for one in given]}


async def _answer(writer: asyncio.StreamWriter, status: int, body: dict[str, Any]) -> None:
    content = msgspec.json.encode(body) + b"\n"
    reason = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found"}.get(status, "Refused")
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
    await writer.drain()

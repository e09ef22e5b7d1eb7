"""The console's HTTP: what is no request is told so in JSON, and one that does not arrive is not waited for for ever.

The web server frames and bounds; it has no clock for a head that stays away, and answers malformed bytes in a text
of its own.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# What nginx gives a client for its head is 60 s; a browser on the next desk needs a fraction of this.
HEAD_S: Final = 15.0
# As the gateway's door: four times what nginx takes for one field.
MAX_HEAD: Final = 32_768


class ConsoleProtocol(HttpToolsProtocol):
    """One connection."""

    _due: asyncio.TimerHandle | None = None
    _size = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the base does
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._wait()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._grow(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._grow(len(name) + len(value))

    def on_headers_complete(self) -> None:
        self._arrived()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._end(b"400 Bad Request", b'{"error":"this is no HTTP request"}')

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > MAX_HEAD:
            self.headers.clear()
            self._end(b"431 Request Header Fields Too Large", b'{"error":"the request head is too large"}')

    def _wait(self) -> None:
        self._arrived()
        self._size = 0
        self._due = self.loop.call_later(HEAD_S, self._late)

    def _arrived(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _late(self) -> None:
        self._end(b"408 Request Timeout", b'{"error":"the request did not arrive in time"}')

    def _end(self, status: bytes, body: bytes) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (status, len(body)) + body)
        self.transport.close()


def settings(host: str, port: int) -> dict[str, Any]:
    """What the web server is told, beside the application."""
    return {
        "host": host,
        "port": port,
        "http": ConsoleProtocol,
        "ws": "none",
        "log_level": "warning",
        "access_log": False,
        "lifespan": "on",
        "timeout_graceful_shutdown": 1,
        "log_config": None,
        "limit_concurrency": 1_000,
    }

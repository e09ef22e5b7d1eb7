"""What listens on loopback and answers as a device or a service would."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod


class FakeListener(ABC):
    """One listening socket, from `start` to `stop`."""

    port: int = 0
    _server: asyncio.Server | None = None

    @abstractmethod
    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None: ...

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Returns its port. Raises OSError."""
        self._server = await asyncio.start_server(self._serve, host, port)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self.port

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

"""A proxy before the link's server that cuts, stalls one way or both, slows, and forgets connections."""

import asyncio
import contextlib
from typing import Literal

Way = Literal["up", "down"]


class BadLink:
    """`stalled`: the ways on which nothing moves now, as when packets are lost; `cut`: connections die and none comes
    about; `delay_s` for each piece. `forget`: those that are open now stay stalled, as after a NAT's restart."""

    def __init__(self, port: int) -> None:
        self.server_port, self.port = port, 0
        self.stalled: set[Way] = set()
        self.delay_s = 0.0
        self.cut = False
        self.made = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._forgotten: set[asyncio.StreamWriter] = set()
        self._moved = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.drop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def drop(self) -> None:
        """Every connection dies."""
        for writer in list(self._open):
            writer.transport.abort()

    def forget(self) -> None:
        self._forgotten |= self._open

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.cut:
            writer.transport.abort()
            return
        self.made += 1
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.server_port)
            self._open |= {writer, far_writer}
            pumps = [
                asyncio.create_task(self._pump(reader, far_writer, "up")),
                asyncio.create_task(self._pump(far_reader, writer, "down")),
            ]
            self._tasks.update(pumps)
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for one in (writer, far_writer):
                if one not in self._forgotten:  # nobody tells the ends of a connection that was forgotten
                    one.transport.abort()
                self._open.discard(one)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            while piece := await reader.read(65_536):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                while way in self.stalled or writer in self._forgotten:
                    await asyncio.sleep(0.02)
                writer.write(piece)
                await writer.drain()

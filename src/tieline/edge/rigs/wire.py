"""One question to one rig, one bounded answer, on a bare socket.

Knows frames, no protocols. An answer ends at a NUL, at the end of the connection or after the length it gave; what is
longer than `MAX_ANSWER` or later than the time given is cut off. A lane bounds how many questions begin at once, not
how many wait: a rig that is silent gives its place back, so that silent rigs never stand before healthy ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from typing import Any, cast

from tieline.intake import IntakeError, read, read_json

# The longest honest answer seen is a full `stats` of about 20 KB.
MAX_ANSWER = 1_000_000
# One rig's answer on a local network takes milliseconds; a rig that takes longer is counted as silent.
ASK_TIMEOUT_S = 3.0
# After this long a question loads the network no more, it only waits; its place in the lane is free again.
PLACE_S = 0.3


class SilentError(Exception):
    """No usable answer: nobody there, cut off, too late, too long, or no JSON. `why` fits one line."""

    @property
    def why(self) -> str:
        return str(self)


class RefusalError(Exception):
    """The rig answered, and the answer was no."""


class Lane:
    """At most `places` questions begin at once. Nobody holds a place for longer than `PLACE_S`."""

    def __init__(self, places: int) -> None:
        self._places = asyncio.Semaphore(places)

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        await self._places.acquire()
        timer = asyncio.get_running_loop().call_later(PLACE_S, self._places.release)
        try:
            yield
        finally:
            if timer.when() > asyncio.get_running_loop().time() and not timer.cancelled():
                timer.cancel()
                self._places.release()


class _Exchange(asyncio.Protocol):
    """Writes one request and gathers the answer into a future."""

    __slots__ = ("_chunks", "_done", "_prefixed", "_request", "_size", "_transport")

    def __init__(self, request: bytes, prefixed: bool, done: asyncio.Future[bytes]) -> None:
        self._request, self._prefixed, self._done = request, prefixed, done
        self._chunks: list[bytes] = []
        self._size = 0
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        cast("asyncio.Transport", transport).write(self._request)  # as TCP gives it

    def data_received(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MAX_ANSWER:
            self._end(SilentError(f"an answer of more than {MAX_ANSWER} bytes was cut off"))
            return
        self._chunks.append(data)
        if self._prefixed:
            whole = b"".join(self._chunks)
            if len(whole) >= 4 and len(whole) >= 4 + struct.unpack_from("<I", whole)[0]:
                self._end(None)
        elif data.endswith(b"\x00"):
            self._end(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._end(None if error is None and self._chunks else SilentError(_lost(error)))

    def _end(self, error: SilentError | None) -> None:
        if not self._done.done():
            if error is None:
                self._done.set_result(b"".join(self._chunks))
            else:
                self._done.set_exception(error)
        if self._transport is not None:
            self._transport.close()


async def ask(address: str, port: int, request: bytes, prefixed: bool = False) -> bytes:
    """The whole answer, without its NUL; `prefixed`: both ways begin with a length of four bytes, little-endian.
    Raises SilentError."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes] = loop.create_future()
    if prefixed:
        request = struct.pack("<I", len(request)) + request
    transport = None
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            transport, _ = await loop.create_connection(lambda: _Exchange(request, prefixed, done), address, port)
            answer = await done
    except TimeoutError:
        raise SilentError(f"no answer from {address}:{port} within {ASK_TIMEOUT_S:.0f} s") from None
    except OSError as error:
        raise SilentError(f"{address}:{port}: {error.strerror or type(error).__name__}") from None
    finally:
        if transport is not None:
            transport.abort()
    return answer[4:] if prefixed else answer.rstrip(b"\x00\n")


async def ask_json(address: str, port: int, request: bytes, prefixed: bool = False) -> dict[str, Any]:
    """The answer as an object. Raises SilentError where it is none: half a frame, HTML, another encoding."""
    answer = await ask(address, port, request, prefixed)
    try:
        decoded = read_json(answer)
    except IntakeError:
        try:  # some firmwares forget a comma between objects, or write NaN
            decoded = _lenient(answer)
        except ValueError:
            shown = answer[:40].decode("ascii", "replace")
            raise SilentError(f"{address}:{port} answered no JSON: {shown!r}") from None
    if not isinstance(decoded, dict):
        raise SilentError(f"{address}:{port} answered {type(decoded).__name__}, not an object")
    return decoded


def _lenient(answer: bytes) -> object:
    import json

    text = answer.decode("utf-8", "strict").replace("}{", "},{")
    return read(text, json.loads)


def _lost(error: Exception | None) -> str:
    return "the connection was cut" if error is None else f"the connection was cut: {type(error).__name__}"

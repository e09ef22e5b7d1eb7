"""What an agent and the process of its rigs say to each other: length-prefixed frames on the pipes between them.

Both ends are ours and of one version; each frame is bounded and read like any other bytes all the same, for what rigs
said is in them.
"""

from __future__ import annotations

import asyncio
import struct
from datetime import datetime
from typing import Any, Final

import msgspec

from tieline.edge.device import Applied, Reading, Refused, Unreachable
from tieline.edge.rigs.breakers import Breaker
from tieline.edge.rigs.pooling.pools import PoolSetting
from tieline.edge.rigs.pooling.repool import Repooled
from tieline.edge.rigs.wire import RefusalError, SilentError
from tieline.edge.rigs.workers.rows import RackPage, RigPreview
from tieline.fleet.sites import RigGroup, Site
from tieline.intake import IntakeError, read
from tieline.records import Setpoint

# A preview that names 200 rigs is 20 KB; a page of rigs 40 KB; the opening of 40,000 addresses 1 MB.
MAX_FRAME: Final = 32_000_000
_LENGTH: Final = struct.Struct("<I")


class RigOpening(msgspec.Struct, frozen=True, kw_only=True):
    """The first frame: whose rigs these are. `groups` are those of `site` that stand on sockets; `folder` is the
    site's, None where nothing is kept."""

    site: Site
    groups: tuple[RigGroup, ...]
    ports: dict[str, dict[int, int]]  # group -> a protocol's own port -> where it is here
    folder: str | None = None
    passwords: dict[str, str] = {}
    breakers: tuple[Breaker, ...] = ()


class RigCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One question to one group, or word to it. `what` names a method of `AsicGroup`."""

    number: int
    unit_id: str
    what: str
    now: datetime | None = None
    temp_c: float | None = None
    setpoint: Setpoint | None = None
    address: str = ""
    word: str = ""
    pools: tuple[PoolSetting, ...] = ()
    first: int = 0
    most: int = 0


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to the call of this number; `kind` says how `body` is read."""

    number: int
    kind: str
    body: msgspec.Raw


class WorkerFailedError(SilentError):
    """The call raised what it should not have; one line."""


VALUES: Final[dict[str, type[Any]]] = {
    "reading": Reading,
    "unreachable": Unreachable,
    "applied": Applied,
    "refused": Refused,
    "page": RackPage,
    "preview": RigPreview,
    "repooled": Repooled,
    "done": type(None),
}
ERRORS: Final[dict[str, type[Exception]]] = {
    "refusal": RefusalError,
    "silence": SilentError,
    "failure": WorkerFailedError,
}
_KINDS: Final = {type_: kind for kind, type_ in VALUES.items()}
_DECODERS: Final = {kind: msgspec.json.Decoder(type_) for kind, type_ in VALUES.items()}
_TEXT: Final = msgspec.json.Decoder(str)
_encode: Final = msgspec.json.Encoder().encode
_OPENING: Final = msgspec.json.Decoder(RigOpening)
_CALL: Final = msgspec.json.Decoder(RigCall)
_REPLY: Final = msgspec.json.Decoder(Reply)


def framed(body: RigOpening | RigCall | Reply) -> bytes:
    data = _encode(body)
    return _LENGTH.pack(len(data)) + data


def replied(number: int, value: object) -> bytes:
    """The frame that answers with `value`, or raises it over there where it is an exception."""
    if isinstance(value, BaseException):
        kind = next((name for name, type_ in ERRORS.items() if isinstance(value, type_)), "failure")
        line = str(value) if kind != "failure" else f"{type(value).__name__}: {value}"[:300]
        return framed(Reply(number=number, kind=kind, body=msgspec.Raw(_encode(line))))
    return framed(Reply(number=number, kind=_KINDS[type(value)], body=msgspec.Raw(_encode(value))))


def value_of(reply: Reply) -> Any:
    """What was answered. Raises what was raised there; IntakeError where it is neither."""
    error = ERRORS.get(reply.kind)
    if error is not None:
        raise error(read(bytes(reply.body), _TEXT.decode, MAX_FRAME))
    if reply.kind not in _DECODERS:
        raise IntakeError(f"{reply.kind!r} is no answer")
    return read(bytes(reply.body), _DECODERS[reply.kind].decode, MAX_FRAME)


async def next_frame(stream: asyncio.StreamReader) -> bytes:
    """Raises IncompleteReadError at the end, IntakeError where a frame is too long."""
    (length,) = _LENGTH.unpack(await stream.readexactly(_LENGTH.size))
    if length > MAX_FRAME:
        raise IntakeError(f"a frame of {length} bytes")
    return await stream.readexactly(length)


def read_opening(data: bytes) -> RigOpening:
    """Raises IntakeError."""
    return read(data, _OPENING.decode, MAX_FRAME)


def read_call(data: bytes) -> RigCall:
    """Raises IntakeError."""
    return read(data, _CALL.decode, MAX_FRAME)


def read_reply(data: bytes) -> Reply:
    """Raises IntakeError."""
    return read(data, _REPLY.decode, MAX_FRAME)

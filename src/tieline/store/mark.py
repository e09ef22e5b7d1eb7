"""How far a database has got, kept beside it: what tells that its end is missing.

SQLite takes a log that was cut for one that ended there, and opens as if the rows behind the cut had never been
acknowledged. So each commit that must not be lost counts up and carries a digest over everything so far, and once it
is on disk the same is written to a file of its own. The mark may lag behind the database (it is not synced: after a
power cut it may be old), it is never ahead of it; a database behind its mark has lost its end.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from tieline.store.files import private_file

_MAGIC: Final = b"TLMARK01"
_FORM: Final = struct.Struct(">8sQQ32s")
# Two places a sector apart, written in turn, so that a torn write leaves the one before.
_PLACE: Final = 512

EMPTY: Final = bytes(32)


class Mark(NamedTuple):
    """`commits` so far, the highest row number ever given, and the digest over all bodies in order."""

    commits: int
    last: int
    digest: bytes


def chained(digest: bytes, bodies: Iterable[bytes]) -> bytes:
    """The digest after these bodies: SHA-256 of the one before and the body, one after the other."""
    for body in bodies:
        digest = hashlib.sha256(digest + body).digest()
    return digest


class Marks(Protocol):
    """Where a mark is kept."""

    def read(self) -> Mark | None: ...

    def write(self, mark: Mark) -> None: ...

    def close(self) -> None: ...


class MarkFile:
    """On disk. Raises OSError where the file cannot be made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        private_file(path)
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def read(self) -> Mark | None:
        """The newer of both places; None where neither holds a mark."""
        return newest(os.pread(self._file, 2 * _PLACE, 0))

    def write(self, mark: Mark) -> None:
        """A disk that is full takes no mark; the one before stands, which is allowed to lag."""
        with contextlib.suppress(OSError):
            os.pwrite(self._file, packed(mark), mark.commits % 2 * _PLACE)

    def close(self) -> None:
        os.close(self._file)


def packed(mark: Mark) -> bytes:
    line = _FORM.pack(_MAGIC, *mark)
    return line + zlib.crc32(line).to_bytes(4)


def newest(data: bytes) -> Mark | None:
    """The newer of the marks in a mark file's bytes."""
    marks = []
    for start in (0, _PLACE):
        line = data[start : start + _FORM.size]
        if len(line) == _FORM.size and data[start + _FORM.size :][:4] == zlib.crc32(line).to_bytes(4):
            magic, commits, last, digest = _FORM.unpack(line)
            if magic == _MAGIC:
                marks.append(Mark(commits, last, digest))
    return max(marks, default=None)

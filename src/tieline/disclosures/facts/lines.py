"""A file of records that only grows, one JSON object a line: what the kept facts and the desk are written in.

A batch is appended under a lock and is on disk when `append` returns, whole or not at all. A last line that a power
cut tore was never acknowledged and is cut off. Several processes may append; each sees the others' records.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

import msgspec

Record = TypeVar("Record")

# About a hundred thousand claims of 600 bytes: every month of every listed miner since 2017, several times.
MAX_BYTES = 64 * 2**20


class KeepError(RuntimeError):
    """Records could not be kept or read back; the message says what to do. Nothing of the batch was kept."""


class LineFile(Generic[Record]):
    """One file, of records of one shape. Raises KeepError."""

    def __init__(
        self, path: Path, shape: Any, max_bytes: int = MAX_BYTES, check: Callable[[Record], object] | None = None
    ) -> None:
        """`check` raises ValueError for a record that was put into the file by other hands than ours."""
        self.path = path
        self._decode: Callable[[bytes], Record] = msgspec.json.Decoder(shape).decode
        self._check = check
        self._max_bytes = max_bytes

    def read(self) -> list[Record]:
        """The records of all whole lines; none where there is no file."""
        try:
            with self.path.open("rb") as file:
                if (size := os.fstat(file.fileno()).st_size) > self._max_bytes:
                    raise KeepError(f"{self.path} has {size:,} bytes, more than {self._max_bytes:,}; check the file")
                return self._parse(file.read())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise KeepError(f"cannot read {self.path}: {error.strerror}; check the file") from error

    def add(self, choose: Callable[[list[Record]], Iterable[Record]]) -> int:
        """Append what `choose` makes of the records that are there; how many that was."""
        with self._locked() as file:
            file.seek(0)
            content = file.read()
            size = content.rfind(b"\n") + 1
            if size < len(content):
                file.truncate(size)
            lines = [_encode(record) + b"\n" for record in choose(self._parse(content))]
            if size + sum(map(len, lines)) > self._max_bytes:
                raise KeepError(f"{self.path} would pass {self._max_bytes:,} bytes; keep a second file (--facts FILE)")
            self._write(file, size, b"".join(lines))
        return len(lines)

    def state(self) -> tuple[int, int] | None:
        """Changes whenever the file does; None where there is none."""
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise KeepError(f"cannot read {self.path}: {error.strerror}; check the file") from error
        return stat.st_mtime_ns, stat.st_size

    def _parse(self, content: bytes) -> list[Record]:
        records = []
        for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):
            try:
                if line.strip():
                    records.append(self._decode(line))
                    if self._check is not None:
                        self._check(records[-1])
            except (msgspec.DecodeError, ValueError) as error:
                raise KeepError(f"{self.path}, line {number}: {error}; mend or remove the line") from error
        return records

    def _write(self, file: IO[bytes], size: int, lines: bytes) -> None:
        try:
            view = memoryview(lines)
            while view:
                view = view[file.write(view) :]
            os.fsync(file.fileno())
        except OSError as error:
            # A full disk leaves half a batch: take it back, so that a batch is kept whole or not at all.
            file.truncate(size)
            raise KeepError(f"cannot write {self.path}: {error.strerror}; nothing of the batch was kept") from error

    @contextmanager
    def _locked(self) -> Iterator[IO[bytes]]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise KeepError(f"cannot open {self.path}: {error.strerror}; give another file with --facts") from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file


_encode = msgspec.json.Encoder(decimal_format="string").encode

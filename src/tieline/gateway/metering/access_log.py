"""The access log: the usage record of each request, a line each; never a word of what was said.

Written a group at a time on the outbox's thread, after the group, so that no line is kept any longer than its record
is and none is lost at the end. A log that cannot be written costs no request anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Final

# It is rotated once at this size: two files at most.
MAX_LOG_BYTES: Final = 64 * 1024 * 1024


class AccessLog:
    """`access.jsonl` in a folder. One thread writes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "access.jsonl"
        self._file: BinaryIO | None = None
        self._size = 0

    def write(self, lines: list[bytes]) -> None:
        text = b"\n".join(lines) + b"\n"
        try:
            if self._file is None or self._size > MAX_LOG_BYTES:
                self._open()
            assert self._file is not None
            self._size += self._file.write(text)
        except OSError:
            self.close()  # a full disk, or a folder taken away: the next group tries again

    def _open(self) -> None:
        self.close()
        if self.path.exists() and self.path.stat().st_size > MAX_LOG_BYTES:
            self.path.replace(self.path.with_suffix(".1.jsonl"))
        self._file = self.path.open("ab", buffering=0)
        self._size = self.path.stat().st_size

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

"""A disk that forgets what was not synced, tears it, fails, and loses power between any two writes.

A file system for SQLite in Python over real files: it keeps beside each file what would be on the platter. A write is
remembered as pending until its file is synced; when the power goes, each pending write is there, not there, or torn at
a sector, as the seed says, in any order. Everything it does follows from its `random.Random`.
"""

from __future__ import annotations

import contextlib
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from tieline.store.mark import Mark, newest, packed

SECTOR = 512
PLACE = 512  # of a mark
CHECKPOINT_PAGES = 1_000  # SQLite's own: with so many in the log a commit is followed by a checkpoint


class PowerLossError(OSError):
    """From here on nothing reaches the disk."""


@dataclass
class Platter:
    """What is on it for certain, and what was written since the last sync: (offset, bytes), or (size, None): cut."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        for one in self.pending:
            _apply(self.durable, *one)
        self.pending.clear()

    def after_power_loss(self, draw: random.Random) -> tuple[bytes, int, int]:
        """What is left, and how many writes were lost and how many torn."""
        left = bytearray(self.durable)
        lost = torn = 0
        for offset, data in self.pending:
            fate = draw.random()
            if fate < 0.4:
                lost += 1
                continue
            if fate < 0.6 and data is not None:
                data = data[: SECTOR * draw.randrange(1 + len(data) // SECTOR)]
                torn += 1
            _apply(left, offset, data)
        return bytes(left), lost, torn


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        return
    content.extend(bytes(max(0, offset + len(data) - len(content))))
    content[offset : offset + len(data)] = data


class SimulatedDisk:
    """One machine's disk; see `tieline.store.database.Disk`. Not for two threads that write at the same time."""

    PREFIX = "simulated-"
    made = 0

    def __init__(self, folder: Path, draw: random.Random) -> None:
        SimulatedDisk.made += 1
        self.vfs: str | None = f"{SimulatedDisk.PREFIX}{SimulatedDisk.made}"
        self.folder, self.draw = folder, draw
        self.platters: dict[str, Platter] = {}
        self.marks: dict[str, Platter] = {}
        self.left: int | None = None  # writes and syncs until the power goes
        self.off = False
        self.full_share = self.error_share = self.lie_share = 0.0
        self.counts = dict.fromkeys(
            ("writes", "syncs", "files", "full", "errors", "lies", "losses", "torn", "lost", "kills"), 0
        )
        self._vfs = _Vfs(self)

    # --- what a database asks of a disk ---

    def prepare(self, path: Path) -> None:
        self.alive()
        path.parent.mkdir(parents=True, exist_ok=True)

    def mark(self, path: Path) -> SimulatedMark:
        return SimulatedMark(self, self.marks.setdefault(self.name_of(path), Platter()))

    def name_of(self, path: Path) -> str:
        """Where it lies on this disk."""
        return str(path.relative_to(self.folder))

    def write_file(self, path: Path, data: bytes) -> None:
        """Replaces a small file in one step, as `tieline.store.files.write_private` does. Raises OSError."""
        self.alive()
        temporary = path.with_name(path.name + ".new")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fail(path)
        self.step()
        temporary.write_bytes(data[: self.draw.randrange(len(data) + 1)] if self.off else data)
        self.step()  # the sync: until it is done the new name must not stand
        temporary.replace(path)
        self.counts["files"] += 1
        self.step()

    def _fail(self, path: Path) -> None:
        if self.full_share and self.draw.random() < self.full_share:
            self.counts["full"] += 1
            raise OSError(28, "No space left on device", str(path))
        if self.error_share and self.draw.random() < self.error_share:
            self.counts["errors"] += 1
            raise OSError(5, "Input/output error", str(path))

    # --- what happens to it ---

    def alive(self) -> None:
        if self.off:
            raise PowerLossError("the power is off")

    def step(self) -> None:
        """One write or sync is about to be carried out."""
        self.alive()
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.off = True
                raise PowerLossError("the power went")

    def restart(self) -> None:
        """A process was killed and begins anew: what it wrote is there, synced or not."""
        self.counts["kills"] += 1
        self.off, self.left = False, None
        for path in self.folder.rglob("*-shm"):
            path.unlink()

    def power_cycle(self) -> None:
        """What is left after the power went: the files as they are found at the next start."""
        self.counts["losses"] += 1
        self.off, self.left = False, None
        for name, platter in self.platters.items():
            content, lost, torn = platter.after_power_loss(self.draw)
            self.counts["lost"] += lost
            self.counts["torn"] += torn
            path = self.folder / name
            if path.exists():
                path.write_bytes(content)
            self.platters[name] = Platter(bytearray(content))
        for path in self.folder.rglob("*-shm"):
            path.unlink()
        for name, platter in self.marks.items():
            self.marks[name] = Platter(bytearray(platter.after_power_loss(self.draw)[0]))

    def close(self) -> None:
        self._vfs.unregister()


class SimulatedMark:
    """Written and never synced, as the real one."""

    def __init__(self, disk: SimulatedDisk, platter: Platter) -> None:
        self._disk, self._platter = disk, platter

    def read(self) -> Mark | None:
        now = bytearray(self._platter.durable)
        for one in self._platter.pending:
            _apply(now, *one)
        return newest(bytes(now))

    def write(self, mark: Mark) -> None:
        if not self._disk.off:
            self._platter.pending.append((mark.commits % 2 * PLACE, packed(mark)))

    def close(self) -> None:
        pass


class _Vfs(apsw.VFS):
    def __init__(self, disk: SimulatedDisk) -> None:
        assert disk.vfs is not None
        self.disk = disk
        super().__init__(disk.vfs, base="")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return _File(self.disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self.disk.alive()
        self.disk.platters.pop(self.disk.name_of(Path(filename)), None)
        super().xDelete(filename, syncdir)


class _File(apsw.VFSFile):
    def __init__(self, disk: SimulatedDisk, name: Any, flags: list[int]) -> None:
        disk.alive()
        self.disk = disk
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self.platter: Platter | None = None
        if path:
            file = Path(path)
            content = file.read_bytes() if file.exists() else b""
            self.platter = disk.platters.setdefault(disk.name_of(file), Platter(bytearray(content)))
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self.disk.step()
        disk, draw = self.disk, self.disk.draw
        if disk.full_share and draw.random() < disk.full_share:
            disk.counts["full"] += 1
            raise apsw.FullError("disk full")
        if disk.error_share and draw.random() < disk.error_share:
            disk.counts["errors"] += 1
            raise apsw.IOError("input/output error")
        disk.counts["writes"] += 1
        if self.platter is not None:
            self.platter.pending.append((offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        self.disk.step()
        if self.platter is not None:
            self.platter.pending.append((newsize, None))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        self.disk.step()
        disk = self.disk
        if disk.error_share and disk.draw.random() < disk.error_share:
            disk.counts["errors"] += 1
            raise apsw.IOError("input/output error")
        disk.counts["syncs"] += 1
        if disk.lie_share and disk.draw.random() < disk.lie_share:
            disk.counts["lies"] += 1
            return
        if self.platter is not None:
            self.platter.sync()


def _checkpoint(connection: apsw.Connection, schema: str, pages: int) -> int:
    """As SQLite does it by itself: after the commit, which stands whether the checkpoint succeeds or not."""
    if pages >= CHECKPOINT_PAGES:
        with contextlib.suppress(apsw.Error):  # not the power's end, after which nobody is told anything
            connection.wal_checkpoint(schema)
    return apsw.SQLITE_OK


def _opened(connection: apsw.Connection) -> None:
    """SQLite keeps the error of its own checkpoint from who commits, and so it is on a real disk. An error of a file
    system in Python apsw raises all the same: without this, who committed would be told of a failure that was none."""
    if connection.open_vfs.startswith(SimulatedDisk.PREFIX):
        connection.set_wal_hook(_checkpoint)


apsw.connection_hooks.append(_opened)

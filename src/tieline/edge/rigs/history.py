"""Raw samples of each rig, kept at the site: every poll for as long as the disk's bound allows, then one in five
minutes, thirty days at most.

Files of fixed rows, one an hour and rig group, named by their hour; a power cut costs at most the rows of the last
seconds. A rig is known by its MAC, so that one that moved keeps its history. What travels to the core are the group's
intervals, never these.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tieline.clock import micros

log = logging.getLogger("tieline.edge")

# 30 days; two gigabytes a site. 7,500 rigs write 1.4 GB a day at six polls a minute and 50 MB a day thinned.
KEEP, MOST_BYTES = timedelta(days=30), 2_000_000_000
THIN_S = 300
# Rows are written in one piece for each sweep.
ROW = np.dtype([("at", "<u4"), ("rig", "<u4"), ("watts", "<f4"), ("ths", "<f4"), ("chip_c", "<f4"), ("flags", "<u4")])
HEARD, ESTIMATED, ASLEEP, DISOBEYS = 1, 2, 4, 8

Rows = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True)
class RawRow:
    """One rig in one sweep. `key`: its MAC, its address where that is not known."""

    key: str
    watts: float
    ths: float | None
    chip_c: float | None
    flags: int


@dataclass(slots=True)
class RawHistory:
    """The raw samples of one rig group, in a folder of its own."""

    folder: Path
    most_bytes: int = MOST_BYTES
    _numbers: dict[str, int] = field(default_factory=dict)
    _hour: str = ""
    _tending: asyncio.Task[None] | None = None
    _failed: bool = False

    def __post_init__(self) -> None:
        self._numbers = {key: n for n, key in enumerate(read_keys(self.folder, repair=True))}

    def write(self, now: datetime, rows: Iterable[RawRow]) -> None:
        """Append one sweep. A disk that refuses loses these samples, and that is logged once."""
        try:
            self._write(now, list(rows))
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.error("%s: raw samples are not kept: %s", self.folder, error)
            self._failed = True

    def _write(self, now: datetime, rows: list[RawRow]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._number(row.key for row in rows)
        block = self._block(now, rows)
        hour = now.strftime("%Y%m%d%H")
        path = self.folder / f"{hour}.raw"
        with path.open("ab") as file:
            torn = file.tell() % ROW.itemsize
            if torn:  # the rest of a row that a power cut left
                file.truncate(file.tell() - torn)
            file.write(block.tobytes())
        if hour != self._hour:
            self._hour = hour
            if self._tending is None or self._tending.done():
                self._tending = asyncio.create_task(asyncio.to_thread(tend, self.folder, now, self.most_bytes))

    def _number(self, keys: Iterable[str]) -> None:
        """Give a number to each rig that has none, on disk before any row names it."""
        new = [key for key in dict.fromkeys(keys) if key not in self._numbers]
        if not new:
            return
        with (self.folder / "rigs").open("a", encoding="utf-8") as file:
            for key in new:
                file.write(f"{key}\n")
                self._numbers[key] = len(self._numbers)
            file.flush()
            os.fsync(file.fileno())

    def _block(self, now: datetime, rows: list[RawRow]) -> Rows:
        block = np.zeros(len(rows), dtype=ROW)
        block["at"] = micros(now) // 1_000_000
        block["rig"] = [self._numbers[row.key] for row in rows]
        block["watts"] = [row.watts for row in rows]
        block["ths"] = [np.nan if row.ths is None else row.ths for row in rows]
        block["chip_c"] = [np.nan if row.chip_c is None else row.chip_c for row in rows]
        block["flags"] = [row.flags for row in rows]
        return block

    async def close(self) -> None:
        if self._tending is not None:
            await asyncio.gather(self._tending, return_exceptions=True)


def tend(folder: Path, now: datetime, most_bytes: int = MOST_BYTES) -> None:
    """Keep the folder within its bounds: what is too old goes, then the oldest hours are thinned to a row in five
    minutes, and when all are thin the oldest go. The current hour is left alone."""
    current = now.strftime("%Y%m%d%H")
    oldest = (now - KEEP).strftime("%Y%m%d%H")
    files = sorted((p for p in folder.iterdir() if p.suffix in (".raw", ".thin")), key=lambda p: p.stem)
    for path in [path for path in files if path.stem < oldest]:
        path.unlink()
        files.remove(path)
    total = sum(path.stat().st_size for path in files)
    past = [path for path in files if path.stem < current]
    for n, path in enumerate(past):
        if total > most_bytes and path.suffix == ".raw":
            before = path.stat().st_size
            past[n] = _thin(path)
            total += past[n].stat().st_size - before
    for path in past:
        if total > most_bytes:
            total -= path.stat().st_size
            path.unlink()


def _thin(path: Path) -> Path:
    """One hour's file, thinned; a power cut leaves the one or the other."""
    thin, temporary = path.with_suffix(".thin"), path.with_suffix(".new")
    temporary.write_bytes(thinned(np.fromfile(path, dtype=ROW)).tobytes())
    temporary.replace(thin)
    path.unlink()
    return thin


def thinned(rows: Rows) -> Rows:
    """The first row of each rig in each five minutes."""
    slot = rows["at"].astype(np.uint64) // THIN_S * (1 << 32) + rows["rig"]
    _, first = np.unique(slot, return_index=True)
    return rows[np.sort(first)]


def read_keys(folder: Path, repair: bool = False) -> list[str]:
    """The rigs by number. A last line that a power cut left half is left out; the writer (`repair`) cuts it off."""
    path = folder / "rigs"
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    whole, _, torn = text.rpartition("\n")
    if torn and repair:
        path.write_text(f"{whole}\n" if whole else "", encoding="utf-8")
    return whole.split("\n") if whole else []


def read_rows(folder: Path, start: datetime, end: datetime) -> Rows:
    """The rows of [start, end), oldest first."""
    if not folder.exists():
        return np.zeros(0, dtype=ROW)
    first, last = start.strftime("%Y%m%d%H"), end.strftime("%Y%m%d%H")
    parts = [
        np.fromfile(path, dtype=ROW)
        for path in sorted(folder.iterdir(), key=lambda p: p.stem)
        if path.suffix in (".raw", ".thin") and first <= path.stem <= last
    ]
    rows = np.concatenate(parts) if parts else np.zeros(0, dtype=ROW)
    at = rows["at"]
    return rows[(at >= micros(start) // 1_000_000) & (at < micros(end) // 1_000_000)]


@dataclass(frozen=True, slots=True)
class RigFigures:
    """One rig over a span: means over the samples in which it was heard, None where there is none. `estimated`: it told
    no watts in some of them, and they are reckoned from its hashrate."""

    key: str
    samples: int
    heard_share: float
    watts: float | None
    ths: float | None
    chip_c_max: float | None
    disobeyed: int
    estimated: bool = False

    @property
    def j_th(self) -> float | None:
        return None if not self.ths or self.watts is None else self.watts / self.ths


def figures(folder: Path, start: datetime, end: datetime) -> list[RigFigures]:
    """Every rig that has a sample in [start, end)."""
    rows, keys = read_rows(folder, start, end), read_keys(folder)
    rows = rows[rows["rig"] < len(keys)]
    answered = (rows["flags"] & HEARD) > 0
    count = np.bincount(rows["rig"], minlength=len(keys))
    seen = np.bincount(rows["rig"][answered], minlength=len(keys))
    disobeyed = np.bincount(rows["rig"][(rows["flags"] & DISOBEYS) > 0], minlength=len(keys))
    estimated = np.bincount(rows["rig"][answered & ((rows["flags"] & ESTIMATED) > 0)], minlength=len(keys))
    watts = _mean(rows[answered], "watts", len(keys))
    ths = _mean(rows[answered], "ths", len(keys))
    chips = rows[answered & ~np.isnan(rows["chip_c"])]
    hottest = np.full(len(keys), -np.inf)
    np.maximum.at(hottest, chips["rig"], chips["chip_c"])
    return [
        RigFigures(
            key,
            int(count[n]),
            float(seen[n] / count[n]),
            _number(watts[n]),
            _number(ths[n]),
            float(hottest[n]) if np.isfinite(hottest[n]) else None,
            int(disobeyed[n]),
            bool(estimated[n]),
        )
        for n, key in enumerate(keys)
        if count[n]
    ]


def _mean(rows: Rows, name: str, rigs: int) -> npt.NDArray[np.float64]:
    present = rows[~np.isnan(rows[name])]
    sums = np.bincount(present["rig"], weights=present[name].astype(float), minlength=rigs)
    counts = np.bincount(present["rig"], minlength=rigs)
    means: npt.NDArray[np.float64] = np.divide(sums, counts, out=np.full(rigs, np.nan), where=counts > 0)
    return means


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)

"""Records on their way from a site to the store, over a disk that fails, until they are there once: from one seed.

    .venv/bin/python -m tests.store.simulate --seed 7            # this seed alone; prints what it did
    .venv/bin/python -m tests.store.simulate --seed 0 --runs 500 # seeds 0 to 499

One run is one machine: an outbox, a spool, a store and a file of batches on one simulated disk. Steps are drawn: keep,
push, acknowledge, upload, land results, back up nothing, close. The power goes between any two writes, writes are torn
or lost where they were not synced, the disk is full or answers with an error. After each start is checked: what was
acknowledged is there, once, unaltered; the digest holds; no loss is named that was none. With `lies` the disk forgets
what it said was synced: then what is missing must be named.
"""

from __future__ import annotations

import argparse
import logging
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.store.kinds import T0, tick
from tests.store.simdisk import SimulatedDisk

from tieline import records
from tieline.records import PriceTick
from tieline.store import BatchStore, Outbox, Spool, Store, StoreError
from tieline.store.batches import Result, StoredBatch, StoredFile
from tieline.store.mark import Mark
from tieline.store.spool import Group

STEPS, STARTS = 60, 6
FAR = 9_999_999_999


class ViolationError(AssertionError):
    """A promise was broken; the seed says how to see it again."""


class Machine:
    """The four databases, and what each has acknowledged."""

    def __init__(self, folder: Path, draw: random.Random) -> None:
        self.draw, self.folder = draw, folder
        self.disk = SimulatedDisk(folder, draw)
        self.kept: set[int] = set()  # acknowledged by the outbox
        self.spooled: set[int] = set()  # by the spool
        self.stored: set[int] = set()  # by the store
        self.files: set[str] = set()
        self.landed: set[int] = set()  # lines of the batch whose result was acknowledged
        self.begun = False
        self.next = 0
        self.done: Counter[str] = Counter()
        self.lying = False
        self.named = 0  # losses of the store that were said at this start
        self.found_mark: Mark | None = None  # the store's, as the power loss left it

    def start(self) -> None:
        """Opens all of it and checks what it finds. Raises StoreError where the power goes meanwhile."""
        disk = self.disk
        self.store = Store(self.folder / "store.db", records.encode, records.decode, disk=disk)
        self.outbox = Outbox(self.folder / "outbox.db", keep=40, disk=disk)
        self.spool = Spool(self.folder / "usage.db", linger_s=0.0, keep_sent=40, disk=disk)
        self.spool.render, self.spool.landed = _render, self._landed
        self.batches = BatchStore(self.folder / "batches.db", disk=disk)

    def stop(self) -> None:
        for name in ("store", "outbox", "spool", "batches"):
            box = getattr(self, name, None)
            if box is not None:
                box.close()
                setattr(self, name, None)

    def _landed(self, things: list[Any], error: StoreError | None) -> None:
        if error is None:
            self.spooled.update(things)

    # --- steps -----------------------------------------------------------------------

    def step(self) -> None:
        name = self.draw.choices(
            ["keep", "spool", "push", "push_usage", "upload", "begin", "land", "reopen"], [8, 8, 8, 8, 3, 2, 4, 1]
        )[0]
        self.done[name] += 1
        getattr(self, f"_{name}")()

    def _numbers(self) -> range:
        count = self.draw.choice([1, 1, 1, 2, 5, 30])
        self.next += count
        return range(self.next - count, self.next)

    def _keep(self) -> None:
        numbers = self._numbers()
        self.outbox.put((f"k{n}", records.encode(tick(n))) for n in numbers)
        self.kept.update(numbers)

    def _spool(self) -> None:
        numbers = self._numbers()
        self.spool._things.extend(numbers)  # as one group, however fast its thread is
        self.spool.totals()  # waits for the commit, whichever way it ends

    def _push(self) -> None:
        self._carry(self.outbox.take(self.draw.choice([1, 7, 256])), self.outbox.done, self.outbox.heard)

    def _push_usage(self) -> None:
        self._carry(self.spool.take(self.draw.choice([1, 7, 256])), self.spool.forget, self.spool.heard)

    def _carry(self, rows: list[tuple[int, str, bytes]], done: Any, heard: Any) -> None:
        found = [records.decode(body) for _, _, body in rows]
        self.store.append(found)
        self.stored.update(int(one.price_usd_per_mwh) for one in found if isinstance(one, PriceTick))
        heard(self.store.state)
        done([id_ for id_, _, _ in rows])

    def _upload(self) -> None:
        id_ = f"file-{self.next}"
        self.next += 1
        self.batches.add_file(StoredFile(id_, "a", "in", "batch", 5_000, 0, FAR), id_.encode() * 600)
        self.files.add(id_)

    def _begin(self) -> None:
        if not self.batches.batch("batch-1", "a"):
            batch = StoredBatch("batch-1", "a", "k", "/v1", "file-0", "validating", 0, FAR, 0, 0, 0, b"{}")
            self.batches.add_batch(batch)
        if self.batches.begin("batch-1", [(f"l{n}", b"{}") for n in range(40)], b"{}"):
            self.begun = True

    def _land(self) -> None:
        lines = self.batches.waiting("batch-1", -1, 3)
        self.batches.land([Result("batch-1", line.number, True, b"r%d" % line.number * 300) for line in lines])
        self.landed.update(line.number for line in lines)

    def _reopen(self) -> None:
        self.stop()
        self.start()

    def _named(self, here: set[int]) -> None:
        """On a disk that lies records may be gone; where the mark outlived them, that was said."""
        missing, told = self.stored - here, self.named
        self.stored, self.named = self.stored & here, 0
        if missing and not told:
            mark, tail = self.found_mark, self.store._db.tail()
            if mark is not None and mark.commits > tail.commits:
                raise ViolationError(f"{len(missing)} records gone, and nothing said")
            self.done["loss unnamed, the mark was gone too"] += 1

    # --- what must hold ------------------------------------------------------------------

    def check(self) -> None:
        """After a start. Raises ViolationError."""
        self.store.verify()
        found = [int(one.price_usd_per_mwh) for one in self.store.between(PriceTick, T0, T0.replace(year=2990))]
        here = set(found)
        if len(found) != len(here):
            raise ViolationError("a record is there twice")
        waiting = {int(key[1:]) for _, key, _ in self.outbox.take(10_000)}
        usage = {int(key[1:]) for _, key, _ in self.spool.take(10_000)}
        for box in (self.store, self.outbox, self.spool, self.batches):
            for loss in box.untold():
                if not self.lying:
                    raise ViolationError(f"{type(box).__name__} names a loss that is none: {loss}")
                self.done["loss named"] += 1
                self.named += box is self.store
                box.told(loss)
        if self.lying:
            self._named(here)
            return
        _all(self.stored, here, "the store")
        _all(self.kept, here | waiting, "outbox and store")
        _all(self.spooled, here | usage, "spool and store")
        counted = self.spool.totals().get("t", 0)
        rows: Any = self.spool._ask(lambda db: db.rows("SELECT coalesce(max(id), 0) FROM item"))  # ever, without a gap
        if not len(self.spooled) <= counted == rows[0][0]:
            raise ViolationError(f"{rows[0][0]} rows, a total of {counted}, {len(self.spooled)} acknowledged")
        files = {one.id for one in self.batches.files("a", "batch", "", 10_000, oldest_first=True)}
        _all(self.files, files, "batches")
        for id_ in self.files:
            if self.batches.content(id_) != id_.encode() * 600:
                raise ViolationError(f"{id_} is not what was uploaded")
        batch = self.batches.batch("batch-1", "a")
        if self.begun:
            open_ = {line.number for line in self.batches.waiting("batch-1", -1, 100)}
            if batch is None or batch.status != "in_progress" or open_ & self.landed:
                raise ViolationError("a batch forgot what was acknowledged of it")
            if batch.completed != 40 - len(open_):
                raise ViolationError(f"{batch.completed} lines counted, {40 - len(open_)} have a result")


def _render(things: list[Any], group: Group) -> None:
    for number in things:
        group.values.extend((f"k{number}", records.encode(tick(number))))
        group.shares.append((("t",), 1))


def _all(wanted: set[Any], there: set[Any], where: str) -> None:
    missing = sorted(wanted - there)
    if missing:
        raise ViolationError(f"acknowledged and not in {where}: {missing[:10]}")


def run(seed: int, folder: Path, *, lying: bool = False) -> Counter[str]:
    """One machine's life from one seed. Raises ViolationError."""
    draw = random.Random(seed)
    machine = Machine(folder, draw)
    machine.lying = lying
    disk = machine.disk
    try:
        for _ in range(STARTS):
            disk.full_share = draw.choice([0.0, 0.0, 0.02])
            disk.error_share = draw.choice([0.0, 0.0, 0.02])
            disk.lie_share = draw.choice([0.0, 0.3, 1.0]) if lying else 0.0
            disk.left = draw.choice([None, *(draw.randrange(1, 400) for _ in range(5))])
            _live(machine)
            machine.stop()
            disk.power_cycle()
            disk.full_share = disk.error_share = disk.lie_share = 0.0
            machine.found_mark = disk.mark(folder / "store.db").read()
            try:
                machine.start()
                machine.check()
            except StoreError as error:
                if not lying:
                    raise ViolationError(f"does not open after a power loss: {error}") from error
                machine.done["refused as damaged"] += 1
                return machine.done + Counter(disk.counts)
            machine.stop()
        machine.start()
        _empty(machine)
        machine.stop()
    finally:
        disk.off = True
        machine.stop()
        disk.close()
    return machine.done + Counter(disk.counts)


def _live(machine: Machine) -> None:
    """Steps until the power goes, or until they are enough."""
    try:
        machine.start()
    except StoreError:
        machine.done["failed start"] += 1
        return
    for _ in range(STEPS):
        try:
            machine.step()
        except StoreError:
            machine.done["refused"] += 1
            if machine.disk.off:
                return


def _empty(machine: Machine) -> None:
    """On a good disk everything arrives, once."""
    while machine.outbox.take(1) or machine.spool.take(1):
        machine._push()
        machine._push_usage()
    machine.check()
    if not machine.lying:
        found = [int(one.price_usd_per_mwh) for one in machine.store.between(PriceTick, T0, T0.replace(year=2990))]
        _all(machine.kept | machine.spooled, set(found), "the store, at the end")


def many(seeds: range, *, lying: bool = False) -> Counter[str]:
    """Runs of many seeds, each in a folder of its own. Raises ViolationError, which names the seed."""
    total: Counter[str] = Counter()
    memory = Path("/dev/shm")
    for seed in seeds:
        folder = Path(tempfile.mkdtemp(prefix="tieline-sim-", dir=memory if memory.is_dir() else None))
        try:
            total += run(seed, folder, lying=lying)
        except Exception as error:
            raise ViolationError(f"seed {seed}{' (lies)' if lying else ''}: {error}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return total


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--seed", type=int, default=0)
    given.add_argument("--runs", type=int, default=1)
    given.add_argument("--lies", action="store_true", help="the disk forgets what it said was synced")
    asked = given.parse_args()
    logging.disable()
    began = time.process_time()
    try:
        total = many(range(asked.seed, asked.seed + asked.runs), lying=asked.lies)
    except ViolationError as error:
        print(f"VIOLATION, {error}")
        return 1
    print(f"{asked.runs} seeds from {asked.seed}, {time.process_time() - began:.1f} s of processor, 0 violations")
    print(", ".join(f"{name} {count:,}" for name, count in sorted(total.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())

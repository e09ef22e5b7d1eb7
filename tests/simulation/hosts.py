"""What every machine of the simulation has: a disk, a clock, programs that begin, die and begin again."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any

import apsw
from tests.simulation.machinery import Loop, Program, SimulatedClock
from tests.simulation.network import Network
from tests.simulation.writes import TimedDisk, name_of
from tests.store.simulate import ViolationError

from tieline.store import Outbox, Spool, StoreError, ledger, outbox, quarantine, spool, sqlite
from tieline.store.database import Database
from tieline.store.spool import AGAIN_S, LINGER_S, _Job

if TYPE_CHECKING:
    from tests.simulation.world import World


# What every database is made with, beside the tables of its kind.
FIRST_WRITES = ("CREATE TABLE tail", "INSERT tail", "PRAGMA application_id", "PRAGMA user_version", "COMMIT")
KINDS = {module.KIND.name: module.KIND for module in (sqlite, outbox, quarantine, spool, ledger)}
SIDES = ("before", "after")
# So many first lives of a program end in the making of its files.
MAKING_TRIES = 4


def making_of(kind: str) -> list[str]:
    """The writes that make a file of this kind."""
    forms = [name for step in KINDS[kind].steps if (name := name_of(kind, step)) is not None]
    return [*(f"{kind}: {write}" for write in FIRST_WRITES), *forms]


class Host(abc.ABC):
    """One program on a disk of its own. `run` is its life; what it raises as StoreError is a start that failed."""

    pause_s = (1.0, 60.0)  # between its end and its next beginning, mostly
    long_pause_s = 1_800.0
    keeps: tuple[str, ...] = ()  # the kinds of its databases
    writes_most = 1_500  # a crash by count comes within this many writes

    def __init__(self, world: World, machine: str, name: str, clock: SimulatedClock) -> None:
        self.world, self.machine, self.name, self.clock = world, machine, name, clock
        self.draw = random.Random(f"{world.seed} {name}")
        self.folder = world.folder / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.disk = TimedDisk(self.folder, random.Random(f"{world.seed} disk {name}"), world.crashes, set())
        self.disk.on_crash = self._crashed
        self.program: Program | None = None
        self.silently = True
        self.stopping = False
        self.starts = 0

    @property
    def loop(self) -> Loop:
        return self.world.loop

    @property
    def net(self) -> Network:
        return self.world.net

    @property
    def up(self) -> bool:
        return self.program is not None and self.program.alive

    @abc.abstractmethod
    async def run(self, program: Program) -> None: ...

    def close(self) -> None:
        """What it had open, after its end; a program that keeps nothing open has nothing to do."""
        return

    def _crashed(self) -> None:
        if self.program is not None:
            self.program.kill(silently=self.silently)

    def kill(self, *, power: bool) -> None:
        """The power goes, or only this program is killed."""
        self.silently = power
        if self.up:
            self.disk.crash()

    async def live(self) -> None:
        """For ever, or until it is told to stop: begins, dies, begins again."""
        while not self.stopping:
            await self.once()
            if not self.stopping:
                long = self.draw.random() < 0.1 and not self.net.healed
                least, most = self.pause_s
                await asyncio.sleep(self.draw.uniform(least, self.long_pause_s if long else most))

    async def once(self) -> None:
        """One life."""
        world = self.world
        program = self.program = Program(world.loop, self.machine, self.name)
        self.starts += 1
        died: asyncio.Future[None] = world.loop.create_future()
        program.on_death.append(lambda: None if died.done() else died.set_result(None))
        world.programs[program] = None
        self._arm()
        main = program.spawn(self._main(program))
        await died
        await asyncio.wait({main})
        world.programs.pop(program, None)
        if program.failed is not None:
            raise program.failed
        if not main.cancelled() and main.exception() is not None:
            raise ViolationError(f"{self.name} ended: {main.exception()!r}") from main.exception()
        with contextlib.suppress(StoreError):
            self.close()
        for left in apsw.connections():
            if left.filename.startswith(f"{self.folder}/"):
                raise ViolationError(f"{self.name} has ended and left {left.filename} open")
        if self.stopping and not self.disk.off:
            return
        if self.silently:
            world.seen[f"power loss of {self.kind}"] += 1
            self.disk.power_cycle()
        else:
            world.seen[f"kill of {self.kind}"] += 1
            self.disk.restart()

    @property
    def kind(self) -> str:
        """What it is counted as: a site is a site, whichever."""
        return self.name.rstrip("0123456789-")

    async def _main(self, program: Program) -> None:
        try:
            await self.run(program)
        except (StoreError, OSError) as error:
            if program.alive:
                self.world.seen["a start that failed"] += 1
                if self.net.healed:
                    raise ViolationError(f"{self.name} does not start on a good disk: {error}") from error
                self.disk.crash()
        else:
            program.kill()

    def _arm(self) -> None:
        """How this life may end by itself."""
        disk, draw = self.disk, self.draw
        disk.left, disk.aim, disk.error_share, disk.full_share = None, None, 0.0, 0.0
        self.silently = draw.random() < 0.6
        if self.net.healed:
            return
        fate = draw.random()
        making = self._making()
        if making is not None:
            disk.aim = (*making, 0)
        elif fate < 0.3:
            disk.left = draw.randrange(1, self.writes_most)
        elif fate < 0.8 and disk.known:
            seen = [(name, side) for name in sorted(disk.known) for side in SIDES]
            least = min(disk.crashes[one] for one in seen)
            seldom = [one for one in seen if disk.crashes[one] <= least + 1]
            name, side = draw.choice(seldom if draw.random() < 0.4 else seen)
            disk.aim = (name, side, draw.choice([0, 0, 1, 3]))
        trouble = draw.random()
        if trouble < 0.12:
            disk.error_share = 0.02
        elif trouble < 0.24:
            disk.full_share = 0.02

    def _making(self) -> tuple[str, str] | None:
        """The next of the writes that make its files to crash at: each file is made once, so a seed takes a few of them
        and the next seed those after. A file that is made only when there is something to keep is waited for, in most
        of the lives."""
        lazily = self.starts > MAKING_TRIES
        if lazily and ("quarantine: INSERT item" in self.disk.known or self.draw.random() < 0.2):
            return None
        kept = [kind for kind in self.keeps if (kind == "quarantine") == lazily]
        pairs = [(write, side) for kind in kept for write in making_of(kind) for side in SIDES]
        return pairs[(self.world.seed * MAKING_TRIES + self.starts) % len(pairs)] if pairs else None

    def heal(self) -> None:
        disk = self.disk
        disk.left, disk.aim, disk.error_share, disk.full_share = None, None, 0.0, 0.0

    def whole(self, **boxes: Any) -> None:
        """A loss is named only where there was one, and on these disks there is none. Raises ViolationError."""
        for name, box in boxes.items():
            for loss in box.untold():
                raise ViolationError(f"{name} of {self.name} names a loss that is none: {loss}")


class Kept:
    """Everything that was acknowledged, by its key and the digest of its bytes."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], bytes] = {}  # where, key -> body

    def add(self, where: str, rows: Iterable[tuple[str, bytes]]) -> None:
        for key, body in rows:
            self.rows.setdefault((where, key), body)


class WatchedOutbox(Outbox):
    """Says what it has acknowledged."""

    watch: Callable[[list[tuple[str, bytes]]], None] = staticmethod(lambda rows: None)

    def put(self, items: Iterable[tuple[str, bytes]], thin: Any = ()) -> int:
        rows = list(items)
        taken = super().put(rows, thin)
        self.watch(rows)
        return taken


class _NoBell:
    """Nobody waits at it: turns are taken when the loop's time has come."""

    def put(self, _: None) -> None:
        pass

    def get(self, timeout: float | None = None) -> None:
        raise Empty


class TurnedSpool(Spool):
    """A spool whose thread's work is done in turns, on the loop's time."""

    def _begin(self) -> None:
        self._bell = _NoBell()  # type: ignore[assignment]
        self._loop = asyncio.get_running_loop()
        self._db: Database | None = None
        self._due = False
        try:
            self._db = self._open()
        except StoreError as error:
            self._failed = error
        self._asleep = True

    def _ring(self) -> None:
        if not self._due and not self._closing:
            self._due = True
            self._loop.call_later(AGAIN_S if self._failing is not None else LINGER_S, self._wake)

    def _wake(self) -> None:
        self._due = False
        if self._closing or self._db is None:
            return
        self._asleep = False
        self._turn(self._db)
        self._asleep = True
        if self._busy():
            self._ring()

    def _ask(self, run: Any) -> Any:
        if self._closing or self._db is None:
            raise StoreError(f"the outbox {self.path} is closed")
        job = _Job(run, threading_event())
        self._jobs.append(job)
        self._turn(self._db)
        if job.error is not None:
            raise job.error
        return job.result

    def close(self) -> None:
        if self._closing or self._db is None:
            return
        self._turn(self._db)
        self._closing = True
        self._db.close()

    def cut(self) -> None:
        """Its program was killed: nothing more is written."""
        self._closing = True
        if self._db is not None:
            self._db.close()


def threading_event() -> Any:
    import threading

    return threading.Event()


def digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


def count(counter: Counter[str], more: dict[str, int]) -> None:
    for name, number in more.items():
        counter[f"disk: {name}"] += number


__all__ = ["Host", "Kept", "Path", "TurnedSpool", "WatchedOutbox", "count", "digest"]

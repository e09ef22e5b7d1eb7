"""Sites, the link and the core's intake on simulated time, from one seed, with everything going wrong at once.

    .venv/bin/python -m tests.store.simulate_fleet --seed 7
    .venv/bin/python -m tests.store.simulate_fleet --seed 0 --runs 50 --hours 24

The product's own code runs on an event loop whose time is simulated: outboxes, `push_always`, the core's `ingest`, its
gate, its quarantine and its store. Each machine has a simulated disk that loses power between any two writes. Messages
are lost, late, twice and out of order, answers are lost, sites are cut off for hours; their clocks step and drift; some
of what they hold is hostile. At the end everything is mended, and all that an outbox has acknowledged must be in the
store, once, or set aside by name.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import random
import re
import selectors
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.store.simdisk import SimulatedDisk
from tests.store.simulate import ViolationError

from tieline import config as configuration
from tieline import records
from tieline.app.aside import SetAsides
from tieline.app.core_part import Core
from tieline.edge.push import OutboxQueue
from tieline.link import LinkDownError, LocalLink, push_always
from tieline.records import Sample
from tieline.store import Outbox, Store, StoreError
from tieline.store.quarantine import NAME, Quarantine

T0 = datetime(2026, 11, 1, tzinfo=UTC)
SITES = 3
INTERVAL_S = 300.0
HEAL_S = 2 * 86_400.0

HOSTILE: tuple[Callable[[str], bytes], ...] = (
    lambda u: b'{"type":"Sample","unit_id":"%s","at":"2026-11-01T00:00:00"}' % u.encode(),
    lambda u: b'{"type":"Sample","unit_id":"%s","x":' % u.encode() + b"[" * 50_000,
    lambda u: b'{"type":"Novelty","unit_id":"%s"}' % u.encode(),
    lambda u: b'{"unit_id":"%s"},{"type":' % u.encode(),
    lambda u: b'"%s' % u.encode(),
)  # fmt: skip


class Loop(asyncio.SelectorEventLoop):
    """Time passes only when everybody waits."""

    def __init__(self) -> None:
        self.moment = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.moment


class _Selector(selectors.SelectSelector):
    def __init__(self, loop: Loop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if not found:
            if timeout is None:
                raise ViolationError("everybody waits, and nothing will ever happen")
            self._loop.moment += max(timeout, 0.0)
        return found


class SimulatedClock:
    """A machine's clock: it steps and drifts."""

    speed = 1.0

    def __init__(self, loop: Loop) -> None:
        self._loop, self.offset_s, self.drift = loop, 0.0, 0.0

    def now(self) -> datetime:
        return T0 + timedelta(seconds=self._loop.moment * (1 + self.drift) + self.offset_s)

    def monotonic(self) -> float:
        return self._loop.moment

    async def sleep_until(self, moment: datetime) -> None:
        while (left := (moment - self.now()).total_seconds()) > 0:
            await asyncio.sleep(min(left, 60.0))


class BadLink(LocalLink):
    """One site's way to the core."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.cut_until = 0.0

    async def request(self, subject: str, data: bytes, timeout_s: float = 10.0) -> bytes:
        world, draw = self.world, self.world.draw
        if world.healed:
            return await world.answer(subject, data)
        delay = draw.expovariate(1 / 0.3) if draw.random() < 0.9 else draw.uniform(0, 3 * timeout_s)
        fate = draw.random()
        if world.loop.moment < self.cut_until or fate < 0.05:
            world.seen["lost"] += 1
            await asyncio.sleep(timeout_s)
            raise LinkDownError("no answer")
        if delay > timeout_s:  # its sender has given up when it arrives
            world.seen["late"] += 1
            world.spawn(self._later(delay, subject, data))
            await asyncio.sleep(timeout_s)
            raise LinkDownError("no answer")
        await asyncio.sleep(delay)
        reply = await world.answer(subject, data)
        if fate < 0.10:
            world.seen["twice"] += 1
            world.spawn(self._later(draw.uniform(0, 600), subject, data))
        if fate > 0.95:
            world.seen["answer lost"] += 1
            await asyncio.sleep(timeout_s)
            raise LinkDownError("no answer")
        return reply

    async def _later(self, delay: float, subject: str, data: bytes) -> None:
        await asyncio.sleep(delay)
        with contextlib.suppress(LinkDownError):
            await self.world.answer(subject, data)


class World:
    """The core and its sites."""

    def __init__(self, seed: int, folder: Path, loop: Loop, hours: float) -> None:
        self.draw, self.folder, self.loop, self.hours = random.Random(seed), folder, loop, hours
        self.seen: Counter[str] = Counter()
        self.healed = False
        self.kept: dict[str, str] = {}  # unit of a record that an outbox acknowledged -> its site
        self.next = 0
        self.config = configuration.demo()
        self.disk = SimulatedDisk(folder / "core", self.draw)
        self.core: Core | None = None
        self._others: set[asyncio.Task[None]] = set()

    def spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    # --- the core ---------------------------------------------------------------------

    def start_core(self) -> None:
        """Raises StoreError."""
        store = Store(self.folder / "core" / "store.db", records.encode, records.decode, disk=self.disk)
        if store.untold():
            raise ViolationError(f"the store names a loss that is none: {store.untold()[0]}")
        aside = SetAsides(Quarantine(self.folder / "core-aside" / NAME), store)
        self.core = Core(self.config, SimulatedClock(self.loop), store, LocalLink(), [], "", set_aside=aside)

    async def answer(self, subject: str, data: bytes) -> bytes:
        """What the core answers. Raises LinkDownError where it is down, or goes down over it."""
        core = self.core
        if core is None:
            raise LinkDownError("nobody is there")
        reply = await core.ingest(subject, data)
        if self.disk.off:
            raise LinkDownError("it died over this")
        return reply

    async def run_core(self) -> None:
        """Up, until its disk loses power; then down for a while."""
        while True:
            try:
                self.start_core()
            except StoreError:
                self.seen["core failed to start"] += 1
            if not self.healed and not self.disk.off:
                self.disk.left = self.draw.choice([None, *(self.draw.randrange(1, 2_000) for _ in range(4))])
                self.disk.error_share = self.disk.full_share = self.draw.choice([0.0, 0.0, 0.01])
            while not self.disk.off and self.core is not None:
                await asyncio.sleep(1.0)
            self.stop_core()
            self.disk.power_cycle()
            self.seen["power loss of the core"] += 1
            await asyncio.sleep(self.draw.uniform(1, 900))

    def stop_core(self) -> None:
        if self.core is not None:
            self.core.store.close()
            assert self.core.set_aside.quarantine is not None
            self.core.set_aside.quarantine.close()
            self.core = None

    # --- everything -----------------------------------------------------------------------

    async def run(self) -> None:
        sites = [Site(self, f"site-{n}") for n in range(SITES)]
        core = asyncio.ensure_future(self.run_core())
        lives = [asyncio.ensure_future(site.run()) for site in sites]
        while self.loop.moment < self.hours * 3_600:
            await asyncio.sleep(self.draw.uniform(60, 1_200))
            self._mishap(self.draw.choice(sites))
            for task in [core, *lives]:
                if task.done():
                    task.result()
        self.healed = True
        for disk in (self.disk, *(site.disk for site in sites)):
            disk.left, disk.error_share, disk.full_share = None, 0.0, 0.0
        began = self.loop.moment
        while any(site.waiting() for site in sites) or self._others or self.core is None:
            await asyncio.sleep(30.0)
            if self.loop.moment - began > HEAL_S:
                raise ViolationError(f"still waiting after two days in which nothing went wrong: {self.seen}")
        for task in (core, *lives):
            task.cancel()
        await asyncio.gather(core, *lives, return_exceptions=True)
        self.check(sites)
        for site in sites:
            site.stop()
        self.stop_core()

    def _mishap(self, site: Site) -> None:
        match self.draw.choice(["cut", "clock", "clock right", "hostile", "nothing"]):
            case "cut":
                site.link.cut_until = self.loop.moment + self.draw.expovariate(1 / 1_800)
                self.seen["cut off"] += 1
            case "clock":
                site.clock.offset_s = self.draw.choice([-86_400.0, -30.0, 20.0, 200.0, 3_600.0, 3.15e8])
                site.clock.drift = self.draw.uniform(-1e-4, 1e-4)
                self.seen["clock stepped"] += 1
            case "clock right":
                site.clock.offset_s = site.clock.drift = 0.0
            case "hostile":
                site.hostile = True
            case _:
                pass

    def check(self, sites: list[Site]) -> None:
        """Raises ViolationError."""
        assert self.core is not None
        self.core.store.verify()
        found = Counter(
            one.unit_id for one in self.core.store.each(Sample, T0 - timedelta(days=9), T0.replace(year=2990))
        )
        twice = [unit for unit, count in found.items() if count > 1]
        if twice:
            raise ViolationError(f"stored twice: {twice[:5]}")
        aside: set[str] = set()
        for path in self.folder.rglob(NAME):
            quarantine = Quarantine(path)
            for held in list(quarantine.each()):
                found_there = quarantine.get(held.id)
                assert found_there is not None
                aside |= set(re.findall(r'"(u\d+)', found_there[1].decode("utf-8", "replace")))
            quarantine.close()
        missing = sorted(self.kept.keys() - found.keys() - aside)
        if missing:
            raise ViolationError(f"acknowledged, and neither stored nor set aside: {missing[:5]} of {len(missing)}")
        self.seen["records stored"] += len(found)
        self.seen["set aside"] += len(aside - found.keys())


class Site:
    """An outbox, what fills it, and what empties it."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.disk = SimulatedDisk(world.folder / name, world.draw)
        self.clock = SimulatedClock(world.loop)
        self.link = BadLink(world)
        self.outbox: Outbox | None = None
        self.queue: OutboxQueue | None = None
        self.hostile = False

    async def run(self) -> None:
        while True:
            pusher: asyncio.Task[None] | None = None
            try:
                self.outbox = Outbox(self.world.folder / self.name / "outbox.db", disk=self.disk)
                if self.outbox.untold():
                    raise ViolationError(f"{self.name} names a loss that is none")
                self.queue = OutboxQueue(self.name, self.outbox)
                if not self.world.healed:
                    self.disk.left = self.world.draw.choice(
                        [None, *(self.world.draw.randrange(1, 600) for _ in range(4))]
                    )
                pusher = asyncio.ensure_future(self._push())
                await self._live()
            except StoreError:
                pass
            finally:
                if pusher is not None:
                    pusher.cancel()
                    await asyncio.gather(pusher, return_exceptions=True)
                self.stop()
            if self.disk.off:
                self.disk.power_cycle()
                self.world.seen["power loss of a site"] += 1
            await asyncio.sleep(self.world.draw.uniform(1, 600))

    async def _live(self) -> None:
        while not self.disk.off:
            if not self.world.healed:
                self._keep()
            await asyncio.sleep(INTERVAL_S if not self.world.healed else 5.0)

    def _keep(self) -> None:
        world = self.world
        assert self.outbox is not None
        units = [f"u{world.next + n}" for n in range(world.draw.randrange(1, 8))]
        world.next += len(units)
        now = self.clock.now()
        rows = []
        for unit in units:
            sample = Sample(
                at=now, known_at=now, source=self.name, kind="measured", site_id=self.name, unit_id=unit, length_s=300,
                readings=1, power_w=1.0,
            )  # fmt: skip
            rows.append((unit, records.encode(sample)))
        if self.hostile:
            self.hostile = False
            unit = f"u{world.next}"
            world.next += 1
            rows.insert(0, (unit, world.draw.choice(HOSTILE)(unit)))
            units.append(unit)
            world.seen["hostile"] += 1
        try:
            self.outbox.put(rows)
        except StoreError:
            world.seen["put refused"] += 1
            return
        world.kept.update((unit, self.name) for unit in units)

    async def _push(self) -> None:
        """As the product's registry does: what ends by an error is begun again."""
        assert self.queue is not None
        pause: Callable[[float], Awaitable[None]] = self._pause
        while not self.disk.off:
            with contextlib.suppress(StoreError):
                await push_always(self.link, self.name, self.queue, pause)
            await asyncio.sleep(1.0)

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 10.0))  # looking every half second would cost most of the run

    def waiting(self) -> int:
        return 1 if self.outbox is None else len(self.outbox)

    def stop(self) -> None:
        if self.queue is not None:
            self.queue.quarantine.close()
            self.queue = None
        if self.outbox is not None:
            self.outbox.close()
            self.outbox = None


def run(seed: int, folder: Path, hours: float) -> Counter[str]:
    """One fleet's life from one seed. Raises ViolationError."""
    loop = Loop()
    world = World(seed, folder, loop, hours)
    try:
        loop.run_until_complete(world.run())
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    world.seen["site seconds"] = round(SITES * loop.moment)
    return world.seen


def many(seeds: range, hours: float = 24.0) -> Counter[str]:
    """Runs of many seeds. Raises ViolationError, which names the seed."""
    total: Counter[str] = Counter()
    memory = Path("/dev/shm")
    for seed in seeds:
        folder = Path(tempfile.mkdtemp(prefix="tieline-fleet-", dir=memory if memory.is_dir() else None))
        try:
            total += run(seed, folder, hours)
        except Exception as error:
            raise ViolationError(f"seed {seed}: {type(error).__name__}: {error}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return total


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--seed", type=int, default=0)
    given.add_argument("--runs", type=int, default=1)
    given.add_argument("--hours", type=float, default=24.0)
    asked = given.parse_args()
    logging.disable()
    began = time.process_time()
    try:
        total = many(range(asked.seed, asked.seed + asked.runs), asked.hours)
    except ViolationError as error:
        print(f"VIOLATION, {error}")
        return 1
    used, days = time.process_time() - began, total.pop("site seconds") / 86_400
    cost = f"{days:.1f} site-days, {used / days:.2f} s of processor for each"
    print(f"{asked.runs} seeds from {asked.seed}, {cost}, 0 violations")
    print(", ".join(f"{name} {count:,}" for name, count in sorted(total.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())

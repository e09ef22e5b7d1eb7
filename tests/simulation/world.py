"""The whole platform in one process, on simulated time, from one seed, with everything going wrong at once.

    .venv/bin/python -m tests.simulation --seed 7
    .venv/bin/python -m tests.simulation --seed 0 --runs 200 --days 6.1

The product's own code: the core with its feeds, gate, quarantine, dispatch, settlement and store; three sites' agents
with outboxes and orders; the gateway's processes with their coordinator, one more gateway on another machine; the books
folded from the store. What is simulated are time, sockets, the link, disks, clocks, units, meters, engines and people.
At the end everything is mended, and all that was promised must be so.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import secrets
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from unittest import mock

from tests.simulation import writes
from tests.simulation.center import CoreHost, Office
from tests.simulation.hosts import Host, Kept, count, digest
from tests.simulation.machinery import T0, Loop, Program
from tests.simulation.network import HUB, Network
from tests.simulation.serving import House
from tests.simulation.site import SiteHost
from tests.store.simulate import ViolationError

from tieline import config as configuration
from tieline import records, tasks
from tieline.app import core_part
from tieline.records import Usage
from tieline.settlement import hours
from tieline.store.quarantine import NAME, Quarantine

FLEET = """
[fleet]
name = "simulated"
model = "m"

[[model]]
name = "m"
engine = "modelled"
usd_per_million_input = "1"
usd_per_million_output = "4"

[pool]
name = "simulated FPPS"
simulated = true

[treasury]
opening_usd = "1000000"
opening_btc = "10"
opening_btc_cost_usd = "500000"
sell_share = "0.5"

[dispatch]
policy = "strike"
interval_s = 3600
valid_for_s = 10800
warm_replicas = 0

[[site]]
id = "s1"
name = "One"
region = "here"
lat = 31.0
lon = -97.5
mode = "act"
ownership = "owned"
interconnect_mw = 20
contract = { basis = "spot", market = "ERCOT_HB_WEST_DA" }
weather_station = "W1"
rigs = [{ model = "Antminer S19j Pro", mw = 9 }, { model = "Antminer S21", mw = 9 }]
gpus = [{ node = "8xH100", mw = 1.0 }]

[[site]]
id = "s2"
name = "Two"
region = "here"
lat = 31.0
lon = -97.5
mode = "act"
ownership = "owned"
interconnect_mw = 10
contract = { basis = "spot", market = "DE_LU_DA" }
weather_station = "W1"
rigs = [{ model = "Antminer S19j Pro", mw = 6 }, { model = "Antminer S21", mw = 5 }]

[[site]]
id = "s3"
name = "Three"
region = "here"
lat = 31.0
lon = -97.5
mode = "act"
ownership = "owned"
interconnect_mw = 5
contract = { basis = "fixed", fixed_usd_per_mwh = 30 }
rigs = [{ model = "Antminer S21", mw = 5 }]
"""
HEAL_S = 2 * 86_400.0
RUSH_EVERY_S, RUSH_S = 4 * 3_600.0, 30.0


@dataclass
class Outcome:
    """What one run did: counts of what went wrong, crashes by write, and a digest over its whole history."""

    seen: Counter[str] = field(default_factory=Counter)
    crashes: Counter[tuple[str, str]] = field(default_factory=Counter)
    writes: set[str] = field(default_factory=set)
    site_days: float = 0.0
    history: str = ""

    def add(self, one: Outcome) -> None:
        """Another run's beside it."""
        self.seen += one.seen
        self.crashes += one.crashes
        self.writes |= one.writes
        self.site_days += one.site_days
        self.history = hashlib.sha256((self.history + one.history).encode()).hexdigest()


class World:
    """Everything of one run."""

    def __init__(self, seed: int, folder: Path, loop: Loop, days: float) -> None:
        self.seed, self.folder, self.loop, self.days = seed, folder, loop, days
        self.draw = random.Random(f"{seed} world")
        self.seen: Counter[str] = Counter()
        self.crashes: Counter[tuple[str, str]] = Counter()
        self.programs: dict[Program, None] = {}
        self.kept = Kept()
        self.config = configuration.loads(FLEET, "simulated.toml")
        self.net = Network(loop, random.Random(f"{seed} link"), self.seen)
        self.core = CoreHost(self)
        self.sites = [SiteHost(self, site) for site in self.config.fleet.sites]
        self.house = House(self)
        self.office = Office(self)

    def now(self) -> datetime:
        """What the time truly is."""
        return T0 + timedelta(seconds=self.loop.moment)

    @property
    def hosts(self) -> list[Host]:
        return [self.core, *self.sites, *self.house.hosts]

    def look(self) -> None:
        """Raises what was violated anywhere."""
        for program in self.programs:
            if program.failed is not None:
                raise program.failed

    # --- the run -----------------------------------------------------------------------

    async def run(self) -> None:
        lives = [self.loop.create_task(host.live()) for host in (self.core, *self.sites)]
        await self.house.start()
        next_day, next_rush = 86_400.0, self.draw.uniform(600, RUSH_EVERY_S)
        while self.loop.moment < self.days * 86_400:
            await asyncio.sleep(self.draw.uniform(300, 1_500))
            self._mishap()
            if self.draw.random() < 0.15:
                self.office.act()
            self._ended(lives)
            if self.loop.moment >= next_day:
                next_day += 86_400
                self.core.check_day()
            if self.loop.moment >= next_rush:
                next_rush += self.draw.uniform(0.5, 1.5) * RUSH_EVERY_S
                await self.house.rush(self.draw.randrange(8, 40), RUSH_S)
        await self._mend(lives)

    def _ended(self, lives: list[asyncio.Task[None]]) -> None:
        self.look()
        for life in lives:
            if life.done():
                life.result()

    def _mishap(self) -> None:
        draw, seen, net = self.draw, self.seen, self.net
        site = draw.choice(self.sites)
        match draw.choice(
            [
                "unit",
                "unit",
                "unit",
                "cut",
                "cut one way",
                "clock",
                "clock",
                "kill",
                "kill core",
                "core's clock",
                "nothing",
            ]
        ):
            case "unit":
                site.mishap()
            case "cut":
                for_s = draw.expovariate(1 / 3_600)
                net.cut(site.machine, HUB, for_s)
                net.cut(HUB, site.machine, for_s)
                seen["site cut off"] += 1
            case "cut one way":
                way = draw.choice([(site.machine, HUB), (HUB, site.machine)])
                net.cut(*way, draw.expovariate(1 / 3_600))
                seen["site cut off one way"] += 1
            case "clock":
                offset = draw.choice([-86_400.0, -30.0, 20.0, 200.0, 3_600.0, 3.15e8, 0.0])
                site.clock.set(offset, draw.uniform(-1e-4, 1e-4))
                seen["clock stepped"] += 1
                seen["clock drifts"] += 1
            case "kill":
                site.kill(power=draw.random() < 0.5)
            case "kill core" if draw.random() < 0.3:
                self.core.kill(power=draw.random() < 0.5)
            case "core's clock":  # NTP keeps it near the truth
                self.core.clock.set(draw.uniform(-4.0, 4.0), draw.uniform(-1e-4, 1e-4))
                seen["clock stepped"] += 1
                seen["clock drifts"] += 1
            case _:
                pass

    # --- the end -----------------------------------------------------------------------

    async def _mend(self, lives: list[asyncio.Task[None]]) -> None:
        """Nothing goes wrong any more: everything arrives, and what was promised is looked at."""
        self.net.healed = True
        for host in self.hosts:
            host.heal()
        for host in (self.core, *self.sites):
            host.pause_s = (1.0, 5.0)
        began = self.loop.moment
        await self.house.rush(6, RUSH_S)
        await self._until_all_there(lives, began)
        await asyncio.sleep(2 * 3_600.0)  # an interval and its settlement, on good disks
        self._ended(lives)
        await self._until_all_there(lives, began)  # what was kept a moment ago is still on its way
        self.check()
        self.house.check_budgets()
        await self.house.check_open()
        for host in (self.core, *self.sites):
            host.stopping = True
            if host.up:
                assert host.program is not None
                host.program.kill()
        await asyncio.wait(lives)
        for host in self.hosts:
            count(self.seen, host.disk.counts)

    async def _until_all_there(self, lives: list[asyncio.Task[None]], began: float) -> None:
        while not self._all_there():
            await asyncio.sleep(60.0)
            self._ended(lives)
            if any(one.waiting for one in self.house.workers):
                await self.house.rush(2, RUSH_S)
            if self.loop.moment - began > HEAL_S:
                raise ViolationError("something still waits after two days in which nothing went wrong")

    def _all_there(self) -> bool:
        if not self.core.up or self.core.store is None:
            return False
        if any(site.outbox is None or len(site.outbox) for site in self.sites):
            return False
        return not any(one.waiting for one in self.house.workers)

    # --- what must hold ------------------------------------------------------------------

    def check(self) -> None:
        """Raises ViolationError."""
        store = self.core.store
        assert store is not None
        self.core.check_end()
        rows = Counter((stream, key) for stream, key in store._db.rows("SELECT stream, key FROM record"))
        twice = [one for one, number in rows.items() if number > 1]
        if twice:
            raise ViolationError(f"stored twice: {twice[:3]}")
        aside = self._set_aside()
        missing = []
        for (where, key), body in self.kept.rows.items():
            stream, _, name = key.partition("|")
            if (stream, name) in rows or aside & _digests(body) or (record_key(body) in rows):
                continue
            missing.append(f"{where}: {key}")
        if missing:
            raise ViolationError(f"acknowledged, neither stored nor set aside: {missing[:3]} of {len(missing)}")
        self._check_usage()
        self.seen["records acknowledged and there"] += len(self.kept.rows)
        self.seen["records stored"] += len(rows)
        self.seen["set aside by name"] += len(aside)

    def _set_aside(self) -> set[bytes]:
        found: set[bytes] = set()
        for path in sorted(self.folder.rglob(NAME)):
            held = Quarantine(path, read_only=True)
            found |= {one for (one,) in held._open().rows("SELECT digest FROM item")}
            held.close()
        return found

    def _check_usage(self) -> None:
        """Each whole answer is billed once, by what its client was told. Raises ViolationError."""
        store = self.core.store
        assert store is not None
        bills: dict[str, Usage] = {}
        for (body,) in store._db.rows("SELECT body FROM record WHERE stream = 'Usage'"):
            usage = records.decode(body)
            assert isinstance(usage, Usage)
            bills[usage.request_id] = usage
        refused = {name for worker in self.house.workers for name in worker.lost}
        for name, told in self.house.told.items():
            bill = bills.get(name)
            if name in refused and (bill is None or bill.output_tokens <= told.output):
                self.seen["usage that a full disk refused"] += 1  # the answer is not withheld: the operator's loss
                continue
            if bill is None:
                raise ViolationError(f"request {name} was answered and its usage is not in the store")
            if (bill.tenant, bill.prompt_tokens, bill.output_tokens) != (told.tenant, told.prompt, told.output):
                raise ViolationError(f"request {name} was told {told}, and is billed {bill}")
        self.seen["requests answered whole"] += len(self.house.told)
        self.seen["requests billed"] += len(bills)


def _digests(body: bytes) -> set[bytes]:
    found = {digest(body)}
    with suppress(Exception):  # what is no record has one form only
        found.add(digest(records.encode(records.decode(body))))
    return found


def record_key(body: bytes) -> tuple[str, str] | None:
    try:
        record = records.read_record(body)
    except Exception:
        return None
    return type(record).__name__, record.key


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """What is drawn by chance follows from the seed too."""
    draw = random.Random(f"{seed} secrets")
    with (
        # Whether a task stands still is looked at twice a second in the product: more work than all the rest here.
        mock.patch.object(tasks, "LOOK_S", 600.0),
        mock.patch.object(core_part, "STEP_S", 3_600.0),
        # Hours wait for late samples for two days in the product; here these come within hours.
        mock.patch.object(hours, "LOOK_BACK", timedelta(hours=12)),
        mock.patch.object(secrets, "token_hex", lambda size=16: draw.randbytes(size).hex()),
        writes.watched(),
    ):
        yield


def run(seed: int, folder: Path, days: float) -> Outcome:
    """One platform's life from one seed. Raises ViolationError."""
    loop = Loop()
    asyncio.set_event_loop(loop)
    with _seeded(seed):
        world = World(seed, folder, loop, days)
        try:
            loop.run_until_complete(world.run())
            outcome = Outcome(world.seen, world.crashes)
            outcome.writes = {name for host in world.hosts for name in host.disk.known}
            outcome.site_days = len(world.sites) * loop.moment / 86_400
            outcome.history = history_of(world)
            return outcome
        finally:
            _end(world, loop)


def _end(world: World, loop: Loop) -> None:
    for program in list(world.programs):
        program.kill()
    for host in world.hosts:
        host.disk.off = True
        host.close()
        host.disk.close()
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))
    asyncio.set_event_loop(None)
    loop.close()


def history_of(world: World) -> str:
    """A digest over all that happened: the counts, the crashes, what was told, and the store's own digest."""
    store = world.core.digest
    told = sorted((name, one.prompt, one.output) for name, one in world.house.told.items())
    whole = (
        sorted(world.seen.items()),
        sorted(world.crashes.items()),
        told,
        sorted(world.house.answers.items()),
        store,
    )
    return hashlib.sha256(repr(whole).encode()).hexdigest()


def many(seeds: range, days: float) -> Outcome:
    """Runs of many seeds, each in a folder of its own. Raises ViolationError, which names the seed."""
    total = Outcome()
    for seed in seeds:
        total.add(single(seed, days))
    return total


def single(seed: int, days: float) -> Outcome:
    """One seed in a folder of its own. Raises ViolationError, which names it."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="tieline-world-", dir=memory if memory.is_dir() else None))
    try:
        return run(seed, folder, days)
    except Exception as error:
        raise ViolationError(f"seed {seed}: {type(error).__name__}: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


logging.getLogger("asyncio").setLevel(logging.CRITICAL)

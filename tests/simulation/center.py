"""The core with its feeds, and the office: who pushes orders, overrides, money and poison."""

from __future__ import annotations

import asyncio
import contextlib
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from fuzz.poison import Poison
from tests.simulation.hosts import Host
from tests.simulation.machinery import Loop, Program, SimulatedClock
from tests.simulation.network import HUB, Wire
from tests.store.simulate import ViolationError

from tieline import records
from tieline.app.aside import SetAsides
from tieline.app.core_part import Core
from tieline.books import MONEY
from tieline.books.keeper import Bookkeeper, identity
from tieline.link import Ack, LinkDownError
from tieline.link import push as push_batch
from tieline.records import (
    AnyRecord,
    Closing,
    Demand,
    Instruction,
    Loan,
    NetworkTick,
    Override,
    Payout,
    PriceTick,
    Record,
    VendorBill,
    WeatherTick,
)
from tieline.settlement.month import Books
from tieline.store import Store, StoreError
from tieline.store.quarantine import NAME, Quarantine
from tieline.tasks import Registry

if TYPE_CHECKING:
    from tests.simulation.world import World


class SimulatedFeed:
    """Prices, the network, weather and demand; away now and then, and now and then nonsense."""

    source = "simulated feed"

    def __init__(self, world: World) -> None:
        self.world, self.draw = world, random.Random(f"{world.seed} feed")
        self.told: datetime | None = None  # the last hour whose prices were told

    async def read(self, now: datetime) -> list[AnyRecord]:
        draw, config = self.draw, self.world.config
        if not self.world.net.healed and draw.random() < 0.05:
            self.world.seen["feed away"] += 1
            raise OSError("the source does not answer")
        hour = now.replace(minute=0, second=0, microsecond=0)
        common = {"at": hour, "known_at": now, "source": self.source, "kind": "measured"}
        found: list[AnyRecord] = []
        told = max(self.told, hour - timedelta(hours=12)) if self.told is not None else hour - timedelta(hours=1)
        while told < hour:  # as sources do, what was missed meanwhile is told too
            told += timedelta(hours=1)
            price = draw.choice([draw.uniform(5, 60), draw.uniform(5, 60), draw.uniform(-40, 400), 2_000.0])
            markets = sorted({site.contract.market for site in config.fleet.sites if site.contract.market})
            found += [
                PriceTick(market=one, price_usd_per_mwh=price, **{**common, "at": told})  # type: ignore[arg-type]
                for one in markets
            ]
        self.told = hour
        stations = {site.weather_station for site in config.fleet.sites if site.weather_station}
        found += [WeatherTick(station=s, temp_c=draw.uniform(5, 35), **common) for s in sorted(stations)]  # type: ignore[arg-type]
        found.append(
            NetworkTick(
                difficulty=1.5e14, subsidy_btc=3.125, fee_share=0.01, btc_usd=Decimal("90000"), height=900_000, **common
            )  # type: ignore[arg-type]
        )
        found.append(
            Demand(model="m", region="here", output_tokens_per_s=draw.uniform(0, 5_000), length_s=3_600, **common)  # type: ignore[arg-type]
        )
        return found


class CoreHost(Host):
    """The only writer of the store."""

    keeps = ("store", "quarantine", "ledger")
    writes_most = 12_000

    def __init__(self, world: World) -> None:
        super().__init__(world, HUB, "core", SimulatedClock(world.loop))
        self.core: Core | None = None
        self.store: Store | None = None
        self.books: Books | None = None
        self.feed = SimulatedFeed(world)
        self.digest = ""  # of the store, at the end

    @property
    def kind(self) -> str:
        return "the core"

    async def run(self, program: Program) -> None:
        self.clock.set(self.draw.uniform(-1.0, 1.0), self.clock.drift)
        if self.feed.told is not None:  # what it was told last may not have reached its disk
            self.feed.told -= timedelta(hours=2)
        self.store = store = Store(self.folder / "store.db", records.encode, records.decode, disk=self.disk)
        self.whole(store=store)
        quarantine = Quarantine(self.folder / NAME, disk=self.disk)
        aside = SetAsides(quarantine, store)
        wire = Wire(self.net, program)
        core = self.core = Core(
            self.world.config, self.clock, store, wire, [self.feed], "simulated", Registry(), aside
        )  # fmt: skip
        self.books = Books(disk=self.disk)
        program.spawn(self._book(program))
        await core.listen()
        await core.run()

    async def _book(self, program: Program) -> None:
        """The books are kept up, as the console's page does it."""
        assert self.books is not None
        assert self.store is not None
        while program.alive:
            with contextlib.suppress(StoreError):
                self.books.catch_up(self.store)
                balanced(self.books.keeper)
            await asyncio.sleep(self.draw.uniform(1_000, 5_000))

    def close(self) -> None:
        if self.core is not None and self.core.set_aside.quarantine is not None:
            self.core.set_aside.quarantine.close()
        if self.books is not None:
            self.books.close()
        if self.store is not None:
            self.store.close()
        self.core = self.store = self.books = None

    # --- what must hold -----------------------------------------------------------------

    def check_day(self) -> None:
        """The books close in every commodity, and no record of money is left out in silence. Raises ViolationError."""
        if self.store is None or self.books is None or not self.up:
            self.world.seen["day without a core to look at"] += 1
            return
        try:
            self.books.catch_up(self.store)
        except StoreError:
            self.world.seen["day without a core to look at"] += 1
            return
        balanced(self.books.keeper)
        self.world.seen["books looked at"] += 1

    def check_end(self) -> None:
        """The same after everything was mended, with the books folded anew. Raises ViolationError."""
        assert self.store is not None
        assert self.core is not None
        self.store.verify()
        self.digest = self.store._db.tail().digest.hex()
        assert self.books is not None
        self.books.catch_up(self.store)
        balanced(self.books.keeper)
        in_memory = Books(known=datetime(8_000, 1, 1, tzinfo=UTC))  # whatever was learned, and nothing from disk
        in_memory.catch_up(self.store)
        anew = in_memory.keeper
        balanced(anew)
        if anew.book.balances() != self.books.keeper.book.balances():
            raise ViolationError("the books that were kept up are not those that are folded anew")
        booked_or_named(self.store, anew)
        if self.core.registry.troubles:
            raise ViolationError(f"not well on good disks: {self.core.registry.troubles[0].line}")

    def heal(self) -> None:
        super().heal()
        self.clock.set(0.0, 0.0)


def balanced(keeper: Bookkeeper) -> None:
    """Raises ViolationError."""
    off = keeper.book.imbalance()
    if off:
        raise ViolationError(f"the trial balance is off by {off}")


def booked_or_named(store: Store, keeper: Bookkeeper) -> None:
    """Each record of money is in the books, in its newest word, or named as unbookable. Raises ViolationError."""
    named = {identity(one.record) for one in keeper.unbookable} | {identity(one) for one in keeper.fixings}
    for type_ in MONEY:
        if type_ in (Loan, Closing):
            continue
        for seq, body in store._db.rows("SELECT seq, body FROM record WHERE stream = ?", (type_.__name__,)):
            record = records.decode(body)
            assert isinstance(record, Record)
            if identity(record) not in named and keeper.standing(identity(record)) is None:
                raise ViolationError(f"record {seq}, a {type_.__name__}, is neither booked nor named: {body[:200]!r}")


class Office:
    """People and programs beside the core: what they were told is stored must be."""

    def __init__(self, world: World) -> None:
        self.world, self.draw = world, random.Random(f"{world.seed} office")
        self.loop: Loop = world.loop
        self.program = Program(world.loop, "office", "office")
        self.wire = Wire(world.net, self.program)
        self.poison = Poison(world.seed)
        self.poison.random = random.Random(f"{world.seed} poison")
        self.poison.sites, self.poison.units = ["elsewhere"], ["elsewhere.a"]
        self.number = 0
        world.programs[self.program] = None

    def act(self) -> None:
        """One of the things that people do."""
        world, draw = self.world, self.draw
        match draw.choice(["order", "order", "order", "override", "money", "money", "poison", "poison at a site"]):
            case "order":
                self._tell(self._order())
            case "override":
                self._tell(self._override())
            case "money":
                self._tell(self._money())
            case "poison":
                bodies = [self.poison.item(world.now(), torn=draw.random() < 0.2) for _ in range(draw.randrange(1, 6))]
                world.seen["hostile record"] += len(bodies)
                self.program.spawn(self._push(bodies, []))
            case _:
                self.poison_site()

    def poison_site(self) -> None:
        """Something in a site's outbox that no core should take."""
        world = self.world
        site = self.draw.choice(world.sites)
        if site.up and site.outbox is not None:
            self.number += 1
            body = self.poison.item(world.now(), torn=self.draw.random() < 0.3)
            with contextlib.suppress(StoreError):
                site.outbox.put([(f"Poison|{self.number}", body)])
                world.seen["hostile record"] += 1

    def _tell(self, record: Record) -> None:
        body = records.encode(record)
        self.program.spawn(self._push([body], [record]))

    async def _push(self, bodies: list[bytes], told: list[Record]) -> None:
        """Until it is answered, as a person would, and no longer than an hour."""
        until = self.loop.moment + 3_600
        while self.loop.moment < until:
            try:
                ack: Ack = await push_batch(self.wire, "office", b"[" + b",".join(bodies) + b"]")
            except LinkDownError:
                await asyncio.sleep(5.0)
                continue
            if ack.error is not None and ack.retry:
                await asyncio.sleep(5.0)
                continue
            if ack.error is None and not ack.refused:
                self.world.kept.add(
                    "office", [(f"{type(one).__name__}|{one.key}", records.encode(one)) for one in told]
                )
            elif ack.error is None:
                self.world.seen["item refused with its reason"] += len(ack.refused)
            return

    def _order(self) -> Instruction:
        world, draw = self.world, self.draw
        site = draw.choice(world.config.fleet.sites)
        self.number += 1
        now = world.now()
        at = now + timedelta(seconds=draw.choice([0, 30, 600, 7_200]))
        order = Instruction(
            at=at, known_at=now, source="grid", kind="measured", instruction_id=f"order-{self.number}", site_id=site.id,
            limit_w=site.interconnect.limit_w * draw.choice([0.0, 0.1, 0.4, 0.7]),
            until=at + timedelta(seconds=draw.choice([900, 3_600, 4 * 3_600])),
        )  # fmt: skip
        if draw.random() < 0.4:  # over the grid operator's own line at the site as well
            for host in world.sites:
                if host.site is site and host.up and host.agent is not None:
                    host.agent.take(order, host.clock.now())
        world.seen["order of the grid"] += 1
        return order

    def _override(self) -> Override:
        draw, now = self.draw, self.world.now()
        site = draw.choice(self.world.config.fleet.sites)
        unit = draw.choice(site.units)
        self.number += 1
        return Override(
            at=now, known_at=now, source="console", kind="measured", override_id=f"override-{self.number}",
            site_id=site.id, unit_id=unit.id, target_w=draw.choice([0.0, 0.5, 1.0]) * unit.rated_w,
            until=now + timedelta(hours=1), by="operator", why="test",
        )  # fmt: skip

    def _money(self) -> Record:
        draw, now = self.draw, self.world.now()
        self.number += 1
        name = f"entered-{self.number}"
        if draw.random() < 0.5:
            return VendorBill(
                at=now, known_at=now, source="entered", kind="measured", bill_id=name, payee="somebody",
                amount_usd=Decimal(draw.randrange(1, 10_000)), expense="rent",
            )  # fmt: skip
        # A third has no price, which no book can take.
        return Payout(
            at=now, known_at=now, source="entered", kind="measured", payout_id=name, pool="another pool",
            sats=draw.randrange(1, 1_000_000), span_start=now - timedelta(hours=1), span_end=now,
            btc_usd=draw.choice([None, Decimal("90000"), Decimal("91000")]),
        )  # fmt: skip

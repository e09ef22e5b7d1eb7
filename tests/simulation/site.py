"""A site: the product's agent over units that misbehave, its outbox, its orders, and whether it keeps its limits."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from tests.simulation.hosts import Host, WatchedOutbox
from tests.simulation.machinery import Program, SimulatedClock
from tests.simulation.network import Wire
from tests.simulation.plant import MANNERS, METER_MANNERS, SimulatedMeter, SimulatedUnit
from tests.store.simulate import ViolationError

from tieline.edge import sites as product
from tieline.edge.agent import Agent, Equipment
from tieline.edge.decide import LEAD
from tieline.edge.orderbook import OrderBook
from tieline.edge.push import OutboxQueue
from tieline.fleet import Site
from tieline.link import push_always
from tieline.records import AnyRecord, Instruction, Plan
from tieline.store import StoreError
from tieline.store.quarantine import NAME, Quarantine

if TYPE_CHECKING:
    from tests.simulation.world import World

# Steps are near each other where something happens and far apart where nothing does; the product's are 2 s apart.
FINE_S, FINE_FOR_S, COARSE_S = 20.0, 280.0, 3_600.0
# By then a site holds a limit after anything that moved it: an order's beginning, a unit that turned, a start.
RESPONSE_S = 260.0
# Where a unit lies about obeying only the meter shows it, and more is kept free in rounds of five steps, twice as much
# each time: as many more rounds as the lie is larger than the excess, by powers of two. In the product, with steps of
# 2 s, a round is 10 s.
ROUND_S, LIES_FINE_FOR_S = 100.0, 780.0
# What it may be above: the meter's steps and the units' slack.
TOLERANCE_SHARE = 0.02
ASK_EVERY_S = 900.0
# A clock this far off at the agent's start means its times are not the orders'; nothing is then checked.
CLOCK_OFF_S = 30.0


class WatchedOrders(OrderBook):
    """Says which orders it has taken and has on disk."""

    took: Callable[[AnyRecord], None] = staticmethod(lambda record: None)

    def take(self, record: AnyRecord, now: datetime) -> bool:
        taken = super().take(record, now)
        if taken:
            self.took(record)
        return taken


class SiteHost(Host):
    """One site. Its units outlive the program that watches them."""

    keeps = ("outbox", "quarantine")

    def __init__(self, world: World, site: Site) -> None:
        super().__init__(world, site.id, site.id, SimulatedClock(world.loop))
        self.site = site
        self.units = [SimulatedUnit(world.loop, self.draw, site, unit) for unit in site.units]
        self.meter = SimulatedMeter(world.loop, self.draw, site, self.units)
        self.agent: Agent | None = None
        self.queue: OutboxQueue | None = None
        self.outbox: WatchedOutbox | None = None
        self.bound: dict[str, Instruction] = {}  # orders that were taken, the newest word of each
        self.durable: set[str] = set()
        self.quiet_since = 0.0  # the last thing that may move what it draws
        self.trusted = True
        self.kept = asyncio.Event()
        self._written = True
        self._disturbed = asyncio.Event()

    @property
    def kind(self) -> str:
        return "a site"

    # --- its life ---------------------------------------------------------------------

    async def run(self, program: Program) -> None:
        world, site, disk = self.world, self.site, self.disk
        if self.draw.random() < 0.9 or world.net.healed:
            self.clock.set(self.draw.uniform(-1.0, 1.0), self.clock.drift)
        self.trusted = abs(self.clock.off_s) < CLOCK_OFF_S
        if not self.trusted:  # to a clock that is years ahead every order has ended
            self.durable.clear()
        wire = Wire(world.net, program)
        self.outbox = outbox = WatchedOutbox(self.folder / "outbox.db", disk=disk)
        outbox.watch = lambda rows: world.kept.add(site.id, rows) if program.alive else None
        self.whole(outbox=outbox)
        orders = WatchedOrders(site.id, self.folder / "orders.json", self._write)
        orders.took = self._took
        self._remembers(orders)
        hold = timedelta(seconds=2 * COARSE_S)
        self.agent = agent = Agent(
            self.clock, site, Equipment(list(self.units), self.meter), outbox, wire, orders,
            interval=world.config.dispatch.interval, hold=hold,
        )  # fmt: skip
        self.queue = OutboxQueue(site.id, outbox, Quarantine(self.folder / NAME, disk=disk), self.clock.now)
        self.disturb()
        for what in ("plan", "command"):
            program.spawn(product._follow_orders(agent, self.clock, f"{what}.{site.id}"))
        program.spawn(self._ask(agent))
        program.spawn(self._push(wire, program))
        await self._steps(agent, program)

    def close(self) -> None:
        if self.queue is not None:
            self.queue.quarantine.close()
        if self.outbox is not None:
            self.outbox.close()
        self.agent = self.queue = self.outbox = None

    async def _ask(self, agent: Agent) -> None:
        while True:
            if agent.link.up:
                await product._ask_once(agent, self.clock)
            await asyncio.sleep(ASK_EVERY_S)

    async def _push(self, wire: Wire, program: Program) -> None:
        """As the product's registry does: what ends by an error is begun again."""
        pause: Callable[[float], Awaitable[None]] = self._pause
        assert self.queue is not None
        while program.alive:
            with contextlib.suppress(StoreError):
                await push_always(wire, self.site.id, self.queue, pause)
            await asyncio.sleep(5.0)

    async def _pause(self, seconds: float) -> None:
        """Looks at once when something was kept, and seldom where nothing was: a look each half second would cost most
        of the run."""
        if seconds == 0.5 and not self.net.healed:
            self.kept.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.kept.wait(), 900.0)
        else:
            await asyncio.sleep(max(seconds, 30.0))

    async def _steps(self, agent: Agent, program: Program) -> None:
        while True:
            self.check()
            asked = self._asked(agent)
            await agent.step(self.clock.now())
            if self._asked(agent) != asked and self._stood_still() and self._lied_to():
                self.quiet_since = self.loop.moment
            self.kept.set()
            if not program.alive:
                return
            wait = asyncio.ensure_future(agent.awake.wait())
            turned = asyncio.ensure_future(self._disturbed.wait())
            await asyncio.wait({wait, turned}, timeout=self._next(), return_when=asyncio.FIRST_COMPLETED)
            wait.cancel()
            turned.cancel()
            self._disturbed.clear()
            agent.awake.clear()

    def _next(self) -> float:
        """Seconds until the next step."""
        waits = self.agent is not None and self.agent.waiting
        return FINE_S if waits or not self._stood_still() else COARSE_S + 0.5

    @staticmethod
    def _asked(agent: Agent) -> list[float | None]:
        """What each unit was last told."""
        return [None if unit.sent is None else unit.sent.target_w for unit in agent.units.values()]

    def _stood_still(self) -> bool:
        """Nothing was being answered: what the agent tells while it answers gives it no more time to."""
        return self.loop.moment - self.quiet_since >= (LIES_FINE_FOR_S if self._lied_to() else FINE_FOR_S)

    def _response_s(self, above_w: float) -> float:
        lie_w = max((unit.true_w for unit in self.units if unit.manner == "lies"), default=0.0)
        return RESPONSE_S + ROUND_S * math.ceil(math.log2(max(1.0, lie_w / above_w)))

    def _lied_to(self) -> bool:
        """A unit says that it obeys and does not. The agent learns of it from the meter in the steps after it told the
        unit something, of which the product has 1,800 in an hour and this has one. Of what else goes wrong it knows
        before it tells anything, and gets no time for what it tells."""
        return any(unit.manner == "lies" for unit in self.units)

    def disturb(self) -> None:
        """Something happened that may move what is drawn."""
        self.quiet_since = self.loop.moment
        self._disturbed.set()

    # --- orders ------------------------------------------------------------------------

    def _write(self, path: Path, data: bytes) -> None:
        self._written = False
        self.disk.write_file(path, data)
        self._written = True

    def _took(self, record: AnyRecord) -> None:
        if not isinstance(record, Plan):
            self.disturb()
        if not isinstance(record, Instruction) or not self.up or not self.trusted:
            return
        self.bound[record.instruction_id] = record
        now = self.world.now()  # the wall clock may be off; the agent goes by its own time
        for edge in (record.at - LEAD, record.until):
            if edge > now:
                self.loop.call_later((edge - now).total_seconds(), self._reached, record, edge)
        self.durable.discard(record.instruction_id)
        if self._written:  # else a full disk refused it: it binds in memory only, which is said
            self.durable.add(record.instruction_id)
        self.world.seen["order taken by a site"] += 1

    def _reached(self, order: Instruction, edge: datetime) -> None:
        """An order begins or ends, if it still binds. Its beginning moves the limit, whatever is still being answered;
        its end asks for nothing, and needs steps only where there are none."""
        if self.bound.get(order.instruction_id) is order and (edge != order.until or self._stood_still()):
            self.disturb()

    def _remembers(self, orders: OrderBook) -> None:
        """What it had on disk binds it after a start, with or without a link. Raises ViolationError."""
        self.bound = {name: one for name, one in self.bound.items() if name in self.durable}
        soon = self.world.now() + timedelta(minutes=5)
        gone = [one for name, one in self.bound.items() if one.until > soon and name not in orders._instructions]
        if gone:
            raise ViolationError(f"{self.site.id} has forgotten {gone[0].instruction_id}, which binds it")

    def limit_w(self) -> float:
        """What it may draw now, with a minute's grace around each order for clocks that differ."""
        now = self.world.now()
        grace = timedelta(seconds=60)
        holding = [one.limit_w for one in self.bound.values() if one.at + grace <= now < one.until - grace]
        return min([self.site.interconnect.limit_w, *holding])

    def check(self) -> None:
        """The true power is under the limit, or nothing that could go still runs. Raises ViolationError."""
        if not self.trusted or self.loop.moment - self.quiet_since < RESPONSE_S or not self.up:
            return
        limit_w = self.limit_w()
        above_w = self.meter.true_w - limit_w - TOLERANCE_SHARE * self.site.interconnect.limit_w
        self.world.seen["limit looked at"] += 1
        if limit_w < self.site.interconnect.limit_w:
            self.world.seen["limit of an order looked at"] += 1
        if above_w <= 0 or self.loop.moment - self.quiet_since < self._response_s(above_w):
            return
        blind = self.meter.manner != "well" and any(unit.manner in ("lies", "nonsense") for unit in self.units)
        left = [u for u in self.units if u.manner == "well" and u.true_w > u.lowest_w + 0.02 * u.highest_w]
        if left and not blind:
            raise ViolationError(
                f"{self.site.id} draws {self.meter.true_w / 1e6:.3f} MW under a limit of {limit_w / 1e6:.3f} MW, and "
                f"{left[0].unit_id} still runs at {left[0].true_w / 1e6:.3f} MW"
            )
        self.world.seen["above a limit with nothing left to shed"] += 1

    # --- what happens to it -------------------------------------------------------------

    def mishap(self) -> None:
        """A unit or the meter turns, or is mended."""
        draw = self.draw
        bad = [unit for unit in self.units if unit.manner != "well"]
        if self.meter.manner != "well":
            self.meter.manner = "well"
        elif draw.random() < 0.35:
            self.meter.manner = draw.choice(METER_MANNERS)
            self.world.seen[f"meter {self.meter.manner}"] += 1
        if bad and draw.random() < 0.7:
            draw.choice(bad).turn("well")
        else:
            unit = draw.choice(self.units)
            unit.turn(draw.choice(MANNERS))
            self.world.seen[f"unit {unit.manner}"] += 1
        self.disturb()

    def heal(self) -> None:
        super().heal()
        self.clock.set(0.0, 0.0)
        self.meter.manner = "well"
        for unit in self.units:
            unit.turn("well")
        self.disturb()

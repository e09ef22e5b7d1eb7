"""The control plane's core.

Takes records from sites and the gateway and acknowledges what is on disk; reads the feeds; decides each
interval; settles each hour with the pool and the power bill. On a first start it also writes the demo's
past, in the background, so that the pages have something honest to show from the first minute.

Of several on one store one leads and does all of this; the others stand by. What a leader writes and says carries its
number, and one that is not the leader any more is refused by the store and by the sites.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

import msgspec

from tieline import records
from tieline.app.acting import pools_approved
from tieline.app.aside import SetAsides
from tieline.app.joins import LINK_FOLDER, config_of
from tieline.app.machines.leading import orders_after_plans, stand_by, tell_gap, while_leading
from tieline.app.runtime import Runtime
from tieline.app.speaker import heard_from, meant_for
from tieline.clock import Clock, Interval
from tieline.config import Config
from tieline.dispatch import Controller
from tieline.dispatch.settings import settings_of
from tieline.edge.decide import RESTORE_FOR
from tieline.edge.local.words import SET_POOLS
from tieline.feeds.choose import Feed, choose
from tieline.feeds.notices.desk import READ_TIMEOUT_S, NoticeDesk
from tieline.link import Ack, Link, NatsLink, SigningLink, page_after
from tieline.link.signing import CommandKey
from tieline.records import (
    Accepted,
    Action,
    AnyRecord,
    Demand,
    Instruction,
    Override,
    Plan,
    Record,
    SetAside,
    WeatherTick,
    admit,
    fit,
)
from tieline.records.losses import tell_losses
from tieline.replay.history import Past, wanted, write_history
from tieline.settlement.calls import call_orders
from tieline.settlement.hours import Settler
from tieline.store import Store, StoreError
from tieline.store.lead.fence import FencedError
from tieline.store.lead.holder import Lead
from tieline.store.quarantine import NAME, Quarantine
from tieline.tasks import Registry, beat, every

log = logging.getLogger("tieline.core")

Ready = Callable[[str], None]

# A step reads every feed and decides every site; a public source may take its whole time-out, one after another.
STEP_S = 120.0
# Between two decisions for orders that come one after another.
DECIDE_AGAIN_S = 1.0
# After the store did not take the demo's past.
PAST_AGAIN_S = 5.0
# A source of orders asks its server no oftener than it wants by itself; a change is heard within this much more.
NOTICES_S = 2.0
# No order or override stands longer than this without being given again.
ORDERS_LOOK_BACK = timedelta(days=14)


async def run(runtime: Runtime, ready: Ready, registry: Registry) -> None:
    """Runs until cancelled, or until another leads. Raises FencedError then."""
    config = runtime.load_config()
    Store(runtime.store, records.encode, records.decode).close()  # what is wrong with it is said before standing by
    lead: Lead | None = None
    link: Link | None = None
    store: Store | None = None
    try:
        lead = await stand_by(runtime, ready, registry)
        # Opened once it leads: senders are told how far the store had got then, which is all that was acknowledged.
        store = Store(runtime.store, records.encode, records.decode)
        store.fence = lead.fence
        key = CommandKey(runtime.data / LINK_FOLDER, lead)
        link = SigningLink(await NatsLink.dial(runtime.link_user("core")), key)
        core = await Core.start(config, runtime, store, link, registry)
        ready(core.feeds_note if runtime.store.url is None else f"leads, number {lead.number}")
        await while_leading(lead, core.run())
    finally:
        if lead is not None:
            lead.close()
        if link is not None:
            await link.close()
        if store is not None:
            store.close()


class Core:
    """Ingest, feeds, dispatch and settlement around one store."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        store: Store,
        link: Link,
        feeds: Sequence[Feed],
        feeds_note: str,
        registry: Registry | None = None,
        set_aside: SetAsides | None = None,
    ) -> None:
        self.registry = registry or Registry()
        self.config, self.clock, self.store, self.link = config, clock, store, link
        self.feeds, self.feeds_note = feeds, feeds_note
        self.interval = config.dispatch.interval
        self._sites = frozenset(site.id for site in config.fleet.sites)
        settings = settings_of(config)
        self.controller = Controller(store, config.fleet, settings, self._publish, live=True)
        self.settler = Settler(config, store)
        self._urgent, self._deciding = asyncio.Event(), asyncio.Lock()
        self.set_aside = set_aside or SetAsides(None, store)
        self.notices = tuple(NoticeDesk.of(one) for one in config.notice)

    @classmethod
    async def start(
        cls, config: Config, runtime: Runtime, store: Store, link: Link, registry: Registry | None = None
    ) -> Core:
        """After another leader it goes on from records first; asking which sources answer takes seconds."""
        set_aside = SetAsides(Quarantine(runtime.data / NAME), store)
        core = cls(config, runtime.clock, store, link, (), "", registry, set_aside)
        if core.after_another:
            await core.listen()
        else:
            await core.choose_feeds()
            await core.listen()
        return core

    @property
    def after_another(self) -> bool:
        """Whether several share this store and one has decided before."""
        shared = self.store.place is not None and self.store.place.url is not None
        return shared and self.store.fence is not None and self.store.last_turn() is not None

    async def choose_feeds(self) -> None:
        chosen = await choose(self.config.feeds, self.config.fleet, self.clock.now())
        self.feeds, self.feeds_note = chosen.feeds, chosen.note

    async def listen(self) -> None:
        """Answer on the link from now on."""
        await self.link.serve("records.*", self.ingest)
        await self.link.serve("plan.get.*", self.give_plan)
        await self.link.serve("orders.get.*", self.give_orders)
        await self.link.serve("config.get.*", self.give_config)
        await self.link.serve("feeds.get", self.give_surroundings)

    async def run(self) -> None:
        now = self.clock.now()
        with self.registry.attempt("losses", "puts on record what the store has lost"):
            tell_losses([("store", self.store)], now, self.store.append)
        invented = any(site.invented for site in self.config.fleet.sites)
        past = wanted(self.store, now) if invented else None
        self.settler.open_books(now if past is None else past.start, invented)
        await self._go_on(now)
        what = "reads the feeds, decides each interval, settles each hour"
        self.registry.keep("intervals", what, lambda: every(self.clock, self.step, self.interval, STEP_S))
        self.registry.keep("orders at once", "decides anew when an order comes", self._decide_anew)
        for one in self.notices:
            self.registry.keep(f"notices {one.name}", "hears an operator's orders", partial(self._follow, one))
        if past is not None:
            await self._write(past, now)
        await asyncio.Event().wait()

    async def _follow(self, one: NoticeDesk) -> None:
        """One source of orders, for ever: what it says is on record, with the site and in the plan at once. Each in its
        own time, so that one that hangs delays no other; begun again, it goes on from what is on record."""
        now, site_id = self.clock.now(), one.standing.site_id
        standing = self.store.between(Instruction, now - ORDERS_LOOK_BACK, now + ORDERS_LOOK_BACK, subject=site_id)
        one.adopt(standing, now)
        while True:
            beat(3 * NOTICES_S + READ_TIMEOUT_S)
            records = await one.read_once(self.clock.now())
            if records:
                self.store.append(records)
                await self._pass_on(records)
            await asyncio.sleep(NOTICES_S)

    async def _go_on(self, now: datetime) -> None:
        """The first step. On a store of its own a platform that starts anew decides anew, for its configuration may be
        another; after another leader an interval that was decided stands, unless an order came since."""
        if not self.after_another:
            await self.step(now, anew=True)
            return
        with self.registry.attempt("gap", "puts on record what nobody decided"):
            tell_gap(self.store, now, Interval.holding(now, self.interval))
        if orders_after_plans(self.store, now, now + ORDERS_LOOK_BACK):
            self._urgent.set()
        await self.step(now)
        if not self.feeds:
            await self.choose_feeds()
            await self._read_feeds(now)

    async def _write(self, past: Past, now: datetime) -> None:
        """The invented past, to its end: where the store was away meanwhile, what is there already stays once."""
        written = False
        while not written:
            with self.registry.attempt("past", "writes the demo's past"):
                await write_history(self.store, self.config, now, past)
                written = True
            if not written:
                await asyncio.sleep(PAST_AGAIN_S)

    async def step(self, now: datetime, *, anew: bool = False) -> None:
        """One interval: read the world, decide, settle. What fails is said, and stops nothing else."""
        await self._read_feeds(now)
        await self._decide(now, anew)
        with self.registry.attempt("settle", "settles each hour"):
            self.settler.step(now)

    async def _read_feeds(self, now: datetime) -> None:
        for feed in self.feeds:
            name = type(feed).__name__
            with self.registry.attempt(f"feed {name}", "reads the outside world"):
                await self._read(feed, name, now)

    async def _read(self, feed: Feed, name: str, now: datetime) -> None:
        """A source that is away or answers nonsense is normal: its age says so on the page."""
        try:
            records, odd = fit(await feed.read(now), now)
            self.store.append(records)
            self.set_aside.take(f"feed {name}", odd, now)
        except (OSError, ValueError) as error:
            log.warning("feed %s: %s", name, error)
        else:
            await self._tell_surroundings(records)

    async def _decide(self, now: datetime, anew: bool) -> None:
        with self.registry.attempt("decide", "decides what each site does"):
            async with self._deciding:  # one at a time: an order may come while an interval is decided
                await self.controller.step(now, anew=anew)

    async def ingest(self, subject: str, data: bytes) -> bytes:
        """Store what may come in of a pushed batch and set the rest aside; the answer says which is which, and that it
        is on disk."""
        return msgspec.json.encode(await self._take_in(subject.removeprefix("records."), data))

    async def _take_in(self, origin: str, data: bytes) -> Ack:
        now = self.clock.now()
        try:
            arrivals = heard_from(origin, admit(data, now, self.config.intake.clock_ahead), self._sites.__contains__)
            batch = [one.record for one in arrivals if isinstance(one, Accepted)]
            stored = self.store.append(batch)
            refused = self.set_aside.take(origin, [one for one in arrivals if isinstance(one, SetAside)], now)
            state = self.store.state
        except FencedError:
            raise
        except StoreError as error:
            log.error("%s", error)
            return Ack(error=str(error), retry=True)
        except ValueError as error:  # Refused: no list of records; the sender then sends them one by one
            log.warning("%s: refused a batch: %s", origin, error)
            return Ack(error=f"not records: {error}")
        with self.registry.attempt("orders", "passes orders on to their sites"):
            await self._pass_on([*batch, *self._calls(batch)])
        return Ack(stored, refused=refused, store=state)

    def _calls(self, batch: Sequence[AnyRecord]) -> list[Instruction]:
        """Orders that carry out calls of promises. One that cannot be kept now is made at the next batch or step."""
        orders = call_orders(self.store, batch)
        try:
            self.store.append(orders)
        except StoreError as error:
            log.error("a call of a promise is not kept yet: %s", error)
            return []
        return orders

    async def give_plan(self, subject: str, data: bytes) -> bytes:
        """The plan in force for the site that asks, or nothing."""
        site_id = subject.removeprefix("plan.get.")
        plans = self.store.latest(Plan, self.clock.now() + self.interval, site_id)
        return records.encode(plans[0]) if plans else b""

    async def give_orders(self, subject: str, data: bytes) -> bytes:
        """Orders, overrides and accepted plans that still stand for the site that asks: what it missed while it
        was cut off."""
        site_id, now = subject.removeprefix("orders.get."), self.clock.now()
        start, end = now - ORDERS_LOOK_BACK, now + ORDERS_LOOK_BACK
        orders = self.store.between(Instruction, start, end, subject=site_id)
        overrides = self.store.between(Override, start, end, subject=site_id)
        standing: list[AnyRecord] = [one for one in orders if one.until + RESTORE_FOR > now]
        standing += [one for one in overrides if one.until > now]
        accepted = self.store.between(Action, now - self.interval, now + self.interval)
        standing += [one for one in accepted if one.what == "accept" and one.target == site_id]
        return page_after(standing, data)

    async def give_config(self, subject: str, data: bytes) -> bytes:
        """The part of the configuration that is the asking site's own; nothing for a site that is not in it."""
        try:
            return config_of(self.config, subject.removeprefix("config.get."))
        except KeyError:
            return b""

    async def give_surroundings(self, subject: str, data: bytes) -> bytes:
        """The newest weather of each station and demand of each region."""
        now = self.clock.now()
        return page_after([*self.store.latest(WeatherTick, now), *self.store.latest(Demand, now)], data)

    async def _publish(self, plan: Plan) -> None:
        await self.link.publish(f"plan.{plan.site_id}", records.encode(plan))

    async def _tell_surroundings(self, fresh: Sequence[Record]) -> None:
        for one in fresh:
            if isinstance(one, WeatherTick | Demand) and one.kind != "forecast":
                await self.link.publish(f"feeds.{type(one).__name__.lower()}", records.encode(one))

    async def _pass_on(self, batch: Sequence[AnyRecord]) -> None:
        """An order or an operator's word goes to its site at once, and the interval is decided anew."""
        urgent = [one for one in batch if isinstance(one, Instruction | Override)]
        for order in urgent:
            await self.link.publish(f"command.{order.site_id}", records.encode(order))
        for one in batch:
            site = meant_for(one) if isinstance(one, Action) else None
            if isinstance(one, Action) and site in self._sites and self._may_be_done(one):
                await self.link.publish(f"command.{site}", records.encode(one))
        if urgent:
            self._urgent.set()

    def _may_be_done(self, word: Action) -> bool:
        """Where a word needs two people it is passed on once they want it, as they read it."""
        if word.what != SET_POOLS:
            return True
        pools = pools_approved(self.store, word, self.clock.now())
        if not pools:
            log.warning("%s wants pools set at %s and two people did not approve that", word.by, word.target)
        return pools

    async def _decide_anew(self) -> None:
        """At once after an order, then once a second at most: who sends a thousand does not keep the others waiting."""
        while True:
            beat(STEP_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._urgent.wait(), STEP_S / 4)
            if self._urgent.is_set():
                self._urgent.clear()
                await self._decide(self.clock.now(), anew=True)
                await asyncio.sleep(DECIDE_AGAIN_S)

"""Run agents: one for each site of a fleet, all in this process, and their real replicas.

At a real site the same runs with a fleet of one. What stands in for modelled hardware is handed in as
`device_factory`, because an agent does not know simulations.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Container
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from tieline.clock import Clock, Interval, WallClock
from tieline.config import SELF_TEST, Config
from tieline.edge.agent import Agent, Equipment, GpuTarget
from tieline.edge.device import Device
from tieline.edge.local.door import LocalDoor, serve_door
from tieline.edge.local.preview import answer_preview
from tieline.edge.local.words import OperatorWords
from tieline.edge.meter import Meter
from tieline.edge.nodes.power import GpuNodes
from tieline.edge.nodes.tunnel import SiteTunnel
from tieline.edge.orderbook import OrderBook
from tieline.edge.orders.desk import OrderDesk
from tieline.edge.plant.fans import FanWatch
from tieline.edge.plant.hardware import HardwareError, SiteHardware, load_hardware
from tieline.edge.push import push_always
from tieline.edge.replicas import EngineProcess, EngineSpec, Replicas
from tieline.edge.rigs.identify import FAKE_PORTS
from tieline.edge.rigs.workers.frames import RigOpening
from tieline.edge.rigs.workers.parent import RigWorker
from tieline.edge.selftest import SELFTEST_LABEL, SELFTEST_MODEL
from tieline.edge.surroundings import Surroundings
from tieline.fleet.sites import NodeGroup, RigGroup, Site
from tieline.intake import IntakeError
from tieline.link import CheckedLink, LastNumbers, Link, LinkDownError, ask, heed_records
from tieline.link.tunnel import address
from tieline.link.users import site_user
from tieline.records import AnyRecord
from tieline.records.losses import tell_losses
from tieline.store import StoreError
from tieline.store.outbox import Outbox
from tieline.tasks import Registry, beat

log = logging.getLogger("tieline.edge")

# A page shows a site every two seconds; in a fast world a step is at most a minute of it, unless that would
# be more than four steps a second.
STEP_S, WORLD_STEP_S, FASTEST_S = 2.0, 60.0, 0.25
POLLS_S = 2.5
# A step waits for its devices for a few seconds at most; one that takes this long stands still.
STEP_TAKES_S = 60.0
ASK_EVERY_S, ASK_TIMEOUT_S = 2.0, 3.0
# A platform's configuration changes at its starts, and then the link comes anew; this is for a core that starts alone.
CONFIG_EVERY_S = 30.0

DeviceFactory = Callable[[Site, RigGroup | NodeGroup, Surroundings], Device | None]
MeterFactory = Callable[[Site, Surroundings], Meter | None]


# What joined or was cut off elsewhere is noticed within this.
LOOK_AWAY_S = 0.25

# The link of one of its users.
Connect = Callable[[str], Awaitable[Link]]


@dataclass(frozen=True)
class SiteHost:
    """What the agents of one process share. Each site speaks as its own user of the link, so that none can speak for
    another. `away`: the sites that run elsewhere; one that goes there ends here, and is taken back at the next
    start. `command_key`: the pinned key that what binds a site is signed with, above the number `command_floor`; None
    where both ends are one process, in tests and studies. `take_config`: hears the platform's configuration of the
    site now and then, where it is kept elsewhere. `local`: the page for who stands there. `tunnels`: nobody can dial
    the engines here, so that requests come over connections held open to each gateway."""

    config: Config
    clock: Clock
    data_dir: Path
    connect: Connect
    gguf_path: Path | None = None
    device_factory: DeviceFactory | None = None
    meter_factory: MeterFactory | None = None
    away: Callable[[], Container[str]] = tuple
    command_key: bytes | None = None
    command_floor: int = 0
    take_config: Callable[[bytes], None] | None = None
    local: LocalDoor | None = None
    tunnels: bool = False
    surroundings: Surroundings = field(default_factory=Surroundings)

    @property
    def every(self) -> timedelta:
        return step_length(self.clock)

    @property
    def here(self) -> list[Site]:
        away = self.away()
        return [site for site in self.config.fleet.sites if site.id not in away]

    def folder(self, site: Site) -> Path:
        return self.data_dir / "sites" / site.id


class SiteAgents:
    """The agents that run now, each with its link and its real replicas."""

    def __init__(self, host: SiteHost, registry: Registry) -> None:
        self.host, self.registry = host, registry
        self.running: dict[str, tuple[Agent, list[EngineProcess]]] = {}
        self._links: dict[str, Link] = {}
        self._shared: Link | None = None

    async def start(self) -> None:
        """Raises LinkDownError where the link is not there."""
        host, here = self.host, self.host.here
        for site in here:
            self._links[site.id] = self._checked(site, await host.connect(site_user(site.id)))
        # What all hear comes over the user `sites`, or where that is one site alone, over its own.
        alone = len(host.config.fleet.sites) == 1 and bool(self._links)
        shared = self._shared = next(iter(self._links.values())) if alone else await self._common()
        for site in here:
            agent, own = make_agent(host, site, self._links[site.id])
            await agent.link.serve(f"preview.{site.id}", partial(answer_preview, agent))
            self.running[site.id] = agent, [one for group in own for one in group.replicas]
            tell_losses([(f"outbox of {site.id}", agent.outbox)], host.clock.now(), agent.keep_all)
        hear = partial(_follow_surroundings, shared, host.surroundings, host.clock)
        self.registry.keep("surroundings", "hears weather and demand", hear)
        for agent, replicas in self.running.values():
            keep_agent(self.registry, agent, host.clock, host.every)
            for one in replicas:
                self.registry.keep(f"replica {one.replica_id}", "runs a model server", one.run)
            if host.tunnels and replicas:
                self._hold_tunnels(agent, replicas)
            if host.local is not None:
                what = "shows the site to who stands there"
                self.registry.keep(f"{agent.site.id} page", what, partial(serve_door, agent, host.local))
            if host.take_config is not None:
                follow = partial(_follow_config, agent, host.take_config)
                self.registry.keep(f"{agent.site.id} configuration", "asks for changes of its configuration", follow)

    def _hold_tunnels(self, agent: Agent, replicas: list[EngineProcess]) -> None:
        site = agent.site.id
        for one in replicas:
            one.told_url = address(one.replica_id)

        def here(replica_id: str) -> str | None:
            return next((one.base_url or None for one in replicas if one.replica_id == replica_id), None)

        tunnel = SiteTunnel(site, agent.link, here)
        self.registry.keep(f"{site} tunnels", "holds connections to the gateways", tunnel.run)

    async def _common(self) -> Link:
        """The link of what all sites hear; of it, too, only what the platform signed."""
        link = await self.host.connect("sites")
        key = self.host.command_key
        return link if key is None else CheckedLink(link, key, LastNumbers(None, self.host.command_floor))

    def _checked(self, site: Site, link: Link) -> Link:
        host = self.host
        if host.command_key is None:
            return link
        numbers = LastNumbers(host.folder(site) / "heard.json", host.command_floor)
        return CheckedLink(link, host.command_key, numbers, partial(self._refused, site.id))

    def _refused(self, site_id: str, subject: str, why: str) -> None:
        if site_id in self.running:
            self.running[site_id][0].refused_command(subject, why)

    async def end_those_away(self) -> None:
        away = self.host.away()
        for site_id in [one for one in self.running if one in away]:
            log.warning("%s runs elsewhere now, or was cut off: its agent ends here", site_id)
            agent, replicas = self.running.pop(site_id)
            await _end(self.registry, agent, replicas)

    async def close(self) -> None:
        await self.registry.close()
        for agent, _ in self.running.values():
            await agent.close()
        shared = () if self._shared is None else (self._shared,)
        for link in {*self._links.values(), *shared}:
            await link.close()

    @property
    def words(self) -> str:
        count = sum(len(replicas) for _, replicas in self.running.values())
        return f"{len(self.running)} sites, {count} real replicas"


async def run_sites(
    host: SiteHost, ready: Callable[[str], None] | None = None, registry: Registry | None = None
) -> None:
    """Until cancelled. Raises LinkDownError where the link is not there at the start."""
    agents = SiteAgents(host, registry or Registry())
    try:
        await agents.start()
        if ready is not None:
            ready(agents.words)
        while True:
            await asyncio.sleep(LOOK_AWAY_S)
            with agents.registry.attempt("away", "ends what runs elsewhere now"):
                await agents.end_those_away()
    finally:
        await agents.close()


async def _end(registry: Registry, agent: Agent, replicas: list[EngineProcess]) -> None:
    """End one site's tasks, then what they worked with. Its outbox stays on disk."""
    mine = {f"replica {one.replica_id}" for one in replicas}
    for name in registry.names:
        if name in mine or name.startswith(f"{agent.site.id} "):
            await registry.drop(name)
    await agent.close()
    await agent.link.close()


def make_agent(host: SiteHost, site: Site, link: Link) -> tuple[Agent, list[Replicas]]:
    """One site's agent with its devices, outbox and orders, and the groups that have real replicas."""
    folder, clock = host.folder(site), host.clock
    hardware, mistake = SiteHardware(), None
    try:
        hardware = load_hardware(folder / "edge.toml", site, clock)
    except HardwareError as error:  # this site's alone: its rigs are driven all the same, and it is said
        mistake = str(error)
        log.error("%s: %s", site.id, mistake)
    meter = hardware.meter
    if meter is None and host.meter_factory is not None:
        meter = host.meter_factory(site, host.surroundings)
    callbacks: dict[str, GpuTarget] = {}
    devices, worker = _devices(host, site, hardware)
    agent = Agent(
        clock,
        site,
        Equipment(devices, meter, hardware.contactors, callbacks),
        open_outbox(folder / "outbox.db"),
        link,
        OrderBook(site.id, folder / "orders.json"),
        interval=host.config.dispatch.interval,
        hold=hold_length(clock, host.every),
    )
    agent.sources, agent.fans = hardware.sources, FanWatch(hardware.fans)
    if worker is not None:
        agent.processes = (("rigs", "speaks to the site's rigs in a process of its own", worker.run),)
    if mistake is not None:
        agent.keep(agent.faults.hold(clock.now(), "site file", mistake))
    spec, own = engine_spec(host.config, host.gguf_path, host.data_dir / "models"), []
    for group in site.node_groups:
        if group.replicas_real:
            real = Replicas(site, group, _commanded(spec, hardware, group, folder), clock, link, agent.keep)
            callbacks[group.id] = real.on_target
            own.append(real)
    return agent, own


def _commanded(spec: EngineSpec, hardware: SiteHardware, group: NodeGroup, folder: Path) -> EngineSpec:
    """The same run by the site's own command, where its file has one for this group."""
    command = hardware.engines.get(group.id)
    if command is None:
        return spec
    context = command.context_tokens or spec.context_tokens
    return replace(spec, command=command, slots=command.slots, context_tokens=context, left=folder)


def _devices(host: SiteHost, site: Site, hardware: SiteHardware) -> tuple[list[Device], RigWorker | None]:
    """The site's devices, and what speaks to its rigs where it has any on sockets."""
    around = host.surroundings
    groups = tuple(unit for unit in site.rig_groups if unit.hardware != "modelled")
    worker = None
    if groups:
        opening = RigOpening(
            site=site,
            groups=groups,
            ports={group.id: FAKE_PORTS if group.hardware == "fake" else {} for group in groups},
            folder=str(host.folder(site)),
            passwords=hardware.passwords,
            breakers=hardware.breakers,
        )
        worker = RigWorker(opening, lambda now: around.temp_c(site, now))
    rigs: dict[str, Device] = {} if worker is None else {one.unit_id: one for one in worker.devices()}
    devices = [rigs.get(unit.id) or _device(host, site, unit) for unit in site.units]
    return [device for device in devices if device is not None], worker


def _device(host: SiteHost, site: Site, unit: RigGroup | NodeGroup) -> Device | None:
    if isinstance(unit, NodeGroup) and unit.hardware == "real":
        return GpuNodes(unit)
    return None if host.device_factory is None else host.device_factory(site, unit, host.surroundings)


def open_outbox(path: Path) -> Outbox:
    """The site's outbox; one that cannot be read any more is set aside by name, for a person, and a new one begun.
    Raises StoreError where the disk takes neither."""
    try:
        return Outbox(path)
    except StoreError as error:
        if not path.exists() or not path.is_file() or not _may_open(path):
            raise
        aside = path.with_name(f"{path.name}.unreadable-{path.stat().st_mtime_ns}")
        for end in ("", "-wal", "-shm", "-mark"):  # the mark, too: it says how much a new one would lack
            with contextlib.suppress(OSError):
                os.replace(f"{path}{end}", f"{aside}{end}")
        log.error("%s; it is set aside as %s and a new one begun", error, aside)
        return Outbox(path)


def _may_open(path: Path) -> bool:
    """Whether this process may open files at all: for one that may not nothing is wrong with the file."""
    try:
        with contextlib.ExitStack() as opened:
            for _ in range(8):  # a database, its log, their index, its mark, and what is opened beside them
                opened.enter_context(path.open("rb"))
    except OSError:
        return False
    return True


def step_length(clock: Clock) -> timedelta:
    """World time between two steps."""
    speed = clock.speed if isinstance(clock, WallClock) else 1.0
    return timedelta(seconds=min(STEP_S * speed, max(WORLD_STEP_S, FASTEST_S * speed)))


def hold_length(clock: Clock, every: timedelta) -> timedelta:
    """How long a reading stands for what came after it: two steps, and two polls of rigs that answer in wall
    time however fast the world runs."""
    speed = clock.speed if isinstance(clock, WallClock) else 1.0
    return max(timedelta(seconds=60), 2 * every, timedelta(seconds=POLLS_S * speed))


def engine_spec(config: Config, gguf_path: Path | None, models: Path = Path("models")) -> EngineSpec:
    """What real replicas serve: the file given, else the model's own path or address, else the self-test model. What is
    fetched goes into the folder `models`."""
    model = config.engine_model
    if model is None:
        return EngineSpec() if gguf_path is None else EngineSpec(name=gguf_path.stem, path=gguf_path, label="")
    own = model.path in (None, SELF_TEST)
    path = gguf_path if gguf_path is not None else SELFTEST_MODEL if own else Path(str(model.path))
    tested = path == SELFTEST_MODEL
    url = str(model.path) if gguf_path is None and not own and "://" in str(model.path) else None
    if url is not None:
        path = models / Path(urlsplit(url).path).name
    return EngineSpec(
        name=model.name,
        path=path,
        label=model.label or (SELFTEST_LABEL if tested else ""),
        context_tokens=model.context_tokens,
        slots=model.slots,
        url=url,
        sha256=model.sha256 if gguf_path is None else None,
        # Two threads were slower for the self-test model; a larger one may have half of the machine.
        threads=1 if tested else max(1, (os.cpu_count() or 2) // 2),
    )


def keep_agent(registry: Registry, agent: Agent, clock: Clock, every: timedelta) -> None:
    """All that one agent does: each task by itself, so that one that ends takes no other with it."""
    site, link = agent.site.id, agent.link
    for name, what, life in agent.processes:
        registry.keep(f"{site} {name}", what, life)
    registry.keep(f"{site} steps", "reads and sets the site's devices", lambda: _steps(agent, clock, every))
    registry.keep(f"{site} outbox", "sends records to the core", lambda: push_always(link, site, agent.outbox))
    for what in ("plan", "command"):
        subject = f"{what}.{site}"
        registry.keep(f"{site} {what}s", f"hears its {what}s", partial(_follow_orders, agent, clock, subject))
    words = OperatorWords(agent)
    agent.on_word = words.take
    registry.keep(f"{site} words", "does what an operator has single rigs do", words.run)
    registry.keep(f"{site} asks", "asks for its plan and standing orders", lambda: _ask(agent, clock))
    desk = OrderDesk(agent, clock, agent.sources)
    for source, standing in desk.sources:
        name, what = f"{site} orders {source.name}", "reads the site's own orders"
        registry.keep(name, what, partial(desk.follow, source, standing))


async def _steps(agent: Agent, clock: Clock, every: timedelta) -> None:
    """A step at each boundary, and at once when an order arrives."""
    while True:
        boundary = Interval.holding(clock.now(), every).end
        beat((boundary - clock.now()).total_seconds() / getattr(clock, "speed", 1.0) + STEP_TAKES_S)
        tick = asyncio.ensure_future(clock.sleep_until(boundary))
        order = asyncio.ensure_future(agent.awake.wait())
        try:
            await asyncio.wait({tick, order}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            tick.cancel()
            order.cancel()
        agent.awake.clear()
        beat(STEP_TAKES_S)
        try:
            await agent.step(clock.now())
        except Exception:  # one failed step must not leave a site without its reflex: log it and go on
            log.exception("%s: a step failed", agent.site.id)


async def _follow_orders(agent: Agent, clock: Clock, subject: str) -> None:
    await heed_records(agent.link, subject, lambda record: agent.take(record, clock.now(), fresh=True), clock.now)


async def _ask(agent: Agent, clock: Clock) -> None:
    """Ask for the plan and for standing orders at the start, after each reconnect, and while there is no plan."""
    asked = False
    while True:
        if not agent.link.up:
            asked = False
        elif not asked or agent.orders.orders(clock.now()).plan is None:
            asked = await _ask_once(agent, clock)
        await asyncio.sleep(ASK_EVERY_S)


async def _ask_once(agent: Agent, clock: Clock) -> bool:
    site_id = agent.site.id
    try:
        plans = await ask(agent.link, f"plan.get.{site_id}", clock.now(), ASK_TIMEOUT_S)
        standing: list[AnyRecord] = []
        with contextlib.suppress(LinkDownError):
            standing = await ask(agent.link, f"orders.get.{site_id}", clock.now(), ASK_TIMEOUT_S)
        for record in [*plans, *standing]:
            agent.take(record, clock.now())
    except LinkDownError:
        return False
    except IntakeError as error:
        log.warning("%s: no plan could be read: %s", site_id, error)
    return True


async def _follow_config(agent: Agent, take: Callable[[bytes], None]) -> None:
    """Ask when the link comes and then now and then; what is no configuration is named and not taken."""
    asked_at = float("-inf")
    while True:
        now = asyncio.get_running_loop().time()
        if not agent.link.up:
            asked_at = float("-inf")
        elif now - asked_at >= CONFIG_EVERY_S:
            asked_at = now
            try:
                text = await agent.link.request(f"config.get.{agent.site.id}", b"", ASK_TIMEOUT_S)
                if text:
                    take(text)
            except (LinkDownError, IntakeError) as error:
                log.warning("%s: its configuration could not be asked for: %s", agent.site.id, error)
        await asyncio.sleep(ASK_EVERY_S)


async def _follow_surroundings(link: Link, surroundings: Surroundings, clock: Clock) -> None:
    """`feeds.>` carries weather and demand records; `feeds.get` gives the newest of each as one batch."""

    async def catch_up() -> None:
        while True:
            with contextlib.suppress(LinkDownError, IntakeError):
                for record in await ask(link, "feeds.get", clock.now(), ASK_TIMEOUT_S):
                    surroundings.take(record)
                return
            await asyncio.sleep(ASK_EVERY_S)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(catch_up())
        for kind in ("weathertick", "demand"):
            tasks.create_task(heed_records(link, f"feeds.{kind}", surroundings.take, clock.now))

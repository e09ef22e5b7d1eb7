"""The gateway: its processes and the budgets' coordinator on one machine, one more gateway on another, engines that
die, hang and lie in the middle of an answer, and clients that keep what they were told.

The product's own code from the client's bytes to the engine's: `ClientConnection`, `Paths`, `Service`, `Exchange`,
`LeaseClient`, `CoordinatorServer`, the meter and the spool; only the sockets are pipes in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from tests.simulation.hosts import Host, TurnedSpool
from tests.simulation.machinery import Program, SimulatedClock
from tests.simulation.network import Wire
from tests.store.simulate import ViolationError

from tieline.gateway.budgets.client import LeaseClient
from tieline.gateway.budgets.coordinator import CoordinatorServer
from tieline.gateway.budgets.lease import GRACE_S, LEASE_S, Coordinator
from tieline.gateway.budgets.remote import Remembered, Remote
from tieline.gateway.metering.usage import SpoolQueue
from tieline.gateway.routes import Paths
from tieline.gateway.service import TICK_S, Service
from tieline.gateway.settings import Clocks, Key, Limits, Model, Settings, Tenant
from tieline.gateway.wire.client import ClientConnection
from tieline.gateway.workers import limits_of
from tieline.link import push_always
from tieline.records import ReplicaState
from tieline.store import StoreError
from tieline.store.quarantine import NAME, Quarantine

if TYPE_CHECKING:
    from tests.simulation.world import World

MACHINE, ABROAD = "gateway", "abroad"
ENGINES, FIRST_PORT, PORT_OF_COORDINATOR = 3, 9_000, 7_000
# More than a request of 40 tokens and a short prompt is reserved at.
MOST_NANO = 400_000
Answered = tuple[int, str]
NOTHING: Answered = 0, ""  # no whole answer came
SPENT, SUSPECTED = "insufficient_quota", ("request_rejected", "engine_died")  # engines may die of a request
BUDGET_USD = {"a": Decimal("0.020"), "b": Decimal("0.002")}  # of a tenant: for ever, and a day


def key_of(tenant: str) -> str:
    return f"sk-{tenant}"


def settings() -> Settings:
    return Settings(
        port=0,
        models=(
            Model(name="m", input_usd_per_mtok=Decimal(1), output_usd_per_mtok=Decimal(4), max_output_tokens=40),
        ),
        tenants=(
            Tenant(id="a", limits=Limits(budget_usd=BUDGET_USD["a"], budget_period="total", concurrent=12)),
            Tenant(id="b", limits=Limits(budget_usd=BUDGET_USD["b"], budget_period="day", requests_per_minute=600)),
        ),
        keys=tuple(
            Key(id=f"key-{t}", sha256=hashlib.sha256(key_of(t).encode()).hexdigest(), tenant=t) for t in BUDGET_USD
        ),
        clocks=Clocks(
            stall_floor_s=1.0, resume_s=3.0, queue_s=3.0, first_token_s=5.0, idle_s=4.0, connect_s=1.0, total_s=30.0
        ),
        access_log=False,
    )  # fmt: skip


@dataclass
class Told:
    """What a client was told, whole: its request is billed by exactly this."""

    tenant: str
    prompt: int
    output: int


class GatewaySpool(TurnedSpool):
    """Notes which bills a full disk refused: their answers are not withheld, the loss is the operator's. What a crash
    cut off is no refusal: nobody can have been told of it."""

    lost: set[str]
    unbilled: Counter[str]  # of those, by tenant, in this life: a gateway counts them as spent while it lives

    def _commit(self, db: Any) -> bool:
        things = list(self._things[: self.max_group])
        good = super()._commit(db)
        if not good and not self._disk.off:
            for thing in (one for one in things if one not in self._things):
                self.lost.add(thing.request.id)
                self.unbilled[thing.request.account.tenant.id] += thing.cost
        return good


class CoordinatorHost(Host):
    """The parent of the gateway's processes: it serves nobody and shares out their budgets."""

    pause_s, long_pause_s = (0.2, 2.0), 10.0

    def __init__(self, house: House) -> None:
        super().__init__(house.world, MACHINE, "coordinator", house.clock)
        self.house = house
        self.path = self.folder / "budgets.sock"

    async def run(self, program: Program) -> None:
        house = self.house
        coordinator = Coordinator(limits_of(house.settings))
        for worker in house.workers:
            if not worker.abroad:
                coordinator.known(worker.name, worker.spent())
        remembered = Remembered(self.folder / "budgets.json", self.disk.write_file)
        server = CoordinatorServer(coordinator, house.audit, remembered)
        await server.listen("coordinator", PORT_OF_COORDINATOR, b"", None)
        await server.start(self.path)
        while True:
            await asyncio.sleep(1.0)
            server.sweep()


class WorkerHost(Host):
    """One gateway process."""

    pause_s, long_pause_s = (0.5, 3.0), 12.0
    keeps = ("usage spool", "quarantine")
    writes_most = 800

    def __init__(self, house: House, number: int, *, abroad: bool) -> None:
        name = "gateway-abroad" if abroad else f"worker-{number}"
        super().__init__(house.world, ABROAD if abroad else MACHINE, name, house.clock)
        self.house, self.number, self.abroad, self.port = house, number, abroad, 8_000 + number
        if abroad:
            self.clock = SimulatedClock(house.world.loop)
            (self.folder / "gateway.id").write_text(f"{name}\n")
        self.spool: GatewaySpool | None = None
        self.service: Service | None = None
        self.lost: set[str] = set()
        self.waiting = 0  # rows that wait for the store
        self.queue: SpoolQueue | None = None

    @property
    def kind(self) -> str:
        return "a gateway abroad" if self.abroad else "a gateway"

    def _open(self) -> GatewaySpool:
        spool = GatewaySpool(self.folder / "usage.db", disk=self.disk)
        spool.lost, spool.unbilled = self.lost, Counter()
        return spool

    def spent(self) -> dict[str, int]:
        """From its own disk, as the coordinator reads it. Raises StoreError."""
        if self.spool is not None and self.up:
            return self.spool.totals()
        if not (self.folder / "usage.db").exists():
            return {}
        aim, self.disk.aim = self.disk.aim, None
        spool = self._open()
        try:
            return spool.totals()
        finally:
            spool.cut()
            self.disk.aim = aim

    async def run(self, program: Program) -> None:
        house, world = self.house, self.world
        self.spool = spool = self._open()
        self.whole(spool=spool)
        source = f"gateway.{self.name}"
        service = self.service = Service(house.settings, self.clock, spool, source, leased=True)
        service.meter.recover()
        where = Remote("coordinator", PORT_OF_COORDINATOR, b"", None) if self.abroad else house.coordinator.path
        leases = service.leases = LeaseClient(where, self.name, service.book, spool, service.abandon_budgeted)
        paths = Paths(service, cast(Any, None), cast(Any, None), cast(Any, None))
        wire = Wire(world.net, program)
        origin = f"gateway-{self.name}"
        self.queue = SpoolQueue(origin, spool, Quarantine(self.folder / NAME, disk=self.disk), self.clock.now)
        program.spawn(leases.run())
        await leases.joined()
        await world.loop.create_server(lambda: ClientConnection(service, paths.route), port=self.port)
        program.spawn(self._push(wire, origin, program))
        beats = 0
        while True:
            if beats % 10 == 0:
                for engine in house.engines:
                    service.heard(engine.state(self.clock.now()))
            beats += 1
            await asyncio.sleep(TICK_S if service.exchanges else 4 * TICK_S)
            service.tick(world.loop.time())
            if service.meter.failing is not None and beats % 10 == 0:
                await service.meter.try_again()

    async def _push(self, wire: Wire, source: str, program: Program) -> None:
        assert self.queue is not None
        while program.alive:
            with contextlib.suppress(StoreError):
                await push_always(wire, source, self.queue, lambda s: asyncio.sleep(max(s, 2.0)))
            await asyncio.sleep(1.0)

    def close(self) -> None:
        if self.spool is not None:
            self.waiting = len(self.spool)
            self.spool.cut()
        if self.queue is not None:
            self.queue.quarantine.close()
        self.spool = self.service = self.queue = None

    def stop(self) -> None:
        """An orderly end, as when a process is told to stop."""
        self.stopping = True
        if self.up and self.spool is not None:
            with contextlib.suppress(StoreError):
                self.spool.close()
            assert self.program is not None
            if self.up:
                self.program.kill()


class Engine:
    """One scripted model server; it is no model. Its answer is always the same row of words, as far as it goes."""

    def __init__(self, house: House, number: int) -> None:
        self.house, self.number = house, number
        self.port = FIRST_PORT + number
        self.draw = random.Random(f"{house.world.seed} engine {number}")
        self.program = Program(house.world.loop, f"engines-{number}", f"engine-{number}")
        house.world.programs[self.program] = None

    def state(self, now: Any) -> ReplicaState:
        return ReplicaState(
            at=now, known_at=now, source="site:s1", kind="measured", replica_id=f"s1-{self.number}", site_id="s1",
            region="here", model="m", base_url=f"http://engine:{self.port}/v1", state="ready", slots=8, engine="sglang",
        )  # fmt: skip

    async def serve(self) -> None:
        await asyncio.start_server(self._talk, "engine", self.port)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                lines = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
                body = await reader.readexactly(int(lines.get("content-length", 0)))
                if "/chat/completions" not in head.split("\r\n", 1)[0]:
                    writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}")
                    continue
                await self._answer(json.loads(body), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _answer(self, asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        draw, seen = self.draw, self.house.world.seen
        most = int(asked.get("max_tokens") or asked.get("max_completion_tokens") or 40)
        wanted = int(asked["messages"][-1]["content"].split()[-1])
        count, finish = (wanted, "stop") if wanted < most else (most, "length")
        fate = "well" if self.house.world.net.healed else draw.choices(
            ["well", "dies", "hangs", "error", "lies", "slow"], [80, 6, 4, 4, 4, 2]
        )[0]  # fmt: skip
        if fate != "well":
            seen[f"engine {fate}"] += 1
        cut = draw.randrange(count + 1) if fate in ("dies", "hangs") else None
        prompt = len(json.dumps(asked["messages"])) // 8
        usage = {"prompt_tokens": prompt, "completion_tokens": count, "total_tokens": prompt + count}
        if fate == "lies":
            usage = {"prompt_tokens": draw.choice([0, 10**9]), "completion_tokens": draw.choice([0, 10**9])}
        if fate == "error":
            writer.write(b"HTTP/1.1 500 Oh\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
            return
        words = [f"w{n} " for n in range(count)]
        if not asked.get("stream"):
            await self._wait(fate, cut, writer)
            choice = {"index": 0, "message": {"role": "assistant", "content": "".join(words)}, "finish_reason": finish}
            whole = {
                "id": "c",
                "object": "chat.completion",
                "created": 7,
                "model": "m",
                "choices": [choice],
                "usage": usage,
            }
            text = json.dumps(whole).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(text) + text
            )
            return
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        named = {"id": "c", "object": "chat.completion.chunk", "created": 7, "model": "m"}
        _chunk(
            writer,
            {**named, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]},
        )
        for n in range(0, count, 4):
            if cut is not None and n >= cut:
                await self._wait(fate, cut, writer)
            await asyncio.sleep(2.5 if fate == "slow" else 0.05)
            text = "".join(words[n : n + 4])
            _chunk(writer, {**named, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})
        _chunk(writer, {**named, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        if (asked.get("stream_options") or {}).get("include_usage"):
            _chunk(writer, {**named, "choices": [], "usage": usage})
        done = b"data: [DONE]\n\n"
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(done), done))

    async def _wait(self, fate: str, cut: int | None, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        if cut is None:
            return
        if fate == "dies":
            writer.close()
            raise ConnectionResetError("the engine died")
        await asyncio.sleep(60.0)


def _chunk(writer: asyncio.StreamWriter, value: object) -> None:
    text = b"data: " + json.dumps(value).encode() + b"\n\n"
    writer.write(b"%x\r\n%b\r\n" % (len(text), text))


async def _whole_answer(reader: asyncio.StreamReader) -> bytes:
    """What comes until the answer is whole, as its framing says, or the connection is closed: a client does not wait
    for the end of a connection of which it has all that it asked for."""
    found = b""
    while more := await reader.read(65_536):
        found += more
        head, blank, body = found.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if blank and (body.endswith(b"0\r\n\r\n") if length is None else len(body) >= int(length[1])):
            break
    return found


class House:
    """All of the gateway, which works in rushes of half a minute: renewing leases each second of a quiet day would cost
    more than all the rest."""

    def __init__(self, world: World) -> None:
        self.world, self.settings = world, settings()
        self.draw = random.Random(f"{world.seed} house")
        self.clock = SimulatedClock(world.loop)
        self.coordinator = CoordinatorHost(self)
        self.workers = [WorkerHost(self, n, abroad=n == 2) for n in range(3)]
        self.clients = Program(world.loop, "clients", "clients")
        world.programs[self.clients] = None
        self.engines = [Engine(self, n) for n in range(ENGINES)]
        self.told: dict[str, Told] = {}
        self.answers: Counter[str] = Counter()

    @property
    def hosts(self) -> list[Host]:
        return [self.coordinator, *self.workers]

    def audit(self, name: str) -> dict[str, int] | None:
        """What a gateway that is gone has spent, from its disk; None: it cannot be read."""
        worker = next(one for one in self.workers if one.name == name)
        try:
            return worker.spent()
        except StoreError:
            return None

    async def start(self) -> None:
        for engine in self.engines:
            engine.program.spawn(engine.serve())
        await asyncio.sleep(0.01)

    async def rush(
        self, requests: int, for_s: float, last: Callable[[], Coroutine[Any, Any, None]] | None = None
    ) -> None:
        """Everything begins, is asked, is killed, and ends. `last` is done before the end."""
        world, draw = self.world, self.draw
        for worker in self.workers:
            worker.clock.set(
                draw.choice([0.0, draw.uniform(-2, 2), draw.uniform(-7_200, 200)]), draw.uniform(-1e-4, 1e-4)
            )
            world.seen["clock stepped"] += 1
            world.seen["clock drifts"] += 1
        for host in self.hosts:
            host.stopping = False
        lives = [world.loop.create_task(host.live()) for host in self.hosts]
        await asyncio.sleep(0.5)
        asking = [self.clients.spawn(self._ask(draw.uniform(0, for_s))) for _ in range(requests)]
        end = world.loop.moment + for_s
        while world.loop.moment < end:
            await asyncio.sleep(draw.uniform(1.0, 10.0))
            if not world.net.healed:
                self._mishap()
            world.look()
        if asking:
            await asyncio.wait(asking)
        for one in asking:
            one.result()
        if last is None and draw.random() < 0.5:
            last = self._probe
        if last is not None:
            await self.clients.spawn(last())
        await asyncio.sleep(12.0 if world.net.healed else draw.choice([0.1, 3.0, 12.0]))
        await self.stop(lives)

    async def stop(self, lives: list[asyncio.Task[None]]) -> None:
        for host in reversed(self.hosts):
            host.stopping = True
            if isinstance(host, WorkerHost) and (self.world.net.healed or self.draw.random() < 0.7):
                host.stop()
            elif host.up:
                host.kill(power=self.draw.random() < 0.5)
        await asyncio.wait(lives)
        for life in lives:
            life.result()

    def _mishap(self) -> None:
        draw, seen, net = self.draw, self.world.seen, self.world.net
        match draw.choice(["kill", "kill", "power", "coordinator", "cut", "cut one way", "nothing"]):
            case "kill":
                draw.choice(self.workers).kill(power=False)
            case "power":  # of the whole machine
                for host in (self.coordinator, self.workers[0], self.workers[1]):
                    host.kill(power=True)
                seen["power loss of the gateway's machine"] += 1
            case "coordinator":
                self.coordinator.kill(power=False)
            case "cut":
                for_s = draw.uniform(1, 15)
                net.cut(ABROAD, MACHINE, for_s)
                net.cut(MACHINE, ABROAD, for_s)
                seen["gateway abroad cut off"] += 1
            case "cut one way":
                way = draw.choice([(ABROAD, MACHINE), (MACHINE, ABROAD)])
                net.cut(*way, draw.uniform(1, 15))
                seen["gateway abroad cut off one way"] += 1
            case _:
                pass

    # --- clients -------------------------------------------------------------------------

    async def _ask(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self.ask(self.draw.choice(["a", "b"]), self.draw.choice(self.workers), self.draw.randrange(1, 60))

    async def ask(self, tenant: str, worker: WorkerHost, words: int, stream: bool | None = None) -> Answered:
        """One request; its status and the code of its refusal, or NOTHING. What was told whole is kept."""
        draw = self.draw
        stream = draw.random() < 0.7 if stream is None else stream
        asked: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": f"say words {words}"}]}
        if draw.random() < 0.6:
            asked["max_tokens"] = draw.randrange(1, 40)
        if stream:
            asked |= {"stream": True, "stream_options": {"include_usage": True}}
        patience_s = draw.choice([60.0, 60.0, 60.0, 0.3])
        program = worker.program
        body = json.dumps(asked).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key_of(tenant)}\r\n"
        head += f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        try:
            async with asyncio.timeout(patience_s if not self.world.net.healed else 60.0):
                reader, writer = await asyncio.open_connection("gateway", worker.port)
                writer.write(head.encode() + body)
                answer = await _whole_answer(reader)
                writer.close()
        except TimeoutError:
            self.answers["client gave up"] += 1
            if patience_s == 60.0 and program is not None and program.alive:
                raise ViolationError(
                    "a request was neither answered nor its connection closed within a minute"
                ) from None
            return NOTHING
        except ConnectionError:
            self.answers["nobody there"] += 1
            return NOTHING
        return self._heard(tenant, stream, answer)

    def _heard(self, tenant: str, stream: bool, answer: bytes) -> Answered:
        head, blank, body = answer.partition(b"\r\n\r\n")
        if not blank:
            self.answers["cut off"] += 1
            return NOTHING
        lines = head.decode().split("\r\n")
        status = int(lines[0].split()[1])
        fields = dict(line.lower().split(": ", 1) for line in lines[1:])
        self.answers[f"status {status}"] += 1
        if status != 200 and len(body) < int(fields["content-length"]):
            self.answers["cut off"] += 1
            return NOTHING
        if status != 200:
            return status, str(json.loads(body)["error"]["code"])
        usage: dict[str, Any] | None = None
        if stream:
            if not body.endswith(b"0\r\n\r\n") or b"data: [DONE]" not in body:
                self.answers["stream cut off"] += 1
                return NOTHING
            for line in body.split(b"\n"):
                if line.startswith(b"data: {") and b'"usage":{' in line:
                    usage = json.loads(line[6:])["usage"]
        else:
            if len(body) < int(fields["content-length"]):
                self.answers["cut off"] += 1
                return NOTHING
            usage = json.loads(body)["usage"]
        if usage is None:
            self.answers["ended with an error"] += 1
            return status, ""
        name = fields["x-request-id"]
        self.told[name] = Told(tenant, usage["prompt_tokens"], usage["completion_tokens"])
        return status, ""

    # --- what must hold --------------------------------------------------------------------

    def _spent(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for worker in self.workers:
            total += Counter(worker.spent())
        return total

    def _left(self, tenant: str, name: str) -> int:
        """Of a budget, by all disks and by what gateways that live served and no disk took."""
        unbilled = sum(worker.spool.unbilled[tenant] for worker in self.workers if worker.spool is not None)
        return limits_of(self.settings)[f"tenant:{tenant}"] - self._spent()[name] - unbilled

    def check_budgets(self) -> None:
        """No budget is overspent, in any of its periods. Raises ViolationError."""
        limits = limits_of(self.settings)
        for name, nano in self._spent().items():
            limit = limits[name.partition("|")[0]]
            self.world.seen["budget looked at"] += 1
            self.world.seen["budget used up"] += nano > 0.9 * limit
            if nano > limit:
                raise ViolationError(f"{name} has spent {nano:,} of {limit:,} nano-dollars")

    async def _quiet(self) -> bool:
        """Waits for as long as a lease lasts with every way open; whether everything has been up and quiet since."""
        net = self.world.net
        lives = [host.program for host in self.hosts]
        await asyncio.sleep(max(net.blocked(ABROAD, MACHINE), net.blocked(MACHINE, ABROAD)))
        await asyncio.sleep(LEASE_S + GRACE_S + 3.0)
        services = [worker.service for worker in self.workers]
        if [host.program for host in self.hosts] != lives or not all(host.up for host in self.hosts):
            return False
        return not any(one is None or one.exchanges or one.meter.failing for one in services)

    async def _probe(self) -> None:
        """In a quiet moment what is left of a budget is granted, now and then to its end. Raises ViolationError."""
        if await self._quiet():
            await self._spend(self.draw.choice(self.workers), 30 if self.draw.random() < 0.1 else 1)

    async def _spend(self, worker: WorkerHost, most: int) -> None:
        """Asks so often, or until it is told that the budget is spent: less is left then than a request is reserved at.
        "Not now, come again in a second" is no refusal where it does not go on, nor is a limit a minute. Raises
        ViolationError."""
        lives = [(host.program, host.up) for host in self.hosts]
        away, words = 0, 39
        while most > 0 and worker.service is not None:
            book = worker.service.book  # its clock says which day it is
            name = book.total_name(book.scopes["tenant:b"])
            status, code = await self.ask("b", worker, words, stream=False)
            left = self._left("b", name)
            if [(host.program, host.up) for host in self.hosts] != lives:
                return  # what a dead gateway had been given is not free yet, and a dead coordinator grants nothing
            told = status == 200 or code == SPENT
            most -= told
            words += code in SUSPECTED  # the same would be refused for minutes
            away = away + 1 if status in (429, 503) and code != SPENT else 0
            if code == SPENT and left > MOST_NANO:
                raise ViolationError(f"{left:,} nano-dollars are left of {name}, and a request is told it is spent")
            if away > 8:
                raise ViolationError(f"{left:,} nano-dollars are left of {name}, and it cannot be had for {away} s")
            self.world.seen["budget asked for in a quiet moment"] += told
            if code == SPENT:
                self.world.seen["budget spent to its end"] += 1
                return
            await asyncio.sleep(1.0 if away else 0.01)

    async def check_open(self) -> None:
        """What is left of a budget can be spent, also what a gateway held that died; what is not left cannot. Raises
        ViolationError."""
        await self.rush(0, 15.0, self._check_open)

    async def _check_open(self) -> None:
        first, second, abroad = self.workers
        for tenant in BUDGET_USD:
            asked = NOTHING
            for _ in range(8):
                assert first.service is not None
                book = first.service.book
                name = book.total_name(book.scopes[f"tenant:{tenant}"])
                left = self._left(tenant, name)
                asked = await self.ask(tenant, first, 5, stream=False)
                if asked[0] not in (503, 0):
                    break
                await asyncio.sleep(1.0)
            if left > MOST_NANO and asked[0] != 200:
                raise ViolationError(f"{left:,} nano-dollars are left of {name}, and a request got {asked}")
            self.world.seen["budget found open or closed as it should"] += 1
        for worker in (abroad, second):  # each has some at hand, given back when it is called, or freed at its death
            await self._spend(worker, 1)
        if self.draw.random() < 0.5:
            second.stopping = True
            second.kill(power=False)
            await asyncio.sleep(LEASE_S + GRACE_S + 3.0)
        await self._spend(first, 60)

"""A coordinator dies and another goes on from the store: no budget is overshot, no call is made twice."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.gateway.rig import free_port

from tieline import records
from tieline.gateway.budgets import greeting
from tieline.gateway.budgets.coordinator import CoordinatorServer
from tieline.gateway.budgets.elected import BACK_S, StoredBudgets, take_over
from tieline.gateway.budgets.lease import GRACE_S, LEASE_S, Coordinator
from tieline.gateway.budgets.remote import Remembered, Remote, proof
from tieline.store import Store
from tieline.store.lead.kept import Kept, open_kept
from tieline.store.lead.lease import Leases, open_leases
from tieline.store.place import StorePlace

SECRET = b"sixteen letters."
BUDGET, TOTAL, SLOTS = "tenant:t", "tenant:t|2026-11", "tenant:t|concurrent"
LIMITS = {BUDGET: 1_000, SLOTS: 4, "tenant:t|requests": 60}


class Gateway:
    """What a gateway says, line by line."""

    def __init__(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.name, self.reader, self.writer, self.fence, self.n = name, reader, writer, 0, 0

    @classmethod
    async def join(cls, name: str, port: int, spent: int = 0, **claims: int) -> Gateway:
        made = cls(name, *await asyncio.open_connection("127.0.0.1", port))
        nonce = msgspec.json.decode(await made.reader.readline())["hello"]
        made.fence = (
            await made.ask(
                do="join", gateway=name, totals={TOTAL: spent}, claims={"tenant:t|" + k: v for k, v in claims.items()},
                calls={}, proof=proof(SECRET, nonce, name),
            )
        )["fence"]  # fmt: skip
        return made

    async def ask(self, **message: Any) -> dict[str, Any]:
        self.n += 1
        self.writer.write(msgspec.json.encode({"n": self.n, "fence": self.fence, **message}) + b"\n")
        while True:
            said = msgspec.json.decode(await asyncio.wait_for(self.reader.readline(), 5))
            if "recall" in said:  # it has nothing left to give
                back = {"do": "given", "n": said["n"], "fence": self.fence, "name": said["recall"], "amount": 0}
                self.writer.write(msgspec.json.encode(back) + b"\n")
            elif said.get("re") == self.n:
                return dict(said)

    async def spend(self, amount: int) -> dict[str, Any]:
        return await self.ask(do="ask", names=[TOTAL], least=amount, most=amount, more=0)

    async def slot(self) -> dict[str, Any]:
        return await self.ask(do="ask", names=[SLOTS], least=1, most=1, more=0)

    async def claim(self, name: str) -> dict[str, Any]:
        return await self.ask(do="claim", name=name, digest="d")


class Office:
    """Coordinators that follow each other on one store."""

    def __init__(self, folder: Path) -> None:
        self.place = StorePlace(folder)
        Store(self.place, records.encode, records.decode).close()
        self.leases: Leases = open_leases(self.place)
        self.kept: list[Kept] = []
        self.servers: list[CoordinatorServer] = []

    async def elect(self) -> tuple[CoordinatorServer, StoredBudgets, int]:
        fence = self.leases.take("budgets", f"c{len(self.kept)}", "", self.leases.look("budgets"))
        assert fence is not None
        self.kept.append(open_kept(self.place))
        stored = StoredBudgets(self.kept[-1], fence)
        server = take_over(stored, Coordinator(dict(LIMITS)), asyncio.get_running_loop().time())
        self.servers.append(server)
        return server, stored, await server.listen("127.0.0.1", 0, SECRET, None)

    async def close(self) -> None:
        for server in self.servers:
            await server.close()
        for one in self.kept:
            one.close()
        self.leases.close()


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def test_what_was_granted_counts_for_the_next_coordinator_until_its_gateway_is_back(office: Office) -> None:
    async def story() -> None:
        first, stored, port = await office.elect()
        a, b = await Gateway.join("gateway-a", port), await Gateway.join("gateway-b", port)
        assert (await a.spend(600))["granted"] == 600
        assert "granted" in await a.slot()
        stored.keep_used(first.coordinator)
        # It stands still; another is elected; then it wakes up and is asked before anybody noticed.
        second, _, again = await office.elect()
        said = b.spend(100)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(said, 0.3)
        await first.close()
        b = await Gateway.join("gateway-b", again)
        # gateway-a is not back: its 600 count, and no slot is given, for it holds some that nobody else knows of.
        assert "granted" not in await b.spend(500)
        assert (await b.slot()) == {"re": b.n, "wait": 1.0}
        a = await Gateway.join("gateway-a", again, spent=50, concurrent=3)
        assert (await b.spend(500))["granted"] == 500
        assert "granted" in await b.slot()
        assert "granted" not in await b.slot(), "four slots, three of them a's"
        assert "granted" not in await a.spend(451)
        assert (await a.spend(450))["granted"] == 450, "50 of its 600 are spent, the rest was free"
        account = second.coordinator.account(TOTAL)
        assert account is not None
        assert account.free == 0

    asyncio.run(_to_the_end(office, story()))


def test_a_call_that_was_made_is_answered_by_the_next_coordinator_and_one_that_runs_is_waited_for(
    office: Office,
) -> None:
    async def story() -> None:
        first, _, port = await office.elect()
        a = await Gateway.join("gateway-a", port)
        for name in ("done", "runs", "failed"):
            assert (await a.claim(name))["claim"] == "yours"
        answer = {"status": 200, "head": "", "text": "eA=="}
        await a.ask(do="ended", name="done", answer=answer, keep=True)
        await a.ask(do="ended", name="failed", answer=None, keep=False)
        await first.close()
        second, _, again = await office.elect()
        b = await Gateway.join("gateway-b", again)
        assert await b.claim("done") == {"re": b.n, "claim": "answered", **answer}
        assert (await b.claim("failed"))["claim"] == "yours"
        waiting = asyncio.create_task(b.claim("runs"))
        await asyncio.sleep(0.1)
        assert not waiting.done(), "its gateway may be making it"
        second.owners = dict.fromkeys(second.owners, 0.0)  # LEASE_S and GRACE_S later
        second.sweep()
        assert (await waiting)["claim"] == "yours"

    asyncio.run(_to_the_end(office, story()))


def test_a_coordinator_that_leads_no_more_lets_no_call_begin(office: Office) -> None:
    async def story() -> None:
        _, _, port = await office.elect()
        a = await Gateway.join("gateway-a", port)
        await office.elect()
        assert (await a.claim("new"))["claim"] == "busy"

    asyncio.run(_to_the_end(office, story()))


def test_a_gateway_that_runs_is_back_before_it_is_taken_for_gone() -> None:
    assert BACK_S < LEASE_S + GRACE_S


async def _to_the_end(office: Office, story: Any) -> None:
    try:
        await story
    finally:
        await office.close()


@pytest.mark.parametrize("reads", [True, False], ids=["that reads", "that does not read"])
def test_a_coordinator_that_ends_leaves_no_task_that_its_loop_would_tell_as_an_error(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, reads: bool
) -> None:
    """A gateway that joined, one that has yet to say who it is, one with more to read than its socket holds."""

    async def scene() -> None:
        server = CoordinatorServer(Coordinator(LIMITS), lambda name: None)
        await server.start(tmp_path / "budgets.sock")
        said = [await asyncio.open_unix_connection(tmp_path / "budgets.sock", limit=64) for _ in range(3)]
        for n, (_, writer) in enumerate(said[1:]):
            join = {"do": "join", "n": 1, "gateway": f"worker-{n}", "totals": {}, "claims": {}}
            writer.write(msgspec.json.encode(join) + b"\n")
        await asyncio.sleep(0.05)
        if not reads:
            for task, writer in server._connections._open.items():
                assert not task.done()
                writer.write(b"x" * 5_000_000)
        await server.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scene())
    assert [one for one in caplog.records if one.name == "asyncio"] == []


def test_a_gateway_finds_the_coordinator_that_leads_beside_one_that_is_frozen(tmp_path: Path) -> None:
    """One takes the connection and says nothing, one refuses until it leads: it is joined as soon as it does."""

    async def scene() -> None:
        frozen = socket.create_server(("127.0.0.1", 0))
        places = [Remote("127.0.0.1", port, SECRET, None) for port in (frozen.getsockname()[1], free_port())]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(greeting, "GREET_S", 0.3)
            with pytest.raises(ConnectionError, match="says nothing; 127.0.0.1:[0-9]+ ConnectionRefused"):
                await greeting.first_greeting(places)
        looking = asyncio.create_task(greeting.first_greeting(places))
        await asyncio.sleep(0.4)
        assert not looking.done()
        server = CoordinatorServer(Coordinator(LIMITS), lambda name: None, Remembered(tmp_path / "b.json"))
        await server.listen("127.0.0.1", places[1].port, SECRET, None)
        found = await asyncio.wait_for(looking, 1.0)
        assert found.writer.get_extra_info("peername")[1] == places[1].port
        assert len(found.nonce) == 32
        found.writer.close()
        await server.close()
        frozen.close()

    asyncio.run(scene())


def test_slots_of_a_gateway_that_was_killed_are_free_a_second_after_its_connection_closed(office: Office) -> None:
    """Its budget is not: it may have spent that. One whose connection breaks and that is back at once keeps its own."""

    async def story() -> None:
        server, _, port = await office.elect()
        killed = await Gateway.join("gateway-1", port)
        other = await Gateway.join("gateway-2", port)
        for _ in range(2):
            assert (await killed.slot())["granted"] == 1
            assert (await other.slot())["granted"] == 1
        assert (await killed.spend(600))["granted"] == 600
        assert "spent" in await other.slot(), "all four are held"
        loop, killed_at = asyncio.get_running_loop(), asyncio.get_running_loop().time()
        killed.writer.transport.abort()
        other.writer.close()
        back = await Gateway.join("gateway-2", port, concurrent=2)
        waits = 0
        while "granted" not in (answer := await back.slot()):
            assert "spent" in answer
            server.sweep()
            waits += 1
            await asyncio.sleep(0.05)
        assert 1.0 <= loop.time() - killed_at < 2.0
        assert waits > 5
        assert (await back.slot())["granted"] == 1
        server.sweep()
        assert "spent" in await back.slot(), "its own two, and the two of the one that is gone"
        assert "granted" not in await back.spend(500), "the one that is gone may have spent its 600"
        assert (await back.spend(400))["granted"] == 400

    asyncio.run(_to_the_end(office, story()))

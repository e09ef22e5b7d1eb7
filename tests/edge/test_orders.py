"""A site's own orders: a file, an HTTP hook, a contact and a register, with no link anywhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.edge.edge_bench import NOON, Bench

from tieline.edge.orders.desk import OrderDesk
from tieline.edge.orders.hook import HookSource
from tieline.edge.orders.sources import ContactSource, FileSource, RegisterSource, read_orders
from tieline.edge.plant import modbus
from tieline.edge.plant.modbus import ModbusLine, RegisterMap
from tieline.feeds.notices.openadr3 import OpenAdrSource, limits
from tieline.feeds.notices.standing import OrderSource, SilencePolicy, StandingOrders, StatedOrder
from tieline.records import Fault, Instruction
from tieline.sim.modbus import FakeModbus
from tieline.sim.vtn import CLIENT, SECRET, FakeVtn, event

TOKEN = "a-token-of-the-site-itself"


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]


class Desk:
    """A bench whose orders come from one source, read before each step; its link is down throughout."""

    def __init__(self, path: Path, source: OrderSource, silence: SilencePolicy | None = None) -> None:
        self.bench = Bench(path)
        self.bench.link.up = False
        self.bench.plan(gpu=2, old=4, new=4, valid=timedelta(hours=4))
        self.desk = OrderDesk(self.bench.agent, self.bench.clock, [(source, silence or SilencePolicy())])

    async def step(self, times: int = 1) -> float:
        for _ in range(times):
            for source, standing in self.desk.sources:
                await self.desk.read_once(source, standing)
            await self.bench.step()
        return self.bench.true_mw

    def orders(self) -> list[Instruction]:
        return [r for r in self.bench.kept() if isinstance(r, Instruction)]


def test_a_file_orders_acknowledges_and_an_order_that_vanished_is_over(tmp_path: Path) -> None:
    async def story() -> None:
        path = tmp_path / "orders.json"
        it = Desk(tmp_path, FileSource(path))
        assert await it.step(2) == pytest.approx(10)
        path.write_text('[{"id": "a", "limit_mw": 5, "minutes": 60}]')
        assert await it.step(2) == pytest.approx(5)
        assert json.loads((tmp_path / "orders.json.ack").read_text())["in_force"] == ["a"]
        await it.step(20)  # read again and again: the same order, told once
        assert len(it.orders()) == 1
        path.write_text("")
        await it.step(2)
        assert [order.instruction_id for order in it.orders()] == ["a", "a"]
        assert it.orders()[-1].until == it.orders()[-1].known_at
        assert 5 < await it.step(20) < 10  # comes back in stages
        path.write_text('[{"id": "b", "limit_mw": 5}]')
        assert await it.step(2) == pytest.approx(5)  # off during a restore curtails again

    run(story)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "no orders"),
        ('{"id": "a"}', "limit_mw"),
        ('{"id": "a", "limit_mw": -1}', "limit_mw -1.0"),
        ('{"id": "a", "limit_mw": 1e9}', "limit_mw"),
        ('{"id": "a", "limit_mw": 1, "until": "2026-08-20T13:00:00"}', "until"),
        ('{"id": "", "limit_mw": 1}', "id"),
        ('{"id": "a", "limit_mw": 1, "minutes": -3}', "minutes"),
        ('{"id": "a", "limit_mw": 1, "mw": 3}', "unknown field"),
        ("[" * 100_000, "no orders"),
    ],
)
def test_orders_that_are_none_are_one_line_and_what_holds_goes_on(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_orders(text.encode(), NOON)

    async def story() -> None:
        path = tmp_path / "orders.json"
        it = Desk(tmp_path, FileSource(path))
        path.write_text('[{"id": "a", "limit_mw": 5, "minutes": 60}]')
        await it.step(2)
        path.write_text(text)
        assert await it.step(2) == pytest.approx(5)
        (fault,) = [r for r in it.bench.kept() if isinstance(r, Fault)]
        assert fault.what == "orders file"

    run(story)


@pytest.mark.parametrize(("policy", "mw"), [("hold", 5), ("ignore", 5.4), ("curtail", 2)])
def test_a_source_that_is_silent_past_its_bound_takes_its_policy(
    tmp_path: Path, policy: str, mw: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modbus, "TIMEOUT_S", 0.02)

    async def story() -> None:
        device = FakeModbus(coils={0: True})
        source = ContactSource(ModbusLine("127.0.0.1", await device.start()), 0, 5e6)
        silence = SilencePolicy(timedelta(seconds=60), policy, 2e6)  # type: ignore[arg-type]
        it = Desk(tmp_path, source, silence)
        assert await it.step(3) == pytest.approx(5)
        device.manner = "drop"
        assert await it.step(5) == pytest.approx(5)  # within its bound
        await it.step(12)
        assert await it.step(3) == pytest.approx(mw)  # ignored, the load comes back in stages
        faults = [r for r in it.bench.kept() if isinstance(r, Fault) and r.what == "orders contact"]
        assert faults[0].until is None
        await source.close()
        await device.stop()

    run(story)


def test_a_contact_holds_for_hours_and_ends_when_it_opens(tmp_path: Path) -> None:
    async def story() -> None:
        device = FakeModbus(coils={0: True})
        source = ContactSource(ModbusLine("127.0.0.1", await device.start()), 0, 5e6)
        it = Desk(tmp_path, source)
        assert await it.step(240) == pytest.approx(5)  # 20 minutes
        assert len(it.orders()) <= 5  # renewed, not told anew with each reading
        device.coils[0] = False
        await it.step()
        assert it.orders()[-1].until == it.orders()[-1].known_at
        await source.close()
        await device.stop()

    run(story)


def test_a_register_holds_the_limit(tmp_path: Path) -> None:
    async def story() -> None:
        device = FakeModbus(registers={10: 60})
        what = RegisterMap(register=10, form="uint16", kind="holding", scale=1e5, none_at=(65535,))
        source = RegisterSource(ModbusLine("127.0.0.1", await device.start()), what)
        it = Desk(tmp_path, source)
        assert await it.step(2) == pytest.approx(6)
        device.registers[10] = 30
        assert await it.step(2) == pytest.approx(3)
        device.registers[10] = 65535
        await it.step()
        assert it.orders()[-1].until == it.orders()[-1].known_at
        await source.close()
        await device.stop()

    run(story)


def test_the_hook_takes_orders_with_the_sites_token_and_nothing_else(tmp_path: Path) -> None:
    async def story() -> None:
        it = Desk(tmp_path, hook := HookSource(Bench(tmp_path / "clock").clock, TOKEN))
        await it.step()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{hook.port}") as stranger:
            assert (await stranger.post("/orders", json={"id": "a", "limit_mw": 0})).status_code == 401
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{hook.port}", headers={"Authorization": f"Bearer {TOKEN}"}
        ) as grid:
            bad = await grid.post("/orders", json={"id": "a", "limit_mw": "five"})
            assert bad.status_code == 400
            assert "limit_mw" in bad.json()["error"]
            for _ in range(3):  # sent again: the same order
                taken = await grid.post("/orders", json={"id": "a", "limit_mw": 5})
                assert taken.json() == {"taken": ["a"]}
                await it.step()
            assert await it.step() == pytest.approx(5)
            assert len(it.orders()) == 1
            assert (await grid.get("/orders")).json() == {"orders": ["a"], "in_force": ["a"]}
            assert (await grid.delete("/orders/a")).json() == {"ended": "a"}
            assert (await grid.delete("/orders/a")).status_code == 404
        await it.step()
        assert it.orders()[-1].until == it.orders()[-1].known_at
        await hook.close()

    run(story)


def test_an_openadr_server_is_polled_and_an_event_that_vanished_is_cancelled(tmp_path: Path) -> None:
    async def story() -> None:
        server = FakeVtn()
        source = OpenAdrSource(f"http://127.0.0.1:{await server.start()}", "p", (CLIENT, SECRET))
        it = Desk(tmp_path, source)
        assert await it.step(3) == pytest.approx(10)
        start = (it.bench.clock.now() + timedelta(minutes=1)).isoformat()
        server.events = [event("e", "p", start, "PT30M", [5000, 3000]), event("x", "other", start, "PT1H", [0])]
        assert await it.step(5) == pytest.approx(10)
        assert await it.step(12) == pytest.approx(5)
        server.token = "another"  # the old one is refused: it logs on again
        assert await it.step(12) == pytest.approx(5)
        it.bench.clock.set(it.bench.clock.now() + timedelta(minutes=30))
        it.bench.plan(gpu=2, old=4, new=4, valid=timedelta(hours=4))
        assert await it.step(6) == pytest.approx(3)  # its second interval
        server.events = []
        await it.step(4)
        ended = it.orders()[-1]
        assert (ended.instruction_id, ended.until) == ("e.1", ended.known_at)
        assert {order.instruction_id for order in it.orders()} == {"e.0", "e.1"}
        await source.close()
        await server.stop()

    run(story)


@pytest.mark.parametrize("manner", ["error", "text"])
def test_an_openadr_server_that_fails_is_a_fault_and_its_orders_go_on(tmp_path: Path, manner: str) -> None:
    async def story() -> None:
        server = FakeVtn()
        source = OpenAdrSource(f"http://127.0.0.1:{await server.start()}", "p", (CLIENT, SECRET))
        it = Desk(tmp_path, source)
        server.events = [event("e", "p", it.bench.clock.now().isoformat(), "PT1H", [5000])]
        assert await it.step(4) == pytest.approx(5)
        server.manner = manner  # type: ignore[assignment]
        assert await it.step(6) == pytest.approx(5)
        (fault,) = [r for r in it.bench.kept() if isinstance(r, Fault)]
        assert fault.what == "orders openadr"
        await source.close()
        await server.stop()

    run(story)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"intervalPeriod": {"start": "2026-08-20T12:00:00", "duration": "PT1H"}}, "has no zone"),
        ({"intervalPeriod": {"start": "2026-08-20T12:00:00Z", "duration": "1 hour"}}, "duration"),
        ({"intervals": [{"id": 0, "payloads": [{"type": "IMPORT_CAPACITY_LIMIT", "values": [-5]}]}]}, "a limit of"),
        ({"intervals": [{"id": 0}]}, "payloads"),
    ],
)
def test_an_event_that_cannot_be_read_is_named(change: dict[str, object], says: str) -> None:
    with pytest.raises((ValueError, KeyError), match=says):
        list(limits(event("e", "p", "2026-08-20T12:00:00Z", "PT1H", [5]) | change, 0.0))


def test_an_older_version_a_zero_length_another_ven_and_a_second_page(tmp_path: Path) -> None:
    async def story() -> None:
        server = FakeVtn()
        source = OpenAdrSource(f"http://127.0.0.1:{await server.start()}", "p", (CLIENT, SECRET), ven="site-7")
        it = Desk(tmp_path, source)
        start = it.bench.clock.now().isoformat()
        new = event("e", "p", start, "PT0S", [5000]) | {"modificationDateTime": "2026-08-20T11:59:00Z"}
        old = event("e", "p", start, "PT0S", [9000]) | {"modificationDateTime": "2026-08-20T11:50:00Z"}
        others = [
            event(f"o{n}", "p", start, "PT1H", [0]) | {"targets": [{"type": "VEN_NAME", "values": ["site-8"]}]}
            for n in range(60)
        ]
        server.events = [*others, new]  # on the second page, without an end
        assert await it.step(4) == pytest.approx(5)
        server.events = [*others, old]  # another server behind the same address is behind
        assert await it.step(4) == pytest.approx(5)
        # It comes late, overlaps, and the tightest holds; a neighbour that cannot be read costs itself alone.
        late = event("l", "p", (it.bench.clock.now() - timedelta(minutes=10)).isoformat(), "PT1H", [4000])
        server.events = [*others, old, late, {"id": "bad", "programID": "p", "intervals": [{}]}, "rubbish"]
        assert await it.step(4) == pytest.approx(4)
        faults = [r.detail for r in it.bench.kept() if isinstance(r, Fault)]
        assert "event bad cannot be read" in faults[-1]
        server.events = [*others, {"id": "e", "programID": "p", "intervals": "x"}]  # what it said before holds
        await it.step(4)
        assert {o.instruction_id: o.until > it.bench.clock.now() for o in it.orders()} == {"e.0": True, "l.0": False}
        await source.close()
        await server.stop()

    run(story)


def test_simple_levels_and_endless_events() -> None:
    simple = event("e", "p", "2026-08-20T12:00:00Z", "P9999Y", [5])
    simple["intervals"] = [{"id": 0, "payloads": [{"type": "SIMPLE", "values": [2]}]}]
    assert list(limits(simple, 1e6)) == [StatedOrder("e.0", 1e6, NOON, None)]
    simple["intervals"][0]["payloads"][0]["values"] = [0]
    assert list(limits(simple, 1e6)) == []


@given(st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), max_size=3), min_size=1, max_size=12))
def test_what_is_in_force_is_what_was_said_last(said: list[list[tuple[str, int]]]) -> None:
    """Whatever was said before, however often."""
    standing = StandingOrders("s", "x")
    held: dict[str, Instruction] = {}
    for n, orders in enumerate(said):
        now = NOON + timedelta(seconds=5 * n)
        for order in standing.hear(now, [StatedOrder(key, mw * 1e6) for key, mw in orders]):
            held[order.instruction_id] = order
        in_force = {key: order.limit_w for key, order in held.items() if order.until > now}
        assert in_force == {key: mw * 1e6 for key, mw in dict(orders).items()}

"""No message ends a listener: at a site, at the gateway, or anywhere else on the link."""

import asyncio
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.edge.edge_bench import NOON, Bench, make_plan

from tieline import records
from tieline.edge.orderbook import MAX_ORDERS, OrderBook
from tieline.edge.sites import keep_agent
from tieline.intake import IntakeError
from tieline.link import LocalLink, ask, heed, page_after
from tieline.records import Instruction
from tieline.tasks import Registry

DEEP = b"[" * 30_000 + b"]" * 30_000
ORDER = Instruction(
    at=NOON, known_at=NOON, source="grid", kind="measured", instruction_id="i9", site_id="s", limit_w=1e9,
    until=NOON + timedelta(minutes=5),
)  # fmt: skip


def plain(record: records.Record, **changes: Any) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(records.encode(record)) | changes)


POISON = [
    b"",
    b"{",
    b"\xff",
    b"null",
    DEEP,
    records.encode(ORDER)[:-1] + b',"zz":' + DEEP + b"}",
    plain(ORDER, until="2026-08-20T12:05:00"),
    plain(ORDER, until="9999-12-31T23:59:59Z"),
    plain(ORDER, known_at="9990-01-01T00:00:00Z"),
    plain(ORDER, limit_w=1e300),
    plain(make_plan(NOON, {"s.gpu": 1.0}), valid_until="2026-08-20T12:15:00"),
    plain(make_plan(NOON, {"s.gpu": 1.0}), known_at="9990-01-01T00:00:00Z"),
    b" " * 1_000_001,
]


def test_a_listener_hears_what_comes_after_each_kind_of_rubbish_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    taken: list[bytes] = []

    def decode(data: bytes) -> bytes:
        if data == b"no":
            raise IntakeError("not one of ours")
        return data

    def take(data: bytes) -> None:
        if data == b"bad":
            raise OverflowError("date value out of range")
        taken.append(data)

    async def story() -> None:
        link = LocalLink()
        listener = asyncio.create_task(heed(link, "x", decode, take))
        await asyncio.sleep(0)
        for data in (b"no", b"1", b"bad", b"no", b"2", b"no", b"3"):
            await link.publish("x", data)
        async with asyncio.timeout(5):
            while len(taken) < 3:
                await asyncio.sleep(0.01)
        assert not listener.done()
        listener.cancel()

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    assert taken == [b"1", b"2", b"3"]
    assert [record.getMessage() for record in caplog.records] == ["a message on x is not let in: not one of ours"]


def test_a_site_hears_its_orders_after_rubbish_on_every_subject(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path, keep_orders=True)
        registry = Registry()
        keep_agent(registry, bench.agent, bench.clock, timedelta(seconds=5))
        await asyncio.sleep(0.05)
        tasks = {name: registry.task(name) for name in registry.names if name.endswith(("plans", "commands"))}
        assert len(tasks) == 2
        for data in POISON:
            await bench.link.publish("plan.s", data)
            await bench.link.publish("command.s", data)
        await bench.link.publish("command.s", records.encode(ORDER))
        await bench.link.publish("plan.s", records.encode(make_plan(NOON, {"s.gpu": 1.0})))
        async with asyncio.timeout(10):
            while not (bench.agent.orders._instructions and bench.agent.orders._plans):
                await asyncio.sleep(0.02)
        assert {name: registry.task(name) for name in tasks} == tasks  # none was started again
        assert [one.limit_w for one in bench.agent.orders._instructions.values()] == [1e9]
        assert all(plan.valid_until.tzinfo is not None for plan in bench.agent.orders._plans)
        await registry.close()

    asyncio.run(story())


@pytest.mark.parametrize("answer", POISON[1:])
def test_a_bad_order_among_those_that_stand_costs_itself(answer: bytes) -> None:
    async def story() -> None:
        link = LocalLink()
        good = records.encode(ORDER)

        async def give(_: str, data: bytes) -> bytes:
            return b"[" + good + b"," + answer + b"," + good + b"]"

        await link.serve("orders.get.*", give)
        try:
            assert await ask(link, "orders.get.s", NOON, 1.0) == [ORDER, ORDER]
        except IntakeError:
            assert answer in (b"{", b"\xff") or len(answer) > 1_000_000  # then it is no list at all, and that is said

    asyncio.run(story())


def test_orders_on_disk_that_cannot_be_read_do_not_stop_a_site(tmp_path: Path) -> None:
    for data in POISON:
        (tmp_path / "orders.json").write_bytes(b"[" + data + b"]")
        held = Bench(tmp_path, keep_orders=True).agent.orders.orders(NOON)
        assert all(order.until > NOON for order in held.instructions)


def test_more_orders_than_a_message_holds_all_arrive_and_an_answer_without_an_end_is_refused() -> None:
    orders = [msgspec.structs.replace(ORDER, instruction_id=f"i{n}") for n in range(2_500)]
    asked = []

    async def give(_: str, data: bytes) -> bytes:
        asked.append(data)
        answer = page_after(orders, data)
        assert len(answer) < 1_000_000
        return answer

    async def for_ever(_: str, data: bytes) -> bytes:
        return page_after(orders, b"")

    async def story() -> None:
        link = LocalLink()
        await link.serve("orders.get.*", give)
        found = await ask(link, "orders.get.s", NOON, 1.0)
        assert sorted(one.key for one in found) == sorted(one.key for one in orders)
        assert len(found) == len(orders)
        assert len(asked) > 2
        await link.serve("feeds.get", for_ever)
        with pytest.raises(IntakeError, match="does not end"):
            await ask(link, "feeds.get", NOON, 1.0)

    asyncio.run(story())


def test_an_order_in_force_is_not_pushed_out_by_those_to_come() -> None:
    book = OrderBook("s")
    binding = msgspec.structs.replace(
        ORDER, instruction_id="binds", at=NOON - timedelta(hours=1), until=NOON + timedelta(hours=1)
    )
    assert book.take(binding, NOON)
    for n in range(MAX_ORDERS + 20):
        later = NOON + timedelta(days=1 + n)
        book.take(
            msgspec.structs.replace(ORDER, instruction_id=f"i{n}", at=later, until=later + timedelta(hours=1)), NOON
        )
    assert [one.instruction_id for one in book.orders(NOON).instructions] == ["binds"]
    soon = NOON + timedelta(days=1)
    assert [one.instruction_id for one in book.orders(soon).instructions] == ["i0"]
    for n in range(MAX_ORDERS + 20):
        mild = msgspec.structs.replace(binding, instruction_id=f"m{n}", limit_w=ORDER.limit_w + 1e6)
        book.take(mild, NOON)
    assert min(book.orders(NOON).instructions, key=lambda o: o.limit_w).instruction_id == "binds"
    assert len(book.orders(NOON).instructions) == MAX_ORDERS

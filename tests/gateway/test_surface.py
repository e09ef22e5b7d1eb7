"""Responses, embeddings, rerank and rented replicas: what a client is promised beside chat.

The self-test model answers where its engine offers the path; a scripted engine stands in for the rest and for
deaths at a chosen event.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.able import Able
from tests.gateway.engines import Llama, Scripted
from tests.gateway.rig import Gateway, free_port, settings, start

from tieline.gateway.routing.rented import RentalMeter, assign, record
from tieline.gateway.routing.route import Replica, State, Want, choose
from tieline.gateway.settings import Key, RentedReplicas, Tenant, hash_key

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def events_of(answer: bytes) -> list[dict[str, Any]]:
    """The data of each event, its name checked against the type inside."""
    _, _, body = answer.partition(b"\r\n\r\n")
    text = b"".join(_chunks(body))
    found = []
    for frame in text.split(b"\n\n"):
        if not frame or frame.startswith(b":"):
            continue
        name, data = frame.split(b"\n")
        found.append(json.loads(data.removeprefix(b"data: ")))
        assert name == b"event: " + found[-1]["type"].encode()
    return found


def _chunks(body: bytes) -> list[bytes]:
    out = []
    while body:
        size, _, body = body.partition(b"\r\n")
        out.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]
        if not out[-1]:
            break
    return out


async def stream(g: Gateway, **changes: Any) -> list[dict[str, Any]]:
    text = json.dumps({"model": "scripted", "input": "hello", "stream": True} | changes).encode()
    head = f"POST /v1/responses HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(text)}\r\n\r\n".encode()
    answer = await g.raw(head + text, until_close="die" in changes)
    assert b"[DONE]" not in answer
    return events_of(answer)


def test_what_llama_leaves_out_is_there_for_the_client(tmp_path: Path) -> None:
    async def body() -> None:
        engine = Llama(free_port())
        await asyncio.to_thread(engine.start)
        try:
            async with start(settings(engine.url, models=()), tmp_path) as g:
                events = await stream(g, model="tieline-self-test", max_output_tokens=3)
                assert [e["sequence_number"] for e in events] == list(range(len(events)))
                assert all("output_index" in e for e in events if "response" not in e)
                assert all(e["content_index"] == 0 for e in events if e["type"].startswith("response.output_text"))
                assert {e["response"]["model"] for e in events if "response" in e} == {"tieline-self-test"}
                assert len({e["response"]["id"] for e in events if "response" in e}) == 1
                assert events[-1]["type"] == "response.incomplete"
                async with openai.AsyncOpenAI(base_url=g.url, api_key="any", max_retries=0) as client:
                    cut = await client.responses.create(model="tieline-self-test", input="hello", max_output_tokens=3)
                    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")
                    # several prompts in one stream: every answer to its end, every token billed
                    many = await client.completions.create(
                        model="tieline-self-test", prompt=["a site", "a rig", "a pool"], max_tokens=4, stream=True,
                        temperature=0, stream_options={"include_usage": True},
                    )  # fmt: skip
                    ends, total = set(), None
                    async for chunk in many:
                        ends |= {c.index for c in chunk.choices if c.finish_reason}
                        total = chunk.usage if not chunk.choices else total
                    assert ends == {0, 1, 2}
                await g.quiet()
                assert g.usage()[-1].output_tokens == total.completion_tokens > 4
        finally:
            engine.stop()

    asyncio.run(body())


def test_rerank_and_embeddings_pass_and_are_billed(tmp_path: Path) -> None:
    async def body() -> None:
        async with Able() as engine, start(settings(engine.url, models=()), tmp_path) as g:
            status, _, text = await g.post(
                "/v1/rerank", {"model": "scripted", "query": "power", "documents": ["grid", "pool"]}
            )
            assert (status, [r["index"] for r in json.loads(text)["results"]]) == (200, [0, 1])
            for wrong, param in (
                ({"query": "q"}, "documents"), ({"query": "q", "documents": "d"}, "documents"),
                ({"query": 1, "documents": []}, "query"), ({"documents": []}, "query"),
            ):  # fmt: skip
                status, _, text = await g.post("/v1/rerank", {"model": "scripted"} | wrong)
                assert (status, json.loads(text)["error"]["param"]) == (400, param)
            async with openai.AsyncOpenAI(base_url=g.url, api_key="any") as client:
                made = await client.embeddings.create(model="scripted", input="ab", encoding_format="float")
                assert made.data[0].embedding == [0.5, 2]
            await g.quiet()
            assert {u.endpoint: u.output_tokens for u in g.usage()} == {"/v1/rerank": 0, "/v1/embeddings": 0}

    asyncio.run(body())


# --- rented replicas ----------------------------------------------------------------


def replica(name: str, region: str = "north", slots: int = 4) -> Replica:
    return Replica(id=name, site=name, region=region, models=frozenset({"m"}), engine="vllm", slots=slots)


def rental(tenant: str, replicas: int = 1, **changes: Any) -> RentedReplicas:
    given = {"since": NOON, "until": NOON + timedelta(days=1), "region": "north", "model": "m"} | changes
    return RentedReplicas(tenant=tenant, replicas=replicas, **given)


def test_a_rental_holds_for_its_period_and_region() -> None:
    table = [replica("a", "south"), replica("b"), replica("c"), replica("d")]
    one, two = rental("acme", 2), rental("late", 2, since=NOON + timedelta(hours=1), until=NOON + timedelta(days=2))
    rentals = (one, two)
    assert assign(rentals, table, NOON - timedelta(seconds=1)) == {}
    assert assign(rentals, table, NOON) == {one: 0}
    assert [r.renter for r in table] == ["", "acme", "acme", ""]
    table[1].state = State.DOWN  # its site goes dark: another takes its place
    assign(rentals, table, NOON)
    assert [r.renter for r in table] == ["", "", "acme", "acme"]
    table[1].state = State.READY  # and keeps it, warm as it is
    assert assign(rentals, table, NOON + timedelta(hours=1)) == {one: 0, two: 1}
    assert [r.renter for r in table] == ["", "late", "acme", "acme"]
    assert assign(rentals, table, NOON + timedelta(days=1)) == {two: 0}
    assert "acme" not in {r.renter for r in table}


@given(
    st.lists(st.tuples(st.sampled_from("xyz"), st.integers(1, 4)), max_size=4),
    st.lists(st.sampled_from(["north", "south"]), max_size=6),
)
def test_no_replica_is_rented_twice_and_none_beyond_what_was_bought(
    bought: list[tuple[str, int]], regions: list[str]
) -> None:
    table = [replica(f"r{i}", region) for i, region in enumerate(regions)]
    rentals = [rental(tenant, count, model="m") for tenant, count in bought]
    short = assign(dict.fromkeys(rentals), table, NOON)
    for tenant in "xyz":
        held = sum(r.renter == tenant for r in table)
        wanted = sum(one.replicas for one in short if one.tenant == tenant)
        assert held == wanted - sum(s for one, s in short.items() if one.tenant == tenant)
    assert all(r.region == "north" for r in table if r.renter)


def test_its_requests_go_there_first_and_others_leave_room() -> None:
    table = [replica("a"), replica("b")]
    assign([rental("acme")], table, NOON)
    mine, theirs = Want("m", tenant="acme"), Want("m", tenant="other")
    table[0].live = {1, 2, 3}  # busier, yet first for who rents it
    assert choose(table, mine, 0.0) is table[0]
    assert choose(table, theirs, 0.0) is table[1]
    table[1].live = {1, 2, 3, 4}
    assert choose(table, theirs, 0.0) is None  # more than half of it is taken
    table[0].live = {1}
    assert choose(table, theirs, 0.0) is table[0]  # what lies idle is used
    table[0].live = {1, 2, 3, 4}
    table[1].live = set()
    assert choose(table, mine, 0.0) is table[1]  # and its tenant is not confined to it


def test_the_hours_of_a_rental_are_counted_as_they_were_served() -> None:
    """11:59  two of two replicas; 12:00 to 12:30 two, then one; the process stands still from 12:50 to 12:55."""
    one = rental("acme", 2, usd_per_replica_hour=Decimal("3.6"))
    meter = RentalMeter()
    told = []
    moment = NOON - timedelta(minutes=1)
    while moment <= NOON + timedelta(hours=1):
        lacking = 0 if moment < NOON + timedelta(minutes=30) else 1
        if not NOON + timedelta(minutes=50) < moment < NOON + timedelta(minutes=55):
            told += meter.step({one: lacking}, moment, "gateway")
        moment += timedelta(seconds=1)
    first, second = told
    assert (first.at, first.provided_s) == (NOON - timedelta(hours=1), 2 * 59)
    served = 2 * 1799 + (30 * 60 - 300)
    assert second.at == NOON
    assert abs(second.provided_s - served) <= 4
    assert second.cost_nano_usd == second.provided_s * 1_000_000
    assert second.key == record(one, NOON, 0, NOON, "another").key  # whoever tells it, it is one
    with pytest.raises(ValueError, match="usd_per_replica_hour"):
        rental("acme", usd_per_replica_hour=Decimal("-1"))


def test_a_rental_in_the_running_gateway(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted(name="one") as first, Scripted(name="two") as second:
            now = datetime.now(UTC)
            given = settings(
                first.url, second.url, tenants=(Tenant(id="acme"), Tenant(id="other")),
                keys=tuple(Key(id=t, sha256=hash_key(f"sk-{t}"), tenant=t) for t in ("acme", "other")),
                rentals=(
                    rental(
                        "acme", region="", since=now - timedelta(hours=1), until=now + timedelta(hours=1),
                        usd_per_replica_hour=Decimal(2),
                    ),
                ),
            )  # fmt: skip
            async with start(given, tmp_path) as g:
                async with asyncio.timeout(5):
                    while not any(b.renter for b in g.svc.backends.values()):
                        await asyncio.sleep(0.01)
                (rented,) = [b.id for b in g.svc.backends.values() if b.renter == "acme"]
                for key in ("acme", "other"):
                    async with openai.AsyncOpenAI(base_url=g.url, api_key=f"sk-{key}", max_retries=0) as client:
                        for _ in range(3):
                            await client.chat.completions.create(
                                model="m", messages=[{"role": "user", "content": "x"}], max_tokens=2
                            )
                await g.quiet()
                went = {(u.tenant, u.hops[0].replica_id == rented) for u in g.usage()}
                assert went == {("acme", True), ("other", False)}
                assert {(u.tenant, u.cost_nano_usd > 0) for u in g.usage()} == {("acme", False), ("other", True)}

    asyncio.run(body())

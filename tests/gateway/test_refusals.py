"""What the door refuses is counted by tenant, reason and hour, and told as records, in bounds whatever comes."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.engines import Scripted
from tests.gateway.rig import Gateway, settings, start

from tieline import records
from tieline.gateway.metering import refusals
from tieline.gateway.metering.refusals import MAX_NAMES, MOST_AT_ONCE, NOBODY, OTHERS, DoorCounts
from tieline.gateway.settings import Key, Limits, Tenant, hash_key
from tieline.records import DoorRefusals

T0 = datetime(2026, 11, 30, 12, 59, 59, tzinfo=UTC)


def sums(told: list[DoorRefusals]) -> Counter[tuple[datetime, str, str]]:
    counts: Counter[tuple[datetime, str, str]] = Counter()
    for one in told:
        counts[one.at, one.tenant, one.code] += one.count
    return counts


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "a", "b"]), st.sampled_from(["invalid_api_key", "insufficient_quota"]),
            st.integers(0, 1_500),
        ),
        max_size=60,
    )
)  # fmt: skip
def test_each_counts_once_in_its_hour_however_it_is_told(given_: list[tuple[str, str, int]]) -> None:
    door, told, now = DoorCounts(), list[DoorRefusals](), T0
    wanted: Counter[tuple[datetime, str, str]] = Counter()
    told += door.due(now, 0.0, "gateway")
    for tenant, code, later_s in given_:
        now += timedelta(seconds=later_s)
        told += door.due(now, (now - T0).total_seconds(), "gateway")
        door.add(tenant, code)
        wanted[now.replace(minute=0, second=0), tenant or NOBODY, code] += 1
    told += door.due(now, (now - T0).total_seconds(), "gateway", last=True)
    assert sums(told) == wanted
    assert len({one.key for one in told}) == len(told)
    assert records.decode_batch(msgspec.json.encode(told)) == told


def test_a_flood_of_names_is_bounded_and_all_of_it_is_counted() -> None:
    door, count = DoorCounts(), 3 * MAX_NAMES
    door.due(T0, 0.0, "gateway")
    for n in range(count):
        door.add(f"t{n}", "insufficient_quota")
    told = door.due(T0, 60.0, "gateway")
    assert len(told) == MOST_AT_ONCE, "a minute's"
    assert door.due(T0, 119.0, "gateway") == []
    for minute in range(2, 20):
        told += door.due(T0, 60.0 * minute, "gateway")
    assert sum(one.count for one in told) == count
    assert len(told) == MAX_NAMES + 1
    assert sums(told)[T0.replace(minute=0, second=0), OTHERS, "insufficient_quota"] == count - MAX_NAMES


TENANTS = (
    Tenant(id="poor", limits=Limits(requests_per_minute=1)),
    Tenant(id="shut", disabled=True),
)
KEYS = tuple(Key(id=one.id, sha256=hash_key(f"sk-{one.id}"), tenant=one.id) for one in TENANTS)


async def chat(gateway: Gateway, key: str, body: object = None) -> str:
    asked = {"model": "m", "messages": [{"role": "user", "content": "1 x"}], "max_tokens": 5} if body is None else body
    head = f"authorization: Bearer {key}\r\n" if key else ""
    status, _, text = await gateway.post("/v1/chat/completions", asked, head)
    return "" if status == 200 else str(json.loads(text)["error"]["code"])


def test_a_gateway_tells_whom_it_refused_and_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "TELL_S", 0.0)

    async def scene() -> None:
        async with Scripted() as engine, start(settings(engine.url, tenants=TENANTS, keys=KEYS), tmp_path) as gateway:
            await gateway.ready(1)
            gateway.svc.tells_refusals = True
            assert [await chat(gateway, "sk-poor") for _ in range(3)] == ["", "rate_limit", "rate_limit"]
            assert [await chat(gateway, key) for key in ("sk-shut", "sk-wrong", "")] == [
                "tenant_disabled", "invalid_api_key", "missing_api_key",
            ]  # fmt: skip
            assert await chat(gateway, "sk-poor", {"model": "nowhere"}) != ""
            await asyncio.sleep(0.3)
            text = gateway.svc.stats.text(gateway.svc, tenants=True)
            assert b'tieline_gateway_tenant_refused_total{code="rate_limit",tenant="poor"} 2.0' in text
            assert b"tenant_refused" not in gateway.svc.stats.text(gateway.svc), "only for who reads everybody's"
            rows = [records.decode(body) for _, _, body in gateway.svc.spool.take(100)]
            told = [one for one in rows if isinstance(one, DoorRefusals)]
            counts = Counter({name: n for (_, *name_), n in sums(told).items() for name in [tuple(name_)]})
            assert counts["poor", "rate_limit"] == 2
            assert counts["shut", "tenant_disabled"] == 1
            assert counts[NOBODY, "invalid_api_key"] == counts[NOBODY, "missing_api_key"] == 1
            assert sum(counts.values()) == 6
            assert len(rows) == len(told) + 1, "and the one that was answered has its bill"

    asyncio.run(scene())

"""Batch work as the dispatcher hears of it, and what it then allows."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from tests.gateway.engines import Scripted
from tests.gateway.rig import settings, start
from tests.gateway.test_batches import ask, client_of, hand_in, over

from tieline import records
from tieline.gateway.batch import backlog as owed
from tieline.gateway.batch.backlog import WaitingLines, backlogs, mean
from tieline.gateway.routing.power import SitePowers
from tieline.link import Ack, LocalLink
from tieline.records import Backlog, Plan, Reason, ReplicaState, Setpoint

NOW = datetime(2026, 3, 1, 12, 20, tzinfo=UTC)
NOW_S = int(NOW.timestamp())


def waiting(lines: int, hours: float, model: str = "m", total: int = 10) -> WaitingLines:
    return WaitingLines(model, lines, NOW_S - 60, NOW_S + int(hours * 3600), total)


def test_what_is_owed_is_told_by_the_hour_and_never_later_than_it_is_due() -> None:
    found = backlogs([waiting(4, 24), waiting(6, 24.5), waiting(1, 2)], {"m": 100.0}, "g", NOW)["m"]
    assert [(lot.due, lot.output_tokens) for lot in found.lots] == [
        (NOW.replace(hour=14, minute=0), 100.0),
        (NOW.replace(day=2, hour=12, minute=0), 1000.0),
    ]
    assert found.day_tokens == 3000.0


def test_in_its_last_hour_a_deadline_is_what_it_is() -> None:
    (lot,) = backlogs([waiting(1, 0.25)], {}, "g", NOW)["m"].lots
    assert lot.due == NOW + timedelta(minutes=15)
    assert lot.output_tokens == owed.FIRST_GUESS
    assert backlogs([waiting(1, -1.0), waiting(0, 3.0, model="n")], {}, "g", NOW) == {}


def test_what_a_line_makes_is_learnt() -> None:
    assert mean(None, 80) == 80.0
    assert 80.0 < mean(80.0, 180) < 100.0


def plan(site: str, lines: int | None, at: datetime, mode: str = "act") -> Plan:
    reason = Reason(rule="inference", text="")
    return Plan(
        at=at, known_at=at, source="dispatch", kind="estimated", site_id=site, length_s=300,
        valid_until=at + timedelta(minutes=15), mode=mode, limit_w=1e6, price_usd_per_mwh=20.0, hashprice_usd=50.0,
        setpoints=(Setpoint(unit_id=f"{site}.gpu", target_w=1.0, reason=reason, replicas=1, batch_lines=lines),),
        decided_by="lookahead",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "mode", "allowed"), [(0, "act", 0), (7, "act", 7), (None, "act", None), (0, "observe", None)]
)
def test_a_plan_that_is_in_force_says_how_many_lines(lines: int | None, mode: str, allowed: int | None) -> None:
    power = SitePowers()
    power.heard(plan("s", lines, NOW, mode))
    assert power.batch_lines("s", NOW) == allowed
    assert power.batch_lines("s", NOW + timedelta(hours=1)) is None
    assert power.batch_lines("elsewhere", NOW) is None


def test_a_batch_is_told_over_the_link_and_waits_until_the_plan_lets_it_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owed, "REPORT_S", 0.1)

    async def body() -> None:
        link, now = LocalLink(), datetime.now(UTC)
        heard: list[Backlog] = []

        async def ingest(_: str, data: bytes) -> bytes:
            batch = records.decode_batch(data)
            heard.extend(one for one in batch if isinstance(one, Backlog))
            return msgspec.json.encode(Ack(len(batch)))

        async def nothing(subject: str, _: bytes) -> bytes:
            return records.encode_batch([]) if subject.startswith("orders") else b""

        await link.serve("records.*", ingest)
        await link.serve("plan.get.*", nothing)
        await link.serve("orders.get.*", nothing)
        async with Scripted(slots=8) as engine, start(settings(), tmp_path, link=link) as g, client_of(g) as client:

            async def beat() -> None:
                while True:
                    state = ReplicaState(
                        at=now, known_at=now, source="site:north", kind="measured", replica_id="north-1",
                        site_id="north", region="eu", model="m", base_url=engine.url, state="ready", slots=8,
                        engine="other",
                    )  # fmt: skip
                    await link.publish("replica.north.north-1", records.encode(state))
                    await asyncio.sleep(0.2)

            beating = asyncio.create_task(beat())
            try:
                await g.ready(1)
                await link.publish("plan.north", records.encode(plan("north", 0, now)))
                await asyncio.sleep(0.1)
                batch = await hand_in(client, *(ask(n) for n in range(12)))
                async with asyncio.timeout(10):
                    while not any(one.lots for one in heard):
                        await asyncio.sleep(0.05)
                await asyncio.sleep(0.5)
                held = await client.batches.retrieve(batch.id)
                assert held.request_counts is not None
                assert held.request_counts.completed == 0, "the plan lets nothing run"
                owes = next(one for one in reversed(heard) if one.lots)
                assert (owes.model, len(owes.lots)) == ("m", 1)
                assert owes.lots[0].output_tokens == 12 * owed.FIRST_GUESS
                await link.publish("plan.north", records.encode(plan("north", 4, now + timedelta(seconds=1))))
                assert (await over(client, batch)).status == "completed"
                async with asyncio.timeout(10):
                    while heard[-1].lots:
                        await asyncio.sleep(0.05)
            finally:
                beating.cancel()

    asyncio.run(body())

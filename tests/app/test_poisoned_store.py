"""A store that holds what an earlier version let in: the core works, says what it leaves out, and asks for nothing."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from tieline import config, records
from tieline.app.core_part import Core
from tieline.clock import SimClock
from tieline.link import LocalLink, ask
from tieline.records import Fault, Instruction, Plan
from tieline.store import Store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ORDER = Instruction(
    at=NOW, known_at=NOW, source="grid", kind="measured", instruction_id="good", site_id="na-tx-02", limit_w=5e6,
    until=NOW + timedelta(hours=1),
)  # fmt: skip


def poison(folder: Path) -> Store:
    """Writes rows past the gate, as a version without one did."""

    def row(kind: type[records.Record], record: records.Record, **changes: Any) -> Any:
        body = msgspec.json.encode(msgspec.json.decode(records.encode(record)) | changes)
        known = datetime.fromisoformat(changes.get("known_at", record.known_at.isoformat()))
        raw = type(kind.__name__, (SimpleNamespace,), {})
        return raw(at=record.at, known_at=known, subject=record.subject, key=f"{record.key}{changes}", body=body)

    fault = Fault(at=NOW, known_at=NOW, source="s", kind="measured", site_id="na-tx-02", what="derate", factor=0.5)
    raw = Store(folder / "store.db", lambda one: one.body, lambda body: body)
    raw.append(
        [
            row(Instruction, ORDER, until="2026-03-01T12:30:00", instruction_id="naive"),
            row(Instruction, ORDER, until="9999-12-31T23:59:59Z", instruction_id="for ever"),
            row(Instruction, ORDER, limit_w=1e300, instruction_id="absurd"),
            row(Fault, fault, known_at="9990-01-01T00:00:00Z"),
            row(Fault, fault, until="2026-03-01T13:00:00"),
            row(Instruction, ORDER),
        ]
    )
    raw.close()
    return Store(folder / "store.db", records.encode, records.decode)


def test_the_core_decides_and_answers_over_a_poisoned_store(tmp_path: Path) -> None:
    async def story() -> None:
        store, link, clock = poison(tmp_path), LocalLink(), SimClock(NOW)
        core = Core(config.demo(), clock, store, link, (), "")
        await link.serve("orders.get.*", core.give_orders)
        await core.step(NOW)
        assert core.registry.troubles == []
        assert [one.key for one in await ask(link, "orders.get.na-tx-02", NOW, 1.0)] == [ORDER.key]
        plans = {plan.site_id: plan for plan in store.latest(Plan, NOW)}
        assert len(plans) == len(core.config.fleet.sites)
        assert plans["na-tx-02"].limit_w == 5e6  # the good order holds
        left_out = {aside.stream: len(aside.seqs) for aside in store.aside()}
        assert left_out == {"Instruction": 3, "Fault": 1}

    asyncio.run(story())

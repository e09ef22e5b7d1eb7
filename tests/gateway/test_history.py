"""The past that /admin tells is the same before and after its records have gone to the core, and after a restart."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.engines import Scripted
from tests.gateway.rig import start
from tests.gateway.test_admin import ask, chat, given

from tieline import records
from tieline.gateway.errors import Refusal
from tieline.gateway.metering import history
from tieline.records import Action, Usage
from tieline.store import Spool, used
from tieline.store.spool import look

NOW = datetime(2026, 11, 29, 15, 30, tzinfo=UTC)


def usage(number: int, at: datetime, **changes: Any) -> Usage:
    plain: dict[str, Any] = {
        "at": at, "known_at": at, "source": "gateway", "kind": "measured", "request_id": f"r{number}", "tenant": "acme",
        "project": "default", "key_id": "k", "model": "m", "endpoint": "/v1/chat/completions", "status": 200,
        "prompt_tokens": 10, "output_tokens": 2, "cost_nano_usd": 100, "streamed": False,
    }  # fmt: skip
    return Usage(**(plain | changes))


def put(spool: Spool, *given: records.AnyRecord) -> None:
    for one in given:
        spool.put(one.key, records.encode(one))
    spool.totals()


def told(folder: Path, since: datetime, until: datetime, now: datetime = NOW) -> history.TenantUsage:
    found = history.usage([folder], "acme", since, until, now)
    assert not isinstance(found, Refusal), found
    return found


def test_usage_and_audit_stay_when_the_rows_are_sent_and_after_a_restart(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted(words=("a ", "b ")) as engine:
            async with start(given(engine.url), tmp_path) as g:
                for _ in range(3):
                    assert await chat(g, "old", max_tokens=2) == ""
                assert (await ask(g, "POST", "/admin/tenants/more", {}))[0] == 200
                await g.quiet()
                _, before = await ask(g, "GET", "/admin/tenants/acme/usage")
                assert before["total"]["requests"] == 3
                # What a platform does once the core has them.
                g.svc.spool.forget([id_ for id_, _, _ in g.svc.spool.take(100)])
                with sqlite3.connect(tmp_path / "usage.db") as db:
                    db.execute("DELETE FROM item")
                _, after = await ask(g, "GET", "/admin/tenants/acme/usage")
                assert (after["total"], after["data"]) == (before["total"], before["data"])
                _, trail = await ask(g, "GET", "/admin/audit")
                assert [one["target"] for one in trail["data"]] == ["more"]
            async with start(given(engine.url), tmp_path) as g:
                _, after = await ask(g, "GET", "/admin/tenants/acme/usage")
                assert (after["total"], after["complete_since"]) == (before["total"], None)
                _, again = await ask(g, "GET", "/admin/audit")
                assert again["data"] == trail["data"]

    asyncio.run(body())


def test_a_row_that_comes_twice_counts_once_and_hours_add_up(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "usage.db")
    hour = NOW.replace(minute=0)
    put(spool, usage(1, hour), usage(2, hour + timedelta(minutes=59)), usage(3, hour - timedelta(seconds=1)))
    put(spool, usage(1, hour))
    (line,) = told(tmp_path, hour, NOW).lines
    assert (line.requests, line.cost_nano_usd, line.prompt_tokens) == (2, 200, 20)
    (line,) = told(tmp_path, hour - timedelta(hours=1), hour).lines
    assert line.requests == 1
    for since, until in ((hour + timedelta(minutes=1), NOW), (hour - timedelta(hours=2), hour - timedelta(minutes=1))):
        refused = history.usage([tmp_path], "acme", since, until, NOW)
        assert isinstance(refused, Refusal)
    spool.close()


def test_old_hours_become_days_and_nothing_is_lost(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "usage.db")
    old = NOW - timedelta(days=100)
    put(spool, *(usage(n, old + timedelta(hours=n)) for n in range(48)), usage(99, NOW))
    spool.close()
    Spool(tmp_path / "usage.db").close()  # at a start
    with look(tmp_path / "usage.db") as db:
        assert db is not None
        ((rows,),) = db.rows("SELECT count(*) FROM used")
        assert rows < 6
    (line,) = told(tmp_path, old.replace(hour=0, minute=0), NOW).lines
    assert (line.requests, line.cost_nano_usd) == (49, 4_900)
    refused = history.usage([tmp_path], "acme", old.replace(minute=0), NOW, NOW)
    assert isinstance(refused, Refusal)
    assert "by the day" in refused.message


def test_a_spool_of_before_says_from_when_on_it_is_complete(tmp_path: Path) -> None:
    """Rows of an older version: those that are still here count, those that had gone are said to be missing."""
    path = tmp_path / "usage.db"
    with sqlite3.connect(path) as db:
        db.executescript(
            "CREATE TABLE item (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, body BLOB NOT NULL) STRICT;"
            "CREATE TABLE progress (key TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID;"
            "CREATE TABLE total (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
        )
        action = Action(at=NOW, known_at=NOW, source="g", kind="measured", by="root", what="w", target="t", detail="")
        for one in (usage(1, NOW), usage(2, NOW, tenant="other"), action):
            db.execute("INSERT INTO item (key, body) VALUES (?, ?)", (one.key, records.encode(one)))
    Spool(path).close()
    found = told(tmp_path, NOW - timedelta(hours=15, minutes=30), NOW)
    assert [line.requests for line in found.lines] == [1]
    assert found.complete_since is not None
    trail = history.trail([tmp_path], "", 10)
    assert not isinstance(trail, Refusal)
    assert [one["by"] for one in trail[0]] == ["root"]


def test_pages_hold_everything_once_over_several_processes(tmp_path: Path) -> None:
    folders = [tmp_path / f"worker-{n}" for n in range(3)]
    for n, folder in enumerate(folders):
        spool = Spool(folder / "usage.db")
        for m in range(7):
            at = NOW + timedelta(seconds=m // 2)  # several of one moment
            deed = {"by": "b", "what": f"{n}.{m}", "target": f"{m}", "detail": ""}
            put(spool, Action(at=at, known_at=at, source=f"g{n}", kind="measured", **deed))
            put(spool, usage(n * 100 + m, NOW, key_id=f"k{m}", model=f"a/b{n}"))
        spool.close()
    seen: list[str] = []
    before: str | None = ""
    while before is not None:
        found = history.trail(folders, before, 4)
        assert not isinstance(found, Refusal)
        seen += [one["what"] for one in found[0]]
        before = found[1]
    assert len(seen) == len(set(seen)) == 21
    everything = history.usage(folders, "acme", NOW.replace(minute=0), NOW, NOW)
    assert isinstance(everything, history.TenantUsage)
    lines: list[history.UsageLine] = []
    after: str | None = ""
    while after is not None:
        part, after = history.page(everything.lines, after, 4)
        lines += part
    assert lines == everything.lines
    assert len(lines) == 21


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=1001", "before=x", "before=1~a", "before=1~a~x"])
def test_pages_that_cannot_be_are_refused(tmp_path: Path, query: str) -> None:
    async def body() -> None:
        async with Scripted() as engine, start(given(engine.url), tmp_path) as g:
            status, found = await ask(g, "GET", f"/admin/audit?{query}")
            assert (status, found["error"]["code"]) == (400, "invalid_value")

    asyncio.run(body())


def test_a_body_that_is_no_record_stops_no_commit(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "usage.db")
    for n, body in enumerate((b"{", b"[" * 100_000, b'{"type":"Usage","at":"x"}', b"\xff")):
        spool.put(f"odd{n}", body)
    put(spool, usage(1, NOW))
    assert len(spool) == 5
    assert told(tmp_path, NOW.replace(minute=0), NOW).lines[0].requests == 1
    spool.close()
    assert used.HOURS_KEPT_S > 0

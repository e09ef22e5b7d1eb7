"""The page of inference: what was served, what went wrong, who owes what; and what needs a person at all."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from decimal import Decimal
from types import ModuleType

import httpx
import msgspec
import pytest
from starlette.testclient import TestClient

from console.conftest import catch_up
from tieline.clock import SimClock
from tieline.config import Tenant
from tieline.console.app import Shown, make_app
from tieline.console.attention import attention_view, budget_lines
from tieline.console.doorway import Doorway, read_metrics
from tieline.console.fold import Fold
from tieline.console.rooms.inference import tenants_view
from tieline.console.traffic import MAX_NAMES, OTHERS, Traffic, traffic_view
from tieline.console.views import now_view, site_now
from tieline.fleet import Fleet
from tieline.gateway.metering.stats import Stats
from tieline.records import Action, Hop, Outcome, Override, Usage
from tieline.store import Store


def used(
    world: ModuleType, at: datetime, number: int, *, lost: bool = False, status: int = 200, **more: object
) -> Usage:
    """A request of a minute, by one replica or, where the first was lost, by two."""
    one: Usage = world.usage(at)
    hop = one.hops[0]
    hops = (msgspec.structs.replace(hop, ended="died", output_tokens=80), hop) if lost else (hop,)
    change = {"at": at, "request_id": f"r{number}", "hops": hops, "status": status, "first_token_ms": 10.0 + number}
    return msgspec.structs.replace(one, **{**change, **more})


def test_an_hour_is_added_up_by_replica_and_by_tenant(world: ModuleType) -> None:
    traffic, now = Traffic(), world.NOW
    for n in range(20):
        traffic.add(n + 1, used(world, now - timedelta(minutes=2 * n), n, lost=n == 3, status=502 if n == 4 else 200))
    traffic.add(99, used(world, now - timedelta(hours=3), 99, tenant="early"))
    view = traffic_view(traffic, now)
    hour = view["hour"]
    assert (hour["requests"], hour["failed"], hour["moved"]) == (20, 1, 1)
    assert hour["output_tokens"] == 20 * 180
    assert hour["first_token_p50_ms"] == 20.0
    assert view["replicas"]["na-tx-01.gpu-r1"]["requests"] == 21
    assert view["replicas"]["na-tx-01.gpu-r1"]["lost"] == 1
    assert set(view["tenants"]) == {"demo"}
    assert sum(row[1] for row in view["rows"]) == 21
    assert {u["seq"] for u in view["trouble"]} == {4, 5}
    assert [u["seq"] for u in view["newest"]][:2] == [99, 20]


def test_all_that_is_kept_is_bounded(world: ModuleType) -> None:
    traffic, now = Traffic(), world.NOW
    for n in range(MAX_NAMES + 50):
        traffic.add(n, used(world, now, n, tenant=f"t{n}"))
    for n in range(400):
        traffic.add(10_000 + n, used(world, now - timedelta(minutes=5 * n), n, tenant="t1"))
    view = traffic_view(traffic, now)
    assert len(view["tenants"]) == MAX_NAMES + 1
    assert view["tenants"][OTHERS]["requests"] == 50
    assert len(traffic.bins) <= 24 * 12 + 1
    assert len(view["newest"]) == 120


def test_a_tenant_is_shown_with_its_limits_and_what_it_owes() -> None:
    acme = Tenant(id="acme", name="Acme", budget_usd_per_month=Decimal(10), requests_per_minute=60)
    line = {
        "project": "p",
        "model": "m",
        "requests": 2,
        "prompt_tokens": 5,
        "output_tokens": 7,
        "usd": 4.0,
        "exact_usd": 4.001,
    }
    month = {"invoices": [{"tenant": "gone", "total_usd": 4.0, "lines": [line]}]}
    rows = tenants_view([acme], {}, month)
    assert [r["id"] for r in rows] == ["gone", "acme"]
    assert rows[0]["configured"] is False
    assert rows[0]["spent_usd"] == 4.001
    assert rows[0]["budget_usd"] is None
    assert (rows[1]["spent_usd"], rows[1]["budget_usd"], rows[1]["requests_per_minute"]) == (0, 10.0, 60)
    assert tenants_view([acme], {}, None)[0]["spent_usd"] is None


def test_the_doors_own_words_are_read_from_its_metrics() -> None:
    class Service:
        exchanges, queue, kept_bytes, spool, apart = {1: 1, 2: 2}, [1], 4096, [], []
        backends: dict[str, object] = {}  # noqa: RUF012

        def coordinator_heard_s(self) -> float | None:
            return None

    stats = Stats()
    stats.refused["rate_limit"] += 3
    stats.hops["stop"] += 5
    stats.resumed = 2
    told = read_metrics(stats.text(Service()).decode())  # type: ignore[arg-type]
    assert (told["live"], told["waiting"], told["resumed"]) == (2, 1, 2)
    assert told["refused"] == {"rate_limit": 3}
    assert told["ended"] == {"stop": 5}


@pytest.mark.parametrize("answer", [None, (500, "no"), (401, "keys"), (200, "x{ 1"), (200, "<html>")])
def test_a_door_that_says_nothing_of_use_is_said_to_be_silent(answer: tuple[int, str] | None) -> None:
    def reply(request: httpx.Request) -> httpx.Response:
        if answer is None:
            raise httpx.ConnectError("refused")
        return httpx.Response(answer[0], text=answer[1])

    async def ask() -> dict[str, object]:
        doorway = Doorway("http://127.0.0.1:1/v1")
        doorway._client = httpx.AsyncClient(transport=httpx.MockTransport(reply))
        told = await doorway.now()
        await doorway.close()
        return told

    told = asyncio.run(ask())
    assert told["ok"] is False
    assert told["detail"]


def test_the_page_tells_replicas_tenants_and_invoices(world: ModuleType, fleet: Fleet, store: Store) -> None:
    tenants = (Tenant(id="demo", name="Demo", budget_usd_per_month=Decimal(50)),)
    app = make_app(store, fleet, SimClock(world.NOW), shown=Shown(tenants=tenants))
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        catch_up(client)
        deadline = time.monotonic() + 30
        while (view := client.get("/api/inference").json())["month"] is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert client.get("/inference").status_code in (200, 503)
    assert view["door"]["ok"] is False
    assert {r["state"] for r in view["replicas"]} == {"ready"}
    mine = next(r for r in view["replicas"] if r["id"] == "na-tx-01.gpu-r1")
    assert mine["live"] is None
    assert mine["hour"]["requests"] > 0
    bill = store.between(Usage, world.NOW.replace(day=1, hour=0), world.NOW)
    demo = view["tenants"][0]
    assert demo["spent_usd"] == pytest.approx(sum(u.cost_nano_usd for u in bill) / 1e9)
    assert demo["lines"][0]["requests"] == len(bill)


# --- what needs a person ----------------------------------------------------------------------------


def lines_of(fold: Fold, now: datetime) -> list[tuple[str, str, str | None]]:
    sites = [site_now(fold, {}, site, now) for site in fold.fleet.sites]
    return [(line["level"], line["what"], line["site_id"]) for line in attention_view(fold, sites, now)]


def test_what_is_wrong_comes_first_and_names_its_record(client: TestClient, world: ModuleType) -> None:
    lines = client.get("/api/overview").json()["attention"]
    levels = [line["level"] for line in lines]
    assert levels == sorted(levels, key=("bad", "warn", "note").index)
    found = {(line["what"], line["site_id"]) for line in lines}
    assert ("grid order", world.ORDERED) in found
    assert ("not heard", "sa-cl-02") in found
    fault = next(line for line in lines if line["what"] == "fault")
    assert client.get(f"/api/records/{fault['seq']}").json()["type"] == "Fault"


def test_a_unit_that_does_not_obey_is_named_until_it_does(world: ModuleType, fleet: Fleet) -> None:
    site, now = fleet.sites[0], world.NOW
    unit = site.units[0].id

    def outcome(result: str, minutes: float) -> Outcome:
        at = now - timedelta(minutes=minutes)
        return Outcome(
            at=at, known_at=at, source="site:x", kind="measured", site_id=site.id, unit_id=unit, plan_known_at=at,
            result=result, asked_w=0.0, observed_w=1e6, detail="rig 7",  # type: ignore[arg-type]
        )  # fmt: skip

    fold = Fold(fleet)
    fold.apply(1, outcome("refused", 9))
    assert ("bad", "did not obey", site.id) in lines_of(fold, now)
    fold.apply(2, outcome("applied", 4))
    assert ("bad", "did not obey", site.id) not in lines_of(fold, now)
    held = Override(
        at=now, known_at=now, source="console", kind="measured", override_id="o", site_id=site.id, unit_id=unit,
        target_w=0.0, until=now + timedelta(hours=1), by="ann", why="noise",
    )  # fmt: skip
    fold.apply(3, held)
    assert ("note", "held by hand", site.id) in lines_of(fold, now)
    assert ("note", "held by hand", site.id) not in lines_of(fold, now + timedelta(hours=2))


def test_a_replica_that_failed_a_request_is_counted(world: ModuleType) -> None:
    traffic = Traffic()
    traffic.add(
        1, used(world, world.NOW, 1, hops=(Hop(replica_id="r", site_id="s", output_tokens=0, ended="stalled"),))
    )
    assert traffic_view(traffic, world.NOW)["replicas"]["r"]["lost"] == 1


@pytest.mark.parametrize(
    ("budget", "spent", "what"),
    [
        ("10", 4.99, None),
        ("10", 5.0, ("note", "budget 50% spent")),
        ("10", 8.0, ("warn", "budget 80% spent")),
        ("10", 9.5, ("warn", "budget 95% spent")),
        ("10", 10.0, ("bad", "budget 100% spent")),
        ("10", 11.0, ("bad", "budget 100% spent")),
        ("0", 0.0, None),
        (None, 4.4, None),
    ],
)
def test_a_tenant_is_named_at_each_step_of_its_budget(
    budget: str | None, spent: float, what: tuple[str, str] | None
) -> None:
    tenant = Tenant(id="a", name="Acme", budget_usd_per_month=None if budget is None else Decimal(budget))
    month = {"invoices": [{"tenant": "a", "lines": [{"exact_usd": spent / 2}, {"exact_usd": spent / 2}]}]}
    lines = budget_lines([tenant], month)
    assert [(line["level"], line["what"]) for line in lines] == ([] if what is None else [what])
    assert all("Acme" in line["text"] for line in lines)
    assert budget_lines([tenant], None) == []


def test_a_past_is_being_written_between_its_marks(fleet: Fleet, world: ModuleType) -> None:
    fold = Fold(fleet)

    def mark(what: str) -> Action:
        return Action(
            at=world.NOW, known_at=world.NOW, source="history", kind="simulated", by="h", what=what, target="x"
        )

    def told() -> bool:
        return bool(now_view(fold, {}, world.NOW, 1.0, {})["writing_past"])

    assert not told()
    fold.apply(1, mark("history begun"))
    assert told()
    fold.apply(2, mark("history finished"))
    assert not told()

"""The console's doors over a filled store: numbers, records, commands, disclosures, chat."""

from __future__ import annotations

import shutil
import time
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from console.conftest import WRITES, Core, catch_up
from tieline import records
from tieline.clock import SimClock
from tieline.console.app import Shown, make_app
from tieline.console.rooms import chat
from tieline.disclosures.facts.keep import LiveBook
from tieline.fleet import Fleet
from tieline.records import Accepted, Action, Instruction, Override, Payout, Sample, admit, encode_batch
from tieline.store import Store


def test_the_first_page_adds_up(client: TestClient, store: Store, world: ModuleType, fleet: Fleet) -> None:
    view = client.get("/api/overview").json()
    keys = view["keys"]
    newest: dict[str, Sample] = {}
    for sample in store.between(Sample, world.NOW.replace(hour=0), world.NOW):
        newest[sample.unit_id] = sample
    silent = newest.pop(world.SILENT)
    assert silent.at < world.NOW.replace(hour=17)
    told_mw = sum(s.power_w or 0 for s in newest.values()) / 1e6
    assert keys["drawn_mw"] == pytest.approx(told_mw, abs=0.05)
    assert keys["grid_mw"] == pytest.approx(keys["limit_mw"] - told_mw, abs=0.05)
    assert keys["ehs"] == pytest.approx(sum(s.hashrate_hs or 0 for s in newest.values()) / 1e18, abs=0.001)
    assert keys["units_heard"] == keys["units"] - 1
    assert len(view["sites"]) == len(fleet.sites) == 40
    assert next(s for s in view["sites"] if s["id"] == "sa-cl-02")["faults"] == ["not heard"]
    assert next(s for s in view["sites"] if s["id"] == world.ORDERED)["orders"] == [12.0]
    assert {c["market"] for c in view["markets"]["curves"]} <= set(fleet.markets)


def test_a_page_is_served_fast(client: TestClient) -> None:
    """The bound is 50 ms; the first encoding may take longer on a busy machine, the rest are shared bytes."""
    client.get("/api/overview")
    began = time.perf_counter()
    for _ in range(20):
        assert client.get("/api/overview").status_code == 200
    assert (time.perf_counter() - began) / 20 < 0.05


def test_each_number_opens_to_its_records(client: TestClient, world: ModuleType) -> None:
    listed = client.get("/api/records", params={"stream": "Sample", "subject": "na-tx-01", "limit": 5}).json()[
        "records"
    ]
    assert len(listed) == 5
    assert {r["subject"] for r in listed} == {"na-tx-01"}
    assert listed == sorted(listed, key=lambda r: -r["at"])
    first = listed[0]
    alone = client.get(f"/api/records/{first['seq']}").json()
    assert alone == first
    assert {"at", "known_at", "source", "kind", "record"} <= set(alone)
    unit = client.get("/api/records", params={"stream": "Sample", "subject": "na-tx-01", "unit": "na-tx-01.gpu"}).json()
    assert {r["record"]["unit_id"] for r in unit["records"]} == {"na-tx-01.gpu"}


@pytest.mark.parametrize(
    ("query", "word"),
    [({}, "stream"), ({"stream": "Nothing"}, "stream"), ({"stream": "Plan", "since": "soon"}, "since")],
)
def test_a_wrong_question_is_told_what_is_right(client: TestClient, query: dict[str, str], word: str) -> None:
    answer = client.get("/api/records", params=query)
    assert answer.status_code == 400
    assert word in answer.json()["error"]


def test_what_is_not_there_is_404(client: TestClient) -> None:
    assert client.get("/api/records/99999999").status_code == 404
    assert client.get("/api/site/nowhere").status_code == 404
    assert client.get("/static/../app.py").status_code == 404
    assert client.get("/static/index.html").status_code == 404


def test_a_site_shows_what_was_asked_beside_what_was_observed(client: TestClient, world: ModuleType) -> None:
    view = client.get("/api/site/na-ny-01").json()
    rigs = next(u for u in view["units"] if u["id"] == "na-ny-01.rigs-1")
    assert rigs["asked_mw"] == pytest.approx(rigs["observed_mw"], rel=0.01)
    assert rigs["reason"]
    assert view["contract"]["delivered_usd_per_mwh"] is not None
    assert view["overrides"][0]["by"] == "Mara"
    silent = client.get("/api/site/sa-cl-02").json()
    unit = next(u for u in silent["units"] if u["id"] == world.SILENT)
    assert unit["observed_mw"] is None
    assert unit["outcome"]["last_known_mw"] == pytest.approx(6.8)


def test_an_override_is_recorded_with_who_when_and_why(client: TestClient, core: Core, world: ModuleType) -> None:
    body = {
        "site_id": "na-tx-01",
        "unit_id": "na-tx-01.rigs-1",
        "target_mw": 5.5,
        "minutes": 60,
        "why": "crew on bay 4",
    }
    answer = client.post("/api/override", json={**body, "by": "Mara"}, headers=WRITES)
    assert answer.status_code == 200, answer.text
    held, done = core.taken
    assert all(isinstance(one, Accepted) for one in admit(encode_batch([held, done]), world.NOW))  # as the true core
    assert isinstance(held, Override)
    assert isinstance(done, Action)
    assert (held.target_w, held.unit_id, held.at) == (5.5e6, "na-tx-01.rigs-1", world.NOW)
    assert (held.until - held.at).total_seconds() == 3600
    assert "Mara" in held.by
    assert "no login" in held.by
    assert done.target == "na-tx-01.rigs-1"
    assert "crew on bay 4" in done.detail


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"site_id": "nowhere"}, "site_id"),
        ({"unit_id": "na-tx-02.rigs-1"}, "unit_id"),
        ({"target_mw": -1}, "target_mw"),
        ({"target_mw": 10_000}, "target_mw"),
        ({"minutes": 0}, "minutes"),
        ({"minutes": 20_000}, "minutes"),
        ({"why": "  "}, "why"),
        ({"by": ""}, "by"),
        ({"target_mw": "much"}, "target_mw"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_wrong_command_names_the_field_and_records_nothing(
    client: TestClient, core: Core, wrong: dict[str, object], word: str
) -> None:
    body = {
        "site_id": "na-tx-01",
        "unit_id": "na-tx-01.rigs-1",
        "target_mw": 1,
        "minutes": 60,
        "why": "x",
        "by": "Mara",
    }
    answer = client.post("/api/override", json={**body, **wrong}, headers=WRITES)
    assert answer.status_code == 400
    assert word in answer.json()["error"]
    assert core.taken == []


def test_an_override_is_ended_by_telling_it_anew(client: TestClient, core: Core, world: ModuleType) -> None:
    body = {"override_id": "ov-1", "why": "inspection done", "by": "Ben"}
    assert client.post("/api/override/end", json=body, headers=WRITES).status_code == 200
    ended = core.taken[0]
    assert isinstance(ended, Override)
    assert ended.override_id == "ov-1"
    assert ended.until == ended.known_at == world.NOW
    assert client.post("/api/override/end", json={**body, "override_id": "x"}, headers=WRITES).status_code == 400


def test_an_order_told_by_telephone_is_the_grids_own_and_can_be_lifted(
    client: TestClient, core: Core, world: ModuleType
) -> None:
    body = {"site_id": "na-tx-01", "limit_mw": 12.5, "minutes": 30, "why": "ERCOT called", "by": "Mara"}
    assert client.post("/api/order", json=body, headers=WRITES).status_code == 200
    told, action = core.taken
    assert isinstance(told, Instruction)
    assert (told.site_id, told.limit_w, told.until - world.NOW) == ("na-tx-01", 12.5e6, timedelta(minutes=30))
    assert isinstance(action, Action)
    assert action.by.startswith("Mara")
    for wrong, word in (({"limit_mw": 1e6}, "limit_mw"), ({"minutes": 0}, "minutes"), ({"why": ""}, "why")):
        answer = client.post("/api/order", json={**body, **wrong}, headers=WRITES)
        assert answer.status_code == 400
        assert word in answer.json()["error"]
    standing = client.get(f"/api/site/{world.ORDERED}").json()["orders"][0]
    lift = {"instruction_id": standing["id"], "why": "over", "by": "Mara"}
    assert client.post("/api/order/end", json=lift, headers=WRITES).status_code == 200
    lifted = core.taken[2]
    assert isinstance(lifted, Instruction)
    assert (lifted.instruction_id, lifted.until) == (standing["id"], world.NOW)
    assert client.post("/api/order/end", json={**lift, "instruction_id": "x"}, headers=WRITES).status_code == 400


def test_an_advised_plan_is_confirmed_as_it_was_read(client: TestClient, core: Core) -> None:
    view = client.get("/api/site/na-ca-01").json()
    body = {"site_id": "na-ca-01", "plan_seq": view["plan"]["seq"], "by": "Mara"}
    assert client.post("/api/confirm", json={**body, "plan_seq": 1}, headers=WRITES).status_code == 400
    assert client.post("/api/confirm", json={**body, "site_id": "na-tx-01"}, headers=WRITES).status_code == 400
    assert core.taken == []
    assert client.post("/api/confirm", json=body, headers=WRITES).status_code == 200
    (done,) = core.taken
    assert isinstance(done, Action)
    assert (done.what, done.target) == ("accept", "na-ca-01")


def test_a_command_that_was_not_stored_says_so(client: TestClient, core: Core) -> None:
    body = {"site_id": "na-tx-01", "unit_id": None, "target_mw": 1, "minutes": 60, "why": "x", "by": "Mara"}
    core.error = "disk full"
    answer = client.post("/api/override", json=body, headers=WRITES)
    assert answer.status_code == 503
    assert "disk full" in answer.json()["error"]
    core.link.up = False
    assert "try again" in client.post("/api/override", json=body, headers=WRITES).json()["error"]


def test_disclosures_open_to_their_claims_and_checks(client: TestClient) -> None:
    view = client.get("/api/disclosures").json()
    assert view["table"]
    assert view["verdicts"]
    cell = view["table"][0]["cells"]["produced"]
    figure = client.get(f"/api/disclosures/figure/{cell['figure']}").json()
    assert figure["value"] == cell["value"]
    assert figure["claims"][0]["source"]
    assert client.get("/api/disclosures/figure/none").status_code == 404
    assert client.get("/api/disclosures", params={"month": "soon"}).status_code == 400
    table = client.get("/api/disclosures/table.csv", params={"month": view["month"]})
    assert table.headers["content-type"].startswith("text/csv")
    assert table.text.startswith("month,issuer")
    assert client.get("/api/disclosures/table.xls").status_code == 404


def test_facts_that_cannot_be_read_are_one_line(store: Store, fleet: Fleet, world: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "disclosures.jsonl").write_text("no claim\n")
    app = make_app(store, fleet, SimClock(world.NOW), shown=Shown(disclosures=LiveBook(tmp_path / "disclosures.jsonl")))
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 5000)) as client:
        for path in ("", "/grid", "/grid.csv", "/table.csv", "/table.json", "/figure/CANG.2025-09.btc_sold", "/desk"):
            answer = client.get(f"/api/disclosures{path}")
            assert (path, answer.status_code) == (path, 500)
            assert "mend or remove the line" in answer.json()["error"]


def _gateway(status: int = 200) -> Starlette:
    async def answer(request: Request) -> StreamingResponse:
        assert request.headers["authorization"] == "Bearer secret-key"
        body = await request.json()
        assert body["stream"] is True
        chunks = [b'data: {"choices":[{"delta":{"content":"hello"}}]}\n\n', b"data: [DONE]\n\n"]
        return StreamingResponse(iter(chunks), status, {"x-request-id": "req-1"}, "text/event-stream")

    return Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])


def test_the_chat_box_goes_through_the_gateway_and_the_key_stays_here(
    world: ModuleType, fleet: Fleet, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = httpx.AsyncClient(transport=httpx.ASGITransport(_gateway()))
    monkeypatch.setattr(chat.Chat, "client", lambda self: made)
    app = make_app(store, fleet, SimClock(world.NOW), shown=Shown("http://127.0.0.1:1/v1", "secret-key"))
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 5000)) as client:
        body = {"messages": [{"role": "user", "content": "hi"}], "model": "m"}
        answer = client.post("/api/chat", json=body, headers=WRITES)
        assert answer.status_code == 200
        assert "hello" in answer.text
        assert answer.headers["x-request-id"] == "req-1"
        assert "secret-key" not in answer.text + str(answer.headers)
        assert "secret-key" not in client.get("/api/overview").text
        long = {"messages": [{"role": "user", "content": "x" * 13_000}], "model": "m"}
        assert client.post("/api/chat", json=long, headers=WRITES).status_code == 400
        huge = {"messages": [{"role": "user", "content": "x" * 200_000}]}
        assert "KiB" in client.post("/api/chat", json=huge, headers=WRITES).json()["error"]


def test_a_gateway_that_is_not_there_is_one_clear_line(world: ModuleType, fleet: Fleet, store: Store) -> None:
    app = make_app(store, fleet, SimClock(world.NOW), shown=Shown("http://127.0.0.1:1", "k"))
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 5000)) as client:
        body = {"messages": [{"role": "user", "content": "hi"}], "model": "m"}
        answer = client.post("/api/chat", json=body, headers=WRITES)
    assert answer.status_code == 502
    assert "does not answer" in answer.json()["error"]


def test_a_payout_without_a_price_is_named_at_every_door_of_the_page(
    filled: Path, tmp_path: Path, world: ModuleType, fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    """The month goes on; the health, the first page and the log say what is in no figure."""
    kept = tmp_path / "store.db"
    shutil.copy(filled, kept)
    own = Store(kept, records.encode, records.decode)
    at = world.NOW - timedelta(hours=1)
    own.append(
        [
            Payout(
                at=at,
                known_at=at,
                source="t",
                kind="measured",
                payout_id="bad",
                pool="p",
                sats=5,
                span_start=at,
                span_end=at,
            )
        ]
    )
    with TestClient(
        make_app(own, fleet, SimClock(world.NOW)), base_url="http://127.0.0.1", client=("127.0.0.1", 50000)
    ) as client:
        catch_up(client)
        deadline = time.monotonic() + 30
        while (month := client.get("/api/month").json()) is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        health, view = client.get("/healthz").json(), client.get("/api/overview").json()
    own.close()
    assert "payout bad has no price" in month["left_out"][0]
    assert float(next(f["value"] for f in month["figures"] if f["name"] == "bitcoin_produced")) > 0
    assert (health["ok"], health["left_out"]) == (True, 1)
    assert health["left_out_first"] == month["left_out"]
    assert any(line["what"] == "in no figure" and "payout bad" in line["text"] for line in view["attention"])
    assert sum("payout bad" in record.message for record in caplog.records) == 1

"""A tenant's own page: what it reaches, what it is told, and that nothing of another tenant's gets out."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import msgspec
import pypdf
import pytest
from starlette.testclient import TestClient
from tests.console.conftest import Core
from tests.console.test_accounts import OWN, WORDS, browser, join, signed_in

from tieline import records
from tieline.app import gateway_part, up
from tieline.books import invoices
from tieline.clock import SimClock
from tieline.console import app as console
from tieline.console import traffic
from tieline.console.app import Shown, SignIn, make_app
from tieline.console.rooms.tenants import spend
from tieline.console.rooms.tenants.budgets import steps_of
from tieline.console.rooms.tenants.keys import MAX_KEYS, TenantKeys
from tieline.console.rooms.tenants.outcomes import outcome
from tieline.console.rooms.tenants.spend import SpendFold, SpendFullError
from tieline.console.traffic import RefusedAtDoors
from tieline.fleet import Fleet
from tieline.gateway.settings import Key, Tenant, hash_key
from tieline.people import People
from tieline.people.rights import TENANT_ROLES, rights
from tieline.records import DoorRefusals, Issued, IssuedLine, Reserved, Usage
from tieline.store import Store
from tieline.store.people import PeopleStore

ROOT = "sk-root"


class Admin:
    """The gateway's /admin over a table of keys: it checks nothing of whose they are, as the real one."""

    def __init__(self) -> None:
        self.keys = {
            key.id: key
            for key in (
                Key(id="demo", sha256=hash_key("demo"), tenant="demo"),
                Key(id="demo-bills", sha256=hash_key("bills"), tenant="demo", role="billing"),
                Key(id="demo-root", sha256=hash_key("root"), tenant="demo", role="admin"),
                Key(id="rival", sha256=hash_key("rival"), tenant="rival"),
            )
        }
        self.asked: list[tuple[str, str, Any]] = []
        self.status = 200

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/admin/")
        body = json.loads(request.content) if request.content else None
        self.asked.append((request.method, path, body))
        if self.status != 200 or request.headers["authorization"] != f"Bearer {ROOT}":
            return httpx.Response(self.status if self.status != 200 else 401, json={"error": {"message": "no"}})
        return httpx.Response(200, json=self._do(request.method, path.split("/"), body))

    def _do(self, method: str, words: list[str], body: Any) -> Any:
        match method, words:
            case "GET", ["keys"]:
                return {"data": [self._shown(key) for key in self.keys.values()]}
            case "POST", ["keys"]:
                key = Key(id=body["id"], sha256=hash_key("new"), tenant=body["tenant"], role=body["role"])
                self.keys[key.id] = key
                return {"key": "sk-new", **self._shown(key)}
            case "POST", ["keys", name, "rotate"]:
                return {"key": "sk-turned", **self._shown(self.keys[name])}
            case "DELETE", ["keys", name]:
                del self.keys[name]
                return {"id": name, "revoked": True}
            case "GET", ["models"]:
                tariff = {"since": "2026-05-01T00:00:00Z", "input_usd_per_mtok": "0.2", "output_usd_per_mtok": "0.6"}
                later = {**tariff, "since": "2026-07-01T00:00:00Z", "output_usd_per_mtok": "0.7"}
                old = {"name": "m", "label": "", "input_usd_per_mtok": "1", "output_usd_per_mtok": "1"}
                return {"data": [{**old, "cached_usd_per_mtok": None, "tariffs": [later, tariff]}]}
            case "GET", ["tenants", name, "usage"]:
                rival = {"scope": "tenant:rival", "free_nano_usd": 7}
                return {"budgets": [rival, {"scope": f"tenant:{name}", "free_nano_usd": 4_999_999_999}]}
            case "GET", ["tenants", name]:
                limits = {"requests_per_minute": 60, "budget_usd": "5", "budget_period": "month"}
                return {"id": name, "limits": limits, "projects": [], "disabled": False}
        raise AssertionError((method, words))

    def _shown(self, key: Key) -> dict[str, Any]:
        limits = {"budget_usd": None}
        plain = {"id": key.id, "tenant": key.tenant, "project": key.project, "role": key.role, "limits": limits}
        return {**plain, "models": [], "expires": None, "former": []}


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    known = People(PeopleStore(tmp_path / "people.db"))
    for role in sorted(TENANT_ROLES):
        join(known, role, role, tenant="demo")
    join(known, "mallory", "owner", tenant="rival")
    join(known, "root", "admin")
    yield known
    known.store.close()


@pytest.fixture
def used(world: ModuleType) -> list[Usage]:
    """Two tenants, several keys, models and days, each cost odd in its last digit."""
    first = world.NOW.replace(day=1, hour=0, minute=0, second=0)
    rows = []
    for number in range(120):
        tenant = "rival" if number % 5 == 0 else "demo"
        at = first + timedelta(hours=2 * number + 1)
        one = world.usage(at)
        parts = {"request_id": f"r-{number}", "tenant": tenant, "key_id": f"{tenant}-{number % 3}"}
        more = {"project": ("web", "batch")[number % 2], "model": ("m", "n")[number % 4 // 2]}
        cost = 123_456_789 + 7 * number if tenant == "demo" else 900_000_000_001
        rows.append(records.Usage(**{**_fields(one), **parts, **more, "cost_nano_usd": cost}))
    return rows


def _fields(one: Usage) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Usage.__struct_fields__}


@pytest.fixture
def store(tmp_path: Path, used: list[Usage]) -> Iterator[Store]:
    path = tmp_path / "store.db"
    writer = Store(path, records.encode, records.decode)
    writer.append(used)
    writer.close()
    store = Store(path, records.encode, records.decode, read_only=True)
    yield store
    store.close()


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> Admin:
    admin, whole = Admin(), TenantKeys.__init__

    def init(self: TenantKeys, *args: Any) -> None:
        whole(self, *args)
        self._client = httpx.AsyncClient(transport=httpx.MockTransport(admin.answer))

    monkeypatch.setattr(TenantKeys, "__init__", init)
    return admin


@pytest.fixture
def app(world: ModuleType, fleet: Fleet, store: Store, core: Core, people: People, admin: Admin) -> Any:
    shown = Shown("http://127.0.0.1:1/v1", gateway_admin=lambda: ROOT)
    who = SignIn(people=people)
    return make_app(store, fleet, SimClock(world.NOW), link=core.link, sign_in=who, shown=shown)


def get(client: TestClient, path: str) -> Any:
    answer = client.get(path)
    assert answer.status_code == 200, (path, answer.text)
    return answer.json()


def fill(path: str) -> str:
    for name, value in (
        ("{site_id}", "na-ca-01"), ("{name}", "x"), ("{form}", "csv"), ("{seq:int}", "1"), ("{key_id}", "demo"),
        ("{account_id}", "billing"), ("{rest:path}", "x"), ("{number}", "1"), ("{key}", "1"),
    ):  # fmt: skip
        path = path.replace(name, value)
    return path


@pytest.mark.parametrize("role", sorted(TENANT_ROLES))
def test_a_tenants_person_lands_on_their_page_and_reaches_nothing_of_the_operators(app: Any, role: str) -> None:
    client = signed_in(app, role)
    open_to_all = {"/login", "/join", "/account", "/my", "/healthz", "/static/{name}", "/api/login", "/api/join"}
    open_to_all |= {"/api/login/ways", "/login/oidc", "/login/oidc/callback"}
    open_to_all |= {"/api/login/passkey", "/api/login/passkey/begin"}
    open_to_all |= {"/api/logout", "/api/me", "/api/me/password", "/api/sessions/revoke", "/my/{rest:path}"}
    open_to_all |= {"/my/invoices/{number}"}
    seen = 0
    for path, method, right, _ in console._routes(app.state.room):
        if path in open_to_all or (right is not None and right in rights((role,))):  # type: ignore[arg-type]
            continue
        seen += 1
        answer = client.request(method, fill(path), headers=OWN, json={} if method == "POST" else None)
        if right is None:
            assert (answer.status_code, answer.headers["location"]) == (303, "/my"), path
        else:
            assert answer.status_code == 403, (path, answer.status_code)
    assert seen > 30
    assert client.get("/my").status_code in (200, 503)  # 503: the page is not built here


def test_an_operator_is_sent_from_a_tenants_page_to_their_own_and_told_nothing(app: Any) -> None:
    client = signed_in(app, "root")
    assert client.get("/my").headers["location"] == "/"
    rows = [row for row in console._routes(app.state.room) if row[0].startswith("/api/my")]
    assert len(rows) > 10
    for path, method, _, _ in rows:
        answer = client.request(method, fill(path), headers=OWN, json={} if method == "POST" else None)
        assert answer.status_code == 403, path


def test_every_way_of_telling_spend_apart_adds_up_to_the_records_and_the_invoice(app: Any, used: list[Usage]) -> None:
    client = signed_in(app, "owner")
    mine = [one for one in used if one.tenant == "demo"]
    nano = sum(one.cost_nano_usd for one in mine)
    told = get(client, "/api/my/usage")
    assert told["total"]["nano_usd"] == nano
    assert Decimal(told["total"]["usd"]) == Decimal(nano) / 10**9
    for way, field in (("by_key", "key_id"), ("by_project", "project"), ("by_model", "model")):
        expected: dict[str, int] = {}
        for one in mine:
            expected[getattr(one, field)] = expected.get(getattr(one, field), 0) + one.cost_nano_usd
        assert {row["name"]: row["nano_usd"] for row in told[way]} == expected
    assert sum(row["nano_usd"] for row in told["by_day"]) == nano
    assert len(told["by_day"]) == len({one.at.date() for one in mine}) > 5
    invoice = get(client, "/api/my/invoice")["invoice"]
    book = next(one for one in invoices(used, told["month"]) if one.tenant == "demo")
    assert sum(line["nano_usd"] for line in invoice["lines"]) == nano
    assert invoice["total_usd"] == str(book.total_usd)
    assert get(client, "/api/my/usage") == told  # asked again, nothing is counted twice


def test_a_line_of_the_invoice_opens_to_the_requests_it_is_the_sum_of(app: Any) -> None:
    client = signed_in(app, "billing")
    for line in get(client, "/api/my/invoice")["invoice"]["lines"]:
        found: list[Any] = []
        after = ""
        while True:
            page = get(client, f"/api/my/requests?project={line['project']}&model={line['model']}&limit=7{after}")
            found += page["requests"]
            if not page["more"]:
                break
            after = f"&after={page['next']}"
        assert len(found) == line["requests"]
        assert sum(Decimal(one["usd"]) for one in found) == Decimal(line["exact_usd"])


def issued(number: str, tenant: str, at: datetime, *lines: IssuedLine) -> Issued:
    return Issued(
        at=at, known_at=at, source="books", kind="measured", number=number, tenant=tenant, month="2026-04", lines=lines
    )


def test_issued_invoices_are_listed_and_saved_and_anothers_is_nothing(
    app: Any, tmp_path: Path, world: ModuleType, people: People
) -> None:
    line = IssuedLine(
        project="=cmd()", model="m", requests=3, prompt_tokens=10, output_tokens=20, nano_usd=1_234_567_891,
        amount_usd=Decimal("1.23"),
    )  # fmt: skip
    writer = Store(tmp_path / "store.db", records.encode, records.decode)
    writer.append([issued("2026-00001", "demo", world.NOW, line), issued("2026-00002", "rival", world.NOW, line)])
    writer.close()
    client = signed_in(app, "billing")
    assert get(client, "/api/my/invoices")["invoices"] == [
        {"number": "2026-00001", "month": "2026-04", "at": world.NOW.timestamp(), "usd": "1.23"}
    ]
    one = get(client, "/api/my/invoices/2026-00001")
    assert (one["total_usd"], one["lines"][0]["exact_usd"]) == ("1.23", "1.234567891")
    assert (one["since"], one["until"]) == ("2026-04-01T00:00:00+00:00", "2026-05-01T00:00:00+00:00")
    printed = client.get("/api/my/invoices/2026-00001/pdf")
    assert printed.headers["content-type"] == "application/pdf"
    (sheet,) = pypdf.PdfReader(io.BytesIO(printed.content)).pages
    assert "Invoice 2026-00001" in sheet.extract_text()
    saved = client.get("/api/my/invoices/2026-00001/csv")
    assert 'filename="invoice-2026-00001.csv"' in saved.headers["content-disposition"]
    (row,) = csv.DictReader(io.StringIO(saved.text))
    assert (row["project"], row["exact_usd"], row["amount_usd"]) == ("'=cmd()", "1.234567891", "1.23")
    for what in ("", "/csv", "/pdf", "/hours"):
        assert client.get(f"/api/my/invoices/2026-00002{what}").status_code == 404
        assert [one.target for one in people.store.untold()][-1] == "2026-00002"
    assert signed_in(app, "developer").get("/api/my/invoices").status_code == 403


def test_a_line_of_rented_replicas_opens_to_its_hours(
    app: Any, tmp_path: Path, world: ModuleType, people: People
) -> None:
    line = IssuedLine(
        project="", model="m, reserved in any region", requests=0, prompt_tokens=0, output_tokens=0, replica_s=7_200,
        nano_usd=5_000_000_001, amount_usd=Decimal("5.00"), kind="reserved",
    )  # fmt: skip
    hour = Reserved(
        at=datetime(2026, 4, 2, tzinfo=UTC), known_at=world.NOW, source="gateway", kind="measured", tenant="demo",
        model="m", region="", rented_since=datetime(2026, 4, 1, tzinfo=UTC), replicas=2, provided_s=7_200,
        usd_per_replica_hour=Decimal("2.5"), cost_nano_usd=5_000_000_001,
    )  # fmt: skip
    others = [msgspec.structs.replace(hour, tenant="rival"), msgspec.structs.replace(hour, region="asia")]
    writer = Store(tmp_path / "store.db", records.encode, records.decode)
    writer.append([issued("2026-00001", "demo", world.NOW, line), hour, *others])
    writer.close()
    told = get(signed_in(app, "owner"), f"/api/my/invoices/2026-00001/hours?line={line.model}")
    assert [(one["provided_s"], one["usd"]) for one in told["hours"]] == [(7_200, "5.000000001")]


def test_steps_of_a_budget_are_told_with_the_day_on_which_each_was_passed(app: Any) -> None:
    (row,) = get(signed_in(app, "owner"), "/api/my/limits")["budgets"]
    assert (row["scope"], row["budget_usd"]) == ("all keys together", "5")
    days = get(signed_in(app, "owner"), "/api/my/usage")["by_day"]
    for step in row["steps"]:
        over, passed = 0, None
        for day in days:
            over += day["nano_usd"]
            if passed is None and over >= step["share"] * 5 * 10**9:
                passed = day["name"]
        assert step["day"] == passed
    assert [step["share"] for step in row["steps"]] == [0.5, 0.8, 0.95, 1.0]


@pytest.mark.parametrize(
    ("days", "passed"),
    [
        ([("d1", 4_999_999_999)], [None, None, None, None]),
        ([("d1", 4_999_999_999), ("d2", 1)], ["d2", None, None, None]),
        ([("d1", 8_000_000_000), ("d2", 1_500_000_000)], ["d1", "d1", "d2", None]),
        ([("d1", 10_000_000_000), ("d2", 10**12)], ["d1", "d1", "d1", "d1"]),
        ([], [None, None, None, None]),
    ],
)
def test_a_step_is_passed_at_its_last_nano_dollar(days: list[tuple[str, int]], passed: list[str | None]) -> None:
    assert [step["day"] for step in steps_of(Decimal(10), days)] == passed


@pytest.mark.parametrize(
    ("status", "finish", "words"),
    [
        (200, "stop", "answered"),
        (200, "length", "cut at its limit"),
        (429, "error", "too many requests were waiting"),
        (499, "cancelled", "your side closed"),
        (503, "error", "no replica could take it"),
        (418, "error", "refused (418)"),
        (599, "error", "failed (599)"),
    ],
)
def test_how_a_request_ended_is_said_in_words(status: int, finish: str, words: str) -> None:
    assert words in outcome(status, finish)


def test_what_was_refused_at_the_door_is_told_to_whom_it_was_and_to_the_operator(
    app: Any, tmp_path: Path, world: ModuleType
) -> None:
    hour = world.NOW.replace(minute=0, second=0, microsecond=0)

    def refused(tenant: str, code: str, ago_h: int, count: int, part: int) -> DoorRefusals:
        return DoorRefusals(
            at=hour - timedelta(hours=ago_h), known_at=world.NOW, source="gateway", kind="measured", tenant=tenant,
            code=code, count=count, door="d", part=part,
        )  # fmt: skip

    told = [refused("demo", "insufficient_quota", 0, 3, 1), refused("demo", "insufficient_quota", 0, 4, 2),
            refused("demo", "rate_limit", 5, 2, 3), refused("demo", "rate_limit", 40, 9, 4),
            refused("rival", "rate_limit", 1, 50, 5), refused("(nobody)", "invalid_api_key", 2, 6, 6)]  # fmt: skip
    writing = Store(tmp_path / "store.db", records.encode, records.decode)
    writing.append(told)
    writing.close()
    with signed_in(app, "developer") as client:
        for _ in range(2000):
            seen = get(client, "/api/my/refusals")
            if seen["total"] == 9:
                break
        rows = [(row["tenant"], row["code"], row["hour"], row["day"]) for row in seen["rows"]]
        assert rows == [("demo", "insufficient_quota", 7, 7), ("demo", "rate_limit", 0, 2)]
        assert seen["rows"][1]["hours"] == [[(hour - timedelta(hours=5)).timestamp(), 2]]
    with signed_in(app, "root") as client:
        for _ in range(2000):
            operator = get(client, "/api/inference")["refused"]
            if operator["total"] == 65:
                break
        assert [(row["tenant"], row["day"]) for row in operator["rows"]] == [
            ("rival", 50), ("demo", 7), ("(nobody)", 6), ("demo", 2),
        ]  # fmt: skip


def test_refusals_of_many_are_kept_in_bounds_and_none_is_lost(
    monkeypatch: pytest.MonkeyPatch, world: ModuleType
) -> None:
    monkeypatch.setattr(traffic, "MAX_CELLS", 30)
    monkeypatch.setattr(traffic, "MAX_ROWS", 10)
    kept, hour = RefusedAtDoors(), world.NOW.replace(minute=0, second=0, microsecond=0)
    for n in range(100):
        kept.add(DoorRefusals(at=hour, known_at=hour, source="g", kind="measured", tenant=f"t{n}", code="rate_limit",
                              count=2, door="d", part=n))  # fmt: skip
    view = kept.view(world.NOW)
    assert view["total"] == 200
    assert (len(view["rows"]), view["more"]) == (10, 21)
    assert view["rows"][0]["tenant"] == "(others)"


def test_a_developer_sees_use_but_no_money(app: Any) -> None:
    client = signed_in(app, "developer")
    for path in ("/api/my/usage", "/api/my/requests", "/api/my/limits"):
        told = json.dumps(get(client, path))
        assert "nano_usd" not in told
        assert '"usd"' not in told
        assert "spent_usd" not in told
    assert get(client, "/api/my/usage")["total"]["requests"] == 96
    assert client.get("/api/my/invoice").status_code == 403


def test_limits_and_prices_are_those_in_force(app: Any) -> None:
    client = signed_in(app, "owner")
    limits = get(client, "/api/my/limits")
    assert limits["limits"]["requests_per_minute"] == 60
    assert limits["left_usd"] == "4.999999999"
    (price,) = get(client, "/api/my/prices")["models"]
    assert price["output_usd_per_mtok"] == "0.6"  # the tariff that has begun, not the one that is announced
    assert [one["output_usd_per_mtok"] for one in price["later"]] == ["0.7"]


def test_keys_are_made_turned_and_revoked_in_the_tenants_name_and_each_deed_is_put_down(
    app: Any, admin: Admin, people: People
) -> None:
    client = signed_in(app, "developer")
    form = {"name": "web", "project": "site", "models": ["m"], "days": 30, "budget_usd": "12.5"}
    made = client.post("/api/my/keys", json=form, headers=OWN).json()
    assert made["secret"] == "sk-new"
    body = next(body for method, path, body in admin.asked if (method, path) == ("POST", "keys"))
    assert (body["tenant"], body["role"], body["models"], body["project"]) == ("demo", "user", ["m"], "site")
    assert Decimal(body["limits"]["budget_usd"]) == Decimal("12.5")
    id_ = made["key"]["id"]
    assert id_.startswith("web-")
    turned = client.post(f"/api/my/keys/{id_}/rotate", json={"overlap_h": 2}, headers=OWN).json()
    assert turned["secret"] == "sk-turned"
    assert ("POST", f"keys/{id_}/rotate", {"overlap_s": 7200}) in admin.asked
    assert client.post(f"/api/my/keys/{id_}/revoke", json={}, headers=OWN).status_code == 200
    assert id_ not in admin.keys
    deeds = [(row.by, row.what, row.target) for row in people.store.untold() if row.by == "developer"]
    assert deeds[-3:] == [("developer", f"{what} key", id_) for what in ("make", "rotate", "revoke")]
    assert "sk-" not in json.dumps(get(client, "/api/my/keys"))


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"name": "../x"}, "name"),
        ({"name": "web", "project": "a b"}, "project"),
        ({"name": "web", "models": ["other"]}, "models"),
        ({"name": "web", "days": 0}, "days"),
        ({"name": "web", "budget_usd": "-1"}, "budget_usd"),
        ({"name": "web", "tenant": "rival"}, "tenant"),
        ({"name": "web", "role": "admin"}, "role"),
        ({"name": "web", "id": "rival"}, "id"),
    ],
)
def test_what_a_key_cannot_be_is_one_line_with_its_field(app: Any, admin: Admin, form: Any, field: str) -> None:
    answer = signed_in(app, "owner").post("/api/my/keys", json=form, headers=OWN)
    assert answer.status_code == 400
    assert field in answer.json()["error"]
    assert all(method == "GET" for method, _, _ in admin.asked)


def test_a_key_that_administers_is_neither_shown_nor_turned(app: Any, admin: Admin) -> None:
    owner, developer = signed_in(app, "owner"), signed_in(app, "developer")
    assert {key["id"] for key in get(owner, "/api/my/keys")["keys"]} == {"demo", "demo-bills"}
    assert {key["id"] for key in get(developer, "/api/my/keys")["keys"]} == {"demo"}
    for client, key in ((owner, "demo-root"), (developer, "demo-root"), (developer, "demo-bills")):
        for deed in ("rotate", "revoke"):
            assert client.post(f"/api/my/keys/{key}/{deed}", json={}, headers=OWN).status_code == 404
    assert all(method == "GET" for method, _, _ in admin.asked)


def test_nobody_gets_at_another_tenant_by_any_address_and_each_try_is_put_down(
    app: Any, admin: Admin, people: People
) -> None:
    client = signed_in(app, "owner")
    before = dict(admin.keys)
    tries = [("POST", f"/api/my/keys/{key}/{deed}") for key in ("rival", "ghost") for deed in ("rotate", "revoke")]
    tries += [("POST", f"/api/my/people/{one}/{deed}") for one in ("mallory", "root") for deed in ("link", "remove")]
    tries += [("GET", "/my/rival"), ("GET", "/api/my/rival/usage"), ("GET", "/api/my/usage?tenant=rival")]
    gets = ("usage", "status", "limits", "prices", "requests", "invoice", "keys", "people")
    tries += [("GET", f"/api/my/{path}?tenant=rival") for path in gets]
    said = set()
    for _ in range(12):
        for method, path in tries:
            answer = client.request(method, path, headers=OWN, json={} if method == "POST" else None)
            assert answer.status_code == 404, path
            said.add(answer.text)
    assert said == {'{"error":"there is nothing here"}'}
    assert admin.keys == before
    assert people.account("mallory") is not None
    put_down = 0
    while rows := people.store.untold():
        put_down += sum(row.by == "owner" and "unknown or foreign" in row.what for row in rows)
        people.store.told(rows[-1].seq)
    assert put_down == 12 * len(tries) >= 200


def test_nothing_that_is_told_names_another_tenant_whatever_is_asked(app: Any) -> None:
    client = signed_in(app, "owner")
    for path in ("usage", "status", "limits", "prices", "requests", "invoice", "keys", "people"):
        for query in ("", "?subject=rival", "?project=web&key=rival-0", "?stream=Plan&subject=rival"):
            text = client.get(f"/api/my/{path}{query}").text
            assert "rival" not in text
            assert "mallory" not in text
            assert "900000000001" not in text
            assert "na-tx-01" not in text  # nor where it ran


def test_whoever_tries_too_many_addresses_is_refused_for_a_while(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tieline.console.rooms.tenants.portal.MAX_TRIES", 3)
    client = signed_in(app, "owner")
    codes = [client.get("/api/my/usage?tenant=rival").status_code for _ in range(4)]
    assert codes == [404, 404, 404, 429]
    assert client.get("/api/my/usage").status_code == 429
    assert signed_in(app, "billing").get("/api/my/usage").status_code == 200


def test_an_owner_invites_people_of_their_own_tenant_only_and_with_its_roles_only(app: Any, people: People) -> None:
    client = signed_in(app, "owner")
    form = {"id": "ada", "name": "Ada", "roles": ["developer"]}
    link = client.post("/api/my/people", json=form, headers=OWN).json()["link"]
    joined = browser(app).post(
        "/api/join",
        json={"link": link.partition("#")[2], "name": "Ada", "password": "four plain words here"},
        headers=OWN,
    )
    assert joined.json()["tenant"] == "demo"
    for bad in (
        {**form, "id": "eve", "roles": ["admin"]},
        {**form, "id": "eve", "tenant": "rival"},
        {**form, "id": "root"},
    ):
        assert client.post("/api/my/people", json=bad, headers=OWN).status_code == 400
    assert people.account("eve") is None
    assert client.post("/api/my/people/owner/remove", json={}, headers=OWN).status_code == 400
    assert client.post("/api/my/people/ada/remove", json={}, headers=OWN).status_code == 200
    assert people.account("ada") is None


def test_a_tenant_cannot_fill_the_gateway_with_keys(app: Any, admin: Admin) -> None:
    for number in range(MAX_KEYS):
        admin.keys[f"k{number}"] = Key(id=f"k{number}", sha256=hash_key(str(number)), tenant="demo")
    answer = signed_in(app, "owner").post("/api/my/keys", json={"name": "one-more"}, headers=OWN)
    assert answer.status_code == 409
    assert "revoke one" in answer.json()["error"]


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_a_gateway_that_refuses_is_said_and_never_signs_anybody_out(app: Any, admin: Admin, status: int) -> None:
    admin.status = status
    answer = signed_in(app, "owner").get("/api/my/keys")
    assert answer.status_code in (500, 503)
    assert answer.json()["error"]


def test_a_secret_that_is_none_goes_nowhere(app: Any) -> None:
    form = {"key": "sk-a\r\nx: y", "messages": [{"role": "user", "content": "x"}]}
    answer = signed_in(app, "owner").post("/api/my/try", json=form, headers=OWN)
    assert answer.status_code == 400
    assert "key" in answer.json()["error"]
    away = signed_in(app, "owner").post("/api/my/try", json={**form, "key": "sk-whole-key"}, headers=OWN)
    assert away.status_code == 502


def test_a_month_with_more_sums_than_are_held_is_refused_not_cut(
    used: list[Usage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spend, "MAX_CELLS", 5)
    fold = SpendFold("2026-05")
    for one in used[:5]:
        fold.take(one)
    with pytest.raises(SpendFullError, match="5 sums"):
        fold.take(used[5])


def test_the_platforms_own_key_administers_from_this_machine_only_and_never_from_a_tenants_hand(tmp_path: Path) -> None:
    runtime = up.prepare(up.Options(data_dir=tmp_path / "data", console_port=0, gateway_port=0))
    path = runtime.gateway_admin_path(runtime.load_config())
    assert path == runtime.portal_key_path
    assert path.stat().st_mode & 0o777 == 0o600
    settings = gateway_part.settings_of(runtime.load_config(), runtime)
    key = next(one for one in settings.keys if one.id == gateway_part.PORTAL)
    assert key.sha256 == hash_key(path.read_text().strip())
    assert key.role == "admin"
    assert set(key.networks) >= {"127.0.0.0/8", "::1/128"}
    assert Tenant(id=key.tenant) in settings.tenants


def test_the_portal_that_stands_alone_has_no_door_of_the_operators_and_no_room_for_their_sessions(
    app: Any, world: ModuleType, fleet: Fleet, store: Store, people: People, admin: Admin, used: list[Usage]
) -> None:
    shown = Shown("http://127.0.0.1:1/v1", gateway_admin=lambda: ROOT)
    alone = console.make_portal(store, fleet, SimClock(world.NOW), people, shown)
    owner = signed_in(alone, "owner")
    total = sum(one.cost_nano_usd for one in used if one.tenant == "demo")
    assert get(owner, "/api/my/usage")["total"]["nano_usd"] == total
    assert owner.get("/").headers["location"] == "/my"

    refused = browser(alone).post("/api/login", json={"name": "root", "password": WORDS}, headers=OWN)
    assert refused.status_code == 403
    assert "signs in at the console" in refused.json()["error"]
    assert "set-cookie" not in refused.headers
    root = browser(alone)
    root.cookies.update(signed_in(app, "root").cookies)  # a browser sends a host's cookies to each of its ports
    here = {route.path for route in alone.routes}
    open_to_all = {"/", "/login", "/join", "/account", "/healthz", "/static/{name}", "/api/me", "/api/login/ways"}
    elsewhere = 0
    for path, method, _, _ in console._routes(app.state.room):
        if path in open_to_all or path.startswith(("/api/login", "/api/join", "/api/logout", "/login")):
            continue
        asked = {"headers": OWN, "json": {} if method == "POST" else None}
        seen = root.request(method, fill(path), **asked)
        assert (seen.status_code, seen.headers.get("location", "/login")) in ((401, "/login"), (303, "/login")), path
        if path not in here:
            elsewhere += 1
            assert owner.request(method, fill(path), **asked).status_code == 404, path
    assert elsewhere > 50
    assert root.get("/api/me").status_code == 401

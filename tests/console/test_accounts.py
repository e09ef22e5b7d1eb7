"""Signing in at the console: every route with every role, sessions, and what a stranger may not do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.console.conftest import Core

from tieline.clock import SimClock
from tieline.console import app as console
from tieline.console.app import SignIn, make_app
from tieline.fleet import Fleet
from tieline.people import ROLES, Account, People
from tieline.people.accounts import Who
from tieline.people.rights import PARTNER_ROLES, TENANT_ROLES, rights
from tieline.records import Action
from tieline.store import Store
from tieline.store.people import PeopleStore

WORDS = "correct horse battery"
OWN = {"x-tieline": "console"}
HERE = ("127.0.0.1", 50000)


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    known = People(PeopleStore(tmp_path / "people.db"))
    yield known
    known.store.close()


@pytest.fixture
def app(world: ModuleType, fleet: Fleet, store: Store, core: Core, people: People) -> Any:
    return make_app(store, fleet, SimClock(world.NOW), link=core.link, sign_in=SignIn(people=people))


def browser(app: Any, host: str = "http://127.0.0.1") -> TestClient:
    return TestClient(app, base_url=host, client=HERE, follow_redirects=False)


def join(people: People, id_: str, *roles: str, places: tuple[str, ...] = (), tenant: str = "") -> None:
    now = datetime.now(UTC)
    link = people.add(Account(id_, id_.title(), roles, places, tenant), Who("test"), now)  # type: ignore[arg-type]
    people.accept(link, WORDS, id_.title(), "test", now)


def signed_in(app: Any, id_: str) -> TestClient:
    client = browser(app)
    answer = client.post("/api/login", json={"name": id_, "password": WORDS}, headers=OWN)
    assert answer.status_code == 200, answer.text
    return client


def fill(path: str) -> str:
    for name in (
        "{site_id}",
        "{name}",
        "{form}",
        "{seq:int}",
        "{key_id}",
        "{account_id}",
        "{rest:path}",
        "{number}",
        "{key}",
    ):
        path = path.replace(name, "1" if "seq" in name else "csv" if "form" in name else "na-ca-01")
    return path


def test_every_route_with_every_role_and_with_none(app: Any, people: People) -> None:
    """The table decides, and nothing else: 403 exactly where a role lacks the right, 401 for whoever is nobody."""
    join(people, "root", "admin")
    table = [row for row in console._routes(_room(app)) if row[0] not in ("/api/events", "/api/logout")]
    stranger = browser(app)
    open_paths = ("/static/", "/login", "/join", "/api/login", "/api/join", "/healthz", "/alerts/take")
    for path, method, _, _ in table:
        if not path.startswith(open_paths):
            answer = stranger.request(method, fill(path), headers=OWN, json={} if method == "POST" else None)
            assert answer.status_code in (401, 303), (path, answer.status_code)
    wrong = []
    for role in ROLES:
        join(
            people,
            f"a-{role}",
            role,
            tenant="acme" if role in TENANT_ROLES else "partner/x" if role in PARTNER_ROLES else "",
        )
        client = signed_in(app, f"a-{role}")
        for path, method, right, _ in table:
            if path in ("/api/me/password", "/api/sessions/revoke"):
                continue
            answer = client.request(method, fill(path), headers=OWN, json={} if method == "POST" else None)
            allowed = right is None or right in rights((role,))
            if (answer.status_code == 403 and "may not" in answer.text) == allowed:
                wrong.append((role, method, path, answer.status_code))
    assert wrong == []


def _room(app: Any) -> Any:
    return app.state.room


def test_until_there_is_an_admin_this_machine_is_let_in_and_from_then_on_nobody_without_signing_in(
    app: Any, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tieline.console.door.LOOK_S", 0.0)
    client = browser(app)
    assert client.get("/api/overview").status_code == 200
    link = people.first_link(datetime.now(UTC))
    assert client.get("/api/people").status_code == 403  # accounts are not for whoever sits here
    answer = client.post("/api/join", json={"link": link, "name": "Ada", "password": WORDS}, headers=OWN)
    assert answer.status_code == 200
    assert client.get("/api/me").json()["roles"] == ["admin"]
    assert browser(app).get("/api/overview").status_code == 401
    assert browser(app).get("/").headers["location"] == "/login"


def test_whoever_signs_in_before_there_is_an_admin_is_who_they_are_and_no_more(app: Any, people: People) -> None:
    join(people, "olive", "owner", tenant="acme")
    client = signed_in(app, "olive")
    assert client.get("/api/me").json()["id"] == "olive"
    assert client.get("/api/overview").status_code == 403
    assert browser(app).get("/api/overview").status_code == 200


def test_a_cookie_is_no_use_to_another_page_and_ends_with_signing_out(app: Any, people: People) -> None:
    join(people, "ada", "admin")
    client = signed_in(app, "ada")
    cookie = client.cookies.jar
    assert all(one.has_nonstandard_attr("HttpOnly") for one in cookie)
    foreign = client.post("/api/people/invite", json={"id": "ada"}, headers={"origin": "http://evil.example"} | OWN)
    assert foreign.status_code == 403
    assert client.post("/api/people/invite", json={"id": "ada"}).status_code == 403  # no header: a form's post
    secret = client.cookies["tieline_session"]
    assert client.post("/api/logout", json={}, headers=OWN).status_code == 200
    thief = browser(app)
    thief.cookies.set("tieline_session", secret)
    assert thief.get("/api/overview").status_code == 401


def test_an_operator_of_one_site_commands_only_there(app: Any, people: People) -> None:
    join(people, "root", "admin")
    join(people, "bob", "operator", places=("na-ca-01",))
    with signed_in(app, "bob") as client:
        form = {"unit_id": None, "target_mw": 0, "minutes": 5, "why": "test"}
        said = client.post("/api/override", json={**form, "site_id": "na-tx-01"}, headers=OWN)
        assert said.status_code == 403
        assert "may not hold, order" in said.json()["error"]
        assert client.post("/api/override", json={**form, "site_id": "na-ca-01"}, headers=OWN).status_code == 200
        held = {"what": "hold", "share": 0.5, "why": "test", "rigs": [{"unit_id": "na-tx-01.rigs-1", "address": "x"}]}
        assert client.post("/api/rigs/command", json=held, headers=OWN).status_code == 403


def test_a_word_to_a_rig_is_of_the_site_where_its_group_stands(app: Any, people: People) -> None:
    fold = app.state.hub.fold
    place = app.state.room._place
    unit = next(unit for unit in fold.units.values() if unit.site.id == "na-tx-01")
    assert (place(unit.id), place("na-ca-01"), place("nowhere")) == ("na-tx-01", "na-ca-01", "nowhere")


def test_what_somebody_did_is_on_record_under_their_account(app: Any, people: People, core: Core) -> None:
    join(people, "root", "admin")
    with signed_in(app, "root") as client:
        form = {"site_id": "na-ca-01", "unit_id": None, "target_mw": 0, "minutes": 5, "why": "test", "by": "Mallory"}
        assert client.post("/api/override", json=form, headers=OWN).status_code == 200
        assert client.post(
            "/api/people/add", json={"id": "eve", "name": "Eve", "roles": ["viewer"]}, headers=OWN
        ).json()
        deadline = time.monotonic() + 15
        told: set[tuple[str, str, str]] = set()
        while ("root", "add account", "eve") not in told and time.monotonic() < deadline:
            told = {(r.by, r.what, r.target) for r in core.taken if isinstance(r, Action)}
            client.get("/healthz")
    assert ("Root (root)", "override", "na-ca-01") in told
    assert ("root", "add account", "eve") in told


def test_guessing_is_slowed_down_and_said(app: Any, people: People) -> None:
    join(people, "ada", "admin")
    client = browser(app)
    codes = []
    for number in range(12):
        last = client.post("/api/login", json={"name": "ada", "password": f"guess number {number}"}, headers=OWN)
        codes.append(last.status_code)
        if last.status_code == 429:
            break
    assert codes[:3] == [403, 403, 403]
    assert codes[-1] == 429
    assert int(last.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 60_000,
        b'{"name": 7}',
        b'{"name": "a", "password": "b", "more": 1}',
        b"\xff\xfe",
        b"x" * 200_000,
    ],
)
def test_rubbish_at_the_sign_in_is_one_clear_line(app: Any, people: People, body: bytes) -> None:
    join(people, "ada", "admin")
    answer = browser(app).post("/api/login", content=body, headers=OWN)
    assert answer.status_code in (400, 403)
    assert answer.json()["error"]


def test_another_name_for_this_machine_is_refused_before_anybody_signs_in(app: Any) -> None:
    assert browser(app, "http://evil.example").get("/api/overview").status_code == 421

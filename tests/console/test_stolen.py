"""A session that somebody else holds too: it is seen where it is used, and ends for both when its owner says so."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.console.conftest import Core
from tests.console.test_accounts import OWN, WORDS, browser, join, signed_in

from tieline.clock import SimClock
from tieline.console.app import SignIn, make_app
from tieline.fleet import Fleet
from tieline.people import People
from tieline.people.accounts import SESSION
from tieline.store import Store
from tieline.store.people import PeopleStore


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    known = People(PeopleStore(tmp_path / "people.db"))
    join(known, "ada", "admin")
    join(known, "olga", "operator")
    yield known
    known.store.close()


@pytest.fixture
def app(world: ModuleType, fleet: Fleet, store: Store, core: Core, people: People) -> Any:
    return make_app(store, fleet, SimClock(world.NOW), link=core.link, sign_in=SignIn(people=people))


def thief_of(app: Any, owner: TestClient) -> TestClient:
    thief = browser(app)
    thief.cookies.set("tieline_session", owner.cookies["tieline_session"])
    return thief


def test_a_stolen_session_is_ended_by_its_owner_for_the_thief_too(app: Any, people: People) -> None:
    owner = signed_in(app, "olga")
    thief = thief_of(app, owner)
    assert thief.get("/api/overview").status_code == 200  # whoever holds the cookie is its owner, until it ends
    (listed,) = owner.get("/api/me").json()["sessions"]
    elsewhere = signed_in(app, "olga")
    assert (
        elsewhere.post("/api/sessions/revoke", json={"id": "olga", "session": listed["id"]}, headers=OWN).status_code
        == 200
    )
    assert thief.get("/api/overview").status_code == 401
    assert thief.post("/api/override", json={}, headers=OWN).status_code == 401
    assert elsewhere.get("/api/overview").status_code == 200


def test_a_new_password_ends_it_and_it_cannot_set_one_itself(app: Any, people: People) -> None:
    owner = signed_in(app, "olga")
    thief = thief_of(app, owner)
    form = {"old": "not hers at all", "new": "another four plain words"}
    assert thief.post("/api/me/password", json=form, headers=OWN).status_code in (400, 403)
    changed = signed_in(app, "olga").post("/api/me/password", json={**form, "old": WORDS}, headers=OWN)
    assert changed.status_code == 200, changed.text
    assert thief.get("/api/overview").status_code == 401


def test_it_is_no_use_to_another_account_nor_after_its_end(
    app: Any, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = signed_in(app, "olga")
    (mine,) = owner.get("/api/me").json()["sessions"]
    other = signed_in(app, "ada")
    other.post("/api/sessions/revoke", json={"id": "ada", "session": mine["id"]}, headers=OWN)
    assert owner.get("/api/overview").status_code == 200  # one ends one's own
    later = datetime.now(UTC) + SESSION + timedelta(seconds=1)
    assert people.holder(owner.cookies["tieline_session"], later) is None


@pytest.mark.parametrize("cookie", ["", "x", "A" * 43, "..", "olga", "%00", "olga.99999999999.abc"])
def test_a_guessed_one_is_none(app: Any, cookie: str) -> None:
    thief = browser(app)
    thief.cookies.set("tieline_session", cookie)
    assert thief.get("/api/overview").status_code == 401

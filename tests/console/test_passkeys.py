"""Passkeys in a real browser with an authenticator of the browser's own, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.console.site_of_pages import console
from tests.console.test_accounts import OWN, app, browser, join, people, signed_in  # noqa: F401  # fixtures
from tests.console.test_page import browser as chromium  # noqa: F401  # a fixture

from tieline.people import People, PeopleError
from tieline.people.accounts import MAX_PASSKEYS, Account, ThrottledError, Who
from tieline.people.passkeys import Passkeys, RelyingParty
from tieline.store.people import PasskeyRow, PeopleStore

SITE = RelyingParty("localhost", "http://localhost:8700")
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
TITLE = ".account h2:text('Passkeys')"


@pytest.fixture(scope="module")
def url(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with console(filled, tmp_path_factory.mktemp("passkeys")) as url:
        yield url.replace("127.0.0.1", "localhost")


def with_device(page: Any) -> tuple[Any, str]:
    """A device that verifies its user and keeps its passkeys."""
    devices = page.context.new_cdp_session(page)
    devices.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
               "isUserVerified": True, "automaticPresenceSimulation": True}  # fmt: skip
    return devices, devices.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"]


def test_a_passkey_is_made_signs_in_and_no_longer_does_once_it_is_removed(chromium: Any, url: str) -> None:  # noqa: F811
    context = chromium.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    devices, device = with_device(page)
    page.goto(url + "/login")
    page.fill("#name", "olive")
    page.fill("#password", "correct horse battery")
    page.click("button:text-is('Sign in')")
    page.wait_for_url("**/my")
    page.goto(url + "/account")
    page.wait_for_selector(TITLE)
    page.fill("#passkey-name", "my laptop")
    page.click("text=Add a passkey")
    page.wait_for_selector("td:text('my laptop')")
    assert len(devices.send("WebAuthn.getCredentials", {"authenticatorId": device})["credentials"]) == 1
    # The same device again: it says so itself.
    page.fill("#passkey-name", "again")
    page.click("text=Add a passkey")
    page.wait_for_selector("text=This device has a passkey for this account already")

    page.click("text=Sign out")
    page.wait_for_url("**/login")
    page.click("text=Sign in with a passkey")
    page.wait_for_url("**/my")
    page.goto(url + "/account")
    page.wait_for_selector("td:text('my laptop')")
    assert page.locator("tr:has-text('my laptop') td").nth(2).inner_text() != "never"

    page.click("text=Remove")
    page.wait_for_selector("td:text('my laptop')", state="detached")
    page.click("text=Sign out")
    page.wait_for_url("**/login")
    page.click("text=Sign in with a passkey")
    page.wait_for_selector("text=this passkey signs nobody in here")
    context.close()


def test_an_address_cannot_have_passkeys_and_the_page_says_where_they_work(app: Any, people: People) -> None:  # noqa: F811
    join(people, "ada", "admin")
    client = signed_in(app, "ada")
    told = client.get("/api/me/passkeys").json()
    assert told["passkeys"] == []
    assert "http://localhost" in told["why_not"]
    answer = client.post("/api/me/passkeys/begin", json={}, headers=OWN)
    assert answer.status_code == 400
    assert "belong to a name" in answer.json()["error"]


def test_what_no_device_made_signs_nobody_in(app: Any, people: People) -> None:  # noqa: F811
    join(people, "ada", "admin")
    client = browser(app, "http://localhost")
    begun = client.post("/api/login/passkey/begin", json={}, headers=OWN).json()
    assert begun["options"]["rpId"] == "localhost"
    assert begun["options"]["userVerification"] == "required"
    for credential in ({}, {"id": "x"}, {"id": "AAAA", "response": None}, {"id": 7}, {"id": "AAAA", "rawId": "AAAA",
                       "type": "public-key", "response": {"clientDataJSON": "e30", "authenticatorData": "AA",
                                                          "signature": "AA"}}):  # fmt: skip
        form = {"challenge": begun["challenge"], "credential": credential}
        answer = client.post("/api/login/passkey", json=form, headers=OWN)
        assert answer.status_code in (403, 429), credential
        assert "set-cookie" not in answer.headers
    nested = '{"challenge":"c","credential":' + "[" * 5_000 + "]" * 5_000 + "}"
    answer = client.post("/api/login/passkey", content=nested, headers={**OWN, "content-type": "application/json"})
    assert answer.status_code == 400


def test_a_challenge_holds_once_for_its_account_and_for_five_minutes() -> None:
    known = People(PeopleStore(None))
    for name in ("ada", "ben"):
        join(known, name, "admin")
    passkeys, ada, ben = Passkeys(known), known.account("ada"), known.account("ben")
    assert ada is not None
    assert ben is not None

    def refused(account: Account, name: str, later: timedelta = timedelta(0)) -> str:
        with pytest.raises(PeopleError) as caught:
            passkeys.add(account, name, {}, "key", SITE, "here", NOW + later)
        return str(caught.value)

    assert "not taken" in refused(ada, passkeys.offer(ada, SITE, NOW)["challenge"])
    assert "has ended or was used" in refused(ben, passkeys.offer(ada, SITE, NOW)["challenge"])
    assert "has ended or was used" in refused(ada, passkeys.ask(SITE, NOW)["challenge"])
    late = passkeys.offer(ada, SITE, NOW)["challenge"]
    assert "has ended or was used" in refused(ada, late, timedelta(minutes=6))
    once = passkeys.offer(ada, SITE, NOW)["challenge"]
    assert "not taken" in refused(ada, once)
    assert "has ended or was used" in refused(ada, once)
    with pytest.raises(PeopleError, match="name: what the passkey is called"):
        passkeys.add(ada, "x", {}, " ", SITE, "here", NOW)
    known.store.close()


def test_guesses_wait_longer_each_time_and_challenges_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    known = People(PeopleStore(None))
    passkeys = Passkeys(known)
    for _ in range(3):
        with pytest.raises(PeopleError, match="signs nobody in"):
            passkeys.sign_in(passkeys.ask(SITE, NOW)["challenge"], {"id": "AAAA"}, SITE, "there", NOW)
    with pytest.raises(ThrottledError):
        passkeys.sign_in(passkeys.ask(SITE, NOW)["challenge"], {"id": "AAAA"}, SITE, "there", NOW)
    monkeypatch.setattr("tieline.people.passkeys.MAX_OPEN", 10)
    names = [passkeys.ask(SITE, NOW)["challenge"] for _ in range(40)]
    assert len(passkeys._open) == 10
    assert names[-1] in passkeys._open
    known.store.close()


def key(account: str, number: int) -> PasskeyRow:
    return PasskeyRow(bytes([number]), account, b"public", 0, f"key {number}", 1, None)


def test_passkeys_are_bounded_noted_and_go_with_their_account_or_its_new_link() -> None:
    known = People(PeopleStore(None))
    join(known, "root", "admin")
    join(known, "ada", "viewer")
    for number in range(MAX_PASSKEYS):
        known.add_passkey("ada", key("ada", number), "here", NOW)
    with pytest.raises(PeopleError, match="at most 8"):
        known.add_passkey("ada", key("ada", 100), "here", NOW)
    with pytest.raises(PeopleError, match="already"):
        known.add_passkey("root", key("root", 0), "here", NOW)
    with pytest.raises(PeopleError, match="no such one"):
        known.remove_passkey("root", bytes([0]), "here", NOW)
    known.remove_passkey("ada", bytes([0]), "here", NOW)
    lines = [(line.by, line.what) for line in known.store.untold() if "passkey" in line.what]
    assert lines == [("ada", "add passkey")] * MAX_PASSKEYS + [("ada", "remove passkey")]
    assert "public" not in json.dumps([str(line) for line in known.store.untold()])
    # A forgotten account is given to whoever has the new link, and to nobody's old device.
    link = known.invite("ada", Who("root"), NOW)
    known.accept(link, "correct horse battery", "Ada", "here", NOW)
    assert known.store.passkeys("ada") == []
    known.add_passkey("ada", key("ada", 5), "here", NOW)
    known.remove("ada", Who("root"), NOW)
    assert known.store.passkey(bytes([5])) is None
    known.store.close()

"""Signing in before a real identity provider: npm's oidc-provider, which requires PKCE."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from tests.serving import running

from tieline import config, records
from tieline.clock import WallClock, wall_now
from tieline.config import Login
from tieline.console.app import SignIn, make_app
from tieline.console.rooms.signin.oidc import CALLBACK, Provider
from tieline.people import People
from tieline.store import Store
from tieline.store.people import PeopleStore

pytestmark = pytest.mark.system
HERE = Path(__file__).parent / "oidc"


@pytest.fixture
def console(tmp_path: Path) -> Iterator[tuple[Any, str]]:
    Store(tmp_path / "store.db", records.encode, records.decode).close()
    store = Store(tmp_path / "store.db", records.encode, records.decode, read_only=True)
    people = People(PeopleStore(tmp_path / "people.db"))
    app = make_app(store, config.demo().fleet, WallClock(), sign_in=SignIn(None, people, True))
    with running(app) as url:
        yield app, url
    store.close()
    people.store.close()


@pytest.fixture
def issuer(console: tuple[Any, str]) -> Iterator[str]:
    node = shutil.which("node")
    if node is None or not (HERE / "node_modules").is_dir():
        pytest.skip("needs node and oidc-provider: npm ci in tests/system/oidc")
    child = subprocess.Popen(
        [node, "provider.mjs", console[1] + CALLBACK],
        cwd=HERE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert child.stdout is not None
        issuer = child.stdout.readline().strip()
        app, url = console
        login = Login(issuer=issuer, client_id="tieline", url=url, roles={"power": ("operator",)})
        app.state.room.elsewhere.provider = Provider(login, wall_now)
        yield issuer
    finally:
        child.terminate()
        child.wait(10)


def walk(browser: httpx.Client, url: str, name: str) -> httpx.Response:
    """As a person does: follow what one is sent to, give a name, say yes."""
    reply = browser.get(f"{url}/login/oidc")
    for _ in range(20):
        if reply.is_redirect:
            reply = browser.get(urljoin(str(reply.url), reply.headers["location"]))
        elif (form := re.search(r'<form[^>]*action="([^"]+)"', reply.text)) is not None:
            prompt = "login" if 'name="login"' in reply.text else "consent"
            fields = {"prompt": prompt, "login": name, "password": "x"}
            reply = browser.post(urljoin(str(reply.url), form[1]), data=fields)
        else:
            return reply
    raise AssertionError("the sign-in went round and round")


def test_a_person_of_the_provider_signs_in_and_a_stranger_does_not(console: tuple[Any, str], issuer: str) -> None:
    _, url = console
    with httpx.Client(trust_env=False) as browser:
        reply = walk(browser, url, "mara")
        assert "Signed in." in reply.text, reply.text
        me = browser.get(f"{url}/api/me").json()
        assert (me["id"], me["name"], me["roles"]) == ("mara", "MARA", ["operator"])
    with httpx.Client(trust_env=False) as browser:
        reply = walk(browser, url, "stranger")
        assert (reply.status_code, "none of your groups" in reply.text) == (403, True)
        assert browser.get(f"{url}/api/me").status_code == 401


def test_the_provider_refuses_a_code_without_its_verifier(console: tuple[Any, str], issuer: str) -> None:
    """What is stolen on the way is worth nothing: the token endpoint asks for what only this console knows."""
    app, url = console
    real = Provider.claims

    async def without(self: Provider, code: str, pending: Any) -> Any:
        return await real(self, code, type(pending)(pending.browser, pending.nonce, "x" * 64, pending.until))

    app.state.room.elsewhere.provider.claims = without.__get__(app.state.room.elsewhere.provider)
    with httpx.Client(trust_env=False) as browser:
        reply = walk(browser, url, "mara")
        assert (reply.status_code, "invalid_grant" in reply.text) == (403, True)

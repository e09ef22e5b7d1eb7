"""Signing in at an identity provider: the whole flow, and every token that proves nothing."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from starlette.testclient import TestClient
from tests.console.conftest import Core
from tests.console.test_accounts import browser, join

from tieline import config
from tieline.clock import SimClock, wall_now
from tieline.config import Login
from tieline.console.app import SignIn, make_app
from tieline.console.rooms.signin import oidc
from tieline.fleet import Fleet
from tieline.people import People
from tieline.store import Store
from tieline.store.people import PeopleStore

ISSUER, CLIENT = "https://id.example.org", "tieline"
LOGIN = Login(
    issuer=ISSUER,
    client_id=CLIENT,
    url="http://127.0.0.1",
    roles={"power": ("operator",), "board": ("approver", "viewer")},
)
OWN_KEY, OTHER_KEY = RSAKey.generate_key(2048, {"kid": "one"}), RSAKey.generate_key(2048, {"kid": "one"})
NEXT_KEY = RSAKey.generate_key(2048, {"kid": "two"})


class Fake:
    """A provider: it checks the verifier as RFC 7636 says, and signs what a test wants said."""

    def __init__(self) -> None:
        self.key, self.published = OWN_KEY, [OWN_KEY]
        self.asked: dict[str, str] = {}
        self.sub, self.groups = "0042", ["power"]
        self.change: Callable[[dict[str, Any]], Any] = lambda claims: claims
        self.token: Callable[[dict[str, Any]], str] = self.sign
        self.issuer = ISSUER

    def sign(self, claims: dict[str, Any]) -> str:
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, claims, self.key)

    def answer(self, request: httpx.Request) -> httpx.Response:
        match request.url.path:
            case "/.well-known/openid-configuration":
                ends = {"authorization_endpoint": "auth", "token_endpoint": "token", "jwks_uri": "keys"}
                return httpx.Response(
                    200, json={"issuer": self.issuer, **{k: f"{ISSUER}/{v}" for k, v in ends.items()}}
                )
            case "/keys":
                return httpx.Response(200, json=KeySet(self.published).as_dict(private=False))
            case "/token":
                return self._token(parse_qs(request.content.decode()))
        return httpx.Response(404)

    def _token(self, form: dict[str, list[str]]) -> httpx.Response:
        challenge = urlsafe_b64encode(hashlib.sha256(form["code_verifier"][0].encode()).digest()).rstrip(b"=").decode()
        if form["code"] != ["good"] or challenge != self.asked["code_challenge"]:
            return httpx.Response(400, json={"error": "invalid_grant"})
        now = int(wall_now().timestamp())
        claims = {"iss": ISSUER, "aud": CLIENT, "sub": self.sub, "exp": now + 300, "iat": now, "groups": self.groups}
        claims |= {"nonce": self.asked["nonce"], "preferred_username": "Mara.L", "name": "Mara Lind"}
        return httpx.Response(200, json={"id_token": self.token(self.change(claims)), "token_type": "Bearer"})


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    known = People(PeopleStore(tmp_path / "people.db"))
    yield known
    known.store.close()


@pytest.fixture
def provider() -> Fake:
    return Fake()


@pytest.fixture
def app(world: ModuleType, fleet: Fleet, store: Store, core: Core, people: People, provider: Fake) -> Any:
    made = make_app(store, fleet, SimClock(world.NOW), link=core.link, sign_in=SignIn(None, people, True, LOGIN))
    made.state.room.elsewhere.provider = oidc.Provider(LOGIN, wall_now, httpx.MockTransport(provider.answer))
    return made


def begin(client: TestClient, provider: Fake) -> dict[str, str]:
    reply = client.get("/login/oidc")
    assert reply.status_code == 303, reply.text
    provider.asked = {k: v[0] for k, v in parse_qs(urlsplit(reply.headers["location"]).query).items()}
    return provider.asked


def end(client: TestClient, state: str, code: str = "good", **more: str) -> httpx.Response:
    reply: httpx.Response = client.get("/login/oidc/callback", params={"code": code, "state": state, **more})
    return reply


def signed_in(app: Any, provider: Fake) -> tuple[TestClient, httpx.Response]:
    client = browser(app)
    return client, end(client, begin(client, provider)["state"])


def test_a_person_signs_in_at_the_provider_and_has_the_roles_of_their_groups(
    app: Any, provider: Fake, people: People
) -> None:
    assert browser(app).get("/api/login/ways").json() == {"oidc": "id.example.org"}
    asked = begin(browser(app), provider)
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert asked["redirect_uri"] == "http://127.0.0.1/login/oidc/callback"
    client, reply = signed_in(app, provider)
    assert reply.status_code == 200, reply.text
    me = client.get("/api/me").json()
    assert (me["id"], me["name"], me["roles"]) == ("mara.l", "Mara Lind", ["operator"])
    # The provider's word is brought up to date with the next sign-in, and the person stays the same.
    provider.groups = ["board", "unknown"]
    client, _ = signed_in(app, provider)
    assert client.get("/api/me").json()["roles"] == ["viewer", "approver"]
    assert [one.id for one in people.accounts()] == ["mara.l"]
    assert client.get("/api/people").status_code == 403


def test_the_session_does_not_depend_on_a_redirect_and_the_page_goes_on_by_itself(app: Any, provider: Fake) -> None:
    _, reply = signed_in(app, provider)
    assert re.search(r'http-equiv="refresh" content="0;url=/"', reply.text)
    assert "samesite=strict" in reply.headers["set-cookie"].lower()


def forged(claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "RS256", "kid": "one"}, claims, OTHER_KEY)


def encoded(*parts: dict[str, Any]) -> str:
    return ".".join(plain(json.dumps(one).encode()) for one in parts)


def plain(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def unsigned(claims: dict[str, Any]) -> str:
    return encoded({"alg": "none"}, claims) + "."


def with_the_public_key_as_secret(claims: dict[str, Any]) -> str:
    """No library makes this one."""
    text = encoded({"alg": "HS256", "kid": "one"}, claims)
    return f"{text}.{plain(hmac.digest(OWN_KEY.as_pem(private=False), text.encode(), 'sha256'))}"


TOKENS = [forged, unsigned, with_the_public_key_as_secret, lambda c: "no.token", lambda c: "x" * 40_000]


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_that_the_provider_did_not_sign_lets_nobody_in(
    app: Any, provider: Fake, people: People, token: Callable[[dict[str, Any]], str]
) -> None:
    provider.token = token
    client, reply = signed_in(app, provider)
    assert (reply.status_code, "id_token" in reply.text) == (403, True), reply.text
    assert client.get("/api/me").status_code == 401
    assert people.accounts() == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"exp": 1_700_000_000}, "exp"),
        ({"exp": None}, "exp"),
        ({"iat": 4_000_000_000}, "issued in the future"),
        ({"iss": "https://evil.example"}, "iss"),
        ({"aud": "another"}, "aud"),
        ({"aud": [CLIENT, "another"]}, "azp"),
        ({"azp": "another"}, "azp"),
        ({"nonce": "of another sign-in"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"sub": ""}, "sub"),
        ({"sub": 7}, "sub"),
        ({"groups": ["strangers"]}, "groups"),
        ({"groups": {"power": 1}}, "groups"),
        ({"groups": None}, "groups"),
        ({"groups": ["power"] * 1_001}, "groups"),
    ],
)
def test_a_signed_token_that_does_not_say_what_it_must_lets_nobody_in(
    app: Any, provider: Fake, people: People, change: dict[str, Any], why: str
) -> None:
    provider.change = lambda claims: {k: v for k, v in (claims | change).items() if v is not None}
    client, reply = signed_in(app, provider)
    assert (reply.status_code, why in reply.text) == (403, True), reply.text
    assert client.get("/api/me").status_code == 401
    assert people.accounts() == []


def test_an_answer_is_of_the_browser_that_asked_and_good_once(app: Any, provider: Fake) -> None:
    client, thief = browser(app), browser(app)
    state = begin(client, provider)["state"]
    assert end(thief, state).status_code == 400
    assert end(client, state).status_code == 400  # whoever tried has used it up
    state = begin(client, provider)["state"]
    assert end(client, state).status_code == 200
    assert end(client, state).status_code == 400
    assert end(client, "made up").status_code == 400
    state = begin(client, provider)["state"]
    assert "access_denied" in end(client, state, error="access_denied").text
    state = begin(client, provider)["state"]
    assert end(client, state, iss="https://evil.example").status_code == 400
    state = begin(client, provider)["state"]
    assert end(client, state, code="guessed").status_code == 403


def test_what_a_stranger_writes_is_text(app: Any, provider: Fake) -> None:
    client = browser(app)
    state = begin(client, provider)["state"]
    assert "<script>" not in end(client, state, error="<script>alert(1)</script>").text


def test_a_sign_in_lasts_ten_minutes(app: Any, provider: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    client = browser(app)
    state = begin(client, provider)["state"]
    monkeypatch.setattr(app.state.room.elsewhere, "_now", lambda: wall_now() + oidc.PENDING_FOR)
    assert end(client, state).status_code == 400


def test_keys_that_were_changed_are_asked_for_again_but_not_at_will(
    app: Any, provider: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert signed_in(app, provider)[1].status_code == 200
    provider.key, provider.published = NEXT_KEY, [OWN_KEY, NEXT_KEY]
    assert signed_in(app, provider)[1].status_code == 403  # within the minute
    monkeypatch.setattr(oidc, "KEYS_EVERY", wall_now() - wall_now())
    assert signed_in(app, provider)[1].status_code == 200


def test_a_provider_that_calls_itself_otherwise_is_not_believed(app: Any, provider: Fake) -> None:
    provider.issuer = "https://evil.example"
    reply = browser(app).get("/login/oidc")
    assert (reply.status_code, "calls itself" in reply.text) == (502, True)


def test_an_account_of_this_machine_is_not_taken_over_by_the_providers_word(
    app: Any, provider: Fake, people: People
) -> None:
    join(people, "mara.l", "viewer")
    _, reply = signed_in(app, provider)
    assert (reply.status_code, "is an account of this machine" in reply.text) == (403, True)


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('issuer = "http://id.example.org"', "issuer"),
        ('issuer = "https://id.example.org?x=1"', "issuer"),
        ('url = "http://console.example.org"', "url"),
    ],
)
def test_the_file_takes_addresses_over_tls_only(line: str, field: str) -> None:
    given = {"issuer": 'issuer = "https://id.example.org"', "url": 'url = "https://c.example.org"', field: line}
    text = config.example_text() + '\n[login]\nclient_id = "tieline"\n' + "\n".join(given.values())
    with pytest.raises(config.ConfigError, match=field):
        config.loads(text + '\n[login.roles]\nops = ["operator"]\n')

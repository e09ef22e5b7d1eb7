"""Who may come in: this machine without tokens, holders of a token with them; changes from this page only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from types import ModuleType

import pytest
from starlette.testclient import TestClient

from console.conftest import WRITES, Core, catch_up
from tieline.clock import SimClock
from tieline.console.app import SignIn, check_host, make_app
from tieline.console.door import Keys
from tieline.fleet import Fleet
from tieline.store import Store

TOKEN = "a-long-random-token"
DIGEST = hashlib.sha256(TOKEN.encode()).hexdigest()
HOLD = {"site_id": "na-tx-01", "unit_id": "na-tx-01.rigs-1", "target_mw": 3, "minutes": 30, "why": "test", "by": "Mara"}


@pytest.fixture
def guarded(world: ModuleType, fleet: Fleet, store: Store, core: Core) -> Iterator[TestClient]:
    app = make_app(store, fleet, SimClock(world.NOW), link=core.link, sign_in=SignIn({"mara": DIGEST}))
    with TestClient(app, base_url="http://console.example", client=("10.0.0.7", 40000)) as client:
        yield client


def test_without_tokens_only_this_machine_is_answered(world: ModuleType, fleet: Fleet, store: Store) -> None:
    app = make_app(store, fleet, SimClock(world.NOW))
    with TestClient(app, base_url="http://127.0.0.1", client=("10.0.0.7", 40000)) as far:
        answer = far.get("/api/overview")
    assert answer.status_code == 403
    assert "tokens" in answer.json()["error"]


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80"])
def test_a_foreign_name_that_points_here_is_refused(client: TestClient, name: str) -> None:
    assert client.get("/api/overview", headers={"host": name}).status_code == 421
    assert client.get("/api/overview", headers={"host": "localhost:8700"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-tieline": "console", "origin": "http://evil.example"},
        {"x-tieline": "console", "sec-fetch-site": "cross-site"},
        {"x-tieline": "console", "sec-fetch-site": "same-site"},
    ],
)
def test_a_change_comes_from_this_page_only(client: TestClient, core: Core, headers: dict[str, str]) -> None:
    assert client.post("/api/override", json=HOLD, headers=headers).status_code == 403
    assert core.taken == []
    same = {**WRITES, "origin": "http://127.0.0.1", "sec-fetch-site": "same-origin"}
    assert client.post("/api/override", json=HOLD, headers=same).status_code == 200
    assert core.taken


def test_every_answer_carries_the_content_policy(client: TestClient) -> None:
    for path in ("/", "/api/overview", "/api/records/999999999", "/static/none.js", "/nowhere"):
        policy = client.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy


def test_with_tokens_a_stranger_is_asked_to_log_in(guarded: TestClient) -> None:
    assert guarded.get("/api/overview").status_code == 401
    assert guarded.get("/api/overview", headers={"authorization": "Bearer wrong"}).status_code == 401
    page = guarded.get("/", follow_redirects=False)
    assert (page.status_code, page.headers["location"]) == (303, "/login")
    assert guarded.get("/api/overview", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_a_login_names_the_operator_of_each_command(guarded: TestClient, core: Core) -> None:
    catch_up(guarded)
    assert guarded.post("/api/login", json={"token": "wrong"}, headers=WRITES).status_code == 403
    answer = guarded.post("/api/login", json={"token": TOKEN}, headers=WRITES)
    assert answer.status_code == 200
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in cookie
    done = guarded.post("/api/override", json={**HOLD, "by": "somebody else"}, headers=WRITES)
    assert done.status_code == 200
    assert {getattr(r, "by", None) for r in core.taken} == {"mara"}


def test_a_session_ends_and_cannot_be_forged() -> None:
    keys, other = Keys({"mara": DIGEST}), Keys({"mara": DIGEST})
    cookie = keys.session("mara", 1000.0)
    assert keys.holder(cookie, 1000.0) == "mara"
    assert keys.holder(cookie, 1000.0 + 13 * 3600) is None
    assert keys.holder(cookie.replace("mara", "root"), 1000.0) is None
    assert other.holder(cookie, 1000.0) is None
    for broken in ("", "mara", "mara.9999999999", "..", "mara.x.y"):
        assert keys.holder(broken, 0.0) is None


def test_a_token_in_the_clear_is_refused_as_configuration() -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        Keys({"mara": TOKEN})


def test_beyond_loopback_needs_tokens() -> None:
    check_host("127.0.0.1", None)
    check_host("localhost", None)
    check_host("0.0.0.0", {"mara": DIGEST})
    for host in ("0.0.0.0", "192.168.1.4", "console.example"):
        with pytest.raises(ValueError, match="tokens"):
            check_host(host, None)


HOSTS = {
    "localhost": True, "127.0.0.1": True, "127.0.0.1:8700": True, "[::1]:8700": True, "LOCALHOST": True,
    "evil.example": False, "127.0.0.1.evil.example": False, "localhost.": False, "0.0.0.0": False, "[::1": False,
    "[::1]evil": False, "localhost:x": False, "user@localhost": False, "": False,
}  # fmt: skip
ORIGINS = {
    None: True, "own": True, "https own": True, "null": False, "http://evil.example": False, "http://[": False,
    "http://127.0.0.1.evil.example": False, "file://": False,
}  # fmt: skip
DOORS = (
    ("GET", "/"), ("GET", "/api/overview"), ("GET", "/api/records"), ("GET", "/healthz"), ("GET", "/static/none.js"),
    ("GET", "/nowhere"), ("POST", "/api/override"), ("POST", "/api/order"), ("POST", "/api/login"),
    ("POST", "/api/logout"), ("DELETE", "/api/overview"), ("PUT", "/api/override"),
)  # fmt: skip


@pytest.mark.parametrize(("method", "path"), DOORS)
def test_host_origin_and_method_of_every_kind_of_door(client: TestClient, core: Core, method: str, path: str) -> None:
    """Without accounts: loopback names alone; what changes something, from this page alone; every refusal in JSON."""
    for host, local in HOSTS.items():
        for origin, own in ORIGINS.items():
            for page in (True, False):
                given = {None: None, "own": f"http://{host}", "https own": f"https://{host}"}.get(origin, origin)
                headers = {"host": host, **(WRITES if page else {}), **({} if given is None else {"origin": given})}
                answer = client.request(method, path, headers=headers, follow_redirects=False)
                case = (method, path, host, origin, page, answer.status_code)
                if not local:
                    assert answer.status_code == 421, case
                elif method != "GET" and not (own and page):
                    assert answer.status_code == 403, case
                else:
                    assert answer.status_code not in (421, 500), case
                    assert answer.status_code != 403 or path == "/api/login", case  # nobody's token
                if answer.status_code >= 400 and "html" not in answer.headers["content-type"]:
                    assert answer.json()["error"], case
                assert "access-control-allow-origin" not in answer.headers, case
    assert core.taken == []


@pytest.mark.parametrize(
    "cookie", ["a.1.\xe9", "a.\xb2.b", "a." + "9" * 5_000 + ".b", "a.9999999999.x", "..", "%ff.9999999999.x"]
)
def test_a_cookie_that_nobody_signed_is_a_stranger(guarded: TestClient, cookie: str) -> None:
    header = [(b"cookie", f"tieline_session={cookie}".encode("latin-1"))]
    assert guarded.get("/api/overview", headers=header).status_code == 401


def test_a_fault_of_the_console_is_an_answer_with_an_id(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise LookupError("nobody expected this")

    monkeypatch.setattr("tieline.console.app.provenance.listed", fail)
    answer = client.get("/api/records")
    assert answer.status_code == 500
    number = answer.json()["error"].partition("(")[2].partition(")")[0]
    assert number
    assert number in caplog.text

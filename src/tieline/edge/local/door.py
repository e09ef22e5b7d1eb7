"""The page's HTTP: sign in with the site's password, look, stop, resume. Loopback unless told otherwise.

One password, a session per browser, in memory. A page elsewhere cannot reach it: only names of its own host are
answered, the cookie does not travel from other sites, and what changes anything carries a header that a foreign form
cannot set.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tieline.edge.agent import Agent
from tieline.edge.local.password import LocalPassword
from tieline.edge.local.preview import previewed
from tieline.edge.local.shown import rigs_shown, site_shown
from tieline.edge.local.stop import ResumeForm, StopForm, TendForm, resume, stop, tend
from tieline.intake import IntakeError, read
from tieline.people.accounts import Throttle

COOKIE, HEADER = "tieline_site", "x-tieline"
# One shift; and more browsers than a site has people.
SESSION_S, MAX_SESSIONS = 12 * 3600, 32
MAX_BODY, BODY_S = 10_000, 5.0
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
SAFE_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
ASSETS = {"/": ("page.html", "text/html"), "/page.css": ("page.css", "text/css"),
          "/page.js": ("page.js", "text/javascript")}  # fmt: skip

T = TypeVar("T")


@dataclass(frozen=True)
class LocalDoor:
    """Where the page is, and the folder of its password. `host` beyond loopback: everybody there may try the
    password, and it travels unencrypted."""

    folder: Path
    port: int
    host: str = "127.0.0.1"


class LoginForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    password: str


class _RefusedError(Exception):
    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class LocalPage:
    """One site's page. `hosts`: the names it answers to, None for any (with a host beyond loopback)."""

    def __init__(self, agent: Agent, password: LocalPassword, hosts: frozenset[str] | None = LOOPBACK) -> None:
        self._agent, self._password, self._hosts = agent, password, hosts
        self._sessions: dict[str, float] = {}
        self._throttle = Throttle()
        routes = [Route(path, self._asset, methods=["GET"]) for path in ASSETS]
        routes += [
            Route("/api/login", self._guarded(self._login), methods=["POST"]),
            Route("/api/logout", self._guarded(self._logout), methods=["POST"]),
            Route("/api/site", self._guarded(self._site), methods=["GET"]),
            Route("/api/rigs", self._guarded(self._rigs), methods=["GET"]),
            Route("/api/stop", self._guarded(self._stop), methods=["POST"]),
            Route("/api/tend", self._guarded(self._tend), methods=["POST"]),
            Route("/api/preview", self._guarded(self._preview), methods=["GET"]),
            Route("/api/resume", self._guarded(self._resume), methods=["POST"]),
        ]
        self.app = Starlette(routes=routes)

    def _guarded(self, work: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                self._check(request, open_=work == self._login)
                return await work(request)
            except _RefusedError as error:
                return _json({"error": str(error)}, error.status)
            except (IntakeError, ValueError) as error:
                return _json({"error": str(error)}, 400)

        return answer

    def _check(self, request: Request, open_: bool) -> None:
        host = request.headers.get("host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if self._hosts is not None and name not in self._hosts:
            raise _RefusedError(421, "open this page as http://127.0.0.1")
        if request.method != "GET" and request.headers.get(HEADER) != "1":
            raise _RefusedError(403, f"what changes anything carries the header {HEADER}: 1")
        if not open_ and self._sessions.get(request.cookies.get(COOKIE, ""), 0.0) <= _now_s():
            raise _RefusedError(401, "sign in with the site's password")

    async def _asset(self, request: Request) -> Response:
        name, kind = ASSETS[request.url.path]
        body = (files("tieline.edge.local") / name).read_bytes()
        return Response(body, media_type=kind, headers=SAFE_HEADERS)

    async def _login(self, request: Request) -> Response:
        form = await _form(request, LoginForm)
        wait_s = self._throttle.wait_s("site", _now_s())
        if wait_s > 0:
            raise _RefusedError(429, f"too many wrong passwords; try again in {wait_s:.0f} s")
        if not await asyncio.to_thread(self._password.right, form.password):
            self._throttle.failed("site", _now_s())
            raise _RefusedError(401, "this is not the site's password")
        self._throttle.succeeded("site")
        while len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        session = secrets.token_urlsafe(32)
        self._sessions[session] = _now_s() + SESSION_S
        answer = _json({"ok": True})
        answer.set_cookie(COOKIE, session, max_age=SESSION_S, httponly=True, samesite="strict")
        return answer

    async def _logout(self, request: Request) -> Response:
        self._sessions.pop(request.cookies.get(COOKIE, ""), None)
        return _json({"ok": True})

    async def _site(self, request: Request) -> Response:
        return _json(site_shown(self._agent, self._agent.now))

    async def _rigs(self, request: Request) -> Response:
        first = request.query_params.get("first", "0")
        if not first.isascii() or not first.isdigit() or len(first) > 7:
            raise ValueError("first: give a number of rigs")
        shown = await rigs_shown(self._agent.units, request.query_params.get("unit", ""), int(first))
        return _json({"error": "unit: no rigs on sockets there"}, 404) if shown is None else _json(shown)

    async def _stop(self, request: Request) -> Response:
        made = stop(self._agent, await _form(request, StopForm), self._agent.now)
        return _json({"recorded": len(made)})

    async def _tend(self, request: Request) -> Response:
        made = await tend(self._agent, await _form(request, TendForm), self._agent.now)
        return _json({"recorded": len(made)})

    async def _preview(self, request: Request) -> Response:
        return _json(await previewed(self._agent, request.query_params.get("limit_mw", ""), self._agent.now))

    async def _resume(self, request: Request) -> Response:
        made = resume(self._agent, await _form(request, ResumeForm), self._agent.now)
        return _json({"recorded": len(made)})


class _LocalServer(uvicorn.Server):
    """Signals are the agent's business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def open_door(door: LocalDoor) -> socket.socket:
    """The page's socket. Raises OSError where the port cannot be had."""
    family = socket.AF_INET6 if ":" in door.host else socket.AF_INET
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((door.host, door.port))
        made.listen(64)
    except OSError:
        made.close()
        raise
    return made


async def serve_door(agent: Agent, door: LocalDoor) -> None:
    """Until cancelled. Raises OSError, LocalPasswordError."""
    beyond = door.host not in ("127.0.0.1", "::1", "localhost")
    page = LocalPage(agent, LocalPassword(door.folder), None if beyond else LOOPBACK)
    config = uvicorn.Config(
        page.app, lifespan="off", log_config=None, access_log=False, server_header=False, timeout_keep_alive=15,
        limit_concurrency=64, h11_max_incomplete_event_size=16_384, http="h11", ws="none",
    )  # fmt: skip
    server = _LocalServer(config)
    listening = open_door(door)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        await serving
        raise RuntimeError("the page's server ended")
    finally:
        server.should_exit = server.force_exit = True
        await asyncio.wait({serving}, timeout=1.5)
        listening.close()


async def _form(request: Request, type_: type[T]) -> T:
    body = b""
    with contextlib.suppress(ClientDisconnect, TimeoutError):
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise ValueError(f"body: at most {MAX_BODY} bytes")
    return read(body, msgspec.json.Decoder(type_).decode)


def _json(body: dict[str, Any], status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, headers=SAFE_HEADERS, media_type="application/json")


def _now_s() -> float:
    return asyncio.get_running_loop().time()

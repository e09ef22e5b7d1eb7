"""Who may come in, and what a browser may do with what it is given.

As long as there is neither an account nor a token the console answers loopback only, and only to a loopback name, so
that a page elsewhere cannot reach it through a name that it points here. Once there is an admin's account everybody
signs in; a session is a cookie that other sites cannot send, kept as its digest and revocable. An operator's token,
where one is configured, is shown as `Authorization: Bearer` or once at the login page. What each may do is for
`people.rights` to say, route by route (`needs`). What changes anything must also come from this page itself: a header
that a foreign form cannot set, and the same origin.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from urllib.parse import quote, unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tieline.people import Account, People, Right
from tieline.store import StoreError

log = logging.getLogger("tieline.console")

COOKIE = "tieline_session"
# One working shift; the operator on the next one logs in under their own name.
SESSION_S = 12 * 3600
HEADER = "x-tieline"
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")
_UNTIL = re.compile(r"[0-9]{1,15}")
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
# The page of a message's link: by itself it remembers its address, secret and all, while somebody signs in. Nothing
# stands on it before somebody has signed in.
LINK_PAGE = "/alerts/take"
OPEN_PATHS = ("/static/", "/login", "/join", "/api/login", "/api/join", "/healthz")
# How long it is believed that nobody has an account yet: the first admin is asked to sign in within a second.
LOOK_S = 1.0
# Who sits at the machine while nobody has an account: everything but other people's accounts.
NOBODY = Account("", "", ("operator", "treasurer", "approver"))

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SAFE_HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Keys:
    """Operators' tokens, known by their SHA-256 only, and the sessions signed for them."""

    def __init__(self, tokens: Mapping[str, str]) -> None:
        """`tokens`: operator's name -> SHA-256 of their token, in hexadecimal."""
        for name, digest in tokens.items():
            if len(digest) != 64 or not set(digest.lower()) <= set("0123456789abcdef"):
                raise ValueError(f"console token of {name!r} must be a SHA-256 in hexadecimal, not the token itself")
        self._tokens = {name: digest.lower() for name, digest in tokens.items()}
        self._secret = secrets.token_bytes(32)

    def __bool__(self) -> bool:
        return bool(self._tokens)

    def name_of(self, token: str) -> str | None:
        """The operator whose token this is; every token is compared, so that time tells nothing."""
        given = hashlib.sha256(token.encode()).hexdigest()
        names = [name for name, digest in self._tokens.items() if hmac.compare_digest(digest, given)]
        return names[0] if names else None

    def session(self, name: str, now_s: float) -> str:
        until = str(int(now_s) + SESSION_S)
        return f"{quote(name, safe='')}.{until}.{self._sign(name, until)}"

    def holder(self, cookie: str, now_s: float) -> str | None:
        parts = cookie.rsplit(".", 2)
        if len(parts) != 3 or not cookie.isascii() or not _UNTIL.fullmatch(parts[1]) or int(parts[1]) < now_s:
            return None
        name = unquote(parts[0])
        signed = hmac.compare_digest(parts[2], self._sign(name, parts[1]))
        return name if signed and name in self._tokens else None

    def _sign(self, name: str, until: str) -> str:
        return hmac.new(self._secret, f"{name}\n{until}".encode(), hashlib.sha256).hexdigest()


class Door:
    """ASGI middleware: lets in, or says why not."""

    def __init__(
        self,
        app: ASGIApp,
        keys: Keys,
        now: Callable[[], datetime],
        people: People | None = None,
        *,
        always: bool = False,
        tenants_only: bool = False,
    ) -> None:
        """`always`: nobody is let in without signing in, also while there is no account. `tenants_only`: an operator's
        session, which a browser sends to every port of a host, is taken for none."""
        self.app, self.keys, self.people, self.always, self.tenants_only = app, keys, people, always, tenants_only
        self._now = now
        self._looked: tuple[float, bool] = (float("-inf"), False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # there are none here
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        began = False
        refusal: Response | None
        try:
            refusal = self._refusal(scope, headers)
        except StoreError as error:
            refusal = _no(503, f"nobody can be signed in now: {error}")
        except Exception as error:  # whoever sends what nobody expected is not let in
            log.error("a request for %s could not be judged: %r", scope["path"], error, exc_info=error)
            refusal = _no(400, "this request cannot be read")

        async def send_safely(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                out = MutableHeaders(scope=message)
                for name, value in SAFE_HEADERS.items():
                    out.setdefault(name, value)
                out.setdefault("cache-control", "no-store")
            await send(message)

        try:
            await (refusal or self.app)(scope, receive, send_safely)
        except Exception as error:  # the last place that can still say so to whoever asks
            number = secrets.token_hex(6)
            log.error("request %s of %s failed: %r", number, scope["path"], error, exc_info=error)
            if not began:
                why = f"the console failed on this request ({number}); its log says why"
                await _no(500, why)(scope, receive, send_safely)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        path = scope["path"]
        state = scope.setdefault("state", {})
        state["account"] = None
        if not self.keys and not self._asks():
            client = scope.get("client")
            if client is not None and not is_loopback(client[0]):
                return _no(403, "this console answers its own machine only; configure tokens to open it")
            if _hostname(headers.get("host", "")) not in LOOPBACK_NAMES:
                return _no(421, "open this console as http://127.0.0.1 or http://localhost")
            state["account"] = self._shown(headers) or NOBODY  # whoever has signed in all the same is who they are
        elif not path.startswith(OPEN_PATHS):
            account = self._shown(headers)
            if account is None and path == LINK_PAGE and not self.tenants_only and scope["method"] == "GET":
                return None
            if account is None or (self.tenants_only and not account.tenant):
                wants_page = scope["method"] == "GET" and not path.startswith("/api/")
                return RedirectResponse("/login", 303) if wants_page else _no(401, "sign in, or send a token")
            state["account"] = account
        if scope["method"] not in ("GET", "HEAD"):
            return _foreign(headers)
        return None

    def _asks(self) -> bool:
        """Whether people sign in here: from the first admin's account on."""
        if self.people is None or self.always:
            return self.always
        at, asks = self._looked
        now_s = self._now().timestamp()
        if not asks and abs(now_s - at) >= LOOK_S:
            asks = self.people.has_admin
            self._looked = (now_s, asks)
        return asks

    def _shown(self, headers: Headers) -> Account | None:
        bearer = headers.get("authorization", "")
        if bearer.lower().startswith("bearer "):
            return _holder_of_token(self.keys.name_of(bearer[7:].strip()))
        secret = cookie_of(headers)
        if not secret:
            return None
        if self.people is not None and (account := self.people.holder(secret, self._now())) is not None:
            return account
        return _holder_of_token(self.keys.holder(secret, self._now().timestamp()))


def cookie_of(headers: Headers) -> str:
    """The session's secret that a browser sent, or empty."""
    for part in headers.get("cookie", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


def _holder_of_token(name: str | None) -> Account | None:
    """Whoever holds a configured token may do all that an admin may."""
    return None if name is None else Account(name, name, ("admin",))


def signed_in_as(request: Request) -> str | None:
    """Who is signed in, as it stands on records; None where nobody has to be."""
    account: Account = request.state.account
    if not account.id or account.id == account.name:
        return account.name or None
    return f"{account.name} ({account.id})"


Handler = Callable[[Request], Awaitable[Response]]
# Path, method, the right it needs (None: everybody whom the door lets in), handler.
Row = tuple[str, str, Right | None, Handler]


def needs(right: Right | None, handler: Handler) -> Handler:
    """The handler, for those who have the right; None: for everybody whom the door lets in."""
    if right is None:
        return handler

    async def ask(request: Request) -> Response:
        account: Account | None = request.state.account
        if account is None or not any(account.may(right, place) for place in (*account.places, "")):
            who = "nobody" if account is None else account.name or "whoever has no account"
            return _no(403, f"{who} may not {right.value}")
        return await handler(request)

    return ask


def _foreign(headers: Headers) -> Response | None:
    """Why a change is not taken from where it comes from; None where it comes from this console's page."""
    if headers.get(HEADER) != "console":
        return _no(403, f"a change must carry the header {HEADER}: console")
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return _no(403, "a change must come from this console's own page")
    origin = headers.get("origin")
    host = headers.get("host", "")
    if origin is not None and origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower()):
        return _no(403, "a change must come from this console's own page")
    return None


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in LOOPBACK_NAMES


def _hostname(host: str) -> str:
    """Without its port; empty where it is none."""
    match = _HOST.fullmatch(host.lower())
    return "" if match is None else match[1]


def _no(status: int, why: str) -> JSONResponse:
    return JSONResponse({"error": why}, status)

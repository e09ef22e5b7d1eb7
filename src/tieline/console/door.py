"""Who may come in, and what a browser may do with what it is given.

Without tokens the console answers loopback only, and only to a loopback name, so that a page elsewhere cannot
reach it through a name that it points here. With tokens, everyone shows one: as `Authorization: Bearer`, or
once at the login page, for a signed cookie that other sites cannot send. What changes anything must also come
from this page itself: a header that a foreign form cannot set, and the same origin.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Callable, Mapping
from urllib.parse import quote, unquote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "tieline_session"
# One working shift; the operator on the next one logs in under their own name.
SESSION_S = 12 * 3600
HEADER = "x-tieline"
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
OPEN_PATHS = ("/static/", "/login", "/api/login", "/healthz")

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
        found = [name for name, digest in self._tokens.items() if hmac.compare_digest(digest, given)]
        return found[0] if found else None

    def session(self, name: str, now_s: float) -> str:
        until = str(int(now_s) + SESSION_S)
        return f"{quote(name, safe='')}.{until}.{self._sign(name, until)}"

    def holder(self, cookie: str, now_s: float) -> str | None:
        parts = cookie.rsplit(".", 2)
        if len(parts) != 3 or not parts[1].isdigit() or int(parts[1]) < now_s:
            return None
        name = unquote(parts[0])
        signed = hmac.compare_digest(parts[2], self._sign(name, parts[1]))
        return name if signed and name in self._tokens else None

    def _sign(self, name: str, until: str) -> str:
        return hmac.new(self._secret, f"{name}\n{until}".encode(), hashlib.sha256).hexdigest()


class Door:
    """ASGI middleware: lets in, or says why not."""

    def __init__(self, app: ASGIApp, keys: Keys, now_s: Callable[[], float]) -> None:
        self.app, self.keys = app, keys
        self._now_s = now_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                for name, value in SAFE_HEADERS.items():
                    out.setdefault(name, value)
                out.setdefault("cache-control", "no-store")
            await send(message)

        await (refusal or self.app)(scope, receive, send_safely)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        path = scope["path"]
        if not self.keys:
            client = scope.get("client")
            if client is not None and not is_loopback(client[0]):
                return _no(403, "this console answers its own machine only; configure tokens to open it")
            if _hostname(headers.get("host", "")) not in LOOPBACK_NAMES:
                return _no(421, "open this console as http://127.0.0.1 or http://localhost")
            scope.setdefault("state", {})["operator"] = None
        elif not path.startswith(OPEN_PATHS):
            name = self._shown(headers)
            if name is None:
                wants_page = scope["method"] == "GET" and not path.startswith("/api/")
                return RedirectResponse("/login", 303) if wants_page else _no(401, "log in, or send a token")
            scope.setdefault("state", {})["operator"] = name
        if scope["method"] not in ("GET", "HEAD"):
            return _foreign(headers)
        return None

    def _shown(self, headers: Headers) -> str | None:
        bearer = headers.get("authorization", "")
        if bearer.lower().startswith("bearer "):
            return self.keys.name_of(bearer[7:].strip())
        for part in headers.get("cookie", "").split(";"):
            name, _, value = part.strip().partition("=")
            if name == COOKIE:
                return self.keys.holder(value, self._now_s())
        return None


def _foreign(headers: Headers) -> Response | None:
    """Why a change is not taken from where it comes from; None where it comes from this console's page."""
    if headers.get(HEADER) != "console":
        return _no(403, f"a change must carry the header {HEADER}: console")
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return _no(403, "a change must come from this console's own page")
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers.get("host"):
        return _no(403, "a change must come from this console's own page")
    return None


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in LOOPBACK_NAMES


def _hostname(host: str) -> str:
    if host.startswith("["):
        return host.split("]", 1)[0] + "]"
    return host.split(":", 1)[0].lower()


def _no(status: int, why: str) -> JSONResponse:
    return JSONResponse({"error": why}, status)

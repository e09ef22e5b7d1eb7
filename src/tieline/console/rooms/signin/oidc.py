"""Signing in at an identity provider: the code flow of OpenID Connect with PKCE (RFC 7636), state and nonce.

The browser that began a sign-in alone can end it: what the provider sends back is bound to a cookie of that browser
(RFC 9700, 4.7), kept here for ten minutes and used once. What the provider itself says is asked of it directly, over
TLS, bounded, and believed only as far as its keys prove it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import logging
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpx
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tieline import intake
from tieline.config.sections import Login
from tieline.console.door import Row
from tieline.console.forms import answer
from tieline.console.rooms.signin.accounts import Accounts
from tieline.people import PeopleError
from tieline.people.tokens import TokenError, account_of, claims_of
from tieline.store import StoreError

log = logging.getLogger("tieline.console")

COOKIE: Final = "tieline_sign_in"
CALLBACK: Final = "/login/oidc/callback"
# How long somebody may take at the provider.
PENDING_FOR: Final = timedelta(minutes=10)
# Sign-ins begun and not ended; the oldest are forgotten first.
MAX_PENDING: Final = 10_000
TIMEOUT: Final = httpx.Timeout(10.0, connect=3.0)
# Metadata, keys and tokens are some kilobytes.
MAX_BYTES: Final = 500_000
# Keys are asked for anew where a token names one that is not known, but no more often than this.
KEYS_EVERY: Final = timedelta(minutes=1)
METADATA_FOR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class BegunSignIn:
    """A sign-in that was begun: what its answer has to show."""

    browser: str
    nonce: str
    verifier: str
    until: datetime


class Provider:
    """What the provider says of itself, its keys, and codes turned into tokens. Raises TokenError."""

    def __init__(self, login: Login, now: Callable[[], datetime], transport: httpx.AsyncBaseTransport | None = None):
        self.login, self._now = login, now
        self._client = httpx.AsyncClient(timeout=TIMEOUT, transport=transport, trust_env=False)
        self._metadata: tuple[datetime, dict[str, Any]] | None = None
        self._keys: tuple[datetime, KeySet] | None = None

    async def close(self) -> None:
        await self._client.aclose()

    async def metadata(self) -> dict[str, Any]:
        if self._metadata is not None and self._now() - self._metadata[0] < METADATA_FOR:
            return self._metadata[1]
        issuer = self.login.issuer
        metadata = await self._get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if metadata.get("issuer") != issuer:
            raise TokenError(
                f"issuer: the provider calls itself {metadata.get('issuer')!r}; write that in [login] issuer"
            )
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            self._safe(name, metadata.get(name))
        self._metadata = (self._now(), metadata)
        return metadata

    async def claims(self, code: str, pending: BegunSignIn) -> Any:
        """What the ID token for this code proves."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri(self.login),
            "code_verifier": pending.verifier,
            "client_id": self.login.client_id,
        }
        secret = os.environ.get(self.login.client_secret_env or "")
        if self.login.client_secret_env and not secret:
            raise TokenError(f"client_secret_env: {self.login.client_secret_env} is not set; export it and start again")
        auth = httpx.BasicAuth(self.login.client_id, secret) if secret else None
        tokens = await self._ask("POST", (await self.metadata())["token_endpoint"], data=form, auth=auth)
        token = tokens.get("id_token")
        if not isinstance(token, str):
            raise TokenError("id_token: the provider sent none; ask for the scope openid")
        login, now = self.login, self._now()
        try:
            return claims_of(token, await self.keys(), login.issuer, login.client_id, pending.nonce, now)
        except TokenError:
            if not await self._newer_keys():
                raise
            return claims_of(token, await self.keys(), login.issuer, login.client_id, pending.nonce, now)

    async def keys(self) -> KeySet:
        if self._keys is None:
            keys = await self._get((await self.metadata())["jwks_uri"])
            try:
                self._keys = (self._now(), KeySet.import_key_set({"keys": list(keys["keys"])}))
            except (JoseError, ValueError, KeyError, TypeError) as error:
                raise TokenError(f"jwks_uri: the provider's keys cannot be read: {error}") from error
        return self._keys[1]

    async def _newer_keys(self) -> bool:
        """Forget the keys where they may have changed; whether they are worth asking for again."""
        if self._keys is None or self._now() - self._keys[0] < KEYS_EVERY:
            return False
        self._keys = None
        return True

    async def _get(self, url: str) -> dict[str, Any]:
        return await self._ask("GET", url)

    async def _ask(self, method: str, url: str, **asked: Any) -> dict[str, Any]:
        headers = {"accept": "application/json"}
        try:
            async with self._client.stream(method, url, headers=headers, **asked) as said:
                body = b""
                async for chunk in said.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_BYTES:
                        raise TokenError(f"the provider's answer is larger than {MAX_BYTES:,} bytes")
        except httpx.HTTPError as error:
            raise TokenError(f"the identity provider does not answer ({type(error).__name__}); try again") from error
        try:
            answer = intake.read_json(body, MAX_BYTES)
        except intake.IntakeError as error:
            raise TokenError(f"the provider's answer cannot be read (HTTP {said.status_code})") from error
        if not said.is_success or not isinstance(answer, dict):
            why = answer.get("error") if isinstance(answer, dict) else None
            raise TokenError(f"the identity provider refused: {str(why or said.status_code)[:100]}")
        return answer

    def _safe(self, name: str, url: object) -> None:
        """An address of the provider's own is https, or on this machine as the issuer is."""
        parts = urlsplit(url) if isinstance(url, str) else None
        ours = urlsplit(self.login.issuer)
        if parts is None or (parts.scheme != "https" and (parts.scheme, parts.hostname) != ("http", ours.hostname)):
            raise TokenError(f"{name}: the provider gives no https address")


class SignInElsewhere:
    """The handlers. `provider` None: people sign in here only."""

    def __init__(self, provider: Provider | None, accounts: Accounts, now: Callable[[], datetime]) -> None:
        self.provider, self.accounts, self._now = provider, accounts, now
        self._pending: dict[str, BegunSignIn] = {}

    def rows(self) -> list[Row]:
        """Path, method, the right it needs, handler."""
        return [
            ("/api/login/ways", "GET", None, self.ways),
            ("/login/oidc", "GET", None, self.begin),
            (CALLBACK, "GET", None, self.end),
        ]

    async def close(self) -> None:
        if self.provider is not None:
            await self.provider.close()

    async def ways(self, request: Request) -> Response:
        """Where else one signs in: the provider's host, or null."""
        return answer({"oidc": None if self.provider is None else urlsplit(self.provider.login.issuer).hostname})

    async def begin(self, request: Request) -> Response:
        if self.provider is None:
            return _said(404, "No identity provider is configured here.")
        login = self.provider.login
        try:
            metadata = await self.provider.metadata()
        except TokenError as error:
            return _said(502, str(error))
        browser, state = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        pending = BegunSignIn(_digest(browser), secrets.token_urlsafe(32), secrets.token_urlsafe(48), self._until())
        self._keep(state, pending)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(pending.verifier.encode()).digest()).rstrip(b"=")
        query = {
            "response_type": "code",
            "client_id": login.client_id,
            "redirect_uri": redirect_uri(login),
            "scope": " ".join(login.scopes),
            "state": state,
            "nonce": pending.nonce,
            "code_challenge": challenge.decode(),
            "code_challenge_method": "S256",
        }
        address = metadata["authorization_endpoint"]
        reply = RedirectResponse(f"{address}{'&' if '?' in address else '?'}{urlencode(query)}", 303)
        # Lax, for the provider sends the browser back from its own page.
        reply.set_cookie(
            COOKIE,
            browser,
            max_age=600,
            httponly=True,
            samesite="lax",
            secure=login.url.startswith("https"),
            path="/login",
        )
        return reply

    async def end(self, request: Request) -> Response:
        if self.provider is None or self.accounts.people is None:
            return _said(404, "No identity provider is configured here.")
        query = request.query_params
        pending = self._pending.pop(query.get("state", ""), None)
        cookie = _digest(request.cookies.get(COOKIE, ""))
        if pending is None or pending.until <= self._now() or not hmac.compare_digest(pending.browser, cookie):
            return _said(400, "This sign-in was not begun in this browser, was used already, or took too long.")
        if "error" in query:
            return _said(403, f"The identity provider did not sign you in: {query['error'][:100]}.")
        login = self.provider.login
        if query.get("iss", login.issuer) != login.issuer:  # RFC 9207: the answer of another provider
            return _said(400, "This answer is another provider's.")
        address = request.client.host if request.client is not None else "unknown"
        try:
            claims = await self.provider.claims(query.get("code", ""), pending)
            who = account_of(claims, login.roles, login.groups_claim)
            subject = f"{login.issuer}|{claims['sub']}"
            account = self.accounts.people.by_subject(subject, who, address, self._now())
        except PeopleError as error:
            log.warning("a sign-in through %s from %s was refused: %s", login.issuer, address, error)
            return _said(403, str(error))
        except StoreError as error:
            return _said(503, str(error))
        reply = self.accounts.open_session(request, account, _page("Signed in.", "/", again=True))
        reply.delete_cookie(COOKIE, path="/login")
        return reply

    def _until(self) -> datetime:
        return self._now() + PENDING_FOR

    def _keep(self, state: str, pending: BegunSignIn) -> None:
        now = self._now()
        for old in [s for s, one in self._pending.items() if one.until <= now]:
            del self._pending[old]
        while len(self._pending) >= MAX_PENDING:
            del self._pending[next(iter(self._pending))]
        self._pending[state] = pending


def redirect_uri(login: Login) -> str:
    return login.url.rstrip("/") + CALLBACK


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _said(status: int, why: str) -> Response:
    reply = _page(why, "/login")
    reply.status_code = status
    return reply


def _page(text: str, target: str, *, again: bool = False) -> Response:
    """A page that goes on by itself: a redirect that another site began would not carry the session's strict cookie."""
    refresh = f'<meta http-equiv="refresh" content="0;url={target}">' if again else ""
    head = f'<meta charset="utf-8"><title>Tieline</title>{refresh}'
    body = f'<p>{html.escape(text)}</p><p><a href="{target}">Go on</a></p>'
    return HTMLResponse(f'<!doctype html><html lang="en">{head}{body}</html>')

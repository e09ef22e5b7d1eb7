"""Passkeys of whoever is signed in, and signing in with one."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tieline.console.door import Row
from tieline.console.forms import answer, failed, read_form
from tieline.console.rooms.signin.accounts import Accounts, address_of
from tieline.people import Account, People, PeopleError, Right
from tieline.people.accounts import ThrottledError
from tieline.people.passkeys import Passkeys, RelyingParty
from tieline.store.people import PasskeyRow


class PasskeyForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A device's answer to the challenge of that name; `name` is what a new passkey is called."""

    challenge: str
    credential: dict[str, Any]
    name: str = ""


class PasskeyNamed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str


class PasskeyRoom:
    """The handlers. `people` None: this console knows tokens only."""

    def __init__(self, people: People | None, accounts: Accounts, now: Callable[[], datetime]) -> None:
        self._people, self._accounts, self._now = people, accounts, now
        self._passkeys = None if people is None else Passkeys(people)

    def rows(self) -> list[Row]:
        return [
            ("/api/login/passkey/begin", "POST", None, self.ask),
            ("/api/login/passkey", "POST", None, self.sign_in),
            ("/api/me/passkeys", "GET", Right.OWN_ACCOUNT, self.listed),
            ("/api/me/passkeys/begin", "POST", Right.OWN_ACCOUNT, self.offer),
            ("/api/me/passkeys", "POST", Right.OWN_ACCOUNT, self.add),
            ("/api/me/passkeys/remove", "POST", Right.OWN_ACCOUNT, self.remove),
        ]

    async def ask(self, request: Request) -> Response:
        await read_form(request, _Nothing)
        return await self._done(request, lambda passkeys, site: passkeys.ask(site, self._now()))

    async def sign_in(self, request: Request) -> Response:
        form, address = await read_form(request, PasskeyForm), address_of(request)
        accounts: list[Account] = []

        def do(passkeys: Passkeys, site: RelyingParty) -> dict[str, Any]:
            accounts.append(passkeys.sign_in(form.challenge, form.credential, site, address, self._now()))
            return {"id": accounts[0].id}

        reply = await self._done(request, do, refused=403)
        return self._accounts.open_session(request, accounts[0], reply) if accounts else reply

    async def listed(self, request: Request) -> Response:
        account: Account = request.state.account
        rows = [] if self._people is None else self._people.store.passkeys(account.id)
        return answer({"passkeys": [_shown(row) for row in rows], "why_not": _why_not(request)})

    async def offer(self, request: Request) -> Response:
        await read_form(request, _Nothing)
        account: Account = request.state.account
        if not account.id or self._people is None or self._people.account(account.id) is None:
            return failed(400, "sign in with an account first")
        return await self._done(request, lambda passkeys, site: passkeys.offer(account, site, self._now()))

    async def add(self, request: Request) -> Response:
        form, address = await read_form(request, PasskeyForm), address_of(request)
        account: Account = request.state.account

        def do(passkeys: Passkeys, site: RelyingParty) -> dict[str, Any]:
            passkeys.add(account, form.challenge, form.credential, form.name, site, address, self._now())
            return {}

        return await self._done(request, do)

    async def remove(self, request: Request) -> Response:
        form, address = await read_form(request, PasskeyNamed), address_of(request)
        account: Account = request.state.account
        if self._people is None:
            return failed(404, "this console knows no accounts")
        try:
            self._people.remove_passkey(account.id, _bytes(form.id), address, self._now())
        except PeopleError as error:
            return failed(400, str(error))
        return answer({})

    async def _done(
        self, request: Request, do: Callable[[Passkeys, RelyingParty], dict[str, Any]], refused: int = 400
    ) -> Response:
        if self._passkeys is None:
            return failed(404, "this console knows no accounts")
        why = _why_not(request)
        if why is not None:
            return failed(400, why)
        try:
            return answer(await asyncio.to_thread(do, self._passkeys, _relying(request)))
        except ThrottledError as error:
            refusal = failed(429, str(error))
            refusal.headers["retry-after"] = str(int(error.wait_s) + 1)
            return refusal
        except PeopleError as error:
            return failed(refused, str(error))


class _Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


def _relying(request: Request) -> RelyingParty:
    url = request.url
    return RelyingParty(url.hostname or "", f"{url.scheme}://{url.netloc}")


def _why_not(request: Request) -> str | None:
    """Why browsers make no passkey for the address that this page was opened with; None where they do."""
    url = request.url
    if url.hostname == "localhost" or (url.scheme == "https" and not _is_address(url.hostname or "")):
        return None
    port = f":{url.port}" if url.port else ""
    return f"passkeys belong to a name: open this console as http://localhost{port}, or by its https name"


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def _shown(row: PasskeyRow) -> dict[str, Any]:
    id_ = urlsafe_b64encode(row.id).rstrip(b"=").decode()
    return {"id": id_, "name": row.name, "made": row.made, "seen": row.seen}


def _bytes(text: str) -> bytes:
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as error:
        raise PeopleError("passkey: there is no such one") from error

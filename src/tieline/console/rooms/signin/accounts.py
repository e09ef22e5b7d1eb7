"""Signing in and out, one-time links, and who has an account: the console's side of `people`.

Every change leaves its line in the accounts' own trail; `forward` puts each on record with the core, so that the audit
page shows it beside the operators' commands.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tieline.console.door import COOKIE, SESSION_S, Keys, cookie_of
from tieline.console.forms import answer, failed, read_form
from tieline.link import Link, LinkDownError, push
from tieline.people import ROLES, Account, People, PeopleError, Right, Role
from tieline.people.accounts import Session, ThrottledError, Who
from tieline.people.rights import TABLE
from tieline.records import Action, encode_batch
from tieline.store import StoreError
from tieline.store.people import TrailRow
from tieline.tasks import beat

log = logging.getLogger("tieline.console")

T = TypeVar("T")
# How soon a change of an account stands beside other actions.
FORWARD_S: Final = 1.0
# A link's push and the store's commit take milliseconds; more is a link that is away.
PUSHED_S: Final = 30.0


class SignInForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A name and its password, or an operator's token."""

    name: str = ""
    password: str = ""
    token: str = ""


class JoinForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A one-time link is used."""

    link: str
    name: str
    password: str


class PasswordForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    old: str
    new: str


class AccountForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    name: str
    roles: tuple[Role, ...]
    places: tuple[str, ...] = ()
    disabled: bool = False


class NamedForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str


class SessionForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`session` None: all of the account's."""

    id: str
    session: str | None = None


class Accounts:
    """The handlers. `people` None: this console knows tokens only. `tenants_only`: operators sign in elsewhere."""

    def __init__(
        self,
        people: People | None,
        keys: Keys,
        now: Callable[[], datetime],
        places: Sequence[str],
        *,
        tenants_only: bool = False,
    ) -> None:
        self.people, self.keys, self._now, self.tenants_only = people, keys, now, tenants_only
        self._places = frozenset(places)

    # --- oneself -------------------------------------------------------------------

    async def sign_in(self, request: Request) -> Response:
        form = await read_form(request, SignInForm)
        if form.token:
            name = self.keys.name_of(form.token) if self.keys else None
            if name is None:
                return failed(403, "no operator has this token")
            secret = self.keys.session(name, self._now().timestamp())
            return _with_cookie(request, answer({"operator": name}), secret)
        if self.people is None:
            return failed(403, "this console knows no accounts; give an operator's token")
        people, address = self.people, address_of(request)
        try:
            account = await asyncio.to_thread(people.sign_in, form.name.strip(), form.password, address, self._now())
        except ThrottledError as error:
            refusal = failed(429, str(error))
            refusal.headers["retry-after"] = str(int(error.wait_s) + 1)
            return refusal
        except PeopleError as error:
            return failed(403, str(error))
        return self._open(request, account)

    async def join(self, request: Request) -> Response:
        form = await read_form(request, JoinForm)
        if self.people is None:
            return failed(404, "this console knows no accounts")
        people, address = self.people, address_of(request)
        try:
            account = await asyncio.to_thread(people.accept, form.link, form.password, form.name, address, self._now())
        except PeopleError as error:
            return failed(400, str(error))
        return self._open(request, account)

    def _open(self, request: Request, account: Account) -> Response:
        return self.open_session(request, account, answer(_shown(account)))

    def open_session(self, request: Request, account: Account, reply: Response) -> Response:
        """The reply, with the cookie of a new session of this account."""
        assert self.people is not None, "whoever has an account is known here"
        if self.tenants_only and not account.tenant:
            return failed(403, "this door is the tenants'; an operator signs in at the console")
        agent = request.headers.get("user-agent", "")
        secret = self.people.open_session(account, address_of(request), agent, self._now())
        return _with_cookie(request, reply, secret)

    async def sign_out(self, request: Request) -> Response:
        if self.people is not None:
            self.people.sign_out(cookie_of(request.headers))
        reply = answer({})
        reply.delete_cookie(COOKIE)
        return reply

    async def me(self, request: Request) -> Response:
        """Who one is, what one may do, and one's sessions."""
        account: Account | None = request.state.account
        if account is None or not account.id:
            has_admin = self.people is not None and self.people.has_admin
            return answer({"id": None, "rights": _rights(account), "signs_in": has_admin or bool(self.keys)})
        mine = [] if self.people is None else self.people.sessions(account.id, self._now())
        return answer({**_shown(account), "signs_in": True, "sessions": [_session(one) for one in mine]})

    async def change_password(self, request: Request) -> Response:
        form = await read_form(request, PasswordForm)
        account: Account = request.state.account
        if self.people is None or not account.id:
            return failed(400, "sign in with an account first")
        people, address = self.people, address_of(request)
        try:
            await asyncio.to_thread(people.change_password, account.id, form.old, form.new, address, self._now())
        except PeopleError as error:
            return failed(400, str(error))
        return self._open(request, account)

    # --- others -----------------------------------------------------------------------

    async def listed(self, request: Request) -> Response:
        if self.people is None:
            return failed(404, "this console knows no accounts")
        accounts = []
        for account in self.people.accounts():
            sessions = self.people.sessions(account.id, self._now())
            accounts.append({**_shown(account), "sessions": [_session(one) for one in sessions]})
        table = {role: [right.value for right in Right if right in TABLE[role]] for role in ROLES}
        return answer({"accounts": accounts, "roles": table})

    async def add(self, request: Request) -> Response:
        form = await read_form(request, AccountForm)

        def do(people: People, by: Who) -> dict[str, Any]:
            secret = people.add(self._account(form), by, self._now())
            return {"link": f"/join#{secret}"}

        return await self._change(request, do)

    async def change(self, request: Request) -> Response:
        form = await read_form(request, AccountForm)
        return await self._change(request, lambda p, by: p.change(self._account(form), by, self._now()))

    async def invite(self, request: Request) -> Response:
        form = await read_form(request, NamedForm)
        return await self._change(request, lambda p, by: {"link": f"/join#{p.invite(form.id, by, self._now())}"})

    async def remove(self, request: Request) -> Response:
        form = await read_form(request, NamedForm)
        return await self._change(request, lambda p, by: p.remove(form.id, by, self._now()))

    async def revoke(self, request: Request) -> Response:
        """One's own sessions, or with the right to it anybody's."""
        form = await read_form(request, SessionForm)
        account: Account = request.state.account
        if form.id != account.id and not account.may(Right.PEOPLE):
            return failed(403, f"{account.name or 'whoever has no account'} may not {Right.PEOPLE.value}")
        return await self._change(request, lambda p, by: p.revoke(form.id, form.session, by, self._now()))

    def _account(self, form: AccountForm) -> Account:
        places = tuple(self._place(place) for place in form.places)
        return Account(form.id, form.name, form.roles, places, disabled=form.disabled)

    def _place(self, given: str) -> str:
        """A site or region as the fleet spells it: a person writes "South America" for south_america."""
        spelt = given.strip().lower().replace(" ", "_")
        place = next((one for one in (given, spelt) if one in self._places), None)
        if place is None:
            raise PeopleError(f"places: no site or region {given!r} in this fleet; a site's page has its id")
        return place

    async def _change(self, request: Request, do: Callable[[People, Who], dict[str, Any] | None]) -> Response:
        if self.people is None:
            return failed(404, "this console knows no accounts")
        account: Account = request.state.account
        by = Who(account.id or "whoever sits at this machine", address_of(request))
        try:
            return answer(do(self.people, by) or {})
        except PeopleError as error:
            return failed(400, str(error))


async def forward(people: People, link: Link) -> None:
    """For ever: lines of the trail become Action records of the core's store, each once."""
    while True:
        beat(PUSHED_S)
        rows = await asyncio.to_thread(people.store.untold)
        if rows:
            try:
                ack = await push(link, "people", encode_batch([_action(row) for row in rows]))
            except LinkDownError as error:
                log.debug("the accounts' trail waits for the link: %s", error)
            else:
                if ack.error is None:
                    people.store.told(rows[-1].seq)
        await asyncio.sleep(FORWARD_S)


def _action(row: TrailRow) -> Action:
    at = datetime.fromtimestamp(row.at, UTC).replace(microsecond=row.seq % 1_000_000)
    changed = " -> ".join(part for part in (row.before, row.after) if part)
    detail = f"from {row.address}" + (f": {changed}" if changed else "")
    return Action(
        at=at, known_at=at, source="people", kind="measured", by=row.by, what=row.what, target=row.target, detail=detail
    )


def _with_cookie(request: Request, reply: Response, secret: str) -> Response:
    secure = request.url.scheme == "https"
    reply.set_cookie(COOKIE, secret, max_age=SESSION_S, httponly=True, samesite="strict", secure=secure)
    return reply


def _shown(account: Account) -> dict[str, Any]:
    return {
        "id": account.id,
        "name": account.name,
        "roles": account.roles,
        "places": account.places,
        "tenant": account.tenant,
        "joined": account.has_password,
        "disabled": account.disabled,
        "rights": _rights(account),
    }


def _rights(account: Account | None) -> list[str]:
    if account is None:
        return []
    return [right.name for right in Right if any(account.may(right, place) for place in (*account.places, ""))]


def _session(one: Session) -> dict[str, Any]:
    return {
        "id": one.id,
        "made": one.made,
        "seen": one.seen,
        "until": one.until,
        "address": one.address,
        "agent": one.agent,
    }


def address_of(request: Request) -> str:
    """Where a request comes from, as the trail keeps it."""
    return request.client.host if request.client is not None else "unknown"


Make = Callable[[Request], Awaitable[Response]]
__all__ = ["Accounts", "StoreError", "forward"]

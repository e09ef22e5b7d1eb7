"""A tenant's own page: what they use and owe, their keys, their people. `/my` and all of `/api/my`.

Whose data is told or changed is said by the account that is signed in, never by the request; an address that names
anything else is answered as one that does not exist, and put on record. Every change is a line of the accounts'
trail, which becomes an Action of the core's store.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final

import httpx
import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from tieline.console import page
from tieline.console.door import Handler, Row
from tieline.console.events import Hub
from tieline.console.forms import answer, failed, read_form
from tieline.console.month import RunningInvoices
from tieline.console.rooms import chat, provenance
from tieline.console.rooms.signin.accounts import Accounts
from tieline.console.rooms.tenants.budgets import budgets_of
from tieline.console.rooms.tenants.invoices import TenantInvoices
from tieline.console.rooms.tenants.keys import NAME, GatewayRefusedError, NotTheirsError, TenantKeys
from tieline.console.rooms.tenants.outcomes import outcome
from tieline.console.rooms.tenants.spend import SpendFold, SpendFullError, usd
from tieline.console.served import interruptions
from tieline.intake import IntakeError, read_json
from tieline.people import Account, People, PeopleError, Right, Role
from tieline.people.accounts import Who
from tieline.people.rights import TENANT_ROLES
from tieline.records import ReplicaState, Usage
from tieline.store import StoreError
from tieline.store.people import TrailRow

Json = dict[str, Any]
# Days that a key may be valid, hours that the secret before it may overlap (the gateway's own bound is 90 days).
MAX_DAYS, MAX_OVERLAP_H = 3_650, 2_160
# Addresses of others that one account may try in an hour; whoever tries more is refused all until it is over.
MAX_TRIES, TRIES_FOR = 500, timedelta(hours=1)
MAX_PEOPLE: Final = 200
# How far back interruptions are told, and how many of them a page shows.
STATUS_FOR, MAX_SHOWN = timedelta(days=30), 100
_SECRET: Final = re.compile(r"[!-~]{8,200}")
# Of a request, what its own tenant is told: not where it ran.
_TOLD: Final = (
    "request_id", "project", "key_id", "model", "endpoint", "status", "prompt_tokens", "output_tokens", "cached_tokens",
    "streamed", "finish", "first_token_ms", "total_ms", "estimated", "unit", "units",
)  # fmt: skip


class KeyForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new key. `models` empty: all that are on offer; `days` None: until it is revoked."""

    name: str
    project: str = "default"
    models: tuple[str, ...] = ()
    days: Annotated[int, Meta(ge=1, le=MAX_DAYS)] | None = None
    budget_usd: Annotated[str, Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?$")] | None = None


class RotateForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    overlap_h: Annotated[int, Meta(ge=0, le=MAX_OVERLAP_H)] = 24


class PersonForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    name: str
    roles: tuple[Role, ...]


class TryForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One question, asked with the tenant's own key: it is billed like any other."""

    key: str
    messages: list[chat.Message]
    model: str | None = None


class Portal:
    """The handlers of one console."""

    def __init__(self, hub: Hub, accounts: Accounts, keys: TenantKeys, gateway_url: str, now: Callable[[], datetime]):
        self.hub, self.accounts, self.keys, self.base_url, self._now = hub, accounts, keys, gateway_url, now
        self._chat = chat.Chat(gateway_url, None)
        self._running: tuple[SpendFold, RunningInvoices] | None = None
        self._reading = asyncio.Lock()
        self._tries: dict[str, tuple[datetime, int]] = {}

    def rows(self) -> list[Row]:
        """Path, method, the right it needs, handler."""
        see, money = Right.TENANT_SEE, Right.TENANT_MONEY
        keys, people = Right.TENANT_KEYS, Right.TENANT_PEOPLE
        issued = TenantInvoices(self.hub)
        return [
            ("/my", "GET", None, self.page),
            ("/my/invoices/{number}", "GET", None, self.page),
            ("/my/{rest:path}", "GET", None, self._own(self.elsewhere)),
            ("/api/my/usage", "GET", see, self._own(self.usage)),
            ("/api/my/limits", "GET", see, self._own(self.limits)),
            ("/api/my/prices", "GET", see, self._own(self.prices)),
            ("/api/my/status", "GET", see, self._own(self.status)),
            ("/api/my/refusals", "GET", see, self._own(self.refusals)),
            ("/api/my/requests", "GET", see, self._own(self.requests)),
            ("/api/my/invoice", "GET", money, self._own(self.invoice)),
            ("/api/my/invoices", "GET", money, self._own(issued.listed)),
            ("/api/my/invoices/{number}", "GET", money, self._own(issued.one)),
            ("/api/my/invoices/{number}/csv", "GET", money, self._own(issued.as_csv)),
            ("/api/my/invoices/{number}/pdf", "GET", money, self._own(issued.as_pdf)),
            ("/api/my/invoices/{number}/hours", "GET", money, self._own(issued.hours)),
            ("/api/my/keys", "GET", see, self._own(self.listed)),
            ("/api/my/keys", "POST", keys, self._own(self.make)),
            ("/api/my/keys/{key_id}/rotate", "POST", keys, self._own(self.rotate)),
            ("/api/my/keys/{key_id}/revoke", "POST", keys, self._own(self.revoke)),
            ("/api/my/try", "POST", keys, self._own(self.ask)),
            ("/api/my/people", "GET", people, self._own(self.people)),
            ("/api/my/people", "POST", people, self._own(self.invite)),
            ("/api/my/people/{account_id}/link", "POST", people, self._own(self.link)),
            ("/api/my/people/{account_id}/remove", "POST", people, self._own(self.remove)),
            ("/api/my/{rest:path}", "GET", see, self._own(self.elsewhere)),
        ]

    async def close(self) -> None:
        await self.keys.close()
        await self._chat.close()

    # --- the page --------------------------------------------------------------------------

    async def page(self, request: Request) -> Response:
        account: Account | None = request.state.account
        return (
            page.document()
            if account is not None and account.tenant and not account.partner
            else RedirectResponse("/", 303)
        )

    async def elsewhere(self, request: Request, account: Account) -> Response:
        rest = request.path_params["rest"]
        if request.url.path == f"/my/{account.tenant}":
            return RedirectResponse("/my", 303)
        raise NotTheirsError("address", rest)

    # --- what is used and owed ----------------------------------------------------------------

    async def usage(self, request: Request, account: Account) -> Response:
        fold = await self._fold()
        money = account.may(Right.TENANT_MONEY)
        view = fold.view(account.tenant, money=money)
        return answer({**view, "tenant": account.tenant, "now": self.hub.clock.now().timestamp()})

    async def invoice(self, request: Request, account: Account) -> Response:
        return answer({"invoice": (await self._fold()).invoice(account.tenant)})

    async def limits(self, request: Request, account: Account) -> Response:
        """In force at the gateway now. Money left is told with the right to see it."""
        tenant, budgets, keys = await asyncio.gather(
            self.keys.tenant(account.tenant),
            self.keys.budgets(account.tenant),
            self.keys.keys(account.tenant, billing=account.may(Right.TENANT_MONEY)),
        )
        fold = await self._fold()
        limits = dict(tenant["limits"])
        if not account.may(Right.TENANT_MONEY):
            return answer({"limits": limits, "disabled": tenant["disabled"]})
        own = next((one for one in budgets if one["scope"] == f"tenant:{account.tenant}"), {})
        left = own.get("free_nano_usd")
        spent = fold.view(account.tenant, money=True)["total"]["usd"]
        projects = [{"id": one["id"], "limits": one["limits"]} for one in tenant["projects"]]
        left_usd = None if left is None else usd(left)
        view = {"limits": limits, "left_usd": left_usd, "spent_usd": spent, "projects": projects}
        held = budgets_of(tenant, keys, fold, self.hub.clock.now())
        return answer({**view, "budgets": held, "disabled": tenant["disabled"]})

    async def prices(self, request: Request, account: Account) -> Response:
        """USD per million tokens, in force and announced; and where to send requests."""
        now = self.hub.clock.now()
        models = [_price(one, now) for one in await self.keys.models()]
        ready = {r.model for _, r in self.hub.fold.replicas.values() if r.state == "ready"}
        return answer({"base_url": self.base_url, "models": models, "ready": sorted(ready)})

    async def status(self, request: Request, account: Account) -> Response:
        """Which models are served now, and when one was not: of the models alone, never of where they run."""
        now = self.hub.clock.now()
        end = now + timedelta(minutes=5)
        told = await self.hub.read(lambda s: interruptions(s.each(ReplicaState, now - STATUS_FOR, end)))
        states = [state for _, state in self.hub.fold.replicas.values()]
        ready = {state.model for state in states if state.state == "ready"}
        return answer(
            {
                "now": now.timestamp(),
                "days": STATUS_FOR.days,
                "models": [{"model": name, "ready": name in ready} for name in sorted({s.model for s in states})],
                "interruptions": [
                    {"model": one.model, "since": one.since.timestamp(), "until": one.until and one.until.timestamp()}
                    for one in reversed(told)
                ][:MAX_SHOWN],
                "more": max(0, len(told) - MAX_SHOWN),
            }
        )

    async def refusals(self, request: Request, account: Account) -> Response:
        """What gateways refused before they took it (over a budget or limit, a key that is no longer good, a body that
        cannot be read), in the last day by reason and hour. It is not billed."""
        now = self.hub.clock.now()
        return answer({**self.hub.fold.refused.view(now, account.tenant), "now": now.timestamp()})

    async def requests(self, request: Request, account: Account) -> Response:
        """Newest first, a page at a time; `project`, `model` and `key` narrow each page. Refusals before a request
        is taken are counted (`refusals`) and are not among them."""
        query = {k: v for k, v in request.query_params.items() if k in ("after", "limit", "since", "until")}
        asked = {"limit": "200", **query, "stream": Usage.__name__, "subject": account.tenant}
        now = self.hub.clock.now()
        page = await self.hub.read(lambda s: provenance.listed(s, asked, now))
        wanted = {"project": "project", "model": "model", "key": "key_id"}
        narrow = {field: request.query_params[name] for name, field in wanted.items() if name in request.query_params}
        rows = []
        for one in page["records"]:
            record = read_json(one["record"])
            if record["tenant"] == account.tenant and all(record.get(k) == v for k, v in narrow.items()):
                row = {"at": one["at"], **{name: record.get(name) for name in _TOLD}}
                row["outcome"] = outcome(record["status"], record.get("finish", ""))
                if account.may(Right.TENANT_MONEY):
                    row["usd"] = usd(record.get("cost_nano_usd", 0))
                rows.append(row)
        return answer({"requests": rows, "more": page["more"], "next": page["next"]})

    async def _fold(self) -> SpendFold:
        """This month's sums, kept up by what was stored since the last look. Raises StoreError, SpendFullError."""
        month = f"{self.hub.clock.now():%Y-%m}"
        async with self._reading:
            if self._running is None or self._running[0].month != month:
                fold = SpendFold(month)
                self._running = (fold, RunningInvoices(month, fold))
            fold, running = self._running
            try:
                await running.catch_up(self.hub.read)
            except BaseException:
                self._running = None  # half a page may have been counted: begin again
                raise
            return fold

    # --- keys --------------------------------------------------------------------------------

    async def listed(self, request: Request, account: Account) -> Response:
        keys = await self.keys.keys(account.tenant, billing=account.may(Right.TENANT_MONEY))
        used = (await self._fold()).last_used(account.tenant)
        return answer({"keys": [_key(key, used.get(key["id"])) for key in keys]})

    async def make(self, request: Request, account: Account) -> Response:
        form = await read_form(request, KeyForm)
        for field, value in (("name", form.name), ("project", form.project)):
            if not NAME.fullmatch(value):
                raise IntakeError("use letters, digits and . _ -, at most 48, a letter or digit first", field)
        offered = {one["name"] for one in await self.keys.models()}
        unknown = [one for one in form.models if offered and one not in offered]
        if unknown:
            raise IntakeError(f"{unknown[0]!r} is not on offer; there is {', '.join(sorted(offered))}", "models")
        asked: Json = {"project": form.project, "models": form.models}
        if form.days is not None:
            asked["expires"] = self.hub.clock.now() + timedelta(days=form.days)
        if form.budget_usd is not None:
            asked["limits"] = {"budget_usd": Decimal(form.budget_usd)}
        made = await self.keys.make(account.tenant, form.name, asked)
        self._note(request, account, "make key", made["id"], f"project {form.project}")
        return answer({"secret": made["key"], "key": _key(made, None)})

    async def rotate(self, request: Request, account: Account) -> Response:
        form = await read_form(request, RotateForm)
        id_, billing = request.path_params["key_id"], account.may(Right.TENANT_MONEY)
        made = await self.keys.rotate(account.tenant, id_, form.overlap_h * 3600, billing=billing)
        self._note(request, account, "rotate key", id_, f"overlap {form.overlap_h} h")
        return answer({"secret": made["key"], "key": _key(made, None)})

    async def revoke(self, request: Request, account: Account) -> Response:
        id_ = request.path_params["key_id"]
        await self.keys.revoke(account.tenant, id_, billing=account.may(Right.TENANT_MONEY))
        self._note(request, account, "revoke key", id_)
        return answer({})

    async def ask(self, request: Request, account: Account) -> Response:
        form = await read_form(request, TryForm)
        if not _SECRET.fullmatch(form.key):
            raise IntakeError("paste a key as it was shown when it was made", "key")
        try:
            reply = await self._chat.ask(chat.ChatForm(form.messages, form.model), None, form.key)
        except httpx.HTTPError as error:
            raise GatewayRefusedError(502, f"the gateway does not answer ({type(error).__name__})") from error
        media = reply.headers.get("content-type", "application/json")
        return StreamingResponse(chat.relay(reply), reply.status_code, {}, media)

    # --- people ------------------------------------------------------------------------------

    async def people(self, request: Request, account: Account) -> Response:
        shown = [
            {"id": a.id, "name": a.name, "roles": a.roles, "joined": a.has_password, "disabled": a.disabled}
            for a in _colleagues(self._people(), account)
        ]
        return answer({"people": shown, "roles": sorted(TENANT_ROLES)})

    async def invite(self, request: Request, account: Account) -> Response:
        form, people = await read_form(request, PersonForm), self._people()
        if len(_colleagues(people, account)) >= MAX_PEOPLE:
            raise PeopleError(f"id: there are {MAX_PEOPLE} accounts already; remove one first")
        others = [role for role in form.roles if role not in TENANT_ROLES]
        if others:
            raise PeopleError(f"roles: {others[0]} is not a tenant's; use {', '.join(sorted(TENANT_ROLES))}")
        new = Account(form.id, form.name, form.roles, tenant=account.tenant)
        return answer({"link": f"/join#{people.add(new, _who(request, account), self._now())}"})

    async def link(self, request: Request, account: Account) -> Response:
        people, other = self._people(), self._colleague(request, account)
        return answer({"link": f"/join#{people.invite(other.id, _who(request, account), self._now())}"})

    async def remove(self, request: Request, account: Account) -> Response:
        people, other = self._people(), self._colleague(request, account)
        if other.id == account.id:
            raise PeopleError("id: this is you; another owner can remove you")
        people.remove(other.id, _who(request, account), self._now())
        return answer({})

    def _people(self) -> People:
        people = self.accounts.people
        assert people is not None, "a tenant's person has an account"
        return people

    def _colleague(self, request: Request, account: Account) -> Account:
        """Raises NotTheirsError."""
        id_ = request.path_params["account_id"]
        other = next((one for one in _colleagues(self._people(), account) if one.id == id_), None)
        if other is None:
            raise NotTheirsError("account", id_)
        return other

    # --- whose, and what is put on record -------------------------------------------------------

    def _own(self, handler: Callable[[Request, Account], Awaitable[Response]]) -> Handler:
        """The handler, for a tenant's person and about that tenant alone."""

        async def ask(request: Request) -> Response:
            account: Account | None = request.state.account
            if account is None or not account.tenant:
                return failed(404, "there is nothing here")
            wait = self._wait_for(account)
            if wait is not None:
                return wait
            try:
                named = request.query_params.get("tenant", account.tenant)
                if named != account.tenant:
                    raise NotTheirsError("tenant", named)
                return await handler(request, account)
            except NotTheirsError as error:
                self._tried(account)
                self._note(request, account, f"asked for an unknown or foreign {error.what}", error.id, "answered 404")
                return failed(404, "there is nothing here")
            except GatewayRefusedError as error:
                return failed(error.status, error.why)
            except (StoreError, SpendFullError) as error:
                return failed(503, str(error))
            except provenance.AskError as error:
                return failed(400, str(error))

        return ask

    def _wait_for(self, account: Account) -> Response | None:
        began, count = self._tries.get(account.id, (self._now(), 0))
        if self._now() - began >= TRIES_FOR:
            self._tries.pop(account.id, None)
        elif count >= MAX_TRIES:
            return failed(429, "too many addresses that are not yours; wait an hour")
        return None

    def _tried(self, account: Account) -> None:
        began, count = self._tries.get(account.id, (self._now(), 0))
        self._tries[account.id] = (began, count + 1)

    def _note(self, request: Request, account: Account, what: str, target: str, detail: str = "") -> None:
        """A line of the trail: on disk now, on record with the core within seconds."""
        who = _who(request, account)
        after = f"tenant {account.tenant}" + (f", {detail}" if detail else "")
        row = TrailRow(0, int(self._now().timestamp()), who.name, who.address, what, _plain(target), "", after)
        self._people().store.note(row)


def _colleagues(people: People, account: Account) -> list[Account]:
    return [one for one in people.accounts() if one.tenant == account.tenant]


def _who(request: Request, account: Account) -> Who:
    return Who(account.id, request.client.host if request.client is not None else "unknown")


def _plain(text: str) -> str:
    """What a stranger wrote, as a record can hold it."""
    return "".join(c if c.isprintable() and c != "|" else "?" for c in text)[:80] or "?"


def _key(key: Json, used: datetime | None) -> Json:
    """As the page takes it: no digest and no secret is in it."""
    return {
        "id": key["id"],
        "project": key["project"],
        "models": key["models"],
        "role": key["role"],
        "expires": key["expires"],
        "budget_usd": key["limits"]["budget_usd"],
        "former_until": key["former"],
        "last_used": None if used is None else used.timestamp(),
    }


def _price(model: Json, now: datetime) -> Json:
    """The tariff in force, and those announced for later."""
    tariffs = sorted(model["tariffs"], key=lambda one: str(one["since"]))
    begun = [one for one in tariffs if datetime.fromisoformat(one["since"]) <= now]
    force = begun[-1] if begun else model
    names = ("input_usd_per_mtok", "output_usd_per_mtok", "cached_usd_per_mtok", "usd_per_unit")
    later = [{"since": one["since"], **{n: one.get(n) for n in names}} for one in tariffs if one not in begun]
    return {
        "model": model["name"],
        "label": model["label"],
        "unit": model.get("unit", ""),
        **{n: force.get(n) for n in names},
        "later": later,
    }

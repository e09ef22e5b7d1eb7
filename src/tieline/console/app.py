"""The console's doors: pages, their data, the event stream, and an operator's commands.

`make_app` wires one `Hub` (fold and readers), one `Chat` and one `Door`. It never writes the store: commands
go over the link to the core, which alone does.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx
import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from tieline.alerts.service import TAKE
from tieline.clock import Clock, wall_now
from tieline.config import Login, Tenant
from tieline.console import page
from tieline.console.door import Door, Keys, Row, needs, signed_in_as
from tieline.console.doorway import Doorway
from tieline.console.events import Hub
from tieline.console.forms import answer, failed, read_form
from tieline.console.rooms import bulk, chat, operator, provenance
from tieline.console.rooms.alerts import AlertRoom
from tieline.console.rooms.approvals import Approvals
from tieline.console.rooms.books import MoneyPages
from tieline.console.rooms.disclosed import Published, network_ticks, shipped_book
from tieline.console.rooms.inference import inference_view
from tieline.console.rooms.long import LongRoom
from tieline.console.rooms.observed import ObservedPage
from tieline.console.rooms.partners import PartnerRoom
from tieline.console.rooms.rigs import RigPages
from tieline.console.rooms.signin.accounts import Accounts, forward
from tieline.console.rooms.signin.oidc import Provider, SignInElsewhere
from tieline.console.rooms.signin.passkeys import PasskeyRoom
from tieline.console.rooms.site import site_view
from tieline.console.rooms.studies import StudyPages
from tieline.console.rooms.tenants.keys import TenantKeys
from tieline.console.rooms.tenants.portal import Portal
from tieline.console.rooms.tomorrow import TomorrowRoom
from tieline.disclosures.facts.book import ClaimBook
from tieline.dispatch import Settings
from tieline.fleet import Fleet
from tieline.intake import IntakeError
from tieline.ledger import Method
from tieline.link import Link, LinkDownError
from tieline.people import Account, People, PeopleError, Right
from tieline.records import Action, AnyRecord
from tieline.store import Store, StoreError
from tieline.store.alerts import AlertStore
from tieline.tasks import Registry

F = TypeVar("F")
Info = Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None


@dataclass(frozen=True)
class SignIn:
    """Who may come in. `tokens` maps an operator's name to the SHA-256 of their token; without it only this machine is
    answered. `people`: the accounts; as soon as one is an admin's, everybody signs in; `always`: also before.
    `login`: an identity provider that people sign in at, too."""

    tokens: Mapping[str, str] | None = None
    people: People | None = None
    always: bool = False
    login: Login | None = None


@dataclass(frozen=True)
class Shown:
    """What pages show beside the records. `info` (a mapping, or a function that gives one when asked) may have
    `parts` [{"name", "ok", "detail"}], `note` and `version`. `disclosures` gives the book of published facts.
    `tenants` are shown with their limits and budgets. `lots`: which lots of bitcoin leave the books first.
    `gateway_admin` gives the secret with which tenants' keys are made and revoked. `data`: the platform's
    folder, where studies are and sites keep their raw samples. `keeps`: the share of the reward that a pool's fee and
    rejects leave. `dispatch`: the controller's settings, for what would be bought tomorrow."""

    gateway_url: str = ""
    demo_key: str | None = None
    info: Info = None
    disclosures: Callable[[], ClaimBook] = shipped_book
    tenants: Sequence[Tenant] = ()
    lots: Method = "fifo"
    alerts: AlertStore | None = None
    gateway_admin: Callable[[], str | None] = lambda: None
    data: Path | None = None
    keeps: float = 1.0
    dispatch: Settings = field(default_factory=Settings)


def make_app(
    store: Store,
    fleet: Fleet,
    clock: Clock,
    *,
    link: Link | None = None,
    registry: Registry | None = None,
    sign_in: SignIn | None = None,
    shown: Shown | None = None,
) -> Starlette:
    """`store` is opened read-only; `registry` keeps the console's long-lived tasks."""
    sign_in, shown = sign_in or SignIn(), shown or Shown()
    keys, people = Keys(sign_in.tokens or {}), sign_in.people
    hub = Hub(store, fleet, clock, link, _told(shown.info), shown.tenants, registry, shown.lots)
    published = Published(shown.disclosures, lambda since: hub.read(lambda s: network_ticks(s, since, clock.now())))
    places = {place for site in fleet.sites for place in (site.id, site.region)}
    accounts = Accounts(people, keys, wall_now, sorted(places))
    box = chat.Chat(shown.gateway_url, shown.demo_key if shown.gateway_url else None)
    portal = Portal(hub, accounts, TenantKeys(shown.gateway_url, shown.gateway_admin), shown.gateway_url, wall_now)
    room = ConsoleHandlers(hub, box, accounts, published, Doorway(shown.gateway_url), portal, shown.tenants)
    room.alerts = AlertRoom(shown.alerts, wall_now)
    room.tomorrow = TomorrowRoom(hub, shown.dispatch, clock.now)
    provider = None if sign_in.login is None else Provider(sign_in.login, wall_now)
    room.studies = StudyPages(shown.data)
    room.elsewhere = SignInElsewhere(provider, accounts, wall_now)
    room.passkeys = PasskeyRoom(people, accounts, wall_now)
    room.long = LongRoom(hub, shown.data)
    room.rigs, room.observed = RigPages(hub, shown.data), ObservedPage(hub, shown.keeps)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await hub.start()
        room.long.start()
        if people is not None and link is not None:
            there, core = people, link
            hub.registry.keep("accounts' trail", "puts changes of accounts on record", lambda: forward(there, core))
        try:
            yield
        finally:
            await hub.stop()
            room.long.stop()
            await room.chat.close()
            await room.doorway.close()
            await portal.close()
            await room.elsewhere.close()

    app = Starlette(
        routes=[Route(path, needs(right, handler), methods=[method]) for path, method, right, handler in _routes(room)],
        middleware=[Middleware(Door, keys=keys, now=wall_now, people=people, always=sign_in.always)],
        exception_handlers={IntakeError: _refused, PeopleError: _refused, HTTPException: _not_here},
        lifespan=lifespan,
    )
    app.state.hub, app.state.room = hub, room
    return app


def make_portal(store: Store, fleet: Fleet, clock: Clock, people: People, shown: Shown) -> Starlette:
    """The tenants' pages alone, for a port or a host of their own. No operators' page or data is reachable there, and
    an operator's session is none: whoever is no tenant's person is asked to sign in."""
    hub = Hub(store, fleet, clock, None, _told(shown.info), shown.tenants, None, shown.lots)
    accounts = Accounts(people, Keys({}), wall_now, (), tenants_only=True)
    passkeys = PasskeyRoom(people, accounts, wall_now)
    portal = Portal(hub, accounts, TenantKeys(shown.gateway_url, shown.gateway_admin), shown.gateway_url, wall_now)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await hub.start()
        try:
            yield
        finally:
            await hub.stop()
            await portal.close()

    rows = [*_portal_routes(accounts, portal), *passkeys.rows()]
    return Starlette(
        routes=[Route(path, needs(right, handler), methods=[method]) for path, method, right, handler in rows],
        middleware=[Middleware(Door, keys=Keys({}), now=wall_now, people=people, always=True, tenants_only=True)],
        exception_handlers={IntakeError: _refused, PeopleError: _refused, HTTPException: _not_here},
        lifespan=lifespan,
    )


def _portal_routes(accounts: Accounts, portal: Portal) -> list[Row]:
    """Every door of the portal that stands alone, but for its passkeys."""

    async def document(request: Request) -> Response:
        return page.document()

    async def home(request: Request) -> Response:
        return RedirectResponse("/my", 303)

    async def ways(request: Request) -> Response:
        return answer({"oidc": None, "tenants": True})

    async def healthz(request: Request) -> Response:
        return answer({"ok": portal.hub.store_error is None}, 200 if portal.hub.store_error is None else 503)

    return [
        ("/", "GET", None, home),
        *((path, "GET", None, document) for path in ("/login", "/join", "/account")),
        ("/static/{name}", "GET", None, page.asset),
        ("/healthz", "GET", None, healthz),
        ("/api/login/ways", "GET", None, ways),
        *portal.rows(),
        *_own_account_routes(accounts),
    ]


def _own_account_routes(who: Accounts) -> list[Row]:
    """Signing in and out, and what everybody may change of themselves."""
    return [
        ("/api/login", "POST", None, who.sign_in),
        ("/api/join", "POST", None, who.join),
        ("/api/logout", "POST", None, who.sign_out),
        ("/api/me", "GET", None, who.me),
        ("/api/me/password", "POST", Right.OWN_ACCOUNT, who.change_password),
        ("/api/sessions/revoke", "POST", Right.OWN_ACCOUNT, who.revoke),
    ]


# Addresses that open the operators' page; what stands there is for its script to say.
PAGES: Final = (
    "/",
    "/inference",
    "/site/{site_id}",
    "/records",
    "/records/{seq:int}",
    "/disclosures",
    "/treasury",
    "/books",
    "/update",
    "/people",
    "/audit",
    "/alerts",
    TAKE,
    "/approvals",
    "/observed",
    "/rigs",
    "/rigs/{site_id}/{key}",
    "/tomorrow",
)


def _routes(room: ConsoleHandlers) -> list[Row]:
    """Every door of the console with the right that it needs: a test walks them with each role."""
    who = room.accounts
    return [
        *((path, "GET", None, room.page) for path in PAGES),
        *((path, "GET", None, room.own_page) for path in ("/login", "/join", "/account")),
        ("/static/{name}", "GET", None, page.asset),
        ("/healthz", "GET", None, room.healthz),
        ("/api/overview", "GET", Right.SEE, room.overview),
        ("/api/events", "GET", Right.SEE, room.events),
        ("/api/site/{site_id}", "GET", Right.SEE, room.site),
        ("/api/inference", "GET", Right.SEE, room.inference),
        ("/api/records", "GET", Right.SEE, room.records),
        ("/api/records/{seq:int}", "GET", Right.SEE, room.record),
        ("/api/month", "GET", Right.SEE, room.month),
        *MoneyPages(room.hub).rows(),
        *Approvals(room.hub).rows(),
        *room.studies.rows(),
        *room.published.rows(),
        *room.alerts.rows(),
        *room.tomorrow.rows(),
        *room.elsewhere.rows(),
        *room.passkeys.rows(),
        *room.rigs.rows(),
        *room.long.rows(),
        *room.observed.rows(),
        *room.portal.rows(),
        *PartnerRoom(room.hub).rows(),
        ("/api/chat", "POST", Right.ASK, room.talk),
        ("/api/override", "POST", Right.COMMAND, room.override),
        ("/api/override/end", "POST", Right.COMMAND, room.end_override),
        ("/api/order", "POST", Right.COMMAND, room.order),
        ("/api/order/end", "POST", Right.COMMAND, room.end_order),
        ("/api/confirm", "POST", Right.COMMAND, room.confirm),
        ("/api/confirm/all", "POST", Right.COMMAND, room.confirm_all),
        ("/api/rigs/command", "POST", Right.COMMAND, room.bulk),
        *_own_account_routes(who),
        ("/api/people", "GET", Right.PEOPLE, who.listed),
        ("/api/people/add", "POST", Right.PEOPLE, who.add),
        ("/api/people/change", "POST", Right.PEOPLE, who.change),
        ("/api/people/invite", "POST", Right.PEOPLE, who.invite),
        ("/api/people/remove", "POST", Right.PEOPLE, who.remove),
    ]


async def _not_here(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return failed(status, {404: "there is nothing here", 405: "this is not offered here"}.get(status, str(error)))


async def _refused(request: Request, error: Exception) -> Response:
    return failed(400, str(error))


def check_host(host: str, tokens: Mapping[str, str] | None) -> None:
    """Raises ValueError for an address beyond loopback without tokens."""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback and not tokens:
        raise ValueError(f"console.host {host}: beyond loopback the console needs tokens; set console.auth = 'token'")


class ConsoleHandlers:
    """The handlers, each a few lines around what it serves."""

    def __init__(
        self,
        hub: Hub,
        box: chat.Chat,
        accounts: Accounts,
        published: Published,
        doorway: Doorway,
        portal: Portal,
        tenants: Sequence[Tenant] = (),
    ) -> None:
        self.hub, self.chat, self.accounts, self.published = hub, box, accounts, published
        self.doorway, self.portal, self.tenants = doorway, portal, tenants
        self.alerts = AlertRoom(None, wall_now)
        self.tomorrow = TomorrowRoom(hub, Settings(), hub.clock.now)
        self.elsewhere = SignInElsewhere(None, accounts, wall_now)
        self.passkeys = PasskeyRoom(None, accounts, wall_now)
        self.studies = StudyPages(None)
        self.long = LongRoom(hub, None)
        self.rigs, self.observed = RigPages(hub, None), ObservedPage(hub, 1.0)

    async def page(self, request: Request) -> Response:
        """An operator's page; a tenant's or partner's person is sent to their own."""
        account: Account | None = request.state.account
        if account is not None and account.tenant:
            return RedirectResponse("/partner" if account.partner else "/my", 303)
        return page.document()

    async def own_page(self, request: Request) -> Response:
        return page.document()

    async def healthz(self, request: Request) -> Response:
        parts = self.hub.parts()
        ill = [f"{part['name']}: {part['detail']}" for part in parts if not part["ok"]]
        return answer(
            {
                "ok": not ill,
                "troubles": ill,
                "ignored": self.hub.registry.ignored,
                "left_out": len(self.hub.left_out),
                "left_out_first": list(self.hub.left_out[:20]),
                "seq": self.hub.fold.seq,
                "caught_up": self.hub.caught_up,
                "readers": self.hub.readers,
            },
            503 if ill else 200,
        )

    async def overview(self, request: Request) -> Response:
        plain, zipped = self.hub.page()
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(zipped, media_type="application/json", headers={"content-encoding": "gzip"})
        return Response(plain, media_type="application/json")

    async def events(self, request: Request) -> Response:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self.hub.events(), media_type="text/event-stream", headers=headers)

    async def site(self, request: Request) -> Response:
        site = self.hub.fold.sites.get(request.path_params["site_id"])
        if site is None:
            return failed(404, f"no site {request.path_params['site_id']!r} in this fleet")
        view = site_view(self.hub.fold, self.hub.fresh(), site, self.hub.clock.now(), self.hub.speed)
        view["operator"] = signed_in_as(request)
        view["can_command"] = self.hub.link is not None
        return answer(view)

    async def inference(self, request: Request) -> Response:
        door = await self.doorway.now()
        hub = self.hub
        return answer(inference_view(hub.fold, hub.clock.now(), hub.speed, door, self.tenants, hub.month_view))

    async def records(self, request: Request) -> Response:
        query = dict(request.query_params)
        try:
            page = await self.hub.read(lambda s: provenance.listed(s, query, self.hub.clock.now()))
        except provenance.AskError as error:
            return failed(400, str(error))
        except StoreError as error:
            return failed(503, str(error))
        return answer(page)

    async def record(self, request: Request) -> Response:
        seq = request.path_params["seq"]
        try:
            record = await self.hub.read(lambda s: provenance.one(s, seq))
        except StoreError as error:
            return failed(503, str(error))
        return failed(404, f"no record {seq}") if record is None else answer(record)

    async def month(self, request: Request) -> Response:
        return answer(self.hub.month_view)

    # --- what changes something --------------------------------------------------------------

    async def talk(self, request: Request) -> Response:
        if not self.chat.ready:
            return failed(503, "no gateway key is configured for this console's chat box")
        try:
            form = await read_form(request, chat.ChatForm)
            reply = await self.chat.ask(form, self._model())
        except (ValueError, msgspec.MsgspecError) as error:
            return failed(400, str(error))
        except httpx.HTTPError as error:
            return failed(502, f"the gateway at {self.chat.url} does not answer ({type(error).__name__})")
        headers = {k: v for k, v in reply.headers.items() if k.startswith("x-tieline-") or k == "x-request-id"}
        media = reply.headers.get("content-type", "application/json")
        return StreamingResponse(chat.relay(reply), reply.status_code, headers, media)

    def _model(self) -> str | None:
        ready = [r.model for _, r in self.hub.fold.replicas.values() if r.state == "ready"]
        return ready[0] if ready else None

    async def override(self, request: Request) -> Response:
        return await self._command(
            request, operator.OverrideForm, lambda f, n, b: operator.override(self.hub.fold, f, n, b)
        )

    async def end_override(self, request: Request) -> Response:
        return await self._command(request, operator.EndForm, lambda f, n, b: operator.end(self.hub.fold, f, n, b))

    async def order(self, request: Request) -> Response:
        return await self._command(request, operator.OrderForm, lambda f, n, b: operator.order(self.hub.fold, f, n, b))

    async def end_order(self, request: Request) -> Response:
        return await self._command(
            request, operator.EndOrderForm, lambda f, n, b: operator.end_order(self.hub.fold, f, n, b)
        )

    async def confirm(self, request: Request) -> Response:
        return await self._command(
            request, operator.ConfirmForm, lambda f, n, b: operator.confirm(self.hub.fold, f, n, b)
        )

    async def confirm_all(self, request: Request) -> Response:
        """Several advised plans as they were read together: all of them, or none."""
        return await self._command(
            request, operator.ConfirmAllForm, lambda f, n, b: operator.confirm_all(self.hub.fold, f, n, b)
        )

    def _place(self, target: str) -> str:
        """The site that a word is about: its own id, or that of the unit which is named."""
        unit = self.hub.fold.units.get(target)
        return target if unit is None else unit.site.id

    async def bulk(self, request: Request) -> Response:
        """One word for many rigs: to all of them, or to none."""
        return await self._command(request, bulk.BulkForm, lambda f, n, b: bulk.bulk(self.hub.fold, f, n, b))

    async def _command(
        self, request: Request, type_: type[F], make: Callable[[F, Any, str], list[AnyRecord]]
    ) -> Response:
        if self.hub.link is None:
            return failed(503, "this console has no link to the core: it shows, but cannot command")
        try:
            form = await read_form(request, type_)
            batch = make(form, self.hub.clock.now(), _by(request, getattr(form, "by", "")))
            site_id = next((r.site_id for r in batch if hasattr(r, "site_id")), getattr(form, "site_id", ""))
            account: Account = request.state.account
            wanted = {site_id, *(self._place(r.target) for r in batch if isinstance(r, Action))}
            for site in (self.hub.fold.sites[one] for one in sorted(wanted & self.hub.fold.sites.keys())):
                if not account.may(Right.COMMAND, site.id, site.region):
                    return failed(403, f"{account.name} may not {Right.COMMAND.value} {site.id}")
            ack = await operator.send(self.hub.link, batch)
        except (ValueError, msgspec.MsgspecError) as error:
            return failed(400, str(error))
        except LinkDownError as error:
            return failed(503, f"not recorded: the core does not answer ({error}); try again")
        if ack.error is not None:
            return failed(503, f"not recorded: {ack.error}")
        return answer(
            {"recorded": [provenance.STREAMS[type(r).__name__].__name__ for r in batch], "stored": ack.stored}
        )


def _by(request: Request, given: str) -> str:
    """Who commands: the token's holder, or the name given on this machine, marked as unproven."""
    holder = signed_in_as(request)
    if holder is not None:
        return holder
    name = " ".join(given.split())
    if not name or len(name) > 60:
        raise operator.RefusedError("by: give your name (up to 60 characters); it is recorded with the command")
    return f"{name} (this machine, no login)"


def _told(info: Info) -> Callable[[], dict[str, Any]]:
    if callable(info):
        return lambda: dict(info())
    return lambda: dict(info or {})

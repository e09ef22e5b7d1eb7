"""The console's doors: pages, their data, the event stream, and an operator's commands.

`make_app` wires one `Hub` (fold and readers), one `Chat` and one `Door`. It never writes the store: commands
go over the link to the core, which alone does.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, TypeVar

import httpx
import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tieline.clock import Clock, wall_now
from tieline.config import Tenant
from tieline.console import behind, chat, operator, page
from tieline.console.disclosed import Published, shipped_book
from tieline.console.door import COOKIE, SESSION_S, Door, Keys
from tieline.console.doorway import Doorway
from tieline.console.events import Hub
from tieline.console.inference import inference_view
from tieline.console.site import site_view
from tieline.disclosures.book import Book
from tieline.fleet import Fleet
from tieline.ledger import Method
from tieline.link import Link, LinkDownError
from tieline.records import AnyRecord
from tieline.store import Store, StoreError
from tieline.tasks import Registry

F = TypeVar("F")
Info = Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None

# The largest thing a page sends is a conversation (`chat.MAX_CHARS`), in UTF-8 and escaped.
MAX_BODY = 128 * 1024


def make_app(
    store: Store,
    fleet: Fleet,
    clock: Clock,
    *,
    link: Link | None = None,
    gateway_url: str = "",
    demo_key: str | None = None,
    info: Info = None,
    tokens: Mapping[str, str] | None = None,
    disclosures: Callable[[], Book] = shipped_book,
    tenants: Sequence[Tenant] = (),
    registry: Registry | None = None,
    lots: Method = "fifo",
) -> Starlette:
    """`store` is opened read-only. `info` (a mapping, or a function that gives one when asked) may have
    `parts` [{"name", "ok", "detail"}], `note` and `version`. `tokens` maps an operator's name to the SHA-256
    of their token; without it only this machine is answered. `disclosures` gives the book of published facts.
    `tenants` are shown with their limits and budgets. `registry` keeps the console's long-lived tasks. `lots`: which
    lots of bitcoin leave the books first.
    """
    keys = Keys(tokens or {})
    hub = Hub(store, fleet, clock, link, _told(info), tenants, registry, lots)
    published = Published(disclosures)
    room = Room(hub, chat.Chat(gateway_url, demo_key if gateway_url else None), keys, Doorway(gateway_url), tenants)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await hub.start()
        try:
            yield
        finally:
            await hub.stop()
            await room.chat.close()
            await room.doorway.close()

    pages = ["/", "/inference", "/site/{site_id}", "/records", "/records/{seq:int}", "/disclosures", "/login"]
    app = Starlette(
        routes=[
            *(Route(path, room.page) for path in pages),
            Route("/static/{name}", page.asset),
            Route("/healthz", room.healthz),
            Route("/api/overview", room.overview),
            Route("/api/events", room.events),
            Route("/api/site/{site_id}", room.site),
            Route("/api/inference", room.inference),
            Route("/api/records", room.records),
            Route("/api/records/{seq:int}", room.record),
            Route("/api/month", room.month),
            *published.routes(),
            Route("/api/chat", room.talk, methods=["POST"]),
            Route("/api/override", room.override, methods=["POST"]),
            Route("/api/override/end", room.end_override, methods=["POST"]),
            Route("/api/order", room.order, methods=["POST"]),
            Route("/api/order/end", room.end_order, methods=["POST"]),
            Route("/api/confirm", room.confirm, methods=["POST"]),
            Route("/api/login", room.login, methods=["POST"]),
            Route("/api/logout", room.logout, methods=["POST"]),
        ],
        middleware=[Middleware(Door, keys=keys, now_s=lambda: wall_now().timestamp())],
        lifespan=lifespan,
    )
    app.state.hub = hub
    return app


def check_host(host: str, tokens: Mapping[str, str] | None) -> None:
    """Raises ValueError for an address beyond loopback without tokens."""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback and not tokens:
        raise ValueError(f"console.host {host}: beyond loopback the console needs tokens; set console.auth = 'token'")


class Room:
    """The handlers, each a few lines around what it serves."""

    def __init__(self, hub: Hub, box: chat.Chat, keys: Keys, doorway: Doorway, tenants: Sequence[Tenant] = ()) -> None:
        self.hub, self.chat, self.keys, self.doorway, self.tenants = hub, box, keys, doorway, tenants

    async def page(self, request: Request) -> Response:
        return page.document()

    async def healthz(self, request: Request) -> Response:
        parts = self.hub.parts()
        ill = [f"{part['name']}: {part['detail']}" for part in parts if not part["ok"]]
        return _json(
            {
                "ok": not ill,
                "troubles": ill,
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
            return _error(404, f"no site {request.path_params['site_id']!r} in this fleet")
        view = site_view(self.hub.fold, self.hub.fresh(), site, self.hub.clock.now(), self.hub.speed)
        view["operator"] = _holder(request)
        view["can_command"] = self.hub.link is not None
        return _json(view)

    async def inference(self, request: Request) -> Response:
        door = await self.doorway.now()
        hub = self.hub
        return _json(inference_view(hub.fold, hub.clock.now(), hub.speed, door, self.tenants, hub.month_view))

    async def records(self, request: Request) -> Response:
        query = dict(request.query_params)
        try:
            found = await self.hub.read(lambda s: behind.listed(s, query, self.hub.clock.now()))
        except behind.AskError as error:
            return _error(400, str(error))
        except StoreError as error:
            return _error(503, str(error))
        return _json(found)

    async def record(self, request: Request) -> Response:
        seq = request.path_params["seq"]
        try:
            found = await self.hub.read(lambda s: behind.one(s, seq))
        except StoreError as error:
            return _error(503, str(error))
        return _error(404, f"no record {seq}") if found is None else _json(found)

    async def month(self, request: Request) -> Response:
        return _json(self.hub.month_view)

    # --- what changes something --------------------------------------------------------------

    async def talk(self, request: Request) -> Response:
        if not self.chat.ready:
            return _error(503, "no gateway key is configured for this console's chat box")
        try:
            form = await _form(request, chat.ChatForm)
            answer = await self.chat.ask(form, self._model())
        except (ValueError, msgspec.MsgspecError) as error:
            return _error(400, str(error))
        except httpx.HTTPError as error:
            return _error(502, f"the gateway at {self.chat.url} does not answer ({type(error).__name__})")
        headers = {k: v for k, v in answer.headers.items() if k.startswith("x-tieline-") or k == "x-request-id"}
        media = answer.headers.get("content-type", "application/json")
        return StreamingResponse(chat.relay(answer), answer.status_code, headers, media)

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

    async def _command(
        self, request: Request, type_: type[F], make: Callable[[F, Any, str], list[AnyRecord]]
    ) -> Response:
        if self.hub.link is None:
            return _error(503, "this console has no link to the core: it shows, but cannot command")
        try:
            form = await _form(request, type_)
            batch = make(form, self.hub.clock.now(), _by(request, getattr(form, "by", "")))
            site_id = next((r.site_id for r in batch if hasattr(r, "site_id")), getattr(form, "site_id", ""))
            ack = await operator.send(self.hub.link, batch, site_id)
        except (ValueError, msgspec.MsgspecError) as error:
            return _error(400, str(error))
        except LinkDownError as error:
            return _error(503, f"not recorded: the core does not answer ({error}); try again")
        if ack.error is not None:
            return _error(503, f"not recorded: {ack.error}")
        return _json({"recorded": [behind.STREAMS[type(r).__name__].__name__ for r in batch], "stored": ack.stored})

    async def login(self, request: Request) -> Response:
        body = await _form(request, dict)
        name = self.keys.name_of(str(body.get("token", ""))) if self.keys else None
        if name is None:
            return _error(403, "no operator has this token")
        answer = _json({"operator": name})
        cookie = self.keys.session(name, wall_now().timestamp())
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, cookie, max_age=SESSION_S, httponly=True, samesite="strict", secure=secure)
        return answer

    async def logout(self, request: Request) -> Response:
        answer = PlainTextResponse("")
        answer.delete_cookie(COOKIE)
        return answer


def _by(request: Request, given: str) -> str:
    """Who commands: the token's holder, or the name given on this machine, marked as unproven."""
    holder = _holder(request)
    if holder is not None:
        return holder
    name = " ".join(given.split())
    if not name or len(name) > 60:
        raise operator.RefusedError("by: give your name (up to 60 characters); it is recorded with the command")
    return f"{name} (this machine, no login)"


def _holder(request: Request) -> str | None:
    return getattr(request.state, "operator", None)


async def _form(request: Request, type_: type[F]) -> F:
    body = b""
    with contextlib.suppress(ClientDisconnect):
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                raise operator.RefusedError(f"body: larger than {MAX_BODY // 1024} KiB")
    return msgspec.json.decode(body or b"{}", type=type_)


def _told(info: Info) -> Callable[[], dict[str, Any]]:
    if callable(info):
        return lambda: dict(info())
    return lambda: dict(info or {})


def _json(data: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(data), status, media_type="application/json")


def _error(status: int, why: str) -> Response:
    return _json({"error": why}, status)

"""What stands at each path: who may call it, what it answers. The one place that maps requests to exchanges."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec

from tieline.gateway import errors, openapi, reading
from tieline.gateway.admin import Admin
from tieline.gateway.batch.api import BatchApi
from tieline.gateway.budgets.admit import Admitted, KeyAccount, Short, limit_headers
from tieline.gateway.budgets.idempotency import Call, Repeats
from tieline.gateway.errors import Refusal
from tieline.gateway.requests import body as bodies
from tieline.gateway.requests.body import Kind, Request
from tieline.gateway.requests.exchange import Exchange
from tieline.gateway.requests.media import asked
from tieline.gateway.requests.ports import Client
from tieline.gateway.routing.route import State
from tieline.gateway.routing.standing import BAD
from tieline.gateway.service import Service
from tieline.gateway.settings import ModelOffer
from tieline.gateway.surfaces import messages
from tieline.gateway.surfaces.api import COUNT, SURFACES, Surfaces
from tieline.gateway.wire import origins
from tieline.gateway.wire.client import ClientConnection
from tieline.gateway.wire.http1 import JSON_HEADERS, RequestHead, presented_key

_INFERENCE: Final[dict[str, Kind]] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/v1/responses": "chat",
    "/v1/messages": "chat",
    "/v1/rerank": "rerank",
    **asked.PATHS,
}
# Engines answer at `/health`, and so load tools ask there before they begin.
_READY: Final = "/readyz"
# For whoever sends users to the nearest region: 503 also while no replica of the gateway's own region is ready.
_READY_HERE: Final = "/readyz/region"
_HEALTH: Final = frozenset({"/healthz", "/health", _READY, _READY_HERE})
_READ: Final = frozenset({"/v1/models", "/metrics", "/openapi.json"}) | _HEALTH
_CORS_HEADERS: Final = (
    b"access-control-allow-methods: GET, POST, DELETE, OPTIONS\r\n"
    b"access-control-allow-headers: authorization, content-type, idempotency-key, x-tieline-continuity,"
    b" openai-organization, openai-project, openai-beta, x-request-id, x-api-key, api-key, anthropic-version,"
    b" anthropic-beta, anthropic-dangerous-direct-browser-access,"
    b" x-stainless-arch, x-stainless-async, x-stainless-helper-method, x-stainless-lang, x-stainless-os,"
    b" x-stainless-package-version, x-stainless-retry-count, x-stainless-runtime,"
    b" x-stainless-runtime-version, x-stainless-timeout\r\n"
    b"access-control-max-age: 600\r\n"
)
_CORS_EXPOSED: Final = (
    b"access-control-expose-headers: x-request-id, x-tieline-continuity, x-tieline-cost-usd, retry-after,"
    b" x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests,"
    b" x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens\r\n"
)
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class _Fields:
    """What inference reads of a head."""

    kind: Kind
    account: KeyAccount
    continuity: bytes | None
    idempotency: bytes | None
    trace: bytes
    client_s: float | None  # how long the client says it waits
    surface: str = ""  # another form of a chat
    content_type: bytes | None = None  # of sound and pictures


class Paths:
    """The routes of one process."""

    def __init__(self, svc: Service, batch_api: BatchApi, admin: Admin, surfaces: Surfaces) -> None:
        self.svc, self.batch_api, self.admin, self.surfaces = svc, batch_api, admin, surfaces
        self._openapi = openapi.document()
        self.repeats = Repeats(svc)

    def route(self, connection: ClientConnection, head: RequestHead, body: bytes) -> None:
        """Called once for every framed request."""
        read = head.read
        if type(read) is _Fields:  # the same head as before on this connection means the same
            connection.wording = messages.error_body if read.surface == "messages" else None
            connection.tenant = read.account.tenant.id
            self._infer(connection, read, body)
            return
        path, connection.tenant = head.path, ""
        connection.wording = messages.error_body if path.startswith("/v1/messages") else None
        if not self._may_call(connection, head, path):
            return
        kind = _INFERENCE.get(path)
        if kind is not None and head.method == "POST":
            fields = self._identify(connection, head, kind)
            if fields is not None:
                if fields.account.key.expires is None and not connection.extra:
                    head.read = fields
                self._infer(connection, fields, body)
        elif head.method == "OPTIONS":
            connection.answer(204, _CORS_HEADERS if connection.extra else b"allow: GET, POST, OPTIONS\r\n", b"")
        elif kind is not None:
            self._wrong_method(connection, head, b"POST")
        else:
            self._aside(connection, head, path, body)

    def _may_call(self, connection: ClientConnection, head: RequestHead, path: str) -> bool:
        """May this page, or whatever it is, call this path? Its answer says so to a browser."""
        svc = self.svc
        origin = head.get(b"origin:")
        refusal = origins.refusal(
            head.get(b"host:"), origin, svc.origins, svc.settings.hosts,
            open_door=svc.book.open is not None, admin=path.startswith("/admin"),
        )  # fmt: skip
        if refusal is not None:
            connection.refuse(refusal)
        elif origin is not None and origin in svc.origins:
            connection.extra = b"access-control-allow-origin: %b\r\nvary: origin\r\n%b" % (origin, _CORS_EXPOSED)
        return refusal is None

    def _aside(self, connection: ClientConnection, head: RequestHead, path: str, body: bytes) -> None:
        """Whatever is no inference."""
        if path == COUNT or self.surfaces.handles(path):
            self._surface(connection, head, body)
        elif path.startswith("/admin/"):
            self.admin.handle(connection, head, body)
        elif path in _READ or path in reading.PATHS or path.startswith("/v1/models/"):
            if head.method not in ("GET", "HEAD"):
                self._wrong_method(connection, head, b"GET")
            elif path in reading.PATHS:
                self.admin.reading.handle(connection, head)
            else:
                self._read(connection, head, path)
        elif self.batch_api.handles(path):
            self.batch_api.handle(connection, head, body)
        else:
            connection.refuse(errors.not_found(path))

    def _wrong_method(self, connection: ClientConnection, head: RequestHead, allowed: bytes) -> None:
        refusal = Refusal(405, f"{head.method} is not offered here; use {allowed.decode()}", "method_not_allowed")
        self.svc.stats.refuse(refusal.code, connection.tenant)
        connection.answer(405, refusal.headers() + b"allow: " + allowed + b"\r\n", refusal.body())

    def _surface(self, connection: ClientConnection, head: RequestHead, body: bytes) -> None:
        """What is kept of responses and conversations, and the tokens of a message."""
        fields = self._identify(connection, head, "chat")
        if fields is None:
            return
        if head.path != COUNT:
            self.surfaces.handle(connection, head, body, fields.account)
        elif head.method == "POST":
            connection.run(self.surfaces.count(connection, fields.account, body))
        else:
            self._wrong_method(connection, head, b"POST")

    # --- inference ------------------------------------------------------------

    def _identify(self, connection: ClientConnection, head: RequestHead, kind: Kind) -> _Fields | None:
        """Who asks, and what the head says of how; None: refused."""
        svc = self.svc
        shown = presented_key(head)
        account = svc.book.identify(shown, connection.peer, svc.clock.now())
        if isinstance(account, Refusal):
            connection.tenant = svc.book.tenant_of(shown)
            connection.refuse(account)
            return None
        connection.tenant = account.tenant.id
        if account.key.role == "billing":
            connection.refuse(Refusal(403, "a key with role 'billing' reads usage only", "role_not_allowed"))
            return None
        if (coding := head.get(b"content-encoding:")) is not None and coding.lower() != b"identity":
            connection.refuse(Refusal(415, "send the body without a content coding", "unsupported_content_encoding"))
            return None
        trace = head.get(b"traceparent:")
        return _Fields(
            kind, account, head.get(b"x-tieline-continuity:"), head.get(b"idempotency-key:"),
            b"traceparent: %b\r\n" % trace if trace is not None and len(trace) <= 128 else b"",
            _seconds(head.get(b"x-stainless-timeout:")), SURFACES.get(head.path, ""),
            head.get(b"content-type:") if kind in asked.FORMS else None,
        )  # fmt: skip

    def _infer(self, connection: ClientConnection, fields: _Fields, body: bytes, call: Call | None = None) -> None:
        """`call`: under an Idempotency-Key, and nobody else makes it."""
        account = fields.account
        if fields.surface:
            request = self.surfaces.request(fields.surface, connection, account, body, fields.continuity)
        elif fields.kind in asked.FORMS:
            request = asked.read(fields.kind, body, fields.content_type)
        else:
            request = bodies.read(fields.kind, body, fields.continuity)
        offer = request if isinstance(request, Refusal) else self._offered(account, request)
        if isinstance(request, Refusal) or isinstance(offer, Refusal):
            assert isinstance(offer, Refusal)
            if offer.status in BAD:
                self.svc.shared.refused.standings.bad(account.tenant.id, self.svc.loop.time())
            self._refuse(connection, offer, call)
            return
        if not request.stream and fields.idempotency and call is None:
            again = partial(self._infer, connection, fields, body)
            same = asked.comparable(body, fields.content_type) if fields.content_type else body
            call = self.repeats.begin(connection, account.key.id, fields.idempotency, same, again)
            if call is None:
                return
        try:
            self._admit(connection, fields, request, offer, call)
        except Exception:
            if call is not None:
                call.cancel()  # who waits for this call's answer makes it anew
            raise

    def _offered(self, account: KeyAccount, request: Request) -> ModelOffer | Refusal:
        """The model that answers, which the request is for from now on."""
        svc = self.svc
        offer = svc.models.get(request.model) or svc.offer(request.model)
        if offer is None or (account.models and offer.name not in account.models):
            return errors.unknown_model(request.model)
        if offer.fallbacks and (other := svc.stand_in(offer, account.models)) is not None:
            offer = other
            request.model, request.fields["model"] = other.name, msgspec.Raw(_encode(other.name))
        if svc.closed or svc.meter.failing is not None:
            return Refusal(503, "this gateway is stopping or cannot write", "unavailable", retry_after_s=1)
        beyond = request.beyond(offer) if request.strange or request.media else None
        return beyond or offer

    def _admit(
        self, connection: ClientConnection, fields: _Fields, request: Request, offer: ModelOffer, call: Call | None
    ) -> None:
        svc, account = self.svc, fields.account
        admitted = svc.book.admit(account, offer, request.ask(offer), svc.loop.time())
        if account.rated:
            connection.extra += limit_headers(account, svc.loop.time())
        if isinstance(admitted, Refusal):
            self._refuse(connection, admitted, call)
        elif isinstance(admitted, Short):
            connection.run(self._lease(connection, fields, request, admitted, call))
        else:
            self._start(connection, fields, request, offer, admitted, call)

    @staticmethod
    def _refuse(connection: ClientConnection, refusal: Refusal, call: Call | None) -> None:
        connection.refuse(refusal)
        if call is not None:
            call.cancel()

    async def _lease(
        self, connection: ClientConnection, fields: _Fields, request: Request, short: Short, call: Call | None
    ) -> None:
        try:
            await self._after_lease(connection, fields, request, short, call)
        except Exception:
            if call is not None:
                call.cancel()
            raise

    async def _after_lease(
        self, connection: ClientConnection, fields: _Fields, request: Request, short: Short, call: Call | None
    ) -> None:
        """One call to the coordinator, then admission once more."""
        svc = self.svc
        offer = svc.offer(request.model)
        if offer is None:  # taken off offer meanwhile
            self._refuse(connection, errors.unknown_model(request.model), call)
            return
        outcome: Admitted | Short | Refusal = short
        for _ in range(3):
            assert isinstance(outcome, Short)
            granted = await svc.lease(outcome)
            if connection.transport is None:
                if call is not None:
                    call.cancel()
                return
            if isinstance(granted, Refusal):
                self._refuse(connection, granted, call)
                return
            outcome = svc.book.admit(fields.account, offer, request.ask(offer), svc.loop.time(), granted)
            if not isinstance(outcome, Short):
                break
        if isinstance(outcome, Admitted):
            self._start(connection, fields, request, offer, outcome, call)
        elif isinstance(outcome, Refusal):
            self._refuse(connection, outcome, call)
        else:
            busy = Refusal(503, "the budget is being shared out; try again", "budget_busy", retry_after_s=1)
            self._refuse(connection, busy, call)

    def _start(
        self,
        connection: ClientConnection,
        fields: _Fields,
        request: Request,
        offer: ModelOffer,
        admitted: Admitted,
        call: Call | None,
    ) -> None:
        svc = self.svc
        client: Client = connection if request.client is None else request.client
        exchange = Exchange.of(admitted, request, offer, connection.request_id, client, svc, svc.shared)
        if fields.trace:
            exchange.trace = fields.trace
        if fields.client_s is not None:
            exchange.state.client_s = fields.client_s
        if call is not None:
            exchange.idempotency = call
        connection.exchange = exchange
        exchange.begin()

    # --- reading ------------------------------------------------------------------

    def _read(self, connection: ClientConnection, head: RequestHead, path: str) -> None:
        svc = self.svc
        head_only = head.method == "HEAD"
        if path in _HEALTH:
            status, health = self._health(path)
            connection.answer(status, JSON_HEADERS, _encode(health), head_only=head_only)
            return
        if path == "/openapi.json":
            connection.answer(200, JSON_HEADERS, self._openapi, head_only=head_only)
            return
        if path == "/metrics":
            text = svc.stats.text(svc, tenants=self.admin.reads_all(head, connection.peer))
            connection.answer(
                200, b"content-type: text/plain; version=0.0.4; charset=utf-8\r\n", text, head_only=head_only
            )
            return
        account = svc.book.identify(presented_key(head), connection.peer, svc.clock.now())
        if isinstance(account, Refusal):
            connection.refuse(account)
            return
        models = [entry for name, entry in self._models().items() if not account.models or name in account.models]
        if path == "/v1/models":
            connection.answer(200, JSON_HEADERS, _encode({"object": "list", "data": models}), head_only=head_only)
            return
        name = path.removeprefix("/v1/models/")
        for entry in models:
            if entry["id"] == name:
                connection.answer(200, JSON_HEADERS, _encode(entry), head_only=head_only)
                return
        connection.refuse(errors.unknown_model(name))

    def _health(self, path: str) -> tuple[int, dict[str, object]]:
        """For balancers, and for whoever sends users to the nearest region."""
        svc, region = self.svc, self.svc.settings.region
        regions = {one.region for one in svc.backends.values() if one.state is State.READY and not svc.draining}
        ready = bool(regions)
        here = ready and (not region or not regions.isdisjoint(("", region)))
        troubles = svc.troubles()
        health: dict[str, object] = {
            "ok": not (svc.draining or troubles),
            # Balancers look for this word alone, whatever the status: who stops is left out.
            "ready": ready,
            "region": region,
            "ready_in_region": here,
            "draining": svc.draining,
            "troubles": len(troubles),
            "ignored": sum(svc.ignored().values()),
            "replicas": svc.table.shown(brief=True),
        }
        # A balancer takes out who says 503: a gateway with a sick task of another kind goes on serving.
        out = svc.draining or (path == _READY and not ready) or (path == _READY_HERE and not here)
        return (503 if out else 200), health

    def _models(self) -> dict[str, dict[str, object]]:
        svc = self.svc
        names = dict.fromkeys(model.name for model in svc.settings.models)
        if svc.any_model:
            names = dict.fromkeys(sorted({name for b in svc.backends.values() for name in b.models}))
        models: dict[str, dict[str, object]] = {}
        for name in names:
            offer = svc.models.get(name)
            serving = [b for b in svc.backends.values() if name in b.models and b.state is State.READY]
            label = (offer.label if offer is not None else "") or next((b.label for b in serving if b.label), "")
            models[name] = {
                "id": name,
                "object": "model",
                "created": 0,
                "owned_by": "tieline",
                "replicas": len(serving),
            }
            if label:
                models[name]["description"] = label
        return models


def _seconds(text: bytes | None) -> float | None:
    """A client's own limit; what is no number of seconds says nothing."""
    if text is None or len(text) > 16 or not text.replace(b".", b"", 1).isdigit():
        return None
    return float(text) or None

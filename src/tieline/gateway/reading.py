"""What a tenant may read of itself: usage, limits and what is left of them, prices. `/v1/usage`, `/v1/limits`,
`/v1/prices`, each for the key that asks; the operator reads the usage of any tenant under /admin.
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs

import msgspec

from tieline.gateway.budgets.admit import KeyAccount, Scope
from tieline.gateway.errors import Refusal, bad_request
from tieline.gateway.metering import history
from tieline.gateway.service import Service
from tieline.gateway.settings import NANO_PER_USD, ModelOffer
from tieline.gateway.wire.client import ClientConnection
from tieline.gateway.wire.http1 import JSON_HEADERS, RequestHead, presented_key
from tieline.store import StoreError

PATHS: Final = ("/v1/usage", "/v1/limits", "/v1/prices")

_encode: Final = msgspec.json.Encoder().encode


class Csv(msgspec.Struct):
    """Usage as a table: all of it, in one file."""

    text: bytes

    HEADERS: ClassVar[bytes] = b"content-type: text/csv; charset=utf-8\r\n"


class TenantReading:
    """One per process; `folders` are those of all processes of this gateway."""

    def __init__(self, svc: Service, folders: Callable[[], list[Path]]) -> None:
        self.svc, self.folders = svc, folders

    def handle(self, connection: ClientConnection, head: RequestHead) -> None:
        """Called for every framed GET of PATHS."""
        account = self.svc.book.identify(presented_key(head), connection.peer, self.svc.clock.now())
        if isinstance(account, Refusal):
            connection.refuse(account)
        else:
            connection.run(self._answer(connection, head, account))

    async def _answer(self, connection: ClientConnection, head: RequestHead, account: KeyAccount) -> None:
        number = connection.request_id
        content: dict[str, Any] | Csv | Refusal
        try:
            if head.path == "/v1/limits":
                content = {"data": [self._limits(scope) for scope in account.scopes]}
            elif head.path == "/v1/prices":
                content = {"data": self._prices(account)}
            else:
                query = {
                    key: values[-1]
                    for key, values in parse_qs(head.target.partition("?")[2], keep_blank_values=True).items()
                }
                # A user's key reads what its project used, one for billing or an admin's all of its tenant's.
                project = account.key.project if account.key.role == "user" else None
                content = await self.usage(account.tenant.id, query, project)
        except StoreError as error:
            self.svc.log.error("%s", error)
            content = Refusal(503, "this cannot be read now", "unavailable", retry_after_s=5)
        if connection.transport is None or connection.request_id != number:
            return
        head_only = head.method == "HEAD"
        if isinstance(content, Refusal):
            connection.refuse(content)
        elif isinstance(content, Csv):
            connection.answer(200, Csv.HEADERS, content.text, head_only=head_only)
        else:
            connection.answer(200, JSON_HEADERS, _encode(content), head_only=head_only)

    async def usage(
        self, tenant: str, query: dict[str, str], project: str | None = None
    ) -> dict[str, Any] | Csv | Refusal:
        """By project, key and model: a page of it, and the sum of all. Raises StoreError."""
        now = self.svc.clock.now()
        since = _time(query, "since", now.replace(day=1, hour=0, minute=0, second=0, microsecond=0))
        until = _time(query, "until", now)
        limit = limit_of(query)
        form = query.get("format", "json")
        if form not in ("json", "csv"):
            return bad_request("format must be json or csv", "invalid_value", "format")
        for one in (since, until, limit):
            if isinstance(one, Refusal):
                return one
        assert isinstance(since, datetime)
        assert isinstance(until, datetime)
        assert isinstance(limit, int)
        await asyncio.to_thread(self.svc.spool.totals)  # it sees all that was put before: what is used is on disk
        usage = await asyncio.to_thread(lambda: history.usage(self.folders(), tenant, since, until, now))
        if isinstance(usage, Refusal):
            return usage
        lines = [line for line in usage.lines if project is None or line.project == project]
        if form == "csv":
            return Csv(_table(lines))
        page, more = history.page(lines, query.get("after", ""), limit)
        return {
            "tenant": tenant,
            "since": since,
            "until": until,
            "complete_since": usage.complete_since,
            "total": {one: sum(getattr(line, one) for line in lines) for one in history.NUMBERS},
            "data": page,
            "has_more": more is not None,
            "next": more,
        }

    def _limits(self, scope: Scope) -> dict[str, Any]:
        """One scope's limits and what is left now; None: no such limit, or shared out over several processes, so
        that none of them knows."""
        now = self.svc.loop.time()
        shared = {share.kind for share in scope.shares}
        limits: dict[str, Any] = {"scope": scope.id}
        for name, bucket in (("requests", scope.requests), ("tokens", scope.tokens)):
            if bucket is not None:
                bucket.refill(now)
                left = None if name in shared else max(0, int(bucket.level))
                limits[f"{name}_per_minute"] = {"limit": bucket.per_minute, "remaining": left}
        if scope.concurrent is not None:
            left = None if shared else max(0, scope.concurrent - len(scope.live))
            limits["concurrent"] = {"limit": scope.concurrent, "remaining": left}
        if scope.budget is not None:
            budget = scope.budget
            limit = None if budget.leased else _usd(budget.granted)
            left_usd = None if budget.leased else _usd(max(0, budget.free))
            limits["budget_usd"] = {"limit": limit, "remaining": left_usd, "period": scope.period}
        return limits

    def _prices(self, account: KeyAccount) -> list[dict[str, Any]]:
        """USD per million tokens, or per unit, now, and what is already known of later."""
        now = self.svc.clock.now()
        prices = []
        for model in self.svc.settings.models:
            if account.models and model.name not in account.models:
                continue
            offer = self.svc.models[model.name]
            later = sorted((one for one in model.tariffs if one.since > now), key=lambda one: one.since)
            prices.append(
                {
                    "model": model.name,
                    "aliases": model.aliases,
                    "fallbacks": model.fallbacks,
                    **_price(offer),
                    "later": later,
                }
            )
        return prices


def limit_of(query: dict[str, str]) -> int | Refusal:
    given = query.get("limit", str(history.MAX_PAGE))
    if not (given.isascii() and given.isdigit() and 1 <= int(given[:9]) <= history.MAX_PAGE):
        return bad_request(f"limit must be 1 to {history.MAX_PAGE}", "invalid_value", "limit")
    return int(given)


def _time(query: dict[str, str], name: str, otherwise: datetime) -> datetime | Refusal:
    if name not in query:
        return otherwise
    try:
        moment = datetime.fromisoformat(query[name])
    except ValueError:
        return bad_request(f"{name} must be a time such as 2026-12-01T00:00:00Z", "invalid_value", name)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _usd(nano: int) -> str:
    return f"{Decimal(nano) / NANO_PER_USD:f}"


def _price(offer: ModelOffer) -> dict[str, Any]:
    if offer.unit:
        return {"unit": offer.unit, "usd_per_unit": _usd(offer.input_nano)}
    return {
        "input_usd_per_mtok": _per_mtok(offer.input_nano),
        "cached_usd_per_mtok": _per_mtok(offer.cached_nano),
        "output_usd_per_mtok": _per_mtok(offer.output_nano),
    }


def _per_mtok(nano_per_token: int) -> str:
    return f"{Decimal(nano_per_token) / 1000:f}"


def _table(lines: list[history.UsageLine]) -> bytes:
    """Cells that a spreadsheet would take for a formula begin with an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(history.UsageLine.__struct_fields__)
    for line in lines:
        cells = [getattr(line, name) for name in history.UsageLine.__struct_fields__]
        writer.writerow([f"'{one}" if isinstance(one, str) and one[:1] in "=+-@" else one for one in cells])
    return out.getvalue().encode()

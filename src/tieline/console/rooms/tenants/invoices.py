"""A tenant's invoices: as a page, as CSV and as PDF, each line opening to the records it is the sum of.

What is told is the record of the invoice as it was issued. A line's requests are read from the store, a page at a time,
and never summed anew here: the page says how much of the line it has shown so far.
"""

from __future__ import annotations

import asyncio
import csv
import io
import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from tieline.books import month_span
from tieline.books.invoicing.fold import rented_name
from tieline.books.invoicing.form import form_of
from tieline.books.invoicing.pdf import NoTypesetterError, can_print, pdf_of
from tieline.console.events import Hub
from tieline.console.forms import answer, failed
from tieline.console.rooms.tenants.keys import NotTheirsError
from tieline.console.rooms.tenants.spend import usd
from tieline.people import Account
from tieline.records import Issued, IssuedLine, Reserved

Json = dict[str, Any]
# Books are kept for ten years where that is the law.
ISSUED_FOR: Final = timedelta(days=3_660)
# Rented hours of a month that one line opens to: a month of 40 rentals.
MOST_HOURS: Final = 30_000
_FILE: Final = re.compile(r"[^A-Za-z0-9._-]")


class TenantInvoices:
    """The handlers; whose invoices they are, the portal says."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    async def listed(self, request: Request, account: Account) -> Response:
        """Those that were issued, the newest first."""
        rows = [
            {"number": one.number, "month": one.month, "at": one.at.timestamp(), "usd": str(_total(one))}
            for one in await self._issued(account)
        ]
        return answer({"invoices": rows, "pdf": can_print()})

    async def one(self, request: Request, account: Account) -> Response:
        """One of them as it is printed, its lines with what they are sums of."""
        issued = await self._named(request, account)
        form, (start, end) = form_of(issued), month_span(issued.month)
        pairs = zip(issued.lines, form.lines, strict=True)
        return answer(
            {
                **{name: getattr(form, name) for name in ("number", "month", "due", "simulated", "seller", "buyer")},
                **{name: getattr(form, name) for name in ("net_usd", "tax_usd", "total_usd")},
                "at": issued.at.timestamp(),
                "since": start.isoformat(),
                "until": end.isoformat(),
                "pdf": can_print(),
                "lines": [_line(line, words.what, words.detail, words.usd) for line, words in pairs],
            }
        )

    async def as_csv(self, request: Request, account: Account) -> Response:
        """Line by line, each with its exact sum."""
        issued = await self._named(request, account)
        return _file(invoice_csv(issued).encode(), "text/csv; charset=utf-8", issued.number, "csv")

    async def as_pdf(self, request: Request, account: Account) -> Response:
        issued = await self._named(request, account)
        try:
            body = await asyncio.to_thread(pdf_of, issued)
        except NoTypesetterError:
            return failed(501, "this platform makes no PDF; the CSV and the printed page say the same")
        return _file(body, "application/pdf", issued.number, "pdf")

    async def hours(self, request: Request, account: Account) -> Response:
        """Rented hours that a line of a month is the sum of, oldest first. `line`: the line's model."""
        issued = await self._named(request, account)
        name = request.query_params.get("line", "")
        start, end = month_span(issued.month)
        found: list[Reserved] = await self.hub.read(
            lambda store: list(_rented(store.each(Reserved, start, end, subject=account.tenant), name))
        )
        shown = [
            {
                "at": one.at.timestamp(),
                "replicas": one.replicas,
                "provided_s": one.provided_s,
                "usd_per_replica_hour": str(one.usd_per_replica_hour),
                "usd": usd(one.cost_nano_usd),
            }
            for one in found[:MOST_HOURS]
        ]
        return answer({"hours": shown, "more": max(0, len(found) - MOST_HOURS)})

    async def _issued(self, account: Account) -> list[Issued]:
        """Of this tenant, as each number was told last. Raises StoreError."""
        end = self.hub.clock.now() + timedelta(days=1)
        issued = await self.hub.read(lambda s: list(s.each(Issued, end - ISSUED_FOR, end, subject=account.tenant)))
        by_number = {one.number: one for one in sorted(issued, key=lambda one: one.known_at)}
        return sorted(by_number.values(), key=lambda one: (one.month, one.number), reverse=True)

    async def _named(self, request: Request, account: Account) -> Issued:
        """Raises NotTheirsError."""
        number = request.path_params["number"]
        one = next((one for one in await self._issued(account) if one.number == number), None)
        if one is None:
            raise NotTheirsError("invoice", number)
        return one


def _rented(hours: Iterator[Reserved], name: str) -> Iterator[Reserved]:
    """Those of a line, by the name that an invoice gives it."""
    return (one for one in hours if rented_name(one.model, one.region) == name)


def _line(line: IssuedLine, what: str, detail: str, amount: str) -> Json:
    return {
        "kind": line.kind,
        "what": what,
        "detail": detail,
        "project": line.project,
        "model": line.model,
        "requests": line.requests,
        "exact_usd": usd(line.nano_usd) if line.nano_usd else None,
        "usd": amount,
    }


def _total(one: Issued) -> Decimal:
    return sum((line.amount_usd for line in one.lines), Decimal(0))


def _file(body: bytes, media: str, number: str, ending: str) -> Response:
    name = f"invoice-{_FILE.sub('-', number)}.{ending}"
    return Response(body, media_type=media, headers={"content-disposition": f'attachment; filename="{name}"'})


_HEADS: Final = (
    "invoice", "month", "kind", "text", "project", "model", "requests", "prompt_tokens", "output_tokens", "replica_s",
    "unit", "units", "exact_usd", "amount_usd",
)  # fmt: skip


def invoice_csv(one: Issued) -> str:
    """Head and lines; a cell that a spreadsheet would take for a formula is text."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(_HEADS)
    for line in one.lines:
        words = (line.kind, line.text, line.project, line.model)
        names = [f"'{text}" if text and text[0] in "=+-@" else text for text in words]
        counts = [line.requests, line.prompt_tokens, line.output_tokens, line.replica_s, line.unit, line.units]
        writer.writerow([one.number, one.month, *names, *counts, usd(line.nano_usd), line.amount_usd])
    return out.getvalue()

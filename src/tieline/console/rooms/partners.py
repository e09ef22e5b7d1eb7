"""A partner's own pages: its sites and statements, `/partner` and `/api/partner`.

Whose they are is said by the account that is signed in, never by the request. Another's site or payout is answered as
one that does not exist.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from tieline.books import month_of
from tieline.books.reports.partner import PartnerLine, PartnerStatement
from tieline.books.reports.partner_page import records_page, statement_page
from tieline.console.door import Handler, Row
from tieline.console.events import Hub
from tieline.console.forms import answer, failed
from tieline.fleet import Partner
from tieline.people import Account, Right
from tieline.settlement.partners import LINES, LineOpened, opened, partner_statement
from tieline.store import StoreError

Json = dict[str, Any]
# A month is read whole: the same one again only after so long.
FRESH_S: Final = 60.0
# Months that lead on from the page, and rows that a page of records shows.
MONTHS, MOST_ROWS = 13, 5_000
# The page's own style and nothing else; it runs nothing.
HEADERS: Final = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"}


class PartnerRoom:
    """The handlers of one console."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._made: dict[tuple[str, str], tuple[float, PartnerStatement]] = {}
        self._reading = asyncio.Lock()

    def rows(self) -> list[Row]:
        """Path, method, the right it needs, handler."""
        see = Right.PARTNER_SEE
        return [
            ("/partner", "GET", see, self._own(self.page)),
            ("/partner/records", "GET", see, self._own(self.records_page)),
            ("/api/partner/sites", "GET", see, self._own(self.sites)),
            ("/api/partner/statement", "GET", see, self._own(self.statement)),
            ("/api/partner/records", "GET", see, self._own(self.records)),
        ]

    async def page(self, request: Request, partner: Partner) -> Response:
        made = await self._statement(request, partner)
        months, month = [], month_of(self.hub.clock.now())
        for _ in range(MONTHS):
            months.append(month)
            first = datetime.fromisoformat(f"{month}-01")
            month = f"{first - timedelta(days=1):%Y-%m}"
        own = [site for site in self.hub.fleet.sites if site.id in partner.sites]
        return HTMLResponse(statement_page(made, months, own, _asks(partner)), headers=HEADERS)

    async def sites(self, request: Request, partner: Partner) -> Response:
        own = [site for site in self.hub.fleet.sites if site.id in partner.sites]
        shown = [
            {
                "id": site.id,
                "name": site.name,
                "region": site.region,
                "mode": site.mode,
                "limit_w": site.interconnect.limit_w,
            }
            for site in own
        ]
        return answer({"partner": partner.id, "name": partner.name, "asks": _asks(partner), "sites": shown})

    async def statement(self, request: Request, partner: Partner) -> Response:
        made = await self._statement(request, partner)
        return answer(
            {
                "partner": made.partner, "month": made.month, "simulated": made.simulated, "sites": made.sites,
                "mining_share": str(made.mining_share), "inference_share": str(made.inference_share),
                "mining_sats": made.total("mining"), "mining_part_sats": made.part("mining"),
                "inference_nano_usd": made.total("inference"), "inference_part_nano_usd": made.part("inference"),
                "energy_wh": str(made.total("energy")), "hashes": str(made.total("hashes")), "tokens": made.tokens,
                "heard_s": made.heard_s, "elapsed_s": made.total("elapsed"), "fault_wh": made.total("faults"),
                "lines": [_line(line) for line in made.lines],
            }
        )  # fmt: skip

    async def records(self, request: Request, partner: Partner) -> Response:
        return answer({"records": await self._rows(request, partner)})

    async def records_page(self, request: Request, partner: Partner) -> Response:
        asked, rows = request.query_params, await self._rows(request, partner)
        title = f"{asked['what']}, {asked['site']}, {asked.get('payout') or asked.get('day', '')}"
        return HTMLResponse(records_page(title, f"/partner?month={asked['month']}", rows), headers=HEADERS)

    async def _statement(self, request: Request, partner: Partner) -> PartnerStatement:
        now = self.hub.clock.now()
        month = request.query_params.get("month", month_of(now))
        async with self._reading:
            at = asyncio.get_running_loop().time()
            known = self._made.get((partner.id, month))
            if known is None or at - known[0] > FRESH_S:
                made = await self.hub.read(lambda s: partner_statement(s, self.hub.fleet, partner, month, now))
                if len(self._made) > 100:
                    self._made.clear()
                known = self._made[partner.id, month] = (at, made)
        return known[1]

    async def _rows(self, request: Request, partner: Partner) -> list[Json]:
        asked = request.query_params
        what, site, day = asked.get("what", ""), asked.get("site", ""), asked.get("day")
        if what not in LINES or site not in partner.sites or "month" not in asked:
            raise LookupError(site)
        of = LineOpened(what, site, None if day is None else date.fromisoformat(day), asked.get("payout", ""))
        rows = await self.hub.read(lambda s: list(_some(opened(s, of, asked["month"]))))
        if len(rows) > MOST_ROWS:
            raise ValueError(f"more than {MOST_ROWS:,} records: take them from `tieline books partner --open`")
        return rows

    def _own(self, handler: Callable[[Request, Partner], Awaitable[Response]]) -> Handler:
        """The handler, about the organisation of who is signed in, and no other."""

        async def ask(request: Request) -> Response:
            account: Account | None = request.state.account
            of = "" if account is None else account.partner
            partner = next((one for one in self.hub.fleet.partners if one.id == of), None)
            if not of or partner is None:
                return failed(404, "there is nothing here")
            try:
                return await handler(request, partner)
            except LookupError:
                return failed(404, "there is nothing here")
            except ValueError as error:
                return failed(400, str(error))
            except StoreError as error:
                return failed(503, str(error))

        return ask


def _some(rows: Any) -> Any:
    """At most one more than are shown."""
    for number, row in enumerate(rows):
        yield row
        if number >= MOST_ROWS:
            return


def _line(line: PartnerLine) -> Json:
    """Numbers that a browser would round are text."""
    plain = asdict(line)
    return {**plain, "amount": str(line.amount), "day": None if line.day is None else str(line.day)}


def _asks(partner: Partner) -> list[str]:
    floor = partner.floor_usd_per_mwh
    return [
        "no floor price" if floor is None else f"floor price {floor:g} USD/MWh",
        f"open {partner.asks}" if partner.hours is not None else "open all day",
    ]

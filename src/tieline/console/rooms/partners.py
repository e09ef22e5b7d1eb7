"""A partner's own pages: its sites and statements, `/partner` and `/api/partner`.

Its people set its floor price and its hours there; each change is on record with who made it and when, and dispatch
keeps it from its next interval on. Whose they are is said by the account that is signed in, never by the request.
Another's site or payout is answered as one that does not exist.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from tieline.books import month_of, month_span
from tieline.books.reports.partner import PartnerLine, PartnerStatement
from tieline.books.reports.partner_page import SCRIPT_DIGEST, StandingAsk, records_page, statement_page
from tieline.console.door import Handler, Row
from tieline.console.events import Hub
from tieline.console.forms import answer, failed, read_form
from tieline.console.rooms import operator
from tieline.fleet import Partner
from tieline.fleet.partners import hours_of
from tieline.link import LinkDownError
from tieline.people import Account, Right
from tieline.records import AnyRecord, PartnerAsk
from tieline.settlement.partners import LINES, LineOpened, opened, partner_statement
from tieline.settlement.rolled import DAY, SumsOfSpans
from tieline.store import Store, StoreError

Json = dict[str, Any]
# A month is read whole: the same one again only after so long.
FRESH_S: Final = 60.0
# Months that lead on from the page, and rows that a page of records shows.
MONTHS, MOST_ROWS = 13, 5_000
# The page's own style and its one script, by its digest, and nothing else.
HEADERS: Final = {
    "content-security-policy": f"default-src 'none'; style-src 'unsafe-inline'; script-src '{SCRIPT_DIGEST}'; "
    "connect-src 'self'; form-action 'none'; frame-ancestors 'none'"
}
# A floor below nothing would be none; above the dearest hour of any market it would shut the sites, which hours do.
LEAST_USD, MOST_USD = 0, 5_000
# Changes that one organisation makes in a day, and how many of them its page shows.
MOST_A_DAY, SHOWN = 50, 10
EVER: Final = datetime.min.replace(tzinfo=UTC)
SOON: Final = timedelta(days=1)


class AskForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`floor_usd_per_mwh` None: none. `hours`: of the day in UTC, as "06-22"; "": all day."""

    floor_usd_per_mwh: float | None
    hours: str


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
            ("/api/partner/asks", "POST", Right.PARTNER_ASK, self._own(self.ask)),
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
        asked = await self._asked(partner)
        shown = StandingAsk(partner_asking(partner, asked), asked[-SHOWN:][::-1], LEAST_USD, MOST_USD)
        return HTMLResponse(statement_page(made, months, own, shown), headers=HEADERS)

    async def ask(self, request: Request, partner: Partner) -> Response:
        """From now on, another floor price and other hours. What is asked is what stands: each change is whole."""
        account: Account = request.state.account
        if self.hub.link is None:
            return failed(503, "this console has no link to the core: it shows, but records nothing")
        form = await read_form(request, AskForm)
        hours, floor = hours_of(form.hours), form.floor_usd_per_mwh
        if floor is not None and not LEAST_USD <= floor <= MOST_USD:
            raise ValueError(f"floor_usd_per_mwh: {floor:g} USD/MWh; give {LEAST_USD} to {MOST_USD:,}, or none")
        now = self.hub.clock.now()
        earlier = await self._asked(partner)
        if sum(one.known_at > now - timedelta(days=1) for one in earlier) >= MOST_A_DAY:
            return failed(429, f"{MOST_A_DAY} changes in a day are the most; ask the operator, or tomorrow")
        after = msgspec.structs.replace(partner, floor_usd_per_mwh=floor, hours=hours)
        asked = PartnerAsk(
            at=now,
            known_at=now,
            source="console",
            kind="measured",
            partner=partner.id,
            floor_usd_per_mwh=floor,
            hours=after.span,
            by=account.id,
        )
        batch: list[AnyRecord] = [
            asked,
            operator.action(now, account.id, "partner asks", partner.id, "; ".join(_asks(after))),
        ]
        try:
            ack = await operator.send(self.hub.link, batch)
        except LinkDownError as error:
            return failed(503, f"not recorded: the core does not answer ({error}); try again")
        if ack.error is not None or ack.refused:
            return failed(503, f"not recorded: {ack.error or 'the core set it aside'}")
        return answer({"asks": _asks(after), "since": now.isoformat(), "by": account.id})

    async def _asked(self, partner: Partner) -> list[PartnerAsk]:
        """What its people have asked so far, in order."""
        now = self.hub.clock.now()
        return await self.hub.read(lambda s: s.between(PartnerAsk, EVER, now + SOON, subject=partner.id))

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
        asks = _asks(partner_asking(partner, await self._asked(partner)))
        return answer({"partner": partner.id, "name": partner.name, "asks": asks, "sites": shown})

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
                sums = await self._sums(*month_span(month), now)
                made = await self.hub.read(
                    lambda s: partner_statement(s, self.hub.fleet, partner, month, now, sums=sums)
                )
                if len(self._made) > 100:
                    self._made.clear()
                known = self._made[partner.id, month] = (at, made)
        return known[1]

    async def _sums(self, start: datetime, end: datetime, now: datetime) -> SumsOfSpans:
        """Those that are kept, where they hold every record; else each day's is read of the records, with others who
        read let in between."""
        sums = await self.hub.read(lambda s: SumsOfSpans(s, self.hub.kept(s)))
        while not sums.kept and start < min(end, now):
            until = min(end, start + DAY)
            await self.hub.read(partial(_read_day, sums, start, until))
            start = until
        return sums

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


def _read_day(sums: SumsOfSpans, start: datetime, end: datetime, store: Store) -> None:
    """From then on it is known; `store` is held meanwhile."""
    sums.of_sites(start, end)


def partner_asking(partner: Partner, asked: Sequence[PartnerAsk]) -> Partner:
    """With what its people asked last in place of what its configuration says."""
    if not asked:
        return partner
    last = asked[-1]
    return msgspec.structs.replace(partner, floor_usd_per_mwh=last.floor_usd_per_mwh, hours=hours_of(last.hours))


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

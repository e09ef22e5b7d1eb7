"""The pages of money: what is held and owed at a price, the books entry by entry, and the month as it is published.

Read with the store, one reading at a time: the books are kept up by the same readings. Nothing is entered here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import partial
from itertools import islice
from typing import Any

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from tieline.books import Bookkeeper, month_of, month_span
from tieline.books.accounts import TRADING_USD
from tieline.books.release import ReleasePolicy, shown, title
from tieline.books.reports.opened import EntrySelection, opened_in, opened_newest, opened_sums
from tieline.books.reports.statement import statement_of
from tieline.books.treasury.cash import cash_view
from tieline.books.treasury.ladder import AskedError, Holding, asked, ladder, what_if
from tieline.books.treasury.position import accounts_in, holding_of, open_questions
from tieline.console.door import Row
from tieline.console.events import Hub
from tieline.console.rooms.stress import HourlyPrices, stress_view
from tieline.disclosures.comparison.explain import NoBridge
from tieline.ledger import BTC, USD, Book, Entry
from tieline.people import Right
from tieline.records import NetworkTick
from tieline.settlement.bridge import OWN, bridge_of
from tieline.settlement.month import counted_hashes, margins_in, span_of
from tieline.settlement.reconcile import pool_month
from tieline.settlement.release import draft_of
from tieline.store import Store, StoreError

Json = dict[str, Any]
# Entries and lots on one page; the answer says whether there are more, and where they begin.
PAGE = 100
# Months that have ended, of the cash that is shown.
MONTHS_OF_CASH = 3
DAY = timedelta(days=1)
# Samples of a site that was cut off come up to two days late; hashes of older days are kept, of about a year.
LATE, KEPT_DAYS = timedelta(days=3), 400
# By span: hashes of each site, and how many samples say so.
Hashes = dict[tuple[datetime, datetime], tuple[dict[str, float], int]]


class MoneyPages:
    """Handlers over the hub's books."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._counted: Hashes = {}
        self._prices = HourlyPrices()

    def rows(self) -> list[Row]:
        """Path, method, the right it needs, handler."""
        return [
            ("/api/treasury", "GET", Right.SEE_MONEY, self.treasury),
            ("/api/treasury/stress", "GET", Right.SEE_MONEY, self.stress),
            ("/api/books", "GET", Right.SEE_MONEY, self.books),
            ("/api/books/month", "GET", Right.SEE_MONEY, self.month),
            ("/api/release", "GET", Right.SEE_MONEY, self.release),
            ("/api/release/bridge", "GET", Right.SEE_MONEY, self.bridge),
        ]

    async def treasury(self, request: Request) -> Response:
        query = dict(request.query_params)
        now = self.hub.clock.now()
        return await self._answer(lambda store: treasury_view(self._keeper(store), store, now, query))

    async def stress(self, request: Request) -> Response:
        """Hours of prices are read a stretch at a time, so that other readings are let in between."""
        query = dict(request.query_params)
        now = self.hub.clock.now()

        def told(store: Store) -> Json:
            return stress_view(holding_of(self._keeper(store)), _price_now(store, now, query)[0], self._prices, query)

        try:
            while await self.hub.read(partial(self._prices.further, now=now)):
                pass
        except StoreError as error:
            return _answered({"error": str(error)}, 503)
        return await self._answer(told)

    async def books(self, request: Request) -> Response:
        query = request.query_params
        return await self._answer(lambda store: books_view(self._keeper(store), query))

    async def month(self, request: Request) -> Response:
        now = self.hub.clock.now()
        month = request.query_params.get("month") or month_of(now, self.hub.month.books.keeper.policy.zone)
        what = request.query_params.get("what", "statement")
        try:
            hashes = await self._hashes(month, now) if what in ("margins", "reconciliation") else {}
        except (StoreError, ValueError):  # said by the report itself
            hashes = {}
        return await self._answer(lambda store: report_view(self._keeper(store), store, (month, now), what, hashes))

    async def _hashes(self, month: str, now: datetime) -> Hashes:
        """A month's hashes by UTC day and site, read day by day so that other readings are let in between. Days whose
        late samples have come are kept."""
        zone = self.hub.month.books.keeper.policy.zone
        start, end = await self.hub.read(partial(span_of, month=month, now=now, zone=zone))
        hashes: Hashes = {}
        day = start.replace(hour=0, minute=0)
        while day < min(end, now):
            span = max(day, start), min(day + DAY, end, now)
            known = self._counted.get(span)
            if known is None:
                known = await self.hub.read(partial(counted_hashes, start=span[0], end=span[1]))
                if span[1] < now - LATE:
                    self._counted[span] = known
            hashes[span] = known
            day += DAY
        while len(self._counted) > KEPT_DAYS:
            del self._counted[next(iter(self._counted))]
        return hashes

    async def release(self, request: Request) -> Response:
        now, hub = self.hub.clock.now(), self.hub
        month = request.query_params.get("month") or month_of(now, hub.month.books.keeper.policy.zone)
        return await self._answer(lambda store: release_view(store, hub, month, now))

    async def bridge(self, request: Request) -> Response:
        now, hub = self.hub.clock.now(), self.hub
        month = request.query_params.get("month") or month_of(now, hub.month.books.keeper.policy.zone)
        return await self._answer(lambda store: bridge_view(store, hub, month, now))

    def _keeper(self, store: Store) -> Bookkeeper:
        self.hub.month.books.catch_up(store)
        return self.hub.month.books.keeper

    async def _answer(self, job: Any) -> Response:
        try:
            await self.hub.month.booked(self.hub.read)
            answer, status = await self.hub.read(job), 200
        except StoreError as error:
            answer, status = {"error": str(error)}, 503
        except (ValueError, AskedError) as error:
            answer, status = {"error": str(error)}, 400
        return _answered(answer, status)


def _answered(answer: Json, status: int) -> Response:
    return Response(msgspec.json.encode(answer), status, media_type="application/json")


def _price_now(store: Store, now: datetime, query: dict[str, str]) -> tuple[Decimal | None, NetworkTick | None]:
    """The price that is asked for, else the newest that was told, with who told it. Raises AskedError."""
    if query.get("price"):
        return _price(query["price"]), None
    tick = next((one for one in store.latest(NetworkTick, now) if one.btc_usd > 0), None)
    return (None if tick is None else tick.btc_usd), tick


def treasury_view(keeper: Bookkeeper, store: Store, now: datetime, query: dict[str, str]) -> Json:
    """What is held and owed. `price` (USD) and `ask` (a sale) may be given; raises AskedError for what is not one."""
    holding = holding_of(keeper)
    price, tick = _price_now(store, now, query)
    return {
        "price": price,
        "price_at": None if tick is None else tick.at.timestamp(),
        "free_btc": holding.free,
        "pledged_btc": holding.pledged,
        "debt": holding.debt,
        "cash_usd": holding.cash,
        "value_usd": None if price is None else holding.coins * price,
        "cost_usd": keeper.book.balance(TRADING_USD, USD),
        "immature_btc": holding.immature,
        "held_btc": holding.held,
        **places_view(keeper),
        "cash": asdict(cash_view(keeper.book, now, MONTHS_OF_CASH, keeper.policy.zone)),
        "policy": list(keeper.policy.lines()),
        "loans": [
            asdict(loan) | {"ltv": loan.ltv(price) if price else None, "lender": keeper.loans[loan.loan_id].lender}
            for loan in holding.loans
        ],
        "ladder": [] if price is None else [asdict(rung) for rung in ladder(holding, price)],
        "open": open_questions(keeper),
        "what_if": sale_view(holding, query["ask"]) if query.get("ask") else None,
    }


def places_view(keeper: Bookkeeper) -> Json:
    """Where coins lie, and the first page of their lots."""
    book = keeper.book
    accounts = sorted({a for a, c in book.balances() if c == BTC and a.startswith("Assets:")})
    lots = [lot for account in accounts for lot in book.lots(account)]
    return {
        "places": [
            {"account": account, "btc": book.balance(account, BTC), "lots": len(book.lots(account))}
            for account in accounts
        ],
        "lots": [
            {"account": one.account, "lot": one.lot, "at": one.at.timestamp(), "btc": one.number, "cost_usd": one.cost}
            for one in lots[:PAGE]
        ],
        "lots_in_all": len(lots),
    }


def sale_view(holding: Holding, text: str) -> Json:
    """What a sale would do. Raises AskedError."""
    made = what_if(holding, asked(text))
    after = made.after
    return {
        "proceeds": made.proceeds,
        "currency": made.sale.currency,
        "stages": [asdict(stage) for stage in made.stages],
        "debt": after.debt,
        "cash": after.cash,
        "free_btc": after.free,
        "pledged_btc": after.pledged,
        "gains": dict(made.gains),
    }


def report_view(keeper: Bookkeeper, store: Store, of: tuple[str, datetime], what: str, hashes: Hashes) -> Json:
    """A report of a month as of now, as its command prints it; `hashes` of its days. Raises ValueError for a month of
    which nothing is known, and for a report that there is not."""
    month, now = of
    span_of(store, month, now, keeper.policy.zone)
    report: Json = {"month": month, "policy": list(keeper.policy.lines())}
    if what == "statement":
        return report | asdict(statement_of(keeper, month))
    if what == "margins":
        made = margins_in(store, month, now, keeper, _summed(hashes))
        uses = [asdict(one) | {"margin": one.margin, "per_mwh": one.margin_per_mwh} for one in made.uses]
        return report | {"uses": uses, "other": made.other, "margin": made.margin, "net": made.net}
    if what == "reconciliation":

        def hashed(start: datetime, end: datetime) -> tuple[float, int]:
            # The policy's month may begin or end within a UTC day: that day is read.
            known = hashes.get((start, end)) or counted_hashes(store, start, end)
            return sum(known[0].values()), known[1]

        pools = pool_month(store, month, now, keeper.policy.pool, hashed)
        days = [
            asdict(one) | {"day": one.day.timestamp(), "ratio": one.ratio, "remark": one.remark, "owed_since": None}
            for one in pools.days
            if one.payouts or one.receipts or one.expected is not None
        ]
        lucky = None if pools.luck is None else asdict(pools.luck) | {"ratio": pools.luck.ratio}
        report |= {"steps": pools.steps, "epochs": pools.epochs}
        return report | {"days": days, "remarks": pools.remarks, "luck": lucky}
    raise ValueError(f"what: {what!r} is no report; there are statement, reconciliation and margins")


def _summed(hashes: Hashes) -> dict[str, float]:
    sums: dict[str, float] = {}
    for by_site, _ in hashes.values():
        for site, made in by_site.items():
            sums[site] = sums.get(site, 0.0) + made
    return sums


def books_view(keeper: Bookkeeper, query: QueryParams) -> Json:
    """Balances, a page of entries, and what the selection that is asked for sums to. Without a month the newest first,
    before number `before`; those of a month oldest first, behind as many as `before` says."""
    book, of, zone = keeper.book, selection_of(keeper.book, query), keeper.policy.zone
    try:
        before = int(query["before"]) if "before" in query else None
    except ValueError as error:
        raise ValueError(f"before: {query['before']!r} is no number") from error
    following: int | None
    if of.month:
        first = max(0, before or 0)
        page = list(islice(enumerate(opened_in(book, of, zone)), first, first + PAGE + 1))
        following = first + PAGE if len(page) > PAGE else None
        page = page[:PAGE]
    else:
        page, following = opened_newest(book, of, len(book.entries) if before is None else max(0, before), PAGE)
    asked_for = bool(of.accounts or of.month)
    return {
        "sums": [asdict(one) for one in opened_sums(book, of, zone)] if asked_for and before is None else [],
        "balances": [
            {"account": name, "commodity": commodity, "balance": balance}
            for (name, commodity), balance in book.balances().items()
        ],
        "residual": dict(book.imbalance()),
        "entries": [entry_view(entry, None if of.month else number) for number, entry in page],
        "entries_in_all": len(book.entries),
        "next": following,
        "policy": list(keeper.policy.lines()),
        "open_from": None if keeper.open_from is None else keeper.open_from.timestamp(),
        "unbookable": [str(one) for one in keeper.unbookable[:PAGE]],
        "unbookable_in_all": len(keeper.unbookable),
    }


def selection_of(book: Book, query: QueryParams) -> EntrySelection:
    """`account` and `through` may be given several times; `state` stands for the accounts of coins in it. Raises
    ValueError for a part of what moved an account without the month that it is part of."""
    state, month = query.get("state", ""), query.get("month", "")
    accounts = tuple(filter(None, query.getlist("account")))
    if state:  # of no such coins there is no account, which is not any account
        accounts = accounts_in(book, state) or (f"no bitcoin is {state}",)
    only = bool(state or query.get("only"))
    through, source, lot = tuple(filter(None, query.getlist("through"))), query.get("source", ""), query.get("lot", "")
    of = EntrySelection(accounts, month, through, source, lot, only)
    if not of.plain and not month:
        raise ValueError(
            "month: what went through an account, came of a source or made a lot is asked for by month (YYYY-MM)"
        )
    return of


def entry_view(entry: Entry, number: int | None) -> Json:
    """`number` from 0; None where it is one of a month and not counted among all."""
    return {
        "number": number,
        "at": entry.at.timestamp(),
        "known_at": (entry.known_at or entry.at).timestamp(),
        "narration": entry.narration,
        "simulated": entry.simulated,
        "reverses": entry.reverses,
        "refs": [{"stream": ref.split("|", 1)[0], "key": ref.split("|", 1)[1]} for ref in entry.refs],
        "postings": [
            {
                "account": p.account,
                "amount": str(p.amount),
                "lot": p.lot,
                "cost": None if p.cost is None else str(p.cost),
            }
            for p in entry.postings
        ],
    }


def release_view(store: Store, hub: Hub, month: str, now: datetime) -> Json:
    """The month as it would be published now, what keeps it from that, and its steps. Raises ValueError."""
    policy = ReleasePolicy(company=hub.fleet.name)
    hub.month.books.catch_up(store)
    draft = draft_of(store, hub.fleet, month, now, hub.month.books.keeper, policy, hub.kept(store))
    release = draft.release
    steps: Sequence[Json] = [{"state": one.state, "by": one.by, "at": one.known_at.timestamp()} for one in draft.steps]
    return {
        "month": month,
        "title": title(release),
        "state": draft.state,
        "figures": [{"name": f.name, "label": f.label, "shown": shown(f), "was": f.was} for f in release.figures],
        "movements": [{"name": f.name, "label": f.label, "shown": shown(f)} for f in release.movements],
        "notes": release.notes,
        "policy": release.policy,
        "faults": draft.faults,
        "steps": steps,
    }


def bridge_view(store: Store, hub: Hub, month: str, now: datetime) -> Json:
    """Why the month's production changed; `why_not` where nothing is known of it or of the month before. Raises
    ValueError for what is no month."""
    month_span(month)
    hub.month.books.catch_up(store)
    try:
        made = bridge_of(store, hub.fleet, month, now, hub.month.books.keeper, ReleasePolicy(), hub.kept(store))
    except ValueError as error:
        return {"why_not": str(error)}
    if isinstance(made.bridge, NoBridge):
        return {"why_not": made.bridge.reason.replace(f"{OWN} printed", "the books have")}
    steps = [{"name": one.name, "btc": one.btc, "says": one.says} for one in made.bridge.steps]
    of = made.bridge
    change = {"base": of.base, "before": of.before, "after": of.after, "change": of.change, "change_pct": of.change_pct}
    return change | {"steps": steps, "causes": [asdict(one) for one in made.causes]}


def _price(text: str) -> Decimal:
    try:
        price = Decimal(text.replace(",", ""))
    except InvalidOperation as error:
        raise AskedError(f"price: {text!r} is no price; write it like 68524") from error
    if not price.is_finite() or price <= 0:
        raise AskedError(f"price: {text!r} is no price; write it like 68524")
    return price

"""A month in dollars: bitcoin from opening to closing, income, and what is owned and owed at its end.

Bitcoin at fair value through income at each close, as ASC 350-60 has it: realised apart from unrealised, the
roll-forward (350-60-50-3), units, cost and fair value of what is held, and what is restricted, for whom and until when.
Where a month was closed without a price its fair value is not known, and the statement says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from tieline.books.accounts import (
    BOUGHT,
    COINS,
    COLLATERAL,
    FAIR_VALUE,
    GAIN,
    OPENED,
    PLEDGED,
    TRADING_USD,
)
from tieline.books.keeper import Bookkeeper
from tieline.books.span import month_span
from tieline.books.treasury.position import open_questions
from tieline.ledger import BTC, USD, Book


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One line of a statement, in USD."""

    name: str
    usd: Decimal


@dataclass(frozen=True, slots=True)
class HoldingLine:
    """Bitcoin at one place at the month's end. `restricted`: for what, and until when; empty: free."""

    place: str
    btc: Decimal
    restricted: str = ""


@dataclass(frozen=True, slots=True)
class Statement:
    """All amounts in USD, income positive, expenses negative."""

    month: str
    closed: bool
    lots: str
    rollforward: tuple[StatementLine, ...]
    income: tuple[StatementLine, ...]
    net: Decimal
    balance: tuple[StatementLine, ...]
    holdings: tuple[HoldingLine, ...]
    units: Decimal
    cost: Decimal
    fair_value: Decimal | None
    notes: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """As a person reads it."""
        state = "closed" if self.closed else "open"
        yield f"{self.month} ({state}), USD; bitcoin at fair value through income at each close; lots: {self.lots}"
        fair = "not known" if self.fair_value is None else f"{self.fair_value:,.2f}"
        yield f"bitcoin held: {self.units:,} BTC, cost {self.cost:,.2f}, fair value {fair}"
        for one in self.holdings:
            yield f"    {one.place:40} {one.btc:>20,}  {one.restricted}"
        yield "bitcoin, from opening to closing"
        yield from _shown(self.rollforward)
        yield "income and expenses"
        yield from _shown((*self.income, StatementLine("Net", self.net)))
        yield "owned and owed at the end"
        yield from _shown(self.balance)
        for note in self.notes:
            yield f"note: {note}"


def _shown(lines: tuple[StatementLine, ...]) -> Iterator[str]:
    for one in lines:
        yield f"    {one.name:44} {one.usd:>20,.2f}"


def statement_of(keeper: Bookkeeper, month: str) -> Statement:
    """Raises ValueError for a month that is not YYYY-MM."""
    start, end = month_span(month)
    book = keeper.book
    moved = book.changes(start, end)
    income = tuple(
        StatementLine(account, -number)
        for (account, commodity), number in sorted(moved.items())
        if commodity == USD and account.split(":")[0] in ("Income", "Expenses") and number
    )
    units = book.change(COINS, BTC, None, end) + book.change(COLLATERAL, BTC, None, end)
    cost, above = book.change(TRADING_USD, USD, None, end), book.change(FAIR_VALUE, USD, None, end)
    revalued = book.booked(f"fair value|{month}") is not None
    notes = [f"not final: {line}" for line in open_questions(keeper)]
    notes += [f"not in the books: {one.why}" for one in keeper.unbookable]
    if not revalued:
        notes.append("no price was given at its close: fair value is not known, and no unrealised gain is booked")
    return Statement(
        month=month,
        closed=keeper.open_from is not None and keeper.open_from >= end,
        lots=book.policy.default,
        rollforward=_rollforward(book, start, end),
        income=income,
        net=sum((line.usd for line in income), Decimal(0)),
        balance=_balance(book, end),
        holdings=_holdings(keeper, end),
        units=units,
        cost=cost,
        fair_value=cost + above if revalued else None,
        notes=tuple(notes),
    )


def _rollforward(book: Book, start: datetime, end: datetime) -> tuple[StatementLine, ...]:
    """Opening + additions - dispositions + gains = closing, at what is carried: cost and, since the last close, fair
    value."""
    opening = book.change(TRADING_USD, USD, None, start)
    closing = book.change(TRADING_USD, USD, None, end)
    before, after = book.change(FAIR_VALUE, USD, None, start), book.change(FAIR_VALUE, USD, None, end)
    mined = -book.change("Income:Mining", USD, start, end)
    bought, brought = _opened_by(book, BOUGHT, start, end), _opened_by(book, OPENED, start, end)
    realised = -book.change(GAIN, USD, start, end)
    # What left at cost is what the additions do not explain; it was disposed of for that and its gain.
    proceeds = opening + mined + bought + brought - closing + realised
    lines = [
        StatementLine("Opening", opening + before),
        StatementLine("Additions: mined", mined),
        StatementLine("Additions: bought", bought),
        StatementLine("Additions: brought into the books", brought),
        StatementLine("Dispositions, at what they brought", -proceeds),
        StatementLine("Realised gains and losses", realised),
        StatementLine("Unrealised gains and losses", after - before),
        StatementLine("Closing", closing + after),
    ]
    return tuple(line for line in lines if line.usd or line.name in ("Opening", "Closing"))


def _opened_by(book: Book, account: str, start: datetime, end: datetime) -> Decimal:
    """Cost of the lots that entries through one trading account opened."""
    total = Decimal(0)
    for entry in book.between(start, end, account):
        total += sum((p.amount.number for p in entry.postings if p.account == TRADING_USD), Decimal(0))
    return total


def _balance(book: Book, end: datetime) -> tuple[StatementLine, ...]:
    """What is owned and owed in USD, bitcoin at what it is carried at; the sum of all lines is zero."""
    totals = book.changes(None, end)
    carried = sum((n for (a, c), n in totals.items() if c == USD and a in (TRADING_USD, FAIR_VALUE)), Decimal(0))
    kept = sum(
        (n for (a, c), n in totals.items() if c == USD and a.split(":")[0] in ("Income", "Expenses")), Decimal(0)
    )
    lines = [StatementLine("Bitcoin, as carried", carried)] if carried else []
    for (account, commodity), number in sorted(totals.items()):
        root = account.split(":")[0]
        if commodity == USD and number and root in ("Assets", "Liabilities", "Equity") and account != FAIR_VALUE:
            lines.append(StatementLine(account, number))
    return (*lines, StatementLine("Earned and kept", kept))


def _holdings(keeper: Bookkeeper, end: datetime) -> tuple[HoldingLine, ...]:
    book, loans = keeper.book, keeper.loans
    found = []
    for (account, commodity), number in sorted(book.changes(None, end).items()):
        if commodity != BTC or not number or not account.startswith("Assets:"):
            continue
        restricted = ""
        if account.startswith((PLEDGED, COLLATERAL)):
            loan = next((one for name, one in loans.items() if account.endswith(f":{name.replace(':', '-')}")), None)
            until = "" if loan is None or loan.matures is None else f", until {loan.matures:%Y-%m-%d}"
            whom = "" if loan is None else f" for {loan.loan_id} of {loan.lender}"
            word = "claim on coins that the lender may sell" if account.startswith(COLLATERAL) else "pledged"
            restricted = f"{word}{whom}{until}"
        found.append(HoldingLine(account.removeprefix("Assets:"), number, restricted))
    return tuple(found)

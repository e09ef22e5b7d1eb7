"""A month in dollars: bitcoin from opening to closing, income, and what is owned and owed at its end.

Measured as the policy has it, which is printed first. The roll-forward (ASC 350-60-50-3, IAS 38.118) has realised
apart from unrealised; each holding has its legal entity, units, cost and fair value (ASC 350-60-50-1), and what is
restricted, for whom and until when (50-6). Where a month was closed without a price its fair value is not known, and it
says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from tieline.books.accounts import (
    ABOVE_COST,
    BOUGHT,
    COINS,
    COLLATERAL,
    CURRENCIES,
    FAIR_VALUE,
    GAIN,
    IMPAIRED,
    KEPT_SURPLUS,
    OPENED,
    PLEDGED,
    REVALUED,
    REVALUED_SOLD,
    SURPLUS,
    TRADING_USD,
)
from tieline.books.keeper import Bookkeeper
from tieline.books.span import month_span
from tieline.books.treasury.position import open_questions
from tieline.ledger import BTC, USD, Book, usd


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One line of a statement, in USD."""

    name: str
    usd: Decimal


@dataclass(frozen=True, slots=True)
class HoldingLine:
    """Bitcoin at one place at the month's end, USD. `fair_value` None: no price was given at its close. `restricted`:
    for what, and until when; empty: free."""

    place: str
    btc: Decimal
    cost: Decimal
    fair_value: Decimal | None
    entity: str = ""
    restricted: str = ""


@dataclass(frozen=True, slots=True)
class Statement:
    """All amounts in USD, income positive, expenses negative. `policy`: the choices it was made by, in words. `oci`:
    other comprehensive income, which is in no net."""

    month: str
    closed: bool
    policy: tuple[str, ...]
    rollforward: tuple[StatementLine, ...]
    income: tuple[StatementLine, ...]
    net: Decimal
    oci: Decimal
    balance: tuple[StatementLine, ...]
    holdings: tuple[HoldingLine, ...]
    units: Decimal
    cost: Decimal
    fair_value: Decimal | None
    notes: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """As a person reads it."""
        state = "closed" if self.closed else "open"
        yield f"{self.month} ({state}), USD"
        yield from (f"policy: {line}" for line in self.policy)
        yield f"bitcoin held: {self.units:,.8f} BTC, cost {self.cost:,.2f}, fair value {_known(self.fair_value)}"
        for one in self.holdings:
            whose = f"{one.entity}: " if one.entity else ""
            yield (
                f"    {whose + one.place:40} {one.btc:>20,.8f} BTC, cost {one.cost:,.2f}, fair value "
                f"{_known(one.fair_value)}{one.restricted and '; '}{one.restricted}"
            )
        yield "bitcoin, from opening to closing"
        yield from _shown(self.rollforward)
        yield "income and expenses"
        yield from _shown((*self.income, StatementLine("Net", self.net)))
        if self.oci:
            yield from _shown((StatementLine("Other comprehensive income: bitcoin revalued", self.oci),))
        yield "owned and owed at the end"
        yield from _shown(self.balance)
        for note in self.notes:
            yield f"note: {note}"


def _known(usd: Decimal | None) -> str:
    return "not known" if usd is None else f"{usd:,.2f}"


def _shown(lines: tuple[StatementLine, ...]) -> Iterator[str]:
    for one in lines:
        yield f"    {one.name:44} {one.usd:>20,.2f}"


def statement_of(keeper: Bookkeeper, month: str) -> Statement:
    """Raises ValueError for a month that is not YYYY-MM."""
    start, end = month_span(month, keeper.policy.zone)
    book = keeper.book
    moved = book.changes(start, end)
    income = tuple(
        StatementLine(account, -number)
        for (account, commodity), number in sorted(moved.items())
        if commodity == USD and account.split(":")[0] in ("Income", "Expenses") and number
    )
    units = book.change(COINS, BTC, None, end) + book.change(COLLATERAL, BTC, None, end)
    price = keeper.prices.get(month)
    notes = [f"not final: {line}" for line in open_questions(keeper)]
    notes += [f"not in the books: {one.why}" for one in keeper.unbookable]
    if price is None:
        notes.append("no price was given at its close: fair value is not known, and nothing is measured by it")
    return Statement(
        month=month,
        closed=keeper.open_from is not None and keeper.open_from >= end,
        policy=tuple(keeper.policy.lines()),
        rollforward=_rollforward(book, start, end),
        income=income,
        net=sum((line.usd for line in income), Decimal(0)),
        oci=-book.change(SURPLUS, USD, start, end) - book.change(KEPT_SURPLUS, USD, start, end),
        balance=_balance(book, end),
        holdings=_holdings(keeper, end, price),
        units=units,
        cost=book.change(TRADING_USD, USD, None, end),
        fair_value=None if price is None else usd(units * price).number,
        notes=tuple(notes),
    )


def _rollforward(book: Book, start: datetime, end: datetime) -> tuple[StatementLine, ...]:
    """Opening + additions - dispositions + gains = closing, at what it is carried at: cost, and since the last close
    what it was measured above or below it."""
    opening, closing = (book.change(TRADING_USD, USD, None, moment) for moment in (start, end))
    above = {account: book.change(account, USD, start, end) for account in ABOVE_COST}
    before = sum((book.change(account, USD, None, start) for account in ABOVE_COST), Decimal(0))
    mined = -book.change("Income:Mining", USD, start, end)
    bought, brought = _opened_by(book, BOUGHT, start, end), _opened_by(book, OPENED, start, end)
    realised, revalued_sold = -book.change(GAIN, USD, start, end), book.change(REVALUED_SOLD, USD, start, end)
    # What left at cost is what the additions do not explain; it was disposed of for that and its gain over cost.
    proceeds = opening + mined + bought + brought - closing + realised + revalued_sold
    lines = [
        StatementLine("Opening", opening + before),
        StatementLine("Additions: mined", mined),
        StatementLine("Additions: bought", bought),
        StatementLine("Additions: brought into the books", brought),
        StatementLine("Dispositions, at what they brought", -proceeds),
        StatementLine("Realised gains and losses", realised),
        StatementLine("Unrealised gains and losses", above[FAIR_VALUE]),
        StatementLine("Impairment, and what of it was taken back", above[IMPAIRED]),
        StatementLine("Revaluation", above[REVALUED] + revalued_sold),
        StatementLine("Closing", closing + before + sum(above.values(), Decimal(0))),
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
    carried = sum((n for (a, c), n in totals.items() if c == USD and a in (TRADING_USD, *ABOVE_COST)), Decimal(0))
    balance = sum(
        (n for (a, c), n in totals.items() if c == USD and a.split(":")[0] in ("Income", "Expenses")), Decimal(0)
    )
    lines = [StatementLine("Bitcoin, as carried", carried)] if carried else []
    other = totals.get((CURRENCIES, USD), Decimal(0))
    if other:
        lines.append(StatementLine("Other currencies, at what they were worth when they came", other))
    for (account, commodity), number in sorted(totals.items()):
        root = account.split(":")[0]
        if commodity == USD and number and root in ("Assets", "Liabilities", "Equity") and account not in ABOVE_COST:
            lines.append(StatementLine(account, number))
    return (*lines, StatementLine("Earned and kept", balance))


def _holdings(keeper: Bookkeeper, end: datetime, price: Decimal | None) -> tuple[HoldingLine, ...]:
    """Places, and claims to coins, each with its lots' cost."""
    totals: dict[str, tuple[Decimal, Decimal]] = {}
    for lot in keeper.book.lots_at(end):
        if lot.commodity == BTC:
            number, cost = totals.get(lot.account, (Decimal(0), Decimal(0)))
            totals[lot.account] = number + lot.number, cost + lot.cost
    return tuple(
        HoldingLine(
            place=account.removeprefix("Assets:"),
            btc=number,
            cost=cost,
            fair_value=None if price is None else usd(number * price).number,
            entity=keeper.policy.entity_of_place(account.removeprefix(f"{COINS}:")),
            restricted=_restricted(account, keeper),
        )
        for account, (number, cost) in sorted(totals.items())
    )


def _restricted(account: str, keeper: Bookkeeper) -> str:
    """For whom coins stand, and until when."""
    if not account.startswith((PLEDGED, COLLATERAL)):
        return ""
    named = (one for name, one in keeper.loans.items() if account.endswith(f":{name.replace(':', '-')}"))
    loan = next(named, None)
    until = "" if loan is None or loan.matures is None else f", until {loan.matures:%Y-%m-%d}"
    whom = "" if loan is None else f" for {loan.loan_id} of {loan.lender}"
    word = "claim on coins that the lender may sell" if account.startswith(COLLATERAL) else "pledged"
    return f"{word}{whom}{until}"

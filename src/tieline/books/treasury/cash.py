"""Cash: where it came from and went to by month, how long it lasts, and what is owed by age. All of it sums to the
ledger's own balances.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from itertools import dropwhile

from tieline.books.accounts import CASH
from tieline.books.span import month_before, month_of, month_span
from tieline.ledger import USD, Book, Entry

# Of what an entry's records are, in words; money of these comes and goes with financing, not with operating.
SOURCES = {
    "Opening": "opening balance",
    "Trade": "bitcoin sold and bought",
    "PowerBill": "power",
    "Payment": "bills paid, and money of customers",
    "LoanFlow": "loans",
    "Equity": "shares",
}
FINANCING = frozenset({"opening balance", "loans", "shares"})
OWED = ("Liabilities:Payable", "Liabilities:Power")
# Days since a bill: up to each, and beyond the last.
AGES = (30, 60, 90)


@dataclass(frozen=True, slots=True)
class CashMonth:
    """One month's cash, USD. `moved`: by source, in positive, out negative; opening + moved = closing."""

    month: str
    opening: Decimal
    moved: tuple[tuple[str, Decimal], ...]
    closing: Decimal

    @property
    def operating(self) -> Decimal:
        return sum((usd for name, usd in self.moved if name not in FINANCING), Decimal(0))


@dataclass(frozen=True, slots=True)
class Owing:
    """What is owed to one party, by age of the bills: up to 30, 60, 90 days, and older."""

    party: str
    total: Decimal
    by_age: tuple[Decimal, ...]


@dataclass(frozen=True, slots=True)
class CashView:
    """`runway_months`: cash over what operating used on average in the months that have ended; None where it used
    nothing, or no month has ended."""

    cash: Decimal
    months: tuple[CashMonth, ...]
    burn: Decimal | None
    runway_months: Decimal | None
    owed: tuple[Owing, ...]


def cash_view(book: Book, now: datetime, months: int = 3, zone: tzinfo = UTC) -> CashView:
    """The last `months` months and the running one, in the zone of the books; none before cash was first known."""
    *past, running = (_month(book, name, now, zone) for name in _names(now, months, zone))
    rows = (*dropwhile(lambda one: not one.opening and not one.moved, past), running)
    ended = [one for one in rows[:-1] if one.moved]
    burn = -sum((one.operating for one in ended), Decimal(0)) / len(ended) if ended else None
    cash = book.change(CASH, USD, None, now + timedelta(microseconds=1))
    runway = None if burn is None or burn <= 0 else (max(cash, Decimal(0)) / burn).quantize(Decimal("0.1"))
    exact = None if burn is None else burn.quantize(Decimal("0.01"))
    return CashView(cash, rows, exact, runway, tuple(_owed(book, now)))


def _names(now: datetime, months: int, zone: tzinfo) -> list[str]:
    names = [month_of(now, zone)]
    for _ in range(months):
        names.append(month_before(names[-1]))
    return names[::-1]


def _month(book: Book, month: str, now: datetime, zone: tzinfo) -> CashMonth:
    start, end = month_span(month, zone)
    end = min(end, now + timedelta(microseconds=1))
    moved: dict[str, Decimal] = defaultdict(Decimal)
    for entry in book.between(start, end, CASH):
        change = sum((p.amount.number for p in entry.postings if _is_cash(p.account, p.amount.commodity)), Decimal(0))
        if change:
            moved[source_of(entry)] += change
    opening, closing = book.change(CASH, USD, None, start), book.change(CASH, USD, None, end)
    assert opening + sum(moved.values(), Decimal(0)) == closing
    return CashMonth(month, opening, tuple(sorted((name, usd) for name, usd in moved.items() if usd)), closing)


def _is_cash(account: str, commodity: str) -> bool:
    return commodity == USD and f"{account}:".startswith(f"{CASH}:")


def source_of(entry: Entry) -> str:
    """Of what an entry's records are, in the words of `CashMonth.moved`."""
    stream = entry.refs[0].split("|", 1)[0] if entry.refs else ""
    return SOURCES.get(stream, "other")


def _owed(book: Book, now: datetime) -> Iterator[Owing]:
    """Payments settle the oldest bills first; a bill is as old as the days (UTC) since it came."""
    bills_of: dict[str, list[tuple[datetime, Decimal]]] = defaultdict(list)
    paid: dict[str, Decimal] = defaultdict(Decimal)
    after = now + timedelta(microseconds=1)
    for one in (one for root in OWED for one in book.turnover(root, after) if one.commodity == USD):
        if one.left:
            bills_of[one.account].append((one.day, one.left))
        paid[one.account] += one.came
    for account, bills in sorted(bills_of.items()):
        ages, left = [Decimal(0)] * (len(AGES) + 1), paid[account]
        for day, amount in sorted(bills):
            settled = min(left, amount)
            left -= settled
            days = (now.date() - day.date()).days
            ages[sum(days > limit for limit in AGES)] += amount - settled
        total = sum(ages, Decimal(0))
        if total:
            yield Owing(account.split(":", 1)[1], total, tuple(ages))

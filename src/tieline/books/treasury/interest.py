"""Interest of loans: what a month of one costs, what of it is booked at the close, and what is when a rate comes late.

Simple, by the second on what was owed, a year being 365 days, at the rate of that second. `Liabilities:Interest:LOAN`
holds what is accrued and not paid; below nothing, what was paid before it was accrued. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from tieline.books.accounts import account_of
from tieline.ledger import Book, Entry, Posting, money
from tieline.records import Loan, RateFixing

INTEREST, ACCRUED = "Expenses:Interest", "Liabilities:Interest"
SECONDS_A_YEAR = Decimal(365 * 86_400)
INSTANT = timedelta(microseconds=1)
Span = tuple[datetime, datetime]


def accrued_account(loan: Loan) -> str:
    return f"{ACCRUED}:{account_of(loan.loan_id)}"


def accrues(loan: Loan) -> bool:
    """Whether its terms say exactly what interest it bears, once a reference rate is fixed."""
    if loan.reference:
        return loan.margin is None or loan.margin.exact is not None
    return loan.rate is not None and loan.rate.exact is not None


def rates_of(loan: Loan, fixings: Sequence[RateFixing], end: datetime) -> list[tuple[datetime, Decimal]]:
    """(from when, rate a year) before `end`, oldest first; empty where it is not known exactly."""
    if not loan.reference:
        rate = None if loan.rate is None else loan.rate.exact
        return [] if rate is None else [(datetime.min.replace(tzinfo=UTC), rate)]
    margin = Decimal(0) if loan.margin is None else loan.margin.exact
    if margin is None:
        return []
    mine = [one for one in fixings if one.reference == loan.reference and one.at < end]
    return sorted((one.at, one.rate + margin) for one in mine)


def _rate_words(loan: Loan) -> str:
    term = loan.margin if loan.reference else loan.rate
    exact = Decimal(0) if term is None or term.exact is None else term.exact
    percent = f"{exact * 100:.2f} %"
    return f"{loan.reference} + {percent}" if loan.reference else percent


def _owed_over(
    loan: Loan, book: Book, span: tuple[datetime, datetime], turns: Iterable[datetime]
) -> Iterator[tuple[datetime, datetime, Decimal]]:
    """(since, until, what was owed on a loan then) over a span, cut where that changes and at `turns`."""
    start, end = span
    account = f"Liabilities:Loans:{account_of(loan.loan_id)}"
    moves = [
        (entry.at, -posting.amount.number)
        for entry in book.between(start, end, account)
        for posting in entry.postings
        if posting.account == account
    ]
    cuts = [*moves, *((at, Decimal(0)) for at in turns if start < at < end), (end, Decimal(0))]
    owed, since = -book.change(account, loan.currency, None, start), start
    for at, number in sorted(cuts, key=lambda one: one[0]):
        yield since, at, owed
        owed, since = owed + number, at


def interest_over(loan: Loan, book: Book, span: Span, fixings: Sequence[RateFixing] = ()) -> Decimal | None:
    """The interest of a span, in the loan's currency; None where no rate is known of a time in which something was
    owed."""
    rates = rates_of(loan, fixings, span[1])
    total = Decimal(0)
    for since, until, owed in _owed_over(loan, book, span, [at for at, _ in rates]):
        rate = next((rate for begins, rate in reversed(rates) if begins <= since), None)
        if rate is None and owed > 0 and until > since:
            return None
        total += owed * Decimal((until - since).total_seconds()) * (rate or Decimal(0))
    return money(total / SECONDS_A_YEAR, loan.currency).number


def _entry(loan: Loan, end: datetime, key: str, narration: str, number: Decimal, refs: tuple[str, ...]) -> Entry:
    amount = money(number, loan.currency)
    postings = (Posting(INTEREST, amount), Posting(accrued_account(loan), -amount))
    return Entry(end - INSTANT, key, narration, postings, (f"Loan|{loan.key}", *refs), loan.kind == "simulated")


def _month(start: datetime) -> str:
    """Of a month's first moment: its middle is in it in every zone."""
    return f"{start + timedelta(days=14):%Y-%m}"


def _key(loan: Loan, start: datetime, word: str = "interest") -> str:
    return f"{word}|{loan.loan_id}|{_month(start)}"


def accruals(loan: Loan, book: Book, span: Span, fixings: Sequence[RateFixing] = ()) -> Iterator[Entry]:
    """What the close of a month books: its interest, and what was paid beyond all that was accrued, which a lender that
    counts days otherwise asked for. Nothing where the interest is not known."""
    start, end = span
    due = interest_over(loan, book, span, fixings)
    if due is None:
        return
    month = _month(start)
    beyond = book.change(accrued_account(loan), loan.currency, None, end) - due
    if due > 0:
        fixed = [one for one in fixings if one.reference == loan.reference and one.at < end]
        before = [one for one in fixed if one.at <= start][-1:]
        refs = tuple(f"RateFixing|{one.key}" for one in fixed if one in before or one.at > start)
        words = f"interest of {loan.loan_id} for {month} at {_rate_words(loan)}"
        yield _entry(loan, end, _key(loan, start), words, due, refs)
    if beyond > 0 and accrues(loan):
        words = f"interest of {loan.loan_id} paid beyond what was accrued to the end of {month}"
        yield _entry(loan, end, _key(loan, start, "interest beyond"), words, beyond, ())


@dataclass(slots=True)
class _Booked:
    """What is booked of a loan's interest since a moment. `accrued` and `beyond` by month, as expenses; `paid` by the
    number of its month; `ahead`: what was paid and not accrued when the first of them began."""

    accrued: dict[str, Decimal]
    beyond: dict[str, Decimal]
    paid: list[Decimal]
    ahead: Decimal


def _booked(loan: Loan, book: Book, spans: Sequence[Span], open_from: datetime) -> _Booked:
    account, start = accrued_account(loan), spans[0][0]
    found = _Booked(
        defaultdict(Decimal),
        defaultdict(Decimal),
        [Decimal(0)] * len(spans),
        book.change(account, loan.currency, None, start),
    )
    first = _month(start)
    for entry in book.between(start, open_from + INSTANT, account):
        moved = sum((p.amount.number for p in entry.postings if p.account == account), Decimal(0))
        into = next((into for word, into in (("interest", found.accrued), ("interest beyond", found.beyond))
                     if entry.key.startswith(f"{word}|{loan.loan_id}|")), None)  # fmt: skip
        if into is None:
            for n, (begins, ends) in enumerate(spans):
                found.paid[n] += moved if begins <= entry.at < ends else Decimal(0)
            continue
        month = entry.key.split(f"|{loan.loan_id}|", 1)[1][:7]
        if month < first:  # a rate that came late has corrected an earlier month since
            found.ahead += moved
        else:
            into[month] -= moved
    return found


def late_accruals(
    loan: Loan, book: Book, spans: Sequence[Span], open_from: datetime, fixings: Sequence[RateFixing], late: RateFixing
) -> Iterator[Entry]:
    """What a rate that became known after months were closed changes of the interest that is booked of them: by month,
    and what of the payments was beyond all that should have been accrued. It comes to what it would have come to had
    the rate been known."""
    booked = _booked(loan, book, spans, open_from)
    fixed = f"{late.reference} at {(late.rate * 100).normalize():f} % from {late.at:%Y-%m-%d}"
    ahead, refs = booked.ahead, (f"RateFixing|{late.key}",)
    for n, span in enumerate(spans):
        due, month = interest_over(loan, book, span, fixings), _month(span[0])
        ahead += booked.paid[n] - (due or Decimal(0))
        if due is None:
            continue
        beyond = max(Decimal(0), ahead)
        ahead -= beyond
        for word, told, more in (
            ("interest", f"interest of {loan.loan_id} for {month}", due - booked.accrued[month]),
            ("interest beyond", f"interest of {loan.loan_id} paid beyond what was accrued to the end of {month}",
             beyond - booked.beyond[month]),
        ):  # fmt: skip
            if more:
                yield _entry(loan, span[1], f"{_key(loan, span[0], word)}|{late.key}", f"{told}, {fixed}", more, refs)

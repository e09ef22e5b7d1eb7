"""The bookkeeper: records in, in the order in which they were stored, entries and lots out.

What cannot be booked is set aside by name and stops nothing. A record told anew with a later `known_at` corrects the
one before it: what was booked is taken back and booked again, both stay in the book. A sale that finds too few coins
waits, and is tried again when coins come in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol, TypeVar

import msgspec

from tieline.books.accounts import is_held
from tieline.books.entries import entries_for
from tieline.books.measured import PricedClose, measured
from tieline.books.policy import AccountingPolicy, BalanceLimit, PolicyError, policy_of
from tieline.books.restate import restated
from tieline.books.span import month_of, month_span
from tieline.books.treasury.interest import accruals, late_accruals
from tieline.ledger import (
    POOL,
    AlreadyBooked,
    Book,
    Entry,
    EntryError,
    Method,
    Posting,
    ShortError,
    mirrored,
    under,
)
from tieline.records import (
    Closing,
    EnergyEvidence,
    Equity,
    Issued,
    Journaled,
    Loan,
    LoanFlow,
    Opening,
    Payment,
    Payout,
    Performance,
    Pledge,
    PolicyChosen,
    PowerBill,
    RateFixing,
    Receipt,
    Record,
    Trade,
    Transfer,
    VendorBill,
)

R = TypeVar("R", bound=Record)

# Streams that mean something in money, as they are read for a book.
MONEY: tuple[type[Record], ...] = (
    Opening,
    Payout,
    Receipt,
    Trade,
    PowerBill,
    Performance,
    Transfer,
    Loan,
    RateFixing,
    LoanFlow,
    Pledge,
    VendorBill,
    Payment,
    Equity,
    Issued,
    Closing,
    PolicyChosen,
    EnergyEvidence,
    Journaled,
)
# A rate that comes so late still corrects the interest of months that are closed: a year and a month.
LATE_FIXINGS = timedelta(days=396)
# Sales that wait for coins are tried this many at a time whenever some come in.
RETRIED = 100


@dataclass(frozen=True, slots=True)
class Unbookable:
    """A record that is not in the books, and why: the field and what would mend it."""

    record: Record
    why: str

    @property
    def key(self) -> str:
        return f"{type(self.record).__name__}|{self.record.key}"

    def __str__(self) -> str:
        return f"unbookable: {self.why} [{self.key}]"


@dataclass(frozen=True, slots=True)
class BookedRecord:
    """What the books hold of one happening: the entries it makes by itself (a correction is booked in other lines),
    and every lot that was opened for it, the newest last. `seq`: the record's place in a store, where it has one."""

    record: Record
    entries: tuple[Entry, ...]
    lots: tuple[str, ...] = ()
    seq: int | None = None


class BookedRecords(Protocol):
    """What stands of each happening, by `identity`."""

    def get(self, name: str, /) -> BookedRecord | None: ...

    def __setitem__(self, name: str, standing: BookedRecord, /) -> None: ...


@dataclass(slots=True)
class KeeperState:
    """What a bookkeeper knows besides its book and what stands. A record is (itself, its place in a store)."""

    corrections: int = 0
    # The first moment that no closed month holds.
    open_from: datetime | None = None
    # USD per bitcoin at the end of each month that was closed with a price, and the policy that was chosen last.
    prices: dict[str, Decimal] = field(default_factory=dict)
    policy: tuple[PolicyChosen, int | None] | None = None
    loans: dict[str, tuple[Loan, int | None]] = field(default_factory=dict)
    aside: dict[str, tuple[Unbookable, int | None]] = field(default_factory=dict)
    waiting: dict[str, tuple[Record, int | None]] = field(default_factory=dict)
    # Of each reference rate, what was fixed within LATE_FIXINGS of the last close, and last before.
    fixings: dict[str, tuple[RateFixing, int | None]] = field(default_factory=dict)


class Bookkeeper:
    """A book of records, kept up one by one. `unbookable` names what is not in it.

    Begins empty, or goes on where `book`, `standings` and `state` were left."""

    def __init__(
        self,
        method: Method = "fifo",
        *,
        book: Book | None = None,
        standings: BookedRecords | None = None,
        state: KeeperState | None = None,
    ) -> None:
        self.book = Book(method=method) if book is None else book
        self._standing: BookedRecords = {} if standings is None else standings
        self.state = KeeperState() if state is None else state
        self._since: datetime | None = None
        self.policy = AccountingPolicy(lots=self.book.policy.default)
        if self.state.policy is not None:
            self._choose(policy_of(self.state.policy[0].text))

    @property
    def loans(self) -> dict[str, Loan]:
        """The newest terms of each loan."""
        return {name: loan for name, (loan, _) in self.state.loans.items()}

    @property
    def fixings(self) -> list[RateFixing]:
        """What is known of reference rates, in the order in which they hold."""
        return sorted((one for one, _ in self.state.fixings.values()), key=lambda one: one.at)

    @property
    def prices(self) -> Mapping[str, Decimal]:
        """USD per bitcoin at the end of each month that was closed with one."""
        return self.state.prices

    @property
    def _priced(self) -> PricedClose | None:
        """The last close with a price."""
        month = max(self.state.prices, default=None)
        return None if month is None else PricedClose(month_span(month, self.policy.zone)[1], self.state.prices[month])

    @property
    def open_from(self) -> datetime | None:
        """The first moment that no closed month holds."""
        return self.state.open_from

    @property
    def unbookable(self) -> tuple[Unbookable, ...]:
        return tuple(one for one, _ in self.state.aside.values())

    def take(self, record: Record, seq: int | None = None) -> None:
        """Book a record, correct with it what was booked before, or set it aside. Raises nothing."""
        if isinstance(record, Loan | Closing | PolicyChosen | RateFixing):
            self._rule(record, seq)
            return
        name, state = identity(record), self.state
        try:
            before = self._standing.get(name)
            if before is not None and not _says_more(before.record, record):
                return
            standing = self._book(record) if before is None else self._correct(before, record)
        except Exception as error:  # one record must not stop the fold, whatever is wrong with it
            self._set_aside(name, record, seq, _why(name, error))
            if isinstance(error, ShortError) and before is None:
                state.waiting[name] = record, seq
            return
        self._standing[name] = replace(standing, seq=seq)
        if state.aside:
            state.aside.pop(name, None)
            state.waiting.pop(name, None)
        if state.waiting and _brings_coins(record):
            self._try_again(record.known_at)

    def _rule(self, record: Loan | Closing | PolicyChosen | RateFixing, seq: int | None) -> None:
        """What moves no money by itself and says how money is booked from now on: the newest terms of a loan, a closed
        month, the accounting policy, a rate."""
        if not isinstance(record, Loan):
            try:
                if isinstance(record, Closing):
                    self._close(record)
                elif isinstance(record, RateFixing):
                    self._fix(record, seq)
                else:
                    self._choose(self.chosen(record.text))
                    self.state.policy = record, seq
            except (ValueError, ArithmeticError) as error:
                self._set_aside(identity(record), record, seq, f"{identity(record)}: {error}")
            return
        known = self.state.loans.get(record.loan_id)
        if known is None or known[0].known_at <= record.known_at:
            self.state.loans[record.loan_id] = record, seq
            self._try_again(record.known_at)

    def _close(self, closing: Closing) -> None:
        """Interest of the month, fair value at its end, and nothing more of it. Raises ValueError for no month."""
        start, end = month_span(closing.month, self.policy.zone)
        if self.open_from is not None and end <= self.open_from:
            return
        for loan, _ in self.state.loans.values():
            for owed in accruals(loan, self.book, (start, end), self.fixings):
                self.book.book(replace(owed, known_at=closing.known_at))
        if closing.btc_usd is not None and closing.btc_usd > 0:
            close = PricedClose(end, closing.btc_usd)
            made = measured(self.book, self.policy.measured, close, self._priced, closing.month)
            if made is not None:
                self.book.book(replace(made, refs=(f"Closing|{closing.key}",), known_at=closing.known_at))
            self.state.prices[closing.month] = closing.btc_usd
        self.state.open_from = end
        kept = end - LATE_FIXINGS
        for reference in {one.reference for one in self.fixings}:
            past = sorted(
                (one.at, name)
                for name, (one, _) in self.state.fixings.items()
                if one.reference == reference and one.at <= kept
            )
            for _, name in past[:-1]:
                del self.state.fixings[name]

    def _fix(self, fixing: RateFixing, seq: int | None) -> None:
        """What it changes of the interest of closed months is booked in the open one, and says of which. Raises
        ValueError for one of longer ago than rates are kept."""
        name, known = identity(fixing), self.state.fixings.get(identity(fixing))
        if known is not None and not _says_more(known[0], fixing):
            return
        loans = [loan for loan, _ in self.state.loans.values() if loan.reference == fixing.reference]
        if self.open_from is None or fixing.at >= self.open_from or not loans:
            self.state.fixings[name] = fixing, seq
            return
        if fixing.at < self.open_from - LATE_FIXINGS:
            raise EntryError(
                f"it is of more than {LATE_FIXINGS.days} days before {self.open_from:%Y-%m-%d}, where the open months "
                "begin, and rates are kept no longer; book what it changes as `books add repay --as interest`"
            )
        self.state.fixings[name] = fixing, seq
        spans = [month_span(month_of(fixing.at, self.policy.zone), self.policy.zone)]
        while spans[-1][1] < self.open_from:
            spans.append(month_span(month_of(spans[-1][1], self.policy.zone), self.policy.zone))
        for loan in loans:
            for entry in list(late_accruals(loan, self.book, spans, self.open_from, self.fixings, fixing)):
                self._post(replace(entry, known_at=fixing.known_at))

    def chosen(self, text: str) -> AccountingPolicy:
        """A policy that may follow the one in force. Raises PolicyError, naming the field."""
        policy = policy_of(text)
        if self.state.prices and policy.measured != self.policy.measured:
            raise PolicyError(
                f"measurement: months are closed by {self.policy.framework} ({self.policy.measured}); begin other "
                "books, in a folder of their own, with the balances as the new policy has them"
            )
        if self.open_from is not None and policy.time_zone != self.policy.time_zone:
            raise PolicyError(f"time_zone: months are closed in {self.policy.time_zone}; it cannot become another")
        gone = next((one.name for one in self.policy.commodity if one not in policy.commodity), None)
        if gone is not None:
            raise PolicyError(f"commodity: {gone} is counted since an earlier policy; keep its table as it was")
        return policy

    def _choose(self, policy: AccountingPolicy) -> None:
        self.policy = policy
        self.book.policy = policy.lot_policy

    def _post(self, entry: Entry) -> Entry:
        """Book an entry; one of a closed month in the first open one, where it says what it is of."""
        if self.open_from is not None and entry.at < self.open_from:
            late = f"{entry.narration} (of {entry.at:%Y-%m-%d}, learned after its month was closed)"
            opens = {p.lot for p in _opened(entry)}
            postings = tuple(
                replace(p, acquired=p.acquired or entry.at) if p.lot in opens else p for p in entry.postings
            )
            entry = replace(entry, at=self.open_from, narration=late, postings=postings)
        for limit in self.policy.limit if entry.reverses is None else ():
            self._within(limit, entry)
        outcome = self.book.book(entry)
        if isinstance(outcome, AlreadyBooked):
            raise EntryError(f"entry {entry.key} is booked already, with other content")
        return outcome.entry

    def _within(self, limit: BalanceLimit, entry: Entry) -> None:
        """Raises ShortError where an entry would take an account over its limit, and further than it is. What is set
        apart for something pending has left it."""
        moved = _there(limit, ((p.account, p.amount.commodity, p.amount.number) for p in entry.postings))
        if not moved or self.book.journal.find(entry.key) is not None:
            return
        after = moved + _there(limit, ((account, of, n) for (account, of), n in self.book.balances().items()))
        where = f"entry {entry.key}: {limit.account} would hold {after:,} {limit.commodity}"
        if moved < 0 and limit.least is not None and after < limit.least:
            raise ShortError(f"{where}, at least {limit.least:,} by the policy's limit")
        if moved > 0 and limit.most is not None and after > limit.most:
            raise ShortError(f"{where}, at most {limit.most:,} by the policy's limit")

    def standing(self, name: str) -> Record | None:
        """The record that is booked under an `identity`, as it was last told."""
        held = self._standing.get(name)
        return None if held is None else held.record

    def told(self, record: Record) -> Record | None:
        """What is known already of what a record is about, as it was last told."""
        if isinstance(record, Loan):
            return self.loans.get(record.loan_id)
        if isinstance(record, RateFixing):
            return next((one for name, (one, _) in self.state.fixings.items() if name == identity(record)), None)
        return self.standing(identity(record))

    def _set_aside(self, name: str, record: Record, seq: int | None, why: str) -> None:
        self.state.waiting.pop(name, None)
        self.state.aside[name] = Unbookable(record, why if name in why else f"{name}: {why}"), seq

    def _try_again(self, since: datetime) -> None:
        """What waits, now that coins or terms are known: what is booked of it was not known before `since`."""
        self._since = since
        for record, seq in list(self.state.waiting.values())[:RETRIED]:
            self.take(record, seq)
        self._since = None

    def _book(self, record: Record) -> BookedRecord:
        known = record.known_at if self._since is None else max(record.known_at, self._since)
        made = [self._post(replace(entry, known_at=known)) for entry in entries_for(record, self.book, self.loans)]
        return BookedRecord(record, tuple(made), tuple(p.lot for e in made for p in _opened(e) if p.lot is not None))

    def _correct(self, before: BookedRecord, record: Record) -> BookedRecord:
        """Take back what was booked and book the record as it is told now."""
        self.state.corrections += 1
        if before.lots and before.lots[-1].startswith(POOL):
            return self._recast(before, record)
        if before.lots and (len(before.lots) > 1 or not self._whole(before)):
            return self._restate(before, record)
        back = [self._taken_back(entry, "taken back", record.known_at) for entry in self._booked(before.entries)]
        for entry in back:
            self._post(entry)
        try:
            return self._book(record)
        except Exception:
            for entry in back:  # what cannot be told anew stays as it was
                self._post(self._taken_back(entry, "stands", record.known_at))
            raise

    def _taken_back(self, entry: Entry, word: str, known_at: datetime) -> Entry:
        key = f"{entry.key}|{word} {self.state.corrections}"
        return mirrored(entry, key, f"{word}: {entry.narration}", entry.at, known_at)

    def _booked(self, entries: Iterable[Entry]) -> list[Entry]:
        booked = [self.book.booked(entry.key) for entry in entries]
        return [entry for entry in booked if entry is not None]

    def _whole(self, standing: BookedRecord) -> bool:
        """Whether each lot that was opened for it lies where it was opened, whole."""
        for posting in (p for entry in standing.entries for p in _opened(entry)):
            parts = self.book.places(posting.lot or "")
            if [(p.account, p.number) for p in parts] != [(posting.account, posting.amount.number)]:
                return False
        return True

    def _restate(self, before: BookedRecord, record: Record) -> BookedRecord:
        """Correct an opening of a lot of which a part has left."""
        (old,) = before.entries
        made = entries_for(record, self.book, self.loans)
        parts = [part for lot in before.lots for part in self.book.places(lot)]
        entry = restated(old, made[0], parts, record.known_at)
        self._post(entry)
        return BookedRecord(record, (replace(made[0], known_at=record.known_at),), (*before.lots, made[0].key))

    def _recast(self, before: BookedRecord, record: Record) -> BookedRecord:
        """Correct what came into a pool: what it is now comes in and what it was goes out in one entry, so that the
        average carries the difference from here on."""
        (old,), (new,) = before.entries, entries_for(record, self.book, self.loans)
        back = mirrored(old, "", "", old.at, record.known_at)
        words = f"told anew: {new.narration}"
        postings = (*new.postings, *back.postings)
        recast = replace(new, narration=words, postings=postings, known_at=record.known_at, reverses=old.key)
        booked = self._post(recast)
        came = tuple(p for p in booked.postings[: len(new.postings)])
        alone = replace(new, postings=came, known_at=record.known_at)
        return BookedRecord(record, (alone,), tuple(p.lot for p in came if p.lot is not None))


def _there(limit: BalanceLimit, lines: Iterable[tuple[str, str, Decimal]]) -> Decimal:
    """Of (account, commodity, number): what counts for a limit, without what is set apart for something pending."""
    mine = (
        number
        for account, commodity, number in lines
        if commodity == limit.commodity and under(limit.account, account) and not is_held(account)
    )
    return sum(mine, Decimal(0))


def _why(name: str, error: Exception) -> str:
    """What keeps a record out of the books, in words."""
    if isinstance(error, EntryError):
        return str(error)
    if isinstance(error, ArithmeticError):
        return f"{name}: an amount or a price is out of all bounds, or no number"
    return f"{name}: {type(error).__name__}: {error}"


def _opened(entry: Entry) -> list[Posting]:
    """Lots that an entry opens; those that only move through it are not new."""
    left = {p.lot for p in entry.postings if p.amount.number < 0}
    return [p for p in entry.postings if p.lot is not None and p.amount.number > 0 and p.lot not in left]


# What a record is about, by the field that names it.
_NAMED: dict[type[Record], tuple[str, str]] = {
    Payout: ("payout", "payout_id"),
    Receipt: ("receipt", "receipt_id"),
    Trade: ("trade", "trade_id"),
    Opening: ("opening", "opening_id"),
    Transfer: ("transfer", "transfer_id"),
    Loan: ("loan", "loan_id"),
    LoanFlow: ("loan flow", "flow_id"),
    Pledge: ("pledge", "pledge_id"),
    VendorBill: ("bill", "bill_id"),
    Payment: ("payment", "payment_id"),
    Equity: ("equity", "issue_id"),
    Issued: ("invoice", "number"),
    Closing: ("closing of", "month"),
    EnergyEvidence: ("evidence", "evidence_id"),
    Journaled: ("entry", "entry_id"),
}


def identity(record: Record) -> str:
    """What a record is about, whenever and however often it is told: a correction has the same."""
    if isinstance(record, PowerBill):
        return f"power bill {record.site_id} {record.at.isoformat()} {record.length_s}"
    if isinstance(record, RateFixing):
        return f"rate {record.reference} of {record.at.isoformat()}"
    word, field = _NAMED.get(type(record), (type(record).__name__, "key"))
    return f"{word} {getattr(record, field)}"


def newest_of(records: Iterable[R]) -> list[R]:
    """Each happening in its newest word, in order of when it holds."""
    newest: dict[str, R] = {}
    for one in sorted(records, key=lambda r: r.known_at):
        newest[identity(one)] = one
    return sorted(newest.values(), key=lambda r: (r.at, identity(r)))


def build_book(records: Iterable[Record], method: Method = "fifo") -> Book:
    """The book of these records in order of when they were known, each booked once. Raises EntryError for the first
    that cannot be booked; `Bookkeeper` sets such aside instead."""
    keeper = Bookkeeper(method)
    for record in sorted(records, key=_told_order):
        keeper.take(record)
    if keeper.unbookable:
        raise EntryError(keeper.unbookable[0].why)
    return keeper.book


def _told_order(record: Record) -> tuple[datetime, datetime, int, str]:
    """Where no store says which came first: coins come in before they leave."""
    return record.known_at, record.at, int(isinstance(record, Trade)), record.key


def _says_more(before: Record, record: Record) -> bool:
    """Whether `record` is a later word than `before`, and another."""
    if record.known_at < before.known_at:
        return False
    if record.known_at == before.known_at and not (before.kind == "estimated" and record.kind != "estimated"):
        return False
    aside = {"known_at": before.known_at, "source": before.source}
    return msgspec.structs.replace(record, **aside) != before


def _brings_coins(record: Record) -> bool:
    """Whether what waits for coins or cash may find them now."""
    return isinstance(record, Payout | Receipt | Opening | Transfer | Pledge | Trade | Payment | LoanFlow | Equity)

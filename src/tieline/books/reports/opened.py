"""What a figure opens to: the entries of some accounts, of one month or of all time, and what they sum to.

Knows nothing of figures. Sums have the ledger's signs: what is earned and owed lies below zero. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import tzinfo
from decimal import Decimal

from tieline.books.accounts import COINS
from tieline.books.span import month_span
from tieline.books.treasury.cash import source_of
from tieline.ledger import Book, Entry, under

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class EntrySelection:
    """Which entries: those that touch one of `accounts` (none: any) or what is under it, or `only` itself; of a
    `month`; that go `through` one of some accounts as well; that come of a `source` of cash. With `lot`: those that
    move the lot, wherever it lay, and what is left of it in the account."""

    accounts: tuple[str, ...] = ()
    month: str = ""
    through: tuple[str, ...] = ()
    source: str = ""
    lot: str = ""
    only: bool = False

    @property
    def plain(self) -> bool:
        """Whether accounts alone say what is meant."""
        return not self.through and not self.source and not self.lot

    def takes(self, account: str) -> bool:
        """Whether what is posted to an account counts."""
        if self.only:
            return account in self.accounts
        return not self.accounts or any(under(name, account) for name in self.accounts)

    def admits(self, entry: Entry) -> bool:
        if self.lot:
            return any(posting.lot == self.lot for posting in entry.postings)
        names = [posting.account for posting in entry.postings]
        passes = not self.through or any(under(root, name) for root in self.through for name in names)
        return passes and any(map(self.takes, names)) and (not self.source or source_of(entry) == self.source)


@dataclass(frozen=True, slots=True)
class OpenedSum:
    """One commodity. `opening` and `closing` None: of a part of what moved an account there is no balance."""

    commodity: str
    opening: Decimal | None
    moved: Decimal
    closing: Decimal | None


def opened_in(book: Book, of: EntrySelection, zone: tzinfo) -> Iterator[Entry]:
    """Entries of the selection's month, oldest first. Raises ValueError for what is no month."""
    start, end = month_span(of.month, zone)
    roots = (COINS,) if of.lot else of.through or of.accounts
    if of.through and len(roots) > 1:  # few entries go through these
        found = {entry.key: entry for root in roots for entry in book.between(start, end, root)}
        entries = iter(sorted(found.values(), key=lambda entry: entry.at))
    else:
        entries = book.between(start, end, roots[0] if len(roots) == 1 else None)
    return filter(of.admits, entries)


def opened_newest(
    book: Book, of: EntrySelection, before: int, limit: int
) -> tuple[list[tuple[int, Entry]], int | None]:
    """(number, entry) below `before`, newest first, at most so many; and below which number the older ones lie."""
    found = {n: entry for name in of.accounts or ("",) for n, entry in book.newest(name, before, limit + 1)}
    page = sorted(found.items(), reverse=True)[:limit]
    older = page[-1][0] if page and len(found) > limit else None
    return [(number, entry) for number, entry in page if of.admits(entry)], older


def opened_sums(book: Book, of: EntrySelection, zone: tzinfo) -> list[OpenedSum]:
    """What the selection sums to by commodity: over its month between two balances, without a month its balance."""
    totals: dict[str, list[Decimal]] = {}

    def add(account: str, commodity: str, number: Decimal, place: int) -> None:
        if of.takes(account):
            totals.setdefault(commodity, [ZERO, ZERO])[place] += number

    if not of.month:
        for (account, commodity), number in book.balances().items():
            add(account, commodity, number, 1)
        return [OpenedSum(name, ZERO, moved, moved) for name, (_, moved) in sorted(totals.items())]
    start, end = month_span(of.month, zone)
    if of.plain:
        for place, since, until in ((0, None, start), (1, start, end)):
            for (account, commodity), number in book.changes(since, until).items():
                add(account, commodity, number, place)
        return [OpenedSum(name, opening, moved, opening + moved) for name, (opening, moved) in sorted(totals.items())]
    if of.lot:
        left = [held for held in book.places(of.lot) if of.takes(held.account)]
        return [OpenedSum(one.commodity, None, one.number, one.number) for one in left]
    for entry in opened_in(book, of, zone):
        for posting in entry.postings:
            add(posting.account, posting.amount.commodity, posting.amount.number, 1)
    return [OpenedSum(name, None, moved, None) for name, (_, moved) in sorted(totals.items())]

"""The books for other programs: beancount's text, and CSV.

In beancount each commodity sums to zero in itself, by trading accounts under equity; the lot of a posting, its cost and
its date are metadata, since beancount would have a lot's cost typed at both ends of each move. Balance assertions at
the end let `bean-check` prove that nothing was lost on the way.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from datetime import timedelta

from tieline.ledger import COMMODITIES, Amount, Book, Entry, KnownBook, Posting

_OTHER = re.compile(r"[^A-Za-z0-9-]+")


def beancount(book: Book | KnownBook, title: str) -> Iterator[str]:
    """The lines of a beancount file with every entry of the book."""
    entries = sorted(book.entries, key=lambda entry: entry.at)
    yield f'option "title" {_quoted(title)}'
    yield 'option "operating_currency" "USD"'
    yield ""
    opened: set[str] = set()
    if entries:
        first = entries[0].at
        for commodity in sorted({p.amount.commodity for entry in entries for p in entry.postings}):
            yield f"{first:%Y-%m-%d} commodity {commodity}"
        for name in sorted({bean_account(p.account) for entry in entries for p in entry.postings}):
            if name not in opened:
                opened.add(name)
                yield f"{first:%Y-%m-%d} open {name}"
    for entry in entries:
        yield ""
        yield from _entry(entry)
    if entries:
        yield ""
        after = entries[-1].at + timedelta(days=1)
        totals: dict[tuple[str, str], Amount] = {}
        for (account, commodity), number in book.balances().items():
            key = bean_account(account), commodity
            known = totals.get(key)
            totals[key] = Amount(number + (known.number if known else 0), commodity)
        for (account, _), amount in sorted(totals.items()):
            exact = _plain(amount).split()[0]  # to the last digit: without "~ 0" a satoshi's difference would pass
            yield f"{after:%Y-%m-%d} balance {account}  {exact} ~ 0 {amount.commodity}"


def _entry(entry: Entry) -> Iterator[str]:
    yield f"{entry.at:%Y-%m-%d} * {_quoted(entry.narration)}{' #simulated' if entry.simulated else ''}"
    yield f"  key: {_quoted(entry.key)}"
    yield f"  at: {_quoted(entry.at.isoformat())}"
    for number, ref in enumerate(entry.refs):
        yield f"  ref-{number}: {_quoted(ref)}"
    for posting in entry.postings:
        yield f"  {bean_account(posting.account)}  {_plain(posting.amount)}"
        if posting.lot is not None:
            yield f"    lot: {_quoted(posting.lot)}"
            if posting.cost is not None:
                yield f"    cost: {_plain(posting.cost)}"
            if posting.acquired is not None:
                yield f"    acquired: {posting.acquired:%Y-%m-%d}"
                yield f"    acquired-at: {_quoted(posting.acquired.isoformat())}"


def bean_account(account: str) -> str:
    """The account as beancount spells it: a root it knows, each part beginning with a capital or a digit."""
    parts = [_OTHER.sub("-", part).strip("-") or "X" for part in account.split(":")]
    if parts[0] == "Trading":
        parts = ["Equity", *parts]
    return ":".join(part[0].upper() + part[1:] for part in parts)


def _plain(amount: Amount) -> str:
    return f"{amount.number:.{COMMODITIES[amount.commodity].places}f} {amount.commodity}"


def _quoted(text: str) -> str:
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{plain}"'


COLUMNS = ("number", "at", "known_at", "key", "narration", "account", "amount", "commodity", "lot", "cost", "acquired",
           "reverses", "refs", "simulated")  # fmt: skip


def as_csv(entries: Iterable[Entry]) -> Iterator[str]:
    """A line a posting, in the order in which entries were booked."""
    yield _line(COLUMNS)
    for number, entry in enumerate(entries, 1):
        for posting in entry.postings:
            yield _line(_cells(number, entry, posting))


def _cells(number: int, entry: Entry, posting: Posting) -> tuple[object, ...]:
    return (
        number, entry.at.isoformat(), (entry.known_at or entry.at).isoformat(), entry.key, entry.narration,
        posting.account, posting.amount.number, posting.amount.commodity, posting.lot or "",
        "" if posting.cost is None else posting.cost.number,
        "" if posting.acquired is None else posting.acquired.isoformat(),
        entry.reverses or "", " ".join(entry.refs), entry.simulated,
    )  # fmt: skip


def _line(cells: Iterable[object]) -> str:
    out = io.StringIO()
    # A cell that begins with a sign that a spreadsheet takes for a formula is told to be text.
    safe = [f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "@", "+", "-") else cell for cell in cells]
    csv.writer(out, lineterminator="").writerow(safe)
    return out.getvalue()

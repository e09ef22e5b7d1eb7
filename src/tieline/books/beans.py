"""Beancount's text as records: each transaction an entry, line by line.

What this program exports comes back as it was: keys, times, lots with their costs and dates stand in metadata. A file
of another hand may give lots in braces (`1 BTC {50,000 USD, 2025-03-01, "label"}`), leave one amount to be filled in,
and name a price, which is not needed. What would change the books unseen (pad, include, plugin, arithmetic) is refused
by its line; directives that make no entry are passed over. Pure.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal

from tieline.books.treasury.sheets import SheetError
from tieline.clock import begun, parse_utc
from tieline.intake import IntakeError
from tieline.ledger import COMMODITIES
from tieline.records import AnyRecord, Journaled, JournalLine

_TXN = re.compile(r'(\d{4}-\d\d-\d\d)\s+(?:txn|\*|!)\s*((?:"(?:[^"\\]|\\.)*"\s*)*)')
_DIRECTIVE = re.compile(r"(?:\d{4}-\d\d-\d\d\s+)?([a-z]+)\b")
_PASSED = {"open", "close", "commodity", "balance", "price", "note", "event", "query", "custom", "document", "option"}
_META = re.compile(r"\s+([a-z][A-Za-z0-9_-]*):\s*(.*)")
_POSTING = re.compile(
    r"\s+(?:[*!]\s+)?([A-Z][\w:-]+)"
    r"(?:\s+([-+]?[\d,]+(?:\.\d+)?)\s+([A-Z][A-Z0-9]*))?"
    r"(?:\s*\{([^{}]*)\})?(?:\s*@@?\s*[\d.,]+\s+[A-Z]+)?\s*(?:;.*)?"
)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass(slots=True)
class _BeanLine:
    number: int
    account: str
    amount: Decimal | None
    commodity: str
    braces: str | None
    meta: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Transaction:
    number: int
    day: str
    words: list[str]
    meta: dict[str, str] = field(default_factory=dict)
    lines: list[_BeanLine] = field(default_factory=list)


def journaled(text: str, now: datetime, zone: tzinfo = UTC) -> list[AnyRecord]:
    """The transactions of a beancount file, whose days are those of `zone`.

    Raises SheetError, naming the line; nothing of a file with a mistake is taken."""
    seen: Counter[str] = Counter()
    records: list[AnyRecord] = []
    for one in _transactions(text.removeprefix("\ufeff")):
        try:
            records.append(_record(one, seen, now, zone))
        except (IntakeError, ArithmeticError) as error:
            raise SheetError(f"line {one.number}: {error}") from error
    return records


def _transactions(text: str) -> Iterator[_Transaction]:
    now: _Transaction | None = None
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if not bare or bare.startswith(";") or line.startswith(("*", "#")):
            continue
        if not line[0].isspace():
            if now is not None:
                yield now
            now = _head(number, line)
        elif now is not None:
            _part(now, number, line)
    if now is not None:
        yield now


def _head(number: int, line: str) -> _Transaction | None:
    match = _TXN.match(line)
    if match is not None:
        meta = {"simulated": "yes"} if "#simulated" in line[match.end() :].split() else {}
        return _Transaction(number, match[1], [_plain(word) for word in _QUOTED.findall(match[2])], meta)
    word = _DIRECTIVE.match(line)
    if word is None or word[1] not in _PASSED:
        what = line.split()[0] if word is None else word[1]
        raise SheetError(f"line {number}: {what!r} would change the books unseen; take it out, or write what it does")
    return None


def _part(now: _Transaction, number: int, line: str) -> None:
    meta = _META.fullmatch(line)
    if meta is not None:
        (now.lines[-1].meta if now.lines else now.meta)[meta[1]] = _plain(meta[2].strip().strip('"'))
        return
    match = _POSTING.fullmatch(line)
    if match is None:
        raise SheetError(f"line {number}: {line.strip()!r} is no posting that is read: account, number, commodity")
    account, amount, commodity, braces = match.groups()
    if commodity is not None and commodity not in COMMODITIES:
        raise SheetError(f"line {number}: {commodity!r} is not known; known: {', '.join(COMMODITIES)}")
    exact = None if amount is None else Decimal(amount.replace(",", ""))
    now.lines.append(_BeanLine(number, _own(account), exact, commodity or "", braces))


def _own(account: str) -> str:
    """The account as it is called here: beancount has no trading accounts, which lie under equity there."""
    return account.removeprefix("Equity:") if account.startswith("Equity:Trading:") else account


def _record(one: _Transaction, seen: Counter[str], now: datetime, zone: tzinfo) -> Journaled:
    at = parse_utc(one.meta["at"]) if "at" in one.meta else begun(date.fromisoformat(one.day), zone)
    lines = [_journal_line(line, at) for line in one.lines if line.amount is not None]
    open_ = [line for line in one.lines if line.amount is None]
    if len(open_) > 1:
        raise SheetError(f"line {open_[1].number}: two amounts are left open; write one of them")
    lines += [_filled(one, open_[0], lines)] if open_ else []
    content = f"{one.day} {' '.join(one.words)}"
    seen[content] += 1
    return Journaled(
        at=at,
        known_at=now,
        source="import",
        kind="simulated" if "simulated" in one.meta else "measured",
        entry_id=(one.meta.get("key") or f"{content} {seen[content]}").replace("|", " "),
        narration=" ".join(one.words) or "imported",
        lines=tuple(lines),
    )


def _journal_line(line: _BeanLine, at: datetime) -> JournalLine:
    assert line.amount is not None
    lot, cost, acquired = line.meta.get("lot", ""), None, line.meta.get("acquired-at") or line.meta.get("acquired")
    if "cost" in line.meta:
        cost = abs(Decimal(line.meta["cost"].split()[0].replace(",", "")))
    if line.braces is not None:
        lot, cost, acquired = _braces(line, at)
    return JournalLine(
        account=line.account,
        amount=line.amount,
        commodity=line.commodity,
        lot=lot,
        cost_usd=cost,
        acquired=None if not acquired else parse_utc(acquired),
    )


def _braces(line: _BeanLine, at: datetime) -> tuple[str, Decimal | None, str]:
    """(lot, its whole cost, its date) of `{50,000 USD, 2025-03-01, "label"}`; a reduction without a label leaves by the
    books' method."""
    assert line.amount is not None
    each, day, label = None, "", ""
    for part in filter(None, (part.strip() for part in re.split(r",\s+", line.braces or ""))):
        if quoted := _QUOTED.fullmatch(part):
            label = quoted[1]
        elif re.fullmatch(r"\d{4}-\d\d-\d\d", part):
            day = part
        elif match := re.fullmatch(r"([\d,]+(?:\.\d+)?)\s+USD", part):
            each = Decimal(match[1].replace(",", ""))
        else:
            raise SheetError(f"line {line.number}: {{{line.braces}}} is no cost that is read: {{50000 USD}}")
    if line.amount < 0:
        return label, None, ""
    if each is None:
        raise SheetError(f"line {line.number}: {line.account} opens a lot without a cost; write {{50000 USD}}")
    day = day or f"{at:%Y-%m-%d}"
    return label or f"{line.account.split(':')[-1]} {day} {line.number}", round(each * line.amount, 2), day


def _filled(one: _Transaction, line: _BeanLine, lines: list[JournalLine]) -> JournalLine:
    """What balances the others by their weight: lots by their cost."""
    if any(other.lot and other.amount < 0 and other.cost_usd is None for other in lines):
        raise SheetError(f"line {line.number}: its amount hangs on a lot's cost; write the amount")
    total: dict[str, Decimal] = {}
    for other in lines:
        of = "USD" if other.cost_usd is not None else other.commodity
        weight = other.amount if other.cost_usd is None else other.cost_usd * (1 if other.amount > 0 else -1)
        total[of] = total.get(of, Decimal(0)) + weight
    left = {of: number for of, number in total.items() if number}
    if len(left) != 1:
        raise SheetError(f"line {line.number}: what fills it is not one amount ({left or 'nothing'}); write it")
    ((of, number),) = left.items()
    return JournalLine(account=line.account, amount=-number, commodity=of)


def _plain(text: str) -> str:
    return text.replace('\\"', '"').replace("\\\\", "\\")

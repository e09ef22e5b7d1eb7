"""Spreadsheets as records: coins, loans, payouts and hourly prices out of CSV text, with columns mapped by name.

Pure. Reads commas, semicolons, tabs or bars, a byte-order mark, decimal commas where the sheet is one of semicolons,
and thousands as both write them. A mistake names its line, column and remedy; nothing of a sheet with one is taken.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import Any, TypeVar, get_args

from tieline.books.accounts import coins_at
from tieline.clock import begun, day_or_moment, parse_utc
from tieline.intake import one_of
from tieline.ledger import COMMODITIES, EntryError
from tieline.records import AnyRecord, Loan, LoanFlow, Opening, Payout, Pledge, Range, RateFixing
from tieline.records.treasury import Rehypothecation

T = TypeVar("T")
REHYPOTHECATION: tuple[Rehypothecation, ...] = get_args(Rehypothecation)

MOST_ROWS = 200_000
# Problems of a sheet that are told at once; a sheet with more has one cause.
MOST_PROBLEMS = 20
# What parts the cells of a line, the usual one first.
DELIMITERS = ",;\t|"
# Before the point, less one: more than there is of any money; beyond it a decimal's rounding has no digits left.
MOST_DIGITS = 14
_PLAIN = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


class SheetError(ValueError):
    """What is wrong with a sheet: its line, its column, and what would mend it."""


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One row as a reader of records sees it."""

    line: int
    values: Mapping[str, str]
    decimal_comma: bool
    zone: tzinfo = UTC  # of its days

    def text(self, column: str, default: str | None = None) -> str:
        """Raises SheetError where it is empty and there is no default."""
        value = self.values.get(column, "").strip()
        if value:
            return value
        if default is None:
            raise SheetError(f"line {self.line}, {column}: is empty; fill it in")
        return default

    def number(self, column: str, default: Decimal | None = None) -> Decimal:
        value = self.values.get(column, "").strip()
        if not value and default is not None:
            return default
        return self._number(column, self.text(column))

    def _number(self, column: str, text: str) -> Decimal:
        plain = re.sub(r"[\s_'$€]|USDT?\b|BTC\b", "", text, flags=re.IGNORECASE)
        plain = plain.replace(".", "").replace(",", ".") if self.decimal_comma else plain.replace(",", "")
        if not _PLAIN.fullmatch(plain):
            raise SheetError(f"line {self.line}, {column}: {text!r} is no number; write it like 7474.6")
        number = Decimal(plain)
        if number.adjusted() > MOST_DIGITS:
            raise SheetError(f"line {self.line}, {column}: {text!r} is out of all bounds")
        return number

    def sats(self, column: str) -> int:
        """Bitcoin in the sheet, satoshi here. Raises SheetError for a ninth decimal."""
        number = self.number(column) * 10**8
        if number != int(number):
            raise SheetError(f"line {self.line}, {column}: {self.text(column)} has more than 8 decimals; round it")
        return int(number)

    def cents(self, column: str, default: Decimal | None = None) -> Decimal:
        number = self.number(column, default)
        if number != round(number, 2):
            raise SheetError(f"line {self.line}, {column}: {self.text(column)} has more than 2 decimals; round it")
        return number

    def moment(self, column: str, default: datetime | None = None) -> datetime:
        value = self.text(column, "" if default is not None else None)
        if not value:
            assert default is not None
            return default
        try:
            return begun(day_or_moment(value), self.zone)
        except ValueError as error:
            why = str(error) if "zone" in str(error) else f"{value!r} is no date; write YYYY-MM-DD"
            raise SheetError(f"line {self.line}, {column}: {why}") from error

    def utc(self, column: str) -> datetime:
        """A moment in UTC where it does not say otherwise: of a history of prices."""
        value = self.text(column)
        try:
            return parse_utc(value)
        except ValueError as error:
            raise SheetError(f"line {self.line}, {column}: {value!r} is no date; write YYYY-MM-DD") from error

    def share(self, column: str) -> float | None:
        """`0.3 %` or `0.003`; None where the cell is empty."""
        value = self.text(column, "")
        if not value:
            return None
        number = self._number(column, value.replace("%", "")) / (100 if "%" in value else 1)
        if not 0 <= number <= 1:
            raise SheetError(f"line {self.line}, {column}: {value!r} is no share; write 0.3 % or 0.003")
        return float(number)

    def ratio(self, column: str) -> Range | None:
        """`0.6`, `60 %` or, where a contract is redacted, `55-65 %`; None where the cell is empty."""
        value = self.text(column, "")
        if not value or value == "?":
            return None
        percent = "%" in value
        parts = [self._number(column, part) for part in value.replace("%", "").split("-")]
        if len(parts) > 2:
            raise SheetError(f"line {self.line}, {column}: {value!r} is no ratio; write 0.6, 60 % or 55-65 %")
        low, high = parts[0], parts[-1]
        if percent or high > 5:
            low, high = low / 100, high / 100
        if not 0 < low <= high:
            raise SheetError(f"line {self.line}, {column}: {value!r} is no ratio above 0, the lower end first")
        return Range(low=low, high=high)


@dataclass(frozen=True, slots=True)
class SheetTable:
    """A sheet's first line, which names its columns, and the others with their numbers. `decimal_comma`: how its
    numbers are written."""

    header: tuple[str, ...]
    body: tuple[tuple[int, tuple[str, ...]], ...]
    decimal_comma: bool = False


Sheet = str | SheetTable


def rows(
    sheet: Sheet, needs: Sequence[str], known: Sequence[str], mapping: Mapping[str, str], zone: tzinfo = UTC
) -> Iterator[SheetRow]:
    """The rows of a sheet. `mapping`: the sheet's column to ours. Raises SheetError for columns that are missing, twice
    there or mapped to what is not known; unknown columns are left alone."""
    table = sheet if isinstance(sheet, SheetTable) else table_of(sheet)
    names = _names(table.header, needs, known, mapping)
    for line, row in table.body:
        if len(row) > len(names):
            raise SheetError(
                f"line {line}: {len(row)} cells under {len(names)} columns; quote what holds the delimiter"
            )
        yield SheetRow(line, dict(zip(names, row, strict=False)), table.decimal_comma, zone)


def each(rows: Iterable[SheetRow], take: Callable[[SheetRow], T]) -> list[T]:
    """What every row gives. Raises SheetError with every row's mistake, a line each."""
    taken: list[T] = []
    problems: list[str] = []
    for row in rows:
        try:
            taken.append(take(row))
        except SheetError as error:
            problems.append(str(error))
            if len(problems) == MOST_PROBLEMS:
                problems.append("and more; mend these first")
                break
    if problems:
        raise SheetError("\n".join(problems))
    return taken


def table_of(text: str) -> SheetTable:
    """The lines of CSV text, parted by what parts its first one. Raises SheetError."""
    text = text.removeprefix("﻿")
    first = next((line for line in text.splitlines() if line.strip()), "")
    if not first:
        raise SheetError("the sheet is empty; its first line names the columns")
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    try:
        table = [(reader.line_num, tuple(row)) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise SheetError(f"line {reader.line_num}: {error}; save the sheet as CSV again") from error
    if len(table) > MOST_ROWS:
        raise SheetError(f"the sheet has {len(table):,} lines; at most {MOST_ROWS:,} are read, split it")
    header, body = table[0][1], tuple(table[1:])
    for line, row in body:
        other = max(DELIMITERS, key=row[0].count)
        if len(header) > 1 == len(row) and row[0].count(other) >= len(header) - 1:
            raise SheetError(
                f"line {line} is parted by {other!r} and the first line by {delimiter!r}; save the sheet with one alone"
            )
    comma = delimiter == ";" and any(re.fullmatch(r"\s*[+-]?[\d.]*\d,\d+\s*%?\s*", c) for _, row in body for c in row)
    return SheetTable(header, body, comma)


def _names(header: Sequence[str], needs: Sequence[str], known: Sequence[str], mapping: Mapping[str, str]) -> list[str]:
    lower = {theirs.strip().lower(): ours for theirs, ours in mapping.items()}
    for theirs, ours in mapping.items():
        if ours not in known:
            raise SheetError(f"--map {theirs}={ours}: no column {ours!r} is known; map to one of {', '.join(known)}")
        if theirs.strip().lower() not in [cell.strip().lower() for cell in header]:
            raise SheetError(f"--map {theirs}={ours}: the sheet has no column {theirs!r}; it has {', '.join(header)}")
    names = [lower.get(cell.strip().lower(), cell.strip().lower().replace(" ", "_")) for cell in header]
    twice = [name for name, count in Counter(names).items() if count > 1 and name in known]
    if twice:
        raise SheetError(f"two columns are {twice[0]!r}; take one out, or map them apart")
    missing = [name for name in needs if name not in names]
    if missing:
        have = ", ".join(cell.strip() for cell in header)
        raise SheetError(f'no column {missing[0]!r} among: {have}; name it with --map "Its name={missing[0]}"')
    return names


# --- what each sheet means ------------------------------------------------------------------------------

COINS = ("date", "btc", "cost_usd", "place", "id")
LOANS = (
    "loan", "lender", "debt", "currency", "pledged_btc", "date", "rate", "initial_ltv", "call_ltv", "release_ltv",
    "liquidation_ltv", "cure_hours", "matures", "rehypothecation", "place", "reference", "margin",
)  # fmt: skip
RATES = ("date", "reference", "rate")
# From the lowest ratio to the highest.
LEVELS = ("release_ltv", "initial_ltv", "call_ltv", "liquidation_ltv")
PAYOUTS = ("date", "btc", "price_usd", "pool", "id", "fee_btc", "from", "hashrate_ehs", "rejected")


def _told(now: datetime, at: datetime) -> dict[str, Any]:
    return {"at": at, "known_at": now, "source": "import", "kind": "measured"}


def coins(text: Sheet, mapping: Mapping[str, str], now: datetime, zone: tzinfo = UTC) -> list[AnyRecord]:
    """Coins that are held: a lot a row. Needs date, btc and cost_usd (what the lot cost in all)."""
    seen: Counter[str] = Counter()

    def lot(row: SheetRow) -> Opening:
        at, sats, cost = row.moment("date"), row.sats("btc"), row.cents("cost_usd")
        if sats <= 0:
            raise SheetError(f"line {row.line}, btc: {row.text('btc')} is not above 0; a lot holds coins")
        if cost < 0:
            raise SheetError(f"line {row.line}, cost_usd: {cost} is negative; give what the lot cost, 0 at least")
        place = row.text("place", "Treasury")
        try:
            coins_at(place)
        except EntryError as error:
            raise SheetError(f"line {row.line}, place: {error}") from error
        name = row.text("id", "") or _name(seen, f"{at.isoformat()}|{sats}|{cost}|{place}")
        return Opening(**_told(now, at), opening_id=name, cash_usd=Decimal(0), sats=sats, cost_usd=cost, place=place)

    records = each(rows(text, COINS[:3], COINS, mapping, zone), lot)
    _unique(records, "id", lambda one: one.opening_id)
    return [*records]


def loans(text: Sheet, mapping: Mapping[str, str], now: datetime, zone: tzinfo = UTC) -> list[AnyRecord]:
    """Loans that stand: terms, what is owed, what is pledged. Needs loan, debt and pledged_btc; terms that are not
    known stay empty, those only known within bounds are ranges."""

    def loan(row: SheetRow) -> list[AnyRecord]:
        records: list[AnyRecord] = []
        name, at = row.text("loan"), row.moment("date", now)
        debt, sats, currency = row.cents("debt"), row.sats("pledged_btc"), row.text("currency", "USD").upper()
        if currency not in COMMODITIES:
            raise SheetError(f"line {row.line}, currency: {currency!r} is not known; use {', '.join(COMMODITIES)}")
        if debt < 0 or sats < 0:
            raise SheetError(f"line {row.line}: debt and pledged_btc are 0 or more")
        said = row.text("rehypothecation", "unknown").lower()
        again = one_of(REHYPOTHECATION, said)
        if again is None:
            raise SheetError(f"line {row.line}, rehypothecation: {said!r}; write yes, no or unknown")
        cure = row.number("cure_hours", Decimal(-1))
        levels = {one: row.ratio(one) for one in LEVELS}
        _rising(row, levels)
        records.append(
            Loan(
                **_told(now, at),
                loan_id=name,
                lender=row.text("lender", "not named"),
                currency=currency,
                cure_hours=int(cure) if cure >= 0 else None,
                matures=row.moment("matures") if row.text("matures", "") else None,
                may_rehypothecate=again,
                rate=row.ratio("rate"),
                reference=_reference(row),
                margin=row.ratio("margin"),
                initial_ltv=levels["initial_ltv"],
                call_ltv=levels["call_ltv"],
                release_ltv=levels["release_ltv"],
                liquidation_ltv=levels["liquidation_ltv"],
            )
        )
        if debt:
            records.append(
                LoanFlow(**_told(now, at), flow_id=f"{name} opening", loan_id=name, what="opening", amount=debt)
            )
        if sats:
            place = row.text("place", "Treasury")
            records.append(Pledge(**_told(now, at), pledge_id=f"{name} opening", loan_id=name, sats=sats, place=place))
        return records

    records = [
        one for row in each(rows(text, ("loan", "debt", "pledged_btc"), LOANS, mapping, zone), loan) for one in row
    ]
    _unique([one for one in records if isinstance(one, Loan)], "loan", lambda one: one.loan_id)
    return records


def _reference(row: SheetRow) -> str:
    """The rate that a loan floats with. Raises SheetError where it has a fixed one too, or a margin over none."""
    reference = row.text("reference", "")
    if reference and row.text("rate", ""):
        raise SheetError(f"line {row.line}, rate: the loan floats with {reference}; leave it empty, or take that out")
    if row.text("margin", "") and not reference:
        raise SheetError(f"line {row.line}, margin: is on top of a reference rate; name it, or give the whole as rate")
    return reference


def rates(text: Sheet, mapping: Mapping[str, str], now: datetime, zone: tzinfo = UTC) -> list[AnyRecord]:
    """Reference rates: what each was fixed at from a day on. Needs date, reference and rate."""

    def fixing(row: SheetRow) -> RateFixing:
        try:
            fixed = fixed_rate(row.text("rate").replace(",", ".") if row.decimal_comma else row.text("rate"))
        except ValueError as error:
            if isinstance(error, SheetError):
                raise
            raise SheetError(f"line {row.line}, rate: {error}") from error
        return RateFixing(**_told(now, row.moment("date")), reference=row.text("reference"), rate=fixed)

    records = each(rows(text, RATES, RATES, mapping, zone), fixing)
    _unique(records, "date", lambda one: f"{one.reference} of {one.at:%Y-%m-%d}")
    return [*records]


def fixed_rate(text: str) -> Decimal:
    """`4.31 %` or `0.0431`, below nothing too. Raises ValueError."""
    plain = text.replace("%", "").strip()
    if not _PLAIN.fullmatch(plain):
        raise ValueError(f"{text!r} is no rate; write 4.31 % or 0.0431")
    rate = Decimal(plain) / 100 if "%" in text else Decimal(plain)
    if abs(rate) > 1:
        raise ValueError(f"{text!r} is more than 100 % a year; write 4.31 % or 0.0431")
    return rate


def payouts(text: Sheet, mapping: Mapping[str, str], now: datetime, zone: tzinfo = UTC) -> list[AnyRecord]:
    """A pool's statement: a payout a row. Needs date, btc and price_usd. `from`: the beginning of what it pays for,
    else a day before; `fee_btc`: what the pool kept; `hashrate_ehs` and `rejected`: what it counted, and what share of
    that it did not pay."""
    seen: Counter[str] = Counter()

    def payout(row: SheetRow) -> Payout:
        at, sats, pool = row.moment("date"), row.sats("btc"), row.text("pool", "pool")
        start = row.moment("from") if row.text("from", "") else datetime.fromtimestamp(at.timestamp() - 86_400, UTC)
        return Payout(
            **_told(now, at),
            payout_id=row.text("id", "") or _name(seen, f"{pool}|{at.isoformat()}|{sats}"),
            pool=pool,
            sats=sats,
            span_start=start,
            span_end=at,
            fee_sats=row.sats("fee_btc") if row.text("fee_btc", "") else 0,
            btc_usd=row.number("price_usd"),
            hashrate_hs=float(row.number("hashrate_ehs") * 10**18) if row.text("hashrate_ehs", "") else None,
            rejected=row.share("rejected"),
        )

    records = each(rows(text, PAYOUTS[:3], PAYOUTS, mapping, zone), payout)
    _unique(records, "id", lambda one: one.payout_id)
    return [*records]


def priced(text: Sheet, mapping: Mapping[str, str]) -> dict[datetime, Decimal]:
    """USD per bitcoin by moment. Needs time and price."""

    def one(row: SheetRow) -> tuple[datetime, Decimal]:
        price = row.number("price")
        if price <= 0:
            raise SheetError(f"line {row.line}, price: {price} is not above 0; leave hours without a price out")
        return row.utc("time"), price

    return dict(sorted(each(rows(text, ("time", "price"), ("time", "price"), mapping), one)))


def prices(text: Sheet, mapping: Mapping[str, str]) -> list[float]:
    """Hourly prices, oldest first. Needs time and price."""
    return [float(price) for price in priced(text, mapping).values()]


Reader = Callable[[Sheet, Mapping[str, str], datetime, tzinfo], list[AnyRecord]]
SHEETS: dict[str, tuple[Reader, tuple[str, ...]]] = {
    "coins": (coins, COINS),
    "loans": (loans, LOANS),
    "payouts": (payouts, PAYOUTS),
    "rates": (rates, RATES),
}


def _rising(row: SheetRow, levels: Mapping[str, Range | None]) -> None:
    """Release, initial, call and liquidation lie one above the other."""
    known = [(name, level) for name, level in levels.items() if level is not None]
    for (below, low), (above, high) in itertools.pairwise(known):
        if low.low > high.high:
            raise SheetError(f"line {row.line}: {below} is above {above}; levels rise from release to liquidation")


def _name(seen: Counter[str], content: str) -> str:
    """A name for a row without one, the same whenever the same sheet is read: by its content, and a number where two
    rows say the same."""
    seen[content] += 1
    return f"row-{hashlib.sha256(content.encode()).hexdigest()[:12]}-{seen[content]}"


def _unique(records: Sequence[Any], column: str, name: Callable[[Any], str]) -> None:
    twice = [one for one, count in Counter(map(name, records)).items() if count > 1]
    if twice:
        raise SheetError(f"{column}: {twice[0]!r} stands twice; give each row its own, or leave the column out")

"""An entry as bytes and back: amounts in units of their commodity's last decimal, times in microseconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec

from tieline.ledger.entry import COMMODITIES, Account, Amount, Entry, Posting

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)


class PackedPosting(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    account: Account
    units: int
    commodity: str
    lot: str | None = None
    cost: int | None = None
    cost_commodity: str = "USD"
    acquired: int | None = None


class PackedEntry(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    at: int
    key: str
    narration: str
    postings: tuple[PackedPosting, ...]
    refs: tuple[str, ...] = ()
    simulated: bool = False
    known_at: int | None = None
    reverses: str | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(PackedEntry).decode


def units(number: Decimal, commodity: str) -> int:
    """An amount as a whole number of what its commodity's last decimal counts."""
    return int(number.scaleb(COMMODITIES[commodity].places))


def number(units: int, commodity: str) -> Decimal:
    return Decimal(units).scaleb(-COMMODITIES[commodity].places)


def us(at: datetime) -> int:
    return (at - EPOCH) // _US


def moment(us: int) -> datetime:
    return EPOCH + us * _US


def packed(entry: Entry) -> PackedEntry:
    return PackedEntry(
        us(entry.at),
        entry.key,
        entry.narration,
        tuple(
            PackedPosting(
                p.account,
                units(p.amount.number, p.amount.commodity),
                p.amount.commodity,
                p.lot,
                None if p.cost is None else units(p.cost.number, p.cost.commodity),
                "USD" if p.cost is None else p.cost.commodity,
                None if p.acquired is None else us(p.acquired),
            )
            for p in entry.postings
        ),
        entry.refs,
        entry.simulated,
        None if entry.known_at is None else us(entry.known_at),
        entry.reverses,
    )


def unpacked(one: PackedEntry) -> Entry:
    return Entry(
        moment(one.at),
        one.key,
        one.narration,
        tuple(
            Posting(
                p.account,
                Amount(number(p.units, p.commodity), p.commodity),
                p.lot,
                None if p.cost is None else Amount(number(p.cost, p.cost_commodity), p.cost_commodity),
                None if p.acquired is None else moment(p.acquired),
            )
            for p in one.postings
        ),
        one.refs,
        one.simulated,
        None if one.known_at is None else moment(one.known_at),
        one.reverses,
    )


def pack(entry: Entry) -> bytes:
    return _encode(packed(entry))


def unpack(body: bytes) -> Entry:
    """Raises msgspec.DecodeError for what is no entry."""
    return unpacked(_decode(body))

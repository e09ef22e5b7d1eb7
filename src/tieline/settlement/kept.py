"""The books of a store on disk beside it: where they were left, they go on.

What a bookkeeper knows is kept as references: a record by its sequence number, an entry by its key. Where the ledger
cannot be used (another process writes it and it was made otherwise, or it is damaged), the books are folded in memory.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import TypeVar, cast

import msgspec

from tieline.books import Bookkeeper
from tieline.books.keeper import BookedRecord, KeeperState, Unbookable
from tieline.books.policy import policy_of
from tieline.ledger import Book, EntryError, LotPolicy, Method, pack, unpack
from tieline.records import Loan, PolicyChosen, RateFixing, Record
from tieline.store import DamagedError, Store, StoreError
from tieline.store.database import REAL, Disk
from tieline.store.ledger import LedgerStore, Watermark, remove

T = TypeVar("T")

log = logging.getLogger("tieline.settlement")

# Of what a ledger holds, and how; another is made anew.
FORM = 3


class PackedStanding(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """A record's number, the keys of its entries, its lots; `alone` where the entries it makes by itself are not those
    that were booked."""

    seq: int
    keys: tuple[str, ...]
    lots: tuple[str, ...] = ()
    alone: tuple[bytes, ...] = ()


class PackedState(msgspec.Struct, frozen=True, array_like=True):
    corrections: int
    open_from: datetime | None
    loans: dict[str, int]
    aside: dict[str, tuple[int, str]]
    waiting: dict[str, int]
    prices: dict[str, Decimal]
    policy: int | None
    fixings: dict[str, int] = {}


_pack = msgspec.msgpack.Encoder().encode
_standing = msgspec.msgpack.Decoder(PackedStanding).decode
_state = msgspec.msgpack.Decoder(PackedState).decode


class LedgerOfStore:
    """A ledger, and the store that it is a projection of."""

    def __init__(self, ledger: LedgerStore, store: Store, read: str) -> None:
        self.ledger, self._store, self._read = ledger, store, read
        self._new: dict[str, BookedRecord] = {}

    # --- what stands of each happening -------------------------------------------------------

    def get(self, name: str) -> BookedRecord | None:
        standing = self._new.get(name)
        if standing is not None:
            return standing
        body = self.ledger.standing(name)
        return None if body is None else self._unpacked(_standing(body))

    def __setitem__(self, name: str, standing: BookedRecord) -> None:
        self._new[name] = standing

    def _unpacked(self, packed: PackedStanding) -> BookedRecord:
        record = self._record(packed.seq)
        if packed.alone:
            return BookedRecord(record, tuple(unpack(one) for one in packed.alone), packed.lots, packed.seq)
        entries = [self.ledger.find(key) for key in packed.keys]
        return BookedRecord(record, tuple(one for one in entries if one is not None), packed.lots, packed.seq)

    def _packed(self, standing: BookedRecord) -> bytes:
        assert standing.seq is not None
        booked = [self.ledger.find(one.key) for one in standing.entries]
        same = booked == list(standing.entries)
        alone = () if same else tuple(pack(one) for one in standing.entries)
        return _pack(PackedStanding(standing.seq, tuple(one.key for one in standing.entries), standing.lots, alone))

    def _record(self, seq: int) -> Record:
        stored = self._store.get(seq)
        if not isinstance(stored, Record):
            raise EntryError(f"record {seq}, which is booked, cannot be read by this version")
        return stored

    # --- where it was left -------------------------------------------------------------------

    def keeper(self, method: Method) -> tuple[Bookkeeper, int | None]:
        """The bookkeeper as it was left, and how far it had read; None: it has yet to begin."""
        mark = self.ledger.watermark
        state = KeeperState()
        if mark is not None:
            keeper = _state(mark.state)
            state = KeeperState(
                keeper.corrections,
                keeper.open_from,
                keeper.prices,
                None if keeper.policy is None else (cast("PolicyChosen", self._record(keeper.policy)), keeper.policy),
                {name: (cast("Loan", self._record(seq)), seq) for name, seq in keeper.loans.items()},
                {name: (Unbookable(self._record(seq), why), seq) for name, (seq, why) in keeper.aside.items()},
                {name: (self._record(seq), seq) for name, seq in keeper.waiting.items()},
                {name: (cast("RateFixing", self._record(seq)), seq) for name, seq in keeper.fixings.items()},
            )
        if state.policy is not None:
            policy_of(state.policy[0].text)  # what is counted besides, before amounts of it are read
        book = Book(policy=LotPolicy(method), journal=self.ledger)
        return Bookkeeper(book=book, standings=self, state=state), None if mark is None else mark.seq

    def flush(self, keeper: Bookkeeper, seq: int) -> None:
        """Put on disk what was booked since, with how far that is. Raises StoreError; it can be tried again."""
        if not self.ledger.writes:
            return
        for name, standing in self._new.items():
            self.ledger.stand(name, self._packed(standing))
        state = keeper.state
        packed = PackedState(
            state.corrections,
            state.open_from,
            {name: seq for name, (_, seq) in _numbered(state.loans)},
            {name: (seq, one.why) for name, (one, seq) in _numbered(state.aside)},
            {name: seq for name, (_, seq) in _numbered(state.waiting)},
            state.prices,
            None if state.policy is None else state.policy[1],
            {name: seq for name, (_, seq) in _numbered(state.fixings)},
        )
        self.ledger.flush(Watermark(self._read, seq, _pack(packed)))
        self._new = {}


def _numbered(known: dict[str, tuple[T, int | None]]) -> Iterator[tuple[str, tuple[T, int]]]:
    for name, (one, seq) in known.items():
        assert seq is not None
        yield name, (one, seq)


def ledger_of(store: Store, lots: Method, disk: Disk = REAL) -> LedgerOfStore | None:
    """The ledger beside a store; made where there is none, and anew where it is of another store, form or method.

    None: the store is in memory, or the ledger cannot be used by this process now.
    """
    if store.place is None:
        return None
    path = store.place.folder / "books.db"
    read = f"{FORM} {store.epoch} {lots}"
    for _ in range(2):
        try:
            ledger = LedgerStore(path, disk=disk)
            mark = ledger.watermark
        except DamagedError as error:
            log.warning("%s; it is a copy of what the records say, and is made anew", error)
            remove(path)
            continue
        except StoreError as error:
            log.info("the books are folded in memory: %s", error)
            return None
        if mark is None or (mark.read == read and mark.seq <= store.last_seq()):
            if mark is not None or ledger.writes:
                return LedgerOfStore(ledger, store, read)
            ledger.close()
            return None
        writes = ledger.writes
        ledger.close()
        if not writes:
            return None
        log.info("the books at %s were made of another store or by another method of lots; they are made anew", path)
        remove(path)
    return None

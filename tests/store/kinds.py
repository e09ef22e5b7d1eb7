"""The four databases under one set of words, for tests that hold for each of them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tieline import records
from tieline.records import PriceTick
from tieline.store import BatchStore, Outbox, Spool, Store
from tieline.store.batches import StoredFile

T0 = datetime(2026, 11, 1, tzinfo=UTC)


def tick(number: int) -> PriceTick:
    at = T0 + timedelta(hours=number)
    return PriceTick(at=at, known_at=at, source="t", kind="measured", market="A", price_usd_per_mwh=float(number))


@dataclass(frozen=True)
class One:
    """How one of them is opened, given a numbered thing to keep, and asked for the numbers it has."""

    name: str
    open: Callable[..., Any]
    put: Callable[[Any, int], None]
    held: Callable[[Any], list[int]]


def _put_usage(spool: Spool, number: int) -> None:
    spool.put(f"k{number}", b'{"n":%d}' % number + b" " * 400)
    spool.totals()  # it sees what was put before: it is on disk


def _put_file(batches: BatchStore, number: int) -> None:
    batches.add_file(StoredFile(f"file-{number}", "acme", "in", "batch", 4, 0, 9_999_999_999), b"line" * 100)


ALL = [
    One(
        "store",
        lambda path, **k: Store(path, records.encode, records.decode, **k),
        lambda s, n: s.append([tick(n)]),
        lambda s: [int(r.price_usd_per_mwh) for r in s.between(PriceTick, T0, T0 + timedelta(days=9_999))],
    ),
    One(
        "outbox",
        Outbox,
        lambda o, n: o.put([(f"k{n}", b"body" * 100)]),
        lambda o: [int(key[1:]) for _, key, _ in o.take(10_000)],
    ),
    One("spool", Spool, _put_usage, lambda s: [int(key[1:]) for _, key, _ in s.take(10_000)]),
    One(
        "batches",
        BatchStore,
        _put_file,
        lambda b: [int(f.id[5:]) for f in b.files("acme", "batch", "", 10_000, oldest_first=True)],
    ),
]

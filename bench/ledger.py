"""The books under load: records appended and booked a second, a month closed, a lot picked, a balance as known.

    .venv/bin/python bench/ledger.py [--records 200000] [--lots 100000]

Records of forty sites and a pool go into a store on disk in batches, each durable when it returns; the books follow
them as the console's do. Then every figure is asked again and again, and the book must sum to zero.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from tieline import records
from tieline.books import month_span
from tieline.books.accounts import COINS, TREASURY
from tieline.ledger import BTC, btc_of_sats, chain
from tieline.records import Payout, PowerBill, Record, Trade
from tieline.settlement.month import Books, books_of
from tieline.store import Store

START = datetime(2026, 1, 1, tzinfo=UTC)
BATCH = 1_000


def made(count: int, lots: int) -> Iterator[Record]:
    """A year: payouts until there are `lots`, a sale now and then, power bills of forty sites for the rest."""
    rng = random.Random(12)
    for number in range(count):
        at = START + timedelta(seconds=365 * 86_400 * number / count)
        told = {"at": at, "known_at": at, "source": "bench", "kind": "measured"}
        if number * lots // count != (number + 1) * lots // count:
            price = Decimal(rng.randrange(40_000_00, 120_000_00)).scaleb(-2)
            yield Payout(
                **told, payout_id=f"p{number}", pool="p", sats=rng.randrange(10**5, 10**8), span_start=at, span_end=at,
                btc_usd=price,
            )  # fmt: skip
        elif number % 500 == 499:
            yield Trade(
                **told, trade_id=f"t{number}", sats=rng.randrange(10**4, 10**6), price_usd=Decimal(70_000),
                fee_usd=Decimal(1), venue="v",
            )  # fmt: skip
        else:
            yield PowerBill(
                **told, site_id=f"s-{number % 40}", length_s=3600, mining_wh=rng.uniform(1e6, 5e7), inference_wh=1e6,
                aux_wh=1e5, cost_usd=Decimal(rng.randrange(1, 200_000)).scaleb(-2),
            )  # fmt: skip


def timed(job: Callable[[], object], times: int) -> tuple[float, float]:
    """(median, worst of a hundred) in milliseconds."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        job()
        took.append((time.perf_counter() - began) * 1e3)
    took.sort()
    return statistics.median(took), took[min(len(took) - 1, int(len(took) * 0.99))]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--lots", type=int, default=100_000)
    asked = parser.parse_args()
    figures: dict[str, object] = {"records": asked.records}
    with tempfile.TemporaryDirectory() as name:
        store = Store(Path(name) / "store.db", records.encode, records.decode)
        books = Books()
        books.catch_up(store)
        batch: list[Record] = []
        appended = booked = 0.0
        for record in made(asked.records, asked.lots):
            batch.append(record)
            if len(batch) == BATCH:
                began = time.perf_counter()
                store.append(batch)
                appended += time.perf_counter() - began
                began = time.perf_counter()
                books.catch_up(store)
                booked += time.perf_counter() - began
                batch = []
        store.append(batch)
        books.catch_up(store)
        book = books.keeper.book
        figures["appended, durable, a second"] = round(asked.records / appended)
        figures["booked a second"] = round(asked.records / booked)
        figures["entries"], figures["open lots"] = len(book.entries), len(book.lots(TREASURY))
        figures["set aside"] = len(books.keeper.unbookable)
        figures["imbalance"] = {name: str(number) for name, number in book.imbalance().items()}
        june = month_span("2026-06")
        figures["month's changes, ms (median, p99)"] = timed(lambda: book.changes(*june), 20)
        half = START + timedelta(days=165, hours=3)
        figures["balance at any moment, ms"] = timed(lambda: book.change(COINS, BTC, None, half), 20)
        for method in ("fifo", "lifo", "hifo", "average"):
            book.method = method  # type: ignore[assignment]  # one of the four
            figures[f"lots picked, {method}, ms"] = timed(lambda: book.pick(TREASURY, btc_of_sats(5 * 10**8)), 20)
        book.method = "fifo"
        began = time.perf_counter()
        last = list(chain(book.entries))[-1]
        figures["chain verified, s"], figures["last digest"] = round(time.perf_counter() - began, 2), last[:12]
        began = time.perf_counter()
        books_of(store, known=half)
        figures["books as known at a moment, folded anew, s"] = round(time.perf_counter() - began, 2)
        figures["memory, MB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        store.close()
    for name, value in figures.items():
        if isinstance(value, tuple):
            figures[name] = [round(one, 2) for one in value]
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()

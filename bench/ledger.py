"""The books under load: records appended and booked a second, a month closed, a lot picked, a balance as known.

    .venv/bin/python bench/ledger.py [--records 1000000] [--lots 100000] [--batch 5000] [--beancount 100000]
                                     [--server]

A year's records of forty sites and a pool go into a store on disk in batches, each durable when it returns, and the
ledger beside it follows, checked and durable, in a process of its own whose memory is measured. Then every figure is
asked again and again, the book must sum to zero, and each digest must be what it was. Then a process that goes on with
the year is killed, and store and books are opened again. With `--beancount`, the first so many entries are written as
beancount's text, and its own loader reads them, as another program. With `--server` the records lie on a PostgreSQL
server on the same disk, with its settings as they come (each commit is synced); the ledger is a file also then.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from machine import processor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.store.server import Server

from tieline import records
from tieline.books import Bookkeeper, month_span
from tieline.books.accounts import TREASURY
from tieline.books.export import beancount
from tieline.books.seals import unsealed
from tieline.ledger import Book, LotPolicy, btc_of_sats
from tieline.records import Closing, Payout, PowerBill, Record, Trade
from tieline.settlement.month import Books
from tieline.store import Store
from tieline.store.place import StorePlace

START = datetime(2026, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=365)
ASKED = 2_000


def made(count: int, lots: int, start: datetime = START) -> Iterator[Record]:
    """A year: payouts until there are `lots`, a sale now and then, power bills of forty sites for the rest. Most are
    learned within the hour, some days later."""
    rng = random.Random(12)
    for number in range(count):
        at = start + YEAR * number / count
        late = timedelta(days=rng.randrange(1, 40)) if number % 50 == 7 else timedelta(minutes=rng.randrange(60))
        told = {"at": at, "known_at": at + late, "source": "bench", "kind": "measured"}
        if number * lots // count != (number + 1) * lots // count:
            price = Decimal(rng.randrange(40_000_00, 120_000_00)).scaleb(-2)
            yield Payout(
                **told, payout_id=f"p{at:%y}-{number}", pool="p", sats=rng.randrange(10**5, 10**8), span_start=at,
                span_end=at, btc_usd=price,
            )  # fmt: skip
        elif number % 500 == 499:
            yield Trade(
                **told, trade_id=f"t{at:%y}-{number}", sats=rng.randrange(10**4, 10**6), price_usd=Decimal(70_000),
                fee_usd=Decimal(1), venue="v",
            )  # fmt: skip
        else:
            yield PowerBill(
                **told, site_id=f"s-{number % 40}", length_s=3600, mining_wh=rng.uniform(1e6, 5e7), inference_wh=1e6,
                aux_wh=1e5, cost_usd=Decimal(rng.randrange(1, 200_000)).scaleb(-2),
            )  # fmt: skip


def timed(job: Callable[[], object], times: int) -> list[float]:
    """[median, p99] in milliseconds."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        job()
        took.append((time.perf_counter() - began) * 1e3)
    took.sort()
    return [round(statistics.median(took), 2), round(took[min(len(took) - 1, int(len(took) * 0.99))], 2)]


def seconds(job: Callable[[], object]) -> float:
    began = time.perf_counter()
    job()
    return round(time.perf_counter() - began, 2)


class Clock:
    """Wall and processor seconds of what runs between `with`."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __enter__(self) -> Clock:
        self.begun = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter() - self.begun[0]
        self.cpu += time.process_time() - self.begun[1]


def filled(store: Store, books: Books, count: int, lots: int, batch_size: int) -> dict[str, Any]:
    """Append and book a year."""
    appended, booked = Clock(), Clock()
    happens = made(count, lots)
    while batch := list(islice(happens, batch_size)):
        with appended:
            store.append(batch)
        with booked:
            books.catch_up(store)
    both = appended.wall + booked.wall
    return {
        "records stored, durable, a second": round(count / appended.wall),
        "entries checked, booked, durable, a second": round(count / booked.wall),
        "both, a second": round(count / both),
        "both, a second of processor": round(count / (appended.cpu + booked.cpu)),
        "of the clock neither ran nor was ours, s": round(both - appended.cpu - booked.cpu, 1),
    }


def asked(book: Book) -> dict[str, Any]:
    """Balances as known, the year's changes, picks by each method."""
    rng = random.Random(7)
    slots = list(book.balances())

    def as_known() -> None:
        account, commodity = rng.choice(slots)
        book.balance(account, commodity, START + YEAR * rng.random(), START + YEAR * rng.random())

    figures: dict[str, Any] = {
        "a balance of any day as known at any moment, ms": timed(as_known, ASKED),
        "all balances as known at any moment, ms": timed(
            lambda: book.as_known(START + YEAR * rng.random()).balances(), 50
        ),
        "a month's changes of every account, ms": timed(lambda: book.changes(*month_span("2026-06")), 50),
        "all lots as known at a moment, s": seconds(lambda: book.as_known(START + YEAR / 2).lots()),
    }
    for method in ("fifo", "lifo", "hifo"):
        book.policy = LotPolicy(method)
        first = seconds(lambda: book.pick(TREASURY, btc_of_sats(10**8)))
        figures[f"lots picked, {method}, ms"] = timed(lambda: book.pick(TREASURY, btc_of_sats(10**8)), 500)
        figures[f"lots picked, {method}, the first after a start, s"] = first
    held = [lot.lot for lot in book.lots(TREASURY)]
    figures["lots picked, named, ms"] = timed(lambda: book.pick(TREASURY, btc_of_sats(10), (rng.choice(held),)), 500)
    book.policy = LotPolicy()
    return figures


def averaged(lots: int) -> dict[str, Any]:
    """Picks at the average, where as many coins came in one by one: they lie in one pool."""
    keeper = Bookkeeper("average")
    for record in made(lots, lots):
        keeper.take(record)
    return {
        "lots picked, average, ms": timed(lambda: keeper.book.pick(TREASURY, btc_of_sats(5 * 10**8)), 500),
        "lots at the average": len(keeper.book.lots(TREASURY)),
    }


def closed(store: Store, books: Books) -> float:
    """A month closed with a price: interest, fair value, digests of what is not sealed, all of it durable."""
    told: dict[str, Any] = {"at": START + YEAR, "known_at": START + YEAR, "source": "bench", "kind": "measured"}
    sealed = len(books.keeper.book.entries) * 11 // 12
    began = time.perf_counter()
    digests = books.keeper.book.journal.digests
    pieces = list(unsealed(lambda first: digests(max(first, sealed)), ()))
    assert sum(len(some) for _, some in pieces)
    store.append([Closing(**told, month="2026-12", by="b", entries=0, digest="", btc_usd=Decimal(90_000))])
    books.catch_up(store)
    return round(time.perf_counter() - began, 2)


def stored_in(place: StorePlace) -> Store:
    return Store(place, records.encode, records.decode)


def goes_on(folder: Path, url: str | None, batch_size: int) -> None:
    """The year after, until it is killed; says so when a batch is on disk."""
    store, books = stored_in(StorePlace(folder, url)), Books()
    happens = made(10**6, 10**5, START + YEAR)
    while batch := list(islice(happens, batch_size)):
        store.append(batch)
        books.catch_up(store)
        print("booked", flush=True)


def killed(folder: Path, url: str | None, batch_size: int) -> dict[str, Any]:
    """A process that appends and books is killed (SIGKILL) in the middle of it; then both are opened again, and the
    books catch up with what was stored and not booked."""
    some = [sys.executable, __file__, "--goes-on", str(folder), "--batch", str(batch_size)]
    going = subprocess.Popen([*some, *([] if url is None else ["--url", url])], stdout=subprocess.PIPE, text=True)
    assert going.stdout is not None
    for _ in range(3):
        assert going.stdout.readline() == "booked\n"
    time.sleep(random.Random(3).random() / 3)
    going.send_signal(signal.SIGKILL)
    going.wait()
    with Clock() as opened:
        store = stored_in(StorePlace(folder, url))
    with Clock() as followed:
        books = Books()
        books.catch_up(store)
    figures = {
        "after a kill, the store opened, s": round(opened.wall, 2),
        "after a kill, the books opened and caught up, s": round(followed.wall, 2),
        "after a kill, both, s of processor": round(opened.cpu + followed.cpu, 2),
        "after a kill, trial balance": str(books.keeper.book.imbalance() or "zero"),
    }
    books.close()
    store.close()
    return figures


def beside(book: Book, count: int, folder: Path) -> dict[str, Any]:
    """Beancount's own loader over the first entries, as a program of its own."""
    some = Book(islice(iter(book.entries), count))
    text = folder / "year.beancount"
    text.write_text("\n".join(beancount(some, "bench")) + "\n")
    load = (
        "import resource, sys; from beancount import loader; entries, errors, _ = loader.load_file(sys.argv[1]);"
        "print(len(entries), len(errors), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", load, str(text)], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin"}
    )
    took = time.perf_counter() - began
    entries, errors, memory = done.stdout.split()
    return {
        "beancount, entries": count,
        "beancount, loaded, s": round(took, 1),
        "beancount, directives and errors": [int(entries), int(errors)],
        "beancount, memory, MB": int(memory),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--lots", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=5_000, help="Records that are durable together.")
    parser.add_argument("--beancount", type=int, default=100_000, help="Entries that it loads; 0: none.")
    parser.add_argument("--server", action="store_true", help="Records on a PostgreSQL server, started for this.")
    parser.add_argument("--goes-on", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.goes_on is not None:
        goes_on(given.goes_on, given.url, given.batch)
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tll")))
        url = None
        if given.server:
            server = Server(folder / "server")
            stack.callback(server.stop)
            url = server.url()
        kept = folder / "kept"
        kept.mkdir(mode=0o700)
        print(json.dumps(measured(given, kept, url), indent=2))


def measured(given: argparse.Namespace, folder: Path, url: str | None) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "hardware": f"{hardware()}, Python {platform.python_version()}",
        "records in": "a file" if url is None else "PostgreSQL",
        "records": given.records,
        "in batches of": given.batch,
    }
    store, books = stored_in(StorePlace(folder, url)), Books()
    figures |= filled(store, books, given.records, given.lots, given.batch)
    book = books.keeper.book
    figures["entries"], figures["open lots"] = len(book.entries), len(book.lots(TREASURY))
    figures["set aside"] = len(books.keeper.unbookable)
    figures |= asked(book)
    figures["a month closed, s"] = closed(store, books)
    figures["trial balance"] = "zero" if not book.imbalance() else str(book.imbalance())
    figures["memory, MB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    figures["on disk, MB"] = round(sum(path.stat().st_size for path in folder.glob("books.db*")) / 1e6)
    books.close()
    again = Books()
    with Clock() as opened:
        again.catch_up(store)
    figures["opened where it was left, s"] = round(opened.wall, 2)
    figures["opened, s of processor"] = round(opened.cpu, 2)
    figures["every digest made anew, s"] = seconds(lambda: list(again.keeper.book.journal.proven()))
    figures |= averaged(given.lots)
    if given.beancount:
        figures |= beside(again.keeper.book, given.beancount, folder)
    again.close()
    store.close()
    return figures | killed(folder, url, given.batch)


def hardware() -> str:
    """The processor's name and how many are seen."""
    import os

    return f"{processor()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()

"""The books over a disk that loses power between any two writes: from one seed.

    .venv/bin/python -m tests.store.simulate_books --kills 200

Records of money (payouts, sales, bills, corrections of each, a loan, closed months) go into a store in batches; the
ledger beside it follows. The power goes at a drawn write of either, what was not synced is lost, torn or there. After
each start: every acknowledged record is in the books once, each commodity sums to zero, lots are balances, the chain of
digests and the sums by day hold, and all of it is what a fold of the same records in memory says.
"""

from __future__ import annotations

import argparse
import logging
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from tests.store.simdisk import SimulatedDisk
from tests.store.simulate import ViolationError

from tieline import records
from tieline.ledger import BTC
from tieline.records import Closing, Loan, LoanFlow, Payout, Pledge, PowerBill, Record, Trade
from tieline.settlement.month import Books
from tieline.store import Store, StoreError

T0 = datetime(2026, 1, 1, tzinfo=UTC)
BACK_S = 5.0


def drawn(draw: random.Random) -> Iterator[Record]:
    """What happens, for ever: a few hours apart, some of it told anew."""
    told: list[Record] = []
    for number in range(10**9):
        at = T0 + timedelta(hours=5 * number)
        common = {"at": at, "known_at": at, "source": "test", "kind": "measured"}
        kind = draw.choices(["payout", "bill", "sale", "loan", "close", "again"], [6, 6, 3, 1, 0.3, 2])[0]
        price = Decimal(draw.randrange(40_000_00, 120_000_00)).scaleb(-2)
        made: list[Record] = []
        if kind == "payout":
            made = [Payout(**common, payout_id=f"p{number}", pool="p", sats=draw.randrange(1, 10**8), span_start=at,
                           span_end=at, btc_usd=price)]  # fmt: skip
        elif kind == "bill":
            made = [PowerBill(**common, site_id=f"s-{number % 5}", length_s=3600, mining_wh=1e6, inference_wh=1e5,
                              aux_wh=0.0, cost_usd=price)]  # fmt: skip
        elif kind == "sale":
            made = [Trade(**common, trade_id=f"t{number}", sats=draw.randrange(1, 10**8), price_usd=price,
                          fee_usd=Decimal(1), venue="v")]  # fmt: skip
        elif kind == "loan":
            made = [Loan(**common, loan_id=f"l{number}", lender="x"),
                    LoanFlow(**common, flow_id=f"f{number}", loan_id=f"l{number}", what="drawn", amount=price),
                    Pledge(**common, pledge_id=f"g{number}", loan_id=f"l{number}", sats=1_000)]  # fmt: skip
        elif kind == "close":
            month = f"{at - timedelta(days=31):%Y-%m}"
            made = [Closing(**common, month=month, by="b", entries=0, digest="", btc_usd=price)]
        elif told:
            made = [again(draw.choice(told), draw, at)]
        told += [one for one in made if isinstance(one, Payout | PowerBill | Trade)]
        yield from made


def again(record: Record, draw: random.Random, at: datetime) -> Record:
    """A record told anew, with another amount."""
    import msgspec

    if isinstance(record, PowerBill):
        return msgspec.structs.replace(record, known_at=at, cost_usd=record.cost_usd + 1)
    assert isinstance(record, Payout | Trade)
    return msgspec.structs.replace(record, known_at=at, sats=draw.randrange(1, 10**8))


def check(books: Books, store: Store, acknowledged: int) -> None:
    """Raises ViolationError."""
    if store.last_seq() < acknowledged:
        raise ViolationError(f"{acknowledged} records were acknowledged, {store.last_seq()} are there")
    book, ledger = books.keeper.book, books.ledger
    if ledger is None:
        raise ViolationError("the books are not on disk")
    if book.imbalance():
        raise ViolationError(f"the books do not close: {book.imbalance()}")
    ledger.verify()
    digests = list(ledger.proven())
    folded = Books(known=T0.replace(year=2900))  # in memory, from the first record on
    folded.catch_up(store)
    if list(folded.keeper.book.journal.digests()) != digests:
        raise ViolationError("the entries are not those that the records make")
    if folded.keeper.book.balances() != book.balances() or folded.keeper.unbookable != books.keeper.unbookable:
        raise ViolationError("balances or what is set aside are not those that the records make")
    for account in {account for account, of in book.balances() if of == BTC and account.startswith("Assets:")}:
        if book.lots(account) != folded.keeper.book.lots(account):
            raise ViolationError(f"lots of {account} are not those that the records make")
        if sum((one.number for one in book.lots(account)), Decimal(0)) != book.balance(account, BTC) and account in {
            one.account for one in book.lots(account)
        }:
            raise ViolationError(f"lots of {account} do not sum to its balance")


def run(seed: int, folder: Path, kills: int) -> Counter[str]:
    """One machine killed so often. Raises ViolationError."""
    draw = random.Random(seed)
    disk, happens, done = SimulatedDisk(folder, draw), drawn(draw), Counter[str]()
    acknowledged = 0
    try:
        while done["kills"] < kills:
            began = time.perf_counter()
            store = Store(folder / "store.db", records.encode, records.decode, disk=disk)
            books = Books(disk=disk)
            books.catch_up(store)
            back = time.perf_counter() - began
            if back > BACK_S:
                raise ViolationError(f"back after {back:.1f} s")
            done["slowest start, ms"] = max(done["slowest start, ms"], round(back * 1e3))
            check(books, store, acknowledged)
            disk.left = draw.randrange(1, draw.choice([40, 200, 1_500]))
            try:
                while not disk.off:
                    batch = [next(happens) for _ in range(draw.randrange(1, 12))]
                    store.append(batch)
                    acknowledged = store.last_seq()
                    books.catch_up(store)
            except StoreError:
                pass
            books.close()
            store.close()
            disk.power_cycle()
            done["kills"] += 1
        done["records"] = acknowledged
    finally:
        disk.off = True
        disk.close()
    return done + Counter(disk.counts)


def many(seed: int, kills: int, each: int = 20) -> Counter[str]:
    """`kills` on machines of `each`. Raises ViolationError, which names the seed."""
    total: Counter[str] = Counter()
    memory = Path("/dev/shm")
    for one in range(seed, seed + -(-kills // each)):
        folder = Path(tempfile.mkdtemp(prefix="tieline-books-", dir=memory if memory.is_dir() else None))
        try:
            done = run(one, folder, min(each, kills - total["kills"]))
            slowest = max(done.pop("slowest start, ms"), total.pop("slowest start, ms", 0))
            total += done
            total["slowest start, ms"] = slowest
        except Exception as error:
            raise ViolationError(f"seed {one}: {error}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return total


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--seed", type=int, default=0)
    given.add_argument("--kills", type=int, default=20)
    asked = given.parse_args()
    logging.disable()
    began = time.process_time()
    try:
        total = many(asked.seed, asked.kills)
    except ViolationError as error:
        print(f"VIOLATION, {error}")
        return 1
    print(f"{asked.kills} kills, {time.process_time() - began:.1f} s of processor, 0 violations")
    print(", ".join(f"{name} {count:,}" for name, count in sorted(total.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())

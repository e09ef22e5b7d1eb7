"""The ledger on disk answers as the one in memory does, whatever is asked, killed, altered or told anew."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.store.simulate_books import T0 as START
from tests.store.simulate_books import drawn, many

from tieline import records
from tieline.ledger import (
    BTC,
    USD,
    Book,
    Entry,
    EntryError,
    JournalSpan,
    MemoryJournal,
    Posting,
    ShortError,
    btc_of_sats,
    usd,
)
from tieline.ledger.lots import POOL
from tieline.settlement import month
from tieline.settlement.month import Books
from tieline.store import Store, StoreError
from tieline.store.ledger import AlteredError, LedgerStore, Watermark
from tieline.store.ledger import journal as ledger_store

T0 = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
END = datetime(2200, 1, 1, tzinfo=UTC)


def entry(n: int, hours: int, late: int, account: str, cents: int) -> Entry:
    """Dollars to an account, and every third time a lot of bitcoin."""
    at, value = T0 + hours * HOUR, usd(cents).number / 100
    lines = [Posting(account, usd(value)), Posting("Income:Other", usd(-value))]
    if n % 3 == 0:
        coins = btc_of_sats(abs(cents) + 1)
        lines += [
            Posting("Assets:Bitcoin:Treasury", coins, lot=f"l{n}", cost=usd(abs(value))),
            Posting("Trading:Bitcoin", -coins),
        ]
    return Entry(at, f"e{n}", "moved", tuple(lines), known_at=at + late * HOUR)


def test_amounts_as_large_as_they_may_be_are_summed_over_any_days() -> None:
    most = Decimal(10**14) - Decimal("0.01")
    book = Book(journal=LedgerStore(None))
    for n in range(1_200):  # together more than 2^63 cents
        at = T0 + n * HOUR
        book.book(
            Entry(at, f"e{n}", "large", (Posting("Assets:Cash", usd(most)), Posting("Equity:Opening", usd(-most))))
        )
    assert isinstance(book.journal, LedgerStore)
    book.journal.flush(Watermark("x", 1, b""))
    again = Book(journal=book.journal)
    assert again.balances() == {("Assets:Cash", USD): 1_200 * most, ("Equity:Opening", USD): -1_200 * most}
    half = T0 + 600 * HOUR
    assert again.balance("Assets:Cash", USD, half) == again.balance("Assets:Cash", USD, known=half - HOUR) == 600 * most
    assert sum(one.came for one in again.turnover("Assets:Cash", END)) == 1_200 * most
    lines = (Posting("Assets:Cash", usd(10**14)), Posting("Equity:Opening", usd(-(10**14))))
    with pytest.raises(EntryError, match="out of all bounds"):
        again.book(Entry(T0, "more", "too large", lines))


ENTRIES = st.lists(
    st.tuples(
        st.integers(0, 24 * 70),  # two months and a bit
        st.integers(0, 24 * 5),  # learned that much later
        st.sampled_from(["Assets:Cash", "Assets:Cash:Bank", "Assets:Cashier", "Expenses:Power"]),
        st.integers(-(10**6), 10**6),
    ),
    max_size=40,
)
MOMENTS = st.one_of(st.none(), st.integers(-5, 24 * 80).map(lambda n: T0 + n * HOUR))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ENTRIES, st.integers(0, 40), st.lists(st.tuples(MOMENTS, MOMENTS, MOMENTS), min_size=3, max_size=6))
def test_any_balance_of_any_days_as_known_at_any_moment_is_that_of_memory(
    told: list[Any], flushed: int, spans: list[tuple[Any, Any, Any]]
) -> None:
    ledger, memory = LedgerStore(None), MemoryJournal()
    disk, plain = Book(journal=ledger), Book(journal=memory)
    for n, one in enumerate(told):
        disk.book(entry(n, *one))
        plain.book(entry(n, *one))
        if n == flushed:
            ledger.flush(Watermark("x", n, b""))
    for start, end, known in spans:
        span = JournalSpan(start, end, known)
        for account in (None, "Assets:Cash", "Assets", "Nothing"):
            found, wanted = ledger.changes(span, account), memory.changes(span, account)
            assert {k: v for k, v in found.items() if v} == {k: v for k, v in wanted.items() if v}
            keys = sorted(one.key for one in ledger.between(span, account))
            assert keys == sorted(one.key for one in memory.between(span, account))
            for before in (0, flushed, flushed + 1, 99):
                found_ = ledger.newest(account or "", before, 7)
                assert found_ == memory.newest(account or "", before, 7)
            assert turned(ledger, account or "Assets", end or END) == turned(memory, account or "Assets", end or END)
        moment = known or END
        assert disk.as_known(moment).lots() == plain.as_known(moment).lots()
        assert disk.as_known(moment).count() == plain.as_known(moment).count()
    assert list(disk.entries) == list(plain.entries)
    assert list(ledger.proven()) == list(ledger.digests()) == list(memory.digests())
    ledger.verify()
    ledger.close()


def turned(journal: LedgerStore | MemoryJournal, account: str, end: datetime) -> dict[Any, tuple[Decimal, Decimal]]:
    found: dict[Any, tuple[Decimal, Decimal]] = {}
    for one in journal.turnover(account, end):
        came, left = found.get((one.account, one.commodity, one.day), (Decimal(0), Decimal(0)))
        found[one.account, one.commodity, one.day] = came + one.came, left + one.left
    return {key: both for key, both in found.items() if any(both)}


def filled(folder: Path, count: int = 60, seed: int = 3) -> Store:
    store = Store(folder / "store.db", records.encode, records.decode)
    happens: Iterator[Any] = drawn(random.Random(seed))
    store.append([next(happens) for _ in range(count)])
    return store


def test_the_books_go_on_where_they_were_left_and_are_what_memory_says(tmp_path: Path) -> None:
    store = filled(tmp_path)
    books = Books()
    assert books.catch_up(store) == 60
    books.close()
    happens = drawn(random.Random(4))
    store.append([next(happens) for _ in range(40)])
    again = Books()
    assert again.catch_up(store) == store.last_seq() - 60  # only what is new was read
    memory = Books(known=END)
    memory.catch_up(store)
    assert list(again.keeper.book.entries) == list(memory.keeper.book.entries)
    assert again.keeper.book.balances() == memory.keeper.book.balances()
    assert again.keeper.unbookable == memory.keeper.unbookable
    assert again.keeper.loans == memory.keeper.loans
    # Sold, pledged, corrected: lots as they were known on any day, out of rows of numbers and out of entries.
    for days in range(0, 30, 3):
        on_disk, plain = (one.keeper.book.as_known(START + timedelta(days=days)).lots() for one in (again, memory))
        assert on_disk == plain
    assert on_disk
    again.close()


@pytest.mark.parametrize("many", [10, 10**6], ids=["by number", "in order"])
def test_they_are_booked_a_page_at_a_time_and_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    """Others who hold the store in between see books that are behind, and nobody's record twice."""
    monkeypatch.setattr(month, "MANY", many)
    monkeypatch.setattr(month, "PAGE", 7)
    monkeypatch.setattr(month, "STRETCH", 15)
    store, whole, books = filled(tmp_path), Books(known=END), Books()
    whole.catch_up(store)
    steps, more = list[int](), True
    while more:
        count, more = books.step(store)
        steps.append(count)
        if len(steps) == 3:
            books.close()  # the console ends midway
            books = Books()
    assert sum(steps) == 60
    assert max(steps) <= 7
    assert len(steps) >= 60 / 7
    assert books.catch_up(store) == 0
    assert list(books.keeper.book.entries) == list(whole.keeper.book.entries)
    assert books.keeper.book.balances() == whole.keeper.book.balances()
    books.close()


def test_who_comes_second_reads_one_moment_and_keeps_the_rest_in_memory(tmp_path: Path) -> None:
    store = filled(tmp_path)
    first, second = Books(), Books()
    first.catch_up(store)
    second.catch_up(store)
    assert second.ledger is not None
    assert not second.ledger.writes
    happens = drawn(random.Random(5))
    store.append([next(happens) for _ in range(30)])
    assert first.catch_up(store) == second.catch_up(store) > 0
    assert first.keeper.book.balances() == second.keeper.book.balances()
    assert list(first.keeper.book.entries) == list(second.keeper.book.entries)
    first.close()
    second.close()


@pytest.mark.parametrize("locked", [True, False])
def test_of_two_writers_that_saw_the_same_coin_one_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locked: bool
) -> None:
    """The lock parts them; where a disk keeps no locks, the transaction that appends does."""
    coin = Posting("Assets:Bitcoin:Treasury", btc_of_sats(10), lot="l", cost=usd(5))
    paid = (coin, Posting("Trading:Bitcoin", btc_of_sats(-10)))
    taken = (replace(coin, amount=btc_of_sats(-7), cost=None), Posting("Trading:Bitcoin", btc_of_sats(7)))
    first = LedgerStore(tmp_path / "books.db")
    Book(journal=first).book(Entry(T0, "paid", "paid", paid))
    first.flush(Watermark("x", 1, b""))
    if not locked:
        monkeypatch.setattr(ledger_store, "_locked", lambda path: os.open(os.devnull, os.O_RDONLY))
    second = LedgerStore(tmp_path / "books.db")
    assert second.writes is not locked
    for name, one in (("first", first), ("second", second)):
        Book(journal=one).book(Entry(T0, name, "sold", taken))
    first.flush(Watermark("x", 2, b""))
    with pytest.raises(StoreError, match="another process writes it" if locked else "another process wrote it since"):
        second.flush(Watermark("x", 2, b""))
    first.close()
    second.close()
    again = LedgerStore(tmp_path / "books.db")
    again.verify()
    assert [one.key for one in again.entries] == ["paid", "first"]
    assert [one.number for one in again.lots()] == [btc_of_sats(3).number]
    with pytest.raises(ShortError, match="holds 0.00000003 BTC"):
        Book(journal=again).book(Entry(T0, "second", "sold", taken))
    again.close()


def test_another_method_or_another_store_makes_them_anew(tmp_path: Path) -> None:
    store = filled(tmp_path)
    first = Books()
    first.catch_up(store)
    first.close()
    pooled = Books("average")
    assert pooled.catch_up(store) == 60
    lots = [
        one for account, of in pooled.keeper.book.balances() if of == BTC for one in pooled.keeper.book.lots(account)
    ]
    assert lots
    assert all(one.lot.startswith(POOL) for one in lots)
    pooled.close()


def test_a_damaged_one_is_made_anew_and_an_altered_entry_is_named(tmp_path: Path) -> None:
    store = filled(tmp_path)
    books = Books()
    books.catch_up(store)
    wanted = books.keeper.book.balances()
    books.close()
    with apsw.Connection(str(tmp_path / "books.db")) as db:
        ((body,),) = db.execute("SELECT body FROM entry WHERE number = 7").fetchall()
        db.execute("UPDATE entry SET body = ? WHERE number = 7", (body.replace(b"Assets", b"Bssets"),))
    ledger = LedgerStore(tmp_path / "books.db")
    with pytest.raises(AlteredError) as altered:
        list(ledger.proven())
    assert altered.value.number == 6
    ledger.close()
    (tmp_path / "books.db").write_bytes(b"\x00" * 4096 + (tmp_path / "books.db").read_bytes()[4096:])
    again = Books()
    again.catch_up(store)
    assert again.keeper.book.balances() == wanted
    again.close()


def test_killed_at_drawn_writes_all_that_was_acknowledged_is_booked_once() -> None:
    done = many(seed=100, kills=12, each=6)
    assert done["kills"] == 12
    assert done["records"] > 20


def test_lots_that_are_not_the_sum_of_their_moves_are_named(tmp_path: Path) -> None:
    books = Books()
    books.catch_up(filled(tmp_path))
    books.close()
    ledger = LedgerStore(tmp_path / "books.db")
    ledger.verify()
    ledger.close()
    with apsw.Connection(str(tmp_path / "books.db")) as db:
        db.execute("UPDATE move SET cost = cost + 1 WHERE number = (SELECT max(number) FROM move WHERE units > 0)")
    ledger = LedgerStore(tmp_path / "books.db")
    with pytest.raises(StoreError, match="1 lots are not the sum of their moves"):
        ledger.verify()
    ledger.close()


def test_what_rounds_to_nothing_from_below_is_kept_as_it_was_booked(tmp_path: Path) -> None:
    """A tenth of a cent that a negative price of power brought: its digest must be the same when it is read back."""
    ledger = LedgerStore(tmp_path / "books.db")
    little = (Posting("Expenses:Power:Mining", usd("-0.001")), Posting("Assets:Cash", usd("0.001")))
    Book(journal=ledger).book(Entry(T0, "e", "little", little))
    booked = list(ledger.digests())
    ledger.flush(Watermark("x", 1, b""))
    assert list(ledger.proven()) == booked
    assert str(usd("-0.001")) == "0.00 USD"
    ledger.close()


def test_a_flush_that_fails_keeps_nothing_and_is_tried_again(tmp_path: Path) -> None:
    ledger = LedgerStore(tmp_path / "books.db")
    book = Book(journal=ledger)
    book.book(entry(0, 1, 1, "Assets:Cash", 100))
    ledger._db.run("CREATE TEMP TRIGGER no BEFORE INSERT ON lot BEGIN SELECT raise(ABORT, 'full'); END")
    with pytest.raises(Exception, match="full"):
        ledger.flush(Watermark("x", 1, b""))
    ledger._db.run("DROP TRIGGER no")
    ledger.flush(Watermark("x", 1, b""))
    assert book.balance("Assets:Cash", USD) == usd(1).number
    assert len(book.entries) == 1
    ledger.close()

"""Where entries are kept: in memory, and as bytes. What was known when, what moved on which day."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import msgspec
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tieline.ledger import (
    BTC,
    USD,
    Amount,
    Book,
    Entry,
    LotHeld,
    Posting,
    btc,
    btc_of_sats,
    chain,
    usd,
)
from tieline.ledger.journal import (
    JournalSpan,
    MemoryJournal,
    known_of,
    lot_moves,
    summed,
    touches,
    under,
)
from tieline.ledger.lots import pool_name
from tieline.ledger.wire import moment, number, pack, packed, units, unpack, us

DAY = datetime(2026, 11, 1, tzinfo=UTC)
ONE, HOUR = timedelta(days=1), timedelta(hours=1)
CASH = "Assets:Cash"


def moved(key: str, at: datetime, cents: int, account: str = CASH, known: datetime | None = None) -> Entry:
    amount = Amount(Decimal(cents).scaleb(-2), USD)
    return Entry(at, key, "", (Posting(account, amount), Posting("Equity:Opening", -amount)), known_at=known)


def journal(*entries: Entry) -> MemoryJournal:
    made = MemoryJournal()
    for entry in entries:
        made.append(entry)
    return made


def test_a_span_is_half_open_and_knows_what_was_learned_by_then() -> None:
    entry = moved("a", DAY, 1, known=DAY + ONE)
    assert JournalSpan().holds(entry)
    assert JournalSpan(DAY, DAY + ONE).holds(entry)
    assert not JournalSpan(end=DAY).holds(entry)
    assert not JournalSpan(start=DAY + HOUR).holds(entry)
    assert JournalSpan(known=DAY + ONE).holds(entry)
    assert not JournalSpan(known=DAY + HOUR).holds(entry)
    assert known_of(entry) == DAY + ONE
    assert known_of(moved("a", DAY, 1)) == DAY


def test_what_is_under_an_account() -> None:
    assert under(CASH, CASH)
    assert under("Assets", CASH)
    assert not under("Assets:Ca", CASH)
    assert not under(f"{CASH}:Bank", CASH)
    entry = moved("a", DAY, 1)
    assert touches(entry, "Assets")
    assert touches(entry, "Equity:Opening")
    assert not touches(entry, "Income")


def test_entries_are_found_by_key_and_counted_by_what_was_known() -> None:
    entries = [moved("a", DAY, 1), moved("b", DAY - ONE, 2, known=DAY + ONE)]
    made = journal(*entries)
    assert made.entries == entries
    assert made.find("b") is entries[1]
    assert made.find("c") is None
    assert [made.count(at) for at in (DAY - HOUR, DAY, DAY + ONE)] == [0, 1, 2]
    assert list(made.digests()) == list(made.proven()) == list(chain(entries))
    assert list(made.digests(1)) == list(chain(entries))[1:]


def test_a_years_months_and_both_ends_are_read_as_they_were_booked() -> None:
    ahead = timezone(timedelta(hours=9))
    entries = [
        moved("late", datetime(2026, 11, 30, 23, tzinfo=UTC), 1),
        moved("early", datetime(2026, 12, 1, 7, tzinfo=ahead), 2),  # still November in UTC
        moved("old", datetime(987, 3, 1, tzinfo=UTC), 4),
        moved("next", datetime(2027, 1, 1, tzinfo=UTC), 8, account="Income:X"),
    ]
    made = journal(*entries)
    assert [one.key for one in made.between(JournalSpan())] == ["old", "late", "early", "next"]
    assert [one.key for one in made.between(JournalSpan(), "Income")] == ["next"]
    assert [one.key for one in made.between(JournalSpan(), "Equity")] == ["old", "late", "early", "next"]
    assert [one.key for one in made.between(JournalSpan(end=DAY))] == ["old"]
    assert [one.key for one in made.between(JournalSpan(start=DAY + 30 * ONE))] == ["next"]
    assert made.changes(JournalSpan())[CASH, USD] == Decimal("0.07")
    assert made.changes(JournalSpan(), "Income") == {("Income:X", USD): Decimal("0.08")}


AT = st.integers(0, 24 * 100).map(lambda hours: DAY + hours * HOUR)
MAYBE = st.one_of(st.none(), AT)


@given(
    st.lists(st.tuples(AT, MAYBE, st.integers(1, 900), st.sampled_from((CASH, f"{CASH}:Bank", "Assets:Cashier")))),
    MAYBE,
    MAYBE,
    MAYBE,
)
def test_what_moved_and_was_known_is_what_a_plain_sum_says(
    rows: list[tuple[datetime, datetime | None, int, str]],
    start: datetime | None,
    end: datetime | None,
    known: datetime | None,
) -> None:
    made = journal(*(moved(str(i), at, cents, name, seen) for i, (at, seen, cents, name) in enumerate(rows)))
    inside = [
        (cents, name)
        for at, seen, cents, name in rows
        if (start is None or at >= start)
        and (end is None or at < end)
        and (known is None or (at if seen is None else seen) <= known)
    ]
    event(f"inside: {min(len(inside), 3)}")
    span = JournalSpan(start, end, known)
    for account in (CASH, f"{CASH}:Bank"):
        wanted = sum(cents for cents, name in inside if name == account or name.startswith(account + ":"))
        assert sum(made.changes(span, account).values(), Decimal(0)) == Decimal(wanted).scaleb(-2)
        wanted = sum(cents for cents, name in inside if name == account)
        assert made.changes(span).get((account, USD), Decimal(0)) == Decimal(wanted).scaleb(-2)
    assert len(list(made.between(span))) == len(inside)


def test_what_came_and_left_by_day_oldest_first() -> None:
    made = journal(
        moved("b", DAY + ONE + 5 * HOUR, -20, f"{CASH}:Bank"),
        moved("a", datetime(2026, 11, 1, 23, 59, 59, 999, tzinfo=timezone(timedelta(hours=-1))), 100),
        moved("c", DAY + 2 * ONE, 5, "Assets:Cashier"),
        moved("d", DAY + 3 * ONE, 7),
    )
    assert [t.account for t in made.turnover(CASH, DAY + 3 * ONE)].count(CASH) == 1
    days = [(t.account, t.day, t.came, t.left) for t in made.turnover(CASH, DAY + 9 * ONE)]
    assert sorted(days) == sorted(
        [
            (CASH, DAY + ONE, Decimal("1.00"), Decimal(0)),
            (f"{CASH}:Bank", DAY + ONE, Decimal(0), Decimal("0.20")),
            (CASH, DAY + 3 * ONE, Decimal("0.07"), Decimal(0)),
        ]
    )
    assert days[-1][1] == DAY + 3 * ONE


def lot(key: str, sats: int, cost: str, day: int = 0, acquired: datetime | None = DAY) -> Entry:
    coins = btc_of_sats(sats)
    posting = Posting("Assets:Bitcoin", coins, lot="l", cost=usd(cost), acquired=acquired)
    return Entry(DAY + day * ONE, key, "", (posting, Posting("Trading:Bitcoin", -coins)))


def test_lots_are_the_sum_of_what_moved_them_as_it_was_known() -> None:
    made = journal(lot("a", 5, "1.00"), lot("b", -2, "-0.40", 1), lot("c", -3, "-0.60", 2))
    assert list(lot_moves(lot("a", 5, "1.00"))) == [
        LotHeld("l", "Assets:Bitcoin", BTC, Decimal("0.00000005"), Decimal("1.00"), USD, DAY)
    ]
    assert list(lot_moves(lot("a", 5, "1.00", acquired=None))) == []
    assert [(one.number, one.cost) for one in made.lots(JournalSpan(known=DAY + ONE))] == [
        (Decimal("0.00000003"), Decimal("0.60"))
    ]
    assert list(made.lots()) == []
    assert list(made.lots(JournalSpan(known=DAY - ONE))) == []
    made.append(lot("d", 1, "0.30", 3, DAY + 3 * ONE))
    (again,) = made.lots()
    assert (again.number, again.cost, again.at) == (Decimal("0.00000001"), Decimal("0.30"), DAY + 3 * ONE)
    assert list(summed(iter(()))) == []
    made.placed("Assets:Bitcoin", "l", None)  # it sums anew each time
    assert len(list(made.lots())) == 1


def test_a_book_as_it_was_known_has_nothing_of_what_was_learned_later() -> None:
    book = Book([moved("a", DAY, 100), moved("b", DAY, -100, known=DAY + 2 * ONE), lot("c", 5, "1.00", 1)])
    before, after = book.as_known(DAY + ONE), book.as_known(DAY + 2 * ONE)
    assert [entry.key for entry in before.entries] == ["a", "c"]
    assert (before.count(), after.count()) == (2, 3)
    assert before.balances()[CASH, USD] == Decimal("1.00")
    assert (CASH, USD) not in after.balances()
    assert list(before.balances()) == sorted(before.balances())
    assert before.imbalance() == {}
    assert [one.lot for one in after.lots()] == ["l"]
    assert [[one.lot for one in book.lots_at(DAY + day * ONE)] for day in (1, 2)] == [[], ["l"]]
    assert book.as_known(DAY).lots() == []
    assert before.known == DAY + ONE
    assert book.balance(CASH, USD, known=DAY + ONE) == Decimal("1.00")
    assert book.balance(CASH, USD, before=DAY + ONE) == 0
    assert list(book.changes(DAY, DAY + ONE))[:1] == [(CASH, USD)]
    assert [entry.key for entry in book.between(DAY, DAY + 2 * ONE, "Assets:Bitcoin")] == ["c"]
    assert [t.account for t in book.turnover("Assets:Bitcoin", DAY + 9 * ONE)] == ["Assets:Bitcoin"]


def test_a_book_goes_on_with_a_journal_that_holds_entries_already() -> None:
    kept = journal(moved("a", DAY, 100), lot("c", 5, "1.00"))
    book = Book((moved("b", DAY, 1),), journal=kept)
    assert book.journal is kept
    assert book.balance(CASH, USD) == Decimal("1.01")
    assert [one.number for one in book.lots("Assets:Bitcoin")] == [Decimal("0.00000005")]
    assert [entry.key for entry in book.entries] == ["a", "c", "b"]
    made = kept.lots()
    assert next(made).lot == "l"


# --- as bytes -----------------------------------------------------------------------------------------------------

WHOLE = Entry(
    DAY + timedelta(microseconds=1),
    "k",
    "n",
    (
        Posting("Assets:Bitcoin", btc("-1.00000001"), "l", Amount(Decimal("-9.01"), "EUR"), DAY),
        Posting("Trading:Bitcoin", btc("1.00000001")),
    ),
    ("r1", "r2"),
    True,
    DAY + ONE,
    "old",
)


def test_an_entry_comes_back_from_its_bytes_as_it_was() -> None:
    assert unpack(pack(WHOLE)) == WHOLE
    bare = moved("a", DAY, 5)
    assert unpack(pack(bare)) == bare
    with pytest.raises(msgspec.DecodeError):
        unpack(b"\xc1")


def test_bytes_are_whole_numbers_of_the_last_decimal_and_of_microseconds() -> None:
    """Written out: a book on disk outlives the release that wrote it."""
    assert units(Decimal("1.5"), USD) == 150
    assert number(150, USD) == Decimal("1.50")
    assert us(DAY) == 1_793_491_200_000_000
    assert moment(1_793_491_200_000_000) == DAY
    assert moment(1).microsecond == 1
    bare = ["Trading:Bitcoin", 100_000_001, "BTC", None, None, "USD", None]
    assert msgspec.msgpack.decode(pack(WHOLE)) == [
        us(DAY) + 1,
        "k",
        "n",
        [["Assets:Bitcoin", -100_000_001, "BTC", "l", -901, "EUR", us(DAY)], bare],
        ["r1", "r2"],
        True,
        us(DAY + ONE),
        "old",
    ]
    assert packed(moved("a", DAY, 5)).known_at is None


def test_a_book_answers_for_a_span_and_by_day_with_both_ends() -> None:
    book = Book([moved("a", DAY, 1), moved("b", DAY + ONE, 2), moved("c", DAY + 2 * ONE, 4)])
    assert book.changes(DAY + ONE, DAY + 2 * ONE)[CASH, USD] == Decimal("0.02")
    assert book.changes(None, DAY + ONE)[CASH, USD] == Decimal("0.01")
    assert [(t.commodity, t.came) for t in book.turnover(CASH, DAY + ONE)] == [(USD, Decimal("0.01"))]


def test_lots_of_several_accounts_are_told_apart_and_sorted() -> None:
    def comes(key: str, account: str, name: str, day: int) -> Entry:
        posting = Posting(account, btc_of_sats(2), lot=name, cost=usd("0.50"), acquired=DAY + day * ONE)
        return Entry(DAY, key, "", (posting, Posting("Trading:Bitcoin", btc_of_sats(-2))))

    rows = (("1", "Assets:B", "z", 1), ("2", "Assets:B", "y", 0), ("3", "Assets:A", "x", 2), ("4", "Assets:B", "a", 1))
    book = Book([comes(*row) for row in rows])
    known = book.as_known(DAY).lots()
    assert [(one.account, one.lot) for one in known] == [
        ("Assets:A", "x"),
        ("Assets:B", "y"),
        ("Assets:B", "a"),
        ("Assets:B", "z"),
    ]
    assert book.lots_at(DAY + ONE) == known
    assert known[0] == LotHeld("x", "Assets:A", BTC, Decimal("0.00000002"), Decimal("0.50"), USD, DAY + 2 * ONE)


@pytest.mark.parametrize("zone", ["America/Chicago", "Asia/Tokyo"])
def test_the_machines_own_zone_is_in_nothing(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Entry(DAY, "k", "n", WHOLE.postings, known_at=DAY)
    links, name = list(chain([entry])), pool_name("Assets:Bitcoin", DAY)
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert list(chain([entry])) == links
        assert pool_name("Assets:Bitcoin", DAY) == name
        edge = moved("e", datetime(2026, 12, 1, 0, 30, tzinfo=UTC), 5)
        made = journal(edge, moved("f", datetime(2026, 11, 30, 23, 30, tzinfo=UTC), 3))
        assert [one.key for one in made.between(JournalSpan())] == ["f", "e"]
        assert [t.day for t in made.turnover(CASH, DAY + 99 * ONE)] == [DAY + 29 * ONE, DAY + 30 * ONE]
    finally:
        monkeypatch.undo()
        time.tzset()


@given(
    st.lists(st.sampled_from(["Assets:Cash", "Assets:Cash2", "Assets:Cash:Bank", "Assets:BTC"]), max_size=12),
    st.sampled_from(["", "Assets", "Assets:Cash", "Assets:BTC", "Income"]),
    st.integers(0, 15),
    st.integers(0, 15),
)
def test_the_newest_of_an_account_below_a_number_are_those_of_a_plain_walk(
    accounts: list[str], account: str, before: int, limit: int
) -> None:
    entries = [moved(str(n), DAY, n + 1, name) for n, name in enumerate(accounts)]
    plain = [(n, one) for n, one in enumerate(entries) if n < before and (account == "" or touches(one, account))]
    found = journal(*entries).newest(account, before, limit)
    assert found == plain[::-1][:limit]
    event("more than are asked for", len(plain) > limit > 0)
    book = Book()
    for one in entries:
        book.book(one)
    assert book.newest(account, before, limit) == found

"""Lots of a book: which leave first, what they cost, how they move, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tieline.ledger import (
    BTC,
    METHODS,
    USD,
    AlreadyBooked,
    Amount,
    Book,
    Booked,
    Entry,
    EntryError,
    LotHeld,
    LotPolicy,
    MemoryJournal,
    Method,
    Posting,
    ShortError,
    btc,
    btc_of_sats,
    mirrored,
    usd,
)

DAY = datetime(2026, 11, 1, tzinfo=UTC)
ONE = timedelta(days=1)
VAULT, COLD, PLEDGED = "Assets:Bitcoin:Treasury", "Assets:Bitcoin:Cold", "Assets:Bitcoin:Pledged"


def bought(lot: str, sats: int, cost: str, day: int = 0, account: str = VAULT, key: str = "") -> Entry:
    coins, value = btc_of_sats(sats), usd(cost)
    return Entry(
        DAY + day * ONE,
        key or lot,
        "bought",
        (
            Posting(account, coins, lot=lot, cost=value),
            Posting("Trading:Bitcoin", -coins),
            Posting("Trading:USD", value),
            Posting("Assets:Cash", -value),
        ),
    )


def out(key: str, lot: str, sats: int, cost: str | None = None, account: str = VAULT, day: int = 9) -> Entry:
    coins = btc_of_sats(sats)
    paid = None if cost is None else -usd(cost)
    leaves = Posting(account, -coins, lot=lot, cost=paid)
    return Entry(DAY + day * ONE, key, "out", (leaves, Posting("Trading:Bitcoin", coins)))


def picked(book: Book, sats: int, *named: str) -> list[tuple[str, int, str]]:
    taken = book.pick(VAULT, btc_of_sats(sats), named)
    return [(held.lot, int(part.scaleb(8)), str(cost)) for held, part, cost in taken]


def three(method: Method) -> Book:
    """Old and cheap, middle and dear, new and between: lots of an account that comes to this method from another."""
    return counted(method, bought("new", 100, "5.00", 2), bought("old", 100, "1.00", 0), bought("dear", 50, "9.00", 1))


def counted(method: Method, *entries: Entry) -> Book:
    book = Book(entries)
    book.policy = LotPolicy(method)
    return book


def test_each_method_takes_its_own_lots_first() -> None:
    assert METHODS == ("fifo", "lifo", "hifo", "average")
    assert picked(three("fifo"), 160) == [("old", 100, "1.00"), ("dear", 50, "9.00"), ("new", 10, "0.50")]
    assert picked(three("lifo"), 160) == [("new", 100, "5.00"), ("dear", 50, "9.00"), ("old", 10, "0.10")]
    assert picked(three("hifo"), 160) == [("dear", 50, "9.00"), ("new", 100, "5.00"), ("old", 10, "0.10")]
    assert picked(three("average"), 125) == [("old", 50, "0.50"), ("dear", 25, "4.50"), ("new", 50, "2.50")]
    assert Book().policy == LotPolicy("fifo")


def test_what_is_taken_ends_with_the_lot_that_covers_it() -> None:
    assert picked(three("fifo"), 100) == [("old", 100, "1.00")]
    assert picked(three("fifo"), 250)[-1] == ("new", 100, "5.00")
    assert picked(three("fifo"), 0) == []


def test_of_lots_that_cost_the_same_the_older_leaves_first_then_by_name() -> None:
    lots = (bought("b", 10, "1.00", 1), bought("c", 10, "1.00", 0), bought("a", 10, "1.00", 1))
    assert [lot for lot, _, _ in picked(Book(lots, "hifo"), 30)] == ["c", "a", "b"]
    assert [lot for lot, _, _ in picked(Book(lots), 30)] == ["c", "a", "b"]


def test_named_lots_leave_in_the_order_named_whatever_the_method() -> None:
    for method in METHODS:
        assert picked(three(method), 60, "new", "old") == [("new", 60, "3.00")]
        assert picked(three(method), 120, "dear", "old") == [("dear", 50, "9.00"), ("old", 70, "0.70")]
    with pytest.raises(EntryError, match=r"holds no lot 'lost'; `tieline books lots` lists"):
        three("fifo").pick(VAULT, btc_of_sats(1), ("old", "lost", "gone"))


def test_more_than_there_is_says_what_there_is() -> None:
    for method in METHODS:
        with pytest.raises(ShortError, match=r"Treasury holds 0.00000250 BTC, not 0.00000251 BTC"):
            three(method).pick(VAULT, btc_of_sats(251))
        with pytest.raises(ShortError, match=r"Nowhere holds 0.00000000 BTC, not 0.00000001 BTC"):
            three(method).pick("Assets:Nowhere", btc_of_sats(1))
    with pytest.raises(ShortError, match=r"holds 0.00000050 BTC"):
        three("fifo").pick(VAULT, btc_of_sats(51), ("dear",))


def test_a_lot_of_something_else_in_the_same_account_is_not_taken() -> None:
    euro = Entry(
        DAY,
        "e",
        "",
        (
            Posting(VAULT, Amount(Decimal(5), "EUR"), lot="eur", cost=usd(6), acquired=DAY - ONE),
            Posting("Trading:EUR", Amount(Decimal(-5), "EUR")),
        ),
    )
    for method in METHODS:
        book = three("fifo")
        book.book(euro)
        book.policy = LotPolicy(method)
        assert {lot for lot, _, _ in picked(book, 250)} == {"old", "dear", "new"}
        assert [held.lot for held, _, _ in book.pick(VAULT, Amount(Decimal(2), "EUR"))] == ["eur"]
        with pytest.raises(ShortError, match="0.00000250 BTC"):
            book.pick(VAULT, btc_of_sats(251))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.data(), st.sampled_from(METHODS), st.integers(0, 10**6))
def test_whatever_the_method_the_parts_sum_to_what_is_asked_and_no_lot_gives_more(
    sizes: list[int], data: st.DataObject, method: Method, cents: int
) -> None:
    cost = str(Decimal(cents).scaleb(-2))
    book = counted(method, *(bought(f"l{i}", sats, cost, i) for i, sats in enumerate(sizes)))
    asked = data.draw(st.integers(1, sum(sizes)))
    parts = picked(book, asked)
    event(f"lots taken: {min(len(parts), 3)}")
    assert sum(sats for _, sats, _ in parts) == asked
    assert all(0 < sats <= sizes[int(lot[1:])] for lot, sats, _ in parts)
    if method == "average":  # each gives its share, to the satoshi
        for lot, sats, _ in parts:
            share = Decimal(sizes[int(lot[1:])] * asked) / sum(sizes)
            assert share.__floor__() <= sats <= share.__floor__() + len(sizes)


def test_what_rounding_leaves_over_comes_from_the_oldest_that_hold_it() -> None:
    book = counted("average", bought("a", 1, "1.00", 0), bought("b", 1, "1.00", 1), bought("c", 1, "1.00", 2))
    assert picked(book, 2) == [("a", 1, "1.00"), ("b", 1, "1.00")]
    odd = counted("average", bought("a", 3, "3.00", 0), bought("b", 3, "3.00", 1))
    assert picked(odd, 3) == [("a", 2, "2.00"), ("b", 1, "1.00")]
    assert picked(odd, 6) == [("a", 3, "3.00"), ("b", 3, "3.00")]


def test_part_of_a_lot_leaves_with_its_share_of_the_cost_half_to_even_and_the_rest_keeps_the_rest() -> None:
    book = Book([bought("a", 4, "0.10")])
    booked = book.book(out("x", "a", 1))  # a quarter of ten cents: 2.5, to the even 2
    assert isinstance(booked, Booked)
    assert booked.entry.postings[0].cost == usd("-0.02")
    assert booked.entry.postings[0].acquired == DAY
    assert book.lots(VAULT) == [LotHeld("a", VAULT, BTC, Decimal("0.00000003"), Decimal("0.08"), USD, DAY)]
    last = book.book(out("y", "a", 3))
    assert isinstance(last, Booked)
    assert last.entry.postings[0].cost == usd("-0.08")
    assert book.lots(VAULT) == []


def test_a_cost_that_is_named_leaves_and_a_whole_lot_must_take_all_of_it() -> None:
    book = Book([bought("a", 4, "1.00")])
    book.book(out("x", "a", 1, "0.40"))
    assert book.lots(VAULT)[0].cost == Decimal("0.60")
    with pytest.raises(EntryError, match=r"^entry y: lot a leaves Assets:Bitcoin:Treasury whole but without 0.10 of"):
        book.book(out("y", "a", 3, "0.50"))
    book.book(out("z", "a", 3, "0.60"))
    assert book.lots(VAULT) == []


def test_a_lot_gives_only_what_it_is_and_holds() -> None:
    book = Book([bought("a", 4, "1.00")])
    with pytest.raises(
        ShortError, match=r"^entry x: lot a of .*:Treasury holds 0.00000004 BTC, and 0.00000005 BTC is taken from it$"
    ):
        book.book(out("x", "a", 5))
    with pytest.raises(ShortError, match=r"lot b of .* holds nothing, and 0.00000001 BTC is"):
        book.book(out("x", "b", 1))
    with pytest.raises(ShortError, match=r"lot a of Assets:Bitcoin:Cold holds nothing"):
        book.book(out("x", "a", 1, account=COLD))
    euro = Amount(Decimal("-0.01"), "EUR")
    with pytest.raises(ShortError, match="holds 0.00000004 BTC, and 0.01 EUR is"):
        book.book(Entry(DAY, "x", "", (Posting(VAULT, euro, lot="a"), Posting("Trading:EUR", -euro))))


def test_a_lot_opens_with_a_cost_once_and_on_one_day() -> None:
    coins = btc_of_sats(4)
    bare = Entry(DAY, "n", "", (Posting(VAULT, coins, lot="n"), Posting("Trading:Bitcoin", -coins)))
    with pytest.raises(EntryError, match=r"^entry n: lot n opens without a cost$"):
        Book().book(bare)
    book = Book([bought("a", 4, "1.00")])
    for again in (bought("a", 4, "1.00", 0, key="again"), bought("a", 4, "1.00", 1, key="again")):
        with pytest.raises(EntryError, match=r"^entry again: lot a is already open in Assets:Bitcoin:Treasury$"):
            book.book(again)


def back(key: str, lot: str, sats: int, cost: Amount, acquired: datetime, account: str = VAULT) -> Entry:
    coins = btc_of_sats(sats)
    comes = Posting(account, coins, lot=lot, cost=cost, acquired=acquired)
    return Entry(DAY + 5 * ONE, key, "back", (comes, Posting("Trading:Bitcoin", -coins)))


def test_what_comes_back_into_a_lot_joins_it_only_with_its_own_date_and_money() -> None:
    book = Book([bought("a", 4, "1.00")])
    book.book(back("r", "a", 2, usd("0.75"), DAY))
    assert book.lots(VAULT) == [LotHeld("a", VAULT, BTC, Decimal("0.00000006"), Decimal("1.75"), USD, DAY)]
    with pytest.raises(EntryError, match="already open"):
        book.book(back("s", "a", 2, usd("0.75"), DAY + ONE))
    with pytest.raises(EntryError, match="already open"):
        book.book(back("s", "a", 2, Amount(Decimal("0.75"), "EUR"), DAY))


def test_a_lot_moves_to_another_account_with_its_cost_and_day_and_is_found_in_both() -> None:
    book = Book([bought("a", 4, "1.00"), bought("b", 4, "2.00", 1)])
    coins = btc_of_sats(1)
    move = Entry(
        DAY + 3 * ONE,
        "m",
        "pledged",
        (
            Posting(VAULT, -coins, lot="a", cost=usd("-0.25")),
            Posting(PLEDGED, coins, lot="a", cost=usd("0.25"), acquired=DAY),
        ),
    )
    book.book(move)
    assert [(one.account, one.number, one.cost, one.at) for one in book.places("a")] == [
        (PLEDGED, Decimal("0.00000001"), Decimal("0.25"), DAY),
        (VAULT, Decimal("0.00000003"), Decimal("0.75"), DAY),
    ]
    assert [one.lot for one in book.places("b")] == ["b"]
    assert book.places("c") == []
    assert [one.lot for one in book.lots(VAULT)] == ["a", "b"]
    assert book.lots(COLD) == []


def test_one_entry_may_touch_a_lot_twice_and_a_refusal_leaves_all_as_it_was() -> None:
    coins = btc_of_sats(3)
    book = Book([bought("a", 4, "1.00")])
    twice = Entry(
        DAY,
        "t",
        "",
        (Posting(VAULT, -coins, lot="a"), Posting(VAULT, -coins, lot="a"), Posting("Trading:Bitcoin", btc_of_sats(6))),
    )
    with pytest.raises(ShortError, match="holds 0.00000001 BTC"):
        book.book(twice)
    assert book.lots(VAULT)[0].number == Decimal("0.00000004")
    assert book.booked("t") is None
    again = Entry(
        DAY,
        "u",
        "",
        (
            Posting(VAULT, btc_of_sats(-4), lot="a"),
            Posting(VAULT, btc_of_sats(4), lot="a", cost=usd("1.00"), acquired=DAY),
            Posting(VAULT, btc_of_sats(-1), lot="a"),
            Posting("Trading:Bitcoin", btc_of_sats(1)),
        ),
    )
    book.book(again)
    assert [(one.number, one.cost) for one in book.lots(VAULT)] == [(Decimal("0.00000003"), Decimal("0.75"))]


def test_an_entry_taken_back_leaves_the_book_as_it_was() -> None:
    book = Book([bought("a", 4, "1.00"), bought("b", 4, "1.10", 1)])
    before, lots = book.balances(), book.lots(VAULT)
    sold = book.book(out("x", "a", 3))
    assert isinstance(sold, Booked)
    again = mirrored(sold.entry, "x-back", "taken back", DAY + ONE, DAY + 2 * ONE)
    assert (again.reverses, again.narration, again.at, again.known_at) == ("x", "taken back", DAY + ONE, DAY + 2 * ONE)
    book.book(again)
    assert book.balances() == before
    assert book.lots(VAULT) == lots


def test_a_lot_that_left_whole_may_come_back_in_its_place() -> None:
    book = Book([bought("a", 4, "1.00"), bought("b", 4, "2.00", 1), bought("c", 4, "3.00", 2)])
    book.book(out("x", "b", 4))
    assert [one.lot for one in book.lots(VAULT)] == ["a", "c"]
    book.book(back("y", "b", 4, usd("2.00"), DAY + ONE))
    assert [one.lot for one in book.lots(VAULT)] == ["a", "b", "c"]


# --- balances over time -------------------------------------------------------------------------------------------


def moved(key: str, at: datetime, cents: int, account: str = "Assets:Cash") -> Entry:
    amount = Amount(Decimal(cents).scaleb(-2), USD)
    return Entry(at, key, "", (Posting(account, amount), Posting("Equity:Opening", -amount)))


def test_a_balance_is_of_an_account_and_what_is_under_it_in_one_commodity() -> None:
    book = Book(
        [
            moved("a", DAY, 100, "Assets:Cash"),
            moved("b", DAY, 20, "Assets:Cash:Bank"),
            moved("c", DAY, 3, "Assets:Cashier"),
            bought("lot", 5, "0.50"),
        ]
    )
    assert book.balance("Assets:Cash", USD) == Decimal("0.70")
    assert book.balance("Assets:Cash:Bank", USD) == Decimal("0.20")
    assert book.balance("Assets:Bitcoin", BTC) == Decimal("0.00000005")
    assert book.balance("Assets", BTC) == Decimal("0.00000005")
    assert book.balance("Assets:Nothing", USD) == 0
    assert book.balance("Assets:Cash", USD, DAY + ONE) == Decimal("0.70")
    assert book.balance("Assets:Cash", USD, DAY) == 0
    assert book.change("Assets:Bitcoin", BTC, DAY, DAY + ONE) == Decimal("0.00000005")
    assert book.change("Assets:Cash", USD, None, DAY + ONE) == Decimal("0.70")
    assert book.change("Assets:Cashier", USD, DAY, DAY + ONE) == Decimal("0.03")


@given(
    st.lists(st.tuples(st.integers(0, 24 * 150), st.integers(1, 500)), min_size=1, max_size=25),
    st.one_of(st.none(), st.integers(0, 24 * 150)),
    st.integers(0, 24 * 150),
)
def test_what_moved_over_a_span_is_what_a_plain_sum_says(
    entries: list[tuple[int, int]], start_h: int | None, end_h: int
) -> None:
    book, first = Book(), datetime(2026, 1, 20, tzinfo=timezone(timedelta(hours=-6)))
    for index, (hour, cents) in enumerate(entries):
        book.book(moved(f"{index}", first + timedelta(hours=hour), cents))
    start = None if start_h is None else first + timedelta(hours=start_h)
    end = first + timedelta(hours=end_h)
    inside = [(h, c) for h, c in entries if (start_h is None or h >= start_h) and h < end_h]
    event(f"entries inside: {min(len(inside), 3)}")
    assert book.change("Assets:Cash", USD, start, end) == Decimal(sum(c for _, c in inside)).scaleb(-2)
    if start is not None:
        named = [entry.key for entry in book.between(start, end)]
        assert sorted(named) == sorted(str(i) for i, one in enumerate(entries) if one in inside)
        months = [book.booked(key).at.astimezone(UTC).strftime("%Y-%m") for key in named]  # type: ignore[union-attr]
        assert months == sorted(months)


def test_what_was_booked_is_found_by_its_key_with_the_cost_it_took() -> None:
    book = Book([bought("a", 4, "0.10")])
    book.book(out("x", "a", 1))
    found = book.booked("x")
    assert found is not None
    assert found.postings[0].cost == usd("-0.02")
    assert [entry.key for entry in book.entries] == ["a", "x"]
    assert list(book.between(DAY, DAY)) == []


def test_said_again_without_the_lots_cost_is_the_same_and_with_another_is_a_conflict() -> None:
    book = Book([bought("a", 4, "0.10")])
    book.book(out("x", "a", 1))

    def conflict(entry: Entry) -> bool:
        result = book.book(entry)
        assert isinstance(result, AlreadyBooked)
        return result.conflict

    coins = btc_of_sats(1)
    assert not conflict(out("x", "a", 1))
    assert not conflict(out("x", "a", 1, "0.02"))
    assert conflict(out("x", "a", 1, "0.03"))
    assert conflict(out("x", "a", 2))
    assert conflict(out("x", "b", 1))
    assert conflict(out("x", "a", 1, day=8))
    leaves, gives = Posting(VAULT, -coins, lot="a"), Posting("Trading:Bitcoin", coins)
    at = DAY + 9 * ONE
    assert not conflict(Entry(at, "x", "out", (leaves, gives)))
    assert conflict(Entry(at, "x", "out", (leaves, gives, Posting("Equity:X", btc("0")))))
    assert conflict(Entry(at, "x", "out", (Posting(VAULT, -coins, lot="a", acquired=DAY + ONE), gives)))
    assert not conflict(Entry(at, "x", "out", (Posting(VAULT, -coins, lot="a", acquired=DAY), gives)))
    assert conflict(Entry(at, "x", "out", (gives, leaves)))


def test_a_book_closes_and_shows_only_what_is_not_empty() -> None:
    book = Book([moved("a", DAY, 100), moved("b", DAY + ONE, -100)])
    assert book.balances() == {}
    assert book.imbalance() == {}
    book._balances["Assets:Cash", USD] += 1
    book._balances["Assets:Cash:Bank", USD] += 2
    assert book.imbalance() == {USD: Decimal(3)}
    book = Book([moved("b", DAY, 1, "Assets:B"), moved("a", DAY, 1, "Assets:A")])
    assert next(iter(book.balances())) == ("Assets:A", USD)


def test_what_leaves_takes_no_more_cost_than_there_is_and_what_opens_is_dated() -> None:
    book = Book([bought("a", 4, "1.00", 2)])
    with pytest.raises(EntryError, match=r"^entry x: lot a leaves .*Treasury with 0.25 more than it cost$"):
        book.book(out("x", "a", 1, "1.25"))
    booked = book.booked("a")
    assert booked is not None
    assert booked.postings[0].acquired == DAY + 2 * ONE
    assert isinstance(book.balance("Assets:Nothing", USD), Decimal)
    assert book.pick(VAULT, btc_of_sats(1))[0][0].at == DAY + 2 * ONE


def test_a_journal_is_told_what_is_left_of_each_lot() -> None:
    class Told(MemoryJournal):
        def __init__(self) -> None:
            super().__init__()
            self.told: list[tuple[str, str, str | None]] = []

        def placed(self, account: str, lot: str, held: LotHeld | None) -> None:
            self.told.append((account, lot, None if held is None else str(held.cost)))

    journal = Told()
    book = Book([bought("a", 4, "1.00")], journal=journal)
    book.book(out("x", "a", 1))
    book.book(out("y", "a", 3))
    assert journal.told == [(VAULT, "a", "1.00"), (VAULT, "a", "0.75"), (VAULT, "a", None)]

"""Ledger tests are ledgers: what is booked, what it balances to, what it refuses."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieline.ledger import (
    BTC,
    USD,
    AlreadyBooked,
    Amount,
    Book,
    Booked,
    Entry,
    EntryError,
    Posting,
    btc,
    btc_of_sats,
    check,
    usd,
)

DAY = datetime(2026, 11, 1, tzinfo=UTC)
VAULT = "Assets:Bitcoin:Treasury"


def mined(key: str, sats: int, cost: str, at: datetime = DAY) -> Entry:
    coins, value = btc_of_sats(sats), usd(cost)
    return Entry(
        at,
        key,
        "mined",
        (
            Posting(VAULT, coins, lot=key, cost=value),
            Posting("Trading:Bitcoin", -coins),
            Posting("Trading:USD", value),
            Posting("Income:Mining", -value),
        ),
    )


def taken(key: str, lot: str, sats: int, at: datetime = DAY) -> Entry:
    coins = btc_of_sats(sats)
    return Entry(at, key, "moved", (Posting(VAULT, -coins, lot=lot), Posting("Trading:Bitcoin", coins)))


def test_an_entry_booked_twice_is_booked_once() -> None:
    book = Book()
    assert isinstance(book.book(mined("a", 100, "1.00")), Booked)
    again = book.book(mined("a", 100, "1.00"))
    assert isinstance(again, AlreadyBooked)
    assert (again.entry.key, again.conflict) == ("a", False)
    assert book.balance(VAULT, BTC) == Decimal("0.00000100")


def test_the_same_key_with_other_content_is_named_as_conflict_and_the_first_stands() -> None:
    book = Book([mined("a", 100, "1.00")])
    result = book.book(mined("a", 200, "1.00"))
    assert isinstance(result, AlreadyBooked)
    assert result.conflict
    assert book.balance(VAULT, BTC) == Decimal("0.00000100")


def test_unbalanced_is_refused_and_named() -> None:
    entry = Entry(DAY, "x", "wrong", (Posting("Assets:Cash", usd(1)), Posting("Income:Mining", usd("-0.99"))))
    with pytest.raises(EntryError, match="USD sums to 0.01"):
        Book().book(entry)


@pytest.mark.parametrize(
    ("number", "commodity", "says"),
    [
        ("0.000000001", BTC, "more than 8"),
        ("0.001", USD, "more than 2"),
        ("NaN", USD, "not a number"),
        ("1", "X", "not known"),
    ],
)
def test_amounts_that_cannot_be_counted(number: str, commodity: str, says: str) -> None:
    with pytest.raises(EntryError, match=says):
        Amount(Decimal(number), commodity)


def test_accounts_start_with_a_known_root() -> None:
    with pytest.raises(EntryError, match="Bitcoin:Vault"):
        check(Entry(DAY, "x", "", (Posting("Bitcoin:Vault", btc("1")), Posting("Trading:Bitcoin", btc("-1")))))


def test_a_lot_never_gives_more_than_it_holds_and_a_refusal_changes_nothing() -> None:
    book = Book([mined("a", 100, "1.00")])
    before = book.balances()
    with pytest.raises(EntryError, match="holds 0.00000100"):
        book.book(taken("b", "a", 101))
    assert book.balances() == before
    assert book.lots(VAULT)[0].number == Decimal("0.00000100")


def test_oldest_lots_leave_first() -> None:
    book = Book([mined("new", 100, "9.00", DAY + timedelta(days=1)), mined("old", 100, "1.00")])
    picked = book.pick(VAULT, btc_of_sats(150))
    assert [(held.lot, number) for held, number, _ in picked] == [
        ("old", Decimal("0.00000100")),
        ("new", Decimal("0.00000050")),
    ]
    with pytest.raises(EntryError, match="holds 0.00000200"):
        book.pick(VAULT, btc_of_sats(201))


@given(
    sats=st.integers(1, 10**12),
    cents=st.integers(0, 10**12),
    cuts=st.lists(st.integers(1, 10**12), max_size=12),
)
def test_no_satoshi_and_no_cent_is_lost_over_a_lots_life(sats: int, cents: int, cuts: list[int]) -> None:
    cost = Decimal(cents).scaleb(-2)
    book = Book([mined("lot", sats, str(cost))])
    gone, gone_cost = 0, Decimal(0)
    for index, cut in enumerate([*cuts, sats]):
        part = min(cut, sats - gone)
        if part == 0:
            break
        (_, number, part_cost) = book.pick(VAULT, btc_of_sats(part))[0]
        assert number == btc_of_sats(part).number
        book.book(taken(f"t{index}", "lot", part))
        gone, gone_cost = gone + part, gone_cost + part_cost
    assert gone == sats
    assert gone_cost == cost
    assert book.lots(VAULT) == []
    assert book.imbalance() == {}

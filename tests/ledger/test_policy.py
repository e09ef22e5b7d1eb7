"""Which lots leave first where, and the pool that an account counted at the average is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from tieline.ledger import (
    BTC,
    POOL,
    Amount,
    Book,
    Booked,
    Entry,
    LotPolicy,
    LotRule,
    Method,
    Posting,
    btc_of_sats,
    usd,
)

DAY = datetime(2026, 11, 1, tzinfo=UTC)
ONE = timedelta(days=1)
VAULT, COLD = "Assets:Bitcoin:Treasury", "Assets:Bitcoin:Cold"


def comes(key: str, sats: int, cost: str, day: int = 0, account: str = VAULT, lot: str = "") -> Entry:
    coins = btc_of_sats(sats)
    into = Posting(account, coins, lot=lot or key, cost=usd(cost))
    return Entry(DAY + day * ONE, key, "", (into, Posting("Trading:Bitcoin", -coins)))


def leaves(key: str, book: Book, sats: int, day: int = 5, account: str = VAULT) -> Entry:
    coins = btc_of_sats(sats)
    taken = book.pick(account, coins, at=DAY + day * ONE)
    postings = tuple(Posting(account, Amount(-part, BTC), lot=held.lot) for held, part, _ in taken)
    return Entry(DAY + day * ONE, key, "", (*postings, Posting("Trading:Bitcoin", coins)))


def held(book: Book, account: str = VAULT) -> list[tuple[str, int, str, datetime]]:
    return [(one.lot, int(one.number.scaleb(8)), str(one.cost), one.at) for one in book.lots(account)]


def test_a_rule_covers_its_commodity_its_account_with_all_under_it_and_its_year() -> None:
    assert LotRule("lifo").covers(VAULT, BTC, 2026)
    assert LotRule("lifo", BTC).covers(VAULT, BTC, 2026)
    assert not LotRule("lifo", "EUR").covers(VAULT, BTC, 2026)
    assert LotRule("lifo", year=2026).covers(VAULT, BTC, 2026)
    assert not LotRule("lifo", year=2025).covers(VAULT, BTC, 2026)
    assert LotRule("lifo", account="Assets:Bitcoin").covers(VAULT, BTC, 2026)
    assert LotRule("lifo", account=VAULT).covers(VAULT, BTC, 2026)
    assert not LotRule("lifo", account="Assets:Bit").covers(VAULT, BTC, 2026)
    assert not LotRule("lifo", account=f"{VAULT}:Deep").covers(VAULT, BTC, 2026)


def test_the_last_rule_that_covers_a_case_decides_by_the_year_of_its_zone() -> None:
    policy = LotPolicy("lifo", (LotRule("hifo"), LotRule("average", account=COLD), LotRule("fifo", year=2025)))
    assert policy.method(VAULT, BTC, DAY) == "hifo"
    assert policy.method(COLD, BTC, DAY) == "average"
    assert policy.method(COLD, BTC, datetime(2025, 6, 1, tzinfo=UTC)) == "fifo"
    assert policy.method(COLD, BTC, None) == "average"
    assert LotPolicy("lifo").method(VAULT, BTC, None) == "lifo"
    assert LotPolicy().method(VAULT, BTC, DAY) == "fifo"
    assert LotPolicy("lifo", (LotRule("hifo", "EUR"),)).method(VAULT, BTC, DAY) == "lifo"
    assert LotPolicy("lifo", (LotRule("hifo", "EUR"),)).method(VAULT, "EUR", DAY) == "hifo"
    midnight = datetime(2026, 1, 1, 3, tzinfo=UTC)
    west = LotPolicy("fifo", (LotRule("lifo", year=2025),), timezone(timedelta(hours=-6)))
    assert west.method(VAULT, BTC, midnight) == "lifo"
    assert LotPolicy("fifo", (LotRule("lifo", year=2025),)).method(VAULT, BTC, midnight) == "fifo"
    assert LotPolicy("fifo", (LotRule("lifo", year=0),)).method(VAULT, BTC, None) == "lifo"


def test_a_book_asks_its_policy_where_and_when_something_leaves() -> None:
    policy = LotPolicy("fifo", (LotRule("lifo", account=COLD, year=2026),))
    book = Book((), policy=policy)
    for account in (VAULT, COLD):
        for day in (0, 1):
            book.book(comes(f"{account}{day}", 10, "1.00", day, account))
    assert book.policy == policy
    assert [one.lot for one, _, _ in book.pick(VAULT, btc_of_sats(1), at=DAY)] == [f"{VAULT}0"]
    assert [one.lot for one, _, _ in book.pick(COLD, btc_of_sats(1), at=DAY)] == [f"{COLD}1"]
    assert [one.lot for one, _, _ in book.pick(COLD, btc_of_sats(1), at=DAY - 400 * ONE)] == [f"{COLD}0"]


def test_at_the_average_all_that_comes_in_is_one_lot_of_the_day_it_was_opened() -> None:
    book = Book((comes("a", 10, "1.00", 1), comes("b", 30, "9.00", 2)), "average")
    name = f"{POOL}Bitcoin:Treasury since 2026-11-02T00:00:00.000000Z"
    assert held(book) == [(name, 40, "10.00", DAY + ONE)]
    assert book.lot(VAULT, name) == book.lots(VAULT)[0]
    assert book.lot(VAULT, "a") is None
    assert book.lot(COLD, name) is None
    assert [(int(n.scaleb(8)), str(c)) for _, n, c in book.pick(VAULT, btc_of_sats(10))] == [(10, "2.50")]
    booked = book.booked("b")
    assert booked is not None
    assert (booked.postings[0].lot, booked.postings[0].acquired) == (name, DAY + ONE)
    book.book(leaves("x", book, 10))
    assert held(book) == [(name, 30, "7.50", DAY + ONE)]


def test_a_pool_that_was_emptied_opens_again_as_another_lot() -> None:
    book = Book((comes("a", 10, "1.00", 1),), "average")
    book.book(leaves("x", book, 10))
    assert held(book) == []
    book.book(comes("b", 5, "2.00", 6))
    assert held(book) == [(f"{POOL}Bitcoin:Treasury since 2026-11-07T00:00:00.000000Z", 5, "2.00", DAY + 6 * ONE)]


def test_two_that_come_in_with_one_entry_join_one_pool_and_each_account_has_its_own() -> None:
    coins = btc_of_sats(5)
    entry = Entry(
        DAY,
        "e",
        "",
        (
            Posting(VAULT, coins, lot="a", cost=usd("1.00")),
            Posting(VAULT, coins, lot="b", cost=usd("3.00")),
            Posting(COLD, coins, lot="c", cost=usd("7.00")),
            Posting("Trading:Bitcoin", btc_of_sats(-15)),
        ),
    )
    book = Book((entry,), "average")
    assert held(book) == [(f"{POOL}Bitcoin:Treasury since 2026-11-01T00:00:00.000000Z", 10, "4.00", DAY)]
    assert held(book, COLD) == [(f"{POOL}Bitcoin:Cold since 2026-11-01T00:00:00.000000Z", 5, "7.00", DAY)]


def test_a_pool_that_is_moved_is_a_lot_like_others_where_it_comes() -> None:
    book = Book((comes("a", 10, "1.00"), comes("c", 10, "5.00", 1, COLD)), policy=LotPolicy("average"))
    (pool,) = book.lots(VAULT)
    coins = btc_of_sats(4)
    move = Entry(
        DAY + 2 * ONE,
        "m",
        "",
        (
            Posting(VAULT, -coins, lot=pool.lot, cost=usd("-0.40")),
            Posting(COLD, coins, lot=pool.lot, cost=usd("0.40"), acquired=pool.at),
        ),
    )
    book.book(move)
    assert [one[1:3] for one in held(book)] == [(6, "0.60")]
    assert [one[1:3] for one in held(book, COLD)] == [(14, "5.40")]  # it joined the pool there
    book.policy = LotPolicy("fifo")
    book.book(comes("d", 1, "1.00", 3))
    assert [one[0] for one in held(book)] == [pool.lot, "d"]


def test_said_again_what_a_pool_took_in_is_the_same_entry() -> None:
    book = Book((comes("a", 10, "1.00"),), "average")
    again = book.book(comes("a", 10, "1.00"))
    assert getattr(again, "conflict", None) is False
    other = book.book(comes("a", 10, "1.01"))
    assert getattr(other, "conflict", None) is True


@pytest.mark.parametrize("method", ["fifo", "lifo", "hifo"])
def test_the_dearest_are_kept_in_order_while_lots_come_and_go(method: Method) -> None:
    book = Book((), method)
    for index, cost in enumerate(("5.00", "9.00", "1.00", "7.00")):
        book.book(comes(f"l{index}", 10, cost, index))
        book.pick(VAULT, btc_of_sats(1))  # the order is made, and kept from then on
    order = {"fifo": "0123", "lifo": "3210", "hifo": "1302"}[method]
    assert [one.lot[1] for one, _, _ in book.pick(VAULT, btc_of_sats(40))] == list(order)
    for sats in (15, 10):
        entry = leaves(f"x{sats}", book, sats)
        assert isinstance(book.book(entry), Booked)
        assert entry.postings[0].lot == f"l{order[0] if sats == 15 else order[1]}"
    left = [(one.lot[1], int(part.scaleb(8))) for one, part, _ in book.pick(VAULT, btc_of_sats(15))]
    assert left == [(order[2], 5), (order[3], 10)]
    book.book(comes("new", 10, "99.00", 9))
    first = book.pick(VAULT, btc_of_sats(1))[0][0].lot
    assert first == (f"l{order[2]}" if method == "fifo" else "new")
    assert sum((one.number for one in book.lots(VAULT)), Decimal(0)) == btc_of_sats(25).number


def test_only_what_a_rule_counts_at_the_average_joins_a_pool() -> None:
    policy = LotPolicy("fifo", (LotRule("average", BTC, COLD, 2026),))
    book = Book((), policy=policy)
    book.book(comes("kept", 10, "1.00"))
    book.book(comes("pooled", 10, "1.00", account=COLD))
    book.book(comes("before", 10, "1.00", -400, COLD))
    euro = Amount(Decimal(5), "EUR")
    into = Posting(COLD, euro, lot="eur", cost=usd(6))
    book.book(Entry(DAY, "euro", "", (into, Posting("Trading:EUR", -euro))))
    assert [one.lot for one in book.lots(VAULT)] == ["kept"]
    assert [one.lot.startswith(POOL) for one in book.lots(COLD)] == [False, True, False]
    assert [one.lot for one in book.lots(COLD)][::2] == ["before", "eur"]


def test_what_a_rule_takes_at_the_average_is_of_its_account_its_commodity_and_its_year() -> None:
    book = Book(comes(f"{account}{day}", 10, "1.00", day, account) for account in (VAULT, COLD) for day in (0, 1))

    def lots(rule: LotRule, account: str, at: datetime | None = DAY) -> int:
        book.policy = LotPolicy("fifo", (rule,))
        return len(book.pick(account, btc_of_sats(2), at=at))

    assert lots(LotRule("average", account=COLD), COLD) == 2
    assert lots(LotRule("average", account=COLD), VAULT) == 1
    assert lots(LotRule("average", BTC), VAULT) == 2
    assert lots(LotRule("average", "EUR"), VAULT) == 1
    assert lots(LotRule("average", year=2026), VAULT) == 2
    assert lots(LotRule("average", year=2026), VAULT, None) == 1
    book.policy = LotPolicy("fifo", (LotRule("lifo", BTC),))
    assert [one.lot for one, _, _ in book.pick(VAULT, btc_of_sats(1), at=DAY)] == [f"{VAULT}1"]


def test_a_pool_that_one_entry_empties_and_fills_is_another_and_two_days_join_the_first() -> None:
    book = Book((comes("a", 10, "1.00"),), "average")
    (pool,) = book.lots(VAULT)
    entry = Entry(
        DAY + 5 * ONE,
        "e",
        "",
        (
            Posting(VAULT, btc_of_sats(-10), lot=pool.lot, cost=usd("-1.00")),
            Posting(VAULT, btc_of_sats(4), lot="n", cost=usd("0.40"), acquired=DAY + 3 * ONE),
            Posting(VAULT, btc_of_sats(2), lot="o", cost=usd("0.60"), acquired=DAY + 4 * ONE),
            Posting("Trading:Bitcoin", btc_of_sats(4)),
        ),
    )
    booked = book.book(entry)
    assert isinstance(booked, Booked)
    name = f"{POOL}Bitcoin:Treasury since 2026-11-04T00:00:00.000000Z"
    assert held(book) == [(name, 6, "1.00", DAY + 3 * ONE)]
    assert [(p.lot, p.acquired) for p in booked.entry.postings[1:3]] == [(name, DAY + 3 * ONE)] * 2


def test_of_two_accounts_in_one_entry_each_opens_its_own_pool_beside_lots_that_move() -> None:
    book = Book((comes("a", 10, "1.00"),))
    book.policy = LotPolicy("average")
    entry = Entry(
        DAY + ONE,
        "e",
        "",
        (
            Posting(VAULT, btc_of_sats(-4), lot="a", cost=usd("-0.40")),
            Posting(COLD, btc_of_sats(4), lot="a", cost=usd("0.40"), acquired=DAY),
            Posting(COLD, btc_of_sats(1), lot="b", cost=usd("0.10"), acquired=DAY + ONE),
            Posting(VAULT, btc_of_sats(1), lot="c", cost=usd("0.20"), acquired=DAY + ONE),
            Posting("Trading:Bitcoin", btc_of_sats(-2)),
        ),
    )
    book.book(entry)
    assert held(book, COLD) == [(f"{POOL}Bitcoin:Cold since 2026-11-01T00:00:00.000000Z", 5, "0.50", DAY)]
    assert held(book) == [
        ("a", 6, "0.60", DAY),
        (f"{POOL}Bitcoin:Treasury since 2026-11-02T00:00:00.000000Z", 1, "0.20", DAY + ONE),
    ]


def test_anothers_pool_that_came_before_is_not_joined_and_a_book_that_goes_on_knows_its_own() -> None:
    book = Book((comes("a", 10, "1.00"),), "average")
    (pool,) = book.lots(VAULT)
    book.policy = LotPolicy("fifo")
    move = Entry(
        DAY + ONE,
        "m",
        "",
        (
            Posting(VAULT, btc_of_sats(-4), lot=pool.lot, cost=usd("-0.40")),
            Posting(COLD, btc_of_sats(4), lot=pool.lot, cost=usd("0.40"), acquired=pool.at),
        ),
    )
    book.book(move)
    again = Book(policy=LotPolicy("average"), journal=book.journal)
    again.book(comes("b", 1, "0.10", 2))
    again.book(comes("c", 1, "0.10", 2, COLD))
    assert held(again) == [(pool.lot, 7, "0.70", DAY)]
    own = f"{POOL}Bitcoin:Cold since 2026-11-03T00:00:00.000000Z"
    assert [one[:2] for one in held(again, COLD)] == [(pool.lot, 4), (own, 1)]


def test_a_pool_that_is_moved_in_is_not_joined_afterwards() -> None:
    book = Book((comes("a", 10, "1.00"),), "average")
    (pool,) = book.lots(VAULT)
    book.policy = LotPolicy("fifo")
    out, into = (
        Posting(VAULT, btc_of_sats(-4), pool.lot, usd("-0.40")),
        Posting(COLD, btc_of_sats(4), pool.lot, usd("0.40"), pool.at),
    )
    book.book(Entry(DAY + ONE, "m", "", (out, into)))
    book.policy = LotPolicy("average")
    book.book(comes("d", 1, "0.10", 3, COLD))
    assert [one[1] for one in held(book, COLD)] == [4, 1]

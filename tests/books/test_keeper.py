"""The bookkeeper: one bad record costs itself, corrections are kept, lots equal balances."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieline.books import Bookkeeper, build_book
from tieline.books.accounts import TREASURY
from tieline.ledger import BTC, USD
from tieline.records import Opening, Payout, PowerBill, Record, Trade

T0 = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
TOLD: dict[str, Any] = {"source": "test", "kind": "measured"}


def payout(n: int, sats: int, price: str | None = "100000", known: int | None = None) -> Payout:
    at = T0 + n * HOUR
    known_at = at if known is None else T0 + known * HOUR
    usd = None if price is None else Decimal(price)
    return Payout(
        at=at, known_at=known_at, payout_id=f"tx{n}:0", pool="p", sats=sats, span_start=at - HOUR, span_end=at,
        btc_usd=usd, **TOLD,
    )  # fmt: skip


def trade(n: int, sats: int, price: str = "90000", known: int | None = None) -> Trade:
    at = T0 + n * HOUR
    known_at = at if known is None else T0 + known * HOUR
    return Trade(
        at=at, known_at=known_at, trade_id=f"t{n}", sats=sats, price_usd=Decimal(price), fee_usd=Decimal(0),
        venue="desk", **TOLD,
    )  # fmt: skip


def bill(cost: str, known: int, kind: str = "measured") -> PowerBill:
    return PowerBill(
        at=T0, known_at=T0 + known * HOUR, source="test", kind=kind, site_id="s", length_s=3600, mining_wh=1e6,
        inference_wh=0.0, aux_wh=0.0, cost_usd=Decimal(cost),
    )  # fmt: skip


def kept(*records: Record) -> Bookkeeper:
    keeper = Bookkeeper()
    for record in records:
        keeper.take(record)
    assert keeper.book.imbalance() == {}
    accounts = {account for account, commodity in keeper.book.balances() if commodity == BTC}
    for account in (one for one in accounts if not one.startswith("Trading:")):
        lots = sum((lot.number for lot in keeper.book.lots(account)), Decimal(0))
        assert lots == keeper.book.balances()[account, BTC]
    return keeper


GOOD = (payout(1, 100_000_000), payout(2, 50_000_000))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (payout(3, 10, price=None), "payout tx3:0 has no price"),
        (payout(3, 0), "payout tx3:0: sats is 0"),
        (payout(3, -5), "payout tx3:0: sats is -5"),
        (payout(3, 5, price="-1"), "payout tx3:0: btc_usd is -1"),
        (trade(3, 200_000_000), "holds 1.5"),
        (trade(3, 0), "trade t3: -sats is 0"),
        (trade(3, 5, price="0"), "trade t3: price_usd is 0"),
        (Opening(at=T0, known_at=T0, opening_id="o", cash_usd=Decimal(1), sats=-1, **TOLD), "opening o: sats is -1"),
    ],
)
def test_what_cannot_be_booked_is_named_and_the_rest_is_folded(bad: Record, says: str) -> None:
    keeper = kept(GOOD[0], GOOD[1], bad, payout(9, 7))
    assert keeper.book.balance(TREASURY, BTC) == Decimal("1.50000007")
    (aside,) = keeper.unbookable
    assert says in aside.why
    assert str(aside).startswith("unbookable: ")
    assert aside.record is bad


def test_a_sale_of_what_was_paid_in_the_same_instant_finds_its_coins() -> None:
    """Also where nothing was held before: in the order of the store, and of a list without one."""
    paid, sold = payout(1, 100), trade(1, 50)
    assert kept(paid, sold).unbookable == ()
    assert build_book([sold, paid]).balance(TREASURY, BTC) == Decimal("0.0000005")


def test_a_sale_that_came_before_its_coins_waits_for_them() -> None:
    keeper = kept(trade(1, 80), payout(2, 50))
    assert len(keeper.unbookable) == 1
    keeper.take(payout(3, 50))
    assert keeper.unbookable == ()
    assert keeper.book.balance(TREASURY, BTC) == Decimal("0.0000002")


def test_a_bill_measured_after_an_estimate_replaces_it_and_both_stay_in_the_book() -> None:
    keeper = kept(bill("100.00", 1, "estimated"), bill("90.00", 9))
    assert keeper.book.balance("Expenses:Power:Mining", USD) == Decimal("90.00")
    assert keeper.book.balance("Liabilities:Power:s", USD) == Decimal("-90.00")
    assert len(keeper.book.entries) == 3
    assert keeper.book.entries[1].reverses == keeper.book.entries[0].key


def test_told_again_without_change_nothing_is_booked() -> None:
    keeper = kept(GOOD[0], msgspec.structs.replace(GOOD[0], known_at=T0 + 9 * HOUR, source="other"))
    assert len(keeper.book.entries) == 1
    assert keeper.unbookable == ()


def test_an_amended_sale_gives_its_lots_back_first() -> None:
    keeper = kept(*GOOD, trade(3, 120_000_000), trade(3, 20_000_000, known=8))
    assert keeper.book.balance(TREASURY, BTC) == Decimal("1.3")
    assert [(lot.lot, lot.number) for lot in keeper.book.lots(TREASURY)] == [
        ("tx1:0", Decimal("0.8")),
        ("tx2:0", Decimal("0.5")),
    ]
    # 0.2 at 90,000 less 0.2 that cost 100,000: a loss of 2,000
    assert keeper.book.balance("Income:RealisedGain", USD) == Decimal("2000.00")


def test_a_sale_that_cannot_be_amended_stands_as_it_was() -> None:
    keeper = kept(*GOOD, trade(3, 120_000_000), trade(3, 900_000_000, known=8))
    assert keeper.book.balance(TREASURY, BTC) == Decimal("0.3")
    assert len(keeper.unbookable) == 1


def test_a_restated_payout_of_which_a_part_was_sold_corrects_income_and_gain() -> None:
    """1 BTC at 100,000, of which 0.4 were sold at 90,000; then it was 1.1 BTC at 110,000."""
    keeper = kept(payout(1, 100_000_000), trade(2, 40_000_000), payout(1, 110_000_000, "110000", known=9))
    book = keeper.book
    assert book.balance("Income:Mining", USD) == Decimal("-121000.00")
    # what was sold now cost 0.4 x 110,000 = 44,000 and brought 36,000
    assert book.balance("Income:RealisedGain", USD) == Decimal("8000.00")
    (lot,) = book.lots(TREASURY)
    assert (lot.number, lot.cost) == (Decimal("0.7"), Decimal("77000.00"))
    assert lot.at == T0 + HOUR - timedelta(microseconds=1)
    keeper.take(payout(1, 100_000_000, known=10))  # and back again
    assert book.balance("Income:Mining", USD) == Decimal("-100000.00")
    assert book.balance("Income:RealisedGain", USD) == Decimal("4000.00")
    assert book.balance("Trading:USD", USD) == Decimal("60000.00")
    assert keeper.unbookable == ()


def test_a_payout_restated_below_what_was_sold_of_it_is_named() -> None:
    keeper = kept(payout(1, 100), trade(2, 90), payout(1, 80, known=9))
    assert keeper.book.balance(TREASURY, BTC) == Decimal("0.0000001")
    assert "have left of what is now" in keeper.unbookable[0].why


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["payout", "trade"]),
        st.integers(1, 6),  # which of them
        st.integers(-20, 10**9),
        st.integers(1, 20_000_000),
    ),
    max_size=30,
)


@given(MOVES, st.sampled_from(["fifo", "lifo", "hifo", "average"]))
def test_whatever_is_told_and_told_anew_lots_equal_balances_and_costs_what_was_paid(
    moves: list[tuple[str, int, int, int]], method: Any
) -> None:
    keeper = Bookkeeper(method)
    for known, (what, n, sats, cents) in enumerate(moves, 20):
        price = str(Decimal(cents).scaleb(-2))
        keeper.take(payout(n, sats, price, known) if what == "payout" else trade(n + 10, sats, price, known))
    book = keeper.book
    assert book.imbalance() == {}
    lots = book.lots(TREASURY)
    assert all(lot.number > 0 and lot.cost >= 0 for lot in lots)
    assert sum((lot.number for lot in lots), Decimal(0)) == book.balance(TREASURY, BTC)
    assert sum((lot.cost for lot in lots), Decimal(0)) == book.balance("Trading:USD", USD)

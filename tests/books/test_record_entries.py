"""Each record of money as a ledger: every account, amount, lot, key and word of the entry it makes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from msgspec import structs

from tieline.books import entries_for
from tieline.books.accounts import BOUGHT, CASH, CURRENCIES, GAIN, MINED, OPENED, SOLD, TRADING_USD, TREASURY
from tieline.books.entries import NO_LOANS
from tieline.ledger import Amount, Book, Entry, EntryError, LotPolicy, LotRule, Posting, ShortError, btc_of_sats, usd
from tieline.records import Loan, LoanFlow, NetworkTick, Opening, Payout, Performance, PowerBill, Trade, Transfer

T0 = datetime(2026, 11, 2, tzinfo=UTC)
SAID: dict[str, Any] = {"at": T0, "known_at": T0 + timedelta(hours=1), "source": "test", "kind": "measured"}
PAYOUT = Payout(
    **SAID,
    payout_id="tx:0",
    pool="pool",
    sats=42_100_000,
    span_start=T0 - timedelta(hours=1),
    span_end=T0,
    btc_usd=Decimal("100000.015"),
)
TRADE = Trade(**SAID, trade_id="t1", sats=30, price_usd=Decimal("2000000.00"), fee_usd=Decimal("0.25"), venue="desk")
BILL = PowerBill(
    **SAID, site_id="s", length_s=3600, mining_wh=7e6, inference_wh=3e6, aux_wh=0.5e6, cost_usd=Decimal("100.01")
)
OPENING = Opening(
    **SAID, opening_id="o1", cash_usd=Decimal("500"), sats=7, cost_usd=Decimal("3.50"), place="Cold", acquired=T0
)
KEPT = Performance(
    **SAID,
    what="reserve",
    event_id="e",
    site_id="s",
    until=T0,
    rule="r",
    promised_w=1e6,
    baseline_w=None,
    mean_w=None,
    delivered_w=None,
    missed_wh=0,
    paid_usd=Decimal("12.00"),
    penalty_usd=Decimal("2.50"),
    line="1 MW of reserve kept",
)


def held() -> Book:
    """Two lots: 20 satoshis that cost 0.10 USD, then 20 that cost 0.20."""
    book = Book()
    for index, (price, name) in enumerate((("500000", "a"), ("1000000", "b"))):
        at = T0 - timedelta(days=9 - index)
        for entry in entries_for(structs.replace(PAYOUT, payout_id=name, at=at, sats=20, btc_usd=Decimal(price)), book):
            book.book(entry)
    return book


def only(record: Any, book: Book | None = None) -> Entry:
    (entry,) = entries_for(record, book or Book())
    return entry


def test_a_payout_is_income_at_fair_value_in_a_lot_of_its_own_and_belongs_to_the_span_it_pays_for() -> None:
    coins, value = btc_of_sats(42_100_000), usd("42100.01")  # 42,100.006315
    assert only(PAYOUT) == Entry(
        T0 - timedelta(microseconds=1),
        f"payout|{PAYOUT.key}",
        "pool: 0.42100000 BTC at 100,000.02 USD/BTC",
        (
            Posting(TREASURY, coins, lot="tx:0", cost=value),
            Posting(MINED, -coins),
            Posting(TRADING_USD, value),
            Posting("Income:Mining", -value),
        ),
        (f"Payout|{PAYOUT.key}",),
        simulated=False,
    )


def test_what_is_simulated_says_so_in_its_entry() -> None:
    for record in (PAYOUT, structs.replace(TRADE, sats=-30), BILL, OPENING, KEPT):
        assert only(record).simulated is False
        assert only(structs.replace(record, kind="simulated")).simulated is True
    assert only(TRADE, held()).simulated is False
    assert only(structs.replace(TRADE, kind="simulated"), held()).simulated is True


def test_a_payout_without_price_or_coins_is_refused_by_field() -> None:
    with pytest.raises(EntryError, match=r"^payout tx:0 has no price: btc_usd is missing; it is booked at its fair"):
        only(structs.replace(PAYOUT, btc_usd=None))
    for field, value in (("sats", 0), ("sats", -1), ("btc_usd", Decimal(0))):
        with pytest.raises(EntryError, match=rf"^payout tx:0: {field} is {value}; it must be above 0$"):
            only(structs.replace(PAYOUT, **{field: value}))


def test_a_sale_takes_lots_by_the_books_method_and_books_gain_and_fee() -> None:
    """30 satoshis at 2,000,000 are 0.60 USD; the first 20 cost 0.10, ten of the next 20 cost 0.10."""
    days = [T0 - timedelta(days=9, microseconds=1), T0 - timedelta(days=8, microseconds=1)]
    assert only(TRADE, held()) == Entry(
        T0,
        f"trade|{TRADE.key}",
        "sold 0.00000030 BTC at 2,000,000.00 USD/BTC on desk",
        (
            Posting(TREASURY, btc_of_sats(-20), lot="a", cost=usd("-0.10"), acquired=days[0]),
            Posting(TREASURY, btc_of_sats(-10), lot="b", cost=usd("-0.10"), acquired=days[1]),
            Posting(SOLD, btc_of_sats(30)),
            Posting(TRADING_USD, usd("-0.20")),
            Posting(GAIN, usd("-0.40")),
            Posting(CASH, usd("0.35")),
            Posting("Expenses:TradingFees", usd("0.25")),
        ),
        (f"Trade|{TRADE.key}",),
        simulated=False,
    )
    with pytest.raises(ShortError, match="holds 0.00000040 BTC"):
        only(structs.replace(TRADE, sats=41), held())
    assert only(structs.replace(TRADE, sats=1), held()).postings[0].lot == "a"
    by_year = held()
    by_year.policy = LotPolicy("fifo", (LotRule("lifo", year=2026),))
    assert only(structs.replace(TRADE, sats=1), by_year).postings[0].lot == "b"


def test_a_sale_for_another_currency_brings_it_in_at_what_it_was_worth_in_dollars() -> None:
    """0.60 USD of coins less 0.25 of fee, for 0.30 euros: no rate is assumed between the two."""
    sold = structs.replace(TRADE, currency="EUR", received=Decimal("0.30"))
    euros = Amount(Decimal("0.30"), "EUR")
    entry = only(sold, held())
    assert entry.postings[5:8] == (
        Posting(CASH, euros),
        Posting(CURRENCIES, -euros),
        Posting(CURRENCIES, usd("0.35")),
    )
    assert Posting(CASH, usd("0.35")) not in entry.postings
    with pytest.raises(EntryError, match=r"^trade t1: received is missing; say how much EUR it brought$"):
        only(structs.replace(sold, received=None), held())
    with pytest.raises(EntryError, match=r"^trade t1: received is 0; it must be above 0$"):
        only(structs.replace(sold, received=Decimal(0)), held())


def test_a_sale_takes_the_lots_it_names_from_the_place_it_names() -> None:
    book = held()
    named = structs.replace(TRADE, sats=5, lots=("b",))
    assert [p.lot for p in only(named, book).postings[:1]] == ["b"]
    elsewhere = structs.replace(TRADE, sats=5, place="Cold")
    with pytest.raises(ShortError, match="Assets:Bitcoin:Cold holds 0.00000000 BTC"):
        only(elsewhere, book)


def test_a_purchase_opens_a_lot_at_what_the_coins_cost_and_pays_the_fee_as_well() -> None:
    bought = structs.replace(TRADE, sats=-30)
    coins, value, fee = btc_of_sats(30), usd("0.60"), usd("0.25")
    assert only(bought) == Entry(
        T0,
        f"trade|{bought.key}",
        "bought 0.00000030 BTC at 2,000,000.00 USD/BTC on desk",
        (
            Posting(TREASURY, coins, lot="t1", cost=value),
            Posting(BOUGHT, -coins),
            Posting(TRADING_USD, value),
            Posting("Expenses:TradingFees", fee),
            Posting(CASH, usd("-0.85")),
        ),
        (f"Trade|{bought.key}",),
        simulated=False,
    )


def test_a_trade_of_nothing_or_at_no_price_is_refused_by_field() -> None:
    with pytest.raises(EntryError, match=r"^trade t1: -sats is 0; it must be above 0$"):
        only(structs.replace(TRADE, sats=0))
    for sats in (30, -30):
        with pytest.raises(EntryError, match=r"^trade t1: price_usd is 0; it must be above 0$"):
            only(structs.replace(TRADE, sats=sats, price_usd=Decimal(0)), held())


def test_power_is_split_by_use_to_the_cent_and_owed_to_the_site() -> None:
    assert only(BILL) == Entry(
        T0,
        f"power|{BILL.key}",
        "s: 10.500 MWh",
        (
            Posting("Expenses:Power:Mining", usd("70.01")),
            Posting("Expenses:Power:Inference", usd("30.00")),
            Posting("Liabilities:Power:s", usd("-100.01")),
        ),
        (f"PowerBill|{BILL.key}",),
        simulated=False,
    )
    assert only(structs.replace(BILL, kind="simulated")).postings[2] == Posting(CASH, usd("-100.01"))
    large = structs.replace(BILL, mining_wh=2e9, inference_wh=0.0, aux_wh=0.0)
    assert only(large).narration == "s: 2,000.000 MWh"
    assert [p.amount.number for p in only(large).postings] == [Decimal("100.01"), Decimal("0.00"), Decimal("-100.01")]


def test_a_charge_for_no_energy_is_minings_and_a_small_draw_is_energy() -> None:
    demand = structs.replace(BILL, mining_wh=0.0, inference_wh=0.0, aux_wh=0.0)
    assert only(demand).narration == "s: demand charge"
    assert [p.amount.number for p in only(demand).postings] == [Decimal("100.01"), Decimal("0.00"), Decimal("-100.01")]
    little = structs.replace(BILL, mining_wh=0.0, inference_wh=0.5, aux_wh=0.0)
    assert [p.amount.number for p in only(little).postings] == [Decimal("0.00"), Decimal("100.01"), Decimal("-100.01")]
    assert only(little).narration == "s: 0.000 MWh"


def test_an_opening_is_cash_and_the_oldest_lot_against_equity() -> None:
    coins, cost = btc_of_sats(7), usd("3.50")
    assert only(OPENING) == Entry(
        T0,
        f"opening|{OPENING.key}",
        "opening balances",
        (
            Posting(CASH, usd(500)),
            Posting("Equity:Opening", usd(-500)),
            Posting("Assets:Bitcoin:Cold", coins, lot="o1", cost=cost, acquired=T0),
            Posting(OPENED, -coins),
            Posting(TRADING_USD, cost),
            Posting("Equity:Opening", -cost),
        ),
        (f"Opening|{OPENING.key}",),
        simulated=False,
    )
    assert len(only(structs.replace(OPENING, sats=0, cost_usd=Decimal(0))).postings) == 2
    assert len(only(structs.replace(OPENING, sats=1)).postings) == 6
    assert only(structs.replace(OPENING, cost_usd=Decimal(0))).postings[2].cost == usd(0)


def test_an_opening_below_nothing_is_refused_by_field() -> None:
    with pytest.raises(EntryError, match=r"^opening o1: sats is -1; it must not be negative$"):
        only(structs.replace(OPENING, sats=-1))
    with pytest.raises(EntryError, match=r"^opening o1: cost_usd is -0.01; it must not be negative$"):
        only(structs.replace(OPENING, cost_usd=Decimal("-0.01")))


def test_a_promise_kept_is_owed_by_the_grid_less_what_it_fines() -> None:
    assert only(KEPT) == Entry(
        T0,
        f"performance|{KEPT.key}",
        "1 MW of reserve kept",
        (
            Posting("Assets:Receivable:Grid:s", usd("9.50")),
            Posting("Income:Grid:Reserves", usd("-12.00")),
            Posting("Expenses:Grid:Penalties", usd("2.50")),
        ),
        (f"Performance|{KEPT.key}",),
        simulated=False,
    )
    fined = structs.replace(KEPT, paid_usd=Decimal(0))
    assert [p.amount.number for p in only(fined).postings] == [Decimal("-2.50"), Decimal("0.00"), Decimal("2.50")]
    paid = structs.replace(KEPT, penalty_usd=Decimal("0.004"))  # less than half a cent is nothing
    assert [p.amount.number for p in only(paid).postings] == [Decimal("12.00"), Decimal("-12.00"), Decimal("0.00")]
    assert entries_for(structs.replace(KEPT, paid_usd=Decimal(0), penalty_usd=Decimal(0)), Book()) == []


def test_what_means_nothing_in_money_makes_no_entry_and_a_loans_record_asks_for_its_loan() -> None:
    tick = NetworkTick(**SAID, difficulty=1e14, subsidy_btc=3.125, fee_share=0.0, btc_usd=Decimal(1))
    assert entries_for(tick, Book()) == []
    assert dict(NO_LOANS) == {}
    drawn = LoanFlow(**SAID, flow_id="f", loan_id="l", what="drawn", amount=Decimal(5))
    with pytest.raises(EntryError, match="l"):
        entries_for(drawn, Book())
    move = Transfer(**SAID, transfer_id="m", sats=20, from_place="Treasury", to_place="Cold")
    (entry,) = entries_for(move, held())
    assert [(p.account, p.lot) for p in entry.postings[:2]] == [(TREASURY, "a"), ("Assets:Bitcoin:Cold", "a")]
    loan = Loan(**SAID, loan_id="l", lender="bank")
    (entry,) = entries_for(drawn, Book(), {"l": loan})
    assert entry.postings[0].amount.number in (Decimal(5), Decimal(-5))

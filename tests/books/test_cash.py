"""Cash by month and what is owed by age, worked by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal as D  # noqa: N817 - sums are easier to read so
from typing import Any

from tieline.books import Bookkeeper
from tieline.books.treasury.cash import cash_view
from tieline.records import Equity, Opening, Payment, Payout, Trade, VendorBill

NOW = datetime(2026, 9, 15, tzinfo=UTC)


def told(month: int, day: int) -> dict[str, Any]:
    at = datetime(2026, month, day, tzinfo=UTC)
    return {"at": at, "known_at": at, "source": "t", "kind": "measured"}


def bill(month: int, day: int, usd: int) -> VendorBill:
    return VendorBill(**told(month, day), bill_id=f"b{month}-{day}", payee="Host", amount_usd=D(usd), expense="Hosting")


def pays(month: int, day: int, usd: int) -> Payment:
    return Payment(**told(month, day), payment_id=f"y{month}-{day}", party="Host", amount_usd=D(usd))


def test_sources_uses_runway_and_age() -> None:
    keeper, base = Bookkeeper(), told(7, 2)
    for record in (
        Opening(**told(6, 30), opening_id="o", cash_usd=D(1_000)),
        bill(6, 30, 300), bill(7, 5, 300), bill(8, 5, 300), bill(9, 5, 300),
        pays(7, 10, 500),
        Payout(**base, payout_id="p", pool="p", sats=10**8, span_start=base["at"], span_end=base["at"], btc_usd=D(50)),
        Trade(**told(8, 9), trade_id="t", sats=10**8, price_usd=D(300), fee_usd=D(0), venue="v"),
        pays(8, 10, 200),
        Equity(**told(8, 20), issue_id="e", amount_usd=D(400), status="closed"),
    ):  # fmt: skip
        keeper.take(record)
    view = cash_view(keeper.book, NOW, 2)
    july, august, september = view.months
    assert (july.opening, july.moved, july.closing) == (1000, (("bills paid, and money of customers", D(-500)),), 500)
    assert dict(august.moved) == {
        "bills paid, and money of customers": -200,
        "bitcoin sold and bought": 300,
        "shares": 400,
    }
    assert (september.opening, september.moved, view.cash) == (1000, (), 1000)
    # July used 500, August brought 100: 200 a month; 1,000 last five months.
    assert (view.burn, view.runway_months) == (200, 5)
    (owing,) = view.owed
    # 700 paid of 300 + 300 + 300 + 300: 200 of August's bill (41 days) and September's (10 days) are open.
    assert (owing.party, owing.total, owing.by_age) == ("Payable:Host", 500, (300, 200, 0, 0))


def test_cash_that_grows_does_not_run_out_and_no_month_says_nothing() -> None:
    keeper = Bookkeeper()
    assert cash_view(keeper.book, NOW).runway_months is None
    keeper.take(Opening(**told(9, 1), opening_id="o", cash_usd=D(5)))
    assert cash_view(keeper.book, NOW).burn is None
    keeper.take(Payment(**told(8, 1), payment_id="r", party="acme", amount_usd=D(-7), settles="invoice"))
    view = cash_view(keeper.book, NOW)
    assert (view.cash, view.burn, view.runway_months) == (12, -7, None)
    assert [one.month[-2:] for one in cash_view(keeper.book, NOW, 9).months] == ["08", "09"]

"""A month in dollars, worked by hand: realised apart from unrealised, and everything sums."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tieline.books import Bookkeeper
from tieline.books.reports.statement import Statement, statement_of
from tieline.records import Closing, Loan, LoanFlow, Opening, Payout, Pledge, PowerBill, Range, RateFixing, Trade

D = Decimal


def told(day: int, month: int = 8) -> dict[str, Any]:
    at = datetime(2026, month, day, 12, tzinfo=UTC)
    return {"at": at, "known_at": at, "source": "t", "kind": "measured"}


def closing(month: int, price: str | None) -> Closing:
    usd = None if price is None else D(price)
    return Closing(**told(2, month + 1), month=f"2026-{month:02}", by="x", entries=0, digest="", btc_usd=usd)


def paid(n: int, sats: int, price: str, month: int = 8) -> Payout:
    base = told(n, month)
    return Payout(
        **base, payout_id=f"p{month}-{n}", pool="p", sats=sats, span_start=base["at"], span_end=base["at"],
        btc_usd=D(price),
    )  # fmt: skip


def sold(n: int, sats: int, price: str, month: int = 8) -> Trade:
    return Trade(**told(n, month), trade_id=f"t{month}-{n}", sats=sats, price_usd=D(price), fee_usd=D(0), venue="v")


def lines(some: Any) -> dict[str, Decimal]:
    return {one.name: one.usd for one in some}


def check(made: Statement) -> None:
    moved = lines(made.rollforward)
    end = moved.pop("Closing")
    assert sum(moved.values(), D(0)) == end
    assert sum((one.usd for one in made.balance), D(0)) == 0
    assert made.net == sum((one.usd for one in made.income), D(0))


def test_two_months_at_fair_value() -> None:
    keeper = Bookkeeper()
    for record in (
        Opening(**told(1), opening_id="o", cash_usd=D(1000), sats=10**8, cost_usd=D(50_000)),
        paid(5, 10**8, "60000"),
        sold(9, 10**8, "70000"),
        PowerBill(
            **told(10), site_id="s", length_s=3600, mining_wh=1.0, inference_wh=0.0, aux_wh=0.0, cost_usd=D(9_000)
        ),
        closing(8, "80000"),
    ):
        keeper.take(record)
    august = statement_of(keeper, "2026-08")
    check(august)
    # 1 BTC that cost 60,000 is left, worth 80,000; the one that was sold cost 50,000.
    assert lines(august.rollforward) == {
        "Opening": D(0),
        "Additions: mined": D(60_000),
        "Additions: brought into the books": D(50_000),
        "Dispositions, at what they brought": D(-70_000),
        "Realised gains and losses": D(20_000),
        "Unrealised gains and losses": D(20_000),
        "Closing": D(80_000),
    }
    assert (august.units, august.cost, august.fair_value, august.closed) == (1, 60_000, 80_000, True)
    assert august.net == D(60_000) + 20_000 + 20_000 - 9_000
    assert lines(august.balance)["Liabilities:Power:s"] == D(-9_000)
    keeper.take(sold(5, 10**8, "75000", month=9))
    keeper.take(closing(9, "1"))
    september = statement_of(keeper, "2026-09")
    check(september)
    # Carried at 80,000 and sold for 75,000: a gain of 15,000 over cost, and 20,000 of unrealised gain taken back.
    assert lines(september.rollforward) == {
        "Opening": D(80_000),
        "Dispositions, at what they brought": D(-75_000),
        "Realised gains and losses": D(15_000),
        "Unrealised gains and losses": D(-20_000),
        "Closing": D(0),
    }
    assert september.net == D(-5_000)


def test_what_is_restricted_and_what_is_open_is_said() -> None:
    keeper = Bookkeeper()
    for record in (
        paid(5, 3 * 10**8, "60000"),
        Loan(**told(6), loan_id="L", lender="Bank", matures=datetime(2027, 1, 1, tzinfo=UTC)),
        LoanFlow(**told(6), flow_id="f", loan_id="L", what="drawn", amount=D(30_000)),
        Pledge(**told(6), pledge_id="g", loan_id="L", sats=10**8),
    ):
        keeper.take(record)
    made = statement_of(keeper, "2026-08")
    check(made)
    held = {one.place: (one.btc, one.restricted) for one in made.holdings}
    assert held == {
        "Bitcoin:Treasury": (2, ""),
        "Bitcoin:Pledged:L": (1, "pledged for L of Bank, until 2027-01-01"),
    }
    text = "\n".join(made.lines())
    assert "fair value not known" in text
    assert "not final: L: whether Bank may sell or re-pledge the coins is not known" in text


@given(
    moves=st.lists(
        st.tuples(st.integers(7, 9), st.integers(1, 28), st.integers(-(10**9), 10**9), st.integers(1, 10**7)),
        max_size=16,
    ),
    prices=st.tuples(*[st.none() | st.integers(1, 10**6).map(str)] * 3),
)
def test_every_month_rolls_forward(moves: list[tuple[int, int, int, int]], prices: tuple[str | None, ...]) -> None:
    keeper = Bookkeeper()
    for month, price in zip((7, 8, 9), prices, strict=True):
        for n, (_, day, sats, cents) in enumerate(sorted(move for move in moves if move[0] == month)):
            usd = str(D(cents).scaleb(-2))
            one = paid(day, sats, usd, month) if sats > 0 else sold(day, -sats, usd, month)
            keeper.take(one)
            keeper.take(sold(day, sats // (n + 2), usd, month) if sats > 5 else one)
        keeper.take(closing(month, price))
    assert keeper.book.imbalance() == {}
    for month, price in zip((7, 8, 9), prices, strict=True):
        made = statement_of(keeper, f"2026-{month:02}")
        check(made)
        assert made.fair_value == (None if price is None else (made.units * D(price)).quantize(D("0.01")))


def test_interest_is_accrued_at_the_close_on_what_was_owed_and_paid_from_what_is_owed() -> None:
    """36,500 owed from 1 August 12:00 for 10 days, then 18,250 to the month's end, at 10 % a year: 10 a day, then 5."""
    keeper = Bookkeeper()
    rate = Range(low=D("0.1"), high=D("0.1"))
    for record in (
        Loan(**told(1), loan_id="L", lender="Bank", rate=rate, may_rehypothecate="no"),
        LoanFlow(**told(1), flow_id="f", loan_id="L", what="drawn", amount=D(36_500)),
        LoanFlow(**told(11), flow_id="g", loan_id="L", what="repaid", amount=D(18_250)),
        closing(8, None),
    ):
        keeper.take(record)
    # 10 days x 10.00 + 20.5 days x 5.00
    assert lines(statement_of(keeper, "2026-08").balance)["Liabilities:Interest:L"] == D("-202.50")
    # A lender that counts days otherwise asks for more than was accrued; what this month accrues may be paid with it.
    keeper.take(LoanFlow(**told(5, 9), flow_id="i", loan_id="L", what="interest", amount=D(422)))
    made = statement_of(keeper, "2026-09")
    check(made)
    assert lines(made.income) == {}
    assert lines(made.balance)["Liabilities:Interest:L"] == D("219.50")
    keeper.take(closing(9, None))
    made = statement_of(keeper, "2026-09")
    check(made)
    # 30 days x 5.00, and 69.50 that were asked for beyond what was accrued: what was paid, once.
    assert lines(made.income) == {"Expenses:Interest": D("-219.50")}
    assert "Liabilities:Interest:L" not in lines(made.balance)
    keeper.take(Loan(**told(6, 9), loan_id="L", lender="Bank", rate=Range(low=D("0.07"), high=D("0.08"))))
    assert any("only known within bounds" in line for line in statement_of(keeper, "2026-09").notes)


DAYS = st.integers(0, 91)


@given(
    rates=st.lists(st.tuples(DAYS, st.integers(1, 900)), min_size=1, max_size=5, unique_by=lambda one: one[0]),
    payments=st.lists(st.tuples(DAYS, st.integers(1, 30_000)), max_size=3),
    known=st.lists(st.integers(0, 4), max_size=3),
)
def test_interest_comes_to_the_same_whether_its_rates_were_known_in_time_or_after_the_months_were_closed(
    rates: list[tuple[int, int]], payments: list[tuple[int, int]], known: list[int]
) -> None:
    def day(n: int) -> dict[str, Any]:
        at = datetime(2026, 8, 1, tzinfo=UTC) + timedelta(days=n)
        return {"at": at, "known_at": at, "source": "t", "kind": "measured"}

    first = RateFixing(**day(-1), reference="SOFR", rate=D("0.04"))
    fixings = [RateFixing(**day(n), reference="SOFR", rate=D(rate).scaleb(-4)) for n, rate in rates]
    flows = [
        LoanFlow(**day(n), flow_id=f"i{i}", loan_id="L", what="interest", amount=D(usd))
        for i, (n, usd) in enumerate(payments)
    ]
    loan = Loan(**day(0), loan_id="L", lender="Bank", reference="SOFR", may_rehypothecate="no")
    drawn = LoanFlow(**day(0), flow_id="f", loan_id="L", what="drawn", amount=D(3_650_000))
    in_time = [one for i, one in enumerate(fixings) if i in known]
    late = [one for i, one in enumerate(fixings) if i not in known]
    sums = []
    for records in (
        [loan, first, *fixings, drawn, *flows, *(closing(month, None) for month in (8, 9, 10))],
        [loan, first, *in_time, drawn, *flows, *(closing(month, None) for month in (8, 9)), *late, closing(10, None)],
    ):
        keeper = Bookkeeper()
        for record in records:
            keeper.take(record)
        assert keeper.unbookable == ()
        assert keeper.book.imbalance() == {}
        sums.append([keeper.book.balance(name, "USD") for name in ("Expenses:Interest", "Liabilities:Interest:L")])
    assert sums[0] == sums[1]
    assert sums[0][1] <= 0  # nothing is left paid ahead of the last close

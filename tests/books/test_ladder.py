"""The ladder, the what-if and the stress, against figures worked by hand."""

from datetime import UTC, datetime
from decimal import Decimal as D  # noqa: N817 - sums are easier to read so

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieline.books.treasury.ladder import AskedError, Holding, Sale, Secured, asked, ladder, play, shocks, what_if
from tieline.ledger import LotHeld
from tieline.records import Range

PRICE = D(68_524)


def exactly(value: str) -> Range:
    return Range(low=D(value), high=D(value))


LOAN = Secured(
    "L1", D(250_000_000), D(5_000), initial=exactly("0.6"), call=exactly("0.75"), liquidation=exactly("0.85")
)
HELD = Holding(free=D("2474.6"), loans=(LOAN,))


def test_the_ladder() -> None:
    assert LOAN.ltv(PRICE) == pytest.approx(D("0.7297"), abs=D("0.00005"))
    steps = {step.level: step for step in ladder(HELD, PRICE)}
    assert steps["call"].trigger == exactly("66666.67")
    assert steps["liquidation"].trigger == exactly("58823.53")
    # 250 M / (0.6 x 66,666.67) - 5,000
    assert steps["call"].coins == pytest.approx(D(1_250), abs=D("0.01"))
    assert steps["call"].fall == D("2.71")


def test_selling_4451_coins_and_repaying() -> None:
    outcome = what_if(HELD, asked("sell 4451 BTC at 68524 for USDT, repay"))
    assert outcome.proceeds == D(305_000_324)
    first, second = outcome.stages
    assert (first.sold, first.debt) == (D("2474.6"), D("80430509.60"))
    assert first.releasable == pytest.approx(D("3043.7"), abs=D("0.05"))
    assert (second.sold, second.debt) == (D("1976.4"), D(0))
    assert (outcome.after.debt, outcome.after.cash, outcome.after.coins) == (D(0), D(55_000_324), D("3023.6"))
    assert outcome.sale.currency == "USDT"


def test_pledged_coins_are_not_sold_while_their_debt_stands() -> None:
    with pytest.raises(AskedError, match=r"only 2474\.6 of 4451 BTC can be sold: 5000 stay pledged"):
        what_if(HELD, asked("sell 4451 BTC at 68524"))
    with pytest.raises(AskedError, match=r"2474\.6 are free and 5000 pledged"):
        what_if(HELD, asked("sell 9000 BTC at 68524, repay"))


def test_without_a_release_level_nothing_comes_back_before_the_debt_is_gone() -> None:
    unknown = Holding(D(10), (Secured("L", D(1_000), D(5)),))
    assert ladder(unknown, PRICE) == []
    assert what_if(unknown, Sale(D(12), D(200), repay=True)).after.coins == D(3)
    with pytest.raises(AskedError, match="stay pledged"):
        what_if(unknown, Sale(D(12), D(50), repay=True))


def test_terms_known_as_a_range_give_a_range_of_triggers() -> None:
    loan = Secured("L", D(1_000), D(10), call=Range(low=D("0.7"), high=D("0.8")))
    assert loan.trigger(loan.call) == Range(low=D("125.00"), high=D("142.86"))


@pytest.mark.parametrize(
    "text", ["", "sell", "sell x BTC at 5", "sell 0 at 5", "buy 5 BTC at 5", "sell 1.123456789 at 5"]
)
def test_what_is_not_understood_is_answered_with_an_example(text: str) -> None:
    with pytest.raises(AskedError):
        asked(text)


def lot(name: str, number: str, cost: str, day: int) -> LotHeld:
    return LotHeld(
        name, "Assets:Bitcoin:Treasury", "BTC", D(number), D(cost), "USD", datetime(2026, 1, day, tzinfo=UTC)
    )


def test_the_gain_by_each_method() -> None:
    lots = (lot("a", "2", "100000", 1), lot("b", "1", "90000", 2), lot("c", "1", "70000", 3))
    outcome = what_if(Holding(D(4), lots=lots), asked("sell 2 BTC at 80,000"))
    assert outcome.gains == {"fifo": D(60_000), "lifo": D(0), "hifo": D(0), "average": D(30_000)}


def test_shocks() -> None:
    found = {one.shock: one for one in shocks(HELD, PRICE, [D("0"), D("-0.05"), D("-0.2")])}
    assert [found[D(f)].state for f in ("0", "-0.05", "-0.2")] == ["kept", "called", "liquidated"]
    # at 54,819.20: 250 M - 0.6 x 5,000 x 54,819.20
    assert found[D("-0.2")].cure_cash == D("85542400.00")


def test_a_history_is_played_from_every_hour() -> None:
    loan = Secured("L", D(80), D(1), call=exactly("0.8"), liquidation=exactly("0.9"))
    # at a price of 125: LTV 0.64, call at 100 (0.8 of now), liquidation at 88.89
    history = [100.0, 95.0, 80.0, 90.0, 70.0, 100.0, 100.0]
    call, liquidation = play(Holding(D(0), (loan,)), D(125), history, 3)
    # from 100: 80 after 2 h; from 95: 70 after 3 h (80 is 0.842 of it); from 80: 70 is 0.875; from 90: 70 after 1 h
    assert (call.starts, call.reached, call.soonest_h, call.median_h) == (4, 3, 1, 2)
    assert (liquidation.reached, liquidation.soonest_h) == (0, None)
    with pytest.raises(AskedError, match="has 3 hours"):
        play(Holding(D(0), (loan,)), D(125), history[:3], 3)


@given(
    history=st.lists(st.floats(1, 100), min_size=6, max_size=40),
    share=st.sampled_from([0.5, 0.8, 0.95]),
    hours=st.integers(1, 5),
)
def test_waits_are_those_of_a_plain_search(history: list[float], share: float, hours: int) -> None:
    from tieline.books.treasury.ladder import _waits

    plain = []
    for start in range(len(history) - hours):
        hit = [n for n in range(hours + 1) if history[start + n] <= history[start] * share]
        plain += hit[:1]
    assert _waits(history, share, hours) == plain


@given(
    free=st.integers(0, 10**6), pledged=st.integers(1, 10**6), debt=st.integers(1, 10**9), sold=st.integers(1, 10**6),
    price=st.integers(1, 100_000),
)  # fmt: skip
def test_coins_and_money_are_kept(free: int, pledged: int, debt: int, sold: int, price: int) -> None:
    loan = Secured("L", D(debt), D(pledged), initial=exactly("0.5"))
    held = Holding(D(free), (loan,), cash=D(7))
    try:
        outcome = what_if(held, Sale(D(sold), D(price), repay=True))
    except AskedError:
        return
    assert outcome.after.coins == held.coins - sold
    assert outcome.after.cash - outcome.after.debt == D(7) + D(sold) * price - debt
    (after,) = outcome.after.loans
    assert after.debt == 0 or after.pledged == loan.pledged or after.debt <= after.pledged * price * D("0.5")

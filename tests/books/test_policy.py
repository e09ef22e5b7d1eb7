"""The accounting policy: each measurement worked by hand, months in the company's zone, lots by rule, limits kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.books.test_statement import check, closing, lines, paid, sold, told

from tieline.books import Bookkeeper, month_span
from tieline.books.accounts import COINS, GAIN, IMPAIRMENT, REVALUED_BELOW, SURPLUS, TREASURY
from tieline.books.policy import PolicyError, policy_of
from tieline.books.reports.statement import statement_of
from tieline.ledger import BTC, USD
from tieline.records import Opening, Payment, PolicyChosen, Transfer

D = Decimal
START = datetime(2026, 1, 1, tzinfo=UTC)


def chosen(text: str, after: timedelta = timedelta(0)) -> PolicyChosen:
    at = START + after
    return PolicyChosen(at=at, known_at=at, source="t", kind="measured", by="Ada", text=text)


def kept(text: str, *records: Any) -> Bookkeeper:
    keeper = Bookkeeper()
    for record in (chosen(text), *records):
        keeper.take(record)
    assert keeper.unbookable == ()
    assert keeper.book.imbalance() == {}
    return keeper


def test_cost_less_impairment_is_taken_back_up_to_cost_and_no_further() -> None:
    keeper = kept('framework = "IFRS"\nmeasurement = "cost"', paid(5, 10**8, "60000"))
    for month, price, impaired in ((8, "50000", 10_000), (9, "58000", -8_000), (10, "70000", -2_000)):
        keeper.take(closing(month, price))
        made = statement_of(keeper, f"2026-{month:02}")
        check(made)
        assert lines(made.income)[IMPAIRMENT] == -impaired
        assert lines(made.rollforward)["Impairment, and what of it was taken back"] == -impaired
        assert made.oci == 0
    assert lines(made.rollforward)["Closing"] == D(60_000)
    assert made.fair_value == D(70_000)
    assert any("IAS 38.74" in line for line in made.policy)


def test_revaluation_goes_to_equity_and_what_was_sold_takes_its_part_out_of_the_gain() -> None:
    keeper = kept('framework = "IFRS"\nmeasurement = "revaluation"', paid(5, 10**8, "60000"), closing(8, "80000"))
    august = statement_of(keeper, "2026-08")
    check(august)
    assert (august.net, august.oci) == (D(60_000), D(20_000))
    # Half is sold at 90,000; it was carried at 40,000, so that 5,000 are a gain and 10,000 of surplus are kept.
    keeper.take(sold(5, 5 * 10**7, "90000", month=9))
    keeper.take(closing(9, "70000"))
    september = statement_of(keeper, "2026-09")
    check(september)
    assert -keeper.book.change(GAIN, USD, *month_span("2026-09")) == D(5_000)
    # The half that is left fell from 40,000 to 35,000, which its surplus of 10,000 bears.
    assert (september.net, september.oci) == (D(5_000), D(-5_000))
    assert lines(september.rollforward)["Closing"] == D(35_000)
    keeper.take(closing(10, "50000"))
    october = statement_of(keeper, "2026-10")
    assert (october.oci, lines(october.income)[REVALUED_BELOW]) == (D(-5_000), D(-5_000))
    keeper.take(closing(11, "65000"))
    november = statement_of(keeper, "2026-11")
    check(november)
    assert (november.oci, lines(november.income)[REVALUED_BELOW]) == (D(2_500), D(5_000))
    assert keeper.book.balance(SURPLUS, USD) == D(-2_500)


MONTHS = st.lists(
    st.tuples(st.integers(1, 10**8), st.integers(0, 100), st.integers(1_000, 200_000), st.integers(1_000, 200_000)),
    min_size=1,
    max_size=8,
)


@given(MONTHS, st.sampled_from(["fair-value", "cost", "revaluation"]), st.sampled_from(["fifo", "hifo", "average"]))
def test_whatever_happens_it_rolls_forward_to_what_it_may_be_carried_at(
    months: list[tuple[int, int, int, int]], measurement: str, method: str
) -> None:
    framework = "US-GAAP" if measurement == "fair-value" else "IFRS"
    keeper = kept(f'framework = "{framework}"\nmeasurement = "{measurement}"\nlots = "{method}"')
    for month, (sats, share, price, at_close) in enumerate(months, 1):
        keeper.take(paid(3, sats, str(price), month))
        held = int(keeper.book.balance(COINS, BTC) * 10**8)
        if held * share // 100:
            keeper.take(sold(9, held * share // 100, str(price), month))
        keeper.take(closing(month, str(at_close)))
        made = statement_of(keeper, f"2026-{month:02}")
        check(made)
        carried = lines(made.rollforward)["Closing"]
        assert made.fair_value is not None
        assert carried == (min(made.cost, made.fair_value) if measurement == "cost" else made.fair_value)
        assert sum((one.cost for one in made.holdings), D(0)) == made.cost
        assert sum((one.btc for one in made.holdings), D(0)) == made.units
        assert keeper.book.balance(SURPLUS, USD) <= 0
    assert keeper.unbookable == ()


def test_a_month_ends_where_the_company_is() -> None:
    late = paid(31, 10**8, "60000")  # 31 August, noon
    after = datetime(2026, 9, 1, 3, tzinfo=UTC)  # still August in New York
    late = msgspec.structs.replace(late, at=after, span_start=after, span_end=after)
    keeper = kept('time_zone = "America/New_York"', late, closing(8, "60000"))
    assert keeper.open_from == datetime(2026, 9, 1, 4, tzinfo=UTC)
    assert lines(statement_of(keeper, "2026-08").rollforward)["Additions: mined"] == D(60_000)
    assert month_span("2026-11", policy_of('time_zone = "America/New_York"').zone)[1].hour == 5  # after the change


def test_a_payout_of_a_closed_month_is_income_of_the_open_one_and_its_lot_keeps_its_day() -> None:
    keeper = kept("", paid(3, 10**8, "60000"), closing(8, "60000"))
    late = msgspec.structs.replace(
        paid(20, 10**7, "50000"), payout_id="late", known_at=datetime(2026, 9, 15, tzinfo=UTC)
    )
    keeper.take(late)
    assert keeper.unbookable == ()
    entry = keeper.book.entries[-1]
    assert entry.at == keeper.open_from == datetime(2026, 9, 1, tzinfo=UTC)
    assert entry.narration.endswith(f"(of {late.at:%Y-%m-%d}, learned after its month was closed)")
    assert entry.known_at == late.known_at
    assert late.key in "".join(entry.refs)
    assert lines(statement_of(keeper, "2026-08").rollforward)["Additions: mined"] == D(60_000)
    assert lines(statement_of(keeper, "2026-09").rollforward)["Additions: mined"] == D(5_000)
    assert [f"{one.at:%Y-%m-%d}" for one in keeper.book.lots(TREASURY)] == ["2026-08-03", "2026-08-20"]


def test_lots_leave_by_the_rule_that_covers_account_and_year() -> None:
    text = 'lots = "fifo"\n[[lot_rule]]\nmethod = "hifo"\naccount = "Assets:Bitcoin:Vault"\nyear = 2026\n'
    move = Transfer(**told(6), transfer_id="m", sats=2 * 10**8, from_place="Treasury", to_place="Vault")
    keeper = kept(text, paid(3, 10**8, "10000"), paid(4, 10**8, "90000"), paid(5, 10**8, "50000"), move)
    assert [one.cost for one in keeper.book.lots(TREASURY)] == [D(50_000)]  # the two oldest moved
    back = Transfer(**told(7), transfer_id="b", sats=10**8, from_place="Vault", to_place="Treasury")
    keeper.take(back)
    assert [one.cost for one in keeper.book.lots(f"{COINS}:Vault")] == [D(10_000)]  # the dearer one went back


def test_a_limit_is_kept_and_what_waits_is_booked_when_it_may_be() -> None:
    text = '[[limit]]\naccount = "Assets:Cash"\ncommodity = "USD"\nleast = 100\n'
    keeper = kept(text, Opening(**told(1), opening_id="o", cash_usd=D(500)))
    keeper.take(Payment(**told(2), payment_id="p", party="Host", amount_usd=D(450)))
    (aside,) = keeper.unbookable
    assert "would hold 50.00 USD, at least 100 by the policy's limit" in aside.why
    keeper.take(Payment(**told(3), payment_id="q", party="T", amount_usd=D(-200), settles="invoice"))
    assert keeper.unbookable == ()
    assert keeper.book.balance("Assets:Cash", USD) == D(250)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("framework = 'US-GAAP'\nmeasurement = 'cost'", "measurement: 'cost' is none of US-GAAP's"),
        ("time_zone = 'Mars'", "time_zone: 'Mars' is no zone"),
        ("lots = 'best'", "lots"),
        ("framwork = 'IFRS'", "framwork"),
        ("[[lot_rule]]\nmethod='fifo'\ncommodity='XYZ'", "lot_rule.commodity: 'XYZ' is not known"),
        ("[[entity]]\nname='A'\nplaces=['x']\n[[entity]]\nname='B'\nplaces=['x']", "entity.places: 'x' stands twice"),
        ("[[sla]]\nname='a'\nshare=nan\ncredit=0.1", "no number"),
        ("[[tax]]\nname='a'\nrate=19", "rate is 19; write 0.19"),
        ("[[sale]]\nname='a'\nltv_ceiling=0.5\nmonths_of_cash=3", "sale 'a': give one of"),
        ("=", "Invalid"),
    ],
)
def test_what_is_no_policy_is_refused_by_its_field(text: str, says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        policy_of(text)
    keeper = Bookkeeper()
    keeper.take(chosen(text))
    assert len(keeper.unbookable) == 1
    assert keeper.policy.framework == "US-GAAP"


def test_books_that_are_closed_one_way_do_not_go_on_another() -> None:
    keeper = kept("", paid(5, 10**8, "60000"), closing(8, "80000"))
    keeper.take(chosen('framework = "IFRS"', timedelta(days=300)))
    assert "begin other books" in keeper.unbookable[0].why
    keeper = kept("", paid(5, 10**8, "60000"), closing(8, "80000"))
    keeper.take(chosen('lots = "hifo"', timedelta(days=300)))
    assert keeper.unbookable == ()
    assert keeper.book.policy.default == "hifo"


def test_coins_of_a_legal_entity_are_named_as_its() -> None:
    move = Transfer(**told(6), transfer_id="m", sats=10**7, from_place="Treasury", to_place="Texas")
    text = 'company = "Parent"\n[[entity]]\nname = "Texas LLC"\nplaces = ["Texas"]\n'
    made = statement_of(kept(text, paid(5, 10**8, "60000"), move, closing(8, "80000")), "2026-08")
    assert [(one.entity, one.btc, one.cost, one.fair_value) for one in made.holdings] == [
        ("Texas LLC", D("0.1"), D(6_000), D(8_000)),
        ("Parent", D("0.9"), D(54_000), D(72_000)),
    ]
    assert "Texas LLC: Bitcoin:Texas" in "\n".join(made.lines())

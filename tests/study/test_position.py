"""What a study starts from, owes and is paid in: the books' position, loans and their covenants, other currencies."""

from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import numpy as np
import pytest
from tests.study.ground import doing, flat, study, surfaces, text

from tieline.books.treasury.ladder import Holding, Secured
from tieline.config.lines import MistakeError
from tieline.records import Loan, Range
from tieline.study.alternatives import CATEGORIES, Block
from tieline.study.books import opened
from tieline.study.drivers import draw
from tieline.study.file import Study, StudyLoan
from tieline.study.loans import Loans, operating
from tieline.study.money import annuity, schedule
from tieline.study.reading import loads
from tieline.study.results import balances
from tieline.study.sweep import joined, on

NOW = datetime(2025, 12, 31, 12, tzinfo=UTC)
NINE, EIGHTY = Range(low=Decimal("0.09"), high=Decimal("0.09")), Range(low=Decimal("0.80"), high=Decimal("0.85"))
SAID = {"at": NOW, "known_at": NOW, "source": "told", "kind": "measured", "loan_id": "L1", "lender": "Bank"}
TERMS = Loan(**SAID, rate=NINE, liquidation_ltv=EIGHTY, matures=datetime(2027, 6, 30, tzinfo=UTC))  # type: ignore[arg-type]
OWED = Secured("L1", Decimal(1_000_000), Decimal(25), liquidation=EIGHTY)
HELD = Holding(Decimal(11), (OWED,), Decimal(2_500_000), (), Decimal(1))


def opening(one: Study, terms: Loan = TERMS, holding: Holding = HELD) -> Study:
    return opened(one, holding, {"L1": terms}, NOW)


# --- the books ----------------------------------------------------------------------------------


def test_the_books_cash_coins_and_loans_are_where_a_study_begins() -> None:
    bare = study(months=60, paths=2)
    one = opening(bare)
    assert (one.money.opening_cash_usd, one.money.opening_btc) == (2_500_000.0, 12.0)
    assert one.money.opening_source.startswith("books at 2025-12-31 12:00 UTC: 12 BTC not pledged, 1 loan that owes")
    (loan,) = one.loan
    assert (loan.term_months, loan.rate, loan.value_at_most, loan.collateral_btc) == (18, 0.09, 0.8, 25.0)
    # Coins bring their price as they are sold, pledged ones when the loan is repaid; interest, then the debt, go out.
    drivers = flat(one, 50.0)
    price = float(drivers.btc_usd[0, 0])
    found = joined([on(one, surfaces(), drivers)["0"]])
    without = joined([on(bare, surfaces(), flat(bare, 50.0))["0"]])
    moved = (balances(one, found) - balances(bare, without))[0]
    interest = 1_000_000 * 0.09 / 12
    assert moved[0] == pytest.approx(2_500_000 - bare.money.opening_cash_usd + price - interest)
    end = 2_500_000 - bare.money.opening_cash_usd + 37 * price - 18 * interest - 1_000_000
    assert moved[[17, 40, 59]] == pytest.approx([end] * 3)
    assert moved[16] == pytest.approx(end - 25 * price + interest + 1_000_000)
    # It is the same for every plan, so no plan is worth more or less for it.
    assert found.npv == pytest.approx(without.npv)


def test_a_loan_of_the_books_has_its_covenant() -> None:
    one = opening(study(months=60, paths=2))
    drivers = flat(one, 50.0)
    drivers.btc_usd[:] = 100_000.0
    drivers.btc_usd[1, 9:] = 49_000.0  # 1 M over 25 coins of 49,000: 0.82
    broken = Loans(Block(one, surfaces(), drivers), one.plan[0]).tested(np.zeros((2, 60)), {})
    for months in (broken.value, broken.stops):
        assert np.isnan(months[0])
        assert months[1] == 9.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rate": None}, "do not know the rate of the loan L1"),
        ({"matures": None}, "do not know when the loan L1 ends"),
    ],
)
def test_what_the_books_do_not_know_is_asked_for(changes: dict[str, None], words: str) -> None:
    with pytest.raises(MistakeError, match=words) as refused:
        opening(study(), msgspec.structs.replace(TERMS, **changes))  # type: ignore[arg-type]
    assert 'name = "L1", opening = true' in refused.value.fix
    told = '\n[[loan]]\nname = "L1"\nopening = true\nusd = 9e5\nrate = 0.1\nterm_months = 6\n'
    (own,) = opening(loads(text() + told), msgspec.structs.replace(TERMS, **changes)).loan  # type: ignore[arg-type]
    assert (own.usd, own.term_months) == (9e5, 6)


def test_a_loan_in_a_currency_without_a_path_is_refused() -> None:
    owed = Holding(Decimal(0), (Secured("L1", Decimal(5), Decimal(1), "EUR"),))
    with pytest.raises(MistakeError, match="owed in EUR") as refused:
        opening(study(), holding=owed)
    assert "assume.fx.EUR" in refused.value.fix


# --- loans --------------------------------------------------------------------------------------


def test_a_loan_drawn_in_parts_pays_interest_alone_and_is_then_an_annuity() -> None:
    one = study(months=120)
    loan = StudyLoan(
        name="l", usd=12e6, month="2026-01", rate=0.06, term_months=72, draw_months=12, interest_only_months=24
    )
    found = schedule(loan, one)
    assert found.cash[0] == pytest.approx(1e6)
    assert found.cash[1] == pytest.approx(1e6 - 1e6 * 0.005)
    assert found.cash[12:25] == pytest.approx(np.full(13, -12e6 * 0.005))
    assert found.cash[25:73] == pytest.approx(np.full(48, -annuity(12e6, 0.06, 48)))
    assert found.cash[73:] == pytest.approx(np.zeros(47))
    assert (found.owed[11], found.owed[24], found.owed[72]) == (pytest.approx(12e6), pytest.approx(12e6), 0.0)
    assert found.served[:12].sum() == pytest.approx(sum(n * 1e6 * 0.005 for n in range(12)))


BUILDING = """
kind = "lease"
start = "2026-01"
mw = 20.0
term_months = 96
usd_per_mw_year = 1.8e6
shell_usd_per_mw = 9e6
months_to_build = 12
pue = 1.0
customer_pays_power = true
residual = 0.5
"""
LENT = """
[[loan]]
name = "building"
plan = "do"
usd = 144e6
month = "2026-01"
rate = 0.06
term_months = 240
draw_months = 12
interest_only_months = 119
secured_by = ["it"]
value_at_most = {most}
"""


@pytest.mark.parametrize(("most", "month"), [(0.75, 0.0), (0.82, 27.0), (1.1, np.nan)])
def test_loan_to_value_is_what_is_owed_over_what_was_paid_written_down(most: float, month: float) -> None:
    """180 M are built in a year while 144 M are drawn: 0.80; from the opening in month 12 on the shell loses half its
    value in 300 months."""
    one = doing(BUILDING, months=120, paths=2, more=LENT.format(most=most))
    block = Block(one, surfaces(), flat(one, 50.0))
    value = block.cash(one.plan[1]).value
    assert value["it"][0, [5, 11]] == pytest.approx([90e6, 180e6])
    assert value["it"][0, 12 + 60] == pytest.approx(180e6 * (1 - 0.5 * 60 / 300))
    # 0.80 over (1 - age / 600) passes 0.82 when the age is 15 months.
    broken = Loans(block, one.plan[1]).tested(np.zeros((2, 120)), value)
    assert broken.value == pytest.approx([month, month], nan_ok=True)


STRICT = LENT.format(most=0.82) + 'on_breach = "{how}"\n'


@pytest.mark.parametrize("how", ["infeasible", "called", "trapped", "reported"])
def test_what_a_breach_leads_to(how: str) -> None:
    """Loan to value passes 0.82 in month 27, when 144 M are owed at 6 % a year."""
    one = doing(BUILDING, months=120, paths=2, more=STRICT.format(how=how))
    free = doing(BUILDING, months=120, paths=2, more=LENT.format(most=5.0))
    found, held = (joined([on(case, surfaces(), flat(case, 50.0))["1"]]) for case in (one, free))
    assert found.value_broken == pytest.approx([27.0, 27.0])
    assert np.isfinite(found.stops).all() == (how == "infeasible")
    moved = np.cumsum(found.cash - held.cash, axis=1)[0]
    assert moved[:27] == pytest.approx(np.zeros(27), abs=1e-3)
    if how in ("infeasible", "reported"):
        assert moved == pytest.approx(np.zeros(120), abs=1e-3)
        assert found.npv == pytest.approx(held.npv)
    elif how == "called":
        # 144 M fall due at once, no interest is paid after it, and nothing is left to pay at the end.
        assert moved[27] == pytest.approx(-144e6)
        assert moved[87] == pytest.approx(-144e6 + 60 * 144e6 * 0.005)
        assert moved[119] == pytest.approx(92 * 144e6 * 0.005)
    else:
        # The month's operating cash less interest stays with the lender: cash, not worth.
        block = Block(one, surfaces(), flat(one, 50.0))
        left = operating(block.cash(one.plan[1]))[0] - 144e6 * 0.005
        assert moved[27:40] == pytest.approx(-np.cumsum(left[27:40]))
        assert found.npv == pytest.approx(held.npv)


# --- currencies ---------------------------------------------------------------------------------

FX = "\n[assume.fx.BRL]\nstart = 0.2\nvolatility = 0.15\n[assume.fx.EUR]\nstart = 1.25\n[operation]"


def abroad(one: str, **changes: str) -> Study:
    for before, after in {"[operation]": FX, **changes}.items():
        assert before in one
        one = one.replace(before, after, 1)
    return loads(one)


def test_what_is_paid_in_another_currency_moves_with_it() -> None:
    one = abroad(text(paths=2), **{"mw = 100.0": 'mw = 100.0\ncurrency = "BRL"\nfixed_usd_per_month = 1000.0'})
    drivers = flat(one, 60.0)
    drivers.fx[:, 12:, 0] *= 1.5
    found = Block(one, surfaces(), drivers).cash(one.plan[0]).by
    # Power becomes dearer by half; at 24 USD of hashcost rigs still run at 60, and not at 1.5 x 24 above it.
    assert found["power"][0, 20] == pytest.approx(1.5 * found["power"][0, 5])
    assert found["fixed"][0, 20] == pytest.approx(-1500.0)
    assert found["mining"][0, 20] == pytest.approx(found["mining"][0, 5])
    drivers.fx[:, 12:, 0] *= 2.0  # at three times the price 60 is below hashcost: they rest
    assert Block(one, surfaces(), drivers).cash(one.plan[0]).by["mining"][0, 20] < found["mining"][0, 5]


def test_all_is_reported_in_one_currency_at_each_months_rate() -> None:
    dollars = abroad(text(paths=2))
    euros = msgspec.structs.replace(dollars, money=msgspec.structs.replace(dollars.money, currency="EUR"))
    drivers = flat(euros, 60.0)
    drivers.fx[:, 24:, 1] = 1.0
    usd, eur = (Block(one, surfaces(), drivers).cash(one.plan[0]).by for one in (dollars, euros))
    for name in CATEGORIES:
        assert eur[name][:, :24] == pytest.approx(usd[name][:, :24] / 1.25)
        assert eur[name][:, 24:] == pytest.approx(usd[name][:, 24:])
    paths = joined([on(euros, surfaces(), drivers)["0"]])
    begin = balances(euros, paths)[0, 0] - eur["mining"][0, 0] - eur["power"][0, 0]
    assert begin == pytest.approx(dollars.money.opening_cash_usd / 1.25)


def test_rates_are_drawn_from_the_start_and_correlate() -> None:
    pair = '[assume]\ncorrelations = [["btc_usd", "fx.BRL", -0.8]]'
    one = abroad(text(paths=500, volatility=0.5), **{"[assume]": pair})
    drivers = draw(one, 0, 1)
    assert one.currencies == ("BRL", "EUR")
    assert drivers.fx[:, 0] == pytest.approx(np.tile([0.2, 1.25], (500, 1)))
    moves = [np.diff(np.log(series), axis=1).ravel() for series in (drivers.btc_usd, drivers.fx[:, :, 0])]
    assert np.corrcoef(*moves)[0, 1] == pytest.approx(-0.8, abs=0.02)
    # Without other currencies the same shocks come out as before there were any.
    plain = draw(loads(text(paths=500, volatility=0.5)), 0, 1)
    assert plain.fx.shape == (500, 120, 0)

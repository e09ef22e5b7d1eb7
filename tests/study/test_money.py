"""Returns and loans against closed forms and another library's arithmetic."""

import numpy as np
import numpy_financial as npf
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.study.ground import doing, study

from tieline.study.file import StudyLoan
from tieline.study.money import annuity, cover, irr, npv, payback, schedule


@given(st.floats(1e3, 1e9), st.floats(0.001, 0.5), st.integers(1, 360))
def test_a_level_annuity_is_the_other_librarys(usd: float, rate: float, months: int) -> None:
    assert annuity(usd, rate, months) == pytest.approx(-npf.pmt(rate / 12, months, usd), rel=1e-9)


@given(st.lists(st.integers(0, 10**6), min_size=10, max_size=10), st.integers(10**5, 5 * 10**6))
def test_an_internal_rate_is_the_other_librarys(rest: list[float], first: float) -> None:
    cash = np.zeros((1, 121))
    cash[0, 0], cash[0, 12:132:12] = -first, np.array(rest)
    (found,) = irr(cash).rate
    other = float(npf.irr(cash[0, ::12]))
    if np.isfinite(other) and -0.9 < other < 9:
        assert found == pytest.approx(other, abs=1e-6)


def test_an_internal_rate_that_is_none_or_not_the_only_one_is_said() -> None:
    cash = np.zeros((3, 25))
    cash[0] = -1.0  # only pays
    cash[1, [0, 12, 24]] = (-1.0, 2.5, -1.54)  # worth nothing at 10 % and at 40 %
    cash[2, [0, 12]] = (-1.0, 1.25)
    found = irr(cash)
    assert np.isnan(found.rate[:2]).all()
    assert found.rate[2] == pytest.approx(0.25)
    assert found.several.tolist() == [False, True, False]


def test_payback_is_the_month_from_which_it_stays_paid() -> None:
    cash = np.array([[-3.0, 1, 1, 1, 1], [-3.0, 1, 1, 0, 0], [1.0, 1, 1, 1, 1], [-1.0, 2, -2, 3, 0]])
    assert payback(cash)[[0, 2, 3]].tolist() == [3.0, 0.0, 3.0]
    assert np.isnan(payback(cash)[1])


@pytest.mark.parametrize("repaid", ["level", "straight", "at the end"])
@pytest.mark.parametrize("term", [24, 200])
def test_a_loan_at_the_discount_rate_is_worth_nothing(repaid: str, term: int) -> None:
    """Also one that outlives the study: what is still owed is paid at its end."""
    one = study(months=120)
    loan = StudyLoan(name="l", usd=1e6, month="2026-03", rate=0.12, term_months=term, repaid=repaid)  # type: ignore[arg-type]
    yearly = 1.01**12 - 1.0  # a rate of 12 % is 1 % a month
    assert npv(schedule(loan, one).cash[None, :], yearly)[0] == pytest.approx(0.0, abs=1e-3)


def test_cover_is_a_years_cash_over_a_years_service() -> None:
    operating, served = np.full((1, 36), 3.0), np.concatenate([np.zeros(6), np.full(30, 2.0)])[None, :]
    found = cover(operating, served)
    assert np.isinf(found[0, :6]).all()
    assert found[0, 20:] == pytest.approx(1.5)


def test_the_halving_of_2028_falls_where_the_chain_puts_it() -> None:
    from tieline.study.drivers import subsidies

    one = doing('kind = "keep"')
    found = subsidies(one)
    half = next(n for n, subsidy in enumerate(found) if subsidy < 3.125)
    assert one.label(half) in ("2028-03", "2028-04", "2028-05")
    assert (found[0], found[half + 1]) == (3.125, 1.5625)
    assert {one.label(n)[:4] for n, subsidy in enumerate(found) if subsidy < 1.5} == {"2032", "2033", "2034", "2035"}

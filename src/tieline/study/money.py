"""Returns and loans on arrays of monthly cash: USD, months along the last axis, money in is positive.

The textbook's formulas: net present value with monthly discounting of a yearly rate, the level annuity, the internal
rate as the root of the net present value. Where a root does not exist or is not the only one, that is the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tieline.study.file import Study, StudyLoan

Floats = NDArray[np.float64]

# Internal rates are looked for between losing 95 % a year and ten times a year.
RATES: Final = np.concatenate([np.linspace(-0.95, 1.0, 118), np.geomspace(1.05, 10.0, 24)])
_HALVINGS: Final = 60


def discounting(rate: float, months: int) -> Floats:
    """(months,) factors: cash of month n is worth 1 / (1 + rate) ** (n / 12) of the first month's."""
    factors: Floats = (1.0 + rate) ** (-np.arange(months) / 12.0)
    return factors


def npv(cash: Floats, rate: float) -> Floats:
    """Net present value in the first month."""
    value: Floats = (cash * discounting(rate, cash.shape[-1])).sum(axis=-1)
    return value


@dataclass(frozen=True)
class Returns:
    """(paths,) internal rates per year; nan where there is none, or more than one (`several`)."""

    rate: Floats
    several: NDArray[np.bool_]


def irr(cash: Floats) -> Returns:
    """The yearly rates at which (paths, months) cash is worth nothing. A path that only pays or only earns has none."""
    factors = (1.0 + RATES)[:, None] ** (-np.arange(cash.shape[-1])[None, :] / 12.0)
    values = cash @ factors.T  # (paths, rates)
    turns = np.signbit(values[:, 1:]) != np.signbit(values[:, :-1])
    count = turns.sum(axis=1)
    first = np.argmax(turns, axis=1)
    low, high = RATES[first].copy(), RATES[first + 1].copy()
    months = np.arange(cash.shape[-1]) / 12.0
    negative_low = np.signbit(values[np.arange(len(cash)), first])
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        worth = (cash * (1.0 + middle[:, None]) ** -months).sum(axis=1)
        below = np.signbit(worth) == negative_low
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return Returns(np.where(count == 1, (low + high) / 2.0, np.nan), count > 1)


def payback(cash: Floats) -> Floats:
    """(paths,) the first month from which the sum stays at or above zero; nan where it never does."""
    total = np.cumsum(cash, axis=-1)
    below = total < 0
    last = cash.shape[-1] - 1 - np.argmax(below[:, ::-1], axis=1)
    month = np.where(below.any(axis=1), last + 1, 0).astype(float)
    return np.where(month >= cash.shape[-1], np.nan, month)


def annuity(usd: float, rate: float, months: int) -> float:
    """The level payment at each month's end that repays a loan: usd x i / (1 - (1 + i) ** -months), i = rate / 12."""
    monthly = rate / 12.0
    return usd / months if monthly == 0 else usd * monthly / (1.0 - (1.0 + monthly) ** -months)


@dataclass(frozen=True)
class LoanMonths:
    """(months,) of one loan in its own money: `cash` that it brings and takes, of which `served` are interest and
    repayment, and what is `owed` at each month's end."""

    cash: Floats
    served: Floats
    owed: Floats


def schedule(loan: StudyLoan, study: Study) -> LoanMonths:
    """The draws, then interest and repayment from the month after the first on; an opening loan is served in the first
    month already. What is still owed at the end of the study is paid out of it."""
    cash, served, left = np.zeros(study.months), np.zeros(study.months), np.zeros(study.months)
    begin = -1 if loan.month is None else study.month(loan.month)
    monthly, owed = loan.rate / 12.0, loan.usd if loan.opening else 0.0
    alone = max(loan.draw_months - 1, loan.interest_only_months)
    repays = loan.term_months - alone
    level = annuity(loan.usd, loan.rate, repays)
    for n in range(loan.term_months + 1):
        at, interest = begin + n, owed * monthly
        drawn = loan.usd / loan.draw_months if n < loan.draw_months and not loan.opening else 0.0
        if n <= alone:
            paid = 0.0
        elif loan.repaid == "level":
            paid = level - interest
        elif loan.repaid == "straight":
            paid = loan.usd / repays
        else:
            paid = owed if n == loan.term_months else 0.0
        owed += drawn - paid
        if 0 <= at < study.months:
            cash[at] += drawn - interest - paid
            served[at] = interest + paid
            left[at] = max(0.0, owed)
    # A rest of a billionth of what was lent is rounding, not debt.
    left[left < loan.usd * 1e-9] = 0.0
    cash[-1] -= left[-1]
    return LoanMonths(cash, served, left)


def cover(operating: Floats, served: Floats) -> Floats:
    """(paths, months) operating cash of the last twelve months over the debt service of these; inf where none."""
    paid, earned = (_last_year(values) for values in (served, operating))
    # A dollar a year is what rounding leaves of none.
    return np.where(paid > 1.0, earned / np.where(paid > 1.0, paid, 1.0), np.inf)


def _last_year(values: Floats) -> Floats:
    """(paths, months) sums of the last twelve months, each month's own included."""
    sums = np.cumsum(values, axis=1)
    yearly = sums.copy()
    yearly[:, 12:] -= sums[:, :-12]
    return yearly

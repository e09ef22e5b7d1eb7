"""What a plan's loans bring, take and forbid on a block of paths, and the opening position.

Two covenants are tested month by month, operating cash over debt service and what is owed over what secures it, and
what a breach leads to is played.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tieline.study.alternatives import OPERATING, Block, Cash
from tieline.study.file import CapitalPlan, StudyLoan
from tieline.study.money import LoanMonths, cover, schedule

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Breaches:
    """(paths,) the first month in which a covenant on debt service, or on loan to value, is broken, and in which a loan
    is that the plan does not survive (`stops`); nan: never. (paths, months) in the study's currency: how calling loans
    moves cash, those of the opening position apart, and what lenders hold back."""

    cover: Floats
    value: Floats
    stops: Floats
    called: Floats
    called_opening: Floats
    trapped: Floats


class Loans:
    """(paths, months) in the study's currency. `cash`: of loans that the plan takes; `opening`: of what was owed and
    held already, which every plan has."""

    def __init__(self, block: Block, plan: CapitalPlan) -> None:
        self.block, self.study = block, block.study
        self.all = [(loan, schedule(loan, self.study)) for loan in self.study.loans_of(plan)]
        none = np.zeros((block.paths, block.months))
        new = [self._usd(loan, one.cash) for loan, one in self.all if not loan.opening]
        old = [self._usd(loan, one.cash) for loan, one in self.all if loan.opening]
        self.cash: Floats = block.reported(np.asarray(sum(new, none)))
        self.opening: Floats = block.reported(np.asarray(sum(old, none)) + self._coins())

    @property
    def may_call(self) -> bool:
        """A breach may change what the plan is worth."""
        return any(loan.on_breach == "called" and _binds(loan) for loan, _ in self.all)

    def lent(self, cash: Cash) -> Floats:
        """(paths, months) of what the plan's own loans come to, called ones too."""
        return self.cash + self.tested(operating(cash), cash.value).called if self.may_call else self.cash

    def _usd(self, loan: StudyLoan, months: Floats) -> Floats:
        """(paths, months) of a loan's own (months,)."""
        return np.asarray(months * self.block.index(loan.currency))

    def _coins(self) -> Floats:
        """USD of opening coins as they are sold; pledged ones are when their loan is repaid."""
        money, sold = self.study.money, np.zeros(self.study.months)
        months = min(money.coins_sold_months, self.study.months)
        sold[:months] += money.opening_btc / months
        for loan, one in self.all:
            repaid = np.flatnonzero(one.owed <= 0)
            if loan.opening and len(repaid):
                sold[repaid[0]] += loan.collateral_btc
        return np.asarray(sold * self.block.drivers.btc_usd)

    def tested(self, earned: Floats, value: dict[str, Floats]) -> Breaches:
        """Every covenant in every month on its schedule, and what follows. `earned`: operating cash in the study's
        currency; `value`: USD of what secures, by alternative. Cover is tested on whole years of debt service."""
        none = np.zeros((self.block.paths, self.block.months), dtype=bool)
        cover_broken, value_broken, stops, traps = none.copy(), none.copy(), none.copy(), none.copy()
        called = {True: np.zeros(none.shape), False: np.zeros(none.shape)}
        bound = [n for n, (loan, _) in enumerate(self.all) if _binds(loan)]
        ratio = self._cover(earned) if bound else none
        for n in bound:
            loan, one = self.all[n]
            below = none if loan.cover_at_least is None else ratio < loan.cover_at_least
            above = none if loan.value_at_most is None else self._over(loan, one, value)
            broken = (below | above) & (one.owed > 0)
            cover_broken |= below
            value_broken |= above
            stops |= broken & (loan.on_breach == "infeasible")
            traps |= broken & (loan.on_breach == "trapped")
            if loan.on_breach == "called":
                called[loan.opening] += self.block.reported(self._called(loan, one, broken))
        return Breaches(
            cover=_first(cover_broken),
            value=_first(value_broken),
            stops=_first(stops),
            called=called[False],
            called_opening=called[True],
            trapped=self._trapped(earned, traps),
        )

    def _served(self) -> Floats:
        """(paths, months) of all loans, in the study's currency."""
        each = [self._usd(loan, one.served) for loan, one in self.all]
        return self.block.reported(np.asarray(sum(each, np.zeros((self.block.paths, self.block.months)))))

    def _cover(self, earned: Floats) -> Floats:
        """(paths, months) a year's operating cash over its debt service; inf until service has run for a year."""
        served = self._served()
        ratio = cover(earned, served)
        begun = np.flatnonzero(served.any(axis=0))
        ratio[:, : (int(begun[0]) + 12 if len(begun) else self.study.months)] = np.inf
        return ratio

    def _over(self, loan: StudyLoan, one: LoanMonths, value: dict[str, Floats]) -> NDArray[np.bool_]:
        """(paths, months) whether more is owed than what secures it allows."""
        stands: Floats = loan.collateral_btc * self.block.drivers.btc_usd
        for name in loan.secured_by:
            stands = stands + value.get(name, 0.0)
        return np.asarray((one.owed > 0) & (self._usd(loan, one.owed) > (loan.value_at_most or 0.0) * stands))

    def _called(self, loan: StudyLoan, one: LoanMonths, broken: NDArray[np.bool_]) -> Floats:
        """USD by which a called loan's cash differs from its schedule: all that is owed in the month of the breach, and
        nothing after it."""
        when = _first(broken)[:, None]
        months = np.arange(self.block.months)[None, :]
        falls, after = months == when, months > when  # of nan: never
        owed = one.owed.copy()
        owed[-1] = 0.0  # paid at the study's end by the schedule itself
        return np.asarray(-self._usd(loan, owed) * falls - self._usd(loan, one.cash) * after)

    def _trapped(self, earned: Floats, traps: NDArray[np.bool_]) -> Floats:
        """(paths, months) what lenders hold at each month's end."""
        trapped = np.zeros(traps.shape)
        if not traps.any():
            return trapped
        left = np.maximum(0.0, earned - self._served())
        for n in range(traps.shape[1]):
            before = trapped[:, n - 1] if n else 0.0
            trapped[:, n] = np.where(traps[:, n], before + left[:, n], 0.0)
        return trapped


def _binds(loan: StudyLoan) -> bool:
    return loan.cover_at_least is not None or loan.value_at_most is not None


def operating(cash: Cash) -> Floats:
    """(paths, months) what a covenant calls operating cash."""
    return np.asarray(np.sum([cash.by[name] for name in OPERATING], axis=0))


def _first(holds: NDArray[np.bool_]) -> Floats:
    """(paths,) the first month; nan where there is none."""
    return np.where(holds.any(axis=1), np.argmax(holds, axis=1), np.nan)

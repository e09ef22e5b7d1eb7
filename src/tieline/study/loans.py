"""What a plan's loans bring, take and forbid on a block of paths, and the opening position.

Two covenants are tested month by month: operating cash over debt service, and what is owed over what secures it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tieline.study.alternatives import Block
from tieline.study.file import CapitalPlan, StudyLoan
from tieline.study.money import cover, schedule

Floats = NDArray[np.float64]


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

    def cover_broken(self, operating: Floats) -> Floats:
        """(paths,) the first month of the strictest covenant on debt service, which is tested on whole years of it; nan
        where it holds."""
        floors = [loan.cover_at_least for loan, _ in self.all if loan.cover_at_least is not None]
        if not floors:
            return np.full(self.block.paths, np.nan)
        each = [self._usd(loan, one.served) for loan, one in self.all]
        served = self.block.reported(np.asarray(sum(each, np.zeros_like(operating))))
        below = cover(operating, served) < max(floors)
        begun = np.flatnonzero(served.any(axis=0))
        below[:, : (int(begun[0]) + 12 if len(begun) else self.study.months)] = False
        return _first(below)

    def value_broken(self, value: dict[str, Floats]) -> Floats:
        """(paths,) the first month in which any loan's covenant on loan to value is broken. `value`: USD of what
        secures, by alternative."""
        broken = np.zeros((self.block.paths, self.block.months), dtype=bool)
        for loan, one in self.all:
            if loan.value_at_most is None:
                continue
            stands = loan.collateral_btc * self.block.drivers.btc_usd
            for name in loan.secured_by:
                stands = stands + value.get(name, 0.0)
            broken |= (one.owed > 0) & (self._usd(loan, one.owed) > loan.value_at_most * stands)
        return _first(broken)


def _first(holds: NDArray[np.bool_]) -> Floats:
    """(paths,) the first month; nan where there is none."""
    return np.where(holds.any(axis=1), np.argmax(holds, axis=1), np.nan)

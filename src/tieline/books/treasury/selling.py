"""Rules that say when bitcoin is to be sold, and how much: what they propose, two people decide.

    [[sale]]                     # in the accounting policy
    name = "power"
    share_of_mined = 0.4         # of what the running month brought so far, less what was sold in it

    [[sale]]
    name = "reserve"
    months_of_cash = 6           # sell what cash lacks of so many months of operating

    [[sale]]
    name = "deleverage"
    ltv_ceiling = 0.55           # of each loan: sell what repays it down to there

    [[sale]]
    name = "old"
    older_than_days = 365        # all lots held longer

`place` is where the coins lie; `most_btc` and `least_btc` bound each. The words of a proposal name the amount, and what
was approved is what they say. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from tieline.books.accounts import MINED, SOLD, coins_at
from tieline.books.keeper import Bookkeeper
from tieline.books.policy import SaleRule
from tieline.books.span import month_of, month_span
from tieline.books.treasury.cash import cash_view
from tieline.books.treasury.position import holding_of
from tieline.ledger import BTC

SAT = Decimal("0.00000001")
_WORDS = re.compile(r"sell (\d+\.\d{8}) BTC from (.+?)(?: out of lots acquired before (\S+))?")


@dataclass(frozen=True, slots=True)
class SaleWanted:
    """What a rule wants sold now, and why, in figures. `before`: only lots acquired earlier; None: by the books'
    method."""

    rule: str
    place: str
    btc: Decimal
    why: str
    before: datetime | None = None

    @property
    def words(self) -> str:
        """What a second person reads and approves; `approved_sale` reads it back."""
        old = "" if self.before is None else f" out of lots acquired before {self.before.isoformat()}"
        return f"sell {self.btc:.8f} BTC from {self.place}{old}"


@dataclass(frozen=True, slots=True)
class SaleApproved:
    """What a proposal's words allow."""

    btc: Decimal
    place: str
    before: datetime | None

    def lots(self, keeper: Bookkeeper) -> tuple[str, ...]:
        """The lots it is about, the oldest first; none where the books' method chooses."""
        if self.before is None:
            return ()
        return tuple(lot.lot for lot in keeper.book.lots(coins_at(self.place)) if lot.at < self.before)


def approved_sale(words: str) -> SaleApproved:
    """Raises ValueError where the words name no amount."""
    match = _WORDS.fullmatch(words.strip())
    if match is None:
        raise ValueError(f'{words!r} names no amount; it must read like "sell 1.50000000 BTC from Treasury"')
    return SaleApproved(Decimal(match[1]), match[2], None if match[3] is None else datetime.fromisoformat(match[3]))


def wanted(keeper: Bookkeeper, rules: Sequence[SaleRule], price: Decimal, now: datetime) -> Iterator[SaleWanted]:
    """What each rule wants sold at this price, as far as free coins lie at its place."""
    for rule in rules:
        exact, why, before = _asked(keeper, rule, price, now)
        free = keeper.book.balance(coins_at(rule.place), BTC)
        btc = min(exact, free, free if rule.most_btc is None else rule.most_btc).quantize(SAT, ROUND_FLOOR)
        if btc >= max(rule.least_btc, SAT):
            bound = "" if btc >= exact.quantize(SAT, ROUND_FLOOR) else f"; {exact:,.8f} BTC were wanted"
            yield SaleWanted(rule.name, rule.place, btc, f"{why}{bound}", before)


def _asked(keeper: Bookkeeper, rule: SaleRule, price: Decimal, now: datetime) -> tuple[Decimal, str, datetime | None]:
    if rule.share_of_mined is not None:
        return (*_of_mined(keeper, rule.share_of_mined, now), None)
    if rule.months_of_cash is not None:
        return (*_for_cash(keeper, rule.months_of_cash, price, now), None)
    if rule.ltv_ceiling is not None:
        return (*_for_ltv(keeper, rule.ltv_ceiling, price), None)
    assert rule.older_than_days is not None
    before = now - timedelta(days=rule.older_than_days)
    old = [lot for lot in keeper.book.lots(coins_at(rule.place)) if lot.commodity == BTC and lot.at < before]
    btc = sum((lot.number for lot in old), Decimal(0))
    return btc, f"{len(old)} lots are older than {rule.older_than_days} days", before


def _of_mined(keeper: Bookkeeper, share: Decimal, now: datetime) -> tuple[Decimal, str]:
    start, end = month_span(month_of(now, keeper.policy.zone), keeper.policy.zone)
    mined, sold = -keeper.book.change(MINED, BTC, start, end), keeper.book.change(SOLD, BTC, start, end)
    words = f"{_plain(share * 100)} % of {mined:,} BTC mined this month, less {sold:,} sold"
    return mined * share - sold, words


def _for_cash(keeper: Bookkeeper, months: Decimal, price: Decimal, now: datetime) -> tuple[Decimal, str]:
    view = cash_view(keeper.book, now, zone=keeper.policy.zone)
    if view.burn is None or view.burn <= 0:
        return Decimal(0), "operating used no cash in the months that have ended"
    lacks = view.burn * months - view.cash
    words = f"cash is {view.cash:,.2f} USD, {months} months of operating are {view.burn * months:,.2f}"
    return (max(lacks, Decimal(0)) / price).quantize(SAT, ROUND_CEILING), words


def _for_ltv(keeper: Bookkeeper, ceiling: Decimal, price: Decimal) -> tuple[Decimal, str]:
    """Repaying x x price takes LTV to (debt - x x price) / (pledged x price)."""
    btc, words = Decimal(0), []
    for loan in holding_of(keeper).loans:
        ratio = loan.ltv(price)
        if ratio is not None and ratio > ceiling:
            btc += ((loan.debt - ceiling * loan.pledged * price) / price).quantize(SAT, ROUND_CEILING)
            words.append(f"{loan.loan_id} has an LTV of {ratio * 100:.2f} %, above {_plain(ceiling * 100)} %")
    return btc, "; ".join(words) or "no loan is above it"


def _plain(number: Decimal) -> str:
    """Without zeros at the end."""
    return f"{number.normalize():f}"

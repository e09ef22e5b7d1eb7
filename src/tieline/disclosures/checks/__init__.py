"""Every check on every issuer and period of a book: pure, and each verdict shows its computation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

from tieline.disclosures.checks import balance, money, production, witnesses
from tieline.disclosures.facts import periods
from tieline.disclosures.facts.book import ClaimBook, IssuerPeriod
from tieline.disclosures.facts.verdict import Verdict

Check = Callable[[IssuerPeriod], Iterator[Verdict]]

_CHECKS: dict[Check, tuple[str, ...] | None] = {
    production.average: None,
    production.growth: ("month",),
    production.quarter: ("quarter",),
    production.on_chain: ("month", "quarter"),
    balance.roll_forward: ("month",),
    balance.quarter_roll_forward: ("quarter",),
    balance.announced_sale: ("day", "month"),
    money.proceeds: None,
    money.held: None,
    money.collateral: ("day",),
    money.loan: None,
    witnesses.claims: None,
    witnesses.month_end: ("month",),
    witnesses.parts: None,
    witnesses.date: ("month",),
}
"""Every check, and the kinds of period that it is of; None for all."""


def check(book: ClaimBook, *, issuer: str | None = None, period: str | None = None) -> tuple[Verdict, ...]:
    """All verdicts, by issuer, period and check. The whole shipped book takes some tens of milliseconds."""
    return tuple(
        verdict for verdict in _all(book) if issuer in (None, verdict.issuer) and period in (None, verdict.period)
    )


@lru_cache(maxsize=8)
def _all(book: ClaimBook) -> tuple[Verdict, ...]:
    every = (IssuerPeriod(book, issuer, period) for issuer in book.issuers for period in book.periods(issuer))
    verdicts = (verdict for here in every for one in _of_kind(periods.kind(here.period)) for verdict in one(here))
    return tuple(sorted(verdicts, key=lambda found: (found.issuer, found.period, found.check, found.id)))


def _of_kind(kind: str | None) -> list[Check]:
    return [one for one, kinds in _CHECKS.items() if kinds is None or kind in kinds]

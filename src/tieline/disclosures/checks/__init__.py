"""Every check on every issuer and period of a book: pure, and each verdict shows its computation."""

from __future__ import annotations

from functools import lru_cache

from tieline.disclosures.checks import balance, money, production, witnesses
from tieline.disclosures.facts.book import ClaimBook, IssuerPeriod
from tieline.disclosures.facts.verdict import Verdict

_CHECKS = (
    production.average,
    production.growth,
    production.quarter,
    balance.roll_forward,
    balance.quarter_roll_forward,
    balance.announced_sale,
    money.proceeds,
    money.held,
    money.collateral,
    money.loan,
    witnesses.claims,
    witnesses.month_end,
    witnesses.parts,
    witnesses.date,
    production.on_chain,
)


def check(book: ClaimBook, *, issuer: str | None = None, period: str | None = None) -> tuple[Verdict, ...]:
    """All verdicts, by issuer, period and check. The whole shipped book takes some tens of milliseconds."""
    return tuple(
        verdict for verdict in _all(book) if issuer in (None, verdict.issuer) and period in (None, verdict.period)
    )


@lru_cache(maxsize=8)
def _all(book: ClaimBook) -> tuple[Verdict, ...]:
    every = (IssuerPeriod(book, issuer, period) for issuer in book.issuers for period in book.periods(issuer))
    verdicts = (verdict for here in every for one in _CHECKS for verdict in one(here))
    return tuple(sorted(verdicts, key=lambda found: (found.issuer, found.period, found.check, found.id)))

"""Every check on every issuer and period of a book: pure, and each verdict shows its computation."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from tieline.disclosures.checks import balance, money, onchain, production, witnesses
from tieline.disclosures.comparison.chain import Chain, shipped_chain
from tieline.disclosures.facts.book import ClaimBook, IssuerPeriod
from tieline.disclosures.facts.verdict import Verdict

_OF_BOOK = (
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
)


def check(
    book: ClaimBook, chain: Chain | None = None, *, issuer: str | None = None, period: str | None = None
) -> tuple[Verdict, ...]:
    """All verdicts, by issuer, period and check. The whole shipped book takes some tens of milliseconds."""
    return tuple(
        verdict
        for verdict in _all(book, chain or shipped_chain())
        if (issuer is None or verdict.issuer == issuer) and (period is None or verdict.period == period)
    )


@lru_cache(maxsize=8)
def _all(book: ClaimBook, chain: Chain) -> tuple[Verdict, ...]:
    return tuple(sorted(_run(book, chain), key=lambda found: (found.issuer, found.period, found.check, found.id)))


def _run(book: ClaimBook, chain: Chain) -> Iterator[Verdict]:
    for issuer in book.issuers:
        for period in book.periods(issuer):
            here = IssuerPeriod(book, issuer, period)
            for one in _OF_BOOK:
                yield from one(here)
            yield from onchain.on_chain(here, chain)

"""Bands of what was earned beside the subsidy: transaction fees over subsidy, by month.

An assumption, stated: no source of fee data that may be shipped was found. The bands are wide on purpose.
Fees were mostly 1 to 10 % of the subsidy from 2021 to 2024 and far more while inscriptions and runes were new
(May 2023, November 2023 to January 2024, April 2024); since 2025 about 1 %. Where an issuer prints its own
share of fees for the month, that figure is used instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from tieline.disclosures.facts.book import ClaimBook
from tieline.disclosures.facts.claims import Claim, slack


@dataclass(frozen=True)
class FeeBand:
    low: float
    high: float
    why: str
    claim: Claim | None = None


# (first month, low, high): each holds until the next begins.
_BANDS: tuple[tuple[str, float, float], ...] = (
    ("2021-01", 0.05, 0.20),
    ("2021-07", 0.005, 0.05),
    ("2023-05", 0.02, 0.20),
    ("2023-07", 0.01, 0.06),
    ("2023-11", 0.08, 0.35),
    ("2024-02", 0.02, 0.12),
    ("2024-04", 0.08, 0.35),
    ("2024-05", 0.02, 0.15),
    ("2024-07", 0.01, 0.10),
    ("2025-01", 0.003, 0.04),
)


def fee_band(book: ClaimBook, issuer: str, month: str) -> FeeBand:
    """Fees over subsidy: from the issuer's printed share where there is one, else the assumed band."""
    claim = book.best(issuer, month, "fee_share_pct")
    if claim is not None and 0 <= claim.value < 90:
        low, high = claim.value - slack(claim), claim.value + slack(claim)
        # Printed as a share of all bitcoin earned; over the subsidy it is share / (1 - share).
        return FeeBand(_over_subsidy(low), _over_subsidy(high), f"printed {claim.value} % of rewards", claim)
    low_band, high_band = next(
        ((low, high) for first, low, high in reversed(_BANDS) if first <= month), (_BANDS[0][1], _BANDS[0][2])
    )
    return FeeBand(low_band, high_band, "assumed for the month")


def _over_subsidy(percent: Decimal) -> float:
    share = float(max(percent, Decimal(0))) / 100
    return share / (1 - share)

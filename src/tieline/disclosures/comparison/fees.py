"""Bands of what was earned beside the subsidy: transaction fees over subsidy, by month.

An assumption, stated: no source of fee data that may be shipped was found. The bands are wide on purpose.
Fees were mostly 1 to 10 % of the subsidy from 2021 to 2024 and far more while inscriptions and runes were new
(May 2023, November 2023 to January 2024, April 2024); since 2025 about 1 %. Where an issuer prints its own
share of fees for the month, that figure is used instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from tieline.disclosures.facts.book import IssuerPeriod
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


def fee_band(here: IssuerPeriod) -> FeeBand:
    """Fees over subsidy: from the issuer's printed share where there is one, else the assumed band."""
    claim = here.best("fee_share_pct")
    if claim is not None and 0 <= claim.value < 90:
        low, high = claim.value - slack(claim), claim.value + slack(claim)
        # Printed as a share of all bitcoin earned; over the subsidy it is share / (1 - share).
        return FeeBand(_over_subsidy(low), _over_subsidy(high), f"printed {claim.value} % of rewards", claim)
    _, least, most = next((band for band in reversed(_BANDS) if band[0] <= here.period), _BANDS[0])
    return FeeBand(least, most, "assumed for the month")


def _over_subsidy(percent: Decimal) -> float:
    share = float(max(percent, Decimal(0))) / 100
    return share / (1 - share)

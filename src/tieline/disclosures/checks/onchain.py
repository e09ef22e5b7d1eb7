"""Checks of production against the chain: what the printed hashrate should have earned.

produced / (hashrate x subsidy per EH/s of the window) = (1 + fees over subsidy) x the rest, and the rest is
the pool's fee, luck, and how well the printed average was measured and rounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal

from tieline.disclosures.checks.production import mined_in
from tieline.disclosures.comparison.fees import fee_band
from tieline.disclosures.facts import periods
from tieline.disclosures.facts.book import IssuerPeriod
from tieline.disclosures.facts.claims import Claim, slack
from tieline.disclosures.facts.verdict import Outcome, Verdict, show, verdict

# Pools that pay every share keep up to 4 %; some pay it back as part of the fees.
_POOL_FEE = 0.04
# A month's average of dashboards differs from what pools credit by about one per cent.
_MEASUREMENT = 0.01


def on_chain(here: IssuerPeriod) -> Iterator[Verdict]:
    if not (periods.is_month(here.period) or periods.is_quarter(here.period)):
        return
    produced = here.best("btc_produced")
    if produced is None or produced.value <= 0:
        return
    average, deployed = here.best("avg_operating_ehs"), here.best("deployed_ehs")
    if average is not None and average.value > 0:
        yield from _at_average(here, produced, average)
    elif deployed is not None and deployed.value > 0:
        yield from _at_deployed(here, produced, deployed)


def _at_average(here: IssuerPeriod, produced: Claim, average: Claim) -> Iterator[Verdict]:
    start, end, active = mined_in(here)
    within = "" if active is None else f" over the last {show(active, 2)} days"
    per_ehs = here.book.chain.subsidy_per_ehs(start, end)
    if per_ehs is None:
        return
    expected = float(average.value) * per_ehs
    ratio = float(produced.value) / expected
    band = fee_band(here)
    low, high = ratio / (1 + band.high), ratio / (1 + band.low)
    line = (
        f"{show(produced.value)} / ({show(average.value)} EH/s x {per_ehs:.4f} BTC per EH/s{within}) = {ratio:.4f} "
        f"= fees {1 + band.low:.3f} to {1 + band.high:.3f} ({band.why}) x rest {low:.4f} to {high:.4f}"
    )
    blocks = here.best("blocks_won")
    # A miner with a pool of its own carries its luck: two standard deviations of a Poisson count.
    luck = 2 / math.sqrt(float(blocks.value)) if blocks is not None and blocks.value > 0 else 0.0
    spread = _MEASUREMENT + _rounding(average, produced) + luck
    outcome: Outcome = "explained" if within else "holds"
    says = "Production is what the average operating hashrate earns on the chain."
    if high < 1 - _POOL_FEE - spread:
        outcome = "differs"
        says = f"Less than the chain pays for this hashrate: {(1 - high) * 100:.1f} % short even at the lowest fees."
    elif low > 1 + spread:
        outcome = "differs"
        says = f"More than the chain pays for this hashrate: {(low - 1) * 100:.1f} % above even at the highest fees."
    used = [produced, average, *([band.claim] if band.claim is not None else [])]
    yield verdict("chain", used, outcome, line, says, Decimal(f"{float(produced.value) - expected:.4f}"))


def _at_deployed(here: IssuerPeriod, produced: Claim, deployed: Claim) -> Iterator[Verdict]:
    if (per_ehs := here.per_ehs) is None:
        return
    ratio = float(produced.value) / (float(deployed.value) * per_ehs)
    band = fee_band(here)
    low, high = ratio / (1 + band.high), ratio / (1 + band.low)
    line = (
        f"{show(produced.value)} / ({show(deployed.value)} EH/s x {per_ehs:.4f} BTC per EH/s) = {ratio:.4f} of what "
        f"the deployed hashrate earns from subsidy; before fees {float(produced.value) / per_ehs:.2f} EH/s ran"
    )
    outcome: Outcome = "holds"
    says = (
        f"No average is in the book: between {low * 100:.0f} and {min(high, 1) * 100:.0f} % of deployed hashrate ran."
    )
    if low > 1 + _MEASUREMENT + _rounding(deployed, produced):
        outcome = "differs"
        says = (
            f"More than the printed hashrate can earn ({(low - 1) * 100:.0f} % above at the highest fees): the "
            "hashrate is of another day or leaves machines out."
        )
    yield verdict("deployed", [produced, deployed], outcome, line, says)


def _rounding(*claims: Claim) -> float:
    """How far a ratio of printed figures may lie off by their rounding, as a share."""
    return float(sum((slack(claim) / claim.value for claim in claims), Decimal(0)))

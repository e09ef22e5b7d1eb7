"""Checks of production against the chain: what the printed hashrate should have earned.

produced / (hashrate x subsidy per EH/s of the window) = (1 + fees over subsidy) x the rest, and the rest is
the pool's fee, luck, and how well the printed average was measured and rounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

from tieline.disclosures.checks.production import active_days
from tieline.disclosures.comparison.chain import Chain
from tieline.disclosures.comparison.fees import fee_band
from tieline.disclosures.facts import periods
from tieline.disclosures.facts.book import ClaimBook
from tieline.disclosures.facts.claims import Claim, slack
from tieline.disclosures.facts.verdict import Verdict, show, verdict

# Pools that pay every share keep up to 4 %; some pay it back as part of the fees.
_POOL_FEE = 0.04
# A month's average of dashboards differs from what pools credit by about one per cent.
_MEASUREMENT = 0.01


def on_chain(book: ClaimBook, issuer: str, period: str, chain: Chain) -> Iterator[Verdict]:
    if not (periods.is_month(period) or periods.is_quarter(period)):
        return
    produced = book.best(issuer, period, "btc_produced")
    average = book.best(issuer, period, "avg_operating_ehs")
    if produced is None or produced.value <= 0:
        return
    if average is not None and average.value > 0:
        yield from _at_average(book, produced, average, chain)
    elif (deployed := book.best(issuer, period, "deployed_ehs")) is not None and deployed.value > 0:
        yield from _at_deployed(book, produced, deployed, chain)


def _at_average(book: ClaimBook, produced: Claim, average: Claim, chain: Chain) -> Iterator[Verdict]:
    issuer, month = produced.fact.issuer or "unknown", produced.fact.period
    start, end = periods.window(month)
    active = active_days(book, issuer, month) if periods.is_month(month) else None
    within = ""
    if active is not None:
        start = end - timedelta(days=float(active))
        within = f" over the last {show(active, 2)} days"
    per_ehs = chain.subsidy_per_ehs(start, end)
    if per_ehs is None:
        return
    expected = float(average.value) * per_ehs
    ratio = float(produced.value) / expected
    band = fee_band(book, issuer, month)
    low, high = ratio / (1 + band.high), ratio / (1 + band.low)
    line = (
        f"{show(produced.value)} / ({show(average.value)} EH/s x {per_ehs:.4f} BTC per EH/s{within}) = {ratio:.4f} "
        f"= fees {1 + band.low:.3f} to {1 + band.high:.3f} ({band.why}) x rest {low:.4f} to {high:.4f}"
    )
    used = [produced, average, *([band.claim] if band.claim is not None else [])]
    rounding = float(slack(average) / average.value + slack(produced) / produced.value)
    blocks = book.best(issuer, month, "blocks_won")
    # A miner with a pool of its own carries its luck: two standard deviations of a Poisson count.
    luck = 2 / math.sqrt(float(blocks.value)) if blocks is not None and blocks.value > 0 else 0.0
    floor, ceiling = 1 - _POOL_FEE - _MEASUREMENT - rounding - luck, 1 + _MEASUREMENT + rounding + luck
    residual = Decimal(f"{float(produced.value) - expected:.4f}")
    if high < floor:
        says = f"Less than the chain pays for this hashrate: {(1 - high) * 100:.1f} % short even at the lowest fees."
        yield verdict("chain", used, "differs", line, says, residual)
    elif low > ceiling:
        says = f"More than the chain pays for this hashrate: {(low - 1) * 100:.1f} % above even at the highest fees."
        yield verdict("chain", used, "differs", line, says, residual)
    else:
        says = "Production is what the average operating hashrate earns on the chain."
        yield verdict("chain", used, "explained" if within else "holds", line, says, residual)


def _at_deployed(book: ClaimBook, produced: Claim, deployed: Claim, chain: Chain) -> Iterator[Verdict]:
    issuer, month = produced.fact.issuer or "unknown", produced.fact.period
    per_ehs = chain.in_period(month)
    if per_ehs is None:
        return
    ratio = float(produced.value) / (float(deployed.value) * per_ehs)
    band = fee_band(book, issuer, month)
    low, high = ratio / (1 + band.high), ratio / (1 + band.low)
    implied = float(produced.value) / per_ehs
    line = (
        f"{show(produced.value)} / ({show(deployed.value)} EH/s x {per_ehs:.4f} BTC per EH/s) = {ratio:.4f} of what "
        f"the deployed hashrate earns from subsidy; before fees {implied:.2f} EH/s ran"
    )
    rounding = float(slack(deployed) / deployed.value + slack(produced) / produced.value)
    used = [produced, deployed]
    if low > 1 + _MEASUREMENT + rounding:
        says = (
            f"More than the printed hashrate can earn ({(low - 1) * 100:.0f} % above at the highest fees): the "
            "hashrate is of another day or leaves machines out."
        )
        yield verdict("deployed", used, "differs", line, says)
    else:
        says = (
            f"No average was printed: between {low * 100:.0f} and {min(high, 1) * 100:.0f} % of deployed hashrate ran."
        )
        yield verdict("deployed", used, "holds", line, says)

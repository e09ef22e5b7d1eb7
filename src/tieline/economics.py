"""The field's formulas, pure, each with its source.

Knows nothing of sites, feeds or ledgers. Revenue figures are floats: they feed decisions. Bitcoin amounts
that are booked come from `records.Payout`, exact to the satoshi.

A block is found on average every difficulty x 2**32 hashes (Bitcoin protocol: a target of
0xffff x 2**208 / difficulty), so a hashrate earns, per second, rate / (difficulty x 2**32) blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from tieline.units import Efficiency, EnergyPrice, Hashrate

HASHES_PER_DIFFICULTY = 2**32
SECONDS_PER_DAY = 86_400
SATS_PER_BTC = 100_000_000
BLOCKS_PER_HALVING = 210_000
BLOCKS_PER_EPOCH = 2_016
INITIAL_SUBSIDY_SATS = 50 * SATS_PER_BTC


@dataclass(frozen=True, slots=True)
class Epoch:
    """A span of constant difficulty and subsidy: [start, next epoch's start)."""

    start: datetime
    difficulty: float
    subsidy_btc: float


def hashprice(difficulty: float, subsidy_btc: float, fee_share: float, btc_usd: float) -> float:
    """USD per PH/s and day: blocks a day at one PH/s x (subsidy + fees) x price.

    `fee_share` is transaction fees over subsidy. Raises ValueError for a difficulty that is not positive.
    """
    _positive("difficulty", difficulty)
    blocks_per_day = 1e15 * SECONDS_PER_DAY / (difficulty * HASHES_PER_DIFFICULTY)
    return blocks_per_day * subsidy_btc * (1.0 + fee_share) * btc_usd


def strike(hashprice_usd: float, efficiency: Efficiency, pool_fee: float = 0.0, aux: float = 0.0) -> EnergyPrice:
    """The power price at which a rig stops paying, at the meter.

    hashprice [USD/PH/s/day] / (24 h x efficiency [J/TH] x 1000 TH/PH / 1e6 W/MW)
    = hashprice / (0.024 x J/TH); net of the pool's fee and with `aux` watts of cooling and fans per watt of rig.
    """
    _positive("efficiency", efficiency.value)
    return EnergyPrice(hashprice_usd * (1.0 - pool_fee) / (0.024 * efficiency.value * (1.0 + aux)))


def expected_btc(rate: Hashrate, epochs: Sequence[Epoch], start: datetime, end: datetime) -> float:
    """Subsidy a constant hashrate is expected to earn in [start, end): the sum over epochs of
    rate x seconds x subsidy / (difficulty x 2**32). Fees, pool fee and luck are not in it.

    `epochs` are sorted by start; the first must start at or before `start`. Raises ValueError where they do
    not cover the window or a difficulty is not positive.
    """
    if not epochs or epochs[0].start > start:
        raise ValueError(f"no difficulty epoch covers {start.isoformat()}; give epochs that start before it")
    total = 0.0
    for index, epoch in enumerate(epochs):
        epoch_end = epochs[index + 1].start if index + 1 < len(epochs) else end
        seconds = (min(end, epoch_end) - max(start, epoch.start)).total_seconds()
        if seconds > 0:
            _positive("difficulty", epoch.difficulty)
            total += rate.value * seconds * epoch.subsidy_btc / (epoch.difficulty * HASHES_PER_DIFFICULTY)
    return total


def subsidy_btc(height: int) -> float:
    """Block subsidy in BTC at a height: 50 BTC halved every 210,000 blocks, floored to the satoshi."""
    if height < 0:
        raise ValueError(f"height must not be negative, got {height}")
    return (INITIAL_SUBSIDY_SATS >> (height // BLOCKS_PER_HALVING)) / SATS_PER_BTC


def network_hashrate(difficulty: float, blocks: int = 144, span: timedelta = timedelta(days=1)) -> Hashrate:
    """Hashrate that finds `blocks` in `span` at this difficulty (144 a day is the protocol's aim)."""
    _positive("difficulty", difficulty)
    return Hashrate(difficulty * HASHES_PER_DIFFICULTY * blocks / span.total_seconds())


def difficulty_of_target(target: int) -> float:
    """Difficulty = 0xffff x 2**208 / target (Bitcoin's pool-independent definition, `bdiff`)."""
    if target <= 0:
        raise ValueError(f"target must be positive, got {target}")
    return float((0xFFFF << 208) / target)


def hashcost(price: EnergyPrice, efficiency: Efficiency, aux: float = 0.0) -> float:
    """USD of power per PH/s and day: price x efficiency x 0.024, with auxiliary load."""
    return price.value * efficiency.value * 0.024 * (1.0 + aux)


def demand_charge_usd(peak_w: float, capacity_w: float, usd_per_kw_month: float, minimum_share: float = 0.0) -> Decimal:
    """A month's charge for its highest hour: rate x the larger of that load and a share of the capacity."""
    billed_w = max(peak_w, minimum_share * capacity_w)
    return (Decimal(repr(billed_w)) / 1_000 * Decimal(repr(usd_per_kw_month))).quantize(Decimal("0.01"))


def ltv(debt_usd: Decimal, pledged_btc: Decimal, btc_usd: Decimal) -> Decimal | None:
    """Loan to value = debt / (pledged BTC x price); None where nothing is pledged or the price is zero."""
    value = pledged_btc * btc_usd
    return None if value == 0 else debt_usd / value


@dataclass(frozen=True, slots=True)
class PoolPay:
    """What a pool credits, in whole satoshi: `sats` after its fee, of which `tx_fees_sats` are transaction fees; it
    keeps `kept_sats`."""

    sats: int
    tx_fees_sats: int
    kept_sats: int


def pay_per_share(
    hashes: Decimal, difficulty: Decimal, subsidy_sats: int, fees_sats: int, fee: Decimal, fee_on_fees: Decimal
) -> PoolPay:
    """Pay per share: each share its expected part of a block, difficulty-1 shares / difficulty = hashes / (difficulty x
    2**32), whether a block is found or not.

    FPPS: `fees_sats` are a block's fees as the pool reckons them on average. PPS+: 0 here, and fees come by
    `pay_of_found` of the blocks that were found. `fee` is the pool's on the subsidy, `fee_on_fees` on fees; each part
    is floored.
    """
    _positive("difficulty", float(difficulty))
    blocks = hashes / (difficulty * HASHES_PER_DIFFICULTY)
    return _credited(blocks * subsidy_sats, blocks * fees_sats, fee, fee_on_fees)


def pay_of_found(
    found: Sequence[tuple[int, int]], share: Decimal, fee: Decimal, fee_on_fees: Decimal | None = None
) -> PoolPay:
    """A share of blocks that were found, (subsidy, fees) in satoshi each. PPLNS: `share` is one's own among the last N
    shares before each block; a pool of one's own: 1. PPS+'s fees: subsidies of 0. Raises ValueError for a share that is
    none."""
    if not 0 <= share <= 1:
        raise ValueError(f"share must be 0 to 1, got {share}")
    subsidies, fees = (Decimal(sum(part)) * share for part in ([one for one, _ in found], [one for _, one in found]))
    return _credited(subsidies, fees, fee, fee if fee_on_fees is None else fee_on_fees)


def _credited(subsidy: Decimal, fees: Decimal, fee: Decimal, fee_on_fees: Decimal) -> PoolPay:
    own_fees = int(fees * (1 - fee_on_fees))
    sats = int(subsidy * (1 - fee)) + own_fees
    return PoolPay(sats, own_fees, int(subsidy + fees) - sats)


@dataclass(frozen=True, slots=True)
class Luck:
    """Blocks found against those expected. `chance`: of a number as far from what is expected on that side, or further,
    where blocks come at random (Poisson)."""

    found: int
    expected: float
    chance: float

    @property
    def ratio(self) -> float | None:
        """Above 1: lucky. None where nothing was expected."""
        return self.found / self.expected if self.expected > 0 else None


def luck(found: int, expected: float) -> Luck:
    """`expected`: hashes / (difficulty x 2**32). Raises ValueError for a number below 0."""
    if found < 0 or not expected >= 0:
        raise ValueError(f"found and expected must not be negative, got {found} and {expected}")
    if expected == 0:
        return Luck(found, expected, 0.0 if found else 1.0)
    below = sum(_poisson(n, expected) for n in range(found))
    few, many = below + _poisson(found, expected), 1.0 - below
    return Luck(found, expected, min(1.0, max(0.0, few if found < expected else many)))


def _poisson(number: int, mean: float) -> float:
    return math.exp(number * math.log(mean) - mean - math.lgamma(number + 1))


# A block's reward may be spent in the hundredth block after it (Bitcoin's consensus rule COINBASE_MATURITY).
COINBASE_MATURITY = 100


def matures_in(block: int, tip: int) -> int:
    """Blocks that must still come on top of the chain whose last is at height `tip` before the reward of the block at
    height `block` may be spent; 0 where it may. As wallets count: 100 blocks lie above it."""
    return max(0, block + COINBASE_MATURITY - tip)


# Far below any difficulty there is (a test network's is 5e-10), and far enough from zero to divide by.
LEAST = 1e-12


def _positive(name: str, value: float) -> None:
    if not value > LEAST:
        raise ValueError(f"{name} must be above 0, got {value}; wait for a reading or give one")

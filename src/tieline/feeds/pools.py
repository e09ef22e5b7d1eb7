"""Mining pools: what they pay, as Payout records.

`SimulatedFpps` pays what a Full-Pay-Per-Share pool would for the hashrate measured over a span:
hashes / (difficulty x 2**32) x (subsidy + fees) x (1 - rejects), less the pool's fee, floored to the satoshi
(a pool never pays a fraction). `SimulatedBlocks` pays what depends on the blocks that are found: how many in a span is
drawn (Poisson) from the span and the pool's name, so that the same span always has the same luck.

    PPS+    the same of the subsidy; of the fees of blocks the pool found, one's share of its hashes
    PPLNS   of each block the pool found, subsidy and fees, one's share of its hashes
    solo    each block of one's own, whole, less what whoever runs the pool keeps; not to be spent for 100 blocks

Both are simulated, and their payouts say so in `kind`, `pool` and `payout_id`.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import Any, Protocol

from tieline.economics import HASHES_PER_DIFFICULTY, LEAST, SATS_PER_BTC
from tieline.records import NetworkTick, Payout, PoolMethod


class SimulatedPool(Protocol):
    """What pays for a span of hashing."""

    @property
    def span(self) -> timedelta: ...

    def payouts(self, start: datetime, mean_hashrate_hs: float, network: NetworkTick) -> list[Payout]:
        """For [start, start + span). Raises ValueError for a difficulty or a hashrate that cannot be."""
        ...


@dataclass(frozen=True, slots=True)
class SimulatedFpps:
    """Terms of the pool. `span` is how often it settles."""

    name: str = "simulated FPPS"
    fee: float = 0.015
    rejects: float = 0.003
    span: timedelta = timedelta(hours=1)

    def payouts(self, start: datetime, mean_hashrate_hs: float, network: NetworkTick) -> list[Payout]:
        """`payout`, or none."""
        made = self.payout(start, mean_hashrate_hs, network)
        return [] if made is None else [made]

    def payout(self, start: datetime, mean_hashrate_hs: float, network: NetworkTick) -> Payout | None:
        """The payout for [start, start + span) at a mean hashrate; None when it earned less than a satoshi.

        Raises ValueError for a difficulty that is not positive or a negative hashrate.
        """
        _possible(mean_hashrate_hs, network)
        end = start + self.span
        # Decimal from here on, so that the same inputs pay the same satoshi on every machine.
        hashes = Decimal(repr(mean_hashrate_hs)) * Decimal(int(self.span.total_seconds()))
        blocks = hashes / (Decimal(repr(network.difficulty)) * HASHES_PER_DIFFICULTY)
        reward = Decimal(repr(network.subsidy_btc)) * (1 + Decimal(repr(network.fee_share)))
        gross = blocks * reward * (1 - Decimal(repr(self.rejects))) * SATS_PER_BTC
        net = (gross * (1 - Decimal(repr(self.fee)))).to_integral_value(ROUND_FLOOR)
        if net < 1:
            return None
        return Payout(
            at=end,
            known_at=end,
            source="simulated pool",
            kind="simulated",
            payout_id=f"sim-fpps:{start:%Y-%m-%dT%H%MZ}:0",
            pool=self.name,
            sats=int(net),
            span_start=start,
            span_end=end,
            hashrate_hs=mean_hashrate_hs,
            rejected=self.rejects,
            difficulty=network.difficulty,
            fee_sats=int(gross.to_integral_value(ROUND_FLOOR) - net),
            btc_usd=network.btc_usd,
        )


@dataclass(frozen=True, slots=True)
class SimulatedBlocks:
    """A pool whose payouts depend on luck. `others_hs`: hashrate of its other miners; of a pool of one's own there are
    none. More blocks in a span than `MOST_BLOCKS` are not drawn."""

    method: PoolMethod
    name: str = "simulated pool"
    fee: float = 0.015
    rejects: float = 0.003
    others_hs: float = 100e18
    span: timedelta = timedelta(hours=1)

    def payouts(self, start: datetime, mean_hashrate_hs: float, network: NetworkTick) -> list[Payout]:
        """See `SimulatedPool`."""
        _possible(mean_hashrate_hs, network)
        seconds, work = self.span.total_seconds(), network.difficulty * HASHES_PER_DIFFICULTY
        draw = random.Random(f"{self.name}|{start.isoformat()}")
        mine = mean_hashrate_hs * (1 - self.rejects) * seconds / work  # blocks expected of what is not rejected
        if self.method == "solo":
            return self._own(start, mean_hashrate_hs, network, _drawn(draw, mine), draw)
        blocks = _drawn(draw, mine + self.others_hs * seconds / work)
        share = mine / (mine + self.others_hs * seconds / work) if mine else 0.0
        fees = blocks * share * network.fee_share
        subsidies = mine if self.method == "pps+" else blocks * share
        sats = math.floor((subsidies + fees) * network.subsidy_btc * (1 - self.fee) * SATS_PER_BTC)
        if sats < 1:
            return []
        end = start + self.span
        fee = math.floor((subsidies + fees) * network.subsidy_btc * SATS_PER_BTC) - sats
        of_fees = math.floor(fees * network.subsidy_btc * (1 - self.fee) * SATS_PER_BTC)
        common = self._common(start, mean_hashrate_hs, network)
        return [Payout(at=end, span_start=start, span_end=end, sats=sats, fee_sats=fee, tx_fees_sats=of_fees,
                       payout_id=f"sim-{self.method}:{start:%Y-%m-%dT%H%MZ}:0", **common)]  # fmt: skip

    def _own(
        self, start: datetime, rate_hs: float, network: NetworkTick, blocks: int, draw: random.Random
    ) -> list[Payout]:
        """Blocks of one's own, each at its moment within the span, above the height that is known."""
        reward = network.subsidy_btc * (1 + network.fee_share) * SATS_PER_BTC
        sats = math.floor(reward * (1 - self.fee))
        common = self._common(start, rate_hs, network)
        made = []
        for number, after in enumerate(sorted(draw.random() for _ in range(blocks))):
            at = start + self.span * after
            made.append(
                Payout(at=at, span_start=at, span_end=at, sats=sats, fee_sats=math.floor(reward) - sats,
                       block=(network.height or 0) + 1 + number,
                       payout_id=f"sim-solo:{start:%Y-%m-%dT%H%MZ}:{number}", **common)
            )  # fmt: skip
        return made

    def _common(self, start: datetime, rate_hs: float, network: NetworkTick) -> dict[str, Any]:
        return {
            "known_at": start + self.span, "source": "simulated pool", "kind": "simulated", "pool": self.name,
            "method": self.method, "hashrate_hs": rate_hs, "rejected": self.rejects, "difficulty": network.difficulty,
            "btc_usd": network.btc_usd,
        }  # fmt: skip


# The whole network finds six in an hour; with a difficulty far too low for the hashrate there would be many more.
MOST_BLOCKS = 1_000


def _drawn(draw: random.Random, expected: float) -> int:
    """Blocks found where so many are expected: Poisson, by the waiting times between them."""
    blocks, waited = 0, draw.expovariate(1.0)
    while waited < expected and blocks < MOST_BLOCKS:
        blocks, waited = blocks + 1, waited + draw.expovariate(1.0)
    return blocks


def _possible(rate_hs: float, network: NetworkTick) -> None:
    """Raises ValueError."""
    if rate_hs < 0:
        raise ValueError(f"mean_hashrate_hs must not be negative, got {rate_hs}")
    if network.difficulty <= LEAST:
        raise ValueError(f"difficulty must be above 0, got {network.difficulty}; wait for a reading")


def simulated_pool(method: PoolMethod, name: str, fee: float, rejects: float, others_hs: float) -> SimulatedPool:
    """The pool of these terms."""
    if method in ("", "fpps"):
        return SimulatedFpps(name=name, fee=fee, rejects=rejects)
    return SimulatedBlocks(method, name, fee, rejects, others_hs)

"""Mining pools: what they pay, as Payout records.

`SimulatedFpps` pays what a Full-Pay-Per-Share pool would for the hashrate measured over a span:
hashes / (difficulty x 2**32) x (subsidy + fees) x (1 - rejects), less the pool's fee, floored to the satoshi
(a pool never pays a fraction). It is simulated, and its payouts say so in `kind`, `pool` and `payout_id`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, Decimal

from tieline.economics import HASHES_PER_DIFFICULTY, LEAST, SATS_PER_BTC
from tieline.records import NetworkTick, Payout


@dataclass(frozen=True, slots=True)
class SimulatedFpps:
    """Terms of the pool. `span` is how often it settles."""

    name: str = "simulated FPPS"
    fee: float = 0.015
    rejects: float = 0.003
    span: timedelta = timedelta(hours=1)

    def payout(self, start: datetime, mean_hashrate_hs: float, network: NetworkTick) -> Payout | None:
        """The payout for [start, start + span) at a mean hashrate; None when it earned less than a satoshi.

        Raises ValueError for a difficulty that is not positive or a negative hashrate.
        """
        if mean_hashrate_hs < 0:
            raise ValueError(f"mean_hashrate_hs must not be negative, got {mean_hashrate_hs}")
        if network.difficulty <= LEAST:
            raise ValueError(f"difficulty must be above 0, got {network.difficulty}; wait for a reading")
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

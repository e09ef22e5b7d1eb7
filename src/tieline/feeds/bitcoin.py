"""The bitcoin network and its price from a mempool.space API.

Two requests: the last 15 blocks (height, difficulty, fees) and the price. `fee_share` is the fees of those
blocks over their subsidies. API: https://mempool.space/docs/api/rest (`/v1/blocks`, `/v1/prices`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from urllib.parse import urlsplit

from tieline.economics import SATS_PER_BTC, subsidy_btc
from tieline.feeds.faults import FaultBook, number
from tieline.feeds.http import TIMEOUT_S, Fetched, Source, Unavailable
from tieline.records import AnyRecord, NetworkTick

# Outside these a value is a mistake of the source. Difficulty was 1 at the start and is near 1.5e14; fees have
# exceeded the subsidy on single days (2024-04-20), never tenfold over hours.
DIFFICULTY, USD, FEE_SHARE, HEIGHT = (1.0, 1e18), (1.0, 1e8), (0.0, 10.0), (0.0, 1e8)
# A block comes every ten minutes on average; the price moves, but dispatch looks every five.
EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class _Rejected:
    field: str
    value: object


@dataclass
class BitcoinFeed:
    """`api` is the address up to `/api`; `source` in the records is its host."""

    api: str = "https://mempool.space/api"
    timeout_s: float = TIMEOUT_S
    faults: FaultBook = field(default_factory=lambda: FaultBook("bitcoin"))

    def __post_init__(self) -> None:
        base = self.api.rstrip("/")
        self.source = urlsplit(base).netloc or base
        self._blocks = Source(f"{base}/v1/blocks", EVERY_S, self.timeout_s)
        self._prices = Source(f"{base}/v1/prices", EVERY_S, self.timeout_s)
        self._network: tuple[float, int, float] | None = None  # difficulty, height, fee share
        self._usd: float | None = None

    async def read(self, now: datetime) -> list[AnyRecord]:
        """One NetworkTick when something new was heard; Faults when a source failed or told an absurd value."""
        records: list[AnyRecord] = []
        fresh = False
        for name, source in (("blocks", self._blocks), ("prices", self._prices)):
            answer = await source.get()
            if isinstance(answer, Unavailable):
                records += self.faults.open(f"{name} unavailable", answer.why, now)
                continue
            if not isinstance(answer, Fetched):
                continue
            records += self.faults.close(f"{name} unavailable", now)
            wrong = self._take_blocks(answer.body) if name == "blocks" else self._take_price(answer.body)
            if wrong is not None:
                detail = f"{source.url}: {wrong.field} {str(wrong.value)[:80]!r} is absurd; not used"
                records += self.faults.open(f"{name} absurd", detail, now)
                continue
            records += self.faults.close(f"{name} absurd", now)
            fresh = True
        if fresh and self._network is not None and self._usd is not None:
            records.append(self._tick(self._network, self._usd, now))
        return records

    def _tick(self, network: tuple[float, int, float], usd: float, now: datetime) -> NetworkTick:
        difficulty, height, fee_share = network
        return NetworkTick(
            at=now,
            known_at=now,
            source=self.source,
            kind="measured",
            difficulty=difficulty,
            subsidy_btc=subsidy_btc(height + 1),
            fee_share=round(fee_share, 6),
            btc_usd=Decimal(repr(usd)),
            height=height,
        )

    def _take_blocks(self, body: object) -> _Rejected | None:
        if not isinstance(body, list) or not body or not all(isinstance(block, dict) for block in body):
            return _Rejected("blocks", body)
        tip = body[0]
        difficulty, height = number(tip.get("difficulty"), *DIFFICULTY), number(tip.get("height"), *HEIGHT)
        if difficulty is None:
            return _Rejected("difficulty", tip.get("difficulty"))
        if height is None:
            return _Rejected("height", tip.get("height"))
        fees = subsidies = 0.0
        for block in body:
            extras = block.get("extras")
            fee = number(extras.get("totalFees"), 0.0, 1e15) if isinstance(extras, dict) else None
            at = number(block.get("height"), *HEIGHT)
            if fee is not None and at is not None:
                fees += fee
                subsidies += subsidy_btc(int(at)) * SATS_PER_BTC
        share = number(fees / subsidies, *FEE_SHARE) if subsidies > 0 else None
        if share is None:
            return _Rejected("extras.totalFees", fees)
        self._network = (difficulty, int(height), share)
        return None

    def _take_price(self, body: object) -> _Rejected | None:
        value = body.get("USD") if isinstance(body, dict) else None
        usd = number(value, *USD)
        if usd is None:
            return _Rejected("USD", value)
        self._usd = usd
        return None

"""What pools state and what arrived, as records: each reward at the price its contract began with, each block of one's
own apart until it can be spent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from tieline.books import Bookkeeper
from tieline.books.accounts import IMMATURE, IMMATURE_PLACE, matured_id
from tieline.books.policy import AccountingPolicy
from tieline.economics import matures_in
from tieline.feeds.coins.ask import Arrival, StatedReward
from tieline.ledger import BTC
from tieline.records import AnyRecord, NetworkTick, Payout, PoolMethod, Receipt, Transfer
from tieline.store import Store

# The network's price is told every few minutes; one as old as this is none of that moment.
FRESH = timedelta(hours=2)

PriceAt = Callable[[datetime], Decimal]


@dataclass(frozen=True, slots=True)
class Told:
    """What every record of one fetch says: where it came from, whose pool it is, where the coins lie."""

    now: datetime
    source: str
    pool: str
    place: str


def price_at(store: Store | None, given: Mapping[datetime, Decimal]) -> PriceAt:
    """USD per bitcoin at a moment: the last given one within two hours before, else what the network told then. Raises
    ValueError where neither says."""

    def found(moment: datetime) -> Decimal:
        mine = max((at for at in given if moment - FRESH <= at <= moment), default=None)
        if mine is not None:
            return given[mine]
        ticks = [] if store is None else store.between(NetworkTick, moment - FRESH, moment + timedelta(microseconds=1))
        measured = [one for one in ticks if one.kind != "forecast" and one.btc_usd > 0]
        if not measured:
            raise ValueError(
                f"no price of {moment:%Y-%m-%d %H:%M} UTC is known; give a sheet of time and price with --prices"
            )
        return max(measured, key=lambda one: (one.at, one.known_at)).btc_usd

    return found


def payouts_of(
    stated: Iterable[StatedReward], terms: Told, policy: AccountingPolicy, price: PriceAt
) -> list[AnyRecord]:
    """Rewards at the price that the policy names: when the day's contract began, or when it was credited. Raises
    ValueError where that is not known."""
    method: PoolMethod = next((one.method for one in policy.pool if one.name == terms.pool), "")
    return [
        Payout(
            at=one.end, known_at=terms.now, source=terms.source, kind="measured", payout_id=one.name, pool=terms.pool,
            sats=one.sats, span_start=one.start, span_end=one.end, hashrate_hs=one.hashrate_hs, fee_sats=one.kept_sats,
            btc_usd=price(one.start if policy.income == "inception" else one.end), place=terms.place, method=method,
            tx_fees_sats=one.tx_fees_sats,
        )
        for one in stated
    ]  # fmt: skip


def receipts_of(arrived: Iterable[Arrival], terms: Told, from_place: str, price: PriceAt) -> list[AnyRecord]:
    """Payments as receipts, rewards of blocks of one's own as payouts of that block's moment. Raises ValueError where
    its price is not known."""
    records: list[AnyRecord] = []
    for one in arrived:
        if one.coinbase:
            records.append(
                Payout(
                    at=one.at, known_at=terms.now, source=terms.source, kind="measured", payout_id=one.name,
                    pool=terms.pool, sats=one.sats, span_start=one.at, span_end=one.at, btc_usd=price(one.at),
                    method="solo", block=one.block,
                )
            )  # fmt: skip
        else:
            records.append(
                Receipt(
                    at=one.at, known_at=terms.now, source=terms.source, kind="measured", receipt_id=one.name,
                    address=one.address, sats=one.sats, block=one.block, pool=terms.pool, place=terms.place,
                    from_place=from_place,
                )
            )  # fmt: skip
    return records


def matured(keeper: Bookkeeper, payouts: Sequence[Payout], tip: int, terms: Told) -> list[AnyRecord]:
    """The moves of those rewards that may be spent at a height of the chain, and still lie apart."""
    records: list[AnyRecord] = []
    for one in payouts:
        done = keeper.standing(f"transfer {matured_id(one.payout_id)}") is not None
        if one.block is None or not one.sats or done or matures_in(one.block, tip):
            continue
        pooled = keeper.book.policy.method(IMMATURE, BTC, one.at) == "average"
        records.append(
            Transfer(
                at=max(terms.now, one.at), known_at=terms.now, source=f"{terms.source}, block {tip}", kind="measured",
                transfer_id=matured_id(one.payout_id), sats=one.sats, from_place=IMMATURE_PLACE, to_place=terms.place,
                lots=() if pooled else (one.payout_id,),
            )
        )  # fmt: skip
    return records

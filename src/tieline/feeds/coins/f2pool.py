"""F2Pool: its list of bills (`POST /v2/assets/transactions/list`, token in the header F2P-API-SECRET).

As its API of version 2 is documented: one item a day of mining, what changed the balance in BTC, and of it the PPS part
and the part of transaction fees, each with the pool's fee; a mistake is an object with `code` and `msg` and status 200.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from tieline.feeds.coins.ask import CoinApi, CoinFeedError, StatedReward, sats_of

PATH = "/v2/assets/transactions/list"
SPACE_S = 1.0
DAY = timedelta(days=1)
# Asked for a month at a time, so that no answer is cut off.
AT_ONCE = timedelta(days=30)


class _Mining(msgspec.Struct):
    mining_date: int
    pps: float = 0.0
    tx_fee: float = 0.0
    hash_rate: float | None = None


class _Item(msgspec.Struct):
    id: int
    type: str
    changed_balance: float
    mining_extra: _Mining | None = None


class _Bills(msgspec.Struct):
    transactions: list[_Item] | None = None
    code: int = 0
    msg: str = ""


class F2Pool:
    """`user`: the mining account; `token`: of a profile that may read."""

    name = "F2Pool"

    def __init__(self, user: str, token: str, base: str = "https://api.f2pool.com", space_s: float = SPACE_S) -> None:
        self._user = user
        self._api = CoinApi(base, {"f2p-api-secret": token}, space_s)

    async def stated(self, since: datetime, until: datetime) -> list[StatedReward]:
        """See `PoolStatements`. A day is settled on the next: bills are asked for up to two days further."""
        by_name: dict[str, StatedReward] = {}
        start = since
        while start < until + 2 * DAY:
            end = min(start + AT_ONCE, until + 2 * DAY)
            asked = {"currency": "bitcoin", "mining_user_name": self._user, "type": "revenue"}
            times = {"start_time": int(start.timestamp()), "end_time": int(end.timestamp())}
            bills = await self._api.post(PATH, asked | times, _Bills)
            if bills.code:
                raise CoinFeedError(f"{PATH}: {bills.msg[:200] or 'refused'} (code {bills.code})")
            rewards = [
                _reward(one, one.mining_extra) for one in bills.transactions or () if one.mining_extra is not None
            ]
            by_name |= {one.name: one for one in rewards if one.sats and since <= one.start and one.end <= until}
            start = end
        return sorted(by_name.values(), key=lambda one: (one.start, one.name))


def _reward(item: _Item, mining: _Mining) -> StatedReward:
    if not 0 < mining.mining_date < 2**33:
        raise CoinFeedError(f"{PATH}: mining_date is {mining.mining_date}, no time")
    start = datetime.fromtimestamp(mining.mining_date, UTC).replace(hour=0, minute=0, second=0)
    sats = sats_of(PATH, "changed_balance", item.changed_balance)
    fees = sats_of(PATH, "mining_extra.tx_fee", mining.tx_fee)
    gross = sats_of(PATH, "mining_extra.pps", mining.pps) + fees
    # The parts are told before the pool's fee; where they are not more than what was credited, it is not told.
    fee = max(0, gross - sats) if gross else 0
    rate = mining.hash_rate if mining.hash_rate is not None and mining.hash_rate > 0 else None
    return StatedReward(f"f2pool:{item.id}", start, start + DAY, sats, min(fees, sats) or None, fee, rate)

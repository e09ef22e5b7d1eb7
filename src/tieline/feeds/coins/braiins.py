"""Braiins Pool: daily rewards (`/accounts/rewards/json/btc`, token in the header Pool-Auth-Token).

As its monitoring API is documented (Braiins Academy, "Braiins Pool: monitoring"): a reward for each whole UTC day, in
BTC as text, mining and refunds and referrals summed in `total_reward`; one request in five seconds.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from tieline.feeds.coins.ask import CoinApi, CoinFeedError, StatedReward, sats_of

PATH = "/accounts/rewards/json/btc"
SPACE_S = 5.0
DAY = timedelta(days=1)


class _Day(msgspec.Struct):
    date: int
    total_reward: str | float


class _Rewards(msgspec.Struct):
    daily_rewards: list[_Day]


class _RewardsAnswer(msgspec.Struct):
    btc: _Rewards


class Braiins:
    """`token`: of an access profile that may use the web API and nothing else."""

    name = "Braiins Pool"

    def __init__(self, token: str, base: str = "https://pool.braiins.com", space_s: float = SPACE_S) -> None:
        self._api = CoinApi(base, {"pool-auth-token": token}, space_s)

    async def stated(self, since: datetime, until: datetime) -> list[StatedReward]:
        """See `PoolStatements`."""
        asked = {"from": f"{since:%Y-%m-%d}", "to": f"{until - DAY:%Y-%m-%d}"}
        answer = await self._api.get(PATH, _RewardsAnswer, asked)
        rewards = []
        for one in answer.btc.daily_rewards:
            start = _day(one.date)
            sats = sats_of(PATH, "total_reward", one.total_reward)
            if sats and since <= start and start + DAY <= until:
                rewards.append(StatedReward(f"braiins:{start:%Y-%m-%d}", start, start + DAY, sats))
        return sorted(rewards, key=lambda one: one.start)


def _day(seconds: int) -> datetime:
    """Raises CoinFeedError for what is not the first second of a UTC day."""
    if not 0 < seconds < 2**33 or seconds % 86_400:
        raise CoinFeedError(f"{PATH}: date is {seconds}, not the first second of a UTC day")
    return datetime.fromtimestamp(seconds, UTC)

"""What pools state and what arrives at watched addresses, from servers that answer as they are documented."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.feeds.coin_server import ADDRESS, DAY0, Coins, serving, transaction

from tieline.feeds.coins.ask import CoinFeedError
from tieline.feeds.coins.braiins import Braiins
from tieline.feeds.coins.esplora import Esplora
from tieline.feeds.coins.f2pool import F2Pool

T0 = datetime.fromtimestamp(DAY0, UTC)
DAY = timedelta(days=1)


@pytest.fixture
def coins() -> Iterator[Coins]:
    with serving(Coins()) as found:
        yield found


def test_daily_rewards_of_whole_days_exact_to_the_satoshi(coins: Coins) -> None:
    told = asyncio.run(Braiins("secret", coins.base, 0.0).stated(T0, T0 + 2 * DAY))
    assert [(one.name, one.sats, one.start, one.end) for one in told] == [
        ("braiins:2026-11-01", 50_000_001, T0, T0 + DAY),
        ("braiins:2026-11-02", 51_000_001, T0 + DAY, T0 + 2 * DAY),
    ]
    assert coins.asked[0][0] == "/accounts/rewards/json/btc?from=2026-11-01&to=2026-11-02"


def test_bills_with_what_the_pool_kept_and_what_was_fees(coins: Coins) -> None:
    told = asyncio.run(F2Pool("acme", "secret", coins.base, 0.0).stated(T0, T0 + 40 * DAY))
    assert [one.name for one in told] == ["f2pool:7", "f2pool:8"]
    first = told[0]
    assert (first.start, first.end) == (T0, T0 + DAY)
    assert (first.sats, first.tx_fees_sats, first.kept_sats) == (49_980_000, 1_000_000, 1_020_000)
    assert first.hashrate_hs == 1.1e18
    path, asked, _ = coins.asked[0]
    assert path == "/v2/assets/transactions/list"
    assert asked == {
        "currency": "bitcoin", "mining_user_name": "acme", "type": "revenue", "start_time": DAY0,
        "end_time": DAY0 + 30 * 86_400,
    }  # fmt: skip
    assert len(coins.asked) == 2, "a month at a time"


def test_what_arrived_at_an_address_over_many_pages(coins: Coins) -> None:
    """Newest first, 25 a page; change, what is not deep enough and what is older than asked for are left out."""
    coins.chain = [transaction(1_000 + n, 920_190 - n, DAY0 + 86_400 - 600 * n, 10_000 + n) for n in range(60)]
    coins.chain.insert(0, transaction(1, 920_199, DAY0 + 90_000, 5))  # two blocks deep
    coins.chain[3] = transaction(2, 920_188, DAY0 + 85_000, 5, sender=ADDRESS)
    coins.chain[4] = transaction(3, 920_187, DAY0 + 84_000, 312_500_000, coinbase=True)
    told = asyncio.run(Esplora(coins.base, 0.0).arrivals(ADDRESS, T0 + timedelta(hours=15)))
    assert [one.at for one in told] == sorted(one.at for one in told)
    assert len(told) == 55 - 1
    assert [(one.name, one.block, one.sats) for one in told if one.coinbase] == [(f"{3:064x}:1", 920_187, 312_500_000)]
    assert not {5, 7} & {one.sats for one in told}
    assert len(coins.asked) == 4


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("daily", {"btc": {"daily_rewards": [{"date": DAY0 + 5, "total_reward": "1"}]}}, "not the first second"),
        ("daily", {"btc": {"daily_rewards": [{"date": DAY0, "total_reward": "x"}]}}, "total_reward is 'x'"),
        ("daily", {"btc": {"daily_rewards": [{"date": DAY0, "total_reward": "-1"}]}}, "total_reward is '-1'"),
        ("daily", {"btc": {"daily_rewards": [{"date": DAY0, "total_reward": "1e999999"}]}}, "no amount of bitcoin"),
        ("daily", {"btc": {"daily_rewards": [{"date": DAY0}]}}, "missing required field `total_reward`"),
        ("daily", [], "not what was expected"),
        ("daily", b"<html>", "not what was expected"),
        ("troubles", [500, 502, 503], "answered 503; tried 3 times"),
        ("troubles", [403], "give a token that may read"),
        ("troubles", [404], "answered 404"),
    ],
)
def test_a_pool_that_answers_otherwise_is_one_line(coins: Coins, field: str, value: Any, says: str) -> None:
    setattr(coins, field, value)
    with pytest.raises(CoinFeedError) as error:
        asyncio.run(Braiins("secret", coins.base, 0.0).stated(T0, T0 + 2 * DAY))
    assert says in str(error.value)
    assert "secret" not in str(error.value)


def test_a_pool_that_fails_once_is_asked_again(coins: Coins) -> None:
    coins.troubles = [502]
    assert len(asyncio.run(Braiins("secret", coins.base, 0.0).stated(T0, T0 + 2 * DAY))) == 2


def test_other_mistakes_are_one_line_too(coins: Coins) -> None:
    async def refused(job: Any) -> str:
        with pytest.raises(CoinFeedError) as error:
            await job
        return str(error.value)

    assert "token error (code -201)" in asyncio.run(refused(F2Pool("a", "wrong", coins.base, 0.0).stated(T0, T0 + DAY)))
    assert "answered 401" in asyncio.run(refused(Braiins("wrong", coins.base, 0.0).stated(T0, T0 + DAY)))
    assert "no bitcoin address" in asyncio.run(refused(Esplora(coins.base, 0.0).arrivals("../x", T0)))
    coins.chain = [transaction(1, 920_000, DAY0, 5) | {"status": {"confirmed": True, "block_height": 920_000}}]
    assert "block_time is None" in asyncio.run(refused(Esplora(coins.base, 0.0).arrivals(ADDRESS, T0)))
    coins.tip = "x"
    assert "not what was expected" in asyncio.run(refused(Esplora(coins.base, 0.0).arrivals(ADDRESS, T0)))
    nowhere = Braiins("secret", "http://127.0.0.1:9", 0.0)
    assert "cannot be reached" in asyncio.run(refused(nowhere.stated(T0, T0 + DAY)))

"""One way to ask a pool or a chain's index: spaced, bounded, tried again, and a mistake is one line.

What came back is decoded into a type of its own, so a field that is missing or no number is named. A token travels in
its header only, and is in no message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol, TypeVar

import httpx
import msgspec

from tieline import __version__
from tieline.intake import IntakeError, read

T = TypeVar("T")

TIMEOUT_S = 20.0
# A year of daily rewards is 200 KB, 25 transactions with many outputs 2 MB.
MAX_BYTES = 16 * 2**20
TRIES = 3
MAX_WAIT_S = 60.0
_AGAIN = frozenset({429, 500, 502, 503, 504})
MOST_BTC = Decimal(21_000_000)


class CoinFeedError(RuntimeError):
    """Nothing could be had; the message says of whom, why, and what to do."""


@dataclass(frozen=True, slots=True)
class StatedReward:
    """What a pool credits for [start, end). `tx_fees_sats`: how much of it is transaction fees, None: not said;
    `kept_sats`: the pool's own fee, as far as it is said."""

    name: str
    start: datetime
    end: datetime
    sats: int
    tx_fees_sats: int | None = None
    kept_sats: int = 0
    hashrate_hs: float | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """Coins of one output to a watched address, in a block at a height, at that block's time."""

    name: str  # txid:vout
    address: str
    sats: int
    block: int
    at: datetime
    coinbase: bool


class PoolStatements(Protocol):
    """A pool that states what it credits."""

    name: str

    async def stated(self, since: datetime, until: datetime) -> list[StatedReward]:
        """By day, oldest first, of days that are whole. Raises CoinFeedError."""
        ...


class WatchedChain(Protocol):
    """An index of the chain that is asked about addresses. Watch only: it is told addresses, never a key."""

    async def tip(self) -> int:
        """The height of the last block. Raises CoinFeedError."""
        ...

    async def arrivals(self, address: str, since: datetime) -> list[Arrival]:
        """Oldest first. Raises CoinFeedError."""
        ...


class CoinApi:
    """An address and the headers it wants. `space_s`: requests are this far apart."""

    def __init__(
        self,
        base: str,
        headers: Mapping[str, str],
        space_s: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.base = base.rstrip("/")
        self._headers = {"user-agent": f"tieline/{__version__}", "accept": "application/json", **headers}
        self._space_s, self._sleep = space_s, sleep
        self._asked = False

    async def get(self, path: str, of: type[T], params: Mapping[str, str] | None = None) -> T:
        return await self._ask("GET", path, of, params=params)

    async def post(self, path: str, body: object, of: type[T]) -> T:
        return await self._ask("POST", path, of, body=msgspec.json.encode(body))

    async def _ask(
        self, method: str, path: str, of: type[T], *, params: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> T:
        url, why = f"{self.base}{path}", ""
        for attempt in range(TRIES):
            if self._asked:
                await self._sleep(self._space_s * 2**attempt)
            self._asked = True
            try:
                status, wait_s, content = await self._once(method, url, params, body)
            except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:  # waiting would not mend it
                raise CoinFeedError(
                    f"{url}: no address to ask ({error}); write it like https://pool.example"
                ) from error
            except (httpx.HTTPError, OSError) as error:
                why = f"cannot be reached ({type(error).__name__})"
                continue
            if status in _AGAIN:
                why = f"answered {status}"
                if wait_s:
                    if wait_s > MAX_WAIT_S:
                        raise CoinFeedError(f"{url}: {why} and asks to wait {wait_s:.0f} s: come back then")
                    await self._sleep(wait_s)
                continue
            return _decoded(url, status, content, of)
        raise CoinFeedError(f"{url}: {why}; tried {TRIES} times: come back later")

    async def _once(
        self, method: str, url: str, params: Mapping[str, str] | None, body: bytes | None
    ) -> tuple[int, float, bytes]:
        headers = self._headers if body is None else {**self._headers, "content-type": "application/json"}
        async with (
            httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False) as client,
            client.stream(method, url, params=params, headers=headers, content=body) as response,
        ):
            content = bytearray()
            async for piece in response.aiter_bytes():
                content += piece
                if len(content) > MAX_BYTES:
                    raise CoinFeedError(f"{url}: more than {MAX_BYTES:,} bytes; ask for fewer days")
            after = response.headers.get("retry-after", "")
            return response.status_code, float(after) if after.isdigit() else 0.0, bytes(content)


def _decoded(url: str, status: int, content: bytes, of: type[T]) -> T:
    if status in (401, 403):
        raise CoinFeedError(f"{url}: answered {status}; give a token that may read (--token-env)")
    if status != 200:
        raise CoinFeedError(f"{url}: answered {status}")
    try:
        return read(content, msgspec.json.Decoder(of).decode, MAX_BYTES)
    except IntakeError as error:
        raise CoinFeedError(f"{url}: not what was expected of it: {error}") from error


def sats_of(url: str, field: str, btc: str | float) -> int:
    """Satoshi of an amount as a pool writes it, rounded to the nearest: pools reckon in parts of one. Raises
    CoinFeedError, naming the field, for what is no amount."""
    try:
        number = Decimal(btc if isinstance(btc, str) else repr(btc))
    except ArithmeticError:
        number = Decimal("NaN")
    if not number.is_finite() or not 0 <= number <= MOST_BTC:
        raise CoinFeedError(f"{url}: {field} is {btc!r}, no amount of bitcoin")
    return int((number * 10**8).to_integral_value())

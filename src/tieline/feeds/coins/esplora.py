"""A chain's index with an Esplora API (one's own, blockstream.info, mempool.space): what arrived at an address.

`/address/ADDRESS/txs/chain[/LAST]`: confirmed transactions, newest first, 25 a page; `/blocks/tip/height`. Amounts are
satoshi. Watch only: it is told addresses, and nothing here has or asks for a key. Whoever runs the index learns which
addresses belong together; one's own tells nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from tieline.feeds.coins.ask import Arrival, CoinApi, CoinFeedError

# Addresses of every kind are letters and digits; what is put into a path is nothing else.
_ADDRESS = re.compile(r"[a-zA-Z0-9]{14,90}")
_TXID = re.compile(r"[0-9a-f]{64}")
PAGE = 25
# 25,000 transactions; a pool pays an address once a day.
MOST_PAGES = 1_000
# As deep as is customary before coins are counted on; the chain has not been rewritten deeper since 2013.
DEEP = 6
SPACE_S = 0.5


class _Output(msgspec.Struct):
    value: int
    scriptpubkey_address: str | None = None


class _Input(msgspec.Struct):
    is_coinbase: bool = False
    prevout: _Output | None = None


class _Status(msgspec.Struct):
    confirmed: bool
    block_height: int | None = None
    block_time: int | None = None


class _ChainTransaction(msgspec.Struct):
    txid: str
    vin: list[_Input]
    vout: list[_Output]
    status: _Status


class Esplora:
    """`base`: the address up to `/api`."""

    def __init__(self, base: str = "https://mempool.space/api", space_s: float = SPACE_S) -> None:
        self._api = CoinApi(base, {}, space_s)
        self._tip: int | None = None

    async def tip(self) -> int:
        """See `WatchedChain`; asked once."""
        if self._tip is None:
            self._tip = await self._api.get("/blocks/tip/height", int)
        return self._tip

    async def arrivals(self, address: str, since: datetime) -> list[Arrival]:
        """See `WatchedChain`. What an address sent to itself is change, and did not arrive."""
        if not _ADDRESS.fullmatch(address):
            raise CoinFeedError(f"{address!r} is no bitcoin address")
        deep, path, payments, last = await self.tip() - DEEP + 1, f"/address/{address}/txs/chain", list[Arrival](), ""
        for _ in range(MOST_PAGES):
            page = await self._api.get(path + last, list[_ChainTransaction])
            arrived = [one for transaction in page for one in _outputs(transaction, address)]
            payments += [one for one in arrived if one.at >= since and one.block <= deep]
            if len(page) < PAGE or _time(page[-1]) < since:
                return sorted(payments, key=lambda one: (one.block, one.name))
            if not _TXID.fullmatch(page[-1].txid):
                raise CoinFeedError(f"{path}: {page[-1].txid!r} is no transaction's name")
            last = f"/{page[-1].txid}"
        raise CoinFeedError(f"{address}: more than {MOST_PAGES * PAGE:,} transactions; give a later --since")


def _time(transaction: _ChainTransaction) -> datetime:
    seconds = transaction.status.block_time
    if seconds is None or not 0 < seconds < 2**33:
        raise CoinFeedError(f"{transaction.txid}: block_time is {seconds}, no time")
    return datetime.fromtimestamp(seconds, UTC)


def _outputs(transaction: _ChainTransaction, address: str) -> Iterator[Arrival]:
    height = transaction.status.block_height
    if not transaction.status.confirmed or height is None:
        return
    if any(one.prevout is not None and one.prevout.scriptpubkey_address == address for one in transaction.vin):
        return
    at, coinbase = _time(transaction), any(one.is_coinbase for one in transaction.vin)
    for place, output in enumerate(transaction.vout):
        if output.scriptpubkey_address == address and output.value > 0:
            yield Arrival(f"{transaction.txid}:{place}", address, output.value, height, at, coinbase)

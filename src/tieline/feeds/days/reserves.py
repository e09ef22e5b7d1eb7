"""Clearing prices of reserves of a data folder, as records: `reserves/clearing_hourly.parquet`, which may be absent.

Columns ts_utc (start of the hour), product (as the fleet's table of reserves names it) and usd_per_mw_h. A price is
known when its product's auction is published, and offers closed before that: nobody offers with the price in sight.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from tieline.feeds.days.folder import FolderError, columns
from tieline.feeds.days.prices import Provenance
from tieline.fleet.reserves import ReserveProduct
from tieline.records import ReservePrice

FILE = ("reserves", "clearing_hourly.parquet")
# Capacity has cleared at the cap of energy; more than twice the highest cap there is was never paid.
MOST_USD = 40_000.0


def reserve_prices(
    folder: Path, start: datetime, end: datetime, products: Mapping[str, ReserveProduct], provenance: Provenance
) -> list[ReservePrice]:
    """Of `products`, hours that begin in [start, end). Raises FolderError with file and row."""
    path = folder.joinpath(*FILE)
    if not products or not path.exists():
        return []
    table = columns(path, ("ts_utc", "product", "usd_per_mw_h"), ("ts_utc", start, end))
    prices: dict[tuple[str, datetime], ReservePrice] = {}
    for at, name, usd in zip(table["ts_utc"], table["product"], table["usd_per_mw_h"], strict=True):
        product = products.get(name)
        if product is None or usd is None:
            continue
        at = at.astimezone(UTC)
        where = f"{path}: {name} of {at:%Y-%m-%d %H:%M} UTC"
        if at.minute or at.second:
            raise FolderError(f"{where} begins no hour; give the hour's start")
        if not 0.0 <= usd <= MOST_USD:
            raise FolderError(f"{where} is {usd:g}; USD per MW and hour from 0 to {MOST_USD:,.0f} are expected")
        before = prices.get((name, at))
        if before is not None and before.price_usd_per_mw_h != usd:
            raise FolderError(f"{where} stands twice, {before.price_usd_per_mw_h:g} and {usd:g}; keep one")
        prices[name, at] = ReservePrice(
            at=at,
            known_at=product.known_at(at),
            source=provenance.source,
            kind=provenance.kind,
            product=name,
            price_usd_per_mw_h=usd,
        )
    return list(prices.values())

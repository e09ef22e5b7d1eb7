"""Recorded prices of a data folder as records, checked before one is used.

A file that says one hour twice, a price that is no number, a price in another currency or unit than its column says
and an interval that begins at no five minutes are refused with file, row and remedy. Missing hours are missing: nothing
is filled. A row holds for an hour unless its clock hour has rows of its market at other minutes too, or the next row
comes sooner: where clocks stand half an hour off, hours begin at the half hour.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import gcd
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tieline.feeds.days.folder import ROW, FolderError, finite, table_of
from tieline.fleet import Market
from tieline.fleet.currency import RateBook
from tieline.records import Kind, PriceTick

HOUR_US, MINUTE_US = 3_600_000_000, 60_000_000
# A price in dollars may differ so far from the local price times the file's own rate: rounding, not another currency.
SAME_SHARE, SAME_USD = 0.02, 0.02
# A market's median does not move so far from one month to the next; a unit does.
JUMP, JUMP_ROWS = 20.0, 200
# USD per MWh that some hour of so many passes in every market: where none does, another unit was written.
LEAST_HIGHEST_USD = 2.0
# No place is much dearer than a mean over many places unless another is cheaper: USD per MWh, and times the mean.
APART_USD, APART_TIMES = 500.0, 10.0
# The rate that a folder states may differ so far from what the currency is roughly worth.
RATE_FACTOR = 3.0

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Provenance(NamedTuple):
    source: str
    kind: Kind


@dataclass(frozen=True)
class Rate:
    """USD per unit of a market's currency as `markets.csv` states it."""

    currency: str
    usd_per_unit: float


@dataclass(frozen=True, slots=True)
class Rows:
    """One market's rows of a file, oldest first. `row`: place in the file, from 1."""

    row: Ints
    at_us: Ints
    usd: Floats
    local: Floats | None


@lru_cache(maxsize=8)
def _rows_of(path: Path, stamp: tuple[int, int], usd: str, by_market: bool) -> Mapping[str, Rows]:
    """By market (or "" where the file is one market's), every row with a price. `stamp` tells files apart."""
    names = ("ts_utc", usd, *(("market",) if by_market else ()))
    table = table_of(path, names, also=("price_local",) if by_market else ())
    table = table.filter(pc.is_valid(table.column(usd)))
    tables: dict[str, Rows] = {}
    for name in pc.unique(table.column("market")).to_pylist() if by_market else [""]:
        part = table.filter(pc.equal(table.column("market"), name)) if by_market else table
        at_us = part.column("ts_utc").cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
        order = np.argsort(at_us, kind="stable")
        local = finite(path, part, "price_local") if "price_local" in part.column_names else None
        rows = Rows(
            part.column(ROW).to_numpy()[order],
            at_us[order],
            finite(path, part, usd)[order],
            None if local is None else local[order],
        )
        tables[name] = _checked(path, name, rows)
    return tables


def rows_of(path: Path, usd: str = "price_usd", by_market: bool = True) -> Mapping[str, Rows]:
    """The rows of a file by market, each hour once. Raises FolderError."""
    try:
        stat = path.stat()
    except OSError:
        raise FolderError(f"{path}: no such file; a data folder has it") from None
    return _rows_of(path, (stat.st_mtime_ns, stat.st_size), usd, by_market)


def _checked(path: Path, name: str, rows: Rows) -> Rows:
    odd = np.flatnonzero(rows.at_us % (5 * MINUTE_US))
    if odd.size:
        n = int(odd[0])
        raise FolderError(
            f"{path}: row {rows.row[n]}: {_words(name)} begins at {_time(rows.at_us[n])}; intervals begin on whole "
            "five minutes, and the start is what is expected"
        )
    twice = np.flatnonzero(np.diff(rows.at_us) == 0)
    for n in map(int, twice):
        if rows.usd[n] != rows.usd[n + 1]:
            raise FolderError(
                f"{path}: rows {rows.row[n]} and {rows.row[n + 1]} both give {_words(name)} {_time(rows.at_us[n])}, "
                f"{rows.usd[n]:g} and {rows.usd[n + 1]:g}; keep one (an hour that a clock change repeats is two "
                "hours of UTC)"
            )
    keep = np.ones(len(rows.at_us), dtype=bool)
    keep[twice + 1] = False
    rows = Rows(rows.row[keep], rows.at_us[keep], rows.usd[keep], None if rows.local is None else rows.local[keep])
    _same_unit(path, name, rows)
    return rows


def _same_unit(path: Path, name: str, rows: Rows) -> None:
    """Refuses a month whose median is twenty times, or a twentieth of, the month before: kWh for MWh, say; and a whole
    series that never passes what every market passes. Zero throughout is a price."""
    highest = float(np.abs(rows.usd).max(initial=0.0))
    if len(rows.usd) >= JUMP_ROWS and 0 < highest < LEAST_HIGHEST_USD:
        n = int(np.abs(rows.usd).argmax())
        raise FolderError(
            f"{path}: row {rows.row[n]}: {_words(name)} says {rows.usd[n]:.4g} and in no row more; USD per MWh is "
            "expected, a thousand times USD per kWh"
        )
    months = rows.at_us.astype("datetime64[us]").astype("datetime64[M]")
    before: tuple[str, float] | None = None
    for month in np.unique(months):
        inside = np.abs(rows.usd[months == month])
        if len(inside) < JUMP_ROWS:
            continue
        middle = float(np.median(inside))
        if before is not None and min(middle, before[1]) > 0 and not 1 / JUMP < middle / before[1] < JUMP:
            raise FolderError(
                f"{path}: {_words(name)} has a median of {before[1]:.4g} in {before[0]} and of {middle:.4g} in "
                f"{month}; USD per MWh is expected throughout"
            )
        if middle > 0:
            before = (str(month), middle)


def check_rates(path: Path, rates: Mapping[str, Rate], markets: Mapping[str, Market]) -> None:
    """Each market's dollars against its own local price times the rate that the folder states. Raises FolderError."""
    for name, rows in rows_of(path).items():
        rate, market = rates.get(name), markets.get(name)
        if rate is None:
            continue
        about = market.usd_about if market is not None and market.currency == rate.currency else None
        if about is not None and not 1 / RATE_FACTOR < rate.usd_per_unit / about < RATE_FACTOR:
            raise FolderError(
                f"{path.parent / 'markets.csv'}: {name}: fx_usd_fixed is {rate.usd_per_unit:g} USD per "
                f"{rate.currency}, which is worth about {about:g}; write USD per unit"
            )
        if rows.local is None:
            continue
        worth = rows.local * rate.usd_per_unit
        apart = np.abs(worth - rows.usd) > np.maximum(SAME_USD, SAME_SHARE * np.abs(worth))
        if (wrong := np.flatnonzero(apart & np.isfinite(worth))).size:
            n = int(wrong[0])
            raise FolderError(
                f"{path}: row {rows.row[n]}: {name}: price_local {rows.local[n]:g} {rate.currency} x "
                f"{rate.usd_per_unit:g} is {worth[n]:.2f} USD, price_usd says {rows.usd[n]:g}; give USD/MWh there"
            )


def check_hubs(path: Path, markets: Mapping[str, Market]) -> None:
    """Refuses an interval in which every zone of an operator is far above each of its hubs, which are means over places
    in these zones: a first publication that was corrected later, as a rule. Raises FolderError."""
    listed = rows_of(path)
    there = [market for name, market in markets.items() if name in listed and market.operator]
    for operator, kind in sorted({(market.operator, market.kind) for market in there if market.hub}):
        mine = [market for market in there if (market.operator, market.kind) == (operator, kind)]
        hubs = [listed[market.name] for market in mine if market.hub]
        zones = {market.name: listed[market.name] for market in mine if not market.hub}
        if len(zones) >= 2:
            _check_zones(path, operator, zones, hubs)


def _check_zones(path: Path, operator: str, zones: Mapping[str, Rows], hubs: Sequence[Rows]) -> None:
    times = np.unique(np.concatenate([rows.at_us for rows in zones.values()]))
    lowest = _over(times, list(zones.values()), np.fmin, least=2)
    highest = _over(times, hubs, np.fmax, least=1)
    wrong = np.flatnonzero(lowest - highest > np.maximum(APART_USD, APART_TIMES * np.abs(highest)))
    if not wrong.size:
        return
    at_us = times[wrong[0]]
    zone, rows = next((name, rows) for name, rows in zones.items() if at_us in rows.at_us)
    n = int(np.searchsorted(rows.at_us, at_us))
    raise FolderError(
        f"{path}: row {rows.row[n]}: {zone} says {rows.usd[n]:g} at {_time(at_us)}, and every "
        f"zone of {operator} at least {lowest[wrong[0]]:g}, while its hubs say at most {highest[wrong[0]]:g}; "
        "give the corrected price, or leave the hour out"
    )


def _over(times: Ints, series: Sequence[Rows], chosen: np.ufunc, least: int) -> Floats:
    """At each time the lowest (or highest) price of those that there are; nan where fewer than `least` are."""
    values, count = np.full(len(times), np.nan), np.zeros(len(times), dtype=np.int64)
    for rows in series:
        at = np.searchsorted(rows.at_us, times)
        at[at == len(rows.at_us)] = 0
        there = rows.at_us[at] == times if len(rows.at_us) else np.zeros(len(times), dtype=bool)
        values = np.where(there, chosen(values, rows.usd[at]), values) if there.any() else values
        count += there
    return np.where(count >= least, values, np.nan)


def _lengths(times: list[int]) -> list[int]:
    """Minutes that each row holds; `times` in microseconds, ascending."""
    firsts: dict[int, int] = {}
    steps: dict[int, int] = defaultdict(int)
    for at in times:
        hour = at // HOUR_US
        begun = firsts.setdefault(hour, at)
        steps[hour] = gcd(steps[hour], (at - begun) // MINUTE_US)
    lengths = []
    for number, at in enumerate(times, start=1):
        step = gcd(steps[at // HOUR_US], 60)
        lengths.append(min(step, (times[number] - at) // MINUTE_US) if number < len(times) else step)
    return lengths


def ticks(market: Market, rows: Rows, start: datetime, end: datetime, provenance: Provenance) -> list[PriceTick]:
    """The rows that begin in [start, end) as records, each known when it was in the world."""
    first, last = np.searchsorted(rows.at_us, [_us(start), _us(end)])
    times = rows.at_us[first:last].tolist()
    records = []
    for at_us, minutes, usd in zip(times, _lengths(times), rows.usd[first:last].tolist(), strict=True):
        length = timedelta(minutes=minutes)
        at = _EPOCH + timedelta(microseconds=at_us)
        records.append(
            PriceTick(
                at=at,
                known_at=market.known_at(at, length),
                source=provenance.source,
                kind=provenance.kind,
                market=market.name,
                price_usd_per_mwh=round(usd, 4),
                length_s=int(length.total_seconds()),
            )
        )
    return records


def in_dollars(
    path: Path, market: Market, rows: Rows, records: Sequence[PriceTick], rates: RateBook
) -> list[PriceTick]:
    """Prices at the rate of the day they became known, from the file's local ones. An hour without a fresh rate has no
    price. Raises FolderError where the file's own dollars are another figure."""
    if rows.local is None:
        return list(records)
    local = dict(zip(rows.at_us.tolist(), zip(rows.local.tolist(), rows.row.tolist(), strict=True), strict=True))
    out = []
    for tick in records:
        price, row = local[_us(tick.at)]
        rate = rates.rate(market.currency, tick.known_at).usd_per_unit
        if rate is None or not math.isfinite(price):
            continue
        usd = price * float(rate)
        if abs(usd - tick.price_usd_per_mwh) > max(SAME_USD, SAME_SHARE * abs(usd)):
            raise FolderError(
                f"{path}: row {row}: {market.name}: price_local {price:g} {market.currency} x {rate:.6g} of that day "
                f"is {usd:.2f} USD, price_usd says {tick.price_usd_per_mwh:g}; give the day's dollars there"
            )
        out.append(
            msgspec.structs.replace(
                tick, price_usd_per_mwh=round(usd, 4), currency=market.currency, price_local_per_mwh=price
            )
        )
    return out


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _us(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _time(at_us: int) -> str:
    return f"{_EPOCH + timedelta(microseconds=int(at_us)):%Y-%m-%d %H:%M} UTC"


def _words(market: str) -> str:
    return f"market {market}" if market else "the price"

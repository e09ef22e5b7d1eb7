"""Hours and days of a site and of a market, as whole-number sums of records: what pages and reports of long spans read.

A roll-up is made from records alone and holds what they say up to one of them, by number; it is nobody's only home of
anything, and nothing is billed from it. What is told late is added where it belongs; of what may be told anew (a bill,
a price) the hour is read again, as it stood before and as it stands now, and the difference is added. Each record
counts in the hour and the day (UTC) that its `at` lies in, whatever its length. Sums are exact: watt-seconds, hashes
and milliwatt-hours are rounded once, record by record, all else is whole already.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from tieline.books.keeper import newest_of
from tieline.books.reports.partner import by_site
from tieline.records import MeterReading, PowerBill, PriceTick, Record, Sample, Shortfall, Usage
from tieline.records.base import newest_by
from tieline.store import Selection, Store
from tieline.store.rolled.kept import RolledStore

# Another number throws away what is kept and begins again: whenever a field or what is added to it changes.
FORM: Final = 1
# Records taken at once while the store is held: about 20 ms.
PAGE: Final = 2_000
HOUR: Final = timedelta(hours=1)
# The smallest part of a dollar that a record can say (`intake.Money`).
MONEY_PLACES: Final = 20


class RolledSums(msgspec.Struct, frozen=True, kw_only=True):
    """Of one site or one market over an hour or a day. What nobody told is 0 with 0 beside it that says so: seconds
    heard, records counted."""

    records: int = 0
    simulated: int = 0  # of them, those that are no measurement
    sampled_s: int = 0  # unit-seconds that samples speak of
    power_s: int = 0  # of them, with a power
    power_ws: int = 0  # watt-seconds
    hash_s: int = 0
    hashes: int = 0
    token_samples: int = 0
    modelled_tokens: int = 0  # what agents' samples say, real or modelled
    meter_s: int = 0
    meter_ws: int = 0
    bills: int = 0
    mining_milli_wh: int = 0
    inference_milli_wh: int = 0
    aux_milli_wh: int = 0
    cost_parts: int = 0  # of 1e-20 USD
    settled: int = 0  # shortfalls that know the network
    made_sats: int = 0  # what a pool would have paid for the hashes
    full_sats: int = 0  # and for all rigs at their rating
    requests: int = 0
    served_tokens: int = 0
    nano_usd: int = 0
    price_s: int = 0
    price_micro_s: int = 0  # micro-USD/MWh times seconds

    @property
    def cost_usd(self) -> Decimal | None:
        """Of power, exact; None where no bill was told."""
        if not self.bills:
            return None
        parts, places = self.cost_parts, MONEY_PLACES
        while places > 2 and parts % 10 == 0:
            parts, places = parts // 10, places - 1
        return Decimal(f"{parts}E-{places}")

    @property
    def price_usd_per_mwh(self) -> float | None:
        """Mean of a market over time; None where no price was told."""
        return self.price_micro_s / self.price_s / 1e6 if self.price_s else None


_NAMES: Final = RolledSums.__struct_fields__
_PLACE: Final = {name: place for place, name in enumerate(_NAMES)}

# A record's part of one subject's hour, by field.
Part = tuple[str, datetime, dict[str, int]]


def site_subject(site_id: str) -> str:
    return f"site {site_id}"


def market_subject(market: str) -> str:
    return f"market {market}"


def hour_of(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def parts_of(record: Record) -> Iterator[Part]:
    """What one record adds where it is told once for ever; nothing of what may be told anew, or is not rolled up."""
    if isinstance(record, Usage):
        for site_id, (nano, tokens) in by_site(record).items():
            sums = {"requests": 1, "served_tokens": tokens, "nano_usd": nano}
            yield _part(site_subject(site_id), record, sums)
        return
    read = _READ.get(type(record))
    if read is not None:
        yield _part(site_subject(record.subject), record, read(record))


def _part(subject: str, record: Record, sums: dict[str, int]) -> Part:
    return subject, hour_of(record.at), {"records": 1, "simulated": int(record.kind != "measured"), **sums}


def _sample(one: Sample) -> dict[str, int]:
    sums = {"sampled_s": one.length_s}
    if one.power_w is not None:
        sums |= {"power_s": one.length_s, "power_ws": round(one.power_w * one.length_s)}
    if one.hashrate_hs is not None:
        sums |= {"hash_s": one.length_s, "hashes": round(one.hashrate_hs * one.length_s)}
    if one.tokens is not None:
        sums |= {"token_samples": 1, "modelled_tokens": one.tokens}
    return sums


def _meter(one: MeterReading) -> dict[str, int]:
    if one.power_w is None:
        return {}
    return {"meter_s": one.length_s, "meter_ws": round(one.power_w * one.length_s)}


def _shortfall(one: Shortfall) -> dict[str, int]:
    if one.made_sats is None or one.full_sats is None:
        return {}
    return {"settled": 1, "made_sats": one.made_sats, "full_sats": one.full_sats}


_READ: Final[Mapping[type[Record], Any]] = {Sample: _sample, MeterReading: _meter, Shortfall: _shortfall}


def _bill(one: PowerBill) -> dict[str, int]:
    whole, parts = one.cost_usd.as_integer_ratio()
    return {
        "bills": 1,
        "mining_milli_wh": round(one.mining_wh * 1000),
        "inference_milli_wh": round(one.inference_wh * 1000),
        "aux_milli_wh": round(one.aux_wh * 1000),
        "cost_parts": whole * 10**MONEY_PLACES // parts,
    }


def _tick(one: PriceTick) -> dict[str, int]:
    return {"price_s": one.length_s, "price_micro_s": round(one.price_usd_per_mwh * 1e6) * one.length_s}


def bills_parts(bills: Iterable[PowerBill]) -> Iterator[Part]:
    """Of one site's bills, each in its newest word."""
    for bill in newest_of(bills):
        yield _part(site_subject(bill.site_id), bill, _bill(bill))


def prices_parts(ticks: Iterable[PriceTick]) -> Iterator[Part]:
    """Of one market's prices, each in its newest word; a forecast is no price."""
    told = (tick for tick in ticks if tick.kind != "forecast")
    for tick in newest_by(told, lambda one: (one.at, one.length_s)).values():
        yield _part(market_subject(tick.market), tick, _tick(tick))


# What may be told anew, and how an hour of it is summed.
_ANEW: Final[Mapping[type[Record], Any]] = {PowerBill: bills_parts, PriceTick: prices_parts}


def summed(parts: Iterable[Part]) -> dict[tuple[str, datetime], RolledSums]:
    """By subject and hour: what a roll-up of these parts holds."""
    added: dict[tuple[str, datetime], list[int]] = {}
    for part in parts:
        _add(added, part, 1)
    return {place: RolledSums(**dict(zip(_NAMES, numbers, strict=True))) for place, numbers in added.items()}


def parts_between(store: Store, subjects: Iterable[str], start: datetime, end: datetime) -> Iterator[Part]:
    """The same straight from records, for spans of whole hours: what a roll-up is held against. `subjects`: sites and
    markets whose bills and prices are read; usage is read of all."""
    once: tuple[type[Record], ...] = (*_READ, Usage)
    for type_ in once:
        for record in store.each(type_, start, end):
            yield from parts_of(record)
    for subject in subjects:
        for type_, summing in _ANEW.items():
            yield from summing(store.each(type_, start, end, subject=subject))


class RollUp:
    """Keeps a roll-up up to the records of one store."""

    def __init__(self, kept: RolledStore) -> None:
        self.kept = kept

    def step(self, store: Store) -> bool:
        """Take a page of records in; True: there are more. Raises StoreError with nothing of the page counted."""
        epoch = store.epoch
        after = self.kept.reached(epoch, FORM)
        page = store.follow(after, PAGE)
        if page.last == after:
            return False
        added: dict[tuple[str, datetime], list[int]] = {}
        anew: dict[type[Record], set[tuple[str, datetime]]] = defaultdict(set)
        for stored in page.items:
            record = stored.record
            if type(record) in _ANEW:
                assert isinstance(record, Record)
                anew[type(record)].add((record.subject, hour_of(record.at)))
            elif isinstance(record, Record):
                for part in parts_of(record):
                    _add(added, part, 1)
        for type_, hours in anew.items():
            for subject, hour in hours:
                for upto, sign in ((after, -1), (page.last, 1)):
                    of: Selection[Any] = Selection(type_, hour, hour + HOUR, subject=subject, upto=upto)
                    for part in _ANEW[type_](_all(store, of)):
                        _add(added, part, sign)
        self.kept.add({place: sums for place, sums in added.items() if any(sums)}, after, page.last, epoch, FORM)
        return page.more

    def reached(self, store: Store) -> int:
        """The number of the record up to which everything is counted."""
        return self.kept.reached(store.epoch, FORM)


def _all(store: Store, of: Selection[Any]) -> Iterator[Any]:
    return store.each(of.stream, of.start, of.end, subject=of.subject, upto=of.upto)


def _add(added: dict[tuple[str, datetime], list[int]], part: Part, sign: int) -> None:
    subject, hour, sums = part
    numbers = added.get((subject, hour))
    if numbers is None:
        numbers = added[subject, hour] = [0] * len(_NAMES)
    for name, value in sums.items():
        numbers[_PLACE[name]] += sign * value


def rolled_between(
    kept: RolledStore, subject: str, size: int, start: datetime, end: datetime
) -> Iterator[tuple[datetime, RolledSums]]:
    """Hours or days (`size` in seconds) that begin in [start, end); one of which nothing was told is not there."""
    for at, numbers in kept.between(subject, size, start, end):
        yield at, RolledSums(**dict(zip(_NAMES, numbers, strict=True)))

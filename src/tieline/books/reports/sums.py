"""Whole-number sums of a site's or a market's records over a span: what pages and reports of long spans are made of.

Sums are exact, so that they are the same in whatever order and from however many parts they are added up: watt-seconds
and hashes are rounded once, record by record; watt-hours and dollars are counted in their smallest part; all else is
whole already. A record counts where its `at` lies, whatever its length. A forecast is neither a bill nor a price. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec

from tieline.books.causes import CAUSES
from tieline.books.keeper import newest_of
from tieline.records import MeterReading, PowerBill, PriceTick, Record, Sample, Shortfall, Usage
from tieline.records.base import newest_by

# The smallest part of a dollar that a record can say (`intake.Money`); of a watt-hour what is smaller is rounded.
PLACES: Final = 20

P = TypeVar("P", bound=Hashable)


class RolledSums(msgspec.Struct, frozen=True, kw_only=True):
    """Of one site or one market over a span. What nobody told is 0 with 0 beside it that says so: seconds heard,
    records counted."""

    records: int = 0
    simulated: int = 0  # of them, those that are no measurement
    sampled_s: int = 0  # unit-seconds that samples speak of
    power_s: int = 0  # of them, with a power
    power_ws: int = 0  # watt-seconds
    hash_s: int = 0
    hashes: int = 0
    hash_samples: int = 0
    token_samples: int = 0
    modelled_tokens: int = 0  # what agents' samples say, real or modelled
    meter_s: int = 0
    meter_ws: int = 0
    meters: int = 0  # readings of the site's own meter
    heard_s: int = 0  # seconds of them in which it was heard
    bills: int = 0
    simulated_bills: int = 0
    mining_parts: int = 0  # of 1e-20 Wh, as the two below
    inference_parts: int = 0
    aux_parts: int = 0
    cost_parts: int = 0  # of 1e-20 USD
    shortfalls: int = 0
    settled: int = 0  # of them, those that know the network
    full_wh: int = 0
    made_sats: int = 0  # what a pool would have paid for the hashes
    full_sats: int = 0  # and for all rigs at their rating
    short_wh_economic: int = 0  # by cause, all of `books.causes.CAUSES`: Wh not drawn, and satoshi not earned
    short_wh_commitment: int = 0
    short_wh_fault: int = 0
    short_wh_weather: int = 0
    short_wh_order: int = 0
    short_wh_override: int = 0
    short_wh_none: int = 0
    lost_sats_economic: int = 0
    lost_sats_commitment: int = 0
    lost_sats_fault: int = 0
    lost_sats_weather: int = 0
    lost_sats_order: int = 0
    lost_sats_override: int = 0
    lost_sats_none: int = 0
    requests: int = 0
    served_tokens: int = 0
    nano_usd: int = 0
    price_s: int = 0
    price_micro_s: int = 0  # micro-USD/MWh times seconds

    @property
    def cost_usd(self) -> Decimal | None:
        """Of power, exact; None where no bill was told."""
        return whole_of(self.cost_parts, 2) if self.bills else None

    @property
    def billed_wh(self) -> Decimal:
        """Of all uses, exact."""
        return whole_of(self.mining_parts + self.inference_parts + self.aux_parts)

    @property
    def price_usd_per_mwh(self) -> float | None:
        """Mean of a market over time; None where no price was told."""
        return self.price_micro_s / self.price_s / 1e6 if self.price_s else None


NAMES: Final = RolledSums.__struct_fields__
PLACE: Final = {name: place for place, name in enumerate(NAMES)}

NOTHING: Final = RolledSums()
# A record's part of one subject's sums, by field, and when it holds.
Part = tuple[str, datetime, dict[str, int]]


def whole_of(parts: int, places: int = 1) -> Decimal:
    """A number of 1e-20 as the decimal that it is, with at least so many places."""
    digits = PLACES
    while digits > places and parts % 10 == 0:
        parts, digits = parts // 10, digits - 1
    return Decimal(f"{parts}E-{digits}")


def site_subject(site_id: str) -> str:
    return f"site {site_id}"


def site_in(subject: str) -> str | None:
    """Whose sums a subject's are; None: no site's."""
    kind, _, name = subject.partition(" ")
    return name if kind == "site" else None


def market_subject(market: str) -> str:
    return f"market {market}"


def parted(whole: int, weights: Mapping[str, int]) -> dict[str, int]:
    """A whole number by weights, exact: what rounding leaves goes to the largest. Nobody's without weights."""
    total = sum(weight for weight in weights.values() if weight > 0)
    if not total:
        return {}
    parts = {name: whole * weight // total for name, weight in sorted(weights.items()) if weight > 0}
    parts[max(parts, key=lambda name: (weights[name], name))] += whole - sum(parts.values())
    return parts


def by_site(usage: Usage) -> dict[str, tuple[int, int]]:
    """Of one request by the sites that served it: (nano-dollars, output tokens). The nano-dollars sum to its cost."""
    tokens: dict[str, int] = defaultdict(int)
    prompts: dict[str, int] = defaultdict(int)
    for hop in usage.hops:
        tokens[hop.site_id] += hop.output_tokens
        prompts[hop.site_id] += hop.prompt_tokens
    weights: Mapping[str, int] = tokens if any(tokens.values()) else prompts
    if not any(weights.values()) and usage.hops:
        weights = {usage.hops[-1].site_id: 1}
    money = parted(usage.cost_nano_usd, weights)
    return {site: (money.get(site, 0), tokens[site]) for site in {*money, *tokens}}


def parts_of(record: Record) -> Iterator[Part]:
    """What one record adds where it is told once for ever; nothing of what may be told anew, or is not summed."""
    if isinstance(record, Usage):
        for site_id, (nano, tokens) in by_site(record).items():
            sums = {"requests": 1, "served_tokens": tokens, "nano_usd": nano}
            yield _part(site_subject(site_id), record, sums)
        return
    read = ONCE.get(type(record))
    if read is not None:
        yield _part(site_subject(record.subject), record, read(record))


def _part(subject: str, record: Record, sums: dict[str, int]) -> Part:
    return subject, record.at, {"records": 1, "simulated": int(record.kind != "measured"), **sums}


def _sample(one: Sample) -> dict[str, int]:
    sums = {"sampled_s": one.length_s}
    if one.power_w is not None:
        sums |= {"power_s": one.length_s, "power_ws": round(one.power_w * one.length_s)}
    if one.hashrate_hs is not None:
        sums |= {"hash_s": one.length_s, "hashes": round(one.hashrate_hs * one.length_s), "hash_samples": 1}
    if one.tokens is not None:
        sums |= {"token_samples": 1, "modelled_tokens": one.tokens}
    return sums


def _meter(one: MeterReading) -> dict[str, int]:
    sums = {"meters": 1, "heard_s": one.length_s if one.readings else 0}
    if one.power_w is not None:
        sums |= {"meter_s": one.length_s, "meter_ws": round(one.power_w * one.length_s)}
    return sums


def _shortfall(one: Shortfall) -> dict[str, int]:
    if one.kind == "forecast":
        return {}
    sums = {"shortfalls": 1, "full_wh": one.full_wh}
    for cause in CAUSES:
        if short := one.short_wh.get(cause):
            sums[f"short_wh_{cause}"] = short
        if lost := one.lost_sats.get(cause):
            sums[f"lost_sats_{cause}"] = lost
    if one.made_sats is not None and one.full_sats is not None:
        sums |= {"settled": 1, "made_sats": one.made_sats, "full_sats": one.full_sats}
    return sums


# What is told once for ever; `Usage` besides, which speaks of several sites.
ONCE: Final[Mapping[type[Record], Callable[[Any], dict[str, int]]]] = {
    Sample: _sample,
    MeterReading: _meter,
    Shortfall: _shortfall,
}


def _bill(one: PowerBill) -> dict[str, int]:
    whole, parts = one.cost_usd.as_integer_ratio()
    return {
        "bills": 1,
        "simulated_bills": int(one.kind == "simulated"),
        "mining_parts": parts_in(one.mining_wh),
        "inference_parts": parts_in(one.inference_wh),
        "aux_parts": parts_in(one.aux_wh),
        "cost_parts": whole * 10**PLACES // parts,
    }


def parts_in(number: float) -> int:
    """Of 1e-20, of the decimal that the record shows."""
    return int(Decimal(repr(number)).scaleb(PLACES).to_integral_value())


def _tick(one: PriceTick) -> dict[str, int]:
    return {"price_s": one.length_s, "price_micro_s": round(one.price_usd_per_mwh * 1e6) * one.length_s}


def bills_parts(bills: Iterable[PowerBill]) -> Iterator[Part]:
    """Of bills, each in its newest word."""
    for bill in newest_of(bill for bill in bills if bill.kind != "forecast"):
        yield _part(site_subject(bill.site_id), bill, _bill(bill))


def prices_parts(ticks: Iterable[PriceTick]) -> Iterator[Part]:
    """Of one market's prices, each in its newest word."""
    told = (tick for tick in ticks if tick.kind != "forecast")
    for tick in newest_by(told, lambda one: (one.at, one.length_s)).values():
        yield _part(market_subject(tick.market), tick, _tick(tick))


def add(added: dict[P, list[int]], place: P, sums: Mapping[str, int], sign: int = 1) -> None:
    """Add a part's sums to those of its place."""
    numbers = added.get(place)
    if numbers is None:
        numbers = added[place] = [0] * len(NAMES)
    for name, value in sums.items():
        numbers[PLACE[name]] += sign * value


def sums_in(numbers: Iterable[int]) -> RolledSums:
    """From numbers in the order of their names."""
    return RolledSums(**dict(zip(NAMES, numbers, strict=True)))


def total_of(rows: Iterable[RolledSums]) -> RolledSums:
    """Of several spans or subjects, exact."""
    return added_up([getattr(row, name) for name in NAMES] for row in rows)


def added_up(rows: Iterable[Iterable[int]]) -> RolledSums:
    """The same, of numbers in the order of their names."""
    columns = list(zip(*rows, strict=True))
    return sums_in(map(sum, columns)) if columns else RolledSums()


def sums_of(records: Iterable[Record]) -> RolledSums:
    """Of all these records together."""
    told = list(records)
    added: dict[None, list[int]] = {}
    for part in (
        *(p for one in told for p in parts_of(one)),
        *bills_parts(b for b in told if isinstance(b, PowerBill)),
    ):
        add(added, None, part[2])
    return sums_in(added[None]) if added else RolledSums()

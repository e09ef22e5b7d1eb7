"""A data folder as arrays for a backtest: what was true, and up to when it was known.

Reads through `feeds.recorded`, so columns, units and the moments of knowing have one home. Slots are quarter
hours from `start`; a slot is nan where nothing was recorded. Fees, demand's scale, contracts, orders, faults,
offers and peaks are assumed or invented, and every report says so.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median

import msgspec
import numpy as np

from tieline.backtest.peaks import Peak, Peaks
from tieline.backtest.reserved import HOUR_SLOTS, ReserveMarket, drawn_calls
from tieline.clock import micros, parse_utc
from tieline.dispatch import Settings
from tieline.dispatch.desk.peaks import odds_over
from tieline.dispatch.inputs.arrays import Floats, Ints
from tieline.dispatch.inputs.forecast import SLOT_S
from tieline.dispatch.settings import plausible
from tieline.economics import hashprice
from tieline.feeds.days.events import odds, offers, peaks, scenario_events
from tieline.feeds.days.folder import FolderError
from tieline.feeds.days.manifest import MANIFEST, manifest_of
from tieline.feeds.days.recorded import LOAD_HISTORY, RecordedFolder
from tieline.fleet import Fleet, Site
from tieline.fleet.currency import RateBook
from tieline.fleet.models import GPU_MODELS
from tieline.fleet.physics import GPU_AUX
from tieline.records import Commitment

HISTORY = timedelta(days=24)
TAIL = timedelta(days=3)
# Interactive work may go to a region within this round trip, 95th percentile, penalties at both ends included.
REACH_MS = 250.0


@dataclass(frozen=True)
class SiteEvent:
    """An invented happening at one site; `until` is when it ended, which nobody knew before."""

    kind: str
    site: int
    at: datetime
    until: datetime
    notice_s: int = 0
    limit_w: float | None = None
    share: float = 0.0
    factor: float = 1.0
    penalty_usd_per_mwh: float = 0.0


@dataclass(frozen=True)
class PriceArray:
    """(slots,) prices, for each slot the first slot that is not known yet when it begins, and slots of an interval."""

    values: Floats
    known: Ints
    interval: int = 3600 // SLOT_S


@dataclass(frozen=True)
class SlotSpan:
    """One unbroken stretch to run: slots [first, last) of the whole window."""

    label: str
    first: int
    last: int


@dataclass(frozen=True)
class ScenarioWorld:
    """Everything a backtest needs, in one window of slots from `start`."""

    fleet: Fleet
    start: datetime
    slots: int
    markets: dict[str, PriceArray]
    temp_c: Floats  # (slots, N)
    hashprice_usd: Floats  # (slots,)
    demand: dict[str, Floats]  # by region, output tokens/s
    inputs: dict[str, Floats]  # by region, input tokens per output token
    reach: dict[str, tuple[str, ...]]
    spans: tuple[SlotSpan, ...]
    events: tuple[SiteEvent, ...] = ()
    offers: tuple[Commitment, ...] = ()
    deployed_share: tuple[float, ...] = ()
    peaks: Peaks = field(default_factory=Peaks.none)
    reserves: ReserveMarket = field(default_factory=ReserveMarket)
    left_out: tuple[str, ...] = ()

    def when(self, slot: int) -> datetime:
        return self.start + timedelta(seconds=SLOT_S * slot)

    def slot(self, moment: datetime) -> int:
        return int((micros(moment) - micros(self.start)) // (SLOT_S * 1_000_000))


def load(
    folder: Path,
    spans: Sequence[tuple[str, datetime, datetime]],
    *,
    events: bool,
    gpu_share: float | None = None,
    use_15min: bool = True,
    settings: Settings | None = None,
    fleet: Fleet | None = None,
) -> ScenarioWorld:
    """`fleet`, or the folder's own, between the first span's start and the last one's end. A price that cannot be true
    by the settings is none. Raises FolderError."""
    settings = settings or Settings()
    source = RecordedFolder(folder)
    fleet = source.over(fleet) if fleet is not None else source.fleet()
    begin, end = min(s[1] for s in spans), max(s[2] for s in spans)
    start, stop = begin - HISTORY, end + TAIL
    slots = int((stop - start).total_seconds()) // SLOT_S
    fleet, left_out = _with_prices(_at_rates(fleet, source, begin), source, begin, end, use_15min)
    if gpu_share is not None:
        fleet = _with_gpus(fleet, gpu_share)
    bare = ScenarioWorld(fleet, start, slots, {}, np.empty(0), np.empty(0), {}, {}, {}, (), left_out=left_out)
    world = replace(
        bare,
        markets=_markets(source, bare, start, stop, settings),
        temp_c=_temperatures(source, bare, start, stop),
        hashprice_usd=_hashprices(source, bare, start, stop),
        reach=_reach(folder, fleet),
        spans=tuple(SlotSpan(label, bare.slot(a), bare.slot(b)) for label, a, b in spans),
    )
    demand, inputs = _demand(source, world, begin - timedelta(days=16), stop)
    world = replace(world, demand=demand, inputs=inputs)
    path = folder / "scenario" / "events.json"
    if not events:
        return world
    world = replace(world, reserves=_reserves(source, world))
    return _with_events(world, path, source) if path.exists() else replace(world, peaks=_peaks(world, None, source))


def _at_rates(fleet: Fleet, source: RecordedFolder, begin: datetime) -> Fleet:
    """Contracts of other currencies at the rate of the first day. Raises FolderError where that is not known."""
    book = RateBook()
    for one in source.exchange_rates(begin - HISTORY, begin):
        book.learn(one.currency, one.at, one.usd_per_unit)
    priced, why = fleet.at_rates(book, begin)
    for site_id, words in why.items():
        raise FolderError(f"{source.folder / 'fx' / 'daily.csv'}: {site_id} cannot be priced: {words}")
    return priced


def days_of(folder: Path) -> list[tuple[str, datetime, datetime]]:
    """The days that the folder says it is for, else the weeks of its events. Raises FolderError."""
    own = manifest_of(folder).days
    if own:
        return [(days.label, days.start, days.end) for days in own]
    if not (folder / "scenario" / "events.json").exists():
        raise FolderError(
            f"{folder}: neither {MANIFEST} nor scenario/events.json says which days; give --from and --to"
        )
    return weeks_of(folder)


def weeks_of(folder: Path) -> list[tuple[str, datetime, datetime]]:
    """The separate weeks that the folder's events name."""
    body = json.loads((folder / "scenario" / "events.json").read_text())
    return [(w["start"][:10], parse_utc(w["start"]), parse_utc(w["end"])) for w in body["weeks"]]


def _with_prices(
    fleet: Fleet, source: RecordedFolder, begin: datetime, end: datetime, use_15min: bool
) -> tuple[Fleet, tuple[str, ...]]:
    """Sites whose market has no price in the window cannot be settled: they are left out, by name."""
    hours = {tick.market for tick in source.prices(fleet, begin, end)}
    priced, out = [], []
    for site in fleet.sites:
        if site.contract.basis != "fixed" and site.contract.market not in hours:
            out.append(f"{site.id} (no price of {site.contract.market})")
            continue
        if not use_15min and site.contract.market_15min is not None:
            site = msgspec.structs.replace(site, contract=msgspec.structs.replace(site.contract, market_15min=None))
        priced.append(site)
    return msgspec.structs.replace(fleet, sites=tuple(priced)), tuple(out)


def _with_gpus(fleet: Fleet, share: float) -> Fleet:
    """The same sites with this share of their limit for GPU nodes and the rest for rigs."""
    node_w = GPU_MODELS["8xH100"].rated_w * (1.0 + GPU_AUX)
    like = next(n for s in fleet.sites for n in s.node_groups)
    sites: list[Site] = []
    for site in fleet.sites:
        nodes = int(site.interconnect.limit_w * share / node_w)
        feeder = f"{site.id}.f-gpu"
        group = msgspec.structs.replace(like, id=f"{site.id}.gpu", feeder=feeder, nodes=nodes)
        feeders = tuple(f for f in site.feeders if f.load == "mining")
        gpu_feeder = msgspec.structs.replace(feeders[0], id=feeder, load="inference")
        rigs_w = sum(g.rated_w for g in site.rig_groups)
        left = site.interconnect.limit_w * (1.0 - share)
        rigs = tuple(
            msgspec.structs.replace(g, rigs=int(g.rigs * left / rigs_w)) for g in site.rig_groups if rigs_w > 0
        )
        sites.append(
            msgspec.structs.replace(site, node_groups=(group,), feeders=(gpu_feeder, *feeders), rig_groups=rigs)
        )
    return msgspec.structs.replace(fleet, sites=tuple(sites))


def _markets(
    source: RecordedFolder, world: ScenarioWorld, start: datetime, stop: datetime, settings: Settings
) -> dict[str, PriceArray]:
    values: dict[str, Floats] = {}
    known_at: dict[str, Floats] = {}
    interval: dict[str, int] = {}
    for tick in source.prices(world.fleet, start, stop):
        if not plausible(tick, world.fleet, settings):
            continue
        interval[tick.market] = max(1, tick.length_s // SLOT_S)
        if tick.market not in values:
            values[tick.market] = np.full(world.slots, np.nan)
            known_at[tick.market] = np.full(world.slots, np.inf)
        first, count = world.slot(tick.at), max(1, tick.length_s // SLOT_S)
        values[tick.market][first : first + count] = tick.price_usd_per_mwh
        known_at[tick.market][first : first + count] = (micros(tick.known_at) - micros(start)) / (SLOT_S * 1e6)
    markets = {}
    for name, series in values.items():
        # Knowing moves forward only; a gap is passed over as if it were known to be missing.
        when = known_at[name]
        later = np.where(np.isinf(when), -np.inf, when)
        when = np.maximum.accumulate(later)
        known = np.searchsorted(when, np.arange(world.slots), side="right")
        markets[name] = PriceArray(series, known.astype(np.intp), interval[name])
    return markets


def _temperatures(source: RecordedFolder, world: ScenarioWorld, start: datetime, stop: datetime) -> Floats:
    stations: dict[str, Floats] = {}
    wet: dict[str, Floats] = {}
    for tick in source.weather(world.fleet, start, stop):
        series = stations.setdefault(tick.station, np.full(world.slots, np.nan))
        if tick.temp_c is not None:
            series[world.slot(tick.at) : world.slot(tick.at) + 4] = tick.temp_c
        if tick.wet_bulb_c is not None:
            series = wet.setdefault(tick.station, np.full(world.slots, np.nan))
            series[world.slot(tick.at) : world.slot(tick.at) + 4] = tick.wet_bulb_c
    out = np.full((world.slots, len(world.fleet.sites)), np.nan)
    for n, site in enumerate(world.fleet.sites):
        if site.weather_station in stations:
            dry = stations[site.weather_station]
            out[:, n] = dry + site.temp_offset_c
            if site.evaporative > 0.0 and site.weather_station in wet:
                out[:, n] -= site.evaporative * np.nan_to_num(np.maximum(0.0, dry - wet[site.weather_station]))
    return out


def _hashprices(source: RecordedFolder, world: ScenarioWorld, start: datetime, stop: datetime) -> Floats:
    out = np.full(world.slots, np.nan)
    for tick in source.network(start, stop):
        value = hashprice(tick.difficulty, tick.subsidy_btc, tick.fee_share, float(tick.btc_usd))
        out[max(0, world.slot(tick.at)) :] = value
    # The recording's first close is an hour in; that first hour takes it.
    good = np.flatnonzero(~np.isnan(out))
    if len(good):
        out[: good[0]] = out[good[0]]
    return out


def _demand(
    source: RecordedFolder, world: ScenarioWorld, start: datetime, stop: datetime
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    out = {s.region: np.full(world.slots, np.nan) for s in world.fleet.sites if s.node_groups}
    asked = {region: np.zeros(world.slots) for region in out}
    for tick in source.demand(world.fleet, start - timedelta(days=1), stop, 1.0):
        first = world.slot(tick.at)
        if tick.region in out and 0 <= first < world.slots:
            out[tick.region][first : first + 2] = tick.output_tokens_per_s
            asked[tick.region][first : first + 2] = tick.input_tokens_per_s
    inputs = {}
    for region, series in out.items():
        with np.errstate(invalid="ignore", divide="ignore"):
            inputs[region] = np.where(series > 0, asked[region] / series, 0.0)
        good = np.flatnonzero(~np.isnan(series))
        if len(good):  # a hole in the recording repeats the value before it
            place = np.maximum.accumulate(np.where(np.isnan(series), 0, np.arange(len(series))))
            out[region] = np.nan_to_num(series[place])
    return out, inputs


def _reach(folder: Path, fleet: Fleet) -> dict[str, tuple[str, ...]]:
    path = folder / "latency" / "azure_rtt_p95.csv"
    if not path.exists():  # nobody is near enough to serve another's users
        return {}
    with path.open(encoding="utf-8") as file:
        rtt = {(r["source"], r["destination"]): float(r["rtt_p95_ms"]) for r in csv.DictReader(file)}
    regions = sorted({s.region for s in fleet.sites if s.node_groups})
    reach: dict[str, tuple[str, ...]] = {}
    for home in regions:
        near = []
        for away in regions:
            trips = _trips_ms(fleet, home, away, rtt)
            if away != home and trips and median(trips) < REACH_MS:
                near.append((median(trips), away))
        reach[home] = tuple(away for _, away in sorted(near))
    return reach


def _trips_ms(fleet: Fleet, home: str, away: str, rtt: dict[tuple[str, str], float]) -> list[float]:
    """Round trips between every site of one region and every one of another, both sites' penalties included."""
    trips = []
    for a in (site for site in fleet.sites if site.region == home):
        for b in (site for site in fleet.sites if site.region == away):
            if a.network_region is None or b.network_region is None:
                continue
            same = a.network_region == b.network_region
            ms = 0.0 if same else rtt.get((a.network_region, b.network_region))
            if ms is not None:
                trips.append(ms + a.rtt_penalty_ms + b.rtt_penalty_ms)
    return trips


def _peaks(world: ScenarioWorld, path: Path | None, source: RecordedFolder) -> Peaks:
    """The windows that were peaks, and odds: those of the file, and those that the desk works out from system load."""
    rules = world.fleet.peak_rules
    paying = tuple(rule for rule in rules.values() if any(world.fleet.pays(site, rule) for site in world.fleet.sites))
    start, end = world.start, world.when(world.slots)
    loads = source.loads(world.fleet, start - LOAD_HISTORY, end)
    chances = odds_over(world.fleet, paying, loads, start, end) if loads else []
    if path is None:
        return Peaks.of(world.fleet, paying, (), chances)
    was = tuple(Peak(rule, at) for rule, at in peaks(path, rules))
    return Peaks.of(world.fleet, tuple(rules.values()), was, [*odds(path, start, end, rules), *chances])


def _reserves(source: RecordedFolder, world: ScenarioWorld) -> ReserveMarket:
    """What the folder says that products cleared at which some site is qualified for, but for those that take load."""
    start = world.start
    price: dict[str, Floats] = {}
    prices: dict[str, Floats] = {}
    for one in source.reserves(world.fleet, start, world.when(world.slots)):
        if world.fleet.reserve_products[one.product].takes:
            continue
        series = price.setdefault(one.product, np.full(world.slots, np.nan))
        hour = slice(world.slot(one.at), world.slot(one.at) + HOUR_SLOTS)
        series[hour] = one.price_usd_per_mw_h
        prices.setdefault(one.product, np.full(world.slots, -np.inf))[hour] = world.slot(one.known_at)
    products = tuple(p for name, p in world.fleet.reserve_products.items() if name in price)
    calls = {p.name: drawn_calls(p, start, world.slots) for p in products}
    known = {
        name: np.searchsorted(np.maximum.accumulate(when), np.arange(world.slots), side="right").astype(np.intp)
        for name, when in prices.items()
    }
    return ReserveMarket(products, price, known, calls)


def _with_events(world: ScenarioWorld, path: Path, source: RecordedFolder) -> ScenarioWorld:
    place = {site.id: n for n, site in enumerate(world.fleet.sites)}
    ids, start, end = frozenset(place), world.start, world.when(world.slots)
    events = [
        SiteEvent(
            kind=event.kind,
            site=place[event.site_id],
            at=event.at,
            until=event.until,
            notice_s=event.notice_s,
            limit_w=event.limit_w,
            share=event.share or 0.0,
            factor=event.factor or 1.0,
            penalty_usd_per_mwh=event.penalty_usd_per_mwh,
        )
        for event in scenario_events(path, ids)
    ]
    offered = offers(path, start, end, ids, 1.0)
    return replace(
        world,
        events=tuple(events),
        offers=tuple(offer.promise for offer in offered),
        deployed_share=tuple(offer.called_share for offer in offered),
        peaks=_peaks(world, path, source),
    )

"""What dispatch does with a site's megawatts at each hashprice, by month: the backtest's core on recorded days.

For each level of the hashprice, and for each room that GPUs may leave under the interconnect, the days are run once and
every site's hashes, energy, bill, wear and peak charges are kept. Sites without inference do not touch each other, so
one run of a fleet measures all of them.

Years read these figures in between. Two facts of dispatch make one grid enough (wear apart, which is small):
power at k times its price and hashes at h are worth what power at its price and hashes at h / k are, times k; and rigs
of another efficiency are at the same point where hashprice over J/TH is the same.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import joblib
import msgspec
import numpy as np
from numpy.typing import NDArray

import tieline
from tieline import backtest, config, dispatch, fleet
from tieline.backtest.data import HISTORY, TAIL, ScenarioWorld, load
from tieline.backtest.lookahead import Tieline
from tieline.backtest.plant import Plant
from tieline.backtest.policies import AlwaysOn, Policy
from tieline.backtest.run import drive, settings_for
from tieline.config.lines import MistakeError
from tieline.dispatch import Settings
from tieline.feeds.days.example import write_example
from tieline.feeds.days.folder import FolderError
from tieline.feeds.days.manifest import manifest_of
from tieline.feeds.days.recorded import RecordedFolder
from tieline.fleet import Fleet, Site
from tieline.study.file import Operation, Study

Floats = NDArray[np.float64]

# What is kept of each site and month, per month of 730.5 hours.
KEPT: Final = ("ph_days", "mwh", "power_usd", "wear_usd", "peaks_usd", "off_hours")
MONTH_H: Final = 730.5
# Where days are looked for when the file names no months.
EARLIEST: Final = datetime(2012, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2040, 1, 1, tzinfo=UTC)


@dataclass
class SiteMeter:
    """(N,) sums of each recorded month."""

    sites: int
    months: dict[str, dict[str, Floats]] = field(default_factory=dict)
    hours: dict[str, float] = field(default_factory=dict)

    def of(self, month: str) -> dict[str, Floats]:
        return self.months.setdefault(month, {name: np.zeros(self.sites) for name in KEPT})


class MeteredPlant(Plant):
    """The plant of the backtest, with each site's own account."""

    def __init__(self, *given: Any, meter: SiteMeter, **named: Any) -> None:
        super().__init__(*given, **named)
        self.meter = meter

    def _book(self, step: Any, drawn: Any, served: Any) -> None:
        super()._book(step, drawn, served)
        sites, hours = len(self.world.fleet.sites), step.hours
        month = self.world.when(step.slot).strftime("%Y-%m")
        kept = self.meter.of(month)
        self.meter.hours[month] = self.meter.hours.get(month, 0.0) + hours
        hash_hs, started = np.zeros(sites), np.zeros(sites)
        np.add.at(hash_hs, self.physics.site_of, drawn.hashrate_hs)
        turned = drawn.started[self.rig_rows] / np.maximum(1.0, self.physics.rigs[self.rig_rows])
        np.add.at(started, self.fleet.site, turned * self.fleet.wear_usd)
        mwh = self.load_w / 1e6 * hours
        kept["ph_days"] += hash_hs / 1e15 * hours / 24.0
        kept["mwh"] += mwh
        kept["power_usd"] += np.where(self.fixed, 0.0, mwh * self.true_price[0][step.slot])
        kept["wear_usd"] += started
        kept["off_hours"] += (hash_hs <= 0.0) * hours
        if self.world.peaks.was:
            for n in range(sites):
                alone = np.zeros(sites)
                alone[n] = self.load_w[n]
                kept["peaks_usd"][n] += self.world.peaks.charge_usd(step.begin, step.seconds, alone)

    def _close_hour(self, above: Floats, below: Floats, next_slot: int, day: str) -> None:
        take = self.take_w / 1e6
        paid = above * np.maximum(self.hour_mwh, take) - below * np.maximum(0.0, take - self.hour_mwh)
        self.meter.of(day[:7])["power_usd"] += np.where(self.fixed, paid, 0.0)
        super()._close_hour(above, below, next_slot, day)


@dataclass(frozen=True)
class SiteSurface:
    """One site: (12 months, rooms, levels) of each of KEPT, for the whole interconnect; `always` (12, rooms) of rigs
    that never rest. `market` is the column of its power factor."""

    site: str
    limit_mw: float
    j_per_th: float
    rated_ph: float
    market: int
    levels: Floats
    rooms: Floats
    at: dict[str, Floats]
    always: dict[str, Floats]


@dataclass(frozen=True)
class StudySurfaces:
    """All sites of a study, where they come from, and what they stand on."""

    by_site: dict[str, SiteSurface]
    markets: tuple[str, ...]
    days: tuple[str, ...]
    invented: bool
    digest: str


def build(study: Study, cache: Path, jobs: int = 1, said: Callable[[str], None] = lambda _: None) -> StudySurfaces:
    """Run what is not in the cache yet. Raises MistakeError, FolderError, config.ConfigError."""
    operation = study.operation
    whole = config.demo().fleet if operation.fleet == "demo" else config.load(operation.fleet).fleet
    folder = _folder(operation, cache)
    world, spans = _world(study, whole, folder)
    key = _digest(operation, world.fleet, folder)
    points: list[tuple[str, float, float]] = [("always", 100.0, room) for room in operation.rooms]
    points += [("dispatch", level, room) for room in operation.rooms for level in operation.levels]
    wanted = [point for point in points if not _file(cache, key, point).exists()]
    if wanted:
        said(f"running {len(wanted)} of {len(points)} points of dispatch on {len(spans)} months of days")
    joblib.Parallel(n_jobs=jobs)(joblib.delayed(_run_into)(world, point, _file(cache, key, point)) for point in wanted)
    kept = {point: _read(_file(cache, key, point)) for point in points}
    return _surfaces(study, world, kept, spans, key, manifest_of(folder).invented)


def outright(study: Study, cache: Path, level: float, room: float, power: float = 1.0) -> SiteMeter:
    """The same days run at one hashprice, one room and power at `power` times its price, without a grid."""
    operation = study.operation
    whole = config.demo().fleet if operation.fleet == "demo" else config.load(operation.fleet).fleet
    world, _ = _world(study, whole, _folder(operation, cache))
    markets = {name: replace(one, values=one.values * power) for name, one in world.markets.items()}
    return _run(replace(world, markets=markets), ("dispatch", level, room))


def _folder(operation: Operation, cache: Path) -> Path:
    if operation.days != "example":
        return Path(operation.days)
    folder = cache / f"example-{tieline.__version__}"
    if not folder.exists():
        write_example(folder)
    return folder


def _world(study: Study, whole: Fleet, folder: Path) -> tuple[ScenarioWorld, list[str]]:
    """The sites' days, without inference. Raises MistakeError: a site without a pattern or without a price."""
    known = {site.id: site for site in whole.sites}
    picked: dict[str, Site] = {}
    for n, one in enumerate(study.site):
        like = one.like or one.id
        if like not in known:
            near = ", ".join(sorted(known)[:6])
            raise MistakeError(("site", n, "like"), f"the fleet has no site {like!r}", f"write one of {near}, ...")
        site = known[like]
        if not site.rig_groups:
            raise MistakeError(("site", n, "like"), f"{like} has no rigs to dispatch", "name a site that mines")
        mining = tuple(feeder for feeder in site.feeders if feeder.load == "mining")
        picked[like] = msgspec.structs.replace(site, node_groups=(), feeders=mining)
    used: Fleet = msgspec.structs.replace(whole, sites=tuple(picked.values()))
    spans = _spans(folder, study.operation, used)
    try:
        world = load(folder, spans, events=False, use_15min=False, fleet=used)
    except ValueError as error:
        raise MistakeError(("operation", "days"), str(error), "give a folder that holds these sites' days") from error
    for n, one in enumerate(study.site):
        if any(left.startswith(f"{one.like or one.id} ") for left in world.left_out):
            raise MistakeError(("site", n, "like"), f"its market has no price in {folder}", "give days of its market")
    return replace(world, demand={}, inputs={}), [label for label, _, _ in spans]


def _spans(folder: Path, operation: Operation, used: Fleet) -> list[tuple[str, datetime, datetime]]:
    """What is run of each month: `days_of_month` days from the first that has its history before it, at most to the
    month's end. Raises FolderError."""
    first, last = (operation.first or "2009-01"), (operation.last or "2100-12")
    begin, end = _beginning(first), _after(_beginning(last))
    source = RecordedFolder(folder)
    told = [
        tick.at for tick in source.prices(source.over(used), max(begin - HISTORY, EARLIEST), min(end + TAIL, LATEST))
    ]
    if not told:
        raise FolderError(f"{folder}: no prices of these sites' markets; give a folder that has them")
    begin = max(begin, _midnight(min(told) + HISTORY))
    end = min(end, _midnight(max(told) - TAIL) + timedelta(days=1))
    spans = []
    at = begin
    while at < end:
        after = _after(at)
        until = min(after, end, at + timedelta(days=operation.days_of_month))
        if until - at >= timedelta(days=1):
            spans.append((f"{at:%Y-%m}", at, until))
        at = after
    if not spans:
        raise FolderError(f"{folder}: no whole day of prices; give a folder with days")
    return spans


def _beginning(month: str) -> datetime:
    return datetime(int(month[:4]), int(month[5:]), 1, tzinfo=UTC)


def _after(at: datetime) -> datetime:
    """The first of the next month."""
    return datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC)


def _midnight(at: datetime) -> datetime:
    """The first midnight that is not before it."""
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    return day if day == at else day + timedelta(days=1)


def _run_into(world: ScenarioWorld, point: tuple[str, float, float], path: Path) -> None:
    """One point of the grid onto disk, whole or not at all."""
    meter = _run(world, point)
    months = sorted(meter.months)
    arrays: dict[str, Any] = {name: np.stack([meter.months[m][name] for m in months]) for name in KEPT}
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with os.fdopen(handle, "wb") as file:
        np.savez(file, months=np.array(months), hours=np.array([meter.hours[m] for m in months]), **arrays)
    os.replace(part, path)


def _run(world: ScenarioWorld, point: tuple[str, float, float]) -> SiteMeter:
    how, level, room = point
    sites = tuple(
        msgspec.structs.replace(
            site, interconnect=msgspec.structs.replace(site.interconnect, limit_w=site.interconnect.limit_w * room)
        )
        for site in world.fleet.sites
    )
    here = replace(
        world,
        fleet=msgspec.structs.replace(world.fleet, sites=sites),
        hashprice_usd=np.full(world.slots, level),
    )
    meter = SiteMeter(len(sites))
    policy: Policy = AlwaysOn() if how == "always" else Tieline()

    def plant(*given: Any, **named: Any) -> Plant:
        return MeteredPlant(*given, meter=meter, **named)

    drive(here, policy, settings_for(Settings(), here), 3600, plant=plant)
    return meter


def _read(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def _file(cache: Path, key: str, point: tuple[str, float, float]) -> Path:
    how, level, room = point
    return cache / "surfaces" / key / f"{how}-{level:g}-{room:g}.npz"


def _digest(operation: Operation, used: Fleet, folder: Path) -> str:
    """Of everything that the surfaces stand on: days, fleet, what is run, and the code that runs it."""
    sha = hashlib.sha256(msgspec.json.encode([operation.days_of_month, used]))
    for module in (backtest, dispatch, fleet):
        for path in sorted(Path(inspect.getfile(module)).parent.rglob("*.py")):
            sha.update(path.read_bytes())
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            sha.update(path.relative_to(folder).as_posix().encode())
            sha.update(path.read_bytes())
    return sha.hexdigest()[:24]


def _surfaces(
    study: Study,
    world: ScenarioWorld,
    kept: dict[tuple[str, float, float], dict[str, NDArray[Any]]],
    spans: Sequence[str],
    key: str,
    invented: bool,
) -> StudySurfaces:
    operation = study.operation
    levels, rooms = np.array(operation.levels), np.array(operation.rooms)
    markets = tuple(sorted({site.contract.market or site.id for site in world.fleet.sites}))
    found = {}
    for one in study.site:
        n = next(n for n, site in enumerate(world.fleet.sites) if site.id == (one.like or one.id))
        site = world.fleet.sites[n]
        at = {
            name: np.stack(
                [
                    np.stack([_year(kept["dispatch", level, room], name, n) for level in operation.levels], axis=1)
                    for room in operation.rooms
                ],
                axis=1,
            )
            for name in KEPT
        }
        always = {
            name: np.stack([_year(kept["always", 100.0, room], name, n) for room in operation.rooms], axis=1)
            for name in KEPT
        }
        rated_w, rated_hs = sum(g.rated_w for g in site.rig_groups), site.deployed_hs
        found[one.id] = SiteSurface(
            site=site.id,
            limit_mw=site.interconnect.limit_w / 1e6,
            j_per_th=rated_w / (rated_hs / 1e12),
            rated_ph=rated_hs / 1e15,
            market=markets.index(site.contract.market or site.id),
            levels=levels,
            rooms=rooms,
            at=at,
            always=always,
        )
    return StudySurfaces(found, markets, tuple(spans), invented, key)


def _year(one: dict[str, NDArray[Any]], name: str, site: int) -> Floats:
    """(12,) by calendar month, each scaled to a month; a month that was not recorded is the mean of those that were."""
    sums, hours, months = one[name][:, site], one["hours"], [int(str(m)[5:]) for m in one["months"]]
    found = np.full(12, np.nan)
    for month in set(months):
        rows = [n for n, other in enumerate(months) if other == month]
        found[month - 1] = sums[rows].sum() / hours[rows].sum() * MONTH_H
    return np.where(np.isnan(found), sums.sum() / hours.sum() * MONTH_H, found)

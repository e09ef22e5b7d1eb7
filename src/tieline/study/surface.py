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
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import joblib
import msgspec
import numpy as np
from numpy.typing import NDArray

from tieline import backtest, config, dispatch, fleet
from tieline.backtest.data import ScenarioWorld
from tieline.dispatch import Settings
from tieline.dispatch.inputs.arrays import LOW, fleet_arrays
from tieline.feeds.days.manifest import manifest_of
from tieline.fleet import Contract, Fleet
from tieline.study import ground, meter, nodes, weeks
from tieline.study.file import Operation, Study
from tieline.study.ground import days_folder, fixed_price, picked_sites, season_of, world_of
from tieline.study.meter import APART, KEPT, Floats, SiteMeter, run_point
from tieline.study.nodes import steady_share
from tieline.study.weeks import PlainStrike, RunDays

MONTH_H: Final = 730.5


@dataclass(frozen=True)
class SiteSurface:
    """One site: (12 months, rooms, levels) of each of KEPT, for the whole interconnect; `always` (12, rooms) of rigs
    that never rest; `beside` (12, shares, levels) of the rigs with nodes that may draw these `shares` of the limit and
    are asked for a share `load` of what they can serve. `market` is the column of its power factor; None: its contract
    is at a fixed price."""

    site: str
    limit_mw: float
    j_per_th: float
    rated_ph: float
    market: int | None
    levels: Floats
    rooms: Floats
    at: dict[str, Floats]
    always: dict[str, Floats]
    shares: Floats = field(default_factory=lambda: np.empty(0))
    beside: dict[str, Floats] = field(default_factory=dict)
    load: float = 1.0
    # (2, steps) cumulated over the best rigs first, low mode before normal: share of the rigs' draw, of their hashes.
    merit: Floats = field(default_factory=lambda: np.array([[0.0, 1.0], [0.0, 1.0]]))


@dataclass(frozen=True)
class StudySurfaces:
    """All sites of a study, where they come from, and what they stand on."""

    by_site: dict[str, SiteSurface]
    markets: tuple[str, ...]
    days: tuple[str, ...]
    invented: bool
    digest: str
    ran: str = ""  # of these months, in words


def build(study: Study, cache: Path, jobs: int = 1, said: Callable[[str], None] = lambda _: None) -> StudySurfaces:
    """Run what is not in the cache yet. Raises MistakeError, FolderError, config.ConfigError."""
    operation = study.operation
    whole = config.demo().fleet if operation.fleet == "demo" else config.load(operation.fleet).fleet
    folder = days_folder(operation, cache)
    key = _digest(operation, msgspec.structs.replace(whole, sites=picked_sites(study, whole)), folder)
    kept_whole = cache / "surfaces" / key / f"whole-{_asked(study)}.npz"
    if kept_whole.exists():
        return _whole(study, kept_whole)
    world, days = world_of(study, whole, folder)
    points: list[tuple[str, float, float]] = [("always", 100.0, room) for room in operation.rooms]
    points += [("dispatch", level, room) for room in operation.rooms for level in operation.levels]
    points += [("beside", level, share) for share in operation.gpu_shares for level in operation.levels]
    wanted = [point for point in points if not _file(cache, key, point).exists()]
    if wanted:
        said(f"running {len(wanted)} of {len(points)} points of dispatch on {days_of(days)}")
    joblib.Parallel(n_jobs=jobs)(
        joblib.delayed(_run_into)(world, point, days, operation.gpu_load, _file(cache, key, point)) for point in wanted
    )
    plain = PlainStrike(world, days, steady_share(operation.gpu_load))
    carried = {point: _carried(plain, point, _read(_file(cache, key, point))) for point in points}
    surfaces = _surfaces(study, world, carried, days, key, manifest_of(folder).invented)
    _keep_whole(surfaces, kept_whole)
    return surfaces


def outright(study: Study, cache: Path, level: float, room: float, power: float = 1.0, share: float = 0.0) -> SiteMeter:
    """All recorded days of the study's months run at one hashprice, one room, or beside nodes of a share, and power at
    `power` times its price, without a grid and without days that stand for others. A fixed contract keeps its price."""
    operation = study.operation
    whole = config.demo().fleet if operation.fleet == "demo" else config.load(operation.fleet).fleet
    world, days = world_of(study, whole, days_folder(operation, cache), all_days=True)
    sites = tuple(
        site if fixed_price(site) else msgspec.structs.replace(site, contract=_dearer(site.contract, power))
        for site in world.fleet.sites
    )
    used = msgspec.structs.replace(world.fleet, sites=sites)
    point = ("beside", level, share) if share else ("dispatch", level, room)
    return run_point(replace(world, fleet=used), point, replace(days, apart=frozenset()), operation.gpu_load)


def _dearer(contract: Contract, power: float) -> Contract:
    return msgspec.structs.replace(
        contract,
        scale=contract.scale * power,
        adder_usd_per_mwh=contract.adder_usd_per_mwh * power,
        network=tuple(msgspec.structs.replace(band, usd_per_mwh=band.usd_per_mwh * power) for band in contract.network),
    )


def days_of(days: RunDays) -> str:
    """In words."""
    count = sum((end - begin).days for _, begin, end in days.run)
    of = sum((end - begin).days for _, begin, end in days.months)
    return f"{count} of {of} days in {len(days.months)} months"


# What a site's surface is beside its arrays.
_FACTS: Final = ("site", "limit_mw", "j_per_th", "rated_ph", "market", "load")


def _asked(study: Study) -> str:
    """Of what a study reads of the points that are run, in a few letters."""
    one = study.operation
    read = [[(site.id, site.like) for site in study.site], one.levels, one.rooms, one.gpu_shares]
    return hashlib.sha256(msgspec.json.encode(read)).hexdigest()[:16]


def _keep_whole(surfaces: StudySurfaces, path: Path) -> None:
    """What the points came to, so that no day has to be read again. Sites that are alike are kept once."""
    by_like = {one.site: one for one in surfaces.by_site.values()}
    arrays = {
        f"{like}/{table}/{name}": values
        for like, one in by_like.items()
        for table in ("at", "always", "beside")
        for name, values in getattr(one, table).items()
    } | {f"{like}/merit/merit": one.merit for like, one in by_like.items()}
    facts = {
        "markets": surfaces.markets, "days": surfaces.days, "invented": surfaces.invented, "digest": surfaces.digest,
        "ran": surfaces.ran,
        "sites": {like: [getattr(one, name) for name in _FACTS] for like, one in by_like.items()},
    }  # fmt: skip
    _save(path, {"facts": np.frombuffer(msgspec.json.encode(facts), dtype=np.uint8), **arrays})


def _whole(study: Study, path: Path) -> StudySurfaces:
    one = study.operation
    with np.load(path) as file:
        facts = msgspec.json.decode(file["facts"].tobytes())
        tables: dict[str, dict[str, dict[str, Floats]]] = {}
        for key in file.files:
            if key != "facts":
                like, table, name = key.split("/")
                tables.setdefault(like, {"at": {}, "always": {}, "beside": {}, "merit": {}})[table][name] = file[key]
    alike = {
        like: SiteSurface(
            **dict(zip(_FACTS, said, strict=True)),
            levels=np.array(one.levels),
            rooms=np.array(one.rooms),
            shares=np.array(one.gpu_shares),
            at=tables[like]["at"],
            always=tables[like]["always"],
            beside=tables[like]["beside"],
            merit=tables[like]["merit"]["merit"],
        )
        for like, said in facts["sites"].items()
    }
    by_site = {site.id: alike[site.like or site.id] for site in study.site}
    markets, days = tuple(facts["markets"]), tuple(facts["days"])
    return StudySurfaces(by_site, markets, days, facts["invented"], facts["digest"], facts["ran"])


def _save(path: Path, arrays: dict[str, Any]) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with os.fdopen(handle, "wb") as file:
        np.savez(file, **arrays)
    os.replace(part, path)


def _run_into(
    world: ScenarioWorld, point: tuple[str, float, float], days: RunDays, gpu_load: float, path: Path
) -> None:
    """One point of the grid onto disk, whole or not at all."""
    measured = run_point(world, point, days, gpu_load)
    months = sorted(measured.months)
    arrays: dict[str, Any] = {name: np.stack([measured.months[m][name] for m in months]) for name in KEPT}
    hours = np.array([measured.hours[month] for month in months])
    _save(path, {"months": np.array(months), "hours": hours, **arrays})


def _read(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def _file(cache: Path, key: str, point: tuple[str, float, float]) -> Path:
    how, level, room = point
    return cache / "surfaces" / key / f"{how}-{level:g}-{room:g}.npz"


def _digest(operation: Operation, used: Fleet, folder: Path) -> str:
    """Of everything that the surfaces stand on: days, fleet, what is run, and the code that runs it."""
    sha = hashlib.sha256(msgspec.json.encode([*_days_asked(operation), operation.gpu_load, used]))
    for module in (backtest, dispatch, fleet):
        for path in sorted(Path(inspect.getfile(module)).parent.rglob("*.py")):
            sha.update(path.read_bytes())
    for path in (Path(__file__), *(Path(inspect.getfile(module)) for module in (ground, meter, nodes, weeks))):
        sha.update(path.read_bytes())
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            sha.update(path.relative_to(folder).as_posix().encode())
            sha.update(path.read_bytes())
    return sha.hexdigest()[:24]


def _days_asked(operation: Operation) -> tuple[object, ...]:
    return operation.days_of_month, operation.first, operation.last


def _surfaces(
    study: Study,
    world: ScenarioWorld,
    readings: dict[tuple[str, float, float], dict[str, NDArray[Any]]],
    days: RunDays,
    key: str,
    invented: bool,
) -> StudySurfaces:
    operation = study.operation
    levels, rooms = np.array(operation.levels), np.array(operation.rooms)
    markets = tuple(sorted({site.contract.market or "" for site in world.fleet.sites if not fixed_price(site)}))
    surfaces = {}
    for one in study.site:
        n = next(n for n, site in enumerate(world.fleet.sites) if site.id == (one.like or one.id))
        site = world.fleet.sites[n]
        season = season_of(world, site)

        def grid(how: str, level: float, name: str, n: int = n, season: frozenset[int] = season) -> Floats:
            """(12, rooms), or (12, shares), of one level."""
            points = (readings[how, level, at] for at in (operation.gpu_shares if how == "beside" else operation.rooms))
            if name == "peaks_usd":
                return np.stack([_peaks_of_year(point, n, season) for point in points], axis=1)
            return np.stack([_year(point, name, n) for point in points], axis=1)

        at = _of_levels(grid, "dispatch", operation)
        always = {name: grid("always", 100.0, name) for name in KEPT}
        rated_w, rated_hs = sum(g.rated_w for g in site.rig_groups), site.deployed_hs
        surfaces[one.id] = SiteSurface(
            site=site.id,
            limit_mw=site.interconnect.limit_w / 1e6,
            j_per_th=rated_w / (rated_hs / 1e12),
            rated_ph=rated_hs / 1e15,
            market=None if fixed_price(site) else markets.index(site.contract.market or ""),
            levels=levels,
            rooms=rooms,
            at=at,
            always=always,
            shares=np.array(operation.gpu_shares),
            beside=_of_levels(grid, "beside", operation) if operation.gpu_shares else {},
            load=operation.gpu_load,
            merit=_merit(world.fleet, n),
        )
    return StudySurfaces(surfaces, markets, tuple(label for label, _, _ in days.months), invented, key, days_of(days))


def _merit(whole: Fleet, place: int) -> Floats:
    """(2, steps) of the site at this place: what the best steps draw, and what they hash, of all."""
    arrays = fleet_arrays(whole, Settings())
    steps = [(0.0, 0.0)]
    for groups, up in arrays.ranks:
        for g in groups[arrays.site[groups] == place]:
            watts, hashes = (1.0 - LOW.power_share, 1.0 - LOW.hash_share) if up else (LOW.power_share, LOW.hash_share)
            steps.append((float(arrays.rated_w[g]) * watts, float(arrays.rated_hs[g]) * hashes))
    sums = np.cumsum(np.array(steps), axis=0).T
    return np.asarray(sums / sums[:, -1:])


def _of_levels(grid: Callable[[str, float, str], Floats], how: str, operation: Operation) -> dict[str, Floats]:
    return {name: np.stack([grid(how, level, name) for level in operation.levels], axis=2) for name in KEPT}


def _carried(plain: PlainStrike, point: tuple[str, float, float], reading: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """One point's months as if all their recorded days had been run."""
    rows = {str(month): n for n, month in enumerate(reading["months"])}
    months = [month for month in rows if not month.endswith(APART)]
    usual = {name: reading[name][[rows[month] for month in months]] for name in KEPT}
    apart = {name: np.zeros_like(usual[name]) for name in KEPT}
    for n, month in enumerate(months):
        if month + APART in rows:
            for name in KEPT:
                apart[name][n] = reading[name][rows[month + APART]]
    return {**plain.carried(point, usual, apart), "months": months, "hours": plain.hours}


def _year(one: dict[str, NDArray[Any]], name: str, site: int) -> Floats:
    """(12,) by calendar month, each scaled to a month; a month that was not recorded is the mean of those that were."""
    sums, hours, months = one[name][:, site], one["hours"], _calendar(one)
    year = np.full(12, sums.sum() / hours.sum() * MONTH_H)
    for month in set(months):
        rows = months == month
        year[month - 1] = sums[rows].sum() / hours[rows].sum() * MONTH_H
    return year


def _peaks_of_year(one: dict[str, NDArray[Any]], site: int, season: frozenset[int]) -> Floats:
    """(12,) peak charges by calendar month, which come once however many hours were recorded around them. A month of
    the season that was not recorded is the mean of those that were; no other month has any."""
    sums, months = one["peaks_usd"][:, site], _calendar(one)
    known = np.isin(months, sorted(season))
    bill = np.zeros(12)
    if known.any():
        bill[[month - 1 for month in season]] = sums[known].mean()
    for month in set(months):
        bill[month - 1] = sums[months == month].mean()
    return bill


def _calendar(one: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
    """The calendar months, 1 to 12, of what was recorded."""
    return np.array([int(str(month)[5:]) for month in one["months"]])

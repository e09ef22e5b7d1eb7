"""The recorded days that a study stands on: its sites with rigs alone, at their markets' prices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

import tieline
from tieline.backtest.data import ScenarioWorld, SlotSpan, load
from tieline.config.lines import MistakeError
from tieline.feeds.days.example import write_example
from tieline.fleet import Fleet, Site
from tieline.study.file import Operation, Study
from tieline.study.nodes import with_nodes
from tieline.study.weeks import WARM_UP, RunDays, days_to_run

# A market is known where it has a price in this share of the recorded hours.
KNOWN_SHARE: Final = 0.9


def days_folder(operation: Operation, cache: Path) -> Path:
    if operation.days != "example":
        return Path(operation.days)
    folder = cache / f"example-{tieline.__version__}"
    if not folder.exists():
        write_example(folder)
    return folder


def picked_sites(study: Study, whole: Fleet) -> tuple[Site, ...]:
    """Each site of the fleet that the study's are like, once, with its rigs alone. Raises MistakeError."""
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
        limit_mw = site.interconnect.limit_w / 1e6
        if like == one.id and one.mw > limit_mw * 1.000001:
            raise MistakeError(
                ("site", n, "mw"), f"{one.mw:g} MW, its interconnect has {limit_mw:g}", "write MW, not kW, within it"
            )
        picked[like] = msgspec.structs.replace(site, node_groups=(), feeders=mining)
    return tuple(picked.values())


def world_of(study: Study, whole: Fleet, folder: Path, all_days: bool = False) -> tuple[ScenarioWorld, RunDays]:
    """The sites' days with their coincident peaks, without inference, orders and faults. Raises MistakeError: a site
    without a pattern or without a price."""
    used: Fleet = msgspec.structs.replace(whole, sites=picked_sites(study, whole))
    try:
        days = days_to_run(folder, study.operation, used)
        days = days.whole if all_days else days
        world = load(folder, days.months, events=True, use_15min=False, fleet=_asking(used, study.operation))
        world = replace(world, fleet=_known(used, world.fleet))
    except ValueError as error:
        raise MistakeError(("operation", "days"), str(error), "give a folder that holds these sites' days") from error
    for n, one in enumerate(study.site):
        if any(left.startswith(f"{one.like or one.id} ") for left in world.left_out):
            raise MistakeError(("site", n, "like"), f"its market has no price in {folder}", "give days of its market")
    _check_prices(study, world, days)
    run = tuple(SlotSpan(label, world.slot(begin - WARM_UP), world.slot(end)) for label, begin, end in days.run)
    _check_demand(study, world)
    return replace(world, spans=run, events=(), offers=(), deployed_share=()), days


def _check_prices(study: Study, world: ScenarioWorld, days: RunDays) -> None:
    """Raises MistakeError where a market that a site buys at has no price in over a tenth of the recorded hours: the
    backtest settles such hours at the last price known, and a year of those is no year."""
    place = {site.id: site for site in world.fleet.sites}
    for n, one in enumerate(study.site):
        site = place[one.like or one.id]
        series = world.markets.get(site.contract.market or "")
        if fixed_price(site) or series is None:
            continue
        prices = [series.values[world.slot(begin) : world.slot(end)] for _, begin, end in days.months]
        share = float(np.isfinite(np.concatenate(prices)).mean())
        if share < KNOWN_SHARE:
            raise MistakeError(
                ("site", n, "like"),
                f"its market has a price in {share:.0%} of these hours",
                "give days of its market, or other months (first, last)",
            )


def _asking(used: Fleet, operation: Operation) -> Fleet:
    """With a node at each site where nodes are to be run, so that their regions' demand is read."""
    if not operation.gpu_shares:
        return used
    sites = tuple(with_nodes(site, 0.0, site.region) for site in used.sites)
    return msgspec.structs.replace(used, sites=sites)


def _known(used: Fleet, loaded: Fleet) -> Fleet:
    """The loaded fleet, its contracts at the days' rates, with the units that it had before."""
    units = {site.id: site for site in used.sites}
    sites = tuple(
        msgspec.structs.replace(site, node_groups=(), feeders=units[site.id].feeders) for site in loaded.sites
    )
    return msgspec.structs.replace(loaded, sites=sites)


def _check_demand(study: Study, world: ScenarioWorld) -> None:
    """Raises MistakeError."""
    for site in world.fleet.sites if study.operation.gpu_shares else ():
        series = world.demand.get(site.region)
        if series is None or not np.isfinite(series).all() or series.mean() <= 0:
            raise MistakeError(
                ("operation", "gpu_shares"),
                f"the days have no demand of {site.region}, where {site.id} is",
                "give days with llm_demand, or leave gpu_shares out",
            )


def season_of(world: ScenarioWorld, site: Site) -> frozenset[int]:
    """The calendar months in which a coincident peak that this site pays for may lie."""
    rules = {peak.rule.name: peak.rule for peak in world.peaks.was}
    return frozenset(month for rule in rules.values() if world.fleet.pays(site, rule) for month in rule.months)


def fixed_price(site: Site) -> bool:
    """Its power has one price, whatever its market does."""
    return site.contract.basis == "fixed"

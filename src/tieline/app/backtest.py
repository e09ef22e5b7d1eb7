"""Policies on recorded days, and what each was worth.

Scenarios of a data folder: A (a year, hourly), B (separate weeks with events, quarter-hourly decisions on a
five-minute and, around events, one-minute meter), B20 (B with a fifth of each site for GPUs), control (A without
auxiliary load, heat, starts, limits, contracts, events and inference, where a strike is exactly optimal).
Every policy runs on the same plant, with the same forecasts; rules with a number to choose are tuned on days
outside the scenario. Two bounds stand beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np

from tieline.app.backtest_bounds import Bounds, bounds
from tieline.app.backtest_data import World, load, weeks_of
from tieline.app.backtest_plant import Plant, Tally
from tieline.app.backtest_policies import (
    AlwaysOn,
    FixedStrike,
    GroupStrike,
    Known,
    LastPrice,
    Policy,
    StaticOrder,
    Tieline,
    WorstFirst,
)
from tieline.dispatch import Settings, load_table
from tieline.dispatch.arrays import fleet_arrays
from tieline.dispatch.forecast import SLOT_S
from tieline.fleet import Fleet

SCENARIOS = ("A", "B", "B20", "control")
# What look-ahead can be run without, and what that switches off.
COUPLINGS = {
    "starts": "wear per start",
    "wake": "time to wake and boot",
    "restore": "staged restore",
    "peaks": "chance of a coincident peak",
    "contract": "take-or-pay and resale",
    "limit": "the interconnect, when looking ahead",
    "scenarios": "uncertainty: one path of persistence-anchored prices",
    "commitments": "reserves sold",
    "routing": "inference where power is cheap",
    "off": "off rather than asleep",
}
ASSUMED = (
    "sites, contracts, orders, faults, offers and peak odds: invented",
    "fees 3 % of subsidy, pool fee 1.5 %, rejects 0.3 %, wear 0.05 USD per kW and start: assumed",
    "tariffs 0.60 and 0.20 USD per million tokens, a fifth of them batch work at half: assumed",
    "demand: measured shape, assumed scale; physics modelled",
    "batch work is served when it comes: its deadline is not used",
)
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Row:
    """One policy on one scenario."""

    policy: str
    tally: Tally
    months: dict[str, float]
    calm_net: float  # without scarcity days

    @property
    def worst_month(self) -> tuple[str, float]:
        return min(self.months.items(), key=lambda m: m[1]) if self.months else ("", 0.0)


@dataclass
class Result:
    """One scenario: a row per policy, the bounds, what was left out."""

    scenario: str
    rows: list[Row]
    bounds: Bounds | None
    tuned: dict[str, str]
    left_out: tuple[str, ...]
    scarcity_days: tuple[str, ...]
    spans: tuple[str, ...]
    ablations: list[Row] = field(default_factory=list)
    ablated_full: Row | None = None

    def row(self, policy: str) -> Row | None:
        return next((r for r in self.rows if r.policy == policy), None)


def run_scenario(
    folder: Path,
    scenario: str,
    *,
    settings: Settings | None = None,
    limit_spans: int | None = None,
    ablate: bool = True,
    policies: Sequence[str] | None = None,
    progress: Progress = lambda what, done, of: None,
) -> Result:
    """Run one scenario. `limit_spans` keeps the first few months or weeks (a smoke test)."""
    if scenario not in SCENARIOS:
        raise ValueError(f"scenario {scenario!r} is not one of {', '.join(SCENARIOS)}")
    hourly = scenario in ("A", "control")
    if hourly:
        # One unbroken year, so that no month begins with a start of everything.
        months = [_month(2023, m) for m in range(1, 13)][:limit_spans]
        spans = [("2023", months[0][1], months[-1][2])]
    else:
        spans = weeks_of(folder)[:limit_spans]
    gpu = 0.2 if scenario == "B20" else None
    world = load(folder, spans, events=not hourly, gpu_share=gpu, use_15min=not hourly)
    used = settings_for(settings or Settings(), world, scenario)
    if scenario == "control":
        world = _control(world)
    seconds = 3600 if hourly else SLOT_S
    scarce = scarcity_days(world)
    tuned, chosen = tune(folder, scenario, used, progress)
    rows: list[Row] = []
    perfect: Plant | None = None
    for policy in chosen:
        if policies is not None and policy.name not in policies:
            continue
        plant = drive(world, policy, used, seconds, progress, record=policy.name == PERFECT)
        rows.append(row_of(policy.name, plant, scarce))
        perfect = plant if policy.name == PERFECT else perfect
    found = bounds(world, perfect, used, seconds) if perfect is not None else None
    result = Result(scenario, rows, found, tuned, world.left_out, scarce, tuple(s.label for s in world.spans))
    if ablate and scenario == "B":
        _ablate(result, world, used, seconds, scarce, progress)
    return result


PERFECT = "Tieline, perfect forecasts"


def drive(
    world: World, policy: Policy, settings: Settings, seconds: int, progress: Progress, record: bool = False
) -> Plant:
    """One policy over all spans; each span starts with every rig asleep and every replica down."""
    table, fleet = load_table(settings.gpu_table), fleet_arrays(world.fleet, settings)
    simple = settings.wear_usd_per_kw_start == 0
    total = Tally()
    plant: Plant | None = None
    per = seconds // SLOT_S
    kept: list[Plant] = []
    for n, span in enumerate(world.spans):
        progress(policy.name, n, len(world.spans))
        fresh = Plant(world, fleet, table, settings, simple=simple, record=record)
        fresh.tally = total
        before = total.net
        for slot in range(span.first, span.last, per):
            known = Known(world, fleet, fresh, settings, slot, seconds)
            asked = policy.decide(known)
            fresh.run(slot, seconds, asked, getattr(policy, "floors", None))
        if isinstance(policy, Tieline):
            _settle_reserves(policy, total, world)
        total.by_span[span.label] = total.net - before
        kept.append(fresh)
        plant = fresh
    progress(policy.name, len(world.spans), len(world.spans))
    assert plant is not None
    plant.recorded = {k: v for one in kept for k, v in one.recorded.items()}
    return plant


def _settle_reserves(policy: Tieline, tally: Tally, world: World) -> None:
    """Payment for what was promised and drawn; an hour short of its floor has paid its penalty already."""
    for offer in policy.accepted.values():
        hours = (offer.until - offer.at).total_seconds() / 3600.0
        usd = offer.power_w / 1e6 * hours * offer.capacity_usd_per_mw_h
        tally.reserves += usd
        tally.commitments += 1
        place = next(n for n, s in enumerate(world.fleet.sites) if s.id == offer.site_id)
        first, last = world.slot(offer.at), world.slot(offer.until)
        tally.commitments_kept += not any(n == place and first <= slot < last for n, slot in tally.short)
        day = offer.at.strftime("%Y-%m-%d")
        tally.by_day[day] = tally.by_day.get(day, 0.0) + usd
    policy.accepted.clear()


def _ablate(
    result: Result,
    world: World,
    settings: Settings,
    seconds: int,
    scarce: tuple[str, ...],
    progress: Progress,
) -> None:
    """Look-ahead without each coupling, on every third span, against itself there."""
    some = replace(world, spans=world.spans[::3])
    full = Tieline(name="full, on every third week")
    result.ablated_full = row_of(full.name, drive(some, full, settings, seconds, progress), scarce)
    for name, words in COUPLINGS.items():
        policy = Tieline(name=f"without {words}", without=frozenset({name}))
        if name == "scenarios":
            policy.scenarios = 1
        result.ablations.append(row_of(policy.name, drive(some, policy, settings, seconds, progress), scarce))


def row_of(name: str, plant: Plant, scarce: tuple[str, ...]) -> Row:
    tally = plant.tally
    months: dict[str, float] = {}
    for day, usd in tally.by_day.items():
        months[day[:7]] = months.get(day[:7], 0.0) + usd
    calm = sum(usd for day, usd in tally.by_day.items() if day not in scarce)
    return Row(name, tally, months, calm)


def settings_for(settings: Settings, world: World, scenario: str) -> Settings:
    changed = {"reach": world.reach}
    if scenario == "control":
        changed |= {"wear_usd_per_kw_start": 0.0, "restore_share_per_5min": None, "rest_mode": "off"}  # type: ignore[dict-item]
    return msgspec.structs.replace(settings, **changed)


def _control(world: World) -> World:
    """No inference, no contract, spot everywhere."""
    sites = []
    for site in world.fleet.sites:
        contract = msgspec.structs.replace(site.contract, take_share=0.0, resale=False)
        feeders = tuple(msgspec.structs.replace(f, limit_w=1e12) for f in site.feeders if f.load == "mining")
        rigs = tuple(msgspec.structs.replace(g, wake="fast") for g in site.rig_groups)
        sites.append(msgspec.structs.replace(site, contract=contract, node_groups=(), feeders=feeders, rig_groups=rigs))
    fleet: Fleet = msgspec.structs.replace(world.fleet, sites=tuple(sites))
    return replace(world, fleet=fleet, demand={}, inputs={}, events=(), offers=(), peaks=(), peak_odds=())


def scarcity_days(world: World) -> tuple[str, ...]:
    """UTC days on which some market of the fleet was above 1,000 USD/MWh."""
    days = set()
    for market in world.markets.values():
        for slot in np.flatnonzero(np.nan_to_num(market.values) > 1000.0):
            days.add(world.when(int(slot)).strftime("%Y-%m-%d"))
    inside = {
        (world.when(s.first) + timedelta(days=d)).strftime("%Y-%m-%d")
        for s in world.spans
        for d in range((s.last - s.first) // 96 + 1)
    }
    return tuple(sorted(days & inside))


# --- tuning -----------------------------------------------------------------


def tune(folder: Path, scenario: str, settings: Settings, progress: Progress) -> tuple[dict[str, str], list[Policy]]:
    """The policies of a run, rules with a number set by what earned most on other days."""
    best = _best_numbers(folder, scenario, settings, progress)
    tuned = {
        "fixed strike": f"{best.fixed:g} USD/MWh",
        "worst-first": f"{best.worst[0]:g} USD/MWh, {best.worst[1]:.0%} of the fleet",
        "static order": f"{best.static:g} USD/MWh",
        "days": "eight weeks of February to May 2024, hourly",
    }
    policies: list[Policy] = [
        AlwaysOn(),
        LastPrice(),
        FixedStrike(best.fixed),
        GroupStrike(),
        WorstFirst(*best.worst),
        StaticOrder(best.static),
        GroupStrike(name="uncoupled LP", expected=True),
        Tieline(),
        Tieline(name=PERFECT, perfect=True),
    ]
    return tuned, policies


@dataclass(frozen=True)
class Numbers:
    """What the simple rules were tuned to."""

    fixed: float
    worst: tuple[float, float]
    static: float


def _best_numbers(folder: Path, scenario: str, settings: Settings, progress: Progress) -> Numbers:
    spans = [
        (f"tune-{n}", begin, begin + timedelta(days=7))
        for n, begin in enumerate(datetime(2024, 2, 5, tzinfo=UTC) + timedelta(days=14 * i) for i in range(8))
    ]
    world = load(folder, spans, events=False, gpu_share=0.2 if scenario == "B20" else None, use_15min=False)
    if scenario == "control":
        world = _control(world)
    quiet: Progress = lambda what, done, of: None  # noqa: E731

    def net(policy: Policy) -> float:
        return drive(world, policy, settings, 3600, quiet).tally.net

    levels = (60.0, 80.0, 100.0, 130.0, 170.0)
    progress("tuning", 0, 3)
    fixed = max(levels, key=lambda x: net(FixedStrike(x)))
    progress("tuning", 1, 3)
    worst = max(((x, s) for x in (50.0, 70.0, 100.0) for s in (0.1, 0.3)), key=lambda k: net(WorstFirst(*k)))
    progress("tuning", 2, 3)
    static = max(levels, key=lambda x: net(StaticOrder(x)))
    progress("tuning", 3, 3)
    return Numbers(fixed, worst, static)


def _month(year: int, month: int) -> tuple[str, datetime, datetime]:
    begin = datetime(year, month, 1, tzinfo=UTC)
    end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return begin.strftime("%Y-%m"), begin, end

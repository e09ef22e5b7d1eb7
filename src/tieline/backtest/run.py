"""Policies on recorded days, and what each was worth.

Scenarios of a data folder: A (a year, hourly), B (separate weeks with events, quarter-hourly decisions on a
five-minute and, around events, one-minute meter), B20 (B with a fifth of each site for GPUs), control (A without
auxiliary load, heat, starts, limits, contracts, events and inference, where a strike is exactly optimal).
Every policy runs on the same plant, with the same forecasts; rules with a number to choose are tuned on days
outside the scenario. Two bounds stand beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import msgspec
import numpy as np

from tieline.backtest.bounds import Bounds, bounds
from tieline.backtest.data import ScenarioWorld, SlotSpan, days_of, load, weeks_of
from tieline.backtest.lookahead import Tieline
from tieline.backtest.noise import Noise, shaken
from tieline.backtest.peaks import Peaks
from tieline.backtest.plant import Plant, Tally, groups_of
from tieline.backtest.policies import (
    AlwaysOn,
    BandStrike,
    FixedStrike,
    GroupStrike,
    LastPrice,
    Policy,
    PolicyInputs,
    StaticOrder,
    WorstFirst,
)
from tieline.backtest.reserves import ReserveDesk
from tieline.dispatch import Settings, load_table
from tieline.dispatch.inputs.forecast import SLOT_S, SLOTS_PER_DAY
from tieline.feeds.days.manifest import manifest_of
from tieline.fleet import Fleet

STANDARD = ("A", "B", "B20", "control")
SCENARIOS = (*STANDARD, "days")
# What look-ahead can be run without, and what that switches off.
COUPLINGS = {
    "starts": "wear per start",
    "wake": "time to wake and boot",
    "restore": "staged restore",
    "peaks": "chance of a coincident peak",
    "contract": "take-or-pay and resale",
    "limit": "the interconnect, when looking ahead",
    "scenarios": "scenarios: one path of prices",
    "commitments": "reserves sold",
    "routing": "inference where power is cheap",
    "off": "off rather than asleep",
    "batch": "batch work put off: it runs at once",
    "ready": "replicas over the horizon: this interval alone counts",
    "demand": "scenarios of demand: its expectation alone",
    "outages": "chance of an outage",
    "expected peaks": "peaks at their chance: on or off by scenario",
    "daily": "starts a day, time up and time down as bounds",
}
ASSUMED = (
    "when a reserve is called: invented, an hour at a time, as often as its offer says",
    "sites, contracts, orders, faults, offers and peak odds: invented",
    "fees 3 % of subsidy, pool fee 1.5 %, rejects 0.3 %, wear 0.05 USD per kW and start: assumed",
    "tariffs 0.60 and 0.20 USD per million tokens, a fifth of them batch work at half that may wait a day: assumed",
    "demand: measured shape, assumed scale; physics modelled",
)
Progress = Callable[[str, int, int], None]
HOURLY = ("A", "control")
DECIDED_HOURLY = (*HOURLY, "days")
PERFECT = "Tieline, perfect forecasts"


def _quiet(what: str, done: int, of: int) -> None:
    """No progress is shown."""


@dataclass(frozen=True)
class PolicyRow:
    """One policy on one scenario."""

    policy: str
    tally: Tally
    months: dict[str, float]
    calm_net: float  # without scarcity days

    @property
    def worst_month(self) -> tuple[str, float]:
        return min(self.months.items(), key=lambda m: m[1]) if self.months else ("", 0.0)


@dataclass
class ScenarioResult:
    """One scenario: a row per policy, the bounds, what was left out."""

    scenario: str
    rows: list[PolicyRow]
    bounds: Bounds | None
    tuned: dict[str, str]
    left_out: tuple[str, ...]
    scarcity_days: tuple[str, ...]
    spans: tuple[str, ...]
    noise: Noise | None = None
    ablations: list[PolicyRow] = field(default_factory=list)

    def row(self, policy: str) -> PolicyRow | None:
        return next((r for r in self.rows if r.policy == policy), None)


@dataclass(frozen=True, kw_only=True)
class ScenarioOptions:
    """How a scenario is run. `limit_spans` keeps the first few months or weeks; `between` runs other days the same
    way; `fleet` stands in for the folder's own; `numbers` skips tuning; `jobs` processes run policies side by side,
    which changes no figure; `noise` makes demand stray from the recorded week."""

    settings: Settings = field(default_factory=Settings)
    fleet: Fleet | None = None
    limit_spans: int | None = None
    between: tuple[datetime, datetime] | None = None
    ablate: bool = True
    policies: Sequence[str] | None = None
    numbers: Numbers | None = None
    jobs: int = 1
    noise: Noise | None = None


def run_scenario(folder: Path, scenario: str, options: ScenarioOptions, progress: Progress = _quiet) -> ScenarioResult:
    """Run one scenario of a folder. Raises FolderError, and ValueError for what cannot be run."""
    if scenario not in SCENARIOS:
        raise ValueError(f"scenario {scenario!r} is not one of {', '.join(SCENARIOS)}")
    task = prepare(folder, scenario, options.settings, options.limit_spans, options.between, options.fleet)
    if options.noise is not None:
        task = replace(task, world=shaken(task.world, options.noise))
    best = options.numbers
    if best is None:
        best = tune(folder, scenario, options, progress)
    runs = _named(chosen(best), options.policies)
    count = len(runs)
    # Without events most couplings have nothing to couple.
    if options.ablate and task.world.events and any(policy.name == "Tieline" for policy in runs):
        runs += ablations()
    rows = in_parallel(task, runs, options.jobs, progress)
    return ScenarioResult(
        scenario=scenario,
        rows=rows[:count],
        bounds=bounds(task.world, task.settings, task.seconds, task.simple),
        tuned=best.words(),
        left_out=task.world.left_out,
        scarcity_days=task.scarce,
        spans=tuple(s.label for s in task.world.spans),
        noise=options.noise,
        ablations=rows[count:],
    )


def _named(policies: list[Policy], names: Sequence[str] | None) -> list[Policy]:
    """Those of these names, or all. Raises ValueError for a name that is none."""
    chosen = [policy for policy in policies if names is None or policy.name in names]
    unknown = set(names or ()) - {policy.name for policy in chosen}
    if unknown:
        known = ", ".join(policy.name for policy in policies)
        raise ValueError(f"no policy {', '.join(sorted(unknown))}; known: {known}")
    return chosen


def run_ablations(
    folder: Path, scenario: str, jobs: int = 1, progress: Progress = _quiet, limit: int | None = None
) -> list[PolicyRow]:
    """Look-ahead without each coupling, apart from the policies of the scenario."""
    return in_parallel(prepare(folder, scenario, Settings(), limit), ablations(), jobs, progress)


@dataclass(frozen=True)
class Task:
    """What every policy of a scenario is run on."""

    world: ScenarioWorld
    settings: Settings
    seconds: int
    scarce: tuple[str, ...] = ()

    @property
    def simple(self) -> bool:
        return self.settings.wear_usd_per_kw_start == 0


def prepare(
    folder: Path,
    scenario: str,
    settings: Settings,
    limit_spans: int | None = None,
    between: tuple[datetime, datetime] | None = None,
    fleet: Fleet | None = None,
) -> Task:
    """What the policies of a scenario are run on; `fleet` in place of the folder's own."""
    hourly = scenario in HOURLY
    if between is not None:
        begin, end = between
        if begin >= end or begin.minute or end.minute:
            raise ValueError("a backtest runs whole hours: --from before --to, both on the hour")
        spans = [(f"{begin:%Y-%m-%d}", begin, end)]
    elif scenario == "days":
        spans = list(days_of(folder)[:limit_spans])
    elif hourly:
        # One unbroken year, so that no month begins with a start of everything.
        last = 12 if limit_spans is None else limit_spans
        spans = [("2023", datetime(2023, 1, 1, tzinfo=UTC), _month_end(2023, last))]
    else:
        spans = weeks_of(folder)[:limit_spans]
    gpu = 0.2 if scenario == "B20" else None
    world = load(folder, spans, events=not hourly, gpu_share=gpu, use_15min=not hourly, settings=settings, fleet=fleet)
    if scenario == "control":
        return control(world, settings)
    seconds = 3600 if scenario in DECIDED_HOURLY else SLOT_S
    return Task(world, settings_for(settings, world), seconds, scarcity_days(world))


def drive(
    world: ScenarioWorld,
    policy: Policy,
    settings: Settings,
    seconds: int,
    progress: Progress = _quiet,
    plant: Callable[..., Plant] = Plant,
) -> Tally:
    """One policy over all spans; each span starts with every rig asleep and every replica down. `plant`: another that
    keeps account of more."""
    simple = settings.wear_usd_per_kw_start == 0
    table, fleet = load_table(settings.gpu_table), groups_of(world, settings, simple)
    total = Tally()
    per = seconds // SLOT_S
    slots = sum(s.last - s.first for s in world.spans) // per
    done = 0
    for span in world.spans:
        fresh = plant(world, fleet, table, settings, simple=simple, end=span.last)
        fresh.tally = total
        before = total.net
        for slot in range(span.first, span.last, per):
            if done % 96 == 0:
                progress(policy.name, done, slots)
            known = PolicyInputs(world, fleet, fresh, settings, slot, seconds)
            asked = policy.decide(known)
            fresh.run(slot, seconds, asked, getattr(policy, "floors", None))
            done += 1
        fresh.close()
        _settle_calls(fresh, total, world)
        if isinstance(policy, Tieline):
            _settle_reserves(policy, total, world)
        desk = getattr(policy, "desk", None)
        if isinstance(desk, ReserveDesk):
            _settle_desk(desk, total, world, span)
        total.by_span[span.label] = total.net - before
    progress(policy.name, slots, slots)
    return total


def one_run(task: Task, policy: Policy, progress: Progress = _quiet) -> PolicyRow:
    return row_of(policy.name, drive(task.world, policy, task.settings, task.seconds, progress), task.scarce)


_TASK: list[Task] = []


def _take(task: Task) -> None:
    _TASK[:] = [task]


def _work(policy: Policy) -> PolicyRow:
    return one_run(_TASK[0], policy)


def in_parallel(task: Task, runs: Sequence[Policy], jobs: int, progress: Progress) -> list[PolicyRow]:
    """A row per run, in their order. With several processes each holds the task once."""
    if jobs <= 1 or len(runs) <= 1:
        return [one_run(task, policy, progress) for policy in runs]
    rows = []
    with ProcessPoolExecutor(
        min(jobs, len(runs)), mp_context=get_context("spawn"), initializer=_take, initargs=(task,)
    ) as pool:
        for n, row in enumerate(pool.map(_work, runs)):
            progress(row.policy, n + 1, len(runs))
            rows.append(row)
    return rows


def _settle_calls(plant: Plant, tally: Tally, world: ScenarioWorld) -> None:
    """Each call against the meter before it; what is missing of the promise is fined."""
    for call in plant.calls.values():
        settled = plant.played.settle(call)
        if settled is None:
            continue
        missed, fine = settled
        tally.calls += 1
        tally.calls_kept += missed == 0
        tally.missed_mwh += missed
        tally.penalties += fine
        hours = (call.last - call.first) * SLOT_S / 3600.0
        paid = max(0.0, call.power_w / 1e6 * hours - missed) * call.energy_usd_per_mwh
        tally.reserves += paid
        day = world.when(call.first).strftime("%Y-%m-%d")
        tally.by_day[day] = tally.by_day.get(day, 0.0) + paid - fine


def _settle_desk(desk: ReserveDesk, tally: Tally, world: ScenarioWorld, span: SlotSpan) -> None:
    """Capacity that was awarded is paid, called or not; what was missing has paid its penalty already."""
    if not len(desk.usd):
        return
    for slot in range(span.first, span.last, SLOTS_PER_DAY):
        usd = float(desk.usd[slot : min(slot + SLOTS_PER_DAY, span.last)].sum())
        day = world.when(slot).strftime("%Y-%m-%d")
        tally.reserves += usd
        tally.by_day[day] = tally.by_day.get(day, 0.0) + usd
    tally.reserve_mwh += sum(float(book[span.first : span.last].sum()) for book in desk.sold.values()) / 4e6


def _settle_reserves(policy: Tieline, tally: Tally, world: ScenarioWorld) -> None:
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


def ablations() -> list[Policy]:
    """Look-ahead without each coupling."""
    policies: list[Policy] = []
    for name, words in COUPLINGS.items():
        policy = Tieline(name=f"without {words}", without=frozenset({name}))
        if name == "scenarios":
            policy.scenarios = 1
        policies.append(policy)
    return policies


def row_of(name: str, tally: Tally, scarce: tuple[str, ...]) -> PolicyRow:
    months: dict[str, float] = {}
    for day, usd in tally.by_day.items():
        months[day[:7]] = months.get(day[:7], 0.0) + usd
    calm = sum(usd for day, usd in tally.by_day.items() if day not in scarce)
    return PolicyRow(name, tally, months, calm)


def settings_for(settings: Settings, world: ScenarioWorld) -> Settings:
    return msgspec.structs.replace(settings, reach=world.reach)


def control(world: ScenarioWorld, settings: Settings | None = None) -> Task:
    """Price alone: nothing wears, wakes, ramps, limits or couples."""
    given = settings_for(settings or Settings(), world)
    used = msgspec.structs.replace(
        given, wear_usd_per_kw_start=0.0, restore_share_per_5min=None, rest_mode="off", starts_per_day=1e9
    )
    return Task(_price_alone(world), used, 3600, scarcity_days(world))


def _price_alone(world: ScenarioWorld) -> ScenarioWorld:
    """No inference, no contract, spot everywhere."""
    sites = []
    for site in world.fleet.sites:
        contract = msgspec.structs.replace(site.contract, take_share=0.0, resale=False)
        feeders = tuple(msgspec.structs.replace(f, limit_w=1e12) for f in site.feeders if f.load == "mining")
        rigs = tuple(msgspec.structs.replace(g, wake="fast") for g in site.rig_groups)
        sites.append(msgspec.structs.replace(site, contract=contract, node_groups=(), feeders=feeders, rig_groups=rigs))
    fleet: Fleet = msgspec.structs.replace(world.fleet, sites=tuple(sites))
    return replace(world, fleet=fleet, demand={}, inputs={}, events=(), offers=(), peaks=Peaks(fleet))


def scarcity_days(world: ScenarioWorld) -> tuple[str, ...]:
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


@dataclass(frozen=True)
class Numbers:
    """What the simple rules are set to."""

    fixed: float
    worst: tuple[float, float]
    static: float
    band: float = 0.3
    tuned_on: str = "eight weeks of February to May 2024, hourly"

    def words(self) -> dict[str, str]:
        return {
            "fixed strike": f"{self.fixed:g} USD/MWh",
            "worst-first": f"{self.worst[0]:g} USD/MWh, {self.worst[1]:.0%} of the fleet",
            "static order": f"{self.static:g} USD/MWh",
            "dead band": f"{self.band:g} of the wear of a start",
            "days": self.tuned_on,
        }


LEVELS = (60.0, 80.0, 110.0, 150.0, 200.0, 280.0)
BANDS = (0.0, 0.15, 0.3, 0.5, 0.8)
WORST = tuple((level, share) for level in (50.0, 70.0, 100.0) for share in (0.1, 0.3))


def tune(folder: Path, scenario: str, options: ScenarioOptions, progress: Progress) -> Numbers:
    """Each rule's number by what earned most in weeks outside every scenario: those that the folder names, or eight of
    February to May 2024."""
    settings, jobs = options.settings, options.jobs
    own = manifest_of(folder).tune
    spans = [(days.label, days.start, days.end) for days in own] or [
        (f"tune-{n}", begin, begin + timedelta(days=7))
        for n, begin in enumerate(datetime(2024, 2, 5, tzinfo=UTC) + timedelta(days=14 * i) for i in range(8))
    ]
    gpu = 0.2 if scenario == "B20" else None
    world = load(folder, spans, events=False, gpu_share=gpu, use_15min=False, settings=settings, fleet=options.fleet)
    task = control(world, settings) if scenario == "control" else Task(world, settings_for(settings, world), 3600)
    tried: list[Policy] = [FixedStrike(x, name=f"fixed strike at {x:g}") for x in LEVELS]
    tried += [WorstFirst(x, share, name=f"worst-first at {x:g}, {share:.0%}") for x, share in WORST]
    tried += [StaticOrder(x, name=f"static order at {x:g}") for x in LEVELS]
    tried += [BandStrike(x, name=f"dead band of {x:g}") for x in BANDS]
    nets = [row.tally.net for row in in_parallel(task, tried, jobs, progress)]
    levels, worst = len(LEVELS), len(WORST)
    words = f"{len(spans)} stretches of other days, hourly" if own else Numbers.tuned_on
    return Numbers(
        tuned_on=words,
        fixed=LEVELS[int(np.argmax(nets[:levels]))],
        worst=WORST[int(np.argmax(nets[levels : levels + worst]))],
        static=LEVELS[int(np.argmax(nets[levels + worst : 2 * levels + worst]))],
        band=BANDS[int(np.argmax(nets[2 * levels + worst :]))],
    )


def chosen(best: Numbers) -> list[Policy]:
    """The policies of a run, in the order of the table."""
    return [
        AlwaysOn(),
        LastPrice(),
        LastPrice(name="last-price rule, peak odds", odds=True),
        FixedStrike(best.fixed),
        GroupStrike(),
        BandStrike(best.band),
        WorstFirst(*best.worst),
        StaticOrder(best.static),
        GroupStrike(name="uncoupled LP", expected=True),
        Tieline(),
        Tieline(name=PERFECT, perfect=True),
    ]


def _month_end(year: int, month: int) -> datetime:
    return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)

"""A few sites over two invented days, small enough to be solved whole."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from tieline.backtest.data import PriceArray, ScenarioWorld, SiteEvent, SlotSpan
from tieline.backtest.peaks import Peak, Peaks
from tieline.fleet import Contract, Feeder, Fleet, Interconnect, NodeGroup, RigGroup, Site
from tieline.fleet.peaks import shipped_rules
from tieline.records import Commitment

START = datetime(2024, 6, 1, tzinfo=UTC)
DAYS_BEFORE = 10  # of history, for rules that look back
HOURS = 36
SLOTS = (DAYS_BEFORE + 4) * 96
FIRST = DAYS_BEFORE * 96

SPOT = Contract(basis="spot", market="ERCOT_HUBAVG_DA")
RESALE = Contract(basis="fixed", fixed_usd_per_mwh=46.0, market="RESALE", take_share=0.7, resale=True)
BOUND = Contract(basis="fixed", fixed_usd_per_mwh=31.4, take_share=0.6)


def site(name: str, region: str, contract: Contract, *, model: str = "Antminer S21", nodes: int = 40) -> Site:
    rigs = RigGroup(id=f"{name}.rigs", feeder=f"{name}.m", model=model, rigs=9_000, wake="slow")
    limit = rigs.rated_w * 1.03  # below full draw once cooling is added: the limit binds
    return Site(
        id=name,
        name=name,
        region=region,
        lat=0.0,
        lon=0.0,
        interconnect=Interconnect(limit_w=limit),
        feeders=(
            Feeder(id=f"{name}.m", load="mining", limit_w=limit),
            Feeder(id=f"{name}.g", load="inference", limit_w=limit),
        ),
        contract=contract,
        rig_groups=(rigs,),
        node_groups=(NodeGroup(id=f"{name}.gpu", feeder=f"{name}.g", node="8xH100", nodes=nodes, model="m"),)
        if nodes
        else (),
        weather_station="W",
    )


def world(seed: int, *, hours: int = HOURS, events: tuple[SiteEvent, ...] = (), **more: object) -> ScenarioWorld:
    """Prices jump, some below zero and some in the thousands; demand swings; a summer's heat."""
    rng = np.random.default_rng(seed)
    count = SLOTS // 4
    base = rng.normal(45.0, 25.0, count)
    base[rng.random(count) < 0.06] = 900.0
    base[rng.random(count) < 0.06] = -20.0
    resale = rng.normal(48.0, 20.0, count)
    live = np.arange(SLOTS) // 4 * 4  # an hourly real-time price is known when its hour has ended
    ahead = np.minimum(SLOTS, (np.arange(SLOTS) // 96 + 1) * 96)  # the whole day is known at its beginning
    day = np.sin(np.arange(SLOTS) / 96 * 2 * np.pi)
    sites = (
        site("a", "east", SPOT),
        site("b", "east", SPOT, model="Antminer S19j Pro"),
        site("c", "west", RESALE),
        site("d", "west", BOUND, model="Antminer S19j Pro", nodes=0),
    )
    made = ScenarioWorld(
        fleet=Fleet(name="test", sites=sites),
        start=START,
        slots=SLOTS,
        markets={
            "ERCOT_HUBAVG_DA": PriceArray(np.repeat(base, 4), live),
            "RESALE": PriceArray(np.repeat(resale, 4), ahead),
        },
        temp_c=np.repeat((30.0 + 9.0 * day)[:, None], len(sites), axis=1),
        hashprice_usd=np.full(SLOTS, 52.0),
        demand={"east": 250_000.0 * (1.2 + day), "west": 90_000.0 * (1.2 - day)},
        inputs={"east": np.full(SLOTS, 1.2), "west": np.full(SLOTS, 1.5)},
        reach={"east": ("west",), "west": ()},
        spans=(SlotSpan("days", FIRST, FIRST + 4 * hours),),
        events=events,
    )
    return replace(made, **more)  # type: ignore[arg-type]


def peak_at(slot: int) -> Peaks:
    """One coincident peak of Texas at a slot of `world`, foreseen by nobody."""
    rule = shipped_rules()["4CP"]
    fleet = world(1).fleet
    return Peaks.of(fleet, (rule,), (Peak(rule, START + timedelta(minutes=15 * slot)),), [])


def at(hours: float) -> datetime:
    """Hours into the span."""
    return START + timedelta(days=DAYS_BEFORE, hours=hours)


def trouble() -> tuple[SiteEvent, ...]:
    """Every kind of event, one after another and over one another."""
    return (
        SiteEvent("order", 0, at(2.1), at(4.3), notice_s=600, limit_w=8e6, penalty_usd_per_mwh=5000.0),
        SiteEvent("derate", 1, at(3.0), at(9.0), limit_w=15e6),
        SiteEvent("outage", 2, at(5.2), at(6.0)),
        SiteEvent("stuck_rigs", 1, at(4.0), at(8.0), share=0.2),
        SiteEvent("slow_wake", 0, at(0.0), at(24.0), factor=4.0),
        SiteEvent("link_loss", 3, at(7.0), at(8.0)),
        SiteEvent("stale_readings", 0, at(7.0), at(8.0)),
        SiteEvent("order", 1, at(6.0), at(7.0), notice_s=0, limit_w=0.0, penalty_usd_per_mwh=5000.0),
    )


def offer(hours: float, usd: float, power_w: float = 10e6) -> Commitment:
    return Commitment(
        at=at(hours),
        known_at=at(hours) - timedelta(days=1),
        source="test",
        kind="simulated",
        commitment_id=f"offer-{hours}-{usd}",
        site_id="a",
        product="reserve_10min",
        until=at(hours + 4),
        power_w=power_w,
        response_s=600,
        capacity_usd_per_mw_h=usd,
        status="offered",
        nonperformance_usd_per_mwh=2000.0,
        baseline="meter before/after",
    )

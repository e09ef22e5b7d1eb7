"""A small invented world for the console's tests: hours of records for a fleet, the same every time.

Prices are curves with one spike, plans follow each group's strike, samples follow the plans. One unit falls
silent, one site gets a grid order, one operator holds a unit: what a page must show at a glance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from tieline.clock import FIVE_MINUTES, intervals
from tieline.economics import hashprice, strike
from tieline.fleet import Fleet, NodeGroup, RigGroup, Site
from tieline.fleet.physics import GPU_AUX, aux_share
from tieline.records import (
    Action,
    AnyRecord,
    Demand,
    Fault,
    Hop,
    Instruction,
    NetworkTick,
    Outcome,
    Override,
    Payout,
    Plan,
    PowerBill,
    PriceTick,
    Reason,
    ReplicaState,
    Sample,
    Setpoint,
    Usage,
    WeatherTick,
)
from tieline.store import Store
from tieline.units import Efficiency

NOW = datetime(2026, 5, 14, 18, 2, 30, tzinfo=UTC)
DIFFICULTY, SUBSIDY, FEES, BTC_USD = 121.0e12, 3.125, 0.03, Decimal("84250.00")
SILENT = "sa-cl-02.rigs-1"
ORDERED = "na-ga-01"


def fill(store: Store, fleet: Fleet, hours: float = 24.0, now: datetime = NOW) -> None:
    """Append the world's last `hours` up to `now`."""
    start = now - timedelta(hours=hours)
    store.append([*background(fleet, start, now), *months(fleet, now)])
    for interval in intervals(start, now):
        store.append(list(step(fleet, interval.start, now)))
    store.append(list(events(fleet, now)))


def price(market: str, at: datetime) -> float:
    """USD/MWh: a daily curve, its own for each market; Texas spikes in the early evening."""
    seed = sum(map(ord, market)) % 17
    hour = at.hour + at.minute / 60
    base = 28 + seed * 1.6 + 16 * math.sin((hour - 9 - seed / 4) / 24 * 2 * math.pi) + 4 * math.sin(hour * 1.7 + seed)
    if market.lower().startswith("ercot"):
        base = 22 + 14 * math.sin((hour - 10) / 24 * 2 * math.pi) + 420 * math.exp(-(((hour - 1.2) / 0.9) ** 2))
        base -= 30 * math.exp(-(((hour - 15.5) / 1.6) ** 2))
    if market == "ZA_MEGAFLEX_TARIFF":
        base = 92.0 if at.hour in (7, 8, 9, 18, 19) else 58.0 if 6 <= at.hour < 22 else 41.0
    return round(base, 2)


def delivered(site: Site, at: datetime) -> float:
    contract = site.contract
    if contract.basis == "fixed":
        return (contract.fixed_usd_per_mwh or 0.0) + contract.adder_usd_per_mwh
    hour = at.replace(minute=0, second=0, microsecond=0)
    return price(contract.market or "", hour) * contract.scale + contract.adder_usd_per_mwh


def background(fleet: Fleet, start: datetime, now: datetime) -> Iterator[AnyRecord]:
    first = start.replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    for hour in range(int((now - first).total_seconds() // 3600) + 25):
        at = first + timedelta(hours=hour)
        ahead = at > now
        for market in fleet.markets:
            yield PriceTick(
                at=at,
                known_at=min(at, now),
                source="synthetic",
                kind="forecast" if ahead else "simulated",
                market=market,
                price_usd_per_mwh=price(market, at),
            )
        if ahead:
            continue
        for station in fleet.stations:
            temp = 17 + len(station) + 6 * math.sin((at.hour - 9) / 24 * 2 * math.pi)
            yield WeatherTick(
                at=at, known_at=at, source="synthetic", kind="simulated", station=station, temp_c=round(temp, 1)
            )
        yield Demand(
            at=at,
            known_at=at,
            source="synthetic",
            kind="simulated",
            model="llama-3.1-70b",
            region="north_america",
            output_tokens_per_s=12_000.0,
            length_s=3600,
        )
        yield NetworkTick(
            at=at,
            known_at=at,
            source="synthetic",
            kind="simulated",
            difficulty=DIFFICULTY,
            subsidy_btc=SUBSIDY,
            fee_share=FEES,
            btc_usd=BTC_USD,
            height=948_000 + 6 * hour,
        )


def setpoint(site: Site, group: RigGroup | NodeGroup, at: datetime) -> Setpoint:
    paid = delivered(site, at)
    if isinstance(group, NodeGroup):
        target = group.rated_w * (1 + GPU_AUX) * (0.55 + 0.3 * math.sin(at.hour / 24 * 2 * math.pi))
        text = f"demand of {group.model} pays 410.00 against {paid:.2f} USD/MWh: serve it first"
        reason = Reason(rule="inference", text=text, bid_usd_per_mwh=410.0, price_usd_per_mwh=paid)
        return Setpoint(unit_id=group.id, target_w=round(target), reason=reason, replicas=group.nodes)
    bid = strike(
        hashprice(DIFFICULTY, SUBSIDY, FEES, float(BTC_USD)),
        Efficiency(group.rig.efficiency_j_th),
        0.015,
        aux_share(site.cooling, 25.0),
    ).value
    if paid >= bid:
        text = f"price {paid:.2f} is not below the strike {bid:.2f} USD/MWh: leave it to the grid"
        target = 25.0 * group.rigs
    else:
        text = f"strike {bid:.2f} above price {paid:.2f} USD/MWh: mine"
        target = group.rated_w * (1 + aux_share(site.cooling, 25.0))
    reason = Reason(rule="strike", text=text, bid_usd_per_mwh=round(bid, 2), price_usd_per_mwh=paid)
    net = target / 1e6 * (bid - paid)
    return Setpoint(unit_id=group.id, target_w=round(target), reason=reason, expected_usd_per_h=round(net, 2))


def step(fleet: Fleet, at: datetime, now: datetime) -> Iterator[AnyRecord]:
    """One interval at every site: the plan, then what was observed."""
    for site in fleet.sites:
        points = tuple(setpoint(site, group, at) for group in site.units)
        yield Plan(
            at=at,
            known_at=at,
            source="dispatch",
            kind="estimated",
            site_id=site.id,
            length_s=300,
            valid_until=at + timedelta(minutes=15),
            mode=site.mode,
            limit_w=site.interconnect.limit_w,
            price_usd_per_mwh=delivered(site, at),
            hashprice_usd=hashprice(DIFFICULTY, SUBSIDY, FEES, float(BTC_USD)),
            setpoints=points,
            decided_by="strike",
        )
        for group, point in zip(site.units, points, strict=True):
            silent = group.id == SILENT and at > now - timedelta(minutes=90)
            if at + FIVE_MINUTES <= now and not silent:
                yield sample(site, group, point, at)
    if at.minute % 10 == 0:
        yield usage(at)


def sample(site: Site, group: RigGroup | NodeGroup, point: Setpoint, at: datetime) -> Sample:
    wave = 1 - 0.004 * (1 + math.sin(at.minute + len(group.id) * 3.1 + at.hour))
    mining = isinstance(group, RigGroup)
    full = group.rated_w * (1 + aux_share(site.cooling, 25.0)) if mining else 1.0
    share = point.target_w / full
    return Sample(
        at=at,
        known_at=at + FIVE_MINUTES,
        source=f"site:{site.id}",
        kind="simulated",
        site_id=site.id,
        unit_id=group.id,
        length_s=300,
        readings=60,
        power_w=point.target_w * wave,
        hashrate_hs=(group.rated_hs * share * wave if share > 0.05 else 0.0) if isinstance(group, RigGroup) else None,
        temp_c=61.5 if mining else None,
        devices=group.rigs if isinstance(group, RigGroup) else group.nodes,
        devices_heard=group.rigs - 3 if isinstance(group, RigGroup) and group.rigs > 100 else None,
        tokens=None if mining else int(point.target_w * 0.021 * 300 / 10),
        last_heard=at + timedelta(seconds=296),
    )


def usage(at: datetime) -> Usage:
    name = at.strftime("%Y%m%dT%H%M")
    hop = Hop(replica_id="na-tx-01.gpu-r1", site_id="na-tx-01", output_tokens=180, ended="stop", prompt_tokens=42)
    return Usage(
        at=at + timedelta(seconds=7),
        known_at=at + timedelta(seconds=9),
        source="gateway",
        kind="measured",
        request_id=f"req-{name}",
        tenant="demo",
        project="default",
        key_id="demo",
        model="tieline-selftest",
        endpoint="/v1/chat/completions",
        status=200,
        prompt_tokens=42,
        output_tokens=180,
        cost_nano_usd=116_400,
        streamed=True,
        finish="stop",
        hops=(hop,),
    )


def events(fleet: Fleet, now: datetime) -> Iterator[AnyRecord]:
    at = now - timedelta(minutes=12)
    yield Instruction(
        at=at,
        known_at=at - timedelta(minutes=10),
        source="grid operator (synthetic)",
        kind="simulated",
        instruction_id="order-1",
        site_id=ORDERED,
        limit_w=12.0e6,
        until=now + timedelta(minutes=48),
        notice_s=600,
    )
    yield Fault(
        at=now - timedelta(minutes=90),
        known_at=now - timedelta(minutes=85),
        source="site:sa-cl-02",
        kind="measured",
        site_id="sa-cl-02",
        what="not heard",
        detail="rigs-1 does not answer; counted at its last known power",
    )
    held = Override(
        at=now - timedelta(minutes=31),
        known_at=now - timedelta(minutes=31),
        source="console",
        kind="measured",
        override_id="ov-1",
        site_id="na-ny-01",
        unit_id="na-ny-01.rigs-1",
        target_w=8.0e6,
        until=now + timedelta(hours=2),
        by="Mara",
        why="transformer inspection on bay 2",
    )
    yield held
    yield Action(
        at=held.at,
        known_at=held.at,
        source="console",
        kind="measured",
        by="Mara",
        what="override",
        target="na-ny-01.rigs-1",
        detail="hold at 8 MW until 20:02 UTC: transformer inspection on bay 2",
    )
    last = now.replace(minute=0, second=0)
    yield Outcome(
        at=last,
        known_at=last + timedelta(seconds=20),
        source="site:sa-cl-02",
        kind="simulated",
        site_id="sa-cl-02",
        unit_id=SILENT,
        plan_known_at=last,
        result="unreachable",
        asked_w=6.9e6,
        observed_w=None,
        last_known_w=6.8e6,
        cause="fault",
        detail="no answer for 92 minutes",
    )
    for site_id in ("na-tx-01", "na-ga-01"):
        yield ReplicaState(
            at=now - timedelta(seconds=1),
            known_at=now - timedelta(seconds=1),
            source=f"site:{site_id}",
            kind="measured",
            replica_id=f"{site_id}.gpu-r1",
            site_id=site_id,
            region="north_america",
            model="tieline-selftest",
            base_url="http://127.0.0.1:1",
            state="ready",
            slots=8,
            label="Self-test model: proves the path, knows next to nothing",
        )


def months(fleet: Fleet, now: datetime) -> Iterator[AnyRecord]:
    """A payout a day and a power bill per site and day, from the month's first."""
    first = now.replace(day=1, hour=0, minute=0, second=0)
    for day in range((now - first).days):
        start = first + timedelta(days=day)
        end = start + timedelta(days=1)
        yield Payout(
            at=end,
            known_at=end,
            source="simulated FPPS",
            kind="simulated",
            payout_id=f"fpps-{start:%Y-%m-%d}",
            pool="simulated FPPS",
            sats=2_288_000_000 + day * 1_234_567,
            span_start=start,
            span_end=end,
            hashrate_hs=44.9e18,
            difficulty=DIFFICULTY,
            btc_usd=BTC_USD,
        )
        for site in fleet.sites:
            mining_w = sum(g.rated_w for g in site.rig_groups) * 0.9
            inference_w = sum(g.rated_w for g in site.node_groups) * 0.6
            yield PowerBill(
                at=start,
                known_at=end,
                source="settlement",
                kind="simulated",
                site_id=site.id,
                length_s=86_400,
                mining_wh=mining_w * 24,
                inference_wh=inference_w * 24,
                aux_wh=(mining_w * 0.06 + inference_w * GPU_AUX) * 24,
                cost_usd=Decimal(str(round((mining_w + inference_w) * 24 / 1e6 * 41.0, 6))),
            )

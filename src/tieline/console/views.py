"""What the fold knows, as the JSON that the page draws.

Pure: values in, plain dicts out. Powers leave in MW, hashrates in EH/s, prices in USD/MWh, times in seconds
since 1970; each name carries its unit. A figure that is not known leaves as null, and how many units stand
behind a sum leaves beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from tieline.console.attention import attention_view, confirmed
from tieline.console.decided import decision_view, recent
from tieline.console.figures import ehs, mw, scaled, total
from tieline.console.fold import STEP_S, Fold, IntervalRow, Unit
from tieline.console.rooms.provenance import STREAMS
from tieline.economics import network_hashrate, strike
from tieline.fleet import Contract, RigGroup, Site
from tieline.fleet.physics import aux_share
from tieline.intake import Hashrate, Id, Rate, Time, Watts, Word
from tieline.records import Commitment, Fault, Instruction, Override, Plan
from tieline.units import Efficiency

Json = dict[str, Any]

# After three missed intervals a unit counts as not heard: the page says so and stops adding it up.
STALE = timedelta(minutes=16)
# Below this share of its limit a site is standing by, not mining: control boards and fans draw that much.
IDLE_SHARE = 0.02
PAGE_DECISIONS = 120


class LiveUnit(msgspec.Struct, frozen=True):
    """A unit's last unstored reading."""

    power_w: Watts | None = None
    hashrate_hs: Hashrate | None = None
    tokens_per_s: Rate | None = None


class Live(msgspec.Struct, frozen=True):
    """What a site says every two seconds, unstored: for pages only."""

    site_id: Word
    at: Time
    units: dict[Id, LiveUnit]
    meter_w: Watts | None = None
    meter_at: Time | None = None


class Now(msgspec.Struct, frozen=True):
    """One unit as it stands: the newer of the live reading and the last stored sample."""

    power_w: float | None
    hashrate_hs: float | None
    tokens_per_s: float | None
    heard_at: datetime | None
    seq: int | None
    live: bool


def unit_now(fold: Fold, live: Mapping[str, Live], unit: Unit, now: datetime) -> Now:
    said = live.get(unit.site.id)
    stored = fold.samples.get(unit.id)
    reading = said.units.get(unit.id) if said else None
    if said and reading and now - said.at < STALE and (stored is None or said.at > stored[1].at):
        seq = stored[0] if stored else None
        return Now(reading.power_w, reading.hashrate_hs, reading.tokens_per_s, said.at, seq, True)
    if stored is None:
        return Now(None, None, None, None, None, False)
    seq, sample = stored
    heard_at = sample.last_heard or (sample.at + timedelta(seconds=sample.length_s) if sample.readings else None)
    if now - sample.at > STALE + timedelta(seconds=sample.length_s):
        return Now(None, None, None, heard_at, seq, False)
    # A sample of no length tells no rate.
    tokens = None if sample.tokens is None or not sample.length_s else sample.tokens / sample.length_s
    return Now(sample.power_w, sample.hashrate_hs, tokens, heard_at, seq, False)


def meter_now(
    fold: Fold, live: Mapping[str, Live], site: Site, now: datetime
) -> tuple[float | None, datetime | None, int | None]:
    """What a site's own meter says and when; None where it has none or has not been heard for STALE."""
    said, stored = live.get(site.id), fold.meters.get(site.id)
    seq = stored[0] if stored else None
    if said and said.meter_w is not None and said.meter_at is not None and now - said.meter_at < STALE:
        return said.meter_w, said.meter_at, seq
    if stored is None or now - stored[1].at > STALE + timedelta(seconds=stored[1].length_s):
        return None, None, seq
    return stored[1].power_w, stored[1].last_heard, seq


def overview(fold: Fold, live: Mapping[str, Live], now: datetime, speed: float, info: Json) -> Json:
    """The first page, without its markets, which change more slowly."""
    return {
        "fleet": fleet_view(fold),
        **now_view(fold, live, now, speed, info),
        "series": series_view(fold, speed),
        "decisions": [decision_view(fold, d) for d in recent(fold.decisions, PAGE_DECISIONS)],
    }


def fleet_view(fold: Fold) -> Json:
    fleet = fold.fleet
    return {
        "name": fleet.name,
        "sites": len(fleet.sites),
        "invented": sum(s.invented for s in fleet.sites),
        "streams": sorted(STREAMS),
        "limit_mw": mw(fleet.limit_w),
        "deployed_ehs": ehs(fleet.deployed_hs),
        "regions": sorted({s.region for s in fleet.sites}),
        "step_s": STEP_S,
    }


def now_view(fold: Fold, live: Mapping[str, Live], now: datetime, speed: float, info: Json) -> Json:
    """Key numbers, sites and health: what changes every two seconds."""
    sites = [site_now(fold, live, site, now) for site in fold.fleet.sites]
    return {
        "seq": fold.seq,
        "now": now.timestamp(),
        "speed": speed,
        "keys": keys_view(fold, sites, now),
        "sites": sites,
        "origins": origins_view(fold),
        "replicas": replicas_view(fold, now),
        "attention": attention_view(fold, sites, now),
        "writing_past": _writing_past(fold),
        "parts": info.get("parts", []),
        "note": info.get("note", ""),
        "version": info.get("version", ""),
    }


class SiteSums(msgspec.Struct):
    """What a site's units do together, of those that were heard."""

    mining_w: float = 0.0
    inference_w: float = 0.0
    aux_w: float = 0.0
    heard: int = 0
    hashrate_hs: float | None = None
    tokens_per_s: float | None = None
    age_s: float | None = None

    @property
    def drawn_w(self) -> float | None:
        return self.mining_w + self.inference_w + self.aux_w if self.heard else None

    def known(self, watts: float) -> float | None:
        """`watts` of this sum; None where nobody was heard."""
        return watts if self.heard else None


def site_sums(fold: Fold, live: Mapping[str, Live], site: Site, now: datetime) -> SiteSums:
    sums = SiteSums()
    readings = [(fold.units[group.id], unit_now(fold, live, fold.units[group.id], now)) for group in site.units]
    for unit, reading in readings:
        if reading.power_w is None:
            continue
        sums.heard += 1
        load_w, extra_w = fold.split(unit, reading.power_w)
        sums.aux_w += extra_w
        if unit.mining:
            sums.mining_w += load_w
        else:
            sums.inference_w += load_w
    sums.hashrate_hs = total(reading.hashrate_hs for _, reading in readings)
    sums.tokens_per_s = total(reading.tokens_per_s for _, reading in readings)
    ages = [(now - reading.heard_at).total_seconds() for _, reading in readings if reading.heard_at is not None]
    sums.age_s = max(ages, default=None)
    return sums


def site_now(fold: Fold, live: Mapping[str, Live], site: Site, now: datetime) -> Json:
    sums, plan = site_sums(fold, live, site, now), fold.plans.get(site.id)
    limit_w = plan[1].limit_w if plan is not None and plan[1].valid_until > now else site.interconnect.limit_w
    meter_w, meter_at, meter_seq = meter_now(fold, live, site, now)
    return {
        "id": site.id,
        "name": site.name,
        "region": site.region,
        "lat": site.lat,
        "lon": site.lon,
        "mode": site.mode,
        "ownership": site.ownership,
        "invented": site.invented,
        "limit_mw": mw(limit_w),
        "interconnect_mw": mw(site.interconnect.limit_w),
        "mining_mw": mw(sums.known(sums.mining_w)),
        "inference_mw": mw(sums.known(sums.inference_w)),
        "aux_mw": mw(sums.known(sums.aux_w)),
        "asked_mw": None if plan is None else mw(sum(s.target_w for s in plan[1].setpoints)),
        "ehs": ehs(sums.hashrate_hs),
        "deployed_ehs": ehs(site.deployed_hs),
        "tokens_s": scaled(sums.tokens_per_s, 1.0, 1),
        "does": _does(sums, site),
        "heard": sums.heard,
        "units": len(site.units),
        "age_s": scaled(sums.age_s, 1.0, 1),
        "price_usd_per_mwh": delivered_usd_per_mwh(fold, site.contract, now),
        "plan_seq": plan[0] if plan else None,
        "drawn_mw": mw(sums.drawn_w),
        "meter_mw": mw(meter_w),
        "meter_age_s": None if meter_at is None else round((now - meter_at).total_seconds(), 1),
        "meter_seq": meter_seq,
        "faults": [f.what for _, f in open_faults(fold, site.id, now)],
        "orders": [i.limit_w / 1e6 for _, i in open_orders(fold, site.id, now)],
    }


def _does(sums: SiteSums, site: Site) -> str:
    if sums.heard == 0:
        return "unheard"
    if sums.mining_w > IDLE_SHARE * site.interconnect.limit_w:
        return "mining"
    return "inference" if sums.inference_w > 0 else "grid"


def keys_view(fold: Fold, sites: list[Json], now: datetime) -> Json:
    """The numbers at the top; each names how many units were heard, and its age."""
    limit = sum(s["limit_mw"] for s in sites)
    sums = {name: scaled(total(s[name] for s in sites), 1.0, 4) for name in ("mining_mw", "inference_mw", "aux_mw")}
    drawn = None if sums["mining_mw"] is None else sum(value or 0.0 for value in sums.values())
    return {
        **sums,
        "limit_mw": round(limit, 3),
        "grid_mw": None if drawn is None else round(limit - drawn, 3),
        "drawn_mw": scaled(drawn, 1.0, 3),
        "units_heard": sum(s["heard"] for s in sites),
        "units": sum(s["units"] for s in sites),
        **_ages([s["age_s"] for s in sites if s["age_s"] is not None]),
        "ehs": scaled(total(s["ehs"] for s in sites), 1.0, 4),
        "deployed_ehs": ehs(fold.fleet.deployed_hs),
        "modelled_tokens_s": scaled(total(s["tokens_s"] for s in sites), 1.0, 4),
        **_paid(sites),
        **_network(fold, now),
        "planned_usd_per_h": _planned(fold, now),
    }


def _ages(ages: list[float]) -> Json:
    """Of the oldest reading, and of the one in the middle."""
    ordered = sorted(ages)
    return {
        "age_s": ordered[-1] if ordered else None,
        "typical_age_s": ordered[len(ordered) // 2] if ordered else None,
    }


def _paid(sites: list[Json]) -> Json:
    """The mean price of what is drawn, weighed by it, and over how many MW it is known."""
    prices = [(s["price_usd_per_mwh"], s["drawn_mw"]) for s in sites]
    paid = [(price, drawn) for price, drawn in prices if price is not None and drawn]
    priced = sum(drawn for _, drawn in paid)
    mean = round(sum(price * drawn for price, drawn in paid) / priced, 2) if priced else None
    return {"price_usd_per_mwh": mean, "priced_mw": round(priced, 3)}


def _network(fold: Fold, now: datetime) -> Json:
    """Bitcoin's network as it was last told."""
    names = ("btc_usd", "difficulty", "network_ehs", "network_source", "network_age_s", "network_seq")
    if fold.network is None:
        return {"hashprice_usd": None, **dict.fromkeys(names)}
    seq, tick = fold.network
    return {
        "hashprice_usd": fold.hashprice_now(),
        "btc_usd": float(tick.btc_usd),
        "difficulty": tick.difficulty,
        "network_ehs": ehs(network_hashrate(tick.difficulty).value),
        "network_source": tick.source,
        "network_age_s": max(0.0, (now - tick.at).total_seconds()),
        "network_seq": seq,
    }


def _planned(fold: Fold, now: datetime) -> float | None:
    """USD per hour that the plans in force expect where they are carried out: what is only observed, hosted or not yet
    confirmed earns what it earns without them. None where no such plan says."""
    known = [
        s.expected_usd_per_h
        for _, plan in fold.plans.values()
        if plan.valid_until > now and _carried_out(fold, plan)
        for s in plan.setpoints
        if s.expected_usd_per_h is not None
    ]
    return round(sum(known), 2) if known else None


def _carried_out(fold: Fold, plan: Plan) -> bool:
    site = fold.sites.get(plan.site_id)
    if site is None or site.ownership == "hosted" or plan.mode == "observe":
        return False
    return plan.mode == "act" or confirmed(fold, site, plan)


def _writing_past(fold: Fold) -> bool:
    """True between the marks that a demo's past sets: begun, and not finished."""
    marks = {action.what for _, action in fold.actions}
    return "history begun" in marks and "history finished" not in marks


def origins_view(fold: Fold) -> list[Json]:
    """By stream: where its records came from, and whether they were measured."""
    return [
        {"stream": stream, "source": source, "kind": kind, "at": at.timestamp()}
        for stream, origins in sorted(fold.origins.items())
        for (source, kind), at in sorted(origins.items())
    ]


def replicas_view(fold: Fold, now: datetime) -> list[Json]:
    return [
        {
            "id": r.replica_id,
            "site_id": r.site_id,
            "site": fold.sites[r.site_id].name if r.site_id in fold.sites else r.site_id,
            "model": r.model,
            "state": r.state,
            "label": r.label,
            "engine": r.engine,
            "slots": r.slots,
            "detail": r.detail,
            "age_s": (now - r.known_at).total_seconds(),
            "seq": seq,
        }
        for seq, r in sorted(fold.replicas.values(), key=lambda x: x[1].replica_id)
    ]


def series_view(fold: Fold, speed: float, since: datetime | None = None) -> Json:
    """One row per interval, in the order of `columns`."""
    return series_rows(fold.rows(since), speed)


def series_rows(rows: Iterable[IntervalRow], speed: float) -> Json:
    return {"columns": SERIES, "rows": [_series_row(row, speed) for row in rows]}


SERIES = [
    "at", "mining_mw", "inference_mw", "aux_mw", "grid_mw", "limit_mw", "ehs", "modelled_tokens_s",
    "real_tokens_s", "heard", "missing",
]  # fmt: skip


def _series_row(row: IntervalRow, speed: float) -> list[float | int | None]:
    """Real tokens are made in wall-clock time, whatever the world's speed: a world interval of 300 s lasts
    300 / speed seconds for an engine."""
    drawn = None if row.mining_w is None else row.mining_w + (row.inference_w or 0.0) + (row.aux_w or 0.0)
    return [
        int(row.start.timestamp()),
        mw(row.mining_w),
        mw(row.inference_w),
        mw(row.aux_w),
        None if drawn is None else mw(max(0.0, row.limit_w - drawn)),
        mw(row.limit_w),
        ehs(row.hashrate_hs),
        None if row.modelled_tokens_s is None else round(row.modelled_tokens_s, 1),
        round(row.real_tokens * speed / STEP_S, 3),
        row.heard,
        row.missing,
    ]


def delivered_usd_per_mwh(fold: Fold, contract: Contract, now: datetime) -> float | None:
    """What a MWh costs at the meter now; None while its market has no price."""
    charge, losses = contract.network_at(now)
    if contract.basis == "fixed":
        fixed = contract.fixed_usd_per_mwh
        return None if fixed is None else round(fixed * (1.0 + losses) + contract.adder_usd_per_mwh + charge, 4)
    holding = fold.price_now(contract.market_15min, now) or fold.price_now(contract.market, now)
    if holding is None:
        return None
    energy = holding[1].price_usd_per_mwh * contract.scale * (1.0 + losses)
    return round(energy + contract.adder_usd_per_mwh + charge, 4)


def strike_of(fold: Fold, unit: Unit) -> tuple[float, str] | None:
    """A rig group's strike at the meter and where it came from: the plan's own bid, else the formula at the
    present hashprice without pool fee."""
    plan = fold.plans.get(unit.site.id)
    for setpoint in plan[1].setpoints if plan else ():
        if setpoint.unit_id == unit.id and setpoint.reason.bid_usd_per_mwh is not None:
            return setpoint.reason.bid_usd_per_mwh, "plan"
    price = fold.hashprice_now()
    if price is None or not isinstance(unit.group, RigGroup):
        return None
    model = unit.group.rig
    aux = aux_share(unit.site.cooling_of(unit.group), fold.temp_c(unit.site))
    return strike(price, Efficiency(model.efficiency_j_th), 0.0, aux).value, "formula"


def markets_view(fold: Fold, now: datetime) -> Json:
    """Per market: its price curve, and the market price above which each rig group on it stops."""
    groups: dict[str, list[Json]] = {}
    fixed: list[Json] = []
    for unit in fold.units.values():
        if not isinstance(unit.group, RigGroup):
            continue
        contract, group = unit.site.contract, _group_view(fold, unit, unit.group)
        market = contract.market
        if contract.basis == "fixed" and not (contract.resale and market):
            fixed.append({**group, "price_usd_per_mwh": delivered_usd_per_mwh(fold, contract, now)})
        elif market is not None:
            stops = _stops_above(contract, group["strike_usd_per_mwh"], now)
            groups.setdefault(market, []).append({**group, "stops_above_usd_per_mwh": stops})
    return {
        "curves": [_market(fold, market, groups[market], now) for market in sorted(groups)],
        "fixed": sorted(fixed, key=lambda g: (g["price_usd_per_mwh"] or 0.0, g["site_id"])),
    }


def _group_view(fold: Fold, unit: Unit, group: RigGroup) -> Json:
    strike, plan = strike_of(fold, unit), fold.plans.get(unit.site.id)
    target = next((s.target_w for s in plan[1].setpoints if s.unit_id == unit.id), None) if plan else None
    return {
        "unit_id": unit.id,
        "site_id": unit.site.id,
        "site": unit.site.name,
        "model": group.model,
        "j_per_th": round(group.rig.efficiency_j_th, 2),
        "rated_mw": mw(group.rated_w),
        "target_mw": mw(target),
        "strike_usd_per_mwh": None if strike is None else round(strike[0], 2),
        "strike_from": None if strike is None else strike[1],
    }


def _stops_above(contract: Contract, strike_usd_per_mwh: float | None, now: datetime) -> float | None:
    """The market's price at which the delivered price reaches the strike."""
    if strike_usd_per_mwh is None or contract.basis == "fixed":  # a fixed price resold: the market's is the price
        return strike_usd_per_mwh
    if contract.scale <= 0:
        return None
    charge, losses = contract.network_at(now)
    return round((strike_usd_per_mwh - contract.adder_usd_per_mwh - charge) / (contract.scale * (1.0 + losses)), 2)


def _market(fold: Fold, market: str, groups: list[Json], now: datetime) -> Json:
    start, end = (now - timedelta(hours=24)), (now + timedelta(hours=24))
    ticks = sorted(fold.prices.get(market, {}).items())
    holding = fold.price_now(market, now)
    known = [g["stops_above_usd_per_mwh"] for g in groups if g["stops_above_usd_per_mwh"] is not None]
    return {
        "market": market,
        "points": [
            [int(at.timestamp()), tick.price_usd_per_mwh, 1 if tick.kind == "forecast" else 0]
            for at, (_, tick) in ticks
            if start - timedelta(seconds=tick.length_s) < at < end
        ],
        "length_s": holding[1].length_s if holding else (ticks[-1][1][1].length_s if ticks else 3600),
        "now_usd_per_mwh": holding[1].price_usd_per_mwh if holding else None,
        "source": holding[1].source if holding else None,
        "kind": holding[1].kind if holding else None,
        "seq": holding[0] if holding else None,
        "strike_low": min(known) if known else None,
        "strike_high": max(known) if known else None,
        "groups": sorted(groups, key=lambda g: -(g["stops_above_usd_per_mwh"] or 0.0)),
    }


def open_faults(fold: Fold, site_id: str, now: datetime) -> list[tuple[int, Fault]]:
    return [(q, f) for q, f in fold.faults.values() if f.site_id == site_id and (f.until is None or f.until > now)]


def open_promises(fold: Fold, site_id: str, now: datetime) -> list[tuple[int, Commitment]]:
    """Commitments to the grid that bind now."""
    return [
        (q, c)
        for q, c in fold.commitments.values()
        if c.site_id == site_id and c.status in ("accepted", "deployed") and c.at <= now < c.until
    ]


def open_orders(fold: Fold, site_id: str, now: datetime) -> list[tuple[int, Instruction]]:
    return [(q, i) for q, i in fold.instructions.values() if i.site_id == site_id and i.at <= now < i.until]


def open_overrides(fold: Fold, site_id: str, now: datetime) -> list[tuple[int, Override]]:
    return [(q, o) for q, o in fold.overrides.values() if o.site_id == site_id and o.until > now]

"""One site's page: what stands there, what it was asked, what it does, under which contract and weather."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from tieline.console.decided import decision_view, recent
from tieline.console.figures import scaled
from tieline.console.fold import Fold, Unit
from tieline.console.rooms.operator import ACCEPT
from tieline.console.views import (
    Json,
    Live,
    delivered_usd_per_mwh,
    markets_view,
    open_faults,
    open_orders,
    open_overrides,
    open_promises,
    series_rows,
    site_now,
    strike_of,
    unit_now,
)
from tieline.console.zones import zone_at
from tieline.fleet import NodeGroup, RigGroup, Site
from tieline.records import Shortfall


def site_view(fold: Fold, live: Mapping[str, Live], site: Site, now: datetime, speed: float) -> Json:
    markets = markets_view(fold, now)
    mine = {site.contract.market, site.contract.market_15min} - {None}
    return {
        "now": now.timestamp(),
        "speed": speed,
        "site": site_now(fold, live, site, now),
        "zone": zone_at(site),
        "cooling": " and ".join(dict.fromkeys(site.cooling_of(g) for g in site.rig_groups)) or site.cooling,
        "safe_default": site.safe_default,
        "interconnect_operator": site.interconnect.operator,
        "feeders": [{"id": f.id, "load": f.load, "limit_mw": f.limit_w / 1e6} for f in site.feeders],
        "contract": contract_view(fold, site, now),
        "weather": weather_view(fold, site, now),
        "units": [unit_view(fold, live, fold.units[g.id], now) for g in site.units],
        "plan": _plan_view(fold, site),
        "confirmed": _confirmed(fold, site),
        "series": series_rows(fold.site_rows(site), speed),
        "asked": _asked(fold, site),
        "curves": [c for c in markets["curves"] if c["market"] in mine],
        "decisions": [decision_view(fold, d) for d in recent((d for d in fold.decisions if d.site_id == site.id), 60)],
        **_standing(fold, site, now),
        "causes": causes_view(fold, site, now),
        "kept": [
            {"seq": q, "what": p.what, "line": p.line, "at": p.at.timestamp(), "kind": p.kind}
            for q, p in reversed(fold.performances.get(site.id, ()))
        ],
        "replicas": [r.replica_id for _, r in fold.replicas.values() if r.site_id == site.id],
    }


def _standing(fold: Fold, site: Site, now: datetime) -> Json:
    """What binds the site now beside its plan: faults, orders, promises, and what is held by hand."""
    return {
        "faults": [
            {"seq": q, "what": f.what, "detail": f.detail, "at": f.at.timestamp()}
            for q, f in open_faults(fold, site.id, now)
        ],
        "orders": [
            {"seq": q, "limit_mw": i.limit_w / 1e6, "until": i.until.timestamp(), "id": i.instruction_id}
            for q, i in open_orders(fold, site.id, now)
        ],
        "commitments": [
            {"seq": q, "product": c.product, "mw": c.power_w / 1e6, "until": c.until.timestamp(), "status": c.status}
            for q, c in open_promises(fold, site.id, now)
        ],
        "overrides": [
            {
                "seq": q,
                "override_id": o.override_id,
                "unit_id": o.unit_id,
                "target_mw": scaled(o.target_w, 1e6),
                "until": o.until.timestamp(),
                "by": o.by,
                "why": o.why,
            }
            for q, o in open_overrides(fold, site.id, now)
        ],
    }


def _plan_view(fold: Fold, site: Site) -> Json | None:
    known = fold.plans.get(site.id)
    if known is None:
        return None
    seq, plan = known
    return {
        "seq": seq,
        "at": plan.at.timestamp(),
        "valid_until": plan.valid_until.timestamp(),
        "mode": plan.mode,
        "decided_by": plan.decided_by,
        "note": plan.note,
        "limit_mw": plan.limit_w / 1e6,
    }


def unit_view(fold: Fold, live: Mapping[str, Live], unit: Unit, now: datetime) -> Json:
    """A unit with what it was asked (setpoint), what was observed (readback), and how it answered."""
    group, reading, strike = unit.group, unit_now(fold, live, unit, now), strike_of(fold, unit)
    return {
        "id": unit.id,
        "feeder": group.feeder,
        "use": "mining" if unit.mining else "inference",
        "hardware": group.hardware,
        "rated_mw": group.rated_w / 1e6,
        "observed_mw": scaled(reading.power_w, 1e6),
        "ehs": scaled(reading.hashrate_hs, 1e18),
        "tokens_s": reading.tokens_per_s,
        "heard_s": None if reading.heard_at is None else (now - reading.heard_at).total_seconds(),
        "live": reading.live,
        "strike_usd_per_mwh": None if strike is None else strike[0],
        **_sampled(fold, unit),
        **_asked_of(fold, unit),
        "outcome": _answered(fold, unit),
        **_hardware(group),
    }


def _sampled(fold: Fold, unit: Unit) -> Json:
    """What its last stored sample says beside power."""
    known = fold.samples.get(unit.id)
    if known is None:
        return dict.fromkeys(("sample_seq", "devices", "devices_heard", "temp_c"))
    seq, sample = known
    answering = sample.devices_heard
    return {"sample_seq": seq, "devices": sample.devices, "devices_heard": answering, "temp_c": sample.temp_c}


def _asked_of(fold: Fold, unit: Unit) -> Json:
    """Its setpoint in the last plan, and why."""
    plan = fold.plans.get(unit.site.id)
    setpoint = next((s for s in plan[1].setpoints if s.unit_id == unit.id), None) if plan else None
    if setpoint is None:
        names = ("asked_mw", "replicas", "rule", "reason", "expected_usd_per_h")
        return {**dict.fromkeys(names), "shares": {}}
    return {
        "asked_mw": setpoint.target_w / 1e6,
        "shares": setpoint.shares,
        "replicas": setpoint.replicas,
        "rule": setpoint.reason.rule,
        "reason": setpoint.reason.text,
        "expected_usd_per_h": setpoint.expected_usd_per_h,
    }


def _answered(fold: Fold, unit: Unit) -> Json | None:
    known = fold.outcomes.get(unit.id)
    if known is None:
        return None
    seq, outcome = known
    return {
        "seq": seq,
        "result": outcome.result,
        "cause": outcome.cause,
        "detail": outcome.detail,
        "asked_mw": outcome.asked_w / 1e6,
        "observed_mw": scaled(outcome.observed_w, 1e6),
        "last_known_mw": scaled(outcome.last_known_w, 1e6),
        "at": outcome.at.timestamp(),
    }


def _hardware(group: RigGroup | NodeGroup) -> Json:
    if isinstance(group, NodeGroup):
        return {
            "model": group.node,
            "count": group.nodes,
            "serves": group.model,
            "replicas_real": group.replicas_real,
        }
    return {
        "model": group.model,
        "count": group.rigs,
        "firmware": group.firmware,
        "deployed_ehs": group.rated_hs / 1e18,
        "j_per_th": group.rig.efficiency_j_th,
    }


def causes_view(fold: Fold, site: Site, now: datetime) -> Json | None:
    """Mining below full operation over the last day that is settled, by cause, and the records it is a sum of."""
    known = [(q, s) for q, s in fold.shortfalls.get(site.id, ()) if s.at >= now - timedelta(days=1)]
    if not known:
        return None
    hours = [s for _, s in known]
    return {
        "since": min(s.at for s in hours).timestamp(),
        "until": max(s.at + timedelta(seconds=s.length_s) for s in hours).timestamp(),
        "full_mwh": sum(s.full_wh for s in hours) / 1e6,
        "drawn_mwh": sum(s.drawn_wh for s in hours) / 1e6,
        "unheard_h": sum(s.unheard_s for s in hours) / 3600.0,
        "simulated": any(s.kind == "simulated" for s in hours),
        "by_cause": _by_cause(hours),
        "seqs": [q for q, _ in known],
    }


def _by_cause(hours: list[Shortfall]) -> list[Json]:
    return [
        {
            "cause": cause,
            "mwh": sum(s.short_wh.get(cause, 0) for s in hours) / 1e6,
            "btc": sum(s.lost_sats.get(cause, 0) for s in hours) / 1e8,
        }
        for cause in sorted({cause for s in hours for cause in s.short_wh})
    ]


def contract_view(fold: Fold, site: Site, now: datetime) -> Json:
    contract = site.contract
    holding = fold.price_now(contract.market_15min, now) or fold.price_now(contract.market, now)
    return {
        "basis": contract.basis,
        "market": contract.market,
        "market_15min": contract.market_15min,
        "scale": contract.scale,
        "adder_usd_per_mwh": contract.adder_usd_per_mwh,
        "network_usd_per_mwh": contract.network_at(now).usd_per_mwh,
        "network_losses": contract.network_at(now).losses,
        "fixed_usd_per_mwh": contract.fixed_usd_per_mwh,
        "take_share": contract.take_share,
        "resale": contract.resale,
        "delivered_usd_per_mwh": delivered_usd_per_mwh(fold, contract, now),
        "market_usd_per_mwh": holding[1].price_usd_per_mwh if holding else None,
        "price_kind": holding[1].kind if holding else None,
        "price_source": holding[1].source if holding else None,
        "price_seq": holding[0] if holding else None,
    }


def weather_view(fold: Fold, site: Site, now: datetime) -> Json:
    known = fold.weather.get(site.weather_station or "")
    if known is None:
        return {"station": site.weather_station, "temp_c": None}
    seq, tick = known
    return {
        "station": site.weather_station,
        "temp_c": fold.temp_c(site),
        "station_temp_c": tick.temp_c,
        "offset_c": site.temp_offset_c,
        "age_s": (now - tick.at).total_seconds(),
        "source": tick.source,
        "kind": tick.kind,
        "seq": seq,
    }


def _asked(fold: Fold, site: Site) -> list[list[float]]:
    """The site's total setpoint from each change on: [time, MW]."""
    return [[at.timestamp(), round(watts / 1e6, 4)] for at, watts in fold.asked_w(site)]


def _confirmed(fold: Fold, site: Site) -> Json | None:
    """Who confirmed the plan in force, and when."""
    plan = fold.plans.get(site.id)
    if plan is None:
        return None
    known_at = plan[1].known_at.isoformat()
    for seq, action in reversed(fold.actions):
        if action.what == ACCEPT and action.target == site.id and action.detail == known_at:
            return {"seq": seq, "by": action.by, "at": action.at.timestamp()}
    return None

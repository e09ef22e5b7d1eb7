"""What a site's own page shows, from its agent alone: what is, how old each figure is, what is asked and by whom."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tieline.edge.agent import Agent
from tieline.edge.decide import local_source
from tieline.edge.rigs.group import AsicGroup
from tieline.edge.rigs.state import RigState
from tieline.edge.unit import UnitState
from tieline.fleet.sites import RigGroup

# Rows of one page of rigs.
PAGE = 100


def site_shown(agent: Agent, now: datetime) -> dict[str, Any]:
    """Watts, hashes per second, seconds; None where a figure is not known."""
    asked = {} if agent.decision is None else {one.unit_id: one for one in agent.decision.targets}
    units = []
    for unit_id, unit in agent.units.items():
        target = asked.get(unit_id)
        setpoint = None if target is None else target.setpoint
        row = unit.live(now) | {"unit_id": unit_id, "rigs": isinstance(unit.device, AsicGroup), "silent": unit.silent}
        row["mining"] = isinstance(unit.group, RigGroup)
        row["model"] = unit.group.model if isinstance(unit.group, RigGroup) else ""
        row["wanted_w"] = None if setpoint is None else setpoint.target_w
        row["why"] = None if setpoint is None else setpoint.reason.text
        units.append(row)
    return {
        "site_id": agent.site.id,
        "name": agent.site.name,
        "at": now,
        "mode": agent.site.mode,
        "may_stop": agent.site.may_act or agent.site.mode == "advise",
        "link": "up" if agent.link.up else "revoked" if agent.link.refused else "away",
        "waiting": len(agent.outbox),
        "limit_w": None if agent.decision is None else agent.decision.limit_w,
        "short_w": 0.0 if agent.decision is None else agent.decision.short_w,
        "meter": _meter(agent, now),
        "units": units,
        "orders": _orders(agent, now),
        "plan": _plan(agent, now),
        "faults": [{"what": what, "detail": line} for what, line in agent.faults.open().items()],
    }


def _meter(agent: Agent, now: datetime) -> dict[str, Any] | None:
    reading = agent.meter_reading
    if reading is None:
        return None
    return {"power_w": reading.counted_w, "age_s": (now - reading.at).total_seconds()}


def _plan(agent: Agent, now: datetime) -> dict[str, Any] | None:
    plan = agent.orders.orders(now).plan
    if plan is None:
        return None
    return {"age_s": (now - plan.known_at).total_seconds(), "valid_until": plan.valid_until, "by": plan.decided_by}


def _orders(agent: Agent, now: datetime) -> list[dict[str, Any]]:
    """Grid orders and overrides that bind now, the newest first."""
    held = agent.orders.orders(now)
    local = local_source(agent.site.id)
    rows = [
        {
            "kind": "grid order", "id": one.instruction_id, "limit_w": one.limit_w, "unit_id": None, "by": one.source,
            "why": "", "age_s": (now - one.known_at).total_seconds(), "until": one.until, "local": False,
        }
        for one in held.instructions
    ]  # fmt: skip
    rows += [
        {
            "kind": "stop" if one.source == local else "override", "id": one.override_id, "limit_w": one.target_w,
            "unit_id": one.unit_id, "by": one.by, "why": one.why, "age_s": (now - one.known_at).total_seconds(),
            "until": one.until, "local": one.source == local,
        }
        for one in held.overrides
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (row["age_s"], row["id"]))


def rigs_shown(units: Mapping[str, UnitState], unit_id: str, first: int) -> dict[str, Any] | None:
    """A page of one group's rigs, those that need somebody first: strangers, silent ones, those that do not obey. None
    where the unit has no rigs on sockets."""
    unit = units.get(unit_id)
    if unit is None or not isinstance(unit.device, AsicGroup):
        return None
    group = unit.device
    rows = [_rig(group, rig) for rig in group.rigs]
    rows.sort(key=lambda row: row["state"] in ("runs", "sleeps"))  # else as the site's file lists them
    return {"unit_id": unit_id, "count": len(rows), "first": first, "rigs": rows[first : first + PAGE]}


def _rig(group: AsicGroup, rig: RigState) -> dict[str, Any]:
    sample = rig.sample
    state, detail = _state(group, rig)
    known = sample if rig.heard else None
    return {
        "address": rig.address,
        "mac": None if sample is None else sample.mac,
        "state": state,
        "detail": detail or rig.drift or "",
        "watts": None if known is None else known.watts,
        "estimated": known is not None and known.estimated,
        "ths": None if known is None or known.hashrate_hs is None else known.hashrate_hs / 1e12,
        "chip_c": None if known is None else known.chip_c,
        "asked": None if rig.wanted is None else rig.wanted.mode,
        "age_s": group.age_s(rig),
    }


def _state(group: AsicGroup, rig: RigState) -> tuple[str, str]:
    if not rig.heard:
        return "silent", rig.why_silent
    if rig.stranger is not None:
        return "stranger", rig.stranger
    if group.disobeys(rig):
        return "does not obey", rig.refusal or ""
    return "sleeps" if rig.asleep(group.group.rig) else "runs", ""

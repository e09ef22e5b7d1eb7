"""What a site's own page shows, from its agent alone: what is, how old each figure is, what is asked and by whom."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tieline.edge.agent import Agent
from tieline.edge.decide import local_source
from tieline.edge.rigs.wire import SilentError
from tieline.edge.rigs.workers.rows import RigDevice
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
        row = unit.live(now) | {"unit_id": unit_id, "rigs": isinstance(unit.device, RigDevice), "silent": unit.silent}
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


async def rigs_shown(units: Mapping[str, UnitState], unit_id: str, first: int) -> dict[str, Any] | None:
    """A page of one group's rigs, those that need somebody first: strangers, silent ones, those that do not obey. None
    where the unit has no rigs on sockets. Raises ValueError where the process that speaks to them is not there."""
    unit = units.get(unit_id)
    if unit is None or not isinstance(unit.device, RigDevice):
        return None
    try:
        page = await unit.device.page(first, PAGE)
    except SilentError as error:
        raise ValueError(f"unit: {error}") from error
    return {"unit_id": unit_id, "count": page.count, "first": first, "rigs": page.rigs}

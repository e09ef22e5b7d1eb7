"""What a limit would do here now, rig by rig, with nothing sent: the agent's own decision and its groups' choice."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

import msgspec

from tieline.edge.agent import Agent
from tieline.edge.decide import Target
from tieline.edge.rigs.wire import SilentError
from tieline.edge.rigs.workers.rows import RigDevice
from tieline.edge.unit import UnitState
from tieline.records import Instruction


async def answer_preview(agent: Agent, subject: str, data: bytes) -> bytes:
    """The same for who asks over the link: a limit in MW as text, answered with an object, or with `error`."""
    try:
        return msgspec.json.encode(await previewed(agent, data[:40].decode("ascii", "replace"), agent.now))
    except ValueError as error:
        return msgspec.json.encode({"error": str(error)})


async def previewed(agent: Agent, limit_mw: str, now: datetime) -> dict[str, Any]:
    """Units with what they would be asked, in watts; of rigs on sockets which would sleep, and why others would not.
    Raises ValueError naming the field."""
    try:
        limit_w = float(limit_mw) * 1e6
    except ValueError:
        limit_w = math.nan
    if not 0.0 <= limit_w <= agent.site.interconnect.limit_w:
        raise ValueError(f"limit_mw: give 0 to {agent.site.interconnect.limit_w / 1e6:g}")
    order = Instruction(
        at=now, known_at=now, source="preview", kind="simulated", instruction_id="preview", site_id=agent.site.id,
        limit_w=limit_w, until=now + timedelta(hours=1),
    )  # fmt: skip
    preview = agent.would(order, now)
    units = [await _unit(agent.units[target.unit_id], target, now) for target in preview.targets]
    return {"limit_w": limit_w, "cannot_shed_w": preview.short_w, "units": units}


async def _unit(unit: UnitState, target: Target, now: datetime) -> dict[str, Any]:
    setpoint = target.setpoint
    row: dict[str, Any] = {
        "unit_id": target.unit_id,
        "draws_w": unit.known_w,
        "asked_w": None if setpoint is None else setpoint.target_w,
        "why": "" if setpoint is None else setpoint.reason.text,
        "silent": unit.silent,
    }
    if setpoint is None or not isinstance(unit.device, RigDevice):
        return row
    try:
        rigs = await unit.device.preview(setpoint, now)
    except SilentError as error:
        return row | {"silent": unit.silent or str(error)}
    return row | {"sleep": rigs.sleep, "sleep_count": rigs.sleep_count, "not": rigs.left_out}

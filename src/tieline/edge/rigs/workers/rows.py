"""What a page and a preview say of a group's rigs, one by one; and what a group of rigs can be asked, whichever process
speaks to them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Protocol, runtime_checkable

import msgspec

from tieline.edge.device import Device
from tieline.edge.rigs.pooling.pools import PoolSetting
from tieline.edge.rigs.pooling.repool import Repooled
from tieline.edge.rigs.state import RigState
from tieline.fleet.models import RigModel
from tieline.records import Setpoint

# Named one by one up to here in a preview; the rest are counted.
NAMED = 200

Tending = Literal["light on", "light off", "reboot"]


class RigRow(msgspec.Struct, frozen=True, kw_only=True):
    """One rig as a page shows it. Watts, TH/s, degrees; None where a figure is not known now."""

    address: str
    mac: str | None
    state: str
    detail: str
    watts: float | None
    estimated: bool
    ths: float | None
    chip_c: float | None
    asked: str | None
    age_s: float | None


class RackPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some of a group's rigs, those that need somebody first; `count` is how many there are."""

    count: int
    rigs: list[RigRow]


class NotCommanded(msgspec.Struct, frozen=True, kw_only=True):
    """A rig that a preview leaves out, and why."""

    address: str
    why: str


class RigPreview(msgspec.Struct, frozen=True, kw_only=True):
    """Which rigs would sleep under a setpoint, the first by address, and which would not hear of it."""

    sleep: list[str]
    sleep_count: int
    left_out: list[NotCommanded]


@runtime_checkable
class RigDevice(Device, Protocol):
    """A rig group: a device whose rigs can be looked at and told one by one."""

    async def page(self, first: int, most: int) -> RackPage: ...

    async def preview(self, setpoint: Setpoint, now: datetime) -> RigPreview:
        """Nothing is sent."""

    async def tend(self, address: str, what: Tending) -> None:
        """What a person has one rig do. Raises RefusalError, SilentError, in one line."""

    async def set_pools(self, pools: tuple[PoolSetting, ...]) -> Repooled:
        """Have all rigs mine there, one first."""


def page_of(rigs: Sequence[RigState], model: RigModel, now_s: float, first: int, most: int) -> RackPage:
    """Strangers, silent ones and those that do not obey come first, else as the site's file lists them."""
    rows = [_row(rig, model, now_s) for rig in rigs]
    rows.sort(key=lambda row: row.state in ("runs", "sleeps"))
    return RackPage(count=len(rows), rigs=rows[first : first + most])


def preview_of(rigs: Sequence[RigState], model: RigModel, now_s: float, sleep: Sequence[str]) -> RigPreview:
    """`sleep`: the addresses that would."""
    left_out = [
        NotCommanded(address=rig.address, why=rig.stranger or rig.refusal or rig.why_silent)
        for rig in rigs
        if not rig.heard or rig.stranger is not None or rig.disobeys(model, now_s)
    ]
    return RigPreview(sleep=list(sleep[:NAMED]), sleep_count=len(sleep), left_out=left_out[:NAMED])


def _row(rig: RigState, model: RigModel, now_s: float) -> RigRow:
    sample = rig.sample
    state, detail = _state(rig, model, now_s)
    known = sample if rig.heard else None
    return RigRow(
        address=rig.address,
        mac=None if sample is None else sample.mac,
        state=state,
        detail=detail or rig.drift or "",
        watts=None if known is None else known.watts,
        estimated=known is not None and known.estimated,
        ths=None if known is None or known.hashrate_hs is None else known.hashrate_hs / 1e12,
        chip_c=None if known is None else known.chip_c,
        asked=None if rig.wanted is None else rig.wanted.mode,
        age_s=None if sample is None else now_s - sample.asked_at,
    )


def _state(rig: RigState, model: RigModel, now_s: float) -> tuple[str, str]:
    if not rig.heard:
        return "silent", rig.why_silent
    if rig.stranger is not None:
        return "stranger", rig.stranger
    if rig.disobeys(model, now_s):
        return "does not obey", rig.refusal or ""
    return "sleeps" if rig.asleep(model) else "runs", ""

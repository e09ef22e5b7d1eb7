"""What is said to many rigs at once, with the megawatts it would move said before.

Rigs that were picked blink, stop blinking, or start anew, each by a word to its site; or the whole groups that they
stand in are held at a share of their rating. A preview and a command are judged by the same function, so that what was
previewed is what is sent, or nothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from tieline.console.fold import Fold, Unit
from tieline.console.forms import CommandForm
from tieline.console.rooms.operator import OverrideForm, RefusedError, action, checked_why, override
from tieline.edge.local.stop import TEND
from tieline.edge.local.words import MOST_WAITING, NOT_DONE
from tieline.fleet import RigGroup
from tieline.fleet.physics import REBOOT_S
from tieline.records import AnyRecord

Json = dict[str, Any]
# A picked rig's form has some 60 bytes of the body's 128 KiB.
MOST_RIGS: Final = 1_000
_APART: Final = timedelta(microseconds=1)
# Answers that a page shows.
MOST_SAID: Final = 200


class PickedRig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    unit_id: str
    address: str


class BulkForm(CommandForm, frozen=True, kw_only=True):
    """`share` (of what their groups are rated) and `minutes`: of a hold. A preview needs no `why`."""

    what: Literal["light on", "light off", "reboot", "hold"]
    rigs: tuple[PickedRig, ...]
    share: Annotated[float, Meta(ge=0, le=1)] = 0.0
    minutes: float = 60.0
    why: str = ""


Watts = Mapping[tuple[str, str], float | None]
"""What each rig draws, by its unit and address; None where it does not say."""


def preview(fold: Fold, form: BulkForm, watts: Watts, drawn_w: Callable[[Unit], float | None]) -> Json:
    """By group: rigs picked, what the group draws and would draw, and what stands against it. Raises RefusedError."""
    units = [_unit_preview(fold.units[id_], form, picked, watts, drawn_w) for id_, picked in _by_unit(fold, form)]
    known = [one for one in units if one["drawn_mw"] is not None and one["would_mw"] is not None]
    return {
        "units": units,
        "rigs": sum(one["rigs"] for one in units),
        "drawn_mw": sum(one["drawn_mw"] for one in known),
        "would_mw": sum(one["would_mw"] for one in known),
        "not_known": len(units) - len(known),
        "lasts_s": REBOOT_S if form.what == "reboot" else 60.0 * form.minutes if form.what == "hold" else None,
        "against": [line for one in units for line in one["against"]],
    }


def bulk(fold: Fold, form: BulkForm, now: datetime, by: str) -> list[AnyRecord]:
    """The records of it: all of them, or none. Raises RefusedError."""
    why = checked_why(form.why)
    found = _by_unit(fold, form)
    against = [line for id_, picked in found for line in _against(fold.units[id_], form, picked)]
    if against:
        raise RefusedError(against[0] + (f"; and {len(against) - 1} more like it" if len(against) > 1 else ""))
    if form.what == "hold":
        return [record for id_, _ in found for record in override(fold, _hold(fold.units[id_], form, why), now, by)]
    words = [(id_, one.address) for id_, picked in found for one in picked]
    # A word is known by who said what to which group and when: those to rigs of one group are a microsecond apart.
    return [action(now + n * _APART, by, form.what, *word) for n, word in enumerate(words)]


def said_since(fold: Fold, since: float) -> list[Json]:
    """What sites said that they did, or did not do, with single rigs; the newest first."""
    done = {*TEND.values(), NOT_DONE}
    return [
        {"at": one.at.timestamp(), "unit_id": one.target, "what": one.what, "detail": one.detail, "by": one.by}
        for _, one in reversed(fold.actions)
        if one.what in done and one.at.timestamp() >= since
    ][:MOST_SAID]


def _by_unit(fold: Fold, form: BulkForm) -> list[tuple[str, list[PickedRig]]]:
    if not 0 < len(form.rigs) <= MOST_RIGS:
        raise RefusedError(f"rigs: pick 1 to {MOST_RIGS:,} of them")
    found: dict[str, list[PickedRig]] = {}
    for one in dict.fromkeys(form.rigs):
        unit = fold.units.get(one.unit_id)
        if unit is None or not isinstance(unit.group, RigGroup):
            raise RefusedError(f"rigs: no group of rigs {one.unit_id[:80]!r} in this fleet")
        found.setdefault(one.unit_id, []).append(one)
    return sorted(found.items())


def _unit_preview(
    unit: Unit, form: BulkForm, picked: list[PickedRig], watts: Watts, drawn_w: Callable[[Unit], float | None]
) -> Json:
    drawn = drawn_w(unit)
    told = [watts.get((unit.id, one.address)) for one in picked]
    group = unit.group
    assert isinstance(group, RigGroup), "others are refused"
    would: float | None = drawn
    if form.what == "hold":
        would = form.share * group.rated_w
    elif form.what == "reboot":
        # Who starts anew draws next to nothing until the chips run; a rig that says no watts is counted by its model.
        away = sum(group.rig.power_w if one is None else one for one in told)
        would = None if drawn is None else max(0.0, drawn - away)
    return {
        "unit_id": unit.id,
        "site_id": unit.site.id,
        "site": unit.site.name,
        "rigs": len(picked),
        "of": group.rigs,
        "estimated": sum(one is None for one in told) if form.what == "reboot" else 0,
        "drawn_mw": None if drawn is None else drawn / 1e6,
        "would_mw": None if would is None else would / 1e6,
        "against": _against(unit, form, picked),
    }


def _against(unit: Unit, form: BulkForm, picked: list[PickedRig]) -> list[str]:
    """Why a site would not do it, one line each."""
    site, group = unit.site, unit.group
    lines = []
    if site.mode == "observe" or site.ownership == "hosted":
        lines.append(f"{unit.id}: nothing is sent to machines of {site.id}, it is only observed")
    if form.what != "hold" and group.hardware == "modelled":
        lines.append(f"{unit.id}: its rigs are modelled as a group, none can be told apart")
    if form.what != "hold" and len(picked) > MOST_WAITING:
        lines.append(f"{unit.id}: {len(picked)} rigs; a site takes {MOST_WAITING} at once, pick fewer")
    return lines


def _hold(unit: Unit, form: BulkForm, why: str) -> OverrideForm:
    target_mw = form.share * unit.group.rated_w / 1e6
    return OverrideForm(
        site_id=unit.site.id, unit_id=unit.id, target_mw=target_mw, minutes=form.minutes, why=why, by=form.by
    )

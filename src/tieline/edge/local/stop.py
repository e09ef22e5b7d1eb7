"""Stop and resume, said by a person at the site: holds until it ends or is lifted there, whatever anybody says from
elsewhere, and goes on record like any operator's word when the link is there."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from tieline.edge.agent import Agent
from tieline.edge.decide import local_source
from tieline.edge.rigs.wire import RefusalError, SilentError
from tieline.edge.rigs.workers.rows import RigDevice
from tieline.fleet.sites import RigGroup
from tieline.records import Action, AnyRecord, Override

STOP, RESUME = "stop at site", "resume at site"
TEND = {"light on": "light on at site", "light off": "light off at site", "reboot": "reboot at site"}
# Who stands before the rigs says it again after a day.
MAX_MINUTES = 24 * 60
MAX_NAME, MAX_WHY = 60, 300


class StopForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Stop the rigs of a group, or without one of all groups."""

    by: str
    why: str
    minutes: float
    unit_id: str | None = None


class ResumeForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lift the stops of a group, or without one all that were said here."""

    by: str
    unit_id: str | None = None


class TendForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Have one rig blink, or start anew."""

    by: str
    unit_id: str
    address: str
    what: Literal["light on", "light off", "reboot"]


async def tend(agent: Agent, form: TendForm, now: datetime) -> list[AnyRecord]:
    """Done and recorded. Raises ValueError where it was not done, in one line."""
    by = _words("by", form.by, MAX_NAME)
    may_send(agent)
    unit = agent.units.get(form.unit_id)
    if unit is None or not isinstance(unit.device, RigDevice):
        raise ValueError(f"unit_id: {form.unit_id[:80]!r} has no rigs on sockets")
    try:
        await unit.device.tend(form.address, form.what)
    except (RefusalError, SilentError) as error:
        raise ValueError(f"not done: {error}") from error
    done = action(agent, now, by, TEND[form.what], form.unit_id, form.address)
    agent.keep([done])
    return [done]


def stop(agent: Agent, form: StopForm, now: datetime) -> list[AnyRecord]:
    """The records, taken by the agent and kept. Raises ValueError, naming the field, where nothing was done."""
    by, why = _words("by", form.by, MAX_NAME), _words("why", form.why, MAX_WHY)
    if not 1.0 <= form.minutes <= MAX_MINUTES:
        raise ValueError(f"minutes: give 1 to {MAX_MINUTES}")
    may_send(agent)
    until = now + timedelta(minutes=form.minutes)
    source = local_source(agent.site.id)
    held: list[AnyRecord] = [
        Override(
            at=now, known_at=now, source=source, kind="measured", override_id=f"local {unit_id} {now.isoformat()}",
            site_id=agent.site.id, unit_id=unit_id, target_w=0.0, until=until, by=_named(agent, by), why=why,
        )
        for unit_id in _groups(agent, form.unit_id)
    ]  # fmt: skip
    words = f"until {until:%Y-%m-%d %H:%M} UTC: {why}"
    return _done(agent, held, action(agent, now, by, STOP, form.unit_id, words), now)


def resume(agent: Agent, form: ResumeForm, now: datetime) -> list[AnyRecord]:
    """The same overrides, told anew with an earlier end. Raises ValueError where there are none."""
    by, local = _words("by", form.by, MAX_NAME), local_source(agent.site.id)
    groups = _groups(agent, form.unit_id)
    ended: list[AnyRecord] = [
        msgspec.structs.replace(one, known_at=now, until=now)
        for one in agent.orders.orders(now).overrides
        if one.source == local and one.unit_id in groups
    ]
    if not ended:
        raise ValueError("unit_id: no stop that was said here is in force")
    return _done(agent, ended, action(agent, now, by, RESUME, form.unit_id, ""), now)


def _done(agent: Agent, held: list[AnyRecord], action: Action, now: datetime) -> list[AnyRecord]:
    for one in held:
        agent.take(one, agent.clock.now(), local=True)
    agent.keep([*held, action])
    return [*held, action]


def may_send(agent: Agent) -> None:
    """Raises ValueError where nothing is sent to machines."""
    if agent.site.ownership == "hosted" or agent.site.mode == "observe":
        raise ValueError(f"nothing is sent to machines here: {agent.site.id} is only observed; do it by hand")


def _groups(agent: Agent, unit_id: str | None) -> list[str]:
    groups = [key for key, unit in agent.units.items() if isinstance(unit.group, RigGroup)]
    if unit_id is None and groups:
        return groups
    if unit_id not in groups:
        raise ValueError(f"unit_id: the groups of rigs here are {', '.join(groups) or 'none'}")
    return [unit_id]


def action(agent: Agent, now: datetime, by: str, what: str, unit_id: str | None, detail: str) -> Action:
    """What was done here, for the record."""
    return Action(
        at=now, known_at=now, source=local_source(agent.site.id), kind="measured", by=_named(agent, by), what=what,
        target=unit_id or agent.site.id, detail=detail,
    )  # fmt: skip


def _named(agent: Agent, by: str) -> str:
    """A name that was typed at a site proves nobody: it is shown as said there."""
    return f"{agent.site.id}: {by}"


def _words(field: str, text: str, most: int) -> str:
    words = " ".join(text.split())
    if not words or not words.isprintable():
        raise ValueError(f"{field}: say it in plain words")
    if len(words) > most:
        raise ValueError(f"{field}: {len(words)} characters; at most {most}")
    return words

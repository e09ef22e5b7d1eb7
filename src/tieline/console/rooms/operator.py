"""An operator's word, from a form to records in the store.

Checks what was asked against the site it is asked of, makes the records, and hands them to the core, which
alone writes. Nothing is done until the core has acknowledged it; what was done says who and when.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from tieline.console.fold import Fold
from tieline.console.forms import CommandForm, ReasonedForm
from tieline.fleet import Site
from tieline.link import Ack, Link, push
from tieline.records import Action, AnyRecord, Instruction, Override, Plan, encode_batch

# An override is for an incident, not for ever: after a week it must be said again.
MAX_HOLD = timedelta(days=7)
MAX_WHY = 500
ACCEPT = "accept"

R = TypeVar("R", Override, Instruction)


class RefusedError(ValueError):
    """What is wrong with the command, and what would be right."""


class OverrideForm(ReasonedForm, frozen=True, kw_only=True):
    """Hold a unit (or, without one, the whole site) at `target_mw` for `minutes`."""

    site_id: str
    unit_id: str | None
    target_mw: float
    minutes: float


class EndForm(ReasonedForm, frozen=True, kw_only=True):
    override_id: str


class OrderForm(ReasonedForm, frozen=True, kw_only=True):
    """A grid operator's order that came by telephone: the site draws at most `limit_mw` for `minutes`."""

    site_id: str
    limit_mw: float
    minutes: float


class EndOrderForm(ReasonedForm, frozen=True, kw_only=True):
    instruction_id: str


class PlanRead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An advised plan as somebody read it."""

    site_id: str
    plan_seq: int


class ConfirmForm(PlanRead, frozen=True, kw_only=True):
    """Do what the advised plan that was read says."""

    by: str = ""


class ConfirmAllForm(CommandForm, frozen=True, kw_only=True):
    """Do what all these advised plans say."""

    plans: tuple[PlanRead, ...]


def override(fold: Fold, form: OverrideForm, now: datetime, by: str) -> list[AnyRecord]:
    site = _site(fold, form.site_id)
    most_w = site.interconnect.limit_w
    if form.unit_id is not None:
        if form.unit_id not in {g.id for g in site.units}:
            raise RefusedError(f"unit_id: {form.unit_id!r} does not stand at {site.id}")
        feeders = {f.id: f.limit_w for f in site.feeders}
        most_w = min(most_w, feeders.get(fold.units[form.unit_id].group.feeder, most_w))
    target_w = _watts("target_mw", form.target_mw, most_w)
    until = _until(now, form.minutes)
    why = checked_why(form.why)
    held = Override(
        at=now,
        known_at=now,
        source="console",
        kind="measured",
        override_id=f"ov {form.unit_id or site.id} {now.isoformat()}",
        site_id=site.id,
        unit_id=form.unit_id,
        target_w=target_w,
        until=until,
        by=by,
        why=why,
    )
    words = f"hold at {form.target_mw:g} MW until {until:%Y-%m-%d %H:%M} UTC: {why}"
    return [held, action(now, by, "override", form.unit_id or site.id, words)]


def end(fold: Fold, form: EndForm, now: datetime, by: str) -> list[AnyRecord]:
    """An override ended early is the same override, told anew with an earlier end."""
    held = _in_force(fold.overrides, form.override_id, now)
    if held is None:
        raise RefusedError(f"override_id: no override {form.override_id!r} is in force")
    ended = msgspec.structs.replace(held, known_at=now, until=now, by=by, why=checked_why(form.why))
    return [ended, action(now, by, "end override", ended.unit_id or ended.site_id, ended.why)]


def order(fold: Fold, form: OrderForm, now: datetime, by: str) -> list[AnyRecord]:
    """The same Instruction that a feed would bring; the site obeys it at once, whatever its plan."""
    site = _site(fold, form.site_id)
    limit_w = _watts("limit_mw", form.limit_mw, site.interconnect.limit_w)
    until = _until(now, form.minutes)
    why = checked_why(form.why)
    instruction = Instruction(
        at=now,
        known_at=now,
        source="console",
        kind="measured",
        instruction_id=f"{site.id}-{now:%Y%m%dT%H%M%S}",  # read aloud on the telephone, and in reasons
        site_id=site.id,
        limit_w=limit_w,
        until=until,
    )
    words = f"at most {form.limit_mw:g} MW until {until:%Y-%m-%d %H:%M} UTC: {why}"
    return [instruction, action(now, by, "grid order", site.id, words)]


def end_order(fold: Fold, form: EndOrderForm, now: datetime, by: str) -> list[AnyRecord]:
    """An order that was lifted early is the same order, told anew with an earlier end."""
    standing = _in_force(fold.instructions, form.instruction_id, now)
    if standing is None:
        raise RefusedError(f"instruction_id: no order {form.instruction_id!r} is in force")
    ended = msgspec.structs.replace(standing, known_at=now, until=now)
    return [ended, action(now, by, "end grid order", ended.site_id, checked_why(form.why))]


def confirm(fold: Fold, form: PlanRead, now: datetime, by: str) -> list[AnyRecord]:
    site = _site(fold, form.site_id)
    if site.mode != "advise":
        raise RefusedError(f"site_id: {site.id} is in mode {site.mode}; only advised plans are confirmed")
    known = fold.plans.get(site.id)
    if known is None or known[0] != form.plan_seq:
        raise RefusedError("plan_seq: there is a newer plan than the one you read; read it and confirm that")
    plan: Plan = known[1]
    if plan.valid_until <= now:
        raise RefusedError("plan_seq: this plan is no longer valid; wait for the next one")
    # The site finds the plan by the moment at which it was known.
    return [action(now, by, ACCEPT, site.id, plan.known_at.isoformat())]


def confirm_all(fold: Fold, form: ConfirmAllForm, now: datetime, by: str) -> list[AnyRecord]:
    """Raises RefusedError, with nothing confirmed, where one of them cannot be."""
    if not form.plans:
        raise RefusedError("plans: name at least one")
    return [record for one in form.plans for record in confirm(fold, one, now, by)]


async def send(link: Link, batch: list[AnyRecord]) -> Ack:
    """Have the core store a command; it signs what its site has to hear and sends it there. Raises LinkDownError."""
    return await push(link, "operator", encode_batch(batch))


def action(now: datetime, by: str, what: str, target: str, detail: str) -> Action:
    """An operator's word, on record."""
    return Action(
        at=now, known_at=now, source="console", kind="measured", by=by, what=what, target=target, detail=detail
    )


def _watts(name: str, given_mw: float, most_w: float) -> float:
    if not 0.0 <= given_mw * 1e6 <= most_w:
        raise RefusedError(f"{name}: {given_mw} is not between 0 and the limit of {most_w / 1e6:g} MW")
    return given_mw * 1e6


def _until(now: datetime, minutes: float) -> datetime:
    if not 0.0 < minutes <= MAX_HOLD.total_seconds() / 60:
        raise RefusedError("minutes: give a time above 0 and up to 7 days (10,080 minutes); then say it again")
    return now + timedelta(minutes=minutes)


def _in_force(known: Mapping[str, tuple[int, R]], id_: str, now: datetime) -> R | None:
    order = known.get(id_)
    return None if order is None or order[1].until <= now else order[1]


def _site(fold: Fold, site_id: str) -> Site:
    site = fold.sites.get(site_id)
    if site is None:
        raise RefusedError(f"site_id: no site {site_id!r} in this fleet")
    return site


def checked_why(why: str) -> str:
    """Raises RefusedError where nobody would know tomorrow."""
    why = " ".join(why.split())
    if not why:
        raise RefusedError("why: say why, for whoever reads this tomorrow")
    if len(why) > MAX_WHY:
        raise RefusedError(f"why: {len(why)} characters; keep it under {MAX_WHY}")
    return why

"""`tieline plan`: what each site is asked to do, and why, now or at a past moment.

Reads a data folder and changes nothing. For a past moment it shows what was known then: a plan, an override
or a fault told later is not there. For now it also decides anew, and shows where that differs from the plan
in force. With `--data` it decides as of a moment of recorded days instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
import msgspec

from tieline import records
from tieline.cli.folder import config_and_now, data_dir, open_store
from tieline.cli.outcome import NothingThereError
from tieline.clock import Interval, parse_utc
from tieline.config import Config
from tieline.dispatch import Controller, Settings
from tieline.dispatch.settings import Policy, settings_of
from tieline.feeds.days.folder import FolderError
from tieline.feeds.days.recorded import RecordedFolder
from tieline.fleet import Fleet
from tieline.records import Commitment, Fault, Instruction, Override, Plan, Record, Setpoint, newest_by
from tieline.store import Store, StoreError

# Decided from a folder, an hour is run before the moment, so that what already runs is not a blank.
LEAD = timedelta(hours=1)
# An order, a fault or a promise older than this is over, or was given again: dispatch forgets it sooner.
STANDING = timedelta(days=14)
# Setpoints nearer than this are the same decision: a group of rigs varies by more from minute to minute.
SAME_W, SAME_SHARE = 1_000.0, 0.005

R = TypeVar("R", Override, Fault, Instruction, Commitment)


@dataclass(frozen=True)
class Standing:
    """All that stands for one site at a moment, as it was known then. `fresh` None: not decided anew."""

    plan: Plan
    overrides: tuple[Override, ...] = ()
    faults: tuple[Fault, ...] = ()
    orders: tuple[Instruction, ...] = ()
    promises: tuple[Commitment, ...] = ()
    fresh: Plan | None = None

    @property
    def changes(self) -> tuple[tuple[Setpoint | None, Setpoint], ...]:
        """Setpoints that a decision made now would change: (in force, fresh)."""
        if self.fresh is None:
            return ()
        before = {point.unit_id: point for point in self.plan.setpoints}
        pairs = ((before.get(point.unit_id), point) for point in self.fresh.setpoints)
        return tuple((old, new) for old, new in pairs if old is None or not _same(old, new))


@click.command()
@data_dir
@click.option("--at", "when", help="A past moment, UTC (2026-08-20T20:00), as it was known then. Default: now.")
@click.option("--site", "only", help="One site's plan.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.option("--data", type=click.Path(path_type=Path), help="A folder of recorded days: decide anew as of --at.")
@click.option("--scale", type=float, help="Share of the folder's fleet: 0.447 where it is recorded.")
@click.option(
    "--policy", type=click.Choice(get_args(Policy)), default="lookahead", show_default=True, help="With --data."
)
def plan(
    data_dir: Path,
    when: str | None,
    only: str | None,
    as_json: bool,
    data: Path | None,
    scale: float | None,
    policy: Policy,
) -> None:
    """Print what each site is asked to do, and why, now or at a past moment."""
    asked = _moment(when)
    if data is not None:
        if asked is None:
            raise click.BadParameter("recorded days need a moment", param_hint="--at")
        fleet, moment, plans_in_force = _decided(data, asked, scale, policy)
    else:
        fleet, moment, plans_in_force = _kept(data_dir, asked)
    chosen = _of(plans_in_force, only, fleet)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(as_plain(chosen, moment, fleet.name)), indent=2))
    else:
        click.echo(as_text(chosen, moment, fleet))


def _moment(when: str | None) -> datetime | None:
    try:
        return None if when is None else parse_utc(when)
    except ValueError:
        raise click.BadParameter(f"{when!r} is no time; write 2026-08-20T20:00", param_hint="--at") from None


def _of(plans: list[Standing], only: str | None, fleet: Fleet) -> list[Standing]:
    if only is None:
        return plans
    chosen = [one for one in plans if one.plan.site_id == only]
    if not chosen:
        known = sorted(one.plan.site_id for one in plans)
        more = f" and {len(known) - 12} more" if len(known) > 12 else ""
        raise click.BadParameter(
            f"no plan of a site {only!r}; there are {', '.join(known[:12])}{more}", param_hint="--site"
        )
    return chosen


# --- from a data folder ------------------------------------------------------


def _kept(folder: Path, asked: datetime | None) -> tuple[Fleet, datetime, list[Standing]]:
    store = open_store(folder)
    try:
        config, now = config_and_now(folder)
        moment = now if asked is None else asked
        if moment > now:
            raise click.BadParameter(
                f"{moment:%Y-%m-%d %H:%M} UTC lies ahead; in {folder} it is {now:%Y-%m-%d %H:%M} UTC",
                param_hint="--at",
            )
        fresh = decided_anew(store, config, now) if asked is None else {}
        plans = standing(store, moment, fresh)
    except StoreError as error:
        raise click.ClickException(str(error)) from error
    finally:
        store.close()
    if not plans:
        raise NothingThereError(f"no plan was kept by {moment:%Y-%m-%d %H:%M} UTC in {folder}")
    return config.fleet, moment, plans


def standing(store: Store, moment: datetime, fresh: dict[str, Plan]) -> list[Standing]:
    """Each site's plan in force at `moment` and what bears on it, by site; nothing that was learned later."""
    overrides = _newest(store, Override, moment, lambda r: r.override_id)
    # A fault that ended is told again with its end, under the moment it began.
    faults = _newest(store, Fault, moment, lambda r: (r.site_id, r.what, r.at))
    orders = _newest(store, Instruction, moment, lambda r: r.instruction_id)
    promises = [
        one
        for one in _newest(store, Commitment, moment, lambda r: r.commitment_id)
        if one.status in ("accepted", "deployed")
    ]

    def of(site_id: str, records: Iterable[R]) -> tuple[R, ...]:
        return tuple(one for one in records if one.site_id == site_id)

    return [
        Standing(
            one,
            of(one.site_id, overrides),
            of(one.site_id, faults),
            of(one.site_id, orders),
            of(one.site_id, promises),
            fresh.get(one.site_id),
        )
        for one in sorted(store.latest(Plan, moment), key=lambda p: p.site_id)
    ]


def _newest(store: Store, stream: type[R], moment: datetime, name: Callable[[R], Hashable]) -> list[R]:
    """What stands at `moment` by the last word then known of each."""
    records = store.between(stream, moment - STANDING, moment + timedelta(microseconds=1), now=moment)
    last = newest_by(records, name)
    return [one for one in last.values() if one.until is None or one.until > moment]


def decided_anew(store: Store, config: Config, now: datetime) -> dict[str, Plan]:
    """What dispatch would decide now, by site; neither kept nor sent."""
    made = Controller(store, config.fleet, settings_of(config)).decide(now)
    return {one.site_id: one for one in made}


def _same(old: Setpoint, new: Setpoint) -> bool:
    near = abs(old.target_w - new.target_w) <= max(SAME_W, SAME_SHARE * abs(old.target_w))
    return near and old.replicas == new.replicas


# --- from recorded days ------------------------------------------------------


def _decided(
    folder: Path, moment: datetime, scale: float | None, policy: Policy
) -> tuple[Fleet, datetime, list[Standing]]:
    store = Store(None, records.encode, records.decode)
    try:
        source = RecordedFolder(folder)
        scale = source.usual_scale if scale is None else scale
        fleet = source.fleet(scale)
        settings = Settings(policy=policy)
        store.append(source.records(fleet, moment - LEAD, moment + timedelta(days=2), scale))
        controller = Controller(store, fleet, settings)
        length = timedelta(seconds=settings.interval_s)
        at = Interval.holding(moment - LEAD, length).start
        while at <= moment:
            asyncio.run(controller.step(at))
            at += length
        return fleet, moment, standing(store, moment, {})
    except (FolderError, StoreError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    finally:
        store.close()


# --- as a program and as a person reads it -----------------------------------


def as_plain(plans: list[Standing], moment: datetime, fleet: str) -> dict[str, Any]:
    """One object per site. `age_s` since it was decided; `expired`: past `valid_until`, so the site holds its
    safe default; `fresh` null where nothing was decided anew."""
    return {
        "moment": moment,
        "fleet": fleet,
        "sites": [
            {
                "site_id": one.plan.site_id,
                "mode": one.plan.mode,
                "commanded": one.plan.mode == "act",
                "age_s": round((moment - one.plan.known_at).total_seconds(), 3),
                "expired": moment >= one.plan.valid_until,
                "plan": _plain(one.plan),
                "overrides": [_plain(r) for r in one.overrides],
                "faults": [_plain(r) for r in one.faults],
                "orders": [_plain(r) for r in one.orders],
                "promises": [_plain(r) for r in one.promises],
                "fresh": None if one.fresh is None else _plain(one.fresh),
                "changes": [new.unit_id for _, new in one.changes],
            }
            for one in plans
        ],
    }


def _plain(record: Record) -> msgspec.Raw:
    return msgspec.Raw(records.encode(record))


_ASKED = {"act": "asks", "advise": "advises (an operator confirms)", "observe": "observes only: would have asked"}


def as_text(plans: list[Standing], moment: datetime, fleet: Fleet) -> str:
    """What an operator reads at night: the site, its units, each with its reason."""
    modes = {mode: sum(1 for one in plans if one.plan.mode == mode) for mode in ("act", "advise", "observe")}
    counted = ", ".join(f"{count} {mode}" for mode, count in modes.items() if count)
    lines = [f"{fleet.name}: the plan at {moment:%Y-%m-%d %H:%M:%S} UTC for {len(plans)} sites ({counted})"]
    if any(site.invented for site in fleet.sites):
        lines.append("INVENTED FLEET: nothing below is a real site")
    defaults = {site.id: site.safe_default for site in fleet.sites}
    for one in plans:
        lines += ["", *_site_lines(one, moment, defaults.get(one.plan.site_id))]
    if any(one.fresh is not None for one in plans):
        changed = [one.plan.site_id for one in plans if one.changes]
        said = f"at {len(changed)} of {len(plans)} sites" if changed else "nowhere"
        lines += ["", f"A decision made now would differ {said}."]
    return "\n".join(lines)


def _site_lines(one: Standing, moment: datetime, safe_default: str | None) -> list[str]:
    plan = one.plan
    price = "unknown" if plan.price_usd_per_mwh is None else f"{plan.price_usd_per_mwh:.2f} USD/MWh"
    hashprice = "unknown" if plan.hashprice_usd is None else f"{plan.hashprice_usd:.2f} USD/PH/day"
    total = sum(point.target_w for point in plan.setpoints)
    end = plan.at + timedelta(seconds=plan.length_s)
    lines = [
        f"{plan.site_id}  {_ASKED[plan.mode]} {_mw(total)} of {_mw(plan.limit_w)}; price {price}, "
        f"hashprice {hashprice}",
        f"  {plan.at:%m-%d %H:%M} to {end:%H:%M}, decided {_ago(moment - plan.known_at)} ago by {plan.decided_by}"
        f"{f' ({plan.source})' if plan.source != 'dispatch' else ''}, valid until {plan.valid_until:%m-%d %H:%M}",
    ]
    if moment >= plan.valid_until:
        held = "" if safe_default is None else f": {safe_default.replace('_', ' ')}"
        lines.append(f"  EXPIRED {_ago(moment - plan.valid_until)} ago: the site holds its safe default{held}")
    if not plan.setpoints:
        lines.append("  nothing to ask: this site has no units")
    for point in plan.setpoints:
        lines += _unit_lines(point)
    if plan.note:
        lines.append(f"  note: {plan.note}")
    lines += [_order_line(r) for r in one.orders]
    lines += [_override_line(r) for r in one.overrides]
    lines += [_promise_line(r) for r in one.promises]
    lines += [_fault_line(r, moment) for r in one.faults]
    for old, new in one.changes:
        lines += _change_lines(old, new)
    return lines


def _change_lines(old: Setpoint | None, new: Setpoint) -> list[str]:
    was = "nothing" if old is None else f"{_mw(old.target_w)} {_what(old)}"
    return [
        f"  decided now instead: {new.unit_id} {_mw(new.target_w)} {_what(new)}, not {was}",
        f"    {new.reason.rule}: {new.reason.text}",
    ]


def _unit_lines(point: Setpoint) -> list[str]:
    earns = "" if point.expected_usd_per_h is None else f"  {point.expected_usd_per_h:+,.2f} USD/h"
    return [
        f"  {point.unit_id:<22} {_mw(point.target_w):>11}  {_what(point)}{earns}",
        f"    {point.reason.rule}: {point.reason.text}",
    ]


def _what(point: Setpoint) -> str:
    if point.replicas is not None:
        return f"{point.replicas} replica{'' if point.replicas == 1 else 's'}"
    return ", ".join(f"{share:.0%} {mode}" for mode, share in point.shares.items()) or "held"


def _order_line(order: Instruction) -> str:
    return f"  order {order.instruction_id}: at most {_mw(order.limit_w)} until {order.until:%m-%d %H:%M}"


def _override_line(over: Override) -> str:
    what = over.unit_id or "the site"
    held = "its plan" if over.target_w is None else _mw(over.target_w)
    return f"  override by {over.by}: {what} at {held} until {over.until:%m-%d %H:%M}: {over.why}"


def _promise_line(promise: Commitment) -> str:
    return (
        f"  promise {promise.commitment_id} ({promise.product}, {promise.status}): {_mw(promise.power_w)} within "
        f"{promise.response_s} s until {promise.until:%m-%d %H:%M}"
    )


def _fault_line(fault: Fault, moment: datetime) -> str:
    size = "" if fault.share is None else f", {fault.share:.0%} of it"
    size += "" if fault.limit_w is None else f", limit {_mw(fault.limit_w)}"
    detail = f": {fault.detail}" if fault.detail else ""
    return f"  fault {fault.what}{size} for {_ago(moment - fault.at)}{detail}"


def _mw(power_w: float) -> str:
    return f"{power_w / 1e6:,.3f} MW"


def _ago(age: timedelta) -> str:
    seconds = age.total_seconds()
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"

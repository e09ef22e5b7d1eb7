"""A month's update as one publishes it: its forms, its life from draft to published, and what keeps it from that."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import click
import msgspec

from tieline.books import month_span
from tieline.books.release import (
    FORMS,
    Basis,
    MonthlyRelease,
    ReleasePolicy,
    against,
    faults,
    make,
    self_check,
    text_digest,
)
from tieline.cli.folder import config_and_now, open_store
from tieline.cli.imports import text_of
from tieline.cli.keep import record_all
from tieline.fleet import Fleet
from tieline.records import ReleaseStep
from tieline.settlement.month import BEGINNING, END, books_of, recorded_from, update_of

STATES = ("checked", "approved", "published")


@dataclass(frozen=True, slots=True)
class Draft:
    """A month's release as the books make it now, and the steps that were taken with it."""

    release: MonthlyRelease
    faults: tuple[str, ...]
    steps: tuple[ReleaseStep, ...]

    @property
    def published(self) -> ReleaseStep | None:
        return next((one for one in reversed(self.steps) if one.state == "published"), None)

    @property
    def since(self) -> tuple[ReleaseStep, ...]:
        """Steps after the last publication, of this very text."""
        digest, last = text_digest(self.release), self.published
        known = BEGINNING if last is None else last.known_at
        return tuple(one for one in self.steps if one.known_at > known and one.digest == digest)

    @property
    def state(self) -> str:
        """Of the books' present text: draft, checked, approved or published."""
        last = self.published
        if last is not None and last.digest == text_digest(self.release):
            return "published"
        return self.since[-1].state if self.since else "draft"


def fleet_of(folder: Path) -> Fleet:
    """Of the platform that ran on the folder; books that are kept by hand have none."""
    if not (folder / "run" / "runtime.json").exists():
        return Fleet(name="books", sites=())
    return config_and_now(folder)[0].fleet


def policy_of(path: Path | None) -> ReleasePolicy:
    """Raises click.ClickException, naming the field, for a file that is no policy."""
    if path is None:
        return ReleasePolicy()
    try:
        return msgspec.convert(tomllib.loads(text_of(path)), ReleasePolicy)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise click.ClickException(f"{path.name}: {error}") from error


def draft_of(folder: Path, month: str, policy: ReleasePolicy) -> Draft:
    """Raises click.ClickException for a month of which nothing is known."""
    config, now = config_and_now(folder)
    store = open_store(folder)
    try:
        start, end = month_span(month)
        before = f"{start - timedelta(days=1):%Y-%m}"
        update = update_of(store, fleet_of(folder), month, now, config.treasury.lots)
        steps = store.between(ReleaseStep, BEGINNING, END)
        began = recorded_from(store)
        basis = Basis(
            update=update,
            book=books_of(store, config.treasury.lots).book,
            policy=policy,
            before=next(iter(_published(steps, before)), None),
            active_days=_active(start, end, began),
        )
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    finally:
        store.close()
    plain = make(basis)
    # What this restates: the last publication that says otherwise. One that says the same is this text, published.
    basis = replace(basis, published=next((one for one in _published(steps, month) if _otherwise(one, plain)), None))
    release = make(basis)
    mine = sorted((one for one in steps if one.month == month), key=lambda one: one.known_at)
    return Draft(release, (*faults(release, basis), *_own(release, basis)), tuple(mine))


def _own(release: MonthlyRelease, basis: Basis) -> list[str]:
    """An average over active days is no contradiction with the calendar's."""
    return [] if basis.active_days is not None else self_check(release)


def _active(start: datetime, end: datetime, began: datetime | None) -> Decimal | None:
    if began is None or not start < began < end:
        return None
    return Decimal(repr((end - began).total_seconds())) / 86_400


def _published(steps: list[ReleaseStep], month: str) -> list[MonthlyRelease]:
    """What was published of a month, the newest first."""
    found = [one for one in steps if one.month == month and one.state == "published"]
    newest = sorted(found, key=lambda one: one.known_at, reverse=True)
    return [msgspec.json.decode(one.json, type=MonthlyRelease) for one in newest]


def _otherwise(published: MonthlyRelease, release: MonthlyRelease) -> bool:
    return [(one.name, one.value) for one in published.figures] != [(one.name, one.value) for one in release.figures]


def shown(draft: Draft, form: str) -> str:
    """The published bytes where this text was published, else those of the draft."""
    last = draft.published
    if last is not None and draft.state == "published":
        return str(getattr(last, form))
    return FORMS[form](draft.release)


def advance(folder: Path, draft: Draft, state: str, by: str) -> None:
    """Take the next step. Raises click.ClickException where it may not be taken."""
    if draft.state == "published":
        raise click.ClickException(f"{draft.release.month} is published as it stands; nothing changed since")
    needed = {"checked": ("draft", "checked"), "approved": ("checked",), "published": ("approved",)}[state]
    if draft.state not in needed:
        changed = " (its figures changed since)" if draft.state == "draft" and draft.steps else ""
        raise click.ClickException(f"{draft.release.month} is {draft.state}{changed}; it must be {needed[0]} first")
    if draft.faults:
        lines = "\n".join(f"  {line}" for line in draft.faults)
        raise click.ClickException(f"{draft.release.month} may not be {state}:\n{lines}")
    if state == "approved" and any(one.by == by for one in draft.since if one.state == "checked"):
        raise click.ClickException(f"{by} checked it; somebody else approves it (--by)")
    now = config_and_now(folder)[1]
    last = max((one.known_at for one in draft.steps), default=BEGINNING)
    step = ReleaseStep(
        at=now,
        known_at=max(now, last + timedelta(microseconds=1)),
        source="books",
        kind="measured",
        month=draft.release.month,
        state=state,  # type: ignore[arg-type]  # one of STATES
        by=by,
        digest=text_digest(draft.release),
        **({form: make_(draft.release) for form, make_ in FORMS.items()} if state == "published" else {}),
    )
    record_all(folder, [step], now)


def compared(draft: Draft, text: str) -> tuple[int, list[str]]:
    """(figures of a text that were compared, what it prints otherwise than the books say)."""
    from tieline.disclosures.read import read

    reading = read(text, issuer=draft.release.ticker or None)
    found = [*reading.facts, *(one.fact for one in reading.candidates)]
    printed = {one.field: one.value for one in found if one.period == draft.release.month and one.scope is None}
    known = [name for name in printed if draft.release.value(name) is not None]
    return len(known), against(draft.release, printed)

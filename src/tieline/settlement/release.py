"""A month's release out of a store: what the books make of it now, where it stands between draft and published, and
what keeps it from the next step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import get_args

import msgspec

from tieline.books import Bookkeeper, month_before, month_span
from tieline.books.monthly import MonthlyUpdate
from tieline.books.release import (
    FORMS,
    Basis,
    MonthlyRelease,
    ReleasePolicy,
    digests,
    faults,
    make,
    self_check,
    text_digest,
)
from tieline.fleet import Fleet
from tieline.ledger import Method
from tieline.records import ReleaseStep
from tieline.records.treasury import ReleaseState
from tieline.settlement.month import BEGINNING, END, books_of, recorded_from, update_of
from tieline.store import Store
from tieline.store.rolled.kept import RolledStore

STATES: tuple[ReleaseState, ...] = get_args(ReleaseState)


@dataclass(frozen=True, slots=True)
class Draft:
    """A month's release as the books make it now, and the steps that were taken with it."""

    release: MonthlyRelease
    faults: tuple[str, ...]
    steps: tuple[ReleaseStep, ...]
    update: MonthlyUpdate

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
        if last is not None and last.digest in digests(self.release):
            return "published"
        return self.since[-1].state if self.since else "draft"


def draft_of(
    store: Store,
    fleet: Fleet,
    month: str,
    now: datetime,
    books: Bookkeeper | Method,
    policy: ReleasePolicy,
    kept: RolledStore | None = None,
) -> Draft:
    """`books` where they are read already, else the method of their lots; `kept`: sums that hold every record. Raises
    ValueError for a month of which nothing is known, StoreError while it is read."""
    keeper = books if isinstance(books, Bookkeeper) else books_of(store, books)
    zone = keeper.policy.zone
    start, end = month_span(month, zone)
    before = month_before(month)
    steps = store.between(ReleaseStep, BEGINNING, END)
    basis = Basis(
        update=update_of(store, fleet, month, now, keeper, kept=kept),
        book=keeper.book,
        policy=policy,
        before=next(iter(_published(steps, before)), None),
        active_days=_active(start, end, recorded_from(store)),
        zone=zone,
        quarter=_quarter(steps, month),
        accounting=tuple(keeper.policy.lines()),
    )
    plain = make(basis)
    # What this restates: the last publication that says otherwise. One that says the same is this text, published.
    basis = replace(basis, published=next((one for one in _published(steps, month) if _otherwise(one, plain)), None))
    release = make(basis)
    mine = sorted((one for one in steps if one.month == month), key=lambda one: one.known_at)
    return Draft(release, (*faults(release, basis), *_own(release, basis)), tuple(mine), basis.update)


def refusal(draft: Draft, state: ReleaseState, by: str) -> str | None:
    """Why the next step may not be taken; None where it may."""
    month = draft.release.month
    if draft.state == "published":
        return f"{month} is published as it stands; nothing changed since"
    needed = {"checked": ("draft", "checked"), "approved": ("checked",), "published": ("approved",)}[state]
    if draft.state not in needed:
        changed = " (its figures changed since)" if draft.state == "draft" and draft.steps else ""
        return f"{month} is {draft.state}{changed}; it must be {needed[0]} first"
    if draft.faults:
        return "\n".join([f"{month} may not be {state}:", *(f"  {line}" for line in draft.faults)])
    if state == "approved" and any(one.by == by for one in draft.since if one.state == "checked"):
        return f"{by} checked it; somebody else approves it (--by)"
    return None


def shown(draft: Draft, form: str) -> str:
    """The published bytes where this text was published, else those of the draft."""
    last = draft.published
    if last is not None and draft.state == "published":
        return str(getattr(last, form))
    return FORMS[form](draft.release)


def _own(release: MonthlyRelease, basis: Basis) -> list[str]:
    """An average over active days is no contradiction with the calendar's."""
    return [] if basis.active_days is not None else self_check(release)


def _active(start: datetime, end: datetime, began: datetime | None) -> Decimal | None:
    if began is None or not start < began < end:
        return None
    return Decimal(repr((end - began).total_seconds())) / 86_400


def _published(steps: list[ReleaseStep], month: str) -> list[MonthlyRelease]:
    """What was published of a month, the newest first."""
    releases = [one for one in steps if one.month == month and one.state == "published"]
    newest = sorted(releases, key=lambda one: one.known_at, reverse=True)
    return [msgspec.json.decode(one.json, type=MonthlyRelease) for one in newest]


def _quarter(steps: list[ReleaseStep], month: str) -> tuple[MonthlyRelease, ...]:
    """What stands published of the quarter's months before this one, in their order."""
    names = [f"{month[:5]}{number:02}" for number in range((int(month[5:]) - 1) // 3 * 3 + 1, int(month[5:]))]
    months = [next(iter(_published(steps, name)), None) for name in names]
    return tuple(one for one in months if one is not None)


def _otherwise(published: MonthlyRelease, release: MonthlyRelease) -> bool:
    return [(one.name, one.value) for one in published.figures] != [(one.name, one.value) for one in release.figures]

"""What two people have to want: which sites may act, where people have accounts, and which pools rigs mine at."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from tieline import records
from tieline.app.runtime import PEOPLE_FILE
from tieline.config import Config
from tieline.people import People
from tieline.people.proposals import proposed, standing
from tieline.records import Action, Proposal, ProposalStep
from tieline.store import Store
from tieline.store.people import PeopleStore
from tieline.store.place import place_of

# An approval holds until it is withdrawn or rejected; records are looked through this far back.
BACK = timedelta(days=3_660)


def acting(data: Path, config: Config, now: datetime, *, shared: bool = False) -> tuple[str, ...] | None:
    """Site ids; None where two people are not asked for. `shared`: accounts are on another machine, so that they are
    asked for wherever the configuration has accounts at all. Raises StoreError."""
    accounts = (config.console.auth == "accounts" or config.login is not None) if shared else True
    if not config.console.two_people or not accounts or not (shared or _has_admin(data / PEOPLE_FILE)):
        return None
    place = place_of(data)
    if not place.exists():
        return ()
    store = Store(place, records.encode, records.decode, read_only=True)
    try:
        proposals = proposed(_proposals(store, now))
    finally:
        store.close()
    sites = (site.id for site in config.fleet.sites)
    return tuple(one for one in sites if standing(proposals.values(), "act", one, now) is not None)


def pools_approved(store: Store, word: Action, now: datetime) -> bool:
    """Whether two people want the pools that this word would set, at the group that it names."""
    proposals = proposed(_proposals(store, now))
    return any(
        one.proposal.what == "pools"
        and (one.proposal.target, one.proposal.after) == (word.target, word.detail)
        and one.state(now) == "approved"
        for one in proposals.values()
    )


def _proposals(store: Store, now: datetime) -> list[Proposal | ProposalStep]:
    end = now + timedelta(minutes=5)
    return [*store.each(Proposal, now - BACK, end), *store.each(ProposalStep, now - BACK, end)]


def waiting(config: Config, allowed: tuple[str, ...] | None) -> tuple[str, ...]:
    """Sites whose file says that they act, and that ask first until two people approve."""
    if allowed is None:
        return ()
    acts = (site for site in config.fleet.sites if site.mode == "act" and not site.invented)
    return tuple(site.id for site in acts if site.id not in allowed)


def _has_admin(path: Path) -> bool:
    if not path.exists():
        return False
    store = PeopleStore(path)
    try:
        return People(store).has_admin
    finally:
        store.close()

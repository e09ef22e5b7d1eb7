"""What a database has lost, as a record."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Protocol

from tieline.clock import parse_utc
from tieline.records.base import Record
from tieline.records.fleet import Fault
from tieline.store import Loss

# The platform's own faults stand under this name, so that no site is planned or settled by them.
PLATFORM = "platform"
# How long a page shows that something was lost; the record stays.
SHOWN = timedelta(days=7)


class Loses(Protocol):
    """A database that keeps what it has lost until somebody has told it."""

    def untold(self) -> list[Loss]: ...

    def told(self, loss: Loss) -> None: ...


def lost(loss: Loss, name: str, now: datetime) -> Fault:
    """The Fault that says so. `at` is where the gap begins, where that is known."""
    since = parse_utc(loss.since) if loss.since is not None else now
    return Fault(
        at=min(since, now), known_at=now, source="platform", kind="measured", site_id=PLATFORM,
        what=f"data lost: {name}", detail=str(loss), until=now + SHOWN,
    )  # fmt: skip


def outbox_lost(site_id: str) -> str:
    """What the fault is called that a site tells of its own outbox."""
    return f"data lost: outbox of {site_id}"


def store_lost(origin: str) -> str:
    """What the fault is called that a sender tells of a store which has less than it had acknowledged."""
    return f"data lost: store, as {origin} knew it"


def tell_losses(named: Iterable[tuple[str, Loses]], now: datetime, keep: Callable[[list[Record]], object]) -> None:
    """Put what each of these has lost on record, then forget it there; told again after a crash in between, which its
    store takes for another telling. Raises what `keep` raises."""
    for name, database in named:
        for loss in database.untold():
            keep([lost(loss, name, now)])
            database.told(loss)

"""What is on record after a run of a fleet, read for the checker (`fleet_judge`)."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from fleet_judge import OnRecord, Planned, Used
from tieline import records
from tieline.records import Fault, Plan, Usage
from tieline.store import Store, StoreError, outbox, spool
from tieline.store.database import Kind, open_database
from tieline.store.place import StorePlace
from tieline.store.quarantine import Quarantine

AHEAD = "ahead of this platform's clock"


def on_record(place: StorePlace, folder: Path, wall: datetime) -> OnRecord:
    """All of it. `wall`: the time of the history's second 0."""
    on = OnRecord()
    store = Store(place, records.encode, records.decode, read_only=True)
    after, more = 0, True
    while more:
        page = store.follow(after, 5_000)
        for item in page.items:
            one = item.record
            on.keys[type(one).__name__, one.key] += 1
            if isinstance(one, Plan) and one.fence is not None:
                on.plans.append(Planned(one.site_id, one.at, one.fence))
            elif isinstance(one, Fault) and one.what == "intervals not decided":
                on.told.append((one.at, one.known_at))
            elif isinstance(one, Usage):
                on.used.append(_used(one, wall))
        after, more = page.last, page.more
    on.numbers = store.last_seq()
    on.acknowledged = {key for path, kind in _senders(folder) for key in _sent(path, kind)}
    on.aside = set(_aside(folder))
    try:
        store.verify()
    except StoreError as error:
        on.damage = str(error)
    store.close()
    return on


def drain(folder: Path, patience_s: float) -> int:
    """Wait until what gateways have billed is in the store; how many of it are not by then."""
    deadline = time.monotonic() + patience_s
    while True:
        waiting = sum(_waiting(path) for path, kind in _senders(folder) if kind is spool.KIND)
        if not waiting or time.monotonic() > deadline:
            return waiting
        time.sleep(0.5)


def _used(one: Usage, wall: datetime) -> Used:
    took_s = (one.total_ms or 0) / 1e3
    ended = (one.at - wall) / timedelta(seconds=1)
    return Used(one.request_id, one.tenant, one.output_tokens, one.cost_nano_usd, ended, took_s, one.user)


def _senders(folder: Path) -> Iterator[tuple[Path, Kind]]:
    for path in folder.glob("site-*/sites/*/outbox.db"):
        yield path, outbox.KIND
    for path in folder.glob("?/gateway/usage.db"):
        yield path, spool.KIND


def _sent(path: Path, kind: Kind) -> Iterator[str]:
    """Keys of what its sender has as acknowledged."""
    database = open_database(path, kind, read_only=True)
    with contextlib.closing(database):
        for (key,) in database.rows("SELECT key FROM item WHERE sent = 1"):
            yield key.partition("|")[2] if kind is outbox.KIND else key


def _waiting(path: Path) -> int:
    database = open_database(path, spool.KIND, read_only=True)
    with contextlib.closing(database):
        ((count,),) = database.rows("SELECT count(*) FROM item WHERE sent = 0")
        return int(count)


def _aside(folder: Path) -> Iterator[str]:
    """Keys and requests of what a core has set aside because of a clock: to be offered again when its time has come."""
    for name in "ab":
        held = Quarantine(folder / name / "quarantine.db", read_only=True)
        for one in list(held.each()):
            kept = held.get(one.id) if AHEAD in one.why else None
            if kept is None:
                continue
            with contextlib.suppress(ValueError):
                yield records.decode(kept[1]).key
                yield str(json.loads(kept[1]).get("request_id"))
        held.close()

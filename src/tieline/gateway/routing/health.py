"""Serving while the control plane is away: the replica table is kept on disk, and who sends no heartbeats is asked.

Heartbeats come over the link. When it is cut they stop for every replica at once, though the engines go on; a gateway
that starts then hears of none at all. So the table that was last known is written beside the usage records, and a
replica whose heartbeats are missing is asked itself: it serves while it answers. Once it is heard again over the link
that is what counts.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Final

import msgspec

from tieline.gateway.routing.replicas import TUNNEL, ReplicaTable, backend_of
from tieline.gateway.routing.route import State
from tieline.gateway.settings import ENGINE_KINDS, Engine
from tieline.gateway.wire.decoding import read_json
from tieline.gateway.wire.upstream import Backend, call

log = logging.getLogger("tieline.gateway")

LOOK_S: Final = 0.5
ASK_S: Final = 1.0
SAVE_S: Final = 5.0
# Asked at once; a fleet of thousands is not asked in one breath.
MAX_ASKED: Final = 64


class _Known(msgspec.Struct, frozen=True):
    engine: Engine
    label: str = ""


class Snapshot:
    """The replica table on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept: list[_Known] = []

    def load(self) -> list[_Known]:
        """What was known; nothing where there is no table that can be read: heartbeats will tell."""
        try:
            self._kept = read_json(self.path.read_bytes(), list[_Known])
        except FileNotFoundError:
            return []
        except (OSError, msgspec.DecodeError, ValueError) as error:
            log.warning("%s: the replica table of before cannot be read: %s", self.path, error)
        return self._kept

    def save(self, backends: list[Backend]) -> None:
        """Write it if it changed. Raises OSError."""
        known = [
            _Known(
                Engine(
                    url=f"{'http' if b.road is None else TUNNEL}://{b.authority}{b.base}", id=b.id, site=b.site,
                    region=b.region,
                    kind=ENGINE_KINDS.get(b.engine, "other"), models=tuple(sorted(b.models)), slots=b.slots,
                ),
                b.label,
            )
            for b in backends
            if not b.given and b.state in (State.READY, State.DRAINING)
        ]  # fmt: skip
        if not known or known == self._kept:  # an empty table is no use to anybody; the last one may be
            return
        aside = self.path.with_suffix(".new")
        with aside.open("wb") as file:
            file.write(msgspec.json.encode(known))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self.path)
        self._kept = known


def restore(table: ReplicaTable, snapshot: Snapshot) -> int:
    """Replicas as they were last known, to be asked before they are believed."""
    state = snapshot.load()
    for one in state:
        backend = backend_of(one.engine)
        backend.given, backend.label = False, one.label
        if one.engine.url.startswith(f"{TUNNEL}:"):
            backend.road = table.road
        table.settle(backend)
        table.backends.setdefault(backend.id, backend)
    return len(state)


async def probe_for_ever(table: ReplicaTable, snapshot: Snapshot) -> None:
    """Ask who is not heard of; keep the table. Never returns."""
    saved = 0.0
    while True:
        await asyncio.sleep(LOOK_S)
        now = asyncio.get_running_loop().time()
        silent = [b for b in table.backends.values() if not b.given and (b.beat_at is None or b.suspect(now))]
        asked = [b for b in silent if b.state in (State.STARTING, State.READY) and not b.held]
        for at in range(0, len(asked), MAX_ASKED):
            await asyncio.gather(*(_ask(table, b) for b in asked[at : at + MAX_ASKED]))
        if now - saved >= SAVE_S:
            saved = now
            try:
                await asyncio.to_thread(snapshot.save, list(table.backends.values()))
            except OSError as error:
                log.error("the replica table cannot be kept: %s", error)


async def _ask(table: ReplicaTable, backend: Backend) -> None:
    beat_at = backend.beat_at
    try:
        status, _ = await call(backend, "GET", "/v1/models", b"", ASK_S)
    except OSError:
        status = 0
    if backend.beat_at != beat_at or table.backends.get(backend.id) is not backend:
        return  # heard meanwhile
    if status == 200:
        if beat_at is not None:
            log.info("replica %s: no heartbeats, but it answers", backend.id)
            backend.beat_at = None
        if backend.state is State.STARTING:
            table.turn(backend, State.READY)
    elif beat_at is None and backend.state is State.READY and not backend.live:
        table.turn(backend, State.STARTING)  # live streams say for themselves whether they are dead

"""The replica table: who serves what, how it is, and which of them takes a request.

Told by sites' heartbeats, by health checks and by operators; knows nothing of requests but what they want.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from tieline.gateway.routing import apart, outliers, route
from tieline.gateway.routing import power as site_power
from tieline.gateway.routing.route import MAX_UNKNOWN_SLOTS, State, Want
from tieline.gateway.settings import ENGINE_KINDS, Engine, Settings
from tieline.gateway.wire.upstream import Backend, Conn, Road
from tieline.records import Instruction, Plan, ReplicaState

log = logging.getLogger("tieline.gateway")

# How often replicas are compared with their peers.
JUDGE_EVERY_S: Final = 1.0
# The scheme of an address that only its site's own connections lead to.
TUNNEL: Final = "tunnel"


class ReplicaTable:
    """One per process. `on_ready` is called when a replica has become ready."""

    def __init__(self, settings: Settings, now: Callable[[], float], on_ready: Callable[[], None]) -> None:
        self.settings, self._now, self._on_ready = settings, now, on_ready
        self.backends: dict[str, Backend] = {}
        self.power = site_power.SitePowers()
        self._judged = now()
        self._held: frozenset[str] = frozenset()
        self.apart: frozenset[str] = frozenset()  # for tenants in poor standing, while there are any
        self.road: Road = no_road  # to replicas of sites that nobody can dial

    # --- the choice -----------------------------------------------------------------

    def choose(self, want: Want, avoid: frozenset[str] | set[str]) -> Backend | None:
        """The best with room."""
        return route.choose(self.backends.values(), want, self._now(), avoid)

    def choose_at_all(self, want: Want, avoid: frozenset[str] | set[str]) -> Backend | None:
        """The same for a stream that has lost its replica."""
        now = self._now()
        return route.choose(self.backends.values(), want, now, avoid) or route.last_resort(
            self.backends.values(), want, now, avoid
        )

    def serving(self, want: Want) -> list[Backend]:
        """Replicas of a model that are well, full or not."""
        return route.candidates(self.backends.values(), want, self._now())

    def known(self, model: str) -> bool:
        """Does any replica that is not down serve it?"""
        return any(model in one.models and one.state is not State.DOWN for one in self.backends.values())

    def ready(self, model: str) -> bool:
        """Would any replica take a request for it, now or once it has room?"""
        now = self._now()
        return any(model in one.models and one.usable(now) for one in self.backends.values())

    # --- what is said of them ---------------------------------------------------------

    def heard(self, state: ReplicaState) -> bool:
        """A heartbeat of a replica, or its change of state. True: it is new here."""
        backend = self.backends.get(state.replica_id)
        new = backend is None or backend.authority != urlsplit(state.base_url).netloc
        if backend is None or new:
            if state.state == "down" or not state.base_url:  # an engine that starts has no address yet
                return False
            if backend is not None:
                backend.close()
            backend = self.backends[state.replica_id] = backend_of(
                Engine(
                    url=state.base_url,
                    id=state.replica_id,
                    site=state.site_id,
                    region=state.region,
                    kind=ENGINE_KINDS.get(state.engine) or "other",
                    models=(state.model,),
                    slots=state.slots,
                )
            )
            backend.given = False
            if urlsplit(state.base_url).scheme == TUNNEL:
                backend.road = self.road
            self.settle(backend)
        if not new and state.model and state.model not in backend.models:
            backend.models = frozenset((state.model,))  # the same address, and another model
        backend.label = state.label
        backend.beat_at = self._now()
        if state.state == "ready":
            backend.alive(backend.beat_at)
        self.turn(backend, State(state.state))
        return new

    def settle(self, backend: Backend) -> None:
        """How far away a platform's replica is, by its region."""
        settings = self.settings
        backend.rtt_s = settings.round_trips_ms.get(backend.region, 0.0) / 1e3
        backend.abroad_s = settings.abroad_s if settings.is_abroad(backend.region) else 0.0

    def heard_power(self, record: Plan | Instruction) -> None:
        """What a site's power will cost, or that it will end."""
        self.power.heard(record)

    def turn(self, backend: Backend, state: State) -> None:
        """A replica changes its state; what that means for its requests. One that an operator has drained stays so,
        whatever it says of itself."""
        if state is State.READY and (backend.held or backend.id in self._held):
            state = State.DRAINING
        if backend.state is state:
            return
        before, backend.state = backend.state, state
        log.info("replica %s: %s -> %s", backend.id, before.value, state.value)
        if state is State.READY:
            backend.failures, backend.ejected_until = 0, 0.0
            self._on_ready()
        elif state is State.DOWN:
            backend.close()
            for occupant in list(backend.live):
                occupant.on_lost("its site says it is down")

    def hold(self, ids: frozenset[str]) -> None:
        """Those that an operator has drained, by now; others are taken back."""
        before, self._held = self._held, ids
        for id_ in before ^ ids:
            backend = self.backends.get(id_)
            if backend is not None and backend.state in (State.READY, State.DRAINING):
                self.turn(backend, State.DRAINING if id_ in ids else State.READY)

    # --- what is made of it -------------------------------------------------------------

    def weigh(self, at: datetime) -> None:
        """Power's part of every score."""
        site_power.apply(self.power, self.backends.values(), self.settings.kwh_per_mtok, at)

    def dearer(self, usd_per_mtok: float) -> frozenset[str]:
        """Replicas whose power costs more than this per million tokens now."""
        return frozenset(one.id for one in self.backends.values() if one.price_usd_per_mtok > usd_per_mtok)

    def set_apart(self, needed: bool) -> None:
        """Are there tenants in poor standing? Then some replicas are theirs."""
        self.apart = apart.chosen(self.backends.values(), self.apart) if needed else frozenset()

    def elsewhere(self, regions: frozenset[str]) -> frozenset[str]:
        """Replicas that a tenant in poor standing is not sent to."""
        return apart.elsewhere(self.backends.values(), self.apart, regions)

    def judge(self, now: float) -> None:
        """Compare replicas with their peers, once a second."""
        if now - self._judged >= JUDGE_EVERY_S:
            self._judged = now
            outliers.judge(self.backends.values(), now)
            for id_ in self.apart:
                backend = self.backends.get(id_)
                if backend is not None and backend.state is State.READY:
                    backend.demoted_s += apart.ASIDE_S

    def draining(self) -> Iterable[Backend]:
        """Replicas that were told to go dark and still serve."""
        return (one for one in self.backends.values() if one.state is State.DRAINING and one.live)

    def shown(self, *, brief: bool = False) -> list[dict[str, object]]:
        """The table for people; `brief`: what anybody may know."""
        now = self._now()
        rows: list[dict[str, object]] = []
        for one in self.backends.values():
            row: dict[str, object] = {
                "id": one.id,
                "site": one.site,
                "state": one.state.value,
                "usable": one.usable(now),
                "live": len(one.live),
                "slots": one.slots,
            }
            if not brief:
                row["region"], row["rtt_ms"] = one.region, round(one.rtt_s * 1e3, 1)
                row["abroad"] = self.settings.is_abroad(one.region)
                row["power"] = {
                    "term_s": round(one.power_term_s, 3),
                    "usd_per_mtok": round(one.price_usd_per_mtok, 4),
                    "note": one.power_note,
                }
            rows.append(row)
        return rows

    def close(self) -> None:
        for backend in self.backends.values():
            backend.close()


async def no_road(backend: Backend, timeout_s: float) -> Conn:
    raise OSError(f"{backend.id} is reached through the sites' door, which is not open here")


def backend_of(engine: Engine) -> Backend:
    """A backend from its address; what it serves is learned by asking it."""
    parts = urlsplit(engine.url)
    secure = parts.scheme == "https"
    kind = engine.kind
    return Backend(
        id=engine.name,
        site=engine.site or "local",
        region=engine.region,
        models=frozenset(engine.models),
        configured=frozenset(engine.models),
        engine=kind,
        slots=engine.slots or MAX_UNKNOWN_SLOTS,
        state=State.STARTING,
        host=parts.hostname or "",
        port=parts.port or (443 if secure else 80),
        base=parts.path.rstrip("/").removesuffix("/v1"),
        authority=parts.netloc.rpartition("@")[2],
        key=os.environ.get(engine.key_env, "") if engine.key_env else "",
        ssl=ssl.create_default_context() if secure else None,
        reuse_after_stream=kind not in ("", "llama.cpp"),
        given=True,
    )

"""Engines given by address: asked how they are and what they serve, added and taken away while requests run.

An engine that leaves, or comes back under another address, is drained like a site that goes dark: its streams move to
others, and it is forgotten when none is left.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import Final

import msgspec

from tieline.gateway.routing.replicas import backend_of
from tieline.gateway.routing.route import MAX_UNKNOWN_SLOTS, State
from tieline.gateway.service import Service
from tieline.gateway.settings import Engine, Settings
from tieline.gateway.wire.decoding import json_reader, read_json
from tieline.gateway.wire.upstream import Backend, call
from tieline.tasks import Registry

# An engine given by address is asked this often; a refused connection is noticed by requests at once.
CHECK_EVERY_S: Final = 2.0
# ... and one that a stream was lost on, this soon.
CHECK_SOON_S: Final = 0.5
CHECK_TIMEOUT_S: Final = 2.0


class _ModelEntry(msgspec.Struct):
    id: str
    owned_by: str = ""


class _ModelList(msgspec.Struct):
    data: list[_ModelEntry]


_models = json_reader(_ModelList)


class Engines:
    """Those of one process; the registry keeps the tasks that ask them."""

    def __init__(self, svc: Service, registry: Registry) -> None:
        self.svc, self.kept = svc, registry
        self._given: dict[str, Engine] = {}
        self._tasks: dict[str, str] = {}  # by engine
        self._leaving: list[tuple[str, str]] = []  # (replica, its task)
        self._turns = 0

    def follow(self, settings: Settings) -> None:
        """Have the engines that the settings name, and no others."""
        wanted = {engine.name: engine for engine in settings.engines}
        for name in [name for name, engine in self._given.items() if wanted.get(name) != engine]:
            self._leave(name)
        for name, engine in wanted.items():
            if name in self._given:
                continue
            backend = self.svc.backends[name] = backend_of(engine)
            self.svc.table.settle(backend)
            self._given[name] = engine
            task = f"engine {name}"
            if task in self.kept.names:  # of the engine that had this name before
                self._turns += 1
                task = f"{task} ({self._turns})"
            self._tasks[name] = task
            self.kept.keep(task, "asks an engine whether it is well", partial(watch, self.svc, backend))
        # A model that has another name from now on is served under it at once.
        for backend in self.svc.backends.values():
            for model in settings.models:
                if model.upstream_name is not None and model.upstream_name in backend.models:
                    backend.models |= {model.name}
                    backend.served[model.name] = model.upstream_name

    def _leave(self, name: str) -> None:
        """Drain it; requests that it holds move to others."""
        del self._given[name]
        backend = self.svc.backends.pop(name)
        self._turns += 1
        backend.id = f"{name}~{self._turns}"  # another one may come under its name
        backend.held = True
        self.svc.backends[backend.id] = backend
        self._leaving.append((backend.id, self._tasks.pop(name)))
        self.svc.turn(backend, State.DRAINING)

    async def sweep(self) -> None:
        """Once a second: forget those that have left and hold nothing any more."""
        for id_, task in list(self._leaving):
            backend = self.svc.backends[id_]
            if not backend.live:
                self._leaving.remove((id_, task))
                await self.kept.drop(task)
                del self.svc.backends[id_]
                backend.close()


async def watch(svc: Service, backend: Backend) -> None:
    """An engine given by address: ask what it serves and whether it is well."""
    while True:
        await _check(svc, backend)
        well = backend.state is State.READY and backend.lost_at is None
        until = svc.loop.time() + (CHECK_EVERY_S if well else CHECK_SOON_S)
        while svc.loop.time() < until and (backend.lost_at is None or not well):
            await asyncio.sleep(0.25)


async def _check(svc: Service, backend: Backend) -> None:
    began = svc.loop.time()
    try:
        status, body = await call(backend, "GET", "/v1/models", b"", CHECK_TIMEOUT_S)
        listed = _models(body).data if status == 200 else None
    except OSError:
        listed = None
    except msgspec.DecodeError:
        listed = []  # it answers, but lists nothing: what it serves has to be configured
    if listed is None:
        if backend.state is State.READY and not backend.live:
            svc.turn(backend, State.STARTING)  # live streams say for themselves whether they are dead
        return
    backend.rtt_s = svc.loop.time() - began
    backend.alive(began)
    _learn(svc, backend, listed)
    if not backend.held:
        svc.turn(backend, State.READY)


def _learn(svc: Service, backend: Backend, listed: list[_ModelEntry]) -> None:
    """What the engine calls its models, what kind of engine it is."""
    if not backend.engine and listed:
        owner = listed[0].owned_by
        backend.engine = {"llamacpp": "llama.cpp", "vllm": "vllm", "sglang": "sglang"}.get(owner, "other")
        backend.reuse_after_stream = backend.engine != "llama.cpp"
    own = {entry.id for entry in listed}
    served = {name: name for name in own}
    for model in svc.settings.models:
        if model.upstream_name in own:
            served[model.name] = str(model.upstream_name)
    if backend.engine == "llama.cpp" and backend.slots == MAX_UNKNOWN_SLOTS:
        svc.spawn(_ask_slots(backend))
    # What was learned of another engine at this address is unlearned; what was configured stands until it says no.
    backend.lacks -= served.keys()
    backend.models, backend.served = frozenset(served) | (backend.configured - backend.lacks), served


async def _ask_slots(backend: Backend) -> None:
    """llama.cpp says how many requests it runs at once; beyond that its own queue would hide the wait from us."""
    with contextlib.suppress(OSError, msgspec.DecodeError):
        status, body = await call(backend, "GET", "/props", b"", CHECK_TIMEOUT_S)
        if status == 200:
            plain = read_json(body)
            slots = plain.get("total_slots") if isinstance(plain, dict) else None
            if isinstance(slots, int) and slots > 0:
                backend.slots = slots

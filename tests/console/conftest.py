"""A filled store, its fleet, and the console over it with a clock that stands still."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
from starlette.testclient import TestClient

from console import world as invented
from tieline import config, records
from tieline.clock import SimClock
from tieline.console.app import make_app
from tieline.fleet import Fleet
from tieline.link import Ack, LocalLink
from tieline.store import Store

WRITES = {"x-tieline": "console"}


@pytest.fixture(scope="session")
def world() -> ModuleType:
    return invented


@pytest.fixture(scope="session")
def fleet() -> Fleet:
    return config.demo().fleet


@pytest.fixture(scope="session")
def filled(world: ModuleType, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hours of the world on disk; written once, read by all."""
    path = tmp_path_factory.mktemp("console") / "store.db"
    store = Store(path, records.encode, records.decode)
    world.fill(store, fleet, hours=3)
    store.close()
    return path


@pytest.fixture
def store(filled: Path) -> Iterator[Store]:
    store = Store(filled, records.encode, records.decode, read_only=True)
    yield store
    store.close()


class Core:
    """Stands for the core on the link: takes records, and says so."""

    def __init__(self) -> None:
        self.link = LocalLink()
        self.taken: list[records.AnyRecord] = []
        self.error: str | None = None
        self.path: Path | None = None

    def keeps_in(self, path: Path) -> None:
        """What it takes is in this store from then on."""
        self.path = path

    async def take(self, subject: str, data: bytes) -> bytes:
        if self.error is not None:
            return msgspec.json.encode(Ack(0, error=self.error))
        batch = records.decode_batch(data)
        self.taken += batch
        if self.path is not None:
            keeping = Store(self.path, records.encode, records.decode)
            keeping.append(batch)
            keeping.close()
        return msgspec.json.encode(Ack(len(batch)))


@pytest.fixture
def core() -> Core:
    core = Core()
    core.link._handlers["records.*"] = core.take
    return core


@pytest.fixture
def client(world: ModuleType, fleet: Fleet, store: Store, core: Core) -> Iterator[TestClient]:
    """The console, caught up with the store."""
    app = make_app(store, fleet, SimClock(world.NOW), link=core.link)
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        catch_up(client)
        yield client


def catch_up(client: TestClient) -> None:
    for _ in range(2000):
        if client.get("/healthz").json()["caught_up"] >= 1.0:
            return
    raise AssertionError("the console did not catch up with its store")

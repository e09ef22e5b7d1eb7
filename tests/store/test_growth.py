"""What a day adds is told from the last day, all of it or a sample, and who is to be told is told in time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from tests.store.server import running

from tieline import config as configuration
from tieline import records
from tieline.app.console_part import told
from tieline.app.machines import doctor
from tieline.app.up import PlatformState
from tieline.cli import main
from tieline.clock import wall_now
from tieline.config.sections import StoreServer
from tieline.records import MeterReading, PriceTick
from tieline.store import Store
from tieline.store.place import StorePlace
from tieline.store.rolled import growth as growing
from tieline.store.rolled.growth import filling, growth_of

NOW = datetime(2026, 11, 3, tzinfo=UTC)
DAY = timedelta(days=1)


def fill(store: Store, now: datetime, days: float = 3.0) -> None:
    """Each quarter of an hour a meter's record and a price; of the days before the last, three times as many."""
    batch: list[records.AnyRecord] = []
    for n in range(int(days * 96)):
        at = now - days * DAY + n * DAY / 96
        common = {"at": at, "known_at": at, "source": "t", "kind": "measured"}
        batch.append(MeterReading(site_id="s", length_s=900, readings=1, power_w=1.5, **common))
        markets = "ABC" if at < now - DAY else "A"
        batch += [PriceTick(market=market, price_usd_per_mwh=1.0, **common) for market in markets]
    store.append(batch)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store.db", records.encode, records.decode)
    yield store
    store.close()


@pytest.mark.parametrize("whole", [200_000, 50])
def test_a_day_is_told_from_the_last_one(store: Store, whole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "WHOLE", whole)
    monkeypatch.setattr(growing, "PIECES", 10)
    monkeypatch.setattr(growing, "PIECE", 10)
    fill(store, NOW)
    grown = growth_of(store, NOW)
    assert grown is not None
    assert grown.sampled is (whole == 50)
    told = {one.stream: one for one in grown.streams}
    body = len(records.encode(store.between(MeterReading, NOW - DAY, NOW)[0]))
    for stream in ("MeterReading", "PriceTick"):
        assert told[stream].records_a_day == pytest.approx(96, rel=0.05)
    assert told["MeterReading"].bytes_a_day == pytest.approx(96 * body, rel=0.05)
    assert grown.disk_bytes > 0
    assert grown.days_left == pytest.approx((grown.free_bytes or 0) / grown.disk_bytes_a_day)


def test_a_young_store_is_reckoned_up_to_a_day_and_a_new_one_says_nothing(store: Store) -> None:
    assert growth_of(store, NOW) is None
    fill(store, NOW, 0.25)
    assert growth_of(store, NOW - timedelta(hours=5, minutes=15)) is None, "three quarters of an hour"
    grown = growth_of(store, NOW)
    assert grown is not None
    assert next(one for one in grown.streams if one.stream == "MeterReading").records_a_day == pytest.approx(
        96, rel=0.2
    )
    assert growth_of(store, NOW + 2 * DAY) is None, "nothing came in the last day"


def test_who_is_to_be_told_is_told_when_fewer_days_are_left_than_stated(store: Store, tmp_path: Path) -> None:
    fill(store, NOW)
    of_day = growth_of(store, NOW)
    assert of_day is not None
    granted = of_day.disk_bytes + int(10.5 * of_day.disk_bytes_a_day)
    grown = growth_of(store, NOW, granted)
    assert grown is not None
    assert grown.days_left == pytest.approx(10.5, rel=0.01)
    assert filling(grown, 10.0) is None
    assert filling(grown, 0.0) is None
    line = filling(grown, 14.0)
    assert line is not None
    assert "full in 10.5 days, estimated from the last 24 h" in line
    assert "full in 1.0 days" in (filling(grown, 14.0, speed=10.0) or "")
    assert told_parts(tmp_path, line) == [{"name": "disk", "ok": False, "detail": line}]


def told_parts(folder: Path, line: str) -> list[dict[str, Any]]:
    (folder / "run").mkdir()
    state = PlatformState(ready=True, console_url=None, openai_base_url=None, demo_key=None, version="0", parts=())
    (folder / "run" / "state.json").write_bytes(msgspec.json.encode(state))

    class Standing:
        data, version, speed = folder, "0", 1.0

    parts: list[dict[str, Any]] = told(Standing(), lambda: (0, 0), line)["parts"]  # type: ignore[arg-type]  # what it reads
    return parts


def test_the_command_says_what_grows_and_its_answer_is_no_when_the_disk_does_not_last(tmp_path: Path) -> None:
    assert CliRunner().invoke(main, ["store", "growth", "--data-dir", str(tmp_path)]).exit_code == 3
    with_store = Store(tmp_path / "store.db", records.encode, records.decode)
    fill(with_store, wall_now())
    with_store.close()
    said = CliRunner().invoke(main, ["store", "growth", "--data-dir", str(tmp_path)])
    assert said.exit_code == 0, said.output
    assert "MeterReading" in said.output
    assert "Estimated from all records of the last 24.0 h" in said.output
    told = json.loads(CliRunner().invoke(main, ["store", "growth", "--json", "--data-dir", str(tmp_path)]).output)
    assert told["bytes_a_site_and_day"] > 0


def test_on_a_server_what_it_was_granted_is_what_it_has(tmp_path: Path) -> None:
    with running() as server:
        place = StorePlace(tmp_path, server.url())
        store = Store(place, records.encode, records.decode)
        fill(store, wall_now())
        grown = growth_of(store, wall_now())
        assert grown is not None
        assert grown.free_bytes is None
        assert grown.days_left is None
        assert grown.disk_bytes > 0
        granted = growth_of(store, wall_now(), grown.disk_bytes + 1)
        assert granted is not None
        assert granted.free_bytes == 1
        store.close()
        config = configuration.demo()
        small = msgspec.structs.replace(config, store=StoreServer(disk_gb=1e-6))
        assert "the store's disk is full in 0.0 days" in doctor._grows(place, small).wrong
        assert "name store.disk_gb" in doctor._grows(place, config).what

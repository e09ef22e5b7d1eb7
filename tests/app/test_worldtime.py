"""What time it is when the platform starts: this machine's own word, whatever is stored."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tieline import records
from tieline.app import worldtime
from tieline.clock import WallClock, wall_now
from tieline.records import Fault
from tieline.store import Store

WALL = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_store_that_says_9990_does_not_move_the_world(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db", records.encode, records.decode)
    far = datetime(8990, 1, 1, tzinfo=UTC)
    store.append([Fault(at=WALL, known_at=far, source="s", kind="measured", site_id="s", what="clock")])
    store.close()
    assert worldtime.world_start(tmp_path, WALL) == WALL


def test_a_world_that_ran_ahead_goes_on_from_where_it_was(tmp_path: Path) -> None:
    now = wall_now()
    worldtime.save(tmp_path, WallClock(60.0, now - timedelta(hours=1), now - timedelta(hours=1)))
    start = worldtime.world_start(tmp_path, now)
    # An hour at sixty times is 60 hours; after a power cut it is at most one saving further on, never earlier.
    assert timedelta(hours=59) <= start - now <= timedelta(hours=59, minutes=12)


def test_a_wall_that_was_set_back_is_believed(tmp_path: Path) -> None:
    worldtime.save(tmp_path, WallClock())
    hour_ago = wall_now() - timedelta(hours=1)
    assert worldtime.world_start(tmp_path, hour_ago) == hour_ago


@pytest.mark.parametrize(
    "text",
    ["", "{", "[" * 100_000, '{"world":"2026-01-01T00:00:00","wall":"2026-01-01T00:00:00Z","speed":1}',
     '{"world":"9999-12-31T23:59:59Z","wall":"2026-01-01T00:00:00Z","speed":1}',
     '{"world":"2026-12-31T23:59:59Z","wall":"2026-01-01T00:00:00Z","speed":1e300}'],
)  # fmt: skip
def test_a_torn_file_is_no_time(tmp_path: Path, text: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "clock.json").write_text(text)
    assert worldtime.world_start(tmp_path, WALL) == WALL

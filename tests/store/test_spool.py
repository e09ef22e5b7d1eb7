"""The spool: what was put is on disk when its owner is told, once, also after a crash and with many putters."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import pytest

from tieline.store import Outbox, Spool, StoreError
from tieline.store.database import open_database
from tieline.store.outbox import FORGET_OLDEST
from tieline.store.spool import KIND, Group


def rows(path: Path) -> list[tuple[str, bytes]]:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        return db.execute("SELECT key, body FROM item ORDER BY id").fetchall()


class Told:
    """Stands for the meter: renders numbers, and hears of them."""

    def __init__(self, spool: Spool, count: int) -> None:
        self.spool, self.count = spool, count
        self.seen: list[int] = []
        self.missing: list[int] = []  # told of, but not on disk at that moment
        self.groups: list[int] = []
        self.errors: list[StoreError] = []
        self.all = threading.Event()
        spool.render, spool.landed = self.render, self.landed

    def render(self, things: list[int], group: Group) -> None:
        for one in things:
            if one < 0:
                raise ValueError("no row can be made of this")
            group.values.extend((f"k{one}", b"%d" % one))
            group.shares.append((("tenant", "key"), one))

    def landed(self, things: list[int], error: StoreError | None) -> None:
        if error is None:
            on_disk = {body for _, body in rows(self.spool.path)}
            self.missing += [one for one in things if b"%d" % one not in on_disk]
        else:
            self.errors.append(error)
        self.seen += things
        self.groups.append(len(things))
        if len(self.seen) >= self.count:
            self.all.set()


def test_everyone_is_told_once_and_only_after_the_row_is_on_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db")
    told = Told(spool, 2_000)
    threads = [
        threading.Thread(target=lambda at=at: [spool.put_thing(n) for n in range(at, at + 500)])  # type: ignore[misc]
        for at in range(0, 2_000, 500)
    ]
    for one in threads:
        one.start()
    assert told.all.wait(30)
    assert sorted(told.seen) == list(range(2_000))
    assert told.missing == []
    assert max(told.groups) <= spool.max_group
    assert spool.totals() == {"tenant": sum(range(2_000)), "key": sum(range(2_000))}
    assert len(spool) == 2_000
    spool.close()
    assert len(rows(spool.path)) == 2_000


def test_no_row_is_overlooked_between_sleeps(tmp_path: Path) -> None:
    """One at a time, each put just as the thread goes to sleep after the one before."""
    spool = Spool(tmp_path / "spool.db")
    for number in range(60):
        told = Told(spool, 1)
        spool.put_thing(number)
        assert told.all.wait(10), number
    spool.close()


def test_a_group_waits_for_others_unless_it_is_said_that_none_is_to_come(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", linger_s=30.0)

    def put(count: int, *, last: bool) -> Told:
        told = Told(spool, count)
        for number in range(count):
            spool.put_thing(number, last=last and number == count - 1)
        return told

    for _ in range(100):
        told = put(8, last=True)
        assert told.all.wait(10)
        if told.groups == [8]:
            break
    few = put(2, last=True)  # they come in numbers now, and two are few
    assert not few.all.wait(0.2)
    rest = put(6, last=True)
    assert rest.all.wait(10)
    assert sorted(few.seen + rest.seen) == [0, 0, 1, 1, 2, 3, 4, 5]
    spool.close()


def test_progress_goes_with_the_row_that_ends_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db")
    spool.progress([("a", b"1"), ("b", b"1")])
    assert spool.unfinished() == [("a", b"1"), ("b", b"1")]
    spool.progress([("a", b"2")])
    spool.put("b", b"end", ("tenant",), 7)
    spool.close()
    again = Spool(tmp_path / "spool.db")  # as a successor finds it
    assert again.unfinished() == [("a", b"2")]
    assert again.totals() == {"tenant": 7}
    assert [(key, body) for _, key, body in again.take()] == [("b", b"end")]
    again.forget([id_ for id_, _, _ in again.take()])
    assert len(again) == 0
    again.close()


def test_what_comes_twice_is_there_once_and_counts_once(tmp_path: Path) -> None:
    """A line of a batch that runs again after a crash, among others that are new."""
    spool = Spool(tmp_path / "spool.db")
    told = Told(spool, 3)
    for number in (1, 2, 3):
        spool.put_thing(number)
    assert told.all.wait(10)
    told = Told(spool, 4)
    for number in (2, 4, 2, 5):
        spool.put_thing(number)
    spool.put("k1", b"again", ("tenant",), 100)
    assert told.all.wait(10)
    assert told.errors == []
    assert spool.totals() == {"tenant": 15, "key": 15}
    assert len(spool) == 5
    spool.close()
    assert sorted(rows(spool.path)) == [(f"k{n}", b"%d" % n) for n in (1, 2, 3, 4, 5)]


def test_a_row_that_cannot_be_made_is_an_error_and_not_the_end(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db")
    told = Told(spool, 1)
    spool.put_thing(-1)
    assert told.all.wait(10)
    assert len(told.errors) == 1
    assert "no row can be made" in str(told.errors[0])
    spool.put("a", b"1")
    spool.close()
    assert rows(spool.path) == [("a", b"1")]


def test_rows_beyond_the_bound_are_refused_with_a_reason(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", max_items=10)
    told = Told(spool, 20)
    for number in range(20):
        spool.put_thing(number)
    assert told.all.wait(10)
    assert told.errors
    assert "restore the link" in str(told.errors[0])
    assert len(spool) <= 10
    spool.close()


def test_only_the_newest_rows_are_kept_where_nobody_takes_them(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", keep_last=100)
    told = Told(spool, 1_000)
    for number in range(1_000):
        spool.put_thing(number)
    assert told.all.wait(20)
    spool.close()
    kept = [int(body) for _, body in rows(spool.path)]
    assert kept == list(range(1_000 - len(kept), 1_000))
    assert 100 <= len(kept) <= 110 + spool.max_group


def test_a_closed_spool_says_so(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db")
    spool.close()
    with pytest.raises(StoreError, match="closed"):
        spool.take()


def test_a_row_that_the_disk_refused_waits_for_it_and_is_not_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An operator's action is put without anybody waiting for it."""
    spool = Spool(tmp_path / "spool.db", linger_s=0.0)
    spool._ask(lambda db: db.run("PRAGMA busy_timeout = 1"))
    other = open_database(tmp_path / "spool.db", KIND)
    with other.write():  # nobody else can write now
        spool.put("action", b"by kim")
        with pytest.raises(StoreError):
            spool.try_write()  # who asks is answered all the same
    other.close()
    deadline = time.monotonic() + 20
    while not len(spool) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [(key, body) for _, key, body in spool.take()] == [("action", b"by kim")]
    spool.close()
    assert sum("wait for the disk" in message for message in caplog.messages) == 1


def test_what_is_acknowledged_is_kept_up_to_a_bound_and_never_what_waits(tmp_path: Path) -> None:
    """Some in the middle wait longer; what is behind them goes when they do."""
    outbox = Outbox(tmp_path / "o.db", keep=10)
    outbox.put((f"k{n}", b"x") for n in range(100))
    ids = [id_ for id_, _, _ in outbox.take(100)]
    outbox.done([*ids[:40], *ids[45:]])
    assert [key for _, key, _ in outbox.take(100)] == [f"k{n}" for n in range(40, 45)]
    assert outbox._db.rows("SELECT min(id), count(*) FROM item") == [(41, 60)]
    outbox.done(ids[40:45])
    assert outbox._db.rows("SELECT min(id), count(*) FROM item") == [(91, 10)]
    outbox.close()


def test_a_backlog_is_not_looked_through_with_each_acknowledgement(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o.db", keep=10)
    plan = outbox._db.rows(f"EXPLAIN QUERY PLAN {FORGET_OLDEST}", (10,))
    assert any("COVERING INDEX item_waiting" in str(row) for row in plan)
    assert not any("SCAN" in str(row) for row in plan)
    outbox.close()

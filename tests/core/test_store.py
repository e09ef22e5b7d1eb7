"""What was appended is there once, as it was known; what was acknowledged survives kill -9."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieline import records
from tieline.records import PriceTick
from tieline.store import Outbox, Store, StoreError

T0 = datetime(2026, 11, 1, tzinfo=UTC)


def tick(hour: int, price: float, known: int | None = None, market: str = "A") -> PriceTick:
    at = T0 + timedelta(hours=hour)
    known_at = at if known is None else T0 + timedelta(hours=known)
    return PriceTick(at=at, known_at=known_at, source="test", kind="measured", market=market, price_usd_per_mwh=price)


def memory() -> Store:
    return Store(None, records.encode, records.decode)


def test_appending_twice_is_appending_once() -> None:
    store = memory()
    assert store.append([tick(0, 30.0), tick(0, 30.0)]) == 1
    assert store.append([tick(0, 30.0)]) == 0
    assert store.counts() == {"PriceTick": 1}


def test_a_correction_is_a_new_record_and_the_past_stays_as_it_was_known() -> None:
    store = memory()
    store.append([tick(0, 30.0, known=1), tick(0, 31.0, known=5)])
    assert [r.price_usd_per_mwh for r in store.latest(PriceTick, T0 + timedelta(hours=2))] == [30.0]
    assert [r.price_usd_per_mwh for r in store.latest(PriceTick, T0 + timedelta(hours=6))] == [31.0]


@given(
    rows=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.floats(-100, 5000)), max_size=40),
    now=st.integers(0, 40),
)
def test_nothing_read_as_of_now_was_learned_later(rows: list[tuple[int, int, float]], now: int) -> None:
    store = memory()
    store.append([tick(at, price, known) for at, known, price in rows])
    moment = T0 + timedelta(hours=now)
    for found in (
        *store.latest(PriceTick, moment),
        *store.between(PriceTick, T0, T0 + timedelta(days=9), now=moment),
    ):
        assert found.known_at <= moment
    for found in store.latest(PriceTick, moment):
        assert found.at <= moment
    store.close()


def test_follow_gives_each_record_once_in_order() -> None:
    store = memory()
    store.append([tick(n, float(n)) for n in range(10)])
    seen, after, more = [], 0, True
    while more:
        page = store.follow(after, limit=3)
        after, more = page.last, page.more
        seen += [one.record for one in page.items]
    assert (store.follow(after).items, store.follow(after).last) == ([], after)
    assert seen == [tick(n, float(n)) for n in range(10)]
    assert store.get(after) == tick(9, 9.0)


def test_two_stores_with_the_same_records_have_the_same_digest() -> None:
    one, two = memory(), memory()
    one.append([tick(0, 1.0), tick(1, 2.0)])
    two.append([tick(0, 1.0)])
    assert one.digest() != two.digest()
    two.append([tick(1, 2.0)])
    assert one.digest() == two.digest()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot open the store"):
        Store(tmp_path / "file" / "store.db", records.encode, records.decode)


def test_the_outbox_keeps_order_and_forgets_only_what_is_done(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "o.db")
    box.put([("a", b"1"), ("b", b"2"), ("a", b"again")])
    taken = box.take()
    assert [(key, body) for _, key, body in taken] == [("a", b"1"), ("b", b"2")]
    box.done([taken[0][0]])
    box.close()
    assert [key for _, key, _ in Outbox(tmp_path / "o.db").take()] == ["b"]


def test_a_full_outbox_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "o.db", max_items=2)
    box.put([("a", b"1"), ("b", b"2")])
    with pytest.raises(StoreError, match="bound of 2"):
        box.put([("c", b"3")])
    assert len(box) == 2


WRITER = """
import sys
from pathlib import Path
from tieline.store import Outbox
box = Outbox(Path(sys.argv[1]))
n = 0
while True:
    box.put([(f"k{n}", b"x")])
    print(n, flush=True)
    n += 1
"""


def test_what_the_outbox_took_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    acknowledged = -1
    while acknowledged < 20:
        acknowledged = int(writer.stdout.readline())
    os.kill(writer.pid, signal.SIGKILL)
    rest = writer.stdout.read().split()
    writer.wait()
    acknowledged = int(rest[-1]) if rest else acknowledged
    kept = [key for _, key, _ in Outbox(path).take(10_000)]
    assert kept[: acknowledged + 1] == [f"k{n}" for n in range(acknowledged + 1)]

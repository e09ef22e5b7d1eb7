"""A sample of the simulation of the store's floor, and proof that it finds what it is there to find.

More of it: `make simulate SEED=n RUNS=n`.
"""

import contextlib
import random
import resource
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.store import simdisk, simulate
from tests.store.simdisk import SimulatedDisk
from tests.store.simulate import ViolationError, many

from tieline.store import Outbox, Spool, Store, StoreError, database, spool, sqlite
from tieline.store.database import Database, Transaction
from tieline.store.mark import Mark


def test_nothing_acknowledged_is_lost_or_twice_whenever_the_power_goes() -> None:
    total = many(range(14))
    assert total["losses"] == 14 * simulate.STARTS
    for name in ("torn", "full", "errors", "keep", "push", "push_usage", "upload", "begin", "land", "refused"):
        assert total[name] >= 10, f"{name} is hardly reached: {total}"


def test_on_a_disk_that_lies_what_is_missing_is_named_or_refused() -> None:
    total = many(range(10), lying=True)
    assert total["lies"] >= 50
    assert total["loss named"] + total["refused as damaged"] >= 5


def test_a_kill_before_the_sync_and_a_power_loss_after_it_name_no_loss(tmp_path: Path) -> None:
    """What a killed process had written and not synced is found at the next start; the mark must not outlive it."""
    for number in range(300):
        draw = random.Random(number)
        disk = SimulatedDisk(tmp_path / str(number), draw)
        outbox = Outbox(disk.folder / "outbox.db", disk=disk)
        outbox.put([("a", b"1")])
        disk.left = draw.randrange(1, 14)
        with contextlib.suppress(StoreError):
            outbox.put([("b", b"2")])
        disk.off = True
        outbox.close()
        disk.restart()
        outbox = Outbox(disk.folder / "outbox.db", disk=disk)
        disk.off = True
        outbox.close()
        disk.power_cycle()
        again = Outbox(disk.folder / "outbox.db", disk=disk)
        assert again.untold() == [], number
        again.close()
        disk.close()


def _keep(outbox: Outbox, first: int, count: int) -> None:
    """Each of these takes a page of its own."""
    for n in range(first, first + count, 50):
        outbox.put([(f"k{at}", b"x" * 4_000) for at in range(n, n + 50)])


def _agrees(outbox: Outbox, count: int) -> None:
    assert len(outbox) == count == outbox._db.rows("SELECT count(*) FROM item WHERE sent = 0")[0][0]


def test_on_a_real_disk_a_checkpoint_that_fails_is_no_failure_of_the_commit(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db")
    _keep(outbox, 0, 1_600)
    outbox._db.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (outbox.path.stat().st_size, limit[1]))  # the database cannot grow
    try:
        _keep(outbox, 1_600, 1_200)
        with pytest.raises(StoreError, match="I/O"):
            outbox._db.rows("PRAGMA wal_checkpoint")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    _agrees(outbox, 2_800)
    outbox.close()


def test_nor_is_it_on_the_simulated_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SimulatedDisk(tmp_path, random.Random(1))
    outbox = Outbox(tmp_path / "outbox.db", disk=disk)
    write, refused = simdisk._File.xWrite, []

    def only_the_log(file: simdisk._File, data: bytes, offset: int) -> None:
        if file.platter is disk.platters["outbox.db"]:
            refused.append(offset)
            raise apsw.IOError("input/output error")
        write(file, data, offset)

    monkeypatch.setattr(simdisk._File, "xWrite", only_the_log)
    _keep(outbox, 0, 1_200)
    _agrees(outbox, 1_200)
    outbox.done([id_ for id_, _, _ in outbox.take(1_200)])
    _agrees(outbox, 0)
    assert refused
    with pytest.raises(StoreError, match="output error"):
        outbox._db.rows("PRAGMA wal_checkpoint")
    outbox.close()
    disk.close()


# --- planted defects: each must be found ---------------------------------------------------

Plant = Callable[[pytest.MonkeyPatch], None]


def _without_sync(patch: pytest.MonkeyPatch) -> None:
    before = Database.rows

    def rows(self: Database, sql: str, values: Any = ()) -> Any:
        return before(self, sql.replace("synchronous=FULL", "synchronous=NORMAL"), values)

    patch.setattr(Database, "rows", rows)


def _mark_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    before = Database.advance

    def advance(self: Database, mark: Mark) -> None:
        before(self, mark)
        if self._marks is not None:
            self._marks.write(mark)

    patch.setattr(Database, "advance", advance)


def _taken_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    before = Outbox.take

    def take(self: Outbox, limit: int = 256) -> Any:
        found = before(self, limit)
        self.done([id_ for id_, _, _ in found])
        return found

    patch.setattr(Outbox, "take", take)


def _told_before_it_is_written(patch: pytest.MonkeyPatch) -> None:
    before = Spool._commit

    def commit(self: Spool, db: Database) -> bool:
        if self.landed is not None:
            self.landed(list(self._things), None)
        return before(self, db)

    patch.setattr(Spool, "_commit", commit)


def _without_conflicts() -> str:
    return sqlite.INSERT.replace(" ON CONFLICT (stream, key) DO NOTHING", "")


def _rows_replaced(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sqlite, "INSERT", _without_conflicts().replace("INSERT", "INSERT OR REPLACE"))


def _keys_not_unique(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sqlite, "INSERT", _without_conflicts())
    steps = (sqlite.KIND.steps[0].replace("UNIQUE INDEX", "INDEX"),)
    patch.setattr(sqlite, "KIND", database.Kind(**_fields(sqlite.KIND) | {"steps": steps}))


def _totals_apart(patch: pytest.MonkeyPatch) -> None:
    before = Spool._write

    def write(self: Spool, db: Database, group: Any, progress: Any) -> None:
        sums = spool._sums(group.shares)
        group.shares[:] = [((), 0)] * len(group.shares)
        before(self, db, group, progress)
        with db.write():
            db.run(spool._add_totals(len(sums)), [value for pair in sums.items() for value in pair])

    patch.setattr(Spool, "_write", write)


def _digest_of_what_was_offered(patch: pytest.MonkeyPatch) -> None:
    def append(self: Store, batch: Iterable[Any]) -> int:
        offered = [self._encode(one) for one in batch]
        return before(self, [self._decode(body) for body in offered]) if not offered else _twice(self, offered)

    def _twice(self: Store, offered: list[bytes]) -> int:
        keep = Transaction.keep
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Transaction, "keep", lambda t, bodies, last=0: keep(t, offered, last))
            return before(self, [self._decode(body) for body in offered])

    before = Store.append
    patch.setattr(Store, "append", append)


def _no_rollback(patch: pytest.MonkeyPatch) -> None:
    """Half a transaction stays where the disk refused the other half."""

    @contextlib.contextmanager
    def write(self: Database) -> Iterator[Transaction]:
        with self._lock, self._named("write to"):
            transaction = Transaction()
            yield transaction
            if transaction:
                mark = transaction.mark_after(self.tail())
                self.advance(mark)
                if self._marks is not None:
                    self._marks.write(mark)

    patch.setattr(Database, "write", write)


def _acknowledged_rows_thrown_away(patch: pytest.MonkeyPatch) -> None:
    before = Outbox.put

    def put(self: Outbox, items: Iterable[tuple[str, bytes]]) -> int:
        rows = list(items)
        before(self, rows[:20])
        return len(rows)

    patch.setattr(Outbox, "put", put)


def _fields(kind: database.Kind) -> dict[str, Any]:
    return {name: getattr(kind, name) for name in kind.__dataclass_fields__}


PLANTED: list[Plant] = [
    _without_sync, _mark_before_the_commit, _taken_is_forgotten, _told_before_it_is_written, _rows_replaced,
    _keys_not_unique, _totals_apart, _digest_of_what_was_offered, _no_rollback, _acknowledged_rows_thrown_away,
]  # fmt: skip


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__.strip("_"))
def test_a_planted_defect_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(ViolationError, match="seed"):
        many(range(40))


def test_a_seed_says_the_same_each_time(tmp_path: Path) -> None:
    first, second = simulate.run(3, tmp_path / "a"), simulate.run(3, tmp_path / "b")
    assert first == second

"""The life of the data: whose it is, of which version, who may read it, and whether it is whole."""

import ast
import contextlib
import logging
import os
import shutil
import sqlite3
import tarfile
import threading
import time
from datetime import timedelta
from pathlib import Path

import apsw
import pytest
from tests.store.kinds import ALL, T0, One, tick
from tests.store.make_folder import fill, told, use

import tieline
from tieline import records
from tieline.app.up import Options, UpError, prepare
from tieline.edge.orderbook import OrderBook
from tieline.records import PriceTick
from tieline.store import BatchStore, DamagedError, Outbox, Spool, Store, StoreError
from tieline.store.alerts import AlertStore
from tieline.store.database import versions_of
from tieline.store.mark import Mark, newest, packed
from tieline.store.people import PeopleStore
from tieline.store.quarantine import Quarantine

FOLDERS = Path(__file__).with_name("folders")
each = pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)


def filled(one: One, path: Path, count: int = 8) -> None:
    box = one.open(path)
    for number in range(count):
        one.put(box, number)
    box.close()


# --- versions ---------------------------------------------------------------------------


@pytest.mark.parametrize("form", sorted(path.name for path in FOLDERS.iterdir()))
def test_a_folder_of_each_earlier_form_opens_with_all_that_it_holds(form: str, tmp_path: Path) -> None:
    with tarfile.open(FOLDERS / form) as archive:
        archive.extractall(tmp_path, filter="data")
    for read_only in (True, False):
        store = Store(tmp_path / "store.db", records.encode, records.decode, read_only=read_only)
        assert [one.record for one in store.follow(0).items] == told()
        store.verify()
        assert store.untold() == store.aside() == []
        store.close()
    store = Store(tmp_path / "store.db", records.encode, records.decode)
    assert store.append([use(1), use(20)]) == 1
    spool = Spool(tmp_path / "gateway" / "usage.db")
    assert [key for _, key, _ in spool.take()] == ["r5", "r6", "r7"]
    assert spool.totals() == {"tenant:acme": 3_000_000}
    assert [records.decode(body) for _, body in spool.unfinished()] == [use(8)]
    batches = BatchStore(tmp_path / "gateway" / "batches.db")
    assert batches.content("file-1") == b"line one\n"
    assert [line.custom_id for line in batches.waiting("batch-1", -1, 10)] == ["one"]
    outbox = Outbox(tmp_path / "sites" / "a" / "outbox.db")
    assert [records.decode(body) for _, _, body in outbox.take()] == [use(9), use(10)]
    if form >= "form-3":
        aside = Quarantine(tmp_path / "quarantine.db", read_only=True)
        assert ([held.name for held in aside.each()], aside.lost()) == (["Sample|x"], [])
        people = PeopleStore(tmp_path / "people.db")
        assert [row.id for row in people.accounts()] == ["ada"]
        had = [] if form < "form-5" else ["a key"]  # earlier ones knew none
        assert [row.name for row in people.passkeys("ada")] == had
        alerts = AlertStore(tmp_path / "alerts.db")
        assert (alerts.incidents(), [m.channel for m in alerts.due(1.0)]) == ([b'{"id":"i1"}'], ["mail"])
        for box in (aside, people, alerts):
            box.close()
    assert len(OrderBook("a", tmp_path / "sites" / "a" / "orders.json").orders(T0).instructions) == 1
    for box in (store, spool, batches, outbox):
        box.close()


@each
def test_data_of_a_later_version_is_refused_in_one_line(one: One, tmp_path: Path) -> None:
    path = tmp_path / "one.db"
    filled(one, path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="later version of Tieline .its form is 99") as refused:
        one.open(path)
    assert "\n" not in str(refused.value)
    assert path.read_bytes() == before


@each
def test_a_database_of_something_else_is_refused(one: One, tmp_path: Path) -> None:
    path = tmp_path / "one.db"
    other = ALL[(ALL.index(one) + 1) % len(ALL)]
    filled(other, path)
    with pytest.raises(StoreError, match="another program's database"):
        one.open(path)
    (tmp_path / "text.db").write_text("no database at all, but a text of some length\n" * 100)
    with pytest.raises(DamagedError, match="not a database"):
        one.open(tmp_path / "text.db")


def test_a_row_that_a_later_version_wrote_is_named_once_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "store.db"
    store = Store(path, records.encode, records.decode)
    store.append([tick(0)])
    novel = b'{"type":"Novelty","at":"2026-11-01T00:00:00Z"}'
    deep = b'{"type":"PriceTick","x":' + b"[" * 50_000
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        insert = "INSERT INTO record (stream, key, subject, at, known_at, body) VALUES (?, ?, 'A', ?, ?, ?)"
        moment = int(T0.timestamp() * 1e6) + 60_000_000
        for number in range(3):
            db.execute(insert, ("Novelty", f"n{number}", moment, moment, novel))
        db.execute(insert, ("PriceTick", "bad", moment, moment, deep))
    store.append([tick(1)])
    page = store.follow(0, 2)
    assert ([s.record for s in page.items], page.last, page.more) == ([tick(0)], 2, True)
    page = store.follow(2, 2)
    assert (page.items, page.last, page.more) == ([], 4, True)
    page = store.follow(4, 2)
    assert ([s.record for s in page.items], page.last, page.more) == ([tick(1)], 6, False)
    assert store.between(PriceTick, T0, T0 + timedelta(days=1)) == [tick(0), tick(1)]
    assert store.latest(PriceTick, T0 + timedelta(minutes=2)) == []
    assert store.get(2) is None
    assert {one.stream: sorted(one.seqs) for one in store.aside()} == {"Novelty": [2, 3, 4], "PriceTick": [5]}
    assert [str(one)[:63] for one in store.aside()] == [
        "unreadable by this version: 3 of stream Novelty, record 2 first",
        "unreadable by this version: 1 of stream PriceTick, record 5 fir",
    ]
    assert [message for message in caplog.messages if "stream Novelty" in message] == [
        message for message in caplog.messages if "record 2 of stream Novelty" in message
    ]
    store.close()


# --- who may read it ----------------------------------------------------------------------


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@each
def test_what_is_kept_is_its_owners_alone(one: One, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = os.umask(0o022)
    try:
        path = tmp_path / "data" / "deep" / "one.db"
        box = one.open(path)
        one.put(box, 0)
        files = list(path.parent.iterdir())
        assert {"one.db", "one.db-wal", "one.db-shm", "one.db-mark"} == {file.name for file in files}
        assert {mode(file) for file in files} == {0o600}
        assert [mode(path.parent), mode(path.parent.parent)] == [0o700, 0o700]
        box.close()
        for file in path.parent.iterdir():
            file.chmod(0o644)
        path.parent.chmod(0o755)
        with caplog.at_level(logging.WARNING):
            one.open(path).close()
    finally:
        os.umask(before)
    assert {mode(file) for file in path.parent.iterdir()} == {0o600}
    assert mode(path.parent) == 0o700
    assert any("could be read by others (mode 644)" in message for message in caplog.messages)


def test_a_sites_orders_are_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        path = tmp_path / "site" / "orders.json"
        (order,) = [r for r in records.decode_batch(_orders()) if isinstance(r, records.Instruction)]
        OrderBook("a", path).take(order, T0)
    finally:
        os.umask(before)
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)


def _orders() -> bytes:
    with tarfile.open(FOLDERS / "form-0.tar.gz") as archive:
        file = archive.extractfile("sites/a/orders.json")
        assert file is not None
        return file.read()


def test_a_folder_that_everybody_shares_is_left_as_it_is(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    Outbox(shared / "one.db").close()
    assert shared.stat().st_mode & 0o7777 == 0o1777
    assert mode(shared / "one.db") == 0o600


# --- whether it is whole ----------------------------------------------------------------------


@each
def test_a_damaged_page_is_refused_with_advice_that_destroys_nothing(one: One, tmp_path: Path) -> None:
    path = tmp_path / "one.db"
    filled(one, path, 60)
    with path.open("r+b") as file:
        for page in range(2, path.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(b"\xff" * 100)
    before = path.read_bytes()
    with pytest.raises(DamagedError) as refused:
        one.open(path)
    said = str(refused.value)
    assert str(path) in said
    assert "tieline restore" in said
    assert "Keep a copy" in said
    assert "reset" not in said
    assert "\n" not in said
    assert path.read_bytes() == before


def cut(one: One, tmp_path: Path, by: int, count: int = 8) -> Path:
    """A folder as kill -9 leaves it, its log then cut short by so many bytes."""
    box = one.open(tmp_path / "live" / "one.db")
    for number in range(count):
        one.put(box, number)
    shutil.copytree(tmp_path / "live", tmp_path / "dead")
    box.close()
    log = tmp_path / "dead" / "one.db-wal"
    os.truncate(log, max(0, log.stat().st_size - by))
    return tmp_path / "dead" / "one.db"


@each
def test_a_log_that_was_cut_is_noticed_and_kept_until_it_is_told(
    one: One, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = cut(one, tmp_path, 6_000)
    with caplog.at_level(logging.ERROR):
        box = one.open(path)
    held = one.held(box)
    assert held == list(range(len(held)))
    assert len(held) < 8
    (loss,) = box.untold()
    assert "its end is missing" in str(loss)
    assert any("its end is missing" in message for message in caplog.messages)
    box.close()
    box = one.open(path)  # the process ended before it was on record
    assert box.untold() == [loss]
    box.told(loss)
    one.put(box, 100)
    box.close()
    box = one.open(path)
    assert box.untold() == []
    assert one.held(box) == [*held, 100]
    box.close()


@each
def test_a_log_that_was_left_whole_loses_nothing_and_says_nothing(one: One, tmp_path: Path) -> None:
    box = one.open(cut(one, tmp_path, 0))
    assert one.held(box) == list(range(8))
    assert box.untold() == []
    box.close()


def test_a_store_that_lost_its_end_never_gives_a_number_twice(tmp_path: Path) -> None:
    path = cut(ALL[0], tmp_path, 6_000)
    store = Store(path, records.encode, records.decode)
    left, epoch = store.last_seq(), store.epoch
    (loss,) = store.untold()
    assert (loss.first_lost, loss.last_lost) == (left + 1, 8)
    store.append([tick(0)])  # known already: takes no number
    store.append([tick(0), tick(50), tick(51)])
    assert [s.seq for s in store.follow(left).items] == [9, 10]
    store.verify()
    store.close()
    store = Store(path, records.encode, records.decode)
    assert store.epoch == epoch
    store.append([tick(52)])
    assert store.last_seq() == 11
    store.close()


@each
def test_a_database_that_vanished_is_not_begun_anew_in_silence(one: One, tmp_path: Path) -> None:
    path = tmp_path / "one.db"
    filled(one, path)
    path.unlink()
    with pytest.raises(DamagedError, match="empty but held 8 commits; if you removed it yourself, remove one.db-mark"):
        one.open(path)
    (tmp_path / "one.db-mark").unlink()
    one.open(path).close()


@each
def test_an_old_or_missing_mark_is_no_loss(one: One, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A mark is not synced: after a power cut it may lag behind."""
    path = tmp_path / "one.db"
    filled(one, path, 3)
    old = (tmp_path / "one.db-mark").read_bytes()
    box = one.open(path)
    one.put(box, 3)
    box.close()
    for mark in (old, b"", b"\0" * 600):
        (tmp_path / "one.db-mark").write_bytes(mark)
        box = one.open(path)
        assert (box.untold(), one.held(box)) == ([], [0, 1, 2, 3])
        box.close()
    assert any("whether the end of" in message for message in caplog.messages)


def test_another_file_in_a_stores_place_is_noticed(tmp_path: Path) -> None:
    for name, first in (("a", 0), ("b", 10)):
        store = Store(tmp_path / name / "store.db", records.encode, records.decode)
        store.append([tick(first)])
        store.close()
    shutil.copy(tmp_path / "a" / "store.db", tmp_path / "b" / "store.db")
    store = Store(tmp_path / "b" / "store.db", records.encode, records.decode)
    assert ["not the file its mark was written for" in str(loss) for loss in store.untold()] == [True]
    store.close()


def test_a_record_altered_on_disk_is_found_by_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    filled(ALL[0], path)
    store = Store(path, records.encode, records.decode)
    store.verify()
    store.close()
    data = path.read_bytes()
    assert data.count(b'"price_usd_per_mwh":5.0') == 1
    path.write_bytes(data.replace(b'"price_usd_per_mwh":5.0', b'"price_usd_per_mwh":9.0'))
    store = Store(path, records.encode, records.decode)  # its pages are well formed
    with pytest.raises(DamagedError, match="digest"):
        store.verify()
    store.close()


def test_a_torn_mark_leaves_the_one_before() -> None:
    first, second = Mark(6, 60, b"a" * 32), Mark(7, 70, b"b" * 32)
    file = packed(first).ljust(512, b"\0") + packed(second)
    assert newest(file) == second
    assert newest(file[:540] + b"\0" * 20 + file[560:]) == first
    assert newest(b"") is None


def test_up_does_not_advise_to_throw_the_books_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "store.db").write_bytes(b"\xff" * 8192)
    with pytest.raises(UpError) as refused:
        prepare(Options(data_dir=tmp_path, console_port=0, gateway_port=0))
    assert "reset" not in str(refused.value)
    assert "tieline restore" in str(refused.value)


@pytest.mark.parametrize("name", ["gateway/usage.db", "gateway/batches.db", "sites/a/outbox.db", "store.db"])
def test_up_refuses_data_of_a_later_version_in_one_line_before_anything_starts(name: str, tmp_path: Path) -> None:
    fill(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / name)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(UpError, match="later version of Tieline") as refused:
        prepare(Options(data_dir=tmp_path, console_port=0, gateway_port=0))
    assert str(tmp_path / name) in str(refused.value)
    assert "\n" not in str(refused.value)


# --- one door to SQLite -------------------------------------------------------------------------


def test_sqlite_is_opened_in_one_place_only() -> None:
    found = set()
    root = Path(tieline.__file__).parent
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if {name.partition(".")[0] for name in names} & {"sqlite3", "apsw"}:
                found.add(path.relative_to(root).as_posix())
    assert found == {"store/database.py"}


def test_sqlite_with_the_race_is_named(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from tieline.store import database

    assert database.RACE[1] < database.apsw.SQLITE_VERSION_NUMBER
    monkeypatch.setattr(database.apsw, "SQLITE_VERSION_NUMBER", 3_040_001)
    monkeypatch.setattr(database, "_warned", [])
    Outbox(None)  # type: ignore[arg-type]
    Outbox(None)  # type: ignore[arg-type]
    assert sum("has a race" in message for message in caplog.messages) == 1


def test_the_page_names_what_the_store_could_not_read(tmp_path: Path) -> None:
    from tests.dispatch.fleets import fleet, site

    from tieline.clock import SimClock
    from tieline.console.events import Hub

    path = tmp_path / "store.db"
    store = Store(path, records.encode, records.decode)
    moment = int(T0.timestamp() * 1e6)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        insert = "INSERT INTO record (stream, key, subject, at, known_at, body) VALUES ('Novelty', 'n', '', ?, ?, ?)"
        db.execute(insert, (moment, moment, b'{"type":"Novelty"}'))
    store.append([tick(1)])
    hub = Hub(store, fleet(site()), SimClock(T0), None, dict)
    assert [one.record for one in store.follow(0).items] == [tick(1)]
    assert any("1 of stream Novelty" in text for text in hub.left_out)
    store.close()


def test_a_part_that_begins_waits_while_another_brings_a_database_back(tmp_path: Path) -> None:
    """After a power cut all parts of a machine begin at once, and the first one has each database to itself."""
    path = tmp_path / "store.db"
    Store(path, records.encode, records.decode).close()
    holding = apsw.Connection(str(path))
    holding.execute("PRAGMA journal_mode=DELETE")
    holding.execute("BEGIN EXCLUSIVE")

    def bring_back() -> None:
        time.sleep(0.4)
        holding.execute("COMMIT")

    threading.Thread(target=bring_back).start()
    assert versions_of(path)[1] > 0

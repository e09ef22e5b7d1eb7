"""A backup taken under load is whole; what is restored names its gap and asks again, and nothing is overwritten."""

import contextlib
import pkgutil
import shutil
import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from tests.store.kinds import ALL, tick
from tests.store.make_folder import fill, told

import tieline.app.up
import tieline.store
from tieline import records
from tieline.cli import main
from tieline.records import Fault, PriceTick, Record
from tieline.records.losses import PLATFORM, tell_losses
from tieline.store import Outbox, Store, StoreError
from tieline.store.backup import KINDS, MANIFEST, back_up, check, read_manifest, restore, restore_store, verify
from tieline.store.database import Kind
from tieline.store.peer import StoreState

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)


def open_store(folder: Path) -> Store:
    return Store(folder / "store.db", records.encode, records.decode)


def prices(store: Store) -> set[int]:
    year = timedelta(days=900)
    return {int(r.price_usd_per_mwh) for r in store.between(PriceTick, NOW - year, NOW + year)}


class Load:
    """A site that keeps, and a link that moves what it keeps to the store, as fast as they can."""

    def __init__(self, folder: Path) -> None:
        self.store, self.outbox = open_store(folder), Outbox(folder / "sites" / "a" / "outbox.db")
        self.kept = 0  # acknowledged to the site
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=one, daemon=True) for one in (self._keep, self._move)]
        for thread in self._threads:
            thread.start()

    def _keep(self) -> None:
        while not self._stop.is_set():
            self.outbox.put([(f"k{self.kept}", records.encode(tick(self.kept)))])
            self.kept += 1

    def _move(self) -> None:
        while not self._stop.is_set():
            rows = self.outbox.take(7)
            self.store.append([records.decode(body) for _, _, body in rows])
            self.outbox.done([id_ for id_, _, _ in rows])

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.store.close()
        self.outbox.close()


def test_backups_taken_while_records_are_on_their_way_lose_none_of_them(tmp_path: Path) -> None:
    load = Load(tmp_path / "data")
    before = []
    try:
        for number in range(5):
            while load.kept < 40 * (number + 1):
                threading.Event().wait(0.001)
            before.append(load.kept)
            back_up(tmp_path / "data", tmp_path / f"b{number}", NOW, "test")
    finally:
        load.stop()
    for number, kept in enumerate(before):
        restore(tmp_path / f"b{number}", tmp_path / f"r{number}")
        assert [error for _, error in verify(tmp_path / f"r{number}")] == [None, None]
        store, outbox = open_store(tmp_path / f"r{number}"), Outbox(tmp_path / f"r{number}" / "sites/a/outbox.db")
        in_store, waiting = prices(store), {int(key[1:]) for _, key, _ in outbox.take(100_000)}
        assert in_store | waiting >= set(range(kept))
        outbox.heard(StoreState("the epoch before"))
        outbox.heard(store.state)
        store.append([records.decode(body) for _, _, body in outbox.take(100_000)])
        assert store.counts()["PriceTick"] == len(prices(store)) >= kept
        store.close()
        outbox.close()


def test_a_backup_is_its_owners_alone_and_holds_all_but_logs_and_models(tmp_path: Path) -> None:
    data = tmp_path / "data"
    fill(data)
    passing = ("run/logs/core.log", "run/lock", "models/m.gguf", "run/state.json", "store.db.before-20261101T000000")
    for name in ("run/demo_key", "gateway/keys.json", *passing):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(name)
    manifest = back_up(data, tmp_path / "b", NOW, "0.1.0")
    assert [one.path for one in manifest.files if one.kind == "file"] == [
        "gateway/keys.json", "run/demo_key", "sites/a/orders.json",
    ]  # fmt: skip
    assert {one.path: one.kind for one in manifest.files if one.kind != "file"} == {
        "store.db": "store", "gateway/usage.db": "usage spool", "gateway/batches.db": "batches",
        "sites/a/outbox.db": "outbox", "quarantine.db": "quarantine", "people.db": "accounts", "alerts.db": "alerts",
    }  # fmt: skip
    assert manifest.files[-1].path == "store.db"
    assert read_manifest(tmp_path / "b") == check(tmp_path / "b") == manifest
    restore(tmp_path / "b", tmp_path / "r")
    for folder in (tmp_path / "b", tmp_path / "r"):
        assert {p.stat().st_mode & 0o777 for p in folder.rglob("*") if p.is_file()} == {0o600}
        assert folder.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "r" / "gateway" / "keys.json").read_text() == "gateway/keys.json"
    assert [error for _, error in verify(tmp_path / "r")] == [None] * 7


def refuse_restore(backup: Path, data: Path, match: str) -> None:
    before = {p: p.read_bytes() for p in data.rglob("*") if p.is_file()} if data.exists() else None
    with pytest.raises(StoreError, match=match):
        restore(backup, data)
    assert not data.with_name(data.name + ".part").exists()
    after = {p: p.read_bytes() for p in data.rglob("*") if p.is_file()} if data.exists() else None
    assert after == before


def test_what_cannot_be_restored_is_refused_with_nothing_touched(tmp_path: Path) -> None:
    data, backup = tmp_path / "data", tmp_path / "b"
    fill(data)
    back_up(data, backup, NOW, "0.1.0")
    refuse_restore(backup, data, "not empty, and nothing in it is overwritten")
    refuse_restore(tmp_path / "nowhere", tmp_path / "new", "is no backup")
    altered = tmp_path / "altered"
    shutil.copytree(backup, altered)
    with (altered / "store.db").open("r+b") as file:
        file.seek(5_000)
        file.write(b"\xff")
    refuse_restore(altered, tmp_path / "new", "not what was backed up")
    (altered / "store.db").unlink()
    refuse_restore(altered, tmp_path / "new", "not what was backed up")
    manifest = read_manifest(backup)
    outside = msgspec.structs.replace(manifest.files[0], path="../../etc/passwd")
    (altered / MANIFEST).write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, files=(outside,))))
    refuse_restore(altered, tmp_path / "new", "lies outside")
    (altered / MANIFEST).write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, form=2)))
    refuse_restore(altered, tmp_path / "new", "later version")
    (altered / MANIFEST).write_bytes(b'{"files":' + b"[" * 100_000)
    refuse_restore(altered, tmp_path / "new", "cannot read .*manifest.json")
    with pytest.raises(StoreError, match="not empty"):
        back_up(data, backup, NOW, "0.1.0")
    with pytest.raises(StoreError, match="lies in the data folder itself"):
        back_up(data, data / "backups" / "b", NOW, "0.1.0")
    with pytest.raises(StoreError, match="nothing to back up"):
        back_up(tmp_path / "nowhere", tmp_path / "new", NOW, "0.1.0")
    assert not (tmp_path / "new").exists()


def test_a_damaged_folder_is_not_backed_up_as_if_it_were_whole(tmp_path: Path) -> None:
    data = tmp_path / "data"
    fill(data)
    body = (data / "store.db").read_bytes()
    (data / "store.db").write_bytes(body.replace(b'"fee_share":0.02', b'"fee_share":0.03'))
    with pytest.raises(StoreError, match="digest"):
        back_up(data, tmp_path / "b", NOW, "0.1.0")
    assert not (tmp_path / "b").exists()


def test_a_restored_store_names_its_gap_once_and_asks_its_sites_again(tmp_path: Path) -> None:
    """12:00 backup, 24 records more, the store is damaged, the store alone comes back; the site has lived on."""
    data = tmp_path / "data"
    store, outbox = open_store(data), Outbox(data / "sites" / "a" / "outbox.db")
    outbox.heard(store.state)

    def push(store: Store) -> None:
        while rows := outbox.take(5):
            store.append([records.decode(body) for _, _, body in rows])
            outbox.done([id_ for id_, _, _ in rows])
            outbox.heard(store.state)

    outbox.put((f"k{n}", records.encode(tick(n))) for n in range(10))
    push(store)
    back_up(data, tmp_path / "b", NOW, "0.1.0")
    outbox.put((f"k{n}", records.encode(tick(n))) for n in range(10, 34))
    push(store)
    last = store.last_seq()
    store.close()
    (data / "store.db").write_bytes(b"\xff" * 50_000)

    _, aside = restore_store(tmp_path / "b", data, "20261102T130000")
    assert aside is not None
    assert aside.read_bytes() == b"\xff" * 50_000
    store = open_store(data)
    assert prices(store) == set(range(10))
    said: list[Record] = []
    tell_losses([("store", store)], NOW + timedelta(hours=1), said.extend)
    tell_losses([("store", store)], NOW + timedelta(hours=1), said.extend)
    (fault,) = said
    assert isinstance(fault, Fault)
    assert (fault.site_id, fault.at) == (PLATFORM, NOW)
    assert f"rows 11 to {last}" in fault.detail
    store.append(said)
    assert store.follow(10).items[0].seq == last + 1

    outbox.put([("k40", records.encode(tick(40)))])
    push(store)  # its acknowledgement carries the new epoch
    push(store)
    assert prices(store) == {*range(34), 40}
    assert store.counts() == {"Fault": 1, "PriceTick": 35}
    store.verify()
    store.close()
    outbox.close()


def test_each_kind_of_database_is_known_to_the_backup() -> None:
    modules = [import_module(f"tieline.store.{one.name}") for one in pkgutil.iter_modules(tieline.store.__path__)]
    kinds = [kind for module in modules if isinstance(kind := getattr(module, "KIND", None), Kind)]
    assert len(kinds) >= len(ALL)
    assert {kind.application_id: kind for kind in kinds} == KINDS
    assert len(KINDS) == len(kinds)


def test_the_commands_say_what_they_did_and_refuse_a_platform_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    fill(data)

    def call(*words: object) -> tuple[int, str]:
        done = CliRunner().invoke(main, [str(word) for word in words])
        return done.exit_code, done.output

    code, said = call("backup", tmp_path / "b", "--data-dir", data)
    assert (code, "8 files, 7 of them databases" in said) == (0, True)
    code, said = call("restore", tmp_path / "b", "--data-dir", data)
    assert (code, "--store-only" in said) == (2, True)
    code, said = call("restore", tmp_path / "b", "--data-dir", tmp_path / "new")
    assert (code, "restored as of" in said) == (0, True)
    code, said = call("verify", "--data-dir", tmp_path / "new")
    assert (code, said.count(": whole")) == (0, 7)
    code, said = call("restore", tmp_path / "b", "--data-dir", tmp_path / "new", "--store-only")
    assert (code, "is kept as" in said) == (0, True)
    store = open_store(tmp_path / "new")
    assert [s.record for s in store.follow(0).items] == told()
    store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "new" / "store.db")) as db, db:
        db.execute("UPDATE record SET body = CAST(replace(body, 'acme', 'acne') AS BLOB) WHERE seq = 7")
    code, said = call("verify", "--data-dir", tmp_path / "new")
    assert (code, "digest over its rows" in said, "1 of 7" in said) == (1, True, True)
    running = msgspec.structs.replace(tieline.app.up.read_state(data), pid=1)
    monkeypatch.setattr("tieline.cli.storage.backup.read_state", lambda folder: running)
    code, said = call("restore", tmp_path / "b", "--data-dir", tmp_path / "newer")
    assert (code, "stop it first: tieline down" in said) == (1, True)
    assert not (tmp_path / "newer").exists()

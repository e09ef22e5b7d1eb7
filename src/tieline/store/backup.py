"""A data folder copied while it is in use, and brought back.

Each database is copied in one read transaction, so that its copy is one moment's. Outboxes and spools come first, the
store last: a record on its way between them is then in at least one copy, and its key makes it count once. A backup is
a folder with `manifest.json`, which names every file with its digest; it is written last, and the folder takes its name
only when all of it is on disk.

Restoring writes into a new or empty folder only, and removes nothing. What was acknowledged after the backup is asked
of those who still have it: the restored store has another epoch, and carries the gap until it is on record.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from tieline.intake import IntakeError, read
from tieline.store import alerts, batches, ledger, outbox, people, quarantine, spool, sqlite
from tieline.store.database import DamagedError, Kind, StoreError, mark_of, open_database, versions_of
from tieline.store.files import private_folder, write_private
from tieline.store.mark import MarkFile

MANIFEST: Final = "manifest.json"
FORM: Final = 1
_KINDS: Final = (
    outbox.KIND, spool.KIND, quarantine.KIND, batches.KIND, sqlite.KIND, people.KIND, alerts.KIND, ledger.KIND
)  # fmt: skip
KINDS: Final = {kind.application_id: kind for kind in _KINDS}
# Made anew at each start or from the records (sums by hour and day), or fetched again (models): not part of the data.
LEFT_OUT: Final = ("rolled.db", "run/logs", "run/lock", "run/state.json", "run/up.log", "models")
_BESIDE: Final = ("-wal", "-shm", "-mark", ".new", ".lock", ".sock", ".part")
# A store that another was restored in place of: kept for a person, not part of the data.
_ASIDE: Final = ".before-"
_PIECE: Final = 1 << 20


class BackupFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a backup. `kind` "file" is copied byte by byte; else it is a database of that form."""

    path: str
    kind: str
    bytes: int
    sha256: str
    form: int | None = None


class BackupManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds."""

    form: int
    made_at: datetime
    version: str  # of the program
    files: tuple[BackupFile, ...]


_decode_manifest = msgspec.json.Decoder(BackupManifest).decode


def back_up(data: Path, target: Path, now: datetime, version: str) -> BackupManifest:
    """Copy a data folder, whether it is in use or not, into `target`, which must not exist or be empty.

    Raises StoreError: nothing to copy, no room, a database that is damaged (the backup of it would be too).
    """
    if not data.is_dir() or not any(data.iterdir()):
        raise StoreError(f"{data} holds nothing to back up; name the platform's folder with --data-dir")
    if target.exists() and any(target.iterdir()):
        raise StoreError(f"{target} is not empty; name a new folder for the backup")
    if data.resolve() in (target.resolve(), *target.resolve().parents):
        raise StoreError(f"{target} lies in the data folder itself; name one elsewhere, best on another disk")
    sources = sorted(_sources(data), key=lambda path: (path.name == "store.db", path.name == "batches.db", path))
    _room(target.parent, sum(path.stat().st_size for path in sources))
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        private_folder(part)
        manifest = BackupManifest(
            form=FORM,
            made_at=now,
            version=version,
            files=tuple(_copied(path, data, part) for path in sources),
        )
        write_private(part / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
        if target.exists():
            target.rmdir()
        part.replace(target)
    except OSError as error:
        raise StoreError(f"cannot write the backup to {target}: {error}") from error
    return manifest


def read_manifest(backup: Path) -> BackupManifest:
    """Raises StoreError."""
    try:
        manifest = read((backup / MANIFEST).read_bytes(), _decode_manifest)
    except FileNotFoundError as error:
        raise StoreError(f"{backup} is no backup: it has no {MANIFEST} (one that was cut short has none)") from error
    except (OSError, IntakeError) as error:
        raise StoreError(f"cannot read {backup / MANIFEST}: {error}") from error
    if manifest.form > FORM:
        raise StoreError(f"{backup} was made by a later version of Tieline ({manifest.version}); restore it with that")
    for one in manifest.files:
        if Path(one.path).is_absolute() or ".." in Path(one.path).parts:
            raise StoreError(f"{backup / MANIFEST} names {one.path!r}, which lies outside of a data folder")
    return manifest


def check(backup: Path) -> BackupManifest:
    """Every file with its digest, every database of a form that this version reads. Raises StoreError."""
    manifest = read_manifest(backup)
    for one in manifest.files:
        path = backup / one.path
        if not path.is_file() or path.stat().st_size != one.bytes or _sha256(path) != one.sha256:
            raise DamagedError(f"{path} is not what was backed up; nothing was restored. Take another backup")
        if one.kind != "file":
            owner, form = versions_of(path)
            if owner not in KINDS or form > KINDS[owner].version:
                raise StoreError(f"{path} is of a later version of Tieline ({manifest.version}); restore it with that")
    return manifest


def restore(backup: Path, data: Path) -> BackupManifest:
    """Bring a whole backup back into `data`, which must not exist or be empty. Raises StoreError with nothing made."""
    manifest = check(backup)
    if data.exists() and any(data.iterdir()):
        raise StoreError(
            f"{data} is not empty, and nothing in it is overwritten; name a new folder with --data-dir, or bring back "
            "only the store with --store-only"
        )
    _room(data.parent, sum(one.bytes for one in manifest.files))
    part = data.with_name(data.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        private_folder(part)
        for one in manifest.files:
            _bring(backup / one.path, part / one.path)
            if one.kind != "file":
                _begin_mark(part / one.path)
            if one.kind == sqlite.KIND.name:
                _gap(part / one.path, manifest.made_at, None)
        if data.exists():
            data.rmdir()
        part.replace(data)
    except OSError as error:
        raise StoreError(f"cannot restore into {data}: {error}") from error
    return manifest


def restore_store(backup: Path, data: Path, stamp: str) -> tuple[BackupManifest, Path | None]:
    """Bring only the store back, into a folder whose sites and gateways lived on. What is there is kept beside it,
    named with `stamp`; returns that path. Raises StoreError."""
    manifest = check(backup)
    one = next((one for one in manifest.files if one.kind == sqlite.KIND.name), None)
    if one is None:
        raise StoreError(f"{backup} holds no store")
    path = data / one.path
    _room(data, one.bytes)
    aside = path.with_name(f"{path.name}{_ASIDE}{stamp}")
    last = None
    try:
        new = path.with_name(path.name + ".part")
        _bring(backup / one.path, new)
        if mark_of(path).exists():
            marks = MarkFile(mark_of(path))
            mark = marks.read()
            marks.close()
            last = None if mark is None else mark.last
        had = path.exists()
        for end in ("-wal", "-shm", "-mark", ""):
            beside = path.with_name(path.name + end)
            if beside.exists():
                beside.replace(aside.with_name(aside.name + end))
        new.replace(path)
        _begin_mark(path)
    except OSError as error:
        raise StoreError(f"cannot restore into {data}: {error}") from error
    _gap(path, manifest.made_at, last)
    return manifest, aside if had else None


def verify(data: Path) -> Iterator[tuple[Path, StoreError | None]]:
    """Each database of a folder with what is wrong with it: every page and index, and the digest over all records."""
    for path in sorted(_sources(data)):
        kind = _kind(path)
        if kind is None:
            continue
        try:
            db = open_database(path, kind, read_only=True)
            try:
                db.verify()
            finally:
                db.close()
        except StoreError as error:
            yield path, error
        else:
            yield path, None


def _begin_mark(path: Path) -> None:
    """A copy's own mark: it is whole, as its digest in the manifest said."""
    kind = _kind(path)
    assert kind is not None, "the manifest said that it is a database, and its digest is right"
    db = open_database(path, kind, read_only=True)
    marks = MarkFile(mark_of(path))
    try:
        marks.write(db.tail())
    finally:
        marks.close()
        db.close()


def check_folder(data: Path) -> None:
    """Open each database of a folder and look through its pages. Raises StoreError for the first that is not well."""
    for path in sorted(_sources(data)):
        kind = _kind(path)
        if kind is not None:
            db = open_database(path, kind, read_only=True)
            try:
                db.check_pages()
            finally:
                db.close()


def _gap(path: Path, since: datetime, last: int | None) -> None:
    db = open_database(path, sqlite.KIND)
    try:
        db.restored(since.isoformat(), last)
    finally:
        db.close()


def _sources(data: Path) -> Iterator[Path]:
    """What is data: whole files, without what SQLite and the marks keep beside them."""
    for path in data.rglob("*"):
        name = path.relative_to(data).as_posix()
        if path.is_symlink() or not path.is_file() or name.endswith(_BESIDE) or _ASIDE in name:
            continue
        if not any(name == one or name.startswith(one + "/") for one in LEFT_OUT):
            yield path


def _kind(path: Path) -> Kind | None:
    """Which of our databases a file is; None for any other file. One made before that was written is known by its
    name."""
    if path.suffix != ".db":
        return None
    owner, _ = versions_of(path)
    names = {"store.db": sqlite.KIND, "usage.db": spool.KIND, "batches.db": batches.KIND, "outbox.db": outbox.KIND}
    return KINDS.get(owner) if owner else names.get(path.name)


def _copied(path: Path, data: Path, part: Path) -> BackupFile:
    name = path.relative_to(data)
    target = part / name
    private_folder(target.parent)
    kind = _kind(path)
    if kind is None:
        _bring(path, target)
    else:
        db = open_database(path, kind, read_only=True)
        try:
            db.copy_to(target)
        finally:
            db.close()
        copy = open_database(target, kind, read_only=True)
        try:
            copy.verify()
        finally:
            copy.close()
        target.chmod(0o600)
        _sync(target)
    size, form = target.stat().st_size, None if kind is None else kind.version
    return BackupFile(
        path=name.as_posix(), kind=kind.name if kind else "file", bytes=size, sha256=_sha256(target), form=form
    )


def _bring(source: Path, target: Path) -> None:
    """Copy one file, private, and on disk when this returns."""
    private_folder(target.parent)
    with source.open("rb") as read, os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as to:
        shutil.copyfileobj(read, to, _PIECE)
        to.flush()
        os.fsync(to.fileno())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _room(folder: Path, needed: int) -> None:
    """Raises StoreError where the disk has no room for so many bytes."""
    there = next(one for one in (folder.resolve(), *folder.resolve().parents) if one.exists())
    free = shutil.disk_usage(there).free
    if free < needed * 1.1:
        raise StoreError(f"only {free / 1e6:,.0f} MB free at {there}, {needed * 1.1 / 1e6:,.0f} MB are needed")

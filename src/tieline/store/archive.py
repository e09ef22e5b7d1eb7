"""Older records as Parquet, by stream and day, in a local folder or at an S3-compatible address; read back as here.

A copy: the store keeps what is archived, whole and numbered. A file is written anew only where the store has other
records of its day than it holds (one that came late), whole beside it and then in its place, and read back before it
counts. Its rows are in the order in which the store gives them, the bytes of each record as they are kept, so that what
is read from it is what was stored; its own digest is in its footer. Any program that reads Parquet reads the columns
beside them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, TypeVar, cast

from tieline.clock import micros
from tieline.store.database import StoreError
from tieline.store.sqlite import Cursor, Selection, Storable, Store

R = TypeVar("R", bound=Storable)
# Rows of a group, which is what is in memory at once.
GROUP: Final = 20_000
_DIGEST, _COUNT = b"tieline.digest", b"tieline.records"
_DAY: Final = timedelta(days=1)
BEGINNING: Final = datetime(2009, 1, 3, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ArchivedDay:
    """One file. `size` in bytes; `kept`: the bytes of its records as they lie in the store."""

    stream: str
    day: date
    records: int
    size: int
    kept: int
    new: bool


class RecordArchive:
    """At one address: a folder, or s3://bucket/prefix (credentials, region and endpoint as the AWS tools take them from
    their environment, or as `s3://KEY:SECRET@bucket?endpoint_override=HOST:PORT&scheme=http`). Raises StoreError."""

    def __init__(
        self, address: str, encode: Callable[[Any], bytes], decode: Callable[[bytes], Any], streams: Mapping[str, type]
    ) -> None:
        self._encode, self._decode, self._streams = encode, decode, streams
        try:
            from pyarrow import fs
        except ImportError as error:
            raise StoreError("an archive needs pyarrow: pip install 'tieline[platform]'") from error
        try:
            if "://" in address:
                self._fs, self._base = fs.FileSystem.from_uri(address)
            else:
                self._fs, self._base = fs.LocalFileSystem(), address
        except (OSError, ValueError) as error:
            raise StoreError(f"no archive at {_plain(address)}: {error}") from error
        self._fs_module = fs

    def archive(self, store: Store, before: date) -> Iterator[ArchivedDay]:
        """Every whole day before `before` of every stream that the store holds; what is there and the same stays."""
        for stream in store.counts():
            type_ = self._streams.get(stream)
            if type_ is None:
                continue
            at = self._first(store, type_)
            while at is not None and at.date() < before:
                start = datetime.combine(at.date(), time(), UTC)
                yield self._one(store, type_, start)
                at = self._first(store, type_, start + _DAY)

    def between(self, type_: type[R], start: datetime, end: datetime) -> list[R]:
        """Archived records with start <= at < end, in the store's order."""
        found: list[R] = []
        for day in self.days(type_.__name__):
            if start - _DAY < datetime.combine(day, time(), UTC) < end:
                for at, body in self._rows(self._path(type_.__name__, day)):
                    if micros(start) <= at < micros(end):
                        found.append(cast("R", self._decode(body)))
        return found

    def days(self, stream: str) -> list[date]:
        """Of a stream, those that are archived, oldest first."""
        chosen = self._fs_module.FileSelector(f"{self._base}/{stream}", allow_not_found=True)
        try:
            names = [one.base_name for one in self._fs.get_file_info(chosen)]
        except OSError as error:
            raise StoreError(f"cannot list {self._base}/{stream}: {error}") from error
        return sorted(date.fromisoformat(name[:10]) for name in names if name.endswith(".parquet") and name[0] != ".")

    def verify(self) -> Iterator[ArchivedDay]:
        """Read every file of every stream whole. Raises StoreError for the first that is not as it was written."""
        for stream in sorted(self._streams):
            for day in self.days(stream):
                path = self._path(stream, day)
                count, kept = 0, 0
                for _, body in self._rows(path):
                    count, kept = count + 1, kept + len(body)
                yield ArchivedDay(stream, day, count, self._size(path), kept, new=False)

    @staticmethod
    def _first(store: Store, type_: type[Any], since: datetime = BEGINNING) -> datetime | None:
        items = store.page(Selection(type_, since, datetime(2200, 1, 1, tzinfo=UTC)), 1).items
        return cast("Storable", items[0].record).at if items else None

    def _path(self, stream: str, day: date) -> str:
        return f"{self._base}/{stream}/{day.isoformat()}.parquet"

    def _one(self, store: Store, type_: type[Any], start: datetime) -> ArchivedDay:
        path, day = self._path(type_.__name__, start.date()), start.date()
        count, kept, digest = 0, 0, hashlib.sha256()
        for rows in self._groups(store, type_, start):
            for row in rows:
                count, kept = count + 1, kept + len(row[5])
                digest.update(row[5])
        known = self._footer(path)
        if known == (count, digest.hexdigest()):
            return ArchivedDay(type_.__name__, day, count, self._size(path), kept, new=False)
        beside = f"{self._base}/{type_.__name__}/.{day.isoformat()}.new"
        try:
            self._fs.create_dir(f"{self._base}/{type_.__name__}", recursive=True)
            self._write(beside, self._groups(store, type_, start), count, digest.hexdigest())
            if sum(1 for _ in self._rows(beside)) != count:
                raise StoreError(f"{beside} does not hold what was written")
            self._fs.move(beside, path)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error}; what is archived before it stays") from error
        return ArchivedDay(type_.__name__, day, count, self._size(path), kept, new=True)

    def _groups(self, store: Store, type_: type[Any], start: datetime) -> Iterator[list[tuple[Any, ...]]]:
        """(seq, key, subject, at, known_at, body) of a day, a group at a time."""
        of = Selection(type_, start, start + _DAY)
        after: Cursor | None = None
        more = True
        while more:
            page = store.page(of, GROUP, after)
            yield [
                (seq, one.key, one.subject, micros(one.at), micros(one.known_at), self._encode(one))
                for seq, one in ((stored.seq, cast("Storable", stored.record)) for stored in page.items)
            ]
            after, more = page.last, page.more

    def _write(self, path: str, groups: Iterator[Sequence[tuple[Any, ...]]], count: int, digest: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        stamp = pa.timestamp("us", tz="UTC")
        kinds = (pa.int64(), pa.string(), pa.string(), stamp, stamp, pa.binary())
        names = ("seq", "key", "subject", "at", "known_at", "body")
        schema = pa.schema(
            list(zip(names, kinds, strict=True)), {_DIGEST: digest.encode(), _COUNT: str(count).encode()}
        )
        with self._fs.open_output_stream(path) as out, pq.ParquetWriter(out, schema, compression="zstd") as writer:
            for rows in groups:
                columns = [pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), kinds, strict=True)]
                if columns:
                    writer.write_table(pa.Table.from_arrays(columns, schema=schema))

    def _footer(self, path: str) -> tuple[int, str] | None:
        """How many records a file says it has, and their digest; None: it is not there, or no such file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with self._fs.open_input_file(path) as file:
                told = pq.ParquetFile(file).schema_arrow.metadata or {}
            return int(told[_COUNT]), told[_DIGEST].decode()
        except (OSError, KeyError, ValueError, pa.ArrowInvalid):
            return None

    def _rows(self, path: str) -> Iterator[tuple[int, bytes]]:
        """(at in microseconds, body) of a file. Raises StoreError where it is not as it was written."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        digest, count = hashlib.sha256(), 0
        try:
            with self._fs.open_input_file(path) as file:
                whole = pq.ParquetFile(file)
                told = whole.schema_arrow.metadata or {}
                for group in range(whole.num_row_groups):
                    table = whole.read_row_group(group, columns=["at", "body"])
                    ats = table.column("at").cast(pa.int64()).to_pylist()
                    for at, body in zip(ats, table.column("body").to_pylist(), strict=True):
                        digest.update(body)
                        count += 1
                        yield at, body
        except (OSError, pa.ArrowInvalid) as error:
            raise StoreError(f"{path} cannot be read: {error}; remove it, and archive again") from error
        if told.get(_COUNT) != str(count).encode() or told.get(_DIGEST) != digest.hexdigest().encode():
            raise StoreError(f"{path} is not what was written; remove it, and archive again")

    def _size(self, path: str) -> int:
        try:
            return int(self._fs.get_file_info(path).size or 0)
        except OSError as error:
            raise StoreError(f"cannot look at {path}: {error}") from error


def _plain(address: str) -> str:
    """Without what may be secret in it."""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}" if rest else address

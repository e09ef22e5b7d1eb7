"""Where claims are kept: a file of lines for the light install, or a store.

A claim is appended and never changed; a restatement is a further claim. Appending the same claim twice keeps
it once, with the first `known_at`. The file is one JSON object a line, appended in one write under a lock and
on disk when `append` returns; a last line that a power cut tore was never acknowledged and is cut off.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Protocol

import msgspec

from tieline.disclosures.facts.book import ClaimBook
from tieline.disclosures.facts.claims import Claim
from tieline.disclosures.facts.desk import CandidateFile, path_beside
from tieline.disclosures.facts.shipped import shipped
from tieline.disclosures.terms import unit_of
from tieline.store import Store

# About a hundred thousand claims of 600 bytes: every month of every listed miner since 2017, several times.
MAX_FILE_BYTES = 64 * 2**20
# One document has tens of facts, a roundup hundreds; a whole history is imported in pieces of this size.
MAX_BATCH = 20_000
_BEGINNING, _END = datetime(2009, 1, 3, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


class KeepError(RuntimeError):
    """Claims could not be kept or read back; the message says what to do. Nothing of the batch was kept."""


class AppendResult(msgspec.Struct, frozen=True):
    """What an append did."""

    new: int
    already: int


class Keeper(Protocol):
    """What keeps claims."""

    def append(self, claims: Iterable[Claim]) -> AppendResult: ...

    def claims(self) -> tuple[Claim, ...]: ...


class MemoryKeeper:
    """For tests and for a look that keeps nothing."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim] = {}

    def append(self, claims: Iterable[Claim]) -> AppendResult:
        batch = _valid(claims)
        before = len(self._claims)
        for claim in batch:
            self._claims.setdefault(claim.id, claim)
        new = len(self._claims) - before
        return AppendResult(new, len(batch) - new)

    def claims(self) -> tuple[Claim, ...]:
        return tuple(self._claims.values())


class FileKeeper:
    """One append-only file. Several processes may append; each sees the others' claims."""

    def __init__(self, path: Path, max_bytes: int = MAX_FILE_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes

    def append(self, claims: Iterable[Claim]) -> AppendResult:
        batch = _valid(claims)
        if not batch:
            return AppendResult(0, 0)
        with self._locked() as file:
            known = {claim.id for claim in self._parse(_whole_lines(file))}
            new: dict[str, Claim] = {}
            for claim in batch:
                if claim.id not in known:
                    new.setdefault(claim.id, claim)
            lines = b"".join(_encode(claim) + b"\n" for claim in new.values())
            size = file.seek(0, os.SEEK_END)
            if size + len(lines) > self._max_bytes:
                raise KeepError(f"{self.path} would pass {self._max_bytes:,} bytes; keep a second file (--facts FILE)")
            self._write(file, size, lines)
        return AppendResult(len(new), len(batch) - len(new))

    def claims(self) -> tuple[Claim, ...]:
        if not self.path.exists():
            return ()
        try:
            with self.path.open("rb") as file:
                if (size := os.fstat(file.fileno()).st_size) > self._max_bytes:
                    raise KeepError(f"{self.path} has {size:,} bytes, more than a file of claims may have")
                content = file.read()
        except OSError as error:
            raise KeepError(f"cannot read {self.path}: {error.strerror}; check the file") from error
        return tuple(self._parse(content[: content.rfind(b"\n") + 1]))

    def _write(self, file: IO[bytes], size: int, lines: bytes) -> None:
        try:
            view = memoryview(lines)
            while view:
                view = view[file.write(view) :]
            os.fsync(file.fileno())
        except OSError as error:
            # A full disk leaves half a batch: take it back, so that a batch is kept whole or not at all.
            file.truncate(size)
            raise KeepError(f"cannot write {self.path}: {error.strerror}; nothing of the batch was kept") from error

    @contextmanager
    def _locked(self) -> Iterator[IO[bytes]]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise KeepError(f"cannot open {self.path}: {error.strerror}; give another file with --facts") from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file

    def _parse(self, content: bytes) -> Iterator[Claim]:
        for number, line in enumerate(content.splitlines(), 1):
            if not line.strip():
                continue
            try:
                yield _decode(line)
            except (msgspec.DecodeError, ValueError) as error:
                raise KeepError(f"{self.path}, line {number}: {error}; mend or remove the line") from error


class StoreKeeper:
    """Claims in a store of their own (`Store(path, encode, decode)` of this module)."""

    def __init__(self, path: Path | None) -> None:
        self._store = Store(path, encode=_encode, decode=_decode)

    def append(self, claims: Iterable[Claim]) -> AppendResult:
        batch = _valid(claims)
        new = self._store.append(batch)
        return AppendResult(new, len(batch) - new)

    def claims(self) -> tuple[Claim, ...]:
        return tuple(self._store.between(Claim, _BEGINNING, _END))


def book(keeper: Keeper | None = None, desk: CandidateFile | None = None) -> ClaimBook:
    """The shipped facts, what was kept and what the desk accepted, as one book, without what was withdrawn.

    A keeper in a file has its desk beside it.
    """
    if keeper is None:
        return shipped()
    claims = keeper.claims()
    if desk is None and isinstance(keeper, FileKeeper):
        desk = CandidateFile(path_beside(keeper.path))
    if desk is not None and desk.state() is not None:
        return desk.book((*shipped().all, *claims))
    return ClaimBook((*shipped().all, *claims)) if claims else shipped()


class LiveBook:
    """`book` of a file, built anew only when the file has changed: what a page that is asked often calls.

    The same book is the same object, so whatever is cached by book stays cached.
    """

    def __init__(self, path: Path) -> None:
        self._keeper = FileKeeper(path)
        self.desk = CandidateFile(path_beside(path))
        self._built: tuple[object, ClaimBook] | None = None

    def __call__(self) -> ClaimBook:
        """Raises KeepError where the file cannot be read."""
        try:
            stat = self._keeper.path.stat()
            state: tuple[int, int] | None = (stat.st_mtime_ns, stat.st_size)
        except FileNotFoundError:
            state = None
        except OSError as error:
            raise KeepError(f"cannot read {self._keeper.path}: {error.strerror}; check the file") from error
        both = (state, self.desk.state())
        if self._built is None or self._built[0] != both:
            self._built = (both, book(self._keeper, self.desk))
        return self._built[1]


def _valid(claims: Iterable[Claim]) -> list[Claim]:
    """Checked at the door: what could not be read back is not kept."""
    batch = list(claims)
    if len(batch) > MAX_BATCH:
        raise KeepError(f"{len(batch):,} claims at once, more than {MAX_BATCH:,}; keep them in pieces")
    for claim in batch:
        fact = claim.fact
        try:
            unit = unit_of(fact.field)
            _ = claim.at
        except ValueError as error:
            raise KeepError(f"{claim.figure}: {error}") from error
        if not fact.value.is_finite():
            raise KeepError(f"{claim.figure}: {fact.value} is no number")
        if fact.issuer is None:
            raise KeepError(f"{claim.figure}: no issuer; give its ticker (--issuer)")
        if fact.unit != unit:
            raise KeepError(f"{claim.figure}: the unit is {fact.unit}, must be {unit}")
        if claim.known_at.tzinfo is None:
            raise KeepError(f"{claim.figure}: known_at has no zone")
    return batch


def _whole_lines(file: IO[bytes]) -> bytes:
    """All whole lines; a torn last one is cut off the file."""
    file.seek(0)
    content = file.read()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        file.truncate(len(whole))
    return whole


_encode = msgspec.json.Encoder(decimal_format="string").encode
_decode = msgspec.json.Decoder(Claim).decode

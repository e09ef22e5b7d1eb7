"""The book of joins where several machines keep it: in the store, so that every server of the link knows the same."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from tieline.app.joins import JoinBook, JoinError, changed_book, read_book
from tieline.app.machines.keys import KEYS_FILE
from tieline.intake import IntakeError, read
from tieline.store import StoreError
from tieline.store.lead.kept import Kept, KeptDocument, open_kept
from tieline.store.place import place_of

DOCUMENT: Final = "joins"

_read = msgspec.json.Decoder(JoinBook).decode


class SharedBook:
    """The book in the store, over a connection that stays open. Everything raises JoinError."""

    def __init__(self, data: Path) -> None:
        with _told():
            self._kept: Kept = open_kept(place_of(data))

    def read(self) -> JoinBook:
        return self._parsed(self._document())

    @contextlib.contextmanager
    def changed(self) -> Iterator[JoinBook]:
        """The book, written back when the block ends without an error."""
        document = self._document()
        book = self._parsed(document)
        yield book
        with _told():
            if not self._kept.write(DOCUMENT, document.version, msgspec.json.encode(book)):
                raise JoinError("somebody else changed the book of joins at this moment; say it again")

    def close(self) -> None:
        self._kept.close()

    def _document(self) -> KeptDocument:
        with _told():
            return self._kept.read(DOCUMENT)

    def _parsed(self, document: KeptDocument) -> JoinBook:
        if document.version == 0:
            return JoinBook()
        try:
            return read(document.body, _read)
        except IntakeError as error:
            raise JoinError(f"the book of joins in the store cannot be read: {error}") from error


def is_shared(data: Path) -> bool:
    """Whether this folder is one machine's of several."""
    return (data / KEYS_FILE).exists()


def joins_of(data: Path) -> JoinBook:
    """The book, wherever it is kept. Raises JoinError."""
    if not is_shared(data):
        return read_book(data)
    book = SharedBook(data)
    with contextlib.closing(book):
        return book.read()


@contextlib.contextmanager
def changed_joins(data: Path) -> Iterator[JoinBook]:
    """The book, wherever it is kept, written back when the block ends without an error. Raises JoinError."""
    if not is_shared(data):
        with changed_book(data) as book:
            yield book
        return
    with contextlib.closing(SharedBook(data)) as shared, shared.changed() as book:
        yield book


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise JoinError(str(error)) from error

"""The book of joins where several machines keep it: in the store, so that every server of the link knows the same."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from tieline.app.joins import JoinBook, JoinError, changed_book, read_book
from tieline.app.machines.keys import KEYS_FILE
from tieline.intake import IntakeError, read
from tieline.store import StoreError
from tieline.store.lead.kept import Kept, KeptDocument, open_kept
from tieline.store.place import place_of

DOCUMENT: Final = "joins"
# Each that comes in between has made its change, so that as many at once all have theirs.
MOST_AT_ONCE: Final = 50

T = TypeVar("T")

_read = msgspec.json.Decoder(JoinBook).decode


class SharedBook:
    """The book in the store, over a connection that stays open. Everything raises JoinError."""

    def __init__(self, data: Path) -> None:
        with _told():
            self._kept: Kept = open_kept(place_of(data))

    def read(self) -> JoinBook:
        return self._parsed(self._document())

    def change(self, change: Callable[[JoinBook], T]) -> T:
        """Make a change of the book, and keep it where `change` ends without an error. Where somebody else changed the
        book meanwhile it is made again, of the book as it then is: of any number who come at once each has its own."""
        for _ in range(MOST_AT_ONCE):
            document = self._document()
            book = self._parsed(document)
            made = change(book)
            with _told():
                if self._kept.write(DOCUMENT, document.version, msgspec.json.encode(book)):
                    return made
        raise JoinError(f"the book of joins was changed by others {MOST_AT_ONCE} times meanwhile; say it again")

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


def change_joins(data: Path, change: Callable[[JoinBook], T]) -> T:
    """Make a change of the book, wherever it is kept, and keep it where `change` ends without an error, which may be
    called again with a newer book. Raises JoinError."""
    if not is_shared(data):
        with changed_book(data) as book:
            return change(book)
    with contextlib.closing(SharedBook(data)) as shared:
        return shared.change(change)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise JoinError(str(error)) from error

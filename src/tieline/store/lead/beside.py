"""A machine's small databases where several machines share them: their tables beside the records, on the server.

The statements are those of the file. Whoever writes waits for whoever writes records (`ServerDatabase.write`), so that
lines are numbered in the order of their commits here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from tieline.store.database import StoreError, closed_on_failure
from tieline.store.place import StorePlace
from tieline.store.sqlite import KIND

if TYPE_CHECKING:
    from tieline.store.postgres import ServerDatabase

# Somebody waits for a page.
TIMEOUT_S: Final = 5.0


def open_shared(place: StorePlace, tables: Sequence[str]) -> ServerDatabase:
    """Over a connection of its own; `tables` make what is missing. Raises StoreError."""
    from tieline.store.postgres import open_server  # not there in the light install

    if place.url is None:
        raise StoreError(f"{place.folder} keeps its records in a file, which no other machine shares")
    database = open_server(place.url, place.password, KIND, timeout_s=TIMEOUT_S)
    with closed_on_failure(database), database.write():
        for statement in tables:
            database.run(statement)
    return database

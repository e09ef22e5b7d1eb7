"""What fails while it opens its database leaves nothing open: no file descriptor, no lock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import apsw
import pytest

from tieline import records
from tieline.store import Outbox, Spool, Store, StoreError
from tieline.store.database import Database
from tieline.store.ledger import LedgerStore

OPENERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "outbox": (Outbox, "FROM peer"),
    "usage spool": (Spool, "FROM progress"),
    "store": (lambda path: Store(path, records.encode, records.decode), "FROM record"),
    "ledger": (LedgerStore, "FROM slot"),
}


@pytest.mark.parametrize("kind", OPENERS)
def test_a_start_that_fails_leaves_nothing_open(kind: str, tmp_path: Path) -> None:
    opened, reads = OPENERS[kind]
    path = tmp_path / "file.db"
    rows = Database.rows

    def failing(self: Database, sql: str, values: Any = ()) -> Any:
        if reads in sql:
            raise StoreError("input/output error")
        return rows(self, sql, values)

    with mock.patch.object(Database, "rows", failing), pytest.raises(StoreError, match="input/output"):
        opened(path)
    assert not [one.filename for one in apsw.connections() if one.filename == str(path)]
    opened(path).close()

"""Append-only typed streams of records; the only floor that speaks SQL.

`Store` holds records, `Outbox` holds what has not been acknowledged yet, `BatchStore` the gateway's batches.
SQLite here; nothing above knows.
"""

from tieline.store.batches import BatchStore
from tieline.store.database import DamagedError, Loss, StoreError
from tieline.store.outbox import Outbox
from tieline.store.spool import Spool
from tieline.store.sqlite import Aside, Cursor, Page, Selection, Store, Stored

__all__ = [
    "Aside",
    "BatchStore",
    "Cursor",
    "DamagedError",
    "Loss",
    "Outbox",
    "Page",
    "Selection",
    "Spool",
    "Store",
    "StoreError",
    "Stored",
]

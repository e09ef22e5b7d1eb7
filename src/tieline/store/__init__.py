"""Append-only typed streams of records; the only floor that speaks SQL.

`Store` holds records, `Outbox` holds what has not been acknowledged yet, `BatchStore` the gateway's batches.
SQLite here; nothing above knows.
"""

from tieline.store.batches import BatchStore
from tieline.store.database import DamagedError, Loss, StoreError
from tieline.store.outbox import Outbox
from tieline.store.spool import Spool
from tieline.store.sqlite import Aside, Page, Place, Store, Stored

__all__ = [
    "Aside",
    "BatchStore",
    "DamagedError",
    "Loss",
    "Outbox",
    "Page",
    "Place",
    "Spool",
    "Store",
    "StoreError",
    "Stored",
]

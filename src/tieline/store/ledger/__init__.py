"""The ledger on disk: entries for ever (`kept`), and a journal over them that appends (`journal`)."""

from tieline.store.ledger.journal import LedgerStore, remove
from tieline.store.ledger.kept import AlteredError, Watermark
from tieline.store.ledger.tables import KIND

__all__ = ["KIND", "AlteredError", "LedgerStore", "Watermark", "remove"]

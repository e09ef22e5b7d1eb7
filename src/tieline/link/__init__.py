"""Records and commands between sites and the control plane.

A site pushes batches of records and forgets them only when the far side says that the *store* has them (`Ack`). It
asks for its plan when it connects and is sent each new one. Files: `transport` carries bytes, `push` empties a queue
into the far store, `listen` follows and asks.
"""

from tieline.link.listen import Ignored, ask, heed, heed_records, page_after
from tieline.link.push import (
    MAX_BATCH,
    Ack,
    ItemRefusal,
    LaterError,
    NeverError,
    Queue,
    QueuedItem,
    push,
    push_always,
    push_once,
)
from tieline.link.transport import MAX_PENDING, Handler, LateLink, Link, LinkDownError, LocalLink, NatsLink

__all__ = [
    "MAX_BATCH",
    "MAX_PENDING",
    "Ack",
    "Handler",
    "Ignored",
    "ItemRefusal",
    "LateLink",
    "LaterError",
    "Link",
    "LinkDownError",
    "LocalLink",
    "NatsLink",
    "NeverError",
    "Queue",
    "QueuedItem",
    "ask",
    "heed",
    "heed_records",
    "page_after",
    "push",
    "push_always",
    "push_once",
]

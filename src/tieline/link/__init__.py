"""Records and commands between sites and the control plane.

A site pushes batches of records and forgets them only when the far side says that the *store* has them (`Ack`). It
asks for its plan when it connects and is sent each new one, signed and numbered. Files: `transport` carries bytes,
`signing` seals and opens what binds a site, `checked` are links that do so, `push` empties a queue into the far store,
`listen` follows and asks.
"""

from tieline.link.checked import CheckedLink, LastNumbers, SigningLink
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
from tieline.link.transport import (
    MAX_PENDING,
    Handler,
    LateLink,
    Link,
    LinkDownError,
    LinkRefusedError,
    LinkUser,
    LocalLink,
    NatsLink,
)

__all__ = [
    "MAX_BATCH",
    "MAX_PENDING",
    "Ack",
    "CheckedLink",
    "Handler",
    "Ignored",
    "ItemRefusal",
    "LastNumbers",
    "LateLink",
    "LaterError",
    "Link",
    "LinkDownError",
    "LinkRefusedError",
    "LinkUser",
    "LocalLink",
    "NatsLink",
    "NeverError",
    "Queue",
    "QueuedItem",
    "SigningLink",
    "ask",
    "heed",
    "heed_records",
    "page_after",
    "push",
    "push_always",
    "push_once",
]

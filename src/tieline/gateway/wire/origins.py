"""From where a request may come: its Host and its Origin. Pure.

A key is what lets a request in. Where the door has no keys, being on this machine lets it in, and a page in this
machine's browser is on this machine too: so such a door answers to loopback names only (a name that somebody points
here is not one), and to pages of no origin but its own and those of the configuration. With keys any name may lead
here, since no page can send a key that it does not have. No page administers, unless the configuration names it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from tieline.gateway.errors import Refusal

_WRONG_HOST = Refusal(
    421,
    "without keys this gateway answers to localhost and 127.0.0.1 only; make a key, or add the name to 'hosts'",
    "host_not_allowed",
)
_WRONG_ORIGIN = Refusal(403, "this origin is not allowed; add it to 'origins'", "origin_not_allowed")


def refusal(
    host: bytes | None,
    origin: bytes | None,
    origins: Collection[bytes],
    hosts: Collection[str],
    *,
    open_door: bool,
    admin: bool,
) -> Refusal | None:
    """None: it may come in, with a key where one is needed. `hosts`: names beside those of loopback."""
    if open_door and host is not None and not is_local(host) and _name(host) not in hosts:
        return _WRONG_HOST
    if origin is None or origin in origins:
        return None
    own = host is not None and origin.lower() == b"http://" + host.lower()
    if admin or (open_door and not own):
        return _WRONG_ORIGIN
    return None


def is_local(host: bytes) -> bool:
    """Is this Host a name of loopback that cannot be pointed elsewhere?"""
    name = _name(host)
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _name(host: bytes) -> str:
    """Without its port."""
    text = host.decode("latin-1").lower()
    if text.startswith("["):
        return text.partition("]")[0] + "]"
    return text.partition(":")[0]

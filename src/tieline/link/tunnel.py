"""How requests reach a site that nobody can dial: over TLS connections that its agent holds to each gateway.

A gateway says on `tunnel.doors` where it is dialled and which certificate it will show; a site says on
`tunnel.site.SITE`, where only it may speak, the secret that its connections begin with. The agent dials, says
`tieline-tunnel-1 SITE SECRET` and waits; the gateway says `open REPLICA` when a request needs one, and from then on the
connection is that replica's own. An empty line says that a connection is taken, and now and then that it still is. One
connection carries one request at a time, as to any engine: what is cut or slow holds up nothing beside it.
"""

from __future__ import annotations

import re
import socket
from typing import Final

import msgspec

from tieline.intake import IntakeError, Label, read

DOORS: Final = "tunnel.doors"
SITES: Final = "tunnel.site."
CUT: Final = "tunnel.cut."
# Both ends say so every so often; a door that was not heard of for so long is dialled no more.
BEAT_S, FORGET_S = 2.0, 30.0
# An empty line so often keeps a router's table; what is not acknowledged for so long is gone.
ALIVE_S, GONE_S = 10.0, 20.0
# The longest line of either end.
MAX_LINE: Final = 512
# Connections that a site keeps waiting at each gateway, and the most that it has there; gateways that it heeds.
SPARE, MOST, MOST_DOORS = 8, 512, 64

_HELLO: Final = re.compile(rb"tieline-tunnel-1 ([a-z0-9][a-z0-9_-]{0,62}) ([0-9a-f]{64})")
_OPEN: Final = re.compile(rb"open ([a-zA-Z0-9_.-]{1,200})")


class DoorNotice(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway's door for sites. `authority`: the certificate (PEM) that its own is signed with."""

    gateway: Label
    host: Label
    port: int
    authority: Label

    def __post_init__(self) -> None:
        if not self.host or not 0 < self.port < 65536:
            raise ValueError("a door has a host and a port")


class SecretNotice(msgspec.Struct, frozen=True, kw_only=True):
    """What a site's connections begin with, 64 hexadecimal digits, until its agent starts anew."""

    secret: Label

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9a-f]{64}", self.secret):
            raise ValueError("a secret has 64 hexadecimal digits")


_read_door = msgspec.json.Decoder(DoorNotice).decode
_read_secret = msgspec.json.Decoder(SecretNotice).decode


def read_door(data: bytes) -> DoorNotice:
    """Raises IntakeError."""
    return read(data, _read_door)


def read_secret(data: bytes) -> SecretNotice:
    """Raises IntakeError."""
    return read(data, _read_secret)


def hello(site_id: str, secret: str) -> bytes:
    """A connection's first line."""
    return f"tieline-tunnel-1 {site_id} {secret}\n".encode()


def read_hello(line: bytes) -> tuple[str, str]:
    """Site and secret. Raises IntakeError."""
    match = _HELLO.fullmatch(line)
    if match is None:
        raise IntakeError("it does not begin as a site's connection does")
    return match[1].decode(), match[2].decode()


def opening(replica_id: str) -> bytes:
    """The line that gives a waiting connection to a replica."""
    return f"open {replica_id}\n".encode()


def read_opening(line: bytes) -> str:
    """The replica's id. Raises IntakeError."""
    match = _OPEN.fullmatch(line)
    if match is None:
        raise IntakeError("a gateway said what opens nothing")
    return match[1].decode()


def address(replica_id: str) -> str:
    """What a replica behind a tunnel gives as its address."""
    return f"tunnel://{replica_id}"


def notice_loss(sock: socket.socket | None) -> None:
    """Have the kernel give up what is not acknowledged for `GONE_S`, and look while nothing is said."""
    if sock is None:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(GONE_S * 1000))

"""Budgets over several machines: who a coordinator talks to beyond its own, and what it remembers of them.

On one machine the coordinator reads a dead gateway's disk. It cannot read another machine's, so it writes down what
each gateway there may have spent at most before it grants more, and counts that as spent until the gateway is back
with its disk. Nobody is believed who does not prove the shared secret; the proof is bound to a number that is new
for each connection, and beyond loopback TLS is required as well.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import msgspec

from tieline.gateway.settings import Coordination, SettingsError
from tieline.gateway.wire.decoding import read_json
from tieline.store.files import WriteFile, write_private

# Gateways of other machines that one coordinator serves.
MAX_GATEWAYS: Final = 1_024
MIN_SECRET: Final = 16


@dataclass(frozen=True, slots=True)
class Remote:
    """A coordinator on another machine, as a gateway reaches it. `others`: where it may be instead."""

    host: str
    port: int
    secret: bytes
    tls: ssl.SSLContext | None
    others: tuple[Remote, ...] = ()


def remote(given: Coordination) -> Remote:
    """Raises SettingsError where the secret or the certificate is missing."""
    host, port = address(given.at, "coordination.at")
    tls = None
    if given.tls_ca:
        tls = _context(lambda: ssl.create_default_context(cafile=given.tls_ca), "coordination.tls_ca", given.tls_ca)
    elif not loopback(host):
        tls = ssl.create_default_context()
    return Remote(host, port, secret_of(given, host), tls)


def listener_tls(given: Coordination) -> ssl.SSLContext | None:
    """What the coordinator's own port speaks; plain on loopback only."""
    host, _ = address(given.listen, "coordination.listen")
    if not given.tls_cert:
        if not loopback(host):
            raise SettingsError(f"coordination.listen {host!r} is not loopback; give coordination.tls_cert and tls_key")
        return None

    def make() -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(given.tls_cert, given.tls_key or None)
        return context

    return _context(make, "coordination.tls_cert", given.tls_cert)


def _context(make: Callable[[], ssl.SSLContext], field: str, path: str) -> ssl.SSLContext:
    try:
        return make()
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"{field}: {path} cannot be used: {error}") from error


def secret_of(given: Coordination, host: str) -> bytes:
    """The shared secret from its environment variable; none is needed on loopback."""
    secret = os.environ.get(given.secret_env, "").encode()
    if not secret and not loopback(host):
        raise SettingsError(f"{host!r} is not loopback and {given.secret_env} is not set; export the shared secret")
    if secret and len(secret) < MIN_SECRET:
        raise SettingsError(f"{given.secret_env} must have at least {MIN_SECRET} characters")
    return secret


def address(text: str, field: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65_535 or not host:
        raise SettingsError(f"{field} {text!r} must be HOST:PORT")
    return host.strip("[]"), int(port)


def loopback(host: str) -> bool:
    return host in ("127.0.0.1", "::1", "localhost")


def proof(secret: bytes, nonce: str, gateway: str) -> str:
    return hmac.new(secret, f"{nonce}|{gateway}".encode(), hashlib.sha256).hexdigest()


def identity(data: Path) -> str:
    """This gateway's name among all machines: made once, kept with its disk, since it stands for that disk."""
    path = data / "gateway.id"
    if not path.exists():
        data.mkdir(parents=True, exist_ok=True)
        path.write_text(f"gateway-{secrets.token_hex(8)}\n")
    return path.read_text().strip()


class Remembers(Protocol):
    """Writes down what a gateway may have spent at most, before it is granted."""

    def load(self) -> dict[str, dict[str, int]]: ...

    def keep(self, gateway: str, most: dict[str, int]) -> None: ...


class Remembered:
    """What each gateway of another machine may have spent at most, by budget. On disk before it is granted."""

    def __init__(self, path: Path, write: WriteFile = write_private) -> None:
        self.path, self._write = path, write
        self._most: dict[str, dict[str, int]] = {}

    def load(self) -> dict[str, dict[str, int]]:
        """Raises SettingsError where the file is there and cannot be read: guessing could overshoot."""
        if self.path.exists():
            try:
                self._most = read_json(self.path.read_bytes(), dict[str, dict[str, int]])
            except (OSError, msgspec.DecodeError) as error:
                raise SettingsError(
                    f"{self.path}: what other machines have spent cannot be read: {error}; restore it from a backup, "
                    "or remove it if all of their gateways are running"
                ) from error
        return self._most

    def keep(self, gateway: str, most: dict[str, int]) -> None:
        """Raises OSError."""
        if self._most.get(gateway) == most:
            return
        if gateway not in self._most and len(self._most) >= MAX_GATEWAYS:
            raise OSError(f"{MAX_GATEWAYS} gateways are known already")
        limits = {**self._most, gateway: most}
        self._write(self.path, msgspec.json.encode(limits))
        self._most = limits

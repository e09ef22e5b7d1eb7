"""Keys and limits made at run time, beside the configuration: a file that all processes of a gateway read.

The file holds tenants and keys that were added or changed and the names of keys that were revoked; `over` lays it
over the configuration, so that nothing that the configuration says is lost. It is replaced whole, on disk before
it is answered for, and is the snapshot that a gateway starts from whether or not anything else can be reached.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from tieline.gateway.settings import Key, Settings, SettingsError, Tenant

# More is a data base's work; at 300 bytes each this is 15 MB, read in 0.1 s.
MAX_KEYS: Final = 50_000
MAX_TENANTS: Final = 10_000
KEYS_FILE: Final = "keys.json"


class Overlay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was changed since the configuration."""

    tenants: dict[str, Tenant] = {}
    keys: dict[str, Key] = {}
    revoked: tuple[str, ...] = ()


def over(settings: Settings, overlay: Overlay) -> Settings:
    """The configuration with what was changed. Raises ValueError where the two contradict each other."""
    tenants = {one.id: one for one in settings.tenants} | overlay.tenants
    keys = {one.id: one for one in settings.keys} | overlay.keys
    gone = set(overlay.revoked)
    return msgspec.structs.replace(
        settings,
        tenants=tuple(tenants.values()),
        # A key whose tenant left the configuration is no longer valid; that is no reason not to start.
        keys=tuple(key for id_, key in keys.items() if id_ not in gone and key.tenant in tenants),
    )


class OverlayFile:
    """The file itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen = (0, 0)

    def read(self) -> Overlay:
        """Raises SettingsError: a gateway that guessed might accept a key that was revoked."""
        try:
            text = self.path.read_bytes()
            self._seen = self._stamp()
            return msgspec.json.decode(text, type=Overlay, strict=False)
        except FileNotFoundError:
            return Overlay()
        except (OSError, msgspec.DecodeError, ValueError) as error:
            raise SettingsError(f"{self.path}: keys made at run time cannot be read: {error}; restore it") from error

    def changed(self) -> bool:
        """Did another process write it since we read?"""
        return self._stamp() != self._seen

    def update(self, change: Callable[[Overlay], Overlay]) -> Overlay:
        """Change it while no other process does. Raises OSError, SettingsError, and what `change` raises."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            new = change(self.read())
            if len(new.keys) > MAX_KEYS or len(new.tenants) > MAX_TENANTS or len(new.revoked) > MAX_KEYS:
                raise SettingsError(f"at most {MAX_KEYS} keys and {MAX_TENANTS} tenants can be made at run time")
            aside = self.path.with_suffix(".new")
            with aside.open("wb") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(msgspec.json.format(msgspec.json.encode(new)))
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self.path)
            self._seen = self._stamp()
        return new

    def _stamp(self) -> tuple[int, int]:
        try:
            found = self.path.stat()
        except OSError:
            return (0, 0)
        return found.st_mtime_ns, found.st_ino

"""Keys and limits made at run time, beside the configuration: a file that all processes of a gateway read.

The file holds tenants and keys that were added or changed and the names of keys that were revoked; `over` lays it
over the configuration, so that nothing that the configuration says is lost. It is replaced whole, on disk before
it is answered for, and is the snapshot that a gateway starts from whether or not anything else can be reached.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from tieline.gateway.settings import Engine, Key, Model, Settings, SettingsError, Tenant
from tieline.gateway.wire.decoding import read_json

# More is a data base's work; at 300 bytes each this is 15 MB, read in 0.1 s.
MAX_KEYS: Final = 50_000
MAX_TENANTS: Final = 10_000
MAX_OTHERS: Final = 10_000
KEYS_FILE: Final = "keys.json"
ADMIN_KEY_FILE: Final = "admin.key"


T = TypeVar("T")


class Overlay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was changed since the configuration."""

    tenants: dict[str, Tenant] = {}
    keys: dict[str, Key] = {}
    models: dict[str, Model] = {}
    engines: dict[str, Engine] = {}
    revoked: tuple[str, ...] = ()  # keys
    gone_tenants: tuple[str, ...] = ()
    gone_models: tuple[str, ...] = ()
    gone_engines: tuple[str, ...] = ()
    held: tuple[str, ...] = ()  # replicas that an operator has drained
    loads: int = 0  # how often the configuration was to be read again


def over(settings: Settings, overlay: Overlay) -> Settings:
    """The configuration with what was changed. Raises ValueError where the two contradict each other."""
    tenants = _laid({one.id: one for one in settings.tenants}, overlay.tenants, overlay.gone_tenants)
    models = _laid({one.name: one for one in settings.models}, overlay.models, overlay.gone_models)
    engines = _laid({one.name: one for one in settings.engines}, overlay.engines, overlay.gone_engines)
    keys = {one.id: one for one in settings.keys} | overlay.keys
    gone = set(overlay.revoked)
    return msgspec.structs.replace(
        settings,
        tenants=tuple(tenants.values()),
        models=tuple(models.values()),
        engines=tuple(engines.values()),
        rentals=tuple(one for one in settings.rentals if one.tenant in tenants),
        # A key whose tenant left the configuration is no longer valid; that is no reason not to start.
        keys=tuple(key for id_, key in keys.items() if id_ not in gone and key.tenant in tenants),
    )


def _laid(configured: dict[str, T], made: dict[str, T], gone: tuple[str, ...]) -> dict[str, T]:
    return {name: one for name, one in (configured | made).items() if name not in set(gone)}


def admin_key(folder: Path) -> str:
    """The key that administers a gateway whose configuration has no keys: made once, kept with mode 0600, the same for
    all processes of the gateway. Raises OSError."""
    path = folder / ADMIN_KEY_FILE
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        aside = folder / f"{ADMIN_KEY_FILE}.{os.getpid()}"
        aside.unlink(missing_ok=True)
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"sk-admin-{secrets.token_urlsafe(32)}\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was first
            os.link(aside, path)
        aside.unlink()
    return path.read_text().strip()


class OverlayFile:
    """The file itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, ...] = ()
        self._again = False

    def read(self) -> Overlay:
        """Raises SettingsError: a gateway that guessed might accept a key that was revoked."""
        stamp = self._stamp()  # before the content: what is written between the two is a change
        try:
            overlay = read_json(self.path.read_bytes(), Overlay, strict=False)
        except FileNotFoundError:
            overlay = Overlay()
        except (OSError, msgspec.DecodeError) as error:
            raise SettingsError(f"{self.path}: keys made at run time cannot be read: {error}; restore it") from error
        # A stamp is as coarse as the system's clock tick: once more, when that has passed.
        self._again = stamp != self._seen
        self._seen = stamp
        return overlay

    def changed(self) -> bool:
        """Is there something to read that was not read yet? Ask about once a second."""
        return self._again or self._stamp() != self._seen

    def update(self, change: Callable[[Overlay], Overlay]) -> Overlay:
        """Change it while no other process does. Raises OSError, SettingsError, and what `change` raises."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(self.path.with_suffix(".lock"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            new = change(self.read())
            if max(len(new.keys), len(new.revoked)) > MAX_KEYS or len(new.tenants) > MAX_TENANTS:
                raise SettingsError(f"at most {MAX_KEYS} keys and {MAX_TENANTS} tenants can be made at run time")
            if max(len(new.models), len(new.engines), len(new.gone_tenants)) > MAX_OTHERS:
                raise SettingsError(f"at most {MAX_OTHERS} models and engines can be made at run time")
            aside = self.path.with_suffix(".new")
            with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(new)))
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self.path)
        return new  # it is read once more with the next look, as what others wrote is

    def _stamp(self) -> tuple[int, ...]:
        try:
            status = self.path.stat()
        except OSError:
            return ()
        return status.st_mtime_ns, status.st_ino, status.st_size

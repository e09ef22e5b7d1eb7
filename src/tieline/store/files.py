"""Files and folders that only their owner reads."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

log = logging.getLogger("tieline.store")

FOLDER, FILE = 0o700, 0o600
# A sticky folder (/tmp) belongs to everybody; what lies in it is made private, it is not.
_SHARED: Final = stat.S_ISVTX

# Replaces a file by these bytes in one step that holds after a power cut, as `write_private` does. Raises OSError.
WriteFile = Callable[[Path, bytes], None]


def private_folder(path: Path) -> None:
    """Make a folder and those above it that are missing, for the owner alone; one that others may read is closed to
    them, with a word in the log. Raises OSError."""
    missing = [path, *path.parents]
    for one in reversed(missing[: next((n for n, p in enumerate(missing) if p.exists()), len(missing))]):
        one.mkdir(mode=FOLDER, exist_ok=True)
    _close_to_others(path, FOLDER)


def private_file(path: Path) -> None:
    """Make a file, for the owner alone, or close one to others. Raises OSError."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE))
    _close_to_others(path, FILE)


def write_private(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write a file that only its owner reads, replacing it in one step; with `sync`, after a power cut it is the old
    one or the new one. Its folder is closed to others. Raises OSError."""
    private_folder(path.parent)
    write_private_file(path, data, sync=sync)


def write_private_file(path: Path, data: bytes, *, sync: bool = True) -> None:
    """The same in a folder that is somebody's own, and stays as it is."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        if sync:
            os.fsync(file.fileno())
    temporary.replace(path)
    if sync:  # the name too: until the folder is synced a power cut may bring back the old file
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _close_to_others(path: Path, mode: int) -> None:
    status = path.stat()
    if not status.st_mode & 0o077 or status.st_mode & _SHARED or status.st_uid != os.geteuid():
        return
    path.chmod(mode)
    log.warning("%s could be read by others (mode %o); it is now private (%o)", path, status.st_mode & 0o777, mode)

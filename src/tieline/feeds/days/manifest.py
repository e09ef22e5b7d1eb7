"""What a folder of days says of itself: whether it is invented, and which days it is for."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from tieline.feeds.days.folder import FolderError
from tieline.intake import IntakeError, read

MANIFEST = "days.json"


class Days(NamedTuple):
    """An unbroken stretch, [start, end)."""

    label: str
    start: datetime
    end: datetime


class DaysManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`days` are what is measured, `tune` what simple rules are tuned on."""

    invented: bool = False
    seed: int | None = None
    days: tuple[Days, ...] = ()
    tune: tuple[Days, ...] = ()


_read_manifest = msgspec.json.Decoder(DaysManifest).decode


def manifest_of(folder: Path) -> DaysManifest:
    """The folder's own word; an empty one where it has none. Raises FolderError."""
    path = folder / MANIFEST
    try:
        return read(path.read_bytes(), _read_manifest)
    except FileNotFoundError:
        return DaysManifest()
    except (OSError, IntakeError) as error:
        raise FolderError(f"{path}: {error}; write it as the example folder has it") from error

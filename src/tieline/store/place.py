"""Where the records of a data folder lie: in its file, or on a server that the folder names.

`tieline up` writes down where, once it has made sure that the folder's records are there (`settle`); each command that
is given the folder reads it (`place_of`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from tieline.intake import IntakeError, read
from tieline.store.database import StoreError
from tieline.store.files import write_private

FILE: Final = "store.db"
NAMED: Final = "store.json"


class StorePlace(NamedTuple):
    """The records of a data folder. `url` None: in its file. What is made of records is kept in `folder`."""

    folder: Path
    url: str | None = None
    password: Path | None = None  # the file that holds it

    def exists(self) -> bool:
        """Whether there may be records: a server is asked when it is opened."""
        return self.url is not None or (self.folder / FILE).exists()

    def __str__(self) -> str:
        return self.url or str(self.folder / FILE)


class _Named(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: str
    password_file: str | None = None


_decode: Final = msgspec.json.Decoder(_Named).decode


def place_of(folder: Path) -> StorePlace:
    """Where a folder's records lie. Raises StoreError: what names the server cannot be read."""
    path = folder / NAMED
    try:
        named = read(path.read_bytes(), _decode)
    except FileNotFoundError:
        return StorePlace(folder)
    except (OSError, IntakeError) as error:
        raise StoreError(f"cannot read {path}, which says where the records lie: {error}") from error
    return StorePlace(folder, named.url, None if named.password_file is None else Path(named.password_file))


def settle(folder: Path, url: str | None, password: Path | None) -> StorePlace:
    """The place that a configuration names for a folder's records. Where the folder's records lie elsewhere they would
    be left behind, so that is refused. Raises StoreError."""
    now = place_of(folder)
    if url is None:
        if now.url is not None:
            raise StoreError(
                f"the records of {folder} lie at {now.url}: name it in the configuration ([store] url = ...), or bring "
                f"them back into a file: tieline store copy --to-file --data-dir {folder}"
            )
        return now
    if now.url is None and now.exists():
        raise StoreError(
            f"the records of {folder} lie in its {FILE}: leave [store] out of the configuration, or bring them over "
            f"first: tieline store copy --to {url} --data-dir {folder}"
        )
    if now.url not in (None, url) and not _share_a_server(str(now.url), url):
        raise StoreError(
            f"the records of {folder} lie at {now.url}, and the configuration says {url}: bring them over first: "
            f"tieline store copy --to {url} --data-dir {folder}; or, where a standby there was promoted, name both "
            "servers with a comma between"
        )
    place = StorePlace(folder, url, password)
    name(place)
    return place


def _share_a_server(one: str, other: str) -> bool:
    """Whether both name one database of servers that belong together: a primary and its standbys are added and taken
    away one after the other."""
    first, second = urlsplit(one), urlsplit(other)
    hosts = [set(parts.netloc.rpartition("@")[2].split(",")) - {""} for parts in (first, second)]
    return first.path == second.path and bool(hosts[0] & hosts[1])


def name(place: StorePlace) -> None:
    """Write down where the folder's records lie; on disk when this returns. Raises StoreError."""
    path = place.folder / NAMED
    try:
        if place.url is None:
            path.unlink(missing_ok=True)
            return
        password = None if place.password is None else str(place.password)
        write_private(path, msgspec.json.encode(_Named(url=place.url, password_file=password)))
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error}") from error

"""What is missing on this machine, or will be soon: each look is a line, and what is wrong says what to do."""

from __future__ import annotations

import resource
import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509

from tieline import config as configuration
from tieline import records
from tieline.app.machines.keys import KEYS_FILE, LINK_FOLDER, TLS_FOLDER, MachineError, read_keys
from tieline.app.machines.leading import CORE
from tieline.app.up import LOW_BYTES, UpError, check_libraries
from tieline.clock import wall_now
from tieline.config import Config
from tieline.link.certificate import RENEW_BEFORE
from tieline.store import Store, StoreError
from tieline.store.lead.holder import APART_S
from tieline.store.lead.lease import open_leases
from tieline.store.place import StorePlace
from tieline.store.rolled.growth import filling, growth_of

FILES: Final = 4_096
SOON: Final = RENEW_BEFORE


class Examined(NamedTuple):
    """One thing that was looked at. `wrong` empty: it is well, as `what` says."""

    what: str
    wrong: str = ""


def examine(data: Path, config_path: Path | None) -> Iterator[Examined]:
    """Everything that a part on this machine needs; nothing is changed. With a configuration also what it names."""
    yield _tried("libraries of the platform", _libraries)
    yield _disk(data)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = f"only {soft} files may be open; raise LimitNOFILE= or ulimit -n to 65536" if 0 <= soft < FILES else ""
    yield Examined(f"{soft} files may be open", few)
    yield _tried("keys of this machine", lambda: ", ".join(read_keys(data / KEYS_FILE).parts))
    yield from _certificates(data / LINK_FOLDER / TLS_FOLDER)
    if config_path is None:
        return
    try:
        config = configuration.load(config_path)
    except configuration.ConfigError as error:
        yield Examined("configuration", str(error))
        return
    yield Examined(f"configuration {config_path}")
    yield from _store(data, config_path, config)


def _libraries() -> str:
    check_libraries()
    return "there"


def _disk(data: Path) -> Examined:
    place = next((one for one in (data, *data.resolve().parents) if one.exists()), Path("/"))
    free = shutil.disk_usage(place).free
    what = f"{free / 1e9:,.1f} GB free at {data}"
    return Examined(what, f"{what}; free some space" if free < LOW_BYTES else "")


def _certificates(folder: Path) -> Iterator[Examined]:
    """The link's, where this machine has any. A server's is made anew by itself at its next start."""
    for name in ("authority.pem", "server.pem"):
        path = folder / name
        if not path.exists():
            continue
        try:
            ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
        except (OSError, ValueError, ssl.SSLError) as error:
            yield Examined(f"certificate {path}", f"{path}: {error}; enter this machine's keys again")
            continue
        left = ends - wall_now()
        what = f"certificate {name} is good for {left / timedelta(days=1):,.0f} days"
        mend = "start the link's part again" if name == "server.pem" else "make keys anew; every site joins anew"
        yield Examined(what, f"{what}; {mend}" if left < SOON else "")


def _store(data: Path, path: Path, config: Config) -> Iterator[Examined]:
    """Whether the server answers, whose clock is what, and who leads."""
    if config.store.url is None:
        yield Examined("store", "store.url is missing; several machines keep their records on a server")
        return
    named = config.store.password_file
    place = StorePlace(data, config.store.url, None if named is None else path.resolve().parent / named)
    try:
        with closing(open_leases(place)) as leases:
            there, row = leases.wall_s(), leases.look(CORE)
    except StoreError as error:
        yield Examined("store", str(error))
        return
    yield Examined("store answers")
    apart = 0.0 if there is None else wall_now().timestamp() - there
    what = f"this machine's clock and the store's are {abs(apart):,.1f} s apart"
    yield Examined(what, f"{what}; a core here does not lead: set it" if abs(apart) > APART_S else "")
    leads = "nobody leads" if row is None or not row.holder else f"{row.holder} leads, number {row.number}"
    yield Examined(leads, f"{leads}; start a core: tieline run core" if row is None or not row.holder else "")
    yield _grows(place, config)


def _grows(place: StorePlace, config: Config) -> Examined:
    """By how much the records grow, and whether the disk lasts."""
    try:
        with closing(Store(place, records.encode, records.decode, read_only=True)) as store:
            grown = growth_of(store, wall_now(), config.store.granted_bytes)
    except StoreError as error:
        return Examined("growth of the store", str(error))
    if grown is None:
        return Examined("growth of the store: less than an hour of records in the last day, too little to say")
    what = f"records grow by {grown.disk_bytes_a_day / 1e6:,.0f} MB a day (estimated)"
    left = grown.days_left
    ends = "; name store.disk_gb to be told how long the disk lasts" if left is None else f"; full in {left:,.0f} days"
    fills = filling(grown, config.store.warn_days)
    return Examined(what + ends, "" if fills is None else f"the store's disk is {fills}")


def _tried(what: str, look: Callable[[], str]) -> Examined:
    try:
        return Examined(f"{what}: {look()}")
    except (UpError, MachineError) as error:
        return Examined(what, str(error))

"""What is missing on this machine, or will be soon: each look is a line, and what is wrong says what to do."""

from __future__ import annotations

import resource
import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509

from tieline import config as configuration
from tieline import records
from tieline.app.machines.keys import BUDGETS, KEYS_FILE, LINK_FOLDER, TLS_FOLDER, MachineError, read_keys
from tieline.app.machines.leading import CORE
from tieline.app.up import UpError, check_libraries, check_writable
from tieline.clock import wall_now
from tieline.config import Config, is_loopback
from tieline.link.certificate import RENEW_BEFORE, CertificateError, authority_of
from tieline.link.look import answers
from tieline.store import Store, StoreError
from tieline.store.lead.holder import APART_S
from tieline.store.lead.lease import open_leases
from tieline.store.place import StorePlace
from tieline.store.postgres import server_url
from tieline.store.rolled.growth import filling, growth_of

FILES: Final = 4_096
SOON: Final = RENEW_BEFORE


# Where a certificate ends. A server's is made anew by itself at its next start.
_MENDS: Final = {
    "authority.pem": "make keys anew; every site joins anew",
    "server.pem": "start the link's part again",
}
# Who leads what, and what to start where nobody does.
_OFFICES: Final = {
    CORE: ("the cores", "a core: tieline run core"),
    BUDGETS: ("the coordinators of budgets", "a link: tieline run link"),
}


class Examined(NamedTuple):
    """One thing that was looked at. `wrong` empty: it is well, as `what` says."""

    what: str
    wrong: str = ""


def examine(data: Path, config_path: Path | None) -> Iterator[Examined]:
    """Everything that a part on this machine needs; nothing is changed. With a configuration also what it names."""
    yield _tried("libraries of the platform", _libraries)
    yield from _disk(data)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = f"only {soft} files may be open; raise LimitNOFILE= or ulimit -n to 65536" if 0 <= soft < FILES else ""
    yield Examined(f"{soft} files may be open", few)
    yield _tried("keys of this machine", partial(_keys, data / KEYS_FILE))
    for name, mend in _MENDS.items():
        yield from _certificate(data / LINK_FOLDER / TLS_FOLDER / name, mend)
    if config_path is None:
        return
    try:
        config = configuration.load(config_path)
    except configuration.ConfigError as error:
        yield Examined("configuration", str(error))
        return
    yield Examined(f"configuration {config_path}")
    yield from _link(config, data / LINK_FOLDER / TLS_FOLDER)
    yield from _store(data, config_path, config)


def _libraries() -> str:
    check_libraries()
    return "there"


def _keys(path: Path) -> str:
    parts = ", ".join(read_keys(path).parts)
    if path.stat().st_mode & 0o077:
        raise MachineError(f"{path} can be read by others; close it to them: chmod 600 {path}")
    return parts


def _disk(data: Path) -> Iterator[Examined]:
    try:
        check_writable(data)
    except UpError as error:
        yield Examined("disk", str(error))
        return
    yield Examined(f"{shutil.disk_usage(data).free / 1e9:,.1f} GB free at {data}")


def _certificate(path: Path, mend: str) -> Iterator[Examined]:
    """Where this machine has it."""
    if not path.exists():
        return
    try:
        ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError, ssl.SSLError) as error:
        yield Examined(f"certificate {path}", f"{path}: {error}; put it there again")
        return
    left = ends - wall_now()
    days = (
        f"for {left / timedelta(days=1):,.0f} days" if left >= timedelta(days=2) else f"until {ends:%Y-%m-%d %H:%M} UTC"
    )
    what = f"certificate {path.name} is good {days}"
    yield Examined(what, f"{what}; {mend}" if left < SOON else "")


def _link(config: Config, tls: Path) -> Iterator[Examined]:
    """Which of the link's servers can be reached from here. One is enough to go on, and each that is gone is said."""
    if not config.link.servers:
        yield Examined("link", 'link.servers is missing; write what everybody dials: servers = ["10.0.0.5:4222"]')
    beyond = not all(is_loopback(server.rpartition(":")[0]) for server in config.link.servers)
    try:
        authority = authority_of(tls) if beyond else None
    except CertificateError as error:
        yield Examined("link", str(error))
        return
    for server in config.link.servers:
        why = answers(server, authority)
        wrong = f"no server of the link at {server}: {why}; start it there: tieline run link"
        yield Examined(f"link answers at {server}", wrong if why else "")


def _store(data: Path, path: Path, config: Config) -> Iterator[Examined]:
    """Whether the server answers, whose clock is what, and who leads."""
    if config.store.url is None:
        yield Examined("store", "store.url is missing; several machines keep their records on a server")
        return
    named = config.store.password_file
    place = StorePlace(data, config.store.url, None if named is None else path.resolve().parent / named)
    try:
        authority = server_url(config.store.url).authority
        if authority is not None:
            yield from _certificate(Path(authority), "have the database's certificate made anew, and put it there")
        with closing(open_leases(place)) as leases:
            there, rows = leases.wall_s(), {office: leases.look(office) for office in _OFFICES}
    except StoreError as error:
        yield Examined("store", str(error))
        return
    yield Examined("store answers")
    apart = 0.0 if there is None else wall_now().timestamp() - there
    what = f"this machine's clock and the store's are {abs(apart):,.1f} s apart"
    yield Examined(what, f"{what}; a core here does not lead: set it" if abs(apart) > APART_S else "")
    for office, (what, start) in _OFFICES.items():
        row = rows[office]
        if row is None or not row.holder:
            yield Examined(what, f"nobody leads {what}; start {start}, or look again in ten seconds")
        else:
            yield Examined(f"{row.holder} leads {what}, number {row.number}")
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

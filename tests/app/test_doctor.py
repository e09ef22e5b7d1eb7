"""`tieline doctor` on a machine with one thing wrong at a time: that thing alone is said, with what to do."""

from __future__ import annotations

import resource
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.app.test_machines import FILE
from tests.store.server import Server, running

from tieline import records
from tieline.app.machines import doctor
from tieline.app.machines.keys import BUDGETS, KEYS_FILE
from tieline.app.machines.leading import CORE
from tieline.cli import main
from tieline.clock import wall_now
from tieline.link.certificate import CertificateError, EndingError, check_ending, make_certificates
from tieline.store import Store
from tieline.store.lead.lease import open_leases
from tieline.store.place import StorePlace


class Well:
    """A machine with nothing wrong, its database, and two servers of the link that say what theirs do."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.data, self.file = folder / "a", folder / "fleet.toml"
        self.listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        self.ports = [one.getsockname()[1] for one in self.listening]
        for one in self.listening:
            threading.Thread(target=self._speak, args=(one,), daemon=True).start()
        url = server.url()
        text = FILE.replace("URL", url).replace("14222", str(self.ports[0])).replace("14223", str(self.ports[1]))
        self.file.write_text(text)
        assert run("machine", "make", "--config", self.file, "--data-dir", self.data).exit_code == 0
        place = StorePlace(self.data, url)
        Store(place, records.encode, records.decode).close()
        leases = open_leases(place)
        for office in (CORE, BUDGETS):
            leases.take(office, "a#1", "", None)
        leases.close()

    @staticmethod
    def _speak(listening: socket.socket) -> None:
        while True:
            try:
                one, _ = listening.accept()
            except OSError:
                return
            with one:
                one.sendall(b'INFO {"server_id":"x"} \r\n')

    def examined(self) -> Result:
        return run("doctor", "--config", self.file, "--data-dir", self.data)

    def edit(self, before: str, after: str) -> None:
        text = self.file.read_text()
        assert before in text
        self.file.write_text(text.replace(before, after))


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as one:
        yield one


@pytest.fixture
def well(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Well]:
    monkeypatch.setattr(doctor, "check_libraries", lambda: None)  # a process of its own, tried where `up` is
    made = Well(tmp_path, server)
    yield made
    for one in made.listening:
        one.close()


def at(moment: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "wall_now", lambda: moment)


def certificate_tonight(well: Well, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's was made 397 days before tonight."""
    tls = well.data / "link" / "tls"
    for name in ("server.pem", "server.key"):
        (tls / name).unlink()
    make_certificates(tls, ["127.0.0.1"], wall_now() - timedelta(days=397) + timedelta(hours=5))


def low_limit(well: Well, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 4_096))


def full_disk(well: Well, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 12_000_000})()
    monkeypatch.setattr("tieline.app.up.shutil.disk_usage", lambda _: usage)


def nobody_leads(well: Well, monkeypatch: pytest.MonkeyPatch) -> None:
    from tieline.store.lead.fence import Fence

    url = next(line for line in well.file.read_text().splitlines() if line.startswith("url")).split('"')[1]
    leases = open_leases(StorePlace(well.data, url))
    leases.free(Fence(CORE, 1, "a#1"))
    leases.close()


def open_password(well: Well, monkeypatch: pytest.MonkeyPatch) -> None:
    password = well.file.with_name("db.password")
    password.write_text("s")
    password.chmod(0o644)
    well.edit("[link]", 'password_file = "db.password"\n\n[link]')


BROKEN: dict[str, tuple[Callable[[Well, pytest.MonkeyPatch], object], str]] = {
    "keys missing": (lambda w, _: (w.data / KEYS_FILE).unlink(), "this machine has no keys. The first of a platform"),
    "keys damaged": (lambda w, _: (w.data / KEYS_FILE).write_text("{"), "enter this machine's keys again"),
    "keys open": (lambda w, _: (w.data / KEYS_FILE).chmod(0o644), "can be read by others; close it to them: chmod 600"),
    "file misspelt": (lambda w, _: w.edit("interconnect_mw", "interconect_mw"), "interconect_mw"),
    "no servers": (lambda w, _: w.edit("servers =", "#"), "link.servers is missing; write what everybody dials"),
    "link's server away": (
        lambda w, _: w.edit(f"127.0.0.1:{w.ports[1]}", "127.0.0.1:1"),
        "no server of the link at 127.0.0.1:1: [Errno 111] Connection refused; start it there: tieline run link",
    ),
    "database away": (lambda w, _: w.edit("postgresql://", "postgresql://u@127.0.0.1:1/t?x="), "store.url"),
    "database refuses": (
        lambda w, _: w.edit("@/t", "@/never"),
        "does not exist; make it there (CREATE DATABASE), or name another in store.url",
    ),
    "no database": (lambda w, _: w.edit("url =", "#"), "store.url is missing; several machines keep their records"),
    "password open": (open_password, "can be read by others; close it to them: chmod 600"),
    "certificate tonight": (certificate_tonight, "certificate server.pem is good until "),
    "clock": (lambda w, m: at(wall_now() - timedelta(hours=1), m), "apart; a core here does not lead: set it"),
    "few files": (low_limit, "only 1024 files may be open; raise LimitNOFILE= or ulimit -n to 65536"),
    "full disk": (full_disk, "only 12 MB free at "),
    "nobody leads": (nobody_leads, "nobody leads the cores; start a core: tieline run core"),
}


def test_nothing_is_wrong_with_a_machine_that_is_well(well: Well) -> None:
    said = well.examined()
    assert "!!" not in said.output
    assert said.exit_code == 0
    for line in (
        "keys of this machine: link, core, gateway, console",
        f"link answers at 127.0.0.1:{well.ports[0]}",
        "store answers",
        "a#1 leads the cores, number 1",
        "a#1 leads the coordinators of budgets",
    ):
        assert f"ok  {line}" in said.output, said.output


@pytest.mark.parametrize("broken", BROKEN)
def test_one_thing_that_is_wrong_is_one_line_with_its_remedy(
    broken: str, well: Well, monkeypatch: pytest.MonkeyPatch
) -> None:
    act, says = BROKEN[broken]
    act(well, monkeypatch)
    said = well.examined()
    wrong = [line for line in said.output.splitlines() if line.startswith("!!")]
    assert said.exit_code == 1
    assert len(wrong) == 1, said.output
    assert says in wrong[0]


def test_a_folder_that_is_not_there_is_asked_for(tmp_path: Path) -> None:
    said = run("doctor", "--data-dir", tmp_path / "none")
    assert (said.exit_code, "name this machine's with --data-dir" in said.output) == (3, True)


def test_it_looks_again_while_parts_that_were_started_come(well: Well, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def examine(data: Path, config: Path | None) -> Iterator[doctor.Examined]:
        looks.append(1)
        yield doctor.Examined("x", "not yet" if len(looks) < 3 else "")

    monkeypatch.setattr("tieline.cli.machines.doctor.examine", examine)
    monkeypatch.setattr("tieline.cli.machines.doctor.time.sleep", lambda _: None)
    said = run("doctor", "--data-dir", well.data, "--wait", "9")
    assert (said.exit_code, said.output, len(looks)) == (0, "ok  x\n", 3)


def test_a_certificate_that_ends_is_said_from_a_month_before_until_tonight(tmp_path: Path) -> None:
    now = wall_now()
    make_certificates(tmp_path, ["127.0.0.1"], now)
    pem = (tmp_path / "server.pem").read_bytes()
    ends = now + timedelta(days=397)
    check_ending(pem, "certificate x", "mend it", ends - timedelta(days=31))
    for left in (timedelta(days=29), timedelta(days=3), timedelta(hours=5)):
        with pytest.raises(EndingError, match=r"certificate x is good until 20.* UTC; mend it"):
            check_ending(pem, "certificate x", "mend it", ends - left)
    # At its next start a server makes its own anew; nobody joins anew, since the authority stays.
    authority = (tmp_path / "authority.pem").read_bytes()
    make_certificates(tmp_path, ["127.0.0.1"], ends - timedelta(hours=5))
    assert (tmp_path / "server.pem").read_bytes() != pem
    assert (tmp_path / "authority.pem").read_bytes() == authority
    (tmp_path / "authority.key").unlink()
    with pytest.raises(CertificateError, match="restore it from a backup"):
        make_certificates(tmp_path, ["127.0.0.1"], now)

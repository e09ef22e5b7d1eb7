"""Several consoles: accounts, sessions and incidents are in the store that they share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.store.server import Server, running

from tieline import records
from tieline.app.machines.beside import alerts_of, people_of
from tieline.app.machines.keys import KEYS_FILE
from tieline.app.runtime import PEOPLE_FILE
from tieline.people import Account, People, PeopleError
from tieline.people.accounts import SESSION, Who
from tieline.store import Store
from tieline.store.alerts import Silence
from tieline.store.people import MAX_SESSIONS, PasskeyRow, PeopleStore
from tieline.store.place import StorePlace

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
ROOT = Who("root")
WORDS = "correct horse battery"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as one:
        yield one


@pytest.fixture
def machines(server: Server, tmp_path: Path) -> tuple[Path, Path]:
    """Two folders on one database."""
    url = server.url()
    folders = tmp_path / "a", tmp_path / "b"
    for folder in folders:
        folder.mkdir()
        (folder / KEYS_FILE).write_text("{}")
        (folder / "store.json").write_text(json.dumps({"url": url}))
    Store(StorePlace(folders[0], url), records.encode, records.decode).close()
    return folders


def test_who_signs_in_at_one_console_is_known_at_the_other_and_signed_out_at_both(machines: tuple[Path, Path]) -> None:
    a, b = (People(people_of(folder)) for folder in machines)
    link = a.first_link(NOW)
    assert link is not None
    ada = b.accept(link, WORDS, "Ada", "10.0.0.1", NOW)
    with pytest.raises(PeopleError, match="link: it was used"):
        a.accept(link, WORDS, "Eve", "10.0.0.2", NOW)
    secret = a.open_session(a.sign_in("admin", WORDS, "10.0.0.1", NOW), "10.0.0.1", "Firefox", NOW)
    assert b.holder(secret, NOW) == ada
    assert b.holder(secret, NOW + SESSION) is None
    b.store.put_passkey(PasskeyRow(b"\x00\xff", "admin", b"key", 3, "phone", 1, None))
    a.store.passkey_used(b"\x00\xff", 4, 9)
    assert b.store.passkeys("admin") == [PasskeyRow(b"\x00\xff", "admin", b"key", 4, "phone", 1, 9)]
    # A change at one is in force at the other at once; the last admin cannot be removed at either.
    b.add(Account("bob", "Bob", ("viewer",), ("site", "other")), ROOT, NOW)
    assert [one.id for one in a.accounts()] == ["admin", "bob"]
    with pytest.raises(PeopleError, match="last admin"):
        a.remove("admin", ROOT, NOW)
    assert b.account("admin") is not None, "nothing of the refused change is kept"
    for _ in range(MAX_SESSIONS + 2):
        newest = b.open_session(ada, "10.0.0.1", "x", NOW)
    assert len(a.sessions("admin", NOW)) == MAX_SESSIONS
    a.revoke("admin", None, ROOT, NOW)
    assert b.holder(newest, NOW) is None
    # Each line of the trail is put on record once, whichever console tells it.
    lines = a.store.untold()
    assert [one.seq for one in lines] == list(range(lines[0].seq, lines[0].seq + len(lines)))
    assert b.store.untold() == lines
    a.store.told(lines[-1].seq)
    assert b.store.untold() == []
    for one in (a, b):
        one.store.close()


def test_accounts_of_a_machines_own_file_are_taken_over_once(machines: tuple[Path, Path]) -> None:
    for folder, name in zip(machines, ("ada", "bob"), strict=True):
        own = People(PeopleStore(folder / PEOPLE_FILE))
        link = own.add(Account(name, name, ("admin",)), ROOT, NOW)
        own.accept(link, WORDS, name, "x", NOW)
        own.store.put_passkey(PasskeyRow(name.encode(), name, b"key", 0, "key", 1, None))
        own.store.close()
    first = People(people_of(machines[0]))
    second = People(people_of(machines[1]))
    assert [one.id for one in second.accounts()] == ["ada"], "the first console's; the other's are made anew"
    assert first.sign_in("ada", WORDS, "y", NOW).id == "ada"
    assert [one.id for one in second.store.passkeys("ada")] == [b"ada"]
    for one in (first, second):
        one.store.close()


def test_incidents_and_messages_are_the_same_at_every_console(machines: tuple[Path, Path]) -> None:
    a, b = (alerts_of(folder) for folder in machines)
    assert a.put([("k", 1.0, b"one")], [("mail", b"body"), ("hook", b"body")], 1.0) == 0
    assert b.put([("k", 2.0, b"two")], [], 2.0) == 0
    assert a.incidents() == [b"two"]
    first, second = b.due(2.0)
    a.failed(first.id, "no answer", 30.0, 2.0)
    a.delivered(second.id, 2.0)
    assert b.due(2.0) == []
    (again,) = b.due(31.0)
    assert (again.channel, again.tries, again.error, again.ended) == ("mail", 1, "no answer", None)
    b.failed(again.id, "never", None, 31.0)
    assert [one.ended for one in a.messages()] == [2.0, 31.0]
    b.silence(Silence("x", 50.0, "ada", "works"))
    b.silence(Silence("x", 60.0, "bob", "more works"))
    assert a.silences(55.0) == [Silence("x", 60.0, "bob", "more works")]
    for one in (a, b):
        one.close()

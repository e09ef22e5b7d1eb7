"""Accounts told as an operator would: who joins, who signs in, who may no longer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tieline.people import Account, People, PeopleError, Right
from tieline.people.accounts import FREE_TRIES, SESSION, Throttle, ThrottledError, Who
from tieline.people.rights import ROLES, TABLE, TENANT_ROLES, may
from tieline.store.people import MAX_SESSIONS, PeopleStore

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
ROOT = Who("root")
WORDS = "correct horse battery"


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    known = People(PeopleStore(tmp_path / "people.db"))
    yield known
    known.store.close()


def join(people: People, id_: str, *roles: str, places: tuple[str, ...] = ()) -> Account:
    link = people.add(Account(id_, id_.title(), roles, places), ROOT, NOW)  # type: ignore[arg-type]
    return people.accept(link, WORDS, id_.title(), "127.0.0.1", NOW)


def test_the_first_link_makes_an_admin_once(people: People) -> None:
    link = people.first_link(NOW)
    assert link is not None
    again = people.first_link(NOW)  # the platform was started again before anybody joined
    assert again is not None
    with pytest.raises(PeopleError, match="link: it was used, has ended or was replaced"):
        people.accept(link, WORDS, "Ada", "127.0.0.1", NOW)
    ada = people.accept(again, WORDS, "Ada", "127.0.0.1", NOW)
    assert ada.may(Right.PEOPLE)
    assert people.first_link(NOW) is None
    with pytest.raises(PeopleError, match="link"):
        people.accept(again, WORDS, "Eve", "127.0.0.1", NOW)


def test_a_link_ends_after_a_day(people: People) -> None:
    link = people.add(Account("bob", "Bob", ("viewer",)), ROOT, NOW)
    with pytest.raises(PeopleError, match="link"):
        people.accept(link, WORDS, "Bob", "127.0.0.1", NOW + timedelta(hours=24))


def test_a_session_outlives_a_restart_and_ends_when_it_is_revoked(people: People, tmp_path: Path) -> None:
    ada = join(people, "ada", "admin")
    secret = people.open_session(people.sign_in("ada", WORDS, "10.0.0.1", NOW), "10.0.0.1", "Firefox", NOW)
    other = People(PeopleStore(tmp_path / "people.db"))
    assert other.holder(secret, NOW) == ada
    assert other.holder(secret, NOW + SESSION) is None
    (session,) = other.sessions("ada", NOW)
    assert (session.address, session.agent) == ("10.0.0.1", "Firefox")
    other.revoke("ada", session.id, Who("ada"), NOW)
    assert people.holder(secret, NOW) is None
    other.store.close()


def test_nothing_secret_is_on_disk(people: People, tmp_path: Path) -> None:
    link = people.add(Account("ada", "Ada", ("admin",)), ROOT, NOW)
    people.accept(link, WORDS, "Ada", "127.0.0.1", NOW)
    secret = people.open_session(people.sign_in("ada", WORDS, "x", NOW), "x", "", NOW)
    people.store.copy_to(tmp_path / "copy.db")
    kept = (tmp_path / "copy.db").read_bytes()
    assert b"$argon2id$" in kept
    for word in (link, secret, WORDS):
        assert word.encode() not in kept


def test_the_last_admin_cannot_be_removed_disabled_or_demoted(people: People) -> None:
    ada = join(people, "ada", "admin")
    last = "'ada' is the last admin"
    with pytest.raises(PeopleError, match=last):
        people.remove("ada", ROOT, NOW)
    with pytest.raises(PeopleError, match=last):
        people.change(Account("ada", "Ada", ("viewer",)), ROOT, NOW)
    with pytest.raises(PeopleError, match=last):
        people.change(Account("ada", "Ada", ("admin",), disabled=True), ROOT, NOW)
    assert people.account("ada") == ada  # nothing half done
    people.add(Account("bob", "Bob", ("admin",)), ROOT, NOW)  # invited, and has not joined
    with pytest.raises(PeopleError, match=last):
        people.remove("ada", ROOT, NOW)
    people.accept(people.invite("bob", ROOT, NOW), WORDS, "Bob", "x", NOW)
    people.remove("ada", Who("bob"), NOW)
    assert people.account("ada") is None


def test_whoever_is_disabled_is_out_at_once(people: People) -> None:
    join(people, "ada", "admin")
    join(people, "bob", "operator")
    secret = people.open_session(people.sign_in("bob", WORDS, "x", NOW), "x", "", NOW)
    people.change(Account("bob", "Bob", ("operator",), disabled=True), Who("ada"), NOW)
    assert people.holder(secret, NOW) is None
    with pytest.raises(PeopleError, match="name or password is wrong"):
        people.sign_in("bob", WORDS, "x", NOW)


def test_wrong_passwords_wait_longer_each_time_and_an_unknown_name_sounds_the_same(people: People) -> None:
    join(people, "ada", "admin")
    said = set()
    for number, name in enumerate(["ada"] * FREE_TRIES):
        with pytest.raises(PeopleError) as wrong:
            people.sign_in(name, "not the password", f"10.0.0.{number}", NOW)
        said.add(str(wrong.value))
    with pytest.raises(ThrottledError):
        people.sign_in("ada", WORDS, "10.0.0.9", NOW)
    assert people.sign_in("ada", WORDS, "10.0.0.9", NOW + timedelta(seconds=1.1)).id == "ada"
    with pytest.raises(PeopleError) as unknown:
        people.sign_in("nobody", WORDS, "10.0.0.9", NOW)
    assert said == {str(unknown.value)}


def test_a_flood_of_names_is_forgotten_from_its_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tieline.people.accounts.MAX_REMEMBERED", 10)
    throttle = Throttle()
    for number in range(50):
        for _ in range(5):
            throttle.failed(f"name {number}", 0.0)
    assert throttle.wait_s("name 49", 0.0) > 0
    assert throttle.wait_s("name 0", 0.0) == 0.0


def test_sessions_of_one_account_are_bounded(people: People) -> None:
    ada = join(people, "ada", "admin")
    secrets = [people.open_session(ada, "x", "", NOW + timedelta(seconds=n)) for n in range(MAX_SESSIONS + 3)]
    later = NOW + timedelta(minutes=1)
    assert len(people.sessions("ada", later)) == MAX_SESSIONS
    assert people.holder(secrets[0], later) is None
    assert people.holder(secrets[-1], later) is not None


def test_changing_the_password_ends_every_other_session(people: People) -> None:
    ada = join(people, "ada", "admin")
    secret = people.open_session(ada, "x", "", NOW)
    people.change_password("ada", WORDS, "another four plain words", "x", NOW)
    assert people.holder(secret, NOW) is None
    assert people.sign_in("ada", "another four plain words", "x", NOW).id == "ada"


@pytest.mark.parametrize(
    ("account", "said"),
    [
        (Account("Ada", "Ada", ("viewer",)), "id: use lower-case letters"),
        (Account("", "Ada", ("viewer",)), "id: use"),
        (Account("ada", "", ("viewer",)), "name: 1 to 80"),
        (Account("ada", "A|da", ("viewer",)), "name: 1 to 80"),
        (Account("ada", "Ada\x1b[2J", ("viewer",)), "name: 1 to 80"),
        (Account("ada", "Ada", ()), "roles: none given"),
        (Account("ada", "Ada", ("boss",)), "roles: boss"),  # type: ignore[arg-type]
        (Account("ada", "Ada", ("owner",)), "tenant: a tenant's roles"),
        (Account("ada", "Ada", ("viewer",), tenant="acme"), "tenant: a tenant's roles"),
        (Account("ada", "Ada", ("admin", "owner"), tenant="acme"), "roles: a tenant's people"),
    ],
)
def test_what_is_wrong_is_named_with_its_field(people: People, account: Account, said: str) -> None:
    with pytest.raises(PeopleError, match=said):
        people.add(account, ROOT, NOW)
    assert people.accounts() == []


def test_short_passwords_are_refused_before_the_link_is_used(people: People) -> None:
    link = people.add(Account("bob", "Bob", ("viewer",)), ROOT, NOW)
    with pytest.raises(PeopleError, match="password: 12 to 256"):
        people.accept(link, "short", "Bob", "x", NOW)
    assert people.accept(link, WORDS, "Bob", "x", NOW).id == "bob"


def test_every_change_is_told_with_who_from_where_before_and_after(people: People) -> None:
    join(people, "ada", "admin")
    join(people, "bob", "operator", places=("na-tx-01",))
    people.change(Account("bob", "Bob", ("viewer",)), Who("ada", "10.0.0.7"), NOW)
    row = people.store.untold()[-1]
    assert (row.by, row.address, row.what, row.target) == ("ada", "10.0.0.7", "change account", "bob")
    assert "operator" in row.before
    assert "na-tx-01" in row.before
    assert "viewer" in row.after
    people.store.told(row.seq)
    assert people.store.untold() == []


def test_a_right_at_a_site_is_narrowed_to_places(people: People) -> None:
    bob = join(people, "bob", "operator", places=("na-tx-01", "South America"))
    assert bob.may(Right.COMMAND, "na-tx-01", "North America")
    assert bob.may(Right.COMMAND, "sa-br-02", "South America")
    assert not bob.may(Right.COMMAND, "na-tx-02", "North America")
    assert bob.may(Right.SEE, "na-tx-02", "North America")


def test_no_tenant_s_role_has_an_operator_s_right_and_none_the_other_way() -> None:
    for role in ROLES:
        tenant_rights = {right for right in TABLE[role] if right.name.startswith("TENANT_")}
        if role in TENANT_ROLES:
            assert TABLE[role] - tenant_rights == {Right.OWN_ACCOUNT}
        else:
            assert not tenant_rights
    assert not may((), Right.SEE)

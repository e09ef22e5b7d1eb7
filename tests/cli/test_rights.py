"""The one table of rights at the command line: every command with every role, by name, and whose files they are."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from tests.cli.test_shape import LEAVES, names

from tieline.app.machines.beside import people_of
from tieline.cli import main, rights
from tieline.cli.outcome import CALLER, AnswerIsNoError
from tieline.cli.rights import FREE, MORE, NEEDS, Caller, gated, needed
from tieline.people import ROLES, Account, People, Right
from tieline.people.accounts import PARTNER, Who
from tieline.people.rights import PARTNER_ROLES, TABLE, TENANT_ROLES

WORDS = "correct horse battery"
OWN = ("approvals approve", "approvals propose", "approvals reject", "approvals withdraw")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with an account of each role, its name the role's."""
    data = tmp_path_factory.mktemp("data")
    store = people_of(data)
    people, now = People(store), datetime.now(UTC)
    for role in ("admin", *(one for one in ROLES if one != "admin")):
        tenant = "acme" if role in TENANT_ROLES else f"{PARTNER}acme" if role in PARTNER_ROLES else ""
        people.accept(people.add(Account(role, role, (role,), (), tenant), Who("t"), now), WORDS, role, "t", now)
    narrowed = Account("bob", "bob", ("operator",), ("na-tx-01", "south_america"))
    people.accept(people.add(narrowed, Who("t"), now), WORDS, "bob", "t", now)
    store.close()
    return data


@pytest.fixture(scope="module")
def callers(folder: Path) -> dict[str, Caller]:
    """Each role's account once it has shown its password."""
    store = people_of(folder)
    known = {one.id: one for one in People(store).accounts()}
    store.close()
    return {name: Caller(name, {folder: account}) for name, account in known.items()}


def call(path: str, caller: Caller, **params: Any) -> bool:
    """Whether the command's work is reached."""
    reached: list[dict[str, Any]] = []
    with click.Context(main) as context:
        context.meta[CALLER] = caller
        with contextlib.suppress(AnswerIsNoError):
            gated(lambda **given: reached.append(given), path)(**params)
    return bool(reached)


def test_every_command_says_what_it_needs_and_asks() -> None:
    unsaid = []
    for path, command in LEAVES.items():
        word = " ".join(path)
        needed(word, {})  # a KeyError names what is forgotten
        data = any(param.name == "data_dir" for param in command.params)
        free = needed(word, {}) is None
        if data == free or not getattr(command.callback, "asks_rights", False):
            unsaid.append(word)
    assert unsaid == ["gateway"]  # it has a folder of its own, of no fleet
    words = {" ".join(path) for path in LEAVES}
    said = (*NEEDS, *FREE, *(command for command, _, _ in MORE))
    assert [one for one in said if not any(f"{word} ".startswith(f"{one} ") for word in words)] == []


def test_every_command_with_every_role(folder: Path, callers: dict[str, Caller]) -> None:
    wrong, asked = [], 0
    for path in LEAVES:
        word = " ".join(path)
        ways: list[dict[str, Any]] = [{}, *({option: value or "x"} for at, option, value in MORE if at == word)]
        for role in ROLES:
            for more in ways:
                right = needed(word, more)
                allowed = right is None or right in TABLE[role]
                asked += 1
                if call(word, callers[role], data_dir=folder, **more) != allowed:
                    wrong.append((word, role, right))
    assert (wrong, asked >= 8 * 110) == ([], True)


@pytest.mark.parametrize(
    ("word", "who"),
    [
        ("status", {"viewer", "operator", "treasurer", "approver", "admin"}),
        ("commit accept", {"operator", "admin"}),
        ("rig reboot", {"operator", "admin"}),
        ("rig preview", {"viewer", "operator", "treasurer", "approver", "admin"}),
        ("books add sale", {"treasurer", "admin"}),
        ("books balances", {"treasurer", "approver", "admin"}),
        ("treasury ladder", {"treasurer", "approver", "admin"}),
        ("approvals approve", {"approver", "admin"}),
        ("people add", {"admin"}),
        ("backup", {"admin"}),
        ("down", {"admin"}),
        ("config check", set(ROLES)),
    ],
)
def test_the_table_means_what_people_expect_of_it(
    word: str, who: set[str], folder: Path, callers: dict[str, Caller]
) -> None:
    assert {role for role in ROLES if call(word, callers[role], data_dir=folder)} == who


def test_whoever_commands_some_sites_commands_only_there(folder: Path, callers: dict[str, Caller]) -> None:
    for site, allowed in (("na-tx-01", True), ("na-ca-01", False), ("sa-py-03", True), (None, False)):
        assert call("rig reboot", callers["bob"], data_dir=folder, site=site) == allowed, site
    assert call("status", callers["bob"], data_dir=folder)
    assert call("alerts take", callers["bob"], data_dir=folder)


def test_a_place_is_one_of_the_fleet_as_the_fleet_spells_it(tmp_path: Path) -> None:
    data = ("--data-dir", tmp_path)
    asked = ("people", "add", "bob", "--role", "operator", "--place")
    assert tieline(*asked, "South America", *data).exit_code == 0
    assert json.loads(tieline("people", "list", "--json", *data).stdout)[0]["places"] == ["south_america"]
    refused = tieline("people", "role", "bob", "--role", "operator", "--place", "Atlantis", *data)
    assert (refused.exit_code, "no site or region 'Atlantis'" in refused.output) == (2, True)


def tieline(*words: object, **more: Any) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], **more)


def test_a_name_is_proved_by_its_password_and_stands_on_what_is_done(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ("--data-dir", folder)
    made = tieline("--as", "admin", "people", "add", "eve", "--role", "viewer", *data, input=f"{WORDS}\n")
    assert made.exit_code == 0, made.output
    refused = tieline("--as", "viewer", "people", "remove", "eve", *data, input=f"{WORDS}\n")
    assert (refused.exit_code, "viewer may not add and remove accounts" in refused.output) == (1, True)
    assert WORDS not in made.output + refused.output
    guessed = tieline("--as", "admin", "people", "list", *data, input="a wrong guess\n")
    assert (guessed.exit_code, "name or password is wrong" in guessed.output) == (1, True)
    monkeypatch.setenv("TIELINE_AS", "admin")
    monkeypatch.setenv("TIELINE_PASSWORD", WORDS)
    listed = tieline("people", "list", "--json", *data)
    assert {one["id"] for one in json.loads(listed.stdout)} >= {"eve", "viewer"}
    store = people_of(folder)
    told = [(row.by, row.address, row.what, row.target) for row in store.untold()]
    store.close()
    assert ("admin", "command line", "add account", "eve") in told


def test_another_ones_files_are_not_anybodys(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tieline("people", "list", "--data-dir", folder).exit_code == 0  # whoever owns the files
    monkeypatch.setattr(rights, "owns", lambda _: False)
    said = tieline("people", "list", "--data-dir", folder)
    assert (said.exit_code, "tieline --as ACCOUNT people list" in said.output) == (1, True)
    assert "is not yours" not in tieline("people", "list", "--data-dir", tmp_path).output  # nobody has an account


def test_a_claim_to_be_somebody_else_is_overruled(folder: Path, callers: dict[str, Caller]) -> None:
    seen: list[str] = []
    with click.Context(main) as context:
        context.meta[CALLER] = callers["treasurer"]
        gated(lambda data_dir, by: seen.append(by), "books close")(data_dir=folder, by="Mallory")
    assert seen == ["treasurer"]


def test_every_right_is_asked_by_some_door() -> None:
    asked = {*NEEDS.values(), *MORE.values()}
    elsewhere = {
        Right.ASK,
        Right.DESK,
        Right.OWN_ACCOUNT,
        *(one for one in Right if one.name.startswith(("TENANT_", "PARTNER_"))),
    }
    assert asked | elsewhere == set(Right)
    assert not asked & elsewhere
    assert {names([path])[0] for path in LEAVES} >= set(OWN)

"""Two people at the console: proposing, approving, and what one person with two roles cannot do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient
from tests.console.test_accounts import OWN, WORDS, browser, join, signed_in

from tieline import config, records
from tieline.app.acting import acting, waiting
from tieline.cli.approvals import approvals
from tieline.clock import SimClock, wall_now
from tieline.console.app import SignIn, make_app
from tieline.fleet import Fleet
from tieline.link import Ack, LocalLink
from tieline.people import People
from tieline.records import Action, Proposal
from tieline.store import Store
from tieline.store.people import PeopleStore

SITE, DAY = "na-tx-01", timedelta(days=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path


@pytest.fixture
def people(folder: Path) -> Iterator[People]:
    known = People(PeopleStore(folder / "people.db"))
    for id_, *roles in (("ada", "admin"), ("tora", "treasurer"), ("axel", "approver"), ("olga", "operator")):
        join(known, id_, *roles)
    join(known, "bob", "operator", places=("na-ca-01",))
    yield known
    known.store.close()


@pytest.fixture
def kept(folder: Path) -> Iterator[Store]:
    store = Store(folder / "store.db", records.encode, records.decode)
    yield store
    store.close()


@pytest.fixture
def app(world: ModuleType, fleet: Fleet, kept: Store, people: People) -> Any:
    """A console whose core keeps what it is told in the store that the pages read."""

    async def take(subject: str, data: bytes) -> bytes:
        return msgspec.json.encode(Ack(kept.append(records.decode_batch(data))))

    link = LocalLink()
    link._handlers["records.*"] = take
    return make_app(kept, fleet, SimClock(world.NOW), link=link, sign_in=SignIn(people=people))


def said(client: TestClient, word: str, one: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    form = {"proposal_id": one["id"], "digest": one["digest"]}
    answer = client.post(f"/api/approvals/{word}", json=form, headers=OWN)
    return answer.status_code, answer.json()


def propose(client: TestClient, **form: str) -> Any:
    form = {"what": "sale", "target": "Treasury", "after": "4,451 BTC at 68,524 USD", "why": "trigger near"} | form
    return client.post("/api/approvals/propose", json=form, headers=OWN)


def newest(client: TestClient) -> dict[str, Any]:
    one: dict[str, Any] = client.get("/api/approvals").json()["proposals"][0]
    return one


def test_a_sale_needs_a_second_person_and_is_on_record_with_both(app: Any, kept: Store, world: ModuleType) -> None:
    tora, axel = signed_in(app, "tora"), signed_in(app, "axel")
    assert propose(tora).status_code == 200
    one = newest(tora)
    assert (one["state"], one["lacks"], one["before"]) == ("open", 1, "0 BTC free, 0 BTC pledged")
    assert said(tora, "approve", one)[0] == 403  # a treasurer approves nothing
    assert said(axel, "approve", {**one, "digest": "0" * 16})[0] == 409
    assert said(axel, "approve", one) == (200, {"says": "approved"})
    assert newest(axel)["state"] == "approved"
    assert said(axel, "approve", one)[0] == 409
    trail = list(kept.each(Action, world.NOW - timedelta(days=1), world.NOW + timedelta(days=1)))
    assert [(a.by, a.what, a.target) for a in trail] == [
        ("tora", "propose sale", "Treasury"),
        ("axel", "approved sale", "Treasury"),
    ]
    assert "0 BTC free, 0 BTC pledged -> 4,451 BTC at 68,524 USD: trigger near" in trail[1].detail


def test_whoever_may_do_both_still_needs_somebody_else(app: Any) -> None:
    ada = signed_in(app, "ada")
    assert propose(ada).status_code == 200
    status, told = said(ada, "approve", newest(ada))
    assert (status, told["error"]) == (409, "by: a second person has to approve what you proposed")
    assert newest(ada)["cannot_approve"] == "by: a second person has to approve what you proposed"
    assert said(ada, "withdraw", newest(ada))[0] == 200
    assert said(signed_in(app, "axel"), "approve", newest(ada))[0] == 409


def test_only_who_commands_there_proposes_that_a_site_acts(app: Any) -> None:
    form = {"what": "act", "target": SITE}
    assert propose(signed_in(app, "tora"), **form).status_code == 403
    assert propose(signed_in(app, "bob"), **form).status_code == 403
    assert propose(signed_in(app, "olga"), what="act", target="nowhere").status_code == 400
    assert propose(signed_in(app, "olga"), **form).status_code == 200


def test_nobody_in_particular_proposes_nothing(fleet: Fleet, kept: Store, world: ModuleType) -> None:
    alone = browser(make_app(kept, fleet, SimClock(world.NOW), link=LocalLink()))
    assert propose(alone).status_code == 403
    assert alone.get("/api/approvals").json()["may_propose"] == []


def test_a_proposal_without_its_words_is_named_by_field(app: Any) -> None:
    tora = signed_in(app, "tora")
    assert propose(tora, why=" ").json()["error"].startswith("why:")
    assert propose(tora, after="").json()["error"].startswith("after:")
    assert propose(tora, target="").json()["error"].startswith("target:")


@pytest.mark.parametrize("invented", [True, False])
def test_a_real_site_acts_only_once_two_people_said_so(
    app: Any, folder: Path, kept: Store, world: ModuleType, invented: bool
) -> None:
    demo = config.demo()
    sites = tuple(msgspec.structs.replace(s, invented=invented, mode="act") for s in demo.fleet.sites)
    real = msgspec.structs.replace(demo, fleet=msgspec.structs.replace(demo.fleet, sites=sites))

    def modes() -> dict[str, str]:
        allowed = acting(folder, real, world.NOW)
        assert allowed is not None
        return {site.id: site.mode for site in config.with_acting(real, allowed).fleet.sites}

    assert set(modes().values()) == ({"act"} if invented else {"advise"})
    olga, axel = signed_in(app, "olga"), signed_in(app, "axel")
    propose(olga, what="act", target=SITE)
    assert modes()[SITE] == ("act" if invented else "advise")
    said(axel, "approve", newest(olga))
    assert modes()[SITE] == "act"
    assert SITE not in waiting(real, acting(folder, real, world.NOW))
    if not invented:
        assert modes()["na-ca-01"] == "advise"
        said(axel, "reject", newest(olga))
        assert modes()[SITE] == "advise"


def test_without_accounts_or_where_the_file_says_so_nobody_is_asked(folder: Path, tmp_path: Path) -> None:
    demo = config.demo()
    one = msgspec.structs.replace(demo, console=msgspec.structs.replace(demo.console, two_people=False))
    assert acting(tmp_path / "new", demo, wall_now()) is None
    assert acting(folder, one, wall_now()) is None


def test_the_command_asks_for_an_account_and_its_password(folder: Path, people: People, kept: Store) -> None:
    runner = CliRunner()

    def run(*words: str, password: str = WORDS) -> Any:
        return runner.invoke(approvals, [*words, "--data-dir", str(folder)], input=f"{password}\n")

    made = run("propose", "sale", "Treasury", "--after", "5 BTC sold", "--why", "cash", "--as", "tora")
    assert made.exit_code == 0, made.output
    id_ = next(iter(kept.each(Proposal, wall_now() - DAY, wall_now() + DAY))).proposal_id
    assert run("approve", id_, "--as", "axel", password="wrong words here").exit_code == 1
    assert "may not approve" in run("approve", id_, "--as", "tora").output
    assert "no proposal" in run("approve", "nothing", "--as", "axel").output
    assert run("approve", id_, "--as", "axel").exit_code == 0
    assert (
        runner.invoke(approvals, ["list", "--data-dir", str(folder)]).output == "Nothing waits for a second person.\n"
    )
    told = runner.invoke(approvals, ["list", "--all", "--json", "--data-dir", str(folder)]).output
    assert '"state": "approved"' in told

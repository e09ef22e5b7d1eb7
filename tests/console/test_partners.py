"""A partner's people see their own sites and statements, and over no door anything of another's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient
from tests.books.test_partner import of_a_month
from tests.console.conftest import Core
from tests.console.test_accounts import OWN, fill, join, signed_in
from tests.dispatch.fleets import fleet as small
from tests.dispatch.fleets import site

from tieline import records
from tieline.cli.rights import NEEDS
from tieline.clock import SimClock
from tieline.console import app as console
from tieline.console.app import SignIn, make_app
from tieline.console.rooms.partners import MOST_A_DAY
from tieline.fleet import Partner
from tieline.people import People, PeopleError, may
from tieline.people.accounts import Account, Who
from tieline.records import Action, PartnerAsk, Payout, Usage
from tieline.store import Store
from tieline.store.people import PeopleStore

OURS = Partner(id="ours", name="Our Power", sites=("tx-1",), mining_share=Decimal("0.7"), floor_usd_per_mwh=40.0)
THEIRS = Partner(id="theirs", name="Rival Works", sites=("tx-2", "no-1"), hours=(6, 22))
SECRETS = ("tx-2", "no-1", "Rival", "theirs", "secret-key", "t0", "t1")


@pytest.fixture
def app(tmp_path: Path, world: ModuleType, core: Core) -> Iterator[Any]:
    whole = msgspec.structs.replace(small(*(site(name) for name in ("tx-1", "tx-2", "no-1"))), partners=(OURS, THEIRS))
    writer = Store(tmp_path / "store.db", records.encode, records.decode)
    writer.append(of_a_month())
    writer.close()
    people = People(PeopleStore(tmp_path / "people.db"))
    join(people, "root", "admin")
    join(people, "ann", "partner", tenant="partner/ours")
    join(people, "bob", "partner", tenant="partner/theirs")
    store = Store(tmp_path / "store.db", records.encode, records.decode, read_only=True)
    now = of_a_month()[0].at + timedelta(days=40)
    made = make_app(store, whole, SimClock(now), sign_in=SignIn(people=people), link=core.link)
    core.keeps_in(tmp_path / "store.db")
    yield made
    store.close()
    people.store.close()


def told(client: TestClient, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, (path, answer.text)
    return answer.text


def test_a_statement_sums_to_its_records_over_the_api(app: Any) -> None:
    ann = signed_in(app, "ann")
    made = msgspec.json.decode(told(ann, "/api/partner/statement?month=2026-08"))
    assert {line["site"] for line in made["lines"]} == {"tx-1"}
    for what, total, value in (("mining", "mining_sats", "sats"), ("inference", "inference_nano_usd", "nano_usd")):
        lines, summed = [line for line in made["lines"] if line["what"] == what], 0
        for line in lines:
            asked = f"month=2026-08&what={what}&site=tx-1&day={line['day']}&payout={line['payout']}"
            rows = msgspec.json.decode(told(ann, f"/api/partner/records?{asked}"))["records"]
            assert (len(rows), sum(row[value] for row in rows)) == (line["records"], int(line["amount"]))
            summed += int(line["amount"])
        assert summed == made[total] > 0
    store = app.state.hub.store
    ours, theirs = made["mining_sats"], msgspec.json.decode(
        told(signed_in(app, "bob"), "/api/partner/statement?month=2026-08"))["mining_sats"]  # fmt: skip
    first = of_a_month()[0].at
    paid = [
        p for p in store.between(Payout, first, first + timedelta(days=31)) if p.at > first and p.payout_id != "unheard"
    ]
    assert ours + theirs == sum(p.sats for p in paid)
    assert (
        sum(u.cost_nano_usd for u in store.each(Usage, first, first + timedelta(days=31))) > made["inference_nano_usd"]
    )


def test_nothing_of_another_s_or_of_the_operator_s_is_read_over_any_door(app: Any) -> None:
    ann, whole = signed_in(app, "ann"), ""
    # What the other organisation asks is its own, too.
    asked = {"floor_usd_per_mwh": 77.25, "hours": "03-04"}
    assert signed_in(app, "bob").post("/api/partner/asks", json=asked, headers=OWN).status_code == 200
    for path in ("/partner?month=2026-08", "/api/partner/sites", "/api/partner/statement?month=2026-08"):
        whole += told(ann, path)
    for what in ("energy", "hashes", "inference", "heard", "faults"):
        whole += told(ann, f"/partner/records?month=2026-08&what={what}&site=tx-1&day=2026-08-03")
    whole += told(ann, "/partner/records?month=2026-08&what=mining&site=tx-1&payout=p-3")
    assert "Our Power" in whole
    assert "floor price 40" in whole
    assert [word for word in SECRETS if f">{word}<" in whole or f'"{word}"' in whole] == []
    assert "Rival" not in whole
    assert "77.25" not in whole
    assert "bob" not in whole
    for query in ("site=tx-2&day=2026-08-03", "site=no-1&day=2026-08-03", "site=&day=2026-08-03"):
        assert ann.get(f"/api/partner/records?month=2026-08&what=energy&{query}").status_code == 404
    doors = [row for row in console._routes(app.state.room) if row[0] not in ("/api/events", "/api/logout")]
    for path, method, right, _ in doors:
        if path.startswith(("/api/me", "/api/sessions", "/api/passkeys", "/partner", "/api/partner")):
            continue
        for id_ in ("tx-2", "theirs"):
            asked = fill(path.replace("{site_id}", id_).replace("{name}", id_))
            answer = ann.request(method, asked, headers=OWN, json={} if method == "POST" else None)
            allowed = right is None and answer.status_code in (200, 204, 303, 400, 401, 404, 405)
            assert answer.status_code in (403, 404) or allowed, (method, asked, answer.status_code)
            assert "tx-2" not in answer.text.replace(asked, ""), asked
            assert "Rival" not in answer.text, asked


def test_its_own_people_set_its_floor_and_hours_and_who_did_is_on_record(app: Any, core: Core) -> None:
    ann, root = signed_in(app, "ann"), signed_in(app, "root")

    def ask(client: TestClient = ann, **form: Any) -> Any:
        return client.post("/api/partner/asks", json=form, headers=OWN)

    assert "floor price 40 USD/MWh" in told(ann, "/api/partner/sites")
    done = ask(floor_usd_per_mwh=62.5, hours="22-06")
    assert (done.status_code, done.json()["asks"]) == (200, ["floor price 62.5 USD/MWh", "open 22:00 to 06:00 UTC"])
    (record, trail) = core.taken
    assert isinstance(record, PartnerAsk)
    assert (record.partner, record.floor_usd_per_mwh, record.hours, record.by) == ("ours", 62.5, "22-06", "ann")
    assert isinstance(trail, Action)
    assert (trail.by, trail.what, trail.target, trail.detail) == (
        "ann", "partner asks", "ours", "floor price 62.5 USD/MWh; open 22:00 to 06:00 UTC"
    )  # fmt: skip
    page = told(ann, "/partner?month=2026-08")
    assert 'value="62.5"' in page
    assert '<option value="22" selected>' in page
    assert "<td>ann</td><td class=n>62.5</td><td>22-06</td>" in page
    assert "open 22:00 to 06:00 UTC" in told(ann, "/api/partner/sites")
    # The operator sees it, with who and when, and may not say it for them; nor may anybody without the page's header.
    assert "floor price 62.5 USD/MWh" in root.get("/api/records?stream=Action").text
    assert ask(root, floor_usd_per_mwh=1.0, hours="").status_code == 403
    assert ann.post("/api/partner/asks", json={"floor_usd_per_mwh": 1, "hours": ""}).status_code == 403
    for form, says in (
        ({"floor_usd_per_mwh": -1, "hours": ""}, "give 0 to 5,000, or none"),
        ({"floor_usd_per_mwh": 9_000, "hours": ""}, "give 0 to 5,000, or none"),
        ({"floor_usd_per_mwh": None, "hours": "06-06"}, "two different ones of the day in UTC"),
        ({"floor_usd_per_mwh": None, "hours": "6 to 9"}, "two different ones of the day in UTC"),
        ({"floor_usd_per_mwh": "much", "hours": ""}, "floor_usd_per_mwh"),
        ({"hours": ""}, "floor_usd_per_mwh"),
        ({"floor_usd_per_mwh": 1, "hours": "", "partner": "theirs"}, "partner"),
    ):
        refused = ask(**form)
        assert (refused.status_code, says in refused.text) == (400, True), (form, refused.text)
    assert len(core.taken) == 2
    core.error = "the disk is full"
    assert "not recorded: the disk is full" in ask(floor_usd_per_mwh=None, hours="").text
    core.error = None
    clock, codes = app.state.hub.clock, []
    for _ in range(MOST_A_DAY):
        clock.set(clock.now() + timedelta(seconds=1))
        codes.append(ask(floor_usd_per_mwh=None, hours="").status_code)
    assert codes == [200] * (MOST_A_DAY - 1) + [429]
    clock.set(clock.now() + timedelta(days=1, seconds=1))
    assert ask(floor_usd_per_mwh=None, hours="").status_code == 200
    assert told(ann, "/api/partner/sites").count("no floor price") == 1


def test_pages_lead_a_partner_s_people_home_and_nobody_else_there(app: Any) -> None:
    ann = signed_in(app, "ann")
    assert ann.get("/").headers["location"] == "/partner"
    assert ann.get("/my").headers["location"] == "/"
    assert signed_in(app, "root").get("/api/partner/statement").status_code == 403
    for path, status in (
        ("/api/partner/statement?month=2026-13", 400),
        ("/api/partner/statement?month=2019-01", 400),
        ("/api/partner/records?month=2026-08&what=energy&site=tx-1&day=never", 400),
        ("/api/partner/records?month=2026-08&what=lies&site=tx-1", 404),
    ):
        assert ann.get(path).status_code == status, path


def test_no_command_that_asks_for_a_right_is_a_partner_s() -> None:
    assert [command for command, right in NEEDS.items() if may(("partner",), right)] == []


def test_an_account_is_a_partner_s_or_somebody_else_s_and_not_both(tmp_path: Path, world: ModuleType) -> None:
    people = People(PeopleStore(tmp_path / "people.db"))
    for roles, tenant in ((("partner",), ""), (("partner",), "acme"), (("partner", "viewer"), "partner/x"),
                          (("owner",), "partner/x"), (("viewer",), "partner/x")):  # fmt: skip
        with pytest.raises(PeopleError, match="partner"):
            people.add(Account("a", "A", roles, (), tenant), Who("test"), world.NOW)  # type: ignore[arg-type]
    people.store.close()

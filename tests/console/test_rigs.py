"""Every rig of the fleet: rows out of raw samples, one rig's history, and plans confirmed together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient
from tests.console.conftest import WRITES, Core, catch_up

from tieline.clock import SimClock
from tieline.console.app import Shown, make_app
from tieline.console.rooms.rigs import COLUMNS, rig_view, table
from tieline.edge.rigs.history import ASLEEP, DISOBEYS, HEARD, RawHistory, RawRow
from tieline.fleet import Fleet, Site
from tieline.records import Action, Override
from tieline.store import Store

SITE = "na-ca-01"


def site_of(fleet: Fleet) -> Site:
    """One site with three real rigs in its first group."""
    site = next(s for s in fleet.sites if s.id == SITE)
    group = msgspec.structs.replace(
        site.rig_groups[0], hardware="luxos", rigs=3, addresses=("10.0.0.1", "10.0.0.2", "10.0.0.3")
    )
    return msgspec.structs.replace(site, rig_groups=(group,))


def sweeps(folder: Path, site: Site, now: Any) -> None:
    """Five minutes, a sweep each half minute: one mines, one falls silent, the third was never heard."""

    async def story() -> None:
        history = RawHistory(folder / "sites" / site.id / "raw" / site.rig_groups[0].id)
        for n in range(10):
            at = now - timedelta(seconds=30 * (10 - n))
            flags = HEARD if n < 5 else 0
            rows = [RawRow("10.0.0.1", 3500.0, 200.0, 61.0, HEARD), RawRow("10.0.0.2", 3400.0, 100.0, 55.0, flags)]
            history.write(at, rows)
        await history.close()

    asyncio.run(story())


def rows_of(told: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row[1]: dict(zip(COLUMNS, row, strict=True)) for row in told["rows"]}


def test_each_rig_is_a_row_also_one_that_was_never_heard(fleet: Fleet, world: ModuleType, tmp_path: Path) -> None:
    site = site_of(fleet)
    sweeps(tmp_path, site, world.NOW)
    told = table((site,), tmp_path, world.NOW)
    rows = rows_of(told)
    assert (rows["10.0.0.1"]["state"], rows["10.0.0.1"]["ths"], rows["10.0.0.1"]["j_th"]) == ("mining", 200.0, 17.5)
    assert (rows["10.0.0.2"]["state"], rows["10.0.0.2"]["heard_share"]) == ("silent", 0.5)
    never = rows["10.0.0.3"]
    assert (never["state"], never["ths"], never["watts"]) == ("never heard", None, None)
    assert told["elsewhere"] == []


@pytest.mark.parametrize(
    ("flags", "state"),
    [(HEARD | ASLEEP, "asleep"), (HEARD | DISOBEYS | ASLEEP, "disobeys"), (HEARD, "mining"), (0, "silent")],
)
def test_a_rig_is_what_its_last_sample_says(
    fleet: Fleet, world: ModuleType, tmp_path: Path, flags: int, state: str
) -> None:
    site = site_of(fleet)
    raw = tmp_path / "sites" / site.id / "raw" / site.rig_groups[0].id

    async def story() -> None:
        history = RawHistory(raw)
        history.write(world.NOW - timedelta(seconds=20), [RawRow("10.0.0.1", 1.0, 1.0, None, flags)])
        await history.close()

    asyncio.run(story())
    assert rows_of(table((site,), tmp_path, world.NOW))["10.0.0.1"]["state"] == state


def test_a_site_that_runs_elsewhere_is_named_and_a_modelled_one_counted(fleet: Fleet, world: ModuleType) -> None:
    told = table(fleet.sites[:3], None, world.NOW)
    assert told["rows"] == []
    assert told["modelled"] == sum(g.rigs for s in fleet.sites[:3] for g in s.rig_groups if g.hardware == "modelled")
    site = site_of(fleet)
    bare = msgspec.structs.replace(site.rig_groups[0], addresses=())
    assert table((msgspec.structs.replace(site, rig_groups=(bare,)),), None, world.NOW)["elsewhere"] == [SITE]


def test_one_rig_has_its_history_in_parts_of_the_span(fleet: Fleet, world: ModuleType, tmp_path: Path) -> None:
    site = site_of(fleet)
    sweeps(tmp_path, site, world.NOW)
    told = rig_view(site, tmp_path, "10.0.0.2", timedelta(hours=1), world.NOW)
    assert told is not None
    assert [point[1] for point in told["points"]] == [100.0] * 5 + [None] * 5
    assert [point[4] for point in told["points"]] == [1.0] * 5 + [0.0] * 5
    assert rig_view(site, tmp_path, "10.9.9.9", timedelta(hours=1), world.NOW) is None
    never = rig_view(site, tmp_path, "10.0.0.3", timedelta(hours=1), world.NOW)
    assert (never or {})["points"] == []


@pytest.fixture
def advised(fleet: Fleet, store: Store, core: Core, world: ModuleType) -> Iterator[TestClient]:
    """The same fleet, every site asking first."""
    sites = tuple(msgspec.structs.replace(site, mode="advise") for site in fleet.sites)
    asking = msgspec.structs.replace(fleet, sites=sites)
    app = make_app(store, asking, SimClock(world.NOW), link=core.link, shown=Shown(data=None))
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        catch_up(client)
        yield client


def test_plans_that_need_somebody_are_confirmed_together_or_not_at_all(advised: TestClient, core: Core) -> None:
    view = advised.get("/api/overview").json()
    lines = [line for line in view["attention"] if line["what"] == "needs somebody"]
    assert len(lines) > 3
    plans = [{"site_id": s["id"], "plan_seq": s["plan_seq"]} for s in view["sites"][:3]]
    stale = [*plans[:2], {**plans[2], "plan_seq": 1}]
    said = advised.post("/api/confirm/all", json={"plans": stale, "by": "Mara"}, headers=WRITES)
    assert (said.status_code, "newer plan" in said.text) == (400, True)
    assert core.taken == []
    assert advised.post("/api/confirm/all", json={"plans": [], "by": "Mara"}, headers=WRITES).status_code == 400
    assert advised.post("/api/confirm/all", json={"plans": plans, "by": "Mara"}, headers=WRITES).status_code == 200
    assert [a.target for a in core.taken if isinstance(a, Action)] == [one["site_id"] for one in plans]


def test_the_observe_report_of_the_page_is_the_commands(client: TestClient) -> None:
    told = client.get("/api/observed?days=2").json()
    assert set(told) == {"assumes", "sites", "days"}
    assert {day["site_id"] for day in told["days"]} <= set(told["sites"])
    assert client.get("/api/observed?days=0").status_code == 400
    assert client.get("/api/rigs/na-ca-01/x?span=2y").status_code == 400
    assert client.get("/api/rigs/na-ca-01/x").status_code == 404
    assert client.get("/api/rigs/nowhere/x").status_code == 404


@pytest.fixture
def rigged(fleet: Fleet, store: Store, core: Core, world: ModuleType, tmp_path: Path) -> Iterator[TestClient]:
    """The same fleet with three real rigs at one site that is sent what is said, and another that only observes."""
    site = msgspec.structs.replace(site_of(fleet), mode="act")
    sites = tuple(
        site if one.id == SITE else msgspec.structs.replace(one, mode="observe") if one.id == "na-tx-01" else one
        for one in fleet.sites
    )
    sweeps(tmp_path, site, world.NOW)
    acting = msgspec.structs.replace(fleet, sites=sites)
    app = make_app(store, acting, SimClock(world.NOW), link=core.link, shown=Shown(data=tmp_path))
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        catch_up(client)
        yield client


def bulk_form(what: str, *addresses: str, **more: Any) -> dict[str, Any]:
    rigs = [{"unit_id": f"{SITE}.rigs-1", "address": one} for one in addresses]
    return {"what": what, "rigs": rigs, "why": "fans are to be looked at", "by": "Mara", **more}


def test_what_is_previewed_of_many_rigs_is_what_is_sent(rigged: TestClient, core: Core) -> None:
    asked = bulk_form("reboot", "10.0.0.1", "10.0.0.2", "10.0.0.2")
    told = rigged.post("/api/rigs/preview", json=asked, headers=WRITES).json()
    (unit,) = told["units"]
    assert (unit["rigs"], unit["of"], unit["against"], unit["estimated"]) == (2, 3, [], 0)
    # 3,500 and 3,400 W go away while they start.
    assert unit["would_mw"] == pytest.approx(max(0.0, unit["drawn_mw"] - 0.0069))
    assert core.taken == []
    assert rigged.post("/api/rigs/command", json=asked, headers=WRITES).status_code == 200
    said = [(one.what, one.target, one.detail, one.by) for one in core.taken if isinstance(one, Action)]
    by = "Mara (this machine, no login)"
    assert len({one.key for one in core.taken}) == len(core.taken) == 2  # none is the other told twice
    assert said == [("reboot", f"{SITE}.rigs-1", f"10.0.0.{n}", by) for n in (1, 2)]


def test_a_rig_without_watts_counts_by_its_model(rigged: TestClient) -> None:
    told = rigged.post("/api/rigs/preview", json=bulk_form("reboot", "10.0.0.3"), headers=WRITES).json()
    assert told["units"][0]["estimated"] == 1


def test_a_hold_is_of_the_groups_of_what_is_picked(rigged: TestClient, core: Core, fleet: Fleet) -> None:
    asked = bulk_form("hold", "10.0.0.1", share=0.5, minutes=30)
    told = rigged.post("/api/rigs/preview", json=asked, headers=WRITES).json()
    rated_mw = site_of(fleet).rig_groups[0].rated_w / 1e6
    assert told["would_mw"] == pytest.approx(0.5 * rated_mw)
    assert rigged.post("/api/rigs/command", json=asked, headers=WRITES).status_code == 200
    (held,) = [one for one in core.taken if isinstance(one, Override)]
    assert held.target_w == pytest.approx(0.5 * rated_mw * 1e6)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (bulk_form("reboot"), "rigs: pick 1 to"),
        (bulk_form("reboot", "10.0.0.1", why=" "), "why: say why"),
        (bulk_form("hold", "10.0.0.1", share=1.5), "share"),
        (bulk_form("hold", "10.0.0.1", share=0.5, minutes=0), "minutes: give a time"),
        (bulk_form("explode", "10.0.0.1"), "what"),
        ({**bulk_form("reboot"), "rigs": [{"unit_id": "nowhere", "address": "x"}]}, "no group of rigs 'nowhere'"),
        ({**bulk_form("reboot"), "rigs": [{"unit_id": "na-tx-01.rigs-1", "address": "x"}]}, "only observed"),
        ({**bulk_form("reboot"), "rigs": [{"unit_id": "na-tx-02.rigs-1", "address": "x"}]}, "modelled as a group"),
        (bulk_form("reboot", *(f"10.1.0.{n}" for n in range(65))), "a site takes 64 at once"),
    ],
)
def test_what_cannot_be_said_to_all_is_said_to_none(
    rigged: TestClient, core: Core, form: dict[str, Any], words: str
) -> None:
    answer = rigged.post("/api/rigs/command", json=form, headers=WRITES)
    assert (answer.status_code, words in answer.json()["error"]) == (400, True), answer.text
    assert core.taken == []

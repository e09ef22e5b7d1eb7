"""A site over weeks: the page's rows and sums are those of the records, and a command says the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from tieline import records
from tieline.cli import main
from tieline.clock import SimClock, wall_now
from tieline.console.app import Shown, make_app
from tieline.fleet import Fleet
from tieline.records import PowerBill, Sample
from tieline.store import Store
from tieline.store.rolled.kept import ROLLED_FILE, RolledStore

SITE = "na-tx-01"


@contextmanager
def console(world: ModuleType, fleet: Fleet, store: Store, folder: Path | None) -> Iterator[TestClient]:
    app = make_app(store, fleet, SimClock(world.NOW), shown=Shown(data=folder))
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        yield client


def counted(client: TestClient, days: int = 2) -> dict[str, Any]:
    for _ in range(2000):
        answer = client.get(f"/api/site/{SITE}/long?days={days}")
        if answer.status_code == 200 and answer.json()["whole"]:
            view: dict[str, Any] = answer.json()
            return view
    raise AssertionError("the console did not add its records up")


def test_rows_and_sums_are_those_of_the_records(world: ModuleType, fleet: Fleet, store: Store, tmp_path: Path) -> None:
    start = (world.NOW - timedelta(days=2)).replace(hour=0, minute=0, second=0)
    samples = [one for one in store.between(Sample, start, world.NOW, subject=SITE) if one.power_w is not None]
    ws = sum(round((one.power_w or 0) * one.length_s) for one in samples)
    bills = store.between(PowerBill, start, world.NOW, subject=SITE)
    with console(world, fleet, store, tmp_path) as client:
        view = counted(client)
        assert view["counted"] == view["last"] == store.last_seq()
        place = {name: n for n, name in enumerate(view["columns"])}
        assert view["step_s"] == 3600
        mwh = [row[place["mwh"]] for row in view["rows"]]
        assert sum(one for one in mwh if one is not None) == pytest.approx(ws / 3.6e9, rel=1e-6)
        assert view["sums"]["wh"] == ws // 3600
        cost = view["sums"]["cost_usd"]
        assert (None if cost is None else Decimal(cost)) == (sum(b.cost_usd for b in bills) if bills else None)
        assert counted(client, 90)["step_s"] == 86_400
        assert counted(client, 90)["sums"]["wh"] == view["sums"]["wh"]
    with console(world, fleet, store, tmp_path) as client:  # goes on from the file
        assert counted(client)["sums"] == view["sums"]


def test_what_cannot_be_is_refused_in_a_line(world: ModuleType, fleet: Fleet, store: Store, tmp_path: Path) -> None:
    with console(world, fleet, store, tmp_path) as client:
        for days in ("0", "-3", "x", "99999", ""):
            answer = client.get(f"/api/site/{SITE}/long?days={days}")
            assert (answer.status_code, answer.json()["error"]) == (400, "days: give 1 to 1098")
        assert client.get("/api/site/none/long").status_code == 404
    with console(world, fleet, store, None) as client:  # without a folder nothing is kept, and nothing is claimed
        view = client.get(f"/api/site/{SITE}/long").json()
        assert (view["rows"], view["whole"], view["sums"]["wh"], view["sums"]["cost_usd"]) == ([], False, None, None)


def test_the_command_gives_the_sums_and_holds_them_against_the_records(tmp_path: Path) -> None:
    at = wall_now().replace(minute=0, second=0, microsecond=0) - timedelta(days=1)
    store = Store(tmp_path / "store.db", records.encode, records.decode)
    store.append([
        Sample(at=at, known_at=at, source="t", kind="measured", site_id=SITE, unit_id="u", length_s=300, readings=1,
               power_w=12e6),
        PowerBill(at=at, known_at=at, source="t", kind="measured", site_id=SITE, length_s=300, mining_wh=1e6,
                  inference_wh=0.0, aux_wh=0.0, cost_usd=Decimal("40.00000000000000000007")),
    ])  # fmt: skip
    store.close()

    def run(*words: str) -> Any:
        return CliRunner().invoke(main, ["store", "sums", SITE, "--data-dir", str(tmp_path), *words])

    said = run("--days", "3", "--check")
    assert said.exit_code == 0, said.output
    assert "1,000,000 Wh as far as heard, power 40.00000000000000000007 USD" in said.output
    assert "The sums are those of the records." in said.output
    (row,) = [json.loads(line) for line in run("--json", "--by", "hour").output.splitlines()]
    assert (row["mwh"], row["cost_usd"], row["made_sats"], row["ehs"]) == (1.0, "40.00000000000000000007", None, None)
    assert run("--csv").output.startswith("at,mwh,heard")
    kept = RolledStore(tmp_path / ROLLED_FILE)
    kept._db.run("UPDATE rolled SET sums = CAST(replace(sums, '3600000000', '3600000001') AS BLOB)")
    kept.close()
    wrong = run("--check")
    assert wrong.exit_code == 1
    assert "the sums are not those of the records" in wrong.output
    assert run("--check", "--rebuild").exit_code == 0
    assert CliRunner().invoke(main, ["store", "sums", "none", "--data-dir", str(tmp_path)]).exit_code == 3
    assert CliRunner().invoke(main, ["store", "sums", SITE, "--data-dir", str(tmp_path / "no")]).exit_code == 3

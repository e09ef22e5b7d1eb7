"""`tieline import rigs` and `import tenants`: a difference, then the file; the same sheet twice changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.config.test_config import SMALL

from tieline import config
from tieline.cli import main

SHEET = "IP,Miner Type,Firmware,Location\n10.0.7.1,Antminer S21,luxos,Hall A\n10.0.7.2,Antminer S21,luxos,Hall A\n"


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    (tmp_path / "rigs.csv").write_text(SHEET)
    made = run("init", tmp_path / "mine", "--rigs", tmp_path / "rigs.csv", "--interconnect-mw", "1")
    assert made.exit_code == 0, made.output
    return tmp_path / "mine" / "fleet.toml"


def bring(fleet: Path, what: str, text: str, *more: str) -> Result:
    sheet = fleet.with_name("sheet.csv")
    sheet.write_text(text)
    return run("import", what, sheet, "--config", fleet, *more)


def test_rigs_come_in_move_between_groups_and_stay(fleet: Path) -> None:
    before = fleet.read_text()
    assert "2 read, 0 new, 0 changed, 2 as before" in bring(fleet, "rigs", SHEET).output
    assert fleet.read_text() == before
    more = SHEET.replace("10.0.7.2,Antminer S21,luxos", "10.0.7.2,Antminer S21,vnish") + (
        "10.0.7.9,Antminer S21,luxos,hall-a\n10.0.8.1,Whatsminer M60S,stock,Hall B\n"
    )
    seen = bring(fleet, "rigs", more, "--dry-run")
    assert "4 read, 2 would be new, 1 changed, 1 as before" in seen.output
    assert '+  { model = "Antminer S21", firmware = "vnish", addresses = ["10.0.7.2"] },' in seen.output
    assert fleet.read_text() == before
    assert bring(fleet, "rigs", more).exit_code == 0
    sites = {site.id: site for site in config.load(fleet).fleet.sites}
    assert [(g.firmware, g.addresses) for g in sites["hall-a"].rig_groups] == [
        ("luxos", ("10.0.7.1", "10.0.7.9")),
        ("vnish", ("10.0.7.2",)),
    ]
    assert sites["hall-b"].mode == "observe"
    assert "# Made by `tieline init`" in fleet.read_text()
    again = json.loads(bring(fleet, "rigs", more, "--json").output)
    assert (again["new"], again["changed"], again["as_before"], again["difference"]) == (0, 0, 4, [])


def test_a_group_that_would_be_empty_before_others_is_refused(fleet: Path) -> None:
    bring(fleet, "rigs", SHEET + "10.0.7.3,Antminer S19 XP,stock,Hall A\n")
    before = fleet.read_text()
    said = bring(fleet, "rigs", SHEET.replace("luxos", "vnish"))
    assert said.exit_code == 2
    assert "no rig would be left in its group 1" in said.output
    assert fleet.read_text() == before


def test_tenants_come_in_and_change_only_what_a_cell_says(fleet: Path) -> None:
    sheet = "Customer;Budget;requests_per_minute\nacme;1.250,50;600\nzeta;;\n"
    maps = ("--map", "Customer=tenant", "--map", "Budget=budget_usd_per_month")
    assert "2 read, 2 new, 0 changed, 0 as before" in bring(fleet, "tenants", sheet, *maps).output
    acme, zeta = config.load(fleet).tenants
    assert (acme.id, str(acme.budget_usd_per_month), acme.requests_per_minute) == ("acme", "1250.5", 600)
    assert (zeta.name, zeta.budget_usd_per_month) == ("zeta", None)
    assert "0 new, 0 changed, 2 as before" in bring(fleet, "tenants", sheet, *maps).output
    assert "1 changed, 1 as before" in bring(fleet, "tenants", sheet.replace("600", "900"), *maps).output
    assert config.load(fleet).tenants[0].requests_per_minute == 900


@pytest.mark.parametrize(
    ("what", "sheet", "says"),
    [
        ("rigs", "address,model\n10.0.7.300,Antminer S21\n", "line 2, address: '10.0.7.300' is no IPv4 address"),
        ("rigs", "address,model\n10.0.7.5,Antminer S99\n", "line 2, model: no rating of 'Antminer S99' is known"),
        ("tenants", "tenant\n\n", "no tenants"),
        ("tenants", "tenant,requests_per_minute\nacme,1.5\n", "line 2, requests_per_minute: '1.5' is no whole number"),
        ("tenants", "tenant,budget_usd_per_month\nacme,-5\n", "line 2, budget_usd_per_month: -5 is below zero"),
        ("tenants", "tenant\nacme\nacme\n", "line 3, tenant: 'acme' stands in line 2 already"),
        ("tenants", "tenant\nnot an id!\n", "would no longer be right"),
    ],
)
def test_a_sheet_with_a_mistake_changes_nothing(fleet: Path, what: str, sheet: str, says: str) -> None:
    before = fleet.read_text()
    said = bring(fleet, what, sheet)
    assert (said.exit_code, fleet.read_text()) == (2, before)
    assert says in said.output


def test_without_a_file_it_says_which_to_name(tmp_path: Path) -> None:
    (tmp_path / "rigs.csv").write_text(SHEET)
    said = run("import", "rigs", tmp_path / "rigs.csv", "--data-dir", tmp_path)
    assert said.exit_code == 2
    assert "--config fleet.toml" in said.output
    assert run("import", "rigs", tmp_path / "rigs.csv", "--config", tmp_path / "none.toml").exit_code == 3
    assert SMALL  # the tests' own small fleet is written by hand: rigs of it can be brought in too
    (tmp_path / "small.toml").write_text(SMALL)
    assert run("import", "rigs", tmp_path / "rigs.csv", "--config", tmp_path / "small.toml").exit_code == 0

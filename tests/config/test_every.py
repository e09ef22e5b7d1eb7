"""All mistakes of a file at once, each with its line and the site's name; what only follows from one is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.config.test_config import ONE_SITE

from tieline import config
from tieline.cli import main

SITE = """
[[site]]
id = "{id}"
name = "{id}"
region = "r"
lat = {lat}
lon = -102.0
interconnect_mw = {mw}
contract = {{ basis = "{basis}", {price} }}
rigs = [{{ model = "{model}", count = 100 }}, {{ model = "Antminer S21", count = 2, firmware = "{firmware}" }}]
"""
RIGHT = {"id": "a", "lat": 31.0, "mw": 10, "basis": "fixed", "price": "fixed_usd_per_mwh = 40.0",
         "model": "Antminer S21", "firmware": "luxos"}  # fmt: skip


def site(**wrong: object) -> str:
    return SITE.format(**{**RIGHT, **wrong})


def mistakes(text: str) -> list[tuple[int | None, str]]:
    with pytest.raises(config.ConfigError) as refused:
        config.loads('[fleet]\nname = "f"\n' + text, "fleet.toml")
    assert str(refused.value).count("\n") == len(refused.value.more)
    return [(one.line, one.field) for one in (refused.value, *refused.value.more)]


def test_every_mistake_of_two_sites_is_told_with_the_site_s_name() -> None:
    wrong = {"lat": 100, "mw": 0, "model": "Antminer S99", "firmware": "luxxos", "basis": "spot",
             "price": 'market = "ERCOT_HB_WSET"'}  # fmt: skip
    text = site(id="hall-a", **wrong) + site(id="hall-b", mw='"ten"')
    assert mistakes(text) == [
        (8, "site 'hall-a' lat"),
        (10, "site 'hall-a' interconnect_mw"),
        (11, "site 'hall-a' market"),
        (12, "site 'hall-a' model"),
        (12, "site 'hall-a' firmware"),
        (20, "site 'hall-b' interconnect_mw"),
    ]


def test_what_follows_from_a_mistake_is_not_told() -> None:
    model = '[[model]]\nname = 7\nengine = "llama.cpp"\npath = "selftest"\n'
    tenant = '[[tenant]]\nid = "t t"\nname = "T"\n'
    rental = '[[rental]]\ntenant = "t"\nmodel = "m"\nreplicas = 1\nusd_per_replica_hour = "1"\n'
    rental += "since = 2026-01-01T00:00:00Z\nuntil = 2027-01-01T00:00:00Z\n"
    assert [field for _, field in mistakes(site() + model + tenant + rental)] == ["model[1].name", "tenant[1].id"]
    assert mistakes(site(id="A b")) == [(5, "site 'A b' id")]


def test_the_only_site_may_be_wrong_and_sections_beside_it() -> None:
    text = site(lat='"north"') + "[dispatch]\ninterval_s = 7\nvalid = 3\n[pool]\nfee = 7\n"
    assert [field for _, field in mistakes(text)] == [
        "site 'a' lat", "dispatch.interval_s", "dispatch.valid", "pool.fee",
    ]  # fmt: skip
    assert mistakes("") == [(1, "fleet")]


def test_a_file_with_no_end_of_mistakes_has_twenty_lines() -> None:
    assert len(mistakes("".join(site(id=f"s{n}", lat=100) for n in range(60)))) == 20


@pytest.mark.parametrize("mw", [5_001, 12_000, 99_999])
def test_kilowatts_of_a_connection_are_no_megawatts(mw: int) -> None:
    with pytest.raises(config.ConfigError, match="these may be kilowatts"):
        config.loads(ONE_SITE.replace("interconnect_mw = 10", f"interconnect_mw = {mw}"))


def test_the_command_tells_all_of_them(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text('[fleet]\nname = "f"\n' + site(lat=100, mw=0))
    said = CliRunner().invoke(main, ["config", "check", str(file)])
    assert (said.exit_code, said.output.count("fleet.toml:")) == (1, 2)
    told = CliRunner().invoke(main, ["config", "check", str(file), "--json"])
    assert told.exit_code == 1
    assert [one["field"] for one in json.loads(told.output)["more"]] == ["site 'a' interconnect_mw"]

"""A first configuration: from the sheets that people have, from a network of rigs, and from rubbish."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from tieline import config as configuration
from tieline.app import beginning
from tieline.app.beginning import FoundRig, Ground, address_spans, file_text, read_rigs, scan
from tieline.books.treasury.sheets import MOST_PROBLEMS, SheetError
from tieline.cli.init import init
from tieline.fleet.models import RIG_MODELS
from tieline.sim.rigs.server import FakeRigs

SHEET = (
    "address,model,firmware\n10.0.7.1,Antminer S21,luxos\n10.0.7.2,Antminer S21,luxos\n10.0.7.4,Antminer S19 XP,stock\n"
)


def test_a_sheet_becomes_a_file_that_the_check_takes_and_that_only_observes() -> None:
    text = file_text("Mine", read_rigs(SHEET, {}, "Hall A"), Ground(31.5, -102.1, 12.0, 48.0))
    config = configuration.loads(text)
    (site,) = config.fleet.sites
    assert (site.id, site.name, site.mode, site.invented) == ("hall-a", "Hall A", "observe", False)
    assert [(g.model, g.firmware, g.addresses) for g in site.rig_groups] == [
        ("Antminer S21", "luxos", ("10.0.7.1", "10.0.7.2")),
        ("Antminer S19 XP", "stock", ("10.0.7.4",)),
    ]
    assert config.pool.simulated is False
    assert text.count("ASSUMED:") == 1  # the region alone


def test_what_nobody_gave_is_marked() -> None:
    text = file_text("Mine", read_rigs(SHEET, {}, "Hall A"), Ground())
    assert {line.split("=")[0].strip() for line in text.splitlines() if "ASSUMED:" in line} == {
        "region", "lat", "lon", "interconnect_mw", "contract",
    }  # fmt: skip
    assert "9.9" not in text  # 9.9 kW is written as kW, the limit in MW
    assert configuration.loads(text).fleet.sites[0].interconnect.limit_w == pytest.approx(0.1e6)


@pytest.mark.parametrize(
    "sheet",
    [
        "﻿Miner IP;Type;Location;Power (kW)\n10.0.7.1;Antminer S21 (200T);Hall A;3,5\n",
        "IP\tMiner Type\tFacility\n10.0.7.1\tbitmain antminer s21\tHall A\n",
        'ip,"model",site,watts\n10.0.7.1,S21,Hall A,"3,500"\n',
        "\r\nIP Address,Hardware,Building\r\n10.0.7.1,ANTMINER_S21,Hall A\r\n",
    ],
)
def test_sheets_as_people_have_them(sheet: str) -> None:
    assert read_rigs(sheet, {}, "x") == [FoundRig("10.0.7.1", "Antminer S21", "Hall A")]


def test_a_column_is_mapped_by_hand() -> None:
    sheet = "box,what,where\n10.0.7.1,S21,Hall A\n"
    found = read_rigs(sheet, {"box": "address", "what": "model", "where": "site"}, "x")
    assert found == [FoundRig("10.0.7.1", "Antminer S21", "Hall A")]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            "10.0.7.1,Antminer S21,stock,3500\n10.0.7.1,Antminer S21,stock,3500",
            "line 3, address: 10.0.7.1 stands in line 2",
        ),
        ("10.0.7.1,Antminer S99,stock,3500", "line 2, model: no rating of 'Antminer S99' is known; did you mean"),
        ("10.0.7.1,Antminer S21,luxxos,3500", "line 2, firmware: 'luxxos' is not known; did you mean luxos"),
        ("10.0.7.1,Antminer S21,stock,3.5", "line 2, watts: 3.5 is no power of one Antminer S21 (3,500 W); head the"),
        ("10.0.7.300,Antminer S21,stock,3500", "line 2, address: '10.0.7.300' is no IPv4 address"),
        ("fe80::1,Antminer S21,stock,3500", "line 2, address: 'fe80::1' is no IPv4 address"),
        (",Antminer S21,stock,3500", "line 2, address: is empty"),
        ("10.0.7.1,,stock,3500", "line 2, model: is empty"),
        ("10.0.7.1,Antminer S21,stock,lots", "line 2, watts: 'lots' is no number"),
    ],
)
def test_what_is_wrong_with_a_row_is_said_with_its_line_and_column(row: str, said: str) -> None:
    with pytest.raises(SheetError) as refused:
        read_rigs(f"address,model,firmware,watts\n{row}\n", {}, "x")
    assert said in str(refused.value)


def test_all_mistakes_are_told_at_once_up_to_a_bound() -> None:
    rows = "".join(f"10.0.7.{n},Nothing,stock,3500\n" for n in range(1, 200))
    with pytest.raises(SheetError) as refused:
        read_rigs(f"address,model,firmware,watts\n{rows}", {}, "x")
    assert str(refused.value).count("\n") == MOST_PROBLEMS
    assert str(refused.value).endswith("and more; mend these first")


@pytest.mark.parametrize("name", ['a"b', "a\\b", "<script>", "Ünïcode", "a'''b"])
def test_a_name_of_any_kind_gives_a_file_that_reads_back(name: str) -> None:
    sites = [FoundRig("10.0.7.1", "Antminer S21", f"x {name}")]
    config = configuration.loads(file_text(name, sites, Ground()))
    assert config.fleet.name == name
    assert config.fleet.sites[0].name == f"x {name}"


def test_two_sites_that_would_share_an_id_are_named() -> None:
    rigs = [FoundRig("10.0.7.1", "Antminer S21", "Hall A"), FoundRig("10.0.7.2", "Antminer S21", "hall-a")]
    with pytest.raises(SheetError, match="'hall-a'"):
        file_text("x", rigs, Ground())


def test_neighbours_become_a_span_within_their_last_number() -> None:
    assert address_spans(["10.0.7.2", "10.0.7.1", "10.0.7.9"]) == ["10.0.7.1-2", "10.0.7.9"]
    assert address_spans(["10.0.7.254", "10.0.7.255", "10.0.8.0"]) == ["10.0.7.254-255", "10.0.8.0"]


def test_ten_thousand_rows_take_seconds() -> None:
    models = random.Random(1).choices(list(RIG_MODELS), k=10_000)
    rows = "".join(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255},{m}\n" for n, m in enumerate(models, 256))
    air = {name for name, rig in RIG_MODELS.items() if rig.cooling == "air"}
    began = time.process_time()
    found = [rig for rig in read_rigs(f"address,model\n{rows}", {}, "Hall") if rig.model in air]
    text = file_text("Large", found, Ground(interconnect_mw=500.0))
    assert time.process_time() - began < 5.0
    assert text.count("model = ") == len({rig.model for rig in found})


def test_a_network_is_asked_who_answers() -> None:
    async def story() -> tuple[list[FoundRig], list[str]]:
        lux = FakeRigs(["127.0.91.1", "127.0.91.2"], RIG_MODELS["Antminer S21"], firmware="luxos")
        if await lux.start() < 2:
            pytest.skip(f"no loopback addresses of our own here: {lux.problem}")
        try:
            return await scan(beginning.scanned_addresses("127.0.91.0/29"), "Hall A")
        finally:
            await lux.stop()

    found, unknown = asyncio.run(story())
    assert [(rig.address, rig.firmware) for rig in found] == [("127.0.91.1", "luxos"), ("127.0.91.2", "luxos")]
    assert unknown == []


def test_a_scan_is_bounded() -> None:
    with pytest.raises(SheetError, match="at most 1,024 at a time"):
        beginning.scanned_addresses("10.0.0.0/8")
    with pytest.raises(SheetError, match="--from-scan ten"):
        beginning.scanned_addresses("ten")


def test_the_command_writes_once_and_prints_what_to_do(tmp_path: Path) -> None:
    sheet = tmp_path / "rigs.csv"
    sheet.write_text(SHEET)
    runner = CliRunner()
    done = runner.invoke(init, [str(tmp_path / "mine"), "--rigs", str(sheet)])
    assert done.exit_code == 0, done.output
    assert "3 rigs; 5 figures are assumed" in done.output
    again = runner.invoke(init, [str(tmp_path / "mine"), "--rigs", str(sheet)])
    assert again.exit_code == 1
    assert "is there already" in again.output
    nothing = runner.invoke(init, [str(tmp_path / "other")])
    assert "give --rigs FILE.csv or --from-scan" in nothing.output
    assert not (tmp_path / "other").exists()

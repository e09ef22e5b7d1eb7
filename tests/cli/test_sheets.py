"""Sheets as people have them: workbooks and TOML beside CSV, in every delimiter; and what cannot be meant is named."""

from __future__ import annotations

import zipfile
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.cli.workbooks import workbook

from tieline import config
from tieline.cli import init as init_module
from tieline.cli import main

RIGS = [["IP", "Miner Type", "Firmware", "Power (kW)"], ["10.0.7.1", "Antminer S21", "luxos", 3.5], [],
        ["10.0.7.2", "Antminer S21", "luxos", 3.5]]  # fmt: skip
RIGS_TOML = """
[[rig]]
address = "10.0.7.1"
model = "Antminer S21"
firmware = "luxos"

[[rig]]
address = "10.0.7.2"
model = "Antminer S21"
firmware = "luxos"
watts = 3500
"""
COINS = [["date", "place", "btc", "cost_usd"], [date(2025, 6, 1), "Treasury", 0.1 + 0.2, 160000000],
         ["2025-06-01", "Vault", 5000, 300000000]]  # fmt: skip


def run(*words: object, **more: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["xlsx", "toml"])
def test_a_first_file_comes_from_a_workbook_and_from_toml(kind: str, tmp_path: Path) -> None:
    sheet = tmp_path / f"rigs.{kind}"
    if kind == "xlsx":
        workbook(sheet, {"notes": [], "Inventory": RIGS})
    else:
        sheet.write_text(RIGS_TOML)
    made = run("init", tmp_path / "mine", "--rigs", sheet, "--interconnect-mw", "1")
    assert made.exit_code == 0, made.output
    (site,) = config.load(tmp_path / "mine" / "fleet.toml").fleet.sites
    assert [(g.model, g.firmware, g.addresses) for g in site.rig_groups] == [
        ("Antminer S21", "luxos", ("10.0.7.1", "10.0.7.2"))
    ]
    again = run("import", "rigs", sheet, "--config", tmp_path / "mine" / "fleet.toml")
    assert "2 read, 0 new, 0 changed, 2 as before" in again.output


def test_coins_come_from_a_workbook_twice_and_change_nothing(tmp_path: Path) -> None:
    book = workbook(tmp_path / "book.xlsx", {"Coins": COINS, "Loans": [["loan"], ["A"]]})
    data = ("--data-dir", tmp_path / "data")
    first = run("import", "coins", book, *data)
    assert "2 records read, 2 recorded, 0 as before" in first.output, first.output
    assert "2 records read, 0 recorded, 2 as before" in run("import", "coins", book, *data).output
    told = run("treasury", "ladder", "--price", "68524", *data)
    assert "5,000.3 BTC at 68,524 USD" in told.output  # a spreadsheet's 0.30000000000000004 is 0.3
    beside = run("treasury", "ladder", "--coins", book, "--price", "68524", "--data-dir", tmp_path / "none")
    assert "5,000.3 BTC at 68,524 USD" in beside.output


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([*RIGS, ["10.0.7.1", "Antminer S21", "luxos", 3.5]], "line 5, address: 10.0.7.1 stands in line 2 already"),
        ([*RIGS, ["10.0.7.9", "Antminer S21", "luxos", 3500]], "line 5, kilowatts: 3500 is no power of one Antminer"),
        ([*RIGS, ["10.0.7.9", "Antminer S21", "luxos", 3.5, "x"]], "line 5: a cell stands under no column"),
        ([["a", "b"], [1, 2]], "no column 'address' among: a, b; name it with --map"),
    ],
)
def test_a_workbooks_mistake_is_named_by_its_line(rows: list[list[object]], says: str, tmp_path: Path) -> None:
    sheet = workbook(tmp_path / "rigs.xlsx", {"Rigs": rows})
    said = run("init", tmp_path / "mine", "--rigs", sheet)
    assert said.exit_code == 2
    assert f"rigs.xlsx: {says}" in said.output
    assert not (tmp_path / "mine").exists()


def test_what_is_no_workbook_or_would_fill_the_memory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    far = '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    workbook(tmp_path / "far.xlsx", {"Rigs": RIGS}, far)
    workbook(tmp_path / "two.xlsx", {"Hall A": RIGS, "Hall B": RIGS})
    workbook(tmp_path / "none.xlsx", {"Rigs": []})
    (tmp_path / "text.xlsx").write_text("address,model\n")
    (tmp_path / "old.xls").write_bytes(b"\xd0\xcf\x11\xe0")
    with zipfile.ZipFile(tmp_path / "bomb.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b" " * (257 * 2**20))
    for name, says in (
        ("far.xlsx", "its cells reach to line 1,048,576 and column 16,384; delete what stands far outside"),
        ("two.xlsx", "it has the sheets Hall A, Hall B; call the one that is meant 'rigs'"),
        ("none.xlsx", "the workbook is empty"),
        ("text.xlsx", "it is no workbook of Excel's"),
        ("old.xls", "a .xls file is not read; save it as .xlsx or CSV"),
        ("bomb.xlsx", "it unpacks to 257 MiB"),
    ):
        said = run("init", tmp_path / "mine", "--rigs", tmp_path / name)
        assert (said.exit_code, says in said.output) == (2, True), said.output
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[rig]]\naddress = 1\n", "no column 'model' among: address"),
        ("a = 1\n", "it has a at its top; give one list of tables, such as [[rig]]"),
        ("", "it has nothing at its top"),
        ("[[rig]]\naddress = ['10.0.7.1']\nmodel = 'S21'\n", "line 1, address: is a list or a table"),
        (RIGS_TOML + "[[rig]]\naddress = '10.0.7.300'\nmodel = 'S21'\n", "line 12, address: '10.0.7.300' is no IPv4"),
        ("rig = [1, 2]\n", "line 1: 1 is no table"),
        ("[[rig]\n", "at line 1"),
    ],
)
def test_a_mistake_in_toml_is_named(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "rigs.toml").write_text(text)
    said = run("init", tmp_path / "mine", "--rigs", tmp_path / "rigs.toml")
    assert (said.exit_code, says in said.output) == (2, True), said.output


@pytest.mark.parametrize(
    ("sheet", "says"),
    [
        ("address|model\n10.0.7.1|Antminer S21\n", None),
        ("address,model\n10.0.7.1;Antminer S21\n", "line 2 is parted by ';' and the first line by ','"),
        ("address:model\n10.0.7.1:Antminer S21\n", "no column 'address' among: address:model"),
        ("address,model,power (MW)\n10.0.7.1,Antminer S21,3.5\n", "line 2, megawatts: 3.5 is no power of one"),
        ("address,model,power (MW)\n10.0.7.1,Antminer S21,0.0035\n", None),
        ("\ufeffaddress;model;power (kW)\r\n10.0.7.1;Antminer S21;3,5\r\n", None),
    ],
)
def test_delimiters_and_units_are_told_apart(sheet: str, says: str | None, tmp_path: Path) -> None:
    (tmp_path / "rigs.csv").write_text(sheet, newline="")
    said = run("init", tmp_path / "mine", "--rigs", tmp_path / "rigs.csv")
    assert (said.exit_code, (tmp_path / "mine").exists()) == ((0, True) if says is None else (2, False)), said.output
    assert says is None or says in said.output


def test_at_a_terminal_it_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rigs.toml").write_text(RIGS_TOML)
    monkeypatch.setattr(init_module, "at_a_terminal", lambda: True)
    asked = run("init", tmp_path / "mine", input=f"{tmp_path / 'rigs.toml'}\n31.5\nfar\n-102.1\n\n48\n")
    assert asked.exit_code == 0, asked.output
    assert "'far' is not a valid float" in asked.output  # and it is asked again
    assert "2 rigs; 2 figures are assumed" in asked.output  # the region, and the connection that nobody gave
    (site,) = config.load(tmp_path / "mine" / "fleet.toml").fleet.sites
    assert (site.lat, site.lon, site.contract.fixed_usd_per_mwh) == (31.5, -102.1, 48.0)
    nothing = run("init", tmp_path / "other", input="nowhere\n\n\n\n\n")
    assert (nothing.exit_code, "there is no file nowhere" in nothing.output) == (2, True)


def test_every_mistake_of_a_sheet_is_told_and_nothing_is_recorded(tmp_path: Path) -> None:
    sheets = {
        "coins": "date,btc,cost_usd\nyesterday,1,5\n2025-01-01,1,5\n2025-01-02,-1,5\n",
        "loans": "loan,debt,pledged_btc\nA,x,1\nB,1,1\nC,1,-1\n",
        "payouts": "date,btc,price_usd\n2025-01-01,x,5\n2025-01-01,1,5\n2025-01-02,1,\n",
        "rates": "date,reference,rate\n2025-01-01,SOFR,high\n2025-01-02,SOFR,4 %\n2025-01-03,SOFR,400 %\n",
        "tenants": "tenant,requests_per_minute\na,1.5\nb,2\nc,-1\n",
    }
    (tmp_path / "fleet.toml").write_text(config.example_text())
    for what, text in sheets.items():
        (tmp_path / "sheet.csv").write_text(text)
        where = ("--config", tmp_path / "fleet.toml") if what == "tenants" else ("--data-dir", tmp_path / "data")
        said = run("import", what, tmp_path / "sheet.csv", *where)
        assert (said.exit_code, "line 2" in said.output, "line 4" in said.output) == (2, True, True), said.output
        assert "line 3" not in said.output
    assert not (tmp_path / "data" / "store.db").exists()
    assert (tmp_path / "fleet.toml").read_text() == config.example_text()


def test_a_loan_without_a_rate_has_a_range_or_nothing_and_never_a_guess(tmp_path: Path) -> None:
    head = "loan,debt,pledged_btc,rate,call_ltv\n"
    coins = tmp_path / "coins.csv"
    coins.write_text("date,btc,cost_usd\n2025-01-01,10,500000\n")
    loans = tmp_path / "loans.csv"
    for rate, says in (("", "its rate is not known"), ("8-9 %", "its rate is only known within bounds"), ("8 %", "")):
        loans.write_text(f"{head}A,100000,5,{rate},70-80 %\n")
        told = run("treasury", "ladder", "--coins", coins, "--loans", loans, "--price", "60000", "--data-dir", tmp_path)
        assert told.exit_code == 0, told.output
        assert ("rate" in told.output) == bool(says)
        assert says in told.output
        assert "at 25,000.00 to 28,571.43 USD" in told.output

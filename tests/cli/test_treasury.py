"""From two spreadsheets to the what-if, as a treasurer types it; and into the books, twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tieline.cli import main

# As a German spreadsheet saves it: a byte-order mark, semicolons, decimal commas, thousands with points.
COINS = "﻿Date;BTC;Cost USD;Wallet\n2024-11-30;363,9;30.000.000,00;Cobo\n2025-06-30;7110,7;600.000.000,00;Cobo\n"
LOANS = (
    "loan,lender,debt,pledged_btc,initial_ltv,call_ltv,liquidation_ltv,place\n"
    'A1,Lender,"250,000,000",5000,60 %,0.75,85%,Cobo\n'
)


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args])


@pytest.fixture
def sheets(tmp_path: Path) -> tuple[Path, Path]:
    coins, loans = tmp_path / "coins.csv", tmp_path / "loans.csv"
    coins.write_text(COINS)
    loans.write_text(LOANS)
    return coins, loans


@pytest.fixture
def books(tmp_path: Path, sheets: tuple[Path, Path]) -> Path:
    folder = tmp_path / "data"
    for what, file in zip(("coins", "loans"), sheets, strict=True):
        told = run("import", what, file, "--data-dir", folder, *(["--map", "Wallet=place"] if what == "coins" else []))
        assert told.exit_code == 0, told.output
    return folder


def test_from_two_files_and_nothing_else(sheets: tuple[Path, Path], tmp_path: Path) -> None:
    given = ["--coins", sheets[0], "--loans", sheets[1], "--map", "Wallet=place", "--data-dir", tmp_path / "none"]
    told = run("treasury", "ladder", "--price", "68524", *given)
    assert told.exit_code == 0, told.output
    assert "7,474.6 BTC at 68,524 USD: 2,474.6 free, 5,000 pledged; debt 250,000,000.00" in told.output
    assert "LTV 72.97 %" in told.output
    assert "66,666.67" in told.output
    assert "58,823.53" in told.output
    assert "open: A1: whether Lender may sell or re-pledge the coins is not known" in told.output
    assert not (tmp_path / "none").exists()


def test_the_books_give_the_same_what_if(books: Path) -> None:
    told = run("treasury", "what-if", "sell 4451 BTC at 68524 for USDT, repay", "--data-dir", books)
    assert told.exit_code == 0, told.output
    for figure in ("305,000,324.00 USDT", "80,430,509.60", "3,043.7 BTC releasable", "1,976.4 BTC", "no debt",
                   "55,000,324.00 USDT in hand", "3,023.6 BTC"):  # fmt: skip
        assert figure in told.output
    given = run("treasury", "what-if", "sell 4451 BTC at 68524 for USDT, repay", "--data-dir", books, "--json")
    made = json.loads(given.output)
    # 363.9 BTC cost 30 M; 4,087.1 of 7,110.7 that cost 600 M
    assert made["gains"]["fifo"] == "-69868676.24"
    assert made["debt"] == "0.00"


def test_the_same_files_twice_change_nothing_and_a_changed_row_is_a_correction(
    books: Path, sheets: tuple[Path, Path]
) -> None:
    again = run("import", "loans", sheets[1], "--data-dir", books)
    assert "3 records read, 0 recorded, 3 as before" in again.output
    sheets[1].write_text(LOANS.replace("250,000,000", "240,000,000"))
    told = run("import", "loans", sheets[1], "--data-dir", books, "--dry-run")
    assert "Liabilities:Loans:A1" in told.output
    assert "1 would be recorded, 2 as before" in told.output
    assert "250,000,000.00" in run("treasury", "ladder", "--data-dir", books, "--price", "68524").output
    assert "1 recorded" in run("import", "loans", sheets[1], "--data-dir", books).output
    assert "debt 240,000,000.00" in run("treasury", "ladder", "--data-dir", books, "--price", "68524").output


def test_a_pledge_of_coins_that_are_not_there_records_nothing(sheets: tuple[Path, Path], tmp_path: Path) -> None:
    told = run("import", "loans", sheets[1], "--data-dir", tmp_path / "data")
    assert told.exit_code == 1
    assert "nothing was recorded: pledge A1 opening: Assets:Bitcoin:Cobo holds 0.00000000 BTC" in told.output
    assert not (tmp_path / "data" / "store.db").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the sheet is empty"),
        ("date,btc\n2025-01-01,1\n", "no column 'cost_usd' among: date, btc"),
        ("date,btc,cost_usd\n2025-01-01,x,5\n", "line 2, btc: 'x' is no number"),
        ("date,btc,cost_usd\n2025-01-01,0.123456789,5\n", "line 2, btc: 0.123456789 has more than 8 decimals"),
        ("date,btc,cost_usd\n2025-01-01,-1,5\n", "line 2, btc: -1 is not above 0"),
        ("date,btc,cost_usd\n2025-01-01,1,\n", "line 2, cost_usd: is empty"),
        ("date,btc,cost_usd\n2025-01-01,1,-5\n", "line 2, cost_usd: -5 is negative"),
        ("date,btc,cost_usd\n2025-01-01,1,NaN\n", "line 2, cost_usd: 'NaN' is no number"),
        ("date,btc,cost_usd\n2025-01-01,1e999999999,5\n", "line 2, btc: '1e999999999' is out of all bounds"),
        ("date,btc,cost_usd\nyesterday,1,5\n", "line 2, date: 'yesterday' is no date"),
        ("date,btc,cost_usd\n2025-01-01,1,5,6\n", "line 2: 4 cells under 3 columns"),
        ("date,btc,cost_usd,btc\n2025-01-01,1,5,6\n", "two columns are 'btc'"),
        ('date,btc,cost_usd\n2025-01-01,"1,5\n', "save the sheet as CSV again"),
        ("date,btc,cost_usd,id\n2025-01-01,1,5,a\n2025-01-02,1,5,a\n", "id: 'a' stands twice"),
        ("date,btc,cost_usd,place\n2025-01-01,1,5,Pledged\n", "a place may not be called Pledged"),
    ],
)
def test_a_sheet_with_a_mistake_is_named_by_line_and_column_and_records_nothing(
    tmp_path: Path, text: str, says: str
) -> None:
    file = tmp_path / "coins.csv"
    file.write_text(text)
    told = run("import", "coins", file, "--data-dir", tmp_path / "data")
    assert told.exit_code == 2
    assert says in told.output
    assert "Traceback" not in told.output
    assert not (tmp_path / "data" / "store.db").exists()


def test_terms_within_bounds_and_terms_not_known(tmp_path: Path) -> None:
    loans = tmp_path / "loans.csv"
    loans.write_text("loan,debt,pledged_btc,call_ltv,rehypothecation\nA,1000000,0,70-80 %,no\nB,5,0,,no\n")
    told = run("treasury", "ladder", "--loans", loans, "--price", "100", "--data-dir", tmp_path)
    assert "nothing is owed or pledged" in told.output
    assert "B: 5.00 USD on 0 BTC, LTV not known" in told.output
    loans.write_text("loan,debt,pledged_btc,call_ltv,liquidation_ltv\nA,1,1,0.9,0.8\n")
    told = run("treasury", "ladder", "--loans", loans, "--price", "100", "--data-dir", tmp_path)
    assert "call_ltv is above liquidation_ltv" in told.output


def test_stress_plays_a_history(books: Path, tmp_path: Path) -> None:
    hourly = tmp_path / "hourly.csv"
    rows = [f"2025-01-{1 + n // 24:02}T{n % 24:02}:00Z,{100 - (n % 30)}" for n in range(24 * 20)]
    hourly.write_text("\n".join(["time,price", *rows]))
    told = run("treasury", "stress", "--data-dir", books, "--price", "68524", "--history", hourly, "--days", "2")
    assert told.exit_code == 0, told.output
    assert "A1: -10% to 61,671.60: LTV 81.07 %, called" in told.output
    assert "A1: -20% to 54,819.20: LTV 91.21 %, liquidated" in told.output
    assert "A1: call within 2 days from" in told.output
    wrong = run("treasury", "stress", "--data-dir", books, "--price", "68524", "--shock", "-100%")
    assert wrong.exit_code == 2
    assert "leaves no price" in wrong.output


def test_a_shock_that_is_no_number_is_named(books: Path) -> None:
    told = run("treasury", "stress", "--shock", "nan", "--price", "60000", "--data-dir", books)
    assert told.exit_code == 2
    assert "'nan' is no change" in told.output


def test_without_books_and_without_files_it_says_what_to_give(tmp_path: Path) -> None:
    told = run("treasury", "ladder", "--data-dir", tmp_path, "--price", "5")
    assert told.exit_code == 3
    assert "give --coins and --loans" in told.output

"""`tieline books` and `tieline update` on a folder with records that cannot be booked."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.cli.folder import T0, known, make

from tieline.cli import main
from tieline.records import Opening, Payout, Record, Trade

HOUR = timedelta(hours=1)


def pay(name: str, price: str | None, hours: int = 1) -> Payout:
    at = T0 - hours * HOUR
    return Payout(
        at=at,
        known_at=at,
        source="t",
        kind="measured",
        payout_id=name,
        pool="p",
        sats=10**8,
        span_start=at - HOUR,
        span_end=at,
        btc_usd=None if price is None else Decimal(price),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sold = Trade(
        at=T0,
        known_at=T0,
        source="t",
        kind="measured",
        trade_id="big",
        sats=5 * 10**8,
        price_usd=Decimal(1),
        fee_usd=Decimal(0),
        venue="v",
    )
    opened = Opening(
        at=T0 - 9 * HOUR, known_at=T0 - 9 * HOUR, source="t", kind="measured", opening_id="o", cash_usd=Decimal(5)
    )
    batch: list[Record] = [*known(), opened, pay("a", "60000", 2), pay("b", None), sold]
    return make(tmp_path / "data", batch)


def run(*args: str, **more: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args], **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("word", ["balances", "entries", "lots"])
def test_the_books_go_on_without_what_cannot_be_booked_and_name_it(folder: Path, word: str) -> None:
    told = run("books", word, "--data-dir", str(folder))
    assert told.exit_code == 0, told.output
    assert "unbookable: payout b has no price" in told.stderr
    assert "Assets:Bitcoin:Treasury holds 1.00000000 BTC, not 5.00000000" in told.stderr
    assert "1.00000000" in told.stdout


def test_the_list_of_what_cannot_be_booked(folder: Path) -> None:
    told = run("books", "unbookable", "--data-dir", str(folder), "--json")
    assert [row["record"].split("|")[1] for row in json.loads(told.stdout)] == ["b", "big"]


def test_the_update_is_made_and_names_what_it_leaves_out(folder: Path) -> None:
    told = run("update", "--data-dir", str(folder))
    assert told.exit_code == 0, told.output
    assert "Bitcoin produced" in told.stdout
    assert "left out: unbookable: payout b has no price" in told.stdout


def test_a_month_before_the_first_record_is_not_known_which_is_not_zero(folder: Path) -> None:
    told = run("update", "--data-dir", str(folder), "--month", "2026-07")
    assert told.exit_code == 3
    assert "month 2026-07 is not known: the first record is of 2026-08-20" in told.output


@pytest.mark.parametrize("month", ["2026-07", "2026-09"])
@pytest.mark.parametrize(
    "words", [("books", "statement"), ("books", "cost"), ("books", "emissions"), ("books", "reconcile", "--month")]
)
def test_no_report_of_a_month_of_which_nothing_is_known(folder: Path, words: tuple[str, ...], month: str) -> None:
    told = run(*words, month, "--data-dir", str(folder))
    assert told.exit_code == 3
    assert "Error: month 2026-0" in told.stderr
    assert not told.stdout

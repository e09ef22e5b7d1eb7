"""The books by hand: every kind of entry, what is refused, months that close, seals that hold, invoices by number."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.cli.folder import make, open_store

from tieline import records
from tieline.cli import main
from tieline.cli.money import keep
from tieline.fleet.peaks import shipped_rules
from tieline.ledger import COMMODITIES
from tieline.records import PowerBill, Seal, SystemLoad, Usage
from tieline.settlement.month import BEGINNING, END

NOW = datetime(2026, 9, 10, 12, 0, tzinfo=UTC)


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path / "data", [], NOW)


def add(folder: Path, what: str, *args: object) -> Result:
    told = run("books", "add", what, "--data-dir", folder, *args)
    assert told.exit_code == 0, told.output
    return told


def balances(folder: Path, *args: str) -> dict[tuple[str, str], str]:
    told = run("books", "balances", "--data-dir", folder, "--json", *args)
    assert told.exit_code == 0, told.output
    return {(row["account"], row["commodity"]): row["balance"] for row in json.loads(told.stdout)}


def filled(folder: Path) -> None:
    add(folder, "payout", "--id", "p1", "--btc", "2", "--price", "100000", "--pool", "x", "--at", "2026-08-03")
    add(folder, "sale", "--id", "s1", "--btc", "0.5", "--price", "110000", "--fee", "10", "--at", "2026-08-04")
    add(folder, "transfer", "--id", "t1", "--btc", "1", "--to", "Vault", "--fee", "0.001", "--price", "110000",
        "--at", "2026-08-05")  # fmt: skip
    add(folder, "loan", "--id", "L", "--lender", "Bank", "--amount", "40000", "--initial", "60%", "--call", "75-80 %",
        "--may-rehypothecate", "no", "--at", "2026-08-06")  # fmt: skip
    add(folder, "pledge", "--id", "g1", "--loan", "L", "--btc", "0.9", "--place", "Vault", "--at", "2026-08-06")
    add(folder, "repay", "--id", "r1", "--loan", "L", "--amount", "15000", "--at", "2026-08-07")
    add(folder, "repay", "--id", "i1", "--loan", "L", "--amount", "100", "--as", "interest", "--at", "2026-08-07")
    add(folder, "bill", "--id", "b1", "--payee", "Host", "--amount", "500", "--for", "Hosting", "--at", "2026-08-07")
    add(folder, "payment", "--id", "y1", "--party", "Host", "--amount", "200", "--at", "2026-08-08")
    add(folder, "equity", "--id", "e1", "--amount", "1000", "--status", "signed", "--at", "2026-08-08")


def test_every_kind_of_entry(folder: Path) -> None:
    filled(folder)
    assert balances(folder) == {
        ("Assets:Bitcoin:Pledged:L", "BTC"): "0.90000000",
        ("Assets:Bitcoin:Treasury", "BTC"): "0.49900000",
        ("Assets:Bitcoin:Vault", "BTC"): "0.10000000",
        # 55,000 - 10 + 40,000 - 15,000 - 100 - 200
        ("Assets:Cash", "USD"): "79690.00",
        ("Expenses:Hosting", "USD"): "500.00",
        ("Expenses:Interest", "USD"): "100.00",
        ("Expenses:NetworkFees", "USD"): "110.00",
        ("Expenses:TradingFees", "USD"): "10.00",
        ("Income:Mining", "USD"): "-200000.00",
        # 5,000 of the sale and 10 of the fee in kind
        ("Income:RealisedGain", "USD"): "-5010.00",
        ("Liabilities:Loans:L", "USD"): "-25000.00",
        ("Liabilities:Payable:Host", "USD"): "-300.00",
        ("Trading:Bitcoin:Mined", "BTC"): "-2.00000000",
        ("Trading:Bitcoin:NetworkFees", "BTC"): "0.00100000",
        ("Trading:Bitcoin:Sold", "BTC"): "0.50000000",
        ("Trading:USD", "USD"): "149900.00",
    }
    rows = json.loads(run("books", "lots", "--data-dir", folder, "--json").stdout)
    assert {(row["place"], row["lot"], row["at"]) for row in rows} == {
        (place, "p1", "2026-08-02 23:59") for place in ("Bitcoin:Pledged:L", "Bitcoin:Treasury", "Bitcoin:Vault")
    }
    add(folder, "equity", "--id", "e1", "--amount", "1000", "--status", "closed", "--at", "2026-08-09", "--amend")
    assert balances(folder)["Equity:Shares", "USD"] == "-1000.00"


def test_coins_that_the_lender_may_sell_leave_at_fair_value(folder: Path) -> None:
    add(folder, "payout", "--id", "p1", "--btc", "2", "--price", "100000", "--pool", "x", "--at", "2026-08-03")
    add(folder, "loan", "--id", "L", "--lender", "Bank", "--may-rehypothecate", "yes", "--at", "2026-08-04")
    without = run("books", "add", "pledge", "--data-dir", folder, "--id", "g", "--loan", "L", "--btc", "1")
    assert "btc_usd is missing" in without.output
    add(folder, "pledge", "--id", "g", "--loan", "L", "--btc", "1", "--price", "120000", "--at", "2026-08-05")
    held = balances(folder)
    assert held["Assets:CollateralReceivable:L", "BTC"] == "1.00000000"
    assert held["Assets:Bitcoin:Treasury", "BTC"] == "1.00000000"
    assert held["Income:RealisedGain", "USD"] == "-20000.00"
    add(folder, "pledge", "--id", "h", "--loan", "L", "--btc", "-1", "--price", "90000", "--at", "2026-08-06")
    held = balances(folder)
    assert held["Assets:Bitcoin:Treasury", "BTC"] == "2.00000000"
    assert held["Income:RealisedGain", "USD"] == "10000.00"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["sale", "--btc", "1", "--price", "5"], "Assets:Bitcoin:Treasury holds 0.00000000 BTC, not 1.00000000 BTC"),
        (["sale", "--btc", "0.123456789", "--price", "5"], "more than 8 decimals"),
        (["sale", "--btc", "NaN", "--price", "5"], "is no number"),
        (["sale", "--btc", "1", "--price", "-5"], "price_usd is -5"),
        (["payout", "--btc", "1", "--price", "5", "--pool", "x", "--at", "tomorrow"], "is no date"),
        (["payout", "--btc", "1", "--price", "5", "--pool", "x", "--at", "2026-08-03T10:00"], "of which zone it is"),
        (["payout", "--btc", "0", "--price", "5", "--pool", "x"], "sats is 0"),
        (["pledge", "--btc", "1", "--loan", "none"], "no loan 'none' is known"),
        (["repay", "--amount", "1", "--loan", "none"], "no loan 'none' is known"),
        (["loan", "--lender", "x", "--call", "much"], "call: 'much' is no number"),
        (["transfer", "--btc", "1", "--to", "Pledged"], "a place may not be called Pledged"),
        (["transfer", "--btc", "1", "--to", "Treasury"], "from_place and to_place are both"),
        (["bill", "--payee", "x", "--amount", "0", "--for", "y"], "amount_usd is 0"),
        (["payment", "--party", "a|b", "--amount", "1"], "is no name"),
    ],
)
def test_what_is_refused_is_named_and_records_nothing(folder: Path, args: list[str], says: str) -> None:
    told = run("books", "add", args[0], "--data-dir", folder, "--id", "x", *args[1:])
    assert told.exit_code != 0
    assert says in told.output
    assert "Traceback" not in told.output
    store = open_store(folder)
    assert store.last_seq() == 0
    store.close()


def test_an_id_with_other_content_is_refused_unless_it_is_said_to_be_a_correction(folder: Path) -> None:
    filled(folder)
    args = ["--id", "s1", "--btc", "0.4", "--price", "110000", "--fee", "10", "--at", "2026-08-04"]
    told = run("books", "add", "sale", "--data-dir", folder, *args)
    assert told.exit_code == 1
    assert "trade s1 is booked already with other content; add --amend" in told.output
    again = [*args[:2], "--btc", "0.5", *args[4:]]
    assert "nothing changed" in add(folder, "sale", *again).output
    assert "not recorded" in add(folder, "sale", *args, "--amend", "--dry-run").output
    add(folder, "sale", *args, "--amend")
    assert balances(folder)["Assets:Bitcoin:Treasury", "BTC"] == "0.59900000"


def test_a_closed_month_takes_nothing_and_a_late_fact_goes_into_the_open_one(folder: Path) -> None:
    filled(folder)
    assert "has not ended" in run("books", "close", "2026-09", "--data-dir", folder).output
    told = run("books", "close", "2026-08", "--data-dir", folder, "--by", "me")
    assert told.exit_code == 0, told.output
    assert "closed already" in run("books", "close", "2026-08", "--data-dir", folder).output
    late = add(
        folder, "bill", "--id", "b2", "--payee", "Host", "--amount", "70", "--for", "Hosting", "--at", "2026-08-30"
    )
    assert "2026-09-01 00:00  Host: Hosting (of 2026-08-30, learned after its month was closed)" in late.output
    fixed = add(
        folder,
        "bill",
        "--id",
        "b1",
        "--payee",
        "Host",
        "--amount",
        "450",
        "--for",
        "Hosting",
        "--at",
        "2026-08-07",
        "--amend",
    )
    assert "2026-09-01 00:00  taken back: Host: Hosting (of 2026-08-07" in fixed.output
    assert balances(folder)["Expenses:Hosting", "USD"] == "520.00"


def test_of_two_who_sell_the_same_coins_at_once_the_second_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(folder, "payout", "--id", "p1", "--btc", "1", "--price", "100000", "--pool", "x", "--at", "2026-08-03")
    sale = ("books", "add", "sale", "--data-dir", folder, "--btc", "0.7", "--price", "110000", "--id")
    record_all = keep.record_all

    def beaten(*words: Any) -> None:
        monkeypatch.setattr(keep, "record_all", record_all)
        assert run(*sale, "first").exit_code == 0
        record_all(*words)

    monkeypatch.setattr(keep, "record_all", beaten)
    told = run(*sale, "second")
    assert told.exit_code == 1
    assert "set aside, for the books changed meanwhile: " in told.output
    assert "holds 0.30000000 BTC" in told.output
    assert balances(folder)["Assets:Bitcoin:Treasury", "BTC"] == "0.30000000"
    assert "trade second" in run("books", "unbookable", "--data-dir", folder).output


def test_seals_name_the_first_entry_that_was_altered(folder: Path) -> None:
    filled(folder)
    assert run("books", "close", "2026-08", "--data-dir", folder).exit_code == 0
    add(folder, "bill", "--id", "b2", "--payee", "Host", "--amount", "70", "--for", "Hosting")
    told = run("books", "verify", "--data-dir", folder)
    assert told.exit_code == 0, told.output
    assert "10 entries close to zero; 9 are as they were sealed" in told.output
    # The same folder with one record other than it was: everything else, seals and all, is the same.
    store = open_store(folder)
    kept = [stored.record for stored in store.follow(0).items]
    store.close()
    other = make(folder.parent / "other", [], NOW)
    store = open_store(other)
    for one in kept:
        line = records.encode(one)  # type: ignore[arg-type]
        if b'"t1"' in line:
            line = line.replace(b'"to_place":"Vault"', b'"to_place":"Mine"')
        if b'"g1"' in line:
            line = line.replace(b'"place":"Vault"', b'"place":"Mine"')
        store.append([records.decode(line)])
    assert store.between(Seal, BEGINNING, END)
    store.close()
    told = run("books", "verify", "--data-dir", other)
    assert told.exit_code == 1
    assert "entry 3 was altered" in told.output
    assert "to Mine" in told.output


def test_a_policy_is_chosen_printed_and_in_the_statement(folder: Path, tmp_path: Path) -> None:
    assert "none was chosen" in run("books", "policy", "--data-dir", folder).output
    file = tmp_path / "policy.toml"
    file.write_text('company = "Ex"\nframework = "IFRS"\ntime_zone = "Asia/Dubai"\n')
    assert "not recorded" in run("books", "policy", file, "--dry-run", "--data-dir", folder).output
    told = run("books", "policy", file, "--by", "Ada", "--data-dir", folder)
    assert told.exit_code == 0, told.output
    assert "Ex: IFRS, US dollars; months and years end in Asia/Dubai" in told.output
    assert json.loads(run("books", "policy", "--json", "--data-dir", folder).output)["by"] == "Ada"
    filled(folder)
    assert run("books", "close", "2026-08", "--price", "90000", "--data-dir", folder).exit_code == 0
    assert "policy: Ex: IFRS" in run("books", "statement", "2026-08", "--data-dir", folder).output
    file.write_text('framework = "US-GAAP"\n')
    told = run("books", "policy", file, "--data-dir", folder)
    assert told.exit_code == 2
    assert "measurement: months are closed by IFRS (cost)" in told.output


def test_a_day_is_one_of_the_books_zone(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('time_zone = "America/New_York"\n')
    assert run("books", "policy", file, "--data-dir", folder).exit_code == 0
    add(folder, "bill", "--id", "b", "--payee", "H", "--amount", "5", "--for", "Rent", "--at", "2026-08-01")
    sheet = tmp_path / "coins.csv"
    sheet.write_text("date,btc,cost_usd\n2026-08-02,1,5\n2026-08-02T00:30:00+02:00,1,6\n")
    assert run("import", "coins", sheet, "--data-dir", folder).exit_code == 0
    store = open_store(folder)
    assert [one.record.at.isoformat() for one in store.follow(1).items if hasattr(one.record, "at")] == [
        "2026-08-01T04:00:00+00:00", "2026-08-02T04:00:00+00:00", "2026-08-01T22:30:00+00:00",
    ]  # fmt: skip
    store.close()
    sheet.write_text("date,btc,cost_usd\n2026-08-02T10:00,1,5\n")
    told = run("import", "coins", sheet, "--data-dir", folder)
    assert told.exit_code == 2
    assert "line 2, date: '2026-08-02T10:00' does not say of which zone it is" in told.output


def test_a_rate_that_floats_is_accrued_by_what_was_fixed_of_it(folder: Path, tmp_path: Path) -> None:
    add(folder, "loan", "--id", "F", "--lender", "Bank", "--amount", "1000000", "--reference", "SOFR", "--margin", "3%",
        "--may-rehypothecate", "no", "--at", "2026-08-01")  # fmt: skip
    ladder = ("treasury", "ladder", "--price", "90000", "--data-dir", folder)
    assert "F: what SOFR was fixed at is not known" in run(*ladder).output
    sheet = tmp_path / "rates.csv"
    sheet.write_text("date,reference,rate\n2026-07-31,SOFR,4 %\n2026-08-16,SOFR,4.4 %\n")
    assert run("import", "rates", sheet, "--data-dir", folder).exit_code == 0
    assert "2 records read, 0 recorded" in run("import", "rates", sheet, "--data-dir", folder).output
    again = run("books", "add", "rate", "--id", "SOFR", "--rate", "4.5%", "--at", "2026-08-16", "--data-dir", folder)
    assert "rate SOFR of 2026-08-16T00:00:00+00:00 is booked already" in again.output
    add(folder, "rate", "--id", "SOFR", "--rate", "4.5%", "--at", "2026-08-16", "--amend")
    assert run("books", "close", "2026-08", "--data-dir", folder).exit_code == 0
    # 1,000,000 x (7 % x 15 + 7.5 % x 16) / 365
    assert balances(folder)["Liabilities:Interest:F", "USD"] == "-6164.38"
    assert "interest of F for 2026-08 at SOFR + 3.00 %" in run("books", "entries", "--data-dir", folder).output
    late = run("books", "add", "rate", "--id", "SOFR", "--rate", "5%", "--at", "2026-08-20", "--data-dir", folder)
    # What it changes of August is booked in September: 1,000,000 x 0.5 % x 12 days / 365.
    assert late.exit_code == 0, late.output
    assert balances(folder)["Liabilities:Interest:F", "USD"] == "-6328.77"
    assert (
        "interest of F for 2026-08, SOFR at 5 % from 2026-08-20 (of 2026-08-31, learned after"
        in run("books", "entries", "--data-dir", folder).output
    )
    assert run("books", "margins", "2026-08", "--json", "--data-dir", folder).output.count("-6164.38") == 2
    add(folder, "rate", "--id", "SOFR", "--rate", "4.5%", "--at", "2026-08-20", "--amend")
    assert balances(folder)["Liabilities:Interest:F", "USD"] == "-6164.38"
    ancient = run("books", "add", "rate", "--id", "SOFR", "--rate", "5%", "--at", "2025-07-20", "--data-dir", folder)
    assert ancient.exit_code == 1
    assert "of more than 396 days before 2026-09-01" in ancient.output
    assert "open: F" not in run(*ladder).output
    assert run("books", "add", "rate", "--id", "SOFR", "--rate", "much", "--data-dir", folder).exit_code == 2


def test_peaks_that_are_over_are_booked_once_and_told_anew_with_the_bill(folder: Path) -> None:
    toml = folder / "fleet.toml"
    toml.write_text(toml.read_text().replace('market = "PJM_DOM_RT"', 'market = "PJM_DOM_RT", peak_rules = ["4CP"]'))
    july, august = datetime(2026, 7, 9, 22, tzinfo=UTC), datetime(2026, 8, 20, 21, tzinfo=UTC)
    hour = timedelta(hours=1)
    loads = [
        SystemLoad(at=at, known_at=at + hour, source="t", kind="measured", operator="ERCOT", power_w=80e9)
        for at in (july, august, NOW - hour)
    ]

    def bill(at: datetime, mwh: float, known: datetime) -> PowerBill:
        return PowerBill(
            at=at, known_at=known, source="t", kind="measured", site_id="tx-1", length_s=3600, mining_wh=mwh * 1e6,
            inference_wh=0.0, aux_wh=0.0, cost_usd=Decimal(1),
        )  # fmt: skip

    store = open_store(folder)
    store.append([*loads, bill(july, 10, july + hour), bill(august, 20, august + hour), bill(NOW - hour, 30, NOW)])
    store.close()
    peaks = ("books", "peaks", "--data-dir", folder)
    assert "2 new: not recorded" in run(*peaks, "--dry-run").output
    told = run(*peaks)
    assert told.exit_code == 0, told.output
    # 4CP bills a quarter of a year's charge for a MW drawn in each of four peaks; September's is not over.
    each = Decimal(str(shipped_rules()["4CP"].usd_per_mw_peak))
    assert Decimal(balances(folder)["Expenses:Peak charges:tx-1", "USD"]) == round(30 * each, 2)
    assert Decimal(balances(folder)["Liabilities:Payable:ERCOT", "USD"]) == round(-30 * each, 2)
    assert "0 new: booked already" in run(*peaks).output
    store = open_store(folder)
    store.append([bill(july, 12, NOW)])
    store.close()
    assert json.loads(run(*peaks, "--json").output)["new"] == 1
    assert Decimal(balances(folder)["Liabilities:Payable:ERCOT", "USD"]) == round(-32 * each, 2)


def test_a_payment_is_pending_then_posted_or_voided_and_its_cash_set_apart(folder: Path, tmp_path: Path) -> None:
    add(folder, "equity", "--id", "e", "--amount", "1000", "--status", "closed", "--at", "2026-08-01")
    add(
        folder,
        "loan",
        "--id",
        "L",
        "--lender",
        "B",
        "--amount",
        "500",
        "--may-rehypothecate",
        "no",
        "--at",
        "2026-08-01",
    )
    add(folder, "bill", "--id", "b", "--payee", "Host", "--amount", "900", "--for", "Rent", "--at", "2026-08-02")
    limits = tmp_path / "limits.toml"
    limits.write_text('[[limit]]\naccount = "Assets:Cash"\ncommodity = "USD"\nleast = 0\n')
    assert run("books", "policy", limits, "--data-dir", folder).exit_code == 0
    told = add(folder, "payment", "--id", "y", "--party", "Host", "--amount", "900", "--pending", "--at", "2026-08-03")
    assert "pending: paid to Host" in told.output
    held = balances(folder)
    assert (held["Assets:Cash:Held y", "USD"], held["Assets:Cash", "USD"]) == ("900.00", "600.00")
    assert held["Liabilities:Payable:Host", "USD"] == "-900.00"
    # What is set apart is not there for another.
    more = ("books", "add", "repay", "--data-dir", folder, "--id", "r", "--loan", "L", "--amount")
    assert "Assets:Cash would hold -100.00 USD, at least 0" in run(*more, "700").output
    assert run(*more, "500", "--pending").exit_code == 0
    assert "posted" in run("books", "add", "post", "--id", "none", "--data-dir", folder).output
    add(folder, "post", "--id", "y", "--at", "2026-08-05")
    add(folder, "void", "--id", "r")
    held = balances(folder)
    assert {a: n for (a, _), n in held.items() if "Cash" in a or "Liab" in a} == {
        "Assets:Cash": "600.00", "Liabilities:Loans:L": "-500.00",
    }  # fmt: skip
    again = run("books", "add", "post", "--id", "r", "--data-dir", folder)
    assert again.exit_code == 1
    assert "nothing of 'r' is pending" in again.output


def test_money_that_a_policy_names_is_counted_in_its_decimals(folder: Path, tmp_path: Path) -> None:
    add(folder, "payout", "--id", "p1", "--btc", "2", "--price", "100000", "--pool", "x", "--at", "2026-08-03")
    sale = ("books", "add", "sale", "--data-dir", folder, "--id", "s", "--btc", "1", "--price", "90000", "--for", "XAF",
            "--rate", "0.0016")  # fmt: skip
    assert "commodity 'XAF' is not known" in run(*sale).output
    file = tmp_path / "policy.toml"
    for text, says in (
        ('name = "USD"\nplaces = 3', "USD is known already, in 2 decimals"),
        ('name = "xa"\nplaces = 3', "is no commodity's name"),
        ('name = "XAG"\nplaces = 12', "XAG in 12 decimals; give 0 to 9"),
    ):
        file.write_text(f"[[commodity]]\n{text}\n")
        told = run("books", "policy", file, "--data-dir", folder)
        assert (told.exit_code, says in told.output) == (2, True)
    file.write_text('[[commodity]]\nname = "XAF"\nplaces = 0\n')
    try:
        assert run("books", "policy", file, "--data-dir", folder).exit_code == 0
        told = run(*sale)
        assert told.exit_code == 0, told.output
        del COMMODITIES["XAF"]  # as another process begins
        assert balances(folder)["Assets:Cash", "XAF"] == "90000"
        file.write_text('lots = "hifo"\n')
        assert "XAF is counted since an earlier policy" in run("books", "policy", file, "--data-dir", folder).output
    finally:
        COMMODITIES.pop("XAF", None)


def test_evidence_of_energy_is_entered_and_a_certificate_is_taken_once(folder: Path) -> None:
    at = datetime(2026, 8, 5, tzinfo=UTC)
    store = open_store(folder)
    bill = PowerBill(at=at, known_at=at, source="t", kind="measured", site_id="tx-1", length_s=3600, mining_wh=4e6,
                     inference_wh=0.0, aux_wh=0.0, cost_usd=Decimal(100))  # fmt: skip
    store.append([bill])
    store.close()
    year = ("--at", "2026-01-01", "--until", "2027-01-01")
    add(folder, "payout", "--id", "p1", "--btc", "0.5", "--price", "100000", "--pool", "x", "--at", "2026-08-03")
    add(folder, "evidence", "--id", "g", "--what", "grid-average", "--gco2", "400", "--year", "2025", *year)
    rec = ("--what", "certificate", "--gco2", "0", "--mwh", "3", "--registry", "ERCOT", "--serial", "7", *year)
    add(folder, "evidence", "--id", "rec", *rec)
    twice = run("books", "add", "evidence", "--data-dir", folder, "--id", "other", *rec)
    assert twice.exit_code == 1
    assert "certificate ERCOT 7 is rec already; it counts once" in twice.output
    told = run("books", "emissions", "2026-08", "--data-dir", folder).output
    assert "location-based mining: 4.000 MWh, 400.0 gCO2/kWh" in told
    assert "market-based mining: 4.000 MWh, 0.0 gCO2/kWh, 25.00 % of the energy unknown" in told
    assert "location-based per bitcoin: 3,200,000.0 g" in told
    assert "covered by certificates: 3.000 MWh" in told
    cost = run("books", "cost", "2026-08", "--data-dir", folder).output
    assert "energy                 100.00 USD   200.00 USD/BTC so far" in cost


def test_what_was_booked_is_sealed_without_closing_a_month(folder: Path) -> None:
    filled(folder)
    assert "entries, 9 of them sealed now" in run("books", "seal", "--data-dir", folder).output
    assert "entries, 0 of them sealed now" in run("books", "seal", "--data-dir", folder).output
    add(folder, "bill", "--id", "b2", "--payee", "Host", "--amount", "70", "--for", "Hosting")
    assert "entries, 1 of them sealed now" in run("books", "seal", "--data-dir", folder).output
    assert "10 are as they were sealed" in run("books", "verify", "--data-dir", folder).output


def test_the_books_as_they_were_known(folder: Path) -> None:
    filled(folder)
    assert balances(folder, "--as-known", "2026-09-01") == {}
    assert balances(folder, "--as-known", "2026-09-11") == balances(folder)


def used(n: int, nano: int, tenant: str) -> Usage:
    at = datetime(2026, 8, 5, tzinfo=UTC) + timedelta(hours=n)
    return Usage(
        at=at, known_at=at, source="gateway", kind="measured", request_id=f"r{n}", tenant=tenant, project="d",
        key_id="k", model="m", endpoint="/v1/chat/completions", status=200, prompt_tokens=3, output_tokens=7,
        cost_nano_usd=nano,
    )  # fmt: skip


def test_invoices_are_numbered_without_a_gap_and_late_usage_goes_on_the_next(folder: Path) -> None:
    store = open_store(folder)
    store.append([used(1, 10**10, "acme"), used(2, 2 * 10**9, "bird"), used(3, 5 * 10**9, "acme")])
    store.close()
    tried = run("books", "issue", "--month", "2026-08", "--data-dir", folder, "--dry-run")
    assert "2 invoices would be issued" in tried.output
    told = run("books", "issue", "--month", "2026-08", "--data-dir", folder)
    assert told.exit_code == 0, told.output
    assert [line.split()[0] for line in told.output.splitlines()[:2]] == ["2026-00001", "2026-00002"]
    assert "nothing of 2026-08 is left" in run("books", "issue", "--month", "2026-08", "--data-dir", folder).output
    store = open_store(folder)
    store.append([used(4, 10**9, "acme")])
    store.close()
    late = run("books", "issue", "--month", "2026-08", "--data-dir", folder)
    assert "2026-00003  acme" in late.output
    assert "1.00 USD" in late.output
    held = balances(folder)
    assert held["Assets:Receivable:acme", "USD"] == "16.00"
    assert held["Income:Inference", "USD"] == "-18.00"
    add(folder, "payment", "--id", "in1", "--party", "acme", "--amount", Decimal("-16"), "--settles", "invoice")
    assert ("Assets:Receivable:acme", "USD") not in balances(folder)


def test_what_is_exported_is_proved_by_another_program(folder: Path, tmp_path: Path) -> None:
    """Sums and final balances, by beancount's own checker: run as a program, never imported."""
    program = Path(sys.executable).with_name("bean-check")
    if not program.exists():
        pytest.skip("bean-check is not installed")
    filled(folder)
    add(folder, "bill", "--id", 'b "2"', "--payee", "na-tx-01: Host", "--amount", "70", "--for", "Hosting")
    add(folder, "sale", "--id", "s1", "--btc", "0.4", "--price", "110000", "--at", "2026-08-04", "--amend")
    file = tmp_path / "books.beancount"
    file.write_text(run("books", "export", "--data-dir", folder).stdout)
    proved = subprocess.run([program, file], capture_output=True, text=True, timeout=60, check=False)
    assert proved.returncode == 0, proved.stderr
    (total,) = [line for line in file.read_text().splitlines() if " balance Assets:Bitcoin:Treasury " in line]
    file.write_text(file.read_text().replace(total, total.replace("0.59900000", "0.59900001")))
    assert subprocess.run([program, file], capture_output=True, timeout=60, check=False).returncode == 1
    rows = run("books", "export", "--data-dir", folder, "--form", "csv").stdout.splitlines()
    assert rows[0].startswith("number,at,known_at,key")
    assert sum(",Assets:Cash," in row for row in rows) == 7

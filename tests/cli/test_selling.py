"""Sales that rules propose and two people decide: proposed once, approved by two, filled in parts, never beyond."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from tests.cli.folder import make, open_store
from tests.cli.test_books_add import add, balances, run

from tieline.cli.money.selling import found_in
from tieline.people.proposals import said

NOW = datetime(2026, 9, 20, 12, 0, tzinfo=UTC)
POLICY = """
company = "Ex"
two_people = ["sale"]

[[sale]]
name = "power"
share_of_mined = 0.5

[[sale]]
name = "lever"
ltv_ceiling = 0.5
most_btc = 0.25

[[sale]]
name = "old"
older_than_days = 30
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = make(tmp_path / "data", [], NOW)
    add(folder, "payout", "--id", "p0", "--btc", "1", "--price", "50000", "--pool", "x", "--at", "2026-07-03")
    add(folder, "payout", "--id", "p1", "--btc", "2", "--price", "100000", "--pool", "x", "--at", "2026-09-03")
    add(folder, "loan", "--id", "L", "--lender", "Bank", "--amount", "60000")
    add(folder, "pledge", "--id", "g", "--loan", "L", "--btc", "1", "--lot", "p1")
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    assert run("books", "policy", policy, "--data-dir", folder).exit_code == 0
    return folder


def approve(folder: Path, proposal_id: str, *people: str) -> None:
    store = open_store(folder)
    for person in people:
        store.append(said(found_in(folder)[proposal_id], "approved", person, "", NOW))
    store.close()


def proposals(folder: Path) -> dict[str, str]:
    return {one.proposal.by: id_ for id_, one in found_in(folder).items()}


def test_each_rule_proposes_its_amount_once_and_says_why(folder: Path) -> None:
    told = json.loads(run("treasury", "propose", "--price", "100000", "--json", "--data-dir", folder).output)
    assert [(one["rule"], Decimal(one["sell_btc"])) for one in told] == [
        ("power", Decimal(1)),  # half of the two mined in September
        ("lever", Decimal("0.1")),  # (60,000 - 0.5 x 100,000) / 100,000
        ("old", Decimal(1)),
    ]
    assert "L has an LTV of 60.00 %, above 50 %" in told[1]["why"]
    again = run("treasury", "propose", "--price", "100000", "--data-dir", folder).output
    assert again.count("waits already") == 3
    capped = json.loads(run("treasury", "propose", "--price", "70000", "--json", "--data-dir", folder).output)
    assert Decimal(capped[1]["sell_btc"]) == Decimal("0.25")
    assert "were wanted" in capped[1]["why"]


def test_nobody_sells_alone_and_a_fill_never_goes_beyond_what_was_approved(folder: Path) -> None:
    sale = ("books", "add", "sale", "--data-dir", folder, "--price", "100000", "--fee", "5")
    alone = run(*sale, "--id", "s1", "--btc", "0.5")
    assert alone.exit_code == 1
    assert "two people decide on each sale" in alone.output
    assert run("treasury", "propose", "--price", "100000", "--data-dir", folder).exit_code == 0
    named = proposals(folder)["policy power"]
    assert "is open, not approved" in run(*sale, "--id", "s1", "--btc", "0.5", "--proposal", named).output
    approve(folder, named, "ada")
    assert "is open, not approved" in run(*sale, "--id", "s1", "--btc", "0.5", "--proposal", named).output
    approve(folder, named, "bo")
    first = run(*sale, "--id", "s1", "--btc", "0.6", "--proposal", named)
    assert first.exit_code == 0, first.output
    assert found_in(folder)[named].state(NOW) == "approved"
    beyond = run(*sale, "--id", "s2", "--btc", "0.5", "--proposal", named)
    assert beyond.exit_code == 1
    assert "0.40000000 BTC of 1.00000000 are left to sell, not 0.5" in beyond.output
    assert run(*sale, "--id", "s2", "--btc", "0.4", "--proposal", named).exit_code == 0
    assert found_in(folder)[named].state(NOW + timedelta(seconds=1)) == "done"
    assert "is done, not approved" in run(*sale, "--id", "s3", "--btc", "0.1", "--proposal", named).output
    amended = run(*sale, "--id", "s2", "--btc", "0.3", "--amend")
    assert amended.exit_code == 0, amended.output
    assert balances(folder)["Trading:Bitcoin:Sold", "BTC"] == "0.90000000"


def test_old_coins_leave_out_of_the_lots_that_were_approved(folder: Path) -> None:
    assert run("treasury", "propose", "--price", "100000", "--data-dir", folder).exit_code == 0
    named = proposals(folder)["policy old"]
    approve(folder, named, "ada", "bo")
    told = run("books", "add", "sale", "--data-dir", folder, "--id", "o", "--btc", "1", "--price", "100000",
               "--proposal", named)  # fmt: skip
    assert told.exit_code == 0, told.output
    assert "{p0}" in told.output
    assert "{p1}" not in told.output


def test_a_sale_for_a_dollar_token_brings_that_token_at_what_it_was_worth(tmp_path: Path) -> None:
    folder = make(tmp_path / "data", [], NOW)
    add(folder, "payout", "--id", "p", "--btc", "1", "--price", "60000", "--pool", "x", "--at", "2026-09-03")
    sale = (
        "books",
        "add",
        "sale",
        "--data-dir",
        folder,
        "--id",
        "s",
        "--btc",
        "0.5",
        "--price",
        "68524",
        "--for",
        "USDT",
    )
    refused = run(*sale)
    assert refused.exit_code == 2
    assert "--rate is missing" in refused.output
    assert run(*sale, "--fee", "10", "--rate", "0.999").exit_code == 0
    now = balances(folder)
    assert now["Assets:Cash", "USDT"] == "34252.000000"
    assert ("Assets:Cash", "USD") not in now
    # 0.5 x 68,455.48 less what they cost; the fee was worth 9.99.
    assert now["Income:RealisedGain", "USD"] == "-4227.74"
    assert now["Expenses:TradingFees", "USD"] == "9.99"
    assert now["Trading:Currencies", "USD"] == "34217.75"
    statement = run("books", "statement", "2026-09", "--data-dir", folder).output
    assert "Other currencies, at what they were worth when they came" in statement


def test_what_is_pending_is_taken_by_nothing_else_until_it_is_posted_or_voided(tmp_path: Path) -> None:
    folder = make(tmp_path / "data", [], NOW)
    add(folder, "payout", "--id", "p", "--btc", "3", "--price", "60000", "--pool", "x", "--at", "2026-09-03")
    add(folder, "hold", "--id", "o1", "--btc", "2")
    ladder = json.loads(run("treasury", "ladder", "--price", "90000", "--json", "--data-dir", folder).output)
    assert Decimal(ladder["free_btc"]) == 1
    sale = ("books", "add", "sale", "--data-dir", folder, "--price", "90000")
    other = run(*sale, "--id", "s0", "--btc", "1.5")
    assert other.exit_code == 1
    assert "holds 1.00000000 BTC, not 1.50000000 BTC" in other.output
    assert run(*sale, "--id", "s1", "--btc", "1.25", "--hold", "o1").exit_code == 0
    beyond = run(*sale, "--id", "s2", "--btc", "1", "--hold", "o1")
    assert beyond.exit_code == 1
    assert "holds 0.75000000 BTC" in beyond.output
    assert run("books", "add", "void", "--id", "o1", "--data-dir", folder).exit_code == 0
    again = run("books", "add", "void", "--id", "o1", "--data-dir", folder)
    assert again.exit_code == 1
    assert "nothing is held under 'o1'" in again.output
    assert balances(folder)["Assets:Bitcoin:Treasury", "BTC"] == "1.75000000"
    assert balances(folder)["Income:RealisedGain", "USD"] == "-37500.00"

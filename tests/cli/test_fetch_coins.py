"""`tieline books fetch`: from what pools state and what arrived to the reconciled month, as somebody types it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.feeds.coin_server import ADDRESS, DAY0, Coins, serving, transaction

from tieline.cli import main
from tieline.cli.money import fetch

PRICES = "time,price\n" + "".join(f"2026-11-{day:02d}T{hour:02d}:00:00Z,{60_000 + day}\n" for day in range(1, 9)
                                  for hour in range(0, 24, 2))  # fmt: skip


@pytest.fixture
def coins(monkeypatch: pytest.MonkeyPatch) -> Iterator[Coins]:
    monkeypatch.setenv("TIELINE_POOL_TOKEN", "secret")
    now = datetime(2026, 11, 9, 12, tzinfo=UTC)
    monkeypatch.setattr("tieline.cli.folder.wall_now", lambda: now)
    with serving(Coins()) as found:
        yield found


@pytest.fixture
def asked(coins: Coins, tmp_path: Path) -> list[str]:
    (tmp_path / "prices.csv").write_text(PRICES)
    return ["--since", "2026-11-01", "--prices", str(tmp_path / "prices.csv"), "--data-dir", str(tmp_path / "data")]


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args])


def test_statements_payments_and_what_a_pool_still_owes(coins: Coins, asked: list[str], tmp_path: Path) -> None:
    folder = asked[-2:]
    stated = ["books", "fetch", "pool", "braiins", "--url", coins.base, "--place", "With Braiins", *asked]
    tried = run(*stated, "--dry-run")
    assert tried.exit_code == 0, tried.output
    assert "3 would be recorded" in tried.output
    told = run(*stated)
    assert told.exit_code == 0, told.output
    # A day's coins are worth what they were when its contract began: on the first, 60,001.
    assert "Braiins Pool: 0.50000001 BTC at 60,001.00 USD/BTC" in told.output
    assert run(*stated).output == "0 recorded, 3 as before\n"

    paid = [transaction(9, 920_100, DAY0 + 3 * 86_400, 90_000_000), transaction(8, 920_000, DAY0 + 86_400, 50_000_000)]
    coins.chain = paid
    watch = ["books", "fetch", "receipts", ADDRESS, "--api", coins.base, "--pool", "Braiins Pool", "--place", "Cold"]
    got = run(*watch, "--from-place", "With Braiins", *asked)
    assert got.exit_code == 0, got.output
    assert "0.90000000 BTC received of Braiins Pool" in got.output
    lots = json.loads(run("books", "lots", "--json", *folder).output)
    assert {(one["place"], one["btc"], one["at"][:10]) for one in lots} == {
        ("Bitcoin:Cold", "0.50000001", "2026-11-01"), ("Bitcoin:Cold", "0.51000001", "2026-11-02"),
        ("Bitcoin:Cold", "0.38999998", "2026-11-03"), ("Bitcoin:With Braiins", "0.13000003", "2026-11-03"),
    }  # fmt: skip

    month = json.loads(run("books", "reconcile", "--month", "2026-11", "--json", *folder).output)
    days = {one["day"]: one for one in month["days"]}
    assert [days[f"2026-11-0{n}"]["stated"] for n in (1, 2, 3)] == ["0.50000001", "0.51000001", "0.52000001"]
    assert days["2026-11-02"]["received"] == "0.50000000"
    assert days["2026-11-03"]["owed"] == "1.03000003"
    assert days["2026-11-04"]["owed"] == "0.13000003"
    assert month["policy"][0].startswith("US-GAAP")


def test_a_block_of_ones_own_cannot_be_spent_for_a_hundred_blocks(coins: Coins, asked: list[str]) -> None:
    folder = asked[-2:]
    name = f"{5:064x}:1"
    coins.chain = [transaction(5, 920_150, DAY0 + 86_400, 313_000_000, coinbase=True)]
    watch = ["books", "fetch", "receipts", ADDRESS, "--api", coins.base, "--pool", "our own", *asked]
    told = run(*watch)
    assert told.exit_code == 0, told.output
    assert "our own: 3.13000000 BTC at 60,002.00 USD/BTC, block 920,150" in told.output
    ladder = run("treasury", "ladder", "--price", "60000", *folder)
    assert "3.13 BTC at 60,000 USD: 0 free, 0 pledged, 3.13 immature" in ladder.output
    for taken in (
        ["books", "add", "sale", "--id", "s", "--btc", "1", "--price", "60000", "--place", "Immature"],
        ["books", "add", "transfer", "--id", "t", "--btc", "1", "--from", "Immature", "--to", "Cold"],
    ):
        refused = run(*taken, *folder)
        assert refused.exit_code == 1, taken
        assert "cannot be spent for 100 blocks" in refused.output
    early = run("books", "add", "matured", "--id", name, "--tip", "920249", *folder)
    assert early.exit_code == 1
    assert "after 1 more blocks" in early.output
    assert "nothing was recorded" not in run(*watch).output
    coins.tip = 920_250
    later = run(*watch)
    assert "3.13000000 BTC from Immature to Treasury" in later.output
    assert (
        "3.13 BTC at 60,000 USD: 3.13 free, 0 pledged;" in run("treasury", "ladder", "--price", "60000", *folder).output
    )
    assert run(*watch).output.endswith("0 recorded, 1 as before\n")
    again = run("books", "add", "matured", "--id", name, "--tip", "920260", *folder)
    assert "booked already, nothing changed" in again.output
    verified = run("books", "verify", *folder)
    assert verified.exit_code == 0, verified.output


def test_a_block_that_did_not_stay_brings_nothing(coins: Coins, asked: list[str]) -> None:
    folder = asked[-2:]
    block = ["books", "add", "payout", "--id", "b", "--price", "60000", "--pool", "our own", "--block", "920000",
             "--at", "2026-11-02", *folder]  # fmt: skip
    assert run(*block, "--btc", "3.125").exit_code == 0
    gone = run(*block, "--btc", "0", "--amend")
    assert gone.exit_code == 0, gone.output
    assert "taken back" in gone.output
    assert run("books", "lots", *folder).output == "No bitcoin held.\n"
    assert run("books", "add", "matured", "--id", "b", "--tip", "930000", *folder).exit_code == 3
    luck = run("books", "reconcile", "--month", "2026-11", *folder)
    assert "Nothing was heard, stated or received" in luck.output


def test_what_is_asked_wrongly_is_one_line(coins: Coins, asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pool = ["books", "fetch", "pool"]
    cases = [
        ([*pool, "f2pool", "--url", coins.base, *asked], 2, "--user is missing"),
        ([*pool, "braiins", "--url", coins.base, "--token-env", "NONE", *asked], 2, "variable NONE has no token"),
        ([*pool, "braiins", "--url", "x://y", *asked], 2, "no address to ask"),
        ([*pool, "braiins", "--url", coins.base, *asked, "--since", "2027-01-01"], 2, "is not before"),
        ([*pool, "braiins", "--url", coins.base, *asked, "--since", "2020-01-01"], 2, "ask for them in parts"),
        (
            [*pool, "braiins", "--url", coins.base, "--since", "2026-11-01", *asked[-2:]],
            2,
            "no price of 2026-11-01 00:00",
        ),
        (["books", "fetch", "receipts", "../x", "--api", coins.base, *asked], 2, "no bitcoin address"),
    ]
    monkeypatch.delenv("NONE", raising=False)
    for call, code, says in cases:
        told = run(*call)
        assert told.exit_code == code, (call, told.output)
        assert says in told.output, (call, told.output)
        assert "Traceback" not in told.output
    assert fetch.MOST_DAYS == 366

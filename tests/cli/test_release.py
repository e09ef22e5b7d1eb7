"""A month as one publishes it: from draft to published by two people, frozen, restated; and what keeps it from that."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from bench import demo_treasury
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.folder import make

from tieline.books.follows import PrintedMonth, PrintedSpan, findings, half_up
from tieline.books.release import MonthlyRelease
from tieline.cli import main
from tieline.disclosures.read import read

NOW = datetime(2026, 9, 10, 12, 0, tzinfo=UTC)


def run(*args: object, ok: bool = True) -> Result:
    told = CliRunner().invoke(main, [str(a) for a in args])
    assert not ok or told.exit_code == 0, told.output
    return told


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = make(tmp_path / "data", [], NOW)
    at = ["--price", "100000", "--pool", "x"]
    run("books", "add", "payout", "--data-dir", made, "--id", "p7", "--btc", "620.04", *at, "--at", "2026-08-01",
        "--from", "2026-07-01")  # fmt: skip
    run("books", "add", "payout", "--data-dir", made, "--id", "p8", "--btc", "546.75", *at, "--at", "2026-09-01",
        "--from", "2026-08-01")  # fmt: skip
    run(
        "books",
        "add",
        "sale",
        "--data-dir",
        made,
        "--id",
        "s8",
        "--btc",
        "100",
        "--price",
        "110000",
        "--at",
        "2026-08-09",
    )
    run(
        "books", "add", "hashrate", "--data-dir", made, "--month", "2026-08", "--deployed", "50", "--operating", "44.38"
    )
    policy = made / "policy.toml"
    policy.write_text('company = "Example Mining"\nticker = "EXMP"\nbtc_places = 1\nnotes = ["Unaudited."]\n')
    return made


def update(folder: Path, *args: object, month: str = "2026-08", ok: bool = True) -> Result:
    return run("update", month, "--data-dir", folder, "--policy", folder / "policy.toml", *args, ok=ok)


TEXT = """Example Mining (EXMP): bitcoin production and mining operations update for August 2026

Bitcoin produced: 546.8 BTC
Average bitcoin produced per day: 17.64 BTC
Bitcoin held at month end: 1,066.8 BTC
Bitcoin sold: 100.0 BTC
Deployed hashrate at month end: 50.00 EH/s
Average operating hashrate: 44.38 EH/s
Operating share of deployed hashrate: 88.8 %
Bitcoin produced, change from the month before: -11.82 %

Unaudited.

Accounting policy
- US-GAAP, US dollars; months and years end in UTC
- bitcoin at fair value through income at each close (ASC 350-60-35-1)
- pool income at fair value when each day's contract begins, net of the pool's fee (ASC 606-10-32-21)
- lots: fifo
"""


def test_four_forms_of_one_list(folder: Path) -> None:
    assert update(folder, "--form", "text").stdout == TEXT
    made = json.loads(update(folder, "--form", "json").stdout)
    rows = update(folder, "--form", "csv").stdout.splitlines()
    page = update(folder, "--form", "html").stdout
    for figure in made["figures"]:
        assert f"2026-08,{figure['name']},{figure['value']},{figure['unit']}," in rows
        assert figure["label"] in page
    moved = {one["name"]: one["value"] for one in made["movements"]}
    assert moved == {"opening": "620.0", "produced": "546.8", "sold": "-100.0", "closing": "1066.8"}
    assert "<script" not in page
    assert "Unaudited." in page


def test_two_people_publish_and_what_is_published_is_frozen_and_restated_beside_itself(folder: Path) -> None:
    assert "draft" in update(folder, "--form", "text").stderr
    assert "must be checked first" in update(folder, "--state", "approved", "--by", "Bo", ok=False).output
    update(folder, "--state", "checked", "--by", "Ada")
    assert "somebody else approves it" in update(folder, "--state", "approved", "--by", "Ada", ok=False).output
    update(folder, "--state", "approved", "--by", "Bo")
    update(folder, "--state", "published", "--by", "Bo")
    assert update(folder, "--form", "text").stdout == TEXT
    assert "published as it stands" in update(folder, "--state", "checked", ok=False).output
    run("books", "add", "payout", "--data-dir", folder, "--id", "p8", "--btc", "540.75", "--price", "100000", "--pool",
        "x", "--at", "2026-09-01", "--from", "2026-08-01", "--amend")  # fmt: skip
    told = update(folder, "--form", "text")
    assert "Bitcoin produced: 540.8 BTC\n" in told.stdout
    assert "\nPublished before this restatement: 546.8 for bitcoin produced; " in told.stdout
    # As a stranger reads it: the figures as they are now, whole.
    facts = {one.field: one.value for one in read(told.stdout, issuer="EXMP").facts}
    assert (facts["btc_produced"], facts["btc_held_end"]) == (Decimal("540.8"), Decimal("1060.8"))
    page = {one.field: one.value for one in read(update(folder, "--form", "html").stdout, issuer="EXMP").facts}
    assert page.items() >= facts.items()
    assert {"operating_share_pct", "btc_produced_mom_pct"} < facts.keys()
    assert "2026-08: draft" in told.stderr
    for state, by in (("checked", "Ada"), ("approved", "Bo"), ("published", "Bo")):
        update(folder, "--state", state, "--by", by)
    assert "Published before this restatement: 546.8 for bitcoin produced; " in update(folder, "--form", "text").stdout
    assert "2026-08: published" in update(folder, "--form", "html").stderr


def test_what_was_checked_is_what_is_approved(folder: Path) -> None:
    update(folder, "--state", "checked", "--by", "Ada")
    run("books", "add", "sale", "--data-dir", folder, "--id", "s9", "--btc", "1", "--price", "9", "--at", "2026-08-10")
    told = update(folder, "--state", "approved", "--by", "Bo", ok=False)
    assert "its figures changed since" in told.output


def test_a_month_that_runs_or_parts_from_what_was_published_is_not_published(folder: Path) -> None:
    assert "has not ended" in update(folder, "--state", "checked", month="2026-09", ok=False).output
    for state, by in (("checked", "Ada"), ("approved", "Bo"), ("published", "Bo")):
        update(folder, "--state", state, "--by", by, month="2026-07")
    run("books", "add", "payout", "--data-dir", folder, "--id", "p7", "--btc", "600", "--price", "100000", "--pool",
        "x", "--at", "2026-08-01", "--from", "2026-07-01", "--amend")  # fmt: skip
    told = update(folder, "--state", "checked", ok=False)
    assert "opening is 600.0 by the ledger, and 2026-07 was published with 620.0 held" in told.output


def test_a_month_is_not_published_against_what_its_quarter_was_published_with(tmp_path: Path) -> None:
    made = make(tmp_path / "data", [], NOW.replace(month=10, day=5))
    (made / "policy.toml").write_text("btc_places = 1\n")
    at = ["--price", "100000", "--pool", "x", "--data-dir", made]
    for month, btc in ((7, "620.04"), (8, "546.75"), (9, "500.04")):
        run("books", "add", "payout", "--id", f"p{month}", "--btc", btc, *at, "--at", f"2026-{month + 1:02}-01",
            "--from", f"2026-{month:02}-01")  # fmt: skip
    for month in ("2026-07", "2026-08"):
        for state, by in (("checked", "Ada"), ("approved", "Bo"), ("published", "Bo")):
            update(made, "--state", state, "--by", by, month=month)
    # 620.0 + 546.8 + 500.0 are a tenth less than 1,666.83 rounds to, within rounding: it may be checked.
    update(made, "--state", "checked", "--by", "Ada", month="2026-09")
    run("books", "add", "payout", "--id", "p7", "--btc", "620.54", *at, "--at", "2026-08-01", "--from", "2026-07-01",
        "--amend")  # fmt: skip
    told = update(made, "--state", "checked", "--by", "Ada", month="2026-09", ok=False)
    assert told.exit_code == 1
    assert "2026Q3: 620.0 + 546.8 + 500.0 = 1,666.8, printed 1,667.3: 0.5 apart by the ledger" in told.output
    august = update(made, "--state", "checked", "--by", "Ada", month="2026-08", ok=False)
    assert "2026-07 was published with 620.0 produced, the ledger says 620.5; restate that month first" in august.output


def test_a_text_is_compared_with_the_books(folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "release.txt"
    text.write_text(TEXT)
    assert "figures, each as the books say" in update(folder, "--against", text).output
    text.write_text(TEXT.replace("1,066.8", "1,106.8").replace("17.64", "18.22"))
    told = update(folder, "--against", text, ok=False)
    assert "btc_held_end: printed 1,106.8, the books say 1,066.8" in told.output
    assert "avg_btc_per_day: printed 18.22, the books say 17.64" in told.output


@pytest.mark.parametrize(
    ("text", "says"),
    [("btc_places = 'x'", "btc_places"), ("colour = 1", "colour"), ("= 3", "policy.toml")],
)
def test_a_policy_with_a_mistake_names_it(folder: Path, text: str, says: str) -> None:
    (folder / "policy.toml").write_text(text)
    told = update(folder, "--form", "text", ok=False)
    assert told.exit_code == 2
    assert says in told.output
    assert "Traceback" not in told.output


def test_the_running_update_is_read_by_the_reader(folder: Path) -> None:
    """The word that it prints first is what a stranger looks for first."""
    told = run("update", "2026-08", "--data-dir", folder).stdout
    reading = read(told)
    found = {fact.field for fact in (*reading.facts, *(one.fact for one in reading.candidates))}
    assert {"btc_produced", "btc_held_end", "btc_sold"} <= found


MOVED = {"opening": "btc_open", "bought": "btc_purchased", "produced": "btc_produced", "sold": "btc_sold",
         "fees": "service_fee_btc", "closing": "btc_held_end"}  # fmt: skip


@pytest.mark.parametrize("form", ["text", "html"])
def test_every_number_of_a_months_json_is_read_back_from_text_and_page(folder: Path, form: str) -> None:
    """Of a month in which all that can move coins did: a purchase, coins brought in, a fee in kind, a lender who may
    sell; with cash and a month of falling production."""
    rules = folder / "policy.toml"
    rules.write_text(rules.read_text() + "cash = true\n")
    at = ["--data-dir", folder, "--at"]
    run("books", "add", "sale", "--id", "b", "--btc", "-12.5", "--price", "100000", *at, "2026-08-05")
    sheet = folder / "coins.csv"
    sheet.write_text("date,btc,cost_usd\n2026-08-06,40,5\n")
    run("import", "coins", sheet, "--data-dir", folder)
    run("books", "add", "transfer", "--id", "t", "--btc", "5", "--to", "Cold", "--fee", "0.2", "--price", "100000", *at,
        "2026-08-07")  # fmt: skip
    for loan, may, btc in (("L", "yes", "100"), ("M", "no", "50")):
        run("books", "add", "loan", "--id", loan, "--lender", "B", "--may-rehypothecate", may, *at, "2026-08-08")
        run("books", "add", "pledge", "--id", f"g{loan}", "--loan", loan, "--btc", btc, "--price", "100000", *at,
            "2026-08-08")  # fmt: skip
    made = msgspec.json.decode(update(folder, "--form", "json").stdout, type=MonthlyRelease)
    reading = read(update(folder, "--form", form).stdout, issuer="EXMP", source_kind="issuer")
    found = {one.field: one.value for one in reading.facts}
    due = {one.name: Decimal(one.value) for one in made.figures}
    moves = {one.name: Decimal(one.value) for one in made.movements}
    assert {"btc_purchased", "service_fee_btc", "btc_brought_in", "btc_lenders_net", "free_btc"} < due.keys()
    assert due["btc_lenders_net"] < 0 > due["btc_produced_mom_pct"]
    if form == "html":  # which prints the roll-forward as well
        due["btc_open"] = moves["opening"]
    assert found == due
    assert reading.candidates == ()
    assert moves.keys() == {*MOVED, "brought_in", "lent"}
    assert all(abs(moves[name]) == abs(due[field]) for name, field in MOVED.items() if field in due)


def test_nothing_contradicts_the_updates_of_a_year_in_which_coins_moved_every_way(folder: Path) -> None:
    at = ["--data-dir", folder, "--at"]
    run("books", "add", "sale", "--id", "b", "--btc", "-12.5", "--price", "100000", *at, "2026-08-05")
    run("books", "add", "transfer", "--id", "t", "--btc", "5", "--to", "Cold", "--fee", "0.2", "--price", "100000", *at,
        "2026-08-07")  # fmt: skip
    run("books", "add", "loan", "--id", "L", "--lender", "B", "--may-rehypothecate", "yes", *at, "2026-08-08")
    run("books", "add", "pledge", "--id", "g", "--loan", "L", "--btc", "100", "--price", "100000", *at, "2026-08-08")
    facts = folder / "facts.jsonl"
    for month in ("2026-07", "2026-08"):
        text = folder / f"{month}.txt"
        text.write_text(update(folder, "--form", "text", month=month).stdout)
        run("disclosures", "read", text, "--issuer", "EXMP", "--keep", "--facts", facts, "--source-kind", "issuer")
    told = run("disclosures", "check", "--issuer", "EXMP", "--facts", facts, ok=False).output
    assert "differs" not in told.replace("0 differs", "")
    assert "620.0 + 546.8 + 12.5 - 100.0 - 100.0 - 0.2 = 979.1" in told


def test_every_figure_of_a_month_with_a_loan_is_read_back_and_nothing_contradicts_it(folder: Path) -> None:
    run("books", "add", "loan", "--data-dir", folder, "--id", "L", "--lender", "B", "--may-rehypothecate", "no", "--at",
        "2026-08-02")  # fmt: skip
    run("books", "add", "pledge", "--data-dir", folder, "--id", "g", "--loan", "L", "--btc", "412.5", "--at",
        "2026-08-03")  # fmt: skip
    made = msgspec.json.decode(update(folder, "--form", "json").stdout, type=MonthlyRelease)
    text, facts = folder / "update.txt", folder / "facts.jsonl"
    text.write_text(update(folder, "--form", "text").stdout)
    found = {one.field: one.value for one in read(text.read_text(), issuer="EXMP").facts}
    assert found == {one.name: Decimal(one.value) for one in made.figures}
    assert (made.value("restricted_or_pledged_btc"), made.value("free_btc")) == (Decimal("412.5"), Decimal("654.3"))
    run("disclosures", "read", text, "--issuer", "EXMP", "--keep", "--facts", facts, "--source-kind", "issuer")
    told = run("disclosures", "check", "--issuer", "EXMP", "--facts", facts, ok=False).output
    assert "differs" not in told.replace("0 differs", "")


def test_a_month_in_which_coins_were_bought_and_brought_in_may_be_published(folder: Path) -> None:
    run("books", "add", "sale", "--data-dir", folder, "--id", "b", "--btc", "-12.5", "--price", "100000", "--at",
        "2026-08-05")  # fmt: skip
    sheet = folder / "coins.csv"
    sheet.write_text("date,btc,cost_usd\n2026-08-06,40,5\n")
    run("import", "coins", sheet, "--data-dir", folder)
    assert "may not be checked" not in update(folder, "--state", "checked", "--by", "Ada").output


def test_sixteen_months_follow_to_the_printed_digit_or_the_contradiction_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert demo_treasury.main() == 0
    told = capsys.readouterr().out
    assert "2025-11       546.7      18.22     6959.3        0.0      50.00      44.38       88.8      -9.28" in told
    for line in (
        "363.9 / 30 days = 12.13, printed 18.85: an average of 19.31 active days",
        "546.7 / 602.6 - 1 = -9.28 %, printed -9.2 %: it should print -9.3 %",
        "7,528.3 + 496.35 - 550.3 = 7,474.35, printed 7,474.6: 0.25 unexplained",
        "7,474.6 + 454.83 - 4,451 = 3,478.43, printed 3,313.4: 165.03 unexplained",
        "470.0 + 484.5 + 450.0 = 1,404.5, printed 1,404.4: 0.1 apart, within rounding",
        "0 figures not found, 0 contradictions",
    ):
        assert line in told
    # The only figure of sixteen months that the books print otherwise.
    parts = told.split("where the books and the print part:\n")[1].split("\n\n")[0].splitlines()[:1]
    assert parts == ["  2026-02 btc_held_end 3478.45 (printed 3313.4)"]
    steps = [line.split(" BTC ")[0].split()[-1] for line in told.splitlines() if line.startswith(BRIDGE)]
    assert steps == ["-18.8", "+0.0", "-21.7", "-15.5", "+0.1"]


BRIDGE = ("  days", "  deployed", "  operating", "  difficulty", "  fees")


@given(st.decimals("0.01", 1000, places=3), st.decimals(0, 1000, places=3), st.integers(0, 3))
def test_what_was_rounded_from_one_truth_always_follows(produced: Decimal, opening: Decimal, places: int) -> None:
    row = PrintedMonth(
        month="2026-08",
        produced=half_up(produced, places),
        opening=half_up(opening, places),
        held=half_up(opening + produced, places),
        average=half_up(produced / 31, places),
    )
    assert all(one.holds for one in findings(row))
    assert PrintedSpan.of(half_up(produced, places)).low <= produced <= PrintedSpan.of(half_up(produced, places)).high


def test_why_the_month_changed_sums_to_the_change(folder: Path) -> None:
    run("books", "add", "hashrate", "--data-dir", folder, "--month", "2026-07", "--deployed", "50", "--operating", "46")
    told = json.loads(update(folder, "--explain", "--json").stdout)
    steps = {one["name"]: Decimal(one["btc"]) for one in told["steps"]}
    assert sum(steps.values()) == Decimal(told["change"]) == Decimal("546.8") - Decimal("620.0")
    assert steps["days"] == 0
    assert list(steps)[:3] == ["days", "deployed hashrate", "operating share"]
    text = update(folder, "--explain").stdout
    assert text.splitlines()[0] == "2026-07 to 2026-08: 620.0 to 546.8 BTC"
    assert update(folder, "--explain", month="2026-07", ok=False).exit_code == 3

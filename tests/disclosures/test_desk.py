"""The desk: candidates wait, decisions are records, and what is withdrawn is out of the book at once."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from tieline.cli.sector.disclosures import disclosures
from tieline.disclosures.checks import check
from tieline.disclosures.comparison import compare, page
from tieline.disclosures.facts.desk import CandidateFile, Correction, DeskError, agreement, path_beside
from tieline.disclosures.facts.keep import FileKeeper, LiveBook, book
from tieline.disclosures.facts.lines import KeepError
from tieline.disclosures.facts.shipped import shipped
from tieline.disclosures.intake import Origin, claims_of, waiting_of
from tieline.disclosures.read import read

NOW = datetime(2026, 3, 1, tzinfo=UTC)
NEWS = "Cango mined 650.5 BTC in July 2025. Cango held 4,529.7 BTC at July 31, 2025."


@pytest.fixture
def desk(tmp_path: Path) -> CandidateFile:
    made = CandidateFile(tmp_path / "facts.desk.jsonl")
    reading = read(NEWS.replace("Cango", "MARA"), issuer="MARA", published="2025-08-06", source_kind="news")
    assert made.put(waiting_of(reading, Origin("https://news.test/1", "news", None, NOW))) == 2
    assert made.put(waiting_of(reading, Origin("https://news.test/1", "news", None, NOW))) == 0
    return made


def test_a_candidate_is_in_no_book_until_a_person_accepts_it(desk: CandidateFile) -> None:
    first = next(w for w in desk.waiting() if w.candidate.fact.field == "btc_produced")
    assert not desk.book([]).all
    done = desk.decide("accept", first.id, "Jane", NOW)
    assert done.claim is not None
    assert [c.value for c in desk.book([]).all] == [Decimal("650.5")]
    assert "Jane" in (desk.book([]).all[0].note or "")
    assert len(desk.waiting()) == 1
    desk.decide("restore", first.id, "Jane", NOW)
    assert not desk.book([]).all
    assert len(desk.waiting()) == 2


def test_a_correction_says_what_was_read(desk: CandidateFile) -> None:
    first = next(w for w in desk.waiting() if w.candidate.fact.field == "btc_produced")
    with pytest.raises(DeskError, match="give one"):
        desk.decide("correct", first.id, "Jane", NOW)
    with pytest.raises(DeskError, match="no field"):
        desk.decide("correct", first.id, "Jane", NOW, change=Correction(field="btc_dreamt"))
    desk.decide("correct", first.id, "Jane", NOW, change=Correction(value=Decimal("651"), period="2025-06"))
    claim = desk.book([]).all[0]
    assert (claim.figure, claim.value, claim.fact.method) == ("MARA.2025-06.btc_produced", 651, "typed")
    assert "650.5" in (claim.note or "")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (Correction(value=Decimal("1e999999999")), "out of bounds"),
        (Correction(value=Decimal("NaN")), "no number"),
        (Correction(period="0001-01"), "YYYY-MM"),
    ],
)
def test_a_correction_is_held_to_what_any_claim_is(desk: CandidateFile, change: Correction, says: str) -> None:
    with pytest.raises(DeskError, match=says):
        desk.decide("correct", desk.waiting()[0].id, "Jane", NOW, change=change)
    assert not desk.accepted()


@pytest.mark.parametrize(("who", "reason"), [("J\x1b[31m", ""), ("Jane", "a\u202eb")])
def test_what_a_terminal_would_obey_is_not_recorded(desk: CandidateFile, who: str, reason: str) -> None:
    with pytest.raises(DeskError, match="plain text"):
        desk.decide("accept", desk.waiting()[0].id, who, NOW, reason)
    assert desk.decide("accept", desk.waiting()[0].id, " Jane\nDoe ", NOW).who == "Jane Doe"


def test_a_typed_correction_is_a_number_or_says_so() -> None:
    assert Correction.typed("1,651.5", "", None) == Correction(value=Decimal("1651.5"))
    assert Correction.typed("", None, "btc_sold") == Correction(field="btc_sold")
    with pytest.raises(DeskError, match="'abc' is no number"):
        Correction.typed("abc", None, None)


def test_a_candidate_of_no_day_is_not_accepted(desk: CandidateFile) -> None:
    desk.put([msgspec.structs.replace(desk.waiting()[0], published="next week")])
    with pytest.raises(DeskError, match="next week"):
        desk.decide("accept", next(w.id for w in desk.waiting() if w.published == "next week"), "Jane", NOW)


@pytest.mark.parametrize(("action", "who", "says"), [("reject", "Jane", "reason"), ("accept", " ", "who")])
def test_a_decision_needs_who_and_why(desk: CandidateFile, action: str, who: str, says: str) -> None:
    target = desk.waiting()[0].id
    with pytest.raises(DeskError, match=says):
        desk.decide(action, target, who, NOW)  # type: ignore[arg-type]  # a plain string of the table above
    with pytest.raises(DeskError, match="no candidate"):
        desk.decide("accept", "MARA.2025-07.btc_sold~00000000", "Jane", NOW)


def test_what_is_withdrawn_leaves_every_rank_sum_check_and_page(tmp_path: Path) -> None:
    keeper = FileKeeper(tmp_path / "facts.jsonl")
    desk, live = CandidateFile(path_beside(keeper.path)), LiveBook(keeper.path)
    month = "2025-09"
    claims = shipped().claims("CLSK", month, "btc_produced")
    assert "CLSK" in {row.issuer for row in compare.table(live(), month).rows if row.included}
    for claim in claims:
        desk.decide("withdraw", claim.id, "Jane", NOW, "the page was another month's")
    after = live()
    gone = {claim.id for claim in claims}
    table = compare.table(after, month)
    assert "CLSK" not in {row.issuer for row in table.rows if row.included}
    assert all("CLSK" not in one.miners for one in table.sums)
    assert not [v for v in check(after) if gone & set(v.claims)]
    with pytest.raises(page.NoFigureError):
        page.figure(after, f"CLSK.{month}.btc_produced")
    assert not {claim.id for claim in book(keeper).all} & gone
    for claim in claims:
        desk.decide("restore", claim.id, "Jane", NOW)
    assert "CLSK" in {row.issuer for row in compare.table(live(), month).rows if row.included}
    assert [d.action for d in desk.decisions()] == ["withdraw"] * len(claims) + ["restore"] * len(claims)


def test_a_torn_last_line_is_cut_off_and_a_bad_one_is_named(desk: CandidateFile) -> None:
    with desk.path.open("ab") as file:
        file.write(b'{"type":"decision","at":')
    assert len(desk.waiting()) == 2
    desk.decide("reject", desk.waiting()[0].id, "Jane", NOW, "a rumour")
    assert len(desk.waiting()) == 1
    desk.path.write_bytes(b"nonsense\n")
    with pytest.raises(KeepError, match="line 1"):
        desk.waiting()


def test_what_is_restored_is_as_before_the_last_decision(desk: CandidateFile) -> None:
    """A claim accepted, withdrawn and restored is in the book again; restored once more, it waits again; and of two
    corrections with one taken back between them the later alone counts."""
    target = desk.waiting()[0].id
    desk.decide("accept", target, "Jane", NOW)
    desk.decide("withdraw", target, "Jane", NOW, "another month's")
    assert target not in {claim.id for claim in desk.book(()).all}
    desk.decide("restore", target, "Jane", NOW)
    assert target in {claim.id for claim in desk.book(()).all}
    desk.decide("restore", target, "Jane", NOW)
    assert desk.accepted() == ()
    assert target in {one.id for one in desk.waiting()}
    for value in (651, 652):
        desk.decide("correct", target, "Jane", NOW, change=Correction(value=Decimal(value)))
        if value == 651:
            desk.decide("restore", target, "Jane", NOW)
    assert [claim.value for claim in desk.accepted()] == [652]


def test_a_text_agrees_differs_or_is_new() -> None:
    text = "In July 2025 Cango mined 650.5 BTC. Cango held 4,629.7 BTC at July 31, 2025. Cango sold 3 BTC in July 2025."
    reading = read(text, issuer="CANG", published="2025-08-06", source_kind="news")
    held = agreement(shipped(), claims_of(reading, Origin("here", "news", None, NOW), candidates=True))
    assert (held.agree, held.new) == (("CANG.2025-07.btc_produced",), ())
    assert len(held.differ) == 2
    assert held.says() == "1 agree, 2 differ, 0 new"


def test_the_command_line_reads_keeps_accepts_and_takes_back(tmp_path: Path) -> None:
    article = tmp_path / "article.txt"
    article.write_text(NEWS.replace("Cango", "MARA"))
    facts = ["--facts", str(tmp_path / "facts.jsonl")]

    def run(*args: str, ok: int = 0) -> str:
        done = CliRunner().invoke(disclosures, [*args, *facts])
        assert done.exit_code == ok, done.output
        return done.output

    told = ["--issuer", "MARA", "--published", "2025-08-06", "--source-kind", "news"]
    assert "2 new on the desk" in run("read", str(article), "--keep", *told)
    waiting = [line.split()[0] for line in run("desk", "list").splitlines() if line.startswith("MARA")]
    assert len(waiting) == 2
    assert "650.5" in run("desk", "accept", waiting[-1], "--who", "Jane") + run("desk", "list")
    assert "a reason is needed" in run("desk", "reject", waiting[0], "--who", "Jane", ok=1)
    run("desk", "reject", waiting[0], "--who", "Jane", "--reason", "of another year")
    assert "0 wait" in run("desk", "list")
    assert "Jane reject" in run("desk", "log")
    claim = next(c for c in book(FileKeeper(tmp_path / "facts.jsonl")).all if "Jane" in (c.note or ""))
    assert claim.value in (Decimal("650.5"), Decimal("4529.7"))
    run("desk", "withdraw", claim.id, "--who", "Jane", "--reason", "wrong")
    assert claim.id not in run("figure", claim.figure, "--json", ok=0) if shipped().of(claim.figure) else True
    assert claim.id not in {c.id for c in book(FileKeeper(tmp_path / "facts.jsonl")).all}

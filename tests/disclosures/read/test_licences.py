"""A figure is a fact only where the text proves it: one sentence for each way in which it may not be."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.disclosures.read.own import NEWS, RELEASES, TRAPS

from tieline.disclosures.facts.fact import DocumentReading
from tieline.disclosures.facts.fields import ALL
from tieline.disclosures.read import read
from tieline.disclosures.rules.grammar import Form, SentenceRule, forms, rows
from tieline.disclosures.sentences.closed import accounted_for
from tieline.disclosures.sentences.template import template

TITLE = "Heron Mining July 2025 Update\n"
SETS = Path(__file__).parent / "sets"


def update(text: str, title: str = TITLE, **told: Any) -> DocumentReading:
    given = {"issuer": "HRN", "published": "2025-08-05", "source_kind": "issuer", **told}
    return read(title + text, **given)


def facts(reading: DocumentReading) -> dict[tuple[str, str], str]:
    return {(f.period, f.field): str(f.value) for f in reading.facts}


def lacks(reading: DocumentReading) -> set[str]:
    return {licence for c in reading.candidates for licence in c.missing}


@pytest.mark.parametrize("rule", [rule for rule, _, _ in rows()], ids=lambda r: f"{r.field}: {r.reads[:40]}")
def test_each_row_reads_its_example_and_not_the_other(rule: SentenceRule) -> None:
    assert rule.field in ALL
    # An operating hashrate at month end that stands alone is the fleet's capacity.
    field = rule.field.replace("operating_month_end_ehs", "deployed_ehs")
    assert ("2025-07-08" if rule.kind == "event" else "2025-07", field) in facts(update(rule.reads))
    assert field not in {name for _, name in facts(update(rule.never))}


@pytest.mark.parametrize("form", forms(), ids=lambda form: form.example[:50])
def test_each_form_accounts_for_its_words_and_for_nothing_strange(form: Form) -> None:
    sentence = form.example.replace("|", "")
    begin, end = form.example.index("|"), form.example.rindex("|") - 1
    piece = template(sentence, begin, end, "english", {"Heron": True}).shapes
    assert accounted_for(piece)
    assert not accounted_for(f"{piece} avocet")


@pytest.mark.parametrize(
    ("sentence", "licence"),
    [
        ("Heron mined 2,412 BTC in the seven months to July 2025.", "window"),
        ("Since it was founded Heron mined 11,004 BTC.", "window"),
        ("Over the twelve months to July 2025 Heron sold 1,900 BTC.", "window"),
        ("It is untrue that Heron mined 41 BTC in July 2025.", "assertion"),
        ("An estimated 41 BTC were mined in July 2025.", "assertion"),
        ("A rumour that Heron sold 4,000 BTC in July 2025 is false.", "assertion"),
        ("In July 2025 US miners together mined 3,754 BTC.", "subject"),
        ("In July 2025 customers mined 88 BTC on our sites.", "subject"),
        ("In July 2025 the foundation sold 850 BTC worth of tokens.", "subject"),
        ("Heron mined 29,412 BTC in July 2025.", "plausible"),
    ],
)
def test_what_is_not_proven_is_a_candidate_that_names_what_it_lacks(sentence: str, licence: str) -> None:
    reading = update(sentence)
    assert not reading.facts
    assert licence in lacks(reading)
    assert all(c.why for c in reading.candidates)


@pytest.mark.parametrize(
    "sentence",
    [
        "Heron mined between 400 and 412 BTC in July 2025.",
        "Heron held up to 500 BTC at July 31, 2025.",
        "Heron mined 1 412 BTC in July 2025.",
        "Heron sold 1, 479 BTC in July 2025.",
        "In July 2025 Heron sold all 189.8 BTC mined and its whole remaining reserve of 943.1 BTC.",
        "Bitcoin mined: 40 to 44 BTC",
        "Installed hashrate of 1.2 EH/s was added in July 2025.",
        "Bitcoin holdings of 300 BTC were sold in July 2025.",
        "Fleet efficiency of 15.0 J/TH was achieved on new machines.",
        "July 2025 bitcoin mined and held: 41",
    ],
)
def test_bounds_and_split_numbers_are_no_facts(sentence: str) -> None:
    assert not update(sentence).facts


def test_a_month_must_be_stated() -> None:
    """The month before publication is a guess; a title or the sentence states it."""
    assert not update("Heron mined 41 BTC.", title="Heron Mining Update\n").facts
    assert facts(update("Heron mined 41 BTC.")) == {("2025-07", "btc_produced"): "41"}
    assert facts(update("Heron mined 41 BTC in July 2025.", title="Heron Mining Update\n")) == {
        ("2025-07", "btc_produced"): "41"
    }


def test_a_month_in_a_comparison_dates_only_its_own_figure() -> None:
    reading = update("Heron mined 41 BTC, compared to 52 BTC in June 2025.")
    assert facts(reading) == {("2025-07", "btc_produced"): "41", ("2025-06", "btc_produced"): "52"}


def test_a_comparison_that_names_its_month_first_gives_that_months_figure() -> None:
    got = facts(update("Heron produced 41 BTC, an increase of 12% as compared to July 2024 production of 36 BTC."))
    assert got == {("2025-07", "btc_produced"): "41", ("2024-07", "btc_produced"): "36"}


@pytest.mark.parametrize(
    ("before", "proves"),
    [
        ("Form: 8-K\nCurrent report filing\nAugust 5, 2025\nExhibit 99.1\n", True),
        ("Investor Relations\nPress Releases\nAug 5, 2025\n", True),
        ("Wren's customers\nAug 5, 2025\n", False),
        ("Figures of the sector\n", False),
    ],
)
def test_a_page_that_says_only_what_it_is_before_its_title_proves(before: str, proves: bool) -> None:
    got = facts(update("Heron mined 41 BTC in July 2025.", before + TITLE))
    assert got == ({("2025-07", "btc_produced"): "41"} if proves else {})


def test_what_a_dateline_says_of_the_company_is_accounted_for_or_nothing_is_proven() -> None:
    opening = "AUSTIN, Texas, Aug. 5, 2025 (GLOBE NEWSWIRE) -- Heron Inc. (Nasdaq: HRN)"
    assert not facts(update(f"{opening}, a company whose customers, mined 41 BTC in July 2025."))


def test_a_month_that_is_not_over_is_no_fact() -> None:
    reading = update("In August 2025 Heron mined 60 BTC.", published="2025-08-05")
    assert not reading.facts
    assert "period" in lacks(reading)


def test_a_quarters_coins_are_no_months() -> None:
    text = "The Company mined 123 BTC."
    reading = update(text, title="Heron Mining Announces Second Quarter 2025 Results\n")
    assert all(f.period == "2025Q2" for f in reading.facts)


@pytest.mark.parametrize("heading", ["Guidance for August 2025", "Targets", "Pro forma July 2025", "Outlook"])
def test_nothing_under_a_heading_on_what_is_to_come_is_a_fact(heading: str) -> None:
    assert not update(f"{heading}\nBitcoin mined: 60 BTC\nBitcoin held: 1,500 BTC").facts
    table = "Metric | July 2025 | June 2025\nBitcoin mined | 60 | 50\nBitcoin held | 500 | 440"
    assert not update(f"{heading}\n{table}").facts


def test_a_date_dates_an_announced_sale() -> None:
    text = "On February 8, 2026 Heron sold 4,451 BTC for about $305 million."
    reading = update(text, title="Heron Mining sells\n", published="2026-02-10")
    found = {(f.period, f.field) for f in [*reading.facts, *(c.fact for c in reading.candidates)]}
    assert ("2026-02-08", "btc_announced_sale") in found
    assert not any(field == "btc_sold" for _, field in found)


def test_news_needs_a_second_voice() -> None:
    told = {"title": "", "source_kind": "news", "issuer": "CANG", "published": "2025-12-03"}
    alone = update("Cango mined 546.7 BTC in November 2025.", **told)
    assert not alone.facts
    assert lacks(alone) == {"second voice"}
    text = "Cango mined 546.7 BTC in November 2025. Cango mined an average of 18.22 BTC per day in November 2025."
    both = update(text, **told)
    assert facts(both) == {("2025-11", "btc_produced"): "546.7", ("2025-11", "avg_btc_per_day"): "18.22"}


def test_the_book_is_a_second_voice() -> None:
    from tieline.disclosures.facts.keep import book

    told = {"title": "", "source_kind": "news", "issuer": "CANG", "published": "2025-12-03", "known": book().all}
    assert facts(update("Cango mined 546.7 BTC in November 2025.", **told)) == {("2025-11", "btc_produced"): "546.7"}
    assert not update("Cango mined 556.7 BTC in November 2025.", **told).facts


def test_two_readings_of_one_figure_make_no_fact() -> None:
    reading = update("Heron mined 41 BTC in July 2025. In July 2025 Heron produced 52 BTC.")
    assert not reading.facts
    assert {str(c.fact.value) for c in reading.candidates} == {"41", "52"}


def test_a_coin_count_must_fit_the_hashrate() -> None:
    text = "Heron mined 410 BTC in July 2025. Average operating hashrate in July 2025 was 3.5 EH/s."
    reading = update(text)
    assert facts(reading) == {("2025-07", "avg_operating_ehs"): "3.5"}
    assert lacks(reading) == {"plausible"}


def test_a_date_that_contradicts_the_text_is_said() -> None:
    dated = "HOUSTON, September 4, 2025 (GLOBE NEWSWIRE) -- Heron mined 41 BTC in July 2025."
    reading = update(dated, published="2025-08-05")
    assert any("check --published" in note for note in reading.notes)


def load(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def false_facts(examples: list[dict[str, Any]], kind: str = "source_kind") -> list[str]:
    out = []
    for e in examples:
        reading = read(e["raw"], issuer=e["ticker"], published=e["published"], source_kind=e.get(kind))
        for f in reading.facts:
            wanted = e["expected"].get(f.period, {}).get(f.field)
            if f.scope is None and (wanted is None or Decimal(str(wanted)) != f.value):
                out.append(f"{e['id']}: {f.period} {f.field} {f.value} from {f.quote!r}")
    return out


def test_texts_that_are_no_updates_give_no_false_fact() -> None:
    """Calls, broker notes, hosting deals, token sales, placements, guidance, denials, sectors, windows."""
    examples = [e for path in sorted(SETS.glob("*.jsonl")) for e in load(path)]
    assert len(examples) >= 400
    assert not false_facts(examples)


def test_each_trap_names_its_kind_and_the_day_of_its_first_sight() -> None:
    for path in SETS.glob("*.jsonl"):
        assert all(e["kind"] and e["first_sight"] and (e["invented"] or e["of"]) for e in load(path))


def recorded(folder: Path | None, name: str) -> list[dict[str, Any]]:
    return [] if folder is None else load(folder / "disclosures" / name)


def test_the_figures_of_news_are_found(more_data: Path | None) -> None:
    """Of our own news each figure, of five recorded texts 29 of 32, as facts or candidates, and no other value."""
    found = total = 0
    for e in [*NEWS, *recorded(more_data, "mission.jsonl")]:
        reading = read(e["raw"], issuer=e["ticker"], published=e["published"], source_kind=e["url_kind"])
        every = {(f.period, f.field): f.value for f in [*reading.facts, *(c.fact for c in reading.candidates)]}
        for period, fields in e["expected"].items():
            for field, value in fields.items():
                total += 1
                found += every.get((period, field)) == Decimal(str(value))
                assert every.get((period, field)) in (None, Decimal(str(value)))
    own = sum(len(fields) for e in NEWS for fields in e["expected"].values())
    assert total in (own, own + 32)
    assert found >= total - 3 * (total > own)


def test_traps_and_news_give_no_false_fact(more_data: Path | None) -> None:
    more = [*recorded(more_data, "probes.jsonl"), *recorded(more_data, "mission.jsonl")]
    assert not false_facts([*TRAPS, *NEWS, *RELEASES, *more], "url_kind")

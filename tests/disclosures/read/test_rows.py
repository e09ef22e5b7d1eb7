"""The tables and concepts by which labels and numbers are named hang together; a slip in them is told by its row."""

import re
from pathlib import Path

import pytest

from tieline import disclosures
from tieline.disclosures.data import shipped_rows, shipped_toml
from tieline.disclosures.facts.fields import ALL, UNITS
from tieline.disclosures.lexicon import words
from tieline.disclosures.rules.cues import cues, verbs
from tieline.disclosures.rules.labels import BUSINESS, MINING, label_rules

CONCEPTS = shipped_toml("concepts.toml", words._Concepts).concepts
LABELS, CUES = list(shipped_rows("labels.csv")), list(shipped_rows("cues.csv"))


def named(row: dict[str, str]) -> set[str]:
    return {name for column in ("needs", "some", "never") for name in row.get(column, "").split()}


def first(label: str, unit: str | None) -> str | None:
    return next((rule.field for rule in label_rules(unit) if rule.fits(label)), None)


BESIDES = {"", "none", "hashrate", "kUSD", "mUSD", "TH/s", "USD/MWh", "MW", "energy", "power"}
"""Units of a label's row beside those of fields: money and hashrates in other measures, and what is no field's."""


def test_every_row_has_its_columns_and_names_what_there_is() -> None:
    for row in (*LABELS, *CUES):
        assert None not in (*row, *row.values()), row
    for row in LABELS:
        assert row["weak"] in ("", "weak"), row
        assert bool(row["field"]) == bool(row["rule"]), row
        assert row["field"] in {"", *ALL}, row
        assert {*row["units"].split("|")} <= {"other", "other coin", "other money", *BESIDES, *UNITS}, row
    for row in CUES:
        assert row["unit"] in UNITS, row
        assert row["field"] in {"", "hashrate_total", "hashrate_unnamed", *ALL}, row


def test_every_concept_is_asked_for() -> None:
    in_tables = set().union(*map(named, LABELS), *map(named, CUES))
    by_name = {name.lower() for name in vars(words) if name.isupper()}
    assert set(CONCEPTS) == in_tables | by_name


def test_every_list_of_phrases_is_asked_for() -> None:
    """By its name, or within another list."""
    lists = words._lists().words | words._lists().phrases | words._lists().cased
    room = "".join(path.read_text("utf-8") for path in Path(disclosures.__file__).parent.rglob("*.py"))
    asked = {*re.findall(r"phrases\([\"'](\w+)[\"']\)", room)}
    within = {name for lines in lists.values() for line in lines for name in re.findall(r"\{([a-z_]+)\}", line)}
    assert set(lists) == asked | within
    assert not [name for name in lists if re.search(r"\{[a-z]", words.phrases(name).pattern)]


def test_a_part_in_braces_is_written_out() -> None:
    assert not [name for name in CONCEPTS if re.search(r"\{[A-Z]", words.concept(name).pattern)]


def test_a_slip_is_told_by_its_row_or_its_concept(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"field": "btc_sold", "needs": "sold", "never": "held zold"}
    with pytest.raises(ValueError, match="never of the row btc_sold,sold,held zold: no concept 'zold' in"):
        words.concepts(row, "never")
    broken = words._Concepts(parts={}, concepts={"broken": (r"\b(sold",)})
    monkeypatch.setattr(words, "_file", lambda: broken)
    with pytest.raises(ValueError, match=r"concept 'broken' of data/concepts.toml: missing \)"):
        words.concept("broken")


@pytest.mark.parametrize(
    ("label", "unit", "field"),
    [
        ("Installed hashrate", None, "deployed_ehs"),
        ("Installed", "EH/s", "deployed_ehs"),
        ("Installed", None, None),
        ("Ending balance (BTC)" + MINING, None, "btc_held_end"),
        ("Revenue" + BUSINESS, "USD", None),
        ("Cash at month end", "USD", "cash_usd"),
    ],
)
def test_labels_go_by_unit_by_name_and_by_their_heading(label: str, unit: str | None, field: str | None) -> None:
    assert first(label, unit) == field


def test_what_coins_did_is_told_by_verbs_alone() -> None:
    assert [field for field, _ in verbs()] == [row["field"] for row in CUES if row["near"] == "nearest"]
    assert all(cue.near != "nearest" for cue in cues("BTC"))
    assert cues(None) == ()

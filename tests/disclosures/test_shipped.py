"""The facts that come with the package."""

import csv
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from tieline.disclosures.facts.fields import ALL
from tieline.disclosures.facts.shipped import known_from, parse, shipped

from .conftest import value_of

COLUMNS = {
    "btc_produced": "btc_produced",
    "avg_btc_per_day": "avg_btc_per_day",
    "btc_held_end": "btc_held_end",
    "btc_sold": "btc_sold",
    "deployed_hashrate_ehs": "deployed_ehs",
    "avg_operating_hashrate_ehs": "avg_operating_ehs",
    "restricted_or_pledged_btc": "restricted_or_pledged_btc",
    "sale_proceeds_usd": "sale_proceeds_usd",
    "avg_sale_price_usd": "avg_sale_price_usd",
    "deployed_or_energized_ehs": "deployed_ehs",
    "avg_operating_ehs": "avg_operating_ehs",
    "efficiency_j_th": "efficiency_j_th",
    "energy_cost_usd_per_btc": "energy_cost_usd_per_btc",
    "revenue_usd": "revenue_usd",
}


def test_the_book_of_the_first_day() -> None:
    book = shipped()
    assert len(book.all) > 550
    assert {"CANG", "RIOT", "MARA", "CLSK", "IREN", "WULF", "BITF", "CORZ", "HIVE"} <= set(book.issuers)
    assert value_of(book, "CANG", "2026-01", "btc_sold") == Decimal("550.03")
    assert str(value_of(book, "CANG", "2025-04", "btc_produced")) == "470.0"
    for claim in book.all:
        assert claim.fact.unit == ALL[claim.fact.field][0]
        assert claim.source
        assert claim.fact.method == "typed"
        assert claim.fact.span is None


# Of Cango's first months: what was printed, and what can only be worked out and so is no fact.
PRINTED = {
    ("2024-11", "btc_produced"): "363.9", ("2024-11", "avg_btc_per_day"): "18.85", ("2024-11", "deployed_ehs"): "32",
    ("2024-11", "avg_operating_ehs"): "29.75", ("2024-11", "btc_held_end"): "363.9",
    ("2025-07", "btc_produced"): "650.5", ("2025-11", "btc_produced"): "546.7", ("2026-01", "btc_sold"): "550.03",
}  # fmt: skip


def test_every_printed_monthly_fact_is_there_and_no_derived_one(more_data: Path | None) -> None:
    book, found, absent = shipped(), 0, 0
    for (period, field), value in PRINTED.items():
        assert value in {str(claim.value) for claim in book.claims("CANG", period, field)}, (period, field)
    if more_data is None:
        return
    for name in ("cango_monthly.csv", "peers_monthly.csv"):
        with (more_data / "disclosures" / name).open() as file:
            for row in csv.DictReader(file):
                issuer, period = row.get("ticker") or "CANG", row["period"]
                derived = set((row.get("derived_fields") or "").split(","))
                for column, field in COLUMNS.items():
                    if not row.get(column):
                        continue
                    values = {str(claim.value) for claim in book.claims(issuer, period, field)}
                    if column in derived:
                        assert not values, (issuer, period, field)
                        absent += 1
                    else:
                        assert row[column] in values, (issuer, period, field, row[column], values)
                        found += 1
    assert found > 350
    assert absent > 5


def test_no_claim_is_told_twice() -> None:
    book = shipped()
    assert len(book.all) == len({claim.id for claim in book.all})


def test_what_could_be_known_then() -> None:
    book = shipped()
    assert known_from("2026-02-03") == datetime(2026, 2, 4, tzinfo=UTC)
    before = book.as_of(datetime(2026, 2, 3, 12, tzinfo=UTC))
    assert before.best("CANG", "2026-01", "btc_sold") is None
    after = book.as_of(datetime(2026, 2, 4, tzinfo=UTC))
    assert value_of(after, "CANG", "2026-01", "btc_sold") == Decimal("550.03")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[[document]]\nissuer = 1", "issuer"),
        ('[[document]]\nissuer="X"\nsource="s"\nkind="rumour"\n[document.facts]', "news_of_release"),
        (
            '[[document]]\nissuer="X"\nsource="s"\nkind="news"\n[document.facts]\n"2025-13"={btc_sold=1}',
            "test.toml: X 2025-13",
        ),
        (
            '[[document]]\nissuer="X"\nsource="s"\nkind="news"\n[document.facts]\n"2025-01"={coins=1}',
            "test.toml: X 2025-01.coins",
        ),
        ('[[document]]\nissuer="X"\nsource="s"\nkind="news"\n[document.facts]\n"2025-01"={btc_sold="many"}', "many"),
        ('[[document]]\nissuer="X"\nsource="s"\nkind="news"\n[document.facts]\n"2025-01"={btc_sold=nan}', "NaN|nan"),
        ("[[document]\n", "test.toml"),
    ],
)
def test_a_wrong_file_names_what_to_mend(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        list(parse(text, "test.toml"))

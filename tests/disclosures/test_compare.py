"""The peers' dashboard: columns, ranks, who is absent, sums, and what is taken away."""

import csv
import io
import json
import random
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieline.disclosures.comparison import export
from tieline.disclosures.comparison.columns import COLUMNS
from tieline.disclosures.comparison.compare import RULE, IssuerMonth, months, table
from tieline.disclosures.comparison.explain import bridge
from tieline.disclosures.facts.book import ClaimBook
from tieline.disclosures.facts.shipped import shipped

from .conftest import typed_claims

SAMPLED = {
    "btc_produced": "btc_produced", "avg_btc_per_day": "avg_btc_per_day", "btc_held_end": "btc_held_end",
    "btc_sold": "btc_sold", "deployed_hashrate_ehs": "deployed_ehs", "deployed_or_energized_ehs": "deployed_ehs",
    "avg_operating_hashrate_ehs": "avg_operating_ehs", "avg_operating_ehs": "avg_operating_ehs",
    "restricted_or_pledged_btc": "restricted_or_pledged_btc", "efficiency_j_th": "efficiency_j_th",
}  # fmt: skip
"""Columns of the source rows and the fields that they are."""


def row(book: ClaimBook, month: str, issuer: str) -> IssuerMonth:
    return next(one for one in table(book, month).rows if one.issuer == issuer)


def test_cango_in_september_2025() -> None:
    cells = row(shipped(), "2025-09", "CANG").cells
    values = {name: str(cell.value) for name, cell in cells.items()}
    assert values["produced"] == "616.6"
    assert values["operating_share"] == "89.7"
    assert values["implied_realised"] == "44.99"
    assert values["chain_ratio"] == "1.0031"
    assert values["pledged"] == "5786"
    assert values["ltv"] == "61.4"
    assert cells["produced"].computed is None
    # 24.0 BTC would be inside the rounding of the receivable, which is 44 BTC: nothing is said.
    assert "unencumbered" not in cells
    riot = row(shipped(), "2025-09", "RIOT").cells["unencumbered"]
    assert riot.id == "RIOT.2025-09.unencumbered_btc"


def test_what_left_the_balance_shows_all_that_came() -> None:
    month = {"btc_open": 100, "btc_produced": 10, "btc_lenders_net": -5, "btc_held_end": 95, "btc_sold": 10}
    cells = row(ClaimBook(typed_claims("X", {"2025-03": month})), "2025-03", "X").cells
    assert cells["implied_outflow"].computed == "100 + 10 - 5 net from lenders - 95 = 10"
    assert cells["unexplained_outflow"].value == 0


def test_every_column_has_a_cell_somewhere() -> None:
    seen = {name for month in months(shipped()) for one in table(shipped(), month).rows for name in one.cells}
    # Nobody's market value or capital spent ships with the package: they are kept by whoever has them.
    assert seen == {column.name for column in COLUMNS} - {"price_to_hashrate", "price_to_hash", "capex"}
    mine = typed_claims(
        "X", {"2025-03": {"deployed_ehs": 4, "avg_operating_ehs": "2.5"}, "2025-03-31": {"market_cap_usd": 200_000_000}}
    )
    mine += typed_claims("X", {"2025Q1": {"capex_usd": 9_000_000, "cash_cost_usd_per_btc": 51_000}})
    cells = row(ClaimBook(mine), "2025-03", "X").cells
    assert cells["price_to_hashrate"].value == 50_000
    assert cells["price_to_hash"].value == 80_000
    assert cells["capex"].value == 9_000_000
    assert cells["cash_cost"].value == 51_000


def test_contracts_of_a_tenant_are_not_counted_twice() -> None:
    """A later figure of the same tenant is cumulative."""
    assert row(shipped(), "2024-09", "CORZ").cells["ai_contracts"].value == 200
    wulf = table(shipped(), "2024-09").rows
    assert all("ai_contracts" not in one.cells for one in wulf if one.issuer == "WULF")


def test_a_figure_nobody_printed_is_absent_not_zero() -> None:
    cells = row(shipped(), "2025-08", "IREN").cells
    assert "held" not in cells
    assert "sold" not in cells
    assert "unencumbered" not in cells


def test_computed_production_is_shown_but_not_ranked() -> None:
    found = row(shipped(), "2026-03", "CANG")
    assert found.cells["produced"].value == Decimal("314.82")
    assert found.cells["produced"].computed is not None
    assert not found.included
    assert found.ranks == {}
    assert not table(shipped(), "2026-03").sums


def test_what_is_not_in_the_book_is_no_act_of_a_company() -> None:
    """Absence is ours; that a miner stopped is said only with a source."""
    absent = {gone.issuer: gone for gone in table(shipped(), "2025-09").absent}
    assert absent["BITF"].says.startswith("not in the book")
    assert absent["BTDR"].following == "2026-05"
    assert "Farside" in absent["HUT"].says
    assert "CANG" not in absent
    said = [gone.says for month in months(shipped()) for gone in table(shipped(), month).absent]
    assert all(says.startswith(("not in the book", "stopped by")) for says in said)
    assert {
        gone.issuer for m in months(shipped()) for gone in table(shipped(), m).absent if "stopped" in gone.says
    } == {"HUT"}


def test_every_rank_and_sum_says_of_how_many() -> None:
    found = table(shipped(), "2024-05")
    assert found.coverage == "13 of 18 that published"
    assert {one.column: one.coverage for one in found.sums}["sold"] == "3 of 18 that published"
    assert set(found.published) >= {row.issuer for row in found.rows if row.included}


# The months of which eight miners or more published what they produced, Cango beside them from November 2024.
FULL = [
    "2023-09", "2023-10", "2023-12", "2024-01", "2024-02", "2024-03", "2024-04", "2024-05", "2024-07", "2024-09",
    "2025-04", "2025-05",
]  # fmt: skip
# What twelve releases printed as produced, and where they are to be read.
PRINTED = [
    ("BITF", "2023-03", "424", "financemagnates.com"),
    ("BITF", "2024-05", "156", "cryptonewsmag.com"),
    ("CANG", "2025-09", "616", "reportify.ai"),
    ("CIFR", "2025-06", "160", "worldtourstory.com"),
    ("CORZ", "2022-09", "1213", "theblock.co"),
    ("CORZ", "2024-05", "447", "stocktitan.net"),
    ("HUT", "2023-10", "112", "sec.gov"),
    ("HUT", "2023-12", "453", "hut8.com"),
    ("IREN", "2023-02", "156", "irisenergy.gcs-web.com"),
    ("IREN", "2025-02", "459", "advfn.com"),
    ("MARA", "2023-03", "825", "finance.losaltos.com"),
    ("MARA", "2025-09", "736", "mexc.fm"),
]


def test_every_full_month_ranks_eight_and_more_and_says_of_how_many() -> None:
    for month in FULL:
        found = table(shipped(), month)
        assert found.ranked >= 8, month
        assert str(found.ranked) in found.coverage


@pytest.mark.parametrize(("issuer", "month", "coins", "host"), PRINTED)
def test_what_a_release_printed_is_in_the_book_with_its_source(issuer: str, month: str, coins: str, host: str) -> None:
    claims = shipped().claims(issuer, month, "btc_produced")
    assert [one.value for one in claims if host in one.source] == [Decimal(coins)]


def test_the_sector_is_in_the_book(more_data: Path | None) -> None:
    """Nine tenths of the miner-months given, no figure other than its source row's, eight ranked where eight are."""
    if more_data is None:
        assert len(shipped().issuers) >= 20
        return
    rows = [
        one
        for name in ("peers_monthly.csv", "peers_monthly_more.csv", "cango_monthly.csv")
        for one in csv.DictReader((more_data / "disclosures" / name).open(encoding="utf-8"))
    ]
    book, inside, given = shipped(), set(), {}
    months_given: dict[str, set[str]] = {}
    for one in rows:
        issuer, month = one.get("ticker") or "CANG", one["period"]
        if one["btc_produced"]:
            months_given.setdefault(month, set()).add(issuer)
        for field in ("btc_produced", "btc_held_end", "btc_sold", "avg_operating_ehs"):
            value = one.get(field) or (one.get("avg_operating_hashrate_ehs") if field == "avg_operating_ehs" else "")
            if value:
                given[issuer, month, field, one["source"]] = Decimal(value)
                if any(claim.value == Decimal(value) for claim in book.claims(issuer, month, field)):
                    inside.add((issuer, month))
    assert len(inside) >= 0.9 * len({key[:2] for key in given})
    for (issuer, month, field, source), value in given.items():
        same = [claim for claim in book.claims(issuer, month, field) if claim.source == source]
        assert not same or value in {claim.value for claim in same}
    full = [month for month, issuers in months_given.items() if len(issuers) >= 8 and month >= "2023"]
    assert len(full) >= 12
    for month in full:
        assert table(book, month).ranked >= 8


def test_of_a_hundred_sampled_figures_none_differs_from_its_source_row(more_data: Path | None) -> None:
    """Drawn from the printed figures of all rows that the book holds, with a seed so that they can be drawn again."""
    drawn = [(issuer, month, "btc_produced", Decimal(coins), host) for issuer, month, coins, host in PRINTED]
    names = () if more_data is None else ("peers_monthly.csv", "peers_monthly_more.csv", "cango_monthly.csv")
    for name in names:
        assert more_data is not None
        for one in csv.DictReader((more_data / "disclosures" / name).open(encoding="utf-8")):
            derived = set((one.get("derived_fields") or "").split(","))
            for column, field in SAMPLED.items():
                if one.get(column) and column not in derived:
                    drawn.append(
                        (one.get("ticker") or "CANG", one["period"], field, Decimal(one[column]), one["source"])
                    )
    book = shipped()
    held = [one for one in drawn if book.claims(*one[:3])]
    assert len(held) >= 0.9 * len(drawn)
    sample = random.Random(20261129).sample(sorted(held), min(100, len(held)))
    differ = [one for one in sample if one[3] not in {claim.value for claim in book.claims(*one[:3])}]
    assert not differ


def test_equal_values_share_a_rank() -> None:
    claims = [
        claim
        for issuer, coins in (("A", 5), ("B", 7), ("C", 7), ("D", 1))
        for claim in typed_claims(issuer, {"2025-01": {"btc_produced": coins}})
    ]
    claims += typed_claims("E", {"2025-01": {"btc_produced": 99}}, kind="aggregator")
    found = table(ClaimBook(claims), "2025-01")
    assert {one.issuer: one.ranks.get("produced") for one in found.rows} == {"A": 3, "B": 1, "C": 1, "D": 4, "E": None}
    assert [one.issuer for one in found.rows] == ["B", "C", "A", "D", "E"]
    assert found.sums[0].value == 20
    assert found.sums[0].miners == ("A", "B", "C", "D")


def test_hashcost_says_of_which_cost() -> None:
    riot = row(shipped(), "2025-04", "RIOT").cells["hashcost"]
    assert riot.value == Decimal("18.65")
    assert "power" in (riot.computed or "")
    cango = row(shipped(), "2025-09", "CANG").cells["hashcost"]
    assert "cash cost of 2025Q3" in (cango.computed or "")


def test_a_closing_between_two_that_production_connects() -> None:
    held = row(shipped(), "2025-01", "CANG").cells["held"]
    assert held.value == Decimal("1472.0")
    assert held.computed is not None
    # MARA's January 2024 does not close without more purchases than were printed: nothing follows for December.
    assert all("held" not in one.cells for one in table(shipped(), "2023-12").rows if one.issuer == "MARA")


def test_csv_and_json_carry_every_cell() -> None:
    tables = [table(shipped(), "2025-09")]
    found = list(csv.DictReader(io.StringIO(export.to_csv(export.rows(tables)))))
    assert [one["issuer"] for one in found[:3]] == ["MARA", "CLSK", "CANG"]
    assert found[2]["produced"] == "616.6"
    assert found[1]["ltv"] == ""
    long = list(csv.DictReader(io.StringIO(export.to_csv(export.rows(tables, "long")))))
    assert {one["figure"] for one in long} >= {"CANG.2025-09.btc_produced", "CANG.2025-09.ltv_pct"}
    whole = json.loads(export.to_json(tables))
    assert whole[0]["rule"] == RULE
    assert whole[0]["rows"][2]["cells"]["ltv"]["value"] == 61.4


def test_a_cell_that_a_spreadsheet_would_run_is_quoted() -> None:
    book = ClaimBook(typed_claims("=HYPERLINK(1)", {"2025-01": {"btc_produced": 1}}))
    assert "'=HYPERLINK(1)" in export.to_csv(export.rows([table(book, "2025-01")]))


def test_parquet_round_trip() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    tables = [table(shipped(), month) for month in months(shipped())]
    for shape in ("wide", "long"):
        found = export.rows(tables, shape)
        back = parquet.read_table(pyarrow.BufferReader(export.to_parquet(found)))
        assert back.num_rows == len(found)
        assert back.schema.metadata[b"rule"].decode() == RULE
    assert parquet.read_table(pyarrow.BufferReader(export.to_parquet([]))).num_rows == 0


def test_without_pyarrow_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(export.ExportError, match="tieline\\[parquet\\]"):
        export.to_parquet([])


FIELDS = st.sampled_from(
    [
        "btc_produced",
        "btc_held_end",
        "btc_sold",
        "btc_open",
        "restricted_or_pledged_btc",
        "deployed_ehs",
        "avg_operating_ehs",
        "receivable_usd",
        "power_cost_usd_per_kwh",
        "efficiency_j_th",
        "energy_cost_usd_per_btc",
        "long_term_debt_usd",
        "loan_balance_usd",
        "free_btc",
        "avg_sale_price_usd",
        "btc_announced_sale",
        "cash_cost_usd_per_btc",
        "loan_collateral_btc",
    ]
)
PERIODS = st.sampled_from(["2025-01", "2025-02", "2025-03", "2025Q1", "2025-03-31"])
NUMBERS = st.one_of(st.just(Decimal(0)), st.decimals(min_value=-100, max_value=10**9, places=1))


@given(st.dictionaries(PERIODS, st.dictionaries(FIELDS, NUMBERS, max_size=8), max_size=5))
def test_no_book_breaks_the_table(facts: dict[str, dict[str, Decimal]]) -> None:
    book = ClaimBook(typed_claims("X", facts))
    for month in ("2024-12", "2025-01", "2025-02", "2025-03", "2025-04"):
        found = table(book, month)
        assert len(found.rows) <= 1
        bridge(book, "X", month)


def test_rows_of_a_book_that_is_empty() -> None:
    book: ClaimBook = ClaimBook([])
    assert months(book) == ()
    assert table(book, "2025-01").rows == ()

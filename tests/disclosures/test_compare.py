"""The peers' dashboard: columns, ranks, who is absent, sums, and what is taken away."""

import csv
import io
import json
import sys
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieline.disclosures import export
from tieline.disclosures.book import Book
from tieline.disclosures.columns import COLUMNS
from tieline.disclosures.compare import RULE, Row, months, table
from tieline.disclosures.explain import bridge
from tieline.disclosures.shipped import shipped

from .conftest import typed_claims


def row(book: Book, month: str, issuer: str) -> Row:
    return next(one for one in table(book, month).rows if one.issuer == issuer)


def test_cango_in_september_2025() -> None:
    cells = row(shipped(), "2025-09", "CANG").cells
    values = {name: str(cell.value) for name, cell in cells.items()}
    assert values["produced"] == "616.6"
    assert values["operating_share"] == "89.7"
    assert values["implied_realised"] == "44.99"
    assert values["chain_ratio"] == "1.0031"
    assert values["pledged"] == "5786"
    assert values["unencumbered"] == "24.0"
    assert values["ltv"] == "61.4"
    assert cells["produced"].computed is None
    assert cells["unencumbered"].computed is not None
    assert cells["unencumbered"].id == "CANG.2025-09.unencumbered_btc"


def test_every_column_has_a_cell_somewhere() -> None:
    seen = {name for month in months(shipped()) for one in table(shipped(), month).rows for name in one.cells}
    assert seen == {column.name for column in COLUMNS}


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


def test_who_stopped_is_told_with_the_month() -> None:
    absent = {gone.issuer: gone for gone in table(shipped(), "2025-09").absent}
    assert absent["RIOT"].last == "2025-04"
    assert absent["RIOT"].following is None
    assert "dropped" in absent["RIOT"].says
    assert absent["BTDR"].following == "2026-05"
    assert "CANG" not in absent


def test_equal_values_share_a_rank() -> None:
    claims = [
        claim
        for issuer, coins in (("A", 5), ("B", 7), ("C", 7), ("D", 1))
        for claim in typed_claims(issuer, {"2025-01": {"btc_produced": coins}})
    ]
    claims += typed_claims("E", {"2025-01": {"btc_produced": 99}}, kind="aggregator")
    found = table(Book(claims), "2025-01")
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
    assert [one["issuer"] for one in found[:2]] == ["CLSK", "CANG"]
    assert found[1]["produced"] == "616.6"
    assert found[0]["ltv"] == ""
    long = list(csv.DictReader(io.StringIO(export.to_csv(export.rows(tables, "long")))))
    assert {one["figure"] for one in long} >= {"CANG.2025-09.btc_produced", "CANG.2025-09.ltv_pct"}
    whole = json.loads(export.to_json(tables))
    assert whole[0]["rule"] == RULE
    assert whole[0]["rows"][1]["cells"]["ltv"]["value"] == 61.4


def test_a_cell_that_a_spreadsheet_would_run_is_quoted() -> None:
    book = Book(typed_claims("=HYPERLINK(1)", {"2025-01": {"btc_produced": 1}}))
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
    book = Book(typed_claims("X", facts))
    for month in ("2024-12", "2025-01", "2025-02", "2025-03", "2025-04"):
        found = table(book, month)
        assert len(found.rows) <= 1
        bridge(book, "X", month)


def test_rows_of_a_book_that_is_empty() -> None:
    book: Book = Book([])
    assert months(book) == ()
    assert table(book, "2025-01").rows == ()

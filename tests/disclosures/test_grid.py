"""The grid: any field by miner and month, newest first, with coverage, staleness, changes and CSV."""

import csv
import io

import pytest

from tieline.disclosures.comparison.grid import grid, to_csv
from tieline.disclosures.facts.book import ClaimBook
from tieline.disclosures.facts.shipped import shipped

from .conftest import typed_claims


def small() -> ClaimBook:
    claims = typed_claims("A", {"2024-01": {"btc_produced": 80}, "2025-01": {"btc_produced": 100}})
    claims += typed_claims("A", {"2025-02": {"btc_produced": 90}, "2025-03": {"btc_produced": 99}})
    return ClaimBook([*claims, *typed_claims("B", {"2025-01": {"btc_produced": 7}})])


def test_newest_month_first_with_links_and_staleness() -> None:
    found = grid(small(), "btc_produced")
    assert found.months == ("2025-03", "2025-02", "2025-01", "2024-01")
    assert [(line.issuer, line.behind) for line in found.lines] == [("A", 0), ("B", 2)]
    assert found.lines[0].cells["2025-03"].figure == "A.2025-03.btc_produced"
    assert "2025-03" not in found.lines[1].cells
    assert found.coverage["2025-03"] == "1 of 2"
    assert found.coverage["2025-01"] == "2 of 2"


def test_changes_need_both_months() -> None:
    month = {m: str(c.value) for m, c in grid(small(), "btc_produced", view="month").lines[0].cells.items()}
    assert month == {"2025-02": "-10.0", "2025-03": "10.0"}
    year = {m: str(c.value) for m, c in grid(small(), "btc_produced", view="year").lines[0].cells.items()}
    assert year == {"2025-01": "25.0"}


def test_csv_holds_what_is_seen() -> None:
    rows = list(csv.reader(io.StringIO(to_csv(grid(small(), "btc_produced", since="2025-01", issuers=["a"])))))
    assert rows[0][5:] == ["2025-03", "2025-02", "2025-01"]
    assert rows[1] == ["A", "btc_produced", "BTC", "2025-03", "0", "99", "90", "100"]
    assert rows[-1][0] == "in the book"


@pytest.mark.parametrize(
    ("told", "says"),
    [({"field": "nonsense"}, "no field"), ({"issuers": ["ZZZ"]}, "ZZZ"), ({"since": "2025"}, "YYYY-MM")],
)
def test_what_there_is_not_is_named(told: dict[str, object], says: str) -> None:
    given = {"field": "btc_produced", **told}
    with pytest.raises(ValueError, match=says):
        grid(small(), **given)  # type: ignore[arg-type]  # wrong on purpose


def test_the_shipped_sector_has_every_field_that_the_grid_is_asked_for() -> None:
    for field in ("btc_produced", "btc_held_end", "btc_sold", "deployed_ehs", "avg_operating_ehs", "efficiency_j_th"):
        assert len(grid(shipped(), field).lines) >= 7

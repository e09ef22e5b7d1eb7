"""What the console is given: plain JSON, every link resolves, and it is fast."""

import json
import time
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tieline.disclosures.comparison import compare, page
from tieline.disclosures.facts.book import ClaimBook
from tieline.disclosures.facts.claims import Claim
from tieline.disclosures.facts.fact import Fact
from tieline.disclosures.facts.shipped import shipped

from .conftest import typed_claims


def test_the_dashboard_is_not_empty_on_the_first_day() -> None:
    found = page.dashboard(shipped())
    assert found["month"] == "2025-09", "the newest month that ranks five; later ones rank three or fewer"
    assert sum(1 for row in found["table"] if row["included"]) >= page.COMPARES
    assert found["table"]
    assert found["verdicts"]
    assert found["bridges"]
    assert found["series"]["btc_produced"]["CANG"][0] == ["2024-11", 363.9]
    json.dumps(found)


def test_every_figure_of_every_month_opens() -> None:
    book, opened = shipped(), 0
    for month in compare.months(book):
        found = page.dashboard(book, month)
        for row in found["table"]:
            for cell in row["cells"].values():
                shown = page.figure(book, cell["figure"])
                assert shown["value"] == cell["value"]
                assert shown["claims"]
                assert cell["link"] == f"/disclosures#{cell['figure']}"
                opened += 1
        for verdict in found["verdicts"]:
            for name in verdict["figures"]:
                assert page.figure(book, name)["claims"]
    assert opened > 500


def test_every_claim_opens() -> None:
    book = shipped()
    for claim in book.all:
        assert page.figure(book, claim.id)["asked"] == claim.id


def test_a_figure_opens_to_its_span_and_checks() -> None:
    fact = Fact(
        issuer="X", period="2025-01", field="btc_produced", value=Decimal(310), unit="BTC",
        span=(12, 30), quote="produced 310 BTC", printed="310",
    )  # fmt: skip
    average = Fact(issuer="X", period="2025-01", field="avg_btc_per_day", value=Decimal(10), unit="BTC/day")
    known = datetime(2025, 2, 3, tzinfo=UTC)
    book = ClaimBook(
        Claim(
            fact=one,
            source="https://x.test",
            source_kind="issuer",
            published="2025-02-03",
            known_at=known,
            document="ab",
        )
        for one in (fact, average)
    )
    shown = page.figure(book, "X.2025-01.btc_produced")
    assert shown["claims"][0]["span"] == [12, 30]
    assert shown["claims"][0]["quote"] == "produced 310 BTC"
    assert shown["claims"][0]["document"] == "ab"
    assert [verdict["check"] for verdict in shown["verdicts"]] == ["average"]


def test_a_computed_figure_opens_whatever_its_ticker_holds() -> None:
    month = {"btc_produced": 310, "avg_operating_ehs": 20, "deployed_ehs": 25}
    book = ClaimBook(typed_claims("BITF.TO", {"2025-01": month}))
    cells = page.dashboard(book, "2025-01")["table"][0]["cells"]
    shown = page.figure(book, cells["operating_share"]["figure"])
    assert (shown["id"], shown["issuer"], shown["value"]) == ("BITF-TO.2025-01.operating_share_pct", "BITF.TO", 80)


@pytest.mark.parametrize(
    "name", ["", "X", "CANG", "CANG.2026-01", "CANG.2026-01.nothing", "NO.2026-01.ltv_pct", "..", "~"]
)
def test_an_unknown_figure_says_so(name: str) -> None:
    with pytest.raises(page.NoFigureError, match="no figure"):
        page.figure(shipped(), name)


def test_a_wrong_month_says_so() -> None:
    with pytest.raises(ValueError, match="YYYY-MM"):
        page.dashboard(shipped(), "May 2025")
    assert page.dashboard(shipped(), "2019-01")["table"] == []
    with pytest.raises(ValueError, match="no month"):
        page.dashboard(ClaimBook([]))


def test_it_is_fast_once_asked() -> None:
    book = shipped()
    page.dashboard(book, "2025-09")
    page.figure(book, "CANG.2025-09.ltv_pct")
    began = time.perf_counter()
    for _ in range(20):
        page.dashboard(book, "2025-09")
        page.figure(book, "CANG.2025-09.ltv_pct")
    assert (time.perf_counter() - began) / 20 < 0.05

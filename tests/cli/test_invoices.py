"""Invoices on paper: taxes, credits by what was measured, numbers by entity and year, the same bytes twice."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pypdf
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.folder import make, open_store
from tests.cli.test_books_add import balances, run, used

from tieline.books.invoicing.terms import (
    AgreedCredit,
    Attainment,
    InvoiceTerms,
    SlaTerm,
    TaxRule,
    credits_of,
    taxes_of,
)

NOW = datetime(2026, 9, 10, 12, 0, tzinfo=UTC)
POLICY = """
company = "Parent Inc"
payment_days = 14

[[entity]]
name = "Texas LLC"
tenants = ["bird"]
invoices = "TX-"
address = ["1 Main St", "Austin"]
tax_id = "12-345"

[[customer]]
tenant = "acme"
name = "Acme GmbH #1 *bold* $x$"
address = ["Hauptstr. 1", "Berlin"]
tax_id = "DE1"

[[sla]]
name = "answered"
tenants = ["acme"]
share = 0.9
credit = 0.1

[[credit]]
tenant = "acme"
month = "2026-08"
amount_usd = 1
why = "Migration"

[[tax]]
name = "VAT 19 %"
rate = 0.19
tenants = ["acme"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = make(tmp_path / "data", [], NOW)
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    told = run("books", "policy", policy, "--data-dir", folder)
    assert told.exit_code == 0, told.output
    store = open_store(folder)
    failed = msgspec.structs.replace(used(2, 0, "acme"), status=503)
    store.append([used(1, 10**10 + 4_567_890, "acme"), failed, used(3, 2 * 10**9, "bird")])
    store.close()
    return folder


def issue(folder: Path, *more: str) -> str:
    told = run("books", "issue", "--month", "2026-08", "--data-dir", folder, *more)
    assert told.exit_code == 0, told.output
    return told.output


def test_credits_and_taxes_are_lines_and_are_booked_apart(folder: Path) -> None:
    issue(folder)
    # 10.00 of use; half of the requests failed: 10 % back; 1 agreed; 19 % of 8.00.
    told = json.loads(run("books", "invoice", "2026-00001", "--data-dir", folder).output)
    assert [line["usd"] for line in told["lines"]] == ["10.00", "-1.00", "-1.00", "1.52"]
    assert told["lines"][0]["exact_usd"] == "10.004568"
    assert "1 of 2 requests kept to it (50.000 %, promised 90 %): 10 % of 10.00" in told["lines"][1]["what"]
    assert (told["net_usd"], told["tax_usd"], told["total_usd"]) == ("8.00", "1.52", "9.52")
    assert told["due"] == "2026-09-24"
    held = balances(folder)
    assert held["Assets:Receivable:acme", "USD"] == "9.52"
    assert held["Income:Credits", "USD"] == "2.00"
    assert held["Liabilities:Tax:VAT 19 %", "USD"] == "-1.52"


def test_numbers_have_no_gap_within_each_entity_and_late_use_has_no_second_credit(folder: Path) -> None:
    assert [line.split()[0] for line in issue(folder).splitlines()[:2]] == ["2026-00001", "TX-2026-00001"]
    assert "nothing of 2026-08 is left" in issue(folder)
    store = open_store(folder)
    store.append([used(4, 10**9, "acme"), used(5, 10**9, "bird")])
    store.close()
    late = issue(folder).splitlines()
    assert [line.split()[0] for line in late[:2]] == ["2026-00002", "TX-2026-00002"]
    told = json.loads(run("books", "invoice", "2026-00002", "--data-dir", folder).output)
    assert [line["usd"] for line in told["lines"]] == ["1.00", "0.19"]


def test_the_paper_is_pdf_a_says_what_the_record_says_and_is_the_same_bytes_twice(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("typst")
    issue(folder)
    files = [tmp_path / "1.pdf", tmp_path / "2.pdf"]
    for file in files:
        told = run("books", "invoice", "2026-00001", "--form", "pdf", "--to", file, "--data-dir", folder)
        assert told.exit_code == 0, told.output
    assert files[0].read_bytes() == files[1].read_bytes()
    paper = pypdf.PdfReader(io.BytesIO(files[0].read_bytes()))
    text = paper.pages[0].extract_text()
    for words in ("Invoice 2026-00001", "Acme GmbH #1 *bold* $x$", "VAT 19 % on 8.00", "9.52", "DE1"):
        assert words in text
    xmp = str(paper.xmp_metadata and files[0].read_bytes())
    assert "pdfaid:part>2" in xmp
    assert "pdfaid:conformance>B" in xmp


def test_an_invoice_that_was_not_issued_is_named(folder: Path) -> None:
    told = run("books", "invoice", "2026-00009", "--data-dir", folder)
    assert told.exit_code == 3
    assert "no invoice '2026-00009' was issued" in told.output


def test_a_first_token_that_was_not_measured_counts_for_neither_side() -> None:
    term = SlaTerm(name="fast", share=Decimal("0.9"), credit=Decimal("0.5"), first_token_ms=100)
    attained = Attainment([term])
    for n, (ms, status) in enumerate([(50.0, 200), (150.0, 200), (None, 200), (50.0, 500)]):
        attained.take(msgspec.structs.replace(used(n, 1, "t"), first_token_ms=ms, status=status))
    one = attained.by["fast", "t"]
    assert (one.kept, one.counted) == (1, 3)


@given(
    st.decimals(0, 10_000, places=2),
    st.lists(st.decimals("0.01", 1000, places=2), max_size=3),
    st.decimals("0.01", 1, places=2),
    st.decimals(0, "0.99", places=4),
)
def test_credits_never_exceed_use_and_taxes_are_of_the_rest(
    use: Decimal, agreed: list[Decimal], credit: Decimal, rate: Decimal
) -> None:
    terms = InvoiceTerms(
        sla=(SlaTerm(name="s", share=Decimal(1), credit=credit),),
        credit=tuple(AgreedCredit(tenant="t", month="2026-08", amount_usd=one, why="w") for one in agreed),
        tax=(TaxRule(name="x", rate=rate),),
    )
    attained = Attainment(terms.sla)
    attained.take(msgspec.structs.replace(used(1, 1, "t"), status=500))
    back = credits_of(terms, "t", "2026-08", use, attained.by)
    given_back = -sum((line.amount_usd for line in back), Decimal(0))
    assert 0 <= given_back <= use
    assert all(line.amount_usd < 0 for line in back)
    net = use - given_back
    taxed = taxes_of(terms, "t", (NOW + timedelta(days=1)).date(), back)
    assert all(line.amount_usd == round(line.amount_usd, 2) for line in taxed)
    assert net >= 0

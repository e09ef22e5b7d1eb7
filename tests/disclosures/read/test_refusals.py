"""What cannot be read says so and stores nothing."""

# ruff: noqa: E501 - a printed line is one line

import io

import pytest
from pypdf import PdfWriter
from tests.disclosures.read.reading import read


def pdf_of(lines: list[str]) -> bytes:
    """A one-page PDF with these lines as text."""
    body = (
        "BT /F1 11 Tf 14 TL 40 760 Td "
        + " ".join(f"({line.replace('(', '').replace(')', '')}) Tj T*" for line in lines)
        + " ET"
    )
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 4 0 R >> >> /Contents 5 0 R >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        f"<< /Length {len(body)} >>\nstream\n{body}\nendstream",
    ]
    out = "%PDF-1.4\n"
    offsets = []
    for number, content in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{content}\nendobj\n"
    xref = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n" + "".join(f"{o:010d} 00000 n \n" for o in offsets)
    out += f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{xref}\n%%EOF"
    return out.encode("latin-1")


def test_a_pdf_with_text_is_read() -> None:
    reading = read(
        pdf_of(
            [
                "Example Mining announces May 2025 production",
                "In May 2025 the company produced 514 BTC",
                "and held 19,225 BTC as of May 31, 2025.",
            ]
        )
    )
    assert reading.kind == "pdf"
    assert {(f.field, int(f.value)) for f in reading.facts} == {("btc_produced", 514), ("btc_held_end", 19225)}


def test_a_scanned_pdf_says_that_it_is_a_scan() -> None:
    writer = PdfWriter()
    writer.add_blank_page(200, 200)
    buffer = io.BytesIO()
    writer.write(buffer)
    reading = read(buffer.getvalue())
    assert reading.facts == ()
    assert "scan" in (reading.refused or "")


@pytest.mark.parametrize(
    ("source", "word"),
    [
        (b"%PDF-1.7 broken", "PDF"),
        ("<html><body><h1>Pasta</h1><p>Boil 500 g in 2024.</p></body></html>", "no release"),
        ("", "no text"),
        ("\x00\x01\x02\x03" * 50, "not text"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4, "not text"),
        ("The price of bitcoin rose 5% in June 2025.", "no production"),
        ("The company mined 12 BTC in May.", "no year"),
        ("<div>" * 5000, "nested"),
    ],
)
def test_refused_with_a_reason(source: str | bytes, word: str) -> None:
    reading = read(source)
    assert reading.facts == ()
    assert word in (reading.refused or "")


def test_fifty_megabytes_are_refused_at_once() -> None:
    reading = read("<p>bitcoin mined 12 BTC in May 2025</p>" * (50 * 2**20 // 39))
    assert reading.facts == ()
    assert "MiB" in (reading.refused or "")


def test_two_releases_in_one_file_are_refused() -> None:
    def release(month: str, day: str, made: int) -> str:
        return (
            f"Example Announces {month} 2025 Production and Operations Updates\nAUSTIN, {day}, 2025 (GLOBE NEWSWIRE) -- In {month} 2025 Example produced "
            f"{made} BTC and sold 475 BTC. It held 19,211 BTC at the end of {month} 2025. "
            + "Nothing else happened in that time. " * 20
            + "\n"
        )

    both = release("April", "May 5", 463) + release("May", "June 4", 514)
    reading = read(both)
    assert reading.facts == ()
    assert "two releases" in (reading.refused or "")
    assert len(read(release("April", "May 5", 463)).facts) == 3


def test_a_hashrate_without_a_unit_that_could_be_two_things_stays_empty() -> None:
    reading = read("Metric | May 2025 | April 2025\nBitcoin mined | 20 | 21\nAverage operating hashrate | 912 | 880\n")
    assert {f.field for f in reading.facts} == {"btc_produced"}
    assert any("PH/s or EH/s" in n for n in reading.notes)


def test_other_currencies_fill_no_dollar_field() -> None:
    reading = read(
        "Metric | May 2025 | April 2025\nBitcoin mined | 20 | 21\nProceeds from bitcoin sales | C$1.2 million | £0.9 million\n"
    )
    assert {f.field for f in reading.facts} == {"btc_produced"}

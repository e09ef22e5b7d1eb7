"""An invoice as PDF/A, by typst: an extra of its own (`tieline[invoices]`, 80 MB with its fonts)."""

from __future__ import annotations

from importlib.util import find_spec

import msgspec

from tieline.books.invoicing.form import TYPST, form_of
from tieline.records import Issued


class NoTypesetterError(RuntimeError):
    """typst is not installed; says how to have it."""


def can_print() -> bool:
    """Whether a PDF can be made here."""
    return find_spec("typst") is not None


def pdf_of(invoice: Issued) -> bytes:
    """PDF/A-2b, set with fonts that come with the typesetter, dated when it was issued: the same bytes each time. Takes
    about half a second of CPU. Raises NoTypesetterError."""
    try:
        import typst
    except ModuleNotFoundError as error:
        raise NoTypesetterError("a PDF needs typst: pip install 'tieline[invoices]'") from error
    data = msgspec.json.encode(form_of(invoice)).decode()
    return typst.compile(
        TYPST.encode(),
        sys_inputs={"invoice": data},
        ignore_system_fonts=True,
        format="pdf",
        pdf_standards="a-2b",
        timestamp=invoice.at.replace(microsecond=0),
    )

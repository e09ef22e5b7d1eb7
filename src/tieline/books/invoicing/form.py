"""An invoice as JSON and as a page to print. Pure: what the record says, nothing else, so that it is the same bytes
whenever it is made."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from tieline.records import Issued
from tieline.records.treasury import InvoiceParty, IssuedLine


class InvoiceFormLine(msgspec.Struct, frozen=True, kw_only=True):
    what: str
    detail: str
    exact_usd: str
    usd: str


class InvoiceForm(msgspec.Struct, frozen=True, kw_only=True):
    """What is printed. Amounts as they are read; `exact_usd` is a line's before it was rounded."""

    number: str
    issued: str
    due: str
    month: str
    seller: InvoiceParty
    buyer: InvoiceParty
    lines: tuple[InvoiceFormLine, ...]
    net_usd: str
    tax_usd: str
    total_usd: str
    simulated: bool


def form_of(invoice: Issued) -> InvoiceForm:
    """Raises nothing: a record that was issued can be printed."""
    tax = sum((line.amount_usd for line in invoice.lines if line.kind == "tax"), Decimal(0))
    total = sum((line.amount_usd for line in invoice.lines), Decimal(0))
    return InvoiceForm(
        number=invoice.number,
        issued=f"{invoice.at:%Y-%m-%d}",
        due="" if invoice.due is None else f"{invoice.due:%Y-%m-%d}",
        month=invoice.month,
        seller=invoice.seller,
        buyer=invoice.buyer if invoice.buyer.name else InvoiceParty(name=invoice.tenant),
        lines=tuple(
            InvoiceFormLine(
                what=line.text or " ".join(part for part in (line.project, line.model) if part) or "use",
                detail=_detail(line),
                exact_usd=f"{Decimal(line.nano_usd).scaleb(-9):,.6f}" if line.nano_usd else "",
                usd=f"{line.amount_usd:,.2f}",
            )
            for line in invoice.lines
        ),
        net_usd=f"{total - tax:,.2f}",
        tax_usd=f"{tax:,.2f}",
        total_usd=f"{total:,.2f}",
        simulated=invoice.kind == "simulated",
    )


def _detail(line: IssuedLine) -> str:
    if line.replica_s:
        return f"{line.replica_s / 3600:,.2f} replica-hours"
    if not line.requests:
        return ""
    if line.unit:
        return f"{line.requests:,} requests, {line.units:,} {line.unit}s"
    return f"{line.requests:,} requests, {line.prompt_tokens:,} tokens in, {line.output_tokens:,} out"


def as_json(invoice: Issued) -> bytes:
    return msgspec.json.format(msgspec.json.encode(form_of(invoice)), indent=2) + b"\n"


# The words of the invoice come as data and are set as text: nothing in them is markup.
TYPST = """
#let invoice = json(bytes(sys.inputs.invoice))
#set document(title: "Invoice " + invoice.number, author: invoice.seller.name)
#set page(paper: "a4", margin: 22mm, footer: context [
  #set text(8pt, fill: gray.darken(30%))
  Invoice #invoice.number #h(1fr) #counter(page).display("1 / 1", both: true)
])
#set text(font: "Libertinus Serif", size: 10pt, lang: "en")
#let party(one) = {
  strong(one.name)
  for line in one.address { linebreak(); line }
  if one.tax_id != "" { linebreak(); "Tax id " + one.tax_id }
}
#grid(columns: (1fr, 1fr), party(invoice.seller), align(right, party(invoice.buyer)))
#v(10mm)
= Invoice #invoice.number
#v(2mm)
#grid(columns: (auto, auto), column-gutter: 8mm, row-gutter: 2mm,
  "Issued", invoice.issued, "Month of use", invoice.month,
  ..if invoice.due != "" { ("Due", invoice.due) })
#if invoice.simulated [#v(2mm) *Simulated: made from an invented fleet, nothing is owed.*]
#v(5mm)
#table(
  columns: (1fr, auto, auto, auto), align: (left, right, right, right), stroke: none, inset: (x: 3pt, y: 4pt),
  table.hline(), table.header([*What*], [*Use*], [*Exact, USD*], [*USD*]), table.hline(stroke: 0.5pt),
  ..invoice.lines.map(l => (l.what, l.detail, l.exact_usd, l.usd)).flatten(),
  table.hline(stroke: 0.5pt),
  "Net", "", "", invoice.net_usd, "Tax", "", "", invoice.tax_usd, strong("Total"), "", "", strong(invoice.total_usd),
  table.hline(),
)
"""

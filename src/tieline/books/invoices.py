"""Invoices: what each tenant owes for a month, one line per project and model.

Usage is priced when it happens, in integer nano-dollars; the only rounding is here, once per line, to the
cent. A line can be recomputed from the Usage records of its tenant, project, model and month.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from tieline.ledger import Entry, Posting, usd
from tieline.records import Usage

NANO = Decimal(1_000_000_000)


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    project: str
    model: str
    requests: int
    prompt_tokens: int
    output_tokens: int
    nano_usd: int

    @property
    def amount_usd(self) -> Decimal:
        return (Decimal(self.nano_usd) / NANO).quantize(Decimal("0.01"))


@dataclass(frozen=True, slots=True)
class Invoice:
    tenant: str
    month: str
    lines: tuple[InvoiceLine, ...]

    @property
    def total_usd(self) -> Decimal:
        return sum((line.amount_usd for line in self.lines), Decimal("0.00"))

    def entry(self, issued: datetime) -> Entry:
        """The entry that books this invoice; issuing it twice books it once."""
        total = usd(self.total_usd)
        key = f"invoice|{self.tenant}|{self.month}"
        return Entry(
            issued,
            key,
            f"invoice {self.month} to {self.tenant}",
            (Posting(f"Assets:Receivable:{self.tenant}", total), Posting("Income:Inference", -total)),
            refs=(f"Usage|{self.tenant}|{self.month}",),
        )


def invoices(usage: Iterable[Usage], month: str) -> list[Invoice]:
    """Invoices of a month ("YYYY-MM") by tenant; a request that appears twice is billed once."""
    sums: dict[str, dict[tuple[str, str], list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0, 0, 0]))
    seen: set[str] = set()
    for one in usage:
        if one.request_id in seen or f"{one.at:%Y-%m}" != month:
            continue
        seen.add(one.request_id)
        line = sums[one.tenant][one.project, one.model]
        for index, number in enumerate((1, one.prompt_tokens, one.output_tokens, one.cost_nano_usd)):
            line[index] += number
    return [
        Invoice(tenant, month, tuple(InvoiceLine(p, m, *numbers) for (p, m), numbers in sorted(lines.items())))
        for tenant, lines in sorted(sums.items())
    ]

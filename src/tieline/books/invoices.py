"""Invoices: what each tenant owes for a month, one line per project and model, one per model and region rented.

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
from tieline.records import Reserved, Usage

NANO = Decimal(1_000_000_000)


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    project: str
    model: str
    requests: int
    prompt_tokens: int
    output_tokens: int
    nano_usd: int
    replica_s: int = 0  # of rented replicas

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
        rented = sum((line.amount_usd for line in self.lines if line.replica_s), Decimal("0.00"))
        earned = [("Income:Inference", self.total_usd - rented), ("Income:ReservedCapacity", rented)]
        key = f"invoice|{self.tenant}|{self.month}"
        return Entry(
            issued,
            key,
            f"invoice {self.month} to {self.tenant}",
            (
                Posting(f"Assets:Receivable:{self.tenant}", total),
                *(Posting(account, -usd(amount)) for account, amount in earned if amount or not self.total_usd),
            ),
            refs=(f"Usage|{self.tenant}|{self.month}", *([f"Reserved|{self.tenant}|{self.month}"] if rented else [])),
        )


def invoices(usage: Iterable[Usage], month: str, reserved: Iterable[Reserved] = ()) -> list[Invoice]:
    """Invoices of a month ("YYYY-MM") by tenant; a request or a rented hour that appears twice is billed once."""
    sums: dict[str, dict[tuple[str, str], list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0, 0, 0]))
    seen: set[str] = set()
    for one in usage:
        if one.request_id in seen or f"{one.at:%Y-%m}" != month:
            continue
        seen.add(one.request_id)
        line = sums[one.tenant][one.project, one.model]
        for index, number in enumerate((1, one.prompt_tokens, one.output_tokens, one.cost_nano_usd)):
            line[index] += number
    hours: dict[str, dict[tuple[str, str], list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    for hour in reserved:
        if hour.key in seen or f"{hour.at:%Y-%m}" != month:
            continue
        seen.add(hour.key)
        rented = hours[hour.tenant][hour.model, hour.region]
        rented[0] += hour.cost_nano_usd
        rented[1] += hour.provided_s
    made = [
        Invoice(
            tenant,
            month,
            (
                *(InvoiceLine(p, m, *numbers) for (p, m), numbers in sorted(sums.get(tenant, {}).items())),
                *(
                    InvoiceLine("", f"{model}, reserved in {region or 'any region'}", 0, 0, 0, nano, seconds)
                    for (model, region), (nano, seconds) in sorted(hours.get(tenant, {}).items())
                    if seconds
                ),
            ),
        )
        for tenant in sorted(sums.keys() | hours.keys())
    ]
    return [invoice for invoice in made if invoice.lines]

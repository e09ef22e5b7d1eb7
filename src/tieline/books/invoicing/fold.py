"""Invoices: what each tenant owes for a month (UTC), one line per project and model, one per model and region rented.

Usage is priced when it happens, in integer nano-dollars; the only rounding is here, once per line, to the
cent. A line can be recomputed from the Usage records of its tenant, project, model and month.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from tieline.records import Issued, IssuedLine, Kind, Reserved, Usage

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
    units: int = 0
    unit: str = field(default="", kw_only=True)  # what it is metered in where not in tokens

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

    def less(self, issued: Iterable[IssuedLine]) -> Invoice | None:
        """What is left to invoice after these lines were; None: nothing. A line is known by its names."""
        had: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0, 0])
        for line in issued:
            name = line.project, line.model, line.unit
            had[name] = [a + b for a, b in zip(had[name], _counts(line), strict=True)]
        left = []
        for one in self.lines:
            rest = [a - b for a, b in zip(_counts(one), had[one.project, one.model, one.unit], strict=True)]
            if any(rest):
                left.append(InvoiceLine(one.project, one.model, *rest, unit=one.unit))
        return Invoice(self.tenant, self.month, tuple(left)) if left else None

    def issue(self, number: str, at: datetime, kind: Kind = "measured") -> Issued:
        """The record of this invoice as it is sent at `at`: its lines, each rounded once, never change again."""
        lines = tuple(
            IssuedLine(
                project=line.project,
                model=line.model,
                requests=line.requests,
                prompt_tokens=line.prompt_tokens,
                output_tokens=line.output_tokens,
                replica_s=line.replica_s,
                unit=line.unit,
                units=line.units,
                nano_usd=line.nano_usd,
                amount_usd=line.amount_usd,
                kind="reserved" if line.replica_s else "usage",
            )
            for line in self.lines
        )
        return Issued(
            at=at,
            known_at=at,
            source="books",
            kind=kind,
            number=number,
            tenant=self.tenant,
            month=self.month,
            lines=lines,
        )


def _counts(line: InvoiceLine | IssuedLine) -> tuple[int, ...]:
    return (line.requests, line.prompt_tokens, line.output_tokens, line.nano_usd, line.replica_s, line.units)


class InvoiceFold:
    """Sums of one month by tenant, taken in record by record; `made` is what they come to so far.

    `keyed`: the records come out of a store, which holds each key once. Otherwise a request or a rented hour that
    appears twice is known again by its key, and counts once.
    """

    def __init__(self, month: str, *, keyed: bool = False) -> None:
        self.month = month
        self._year, self._month = (int(part) for part in month.split("-"))
        self._seen: set[str] | None = None if keyed else set()
        self._used: dict[str, dict[tuple[str, str, str], list[int]]] = defaultdict(dict)
        self._rented: dict[str, dict[tuple[str, str], list[int]]] = defaultdict(dict)

    def take(self, record: Usage | Reserved) -> None:
        """Count one record, where it is of this month."""
        at = record.at.astimezone(UTC)
        if at.year != self._year or at.month != self._month:
            return
        if self._seen is not None:
            if record.key in self._seen:
                return
            self._seen.add(record.key)
        if isinstance(record, Usage):
            line = self._used[record.tenant].setdefault((record.project, record.model, record.unit), [0, 0, 0, 0, 0, 0])
            line[0] += 1
            line[1] += record.prompt_tokens
            line[2] += record.output_tokens
            line[3] += record.cost_nano_usd
            line[5] += record.units
        else:
            rented = self._rented[record.tenant].setdefault((record.model, record.region), [0, 0])
            rented[0] += record.cost_nano_usd
            rented[1] += record.provided_s

    def made(self) -> list[Invoice]:
        """One invoice per tenant that owes something or used something, by tenant."""
        lines = [
            Invoice(
                tenant,
                self.month,
                (
                    *(
                        InvoiceLine(project, model, *counts, unit=unit)
                        for (project, model, unit), counts in sorted(self._used.get(tenant, {}).items())
                    ),
                    *(
                        InvoiceLine("", rented_name(model, region), 0, 0, 0, nano, seconds)
                        for (model, region), (nano, seconds) in sorted(self._rented.get(tenant, {}).items())
                        if seconds
                    ),
                ),
            )
            for tenant in sorted(self._used.keys() | self._rented.keys())
        ]
        return [invoice for invoice in lines if invoice.lines]


def rented_name(model: str, region: str) -> str:
    """What a line of rented replicas is called."""
    return f"{model}, reserved in {region or 'any region'}"


def invoices(
    usage: Iterable[Usage], month: str, reserved: Iterable[Reserved] = (), *, keyed: bool = False
) -> list[Invoice]:
    """Invoices of a month ("YYYY-MM") by tenant; `keyed` as in InvoiceFold."""
    fold = InvoiceFold(month, keyed=keyed)
    for used in usage:
        fold.take(used)
    for hour in reserved:
        fold.take(hour)
    return fold.made()

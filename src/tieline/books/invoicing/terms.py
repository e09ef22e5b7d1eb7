"""What stands on an invoice besides use: credits of an SLA by what was measured, agreed credits, taxes.

    payment_days = 30

    [[customer]]
    tenant = "acme"
    name = "Acme GmbH"
    address = ["Hauptstr. 1", "10115 Berlin"]
    tax_id = "DE123456789"

    [[sla]]
    name = "first token"
    tenants = ["acme"]           # none: all
    first_token_ms = 2000        # left out: requests answered without a server error
    share = 0.99                 # of requests that must keep to it
    credit = 0.10                # of the month's use, where they did not

    [[credit]]
    tenant = "acme"
    month = "2026-11"
    amount_usd = 250
    why = "Migration"

    [[tax]]
    name = "VAT 19 %"
    rate = 0.19
    tenants = ["acme"]
    since = 2026-01-01

Pure. Each line is rounded to the cent once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

import msgspec

from tieline.records import IssuedLine, Usage

CENT = Decimal("0.01")


class InvoicedCustomer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tenant: str
    name: str
    address: tuple[str, ...] = ()
    tax_id: str = ""


class SlaTerm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    share: Decimal
    credit: Decimal
    tenants: tuple[str, ...] = ()
    first_token_ms: float | None = None


class AgreedCredit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tenant: str
    month: str
    amount_usd: Decimal
    why: str


class TaxRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    rate: Decimal
    tenants: tuple[str, ...] = ()
    since: date | None = None
    until: date | None = None

    def holds(self, tenant: str, on: date) -> bool:
        return (
            (not self.tenants or tenant in self.tenants)
            and (self.since is None or self.since <= on)
            and (self.until is None or on < self.until)
        )


class InvoiceTerms(msgspec.Struct, frozen=True, kw_only=True):
    """All of them."""

    customer: tuple[InvoicedCustomer, ...] = ()
    sla: tuple[SlaTerm, ...] = ()
    credit: tuple[AgreedCredit, ...] = ()
    tax: tuple[TaxRule, ...] = ()

    def problem(self) -> str | None:
        """What is wrong with them, field first; None: nothing."""
        for one in self.sla:
            if not (0 < one.share <= 1 and 0 < one.credit <= 1):
                return f"sla {one.name!r}: share and credit are above 0 and at most 1, like 0.99"
        for tax in self.tax:
            if not 0 <= tax.rate < 1:
                return f"tax {tax.name!r}: rate is {tax.rate}; write 0.19 for 19 %"
        for credit in self.credit:
            if credit.amount_usd <= 0 or credit.amount_usd != round(credit.amount_usd, 2):
                return f"credit of {credit.tenant!r}: amount_usd is {credit.amount_usd}; give cents above 0"
        return None


@dataclass(slots=True)
class Attained:
    """How many of a tenant's requests kept to a term, of those that say."""

    kept: int = 0
    counted: int = 0

    @property
    def share(self) -> Decimal | None:
        return Decimal(self.kept) / self.counted if self.counted else None


@dataclass(slots=True)
class Attainment:
    """Kept up request by request; what is not measured counts for neither side."""

    terms: Sequence[SlaTerm]
    by: dict[tuple[str, str], Attained] = field(default_factory=lambda: defaultdict(Attained))

    def take(self, used: Usage) -> None:
        for term in self.terms:
            if term.tenants and used.tenant not in term.tenants:
                continue
            if term.first_token_ms is None:
                good: bool | None = used.status < 500
            elif used.status >= 500:
                good = False
            else:
                good = None if used.first_token_ms is None else used.first_token_ms <= term.first_token_ms
            if good is not None:
                one = self.by[term.name, used.tenant]
                one.counted += 1
                one.kept += good


def _line(kind: str, text: str, usd: Decimal) -> IssuedLine:
    return msgspec.convert(
        {
            "kind": kind, "text": text, "project": "", "model": "", "requests": 0, "prompt_tokens": 0,
            "output_tokens": 0, "amount_usd": usd.quantize(CENT, ROUND_HALF_UP),
        },
        IssuedLine,
    )  # fmt: skip


def credits_of(
    terms: InvoiceTerms, tenant: str, month: str, used_usd: Decimal, attained: Mapping[tuple[str, str], Attained]
) -> list[IssuedLine]:
    """Lines of a tenant's credits for a month, negative; together they are no more than what was used."""
    lines: list[IssuedLine] = []
    for term in terms.sla:
        measured = attained.get((term.name, tenant), Attained())
        share = measured.share
        if share is not None and share < term.share and used_usd:
            words = (
                f"SLA {term.name}: {measured.kept:,} of {measured.counted:,} requests kept to it "
                f"({share * 100:.3f} %, promised {_percent(term.share)}): {_percent(term.credit)} of {used_usd:,.2f}"
            )
            lines.append(_line("credit", words, -used_usd * term.credit))
    agreed = (one for one in terms.credit if (one.tenant, one.month) == (tenant, month))
    lines += [_line("credit", one.why, -one.amount_usd) for one in agreed]
    left, allowed = used_usd, []
    for line in lines:
        taken = min(left, -line.amount_usd)
        left -= taken
        if taken:
            allowed.append(msgspec.structs.replace(line, amount_usd=-taken))
    return allowed


def taxes_of(terms: InvoiceTerms, tenant: str, on: date, lines: Iterable[IssuedLine]) -> list[IssuedLine]:
    """Lines of the taxes that hold on a day, on the sum of the lines before them."""
    net = sum((line.amount_usd for line in lines), Decimal(0))
    return [
        _line("tax", f"{tax.name} on {net:,.2f}", net * tax.rate) for tax in terms.tax if tax.holds(tenant, on) and net
    ]


def _percent(share: Decimal) -> str:
    return f"{(share * 100).normalize():f} %"

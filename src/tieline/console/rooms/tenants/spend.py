"""A month's use by tenant, project, key, model and day, to the nano-dollar; beside it the invoices to date.

One fold takes each record into both, so that a page and an invoice cannot differ. Knows no store and no clock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from tieline.books import InvoiceFold
from tieline.books.invoicing.fold import NANO, rented_name
from tieline.records import Reserved, Usage

# 1,000 tenants with ten keys and four models each on 31 days are 1.2 million; about 300 bytes each.
MAX_CELLS: Final = 2_000_000


class SpendFullError(RuntimeError):
    """More is told apart in this month than is held in memory."""


@dataclass(frozen=True, slots=True)
class Where:
    """What a sum is of. `day` is "YYYY-MM-DD" (UTC); rented replicas have neither project nor key."""

    project: str
    key: str
    model: str
    day: str


@dataclass(slots=True)
class Sum:
    requests: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    nano_usd: int = 0

    def add(self, other: Sum) -> None:
        self.requests += other.requests
        self.failed += other.failed
        self.prompt_tokens += other.prompt_tokens
        self.output_tokens += other.output_tokens
        self.nano_usd += other.nano_usd


class SpendFold(InvoiceFold):
    """The invoices of a month out of a store, and the sums they are made of."""

    def __init__(self, month: str) -> None:
        super().__init__(month, keyed=True)
        self._cells: dict[str, dict[Where, Sum]] = defaultdict(dict)
        self._used_at: dict[str, dict[str, datetime]] = defaultdict(dict)
        self._count = 0

    def take(self, record: Usage | Reserved) -> None:
        """Raises SpendFullError beyond MAX_CELLS."""
        super().take(record)
        at = record.at.astimezone(UTC)
        if f"{at:%Y-%m}" != self.month:
            return
        day = f"{at:%Y-%m-%d}"
        if isinstance(record, Reserved):
            name = rented_name(record.model, record.region)
            self._add(record.tenant, Where("", "", name, day), Sum(nano_usd=record.cost_nano_usd))
            return
        one = Sum(1, int(record.status >= 400), record.prompt_tokens, record.output_tokens, record.cost_nano_usd)
        self._add(record.tenant, Where(record.project, record.key_id, record.model, day), one)
        used_at = self._used_at[record.tenant]
        used_at[record.key_id] = max(at, used_at.get(record.key_id, at))

    def _add(self, tenant: str, where: Where, one: Sum) -> None:
        cells = self._cells[tenant]
        if where not in cells:
            if self._count >= MAX_CELLS:
                raise SpendFullError(f"this month has more than {MAX_CELLS:,} sums; ask /v1/usage with a key instead")
            self._count += 1
            cells[where] = Sum()
        cells[where].add(one)

    def last_used(self, tenant: str) -> dict[str, datetime]:
        """By key, in this month."""
        return dict(self._used_at.get(tenant, {}))

    def days(self, tenant: str, *, project: str | None = None, key: str | None = None) -> list[tuple[str, int]]:
        """(day, nano-dollars), oldest first, of one project or key or of all."""
        sums: dict[str, int] = defaultdict(int)
        for where, one in self._cells.get(tenant, {}).items():
            if project in (None, where.project) and key in (None, where.key):
                sums[where.day] += one.nano_usd
        return sorted(sums.items())

    def view(self, tenant: str, *, money: bool) -> dict[str, Any]:
        """Sums as JSON, each way of telling apart with the same total; without `money` no USD is in it."""
        cells = self._cells.get(tenant, {})
        total = Sum()
        for one in cells.values():
            total.add(one)
        ways: dict[str, Callable[[Where], str]] = {
            "by_key": lambda w: w.key,
            "by_project": lambda w: w.project,
            "by_model": lambda w: w.model,
            "by_day": lambda w: w.day,
        }
        spend = {way: _told_apart(cells, name_of, money) for way, name_of in ways.items()}
        return {"month": self.month, "total": _shown(total, money), **spend}

    def invoice(self, tenant: str) -> dict[str, Any] | None:
        """The invoice to date, its lines rounded to the cent as the books will; None: nothing was used."""
        made = next((one for one in self.made() if one.tenant == tenant), None)
        if made is None:
            return None
        lines = [
            {
                "project": line.project,
                "model": line.model,
                "requests": line.requests,
                "prompt_tokens": line.prompt_tokens,
                "output_tokens": line.output_tokens,
                "replica_s": line.replica_s,
                "unit": line.unit,
                "units": line.units,
                "nano_usd": line.nano_usd,
                "exact_usd": usd(line.nano_usd),
                "usd": str(line.amount_usd),
            }
            for line in made.lines
        ]
        return {"month": made.month, "total_usd": str(made.total_usd), "lines": lines}


def usd(nano: int) -> str:
    """Exact, with all nine places."""
    return f"{Decimal(nano) / NANO:.9f}"


def _told_apart(cells: dict[Where, Sum], name_of: Callable[[Where], str], money: bool) -> list[dict[str, Any]]:
    sums: dict[str, Sum] = {}
    for where, one in cells.items():
        sums.setdefault(name_of(where), Sum()).add(one)
    return [{"name": name, **_shown(one, money)} for name, one in sorted(sums.items())]


def _shown(one: Sum, money: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "requests": one.requests,
        "failed": one.failed,
        "prompt_tokens": one.prompt_tokens,
        "output_tokens": one.output_tokens,
    }
    return shown | ({"nano_usd": one.nano_usd, "usd": usd(one.nano_usd)} if money else {})

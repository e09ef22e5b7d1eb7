"""Revenue, power and margin of a month by site and use, and per megawatt-hour; all of it sums to the ledger's net.

    mining      Income:Mining, by measured hashes: pools pay for all sites together
    inference   Income:Inference, ReservedCapacity and Credits, by the price of what each site delivered
    grid        Income:Grid and Expenses:Grid, by the site whose promise it was
    power       Expenses:Power by the bills behind the entries, mining and inference by metered energy, auxiliary load
                with what it cools

A demand charge is a month's bill without energy: it is charged to mining, which can be shed in the hour that makes it,
and stands in a column of its own. What no site is known of stands under "", and income and expenses that are of no use
of a megawatt are listed as what else there is. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_FLOOR, Decimal

from tieline.books.keeper import Bookkeeper
from tieline.books.span import month_span
from tieline.ledger import USD, Book, Entry, under

MINING, INFERENCE, GRID = "mining", "inference", "grid"
SOLD: dict[str, tuple[str, ...]] = {
    MINING: ("Income:Mining",),
    INFERENCE: ("Income:Inference", "Income:ReservedCapacity", "Income:Credits"),
}
POWER, GRID_MONEY = "Expenses:Power", ("Income:Grid", "Expenses:Grid")
HOUR_S = 3_600
CENT = Decimal("0.01")
ZERO = Decimal(0)

Slot = tuple[str, str]  # a site and a use


@dataclass(frozen=True, slots=True)
class SiteUse:
    """What a use of a site's power brought and cost, USD. `mwh`: metered, auxiliary load with what it cools; None: of
    none is known."""

    site: str
    use: str
    revenue: Decimal
    energy: Decimal
    demand: Decimal
    mwh: Decimal | None

    @property
    def margin(self) -> Decimal:
        return self.revenue - self.energy - self.demand

    @property
    def margin_per_mwh(self) -> Decimal | None:
        return (self.margin / self.mwh).quantize(CENT) if self.mwh else None


@dataclass(frozen=True, slots=True)
class Margins:
    """A month's, USD. The margins of `uses` and `other` (income positive) sum to `net`, the ledger's."""

    month: str
    policy: tuple[str, ...]
    uses: tuple[SiteUse, ...]
    other: tuple[tuple[str, Decimal], ...]
    net: Decimal

    @property
    def margin(self) -> Decimal:
        return sum((one.margin for one in self.uses), ZERO)


@dataclass(frozen=True, slots=True)
class SitesMeasured:
    """What machines and requests of a month say, by site: hashes made, nano-dollars of what was delivered, and
    watt-hours by use."""

    hashes: Mapping[str, float]
    delivered: Mapping[str, int]
    energy_wh: Mapping[Slot, float]


def margins_of(keeper: Bookkeeper, month: str, measured: SitesMeasured) -> Margins:
    """Raises ValueError for a month that is not YYYY-MM."""
    start, end = month_span(month, keeper.policy.zone)
    book = keeper.book
    moved = {
        account: -number
        for (account, commodity), number in book.changes(start, end).items()
        if commodity == USD and number and (under("Income", account) or under("Expenses", account))
    }
    revenue = _revenue(moved, measured)
    for account in GRID_MONEY:
        for site, usd in _grid(book, start, end, account):
            revenue[site, GRID] += usd
    energy, demand = _power(book, start, end)
    slots = sorted({*revenue, *energy, *demand, *measured.energy_wh}, key=lambda slot: (slot[0] == "", slot))
    uses = tuple(
        SiteUse(
            site, use, revenue[site, use], energy.get((site, use), ZERO), demand.get((site, use), ZERO),
            _mwh(measured.energy_wh.get((site, use))),
        )
        for site, use in slots
    )  # fmt: skip
    of_uses = (*SOLD[MINING], *SOLD[INFERENCE], *GRID_MONEY, POWER)
    other = tuple((a, n) for a, n in sorted(moved.items()) if not any(under(name, a) for name in of_uses))
    made = Margins(month, tuple(keeper.policy.lines()), uses, other, sum(moved.values(), ZERO))
    assert made.margin + sum((usd for _, usd in other), ZERO) == made.net
    return made


def _revenue(moved: Mapping[str, Decimal], measured: SitesMeasured) -> dict[Slot, Decimal]:
    """Of mining and inference, shared out to the sites."""
    revenue: dict[Slot, Decimal] = defaultdict(Decimal)
    for use, weights in ((MINING, measured.hashes), (INFERENCE, measured.delivered)):
        total = sum((n for a, n in moved.items() if any(under(name, a) for name in SOLD[use])), ZERO)
        for site, usd in shared(total, weights).items():
            revenue[site, use] += usd
    return revenue


def shared(total: Decimal, weights: Mapping[str, float | int]) -> dict[str, Decimal]:
    """A sum in cents by weights, exact: what rounding leaves goes to the largest. All of it to "" without weights."""
    whole = sum(Decimal(repr(weight)) for weight in weights.values() if weight > 0)
    if not total:
        return {}
    if not whole:
        return {"": total}
    parts = {
        name: (total * Decimal(repr(weight)) / whole).quantize(CENT, ROUND_FLOOR)
        for name, weight in sorted(weights.items())
        if weight > 0
    }
    largest = max(parts, key=lambda name: (weights[name], name))
    parts[largest] += total - sum(parts.values(), ZERO)
    return parts


def _mwh(wh: float | None) -> Decimal | None:
    return None if wh is None else Decimal(repr(wh / 1e6)).quantize(Decimal("0.000001"))


def _usd(entry: Entry, account: str) -> Decimal:
    return sum(
        (p.amount.number for p in entry.postings if under(account, p.account) and p.amount.commodity == USD), ZERO
    )


def _grid(book: Book, start: datetime, end: datetime, account: str) -> Iterator[tuple[str, Decimal]]:
    owed = "Assets:Receivable:Grid:"
    for entry in book.between(start, end, account):
        site = next((p.account.removeprefix(owed) for p in entry.postings if p.account.startswith(owed)), "")
        yield site, -_usd(entry, account)


def _power(book: Book, start: datetime, end: datetime) -> tuple[dict[Slot, Decimal], dict[Slot, Decimal]]:
    """Of energy, and demand charges."""
    energy: dict[Slot, Decimal] = defaultdict(Decimal)
    demand: dict[Slot, Decimal] = defaultdict(Decimal)
    for entry in book.between(start, end, POWER):
        stream, _, key = (entry.refs[0] if entry.refs else "").partition("|")
        site, length = "", ""
        if stream == "PowerBill":
            site, length = key.split("|")[0], key.split("|")[2]
        into = demand if length.isdigit() and int(length) > HOUR_S else energy
        for use, account in ((MINING, f"{POWER}:Mining"), (INFERENCE, f"{POWER}:Inference")):
            usd = _usd(entry, account)
            if usd:
                into[site, use] += usd
        rest = _usd(entry, POWER) - _usd(entry, f"{POWER}:Mining") - _usd(entry, f"{POWER}:Inference")
        if rest:
            into[site, ""] += rest
    return energy, demand

"""What a bitcoin cost, in layers out of the ledger: energy, hosting, cash, all-in; by site, and a hash's cost.

    energy    Expenses:Power:Mining
    hosting   Expenses:Hosting
    cash      every other expense, but for what follows
    all-in    Expenses:Interest, LoanFees and Depreciation
    left out  Expenses:Power:Inference, and what measuring bitcoin at a close costs: no cost of mining it

Each layer is on top of those before it, and all of them with what is left out are the month's expenses in the ledger.
Energy is known by site from the bills behind the entries, other expenses where their account names one; the rest is the
company's. Pools pay for all sites together: a site's bitcoin is its share by measured hashes, and says so. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from tieline.books.accounts import IMPAIRMENT, MINED, REVALUED_BELOW, account_of
from tieline.books.keeper import Bookkeeper
from tieline.books.span import month_span
from tieline.ledger import BTC, USD, Book, under

ENERGY, HOSTING = "Expenses:Power:Mining", "Expenses:Hosting"
FINANCED = ("Expenses:Interest", "Expenses:LoanFees", "Expenses:Depreciation")
LEFT_OUT = ("Expenses:Power:Inference", IMPAIRMENT, REVALUED_BELOW)
LAYERS = ("energy", "hosting", "cash", "all-in")
CENT = Decimal("0.01")
PHS_DAY = 1e15 * 86_400  # hashes


@dataclass(frozen=True, slots=True)
class CostLayer:
    """USD of the layer alone, and with those before it per bitcoin; None where none was produced."""

    name: str
    usd: Decimal
    usd_per_btc: Decimal | None


@dataclass(frozen=True, slots=True)
class SiteCost:
    """One site's expenses by layer, USD, and its share of the bitcoin by measured hashes; None: not measured. The site
    "" is what no site is known of."""

    site: str
    usd: Mapping[str, Decimal]
    btc: Decimal | None
    energy_usd_per_btc: Decimal | None


@dataclass(frozen=True, slots=True)
class CostOfBitcoin:
    """`expenses` is the ledger's total: the layers and what is left out of them. `hashcost`: USD of energy per PH/s and
    day; None where nothing was measured."""

    month: str
    produced: Decimal
    layers: tuple[CostLayer, ...]
    left_out: tuple[tuple[str, Decimal], ...]
    expenses: Decimal
    sites: tuple[SiteCost, ...]
    hashcost: Decimal | None


def costs_of(keeper: Bookkeeper, month: str, hashes: Mapping[str, float]) -> CostOfBitcoin:
    """A month's; `hashes`: made in it, by site. Raises ValueError for a month that is not YYYY-MM."""
    start, end = month_span(month, keeper.policy.zone)
    book = keeper.book
    moved = {a: n for (a, c), n in book.changes(start, end).items() if c == USD and under("Expenses", a) and n}
    produced = -book.change(MINED, BTC, start, end)
    by_layer: dict[str, Decimal] = defaultdict(Decimal)
    for account, usd in moved.items():
        by_layer[layer_of(account)] += usd
    layers, so_far = [], Decimal(0)
    for name in LAYERS:
        so_far += by_layer[name]
        layers.append(CostLayer(name, by_layer[name], (so_far / produced).quantize(CENT) if produced else None))
    left_out = tuple((a, n) for a, n in sorted(moved.items()) if layer_of(a) == "")
    made = sum(hashes.values())
    return CostOfBitcoin(
        month=month,
        produced=produced,
        layers=tuple(layers),
        left_out=left_out,
        expenses=sum(moved.values(), Decimal(0)),
        sites=tuple(_sites(_by_site(book, start, end, moved, hashes), hashes, produced)),
        hashcost=(by_layer["energy"] / Decimal(repr(made / PHS_DAY))).quantize(CENT) if made else None,
    )


def layer_of(account: str) -> str:
    """The layer that an expense belongs to; empty: none."""
    if any(under(name, account) for name in LEFT_OUT):
        return ""
    if under(ENERGY, account):
        return "energy"
    if under(HOSTING, account):
        return "hosting"
    return "all-in" if any(under(name, account) for name in FINANCED) else "cash"


def _by_site(
    book: Book, start: datetime, end: datetime, moved: Mapping[str, Decimal], sites: Iterable[str]
) -> dict[str, dict[str, Decimal]]:
    """By site and layer: energy by the bill behind each entry, the rest by the last word of its account."""
    costs: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for entry in book.between(start, end, ENERGY):
        stream, _, key = (entry.refs[0] if entry.refs else "").partition("|")
        site = key.split("|", 1)[0] if stream == "PowerBill" else ""
        for p in entry.postings:
            if under(ENERGY, p.account) and p.amount.commodity == USD:
                costs[site]["energy"] += p.amount.number
    known = {account_of(one): one for one in (*sites, *costs) if one}
    for account, usd in moved.items():
        layer = layer_of(account)
        if layer not in ("", "energy"):
            costs[known.get(account.rsplit(":", 1)[-1], "")][layer] += usd
    return costs


def _sites(
    by_site: Mapping[str, Mapping[str, Decimal]], hashes: Mapping[str, float], produced: Decimal
) -> Iterable[SiteCost]:
    made = Decimal(repr(sum(hashes.values())))
    for site in sorted({*by_site, *hashes}, key=lambda one: (one == "", one)):
        usd = {name: by_site.get(site, {}).get(name, Decimal(0)) for name in LAYERS}
        btc = None
        if site and made:
            btc = (produced * Decimal(repr(hashes.get(site, 0.0))) / made).quantize(Decimal("0.00000001"))
        yield SiteCost(site, usd, btc, (usd["energy"] / btc).quantize(CENT) if btc else None)

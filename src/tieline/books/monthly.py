"""The monthly production update: every number with how it was computed and the records behind it.

Deployed hashrate is rated, on the rack; operating hashrate is measured, averaged over the elapsed part of
the month, and time that nothing was heard counts as nothing, as a pool would count it. Cost per bitcoin is
power for mining over bitcoin produced ("hashcost"); depreciation, labour and hosting are not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from tieline.books.causes import CAUSES
from tieline.books.entries import TREASURY, build_book
from tieline.books.invoices import Invoice
from tieline.economics import Epoch, expected_btc
from tieline.fleet import Fleet
from tieline.ledger import BTC, USD, Book
from tieline.records import (
    Cause,
    NetworkTick,
    Opening,
    Payout,
    Performance,
    PowerBill,
    Shortfall,
    Trade,
)
from tieline.units import Hashrate

HOW_CAUSED: dict[Cause, str] = {
    "economic": "power dearer than its hash, or better used: the plan's own choice",
    "commitment": "called promises to the grid",
    "fault": "no supply, what broke, did not obey or was not known",
    "weather": "heat, by the rigs' derating",
    "order": "grid orders, and their staged return",
    "override": "operators' words against the plan",
    "none": "within 5 % of ratings, or decided by a site's host",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the update. `records` says which records it is a fold of, and how many there were."""

    name: str
    value: str | None
    unit: str
    how: str
    records: str
    count: int


@dataclass(frozen=True, slots=True)
class MonthlyUpdate:
    """A month's figures in the order in which they are read; `complete` False while it runs."""

    month: str
    start: datetime
    end: datetime
    complete: bool
    simulated: bool
    figures: tuple[Figure, ...]

    def figure(self, name: str) -> Figure:
        return next(f for f in self.figures if f.name == name)


def month_span(month: str) -> tuple[datetime, datetime]:
    """First moment of a month and of the next. Raises ValueError unless `month` is YYYY-MM."""
    try:
        start = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    except ValueError as error:
        raise ValueError(f"month {month!r} must be written YYYY-MM, like 2026-11") from error
    return start, (start + timedelta(days=32)).replace(day=1)


def monthly_update(
    fleet: Fleet,
    month: str,
    now: datetime,
    *,
    payouts: Sequence[Payout],
    bills: Sequence[PowerBill],
    trades: Sequence[Trade] = (),
    openings: Sequence[Opening] = (),
    invoiced: Sequence[Invoice] = (),
    hashrate_hs: float | None,
    hashrate_samples: int,
    network: Sequence[NetworkTick] = (),
    shortfalls: Sequence[Shortfall] = (),
    performances: Sequence[Performance] = (),
    book: Book | None = None,
) -> MonthlyUpdate:
    """Fold a month. `payouts` and `trades` are all up to the month's end (holdings need the past); `bills`,
    `invoiced` and `network` those of the month; `hashrate_hs` is the fleet's mean over the elapsed month."""
    start, month_end = month_span(month)
    end = min(now, month_end)
    days = Decimal(repr(max((end - start).total_seconds(), 1.0) / 86_400))
    book = book or build_book([*openings, *payouts, *trades, *bills, *performances])
    paid = [p for p in payouts if start < p.at <= month_end]
    sold = [t for t in trades if start <= t.at < month_end and t.sats > 0]
    produced = Decimal(sum(p.sats for p in paid)).scaleb(-8)
    sold_btc = Decimal(sum(t.sats for t in sold)).scaleb(-8)
    mining_cost = sum(
        (
            posting.amount.number
            for entry in book.entries
            if entry.key.startswith("power|") and start <= entry.at < month_end
            for posting in entry.postings
            if posting.account == "Expenses:Power:Mining"
        ),
        Decimal(0),
    )
    energy = {use: sum(getattr(b, f"{use}_wh") for b in bills) / 1e6 for use in ("mining", "inference", "aux")}
    held = book.balance(TREASURY, BTC)
    expected = _expected(hashrate_hs, network, start, end)
    billed = sum((i.total_usd for i in invoiced), Decimal("0.00"))
    requests = sum(line.requests for i in invoiced for line in i.lines)
    bill_records, pay_records = f"PowerBill {month}", f"Payout {month}"
    figures: tuple[Figure, ...] = (
        _fig("bitcoin_produced", produced, "BTC", 8, "sum of payouts credited", pay_records, len(paid)),
        _fig("bitcoin_per_day", produced / days, "BTC/day", 3, f"produced / {days:.2f} days", pay_records, len(paid)),
        _fig("bitcoin_sold", sold_btc, "BTC", 8, "sum of sales", f"Trade {month}", len(sold)),
        _fig("bitcoin_held", held, "BTC", 8, f"balance of {TREASURY}", "Entry", len(book.entries)),
        _fig(
            "hashrate_deployed",
            fleet.deployed_hs / 1e18,
            "EH/s",
            2,
            "rated, on the rack",
            "fleet",
            len(fleet.sites),
        ),
        _fig(
            "hashrate_operating",
            None if hashrate_hs is None else hashrate_hs / 1e18,
            "EH/s",
            2,
            "measured, averaged over the elapsed month",
            f"Sample {month}",
            hashrate_samples,
        ),
        _fig(
            "chain_expected_bitcoin",
            expected,
            "BTC",
            3,
            "operating hashrate x seconds x subsidy / (difficulty x 2^32), no fees",
            f"NetworkTick {month}",
            len(network),
        ),
        _fig(
            "produced_over_expected",
            float(produced) / expected if expected else None,
            "",
            4,
            "produced / expected from the chain: fees, less the pool's fee, rejects and luck",
            pay_records,
            len(paid),
        ),
        _fig("energy_mining", energy["mining"], "MWh", 1, "metered at the feeder", bill_records, len(bills)),
        _fig("energy_inference", energy["inference"], "MWh", 1, "metered at the feeder", bill_records, len(bills)),
        _fig("energy_auxiliary", energy["aux"], "MWh", 1, "cooling and fans", bill_records, len(bills)),
        _fig("power_cost_mining", mining_cost, "USD", 2, "Expenses:Power:Mining", bill_records, len(bills)),
        _fig(
            "power_cost_per_bitcoin",
            mining_cost / produced if produced else None,
            "USD/BTC",
            2,
            "power for mining / bitcoin produced; no depreciation, labour or hosting",
            f"{bill_records}, {pay_records}",
            len(bills) + len(paid),
        ),
        _fig(
            "inference_tokens",
            sum(line.output_tokens for i in invoiced for line in i.lines),
            "tokens",
            0,
            "output tokens delivered to tenants by real engines",
            f"Usage {month}",
            requests,
        ),
        _fig("inference_billed", billed, "USD", 2, "sum of invoice lines", f"Usage {month}", requests),
        _fig(
            "cash",
            book.balance("Assets:Cash", USD),
            "USD",
            2,
            "balance of Assets:Cash",
            "Entry",
            len(book.entries),
        ),
    )
    figures += _curtailed(shortfalls, month) + _grid(performances, start, month_end, month)
    simulated = any(r.kind == "simulated" for r in (*paid, *bills))
    return MonthlyUpdate(month, start, end, now >= month_end, simulated, figures)


def _curtailed(shortfalls: Sequence[Shortfall], month: str) -> tuple[Figure, ...]:
    """Mining below full operation: energy not drawn and bitcoin not earned, by cause."""
    records, count = f"Shortfall {month}", len(shortfalls)
    if not count:
        return ()
    found = []
    for cause in CAUSES:
        wh = sum(s.short_wh.get(cause, 0) for s in shortfalls)
        why = HOW_CAUSED[cause]
        if wh:
            found.append(_fig(f"curtailed_{cause}", Decimal(wh).scaleb(-6), "MWh", 1, why, records, count))
    for cause in CAUSES:
        sats = sum(s.lost_sats.get(cause, 0) for s in shortfalls)
        how = "satoshi a pool would have paid for the hashes not made, after its fee"
        if sats:
            found.append(_fig(f"bitcoin_lost_{cause}", Decimal(sats).scaleb(-8), "BTC", 8, how, records, count))
    return tuple(found)


def _grid(performances: Sequence[Performance], start: datetime, end: datetime, month: str) -> tuple[Figure, ...]:
    """What promises to the grid were paid, and what they and orders were fined."""
    mine = [p for p in performances if start <= p.at < end]
    if not mine:
        return ()
    records = f"Performance {month}"
    paid = sum((p.paid_usd for p in mine), Decimal(0))
    fined = sum((p.penalty_usd for p in mine), Decimal(0))
    missed = Decimal(sum(p.missed_wh for p in mine)).scaleb(-6)
    return (
        _fig("grid_paid", paid, "USD", 2, "reserves sold: MW x hours x price", records, len(mine)),
        _fig("grid_penalties", fined, "USD", 2, "missed MWh x penalty, promises and orders", records, len(mine)),
        _fig("grid_missed", missed, "MWh", 3, "missed of promises, and drawn above orders", records, len(mine)),
    )


def _expected(
    hashrate_hs: float | None, network: Sequence[NetworkTick], start: datetime, end: datetime
) -> float | None:
    ticks = sorted(network, key=lambda t: (t.at, t.known_at))
    if hashrate_hs is None or not ticks or end <= start:
        return None
    epochs = [Epoch(max(start, t.at) if i else start, t.difficulty, t.subsidy_btc) for i, t in enumerate(ticks)]
    return expected_btc(Hashrate(hashrate_hs), epochs, start, end)


def _fig(
    name: str, value: Decimal | float | int | None, unit: str, places: int, how: str, records: str, count: int
) -> Figure:
    text = None if value is None else f"{value:.{places}f}"
    return Figure(name, text, unit, how, records, count)

"""The monthly production update: every number with how it was computed and the records behind it.

Deployed hashrate is rated, on the rack; operating hashrate is measured, averaged over the elapsed part of
the month, and time that nothing was heard counts as nothing, as a pool would count it. Cost per bitcoin is
power for mining over bitcoin produced ("hashcost"); depreciation, labour and hosting are not in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import TypeVar

from tieline.books.accounts import CASH, COINS, IMMATURE, MINED, PLEDGED, SOLD, is_held
from tieline.books.causes import CAUSES
from tieline.books.invoicing.fold import Invoice
from tieline.books.keeper import Unbookable, newest_of
from tieline.books.reports.sums import NOTHING, RolledSums, whole_of
from tieline.books.span import known_month
from tieline.economics import LEAST, Epoch, expected_btc
from tieline.fleet import Fleet
from tieline.ledger import BTC, USD, Book
from tieline.records import (
    Cause,
    Deployed,
    NetworkTick,
    Operated,
    Payout,
    Performance,
    Record,
    Trade,
)
from tieline.units import Hashrate

R = TypeVar("R", bound=Record)

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
    # What could not be booked or reckoned with, each by name and reason. It is in no figure.
    left_out: tuple[str, ...] = ()
    # The accounting policy, line by line.
    policy: tuple[str, ...] = ()

    def figure(self, name: str) -> Figure:
        return next(f for f in self.figures if f.name == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthRecords:
    """What a month's update is a fold of: the records of that month, all of them, and the book of everything.

    `network` and `deployed` also have what was said last before the month. `sums`: what machines, bills and settled
    hours of all sites come to in the month until now. `recorded_from`: since when records of money or machines hold;
    None: never.
    """

    book: Book
    unbookable: Sequence[Unbookable] = ()
    payouts: Sequence[Payout] = ()
    trades: Sequence[Trade] = ()
    invoiced: Sequence[Invoice] = ()
    performances: Sequence[Performance] = ()
    network: Sequence[NetworkTick] = ()
    deployed: Sequence[Deployed] = ()
    operated: Sequence[Operated] = ()
    sums: RolledSums = NOTHING
    recorded_from: datetime | None = None
    zone: tzinfo = UTC
    policy: tuple[str, ...] = ()

    def until(self, now: datetime) -> MonthRecords:
        """What holds and was known by `now`, each happening in its newest word; forecasts say nothing of a month."""

        def newest(records: Sequence[R]) -> list[R]:
            return newest_of(r for r in records if r.kind != "forecast" and r.at <= now and r.known_at <= now)

        return replace(
            self,
            payouts=newest(self.payouts),
            trades=newest(self.trades),
            performances=newest(self.performances),
            network=[t for t in self.network if t.kind != "forecast" and t.at <= now and t.known_at <= now],
        )


@dataclass(frozen=True, slots=True)
class _Moved:
    """How accounts moved over a span."""

    by_account: Mapping[tuple[str, str], Decimal]

    def of(self, account: str, commodity: str) -> Decimal:
        """Of the account and everything under it."""
        parts = (n for (a, c), n in self.by_account.items() if c == commodity and f"{a}:".startswith(f"{account}:"))
        return sum(parts, Decimal(0))


@dataclass(frozen=True, slots=True)
class _Span:
    """The part of a month that has passed, and that was recorded."""

    month: str
    start: datetime
    month_end: datetime
    now: datetime
    began: datetime  # where recording began within the month, its beginning

    @property
    def end(self) -> datetime:
        return min(self.now, self.month_end)

    @property
    def complete(self) -> bool:
        return self.now >= self.month_end

    @property
    def closing(self) -> datetime:
        """What belongs to the month's last instant is in its last balance, what to the next one's first is not."""
        return self.month_end if self.complete else self.now + timedelta(microseconds=1)

    @property
    def elapsed_s(self) -> float:
        return max((self.end - self.began).total_seconds(), 1.0)

    @property
    def days(self) -> Decimal:
        return Decimal(repr(self.elapsed_s / 86_400))


def monthly_update(fleet: Fleet, month: str, now: datetime, records: MonthRecords) -> MonthlyUpdate:
    """Fold a month as of `now`. Raises ValueError for a month that is not YYYY-MM, has not begun, or ended before
    anything was recorded: nothing is known of it, which is not zero."""
    start, month_end = known_month(month, now, records.recorded_from, records.zone)
    span = _Span(month, start, month_end, now, max(start, records.recorded_from or start))
    known = records.until(now)
    spoilt = [str(one) for one in known.unbookable]
    network = [t for t in known.network if _fit(t, spoilt)]
    aside = {one.key for one in known.unbookable}
    paid = [p for p in known.payouts if start < p.at <= month_end and f"Payout|{p.key}" not in aside]
    sales = [t for t in known.trades if start <= t.at < month_end and t.sats > 0 and f"Trade|{t.key}" not in aside]
    moved = _Moved(known.book.changes(start, span.closing))
    held = _Moved(known.book.changes(None, span.closing))
    produced = -moved.of(MINED, BTC)
    figures = (
        *_coins(span, produced, moved, held, (len(paid), len(sales), len(known.book.entries))),
        *_hashrates(span, fleet, known, network, produced, len(paid)),
        *_energy(span, known.sums, moved.of("Expenses:Power:Mining", USD), produced, len(paid)),
        *_served(span, known.invoiced),
        _fig("cash", held.of(CASH, USD), "USD", 2, f"balance of {CASH}", "Entry", len(known.book.entries)),
        *_curtailed(known.sums, month),
        *_grid(known.performances, start, month_end, month),
    )
    simulated = known.sums.simulated_bills > 0 or any(one.kind == "simulated" for one in paid)
    return MonthlyUpdate(month, start, span.end, span.complete, simulated, figures, tuple(spoilt), known.policy)


def _coins(
    span: _Span, produced: Decimal, moved: _Moved, held: _Moved, counts: tuple[int, int, int]
) -> Iterator[Figure]:
    """`counts`: of payouts, sales and entries."""
    paid, sales, entries = counts
    pay_records, days = f"Payout {span.month}", span.days
    yield _fig("bitcoin_produced", produced, "BTC", 8, "sum of payouts credited", pay_records, paid)
    yield _fig("bitcoin_per_day", produced / days, "BTC/day", 3, f"produced / {days:.2f} days", pay_records, paid)
    yield _fig("bitcoin_sold", moved.of(SOLD, BTC), "BTC", 8, "sum of sales", f"Trade {span.month}", sales)
    pledged = held.of(PLEDGED, BTC)
    yield _fig("bitcoin_pledged", pledged, "BTC", 8, f"balance of {PLEDGED}", "Entry", entries)
    waiting = sum((n for (a, c), n in held.by_account.items() if c == BTC and is_held(a)), Decimal(0))
    free = held.of(COINS, BTC) - pledged - held.of(IMMATURE, BTC) - waiting
    how = f"balance of {COINS} without {PLEDGED}, {IMMATURE} and what is set apart"
    yield _fig("bitcoin_free", free, "BTC", 8, how, "Entry", entries)
    how = f"balance of {COINS}, pledged coins included"
    yield _fig("bitcoin_held", held.of(COINS, BTC), "BTC", 8, how, "Entry", entries)


def _hashrates(
    span: _Span, fleet: Fleet, known: MonthRecords, network: Sequence[NetworkTick], produced: Decimal, paid: int
) -> Iterator[Figure]:
    stated = [one.hashrate_hs for one in sorted(known.operated, key=lambda o: (o.at, o.known_at))]
    samples = known.sums.hash_samples
    measured = known.sums.hashes / span.elapsed_s if samples else stated[-1] if stated else None
    # A month that has ended has what was noted in it; the running one what stands today.
    noted = [d.hashrate_hs for d in sorted(known.deployed, key=lambda d: (d.at, d.known_at)) if d.at < span.month_end]
    today = fleet.deployed_hs if fleet.sites else None
    stood = today if not span.complete and today is not None else noted[-1] if noted else None
    expected = _expected(measured, network, span.began, span.end)
    how = "rated, on the rack at its end"
    yield _fig("hashrate_deployed", _ehs(stood), "EH/s", 2, how, f"Deployed {span.month}", len(known.deployed))
    how = "measured, averaged over the elapsed month"
    yield _fig("hashrate_operating", _ehs(measured), "EH/s", 2, how, f"Sample {span.month}", samples)
    how = "operating hashrate x seconds x subsidy / (difficulty x 2^32), no fees"
    yield _fig("chain_expected_bitcoin", expected, "BTC", 3, how, f"NetworkTick {span.month}", len(network))
    how = "produced / expected from the chain: fees, less the pool's fee, rejects and luck"
    ratio = float(produced) / expected if expected else None
    yield _fig("produced_over_expected", ratio, "", 4, how, f"Payout {span.month}", paid)


def _energy(span: _Span, sums: RolledSums, mining_usd: Decimal, produced: Decimal, paid: int) -> Iterator[Figure]:
    records, count = f"PowerBill {span.month}", sums.bills
    for name, parts, how in (
        ("energy_mining", sums.mining_parts, "metered at the feeder"),
        ("energy_inference", sums.inference_parts, "metered at the feeder"),
        ("energy_auxiliary", sums.aux_parts, "cooling and fans"),
    ):
        yield _fig(name, whole_of(parts).scaleb(-6), "MWh", 1, how, records, count)
    yield _fig("power_cost_mining", mining_usd, "USD", 2, "Expenses:Power:Mining", records, count)
    how = "power for mining / bitcoin produced; no depreciation, labour or hosting"
    each = mining_usd / produced if produced else None
    yield _fig("power_cost_per_bitcoin", each, "USD/BTC", 2, how, f"{records}, Payout {span.month}", count + paid)


def _served(span: _Span, invoiced: Sequence[Invoice]) -> Iterator[Figure]:
    lines = [line for invoice in invoiced for line in invoice.lines]
    records, requests = f"Usage {span.month}", sum(line.requests for line in lines)
    how = "output tokens delivered to tenants by real engines"
    yield _fig("inference_tokens", sum(line.output_tokens for line in lines), "tokens", 0, how, records, requests)
    billed = sum((invoice.total_usd for invoice in invoiced), Decimal("0.00"))
    yield _fig("inference_billed", billed, "USD", 2, "sum of invoice lines", records, requests)


def _ehs(hashrate_hs: float | None) -> float | None:
    return None if hashrate_hs is None else hashrate_hs / 1e18


def _fit(tick: NetworkTick, spoilt: list[str]) -> bool:
    """Whether a reading of the network can be reckoned with; otherwise it is named."""
    if tick.difficulty > LEAST and tick.subsidy_btc >= 0:
        return True
    spoilt.append(f"unusable: the network's reading of {tick.at.isoformat()} has difficulty {tick.difficulty}")
    return False


def _curtailed(sums: RolledSums, month: str) -> tuple[Figure, ...]:
    """Mining below full operation: energy not drawn and bitcoin not earned, by cause."""
    records, count = f"Shortfall {month}", sums.shortfalls
    if not count:
        return ()
    curtailed = []
    for cause in CAUSES:
        wh = getattr(sums, f"short_wh_{cause}")
        why = HOW_CAUSED[cause]
        if wh:
            curtailed.append(_fig(f"curtailed_{cause}", Decimal(wh).scaleb(-6), "MWh", 1, why, records, count))
    for cause in CAUSES:
        sats = getattr(sums, f"lost_sats_{cause}")
        how = "satoshi a pool would have paid for the hashes not made, after its fee"
        if sats:
            curtailed.append(_fig(f"bitcoin_lost_{cause}", Decimal(sats).scaleb(-8), "BTC", 8, how, records, count))
    return tuple(curtailed)


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

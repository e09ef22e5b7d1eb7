"""What a market awarded, out of a file; and a site's month settled from records: awards, meters, prices."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

from tieline.cli.desk.market_file import AwardError, hour_of, number_of, rows_of
from tieline.dispatch.desk.statement import CENT, Bought, PositionBill, SettledHour, statement
from tieline.fleet import Fleet, Site
from tieline.fleet.currency import STALE, RateBook
from tieline.fleet.markets import zone_of
from tieline.fleet.network import holding
from tieline.records import ExchangeRate, PowerBill, PriceTick, Purchase, newest_by
from tieline.store import Store

HOUR = timedelta(hours=1)
NEEDED = ("purchase_id", "site_id", "market", "hour_begins_utc", "mw", "price_usd_per_mwh")


def awards_of(file: Path, fleet: Fleet, now: datetime) -> list[Purchase]:
    """Every row of a file, each an hour. Raises AwardError with file and row."""
    awards = [_award(row, where, fleet, now) for where, row in rows_of(file, NEEDED)]
    keys = [(one.purchase_id, one.at) for one in awards]
    if twice := next((key for key in keys if keys.count(key) > 1), None) if len(set(keys)) < len(keys) else None:
        raise AwardError(f"{file}: {twice[0]} has {twice[1]:%Y-%m-%d %H:%M} UTC twice; leave one row of it")
    return awards


def _award(row: dict[str, str], where: str, fleet: Fleet, now: datetime) -> Purchase:
    sites = {site.id for site in fleet.sites}
    if row["site_id"] not in sites:
        raise AwardError(f"{where}: no site {row['site_id']!r}; the fleet has {', '.join(sorted(sites)[:5])}, ...")
    at = hour_of(row, where)
    mw = number_of(row["mw"], f"{where}: mw")
    price = number_of(row["price_usd_per_mwh"], f"{where}: price_usd_per_mwh")
    return Purchase(
        at=at,
        known_at=now,
        source="awards file",
        kind="measured",
        purchase_id=row["purchase_id"],
        site_id=row["site_id"],
        market=row["market"],
        energy_wh=int(mw * 1_000_000),
        price_usd_per_mwh=price,
    )


def month_of(text: str, fleet: Fleet, site_id: str, now: datetime) -> tuple[datetime, datetime]:
    """A local month of the site's market, UTC, as far as it has ended. Raises AwardError."""
    try:
        begin = date.fromisoformat(f"{text}-01")
    except ValueError:
        raise AwardError(f"{text!r} is no month; write 2026-10") from None
    market = fleet.market(fleet.site(site_id).contract.market)
    zone = zone_of("UTC" if market is None else market.zone)
    end = (begin + timedelta(days=32)).replace(day=1)
    first, last = (datetime.combine(day, time(), tzinfo=zone).astimezone(UTC) for day in (begin, end))
    return first, min(last, now.replace(minute=0, second=0, microsecond=0))


def statement_of(
    store: Store, fleet: Fleet, site_id: str, span: tuple[datetime, datetime], known: datetime
) -> PositionBill:
    """The site's hours of `span` as known at `known`; one without a meter reading is named in the bill. Raises
    ValueError where a price that is needed is not known."""
    site = fleet.site(site_id)
    contract = site.contract
    bills = store.between(PowerBill, *span, now=known, subject=site_id)
    metered = newest_by((bill for bill in bills if bill.length_s == 3600), lambda bill: bill.at)
    bought = newest_by(
        store.between(Purchase, *span, now=known, subject=site_id), lambda one: (one.at, one.purchase_id)
    )
    awards: dict[datetime, list[Bought]] = defaultdict(list)
    for one in bought.values():
        awards[one.at].append(Bought(one.market, one.energy_wh, one.price_usd_per_mwh))
    prices = {name: hourly(store, name, span, known) for name in {m for _, m in contract.named_markets()}}
    market = fleet.market(contract.market)
    zone, rates = "UTC" if market is None else market.zone, rates_of(store, span, known)
    hours = []
    for at in (span[0] + n * HOUR for n in range(int((span[1] - span[0]) / HOUR))):
        drawn = metered.get(at)
        if drawn is None:
            hours.append(SettledHour(at, None, None))
            continue
        energy_wh = round(drawn.mining_wh + drawn.inference_wh + drawn.aux_wh)
        price = prices.get(contract.market_15min or "", {}).get(at, prices.get(contract.market or "", {}).get(at))
        bought_before = (*_legs(site, zone, at, prices), *awards[at])
        rate = _rate(rates, site, at)
        bands = list(holding(contract.network, contract.demand_zone, at))
        network = [(band.name, exact(band.usd_per_mwh) + exact(band.local_per_mwh) * rate) for band in bands]
        if contract.adder_local_per_mwh:
            network.append((f"adder {contract.currency}", exact(contract.adder_local_per_mwh) * rate))
        losses = sum((exact(band.losses) for band in bands), Decimal(0))
        hours.append(SettledHour(at, energy_wh, price, bought_before, tuple(network), losses))
    return statement(hours, exact(contract.scale), exact(contract.adder_usd_per_mwh))


def exact(written: float) -> Decimal:
    """A number of the configuration as it was written."""
    return Decimal(str(written))


def rates_of(store: Store, span: tuple[datetime, datetime], known: datetime) -> RateBook:
    """Exchange rates of the hours of a span, as known at `known`."""
    book = RateBook()
    for one in store.between(ExchangeRate, span[0] - 2 * STALE, span[1], now=known):
        book.learn(one.currency, one.at, one.usd_per_unit)
    return book


def _rate(rates: RateBook, site: Site, at: datetime) -> Decimal:
    """USD per unit of the contract's currency. Raises ValueError where it prices something and no rate is known."""
    if not site.contract.local:
        return Decimal(1)
    rate = rates.rate(site.contract.currency, at)
    if rate.usd_per_unit is None:
        raise ValueError(f"{at:%Y-%m-%d %H:%M} UTC: {rate.why}; what {site.id} pays in it cannot be converted")
    return rate.usd_per_unit


def in_currency(bill: PositionBill, currency: str, rates: RateBook) -> Decimal | None:
    """The bill in a currency, each line at the rate of its day and in whole cents; None where a rate is not known."""
    total = Decimal(0)
    for line in bill.lines:
        rate = rates.rate(currency, line.at).usd_per_unit
        if rate is None:
            return None
        total += (line.usd / rate).quantize(CENT, ROUND_HALF_EVEN)
    return total


def currency_of(fleet: Fleet, site_id: str) -> str:
    """Of the contract, or of its market."""
    contract = fleet.site(site_id).contract
    market = fleet.market(contract.market)
    return contract.currency if contract.currency != "USD" or market is None else market.currency


def _legs(site: Site, zone: str, at: datetime, prices: dict[str, dict[datetime, Decimal]]) -> list[Bought]:
    legs = []
    for leg in site.contract.legs:
        energy_wh = round(leg.power_w(zone, at))
        if not energy_wh:
            continue
        if leg.usd_per_mwh is not None:
            price = Decimal(str(leg.usd_per_mwh))
        else:
            index = prices[leg.market or ""].get(at)
            if index is None:
                raise ValueError(
                    f"{at:%Y-%m-%d %H:%M} UTC: leg {leg.name} is at {leg.market}, whose price is not known"
                )
            price = index + Decimal(str(leg.adder_usd_per_mwh))
        legs.append(Bought(f"leg {leg.name}", energy_wh, price))
    return legs


def hourly(store: Store, market: str, span: tuple[datetime, datetime], known: datetime) -> dict[datetime, Decimal]:
    """A market's price of each hour: the mean of its intervals, each as it was told last; an hour that lacks one of
    them has none."""
    ticks = newest_by(store.between(PriceTick, *span, now=known, subject=market), lambda tick: tick.at)
    sums: dict[datetime, tuple[int, Decimal]] = {}
    for tick in ticks.values():
        hour = tick.at.replace(minute=0, second=0, microsecond=0)
        seconds, total = sums.get(hour, (0, Decimal(0)))
        sums[hour] = (seconds + tick.length_s, total + Decimal(str(tick.price_usd_per_mwh)) * tick.length_s)
    return {hour: total / seconds for hour, (seconds, total) in sums.items() if seconds == HOUR.total_seconds()}

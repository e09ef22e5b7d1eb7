"""What a replay says of its days: figures in a fixed order, and a table a person can read.

Every figure is modelled from recorded prices and weather; the assumptions stand in the report itself. No wall
time is in it, so that the same days give the same bytes.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from tieline import __version__
from tieline.books.causes import CALLED, CAUSES
from tieline.records import Performance, Shortfall
from tieline.replay.accounts import HourlySettlement
from tieline.replay.asked import WARM_UP, Asked
from tieline.settlement.truth import Truth
from tieline.sim.world import Floats
from tieline.store import Store

# Enough for a week of a large fleet's orders; a longer list is in the store.
MOST_LINES = 200


class EnergyUse(msgspec.Struct, frozen=True, kw_only=True):
    """MWh at the meter, by use."""

    mining_mwh: float
    inference_mwh: float
    aux_mwh: float
    total_mwh: float
    unpriced_mwh: float


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """USD of the priced hours. `net_usd` = mining + inference - power - wear; the last is its difference from
    mining without a pause, with the same inference."""

    mining_usd: float
    inference_usd: float
    power_usd: float
    wear_usd: float
    net_usd: float
    net_usd_per_mwh: float | None
    power_usd_per_mwh: float | None
    always_on_net_usd: float
    better_than_always_on_usd: float


class SiteLine(msgspec.Struct, frozen=True, kw_only=True):
    site_id: str
    region: str
    energy: EnergyUse
    btc: float
    modelled_tokens: int
    starts: int
    over_limit_s: float
    money: Money


class MarketLine(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the span a market's recording covers. `missing` names the first gaps."""

    market: str
    hours: float
    expected_hours: float
    lowest_usd_per_mwh: float | None
    highest_usd_per_mwh: float | None
    missing: tuple[str, ...]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One replay."""

    version: str
    data: str
    start: str
    end: str
    interval_s: int
    policy: str
    scale: float
    sites: int
    deployed_eh_s: float
    operating_eh_s: float
    limit_mw: float
    energy: EnergyUse
    always_on_mining_mwh: float
    btc: str  # what the simulated pool paid, exact to the satoshi
    modelled_tokens: int
    unserved_tokens: dict[str, int]
    starts: int
    over_limit_s: float
    money: Money
    short_mwh: dict[str, float]  # mining below full operation, by cause
    lost_btc: dict[str, str]  # what a pool would have paid for the hashes not made
    performances: tuple[str, ...]  # a line each: promises, calls, orders, peak windows
    injected: dict[str, int]
    markets: tuple[MarketLine, ...]
    by_site: tuple[SiteLine, ...]
    assumptions: tuple[str, ...]
    records: dict[str, int]
    store_digest: str

    def to_json(self) -> str:
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode()


def report_of(asked: Asked, accounts: HourlySettlement, truth: Truth, store: Store) -> Report:
    """Fold the finished accounts into a report."""
    total, fleet, settings = accounts.total, asked.fleet, asked.settings
    seconds = (asked.end - asked.start).total_seconds()
    lines = tuple(
        SiteLine(
            site_id=site.id,
            region=site.region,
            energy=_energy(accounts, n),
            btc=round(float(total.btc[n]), 8),
            modelled_tokens=round(float(total.tokens[n])),
            starts=round(float(total.started[n])),
            over_limit_s=float(total.over_limit_s[n]),
            money=_money(accounts, n),
        )
        for n, site in enumerate(fleet.sites)
    )
    injected: dict[str, int] = {}
    named = ["call" if o.instruction_id.startswith(CALLED) else "order" for o in truth.orders]
    for what in [*named, *(fault.what for fault in truth.faults)]:
        injected[what] = injected.get(what, 0) + 1
    splits = store.between(Shortfall, asked.start, asked.end)
    performances = store.between(Performance, asked.start - WARM_UP, asked.end)
    return Report(
        version=__version__,
        data=asked.label,
        start=asked.start.isoformat(),
        end=asked.end.isoformat(),
        interval_s=settings.interval_s,
        policy=settings.policy,
        scale=asked.scale,
        sites=len(fleet.sites),
        deployed_eh_s=round(fleet.deployed_hs / 1e18, 4),
        operating_eh_s=round(total.hashes / seconds / 1e18, 4),
        limit_mw=round(fleet.limit_w / 1e6, 3),
        energy=_energy(accounts, None),
        always_on_mining_mwh=_mwh(total.always_on_wh.sum()),
        btc=f"{total.sats // 100_000_000}.{total.sats % 100_000_000:08d}",
        modelled_tokens=round(float(total.tokens.sum())),
        unserved_tokens={f"{m}@{r}": round(lost) for (m, r), lost in sorted(total.unserved.items())},
        starts=round(float(total.started.sum())),
        over_limit_s=float(total.over_limit_s.sum()),
        money=_money(accounts, None),
        short_mwh={c: mwh for c in CAUSES if (mwh := round(sum(s.short_wh.get(c, 0) for s in splits) / 1e6, 3))},
        lost_btc={c: f"{sats / 1e8:.8f}" for c in CAUSES if (sats := sum(s.lost_sats.get(c, 0) for s in splits))},
        performances=tuple(one.line for one in performances[:MOST_LINES]),
        injected=dict(sorted(injected.items())),
        markets=tuple(_coverage(asked, truth, store, market) for market in fleet.markets),
        by_site=lines,
        assumptions=(*asked.assumptions, *_settings_assumed(asked)),
        records=store.counts(),
        store_digest=store.digest(),
    )


def _pick(values: Floats, n: int | None) -> float:
    return float(values.sum() if n is None else values[n])


def _mwh(wh: float) -> float:
    return round(float(wh) / 1e6, 3)


def _energy(accounts: HourlySettlement, n: int | None) -> EnergyUse:
    t = accounts.total
    mine, serve, aux = (_pick(values, n) for values in (t.mining_wh, t.inference_wh, t.aux_wh))
    return EnergyUse(
        mining_mwh=_mwh(mine),
        inference_mwh=_mwh(serve),
        aux_mwh=_mwh(aux),
        total_mwh=_mwh(mine + serve + aux),
        unpriced_mwh=_mwh(_pick(t.unpriced_wh, n)),
    )


def _money(accounts: HourlySettlement, n: int | None) -> Money:
    t = accounts.total
    priced_mwh = (_pick(t.mining_wh + t.inference_wh + t.aux_wh, n) - _pick(t.unpriced_wh, n)) / 1e6
    net, always, power = (_pick(values, n) for values in (t.net_usd, t.always_on_net_usd, t.power_usd))
    return Money(
        mining_usd=round(_pick(t.mining_usd, n), 2),
        inference_usd=round(_pick(t.inference_usd, n), 2),
        power_usd=round(power, 2),
        wear_usd=round(_pick(t.wear_usd, n), 2),
        net_usd=round(net, 2),
        net_usd_per_mwh=round(net / priced_mwh, 4) if priced_mwh > 0 else None,
        power_usd_per_mwh=round(power / priced_mwh, 4) if priced_mwh > 0 else None,
        always_on_net_usd=round(always, 2),
        better_than_always_on_usd=round(net - always, 2),
    )


_MOST_GAPS = 8  # a gap is named so that it can be looked up; the count of hours says the rest


def _coverage(asked: Asked, truth: Truth, store: Store, market: str) -> MarketLine:
    held = truth.prices.get(market)
    prices: list[float] = []
    gaps: list[str] = []
    covered = timedelta(0)
    moment = asked.start
    step = timedelta(minutes=15)
    gap_from = None
    while moment < asked.end:
        price = None if held is None else held.at(moment)
        if price is not None:
            prices.append(price)
            covered += step
        if price is None and gap_from is None:
            gap_from = moment
        if price is not None and gap_from is not None:
            gaps.append(f"{gap_from:%Y-%m-%dT%H:%MZ}/{moment:%Y-%m-%dT%H:%MZ}")
            gap_from = None
        moment += step
    if gap_from is not None:
        gaps.append(f"{gap_from:%Y-%m-%dT%H:%MZ}/{asked.end:%Y-%m-%dT%H:%MZ}")
    return MarketLine(
        market=market,
        hours=round(covered.total_seconds() / 3600.0, 2),
        expected_hours=round((asked.end - asked.start).total_seconds() / 3600.0, 2),
        lowest_usd_per_mwh=min(prices) if prices else None,
        highest_usd_per_mwh=max(prices) if prices else None,
        missing=tuple(gaps[:_MOST_GAPS]),
    )


def _settings_assumed(asked: Asked) -> tuple[str, ...]:
    s = asked.settings
    return (
        f"simulated FPPS pool: fee {s.pool_fee:.2%}, rejects {s.rejects:.2%} (assumed)",
        f"tariff: {s.output_usd_per_mtok:.2f} USD per million output tokens, {s.input_usd_per_mtok:.2f} input "
        "(assumed); tokens are modelled, none was served",
        f"wear: {s.wear_usd_per_kw_start:.2f} USD per kW and start (assumed); "
        f"load returns by at most {s.restore_share_per_5min:.0%} of a site per 5 minutes (assumed)"
        if s.restore_share_per_5min is not None
        else f"wear: {s.wear_usd_per_kw_start:.2f} USD per kW and start (assumed)",
        "power is settled per interval at the price of that interval: 15-minute series where a site names one, "
        f"else hourly; take-or-pay per interval, resale at the market less {s.resale_discount:.0%} (assumed)",
        "rigs and nodes are modelled: fleet.physics for cooling, heat, modes and waking",
        "always-on: every rig in normal mode within the same limits, orders and outages, never off on price; "
        "the same inference",
        "a site's own reflex (mining shed to the limit, least efficient first) is taken as immediate",
        f"the {WARM_UP.total_seconds() / 3600:g} h before the first hour are run and not counted, so that no fleet "
        "starts from cold",
    )


def table(report: Report) -> str:
    """The report for a terminal, about 100 columns."""
    money, energy = report.money, report.energy
    head = [
        f"Replay of {report.data}: {report.start[:16]}Z to {report.end[:16]}Z, policy {report.policy}, "
        f"every {report.interval_s} s",
        f"{report.sites} sites (invented), {report.limit_mw:,.0f} MW, {report.deployed_eh_s:,.2f} EH/s deployed, "
        f"{report.operating_eh_s:,.2f} EH/s operating (modelled)",
        "",
        f"  energy      mining {energy.mining_mwh:,.0f}   inference {energy.inference_mwh:,.0f}   "
        f"auxiliary {energy.aux_mwh:,.0f}   total {energy.total_mwh:,.0f} MWh"
        + (f"   ({energy.unpriced_mwh:,.0f} MWh without a price)" if energy.unpriced_mwh else ""),
        f"  bitcoin     {report.btc} BTC from the simulated pool",
        f"  tokens      {report.modelled_tokens:,} output tokens (modelled), "
        f"{sum(report.unserved_tokens.values()):,} asked and not served",
        f"  USD         mining {money.mining_usd:,.0f} + inference {money.inference_usd:,.0f} - power "
        f"{money.power_usd:,.0f} - wear {money.wear_usd:,.0f} = {money.net_usd:,.0f}",
        f"              {_num(money.net_usd_per_mwh)} USD net per MWh, "
        f"power at {_num(money.power_usd_per_mwh)} USD/MWh",
        f"  always on   {money.always_on_net_usd:,.0f} USD with mining never curtailed "
        f"({report.always_on_mining_mwh:,.0f} MWh of it); dispatch made {money.better_than_always_on_usd:+,.0f} USD",
        "  below full  "
        + (", ".join(f"{cause} {mwh:,.0f} MWh" for cause, mwh in report.short_mwh.items()) or "nothing")
        + " of mining",
        f"  limits      {report.over_limit_s:,.0f} s above a limit; {report.starts:,} rig starts; injected: "
        + (", ".join(f"{n} {what}" for what, n in report.injected.items()) or "nothing"),
        "",
        f"  {'site':<10}{'MWh':>10}{'BTC':>12}{'tokens (M)':>12}{'power USD':>13}{'net USD':>13}{'USD/MWh':>10}"
        f"{'vs always on':>14}",
    ]
    head.extend(
        f"  {line.site_id:<10}{line.energy.total_mwh:>10,.0f}{line.btc:>12.4f}{line.modelled_tokens / 1e6:>12,.1f}"
        f"{line.money.power_usd:>13,.0f}{line.money.net_usd:>13,.0f}{_num(line.money.net_usd_per_mwh):>10}"
        f"{line.money.better_than_always_on_usd:>+14,.0f}"
        for line in report.by_site
    )
    if report.performances:
        head += ["", *(f"  {line}" for line in report.performances)]
    head += ["", f"  {'market':<20}{'hours':>8}{'of':>8}{'lowest':>10}{'highest':>11}   gaps"]
    head.extend(
        f"  {market.market:<20}{market.hours:>8,.1f}{market.expected_hours:>8,.0f}"
        f"{_num(market.lowest_usd_per_mwh):>10}{_num(market.highest_usd_per_mwh):>11}   "
        + (", ".join(market.missing) or "none")
        for market in report.markets
    )
    head += ["", "Assumed or invented:", *(f"  - {words}" for words in report.assumptions)]
    head += ["", f"store digest {report.store_digest}"]
    return "\n".join(head)


def _num(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"

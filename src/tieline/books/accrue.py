"""From samples to what is owed: mean hashrate of a span, and a site's power bill.

A sample that heard nothing (`power_w` None) adds nothing and is counted as missing: the bill of an hour
with missing samples is `estimated`, and never fills the gap with zero or with the last value.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal

from tieline.clock import Interval
from tieline.economics import demand_charge_usd
from tieline.fleet import Site
from tieline.records import Payout, PowerBill, Sample, Trade


def mean_hashrate_hs(samples: Iterable[Sample], start: datetime, end: datetime) -> float | None:
    """Fleet hashrate averaged over [start, end): the time-weighted sum over units. None when no sample in the
    span carries a hashrate. Time without a sample earns nothing, as at a real pool."""
    span_s = (end - start).total_seconds()
    measured = [s for s in samples if start <= s.at < end and s.hashrate_hs is not None]
    if not measured:
        return None
    return sum((s.hashrate_hs or 0.0) * s.length_s for s in measured) / span_s


def power_bill(
    site_id: str,
    span: Interval,
    samples: Iterable[Sample],
    usd_per_h: Callable[[datetime, float], float | None],
    inference_units: frozenset[str],
    aux_share: Callable[[str], float],
    source: str,
) -> PowerBill | None:
    """One site's bill for a span: what each interval's metered load cost at the price that held in it.

    `samples` are at the meter. `usd_per_h(moment, load_w)` is the contract's cost of the site's load, None while
    its price is not known; `aux_share(unit_id)` (auxiliary watts per watt of load) splits cooling out for the
    energy report. None when a price is missing, or nothing was heard at all.
    """
    mining_wh = inference_wh = aux_wh = 0.0
    loads: dict[tuple[datetime, int], float] = defaultdict(float)
    missing = simulated = 0
    for sample in samples:
        if sample.site_id != site_id or sample.at not in span:
            continue
        if sample.power_w is None:
            missing += 1
            continue
        simulated += sample.kind == "simulated"
        loads[sample.at, sample.length_s] += sample.power_w
        energy_wh = sample.power_w * sample.length_s / 3600.0
        load_wh = energy_wh / (1.0 + aux_share(sample.unit_id))
        aux_wh += energy_wh - load_wh
        if sample.unit_id in inference_units:
            inference_wh += load_wh
        else:
            mining_wh += load_wh
    cost = Decimal(0)
    for (moment, length_s), load_w in loads.items():
        rate = usd_per_h(moment, load_w)
        if rate is None:
            return None
        cost += Decimal(repr(rate)) * length_s / 3600
    if not loads:
        return None
    return PowerBill(
        at=span.start,
        known_at=span.end,
        source=source,
        kind="simulated" if simulated else ("estimated" if missing else "measured"),
        site_id=site_id,
        length_s=int(span.length.total_seconds()),
        mining_wh=mining_wh,
        inference_wh=inference_wh,
        aux_wh=aux_wh,
        cost_usd=cost.quantize(Decimal("0.000001")),
    )


def demand_bill(
    site: Site, start: datetime, end: datetime, bills: Iterable[PowerBill], ratchet_w: float = 0.0
) -> PowerBill:
    """A month's charge for the highest hour among its bills that the contract charges, as a bill without energy.
    `ratchet_w`: what months before hold it to at least."""
    contract = site.contract
    hourly = [bill for bill in bills if bill.length_s == 3600]
    charged = [bill for bill in hourly if contract.charges_demand(bill.at)]
    peak_w = max((b.mining_wh + b.inference_wh + b.aux_wh for b in charged), default=0.0)
    peak_w = max(peak_w, ratchet_w)
    kinds = {bill.kind for bill in hourly}
    cost = demand_charge_usd(
        peak_w, site.interconnect.limit_w, contract.demand_usd_per_kw_month, contract.demand_minimum_share
    )
    return PowerBill(
        at=start,
        known_at=end,
        source=f"site:{site.id}",
        kind="simulated" if "simulated" in kinds else "estimated" if "estimated" in kinds else "measured",
        site_id=site.id,
        length_s=int((end - start).total_seconds()),
        mining_wh=0.0,
        inference_wh=0.0,
        aux_wh=0.0,
        cost_usd=cost,
    )


def sale_of(payout: Payout, share: Decimal) -> Trade | None:
    """A share of a payout, sold at once at its own price on a simulated desk, without a fee; None below a satoshi and
    for a payout without a price."""
    sats = int(payout.sats * share)
    if sats < 1 or payout.btc_usd is None:
        return None
    return Trade(
        at=payout.at,
        known_at=payout.at,
        source="simulated desk",
        kind="simulated",
        trade_id=f"sale-of:{payout.payout_id}",
        sats=sats,
        price_usd=payout.btc_usd,
        fee_usd=Decimal(0),
        venue="simulated desk",
    )

"""From samples to what is owed: mean hashrate of a span, and a site's power bill.

A sample that heard nothing (`power_w` None) adds nothing and is counted as missing: the bill of an hour
with missing samples is `estimated`, and never fills the gap with zero or with the last value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal

from tieline.clock import Interval
from tieline.records import PowerBill, Sample


def mean_hashrate_hs(samples: Iterable[Sample], start: datetime, end: datetime) -> float | None:
    """Fleet hashrate averaged over [start, end): the time-weighted sum over units. None when no sample in the
    span carries a hashrate. Time without a sample earns nothing, as at a real pool."""
    span_s = (end - start).total_seconds()
    heard = [s for s in samples if start <= s.at < end and s.hashrate_hs is not None]
    if not heard:
        return None
    return sum((s.hashrate_hs or 0.0) * s.length_s for s in heard) / span_s


def power_bill(
    site_id: str,
    span: Interval,
    samples: Iterable[Sample],
    price_usd_per_mwh: Mapping[datetime, float],
    inference_units: frozenset[str],
    aux_share: float,
    source: str,
) -> PowerBill | None:
    """One site's bill for a span: metered energy x the price of its own interval.

    `samples` are at the meter (auxiliary load included); `aux_share` (auxiliary watts per watt of load) splits
    it out for the energy report. `price_usd_per_mwh` maps an interval's start to its price. None when a sample
    has no price yet, or nothing was heard at all.
    """
    mining_wh = inference_wh = aux_wh = 0.0
    cost = Decimal(0)
    heard = missing = simulated = 0
    for sample in samples:
        if sample.site_id != site_id or sample.at not in span:
            continue
        if sample.power_w is None:
            missing += 1
            continue
        price = price_usd_per_mwh.get(sample.at)
        if price is None:
            return None
        heard += 1
        simulated += sample.kind == "simulated"
        energy_wh = sample.power_w * sample.length_s / 3600.0
        load_wh = energy_wh / (1.0 + aux_share)
        aux_wh += energy_wh - load_wh
        if sample.unit_id in inference_units:
            inference_wh += load_wh
        else:
            mining_wh += load_wh
        cost += Decimal(repr(energy_wh)) * Decimal(repr(price)) / 1_000_000
    if heard == 0:
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

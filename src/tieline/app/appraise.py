"""An offered commitment against what the site can really shed, and against what its floor would cost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from tieline import records
from tieline.clock import Interval
from tieline.dispatch import Outlook, Settings
from tieline.dispatch.ahead import build
from tieline.dispatch.arrays import fleet_arrays
from tieline.dispatch.lookahead import powers
from tieline.dispatch.promises import Keepable, NotKeepable, check, sheddable
from tieline.feeds.recorded import RecordedFolder
from tieline.fleet import Fleet
from tieline.records import Commitment
from tieline.store import Store


def appraise(
    folder: RecordedFolder,
    fleet: Fleet,
    settings: Settings,
    offer: Commitment,
    sold: Sequence[Commitment],
    deployed_share: float,
    scale: float,
) -> Keepable | NotKeepable:
    """With what was known a day before the offer begins. Raises KeyError for a site that is not there,
    ValueError where nothing is known of the bitcoin network then."""
    site = fleet.site(offer.site_id)
    now = Interval.holding(offer.at - timedelta(days=1), timedelta(seconds=settings.interval_s)).start
    store = Store(None, records.encode, records.decode)
    store.append(folder.records(fleet, now - timedelta(days=22), now, scale))
    outlook = Outlook(fleet, settings)
    outlook.read(store, now)
    store.close()
    hashprice_usd, why = outlook.hashprice(now)
    if hashprice_usd is None:
        raise ValueError(f"cannot appraise: {why}")
    arrays = fleet_arrays(fleet, settings)
    ahead = build(outlook, fleet, arrays, settings, now, hashprice_usd, {})
    _, high = powers(arrays, ahead)
    ends = np.cumsum(ahead.hours)
    begin = (offer.at - now).total_seconds() / 3600.0
    hours = (offer.until - offer.at).total_seconds() / 3600.0
    inside = (ends > begin + 1e-9) & (ends - ahead.hours < begin + hours - 1e-9)
    if not inside.any():
        raise ValueError("the offer lies beyond the horizon of look-ahead; raise horizon_s")
    n = arrays.site_ids.index(site.id)
    mine = np.flatnonzero(arrays.site == n)
    # The load that is sure over the offer: the least the heat allows in any of its hours.
    most_w = float(high[np.ix_(inside, mine)].sum(axis=1).min())
    rest_w = float((arrays.sleep_w[mine] * (1.0 + ahead.aux[inside][:, mine].max(axis=0))).sum())
    meter = arrays.rated_w[mine] * (1.0 + ahead.aux[inside][:, mine].mean(axis=0))
    # Low mode earns the most per MWh, so a floor is kept in it.
    strike = float((ahead.usd_per_h[mine] * 0.80 / (meter / 1e6 * 0.72)).max()) if len(mine) else 0.0
    price, weight = ahead.price[inside, n], ahead.hours[inside][:, None]
    floor_usd = float((np.maximum(0.0, price - strike) * weight).mean(axis=1).sum()) * offer.power_w / 1e6
    margin = float(np.maximum(0.0, strike - price).mean())
    starts = settings.wear_usd_per_kw_start * 1e3
    calls = deployed_share * hours * (margin + starts) * offer.power_w / 1e6
    return check(offer, sheddable(most_w, rest_w, 0.0), most_w, sold, floor_usd + calls)

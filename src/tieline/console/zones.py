"""The clock on a site's wall, for the pages: the zone of the market that its contract follows, where that is known."""

from __future__ import annotations

from tieline.fleet import Site
from tieline.fleet.markets import shipped


def zone_at(site: Site) -> str | None:
    """An IANA name; None where neither a market nor the contract's own zone says it."""
    contract = site.contract
    market = shipped().get(contract.market or "") or shipped().get(contract.market_15min or "")
    if market is not None:
        return market.zone
    return contract.demand_zone if contract.demand_zone != "UTC" else None

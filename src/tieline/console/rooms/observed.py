"""The page of what observing sites did: by day, done beside what the plans would have done, in USD net of power.

The same sums as `tieline observe`; a day that has ended is read once.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from tieline.console.door import Row
from tieline.console.events import Hub
from tieline.console.forms import answer, failed
from tieline.people import Right
from tieline.settlement.observed import ASSUMES, observed_in
from tieline.store import StoreError

# A page shows a month; the command goes further back.
MOST_DAYS = 31


class ObservedPage:
    """The handler. `keeps`: the share of the reward that a pool's fee and rejects leave."""

    def __init__(self, hub: Hub, keeps: float) -> None:
        self.hub, self.keeps = hub, keeps

    def rows(self) -> list[Row]:
        """Path, method, the right it needs, handler."""
        return [("/api/observed", "GET", Right.SEE, self.listed)]

    async def listed(self, request: Request) -> Response:
        try:
            days = int(request.query_params.get("days", "7"))
        except ValueError:
            days = 0
        if not 1 <= days <= MOST_DAYS:
            return failed(400, f"days: give 1 to {MOST_DAYS}")
        now, keeps = self.hub.clock.now(), self.keeps
        sites = [site for site in self.hub.fleet.sites if site.mode == "observe"]
        try:
            observed = await self.hub.read(lambda store: observed_in(store, sites, now, days, keeps))
        except StoreError as error:
            return failed(503, str(error))
        shown: list[dict[str, Any]] = [
            {**dataclasses.asdict(one), "day": one.day.isoformat(), "difference_usd": one.difference_usd}
            for one in observed
        ]
        return answer({"assumes": ASSUMES, "sites": [site.id for site in sites], "days": shown})

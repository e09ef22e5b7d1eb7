"""A site over weeks and months: the page's sums by hour and day, kept up with the records while the console runs.

They lie in a file of this console's own folder and are made from the records, so that a console that begins without it
reads every record once; until it has, it says how far it is and draws what it knows.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from tieline.books.reports.sums import site_subject, total_of
from tieline.console.door import Row
from tieline.console.events import READ_S, Hub
from tieline.console.forms import answer, failed
from tieline.fleet import Site
from tieline.people import Right
from tieline.settlement.rolled import RollUp, rolled_between
from tieline.settlement.spans import size_of, span_rows
from tieline.store import StoreError
from tieline.store.rolled.kept import DAY_S, ROLLED_FILE, OvertakenError, RolledStore
from tieline.tasks import beat

# Between two looks at what was stored; a chart of months needs it no sooner.
LOOK_S: Final = 5.0
# Sums that are behind take at most half of the console's time for the store.
SHARE: Final = 1.0
MOST_DAYS: Final = 3 * 366
COLUMNS: Final = (
    "at", "mwh", "heard", "ehs", "modelled_tokens", "metered_mwh", "billed_mwh", "cost_usd", "market_usd_per_mwh",
    "made_sats", "full_sats", "requests", "served_tokens", "nano_usd",
)  # fmt: skip


class LongRoom:
    """The task and the handler of one console. Without a folder it keeps nothing and says so."""

    def __init__(self, hub: Hub, folder: Path | None) -> None:
        self.hub, self.folder = hub, folder
        self._whole = False
        self._counted = (0, 0)  # up to which record, and the last there is

    def start(self) -> None:
        if self.folder is not None:
            self.hub.registry.keep("sums by hour and day", "adds records up for pages of months", self._follow)

    def stop(self) -> None:
        if self.hub.rolled is not None:
            self.hub.rolled.kept.close()
            self.hub.rolled = None

    def rows(self) -> list[Row]:
        """Path, method, the right it needs, handler."""
        return [("/api/site/{site_id}/long", "GET", Right.SEE, self.site)]

    async def site(self, request: Request) -> Response:
        site = self.hub.fold.sites.get(request.path_params["site_id"])
        if site is None:
            return failed(404, f"no site {request.path_params['site_id']!r} in this fleet")
        try:
            days = int(request.query_params.get("days", "90"))
        except ValueError:
            days = 0
        if not 1 <= days <= MOST_DAYS:
            return failed(400, f"days: give 1 to {MOST_DAYS}")
        roll = self.hub.rolled
        try:
            # Not there in a console without a folder, and for a moment after its start.
            view = await asyncio.to_thread(
                long_view, None if roll is None else roll.kept, site, days, self.hub.clock.now()
            )
        except StoreError as error:
            return failed(503, str(error))
        return answer({**view, "counted": self._counted[0], "last": self._counted[1], "whole": self._whole})

    async def _follow(self) -> None:
        self.stop()
        assert self.folder is not None
        roll = self.hub.rolled = RollUp(await asyncio.to_thread(RolledStore, self.folder / ROLLED_FILE))
        loop = asyncio.get_running_loop()
        while True:
            beat(LOOK_S + READ_S)
            began = loop.time()
            more = False
            with self.hub.registry.attempt("sums", "adds records up by hour and day"):
                try:
                    more, *counted = await self.hub.read(lambda s: (roll.step(s), roll.reached(s), s.last_seq()))
                    self._counted = (counted[0], counted[1])
                except OvertakenError:
                    more = True  # another console of this folder was quicker
            self._whole = self._whole or not more
            await asyncio.sleep(SHARE * (loop.time() - began) if more else LOOK_S)


def long_view(kept: RolledStore | None, site: Site, days: int, now: datetime) -> dict[str, Any]:
    """The last `days` whole days and today, by hour or by day; and their exact sums. `kept` None: nothing is known."""
    size = size_of(days)
    start = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days)
    rows = [] if kept is None else list(span_rows(kept, site, size, start, now, now))
    whole = [] if kept is None else rolled_between(kept, site_subject(site.id), DAY_S, start, now)
    total = total_of(sums for _, sums in whole)
    return {
        "site": site.id,
        "step_s": size,
        "from": start.timestamp(),
        "to": now.timestamp(),
        "columns": COLUMNS,
        "rows": [[row.at.timestamp(), *(_number(getattr(row, name)) for name in COLUMNS[1:])] for row in rows],
        "simulated": any(row.simulated for row in rows),
        "sums": {
            "records": total.records,
            "wh": total.power_ws // 3_600 if total.power_s else None,
            "cost_usd": None if total.cost_usd is None else f"{total.cost_usd:f}",
            "made_sats": total.made_sats if total.settled else None,
            "nano_usd": total.nano_usd,
            "served_tokens": total.served_tokens,
        },
    }


def _number(value: Any) -> float | int | None:
    return round(float(value), 6) if value is not None and not isinstance(value, int) else value

"""Every rig of the fleet, one row each, and a page for each: read from the raw samples that sites keep on this machine.

Raw samples never travel: a site that runs elsewhere keeps its own, and is named here instead of shown. A rig that the
file names and that no sample tells of is a row too, with nothing known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from tieline.clock import micros
from tieline.console.door import Row
from tieline.console.events import Hub
from tieline.console.forms import answer, failed, read_form
from tieline.console.rooms import bulk
from tieline.console.rooms.operator import RefusedError
from tieline.console.views import unit_now
from tieline.console.zones import zone_at
from tieline.edge.rigs.history import ASLEEP, DISOBEYS, HEARD, RigFigures, Rows, figures, read_keys, read_rows
from tieline.edge.rigs.register import Register, RigHistory
from tieline.fleet import RigGroup, Site
from tieline.people import Right

Json = dict[str, Any]
# What a table shows is the mean of so long; a sweep comes each ten seconds.
OVER: Final = timedelta(minutes=10)
# Ten thousand rigs are read in about half a second: once in so long for all who look.
KEEP_S: Final = 10.0
MAX_POINTS: Final = 400
SPANS: Final = {
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
COLUMNS: Final = (
    "key", "address", "site", "group", "model", "firmware", "state", "ths", "rated_ths", "watts", "j_th", "chip_c",
    "heard_share", "pool", "estimated",
)  # fmt: skip


class RigPages:
    """The handlers. `folder` None: this console stands beside no sites."""

    def __init__(self, hub: Hub, folder: Path | None) -> None:
        self.hub, self.folder = hub, folder
        self._made: tuple[float, Json] | None = None
        self._making = asyncio.Lock()

    def rows(self) -> list[Row]:
        """Path, method, the right it needs, handler."""
        return [
            ("/api/rigs", "GET", Right.SEE, self.listed),
            ("/api/rigs/preview", "POST", Right.COMMAND, self.preview),
            ("/api/rigs/said", "GET", Right.SEE, self.said),
            ("/api/rigs/{site_id}/{key}", "GET", Right.SEE, self.one),
        ]

    async def listed(self, request: Request) -> Response:
        """All rigs as rows of COLUMNS."""
        return answer(await self._table())

    async def _table(self) -> Json:
        async with self._making:
            loop_now = asyncio.get_running_loop().time()
            if self._made is None or loop_now - self._made[0] >= KEEP_S:
                rigs = await asyncio.to_thread(table, self.hub.fleet.sites, self.folder, self.hub.clock.now())
                self._made = (loop_now, rigs)
            return self._made[1]

    async def preview(self, request: Request) -> Response:
        """What a word to many rigs would move, in megawatts; nothing is sent."""
        form = await read_form(request, bulk.BulkForm)
        rows = [dict(zip(COLUMNS, row, strict=True)) for row in (await self._table())["rows"]]
        watts = {(row["group"], row["address"]): row["watts"] for row in rows}
        fold, live, now = self.hub.fold, self.hub.fresh(), self.hub.clock.now()
        try:
            told = bulk.preview(fold, form, watts, lambda unit: unit_now(fold, live, unit, now).power_w)
        except RefusedError as error:
            return failed(400, str(error))
        return answer(told)

    async def said(self, request: Request) -> Response:
        """What sites have said of single rigs since then (seconds since 1970)."""
        try:
            since = float(request.query_params.get("since", "0"))
        except ValueError:
            return failed(400, "since: give seconds since 1970")
        return answer({"said": bulk.said_since(self.hub.fold, since)})

    async def one(self, request: Request) -> Response:
        """One rig with its history over `span`."""
        site = self.hub.fold.sites.get(request.path_params["site_id"])
        key, span = request.path_params["key"], request.query_params.get("span", "1h")
        if span not in SPANS:
            return failed(400, f"span: give one of {', '.join(SPANS)}")
        if site is None:
            return failed(404, f"no site {request.path_params['site_id']!r} in this fleet")
        view = await asyncio.to_thread(rig_view, site, self.folder, key, SPANS[span], self.hub.clock.now())
        if view is None:
            return failed(404, f"no rig {key!r} at {site.id}")
        return answer({**view, "span": span, "site": site.name, "site_id": site.id, **self._asked(site, view)})

    def _asked(self, site: Site, rig: Json) -> Json:
        """Why its group does what it does, and what the group and this rig were told; the newest first."""
        unit_id, names = rig["group"], {rig["key"], rig["address"]}
        fold = self.hub.fold
        outcome, plan = fold.outcomes.get(unit_id), fold.plans.get(site.id)
        asked = next((s for s in plan[1].setpoints if s.unit_id == unit_id), None) if plan else None
        commands: list[Json] = []
        for _, held in fold.overrides.values():
            if held.unit_id == unit_id:
                said = f"held at {(held.target_w or 0) / 1e6:g} MW by {held.by}: {held.why}"
                commands.append({"at": held.known_at.timestamp(), "what": said})
        if outcome is not None:
            said = f"the group's last answer: {outcome[1].result} {outcome[1].detail}".strip()
            commands.append({"at": outcome[1].at.timestamp(), "what": said})
        for _, word in fold.actions:
            told = {word.detail, *(part.rstrip(":") for part in word.detail.split())}
            if word.target == unit_id and names & told:
                said = f"{word.what}, by {word.by}" + ("" if word.detail in names else f": {word.detail}")
                commands.append({"at": word.at.timestamp(), "what": said})
        commands.sort(key=lambda one: one["at"], reverse=True)
        reason = None if asked is None else asked.reason.text
        return {"reason": reason, "commands": commands, "zone": zone_at(site)}


def table(sites: tuple[Site, ...], folder: Path | None, now: datetime) -> Json:
    """Rows of COLUMNS of every rig that has samples here or an address in the file."""
    rows: list[list[Any]] = []
    elsewhere, modelled = [], 0
    for site in sites:
        place = None if folder is None else folder / "sites" / site.id
        register = Register(place) if place is not None and place.is_dir() else None
        for group in site.rig_groups:
            group_rows = list(_group_rows(site, group, place, register, now))
            rows += group_rows
            if not group_rows and group.hardware == "modelled":
                modelled += group.rigs
            elif not group_rows and site.id not in elsewhere:
                elsewhere.append(site.id)
    return {"now": now.timestamp(), "columns": COLUMNS, "rows": rows, "elsewhere": elsewhere, "modelled": modelled}


def _group_rows(
    site: Site, group: RigGroup, place: Path | None, register: Register | None, now: datetime
) -> Iterator[list[Any]]:
    raw = None if place is None else place / "raw" / group.id
    samples = [] if raw is None or not raw.is_dir() else figures(raw, now - OVER, now)
    states = {} if not samples or raw is None else _states(raw, now)
    known = {} if register is None else {h.mac or h.address: h for h in register.histories}
    for rig in samples:
        yield _row(site, group, rig, known.get(rig.key), states.get(rig.key, "silent"))
    answering = {rig.key for rig in samples} | {known[rig.key].address for rig in samples if rig.key in known}
    for address in group.addresses:
        if address not in answering:
            nothing = RigFigures(address, 0, 0.0, None, None, None, 0)
            yield _row(site, group, nothing, known.get(address), "never heard")


def _row(site: Site, group: RigGroup, rig: RigFigures, known: RigHistory | None, state: str) -> list[Any]:
    """In the order of COLUMNS."""
    return [
        rig.key,
        rig.key if known is None else known.address,
        site.id,
        group.id,
        group.model,
        group.firmware,
        state,
        _rounded(rig.ths, 1),
        round(group.rig.hashrate_ths, 1),
        _rounded(rig.watts, 0),
        _rounded(rig.j_th, 1),
        _rounded(rig.chip_c_max, 0),
        round(rig.heard_share, 3),
        "" if known is None else known.pool or "",
        rig.estimated,
    ]


def _states(raw: Path, now: datetime) -> dict[str, str]:
    """What each rig did in its last sample."""
    rows, keys = read_rows(raw, now - OVER, now), read_keys(raw)
    last = {int(row["rig"]): row for row in rows}
    return {keys[n]: _state(int(row["flags"])) for n, row in last.items() if n < len(keys)}


def _state(flags: int) -> str:
    if not flags & HEARD:
        return "silent"
    if flags & DISOBEYS:
        return "disobeys"
    return "asleep" if flags & ASLEEP else "mining"


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def rig_view(site: Site, folder: Path | None, key: str, span: timedelta, now: datetime) -> Json | None:
    """One rig by its MAC or address: what is known of it and at most MAX_POINTS means over the span. None: no such
    rig."""
    place = None if folder is None else folder / "sites" / site.id
    register = Register(place) if place is not None and place.is_dir() else None
    for group in site.rig_groups:
        row = next((r for r in _group_rows(site, group, place, register, now) if key in (r[0], r[1])), None)
        if row is None:
            continue
        known = next(
            (h for h in ([] if register is None else register.histories) if row[0] in (h.mac, h.address)), None
        )
        raw = None if place is None else place / "raw" / group.id
        points = [] if raw is None or not raw.is_dir() else _points(raw, row[0], now - span, now)
        return {**dict(zip(COLUMNS, row, strict=True)), **_known(known), "points": points, "now": now.timestamp()}
    return None


def _known(known: RigHistory | None) -> Json:
    if known is None:
        return {"mac": None, "serial": None, "worker": None, "starts": []}
    starts = [at.timestamp() for at in known.starts]
    return {"mac": known.mac, "serial": known.serial, "worker": known.worker, "starts": starts}


def _points(raw: Path, key: str, start: datetime, end: datetime) -> list[list[float | None]]:
    """[at, TH/s, W, chip °C, share of samples that were heard], each a mean over an equal part of the span."""
    keys = read_keys(raw)
    if key not in keys:
        return []
    rows = read_rows(raw, start, end)
    mine: Rows = rows[rows["rig"] == keys.index(key)]
    first = micros(start) // 1_000_000
    step = max(1, int((end - start).total_seconds()) // MAX_POINTS)
    slots = (mine["at"].astype(np.int64) - first) // step
    return [_point(mine[slots == slot], first + int(slot) * step) for slot in np.unique(slots)]


def _point(rows: Rows, at: int) -> list[float | None]:
    measured = rows[(rows["flags"] & HEARD) > 0]
    return [at, *(_mean(measured[name]) for name in ("ths", "watts", "chip_c")), round(len(measured) / len(rows), 3)]


def _mean(values: Any) -> float | None:
    known = values[~np.isnan(values)]
    return round(float(known.mean()), 1) if len(known) else None


__all__ = ["COLUMNS", "RigPages", "rig_view", "table"]

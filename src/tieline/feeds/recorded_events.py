"""Orders and faults of a data folder's `scenario/events.json`, as records.

An order is an Instruction, known when it is given. A fault is known when it begins, without an end; its end
is a second record, known when it ends: nobody knows on the first minute how long an outage will last.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from tieline.clock import parse_utc
from tieline.feeds.folder import FolderError, json_object
from tieline.records import Fault, Instruction

SOURCE = "recorded events (invented)"
FAULTS = ("outage", "link_loss", "late_solve", "stale_readings", "stuck_rigs", "slow_wake", "derate")


def events(
    path: Path, start: datetime, end: datetime, site_ids: frozenset[str], scale: float
) -> list[Instruction | Fault]:
    """Everything that touches [start, end) at these sites; megawatts times `scale`."""
    found: list[Instruction | Fault] = []
    weeks = json_object(path).get("weeks")
    if not isinstance(weeks, list):
        raise FolderError(f"{path}: field weeks is missing; a list of weeks with their events is expected")
    for w, week in enumerate(weeks):
        for e, event in enumerate(week.get("events", ())):
            where = f"{path}: weeks[{w}].events[{e}]"
            try:
                kind, site_id = str(event["kind"]), str(event["site_id"])
                at = parse_utc(event["at"])
                until = at + timedelta(minutes=float(event["minutes"]))
                limit_w = float(event["to_mw"]) * 1e6 * scale if "to_mw" in event else None
                share = float(event["share"]) if "share" in event else None
                factor = float(event["factor"]) if "factor" in event else None
            except (KeyError, TypeError, ValueError) as error:
                raise FolderError(f"{where}: {type(error).__name__} {error}; see make_events.py") from error
            if until <= start or at >= end or site_id not in site_ids:
                continue
            if kind == "order":
                if limit_w is None:
                    raise FolderError(f"{where}: field to_mw is missing; an order says how much may be drawn")
                found.append(
                    Instruction(
                        at=at,
                        known_at=at,
                        source=SOURCE,
                        kind="simulated",
                        instruction_id=f"{site_id}:{at:%Y-%m-%dT%H:%M:%SZ}",
                        site_id=site_id,
                        limit_w=limit_w,
                        until=until,
                        notice_s=int(event.get("notice_s", 0)),
                        penalty_usd_per_mwh=float(event.get("penalty_usd_per_mwh", 0.0)),
                    )
                )
            elif kind in FAULTS:
                for known_at, ends in ((at, None), (until, until)):
                    found.append(
                        Fault(
                            at=at,
                            known_at=known_at,
                            source=SOURCE,
                            kind="simulated",
                            site_id=site_id,
                            what=kind,
                            detail=f"injected: {kind}",
                            share=share,
                            factor=factor,
                            limit_w=limit_w,
                            until=ends,
                        )
                    )
            else:
                raise FolderError(f"{where}: kind {kind!r}; order or one of {', '.join(FAULTS)} is expected")
    return found

"""Orders and faults of a data folder's `scenario/events.json`, as records.

An order is an Instruction, known when it is given. A fault is known when it begins, without an end; its end
is a second record, known when it ends: nobody knows on the first minute how long an outage will last. An offer of a
reserve is known the day before it begins. The odds of a window being a coincident peak are known at 10:00 of the day
before, local to the rule, and scaled where they and all that were known by then name more peaks than the rule has: what
is forecast later changes nothing of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

from tieline.clock import parse_utc
from tieline.feeds.days.folder import FolderError, json_object
from tieline.fleet.markets import zone_of
from tieline.fleet.peaks import PeakRule
from tieline.records import Commitment, Fault, Instruction, PeakOdds

SOURCE = "recorded events (invented)"
FAULTS = ("outage", "link_loss", "late_solve", "stale_readings", "stuck_rigs", "slow_wake", "derate")


@dataclass(frozen=True, slots=True)
class ScenarioEvent:
    """One happening at one site as the file has it; megawatts unscaled."""

    kind: str
    site_id: str
    at: datetime
    until: datetime
    notice_s: int = 0
    limit_w: float | None = None
    share: float | None = None
    factor: float | None = None
    penalty_usd_per_mwh: float = 0.0


def scenario_events(path: Path, site_ids: frozenset[str]) -> list[ScenarioEvent]:
    """Every order and fault of the file at these sites. Raises FolderError naming the event and the field."""
    events = []
    weeks = json_object(path).get("weeks")
    if not isinstance(weeks, list):
        raise FolderError(f"{path}: field weeks is missing; a list of weeks with their events is expected")
    for w, week in enumerate(weeks):
        for e, event in enumerate(week.get("events", ())):
            where = f"{path}: weeks[{w}].events[{e}]"
            try:
                at = parse_utc(event["at"])
                one = ScenarioEvent(
                    kind=str(event["kind"]),
                    site_id=str(event["site_id"]),
                    at=at,
                    until=at + timedelta(minutes=float(event["minutes"])),
                    notice_s=int(event.get("notice_s", 0)),
                    limit_w=float(event["to_mw"]) * 1e6 if "to_mw" in event else None,
                    share=float(event["share"]) if "share" in event else None,
                    factor=float(event["factor"]) if "factor" in event else None,
                    penalty_usd_per_mwh=float(event.get("penalty_usd_per_mwh", 0.0)),
                )
            except (KeyError, TypeError, ValueError) as error:
                raise FolderError(f"{where}: {type(error).__name__} {error}; see docs/replay.md") from error
            if one.kind == "order" and one.limit_w is None:
                raise FolderError(f"{where}: field to_mw is missing; an order says how much may be drawn")
            if one.kind not in ("order", *FAULTS):
                raise FolderError(f"{where}: kind {one.kind!r}; order or one of {', '.join(FAULTS)} is expected")
            if one.site_id in site_ids:
                events.append(one)
    return events


def events(
    path: Path, start: datetime, end: datetime, site_ids: frozenset[str], scale: float
) -> list[Instruction | Fault]:
    """Everything that touches [start, end) at these sites; megawatts times `scale`."""
    inside = [one for one in scenario_events(path, site_ids) if one.until > start and one.at < end]
    return [record for one in inside for record in _records(one, scale)]


def _records(one: ScenarioEvent, scale: float) -> list[Instruction | Fault]:
    limit_w = None if one.limit_w is None else one.limit_w * scale
    if one.kind == "order":
        assert limit_w is not None
        return [
            Instruction(
                at=one.at,
                known_at=one.at,
                source=SOURCE,
                kind="simulated",
                instruction_id=f"{one.site_id}:{one.at:%Y-%m-%dT%H:%M:%SZ}",
                site_id=one.site_id,
                limit_w=limit_w,
                until=one.until,
                notice_s=one.notice_s,
                penalty_usd_per_mwh=one.penalty_usd_per_mwh,
            )
        ]
    return [
        Fault(
            at=one.at,
            known_at=known_at,
            source=SOURCE,
            kind="simulated",
            site_id=one.site_id,
            what=one.kind,
            detail=f"injected: {one.kind}",
            share=one.share,
            factor=one.factor,
            limit_w=limit_w,
            until=ends,
        )
        for known_at, ends in ((one.at, None), (one.until, one.until))
    ]


@dataclass(frozen=True, slots=True)
class RecordedOffer:
    """An offer of a reserve, and the share of its hours in which it is called."""

    promise: Commitment
    called_share: float


# Odds rest on the load forecast that feeds the day-ahead market, which closes then.
ODDS_KNOWN = time(10, 0)


def offers(path: Path, start: datetime, end: datetime, site_ids: frozenset[str], scale: float) -> list[RecordedOffer]:
    """Offers that touch [start, end) at these sites; megawatts times `scale`."""
    commitments = []
    for n, plain in enumerate(_list(path, "commitment_offers")):
        where = f"{path}: commitment_offers[{n}]"
        try:
            at = parse_utc(plain["from"])
            until = at + timedelta(hours=float(plain["hours"]))
            product = str(plain["product"])
            promise = Commitment(
                at=at,
                known_at=at - timedelta(days=1),
                source="recorded offers (invented)",
                kind="simulated",
                commitment_id=f"offer-{n}",
                site_id=str(plain["site_id"]),
                product=product,
                until=until,
                power_w=float(plain["mw"]) * 1e6 * scale,
                response_s=int(plain.get("response_s", 600 if "10min" in product else 1800)),
                capacity_usd_per_mw_h=float(plain["capacity_usd_per_mw_h"]),
                status="offered",
                nonperformance_usd_per_mwh=float(plain["nonperformance_usd_per_mwh"]),
                baseline=str(plain["baseline"]),
            )
            share = float(plain["deployed_share_of_hours"])
        except (KeyError, TypeError, ValueError) as error:
            raise FolderError(f"{where}: {type(error).__name__} {error}; an offer has site_id, product, from, hours, "
                              "mw, prices and a baseline") from error  # fmt: skip
        if until > start and at < end and promise.site_id in site_ids:
            commitments.append(RecordedOffer(promise, share))
    return commitments


def odds(path: Path, start: datetime, end: datetime, rules: Mapping[str, PeakRule]) -> list[PeakOdds]:
    """Odds of windows that begin in [start, end), each as it was known the day before."""
    forecasts: dict[tuple[PeakRule, datetime], list[tuple[datetime, float]]] = defaultdict(list)
    for n, plain in enumerate(_list(path, "peak_odds")):
        where = f"{path}: peak_odds[{n}]"
        rule, at = _window(where, plain, rules)
        try:
            chance = float(plain["probability"])
        except (KeyError, TypeError, ValueError) as error:
            raise FolderError(f"{where}: field probability: {type(error).__name__} {error}") from error
        if not 0.0 <= chance <= 1.0:
            raise FolderError(f"{where}: field probability is {chance}; give a share from 0 to 1")
        known_at = datetime.combine(rule.local_day(at) - timedelta(days=1), ODDS_KNOWN, tzinfo=zone_of(rule.zone))
        forecasts[rule, known_at.astimezone(UTC)].append((at, chance))
    rows: list[PeakOdds] = []
    so_far: dict[tuple[str, str], list[float]] = defaultdict(list)
    for (rule, known_at), windows in sorted(forecasts.items(), key=lambda item: (item[0][1], item[0][0].name)):
        stretch = rule.season(rule.local_day(windows[0][0]))
        so_far[rule.name, stretch] += [chance for _, chance in windows]
        factor = rule.calibrated(so_far[rule.name, stretch])
        rows += [
            PeakOdds(
                at=at,
                known_at=known_at,
                source="recorded odds (invented)",
                kind="forecast",
                rule=rule.name,
                probability=chance * factor,
                length_s=rule.window_s,
            )
            for at, chance in sorted(windows)
            if start <= at < end
        ]
    return rows


def peaks(path: Path, rules: Mapping[str, PeakRule]) -> list[tuple[PeakRule, datetime]]:
    """The windows that were peaks; nobody knew before their season had ended."""
    rows = []
    for n, plain in enumerate(_list(path, "coincident_peaks")):
        rows.append(
            _window(f"{path}: coincident_peaks[{n}]", plain if isinstance(plain, dict) else {"at": plain}, rules)
        )
    return rows


def _list(path: Path, field: str) -> list[Any]:
    rows = json_object(path).get(field, [])
    if not isinstance(rows, list):
        raise FolderError(f"{path}: field {field} is {type(rows).__name__}; a list is expected")
    return rows


def _window(where: str, plain: Any, rules: Mapping[str, PeakRule]) -> tuple[PeakRule, datetime]:
    """The rule (4CP where none is named) and the beginning of a window."""
    name = str(plain.get("rule", "4CP")) if isinstance(plain, dict) else ""
    if name not in rules:
        raise FolderError(f"{where}: no peak rule {name!r}; there are {', '.join(sorted(rules))}")
    try:
        return rules[name], parse_utc(plain["at"])
    except (KeyError, TypeError, ValueError) as error:
        raise FolderError(f"{where}: field at: {type(error).__name__} {error}") from error

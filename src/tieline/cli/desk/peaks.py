"""`tieline peaks`: the coincident peaks that the fleet pays for, today's and tomorrow's odds, what a MW is worth."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

import click

from tieline.cli.desk.known import known, known_options
from tieline.dispatch.inputs.foresight import rules_of
from tieline.feeds.days.folder import FolderError
from tieline.fleet import Fleet
from tieline.fleet.markets import zone_of
from tieline.fleet.peaks import PeakRule
from tieline.records import PeakOdds
from tieline.store import Store

# Odds below this are of no use to a person; they still count in each decision.
SHOWN = 0.001


@click.command()
@known_options
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def peaks(data_dir: Path, data: Path | None, when: str | None, config: Path | None, as_json: bool) -> None:
    """Show the coincident peaks the fleet pays for: windows of today and tomorrow, their odds, what a MW is worth."""
    try:
        fleet, settings, now, store = known(data_dir, data, when, config)
        try:
            odds = _newest(store, now)
        finally:
            store.close()
    except (FolderError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    rules = [rule for rule in rules_of(fleet, settings) if any(fleet.pays(site, rule) for site in fleet.sites)]
    if as_json:
        click.echo(json.dumps([_plain(rule, fleet, odds, now) for rule in rules], indent=2))
        return
    if not rules:
        click.echo("no site of this fleet pays for a coincident peak; dispatch.peak_rules names the rules that apply")
    for rule in rules:
        click.echo("\n".join(_lines(rule, fleet, odds, now)))


def _newest(store: Store, now: datetime) -> list[PeakOdds]:
    """Odds of windows from yesterday to the day after tomorrow, each as it was told last."""
    held: dict[tuple[str, datetime], PeakOdds] = {}
    for one in store.between(PeakOdds, now - timedelta(days=1), now + timedelta(days=3), now=now):
        before = held.get((one.rule, one.at))
        if before is None or before.known_at <= one.known_at:
            held[one.rule, one.at] = one
    return sorted(held.values(), key=lambda one: one.at)


def _plain(rule: PeakRule, fleet: Fleet, odds: Iterable[PeakOdds], now: datetime) -> dict[str, object]:
    return {
        "rule": rule.name,
        "status": rule.status,
        "operator": rule.operator,
        "in_season": rule.applies(rule.local_day(now)),
        "usd_per_mw_peak": rule.usd_per_mw_peak,
        "sites": [site.id for site in fleet.sites if fleet.pays(site, rule)],
        "windows": [
            {
                "at": one.at.isoformat(),
                "probability": one.probability,
                "usd_per_mwh": round(rule.adder_usd_per_mwh(one.probability), 2),
                "known_at": one.known_at.isoformat(),
                "source": one.source,
            }
            for one in odds
            if one.rule == rule.name and one.at >= now - timedelta(seconds=rule.window_s)
        ],
    }


def _lines(rule: PeakRule, fleet: Fleet, odds: Iterable[PeakOdds], now: datetime) -> list[str]:
    sites = [site for site in fleet.sites if fleet.pays(site, rule)]
    load_mw = sum(site.interconnect.limit_w for site in sites) / 1e6
    lines = [
        f"{rule.name} ({rule.operator}, {rule.status}): {rule.peaks} peaks of {rule.window_s // 60} min, one each "
        f"{'month' if rule.by == 'month' else 'day'} of months {', '.join(map(str, rule.months))}",
        f"  a MW drawn in one peak costs {rule.usd_per_mw_peak:,.0f} USD {rule.billed}; {len(sites)} sites of "
        f"{load_mw:,.0f} MW" + (f" ({rule.source})" if rule.source else ""),
    ]
    mine = [one for one in odds if one.rule == rule.name and one.at >= now - timedelta(seconds=rule.window_s)]
    shown = [one for one in mine if one.probability >= SHOWN]
    if not rule.applies(rule.local_day(now)):
        return [*lines, "  out of season: nothing to shed for"]
    if not mine:
        return [*lines, "  no odds are known: no system load was read, or it is too early in the day"]
    zone = zone_of(rule.zone)
    lines += [
        f"  {one.at.astimezone(zone):%a %m-%d %H:%M} local: {one.probability:6.2%}, adds "
        f"{rule.adder_usd_per_mwh(one.probability):,.0f} USD/MWh"
        for one in shown
    ]
    if not shown:
        lines.append(f"  no window of the next days is likelier than {SHOWN:.1%}")
    told = max(mine, key=lambda one: one.known_at)
    return [*lines, f"  told at {told.known_at.astimezone(zone):%m-%d %H:%M} local by {told.source}"]

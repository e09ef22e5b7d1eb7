"""`tieline peaks`: the coincident peaks that the fleet pays for, today's and tomorrow's odds, what a MW is worth."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import click

from tieline.cli.desk.known import known, known_options
from tieline.dispatch.desk.accrual import AccruedShare
from tieline.dispatch.inputs.foresight import rules_of
from tieline.feeds.days.folder import FolderError
from tieline.fleet import Fleet
from tieline.fleet.markets import zone_of
from tieline.fleet.peaks import PeakRule
from tieline.records import PeakOdds, newest_by
from tieline.settlement.peaks import accrued_shares
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
            rules = [rule for rule in rules_of(fleet, settings) if any(fleet.pays(site, rule) for site in fleet.sites)]
            owed = {rule.name: accrued_shares(store, rule, fleet, now) for rule in rules}
        finally:
            store.close()
    except (FolderError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        plain = [_plain(rule, fleet, odds, now) | {"accrued": _owed_plain(owed[rule.name])} for rule in rules]
        click.echo(json.dumps(plain, indent=2))
        return
    if not rules:
        click.echo("no site of this fleet pays for a coincident peak; dispatch.peak_rules names the rules that apply")
    for rule in rules:
        click.echo("\n".join([*_lines(rule, fleet, odds, now), *_owed_lines(rule, owed[rule.name])]))


def _newest(store: Store, now: datetime) -> list[PeakOdds]:
    """Odds of windows from yesterday to the day after tomorrow, each as it was told last."""
    odds = store.between(PeakOdds, now - timedelta(days=1), now + timedelta(days=3), now=now)
    return sorted(newest_by(odds, lambda one: (one.rule, one.at)).values(), key=lambda one: one.at)


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
    newest = max(mine, key=lambda one: one.known_at)
    return [*lines, f"  told at {newest.known_at.astimezone(zone):%m-%d %H:%M} local by {newest.source}"]


# --- what is accrued for next year ------------------------------------------------------------


def _owed_lines(rule: PeakRule, owed: list[AccruedShare]) -> list[str]:
    zone, lines = zone_of(rule.zone), []
    for peak in dict.fromkeys(one.peak for one in owed):
        mine = [one for one in owed if one.peak == peak]
        billed = [one for one in mine if one.drawn_wh is not None]
        usd = sum((one.usd for one in billed), Decimal(0))
        word = "its peak" if peak.over else "its highest hour so far"
        mw = sum(one.drawn_wh or 0.0 for one in billed) / 1e6
        amount = f"{mw:,.1f} MW drawn, {usd:,.2f} USD" if billed else "no bill of that hour"
        lines.append(f"  {peak.stretch}: {word} {peak.at.astimezone(zone):%m-%d %H:%M} local, {amount}")
    if owed:
        whole = sum((one.usd for one in owed), Decimal(0))
        lines.append(f"  accrued for {rule.billed}: {whole:,.2f} USD (hourly load; the operator's own list may differ)")
    return lines


def _owed_plain(owed: list[AccruedShare]) -> dict[str, object]:
    return {
        "usd": str(sum((one.usd for one in owed), Decimal(0))),
        "peaks": [
            {
                "site_id": one.site_id,
                "stretch": one.peak.stretch,
                "at": one.peak.at.isoformat(),
                "over": one.peak.over,
                "drawn_wh": one.drawn_wh,
                "usd": str(one.usd),
            }
            for one in owed
        ],
    }

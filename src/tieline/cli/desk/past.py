"""`--store` of replay and backtest: the platform's own past, what it did beside what each policy would have done."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import get_args

import click
import msgspec

from tieline.cli.folder import config_and_now, open_store
from tieline.config import Config
from tieline.dispatch import Settings
from tieline.dispatch.settings import Policy, settings_of
from tieline.feeds.days.written import write_days
from tieline.fleet import Fleet
from tieline.records import AnyRecord
from tieline.replay.asked import Asked
from tieline.replay.lived import Did, did, world_of
from tieline.replay.report import Report
from tieline.replay.run import ReplayError, replay


def _read(folder: Path, start: datetime, end: datetime) -> tuple[Config, Did, list[AnyRecord]]:
    """A platform's configuration, what it did in [start, end), and the world it did it in."""
    config, now = config_and_now(folder)
    if end > now:
        raise ReplayError(f"--to {end:%Y-%m-%d %H:%M} has not come yet: it is {now:%Y-%m-%d %H:%M} UTC there")
    store = open_store(folder)
    try:
        return config, did(store, start, end), world_of(store, start, end)
    finally:
        store.close()


def lived(
    folder: Path, start: datetime, end: datetime, policies: Sequence[Policy] = ()
) -> tuple[Did, dict[str, Report]]:
    """What the platform of a data folder did in [start, end), and a replay of the same days under each policy. Raises
    ReplayError, click.ClickException."""
    config, past, records = _read(folder, start, end)
    if not past.hours:
        raise ReplayError(f"no hour between {start:%Y-%m-%d %H:%M} and {end:%Y-%m-%d %H:%M} is billed in {folder}")
    reports = {}
    for policy in policies or get_args(Policy):
        settings = msgspec.structs.replace(settings_of(config), policy=policy)
        asked = Asked(config.fleet, settings, records, start, end, str(folder), 1.0, ("rigs and engines: modelled",))
        reports[policy] = asyncio.run(replay(asked))
    return past, reports


@contextmanager
def days_of_store(folder: Path, start: datetime, end: datetime) -> Iterator[tuple[Path, Fleet, Settings, Did]]:
    """The past of a platform as a folder of days, for as long as it is used: its fleet without inference, its settings,
    what it did. Raises ReplayError, click.ClickException."""
    config, past, records = _read(folder, start, end)
    sites = tuple(
        msgspec.structs.replace(s, node_groups=(), feeders=tuple(f for f in s.feeders if f.load == "mining"))
        for s in config.fleet.sites
        if s.rig_groups
    )
    fleet = msgspec.structs.replace(config.fleet, sites=sites)
    with tempfile.TemporaryDirectory(prefix="tieline-past-") as made:
        write_days(Path(made), records, fleet)
        yield Path(made), fleet, settings_of(config), past


def lines(past: Did, reports: dict[str, Report]) -> list[str]:
    """A table: mining less power, for inference and wear are not in the books by the hour."""
    rows = [f"{'':<34} {'MWh':>10} {'BTC':>12} {'mining USD':>14} {'power USD':>14} {'mining - power':>15}"]
    rows.append(_row("the platform, as billed and paid", past.energy_wh / 1e6, past.sats / 1e8,
                     float(past.mining_usd), float(past.power_usd)))  # fmt: skip
    for name, report in reports.items():
        money, energy = report.money, report.energy
        row = (energy.total_mwh, float(report.btc), money.mining_usd, money.power_usd)
        rows.append(_row(f"{name}, replayed (modelled)", *row))
    rows.append(f"{past.hours} hours of {past.sites} sites are billed in whole; inference is in no column of money")
    if past.unpriced_sats:
        rows.append(f"{past.unpriced_sats:,} sat were paid while no price of bitcoin was known: not in USD")
    return rows


def _row(name: str, mwh: float, btc: float, mining: float, power: float) -> str:
    return f"{name:<34} {mwh:>10,.1f} {btc:>12.6f} {mining:>14,.2f} {power:>14,.2f} {mining - power:>15,.2f}"


def as_json(past: Did, reports: dict[str, Report]) -> str:
    plain = {
        "did": {
            "hours": past.hours,
            "mwh": round(past.energy_wh / 1e6, 3),
            "sats": past.sats,
            "mining_usd": str(past.mining_usd),
            "power_usd": str(past.power_usd),
            "net_usd": str(past.net_usd),
        },
        "policies": {name: msgspec.to_builtins(report) for name, report in reports.items()},
    }
    return json.dumps(plain, indent=2, default=str)


def told(folder: Path, start: datetime | None, end: datetime | None, policy: Policy | None, plain: bool) -> None:
    """The command's answer."""
    if start is None or end is None:
        raise click.UsageError("the past of a store needs its span: --from and --to")
    try:
        past, reports = lived(folder, start, end, () if policy is None else (policy,))
    except (ReplayError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(as_json(past, reports) if plain else "\n".join(lines(past, reports)))

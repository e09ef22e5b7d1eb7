"""`tieline rigs`: each rig of a site from its raw samples, the worst first; accept a strange one."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click

from tieline.cli.folder import config_and_now, data_dir
from tieline.cli.outcome import NothingThereError
from tieline.edge.rigs.history import RigFigures, figures
from tieline.edge.rigs.register import Register


@click.command()
@click.argument("site")
@click.option("--worst", type=click.IntRange(1, 100_000), default=20, show_default=True, help="How many to list.")
@click.option("--hours", type=click.FloatRange(0.01, 24 * 30), default=1.0, show_default=True, help="Over how long.")
@click.option("--accept", "accepted", multiple=True, metavar="MAC|ADDRESS", help="Take a strange rig as ours.")
@data_dir
def rigs(site: str, worst: int, hours: float, accepted: tuple[str, ...], data_dir: Path) -> None:
    """List a site's rigs by how far their hashrate falls below their group's, silent ones first.

    \b
    tieline rigs na-tx-07 --worst 50
    """
    folder = data_dir / "sites" / site
    if not folder.is_dir():
        raise NothingThereError(f"no site {site!r} in {data_dir}; it keeps {_sites(data_dir)}")
    if accepted:
        accept(folder, accepted)
        return
    _, now = config_and_now(data_dir)
    register = Register(folder)
    groups = sorted(path for path in (folder / "raw").glob("*") if path.is_dir())
    if not groups:
        raise click.ClickException(f"{site} keeps no raw samples: it has no rigs on sockets, or none was heard yet")
    listed = [
        (shortfall, group.name, rig)
        for group in groups
        for shortfall, rig in ranked(figures(group, now - timedelta(hours=hours), now))
    ]
    listed.sort(key=lambda row: (-row[0], row[1], row[2].key))
    if not listed:
        raise NothingThereError(f"no sample of the last {hours:g} h; give more --hours")
    known = {h.mac or h.address: h.address for h in register.histories}
    head = f"{'rig':17}  {'address':15}  {'group':20} {'heard':>6} {'TH/s':>7} {'short':>6}"
    click.echo(f"{head} {'W':>6} {'J/TH':>6} {'chip':>5}")
    for shortfall, group_name, rig in listed[:worst]:
        click.echo(_line(shortfall, group_name, rig, known.get(rig.key, rig.key)))
    if any(rig.estimated for _, _, rig in listed[:worst]):
        click.echo("~: these tell no watts; they are estimated from model and hashrate")
    if len(listed) > worst:
        click.echo(f"{len(listed) - worst} more; give --worst {len(listed)} for all")


def ranked(figures: list[RigFigures]) -> list[tuple[float, RigFigures]]:
    """(share of the group's median hashrate that is missing, rig); a rig that was never heard misses all of it."""
    rates = sorted(rig.ths for rig in figures if rig.ths)
    median = rates[len(rates) // 2] if rates else 0.0

    def missing(rig: RigFigures) -> float:
        if rig.watts is None:
            return 1.0
        if rig.ths is None or not median:
            return 0.0
        return max(0.0, 1.0 - rig.ths / median * rig.heard_share)

    return [(missing(rig), rig) for rig in figures]


def accept(folder: Path, words: tuple[str, ...]) -> None:
    """Written beside the site's register, which its agent reads with its next sweep."""
    path = folder / "rigs.accepted"
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(before + "\n".join(words) + "\n", encoding="utf-8")
    click.echo(f"{', '.join(words)}: the next sample of each is taken as ours")


def _line(shortfall: float, group: str, rig: RigFigures, address: str) -> str:
    def figure(value: float | None, form: str, width: int) -> str:
        return f"{'-':>{width}}" if value is None else f"{value:{width}{form}}"

    watts = figure(rig.watts, ".0f", 0)
    told = f"~{watts}" if rig.estimated else watts
    return (
        f"{rig.key:17}  {address:15}  {group:20} {rig.heard_share:6.0%} {figure(rig.ths, '.1f', 7)} {shortfall:6.0%} "
        f"{told:>6} {figure(rig.j_th, '.1f', 6)} {figure(rig.chip_c_max, '.0f', 5)}"
    )


def _sites(data_dir: Path) -> str:
    names = sorted(path.name for path in (data_dir / "sites").glob("*")) if data_dir.exists() else []
    return ", ".join(names[:10]) + (" ..." if len(names) > 10 else "") if names else "none"

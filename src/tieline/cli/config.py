"""`tieline config`: check a file before anything starts, or print one to start from."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tieline import config as configuration
from tieline.cli.outcome import AnswerIsNoError
from tieline.config import Config, ConfigError
from tieline.units import Hashrate, Power


@click.group()
def config() -> None:
    """Check a configuration file, or print an example."""


@config.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Machine-readable answer.")
def check(file: Path, as_json: bool) -> None:
    """Read FILE, say what it describes, or every mistake with its line and its fix."""
    try:
        loaded = configuration.load(file)
    except ConfigError as error:
        if as_json:
            click.echo(json.dumps(problem(error)))
            raise SystemExit(1) from error
        raise AnswerIsNoError(str(error)) from error
    facts = summary(loaded)
    if as_json:
        click.echo(json.dumps({"ok": True, "file": str(file), **facts}))
        return
    click.echo(f"{file}: correct")
    for name, value in facts.items():
        click.echo(f"  {name.replace('_', ' '):<22} {value}")


@config.command()
def example() -> None:
    """Print the demo fleet's file, to copy and edit."""
    click.echo(configuration.example_text(), nl=False)


def problem(error: ConfigError) -> dict[str, object]:
    return {
        "ok": False,
        "file": error.file,
        "line": error.line,
        "field": error.field,
        "problem": error.problem,
        "fix": error.fix,
        **({"more": [problem(one) for one in error.more]} if error.more else {}),
    }


def summary(loaded: Config) -> dict[str, object]:
    """What the file describes, in figures an operator can check against their own."""
    fleet = loaded.fleet
    nodes = [group for site in fleet.sites for group in site.node_groups]
    rigs = [group for site in fleet.sites for group in site.rig_groups]
    return {
        "fleet": fleet.name,
        "sites": len(fleet.sites),
        "sites_tieline_may_act_at": sum(site.may_act for site in fleet.sites),
        "interconnects": str(Power(fleet.limit_w)),
        "rigs": sum(group.rigs for group in rigs),
        "rigs_not_modelled": sum(group.rigs for group in rigs if group.hardware != "modelled"),
        "deployed_hashrate": str(Hashrate(fleet.deployed_hs)),
        "gpu_nodes": sum(group.nodes for group in nodes),
        "real_replicas": sum(group.replicas_real for group in nodes),
        "models": ", ".join(model.name for model in loaded.models),
        "tenants": ", ".join(tenant.id for tenant in loaded.tenants),
        "markets": ", ".join(fleet.markets),
    }

"""`tieline run`: one part on this machine."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import click

from tieline.app.agent_run import run_agent
from tieline.app.joins import JoinError
from tieline.app.machines.run import PROCESSES, RunOptions, run_part
from tieline.app.up import UpError
from tieline.cli.folder import data_dir

SITE = "site"


@click.command()
@click.argument("part", type=click.Choice([*PROCESSES, SITE]))
@data_dir
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="Fleet and settings (TOML).")
@click.option("--name", help="What this machine is called; default: its host name.")
@click.option("--server", metavar="HOST:PORT", help="For the link: which of link.servers this is.")
@click.option(
    "--reach", metavar="HOST", help="For a gateway: what sites dial to reach this machine; default: link.name."
)
@click.option("--region", help="For a gateway: which of the fleet's regions it stands in; its sites then come first.")
@click.option("--gateway-port", type=int, help="Another port than the file's.")
@click.option("--console-port", type=int, help="Another port than the file's.")
def run(
    part: str,
    data_dir: Path,
    config: Path | None,
    **of_part: Any,
) -> None:
    """Run one PART of a platform over several machines on this one: core, link, console, gateway or site.

    The machine's keys come from `tieline machine`; a site's from `tieline join`. See docs/fleet.md.
    """
    os.umask(0o077)
    try:
        if part == SITE:
            if config is not None:
                raise UpError("a site is given its configuration by the platform; leave --config out")
            asyncio.run(run_agent(data_dir, click.echo))
            return
        if config is None:
            raise UpError(f"which fleet? `tieline run {part}` needs --config FILE")
        options = RunOptions(part=part, config=config, data_dir=data_dir, **of_part)
        sys.exit(asyncio.run(run_part(options, click.echo)))
    except (UpError, JoinError) as error:
        raise click.ClickException(str(error)) from error

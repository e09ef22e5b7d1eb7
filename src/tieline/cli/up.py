"""`tieline up`, `down` and `status`: the platform on one machine."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import click
import msgspec

from tieline.app import up as platform
from tieline.cli.folder import data_dir


@click.command()
@data_dir
@click.option(
    "--config", type=click.Path(dir_okay=False, path_type=Path), help="Fleet and settings (TOML). Default: the demo."
)
@click.option(
    "--speed", type=float, default=1.0, show_default=True, help="World time per wall time; never scales tokens."
)
@click.option("--console-port", type=int, help="Port of the console (0: any free one).")
@click.option("--gateway-port", type=int, help="Port of the OpenAI-compatible door (0: any free one).")
@click.option("--model", help="A GGUF file, or an http(s) URL of one, to serve instead of the self-test model.")
@click.option(
    "--feeds", type=click.Choice(["auto", "live", "synthetic"]), help="Where prices, weather and bitcoin come from."
)
@click.option("--detach", "-d", is_flag=True, help="Run in the background; returns when ready.")
def up(
    data_dir: Path,
    config: Path | None,
    speed: float,
    console_port: int | None,
    gateway_port: int | None,
    model: str | None,
    feeds: str | None,
    detach: bool,
) -> None:
    """Run the whole platform on this machine: fleet, feeds, dispatch, inference, books and console.

    Everything listens on loopback. Ctrl-C stops all of it; starting again goes on from the same data folder.
    """
    os.umask(0o077)  # what a platform writes is its owner's alone
    if detach:
        _detach(data_dir)
        return
    options = platform.Options(
        data_dir=data_dir,
        config=config,
        speed=speed,
        console_port=console_port,
        gateway_port=gateway_port,
        model=model,
        feeds=feeds,
    )
    try:
        sys.exit(asyncio.run(platform.run(options, click.echo)))
    except platform.UpError as error:
        raise click.ClickException(str(error)) from error


@click.command()
@data_dir
def down(data_dir: Path) -> None:
    """Stop a platform that runs on this data folder."""
    try:
        click.echo("Stopped." if platform.stop_running(data_dir) else "Nothing was running.")
    except platform.UpError as error:
        raise click.ClickException(str(error)) from error


@click.command()
@data_dir
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def status(data_dir: Path, as_json: bool) -> None:
    """Say what runs, where its doors are, and what is broken. Exit code 1 when not all of it is ready."""
    state = platform.read_state(data_dir)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(state), indent=2))
    elif not state.parts:
        click.echo(f"Nothing runs on {data_dir}. Start it with: tieline up")
    else:
        click.echo(
            f"{'Ready' if state.ready else 'Not ready'}: console {state.console_url}, door {state.openai_base_url}"
        )
        for part in state.parts:
            line = f"  {part.name:8} {part.state:10} pid {part.pid or '-':<8} restarts {part.restarts}  {part.detail}"
            click.echo(line.rstrip())
        if state.disk is not None:
            click.echo(f"  disk     {state.disk}")
        if state.lost:
            click.echo(
                f"  {state.lost:,} items found no room to be set aside and are lost; see: tieline quarantine list"
            )
        if state.set_aside:
            click.echo(f"  {state.set_aside:,} items that came in are set aside; see: tieline quarantine list")
    sys.exit(0 if state.ready else 1)


def _detach(data_dir: Path) -> None:
    """Start the same command in a session of its own, with its output in a file, and wait until it is ready."""
    argv = [sys.executable, "-m", "tieline", *(a for a in sys.argv[1:] if a not in ("--detach", "-d"))]
    output = data_dir / "run" / "up.log"
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("wb") as file:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
    except OSError as error:
        why = f"cannot write to {data_dir}: {error.strerror}; choose another folder with --data-dir"
        raise click.ClickException(why) from error
    for _ in range(int(platform.READY_S * 5)):
        state = platform.read_state(data_dir)
        if state.ready and state.pid == process.pid and (said := output.read_text().strip()):
            click.echo(f"\n{said}\n")  # where its doors are and how to try them: printed a moment after it is ready
            return
        if process.poll() is not None:
            said = output.read_text().strip().removeprefix("Error: ")
            raise click.ClickException(said or f"ended with code {process.returncode}")
        time.sleep(0.2)
    raise click.ClickException(f"not ready after {platform.READY_S:.0f} s; see {output}")

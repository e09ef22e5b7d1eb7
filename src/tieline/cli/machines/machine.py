"""`tieline machine`: what each machine of a platform is given."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import click
import msgspec

from tieline.app.machines.keys import KEYS_FILE, PARTS, MachineError, make_keys, read_keys
from tieline.cli.folder import configured, data_dir
from tieline.store.files import write_private_file

P = ParamSpec("P")
R = TypeVar("R")


def _one_line(command: Callable[P, R]) -> Callable[P, R]:
    """What does not go is one line."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (MachineError, OSError) as error:
            raise click.ClickException(str(error)) from error

    return run


@click.group()
def machine() -> None:
    """Keys of the machines of one platform. See docs/fleet.md."""


@machine.command()
@data_dir
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The fleet's file.")
@_one_line
def make(data_dir: Path, config: Path) -> None:
    """Make a new platform's keys, in the folder of its first machine. It can then run every part."""
    loaded = configured(config)
    assert loaded is not None
    make_keys(data_dir, loaded)
    click.echo(f"Made {data_dir / KEYS_FILE}. Keep a copy of this folder: without it every site joins anew.")


@machine.command()
@data_dir
@click.argument("parts", nargs=-1, required=True, metavar="PART...")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The file to write.")
@_one_line
def keys(data_dir: Path, parts: tuple[str, ...], out: Path) -> None:
    """Write another machine's keys, for its PARTs alone: core, link, console, gateway."""
    write_private_file(out, msgspec.json.format(msgspec.json.encode(read_keys(data_dir / KEYS_FILE).for_parts(parts))))
    click.echo(f"Wrote {out}, for {', '.join(parts)}. Carry it there as a secret, and enter it: tieline machine enter")


@machine.command()
@data_dir
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_one_line
def enter(data_dir: Path, file: Path) -> None:
    """Take the keys of FILE into this machine's folder. FILE may be removed then."""
    keys = read_keys(file)
    if (data_dir / KEYS_FILE).exists() and read_keys(data_dir / KEYS_FILE).command_public != keys.command_public:
        raise MachineError(f"{data_dir} holds the keys of another platform; name another folder with --data-dir")
    keys.enter(data_dir)
    click.echo(f"This folder can run {', '.join(one for one in PARTS if one in keys.parts)}.")

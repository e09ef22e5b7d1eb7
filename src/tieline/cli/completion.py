"""`tieline completion`: words and names completed by the shell, sites, tenants and months included."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click
from click.shell_completion import get_completion_class

# Where each shell looks of itself; zsh is told its folder in ~/.zshrc.
PLACES: Final = {
    "bash": ".local/share/bash-completion/completions/tieline",
    "zsh": ".zfunc/_tieline",
    "fish": ".config/fish/completions/tieline.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(sorted(PLACES)), required=False)
@click.option("--print", "only_print", is_flag=True, help="Print the script instead of installing it.")
def completion(shell: str | None, only_print: bool) -> None:
    """Install completion for SHELL, or for the shell in use: commands, options, sites, tenants, months."""
    from tieline.cli import main

    shell = shell or Path(os.environ.get("SHELL", "")).name
    made = get_completion_class(shell)
    if made is None or shell not in PLACES:
        raise click.ClickException(
            f"no completion for {shell or 'this shell'}; name one of {', '.join(sorted(PLACES))}"
        )
    text = made(main, {}, "tieline", "_TIELINE_COMPLETE").source()
    if only_print:
        click.echo(text)
        return
    target = Path.home() / PLACES[shell]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    more = " Have `fpath=(~/.zfunc $fpath)` before compinit in ~/.zshrc." if shell == "zsh" else ""
    click.echo(f"{target}: from the next {shell} on.{more}")

"""One shape for all commands: `--json` wherever something is printed, names that complete, did-you-mean.

A command that has a shape of its own keeps it. One that only says what it did answers `{"said": [...]}`, a line each.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import io
import json
import re
from collections.abc import Callable
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from tieline.cli.outcome import AskedWronglyError, NothingThereError

# These run until they are stopped, or what they print is itself a file.
NO_JSON: Final = frozenset(
    {"up", "gateway", "agent", "sim rigs", "sim meter", "sim vtn", "config example", "books export", "completion"}
)
# Names of arguments and options -> what they name.
NAMED: Final = {"site": "site", "site_id": "site", "tenant": "tenant", "month": "month"}
MONTHS_BACK: Final = 24
# How the books say that nothing is known of a month, and click that there is no such word.
NO_MONTH: Final = re.compile(r"month \S+ (is not known|has not begun)")
NO_COMMAND: Final = re.compile(r"No such command '(.+?)'")


def shaped(command: click.Command, path: str) -> click.Command:
    """The command, or group of commands, as `tieline` has it."""
    from tieline.cli.rights import gated

    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            shaped(inner, f"{path} {name}")
        return command
    for param in command.params:
        if param.name in NAMED and param.type is click.STRING:
            param.type = Name(NAMED[param.name])
    if path not in NO_JSON and command.callback is not None and not _has_json(command):
        command.params.append(click.Option(["--json", "said_as_json"], is_flag=True, help="Machine-readable."))
        command.callback = _told_as_json(command.callback)
    if command.callback is not None and not getattr(command.callback, "asks_rights", False):
        command.callback = gated(command.callback, path)
    return command


def _has_json(command: click.Command) -> bool:
    return any("--json" in param.opts for param in command.params)


def _told_as_json(work: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(work)
    def run(*args: Any, said_as_json: bool, **kwargs: Any) -> Any:
        if not said_as_json:
            return work(*args, **kwargs)
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said):
                return work(*args, **kwargs)
        finally:
            lines = [line for line in said.getvalue().splitlines() if line.strip()]
            if lines:
                click.echo(json.dumps({"said": lines}, indent=2, ensure_ascii=False))

    return run


class Name(click.ParamType[str]):
    """A site, tenant or month: any text, completed from the platform that last ran on the data folder."""

    name = "text"

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        with contextlib.suppress(Exception):  # whoever presses Tab wants names, or nothing
            return [CompletionItem(one) for one in _names(self.kind, ctx) if one.startswith(incomplete)]
        return []


def _names(kind: str, ctx: click.Context) -> list[str]:
    from pathlib import Path

    from tieline.cli.folder import config_and_now

    config, now = config_and_now(Path(ctx.params.get("data_dir") or ".tieline"))
    if kind == "site":
        return [site.id for site in config.fleet.sites]
    if kind == "tenant":
        return [tenant.id for tenant in config.tenants]
    months = [now.year * 12 + now.month - 1 - back for back in range(MONTHS_BACK)]
    return [f"{one // 12}-{one % 12 + 1:02d}" for one in months]


def ended(error: click.ClickException) -> click.ClickException:
    """The error as `tieline` ends with it: exit codes the same everywhere, and the nearest word where one is wrong."""
    if isinstance(error, click.UsageError):
        near = _nearest(error)
        return click.UsageError(near, error.ctx) if near is not None else error
    if type(error) is not click.ClickException:
        return error
    if NO_MONTH.match(error.message):
        return NothingThereError(error.message)
    return AskedWronglyError(error.message)


def _nearest(error: click.UsageError) -> str | None:
    """What to say of a command that there is not; None for any other mistake."""
    match = NO_COMMAND.match(error.message)
    if match is None or error.ctx is None or not isinstance(error.ctx.command, click.Group):
        return None
    near = difflib.get_close_matches(match[1], error.ctx.command.list_commands(error.ctx), n=2, cutoff=0.5)
    return f"No such command {match[1]!r}." + (f" Did you mean {' or '.join(near)}?" if near else "")

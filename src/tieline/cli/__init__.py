"""The `tieline` command: one word per job.

Each job lives in its own module and is imported only when it is called, so that the light install
(`tieline disclosures`) needs none of the platform's libraries.
"""

from __future__ import annotations

import importlib
import keyword
from typing import Any

import click

from tieline import __version__
from tieline.cli.outcome import CALLER
from tieline.cli.shape import ended, shaped

# word -> (module, what `tieline --help` says of it). The module has a click command of the word's name.
COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("tieline.cli.up", "Run the whole platform on this machine."),
    "down": ("tieline.cli.up", "Stop a platform that runs in the background."),
    "status": ("tieline.cli.up", "Say what runs, where its doors are, and what is broken."),
    "run": ("tieline.cli.machines.run", "Run one part of a platform over several machines on this one."),
    "machine": ("tieline.cli.machines.machine", "Keys of the machines of one platform."),
    "doctor": ("tieline.cli.machines.doctor", "What is missing on this machine, and what to do."),
    "replay": ("tieline.cli.desk.replay", "Run recorded days through the same code on simulated time."),
    "plan": ("tieline.cli.desk.plan", "Print what each site is asked to do, and why."),
    "data": ("tieline.cli.desk.data", "Folders of days to replay and backtest; an invented one to begin with."),
    "backtest": ("tieline.cli.desk.backtest", "Compare dispatch policies on recorded days."),
    "study": ("tieline.cli.desk.study", "Where the next dollar of capital goes, site by site, over years."),
    "peaks": ("tieline.cli.desk.peaks", "Coincident peaks: windows, odds, what a MW is worth."),
    "bid": ("tieline.cli.desk.bid", "What to buy of tomorrow's power by hour, and what a month settles to."),
    "reserves": ("tieline.cli.desk.reserves", "What to offer of tomorrow's load as reserves, and awards."),
    "markets": ("tieline.cli.desk.markets", "The markets that a contract may name."),
    "commit": ("tieline.cli.desk.commit", "Check, accept, call and release grid commitments."),
    "update": ("tieline.cli.money.update", "The monthly production update, from the books."),
    "treasury": ("tieline.cli.money.treasury", "Coins against loans: the ladder, what if, and stress."),
    "import": ("tieline.cli.money.imports", "Coins, loans and payouts out of a spreadsheet."),
    "books": ("tieline.cli.money.books", "Entries, balances, lots and invoices."),
    "gateway": ("tieline.cli.gateway", "Run the OpenAI-compatible door alone, before any engines."),
    "disclosures": ("tieline.cli.sector.disclosures", "Read, check and compare what miners publish."),
    "backup": ("tieline.cli.storage.backup", "Copy a data folder to another place, while it is in use."),
    "restore": ("tieline.cli.storage.backup", "Bring a backup back, into a new folder or as the store alone."),
    "verify": ("tieline.cli.storage.backup", "Look through every page and record of a data folder."),
    "store": ("tieline.cli.storage.store", "Where the records lie: look through them, move them to a server and back."),
    "quarantine": ("tieline.cli.storage.quarantine", "What came in and could not be taken, by name."),
    "observe": ("tieline.cli.observe", "What observing sites did, and what the plans would have earned."),
    "init": ("tieline.cli.init", "Write a first configuration from a sheet of rigs or a scan."),
    "alerts": ("tieline.cli.alerts", "What stands open, who has it, and whether a channel works."),
    "approvals": ("tieline.cli.approvals", "What waits for a second person: a sale, acting, an invoice."),
    "portal": ("tieline.cli.portal", "Serve the tenants' pages alone, on a port of their own."),
    "people": ("tieline.cli.people", "Accounts, roles and sessions."),
    "site": ("tieline.cli.site", "Sites that run elsewhere: tokens, who joined, cutting off."),
    "join": ("tieline.cli.site", "Join a platform as one of its sites, with a token."),
    "agent": ("tieline.cli.site", "Run the agent of the site that a folder joined as."),
    "rigs": ("tieline.cli.rigs", "A site's rigs from their raw samples, the worst first."),
    "rig": ("tieline.cli.edge.rig", "What a limit would do; one rig blinks or starts anew; a group mines elsewhere."),
    "discover": ("tieline.cli.edge.discover", "Which rigs answer in a range of addresses."),
    "sim": ("tieline.cli.sim", "Fake rigs, meters and order servers on loopback."),
    "completion": ("tieline.cli.completion", "Words and names completed by the shell."),
    "config": ("tieline.cli.config", "Check a configuration file, or print an example."),
}


def _word(command: str) -> str:
    """The name a module gives its command: one that Python keeps for itself has an underscore."""
    return f"{command}_" if keyword.iskeyword(command) else command


class LazyGroup(click.Group):
    """Lists every command without importing it; a missing library is one line that says what to install."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        try:
            command = getattr(importlib.import_module(module), _word(cmd_name))
        except ModuleNotFoundError as error:
            if error.name is not None and error.name.startswith("tieline"):
                raise
            raise click.ClickException(
                f"`tieline {cmd_name}` needs {error.name}; install the platform: pip install 'tieline[platform]'"
            ) from error
        if not isinstance(command, click.Command):
            raise click.ClickException(f"{module} defines no command {cmd_name!r}")
        return shaped(command, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            raise ended(error) from error.__cause__

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="tieline")
@click.option("--as", "account", envvar="TIELINE_AS", help="The account that asks; its password is asked for.")
@click.pass_context
def main(context: click.Context, account: str | None) -> None:
    """Decide what every megawatt does: mine, serve inference, or leave it to the grid."""
    context.meta[CALLER] = account

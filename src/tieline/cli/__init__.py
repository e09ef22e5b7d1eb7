"""The `tieline` command: one word per job; each job imports only what it needs, so the light install stays light."""

import click

from tieline import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="tieline")
def main() -> None:
    """Decide what every megawatt does: mine, serve inference, or leave it to the grid."""

"""How a command ends, the same for all: 0 done, 1 the answer is no, 2 asked wrongly, 3 nothing there.

A plain `click.ClickException` is a question that was asked wrongly; `main` gives it exit code 2.
"""

from __future__ import annotations

import click

# Under this name a call of `tieline` keeps who says to be calling.
CALLER = "tieline.caller"
DONE, NO, WRONG, NOTHING = 0, 1, 2, 3


class AnswerIsNoError(click.ClickException):
    """What was asked was understood and looked at, and the answer is no: refused, broken, not kept."""

    exit_code = NO


class NothingThereError(click.ClickException):
    """There is nothing of that name: no data folder, no such site, no month of which anything is known."""

    exit_code = NOTHING


class AskedWronglyError(click.ClickException):
    """A value that cannot be, a file that cannot be read, a folder of something else."""

    exit_code = WRONG

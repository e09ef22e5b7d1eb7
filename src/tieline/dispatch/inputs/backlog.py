"""The noun of a backlog: an amount of output tokens and the time by which it is owed.

Known to the inputs, which see what is waiting, and to the inference desk, which says when it runs.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lot:
    """Output tokens that are owed by `due_s` seconds after the first step begins."""

    due_s: float
    tokens: float

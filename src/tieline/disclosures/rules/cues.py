"""Rows of the open reader, from `data/cues.csv`: what a number may be, by its unit and the words near it.

The open reader only finds; whether a figure is a fact is for the licences.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Literal, NamedTuple

import msgspec

from tieline.disclosures.data import shipped_rows
from tieline.disclosures.lexicon.words import Concept, concepts

Near = Literal["left", "right", "clause", "sentence", "nearest"]


class Cue(NamedTuple):
    """One row: all of `needs` stand near, and none of `never`."""

    unit: str
    field: str
    near: Near
    needs: tuple[Concept, ...]
    never: tuple[Concept, ...]

    def fits(self, words: Mapping[str, str]) -> bool:
        """Do the words near a number meet the row? `words`: by where they stand."""
        needed = all(p.search(words[self.near]) for p in self.needs)
        return needed and not any(p.search(words["clause"]) for p in self.never)


def _cue(row: Mapping[str, str]) -> Cue:
    near = msgspec.convert(row["near"], Near)
    return Cue(row["unit"], row["field"], near, concepts(row, "needs"), concepts(row, "never"))


@cache
def _cues() -> tuple[Cue, ...]:
    return tuple(map(_cue, shipped_rows("cues.csv")))


@cache
def cues(unit: str | None) -> tuple[Cue, ...]:
    """The rows for numbers of a unit, in the file's order: the first that fits decides."""
    return tuple(cue for cue in _cues() if cue.unit == unit and cue.near != "nearest")


@cache
def verbs() -> tuple[tuple[str, Concept], ...]:
    """Fields and their verbs: of these the nearest to the number says what its coins did."""
    return tuple((cue.field, pattern) for cue in _cues() if cue.near == "nearest" for pattern in cue.needs)

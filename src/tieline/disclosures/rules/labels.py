"""Rows of what a table's label names, from `data/labels.csv`: the first that fits decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

from tieline.disclosures.data import shipped_rows
from tieline.disclosures.lexicon.words import HASHRATE, Concept, concepts

BUSINESS, MINING = "\x01another business\x01", "\x01mining\x01"
"""Marks behind a label whose heading speaks of another business, or of mining."""
PERCENTAGES = frozenset({"operating_share_pct", "btc_produced_mom_pct"})
"""Fields of which a percentage that stands alone behind its label is the figure; behind others it is a change."""
_HASHRATES = ("EH/s", "PH/s", "TH/s")


class LabelRule(NamedTuple):
    """One row."""

    field: str | None
    """None: such a label names none."""
    rule: str
    units: tuple[str | None, ...]
    """Those of the values beside it, None where none stands there; empty: any."""
    needs: tuple[Concept, ...]
    some: tuple[Concept, ...]
    never: tuple[Concept, ...]
    weak: bool

    def fits(self, label: str) -> bool:
        """Do the words of a label meet the row?"""
        if not all(p.search(label) for p in self.needs) or any(p.search(label) for p in self.never):
            return False
        return not self.some or any(p.search(label) for p in self.some)


@cache
def label_rules(unit: str | None) -> tuple[LabelRule, ...]:
    """The rows for values of a unit, in the file's order."""
    return tuple(rule for rule in _rules() if not rule.units or unit in rule.units)


@cache
def _rules() -> tuple[LabelRule, ...]:
    return tuple(rule for row in shipped_rows("labels.csv") for rule in _written_out(row))


def _written_out(row: Mapping[str, str]) -> Iterator[LabelRule]:
    """The rule of a row; of a hashrate's row two: it is known by its unit, or where none stands there by its name."""
    units = tuple(None if unit == "none" else unit for unit in row["units"].split("|") if unit)
    needs, some, never = concepts(row, "needs"), concepts(row, "some"), concepts(row, "never")
    rule = LabelRule(row["field"] or None, row["rule"], units, needs, some, never, row["weak"] == "weak")
    if units == ("hashrate",):
        yield rule._replace(units=_HASHRATES)
        yield rule._replace(units=(None,), needs=(HASHRATE, *needs))
    else:
        yield rule

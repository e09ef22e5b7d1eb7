"""Every field that a fact may have and every unit, a row each of `data/fields.csv` and `data/units.csv`.

Words that look alike are kept apart there: coins and equivalents, rated and operating hashrate, averages and
point values, press holdings and coins on the balance sheet.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from tieline.disclosures.data import shipped_rows

Bounds = tuple[Decimal, Decimal]


@dataclass(frozen=True)
class PrintedUnit:
    """What a figure of a unit can be, and how it is printed."""

    bounds: Bounds | None
    printed: frozenset[str | None]
    """The units it may be printed with, None for a bare number; empty where its reader decides."""
    called: str
    """`amount of money`: what another number is said not to be."""


def _bounds(row: dict[str, str]) -> Bounds | None:
    return (Decimal(row["low"]), Decimal(row["high"])) if row["low"] else None


def _unit(row: dict[str, str]) -> PrintedUnit:
    printed = (None if word == "none" else word for word in row["printed"].split())
    return PrintedUnit(_bounds(row), frozenset(printed), row["called"])


_FIELDS = {row["field"]: row for row in shipped_rows("fields.csv")}
UNITS = {row["unit"]: _unit(row) for row in shipped_rows("units.csv")}

ALL: dict[str, tuple[str, str]] = {name: (row["unit"], row["meaning"]) for name, row in _FIELDS.items()}
"""Unit and meaning."""
FIELDS = {name: told for name, told in ALL.items() if _FIELDS[name]["printed"] == "release"}
"""Those that a monthly release prints."""
SIGNED = frozenset(name for name, row in _FIELDS.items() if "signed" in row["marks"])
"""Those that may lie below zero, and are read with the sign that is printed."""
FLOWS = frozenset(name for name, row in _FIELDS.items() if "flow" in row["marks"])
"""Those for which a dash in a table is a zero. For a price or a rated hashrate it says that there is none."""
RAN = frozenset(name for name, row in _FIELDS.items() if "ran" in row["marks"].split())
"""Hashrates that may have mined a month's coins; not those of customers alone, of plans or of what was bought."""
_OWN_BOUNDS = {name: _bounds(row) for name, row in _FIELDS.items()}


def unit_of(field: str) -> str:
    """The unit that a field's values are in; ValueError names the nearest thing to do for a wrong name."""
    if field not in ALL:
        raise ValueError(f"no field {field!r}; `tieline disclosures fields` lists those there are")
    return ALL[field][0]


def bounds_of(field: str) -> Bounds | None:
    """What a field's values can be at all: its own bounds, else its unit's; None where nothing is known."""
    unit = UNITS.get(unit_of(field))
    return _OWN_BOUNDS[field] or (unit.bounds if unit is not None else None)

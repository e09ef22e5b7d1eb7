"""How releases print numbers and times, from `data/printed.toml`."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Literal

import msgspec

from tieline.disclosures.data import shipped_toml

Ways = tuple[str, ...]
"""Ways of printing a thing, each a regular expression."""


class _Scale(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    power: int
    printed: Ways
    tight: Ways = ("(?!)",)


class _Unit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    printed: Ways
    factor: Decimal = Decimal(1)


class _Time(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: Literal["quarter", "digits", "either", "day", "named"]
    pattern: str


class _Printed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    counted: str
    months: tuple[str, ...]
    also_words: str
    quarters: tuple[str, ...]
    per: Ways
    kwh: Ways
    mwh: Ways
    cents: Ways
    money: dict[str, Ways]
    scale: tuple[_Scale, ...]
    unit: tuple[_Unit, ...]
    label_units: dict[str, Ways]
    spellings: dict[str, str]
    hints: Ways
    time: tuple[_Time, ...]
    lengths: dict[str, str]


PRINTED = shipped_toml("printed.toml", _Printed)
WORDS = {word: number for number, word in enumerate(PRINTED.counted.split())}
"""Numbers in words."""


def group(name: str, ways: Iterable[str]) -> str:
    """Any of them, as a group of a pattern."""
    return f"(?P<{name}>{'|'.join(ways)})"

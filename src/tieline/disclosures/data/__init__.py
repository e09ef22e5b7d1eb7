"""Files of facts, words and rules that come with the package, and how they are opened."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterator
from importlib import resources
from typing import TypeVar

import msgspec

Shape = TypeVar("Shape")


def shipped_toml(name: str, shape: type[Shape]) -> Shape:
    """A file in its own shape; msgspec.ValidationError names what does not fit it."""
    return msgspec.convert(tomllib.loads(shipped_text(name)), shape)


def shipped_rows(name: str) -> Iterator[dict[str, str]]:
    """The rows of a table; lines that begin with # say what its columns mean."""
    return iter(csv.DictReader(line for line in shipped_text(name).splitlines() if not line.startswith("#")))


def shipped_text(name: str) -> str:
    """A file as it is."""
    return (resources.files(__name__) / name).read_text("utf-8")

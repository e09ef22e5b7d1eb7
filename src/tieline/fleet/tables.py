"""Tables of what operators ask and pay, as TOML files: the package's own, and an operator's copies of them."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TypeVar

import msgspec

Row = TypeVar("Row", bound=msgspec.Struct)
Found = TypeVar("Found")
Whole = TypeVar("Whole", bound=msgspec.Struct)


class TableError(ValueError):
    """A table that cannot be used; names the file, the row and the fix."""


def parsed(text: str, file: str, kind: type[Whole]) -> Whole:
    """A whole table as a struct. Raises TableError."""
    try:
        return msgspec.convert(tomllib.loads(text), kind)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise TableError(f"{file}: {error}") from error


def named(rows: dict[str, Row], where: str, problem_of: Callable[[Row], str | None]) -> dict[str, Row]:
    """Rows that carry their own `name`. `where`: file and table; `problem_of`: what is wrong with a row and how it is
    mended, or None. Raises TableError."""
    for name, row in rows.items():
        problem = problem_of(row)
        if problem is not None:
            raise TableError(f"{where}.{name}: {problem}")
    return {name: msgspec.structs.replace(row, name=name) for name, row in rows.items()}


def shipped_text(file: str) -> str:
    """A table that comes with the package."""
    return (resources.files("tieline.fleet") / file).read_text(encoding="utf-8")


def loaded(path: Path, read: Callable[[str, str], Found], what: str) -> Found:
    """An operator's own table, by its reader. Raises TableError."""
    try:
        return read(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"{path}: cannot be read ({type(error).__name__}); give a file of {what}") from error

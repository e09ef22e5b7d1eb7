"""A configuration's text with some values of one table changed, or a table added; all else stays as it was written.

Pure. What comes out is read back and compared with what was meant: text that cannot be changed safely is refused with
what to do by hand, and never guessed at.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final

Values = Mapping[str, Any]
_OPENING: Final = {"[": 1, "{": 1, "]": -1, "}": -1}
_QUOTES: Final = ('"""', "'''", '"', "'")


class EditError(ValueError):
    """The text cannot be changed so that it says what was meant; what to do by hand."""


def with_values(text: str, table: str, id_: str, values: Values) -> str:
    """The text with `values` in the [[table]] whose id is `id_`. Raises EditError, tomllib.TOMLDecodeError."""
    meant: dict[str, Any] = copy.deepcopy(tomllib.loads(text))
    place = next((n for n, one in enumerate(meant.get(table, [])) if one.get("id") == id_), None)
    if place is None:
        raise EditError(f"no [[{table}]] has the id {id_!r}")
    meant[table][place].update(values)
    text = text if text.endswith("\n") else f"{text}\n"
    block = _block(text, table, place)
    if not block:
        raise EditError(f"{table} {id_!r}: is not written as [[{table}]] in this file; change it by hand")
    for key, value in values.items():
        start, end = block.get(key, (block[""][1], block[""][1]))
        text = text[:start] + f"{key} = {written(value)}\n" + text[end:]
        block = _block(text, table, place)
    return _read_back(text, meant, f"{table} {id_!r}", ", ".join(values))


def with_table(text: str, addition: str) -> str:
    """The text with the tables of `addition` behind it. Raises EditError, tomllib.TOMLDecodeError."""
    meant = copy.deepcopy(tomllib.loads(text))
    for name, tables in tomllib.loads(addition).items():
        meant.setdefault(name, []).extend(tables)
    return _read_back(f"{text.rstrip()}\n\n{addition}", meant, "the file", "what is added")


def written(value: Any) -> str:
    """A value as TOML; a list of tables takes a line each."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        plain = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in plain) + '"'
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {written(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        if value and all(isinstance(one, dict) for one in value):
            return "[\n" + "".join(f"  {written(one)},\n" for one in value) + "]"
        return "[" + ", ".join(written(one) for one in value) + "]"
    return str(value)


def _read_back(text: str, meant: Values, where: str, what: str) -> str:
    try:
        same = tomllib.loads(text) == meant
    except tomllib.TOMLDecodeError:
        same = False
    if not same:
        raise EditError(f"{where}: {what} cannot be changed in this file as it is written; change it by hand")
    return text


def _block(text: str, table: str, place: int) -> dict[str, tuple[int, int]]:
    """Key -> where its statement begins and ends, in the `place`-th [[table]]; "" is where the last one does."""
    found: dict[str, tuple[int, int]] = {}
    count = -1
    for start, end in _statements(text):
        line = text[start:end].strip()
        if line.startswith("["):
            inside = count == place
            count += line.partition("#")[0].replace(" ", "").startswith(f"[[{table}]]")
            if count == place and not inside:
                found[""] = (start, end)
            elif inside:
                break
        elif count == place and line and not line.startswith("#"):
            found[line.partition("=")[0].strip()] = found[""] = (start, end)
    return found


def _statements(text: str) -> Iterator[tuple[int, int]]:
    """Where each header, key with its value, comment or empty line begins and ends, its newline included."""
    at = start = depth = 0
    while at < len(text):
        quote = next((one for one in _QUOTES if text.startswith(one, at)), None)
        if quote is not None:
            at = _closed(text, at + len(quote), quote)
        elif text[at] == "#":
            at = _line_end(text, at)
        elif text[at] == "\n" and depth == 0:
            at += 1
            yield start, at
            start = at
        else:
            depth += _OPENING.get(text[at], 0)
            at += 1
    if start < len(text):
        yield start, len(text)


def _closed(text: str, at: int, quote: str) -> int:
    """Behind the end of a string that began before `at`."""
    while at < len(text) and not text.startswith(quote, at):
        at += 2 if quote[0] == '"' and text[at] == "\\" else 1
    return at + len(quote)


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end

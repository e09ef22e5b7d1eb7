"""Where in a TOML text a path stands, and what a decoder's complaint means in words.

A small scanner, not a parser: it runs on text that already parsed, follows table headers and keys, and
falls back to the nearest ancestor's line. `("site", 3, "rigs", 0, "model")` is the key `model` of the first
item of `rigs` in the fourth `[[site]]`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping

import msgspec
from msgspec import inspect

Where = tuple[str | int, ...]

_HEADER = re.compile(r"\s*(\[\[|\[)\s*([^\]]+?)\s*\]")
_KEY = re.compile(r"\s*((?:[A-Za-z0-9_-]+|\"[^\"]*\")(?:\s*\.\s*(?:[A-Za-z0-9_-]+|\"[^\"]*\"))*)\s*=")
_STRING = re.compile(r"\"(?:\\.|[^\"\\])*\"|'[^']*'")
_PATH_STEP = re.compile(r"\.?([A-Za-z0-9_-]+)|\[(\d+|\.\.\.)\]")


class MistakeError(Exception):
    """A mistake found after parsing; the path leads to its line."""

    def __init__(self, path: Where, problem: str, fix: str, what: str = "") -> None:
        self.path, self.problem, self.fix, self.what = path, problem, fix, what
        super().__init__(problem)


def line_of(text: str, path: Where) -> int | None:
    """The line (from 1) of the longest part of `path` that stands in the text."""
    lines = text.splitlines()
    known = _index(lines)
    for length in range(len(path), 0, -1):
        line = known.get(path[:length])
        if line is not None:
            return _inside(lines, line, path[length:])
    return None


def _index(lines: list[str]) -> dict[Where, int]:
    """Line of each header and of each key outside inline values."""
    places: dict[Where, int] = {}
    counts: dict[Where, int] = {}
    table: Where = ()
    depth = 0  # of brackets left open by a value on earlier lines
    for number, line in enumerate(lines, 1):
        bare = _STRING.sub('""', line).split("#")[0]
        if depth == 0 and (header := _HEADER.match(line)):
            table = _enter(_words(header[2]), header[1] == "[[", counts)
            places.setdefault(table, number)
            continue
        if depth == 0 and (key := _KEY.match(line)):
            places.setdefault(table + _words(key[1]), number)
        value = bare.split("=", 1)[-1] if depth == 0 else bare
        depth = max(0, depth + sum(value.count(c) for c in "[{") - sum(value.count(c) for c in "]}"))
    return places


def _enter(words: Where, is_array: bool, counts: dict[Where, int]) -> Where:
    """The path of a header, with the running index of each array of tables on its way."""
    path: Where = ()
    for position, word in enumerate(words):
        path = (*path, word)
        last = position == len(words) - 1
        if last and is_array:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


def _inside(lines: list[str], start: int, rest: Where) -> int:
    """Go on within an inline value that begins on line `start`: skip to the n-th item, then to the key."""
    number = start
    for step in rest:
        if isinstance(step, int):
            number = _item(lines, number, step)
        else:
            pattern = re.compile(rf"(?<![A-Za-z0-9_-]){re.escape(step)}\s*=")
            for later in range(number, min(number + 20, len(lines)) + 1):
                if pattern.search(lines[later - 1]):
                    return later
                if later > number and _HEADER.match(lines[later - 1]):
                    break
    return number


def _item(lines: list[str], start: int, wanted: int) -> int:
    """Line of the n-th `{` at or after `start`; `start` itself where there are fewer."""
    seen = -1
    for number in range(start, len(lines) + 1):
        bare = _STRING.sub('""', lines[number - 1]).split("#")[0]
        if number > start and _HEADER.match(bare) and "=" not in bare:
            break
        seen += bare.count("{")
        if seen >= wanted:
            return number
    return start


def _words(dotted: str) -> Where:
    return tuple(word.strip().strip('"') for word in dotted.split("."))


Problem = tuple[Where, str, str, str]  # the path, the field, what is wrong with it, how it is mended
Words = re.Match[str]


def problem_of(message: str, form: type[msgspec.Struct], choices: Mapping[str, tuple[str, ...]]) -> Problem:
    """A decoder's complaint about a file of this form as (path, field, problem, fix)."""
    text, _, where = message.partition(" - at `$")
    steps: list[str | int] = []
    for name, index in _PATH_STEP.findall(where.rstrip("`")):
        steps.append(name if name else 0 if index == "..." else int(index))
    path = tuple(steps)
    if unknown := re.search(r"unknown field `([^`]+)`", text):
        name = unknown[1]
        return (*path, name), dotted((*path, name)), "unknown key", did_you_mean(name, keys_at(form, path))
    if missing := re.search(r"required field `([^`]+)`", text):
        return path, dotted((*path, missing[1])), "missing", f"add {missing[1]} = ..."
    if checked := re.fullmatch(r"(\w+): (.+)", text):
        return (*path, checked[1]), dotted((*path, checked[1])), checked[2], "correct the value"
    if value := re.search(r"Invalid enum value (.+)", text):
        words = choices.get(str(path[-1]), ())
        return path, dotted(path), f"{value[1]} is no word for it", "write " + " or ".join(words)
    for pattern, tell in _COMPLAINTS:
        if words_found := re.search(pattern, text):
            return path, dotted(path), *tell(words_found)
    return path, dotted(path), text, "correct the value"


def keys_at(form: type[msgspec.Struct], path: Where) -> set[str]:
    """The keys that the table at this place of the file may hold; none where no table stands there."""
    here = [inspect.type_info(form)]
    for step in path:
        here = [each for one in here for below in _below(one, step) for each in getattr(below, "types", (below,))]
    tables = [one for one in here if isinstance(one, inspect.StructType)]
    tags = {one.tag_field for one in tables if one.tag_field is not None}
    return tags | {field.encode_name for one in tables for field in one.fields}


def _below(one: inspect.Type, step: str | int) -> list[inspect.Type]:
    """What may stand one step further down: under a key of a table, or in a list or a table of tables."""
    match one:
        case inspect.StructType(fields=fields):
            return [field.type for field in fields if field.encode_name == step]
        case inspect.VarTupleType(item_type=inner) | inspect.DictType(value_type=inner):
            return [inner]
    return []


def _out_of_bounds(words: Words) -> tuple[str, str]:
    most = {"<=": "at most", "<": "at most", ">=": "at least", ">": "more than"}[words[1]]
    return "out of all bounds", f"write {most} {float(words[2]):,.12g}"


def _of_length(words: Words) -> tuple[str, str]:
    problem, most = ("too long", "at most") if words[1] == "<=" else ("too short", "at least")
    return problem, f"write {most} {words[2]} characters"


def _without_zone(_: Words) -> tuple[str, str]:
    return "has no time zone", "write it with its offset, 2026-09-01T00:00:00Z"


def _of_another_type(words: Words) -> tuple[str, str]:
    return f"this is {_plain(words[2])}", f"write {_plain(words[1])}"


# What a decoder says of a value, and how that is told: (problem, fix). The first that fits counts.
_COMPLAINTS: tuple[tuple[str, Callable[[Words], tuple[str, str]]], ...] = (
    (r"Expected `\w+` (<=?|>=?) (\S+)", _out_of_bounds),
    (r"of length (<=|>=) (\d+)", _of_length),
    (r"timezone", _without_zone),
    (r"Expected `([^`]+)`, got `([^`]+)`", _of_another_type),
)


def dotted(path: Where) -> str:
    """("site", 3, "rigs", 0) as a person writes it: site[4].rigs[1]."""
    text = ""
    for step in path:
        text += f"[{step + 1}]" if isinstance(step, int) else f".{step}" if text else step
    return text or "the file"


def _plain(types: str) -> str:
    words = {
        "str": "text in quotes",
        "int": "a whole number",
        "float": "a number",
        "decimal": 'an amount in quotes ("0.60")',
        "bool": "true or false",
        "array": "a list [...]",
        "object": "a table",
        "null": "nothing",
    }
    names = [words.get(name.strip(), name.strip()) for name in types.split("|") if name.strip() != "null"]
    return " or ".join(names)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The nearest known words, or all of them where they are few."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=2, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(near) + "?"
    if not names:
        return "define one first"
    return "known are " + ", ".join(names[:12]) + (" ..." if len(names) > 12 else "")

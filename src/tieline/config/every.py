"""Every mistake of a file at once: what is wrong is taken out, and what is left is read again.

The decoder and the checks stop at the first thing that is wrong. What only goes wrong because something was taken out,
a rental of a tenant that is gone, is no mistake of the file and is not told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tieline.config.lines import Where, dotted

# Mistakes that are told at once; a file with more has one cause.
MOST: Final = 20
# What a site has to have: stands for what was wrong, so that what else is wrong with the site is found.
STAND_INS: Final[Mapping[str, Any]] = {
    "name": "-", "region": "-", "lat": 0.0, "lon": 0.0, "interconnect_mw": 1.0,
    "contract": {"basis": "fixed", "fixed_usd_per_mwh": 1.0},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong at a place of a file. `path` leads to it, `field` names it, `fix` mends it."""

    path: Where
    field: str
    problem: str
    fix: str


def every(raw: dict[str, Any], first: Callable[[dict[str, Any]], Mistake | None]) -> list[Mistake]:
    """All mistakes of a parsed file as `first` finds them, in its order. Takes what is wrong out of `raw`."""
    places: dict[int, Where] = {}
    _note(raw, (), places)
    found: list[Mistake] = []
    gone: set[str] = set()  # kinds of tables of which one was left out
    mended: set[Where] = set()
    while len(found) < MOST and (mistake := first(raw)) is not None:
        steps = list(_steps(raw, mistake.path))
        told = _in_the_file(mistake, steps, places)
        again = told.path in mended or (mistake.problem == "missing" and told.path[:2] in {one[:2] for one in mended})
        if not again and not _follows(mistake, gone):
            found.append(told)
        if not _left_out(steps, told.path, gone, whole=again):
            return found
        mended.add(told.path)
    return found


def _follows(mistake: Mistake, gone: set[str]) -> bool:
    """Whether it only says that something is not there which was left out."""
    said = f"{mistake.problem} {mistake.fix}"
    return any(f"no {kind.replace('_', ' ')}" in said or f"[[{kind}]]" in said for kind in gone)


def _left_out(steps: list[tuple[Any, Any]], path: Where, gone: set[str], *, whole: bool) -> bool:
    """Take what is wrong out: a table of a list whole, of a site only its value or group as long as that helps. False
    where a file cannot do without it."""
    tables = [n for n, (holder, key) in enumerate(steps) if isinstance(holder, list) and isinstance(holder[key], dict)]
    if not tables:
        last = next((n for n in reversed(range(len(steps))) if isinstance(steps[n][0], dict)), None)
        if last is None or path[0] in ("fleet", "site"):
            return False
        del steps[last][0][steps[last][1]]
        return True
    gone.add(str(path[0]))
    holder, key = steps[tables[0]]
    value = None if len(steps) <= tables[0] + 1 else steps[tables[0] + 1]
    if path[0] != "site" or whole or value is None:
        del holder[key]
    elif len(tables) > 1:
        holder, key = steps[tables[-1]]
        del holder[key]
    elif value[1] in STAND_INS:
        holder[key][value[1]] = STAND_INS[value[1]]
    else:
        del holder[key][value[1]]
    return True


def _note(value: object, at: Where, places: dict[int, Where]) -> None:
    """Where each table of a list stands in the file."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if isinstance(item, dict) and isinstance(value, list):
            places[id(item)] = (*at, key)
        _note(item, (*at, key), places)


def _steps(raw: Any, path: Where) -> Iterator[tuple[Any, Any]]:
    """(table or list, key) along a path, as far as it stands in the file."""
    here = raw
    for key in path:
        try:
            inner = here[key]
        except (KeyError, IndexError, TypeError):
            return
        yield here, key
        here = inner


def _in_the_file(mistake: Mistake, steps: list[tuple[Any, Any]], places: dict[int, Where]) -> Mistake:
    """The mistake with its path as the whole file has it, and with the site's name."""
    path = mistake.path
    for n, (holder, key) in enumerate(steps, 1):
        if id(holder[key]) in places:
            path = (*places[id(holder[key])], *mistake.path[n:])
    field = mistake.field
    if field.startswith(dotted(mistake.path)):  # not one that a check has named by its site already
        field = dotted(path) + field.removeprefix(dotted(mistake.path))
        if len(steps) > 1 and path[0] == "site" and isinstance(name := steps[1][0][steps[1][1]].get("id"), str):
            rest = field.removeprefix(dotted(path[:2])).lstrip(".")
            field = f"site {name!r} {rest}".rstrip()
    return Mistake(path, field, mistake.problem, mistake.fix)

"""A walk of docs/walks as steps: files to write, commands to type, and what is done and seen in a browser.

    ```file NAME       the file as it is saved
    ```console         `$ ` before what is typed, below it what stands in its answer
    ```page            open LABEL: the link that a command printed beside it; fill LABEL: TEXT; click NAME; see TEXT

A command, an opened link and a click are a step each; typing into a field is none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

WALKS: Final = Path(__file__).resolve().parents[2] / "docs" / "walks"
MOST_STEPS: Final = 10
DEEDS: Final = ("open", "fill", "click", "see")
_BLOCK: Final = re.compile(r"^```(file|console|page)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(slots=True)
class Command:
    """What is typed, and what stands in its answer."""

    line: str
    answers: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing done or seen in the browser. `value`: what is typed into a field."""

    what: str
    name: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Walk:
    files: dict[str, str]
    blocks: list[list[Command] | list[Deed]]

    @property
    def steps(self) -> int:
        return sum(isinstance(one, Command) or one.what in ("open", "click") for block in self.blocks for one in block)

    @property
    def commands(self) -> list[Command]:
        return [one for block in self.blocks for one in block if isinstance(one, Command)]


def walk_of(text: str) -> Walk:
    """Raises ValueError for a line of a page that says nothing to do."""
    found = Walk({}, [])
    for kind, name, body in _BLOCK.findall(text):
        if kind == "file":
            found.files[name] = body
        elif kind == "console":
            found.blocks.append(_commands(body))
        else:
            found.blocks.append([_deed(line) for line in body.splitlines() if line.strip()])
    return found


def _commands(body: str) -> list[Command]:
    typed: list[Command] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            typed.append(Command(line[2:].strip()))
        elif line.strip():
            typed[-1].answers.append(line.strip())
    return typed


def _deed(line: str) -> Deed:
    what, _, name = line.strip().partition(" ")
    if what not in DEEDS or not name:
        raise ValueError(f"{line!r}: a line of a page begins with {', '.join(DEEDS)}")
    if what != "fill":
        return Deed(what, name)
    label, colon, value = name.partition(": ")
    if not colon:
        raise ValueError(f"{line!r}: write it like `fill Your name: Ada`")
    return Deed(what, label, value)

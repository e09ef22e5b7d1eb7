"""The blocks of docs/fleet.md that somebody with two machines types, in their order."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "fleet.md"
_BLOCK: Final = re.compile(r"^```(sh|toml)\n# on ([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SECTION: Final = re.compile(r"^##+ (.+?)\n(.*?)(?=^##+ |\Z)", re.MULTILINE | re.DOTALL)
_HERE: Final = re.compile(r"<<END\n.*?^END$", re.MULTILINE | re.DOTALL)


class Typed(NamedTuple):
    """What is typed on each of `machines`, or saved there as `file`."""

    machines: tuple[str, ...]
    body: str
    file: str = ""

    @property
    def lines(self) -> list[list[str]]:
        """Words of each line; what is fed to a program with << is none."""
        joined = _HERE.sub("<<END", self.body).replace("\\\n", " ")
        return [words for line in joined.splitlines() if (words := shlex.split(line, comments=True))]

    @property
    def commands(self) -> list[list[str]]:
        """What `tieline` is told, without its name."""
        found = []
        for words in self.lines:
            for at, word in enumerate(words):
                if word == "tieline" and (at == 0 or words[at - 1] == "&&"):
                    rest = words[at + 1 :]
                    end = next((n for n, one in enumerate(rest) if one in ("&", "&&", ">", ">>", "|")), len(rest))
                    found.append(rest[:end])
        return found


def typed(section: str) -> list[Typed]:
    """Of one section of the page, by its title. Raises KeyError."""
    sections = dict(_SECTION.findall(PAGE.read_text(encoding="utf-8")))
    return list(_blocks(sections[section]))


def _blocks(text: str) -> Iterator[Typed]:
    for _, where, body in _BLOCK.findall(text):
        names, _, file = where.partition(": ")
        machines = tuple(re.sub(r"^the ", "", one) for one in re.split(r", | and ", names.partition("; ")[0]))
        yield Typed(machines, body, file)

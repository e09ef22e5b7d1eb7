"""Walks that need no service, played from the document alone: files written as shown, commands typed as shown."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from tieline.cli import main

WALKS = Path(__file__).resolve().parents[2] / "docs" / "walks"
MOST_COMMANDS = 10
_BLOCK = re.compile(r"^```(file|console)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Typed(NamedTuple):
    """A command of a walk, and what stands in its answer."""

    words: list[str]
    answers: list[str]


def steps(text: str) -> tuple[dict[str, str], list[Typed]]:
    """(files to write, commands in their order)."""
    files: dict[str, str] = {}
    typed: list[Typed] = []
    for kind, name, body in _BLOCK.findall(text):
        if kind == "file":
            files[name] = body
            continue
        for line in body.splitlines():
            if line.startswith("$ tieline "):
                typed.append(Typed(shlex.split(line[2:])[1:], []))
            elif line.strip():
                typed[-1].answers.append(line.strip())
    return files, typed


def test_a_document_is_read_as_it_is_typed() -> None:
    files, typed = steps('```file a.csv\nx\n```\n\n```console\n$ tieline a "b c"\nanswer\n$ tieline d\n```\n')
    assert files == {"a.csv": "x\n"}
    assert typed == [Typed(["a", "b c"], ["answer"]), Typed(["d"], [])]


@pytest.mark.parametrize("walk", ["treasurer", "analyst"])
def test_a_walk_is_what_its_document_says(walk: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, typed = steps((WALKS / f"{walk}.md").read_text(encoding="utf-8"))
    assert 4 < len(typed) <= MOST_COMMANDS
    monkeypatch.chdir(tmp_path)
    for name, body in files.items():
        (tmp_path / name).write_text(body, encoding="utf-8")
    for words, answers in typed:
        said = CliRunner().invoke(main, words)
        assert said.exit_code == 0, (words, said.output)
        missing = [one for one in answers if one not in said.output]
        assert missing == [], (words, said.output)

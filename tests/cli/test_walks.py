"""Walks that need no service, played from the document alone: files written as shown, commands typed as shown.

Those with a browser are played by bench/walks.py; here they are read.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.cli.walking import MOST_STEPS, WALKS, Command, Deed, walk_of

from tieline.cli import COMMANDS, main


def test_a_document_is_read_as_it_is_typed() -> None:
    walk = walk_of(
        '```file a.csv\nx\n```\n\n```console\n$ tieline a "b c"\nanswer\n$ make d\n```\n'
        "```page\nopen First admin\nfill Your name: Ada: A.\nclick Join\nsee 18 of 18\n```\n"
    )
    assert walk.files == {"a.csv": "x\n"}
    assert walk.commands == [Command('tieline a "b c"', ["answer"]), Command("make d")]
    first, second = Deed("open", "First admin"), Deed("fill", "Your name", "Ada: A.")
    assert walk.blocks[1] == [first, second, Deed("click", "Join"), Deed("see", "18 of 18")]
    assert walk.steps == 4
    with pytest.raises(ValueError, match="begins with"):
        walk_of("```page\njump up\n```\n")


@pytest.mark.parametrize("walk", ["operator", "treasurer", "tenant", "analyst"])
def test_a_walk_is_ten_steps_of_commands_that_there_are(walk: str) -> None:
    found = walk_of((WALKS / f"{walk}.md").read_text(encoding="utf-8"))
    assert 4 < found.steps <= MOST_STEPS
    for one in found.commands:
        program, word, *_ = shlex.split(one.line)
        assert program in ("make", "python3") or (program == "tieline" and word in COMMANDS), one


@pytest.mark.parametrize("walk", ["treasurer", "analyst"])
def test_a_walk_is_what_its_document_says(walk: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = walk_of((WALKS / f"{walk}.md").read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    for name, body in found.files.items():
        (tmp_path / name).write_text(body, encoding="utf-8")
    for one in found.commands:
        if not one.line.startswith("tieline "):
            continue  # done for these tests
        said = CliRunner().invoke(main, shlex.split(one.line)[1:])
        assert said.exit_code == 0, (one.line, said.output)
        assert [answer for answer in one.answers if answer not in said.output] == [], (one.line, said.output)

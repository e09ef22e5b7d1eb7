"""What docs/fleet.md has somebody with two machines type is there: each command parses, the file is one.

It is played by bench/two_machines.py.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import click
import pytest
from tests.cli.fleet_page import Typed, typed

from tieline import config as configuration
from tieline.cli import main

WHOLE, FOLDERS = "Two machines, step by step", "Two folders"
MACHINES = {"a", "b", "site", "database's machine", "machine"}


def parsed(words: list[str]) -> None:
    """As the command line reads it; nothing is run."""
    group, rest = main, words
    context = click.Context(main)
    while isinstance(group, click.Group):
        _, command, rest = group.resolve_command(context, rest)
        assert command is not None
        group = command  # type: ignore[assignment]  # the innermost is a command
    group.make_context("tieline", list(rest))


@pytest.mark.parametrize("section", [WHOLE, FOLDERS])
def test_each_command_of_the_page_is_one_that_there_is(section: str) -> None:
    blocks = typed(section)
    assert {name for block in blocks for name in block.machines} <= MACHINES
    commands = [words for block in blocks if not block.file for words in block.commands]
    assert len(commands) > 10
    for words in commands:
        parsed(words)


def test_the_file_of_the_page_is_one_and_what_is_typed_names_what_is_in_it(tmp_path: Path) -> None:
    (file,) = [block for block in typed(WHOLE) if block.file]
    path = tmp_path / "fleet.toml"
    path.write_text(file.body)
    config = configuration.load(path)
    commands = [words for block in typed(WHOLE) if not block.file for words in block.commands]
    assert [words[2] for words in commands if words[:2] == ["site", "token"]] == [
        site.id for site in config.fleet.sites
    ]
    servers = [words[words.index("--server") + 1] for words in commands if "--server" in words]
    assert sorted(servers) == sorted(config.link.servers), "each server of the link is started once"


def test_the_two_folders_have_the_same_file_but_for_what_is_beyond_loopback(tmp_path: Path) -> None:
    (file,) = [block for block in typed(WHOLE) if block.file]
    (tmp_path / "fleet.toml").write_text(file.body)
    (block,) = typed(FOLDERS)
    sed = block.body[: block.body.index("tieline ")]
    subprocess.run(["bash", "-ec", sed], cwd=tmp_path, check=True)
    config = configuration.load(tmp_path / "folders.toml")
    servers = [words[words.index("--server") + 1] for words in block.commands if "--server" in words]
    assert list(config.link.servers) == servers
    assert config.link.host == config.gateway.host == "127.0.0.1"
    assert config.store.url == "postgresql://tieline@127.0.0.1/tieline"


def test_a_block_is_read_as_it_is_typed() -> None:
    text = "tieline a b & # c\nx <<END\ntieline no\nEND\ntieline c \\\n --d && rm f\n"
    assert Typed(("a",), text).commands == [["a", "b"], ["c", "--d"]]

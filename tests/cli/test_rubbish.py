"""Commands of money fed what nobody meant: each ends in one line that names what is wrong, never in a traceback."""

from __future__ import annotations

import random
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from tests.cli.test_shape import LEAVES

from tieline.cli import main

WORDS = [
    "nan", "-1", "1e400", "1e999999999", "x", "", "2026-13-45", "2026-11", "0", "9" * 23, "0.123456789", "2025-01-01",
    "A", "%", "🙈", "-inf", "inf %", "5-", "/dev/null", "Treasury", "sell 1 BTC at 0", "sell 1e99 BTC at 5 for XXX",
]  # fmt: skip
COINS = "date,btc,cost_usd,id\n2025-01-05,100,9500000,a\n"
# What asks a pool or the chain has tests of its own, with a server to ask.
ASKS = ("books", "fetch")
MONEY = sorted(p for p in LEAVES if p[0] in ("books", "treasury", "import", "update") and p[:2] != ASKS)


def words(draw: random.Random, path: tuple[str, ...]) -> list[str]:
    """A call of the command with whatever it takes, most of it wrong."""
    call = list(path)
    for one in LEAVES[path].params:
        choices = [str(each) for each in one.type.choices] if isinstance(one.type, click.Choice) else []
        word = draw.choice(choices if choices and draw.random() < 0.9 else WORDS)
        if isinstance(one, click.Argument):
            call.append(word)
        elif one.name != "data_dir" and isinstance(one, click.Option):
            if one.is_flag:
                call += [one.opts[0]] if draw.random() < 0.3 else []
            elif one.required or draw.random() < 0.4:
                call.append(f"{one.opts[0]}={word if draw.random() < 0.6 else '1'}")
    return call


@pytest.mark.parametrize("seed", range(6))
def test_rubbish_is_answered_by_one_line(seed: int, tmp_path: Path) -> None:
    draw, run = random.Random(seed), CliRunner()
    (tmp_path / "coins.csv").write_text(COINS)
    folder = f"--data-dir={tmp_path / 'data'}"
    assert run.invoke(main, ["import", "coins", str(tmp_path / "coins.csv"), folder]).exit_code == 0
    for _ in range(25):
        call = words(draw, draw.choice(MONEY))
        told = run.invoke(main, [*call, folder])
        assert told.exception is None or isinstance(told.exception, SystemExit), call
        assert told.exit_code in (0, 1, 2, 3), call
        if told.exit_code == 2:
            assert sum(line.startswith("Error: ") for line in told.output.splitlines()) == 1, call

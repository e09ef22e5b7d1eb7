"""From the wheel alone: a spreadsheet of coins and one of a loan to the what-if, and a month to an update that its own
reader finds whole.

    .venv/bin/python bench/from_the_wheel.py [--wheel dist/tieline-...whl]

Builds the wheel (or takes one), installs it with pip into an empty environment, and runs its commands there, in a
folder outside this one. Every answer is asked for as JSON and compared with arithmetic; what differs ends it with 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
COINS = "Acquired;Menge;Kosten;Ort\n2025-01-03;7.474,6;630.000.000,00;Treasury\n"
LOANS = "loan,lender,debt,pledged_btc,initial_ltv,call_ltv,liquidation_ltv,rate,rehypothecation,date\n" \
        "A,Bank,250000000,5000,60 %,75 %,85 %,8 %,no,2025-01-04\n"  # fmt: skip
ASKED = "sell 4451 BTC at 68524 for USDT, repay"


class Installed:
    """A Tieline of its own environment and folder."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        pip = [folder / "venv/bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", wheel]
        subprocess.run(pip, check=True)

    def run(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [self.folder / "venv/bin/tieline", *words], cwd=self.folder, capture_output=True, text=True, check=False
        )
        if done.returncode != code:
            raise SystemExit(f"tieline {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json"))


def same(what: str, found: object, due: object) -> None:
    if found != due:
        raise SystemExit(f"{what}: {found!r}, not {due!r}")
    print(f"  {what}: {found}")


def treasury(tieline: Installed) -> None:
    (tieline.folder / "coins.csv").write_text(COINS)
    (tieline.folder / "loans.csv").write_text(LOANS)
    maps = ("--map", "Acquired=date", "--map", "Menge=btc", "--map", "Kosten=cost_usd", "--map", "Ort=place")
    tieline.run("import", "coins", "coins.csv", *maps, "--dry-run")
    same("coins recorded", tieline.json("import", "coins", "coins.csv", *maps)["new"], 1)
    same("loan recorded", tieline.json("import", "loans", "loans.csv")["new"], 3)
    same("again", tieline.json("import", "loans", "loans.csv")["new"], 0)
    rungs = tieline.json("treasury", "ladder", "--price", "68524")["ladder"]
    same("call at", next(one["trigger"]["low"] for one in rungs if one["level"] == "call"), "66666.67")
    told = tieline.json("treasury", "what-if", ASKED)
    same("proceeds", told["proceeds"], "305000324.00")
    same("debt", told["debt"], "0.00")
    same("in hand", told["cash"], str(Decimal("305000324.00") - 250_000_000))
    same("free", told["free_btc"], "0.00000000")
    same("pledged", told["pledged_btc"], "3023.60000000")
    gain = Decimal("305000324.00") - round(Decimal(630_000_000) * 4451 / Decimal("7474.6"), 2)
    same("gain, average", told["gains"]["average"], str(gain))
    files = ("--coins", "c.csv", "--loans", "loans.csv")
    (tieline.folder / "c.csv").write_text("date,btc,cost_usd\n2025-01-03,7474.6,630000000\n")
    same("the same without books", tieline.json("treasury", "what-if", ASKED, *files)["proceeds"], "305000324.00")
    states = [one["state"] for one in tieline.json("treasury", "stress", "--price", "68524")["shocks"]]
    same("falls by 10, 20, 30, 50 %", states, ["called", "liquidated", "liquidated", "liquidated"])


def update(tieline: Installed) -> None:
    add = ("books", "add")
    # Hashrates that the chain of those months pays so much for.
    for month, btc, operating in (("01", "500.04", "27.63"), ("02", "602.6", "37.4")):
        tieline.run(*add, "payout", "--id", month, "--btc", btc, "--price", "90000", "--pool", "p", "--from",
                    f"2025-{month}-01", "--at", f"2025-0{int(month) + 1}-01")  # fmt: skip
        tieline.run(*add, "hashrate", "--month", f"2025-{month}", "--deployed", "50", "--operating", operating)
    tieline.run(*add, "sale", "--id", "s", "--btc", "100", "--price", "91000", "--at", "2025-02-10")
    for month in ("2025-01", "2025-02"):
        for state, who in (("checked", "Ada"), ("approved", "Bo"), ("published", "Bo")):
            tieline.run("update", month, "--state", state, "--by", who)
        (tieline.folder / f"{month}.txt").write_text(tieline.run("update", month, "--form", "text"))
        read = ("disclosures", "read", f"{month}.txt", "--issuer", "OWN", "--source-kind", "issuer")
        tieline.run(*read, "--keep", "--facts", "facts.jsonl")
        facts = json.loads(tieline.run(*read, "--facts", "none.jsonl", "--json"))
        found = {one["field"]: Decimal(str(one["value"])) for one in facts["facts"]}
        figures = json.loads(tieline.run("update", month, "--form", "json"))["figures"]
        due = {one["name"]: Decimal(one["value"]) for one in figures}
        same(f"{month}, read back", found, due)
    told = tieline.run("disclosures", "check", "--issuer", "OWN", "--facts", "facts.jsonl")
    same("contradictions", sum(line.startswith("differs") for line in told.splitlines()), 0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--wheel", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tlw") as name:
        folder = Path(name)
        wheel = given.wheel
        if wheel is None:
            subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT,
                           check=True, capture_output=True)  # fmt: skip
            (wheel,) = folder.glob("*.whl")
        began = time.perf_counter()
        tieline = Installed(folder, wheel.resolve())
        print(f"{wheel.name}, installed in {time.perf_counter() - began:.1f} s")
        treasury(tieline)
        update(tieline)


if __name__ == "__main__":
    main()

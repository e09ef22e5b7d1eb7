"""Mutants of the pure files that decide about money or a request: `python tools/mutants.py` makes them and judges.

mutmut writes each file anew with one operator, constant or argument changed at a time and runs the file's own tests
(`[tool.mutmut]` in pyproject.toml says which). What no test notices survives. At most 5 % of a room's mutants may, and
each that does is explained in `tests/mutants.toml`: it means the same, or differs only in what nobody relies on.

`--judge` reads the last run again; `--room NAME` takes one of `ROOMS`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MADE = ROOT / "mutants"
EXPLAINED = ROOT / "tests" / "mutants.toml"
# Room -> module names; shares are by room.
ROOMS = {
    "ledger": ("tieline.ledger",),
    "entries": ("tieline.books.entries",),
    "economics": ("tieline.economics",),
    "bids": ("tieline.dispatch.bids",),
    "routing": ("tieline.gateway.routing.route",),
    "lease": ("tieline.gateway.budgets.lease",),
}
MOST = 0.05
# How mutmut says that no test failed, or that no test runs the line (its exit codes).
SURVIVED, UNTRIED = (0, 33, 5), None

Change = tuple[str, str, str]  # function, the lines as they are, the lines as they were changed


def run(rooms: list[str], children: int) -> None:
    """Make and try the mutants of these rooms; mutmut keeps its verdicts where neither code nor tests changed."""
    names = [f"{module}*" for room in rooms for module in ROOMS[room]]
    subprocess.run(
        [sys.executable, "-m", "mutmut", "run", "--max-children", str(children), *names], cwd=ROOT, check=True
    )


def results() -> dict[str, int | None]:
    """Mutant -> mutmut's exit code; None: not tried."""
    found: dict[str, int | None] = {}
    for path in sorted(MADE.rglob("*.meta")):
        found |= json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
    return found


def function_of(mutant: str) -> str:
    """`tieline.ledger.book.xǁBookǁ_move__mutmut_4` is of tieline.ledger.book.Book._move."""
    module, _, name = mutant.rpartition(".")
    name = name.rpartition("__mutmut_")[0]
    name = name.removeprefix("xǁ").replace("ǁ", ".") if "ǁ" in name else name.removeprefix("x_")
    return f"{module}.{name}"


def change_of(mutant: str) -> Change:
    os.chdir(ROOT)
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    lines = get_diff_for_mutant(mutant).splitlines()
    was, now = (
        " ".join(line[1:].strip() for line in lines if line.startswith(sign) and not line.startswith(sign * 3))
        for sign in "-+"
    )
    return function_of(mutant), was, now


def explained() -> set[Change]:
    rows = tomllib.loads(EXPLAINED.read_text(encoding="utf-8")).get("mutant", [])
    assert all(row["reason"] for row in rows)
    return {(row["function"], row["line"], row["mutant"]) for row in rows}


def judge(rooms: list[str]) -> int:
    """Print each room's share; 1 where one has more survivors than it may, or one that is not explained."""
    found, known = results(), explained()
    wrong = 0
    for room in rooms:
        of_room = {name: code for name, code in found.items() if any(name.startswith(f"{one}.") for one in ROOMS[room])}
        survivors = [name for name, code in of_room.items() if code in SURVIVED]
        untried = sum(code is UNTRIED for code in of_room.values())
        share = len(survivors) / max(1, len(of_room) - untried)
        changes = [change_of(name) for name in survivors]
        open_ones = [(name, change) for name, change in zip(survivors, changes, strict=True) if change not in known]
        print(
            f"{room:10} {len(of_room):5} mutants, {len(survivors):3} survive ({share:.1%}), "
            f"{len(open_ones):3} of them not explained" + (f"; {untried} not tried" if untried else "")
        )
        by_function: dict[str, list[Change]] = defaultdict(list)
        for _, change in open_ones:
            by_function[change[0]].append(change)
        for function, several in by_function.items():
            print(f"  {function}")
            for _, was, now in several:
                print(f"    - {was}\n    + {now}")
        wrong |= share > MOST or bool(open_ones) or bool(untried) or not of_room
    return int(wrong)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", action="store_true", help="read the last run again")
    parser.add_argument("--room", action="append", choices=ROOMS, help="one room (may be given again)")
    parser.add_argument("--children", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    rooms = given.room or list(ROOMS)
    if not given.judge:
        run(rooms, given.children)
    return judge(rooms)


if __name__ == "__main__":
    sys.exit(main())

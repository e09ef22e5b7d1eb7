"""What dispatch is worth: every policy on the scenarios A, B, B20 and control of a data folder.

    python bench/dispatch_value.py [--data FOLDER] [--scenario A ...] [--first N] [--jobs 2] [--no-ablations]

The folder is --data, else DATA or TIELINE_DATA of the environment, else ../shared/data. Policies of a scenario
run side by side; B without each coupling comes last. Prints the tables as Markdown. Writes
bench/out/dispatch_value.json as soon as each scenario is done (one that is run alone replaces its own part and
leaves the others), then .md, .csv and .html. Exits with 1 where a limit was exceeded or a policy stands above
the bound.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import platform
import sys
import time
from pathlib import Path

import msgspec

from machine import processor
from tieline.backtest.page import page
from tieline.backtest.report import assumed, best_rule, to_csv, to_figures, to_markdown
from tieline.backtest.run import (
    PERFECT,
    SCENARIOS,
    STANDARD,
    ScenarioOptions,
    ScenarioResult,
    run_ablations,
    run_scenario,
)

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "bench" / "out"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = os.environ.get("DATA") or os.environ.get("TIELINE_DATA") or ROOT.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--scenario", action="append", choices=SCENARIOS)
    parser.add_argument("--first", type=int, help="only the first months or weeks")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--no-ablations", action="store_true")
    asked = parser.parse_args()
    if not (asked.data / "scenario" / "sites.csv").exists():
        sys.exit(f"no recorded days at {asked.data}; give a folder with --data or DATA=... (docs/replay.md)")
    results: list[ScenarioResult] = []
    for scenario in asked.scenario or STANDARD:
        begin, load = time.perf_counter(), os.getloadavg()[0]
        options = ScenarioOptions(limit_spans=asked.first, ablate=False, jobs=asked.jobs)
        found = run_scenario(asked.data, scenario, options, _Progress(scenario))
        results.append(found)
        keep(found, time.perf_counter() - begin, asked.jobs, load)
    for found in results:
        if found.scenario == "B" and not asked.no_ablations:
            begin, load = time.perf_counter(), os.getloadavg()[0]
            found.ablations += run_ablations(asked.data, "B", asked.jobs, _Progress("B without"), asked.first)
            keep(found, None, asked.jobs, load, ablations_s=round(time.perf_counter() - begin))
    text = "\n".join([*(told(found) for found in results), "Assumed or invented:", "", assumed()])
    (OUT / "dispatch_value.md").write_text(text + "\n", encoding="utf-8")
    (OUT / "dispatch_value.csv").write_text(to_csv(results), encoding="utf-8")
    (OUT / "dispatch_value.html").write_text(page(results), encoding="utf-8")
    print(text)
    failed = [words for found in results for words in faults(found)]
    for words in failed:
        print(f"FAULT  {words}", file=sys.stderr)
    sys.exit(1 if failed else 0)


def told(found: ScenarioResult) -> str:
    return to_markdown(found) + "\n" + "\n".join(f"- {words}" for words in claims(found)) + "\n"


def keep(found: ScenarioResult, seconds: float | None, jobs: int, load: float, **more: int) -> None:
    """Each scenario as soon as it is done: a run that is broken off loses only the one it was in."""
    OUT.mkdir(exist_ok=True)
    path = OUT / "dispatch_value.json"
    whole = json.loads(path.read_text()) if path.exists() else {}
    before = whole.get(found.scenario, {}) if seconds is None else {}
    machine = {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "jobs": jobs,
        "load_at_start": round(load, 1),
    }
    took = before.get("seconds") if seconds is None else round(seconds)
    figures = msgspec.to_builtins(to_figures(found))
    whole[found.scenario] = {**figures, "claims": claims(found), "seconds": took, "machine": machine, **more}
    path.write_text(json.dumps(whole, indent=1) + "\n")


def claims(found: ScenarioResult) -> list[str]:
    """What was aimed at, and whether it was met."""
    mine, perfect, best = found.row("Tieline"), found.row(PERFECT), best_rule(found)
    if mine is None or perfect is None or best is None or found.bounds is None:
        return []
    loss = 1.0 - perfect.tally.net / found.bounds.clairvoyant
    unknown = 1.0 - mine.tally.net / perfect.tally.net
    gain = mine.tally.net / best.tally.net - 1.0
    words = [
        f"decision loss (perfect forecasts against the bound): {loss:.2%}; aim 1 %, {_met(loss <= 0.01)}",
        f"cost of not knowing (against perfect forecasts): {unknown:.2%}; printed, not promised",
    ]
    against = f"against the best rule ({best.policy}): {gain:+.3%}"
    if found.scenario == "control":
        return [*words, f"{against}; aim a tie within 0.1 %, {_met(abs(gain) <= 1e-3)}"]
    words.append(f"{against}; aim above 0, {_met(gain > 0)}")
    if found.scenario == "A":
        months = [(mine.months[m] / best.months[m] - 1.0, m) for m in sorted(mine.months) if best.months.get(m)]
        worst, month = min(months)
        words.append(f"worst month against it: {worst:+.3%} ({month}); aim not below -0.2 %, {_met(worst >= -0.002)}")
    return words


def _met(yes: bool) -> str:
    return "met" if yes else "NOT met"


def faults(found: ScenarioResult) -> list[str]:
    words = []
    for row in [*found.rows, *found.ablations]:
        if row.tally.violation_minutes > 0:
            words.append(f"{found.scenario}, {row.policy}: {row.tally.violation_minutes:g} minutes above a limit")
        if found.bounds is not None and row.tally.net > found.bounds.clairvoyant:
            over = row.tally.net - found.bounds.clairvoyant
            words.append(f"{found.scenario}, {row.policy}: above the bound by {over:,.0f} USD")
    return words


class _Progress:
    """A line per policy and tenth of it, on stderr."""

    def __init__(self, scenario: str) -> None:
        self._scenario, self._begin, self._last = scenario, time.perf_counter(), ""

    def __call__(self, what: str, done: int, of: int) -> None:
        now = f"{self._scenario}: {what}, {10 * done // max(1, of) * 10} %"
        if now != self._last:
            self._last = now
            print(f"{now} ({time.perf_counter() - self._begin:.0f} s)", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

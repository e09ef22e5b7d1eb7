"""A property that its own examples hardly reach proves nothing, and fails here.

Of what a strategy makes, at least `USEFUL` must be an example that the test keeps. A property that is about a case
which not every example is says which, `@pytest.mark.meets("two able replicas", 0.3)`, calls `hypothesis.event` with
that word where an example is one, and fails when fewer than that share of its examples were.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any

import pytest

USEFUL = 0.2
# Too few to say anything by: an explicit example, a strategy that is soon through, or the fast tests' handful.
FEW = 40

_COUNTS = re.compile(r"during generate phase.*?(\d+) passing, \d+ failing, and (\d+) invalid", re.DOTALL)
_EVENT = re.compile(r"^\s+\* ([\d.]+)%, (.*)$", re.MULTILINE)


def problem_of(statistics: str, cases: list[tuple[str, float]]) -> str | None:
    """What is wrong with a property by Hypothesis' statistics of its run; None: nothing. `cases` it must meet."""
    counts = _COUNTS.search(statistics)
    if counts is None:
        return None
    passing, invalid = int(counts[1]), int(counts[2])
    if passing + invalid < FEW:
        return None
    if passing < USEFUL * (passing + invalid):
        return f"its filters left {passing} of {passing + invalid} examples: less than {USEFUL:.0%}"
    met = {word: float(share) / 100 for share, word in _EVENT.findall(statistics)}
    for word, least in cases:
        if met.get(word, 0.0) < least:
            return (
                f"{word!r} was met by {met.get(word, 0.0):.1%} of its examples; it is for that, and needs {least:.0%}"
            )
    return None


class Properties:
    """Fails a property that passed and met too little."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, Any, Any]:
        report = yield
        if report.when == "call" and report.passed:
            statistics = getattr(item, "hypothesis_statistics", None)
            cases = [(mark.args[0], mark.args[1]) for mark in item.iter_markers("meets")]
            if statistics is None and cases:
                problem: str | None = "it is marked with what it meets, and is no property"
            else:
                problem = None if statistics is None else problem_of(statistics, cases)
            if problem is not None:
                report.outcome, report.longrepr = "failed", f"{item.nodeid}: {problem}"
        return report

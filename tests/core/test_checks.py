"""The checks that every test is held to catch what they are for: tried on tests that are wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from tests.checks.fast import Fast
from tests.checks.properties import Properties, problem_of
from tests.checks.skips import LIST, Skips, allowed, reason_of

pytest_plugins = "pytester"
ROOT = Path(__file__).resolve().parents[2]


def outcomes(pytester: pytest.Pytester, text: str, plugin: object) -> tuple[dict[str, int], str]:
    pytester.makepyfile("import pytest\nfrom hypothesis import *\nfrom hypothesis import strategies as st\n" + text)
    result = pytester.inline_run("-p", "no:cacheprovider", "-p", "no:timeout", "-p", "no:asyncio", plugins=[plugin])
    passed, skipped, failed = result.listoutcomes()
    said = "\n".join(str(one.longrepr) for one in failed)
    return {"passed": len(passed), "skipped": len(skipped), "failed": len(failed)}, said


FILTERED = """
@settings(max_examples=40, database=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 10**6))
def test_filters(n):
    assume(n % 10 == 0)
"""
CASES = """
@pytest.mark.meets("seven", %s)
@settings(max_examples=200, database=None)
@given(st.integers(0, 9), st.integers())
def test_meets(n, _):
    if n == 7:
        event("seven")
"""


def test_a_property_whose_filters_leave_little_fails(pytester: pytest.Pytester) -> None:
    counts, said = outcomes(pytester, FILTERED, Properties())
    assert counts["failed"] == 1
    assert re.search(r"its filters left \d+ of \d+ examples: less than 20%", said)
    counts, _ = outcomes(pytester, FILTERED.replace("% 10 ==", "% 2 ==").replace("== 0", "== 0 or True"), Properties())
    assert counts == {"passed": 1, "skipped": 0, "failed": 0}


def test_a_property_that_hardly_meets_its_case_fails(pytester: pytest.Pytester) -> None:
    counts, said = outcomes(pytester, CASES % 0.9, Properties())
    assert counts["failed"] == 1
    assert "'seven' was met by" in said
    counts, _ = outcomes(pytester, CASES % 0.01, Properties())
    assert counts["passed"] == 1
    counts, said = outcomes(pytester, "@pytest.mark.meets('x', 0.1)\ndef test_plain(): pass\n", Properties())
    assert counts["failed"] == 1
    assert "is no property" in said


def test_the_statistics_are_read_as_hypothesis_writes_them(request: pytest.FixtureRequest) -> None:
    """A release that words them otherwise would make the check see nothing."""

    class Item:
        statistics = ""

    @settings(max_examples=50, database=None, suppress_health_check=[HealthCheck.filter_too_much])
    @given(st.integers(0, 99))
    def run(n: int) -> None:
        event("even") if n % 2 == 0 else None
        assume(n < 1_000)

    from hypothesis.statistics import collector, describe_statistics

    with collector.with_value(lambda stats: setattr(Item, "statistics", describe_statistics({**stats, "nodeid": "x"}))):
        run()
    assert problem_of(Item.statistics, [("even", 0.05)]) is None
    assert "'even' was met by" in str(problem_of(Item.statistics, [("even", 0.99)]))
    assert problem_of(Item.statistics.replace("0 invalid", "990 invalid"), []) is not None


def test_a_skip_that_is_not_listed_fails_and_one_that_is_stays_a_skip(pytester: pytest.Pytester) -> None:
    text = """
def test_listed(): pytest.skip("nginx is not installed here")
def test_unlisted(): pytest.skip("too hard")
@pytest.mark.skipif(True, reason="later")
def test_marked(): pass
"""
    counts, said = outcomes(pytester, text, Skips())
    assert counts == {"passed": 0, "skipped": 1, "failed": 2}
    assert "tests/skips.toml does not list: too hard" in said
    counts, said = outcomes(pytester, "pytest.skip('whole file', allow_module_level=True)", Skips())
    assert counts["failed"] == 1
    assert "does not list: whole file" in said


def test_a_fast_test_that_starts_something_fails_and_one_that_says_so_is_left_out(pytester: pytest.Pytester) -> None:
    text = """
import importlib
def test_opens():
    importlib.import_module("socket").create_connection(("127.0.0.1", 9))
def test_starts():
    importlib.import_module("sub" + "process").run(["true"])
def test_sleeps():
    getattr(importlib.import_module("time"), "sle" + "ep")(0.01)
def test_thinks(): pass
@pytest.mark.slow
def test_slow(): pass
"""
    counts, said = outcomes(pytester, text, Fast())
    assert counts == {"passed": 1, "skipped": 0, "failed": 3}
    assert said.count("AssertionError: a fast test opens no socket, starts no process and does not sleep") >= 3
    counts, _ = outcomes(pytester, "import subprocess\ndef test_x(): pass", Fast())
    assert counts == {"passed": 0, "skipped": 0, "failed": 0}


def test_every_line_of_the_list_is_some_tests_reason() -> None:
    """One that no test gives any more is taken off."""
    sources = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py") if path.parent.name != "checks"
    )
    said = re.findall(r"(?:skip\(|reason=)\s*f?[\"']([^\"]*)[\"']", sources)
    for one in allowed():
        assert any(one.search(re.sub(r"\{[^}]*\}", "x", text)) for text in said), one.pattern
    assert LIST.is_file()
    assert reason_of(("file", 1, "Skipped: why")) == "why"

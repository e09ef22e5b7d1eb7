"""A test that is skipped for a reason nobody wrote down fails: `tests/skips.toml` lists what may be missing and why."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

LIST = Path(__file__).resolve().parents[1] / "skips.toml"


def allowed() -> list[re.Pattern[str]]:
    return [re.compile(row["reason"]) for row in tomllib.loads(LIST.read_text(encoding="utf-8"))["skip"]]


def reason_of(longrepr: object) -> str:
    """Why a test was skipped, as its author put it."""
    text = str(longrepr[2]) if isinstance(longrepr, tuple) else str(longrepr)
    return text.removeprefix("Skipped: ")


class Skips:
    """Fails what is skipped without a reason on the list."""

    def __init__(self) -> None:
        self.allowed = allowed()

    def judge(self, report: Any) -> Any:
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = reason_of(report.longrepr)
            if not any(one.search(reason) for one in self.allowed):
                report.outcome = "failed"
                report.longrepr = f"skipped for a reason that tests/skips.toml does not list: {reason}"
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, Any, Any]:
        return self.judge((yield))

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self) -> Generator[None, Any, Any]:
        return self.judge((yield))

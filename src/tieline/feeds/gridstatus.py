"""The `gridstatus` library, where it is installed: how patiently it is asked, and its moments in plain UTC.

It is an extra (`pip install 'tieline[grid]'`): it brings pandas and much besides. It is synchronous, so each call runs
in a thread and is given up after a while; what fails is left alone for a while.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from tieline.feeds.faults import FaultBook
from tieline.feeds.http import FIRST_BACKOFF_S, MAX_BACKOFF_S
from tieline.records import Fault

T = TypeVar("T")

EXTRA = "install it with: pip install 'tieline[grid]'"
TIMEOUT_S = 45.0  # a market's daily file is some megabytes


def installed() -> Any | None:
    """The library, or None."""
    try:
        return importlib.import_module("gridstatus")
    except ImportError:
        return None


def moment(value: object) -> datetime | None:
    """A zoned time (pandas' own is a datetime) in UTC, without the library's type."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        return None
    return datetime.fromisoformat(value.isoformat()).astimezone(UTC)


@dataclass
class LibraryCalls:
    """Calls by name, none oftener than `every_s`."""

    every_s: float
    timeout_s: float
    faults: FaultBook
    _not_before_s: dict[str, float] = field(default_factory=dict)
    _failures: dict[str, int] = field(default_factory=dict)

    async def ask(
        self, name: str, call: Callable[[], Coroutine[Any, Any, T]], now: datetime
    ) -> tuple[T | None, list[Fault]]:
        """What the call brings, and what is wrong or well again; None: it failed, or may not be asked yet."""
        clock_s = asyncio.get_running_loop().time
        if clock_s() < self._not_before_s.get(name, 0.0):
            return None, []
        try:
            async with asyncio.timeout(self.timeout_s):
                answer = await call()
        except Exception as error:  # the library raises whatever its parsers and its transport raise
            failures = self._failures[name] = self._failures.get(name, 0) + 1
            wait_s = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(failures, 10))
            self._not_before_s[name] = clock_s() + wait_s
            return None, self.faults.open(f"{name} unavailable", f"{name}: {type(error).__name__} {error}", now)
        self._not_before_s[name], self._failures[name] = clock_s() + self.every_s, 0
        return answer, self.faults.close(f"{name} unavailable", now)

    def forget_waits(self) -> None:
        """Everything may be asked at once."""
        self._not_before_s.clear()

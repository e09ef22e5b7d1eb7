"""Cases of one client by their names; each is told as a line of JSON. Runs in the client's own environment."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import traceback
from collections.abc import Callable
from typing import Any

URL = os.environ.get("TIELINE_URL", "")  # ends in /v1
REAL = os.environ.get("TIELINE_REAL", "")  # a small model on a real engine
REAL_CUT = os.environ.get("TIELINE_REAL_CUT", "")  # the same; its connections are cut once within each answer
SENSE = "scripted"  # a scripted engine, for cases that ask for sense
CUT = "cut"  # the same; its engines die once within each answer
LOST = "lost"  # the same; they die within each answer, always
HEARD = "I heard 'hello'; I am scripted."
_CASES: dict[str, Callable[[], Any]] = {}


def case(work: Callable[[], Any]) -> Callable[[], Any]:
    """A case, which fails by raising."""
    _CASES[work.__name__] = work
    return work


def real_case(work: Callable[[], Any]) -> Callable[[], Any]:
    """A case that is there with a real engine only. What a small model says is held to its shape, not its sense."""
    return case(work) if REAL else work


def told(kinds: type[BaseException] | tuple[type[BaseException], ...], work: Callable[[], Any]) -> str:
    """The words of the error that `work` has to end in."""
    try:
        found = work()
    except kinds as error:
        return str(error)[:200]
    raise AssertionError(f"it ended as if all were well: {found!r}"[:300])


async def told_async(kinds: type[BaseException] | tuple[type[BaseException], ...], work: Any) -> str:
    try:
        found = await work
    except kinds as error:
        return str(error)[:200]
    raise AssertionError(f"it ended as if all were well: {found!r}"[:300])


def main() -> None:
    """All of them, or those that TIELINE_CASES names."""
    wanted = [name for name in os.environ.get("TIELINE_CASES", "").split(",") if name] or list(_CASES)
    with asyncio.Runner() as runner:
        for name in wanted:
            line: dict[str, Any] = {"name": name}
            try:
                found = _CASES[name]()
                if inspect.isawaitable(found):
                    found = runner.run(_await(found))
                line |= {"ok": True, "note": "" if found is None else str(found)}
            except Exception as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                line |= {
                    "ok": False,
                    "note": f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"[:600],
                }
            print(json.dumps(line), flush=True)


async def _await(found: Any) -> Any:
    return await found

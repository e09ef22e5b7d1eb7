"""One call to the outside world at a time, in a task of its own, so that whoever needs its result waits for nobody.

A device, a meter or a driver may hang, raise whatever it likes or be cut: the result is then a `Failed` with one line,
and the next call may begin.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Failed:
    """The call hung past its time or raised; `why` fits one line."""

    why: str


class Beside(Generic[T]):
    """At most one call under way."""

    def __init__(self) -> None:
        self._task: asyncio.Task[T | Failed] | None = None

    @property
    def busy(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def ended(self) -> bool:
        """Its result waits to be taken; another call would throw it away."""
        return self._task is not None and self._task.done()

    def start(self, call: Callable[[], Coroutine[Any, Any, T]], timeout_s: float) -> bool:
        """Begin a call; False while one is under way."""
        if self.busy:
            return False
        self._task = asyncio.create_task(_guarded(call, timeout_s))
        return True

    def cancel(self) -> None:
        """Give up the call under way; its result is lost."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def take(self) -> T | Failed | None:
        """The result of a call that has ended, once; None where there is none yet."""
        if self._task is None or not self._task.done():
            return None
        task, self._task = self._task, None
        return None if task.cancelled() else task.result()

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @property
    def task(self) -> asyncio.Task[T | Failed] | None:
        return self._task


async def settle(calls: Iterable[Beside[Any]], patience_s: float) -> None:
    """Wait until these calls have ended, but no longer than `patience_s`."""
    tasks = [call.task for call in calls if call.task is not None]
    if tasks:
        await asyncio.wait(tasks, timeout=patience_s)


async def _guarded(call: Callable[[], Coroutine[Any, Any, T]], timeout_s: float) -> T | Failed:
    try:
        async with asyncio.timeout(timeout_s):
            return await call()
    except TimeoutError:
        return Failed(f"no answer within {timeout_s:.0f} s")
    except Exception as error:
        return Failed(f"{type(error).__name__}: {error}"[:300])

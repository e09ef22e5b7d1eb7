"""The registry of long-lived tasks: what ends, stands still or raises is said at once, logged once, and mended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from tieline import tasks
from tieline.tasks import Registry, beat


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "LOOK_S", 0.02)
    monkeypatch.setattr(tasks, "STEADY_S", 0.1)
    monkeypatch.setattr(tasks, "BACKOFF_S", (0.01,))


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def story(body: Callable[[Registry], Awaitable[None]], on_change: Callable[[], None] | None = None) -> None:
    async def run() -> None:
        registry = Registry(on_change)
        try:
            await body(registry)
        finally:
            await registry.close()

    asyncio.run(run())


def test_a_task_that_raises_is_named_started_again_and_well_after_a_while(caplog: pytest.LogCaptureFixture) -> None:
    starts: list[int] = []
    changes: list[int] = []

    async def work() -> None:
        starts.append(1)
        if len(starts) < 3:
            raise KeyError("prices")
        await asyncio.Event().wait()

    async def body(registry: Registry) -> None:
        registry.keep("feeds", "reads prices", work)
        await until(lambda: bool(registry.troubles))
        assert registry.troubles[0].line.startswith("feeds (reads prices): KeyError: 'prices'")
        await until(lambda: len(starts) == 3 and not registry.troubles)

    with caplog.at_level(logging.ERROR, logger="tieline.tasks"):
        story(body, lambda: changes.append(1))
    said = [record for record in caplog.records if "KeyError" in record.message]
    assert len(said) == 1  # twice the same cause, said once
    assert len(changes) >= 2


def test_a_task_that_returns_is_over_and_started_again() -> None:
    starts: list[int] = []

    async def work() -> None:
        starts.append(1)

    async def body(registry: Registry) -> None:
        registry.keep("tick", "ticks", work)
        await until(lambda: len(starts) > 2)
        assert registry.troubles[0].cause == "returned"

    story(body)


def test_whoever_cancels_a_task_from_outside_does_not_silence_it() -> None:
    starts: list[int] = []

    async def work() -> None:
        starts.append(1)
        await asyncio.Event().wait()

    async def body(registry: Registry) -> None:
        registry.keep("tick", "ticks", work)
        await until(lambda: len(starts) == 1)
        task = registry.task("tick")
        assert task is not None
        task.cancel()
        await until(lambda: len(starts) == 2)
        assert registry.troubles[0].cause == "was cancelled"

    story(body)


def test_a_task_past_the_time_it_gave_itself_stands_still_and_is_started_again() -> None:
    starts: list[int] = []

    async def work() -> None:
        starts.append(1)
        beat(0.05)
        if len(starts) == 1:
            await asyncio.Event().wait()
        while True:
            beat(5.0)
            await asyncio.sleep(0.01)

    async def body(registry: Registry) -> None:
        registry.keep("tick", "ticks", work)
        await until(lambda: bool(registry.troubles))
        assert "stands still" in registry.troubles[0].cause or "stood still" in registry.troubles[0].cause
        await until(lambda: len(starts) == 2 and not registry.troubles)

    story(body)


def test_a_task_that_does_not_end_is_never_started_a_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "CANCEL_S", 0.1)
    starts: list[int] = []
    release = asyncio.Event()

    async def work() -> None:
        starts.append(1)
        beat(0.03)
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async def body(registry: Registry) -> None:
        registry.keep("stuck", "never ends", work)
        await until(lambda: any("does not end" in t.cause for t in registry.troubles))
        assert len(starts) == 1
        release.set()
        await until(lambda: len(starts) >= 2)

    story(body)


def test_a_piece_of_work_that_fails_is_a_trouble_until_it_succeeds_and_stops_nothing() -> None:
    async def body(registry: Registry) -> None:
        for number in range(3):
            with registry.attempt("decide", "decides"):
                raise RecursionError("too deep")
            assert registry.troubles[0].times == number + 1
        with registry.attempt("decide", "decides"):
            pass
        assert registry.troubles == []

    story(body)


def test_a_beat_outside_of_a_registered_task_does_nothing() -> None:
    async def body(_: Registry) -> None:
        beat(0.0)
        await asyncio.sleep(0.05)

    story(body)


def test_a_name_is_taken_once() -> None:
    async def body(registry: Registry) -> None:
        registry.keep("tick", "ticks", asyncio.Event().wait)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="'tick' is registered already"):
            registry.keep("tick", "ticks", asyncio.Event().wait)  # type: ignore[arg-type]
        await registry.drop("tick")
        assert registry.names == ()

    story(body)


def test_what_a_task_did_not_take_is_counted_by_its_name() -> None:
    async def story() -> dict[str, int]:
        registry = Registry()

        async def work() -> None:
            tasks.ignore()
            tasks.ignore()
            await asyncio.Event().wait()

        registry.keep("plans", "hears plans", work)
        registry.keep("quiet", "hears nothing", asyncio.Event().wait)  # type: ignore[arg-type]
        async with asyncio.timeout(20):
            while not registry.ignored:
                await asyncio.sleep(0.001)
        tasks.ignore()  # of no registered task
        found = registry.ignored
        await registry.close()
        return found

    assert asyncio.run(story()) == {"plans": 2}

"""What the gateway owes: batch work by model and deadline, told to the dispatcher so that it can be planned.

A record says how many output tokens are still to be made and by when; deadlines are told by the hour. How many
tokens a line makes is not known before it runs: it is what lines of its kind made so far.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from tieline import records
from tieline.clock import Clock
from tieline.link import Link, LinkDownError, push
from tieline.records import Backlog, Owed

log = logging.getLogger("tieline.gateway")

REPORT_S: Final = 60.0
# Before any line has been answered: a short answer of a chat.
FIRST_GUESS: Final = 256.0
# How fast what lines make is followed.
LEARN: Final = 0.02
_HOUR_S: Final = 3_600
_DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class WaitingLines:
    """Lines of one batch that are not done; Unix seconds."""

    model: str
    lines: int
    created: int
    expires: int
    total: int


def mean(before: float | None, tokens: int) -> float:
    """Tokens of a line, with one more answer."""
    return float(tokens) if before is None else before + LEARN * (tokens - before)


def backlogs(
    waiting: Iterable[WaitingLines], per_line: dict[str, float], gateway: str, now: datetime
) -> dict[str, Backlog]:
    """By model. A deadline is told as the beginning of its hour, so that what is planned is never late by it."""
    due: dict[str, dict[int, float]] = {}
    day: dict[str, float] = {}
    now_s = int(now.timestamp())
    for one in waiting:
        tokens = per_line.get(one.model, FIRST_GUESS)
        # Within its last hour it stays what it is.
        hour = one.expires // _HOUR_S * _HOUR_S
        by = hour if hour > now_s else one.expires
        if one.lines > 0 and by > now_s:
            lots = due.setdefault(one.model, {})
            lots[by] = lots.get(by, 0.0) + one.lines * tokens
        if now_s - one.created < _DAY_S:
            day[one.model] = day.get(one.model, 0.0) + one.total * tokens
    return {
        model: Backlog(
            at=now,
            known_at=now,
            source=gateway,
            kind="estimated",
            gateway=gateway,
            model=model,
            lots=tuple(
                Owed(due=datetime.fromtimestamp(by, UTC), output_tokens=round(tokens, 1))
                for by, tokens in sorted(lots.items())
            ),
            day_tokens=round(day.get(model, 0.0), 1),
        )
        for model, lots in sorted(due.items())
    }


async def tell_for_ever(
    look: Callable[[], Iterable[WaitingLines]], per_line: dict[str, float], link: Link, origin: str, clock: Clock
) -> None:
    """Every minute while something is owed, and once more when nothing is."""
    announced: set[str] = set()
    while True:
        states = backlogs(look(), per_line, origin, clock.now())
        now = clock.now()
        over = [
            Backlog(at=now, known_at=now, source=origin, kind="estimated", gateway=origin, model=model)
            for model in sorted(announced - set(states))
        ]
        batch: list[records.AnyRecord] = [*states.values(), *over]
        if batch:
            try:
                ack = await push(link, origin, records.encode_batch(batch))
                if ack.trouble is None:
                    announced = set(states)
                else:
                    log.debug("the backlog was not taken: %s", ack.trouble)
            except (LinkDownError, OSError) as error:
                log.debug("the backlog waits for the link: %s", error)
        await asyncio.sleep(REPORT_S)

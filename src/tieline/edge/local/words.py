"""What an operator elsewhere has rigs do: blink, start anew, mine elsewhere. Heard over the link, signed and new, done
one after another, and answered on record.

Only a word that was sent just now is done: what a site missed while it was cut off is not made up for.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import msgspec

from tieline.edge.agent import Agent
from tieline.edge.local.stop import MAX_NAME, TEND, TendForm, action, may_send, tend
from tieline.edge.rigs.pooling.pools import read_pools
from tieline.edge.rigs.wire import SilentError
from tieline.edge.rigs.workers.rows import RigDevice
from tieline.intake import IntakeError
from tieline.records import Action

log = logging.getLogger("tieline.edge")

SET_POOLS: Final = "set pools"
POOLS_SET, NOT_DONE = "set pools at site", "not done at site"
# What an operator says; each is answered by one of what the site then says that it did.
WORDS: Final = (*TEND, SET_POOLS)
# Said and not yet begun; more is refused.
MOST_WAITING: Final = 64


class OperatorWords:
    """Those of one site. `take` is given to the agent, `run` is kept running."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._waiting: asyncio.Queue[Action] = asyncio.Queue(MOST_WAITING)

    def take(self, word: Action) -> None:
        """One that came just now."""
        if word.what not in WORDS:
            return
        try:
            self._waiting.put_nowait(word)
        except asyncio.QueueFull:
            self._answer(word, NOT_DONE, f"{word.what}: {MOST_WAITING} words wait already; say it again later")

    async def run(self) -> None:
        while True:
            word = await self._waiting.get()
            try:
                await self._do(word)
            except (ValueError, IntakeError, SilentError) as error:
                self._answer(word, NOT_DONE, f"{word.what} {word.detail[:80]}: {error}")

    async def _do(self, word: Action) -> None:
        agent = self._agent
        if word.what != SET_POOLS:
            form = {"by": word.by[:MAX_NAME], "unit_id": word.target, "address": word.detail, "what": word.what}
            await tend(agent, msgspec.convert(form, TendForm), agent.now)
            return
        may_send(agent)
        unit = agent.units.get(word.target)
        if unit is None or not isinstance(unit.device, RigDevice):
            raise ValueError(f"unit_id: {word.target[:80]!r} has no rigs on sockets")
        outcome = await unit.device.set_pools(read_pools(word.detail))
        self._answer(word, POOLS_SET if outcome.done else NOT_DONE, outcome.line)

    def _answer(self, word: Action, what: str, line: str) -> None:
        agent = self._agent
        log.info("%s: %s for %s: %s", agent.site.id, what, word.by, line)
        agent.keep([action(agent, agent.now, word.by, what, word.target, line)])

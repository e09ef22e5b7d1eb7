"""Reads a site's own sources of orders and hands what they ask for to its agent, each in its own time.

An order from here is carried out like one from the link, without link and without solver, and goes on record through
the outbox, so that it is settled. A source that cannot be read is a fault of the site.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tieline.clock import Clock
from tieline.edge.agent import Agent
from tieline.edge.orders.hook import HookSource
from tieline.edge.orders.mqtt import MqttSource
from tieline.feeds.notices.standing import OrderSource, SilencePolicy, SourceError, StandingOrders
from tieline.tasks import beat

# A source is read this often; a hook says by itself when something came.
EVERY_S, READ_TIMEOUT_S = 1.0, 5.0


class OrderDesk:
    """The sources of one site."""

    def __init__(self, agent: Agent, clock: Clock, sources: Sequence[tuple[OrderSource, SilencePolicy]]) -> None:
        self._agent, self._clock = agent, clock
        self.sources = [(source, StandingOrders(agent.site.id, source.name, silence)) for source, silence in sources]

    async def follow(self, source: OrderSource, standing: StandingOrders) -> None:
        """One source, until cancelled: each by itself, so that one that hangs delays no other."""
        try:
            while True:
                beat(2 * READ_TIMEOUT_S)
                await self.read_once(source, standing)
                if isinstance(source, HookSource | MqttSource):
                    waiting = asyncio.ensure_future(source.arrived.wait())
                    await asyncio.wait({waiting}, timeout=EVERY_S)
                    waiting.cancel()
                    source.arrived.clear()
                else:
                    await asyncio.sleep(EVERY_S)
        finally:
            await source.close()

    async def read_once(self, source: OrderSource, standing: StandingOrders) -> None:
        """One reading, and what follows from it."""
        wall = self._clock.now()
        now = self._agent.time.at(wall)
        line = None
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                said = await source.read(now)
        except SourceError as error:
            said, line = None, f"{source.name}: {error}"
        except TimeoutError:
            said, line = None, f"{source.name}: no answer within {READ_TIMEOUT_S:.0f} s"
        except Exception as error:  # whatever a library raises is this source's silence
            said, line = None, f"{source.name}: {type(error).__name__}: {error}"
        if line is None and source.doubt is not None:
            line = f"{source.name}: {source.doubt}"
        orders = standing.miss(now) if said is None else standing.hear(now, said)
        for order in orders:
            self._agent.take(order, wall)
        if standing.silent and line is not None:
            line += f"; silent past its bound: {standing.silence.policy}"
        faults = self._agent.faults.hold(now, f"orders {source.name}", line)
        self._agent.keep([*orders, *faults])
        if said is not None:
            source.tell(now, [one.order_id for one in said])

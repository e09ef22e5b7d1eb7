"""An agent that loses power at random writes, over a disk that forgets what was not synced: `python -m
tests.edge.power_cuts FOLDER TIMES SEED`.

Each life goes on from what the platter kept of the one before; the machines at the site draw on as they were told
meanwhile. Orders come and end, records are kept and pushed over a link that loses answers and says things twice.
Looked at: an order that was taken binds the next life; a record that the outbox took reaches the store, once; the mean
of each minute at the site's meter is under the limit in force, a minute after it could first be obeyed. Prints a JSON
summary; ends with 1 where one of them does not hold.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from tests.edge.edge_bench import NOON, STEP, Bench, make_plan
from tests.edge.test_meter import SumMeter
from tests.store.simdisk import SimulatedDisk

from tieline.edge.agent import Agent, Equipment
from tieline.edge.orderbook import OrderBook
from tieline.edge.push import OutboxQueue
from tieline.link import Ack, push_once
from tieline.records import Instruction, decode_batch
from tieline.store import StoreError
from tieline.store.outbox import Outbox
from tieline.store.quarantine import Quarantine

MINUTE = timedelta(minutes=1)
# A life is cut at one of its first so many writes and syncs of the disk.
WRITES = 500
# Half of all answers are lost on their way: what was pushed is pushed again.
LOST = 0.5
# The link is there in so many steps.
THROUGH = 0.2


class TwiceLink:
    """A link that loses answers, with the store behind it, which knows a key that it has."""

    def __init__(self, draw: random.Random) -> None:
        self.draw, self.stored, self.again = draw, {}, 0  # type: ignore[var-annotated]
        self.up, self.refused = True, False

    async def request(self, subject: str, data: bytes, timeout_s: float = 0.0) -> bytes:
        batch = decode_batch(data)
        for record in batch:
            key = f"{type(record).__name__}|{record.key}"
            self.again += key in self.stored
            self.stored.setdefault(key, record)
        if self.draw.random() < LOST:
            raise TimeoutError("the answer was lost")
        return msgspec.json.encode(Ack(len(batch)))

    async def publish(self, subject: str, data: bytes) -> None:
        pass


class WatchedBox(Outbox):
    """Says what it took for good."""

    took: set[str]

    def put(self, items: Any, thin: Sequence[str] = ()) -> int:
        rows = list(items)
        count = super().put(rows, thin)
        self.took |= {key for key, _ in rows}
        return count


class Site:
    """What outlives its agents: the machines, the meter, the far store, and what was promised."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.draw = folder, random.Random(seed)
        self.disk = SimulatedDisk(folder, random.Random(seed + 1))
        self.bench = Bench(folder / "unused")
        self.link = TwiceLink(self.draw)
        self.taken: dict[str, Instruction] = {}
        self.kept: set[str] = set()
        self.lost: list[str] = []
        self.seen: Counter[str] = Counter()
        self._minute: list[float] = []
        self.obeyed_from = NOON  # since when what is in force could be obeyed

    # --- one life ---

    def start(self) -> tuple[Agent, OutboxQueue]:
        bench, disk = self.bench, self.disk
        outbox = WatchedBox(self.folder / "outbox.db", disk=disk)
        outbox.took = self.kept
        orders = OrderBook("s", self.folder / "orders.json", self._write)
        now = bench.clock.now()
        held = {one.instruction_id for one in orders.orders(now).instructions}
        gone = [name for name, one in self.taken.items() if one.at <= now < one.until and name not in held]
        self.lost += [f"order {name} is forgotten" for name in gone]
        agent = Agent(
            bench.clock, bench.site, Equipment(bench.devices, SumMeter(bench, 0.0)), outbox, self.link, orders,  # type: ignore[arg-type]
            interval=timedelta(minutes=1),
        )  # fmt: skip
        self.obeyed_from = now
        return agent, OutboxQueue("s", outbox, Quarantine(self.folder / "aside.db", disk=disk), bench.clock.now)

    def _write(self, path: Path, data: bytes) -> None:
        self._written = False
        self.disk.write_file(path, data)
        self._written = True

    def order(self, agent: Agent) -> None:
        """A new order, and the promise that goes with it where it was taken and is on disk."""
        now = self.bench.clock.now()
        order = Instruction(
            at=now, known_at=now, source="grid", kind="measured", instruction_id=f"i{len(self.taken)}-{now:%H%M%S}",
            site_id="s", limit_w=self.draw.uniform(1e6, 9e6), until=now + timedelta(minutes=self.draw.uniform(2, 9)),
        )  # fmt: skip
        self._written = False
        agent.take(order, now)
        agent.keep([order])
        if self._written and not self.disk.off:
            self.taken[order.instruction_id] = order
            self.obeyed_from = now

    async def live(self, writes: int | None) -> None:
        """Until the power goes at that write; None: a last life, in which all that was kept is pushed."""
        self.disk.left = writes
        try:
            agent, queue = self.start()
        except StoreError:
            self.seen["cut while it started"] += 1
            return
        try:
            for _ in range(400):
                if self.disk.off:
                    break
                await self.step(agent, queue, calm=writes is None)
                if writes is None and not len(agent.outbox):
                    break
        finally:
            await agent.close()

    async def step(self, agent: Agent, queue: OutboxQueue, calm: bool) -> None:
        bench = self.bench
        if not calm and self.draw.random() < 0.1:
            self.order(agent)
        if not calm and self.draw.random() < 0.1:
            now = bench.clock.now()
            watts = {unit: self.draw.uniform(0.0, 4.0) for unit in ("s.rigs-1", "s.rigs-2")}
            agent.take(make_plan(now, watts | {"s.gpu": 2.0}), now)
        bench.clock.set(bench.clock.now() + STEP)
        await agent.step(bench.clock.now())
        self.metered(bench.clock.now(), calm)
        if not calm and self.draw.random() > THROUGH:
            return
        try:
            await push_once(self.link, "s", queue)  # type: ignore[arg-type]
        except (TimeoutError, StoreError):
            self.seen["pushed in vain"] += 1

    def metered(self, now: datetime, calm: bool) -> None:
        """The mean of a whole minute against what bound through all of it."""
        self._minute = [*self._minute, self.bench.true_mw * 1e6][-int(MINUTE / STEP) :]
        bound = [o.limit_w for o in self.taken.values() if o.at + 2 * MINUTE <= now < o.until]
        if not bound or now < self.obeyed_from + 2 * MINUTE or len(self._minute) < MINUTE / STEP:
            return
        self.seen["minutes looked at"] += 1
        mean_w = sum(self._minute) / len(self._minute)
        if mean_w > min(bound) * 1.01:
            self.lost.append(f"{now}: {mean_w / 1e6:.3f} MW in a minute under {min(bound) / 1e6:.3f} MW")


async def told(folder: Path, times: int, seed: int, lies: float = 0.0) -> dict[str, Any]:
    """`lies`: the share of syncs that the disk only says it did."""
    site = Site(folder, seed)
    site.disk.lie_share = lies
    for _ in range(times):
        await site.live(site.draw.randrange(WRITES))
        site.disk.power_cycle()
        site.bench.clock.set(site.bench.clock.now() + timedelta(seconds=site.draw.uniform(1, 90)))
        site._minute.clear()
    await site.live(None)
    site.lost += [f"{key} was kept and never stored" for key in sorted(site.kept - set(site.link.stored))]
    site.disk.close()
    counts = {name: site.disk.counts[name] for name in ("losses", "writes", "syncs", "lost", "torn")}
    seen = dict(site.seen) | {"pushed again": site.link.again}
    return {"orders": len(site.taken), "records": len(site.kept), "disk": counts, "seen": seen, "lost": site.lost[:10]}


def main() -> int:
    logging.disable()
    found = asyncio.run(told(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
    print(json.dumps(found))
    return 1 if found["lost"] else 0


if __name__ == "__main__":
    sys.exit(main())

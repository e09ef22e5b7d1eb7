"""Kills an agent at random instants and looks at what it left: `python -m tests.edge.kill_agent FOLDER TIMES SEED`.

Each agent goes on from the folder of the one before. Whatever an agent said it had taken or kept must be there for the
next: orders in force, records in the outbox, each once. Prints a JSON summary; ends with 1 where something was lost.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

from tests.edge.edge_bench import NOON, Bench

from tieline.edge.orderbook import OrderBook
from tieline.records import Instruction, decode
from tieline.store.outbox import Outbox


async def live(folder: Path, started: int, told: int) -> None:
    """One agent's life: a new order and a step again and again, each said once it was taken."""
    bench = Bench(folder, keep_orders=True)
    bench.clock.set(NOON + timedelta(hours=started))
    n = 0
    while True:
        n += 1
        now = bench.clock.now()
        order = Instruction(
            at=now, known_at=now, source="grid", kind="measured", instruction_id=f"{started}-{n}", site_id="s",
            limit_w=5e6, until=now + timedelta(hours=1000),
        )  # fmt: skip
        bench.agent.take(order, now)
        bench.agent.keep([order])
        os.write(told, f"order {order.instruction_id}\n".encode())
        await bench.step()


def main() -> int:
    folder, times, draw = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
    said: list[str] = []
    lost: list[str] = []
    for started in range(times):
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            asyncio.run(live(folder, started, write))
        os.close(write)
        with os.fdopen(read, "rb", closefd=True) as heard:
            first = heard.readline()  # it lives
            time.sleep(draw.uniform(0.0, 0.08))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            told = (first + heard.read()).decode().rpartition("\n")[0].split("\n")
        said += [line.split(" ")[1] for line in told]
        lost += missing(folder, said, started)
    print(json.dumps({"kills": times, "orders": len(said), "lost": lost[:10]}))
    return 1 if lost else 0


def missing(folder: Path, said: list[str], started: int) -> list[str]:
    """What was acknowledged and is not there, or there twice."""
    now = NOON + timedelta(hours=started, minutes=50)
    held = [order.instruction_id for order in OrderBook("s", folder / "orders.json").orders(now).instructions]
    gone = [f"order {name} of life {started}" for name in said[-min(len(said), 32) :] if name not in held]
    outbox = Outbox(folder / "outbox.db")
    kept = [decode(body) for _, _, body in outbox.take(100_000)]
    outbox.close()
    names = [record.instruction_id for record in kept if isinstance(record, Instruction)]
    gone += [f"record {name}" for name in said if names.count(name) != 1]
    return gone


if __name__ == "__main__":
    sys.exit(main())

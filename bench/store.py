"""Records in a file and on a PostgreSQL server: appended durably in batches and one by one, and read back.

    .venv/bin/python bench/store.py [--records 20000] [--url postgresql://...]

Without `--url` a server is started beside the file, on the same disk, with its settings as they come (each commit is
synced). Prints records a second by the wall and by this process's CPU, and the machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.store.kinds import T0, tick
from tests.store.server import Server

from tieline import records
from tieline.records import PriceTick
from tieline.store import Store
from tieline.store.place import StorePlace


def measured(name: str, count: int, began: tuple[float, float]) -> None:
    wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    print(f"  {name:34} {count / wall:>9,.0f}/s by the wall, {count / cpu:>9,.0f}/s of this process's CPU")


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def tried(place: StorePlace, count: int) -> None:
    print(place)
    with closing(Store(place, records.encode, records.decode)) as store:
        for turn, (size, upto) in enumerate(((500, count), (20, count // 5), (1, count // 50))):
            ticks = [tick(300_000 * turn + n) for n in range(upto)]
            began = now()
            for first in range(0, upto, size):
                store.append(ticks[first : first + size])
            measured(f"appended, {size} in a transaction", upto, began)
        began = now()
        found = sum(1 for _ in store.each(PriceTick, T0, T0 + timedelta(days=50_000)))
        measured("read in order of time", found, began)
        began, after = now(), 0
        while (page := store.follow(after)).items:
            after = page.last
        measured("followed in pages of 1,000", after, began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--url", help="of an empty database; without it a server is started")
    asked = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tlb")))
        url = asked.url
        if url is None:
            server = Server(folder / "server")
            stack.callback(server.stop)
            url = server.url()
        (folder / "file").mkdir()
        tried(StorePlace(folder / "file"), asked.records)
        tried(StorePlace(folder, url), asked.records)


if __name__ == "__main__":
    main()

"""One piece of work of `bench/pairs.py`, by the code of the tree that is named: `pairs_work.py NAME TREE DATA`.

Prints its CPU seconds, what is loaded before not counted. Runs under an earlier revision too, so that it names what a
revision calls a thing only where both do.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
# Where the reader of texts has stood.
READERS = ("tieline.disclosures.read", "tieline.disclosures.reading", "tieline.disclosures")
STEPS, READINGS = 60, 5


def dispatch(tree: Path, data: Path) -> Callable[[], Any]:
    """Whole steps of the controller, by the strike rule and by look-ahead, from the same records."""
    sys.path.insert(0, str(tree / "bench"))
    bench = importlib.import_module("dispatch_speed")
    begin, end = bench.START - timedelta(days=22), bench.START + timedelta(days=3)
    source = bench.RecordedFolder(data)
    fleet = bench._priced(source.fleet(), data)
    records = source.records(fleet, begin, end, with_events=False)
    known = [one for one in records if begin <= one.at < end]  # a later source reads further back
    controllers = []
    for policy in ("strike", "lookahead"):
        store = bench.Store(None, bench.records.encode, bench.records.decode)
        store.append(known)
        controllers.append(bench.Controller(store, fleet, bench.Settings(policy=policy)))

    async def steps() -> None:
        for controller in controllers:
            for n in range(STEPS):
                await controller.step(bench.START + n * timedelta(minutes=5))

    return lambda: asyncio.run(steps())


def disclosures(tree: Path, data: Path) -> Callable[[], Any]:
    """Every real excerpt, a few times."""
    lines = (data / "disclosures" / "peer_examples.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line) for line in lines if line.strip()]
    read = _reader()
    read(texts[0]["raw"], issuer=texts[0]["ticker"], published=texts[0]["published"])
    return lambda: [
        read(one["raw"], issuer=one["ticker"], published=one["published"]) for _ in range(READINGS) for one in texts
    ]


def _reader() -> Any:
    for name in READERS:
        try:
            found = getattr(importlib.import_module(name), "read", None)
        except ModuleNotFoundError:
            continue
        if callable(found):
            return found
    raise SystemExit(f"no reader of texts in {', '.join(READERS)}")


def main() -> None:
    name, tree, data = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    work = {"dispatch": dispatch, "disclosures": disclosures}[name](tree, data)
    began = time.process_time()
    work()
    print(time.process_time() - began)


if __name__ == "__main__":
    main()

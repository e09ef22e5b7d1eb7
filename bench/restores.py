"""A store from an older backup, put back under a platform that lived on: is the gap named, and does everything return?

    .venv/bin/python bench/restores.py [--rounds 5] [--seed 1] [--keep FOLDER]

Each round on the demo platform, whose door is asked without a pause (half of it streamed): `tieline backup` is taken
while it runs, it runs on for a drawn time, the core is ended with SIGKILL, the platform is taken down, and the store
alone is put back with `tieline restore --store-only`. It starts again, is asked at once, and is looked at until all of
it is there:

- each answered request of the gap has one Usage record again, with the tokens that its client was told;
- each record that a site's outbox or the gateway's spool has as acknowledged is in the store, none is there twice;
- the gap is on record as a Fault with the numbers of its rows, once a round.

What only the core knew is gone with the store and named with the gap: prices, plans and settlements of those seconds.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kills import CLIENTS, Load, acknowledged, checked, drained, state
from tieline import records
from tieline.records import Fault, Usage
from tieline.store import Store

EVER = datetime(2000, 1, 1, tzinfo=UTC), datetime(2000, 1, 1, tzinfo=UTC) + timedelta(days=30_000)
WHOLE_S = 180.0
COMMAND = [sys.executable, "-m", "tieline"]


def tieline(*words: str) -> str:
    """What a command prints. Raises CalledProcessError."""
    return subprocess.run([*COMMAND, *words], check=True, capture_output=True, text=True).stdout


def up(folder: Path) -> None:
    tieline("up", "-d", "--console-port", "0", "--gateway-port", "0", "--data-dir", str(folder))


def loaded(folder: Path, load: Load | None) -> tuple[Load, list[threading.Thread]]:
    """Clients at work; what an earlier load was told is kept."""
    new = Load(state(folder)["openai_base_url"], (folder / "run" / "demo_key").read_text().strip())
    if load is not None:
        new.answered, new.failed = load.answered, load.failed
    clients = [threading.Thread(target=new.run, args=(n,), daemon=True) for n in range(CLIENTS)]
    for client in clients:
        client.start()
    return new, clients


def used(folder: Path) -> Counter[str]:
    """How often the store has a Usage record of each request."""
    store = Store(folder / "store.db", records.encode, records.decode, read_only=True)
    found = Counter(one.request_id for one in store.each(Usage, *EVER))
    store.close()
    return found


def gaps(folder: Path) -> list[Fault]:
    """The losses of the store that are on record."""
    store = Store(folder / "store.db", records.encode, records.decode, read_only=True)
    found = [one for one in store.each(Fault, *EVER) if "rows " in one.detail]
    store.close()
    return found


def whole(folder: Path, answered: set[str]) -> float | None:
    """Seconds until each of these requests has its record; None where that did not come to be."""
    began = time.monotonic()
    while time.monotonic() - began < WHOLE_S:
        if answered <= set(used(folder)):
            return time.monotonic() - began
        time.sleep(0.5)
    return None


def one_round(folder: Path, load: Load, clients: list[threading.Thread], pause_s: float) -> tuple[Load, list[str]]:
    backup = folder.parent / f"{folder.name}-backup-{time.monotonic_ns()}"
    tieline("backup", str(backup), "--data-dir", str(folder))
    before = len(load.answered)
    time.sleep(pause_s)
    core = next(part["pid"] for part in state(folder)["parts"] if part["name"] == "core")
    os.kill(core, signal.SIGKILL)
    load.stop = True
    for client in clients:
        client.join(60.0)
    tieline("down", "--data-dir", str(folder))
    known, had = set(load.answered), len(gaps(folder))
    tieline("restore", str(backup), "--store-only", "--data-dir", str(folder))
    missing = len(known - set(used(folder)))
    up(folder)
    load, clients[:] = loaded(folder, load)
    took = whole(folder, known)
    named = gaps(folder)
    print(f"{len(known) - before:6,} requests in the gap of {pause_s:.1f} s, {missing:,} of all not in the store put "
          f"back; all there {'never' if took is None else f'{took:.1f} s after the start'}; "
          f"{named[-1].detail if named else 'no gap named'}", flush=True)  # fmt: skip
    wrong = [] if took is not None else [f"{len(known - set(used(folder)))} requests did not come back"]
    if len(named) != had + 1:
        wrong.append(f"{len(named)} gaps are on record, {had} were before")
    return load, wrong


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--rounds", type=int, default=5)
    given.add_argument("--seed", type=int, default=1)
    given.add_argument("--keep", type=Path, help="a new folder for the data, which is then left there")
    asked = given.parse_args()
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="tieline-restores-"))
    draw = random.Random(asked.seed)
    wrong: list[str] = []
    up(folder)
    try:
        load, clients = loaded(folder, None)
        for _ in range(asked.rounds):
            time.sleep(draw.uniform(2.0, 6.0))
            load, found = one_round(folder, load, clients, draw.uniform(3.0, 15.0))
            wrong += found
        load.stop = True
        for client in clients:
            client.join(60.0)
        drained(folder)
    finally:
        subprocess.run([*COMMAND, "down", "--data-dir", str(folder)], check=False)
    wrong += [line for line in checked(folder, load) if not line.startswith("lost: ")]
    print("\n".join(wrong[:20]) or "nothing acknowledged is lost, nothing is there twice, each gap is named")
    print(f"{len(wrong)} wrong in {asked.rounds} rounds; {len(acknowledged(folder)):,} acknowledged; "
          f"seed {asked.seed}; data in {folder}")  # fmt: skip
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())

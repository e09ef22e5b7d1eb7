"""kill -9 at random instants, under load: is what was acknowledged there, once, and is the platform back in time?

    .venv/bin/python bench/kills.py [--kills 200] [--seed 1] [--keep FOLDER]

Starts the demo platform in a folder of its own, asks its door without a pause (half of it streamed), and ends one part
after another with SIGKILL, each at a random instant. Then compares what clients were given with what is on disk:

- each answered request has one Usage record, with the tokens that its client was told;
- no request has two;
- each record that a site's outbox or the gateway's spool has as acknowledged is in the store;
- the store's digest and all databases are whole, and no loss is named.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from tieline import records
from tieline.records import Usage
from tieline.store import Store, outbox, spool
from tieline.store.backup import verify
from tieline.store.database import open_database

PARTS = ("core", "gateway", "sites", "link", "console", "world")
BACK_S, GIVE_UP_S = 10.0, 90.0
CLIENTS = 4


def state(data: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((data / "run" / "state.json").read_bytes())
    except (OSError, ValueError):  # between two writes of it
        return {"parts": []}
    return found


@dataclass
class Load:
    """Clients that ask without a pause, and what they were given."""

    url: str
    key: str
    answered: dict[str, int] = field(default_factory=dict)  # request -> output tokens it was told
    failed: int = 0
    stop: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, number: int) -> None:
        with httpx.Client(timeout=40.0, trust_env=False) as client:
            count = 0
            while not self.stop:
                count += 1
                try:
                    self._one(client, count % 2 == 0, f"Count to five, {number}.{count}")
                except (httpx.HTTPError, ValueError, KeyError):
                    with self.lock:
                        self.failed += 1
                    time.sleep(0.2)

    def _one(self, client: httpx.Client, streamed: bool, text: str) -> None:
        body: dict[str, Any] = {
            "model": "tieline-selftest", "max_tokens": 12, "messages": [{"role": "user", "content": text}],
        }  # fmt: skip
        if streamed:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        answer = client.post(f"{self.url}/chat/completions", json=body, headers={"authorization": f"Bearer {self.key}"})
        answer.raise_for_status()
        if streamed:
            if not answer.text.rstrip().endswith("data: [DONE]"):
                raise ValueError("cut off")
            events = [json.loads(e[6:]) for e in answer.text.split("\n\n") if e.startswith("data: {")]
            usage = next(e["usage"] for e in events if e.get("usage"))
        else:
            usage = answer.json()["usage"]
        with self.lock:
            self.answered[answer.headers["x-request-id"]] = usage["completion_tokens"]


def kill(data: Path, name: str) -> float | None:
    """Seconds until every part is ready again; None where that did not come to be."""
    pid = next((p["pid"] for p in state(data)["parts"] if p["name"] == name), None)
    if pid is None:
        return None
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return None
    began = time.monotonic()
    while time.monotonic() - began < GIVE_UP_S:
        parts = state(data)["parts"]
        new = next((p for p in parts if p["name"] == name), None)
        if new is not None and new["pid"] not in (None, pid) and all(p["state"] == "ready" for p in parts):
            return time.monotonic() - began
        time.sleep(0.02)
    return None


def acknowledged(data: Path) -> set[str]:
    """Keys that a site or the gateway has as acknowledged by the store."""
    found = set()
    for path in data.glob("sites/*/outbox.db"):
        db = open_database(path, outbox.KIND, read_only=True)
        found |= {key.partition("|")[2] for (key,) in db.rows("SELECT key FROM item WHERE sent = 1")}
        db.close()
    db = open_database(data / "gateway" / "usage.db", spool.KIND, read_only=True)
    found |= {key for (key,) in db.rows("SELECT key FROM item WHERE sent = 1")}
    db.close()
    return found


def checked(data: Path, load: Load) -> list[str]:
    """What is not as it must be."""
    wrong = [f"{path}: {error}" for path, error in verify(data) if error is not None]
    store = Store(data / "store.db", records.encode, records.decode, read_only=True)
    wrong += [f"lost: {loss}" for loss in store.untold()]
    ever = datetime(2000, 1, 1, tzinfo=UTC), datetime(2000, 1, 1, tzinfo=UTC) + timedelta(days=30_000)
    used = list(store.each(Usage, *ever))
    counts = Counter(one.request_id for one in used)
    wrong += [f"request {id_} is billed {count} times" for id_, count in counts.items() if count > 1]
    tokens = {one.request_id: one.output_tokens for one in used}
    for id_, told in load.answered.items():
        if id_ not in tokens:
            wrong.append(f"request {id_} was answered and is not in the store")
        elif tokens[id_] != told:
            wrong.append(f"request {id_}: its client was told {told} tokens, {tokens[id_]} are in the store")
    stored, after, more = set(), 0, True
    while more:
        page = store.follow(after, 5_000)
        stored |= {one.record.key for one in page.items}  # type: ignore[attr-defined]
        after, more = page.last, page.more
    wrong += [f"{key} was acknowledged and is not in the store" for key in acknowledged(data) - stored]
    print(f"{len(load.answered):,} requests answered, {load.failed:,} failed at their client, {len(used):,} usage "
          f"records, {len(stored):,} records, {len(acknowledged(data)):,} of them known as acknowledged")  # fmt: skip
    store.close()
    return wrong


def drained(data: Path) -> None:
    """Wait until the gateway's usage is in the store."""
    for _ in range(600):
        db = open_database(data / "gateway" / "usage.db", spool.KIND, read_only=True)
        ((waiting,),) = db.rows("SELECT count(*) FROM item WHERE sent = 0")
        db.close()
        if not waiting:
            return
        time.sleep(0.1)


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--kills", type=int, default=200)
    given.add_argument("--seed", type=int, default=1)
    given.add_argument("--keep", type=Path, help="a new folder for the data, which is then left there")
    asked = given.parse_args()
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="tieline-kills-"))
    draw = random.Random(asked.seed)
    command = [sys.executable, "-m", "tieline"]
    up = [*command, "up", "-d", "--console-port", "0", "--gateway-port", "0", "--data-dir", str(folder)]
    subprocess.run(up, check=True, stdout=subprocess.DEVNULL)
    took: dict[str, list[float]] = {name: [] for name in PARTS}
    late = 0
    try:
        load = Load(state(folder)["openai_base_url"], (folder / "run" / "demo_key").read_text().strip())
        clients = [threading.Thread(target=load.run, args=(n,), daemon=True) for n in range(CLIENTS)]
        for client in clients:
            client.start()
        order = [PARTS[n % len(PARTS)] for n in range(asked.kills)]
        draw.shuffle(order)
        for number, name in enumerate(order):
            time.sleep(draw.uniform(0.2, 3.0))
            back = kill(folder, name)
            late += back is None or back > BACK_S
            took[name].append(GIVE_UP_S if back is None else back)
            print(f"{number + 1:4} {name:8} back in {'never' if back is None else f'{back:.1f} s'}", flush=True)
        load.stop = True
        for client in clients:
            client.join(60.0)
        drained(folder)
    finally:
        subprocess.run([*command, "down", "--data-dir", str(folder)], check=False)
    for name, times in took.items():
        if times:
            print(
                f"{name:8} {len(times):3} kills, back in {statistics.median(times):.1f} s, at most {max(times):.1f} s"
            )
    wrong = checked(folder, load)
    print("\n".join(wrong[:20]) or "nothing acknowledged is lost, nothing is there twice")
    print(f"{len(wrong)} wrong, {late} of {asked.kills} later than {BACK_S:.0f} s; seed {asked.seed}; data in {folder}")
    return 1 if wrong or late else 0


if __name__ == "__main__":
    raise SystemExit(main())

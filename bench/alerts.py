"""Is every trouble told, whatever dies, and a flapping one told once? Prints what reached a webhook.

    .venv/bin/python bench/alerts.py [--kills 50] [--seed 1]

The alerts' loop runs in a process of its own over a database on disk, with a webhook in another. A new trouble comes,
and after a drawn time the loop is ended with SIGKILL: in the midst of a look, of a write or of a delivery. All troubles
of all kills have to arrive. Then one trouble comes and goes a hundred times and has to be one message; and it is timed
from the moment at which something stands until the webhook has it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import socket
import statistics
import tempfile
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing.process import BaseProcess
from pathlib import Path

from machine import processor
from tieline.alerts.service import AlertService
from tieline.clock import wall_now
from tieline.config.sections import AlertChannel, Alerts
from tieline.store.alerts import AlertStore

CONTEXT = multiprocessing.get_context("fork")
SETTINGS = Alerts(
    raise_after_s=0.0, clear_after_s=3.0, channels=(AlertChannel(id="hook", kind="webhook", url_env="BENCH_HOOK"),)
)
LOOK_S, FLAPS, MOST_S = 0.05, 100, 5.0


def heard(folder: Path, listening: socket.socket) -> None:
    """The webhook: each message that it took, with when, in a file."""

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with (folder / "heard").open("a", encoding="utf-8") as file:
                file.write(json.dumps([time.time(), body["event"], body["what"]]) + "\n")
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: what came is in the file."""

    server = HTTPServer(("127.0.0.1", 0), Hook, bind_and_activate=False)
    server.socket = listening
    server.serve_forever()


def loop(folder: Path) -> None:
    """The alerts' own steps, closer together than in a platform, so that a kill meets each of them."""

    async def run() -> None:
        store = AlertStore(folder / "alerts.db")
        service = AlertService(SETTINGS, store, wall_now)
        while True:
            service.hear((folder / "lines").read_bytes())
            service.step()
            for message in store.due(service.seconds()):
                await service.deliver(message)
            await asyncio.sleep(LOOK_S)

    asyncio.run(run())


def started(work: object, *words: object) -> BaseProcess:
    process = CONTEXT.Process(target=work, args=words, daemon=True)  # type: ignore[arg-type]  # a function
    process.start()
    return process


def say(folder: Path, troubles: list[str]) -> None:
    """What stands now, put in one step."""
    lines = [{"level": "bad", "what": what, "text": "as drawn", "site": "A"} for what in troubles]
    new = folder / "lines.new"
    new.write_text(json.dumps(lines), encoding="utf-8")
    new.replace(folder / "lines")


def told(folder: Path, event: str = "raised") -> list[tuple[float, str]]:
    path = folder / "heard"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    return [(at, what) for at, kind, what in rows if kind == event]


def wait(folder: Path, what: str, seconds: float = 60.0) -> float | None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for at, name in told(folder):
            if name == what:
                return at
        time.sleep(0.02)
    return None


def killed(folder: Path, kills: int, draw: random.Random) -> int:
    """How many troubles were lost."""
    troubles: list[str] = []
    for number in range(kills):
        process = started(loop, folder)
        troubles.append(f"trouble {number}")
        say(folder, troubles[-20:])
        time.sleep(draw.uniform(0.0, 0.8))
        process.kill()
        process.join()
    # Those that no longer stand were perhaps never looked at; those that were raised have to arrive.
    process = started(loop, folder)
    say(folder, troubles)
    for what in troubles:
        wait(folder, what, 30.0)
    process.kill()
    process.join()
    counts = Counter(what for _, what in told(folder))
    lost = [what for what in troubles if not counts[what]]
    twice = sum(count - 1 for count in counts.values() if count > 1)
    print(f"{kills} kills: {len(troubles)} troubles, {len(lost)} lost, {twice} messages came a second time")
    return len(lost)


def flapped(folder: Path) -> int:
    """How many messages one trouble made that came and went a hundred times."""
    process = started(loop, folder)
    for number in range(2 * FLAPS):
        say(folder, ["flapping"] if number % 2 == 0 else [])
        time.sleep(6 * LOOK_S if number % 2 == 0 else 2 * LOOK_S)
    time.sleep(1.0)
    process.kill()
    process.join()
    messages = sum(what == "flapping" for _, what in told(folder))
    print(f"{FLAPS} flaps: {messages} message")
    return messages


def timed(folder: Path) -> float:
    """Seconds from a trouble's first standing until the webhook has it, the longest of ten."""
    process = started(loop, folder)
    took = []
    for number in range(10):
        began = time.time()
        say(folder, [f"timed {number}"])
        at = wait(folder, f"timed {number}")
        took.append(MOST_S * 10 if at is None else at - began)
    process.kill()
    print(
        f"seen to received: median {statistics.median(took):.2f} s, longest {max(took):.2f} s, may take {MOST_S:.0f} s"
    )
    return max(took)


def hooked(folder: Path) -> BaseProcess:
    """The webhook, listening."""
    say(folder, [])
    listening = socket.create_server(("127.0.0.1", 0))
    os.environ["BENCH_HOOK"] = f"http://127.0.0.1:{listening.getsockname()[1]}/"
    return started(heard, folder, listening)


def timed_alone(folder: Path) -> float:
    hook = hooked(folder)
    try:
        return timed(folder)
    finally:
        hook.kill()


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--kills", type=int, default=50)
    given.add_argument("--seed", type=int, default=1)
    asked = given.parse_args()
    print(f"on {processor()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hook = hooked(folder)
        lost, flaps, longest = killed(folder, asked.kills, random.Random(asked.seed)), flapped(folder), timed(folder)
        hook.kill()
    return 0 if not lost and flaps == 1 and longest <= MOST_S else 1


if __name__ == "__main__":
    raise SystemExit(main())

"""A tenant makes and rotates a key while its requests never pause; then all who tell its spend are compared.

    .venv/bin/python bench/tenant.py [--keys 4] [--seconds 60] [--keep FOLDER]

Starts the demo platform in a folder of its own. An owner of its tenant joins by a one-time link and signs in at the
portal, makes a key, and rotates it with an overlap again and again while eight clients ask (half of it streamed); some
rotations are asked twice, as after an answer that was lost. No request may fail. Then the key is revoked: for how long
is it still taken? Then every part of the platform is ended with SIGKILL, one after another, under load.

After each of the two halves the same sum is asked of the portal, of its invoice to date, of `GET /v1/usage`, of
`tieline books invoices` and of the records themselves: they have to agree to the nano-dollar, and each request that a
client was answered has to be in it once.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from kills import BACK_S, GIVE_UP_S, PARTS, Load, drained, kill, state
from machine import processor
from tieline import app, records
from tieline.records import Usage
from tieline.store import Store

CLIENTS, TURNS, NANO = 8, 5, 1_000_000_000
PROJECT = "default"
WORDS = "correct horse battery staple"
OWN = {"x-tieline": "console"}
COMMAND = [sys.executable, "-m", "tieline"]


def tieline(*words: str) -> str:
    return subprocess.run([*COMMAND, *words], check=True, capture_output=True, text=True).stdout


@contextmanager
def load(folder: Path, secret: str) -> Iterator[Load]:
    """Clients that ask without a pause; the secret that they show may change under them."""
    one = Load(state(folder)["openai_base_url"], secret)
    clients = [threading.Thread(target=one.run, args=(n,), daemon=True) for n in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield one
    finally:
        one.stop = True
        for client in clients:
            client.join(60.0)


class Portal:
    """The tenant's page, as its owner's browser asks it."""

    def __init__(self, folder: Path) -> None:
        self.url = state(folder)["console_url"]
        self.http = httpx.Client(base_url=self.url, headers=OWN, timeout=30.0, trust_env=False)

    def join(self, link: str) -> None:
        self._posted("/api/join", {"link": link, "name": "Olive", "password": WORDS})
        self.http.cookies.clear()
        self.sign_in()

    def sign_in(self) -> None:
        self._posted("/api/login", {"name": "olive", "password": WORDS})

    def make(self, name: str) -> tuple[str, str]:
        """(id, secret)."""
        told = self._posted("/api/my/keys", {"name": name, "project": PROJECT, "models": []})
        return told["key"]["id"], told["secret"]

    def rotate(self, key: str, overlap_h: int) -> str:
        return str(self._posted(f"/api/my/keys/{key}/rotate", {"overlap_h": overlap_h})["secret"])

    def revoke(self, key: str) -> None:
        self._posted(f"/api/my/keys/{key}/revoke", {})

    def get(self, what: str) -> Any:
        answer = self.http.get(f"/api/my/{what}")
        answer.raise_for_status()
        return answer.json()

    def _posted(self, path: str, form: dict[str, Any]) -> Any:
        answer = self.http.post(path, json=form)
        if not answer.is_success:
            raise SystemExit(f"{path}: {answer.status_code} {answer.text}")
        return answer.json()


def nano(usd: str) -> int:
    return int(Decimal(usd) * NANO)


def sums(folder: Path, portal: Portal, secret: str) -> dict[str, tuple[int, int]]:
    """Who tells it -> (requests, nano-dollars) of one project in this month."""
    now = datetime.now(UTC)
    store = Store(folder / "store.db", records.encode, records.decode, read_only=True)
    since = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    used = [one for one in store.each(Usage, since, now + timedelta(minutes=1)) if one.project == PROJECT]
    store.close()
    row = next(one for one in portal.get("usage")["by_project"] if one["name"] == PROJECT)
    lines = [one for one in portal.get("invoice")["invoice"]["lines"] if one["project"] == PROJECT]
    door = httpx.get(f"{state(folder)['openai_base_url']}/usage", headers={"authorization": f"Bearer {secret}"}).json()
    told = json.loads(tieline("books", "invoices", "--json", "--data-dir", str(folder)))
    booked = [one for one in told if one["project"] == PROJECT]
    return {
        "records": (len(used), sum(one.cost_nano_usd for one in used)),
        "portal": (row["requests"], row["nano_usd"]),
        "invoice to date": (sum(one["requests"] for one in lines), sum(nano(one["exact_usd"]) for one in lines)),
        "GET /v1/usage": (door["total"]["requests"], door["total"]["cost_nano_usd"]),
        "books invoices": (sum(one["requests"] for one in booked), sum(nano(one["exact_usd"]) for one in booked)),
    }


def agree(folder: Path, portal: Portal, secret: str, answered: set[str]) -> bool:
    drained(folder)
    deadline = time.monotonic() + 30.0
    while True:
        told = sums(folder, portal, secret)
        if len(set(told.values())) == 1 or time.monotonic() > deadline:
            break
        time.sleep(0.5)  # the portal counts what is stored; the last rows may be under way
    for who, (requests, cost) in told.items():
        print(f"  {who:16} {requests:8,} requests  {cost / NANO:.9f} USD")
    store = Store(folder / "store.db", records.encode, records.decode, read_only=True)
    stored = [one.request_id for one in store.each(Usage, datetime(2000, 1, 1, tzinfo=UTC), datetime.now(UTC))]
    store.close()
    missing, twice = len(answered - set(stored)), len(stored) - len(set(stored))
    print(f"  {len(answered):,} answered; {missing} of them are not in the records, {twice} are there twice")
    return len(set(told.values())) == 1 and not missing and not twice


def rotated(folder: Path, portal: Portal, keys: int, seconds: float) -> tuple[list[Load], str, str]:
    """The load under each of some keys, turned evenly in it; the last key and its secret. A key has at most eight
    secrets that are valid still, so that some keys are needed for many turns."""
    loads = []
    for number in range(keys):
        key, secret = portal.make(f"web{number}")
        with load(folder, secret) as one:
            for turn in range(TURNS):
                time.sleep(seconds / keys / (TURNS + 1))
                secret = portal.rotate(key, 1)
                if turn % 3 == 1:
                    secret = portal.rotate(key, 1)  # the answer before was lost: asked again
                one.key = secret
            time.sleep(seconds / keys / (TURNS + 1))
        loads.append(one)
    return loads, key, secret


def refused_after(folder: Path, portal: Portal, key: str, secret: str) -> float:
    """Seconds from the revocation's answer until the key is refused."""
    url, head = state(folder)["openai_base_url"], {"authorization": f"Bearer {secret}"}
    portal.revoke(key)
    began = time.monotonic()
    while httpx.get(f"{url}/models", headers=head).status_code != 401:
        time.sleep(0.01)
    return time.monotonic() - began


def played(folder: Path, keys: int, seconds: float) -> int:
    link = json.loads(tieline("people", "add", "olive", "--role", "owner", "--tenant", "demo", "--json",
                              "--data-dir", str(folder)))["link"]  # fmt: skip
    portal = Portal(folder)
    portal.join(link.partition("#")[2])
    loads, key, secret = rotated(folder, portal, keys, seconds)
    answered = {id_ for one in loads for id_ in one.answered}
    failed = sum(one.failed for one in loads)
    print(f"{len(answered):,} requests over {keys * TURNS} rotations of {keys} keys: {failed} failed")
    well = agree(folder, portal, secret, answered) and not failed
    gone = refused_after(folder, portal, key, secret)
    print(f"a revoked key was refused after {gone:.2f} s")
    key, secret = portal.make("after")
    with load(folder, secret) as one:
        for name in PARTS:
            back = kill(folder, name)
            print(f"{name:8} killed, back in {'never' if back is None else f'{back:.1f} s'}", flush=True)
            well = well and back is not None and back <= max(BACK_S, GIVE_UP_S)
            time.sleep(2.0)
    portal.sign_in()
    print(
        f"{len(one.answered):,} more requests while every part was killed, {one.failed} of them failed at their client"
    )
    return 0 if agree(folder, portal, secret, answered | set(one.answered)) and well and gone <= 1.0 else 1


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--keys", type=int, default=4, help=f"each is turned {TURNS} times")
    given.add_argument("--seconds", type=float, default=60.0)
    given.add_argument("--keep", type=Path, help="a new folder for the data, which is then left there")
    asked = given.parse_args()
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="tieline-tenant-"))
    fleet = Path(tempfile.mkdtemp(prefix="tieline-tenant-fleet-")) / "fleet.toml"
    text = (Path(app.__file__).parent / "demo" / "fleet.toml").read_text(encoding="utf-8")
    # Otherwise the demo's limit of ten requests a second would be what is measured.
    fleet.write_text(text.replace("requests_per_minute = 600", "requests_per_minute = 1000000"), encoding="utf-8")
    ports = ("--console-port", "0", "--gateway-port", "0", "--feeds", "synthetic")
    tieline("up", "-d", "--config", str(fleet), *ports, "--data-dir", str(folder))
    print(f"on {processor()}, {os.cpu_count()} cores")
    try:
        return played(folder, asked.keys, asked.seconds)
    finally:
        subprocess.run([*COMMAND, "down", "--data-dir", str(folder)], check=False, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    raise SystemExit(main())

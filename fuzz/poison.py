"""Poison for everything that listens: records made from the types themselves, and mutated messages.

    python fuzz/poison.py [--items 100000] [--messages 10000] [--seed 1] [--data-dir DIR]

Starts a platform of its own, pushes records of every type over the link (fields within their bounds and at their very
ends, fields that no type allows, whole items torn), publishes mutated messages on every subject, sends mutated bytes to
both HTTP doors, then stops it and starts it again. It passes where each item was stored, set aside or refused within a
second, each HTTP request got a framed answer or an orderly end, no part is down or not well before and after, none died
meanwhile, and the world's clock is within a second of the wall's. Prints what broke with the seed that brings it back.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
from msgspec import inspect

from tieline import config
from tieline.app.up import PART_NAMES
from tieline.link import Ack
from tieline.link.users import inbox_of, password_of, site_user
from tieline.records import AnyRecord

BATCH: Final = 100
ANSWER_S: Final = 1.0
# A door may hold a request that is not whole for as long as its own time-outs say; then it answers or closes.
DOOR_S: Final = 2.0
SETTLE_S: Final = 8.0
CLOCK_OFF: Final = timedelta(seconds=1)

# --- values ------------------------------------------------------------------------------

_DEEP = "[" * 40_000 + "]" * 40_000
# Raw JSON that no field of a record should take.
EVIL: Final = (
    "null", "true", "[]", "{}", '""', "1e999", "-1e308", "1e-400", "NaN", "Infinity", str(10**30), str(-(2**63) - 1),
    '"\\ud800"', '"a\\u0000b"', '"|"', '"' + "x" * 5_000 + '"', '"2026-01-01T00:00:00"', '"9999-12-31T23:59:59Z"',
    '"0001-01-01T00:00:00+23:59"', '"9990-01-01T00:00:00Z"', '"NaN"', '"1E+400"', '"1E-999999"', '"sNaN"', _DEEP,
)  # fmt: skip


@dataclass
class Poison:
    """Makes items and messages; the same seed makes the same."""

    seed: int
    answer_s: float = ANSWER_S
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        fleet = config.demo().fleet
        self.sites = [site.id for site in fleet.sites]
        self.units = [unit.id for site in fleet.sites for unit in site.units]
        self.types = {kind.__name__: inspect.type_info(kind) for kind in get_args(AnyRecord)}

    def item(self, now: datetime, *, torn: bool = False) -> bytes:
        """One item: half are within the types' bounds, the others evil in a field or two; `torn`: damaged as bytes."""
        name = self.random.choice(list(self.types))
        info = self.types[name]
        assert isinstance(info, inspect.StructType)
        fields = {one.encode_name: self.value(one.type, one.name, now) for one in info.fields if self._wanted(one)}
        draw = self.random.random()
        if draw < 0.4:
            for spoilt in self.random.choices(list(fields), k=self.random.choice((1, 1, 2))):
                fields[spoilt] = self.random.choice(EVIL)
        elif draw < 0.45:
            fields["zz"] = self.random.choice(EVIL)
        text = "{" + ",".join([f'"type":"{name}"', *(f'"{k}":{v}' for k, v in fields.items())]) + "}"
        return self.mutated(text.encode()) if torn else text.encode()

    def mutated(self, data: bytes) -> bytes:
        """The same, damaged somewhere."""
        out = bytearray(data)
        for _ in range(self.random.randint(1, 4)):
            at = self.random.randrange(len(out) + 1)
            match self.random.randrange(5):
                case 0:
                    out[at : at + 1] = bytes([self.random.randrange(256)])
                case 1:
                    del out[at : at + self.random.randint(1, 60)]
                case 2:
                    out[at:at] = out[self.random.randrange(len(out) + 1) :][: self.random.randint(1, 200)]
                case 3:
                    out[at:at] = self.random.choice(EVIL).encode("utf-8", "surrogatepass")
                case _:
                    out = out[:at]
        return bytes(out)

    def _wanted(self, one: inspect.Field) -> bool:
        return one.required or self.random.random() < 0.5

    def value(self, kind: inspect.Type, name: str, now: datetime) -> str:
        """Raw JSON that the type takes; often at its very ends."""
        pick = self.random
        match kind:
            case inspect.UnionType():
                return self.value(pick.choice(kind.types), name, now)
            case inspect.NoneType():
                return "null"
            case inspect.BoolType():
                return pick.choice(("true", "false"))
            case inspect.IntType():
                low, high = kind.ge if kind.ge is not None else -(2**60), kind.le if kind.le is not None else 2**60
                return str(pick.choice((low, high, 0 if low <= 0 else low, pick.randint(int(low), int(high)), 1, 300)))
            case inspect.FloatType():
                low = kind.ge if kind.ge is not None else 5e-324 if kind.gt is not None else -1e300
                high = kind.le if kind.le is not None else 1e300
                ends = (
                    low,
                    high,
                    max(low, 0.0),
                    max(low, 5e-324),
                    min(1.0, high),
                    min(1e6, high),
                    pick.uniform(low, high),
                )
                return json.dumps(pick.choice(ends))
            case inspect.DecimalType():
                return json.dumps(pick.choice(("0", "-1E15", "1E-20", "97123.45", "-0.01")))
            case inspect.DateTimeType():
                return json.dumps(self.moment(name, now).isoformat())
            case inspect.LiteralType():
                return json.dumps(pick.choice(kind.values))
            case inspect.StrType():
                return json.dumps(self.text(name))
            case inspect.DictType():
                keys = {self.text("key"): self.value(kind.value_type, name, now) for _ in range(pick.randint(0, 3))}
                return "{" + ",".join(f"{json.dumps(k)}:{v}" for k, v in keys.items()) + "}"
            case inspect.VarTupleType() | inspect.ListType():
                return "[" + ",".join(self.value(kind.item_type, name, now) for _ in range(pick.randint(0, 4))) + "]"
            case inspect.StructType():
                parts = (f'"{f.encode_name}":{self.value(f.type, f.name, now)}' for f in kind.fields if self._wanted(f))
                return "{" + ",".join(parts) + "}"
        raise NotImplementedError(type(kind).__name__)

    def moment(self, name: str, now: datetime) -> datetime:
        """Mostly about now; sometimes years away, in another zone, or at the calendar's ends."""
        pick = self.random
        near = now - timedelta(seconds=pick.uniform(0, 3600))
        if name == "known_at":
            return pick.choice((near, near, near, now, now + timedelta(minutes=4), now - timedelta(days=4000)))
        ahead = now + timedelta(seconds=pick.uniform(0, 7200))
        far = (
            datetime(1900, 1, 1, tzinfo=UTC), datetime(8999, 12, 31, 23, 59, 59, tzinfo=UTC),
            now + timedelta(days=12_000), now - timedelta(days=5_000),
        )  # fmt: skip
        return pick.choice((near, near, near, ahead, ahead, pick.choice(far)))

    def text(self, name: str) -> str:
        pick = self.random
        if name == "site_id":
            return pick.choice((*pick.choices(self.sites, k=3), "nowhere"))
        if name == "unit_id":
            return pick.choice((*pick.choices(self.units, k=3), "none.such"))
        words = {
            "model": ("tieline-selftest", "other"), "tenant": ("demo", "nobody"), "key_id": ("demo", "x"),
            "base_url": ("http://127.0.0.1:9", "http://[::1", "", "ftp://x", "http://a:99999/"),
            "what": ("clock", "meter", "accept", "derate"), "target": (pick.choice(self.sites), "x"),
            "region": ("na-south", "eu", "zz"), "rule": ("4cp", "strike"), "market": ("ERCOT_HUBAVG_DA", "M"),
            "detail": ("", "2026-11-01T00:00:00+00:00", "x" * 300), "product": ("reserve", "dr"),
        }.get(name)  # fmt: skip
        return pick.choice(words if words is not None else ("a", "na-tx-01", "x" * 60, "\u00e9\U0001f600", "a.b:c@d"))


# --- the platform ------------------------------------------------------------------------


@dataclass
class Found:
    """What was seen: counts, and each thing that broke in one line."""

    counts: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


def command(data: Path, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "tieline", *words, "--data-dir", str(data)]
    return subprocess.run(line, capture_output=True, text=True, timeout=180, **more)


def up(data: Path) -> dict[str, Any]:
    done = command(data, "up", "-d", "--console-port", "0", "--gateway-port", "0")
    if done.returncode:
        raise SystemExit(f"the platform does not start: {done.stdout}{done.stderr}")
    return status(data)


def status(data: Path) -> dict[str, Any]:
    asked_at = datetime.now(UTC)
    found: dict[str, Any] = json.loads(command(data, "status", "--json").stdout)
    return found | {"asked_at": asked_at, "answered_at": datetime.now(UTC)}


def judge(found: Found, when: str, state: dict[str, Any], before: dict[str, Any] | None = None) -> None:
    """Every part ready and none started again since `before`, the clock the wall's."""
    known = {} if before is None else {part["name"]: part for part in before["parts"]}
    missing = set(PART_NAMES) - {part["name"] for part in state["parts"]}
    if missing:
        found.broken.append(f"{when}: no {', '.join(sorted(missing))}")
    for part in state["parts"]:
        if part["state"] != "ready":
            found.broken.append(f"{when}: {part['name']} is {part['state']}: {part['detail']}")
        if part["name"] in known and known[part["name"]]["pid"] != part["pid"]:
            found.broken.append(f"{when}: {part['name']} died and was started again: {part['detail']}")
    told, earliest, latest = datetime.fromisoformat(state["world_time"]), state["asked_at"], state["answered_at"]
    if not earliest - CLOCK_OFF <= told <= latest + CLOCK_OFF:
        found.broken.append(f"{when}: the world's clock said {told}, the wall's {earliest} to {latest}")


# --- over the link --------------------------------------------------------------------------


async def push_items(poison: Poison, link: Any, count: int, found: Found) -> None:
    """Batches of items; each item must come back stored, known already, set aside or refused. One in twenty is
    torn, and goes alone: what it does to the list around it is no sender's doing."""
    batch: list[bytes] = []
    for number in range(count):
        if number % 20 == 7:
            await _push(poison, link, [poison.item(datetime.now(UTC), torn=True)], found)
            continue
        body = poison.item(datetime.now(UTC))
        if len(batch) == BATCH or sum(map(len, batch)) + len(body) > 900_000:  # a message carries 1 MB
            await _push(poison, link, batch, found)
            batch = []
        batch.append(body)
    await _push(poison, link, batch, found)


async def _push(poison: Poison, link: Any, batch: list[bytes], found: Found) -> None:
    began = time.monotonic()
    # A site is believed only of itself, so most of what it says here is set aside; others may say anything.
    origin = poison.random.choice((poison.random.choice(poison.sites), "x", "gateway"))
    try:
        reply = await link.request(f"records.{origin}", b"[" + b",".join(batch) + b"]", timeout=10 * poison.answer_s)
        ack = msgspec.json.decode(reply.data, type=Ack)
    except Exception as error:  # any: whatever it is, it is what this looks for
        found.broken.append(f"a batch of {len(batch)} got no answer: {type(error).__name__} {error}")
        return
    took = time.monotonic() - began
    found.slowest_s = max(found.slowest_s, took)
    if took > poison.answer_s:
        found.broken.append(f"a batch of {len(batch)} was answered after {took:.1f} s")
    if ack.retry:
        found.broken.append(f"a batch was told to come again: {ack.error}")
    elif ack.error is not None:
        found.counts["refused"] += len(batch)
        if len(batch) > 1:
            found.broken.append(f"a batch of {len(batch)} whole items was refused: {ack.error}")
    else:
        found.counts["set aside"] += len(ack.refused)
        found.counts["stored or known"] += len(batch) - len(ack.refused)


async def publish_messages(poison: Poison, link: Any, count: int, found: Found) -> None:
    """Mutated messages on every subject that anybody follows or serves."""
    followed = ("replica.{site}.x", "plan.{site}", "plan.{x}", "command.{site}", "command.{x}", "live.{site}",
                "feeds.demand", "feeds.weathertick")  # fmt: skip
    served = ("plan.get.{site}", "orders.get.{site}", "orders.get.{x}", "feeds.get")
    for number in range(count):
        subject = poison.random.choice(followed if number % 10 else served)
        subject = subject.format(x="x", site=poison.random.choice(poison.sites))
        body = poison.item(datetime.now(UTC), torn=poison.random.random() < 0.5)
        if number % 10:
            await link.publish(subject, body)
            found.counts["published"] += 1
            if number % 50 == 1:
                await link.flush()
            continue
        try:
            await link.request(subject, body, timeout=10 * poison.answer_s)
            found.counts["asked"] += 1
        except Exception as error:  # any, as above
            found.broken.append(f"{subject} got no answer: {type(error).__name__}")


# --- over HTTP -----------------------------------------------------------------------------------


async def knock(poison: Poison, url: str, key: str, count: int, found: Found) -> None:
    """Mutated requests to one door: a status line, or an orderly close, within the door's time."""
    host, _, port = url.removeprefix("http://").partition("/")[0].partition(":")
    paths = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/files",
             "/v1/batches", "/admin/keys",
             "/healthz", "/api/overview", "/api/override", "/api/order", "/api/confirm", "/")  # fmt: skip
    for _ in range(count):
        body = json.dumps(
            {"model": "tieline-selftest", "max_tokens": 1, "messages": [{"role": "user", "content": "a"}]}
        )
        body = poison.random.choice((body, body[:-1] + ',"zz":' + poison.random.choice(EVIL) + "}"))
        data = body.encode("utf-8", "surrogatepass")
        if poison.random.random() < 0.6:
            data = poison.mutated(data)
        head = (
            f"POST {poison.random.choice(paths)} HTTP/1.1\r\nhost: {host}:{port}\r\nauthorization: Bearer {key}\r\n"
            f"content-type: application/json\r\nconnection: close\r\ncontent-length: {len(data)}\r\n\r\n"
        ).encode()
        if poison.random.random() < 0.2:
            head = poison.mutated(head)
        await _knock(host, int(port), head + data, found)


async def _knock(host: str, port: int, data: bytes, found: Found) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(data)
        writer.write_eof()
        async with asyncio.timeout(DOOR_S * 5):
            answer = await reader.read(65_536)
        kind = answer[:12].decode("latin-1") if answer else "closed"
        if answer and not answer.startswith(b"HTTP/1.1 "):
            found.broken.append(f"a door answered {answer[:40]!r}")
        found.counts[f"door: {kind}"] += 1
    except (ConnectionError, TimeoutError) as error:
        found.broken.append(f"a door: {type(error).__name__} for {data[:300]!r}")
    finally:
        writer.close()


# --- all of it --------------------------------------------------------------------------------------


class Everybody:
    """Says each thing as the user of the link that may say it."""

    def __init__(self, url: str, secret: str) -> None:
        self.url, self.secret = url, secret
        self._clients: dict[str, Any] = {}

    async def _as(self, subject: str) -> Any:
        import nats

        what, _, rest = subject.partition(".")
        users = {"records": "operator", "plan": "core", "command": "core", "feeds": "core"}
        user = users.get(what) or site_user(rest.split(".")[0])
        if ".get" in subject:
            user = "sites" if what == "feeds" else "gateway"
        if user not in self._clients:
            self._clients[user] = await nats.connect(
                self.url, user=user, password=password_of(self.secret, user), inbox_prefix=inbox_of(user).encode()
            )
        return self._clients[user]

    async def publish(self, subject: str, body: bytes) -> None:
        await (await self._as(subject)).publish(subject, body)

    async def request(self, subject: str, body: bytes, timeout: float) -> Any:
        return await (await self._as(subject)).request(subject, body, timeout=timeout)

    async def flush(self) -> None:
        for client in self._clients.values():
            await client.flush()

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()


async def attack(poison: Poison, data: Path, state: dict[str, Any], items: int, messages: int, found: Found) -> None:
    runtime = json.loads((data / "run" / "runtime.json").read_text())
    link = Everybody(runtime["link_url"], runtime["link_secret"])
    try:
        await push_items(poison, link, items, found)
        await publish_messages(poison, link, messages * 8 // 10, found)
        await link.flush()
    finally:
        await link.close()
    for url in (state["console_url"], state["openai_base_url"]):
        await knock(poison, url, state["demo_key"], messages // 10, found)


def run(
    data: Path, seed: int, items: int, messages: int, say: Callable[[str], None] = print, settle_s: float = SETTLE_S,
    answer_s: float = ANSWER_S,
) -> Found:  # fmt: skip
    """Start, poison, look, start again, look. The platform is down afterwards."""
    found = Found()
    before = up(data)
    try:
        began = time.monotonic()
        asyncio.run(attack(Poison(seed, answer_s), data, before, items, messages, found))
        say(f"{items:,} items and {messages:,} messages in {time.monotonic() - began:.0f} s; "
            f"slowest answer {found.slowest_s:.2f} s; {dict(sorted(found.counts.items()))}")  # fmt: skip
        time.sleep(settle_s)
        judge(found, "after the poison", status(data), before)
        command(data, "down")
        judge(found, "at the next start", up(data))
        time.sleep(settle_s)
        judge(found, "after the next start", status(data))
        for words in (("plan",), ("update",), ("quarantine", "list", "--json")):
            done = command(data, *words)
            if done.returncode:
                found.broken.append(f"tieline {' '.join(words)} ends with {done.returncode}: {done.stderr[-300:]}")
    finally:
        command(data, "down")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data-dir", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tieline-poison-") as folder:
        found = run(given.data_dir or Path(folder), given.seed, given.items, given.messages)
    for line, times in Counter(found.broken).most_common(40):
        print(f"BROKEN ({times} times): {line}")
    print("nothing broke" if not found.broken else f"{len(found.broken)} broke; again with --seed {given.seed}")
    sys.exit(1 if found.broken else 0)


if __name__ == "__main__":
    main()

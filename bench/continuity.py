"""The kill test: what a client sees when the engine behind an OpenAI-compatible endpoint dies under it.

    python bench/continuity.py [--step 1] [--peers DIR] [--out bench/out/continuity.json]
    python bench/continuity.py --base-url http://127.0.0.1:4000/v1 --ports 9001,9002
    python bench/continuity.py --base-url http://host:4000/v1 --model NAME --upstreams 2 \
        --hook kill='docker kill vllm-{n}' --hook start='docker start vllm-{n}' --hook stop=http://ops:1/freeze/{n}

The first starts two real llama.cpp engines (the self-test model) behind proxies that fail one answer at an exact
token, then Tieline's gateway before them, and LiteLLM too where `--peers` names a virtual environment that has it.
The second is for an endpoint of yours before those two engines: start this, point it at the addresses printed,
press return. The third fails upstreams of yours by commands or HTTP hooks, at every token a client has received.

Scored: failures a client sees, gaps, duplicates, silent truncations, wrong bills (usage, and for Tieline the
Usage record, against an undisturbed run), time to resume, engines stopped when a client leaves, `retry-after`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parent))
from continuity_client import Seen, Target, judge
from continuity_faults import ENGINE_FAULTS, STREAM_FAULTS, Engine, Plan, Plans, fetch, free_port
from continuity_subjects import Litellm, Other, Subject, Tieline
from machine import processor

MODEL = "tieline-self-test"
LIMIT = 60
COUNT = "Count from 1 to 60."
SITE = "Describe the site Aurora: 12 MW, 3 feeders."
PRICE = "What is the power price in ERCOT?"
_FIELDS = {
    "name": {"type": "string"}, "region": {"type": "string"}, "megawatts": {"type": "integer"},
    "feeders": {"type": "integer"},
}  # fmt: skip
_SCHEMA = {"type": "object", "properties": _FIELDS, "required": list(_FIELDS), "additionalProperties": False}
_TOOL = {
    "name": "get_price",
    "description": "power price of a market",
    "parameters": {"type": "object", "properties": {"market": {"type": "string"}}, "required": ["market"]},
}
STREAMED = {"stream": True, "stream_options": {"include_usage": True}}


def chat(text: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": MODEL, "messages": messages, "temperature": 0, "max_tokens": LIMIT, **more}


KINDS: dict[str, dict[str, Any]] = {
    "greedy text": chat(COUNT, **STREAMED),
    "not streamed": chat(COUNT),
    "json schema": chat(
        SITE, **STREAMED, response_format={"type": "json_schema", "json_schema": {"name": "site", "schema": _SCHEMA}}
    ),
    "tool call": chat(PRICE, **STREAMED, tools=[{"type": "function", "function": _TOOL}], tool_choice="required"),
    "sampled": chat(COUNT, **STREAMED) | {"temperature": 0.7, "seed": 7},
    "n=2": chat(COUNT, **STREAMED, n=2),
    "responses": {"model": MODEL, "input": COUNT, "temperature": 0, "max_output_tokens": LIMIT, "stream": True},
}
# Streams that fail at the same time; more would wait for each other's failovers.
AT_ONCE = 8
# A client whose answer is not whole by then calls it a failure.
PATIENCE_S = 15.0
# Whole answers are failed this long after the engine has them, in milliseconds.
WHOLE_MS = 40
# Uncached prompt tokens at which the time to resume is reported.
LENGTHS = (100, 300, 1_000)


@dataclass
class Tally:
    """Outcomes of one fault on one kind of request."""

    runs: int = 0
    missed: int = 0  # the answer was over before its fault
    wrong: Counter[str] = field(default_factory=Counter)
    resume_ms: list[float] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        out: dict[str, Any] = {"runs": self.runs, **self.wrong}
        if self.missed:
            out["not hit"] = self.missed
        if self.examples:
            out["examples"] = self.examples[:3]
        return out | spread(self.resume_ms)


def spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    if not ordered:
        return {}
    return {"resume_p50_ms": round(quantile(ordered, 0.5), 1), "resume_p99_ms": round(quantile(ordered, 0.99), 1)}


def quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Run:
    """One subject through all of it."""

    def __init__(self, subject: Subject, engines: list[Engine], plans: Plans, options: argparse.Namespace) -> None:
        self.subject, self.engines, self.plans, self.options = subject, engines, plans, options
        self.target: Target = subject.target
        self.dice = random.Random(options.seed)
        self.wholes: dict[str, Seen] = {}
        self.result: dict[str, Any] = {}
        self.records: list[tuple[str, str, Seen]] = []  # kind, request id, what the client saw

    def say(self, name: str, outcome: dict[str, Any]) -> None:
        self.result[name] = outcome
        print(f"{self.subject.name:9} {time.monotonic() - self.began:5.0f} s  {name:24} {outcome}", flush=True)

    async def all(self) -> dict[str, Any]:
        self.began = time.monotonic()
        for kind, body in KINDS.items():
            await self.ready()
            whole = await self.target.ask(body)
            if whole.well:
                self.wholes[kind] = whole
            else:
                self.say(kind, {"not served": f"{whole.status} {whole.error or whole.broken or 'no proper end'}"})
        for kind in self.wholes:
            for fault in STREAM_FAULTS + ENGINE_FAULTS:
                if self.wanted(kind, fault):
                    await (self.concurrently if fault in STREAM_FAULTS else self.one_by_one)(kind, fault)
        if self.wanted("notice"):
            await self.notice()
        for fault in ("cut", "stall"):
            if self.wanted("resume", fault):
                await self.resume_times(fault)
        if self.wanted("client"):
            await self.cancelled()
        if self.wanted("retry"):
            await self.retry_after()
        if audit := await self.subject.audit(self.records):
            self.say("usage records", audit)
        return self.result

    def wanted(self, *words: str) -> bool:
        pick = self.options.pick
        return not pick or any(all(one in words for one in group.split("+")) for group in pick.split(","))

    # --- faults at positions --------------------------------------------------------

    def positions(self, kind: str, fault: str) -> list[int]:
        """Tokens before the fault; milliseconds for whole answers."""
        options, tokens = self.options, len(self.wholes[kind].token_at)
        if kind == "greedy text" and fault != "freeze":
            return list(range(0, tokens + 1, options.step if self.subject.ours else options.peer_step))
        sample = options.sample if self.subject.ours else max(2, options.sample // 2)
        count = sample if fault in STREAM_FAULTS else max(1, sample // 3)
        if kind == "not streamed":
            return [self.dice.randrange(WHOLE_MS) for _ in range(count)]
        return sorted(self.dice.sample(range(1, max(2, tokens)), min(count, max(1, tokens - 1))))

    async def concurrently(self, kind: str, fault: str) -> None:
        tally = Tally()
        await self.ready()
        await gathered([self.run(kind, Plan(fault, at), tally) for at in self.positions(kind, fault)], AT_ONCE)
        self.say(f"{kind} / {fault}", tally.plain())

    async def one_by_one(self, kind: str, fault: str) -> None:
        tally = Tally()
        for at in self.positions(kind, fault):
            await self.ready()
            await self.run(kind, Plan(fault, at), tally)
        self.say(f"{kind} / {fault}", tally.plain())

    async def run(self, kind: str, plan: Plan, tally: Tally) -> None:
        seen = await self.target.ask(self.plans.add(plan, KINDS[kind]), timeout_s=PATIENCE_S)
        tally.runs += 1
        if not plan.fired:
            tally.missed += 1
        wrong = judge(kind, seen, self.wholes[kind], LIMIT)
        for word in wrong:
            tally.wrong[word] += 1
            told = seen.error or f"{seen.finishes.get(0)} {seen.text or seen.tool!r}"
            tally.examples.append(f"at {plan.at}: {word}: {seen.status} {told}"[:240])
        if request := seen.headers.get("x-request-id"):
            self.records.append((kind, request, seen))
        later = [at for at in seen.token_at if at > plan.fired_at + 0.001]
        if plan.fired and later and seen.well:
            since = plan.left_at if plan.fault in ("stall", "loris", "freeze") and plan.left_at else plan.fired_at
            tally.resume_ms.append(max(0.0, later[0] - since) * 1e3)

    # --- an announced curtailment -----------------------------------------------------

    async def notice(self) -> None:
        """Several paced streams; one site is told to go dark and is off a second later."""
        tally = Tally()
        for round_ in range(self.options.notices):
            await self.ready()
            body = KINDS["greedy text"]
            jobs = []
            for _ in range(AT_ONCE):
                plan = Plan("", -1, pace_s=0.03)
                jobs.append(asyncio.create_task(self.target.ask(self.plans.add(plan, body))))
                await asyncio.sleep(0.05)
            await asyncio.sleep(self.dice.uniform(0.1, 0.5))
            going = self.engines[round_ % 2]
            told = await self.subject.notice(going)
            await asyncio.sleep(1.0)
            going.kill()
            for seen in await asyncio.gather(*jobs):
                tally.runs += 1
                for word in judge("notice", seen, self.wholes["greedy text"], LIMIT):
                    tally.wrong[word] += 1
                    tally.examples.append(f"{word}: {seen.error}"[:160])
                gaps = [b - a for a, b in zip(seen.token_at, seen.token_at[1:], strict=False)]
                tally.resume_ms.append(max(gaps, default=0.0) * 1e3)
            await self.subject.back(going)
        outcome = tally.plain() | {"told": told}
        self.say("greedy text / notice", {k.replace("resume", "longest_gap"): v for k, v in outcome.items()})

    # --- how long it takes --------------------------------------------------------------

    async def resume_times(self, fault: str) -> None:
        """By prompt tokens that the next replica has not seen, beside the first token's time for the same. A stall
        counts from the moment the endpoint leaves the silent connection, and so does its detection."""
        count = self.options.resumes if self.subject.ours else max(2, self.options.resumes // 10)
        if fault == "stall":
            count = max(2, count // 3)
        for length in LENGTHS:
            times: list[float] = []
            detected: list[float] = []
            firsts: list[float] = []

            async def one(
                length: int = length, times: list[float] = times, detected: list[float] = detected,
                firsts: list[float] = firsts,
            ) -> bool:  # fmt: skip
                plan = Plan(fault, 5)
                body = chat(self.words(length), **STREAMED) | {"max_tokens": 12}
                seen = await self.target.ask(self.plans.add(plan, body))
                later = [at for at in seen.token_at if at > plan.fired_at + 0.001]
                if not plan.fired or not seen.well or not later:
                    return not plan.fired
                firsts.append((seen.token_at[0] - seen.asked_at) * 1e3)
                since = plan.left_at if fault == "stall" else plan.fired_at
                times.append(max(0.0, later[0] - since) * 1e3)
                detected.append((plan.left_at - plan.fired_at) * 1e3)
                return True

            await self.ready()
            jobs = [one() for _ in range(count)]
            failed = (await gathered(jobs, 1 if fault == "cut" else 2)).count(False)
            outcome: dict[str, Any] = {"runs": count} | spread(times)
            if failed:
                outcome["not resumed"] = failed
            if firsts:  # what the engine takes for such a prompt anyway
                outcome["first_token_p50_ms"] = round(quantile(sorted(firsts), 0.5), 1)
            if fault == "stall" and detected:
                outcome["detected_p50_ms"] = round(quantile(sorted(detected), 0.5))
            self.say(f"resume, {length} tokens / {fault}", outcome)

    def words(self, tokens: int) -> str:
        """A prompt of about so many tokens that no engine has seen."""
        known = ("site", "feeder", "power", "price", "grid", "load", "pool", "miner", "reserve", "market")
        return " ".join(f"{self.dice.choice(known)}" for _ in range(max(1, tokens - 14))) + f" {self.dice.random()}"

    # --- the client leaves; nobody is there ------------------------------------------

    async def cancelled(self) -> None:
        """How long until the engine is left, and is what was delivered billed?"""
        await self.ready()
        took, bills, alive = [], Counter[str](), 0
        for _ in range(self.options.sample):
            plan = Plan("", -1, pace_s=0.05)
            seen = await self.target.ask(self.plans.add(plan, KINDS["greedy text"]), leave_after=8)
            left = time.monotonic()
            for _ in range(200):
                if plan.left_at:
                    break
                await asyncio.sleep(0.01)
            if plan.left_at:
                took.append((plan.left_at - left) * 1e3)
            else:
                alive += 1
            if request := seen.headers.get("x-request-id"):
                bills[await self.subject.cancelled_bill(request, len(seen.token_at))] += 1
        outcome: dict[str, Any] = {"runs": self.options.sample, "still_running_after_2_s": alive}
        if took:
            outcome |= {"p50_ms": round(quantile(sorted(took), 0.5), 1), "max_ms": round(max(took), 1)}
        self.say("client leaves", outcome | {"billed": dict(bills)})

    async def retry_after(self) -> None:
        """Every engine answers 503: the client is told when to come again, and never later than two minutes."""
        await self.ready()
        right, statuses = 0, Counter[int]()
        self.plans.storm_until = time.monotonic() + 60
        jobs = [self.target.ask(chat("x") | ({"stream": True} if number % 2 else {})) for number in range(4)]
        for seen in await gathered(jobs, 4):
            statuses[seen.status] += 1
            wait = seen.headers.get("retry-after", "")
            right += seen.status in (429, 503) and wait.isdigit() and 1 <= int(wait) <= 120
        self.plans.storm_until = 0.0
        self.say("retry-after", {"runs": 4, "right": right, "statuses": dict(statuses)})

    async def ready(self) -> None:
        """Engines well, and the endpoint has seen it."""
        self.plans.storm_until = 0.0
        for engine in self.engines:
            await engine.heal()
        for _ in range(150):
            if await self.subject.well(self.engines):
                return
            await asyncio.sleep(0.1)


async def gathered(jobs: list[Coroutine[Any, Any, Any]], at_once: int) -> list[Any]:
    gate = asyncio.Semaphore(at_once)

    async def one(job: Coroutine[Any, Any, Any]) -> Any:
        async with gate:
            return await job

    return list(await asyncio.gather(*(one(job) for job in jobs)))


# --- upstreams of somebody else -----------------------------------------------------------


async def hooked(target: Target, options: argparse.Namespace) -> dict[str, Any]:
    """Greedy text; at each token a client has received, an upstream is failed by its hook: each in turn, since only
    the endpoint knows which one serves."""
    hooks = dict(one.partition("=")[::2] for one in options.hook)
    body = KINDS["greedy text"] | {"model": options.model, "max_tokens": options.tokens}
    whole = await target.ask(body)
    if not whole.well:
        sys.exit(f"the undisturbed run failed: {whole.status} {whole.error}")
    result: dict[str, Any] = {}
    for fault in ("kill", "stop"):
        if fault not in hooks:
            continue
        tally = Tally()
        for turn, at in enumerate(range(0, len(whole.token_at) + 1, options.step)):
            number = turn % options.upstreams
            seen = Seen()
            task = asyncio.create_task(target.ask(body, timeout_s=120.0, seen=seen))
            while len(seen.token_at) < at and not task.done():
                await asyncio.sleep(0.001)
            await call_hook(hooks[fault], number)
            struck = time.monotonic()
            await task
            tally.runs += 1
            later = [when for when in seen.token_at if when > struck]
            if not later:  # over before the hook had struck; generate more, or slower
                tally.missed += 1
            elif seen.well:
                tally.resume_ms.append((later[0] - struck) * 1e3)
            for word in judge("greedy text", seen, whole, LIMIT):
                tally.wrong[word] += 1
            if "start" in hooks:
                await call_hook(hooks["start"], number)
            for _ in range(600):
                if (await target.ask(body | {"max_tokens": 1})).well:
                    break
                await asyncio.sleep(0.2)
        result[f"greedy text / {fault}"] = tally.plain()
        print(f"{fault:6} {tally.plain()}", flush=True)
    return result


async def call_hook(hook: str, number: int) -> None:
    """A URL is posted to, anything else is run."""
    hook = hook.replace("{n}", str(number))
    if hook.startswith("http://"):
        parts = urlsplit(hook)
        await fetch(parts.port or 80, "POST", parts.path or "/", {}, host=parts.hostname or "127.0.0.1")
    else:
        process = await asyncio.create_subprocess_shell(hook)
        await process.wait()


# --- all of it ----------------------------------------------------------------------------


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", type=int, default=1, help="every n-th token position for greedy text")
    parser.add_argument("--peer-step", type=int, default=12, help="the same for peers, whose stalls take long")
    parser.add_argument("--sample", type=int, default=6, help="positions for the other kinds")
    parser.add_argument("--resumes", type=int, default=60, help="dropped connections per prompt length")
    parser.add_argument("--notices", type=int, default=6, help="announced curtailments, eight streams each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--peers", type=Path, default=os.environ.get("TIELINE_PEERS"))
    parser.add_argument("--pick", help="only these, as 'n=2,responses+cut,notice,resume+stall,client,retry'")
    parser.add_argument("--only", help="tieline or litellm")
    parser.add_argument("--base-url")
    parser.add_argument("--key", default="any")
    parser.add_argument("--ports", default="0,0", help="of the two engine addresses, for --base-url")
    parser.add_argument("--model", default=MODEL, help="for upstreams of yours")
    parser.add_argument("--tokens", type=int, default=LIMIT, help="to generate there")
    parser.add_argument("--upstreams", type=int, default=2, help="how many hooks may name")
    parser.add_argument("--hook", action="append", default=[], metavar="NAME=COMMAND-OR-URL")
    parser.add_argument("--out", type=Path, default=Path("bench/out/continuity.json"))
    return parser.parse_args()


async def main() -> None:
    options = arguments()
    began = time.monotonic()
    results: dict[str, Any] = {}
    if options.hook:
        parts = urlsplit(options.base_url)
        target = Target(parts.port or 80, options.key, parts.hostname or "127.0.0.1", parts.path.rstrip("/"))
        results["endpoint"] = await hooked(target, options)
    else:
        plans = Plans()
        engines = [Engine(name, plans, int(port)) for name, port in zip("ab", options.ports.split(","), strict=True)]
        with tempfile.TemporaryDirectory(prefix="tieline-continuity-") as folder:
            try:
                for engine in engines:
                    await engine.start()
                for subject in await subjects(options, engines, Path(folder)):
                    try:
                        if await subject.start(engines):
                            results[subject.name] = await Run(subject, engines, plans, options).all()
                        else:
                            results[subject.name] = {"error": "did not start"}
                    finally:
                        subject.stop()
            finally:
                for engine in engines:
                    engine.stop()
    hardware = {"cores": os.cpu_count(), "cpu": processor(), "kernel": platform.release(), "load": os.getloadavg()[0]}
    report = {
        "hardware": hardware,
        "engines": "two llama.cpp processes with the self-test model, one thread each",
        "step": options.step, "peer_step": options.peer_step, "sample": options.sample,
        "took_s": round(time.monotonic() - began), "results": results,
    }  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\n{hardware}\n")
    for name, result in results.items():
        print(f"{name:9} {score(result)}")


def score(result: dict[str, Any]) -> dict[str, Any]:
    """Runs, and what went wrong in them, greedy text apart from the other kinds."""
    out: dict[str, Any] = {}
    for group, mine in (("greedy", True), ("other", False)):
        total: Counter[str] = Counter()
        for name, row in result.items():
            if " / " in name and not name.startswith("resume") and name.startswith("greedy") is mine:
                total.update({k: v for k, v in row.items() if isinstance(v, int) and not k.endswith("_ms")})
        total.pop("told", None)
        out[group] = dict(total)
    return out


async def subjects(options: argparse.Namespace, engines: list[Engine], folder: Path) -> list[Subject]:
    if options.base_url:
        print("point your endpoint at", *(engine.url for engine in engines), "and press return")
        await asyncio.to_thread(sys.stdin.readline)
        parts = urlsplit(options.base_url)
        return [Other(Target(parts.port or 80, options.key, parts.hostname or "127.0.0.1", parts.path.rstrip("/")))]
    known: list[Subject] = [Tieline(folder / "tieline", await free_port())]
    if options.peers is not None and (Path(options.peers) / "bin" / "litellm").exists():
        known.append(Litellm(folder / "litellm", await free_port(), Path(options.peers)))
    return [one for one in known if options.only in (None, one.name)]


if __name__ == "__main__":
    asyncio.run(main())

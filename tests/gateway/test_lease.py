"""Budgets over several processes: never overshot, never falsely refused, whoever dies."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import given as cases
from hypothesis import settings as effort
from hypothesis import strategies as st
from tests.gateway.engines import Scripted
from tests.gateway.rig import free_port, settings

from tieline.gateway import workers
from tieline.gateway.lease import GRACE_S, LEASE_S, Coordinator, Fenced, Granted, Lacking
from tieline.gateway.settings import Key, Limits, Tenant, hash_key

BUDGET = 10_000
NAME = "tenant:t|month"

STEPS = st.lists(
    st.tuples(
        st.sampled_from(("ask", "settle", "die", "back", "wait", "read_disk")), st.integers(0, 2), st.integers(1, 4000)
    ),
    max_size=60,
)


class Model:
    """Gateways as the coordinator must believe them: what each has spent, reserved and free."""

    def __init__(self) -> None:
        self.coordinator = Coordinator({"tenant:t": BUDGET})
        self.now = 0.0
        self.disk = [0, 0, 0]
        self.granted = [0, 0, 0]
        self.reserved: list[list[int]] = [[], [], []]
        self.spent = [0, 0, 0]
        self.fence = [self.coordinator.join(str(i), {}, 0.0) for i in range(3)]

    def free(self, i: int) -> int:
        return self.granted[i] - self.spent[i] - sum(self.reserved[i])

    def committed(self) -> int:
        return sum(self.disk) + sum(sum(one) for one in self.reserved)

    def ask(self, i: int, cost: int) -> None:
        need = cost - max(0, min(self.free(i), cost))
        if need:
            outcome = self.coordinator.ask(str(i), self.fence[i], {NAME: need}, self.now)
            if isinstance(outcome, Fenced):
                return
            if isinstance(outcome, Lacking):
                for holder in map(int, outcome.holders):
                    hold = min(self.free(i), cost) if holder == i else 0
                    back = self.free(holder) - hold
                    self.coordinator.give_back(str(holder), self.fence[holder], {NAME: back})
                    self.granted[holder] -= back
                outcome = self.coordinator.ask(str(i), self.fence[i], {NAME: need}, self.now)
            if not isinstance(outcome, Granted):
                # The refusal is true: settled + reserved + this maximum does not fit.
                assert self.committed() + self.lost() + cost > BUDGET
                return
            self.granted[i] += outcome.amounts[NAME]
        self.reserved[i].append(cost)

    def lost(self) -> int:
        """Slices of the dead that are not freed yet: reserved, as the lease says."""
        held = self.coordinator.accounts[NAME].slices if NAME in self.coordinator.accounts else {}
        return sum(held.get(str(i), 0) - self.granted[i] for i in range(3))


@effort(max_examples=120, deadline=None)
@cases(STEPS)
def test_no_overshoot_and_no_false_refusal_in_any_order(steps: list[tuple[str, int, int]]) -> None:
    world = Model()
    for word, i, amount in steps:
        world.now += 0.1
        if word == "ask":
            world.ask(i, amount)
        elif word == "settle" and world.reserved[i]:
            cost = world.reserved[i].pop()
            actual = min(cost, amount)
            world.spent[i] += actual
            world.disk[i] += actual
        elif word == "die":
            world.reserved[i].clear()
            world.granted[i] = world.spent[i] = 0
            world.fence[i] = world.coordinator.join(str(i), {NAME: world.disk[i]}, world.now)
        elif word == "wait":
            world.now += LEASE_S + GRACE_S
            for j in range(3):
                world.coordinator.renew(str(j), world.fence[j], world.now)
        assert world.committed() <= BUDGET
        account = world.coordinator.accounts.get(NAME)
        assert account is None or account.free >= 0


def test_a_silent_gateway_keeps_its_slice_until_its_lease_is_over() -> None:
    coordinator = Coordinator({"tenant:t": 100})
    first = coordinator.join("a", {}, 0.0)
    second = coordinator.join("b", {}, 0.0)
    assert isinstance(coordinator.ask("a", first, {NAME: 80}, 0.0), Granted)
    assert isinstance(coordinator.ask("b", second, {NAME: 50}, 5.0), Lacking)
    assert coordinator.lapsed(LEASE_S + GRACE_S - 0.1) == []
    later = LEASE_S + GRACE_S + 0.1
    assert coordinator.lapsed(later) == ["a"]
    coordinator.drop("a", {NAME: 30})  # what its disk says
    assert isinstance(coordinator.ask("b", second, {NAME: 50}, later), Granted)
    assert isinstance(coordinator.ask("a", first, {NAME: 1}, later), Fenced)
    assert LEASE_S + GRACE_S <= 10.0


def test_500_at_once_over_three_processes_one_of_them_killed(tmp_path: Path) -> None:
    """Real processes on one port. Every answer is 200 or a true refusal; what is on disk never passes the
    budget; in the end less than one request's maximum is left unspent."""
    words = ("w ",) * 20
    cost = 20 * 400  # nano-dollars of the answer; the prompt is free in this tariff
    budget = 300 * cost
    key = Key(id="k", sha256=hash_key("sk"), tenant="t")
    tenant = Tenant(id="t", limits=Limits(budget_usd=Decimal(budget) / 10**9))

    async def call(port: int, number: int) -> tuple[int, str]:
        body = {"model": "m", "messages": [{"role": "user", "content": str(number)}], "max_tokens": 20}
        text = json.dumps(body).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n" % len(text) + text
        )
        try:
            answer = await asyncio.wait_for(reader.read(), 20)
        finally:
            writer.close()
        status = int(answer.split(b" ", 2)[1])
        return status, "" if status == 200 else json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"]

    async def persistent(port: int, number: int, gate: asyncio.Semaphore) -> str:
        """A client with patience: it tries again what may be tried again."""
        dice = random.Random(number)
        async with gate:
            for _ in range(200):
                try:
                    status, code = await call(port, number)
                except (OSError, IndexError, TimeoutError):
                    code, status = "connection", 0
                if status == 200 or code == "insufficient_quota":
                    return code
                await asyncio.sleep(0.05 + 0.1 * dice.random())
            return code

    async def body() -> None:
        async with Scripted(words=words, pause_s=0.0, slots=200) as engine:
            from tieline.gateway.settings import Model as Offer

            offer = Offer(name="m", output_usd_per_mtok=Decimal("0.4"))
            given = settings(engine.url, models=(offer,), tenants=(tenant,), keys=(key,), port=free_port())
            stop = asyncio.Event()
            parent = asyncio.create_task(workers.supervise(given, tmp_path, 3, stop))
            await _listening(given.port)
            gate = asyncio.Semaphore(500)
            tasks = [asyncio.create_task(persistent(given.port, n, gate)) for n in range(500)]
            await asyncio.sleep(0.3)
            os.kill(_pid_of(tmp_path / "worker-1"), signal.SIGKILL)
            results = await asyncio.gather(*tasks)
            # What the killed process held stays reserved until its lease is fenced, and a refusal until then is a
            # true one. After that whoever still asks gets what is left.
            number = 500
            while results.count("") < 300 and number < 560:
                await asyncio.sleep(0.25)
                results.append(await persistent(given.port, number, gate))
                number += 1
            stop.set()
            await parent
            spent = sum(sum((workers.audit(tmp_path, f"worker-{i}") or {}).values()) for i in range(3))
            assert spent <= budget
            assert spent > budget - cost, results.count("insufficient_quota")
            served = results.count("")
            assert served * cost <= spent  # what a killed process had on disk but not yet answered is the difference
            assert set(results) == {"", "insufficient_quota"}

    asyncio.run(body())


async def _listening(port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                answer: Any = json.loads((await reader.read()).partition(b"\r\n\r\n")[2])
                writer.close()
                if answer["ready"]:
                    return
            except (OSError, ValueError):
                pass
            await asyncio.sleep(0.05)


def _pid_of(folder: Path) -> int:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(folder).encode() in words and b"tieline.gateway.workers" in words:
                return int(entry.name)
    raise LookupError(f"no worker in {folder}")


assert hasattr(socket, "SO_REUSEPORT")

"""Cut, flapping, one-way, slow and forgotten links between a running agent and the real server: orders hold, and what
was kept arrives, each once."""

import asyncio
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from tests.app.badlink import BadLink
from tests.app.link_place import A, Place, place, until
from tests.app.test_commands import faults, give, order

from tieline.app.joins import LINK_FOLDER, config_of
from tieline.app.sites_part import modelled
from tieline.clock import WallClock, wall_now
from tieline.config import Config, demo
from tieline.edge.agent import Agent
from tieline.edge.sites import SiteAgents, SiteHost
from tieline.link import LateLink, Link, LinkUser, transport
from tieline.link.signing import public_key
from tieline.link.users import site_user
from tieline.records import MeterReading
from tieline.tasks import Registry


def readings(first: int, count: int) -> list[MeterReading]:
    """Of so many different minutes."""
    start = wall_now().replace(second=0, microsecond=0) - timedelta(hours=3)
    return [
        MeterReading(
            at=(at := start + timedelta(minutes=first + n)), known_at=at, source=f"site:{A}", kind="measured",
            site_id=A, length_s=60, readings=1, power_w=1e6, power_max_w=1e6, last_heard=at,
        )
        for n in range(count)
    ]  # fmt: skip


def stored(here: Place) -> Counter[object]:
    now = wall_now()
    found = here.store.between(MeterReading, now - timedelta(hours=4), now - timedelta(minutes=30))
    return Counter(one.at for one in found)


def held(agent: Agent) -> set[str]:
    return {one.instruction_id for one in agent.orders.orders(agent.now).instructions}


async def bad(proxy: BadLink, how: str) -> None:
    """Some seconds of it, and then it is well again."""
    match how:
        case "cut":
            proxy.cut = True
            proxy.drop()
            await asyncio.sleep(1.5)
            proxy.cut = False
        case "flapping":
            for _ in range(6):
                proxy.drop()
                await asyncio.sleep(0.3)
        case "up stalled" | "down stalled":
            proxy.stalled = {"up" if how.startswith("up") else "down"}
            await asyncio.sleep(1.5)
            if how.startswith("down"):  # what it pushed arrived; that it did never comes back
                proxy.drop()
            proxy.stalled = set()
        case "slow":
            proxy.delay_s = 0.4
            await asyncio.sleep(3.0)
            proxy.delay_s = 0.0
        case "forgotten":
            before = proxy.made
            proxy.forget()
            async with asyncio.timeout(30):
                while proxy.made == before:
                    await asyncio.sleep(0.02)


@pytest.mark.timeout(240)
def test_orders_hold_and_records_arrive_once_over_bad_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "PING_S", 0.5)
    pushing = sys.modules["tieline.link.push"]  # its name in the package is its function's
    monkeypatch.setattr(pushing.push, "__defaults__", (2.0,))  # a push whose answer is lost is sent again sooner

    async def story() -> None:
        data, folder = tmp_path / "data", tmp_path / "site"
        data.mkdir()
        async with place(data) as here:
            proxy = BadLink(here.runtime.link_user("x").port)
            await proxy.start()
            agents = site(here, folder, proxy)
            await agents.start()
            agent, _ = agents.running[A]
            kept = 0
            try:
                for how in ("cut", "flapping", "up stalled", "down stalled", "slow", "forgotten"):
                    await until(lambda: agent.link.up)
                    trouble = asyncio.create_task(bad(proxy, how))
                    await asyncio.sleep(0.1)
                    for _ in range(5):
                        agent.keep(readings(kept, 4))
                        kept += 4
                        await asyncio.sleep(0.05)
                    # At the site itself, whatever the link does; and from the core, as soon as it comes through.
                    agent.take(order(f"here {how}"), agent.clock.now())
                    assert f"here {how}" in held(agent)
                    await give(here, order(f"core {how}"))
                    await trouble
                    async with asyncio.timeout(60):
                        while f"core {how}" not in held(agent) or len(stored(here)) < kept:
                            await asyncio.sleep(0.05)
                    assert set(stored(here).values()) == {1}
                    await until(lambda: not meters(agent))
                assert faults(here, "command") == []  # nothing of it was taken for a forgery
            finally:
                await agents.close()
                await proxy.stop()

    asyncio.run(story())


def meters(agent: Agent) -> int:
    """Readings that wait in the outbox."""
    return sum(key.startswith("MeterReading|") for _, key, _ in agent.outbox.take(10_000))


def site(here: Place, folder: Path, proxy: BadLink) -> SiteAgents:
    """The agents of a process that runs one site, which dials through the proxy."""
    config = msgspec.json.decode(config_of(demo(), A), type=Config)
    device, meter = modelled(config)

    async def connect(user: str) -> Link:
        name = site_user(A)
        return LateLink(LinkUser(f"nats://127.0.0.1:{proxy.port}", name, here.runtime.link_password(name)))

    host = SiteHost(
        config, WallClock(), folder, connect, device_factory=device, meter_factory=meter,
        command_key=public_key(here.runtime.data / LINK_FOLDER),
    )  # fmt: skip
    return SiteAgents(host, Registry())

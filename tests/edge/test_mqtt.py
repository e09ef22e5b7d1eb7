"""Orders by MQTT through real brokers: copies, retained and late messages, brokers that die, a restart."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from amqtt.broker import Broker
from tests.edge.edge_bench import make_site
from tests.edge.test_orders import Desk

from tieline.app.runtime import free_port
from tieline.clock import WallClock, wall_now
from tieline.edge.orders.mqtt import COUNTS_ANEW, MqttBroker, MqttSource
from tieline.edge.plant.hardware import HardwareError, load_hardware
from tieline.feeds.notices.standing import SilencePolicy, SourceError
from tieline.link.certificate import make_certificates
from tieline.records import Fault

TOPIC = "grid/site-7"
logging.getLogger("amqtt").setLevel(logging.CRITICAL)
logging.getLogger("transitions").setLevel(logging.CRITICAL)


@contextlib.asynccontextmanager
async def broker(port: int, secure: dict[str, Any] | None = None) -> AsyncIterator[Broker]:
    made = Broker({
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}} | ({"secure": secure} if secure else {}),
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    })  # fmt: skip
    await made.start()
    try:
        yield made
    finally:
        await made.shutdown()


async def say(port: int, number: int, *orders: dict[str, Any], retain: bool = False, text: bytes | None = None) -> None:
    body = json.dumps({"number": number, "orders": orders}).encode() if text is None else text
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.publish(TOPIC, body, qos=1, retain=retain)


def order(limit_mw: float, **more: Any) -> dict[str, Any]:
    return {"id": "a", "limit_mw": limit_mw} | more


def source(tmp_path: Path, *ports: int, **more: Any) -> MqttSource:
    brokers = tuple(MqttBroker(f"mqtt://127.0.0.1:{port}") for port in ports)
    return MqttSource(brokers, TOPIC, tmp_path / "mqtt.json", "grid/ack", **more)


async def until(desk: Desk, condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await desk.step()
            await asyncio.sleep(0.05)


def test_two_brokers_say_it_once_and_what_is_old_says_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        one, two = free_port(), free_port()
        async with broker(one):
            async with broker(two):
                it = Desk(tmp_path, said := source(tmp_path, one, two))
                await until(it, lambda: len(said._up) == 2)
                for port in (one, two, one):
                    await say(port, 1, order(5))
                await until(it, lambda: it.bench.true_mw <= 5.01)
                assert [o.limit_w for o in it.orders()] == [5e6]
                await say(two, 2, order(3), retain=True)
                await until(it, lambda: it.bench.true_mw <= 3.01)
                for old in (1, 0):
                    await say(one, old)
                await say(one, 9, text=b'{"number": "x"}')
                await until(it, lambda: said.doubt is not None)
                assert it.bench.true_mw <= 3.01
            await until(it, lambda: len(said._up) == 1)  # the second broker died: the first one serves
            await say(one, 3, order(4))
            await until(it, lambda: [o.limit_w for o in it.orders()][-1] == 4e6)
            async with broker(two):  # and is back, with what it retained or without: no older word counts
                await until(it, lambda: len(said._up) == 2)
                await say(two, 2, order(3))
                await it.step(3)
                assert [o.limit_w for o in it.orders()] == [5e6, 3e6, 4e6]
                await said.close()
                # Another start of the agent, which hears an old message first.
                again = source(tmp_path, one, two)
                await say(two, 2, order(0), retain=True)
                later = Desk(tmp_path / "later", again)
                await until(later, lambda: len(again._up) == 2 and again._older is not None)
                await later.step(2)
                assert {o.limit_w for o in later.orders()} == {4e6}
                later.bench.clock.set(later.bench.clock.now() + COUNTS_ANEW + timedelta(seconds=1))
                await until(later, lambda: "go on from there" in str(again.doubt))
                await say(one, 4)
                await until(later, lambda: later.orders()[-1].until <= later.bench.clock.now())
                await again.close()

    (tmp_path / "later").mkdir()
    asyncio.run(story())


def test_over_tls_a_broker_is_known_by_its_authority_and_by_nothing_else(tmp_path: Path) -> None:
    async def story() -> None:
        now, folder, other = wall_now(), tmp_path / "tls", tmp_path / "other"
        for one in (folder, other):
            make_certificates(one, ["localhost", "127.0.0.1"], now)
        secure, plain = free_port(), free_port()
        files = {"certfile": str(folder / "server.pem"), "keyfile": str(folder / "server.key")}
        async with broker(plain, {"bind": f"127.0.0.1:{secure}", "type": "tcp", "ssl": True, **files}):
            at = f"mqtts://localhost:{secure}"
            made = MqttBroker(at, ca=folder / "authority.pem")
            said = MqttSource((made,), TOPIC, tmp_path / "mqtt.json", "grid/ack")
            it = Desk(tmp_path, said)
            await until(it, lambda: len(said._up) == 1)
            await say(plain, 1, order(5))
            await until(it, lambda: it.bench.true_mw <= 5.01)
            await said.close()
            strangers = {
                MqttBroker(at, ca=other / "authority.pem"): "certificate",
                MqttBroker(at): "certificate",
                MqttBroker(at, ca=tmp_path / "none.pem"): "No such file",
            }
            for wrong, why in strangers.items():
                stranger = MqttSource((wrong,), TOPIC, tmp_path / "x.json")
                heard = await refusal(stranger)
                assert why in heard
                await stranger.close()

    asyncio.run(story())


async def refusal(stranger: MqttSource) -> str:
    """Why nothing is heard of it, once it has tried."""
    async with asyncio.timeout(15):
        while True:
            with pytest.raises(SourceError) as caught:
                await stranger.read(wall_now())
            if "not connected yet" not in str(caught.value):
                return str(caught.value)
            await asyncio.sleep(0.05)


def test_brokers_that_are_gone_are_a_fault_and_the_source_takes_its_policy(tmp_path: Path) -> None:
    async def story() -> None:
        port = free_port()
        silence = SilencePolicy(timedelta(seconds=30), "curtail", 2e6)
        async with broker(port):
            it = Desk(tmp_path, said := source(tmp_path, port), silence)
            await until(it, lambda: said._up)
            await say(port, 1, order(5))
            await until(it, lambda: it.bench.true_mw <= 5.01)
        await until(it, lambda: not said._up)
        await until(it, lambda: it.bench.true_mw <= 2.01)
        faults = [r for r in it.bench.kept() if isinstance(r, Fault) and r.what == "orders mqtt"]
        assert "curtail" in faults[-1].detail or "127.0.0.1" in faults[-1].detail
        await said.close()

    asyncio.run(story())


def test_a_source_that_should_repeat_itself_and_does_not_is_silent(tmp_path: Path) -> None:
    async def story() -> None:
        port = free_port()
        async with broker(port):
            silence = SilencePolicy(timedelta(seconds=30), "curtail", 2e6)
            it = Desk(tmp_path, said := source(tmp_path, port, repeats=timedelta(seconds=60)), silence)
            await until(it, lambda: said._up)
            await say(port, 1, order(5))
            await until(it, lambda: it.orders() and it.orders()[0].limit_w == 5e6)
            await until(it, lambda: it.bench.true_mw <= 2.01)  # a minute of the bench's time and the bound
            await said.close()

    asyncio.run(story())


def test_what_is_taken_is_acknowledged(tmp_path: Path) -> None:
    async def story() -> None:
        port = free_port()
        async with broker(port), aiomqtt.Client("127.0.0.1", port) as client:
            await client.subscribe("grid/ack")
            it = Desk(tmp_path, said := source(tmp_path, port))
            await until(it, lambda: said._up)
            await say(port, 7, order(5))

            async def acknowledged() -> None:
                async for message in client.messages:
                    body = json.loads(message.payload)  # type: ignore[arg-type]
                    if (body["number"], body["in_force"]) == (7, ["a"]):
                        return

            waiting = asyncio.create_task(acknowledged())
            await until(it, waiting.done)
            await said.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ('brokers = []\ntopic = "t"', "brokers"),
        ('brokers = ["http://x"]\ntopic = "t"', "brokers"),
        ('brokers = ["mqtt://x"]', "topic"),
        ('brokers = ["mqtt://x"]\ntopic = "a/#"', "topic"),
        ('brokers = ["mqtt://x"]\ntopic = "t"\nrepeats_s = 0', "repeats_s"),
        ('brokers = ["mqtt://x"]\ntopic = "t"\npassword_file = "none"', "password_file"),
    ],
)
def test_what_a_sites_file_says_of_brokers_is_checked(tmp_path: Path, lines: str, says: str) -> None:
    (tmp_path / "edge.toml").write_text(f'[[orders]]\nsource = "mqtt"\n{lines}\n')
    with pytest.raises(HardwareError, match=says):
        load_hardware(tmp_path / "edge.toml", make_site(), WallClock())

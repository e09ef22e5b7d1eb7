"""Orders by MQTT from one broker or two that carry the same: what a message says is all that is asked for now.

A message is `{"number": 7, "orders": [...]}`, orders as in a file; an empty list is none. The number grows with each
change: the same message twice, a copy from the other broker, a retained one of before and one that comes late do
nothing. The last one that counted is on disk, so that a restart takes no older one for new. Any MQTT 3.1.1 or 5 broker
serves; what is sent is acknowledged on a topic of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiomqtt
import msgspec

from tieline.edge.orders.sources import OrderText
from tieline.feeds.notices.standing import MAX_ORDERS, SourceError, StatedOrder
from tieline.intake import IntakeError, read
from tieline.store.files import write_private

log = logging.getLogger("tieline.edge")

MAX_MESSAGE = 100_000
# A copy of before comes with its newer one in seconds; a lower number that stays alone is somebody who counts anew.
COUNTS_ANEW = timedelta(minutes=1)
AGAIN_S, LONGEST_S, KEEPALIVE_S = 1.0, 30.0, 15
# The same word of the libraries for each lost connection is not worth a line each time.
logging.getLogger("aiomqtt").setLevel(logging.CRITICAL)
_quiet = logging.getLogger("tieline.edge.mqtt")
_quiet.setLevel(logging.CRITICAL)


class OrderMessage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is published."""

    number: int
    orders: tuple[OrderText, ...]


class _Held(msgspec.Struct, frozen=True, kw_only=True):
    """The message that counts, and when it came: `minutes` run from then."""

    number: int = -1
    orders: tuple[StatedOrder, ...] = ()


@dataclass(frozen=True, slots=True)
class MqttBroker:
    """`mqtt://host:1883` or `mqtts://host:8883`; `ca`: a file of authorities, None for the system's."""

    url: str
    user: str | None = None
    password: str | None = None
    ca: Path | None = None

    def client(self) -> aiomqtt.Client:
        """Raises OSError for an authority that cannot be read."""
        parts = urlsplit(self.url)
        context = None
        if parts.scheme == "mqtts":
            context = ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
        return aiomqtt.Client(
            hostname=parts.hostname or "", port=parts.port or (8883 if context else 1883), username=self.user,
            password=self.password, tls_context=context, keepalive=KEEPALIVE_S, timeout=5.0, logger=_quiet,
            max_queued_incoming_messages=1_000,
        )  # fmt: skip


@dataclass(slots=True)
class MqttSource:
    """One topic. `repeats`: whoever orders says the same again at least this often; without it a broker that answers
    is taken for a source that is heard."""

    brokers: tuple[MqttBroker, ...]
    topic: str
    path: Path
    ack_topic: str | None = None
    repeats: timedelta | None = None
    name: str = "mqtt"
    doubt: str | None = None  # the last message that was no order, until a good one comes
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _held: _Held = field(default_factory=_Held)
    _heard: datetime | None = None
    _older: tuple[datetime, int] | None = None  # when one with a lower number came last
    _now: datetime | None = None
    _up: dict[str, aiomqtt.Client] = field(default_factory=dict)
    _why: dict[str, str] = field(default_factory=dict)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _told: tuple[int, list[str]] | None = None

    async def read(self, now: datetime) -> list[StatedOrder]:
        self._now = now
        if not self._tasks:
            self._restore()
            self._tasks = [asyncio.create_task(self._follow(broker)) for broker in self.brokers]
            await asyncio.sleep(0)
        if self._older is not None and now - self._older[0] > COUNTS_ANEW:
            self.doubt = f"number {self._older[1]} came after {self._held.number} and does not count; go on from there"
        if not self._up:
            raise SourceError("; ".join(f"{url}: {why}" for url, why in self._why.items()) or "not connected yet")
        if self.repeats is not None and (self._heard is None or now - self._heard > self.repeats):
            raise SourceError(f"nothing was said on {self.topic} for {self.repeats}")
        return [one for one in self._held.orders if one.until is None or one.until > now]

    def tell(self, now: datetime, taken: list[str]) -> None:
        """Which number counts and which orders are in force, on the topic for it, to each broker that is there."""
        said = (self._held.number, taken)
        if self.ack_topic is None or said == self._told or not self._up:
            return
        self._told = said
        body = msgspec.json.encode({"number": said[0], "at": now, "in_force": taken})
        for client in self._up.values():
            task = asyncio.create_task(_publish(client, self.ack_topic, body))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def close(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, broker: MqttBroker) -> None:
        """For ever: one broker, asked again later and later where it is away."""
        wait_s = AGAIN_S
        while True:
            try:
                async with broker.client() as client:
                    await client.subscribe(self.topic, qos=1)
                    self._up[broker.url], wait_s = client, AGAIN_S
                    self._why.pop(broker.url, None)
                    self._told = None  # who orders may have missed it
                    self.arrived.set()
                    async for message in client.messages:
                        self._take(message.payload)
                why = "the connection ended"
            except (aiomqtt.MqttError, OSError, TimeoutError, ValueError) as error:
                why = str(error)[:150] or type(error).__name__
            finally:
                self._up.pop(broker.url, None)
            self._why[broker.url] = why
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_S)

    def _take(self, payload: Any) -> None:
        now = self._now
        assert now is not None, "it follows only once it was read"
        try:
            message = self._message(payload)
            if message.number < self._held.number:
                self._older = now, message.number
                return
            self._heard, self._older = now, None
            if message.number == self._held.number:
                return
            self._held = _Held(number=message.number, orders=tuple(_dated(one, now) for one in message.orders))
        except (IntakeError, ValueError) as error:
            self.doubt = f"a message on {self.topic} is no order: {error}"
            return
        self.doubt = None
        try:
            write_private(self.path, msgspec.json.encode(self._held))
        except OSError as error:
            log.error("%s: %s; after a restart an older message may count", self.path, error)
        self.arrived.set()

    def _message(self, payload: Any) -> OrderMessage:
        if not isinstance(payload, bytes | bytearray) or len(payload) > MAX_MESSAGE:
            raise ValueError(f"more than {MAX_MESSAGE} bytes, or none")
        message = read(bytes(payload), _read_message)
        if not 0 <= message.number < 2**63:
            raise ValueError(f"number {message.number}: give 0 or more")
        if len(message.orders) > MAX_ORDERS:
            raise ValueError(f"{len(message.orders)} orders at once; at most {MAX_ORDERS} are taken")
        return message

    def _restore(self) -> None:
        try:
            self._held = read(self.path.read_bytes(), _read_held)
        except FileNotFoundError:
            pass
        except (OSError, IntakeError) as error:
            log.error("%s: %s; the first message counts, whatever its number", self.path, error)


def _dated(text: OrderText, now: datetime) -> StatedOrder:
    """An order in minutes counts from when it came."""
    said = text.said(now)
    return said if said.until is None else StatedOrder(said.order_id, said.limit_w, said.start or now, said.until)


async def _publish(client: aiomqtt.Client, topic: str, body: bytes) -> None:
    with contextlib.suppress(aiomqtt.MqttError, OSError, TimeoutError):
        await client.publish(topic, body, qos=1)


_read_message = msgspec.json.Decoder(OrderMessage).decode
_read_held = msgspec.json.Decoder(_Held).decode

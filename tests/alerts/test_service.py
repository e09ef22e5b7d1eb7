"""The alerts' loop over a real database and a real receiver: delivered once, whatever dies; named when it cannot be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tieline.alerts import channels
from tieline.alerts.channels import ChannelError, send, signature
from tieline.alerts.response import acknowledge, acknowledge_by_link, linked, silence
from tieline.alerts.service import AlertService
from tieline.config.sections import AlertChannel, Alerts
from tieline.store.alerts import AlertStore

HOOK = AlertChannel(id="hook", kind="webhook", url_env="T_HOOK", secret_env="T_SECRET")
SETTINGS = Alerts(raise_after_s=0, clear_after_s=30, channels=(HOOK,))
BAD = json.dumps([{"level": "bad", "what": "not heard", "text": "1 of 3", "site": "A"}]).encode()


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def on(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Receiver:
    """A webhook's far end; `says` is its answer, None: it hangs."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.says: bytes | None = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head.split("\r\n")[1:])}
        self.got.append((headers, await reader.readexactly(int(headers.get("content-length", 0)))))
        if self.says is not None:
            writer.write(self.says)
            await writer.drain()
        else:
            await reader.read()
        writer.close()


@asynccontextmanager
async def receiver(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    one = Receiver()
    server = await asyncio.start_server(one.handle, "127.0.0.1", 0)
    one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    monkeypatch.setenv("T_HOOK", one.url)
    monkeypatch.setenv("T_SECRET", "s3cret")
    try:
        yield one
    finally:
        server.close()


def test_an_incident_reaches_the_webhook_signed_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with receiver(monkeypatch) as hook:
            clock, store = Clock(), AlertStore(tmp_path / "alerts.db")
            service = AlertService(SETTINGS, store, clock)
            for _ in range(5):
                service.hear(BAD)
                service.step()
                clock.on(1)
            for message in store.due(service.seconds()):
                assert await service.deliver(message)
            assert store.due(service.seconds()) == []
            ((headers, body),) = hook.got
            told = json.loads(body)
            assert (told["event"], told["what"], told["places"]) == ("raised", "not heard", ["A"])
            stamp = float(headers["x-tieline-signature"].split(",")[0].removeprefix("t="))
            assert headers["x-tieline-signature"] == signature("s3cret", stamp, body)
            store.close()

    asyncio.run(story())


def test_what_was_raised_before_a_restart_is_delivered_after_it_and_not_raised_again(tmp_path: Path) -> None:
    clock = Clock()
    store = AlertStore(tmp_path / "alerts.db")
    service = AlertService(SETTINGS, store, clock)
    service.hear(BAD)
    service.step()
    service.step()
    store.close()
    again = AlertStore(tmp_path / "alerts.db")
    later = AlertService(SETTINGS, again, clock)
    clock.on(2)
    later.hear(BAD)
    assert later.step() == []
    assert [m.channel for m in again.due(later.seconds())] == ["hook"]
    again.close()


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (b"HTTP/1.1 500 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", "answered 500"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", "answered 302"),
        (b"garbage\r\n\r\n", "not delivered: RemoteProtocolError"),
        (None, "not delivered: ReadTimeout"),
    ],
)
def test_a_channel_that_does_not_take_it_is_tried_again_later_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: bytes | None, why: str
) -> None:
    monkeypatch.setattr(channels, "ANSWER_S", 0.3)

    async def story() -> None:
        async with receiver(monkeypatch) as hook:
            hook.says = says
            clock, store = Clock(), AlertStore(tmp_path / "alerts.db")
            service = AlertService(SETTINGS, store, clock)
            service.hear(BAD)
            service.step()
            service.step()
            tries = 0
            while messages := store.due(service.seconds()):
                assert not await service.deliver(messages[0])
                tries += 1
                assert store.messages()[0].error == why
                clock.on(4_000)
            assert tries == 1 + len(channels.AGAIN_S)
            assert store.messages()[0].ended is not None  # given up, and said to be
            store.close()

    asyncio.run(story())


def test_without_its_address_a_channel_says_which_variable_is_missing() -> None:
    with pytest.raises(ChannelError, match="T_NOWHERE is not set"):
        asyncio.run(send(AlertChannel(id="x", kind="webhook", url_env="T_NOWHERE"), "t", "w", b"{}", 0))


def test_apprise_is_given_what_it_knows_and_refuses_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T_APPRISE", "nosuchservice://x")
    with pytest.raises(ChannelError, match="none that Apprise knows"):
        asyncio.run(send(AlertChannel(id="x", kind="apprise", url_env="T_APPRISE"), "t", "w", b"{}", 0))

    async def story() -> None:
        async with receiver(monkeypatch) as hook:
            monkeypatch.setenv("T_APPRISE", hook.url.replace("http://", "json://"))
            await send(AlertChannel(id="x", kind="apprise", url_env="T_APPRISE"), "Tieline", "not heard (A)", b"{}", 0)
            assert json.loads(hook.got[0][1])["message"] == "not heard (A)"

    asyncio.run(story())


def test_a_silence_holds_messages_back_and_an_acknowledgement_is_seen_by_who_runs_it(tmp_path: Path) -> None:
    clock = Clock()
    store, other = AlertStore(tmp_path / "alerts.db"), AlertStore(tmp_path / "alerts.db")
    service = AlertService(SETTINGS, store, clock)
    silence(other, "not heard", 10, "ada", "switch replaced", service.seconds())
    service.hear(BAD)
    service.step()
    service.step()
    assert store.due(service.seconds()) == []
    assert acknowledge(other, "not heard", "ada", service.seconds())
    service.step()
    assert service.incidents.now["not heard"].acknowledged_by == "ada"
    assert not acknowledge(other, "nothing", "ada", service.seconds())
    for minutes, why in ((0, "x"), (1e9, "x"), (5, " ")):
        with pytest.raises(ValueError, match="minutes|why"):
            silence(other, "not heard", minutes, "ada", why, service.seconds())


def test_a_console_that_says_nothing_is_an_incident_itself(tmp_path: Path) -> None:
    clock = Clock()
    service = AlertService(SETTINGS, AlertStore(tmp_path / "alerts.db"), clock)
    service.hear(b"[]")
    told: list[Any] = []
    for _ in range(40):
        clock.on(1)
        told += service.step()
    assert [one.what for one in told] == ["the console is silent"]


@pytest.mark.parametrize("rubbish", [b"", b"{", b"[" * 100_000, b'[{"level": []}]', b"\xff", b"x" * 300_000, b"[1, 2]"])
def test_rubbish_on_the_link_changes_nothing(tmp_path: Path, rubbish: bytes) -> None:
    service = AlertService(SETTINGS, AlertStore(tmp_path / "alerts.db"), Clock())
    service.hear(BAD)
    service.hear(rubbish)
    assert [one.what for one in service.step() + service.step()] in (["not heard"], [])


def test_a_message_has_a_link_that_takes_its_incident_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, store = Clock(), AlertStore(tmp_path / "alerts.db")
    settings = msgspec.structs.replace(
        SETTINGS, url="https://c.example.org/", owners={"not": "nobody", "not heard": "site ops"},
        runbooks="https://wiki.example.org/r",
    )  # fmt: skip
    service = AlertService(settings, store, clock)
    service.hear(BAD)
    service.step()
    service.step()
    (message,) = store.due(service.seconds())
    told = json.loads(message.body)
    assert (told["owner"], told["runbook"]) == ("site ops", "https://wiki.example.org/r#not-heard")
    assert told["message"].splitlines()[1:] == [
        "Whose: site ops", f"Take it: {told['link']}", "Runbook: https://wiki.example.org/r#not-heard",
    ]  # fmt: skip
    place, _, secret = told["link"].partition("#")
    assert place == "https://c.example.org/alerts/take"
    assert secret.encode() not in b"".join(store.incidents())  # what is kept does not open it
    assert acknowledge_by_link(store, secret + "x", "mallory", service.seconds()) is None
    assert linked(store, secret) is not None
    taken = acknowledge_by_link(store, secret, "ada", service.seconds())
    assert taken is not None
    assert (taken.key, taken.acknowledged_by) == ("not heard", "ada")
    assert acknowledge_by_link(store, secret, "bob", service.seconds()) is None
    service.step()
    clock.on(10_000)
    service.hear(BAD)
    assert service.step() == []  # taken, so it does not escalate
    assert acknowledge_by_link(store, secret, "bob", service.seconds()) is None
    store.close()

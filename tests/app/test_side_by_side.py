"""Versions N and N + 1 side by side: what the newer one says and the older one does not know is never fatal to it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from tests.gateway.engines import Scripted
from tests.gateway.rig import settings, start
from tests.gateway.test_admin import KEYS, TENANTS, ask, chat
from tests.gateway.test_elected import Gateway
from tests.gateway.test_shared_changes import Office
from tests.store.kinds import tick

from tieline import records
from tieline.app.joins import Credentials, config_of, read_welcome, url_of
from tieline.config import Config
from tieline.gateway.budgets.ordered import patch_from
from tieline.link import CheckedLink, LastNumbers, LocalLink, SigningLink
from tieline.link.signing import CommandKey, public_key
from tieline.records import Accepted, Fault, PriceTick, SetAside
from tieline.store import Store
from tieline.store.database import open_database
from tieline.store.sqlite import KIND

T0 = datetime(2026, 11, 1, tzinfo=UTC)
FAULT = Fault(at=T0, known_at=T0, source="t", kind="measured", site_id="a", what="stuck", detail="x", share=0.25)


def newer(record: records.Record, **more: Any) -> bytes:
    """As the next version would write it: with fields that this one does not have."""
    return msgspec.json.encode({**msgspec.json.decode(records.encode(record)), **more})


def test_an_older_core_takes_what_it_knows_of_a_newer_site_and_keeps_the_rest_by_name() -> None:
    batch = b"[%s,%s,%s]" % (
        newer(FAULT, urgency=3), b'{"type":"Vibration","at":"2026-11-01T00:00:00Z","site_id":"a"}', newer(tick(0)),
    )  # fmt: skip
    fault, unknown, price = records.admit(batch, T0 + timedelta(hours=1))
    assert isinstance(fault, Accepted)
    assert fault.record == FAULT
    assert isinstance(price, Accepted)
    assert isinstance(unknown, SetAside), "it is set aside, whole, and can be offered again after the upgrade"
    assert b"Vibration" in unknown.body
    assert "Vibration" in unknown.why


def test_an_older_console_reads_on_behind_a_record_of_a_kind_that_it_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = Store(path, records.encode, records.decode)
    store.append([tick(0)])
    database = open_database(path, KIND)  # a newer core writes
    with database.write() as transaction:
        body = b'{"type":"Vibration","at":"2026-11-01T00:00:00Z"}'
        row = (2, "Vibration", "k", "a", 0, 0, body)
        database.run("INSERT INTO record (seq, stream, key, subject, at, known_at, body) VALUES (?,?,?,?,?,?,?)", row)
        transaction.keep([body], 2)
    database.close()
    store.append([tick(1)])
    reading = Store(path, records.encode, records.decode, read_only=True)
    assert [one.record for one in reading.follow(0).items] == [tick(0), tick(1)]
    assert reading.follow(0).last == 3
    assert len(reading.between(PriceTick, T0 - timedelta(days=9_999), T0 + timedelta(days=9_999))) == 2
    for one in (store, reading):
        one.close()


def test_an_older_site_takes_what_a_newer_core_says_and_gives(tmp_path: Path) -> None:
    async def story() -> None:
        wire = LocalLink()
        core = SigningLink(wire, CommandKey(tmp_path))
        site = CheckedLink(wire, public_key(tmp_path), LastNumbers())
        said: list[bytes] = []

        async def listen() -> None:
            async for _, body in site.follow("plan.a"):
                said.append(body)

        listening = asyncio.create_task(listen())
        await asyncio.sleep(0)
        await core.publish("plan.a", newer(FAULT, urgency=3))
        await asyncio.sleep(0.01)
        listening.cancel()
        assert [records.read_record(body) for body in said] == [FAULT]

    asyncio.run(story())
    more = {"site_id": "a", "password": "p", "command_key": "00", "command_number": 1, "config": {}, "regions": ["x"]}
    assert read_welcome(msgspec.json.encode(more)).site_id == "a"
    kept = {"url": "nats://127.0.0.1:1", **more}
    (tmp_path / "agent.json").write_bytes(msgspec.json.encode(kept))
    assert Credentials.load(tmp_path).site_id == "a"


def test_a_site_learns_the_links_servers_from_its_configuration() -> None:
    from tests.app.test_bad_links import A, demo

    servers = ("10.0.0.5:4222", "10.0.0.6:4222")
    config = msgspec.structs.replace(demo(), link=msgspec.structs.replace(demo().link, servers=servers))
    own = msgspec.json.decode(config_of(config, A), type=Config)
    assert own.link.servers == servers
    assert url_of(own.link.servers, "tls://10.0.0.5:4222") == "tls://10.0.0.5:4222,tls://10.0.0.6:4222"
    assert url_of((), "nats://10.0.0.5:4222") == "nats://10.0.0.5:4222", "a core of a version before names none"
    plain = {**msgspec.json.decode(config_of(config, A)), "orchard": {"trees": 3}}
    assert msgspec.json.decode(msgspec.json.encode(plain), type=Config) == own


def test_an_older_gateway_is_told_nothing_that_it_does_not_know_and_an_older_coordinator_changes_nothing(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        office = Office(tmp_path / "office")
        server = await office.elect()
        port = office.ports[0]
        old, new = await Gateway.join("gateway-old", port), await Gateway.join("gateway-new", port)
        server._follow.add("gateway-new")
        answer = await new.ask(do="change", base=0, above=0, patch={"revoked": {"k": True}, "quotas": {"q": {"a": 1}}})
        assert answer["number"] == 1
        assert await old.ask(do="renew") == {"re": 1 + 1, "ok": True, "changes": 1}, "its next line is its own answer"
        await old.ask(do="renew", mood="a field of the next version")
        old.writer.write(b'{"do":"sing","n":99}\n')  # a word of the next version
        assert (await old.ask(do="renew"))["ok"]
        assert server.changes is not None
        assert server.changes.state.parts == patch_from({"revoked": {"k": True}, "quotas": {"q": {"a": 1}}})
        # A newer gateway at a coordinator that keeps no changes: budgets and requests go on.
        server.changes = None
        async with Scripted() as engine:
            given = settings(engine.url, tenants=TENANTS, keys=KEYS)
            async with start(given, tmp_path / "g", coordinator=office.remote, together=True) as gateway:
                assert await chat(gateway, "old") == ""
                status, answer = await ask(gateway, "DELETE", "/admin/keys/acme-old")
                assert (status, answer["error"]["code"]) == (503, "unavailable")
                assert await chat(gateway, "old") == ""
        await office.close()

    asyncio.run(story())

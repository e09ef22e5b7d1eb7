"""Whoever holds one site's credentials reads, writes and blocks nothing of another: over the real server."""

import asyncio
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.app.link_place import TAKES_S, A, B, Place, place, reading, until

from tieline.app import agent_run
from tieline.app.joins import Credentials, JoinBook, JoinedSite, JoinError, changed_book, read_book
from tieline.app.link_part import Users
from tieline.app.speaker import heard_from, meant_for, not_a_gateways, not_its_own
from tieline.clock import wall_now
from tieline.config import Config, demo
from tieline.link import NatsLink, push
from tieline.link.signing import split_seal
from tieline.link.users import JOIN, PARTS, inbox_of, rights_of, site_user
from tieline.records import Accepted, Action, Fault, Instruction, ReplicaState, SetAside, WeatherTick


def test_stolen_credentials_of_one_site_hear_nothing_of_another(tmp_path: Path) -> None:
    async def story() -> None:
        async with place(tmp_path) as here:
            errors: list[str] = []
            heard: list[str] = []
            thief = await here.thief(site_user(A), here.runtime.link_password(site_user(A)), errors)

            async def keep(message: Any) -> None:
                heard.append(message.subject)

            wanted = (
                ">", "*.*", f"live.{B}", f"plan.{B}", f"command.{B}", "records.*", f"replica.{B}.>", "plan.get.*",
                "_INBOX.>", f"{inbox_of(site_user(B))}.>", "$JS.>", "$SYS.>", "join.*", f"preview.{B}",
                f"tunnel.site.{B}", "tunnel.site.*", "tunnel.cut.*",
            )  # fmt: skip
            for subject in wanted:
                await thief.subscribe(subject, cb=keep)
            await thief.subscribe(f"command.{A}", cb=keep)
            await thief.flush()
            await until(lambda: len(errors) >= len(wanted))
            b, core = await here.link(site_user(B)), await here.link("core")
            # What the thief would answer to or read: all of it goes its way past the thief.
            assert (await push(b, B, reading(B, 1e6))).stored == 1
            assert split_seal(await b.request(f"plan.get.{B}", b"")).body == b""
            await b.publish(f"live.{B}", b"{}")
            await b.publish(f"replica.{B}.{B}-1", b"{}")
            for word in ("plan", "command"):
                await core.publish(f"{word}.{B}", b"{}")
            await core.publish(f"command.{A}", b"{}")
            await until(lambda: heard)
            assert heard == [f"command.{A}"]
            for one in (b, core, thief):
                await one.close()

    asyncio.run(story())


def test_stolen_credentials_of_one_site_write_and_block_nothing_of_another(tmp_path: Path) -> None:
    async def story() -> None:
        async with place(tmp_path) as here:
            errors: list[str] = []
            thief = await here.thief(site_user(A), here.runtime.link_password(site_user(A)), errors)
            gateway, b = await here.link("gateway"), await here.link(site_user(B))
            heard: list[str] = []

            async def follow(link: NatsLink, subject: str) -> None:
                async for said_on, _ in link.follow(subject):
                    heard.append(said_on)

            follows = [(gateway, "replica.>"), (gateway, "plan.*"), (gateway, "command.*"), (b, f"command.{B}")]
            tasks = [asyncio.create_task(follow(*one)) for one in follows]
            await asyncio.sleep(0.1)
            forbidden = (
                f"records.{B}", "records.gateway", "records.operator", f"live.{B}", f"replica.{B}.{B}-1", f"plan.{B}",
                f"command.{B}", f"command.{A}", f"plan.get.{B}", f"orders.get.{B}", "feeds.weathertick",
                f"{inbox_of(site_user(B))}.x", "$JS.API.INFO", "attention", "join.x", f"preview.{B}",
                f"preview.{A}", f"tunnel.site.{B}", "tunnel.doors", f"tunnel.cut.{B}", f"tunnel.cut.{A}",
            )  # fmt: skip
            for subject in forbidden:
                await thief.publish(subject, reading(B, 1.0))
            # Nor by having those who may do it for them: the core's answers go to inboxes alone.
            for subject in (f"command.{B}", f"plan.{B}"):
                await thief.publish(f"records.{A}", b"[]", reply=subject)
            await thief.request(f"records.{A}", b"[]", timeout=TAKES_S)
            await thief.publish(f"replica.{A}.{A}-1", b"{}")
            await thief.flush()
            await until(lambda: len(errors) >= len(forbidden) and heard)
            assert heard == [f"replica.{A}.{A}-1"]
            assert here.stored() == []
            # On its own subject, a record of another's: refused by name, and the true one is taken afterwards.
            said = await thief.request(f"records.{A}", reading(B, 1.0), timeout=TAKES_S)
            (refused,) = msgspec.json.decode(said.data)["refused"]
            assert refused["why"] == f"site_id: {A} may not speak for {B}"
            assert (await push(b, B, reading(B, 1e6))).stored == 1
            assert here.stored() == [(B, 1e6)]
            for task in tasks:
                task.cancel()
            for one in (b, gateway, thief):
                await one.close()

    asyncio.run(story())


def test_a_flood_with_stolen_credentials_of_one_site_holds_up_nothing_of_another(tmp_path: Path) -> None:
    """More than the core could answer in a minute, and heartbeats among them: another's come through in their turn."""

    async def story() -> None:
        async with place(tmp_path) as here:
            thief = await here.thief(site_user(A), here.runtime.link_password(site_user(A)), [])
            gateway, b = await here.link("gateway"), await here.link(site_user(B))
            beats: list[str] = []

            async def follow() -> None:
                async for said_on, _ in gateway.follow("replica.>"):
                    beats.append(said_on)
                    await asyncio.sleep(0.002)  # it works on each

            following = asyncio.create_task(follow())
            await asyncio.sleep(0.1)
            batch = b"[" + b",".join([b"0"] * 20) + b"]"
            for n in range(20_000):
                await thief.publish(f"records.{A}", batch)
                await thief.publish(f"replica.{A}.{A}-{n % 50}", b"{}")
            await thief.flush()
            loop = asyncio.get_running_loop()
            began = loop.time()
            await b.publish(f"replica.{B}.{B}-1", b"{}")
            assert (await push(b, B, reading(B, 1e6))).stored == 1
            await until(lambda: f"replica.{B}.{B}-1" in beats)
            assert loop.time() - began < 8.0
            following.cancel()
            for one in (b, gateway, thief):
                await one.close()

    asyncio.run(story())


def test_a_folder_joins_once_by_token_and_is_cut_off_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        data, folder = tmp_path / "data", tmp_path / "site"
        data.mkdir()
        async with place(data) as here:
            before = await here.thief(site_user(A), here.runtime.link_password(site_user(A)), [])
            b = await here.link(site_user(B))
            token = here.token(A)
            folder.mkdir()
            (folder / "agent.json").write_text("{}")  # what cannot be read any more does not stand in the way
            assert await agent_run.join(token, folder) == A
            assert (folder / "agent.json").stat().st_mode & 0o777 == 0o600
            own = Credentials.load(folder)
            given = msgspec.json.decode(own.config, type=Config)
            assert [site.id for site in given.fleet.sites] == [A]
            assert (given.tenants, B.encode() in bytes(own.config)) == ((), False)
            await until(lambda: not before.is_connected)  # what ran the site here no longer speaks for it
            with pytest.raises(JoinError, match=f"has joined as {A}, the token is for {B}"):
                await agent_run.join(here.token(B), folder)
            monkey = agent_run.JOIN_WAIT_S
            agent_run.JOIN_WAIT_S = 0.5
            try:
                with pytest.raises(JoinError, match="does not take this token"):
                    await agent_run.join(token, tmp_path / "another")
            finally:
                agent_run.JOIN_WAIT_S = monkey
            joined = await here.thief(site_user(A), own.password, [])
            said = await joined.request(f"records.{A}", reading(A, 2e6), timeout=TAKES_S)
            assert msgspec.json.decode(said.data)["stored"] == 1
            with changed_book(data) as book:
                book.revoke(A, wall_now())
            began = asyncio.get_running_loop().time()
            await until(lambda: not joined.is_connected)
            assert asyncio.get_running_loop().time() - began < 5.0  # 0.2 s to look; the rest is for a busy machine
            assert (await push(b, B, reading(B, 1e6))).stored == 1  # the others were not touched
            for one in (joined, before, b):
                await one.close()

    asyncio.run(story())


def test_a_token_is_spent_once_ends_by_itself_and_goes_with_its_site() -> None:
    book, now = JoinBook(), wall_now()
    first, second, third = (book.offer(A, now) for _ in range(3))
    assert set(book.passwords(now)) == {JOIN + one for one in (first, second, third)}
    assert book.spend(first, now)[0] == A
    for name, at in ((first, now), (second, now + timedelta(minutes=30)), ("x", now)):
        with pytest.raises(JoinError, match="spent or too old"):
            book.spend(name, at)
    book.revoke(A, now)
    assert book.passwords(now) == {}
    with pytest.raises(JoinError, match="spent or too old"):
        book.spend(third, now)


@pytest.mark.parametrize("text", ["", "rubbish", "e30", "ä", "A" * 10_000])
def test_what_is_no_token_is_one_line(text: str, tmp_path: Path) -> None:
    with pytest.raises(JoinError, match="this is no token"):
        asyncio.run(agent_run.join(text, tmp_path))


def test_a_book_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "sites.json").write_text("{")
    with pytest.raises(JoinError, match=r"sites\.json.*restore it"):
        read_book(tmp_path)
    with pytest.raises(JoinError, match="has joined nothing"):
        Credentials.load(tmp_path)


def _said(site: str, **changes: Any) -> ReplicaState:
    now: datetime = wall_now()
    plain = {
        "at": now, "known_at": now, "source": f"site:{site}", "kind": "measured", "replica_id": f"{site}-gpu-1",
        "site_id": site, "region": "r", "model": "m", "base_url": "http://127.0.0.1:1", "state": "ready", "slots": 1,
        "engine": "other",
    }  # fmt: skip
    return ReplicaState(**{**plain, **changes})


def test_a_site_says_its_own_and_no_more() -> None:
    now = wall_now()
    same: dict[str, Any] = {"at": now, "known_at": now, "source": "x", "kind": "measured"}
    assert not_its_own(A, _said(A)) is None
    assert "may not speak for" in str(not_its_own(A, _said(B)))
    assert "replicas of" in str(not_its_own(A, _said(A, replica_id=f"{B}-gpu-1")))
    assert "may not say a WeatherTick" in str(not_its_own(A, WeatherTick(**same, station="KMAF", temp_c=1.0)))
    lost = {what: Fault(**same, site_id="platform", what=f"data lost: {what}") for what in (f"outbox of {A}", "store")}
    assert not_its_own(A, lost[f"outbox of {A}"]) is None
    assert "may not speak for" in str(not_its_own(A, lost["store"]))


def test_a_gateway_binds_no_site_and_no_persons_word_is_its_own() -> None:
    now = wall_now()
    same: dict[str, Any] = {"at": now, "known_at": now, "source": "x", "kind": "measured"}
    order = Instruction(**same, instruction_id="a", site_id=A, limit_w=0.0, until=now + timedelta(hours=1))
    words = {what: Action(**same, by="x", what=what, target=A) for what in ("accept", "abort", "reboot", "set pools")}
    for record in (order, *words.values()):
        assert "a gateway may not say" in str(not_a_gateways(record))
        judged = heard_from("gateway.worker-1", [Accepted(0, record)], {A, B}.__contains__)
        assert isinstance(judged[0], SetAside)
        assert heard_from("operator", [Accepted(0, record)], {A, B}.__contains__) == [Accepted(0, record)]
    assert not_a_gateways(Action(**same, by="x", what="key made", target="t")) is None
    assert [meant_for(word) for word in words.values()] == [A] * 4
    assert meant_for(Action(**same, by="x", what="reboot", target=f"{A}.rigs-1")) == A


def test_no_user_but_those_who_answer_may_speak_to_inboxes_and_none_to_the_servers_own() -> None:
    for user in (*PARTS, site_user(A), JOIN + "x"):
        says, hears = rights_of(user)
        assert user in ("core", "link") or not any(one.startswith(("_INBOX", "$", ">", "*")) for one in says)
        assert not any(one.startswith(("_INBOX", "$", "*")) or one == ">" for one in hears)
    assert [user for user in PARTS if "plan.*" in PARTS[user].says] == ["core"]


def test_the_server_has_room_for_every_site_of_the_fleet(tmp_path: Path) -> None:
    """Each holds a connection, and two for a moment; with the other servers gone one has them all."""
    config = demo()
    site = config.fleet.sites[0]
    many = tuple(msgspec.structs.replace(site, id=f"s{n}") for n in range(4_000))
    large = msgspec.structs.replace(config, fleet=msgspec.structs.replace(config.fleet, sites=many))
    book = JoinBook(sites={"elsewhere": JoinedSite(since=wall_now(), password="p")})
    here = Place(tmp_path, tls=False)
    try:
        told = re.search(rb"max_connections: (\d+)", Users(here.runtime, large).text(book))
        assert told is not None
        assert int(told[1]) == 1_024 + 2 * 4_001
    finally:
        here.store.close()

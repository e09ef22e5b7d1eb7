"""The page of who stands at the site: over real sockets, in front of a running agent and a rack of fake rigs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.edge.rack import Running, running

from tieline.app.runtime import free_port
from tieline.app.speaker import not_its_own
from tieline.edge.decide import local_source
from tieline.edge.local.door import LocalDoor, serve_door
from tieline.edge.local.password import LocalPassword, LocalPasswordError, make_password, path_of
from tieline.records import Accepted, Action, Override, admit, decode, encode_batch

STOP = {"by": "Ann", "why": "a hose leaks", "minutes": 30}


@contextlib.asynccontextmanager
async def page(tmp_path: Path, site: Running) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    """The site's page, and its password."""
    password = make_password(tmp_path)
    door = LocalDoor(tmp_path, free_port())
    serving = asyncio.create_task(serve_door(site.agent, door))
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{door.port}", headers={"x-tieline": "1"}, trust_env=False
        ) as client:
            async with asyncio.timeout(10):
                while True:
                    with contextlib.suppress(httpx.TransportError):
                        await client.get("/")
                        break
                    await asyncio.sleep(0.02)
            yield client, password
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def post(client: httpx.AsyncClient, path: str, body: Any, status: int = 200) -> dict[str, Any]:
    answer = await client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def test_a_person_stops_and_resumes_rigs_without_the_link_and_it_goes_on_record(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, 6) as site, page(tmp_path, site) as (client, password):
            site.agent.link.up = False  # type: ignore[misc]
            await post(client, "/api/login", {"password": password})
            shown = (await client.get("/api/site")).json()
            assert (shown["link"], shown["orders"]) == ("away", [])
            unit = site.agent.site.rig_groups[0].id
            await post(client, "/api/stop", STOP)
            await site.until(lambda: all(rig.asleep for rig in site.rigs.rigs.values()))
            shown = (await client.get("/api/site")).json()
            (order,) = shown["orders"]
            assert (order["kind"], order["by"], order["why"], order["unit_id"]) == ("stop", "s: Ann", STOP["why"], unit)
            rigs = (await client.get("/api/rigs", params={"unit": unit})).json()
            assert rigs["count"] == 6
            # The control room says otherwise: who stands before the rigs is heard, and cannot be lifted from there.
            now = site.clock.now()
            held = site.agent.orders.orders(site.agent.now).overrides[0]
            for word in (
                {"source": "console", "override_id": "c", "target_w": 1e6, "by": "p", "known_at": now},
                {"until": now, "known_at": now},
            ):
                fields = {name: getattr(held, name) for name in held.__struct_fields__} | word
                site.agent.take(Override(**fields), now)
            assert local_source("s") in {one.source for one in site.agent.orders.orders(site.agent.now).overrides}
            await asyncio.sleep(1.0)
            assert all(rig.asleep for rig in site.rigs.rigs.values())
            await post(client, "/api/resume", {"by": "Ann"})
            assert [one["kind"] for one in (await client.get("/api/site")).json()["orders"]] == ["override"]
            # What was done waits in the outbox, as the core takes it from this site and from no other.
            kept = [decode(body) for _, _, body in site.outbox.take(1000)]
            done = [one for one in kept if isinstance(one, Action | Override)]
            assert [one.what for one in done if isinstance(one, Action)] == ["stop at site", "resume at site"]
            assert [not_its_own("s", one) for one in done] == [None] * 4
            assert all(not_its_own("t", one) for one in done)
            assert all(isinstance(one, Accepted) for one in admit(encode_batch(done), site.clock.now()))

    asyncio.run(story())


def test_a_person_sees_what_a_limit_would_do_and_has_a_rig_blink(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, 6) as site, page(tmp_path, site) as (client, password):
            await post(client, "/api/login", {"password": password})
            first, *_ = site.rigs.rigs
            site.rigs.inject(first, "hang")
            await site.until(lambda: site.unit()["devices_heard"] == 5)
            shown = (await client.get("/api/preview", params={"limit_mw": "0.011"})).json()
            (unit,) = shown["units"]
            # 11 kW are three rigs: the silent one counts as running, so two of the five that hear may.
            assert (unit["sleep_count"], [one["address"] for one in unit["not"]]) == (3, [first])
            assert site.agent.orders.orders(site.agent.now).instructions == ()
            assert not any(rig.asleep for rig in site.rigs.rigs.values())
            for bad in ("", "x", "-1", "nan", "1e9"):
                assert (await client.get("/api/preview", params={"limit_mw": bad})).status_code == 400
            second = list(site.rigs.rigs)[1]
            tend = {"by": "Ann", "unit_id": "s.rigs-1", "address": second, "what": "light on"}
            await post(client, "/api/tend", tend)
            assert site.rigs.rigs[second].light
            for change in ({"address": "10.0.0.1"}, {"unit_id": "x"}, {"what": "explode"}, {"by": ""}):
                await post(client, "/api/tend", tend | change, 400)
            (done,) = [one for one in site.kept() if isinstance(one, Action)]
            assert (done.what, done.target, done.detail, not_its_own("s", done)) == (
                "light on at site", "s.rigs-1", second, None,
            )  # fmt: skip

    asyncio.run(story())


def test_a_stop_holds_after_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, 6) as site, page(tmp_path, site) as (client, password):
            await post(client, "/api/login", {"password": password})
            await post(client, "/api/stop", STOP | {"unit_id": site.agent.site.rig_groups[0].id})
            assert len(site.agent.orders.orders(site.agent.now).overrides) == 1
        async with running(tmp_path, 6) as site:
            await site.until(lambda: all(rig.asleep for rig in site.rigs.rigs.values()))

    asyncio.run(story())


def test_nobody_comes_in_without_the_password_and_no_foreign_page_reaches_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, 6) as site, page(tmp_path, site) as (client, password):
            assert (await client.get("/")).status_code == 200
            assert "script-src 'self'" in (await client.get("/page.js")).headers["content-security-policy"]
            for path in ("/api/site", "/api/rigs?unit=s.rigs-1"):
                assert (await client.get(path)).status_code == 401
            for path in ("/api/stop", "/api/resume"):
                await post(client, path, STOP, 401)
            assert (await client.get("/api/site", headers={"host": "evil.example"})).status_code == 421
            given = await post(client, "/api/login", {"password": password})
            assert given == {"ok": True}
            assert (await client.get("/api/site")).status_code == 200
            assert (await client.post("/api/stop", json=STOP, headers={"x-tieline": ""})).status_code == 403
            for body, word in (
                (STOP | {"minutes": 0}, "minutes"),
                (STOP | {"minutes": "x"}, "minutes"),
                (STOP | {"why": " "}, "why"),
                (STOP | {"by": "x" * 61}, "by"),
                (STOP | {"unit_id": "t.rigs-1"}, "unit_id"),
                (STOP | {"more": 1}, "more"),
                ([], "object"),
            ):
                assert word in (await post(client, "/api/stop", body, 400))["error"]
            assert (await client.post("/api/stop", content=b"x" * 20_000)).status_code == 400
            assert (await client.get("/api/rigs", params={"unit": "zz"})).status_code == 404
            assert (await client.get("/api/rigs", params={"unit": "s.rigs-1", "first": "-1"})).status_code == 400
            assert site.agent.orders.orders(site.agent.now).overrides == ()
            await post(client, "/api/logout", {})
            assert (await client.get("/api/site")).status_code == 401
            said = [await client.post("/api/login", json={"password": "wrong"}) for _ in range(8)]
            assert said[0].status_code == 401
            assert said[-1].status_code == 429

    asyncio.run(story())


def test_the_password_is_kept_as_its_hash_and_a_damaged_one_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LocalPasswordError, match="--new-password"):
        LocalPassword(tmp_path)
    password = make_password(tmp_path)
    path = path_of(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert password not in path.read_text()
    assert "$argon2id$" in path.read_text()
    assert LocalPassword(tmp_path).right(password)
    assert not LocalPassword(tmp_path).right(password.upper() + "x")
    another = make_password(tmp_path)
    assert not LocalPassword(tmp_path).right(password)
    assert LocalPassword(tmp_path).right(another)
    path.write_text('{"hash": "rubbish"}')
    assert not LocalPassword(tmp_path).right(another)
    path.write_text("{")
    with pytest.raises(LocalPasswordError, match=r"local\.json"):
        LocalPassword(tmp_path)

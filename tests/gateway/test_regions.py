"""A gateway serves from its own region first; what is bound to one stays there whatever fails; what crosses counts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from tests.gateway.engines import Faults, Scripted
from tests.gateway.rig import Gateway, Start, settings
from tests.gateway.test_continuity import CHAT, TEXT, run, stream

from tieline.app.machines.run import region_of
from tieline.app.up import UpError
from tieline.config import demo
from tieline.gateway.settings import Engine, Key, Settings, Tenant, hash_key

FREE = "authorization: Bearer anywhere\r\n"
BOUND = "authorization: Bearer eu-only\r\n"


def over_two(eu: Scripted, us: Scripted, **more: object) -> Settings:
    tenants = (Tenant(id="anywhere"), Tenant(id="eu-only", regions=("eu",)))
    keys = tuple(Key(id=t.id, sha256=hash_key(t.id), tenant=t.id) for t in tenants)
    engines = (
        Engine(url=eu.url, id="eu-1", site="north", region="eu", slots=2),
        Engine(url=us.url, id="us-1", site="south", region="us", slots=8),
    )
    return settings(tenants=tenants, keys=keys, engines=engines, **{"region": "eu"} | more)


async def metric(g: Gateway, name: str) -> dict[str, float]:
    text = (
        await g.raw(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", until_close=True)
    ).decode()
    rows = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(name + "{")]
    return {labels.removeprefix(name): float(value) for labels, value in rows}


async def health(g: Gateway, path: str) -> tuple[int, dict[str, object]]:
    answer = await g.raw(
        f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode(), until_close=True
    )
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), msgspec.json.decode(body)


def test_its_own_region_first_and_another_where_it_has_no_room(gateway: Start) -> None:
    async def body() -> None:
        async with Scripted("eu", pause_s=0.002) as eu, Scripted("us") as us, gateway(over_two(eu, us)) as g:
            for _ in range(4):
                text, _, well = await stream(g, CHAT, FREE)
                assert (text, well) == (TEXT, True)
            await g.quiet()
            assert {one.hops[-1].region for one in g.usage()} == {"eu"}
            assert {one.region for one in g.usage()} == {"eu"}
            assert await metric(g, "tieline_gateway_crossed_total") == {}
            # Two places there: of six at once some are served abroad, whole, and counted.
            assert all(well for _, _, well in await asyncio.gather(*(stream(g, CHAT, FREE) for _ in range(6))))
            await g.quiet()
            away = [one for one in g.usage() if one.hops[-1].region == "us"]
            assert 1 <= len(away) <= 5
            assert await metric(g, "tieline_gateway_crossed_total") == {'{region="us"}': len(away)}
            tokens = await metric(g, "tieline_gateway_crossed_tokens_total")
            assert tokens['{kind="output",region="us"}'] == sum(one.output_tokens for one in away)

    run(body())


def test_without_a_region_nothing_is_abroad_and_nothing_is_counted(gateway: Start) -> None:
    async def body() -> None:
        async with Scripted("eu") as eu, Scripted("us") as us, gateway(over_two(eu, us, region="")) as g:
            g.prefer(us.port)
            assert (await stream(g, CHAT, FREE))[2]
            await g.quiet()
            assert [(one.region, one.hops[-1].region) for one in g.usage()] == [("", "us")]
            assert await metric(g, "tieline_gateway_crossed_total") == {}
            assert (await health(g, "/readyz/region"))[0] == 200

    run(body())


@pytest.mark.parametrize("die_after", [0, 1, 40])
def test_a_stream_that_loses_its_replica_goes_abroad_only_where_it_may(gateway: Start, die_after: int) -> None:
    async def body() -> None:
        async with Scripted("eu") as eu, Scripted("us") as us, gateway(over_two(eu, us)) as g:
            eu.faults = Faults(die_after=die_after, times=1)
            text, _, well = await stream(g, CHAT, FREE)
            assert (text, well) == (TEXT, True)
            await g.quiet()
            hops = g.usage()[-1].hops
            assert [hop.region for hop in hops] == ["eu", "us"]
            crossed = await metric(g, "tieline_gateway_crossed_tokens_total")
            assert crossed['{kind="output",region="us"}'] == hops[-1].output_tokens

            for one in g.svc.backends.values():  # the failures before are forgotten
                one.failures, one.ejected_until = 0, 0.0
            before = len(us.seen)
            eu.faults = Faults(die_after=die_after)
            await g.post("/v1/chat/completions", CHAT, BOUND)  # where it can, it goes on at the one that comes back
            await g.quiet()
            assert len(us.seen) == before, "what is bound to its region was sent to another one"
            assert all(hop.region == "eu" for one in g.usage() if one.tenant == "eu-only" for hop in one.hops)

    run(body())


def test_what_is_bound_waits_or_is_refused_while_its_region_is_gone(gateway: Start) -> None:
    async def body() -> None:
        async with Scripted("us") as us, Scripted("eu") as eu, gateway(over_two(eu, us)) as g:
            assert (await health(g, "/readyz/region"))[0] == 200
            await eu.__aexit__(None, None, None)
            async with asyncio.timeout(20):
                while (await health(g, "/readyz/region"))[0] != 503:
                    await asyncio.sleep(0.1)
            status, told = await health(g, "/readyz")
            assert (status, told["ready"], told["region"], told["ready_in_region"]) == (200, True, "eu", False)
            status, _, answer = await g.post("/v1/chat/completions", {**CHAT, "stream": False}, BOUND)
            assert (status, b"no_capacity" in answer) == (503, True)
            assert (await stream(g, CHAT, FREE))[2], "who is bound to nothing is served from where there is room"
            assert len(us.seen) == 1

    run(body())


def test_a_region_that_is_none_is_named(tmp_path: Path) -> None:
    config = demo()
    assert region_of("", config) == ""
    known = config.fleet.sites[0].region
    assert region_of(known, config) == known
    with pytest.raises(UpError, match=f"no site is there; regions of this fleet: .*{known}"):
        region_of("atlantis", config)

"""What an administrator changes at one gateway reaches all, in one order, whoever dies, freezes or was away."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.engines import Scripted
from tests.gateway.rig import Gateway, free_port, settings, start
from tests.gateway.test_admin import KEYS, TENANTS, ask, chat

from tieline import records
from tieline.app.machines.budgets_part import shared_limits_of
from tieline.gateway.budgets.coordinator import CoordinatorServer
from tieline.gateway.budgets.elected import StoredBudgets, take_over
from tieline.gateway.budgets.followed import CHANGES_FILE
from tieline.gateway.budgets.keys import Overlay
from tieline.gateway.budgets.lease import Coordinator
from tieline.gateway.budgets.ordered import (
    InForce,
    OrderedChanges,
    lacking,
    overlay_of,
    pack,
    patch_from,
    patch_of,
    patched,
    pieces,
    unpack,
)
from tieline.gateway.budgets.remote import Remote
from tieline.gateway.settings import Key, Limits, Settings, SettingsError, Tenant, hash_key
from tieline.store import Store
from tieline.store.lead.kept import Kept, open_kept
from tieline.store.lead.lease import Leases, open_leases
from tieline.store.place import StorePlace

SECRET = b"sixteen letters."
CONFIGURED = Settings(tenants=TENANTS)


class Office:
    """Coordinators that follow each other at two addresses, on one store."""

    def __init__(self, folder: Path) -> None:
        self.place = StorePlace(folder)
        folder.mkdir()
        Store(self.place, records.encode, records.decode).close()
        self.leases: Leases = open_leases(self.place)
        self.kept: list[Kept] = []
        self.servers: list[CoordinatorServer] = []
        places = [Remote("127.0.0.1", free_port(), SECRET, None) for _ in range(2)]
        self.remote = replace(places[0], others=(places[1],))
        self.ports = [place.port for place in places]

    async def elect(self) -> CoordinatorServer:
        fence = self.leases.take("budgets", f"c{len(self.kept)}", "", self.leases.look("budgets"))
        assert fence is not None
        self.kept.append(open_kept(self.place))
        stored = StoredBudgets(self.kept[-1], fence)
        state = stored.changes()
        coordinator = Coordinator(shared_limits_of(CONFIGURED, state.parts))
        server = take_over(stored, coordinator, asyncio.get_running_loop().time())
        server.changes = OrderedChanges(
            state, stored.keep_changes, lambda parts: coordinator.set_limits(shared_limits_of(CONFIGURED, parts))
        )
        await server.listen("127.0.0.1", self.ports[len(self.servers) % 2], SECRET, None)
        self.servers.append(server)
        return server

    async def close(self) -> None:
        for server in self.servers:
            await server.close()
        for one in self.kept:
            one.close()
        self.leases.close()


class Place:
    """An office, an engine, and gateways by name."""

    def __init__(self, folder: Path, office: Office, url: str) -> None:
        self.folder, self.office, self.url = folder, office, url

    def gateway(self, name: str) -> Any:
        given_ = settings(self.url, tenants=TENANTS, keys=KEYS)
        return start(given_, self.folder / name, coordinator=self.office.remote, together=True)


@asynccontextmanager
async def place(folder: Path) -> AsyncIterator[Place]:
    office = Office(folder / "office")
    async with Scripted() as engine:
        try:
            yield Place(folder, office, engine.url)
        finally:
            await office.close()


async def within(seconds: float, holds: Callable[[], Awaitable[bool]]) -> float:
    """How long until it holds."""
    began = time.monotonic()
    while not await holds():
        assert time.monotonic() - began < seconds
        await asyncio.sleep(0.02)
    return time.monotonic() - began


def takes(gateway: Gateway, secret: str) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return await chat(gateway, secret) == ""

    return check


def refuses(gateway: Gateway, secret: str) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return await chat(gateway, secret) == "invalid_api_key"

    return check


def test_a_change_at_one_gateway_is_in_force_at_the_others_within_a_second(tmp_path: Path) -> None:
    async def body() -> None:
        async with place(tmp_path) as here:
            await here.office.elect()
            async with here.gateway("a") as a, here.gateway("b") as b:
                _, made = await ask(a, "POST", "/admin/keys", {"id": "new", "tenant": "acme"})
                await within(1.0, takes(b, made["key"]))
                assert (await ask(b, "DELETE", "/admin/keys/new"))[0] == 200
                await within(1.0, refuses(a, made["key"]))
                # A tenant with a budget that no file names: the coordinator knows it as soon as the gateways do.
                limits = {"budget_usd": "0.00005", "requests_per_minute": 50}
                assert (await ask(b, "POST", "/admin/tenants/late", {"limits": limits}))[0] == 200
                _, made = await ask(b, "POST", "/admin/keys", {"tenant": "late"})
                await within(1.0, takes(a, made["key"]))
                assert await chat(a, made["key"], max_tokens=900) == "insufficient_quota"
                # A tariff, an engine, a replica that is held.
                assert (await ask(a, "POST", "/admin/models/m", {"output_usd_per_mtok": "0.8"}))[0] == 200
                assert (await ask(b, "POST", "/admin/engines/more", {"url": "http://127.0.0.1:9"}))[0] == 200
                assert (await ask(a, "POST", "/admin/replicas/more", {"state": "draining"}))[0] in (200, 404)

                async def told() -> bool:
                    models, engines = await ask(b, "GET", "/admin/models"), await ask(a, "GET", "/admin/engines")
                    prices = [one["output_usd_per_mtok"] for one in models[1]["data"]]
                    return prices == ["0.8"] and any(one["id"] == "more" for one in engines[1]["data"])

                await within(1.0, told)

    asyncio.run(body())


def test_a_gateway_says_since_when_it_has_not_heard_of_changes(tmp_path: Path) -> None:
    async def body() -> None:
        async with place(tmp_path) as here:
            server = await here.office.elect()
            async with here.gateway("a") as a:

                async def heard_s() -> float:
                    _, text = await ask(a, "GET", "/metrics")
                    return float(str(text).partition("\ntieline_gateway_coordinator_heard_seconds ")[2].split()[0])

                assert await heard_s() < 1.5, "it is asked once a second"
                await server.close()
                before = await heard_s()
                await asyncio.sleep(0.3)
                assert await heard_s() >= before + 0.3

    asyncio.run(body())


def test_a_request_waits_for_the_coordinator_that_follows_and_no_longer_than_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        async with place(tmp_path) as here:
            first = await here.office.elect()
            async with here.gateway("a") as a:
                limits = {"budget_usd": "5"}
                assert (await ask(a, "POST", "/admin/tenants/late", {"limits": limits}))[0] == 200
                _, made = await ask(a, "POST", "/admin/keys", {"tenant": "late"})
                await within(2.0, takes(a, made["key"]))
                await first.close()
                asked = asyncio.create_task(chat(a, made["key"], max_tokens=900))  # more than it has at hand
                await asyncio.sleep(1.0)
                assert not asked.done()
                second = await here.office.elect()
                assert await asked == ""
                monkeypatch.setattr("tieline.gateway.budgets.client.FOLLOWED_S", 0.3)
                await second.close()
                began = time.monotonic()
                assert await chat(a, made["key"], max_tokens=990) == "budget_unavailable"
                assert 0.3 <= time.monotonic() - began < 3.0

    asyncio.run(body())


def test_two_administrators_at_once_lose_nothing_and_give_no_name_twice(tmp_path: Path) -> None:
    async def body() -> None:
        async with place(tmp_path) as here:
            server = await here.office.elect()
            async with here.gateway("a") as a, here.gateway("b") as b:
                gateways = (a, b) * 6
                different = [
                    ask(gateway, "POST", "/admin/keys", {"id": f"k{n}", "tenant": "acme"})
                    for n, gateway in enumerate(gateways)
                ]
                answers = await asyncio.gather(*different)
                assert [status for status, _ in answers] == [201] * 12
                same = await asyncio.gather(
                    *(ask(gateway, "POST", "/admin/keys", {"id": "one", "tenant": "acme"}) for gateway in (a, b))
                )
                assert sorted(status for status, _ in same) == [201, 409]
                for gateway in (a, b):
                    for _, made in answers:
                        await within(1.0, takes(gateway, made["key"]))
                assert server.changes is not None
                assert server.changes.number == 13

    asyncio.run(body())


def test_a_gateway_that_was_away_and_a_coordinator_that_died_go_on_from_what_was_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tieline.gateway.budgets.client.CALL_S", 0.5)

    async def body() -> None:
        async with place(tmp_path) as here:
            first = await here.office.elect()
            async with here.gateway("a") as a:
                async with here.gateway("b") as b:
                    _, made = await ask(a, "POST", "/admin/keys", {"id": "new", "tenant": "acme"})
                    await within(1.0, takes(b, made["key"]))
                assert (await ask(a, "DELETE", "/admin/keys/new"))[0] == 200
                async with here.gateway("b") as b:  # it was stopped meanwhile
                    await within(1.0, refuses(b, made["key"]))
                # The coordinator stands still and another is elected: what the first is asked, it cannot write down.
                second = await here.office.elect()
                status, answer = await ask(a, "DELETE", "/admin/keys/acme-old")
                assert (status, answer["error"]["code"]) == (503, "unavailable")
                assert "nothing was changed" in answer["error"]["message"]
                assert await chat(a, "old") == ""
                await first.close()

                async def revoked() -> bool:
                    await first.close()  # also a connection that was only being made
                    return (await ask(a, "DELETE", "/admin/keys/acme-old"))[0] == 200

                await within(5.0, revoked)
                assert second.changes is not None
                assert second.changes.number == 3

                async def away() -> bool:
                    await second.close()
                    return (await ask(a, "POST", f"/admin/tenants/x{time.monotonic_ns()}", {}))[0] == 503

                await within(5.0, away)
            # Nobody coordinates: what was heard last holds, from its own disk.
            async with here.gateway("a") as a:
                assert await chat(a, "old") == "invalid_api_key"

    asyncio.run(body())


def test_a_store_that_lost_changes_is_told_what_was_taken_away_and_one_behind_hears_all(tmp_path: Path) -> None:
    async def body() -> None:
        async with place(tmp_path) as here:
            first = await here.office.elect()
            async with here.gateway("a") as a:
                assert (await ask(a, "POST", "/admin/tenants/acme", {"weight": 2}))[0] == 200
                before = here.office.kept[-1].read("changes").body
                assert (await ask(a, "DELETE", "/admin/keys/acme-old"))[0] == 200
                assert (await ask(a, "POST", "/admin/tenants/later", {}))[0] == 200
                fence = here.office.leases.take("budgets", "restore", "", here.office.leases.look("budgets"))
                assert fence is not None
                here.office.kept[-1].put("changes", before, fence)
                second = await here.office.elect()
                await first.close()
                assert second.changes is not None
                assert second.changes.number == 1

                async def back() -> bool:
                    await first.close()  # also a connection that was only being made
                    assert second.changes is not None
                    return {"revoked", "tenants"} <= second.changes.state.parts.keys() and second.changes.number > 3

                await within(5.0, back)
                overlay, _ = overlay_of(second.changes.state.parts)
                assert overlay.revoked == ("acme-old",)
                assert set(overlay.tenants) == {"acme", "later"}

    asyncio.run(body())


def test_what_gateways_changed_alone_before_is_brought_together_once(tmp_path: Path) -> None:
    async def body() -> None:
        async with place(tmp_path) as here:
            for name in ("a", "b"):
                given_ = settings(here.url, tenants=TENANTS, keys=KEYS)
                async with start(given_, tmp_path / name) as alone:
                    assert (await ask(alone, "POST", "/admin/keys", {"id": f"of-{name}", "tenant": "acme"}))[0] == 201
            await here.office.elect()
            async with here.gateway("a") as a, here.gateway("b") as b:

                async def both() -> bool:
                    known = [{one["id"] for one in (await ask(one, "GET", "/admin/keys"))[1]["data"]} for one in (a, b)]
                    return all({"of-a", "of-b"} <= keys for keys in known)

                await within(2.0, both)
                assert (await ask(a, "DELETE", "/admin/keys/of-a"))[0] == 200
            (tmp_path / "b" / CHANGES_FILE).unlink()  # it would offer its own again
            async with here.gateway("b") as b:
                await within(2.0, both_lack(b))

    def both_lack(b: Gateway) -> Callable[[], Awaitable[bool]]:
        async def check() -> bool:
            known = {one["id"] for one in (await ask(b, "GET", "/admin/keys"))[1]["data"]}
            return "of-b" in known and "of-a" not in known

        return check

    asyncio.run(body())


# --- versions side by side ----------------------------------------------------------------------


def of(plain: Any) -> dict[str, dict[str, msgspec.Raw]]:
    return patched({}, patch_from(plain))


def test_what_a_newer_version_wrote_is_read_as_far_as_it_goes_and_passed_on() -> None:
    parts = of(
        {
            "tenants": {
                "acme": {"id": "acme", "weight": 3.0, "colour": "red", "limits": {"concurrent": 2, "per_hour": 9}}
            },
            "keys": {"k": {"id": "k", "sha256": "0" * 64, "tenant": "acme", "role": "auditor"}},
            "engines": {"e": {"url": "http://127.0.0.1:1", "id": "e", "mood": 1}},
            "quotas": {"q": {"a": 1}},
        }
    )
    overlay, lines = overlay_of(parts)
    assert overlay.tenants["acme"].weight == 3.0
    assert overlay.tenants["acme"].limits.concurrent == 2
    assert overlay.revoked == ("k",), "a role that is not known lets nobody in"
    assert overlay.engines["e"].url == "http://127.0.0.1:1"
    assert len(lines) == 3
    assert any("colour" in line and "newer version" in line for line in lines)
    changed = msgspec.structs.replace(
        overlay, tenants={"acme": msgspec.structs.replace(overlay.tenants["acme"], weight=5.0)}
    )
    patch = patch_of(parts, overlay, changed)
    assert list(patch) == ["tenants"]
    after = unpack(pack(InForce(7, patched(parts, patch)))).parts
    assert json.loads(bytes(after["tenants"]["acme"]))["colour"] == "red"
    assert json.loads(bytes(after["tenants"]["acme"]))["weight"] == 5.0
    assert set(after) == set(parts), "a part that this version has no name for stays"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["set", "drop", "revoke", "load", "held"]),
            st.sampled_from(["a", "b", "c"]),
            st.integers(1, 5),
        ),
        max_size=12,
    )
)
def test_changes_one_by_one_come_to_the_same_as_all_of_it(steps: list[tuple[str, str, int]]) -> None:
    told: list[bytes] = []
    changes = OrderedChanges(InForce(), told.append, lambda parts: None)
    overlay, heard = Overlay(), InForce()
    for what, name, number in steps:
        before = overlay
        if what == "set":
            tenant = Tenant(id=name, limits=Limits(concurrent=number))
            overlay = msgspec.structs.replace(overlay, tenants=overlay.tenants | {name: tenant})
        elif what == "drop":
            kept = {one: tenant for one, tenant in overlay.tenants.items() if one != name}
            overlay = msgspec.structs.replace(overlay, tenants=kept)
        elif what == "load":
            overlay = msgspec.structs.replace(overlay, loads=overlay.loads + number)
        else:
            field = "revoked" if what == "revoke" else "held"
            names = {*getattr(overlay, field)} ^ {name}
            overlay = msgspec.structs.replace(overlay, **{field: tuple(sorted(names))})
        change = changes.propose(changes.number, patch_of(heard.parts, before, overlay))
        assert change is not None
        assert changes.propose(change.number - 1, {}) is None
        heard = InForce(change.number, patched(heard.parts, change.patch))
        assert overlay_of(heard.parts)[0] == overlay
    assert changes.number == len(steps)
    if told:
        assert overlay_of(unpack(told[-1]).parts)[0] == overlay
    together: dict[str, dict[str, msgspec.Raw]] = {}
    for piece in pieces(lacking(heard.parts, {}, tuple(heard.parts))):
        together = patched(together, piece)
    assert overlay_of(together)[0] == overlay


def test_a_file_that_is_cut_short_or_is_no_such_file_is_one_line() -> None:
    whole = pack(InForce(3, of({"revoked": {"k": True}})))
    for body in (whole[:-3], b"", b"{}", whole[:1] + whole[3:]):
        with pytest.raises(SettingsError) as told:
            unpack(body)
        assert "\n" not in str(told.value)


def test_a_key_of_a_tenant_that_the_coordinators_file_contradicts_leaves_its_limits() -> None:
    two = [Key(id=one, sha256=hash_key("same"), tenant="acme", limits=Limits(concurrent=1)) for one in ("k1", "k2")]
    parts = of(
        {
            "tenants": {"acme": msgspec.to_builtins(Tenant(id="acme", limits=Limits(concurrent=3)))},
            "keys": {one.id: msgspec.to_builtins(one) for one in two},
        }
    )
    assert shared_limits_of(CONFIGURED, parts) == {"tenant:acme|concurrent": 3}

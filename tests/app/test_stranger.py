"""Who knows nothing of a site brings it up: joins a second folder by token, sees its rigs, sends orders, has rigs
tended and mine elsewhere, cuts the link, orders again at the site, revokes. Over the real server and real sockets."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from click.testing import CliRunner, Result
from tests.app.badlink import BadLink
from tests.app.link_place import Place, place, until
from tests.app.test_commands import give
from tests.edge.rack import BLOCK

from tieline.app import agent_run
from tieline.app.joins import Credentials
from tieline.app.runtime import free_port
from tieline.cli import main
from tieline.clock import wall_now
from tieline.edge.local.door import LocalDoor
from tieline.edge.rigs.identify import FAKE_PORTS
from tieline.edge.rigs.pooling import repool
from tieline.fleet.sites import RigGroup
from tieline.people.proposals import asked, said
from tieline.people.proposals import proposed as as_proposed
from tieline.records import Action, Instruction, Outcome
from tieline.sim.rigs.server import FakeRigs

SITE = "na-tx-07"
LUXOS, WHATSMINER = f"{SITE}.rigs-2", f"{SITE}.rigs-6"
NEW = "stratum+tcp://new.pool:3333 acct.{rig}"


def tieline(*words: str, data: Path) -> Result:
    return CliRunner().invoke(main, [*words, "--data-dir", str(data)])


async def typed(*words: str, data: Path) -> Result:
    return await asyncio.to_thread(tieline, *words, data=data)


@contextlib.contextmanager
def fakes(here: Place) -> Iterator[dict[str, FakeRigs]]:
    groups = [g for g in here.runtime.load_config().fleet.site(SITE).rig_groups if g.id in (LUXOS, WHATSMINER)]
    yield {group.id: made(group) for group in groups}


def made(group: RigGroup) -> FakeRigs:
    return FakeRigs(group.addresses, group.rig, firmware=group.firmware, ports=FAKE_PORTS)


@contextlib.asynccontextmanager
async def stand(here: Place) -> AsyncIterator[dict[str, FakeRigs]]:
    with fakes(here) as groups:
        for one in groups.values():
            assert await one.start() == len(one.rigs)
        try:
            yield groups
        finally:
            for one in groups.values():
                await one.stop()


@contextlib.asynccontextmanager
async def agent(folder: Path, door: LocalDoor, lines: list[str]) -> AsyncIterator[None]:
    task = asyncio.create_task(agent_run._run_always(folder, lines.append, door))
    try:
        await until(lambda: task.done() or any("runs:" in line for line in lines))
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def order(name: str, limit_w: float, minutes: float) -> Instruction:
    now = wall_now()
    return Instruction(
        at=now, known_at=now, source="console", kind="measured", instruction_id=name, site_id=SITE, limit_w=limit_w,
        until=now + timedelta(minutes=minutes),
    )  # fmt: skip


def asleep(groups: dict[str, FakeRigs]) -> int:
    return sum(rig.asleep for group in groups.values() for rig in group.rigs.values())


@pytest.mark.timeout(150)
def test_a_stranger_joins_sees_rigs_orders_with_and_without_the_link_and_revokes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repool, "LOOK_S", 0.2)

    async def story() -> None:
        data, folder = tmp_path / "data", tmp_path / "site"
        data.mkdir()
        async with place(data, rig_block=BLOCK) as here, stand(here) as groups:
            here.runtime.save()
            joined = await typed("join", here.token(SITE), data=folder)
            assert joined.exit_code == 0, joined.output
            password = joined.output.strip().rpartition(" ")[2]
            proxy = BadLink(here.runtime.link_user("x").port)
            await proxy.start()
            own = Credentials.load(folder)
            msgspec.structs.replace(own, url=f"nats://127.0.0.1:{proxy.port}").save(folder)
            port, lines = free_port(), list[str]()
            async with agent(folder, LocalDoor(folder, port), lines):
                await sees_rigs(folder, groups)
                await orders_over_the_link(here, data, groups)
                await tends_and_moves_pools(here, data, groups)
                await orders_at_the_site(here, proxy, f"http://127.0.0.1:{port}", password, groups)
                await revokes(data, lines)
            await proxy.stop()

    asyncio.run(story())


async def sees_rigs(folder: Path, groups: dict[str, FakeRigs]) -> None:
    raw = folder / "sites" / SITE / "raw"
    await until(lambda: all((raw / group).is_dir() for group in groups))
    count = sum(len(group.rigs) for group in groups.values())

    async def listed() -> Result:
        return await typed("rigs", SITE, "--worst", "60", data=folder)

    while sum(BLOCK in line for line in (await listed()).output.splitlines()) < count:
        await asyncio.sleep(0.2)


async def orders_over_the_link(here: Place, data: Path, groups: dict[str, FakeRigs]) -> None:
    shown = await typed("rig", "preview", SITE, "0", data=data)
    assert "12 rigs would sleep" in shown.output, shown.output
    assert asleep(groups) == 0  # nothing was sent
    wrong = await typed("rig", "preview", SITE, "99", data=data)
    assert (wrong.exit_code, "give 0 to 19" in wrong.output) == (2, True)
    await give(here, order("a", 0.0, 60))
    await until(lambda: asleep(groups) == 24)

    def outcomes() -> list[Outcome]:
        now = wall_now()
        found = here.store.between(Outcome, now - timedelta(hours=1), now + timedelta(hours=1), subject=SITE)
        return [one for one in found if one.unit_id in groups and (one.result, one.cause) == ("applied", "order")]

    await until(lambda: {one.unit_id for one in outcomes()} == set(groups))
    await give(here, action("abort", SITE, "a"))


def action(what: str, target: str, detail: str) -> Action:
    now = wall_now()
    return Action(
        at=now, known_at=now, source="console", kind="measured", by="o", what=what, target=target, detail=detail
    )


async def tends_and_moves_pools(here: Place, data: Path, groups: dict[str, FakeRigs]) -> None:
    rigs = groups[LUXOS].rigs
    address = next(iter(rigs))
    assert (await typed("rig", "blink", LUXOS, address, data=data)).exit_code == 0
    assert rigs[address].light
    done = await typed("rig", "blink", LUXOS, address, "--off", "--json", data=data)
    assert json.loads(done.output)["what"] == "light off at site"
    for words, code, says in (
        (("blink", LUXOS, "127.0.0.9"), 1, "no rig at"), (("blink", f"{SITE}.x", address), 3, "no group of rigs"),
        (("pools", "x"), 3, "no proposal"),
    ):  # fmt: skip
        refused = await typed("rig", *words, data=data)
        assert (refused.exit_code, says in refused.output) == (code, True), refused.output
    # Without two people nothing is set, whoever says so and however.
    made = asked("pools", LUXOS, ("", NEW, "cheaper"), "ana", wall_now())
    await give(here, made, action("set pools", LUXOS, NEW))
    alone = await typed("rig", "pools", made.proposal_id, data=data)
    assert (alone.exit_code, "1 more people" in alone.output) == (1, True), alone.output
    before = {rig.pool for rig in rigs.values()}
    await give(here, *said(as_proposed([made])[made.proposal_id], "approved", "ben", "", wall_now()))
    assert {rig.pool for rig in rigs.values()} == before
    done = await typed("rig", "pools", made.proposal_id, data=data)
    assert (done.exit_code, "12 of 12 rigs read back" in done.output) == (0, True), done.output
    assert {rig.pool for rig in rigs.values()} == {"stratum+tcp://new.pool:3333"}
    assert len({rig.worker for rig in rigs.values()}) == 12
    again = await typed("rig", "pools", made.proposal_id, data=data)
    assert (again.exit_code, "it is done" in again.output) == (1, True), again.output


async def orders_at_the_site(
    here: Place, proxy: BadLink, page: str, password: str, groups: dict[str, FakeRigs]
) -> None:
    proxy.cut = True
    proxy.drop()
    header = {"x-tieline": "1"}
    async with httpx.AsyncClient(base_url=page, headers=header, trust_env=False, timeout=10.0) as browser:
        assert (await browser.get("/api/site")).status_code == 401
        assert (await browser.post("/api/login", json={"password": password})).status_code == 200
        form: dict[str, Any] = {"by": "Ana", "why": "smoke in row 3", "minutes": 30}
        for unit in groups:
            assert (await browser.post("/api/stop", json=form | {"unit_id": unit})).status_code == 200
        await until(lambda: asleep(groups) == 24)
        resumed = await browser.post("/api/resume", json={"by": "Ana"})
        assert resumed.status_code == 200, resumed.text

    def told() -> list[str]:
        now = wall_now()
        found = here.store.between(Action, now - timedelta(hours=1), now + timedelta(hours=1))
        return [one.what for one in found if one.what.endswith("at site") and one.by == f"{SITE}: Ana"]

    assert told() == []
    proxy.cut = False
    await until(lambda: {"stop at site", "resume at site"} <= set(told()))


async def revokes(data: Path, lines: list[str]) -> None:
    assert (await typed("site", "revoke", SITE, data=data)).exit_code == 0
    listed = json.loads((await typed("site", "list", "--json", data=data)).output)
    assert {one["site"]: one["runs"] for one in listed}[SITE] == "revoked"
    await until(lambda: any("is revoked" in line for line in lines))

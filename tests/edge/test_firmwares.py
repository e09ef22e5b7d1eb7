"""Each fake firmware through our own drivers, and through the unmodified libraries that know the real ones."""

from __future__ import annotations

import asyncio
import os
import sys
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.edge.edge_bench import make_site
from tests.edge.rack import AUX, addresses, rack

from tieline.edge.device import Applied, Refused
from tieline.edge.rigs.driver import RigOrder
from tieline.edge.rigs.group import AsicGroup
from tieline.edge.rigs.identify import identify
from tieline.edge.rigs.library import LibraryRig, PyasicRig
from tieline.edge.rigs.pooling import repool
from tieline.edge.rigs.pooling.pools import read_pools
from tieline.edge.rigs.register import Register
from tieline.edge.rigs.whatsminer import WhatsminerV2
from tieline.edge.rigs.wire import RefusalError
from tieline.fleet.models import RIG_MODELS
from tieline.intake import IntakeError
from tieline.sim.rigs import antminer, vnish, whatsminer
from tieline.sim.rigs.server import FakeRigs

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="many loopback addresses are a Linux feature"),
    pytest.mark.skipif(sys.platform == "linux" and os.geteuid() != 0, reason="port 80 needs a privilege here"),
]

MODELS = {
    "luxos": "Antminer S21",
    "antminer": "Antminer S19 XP",
    "antminer-2019": "Antminer S19",
    "whatsminer-v2": "Whatsminer M50S",
    "whatsminer-v3": "Whatsminer M60S",
    "vnish": "Antminer S19j Pro",
    "braiins": "Antminer S19 Pro",
}
OWN = ("luxos", "antminer", "antminer-2019", "whatsminer-v2", "whatsminer-v3", "vnish", "braiins")


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]


@pytest.mark.parametrize("firmware", MODELS)
def test_each_firmware_blinks_and_reboots_for_a_person(firmware: str) -> None:
    async def story() -> None:
        async with rack(1, model=MODELS[firmware], firmware=firmware) as it:
            await it.heard()
            address = it.addresses[0]
            fake = it.rigs.rigs[address]
            for on in (True, True, False):
                await it.group.tend(address, "light on" if on else "light off")
                assert fake.light is on
            starts = fake.starts
            await it.group.tend(address, "reboot")
            assert fake.starts == starts + 1
            for wrong, says in (("127.0.0.99", "no rig at"), (address, "held down")):
                await it.ask(0.0)
                with pytest.raises(RefusalError, match=says):
                    await it.group.tend(wrong, "reboot")

    run(story)


POOLS = "stratum+tcp://new.pool:3333 acct.{rig} x; stratum+tcp://second.pool:3333 acct.{rig}"


@pytest.mark.parametrize("firmware", MODELS)
def test_pools_are_set_on_each_firmware_and_read_back(firmware: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repool, "READ_BACK_S", 1.5)
    monkeypatch.setattr(repool, "LOOK_S", 0.2)

    async def story() -> None:
        async with rack(3, model=MODELS[firmware], firmware=firmware) as it:
            await it.heard()
            await it.ask(0.0)  # held down, and it stays so
            await it.told()
            found = await it.group.set_pools(read_pools(POOLS))
            assert (found.done, found.not_done) == (3, ())
            for address, fake in it.rigs.rigs.items():
                name = "acct." + "x".join(address.split(".")[-2:])
                assert fake.pools == [("stratum+tcp://new.pool:3333", name), ("stratum+tcp://second.pool:3333", name)]
                assert fake.asleep
            await it.heard()
            assert not [rig.drift for rig in it.group.rigs if rig.drift is not None]  # expected from now on
            # The first says yes and does nothing: the others are left where they were.
            first = it.rigs.rigs[it.addresses[0]]
            first.faults.add("stuck")
            found = await it.group.set_pools(read_pools("stratum+tcp://third.pool:1 w"))
            assert found.done == 0
            assert "not read back" in dict(found.not_done)[it.addresses[0]]
            assert "not tried" in dict(found.not_done)[it.addresses[1]]
            assert {one.pool for one in it.rigs.rigs.values()} == {"stratum+tcp://new.pool:3333"}
            first.faults = {"refuse"}
            assert (await it.group.set_pools(read_pools("stratum+tcp://third.pool:1 w"))).done == 0

    run(story)


@pytest.mark.parametrize("firmware", MODELS)
def test_asic_rs_sets_pools_on_each_fake_as_our_drivers_do(firmware: str) -> None:
    import pyasic_rs

    async def story() -> None:
        async with rack(1, model=MODELS[firmware], firmware=firmware) as it:
            (address,) = it.addresses
            theirs = LibraryRig(await pyasic_rs.MinerFactory().get_miner(address), firmware)
            await theirs.set_pools(read_pools("stratum+tcp://lib.pool:3333 w; stratum+tcp://b:1 v"))
            assert it.rigs.rigs[address].pools == [("stratum+tcp://lib.pool:3333", "w"), ("stratum+tcp://b:1", "v")]

    run(story)


@pytest.mark.parametrize(
    "text", ["", "x", "http://a:1 w", "stratum+tcp://a w", "stratum+tcp://a:1 w x y", "stratum+tcp://a:1 w,v",
             "stratum+tcp://a:1 \x00", ";".join(["stratum+tcp://a:1 w"] * 4), "stratum+tcp://a:99999 w"],
)  # fmt: skip
def test_pools_that_are_none_are_one_line(text: str) -> None:
    with pytest.raises(IntakeError, match="pools"):
        read_pools(text)


@pytest.mark.parametrize("firmware", MODELS)
def test_a_group_reads_pauses_and_wakes_rigs_of_each_firmware(firmware: str) -> None:
    async def story() -> None:
        async with rack(2, model=MODELS[firmware], firmware=firmware) as it:
            rated = it.group.group.rig.power_w
            for rig in it.group.rigs:
                rig.driver = await identify(rig.address, "auto", {})
            reading = await it.heard()
            assert reading.devices_heard == 2, it.group.rigs[0].why_silent
            assert reading.complaints == ()
            assert reading.power_w == pytest.approx(2 * rated * AUX, rel=0.02)
            assert reading.hashrate_hs == pytest.approx(2 * it.group.group.rig.hashrate_ths * 1e12, rel=0.02)
            first = it.group.register.at(it.addresses[0])
            assert first.mac == it.rigs.rigs[it.addresses[0]].mac
            assert (first.pool, first.worker) == ("stratum+tcp://pool.simulated:3333", first.worker)
            assert first.worker == it.rigs.rigs[it.addresses[0]].worker

            assert isinstance(await it.ask(0), Applied)
            assert it.awake == 0
            assert (await it.heard()).power_w <= it.group.lowest_w * 1.1
            assert isinstance(await it.ask(2 * rated * AUX), Applied)
            assert it.awake == 2

            for address in it.addresses:
                it.rigs.inject(address, "refuse")
            await it.heard()
            await it.ask(0)
            assert isinstance(await it.ask(0), Refused)

    run(story)


@pytest.mark.parametrize(
    ("firmware", "module", "name"),
    [
        ("antminer", antminer, "PASSWORD"),
        ("vnish", vnish, "PASSWORD"),
        ("whatsminer-v2", whatsminer, "PASSWORD"),
        ("whatsminer-v3", whatsminer, "PASSWORD_V3"),
    ],
)
def test_a_password_of_the_sites_own_is_used(
    firmware: str, module: object, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, "changed-by-the-site")

    async def story() -> None:
        rig, rigs = await one(firmware)
        wrong = await identify(rig.address, firmware, {})
        with pytest.raises(RefusalError):
            await wrong.tell(RigOrder("sleep"))
        right = await identify(rig.address, firmware, {}, {firmware: "changed-by-the-site"})
        await right.tell(RigOrder("sleep"))
        assert rig.asleep
        await rigs.stop()

    run(story)


@pytest.mark.parametrize("firmware", [name for name in OWN if not name.startswith("antminer")])
def test_the_lower_mode_is_a_preset_or_a_power_limit(firmware: str) -> None:
    async def story() -> None:
        async with rack(2, model=MODELS[firmware], firmware=firmware) as it:
            rated = it.group.group.rig.power_w
            await it.heard()
            await it.ask(0.72 * 2 * rated * AUX, low=1.0)
            reading = await it.heard()
            assert it.awake == 2
            assert reading.power_w == pytest.approx(0.72 * 2 * rated * AUX, rel=0.01)
            await it.ask(2 * rated * AUX, normal=1.0)
            assert (await it.heard()).power_w == pytest.approx(2 * rated * AUX, rel=0.01)

    run(story)


@pytest.mark.parametrize("firmware", ["luxos", "vnish", "braiins"])
def test_a_lowered_rig_is_not_taken_for_normal_after_a_restart(firmware: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with rack(1, model=MODELS[firmware], firmware=firmware, register=Register(tmp_path)) as it:
            rated = it.group.group.rig.power_w
            await it.heard()
            await it.ask(0.72 * rated * AUX, low=1.0)
            await it.heard()
            await it.group.close()
            again = AsicGroup(make_site(), it.group.group, lambda _: 15.0, Register(tmp_path))
            it.group = again  # a new agent finds it running low
            assert (await it.heard()).power_w == pytest.approx(0.72 * rated * AUX, rel=0.01)
            await it.ask(rated * AUX, normal=1.0)
            assert (await it.heard()).power_w == pytest.approx(rated * AUX, rel=0.01)

    run(story)


def test_a_firmware_without_a_lower_mode_runs_as_many_rigs_as_draw_the_same() -> None:
    async def story() -> None:
        async with rack(10, model="Antminer S19 XP", firmware="antminer") as it:
            await it.heard()
            await it.ask(0.72 * 10 * 3010 * AUX, low=1.0)
            assert it.awake == 7

    run(story)


@pytest.mark.parametrize("firmware", MODELS)
@pytest.mark.parametrize("fault", ["half_frame", "html", "unreachable"])
def test_each_driver_calls_nonsense_silence(firmware: str, fault: str) -> None:
    async def story() -> None:
        async with rack(2, model=MODELS[firmware], firmware=firmware) as it:
            await it.heard()
            it.rigs.inject(it.addresses[0], fault)  # type: ignore[arg-type]
            reading = await it.heard()
            assert reading.devices_heard == 1
            assert it.group.rigs[0].why_silent

    run(story)


@pytest.mark.parametrize("firmware", MODELS)
def test_asic_rs_identifies_reads_pauses_and_resumes_each_fake(firmware: str) -> None:
    import pyasic_rs

    async def story() -> None:
        rig, rigs = await one(firmware)
        try:
            miner = await pyasic_rs.MinerFactory().get_miner(rig.address)
            assert miner is not None
            data = await miner.get_data()
            if firmware != "braiins":  # whose MAC it reads from a page that the fake does not have
                assert str(data.mac).lower() == rig.mac
            assert data.hashrate is not None
            rate = await LibraryRig(miner, "x").poll()
            assert rate.hashrate_hs == pytest.approx(rig.model.hashrate_ths * 1e12, rel=0.02)
            assert (rate.pool, rate.worker) == (rig.pool, rig.worker)
            assert miner.supports_pause
            assert await miner.pause()
            assert rig.asleep
            assert await miner.resume()
            assert not rig.asleep
        finally:
            await rigs.stop()

    run(story)


@pytest.mark.parametrize("firmware", MODELS)
def test_pyasic_identifies_reads_pauses_and_resumes_each_fake(firmware: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pyasic

    async def story() -> None:
        rig, rigs = await one(firmware)
        try:
            miner: Any = await pyasic.get_miner(rig.address)
            assert miner is not None
            data = await miner.get_data()
            if firmware != "luxos":  # its getter is broken in the library
                assert str(data.mac).lower() == rig.mac
            raw = await PyasicRig(miner).poll()
            if firmware != "whatsminer-v3":  # whose pools it does not find
                assert (raw.pool, raw.worker) == (rig.pool, rig.worker)
            assert await miner.stop_mining()
            assert rig.asleep
            assert await miner.resume_mining()
            assert not rig.asleep
        finally:
            await rigs.stop()

    run(story)


async def one(firmware: str) -> tuple[Any, FakeRigs]:
    rigs = FakeRigs(addresses(1), RIG_MODELS[MODELS[firmware]], firmware=firmware)
    assert await rigs.start() == 1, rigs.problem
    return next(iter(rigs.rigs.values())), rigs


def test_a_token_is_had_before_it_is_needed_and_a_rig_that_gives_none_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """An order to many rigs costs a question each, not the making of a token each."""

    async def story() -> None:
        async with rack(2, model="Whatsminer M50S", firmware="whatsminer-v2") as it:
            await it.heard()
            before = {address: rig.calls for address, rig in it.rigs.rigs.items()}
            await it.ask(0.0)
            assert all(rig.asleep for rig in it.rigs.rigs.values())
            assert {rig.calls - before[address] for address, rig in it.rigs.rigs.items()} == {1}

            async def none(self: WhatsminerV2) -> tuple[bytes, str]:
                raise RefusalError("get_token: no")

            monkeypatch.setattr(WhatsminerV2, "_new_token", none)
            for rig in it.group.rigs:
                assert isinstance(rig.driver, WhatsminerV2)
                rig.driver._token_until = float("-inf")
            assert (await it.heard()).devices_heard == 2

    asyncio.run(story())


def test_a_session_is_had_before_it_is_needed_and_after_a_restart_anew() -> None:
    """An order to many LuxOS rigs costs a question each."""

    async def story() -> None:
        async with rack(2, model="Antminer S21", firmware="luxos") as it:
            await it.heard()
            before = {address: rig.calls for address, rig in it.rigs.rigs.items()}
            await it.ask(0.0)
            assert all(rig.asleep for rig in it.rigs.rigs.values())
            assert {rig.calls - before[address] for address, rig in it.rigs.rigs.items()} == {1}
            for rig in it.rigs.rigs.values():
                rig.session = ""  # as after a restart
            await it.ask(1e9)
            await it.heard()
            assert not any(rig.asleep for rig in it.rigs.rigs.values())

    asyncio.run(story())

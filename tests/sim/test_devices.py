"""Modelled devices behind an agent: what a plan asks is what the model draws."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tieline import config
from tieline.clock import SimClock
from tieline.dispatch.inference.gpu import load_table
from tieline.edge.device import Reading
from tieline.edge.sites import SiteHost, make_agent
from tieline.edge.surroundings import Surroundings
from tieline.link import Link, LocalLink
from tieline.records import Demand, Instruction, Reason, Setpoint, WeatherTick
from tieline.sim.devices import ModelledDevice, ModelledFleet

NOON = datetime(2026, 8, 20, 12, 0, tzinfo=UTC)


def world(temp_c: float | None = 15.0) -> tuple[config.Config, ModelledFleet, Surroundings]:
    loaded, around = config.demo(), Surroundings()
    if temp_c is not None:
        for station in loaded.fleet.stations:
            around.take(
                WeatherTick(at=NOON, known_at=NOON, source="test", kind="simulated", station=station, temp_c=temp_c)
            )
    table = load_table("llama-3.1-70b_4xh100")
    return loaded, ModelledFleet(loaded.fleet, table, 128, around), around


def read(device: ModelledDevice, now: datetime) -> Reading:
    answer = asyncio.run(device.read(now))
    assert isinstance(answer, Reading)
    return answer


def test_a_modelled_group_draws_what_it_is_asked_and_says_that_it_is_simulated() -> None:
    loaded, fleet, _ = world()
    site = loaded.fleet.site("na-tx-02")
    rigs = fleet.device(site, site.rig_groups[0])
    assert rigs.kind == "simulated"
    why = Reason(rule="test", text="test")
    assert (read(rigs, NOON).hashrate_hs or 0) > 0.8 * site.deployed_hs  # found running
    asyncio.run(rigs.apply(Setpoint(unit_id=rigs.unit_id, target_w=0.0, reason=why), NOON))
    asleep = read(rigs, NOON + timedelta(seconds=2))
    assert asleep.hashrate_hs == 0
    asyncio.run(rigs.apply(Setpoint(unit_id=rigs.unit_id, target_w=20e6, reason=why), NOON))
    first = read(rigs, NOON + timedelta(seconds=5))
    assert first.power_w == pytest.approx(20e6, rel=1e-3)
    assert first.hashrate_hs == 0  # a slow group draws for five minutes before it hashes
    later = read(rigs, NOON + timedelta(minutes=10))
    later = read(rigs, NOON + timedelta(minutes=11))
    assert later.hashrate_hs is not None
    assert later.hashrate_hs > 0.4 * site.deployed_hs


def test_sites_that_nobody_here_commands_run_as_their_host_runs_them() -> None:
    loaded, fleet, _ = world(temp_c=None)
    for site in loaded.fleet.sites:
        total = sum(read(fleet.device(site, unit), NOON).power_w for unit in site.units)
        assert total <= site.interconnect.limit_w
        if site.ownership == "hosted":
            assert total > 0.8 * site.interconnect.limit_w


def test_demand_heard_over_the_link_makes_modelled_tokens() -> None:
    loaded, fleet, around = world()
    site = loaded.fleet.site("na-oh-02")
    gpu = fleet.device(site, site.node_groups[0])
    assert read(gpu, NOON).tokens_per_s == 0
    around.take(
        Demand(
            at=NOON, known_at=NOON, source="test", kind="simulated", model="llama-3.1-70b",
            region="north_america", output_tokens_per_s=50_000.0,
        )
    )  # fmt: skip
    assert (read(gpu, NOON + timedelta(minutes=2)).tokens_per_s or 0) > 0


def test_old_weather_is_no_weather() -> None:
    loaded, _, around = world(temp_c=15.0)
    site = loaded.fleet.site("na-ga-01")
    assert around.temp_c(site, NOON) == 19.0  # station plus the site's own offset
    assert around.temp_c(site, NOON + timedelta(hours=4)) is None


async def no_link(_: str) -> Link:
    return LocalLink()


def test_an_agent_on_modelled_devices_keeps_a_grid_order(tmp_path: Path) -> None:
    loaded, fleet, around = world()
    site = loaded.fleet.site("na-tx-01")
    clock = SimClock(NOON)

    async def story() -> float:
        host = SiteHost(
            loaded, clock, tmp_path, no_link, device_factory=lambda s, unit, _: fleet.device(s, unit),
            surroundings=around,
        )  # fmt: skip
        agent, _ = make_agent(host, site, LocalLink())
        for unit in site.units:
            full = Setpoint(
                unit_id=unit.id, target_w=unit.rated_w * 1.04, reason=Reason(rule="test", text="test"),
            )  # fmt: skip
            await fleet.device(site, unit).apply(full, NOON)
        agent.take(
            Instruction(
                at=NOON, known_at=NOON, source="grid", kind="simulated", instruction_id="i", site_id=site.id,
                limit_w=10e6, until=NOON + timedelta(hours=1),
            ),
            NOON,
        )  # fmt: skip
        for _ in range(3):
            clock.set(clock.now() + timedelta(seconds=2))
            await agent.step(clock.now())
        total = sum(r.power_w for r in [await fleet.device(site, u).read(clock.now()) for u in site.units])  # type: ignore[union-attr]
        await agent.close()
        return float(total)

    total = asyncio.run(story())
    assert 9e6 < total <= 10e6

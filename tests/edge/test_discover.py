"""Rigs found in a range of addresses, silent ones and nonsense among them."""

from __future__ import annotations

import asyncio
import sys

import pytest
from click.testing import CliRunner
from tests.edge.rack import BLOCK, addresses

from tieline import cli
from tieline.edge.discover import addresses_of, discover
from tieline.fleet.models import RIG_MODELS
from tieline.sim.rigs.server import FakeRigs


@pytest.mark.skipif(sys.platform != "linux", reason="many loopback addresses are a Linux feature")
def test_every_rig_of_a_range_is_found_and_named() -> None:
    async def story() -> None:
        block = BLOCK.rsplit(".", 1)[0]
        wanted = addresses_of(f"{BLOCK}.0/22")
        assert len(wanted) == 1022
        assert wanted[0].startswith(block)
        ours = [a for a in addresses(12) if a in wanted]
        luxos = FakeRigs(ours[:6], RIG_MODELS["Antminer S21"])
        whats = FakeRigs(ours[6:], RIG_MODELS["Whatsminer M60S"], firmware="whatsminer-v3")
        assert await luxos.start() + await whats.start() == len(ours)
        luxos.inject(ours[0], "unreachable")
        luxos.inject(ours[1], "hang")
        async with asyncio.timeout(60):
            found = {one.address: one for one in await discover(wanted)}
        assert set(found) == set(ours[2:])
        assert [found[a].firmware for a in ours[2:]] == ["luxos"] * 4 + ["whatsminer-v3"] * (len(ours) - 6)
        assert found[ours[2]].raw.mac == luxos.rigs[ours[2]].mac
        await luxos.stop()
        await whats.stop()

    asyncio.run(story())


@pytest.mark.parametrize(("network", "says"), [("10.0.0.0/8", "at most 4096"), ("nowhere", "does not appear")])
def test_a_range_that_is_none_is_one_line(network: str, says: str) -> None:
    said = CliRunner().invoke(cli.main, ["discover", network])
    assert said.exit_code == 2
    assert says in said.output

"""The live controller and the backtest's harness on the same invented days: two ways to one sum."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from tieline.backtest.data import load
from tieline.backtest.lookahead import Tieline
from tieline.backtest.policies import GroupStrike, Policy
from tieline.backtest.run import drive
from tieline.dispatch import Settings
from tieline.dispatch.inputs.forecast import SLOT_S
from tieline.dispatch.settings import Policy as PolicyName
from tieline.feeds.days.example import CALM
from tieline.feeds.days.recorded import RecordedFolder
from tieline.fleet import Fleet, Site
from tieline.replay.asked import WARM_UP, Asked
from tieline.replay.run import replay


@dataclass(frozen=True)
class Sums:
    """USD."""

    net: float
    mining: float
    power: float
    wear: float


def mining_alone(fleet: Fleet) -> Fleet:
    """Without inference, whose demand the two model apart (a backtest has batch work of its own), and eight sites of
    forty, one market after another."""
    sites: dict[str | None, list[Site]] = {}
    for site in fleet.sites:
        if site.rig_groups:
            feeders = tuple(f for f in site.feeders if f.load == "mining")
            bare = msgspec.structs.replace(site, node_groups=(), feeders=feeders)
            sites.setdefault(site.contract.market, []).append(bare)
    first = [found[0] for _, found in sorted(sites.items(), key=lambda kept: str(kept[0]))]
    return msgspec.structs.replace(fleet, sites=tuple(first[:8]))


def lived(folder: RecordedFolder, fleet: Fleet, settings: Settings, start: datetime, end: datetime) -> Sums:
    records = folder.records(fleet, start, end, 1.0, with_events=False)
    money = asyncio.run(replay(Asked(fleet, settings, records, start, end, "days", 1.0, ()))).money
    return Sums(money.net_usd, money.mining_usd, money.power_usd, money.wear_usd)


def harness(
    folder: Path, fleet: Fleet, settings: Settings, start: datetime, end: datetime, policies: tuple[Policy, Policy]
) -> Sums:
    """From the warm-up on, less the warm-up: a backtest begins with nothing running."""
    tallies = []
    for policy, until in zip(policies, (end, start), strict=True):
        world = load(folder, [("days", start - WARM_UP, until)], events=False, settings=settings, fleet=fleet)
        tallies.append(drive(world, policy, settings, SLOT_S))
    whole, before = tallies
    return Sums(
        whole.net - before.net, whole.mining - before.mining, whole.power - before.power, whole.wear - before.wear
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("policy", "made", "days"), [("strike", GroupStrike, 7), ("lookahead", Tieline, 7)], ids=["strike", "lookahead"]
)
def test_a_week_through_both_differs_by_less_than_a_tenth_of_a_percent(
    example_days: Path, policy: PolicyName, made: type, days: int
) -> None:
    source = RecordedFolder(example_days)
    fleet = mining_alone(source.fleet())
    settings = Settings(policy=policy, interval_s=SLOT_S)
    start, end = CALM.start, CALM.start + timedelta(days=days)
    live = lived(source, fleet, settings, start, end)
    back = harness(example_days, fleet, settings, start, end, (made(), made()))
    assert live.net > 1e6
    assert back.net == pytest.approx(live.net, rel=0.001)
    assert back.mining == pytest.approx(live.mining, rel=0.001)
    assert back.power == pytest.approx(live.power, rel=0.001)
    assert back.wear == pytest.approx(live.wear, rel=0.01)

"""The week that README.md tells of: its figures add up, and are what a replay of the recorded days gives today."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import msgspec
import pytest

from tieline.clock import parse_utc
from tieline.dispatch import Settings
from tieline.dispatch.settings import Policy
from tieline.feeds.days.recorded import RecordedFolder
from tieline.replay.asked import Asked
from tieline.replay.report import Report
from tieline.replay.run import replay

ROOT = Path(__file__).parents[2]
START, END = parse_utc("2024-08-17"), parse_utc("2024-08-24")
RECORDED = Path(os.environ.get("TIELINE_DATA", ROOT.parent / "shared" / "data"))


def of_readme(words: str) -> float:
    """The number in place of `#` in a row of the week's table."""
    pattern = re.escape(words).replace(r"\#", r"([\d,]*\.?\d+)")
    found = re.search(pattern, (ROOT / "README.md").read_text(encoding="utf-8"))
    assert found is not None, words
    return float(found[1].replace(",", ""))


def test_its_figures_add_up() -> None:
    mwh = of_readme("mining # MWh, inference") + of_readme("MWh, inference #,") + of_readme("auxiliary #")
    net = of_readme("net of power and wear | # M USD")
    assert net * 1e6 / mwh == pytest.approx(of_readme("M USD, # USD/MWh"), rel=0.001)
    over = of_readme("a strike per rig group alone (`--policy strike`) | +# M USD")
    assert over / (net - over) == pytest.approx(of_readme("`--policy strike`) | +0.24 M USD (+#") / 100, abs=0.0006)


def week(policy: Policy) -> Report:
    source = RecordedFolder(RECORDED)
    scale = source.usual_scale
    fleet = source.fleet(scale)
    records = source.records(fleet, START, END, scale)
    settings = msgspec.structs.replace(Settings(), policy=policy)
    return asyncio.run(replay(Asked(fleet, settings, records, START, END, "data", scale, source.assumptions)))


# Recorded days do not come with the package. Beside them the week is replayed; everywhere the same code is held to
# figures by the invented storm (test_live_beside_backtest.py).
if (RECORDED / "README.md").exists():

    @pytest.mark.slow
    @pytest.mark.timeout(900)
    def test_a_replay_gives_them() -> None:
        report = week("lookahead")
        assert round(report.energy.mining_mwh) == of_readme("mining # MWh")
        assert round(report.energy.inference_mwh) == of_readme("MWh, inference #,")
        assert round(report.energy.aux_mwh) == of_readme("auxiliary #")
        assert round(float(report.btc), 2) == of_readme("| bitcoin | # BTC")
        assert round(report.operating_eh_s, 1) == of_readme("pool, # EH/s operating")
        assert round(report.deployed_eh_s, 1) == of_readme("operating of # deployed")
        assert round(report.money.net_usd / 1e6, 2) == of_readme("net of power and wear | # M USD")
        assert report.money.net_usd_per_mwh is not None
        assert round(report.money.net_usd_per_mwh, 2) == of_readme("M USD, # USD/MWh")
        assert round(report.money.better_than_always_on_usd / 1e6, 2) == of_readme("never off on price | +# M USD")

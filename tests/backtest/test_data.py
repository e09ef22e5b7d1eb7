"""The recorded folder as a backtest sees it: what was known when, which sites can be settled."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from tests.backtest.worlds import world

from tieline.backtest.data import ScenarioWorld, load
from tieline.backtest.noise import Noise, shaken
from tieline.fleet.physics import GPU_AUX

BEGIN = datetime(2025, 10, 6, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def week(example_days: Path) -> ScenarioWorld:
    return load(example_days, [("week", BEGIN, BEGIN + timedelta(days=3))], events=True, gpu_share=0.2)


def inside(world: ScenarioWorld) -> np.ndarray:
    return np.arange(world.spans[0].first, world.spans[0].last)


def test_a_real_time_price_is_known_when_its_interval_has_ended(week: ScenarioWorld) -> None:
    slots = inside(week)
    hourly, quarter = week.markets["PJM_DOM_RT"], week.markets["ercot_hb_south"]
    assert (hourly.known[slots] <= slots).all()
    assert (quarter.known[slots] <= slots).all()
    assert (quarter.known[slots] == slots).mean() > 0.95, "and not later than that"


def test_a_day_ahead_price_is_known_from_its_publication_the_day_before(week: ScenarioWorld) -> None:
    slots, market = inside(week), week.markets["ERCOT_HUBAVG_DA"]
    known = market.known[slots]
    assert (known > slots).all()
    steps = slots[1:][np.diff(known) > 0]
    assert len(steps) == 3
    assert {week.when(int(slot)).hour for slot in steps} == {18}
    assert (known - slots).max() <= 36 * 4


def test_sites_without_a_price_are_left_out_by_name(week: ScenarioWorld, example_days: Path, tmp_path: Path) -> None:
    assert week.left_out == ()
    assert len(week.fleet.sites) == 40
    gone = tmp_path / "days"
    shutil.copytree(example_days, gone)
    path = gone / "power_prices" / "hourly.parquet"
    table = pq.read_table(path)
    pq.write_table(table.filter(pc.not_equal(table.column("market"), "CL_QUILLOTA_MC")), path)
    without = load(gone, [("day", BEGIN, BEGIN + timedelta(days=1))], events=False)
    assert [words.split()[0] for words in without.left_out] == ["sa-cl-01", "sa-cl-02"]
    assert not {s.id for s in without.fleet.sites} & {"sa-cl-01", "sa-cl-02"}


def test_a_fifth_of_each_site_is_for_gpus(week: ScenarioWorld) -> None:
    for site in week.fleet.sites:
        gpus_w = sum(u.nodes * u.gpu.rated_w * (1.0 + GPU_AUX) for u in site.node_groups)
        assert gpus_w == pytest.approx(0.2 * site.interconnect.limit_w, abs=20e3)
        assert sum(g.rated_w for g in site.rig_groups) == pytest.approx(0.8 * site.interconnect.limit_w, rel=0.01)


def test_a_region_is_served_from_where_the_round_trip_is_short(week: ScenarioWorld) -> None:
    assert week.reach["north_america"][0] == "south_america"
    assert "east_africa" not in week.reach["north_america"]


def test_nothing_is_missing_where_it_is_settled(week: ScenarioWorld) -> None:
    slots = inside(week)
    assert not np.isnan(week.temp_c[slots]).any()
    assert (week.hashprice_usd[slots] > 0).all()
    assert all((series[slots] > 0).all() for series in week.demand.values())
    assert len([e for e in week.events if BEGIN <= e.at < BEGIN + timedelta(days=3)]) >= 5


def test_noise_is_seeded_keeps_the_mean_and_changes_nothing_but_demand() -> None:
    made = world(1)
    one, again, other = shaken(made, Noise(0.2, 1)), shaken(made, Noise(0.2, 1)), shaken(made, Noise(0.2, 2))
    for region, series in made.demand.items():
        assert np.array_equal(one.demand[region], again.demand[region])
        assert not np.array_equal(one.demand[region], other.demand[region])
        ratio = one.demand[region] / series
        assert 0.85 < ratio.mean() < 1.15
        assert 0.1 < np.log(ratio).std() < 0.3
    assert one.markets is made.markets
    assert np.array_equal(shaken(made, Noise(0.0)).demand["east"], made.demand["east"])


@pytest.mark.parametrize("bad", [-0.1, 1.5])
def test_a_spread_that_makes_no_sense_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="spread"):
        Noise(bad)

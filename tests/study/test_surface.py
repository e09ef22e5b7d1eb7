"""StudySurfaces are what dispatch does: read in between, they agree with the same days run outright."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.study.ground import study

from tieline import config
from tieline.config.lines import MistakeError
from tieline.study.file import Operation, Study
from tieline.study.ground import world_of
from tieline.study.interpolate import READ, NodesReading, SurfaceReading
from tieline.study.meter import KEPT, run_point
from tieline.study.nodes import beside
from tieline.study.surface import (
    MONTH_H,
    SiteSurface,
    _merit,
    _peaks_of_year,
    _year,
    build,
    outright,
)
from tieline.study.weeks import PlainStrike


def ground(days: Path, **changes: object) -> Study:
    one = study(months=12, paths=1)
    operation = Operation(
        days=str(days), levels=(30.0, 60.0), rooms=(1.0,), first="2025-10", last="2025-10", days_of_month=2
    )
    site = msgspec.structs.replace(one.site[0], like="na-tx-01")
    return msgspec.structs.replace(one, site=(site,), operation=msgspec.structs.replace(operation, **changes))


def test_what_is_read_in_between_is_what_dispatch_earns(example_days: Path, tmp_path: Path) -> None:
    one = ground(example_days)
    surfaces = build(one, tmp_path)
    (surface,) = surfaces.by_site.values()
    assert (surfaces.invented, surfaces.days) == (True, ("2025-10",))
    level, power = 45.0, 1.1
    meter = outright(one, tmp_path, level, 1.0, power)
    at = SurfaceReading(surface, np.arange(12), np.full((1, 12), level / power), np.ones((1, 12)))
    share = meter.hours["2025-10"] / MONTH_H
    read = share * (at("ph_days")[0, 9] * level - at("power_usd")[0, 9] * power)
    sums = meter.months["2025-10"]
    assert read == pytest.approx(float(sums["ph_days"][0] * level - sums["power_usd"][0]), rel=0.01)
    # Rigs that never rest hash the most and earn less.
    assert surface.always["ph_days"][9, 0] >= surface.at["ph_days"][9, 0].max() * 0.999
    # Nothing is run twice: the same question is answered from disk.
    said: list[str] = []
    again = build(one, tmp_path, said=said.append)
    assert said == []
    assert (again.markets, again.days, again.ran, again.digest) == (
        surfaces.markets, surfaces.days, surfaces.ran, surfaces.digest,
    )  # fmt: skip
    for name in KEPT:
        assert np.array_equal(again.by_site["a"].at[name], surface.at[name])
        assert np.array_equal(again.by_site["a"].always[name], surface.always[name])


def test_nodes_beside_the_rigs_serve_the_recorded_demand(example_days: Path, tmp_path: Path) -> None:
    """Two days, read at half of the surface's share, against the same days run outright with half as many nodes."""
    one = ground(example_days, gpu_shares=(0.3,), levels=(60.0,))
    world, days = world_of(one, config.demo().fleet, example_days)
    ran: dict[tuple[str, float], dict[str, float]] = {}
    for how, share in (("always", 1.0), ("dispatch", 1.0), ("dispatch", 0.5), ("beside", 0.3), ("beside", 0.15)):
        meter = run_point(world, (how, 60.0, share), days, 0.6)
        of_month = MONTH_H / meter.hours["2025-10"]
        ran[how, share] = {name: float(values[0]) * of_month for name, values in meter.months["2025-10"].items()}
    rigs, nodes, half = ran["dispatch", 1.0], ran["beside", 0.3], ran["beside", 0.15]
    assert (rigs["tokens"], rigs["gpu_mwh"]) == (0.0, 0.0)
    assert nodes["ph_days"] < half["ph_days"] < rigs["ph_days"]
    limit_mw = world.fleet.sites[0].interconnect.limit_w / 1e6
    assert 0.05 < nodes["gpu_mwh"] / (limit_mw * MONTH_H) < 0.3

    def months(*cases: dict[str, float]) -> dict[str, np.ndarray]:
        return {name: np.tile([[one[name]] for one in cases], (12, 1, 1)) for name in KEPT}

    surface = SiteSurface(
        "na-tx-01", limit_mw, 20.0, 1.0, 0, np.array([60.0]), np.array([0.5, 1.0]),
        months(ran["dispatch", 0.5], rigs),
        {name: np.tile([ran["always", 1.0][name]] * 2, (12, 1)) for name in KEPT},
        np.array([0.3]), months(nodes), 0.6, _merit(world.fleet, 0),
    )  # fmt: skip
    at, month = np.full((1, 12), 60.0), np.arange(12)
    for share, there in ((0.3, nodes), (0.15, half)):
        read = NodesReading.of(surface, month, at, np.full((1, 12), share))
        left = 1.0 - read.own["gpu_mwh"] / (limit_mw * MONTH_H)
        together = SurfaceReading(surface, month, at, left).values + read.more
        exact = 1e-9 if share == 0.3 else 0.03
        assert read.own["tokens"][0, 0] == pytest.approx(there["tokens"], rel=exact)
        for name in ("ph_days", "power_usd", "mwh"):
            assert together[0, 0, READ.index(name)] == pytest.approx(there[name], rel=min(exact, 0.01)), name
    # A mean of 0.6 of what the nodes can serve is asked for over the whole window.
    here = beside(world, 0.3, 0.6)
    can = here.fleet.sites[0].node_groups[0].nodes * 2 * 3876.2666
    assert here.demand["na-tx-01"].mean() == pytest.approx(0.6 * can)


def test_a_site_that_the_fleet_has_not_is_named(example_days: Path, tmp_path: Path) -> None:
    one = ground(example_days)
    site = msgspec.structs.replace(one.site[0], like="nowhere")
    with pytest.raises(MistakeError, match="no site 'nowhere'"):
        build(msgspec.structs.replace(one, site=(site,)), tmp_path)


def test_days_that_were_run_are_carried_by_the_months_own_prices(example_days: Path, tmp_path: Path) -> None:
    """Were dispatch the plain strike itself, two days of a month would give back all of it."""
    one = ground(example_days)
    world, days = world_of(one, config.demo().fleet, example_days)
    assert (len(days.run), len(days.months)) == (1, 1)
    plain, point = PlainStrike(world, days), ("dispatch", 40.0, 1.0)
    does = plain.does(*point)
    ran = {name: plain._by_month(values * plain.ran[:, None]) for name, values in does.items()}
    none = {name: np.zeros((1, 1)) for name in KEPT}
    sums = {**{name: np.full((1, 1), 3.0) for name in KEPT}, **ran}
    found = plain.carried(point, sums, none)
    for name, values in does.items():
        assert found[name] == pytest.approx(plain._by_month(values))
    assert plain.hours[0] > 20 * 24
    # What no strike explains goes by the hours, and a peak is not multiplied.
    assert found["off_hours"][0, 0] == pytest.approx(3.0 * plain.hours[0] / 48.0)
    assert found["peaks_usd"][0, 0] == 3.0
    # A day apart stands for itself.
    begin = days.months[0][1]
    apart = replace(days, apart=frozenset({f"{begin:%Y-%m-%d}"}))
    found = PlainStrike(world, apart).carried(point, sums, {**none, "off_hours": np.full((1, 1), 5.0)})
    assert found["off_hours"][0, 0] == pytest.approx(3.0 * (plain.hours[0] - 24.0) / 24.0 + 5.0)


def test_a_year_is_its_months_and_peaks_come_once() -> None:
    kept = {
        "months": ["2024-06", "2024-07", "2025-07"],
        "hours": np.array([720.0, 744.0, 744.0]),
        "mwh": np.array([[72.0], [74.4], [148.8]]),
        "peaks_usd": np.array([[100.0], [300.0], [500.0]]),
    }
    mwh = _year(kept, "mwh", 0)
    assert mwh[5] == pytest.approx(0.1 * MONTH_H)
    assert mwh[6] == pytest.approx(0.15 * MONTH_H)
    assert mwh[0] == pytest.approx((72.0 + 74.4 + 148.8) / (720 + 744 + 744) * MONTH_H)
    peaks = _peaks_of_year(kept, 0, frozenset({6, 7, 8, 9}))
    # July's is the mean of two years; August and September, not recorded, are the mean of what was; winter has none.
    assert peaks.tolist() == [0, 0, 0, 0, 0, 100.0, 400.0, 300.0, 300.0, 0, 0, 0]


def test_more_than_the_interconnect_and_a_market_without_prices_are_refused(
    example_days: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = ground(example_days)
    own = msgspec.structs.replace(one.site[0], id="na-tx-01", like="na-tx-01", mw=58_000.0)
    with pytest.raises(MistakeError, match="58000 MW, its interconnect has 58"):
        build(msgspec.structs.replace(one, site=(own,)), tmp_path)
    whole = config.demo()
    nowhere = tuple(
        msgspec.structs.replace(site, contract=msgspec.structs.replace(site.contract, market="NOWHERE"))
        if site.id == "na-ga-01"
        else site
        for site in whole.fleet.sites
    )
    fleet = msgspec.structs.replace(whole.fleet, sites=nowhere)
    monkeypatch.setattr(config, "demo", lambda: msgspec.structs.replace(whole, fleet=fleet))
    both = (msgspec.structs.replace(own, mw=9.0), msgspec.structs.replace(own, id="na-ga-01", like="", mw=9.0))
    with pytest.raises(MistakeError, match="market 'NOWHERE' is named by the fleet") as refused:
        build(msgspec.structs.replace(one, site=both), tmp_path)
    assert (refused.value.path, refused.value.fix) == (
        ("operation", "days"),
        "give a folder that holds these sites' days",
    )

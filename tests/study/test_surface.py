"""StudySurfaces are what dispatch does: read in between, they agree with the same days run outright."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.study.ground import study

from tieline.config.lines import MistakeError
from tieline.study.alternatives import Block, SurfaceReading
from tieline.study.drivers import draw
from tieline.study.file import Operation, Study
from tieline.study.surface import MONTH_H, build, outright


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
    block = Block(one, surfaces, draw(one, 0, 1))
    at = SurfaceReading(surface, block, np.full((1, 12), level / power), np.ones((1, 12)))
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
    assert np.array_equal(again.by_site["a"].at["mwh"], surface.at["mwh"])


def test_a_site_that_the_fleet_has_not_is_named(example_days: Path, tmp_path: Path) -> None:
    one = ground(example_days)
    site = msgspec.structs.replace(one.site[0], like="nowhere")
    with pytest.raises(MistakeError, match="no site 'nowhere'"):
        build(msgspec.structs.replace(one, site=(site,)), tmp_path)

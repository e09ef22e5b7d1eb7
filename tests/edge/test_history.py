"""Raw samples of rigs at the site: written by sweeps, bounded on disk, read by `tieline rigs`."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.edge.edge_bench import NOON
from tests.edge.rack import rack

from tieline import cli
from tieline.clock import wall_now
from tieline.edge.rigs.history import HEARD, ROW, RawHistory, RawRow, figures, read_keys, read_rows, tend, thinned
from tieline.edge.rigs.register import Register


def fill(folder: Path, hours: int, rigs: int = 3, every_s: int = 60) -> None:
    """A sweep each minute, in a loop that tends the folder only when told to."""

    async def story() -> None:
        history = RawHistory(folder, most_bytes=1 << 40)
        for n in range(hours * 3600 // every_s):
            rows = [RawRow(f"rig-{r}", 3500.0 + r, 200.0 - 50 * r, 60.0, HEARD) for r in range(rigs)]
            history.write(NOON + timedelta(seconds=every_s * n), rows)
        await history.close()

    asyncio.run(story())


def test_figures_are_means_over_what_was_heard(tmp_path: Path) -> None:
    async def story() -> None:
        history = RawHistory(tmp_path)
        history.write(NOON, [RawRow("a", 3500.0, 200.0, 60.0, HEARD), RawRow("b", 3500.0, None, None, HEARD)])
        history.write(NOON + timedelta(seconds=10), [RawRow("a", 3300.0, 100.0, 70.0, HEARD)])
        history.write(NOON + timedelta(seconds=20), [RawRow("a", 9999.0, None, None, 0)])
        await history.close()

    asyncio.run(story())
    a, b = figures(tmp_path, NOON, NOON + timedelta(hours=1))
    assert (a.key, a.samples, a.heard_share) == ("a", 3, pytest.approx(2 / 3))
    assert (a.watts, a.ths, a.chip_c_max, a.j_th) == (3400.0, 150.0, 70.0, pytest.approx(22.67, abs=0.01))
    assert (b.ths, b.chip_c_max, b.j_th) == (None, None, None)


def test_the_disk_is_bounded_the_oldest_hours_are_thinned_before_any_is_lost(tmp_path: Path) -> None:
    fill(tmp_path, hours=6)
    whole = sum(path.stat().st_size for path in tmp_path.glob("*.raw"))
    end = NOON + timedelta(hours=6)
    tend(tmp_path, end, most_bytes=whole * 7 // 10)
    files = sorted((path for path in tmp_path.iterdir() if path.name != "rigs"), key=lambda path: path.stem)
    assert [path.suffix for path in files] == [".thin"] * 3 + [".raw"] * 3
    assert sum(path.stat().st_size for path in files) <= whole * 7 // 10
    first = read_rows(tmp_path, NOON, NOON + timedelta(hours=1))
    assert len(first) == 3 * 12  # each rig, each five minutes
    tend(tmp_path, end, most_bytes=whole // 12)
    left = sorted(path.stem for path in tmp_path.iterdir() if path.name != "rigs")
    assert left
    assert left[-1] == (end - timedelta(hours=1)).strftime("%Y%m%d%H")
    tend(tmp_path, end + timedelta(days=31))
    assert not list(tmp_path.glob("*.thin"))


def test_thinning_twice_is_thinning_once(tmp_path: Path) -> None:
    fill(tmp_path, hours=1)
    rows = thinned(read_rows(tmp_path, NOON, NOON + timedelta(hours=1)))
    assert (thinned(rows) == rows).all()


def test_a_power_cut_costs_a_row_and_a_name_and_nothing_else(tmp_path: Path) -> None:
    fill(tmp_path, hours=1, rigs=2)
    (path,) = tmp_path.glob("*.raw")
    with path.open("ab") as file:
        file.write(b"half a row")
    with (tmp_path / "rigs").open("a") as file:
        file.write("half-a-na")
    assert read_keys(tmp_path) == ["rig-0", "rig-1"]
    fill(tmp_path, hours=1, rigs=3)
    assert read_keys(tmp_path) == ["rig-0", "rig-1", "rig-2"]
    assert path.stat().st_size % ROW.itemsize == 0
    assert {rig.key for rig in figures(tmp_path, NOON, NOON + timedelta(hours=1))} == {"rig-0", "rig-1", "rig-2"}


@pytest.mark.skipif(sys.platform != "linux", reason="many loopback addresses are a Linux feature")
def test_the_worst_rigs_of_a_site_are_listed_and_a_stranger_is_accepted(tmp_path: Path) -> None:
    folder = tmp_path / "sites" / "s"

    async def story() -> None:
        async with rack(4, register=Register(folder), now=wall_now() - timedelta(minutes=5)) as it:
            it.group._raw = RawHistory(folder / "raw" / "s.rigs-1")
            it.rigs.rigs[it.addresses[2]].boards_lost = 1
            await it.heard()
            it.rigs.inject(it.addresses[1], "unreachable")
            for _ in range(3):
                await it.heard()

    asyncio.run(story())
    said = CliRunner().invoke(cli.main, ["rigs", "s", "--worst", "2", "--data-dir", str(tmp_path)])
    assert said.exit_code == 0, said.output
    _, silent, lost, more = said.output.splitlines()
    held = Register(folder).histories
    assert held[1].address in silent
    assert held[2].address in lost
    assert "33%" in lost
    assert more.startswith("2 more")
    missing = CliRunner().invoke(cli.main, ["rigs", "nowhere", "--data-dir", str(tmp_path)])
    assert "it keeps s" in missing.output
    CliRunner().invoke(cli.main, ["rigs", "s", "--accept", held[1].address, "--data-dir", str(tmp_path)])
    register = Register(folder)
    assert register.take_accepted() == [held[1].address]

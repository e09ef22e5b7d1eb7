"""Paths, blocks and results: the same bytes whoever computes them, and sums that sum."""

import csv
import io
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.study.ground import doing, surfaces

from tieline.study import page, report
from tieline.study.alternatives import Block
from tieline.study.drivers import draw
from tieline.study.file import Study
from tieline.study.results import bridge, moves_by, summarise
from tieline.study.sweep import run, worth

GPU = """
kind = "gpu"
mw = 10.0
start = "2026-06"
months_to_build = 6
usd_per_node = 250000.0
shell_usd_per_mw = 4e6
residual = 0.05
"""
LOAN = """
[[loan]]
name = "l"
plan = "do"
usd = 2e8
month = "2026-06"
rate = 0.1
term_months = 60
cover_at_least = 1.2
"""


def uncertain(paths: int = 1200) -> Study:
    one = doing(GPU, months=60, paths=paths, volatility=0.4, more=LOAN)
    return msgspec.structs.replace(one, assume=msgspec.structs.replace(one.assume, delay_months=2.0))


def told(one: Study, cache: Path, jobs: int = 1, scheduler: str | None = None) -> bytes:
    ground = surfaces()
    paths = run(one, ground, cache, jobs, scheduler)
    results = summarise(one, ground, paths)
    texts = (report.plain(results), report.markdown(results), report.table(results), report.by_path(results, paths))
    return "".join([*texts, page.page(results)]).encode()


def test_one_process_twice_or_four_give_the_same_bytes(tmp_path: Path) -> None:
    one = uncertain()
    first = told(one, tmp_path / "a")
    assert first == told(one, tmp_path / "again")
    assert first == told(one, tmp_path / "b", 4)


def test_twice_as_many_paths_move_a_median_by_what_was_said_of_it() -> None:
    """Of twenty seeds twice the paths move the median by more than was said in few, and not by a tenth of it."""
    one, ground = doing(GPU, months=36, paths=1000, volatility=0.4), surfaces()
    over, ratios = 0, []
    for seed in range(20):
        here = msgspec.structs.replace(one, seed=seed)
        many = np.concatenate([worth(Block(here, ground, draw(here, n, 1)), 1) for n in (0, 1)])
        few = many[:500]
        moved, said = abs(float(np.median(many) - np.median(few))), moves_by(few)
        over += moved > said
        ratios.append(moved / said)
    assert over <= 3
    assert np.mean(ratios) > 0.1


def test_the_report_says_where_twice_the_paths_would_move_a_median(tmp_path: Path) -> None:
    ground = surfaces()
    for volatility in (0.0, 0.5):
        one = doing(GPU, months=36, paths=200, volatility=volatility)
        results = summarise(one, ground, run(one, ground, tmp_path))
        assert ("Twice as many paths may move" in report.markdown(results)) == (results.moved > 0.01)
        assert (results.moved > 0.01) == (volatility > 0)


def test_what_couplings_are_worth_is_what_leaving_them_out_costs(tmp_path: Path) -> None:
    one, ground = doing(GPU, months=24, paths=20, volatility=0.2), surfaces()
    site = ground.by_site["a"]
    always = {**site.always, "peaks_usd": np.tile([5e4, 1e5], (12, 1))}
    ground = replace(ground, by_site={"a": replace(site, always=always)})
    results = summarise(one, ground, run(one, ground, tmp_path))
    keep, do = results.plans
    months = (1.0 / 1.10) ** (np.arange(24) / 12.0)
    # Dispatch pays no peaks here; rigs that never rest pay 100,000 a month.
    assert keep.avoiding_peaks == pytest.approx(1e5 * months.sum(), rel=1e-6)
    assert keep.sharing_room == 0
    assert do.sharing_room > 0
    assert do.avoiding_peaks < keep.avoiding_peaks


def test_every_figure_of_the_page_opens_to_its_inputs(tmp_path: Path) -> None:
    one, ground = doing(GPU, months=24, paths=20, volatility=0.2, more=LOAN), surfaces()
    whole = page.page(summarise(one, ground, run(one, ground, tmp_path)))
    links, ids = (set(re.findall(rf'{what}="#?([^"]+)"', whole)) for what in ("href", "id"))
    assert links <= ids
    cells = re.findall(r"<tbody><tr>.*?</tbody>", whole, re.DOTALL)[0]
    values = re.findall(r"<td[^>]*>(.*?)</td>", cells)
    assert all(value == "" or value.startswith('<a href="#p') for value in values)
    opened = re.findall(r'<details>.*?<div id="(p\d-[^"]+)">.*?</details>', whole, re.DOTALL)
    assert {link for link in links if re.match(r"p\d-", link)} <= set(opened)
    assert {"input-btc-usd", "input-operation", "input-money", "alternative-it", "loan-l"} <= ids
    assert not re.search(r"<script|https?://|src=", whole)


def test_a_rate_that_is_none_is_said(tmp_path: Path) -> None:
    one, ground = doing('kind = "sell"\nstart = "2026-02"\nsale_usd = 0.0\n', months=24, paths=5), surfaces()
    results = summarise(one, ground, run(one, ground, tmp_path))
    assert results.plans[1].added_rate.p50 is None
    assert "do: no path has an internal rate" in report.markdown(results)


def test_each_path_is_a_row(tmp_path: Path) -> None:
    one, ground = doing(GPU, months=36, paths=12, volatility=0.2), surfaces()
    paths = run(one, ground, tmp_path)
    results = summarise(one, ground, paths)
    rows = list(csv.DictReader(io.StringIO(report.by_path(results, paths))))
    assert len(rows) == 24
    assert np.median([float(row["npv_usd"]) for row in rows[12:]]) == pytest.approx(results.plans[1].npv.p50, abs=1.0)
    assert all(row["lowest_month"] >= "2026-01" for row in rows)


def test_more_paths_begin_with_the_same_ones() -> None:
    few, many = draw(uncertain(300), 0, 1), draw(uncertain(1200), 0, 1)
    for name in ("btc_usd", "difficulty", "power", "utilisation", "gpu_usd_per_hour", "delay", "ends"):
        assert np.array_equal(getattr(few, name), getattr(many, name)[:300])
    assert len(draw(uncertain(1200), 2, 1).btc_usd) == 200


def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tieline.study import sweep

    one, ground = uncertain(), surfaces()
    done: list[int] = []
    whole = run(one, ground, tmp_path / "whole")
    real = sweep.block_of

    def dies(study: Study, given: object, number: int):  # type: ignore[no-untyped-def]
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(number)
        return real(study, ground, number)

    monkeypatch.setattr(sweep, "block_of", dies)
    with pytest.raises(KeyboardInterrupt):
        run(one, ground, tmp_path / "cut")
    assert done == [0, 1]
    (folder,) = (tmp_path / "cut" / "blocks").iterdir()
    kept = sorted(path.name for path in folder.iterdir())
    assert kept[0] == "0.npz"
    done[:] = [-1]
    again = run(one, ground, tmp_path / "cut")
    # What was kept is not computed again, and nothing half written is taken for whole.
    assert sorted(done[1:]) == [n for n in range(3) if f"{n}.npz" not in kept]
    assert len(done) < 4
    assert np.array_equal(again[1].cash, whole[1].cash)


def test_a_sweep_that_is_killed_goes_on_and_gives_the_same_bytes(tmp_path: Path) -> None:
    """By signal 9, as soon as its first block is kept."""
    program = (
        "import sys, time; from pathlib import Path\n"
        "from tests.study.test_sweep import uncertain, surfaces; from tieline.study import sweep\n"
        "write = sweep._write\n"
        "def slowly(path, block): write(path, block); print('kept', flush=True); time.sleep(60)\n"
        "sweep._write = slowly\n"
        "sweep.run(uncertain(), surfaces(), Path(sys.argv[1]))"
    )
    cut = tmp_path / "cut"
    with subprocess.Popen([sys.executable, "-c", program, str(cut)], stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout is not None
        assert one.stdout.readline() == "kept\n"
        one.kill()
    (folder,) = (cut / "blocks").iterdir()
    (first,) = folder.glob("*.npz")
    kept = first.stat().st_mtime_ns
    assert told(uncertain(), cut) == told(uncertain(), tmp_path / "whole")
    assert first.stat().st_mtime_ns == kept  # not computed again


def test_best_regret_and_the_tornado_are_what_reckoning_it_outright_gives(tmp_path: Path) -> None:
    one, ground = doing(GPU, months=36, paths=60, volatility=0.4), surfaces()
    paths = run(one, ground, tmp_path)
    results = summarise(one, ground, paths)
    keep, do = (list(plan.npv) for plan in paths)
    won = sum(b > a for a, b in zip(keep, do, strict=True))
    assert results.plans[1].best_share == pytest.approx(won / 60)
    lost = [max(a, b) - b for a, b in zip(keep, do, strict=True)]
    assert results.plans[1].regret == pytest.approx(sum(lost) / 60)
    assert results.plans[0].regret == pytest.approx(sum(max(a, b) - a for a, b in zip(keep, do, strict=True)) / 60)
    swings = {swing.driver: swing for swing in results.plans[1].tornado}
    assert set(swings) == {"btc_usd", "difficulty", "power", "gpu_usd_per_hour", "utilisation", "fee_share"}
    for driver in ("gpu_usd_per_hour", "power", "fee_share"):
        for swing, factor in (
            (swings[driver].low, 1 - swings[driver].by),
            (swings[driver].high, 1 + swings[driver].by),
        ):
            path = getattr(one.assume, driver)
            moved = msgspec.structs.replace(path, start=path.start * factor)
            there = msgspec.structs.replace(one, assume=msgspec.structs.replace(one.assume, **{driver: moved}))
            again = summarise(there, ground, run(there, ground, tmp_path))
            assert swing == pytest.approx(again.plans[1].npv.p50, rel=1e-9), driver


def test_results_sum_and_are_judged_by_cash(tmp_path: Path) -> None:
    one, ground = uncertain(400), surfaces()
    paths = run(one, ground, tmp_path)
    results = summarise(one, ground, paths)
    keep, do = results.plans
    parts = bridge(results, "keep", "do")
    assert sum(parts.values()) == pytest.approx(float((paths[1].npv - paths[0].npv).mean()), rel=1e-9)
    assert keep.best_share + do.best_share == 1.0
    assert min(keep.regret, do.regret) >= 0
    assert do.npv.p10 < do.npv.p50 < do.npv.p90  # type: ignore[operator]
    lowest = (1e6 + np.cumsum(paths[1].cash, axis=1)).min(axis=1)
    assert do.runs_out_share == pytest.approx(float((lowest < 0).mean()))
    assert do.infeasible == (do.runs_out_share > 0.1)
    swing = next(s for s in do.tornado if s.driver == "gpu_usd_per_hour")
    assert swing.low < swing.high
    assert do.sharing_room >= 0
    assert keep.curtailing >= 0


def test_a_plan_that_needs_money_it_has_not_is_infeasible_and_says_how_much_and_when(tmp_path: Path) -> None:
    one = doing(GPU.replace("10.0", "60.0"), months=60, paths=50, volatility=0.1)
    ground = surfaces()
    results = summarise(one, ground, run(one, ground, tmp_path))
    do = results.plans[1]
    assert do.infeasible
    assert do.short.p50 > 1e8  # type: ignore[operator]
    assert "Infeasible: 100% of paths run out of cash, the first in 2026-" in report.markdown(results)


def test_break_even_is_where_the_plan_is_worth_what_the_first_is(tmp_path: Path) -> None:
    one, ground = doing(GPU, months=60, paths=20), surfaces()
    results = summarise(one, ground, run(one, ground, tmp_path))
    at = results.plans[1].breakeven["gpu_usd_per_hour"]
    assert at is not None
    price = msgspec.structs.replace(one.assume.gpu_usd_per_hour, start=at)
    there = msgspec.structs.replace(one, assume=msgspec.structs.replace(one.assume, gpu_usd_per_hour=price))
    again = summarise(there, ground, run(there, ground, tmp_path))
    assert again.plans[1].added_npv.p50 == pytest.approx(0.0, abs=2e-3 * 10e6 * 4)


def test_dask_gives_the_same_bytes_and_outlives_a_worker_killed_half_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed")
    from tieline.study import sweep

    one, killed, real = uncertain(2500), [], sweep._write
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True, silence_logs=50
    ) as cluster:
        pid = next(iter(cluster.workers.values())).pid

        def kills(path: Path, block: dict[str, dict[str, np.ndarray]]) -> None:
            if not killed:
                killed.append(pid)
                os.kill(pid, signal.SIGKILL)
            real(path, block)

        monkeypatch.setattr(sweep, "_write", kills)
        found = told(one, tmp_path / "far", scheduler=cluster.scheduler_address)
        monkeypatch.setattr(sweep, "_write", real)
    assert killed == [pid]
    assert found == told(one, tmp_path / "near")

"""The folder of invented days: whole, the same bytes for a seed, enough to replay and backtest from a fresh clone."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from tieline.cli import main
from tieline.feeds.days.example import CLOCK, PEAK, STORM, write_example
from tieline.feeds.days.folder import FolderError
from tieline.feeds.days.recorded import RecordedFolder
from tieline.records import Commitment, Fault, Instruction, PriceTick, SystemLoad


def digest(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        found.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return found.hexdigest()


def test_a_seed_gives_the_same_bytes_and_another_others(example_days: Path, tmp_path: Path) -> None:
    write_example(tmp_path / "again")
    write_example(tmp_path / "other", seed=2)
    assert digest(tmp_path / "again") == digest(example_days)
    assert digest(tmp_path / "other") != digest(example_days)


def test_it_says_that_it_is_invented_wherever_it_is_read(example_days: Path) -> None:
    assert "Invented days" in (example_days / "README.md").read_text()
    source = RecordedFolder(example_days)
    found = source.records(source.fleet(), STORM.start, STORM.end)
    assert {r.kind for r in found if isinstance(r, PriceTick)} == {"simulated"}
    assert {type(r) for r in found} >= {Commitment, Fault, Instruction, PriceTick, SystemLoad}
    texas = [r.price_usd_per_mwh for r in found if isinstance(r, PriceTick) and r.market == "ERCOT_HUBAVG_DA"]
    assert max(texas) > 2_500
    loads = {r.at: r.power_w for r in found if isinstance(r, SystemLoad) and r.kind == "simulated"}
    assert max(loads, key=lambda at: loads[at]).date() == PEAK.date()


def test_the_day_on_which_summer_time_ends_has_its_twenty_five_hours(example_days: Path) -> None:
    source = RecordedFolder(example_days)
    found = source.prices(source.fleet(), CLOCK.start + timedelta(days=1), CLOCK.start + timedelta(days=2, hours=1))
    hours = [t.at for t in found if t.market == "ERCOT_HUBAVG_DA"]
    assert len(hours) == 25 == len(set(hours))
    # All of one local day: published at one moment.
    assert len({t.known_at for t in found if t.market == "ERCOT_HUBAVG_DA"}) == 1


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(FolderError, match="not empty"):
        write_example(tmp_path)
    done = CliRunner().invoke(main, ["data", "example", str(tmp_path)])
    assert done.exit_code == 2
    assert "not empty" in done.output
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.fixture(scope="module")
def fleet_toml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fleet") / "fleet.toml"
    path.write_text(CliRunner().invoke(main, ["config", "example"]).output)
    return path


def test_a_fleet_of_ones_own_is_replayed_and_backtested_on_the_days(example_days: Path, fleet_toml: Path) -> None:
    words = ["--data", str(example_days), "--config", str(fleet_toml)]
    done = CliRunner().invoke(
        main, ["replay", *words, "--from", "2025-09-16T20:00", "--to", "2025-09-16T23:00", "--json"]
    )
    assert done.exit_code == 0, done.output
    report = json.loads(done.output)
    assert report["sites"] == 40
    assert any("INVENTED" in words for words in report["assumptions"])
    bounded = ["--from", "2025-09-16T18:00", "--to", "2025-09-17", "--set", "110,70,0.1,110", "--policy", "Tieline"]
    done = CliRunner().invoke(main, ["backtest", *words, *bounded, "--policy", "always-on"])
    assert done.exit_code == 0, done.output
    assert "INVENTED days of seed 1" in done.output
    assert "Tieline" in done.output


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [("PJM_DOM_RT", "DE_LU_DA", "DE_LU_DA"), ("BR_SE_PLD", "BR_SE_PL", "did you mean BR_SE_PLD")],
)
def test_a_market_that_the_days_lack_is_one_line(
    example_days: Path, fleet_toml: Path, tmp_path: Path, old: str, new: str, words: str
) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text(fleet_toml.read_text().replace(old, new))
    done = CliRunner().invoke(
        main, ["backtest", "--data", str(example_days), "--config", str(path), "--set", "1,1,1,1"]
    )
    assert done.exit_code == 2
    assert words in done.output
    assert "Traceback" not in done.output


def test_a_manifest_of_another_shape_is_one_line(example_days: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(example_days, tmp_path / "days")
    (tmp_path / "days" / "days.json").write_text('{"invented": "perhaps"}')
    done = CliRunner().invoke(main, ["backtest", "--data", str(tmp_path / "days"), "--set", "1,1,1,1"])
    assert done.exit_code == 2
    assert "days.json" in done.output
    assert "invented" in done.output

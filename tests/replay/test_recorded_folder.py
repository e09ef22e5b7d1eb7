"""Recorded days: each record is known when it was, gaps stay gaps, and a wrong folder says what is wrong."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tieline.feeds.days.folder import FolderError
from tieline.feeds.days.recorded import RecordedFolder
from tieline.feeds.days.sites import nearest_rig
from tieline.fleet import Market
from tieline.records import Demand, Fault, Instruction, NetworkTick, PriceTick, WeatherTick

START = datetime(2024, 3, 4, tzinfo=UTC)
END = START + timedelta(days=1)
HOUR = timedelta(hours=1)


def records(folder: Path) -> list[object]:
    recorded = RecordedFolder(folder)
    return list(recorded.records(recorded.fleet(), START, END))


def test_the_fleet_has_the_files_megawatts_and_scales(data_folder: Path) -> None:
    whole, half = RecordedFolder(data_folder).fleet(), RecordedFolder(data_folder).fleet(0.5)
    assert [site.id for site in whole.sites] == ["tx-1", "va-1", "py-1"]
    assert whole.limit_w == 45e6
    assert half.limit_w == 22.5e6
    tx, va, py = whole.sites
    assert tx.rig_groups[0].model == "Antminer S21"
    assert tx.contract.market_15min == "quarter"
    assert 0.98 * 19e6 < tx.rig_groups[0].rated_w <= 19e6
    assert py.contract.take_share == 0.7
    assert py.contract.resale
    assert not py.node_groups
    assert va.node_groups[0].nodes == int(0.5e6 / (10_200 * 1.25))
    assert all(site.invented for site in whole.sites)


def test_nearest_rig_keeps_to_the_cooling() -> None:
    assert nearest_rig("hydro", 16.0).cooling == "hydro"
    assert nearest_rig("air", 13.5).name == "Antminer S21 XP"


@given(
    at=st.datetimes(datetime(2023, 1, 1), datetime(2024, 12, 31), timezones=st.just(UTC)).map(
        lambda t: t.replace(minute=0, second=0, microsecond=0)
    ),
    zone=st.sampled_from(["America/Chicago", "Asia/Seoul", "Europe/Paris", "America/Sao_Paulo", "Asia/Kolkata"]),
    kind=st.sampled_from(["day-ahead", "real-time", "tariff"]),
)
@settings(max_examples=200, deadline=None)
def test_no_price_is_known_before_it_could_be(at: datetime, zone: str, kind: str) -> None:
    market = Market(name="m", kind=kind, zone=zone)
    known = market.known_at(at, HOUR)
    if market.ahead:
        local = known.astimezone(ZoneInfo(zone))
        # After the market's auction, noon of the day before at the latest, in the market's own time.
        assert (local.hour, local.minute) == (14, 0)
        assert local.date() == at.astimezone(ZoneInfo(zone)).date() - timedelta(days=1)
    else:
        assert known == at + HOUR


def test_every_record_of_a_folder_is_known_when_it_was(data_folder: Path) -> None:
    found = records(data_folder)
    assert {type(r) for r in found} == {PriceTick, NetworkTick, WeatherTick, Demand, Instruction, Fault}
    for record in found:
        match record:
            case PriceTick(market="AHEAD_DA" | "quarter_da"):
                assert record.known_at.astimezone(ZoneInfo("America/Chicago")).hour in (13, 14)
            case PriceTick():
                assert record.known_at == record.at + timedelta(seconds=record.length_s)
            case Demand():
                assert record.known_at == record.at + timedelta(seconds=record.length_s)
                assert record.kind == "estimated"
            case NetworkTick():
                assert record.known_at == record.at
                assert record.kind == "estimated"
                assert "assumed" in record.source
            case Fault(until=None):
                assert record.known_at == record.at
            case Fault():
                assert record.known_at == record.until
            case _:
                assert record.known_at >= record.at
    assert [r.known_at for r in found] == sorted(r.known_at for r in found)


def test_a_candle_is_not_known_before_its_hour_has_ended(data_folder: Path) -> None:
    ticks = RecordedFolder(data_folder).network(START, START + 3 * HOUR)
    # 48 hours of candles stand before the start; the candle of 23:00 closes at 00:00.
    assert [float(t.btc_usd) for t in ticks] == [62_000.0 + 10 * n for n in (47, 48, 49)]


def test_a_new_difficulty_is_told_at_its_moment(data_folder: Path) -> None:
    ticks = RecordedFolder(data_folder).network(START + timedelta(hours=26), START + timedelta(hours=30))
    assert [(t.at.hour, t.at.minute, t.difficulty) for t in ticks] == [
        (2, 0, 79351228131136.0),
        (3, 0, 79351228131136.0),
        (3, 30, 80000000000000.0),
        (4, 0, 80000000000000.0),
        (5, 0, 80000000000000.0),
    ]


def test_missing_hours_stay_missing(data_folder: Path) -> None:
    recorded = RecordedFolder(data_folder)
    hours = {t.at.hour for t in recorded.prices(recorded.fleet(), START, END) if t.market == "NOW_RT"}
    assert hours == set(range(24)) - {6, 7}
    # The hole in the recorded demand (10:00 local) is at another hour in each region.
    holes = {
        region: set(range(0, 86_400, 600)) - {int((d.at - START).total_seconds()) for d in demands}
        for region in ("north_america", "south_america")
        if (demands := [d for d in recorded.demand(recorded.fleet(), START, END, 1.0) if d.region == region])
    }
    assert holes == {"north_america": {16 * 3600}, "south_america": {13 * 3600}}


def test_the_end_of_a_fault_is_not_known_at_its_beginning(data_folder: Path) -> None:
    outage = [r for r in records(data_folder) if isinstance(r, Fault) and r.what == "outage"]
    assert [r.until for r in outage] == [None, START + timedelta(hours=12, minutes=45)]


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("scenario/sites.csv", "cooling,", "cooled,", ("sites.csv", "cooling", "missing")),
        ("scenario/sites.csv", ",hydro,", ",steam,", ("sites.csv:4", "cooling", "steam")),
        ("scenario/sites.csv", ",10,0.5", ",ten,0.5", ("sites.csv:3", "capacity_mw", "ten")),
        ("scenario/sites.csv", "va-1,", "tx-1,", ("sites.csv", "tx-1", "twice")),
        ("scenario/sites.csv", "NOW_RT,1.0,,,", "NOWHERE,1.0,,,", ("NOWHERE", "markets.csv")),
        ("power_prices/markets.csv", "America/Chicago", "America/Nowhere", ("markets.csv:2", "source_time_zone")),
        ("bitcoin/difficulty_epochs.csv", "79351228131136", "much", ("difficulty_epochs.csv:2", "difficulty", "much")),
        ("llm_demand/servegen_model_10min.csv", "rate_rps", "rate", ("servegen_model_10min.csv", "rate_rps")),
        ("scenario/events.json", '"outage"', '"flood"', ("events.json", "events[1]", "flood")),
        ("scenario/events.json", '"weeks"', '"months"', ("events.json", "weeks")),
    ],
)
def test_a_folder_of_the_wrong_shape_names_file_and_column(
    data_folder: Path, tmp_path: Path, file: str, old: str, new: str, words: tuple[str, ...]
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(data_folder, folder)
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))
    with pytest.raises(FolderError) as caught:
        records(folder)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    "file", ["power_prices/hourly.parquet", "bitcoin/btc_usd_hourly.parquet", "weather/tmy3_hourly.csv.gz"]
)
def test_a_missing_or_broken_file_is_one_line(data_folder: Path, tmp_path: Path, file: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(data_folder, folder)
    (folder / file).write_bytes(b"not what it says")
    with pytest.raises(FolderError, match=Path(file).name):
        records(folder)
    (folder / file).unlink()
    with pytest.raises(FolderError, match="no such file"):
        records(folder)


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="no such folder"):
        RecordedFolder(tmp_path / "nowhere")


def test_the_example_is_the_demo_fleet_of_fifty_exahash(example_days: Path) -> None:
    recorded = RecordedFolder(example_days)
    fleet = recorded.fleet()
    assert len(fleet.sites) == 40
    assert 49e18 < fleet.deployed_hs < 51.5e18
    start = datetime(2025, 9, 16, 12, tzinfo=UTC)  # the evening of the 16th in Texas is the 17th in UTC
    day = recorded.records(fleet, start, start + timedelta(days=1))
    prices = [r for r in day if isinstance(r, PriceTick) and r.market == "ercot_hb_south"]
    assert max(p.price_usd_per_mwh for p in prices) > 2_500
    assert all(p.known_at == p.at + timedelta(minutes=15) for p in prices)
    assert {(p.source, p.kind) for p in prices} == {("example days (invented)", "simulated")}
    assert recorded.assumptions[0].startswith("INVENTED")

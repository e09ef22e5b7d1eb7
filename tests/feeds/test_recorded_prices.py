"""Recorded prices: what a file says twice, in another unit or in no number is refused with file, row and remedy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tieline.feeds.days import prices
from tieline.feeds.days.folder import FolderError
from tieline.feeds.days.prices import Provenance, Rate, check_rates, rows_of, ticks
from tieline.fleet import Market, shipped
from tieline.fleet.markets import read_markets, zone_of
from tieline.fleet.tables import TableError

START = datetime(2024, 8, 20, tzinfo=UTC)
HOUR, QUARTER = timedelta(hours=1), timedelta(minutes=15)
TOLD = Provenance("test", "measured")
TEXAS = shipped()["ERCOT_HUBAVG_DA"]


def write(
    path: Path, rows: list[tuple[datetime, object]], market: str = "ERCOT_HUBAVG_DA", **more: list[object]
) -> Path:
    data = {
        "ts_utc": pa.array([at for at, _ in rows], pa.timestamp("ms", tz="UTC")),
        "market": pa.array([market] * len(rows)),
        "price_usd": pa.array([usd for _, usd in rows]),
        **{name: pa.array(values) for name, values in more.items()},
    }
    pq.write_table(pa.table(data), path)
    return path


def hours(usd: float = 20.0, count: int = 24, step: timedelta = HOUR) -> list[tuple[datetime, object]]:
    return [(START + n * step, usd) for n in range(count)]


def test_two_prices_of_one_hour_name_both_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "hourly.parquet", [*hours(), (START + 6 * HOUR, 900.0)])
    with pytest.raises(
        FolderError, match=r"rows 7 and 25 both give market ERCOT_HUBAVG_DA 2024-08-20 06:00 UTC, 20 and"
    ):
        rows_of(path)


def test_the_same_price_said_twice_counts_once(tmp_path: Path) -> None:
    path = write(tmp_path / "hourly.parquet", [*hours(), (START + 6 * HOUR, 20.0)])
    assert len(rows_of(path)["ERCOT_HUBAVG_DA"].usd) == 24


@pytest.mark.parametrize("usd", [float("nan"), float("inf"), -float("inf")])
def test_no_number_names_its_row(tmp_path: Path, usd: float) -> None:
    path = write(tmp_path / "hourly.parquet", [*hours(count=3), (START + 3 * HOUR, usd)])
    with pytest.raises(FolderError, match=r"hourly.parquet: row 4: column price_usd"):
        rows_of(path)


def test_a_text_price_names_its_column(tmp_path: Path) -> None:
    path = write(tmp_path / "hourly.parquet", [(START, "20.10"), (START + HOUR, "n/a")])
    with pytest.raises(FolderError, match=r"column price_usd is string, its first value '20.10'; numbers"):
        rows_of(path)


def test_an_empty_cell_is_a_gap(tmp_path: Path) -> None:
    path = write(tmp_path / "hourly.parquet", [(START, 20.0), (START + HOUR, None), (START + 2 * HOUR, 21.0)])
    found = ticks(TEXAS, rows_of(path)["ERCOT_HUBAVG_DA"], START, START + 3 * HOUR, TOLD)
    assert [t.at.hour for t in found] == [0, 2]


def test_an_interval_that_begins_at_no_five_minutes_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "hourly.parquet", [(START + timedelta(minutes=1) + n * HOUR, 20.0) for n in range(3)])
    with pytest.raises(FolderError, match="row 1: market ERCOT_HUBAVG_DA begins at 2024-08-20 00:01 UTC"):
        rows_of(path)


def minutes_held(*minutes: int) -> list[int]:
    return prices._lengths([n * prices.MINUTE_US for n in minutes])


def test_an_hour_holds_an_hour_also_where_clocks_stand_half_an_hour_off() -> None:
    assert minutes_held() == []
    assert minutes_held(0, 60, 120) == [60, 60, 60]
    assert minutes_held(30, 90, 150) == [60, 60, 60]
    assert minutes_held(30, 210) == [60, 60]  # what is missing between is missing


def test_a_quarter_holds_a_quarter_wherever_quarters_begin() -> None:
    assert minutes_held(0, 60, 120, 135, 150, 165, 180) == [60, 60, 15, 15, 15, 15, 60]
    assert minutes_held(45, 60, 75, 90, 105) == [15, 15, 15, 15, 15]


def test_quarter_hours_that_begin_in_the_middle_of_a_file_hold_a_quarter(tmp_path: Path) -> None:
    path = write(
        tmp_path / "hourly.parquet", [*hours(count=2), *((START + 2 * HOUR + n * QUARTER, 5.0 + n) for n in range(8))]
    )
    found = ticks(TEXAS, rows_of(path)["ERCOT_HUBAVG_DA"], START, START + 4 * HOUR, TOLD)
    assert [t.length_s for t in found] == [3600, 3600, *[900] * 8]
    ends = [t.at + timedelta(seconds=t.length_s) for t in found]
    assert ends[:-1] == [t.at for t in found[1:]]


@pytest.mark.parametrize(
    ("market", "currency", "rate", "local"),
    [("IN_IEX_DA", "INR", 0.01166, 4000.0), ("ZA_MEGAFLEX_TARIFF", "ZAR", 0.05474, 1500.0),
     ("CL_QUILLOTA_MC", "CLP", 0.00108, 60_000.0), ("BR_SE_PLD", "BRL", 0.17488, 300.0)],
)  # fmt: skip
def test_local_money_in_the_dollar_column_is_refused_with_both_numbers(
    tmp_path: Path, market: str, currency: str, rate: float, local: float
) -> None:
    path = write(tmp_path / "hourly.parquet", hours(local), market, price_local=[local] * 24)
    with pytest.raises(FolderError, match=rf"row 1: {market}: price_local {local:g} {currency} x {rate:g} is"):
        check_rates(path, {market: Rate(currency, rate)}, shipped())
    right = write(tmp_path / "right.parquet", hours(local * rate), market, price_local=[local] * 24)
    check_rates(right, {market: Rate(currency, rate)}, shipped())


def test_kilowatt_hours_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "hourly.parquet", hours(0.02), price_local=[20.0] * 24)
    with pytest.raises(FolderError, match=r"is 20.00 USD, price_usd says 0.02"):
        check_rates(path, {"ERCOT_HUBAVG_DA": Rate("USD", 1.0)}, shipped())


def test_a_rate_the_wrong_way_round_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "hourly.parquet", hours(40.0), "IN_IEX_DA")
    with pytest.raises(FolderError, match="fx_usd_fixed is 85 USD per INR, which is worth about 0.0117"):
        check_rates(path, {"IN_IEX_DA": Rate("INR", 85.0)}, shipped())


def test_a_median_that_moves_twentyfold_is_another_unit(tmp_path: Path) -> None:
    begin = datetime(2024, 7, 1, tzinfo=UTC)
    rows = [(begin + n * HOUR, 30.0 if n < 31 * 24 else 0.03) for n in range(61 * 24)]
    path = write(tmp_path / "hourly.parquet", rows)
    with pytest.raises(FolderError, match="median of 30 in 2024-07 and of 0.03 in 2024-08"):
        rows_of(path)


@pytest.mark.parametrize(
    ("words", "minutes"),
    [
        ("IST (UTC+5:30)", 330),
        ("UTC+0545", 345),
        ("EST (UTC-5, no DST)", -300),
        ("NST (UTC-3:30)", -210),
        ("UTC+10", 600),
    ],
)
def test_a_fixed_offset_keeps_its_minutes(words: str, minutes: int) -> None:
    assert zone_of(words).utcoffset(START.replace(tzinfo=None)) == timedelta(minutes=minutes)


@pytest.mark.parametrize("words", ["UTC+27", "UTC+5:75", "Mars/Olympus"])
def test_a_zone_that_there_is_not_is_refused(words: str) -> None:
    with pytest.raises(ValueError, match="no offset|no time zone"):
        zone_of(words)


@pytest.mark.parametrize(
    ("market", "at", "local"),
    [
        ("ERCOT_HUBAVG_DA", datetime(2024, 8, 21, 12, tzinfo=UTC), datetime(2024, 8, 20, 18, 30, tzinfo=UTC)),
        ("ERCOT_HUBAVG_DA", datetime(2024, 12, 21, 12, tzinfo=UTC), datetime(2024, 12, 20, 19, 30, tzinfo=UTC)),
        ("CAISO_NP15_DA", datetime(2024, 8, 21, 12, tzinfo=UTC), datetime(2024, 8, 20, 20, 0, tzinfo=UTC)),
        ("DE_LU_DA", datetime(2024, 8, 21, 12, tzinfo=UTC), datetime(2024, 8, 20, 10, 57, tzinfo=UTC)),
        # The last hour of a Texan day is the next day of UTC.
        ("ERCOT_HUBAVG_DA", datetime(2024, 8, 22, 4, tzinfo=UTC), datetime(2024, 8, 20, 18, 30, tzinfo=UTC)),
    ],
)
def test_tomorrow_is_known_when_its_auction_is_published(market: str, at: datetime, local: datetime) -> None:
    assert shipped()[market].known_at(at, HOUR) == local


def test_limits_are_those_of_their_date() -> None:
    before, after = datetime(2021, 2, 15, 12, tzinfo=UTC), datetime(2022, 2, 15, 12, tzinfo=UTC)
    assert TEXAS.usd_limits(before)[1] > 9_000 > 0 > TEXAS.usd_limits(before)[0]
    assert TEXAS.usd_limits(after)[1] < TEXAS.usd_limits(before)[1]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('zone = "America/Chicago"', 'zone = "America/Dallas"', "operator.ERCOT: no time zone 'America/Dallas'"),
        ('operator = "PJM"', 'operator = "PJN"', "market.PJM_DOM_RT: no operator 'PJN'"),
        ('currency = "INR"', 'currency = "rupees"', "operator.IEX: currency 'rupees'"),
        ('local = "13:30"', 'local = "half past one"', "operator.ERCOT"),
        ("floor = -251, cap = 9000", "floor = 9000, cap = -251", "operator.ERCOT: limits of 2015-06-01"),
        ("length_s = 900", "length_s = 1000", "length_s 1000 is no part of a day"),
        ('kind = "tariff"', 'kind = "tarif"', "tarif"),
        ("usd_about = 0.70", "usd_abut = 0.70", "usd_abut"),
    ],
)
def test_a_table_of_markets_with_a_mistake_is_one_line(old: str, new: str, words: str) -> None:
    from importlib import resources

    text = (resources.files("tieline.fleet") / "markets.toml").read_text()
    assert old in text
    with pytest.raises(TableError) as caught:
        read_markets(text.replace(old, new, 1), "mine.toml")
    assert words in str(caught.value)
    assert "mine.toml" in str(caught.value)


def test_a_market_that_no_table_has_is_published_after_noon() -> None:
    mine = Market(name="MINE_DA", kind="day-ahead", zone="Asia/Kolkata")
    assert mine.known_at(START + 12 * HOUR, HOUR) == datetime(2024, 8, 19, 8, 30, tzinfo=UTC)

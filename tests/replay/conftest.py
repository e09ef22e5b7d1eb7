"""A made-up data folder of the right shape: two days, three sites, small enough for every test."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

START = datetime(2024, 3, 4, tzinfo=UTC)
DAYS = 3

SITES = """\
site_id,region,area,lat,lon,capacity_mw,gpu_mw,asic_mw,asic_j_per_th,cooling,price_basis,price_market,price_scale,\
price_fixed_usd_mwh,price_15min,weather_station,temp_offset_c,azure_region,rtt_penalty_ms
tx-1,north_america,Texas,31.5,-102.9,20,1.0,19.0,17.5,air,spot,AHEAD_DA,1.0,,quarter,STATION,0,South Central US,4
va-1,north_america,Virginia,38.0,-78.0,10,0.5,9.5,29.5,air,spot,NOW_RT,1.0,,,STATION,4,East US 2,14
py-1,south_america,Paraguay,-25.5,-55.0,15,0.0,15.0,16.0,hydro,fixed,NOW_RT,1.0,46.0,,TMY3-PHOENIX,0,Brazil South,22
"""

MARKETS = """\
market,node,kind,currency,source_time_zone,fx_usd_fixed,weather_station
AHEAD_DA,a,day-ahead,USD,America/Chicago,1.0,STATION
NOW_RT,b,real-time hourly,USD,"EST (UTC-5, no DST)",1.0,STATION
"""

EPOCHS = """\
epoch,start_height,start_utc,start_is_observed,difficulty,timespan_s
1,832608,2024-02-29T14:00:00Z,False,79351228131136,1209600
2,834624,2024-03-05T03:30:00Z,False,80000000000000,1209600
"""

EVENTS = {
    "weeks": [
        {
            "events": [
                {
                    "kind": "order", "site_id": "tx-1", "at": "2024-03-04T10:02:30Z", "minutes": 60,
                    "notice_s": 0, "to_mw": 5.0, "penalty_usd_per_mwh": 5000,
                },
                {"kind": "outage", "site_id": "va-1", "at": "2024-03-04T12:00:00Z", "minutes": 45},
                {"kind": "link_loss", "site_id": "py-1", "at": "2024-03-04T14:00:00Z", "minutes": 70},
                {"kind": "stuck_rigs", "site_id": "tx-1", "at": "2024-03-04T16:00:00Z", "minutes": 60, "share": 0.2},
                {"kind": "late_solve", "site_id": "va-1", "at": "2024-03-04T18:00:00Z", "minutes": 5},
            ]
        }
    ]
}  # fmt: skip


def make_folder(folder: Path) -> Path:
    for name in ("power_prices", "bitcoin", "weather", "llm_demand", "scenario"):
        (folder / name).mkdir(parents=True)
    begin = START - timedelta(days=2)
    hours = [begin + timedelta(hours=h) for h in range(24 * (DAYS + 2))]
    (folder / "scenario" / "sites.csv").write_text(SITES)
    (folder / "scenario" / "events.json").write_text(json.dumps(EVENTS))
    (folder / "power_prices" / "markets.csv").write_text(MARKETS)
    (folder / "bitcoin" / "difficulty_epochs.csv").write_text(EPOCHS)
    ahead = [(at, "AHEAD_DA", 20.0 + at.hour) for at in hours]
    # Two hours of the real-time market were never recorded, and one evening was short of power.
    late = [
        (at, "NOW_RT", 400.0 if at.hour == 20 else -5.0 if at.hour == 4 else 35.0)
        for at in hours
        if at not in (START + timedelta(hours=6), START + timedelta(hours=7))
    ]
    prices = sorted(ahead + late)
    _write(
        folder / "power_prices" / "hourly.parquet",
        {"ts_utc": [p[0] for p in prices], "market": [p[1] for p in prices], "price_usd": [p[2] for p in prices]},
    )
    quarters = [begin + timedelta(minutes=15 * q) for q in range(96 * (DAYS + 2))]
    _write(
        folder / "power_prices" / "quarter_15min.parquet",
        {
            "ts_utc": quarters,
            "da_price_usd": [30.0] * len(quarters),
            "rt_price_usd": [4858.0 if at.hour == 22 and at.minute == 0 else 25.0 + at.minute / 10 for at in quarters],
        },
    )
    _write(
        folder / "bitcoin" / "btc_usd_hourly.parquet",
        {"ts_utc": hours, "close": [62_000.0 + 10 * n for n in range(len(hours))]},
    )
    _write(
        folder / "weather" / "openmeteo_hourly.parquet",
        {
            "ts_utc": hours,
            "station": ["STATION"] * len(hours),
            "temp_c": [float(8 + at.hour) for at in hours],
            "wet_bulb_c": [float(5 + at.hour / 2) for at in hours],
        },
    )
    rows = ["station,month,day,hour_ending_lst,source_year,temp_c,rh_pct,wet_bulb_c"]
    rows += [
        f"TMY3-PHOENIX,{m},{d},{h},1999,{20 + h},30,12" for m in (2, 3) for d in range(1, 30) for h in range(1, 25)
    ]
    (folder / "weather" / "tmy3_hourly.csv.gz").write_bytes(gzip.compress("\n".join(rows).encode()))
    rates = [f"m-large,{t},{2.0 + (t % 86400) / 86400:.4f},5,1.0" for t in range(0, 7 * 86_400, 600) if t != 36_000]
    (folder / "llm_demand" / "servegen_model_10min.csv").write_text(
        "\n".join(["model,t_s,rate_rps,active_clients,client_cv_weighted", *rates])
    )
    lengths = [
        f"m-large,{t},{f},{m}"
        for t in range(0, 7 * 86_400, 21_600)
        for f, m in (("input_tokens", 400), ("output_tokens", 280))
    ]
    (folder / "llm_demand" / "servegen_lengths_6h.csv").write_text("\n".join(["model,t_s,field,mean", *lengths]))
    return folder


def _write(path: Path, data: dict[str, list[object]]) -> None:
    arrays = {
        name: pa.array(values, pa.timestamp("ms", tz="UTC")) if name == "ts_utc" else pa.array(values)
        for name, values in data.items()
    }
    pq.write_table(pa.table(arrays), path)


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("data") / "days")

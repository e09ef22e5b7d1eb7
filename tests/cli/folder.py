"""A data folder as a platform leaves it: a configuration with two sites, and the records of an hour."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from tieline import records
from tieline.app.runtime import Runtime
from tieline.records import NetworkTick, PriceTick, Record, WeatherTick
from tieline.store import Store

T0 = datetime(2026, 8, 20, 12, 0, tzinfo=UTC)
FIVE = timedelta(minutes=5)

CONFIG = """
[fleet]
name = "Test fleet"

[dispatch]
policy = "strike"

[area.texas]
region = "north_america"
mode = "act"
contract = { basis = "spot", market = "PJM_DOM_RT" }
weather_station = "W"

[[site]]
area = "texas"
id = "tx-1"
name = "One"
lat = 31.0
lon = -100.0
interconnect_mw = 60.0
rigs = [{ model = "Antminer S21", mw = 35.0 }, { model = "Antminer S19j Pro", mw = 12.0 }]

[[site]]
area = "texas"
id = "tx-2"
name = "Two"
mode = "observe"
lat = 31.0
lon = -100.0
interconnect_mw = 20.0
rigs = [{ model = "Antminer S21", mw = 15.0 }]
"""


def known(price_usd: float = 20.0, temp_c: float = 15.0, at: datetime = T0) -> list[Record]:
    """A day of the world around `at`: hourly prices and weather, one network reading."""
    told = {"known_at": at - timedelta(hours=30), "source": "test", "kind": "measured"}
    found: list[Record] = []
    for n in range(-24, 36):
        hour = at + timedelta(hours=n)
        found.append(PriceTick(at=hour, market="PJM_DOM_RT", price_usd_per_mwh=price_usd, **told))
        found.append(WeatherTick(at=hour, station="W", temp_c=temp_c, **told))
    found.append(
        NetworkTick(
            at=at - timedelta(hours=1),
            known_at=at - timedelta(hours=1),
            source="test",
            kind="measured",
            difficulty=8.7e13,
            subsidy_btc=3.125,
            fee_share=0.03,
            btc_usd=Decimal(60_000),
        )
    )
    return found


def open_store(folder: Path) -> Store:
    return Store(folder / "store.db", records.encode, records.decode)


def make(folder: Path, batch: list[Record], now: datetime = T0) -> Path:
    """The folder of a platform whose world stands (all but) still at `now`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "fleet.toml"
    config.write_text(CONFIG)
    store = open_store(folder)
    store.append(batch)
    store.close()
    Runtime(
        version="0",
        data_dir=str(folder),
        config=str(config),
        speed=1e-9,
        anchor_wall=datetime(2026, 1, 1, tzinfo=UTC),
        anchor_world=now,
        link_url="",
        link_secret="",
        console_host="127.0.0.1",
        console_port=0,
        gateway_host="127.0.0.1",
        gateway_port=0,
    ).save()
    return folder

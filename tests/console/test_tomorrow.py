"""The page of tomorrow: price by market, purchase with reasons, peaks with odds, reserves, each with its records."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import pytest
from starlette.testclient import TestClient

from console.conftest import catch_up
from tieline import config, records
from tieline.clock import SimClock
from tieline.console.app import Shown, make_app
from tieline.dispatch import Outlook, Settings
from tieline.dispatch.purchase import bought_in, purchase
from tieline.feeds.days.example import STORM
from tieline.feeds.days.recorded import RecordedFolder
from tieline.fleet import Fleet
from tieline.records import Commitment, ExchangeRate, PeakOdds
from tieline.store import Store

HOUR = timedelta(hours=1)


def promise(now: datetime, site: str, name: str, status: str, hours: float) -> Commitment:
    return Commitment(
        at=now + hours * HOUR, known_at=now - HOUR, source="t", kind="measured", commitment_id=name, site_id=site,
        product="RRS", until=now + (hours + 2) * HOUR, power_w=5e6, response_s=600, capacity_usd_per_mw_h=12.5,
        status=status,
    )  # fmt: skip


@pytest.fixture
def noon(example_days: Path, tmp_path: Path) -> tuple[Store, Fleet, datetime]:
    """The platform at noon of the day before the storm's peak, an hour and a half before prices are out."""
    fleet, now = config.demo().fleet, STORM.start + 12 * HOUR
    store = Store(tmp_path / "store.db", records.encode, records.decode)
    store.append(RecordedFolder(example_days).known_by(fleet, now))
    window = STORM.start + timedelta(days=1, hours=16, minutes=45)
    for probability, known in ((0.01, now - 2 * HOUR), (0.055, now - HOUR)):
        store.append(
            [PeakOdds(at=window, known_at=known, source="t", kind="forecast", rule="4CP", probability=probability)]
        )
    store.append([promise(now, "na-tx-01", "r-1", "offered", 20), promise(now, "na-tx-01", "r-2", "declined", 21)])
    return store, fleet, now


def shown(store: Store, fleet: Fleet, now: datetime, settings: Settings):  # type: ignore[no-untyped-def]
    app = make_app(store, fleet, SimClock(now), shown=Shown(dispatch=settings))
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        catch_up(client)
        answer = client.get("/api/tomorrow")
        assert client.get("/tomorrow").status_code == 200
    assert answer.status_code == 200
    return answer.json()


def test_tomorrow_has_prices_purchases_peaks_and_reserves(noon: tuple[Store, Fleet, datetime]) -> None:
    store, fleet, now = noon
    store.append(
        [
            ExchangeRate(
                at=now - HOUR, known_at=now - HOUR, source="t", kind="measured", currency="BRL",
                usd_per_unit=Decimal("0.18"),
            )
        ]
    )  # fmt: skip
    settings = Settings(peak_rules=("4CP",))
    found = shown(store, fleet, now, settings)
    rates = {m["market"]: (m["currency"], m["usd_per_unit"]) for m in found["markets"]}
    assert rates["BR_SE_PLD"] == ("BRL", 0.18)
    assert rates["IN_IEX_DA"] == ("INR", None)
    assert rates["ERCOT_HUBAVG_DA"] == ("USD", 1.0)
    texas = next(m for m in found["markets"] if m["market"] == "ERCOT_HUBAVG_DA")
    assert len(texas["prices"]) == 24
    assert not texas["published"]
    assert texas["published_at"] == (STORM.start + 13.5 * HOUR).timestamp()
    # The same as `tieline bid` works out, hour by hour.
    outlook = Outlook(fleet, settings)
    outlook.read(store, now)
    site = fleet.site("na-tx-01")
    assert bought_in(site, fleet) is not None
    bids = purchase(outlook, fleet, settings, now, site)
    mine = next(s for s in found["purchase"] if s["site_id"] == "na-tx-01")
    assert [hour["reason"] for hour in mine["hours"]] == [one.reason for one in bids]
    assert [hour["mw"] for hour in mine["hours"]] == [round(one.expected_w / 1e6, 2) for one in bids]
    assert "the chance of a peak takes" in mine["hours"][16]["reason"]
    # Odds as they were told last, and only what is offered or stands.
    (rule,) = (r for r in found["peaks"] if r["rule"] == "4CP")
    assert [w["probability"] for w in rule["windows"]] == [0.055]
    peak_hour = STORM.start + timedelta(days=1, hours=16)
    assert rule["hours"] == [{"at": peak_hour.timestamp(), "probability": 0.055}]
    assert texas["operator"] == rule["operator"] == "ERCOT"
    assert peak_hour.timestamp() in [hour["at"] for hour in mine["hours"]]
    assert rule["zone"] == "America/Chicago"
    reserves = {r["id"]: (r["status"], r["mw"]) for r in found["reserves"]}
    assert reserves["r-1"] == ("offered", 5.0)
    assert "r-2" not in reserves


def test_once_prices_are_out_the_auction_is_said_to_have_closed(
    noon: tuple[Store, Fleet, datetime], example_days: Path
) -> None:
    store, fleet, now = noon
    later = now + 2 * HOUR
    told = [r for r in RecordedFolder(example_days).known_by(fleet, later) if r.known_at > now]
    store.append(told)
    found = shown(store, fleet, later, Settings(peak_rules=("4CP",)))
    texas = next(m for m in found["markets"] if m["market"] == "ERCOT_HUBAVG_DA")
    assert texas["published"]
    assert next(s for s in found["purchase"] if s["site_id"] == "na-tx-01")["closed"]
    # Scarcity of the evening is in the published prices.
    assert max(p["usd_per_mwh"] for p in texas["prices"]) > 1_000


def test_a_platform_that_knows_nothing_says_so(world: ModuleType, tmp_path: Path) -> None:
    store = Store(tmp_path / "empty.db", records.encode, records.decode)
    found = shown(store, config.demo().fleet, world.NOW, Settings())
    assert found["purchase"] == []
    assert "no reading of the bitcoin network" in found["purchase_note"]
    assert all(p["usd_per_mwh"] is None for m in found["markets"] for p in m["prices"])
    assert found["reserves"] == []

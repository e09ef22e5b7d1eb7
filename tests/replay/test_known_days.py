"""What recorded days say at a moment: what a running platform would have read, and nothing that came later."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tieline.cli import main
from tieline.feeds.days.recorded import HISTORY, RecordedFolder
from tieline.records import Commitment, PeakOdds, PriceTick

DEAR = {datetime(2024, 3, 5, hour, tzinfo=UTC) for hour in range(21, 24)}


@pytest.fixture(scope="module")
def folder(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The days of the fixture with three dear hours, published at 14:00 in Texas the day before."""
    made = tmp_path_factory.mktemp("known") / "days"
    shutil.copytree(data_folder, made)
    path = made / "power_prices" / "hourly.parquet"
    rows = pq.read_table(path).to_pylist()
    for row in rows:
        if row["market"] == "AHEAD_DA":
            row["price_usd"] = 2_000.0 if row["ts_utc"] in DEAR else 30.0
    pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(path)), path)
    sites = made / "scenario" / "sites.csv"
    sites.write_text(sites.read_text().replace(",quarter,", ",,"))
    events = json.loads((made / "scenario" / "events.json").read_text())
    events["commitment_offers"] = [
        {
            "site_id": "tx-1", "product": "reserve_10min", "from": "2024-03-05T10:00:00Z", "hours": 4, "mw": 5.0,
            "capacity_usd_per_mw_h": 9.0, "deployed_share_of_hours": 0.1, "nonperformance_usd_per_mwh": 2000,
            "baseline": "meter before/after",
        }
    ]  # fmt: skip
    events["peak_odds"] = [{"rule": "12CP", "at": "2024-03-05T13:00:00Z", "probability": 0.2}]
    (made / "scenario" / "events.json").write_text(json.dumps(events))
    return made


def test_an_offer_is_appraised_with_the_prices_that_are_published(folder: Path) -> None:
    words = ["commit", "check", "--data", str(folder), "--scale", "1", "--site", "tx-1", "--mw", "5", "--hours", "2"]
    found = CliRunner().invoke(main, [*words, "--from", "2024-03-05T21:00", "--usd-per-mw-h", "15", "--json"])
    assert found.exit_code == 0, found.output
    (answer,) = json.loads(found.output)
    # Ten megawatt-hours at 2,000 USD, less what their hashes are worth.
    assert answer["costs_usd"] > 15_000.0
    assert answer["worth_it"] is False


def test_of_four_offers_those_in_dear_hours_of_tomorrow_do_not_pay(folder: Path, tmp_path: Path) -> None:
    """Their prices were published the day before, and are known by when they hold, not by when they are asked about."""
    file = tmp_path / "offers.toml"
    file.write_text(
        "".join(
            f'[[offer]]\nid = "o-{n}"\nsite_id = "tx-1"\nmw = 5\nfrom = {begin}:00:00Z\nhours = 1\n'
            "capacity_usd_per_mw_h = 15\n"
            for n, begin in enumerate(("2024-03-05T20", "2024-03-05T21", "2024-03-05T23", "2024-03-06T01"))
        )
    )
    found = CliRunner().invoke(
        main, ["commit", "check", "--data", str(folder), "--scale", "1", str(file), "--json"], catch_exceptions=False
    )
    assert found.exit_code == 0, found.output
    assert [one["worth_it"] for one in json.loads(found.output)] == [True, False, False, True]


def test_nothing_is_known_before_it_was_and_tomorrow_from_its_publication(folder: Path) -> None:
    source = RecordedFolder(folder)
    for hour, published in ((12, False), (19, False), (21, True)):
        now = datetime(2024, 3, 4, hour, tzinfo=UTC)
        told = source.known_by(source.fleet(), now)
        assert all(record.known_at <= now for record in told)
        ahead = [r for r in told if isinstance(r, PriceTick) and r.market == "AHEAD_DA" and r.at in DEAR]
        assert bool(ahead) is published


def test_replayed_days_begin_with_the_weeks_before_them_with_offers_and_odds(folder: Path) -> None:
    source = RecordedFolder(folder)
    start = datetime(2024, 3, 5, tzinfo=UTC)
    found = source.records(source.fleet(), start, start + timedelta(days=1))
    assert min(r.at for r in found if isinstance(r, PriceTick)) == datetime(2024, 3, 2, tzinfo=UTC)  # all there is
    assert timedelta(days=20) < HISTORY
    (offer,) = [r for r in found if isinstance(r, Commitment)]
    assert (offer.status, offer.known_at) == ("offered", datetime(2024, 3, 4, 10, tzinfo=UTC))
    (odds,) = [r for r in found if isinstance(r, PeakOdds)]
    assert (odds.rule, odds.length_s, odds.known_at) == ("12CP", 1800, datetime(2024, 3, 4, 16, tzinfo=UTC))


def test_a_zone_at_half_an_hour_keeps_it(folder: Path, tmp_path: Path) -> None:
    made = tmp_path / "days"
    shutil.copytree(folder, made)
    path = made / "power_prices" / "markets.csv"
    path.write_text(path.read_text().replace("America/Chicago", "IST (UTC+5:30)"))
    source = RecordedFolder(made)
    start = datetime(2024, 3, 5, tzinfo=UTC)
    found = source.prices(source.fleet(), start, start + timedelta(days=1))
    # The local day begins at 18:30 UTC; its prices are out at 14:00 of the day before.
    known = {t.at.hour: t.known_at for t in found if t.market == "AHEAD_DA"}
    assert known[18] == datetime(2024, 3, 4, 8, 30, tzinfo=UTC)
    assert known[19] == datetime(2024, 3, 5, 8, 30, tzinfo=UTC)

"""Exchange rates: the last day's where there is none, none where it is stale, dollars of the day and of no other."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.dispatch.fleets import T0, fleet, network, one_site, site, store, weather

from tieline import config
from tieline.config import ConfigError
from tieline.dispatch import Controller, Settings
from tieline.feeds.days.folder import FolderError
from tieline.feeds.days.prices import Provenance, in_dollars, rows_of, ticks
from tieline.feeds.days.rates import exchange_rates
from tieline.feeds.http import Fetched, Unavailable
from tieline.feeds.rates import RatesFeed, known_at, needed
from tieline.fleet import Contract, Fleet, shipped
from tieline.fleet.currency import RateBook
from tieline.records import ExchangeRate, Fault

FRIDAY = datetime(2024, 8, 16, 14, tzinfo=UTC)  # 16:00 in Frankfurt
DAY = timedelta(days=1)
TOLD = Provenance("test", "measured")


def book(*days: tuple[datetime, str], currency: str = "NOK") -> RateBook:
    found = RateBook()
    for at, usd in days:
        found.learn(currency, at, Decimal(usd))
    return found


def test_a_weekend_takes_the_last_rate_and_after_five_days_there_is_none() -> None:
    held = book((FRIDAY - DAY, "0.092"), (FRIDAY, "0.095"))
    assert held.rate("NOK", FRIDAY + 2 * DAY).usd_per_unit == Decimal("0.095")
    assert held.rate("NOK", FRIDAY - timedelta(hours=1)).usd_per_unit == Decimal("0.092")
    assert held.rate("NOK", FRIDAY + 5 * DAY).usd_per_unit == Decimal("0.095")
    stale = held.rate("NOK", FRIDAY + 6 * DAY)
    assert stale.usd_per_unit is None
    assert stale.why == "the last exchange rate of NOK is 6 days old (2024-08-16)"
    assert "no exchange rate of EUR" in held.rate("EUR", FRIDAY).why
    assert held.rate("USD", FRIDAY).usd_per_unit == 1


# --- a folder ------------------------------------------------------------------------------------


def folder(path: Path, rows: str) -> Path:
    (path / "fx").mkdir()
    (path / "fx" / "daily.csv").write_text("date,currency,usd_per_unit\n" + rows)
    return path


def test_a_folders_rate_is_known_at_four_in_frankfurt(tmp_path: Path) -> None:
    found = exchange_rates(folder(tmp_path, "2024-08-16,NOK,0.095\n"), FRIDAY - DAY, FRIDAY + DAY, TOLD)
    assert [(one.known_at, one.usd_per_unit) for one in found] == [(FRIDAY, Decimal("0.095"))]
    assert exchange_rates(tmp_path / "none", FRIDAY, FRIDAY, TOLD) == []


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("2024-08-16,NOK,free", "row 2: '2024-08-16', 'free'"),
        ("16.8.2024,NOK,0.095", "row 2"),
        ("2024-08-16,kroner,0.095", "three letters"),
        ("2024-08-16,NOK,-1", "USD per unit"),
        ("2024-08-16,NOK,0.095\n2024-08-16,NOK,0.096", "row 3: NOK of 2024-08-16 stands twice"),
    ],
)
def test_a_rate_that_is_none_is_named_with_its_row(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(FolderError, match=said):
        exchange_rates(folder(tmp_path, row + "\n"), FRIDAY - DAY, FRIDAY + DAY, TOLD)


def prices(path: Path, local: float, usd: float) -> Path:
    at = datetime(2024, 8, 17, 10, tzinfo=UTC)
    table = {
        "ts_utc": pa.array([at], pa.timestamp("ms", tz="UTC")),
        "market": ["DE_LU_DA"],
        "price_local": [local],
        "price_usd": [usd],
    }
    pq.write_table(pa.table(table), path)
    return path


def test_a_local_price_is_worth_the_rate_of_the_day_it_became_known(tmp_path: Path) -> None:
    path, market = prices(tmp_path / "p.parquet", 100.0, 110.0), shipped()["DE_LU_DA"]
    listed = rows_of(path)["DE_LU_DA"]
    found = ticks(market, listed, FRIDAY - DAY, FRIDAY + 9 * DAY, TOLD)
    rates = book((FRIDAY - DAY, "1.10"), (FRIDAY, "1.20"), currency="EUR")
    assert found[0].known_at < FRIDAY  # published on Friday before the day's rate was
    (tick,) = in_dollars(path, market, listed, found, rates)
    assert (tick.price_usd_per_mwh, tick.price_local_per_mwh, tick.currency) == (110.0, 100.0, "EUR")
    assert in_dollars(path, market, listed, found, RateBook()) == []
    wrong = prices(tmp_path / "w.parquet", 100.0, 120.0)
    listed = rows_of(wrong)["DE_LU_DA"]
    with pytest.raises(
        FolderError, match=r"row 1: DE_LU_DA: price_local 100 EUR x 1.10 of that day is 110.00 USD.*120"
    ):
        in_dollars(wrong, market, listed, ticks(market, listed, FRIDAY - DAY, FRIDAY + 9 * DAY, TOLD), rates)


# --- live ------------------------------------------------------------------------------------------


def answer(**per_euro: list[float | None]) -> dict[str, object]:
    """What the ECB sends: units a euro on 15 and 16 August."""
    names = sorted(per_euro)
    series = {
        f"0:{n}:0:0:0": {"observations": {str(day): [rate] for day, rate in enumerate(per_euro[name])}}
        for n, name in enumerate(names)
    }
    ids = [{"id": name} for name in names]
    days = [{"id": "2024-08-15"}, {"id": "2024-08-16"}]
    dimensions = {
        "series": [{"id": "FREQ", "values": [{"id": "D"}]}, {"id": "CURRENCY", "values": ids}],
        "observation": [{"id": "TIME_PERIOD", "values": days}],
    }
    return {"structure": {"dimensions": dimensions}, "dataSets": [{"series": series}]}


class Said:
    url = "https://ecb.test"

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)

    async def get(self, params: object = None) -> object:
        return self.answers.pop(0)


def read(feed: RatesFeed, said: object, now: datetime) -> list[object]:
    feed._asked = Said(said)
    return list(asyncio.run(feed.read(now)))


def test_rates_of_the_bank_become_records_once() -> None:
    feed = RatesFeed(("EUR", "NOK"))
    body = answer(USD=[1.10, 1.12], NOK=[11.0, 11.2])
    found = read(feed, Fetched(body), FRIDAY + DAY)
    told = {(r.currency, r.at): r.usd_per_unit for r in found if isinstance(r, ExchangeRate)}
    assert told[("EUR", FRIDAY)] == Decimal("1.12")
    assert told[("NOK", FRIDAY)] == Decimal("0.1")
    assert len(told) == 4
    assert read(feed, Fetched(body), FRIDAY + DAY) == []


@pytest.mark.parametrize(
    "said",
    [
        Unavailable("down"),
        Fetched({}),
        Fetched([1]),
        Fetched(answer(USD=[1e9, -1.0])),
        Fetched(answer(NOK=[11.0, 11.2])),
    ],
)
def test_what_is_no_rate_is_a_fault_and_nothing_else(said: object) -> None:
    found = read(RatesFeed(("NOK",)), said, FRIDAY + DAY)
    assert found
    assert all(isinstance(one, Fault) for one in found)


def test_a_rate_is_asked_for_only_where_something_is_priced_in_it() -> None:
    assert needed(fleet()) == ()
    assert needed(Fleet(name="f", sites=(site(contract=NORWAY),))) == ("NOK",)
    assert known_at(FRIDAY.date()) == FRIDAY


# --- a contract in another currency -------------------------------------------------------------------


NORWAY = Contract(basis="fixed", currency="NOK", fixed_local_per_mwh=500.0, adder_local_per_mwh=100.0)


def decided(*rates: ExchangeRate) -> object:
    own = Fleet(name="f", sites=(site(contract=NORWAY, nodes=0),))
    held = store(network(), weather(20.0), *rates)
    return asyncio.run(Controller(held, own, Settings(restore_share_per_5min=None)).step(T0))[0]


def rate(days_ago: float, usd: str) -> ExchangeRate:
    at = T0 - timedelta(days=days_ago)
    return ExchangeRate(
        at=at, known_at=at, source="t", kind="measured", currency="NOK", usd_per_unit=Decimal(usd)
    )  # fmt: skip


def test_a_contract_in_kroner_is_decided_in_dollars_of_the_day() -> None:
    assert decided(rate(1, "0.1")).price_usd_per_mwh == pytest.approx(60.0)
    assert decided(rate(2, "0.1"), rate(1, "0.2")).price_usd_per_mwh == pytest.approx(120.0)


def test_a_stale_rate_is_named_in_the_plan_and_nothing_is_converted_at_it() -> None:
    plan = decided(rate(8, "0.1"))
    assert plan.price_usd_per_mwh is None
    assert "the last exchange rate of NOK is 8 days old" in plan.note


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('currency = "kr", fixed_local_per_mwh = 1.0', "three letters"),
        ("fixed_local_per_mwh = 500.0", "without a currency"),
        ('currency = "NOK", fixed_local_per_mwh = 500.0, fixed_usd_per_mwh = 50.0', "two currencies"),
    ],
)
def test_a_contract_that_mixes_currencies_is_refused(change: str, said: str) -> None:
    text = one_site(f'basis = "fixed", {change}')
    with pytest.raises(ConfigError, match=said):
        config.loads(text)
    assert msgspec.structs.replace(NORWAY).in_usd(0.1).fixed_usd_per_mwh == pytest.approx(50.0)

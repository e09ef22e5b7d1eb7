"""What a desk is given that is wrong: one line that says where and what to do, or a fallback that is named."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.dispatch.fleets import T0, fleet, network, price, site, store, weather
from tests.dispatch.test_bad_input import over, prices, run
from tests.dispatch.test_odds import RULE, TEXAS, calm, loads_of
from tests.edge.test_orders import event

from tieline.cli.desk.awards import awards_of, statement_of
from tieline.cli.desk.market_file import AwardError
from tieline.cli.desk.reserves import reserve_awards
from tieline.dispatch import Controller, Settings
from tieline.dispatch.desk.peaks import PeakDesk
from tieline.dispatch.purchase import hours_of
from tieline.feeds.days.folder import FolderError
from tieline.feeds.days.prices import Provenance, Rate, check_hubs, check_rates, rows_of, ticks
from tieline.feeds.notices.openadr3 import limits
from tieline.feeds.notices.standing import StandingOrders
from tieline.fleet import Contract, Fleet, shipped
from tieline.fleet.peaks import shipped_rules
from tieline.fleet.reserves import shipped_reserves
from tieline.records import ExchangeRate, PowerBill

HOUR, DAY, QUARTER = timedelta(hours=1), timedelta(days=1), timedelta(minutes=15)
START = datetime(2023, 10, 22, 12, tzinfo=UTC)
TOLD = Provenance("test", "measured")
HUB = "ERCOT_HUBAVG_DA"

Row = tuple[datetime, str, float, float | None]


def prices_file(folder: Path, rows: list[Row]) -> Path:
    path = folder / "hourly.parquet"
    at, market, usd, local = zip(*rows, strict=True)
    made = {"ts_utc": pa.array(at, pa.timestamp("ms", tz="UTC")), "market": market, "price_usd": usd}
    pq.write_table(pa.table(made | ({"price_local": local} if any(one is not None for one in local) else {})), path)
    return path


def hours(usd: float, market: str = HUB, count: int = 240, local: float | None = None) -> list[Row]:
    return [(START + n * HOUR, market, usd, local) for n in range(count)]


def refused(read: Callable[[], object]) -> str:
    """The one line that it is refused with."""
    with pytest.raises((FolderError, AwardError)) as caught:
        read()
    return str(caught.value)


# --- each kind: what the desk says of it ----------------------------------------------------------------


def an_hour_twice(folder: Path) -> str:
    path = prices_file(folder, [*hours(20.0), (START + 6 * HOUR, HUB, 900.0, None)])
    return refused(lambda: rows_of(path))


def an_hour_ending_at_24(folder: Path) -> str:
    file = folder / "awards.csv"
    file.write_text("purchase_id,site_id,market,hour_begins_utc,mw,price_usd_per_mwh\np,tx-1,M,2026-10-05T24:00,1,30\n")
    return refused(lambda: awards_of(file, fleet(), T0))


def a_half_hour_zone(folder: Path) -> str:
    path = prices_file(folder, [(at + HOUR / 2, "IN_IEX_DA", usd, None) for at, _, usd, _ in hours(40.0, count=48)])
    found = ticks(shipped()["IN_IEX_DA"], rows_of(path)["IN_IEX_DA"], START, START + 48 * HOUR, TOLD)
    told = {one.known_at.time().isoformat() for one in found}
    return f"{ {one.length_s for one in found} } s long, out at {told} UTC"


def quarters_from_the_middle(folder: Path) -> str:
    rows = [*hours(20.0, count=2), *((START + 2 * HOUR + n * QUARTER, HUB, 5.0 + n, None) for n in range(8))]
    found = ticks(shipped()[HUB], rows_of(prices_file(folder, rows))[HUB], START, START + 4 * HOUR, TOLD)
    return " ".join(str(one.length_s) for one in found)


def a_months_last_hour_missing(folder: Path) -> str:
    """Of three hours the last has no meter reading: it is in no line and is named."""
    bills = [
        PowerBill(at=T0 + n * HOUR, known_at=T0 + (n + 1) * HOUR, source="m", kind="measured", site_id="tx-1",
                  length_s=3600, mining_wh=1_000_000, inference_wh=0, aux_wh=0, cost_usd=Decimal(0))
        for n in range(2)
    ]  # fmt: skip
    kept = store(*bills, *(price(30.0, at=T0 + n * HOUR) for n in range(3)))
    found = statement_of(kept, fleet(), "tx-1", (T0, T0 + 3 * HOUR), T0 + DAY)
    return f"{found.usd} USD, without {[f'{at:%H:%M}' for at in found.unmetered]}"


def beyond(usd: float) -> Callable[[Path], str]:
    def case(folder: Path) -> str:
        told = [*prices(64.0, hours=48), price(usd, at=T0), network(), weather(15)]
        plan = run(over(*told))
        return f"{plan.decided_by}: {plan.note}"

    return case


def within(usd: float) -> Callable[[Path], str]:
    def case(folder: Path) -> str:
        plan = run(over(*prices(usd, hours=72), network(), weather(15)))
        rigs = sum(p.target_w for p in plan.setpoints if "rigs" in p.unit_id)
        return f"{plan.price_usd_per_mwh:g} USD/MWh, {'rigs run' if rigs > 1e6 else 'rigs rest'}"

    return case


def kilowatt_hours(folder: Path) -> str:
    path = prices_file(folder, hours(0.04))
    return refused(lambda: rows_of(path))


def local_for_dollars(folder: Path) -> str:
    path = prices_file(folder, hours(4_000.0, "IN_IEX_DA", local=4_000.0))
    return refused(lambda: check_rates(path, {"IN_IEX_DA": Rate("INR", 0.0117)}, shipped()))


def last_weeks_rate(folder: Path) -> str:
    norway = Contract(basis="fixed", currency="NOK", fixed_local_per_mwh=500.0)
    at = T0 - 7 * DAY
    rate = ExchangeRate(at=at, known_at=at, source="t", kind="measured", currency="NOK", usd_per_unit=Decimal("0.1"))
    own = Fleet(name="f", sites=(site(contract=norway, nodes=0),))
    (plan,) = asyncio.run(Controller(store(network(), weather(20.0), rate), own, Settings()).step(T0))
    return str(plan.note)


def a_load_forecast_that_stops(folder: Path) -> str:
    tops = calm()
    today = max(tops) + DAY
    now = datetime(today.year, today.month, today.day, 16, tzinfo=UTC)
    said = []
    for forecast in ({today: 76.0, today + DAY: 76.0}, {today: 76.0}):
        found = PeakDesk(TEXAS, (RULE,)).step(store(*loads_of(tops, forecast)), now)
        said.append({one.source for one in found if RULE.local_day(one.at) == today + DAY}.pop())
    return " | ".join(said)


def an_event_cancelled_by_silence(folder: Path) -> str:
    standing = StandingOrders("tx-1", "openadr")
    said = list(limits(event("e", "p", T0.isoformat(), "PT2H", [5_000]), 0.0))
    (taken,) = standing.hear(T0, said)
    (ended,) = standing.hear(T0 + HOUR / 2, [])
    return f"{taken.limit_w / 1e6:g} MW to {taken.until:%H:%M}, then to {ended.until:%H:%M}"


def more_reserves_than_load(folder: Path) -> str:
    file = folder / "awards.csv"
    file.write_text(
        f"site_id,product,hour_begins_utc,mw,price_usd_per_mw_h\ntx-1,ERCOT_ECRS,{T0 + 4 * HOUR:%Y-%m-%dT%H:%M},500,4\n"
    )
    able = fleet(msgspec.structs.replace(site(), reserves=("ERCOT_ECRS",)))
    return refused(lambda: reserve_awards(file, able, T0, []))


def every_zone_far_above_its_hub(folder: Path) -> str:
    rows = hours(24.0)
    for zone in ("WEST", "NORTH", "SOUTH", "HOUSTON"):
        rows += [
            (at, f"ERCOT_LZ_{zone}_DA", 3_329.0 if at.hour == 17 and at.day == 22 else usd + 3.0, None)
            for at, _, usd, _ in hours(24.0)
        ]
    return refused(lambda: check_hubs(prices_file(folder, rows), shipped()))


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (an_hour_twice, "rows 7 and 241 both give market ERCOT_HUBAVG_DA 2023-10-22 18:00 UTC, 20 and 900; keep one"),
        (an_hour_ending_at_24, "row 2: hour_begins_utc '2026-10-05T24:00' is no time"),
        (an_hour_ending_at_24, "the one that ends at 24:00 begins at 23:00"),
        (a_half_hour_zone, "{3600} s long, out at {'07:30:00'} UTC"),
        (quarters_from_the_middle, "3600 3600 900 900 900 900 900 900 900 900"),
        (a_months_last_hour_missing, "60.00 USD, without ['14:00']"),
        (beyond(26_000.0), "(fallback): HUB says 26,000 USD/MWh at 12:00, which is absurd"),
        (beyond(-2_500.0), "(fallback): HUB says -2,500 USD/MWh at 12:00, which is absurd"),
        (within(5_000.0), "5000 USD/MWh, rigs rest"),
        (within(-251.0), "-251 USD/MWh, rigs run"),
        (within(0.0), "0 USD/MWh, rigs run"),
        (kilowatt_hours, "row 1: market ERCOT_HUBAVG_DA says 0.04 and in no row more; USD per MWh is expected"),
        (local_for_dollars, "row 1: IN_IEX_DA: price_local 4000 INR x 0.0117 is 46.80 USD, price_usd says 4000"),
        (last_weeks_rate, "the last exchange rate of NOK is 7 days old"),
        (a_load_forecast_that_stops, "odds from system load | desk: odds from system load; no load forecast is pub"),
        (an_event_cancelled_by_silence, "5 MW to 14:00, then to 12:30"),
        (more_reserves_than_load, "row 2: 500.0 MW of reserves at tx-1 then, its rigs draw"),
        (every_zone_far_above_its_hub, "every zone of ERCOT at least 3329, while its hubs say at most 24; give the"),
    ],
    ids=[
        "an hour twice", "hour ending 24", "hour ending 24, remedy", "half-hour zone", "quarters from the middle",
        "a month's last hour missing", "above every cap", "below every floor", "a cap that was", "a floor that was",
        "zero for a day", "kWh for MWh", "local for USD", "last week's rate", "a load forecast that stops",
        "an event cancelled by silence", "more reserves than load", "every zone 3,329, the hub 24",
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_or_a_fallback_that_is_named(
    case: Callable[[Path], str], said: str, tmp_path: Path
) -> None:
    told = case(tmp_path)
    assert said in told
    assert "\n" not in told


def test_zones_and_hubs_that_congestion_parts_are_believed(tmp_path: Path) -> None:
    """One zone dear, or all with their hub: scarcity and congestion are prices."""
    rows = [
        (at, name, usd, None)
        for at, _, _, _ in hours(24.0)
        for name, usd in ((HUB, 24.0), ("ERCOT_LZ_WEST_DA", 3_329.0), ("ERCOT_LZ_NORTH_DA", 30.0))
    ]
    check_hubs(prices_file(tmp_path, rows), shipped())
    scarce = [(at, name, 4_000.0 if name == HUB else 4_400.0, None) for at, name, _, _ in rows]
    check_hubs(prices_file(tmp_path, scarce), shipped())
    check_hubs(prices_file(tmp_path, [row for row in scarce if row[1] != HUB]), shipped())


@pytest.mark.parametrize(
    ("market", "short", "long"),
    [
        ("ERCOT_LZ_WEST_DA", date(2026, 3, 8), date(2026, 11, 1)),
        ("PJM_DOM_RT", date(2026, 3, 8), date(2026, 11, 1)),
        ("CAISO_NP15_DA", date(2026, 3, 8), date(2026, 11, 1)),
        ("DE_LU_DA", date(2026, 3, 29), date(2026, 10, 25)),
        ("CL_QUILLOTA_MC", date(2026, 9, 6), date(2026, 4, 4)),  # in the south summer ends in autumn, at midnight
    ],
)
def test_days_of_twenty_three_and_twenty_five_hours_are_whole(
    market: str, short: date, long: date, tmp_path: Path
) -> None:
    what = shipped()[market]
    for day, count in ((short, 23), (long, 25)):
        found = hours_of(what.zone, day)
        assert len(found) == count
        assert found[1:] == [at + HOUR for at in found[:-1]]
        assert hours_of(what.zone, day + DAY)[0] == found[-1] + HOUR
        rows = [(at, market, 20.0 + n, None) for n, at in enumerate(found)]
        read = ticks(what, rows_of(prices_file(tmp_path, rows))[market], found[0], found[-1] + HOUR, TOLD)
        assert [one.at for one in read] == found
        if what.ahead:  # one publication for the whole day
            assert len({one.known_at for one in read}) == 1
        assert Contract(basis="fixed", demand_zone=what.zone).demand_month(found[-1])[0] <= found[0]
        rules = [rule for rule in shipped_rules().values() if rule.zone == what.zone]
        assert all({rule.local_day(at) for at in found} == {day} for rule in rules)
        sold = [one for one in shipped_reserves().values() if one.zone == what.zone]
        assert all(len({one.known_at(at) for at in found}) == 1 for one in sold)

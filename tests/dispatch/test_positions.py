"""Legs by hour, two settlements to the cent against a month made by hand, and tomorrow's purchase with its reasons."""

from __future__ import annotations

import csv
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from tests.dispatch.fleets import T0 as NOW
from tests.dispatch.fleets import fleet, network, price, site, store

from tieline.cli import main
from tieline.cli.desk.awards import awards_of, hourly, month_of, statement_of
from tieline.cli.desk.market_file import AwardError
from tieline.config import ConfigError, loads
from tieline.dispatch import Outlook, Settings
from tieline.dispatch.desk.statement import Bought, PositionBill, SettledHour, correction, statement
from tieline.dispatch.purchase import bought_in, hours_of, purchase
from tieline.fleet import Contract
from tieline.fleet.positions import Leg, held_w, share_of
from tieline.records import PeakOdds, PowerBill, PriceTick, Purchase

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TEXAS = "America/Chicago"


# --- legs ------------------------------------------------------------------------------------


def test_a_week_of_five_by_sixteen_has_eighty_peak_hours() -> None:
    monday = datetime(2026, 10, 5, tzinfo=ZoneInfo(TEXAS))
    hours = [monday + n * HOUR for n in range(7 * 24)]
    assert sum(share_of("peak", hour) for hour in hours) == 80
    assert sum(share_of("off-peak", hour) for hour in hours) == 88
    assert sum(share_of("block", hour) for hour in hours) == 168
    sun = [share_of("solar", hour) for hour in hours[:24]]
    assert max(sun) == pytest.approx(1.0, abs=0.02)
    assert not any(sun[:7] + sun[19:])


def test_a_leg_holds_between_its_local_days_and_legs_add_up() -> None:
    block = Leg(name="b", mw=10.0, usd_per_mwh=38.0, since=date(2026, 10, 1), until=date(2026, 11, 1))
    peak = Leg(name="p", mw=5.0, shape="peak", market="ERCOT_LZ_WEST_DA")
    # 04:30 UTC of 1 October is still September in Texas.
    assert block.power_w(TEXAS, datetime(2026, 10, 1, 4, tzinfo=UTC)) == 0.0
    assert block.power_w(TEXAS, datetime(2026, 10, 1, 5, tzinfo=UTC)) == 10e6
    assert block.power_w(TEXAS, datetime(2026, 11, 1, 5, tzinfo=UTC)) == 0.0
    assert held_w((block, peak), TEXAS, datetime(2026, 10, 5, 15, tzinfo=UTC)) == 15e6


@pytest.mark.parametrize(
    ("legs", "words"),
    [
        ('{ name = "a", mw = -1, usd_per_mwh = 30 }', "megawatts above 0"),
        ('{ name = "a", mw = 1 }', "no price, or two"),
        ('{ name = "a", mw = 1, usd_per_mwh = 30, market = "ERCOT_HUBAVG_DA" }', "no price, or two"),
        ('{ name = "a", mw = 1, market = "ERCOT_HUBBAVG_DA" }', "no market 'ERCOT_HUBBAVG_DA'"),
        ('{ name = "a", mw = 1, usd_per_mwh = 3, shape = "round" }', "round"),
        ('{ name = "a", mw = 1, usd_per_mwh = 3, since = 2026-02-01, until = 2026-01-01 }', "before it begins"),
    ],
)
def test_a_leg_with_a_mistake_is_one_line_with_its_fix(legs: str, words: str) -> None:
    text = f"""
[fleet]
name = "t"
[[site]]
id = "tx"
name = "t"
region = "r"
lat = 30.0
lon = -100.0
interconnect_mw = 10.0
contract = {{ basis = "spot", market = "ERCOT_HUBAVG_DA", legs = [{legs}] }}
rigs = [{{ model = "Antminer S21", mw = 5.0 }}]
"""
    with pytest.raises(ConfigError) as caught:
        loads(text)
    assert words in str(caught.value)
    good = loads(text.replace(legs, '{ name = "a", mw = 1, usd_per_mwh = 30, shape = "solar" }'))
    assert good.fleet.sites[0].contract.legs[0].shape == "solar"


# --- two settlements -------------------------------------------------------------------------

OCTOBER = datetime(2026, 10, 1, 5, tzinfo=UTC)
# Three hours of a month, worked out by hand in the comments. Losses of 2 %, an adder of 4.10 USD a metered MWh.
BY_HAND = (
    # 12.345678 MWh metered are 12.592592 at the market (12.59259156 rounded to the Wh). Block 10 x 38.00 = 380.00;
    # a day ahead 4 x 55.55 = 222.20; the rest -1.407408 x 31.27 = -44.01 (44.00965); adder 12.345678 x 4.10 = 50.62.
    SettledHour(OCTOBER, 12_345_678, Decimal("31.27"), (
        Bought("leg block", 10_000_000, Decimal("38.00")), Bought("DA", 4_000_000, Decimal("55.55")))),
    # Scarcity: nothing runs and all that was bought is sold back: 380.00 + 222.20 - 14 x 4,858.13 = -67,411.62.
    SettledHour(OCTOBER + HOUR, 0, Decimal("4858.13"), (
        Bought("leg block", 10_000_000, Decimal("38.00")), Bought("DA", 4_000_000, Decimal("55.55")))),
    # A price below zero: 20.4 at the market from 20 metered, 6.4 of it at -11.005 = -70.432 -> -70.43; adder 82.00.
    SettledHour(OCTOBER + 2 * HOUR, 20_000_000, Decimal("-11.005"), (
        Bought("leg block", 10_000_000, Decimal("38.00")), Bought("DA", 4_000_000, Decimal("55.55")))),
)  # fmt: skip


def by_hand() -> PositionBill:
    return statement(BY_HAND, Decimal("1.02"), Decimal("4.10"))


def test_a_month_made_by_hand_is_the_same_to_the_cent() -> None:
    found = by_hand()
    assert {kind: usd for kind, (_, usd) in found.by_kind().items()} == {
        "leg block": Decimal("1140.00"),
        "DA": Decimal("666.60"),
        "real time": Decimal("-44.01") + Decimal("-68013.82") + Decimal("-70.43"),
        "adder": Decimal("50.62") + Decimal("82.00"),
    }
    assert found.usd == Decimal("-66189.04")
    assert found.usd == sum(usd for _, usd in found.by_kind().values())


def test_a_price_that_is_needed_and_not_known_is_named_and_one_that_is_not_needed_is_not() -> None:
    hour = SettledHour(OCTOBER, 5_000_000, None, (Bought("leg", 5_000_000, Decimal(30)),))
    assert statement([hour], Decimal(1), Decimal(0)).usd == Decimal("150.00")
    with pytest.raises(ValueError, match="2026-10-01 05:00 UTC: 0.100 MWh settle at real time"):
        statement([SettledHour(OCTOBER, 5_100_000, None, hour.bought)], Decimal(1), Decimal(0))


energies = st.integers(min_value=-(10**9), max_value=10**9)
prices = st.decimals(min_value=-5000, max_value=5000, places=2)


@given(st.lists(st.tuples(energies, prices, energies, prices, energies), min_size=1, max_size=6))
def test_a_correction_added_to_the_old_bill_is_the_new_one(rows) -> None:  # type: ignore[no-untyped-def]
    def of(shift: int) -> PositionBill:
        hours = [
            SettledHour(OCTOBER + n * HOUR, abs(m) + shift, rt, (Bought("DA", q, p),))
            for n, (m, rt, q, p, _) in enumerate(rows)
        ]
        return statement(hours, Decimal("1.013"), Decimal("2.5"))

    before, after = of(0), of(1234)
    assert before.usd + correction(before, after).usd == after.usd
    assert correction(before, before).lines == ()


CONTRACT = Contract(
    basis="spot",
    market="ERCOT_LZ_WEST_RT",
    day_ahead="ERCOT_LZ_WEST_DA",
    scale=1.02,
    adder_usd_per_mwh=4.1,
    legs=(Leg(name="block", mw=10.0, usd_per_mwh=38.0),),
)


def settled_store():  # type: ignore[no-untyped-def]
    told, bills, ticks = OCTOBER - DAY, [], []
    for hour in BY_HAND:
        bills.append(
            PowerBill(at=hour.at, known_at=hour.at + 2 * HOUR, source="m", kind="measured", site_id="tx-1",
                      length_s=3600, mining_wh=hour.metered_wh, inference_wh=0, aux_wh=0, cost_usd=Decimal(0))
        )  # fmt: skip
        # Quarter hours whose mean is the hour's price.
        ticks += [
            PriceTick(at=hour.at + n * HOUR / 4, known_at=hour.at + HOUR, source="m", kind="measured",
                      market="ERCOT_LZ_WEST_RT", length_s=900,
                      price_usd_per_mwh=round(float(hour.real_time or 0) + d, 3))
            for n, d in enumerate((-4.0, 4.0, -1.0, 1.0))
        ]  # fmt: skip
    awards = [
        Purchase(at=hour.at, known_at=told, source="a", kind="measured", purchase_id="p1", site_id="tx-1",
                 market="DA", energy_wh=4_000_000, price_usd_per_mwh=Decimal("55.55"))
        for hour in BY_HAND
    ]  # fmt: skip
    return store(*bills, *ticks, *awards)


def test_records_settle_to_the_same_bill_and_a_corrected_meter_is_a_correction() -> None:
    where = fleet(site(contract=CONTRACT))
    kept, span = settled_store(), (OCTOBER, OCTOBER + 3 * HOUR)
    known = OCTOBER + 10 * HOUR
    found = statement_of(kept, where, "tx-1", span, known)
    assert found.usd == Decimal("-66189.04")
    assert hourly(kept, "ERCOT_LZ_WEST_RT", span, known)[OCTOBER] == Decimal("31.27")
    # The meter of the first hour is read again: one MWh less.
    fixed = PowerBill(
        at=OCTOBER, known_at=known + DAY, source="m", kind="measured", site_id="tx-1", length_s=3600,
        mining_wh=11_345_678, inference_wh=0, aux_wh=0, cost_usd=Decimal(0),
    )  # fmt: skip
    kept.append([fixed])
    later = statement_of(kept, where, "tx-1", span, known + 2 * DAY)
    assert statement_of(kept, where, "tx-1", span, known).usd == found.usd
    changed = correction(found, later)
    assert {line.what for line in changed.lines} == {"real time", "adder"}
    # 1.02 MWh at 31.27 (31.90) and the adder (4.10).
    assert changed.usd == later.usd - found.usd == Decimal("-36.00")


def test_a_local_month_of_texas_begins_at_five_and_ends_where_now_is() -> None:
    where = fleet(site(contract=CONTRACT))
    assert month_of("2026-10", where, "tx-1", OCTOBER + 40 * DAY) == (OCTOBER, datetime(2026, 11, 1, 5, tzinfo=UTC))
    assert month_of("2026-10", where, "tx-1", OCTOBER + DAY + HOUR / 2)[1] == OCTOBER + DAY


# --- tomorrow's purchase ----------------------------------------------------------------------


def test_the_days_of_a_clock_change_have_twenty_three_and_twenty_five_hours() -> None:
    assert len(hours_of(TEXAS, date(2026, 3, 8))) == 23
    assert len(hours_of(TEXAS, date(2026, 11, 1))) == 25
    assert len(hours_of(TEXAS, date(2026, 11, 2))) == 24


def known(contract: Contract, *more, usd: float = 40.0):  # type: ignore[no-untyped-def]
    where = fleet(site(contract=contract, nodes=0))
    market = contract.day_ahead or contract.market
    ticks = [price(usd, at=NOW - n * HOUR, market=market, known_at=NOW - n * HOUR) for n in range(72)]
    outlook = Outlook(where, Settings())
    outlook.read(store(*ticks, network(at=NOW - HOUR), *more), NOW)
    return outlook, where


def test_tomorrow_is_bought_at_what_each_group_earns_and_legs_are_not_bought_again() -> None:
    contract = Contract(basis="spot", market="ERCOT_LZ_WEST_RT", day_ahead="ERCOT_LZ_WEST_DA")
    outlook, where = known(contract)
    plain = purchase(outlook, where, Settings(), NOW, where.sites[0])
    assert len(plain) == 24
    limits = [p.limit_usd_per_mwh for p in plain[0].curve if p.limit_usd_per_mwh is not None]
    assert limits == sorted(limits, reverse=True)
    assert all(one.market == "ERCOT_LZ_WEST_DA" and not one.known for one in plain)
    held = Contract(
        basis="spot", market="ERCOT_LZ_WEST_RT", day_ahead="ERCOT_LZ_WEST_DA",
        legs=(Leg(name="b", mw=3.0, usd_per_mwh=30.0),),
    )  # fmt: skip
    outlook, where = known(held)
    less = purchase(outlook, where, Settings(), NOW, where.sites[0])
    whole, rest = (sum(p.power_w for p in bids[0].curve) for bids in (plain, less))
    assert whole - rest == pytest.approx(3e6)
    assert "3.0 MW held by legs" in less[0].reason
    # More than the site can use: what is over settles at real time.
    big = Contract(
        basis="spot", market="ERCOT_LZ_WEST_RT", day_ahead="ERCOT_LZ_WEST_DA",
        legs=(Leg(name="b", mw=5_000.0, usd_per_mwh=30.0),),
    )  # fmt: skip
    outlook, where = known(big)
    over = purchase(outlook, where, Settings(), NOW, where.sites[0])[0]
    assert over.curve == ()
    assert over.over_w == pytest.approx(5e9 - whole)
    assert "nothing to buy" in over.reason


def test_a_likely_peak_and_the_contracts_scale_lower_what_is_bid() -> None:
    contract = Contract(
        basis="spot", market="ERCOT_LZ_WEST_RT", day_ahead="ERCOT_LZ_WEST_DA", scale=1.1, adder_usd_per_mwh=5.0,
        peak_rules=("4CP",),
    )  # fmt: skip
    outlook, where = known(contract)
    before = purchase(outlook, where, Settings(), NOW, where.sites[0])
    at = before[12].at
    assert before[12].peak_usd_per_mwh == 0.0
    odds = PeakOdds(at=at, known_at=NOW - HOUR, source="t", kind="forecast", rule="4CP", probability=0.02, length_s=900)
    outlook, where = known(contract, odds)
    after = purchase(outlook, where, Settings(), NOW, where.sites[0])
    # 2 % of 15,000 USD a MW in a quarter of this hour: 300 USD/MWh at the meter, over 1.1 at the market.
    dearest = [next(p.limit_usd_per_mwh for p in bids[12].curve if p.limit_usd_per_mwh) for bids in (before, after)]
    assert dearest[0] - dearest[1] == pytest.approx(300.0 / 1.1, abs=0.01)
    assert "the chance of a peak takes 300 USD/MWh" in after[12].reason
    assert after[12].expected_w < before[12].expected_w


def test_a_site_without_a_day_ahead_market_is_told_what_to_write() -> None:
    contract = Contract(basis="spot", market="ERCOT_LZ_WEST_RT")
    outlook, where = known(contract)
    assert bought_in(where.sites[0], where) is None
    with pytest.raises(ValueError, match="name a market in day_ahead"):
        purchase(outlook, where, Settings(), NOW, where.sites[0])


def test_a_person_reads_tomorrows_purchase_and_takes_a_file_to_the_market(example_days: Path, tmp_path: Path) -> None:
    out = tmp_path / "bid.csv"
    words = ["bid", "--data", str(example_days), "--site", "na-tx-01"]
    done = CliRunner().invoke(main, [*words, "--at", "2025-09-15T16:00", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "na-tx-01  ERCOT_HUBAVG_DA, 2025-09-16" in done.output
    assert "published" not in done.output
    assert "submitting stays with you" in done.output
    rows = list(csv.DictReader(out.open(encoding="utf-8")))
    assert {row["hour_begins_local"][11:13] for row in rows} == {f"{hour:02d}" for hour in range(24)}
    assert all(float(row["mw"]) > 0 for row in rows)
    later = CliRunner().invoke(main, [*words, "--at", "2025-09-15T20:00", "--json"])
    assert all(one["published"] for one in json.loads(later.output))
    missing = CliRunner().invoke(main, ["bid", "--data", str(example_days), "--at", "2025-09-15T16:00", "--site", "x"])
    assert missing.exit_code == 3
    assert "no site 'x'" in missing.output


AWARD = "purchase_id,site_id,market,hour_begins_utc,mw,price_usd_per_mwh\n"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("", "no rows"),
        ("p,tx-9,M,2026-10-05T14:00,1,30\n", "row 2: no site 'tx-9'"),
        ("p,tx-1,M,soon,1,30\n", "row 2: hour_begins_utc 'soon' is no time"),
        ("p,tx-1,M,2026-10-05T14:30,1,30\n", "row 2: 14:30 begins no hour"),
        ("p,tx-1,M,2026-10-05T14:00,much,30\n", "row 2: mw 'much' is no number"),
        ("p,tx-1,M,2026-10-05T14:00,nan,30\n", "row 2: mw 'nan' is no number"),
        ("p,tx-1,M,2026-10-05T14:00,1e9,30\n", "give megawatts"),
        ("p,tx-1,M,2026-10-05T14:00,1,30\np,tx-1,M,2026-10-05T14:00,1,31\n", "twice"),
    ],
)
def test_a_file_of_awards_with_a_mistake_is_one_line(rows: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "awards.csv"
    file.write_text(AWARD + rows)
    with pytest.raises(AwardError) as caught:
        awards_of(file, fleet(), NOW)
    assert words in str(caught.value)
    file.write_text("a,b\n1,2\n")
    with pytest.raises(AwardError, match="no column purchase_id"):
        awards_of(file, fleet(), NOW)


def test_awards_become_records_of_whole_watt_hours(tmp_path: Path) -> None:
    file = tmp_path / "awards.csv"
    file.write_text(AWARD + "p,tx-1,M,2026-10-05T14:00,12.345678,30.07\np,tx-1,M,2026-10-05T15:00,-2,-5\n")
    first, second = awards_of(file, fleet(), NOW)
    assert (first.energy_wh, first.price_usd_per_mwh, first.known_at) == (12_345_678, Decimal("30.07"), NOW)
    assert (second.energy_wh, second.price_usd_per_mwh) == (-2_000_000, Decimal("-5"))

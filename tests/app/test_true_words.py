"""What is printed and booked is so: no key that no tenant has, nothing invented in a fleet that is real."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from tieline import config as configuration
from tieline import records
from tieline.app.up import first_request
from tieline.config import Config, Feeds
from tieline.feeds.choose import choose
from tieline.fleet import Site
from tieline.records import NetworkTick, Payout, Plan, Reason, Sample, Setpoint
from tieline.settlement.hours import Settler
from tieline.settlement.month import update_of
from tieline.settlement.observed import observed_days
from tieline.store import Store

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
URL = "http://127.0.0.1:8701/v1"
OFFLINE = Feeds(bitcoin_api="http://127.0.0.1:9/api", weather_api="http://127.0.0.1:9/v1")


def fleet_of(invented: bool, mode: str = "observe") -> Config:
    demo = configuration.demo()
    sites = tuple(msgspec.structs.replace(site, invented=invented, mode=mode) for site in demo.fleet.sites[:2])
    fleet = msgspec.structs.replace(demo.fleet, sites=sites)
    return msgspec.structs.replace(demo, fleet=fleet)


@pytest.mark.parametrize("invented", [True, False])
def test_without_a_source_an_invented_world_is_made_up_and_a_real_one_is_missing(invented: bool) -> None:
    chosen = asyncio.run(choose(OFFLINE, fleet_of(invented).fleet, NOW, probe_s=0.5))
    told = asyncio.run(_read(chosen.feeds))
    synthetic = [r for r in told if r.source == "synthetic"]
    assert bool(synthetic) == invented
    assert {c.source for c in chosen.choices if not c.live} == {"synthetic" if invented else "none"} or not invented


def test_a_real_fleet_s_file_may_say_that_the_world_is_made_up() -> None:
    settings = msgspec.structs.replace(OFFLINE, invent=True)
    chosen = asyncio.run(choose(settings, fleet_of(False).fleet, NOW, probe_s=0.5))
    assert {r.source for r in asyncio.run(_read(chosen.feeds))} == {"synthetic"}


async def _read(feeds) -> list[records.AnyRecord]:  # type: ignore[no-untyped-def]
    return [record for feed in feeds for record in await feed.read(NOW)]


@pytest.mark.parametrize(
    ("invented", "simulated", "paid"),
    [(True, None, True), (False, None, False), (False, True, True), (True, False, False)],
)
def test_a_simulated_pool_pays_only_where_the_fleet_or_the_file_says_so(
    invented: bool, simulated: bool | None, paid: bool
) -> None:
    config = fleet_of(invented)
    config = msgspec.structs.replace(config, pool=msgspec.structs.replace(config.pool, simulated=simulated))
    store = Store(None, records.encode, records.decode)
    hour = NOW - timedelta(hours=2)
    group = config.fleet.sites[0].rig_groups[0]
    network = NetworkTick(
        at=hour - timedelta(hours=1), known_at=hour - timedelta(hours=1), source="t", kind="measured",
        difficulty=1.2e14, subsidy_btc=3.125, fee_share=0.01, btc_usd=Decimal(90000),
    )  # fmt: skip
    heard = [
        Sample(
            at=hour + timedelta(minutes=5 * n), known_at=NOW, source="t", kind="measured",
            site_id=config.fleet.sites[0].id, unit_id=group.id, length_s=300, readings=1, power_w=1e6, hashrate_hs=5e16,
        )
        for n in range(12)
    ]  # fmt: skip
    store.append([network, *heard])
    Settler(config, store).step(NOW)
    found = store.between(Payout, hour, NOW)
    assert bool(found) == paid


def test_what_up_prints_answers_or_is_not_printed() -> None:
    demo = configuration.demo()
    said = first_request(URL, demo, "sk-x", ["tieline-selftest"])
    assert "Tenant key       sk-x" in said
    assert '"model":"tieline-selftest"' in said
    none = first_request(URL, demo, "sk-x", [])
    assert "none is served yet" in none
    assert "curl" not in none
    own = first_request(URL, demo, None, None)
    assert own == "  Tenant keys      those of your file: demo-key\n"
    bare = msgspec.structs.replace(demo, tenants=())
    assert "none yet; add [[tenant.key]]" in first_request(URL, bare, None, None)
    open_door = msgspec.structs.replace(demo, gateway=msgspec.structs.replace(demo.gateway, auth="none"))
    assert "Authorization" not in first_request(URL, open_door, None, ["m"])


def test_per_day_figures_and_mean_hashrate_divide_by_the_time_that_was_recorded() -> None:
    """On the 20th, of a platform that began to record a day ago: a day's bitcoin, not a twentieth of it."""
    config, now = fleet_of(False), datetime(2026, 3, 20, 12, 0, tzinfo=UTC)
    began = now - timedelta(days=1)
    store = Store(None, records.encode, records.decode)
    paid = Payout(
        at=now, known_at=now, source="pool", kind="measured", payout_id="p", pool="pool", sats=50_000_000,
        span_start=began, span_end=now, fee_sats=0, btc_usd=Decimal(70_000), hashrate_hs=5e16, rejected=None,
    )  # fmt: skip
    group = config.fleet.sites[0].rig_groups[0]
    heard = [
        Sample(
            at=began + timedelta(hours=n), known_at=now, source="t", kind="measured", site_id=config.fleet.sites[0].id,
            unit_id=group.id, length_s=3600, readings=5, power_w=1e6, hashrate_hs=5e16,
        )
        for n in range(24)
    ]  # fmt: skip
    store.append([paid, *heard])
    made = update_of(store, config.fleet, "2026-03", now)
    assert made.figure("bitcoin_per_day").value == "0.500"
    assert made.figure("hashrate_operating").value == "0.05"


# --- what observing would have earned -------------------------------------------------------------------


def site(mode: str = "observe") -> Site:
    return fleet_of(False, mode).fleet.sites[0]


def plan(at: datetime, target_w: float, expected: float | None, price: float | None = 50.0, known: int = 0) -> Plan:
    asked = Setpoint(
        unit_id=site().rig_groups[0].id,
        target_w=target_w,
        reason=Reason(rule="strike", text=""),
        expected_usd_per_h=expected,
    )
    return Plan(
        at=at, known_at=at + timedelta(seconds=known), source="dispatch", kind="forecast", site_id=site().id,
        length_s=300, valid_until=at + timedelta(minutes=15), mode="observe", limit_w=1e8, price_usd_per_mwh=price,
        hashprice_usd=48.0, setpoints=(asked,), decided_by="strike",
    )  # fmt: skip


def heard(at: datetime, power_w: float | None, hashrate: float | None) -> Sample:
    return Sample(
        at=at, known_at=at, source="s", kind="measured", site_id=site().id, unit_id=site().rig_groups[0].id,
        length_s=300, readings=0 if power_w is None else 5, power_w=power_w, hashrate_hs=hashrate,
    )  # fmt: skip


def test_a_day_adds_up_to_its_records() -> None:
    """Price 50 while 10 MW earn 48 USD/PH/day x 500 PH / 24 = 1,000 USD/h: done +500; the plan asked nothing."""
    at = NOW.replace(hour=0)
    times = [at + timedelta(minutes=5 * n) for n in range(12)]
    days = observed_days(
        [site()], [plan(t, 0.0, 0.0) for t in times], [heard(t, 10e6, 500e15) for t in times], keeps=1.0
    )
    (day,) = days
    assert (day.hours, day.missing_hours) == (pytest.approx(1.0), 0.0)
    assert day.done_mwh == pytest.approx(10.0)
    assert day.done_usd == pytest.approx(500.0)
    assert day.would_usd == 0.0
    assert day.difference_usd == pytest.approx(-500.0)


def test_what_is_not_known_is_missing_and_never_zero() -> None:
    at = NOW.replace(hour=0)
    later = at + timedelta(minutes=5)
    last = at + timedelta(minutes=10)
    plans = [plan(at, 0.0, 0.0, price=None), plan(later, 0.0, None)]
    (day,) = observed_days(
        [site()], plans, [heard(at, 1e6, 1e15), heard(later, 1e6, 1e15), heard(last, None, None)], 1.0
    )
    assert day.hours == 0.0
    assert day.missing_hours == pytest.approx(0.25)
    assert day.done_usd == 0.0


def test_the_plan_made_last_for_an_interval_counts_and_a_site_that_acts_does_not() -> None:
    at = NOW.replace(hour=0)
    twice = [plan(at, 5e6, 100.0, known=60), plan(at, 0.0, 0.0)]
    (day,) = observed_days([site()], twice, [heard(at, 0.0, 0.0)], 1.0)
    assert day.would_usd == pytest.approx(100.0 / 12)
    assert observed_days([site("act")], twice, [heard(at, 0.0, 0.0)], 1.0) == []


def test_the_command_says_it_and_names_what_there_is(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from tieline.cli.observe import observe

    done = CliRunner().invoke(observe, ["no-such-site", "--data-dir", str(tmp_path)])
    assert done.exit_code == 3
    assert "no observing site no-such-site; sites in observe: " in done.output

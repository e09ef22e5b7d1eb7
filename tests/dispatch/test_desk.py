"""What a desk relies on: a price that nobody believes, a feed that falls silent, a contract resold, dear power."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from tests.dispatch.fleets import T0, by_unit, demand, fleet, network, price, site, store, weather
from tests.dispatch.test_bad_input import mining_w, over, prices, run, safe

from tieline import config
from tieline.dispatch import Controller, Settings
from tieline.dispatch.contracts import cost_usd, power_cost
from tieline.dispatch.inference.afford import affordable
from tieline.dispatch.inference.serving import Room
from tieline.dispatch.inputs.foresight import applying
from tieline.dispatch.settings import ReservedReplicas, plausible, settings_of
from tieline.feeds.days.events import odds
from tieline.fleet import Contract, Fleet
from tieline.fleet.peaks import shipped_rules
from tieline.records import PriceTick
from tieline.settlement.truth import Truth

HOUR, QUARTER = timedelta(hours=1), timedelta(minutes=15)
BOTH = pytest.mark.parametrize("policy", ["strike", "lookahead"])


# --- a price that cannot be true ----------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("usd", [26_000.0, -2_500.0])
def test_the_hour_before_does_not_stand_in_for_a_price_that_was_refused(policy: str, usd: float) -> None:
    set_ = Settings(policy=policy)
    told = [price(64.47, at=T0 - n * HOUR, known_at=T0 - 30 * HOUR) for n in range(1, 30)]
    plan = run(over(*told, price(usd, at=T0, known_at=T0 - 30 * HOUR), network(), weather(15), demand(1.0), set_=set_))
    assert plan.price_usd_per_mwh is None
    assert plan.decided_by.endswith("(fallback)")
    assert f"HUB says {usd:,.10g} USD/MWh at 12:00, which is absurd" in plan.note
    safe(plan)


@BOTH
def test_a_correction_of_a_refused_price_is_believed(policy: str) -> None:
    wrong = price(26_000.0, at=T0, known_at=T0 - 2 * HOUR)
    right = price(40.0, at=T0, known_at=T0 - HOUR)
    plan = run(over(*prices(20, hours=48), wrong, right, network(), weather(15), set_=Settings(policy=policy)))
    assert plan.price_usd_per_mwh == 40.0


def test_what_nobody_believed_is_not_billed_either() -> None:
    one = fleet()
    truth = Truth([price(20.0, at=T0), price(26_000.0, at=T0 + HOUR)], one, Settings())
    assert truth.market_price(one.sites[0], T0) == 20.0
    assert truth.market_price(one.sites[0], T0 + HOUR) is None


def test_a_price_beyond_twice_its_markets_cap_is_none() -> None:
    texas = PriceTick(
        at=T0, known_at=T0, source="t", kind="measured", market="ERCOT_HUBAVG_DA", price_usd_per_mwh=5_000.0
    )
    assert plausible(texas, fleet(), Settings())
    assert not plausible(msgspec.structs.replace(texas, price_usd_per_mwh=11_000.0), fleet(), Settings())
    # A hub that no table has is bound by the settings alone.
    assert plausible(msgspec.structs.replace(texas, market="HUB", price_usd_per_mwh=11_000.0), fleet(), Settings())


def test_a_record_said_twice_is_settled_as_it_was_decided() -> None:
    """The store keeps the first of two records with one key, and so does settlement."""
    one, again = price(20.0, at=T0), price(900.0, at=T0)
    assert one.key == again.key
    truth = Truth([one, again], fleet(), Settings())
    outlook = over(one, again, network()).outlook
    outlook.learn(one)
    assert truth.market_price(fleet().sites[0], T0) == outlook.price(fleet().sites[0], T0)[0] == 20.0


# --- a feed that falls silent ---------------------------------------------------------------------


def test_a_silent_quarter_hour_gives_way_to_the_price_of_the_hour() -> None:
    both = site(contract=Contract(basis="spot", market="HUB", market_15min="HUB15"))
    hourly = [price(30.0 + n, at=T0 + n * HOUR, known_at=T0 - 20 * HOUR) for n in range(4)]
    quarter = msgspec.structs.replace(price(90.0, at=T0, market="HUB15", known_at=T0 + QUARTER), length_s=900)
    controller = Controller(store(*hourly, quarter, network()), fleet(both), Settings())
    seen = {}
    for minutes in (15, 30, 45, 50, 90, 150):
        moment = T0 + timedelta(minutes=minutes)
        controller.outlook.read(controller.store, moment)
        seen[minutes] = controller.outlook.price(both, moment)[0]
    assert seen == {15: 90.0, 30: 90.0, 45: 90.0, 50: 30.0, 90: 31.0, 150: 32.0}
    # Settlement takes the hour from the first quarter that was not told; decisions follow two quarters later.
    truth = Truth([*hourly, quarter], fleet(both), Settings())
    assert [truth.market_price(both, T0 + timedelta(minutes=m)) for m in (0, 15, 90)] == [90.0, 30.0, 31.0]


# --- contracts ----------------------------------------------------------------------------------------


def test_contracted_power_that_nobody_buys_is_left_and_not_paid_for_twice() -> None:
    """100 MW, 70 % at 46 USD: idle costs 3,220 USD an hour whatever the market below zero says."""
    resale = Contract(basis="fixed", fixed_usd_per_mwh=46.0, take_share=0.7, resale=True, market="HUB")
    for market in (-100.0, -5.0, 0.0):
        found = power_cost(resale, market, 100e6, 0.10, None)
        assert found is not None
        assert cost_usd(found, 0.0, 1.0) == pytest.approx(3_220.0)
        assert cost_usd(found, 70e6, 1.0) == pytest.approx(3_220.0)
    sold = power_cost(resale, 50.0, 100e6, 0.10, None)
    assert sold is not None
    assert cost_usd(sold, 0.0, 1.0) == pytest.approx(3_220.0 - 70 * 45.0)


# --- inference bids too ----------------------------------------------------------------------------------


@BOTH
def test_replicas_stop_where_power_costs_more_than_they_earn(policy: str) -> None:
    set_ = Settings(policy=policy)
    cheap = run(over(*prices(200), network(), weather(15), demand(20_000.0), set_=set_))
    dear = run(over(*prices(9_000), network(), weather(15), demand(20_000.0), set_=set_))
    assert by_unit(cheap)["tx-1.gpu"].replicas > 5
    assert by_unit(dear)["tx-1.gpu"].replicas == 0
    assert by_unit(dear)["tx-1.gpu"].expected_usd_per_h == 0.0
    assert mining_w(dear) < 1e6


@BOTH
def test_reserved_capacity_stays_up_whatever_power_costs(policy: str) -> None:
    bound = ReservedReplicas(model="m", region="north_america", replicas=3, since=T0 - HOUR, until=T0 + 9 * HOUR)
    set_ = Settings(policy=policy, reserved=(bound,))
    dear = run(over(*prices(9_000), network(), weather(15), demand(20_000.0), set_=set_))
    assert by_unit(dear)["tx-1.gpu"].replicas == 3


def test_what_is_reserved_stays_where_power_is_cheapest() -> None:
    rooms = [Room("dear", "r", "m", 10, 0), Room("less dear", "r", "m", 2, 0), Room("real", "r", "m", 4, 1)]
    found = affordable(
        rooms, {"dear": 9_000.0, "less dear": 5_000.0, "real": 7_000.0}, {("m", "r"): 2_000.0}, {("m", "r"): 4}
    )
    assert {room.unit_id: room.replicas for room in found} == {"dear": 0, "less dear": 2, "real": 2}
    assert affordable(rooms, {"dear": 10.0}, {("m", "r"): 2_000.0}, {}) == rooms


# --- peak rules -----------------------------------------------------------------------------------------------


def test_every_site_of_an_operator_pays_its_peaks_whatever_the_hub() -> None:
    rule = shipped_rules()["4CP"]
    west = site(contract=Contract(basis="spot", market="ERCOT_HB_WEST_DA"))
    ohio = site("oh-1", contract=Contract(basis="spot", market="PJM_DOM_RT"))
    freed = site("tx-2", contract=Contract(basis="spot", market="ERCOT_HUBAVG_DA", peak_rules=()))
    bound = site("tx-3", contract=Contract(basis="fixed", fixed_usd_per_mwh=30.0, peak_rules=("4CP",)))
    one = fleet(west, ohio, freed, bound)
    assert [one.pays(s, rule) for s in one.sites] == [True, False, False, True]


def test_a_rule_that_a_site_names_applies_without_being_set_for_all() -> None:
    ohio = site("oh-1", contract=Contract(basis="spot", market="PJM_DOM_RT", peak_rules=("PJM-5CP",)))
    july = datetime(2024, 7, 10, 20, tzinfo=UTC)
    assert [r.name for r in applying(fleet(ohio), Settings(peak_rules=()), july)] == ["PJM-5CP"]
    # Months are local: the last evening of September in Texas is October by UTC.
    texas = fleet(site(contract=Contract(basis="spot", market="ERCOT_HUBAVG_DA")))
    assert [r.name for r in applying(texas, Settings(), datetime(2024, 10, 1, 3, tzinfo=UTC))] == ["4CP"]
    assert applying(texas, Settings(), datetime(2024, 10, 1, 6, tzinfo=UTC)) == []


def _odds(folder: Path, chances: dict[str, float]) -> dict[str, tuple[float, datetime]]:
    plain = [{"at": at, "probability": chance} for at, chance in chances.items()]
    (folder / "events.json").write_bytes(msgspec.json.encode({"weeks": [], "peak_odds": plain}))
    start = datetime(2024, 8, 1, tzinfo=UTC)
    found = odds(folder / "events.json", start, start + timedelta(days=40), shipped_rules())
    return {f"{o.at:%Y-%m-%dT%H:%M:%SZ}": (o.probability, o.known_at) for o in found}


def test_the_odds_of_a_day_do_not_change_with_those_of_a_later_one(tmp_path: Path) -> None:
    first = {"2024-08-05T21:45:00Z": 0.5, "2024-08-05T22:00:00Z": 0.3}
    later = {"2024-08-15T21:45:00Z": 0.9, "2024-08-20T21:45:00Z": 0.8}
    alone, both = _odds(tmp_path, first), _odds(tmp_path, first | later)
    assert {at: both[at] for at in first} == alone
    # Known at 10:00 in Texas of the day before, and a month names no more peaks than it has.
    assert alone["2024-08-05T21:45:00Z"] == (0.5, datetime(2024, 8, 4, 15, tzinfo=UTC))
    assert both["2024-08-15T21:45:00Z"][0] == pytest.approx(0.9 / 1.7)


# --- what documents name can be set ---------------------------------------------------------------------------


FILE = """
[fleet]
name = "f"

[dispatch]
peak_rules = ["12CP"]
peak_scenarios = true
price_min_usd_per_mwh = -500.0
price_max_usd_per_mwh = 9000.0
resale_discount = 0.25

[[site]]
id = "tx-1"
name = "t"
region = "north_america"
lat = 31.0
lon = -100.0
interconnect_mw = 60.0
contract = { basis = "spot", market = "ERCOT_LZ_WEST_DA", peak_rules = ["4CP"] }
rigs = [{ model = "Antminer S21", mw = 35.0 }]
"""


def test_what_documents_name_can_be_set() -> None:
    found = config.loads(FILE)
    set_ = settings_of(found)
    assert set_.peak_rules == ("12CP",)
    assert set_.peak_scenarios
    assert (set_.price_min_usd_per_mwh, set_.price_max_usd_per_mwh, set_.resale_discount) == (-500.0, 9_000.0, 0.25)
    assert found.fleet.sites[0].contract.peak_rules == ("4CP",)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"12CP"', '"13CP"', ("no peak rule '13CP'", "did you mean", "12CP")),
        ('["4CP"]', '["4PC"]', ("tx-1", "no peak rule '4PC'")),
        ('"ERCOT_LZ_WEST_DA"', '"ERCOT_LZ_WST_DA"', ("no market 'ERCOT_LZ_WST_DA'", "did you mean ERCOT_LZ_WEST_DA")),
        ("price_max_usd_per_mwh = 9000.0", "price_max_usd_per_mwh = -900.0", ("price_max_usd_per_mwh", "-900")),
        ("resale_discount = 0.25", "resale_discount = 25.0", ("resale_discount", "0 to 1")),
        ('name = "f"', 'name = "f"\nmarkets = "gone.toml"', ("gone.toml", "cannot be read")),
    ],
)
def test_a_name_that_no_table_has_is_refused_where_it_stands(old: str, new: str, words: tuple[str, ...]) -> None:
    with pytest.raises(config.ConfigError) as caught:
        config.loads(FILE.replace(old, new, 1), "fleet.toml")
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_file_of_markets_of_ones_own_stands_beside_the_packages(tmp_path: Path) -> None:
    (tmp_path / "markets.toml").write_text(
        '[operator.OMAN]\nzone = "Asia/Muscat"\n[market.OMAN_DA]\noperator = "OMAN"\nkind = "day-ahead"\n'
    )
    (tmp_path / "fleet.toml").write_text(
        FILE.replace('name = "f"', 'name = "f"\nmarkets = "markets.toml"', 1).replace("ERCOT_LZ_WEST_DA", "OMAN_DA")
    )
    found: Fleet = config.load(tmp_path / "fleet.toml").fleet
    market = found.market("OMAN_DA")
    assert market is not None
    assert market.zone == "Asia/Muscat"
    assert found.market("ERCOT_HUBAVG_DA") is not None

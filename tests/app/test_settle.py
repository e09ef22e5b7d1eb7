"""An hour is settled once: from what was heard, at the prices it was decided at, and not before it is known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from tests.dispatch.fleets import one_site

from tieline import config as configuration
from tieline import records
from tieline.books.policy import PoolTerms
from tieline.cli.money.update import as_text
from tieline.clock import FIVE_MINUTES
from tieline.ledger import BTC, USD
from tieline.records import (
    Commitment,
    Deployed,
    NetworkTick,
    Payout,
    Performance,
    Plan,
    PowerBill,
    Receipt,
    Sample,
    Shortfall,
    SystemLoad,
    Transfer,
    VendorBill,
)
from tieline.settlement.causes import newest_promises
from tieline.settlement.hours import Settler
from tieline.settlement.month import books_of, update_of
from tieline.settlement.reconcile import pool_days, pool_month
from tieline.store import Store

T0 = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
TOML = one_site('basis = "fixed", fixed_usd_per_mwh = 40.0', "[pool]\nsimulated = true")


def world(minutes: range) -> tuple[Store, Settler]:
    store = Store(None, records.encode, records.decode)
    common = {"source": "test", "kind": "measured"}
    batch: list[records.Record] = [
        NetworkTick(
            at=T0 - HOUR,
            known_at=T0 - HOUR,
            difficulty=1.5e14,
            subsidy_btc=3.125,
            fee_share=0.03,
            btc_usd=Decimal("100000"),
            **common,  # type: ignore[arg-type]
        )
    ]
    for minute in minutes:
        at = T0 + timedelta(minutes=minute)
        batch += [
            Sample(
                at=at,
                known_at=at + FIVE_MINUTES,
                site_id="a",
                unit_id="a.rigs-1",
                length_s=300,
                readings=10,
                power_w=3.64e6,
                hashrate_hs=2e17,
                **common,  # type: ignore[arg-type]
            ),
            Plan(
                at=at,
                known_at=at,
                site_id="a",
                length_s=300,
                valid_until=at + 3 * FIVE_MINUTES,
                mode="act",
                limit_w=10e6,
                price_usd_per_mwh=40.0,
                hashprice_usd=50.0,
                setpoints=(),
                decided_by="test",
                **common,  # type: ignore[arg-type]
            ),
        ]
    store.append(batch)
    return store, Settler(configuration.loads(TOML), store)


def test_an_hour_is_paid_and_billed_once_however_often_it_is_looked_at() -> None:
    store, settler = world(range(0, 60, 5))
    for _ in range(3):
        settler.step(T0 + HOUR + timedelta(minutes=2))
    Settler(configuration.loads(TOML), store).step(T0 + HOUR + timedelta(minutes=30))
    (payout,) = store.between(Payout, T0, T0 + 2 * HOUR)
    (bill,) = store.between(PowerBill, T0, T0 + 2 * HOUR)
    assert payout.hashrate_hs == pytest.approx(2e17)
    assert bill.cost_usd == Decimal("145.6")  # 3.64 MWh at 40 USD


def test_half_of_each_payout_is_sold_where_the_treasury_says_so_and_the_books_open_once() -> None:
    store, _ = world(range(0, 60, 5))
    treasury = (
        '[treasury]\nopening_usd = "1000"\nopening_btc = "2"\nopening_btc_cost_usd = "90000"\nsell_share = "0.5"\n'
    )
    settler = Settler(configuration.loads(treasury + TOML), store)
    for _ in range(2):
        settler.open_books(T0 - HOUR, simulated=True)
        settler.step(T0 + HOUR + timedelta(minutes=2))
    (payout,) = store.between(Payout, T0, T0 + 2 * HOUR)
    book = books_of(store).book
    sold = payout.sats // 2
    assert book.balance("Assets:Bitcoin", "BTC") == Decimal(2 * 10**8 + payout.sats - sold).scaleb(-8)
    assert book.balance("Assets:Cash", "USD") == Decimal("1000") + (Decimal(sold).scaleb(-8) * 100_000).quantize(
        Decimal("0.01")
    )
    assert book.balance("Equity:Opening", "USD") == Decimal("-91000.00")
    assert book.imbalance() == {}


def test_an_hour_is_not_settled_before_it_has_ended() -> None:
    store, settler = world(range(0, 60, 5))
    settler.step(T0 + timedelta(minutes=59))
    assert store.between(Payout, T0, T0 + 2 * HOUR) == []


def test_an_hour_with_nothing_heard_waits_for_its_samples() -> None:
    store, settler = world(range(0))
    settler.step(T0 + HOUR + timedelta(minutes=2))
    assert store.between(Payout, T0, T0 + 2 * HOUR) == []
    late, _ = world(range(0, 60, 5))
    store.append([s.record for s in late.follow(0).items])  # type: ignore[misc]
    settler.step(T0 + 5 * HOUR)
    assert len(store.between(Payout, T0, T0 + 2 * HOUR)) == 1


def test_an_hour_is_paid_when_the_network_that_it_was_mined_on_is_heard_of() -> None:
    store, _ = world(range(0, 60, 5))
    batch = [one.record for one in store.follow(0).items]
    late, told = [Store(None, records.encode, records.decode) for _ in range(2)]
    late.append([one for one in batch if not isinstance(one, NetworkTick)])
    told.append(batch)
    settler = Settler(configuration.loads(TOML), late)
    settler.step(T0 + HOUR + timedelta(minutes=2))
    assert late.between(Payout, T0, T0 + 2 * HOUR) == []
    late.append([one for one in batch if isinstance(one, NetworkTick)])
    settler.step(T0 + HOUR + timedelta(minutes=3))
    Settler(configuration.loads(TOML), told).step(T0 + HOUR + timedelta(minutes=3))
    (payout,) = late.between(Payout, T0, T0 + 2 * HOUR)
    assert [payout.sats] == [one.sats for one in told.between(Payout, T0, T0 + 2 * HOUR)]


def test_half_an_hour_is_paid_as_half_and_billed_as_an_estimate_once_it_is_late() -> None:
    store, settler = world(range(0, 30, 5))
    settler.step(T0 + HOUR + timedelta(minutes=2))
    assert store.between(Payout, T0, T0 + 2 * HOUR) == []
    settler.step(T0 + 3 * HOUR)
    (payout,) = store.between(Payout, T0, T0 + 2 * HOUR)
    assert payout.hashrate_hs == pytest.approx(1e17)
    assert store.between(PowerBill, T0, T0 + 2 * HOUR) == []
    settler.step(T0 + 8 * HOUR)
    (bill,) = store.between(PowerBill, T0, T0 + 2 * HOUR)
    assert bill.kind == "estimated"
    assert bill.cost_usd == Decimal("72.8")


def test_an_hour_says_why_mining_was_below_full_and_the_month_adds_it_up() -> None:
    store, settler = world(range(0, 60, 5))
    now = T0 + HOUR + timedelta(minutes=5)
    settler.step(now)
    settler.step(now + FIVE_MINUTES)
    found = store.between(Shortfall, T0, T0 + HOUR)
    assert len(found) == 1
    # 1,000 S21 at 17.5 J/TH draw 3.5 MW, 9 % cooling while no weather is known; 3.64 MW was metered, the plans asked
    # nothing: 0.175 MW for an hour, within 5 % of rating.
    assert found[0].full_wh == 3_815_000
    assert found[0].short_wh == {"none": 175_000}
    assert found[0].kind == "measured"
    made = update_of(store, configuration.loads(TOML).fleet, "2026-11", now)
    figure = made.figure("curtailed_none")
    assert (figure.value, figure.unit, figure.records, figure.count) == ("0.2", "MWh", "Shortfall 2026-11", 1)


def test_a_promise_that_ended_is_settled_booked_and_in_the_month() -> None:
    store, settler = world(range(0, 120, 5))
    told = [
        Commitment(
            at=T0 + HOUR / 2, known_at=T0 - HOUR, source="test", kind="measured", commitment_id="c-1", site_id="a",
            product="reserve", until=T0 + HOUR, power_w=4.64e6, response_s=600, capacity_usd_per_mw_h=10.0,
            status="accepted", nonperformance_usd_per_mwh=1_000.0,
        )
    ]  # fmt: skip
    store.append(told)
    for minutes in range(0, 120, 5):
        settler.step(T0 + timedelta(minutes=minutes))
    kept = store.between(Performance, T0, T0 + HOUR)
    # 4.64 MW x 0.5 h x 10 USD = 23.20; 1 MW below its floor for half an hour x 1,000 = 500.
    assert [(p.what, p.paid_usd, p.penalty_usd) for p in kept] == [("reserve", Decimal("23.20"), Decimal("500.00"))]
    book = books_of(store).book
    assert book.balance("Assets:Receivable:Grid:a", USD) == Decimal("-476.80")
    made = update_of(store, configuration.loads(TOML).fleet, "2026-11", T0 + 2 * HOUR)
    assert made.figure("grid_paid").value == "23.20"
    assert made.figure("grid_penalties").value == "500.00"
    assert "Grid penalties" in as_text(made, "one")
    assert "PARTIAL" in as_text(made, "one", partial=True)


def test_a_promise_let_go_is_paid_until_then_and_one_that_stands_again_in_whole() -> None:
    def told(status: str, at: datetime) -> Commitment:
        return Commitment(
            at=T0, known_at=at, source="test", kind="measured", commitment_id="c-1", site_id="a", product="reserve",
            until=T0 + HOUR, power_w=1e6, response_s=600, capacity_usd_per_mw_h=10.0, status=status,
        )  # fmt: skip

    history = [told("accepted", T0 - HOUR), told("released", T0 + HOUR / 2)]
    assert [p.until for p in newest_promises(history)] == [T0 + HOUR / 2]
    again = [*history, told("accepted", T0 + HOUR / 2 + timedelta(microseconds=1))]
    assert [p.until for p in newest_promises(again)] == [T0 + HOUR]
    assert newest_promises([told("accepted", T0 - HOUR), told("released", T0 - HOUR / 2)]) == []
    store, settler = world(range(0, 120, 5))
    store.append(history)
    for minutes in range(0, 120, 5):
        settler.step(T0 + timedelta(minutes=minutes))
    assert [p.paid_usd for p in store.between(Performance, T0, T0 + HOUR)] == [Decimal("5.00")]


def test_an_estimated_bill_is_made_again_when_the_samples_have_come_and_the_books_follow() -> None:
    store, settler = world(range(0, 30, 5))
    settler.step(T0 + 8 * HOUR)
    assert books_of(store).book.balance("Expenses:Power", USD) == Decimal("72.80")
    late, _ = world(range(30, 60, 5))
    store.append([s.record for s in late.follow(0).items])  # type: ignore[misc]
    for minutes in range(0, 180, 30):
        settler.step(T0 + 10 * HOUR + timedelta(minutes=minutes))
    bills = store.between(PowerBill, T0, T0 + HOUR)
    assert [b.kind for b in bills] == ["estimated", "measured"]
    book = books_of(store).book
    assert book.balance("Expenses:Power", USD) == Decimal("145.60")
    assert books_of(store, known=T0 + 9 * HOUR).book.balance("Expenses:Power", USD) == Decimal("72.80")


def test_what_one_hour_cannot_take_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """A reading of the network that no formula takes: its hour is not split, the next one is."""
    store, settler = world(range(0, 120, 5))
    (tick,) = store.between(NetworkTick, T0 - HOUR, T0)
    store.append([msgspec.structs.replace(tick, at=T0 + HOUR, difficulty=float("1e-320"))])
    store.append([msgspec.structs.replace(tick, at=T0 + HOUR + HOUR / 2)])
    for _ in range(3):
        settler.step(T0 + 2 * HOUR + timedelta(minutes=2))
    assert [s.at for s in store.between(Shortfall, T0, T0 + 3 * HOUR)] == [T0 + HOUR]
    assert [b.at for b in store.between(PowerBill, T0, T0 + 3 * HOUR)] == [T0 + HOUR]
    said = [record.message.partition(" cannot be settled")[0] for record in caplog.records]
    assert sorted(said) == [f"the {what} {T0.isoformat()}" for what in ("hour from", "payout for the hour from")]


def test_a_past_month_shows_what_stood_on_the_racks_then() -> None:
    store, settler = world(range(0, 60, 5))
    settler.open_books(T0 - HOUR, simulated=True)
    later = datetime(2026, 12, 5, tzinfo=UTC)
    grown = configuration.loads(TOML.replace("count = 1000", "count = 2000"))
    Settler(grown, store).open_books(later, simulated=True)
    Settler(grown, store).open_books(later + HOUR, simulated=True)
    deployed = [
        update_of(store, grown.fleet, month, later).figure("hashrate_deployed").value
        for month in ("2026-11", "2026-12")
    ]
    assert deployed == ["0.20", "0.40"]
    assert len(store.between(Deployed, T0 - HOUR, later + 2 * HOUR)) == 2


def test_blocks_of_a_simulated_pool_of_ones_own_lie_apart_until_a_hundred_are_above_them() -> None:
    store, _ = world(range(0, 60 * 3, 5))
    settler = Settler(configuration.loads(TOML + 'scheme = "solo"\n'), store)
    (tick,) = store.between(NetworkTick, T0 - HOUR, T0)
    # 2e17 H/s x 3,600 s / (difficulty x 2^32): two blocks an hour.
    easy = msgspec.structs.replace(tick, at=T0 - HOUR / 2, difficulty=2e17 * 3600 / 2**33, height=900_000)
    store.append([easy])
    for hour in (1, 2, 3):
        settler.step(T0 + hour * HOUR + timedelta(minutes=2))
    blocks = store.between(Payout, T0, T0 + 4 * HOUR)
    assert blocks
    assert {(one.method, one.sats, one.block is not None) for one in blocks} == {("solo", 317_046_875, True)}
    assert books_of(store).book.balance("Assets:Bitcoin:Immature", BTC) == len(blocks) * Decimal("3.17046875")
    later = T0 + 20 * HOUR
    store.append([msgspec.structs.replace(easy, at=later, known_at=later, height=900_100)])
    settler.step(later + HOUR)
    assert store.between(Transfer, T0, later + 2 * HOUR) == []  # the first was the 900,001st
    store.append([msgspec.structs.replace(easy, at=later + HOUR, known_at=later + HOUR, height=900_400)])
    Settler(configuration.loads(TOML + 'scheme = "solo"\n'), store).step(later + 2 * HOUR)
    settler.step(later + 3 * HOUR)
    book = books_of(store).book
    assert book.balance("Assets:Bitcoin:Immature", BTC) == 0
    assert book.balance("Assets:Bitcoin:Treasury", BTC) == len(blocks) * Decimal("3.17046875")
    assert len(store.between(Transfer, T0, later + 4 * HOUR)) == len(blocks)


def test_a_pool_is_reconciled_with_the_chain_day_by_day() -> None:
    store, settler = world(range(0, 60 * 24 * 2, 5))
    for hour in range(1, 49):
        settler.step(T0 + hour * HOUR + timedelta(minutes=2))
    first, second = pool_days(store, "2026-11", T0 + 48 * HOUR)
    # 0.2 EH/s x 86,400 s x 3.125 / (1.5e14 x 2^32); fees 3 %, rejects 0.3 %, the pool's fee 1.5 %
    assert first.expected == pytest.approx(0.0838191, rel=1e-5)
    assert first.ratio == pytest.approx(1.03 * 0.997 * 0.985, abs=1e-4)
    assert (first.payouts, first.remark, second.remark) == (24, "", "")
    half = [p for p in store.between(Payout, T0, T0 + 25 * HOUR) if p.at <= T0 + 24 * HOUR]
    store.append([msgspec.structs.replace(p, sats=p.sats // 2, known_at=T0 + 50 * HOUR) for p in half])
    late = NetworkTick(
        at=T0 - HOUR, known_at=T0 - HOUR, source="x", kind="forecast", difficulty=1.0, subsidy_btc=3.0, fee_share=0.0,
        btc_usd=Decimal(1),
    )  # fmt: skip
    store.append([late])
    days = pool_days(store, "2026-11", T0 + 72 * HOUR)
    assert [one.remark for one in days] == ["stated is 0.51 of expected", "", ""]
    quiet, _ = world(range(0, 60 * 24, 5))
    assert pool_days(quiet, "2026-11", T0 + 24 * HOUR)[0].remark == "heard, and nothing was stated"
    assert pool_days(quiet, "2026-11", T0 + 23 * HOUR)[0].remark == ""
    with pytest.raises(ValueError, match="has not begun"):
        pool_days(store, "2027-11", T0)


def test_a_pool_is_measured_by_its_terms_and_by_what_arrived() -> None:
    store, settler = world(range(0, 60 * 24 * 2, 5))
    for hour in range(1, 49):
        settler.step(T0 + hour * HOUR + timedelta(minutes=2))
    terms = [PoolTerms(name="p", method="fpps", fee=Decimal("0.015"))]
    first = pool_days(store, "2026-11", T0 + 48 * HOUR, terms)[0]
    # All but the rejects of what is due, fees and the pool's fee in it.
    assert first.due == pytest.approx(0.0838191 * 1.03 * 0.985, rel=1e-5)
    assert (first.ratio, first.remark) == (pytest.approx(0.997, abs=1e-4), "")
    dear = [PoolTerms(name="p", method="fpps", fee=Decimal("0.1"))]
    assert pool_days(store, "2026-11", T0 + 48 * HOUR, dear)[0].remark == "stated is 1.09 of what is due"
    month = pool_month(store, "2026-11", T0 + 48 * HOUR, terms)
    steps = dict(month.steps)
    assert list(steps)[2:] == [
        "pool's fee", "measurement: counted by the pool otherwise than by the machines",
        "rejects: stale and invalid work that the pool did not pay", "luck", "stated",
    ]  # fmt: skip
    due = 1.03 * 0.985 * steps["expected of the subsidy"]
    assert list(steps.values())[3:6] == pytest.approx([0, -0.003 * due, 0], abs=1e-6)
    said = store.between(Payout, T0, T0 + 49 * HOUR)
    less = [msgspec.structs.replace(p, hashrate_hs=p.hashrate_hs * 0.99, known_at=T0 + 49 * HOUR) for p in said]
    store.append(less)
    steps = dict(pool_month(store, "2026-11", T0 + 48 * HOUR, terms).steps)
    assert list(steps.values())[3:5] == pytest.approx([-0.01 * due, -0.003 * 0.99 * due])
    assert sum(list(steps.values())[:-1]) == pytest.approx(steps["stated"])
    store.append([msgspec.structs.replace(less[0], rejected=None, known_at=T0 + 50 * HOUR)])
    month = pool_month(store, "2026-11", T0 + 48 * HOUR, terms)
    steps = dict(month.steps)
    assert list(steps)[2:4] == ["pool's fee", "rejects, measurement and luck"]
    assert steps["transaction fees"] == pytest.approx(0.03 * steps["expected of the subsidy"])
    assert steps["pool's fee"] == pytest.approx(-0.015 * 1.03 * steps["expected of the subsidy"])
    assert sum(list(steps.values())[:-1]) == pytest.approx(steps["stated"])
    assert month.epochs == [(1.5e14, pytest.approx(steps["expected of the subsidy"]))]
    two = [*terms, PoolTerms(name="q")]
    assert pool_days(store, "2026-11", T0 + 48 * HOUR, two)[0].due is None
    # Blocks of one's own: nothing can be said of a day, and of a month how likely so many were.
    solo = pool_month(store, "2026-11", T0 + 48 * HOUR, [PoolTerms(name="own", method="solo")])
    assert solo.luck is not None
    assert (solo.luck.found, solo.luck.expected) == (0, pytest.approx(2 * 0.0838191 / 3.125, rel=1e-4))
    assert solo.remarks == []

    stated = sum(p.sats for p in said)
    told = {"known_at": T0 + 60 * HOUR, "source": "x", "kind": "measured", "address": "a", "block": 1}
    store.append([Receipt(at=T0 + 30 * HOUR, receipt_id="t:0", sats=stated // 2, **told)])
    days = pool_days(store, "2026-11", T0 + 24 * 10 * HOUR, terms)
    assert [one.received for one in days[:3]] == [0, Decimal(stated // 2).scaleb(-8), 0]
    assert days[0].owed == days[0].stated
    assert days[8].owed == Decimal(stated - stated // 2).scaleb(-8)
    late = f"{days[8].owed:,.8f} BTC stated since 2026-11-02 have not come"
    assert [one.remark for one in days[2:]] == ["", "", "", "", "", "", late, late]
    store.append([Receipt(at=T0 + 40 * HOUR, receipt_id="t:1", sats=stated, **told)])
    assert "BTC came that nobody stated" in pool_days(store, "2026-11", T0 + 72 * HOUR, terms)[2].remark


@pytest.mark.parametrize(
    ("rule", "operator", "peak", "now"),
    [
        ("4CP", "ERCOT", datetime(2026, 9, 9, 22, tzinfo=UTC), datetime(2026, 10, 1, 6, tzinfo=UTC)),
        # The last peaks of a season without an end are over when the next one has begun.
        ("ICI", "IESO", datetime(2026, 4, 29, 22, tzinfo=UTC), datetime(2026, 5, 2, 6, tzinfo=UTC)),
    ],
)
def test_a_peak_that_is_over_is_charged_by_the_platform_itself_and_once(
    rule: str, operator: str, peak: datetime, now: datetime
) -> None:
    config = configuration.loads(one_site(f'basis = "fixed", fixed_usd_per_mwh = 40.0, peak_rules = ["{rule}"]'))
    store = Store(None, records.encode, records.decode)
    told = {"at": peak, "known_at": peak + HOUR, "source": "t", "kind": "measured"}
    bill = PowerBill(
        **told, site_id="a", length_s=3600, mining_wh=4e6, inference_wh=0.0, aux_wh=0.0, cost_usd=Decimal(1)
    )
    store.append([SystemLoad(**told, operator=operator, power_w=80e9), bill])

    def owed(at: datetime, settler: Settler) -> tuple[int, Decimal]:
        settler.step(at)
        charged = store.between(VendorBill, peak, now)
        assert {one.at for one in charged} <= {peak}
        return len(charged), -books_of(store).book.balance(f"Liabilities:Payable:{operator}", USD)

    settler = Settler(config, store)
    each = Decimal(repr(config.fleet.peak_rules[rule].usd_per_mw_peak))
    assert owed(peak + 2 * HOUR, settler) == (0, 0)  # a higher hour may still come
    for one in (settler, settler, Settler(config, store)):
        assert owed(now, one) == (1, round(4 * each, 2))
    store.append([msgspec.structs.replace(bill, mining_wh=5e6, known_at=now + HOUR)])
    for days in (1, 2):
        assert owed(now + timedelta(days=days), settler) == (2, round(5 * each, 2))

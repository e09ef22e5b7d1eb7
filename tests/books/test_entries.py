"""A month in records, and what the books make of it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieline.books import (
    MonthRecords,
    build_book,
    entries_for,
    invoices,
    mean_hashrate_hs,
    month_span,
    monthly_update,
    power_bill,
)
from tieline.books.accounts import IMMATURE, coins_at
from tieline.books.reports.sums import RolledSums, sums_of, total_of
from tieline.clock import Interval
from tieline.feeds.pools import SimulatedFpps, simulated_pool
from tieline.fleet import Contract, Feeder, Fleet, Interconnect, RigGroup, Site
from tieline.ledger import Book, EntryError
from tieline.records import NetworkTick, Payout, PowerBill, Reserved, Sample, Trade, Usage

T0 = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def network(at: datetime = T0, difficulty: float = 1.5e14) -> NetworkTick:
    return NetworkTick(
        at=at,
        known_at=at,
        source="test",
        kind="measured",
        difficulty=difficulty,
        subsidy_btc=3.125,
        fee_share=0.03,
        btc_usd=Decimal("100000.00"),
    )


def payout(n: int, sats: int, price: str = "100000") -> Payout:
    at = T0 + n * HOUR
    return Payout(
        at=at,
        known_at=at,
        source="test",
        kind="measured",
        payout_id=f"tx{n}:0",
        pool="p",
        sats=sats,
        span_start=at - HOUR,
        span_end=at,
        btc_usd=Decimal(price),
    )


def trade(n: int, sats: int, price: str, fee: str = "1.00") -> Trade:
    at = T0 + n * HOUR
    return Trade(
        at=at,
        known_at=at,
        source="test",
        kind="measured",
        trade_id=f"t{n}",
        sats=sats,
        price_usd=Decimal(price),
        fee_usd=Decimal(fee),
        venue="desk",
    )


def bill(n: int, cost: str, mining_mwh: float = 8.0, inference_mwh: float = 2.0) -> PowerBill:
    at = T0 + n * HOUR
    return PowerBill(
        at=at,
        known_at=at + HOUR,
        source="test",
        kind="measured",
        site_id="s",
        length_s=3600,
        mining_wh=mining_mwh * 1e6,
        inference_wh=inference_mwh * 1e6,
        aux_wh=0.5e6,
        cost_usd=Decimal(cost),
    )


def sample(n: int, hashrate: float | None, power: float | None = 1e6, unit: str = "s.rigs-1") -> Sample:
    at = T0 + n * timedelta(minutes=5)
    return Sample(
        at=at,
        known_at=at,
        source="test",
        kind="measured",
        site_id="s",
        unit_id=unit,
        length_s=300,
        readings=1,
        power_w=power,
        hashrate_hs=hashrate,
    )


def small_fleet() -> Fleet:
    site = Site(
        id="s",
        name="S",
        region="r",
        lat=0,
        lon=0,
        interconnect=Interconnect(limit_w=10e6),
        feeders=(Feeder(id="s.f", load="mining", limit_w=10e6),),
        contract=Contract(basis="fixed", fixed_usd_per_mwh=40.0),
        rig_groups=(RigGroup(id="s.rigs-1", feeder="s.f", model="Antminer S21", rigs=1000),),
    )
    return Fleet(name="test", sites=(site,))


def test_a_payout_seen_twice_is_booked_once_and_sums_to_zero() -> None:
    book = build_book([payout(1, 42_100_000), payout(1, 42_100_000)])
    assert book.balance("Assets:Bitcoin", "BTC") == Decimal("0.42100000")
    assert book.balance("Income:Mining", "USD") == Decimal("-42100.00")
    assert book.imbalance() == {}


def test_a_sale_takes_oldest_lots_and_books_its_gain() -> None:
    book = build_book(
        [payout(1, 100_000_000, "50000"), payout(2, 100_000_000, "80000"), trade(3, 150_000_000, "90000")]
    )
    # proceeds 135,000; cost 50,000 + 40,000; gain 45,000; fee 1
    assert book.balance("Income:RealisedGain", "USD") == Decimal("-45000.00")
    assert book.balance("Assets:Cash", "USD") == Decimal("134999.00")
    assert book.balance("Trading:USD", "USD") == Decimal("40000.00")
    assert book.balance("Assets:Bitcoin:Treasury", "BTC") == Decimal("0.5")


def test_selling_more_than_is_held_is_refused() -> None:
    with pytest.raises(EntryError, match="holds"):
        build_book([payout(1, 100), trade(2, 101, "90000")])


def test_coins_of_a_block_of_ones_own_lie_apart_and_a_lost_block_brings_none() -> None:
    import msgspec

    own = msgspec.structs.replace(payout(1, 312_500_000), block=920_000)
    (entry,) = entries_for(own, Book())
    assert entry.postings[0].account == IMMATURE
    assert entry.narration == "p: 3.12500000 BTC at 100,000.00 USD/BTC, block 920,000"
    (pooled,) = entries_for(payout(1, 1), Book())
    assert pooled.postings[0].account == coins_at(payout(1, 1).place)
    assert pooled.narration == "p: 0.00000001 BTC at 100,000.00 USD/BTC"
    assert entries_for(msgspec.structs.replace(own, sats=0), Book()) == []
    assert len(entries_for(msgspec.structs.replace(own, sats=1), Book())) == 1


def test_a_payout_without_a_price_names_the_field() -> None:
    import msgspec

    with pytest.raises(EntryError, match="btc_usd"):
        entries_for(msgspec.structs.replace(payout(1, 1), btc_usd=None), Book())


@given(
    payouts=st.lists(st.tuples(st.integers(1, 10**11), st.integers(1, 20_000_000)), min_size=1, max_size=12),
    shares=st.lists(st.floats(0.01, 0.99), max_size=8),
    costs=st.lists(st.integers(-(10**9), 10**9), max_size=8),
)
def test_every_month_closes_to_the_satoshi(
    payouts: list[tuple[int, int]], shares: list[float], costs: list[int]
) -> None:
    held = sum(sats for sats, _ in payouts)
    records: list[Payout | Trade | PowerBill] = [
        payout(n + 1, sats, str(Decimal(cents).scaleb(-2))) for n, (sats, cents) in enumerate(payouts)
    ]
    sold = 0
    for n, share in enumerate(shares):
        part = int((held - sold) * share)
        if part:
            records.append(trade(100 + n, part, "70000"))
            sold += part
    records += [bill(n, str(Decimal(c).scaleb(-4))) for n, c in enumerate(costs)]
    book = build_book(records)
    assert book.imbalance() == {}
    assert book.balance("Assets:Bitcoin:Treasury", "BTC") == Decimal(held - sold).scaleb(-8)
    assert sum((lot.number for lot in book.lots("Assets:Bitcoin:Treasury")), Decimal(0)) == Decimal(held - sold).scaleb(
        -8
    )
    assert sum((lot.cost for lot in book.lots("Assets:Bitcoin:Treasury")), Decimal(0)) == book.balance(
        "Trading:USD", "USD"
    )


def test_fpps_pays_what_the_difficulty_implies() -> None:
    # 50 EH/s at 150 T: 50e18 x 3600 / (1.5e14 x 2^32) = 0.27940 blocks x 3.125 x 1.03 x 0.997 x 0.985
    paid = SimulatedFpps().payout(T0, 50e18, network())
    assert paid is not None
    assert paid.sats == pytest.approx(0.279397 * 3.125 * 1.03 * 0.997 * 0.985 * 1e8, rel=1e-5)
    assert paid.kind == "simulated"
    assert paid.payout_id.startswith("sim-fpps:")


def test_fpps_refuses_zero_difficulty_and_pays_nothing_for_nothing() -> None:
    with pytest.raises(ValueError, match="difficulty"):
        SimulatedFpps().payout(T0, 1e18, network(difficulty=0.0))
    assert SimulatedFpps().payout(T0, 0.0, network()) is None


def test_luck_comes_and_goes_and_is_the_same_whenever_it_is_asked_for() -> None:
    net, rate, hours = network(), 50e18, 3_000
    expected = 0.279397 * 3.125 * 0.997 * 0.985 * 1e8 * hours  # of the subsidy, as under FPPS
    for method in ("pps+", "pplns", "solo"):
        pool = simulated_pool(method, "p", 0.015, 0.003, 150e18)
        paid = [pool.payouts(T0 + n * HOUR, rate, net) for n in range(hours)]
        assert paid[:50] == [pool.payouts(T0 + n * HOUR, rate, net) for n in range(50)]
        made = [one for hour in paid for one in hour]
        assert {one.method for one in made} == {method}
        # A thousand blocks of one's own, three thousand of the pool: luck of 3 % and 2 %; PPS+ has it of the fees.
        assert sum(one.sats for one in made) == pytest.approx(expected * 1.03, rel=0.002 if method == "pps+" else 0.08)
        assert pool.payouts(T0, 0.0, net) == []
    hourly = [len(hour) for hour in paid]
    assert len({*hourly}) > 2
    with pytest.raises(ValueError, match="difficulty"):
        pool.payouts(T0, 1e18, network(difficulty=0.0))


def test_time_without_a_sample_earns_nothing_and_no_sample_is_not_zero() -> None:
    assert mean_hashrate_hs([sample(0, 12e15)], T0, T0 + HOUR) == pytest.approx(1e15)
    assert mean_hashrate_hs([sample(0, None)], T0, T0 + HOUR) is None


def test_a_bill_without_a_price_waits_and_one_with_a_gap_is_estimated() -> None:
    span = Interval(T0, HOUR)
    samples = [sample(n, 1e15, 1.04e6) for n in range(12)]

    def fifty(_: datetime, load_w: float) -> float:
        return load_w / 1e6 * 50.0

    made = power_bill("s", span, samples, fifty, frozenset(), lambda _: 0.04, "test")
    assert made is not None
    assert made.cost_usd == Decimal("52.000000")
    assert made.mining_wh == pytest.approx(1e6)
    assert made.kind == "measured"
    assert power_bill("s", span, samples, lambda at, load_w: None, frozenset(), lambda _: 0.04, "test") is None
    gap = power_bill("s", span, [*samples[:11], sample(11, None, None)], fifty, frozenset(), lambda _: 0.04, "test")
    assert gap is not None
    assert gap.kind == "estimated"


def test_the_update_says_how_each_number_was_made() -> None:
    hours = 48
    now = T0 + hours * HOUR
    net = network()
    pool = SimulatedFpps()
    payouts = [p for n in range(hours) if (p := pool.payout(T0 + n * HOUR, 0.15e18, net)) is not None]
    bills = [bill(n, "400.00") for n in range(hours)]
    update = monthly_update(
        small_fleet(),
        "2026-11",
        now,
        MonthRecords(
            book=build_book([*payouts, *bills]),
            payouts=payouts,
            sums=total_of([sums_of(bills), RolledSums(hashes=15 * 10**16 * hours * 3600, hash_samples=576)]),
            network=[net],
        ),
    )
    produced = Decimal(update.figure("bitcoin_produced").value or "0")
    assert produced == Decimal(sum(p.sats for p in payouts)).scaleb(-8)
    ratio = float(update.figure("produced_over_expected").value or "nan")
    assert ratio == pytest.approx(1.03 * 0.997 * 0.985, abs=2e-4)
    cost = Decimal(update.figure("power_cost_per_bitcoin").value or "0")
    assert cost == (Decimal("400.00") * hours * Decimal("0.8") / produced).quantize(Decimal("0.01"))
    assert not update.complete
    assert update.simulated
    assert update.figure("hashrate_deployed").value == "0.20"
    assert all(f.how and f.records for f in update.figures)


def test_months_are_written_yyyy_mm() -> None:
    assert month_span("2026-12") == (datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    with pytest.raises(ValueError, match="YYYY-MM"):
        month_span("Nov 2026")


def use(request: str, nano: int, tenant: str = "acme") -> Usage:
    return Usage(
        at=T0,
        known_at=T0,
        source="gateway",
        kind="measured",
        request_id=request,
        tenant=tenant,
        project="default",
        key_id="k",
        model="m",
        endpoint="/v1/chat/completions",
        status=200,
        prompt_tokens=3,
        output_tokens=7,
        cost_nano_usd=nano,
    )


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 10**10)), max_size=60))
def test_a_request_is_billed_once_and_rounded_once(rows: list[tuple[int, int]]) -> None:
    first: dict[str, int] = {}
    usage = []
    for number, nano in rows:
        first.setdefault(f"r{number}", nano)
        usage.append(use(f"r{number}", nano))
    made = invoices(usage, "2026-11")
    total = sum(line.nano_usd for one in made for line in one.lines)
    assert total == sum(first.values())
    for one in made:
        assert one.total_usd == sum(
            ((Decimal(line.nano_usd) / 10**9).quantize(Decimal("0.01")) for line in one.lines), Decimal(0)
        )
        (entry,) = entries_for(one.issue("2026-0001", T0), Book())
        assert Book([entry]).imbalance() == {}


def hour(n: int, provided_s: int, region: str = "eu", rate: str = "2.5") -> Reserved:
    nano = int(Decimal(rate) * 10**9)
    return Reserved(
        at=T0 + n * HOUR, known_at=T0 + (n + 1) * HOUR, source="gateway", kind="measured", tenant="acme", model="m",
        region=region, rented_since=T0, replicas=2, provided_s=provided_s, usd_per_replica_hour=Decimal(rate),
        cost_nano_usd=nano * provided_s // 3600,
    )  # fmt: skip


def test_a_rented_hour_is_one_line_whoever_tells_it_and_what_was_not_there_is_not_owed() -> None:
    """Two replicas for three hours at 2.50; in the third one of them was dark. Told twice."""
    told = [hour(0, 7200), hour(1, 7200), hour(2, 3600)]
    (made,) = invoices([use("r1", 40_000_000)], "2026-11", [*told, *told])
    tokens, rented = made.lines
    assert (tokens.model, tokens.replica_s) == ("m", 0)
    assert (rented.model, rented.replica_s, rented.amount_usd) == ("m, reserved in eu", 18_000, Decimal("12.50"))
    (entry,) = entries_for(made.issue("2026-0001", T0), Book())
    assert Book([entry]).imbalance() == {}
    assert {p.account: p.amount.number for p in entry.postings} == {
        "Assets:Receivable:acme": Decimal("12.54"),
        "Income:Inference": Decimal("-0.04"),
        "Income:ReservedCapacity": Decimal("-12.50"),
    }
    assert invoices([], "2026-11", [hour(0, 0)]) == []
    assert invoices([], "2026-12", told) == []

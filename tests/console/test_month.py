"""The month on the page and `tieline update` are the same fold."""

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dispatch.fleets import fleet, network, site, store

from tieline.console.month import Month
from tieline.records import (
    NetworkTick,
    Opening,
    Payout,
    PowerBill,
    Record,
    Reserved,
    Sample,
    Shortfall,
    Trade,
    Usage,
)
from tieline.settlement.month import update_of
from tieline.settlement.rolled import RollUp
from tieline.store import Store
from tieline.store.rolled.kept import RolledStore

START = datetime(2026, 11, 20, tzinfo=UTC)
NOW = START + timedelta(days=1)
HOUR = timedelta(hours=1)
OWNED = fleet(site())


def on_the_page(
    kept: Store, month: Month, now: datetime = NOW, moved: int = 0, roll: RollUp | None = None
) -> dict[str, Any]:
    async def read(job: Any) -> Any:
        return job(kept)

    def sums(store: Store) -> RolledStore | None:
        return None if roll is None else roll.ready(store)

    return asyncio.run(month.view(read, now, moved, sums))


def printed(kept: Store, now: datetime = NOW) -> tuple[bytes, list[str]]:
    made = update_of(kept, OWNED, f"{now:%Y-%m}", now)
    return msgspec.json.encode([asdict(figure) for figure in made.figures]), list(made.left_out)


def test_rented_hours_are_billed_on_the_page_as_in_the_update() -> None:
    rented = Reserved(
        at=START,
        known_at=START + timedelta(hours=1),
        source="gateway",
        kind="measured",
        tenant="acme",
        model="m",
        region="eu",
        rented_since=START,
        replicas=2,
        provided_s=7200,
        usd_per_replica_hour=Decimal("2.5"),
        cost_nano_usd=5 * 10**9,
    )
    kept = store(rented)
    shown = on_the_page(kept, Month(OWNED))
    (page,) = [one for one in shown["figures"] if one["name"] == "inference_billed"]
    (invoice,) = shown["invoices"]
    told = update_of(kept, OWNED, "2026-11", NOW).figure("inference_billed")
    assert page["value"] == told.value == "5.00"
    assert invoice["total_usd"] == 5.0


def test_a_forecast_of_the_network_is_in_neither() -> None:
    mined = Sample(
        at=START,
        known_at=START + HOUR,
        source="t",
        kind="measured",
        site_id="tx-1",
        unit_id="tx-1.rigs-1",
        length_s=3600,
        readings=1,
        power_w=1e6,
        hashrate_hs=1e18,
    )
    ticks = [network(START - HOUR, 1.4e14), network(START + 3 * HOUR, 1.5e14)]
    guess = msgspec.structs.replace(network(START + 2 * HOUR, 0.5e14), kind="forecast")
    before = msgspec.structs.replace(network(START - HOUR / 2, 0.5e14), kind="forecast")
    plain, forecast = store(*ticks, mined), store(*ticks, mined, guess, before)
    assert printed(forecast) == printed(plain)
    assert on_the_page(forecast, Month(OWNED))["figures"] == on_the_page(plain, Month(OWNED))["figures"]


def test_a_payout_without_a_price_is_named_on_the_page_and_in_the_update_and_the_month_goes_on() -> None:
    good = pay(1, 100, "50000", 1)
    kept = store(good, pay(2, 70, None, 2))
    month = Month(OWNED)
    shown = on_the_page(kept, month)
    figures, left_out = printed(kept)
    assert msgspec.json.encode(shown["figures"]) == figures
    assert len(left_out) == 1
    assert "unbookable: payout 2 has no price" in left_out[0]
    assert shown["left_out"] == left_out == list(month.left_out)
    held = [f["value"] for f in shown["figures"] if f["name"] in ("bitcoin_produced", "bitcoin_held")]
    assert held == ["0.00000100", "0.00000100"]


def test_a_sale_that_waits_for_coins_is_named_once_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    sale = Trade(
        at=START, known_at=START, source="t", kind="measured", trade_id="big", sats=10**9, price_usd=Decimal(5),
        fee_usd=Decimal(0), venue="v",
    )  # fmt: skip
    kept, month = store(sale), Month(OWNED)
    for n in range(1, 4):
        kept.append([pay(n, 100, "50000", n)])
        (line,) = on_the_page(kept, month, moved=n)["left_out"]
        assert line.startswith(f"unbookable: trade big: Assets:Bitcoin:Treasury holds 0.00000{n}00 BTC")
    assert sum("trade big" in record.message for record in caplog.records) == 1


def test_a_network_reading_without_difficulty_stops_no_month() -> None:
    readings = [network(START + n * HOUR, difficulty) for n, difficulty in enumerate((1.4e14, 0.0, 1e-300, 1e-12), -1)]
    mined = Sample(
        at=START, known_at=START + HOUR, source="t", kind="measured", site_id="tx-1", unit_id="tx-1.rigs-1",
        length_s=3600, readings=1, power_w=1e6, hashrate_hs=1e18,
    )  # fmt: skip
    left_out = printed(store(*readings, mined, pay(1, 100, "50000", 1)))[1]
    assert ["difficulty 0.0" in left_out[0], "1e-300" in left_out[1], "1e-12" in left_out[2]] == [True] * 3


def pay(n: int, sats: int, price: str | None, known: int, at: int | None = None) -> Payout:
    end = START + (n if at is None else at) * HOUR
    return Payout(
        at=end,
        known_at=START + known * HOUR,
        source="t",
        kind="measured",
        payout_id=str(n),
        pool="p",
        sats=sats,
        span_start=end - HOUR,
        span_end=end,
        btc_usd=None if price is None else Decimal(price),
    )


HOURS = st.integers(-30, 30)
COMMON: dict[str, Any] = {"source": "t"}
KINDS = st.sampled_from(["measured", "estimated", "forecast"])
SATS = st.integers(-5, 10**10)
USD = st.decimals(-1, 10**6, places=2)


@st.composite
def records(draw: st.DrawFn) -> list[Record]:
    """Of every stream that a month is a fold of, good and bad, in any order and told anew."""
    made: list[Record] = []
    for number in range(draw(st.integers(0, 14))):
        at, known, kind = START + draw(HOURS) * HOUR, START + draw(HOURS) * HOUR, draw(KINDS)
        base: dict[str, Any] = {"at": at, "known_at": known, "kind": kind, "source": "t"}
        name = str(draw(st.integers(1, 4)))
        match draw(st.integers(0, 8)):
            case 0:
                made.append(pay(int(name), draw(SATS), draw(st.none() | USD.map(str)), draw(HOURS)))
            case 1:
                price = draw(USD)
                made.append(
                    Trade(**base, trade_id=name, sats=draw(SATS), price_usd=price, fee_usd=Decimal(1), venue="v")
                )
            case 2:
                made.append(
                    PowerBill(
                        **base,
                        site_id="tx-1",
                        length_s=3600,
                        mining_wh=draw(st.floats(0, 1e9)),
                        inference_wh=1e3,
                        aux_wh=0.0,
                        cost_usd=draw(USD),
                    )
                )
            case 3:
                made.append(Opening(**base, opening_id=name, cash_usd=draw(USD), sats=draw(SATS), cost_usd=draw(USD)))
            case 4:
                made.append(
                    NetworkTick(
                        **base,
                        difficulty=draw(st.sampled_from([0.0, 1e14, 1.5e14])),
                        subsidy_btc=3.125,
                        fee_share=0.02,
                        btc_usd=Decimal(1),
                    )
                )
            case 5:
                made.append(
                    Sample(
                        **base,
                        site_id="tx-1",
                        unit_id="tx-1.rigs-1",
                        length_s=3600,
                        readings=1,
                        power_w=1e6,
                        hashrate_hs=draw(st.none() | st.floats(0, 1e18)),
                    )
                )
            case 6:
                made.append(
                    Shortfall(
                        **base,
                        site_id="tx-1",
                        length_s=3600,
                        full_wh=10,
                        drawn_wh=4,
                        short_wh={"economic": 6},
                        full_sats=5,
                        made_sats=2,
                        lost_sats={"economic": 3},
                    )
                )
            case 7:
                made.append(
                    Usage(
                        **base,
                        request_id=f"r{name}",
                        tenant="acme",
                        project="d",
                        key_id="k",
                        model="m",
                        endpoint="/v1/chat/completions",
                        status=200,
                        prompt_tokens=3,
                        output_tokens=number,
                        cost_nano_usd=draw(st.integers(0, 10**10)),
                    )
                )
            case _:
                made.append(
                    Reserved(
                        **base,
                        tenant="acme",
                        model="m",
                        region="eu",
                        rented_since=at,
                        replicas=1,
                        provided_s=3600,
                        usd_per_replica_hour=Decimal("2.5"),
                        cost_nano_usd=25 * 10**8,
                    )
                )
    return made


@settings(max_examples=80, deadline=None)
@given(records(), st.integers(0, 14), st.integers(0, 3), st.booleans())
def test_page_and_command_print_the_same_bytes(told: list[Record], cut: int, later: int, summed: bool) -> None:
    """The page looks twice, before and after the rest was stored, and keeps in between what it keeps; it reads sums or,
    as the command here does, records."""
    kept, month, roll = store(*told[:cut]), Month(OWNED), RollUp(RolledStore(None)) if summed else None
    on_the_page(kept, month, roll=roll)
    kept.append(told[cut:])
    now = NOW + later * HOUR
    shown = on_the_page(kept, month, now, 1, roll)
    figures, left_out = printed(kept, now)
    assert msgspec.json.encode(shown["figures"]) == figures
    assert shown["left_out"] == left_out

"""The pages of money tell what the commands tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from starlette.testclient import TestClient

from console.conftest import catch_up
from tieline import records
from tieline.books.treasury.ladder import Holding, Secured, play
from tieline.clock import SimClock
from tieline.console.app import make_app
from tieline.console.rooms.stress import HourlyPrices, stress_view
from tieline.fleet import Fleet
from tieline.records import Loan, LoanFlow, NetworkTick, Opening, Payout, Pledge, Range, Sample
from tieline.settlement.month import books_of, margins_in
from tieline.settlement.reconcile import pool_month
from tieline.store import Store


def exactly(value: str) -> Range:
    return Range(low=Decimal(value), high=Decimal(value))


@pytest.fixture
def client(tmp_path: Path, world: ModuleType, fleet: Fleet) -> Iterator[TestClient]:
    at = world.NOW - timedelta(days=40)
    told = {"at": at, "known_at": at, "source": "t", "kind": "measured"}
    store = Store(tmp_path / "store.db", records.encode, records.decode)
    store.append(
        [
            Opening(**told, opening_id="o", cash_usd=Decimal(7), sats=747_460_000_000, cost_usd=Decimal(630_000_000)),
            Loan(
                **told, loan_id="A1", lender="Bank", initial_ltv=exactly("0.6"), call_ltv=exactly("0.75"),
                liquidation_ltv=exactly("0.85"),
            ),
            LoanFlow(**told, flow_id="f", loan_id="A1", what="opening", amount=Decimal(250_000_000)),
            Pledge(**told, pledge_id="g", loan_id="A1", sats=500_000_000_000),
            *(
                Payout(
                    **told | {"at": at + timedelta(hours=n)}, payout_id=f"p{n}", pool="p", sats=5, span_start=at,
                    span_end=at + timedelta(hours=n), btc_usd=Decimal(60_000) if n else None,
                )
                for n in range(150)
            ),
        ]
    )  # fmt: skip
    app = make_app(store, fleet, SimClock(world.NOW))
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        catch_up(client)
        yield client
    store.close()


def test_the_treasury_page(client: TestClient) -> None:
    told = client.get("/api/treasury", params={"price": "68,524", "ask": "sell 4451 BTC at 68524, repay"}).json()
    (loan,) = told["loans"]
    assert loan["ltv"].startswith("0.7296")
    assert {rung["level"]: rung["trigger"]["low"] for rung in told["ladder"]} == {
        "initial": "83333.33", "call": "66666.67", "liquidation": "58823.53",
    }  # fmt: skip
    assert (Decimal(told["what_if"]["debt"]), told["what_if"]["cash"]) == (0, "55000331.00")
    assert told["lots_in_all"] == 151
    assert any("may sell or re-pledge" in line for line in told["open"])
    plain = client.get("/api/treasury").json()
    assert (plain["price"], plain["ladder"], plain["what_if"]) == (None, [], None)


def test_the_stress_page(client: TestClient) -> None:
    told = client.get("/api/treasury/stress", params={"price": "68524", "shocks": "-10, -20 %"}).json()
    assert [(one["price"], one["state"]) for one in told["shocks"]] == [
        ("61671.60", "called"),
        ("54819.20", "liquidated"),
    ]
    assert told["why_not"] == "0 hours of prices are known here; more than 168 are needed to play 7 days"
    assert client.get("/api/treasury/stress").json()["why_not"] == "no price is known yet"
    for query, says in (
        ("shocks=-100", "above -100"),
        ("shocks=much", "no changes in percent"),
        ("days=0", "whole days"),
    ):
        wrong = client.get(f"/api/treasury/stress?price=5&{query}")
        assert (wrong.status_code, says in wrong.json()["error"]) == (400, True)


def test_hours_of_prices_are_read_on_and_played_as_the_command_plays_them(world: ModuleType) -> None:
    begin = world.NOW.replace(minute=0, second=0, microsecond=0) - timedelta(days=40)
    ticks = [
        NetworkTick(
            at=at, known_at=at, source="t", kind="measured", difficulty=1.5e14, subsidy_btc=3.125, fee_share=0.0,
            btc_usd=Decimal(100_000 - 40 * n),
        )
        for n, at in ((n, begin + timedelta(minutes=30 * n)) for n in range(2 * 24 * 40))
    ]  # fmt: skip
    store, prices = Store(None, records.encode, records.decode), HourlyPrices()
    store.append(ticks[:-2])
    while prices.further(store, world.NOW):
        pass
    store.append(ticks[-2:])
    assert not prices.further(store, world.NOW)
    series = prices.series()
    assert series == [float(tick.btc_usd) for tick in ticks[1::2]]
    loan = Secured("A", Decimal(60), Decimal("0.001"), call=exactly("0.8"))
    told = stress_view(Holding(Decimal(0), (loan,)), Decimal(78_000), prices, {"days": "2"})
    (called,) = told["played"]
    assert called == asdict(play(Holding(Decimal(0), (loan,)), Decimal(78_000), series, 48)[0])
    assert 0 < called["reached"] < called["starts"] == len(series) - 48


def test_the_books_page_by_page(client: TestClient) -> None:
    assert "lots: fifo" in client.get("/api/books").json()["policy"]
    first = client.get("/api/books", params={"account": "Assets:Bitcoin"}).json()
    assert len(first["entries"]) == 100
    assert first["residual"] == {}
    assert "payout p0 has no price" in first["unbookable"][0]
    second = client.get("/api/books", params={"account": "Assets:Bitcoin", "before": first["next"]}).json()
    assert second["next"] is None
    numbers = [one["number"] for one in (*first["entries"], *second["entries"])]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == 151  # the opening, the pledge and 149 payouts
    debt = client.get("/api/books", params={"account": "Liabilities:Loans"}).json()["entries"]
    assert [ref["stream"] for one in debt for ref in one["refs"]] == ["LoanFlow"]


def test_the_entries_of_a_month(client: TestClient, world: ModuleType) -> None:
    month = f"{world.NOW - timedelta(days=40):%Y-%m}"
    asked = {"account": "Assets:Bitcoin", "month": month}
    first = client.get("/api/books", params=asked).json()
    assert len(first["entries"]) == 100
    second = client.get("/api/books", params=asked | {"before": first["next"]}).json()
    both = [*first["entries"], *second["entries"]]
    assert [one["at"] for one in both] == sorted(one["at"] for one in both)
    assert len(both) == 151
    assert client.get("/api/books", params=asked | {"month": "2031-01"}).json()["entries"] == []


def test_reports_of_a_month_are_those_of_the_commands(client: TestClient, world: ModuleType) -> None:
    month = f"{world.NOW - timedelta(days=40):%Y-%m}"

    def told(what: str) -> Any:
        found = client.get("/api/books/month", params={"month": month, "what": what})
        assert found.status_code == 200, found.text
        assert found.json()["policy"][0].startswith("US-GAAP")
        return found.json()

    statement = told("statement")
    brought = ["Opening", "Additions: brought into the books", "Closing"]
    assert [one["name"] for one in statement["rollforward"]] == brought
    assert Decimal(statement["net"]) == 0
    margins = told("margins")
    assert Decimal(margins["net"]) == Decimal(margins["margin"]) == 0
    days = told("reconciliation")["days"]
    assert sum(Decimal(one["stated"]) for one in days) == Decimal(750).scaleb(-8)
    assert all(one["remark"] == "stated, and nothing was heard" for one in days)


def test_cash_and_its_runway(client: TestClient) -> None:
    cash = client.get("/api/treasury").json()["cash"]
    assert cash["cash"] == "7.00"
    assert (cash["runway_months"], cash["owed"]) == (None, [])
    # Of the months before cash was first known nothing is said, not that there was none.
    assert [one["month"] for one in cash["months"]] == ["2026-04", "2026-05"]


def test_the_update_page(client: TestClient, world: ModuleType) -> None:
    month = f"{world.NOW - timedelta(days=40):%Y-%m}"
    told = client.get("/api/release", params={"month": month}).json()
    assert told["state"] == "draft"
    assert any("payout p0 has no price" in line for line in told["faults"])
    why = client.get("/api/release/bridge", params={"month": month})
    assert (why.status_code, "is not known" in why.json()["why_not"]) == (200, True)
    assert client.get("/api/release/bridge", params={"month": "2026-13"}).status_code == 400
    assert next(one["shown"] for one in told["movements"] if one["name"] == "closing").startswith("7,474.60")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/api/treasury?price=x", "is no price"),
        ("/api/treasury?price=5&ask=buy", "is not understood"),
        ("/api/treasury?price=5&ask=sell+99999+BTC+at+5", "cannot be sold"),
        ("/api/books?before=x", "is no number"),
        ("/api/books?month=then", "YYYY-MM"),
        ("/api/books/month?month=then", "YYYY-MM"),
        ("/api/books/month?month=1999-01", "not known"),
        ("/api/books/month?what=weather", "is no report"),
        ("/api/release?month=then", "YYYY-MM"),
        ("/api/release?month=1999-01", "not known"),
    ],
)
def test_what_is_asked_wrongly_is_answered_in_words(client: TestClient, path: str, says: str) -> None:
    told = client.get(path)
    assert told.status_code == 400
    assert says in told.json()["error"]


def test_margins_and_pools_are_those_of_the_command_also_when_asked_again(
    tmp_path: Path, world: ModuleType, fleet: Fleet
) -> None:
    start = world.NOW - timedelta(days=6)
    store = Store(tmp_path / "store.db", records.encode, records.decode)
    for n in range(24 * 6):
        at = start + timedelta(hours=n)
        told = {"at": at, "known_at": at, "source": "t", "kind": "measured"}
        tick = NetworkTick(**told, difficulty=1.4e14, subsidy_btc=3.125, fee_share=0.01, btc_usd=Decimal(60_000))
        sites = [
            Sample(**told, site_id=site, unit_id=site, length_s=3600, readings=1, power_w=1.0, hashrate_hs=rate)
            for site, rate in (("a", 1e18), ("b", 2e18))
        ]
        store.append([tick, *sites])
    paid = {"at": world.NOW - timedelta(days=1), "known_at": world.NOW, "source": "t", "kind": "measured"}
    store.append([Payout(**paid, payout_id="p", pool="p", sats=10**8, span_start=start, span_end=start,
                         btc_usd=Decimal(60_000))])  # fmt: skip
    month = f"{world.NOW - timedelta(days=1):%Y-%m}"
    wanted = pool_month(store, month, world.NOW)
    uses = margins_in(store, month, world.NOW, books_of(store)).uses
    app = make_app(store, fleet, SimClock(world.NOW))
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        catch_up(client)
        for _ in range(2):
            days = client.get("/api/books/month", params={"month": month, "what": "reconciliation"}).json()["days"]
            heard = [one for one in wanted.days if one.expected is not None]
            assert [one["expected"] for one in days] == [pytest.approx(one.expected, rel=1e-9) for one in heard]
            told_ = client.get("/api/books/month", params={"month": month, "what": "margins"}).json()["uses"]
            assert [Decimal(one["revenue"]) for one in told_] == [one.revenue for one in uses]
            assert len(uses) == 2
    store.close()

"""CO2 of a month's energy: by hand, a certificate's energy once, what is unknown in no average."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.books.test_statement import told

from tieline.books.reports.emissions import EmissionsOfMonth, emissions_of
from tieline.records import EnergyEvidence, PowerBill

D = Decimal
END = datetime(2027, 1, 1, tzinfo=UTC)


def bill(day: int, site: str, mining: float, inference: float = 0.0, aux: float = 0.0, month: int = 8) -> PowerBill:
    return PowerBill(
        **told(day, month), site_id=site, length_s=3600, mining_wh=mining * 1e6, inference_wh=inference * 1e6,
        aux_wh=aux * 1e6, cost_usd=D(1),
    )  # fmt: skip


def says(name: str, what: Any, gco2: int, site: str = "", mwh: int | None = None, serial: str = "") -> EnergyEvidence:
    return EnergyEvidence(
        **(told(1, 1) | {"at": datetime(2026, 1, 1, tzinfo=UTC)}), evidence_id=name, what=what, site_id=site, until=END,
        gco2_per_kwh=D(gco2), wh=None if mwh is None else mwh * 10**6, registry="M-RETS" if serial else "",
        serial=serial, year=2025 if what == "grid-average" else None,
    )  # fmt: skip


def made(bills: list[PowerBill], evidence: list[EnergyEvidence], month: str = "2026-08") -> EmissionsOfMonth:
    return emissions_of(bills, evidence, month, (D(2), 4_000_000), UTC)


def test_by_hand() -> None:
    bills = [bill(3, "a", 30, 10, aux=4), bill(4, "b", 20)]
    evidence = [
        says("grid", "grid-average", 400),
        says("grid of b", "grid-average", 500, "b"),
        says("wind", "contract", 0, "b"),
        says("rec", "certificate", 0, mwh=11, serial="1"),
        says("rest", "residual-mix", 600),
    ]
    found = made(bills, evidence)
    # a: 44 MWh, of it 33 for mining with its cooling; b: 20.
    assert found.location["mining"].gco2 == 33_000 * 400 + 20_000 * 500
    assert found.location["inference"].gco2 == 11_000 * 400
    # 11 of a's 44 MWh are certified, the rest is residual; b is under a contract.
    assert found.market["mining"].gco2 == D(33_000) * 600 * 33 / 44
    assert found.market["inference"].gco2_per_kwh == D(450)
    assert found.certified_kwh == 11_000
    assert found.per_btc["market"] == found.market["mining"].gco2 / 2
    assert found.per_million_tokens["location"] == D(1_100_000)
    assert found.faults == ()


def test_a_certificate_covers_its_energy_once_over_months_and_counts_once() -> None:
    bills = [bill(3, "a", 8, month=7), bill(3, "a", 8)]
    rec = says("rec", "certificate", 0, mwh=10, serial="1")
    again = says("same", "certificate", 0, mwh=10, serial="1")
    july, august = (made(bills, [rec, again, says("rest", "residual-mix", 100)], f"2026-{m:02}") for m in (7, 8))
    assert (july.certified_kwh, august.certified_kwh) == (8_000, 2_000)
    assert august.market["mining"].gco2 == 6_000 * 100
    assert august.faults == ("same: M-RETS 1 is rec already; it counts once",)


def test_what_is_unknown_is_in_no_average_and_its_share_is_said() -> None:
    found = made([bill(3, "a", 30), bill(3, "b", 10)], [says("grid", "grid-average", 400, "a")])
    assert (found.location["mining"].gco2_per_kwh, found.location["mining"].unknown_share) == (D(400), D("0.25"))
    assert (found.market["mining"].gco2_per_kwh, found.market["mining"].unknown_share) == (None, D(1))
    assert found.per_btc["market"] is None


BILLS = st.lists(
    st.tuples(st.integers(6, 9), st.sampled_from("ab"), st.integers(0, 50), st.integers(0, 50)), max_size=8
)


@given(BILLS, st.lists(st.integers(1, 60), max_size=4))
def test_whatever_is_bought_energy_is_conserved_and_no_certificate_is_used_beyond_itself(
    bills: list[tuple[int, str, int, int]], certificates: list[int]
) -> None:
    drawn = [bill(n + 1, site, mining, other, month=month) for n, (month, site, mining, other) in enumerate(bills)]
    evidence = [says(f"c{n}", "certificate", 0, mwh=mwh, serial=str(n)) for n, mwh in enumerate(certificates)]
    covered = D(0)
    for month in range(6, 10):
        found = made(drawn, evidence, f"2026-{month:02}")
        covered += found.certified_kwh
        whole = sum((mining + other) * 1000 for m, _, mining, other in bills if m == month)
        for by_use in (found.location, found.market):
            assert abs(sum((one.kwh + one.unknown_kwh for one in by_use.values()), D(0)) - whole) < D("1e-9")
    assert covered <= sum(certificates) * 1000
    assert covered == min(sum(certificates) * 1000, sum((mining + other) * 1000 for _, _, mining, other in bills))

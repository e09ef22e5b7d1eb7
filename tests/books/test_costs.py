"""What a bitcoin cost: by hand, and whatever is booked, layers and what is left out are the ledger's expenses."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from tests.books.test_statement import closing, paid, told

from tieline.books import Bookkeeper
from tieline.books.reports.costs import LAYERS, costs_of
from tieline.records import Loan, LoanFlow, PowerBill, VendorBill

D = Decimal


def power(n: int, site: str, usd: str, inference_wh: float = 0.0) -> PowerBill:
    base = told(n)
    return PowerBill(**base, site_id=site, length_s=3600, mining_wh=3.0, inference_wh=inference_wh, aux_wh=0.0,
                     cost_usd=D(usd))  # fmt: skip


def bill(n: int, expense: str, usd: str, site: str = "") -> VendorBill:
    return VendorBill(**told(n), bill_id=f"b{n}", payee="P", amount_usd=D(usd), expense=expense, site_id=site)


def kept(*records: object) -> Bookkeeper:
    keeper = Bookkeeper()
    for record in records:
        keeper.take(record)  # type: ignore[arg-type]
    assert keeper.unbookable == ()
    return keeper


def test_layers_by_hand() -> None:
    keeper = kept(
        paid(3, 2 * 10**8, "60000"),
        power(4, "tx-1", "4000", inference_wh=1.0),
        power(5, "tx:2", "5000"),
        bill(6, "Hosting", "2000", "tx-1"),
        bill(7, "Hosting", "500"),
        bill(8, "Salaries", "1500"),
        Loan(**told(9), loan_id="L", lender="B"),
        LoanFlow(**told(10), flow_id="i", loan_id="L", what="interest", amount=D(1000)),
        closing(8, "50000"),
    )
    made = costs_of(keeper, "2026-08", {"tx-1": 3e20, "tx:2": 1e20})
    assert [(one.name, one.usd, one.usd_per_btc) for one in made.layers] == [
        ("energy", D(8_000), D(4_000)),
        ("hosting", D(2_500), D(5_250)),
        ("cash", D(1_500), D(6_000)),
        ("all-in", D(1_000), D(6_500)),
    ]
    assert made.left_out == (("Expenses:Power:Inference", D(1_000)),)
    assert made.expenses == D(14_000)
    sites = {one.site: one for one in made.sites}
    assert sites["tx-1"].usd == {"energy": 3_000, "hosting": 2_000, "cash": 0, "all-in": 0}
    assert (sites["tx-1"].btc, sites["tx-1"].energy_usd_per_btc) == (D("1.5"), D(2_000))
    assert sites["tx:2"].usd["energy"] == 5_000
    assert sites[""].usd == {"energy": 0, "hosting": 500, "cash": 1_500, "all-in": 1_000}
    # 4e20 hashes are 4e20 / (1e15 x 86,400) PH/s-days.
    assert made.hashcost == (D(8_000) / (D(4 * 10**20) / (10**15 * 86_400))).quantize(D("0.01"))


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 10**6), st.booleans()), max_size=8),
    st.lists(st.tuples(st.sampled_from(["Hosting", "Interest", "Repairs"]), st.integers(1, 10**6),
                       st.sampled_from(["", "a", "c"])), max_size=8),
)  # fmt: skip
def test_layers_and_sites_sum_to_the_ledger(
    bills: list[tuple[str, int, bool]], others: list[tuple[str, int, str]]
) -> None:
    records: list[object] = [
        power(n, site, str(D(cents).scaleb(-2)), 1.0 if both else 0.0) for n, (site, cents, both) in enumerate(bills, 1)
    ]
    records += [bill(n, what, str(D(cents).scaleb(-2)), site) for n, (what, cents, site) in enumerate(others, 11)]
    made = costs_of(kept(*records), "2026-08", {"a": 1.0})
    whole = sum((one.usd for one in made.layers), D(0)) + sum((usd for _, usd in made.left_out), D(0))
    assert whole == made.expenses
    for layer in made.layers:
        assert sum((one.usd[layer.name] for one in made.sites), D(0)) == layer.usd
    assert [one.name for one in made.layers] == list(LAYERS)
    assert all(one.usd_per_btc is None for one in made.layers)

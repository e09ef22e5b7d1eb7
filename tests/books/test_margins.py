"""Margins by site and use: by hand, and whatever is booked they sum to the ledger's net."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from tests.books.test_costs import bill, kept, power
from tests.books.test_statement import paid, told

from tieline.books.reports.margins import SitesMeasured, SiteUse, margins_of, shared
from tieline.records import Issued, IssuedLine, Performance, PowerBill

D = Decimal


def demand(n: int, site: str, usd: str) -> PowerBill:
    return PowerBill(**told(n), site_id=site, length_s=31 * 86_400, mining_wh=0.0, inference_wh=0.0, aux_wh=0.0,
                     cost_usd=D(usd))  # fmt: skip


def promise(n: int, site: str, paid_usd: str, fined: str = "0") -> Performance:
    base = told(n)
    return Performance(
        **base, what="reserve", event_id=f"e{n}", site_id=site, until=base["at"], rule="r", promised_w=1.0,
        baseline_w=None, mean_w=None, delivered_w=None, missed_wh=0, paid_usd=D(paid_usd),
        penalty_usd=D(fined), line="r",
    )  # fmt: skip


def invoice(n: int, usd: str) -> Issued:
    line = IssuedLine(project="p", model="m", requests=1, prompt_tokens=1, output_tokens=1, amount_usd=D(usd))
    return Issued(**told(n), number=f"i{n}", tenant="acme", month="2026-08", lines=(line,))


def test_margins_by_hand() -> None:
    keeper = kept(
        paid(3, 10**8, "60000"),
        power(4, "a", "4000", inference_wh=1.0),
        power(5, "b", "5000"),
        demand(6, "a", "900"),
        promise(7, "b", "300", "50"),
        invoice(8, "100.01"),
        bill(9, "Salaries", "1500"),
    )
    measured = SitesMeasured({"a": 1e20, "b": 2e20}, {"a": 3, "c": 1}, {("a", "mining"): 8e6, ("b", "mining"): 5e6})
    made = margins_of(keeper, "2026-08", measured)
    assert made.uses == (
        SiteUse("a", "inference", D("75.01"), D("1000.00"), D(0), None),
        SiteUse("a", "mining", D("20000.00"), D("3000.00"), D("900.00"), D(8)),
        SiteUse("b", "grid", D("250.00"), D(0), D(0), None),
        SiteUse("b", "mining", D("40000.00"), D("5000.00"), D(0), D(5)),
        SiteUse("c", "inference", D("25.00"), D(0), D(0), None),
    )
    assert made.uses[1].margin_per_mwh == D("2012.50")
    assert made.other == (("Expenses:Salaries", D("-1500.00")),)
    assert made.net == D("60000") + D("100.01") + 250 - 4000 - 5000 - 900 - 1500
    assert made.policy[0].startswith("US-GAAP")
    # What no machine was heard of is no site's.
    unknown = margins_of(keeper, "2026-08", SitesMeasured({}, {}, {}))
    assert {(one.site, one.use) for one in unknown.uses if not one.site} == {("", "mining"), ("", "inference")}


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.integers(-(10**6), 10**6), st.booleans(), st.booleans()), max_size=6
    ),
    st.lists(st.integers(1, 10**9), max_size=3),
    st.dictionaries(st.sampled_from("abc"), st.floats(0, 1e24), max_size=3),
)
def test_margins_and_what_else_there_is_sum_to_the_ledgers_net(
    bills: list[tuple[str, int, bool, bool]], sats: list[int], hashes: dict[str, float]
) -> None:
    records: list[object] = [
        demand(n, site, str(D(cents).scaleb(-2))) if monthly else power(n, site, str(D(cents).scaleb(-2)), float(both))
        for n, (site, cents, both, monthly) in enumerate(bills, 1)
    ]
    records += [paid(n, one, "61234.56") for n, one in enumerate(sats, 10)]
    records += [invoice(21, "33.34"), promise(22, "b", "10", "12.5"), bill(23, "Repairs", "7")]
    made = margins_of(kept(*records), "2026-08", SitesMeasured(hashes, {"a": 1, "b": 1, "c": 1}, {}))
    assert made.margin + sum(usd for _, usd in made.other) == made.net


@given(st.integers(-(10**9), 10**9), st.dictionaries(st.text(max_size=2), st.integers(0, 10**6), max_size=5))
def test_a_sum_by_weights_loses_no_cent(cents: int, weights: dict[str, int]) -> None:
    total = D(cents).scaleb(-2)
    assert sum(shared(total, weights).values(), D(0)) == total

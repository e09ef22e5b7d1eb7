"""Each check on small books, and on books made at random."""

import inspect
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tieline.disclosures.checks import balance, check, money, production, witnesses
from tieline.disclosures.checks.balance import announced
from tieline.disclosures.facts.book import ClaimBook, IssuerPeriod
from tieline.disclosures.facts.shipped import shipped
from tieline.disclosures.facts.verdict import CHECKS, FINDINGS, Verdict

from .conftest import typed_claims, value_of

BookOf = Callable[..., ClaimBook]


def one(book: ClaimBook, name: str, period: str | None = None) -> Verdict:
    found = [verdict for verdict in check(book, period=period) if verdict.check == name]
    assert len(found) == 1, [verdict.id for verdict in check(book)]
    return found[0]


@pytest.mark.parametrize(
    ("produced", "average", "outcome"),
    [
        ("310.0", "10.0", "holds"),
        ("162", "5.2", "holds"),
        ("163.99", "5.2", "rounding"),
        ("163.99", "5.3", "holds"),
        ("163.99", "5.1", "differs"),
        ("163.99", "10.6", "differs"),
    ],
)
def test_average(book_of: BookOf, produced: str, average: str, outcome: str) -> None:
    book = book_of("X", {"2025-01": {"btc_produced": produced, "avg_btc_per_day": average}})
    assert one(book, "average").outcome == outcome


def test_an_average_over_active_days_needs_a_reason(book_of: BookOf) -> None:
    """All that is held was mined in the month: so it was the first."""
    month = {"btc_produced": "163.99", "avg_btc_per_day": "10.6"}
    assert one(book_of("X", {"2025-01": month}), "average").outcome == "differs"
    assert one(book_of("X", {"2025-01": {**month, "btc_held_end": "163.99"}}), "average").outcome == "explained"


def test_no_days_explain_the_average_of_nothing(book_of: BookOf) -> None:
    book = book_of("X", {"2025-01": {"btc_produced": 0, "avg_btc_per_day": "10.8", "btc_held_end": 0}})
    assert one(book, "average").outcome == "differs"


def test_every_finding_that_the_file_names_is_one_of_the_checks(book_of: BookOf) -> None:
    """A sentence that no check can say is a line to delete; one that fits no outcome could not be loaded."""
    source = "".join(inspect.getsource(module) for module in (balance, money, production, witnesses))
    graded = {"holds", "rounding", "differs"}
    unsaid = [
        (check, finding)
        for check, findings in FINDINGS.items()
        for finding in findings
        if f'"{finding}"' not in source and finding not in graded
    ]
    assert unsaid == []
    assert FINDINGS.keys() == CHECKS.keys()


def test_a_loan_that_was_paid_back_and_a_trigger_of_nothing(book_of: BookOf) -> None:
    lender = {"loan_balance_usd @ L": 0, "loan_collateral_usd @ L": 1_000_000, "loan_ltv_initial @ L": "0.5"}
    assert one(book_of("X", {"2025-01-31": lender}), "loan").outcome == "differs"
    lender = {"loan_balance_usd @ L": 100, "loan_collateral_btc @ L": 3, "loan_trigger_price_usd @ L": 0}
    assert check(book_of("X", {"2025-01-31": lender})) == ()


def test_of_a_holding_of_nothing_nothing_is_pledged(book_of: BookOf) -> None:
    book = book_of("X", {"2025-01": {"btc_held_end": 0, "restricted_or_pledged_btc": 0}})
    assert one(book, "held").says == "0 % of the holding is restricted, pledged or lent."


def test_values_that_no_addend_tells_apart(book_of: BookOf) -> None:
    """Nothing but zeros stands beside them, so there is no coarsest addend."""
    month = {"btc_open": 0, "btc_produced": 0, "btc_held_end": 0, "btc_sold": 0}
    book = ClaimBook(
        (*book_of("X", {"2025-01": month}).all, *typed_claims("X", {"2025-01": {"btc_sold": "0.3"}}, kind="news"))
    )
    assert one(book, "claims").outcome == "explained"


def test_a_month_that_began_within_is_checked_over_its_days() -> None:
    verdicts = {found.id: found for found in check(shipped())}
    assert "over the last 19.31 days" in verdicts["chain:CANG.2024-11"].computation


COIN = st.decimals(min_value=0, max_value=50_000, places=2)


@given(opening=COIN, produced=COIN, bought=COIN, sold=COIN, fees=COIN, off=st.sampled_from(["0", "0.5", "-0.5"]))
def test_a_balance_that_was_made_to_close_closes(
    opening: Decimal, produced: Decimal, bought: Decimal, sold: Decimal, fees: Decimal, off: str
) -> None:
    closing = opening + produced + bought - sold - fees + Decimal(off)
    if closing < 0:
        return
    facts: dict[str, dict[str, Any]] = {
        "2025-01": {"btc_held_end": opening},
        "2025-02": {
            "btc_produced": produced,
            "btc_purchased": bought,
            "btc_sold": sold,
            "service_fee_btc": fees,
            "btc_held_end": closing,
        },
    }
    found = one(ClaimBook(typed_claims("X", facts)), "roll-forward")
    assert found.residual == -Decimal(off)
    assert found.outcome == ("holds" if off == "0" else "differs")


def test_a_sale_that_was_not_printed_is_not_zero(book_of: BookOf) -> None:
    book = book_of("X", {"2025-01": {"btc_held_end": 100}, "2025-02": {"btc_produced": 50, "btc_held_end": 90}})
    found = one(book, "roll-forward")
    assert found.outcome == "open"
    assert found.residual == 60


def test_a_sale_of_nothing_is_zero(book_of: BookOf) -> None:
    month = {"btc_produced": 50, "btc_held_end": 90, "btc_sold": 0}
    found = one(book_of("X", {"2025-01": {"btc_held_end": 100}, "2025-02": month}), "roll-forward")
    assert found.outcome == "differs"
    assert "60 BTC left" in found.says


def test_a_holding_and_its_parts(book_of: BookOf) -> None:
    month = {"btc_held_end": 100, "free_btc": 60, "restricted_or_pledged_btc": 40}
    assert one(book_of("X", {"2025-01": month}), "held").outcome == "holds"
    assert one(book_of("X", {"2025-01": {**month, "free_btc": 50}}), "held").outcome == "differs"
    more = {"btc_held_end": 100, "restricted_or_pledged_btc": 140}
    assert one(book_of("X", {"2025-01": more}), "held").outcome == "differs"


def test_too_much_and_too_little_for_the_chain(book_of: BookOf) -> None:
    """15.77 BTC of subsidy for each EH/s in February 2025."""
    for produced, outcome in ((158, "holds"), (120, "differs"), (190, "differs")):
        book = book_of("X", {"2025-02": {"btc_produced": produced, "avg_operating_ehs": "10.0"}})
        assert one(book, "chain").outcome == outcome


def test_a_pool_of_ones_own_carries_its_luck(book_of: BookOf) -> None:
    month = {"btc_produced": 143, "avg_operating_ehs": "10.0", "blocks_won": 46}
    assert one(book_of("X", {"2025-02": month}), "chain").outcome == "holds"
    del month["blocks_won"]
    assert one(book_of("X", {"2025-02": month}), "chain").outcome == "differs"


def test_the_issuers_own_share_of_fees_is_used(book_of: BookOf) -> None:
    month = {"btc_produced": 170, "avg_operating_ehs": "10.0", "fee_share_pct": 7}
    found = one(book_of("X", {"2025-02": month}), "chain")
    assert "printed 7 %" in found.computation
    assert found.outcome == "holds"


def test_a_document_older_than_its_month(book_of: BookOf) -> None:
    book = book_of("X", {"2025-09": {"btc_produced": 10}}, published="2025-09-07")
    assert one(book, "date").outcome == "differs"
    fine = book_of("X", {"2025-09": {"btc_produced": 10}}, published="2025-10-01")
    assert not [found for found in check(fine) if found.check == "date"]


def test_restated_keeps_both_vintages() -> None:
    first = typed_claims("X", {"2025-01": {"btc_produced": 100}}, published="2025-02-03")
    later = typed_claims("X", {"2025-01": {"btc_produced": 98}}, published="2025-03-03", source="next month")
    book = ClaimBook([*later, *first])
    assert value_of(book, "X", "2025-01", "btc_produced") == 98
    assert value_of(book, "X", "2025-01", "btc_produced", view="printed") == 100
    found = one(book, "restated")
    assert found.outcome == "explained"
    assert found.residual == -2


def test_news_never_displaces_the_issuer() -> None:
    own = typed_claims("X", {"2025-01": {"btc_held_end": "7474.6"}}, kind="news_of_release", published="2025-02-03")
    news = typed_claims("X", {"2025-01": {"btc_held_end": "8095.7"}}, kind="aggregator", published="2025-05-01")
    book = ClaimBook([*news, *own])
    assert value_of(book, "X", "2025-01", "btc_held_end") == Decimal("7474.6")
    assert one(book, "claims").outcome == "differs"


def test_every_verdict_shows_one_line() -> None:
    verdicts = check(shipped())
    assert len(verdicts) > 150
    assert len({found.id for found in verdicts}) == len(verdicts)
    assert {found.check for found in verdicts} == set(CHECKS)
    ids = {claim.id for claim in shipped().all}
    for found in verdicts:
        assert "\n" not in found.computation
        assert found.computation
        assert found.says.endswith(".")
        assert set(found.claims) <= ids


MONTHS = st.sampled_from(["2025-01", "2025-02", "2025-03", "2025Q1", "2025-03-31", "2025-02-08"])
FIELDS = st.sampled_from(
    [
        "btc_produced",
        "avg_btc_per_day",
        "btc_held_end",
        "btc_sold",
        "btc_announced_sale",
        "sale_proceeds_usd",
        "avg_sale_price_usd",
        "btc_held_after_sale",
        "deployed_ehs",
        "avg_operating_ehs",
        "btc_on_balance",
        "btc_receivable_from_collateral",
        "receivable_kusd",
        "receivable_usd",
        "fee_share_pct",
        "blocks_won",
        "mom_pct",
        "btc_produced_mom_pct",
        "btc_purchased",
        "btc_open",
        "service_fee_btc",
        "btc_lenders_net",
        "free_btc",
        "restricted_or_pledged_btc",
        "cryptocurrencies_usd",
        "equity_raised_usd @ A",
        "acquired_ehs",
        "btc_held_before_sale",
        "loan_balance_usd",
        "loan_balance_usd @ L",
        "loan_collateral_usd @ L",
        "loan_ltv_initial @ L",
        "loan_collateral_btc @ L",
        "loan_trigger_price_usd @ L",
    ]
)
EDGES = [Decimal("1e15"), Decimal("1e-12"), Decimal("999999999999999.123456789012")]
"""The largest and the smallest that are kept, and what has the most digits."""
NUMBERS = st.one_of(
    st.just(Decimal(0)),
    st.sampled_from(EDGES),
    st.decimals(min_value=-1000, max_value=10**9, allow_nan=False, allow_infinity=False, places=2),
)


ZERO = Decimal(0)


@example(
    {
        "2025-01": {"btc_produced": ZERO},
        "2025-02": dict.fromkeys(
            ["btc_produced", "avg_btc_per_day", "btc_held_end", "mom_pct", "btc_produced_mom_pct", "btc_sold"], ZERO
        ),
    },
    "issuer",
)
@example({"2025-01": {"btc_produced": Decimal(1)}, "2025-02": {"mom_pct": ZERO, "btc_produced_mom_pct": ZERO}}, "news")
@given(
    st.dictionaries(MONTHS, st.dictionaries(FIELDS, NUMBERS, max_size=8), max_size=6),
    st.sampled_from(["issuer", "news"]),
)
def test_no_book_breaks_a_check(facts: dict[str, dict[str, Decimal]], kind: str) -> None:
    """Zeros, negative numbers and nonsense give verdicts, never an error."""
    more = {period: {name: value + 1 for name, value in figures.items()} for period, figures in facts.items()}
    claims = typed_claims("X", facts, kind=kind)
    for source, other in (("aggregator", facts), ("issuer", more), ("issuer_release_copy", facts), ("news", more)):
        claims += typed_claims("X", other, kind=source, source=f"{source} two")
    verdicts = check(ClaimBook(claims))
    assert len({found.id for found in verdicts}) == len(verdicts)
    assert all(found.computation for found in verdicts)


def test_the_largest_over_the_smallest_is_shown(book_of: BookOf) -> None:
    month = {"btc_sold": "0.000000000001", "sale_proceeds_usd": 10**15}
    assert (
        "US$1,000,000,000,000,000,000,000,000,000 per BTC"
        in one(book_of("X", {"2025-01": month}), "proceeds").computation
    )


def test_a_holding_told_for_after_a_sale_is_held_against_the_month_end(book_of: Callable[..., ClaimBook]) -> None:
    """The sale is told without its day, and what is said to be left is what there was before it."""
    book = book_of(
        "X",
        {
            "2026-01": {"btc_held_end": 7474.6},
            "2026-02": {"btc_announced_sale": 4451, "btc_held_after_sale": 7474},
            "2026-02-08": {"btc_announced_sale": 4451},
        },
    )
    found = [v for v in check(book) if v.check == "announced-sale"]
    assert [v.outcome for v in found] == ["explained"]
    assert "the balance before the sale" in found[0].says
    assert [claim.fact.period for claim in announced(IssuerPeriod(book, "X", "2026-02"))] == ["2026-02-08"]

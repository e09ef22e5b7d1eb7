"""`tieline books add`, what is owed: loans and their rates, bills, payments, shares."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import click

from tieline.books import Bookkeeper
from tieline.books.treasury.sheets import SheetError, SheetRow, fixed_rate
from tieline.cli.money.add import USD, When, enter, entered, known_currency
from tieline.clock import begun
from tieline.records import AnyRecord, Equity, Loan, LoanFlow, Payment, RateFixing, VendorBill
from tieline.records.treasury import MoneyState

pending_option = click.option(
    "--pending", is_flag=True, help="Ordered and not moved: the cash is set apart till `add post` or `add void`."
)


@click.command()
@entered
@click.option("--lender", required=True)
@click.option("--amount", type=USD, default=Decimal(0), help="What is drawn now.")
@click.option("--currency", type=str.upper, default="USD", show_default=True)
@click.option("--rate", default="", help='A year: "8 %", or within bounds "7-8 %".')
@click.option("--reference", default="", help="A rate that it floats with: SOFR; `books add rate` fixes it.")
@click.option("--margin", default="", help='On top of the reference rate: "3.5 %".')
@click.option("--initial", default="", help='LTV at which it is given: "60 %".')
@click.option("--call", default="", help="LTV above which more must be pledged.")
@click.option("--release", default="", help="LTV below which coins come back.")
@click.option("--liquidation", default="", help="LTV above which the coins are sold.")
@click.option("--cure-hours", type=click.IntRange(0, 100_000), help="How long a call may stand.")
@click.option(
    "--may-rehypothecate", type=click.Choice(["yes", "no", "unknown"]), default="unknown", show_default=True,
    help="Whether the lender may sell or re-pledge the coins.",
)  # fmt: skip
def loan(
    lender: str, amount: Decimal, currency: str, cure_hours: int | None, may_rehypothecate: Any, **more: Any
) -> None:
    """The terms of a loan, as far as they are known, and what is drawn of it now."""
    words = {name: more.pop(name) for name in ("rate", "margin", "initial", "call", "release", "liquidation")}
    reference = more.pop("reference")

    def make(provenance: dict[str, Any], _: Bookkeeper) -> list[AnyRecord]:
        known_currency(currency)
        if words["rate"] and reference:
            raise ValueError("--rate and --reference are both given; a floating loan has --reference and --margin")
        if words["margin"] and not reference:
            raise ValueError("--margin is on top of a --reference; name it, or give the whole as --rate")
        try:
            cell = SheetRow(1, words, decimal_comma=False)
            terms = {name: cell.ratio(name) for name in words}
        except SheetError as error:
            raise ValueError(str(error).removeprefix("line 1, ")) from error
        made: list[AnyRecord] = [
            Loan(
                **provenance, loan_id=more["name"], lender=lender, currency=currency, rate=terms["rate"],
                initial_ltv=terms["initial"], call_ltv=terms["call"], release_ltv=terms["release"],
                liquidation_ltv=terms["liquidation"], cure_hours=cure_hours, may_rehypothecate=may_rehypothecate,
                reference=reference, margin=terms["margin"],
            )
        ]  # fmt: skip
        if amount:
            made.append(
                LoanFlow(
                    **provenance, flow_id=f"{more['name']} drawn", loan_id=more["name"], what="drawn", amount=amount
                )
            )
        return made

    enter(make, **more)


@click.command()
@entered
@click.option("--rate", required=True, help='A year, from --at on: "4.31 %".')
def rate(rate: str, **common: Any) -> None:
    """What a reference rate (--id: its name, SOFR) was fixed at."""

    def make(provenance: dict[str, Any], _: Bookkeeper) -> list[AnyRecord]:
        return [RateFixing(**provenance, reference=common["name"], rate=fixed_rate(rate))]

    enter(make, **common)


@click.command()
@entered
@click.option("--loan", "loan_id", required=True)
@click.option("--amount", type=USD, required=True, help="In the loan's currency.")
@click.option(
    "--as", "what", type=click.Choice(["repaid", "interest", "fee", "drawn"]), default="repaid", show_default=True
)
@pending_option
def repay(loan_id: str, amount: Decimal, what: Any, pending: bool, **common: Any) -> None:
    """Money of a loan: repaid, paid as interest or fee, or drawn again."""
    state: MoneyState = "pending" if pending else "posted"

    def make(provenance: dict[str, Any], _: Bookkeeper) -> list[AnyRecord]:
        return [LoanFlow(**provenance, flow_id=common["name"], loan_id=loan_id, what=what, amount=amount, state=state)]

    enter(make, **common)


@click.command()
@entered
@click.option("--payee", required=True)
@click.option("--amount", type=USD, required=True)
@click.option("--for", "expense", required=True, help="Hosting, Salaries, Repairs ...: the expense's name.")
@click.option("--due", type=When(), help="When it is due.")
@click.option("--site", default="", help="The site it is for.")
def bill(payee: str, amount: Decimal, expense: str, due: date | None, site: str, **common: Any) -> None:
    """What is owed to somebody."""

    def make(provenance: dict[str, Any], keeper: Bookkeeper) -> list[AnyRecord]:
        until = None if due is None else begun(due, keeper.policy.zone)
        return [
            VendorBill(
                **provenance,
                bill_id=common["name"],
                payee=payee,
                amount_usd=amount,
                expense=expense,
                due=until,
                site_id=site,
            )
        ]

    enter(make, **common)


@click.command()
@entered
@click.option("--party", required=True, help="A payee, a site for its power, a tenant.")
@click.option("--amount", type=USD, required=True, help="What was paid; negative: received.")
@click.option(
    "--settles", type=click.Choice(["power", "payable", "invoice", "grid"]), default="payable", show_default=True
)
@pending_option
def payment(party: str, amount: Decimal, settles: Any, pending: bool, **common: Any) -> None:
    """Money paid for what is owed, or received for what others owe."""
    state: MoneyState = "pending" if pending else "posted"

    def make(provenance: dict[str, Any], _: Bookkeeper) -> list[AnyRecord]:
        return [
            Payment(
                **provenance, payment_id=common["name"], party=party, amount_usd=amount, settles=settles, state=state
            )
        ]

    enter(make, **common)


@click.command()
@entered
@click.option("--amount", type=USD, required=True)
@click.option("--status", type=click.Choice(["signed", "closed"]), required=True, help="Only closed brings the money.")
@click.option("--shares", type=click.IntRange(1))
@click.option("--investor", default="")
def equity(amount: Decimal, status: Any, shares: int | None, investor: str, **common: Any) -> None:
    """Shares sold."""

    def make(provenance: dict[str, Any], _: Bookkeeper) -> list[AnyRecord]:
        return [
            Equity(
                **provenance,
                issue_id=common["name"],
                amount_usd=amount,
                status=status,
                shares=shares,
                investor=investor,
            )
        ]

    enter(make, **common)


OWED = (loan, rate, repay, bill, payment, equity)

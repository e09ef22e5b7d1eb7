"""What a treasury holds and owes, out of the books."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal

from tieline.books.accounts import CASH, COINS, COLLATERAL, IMMATURE, PLEDGED, is_held
from tieline.books.keeper import Bookkeeper
from tieline.books.treasury.ladder import Holding, Secured
from tieline.books.treasury.obligations import debts, pledged_btc
from tieline.ledger import BTC, USD, Book, under
from tieline.records import Loan, RateFixing


def holding_of(keeper: Bookkeeper) -> Holding:
    """Free coins, loans in order of their names, cash in USD, and every lot that is one's own."""
    book = keeper.book
    accounts = sorted({account for account, commodity in book.balances() if commodity == BTC})
    own = [account for account in accounts if account.startswith(f"{COINS}:")]
    loans = tuple(
        Secured(
            loan.loan_id,
            debts(book, loan),
            pledged_btc(book, loan),
            loan.currency,
            loan.initial_ltv,
            loan.call_ltv,
            loan.release_ltv,
            loan.liquidation_ltv,
            loan.cure_hours,
            loan.may_rehypothecate,
        )
        for _, loan in sorted(keeper.loans.items())
    )
    lots = tuple(lot for account in own for lot in book.lots(account))
    in_state: dict[str, Decimal] = defaultdict(Decimal)
    for account in own:
        in_state[_state_of(account)] += book.balance(account, BTC)
    return Holding(in_state["free"], loans, book.balance(CASH, USD), lots, in_state["held"], in_state["immature"])


def accounts_in(book: Book, state: str) -> tuple[str, ...]:
    """Accounts of bitcoin that is free, pledged (claims on what lenders may sell included), held or immature."""
    coins = sorted({account for account, commodity in book.balances() if commodity == BTC})
    own = (account for account in coins if account.startswith(f"{COINS}:") and _state_of(account) == state)
    claims = (account for account in coins if state == "pledged" and under(COLLATERAL, account))
    return (*own, *claims)


def _state_of(account: str) -> str:
    """Of an account of one's own coins: pledged, held for something pending, immature or free."""
    if under(PLEDGED, account):
        return "pledged"
    if is_held(account):
        return "held"
    return "immature" if account == IMMATURE else "free"


def _rate_unknown(loan: Loan, fixings: Sequence[RateFixing]) -> str:
    """Why a loan's interest cannot be reckoned; empty: it can."""
    if not loan.reference:
        if loan.rate is not None and loan.rate.exact is not None:
            return ""
        return f"its rate is {'not known' if loan.rate is None else 'only known within bounds'}"
    if loan.margin is not None and loan.margin.exact is None:
        return f"its margin over {loan.reference} is only known within bounds"
    if not any(one.reference == loan.reference for one in fixings):
        return f"what {loan.reference} was fixed at is not known (`tieline books add rate --id {loan.reference}`)"
    return ""


def open_questions(keeper: Bookkeeper) -> tuple[str, ...]:
    """What the statements cannot be final without."""
    questions = []
    for name, loan in sorted(keeper.loans.items()):
        if loan.may_rehypothecate == "unknown" and pledged_btc(keeper.book, loan) > 0:
            questions.append(
                f"{name}: whether {loan.lender} may sell or re-pledge the coins is not known; if it may, they leave "
                "the balance sheet and a receivable stands for them"
            )
        unknown = _rate_unknown(loan, keeper.fixings)
        if unknown and debts(keeper.book, loan) > 0:
            questions.append(f"{name}: {unknown}; no interest is accrued")
    return tuple(questions)

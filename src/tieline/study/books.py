"""The opening position of a study out of the books: cash, free coins, and loans with what is pledged for them.

The books' money is exact; a study takes it as a number to start from, and its own figures are estimates.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from tieline.books.treasury.ladder import Holding, Secured
from tieline.config.lines import MistakeError
from tieline.records import Loan
from tieline.study.file import Study, StudyLoan

# Owed in dollars, whatever coin they come in.
DOLLARS: Final = ("USD", "USDT", "USDC")


def opened(study: Study, holding: Holding, loans: Mapping[str, Loan], now: datetime) -> Study:
    """The study with what the books hold and owe at `now`. A loan that the file names as an opening loan keeps the
    file's terms. Raises MistakeError where the books do not know a loan's rate or end."""
    own = {loan.name for loan in study.loan if loan.opening}
    owed = [one for one in holding.loans if one.debt > 0]
    opening = tuple(_opening(study, one, loans[one.loan_id]) for one in owed if one.loan_id not in own)
    words = f"books at {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC: {holding.free + holding.held:f} BTC not pledged"
    owes = "loan that owes" if len(owed) == 1 else "loans that owe"
    words += f", {len(owed)} {owes} {holding.debt:,.2f}" if owed else ", no loans"
    money = msgspec.structs.replace(
        study.money,
        opening_cash_usd=float(holding.cash),
        opening_btc=float(holding.free + holding.held),
        opening_source=words,
    )
    return msgspec.structs.replace(study, money=money, loan=(*study.loan, *opening))


def _opening(study: Study, one: Secured, terms: Loan) -> StudyLoan:
    at, name = ("loan", len(study.loan)), one.loan_id
    fix = f'write a [[loan]] with name = "{name}", opening = true, its usd, rate and term_months'
    if terms.rate is None:
        raise MistakeError(at, f"the books do not know the rate of the loan {name}", fix)
    if terms.matures is None:
        raise MistakeError(at, f"the books do not know when the loan {name} ends", fix)
    currency = "USD" if one.currency in DOLLARS else one.currency
    if currency != "USD" and currency not in study.assume.fx:
        raise MistakeError(
            at, f"the loan {name} is owed in {currency}", f"add [assume.fx.{currency}], USD for one {currency}"
        )
    rate = 1.0 if currency == "USD" else study.assume.fx[currency].start
    months = study.month(f"{terms.matures:%Y-%m}") + 1
    return StudyLoan(
        name=name,
        usd=float(one.debt) * rate,
        # Of a rate that is known within bounds, the dearer; what is past its end is due at once.
        rate=float(terms.rate.high),
        term_months=min(max(1, months), 600),
        repaid="at the end",
        opening=True,
        currency=currency,
        value_at_most=None if one.liquidation is None else float(one.liquidation.low),
        collateral_btc=float(one.pledged),
    )

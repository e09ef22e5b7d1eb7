"""The chart of accounts, and lines that all entries share."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from tieline.ledger import Amount, EntryError, LotHeld, Posting

COINS = "Assets:Bitcoin"
TREASURY = f"{COINS}:Treasury"
PLEDGED = f"{COINS}:Pledged"
# Coins that a lender may sell are no longer one's own; what is owned is the claim to as many.
COLLATERAL = "Assets:CollateralReceivable"
CASH = "Assets:Cash"
# What bitcoin came from and went to, each kind apart: a month's roll-forward is how these moved.
TRADING_BTC, TRADING_USD = "Trading:Bitcoin", "Trading:USD"
OPENED, MINED, BOUGHT, SOLD, SPENT, ENTERED = (
    f"{TRADING_BTC}:{word}" for word in ("Opening", "Mined", "Bought", "Sold", "NetworkFees", "Entered")
)
GAIN = "Income:RealisedGain"
# What fair value is above cost, as of the last close, and its change in income (ASC 350-60-35-1).
FAIR_VALUE, UNREALISED = "Assets:BitcoinFairValue", "Income:UnrealisedGain"
# What other money was worth in USD when it came, against how much of it there is.
CURRENCIES = "Trading:Currencies"
# By IFRS: what cost is above what it may be carried at (IAS 36), or what it is revalued by, against equity and, below
# cost, against profit (IAS 38.85, 86). Of coins sold, what they were revalued by is no gain, and their surplus is kept.
IMPAIRED, IMPAIRMENT = "Assets:BitcoinImpairment", "Expenses:BitcoinImpairment"
REVALUED, SURPLUS = "Assets:BitcoinRevaluation", "Equity:RevaluationSurplus"
REVALUED_BELOW, REVALUED_SOLD = "Expenses:BitcoinRevaluation", f"{GAIN}:RevaluedBefore"
KEPT_SURPLUS = "Equity:RetainedEarnings:RevaluationSurplus"
# What bitcoin is carried at above its cost, by whichever of them.
ABOVE_COST = (FAIR_VALUE, IMPAIRED, REVALUED)


def account_of(name: str) -> str:
    """A name as a part of an account: colons would begin another part."""
    return name.replace(":", "-").strip() or "unnamed"


# Rewards of one's own blocks, until they can be spent; only `matured_id` takes them out.
IMMATURE_PLACE = "Immature"
IMMATURE = f"{COINS}:{IMMATURE_PLACE}"


def coins_at(place: str) -> str:
    """The account of coins at a place of one's own. Raises EntryError for a name that would be a pledge's, or that of
    coins which cannot be spent yet."""
    name = account_of(place)
    if name == IMMATURE_PLACE:
        raise EntryError(
            "a block's reward cannot be spent for 100 blocks; `tieline books add matured` says when it can"
        )
    if name == "Pledged":
        raise EntryError("a place may not be called Pledged; pledge coins for a loan with `tieline books add pledge`")
    return f"{COINS}:{name}"


# Coins that wait for what was begun with them: to be sold (posted), or to go back (voided). Nothing else takes them.
HELD = "Held "


def matured_id(payout_id: str) -> str:
    """The transfer that takes a block's reward to where it lies once it can be spent."""
    return f"matured {payout_id}"


def held_place(hold_id: str) -> str:
    """The place of coins that are held for something pending."""
    return f"{HELD}{hold_id}"


def is_held(account: str) -> bool:
    """Whether coins or cash of an account wait for something pending."""
    return account.startswith((f"{COINS}:{HELD}", f"{CASH}:{HELD}"))


def cash_held(name: str) -> str:
    """The account of cash that is set apart for something pending."""
    return f"{CASH}:{HELD}{account_of(name)}"


def above_zero(what: str, field: str, value: Decimal | int) -> None:
    """Raises EntryError, naming the field, unless it is a number above 0."""
    if not Decimal(value).is_finite() or value <= 0:
        raise EntryError(f"{what}: {field} is {value}; it must be above 0")


def leaving(taken: Iterable[tuple[LotHeld, Decimal, Decimal]]) -> tuple[Posting, ...]:
    """Postings that take parts of lots out of where they lie, each with its cost and date."""
    return tuple(
        Posting(
            held.account, Amount(-part, held.commodity), held.lot, Amount(-cost, held.cost_commodity), acquired=held.at
        )
        for held, part, cost in taken
    )

"""An opening of a lot told anew, of which a part has left already.

What is left of the lot is exchanged for the new one, less what was moved (which keeps the cost it left with) and what
was sold (at its share of the new cost; the difference corrects the gain). Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from tieline.books.accounts import GAIN, TRADING_USD, leaving
from tieline.ledger import Amount, Entry, EntryError, LotHeld, Posting, ShortError, mirrored, usd


@dataclass(frozen=True, slots=True)
class _Left:
    """Where the coins of a lot are now: still `here`, moved `away`, or sold."""

    here: tuple[LotHeld, ...]
    away: tuple[LotHeld, ...]
    sold: Decimal
    sold_cost: Decimal

    @classmethod
    def of(cls, was: Posting, parts: Sequence[LotHeld]) -> _Left:
        assert was.cost is not None
        here = tuple(part for part in parts if part.account == was.account)
        away = tuple(part for part in parts if part.account != was.account)
        number, cost = _sum(parts)
        return cls(here, away, was.amount.number - number, was.cost.number - cost)


def _sum(parts: Sequence[LotHeld]) -> tuple[Decimal, Decimal]:
    return sum((part.number for part in parts), Decimal(0)), sum((part.cost for part in parts), Decimal(0))


def restated(old: Entry, new: Entry, parts: Sequence[LotHeld], known_at: datetime) -> Entry:
    """The one entry that corrects `old` (which opened a lot) to `new`; `parts` is what is left of the lot, anywhere.

    Raises EntryError where it is told to be something else, or more has left than there now is.
    """
    was, opens = _one_lot(old, new)
    assert opens.cost is not None
    coins, cost = opens.amount, opens.cost
    left = _Left.of(was, parts)
    away_n, away_cost = _sum(left.away)
    here_n = coins.number - left.sold - away_n
    if here_n < 0:
        raise ShortError(f"entry {old.key}: {left.sold + away_n} {coins.commodity} have left of what is now {coins}")
    sold_cost = usd(cost.number * left.sold / coins.number).number
    here_cost = cost.number - sold_cost - away_cost
    if here_cost < 0 or (here_n == 0 and here_cost != 0):
        raise EntryError(f"entry {old.key}: what has left cost more than it is now told to have cost in all")
    gain = sold_cost - left.sold_cost
    lines = [p for entry in (mirrored(old, "", "", old.at, known_at), new) for p in entry.postings if p.lot is None]
    postings = [*leaving([(part, part.number, part.cost) for part in left.here]), *lines]
    if here_n:
        amount, at = Amount(here_n, coins.commodity), was.acquired or old.at
        postings.append(Posting(was.account, amount, new.key, Amount(here_cost, cost.commodity), at))
    # The other lines of both entries carry the whole cost through the trading account; a part of it left before.
    postings += [Posting(TRADING_USD, usd(-gain)), Posting(GAIN, usd(gain))]
    words = f"told anew: {new.narration}"
    return replace(new, narration=words, postings=tuple(postings), known_at=known_at, reverses=old.key)


def _one_lot(old: Entry, new: Entry) -> tuple[Posting, Posting]:
    """The lots that both open. Raises EntryError where either does anything else with lots."""
    mine, theirs = ([p for p in entry.postings if p.lot is not None] for entry in (old, new))
    if len(mine) != 1 or len(theirs) != 1 or theirs[0].account != mine[0].account or theirs[0].amount.number < 0:
        raise EntryError(f"entry {old.key}: its lot has partly left and is now told to be something else")
    return mine[0], theirs[0]

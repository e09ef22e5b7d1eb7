"""Checks of coins in and out: what was held, mined, bought, sold, paid, and what is left over.

Only coins enter: equivalents of power sales are taken out where the balance closes only without them.
The residual is opening + in - out - closing: above zero, coins left that no printed line explains; below
zero, coins came in that were not mined.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from tieline.disclosures.comparison.derive import Term
from tieline.disclosures.comparison.derive import produced as produced_in
from tieline.disclosures.facts import periods
from tieline.disclosures.facts.book import ClaimBook
from tieline.disclosures.facts.claims import Claim, slack
from tieline.disclosures.facts.verdict import Outcome, Verdict, show, verdict


@dataclass(frozen=True)
class Movement:
    """A month's coins. `sold` None: no figure was printed, which is not zero. Only production may be computed
    (a quarter less its other months)."""

    opening: Claim
    produced: Term
    closing: Claim
    sold: Claim | None
    bought: Claim | None
    fees: Claim | None
    equivalents: Claim | None
    announced: tuple[Claim, ...]
    other: tuple[Claim, ...] = ()
    """What came (below zero: went) otherwise and was printed: brought in, back from lenders, by entries."""

    @property
    def printed(self) -> list[Claim]:
        parts = (self.opening, *self.produced.claims, self.bought, *self.other, self.sold, self.fees, self.closing)
        return [claim for claim in parts if claim is not None]

    @property
    def tolerance(self) -> Decimal:
        return sum((slack(claim) for claim in self.printed), Decimal(0))

    @property
    def implied_out(self) -> Decimal:
        """What left the balance, net of what was printed to have come: opening + mined + bought - closing."""
        came = sum((claim.value for claim in (self.bought, *self.other) if claim is not None), Decimal(0))
        return self.opening.value + self.produced.value + came - self.closing.value

    @property
    def told_out(self) -> Decimal | None:
        """What was said to have left: sold (or announced, where no total was printed) and fees."""
        if self.sold is not None:
            sold_out = self.sold.value
        elif self.announced:
            sold_out = sum((claim.value for claim in self.announced), Decimal(0))
        else:
            return None
        return sold_out + (self.fees.value if self.fees is not None else Decimal(0))

    @property
    def unexplained(self) -> Decimal | None:
        sold_out = self.told_out
        return None if sold_out is None else self.implied_out - sold_out

    def sums(self) -> str:
        """`7,528.3 + 496.35 - 550.03`, with what was printed."""
        text = f"{show(self.opening.value)} + {show(self.produced.value)}"
        if self.produced.computed is not None:
            text = f"{show(self.opening.value)} + ({self.produced.computed})"
        for sign, claim in (("+", self.bought), ("-", self.sold), ("-", self.fees)):
            if claim is not None and (claim.value != 0 or claim is self.sold):
                text += f" {sign} {show(claim.value)}"
        for claim in self.other:
            text += f" {'-' if claim.value < 0 else '+'} {show(abs(claim.value))}"
        return text


_OTHER = ("btc_brought_in", "btc_lenders_net", "btc_entered_net")


def movement(book: ClaimBook, issuer: str, month: str) -> Movement | None:
    """The month's movement, where opening, production and closing were printed."""
    opening = book.best(issuer, month, "btc_open") or book.at_end(issuer, periods.previous(month), "btc_held_end")
    produced = produced_in(book, issuer, month)
    closing = book.at_end(issuer, month, "btc_held_end")
    if opening is None or produced is None or closing is None:
        return None
    return Movement(
        opening=opening,
        produced=produced,
        closing=closing,
        sold=book.best(issuer, month, "btc_sold"),
        bought=book.best(issuer, month, "btc_purchased"),
        fees=book.best(issuer, month, "service_fee_btc"),
        equivalents=book.best(issuer, month, "btc_equivalent_not_coins"),
        announced=announced(book, issuer, month),
        other=tuple(claim for name in _OTHER if (claim := book.best(issuer, month, name)) is not None),
    )


def announced(book: ClaimBook, issuer: str, month: str) -> tuple[Claim, ...]:
    """Sales announced for the month or a day in it: one claim, the best, for each."""
    named = [period for period in book.periods(issuer) if period[:7] == month and "Q" not in period]
    claims = [claim for period in named if (claim := book.best(issuer, period, "btc_announced_sale")) is not None]
    dated = {claim.value for claim in claims if len(claim.fact.period) == 10}
    # One sale told with its day and, elsewhere, only for the month is one sale.
    return tuple(claim for claim in claims if len(claim.fact.period) == 10 or claim.value not in dated)


def roll_forward(book: ClaimBook, issuer: str, month: str) -> Iterator[Verdict]:
    if not periods.is_month(month) or (moved := movement(book, issuer, month)) is None:
        return
    used = [moved.closing, *(claim for claim in moved.printed if claim is not moved.closing), *moved.announced]
    residual = moved.unexplained
    if residual is None:
        yield _untold(moved, used, month)
        return
    if moved.sold is None:
        yield _announced_only(moved, used, month, residual)
        return
    computed = moved.closing.value + residual
    line = f"{moved.sums()} = {show(computed)}; printed {show(moved.closing.value)}; residual {show(residual)}"
    if residual == 0:
        yield verdict("roll-forward", used, "holds", line, "The balance closes exactly.", residual, period=month)
    elif abs(residual) <= moved.tolerance:
        says = f"The balance closes to {show(abs(residual))} BTC, within the printed decimals."
        yield verdict("roll-forward", used, "rounding", line, says, residual, period=month)
    elif moved.equivalents is not None and residual == moved.equivalents.value:
        used.append(moved.equivalents)
        line += f"; without {show(moved.equivalents.value)} of equivalents 0"
        says = (
            f"It closes only without the {show(residual)} BTC of power-sale equivalents: no coins were mined for them."
        )
        yield verdict("roll-forward", used, "explained", line, says, residual, period=month)
    elif residual > 0:
        says = f"{show(residual)} BTC left the balance that no printed line explains."
        yield verdict("roll-forward", used, "differs", line, says, residual, period=month)
    else:
        came_in = f"{show(-residual)} BTC came in that were not mined"
        says = f"{came_in}: a purchase or a receipt, printed elsewhere or not at all."
        yield verdict("roll-forward", used, "differs", line, says, residual, period=month)


def _announced_only(moved: Movement, used: list[Claim], month: str, rest: Decimal) -> Verdict:
    sold_out = moved.told_out
    assert sold_out is not None
    line = (
        f"{moved.sums()} - {show(moved.closing.value)} = {show(moved.implied_out)} left; "
        f"announced {show(sold_out)}; rest {show(rest)}"
    )
    if abs(rest) <= moved.tolerance:
        says = "The announced sales are what left the balance."
        return verdict("roll-forward", used, "rounding", line, says, rest, period=month)
    says = f"{show(rest)} BTC more left the balance than was announced; no total of sales was found."
    return verdict("roll-forward", used, "differs", line, says, rest, period=month)


def _untold(moved: Movement, used: list[Claim], month: str) -> Verdict:
    out = moved.implied_out
    line = f"{moved.sums()} - {show(moved.closing.value)} = {show(out)} left the balance; no sale was printed"
    if abs(out) <= moved.tolerance:
        outcome: Outcome = "holds" if out == 0 else "rounding"
        return verdict("roll-forward", used, outcome, line, "Nothing left the balance.", out, period=month)
    if out < 0:
        says = f"{show(-out)} BTC came in that were not mined: a purchases line is missing."
        return verdict("roll-forward", used, "differs", line, says, out, period=month)
    says = f"{show(out)} BTC left; whether sold, paid or lent was not printed."
    return verdict("roll-forward", used, "open", line, says, out, period=month)


def quarter_roll_forward(book: ClaimBook, issuer: str, period: str) -> Iterator[Verdict]:
    """Opening of the quarter + mined - closing = what left; against every sale printed or announced in it."""
    if not periods.is_quarter(period):
        return
    names = periods.months_of(period)
    opening = book.at_end(issuer, periods.previous(names[0]), "btc_held_end")
    produced = book.best(issuer, period, "btc_produced")
    closing = book.at_end(issuer, names[-1], "btc_held_end")
    if opening is None or produced is None or closing is None:
        return
    claims: list[Claim] = []
    for month in names:
        sold = book.best(issuer, month, "btc_sold")
        claims.extend([sold] if sold is not None else announced(book, issuer, month))
    out = opening.value + produced.value - closing.value
    used = [closing, opening, produced, *claims]
    head = f"{show(opening.value)} + {show(produced.value)} - {show(closing.value)} = {show(out)} left"
    tolerance = sum((slack(claim) for claim in (opening, produced, closing)), Decimal(0))
    if abs(out) <= tolerance:
        says = "Nothing left the balance in the quarter: its closing fits the quarter's production."
        yield verdict("quarter-roll-forward", used, "holds", head, says, out, period=period)
        return
    if not claims:
        says = f"{show(out)} BTC left in the quarter; no sale was printed."
        yield verdict("quarter-roll-forward", used, "open", head, says, out, period=period)
        return
    total = sum((claim.value for claim in claims), Decimal(0))
    rest = out - total
    line = f"{head}; told {' + '.join(show(claim.value) for claim in claims)} = {show(total)}; rest {show(rest)}"
    if abs(rest) <= tolerance + sum((slack(claim) for claim in claims), Decimal(0)):
        says = "Printed and announced sales are what left the balance."
        yield verdict("quarter-roll-forward", used, "rounding", line, says, rest, period=period)
    else:
        share = rest / out * 100 if out else Decimal(0)
        says = f"{show(rest)} BTC ({show(share, 1)} % of the outflow) left without an announcement found."
        yield verdict("quarter-roll-forward", used, "differs", line, says, rest, period=period)


def announced_sale(book: ClaimBook, issuer: str, period: str) -> Iterator[Verdict]:
    """What articles state as held before and after a sale of a day or a month, against the last month end."""
    if not (periods.is_date(period) or periods.is_month(period)):
        return
    sale = book.best(issuer, period, "btc_announced_sale")
    opening = book.at_end(issuer, periods.previous(period[:7]), "btc_held_end")
    if opening is None:
        return
    for claim in book.claims(issuer, period, "btc_held_before_sale"):
        off = claim.value - opening.value
        line = f"{show(claim.value)} - {show(opening.value)} printed at the last month end = {show(off)}"
        if abs(off) <= slack(claim) + slack(opening):
            says = "The holding before the sale is the last month's closing."
            yield verdict("announced-sale", [claim, opening], "holds", line, says, off, apart=claim.mark)
        else:
            way = "high" if off > 0 else "low"
            says = f"The source starts {show(abs(off))} BTC too {way}: it is not reconciled to the issuer."
            yield verdict("announced-sale", [claim, opening], "differs", line, says, off, apart=claim.mark)
    if sale is None:
        return
    after = opening.value - sale.value
    for claim in book.claims(issuer, period, "btc_held_after_sale"):
        off = claim.value - after
        used = [claim, opening, sale]
        line = f"{show(opening.value)} - {show(sale.value)} = {show(after)}; printed {show(claim.value)}"
        if abs(off) <= slack(claim) + slack(opening) + slack(sale):
            yield verdict("announced-sale", used, "holds", line, "The sale closes.", off, apart=claim.mark)
        elif abs(claim.value - opening.value) < 1:
            says = f"The source is wrong: {show(opening.value)} is the balance before the sale, not after it."
            yield verdict("announced-sale", used, "explained", line, says, off, apart=claim.mark)
        else:
            line += f"; {show(off)} apart"
            says = f"The source is {show(abs(off))} BTC too {'high' if off > 0 else 'low'}."
            yield verdict("announced-sale", used, "differs", line, says, off, apart=claim.mark)

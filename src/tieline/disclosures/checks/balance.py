"""Checks of coins in and out: what was held, mined, bought, sold, paid, and what is left over.

Only coins enter: equivalents of power sales are taken out where the balance closes only without them.
The residual is opening + in - out - closing: above zero, coins left that no printed line explains; below
zero, coins came in that were not mined.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from tieline.disclosures.comparison.derive import Term, produced_in
from tieline.disclosures.facts import periods
from tieline.disclosures.facts.book import IssuerPeriod
from tieline.disclosures.facts.claims import Claim, slack, total
from tieline.disclosures.facts.verdict import Judged, Verdict, addends, show, verdict


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
        return slack(*self.printed)

    @property
    def implied_out(self) -> Decimal:
        """What left the balance, net of what was printed to have come: opening + mined + bought - closing."""
        came = total(claim for claim in (self.bought, *self.other) if claim is not None)
        return self.opening.value + self.produced.value + came - self.closing.value

    @property
    def told_out(self) -> Decimal | None:
        """What was said to have left: sold (or announced, where no total was printed) and fees."""
        told = self.announced if self.sold is None else (self.sold,)
        return total((*told, *((self.fees,) if self.fees is not None else ()))) if told else None

    @property
    def unexplained(self) -> Decimal | None:
        sold_out = self.told_out
        return None if sold_out is None else self.implied_out - sold_out

    def sums(self) -> str:
        """`7,528.3 + 496.35 - 550.03`, with what was printed."""
        mined = show(self.produced.value) if self.produced.computed is None else f"({self.produced.computed})"
        text = f"{show(self.opening.value)} + {mined}"
        for sign, claim in (("+", self.bought), ("-", self.sold), ("-", self.fees)):
            if claim is not None and (claim.value != 0 or claim is self.sold):
                text += f" {sign} {show(claim.value)}"
        for claim in self.other:
            text += f" {'-' if claim.value < 0 else '+'} {show(abs(claim.value))}"
        return text


def movement(month: IssuerPeriod) -> Movement | None:
    """The month's movement, where opening, production and closing were printed."""
    opening = month.best("btc_open") or month.before.at_end("btc_held_end")
    produced, closing = produced_in(month), month.at_end("btc_held_end")
    if opening is None or produced is None or closing is None:
        return None
    return Movement(
        opening=opening,
        produced=produced,
        closing=closing,
        sold=month.best("btc_sold"),
        bought=month.best("btc_purchased"),
        fees=month.best("service_fee_btc"),
        equivalents=month.best("btc_equivalent_not_coins"),
        announced=announced(month),
        other=tuple(month.printed("btc_brought_in", "btc_lenders_net", "btc_entered_net")),
    )


def announced(month: IssuerPeriod) -> tuple[Claim, ...]:
    """Sales announced for the month or a day in it: one claim, the best, for each."""
    named = [p for p in month.book.periods(month.issuer) if p[:7] == month.period and "Q" not in p]
    claims = [claim for p in named if (claim := month.at(p).best("btc_announced_sale")) is not None]
    dated = {claim.value for claim in claims if periods.is_date(claim.fact.period)}
    # One sale told with its day and, elsewhere, only for the month is one sale.
    return tuple(claim for claim in claims if periods.is_date(claim.fact.period) or claim.value not in dated)


def roll_forward(here: IssuerPeriod) -> Iterator[Verdict]:
    if not periods.is_month(here.period) or (moved := movement(here)) is None:
        return
    used = [moved.closing, *(claim for claim in moved.printed if claim is not moved.closing), *moved.announced]
    residual = moved.unexplained
    if residual is None:
        residual, judged = moved.implied_out, _untold(moved)
    elif moved.sold is None:
        judged = _announced_only(moved, residual)
    else:
        judged = _told(moved, residual)
        if judged[0] == "explained" and moved.equivalents is not None:
            used.append(moved.equivalents)
    yield verdict("roll-forward", used, *judged, residual, period=here.period)


def _told(moved: Movement, residual: Decimal) -> Judged:
    """The month's sales were printed."""
    computed = moved.closing.value + residual
    line = f"{moved.sums()} = {show(computed)}; printed {show(moved.closing.value)}; residual {show(residual)}"
    if residual == 0:
        return "holds", line, "The balance closes exactly."
    if abs(residual) <= moved.tolerance:
        return "rounding", line, f"The balance closes to {show(abs(residual))} BTC, within the printed decimals."
    if moved.equivalents is not None and residual == moved.equivalents.value:
        says = (
            f"It closes only without the {show(residual)} BTC of power-sale equivalents: no coins were mined for them."
        )
        return "explained", f"{line}; without {show(residual)} of equivalents 0", says
    if residual > 0:
        return "differs", line, f"{show(residual)} BTC left the balance that no printed line explains."
    came_in = f"{show(-residual)} BTC came in that were not mined"
    return "differs", line, f"{came_in}: a purchase or a receipt, printed elsewhere or not at all."


def _announced_only(moved: Movement, rest: Decimal) -> Judged:
    told = moved.told_out
    assert told is not None
    line = (
        f"{moved.sums()} - {show(moved.closing.value)} = {show(moved.implied_out)} left; "
        f"announced {show(told)}; rest {show(rest)}"
    )
    if abs(rest) <= moved.tolerance:
        return "rounding", line, "The announced sales are what left the balance."
    says = f"{show(rest)} BTC more left the balance than was announced; no total of sales was found."
    return "differs", line, says


def _untold(moved: Movement) -> Judged:
    out = moved.implied_out
    line = f"{moved.sums()} - {show(moved.closing.value)} = {show(out)} left the balance; no sale is in the book"
    if abs(out) <= moved.tolerance:
        return "holds" if out == 0 else "rounding", line, "Nothing left the balance."
    if out < 0:
        return "differs", line, f"{show(-out)} BTC came in that were not mined: a purchases line is missing."
    return "open", line, f"{show(out)} BTC left; whether sold, paid or lent is not in the book."


def quarter_roll_forward(here: IssuerPeriod) -> Iterator[Verdict]:
    """Opening of the quarter + mined - closing = what left; against every sale printed or announced in it."""
    if not periods.is_quarter(here.period):
        return
    months = here.months
    opening, closing = months[0].before.at_end("btc_held_end"), months[-1].at_end("btc_held_end")
    produced = here.best("btc_produced")
    if opening is None or produced is None or closing is None:
        return
    told: list[Claim] = []
    for month in months:
        told.extend(month.printed("btc_sold") or announced(month))
    out = opening.value + produced.value - closing.value
    tolerance = slack(opening, produced, closing)
    residual = out if abs(out) <= tolerance else out - total(told)
    line = f"{show(opening.value)} + {show(produced.value)} - {show(closing.value)} = {show(out)} left"
    judged = _quarter_told(line, out, told, tolerance)
    yield verdict("quarter-roll-forward", [closing, opening, produced, *told], *judged, residual, period=here.period)


def _quarter_told(line: str, out: Decimal, told: list[Claim], tolerance: Decimal) -> Judged:
    if abs(out) <= tolerance:
        return "holds", line, "Nothing left the balance in the quarter: its closing fits the quarter's production."
    if not told:
        return "open", line, f"{show(out)} BTC left in the quarter; no sale is in the book."
    rest = out - total(told)
    line = f"{line}; told {addends(told)} = {show(total(told))}; rest {show(rest)}"
    if abs(rest) <= tolerance + slack(*told):
        return "rounding", line, "Printed and announced sales are what left the balance."
    share = rest / out * 100
    return "differs", line, f"{show(rest)} BTC ({show(share, 1)} % of the outflow) left without an announcement found."


def announced_sale(here: IssuerPeriod) -> Iterator[Verdict]:
    """What articles state as held before and after a sale of a day or a month, against the last month end."""
    if not (periods.is_date(here.period) or periods.is_month(here.period)):
        return
    opening, sale = here.before.at_end("btc_held_end"), here.best("btc_announced_sale")
    if opening is None:
        return
    for claim in here.claims("btc_held_before_sale"):
        off = claim.value - opening.value
        yield verdict("announced-sale", [claim, opening], *_before_sale(claim, opening, off), off, apart=claim.mark)
    for claim in here.claims("btc_held_after_sale"):
        told = sale or _same_text_sold(here, claim, opening)
        if told is not None:
            off = claim.value - (opening.value - told.value)
            used = [claim, opening, told]
            yield verdict("announced-sale", used, *_after_sale(claim, opening, told, off), off, apart=claim.mark)


def _same_text_sold(here: IssuerPeriod, claim: Claim, opening: Claim) -> Claim | None:
    """What the text that states a holding after a sale says was sold in the month.

    A month's sales stand beside what it mined, so they settle one thing only: that the holding is the one before them.
    """
    if abs(claim.value - opening.value) >= 1:
        return None
    return next((sold for sold in here.claims("btc_sold") if sold.source == claim.source and sold.value > 1), None)


def _before_sale(claim: Claim, opening: Claim, off: Decimal) -> Judged:
    line = f"{show(claim.value)} - {show(opening.value)} printed at the last month end = {show(off)}"
    if abs(off) <= slack(claim, opening):
        return "holds", line, "The holding before the sale is the last month's closing."
    way = "high" if off > 0 else "low"
    return "differs", line, f"The source starts {show(abs(off))} BTC too {way}: it is not reconciled to the issuer."


def _after_sale(claim: Claim, opening: Claim, sale: Claim, off: Decimal) -> Judged:
    after = show(opening.value - sale.value)
    line = f"{show(opening.value)} - {show(sale.value)} = {after}; printed {show(claim.value)}"
    if abs(off) <= slack(claim, opening, sale):
        return "holds", line, "The sale closes."
    if abs(claim.value - opening.value) < 1:
        says = f"The source is wrong: {show(opening.value)} is the balance before the sale, not after it."
        return "explained", line, says
    way = "high" if off > 0 else "low"
    return "differs", f"{line}; {show(off)} apart", f"The source is {show(abs(off))} BTC too {way}."

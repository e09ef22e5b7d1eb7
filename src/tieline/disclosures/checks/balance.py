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
from tieline.disclosures.facts.verdict import Verdict, addends, grade, show, verdict

CAME = {
    "btc_purchased": "bought",
    "btc_brought_in": "brought in",
    "btc_lenders_net": "net from lenders",
    "btc_entered_net": "net by entries",
}
"""What a month's balance may gain beside mining (below zero: lose), in words; `_LEFT` is what goes."""
_LEFT = ("btc_sold", "service_fee_btc")


@dataclass(frozen=True)
class Movement:
    """A month's coins. `sold` None: no figure was printed, which is not zero. Only production may be computed
    (a quarter less its other months)."""

    opening: Claim
    produced: Term
    closing: Claim
    came: list[Claim]
    left: list[Claim]
    sold: Claim | None
    equivalents: Claim | None
    announced: tuple[Claim, ...]

    @property
    def printed(self) -> list[Claim]:
        return [self.opening, *self.produced.claims, *self.came, *self.left, self.closing]

    @property
    def tolerance(self) -> Decimal:
        return slack(*self.printed)

    @property
    def implied_out(self) -> Decimal:
        """What left the balance, net of what was printed to have come: opening + mined + bought - closing."""
        return self.opening.value + self.produced.value + total(self.came) - self.closing.value

    @property
    def told_out(self) -> Decimal | None:
        """What was said to have left: sold (or announced, where no total was printed) and fees."""
        if self.sold is not None:
            return total(self.left)
        return total((*self.announced, *self.left)) if self.announced else None

    @property
    def unexplained(self) -> Decimal | None:
        return None if self.told_out is None else self.implied_out - self.told_out

    def sums(self) -> str:
        """`7,528.3 + 496.35 - 550.03`, with what was printed; a zero only of sales."""
        mined = self.produced if self.produced.computed is None else f"({self.produced.computed})"
        text = f"{self.opening} + {mined}"
        for claim in (*self.came, *self.left):
            if claim.value != 0 or claim is self.sold:
                comes = claim in self.came and claim.value > 0
                text += f" {'+' if comes else '-'} {show(abs(claim.value))}"
        return text


def movement(month: IssuerPeriod) -> Movement | None:
    """The month's movement, where opening, production and closing were printed."""
    opening = month.best("btc_open") or month.before.at_end("btc_held_end")
    produced, closing = produced_in(month), month.at_end("btc_held_end")
    if opening is None or produced is None or closing is None:
        return None
    return Movement(
        opening=opening, produced=produced, closing=closing, came=month.printed(*CAME), left=month.printed(*_LEFT),
        sold=month.best("btc_sold"), equivalents=month.best("btc_equivalent_not_coins"), announced=announced(month),
    )  # fmt: skip


def announced(month: IssuerPeriod) -> tuple[Claim, ...]:
    """Sales announced for the month or a day in it: one claim, the best, for each."""
    named = [p for p in month.book.periods(month.issuer) if p[:7] == month.period and "Q" not in p]
    claims = [claim for p in named if (claim := month.at(p).best("btc_announced_sale")) is not None]
    dated = {claim.value for claim in claims if periods.is_date(claim.fact.period)}
    # One sale told with its day and, elsewhere, only for the month is one sale.
    return tuple(claim for claim in claims if periods.is_date(claim.fact.period) or claim.value not in dated)


def roll_forward(here: IssuerPeriod) -> Iterator[Verdict]:
    if (moved := movement(here)) is None:
        return
    used = [moved.closing, *(claim for claim in moved.printed if claim is not moved.closing), *moved.announced]
    residual = moved.unexplained
    if residual is None:
        residual, (finding, line) = moved.implied_out, _untold(moved)
    elif moved.sold is None:
        finding = "announced" if abs(residual) <= moved.tolerance else "unannounced"
        line = f"{moved.sums()} - {moved.closing} = {show(moved.implied_out)} left; announced {moved.told_out:,f}; "
        line += f"rest {show(residual)}"
    else:
        finding, line = _told(moved, residual)
        if finding == "explained" and moved.equivalents is not None:
            used.append(moved.equivalents)
    yield verdict("roll-forward", finding, used, line, residual, period=here.period)


def _told(moved: Movement, residual: Decimal) -> tuple[str, str]:
    """The finding and its computation where the month's sales were printed."""
    line = (
        f"{moved.sums()} = {show(moved.closing.value + residual)}; printed {moved.closing}; residual {show(residual)}"
    )
    outcome = grade(residual, moved.tolerance)
    if outcome != "differs":
        return outcome, line
    if moved.equivalents is not None and residual == moved.equivalents.value:
        return "explained", f"{line}; without {show(residual)} of equivalents 0"
    return "left" if residual > 0 else "came", line


def _untold(moved: Movement) -> tuple[str, str]:
    """The same where no sale was printed or announced."""
    out = moved.implied_out
    line = f"{moved.sums()} - {moved.closing} = {show(out)} left the balance; no sale is in the book"
    if abs(out) <= moved.tolerance:
        return "nothing-left" if out == 0 else "nothing-to-speak-of", line
    return "bought" if out < 0 else "open", line


def quarter_roll_forward(here: IssuerPeriod) -> Iterator[Verdict]:
    """Opening of the quarter + mined - closing = what left; against every sale printed or announced in it."""
    months = here.months
    opening, closing = months[0].before.at_end("btc_held_end"), months[-1].at_end("btc_held_end")
    produced = here.best("btc_produced")
    if opening is None or produced is None or closing is None:
        return
    told = [sale for month in months for sale in month.printed("btc_sold") or announced(month)]
    out = opening.value + produced.value - closing.value
    rest, tolerance = out - total(told), slack(opening, produced, closing)
    line = f"{opening} + {produced} - {closing} = {show(out)} left"
    if abs(out) <= tolerance:
        finding, rest = "holds", out
    elif not told:
        finding = "open"
    else:
        line = f"{line}; told {addends(told)} = {show(total(told))}; rest {show(rest)}"
        finding = "rounding" if abs(rest) <= tolerance + slack(*told) else "differs"
    share = show(rest / out * 100, 1) if out else "0"
    used = [closing, opening, produced, *told]
    yield verdict("quarter-roll-forward", finding, used, line, rest, period=here.period, share=share)


def announced_sale(here: IssuerPeriod) -> Iterator[Verdict]:
    """What articles state as held before and after a sale of a day or a month, against the last month end."""
    opening, sale = here.before.at_end("btc_held_end"), here.best("btc_announced_sale")
    if opening is None:
        return
    for claim in here.claims("btc_held_before_sale"):
        off = claim.value - opening.value
        line = f"{claim} - {opening} printed at the last month end = {show(off)}"
        finding = "opens" if abs(off) <= slack(claim, opening) else "unreconciled"
        yield _of_sale(finding, [claim, opening], line, off)
    for claim in here.claims("btc_held_after_sale"):
        told = sale or _same_text_sold(here, claim, opening)
        if told is None:
            continue
        after = opening.value - told.value
        off, line = claim.value - after, f"{opening} - {told} = {show(after)}; printed {claim}"
        if abs(off) <= slack(claim, opening, told):
            finding = "holds"
        elif abs(claim.value - opening.value) < 1:
            finding = "explained"
        else:
            finding, line = "differs", f"{line}; {show(off)} apart"
        yield _of_sale(finding, [claim, opening, told], line, off)


def _of_sale(finding: str, used: list[Claim], line: str, off: Decimal) -> Verdict:
    claim, opening = used[:2]
    way = "high" if off > 0 else "low"
    return verdict("announced-sale", finding, used, line, off, apart=claim.mark, way=way, opening=opening)


def _same_text_sold(here: IssuerPeriod, claim: Claim, opening: Claim) -> Claim | None:
    """What the text that states a holding after a sale says was sold in the month.

    A month's sales stand beside what it mined, so they settle one thing only: that the holding is the one before them.
    """
    if abs(claim.value - opening.value) >= 1:
        return None
    return next((sold for sold in here.claims("btc_sold") if sold.source == claim.source and sold.value > 1), None)

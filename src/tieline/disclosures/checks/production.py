"""Checks of production against the calendar: averages, changes, quarters."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from tieline.disclosures.facts import periods
from tieline.disclosures.facts.book import ClaimBook
from tieline.disclosures.facts.claims import Claim, places, slack
from tieline.disclosures.facts.verdict import Outcome, Verdict, round_to, show, signed, verdict

_HUNDRED = Decimal(100)
# Months shorter than the calendar by less than this are downtime or rounding, not a start within the month.
_START_WITHIN = Decimal(1)


def average(book: ClaimBook, issuer: str, period: str) -> Iterator[Verdict]:
    """Produced / days = printed average; accepted when cut off instead of rounded (`5.79` printed as `5.7`)."""
    produced = book.best(issuer, period, "btc_produced")
    printed = book.best(issuer, period, "avg_btc_per_day")
    if produced is None or printed is None or periods.is_date(period):
        return
    days = periods.days(period)
    exact = produced.value / days
    residual = printed.value - exact
    line = f"{show(produced.value)} / {days} days = {show(exact, 2)}; printed {show(printed.value)}"
    used = [printed, produced]
    tolerance = slack(printed) + slack(produced) / days
    if round_to(exact, places(printed.value)) == printed.value:
        yield verdict("average", used, "holds", line, "The average is the production over the days.", residual)
    elif abs(residual) <= tolerance:
        says = "The average fits once the production's own rounding is allowed for."
        yield verdict("average", used, "rounding", line, says, residual)
    elif 0 < -residual <= 2 * slack(printed) + slack(produced) / days:
        yield verdict("average", used, "rounding", line, "The average is truncated, not rounded.", residual)
    elif printed.value > exact >= 0 and (active := produced.value / printed.value) <= days - _START_WITHIN:
        line = f"{line}; {show(produced.value)} / {show(printed.value)} = {show(active, 2)} active days"
        held = book.at_end(issuer, period, "btc_held_end")
        if held is not None and held.value == produced.value:
            # All that is held was mined in this month: nothing was held before, so mining began within it.
            says = f"The average is over the {show(active, 2)} days of mining, not over the {days} days of the month."
            yield verdict("average", [*used, held], "explained", line, says, residual)
        else:
            says = "The average is too high, and nothing printed says that mining began within the month."
            yield verdict("average", used, "differs", line, says, residual)
    else:
        yield verdict("average", used, "differs", line, "The average is not the production over the days.", residual)


def active_days(book: ClaimBook, issuer: str, month: str) -> Decimal | None:
    """Days of mining in a month that began within it, from production / average; None for a full month."""
    for judged in average(book, issuer, month):
        if judged.outcome == "explained":
            produced = book.best(issuer, month, "btc_produced")
            printed = book.best(issuer, month, "avg_btc_per_day")
            assert produced is not None
            assert printed is not None
            return produced.value / printed.value
    return None


def growth(book: ClaimBook, issuer: str, period: str) -> Iterator[Verdict]:
    """A printed percentage of change against the two figures it compares."""
    if not periods.is_month(period):
        return
    for claim in book.in_period(issuer, period):
        field = claim.fact.field
        if field == "mom_pct":
            yield from _whose_change(book, claim)
        elif field.endswith("_mom_pct"):
            yield from _one_change(book, claim, field.removesuffix("_mom_pct"))


def _one_change(book: ClaimBook, claim: Claim, field: str) -> Iterator[Verdict]:
    issuer, month = claim.fact.issuer or "unknown", claim.fact.period
    base = book.best(issuer, periods.previous(month), field)
    candidates = book.claims(issuer, month, field)
    # The article's own figure first: a percentage belongs to the number printed beside it.
    now = next((other for other in candidates if other.source == claim.source), book.best(issuer, month, field))
    if base is None or base.value == 0 or now is None:
        return
    exact = (now.value / base.value - 1) * _HUNDRED
    outcome, says = _against(claim, exact)
    if outcome == "differs" and _within(claim, now, base):
        outcome, says = "rounding", "The percentage fits once the rounding of the two figures is allowed for."
    line = f"{show(now.value)} / {show(base.value)} - 1 = {signed(exact, 2)} %; printed {signed_as(claim)} %"
    used = [claim, now, base]
    others = [other for other in candidates if other.value != now.value]
    if others:
        also = (others[0].value / base.value - 1) * _HUNDRED
        line += f"; with {show(others[0].value)} of another source {signed(also, 2)} %"
    prior = _named_before(book, claim, field)
    if outcome == "differs" and prior is not None and prior.value != 0:
        own = (now.value / prior.value - 1) * _HUNDRED
        used.append(prior)
        line += f"; from the {show(prior.value)} that the article names {signed(own, 1)} %"
        if _against(claim, own)[0] != "differs":
            says = (
                f"The comparison base is wrong or counts something else: the article starts from "
                f"{show(prior.value)}, the month before was printed as {show(base.value)}."
            )
    yield verdict("growth", used, outcome, line, says, claim.value - exact, apart=claim.mark)


def _within(claim: Claim, now: Claim, base: Claim) -> bool:
    """Can the printed change be that of two figures which were rounded to what is printed?"""
    if base.value <= slack(base):
        return False
    low = ((now.value - slack(now)) / (base.value + slack(base)) - 1) * _HUNDRED
    high = ((now.value + slack(now)) / (base.value - slack(base)) - 1) * _HUNDRED
    return low <= claim.value + slack(claim) and claim.value - slack(claim) <= high


def _named_before(book: ClaimBook, claim: Claim, field: str) -> Claim | None:
    """The figure of the month before that the claim's own article names."""
    named = book.claims(claim.fact.issuer or "unknown", claim.fact.period, f"{field}_prior")
    return next((other for other in named if other.source == claim.source), None)


def _whose_change(book: ClaimBook, claim: Claim) -> Iterator[Verdict]:
    """A percentage whose subject the text leaves open belongs to the figure that moved by it."""
    issuer, month = claim.fact.issuer or "unknown", claim.fact.period
    tried: list[str] = []
    for field in ("btc_produced", "deployed_ehs", "avg_operating_ehs", "btc_held_end", "revenue_usd"):
        base, now = book.best(issuer, periods.previous(month), field), book.best(issuer, month, field)
        if base is None or now is None or base.value == 0:
            continue
        exact = (now.value / base.value - 1) * _HUNDRED
        outcome, _ = _against(claim, exact)
        name = field.rsplit("_", 1)[0].replace("_", " ")
        line = f"{show(now.value)} / {show(base.value)} - 1 = {signed(exact, 2)} %; printed {signed_as(claim)} %"
        if outcome != "differs":
            says = f"The percentage belongs to the figure `{field}` ({name}), to no other that was printed."
            yield verdict("growth", [claim, now, base], "explained", line, says, claim.value - exact, apart=claim.mark)
            return
        tried.append(line)
    line = "; ".join(tried) or "the month before is not printed"
    yield verdict("growth", [claim], "open", line, "No printed figure moved by this percentage.", apart=claim.mark)


def _against(claim: Claim, exact: Decimal) -> tuple[Outcome, str]:
    digits = places(claim.value)
    should = round_to(exact, digits)
    if should == claim.value:
        return "holds", "The percentage is the change, rounded."
    cut = Decimal(int(exact.scaleb(digits))).scaleb(-digits)
    if cut == claim.value:
        return "rounding", f"The percentage is truncated; rounded it is {signed(should, digits)} %."
    return "differs", "The percentage is not the change between the two printed figures."


def signed_as(claim: Claim) -> str:
    return signed(claim.value, places(claim.value))


def _incomplete(
    used: list[Claim], absent: list[str], line: str, residual: Decimal, tolerance: Decimal
) -> Iterator[Verdict]:
    """A quarter of which months were never printed."""
    if abs(residual) <= tolerance:
        says = f"The quarter is complete without {', '.join(absent)}: nothing was mined then, or it is elsewhere."
        yield verdict("quarter", used, "holds", line, says, residual)
    elif len(absent) == 1 and residual > 0:
        says = f"{absent[0]} was not printed: {show(residual)} BTC are left for it."
        yield verdict("quarter", used, "open", f"{line}; rest {show(residual)}", says, residual)


def quarter(book: ClaimBook, issuer: str, period: str) -> Iterator[Verdict]:
    """The three months add up to the printed quarter; a month never printed counts only if nothing is missing."""
    total = book.best(issuer, period, "btc_produced") if periods.is_quarter(period) else None
    names = periods.months_of(period) if total is not None else ()
    months = [claim for name in names if (claim := book.best(issuer, name, "btc_produced")) is not None]
    if total is None or not months:
        return
    summed = sum((claim.value for claim in months), Decimal(0))
    residual = total.value - summed
    tolerance = slack(total) + sum((slack(claim) for claim in months), Decimal(0))
    line = f"{' + '.join(show(claim.value) for claim in months)} = {show(summed)}; printed {show(total.value)}"
    used = [total, *months]
    absent = [name for name in names if book.best(issuer, name, "btc_produced") is None]
    if absent:
        yield from _incomplete(used, absent, line, residual, tolerance)
    elif residual == 0:
        yield verdict("quarter", used, "holds", line, "The months add up to the quarter.", residual)
    elif abs(residual) <= tolerance:
        says = f"The months differ from the quarter by {show(abs(residual))}, within the rounding of four figures."
        yield verdict("quarter", used, "rounding", line, says, residual)
    else:
        yield verdict("quarter", used, "differs", line, "The months do not add up to the quarter.", residual)

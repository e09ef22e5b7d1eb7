"""Checks of production against the calendar: averages, changes, quarters."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal

from tieline.disclosures.facts import periods
from tieline.disclosures.facts.book import IssuerPeriod
from tieline.disclosures.facts.claims import Claim, places, slack, total
from tieline.disclosures.facts.verdict import Judged, Outcome, Verdict, addends, grade, round_to, show, signed, verdict

_HUNDRED = Decimal(100)
# Months shorter than the calendar by less than this are downtime or rounding, not a start within the month.
_START_WITHIN = Decimal(1)


def average(here: IssuerPeriod) -> Iterator[Verdict]:
    """Produced / days = printed average; accepted when cut off instead of rounded (`5.79` printed as `5.7`)."""
    produced, printed = here.best("btc_produced"), here.best("avg_btc_per_day")
    if produced is None or printed is None or periods.is_date(here.period):
        return
    days = periods.days(here.period)
    residual = printed.value - produced.value / days
    line = f"{show(produced.value)} / {days} days = {show(produced.value / days, 2)}; printed {show(printed.value)}"
    used = [printed, produced]
    outcome, says = _of_days(produced, printed, days, residual)
    if outcome == "differs" and (active := _active(produced, printed, days)) is not None:
        line = f"{line}; {show(produced.value)} / {show(printed.value)} = {show(active, 2)} active days"
        says = "The average is too high, and nothing printed says that mining began within the month."
        held = here.at_end("btc_held_end")
        if held is not None and held.value == produced.value:
            # All that is held was mined in this month: nothing was held before, so mining began within it.
            used.append(held)
            outcome = "explained"
            says = f"The average is over the {show(active, 2)} days of mining, not over the {days} days of the month."
    yield verdict("average", used, outcome, line, says, residual)


def _of_days(produced: Claim, printed: Claim, days: int, residual: Decimal) -> tuple[Outcome, str]:
    if round_to(produced.value / days, places(printed.value)) == printed.value:
        return "holds", "The average is the production over the days."
    if abs(residual) <= slack(printed) + slack(produced) / days:
        return "rounding", "The average fits once the production's own rounding is allowed for."
    if 0 < -residual <= 2 * slack(printed) + slack(produced) / days:
        return "rounding", "The average is truncated, not rounded."
    return "differs", "The average is not the production over the days."


def _active(produced: Claim, printed: Claim, days: int) -> Decimal | None:
    """The days that a printed average makes of the production, where they are fewer than the calendar's."""
    if not printed.value > produced.value / days >= 0:
        return None
    active = produced.value / printed.value
    return active if active <= days - _START_WITHIN else None


def mined_in(here: IssuerPeriod) -> tuple[datetime, datetime, Decimal | None]:
    """From when to when a period was mined in, and of a month in which mining began the days, from production over
    average; None for a whole period."""
    start, end = periods.window(here.period)
    produced, printed = here.best("btc_produced"), here.best("avg_btc_per_day")
    began = periods.is_month(here.period) and any(judged.outcome == "explained" for judged in average(here))
    if not began or produced is None or printed is None:
        return start, end, None
    active = produced.value / printed.value
    return end - timedelta(days=float(active)), end, active


def growth(here: IssuerPeriod) -> Iterator[Verdict]:
    """A printed percentage of change against the two figures it compares."""
    if not periods.is_month(here.period):
        return
    for claim in here.all:
        field = claim.fact.field
        if field == "mom_pct":
            yield _whose_change(here, claim)
        elif field.endswith("_mom_pct"):
            yield from _one_change(here, claim, field.removesuffix("_mom_pct"))


def _one_change(here: IssuerPeriod, claim: Claim, field: str) -> Iterator[Verdict]:
    base, candidates = here.before.best(field), here.claims(field)
    # The article's own figure first: a percentage belongs to the number printed beside it.
    now = _of_source(candidates, claim) or here.best(field)
    if base is None or base.value == 0 or now is None:
        return
    exact = _change(now, base)
    outcome, says = _against(claim, exact)
    if outcome == "differs" and _within(claim, now, base):
        outcome, says = "rounding", "The percentage fits once the rounding of the two figures is allowed for."
    line, used = _change_line(claim, now, base), [claim, now, base]
    others = [other for other in candidates if other.value != now.value]
    if others:
        line += f"; with {show(others[0].value)} of another source {signed(_change(others[0], base), 2)} %"
    prior = _of_source(here.claims(f"{field}_prior"), claim)
    if outcome == "differs" and prior is not None and prior.value != 0:
        own = _change(now, prior)
        used.append(prior)
        line += f"; from the {show(prior.value)} that the article names {signed(own, 1)} %"
        if _against(claim, own)[0] != "differs":
            says = (
                f"The comparison base is wrong or counts something else: the article starts from "
                f"{show(prior.value)}, the month before was printed as {show(base.value)}."
            )
    yield verdict("growth", used, outcome, line, says, claim.value - exact, apart=claim.mark)


def _of_source(claims: tuple[Claim, ...], claim: Claim) -> Claim | None:
    """What the claim's own article states of another figure."""
    return next((other for other in claims if other.source == claim.source), None)


def _change(now: Claim, base: Claim) -> Decimal:
    """In per cent."""
    return (now.value / base.value - 1) * _HUNDRED


def _change_line(claim: Claim, now: Claim, base: Claim) -> str:
    printed = signed(claim.value, places(claim.value))
    return f"{show(now.value)} / {show(base.value)} - 1 = {signed(_change(now, base), 2)} %; printed {printed} %"


def _within(claim: Claim, now: Claim, base: Claim) -> bool:
    """Can the printed change be that of two figures which were rounded to what is printed?"""
    if base.value <= slack(base):
        return False
    low = ((now.value - slack(now)) / (base.value + slack(base)) - 1) * _HUNDRED
    high = ((now.value + slack(now)) / (base.value - slack(base)) - 1) * _HUNDRED
    return low <= claim.value + slack(claim) and claim.value - slack(claim) <= high


def _whose_change(here: IssuerPeriod, claim: Claim) -> Verdict:
    """A percentage whose subject the text leaves open belongs to the figure that moved by it."""
    tried: list[str] = []
    for field in ("btc_produced", "deployed_ehs", "avg_operating_ehs", "btc_held_end", "revenue_usd"):
        base, now = here.before.best(field), here.best(field)
        if base is None or now is None or base.value == 0:
            continue
        exact, line = _change(now, base), _change_line(claim, now, base)
        if _against(claim, exact)[0] != "differs":
            name = field.rsplit("_", 1)[0].replace("_", " ")
            says = f"The percentage belongs to the figure `{field}` ({name}), to no other that was printed."
            return verdict("growth", [claim, now, base], "explained", line, says, claim.value - exact, apart=claim.mark)
        tried.append(line)
    line = "; ".join(tried) or "the month before is not in the book"
    return verdict("growth", [claim], "open", line, "No printed figure moved by this percentage.", apart=claim.mark)


def _against(claim: Claim, exact: Decimal) -> tuple[Outcome, str]:
    digits = places(claim.value)
    should = round_to(exact, digits)
    if should == claim.value:
        return "holds", "The percentage is the change, rounded."
    cut = Decimal(int(exact.scaleb(digits))).scaleb(-digits)
    if cut == claim.value:
        return "rounding", f"The percentage is truncated; rounded it is {signed(should, digits)} %."
    return "differs", "The percentage is not the change between the two printed figures."


def quarter(here: IssuerPeriod) -> Iterator[Verdict]:
    """The three months add up to the printed quarter; a month never printed counts only if nothing is missing."""
    whole = here.best("btc_produced") if periods.is_quarter(here.period) else None
    months = [claim for month in here.months for claim in month.printed("btc_produced")] if whole is not None else []
    if whole is None or not months:
        return
    printed = {claim.fact.period for claim in months}
    absent = [name for name in periods.months_of(here.period) if name not in printed]
    judged = _quarter_whole(whole, months) if not absent else _quarter_part(whole, months, absent)
    if judged is not None:
        yield verdict("quarter", [whole, *months], *judged, whole.value - total(months))


def _quarter_line(whole: Claim, months: list[Claim]) -> str:
    return f"{addends(months)} = {show(total(months))}; printed {show(whole.value)}"


def _quarter_whole(whole: Claim, months: list[Claim]) -> Judged:
    residual = whole.value - total(months)
    outcome, line = grade(residual, slack(whole, *months)), _quarter_line(whole, months)
    if outcome == "rounding":
        says = f"The months differ from the quarter by {show(abs(residual))}, within the rounding of four figures."
        return outcome, line, says
    return outcome, line, f"The months {'' if outcome == 'holds' else 'do not '}add up to the quarter."


def _quarter_part(whole: Claim, months: list[Claim], absent: list[str]) -> Judged | None:
    """A quarter of which months were never printed."""
    residual, line = whole.value - total(months), _quarter_line(whole, months)
    if abs(residual) <= slack(whole, *months):
        says = f"The quarter is complete without {', '.join(absent)}: nothing was mined then, or it is elsewhere."
        return "holds", line, says
    if len(absent) == 1 and residual > 0:
        says = f"{absent[0]} is not in the book: {show(residual)} BTC are left for it."
        return "open", f"{line}; rest {show(residual)}", says
    return None

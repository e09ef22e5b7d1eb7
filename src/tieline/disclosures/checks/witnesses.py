"""Checks of sources against each other: one figure, several witnesses.

Where two disagree the arithmetic is asked: which value closes the month's balance or the quarter's sum? The
answer is a verdict; both claims stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

from tieline.disclosures.checks.balance import Movement, movement
from tieline.disclosures.comparison.derive import others_of_quarter
from tieline.disclosures.facts import periods
from tieline.disclosures.facts.book import IssuerPeriod
from tieline.disclosures.facts.claims import OWN_WORDS, Claim, distinct, places, slack, total
from tieline.disclosures.facts.verdict import Judged, Outcome, Verdict, addends, grade, round_to, show, verdict

_ZERO, _ONE_DAY = Decimal(0), timedelta(days=1)


def claims(here: IssuerPeriod) -> Iterator[Verdict]:
    """Every other value of a figure against its best witness."""
    for figure in dict.fromkeys(claim.figure for claim in here.all):
        witnesses = here.book.of(figure)
        fact = witnesses[0].fact
        # Percentages and holdings around a sale have checks of their own, claim by claim.
        if fact.field.endswith("mom_pct") or fact.field in _ELSEWHERE:
            continue
        best = here.best(fact.field, fact.scope)
        assert best is not None
        if any(claim.fact.restated for claim in witnesses):
            yield _told_restatement(best, witnesses)
            continue
        for claim in distinct(witnesses):
            if claim.value == best.value:
                continue
            if best.source_kind in OWN_WORDS and claim.source_kind in OWN_WORDS:
                yield _silent_restatement(best, claim)
            else:
                yield _disagreement(here, best, claim)


_ELSEWHERE = frozenset({"btc_held_before_sale", "btc_held_after_sale", "btc_produced_prior", "sale_proceeds_usd"})


def _told_restatement(best: Claim, witnesses: tuple[Claim, ...]) -> Verdict:
    first = min(witnesses, key=lambda claim: claim.published or "9999")
    again = next((claim for claim in (best, *witnesses) if claim.fact.restated), best)
    if first.value == again.value and not first.fact.restated:
        line = f"{show(first.value)} printed {first.published}; {show(again.value)} as restated; change 0"
        says = "The document says that it restates the figure, and prints it as before: nothing was restated."
        return verdict("restated", [again, first], "open", line, says, apart=first.mark)
    if first.value == best.value:
        line = f"{show(best.value)} as restated; as first printed: not in the book"
        says = "The document says that this replaces an earlier figure, which was not found; both vintages are kept."
        return verdict("restated", [best], "open", line, says, apart=first.mark)
    line = f"{show(first.value)} printed {first.published}; {show(best.value)} restated {best.published}"
    says = "Restated by the issuer, and said so; both vintages are kept."
    return verdict("restated", [best, first], "explained", line, says, best.value - first.value, apart=first.mark)


def _silent_restatement(best: Claim, claim: Claim) -> Verdict:
    off = best.value - claim.value
    line = (
        f"{show(claim.value)} printed {claim.published}; {show(best.value)} printed {best.published}; "
        f"change {show(off)}"
    )
    outcome: Outcome = "explained"
    says = "The issuer printed another figure later without saying so; both vintages are kept."
    if _one_rounds_to_other(best, claim):
        outcome, says = "rounding", "One printing has fewer digits than the other."
    return verdict("restated", [best, claim], outcome, line, says, off, apart=claim.mark)


def _disagreement(here: IssuerPeriod, best: Claim, claim: Claim) -> Verdict:
    off = claim.value - best.value
    line = (
        f"{show(claim.value)} ({claim.source_kind}) against {show(best.value)} ({best.source_kind}): "
        f"difference {show(off)}"
    )
    used = [claim, best]
    asked, told = _arithmetic(here, best, claim) or ("", None)
    line += f"; {asked}" if asked else ""
    if told is None and (before := _month_before(here, best, claim)) is not None:
        used.append(before)
        line += f"; {show(before.value)} printed for the end of {before.fact.period[:7]}"
        told = f"The source is wrong: {show(claim.value)} is the balance of the month before."
    outcome, says = _by_digits(best, claim) if told is None else ("explained", told)
    return verdict("claims", used, outcome, line, says, off, apart=claim.mark)


def _by_digits(best: Claim, claim: Claim) -> tuple[Outcome, str]:
    """What the digits of two values say where no sum tells them apart."""
    if _one_rounds_to_other(best, claim):
        return "rounding", "The same figure with fewer digits."
    # Money is rounded and converted, so one digit says nothing there.
    if not best.fact.unit.startswith("USD") and _one_digit_apart(best.value, claim.value):
        return "explained", f"One digit differs: a copying error of {show(best.value)}."
    return "differs", "The sources disagree; the better witness is used, both are kept."


def _month_before(here: IssuerPeriod, best: Claim, claim: Claim) -> Claim | None:
    """The closing of the month before, where the source gives that for this month's."""
    if best.fact.field != "btc_held_end" or not periods.is_month(here.period):
        return None
    before = here.before.at_end("btc_held_end")
    if before is None or abs(before.value - best.value) <= slack(best, before):
        return None
    return before if _one_rounds_to_other(before, claim) else None


def _arithmetic(here: IssuerPeriod, best: Claim, claim: Claim) -> tuple[str, str | None] | None:
    """The sum that tells the two values apart, and what it says; None where no sum has them."""
    field = best.fact.field
    if not periods.is_month(here.period) or best.fact.scope is not None:
        return None
    if field == "btc_produced" and (stated := _by_quarter(here, best, claim)) is not None:
        return stated
    moved = movement(here)
    if moved is None or moved.sold is None or field not in {"btc_sold", "btc_held_end", "btc_produced"}:
        return None
    implied, others, line = _implied(moved, moved.sold, field)
    fits_best = abs(best.value - implied) <= others + slack(best)
    fits_claim = abs(claim.value - implied) <= others + slack(claim)
    return line, _says(moved, best, claim, fits_best, fits_claim)


def _says(moved: Movement, best: Claim, claim: Claim, fits_best: bool, fits_claim: bool) -> str | None:
    """What a balance makes of two values of one figure."""
    if fits_best and fits_claim and places(claim.value) > places(best.value):
        coarse = min(places(part.value) for part in moved.printed if part.value and part is not best)
        decimals = f"{coarse} decimal{'' if coarse == 1 else 's'}"
        return f"Neither decimal beyond the first {coarse} can be worked out: an addend has {decimals}."
    if fits_best and not fits_claim:
        return f"{show(best.value)} closes to rounding, {show(claim.value)} does not."
    if fits_claim and not fits_best:
        return f"{show(claim.value)} closes to rounding, the better witness's {show(best.value)} does not."
    return None


def _implied(moved: Movement, sold: Claim, field: str) -> tuple[Decimal, Decimal, str]:
    """What the month's balance makes of a figure, how far the roundings of the others may carry it, and the sum."""
    about = {"btc_sold": (sold,), "btc_held_end": (moved.closing,), "btc_produced": moved.produced.claims}[field]
    others = slack(*(part for part in moved.printed if part not in about))
    within, unexplained = f"(+-{show(others.normalize())})", moved.unexplained or _ZERO
    if field == "btc_sold":
        implied = moved.implied_out - (moved.fees.value if moved.fees is not None else _ZERO)
        line = (
            f"{show(moved.opening.value)} + {show(moved.produced.value)} - x = {show(moved.closing.value)} "
            f"gives x = {show(implied)} {within}"
        )
        return implied, others, line
    if field == "btc_held_end":
        implied = moved.closing.value + unexplained
        return implied, others, f"{moved.sums()} = {show(implied)} {within}"
    implied = moved.produced.value - unexplained
    return implied, others, f"the balance closes with {show(implied)} {within}"


def _by_quarter(here: IssuerPeriod, best: Claim, claim: Claim) -> tuple[str, str | None] | None:
    whole, others = here.quarter.best("btc_produced"), others_of_quarter(here)
    if whole is None or not others:
        return None
    rest = total(others)
    line = (
        f"{show(best.value)} + {show(rest)} = {show(best.value + rest)}, {show(claim.value)} + {show(rest)} = "
        f"{show(claim.value + rest)}; quarter printed {show(whole.value)}"
    )
    fits_best = abs(best.value + rest - whole.value) <= slack(whole, *others, best)
    fits_claim = abs(claim.value + rest - whole.value) <= slack(whole, *others, claim)
    if fits_best and not fits_claim:
        return line, f"The quarter confirms {show(best.value)}; {show(claim.value)} is a typing error."
    return line, None


def _one_rounds_to_other(one: Claim, other: Claim) -> bool:
    """Alike within half of the coarser one's last place, or the coarser is the finer cut off."""
    coarse, fine = (one, other) if slack(one) >= slack(other) else (other, one)
    off = fine.value - coarse.value
    return abs(off) <= slack(coarse) or (0 < off < 2 * slack(coarse) and slack(coarse) > slack(fine))


def _one_digit_apart(one: Decimal, other: Decimal) -> bool:
    left, right = f"{one:f}", f"{other:f}"
    return len(left) == len(right) and sum(a != b for a, b in zip(left, right, strict=True)) == 1


def month_end(here: IssuerPeriod) -> Iterator[Verdict]:
    """A month's label and the same figure at the month's last day."""
    if not periods.is_month(here.period):
        return
    for claim in here.end.all:
        field = claim.fact.field
        label = here.best(field) if claim.fact.scope is None else None
        if label is None or claim is not here.end.best(field):
            continue
        off, day = claim.value - label.value, here.end.period
        more = here.end.best("acquired_ehs") if field == "deployed_ehs" else None
        used = [claim, label]
        line = f"{show(label.value)} for {here.period}; {show(claim.value)} at {day}; difference {show(off)}"
        if off == 0:
            judged: Judged = "holds", line, "Both agree."
        elif _one_rounds_to_other(claim, label):
            rounded = show(round_to(label.value, places(claim.value)))
            judged = "rounding", line, f"They agree: {show(label.value)} rounds to {rounded}."
        elif more is not None and more.value == off:
            used.append(more)
            line = f"{show(label.value)} + {show(more.value)} acquired = {show(claim.value)} at {day}"
            says = "A matter of definition: the month's label leaves out what was acquired at its end."
            judged = "explained", line, says
        else:
            judged = "differs", line, "The month's label and the month-end figure differ: two definitions or an error."
        yield verdict("month-end", used, *judged, off, apart=field)


def parts(here: IssuerPeriod) -> Iterator[Verdict]:
    """A total and its sites or shares."""
    for field in dict.fromkeys(claim.fact.field for claim in here.all if claim.fact.scope):
        whole, named = here.best(field), list(here.scopes(field).values())
        if whole is None or len(named) < 2:
            continue
        off = whole.value - total(named)
        line = f"{addends(named)} = {show(total(named))}; printed {show(whole.value)}"
        outcome = grade(off, slack(whole, *named))
        if outcome == "differs" and field == "avg_operating_ehs" and off < 0:
            outcome = "explained"
        yield verdict("parts", [whole, *named], outcome, line, _PARTS[outcome], off, apart=field)


_PARTS: dict[Outcome, str] = {
    "holds": "The parts add up.",
    "rounding": "Rounding of the parts.",
    "explained": "Averages of sites add up only if all cover the whole month: a site that began or joined within it "
    "counts for its own days.",
    "differs": "The parts do not add up to the total.",
}


def date(here: IssuerPeriod) -> Iterator[Verdict]:
    """A document cannot bear a date before the end of the month it reports."""
    if not periods.is_month(here.period):
        return
    _, end = periods.window(here.period)
    seen: set[str] = set()
    for claim in here.all:
        printed = claim.dateline or claim.published
        if printed is None or claim.source in seen or claim.fact.field != "btc_produced":
            continue
        seen.add(claim.source)
        if periods.window(printed)[1] > end - _ONE_DAY:
            continue
        line = f"dated {printed}; reports {here.period}, which ended {here.end.period}"
        outcome: Outcome = "differs"
        says = "The document's own date is wrong."
        if claim.published is not None and claim.published != printed:
            outcome = "explained"
            line += f"; it came out in {claim.published}"
            says = "The document's own date line is wrong: it came out after the month."
        yield verdict("date", [claim], outcome, line, says, apart=claim.mark)

"""Checks of sources against each other: one figure, several witnesses.

Where two disagree the arithmetic is asked: which value closes the month's balance or the quarter's sum? The
answer is a verdict; both claims stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from tieline.disclosures.checks.balance import Movement, movement
from tieline.disclosures.facts import periods
from tieline.disclosures.facts.book import ClaimBook
from tieline.disclosures.facts.claims import OWN_WORDS, Claim, places, slack
from tieline.disclosures.facts.verdict import Verdict, round_to, show, verdict

_ZERO = Decimal(0)


def claims(book: ClaimBook, issuer: str, period: str) -> Iterator[Verdict]:
    """Every other value of a figure against its best witness."""
    for figure in dict.fromkeys(claim.figure for claim in book.in_period(issuer, period)):
        witnesses = book.of(figure)
        fact = witnesses[0].fact
        # Percentages and holdings around a sale have checks of their own, claim by claim.
        if fact.field.endswith("mom_pct") or fact.field in _ELSEWHERE:
            continue
        best = book.best(issuer, period, fact.field, fact.scope)
        assert best is not None
        if best.fact.restated or any(claim.fact.restated for claim in witnesses):
            yield _told_restatement(best, witnesses)
            continue
        done = {best.value}
        for claim in witnesses:
            if claim.value in done:
                continue
            done.add(claim.value)
            if best.source_kind in OWN_WORDS and claim.source_kind in OWN_WORDS:
                yield _silent_restatement(best, claim)
            else:
                yield _disagreement(book, best, claim)


_ELSEWHERE = frozenset({"btc_held_before_sale", "btc_held_after_sale", "btc_produced_prior", "sale_proceeds_usd"})


def _told_restatement(best: Claim, witnesses: tuple[Claim, ...]) -> Verdict:
    first = min(witnesses, key=lambda claim: claim.published or "9999")
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
    if _one_rounds_to_other(best, claim):
        says = "One printing has fewer digits than the other."
        return verdict("restated", [best, claim], "rounding", line, says, off, apart=claim.mark)
    says = "The issuer printed another figure later without saying so; both vintages are kept."
    return verdict("restated", [best, claim], "explained", line, says, off, apart=claim.mark)


def _disagreement(book: ClaimBook, best: Claim, claim: Claim) -> Verdict:
    off = claim.value - best.value
    line = (
        f"{show(claim.value)} ({claim.source_kind}) against {show(best.value)} ({best.source_kind}): "
        f"difference {show(off)}"
    )
    apart = claim.mark
    used = [claim, best]
    asked = _arithmetic(book, best, claim)
    if asked is not None:
        line += f"; {asked[0]}"
        if asked[1] is not None:
            return verdict("claims", used, "explained", line, asked[1], off, apart=apart)
    before = _month_before(book, best, claim)
    if before is not None:
        line += f"; {show(before.value)} printed for the end of {before.fact.period[:7]}"
        says = f"The source is wrong: {show(claim.value)} is the balance of the month before."
        return verdict("claims", [*used, before], "explained", line, says, off, apart=apart)
    if _one_rounds_to_other(best, claim):
        says = "The same figure with fewer digits."
        return verdict("claims", used, "rounding", line, says, off, apart=apart)
    # Money is rounded and converted, so one digit says nothing there.
    if not best.fact.unit.startswith("USD") and _one_digit_apart(best.value, claim.value):
        says = f"One digit differs: a copying error of {show(best.value)}."
        return verdict("claims", used, "explained", line, says, off, apart=apart)
    says = "The sources disagree; the better witness is used, both are kept."
    return verdict("claims", used, "differs", line, says, off, apart=apart)


def _month_before(book: ClaimBook, best: Claim, claim: Claim) -> Claim | None:
    """The closing of the month before, where the source gives that for this month's."""
    month = best.fact.period
    if best.fact.field != "btc_held_end" or not periods.is_month(month):
        return None
    before = book.at_end(best.fact.issuer or "unknown", periods.previous(month), "btc_held_end")
    if before is None or abs(before.value - best.value) <= slack(best) + slack(before):
        return None
    return before if _one_rounds_to_other(before, claim) else None


def _arithmetic(book: ClaimBook, best: Claim, claim: Claim) -> tuple[str, str | None] | None:
    """The sum that tells the two values apart, and what it says; None where no sum has them."""
    issuer, month, field = best.fact.issuer or "unknown", best.fact.period, best.fact.field
    if not periods.is_month(month) or best.fact.scope is not None:
        return None
    if field == "btc_produced" and (stated := _by_quarter(book, issuer, month, best, claim)) is not None:
        return stated
    moved = movement(book, issuer, month)
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
    if field == "btc_sold":
        implied = moved.implied_out - (moved.fees.value if moved.fees is not None else _ZERO)
        others = sum((slack(part) for part in moved.printed if part is not sold), _ZERO)
        line = (
            f"{show(moved.opening.value)} + {show(moved.produced.value)} - x = {show(moved.closing.value)} "
            f"gives x = {show(implied)} (+-{show(others.normalize())})"
        )
    elif field == "btc_held_end":
        implied = moved.closing.value + (moved.unexplained or _ZERO)
        others = sum((slack(part) for part in moved.printed if part is not moved.closing), _ZERO)
        line = f"{moved.sums()} = {show(implied)} (+-{show(others.normalize())})"
    else:
        implied = moved.produced.value - (moved.unexplained or _ZERO)
        others = sum((slack(part) for part in moved.printed if part not in moved.produced.claims), _ZERO)
        line = f"the balance closes with {show(implied)} (+-{show(others.normalize())})"
    return implied, others, line


def _by_quarter(book: ClaimBook, issuer: str, month: str, best: Claim, claim: Claim) -> tuple[str, str | None] | None:
    total = book.best(issuer, periods.quarter_of(month), "btc_produced")
    if total is None:
        return None
    others = [
        other
        for name in periods.months_of(periods.quarter_of(month))
        if name != month and (other := book.best(issuer, name, "btc_produced")) is not None
    ]
    if not others:
        return None
    rest = sum((other.value for other in others), _ZERO)
    tolerance = slack(total) + sum((slack(other) for other in others), _ZERO)
    line = (
        f"{show(best.value)} + {show(rest)} = {show(best.value + rest)}, {show(claim.value)} + {show(rest)} = "
        f"{show(claim.value + rest)}; quarter printed {show(total.value)}"
    )
    fits_best = abs(best.value + rest - total.value) <= tolerance + slack(best)
    fits_claim = abs(claim.value + rest - total.value) <= tolerance + slack(claim)
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


def month_end(book: ClaimBook, issuer: str, period: str) -> Iterator[Verdict]:
    """A month's label and the same figure at the month's last day."""
    if not periods.is_month(period):
        return
    day = periods.last_day(period)
    for claim in book.in_period(issuer, day):
        field = claim.fact.field
        label = book.best(issuer, period, field) if claim.fact.scope is None else None
        if label is None or claim is not book.best(issuer, day, field):
            continue
        off = claim.value - label.value
        line = f"{show(label.value)} for {period}; {show(claim.value)} at {day}; difference {show(off)}"
        used = [claim, label]
        if off == 0:
            yield verdict("month-end", used, "holds", line, "Both agree.", off, apart=field)
        elif _one_rounds_to_other(claim, label):
            says = f"They agree: {show(label.value)} rounds to {show(round_to(label.value, places(claim.value)))}."
            yield verdict("month-end", used, "rounding", line, says, off, apart=field)
        elif (
            field == "deployed_ehs"
            and (more := book.best(issuer, day, "acquired_ehs")) is not None
            and (more.value == off)
        ):
            line = f"{show(label.value)} + {show(more.value)} acquired = {show(claim.value)} at {day}"
            says = "A matter of definition: the month's label leaves out what was acquired at its end."
            yield verdict("month-end", [*used, more], "explained", line, says, off, apart=field)
        else:
            says = "The month's label and the month-end figure differ: two definitions or an error."
            yield verdict("month-end", used, "differs", line, says, off, apart=field)


def parts(book: ClaimBook, issuer: str, period: str) -> Iterator[Verdict]:
    """A total and its sites or shares."""
    fields = dict.fromkeys(claim.fact.field for claim in book.in_period(issuer, period) if claim.fact.scope)
    for field in fields:
        whole, named = book.best(issuer, period, field), book.scopes(issuer, period, field)
        if whole is None or len(named) < 2:
            continue
        summed = sum((claim.value for claim in named.values()), _ZERO)
        off = whole.value - summed
        line = (
            f"{' + '.join(show(claim.value) for claim in named.values())} = {show(summed)}; printed {show(whole.value)}"
        )
        used = [whole, *named.values()]
        tolerance = slack(whole) + sum((slack(claim) for claim in named.values()), _ZERO)
        if off == 0:
            yield verdict("parts", used, "holds", line, "The parts add up.", off, apart=field)
        elif abs(off) <= tolerance:
            yield verdict("parts", used, "rounding", line, "Rounding of the parts.", off, apart=field)
        elif field == "avg_operating_ehs" and off < 0:
            says = (
                "Averages of sites add up only if all cover the whole month: a site that began or joined within it "
                "counts for its own days."
            )
            yield verdict("parts", used, "explained", line, says, off, apart=field)
        else:
            yield verdict("parts", used, "differs", line, "The parts do not add up to the total.", off, apart=field)


def date(book: ClaimBook, issuer: str, period: str) -> Iterator[Verdict]:
    """A document cannot bear a date before the end of the month it reports."""
    if not periods.is_month(period):
        return
    _, end = periods.window(period)
    seen: set[str] = set()
    for claim in book.in_period(issuer, period):
        printed = claim.dateline or claim.published
        if printed is None or claim.source in seen or claim.fact.field != "btc_produced":
            continue
        seen.add(claim.source)
        if periods.window(printed)[1] > end - _ONE_DAY:
            continue
        line = f"dated {printed}; reports {period}, which ended {periods.last_day(period)}"
        says = "The document's own date is wrong."
        if claim.published is not None and claim.published != printed:
            line += f"; it came out in {claim.published}"
            says = "The document's own date line is wrong: it came out after the month."
            yield verdict("date", [claim], "explained", line, says, apart=claim.mark)
        else:
            yield verdict("date", [claim], "differs", line, says, apart=claim.mark)


_ONE_DAY = periods.window("2009-01-03")[1] - periods.window("2009-01-03")[0]

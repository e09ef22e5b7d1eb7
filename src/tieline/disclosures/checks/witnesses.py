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
from tieline.disclosures.facts.verdict import Verdict, addends, grade, show, verdict


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
        line = f"{first} printed {first.published}; {again} as restated; change 0"
        return verdict("restated", "nothing", [again, first], line, apart=first.mark)
    if first.value == best.value:
        line = f"{best} as restated; as first printed: not in the book"
        return verdict("restated", "open", [best], line, apart=first.mark)
    line = f"{first} printed {first.published}; {best} restated {best.published}"
    return verdict("restated", "told", [best, first], line, best.value - first.value, apart=first.mark)


def _silent_restatement(best: Claim, claim: Claim) -> Verdict:
    off = best.value - claim.value
    line = f"{claim} printed {claim.published}; {best} printed {best.published}; change {show(off)}"
    finding = "rounding" if _one_rounds_to_other(best, claim) else "silent"
    return verdict("restated", finding, [best, claim], line, off, apart=claim.mark)


def _disagreement(here: IssuerPeriod, best: Claim, claim: Claim) -> Verdict:
    off, used = claim.value - best.value, [claim, best]
    line = f"{claim} ({claim.source_kind}) against {best} ({best.source_kind}): difference {show(off)}"
    asked, finding, coarse = _arithmetic(here, best, claim)
    line += f"; {asked}" if asked else ""
    if finding is None and (before := _month_before(here, best, claim)) is not None:
        used.append(before)
        line += f"; {before} printed for the end of {before.fact.period[:7]}"
        finding = "month-before"
    decimals = f"{coarse} decimal{'' if coarse == 1 else 's'}"
    return verdict(
        "claims", finding or _by_digits(best, claim), used, line, off, apart=claim.mark,
        best=best, other=claim, coarse=coarse, decimals=decimals,
    )  # fmt: skip


def _by_digits(best: Claim, claim: Claim) -> str:
    """What the digits of two values say where no sum tells them apart."""
    if _one_rounds_to_other(best, claim):
        return "rounding"
    # Money is rounded and converted, so one digit says nothing there.
    of_money = best.fact.unit.startswith("USD")
    return "copied" if not of_money and _one_digit_apart(best.value, claim.value) else "differs"


def _month_before(here: IssuerPeriod, best: Claim, claim: Claim) -> Claim | None:
    """The closing of the month before, where the source gives that for this month's."""
    if best.fact.field != "btc_held_end" or not periods.is_month(here.period):
        return None
    before = here.before.at_end("btc_held_end")
    if before is None or abs(before.value - best.value) <= slack(best, before):
        return None
    return before if _one_rounds_to_other(before, claim) else None


def _arithmetic(here: IssuerPeriod, best: Claim, claim: Claim) -> tuple[str, str | None, int]:
    """The sum that tells the two values apart, what it finds, and the decimals of its coarsest addend.

    No line where no sum has them, no finding where the sum decides nothing.
    """
    field = best.fact.field
    if not periods.is_month(here.period) or best.fact.scope is not None:
        return "", None, 0
    if field == "btc_produced" and (by_quarter := _by_quarter(here, best, claim)) is not None:
        return *by_quarter, 0
    moved = movement(here)
    if moved is None or moved.sold is None or field not in {"btc_sold", "btc_held_end", "btc_produced"}:
        return "", None, 0
    implied, others, asked = _implied(moved, field)
    coarse = min((places(part.value) for part in moved.printed if part.value and part is not best), default=0)
    fits_best = abs(best.value - implied) <= others + slack(best)
    fits_claim = abs(claim.value - implied) <= others + slack(claim)
    if fits_best != fits_claim:
        return asked, "confirmed" if fits_best else "refuted", coarse
    finer = fits_best and places(claim.value) > places(best.value)
    return asked, "undecided" if finer else None, coarse


def _implied(moved: Movement, field: str) -> tuple[Decimal, Decimal, str]:
    """What the month's balance makes of a figure, how far the roundings of the others may carry it, and the sum."""
    fees = [claim for claim in moved.left if claim is not moved.sold]
    about = {"btc_sold": moved.left[:1], "btc_held_end": (moved.closing,), "btc_produced": moved.produced.claims}[field]
    others = slack(*(part for part in moved.printed if part not in about))
    within, unexplained = f"(+-{show(others.normalize())})", moved.unexplained or Decimal(0)
    if field == "btc_sold":
        implied = moved.implied_out - total(fees)
        line = f"{moved.opening} + {moved.produced} - x = {moved.closing} gives x = {show(implied)} {within}"
    elif field == "btc_held_end":
        implied = moved.closing.value + unexplained
        line = f"{moved.sums()} = {show(implied)} {within}"
    else:
        implied = moved.produced.value - unexplained
        line = f"the balance closes with {show(implied)} {within}"
    return implied, others, line


def _by_quarter(here: IssuerPeriod, best: Claim, claim: Claim) -> tuple[str, str | None] | None:
    whole, others = here.quarter.best("btc_produced"), others_of_quarter(here)
    if whole is None or not others:
        return None
    rest, tolerance = total(others), slack(whole, *others)
    one, other = best.value + rest, claim.value + rest
    line = f"{best} + {rest:,f} = {one:,f}, {claim} + {rest:,f} = {other:,f}; quarter printed {whole}"
    fits_best = abs(one - whole.value) <= tolerance + slack(best)
    fits_claim = abs(other - whole.value) <= tolerance + slack(claim)
    return line, "typed" if fits_best and not fits_claim else None


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
    for claim in here.end.all:
        field = claim.fact.field
        label = here.best(field) if claim.fact.scope is None else None
        if label is None or claim is not here.end.best(field):
            continue
        off, day = claim.value - label.value, here.end.period
        more = here.end.best("acquired_ehs") if field == "deployed_ehs" else None
        used, finding = [claim, label], "differs"
        line = f"{label} for {here.period}; {claim} at {day}; difference {show(off)}"
        if off == 0:
            finding = "holds"
        elif _one_rounds_to_other(claim, label):
            finding = "rounding"
        elif more is not None and more.value == off:
            finding = "explained"
            used.append(more)
            line = f"{label} + {more} acquired = {claim} at {day}"
        rounded = show(label.value, places(claim.value))
        yield verdict("month-end", finding, used, line, off, apart=field, label=label, rounded=rounded)


def parts(here: IssuerPeriod) -> Iterator[Verdict]:
    """A total and its sites or shares."""
    for field in dict.fromkeys(claim.fact.field for claim in here.all if claim.fact.scope):
        whole, named = here.best(field), here.parts(field)
        if whole is None or len(named) < 2:
            continue
        off = whole.value - total(named)
        line = f"{addends(named)} = {show(total(named))}; printed {whole}"
        finding = grade(off, slack(whole, *named))
        if finding == "differs" and field == "avg_operating_ehs" and off < 0:
            finding = "explained"
        yield verdict("parts", finding, [whole, *named], line, off, apart=field)


def date(here: IssuerPeriod) -> Iterator[Verdict]:
    """A document cannot bear a date before the end of the month it reports."""
    _, end = periods.window(here.period)
    seen: set[str] = set()
    for claim in here.all:
        printed = claim.dateline or claim.published
        if printed is None or claim.source in seen or claim.fact.field != "btc_produced":
            continue
        seen.add(claim.source)
        if periods.window(printed)[1] > end - timedelta(days=1):
            continue
        line, finding = f"dated {printed}; reports {here.period}, which ended {here.end.period}", "differs"
        if claim.published is not None and claim.published != printed:
            finding = "explained"
            line += f"; it came out in {claim.published}"
        yield verdict("date", finding, [claim], line, apart=claim.mark)

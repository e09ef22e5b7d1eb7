"""Checks of production: averages, changes and quarters by the calendar, and what the chain pays for a hashrate.

produced / (hashrate x subsidy per EH/s of the window) = (1 + fees over subsidy) x the rest, and the rest is
the pool's fee, luck, and how well the printed average was measured and rounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from tieline.disclosures.data import shipped_rows
from tieline.disclosures.facts import periods
from tieline.disclosures.facts.book import IssuerPeriod
from tieline.disclosures.facts.claims import Claim, places, slack, total
from tieline.disclosures.facts.verdict import Verdict, addends, grade, round_to, show, signed, verdict

# Months shorter than the calendar by less than this are downtime or rounding, not a start within the month.
_START_WITHIN = Decimal(1)
# Pools that pay every share keep up to 4 %; some pay it back as part of the fees.
_POOL_FEE = 0.04
# A month's average of dashboards differs from what pools credit by about one per cent.
_MEASUREMENT = 0.01


def average(here: IssuerPeriod) -> Iterator[Verdict]:
    """Produced / days = printed average; accepted when cut off instead of rounded (`5.79` printed as `5.7`)."""
    produced, printed = here.best("btc_produced"), here.best("avg_btc_per_day")
    if produced is None or printed is None or periods.is_date(here.period):
        return
    days = periods.days(here.period)
    exact = produced.value / days
    residual, rounding = printed.value - exact, slack(produced) / days
    line = f"{produced} / {days} days = {show(exact, 2)}; printed {printed}"
    used, active = [printed, produced], _active(produced, printed, days)
    finding, held = "differs", here.at_end("btc_held_end")
    if round_to(exact, places(printed.value)) == printed.value:
        finding = "holds"
    elif abs(residual) <= slack(printed) + rounding:
        finding = "rounding"
    elif 0 < -residual <= 2 * slack(printed) + rounding:
        finding = "truncated"
    elif active is not None:
        finding = "too-high"
        line = f"{line}; {produced} / {printed} = {show(active, 2)} active days"
        if held is not None and held.value == produced.value:
            # All that is held was mined in this month: nothing was held before, so mining began within it.
            finding = "began"
            used.append(held)
    lasted = None if active is None else show(active, 2)
    yield verdict("average", finding, used, line, residual, active=lasted, days=days)


def _active(produced: Claim, printed: Claim, days: int) -> Decimal | None:
    """The days that a printed average makes of the production, where they are fewer than the calendar's.

    None of a month in which nothing was mined: no days explain an average of it.
    """
    if not printed.value > produced.value / days > 0:
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
    finding = _against(claim, exact)
    if finding == "differs" and _within(claim, now, base):
        finding = "rounding"
    line, used = _change_line(claim, now, base), [claim, now, base]
    others = [other for other in candidates if other.value != now.value]
    if others:
        line += f"; with {others[0]} of another source {signed(_change(others[0], base), 2)} %"
    prior = _of_source(here.claims(f"{field}_prior"), claim)
    if finding == "differs" and prior is not None and prior.value != 0:
        own = _change(now, prior)
        used.append(prior)
        line += f"; from the {prior} that the article names {signed(own, 1)} %"
        finding = "differs" if _against(claim, own) == "differs" else "wrong-base"
    rounded = signed(exact, places(claim.value))
    off = claim.value - exact
    yield verdict("growth", finding, used, line, off, apart=claim.mark, rounded=rounded, prior=prior, base=base)


def _of_source(claims: tuple[Claim, ...], claim: Claim) -> Claim | None:
    """What the claim's own article states of another figure."""
    return next((other for other in claims if other.source == claim.source), None)


def _change(now: Claim, base: Claim) -> Decimal:
    """In per cent."""
    return (now.value / base.value - 1) * 100


def _change_line(claim: Claim, now: Claim, base: Claim) -> str:
    printed = signed(claim.value, places(claim.value))
    return f"{now} / {base} - 1 = {signed(_change(now, base), 2)} %; printed {printed} %"


def _within(claim: Claim, now: Claim, base: Claim) -> bool:
    """Can the printed change be that of two figures which were rounded to what is printed?"""
    if base.value <= slack(base):
        return False
    low = ((now.value - slack(now)) / (base.value + slack(base)) - 1) * 100
    high = ((now.value + slack(now)) / (base.value - slack(base)) - 1) * 100
    return low <= claim.value + slack(claim) and claim.value - slack(claim) <= high


def _whose_change(here: IssuerPeriod, claim: Claim) -> Verdict:
    """A percentage whose subject the text leaves open belongs to the figure that moved by it."""
    tried: list[str] = []
    for field in ("btc_produced", "deployed_ehs", "avg_operating_ehs", "btc_held_end", "revenue_usd"):
        base, now = here.before.best(field), here.best(field)
        if base is None or now is None or base.value == 0:
            continue
        line, off = _change_line(claim, now, base), claim.value - _change(now, base)
        if _against(claim, _change(now, base)) != "differs":
            used, name = [claim, now, base], field.rsplit("_", 1)[0].replace("_", " ")
            return verdict("growth", "belongs", used, line, off, apart=claim.mark, field=field, name=name)
        tried.append(line)
    line = "; ".join(tried) or "the month before is not in the book"
    return verdict("growth", "open", [claim], line, apart=claim.mark)


def _against(claim: Claim, exact: Decimal) -> str:
    """What a printed percentage is of the exact one: holds, truncated or differs."""
    digits = places(claim.value)
    if round_to(exact, digits) == claim.value:
        return "holds"
    cut = Decimal(int(exact.scaleb(digits))).scaleb(-digits)
    return "truncated" if cut == claim.value else "differs"


def quarter(here: IssuerPeriod) -> Iterator[Verdict]:
    """The three months add up to the printed quarter; a month never printed counts only if nothing is missing."""
    whole = here.best("btc_produced")
    months = [claim for month in here.months for claim in month.printed("btc_produced")]
    if whole is None or not months:
        return
    printed = {claim.fact.period for claim in months}
    absent = [name for name in periods.months_of(here.period) if name not in printed]
    residual = whole.value - total(months)
    finding: str = grade(residual, slack(whole, *months))
    line = f"{addends(months)} = {show(total(months))}; printed {whole}"
    if absent and finding != "differs":
        finding = "complete"
    elif absent:
        if len(absent) > 1 or residual < 0:
            return
        finding, line = "open", f"{line}; rest {show(residual)}"
    yield verdict("quarter", finding, [whole, *months], line, residual, absent=", ".join(absent))


def on_chain(here: IssuerPeriod) -> Iterator[Verdict]:
    """What was produced against what the average operating hashrate earns; without one, the deployed."""
    produced, average = here.best("btc_produced"), here.best("avg_operating_ehs")
    at_average = average is not None and average.value > 0
    rate = average if at_average else here.best("deployed_ehs")
    if produced is None or produced.value <= 0 or rate is None or rate.value <= 0:
        return
    start, end, active = mined_in(here) if at_average else (*periods.window(here.period), None)
    per_ehs = here.book.chain.subsidy_per_ehs(start, end)
    if per_ehs is None:
        return
    within = "" if active is None else f" over the last {show(active, 2)} days"
    ratio, band = float(produced.value) / (float(rate.value) * per_ehs), fee_band(here)
    line = f"{produced} / ({rate} EH/s x {per_ehs:.4f} BTC per EH/s{within}) = {ratio:.4f}"
    low, high = ratio / (1 + band.high), ratio / (1 + band.low)
    spread = _MEASUREMENT + _rounding(rate, produced)
    if not at_average:
        line += " of what the deployed hashrate earns from subsidy; "
        line += f"before fees {float(produced.value) / per_ehs:.2f} EH/s ran"
        finding, above = "differs" if low > 1 + spread else "holds", f"{(low - 1) * 100:.0f}"
        least, most = f"{low * 100:.0f}", f"{min(high, 1) * 100:.0f}"
        yield verdict("deployed", finding, [produced, rate], line, above=above, low=least, high=most)
        return
    fees = f"fees {1 + band.low:.3f} to {1 + band.high:.3f} ({band.why})"
    line += f" = {fees} x rest {low:.4f} to {high:.4f}"
    used = [produced, rate, *([band.claim] if band.claim is not None else [])]
    residual = Decimal(f"{float(produced.value) - float(rate.value) * per_ehs:.4f}")
    finding = _of_rest(low, high, spread + _luck(here), began=active is not None)
    above, short = f"{(low - 1) * 100:.1f}", f"{(1 - high) * 100:.1f}"
    yield verdict("chain", finding, used, line, residual, above=above, short=short)


def _of_rest(low: float, high: float, spread: float, *, began: bool) -> str:
    if high < 1 - _POOL_FEE - spread:
        return "short"
    if low > 1 + spread:
        return "above"
    return "explained" if began else "holds"


@dataclass(frozen=True)
class FeeBand:
    low: float
    high: float
    why: str
    claim: Claim | None = None


_BANDS = [(row["since"], float(row["low"]), float(row["high"])) for row in shipped_rows("fees.csv")]


def fee_band(here: IssuerPeriod) -> FeeBand:
    """Fees over subsidy: from the issuer's printed share where there is one, else the assumed band."""
    claim = here.best("fee_share_pct")
    if claim is not None and 0 <= claim.value < 90:
        low, high = claim.value - slack(claim), claim.value + slack(claim)
        # Printed as a share of all bitcoin earned; over the subsidy it is share / (1 - share).
        return FeeBand(_over_subsidy(low), _over_subsidy(high), f"printed {claim.value} % of rewards", claim)
    _, least, most = next((band for band in reversed(_BANDS) if band[0] <= here.period), _BANDS[0])
    return FeeBand(least, most, "assumed for the month")


def _over_subsidy(percent: Decimal) -> float:
    share = float(max(percent, Decimal(0))) / 100
    return share / (1 - share)


def _luck(here: IssuerPeriod) -> float:
    """A miner with a pool of its own carries its luck: two standard deviations of a Poisson count."""
    blocks = here.best("blocks_won")
    return 2 / math.sqrt(float(blocks.value)) if blocks is not None and blocks.value > 0 else 0.0


def _rounding(*claims: Claim) -> float:
    """How far a ratio of printed figures may lie off by their rounding, as a share."""
    return float(sum((slack(claim) / claim.value for claim in claims), Decimal(0)))

"""Why a month's output changed: a bridge whose steps sum exactly to the printed change.

produced = days x deployed x operating share x (blocks per EH/s and day x subsidy) x yield, where the yield
over the subsidy is fees, pool fee and luck. A product's change is split by logarithmic means (Ang's LMDI):
step = L(new, old) x ln(new factor / old factor) with L(a, b) = (a - b) / ln(a / b). No step is left over and
the order of factors does not matter. Steps are then rounded to the printed decimals by largest remainder, so
that the rounded steps sum to the printed change too. What was not printed is not guessed: without an average
operating hashrate its share and the yield are one step.
"""

from __future__ import annotations

import math
from datetime import datetime
from decimal import ROUND_FLOOR, Decimal
from functools import partial

import msgspec

from tieline.disclosures.checks.production import mined_in
from tieline.disclosures.comparison.chain import Chain
from tieline.disclosures.comparison.derive import produced_in
from tieline.disclosures.facts import periods
from tieline.disclosures.facts.book import ClaimBook, IssuerPeriod
from tieline.disclosures.facts.claims import places
from tieline.disclosures.facts.verdict import WIDE, round_to, show, signed


class BridgeStep(msgspec.Struct, frozen=True, kw_only=True):
    """One bar of the bridge."""

    name: str
    btc: Decimal
    before: float
    after: float
    unit: str
    says: str


class Bridge(msgspec.Struct, frozen=True, kw_only=True):
    """From one month's production to another's."""

    issuer: str
    base: str
    month: str
    before: Decimal
    after: Decimal
    change: Decimal
    change_pct: Decimal
    steps: tuple[BridgeStep, ...]
    computation: str
    claims: tuple[str, ...]
    computed: bool = False
    """One of the two months was not printed but follows from a quarter."""


class NoBridge(msgspec.Struct, frozen=True, kw_only=True):
    """Why there is none."""

    issuer: str
    month: str
    reason: str


def _factor(name: str, before: float, after: float, unit: str) -> BridgeStep:
    """A factor of the product; how many coins its change made is not known yet."""
    says = f"{before:,.6g} to {after:,.6g} {unit}"
    return BridgeStep(name=name, btc=Decimal(0), before=before, after=after, unit=unit, says=says)


def bridge(book: ClaimBook, issuer: str, month: str, base: str | None = None) -> Bridge | NoBridge:
    """The change from `base` (the month before, unless given) to `month`."""
    none = partial(NoBridge, issuer=issuer, month=month)
    for name in (month, base or month):
        if not periods.is_month(name):
            return none(reason=f"{name} is no month; write YYYY-MM")
    start = base or periods.previous(month)
    both = IssuerPeriod(book, issuer, start), IssuerPeriod(book, issuer, month)
    mined = []
    for here in both:
        term = produced_in(here)
        if term is None:
            return none(reason=f"no production of {issuer} for {here.period} is in the book")
        if term.value <= 0:
            return none(reason=f"{issuer} mined nothing in {here.period}: no shares of nothing")
        mined.append(term)
    old, new = mined
    change = new.value - old.value
    factors, used = _factors(both, (float(old.value), float(new.value)))
    mean = _log_mean(float(new.value), float(old.value))
    exact = [mean * math.log(factor.after / factor.before) for factor in factors]
    rounded = sum_to(exact, change, max(places(old.value), places(new.value)))
    steps = tuple(msgspec.structs.replace(factor, btc=btc) for factor, btc in zip(factors, rounded, strict=True))
    percent = round_to(change / old.value * 100, 2)
    parts = " ".join(f"{'-' if step.btc < 0 else '+'} {show(abs(step.btc))} {step.name}" for step in steps)
    return Bridge(
        issuer=issuer, base=start, month=month, before=old.value, after=new.value, change=change, change_pct=percent,
        steps=steps, computation=f"{old} {parts} = {new} ({signed(percent, 2)} %)",
        claims=tuple(dict.fromkeys([claim.id for term in (new, old) for claim in term.claims] + used)),
        computed=old.computed is not None or new.computed is not None,
    )  # fmt: skip


def _factors(both: tuple[IssuerPeriod, IssuerPeriod], mined: tuple[float, float]) -> tuple[list[BridgeStep], list[str]]:
    """The product's factors that both months can fill; the last takes up the rest."""
    windows, days = [], []
    for here in both:
        # A month that began within: its days of mining, and the chain over those days alone.
        start, end, active = mined_in(here)
        windows.append((start, end))
        days.append(float(active if active is not None else periods.days(here.period)))
    factors = [_factor("days", days[0], days[1], "days")]
    used: list[str] = []
    rest = list(mined)

    def pair(field: str) -> tuple[float, float] | None:
        one, two = (here.best(field) for here in both)
        if one is None or two is None or one.value <= 0 or two.value <= 0:
            return None
        used.extend((one.id, two.id))
        return float(one.value), float(two.value)

    average, deployed = pair("avg_operating_ehs"), pair("deployed_ehs")
    if deployed is not None:
        factors.append(_factor("deployed hashrate", *deployed, "EH/s"))
        if average is not None:
            share = (average[0] / deployed[0], average[1] / deployed[1])
            factors.append(_factor("operating share", *share, "of deployed"))
    elif average is not None:
        factors.append(_factor("operating hashrate", *average, "EH/s"))
    network = _network(both[0].book.chain, windows, days)
    factors += network
    for factor in factors:
        rest[0] /= factor.before
        rest[1] /= factor.after
    if average is not None and network:
        last, unit = "fees and luck", "of subsidy"
    elif deployed is not None:
        last, unit = "operating share, fees and luck", "of deployed at subsidy"
    else:
        last, unit = "hashrate, fees and luck", "EH/s at subsidy"
    return [*factors, _factor(last, rest[0], rest[1], unit)], used


def _network(chain: Chain, windows: list[tuple[datetime, datetime]], days: list[float]) -> list[BridgeStep]:
    """What one EH/s earned a day by difficulty, and by the subsidy where a halving lies between the months."""
    blocks = [chain.blocks_per_ehs(*window) for window in windows]
    subsidy = [chain.subsidy_per_ehs(*window) for window in windows]
    if not (blocks[0] and blocks[1] and subsidy[0] and subsidy[1]):
        return []
    per_block = (subsidy[0] / blocks[0], subsidy[1] / blocks[1])
    if math.isclose(*per_block, rel_tol=1e-9):
        return [_factor("difficulty", subsidy[0] / days[0], subsidy[1] / days[1], "BTC per EH/s and day")]
    difficulty = _factor("difficulty", blocks[0] / days[0], blocks[1] / days[1], "blocks per EH/s and day")
    return [difficulty, _factor("subsidy", *per_block, "BTC per block")]


def _log_mean(one: float, other: float) -> float:
    return one if math.isclose(one, other, rel_tol=1e-12) else (one - other) / math.log(one / other)


def sum_to(exact: list[float], total: Decimal, digits: int) -> list[Decimal]:
    """Round parts to `digits` decimals so that they sum to `total`: floors first, then one unit each to the
    largest remainders."""
    unit = Decimal(1).scaleb(-digits)
    floors = [Decimal(repr(part)).quantize(unit, ROUND_FLOOR, WIDE) for part in exact]
    missing = int(((total - sum(floors, Decimal(0))) / unit).to_integral_value())
    order = sorted(range(len(exact)), key=lambda i: (floors[i] - Decimal(repr(exact[i])), i))
    # `missing` lies in [0, parts] but for float noise, which goes around them all.
    step = unit if missing >= 0 else -unit
    rounds, rest = divmod(abs(missing), len(order))
    for position, index in enumerate(order):
        floors[index] += step * (rounds + (position < rest))
    return floors

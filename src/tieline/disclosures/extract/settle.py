"""Findings to facts: what to believe when a document says a thing twice, and when to leave it empty.

Knows nothing of layouts. Equal figures are one; a rounded figure yields to the exact one; a weak reading yields
to a strong one; two strong figures that differ leave the field empty and a note says so. Names that depend on
what stands beside them (operating at month end, totals with hosting) are settled here, one issuer's period at a time.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

from tieline.disclosures.facts.periods import days
from tieline.disclosures.finding import Finding

Group = list[Finding]
"""Every finding of one issuer and period."""
_INFLOWS, _OUTFLOWS = ("btc_produced", "btc_purchased"), ("btc_sold", "service_fee_btc")
_CLOSES = Decimal("0.15")
"""BTC by which a roll-forward of rounded figures may fail to close."""
_ZERO = Decimal(0)


def settle(claims: list[Finding], statement: bool) -> tuple[list[Finding], list[Finding], list[str]]:
    """One claim for each issuer, period, field and scope; the readings that contradict it or one another; and a note
    for whatever was left empty."""
    notes: list[str] = []
    hosting = {c.issuer for c in claims if c.field == "hosted_btc_customers"}
    apart = statement and any(c.field == "btc_receivable_from_collateral" for c in claims)
    months: dict[tuple[str | None, str], Group] = defaultdict(list)
    for c in claims:
        months[(c.issuer, c.period)].append(c)
    for key, group in months.items():
        group = _hashrates(group, "total_energized_ehs_incl_hosting" if key[0] in hosting else "deployed_ehs", notes)
        if apart:
            group = [_as(c, "btc_on_balance") if c.field == "btc_held_end" else c for c in group]
        months[key] = _without_blocks(_balanced(group, notes), notes)
    settled: list[Finding] = []
    contested: list[Finding] = []
    for group in months.values():
        agreed, differing = _one_each(group, notes)
        settled += agreed
        contested += differing
    settled.sort(key=lambda c: (c.period, c.field, c.scope or "", c.start))
    return settled, contested, notes


def _as(claim: Finding, field: str) -> Finding:
    return replace(claim, field=field)


def _values(group: Iterable[Finding], *fields: str) -> list[Decimal]:
    """The whole company's values of some fields."""
    return [c.value for c in group if c.field in fields and c.scope is None]


def _hashrates(group: Group, total: str, notes: list[str]) -> Group:
    """Hashrates by what stands beside them; `total`: the field of a total, which may hold customers' machines."""
    group = [_as(c, total) if c.field == "hashrate_total" else c for c in group]
    averages = _values(group, "avg_operating_ehs")
    out = [c for c in group if c.field != "hashrate_unnamed"]
    if {c.field for c in out}.isdisjoint(("deployed_ehs", "operating_month_end_ehs")):
        out += _bare([c for c in group if c.field == "hashrate_unnamed"], averages, notes)
    out = _with_hosting(out)
    rated = bool(_values(out, "deployed_ehs"))
    return list(filter(None, (_rated(c, rated, averages) for c in out)))


def _with_hosting(group: Group) -> Group:
    """A row's total, and what a sentence says of it, hold what is smaller and of the company."""
    rated = [c for c in group if c.field == "deployed_ehs" and c.scope is None]
    totals = {c.value for c in rated if c.rule == "table:label:rated-total"}
    own = [c.value for c in rated if c.value not in totals]
    holds = [c for c in rated if c.value in totals and own and min(own) < c.value]
    return [_as(c, "total_energized_ehs_incl_hosting") if c in holds else c for c in group]


def _bare(group: Group, averages: list[Decimal], notes: list[str]) -> Group:
    """A bare `hash rate` beside a lower average is the rated one; alone it could be either, and a person may say."""
    says = "the text does not say whether rated or average"
    out: Group = []
    for c in group:
        rated = _as(c, "deployed_ehs")
        if not averages:
            notes.append(f"{c.period} hashrate {c.printed} EH/s: {says}")
            out += [replace(rated, licensed=False, lacks=("assertion", says))] if c.dated else []
        elif c.value >= averages[-1]:
            out.append(rated)
    return out


def _rated(c: Finding, rated: bool, averages: list[Decimal]) -> Finding | None:
    if c.field == "operating_month_end_ehs":
        if c.value in averages:
            return None  # `its operational hash rate grew to 27.5 EH/s`, which is called an average elsewhere
        if c.scope is None and not rated:
            return _as(c, "deployed_ehs")  # the only point value is the fleet's capacity at month end
    return c


def _balanced(group: Group, notes: list[str]) -> Group:
    """Rows that do not say of what they are: a daily mean is bitcoin where it gives the month's total, a balance or
    a fee where opening + mined + bought - sold - fees = closing."""
    if not any(c.rule.startswith("table:label:bare-") for c in group):
        return group
    here = {c.field: c.value for c in group if c.scope is None}
    flow = sum((here.get(f, _ZERO) for f in _INFLOWS), _ZERO) - sum((here.get(f, _ZERO) for f in _OUTFLOWS), _ZERO)
    closes = {"btc_open", "btc_held_end", "btc_produced"} <= here.keys() and (
        abs(here["btc_open"] + flow - here["btc_held_end"]) <= _CLOSES
    )
    out = []
    for c in group:
        if c.rule == "table:label:bare-balance" and not closes:
            says = "a balance row does not say of what, and no roll-forward of bitcoin closes on it"
            notes.append(f"{c.period}: {says}")
        elif c.rule == "table:label:bare-fee" and not closes:
            out.append(replace(c, licensed=False, lacks=("assertion", f"{c.label!r} could name something else")))
        elif c.rule != "table:label:bare-daily" or _gives(c, _values(group, "btc_produced")):
            out.append(c)
    return out


def _gives(daily: Finding, totals: list[Decimal]) -> bool:
    if len(daily.period) != 7:
        return False
    return any(abs(t - daily.value * days(daily.period)) <= t * Decimal("0.06") for t in totals)


def _without_blocks(group: Group, notes: list[str]) -> Group:
    """Production without counts of blocks that are also called bitcoin, and totals that hold customers' coins."""
    stated = _told(group, "btc_produced")
    hosted = next((c.value for c in _told(group, "hosted_btc_customers")), _ZERO)
    if any(c.value >= hosted >= 1 and c.holds_parts for c in stated):
        notes.append(f"{stated[0].period} btc_produced: left empty, the printed total seems to hold customers' coins")
        group = [c for c in group if c not in stated]
    blocks = {c.value for c in group if c.field == "blocks_won"}
    counted = [c for c in group if c.field == "btc_produced" and c.value in blocks]
    notes += [f"{c.period} btc_produced: {c.printed} is the count of blocks, not of bitcoin" for c in counted]
    return [c for c in group if c not in counted]


def _told(group: Group, field: str) -> Group:
    """What sentences tell of a field."""
    return [c for c in group if c.field == field and c.rule.startswith("open")]


def _one_each(group: Group, notes: list[str]) -> tuple[Group, Group]:
    """One claim for each field and scope; and the readings of those that have none, each with what it contradicts."""
    fields: dict[tuple[str, str | None], Group] = defaultdict(list)
    for c in group:
        fields[(c.field, c.scope)].append(c)
    singles: Group = []
    contested: Group = []
    for (field, _), readings in fields.items():
        best = _agreed(readings)
        rest = {c.value: c for c in readings if best is None or not _same(best, c)}
        if best is not None:
            singles.append(best)
        says = f"the text prints {' and '.join(sorted({c.printed.strip() for c in readings}))}"
        if best is None or rest:
            notes.append(f"{readings[0].period} {field}: {'left empty, ' if best is None else ''}{says}")
        contested += [replace(c, licensed=False, lacks=("assertion", says)) for c in rest.values()]
    return singles, contested


def _agreed(group: Group) -> Finding | None:
    """The claim to keep; None where two of equal strength, or one that is licensed and a strong one, contradict."""
    licensed = [c for c in group if c.licensed]
    top = max(c.strength for c in group)
    rivals = [c for c in group if c.strength == top]
    best = licensed or rivals
    exact = [c for c in best if not c.approximate] or best
    finest = max(exact, key=lambda c: (_decimals(c.value), c.rule.startswith("table"), -c.start))
    if not all(_same(finest, c) for c in (*rivals, *licensed)):
        return None
    return replace(finest, restated=any(c.restated for c in group))


def _same(a: Finding, b: Finding) -> bool:
    """Equal, or one is the other rounded or cut to fewer digits: `2,871` thousand and `2.9 million`."""
    if a.value == b.value:
        return True
    (step, coarse), (finer, fine) = sorted(((_last_place(c), c.value) for c in (a, b)), reverse=True)
    if step > finer and coarse in {(fine / step).quantize(1, how) * step for how in (ROUND_HALF_UP, ROUND_DOWN)}:
        return True
    rounded = a.approximate or b.approximate or _round_figures(a.value) != _round_figures(b.value)
    most = max(a.value, b.value)
    near = abs(a.value - b.value) <= most * Decimal("0.006") and min(_digits(a.value), _digits(b.value)) <= 3
    return rounded and most > 0 and near


def _last_place(c: Finding) -> Decimal:
    """What the last printed digit of a value counts, in the field's unit: 100,000 of `2.9 million`."""
    printed = re.fullmatch(r"\d+(\.\d+)?", c.printed.replace(",", "").strip())
    number = Decimal(printed[0]) if printed is not None else c.value
    scale = abs(c.value / number) if number else Decimal(1)
    return scale.scaleb(-_decimals(number)).normalize()


def _decimals(value: Decimal) -> int:
    return max(0, -int(value.as_tuple().exponent))


def _digits(value: Decimal) -> int:
    return len(value.normalize().as_tuple().digits)


def _round_figures(value: Decimal) -> bool:
    return value >= 1000 and _digits(value) <= 3

"""Findings to facts: what to believe when a document says a thing twice, and when to leave it empty.

Knows nothing of layouts. Equal figures are one; a rounded figure yields to the exact one; a weak reading yields
to a strong one; two strong figures that differ leave the field empty and a note says so. Names that depend on
what stands beside them (operating at month end, totals with hosting) are settled here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

from tieline.disclosures.finding import STRONG, Finding
from tieline.disclosures.lexicon.periods import days_in


def settle(claims: list[Finding], statement: bool) -> tuple[list[Finding], list[Finding], list[str]]:
    """One claim for each issuer, period, field and scope; the readings that contradict it or one another; and a note
    for whatever was left empty."""
    notes: list[str] = []
    claims = _renamed(_named(claims, notes), statement)
    claims = _balanced(claims, notes)
    claims = _summed(claims, notes)
    claims = _without_blocks(claims, notes)
    groups: dict[tuple[str | None, str, str, str | None], list[Finding]] = defaultdict(list)
    for c in claims:
        groups[(c.issuer, c.period, c.field, c.scope)].append(c)
    kept: list[Finding] = []
    contested: list[Finding] = []
    for group in groups.values():
        best = _agreed(group)
        if best is None:
            values = sorted({c.printed.strip() for c in group})
            first = group[0]
            notes.append(f"{first.period} {first.field}: left empty, the text prints {' and '.join(values)}")
            distinct = {
                c.value: replace(c, licensed=False, lacks=("assertion", f"the text prints {' and '.join(values)}"))
                for c in group
            }
            contested.extend(distinct.values())
        else:
            kept.append(best)
    kept = _plausible(kept, notes)
    kept.sort(key=lambda c: (c.period, c.field, c.scope or "", c.start))
    return kept, contested, notes


def _named(claims: list[Finding], notes: list[str]) -> list[Finding]:
    """A bare `hash rate` beside a lower average is the rated one; alone it could be either and stays empty.

    A `total hash rate` in a text that counts customers' coins holds their machines as well.
    """
    hosting = {c.issuer for c in claims if c.field == "hosted_btc_customers"}
    claims = [
        replace_field(c, "total_energized_ehs_incl_hosting" if c.issuer in hosting else "deployed_ehs")
        if c.field == "hashrate_total"
        else c
        for c in claims
    ]
    averages: dict[tuple[str | None, str], Decimal] = {
        (c.issuer, c.period): c.value for c in claims if c.field == "avg_operating_ehs" and c.scope is None
    }
    taken = {(c.issuer, c.period) for c in claims if c.field in ("deployed_ehs", "operating_month_end_ehs")}
    out = []
    for c in claims:
        if c.field != "hashrate_unnamed":
            out.append(c)
            continue
        key = (c.issuer, c.period)
        if key in taken:
            continue
        if key in averages and c.value >= averages[key]:
            out.append(replace_field(c, "deployed_ehs"))
        else:
            notes.append(
                f"{c.period} hashrate {c.printed} EH/s: the text does not say whether rated or average, left empty"
            )
    return out


def _renamed(claims: list[Finding], statement: bool) -> list[Finding]:
    out: list[Finding] = []
    rated = defaultdict(list)
    for c in claims:
        if c.field == "deployed_ehs" and c.scope is None:
            rated[(c.issuer, c.period)].append(c)
    receivable = any(c.field == "btc_receivable_from_collateral" for c in claims)
    averages = {(c.issuer, c.period, c.value) for c in claims if c.field == "avg_operating_ehs" and c.scope is None}
    for c in claims:
        if c.field == "operating_month_end_ehs" and (c.issuer, c.period, c.value) in averages:
            continue  # `its operational hash rate grew to 27.5 EH/s`, which is called an average elsewhere
        own = [r for r in rated[(c.issuer, c.period)] if r is not c and r.rule != "table:label:rated-total"]
        if c.rule == "table:label:rated-total" and any(r.value < c.value for r in own):
            out.append(replace_field(c, "total_energized_ehs_incl_hosting"))
        elif c.field == "operating_month_end_ehs" and c.scope is None and not rated[(c.issuer, c.period)]:
            # Where only one point value is printed, it is the fleet's capacity at month end.
            out.append(replace_field(c, "deployed_ehs"))
        elif statement and receivable and c.field == "btc_held_end":
            out.append(replace_field(c, "btc_on_balance"))
        else:
            out.append(c)
    return out


def replace_field(claim: Finding, field: str) -> Finding:
    """The same claim under another field."""
    return replace(claim, field=field)


_INFLOWS, _OUTFLOWS = ("btc_produced", "btc_purchased"), ("btc_sold", "service_fee_btc")


def _balanced(claims: list[Finding], notes: list[str]) -> list[Finding]:
    """A balance row that does not say of what is bitcoin where opening + mined + bought - sold - fees = closing."""
    bare = [c for c in claims if c.rule == "table:label:bare-balance"]
    dropped: set[int] = set()
    for c in claims:
        if c.rule == "table:label:bare-daily":
            totals = [
                o.value
                for o in claims
                if (o.issuer, o.period, o.field, o.scope) == (c.issuer, c.period, "btc_produced", None)
            ]
            if len(c.period) != 7 or not any(
                abs(t - c.value * days_in(c.period)) <= t * Decimal("0.06") for t in totals
            ):
                dropped.add(id(c))
    for key in {(c.issuer, c.period) for c in bare}:
        here = {c.field: c.value for c in claims if (c.issuer, c.period) == key and c.scope is None}
        flow = sum((here.get(f, Decimal(0)) for f in _INFLOWS), Decimal(0))
        flow -= sum((here.get(f, Decimal(0)) for f in _OUTFLOWS), Decimal(0))
        closes = {"btc_open", "btc_held_end", "btc_produced"} <= here.keys() and abs(
            here["btc_open"] + flow - here["btc_held_end"]
        ) <= Decimal("0.15")
        if not closes:
            dropped.update(id(c) for c in bare if (c.issuer, c.period) == key)
            notes.append(f"{key[1]}: a balance row does not say of what, and no roll-forward of bitcoin closes on it")
    return [c for c in claims if id(c) not in dropped]


def _summed(claims: list[Finding], notes: list[str]) -> list[Finding]:
    """Sites that add up to a printed total in one month give the total of the table's other months."""
    out = list(claims)
    parts: dict[tuple[str | None, str], list[Finding]] = defaultdict(list)
    for c in claims:
        if c.field == "btc_produced" and c.scope is not None and c.rule.startswith("table:"):
            parts[(c.issuer, c.period)].append(c)
    totals: dict[tuple[str | None, str], set[Decimal]] = defaultdict(set)
    for c in claims:
        if c.field == "btc_produced" and c.scope is None:
            totals[(c.issuer, c.period)].add(c.value)
    proven = {
        frozenset(c.scope for c in group)
        for key, group in parts.items()
        if len(group) > 1 and sum((c.value for c in group), Decimal(0)) in totals[key]
    }
    for key, group in parts.items():
        scopes = frozenset(c.scope for c in group)
        if scopes in proven and not totals[key] and len(scopes) == len(group):
            total = sum((c.value for c in group), Decimal(0))
            start, end = min(c.start for c in group), max(c.end for c in group)
            printed = " + ".join(c.printed for c in group)
            out.append(
                Finding(
                    "btc_produced",
                    total,
                    key[1],
                    start,
                    end,
                    printed,
                    "table:sum-of-sites",
                    STRONG,
                    None,
                    key[0],
                    method="sum",
                )
            )
            notes.append(
                f"{key[1]} btc_produced: {printed} = {total}, a sum proven by the month whose total is printed"
            )
    return out


def _without_blocks(claims: list[Finding], notes: list[str]) -> list[Finding]:
    """A count of blocks that is also called bitcoin is a count of blocks."""
    hosted = {
        (c.issuer, c.period): c.value for c in claims if c.field == "hosted_btc_customers" and c.rule.startswith("open")
    }
    mixed = {
        (c.issuer, c.period)
        for c in claims
        if c.field == "btc_produced"
        and c.rule.startswith("open")
        and c.value >= hosted.get((c.issuer, c.period), Decimal(0)) >= Decimal(1)
        and c.holds_parts
    }
    for _, period in mixed:
        notes.append(f"{period} btc_produced: left empty, the printed total seems to hold customers' coins")
    claims = [
        c
        for c in claims
        if not (c.field == "btc_produced" and (c.issuer, c.period) in mixed and c.rule.startswith("open"))
    ]
    blocks = {(c.issuer, c.period, c.value) for c in claims if c.field == "blocks_won"}
    produced = defaultdict(set)
    for c in claims:
        if c.field == "btc_produced" and c.scope is None:
            produced[(c.issuer, c.period)].add(c.value)
    out = []
    for c in claims:
        if c.field == "btc_produced" and (c.issuer, c.period, c.value) in blocks:
            notes.append(f"{c.period} btc_produced: {c.printed} is the count of blocks, not of bitcoin")
            continue
        out.append(c)
    return out


def _agreed(group: list[Finding]) -> Finding | None:
    """The claim to keep; None where two of equal strength, or one that is licensed and a strong one, contradict."""
    top = max(c.strength for c in group)
    strong = [c for c in group if c.strength == top]
    licensed = [c for c in group if c.licensed]
    exact = [c for c in licensed or strong if not c.approximate] or licensed or strong
    finest = max(exact, key=lambda c: (_decimals(c.value), c.rule.startswith("table"), -c.start))
    if all(_same(finest, c) for c in (*strong, *licensed)):
        restated = any(c.restated for c in group)
        return replace(finest, restated=restated) if restated else finest
    return None


def _same(a: Finding, b: Finding) -> bool:
    """Equal, or one is the other rounded or cut to fewer digits."""
    if a.value == b.value:
        return True
    fine, coarse = (a, b) if _decimals(a.value) >= _decimals(b.value) else (b, a)
    places = Decimal(1).scaleb(-_decimals(coarse.value))
    if coarse.value in (
        fine.value.quantize(places, ROUND_HALF_UP),
        fine.value.quantize(places, ROUND_DOWN),
    ) and _decimals(fine.value) > _decimals(coarse.value):
        return True
    if (
        b.approximate
        or a.approximate
        or re.search(r"million|billion|[mkMK]\b|万|亿", a.printed + b.printed)
        or _round_figures(a.value) != _round_figures(b.value)
    ) and max(a.value, b.value) > 0:
        return (
            abs(a.value - b.value) <= max(a.value, b.value) * Decimal("0.006")
            and min(_significant(a.value), _significant(b.value)) <= 3
        )
    return False


def _decimals(value: Decimal) -> int:
    return max(0, -int(value.as_tuple().exponent))


def _significant(value: Decimal) -> int:
    return len(value.normalize().as_tuple().digits)


def _round_figures(value: Decimal) -> bool:
    return value >= 1000 and _significant(value) <= 3


def _plausible(claims: list[Finding], notes: list[str]) -> list[Finding]:
    """Notes on figures that cannot both be right, and the removal of impossible ones."""
    by_key: dict[tuple[str | None, str], dict[str, Finding]] = defaultdict(dict)
    for c in claims:
        if c.scope is None:
            by_key[(c.issuer, c.period)][c.field] = c
    dropped: set[int] = set()
    managed = {c.value for c in claims if c.field == "managed_ehs"}
    for (_, period), found in by_key.items():
        produced, average = found.get("btc_produced"), found.get("avg_btc_per_day")
        if produced is not None and average is not None and len(period) == 7 and average.value > 0:
            days = produced.value / average.value
            if days > days_in(period) * Decimal("1.08"):
                said = f"{produced.printed} produced at {average.printed} a day"
                notes.append(f"{period}: {said} are {days:.1f} days of {days_in(period)}")
            if average.value > produced.value:
                dropped.add(id(average))
                what = f"{average.printed} is more than the month's {produced.printed}"
                notes.append(f"{period} avg_btc_per_day: left empty, {what}")
        rated = found.get("deployed_ehs")
        if rated is not None and rated.value in managed and rated.rule.startswith("open"):
            dropped.add(id(rated))  # customers' machines included
        held, pledged = found.get("btc_held_end"), found.get("restricted_or_pledged_btc")
        if held is not None and pledged is not None and pledged.value > held.value and held.value > 0:
            notes.append(f"{period}: {pledged.printed} pledged is more than {held.printed} held")
    return [c for c in claims if id(c) not in dropped]

"""Table rows to claims: which field a label names, which month each value belongs to.

Knows nothing of sentences. A row is read only where its values and the columns agree in number; otherwise it
says so and stays empty.
"""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from typing import Literal

from tieline.disclosures.documents.context import Context, key_of
from tieline.disclosures.documents.issuers import mentions
from tieline.disclosures.finding import FLOWS, STRONG, WEAK, Finding, convert
from tieline.disclosures.lexicon.numbers import PrintedNumber, exact, quantities
from tieline.disclosures.lexicon.periods import Period, as_heading, periods
from tieline.disclosures.tables import glued
from tieline.disclosures.tables.labels import Label, classify, period_in, unit_in
from tieline.disclosures.tables.layout import Row
from tieline.disclosures.tables.stretches import CHANGE, PeriodColumn, Value

_RESTATED = re.compile(
    r"restate|revis|recast|adjust(?:ed|ment)|correct(?:ed|ion)|reflects|更正|修正|重述|angepasst|corrig", re.IGNORECASE
)
_OPEN_ENDED = re.compile(
    r"(?:\b(?:by|of|per|and|for|the|from|in|at|on|to|net|total|average|avg\.?|self-mined)|[-/(,&])\s*$", re.IGNORECASE
)


def claims(text: str, rows: list[Row], ctx: Context) -> tuple[list[Finding], list[str]]:
    """Every claim that the tables make, and a note for each row that could not be read."""
    out: list[Finding] = []
    notes: list[str] = []
    starred = _has_restatement_note(text)
    for row in rows:
        if row.glued:
            _glued(text, row, ctx, out, notes)
        else:
            _row(text, row, ctx, out, notes, starred)
    _pairs(text, ctx, out)
    return _totals_first(text, out), notes


def _totals_first(text: str, found: list[Finding]) -> list[Finding]:
    """`Total hashrate under management` outranks a segment's row that the label names as the same field."""
    total = {
        (c.period, c.field)
        for c in found
        if c.scope is None
        and c.field in _ADD_UP
        and re.match(r"\W*total\b", text[c.start : c.start + 12], re.IGNORECASE)
    }
    return [
        c
        for c in found
        if (c.period, c.field) not in total
        or c.scope is not None
        or re.match(r"\W*total\b", text[c.start : c.start + 12], re.IGNORECASE)
    ]


_ADD_UP = ("managed_ehs",)
"""Fields of which a segment prints a row under the same name; of others a total counts customers' coins as well."""


_PAIR = re.compile(
    r"(?m)(?:^|(?<=[.;][ \t])(?<!Avg\.[ \t])(?<!avg\.[ \t])(?<!AVG\.[ \t]))[ \t>*-]*(?P<label>[^\n|:：;]{3,90}?)[ \t]*[:：][ \t]*(?:\n[ \t]*){0,2}(?=[\w$€£(~≈])"
)
_FIRST_PERIOD = re.compile(r"[ \t]*[(\[][ \t]*(?P<when>[^()\[\]:：\n]{3,24}?)[ \t]*[:：=][ \t]*")
"""`44.7 BTC (October 2024: 41.2 BTC)`: the month stands before the other figure."""
_BESIDE = re.compile(
    r"[ \t]*[,(\[]?[ \t]*(?:(?:an? )?\d[\d.,]*[ ]?%[^,;.()\d]{0,30}(?:from|than|against|vs\.?)|vs\.?|versus|compared (?:to|with)|up from|down from|from|against"
    r"|prior month:?|previous month:?|前月|上月|较|vorher|vormonat:?)[ \t]*",
    re.IGNORECASE,
)


def _pairs(text: str, ctx: Context, out: list[Finding]) -> None:
    """`Label: value`, with the other month's value beside it: `30 BTC (vs 32 BTC in Mar 2025)`."""
    for m in _PAIR.finditer(text):
        end = text.find("\n", m.end())
        end = len(text) if end < 0 else end
        found = quantities(text, m.end(), min(end, m.end() + 160), ctx.style)
        label = re.sub(r"\s+", " ", m["label"])
        if not found or not _is_pair(text, m, found[0]) or (named := classify(label, found[0].unit)) is None:
            continue
        q = found[0]
        if "\n" in text[m.end("label") : q.start] and _VALUE_LINE.match(text, q.end):
            continue  # the first of several columns
        over = _heads_list(text, m.start())
        if over is False:
            continue
        own = period_in(m["label"]) or over
        period = key_of(own, ctx) if own is not None else ctx.period
        pairs = [(q, period, own is not None)]
        other = _other_month(text, found, end, ctx)
        if other is not None and other[1] != period:
            pairs.append((*other, True))
        for number, key, dated in pairs:
            amount = convert(named.field, number, named.unit)
            if key is None or isinstance(amount, str) or number.unit not in (q.unit, None):
                continue
            out.append(
                Finding(
                    named.field, amount, key, m.start("label"), number.end, number.printed, f"pair:{named.rule}",
                    WEAK if named.weak else STRONG, named.scope, label=label, dated=dated, at=number.start,
                )
            )  # fmt: skip


def _is_pair(text: str, m: re.Match[str], q: PrintedNumber) -> bool:
    """Does the value stand right behind the label, and is what stands before it a label?"""
    if not re.fullmatch(
        r"\s*(?:approx(?:imately|\.)?|about|ca\.|约|約|rund|~|≈)?\s*", text[m.end() : q.start], re.IGNORECASE
    ):
        return False
    if m["label"].count("(") != m["label"].count(")") or re.search(r"[$€£]\s?\d|\d[,.]\d", m["label"]):
        return False  # a sentence with figures of its own, not a label
    if _notes_only(text, q):
        return False
    return q.unit != "%" and not re.match(r"\s*(?:-|to|bis|和|至)\s*\d", text[q.end : q.end + 8])


def _other_month(
    text: str, found: list[PrintedNumber], end: int, ctx: Context
) -> tuple[PrintedNumber, str | None] | None:
    """The value of another month on the same line, which names it: before the figure and a colon, or behind it."""
    q = found[0]
    earlier = _FIRST_PERIOD.match(text, q.end)
    if earlier is not None:
        behind = [x for x in found[1:] if x.start >= earlier.end()]
        named = periods(text, earlier.start("when"), earlier.end("when") + 1)
        if behind and len(named) == 1 and not text[earlier.end() : behind[0].start].strip(" $US€£"):
            return behind[0], key_of(named[0], ctx)
        return None
    beside = _BESIDE.match(text, q.end)
    others = [x for x in found[1:] if x.unit != "%"]
    if beside is None or not others or others[0].start != beside.end():
        return None
    when = [p for p in periods(text, others[0].end, end) if p.start - others[0].end < 30]
    return (others[0], key_of(when[0], ctx)) if when else None


def _notes_only(text: str, q: PrintedNumber) -> bool:
    """`Bitcoin sold:3`, `Bitcoin sold: (3)`, `Bitcoin sold: 3 | 41`: the number of a note, with no value or before it."""
    if q.unit is not None or q.decimals or not 0 < abs(q.value) < 10:
        return False
    return (
        q.negative
        or text[q.start - 1] in ":：("
        or bool(re.match(r"\)?:?\s*(?:\||[($€£~]*\d)", text[q.end : q.end + 8]))
    )


_VALUE_LINE = re.compile(
    r"[^\n]{0,12}\n\s*(?:[~≈]\s?)?[($€£]{0,2}\d[\d.,]*[^\n]{0,12}(?:\n|\Z)|[^\n]{0,12}\n\s*(?:-|N/A)\s*(?:\n|\Z)"
)


def _heads_list(text: str, at: int) -> Period | Literal[False] | None:
    """The month that stands alone over a list of pairs: `June 2025`, then `Bitcoin mined: 41`.

    False where what stands there is no month: `YTD 2025`. Two months above one another head columns.
    """
    above: Period | None = None
    for line in reversed(text[max(0, at - 1500) : at].split("\n")[:-1]):
        if not line.strip() or _PAIR.match(line):
            if above is not None:
                return above
            continue
        if CHANGE.fullmatch(line.strip(" :*#|")):
            return False if above is None else None
        found = periods(line)
        alone = len(found) == 1 and len(line.strip(" :*-#|")) <= found[0].end - found[0].start + 2
        if above is not None:
            return None if alone else above
        if not alone:
            return None
        above = as_heading(found[0])
    return above


def _row(text: str, row: Row, ctx: Context, out: list[Finding], notes: list[str], starred: bool) -> None:
    unit = next(
        (v.quantity.unit for v in row.values if v.quantity is not None and v.quantity.unit not in (None, "%")), None
    )
    if unit is None and row.values and row.values[0].quantity is not None:
        unit = row.values[0].quantity.unit
    found, name, start = _label(row, unit)
    if found is None:
        return
    if row.subject:
        _company(row, found, ctx, out)
        return
    pairs = _align(text, row)
    if isinstance(pairs, str):
        notes.append(f"{name!r}: {pairs}")
        return
    if not row.columns and not _stands_alone(text, row):
        return
    pairs = _without_twins(pairs)
    if not found.field.endswith("_pct") and any(_percentage(c, v) for c, v in pairs):
        notes.append(f"{name!r}: a percentage stands where a month's value belongs")
        return
    for column, value in pairs:
        period = _period(column, name, ctx)
        if period is None:
            continue
        claim = _claim(found, value, period, start, text)
        if isinstance(claim, str):
            notes.append(f"{name!r}: {claim}")
        elif claim is not None:
            if starred and value.quantity is not None and "*" in value.quantity.mark:
                claim.restated = True
            claim.label, claim.at = name, value.start
            claim.dated = column is not None or period_in(name) is not None
            out.append(claim)


def _percentage(column: PeriodColumn | None, value: Value) -> bool:
    """Is it a percentage in a period's own column?"""
    own = column is None or column.period is not None
    return own and value.quantity is not None and value.quantity.unit == "%"


def _without_twins(pairs: list[tuple[PeriodColumn | None, Value]]) -> list[tuple[PeriodColumn | None, Value]]:
    """A month that heads two columns: the second is its change where it prints a percentage; else neither is read."""
    out: list[tuple[PeriodColumn | None, Value]] = []
    seen: dict[str | None, int] = {}
    for column, value in pairs:
        key = _heads(column)
        if key is not None and key in seen:
            if value.kind == "number" and (value.quantity is None or value.quantity.unit != "%"):
                out = [(c, v) for c, v in out if _heads(c) != key]
            continue
        seen[key] = 1
        out.append((column, value))
    return out


def _heads(column: PeriodColumn | None) -> str | None:
    p = column.period if column is not None else None
    return None if p is None else f"{p.kind} {p.year} {p.month} {p.day}"


def _company(row: Row, found: Label, ctx: Context, out: list[Finding]) -> None:
    """One cell of a table of companies; a row that names no listed miner is a site or a remark and is left out."""
    named = {ticker for _, ticker in mentions(row.subject)}
    q = row.values[0].quantity
    if len(named) != 1 or q is None or ctx.period is None or found.scope is not None:
        return
    amount = convert(found.field, q, found.unit)
    if not isinstance(amount, str):
        claim = Finding(
            found.field,
            amount,
            ctx.period,
            row.line[0],
            row.values[0].end,
            q.printed,
            f"companies:{found.rule}",
            STRONG,
            label=row.labels[-1][0] if row.labels else "",
            at=row.values[0].start,
        )
        claim.issuer = named.pop()
        out.append(claim)


_IN_COINS = re.compile(
    r"\(?\s*(?:in |all figures in )?(?:BTC|bitcoins?)\s*\)?(?: \((?:unaudited|BTC)\))?:?", re.IGNORECASE
)
"""A table's corner that gives the unit of its rows."""


def _label(row: Row, unit: str | None) -> tuple[Label | None, str, int]:
    """The field of the nearest label line, joined with the lines above it as far as needed."""
    lines = row.labels
    count = 1
    while count < len(lines) and (re.match(r"[a-z(]", lines[-count][0]) or _OPEN_ENDED.search(lines[-count - 1][0])):
        count += 1
    for k in range(count, len(lines) + 1):
        name = " ".join(line for line, _, _ in lines[-k:])
        section = row.section if k < len(lines) or row.section not in name else ""
        found = classify(re.sub(r"\s+", " ", name), unit, section)
        if found is not None:
            return found, name, lines[-k][1]
        if found is None and unit is None and k == count and _IN_COINS.fullmatch(row.corner):
            found = classify(re.sub(r"\s+", " ", name), "BTC", section)
            if found is not None:
                return found, name, lines[-k][1]
        if k > count and len(lines[-k][0]) > 60:
            break
    return None, lines[-1][0] if lines else "", 0


def _align(text: str, row: Row) -> list[tuple[PeriodColumn | None, Value]] | str:
    """Each value with its column; a reason where they do not fit."""
    values, columns = row.values, row.columns
    filled = [v for v in values if not (v.kind == "absent" and not text[v.start : v.end].strip())]
    if len(filled) == 1 and _is_footnote(filled[0]) and filled[0].quantity is not None and filled[0].quantity.negative:
        return "a footnote's number and no value"
    if not columns:
        numbers = [v for v in filled if v.quantity is None or v.quantity.unit != "%"]
        return [(None, numbers[0])] if len(numbers) == 1 and len(filled) <= 2 else "values without a heading above them"
    months = [c for c in columns if c.period is not None and c.period.kind == "month"]
    dated = [c for c in columns if c.period is not None]
    notes = [_is_footnote(v) for v in filled]
    one_more = len(filled) == len(columns) + 1
    # The first that fits: what is filled, what has a place, what is left without a note's mark, dated columns alone.
    for fits, heads, cells in (
        (len(filled) == len(columns), columns, filled),
        (len(values) == len(columns), columns, values),
        (one_more and notes[0], columns, filled[1:]),
        (one_more and notes[-1] and not any(notes[:-1]), columns, filled[:-1]),
        (bool(dated) and len(filled) == len(dated), dated, filled),
        (bool(months) and len(filled) == len(months), months, filled),
    ):
        if fits:
            return list(zip(heads, cells, strict=True))
    rest = filled[len(columns) :]
    # Dashes behind the last column are bullets of what follows; percentages are changes.
    changes = len(columns) == len(dated) and all(_percentage(None, v) for v in rest)
    if rest and (changes or all(v.kind == "zero" for v in rest)):
        return list(zip(columns, filled, strict=False))
    return f"{len(filled)} values under {len(columns)} headings: not read"


def _is_footnote(value: Value) -> bool:
    q = value.quantity
    bracketed = q is not None and q.negative and q.end - q.start <= len("(12)")
    return q is not None and q.unit is None and (bracketed or not q.negative) and q.decimals == 0 and 0 < q.value < 20


def _stands_alone(text: str, row: Row) -> bool:
    """A label and one value without a heading: read where a colon, a bar or a line of its own sets them apart."""
    label, value = row.labels[-1], row.values[0]
    gap = text[label[2] : value.start] if label[2] <= value.start else text[value.end : label[1]]
    if re.search(r"[:：|\n]", gap) or label[0].rstrip().endswith((":", "：")):
        return True
    return bool(re.match(r"\s*[:：]", text[label[2] : label[2] + 3]))


def _period(column: PeriodColumn | None, name: str, ctx: Context) -> str | None:
    """The key of the period that a value belongs to."""
    if column is not None and column.period is None:
        return None
    own = period_in(name)
    if own is not None and (column is None or (column.period is not None and column.period.year is None)):
        return key_of(own, ctx)
    if column is None:
        return ctx.period
    assert column.period is not None
    return key_of(as_heading(column.period), ctx)


def _claim(found: Label, value: Value, period: str, start: int, text: str) -> Finding | str | None:
    begin = start if 0 <= value.start - start <= 400 else value.start
    if value.kind == "absent":
        return None
    strength = WEAK if found.weak else STRONG
    if value.kind == "zero":
        if found.field not in FLOWS or "Q" in period:
            return None
        return Finding(
            found.field,
            Decimal(0),
            period,
            begin,
            value.end,
            text[value.start : value.end].strip(),
            "table:dash",
            strength,
            found.scope,
        )
    q = value.quantity
    assert q is not None
    amount = convert(found.field, q, found.unit)
    if isinstance(amount, str):
        return amount
    return Finding(
        found.field, amount, period, begin, value.end, q.printed, f"table:{found.rule}", strength, found.scope
    )


def _has_restatement_note(text: str) -> bool:
    """A footnote that begins with the star and speaks of a restatement."""
    return any(_RESTATED.search(m[0]) for m in re.finditer(r"(?m)^\s*[*†]\s*[A-Z(].{8,300}", text))


def _glued(text: str, row: Row, ctx: Context, out: list[Finding], notes: list[str]) -> None:
    line, start, _ = row.labels[0]
    months = [c for c in row.columns if c.period is not None and c.period.kind == "month"]
    solved = glued.solve(line, len(months))
    if solved is None:
        return
    if isinstance(solved, str):
        if classify(re.sub(r"\d.*$", "", line)) is not None:
            notes.append(f"{line[:60]!r}: {solved}")
        return
    name, pieces = solved
    unit = next((_unit(p.unit) for p in pieces if p.unit), None)
    found = classify(re.sub(r"[\d,$]+$", "", name), unit)
    if found is None:
        return
    found = replace(found, unit=found.unit or unit_in(name))
    for column, piece in zip(months, pieces, strict=True):
        period = _period(column, name, ctx)
        if period is None:
            continue
        value = exact(piece.value.scaleb(piece.scale)) if piece.scale else piece.value
        q = PrintedNumber(value, _unit(piece.unit), start + piece.start, start + piece.end, str(piece.value))
        amount = convert(found.field, q, found.unit)
        if isinstance(amount, str):
            notes.append(f"{line[:60]!r}: {amount}")
            continue
        printed = text[start + piece.start : start + piece.end]
        out.append(
            Finding(
                found.field,
                amount,
                period,
                start,
                start + piece.end,
                printed,
                "table:glued",
                STRONG,
                found.scope,
                label=re.sub(r"[\d,$]+$", "", name),
                dated=True,
                at=start + piece.start,
            )
        )


def _unit(unit: str | None) -> str | None:
    return {"W/TH": "J/TH", "MW": "power"}.get(unit or "", unit)

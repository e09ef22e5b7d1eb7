"""Table rows whose cells ran together: `Bitcoin Held17,2757,2656,696 0%9%`.

Knows nothing of fields. The printed percentages decide: among all ways to cut the digits into one value per
month, with or without footnote digits in front, those remain whose changes round to the printed ones. A single
remaining reading is taken; several, or none, are refused. Values carry intervals of their own rounding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice, product

MAX_DIGITS = 40
"""A row of four months of five digits with footnotes has fewer; longer runs are not a joined row."""
MAX_READINGS = 20_000

_GROUPED = r"(?:[1-9]\d{0,2}(?:,\d{3})+|0|[1-9]\d*)(?:\.\d+)?"
_NUMBER = re.compile(_GROUPED)
_PERCENTS = re.compile(r"(?P<sign>-?)\s?(?P<value>\d+(?:\.\d+)?) ?%")
_BODY = re.compile(r"^(?P<label>.*?[A-Za-z)])(?P<body>\d?[\d,]*\$?\d.*)$", re.DOTALL)
_SIGNED = r"[~$]\s?(?P<num>\d[\d,]*(?:\.\d+)?)\s?(?P<scale>million|billion|bn|m)?"
_SET_APART = re.compile(
    r"^(?P<label>.*?[A-Za-z)])\*?(?P<body>(?:" + re.sub(r"\?P<\w+>", "?:", _SIGNED) + r"\s*){2,})$", re.DOTALL
)
"""`Deployed Miners~1,000~12,450~12,450`: each value begins with a sign, and no footnote can stand between."""
_UNIT = re.compile(r"\s?(?P<unit>EH/s|PH/s|TH/s|J/TH|W/TH|BTC|MW|c/kWh|million|billion|m\b|bn\b)")
_SCALES = {"million": 6, "m": 6, "billion": 9, "bn": 9}


@dataclass(frozen=True, slots=True)
class Piece:
    """One value of a joined row, with its place in the row's text."""

    value: Decimal
    start: int
    end: int
    unit: str | None
    scale: int = 0


def solve(row: str, months: int) -> tuple[str, list[Piece]] | str | None:
    """The label and one piece per month; a reason where the row has two readings; None where it is no such row."""
    if months < 2:
        return None
    if (apart := _set_apart(row, months)) is not None:
        return apart
    match = _BODY.match(row)
    percents = list(_PERCENTS.finditer(match["body"])) if match is not None else []
    if match is None:
        return None
    if not percents:
        return _alike(match, months)
    splits: dict[tuple[Decimal, ...], list[Piece]] = {}
    for numbers, printed in _ends(match["body"], percents):
        if sum(c.isdigit() for c in numbers) > MAX_DIGITS:
            return None
        readings = list(islice(_cut(numbers, match.start("body"), months), MAX_READINGS + 1))
        if len(readings) > MAX_READINGS:
            return "too many ways to cut the row"
        for reading in readings:
            if _agrees(reading, printed):
                splits.setdefault(tuple(p.value for p in reading), reading)
    if len(splits) == 1:
        return match["label"], next(iter(splits.values()))
    return f"the cells ran together and {'several readings fit' if splits else 'no reading fits the printed changes'}"


def _set_apart(row: str, months: int) -> tuple[str, list[Piece]] | None:
    """Values that begin with `$` or `~`; grouped digits show that none has a footnote behind it."""
    match = _SET_APART.match(row)
    if match is None:
        return None
    pieces: list[Piece] = []
    for m in re.finditer(_SIGNED, match["body"]):
        number, at = m["num"], match.start("body")
        if not _NUMBER.fullmatch(number) or re.fullmatch(r"\d{4,}", number):
            return None
        unit = "USD" if m[0][0] == "$" else None
        pieces.append(Piece(_decimal(number), at + m.start(), at + m.end(), unit, _SCALES.get(m["scale"] or "", 0)))
    return (match["label"], pieces) if len(pieces) == months else None


def _alike(match: re.Match[str], months: int) -> tuple[str, list[Piece]] | None:
    """`10.963.669.2`: values of as many decimals each, or each with its unit. Whether a digit in front of one is a
    footnote's nothing says: such cells prove no figure."""
    body = match["body"]
    decimals = len(body.rstrip().rpartition(".")[2])
    number = rf"\d[\d,]*\.\d{{{decimals}}}"
    if (units := _UNIT.findall(body)) and len(units) == months:
        number = rf"\d[\d,]*(?:\.\d+)?{_UNIT.pattern.replace('?P<unit>', '?:')}"
    elif body.count(".") != months:
        return None
    found = list(re.finditer(number, body))
    if len(found) != months or re.sub(number, "", body).strip():
        return None
    pieces = []
    for m in found:
        unit = _UNIT.search(m[0])
        digits = m[0][: unit.start()] if unit is not None else m[0]
        if not _NUMBER.fullmatch(digits):
            return None
        at = match.start("body") + m.start()
        pieces.append(Piece(_decimal(digits), at, at + len(m[0]), unit["unit"] if unit is not None else None))
    return match["label"], pieces


def proves(row: str) -> bool:
    """Do printed changes, or signs before each value, show where one cell ends?"""
    return "%" in row or _SET_APART.match(row) is not None


def _ends(body: str, percents: list[re.Match[str]]) -> list[tuple[str, list[str]]]:
    """Where the values end and the first change begins: `405 10%2%` says it, `40510%2%` leaves up to three ways."""
    ends = [("-" if p["sign"] else "") + p["value"] for p in percents]
    numbers = body[: percents[0].start()].rstrip()
    if not percents[0][0][0].isdigit() or not (numbers[-1:].isdigit() or numbers[-1:] in ("", ",")):
        return [(numbers, ends)]
    run = percents[0]["value"]
    whole = len(run.partition(".")[0])
    cuts = [whole - k for k in (1, 2, 3) if k < whole and (k == 1 or run[whole - k] != "0")]
    return [(numbers + run[:at], [run[at:], *ends[1:]]) for at in cuts]


def _cut(numbers: str, at: int, months: int) -> Iterator[list[Piece]]:
    """All readings of the digits as `months` values, each of one style: money, with a unit, or bare."""
    if "$" in numbers:
        ends = [m.end() for m in re.finditer(r"\$[^$]+", numbers)]
        options = _money
    elif _UNIT.search(numbers):
        ends = [m.end() for m in _UNIT.finditer(numbers)]
        options = _with_unit
    else:
        yield from _bare(numbers, 0, at, months, ())
        return
    starts = [numbers.find("$") if "$" in numbers else 0, *ends[:-1]]
    if len(ends) == months:
        for reading in product(*(options(numbers[a:b], at + a) for a, b in zip(starts, ends, strict=True))):
            yield list(reading)


def _money(text: str, at: int) -> list[Piece]:
    """`$12.1 million`, `$26,4563`: one digit may be the footnote of the next cell."""
    m = re.match(r"\$\s?(?P<num>[\d,]+(?:\.\d+)?)\s?(?P<scale>million|billion|m|bn)?", text)
    if m is None:
        return []
    number, scale = m["num"], m["scale"] or ""
    whole = [(number, m.end())] + ([(number[:-1], m.end("num") - 1)] if not scale else [])
    return [Piece(_decimal(n), at, at + end, "USD", _SCALES.get(scale, 0)) for n, end in whole if _NUMBER.fullmatch(n)]


def _with_unit(text: str, at: int) -> list[Piece]:
    """`210.7 EH/s`: up to two digits in front may be footnotes."""
    m = re.fullmatch(r"(?P<lead>\s*)(?P<num>.*?)\s*" + _UNIT.pattern, text, re.DOTALL)
    if m is None:
        return []
    number, begin, end = m["num"], at + m.start("num"), at + m.end("num")
    cuts = [k for k in range(min(3, len(number))) if number[:k].replace(",", "").isdigit() or not k]
    return [Piece(_decimal(number[k:]), begin + k, end, m["unit"]) for k in cuts if _NUMBER.fullmatch(number[k:])]


def _bare(text: str, i: int, at: int, months: int, taken: tuple[Piece, ...]) -> Iterator[list[Piece]]:
    """Digits as numbers with as many decimals each, every one with up to one footnote digit in front."""
    while text[i : i + 1] == " ":
        i += 1
    if not months:
        if i == len(text):
            yield list(taken)
        return
    for begin in (i, i + 1):
        if begin > i and not text[i : i + 1].isdigit():
            return
        for end in range(begin + 1, min(len(text), begin + 12) + 1):
            digits = text[begin:end]
            alike = not taken or len(digits.partition(".")[2]) == _places(taken[0].value)
            if alike and _NUMBER.fullmatch(digits):
                piece = Piece(_decimal(digits), at + begin, at + end, None)
                yield from _bare(text, end, at, months - 1, (*taken, piece))


def _decimal(digits: str) -> Decimal:
    return Decimal(digits.replace(",", ""))


def _places(value: Decimal) -> int:
    return max(0, -int(value.as_tuple().exponent))


def _agrees(reading: list[Piece], printed: list[str]) -> bool:
    """Do the printed changes follow from these values? Month on month first, then year on year."""
    first, *others = reading
    return len(printed) <= len(others) and all(
        _change_fits(first.value, old.value, change) for old, change in zip(others, printed, strict=False)
    )


def _change_fits(new: Decimal, old: Decimal, printed: str) -> bool:
    half_new, half_old, half = (_half(_places(v)) for v in (new, old, Decimal(printed)))
    if old <= half_old:
        return False
    low = ((new - half_new) / (old + half_old) - 1) * 100
    high = ((new + half_new) / (old - half_old) - 1) * 100
    return low <= Decimal(printed) + half and high >= Decimal(printed) - half


def _half(places: int) -> Decimal:
    return Decimal("0.5").scaleb(-places)

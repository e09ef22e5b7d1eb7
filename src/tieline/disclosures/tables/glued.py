"""Table rows whose cells ran together: `Bitcoin Held17,2757,2656,696 0%9%`.

Knows nothing of fields. The printed percentages decide: among all ways to cut the digits into one value per
month, with or without footnote digits in front, those remain whose changes round to the printed ones. A single
remaining reading is taken; several, or none, are refused. Values carry intervals of their own rounding.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from itertools import product

MAX_DIGITS = 40
"""A row of four months of five digits with footnotes has fewer; longer runs are not a glued row."""
MAX_READINGS = 20_000

_NUMBER = re.compile(r"(?:[1-9]\d{0,2}(?:,\d{3})+|0|[1-9]\d*)(?:\.\d+)?")
_PERCENTS = re.compile(r"(?P<sign>-?)\s?(?P<value>\d+(?:\.\d+)?) ?%")
_BODY = re.compile(r"^(?P<label>.*?[A-Za-z)])(?P<body>\d?[\d,]*\$?\d.*)$", re.DOTALL)
_SET_APART = re.compile(
    r"^(?P<label>.*?[A-Za-z)])\*?(?P<body>(?:[~$]\s?\d[\d,]*(?:\.\d+)?(?:\s?(?:million|billion|bn|m))?\s*){2,})$",
    re.DOTALL,
)
"""`Deployed Miners~1,000~12,450~12,450`: each value begins with a sign, and no footnote can stand between."""
_UNIT_SPLIT = re.compile(r"\s?(?P<unit>EH/s|PH/s|TH/s|J/TH|W/TH|BTC|MW|c/kWh|million|billion|m\b|bn\b)")


@dataclass(frozen=True, slots=True)
class Piece:
    """One value of a glued row, with its place in the row's text."""

    value: Decimal
    start: int
    end: int
    unit: str | None
    scale: int = 0


def solve(row: str, months: int) -> tuple[str, list[Piece]] | str | None:
    """The label and one piece per month; a reason where the row has two readings; None where it is no such row."""
    apart = _set_apart(row, months)
    if apart is not None:
        return apart
    match = _BODY.match(row)
    if match is None or months < 2:
        return None
    body, offset = match["body"], match.start("body")
    percents = list(_PERCENTS.finditer(body))
    if not percents:
        return None
    found: list[list[Piece]] = []
    for numbers, printed in _ends(body, percents):
        if sum(c.isdigit() for c in numbers) > MAX_DIGITS:
            return None
        choices = _segments(numbers, offset, months)
        for tried, reading in enumerate(choices or ()):
            if tried > MAX_READINGS:
                return "too many ways to cut the row"
            if _agrees(reading, printed) and not any(_same(reading, seen) for seen in found):
                found.append(reading)
    if len(found) == 1:
        return match["label"], found[0]
    return (
        "the cells ran together and no reading fits the printed changes"
        if not found
        else "the cells ran together and several readings fit"
    )


def _ends(body: str, percents: list[re.Match[str]]) -> list[tuple[str, list[str]]]:
    """Where the values end and the first change begins: `405 10%2%` says it, `40510%2%` leaves up to three ways."""
    told = [("-" if p["sign"] else "") + p["value"] for p in percents]
    numbers = body[: percents[0].start()].rstrip()
    if not percents[0][0][0].isdigit() or not (numbers[-1:].isdigit() or not numbers):
        return [(numbers, told)]
    run = percents[0]["value"]
    whole = run.partition(".")[0]
    return [
        (numbers + run[: len(whole) - k], [run[len(whole) - k :], *told[1:]])
        for k in (1, 2, 3)
        if k < len(whole) and (k == 1 or run[len(whole) - k] != "0")
    ]


def _set_apart(row: str, months: int) -> tuple[str, list[Piece]] | None:
    """Values that begin with `$` or `~`; grouped digits show that none has a footnote behind it."""
    match = _SET_APART.match(row)
    if match is None or months < 2:
        return None
    pieces: list[Piece] = []
    for m in re.finditer(
        r"(?P<sign>[~$])\s?(?P<num>\d[\d,]*(?:\.\d+)?)\s?(?P<scale>million|billion|bn|m)?", match["body"]
    ):
        if not _NUMBER.fullmatch(m["num"]) or (len(m["num"]) > 3 and "," not in m["num"] and "." not in m["num"]):
            return None
        at = match.start("body")
        scale = {"million": 6, "m": 6, "billion": 9, "bn": 9}.get(m["scale"] or "", 0)
        unit = "USD" if m["sign"] == "$" else None
        pieces.append(Piece(Decimal(m["num"].replace(",", "")), at + m.start(), at + m.end(), unit, scale))
    return (match["label"], pieces) if len(pieces) == months else None


def _segments(numbers: str, offset: int, months: int) -> list[list[Piece]] | None:
    """All readings of the digits as `months` values."""
    if "$" in numbers:
        parts = [(m.start(), m.end(), m.group()) for m in re.finditer(r"\$[^$]+", numbers)]
        if len(parts) != months:
            return None
        options = [_money(text, offset + start) for start, _, text in parts]
        return [list(combo) for combo in product(*options)] if all(options) else None
    units = list(_UNIT_SPLIT.finditer(numbers))
    if units:
        if len(units) != months:
            return None
        options = []
        begin = 0
        for m in units:
            options.append(_with_footnote(numbers[begin : m.start()], offset + begin, m["unit"]))
            begin = m.end()
        return [list(combo) for combo in product(*options)] if all(options) else None
    return _bare(numbers, offset, months)


def _money(text: str, at: int) -> list[Piece]:
    m = re.match(r"\$\s?(?P<num>[\d,]+(?:\.\d+)?)\s?(?P<scale>million|billion|m|bn)?", text)
    if m is None:
        return []
    scale = {"million": 6, "m": 6, "billion": 9, "bn": 9}.get(m["scale"] or "", 0)
    number = m["num"]
    out = []
    for cut in (0, 1):  # one digit may be the footnote of the next cell
        digits = number[: len(number) - cut]
        if _NUMBER.fullmatch(digits) and not (cut and m["scale"]):
            out.append(
                Piece(
                    Decimal(digits.replace(",", "")),
                    at,
                    at + m.start("num") + len(digits) if cut else at + m.end(),
                    "USD",
                    scale,
                )
            )
    return out


def _with_footnote(text: str, at: int, unit: str) -> list[Piece]:
    lead = len(text) - len(text.lstrip())
    text = text.strip()
    out = []
    for cut in range(min(3, len(text))):
        digits = text[cut:]
        if (cut == 0 or text[:cut].isdigit() or text[:cut].replace(",", "").isdigit()) and _NUMBER.fullmatch(digits):
            out.append(Piece(Decimal(digits.replace(",", "")), at + lead + cut, at + lead + len(text), unit))
    return out


def _bare(numbers: str, offset: int, months: int) -> list[list[Piece]]:
    """Cut a run of digits into `months` numbers of one style, each with up to one footnote digit in front."""
    text = numbers.strip()
    base = offset + len(numbers) - len(numbers.lstrip())
    out: list[list[Piece]] = []

    def grow(at: int, taken: list[Piece]) -> None:
        if len(out) > MAX_READINGS:
            return
        if len(taken) == months:
            if at == len(text):
                out.append(taken)
            return
        while at < len(text) and text[at] == " ":
            at += 1
        for foot in (0, 1):
            start = at + foot
            if foot and not text[at : at + 1].isdigit():
                continue
            for end in range(start + 1, min(len(text), start + 12) + 1):
                piece = text[start:end]
                if _NUMBER.fullmatch(piece) and _plausible(piece, taken):
                    grow(end, [*taken, Piece(Decimal(piece.replace(",", "")), base + start, base + end, None)])

    grow(0, [])
    return out


def _plausible(piece: str, taken: list[Piece]) -> bool:
    """Values of one row print the same number of decimals."""
    decimals = len(piece.partition(".")[2])
    return not taken or decimals == max(0, -int(taken[0].value.as_tuple().exponent))


def _agrees(reading: list[Piece], printed: list[str]) -> bool:
    """Do the printed changes follow from these values? Month on month first, then year on year."""
    if len(printed) > len(reading) - 1:
        return False
    return all(
        _change_fits(reading[0], reading[i + 1], Decimal(change), change.lstrip("-"))
        for i, change in enumerate(printed)
    )


def _change_fits(new: Piece, old: Piece, change: Decimal, printed: str) -> bool:
    half_new, half_old = _half(new.value), _half(old.value)
    if old.value <= half_old:
        return False
    low = ((new.value - half_new) / (old.value + half_old) - 1) * 100
    high = ((new.value + half_new) / (old.value - half_old) - 1) * 100
    half = Decimal("0.5").scaleb(-len(printed.partition(".")[2]))
    return low <= change + half and high >= change - half


def _half(value: Decimal) -> Decimal:
    return Decimal("0.5").scaleb(min(0, int(value.as_tuple().exponent)))


def _same(a: list[Piece], b: list[Piece]) -> bool:
    return [p.value for p in a] == [p.value for p in b]

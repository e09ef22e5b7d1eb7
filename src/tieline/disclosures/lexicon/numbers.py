"""Numbers as releases print them: scales, units, signs, footnote digits, two decimal styles.

Knows nothing of what a number means. `quantities` finds every number that stands free in a stretch of text and
says its value, its unit and what was ambiguous about it. Digits glued to letters (`S19`, `CY2023`) are none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from tieline.disclosures.lexicon.printed import PRINTED, WORDS, group

_SP = r"[ \t\n]*"
_MONEY, _SCALES, _UNITS = PRINTED.money, PRINTED.scale, PRINTED.unit
_BEFORE = group("cur", [group("usd", _MONEY["usd_before"]), *_MONEY["before"]])
_BEHIND = group("aft", [group("usd_aft", _MONEY["usd_behind"]), *_MONEY["behind"]])
_SCALE = (
    rf"(?:{_SP}-?{group('scale', (group(f'e{s.power}', s.printed) for s in _SCALES))}"
    rf"|\s?{group('tight', (group(f't{s.power}', s.tight) for s in _SCALES))}(?![\w/]))"
)
_MWH = group("mwh", PRINTED.mwh)
_PER_KWH = rf"(?P<kwh>{_SP}(?:{'|'.join(PRINTED.per)}){_SP}(?:{'|'.join(PRINTED.kwh)}|{_MWH}))"
_CENT = rf"(?:{_SP}{group('cent', PRINTED.cents)}(?={_SP}(?:/|per|pro)))"
_UNIT = (
    rf"(?:{_SP}-?{group('unit', (group(f'u{i}', unit.printed) for i, unit in enumerate(_UNITS)))}"
    r"(?P<ufoot>\d(?![\d.,]))?(?![A-Za-z]))"
)


def _pattern(number: str) -> re.Pattern[str]:
    return re.compile(
        rf"(?<![A-Za-zÀ-ɏ0-9_.,])(?P<open>\({_SP})?(?P<sign>[-+]\s?)?(?:{_BEFORE}{_SP}(?P<sign2>-\s?)?(?P<open2>\()?)?"
        rf"(?P<num>{number})(?P<foot>(?<=\d{{3}})\d{{1,2}}(?!\d))?"
        rf"(?!\d|[ACDF-JLNOQ-SU-WYZ]\b(?!/)|(?:st|nd|rd|th)\b){_SCALE}?{_CENT}?"
        rf"(?:{_SP}{_BEHIND}(?![A-Za-z]))?(?:{_PER_KWH}|{_UNIT})?"
        rf"(?P<close>{_SP}\))?(?P<pct>(?<=\))\s?%)?(?P<mark>[*†‡]+)?"
    )


STYLES = {
    "english": (_pattern(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+"), str.maketrans("", "", ",")),
    "european": (_pattern(r"\d{1,3}(?:[.' ]\d{3})+(?:,\d+)?(?!\d)|\d+(?:,\d+)?"), str.maketrans(",", ".", ".' ")),
    "french": (_pattern(r"\d{1,3}(?: \d{3})+(?:[.,]\d+)?(?!\d)|\d+(?:[.,]\d+)?"), str.maketrans(",", ".", " ")),
}
"""How each writes digits, and how they are read."""
_WORD = re.compile(
    rf"\b{group('num', WORDS)}\s+(?P<unit>BTC|bitcoins?|Bitcoins?|blocks|(?=(?:per|a) day))\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class PrintedNumber:
    """A number with what stands around it. `value` is in `unit`; None as unit means that none was printed."""

    value: Decimal
    unit: str | None
    start: int
    end: int
    printed: str
    negative: bool = False
    mark: str = ""
    footnote: str = ""
    decimals: int = 0
    currency: str | None = None


def style_of(text: str, language: str) -> str:
    """`english`, `european` (1.234,5) or `french` (1 234,5): which decimal sign this document uses.

    Evidence in the digits comes before the language: `45.6` or `1,234.5` speak for a point, `1.234,5` and
    `45,6` for a comma. A document with both is read in the style that its language uses.
    """
    sample = text[:200_000]
    point = len(re.findall(r"(?<![\d.,])(?:\d{1,3}(?:,\d{3})+\.\d+|\d+\.\d{1,2})(?![\d.,]*\d)", sample))
    comma = len(re.findall(r"(?<![\d.,])(?:\d{1,3}(?:\.\d{3})+,\d+|\d+,\d{1,2})(?![\d.,]*\d)", sample))
    grouped_comma = len(re.findall(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])", sample))
    grouped_point = len(re.findall(r"(?<![\d.,])\d{1,3}(?:\.\d{3})+(?![\d,.])", sample))
    continental = language in ("de", "fr", "es", "it", "pt", "ru")
    plain = comma <= point or not (continental or comma >= 2 or grouped_point)
    if plain and (point or grouped_comma or not continental):
        return "english"
    spaced = re.search(r"(?<![\d.,])\d{1,3} \d{3}(?:,\d+)?(?![\d])", sample)
    return "french" if spaced and not grouped_point else "european"


def quantities(text: str, start: int, end: int, style: str = "english") -> list[PrintedNumber]:
    """Every free-standing number in text[start:end], in order."""
    numbers = [q for m in STYLES[style][0].finditer(text, start, end) if (q := _quantity(m, style)) is not None]
    for m in _WORD.finditer(text, start, end):
        unit = "blocks" if m["unit"].lower() == "blocks" else "BTC"
        numbers.append(PrintedNumber(Decimal(WORDS[m["num"].lower()]), unit, m.start(), m.end(), m["num"]))
    numbers.sort(key=lambda q: q.start)
    return numbers


def _quantity(m: re.Match[str], style: str) -> PrintedNumber | None:
    raw, at = m["num"], m.start("num")
    if m.string[at - 1 : at] in (")", "]") and m.string[m.end("num") : m.end("num") + 1].isupper():
        return None  # `(PH/s)1,164Bitcoin mined`: cells that ran together
    value = to_decimal(raw, style) if len(raw) <= 30 else None
    if value is None or (m["cent"] and not m["kwh"]):
        return None
    decimals = max(0, -int(value.as_tuple().exponent))
    if m["scale"] or m["tight"]:
        value = exact(value.scaleb(next(s.power for s in _SCALES if m[f"e{s.power}"] or m[f"t{s.power}"])))
    currency = _currency(m)
    value, unit = _in_unit(m, value, currency)
    negative, begin, stop = _signed(m)
    foot = m["foot"] or ""
    return PrintedNumber(
        value, unit, begin, stop, raw + foot, negative, m["mark"] or "", foot + (m["ufoot"] or ""), decimals, currency
    )


def _signed(m: re.Match[str]) -> tuple[bool, int, int]:
    """Is the number negative, and where it begins and ends: without a bracket that is not closed, or not opened."""
    opened, closed = m["open"] or m["open2"], m["close"]
    negative = bool(opened and closed) or (m["sign"] or "").strip() == "-" or bool(m["sign2"])
    begin = m.start() + len(m["open"] or "") if opened and not closed else m.start()
    return negative, begin, m.start("close") if closed and not opened else m.end()


def _currency(m: re.Match[str]) -> str | None:
    if not (m["cur"] or m["aft"]):
        return None
    return "USD" if m["usd" if m["cur"] else "usd_aft"] else "other money"


def _in_unit(m: re.Match[str], value: Decimal, currency: str | None) -> tuple[Decimal, str | None]:
    """The number in the unit that it is given in here, and that unit."""
    unit = currency
    if m["kwh"]:
        if m["cent"]:
            value, unit = exact(value.scaleb(-2)), "USD/kWh"
        elif unit is not None:
            unit = "USD/kWh" if unit == "USD" else "other"
        if m["mwh"]:
            value = exact(value.scaleb(-3))
    elif m["unit"] is not None and unit is None:
        found = next(unit for i, unit in enumerate(_UNITS) if m[f"u{i}"] is not None)
        value, unit = exact(value * found.factor) if found.factor != 1 else value, found.name
    if m["pct"] and unit is None:
        unit = "%"  # `(19)%`
    return value, unit


def to_decimal(raw: str, style: str) -> Decimal | None:
    """The digits as a number in the given style; None where the grouping makes no sense."""
    try:
        value = Decimal(raw.translate(STYLES[style][1]))
    except ArithmeticError:
        return None
    return value if value.is_finite() else None


def exact(value: Decimal) -> Decimal:
    """The same number in plain notation, without an exponent such as 3.88E+7."""
    return Decimal(int(value)) if value == value.to_integral_value() else value

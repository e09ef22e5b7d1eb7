"""Numbers as releases print them: scales, units, signs, footnote digits, two decimal styles.

Knows nothing of what a number means. `quantities` finds every number that stands free in a stretch of text and
says its value, its unit and what was ambiguous about it. Digits glued to letters (`S19`, `CY2023`) are none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

_COUNTED = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
WORDS = {word: number for number, word in enumerate(_COUNTED.split(" "))}

# Unit word -> (unit, factor). Hashrates come out in EH/s and PH/s is divided exactly.
_UNITS: list[tuple[str, str, Decimal]] = [
    (
        r"(?:(?i:[WJ] ?/ ?T(?:H|\b))|joules?(?:/| per )(?:tera ?hash|TH)(?: \(J/TH\))?"
        r"|[Ww]atts?(?:/| per )(?:tera ?hash|TH)(?: \([JW]/TH\))?|Joule (?:pro|je) Terahash"
        r"|[Jj]ou?les? (?:por|par|per) terahash|焦耳/太哈希|焦耳 ?\(J/TH\)|焦/T|J/T)(?:/s)?",
        "J/TH",
        Decimal(1),
    ),
    (
        r"(?:EH ?/ ?(?:s(?:ec(?:onde?|\.)?)?|秒)|EHs|Eh/s|eh/s|EH|[Ee]xa-?[Hh]ash(?:es|s)?(?: ?(?:/ ?s(?:econd)?"
        r"|per second|por segundo|pro Sekunde|par seconde|al secondo))?(?: \(EH/s\))?|艾哈希(?:/秒)?|エクサハッシュ)",
        "EH/s",
        Decimal(1),
    ),
    (
        r"(?:PH ?/ ?(?:s(?:ec(?:onde?|\.)?)?|秒)|Ph/s|ph/s|PH|[Pp]eta-?[Hh]ash(?:es)?(?: ?(?:/ ?s(?:econd)?"
        r"|per second|por segundo|pro Sekunde|par seconde))?(?: \(PH/s\))?|拍哈希(?:/秒)?)",
        "EH/s",
        Decimal("0.001"),
    ),
    (r"(?:TH ?/ ?s(?:ec(?:ond)?)?|Th/s|[Tt]era-?[Hh]ash(?:es)?(?: per second)?)", "EH/s", Decimal("0.000001")),
    (
        r"(?:(?:of (?:its|our|the [Cc]ompany's) )?(?:(?:latest|new|next|current|prior|previous|older)[- ]generation |own(?:ed)? "
        r"|self-owned |operational |active |energi[sz]ed |installed |deployed |operating )?(?:[Bb]itcoin |BTC )?(?:[Mm]ining |ASIC )?"
        r"(?:miners|machines|rigs|devices|ASICs|servers|computers|mineros|mineurs|Miner\b|miner\b|self-miners|矿机|台矿机|台))",
        "miners",
        Decimal(1),
    ),
    (r"(?:(?:bitcoin |BTC |Bitcoin )?blocks?\b|区块|區塊|个区块|bloques|Blöcke|blocs|blocchi)", "blocks", Decimal(1)),
    (
        r"(?:(?:gross |net |new |[Ss]elf-[Mm]ined )?(?:BTC\b|[Bb]itcoins?\b)|BTC|[Bb]itcoins?|BITCOINS?|[Cc]oins|₿|[枚個个](?:比特[币幣]|BTC)?(?!月)|比特[币幣]|ビットコイン|비트코인"
        r"|биткоин\w*|биткойн\w*|BTCs|Bitcoin-Einheiten)",
        "BTC",
        Decimal(1),
    ),
    (r"(?:ETH|ETC|LTC|DOGE|KAS|[Ee]thereum|[Ee]ther|Litecoins?|以太[币幣坊])", "other coin", Decimal(1)),
    (r"(?:%|-?per-?\s?cent\b|percent\b|Prozent\b|por ciento\b|pour cent\b|％|percentage points?)", "%", Decimal(1)),
    (r"(?:MWh|GWh|kWh)", "energy", Decimal(1)),
    (r"(?:MW|GW|kW|[Mm]egawatts?|[Gg]igawatts?|兆瓦)", "power", Decimal(1)),
    (
        r"(?:days|Tage|días|jours|months|Monate|years|weeks|hours|basis points|bps|GPUs?|acres|employees|shares"
        r"|times|x\b|T\b|[MG][Hh]/s|天|年|个月)",
        "other",
        Decimal(1),
    ),
]
_SCALES = {
    "trillion": 12, "billion": 9, "bn": 9, "million": 6, "millions": 6, "mm": 6, "mn": 6, "mln": 6, "bln": 9, "mio": 6,
    "thousand": 3, "millones": 6, "millón": 6, "millionen": 6, "milliarden": 9, "mrd": 9, "milliards": 9,
    "milliard": 9, "milioni": 6, "milhões": 6, "miliardi": 9, "bilhões": 9, "mil": 3, "tausend": 3, "mille": 3,
    "млн": 6, "млрд": 9, "тыс": 3,
    "万": 4, "萬": 4, "亿": 8, "億": 8, "百万": 6, "百萬": 6, "千": 3, "만": 4, "억": 8,
    "k": 3, "K": 3, "m": 6, "M": 6, "b": 9, "B": 9,
}  # fmt: skip
_CURRENCY_BEFORE = (
    r"(?P<cur>US\s?\$|USD\s?\$?|U\.S\.\s?\$|C\$|CA\$|CAD\s?\$?|CDN\s?\$|A\$|AU\$|AUD\s?\$?|HK\$|NT\$|S\$|R\$|\$|€|£|¥|￥|GBP|EUR|RMB|CNY"
    r"|SEK|NOK|JPY|美元)"
)
_CURRENCY_AFTER = (
    r"(?P<aft>\$ ?US\b|US-Dollars?|US-\$|U\.S\. dollars?|US dollars?|USD|USDT|dollars?|dólares(?: estadounidenses)?"
    r"|dollari|долл\w*|Dollar|美元|美金|米ドル|ドル|달러|\$(?!\s?[\d(])|€(?!\s?\d)|euros?|Euro|EUR|CAD|GBP|元|円)"
)
_USD = {"$", "$ us", "$us", "us$", "usd", "usd$", "u.s.$", "美元", "us-dollar", "us-dollars", "us-$", "u.s. dollar", "u.s. dollars",
        "us dollar", "us dollars", "dollar", "dollars", "dólares", "dólares estadounidenses", "dollari", "美金",
        "米ドル", "ドル", "달러", "usdt"}  # fmt: skip

_SP = r"[ \t\n]*"
_SCALE = (
    r"(?:" + _SP + r"-?(?P<scale>trillion|billion|millions?|millones|millón|Millionen|Milliarden|milliards?|milioni"
    r"|miliardi|milhões|bilhões|thousand|tausend|Mio\b\.?|Mrd\b\.?|[Mm]ln\b|MLN\b|[Bb]ln\b|MILLION|Million|BILLION|Billion|MN\b|BN\b|mn\b|bn\b|百万|百萬|万|萬|亿|億|千|만|억|млн|млрд|тыс)"
    r"|\s?(?P<tight>mm|MM|m|M|k|K|B|b)(?![\w/]))"
)
_PER_KWH = (
    r"(?P<kwh>"
    + _SP
    + r"(?:/|per|pro|por|par|a|je|al|每)"
    + _SP
    + r"(?:kWh|KWh|kwh|kW-hr|kilowatt[- ]hours?|Kilowattstunde|千瓦时|度|(?P<mwh>MWh|MWH|megawatt[- ]hours?)))"
)
_CENT = r"(?:" + _SP + r"(?P<cent>c|¢|[Cc]ents?|US cents?|US¢)(?=" + _SP + r"(?:/|per|pro)))"
_UNIT = (
    "(?:" + _SP + r"-?(?P<unit>" + "|".join(f"(?P<u{i}>{p})" for i, (p, _, _) in enumerate(_UNITS))
    + r")(?P<ufoot>\d(?![\d.,]))?(?![A-Za-z]))"
)  # fmt: skip
_PLAIN = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+"
_COMMA = r"\d{1,3}(?:[.' ]\d{3})+(?:,\d+)?(?!\d)|\d+(?:,\d+)?"
_SPACED = r"\d{1,3}(?: \d{3})+(?:[.,]\d+)?(?!\d)|\d+(?:[.,]\d+)?"


def _pattern(number: str) -> re.Pattern[str]:
    return re.compile(
        r"(?<![A-Za-zÀ-ɏ0-9_.,])(?P<open>\(" + _SP + r")?(?P<sign>[-+]" + r"\s?)?(?:" + _CURRENCY_BEFORE + _SP + r"(?P<sign2>-\s?)?(?P<open2>\()?)?"
        r"(?P<num>" + number + r")(?P<foot>(?<=\d{3})\d{1,2}(?!\d))?(?!\d|[ACDF-JLNOQ-SU-WYZ]\b(?!/)|(?:st|nd|rd|th)\b)(?:" + _SCALE + r")?(?:" + _CENT + r")?(?:"
        + _SP + _CURRENCY_AFTER + r"(?![A-Za-z]))?(?:" + _PER_KWH + r"|" + _UNIT + r")?"
        r"(?P<close>" + _SP + r"\))?(?P<pct>(?<=\))\s?%)?(?P<mark>[*†‡]+)?"
    )  # fmt: skip


_ENGLISH = _pattern(_PLAIN)
_EUROPEAN = _pattern(_COMMA)
_FRENCH = _pattern(_SPACED)
_WORD = re.compile(
    r"\b(?P<num>" + "|".join(WORDS) + r")\s+(?P<unit>BTC|bitcoins?|Bitcoins?|blocks|(?=(?:per|a) day))\b", re.IGNORECASE
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
    if comma > point and (continental or comma >= 2 or grouped_point):
        style = "european"
    elif point or grouped_comma or not continental:
        style = "english"
    else:
        style = "european"
    if style == "european" and re.search(r"(?<![\d.,])\d{1,3} \d{3}(?:,\d+)?(?![\d])", sample) and not grouped_point:
        return "french"
    return style


def quantities(text: str, start: int, end: int, style: str = "english") -> list[PrintedNumber]:
    """Every free-standing number in text[start:end], in order."""
    pattern = {"english": _ENGLISH, "european": _EUROPEAN, "french": _FRENCH}[style]
    numbers = [q for m in pattern.finditer(text, start, end) if (q := _quantity(m, style)) is not None]
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
    if (scale := m["scale"] or m["tight"]) is not None:
        power = _SCALES.get(scale.rstrip("."), _SCALES.get(scale.lower().rstrip("."), 0))
        value = exact(value.scaleb(power))
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
    printed = m["cur"] or m["aft"]
    if printed is None:
        return None
    key = re.sub(r"\s", " ", printed).strip().lower()
    return "USD" if key in _USD or key.replace(" ", "") in _USD else "other money"


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
        name, factor = next((name, f) for i, (_, name, f) in enumerate(_UNITS) if m[f"u{i}"] is not None)
        value, unit = exact(value * factor) if factor != 1 else value, name
    if m["pct"] and unit is None:
        unit = "%"  # `(19)%`
    return value, unit


def to_decimal(raw: str, style: str) -> Decimal | None:
    """The digits as a number in the given style; None where the grouping makes no sense."""
    if style == "english":
        body = raw.replace(",", "")
    elif style == "european":
        body = raw.replace(".", "").replace("'", "").replace(" ", "").replace(",", ".")
    else:
        body = raw.replace(" ", "").replace(",", ".")
    try:
        value = Decimal(body)
    except ArithmeticError:
        return None
    return value if value.is_finite() else None


def exact(value: Decimal) -> Decimal:
    """The same number in plain notation, without an exponent such as 3.88E+7."""
    return Decimal(int(value)) if value == value.to_integral_value() else value

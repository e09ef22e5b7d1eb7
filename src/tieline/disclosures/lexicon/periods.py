"""Months, quarters and dates as releases print them, in the languages that miners and their press write.

Knows nothing of numbers or fields. `periods` finds every expression; a month without a year is resolved later
against the document's own month (`resolve`), to the latest such month that is not after it.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass, replace
from functools import lru_cache

_MONTHS: dict[str, int] = {}
for _names in (
    "january february march april may june july august september october november december",
    "jan feb mar apr may jun jul aug sep oct nov dec",
    "januar februar märz april mai juni juli august september oktober november dezember",
    "jänner - maerz - - - - - sept okt - dez",
    "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "января февраля марта апреля мая июня июля августа сентября октября ноября декабря",
    "январе феврале марте апреле мае июне июле августе сентябре октябре ноябре декабре",
    "январь февраль март апрель май июнь июль август сентябрь октябрь ноябрь декабрь",
    "ocak şubat mart nisan mayıs haziran temmuz ağustos eylül ekim kasım aralık",
):
    for _i, _name in enumerate(_names.split(), 1):
        if _name != "-":
            _MONTHS.setdefault(_name, _i)
_NAME = "|".join(sorted(_MONTHS, key=len, reverse=True))
_QUARTERS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "1st": 1, "2nd": 2, "3rd": 3, "4th": 4,
             **{word[:4]: n for n, words in enumerate((
             "premier primer primo primeiro ersten перв", "deuxième second segundo secondo zweiten втор",
             "troisième tercer terzo terceiro dritten трет", "quatrième cuarto quarto vierten четв четвё",
         ), 1) for word in words.split()},
         "一": 1, "二": 2, "三": 3, "四": 4, "1": 1, "2": 2, "3": 3, "4": 4}  # fmt: skip
_COUNTS = {
    word: count
    for count, word in enumerate(
        ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"], 1
    )
}
_YEAR = r"(?:20[1-4]\d)"

_PATTERN = re.compile(
    r"(?P<q>\bQ(?P<q1>[1-4])[ \-/']*(?P<qy1>" + _YEAR + r"(?!\d)|\d\d\b)|\b(?P<q2>[1-4])Q[ \-']*(?P<qy2>" + _YEAR + r"|\d\d)\b"
    r"|\b(?P<qy3>" + _YEAR + r")[ \-]?Q(?P<q3>[1-4])\b"
    r"|\b(?P<q4>first|second|third|fourth|1st|2nd|3rd|4th)[ -](?:fiscal )?(?:quarter|qtr\.?)(?:\s+of)?(?:\s+fiscal(?: year)?)?(?:,?\s+(?P<qy4>" + _YEAR + r"))?"
    r"|(?P<qy5>" + _YEAR + r")年(?:第)?(?P<q5>[一二三四1-4])季度?"
    r"|\b(?P<q7>premier|deuxième|second|troisième|quatrième|primer|primo|segundo|secondo|tercer|terzo|terceiro|cuarto|quarto|primeiro|ersten?|zweiten?|dritten?|vierten?|перв\w+|втор\w+|треть\w+|четв[её]рт\w+)[ -](?:trimestre|quartals?|квартал\w*)(?: (?:de |del |do |des Jahres )?(?P<qy7>" + _YEAR + r"))?"
    r"|\bQ(?P<q6>[1-4])\b(?!\d))"
    r"|(?P<slashed>(?<![\d/.\-])(?P<sm>0[1-9]|1[0-2])/(?P<sy>" + _YEAR + r")(?![\d/\-]))"
    r"|(?P<iso>(?<![\d/.\-])(?P<iy>" + _YEAR + r")[\-/.](?P<im>0[1-9]|1[0-2]|[1-9](?![\d]))(?:[\-/.](?P<id>0[1-9]|[12]\d|3[01]))?(?![\d/\-]))"
    r"|(?P<num>(?<![\d/.$-])(?P<n1>0?[1-9]|[12]\d|3[01])(?P<nsep>[/.])(?P<n2>0?[1-9]|[12]\d|3[01])(?P=nsep)(?P<ny>" + _YEAR + r"|\d\d(?=\s*(?:$|[|\n)])))(?![\d/.]\d|\d))"
    r"|(?P<cjk>(?:(?P<cy>" + _YEAR + r")\s?[年년]\s?)?(?<!\d)(?P<cm>1[0-2]|0?[1-9])\s?[月월](?:份|度)?(?:\s?(?P<cd>3[01]|[12]\d|0?[1-9])\s?[日일])?)"
    r"|(?P<dmy>(?<![\w])(?P<dd>3[01]|[12]\d|0?[1-9])(?:st|nd|rd|th|\.|er)?(?:\s+(?:de|of))?\s+(?P<dm>" + _NAME + r")\b\.?,?(?:\s+(?:de|del|of))?\s*(?P<dy>" + _YEAR + r")?)"
    r"|(?P<mdy>(?:(?<![^\W\d_])|(?-i:(?<=[a-z])(?=[A-Z])))(?P<mm>" + _NAME + r")(?![^\W\d_])[.,]?"
    r"(?:[\s\-–/]{0,2}(?P<my0>" + _YEAR + r")(?!\d)"
    r"|\s+(?P<md>3[01]|[12]\d|0?[1-9])(?:st|nd|rd|th)?(?![\d.,]*\d)(?:\s*,\s*|\s+)(?P<my1>" + _YEAR + r")(?!\d)"
    r"|\s*,\s*(?P<my2>" + _YEAR + r")(?!\d)"
    r"|\s+(?:de|del|of)\s+(?P<my3>" + _YEAR + r")(?!\d)"
    r"|(?:\s?['’]|-)(?P<my4>\d\d)(?![\d.,%])"
    r"|\s+(?P<mn>\d\d?)(?:st|nd|rd|th)?(?![\d]|[.,]\d|\s?(?:%|[EPT]H\b|J/|W/|BTC|MW|bitcoin|million|blocks|per)))?)",
    re.IGNORECASE,
)  # fmt: skip
_SPAN = re.compile(
    r"(?:\b(?P<count>one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\d{1,2})[ -]months?(?: period)?(?: ended| ending)?\s*,?\s*$)"
    r"|(?P<fiscal>\bfiscal\s*$)"
    r"|(?P<quarter>(?<!and )\bquarter(?:ly period)? (?:ended|ending)\s*,?\s*$)"
    r"|(?P<week>\bweeks? (?:ended|ending|of|to)\s*(?:\w+day,?\s*)?$)"
    r"|(?P<single>\bmonths? (?:ended|ending|of)\s*$)"
    r"|(?P<ended>\b(?:fiscal )?(?:year|full year)(?: ended| ending)\s*$)|(?P<ytd>\b(?:YTD|year[- ]to[- ]date)(?: ended)?\s*$)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """One expression. `kind` is month, date, quarter, year, week or span (several months that are no quarter)."""

    kind: str
    year: int | None
    month: int
    """The month; for a quarter its number."""
    day: int | None = None
    start: int = 0
    end: int = 0
    loose: int | None = None
    """The two digits in `Aug 25`: a year in a table heading, a day in a sentence."""
    numbered: bool = False
    """`the third quarter`: by its number in a year, which may be the issuer's own."""

    @property
    def key(self) -> str | None:
        """The period as facts carry it; None while the year is unknown."""
        if self.year is None:
            return None
        if self.kind == "month":
            return f"{self.year:04d}-{self.month:02d}"
        if self.kind == "date":
            return f"{self.year:04d}-{self.month:02d}-{self.day:02d}"
        if self.kind == "quarter":
            return f"{self.year:04d}Q{self.month}"
        return f"{self.year:04d}" if self.kind == "year" else None

    @property
    def ends_month(self) -> bool:
        """Is this the last day of its month? Without a year, 28 and 29 February both count."""
        if self.day is None:
            return False
        if self.month == 2 and self.year is None:
            return self.day in (28, 29)
        return self.day == calendar.monthrange(self.year or 2023, self.month)[1]


_CANDIDATE = re.compile(
    r"20[1-4]\d|\d[/.]\d{1,2}[/.]\d\d|Q ?[1-4]|[1-4] ?Q|quarter|qtr|trimestre|quartal|квартал|[月월年季]|['’]\d\d|(?<![a-z])(?:"
    + "|".join(sorted(_MONTHS, key=len, reverse=True))
    + r")(?![a-zà-ÿа-я])",
    re.IGNORECASE,
)
"""A cheap first look: most sentences and nearly all cells hold nothing that could be a period."""


def may_hold_period(text: str, start: int, end: int) -> bool:
    """Is it worth looking closer?"""
    return _CANDIDATE.search(text, start, end) is not None or (
        start > 0 and _CANDIDATE.search(text, start - 1, min(end, start + 4)) is not None
    )


_NAMED_QUARTER = re.compile(
    r"\s+(?:fiscal )?quarter\b(?! (?:of|to)\b)(?:\s+(?:of )?(?P<year>20[1-4]\d)\b)?", re.IGNORECASE
)
"""`the June quarter`: the quarter that ends with the month."""


def periods(text: str, start: int = 0, end: int | None = None) -> list[Period]:
    """Every period expression in text[start:end], in order, not overlapping."""
    return list(_periods(text, start, len(text) if end is None else end))


@lru_cache(maxsize=1024)
def _periods(text: str, start: int, stop: int) -> tuple[Period, ...]:
    """Kept, since each reader asks for the periods of the same sentences and lines."""
    out: list[Period] = []
    if not may_hold_period(text, start, stop):
        return ()
    for m in _PATTERN.finditer(text, start, stop):
        period = _period(m)
        if period is None:
            continue
        quarter = _NAMED_QUARTER.match(text, period.end)
        if quarter is not None and period.kind == "month" and period.month % 3 == 0:
            period = replace(
                period,
                kind="quarter",
                month=period.month // 3,
                year=period.year or _year(quarter["year"]),
                end=quarter.end(),
            )
        out.append(_spanned(text, period, out[-1].end if out else start))
    return tuple(out)


_FORMS = (("slashed", "sy", "sm", None), ("iso", "iy", "im", "id"), ("cjk", "cy", "cm", "cd"))
"""Expressions in digits: the group that matched, and those of its year, month and day."""


def _period(m: re.Match[str]) -> Period | None:
    if m["q"]:
        number = next(m[f"q{k}"] for k in (1, 2, 3, 4, 5, 6, 7) if m[f"q{k}"])
        year = next((m[f"qy{k}"] for k in (1, 2, 3, 4, 5, 7) if m[f"qy{k}"]), None)
        number = number[:4] if m["q7"] else number
        return Period("quarter", _year(year), _QUARTERS[number.lower()], None, m.start(), m.end(), numbered=True)
    for form, year_in, month_in, day_in in _FORMS:
        if m[form]:
            day = m[day_in] if day_in is not None else None
            kind, day_of_month = ("date", int(day)) if day else ("month", None)
            return Period(kind, _year(m[year_in]), int(m[month_in]), day_of_month, m.start(), m.end())
    if m["num"]:
        return _numeric(m)
    if m["dmy"]:
        return _valid(Period("date", _year(m["dy"]), _MONTHS[m["dm"].lower()], int(m["dd"]), m.start(), m.end()))
    return _named(m)


def _named(m: re.Match[str]) -> Period | None:
    """A month by its name, with what day or year stands beside it; None for a word such as `may`."""
    name, begin, end = m["mm"], m.start(), m.end()
    if name.lower() in _ALSO_WORDS and name[0].islower() and not (m["my0"] or m["my1"] or m["my2"] or m["my3"]):
        return None
    month = _MONTHS[name.lower()]
    if m["my1"]:
        return _valid(Period("date", int(m["my1"]), month, int(m["md"]), begin, end))
    year = m["my0"] or m["my2"] or m["my3"] or m["my4"]
    if year:
        return Period("month", _year(year), month, None, begin, end)
    if m["mn"]:
        loose = int(m["mn"])
        if 1 <= loose <= 31:
            return _valid(Period("date", None, month, loose, begin, end, loose))
        return Period("month", 2000 + loose if loose < 50 else None, month, None, begin, end, loose)
    return Period("month", None, month, None, begin, m.end("mm"))


_ALSO_WORDS = frozenset({"may", "march", "mar", "mars", "mart", "mai", "dec", "oct", "sept", "jun", "aug"})


def _numeric(m: re.Match[str]) -> Period | None:
    """`8/31/2025` and `31.08.2025`: a date where only one order of day and month is possible, or ends a month."""
    first, second, year = int(m["n1"]), int(m["n2"]), _year(m["ny"])
    if year is None or not 2009 <= year <= 2049:
        return None
    readings = [
        Period("date", year, month, day, m.start(), m.end())
        for month, day in ((first, second), (second, first))
        if month <= 12 and day <= calendar.monthrange(year, month)[1]
    ]
    if len(readings) == 2 and readings[0].key != readings[1].key:
        readings = readings[1:] if m["nsep"] == "." else []
    return readings[0] if readings else None


def _valid(p: Period) -> Period:
    """A day that its month does not have makes the expression a plain month."""
    if p.day is not None and not 1 <= p.day <= calendar.monthrange(p.year or 2024, p.month)[1]:
        return replace(p, kind="month", day=None)
    return p


def _year(digits: str | None) -> int | None:
    if digits is None:
        return None
    return int(digits) if len(digits) == 4 else 2000 + int(digits)


def _spanned(text: str, p: Period, floor: int) -> Period:
    """`Three months ended June 30, 2024` is a quarter, `Six Months` a span, `One Month January 31` a month."""
    lead = _SPAN.search(text[max(floor, p.start - 40) : p.start])
    if lead is None:
        return p
    start = max(floor, p.start - 40) + lead.start()
    whole = replace(p, day=None, start=start)
    match lead.lastgroup:
        case "week":
            return replace(p, kind="week", start=start)
        case "quarter":
            ends = p.ends_month and p.month % 3 == 0
            return replace(whole, kind="quarter", month=p.month // 3, start=p.start) if ends else p
        case "single" | "fiscal" as told:
            named = p.kind == "month" or (told == "single" and p.kind == "date")
            return replace(whole, kind="month" if told == "single" else "span") if named else p
        case "ended" | "ytd" as told:
            return replace(whole, kind="year" if told == "ended" else "span")
    return _of_months(whole, lead["count"].lower())


def _of_months(p: Period, printed: str) -> Period:
    """So many months that end with the period."""
    count = _COUNTS.get(printed) or int(printed if printed.isdigit() else 0)
    if count == 3 and p.month % 3 == 0:
        return replace(p, kind="quarter", month=p.month // 3)
    return replace(p, kind="month" if count == 1 else "year" if (count, p.month) == (12, 12) else "span")


def resolve(p: Period, reference: tuple[int, int] | None) -> Period:
    """The same period with a year: the latest one that is not after the reference month."""
    if p.year is not None or reference is None:
        return p
    year, month = reference
    if p.kind == "quarter":
        return replace(p, year=year if p.month * 3 - 2 <= month else year - 1)
    if 1 <= (p.month - month) % 12 <= 3:
        return p  # just after the reference: an outlook, and not last year's month
    resolved = replace(p, year=year if p.month <= month else year - 1)
    return _valid(resolved)


def as_heading(p: Period) -> Period:
    """`Aug 25` over a column is August 2025; a month-end date over a column is that month."""
    if p.kind == "date" and p.loose is not None and p.loose >= 17:
        return replace(p, kind="month", year=2000 + p.loose, day=None)
    return replace(p, kind="month") if p.kind == "date" and p.ends_month else p


def month_of(p: Period) -> Period:
    """The calendar month that a date lies in."""
    return replace(p, kind="month", day=None)


def shift(key: str, months: int) -> str:
    """`2024-01` shifted by whole months."""
    year, month = int(key[:4]), int(key[5:7])
    total = year * 12 + month - 1 + months
    return f"{total // 12:04d}-{total % 12 + 1:02d}"


def shift_quarters(key: str, quarters: int) -> str:
    """`2024Q1` shifted by whole quarters."""
    total = int(key[:4]) * 4 + int(key[5]) - 1 + quarters
    return f"{total // 4:04d}Q{total % 4 + 1}"


def days_in(key: str) -> int:
    """Days of a calendar month given as YYYY-MM."""
    return calendar.monthrange(int(key[:4]), int(key[5:7]))[1]

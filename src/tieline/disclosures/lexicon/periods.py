"""Months, quarters and dates as releases print them, in the languages that miners and their press write.

Knows nothing of numbers or fields. `periods` finds every expression; a month without a year is resolved later
against the document's own month (`resolve`), to the latest such month that is not after it.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from tieline.disclosures.lexicon.printed import PRINTED, WORDS, group
from tieline.disclosures.lexicon.words import phrases

_MONTHS = {name: number for names in PRINTED.months for number, name in enumerate(names.split(), 1) if name != "-"}
QUARTERS = {word[:4]: number for number, words in enumerate(PRINTED.quarters, 1) for word in words.split()}
"""The numbers of quarters by their first four letters."""
_ALSO_WORDS = frozenset(PRINTED.also_words.split())
_PLACES = {
    "YEAR": r"(?:20[1-4]\d)",
    "MONTH": "|".join(sorted(_MONTHS, key=len, reverse=True)),
    "COUNT": "|".join(WORDS),
}


def _written_out(pattern: str) -> str:
    return re.sub(r"\{([A-Z]+)\}", lambda m: _PLACES[m[1]], pattern)


def _numbered(pattern: str, i: int) -> str:
    """A way of printing a time, its groups told from those of others by its number."""
    return group(f"way_{i}", [re.sub(r"\(\?P([<=])(\w+)", rf"(?P\1\2_{i}", _written_out(pattern))])


_WAYS = [(way.kind, re.findall(r"\(\?P<(\w+)", way.pattern)) for way in PRINTED.time]
_PATTERN = re.compile("|".join(_numbered(way.pattern, i) for i, way in enumerate(PRINTED.time)), re.IGNORECASE)
_LENGTH = re.compile(
    "|".join(group(name, [_written_out(pattern)]) for name, pattern in PRINTED.lengths.items()), re.IGNORECASE
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


_CANDIDATE = re.compile(_written_out("|".join(PRINTED.hints)), re.IGNORECASE)
"""A cheap first look: most sentences and nearly all cells hold nothing that could be a period."""


_NAMED_QUARTER = phrases("named_quarter")


def periods(text: str, start: int = 0, end: int | None = None) -> list[Period]:
    """Every period expression in text[start:end], in order, not overlapping."""
    return list(_periods(text, start, len(text) if end is None else end))


def without(line: str, dated: Sequence[Period]) -> str:
    """A line without its period expressions."""
    for p in reversed(dated):
        line = line[: p.start] + line[p.end :]
    return line


@lru_cache(maxsize=1024)
def _periods(text: str, start: int, stop: int) -> tuple[Period, ...]:
    """Kept, since each reader asks for the periods of the same sentences and lines."""
    out: list[Period] = []
    held = _CANDIDATE.search(text, start, stop)
    if held is None and start > 0:
        held = _CANDIDATE.search(text, start - 1, min(stop, start + 4))
    for period in filter(None, map(_period, _PATTERN.finditer(text, start, stop) if held else ())):
        quarter = _NAMED_QUARTER.match(text, period.end)
        if quarter is not None and period.kind == "month" and period.month % 3 == 0:
            year = period.year or _year(quarter["year"])
            period = replace(period, kind="quarter", month=period.month // 3, year=year, end=quarter.end())
        out.append(_spanned(text, period, out[-1].end if out else start))
    return tuple(out)


def _period(m: re.Match[str]) -> Period | None:
    way = int((m.lastgroup or "").removeprefix("way_"))
    kind, names = _WAYS[way]
    told = {name: printed for name in names if (printed := m[f"{name}_{way}"])}
    year = _year(next((told[name] for name in told if name.startswith("y")), None))
    begin, end = m.span()
    match kind:
        case "quarter":
            return Period("quarter", year, QUARTERS[told["q"].lower()[:4]], None, begin, end, numbered=True)
        case "digits":
            day = int(told["d"]) if "d" in told else None
            return Period("date" if day else "month", year, int(told["m"]), day, begin, end)
        case "either":
            return _numeric(told, year, begin, end)
        case "day":
            return _valid(Period("date", year, _MONTHS[told["name"].lower()], int(told["d"]), begin, end))
    return _named(told, year, begin, end)


def _named(told: dict[str, str], year: int | None, begin: int, end: int) -> Period | None:
    """A month by its name, with what day or year stands beside it; None for a word such as `may`."""
    name = told["name"]
    month = _MONTHS[name.lower()]
    if name.lower() in _ALSO_WORDS and name[0].islower() and year is None:
        return None
    if "d" in told:
        return _valid(Period("date", year, month, int(told["d"]), begin, end))
    year = year or _year(told.get("short"))
    if year is None and "loose" in told:
        loose = int(told["loose"])
        if 1 <= loose <= 31:
            return _valid(Period("date", None, month, loose, begin, end, loose))
        return Period("month", 2000 + loose if loose < 50 else None, month, None, begin, end, loose)
    return Period("month", year, month, None, begin, end if year is not None else begin + len(name))


def _numeric(told: dict[str, str], year: int | None, begin: int, end: int) -> Period | None:
    """`8/31/2025` and `31.08.2025`: a date where only one order of day and month is possible, or ends a month."""
    first, second = int(told["one"]), int(told["two"])
    if year is None or not 2009 <= year <= 2049:
        return None
    readings = [
        Period("date", year, month, day, begin, end)
        for month, day in ((first, second), (second, first))
        if month <= 12 and day <= calendar.monthrange(year, month)[1]
    ]
    if len(readings) == 2 and readings[0].key != readings[1].key:
        readings = readings[1:] if told["mark"] == "." else []
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
    lead = _LENGTH.search(text[max(floor, p.start - 40) : p.start])
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
    count = WORDS.get(printed) or int(printed if printed.isdigit() else 0)
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
    return _valid(replace(p, year=year if p.month <= month else year - 1))


def as_heading(p: Period) -> Period:
    """`Aug 25` over a column is August 2025; a month-end date over a column is that month."""
    if p.kind == "date" and p.loose is not None and p.loose >= 17:
        return replace(p, kind="month", year=2000 + p.loose, day=None)
    return replace(p, kind="month") if p.kind == "date" and p.ends_month else p


def shift(key: str, months: int) -> str:
    """`2024-01` shifted by whole months."""
    total = int(key[:4]) * 12 + int(key[5:7]) - 1 + months
    return f"{total // 12:04d}-{total % 12 + 1:02d}"


def shift_quarters(key: str, quarters: int) -> str:
    """`2024Q1` shifted by whole quarters."""
    total = int(key[:4]) * 4 + int(key[5]) - 1 + quarters
    return f"{total // 4:04d}Q{total % 4 + 1}"

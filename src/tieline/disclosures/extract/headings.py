"""What stands over a row: the headings, the head of its columns, and the sentence right above it.

Knows nothing of labels' fields beyond whether a line is one. A heading proves what stands under it where it is made of
the issuer's name, a month and plain words; anything else leaves the rows under it candidates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tieline.disclosures.documents.context import is_dateline
from tieline.disclosures.finding import Finding
from tieline.disclosures.lexicon.periods import Period, periods, without
from tieline.disclosures.lexicon.words import phrases
from tieline.disclosures.rules.naming import classify, stray_words
from tieline.disclosures.rules.vocabulary import (
    COMPANY,
    EXCHANGE,
    NOT_DONE,
    bars,
    is_title,
    may_be_dateline,
    names_own,
    names_somebody,
    strange,
)
from tieline.disclosures.rules.wordlists import COLUMNS, DATED, HEADING, PROVES, TITLE
from tieline.disclosures.sentences.frame import Frame
from tieline.disclosures.sentences.passage import CAPTION, UNAUDITED
from tieline.disclosures.tables.cells import CHANGE

SPAN = phrases("span")
HEAD = re.compile(r"\W*(?:key )?(?:metrics?|kpis?)\b", re.IGNORECASE)
_LONGEST = 160
"""Characters of a heading; what is longer is a paragraph."""
_ABOVE = 2500
"""Characters above a row in which its headings are sought."""


class _LineOver(NamedTuple):
    """A line over a row."""

    raw: str
    words: str
    dated: Sequence[Period]
    under: str
    """The line below it."""
    title: bool
    """Nothing stands before it."""

    @property
    def ends(self) -> bool:
        """Is it the end of a sentence, and no company's name?"""
        told = self.words.endswith((".", "!", "?")) and not _is_company(self.words)
        return told or len(self.words) > _LONGEST

    @property
    def heads(self) -> bool:
        """Is it a table's own head: `Key Metrics`, or months over its columns?"""
        return HEAD.match(self.words) is not None or len(self.dated) > 1

    @property
    def skipped(self) -> bool:
        """Does it head nothing: a paragraph, a picture's caption, a dateline?"""
        told = CAPTION.search(self.raw) is not None
        return told or (is_dateline(self.words, self.dated) and may_be_dateline(self.words))

    @property
    def bare(self) -> str:
        return EXCHANGE.sub(" ", undated(re.sub(r"['’]000s?\b", "", self.words), self.dated))


def heading_over(text: str, at: int, frame: Frame, c: Finding) -> str | None:
    """The line over a row by which its figure is unproven; None where all that stands there proves it.

    Beyond a sentence over a head of the table (`Key Metrics`) stands another part of the text, which bars only where it
    is of others or of plans.
    """
    nearest, headed, beyond = True, False, False
    for line in _lines_above(text, at):
        if line.skipped:
            beyond = beyond or headed
            continue
        over = nearest and (not headed or _INTRODUCES.search(line.words) is not None)
        proves, told = _judged(line, frame, c, over, beyond)
        headed |= not (told or beyond) and proves is None and line.heads
        if told:
            nearest, beyond = False, beyond or (headed and line.ends)
        if proves is not None:
            return None if proves else line.words
    return None


def _judged(line: _LineOver, frame: Frame, c: Finding, nearest: bool, beyond: bool) -> tuple[bool | None, bool]:
    """Whether a line proves what stands under it, or leaves it open (None); and whether it is told and heads nothing: a
    sentence, or a point of a list."""
    bare = re.sub(r"(?i)\bquarter\w*", "", line.bare) if "Q" in c.period else line.bare
    doubtful = _DOUBTS.search(bare) is not None  # which `May 2025` is not
    if line.ends:
        nearest &= len(line.words) <= _LONGEST or _INTRODUCES.search(line.words) is not None
        return False if nearest and _tells_of_others(line.words, frame) else None, True
    if beyond:
        return False if doubtful and not re.search(r"\d", line.bare) else None, False
    proves = _proves(line, frame, c)
    point = _BULLET.match(line.raw) and not line.raw.rstrip().endswith(":")
    if proves is False and point and len(line.words.split()) > 4:
        return False if nearest and doubtful else None, True
    return proves, False


def _lines_above(text: str, at: int) -> Iterator[_LineOver]:
    """The lines over a row that hold words, or a year that heads it, from the nearest up."""
    under = text[at : at + 200].split("\n")[0].strip(_EDGES)
    start = max(0, at - _ABOVE)
    lines = text[start:at].split("\n")[:-1]
    for i, raw in reversed(list(enumerate(lines))):
        words = raw.strip(_EDGES)
        # A year's figures; under a month's name it is the month's year.
        year = _YEAR.fullmatch(words) and not _MONTH.fullmatch(lines[i - 1].strip(_EDGES) if i else "")
        if year or re.search(r"[^\W\d_]{3}", words):
            title = not (start or "".join(lines[:i]).strip())
            yield _LineOver(raw, words, periods(words), under, title)
        under = under if UNAUDITED.fullmatch(words) else words or under


def _proves(line: _LineOver, frame: Frame, c: Finding) -> bool | None:
    """Does a heading prove what stands under it? None where it is a row, or a piece of a label."""
    own = names_own(line.words, frame.names)
    if _YEAR.fullmatch(line.words) or (_is_company(line.words) and not own):
        return False
    if UNAUDITED.fullmatch(line.words) or (_LISTING.fullmatch(line.words) and own):
        return None  # says nothing of whose
    numbered = re.search(r"\d", line.bare) is not None
    if _heads_columns(line.raw, line.dated):
        judged = not numbered or _counts_in_corner(line)
        return False if (judged and _columns_bar(line.raw, frame, c.period)) or _is_bare_head(line, c) else None
    if numbered:
        return False if _heads_with_numbers(line.words, line.bare) or _names_with_number(line, frame) else None
    if _is_label(line):
        return None
    words = _WHOLE_YEAR.sub(" ", line.words) if c.dated else line.words  # the row says of which month it is
    words += ":" if line.raw.rstrip().endswith(":") else ""
    return not _heading_bars(words, line.dated, line.title, frame, c.field)


def _is_label(line: _LineOver) -> bool:
    """Is a line a row's label, or a piece of one: over its value, or over the rest of its words?"""
    if _VALUE.fullmatch(line.under) or line.under.startswith("("):
        return True
    label = classify(line.words)
    if label is not None:
        return ": " in line.words or (
            label.scope is None and not stray_words(undated(line.words, line.dated), label.field)
        )
    return not line.title and _is_fragment(line.words, line.under)


_DOUBTS, _INTRODUCES = phrases("doubts"), phrases("introduces")
_OF_BEFORE = phrases("of_before")
_BULLET = re.compile(r"\s*[-•·*] ?[^\W\d_]")
"""A point of a list: told, as a sentence is, and no heading."""


def _is_company(words: str) -> bool:
    return len(words.split()) < 7 and COMPANY.search(words) is not None


_EDGES = " |:*#-•\t"
_MONTH = re.compile(r"[A-Z][a-z]{2,8}\.?(?: \d{1,2},?)?")
_YTD, _TO_DATE, _GOES_ON = phrases("year_to_date"), phrases("to_date"), phrases("goes_on")
_YEAR = re.compile(r"(?:[FC]Y ?)?20\d\d")
_SENTENCE = 4
"""Words in lower case by which a line with two dates is told, and heads no columns."""
_LISTING = re.compile(r"[A-Z][A-Za-z .-]{1,40}: ?[A-Z]{2,5}")
"""Where a company is listed, and no more: `Nasdaq: HRN`."""
_WHOLE_YEAR = re.compile(r"\bfull[- ]year\b", re.IGNORECASE)
_OF_OTHERS = ("hosted_btc_customers", "jv_share_btc")
_VALUE = re.compile(r"[~$(]{0,3}\d[\d,.]*\)?\s?[A-Za-z/%]{0,6}")


def _heads_columns(line: str, dated: Sequence[Period]) -> bool:
    """Is it a line over columns: several months, a corner that says so, or cells of words?"""
    cells = [cell for cell in re.split(r"[|\t]", line) if re.search(r"[^\W\d_]{3}", cell)]
    several = len(dated) > 1 and len(re.findall(r"\b[a-z]{3,}\b", without(line, dated))) < _SENTENCE
    return several or HEAD.match(line.strip(" |")) is not None or len(cells) > 1


def _columns_bar(line: str, frame: Frame, period: str) -> bool:
    """Does a head of columns hold words that may change what stands under it? Beside a month hardly any may stand, and
    what stands beside another one says nothing of a period's figures."""
    cells = re.split(r"[|\t]", _TO_DATE.sub(" ", line))
    over = len(cells) > 1 and sum(p.kind != "year" for p in periods(line)) > 1
    own = [
        cell
        for cell in cells
        if len(cells) == 1 or not (_is_of_another(cell, period) or CHANGE.fullmatch(cell.strip()))
    ]
    return any(_cell_bars(cell, over, frame) for cell in own) or (over and "%" in cells[0])


_PLAIN_HEAD = phrases("plain_head")


def _counts_in_corner(line: _LineOver) -> bool:
    """Does a number stand in the first cell alone: `Peer group of 15 | July 2025 | June 2025`?"""
    cells = re.split(r"[|\t]", line.raw.strip(" |"))
    return len(cells) > 1 and not any(re.search(r"\d", undated(cell, periods(cell))) for cell in cells[1:])


def _is_bare_head(line: _LineOver, c: Finding) -> bool:
    """Is a line a head of columns without a month, of which one is not plainly of values: `Metric | Customers`?"""
    cells = [cell for cell in re.split(r"[|\t]", line.raw.strip(" |")) if cell.strip()]
    told = bool(line.dated) or re.search(r"\d|(?i:this month)", line.raw) is not None or c.label.strip() in line.raw
    return not told and any(not _PLAIN_HEAD.fullmatch(cell.strip(_EDGES)) for cell in cells[1:])


_FEW = 6
"""Words of a heading beside its number."""
_TOLD_FIGURE = re.compile(r"[\W]*(?:US)?[$~]?\d[\d,]*(?:\.\d+)?(?![.)\d])")
"""A point that begins with its figure, which heads nothing."""


def _names_with_number(line: _LineOver, frame: Frame) -> bool:
    """Does a line with a number that is no row hold words that may name somebody: `Top 10 Public Peers`?"""
    if re.search(r"[|:\t]|\S {2,}\S", line.raw.strip()) or len(re.findall(r"(?<!\w)\d[\d.,]*%?(?!\w)", line.bare)) > 1:
        return False
    if _VALUE.fullmatch(line.under) or _TOLD_FIGURE.match(line.raw):
        return False
    words = re.sub(r"\S*\d\S*", " ", line.bare)
    if len(words.split()) > _FEW or "," in words:
        return False
    return strange(words, frame.names, COLUMNS) is not None or _DOUBTS.search(words) is not None


def _cell_bars(cell: str, over: bool, frame: Frame) -> bool:
    dated = [p for p in periods(cell) if p.kind != "year"]
    known = DATED if dated and over else HEADING if over or len(dated) > 1 else COLUMNS
    return strange(undated(cell, dated), frame.names, known) is not None and not _YTD.fullmatch(cell)


def _is_of_another(cell: str, period: str) -> bool:
    """Does a column's head name one month or quarter, which is not the period?"""
    dated = [p for p in periods(cell) if p.kind != "year"]
    head = dated[0] if dated else None
    of_quarter = "Q" in period
    if (
        head is None
        or head.kind not in ("month", "date", "quarter")
        or (head.kind == "quarter") != of_quarter
        or len(period) < 6
    ):
        return False
    return head.month != int(period[5:7]) or head.year not in (None, int(period[:4]))


def _is_fragment(words: str, under: str) -> bool:
    """Is a line a part of a label that was broken: words of labels, over a line that names no field alone?"""
    label = re.split(r"[:：|\t]|\s\d", under, maxsplit=1)[0]
    return strange(words, {}, COLUMNS) is None and (classify(label) is None or _GOES_ON.search(words) is not None)


def _heads_with_numbers(words: str, bare: str) -> bool:
    """`Per share (x 1,000)`, `Week 31`: a number in a bracket after words, or of a span, in a line that is no row."""
    before = re.split(r"\d", bare, maxsplit=1)[0].rstrip(" $€£")
    if re.search(r"[|:\t]", words):
        return False
    inside = before.count("(") > before.count(")") and not before.endswith("(")
    return inside or (len(words.split()) <= 4 and SPAN.search(words) is not None)


def _tells_of_others(sentence: str, frame: Frame) -> bool:
    """Does a sentence over rows name somebody else, or speak of others or of plans without the issuer's name?"""
    doubts = NOT_DONE if names_own(sentence, frame.names) else _DOUBTS
    told = without(sentence, periods(sentence))
    doubtful = doubts.search(told) is not None or _OF_BEFORE.search(told) is not None
    return doubtful or names_somebody(sentence, frame.names)


def _heading_bars(words: str, dated: Sequence[Period], title: bool, frame: Frame, field: str) -> bool:
    """Does a heading leave open whether, of whom or of when its rows are?"""
    if len(words.split()) > 14 and not words.endswith(":"):  # a sentence that lost its stop
        doubtful = (
            re.search(r"\bhosts?\b|\bmodels?\b", words) is not None
            or _DOUBTS.search(without(words, periods(words))) is not None
        )
        return doubtful or _tells_of_others(words, frame)
    of_others = PROVES[field] if field in _OF_OTHERS else frozenset()
    bare = undated(words, periods(words))
    known = (TITLE if title else HEADING) | of_others
    return bars(bare, frame.names, known) and not (title and is_title(words, frame.names))


def undated(line: str, dated: Sequence[Period]) -> str:
    return re.sub(r"20\d\d|(?<=[^\W\d_])\s?\d\b|\(\d\)", "", without(line, dated))

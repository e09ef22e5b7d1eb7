"""Words by which headings and titles prove or bar what stands under them, and the words of doubt that the desk is told.

Closed: a heading is proven by the issuer's name, a month and the words of `wordlists`; a word that is not there leaves what
stands under it candidates; `data/phrases.toml` lists what bars. Only a title is told freely, and barred by what it says.
"""

from __future__ import annotations

import functools
import re

from tieline.disclosures.lexicon.periods import periods, without
from tieline.disclosures.lexicon.words import phrases
from tieline.disclosures.rules.wordlists import COLUMNS, HEADING, OPENERS, PREFACE, STARTERS, TITLE

POISON, NOT_DONE, NOT_OWN, LEGAL = phrases("poison"), phrases("not_done"), phrases("not_own"), phrases("legal")
UPDATE, COMPANY = phrases("update"), phrases("company")
FIRMS = phrases("firms").pattern
FIRM = re.compile(rf"\b[A-Z][a-z]+ (?:[A-Z][A-Za-z]+ )*(?:{phrases('firms_alone').pattern})\b")
"""Several capitalised words of which one is a firm's: `First Digital Compute`."""
_DISOWNED, _REFERS, _AS_IT_IS = phrases("disowned"), phrases("refers"), phrases("as_it_is")
_BACK, _OTHERWISE = phrases("back"), phrases("otherwise")
_NO_TITLE, _OTHERS, _NOTHING_NEW = phrases("no_title"), phrases("others"), phrases("nothing_new")
_OF_WHAT = phrases("of_what")
_BRACKETS = re.compile(r"\([^()]*\)?")
"""Beside the issuer's own name: where it is listed, and what it calls itself."""
_ADDRESS, _CITY = phrases("address"), phrases("city")


_HEADLINE = phrases("headline")
"""Verbs by which a title says of the issuer that it tells or did something."""


def disowned(text: str) -> str | None:
    """The words by which a text disowns what it prints, or speaks of all of it; its legal sentences aside, and denials
    of a figure that they name."""
    for m in (*_DISOWNED.finditer(text), *_REFERS.finditer(text)):
        start = max(text.rfind("\n", 0, m.start()), text.rfind(". ", 0, m.start()), m.start() - 600) + 1
        end = min(len(text), m.end() + 300)
        sentence = re.split(r"\n|[.!?]\s", text[start:end], maxsplit=1)[0]
        wrapped = re.split(r"\n\n|[.!?]\s", text[start:end], maxsplit=1)[0].replace("\n", " ")
        figure = _FIGURE.search(sentence) and not _NO_TEXT.search(sentence)
        plain = _AS_IT_IS.search(wrapped) if m.re is _REFERS else figure
        legal = LEGAL.search(wrapped) is not None and _OF_TABLES.search(wrapped) is None
        if not plain and not legal and not _of_statements(text, start, sentence):
            return text[max(start, m.start() - 30) : m.end() + 30].strip()
    return None


_FIGURE = re.compile(r"\d[\d,.]* ?(?:BTC|bitcoin)")
_NO_TEXT = re.compile(r"\b(?:placeholders?|fictitious|dummy|test)\b", re.IGNORECASE)
_OF_TABLES = phrases("of_tables")


def _of_statements(text: str, start: int, sentence: str) -> bool:
    """Is a sentence one on forward-looking statements, which it means by `they`: the legal words stand before it, and
    neither it nor those since speak of figures?"""
    before = text[max(0, start - 1500) : start]
    said = _OF_WHAT.findall(before[before.rfind("\n") + 1 :])
    of_figures = any(not word.lower().startswith("statement") for word in _OF_WHAT.findall(sentence))
    legal = LEGAL.search(before) is not None and bool(said)
    return legal and said[-1].lower().startswith("statement") and not of_figures


def qualifies(sentence: str) -> bool:
    """Does a sentence refer to what was told before it, and say that some of it is another's, or otherwise?"""
    return _BACK.match(sentence) is not None and _OTHERWISE.search(sentence) is not None


def _unwrapped(lines: list[str]) -> list[str]:
    """Lines, with those that begin in lower case, or within a bracket, behind the line that they go on with."""
    out: list[str] = []
    for line in lines:
        goes_on = bool(out) and (line[:1].islower() or out[-1].rfind("(") > out[-1].rfind(")"))
        out[-1:] = [f"{out[-1]} {line}"] if goes_on else [*out[-1:], line]
    return out


def preface(text: str, names: dict[str, bool]) -> str | None:
    """A line before the title that says something of what follows; None where all that stands there is plain."""
    dateline = _CITY.search(text, 0, 3000)
    lines = [line.strip() for line in text[: dateline.start() if dateline else 3000].split("\n") if line.strip()]
    titled = next(
        (
            i
            for i, line in enumerate(lines[:12])
            if ((periods(line) or _of_a_year(line, names)) and UPDATE.search(line)) or _is_headline(line, names)
        ),
        0,
    )
    over = _unwrapped(lines[:titled])
    below = [*over, lines[titled] if titled < len(lines) else ""][1:]
    followed = zip(over, below, strict=False)
    return next(
        (
            line
            for line, after in followed
            if _says_something(line, names, bool(periods(after)) and not UPDATE.search(after))
        ),
        None,
    )


def _is_headline(line: str, names: dict[str, bool]) -> bool:
    """`ORCHARD MINING ADDS 210 BITCOIN TO ITS TREASURY`: the issuer's name and a verb, in capitals as titles have them."""
    starts = (line[len(name) :] for name, own in names.items() if own and line.upper().startswith(f"{name} ".upper()))
    return any(rest[1:2].isupper() and _HEADLINE.match(rest) for rest in starts)


def _of_a_year(line: str, names: dict[str, bool]) -> bool:
    """`Heron Reports Full Year 2024 Results`: a title that names the issuer and no month."""
    return names_own(line, names) and re.search(r"\b20[12]\d\b", line) is not None and len(line.split()) < _TITLE_WORDS


_TITLE_WORDS = 14


_NO_PLACE = re.compile(rf"\b(?:{FIRMS}|{COMPANY.pattern})\b|{NOT_DONE.pattern}|{NOT_OWN.pattern}", re.IGNORECASE)
_WIRES = phrases("wires")


def may_be_dateline(line: str) -> bool:
    """Is a line with a day a place's, and no firm's or budget's: `Osprey Energy Partners, July 31, 2025`?"""
    return _WIRES.search(line) is not None or _NO_PLACE.search(line) is None


def _is_place(line: str) -> bool:
    """Is a line one word, as the place of a dateline that stands alone is?"""
    return re.fullmatch(r"[A-Z][a-z]+,?", line) is not None and _NO_TITLE.search(line) is None


def _says_something(line: str, names: dict[str, bool], dated_below: bool) -> bool:
    """Does a line before the title hold more than the issuer's name and a page's furniture, and is no sentence on it?"""
    own = names_own(line, names)
    told = len(line.split()) > 12 or line.endswith((".", "!"))
    begins = any(mine and line.startswith(name) for name, mine in names.items())
    sentence = (told and (begins or _NO_TITLE.search(line) is None)) or is_title(line, names)
    words = _ADDRESS.sub(" ", _BRACKETS.sub(" ", line) if own else line)
    return (
        len(line) > 3
        and not (sentence and own)
        and not (dated_below and _is_place(line))
        and strange(words, names, PREFACE) is not None
    )


def _without_own(text: str, names: dict[str, bool]) -> str:
    return functools.reduce(lambda rest, name: rest.replace(name, " "), (name for name in names if names[name]), text)


def names_own(text: str, names: dict[str, bool]) -> bool:
    """Is the issuer named?"""
    return any(own and name in text for name, own in names.items())


DATELINE = phrases("dateline")
EXCHANGE = re.compile(rf"\((?:{phrases('exchanges').pattern})[^()\n]{{0,60}}\)")
_LISTING = re.compile(r"\([^()]{0,80}[:“\"][^()]{0,80}\)")


_DONE = re.compile(r"(?!United|Allied)[A-Z][a-z]{3,}(?:ed|ing)")
"""A verb that begins a point of a list: `Reduced`, `Completing`."""


def names_somebody(sentence: str, names: dict[str, bool]) -> bool:
    """Does a sentence hold a capitalised word that is neither the issuer's name nor one of headings and openings?"""
    sentence = _without_own(_LISTING.sub(" ", DATELINE.sub("", sentence)), names)
    first = re.match(r"\W*([A-Z][a-z-]+) (?=[a-z(\d$~])", sentence)
    if first is not None and (first[1].lower() in STARTERS or _DONE.fullmatch(first[1])):
        sentence = sentence[first.end() :]
    words = re.findall(r"(?<![\w.])[A-Z][\w'’&.-]*[a-z][\w'’&-]*", sentence)
    return not all(
        _proves(word, COLUMNS) or word.lower().removesuffix("-based").removesuffix("'s").rstrip(".’'") in OPENERS
        for word in words
    )


def strange(heading: str, names: dict[str, bool], known: frozenset[str] = HEADING) -> str | None:
    """The first word of an undated heading that may name somebody or something else than the issuer's own."""
    heading = _NOTHING_NEW.sub(" ", EXCHANGE.sub(" ", _without_own(heading, names)))
    words = re.findall(r"[^\W\d_]+(?:['’&/-][^\W\d_]+)*", heading)
    return next((word for word in words if len(word) > 1 and not _proves(word, known)), None)


def bars(heading: str, names: dict[str, bool], known: frozenset[str] = HEADING) -> bool:
    """Does an undated heading leave open whose figures stand under it, or of when?"""
    company = not names_own(heading, names) and COMPANY.search(heading)
    return bool(company or _OTHERS.search(heading)) or strange(heading, names, known) is not None


def is_title(line: str, names: dict[str, bool]) -> bool:
    """Is a line the issuer's own title: its name and the time of the report, and no word of doubt or of others?"""
    dated = periods(line)
    bare = EXCHANGE.sub(" ", without(line, dated))
    own = (bool(dated) or _of_a_year(line, names)) and names_own(line, names) and not line.rstrip().endswith(":")
    told = _is_headline(line, names) or strange(re.sub(r"20\d\d", "", bare), names, TITLE) is None
    return own and told and _NO_TITLE.search(bare) is None and _OTHERS.search(bare) is None


def _proves(word: str, known: frozenset[str] = HEADING) -> bool:
    """Is it a known word, or several with a stroke between them, or run together: `MetricMonth/Month`?"""
    parts = re.split(r"/|(?<=[a-z])(?=[A-Z])", word)
    return word.lower() in known or known.issuperset(part.lower() for part in parts)

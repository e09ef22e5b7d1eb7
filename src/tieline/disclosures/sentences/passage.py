"""Of what an undated sentence speaks: the month of its section, whom it means, and whether anything is told as done.

Knows nothing of rules or figures. Headings set the month; a sentence about another time or somebody else takes it away
from the rest of its paragraph.
"""

from __future__ import annotations

import re

from tieline.disclosures.documents.context import Context, is_dateline, key_of
from tieline.disclosures.lexicon.periods import Period, periods
from tieline.disclosures.lexicon.words import phrases
from tieline.disclosures.rules.vocabulary import (
    COMPANY,
    EXCHANGE,
    FIRM,
    NOT_DONE,
    NOT_OWN,
    bars,
    is_title,
    may_be_dateline,
    names_own,
    names_somebody,
)
from tieline.disclosures.rules.wordlists import HEADING, TITLE
from tieline.disclosures.sentences.frame import INTRODUCES, THE_COMPANY
from tieline.disclosures.sentences.template import ITSELF, Template

WINDOW = phrases("other_windows")
_AGO = re.compile(r"\b(?:years? (?:ago|earlier|before)|last year|back then|looking back|once|used to)\b", re.IGNORECASE)
_FOLLOWS = phrases("told_to_follow")
_WE = re.compile(r"\b(?:[Ww]e|[Oo]ur)\b")
_TELLS = re.compile(f"{NOT_DONE.pattern}|{NOT_OWN.pattern}|{_FOLLOWS.pattern}", re.IGNORECASE)
_OFFICE = phrases("offices")
_IT = re.compile(r"(?:.* )?it (?:has |had |also )*[a-z]+ed | it (?:held|sold|holds|owned) ")
_COMPARISON = re.compile(r"\b(?:compared (?:to|with)|versus|vs\.?|from|against|over|than|relative to)\b")
_NOBODY = phrases("nobody")
_EXPLAINS = phrases("explains")
_POINT_OF_OWN = phrases("point_of_own")
_WHERE = re.compile(r"\b(?:at|in|near|from)\s(?:the |its |our )?[A-Z][\w'’-]+(?: (?:and )?[A-Z][\w'’-]+){0,3}")
_OFFICER_OF = phrases("officer_of")
_HOPED = phrases("of_before")
_OPENING = phrases("opening_time")
_COVERS = phrases("covers_a_span")
_OTHER_THING = phrases("other_thing")
_SMALL = phrases("others_in_small_letters")
"""Others that a sentence names without a capital."""
CAPTION = phrases("picture_caption")
UNAUDITED = phrases("says_nothing")
_ALIAS = re.compile(r"\W*\(.{0,60}[\"“][^\"”]{2,40}[\"”][^()]{0,40}\)\W*")
"""A line of what the issuer calls itself: `("Heron" or "the Company")`."""
_OF_A_YEAR = phrases("whole_years")
_DATED = ("month", "date", "quarter")


class Passage:
    """What the sentences read so far leave to the next one."""

    def __init__(self, month: str | None, ctx: Context, names: dict[str, bool]) -> None:
        self.document = self.section = self.month = month
        """The month of the document, of its section, of the sentence; in a quarter's report the quarter."""
        self.day: str | None = None
        """The day of the last event that was told with its day."""
        self.barred = self.elsewhen = False
        """`elsewhen`: the paragraph spoke of another year, to which a month without its year may belong."""
        self.antecedent: bool | None = None
        """Whether the sentence before speaks of the issuer; None at the start of a paragraph."""
        self.subject = False
        """Whether the sentence before has the issuer as its subject, whom `it` may mean."""
        self.names, self._ctx, self._headings, self._bare_month = names, ctx, 0, False
        self._for_good = False
        """Whether the heading that bars speaks of others, of plans or of what follows, and no report's beginning lifts it."""

    def paragraph(self) -> None:
        self.month, self.elsewhen, self.day = self.section, False, None
        self.antecedent = None if self.antecedent is not False else False

    def means_issuer(self, tpl: Template) -> bool:
        """May an unnamed subject be the issuer here? `we` always; `it` after the issuer was named; the company, and no
        subject at all, unless the sentence before is about somebody else."""
        shapes = f" {tpl.shapes} "
        it = _IT.search(shapes)
        if it is not None and "~own" not in shapes[: it.end()] and not re.search(r" (?:we|our) ", shapes):
            return self.subject
        if "~own" in shapes or re.search(r" (?:we|our) ", shapes):
            return True
        return self.subject if _IT.search(shapes) else self.antecedent is not False

    def heading(self, line: str) -> None:
        """A heading sets the month of what stands under it, or says that it is no report of what was done, or whose."""
        spans = periods(line)
        if self._says_nothing(line, spans) or self._is_year(line):
            return
        self._bare_month = bool(spans) and not undated(line).strip()
        self._headings += 1
        self.antecedent = None
        keys = _keys(spans, self._ctx)
        other = "" in keys or (WINDOW.search(undated(line)) is not None and self.document not in keys)
        known = TITLE if self._headings == 1 else HEADING
        self.barred = bars(undated(line), self.names, known) and not is_title(line, self.names)
        self._for_good = _TELLS.search(line) is not None
        self.section = self.document if not other and keys <= {self.document} else None
        if len(keys) == 1 and not other:
            self.section = keys.pop()
        self.month = self.section

    def _says_nothing(self, line: str, spans: list[Period]) -> bool:
        """Is a line a dateline, what the issuer calls itself, or `unaudited`?"""
        place = is_dateline(line.strip(), spans) and may_be_dateline(line)
        alias = _ALIAS.fullmatch(line) is not None and names_own(line, self.names)
        return alias or place or UNAUDITED.fullmatch(line) is not None

    def _is_year(self, line: str) -> bool:
        """Take in a heading that is a year, unless it ends the name of a month that stands over it."""
        year = _YEAR.fullmatch(line)
        if year is None or (self._bare_month and year["bare"]):
            return False
        self.section = self.month = year["whole"]  # a bare year's figures are of no month that is known
        self.barred = self.barred and year["whole"] is None
        return True

    def speaks_of(self, sentence: str) -> None:
        """A sentence may bar what follows it or introduce the report; whom it names is who the next one may mean."""
        if is_dateline(sentence.strip(), periods(sentence)):
            return
        years = re.findall(r"(?<![\d/-])20[0-2]\d(?![\d-])", sentence)
        self.elsewhen |= bool(_AGO.search(sentence)) or (bool(years) and (self.document or "")[:4] not in years)
        if _FOLLOWS.search(sentence) and (
            NOT_DONE.search(sentence) or NOT_OWN.search(sentence) or _HOPED.search(sentence)
        ):
            self.barred = True
        if self.barred and not self._for_good and self._introduces(sentence):
            self.barred, self.section, self.month = False, self.document, self.document
        self._names_in(sentence)

    def _names_in(self, sentence: str) -> None:
        own = names_own(sentence, self.names)
        self.subject = self._has_issuer_as_subject(sentence)
        if _EXPLAINS.match(sentence):
            sentence = _WHERE.sub(" ", sentence)
        if self._tells_of_somebody(sentence, own) or NOT_OWN.search(_NOBODY.sub(" ", EXCHANGE.sub(" ", sentence))):
            self.antecedent = False
        elif own or _WE.search(sentence) or (ITSELF.search(sentence) and self.names.get(THE_COMPANY, True)):
            self.antecedent = True

    def _tells_of_somebody(self, sentence: str, own: bool) -> bool:
        """Does a sentence name another firm or thing, its speaker's office and a point's own partners aside?"""
        if (not own and (COMPANY.search(sentence) or FIRM.search(sentence))) or _SMALL.search(sentence):
            return True
        officer = (own or _WE.search(sentence)) and _OFFICE.search(sentence) and not self._of_others(sentence)
        return not (officer or _POINT_OF_OWN.match(sentence)) and names_somebody(sentence, self.names)

    def _has_issuer_as_subject(self, sentence: str) -> bool:
        """Does a sentence begin with the issuer, or with `it` where that meant the issuer, and tell of no other thing?"""
        begins = _OPENING.sub("", sentence.lstrip(' -*•·"“'))
        named = any(own and begins.startswith(name) for name, own in self.names.items())
        goes_on = self.subject and re.match(r"[Ii]ts? ", begins) is not None
        itself = re.match(r"[Tt]he (?:Company|Group|company|miner|firm|group)\b", begins) is not None
        return (named or goes_on or itself) and _OTHER_THING.search(sentence) is None

    def _of_others(self, sentence: str) -> bool:
        """Is the officer another company's: `the chief executive of Osprey Hash`?"""
        firms = [m["firm"] for m in _OFFICER_OF.finditer(sentence)]
        return any(not names_own(firm, self.names) for firm in firms)

    def _introduces(self, sentence: str) -> bool:
        """`Heron is pleased to provide the following operational update for July 2025`: here the report begins."""
        own = names_own(sentence, self.names)
        dated = self.document in {key_of(p, self._ctx) for p in periods(sentence)}
        return own and dated and INTRODUCES.search(sentence) is not None and not NOT_DONE.search(sentence)

    def _spans(self, sentence: str) -> bool:
        """Does a sentence say that what is told is of another span: `covers July 1 to July 15`?"""
        return _COVERS.search(sentence) is not None and "Q" not in (self.document or "")

    def after(self, sentence: str, tpl: Template) -> None:
        """A sentence that spoke of another time, or of somebody else, leaves the next ones of its paragraph without."""
        self.speaks_of(sentence)
        self.section = None if self._spans(sentence) else self.section
        dated = [t.period for i, t in enumerate(tpl.tokens) if t.period is not None and not is_compared(tpl, i)]
        dated = [p for p in dated if p.kind != "year"]
        keys = {key_of(p, self._ctx) for p in dated}
        quarterly = self.section is not None and "Q" in self.section
        if (keys and keys != {self.section}) or (WINDOW.search(tpl.shapes) and not quarterly):
            self.month = None
        elif keys:
            self.month = self.section


_YEAR = phrases("year_alone")


def _keys(spans: list[Period], ctx: Context) -> set[str | None]:
    """The periods of a line; empty for one that dates no figure."""
    return {key_of(p, ctx) if p.kind in _DATED else "" for p in spans}


def section_of(heading: str, ctx: Context) -> str | None:
    """The one quarter or calendar year of which a heading says that it is."""
    if (year := _YEAR.fullmatch(heading)) is not None:
        return year["whole"]
    keys = _keys(periods(heading), ctx)
    key = keys.pop() if len(keys) == 1 else None
    return key if key is not None and "Q" in key else None


def is_heading(text: str, start: int, end: int) -> bool:
    line = text[start:end].strip()
    if (
        line.endswith((".", ";", ","))
        or CAPTION.search(line)
        or line.startswith(("-", "•", "*", "·"))
        or len(line.split()) > 14
    ):
        return False
    return (start == 0 or "\n" in text[max(0, start - 2) : start]) and not re.search(r"\d", undated(line))


def undated(line: str) -> str:
    """A line without its periods and years."""
    for p in reversed(periods(line)):
        line = line[: p.start] + line[p.end :]
    return re.sub(r"\b20\d\d\b", "", _OF_A_YEAR.sub("", line))


def is_compared(tpl: Template, i: int) -> bool:
    """Does a comparison govern the period at token i, or does it head a figure of its own: `(July: 41 BTC)`?"""
    beside = [t.shape for t in tpl.tokens[max(0, i - 1) : i + 2 : 2]]
    if beside == ["(", ":"]:
        return True
    before = " ".join(t.shape for t in tpl.tokens[max(0, i - 9) : i])
    last = max((m.end() for m in _COMPARISON.finditer(before)), default=-1)
    return last >= 0 and not re.search(r"[,;]| and | to ", before[last:])

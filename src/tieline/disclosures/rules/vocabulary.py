"""Words by which headings and titles prove or bar what stands under them, and the words of doubt that the desk is told.

Closed: a heading is proven by the issuer's name, a month and the words of `wordlists`; a word
that is not there leaves what stands under it candidates. Only a title is told freely, and barred by what it says.
"""

from __future__ import annotations

import re

from tieline.disclosures.lexicon.periods import periods
from tieline.disclosures.rules.wordlists import COLUMNS, HEADING, OPENERS, PREFACE, STARTERS

POISON = re.compile(
    r"\b(?:not|no|never|nor|neither|without|den(?:y|ies|ied|ial)|false(?:ly)?|untrue|rumou?r\w*|incorrect\w*|wrong\w*|mistak\w*|error|erroneous\w*"
    r"|alleg\w*|claim(?:s|ed)?|suppos\w*|purport\w*|reportedly|speculat\w*|disput\w*|refut\w*|retract\w*|withdr\w+"
    r"|estimat\w*|expect\w*|plan(?:s|ned|ning)?|target\w*|forecast\w*|guid(?:ance|ed)|project(?:ed|ion|ions|s)|anticipat\w*|intend\w*|aim\w*|propos\w*|potential\w*"
    r"|next|will|would|could|should|shall|(?<!in )(?<!for )(?<!of )may(?! \d)|might|can|if|unless|until|whether|once|assum\w*|suppose|imagin\w*|scenario"
    r"|pro ?forma|hypothe\w*|illustrat\w*|example|restat\w*|revis\w*|correct(?:ed|ion|ing)|adjusted"
    r"|customers?|clients?|hosted|third-part\w+|partners?|affiliat\w*|subsidiar\w*|joint|venture|pool|pools|foundation|fund|network|industry|sector|peers?|rivals?|competitors?"
    r"|combined|together|collectively|jointly|equivalents?|tokens?|worth|since|cumulative\w*|lifetime|inception|so far|to date|year-to-date|ytd"
    r"|annual\w*|quarter\w*|fiscal|half|weeks?|weekly|between|least|most|maximum|minimum|range|ranging|either|neither)\b"
)
"""Words of doubt: what a model reads beside them is dropped, and a candidate is told which it met."""

NOT_DONE = re.compile(
    r"\b(?:outlook|guidance|forecasts?|targets?|budget\w*|plan(?:s|ned)?|projected|expected|pro ?forma|preview|scenarios?|sensitivit\w+|hypothe\w*|illustrat\w*|estimates?|projections?|goals?|milestones?"
    r"|roadmap|pipeline|example|sample|template|rumou?rs?|corrections?|corrects|errat\w*|withdraw\w*|retract\w*|clarif\w*|speculation|denies|denied)\b",
    re.IGNORECASE,
)
"""Words in a heading under which nothing is told as done."""
NOT_OWN = re.compile(
    r"\b(?:industry|sector|network|peers?|competitors?|customers?|hosting|hosted|\w*pool|foundation|trust|dao|etf|token|tokens|fund|funds|market|joint venture|subsequent|potential|planned|expected|proposed)\b",
    re.IGNORECASE,
)
"""Words in a heading under which what is told may not be the issuer's own."""
DISOWNED = re.compile(
    r"\b(?:none of (?:this|it|them|these(?! (?!figures|numbers|amounts|data)\w))|not (?:ours|from us|our (?:own )?(?:figures|numbers|data))|do(?:es)? not (?:come from|endorse|confirm)|"
    r"(?:not|no longer) be relied (?:up)?on|test (?:string|data|values?)|fictitious|for illustration|placeholders?|dummy"
    r"|rumou?rs?|untrue|false|falsely|fake|hoax|incorrect|incorrectly|in error|erroneous\w*|mistak\w+|retract\w*|den(?:y|ies|ied|ial)|hypothe\w+(?= (?:figures?|numbers?|results?|data|example|release|company|miner|production|update))|illustrati\w+(?! (?:layout|rendering|image|drawing|map|picture))|imagine|suppose)\b",
    re.IGNORECASE,
)
"""Words by which a text says that what it prints is nobody's, or not so: then nothing in it is proven."""
LEGAL = re.compile(
    r"[Ff]orward-[Ll]ooking|[Rr]isk [Ff]actors|\bForms? (?:10-[KQ]|20-F|40-F|6-K|8-K)|no obligation|undue reliance"
    r"|[Ss]afe [Hh]arbor|Securities (?:Litigation|Exchange|Act)|differ materially|relied (?:up)?on as representing"
)
"""Sentences of a release's last paragraphs, which report nothing."""


_REFERS = re.compile(
    r"\b(?:oops|typo|misprint|swapped|should (?:have )?(?:read|been)|disregard\w*|(?:the|all|everything|what is|stated|shown|printed|given) above|above (?:figures?|numbers?|data|results|table|amounts)"
    r"|(?:these|those|all|each|every|such|its) (?:of the )?(?:\w+ )?(?:figures?|numbers?|amounts|data(?! cent(?:er|re)))"
    r"|ought to|(?:the|this) (?:\w+ )?(?:rows?|columns?|lines?|paragraphs?|sentences?|headlines?|update) (?:above|of|for|gives?|shows?|prints?|says|reads)"
    r"|slip in (?:our|the)|(?:note|word) (?:by|from) the editors?|editors?'s? note)\b",
    re.IGNORECASE,
)
_AS_IT_IS = re.compile(
    r"unaudited|preliminary|exclud|round(?:ed|ing)|approximat|in (?:(?:Canadian|Australian) dollars|CAD\b|U\.?S\.?(?:$| dollars)|USD|United States dollars|U\.?S\.? ?\$)",
    re.IGNORECASE,
)
_BRACKETS = re.compile(r"\([^()]*\)?")
"""Beside the issuer's own name: where it is listed, and what it calls itself."""
_ADDRESS = re.compile(r"\S*(?:\d|@|www\.|https?:|\.com\b)\S*")
"""A number, a page's address or a person's, in a line before the title."""
_CITY = re.compile(
    r"(?m)^[A-Z][A-Z .\n-]{2,30},\s(?:[A-Z][\w. ]{1,20},\s)?[A-Z][a-z]{2,8}\.?\s\d{1,2},\s20\d\d\s\(?/?(?:GLOBE|PR|Business|ACCESS|CNW)"
)
"""A dateline up to its wire: what stands behind it is no preface, also where narrow columns break its lines."""


_HEADLINE = ("Mines", "Produces", "Earns", "Mined", "Produced")


def disowned(text: str) -> str | None:
    """The words by which a text disowns what it prints, or speaks of all of it; its legal paragraphs aside, and denials
    of a figure that they name."""
    for m in (*DISOWNED.finditer(text), *_REFERS.finditer(text)):
        start = max(text.rfind("\n", 0, m.start()), text.rfind(". ", 0, m.start()), m.start() - 600) + 1
        end = min(len(text), m.end() + 300)
        sentence = re.split(r"\n|[.!?]\s", text[start:end], maxsplit=1)[0]
        plain = _AS_IT_IS.search(sentence) if m.re is _REFERS else re.search(r"\d[\d,.]* ?(?:BTC|bitcoin)", sentence)
        if not plain and not LEGAL.search(text, start, end):
            return text[max(start, m.start() - 30) : m.end() + 30].strip()
    return None


_BACK = re.compile(
    r"\W*(?:(?:Of|Half of|Part of|Some of|Among) (?:this|these|that|those|the|which|what|it|them)\b|(?:That|This|These|Those)\b"
    r"|The (?:output|average|figure|number|count|total|sale|hash ?rate|balance|holding|coins|sum|month)\b)"
)
_OTHERWISE = re.compile(
    r"\b(?:belongs?|rents?|rented|twice|replac(?:es|ed)|ought|slip|instead|leaves?|fell|counts?|excludes?|wrong\w*|error|mistak\w+|incorrect\w*|false"
    r"|customers?|clients?|hosting|hosted|third part(?:y|ies)|joint venture)\b",
    re.IGNORECASE,
)


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
    headline = tuple(f"{name} {verb}" for name, mine in names.items() if mine for verb in _HEADLINE)
    titled = next(
        (
            i
            for i, line in enumerate(lines[:12])
            if periods(line) and (UPDATE.search(line) or line.startswith(headline))
        ),
        0,
    )
    return next((line for line in _unwrapped(lines[:titled]) if _says_something(line, names)), None)


def _is_place(line: str) -> bool:
    """Is a line one word, as the place of a dateline that stands alone is?"""
    return re.fullmatch(r"[A-Z][a-z]+,?", line) is not None and _NO_TITLE.search(line) is None


def _says_something(line: str, names: dict[str, bool]) -> bool:
    """Does a line before the title hold more than the issuer's name and a page's furniture, and is no sentence on it?"""
    own = names_own(line, names)
    sentence = len(line.split()) > 12 or line.endswith((".", "!")) or is_title(line, names)
    words = _ADDRESS.sub(" ", _BRACKETS.sub(" ", line) if own else line)
    return (
        len(line) > 3 and not (sentence and own) and not _is_place(line) and strange(words, names, PREFACE) is not None
    )


def names_own(text: str, names: dict[str, bool]) -> bool:
    """Is the issuer named?"""
    return any(own and name in text for name, own in names.items())


DATELINE = re.compile(
    r"\A\W*[A-Z][A-Za-z .'&-]{1,40},[^\n]{0,90}?20\d\d\)?(?:[^-–—\n]{0,50}[-–—]{1,2}\s|[:.]? (?=[A-Z]))|\A[^.]{0,60}(?:\.,[^.]{0,40})?20\d\d\)?[^-–—]{0,40}[-–—]{1,2}\s"
)
EXCHANGE = re.compile(r"\((?:NASDAQ|Nasdaq|NYSE|TSX|LSE|AIM|ASX|OTC|FSE|CBOE|Cboe)[^()\n]{0,60}\)")
_LISTING = re.compile(r"\([^()]{0,80}[:“\"][^()]{0,80}\)")


_DONE = re.compile(r"(?!United|Allied)[A-Z][a-z]{3,}(?:ed|ing)")
"""A verb that begins a point of a list: `Reduced`, `Completing`."""


def names_somebody(sentence: str, names: dict[str, bool]) -> bool:
    """Does a sentence hold a capitalised word that is neither the issuer's name nor one of headings and openings?"""
    sentence = _LISTING.sub(" ", DATELINE.sub("", sentence))
    for name, own in names.items():
        sentence = sentence.replace(name, " ") if own else sentence
    first = re.match(r"\W*([A-Z][a-z-]+) (?=[a-z(])", sentence)
    if first is not None and (first[1].lower() in STARTERS or _DONE.fullmatch(first[1])):
        sentence = sentence[first.end() :]
    words = re.findall(r"(?<![\w.])[A-Z][\w'’&.-]*[a-z][\w'’&-]*", sentence)
    return not all(
        _proves(word, COLUMNS) or word.lower().removesuffix("-based").removesuffix("'s").rstrip(".’'") in OPENERS
        for word in words
    )


UPDATE = re.compile(
    r"\b(?:update|updates|bulletin|newsletter|results|production|operations?|operational|report|reports|highlights|metrics|announces|provides|releases|kpis|indicators|figures)\b",
    re.IGNORECASE,
)


_NOTHING_NEW = re.compile(
    r"(?:month|year)[-/ ](?:over[-/ ]|on[-/ ])?(?:month|year)|\b(?:achieves|sets|reaches) (?:a )?(?:new )?(?:all-time|record) high\b",
    re.I,
)
"""Phrases of headings that name nobody, of words that may name somebody where they stand alone."""


def strange(heading: str, names: dict[str, bool], known: frozenset[str] = HEADING) -> str | None:
    """The first word of an undated heading that may name somebody or something else than the issuer's own."""
    for name, own in names.items():
        heading = heading.replace(name, " ") if own else heading
    heading = _NOTHING_NEW.sub(" ", EXCHANGE.sub(" ", heading))
    words = re.findall(r"[^\W\d_]+(?:['’&/-][^\W\d_]+)*", heading)
    return next((word for word in words if len(word) > 1 and not _proves(word, known)), None)


_OTHERS = re.compile(
    r"\b(?:other|selected|listed|public) (?:bitcoin )?miners\b|^\W*(?:the )?(?:prior|previous) (?:month|year)\b|\bchanges?\W*$"
    r"|\bas previously reported\b|\binvestors? assets?\b",
    re.IGNORECASE,
)
"""Headings of known words under which another miner's figures stand, or those of another time."""
_FIRMS_ALONE = "Digital|Compute|Computing|Technologies|Platforms|Holdings|Infrastructure|Sciences|Partners|Capital"
FIRMS = f"{_FIRMS_ALONE}|Mining|Hashing|Hash|Blockchain|Energy|Power|Group"
"""Words of which a firm's name is made behind a name of its own; some are a firm's wherever they stand."""
FIRM = re.compile(rf"\b[A-Z][a-z]+ (?:[A-Z][A-Za-z]+ )*(?:{_FIRMS_ALONE})\b")
"""Several capitalised words of which one is a firm's: `First Digital Compute`."""
COMPANY = re.compile(r"\b(?:[Ll]td|[Ii]nc|[Cc]orp|plc|PLC|[Ll]imited|LLC|AG)\b")


def bars(heading: str, names: dict[str, bool], known: frozenset[str] = HEADING) -> bool:
    """Does an undated heading leave open whose figures stand under it, or of when?"""
    company = not names_own(heading, names) and COMPANY.search(heading)
    return bool(company or _OTHERS.search(heading)) or strange(heading, names, known) is not None


_NO_TITLE = re.compile(
    f"{NOT_DONE.pattern}|{NOT_OWN.pattern}|{POISON.pattern}"
    r"|\b(?:guess\w*|mock\w*|drafts?|exercises?|drills?|simulat\w+|model\w*|imagin\w+|parod\w+|quiz|leak\w*|unofficial|unconfirmed"
    r"|bets?|tips?|odds|students?|class|fans?|readers?|opinions?|analysts?|analysis|research|compar\w+|versus|against|after|before"
    r"|mid|early|late|part|tenants?|lessors?|lenders?|owners?|sites?|facilit\w+|campus|region\w*|segment)\b",
    re.IGNORECASE,
)
"""Words of a title that may leave its text not done, or another's."""


def is_title(line: str, names: dict[str, bool]) -> bool:
    """Is a line the issuer's own title: its name and the time of the report, and no word of doubt or of others?"""
    dated = periods(line)
    bare = line
    for p in reversed(dated):
        bare = bare[: p.start] + bare[p.end :]
    bare = EXCHANGE.sub(" ", bare)
    own = bool(dated) and names_own(line, names) and not line.rstrip().endswith(":")
    return own and _NO_TITLE.search(bare) is None and _OTHERS.search(bare) is None


def _proves(word: str, known: frozenset[str] = HEADING) -> bool:
    """Is it a known word, or several with a stroke between them, or run together: `MetricMonth/Month`?"""
    parts = re.split(r"/|(?<=[a-z])(?=[A-Z])", word)
    return word.lower() in known or known.issuperset(part.lower() for part in parts)

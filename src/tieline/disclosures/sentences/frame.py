"""What a document states of itself before any sentence is believed: whose it is, and of which month.

Nothing is supposed here. The month is stated where the title, or the first lines, name it outside of a comparison;
a name is the issuer's where the directory lists it under the ticker, or where the title or the first lines say that
this company reports.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain

from tieline.disclosures.documents.context import Context, key_of
from tieline.disclosures.documents.document import first_sentence
from tieline.disclosures.documents.issuers import NAMES, mentions
from tieline.disclosures.lexicon.periods import Period, periods, shift
from tieline.disclosures.lexicon.words import phrases
from tieline.disclosures.rules.vocabulary import FIRMS, NOT_OWN, UPDATE, disowned, preface

_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_TELLS = (
    r"(?:[Tt]oday|ANNOUNCES|REPORTS|PROVIDES|[Aa]nnounce[sd]|[Rr]eport(?:s|ed)|[Pp]rovide[sd]|[Rr]elease[sd]|[Pp]ublishe[sd]|[Pp]ost(?:s|ed)|has (?:announced|published|released)"
    rf"|[-–—:|]?\s*(?:{_MONTHS})(?: 20\d\d)?(?:['’]s)? [\w ]{{0,40}}?(?:[Uu]pdate|[Rr]esults|[Pp]roduction|[Rr]eport|[Hh]ighlights|KPIs)"
    rf"|[-–—:|]\s*(?:{_MONTHS}) 20\d\d$"
    r"|(?:Bitcoin |Monthly |Operational |Operations |Production |Mining )+(?:Update|Results|Report))"
)
_FORM = r"(?:,? (?:Inc|INC|Corp|CORP|Ltd|LTD|plc|PLC|Limited|LIMITED|Holdings|Group|Corporation|AG|ASA|SE|N\.V|Technologies)\b\.?)"
_NAMED = re.compile(
    rf"[ \t>*#|]*(?P<name>[A-Z][\w.&'’-]*(?: (?:[A-Z0-9][\w.&'’-]*|of|&)){{0,4}}?){_FORM}?"
    rf"(?:,? ?\([^()\n]{{2,120}}\))*,?[ \t]+{_TELLS}"
)
_LISTED = re.compile(
    rf"(?P<name>[A-Z][\w.&'’-]*(?: [A-Z0-9][\w.&'’-]*){{0,3}}?){_FORM}? ?\((?:the )?(?:NASDAQ|Nasdaq|NYSE|TSX|LSE|AIM|ASX|OTC)"
)
_CAPITALS = re.compile(r"(?m)^[A-Z][\w&'’-]+(?: [A-Z][\w&'’-]+)*")
_BEFORE_TICKER = re.compile(r"[A-Z][\w.&'’-]*(?: (?:[A-Z0-9][\w.&'’-]*|of|&)){0,4}$")
_ALIAS = phrases("alias_in_a_bracket")
_NO_NAME = frozenset(
    (
        "bitcoin btc monthly key the unaudited production mining operational operations metric metrics total average "
        "about in on for as at our we us company group highlights update results summary press news table month record "
        "miner miners sector industry network analysts analyst bank fund pool foundation customers customer " + _MONTHS.replace("|", " ").lower()
    ).split()
)  # fmt: skip
INTRODUCES = phrases("begins_a_report")
_QUARTER = phrases("of_a_quarter")
_TITLE_WORDS = 14
_TITLES = 3
"""Lines of which one may be the title, behind `Exhibit 99.1` or the issuer's name."""
_ZONE = 700
"""The first paragraphs: a title, a dateline and what the text is about."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What a document states of itself."""

    period: str | None
    """Its month, where it is stated; never one that was supposed."""
    quarter: str | None
    """Its quarter, where the title names one and no month."""
    names: dict[str, bool]
    """Company names in the text; True for the issuer's own."""
    disowned: str | None = None
    """Where the text says of its figures that they are not so, or nobody's."""


def frame_of(text: str, title: str | None, ctx: Context, issuer: str | None) -> Frame:
    """The frame of a document whose figures are asked for `issuer`."""
    period = _stated(text, title, ctx)
    names = _names(text, title, issuer)
    quarter = None if period else _quarter(text, title, ctx)
    if _is_another(text, names):
        names |= {THE_COMPANY: False, THE_COMPANY.capitalize(): False}
    return Frame(period, quarter, names, disowned(text) or preface(text, names))


THE_COMPANY = "the Company"
_DEFINED = phrases("defined_as_the_company")


def _is_another(text: str, names: dict[str, bool]) -> bool:
    """Does the text call another one than the issuer `the Company`?"""
    m = _DEFINED.search(text[:6000])
    own = [name for name, mine in names.items() if mine]
    return m is not None and bool(own) and not any(name in m[0] for name in own)


def _quarter(text: str, title: str | None, ctx: Context) -> str | None:
    lines = [line for line in text[:_ZONE].split("\n") if line.strip()]
    for zone in (title or "", *lines[:_TITLES], *_titles(text)):
        zone = first_sentence(zone)
        keys = {key_of(p, ctx) for p in _own(zone) if p.kind == "quarter"}
        if len(keys) == 1 and not re.search(
            r"\b(?:year|half|fiscal|FY ?(?:20)?\d\d|(?:six|nine|twelve) months)\b", zone, re.IGNORECASE
        ):
            return keys.pop()
    return None


def _titles(text: str) -> list[str]:
    """The short lines at the beginning that speak of a quarter's update, behind an exchange's furniture."""
    lines = [line for line in text[:_ZONE].split("\n") if line.strip() and len(line.split()) < _TITLE_WORDS]
    return [line for line in lines if UPDATE.search(line) and any(p.kind == "quarter" for p in periods(line))]


def _own(zone: str) -> list[Period]:
    """The periods of a stretch that no comparison governs."""
    return [p for p in periods(zone) if not _COMPARED.search(zone[max(0, p.start - 70) : p.start])]


def _stated(text: str, title: str | None, ctx: Context) -> str | None:
    """The month that the title names; else the only one, or the first and latest, of the first lines."""
    for zone in (title or "", text.split("\n", 1)[0], *_titles(text)):
        zone = first_sentence(zone)
        own = _own(zone)
        months = _months(own, ctx)
        if any(p.kind in ("quarter", "span", "year") for p in own) or (not months and _QUARTER.search(zone)):
            return None
        if months:
            return _first(months, ctx)
    named = _first(_months(_own(text[:_ZONE]), ctx), ctx)
    late = named is not None and ctx.published is not None and shift(named, 1) < ctx.published[:7]
    return _introduced(text, ctx) or (None if late else named)  # what was told of an earlier month may be named there


def _introduced(text: str, ctx: Context) -> str | None:
    """The month that a text says it reports on, before which a filing's cover may name that of its filing."""
    m = INTRODUCES.search(text, 0, 6000)
    months = _months(periods(text, m.end(), m.end() + 40), ctx) if m is not None else []
    return months[0] if months else None


def _months(spans: list[Period], ctx: Context) -> list[str | None]:
    """Their months; a day that ends no month is a dateline."""
    return [key_of(p, ctx) for p in spans if p.kind == "month" or (p.kind == "date" and p.ends_month)]


def _first(keys: list[str | None], ctx: Context) -> str | None:
    latest = ctx.period is not None and keys[:1] == [ctx.period] and max(k or "9" for k in keys) <= ctx.period
    return keys[0] if len(set(keys)) == 1 or latest else None


_COMPARED = phrases("compared_in_a_title")


def _names(text: str, title: str | None, issuer: str | None) -> dict[str, bool]:
    names = _listed_names(text, issuer)
    if issuer is not None and re.search(rf"(?<![A-Za-z]){re.escape(issuer)}(?![A-Za-z])", text):
        names.setdefault(issuer, True)
    others = [name for name, own in names.items() if not own]
    reporters = _reporters(text, title, issuer)
    if not reporters and issuer is not None and all(name == issuer or not own for name, own in names.items()):
        reporters = _by_ticker(text, title, issuer)
    for name in chain.from_iterable(map(_forms, [*reporters, *_with_form(text, reporters)])):
        if not any(name in other or other in name for other in others):
            names.setdefault(name, True)
    names |= {name.upper(): own for name, own in names.items() if name.upper() in text}
    return dict(sorted(names.items(), key=lambda item: -len(item[0])))


_SUBJECT = re.compile(
    rf"(?<![\w.])(?P<name>[A-Z][\w&'’-]*(?: [A-Z][\w&'’-]*){{0,3}}?){_FORM}? (?:(?:has|had|also|now|currently) )*"
    r"(?:mined|produced|earned|sold|held|holds|ended|entered|purchased|bought|raised|pledged|drew|secured|disclosed)\b"
)
"""Who mines, holds or sells, in a text that says of nobody that it reports."""
_NAME_ALONE = re.compile(r"(?P<name>[A-Z][\w&'’-]+(?: [A-Z][\w&'’-]*){0,3})")
"""A line that is a name and no more, over a title: `SPIRE HASHING`."""
_TITLED = re.compile(r"\A(?P<name>[A-Z][\w&'’-]*(?: [A-Z][\w&'’-]*){0,2})")


def _listed_names(text: str, issuer: str | None) -> dict[str, bool]:
    tickers = {ticker for _, ticker in mentions(text)} | ({issuer or ""} & NAMES.keys())
    return {name: ticker == issuer for ticker in tickers for name in NAMES[ticker] if name in text}


def _by_ticker(text: str, title: str | None, issuer: str) -> list[str]:
    lines = [line.strip() for line in text[:_ZONE].split("\n") if line.strip()][:_TITLES]
    alone = [m for m in map(_NAME_ALONE.fullmatch, lines) if m is not None]
    tickers = [*_TITLED.finditer((title or "").strip()), *alone, *_SUBJECT.finditer(text[:3000])]
    return [m["name"] for m in tickers if _is_ticker_of(issuer, m["name"])][:1]


def _with_form(text: str, names: list[str]) -> list[str]:
    """The names with the words of a firm that follow them: `Palisade`, `Palisade Digital Mining`."""
    return [
        m[0] for name in names for m in re.finditer(rf"(?<![\w.]){re.escape(name)}(?: (?:{FIRMS}))+\b", text[:6000])
    ]


def _is_ticker_of(ticker: str, name: str) -> bool:
    """Are the ticker's letters the name's first and then, in order, others of it: `CANG`, Cango; `KSTL`, Kestrel?"""
    letters = iter(re.sub(r"[^A-Z]", "", name.upper()))
    own = len(ticker) > 2 and name[:1].upper() == ticker[0] and all(letter in letters for letter in ticker)
    return own and not NOT_OWN.search(name)


def _reporters(text: str, title: str | None, issuer: str | None) -> list[str]:
    """Who reports: in the title, the first lines or behind the dateline, or listed under the ticker asked for."""
    head = text[:2500]
    lines = [line[:400] for line in (title or "", *[one for one in text[:3000].split("\n") if one.strip()][:2])]
    bracketed = _bracketed(head, issuer) if issuer else []
    reporters = [
        next(filter(None, map(_NAMED.match, lines)), None),
        *_listed(text, head, issuer, bool(bracketed)),
    ]
    reporters.append(_alias(head, [m["name"].strip() for m in reporters if m is not None]))
    names = [m["name"].strip() for m in reporters if m is not None and not NOT_OWN.search(m["name"])] + bracketed
    return [name for name in names if name.split()[0].lower() not in _NO_NAME and not periods(name)]


def _alias(head: str, known: list[str]) -> re.Match[str] | None:
    """What the text calls one of the names known so far, in a bracket right behind it."""
    alias = _ALIAS.search(head)
    if alias is None or not known or any(_ends_with(head[: alias.start()], name) for name in known):
        return alias
    return None


def _ends_with(text: str, name: str) -> bool:
    """Does a text end with a name, its form and where it is listed?"""
    tail = text[text.rfind(name) :] if name in text else ""
    return re.fullmatch(rf"{re.escape(name)}(?:,? (?:{FIRMS}))*{_FORM}?,?\s*(?:\([^()]*\)\s*)*", tail) is not None


def _listed(text: str, head: str, issuer: str | None, known: bool) -> list[re.Match[str]]:
    """Who is listed under the ticker asked for; else, unless its name is known, who is listed first."""
    listed = list(_LISTED.finditer(head))
    own = [m for m in listed if issuer and re.search(rf"\b{re.escape(issuer)}\b", text[m.end() : m.end() + 60])]
    return [m for m in own if _may_be(m["name"], issuer or "", head)] or ([] if own else listed[: not known])


def _bracketed(head: str, issuer: str) -> list[str]:
    """The name before a bracket with the ticker: `In May 2025 Cobalt Harbor (CBHR) mined`."""
    bracket = re.search(rf" \((?:[A-Za-z -]{{2,20}}: ?)?{re.escape(issuer)}\)", head)
    before = (
        _BEFORE_TICKER.search(re.sub(_FORM + r"?,?$", "", head[: bracket.start()])) if bracket is not None else None
    )
    words = before[0].split() if before is not None else []
    while words and (words[0].lower() in _NO_NAME or re.search(r"\d", words[0])):
        words = words[1:]
    name = " ".join(words)
    return [name] if words and _may_be(name, issuer, head) and not NOT_OWN.search(name) else []


def _may_be(name: str, issuer: str, head: str) -> bool:
    """Is a name before a ticker the company's, and no place: it fits the letters, or none that begins a line does?"""
    return _is_ticker_of(issuer, name) or not any(_is_ticker_of(issuer, m[0]) for m in _CAPITALS.finditer(head[:300]))


def _forms(name: str) -> list[str]:
    """`Hollow River Mining`: the whole name, and the two or one words by which a text goes on."""
    words = name.split()
    if not words or words[0].lower() in _NO_NAME or len(name) < 3:
        return []
    forms = [" ".join(words[:k]) for k in range(len(words), 0, -1)]
    forms += [form.title() for form in forms if form.isupper()]
    return [f for f in forms if len(f) >= 4 and f.lower() not in _NO_NAME and not f.endswith((" of", " &"))]

"""Candidates and facts: which licences the text proves for each figure, and which one it lacks.

Knows nothing of how a figure was found. A row of a table proves its figure by a label of known words under a heading
that states the month; a sentence by the closed-world reader. The rest are candidates, each with what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime

from tieline.disclosures.comparison.chain import Chain, shipped_chain
from tieline.disclosures.documents.context import Context, is_dateline
from tieline.disclosures.facts.claims import Claim
from tieline.disclosures.facts.fact import Candidate, Fact, Licence
from tieline.disclosures.facts.licences import closures, confirmed_by, implausible
from tieline.disclosures.facts.periods import window
from tieline.disclosures.finding import WEAK, Finding
from tieline.disclosures.lexicon.commons import COMMON, words_of
from tieline.disclosures.lexicon.periods import Period, periods
from tieline.disclosures.rules.foreign import barred
from tieline.disclosures.rules.vocabulary import DISOWNED, KNOWN, NOT_DONE, POISON, UPDATE, bars, strange
from tieline.disclosures.sentences.frame import Frame
from tieline.disclosures.tables.labels import classify, clean
from tieline.disclosures.terms import unit_of

_LABELS = (COMMON | KNOWN) - words_of(
    "customer customers target potential transit in-transit hosting hosted colocation third-party management managed pool"
) | words_of("at demand curtailment response service fees million thousand only")
_OTHERS = words_of(
    "hosted_btc_customers jv_share_btc btc_equivalent_not_coins managed_ehs total_energized_ehs_incl_hosting potential_phs "
    "restricted_or_pledged_btc lent_btc"
)
"""Fields that are about what is not the company's own coin or machine by their very name."""
_UNITS = words_of(
    "eh s ph th j w kwh mwh mw eh/s ph/s th/s j/th w/th btc bitcoin million thousand m k c us usd about ca mining"
)
_FLOWS = words_of("btc_produced btc_sold btc_purchased blocks_won avg_btc_per_day sale_proceeds_usd revenue_usd")
_WINDOW = re.compile(
    r"\b(?:(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\d+) (?:months|weeks|days)|quarter|year-to-date|ytd|since|so far|to date|cumulative\w*|lifetime|"
    r"inception|founded|annual\w*|weeks?|half|fiscal|(?:last|past|previous) (?:twelve|12) months)\b",
    re.IGNORECASE,
)
_SUBJECT = re.compile(
    r"\b(?:customers?|clients?|hosted|hosting|third part\w+|joint venture|pool|foundation|tokens?|ether\w*|eth|network|industry|sector|together|combined|collectively|"
    r"miners (?:mined|produced|sold)|(?:us|u\.s\.|public\w*|listed|other) (?:bitcoin )?miners|peers?|rivals?|sites?|facilit\w+|not (?:yet )?energi[sz]ed|worth of)\b",
    re.IGNORECASE,
)
_DOUBTS: tuple[tuple[Licence, re.Pattern[str], str], ...] = (
    ("window", _WINDOW, "not plainly of one month"),
    ("subject", _SUBJECT, "not plainly the issuer's own"),
    ("assertion", POISON, "not plainly told as done"),
)
_MONEY = re.compile(r"[$€£¥]|\b(?:USD|EUR|GBP|CAD|thousands|millions|in 000s)\b", re.IGNORECASE)
_OWN_UNIT = re.compile(r"[ \t|]*(?:BTC|bitcoin|EH|PH|₿)|.*(?:BTC|bitcoins?|EH/s|PH/s)\W*$", re.IGNORECASE)
_HEAD = re.compile(r"\W*(?:key )?(?:metrics?|kpis?)\b", re.IGNORECASE)
_ABOVE = 2500
"""Characters above a row in which its headings are sought."""
Lack = tuple[Licence, str]


def license_rows(text: str, claims: Iterable[Finding], frame: Frame, apart: bool, language: str = "en") -> None:
    """Mark the figures of tables that their label, heading and digits prove; say in `lacks` what the others lack.

    `apart`: the document sets footnote marks apart from digits, as HTML does.
    """
    for c in claims:
        if c.rule.startswith(("table", "pair", "statement")) and not c.licensed:
            c.lacks = _row_lacks(text, c, frame, apart, language)
            c.licensed = c.lacks is None


def _row_lacks(text: str, c: Finding, frame: Frame, apart: bool, language: str) -> Lack | None:
    if not c.dated and c.period != frame.period and not c.rule.startswith("statement"):
        return "period", f"neither heading nor title states {c.period}"
    if c.strength == WEAK:
        return "assertion", f"{c.label!r} could name something else"
    return _label_lacks(c, language) or _place_lacks(text, c, frame, apart)


def _label_lacks(c: Finding, language: str) -> Lack | None:
    """What the words of a row's label leave open."""
    label = re.sub(r"[^\w\s/.'-]", " ", clean(c.label)).lower()
    if c.field in ("btc_produced", "btc_held_end", "btc_sold") and "equivalent" in label:
        return "token", "equivalents are no coins"
    if c.field == "btc_held_end" and re.search(r"\b(?:mined|produced|earned|sold)\b", label):
        return "assertion", "the label speaks of coins held and of what became of them"
    if c.field in _FLOWS and (told := _WINDOW.search(label)) is not None:
        return "window", f"{told[0]!r} in the label: not plainly of one month"
    if language != "en":
        return barred(label)
    stray = [word for w in label.split() if not _known_in_label(word := w.strip(".'-/"), c)]
    if stray and c.scope is None:
        return "subject", f"{' '.join(stray)!r} in the label is not known to leave it the company's own"
    return None


def _known_in_label(word: str, c: Finding) -> bool:
    if not word or word.isdigit() or periods(word):
        return True
    if (
        c.field in _OTHERS
        or c.rule.startswith("statement")
        or (c.field == "ytd_btc" and re.fullmatch(r"[cf]y\d+", word))
    ):
        return True
    return word in _LABELS or all(part in _LABELS for part in re.split(r"[/-]", word))


def _place_lacks(text: str, c: Finding, frame: Frame, apart: bool) -> Lack | None:
    """What stands around a row's value and leaves it open."""
    line = text.rfind("\n", 0, max(c.at, 0)) + 1
    if re.match(r"\s*\n\s*,\d{3}|\s?(?:\+ ?/ ?-|±)", text[c.end : c.end + 12]):
        return "token", f"what stands behind {c.printed} belongs to it"
    if c.rule.startswith("pair"):
        rest = text[c.end :].split("\n", 1)[0]
        if re.match(r"\s?[ ,]\s?\d{3}(?!\d)|\s\d{1,2}(?![\d%])|[,/.-]\d", rest):
            return "token", f"{c.printed}{rest[:4]} could be one number, or a date"
        if (m := _unknown(rest)) is not None:
            return "assertion", f"{m!r} behind the value"
    if (over := _over(text, line, frame)) is not None:
        return "assertion", f"under the heading {over!r}"
    if _in_money(text, line, c):
        return "token", f"the head of the columns speaks of money, and {c.printed} has no unit of its own"
    if not apart and _glued_note(text, c):
        return "token", f"{c.printed} may end in a footnote's digit: its row prints fewer decimals elsewhere"
    return None


def _unknown(rest: str) -> str | None:
    """The first word behind a value that is not known to leave it as it is."""
    bare = _without(rest, periods(rest)).lower()
    if (m := POISON.search(bare)) is not None:
        return m[0]
    words = re.findall(r"[^\W\d_]+(?:['’/-][^\W\d_]+)*", bare)
    return next((str(word) for word in words if word not in KNOWN and word not in _UNITS), None)


def _over(text: str, at: int, frame: Frame) -> str | None:
    """The heading over a row, or the head of its columns, where what stands under it is unproven."""
    for line in reversed(text[max(0, at - _ABOVE) : at].split("\n")[:-1]):
        words = line.strip(" |:*#-•\t")
        if len(words) > 160 or not re.search(r"[^\W\d_]{3}", words):
            continue
        dated = periods(words)
        if DISOWNED.search(words):
            return words
        if is_dateline(words, dated) or re.search(r"\d", _undated(words, dated)):
            continue
        if len(dated) > 1 or "|" in line or "\t" in line or _HEAD.match(words):
            if NOT_DONE.search(words):
                return words
        elif not re.search(r"[.!?]$", words) and classify(words) is None:
            title = not text[: text.find(line)].strip()
            return words if _heading_bars(words, dated, title, frame) else None
    return None


def _heading_bars(words: str, dated: Sequence[Period], title: bool, frame: Frame) -> bool:
    """Does a heading leave open whether, of whom or of when its rows are?"""
    if bars(words, bool(dated)):
        return True
    if (title and (dated or UPDATE.search(words))) or len(words.split()) > 12:
        return False
    return strange(_undated(words, dated), frame.names, _LABELS) is not None


def _in_money(text: str, at: int, c: Finding) -> bool:
    """Is the nearest head of columns over the row in money, and the value of coins without a unit of its own?"""
    if unit_of(c.field) not in ("BTC", "BTC/day", "EH/s") or not c.rule.startswith("table"):
        return False
    if _OWN_UNIT.match(text[c.end : c.end + 10]) or _OWN_UNIT.match(text[c.at : c.end]):
        return False
    above = reversed(text[max(0, at - 1500) : at].split("\n")[:-1])
    head = next((line for line in above if len(periods(line)) > 1 or _HEAD.match(line)), "")
    return _MONEY.search(head) is not None


def _undated(line: str, dated: Sequence[Period]) -> str:
    return re.sub(r"20\d\d|(?<=[^\W\d_])\s?\d\b|\(\d\)", "", _without(line, dated))


def _without(line: str, dated: Sequence[Period]) -> str:
    for p in reversed(dated):
        line = line[: p.start] + line[p.end :]
    return line


def _glued_note(text: str, c: Finding) -> bool:
    """More decimals than any other value of the row: `18.221` beside `19.44` may be 18.22 and a note."""
    if c.at < 0 or "." not in c.printed or c.rule == "table:glued":
        return False
    start = text.rfind("\n", 0, c.start) + 1
    barred_row = "|" in text[start : c.end] or "\t" in text[start : c.end]
    row = text[start : start + 200].split("\n")[0] if barred_row else text[c.start : c.end + 60]
    places = [len(m[1]) for m in re.finditer(r"(?<![\d.,])\d[\d,]*\.(\d+)(?![\d%])(?!\s?%)", row)]
    mine = len(c.printed.rpartition(".")[2])
    return len(places) > 1 and places.count(mine) == 1 and mine > max((p for p in places if p != mine), default=mine)


def lacking(text: str, c: Finding, frame: Frame) -> Lack:
    """The licence that a figure of a sentence lacks most plainly."""
    if c.lacks is not None:
        return c.lacks
    start = max(text.rfind("\n", 0, c.start) + 1, text.rfind(". ", 0, c.start) + 1)
    sentence = re.split(r"\n|\. ", text[start : start + 2000][c.end - start :], maxsplit=1)[0]
    sentence = text[start : c.end] + sentence
    named = [p for p in periods(sentence) if p.kind in ("month", "date", "quarter")]
    sentence = _without(sentence, named)
    for licence, pattern, says in _DOUBTS:
        told = pattern.search(sentence.lower() if pattern is POISON else sentence)
        if told is not None and (licence != "window" or c.field in _FLOWS):
            return licence, f"{told[0]!r}: {says}"
    if not named and c.period != frame.period:
        return "period", f"nothing states {c.period}"
    if re.search(r"\d[ ,]\s?$", text[max(0, c.at - 2) : c.at] if c.at > 0 else ""):
        return "token", "digits stand right before the number"
    return "assertion", "the sentence holds words that no rule accounts for"


def split(
    text: str,
    kept: list[tuple[Finding, Fact]],
    ctx: Context,
    frame: Frame,
    own_words: bool,
    known: Sequence[Claim],
) -> tuple[list[Fact], list[Candidate]]:
    """Facts and candidates of one document. `known`: the book's claims on the issuer, as second voice and for what is
    plausible."""
    proven = [fact for c, fact in kept if c.licensed]
    voices = None
    if not own_words or ctx.language != "en":
        voices = closures(proven, text) | _confirmed([fact for _, fact in kept], known)
    facts: list[Fact] = []
    candidates: list[Candidate] = []
    chain = shipped_chain()
    beside = [*proven, *(claim.fact for claim in known)]
    for c, fact in kept:
        missing = (
            _impossible(fact, [f for f in beside if f is not fact], chain)
            or _not_over(fact, ctx)
            or (None if c.licensed else lacking(text, c, frame))
            or _unheard(fact, voices, own_words)
        )
        if missing is None:
            facts.append(fact)
        else:
            candidates.append(Candidate(fact=fact, missing=(missing[0],), why=missing[1]))
    return facts, candidates


def _confirmed(facts: Iterable[Fact], known: Sequence[Claim]) -> set[tuple[str, str]]:
    """Figures that the book states as well."""
    return {(fact.period, fact.field) for fact in facts if confirmed_by(fact, known)}


def _impossible(fact: Fact, beside: Sequence[Fact], chain: Chain) -> Lack | None:
    why = implausible(fact, beside, chain)
    return None if why is None else ("plausible", why)


def _not_over(fact: Fact, ctx: Context) -> Lack | None:
    """Was the period over when the document came out?"""
    told = _told_on(ctx)
    over = told is None or not fact.period or window(fact.period)[1] <= told
    return None if over else ("period", f"{fact.period} was not over on {ctx.published}")


def _unheard(fact: Fact, voices: set[tuple[str, str]] | None, own_words: bool) -> Lack | None:
    """Does a figure that needs a second voice lack it?"""
    if voices is None or (fact.scope is None and (fact.period, fact.field) in voices):
        return None
    speaker = "another language needs" if own_words else "news and summaries need"
    return "second voice", f"{speaker} a second voice"


def _told_on(ctx: Context) -> datetime | None:
    """The end of the day on which the document came out, or of its month where no day is known."""
    try:
        return window(ctx.published)[1] if ctx.published else None
    except ValueError:
        return None


_WIRE = re.compile(r"\b(?:GLOBE ?NEWSWIRE|PR ?Newswire|Business ?Wire|ACCESSWIRE|Newsfile Corp|CNW)\b", re.IGNORECASE)
_NEWS = re.compile(
    r"\bsaid in (?:a|an)\b|\baccording to\b|\btold (?:reporters|\w+ ?desk|us)\b|\bPhoto by\b|\bSource:|\bReuters\b|\bthe (?:firm|miner) (?:said|noted|added)\b|\bRelated:|\bRead more\b|"
    r"\b(?:shares|stock) (?:of|rose|fell|closed|surged|dropped|are (?:up|down))|\bfinancial advi[cs]e|\bCEO,? [A-Z]\w+ [A-Z]\w+ (?:said|stated|noted)|\bdata (?:from|shows)\b|\bthe company (?:said|disclosed|reported|revealed|announced)\b",
    re.IGNORECASE,
)
_OWN = re.compile(
    r"\b(?:GLOBE ?NEWSWIRE|PR ?Newswire|Business ?Wire|ACCESSWIRE|Newsfile Corp|CNW)\b|(?<![\w\"“])(?:We|Our|we|our) (?:\w+ ){0,3}?(?:mined|produced|held|sold|bitcoin|fleet|hash)|forward-looking statements?|\bunaudited\b|\(the [\"“]?Company",
)  # fmt: skip


def speaks_itself(text: str, title: str | None, claims: Sequence[Finding]) -> bool:
    """Does the text show that the issuer speaks: a wire's mark, `we`, a table of its own, and no reporter's words?"""
    head = text[:20_000]
    if _WIRE.search(head):
        return True
    if _NEWS.search(head):
        return False
    rows = sum(1 for c in claims if c.rule.startswith(("table", "pair")))
    return bool(_OWN.search(head) or rows >= 3 or _TITLED.search(title or head[:160]))


_TITLED = re.compile(r"\b(?:Announces|Provides|Reports|Releases|Publishes|Update|Highlights)\b")

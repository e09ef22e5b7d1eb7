"""Candidates and facts: which licences the text proves for each figure, and which one it lacks.

Knows nothing of how a figure was found. A row of a table proves its figure by a label of known words under a heading
that states the month; a sentence by the closed-world reader. The rest are candidates, each with what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime

from tieline.disclosures.comparison.chain import Chain, shipped_chain
from tieline.disclosures.documents.context import Context
from tieline.disclosures.extract.headings import HEAD, SPAN, heading_over, undated
from tieline.disclosures.extract.notes import may_hold_mark
from tieline.disclosures.facts.claims import Claim
from tieline.disclosures.facts.fact import Candidate, Fact, Licence
from tieline.disclosures.facts.fields import SIGNED, unit_of
from tieline.disclosures.facts.licences import closures, confirmed_by, implausible
from tieline.disclosures.facts.periods import window
from tieline.disclosures.finding import WEAK, Finding
from tieline.disclosures.lexicon.periods import periods, without
from tieline.disclosures.lexicon.words import phrases, words_of
from tieline.disclosures.rules.naming import clean, stray_words
from tieline.disclosures.rules.vocabulary import POISON, names_somebody, strange
from tieline.disclosures.sentences.closed import accounted_for
from tieline.disclosures.sentences.frame import Frame
from tieline.disclosures.sentences.template import template

_OF_OTHERS = words_of(
    "hosted_btc_customers jv_share_btc managed_ehs total_energized_ehs_incl_hosting btc_equivalent_not_coins"
)
_FLOWS = words_of("btc_produced btc_sold btc_purchased blocks_won avg_btc_per_day sale_proceeds_usd revenue_usd")
_DOUBTS: tuple[tuple[Licence, re.Pattern[str], str], ...] = (
    ("window", SPAN, "not plainly of one month"),
    ("subject", phrases("subject"), "not plainly the issuer's own"),
    ("assertion", POISON, "not plainly told as done"),
)
_MONEY = phrases("money")
_OWN_UNIT = phrases("own_unit")
Lack = tuple[Licence, str]


def license_rows(text: str, claims: Iterable[Finding], frame: Frame, ctx: Context, apart: bool) -> None:
    """Mark the figures of tables that their label, heading and digits prove; say in `lacks` what the others lack.

    `apart`: the document sets footnote marks apart from digits, as HTML does.
    """
    for c in claims:
        if c.rule.startswith(("table", "pair", "statement")) and not c.licensed:
            c.lacks = c.lacks or _row_lacks(text, c, frame, ctx, apart)
            c.licensed = c.lacks is None


def _row_lacks(text: str, c: Finding, frame: Frame, ctx: Context, apart: bool) -> Lack | None:
    if (why := _proves_nothing(frame, ctx.language)) is not None:
        return why
    if not c.dated and c.period != frame.period and not c.rule.startswith("statement"):
        return "period", f"neither heading nor title states {c.period}"
    if c.strength == WEAK and not c.rule.startswith("table:label:bare-"):  # those `settle` proves by sums
        return "assertion", f"{c.label!r} could name something else"
    if _holds_others(text, c):
        return "subject", f"the text says that {clean(c.label)!r} holds what is others'"
    return _label_lacks(c, frame) or _digits_lack(text, c, frame, apart) or _place_lacks(text, c, frame, ctx.style)


def _proves_nothing(frame: Frame, language: str) -> Lack | None:
    """Why no figure of a text is proven."""
    if language != "en":
        return "assertion", "only English has a grammar that proves: here every figure is for a person to accept"
    return None if frame.disowned is None else ("assertion", f"the text says {frame.disowned!r}")


_RUNNING = re.compile(r"\b(?:as of|as at|through|to date|until)\b", re.IGNORECASE)


def _label_lacks(c: Finding, frame: Frame) -> Lack | None:
    """What the words of a row's label leave open: each must be one that proves the field."""
    label = clean(c.label)
    label = re.sub(r"(?i)\bquarter(?:-end)?\b", "", label) if frame.quarter is not None else label
    if c.field in _FLOWS and _RUNNING.search(c.label):
        return "window", f"{c.label!r} may be a sum since an earlier day"
    years = re.findall(r"\b20[12]\d\b", label)
    if c.field == "ytd_btc" and years and c.period[:4] not in years:
        return "window", f"{c.label!r} is of another year"
    stray = stray_words(undated(label, periods(label)), c.field, c.scope)
    if not stray:
        return None
    phrase = " ".join(stray)
    licence: Licence = next((name for name, pattern, _ in _DOUBTS if pattern.search(phrase)), "subject")
    return licence, f"{phrase!r} in the label is not known to leave it the company's own of one month"


_OTHERS = r"[^.\n]{0,120}\b(?:customers?|clients?|hosted|hosting|joint venture|third[- ]part(?:y|ies)|partners?)\b"
_PART = r"(?:of which|including|includes|o/w|thereof|attributable)\b"
_ROW__OF_OTHERS = re.compile(rf"[^\n]*\n(?:[^\w\n]*{_PART}[^\n]*\n)*?[^\w\n]*{_PART}{_OTHERS}", re.IGNORECASE)


def _holds_others(text: str, c: Finding) -> bool:
    """Does a row below say that part of a figure is customers', or a sentence that its label includes theirs?"""
    if c.field in _OF_OTHERS or c.scope is not None:
        return False
    label = re.escape(re.sub(r"\W*\d?\Z", "", clean(c.label)))
    told = rf"{label}\W+(?:also )?(?:includ\w+|compris\w+|contain\w*|consists? of){_OTHERS}"
    return _ROW__OF_OTHERS.match(text, c.end) is not None or re.search(told, text, re.IGNORECASE) is not None


def _digits_lack(text: str, c: Finding, frame: Frame, apart: bool) -> Lack | None:
    """What stands around the digits of a row's value and may belong to them."""
    rest = text[c.end : c.end + 12]
    if re.match(r"\s*\n\s*,\d{3}|\s?(?:\+ ?/ ?-|±)", rest):
        return "token", f"what stands behind {c.printed} belongs to it"
    if c.rule.startswith("pair") and re.match(
        r"[^\S\n]?[ ,][^\S\n]?\d{3}(?!\d)|[^\S\n]\d{1,2}(?![\d%])|[,/.-]\d", rest
    ):
        return "token", f"{c.printed}{rest[:4]} could be one number, or a date"
    bounds = r"[<>≤≥±]\s?\d?$" if c.field in SIGNED else r"[<>≤≥+±]\s?\d?$"
    if re.search(bounds, text[max(0, c.at - 2) : c.at + 1]):
        return "token", f"a bound or a sign stands before {c.printed}"
    cell = re.split(r"[|\t\n]", text[max(0, c.at - 80) : c.at])[-1]
    if not re.search(r"[^\W\d_]", cell) and (re.search(r"\d\W?$", cell) or re.match(r"[ ,.']\d{3}(?!\d)", rest)):
        return "token", f"{(cell + c.printed + rest[:4]).strip()!r} could be one number"
    mark = re.search(r"[*†‡]+", text[c.at : c.end + 2])
    if mark is not None and not _harmless_note(text, mark[0], frame):
        return "subject", f"the note {mark[0]!r} on {c.printed} speaks of something else"
    if not apart and _glued_note(text, c):
        return "token", f"{c.printed} may end in a footnote's digit: its row prints fewer decimals elsewhere"
    if (
        not apart
        and c.rule.startswith(("table", "pair"))
        and may_hold_mark(text, c.at, c.printed, _WHOLE.findall(_row_of(text, c)))
    ):
        return "token", f"{c.printed} may end in the mark of a note that stands under the table and is marked nowhere"
    return None


_RIGHT_BEHIND = re.compile(r"\s*\(?\s*(?:(?:BTC|bitcoins?) )?(?:in|for|during|of) ")


def _place_lacks(text: str, c: Finding, frame: Frame, style: str) -> Lack | None:
    """What stands behind a row's value, and over the row, and leaves it open."""
    if c.rule.startswith("pair"):
        end = text.find("\n", c.end)
        end = end if end >= 0 else len(text)
        if (parted := _NEXT_PAIR.search(text, c.end, end)) is not None:
            end = parted.start()
        other = next((p for p in periods(text, c.end, end) if _RIGHT_BEHIND.fullmatch(text, c.end, p.start)), None)
        if other is not None and len(c.period) == 7 and other.month != int(c.period[5:]):
            return "period", f"{text[other.start : other.end]!r} stands behind the value"
        rest = template(text, c.end, end, style, frame.names).shapes
        if not accounted_for(rest) or (c.field.startswith("deployed") and re.match(r"(?:in|during|for) ", rest)):
            return "assertion", f"{text[c.end : end].strip()[:40]!r} behind the value"
    elif (behind := _behind_in_row(text, c)) is not None:
        return "assertion", f"{behind!r} stands behind the value in its row"
    line = text.rfind("\n", 0, max(c.at, 0)) + 1
    if (over := heading_over(text, line, frame, c)) is not None:
        return "assertion", f"under the heading {over!r}"
    if _in_money(text, line, c):
        return "token", f"the head of the columns speaks of money, and {c.printed} has no unit of its own"
    return None


_NEXT_PAIR = re.compile(r"[.;] (?=[A-Z][^.:;\n]{2,80}: )")
"""Where another label begins on the same line."""


def _behind_in_row(text: str, c: Finding) -> str | None:
    """The first word behind a value in its row, where the row is one line, that no unit and no heading holds."""
    if not re.search(r"[|\t]", text[text.rfind("\n", 0, c.at) + 1 : c.at]):
        return None
    rest = text[c.end : (text.find("\n", c.end) + 1 or len(text) + 1) - 1]
    return strange(re.sub(r"\b[Nn]/?[AaMm]\b|(?<=\d)\s?[a-zA-Z/]{1,5}\b", "", rest), {})


def _harmless_note(text: str, mark: str, frame: Frame) -> bool:
    """Does the note of a mark, where there is one, name nobody else and no plan?"""
    notes = re.findall(rf"(?m)^\s*{re.escape(mark)}(?![*†‡])(.{{3,400}})", text)
    return not any(names_somebody(note, frame.names) or POISON.search(note) for note in notes)


def _in_money(text: str, at: int, c: Finding) -> bool:
    """Is the nearest head of columns over the row in money, and the value of coins without a unit of its own?"""
    if unit_of(c.field) not in ("BTC", "BTC/day", "EH/s") or not c.rule.startswith("table"):
        return False
    if _OWN_UNIT.match(text[c.end : c.end + 10]) or _OWN_UNIT.match(text[c.at : c.end]):
        return False
    label = text.rfind("\n", 0, c.start) + 1 if c.start < at else 0  # the head of a turned table holds the label itself
    above = reversed(text[max(0, at - 1500, label) : at].split("\n")[:-1])
    head = next((line for line in above if len(periods(line)) > 1 or HEAD.match(line)), "")
    return _MONEY.search(head) is not None


_WHOLE = re.compile(r"(?<![\w.,])\d[\d,]*(?![\w.%])")


def _row_of(text: str, c: Finding) -> str:
    """The row of a value."""
    start = text.rfind("\n", 0, c.start) + 1
    barred_row = "|" in text[start : c.end] or "\t" in text[start : c.end]
    row = text[start : start + 200].split("\n")[0] if barred_row else text[c.start : c.end + 60]
    # Cells of one row may stand in lines of their own; a line that begins with words begins another row.
    return row if barred_row else row[: c.end - c.start] + re.split(r"\n(?=[^\W\d_]{3})", row[c.end - c.start :])[0]


def _glued_note(text: str, c: Finding) -> bool:
    """More decimals than any other value of the row: `18.221` beside `19.44` may be 18.22 and a note."""
    if c.at < 0 or "." not in c.printed or c.rule == "table:glued":
        return False
    places = [len(m[1]) for m in re.finditer(r"(?<![\d.,])\d[\d,]*\.(\d+)(?![\d%])(?!\s?%)", _row_of(text, c))]
    mine = len(c.printed.rpartition(".")[2])
    return len(places) > 1 and places.count(mine) == 1 and mine > max((p for p in places if p != mine), default=mine)


def lacking(text: str, c: Finding, frame: Frame, language: str = "en") -> Lack:
    """The licence that a figure of a sentence lacks most plainly."""
    if c.lacks is not None:
        return c.lacks
    if (why := _proves_nothing(frame, language)) is not None:
        return why
    start = max(text.rfind("\n", 0, c.start) + 1, text.rfind(". ", 0, c.start) + 1)
    sentence = re.split(r"\n|\. ", text[start : start + 2000][c.end - start :], maxsplit=1)[0]
    sentence = text[start : c.end] + sentence
    named = [p for p in periods(sentence) if p.kind in ("month", "date", "quarter")]
    sentence = without(sentence, named)
    for licence, pattern, says in _DOUBTS:
        match = pattern.search(sentence)
        if match is not None and (licence != "window" or c.field in _FLOWS):
            return licence, f"{match[0]!r}: {says}"
    if not named and c.period != frame.period:
        return "period", f"nothing states {c.period}"
    if re.search(r"\d[ ,]\s?$", text[max(0, c.at - 2) : c.at] if c.at > 0 else ""):
        return "token", "digits stand right before the number"
    return "assertion", "the sentence holds words that no rule accounts for"


def split(
    text: str,
    pairs: list[tuple[Finding, Fact]],
    ctx: Context,
    frame: Frame,
    own_words: bool,
    known: Sequence[Claim],
) -> tuple[list[Fact], list[Candidate]]:
    """Facts and candidates of one document. `known`: the book's claims on the issuer, as second voice and for what is
    plausible."""
    proven = [fact for c, fact in pairs if c.licensed]
    ahead = _ahead(pairs, ctx)
    voices = None
    if not own_words:
        voices = closures(proven, text) | {(f.period, f.field) for _, f in pairs if confirmed_by(f, known)}
    facts: list[Fact] = []
    candidates: list[Candidate] = []
    chain = shipped_chain()
    beside = [*proven, *(claim.fact for claim in known)]
    for c, fact in pairs:
        missing = (
            _impossible(fact, [f for f in beside if f is not fact], chain)
            or _of_when(text, fact, ctx, ahead)
            or (None if c.licensed else lacking(text, c, frame, ctx.language))
            or _unheard(fact, voices)
        )
        if missing is None:
            facts.append(fact)
        else:
            candidates.append(Candidate(fact=fact, missing=(missing[0],), why=missing[1]))
    return facts, candidates


def _impossible(fact: Fact, beside: Sequence[Fact], chain: Chain) -> Lack | None:
    why = implausible(fact, beside, chain)
    return None if why is None else ("plausible", why)


def _of_when(text: str, fact: Fact, ctx: Context, ahead: Lack | None) -> Lack | None:
    """Was the period not over, or is it perhaps none of the calendar's?"""
    return _not_over(fact, ctx) or _of_which_year(text, fact) or (ahead if "Q" in fact.period else None)


def _not_over(fact: Fact, ctx: Context) -> Lack | None:
    """Was the period over when the document came out?"""
    dates = _told_on(ctx)
    over = dates is None or not fact.period or window(fact.period)[1] <= dates
    return None if over else ("period", f"{fact.period} was not over on {ctx.published}")


def _ahead(pairs: Sequence[tuple[Finding, Fact]], ctx: Context) -> Lack | None:
    """Is a quarter told as done that was not over? Then the issuer's quarters are not the calendar's."""
    flows = [fact for _, fact in pairs if fact.field in _FLOWS and "Q" in fact.period]
    if not any(_not_over(fact, ctx) for fact in flows):
        return None
    return "window", "the issuer's quarters may not be the calendar's: one is told as done that was not over"


_OWN_YEAR = phrases("own_year")


def _of_which_year(text: str, fact: Fact) -> Lack | None:
    """Is a sum since the year's start one of the calendar's year, where the issuer has another?"""
    if fact.field != "ytd_btc" or "calendar" in fact.quote.lower() or _OWN_YEAR.search(text) is None:
        return None
    return "window", "the issuer's year may not be the calendar's"


def _unheard(fact: Fact, voices: set[tuple[str, str]] | None) -> Lack | None:
    """Does a figure that needs a second voice lack it?"""
    if voices is None or (fact.scope is None and (fact.period, fact.field) in voices):
        return None
    return "second voice", "news and summaries need a second voice"


def _told_on(ctx: Context) -> datetime | None:
    """The end of the day on which the document came out, or of its month where no day is known."""
    try:
        return window(ctx.published)[1] if ctx.published else None
    except ValueError:
        return None


_WIRE, _NEWS, _OWN, _TITLED = phrases("wires"), phrases("news"), phrases("own"), phrases("titled")


def speaks_itself(text: str, title: str | None, claims: Sequence[Finding]) -> bool:
    """Does the text show that the issuer speaks: a wire's mark, `we`, a table of its own, and no reporter's words?"""
    head = text[:20_000]
    if _WIRE.search(head):
        return True
    if _NEWS.search(head):
        return False
    rows = sum(1 for c in claims if c.rule.startswith(("table", "pair")))
    return bool(_OWN.search(head) or rows >= 3 or _TITLED.search(title or head[:160]))

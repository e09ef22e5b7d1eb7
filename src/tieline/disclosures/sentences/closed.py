"""The closed-world reader: a figure is read only where every word that could change it is accounted for.

Knows nothing of tables or of what another reader found. A sentence gives a figure where a row of
`rules.grammar` matches at the number, the rest of the sentence is made of known words, the subject is the issuer,
and its month is stated in the sentence or, for an update on one month, in the title. What it cannot prove it does not
say; nothing here is a guess, so nothing here is ever taken back by another rule.
"""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from itertools import groupby, takewhile

from tieline.disclosures.documents.context import Context, key_of
from tieline.disclosures.facts.fact import Licence
from tieline.disclosures.finding import Finding, convert
from tieline.disclosures.lexicon.numbers import PrintedNumber
from tieline.disclosures.lexicon.periods import resolve, shift
from tieline.disclosures.lexicon.words import phrases
from tieline.disclosures.rules.grammar import SentenceRule, patterns, rows
from tieline.disclosures.rules.vocabulary import DATELINE, NOT_DONE, NOT_OWN, POISON, names_somebody, qualifies
from tieline.disclosures.sentences.frame import Frame
from tieline.disclosures.sentences.named import named
from tieline.disclosures.sentences.passage import WINDOW, Passage, is_compared, is_heading
from tieline.disclosures.sentences.template import Template, Token, template

MAX_WORDS = 90
"""A sentence longer than this is a list or a paragraph that lost its stops; it is left to the other reader."""
_APPROXIMATE = frozenset(
    ["approximately", "about", "roughly", "nearly", "almost", "around", "over", "more", "just", "some"]
)
_OVER = frozenset(["in", "during", "for", "throughout", "of", "month", "ended", "for the month of", "in the month of"])
"""How a month may be told for what flows in it."""
_AT = _OVER | {"as of", "as at", "at", "on", "by", "at the end of", "at the close of"}
"""How it may be told for what stands at its end, or happens in it."""
_LEADS = frozenset({"of", "the", ",", ":", "(", "-", "•", "*"})
_JOINED = frozenset(["and", "to", "through", "until", "-", "–", "/", "&", "or"])
_KINDS = dict.fromkeys(("stock", "ytd", "event"), ("month", "date")) | dict.fromkeys(
    ("flow", "mean"), ("month", "date", "quarter", "year")
)
"""The kinds of expression by which a kind of figure may be dated."""
_SPANS = {"flow": (7, 6, 10, 4), "stock": (7, 10), "mean": (7, 6), "ytd": (7,), "event": (10, 7)}
"""The lengths of the periods that a kind of figure may have: of a month 7, a quarter 6, a day 10, a year 4."""
_AT_A_DAY = re.compile(r"(?:at|as of|as at|on) (?:the )?@[ed]")
_ON_A_DAY = {
    "btc_sold": "btc_announced_sale",
    **{field: field for field in ("sale_proceeds_usd", "avg_sale_price_usd", "btc_purchased")},
}
_STANDS = frozenset(
    [
        "btc_held_end",
        "deployed_ehs",
        "deployed_miners",
        "operating_month_end_ehs",
        "avg_operating_ehs",
        "efficiency_j_th",
    ]
)
_AFTER = phrases("period_behind")
_STANDING = phrases("standing_at")
_WITHIN = phrases("between_a_figure_and_its_comparison")
_RATE = phrases("rate_or_difference")
_PRESENT = re.compile(r"(?:^| )(?:holds?|owns?|has|have|is|are|stands|now|currently|today)(?: |$)")
_EARLIER = re.compile(r"same month (?:of )?last year|year earlier|year ago")
_ASIDE = phrases("asides")
_BACK = re.compile(
    f"{POISON.pattern}|{NOT_OWN.pattern}|{NOT_DONE.pattern}"
    r"|\b(?:them|this|that|these|those|which|who|whose|whom|half|part|portion|most|majority|some|rest|remainder|former|latter"
    r"|sales?|all|it|output|production|figures?|numbers?|amounts?|sum|total|coins?|bitcoins?|btc|share|respectively|owners?|investors?)\b"
)
"""Words by which a stretch may say something of what was told before it, or of others."""
_ASKS = re.compile(r"(?:had|were|was|should|did|does|is|are|has|have) ")
Told = tuple[SentenceRule, int, str | None]


def proven(text: str, spans: list[tuple[int, int]], ctx: Context, frame: Frame) -> list[Finding]:
    """Every figure that the sentences prove."""
    if ctx.language != "en" or frame.disowned:
        return []
    out: list[Finding] = []
    passage = Passage(frame.period or frame.quarter, ctx, frame.names)
    for begin, end in _whole_lists(text, spans):
        dateline = DATELINE.match(text[begin:end])
        start = begin if dateline is None else begin + dateline.end()
        sentence = text[start:end]
        if qualifies(sentence):
            out[-_RECENT:] = [_withheld(f, start) for f in out[-_RECENT:]]
        if not text[text.rfind("\n", 0, begin) + 1 : begin].strip(" \t-*•·>"):
            passage.paragraph()
        if is_heading(text, start, end):
            passage.heading(sentence)
        elif passage.barred or not re.search(r"\d|\b(?:no|none|not|zero|[Aa]ll)\b", sentence):
            passage.speaks_of(sentence)
        else:
            tpl = template(text, start, end, ctx.style, frame.names)
            out.extend(_told_in(text, tpl, (start, end), ctx, passage))
            passage.after(sentence, tpl)
    return out


def _told_in(text: str, tpl: Template, span: tuple[int, int], ctx: Context, passage: Passage) -> list[Finding]:
    """What one sentence proves; a day that it tells dates what is told behind it."""
    if len(tpl.tokens) > MAX_WORDS or not passage.means_issuer(tpl):
        return []
    findings = _Sentence(text, tpl, span, ctx, passage).findings()
    passage.day = next((f.period for f in findings if len(f.period) == 10), passage.day)
    return findings


_RECENT = 3
"""Figures told last that a sentence behind them may qualify, and within so many characters."""
_NEAR = 400


def _withheld(f: Finding, at: int) -> Finding:
    """A figure that the sentence at `at` qualifies, where it was told shortly before."""
    lacks: tuple[Licence, str] = ("assertion", "a sentence behind it qualifies it")
    return replace(f, licensed=False, lacks=lacks) if at - f.end < _NEAR else f


def _whole_lists(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sentences, with those joined that only a semicolon parts: what follows it may say whose the figure before it is."""
    out: list[tuple[int, int]] = []
    for start, end in spans:
        joined = out and text[: out[-1][1]].rstrip().endswith(";") and "\n" not in text[out[-1][1] : start + 1]
        out[-1:] = [(out[-1][0], end)] if joined else [*out[-1:], (start, end)]
    return out


class _Sentence:
    """One sentence: which rows read which of its numbers, and which of its words they account for."""

    def __init__(self, text: str, tpl: Template, span: tuple[int, int], ctx: Context, passage: Passage) -> None:
        self.text, self.tpl, self.span, self.ctx, self.passage = text, tpl, span, ctx, passage
        self.explained: set[int] = set()
        self.read: dict[int, SentenceRule | None] = {}
        """By token; None where two rows say different things of one number."""
        self.ends: dict[int, int] = {}
        """By token where what its row reads ends in the template."""
        self.within: dict[int, int] = {}
        """By token the period that stands in what its row reads: `154 BTC in June, or 5.5 BTC per day`."""

    def findings(self) -> list[Finding]:
        """What rows read in a sentence that is closed."""
        self._match()
        zeros = [m for pattern in patterns("no_sale") for m in pattern.finditer(self.tpl.shapes)]
        for m in zeros:
            self._explain(m.start(), m.end())
        stated = self._told()
        if not (stated or zeros) or not self._closed():
            return []
        out = list(filter(None, (self._finding(rule, i, key) for rule, i, key in stated if key is not None)))
        if zeros and all(f.field != "btc_sold" for f in out):
            out += self._none_sold(zeros[0])
        return out

    def _told(self) -> list[Told]:
        """What each row says, of when, and the other months that stand beside it."""
        own: list[Told] = [(rule, i, self._period(i, rule.kind)) for i, rule in self.read.items() if rule is not None]
        return own + [other for one in own for other in self._other_month(*one)]

    def _match(self) -> None:
        shapes, at = self.tpl.shapes, self.tpl.at
        for rule, units, pattern in rows():
            for m in pattern.finditer(shapes) if any(unit in shapes for unit in units) else ():
                i = at[m.start("n")]
                if (period := _period_within(rule, m)) is not None:
                    self.within[i] = at[period]
                self.ends[i] = m.end()
                before = self.read.get(i, rule)
                alike = before is not None and before.field == rule.field
                self.read[i] = rule if rule.kind == "event" else before if alike or _is_event(before) else None
                self._explain(m.start(), m.end() + 1)
        for i, rule, start, end in named(self.tpl):
            if i not in self.read:
                self.read[i] = rule
                self._explain(start, end + 1)
            elif (before := self.read[i]) is not None and before.field == rule.field:
                self._explain(start, end + 1)

    def _explain(self, start: int, end: int) -> None:
        self.explained.update(range(self.tpl.index(start), self.tpl.index(end)))

    def _shapes(self, start: int, end: int) -> str:
        return " ".join(t.shape for t in self.tpl.tokens[max(0, start) : end])

    # --- is every word of it known? ---

    def _closed(self) -> bool:
        tokens, shapes = self.tpl.tokens, self.tpl.shapes
        if shapes.rstrip().endswith("?") or _ASKS.match(shapes):
            return False  # a question, or a condition turned round
        runs = [list(run) for known, run in groupby(range(len(tokens)), self.explained.__contains__) if not known]
        last = max(self.read, default=-1)
        return all(
            accounted_for(self._shapes(run[0], run[-1] + 1)) or (last < run[0] and self._aside(run)) for run in runs
        )

    def _aside(self, run: list[int]) -> bool:
        """Does a stretch tell of something else that the issuer did: `, and repaid its term loan in full`?"""
        shapes = self._shapes(run[0], run[-1] + 1)
        text = self.text[self.tpl.tokens[run[0]].start : self.tpl.tokens[run[-1]].end]
        begins = _ASIDE.match(shapes)
        told = begins is not None and _BACK.search(shapes, begins.end()) is None
        return told and not names_somebody(text, self.passage.names)

    # --- what a number is ---

    def _finding(self, rule: SentenceRule, i: int, key: str) -> Finding | None:
        token = self.tpl.tokens[i]
        q = token.number
        if q is None or q.negative or q.footnote or not self._whole(i, q) or self._qualified(i, rule.field):
            return None
        value = convert(rule.field, q, None)
        field = _named_for(rule, key)
        if field == "avg_operating_ehs" and "Q" in key and "@q" not in self.tpl.shapes:
            return None  # an average hashrate of a quarter that the sentence does not name may be its last month's
        if field is None or isinstance(value, str) or (self.ctx.other_dollars and q.unit == "USD"):
            return None  # or whose dollars is not said
        about = not _APPROXIMATE.isdisjoint(t.shape for t in self.tpl.tokens[max(0, i - 3) : i])
        return self._found(field, value, key, q.printed, token.start, about)

    def _found(self, field: str, value: Decimal, key: str, printed: str, at: int, about: bool = False) -> Finding:
        rule = f"closed:{field}"
        return Finding(field, value, key, *self.span, printed, rule, approximate=about, licensed=True, at=at)

    def _none_sold(self, m: re.Match[str]) -> list[Finding]:
        """`sold no bitcoin in July`, where its month is stated."""
        i = self.tpl.index(m.end())
        key = self._period(max(0, min(i, len(self.tpl.tokens)) - 1), "flow")
        if key is None or len(key) != 7:
            return []
        begin, stop = self.tpl.tokens[self.tpl.index(m.start())].start, self.tpl.tokens[max(0, i - 1)].end
        return [self._found("btc_sold", Decimal(0), key, self.text[begin:stop], begin)]

    def _whole(self, i: int, q: PrintedNumber) -> bool:
        """Is the number all of what is printed: no digits before it or behind it that could belong to it?"""
        if re.match(r"\s+,\d{3}|\s?(?:\+ ?/ ?-|±)", self.text[q.end : q.end + 12]):
            return False
        before = self.tpl.tokens[i - 1] if i else None
        after = self.tpl.tokens[i + 1] if i + 1 < len(self.tpl.tokens) else None
        if before is not None and before.shape == "," and i > 1:
            before = self.tpl.tokens[i - 2]  # `1, 479`
        if before is not None and before.shape == "#x" and q.start - before.end <= 2:
            return False
        return after is None or after.number is None or after.start - q.end > 1

    def _qualified(self, i: int, field: str) -> bool:
        """Does what follows the number make it a rate, a difference, or coins that secure a debt?"""
        rest = self._shapes(i + 1, i + 4)
        if field == "btc_held_end" and re.match(r"(?:posted|pledged|as collateral)", rest):
            return True
        if field in _STANDS and re.match(r"(?:was|were|has been|have been) (?!deployed|installed|energi[sz]ed)", rest):
            return True  # `installed hashrate of 1.2 EH/s was added`: another verb decides
        return field != "btc_per_avg_ehs" and _RATE.match(rest) is not None

    # --- of when it is ---

    def _period(self, i: int, kind: str) -> str | None:
        """The month, date or quarter of the number at token i; None where it is not stated."""
        if i in self.within:
            return self._month_of(self.within[i])
        m = _AFTER.match(self.tpl.shapes, self._end_of(i))
        if m is not None:
            standing = _STANDING.search(self.tpl.shapes[: m.start("p")].rstrip())
            return self._key(self.tpl.at[m.start("p")], kind, m["how"] if standing is None else standing["how"])
        periods = [k for k, t in enumerate(self.tpl.tokens) if t.period is not None and k != i]
        dated = [k for k in periods if not is_compared(self.tpl, k)]
        before = [k for k in dated if k < i]
        if before:
            return self._key_before(before, i, kind)
        if kind == "event":
            return None if dated else self.passage.day
        return self._supposed({self._month_of(k) for k in dated}, kind)

    def _month_of(self, k: int) -> str | None:
        p = self.tpl.tokens[k].period
        return key_of(p, self.ctx) if p is not None and p.kind in ("month", "date", "quarter") else None

    def _supposed(self, named: set[str | None], kind: str) -> str | None:
        """The month of the passage, for a sentence that names no other and speaks of no other time."""
        if kind == "stock" and _PRESENT.search(self.tpl.shapes):
            return None  # `Heron holds 280 BTC` is of the day on which it is told
        if any(t.shape == "@y" for t in self.tpl.tokens):
            return None
        month = self.passage.month
        return None if named - {month} or self._spans_more(kind) else month

    def _key_before(self, before: list[int], i: int, kind: str) -> str | None:
        """By the last of the periods that stand before the number."""
        tokens, k = self.tpl.tokens, before[-1]
        several = len({self._key(b, kind, "in") for b in before}) > 1
        if several and any(t.number is not None for t in tokens[k:i]):
            return None
        lead = tokens[k - 1].shape if k else "in"
        standing = _STANDING.search(f" {self._shapes(k - 5, k)}")
        how = standing["how"] if standing is not None else "in" if lead in _LEADS else lead
        return self._key(k, kind, how)

    def _spans_more(self, kind: str) -> bool:
        """Does the sentence speak of a span that is no month?"""
        shapes, month = self.tpl.shapes.replace("year-over-year", ""), self.passage.month
        if month is not None and len(month) != 7:  # a quarter's section, or a year's
            if re.search(r"\bmonth\b", shapes):
                return True
            shapes = re.sub(r"\b(?:in|during|for|over) the (?:full )?(?:@[qy]|quarter|year)\b", "", shapes)
        return kind != "ytd" and WINDOW.search(shapes) is not None and not _EARLIER.search(self.tpl.shapes)

    def _key(self, k: int, kind: str, how: str) -> str | None:
        """The period at token k, as one that a figure of this kind may be told for by the word before it."""
        p = self.tpl.tokens[k].period
        if p is None or self._is_joined(k) or (p.year is None and self.passage.elsewhen):
            return None
        if p.kind not in _KINDS[kind]:
            return None
        if p.kind == "date" and (kind == "event" or (kind == "flow" and how == "on")):
            return resolve(p, self.ctx.reference).key
        if how not in (_AT if kind in ("stock", "event", "ytd") else _OVER):
            return None
        if p.kind == "date" and kind != "stock" and p.ends_month:
            return None  # a flow `as of July 31` has no beginning
        return key_of(p, self.ctx)

    def _is_joined(self, k: int) -> bool:
        """`June and July`, `May to July`: one figure for several months."""
        tokens = self.tpl.tokens
        return any(_joins(list(way)) for way in (tokens[k + 1 : k + 6], tokens[max(0, k - 5) : k][::-1]))

    def _other_month(self, rule: SentenceRule, i: int, key: str | None) -> list[Told]:
        """The same figure of another month: `compared to 52 BTC in June 2025`."""
        begin = self._end_of(i)
        lead = _WITHIN.match(self.tpl.shapes, begin)
        offset = max(begin, lead.end() - 1) if lead is not None else begin
        m = self._comparison(offset)
        if m is None and (end := self.ends.get(i, 0)) > offset:
            offset, m = end, self._comparison(end)
        j = self.tpl.at.get(offset + m.start("n")) if m is not None else None
        if m is None or j is None or (rule.kind == "flow" and _AT_A_DAY.search(m[0])):
            return []
        self.explained.update(range(i + 1, self.tpl.index(offset + m.end() + 1)))
        number, base = self.tpl.tokens[j].number, self.tpl.tokens[i].number
        other = self._compared_month(m["p"], self.tpl.at.get(offset + m.start("p")), key)
        if number is None or base is None or number.unit not in (base.unit, None) or other in (None, key):
            return []
        if not base.value / 10 <= number.value <= base.value * 10:
            return []  # `5.4 BTC per day, compared with 154 BTC in February`: another thing
        self.tpl.tokens[j].number = replace(number, unit=base.unit)
        return [(rule, j, other)]

    def _comparison(self, offset: int) -> re.Match[str] | None:
        rest = self.tpl.shapes[offset:]
        return next(filter(None, (pattern.match(rest) for pattern in patterns("compared"))), None)

    def _compared_month(self, month: str, k: int | None, key: str | None) -> str | None:
        """The month that a comparison names, at token k or by `the month before`."""
        if month.startswith("@"):
            p = self.tpl.tokens[k].period if k is not None else None
            return key_of(p, self.ctx) if p is not None else None
        return shift(key, -12 if "year" in month else -1) if key is not None and len(key) == 7 else None

    def _end_of(self, i: int) -> int:
        position = next(p for p, k in self.tpl.at.items() if k == i)
        return position + len(self.tpl.tokens[i].shape)


_BETWEEN = frozenset(["in", "for", "during", "the", "of", "both", "month", ","])


def _joins(tokens: list[Token]) -> bool:
    """Does a word that joins stand between a period and the next one of these tokens: `and in July`, `, July`?"""
    between = list(takewhile(lambda t: t.period is None, tokens))
    shapes = [t.shape for t in between]
    if len(between) == len(tokens) or not shapes:
        return False
    return shapes == [","] or (not _JOINED.isdisjoint(shapes) and (_JOINED | _BETWEEN).issuperset(shapes))


def _named_for(rule: SentenceRule, key: str) -> str | None:
    """The field of a row's figure for such a period; None where a figure of its kind has no such period."""
    if len(key) not in _SPANS[rule.kind]:
        return None
    return _ON_A_DAY.get(rule.field) if len(key) == 10 and rule.kind == "flow" else rule.field


def _period_within(rule: SentenceRule, m: re.Match[str]) -> int | None:
    """Where the period stands that a row reads with its number: before a daily mean, or as the row's own `p`."""
    if "p" in m.re.groupindex:
        return m.start("p")
    before = re.search(r"@[a-z]", m.string[m.start() : m.start("n")]) if rule.field == "avg_btc_per_day" else None
    return None if before is None else m.start() + before.start()


def _is_event(rule: SentenceRule | None) -> bool:
    return rule is not None and rule.kind == "event"


def accounted_for(shapes: str) -> bool:
    """Is a stretch of a template made of known forms and of nothing else?"""
    at = 0
    while at < len(shapes):
        ends = [m.end() for m in (form.match(shapes, at) for form in patterns("forms")) if m is not None]
        if not ends:
            return False
        at = max(ends)
    return True

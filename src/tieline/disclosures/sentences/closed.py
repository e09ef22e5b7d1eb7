"""The closed-world reader: a figure is read only where every word that could change it is accounted for.

Knows nothing of tables or of what another reader found. A sentence gives a figure where a row of
`rules.sentences` matches at the number, the rest of the sentence is made of known words, the subject is the issuer,
and its month is stated in the sentence or, for an update on one month, in the title. What it cannot prove it does not
say; nothing here is a guess, so nothing here is ever taken back by another rule.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache

from tieline.disclosures.documents.context import Context, key_of
from tieline.disclosures.facts.fields import FIELDS
from tieline.disclosures.finding import convert
from tieline.disclosures.lexicon.commons import COMMON
from tieline.disclosures.lexicon.periods import periods, shift
from tieline.disclosures.rules.sentences import COMPARED, MACROS, NO_SALE, ROWS, SentenceRule
from tieline.disclosures.rules.vocabulary import CAUSE, KNOWN, POISON, UPDATE, bars, strange
from tieline.disclosures.sentences.frame import Frame
from tieline.disclosures.sentences.template import Template, Token, template

MAX_WORDS = 90
"""A sentence longer than this is a list or a paragraph that lost its stops; it is left to the other reader."""


@dataclass(frozen=True, slots=True)
class Proven:
    """One figure, proven from its sentence."""

    field: str
    value: Decimal
    period: str
    start: int
    end: int
    """The number's place in the text."""
    sentence: tuple[int, int]
    printed: str
    approximate: bool = False


def proven(text: str, spans: list[tuple[int, int]], ctx: Context, frame: Frame) -> list[Proven]:
    """Every figure that the sentences prove."""
    if ctx.language != "en":
        return []
    out: list[Proven] = []
    state = _Scope(frame.period or frame.quarter)
    for start, end in spans:
        line_start = text.rfind("\n", 0, start) + 1
        if not text[line_start:start].strip(" \t-*•·>"):
            state.paragraph()
        if _is_heading(text, start, end):
            state.heading(text, start, end, ctx, frame.names)
            continue
        if state.barred or not re.search(r"\d|\b(?:no|none|not|zero)\b", text[start:end]):
            state.speaks_of(text[start:end], frame.names)
            continue
        tpl = template(text, start, end, ctx.style, frame.names)
        if len(tpl.tokens) <= MAX_WORDS and state.subject(tpl):
            out.extend(_sentence(tpl, ctx, state, (start, end)))
        state.after(text[start:end], tpl, ctx, frame.names)
    return out


class _Scope:
    """The month of which an undated sentence speaks, and whether anything is told as done here."""

    def __init__(self, month: str | None) -> None:
        self.document = month
        """The month, or in a quarter's report the quarter."""
        self.section: str | None = month
        self.month: str | None = month
        self.barred = False

        self.headings = 0
        self.antecedent: bool | None = None
        """Whether the sentence before speaks of the issuer; None at the start of a paragraph."""

    def paragraph(self) -> None:
        self.month = self.section
        self.antecedent = None

    def subject(self, tpl: Template) -> bool:
        """May an unnamed subject be the issuer here? `we` always; `it` after the issuer was named; the company, and no
        subject at all, unless the sentence before is about somebody else."""
        shapes = f" {tpl.shapes} "
        if "~own" in shapes or re.search(r" (?:we|our) ", shapes):
            return True
        if re.match(r"(?:.* )?it (?:has |had |also )*[a-z]+ed ", shapes.strip()) or re.search(
            r" it (?:held|sold|holds|owned) ", shapes
        ):
            return self.antecedent is True
        return self.antecedent is not False

    def heading(self, text: str, start: int, end: int, ctx: Context, names: dict[str, bool]) -> None:
        """A heading sets the month of what stands under it, or says that it is no report of what was done, or whose."""
        line = text[start:end]
        self.headings += 1
        found = [t.period for t in template(text, start, end, ctx.style, {}).tokens if t.period is not None]
        keys = {key_of(p, ctx) for p in found if p.kind in ("month", "date", "quarter")}
        other = any(p.kind not in ("month", "date", "quarter") for p in found) or (
            _WINDOW.search(_undated(line)) and self.document not in keys
        )
        first = self.headings == 1 and (bool(keys) or UPDATE.search(line) is not None)
        self.barred = bars(line, self.document in keys) or (
            not first and strange(_undated(line), names, COMMON) is not None
        )
        if other or (keys and keys != {self.document}):
            self.section = keys.pop() if len(keys) == 1 and not other else None
        else:
            self.section = self.document
        self.month = self.section

    def speaks_of(self, sentence: str, names: dict[str, bool]) -> None:
        """Whom a sentence names is who the next one may mean."""
        if any(own and name in sentence for name, own in names.items()):
            self.antecedent = True
        elif any(not own and name in sentence for name, own in names.items()) or _PROPER.search(sentence):
            self.antecedent = False
        elif re.search(r"\b(?:[Ww]e|[Oo]ur)\b", sentence):
            self.antecedent = True

    def after(self, sentence: str, tpl: Template, ctx: Context, names: dict[str, bool]) -> None:
        """A sentence that spoke of another time, or of somebody else, leaves the next ones of its paragraph without."""
        self.speaks_of(sentence, names)
        own = [t for i, t in enumerate(tpl.tokens) if t.period is not None and not _is_compared(tpl, i)]
        keys = {key_of(t.period, ctx) for t in own if t.period is not None}
        quarterly = self.section is not None and "Q" in self.section
        if (keys and keys != {self.section}) or (_WINDOW.search(tpl.shapes) and not quarterly):
            self.month = None
        elif keys:
            self.month = self.section


_PROPER = re.compile(r"\b[A-Z][a-z]+(?: (?:[A-Z][a-z]+|\d))+\b(?<!Company)")
"""`Egret Compute`, `Zach Bradford`: somebody is named; who speaks next is not said."""
_WINDOW = re.compile(
    r"\b(?:quarter\w*|year|years|ytd|year-to-date|since|week|weeks|half|annual\w*|fiscal|twelve|months ended)\b",
    re.IGNORECASE,
)


def _is_heading(text: str, start: int, end: int) -> bool:
    line = text[start:end].strip()
    return (
        (start == 0 or "\n" in text[max(0, start - 2) : start])
        and not line.endswith((".", ";", ","))
        and not line.startswith(("-", "•", "*", "·"))
        and len(line.split()) <= 14
        and not re.search(r"\d", _undated(line))
    )


def _undated(line: str) -> str:
    for p in reversed(periods(line)):
        line = line[: p.start] + line[p.end :]
    return re.sub(r"\b20\d\d\b", "", line)


def _sentence(tpl: Template, ctx: Context, state: _Scope, span: tuple[int, int]) -> list[Proven]:
    read: dict[int, tuple[SentenceRule, tuple[int, int]]] = {}
    clash: set[int] = set()
    explained: set[int] = set()
    for rule, units, pattern in _rows():
        if not any(unit in tpl.shapes for unit in units):
            continue
        for m in pattern.finditer(tpl.shapes):
            i = tpl.at[m.start("n")]
            if i in read and read[i][0].field != rule.field:
                clash.add(i)
            read.setdefault(i, (rule, (m.start(), m.end())))
            explained.update(range(tpl.index(m.start()), tpl.index(m.end() + 1)))
    zeros = [m for pattern in _no_sale() for m in pattern.finditer(tpl.shapes)]
    for m in zeros:
        explained.update(range(tpl.index(m.start()), tpl.index(m.end())))
    if not read and not zeros:
        return []
    compared: list[tuple[SentenceRule, int, str | None]] = []
    own: list[tuple[SentenceRule, int, str | None]] = []
    for i, (rule, _) in read.items():
        key = _period(tpl, i, rule.kind, ctx, state)
        own.append((rule, i, key))
        compared.extend(_other_months(tpl, i, rule, key, ctx, explained))
    if not _closed(tpl, explained):
        return []
    out = []
    for rule, i, key in own + compared:
        token = tpl.tokens[i]
        if i in clash or key is None or token.number is None or not _whole(tpl, i) or _qualified(tpl, i, rule.field):
            continue
        if ctx.other_dollars and token.number.unit == "USD":
            continue  # whose dollars is not said
        fact = _fact(rule, token, key, span, tpl, i)
        if fact is not None:
            out.append(fact)
    if zeros and not any(f.field == "btc_sold" for f in out):
        out += _none_sold(tpl, zeros[0], ctx, state, span)
    return out


def _none_sold(tpl: Template, m: re.Match[str], ctx: Context, state: _Scope, span: tuple[int, int]) -> list[Proven]:
    """`sold no bitcoin in July`, where its month is stated."""
    i = tpl.index(m.end())
    key = _period(tpl, max(0, min(i, len(tpl.tokens)) - 1), "flow", ctx, state)
    if key is None or len(key) != 7:
        return []
    begin, stop = tpl.tokens[tpl.index(m.start())].start, tpl.tokens[max(0, i - 1)].end
    return [Proven("btc_sold", Decimal(0), key, begin, stop, span, "")]


def _fact(rule: SentenceRule, token: Token, key: str, span: tuple[int, int], tpl: Template, i: int) -> Proven | None:
    q = token.number
    assert q is not None
    field = rule.field
    if rule.kind == "ytd" and len(key) != 7:
        return None
    if len(key) == 10 and rule.kind == "flow":
        field, kept = {
            "btc_sold": ("btc_announced_sale", True),
            "sale_proceeds_usd": (field, True),
            "avg_sale_price_usd": (field, True),
            "btc_purchased": (field, True),
        }.get(field, (field, False))
        if not kept:
            return None
    elif (
        len(key) != 7 and not (len(key) == 6 and rule.kind == "flow") and not (len(key) == 10 and rule.kind == "stock")
    ):
        return None
    if q.negative or q.footnote:
        return None
    value = convert(rule.field, q, None)
    if isinstance(value, str):
        return None
    words = [t.shape for t in tpl.tokens[max(0, i - 3) : i]]
    approximate = any(w in _APPROXIMATE for w in words)
    return Proven(field, value, key, token.start, token.end, span, q.printed, approximate)


_APPROXIMATE = frozenset(
    ["approximately", "about", "roughly", "nearly", "almost", "around", "over", "more", "just", "some"]
)


def _other_months(
    tpl: Template, i: int, rule: SentenceRule, key: str | None, ctx: Context, explained: set[int]
) -> list[tuple[SentenceRule, int, str | None]]:
    """The same figure of another month: `compared to 52 BTC in June 2025`."""
    end = _end_of(tpl, i)
    rest = tpl.shapes[end:]
    lead = _WITHIN.match(rest)
    m = _compared().match(rest[lead.end() - 1 :] if lead and lead.end() else rest)
    offset = lead.end() - 1 if lead and lead.end() else 0
    if m is None:
        return []
    j = tpl.at.get(end + offset + m.start("n"))
    if j is None:
        return []
    explained.update(range(i + 1, tpl.index(end + offset + m.end() + 1)))
    number, base = tpl.tokens[j].number, tpl.tokens[i].number
    if number is None or base is None or (number.unit != base.unit and number.unit is not None):
        return []
    if m["p"].startswith("@"):
        k = tpl.at.get(end + offset + m.start("p"))
        p = tpl.tokens[k].period if k is not None else None
        other = key_of(p, ctx) if p is not None else None
    elif key is None or len(key) != 7:
        other = None
    else:
        other = shift(key, -12 if "year" in m["p"] else -1)
    if other is None or other == key:
        return []
    if number.unit is None and base.unit is not None:
        number = replace(number, unit=base.unit)
        object.__setattr__(tpl.tokens[j], "number", number)
    return [(rule, j, other)]


_WITHIN = re.compile(r"(?: (?:in|during|for|as of|at|at the end of|on) (?:the month of )?@[me])? ?")


def _end_of(tpl: Template, i: int) -> int:
    position = next(p for p, k in tpl.at.items() if k == i)
    return position + len(tpl.tokens[i].shape)


def _whole(tpl: Template, i: int) -> bool:
    """Is the number all of what is printed: no digits before it or behind it that could belong to it?"""
    q = tpl.tokens[i].number
    assert q is not None
    before = tpl.tokens[i - 1] if i else None
    after = tpl.tokens[i + 1] if i + 1 < len(tpl.tokens) else None
    if before is not None and before.shape == "," and i > 1:
        before = tpl.tokens[i - 2]  # `1, 479`
    if before is not None and before.shape == "#x" and q.start - before.end <= 2:
        return False
    return not (after is not None and after.number is not None and after.start - q.end <= 1)


_STANDS = frozenset(["btc_held_end", "deployed_ehs", "operating_month_end_ehs", "avg_operating_ehs", "efficiency_j_th"])


def _qualified(tpl: Template, i: int, field: str) -> bool:
    """Does what follows the number make it a rate, a difference, or coins that secure a debt?"""
    rest = " ".join(t.shape for t in tpl.tokens[i + 1 : i + 4])
    if field == "btc_held_end" and re.match(r"(?:posted|pledged|as collateral)", rest):
        return True
    if field in _STANDS and re.match(r"(?:was|were|has been|have been) ", rest):
        return True  # `installed hashrate of 1.2 EH/s was added`: another verb decides
    rate = r"(?:per (?!day|kwh|bitcoin|btc|coin)|a (?:month|year|week)|higher|lower|more|less|fewer|above|below|each (?!day))"
    return re.match(rate, rest) is not None


def _closed(tpl: Template, explained: set[int]) -> bool:
    """Is every word of the sentence accounted for?"""
    if tpl.shapes.rstrip().endswith("?") or re.match(r"(?:had|were|was|should|did|does|is|are|has|have) ", tpl.shapes):
        return False  # a question, or a condition turned round
    last = max((i for i in explained), default=0)
    cut = CAUSE.search(tpl.shapes)
    stop = len(tpl.tokens)
    while cut is not None:
        at = tpl.index(cut.start() + 1)
        if at > last:
            stop = at
            break
        cut = CAUSE.search(tpl.shapes, cut.end())
    for i, token in enumerate(tpl.tokens[:stop]):
        if i in explained or token.number is not None or token.period is not None or token.shape == "~own":
            continue
        if token.shape in KNOWN or (len(token.shape) == 1 and not token.shape.isalnum()) or token.shape == "'s":
            continue
        return False
    tail = " ".join(t.shape for t in tpl.tokens[stop:])
    return not POISON.search(tail) and "~other" not in tail


def _is_compared(tpl: Template, i: int) -> bool:
    """Does a comparison govern the period at token i?"""
    before = " ".join(t.shape for t in tpl.tokens[max(0, i - 9) : i])
    last = max((m.end() for m in _COMPARISON.finditer(before)), default=-1)
    return last >= 0 and not re.search(r"[,;]| and | to ", before[last:])


_COMPARISON = re.compile(r"\b(?:compared (?:to|with)|versus|vs\.?|from|against|over|than|relative to)\b")
_AFTER = re.compile(
    r" (?:(?!and\b|while\b|compared|versus\b|vs\b|from\b|to\b|with\b|up\b|down\b|over\b|than\b)[a-z'./-]+ ){0,5}?"
    r"(?P<how>in|during|for|throughout|as of|as at|at|on|by|of|ended|through|until|at the end of|for the month of|in the month of|at the close of) (?P<p>@[a-z])"
)
_OVER = frozenset(["in", "during", "for", "throughout", "of", "month", "ended", "for the month of", "in the month of"])
"""How a month may be told for what flows in it."""
_AT = _OVER | {"as of", "as at", "at", "on", "by", "at the end of", "at the close of"}
"""How it may be told for what stands at its end."""
_JOINED = frozenset(["and", "to", "through", "until", "-", "–", "/", "&", "or"])


def _period(tpl: Template, i: int, kind: str, ctx: Context, state: _Scope) -> str | None:
    """The month, date or quarter of the number at token i; None where it is not stated."""
    m = _AFTER.match(tpl.shapes, _end_of(tpl, i))
    if m is not None:
        return _key(tpl, tpl.at[m.start("p")], kind, ctx) if m["how"] in (_AT if kind == "stock" else _OVER) else None
    before = [k for k in range(i) if tpl.tokens[k].period is not None and not _is_compared(tpl, k)]
    if before:
        return _period_before(tpl, i, before, kind, ctx)
    after = [k for k in range(i + 1, len(tpl.tokens)) if tpl.tokens[k].period is not None and not _is_compared(tpl, k)]
    keys = {_key(tpl, k, kind, ctx) for k in after}
    if keys and keys != {state.month}:
        return None
    shapes = tpl.shapes.replace("year-over-year", "")
    if state.month is not None and "Q" in state.month:
        shapes = re.sub(r"\b(?:in|during|for|over) the (?:@q|quarter)\b", "", shapes)
    earlier = re.search(r"same month (?:of )?last year|year earlier|year ago", tpl.shapes)
    if kind != "ytd" and _WINDOW.search(shapes) and not earlier:
        return None
    return state.month


def _period_before(tpl: Template, i: int, before: list[int], kind: str, ctx: Context) -> str | None:
    """By the last of the periods that stand before the number."""
    k = before[-1]
    if len({_key(tpl, b, kind, ctx) for b in before}) > 1 and any(t.number is not None for t in tpl.tokens[k:i]):
        return None
    lead = tpl.tokens[k - 1].shape if k else "in"
    told = lead in (_AT if kind == "stock" else _OVER) or lead in _LEADS
    return _key(tpl, k, kind, ctx) if told else None


_LEADS = frozenset({"of", "the", ",", ":", "(", "-", "•", "*"})


def _key(tpl: Template, k: int, kind: str, ctx: Context) -> str | None:
    p = tpl.tokens[k].period
    assert p is not None
    if p.kind not in ("month", "date", "quarter") or _is_joined(tpl, k):
        return None
    if p.kind == "date" and kind != "stock" and p.ends_month:
        return None  # a flow `as of July 31` has no beginning
    if p.kind == "quarter" and kind != "flow":
        return None
    return key_of(p, ctx)


def _is_joined(tpl: Template, k: int) -> bool:
    """`June and July`, `May to July`: one figure for several months."""
    after = tpl.tokens[k + 1 : k + 3]
    before = tpl.tokens[max(0, k - 2) : k]
    return (len(after) == 2 and after[0].shape in _JOINED and after[1].period is not None) or (
        len(before) == 2 and before[1].shape in _JOINED and before[0].period is not None
    )


@cache
def _rows() -> tuple[tuple[SentenceRule, tuple[str, ...], re.Pattern[str]], ...]:
    """Each row with the units of the number that it reads, and its pattern."""
    out = []
    for rule in ROWS:
        units = re.search(r"(?<!\?P)<([a-z]+)>", rule.pattern)
        assert units is not None, rule.pattern
        out.append((rule, tuple(f"#{unit}" for unit in units[1]), re.compile(expand(rule.pattern))))
    return tuple(out)


@cache
def _compared() -> re.Pattern[str]:
    return re.compile(expand(COMPARED))


@cache
def _no_sale() -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(expand(pattern)) for pattern in NO_SALE)


def expand(pattern: str) -> str:
    """A row's pattern with its macros written out and its number named `n`."""
    while (m := re.search(r"\{([A-Z]+)\}", pattern)) is not None:
        pattern = pattern.replace(m[0], MACROS[m[1]])
    return re.sub(r"(?<!\?P)<([a-z]+)>", r"(?P<n>#[\1])(?= |$)", pattern)


assert all(rule.field in FIELDS for rule in ROWS)

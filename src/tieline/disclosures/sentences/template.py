"""A sentence as a template: words in lower case, numbers by unit, periods by kind, companies by whose they are.

    Heron mined 41 BTC in July 2025, up from 40 BTC  ->  ~own mined #b in @m , up from #b

Knows nothing of fields. Rules are patterns over templates, so one row covers every number, month and name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tieline.disclosures.lexicon.numbers import PrintedNumber, quantities
from tieline.disclosures.lexicon.periods import Period, periods

_UNIT = {
    "BTC": "#b",
    "USD": "#u",
    "EH/s": "#e",
    "J/TH": "#j",
    "%": "#p",
    "miners": "#m",
    "blocks": "#k",
    "USD/kWh": "#w",
    "power": "#mw",
    None: "#x",
}
_WORD = re.compile(r"[^\W\d_]+(?:['’&./-][^\W\d_]+)*|'s\b|\S")
_POINT = re.compile(r"\s*(?P<mark>\d{1,2}[.)]) +(?=[A-Z])")
ITSELF = re.compile(r"\b[Tt]he (?:Company|Group|Corporation)\b")
"""By its capital the issuer itself, as its releases define it."""


@dataclass(slots=True)
class Token:
    """One piece: `shape` is what patterns see, the span points into the document's text."""

    shape: str
    start: int
    end: int
    number: PrintedNumber | None = None
    period: Period | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """A sentence's tokens and their shapes joined by spaces; `at` tells which token begins where."""

    tokens: tuple[Token, ...]
    shapes: str
    at: dict[int, int]

    def index(self, position: int) -> int:
        """The token that begins at a position of `shapes`, or the next one."""
        while position not in self.at and position < len(self.shapes):
            position += 1
        return self.at.get(position, len(self.tokens))


def template(text: str, start: int, end: int, style: str, names: dict[str, bool]) -> Template:
    """The template of text[start:end]. `names` maps a company's name to whether it is the issuer's own."""
    sequence: list[Token] = []
    taken: list[tuple[int, int]] = []

    def add(tokens: Iterable[Token]) -> None:
        new = [t for t in tokens if not _within((t.start, t.end), taken)]
        sequence.extend(new)
        taken.extend((t.start, t.end) for t in new)

    add(_point(text, start, end))
    add(Token(_shape(p), p.start, p.end, period=p) for p in periods(text, start, end))
    for name, own in names.items():
        pattern = re.compile(rf"(?<![A-Za-z]){re.escape(name)}(?![a-z])")
        add(Token("~own" if own else "~other", *m.span()) for m in pattern.finditer(text, start, end))
    add(Token("~own", *m.span()) for m in ITSELF.finditer(text, start, end))
    for q in quantities(text, start, end, style):
        if _is_year(q):
            add([Token("@y", q.start, q.end, period=Period("year", int(q.value), 12, start=q.start, end=q.end))])
        else:
            signed = q.negative and text[q.start] != "(" and text[start : q.start].strip() != ""
            number = replace(q, negative=signed)  # else a bracket or a bullet, and no sign
            add([Token(_UNIT.get(q.unit, "#o"), q.start, q.end, number=number)])
    at = start
    for a, b in [*sorted(taken), (end, end)]:  # words of the gaps: `41 BTC-equivalent` leaves `-equivalent`
        sequence.extend(token for m in _WORD.finditer(text, at, a) for token in _words(m))
        at = max(at, b)
    sequence.sort(key=lambda t: t.start)
    where, position = {}, 0
    for i, token in enumerate(sequence):
        where[position] = i
        position += len(token.shape) + 1
    return Template(tuple(sequence), " ".join(t.shape for t in sequence), where)


def _point(text: str, start: int, end: int) -> list[Token]:
    """The number of a list's point at the beginning of a line, which stands for a dash."""
    point = _POINT.match(text, start, end)
    begins = not text[text.rfind("\n", 0, start) + 1 : start].strip()
    return [Token("-", *point.span("mark"))] if point is not None and begins else []


def _within(span: tuple[int, int], taken: list[tuple[int, int]]) -> bool:
    return any(a < span[1] and span[0] < b for a, b in taken)


def _words(m: re.Match[str]) -> list[Token]:
    word = m[0].lower().replace("’", "'")
    if word.endswith("'s") and len(word) > 2:
        return [Token(word[:-2], m.start(), m.end() - 2), Token("'s", m.end() - 2, m.end())]
    if word == "'":
        return []
    return [Token(word, m.start(), m.end())]


def _shape(p: Period) -> str:
    if p.kind == "month":
        return "@m"
    if p.kind == "date":
        return "@e" if p.ends_month else "@d"
    return {"quarter": "@q", "year": "@y"}.get(p.kind, "@x")


def _is_year(q: PrintedNumber) -> bool:
    return q.unit is None and q.decimals == 0 and "," not in q.printed and 2008 < q.value < 2045

"""Read a release: HTML, PDF, JSON, text or a pasted table in, facts with their source spans out.

Knows nothing of other releases, of the network or of what is kept. Deterministic and offline. The path is
document -> rows and sentences -> claims -> facts; each part lives in `reading`. A field stays empty wherever
the text could mean two things.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from tieline.disclosures.documents import context, document
from tieline.disclosures.documents.issuers import headed, main_issuer, mentions
from tieline.disclosures.extract.evidence import supports
from tieline.disclosures.extract.judge import license_rows, speaks_itself, split
from tieline.disclosures.extract.settle import settle
from tieline.disclosures.facts.claims import OWN_WORDS, Claim, SourceKind
from tieline.disclosures.facts.fact import DocumentReading, Fact, Kind
from tieline.disclosures.facts.fields import unit_of
from tieline.disclosures.finding import STRONG, Finding
from tieline.disclosures.lexicon.words import BITCOIN, phrases
from tieline.disclosures.rules.vocabulary import LEGAL
from tieline.disclosures.sentences.closed import proven
from tieline.disclosures.sentences.frame import Frame, frame_of
from tieline.disclosures.sentences.open import claims as open_claims
from tieline.disclosures.sentences.split import sentences
from tieline.disclosures.tables import layout, statement, tabular

MAX_NOTES = 60
"""A page with more remarks than this is not one release; the rest are counted."""


def read(
    source: str | bytes,
    *,
    issuer: str | None = None,
    published: str | None = None,
    kind: Kind | None = None,
    source_kind: SourceKind | None = None,
    known: Sequence[Claim] = (),
) -> DocumentReading:
    """The facts and candidates of one release.

    `published` (YYYY-MM-DD or YYYY-MM) dates months that are printed without a year. `source_kind` says who speaks;
    without it the text must show that the issuer does. `known`: claims of the book, as second voice and for what is
    plausible. Never raises for what the source holds: `Reading.refused` says why nothing could be read.
    """
    doc = document.load(source, kind)
    if doc.refused is not None:
        return _refused(doc, issuer, published, doc.refused)
    given, published = published, published or context.dated(doc.text)
    ctx = context.understand(doc.text, doc.title, published)
    main = main_issuer(doc.text, doc.title)
    own = issuer or main
    frame = frame_of(doc.text, doc.title, ctx, own)
    findings, notes = _found(doc, ctx, frame)
    several = _several(doc.text, findings, ctx)
    if several is not None:
        return _refused(doc, own, published, several)
    _attribute(doc.text, findings, own, main)
    if issuer is not None:
        findings = _only(findings, issuer, notes)
    license_rows(doc.text, findings, frame, ctx, doc.kind == "html")
    settled, contested, remarks = settle(findings, ctx.statement)
    pairs = [(c, f) for c in (*settled, *contested) if supports(f := _fact(doc.text, c))]
    own_words = source_kind in OWN_WORDS if source_kind else speaks_itself(doc.text, doc.title, findings)
    told = [claim for claim in known if claim.fact.issuer == own]
    facts, candidates = split(doc.text, pairs, ctx, frame, own_words, told)
    notes = [*doc.notes, *context.date_notes(doc.text, given), *remarks, *notes]
    if not facts and not candidates:
        return _refused(doc, own, published, _why_empty(doc.text, ctx, notes))
    return DocumentReading(
        facts=tuple(facts), candidates=tuple(candidates), own_words=own_words, notes=_bounded(notes),
        kind=doc.kind, text=doc.text, title=doc.title, issuer=own, period=ctx.period, published=published,
    )  # fmt: skip


def _only(findings: list[Finding], issuer: str, notes: list[str]) -> list[Finding]:
    """The issuer's own figures; a note names whose others were left out."""
    others = sorted({c.issuer for c in findings if c.issuer is not None} - {issuer})
    notes += [f"figures of {', '.join(others)} left out: another issuer's"] if others else []
    return [c for c in findings if c.issuer == issuer]


def _bounded(notes: list[str]) -> tuple[str, ...]:
    more = [f"and {len(notes) - MAX_NOTES} more"] if len(notes) > MAX_NOTES else []
    return tuple(dict.fromkeys([*notes[:MAX_NOTES], *more]))


def _found(doc: document.Document, ctx: context.Context, frame: Frame) -> tuple[list[Finding], list[str]]:
    """Every reading of the text, proven or not."""
    rows = layout.rows(doc.text, ctx.style)
    findings, notes = tabular.claims(doc.text, rows, ctx)
    findings.extend(statement.claims(doc.text, rows, ctx))
    # A line that begins in lower case goes on with a sentence, however many numbers it holds.
    prose = [r.line for r in rows if len(r.columns) < 2 and doc.text[r.line[0] : r.line[0] + 1].islower()]
    skip = [r.line for r in rows if (len(r.values) > 1 or r.joined or r.columns) and r.line not in prose]
    spans = [span for span in sentences(doc.text, skip) if not LEGAL.search(doc.text, *span)]
    findings.extend(open_claims(doc.text, spans, ctx, frame.quarter))
    findings.extend(proven(doc.text, spans, ctx, frame))
    return findings, notes


def _fact(text: str, c: Finding) -> Fact:
    quote = text[c.start : c.end].strip(" \n|,;")
    start = text.find(quote, c.start)
    return Fact(
        issuer=c.issuer, period=c.period, field=c.field, value=c.value, unit=unit_of(c.field), scope=c.scope,
        span=(start, start + len(quote)), quote=quote, printed=c.printed.strip(), method=c.method, rule=c.rule,
        restated=c.restated, approximate=c.approximate,
    )  # fmt: skip


def _refused(doc: document.Document, issuer: str | None, published: str | None, why: str) -> DocumentReading:
    return DocumentReading(
        kind=doc.kind, text=doc.text, title=doc.title, issuer=issuer, published=published, notes=tuple(doc.notes),
        refused=why,
    )  # fmt: skip


def _why_empty(text: str, ctx: context.Context, notes: list[str]) -> str:
    if not BITCOIN.search(text):
        return "no release: the text does not speak of bitcoin"
    if ctx.period is None and ctx.reference is None:
        return "no figure can be dated: the text names no year; give the date of publication"
    reasons = f" ({'; '.join(notes[:3])})" if notes else ""
    return f"no production or treasury figure was found{reasons}"


def _attribute(text: str, claims: list[Finding], own: str | None, main: str | None) -> None:
    """Give each figure its company: the one named last before it, in a text that names several.

    A caller may know the company under another ticker than the directory; then the text's main company is meant.
    """
    named = headed(text, mentions(text))
    if own is not None and all(ticker != own for _, ticker in named):
        same = next((ticker for at, ticker in named if _lists(text, at, own)), main)
        named = [(at, own if ticker == same else ticker) for at, ticker in named]
    alone = len({ticker for _, ticker in named}) < 2
    roundup = not alone and _is_roundup(text, named, own)
    for c in claims:
        by_row = c.rule.startswith(("table", "statement")) and not roundup
        c.issuer = own if alone or by_row else _last_named(text, c, named, roundup) or own


def _last_named(text: str, c: Finding, named: list[tuple[int, str]], roundup: bool) -> str | None:
    """The company named last before the end of a figure's words; of a roundup anywhere, else on the same line."""
    stop = _last_word(text, c)
    at = bisect_left(named, (stop, "")) - 1
    return named[at][1] if at >= 0 and (roundup or named[at][0] > text.rfind("\n", 0, stop)) else None


def _is_roundup(text: str, named: list[tuple[int, str]], own: str | None) -> bool:
    """Is the text on several companies alike, and not one company's own?"""
    counts = Counter(ticker for _, ticker in named)
    others = max((n for ticker, n in counts.items() if ticker != own), default=0)
    if own is None or (others >= 2 and others * 4 > sum(counts.values())) or (own not in counts and len(counts) > 2):
        return True
    return any(ticker != own and _is_heading(text, at) for at, ticker in named)


def _last_word(text: str, c: Finding) -> int:
    """Where the words of a figure end; the next line names the next company."""
    stop = c.end
    printed = text.find(c.printed, c.start, c.end) if c.printed else -1
    if printed >= 0 and (cut := text.find("\n", printed + len(c.printed), c.end)) >= 0:
        stop = cut
    return c.start + len(text[c.start : stop].rstrip())


def _lists(text: str, at: int, own: str) -> bool:
    """`Argo Blockchain (ARBK)`: does the ticker follow the name in brackets?"""
    return bool(re.match(r"[^()\n]{0,40}\((?:[^()\n]{0,20}:\s?)?" + re.escape(own) + r"\b", text[at : at + 80]))


def _is_heading(text: str, at: int) -> bool:
    """Does a company's name stand on a line of its own, as over its part of a roundup?"""
    start = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    line = text[start : end if end >= 0 else len(text)].strip(" :*#|0123456789.")
    return len(line) <= 45 and at - start <= 6 and not re.search(r"\d", line[8:])


_MAIN = ("btc_produced", "btc_held_end", "btc_sold", "avg_operating_ehs", "deployed_ehs")


def _several(text: str, claims: list[Finding], ctx: context.Context) -> str | None:
    """Two releases in one file: two titles or datelines, each with its own month and its own figures."""
    starts = _starts(text)
    if len(starts) < 2:
        return None
    strong = [c for c in claims if c.strength == STRONG and c.field in _MAIN]
    months: set[str] = set()
    for begin, end in zip(starts, [*starts[1:], len(text)], strict=True):
        here = Counter(c.period for c in strong if begin <= c.start < end)
        if here.total() >= 2:
            months.add(context.understand(text[begin:end], None, ctx.published).period or here.most_common(1)[0][0])
    if len(months) < 2:
        return None
    return f"two releases in one file ({' and '.join(sorted(months))}): read them one by one"


def _starts(text: str) -> list[int]:
    """Where a title or a wire's dateline stands, 600 characters or more apart."""
    titles = {m.start() for m in phrases("report").finditer(text)} | {
        text.rfind("\n", 0, m.start()) + 1 for m in phrases("wires").finditer(text)
    }
    starts: list[int] = []
    for at in sorted(titles):
        if not starts or at - starts[-1] > 600:
            starts.append(at)
    return starts

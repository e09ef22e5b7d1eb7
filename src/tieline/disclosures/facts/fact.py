"""One figure that a miner published, and what a reading of one document gave.

Knows nothing of how a text is read, kept or checked. A fact is what was printed, never what we worked out:
its value, in the unit that its field names, stands in `quote`, and `quote` is `text[span[0]:span[1]]` of the
reading it came from. Periods are `YYYY-MM` (calendar month), `YYYYQn` (calendar quarter), `YYYY` (calendar
year) or `YYYY-MM-DD` (a date for a point value that is not a month's end figure in a monthly release).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

Method = Literal["rule", "sum", "model", "typed"]
"""How the value was found: by a rule of the reader; as the sum of two or more printed parts where another
column of the same table prints that total; by a language model; typed in by a person from a named source."""

Kind = Literal["html", "text", "pdf", "table", "json"]
"""What the document is as a file. A pasted table is text whose cells are separated by tabs or bars."""


class Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """One published figure. A field that was not published has no fact; it is never zero."""

    issuer: str | None
    """The ticker, where the caller or the text names it."""
    period: str
    field: str
    """One of `tieline.disclosures.facts.fields.FIELDS`, for example `btc_produced`."""
    value: Decimal
    """In `unit`: `$38.8 million` is 38800000 USD. Decimals as printed, none added."""
    unit: str
    scope: str | None = None
    """None for the whole company; else the site, segment or share that the row names."""
    span: tuple[int, int] | None = None
    """Half-open, in characters of `Reading.text`. None only for facts typed in without a document."""
    quote: str = ""
    printed: str = ""
    """The number as it stands in the quote, footnote digits and all: `19,2113`."""
    method: Method = "rule"
    rule: str | None = None
    """The rule that found it, for example `table:row-label` or `prose:held`."""
    restated: bool = False
    """The text says that this figure replaces one printed earlier."""
    approximate: bool = False
    """The text says about, nearly, over."""


Licence = Literal["period", "window", "subject", "assertion", "token", "plausible", "second voice"]
"""What a text must prove of a figure before it is a fact (`licences`)."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A figure found in a text, and what is missing before it may be a fact. It enters no rank, sum or check."""

    fact: Fact
    missing: tuple[Licence, ...]
    why: str
    """What is missing, in words."""


class DocumentReading(msgspec.Struct, frozen=True, kw_only=True):
    """What one document gave: facts, candidates, remarks, or one reason why nothing could be read."""

    facts: tuple[Fact, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    own_words: bool = False
    """The issuer speaks: the source was said to be its own, or the text shows it."""
    notes: tuple[str, ...] = ()
    """What a person should know: a value left empty and why, a total that is a sum, a second coin."""
    kind: Kind = "text"
    text: str = ""
    """The document as normalised text, into which every span points."""
    title: str | None = None
    issuer: str | None = None
    period: str | None = None
    """The month that the document is about."""
    published: str | None = None
    refused: str | None = None
    """Why the document yields nothing: no release, a scan, too large, two releases. `facts` is then empty."""

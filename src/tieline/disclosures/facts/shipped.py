"""The facts that come with the package: typed in by people from named sources.

Reads `data/*.toml`, where one [[document]] is one publication and each period lists the figures as printed.
Money may be short (`"6.0m"`), which keeps the digits printed. A key `field @ scope` is a part (a site, a
lender); `restated` and `approximate` name `period.field` pairs.

A shipped fact is known from the end of the day or month that its document bears: `as_of` then answers with
what the public could know, whenever the package was installed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import get_args

import msgspec

from tieline.disclosures.data import shipped_text
from tieline.disclosures.facts import periods
from tieline.disclosures.facts.book import ClaimBook
from tieline.disclosures.facts.claims import MULTIPLES, SHORT_MONEY, Claim, SourceKind
from tieline.disclosures.facts.fact import Fact
from tieline.disclosures.facts.fields import unit_of

FILES = ("cango.toml", "peers.toml", "sector.toml", "press.toml", "loans.toml", "contracts.toml")
# Documents whose date is not known are known from the first: they are history, not news.
_LONG_AGO = "2009-01-03"


class ShippedDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One publication in the files' own shape."""

    issuer: str
    source: str
    kind: SourceKind
    facts: dict[str, dict[str, object]]
    published: str | None = None
    dateline: str | None = None
    note: str | None = None
    restated: tuple[str, ...] = ()
    approximate: tuple[str, ...] = ()


class _FactsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    document: tuple[ShippedDocument, ...] = ()


@cache
def shipped() -> ClaimBook:
    """The book of the first day. Built once per process (about 20 ms)."""
    return ClaimBook(claim for name in FILES for claim in parse(shipped_text(name), name))


def parse(text: str, name: str) -> Iterator[Claim]:
    """Claims of one file of typed-in facts. Raises ValueError naming the file and the field."""
    try:
        documents = msgspec.convert(tomllib.loads(text, parse_float=Decimal), _FactsFile, strict=False).document
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ValueError(f"{name}: {error}; kinds of source are {', '.join(get_args(SourceKind))}") from error
    for document in documents:
        for period, figures in document.facts.items():
            for key, given in figures.items():
                try:
                    yield _claim(document, period, key, given)
                except ValueError as error:
                    raise ValueError(f"{name}: {document.issuer} {period}.{key}: {error}") from error


def _claim(document: ShippedDocument, period: str, key: str, given: object) -> Claim:
    periods.window(period)
    value, printed = _number(given)
    field, _, scope = key.partition(" @ ")
    mark = f"{period}.{field}"
    return Claim(
        fact=Fact(
            issuer=document.issuer, period=period, field=field, value=value, printed=printed, unit=unit_of(field),
            scope=scope or None, method="typed", restated=mark in document.restated,
            approximate=mark in document.approximate,
        ),
        source=document.source, source_kind=document.kind, published=document.published,
        known_at=known_from(document.published), dateline=document.dateline, note=document.note,
    )  # fmt: skip


def _number(given: object) -> tuple[Decimal, str]:
    """A number, or money in short: `"6.0m"` is 6000000 printed with one decimal of a million."""
    if isinstance(given, (int, Decimal)) and not isinstance(given, bool) and Decimal(given).is_finite():
        return Decimal(given), ""
    match = SHORT_MONEY.fullmatch(str(given))
    if match is None:
        raise ValueError(f'{given!r} is no number; write 6000000 or "6.0m"')
    value = Decimal(f"{match[1]}.{match[2] or 0}") * MULTIPLES[match[3]]
    return (Decimal(int(value)) if value == value.to_integral_value() else value), match[0]


def known_from(published: str | None) -> datetime:
    """The end of the day or month that a document bears."""
    return periods.window(published or _LONG_AGO)[1]

"""A figure with its witness: who printed it, when, and when we learned it.

A `Fact` is what was printed; a `Claim` adds the source. Two sources that disagree are two claims on one
figure, side by side; nothing is overwritten. Times are two: the period that the figure is about, and
`known_at`, when it could first be known here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Literal, get_args

import msgspec

from tieline.disclosures.facts import periods
from tieline.disclosures.facts.fact import Fact
from tieline.disclosures.facts.fields import unit_of

SourceKind = Literal[
    "issuer",
    "issuer_release_copy",
    "sec_exhibit",
    "sec_xbrl_render",
    "release_summary",
    "news_of_release",
    "news",
    "aggregator",
]
"""From the best witness to the weakest: the issuer's own site or wire; its full release elsewhere; an exhibit
or tagged fact of a filing; a summary of the release; news that quotes it; other news; a tracker."""

KINDS: tuple[SourceKind, ...] = get_args(SourceKind)
# The issuer's own words, wherever they stand. Only these can restate a figure.
OWN_WORDS = frozenset(KINDS[:4])
# Texts that carry the issuer's figures; the rest is what others say.
OF_THE_ISSUER = frozenset(KINDS[:6])

MAX_VALUE, MAX_PLACES = 10**15, 12
"""A hundred times the dollars of the largest company; half as many decimals again as a bitcoin has."""

# Fields whose values releases round to a few digits ("$38.8 million"): trailing zeros are not digits there.
_MONEY_UNITS = frozenset({"USD", "kUSD"})
# `6.0m`: how a typed-in fact keeps a digit that 6000000 would lose.
SHORT_MONEY = re.compile(r"(\d+)(?:\.(\d+))?([kmb])")
MULTIPLES = {"k": 1_000, "m": 1_000_000, "b": 1_000_000_000}


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One printed figure and its source."""

    fact: Fact
    source: str
    """Address of the document, or words by which a person can find it."""
    source_kind: SourceKind
    published: str | None
    """Date or month that the document bears, as far as known: `2026-02-03`, `2026-03`."""
    known_at: datetime
    dateline: str | None = None
    """The date that the document itself prints, where it differs from when it came out."""
    document: str | None = None
    """SHA-256 of the text that the fact's span points into; None for a fact typed in."""
    note: str | None = None

    @property
    def figure(self) -> str:
        """The permanent name of what is claimed, whoever claims it: `CANG.2026-01.btc_sold`."""
        fact = self.fact
        return figure_id(fact.issuer, fact.period, fact.field, fact.scope)

    @property
    def id(self) -> str:
        """The permanent name of this one claim: the figure, and eight hex digits of its witness and value."""
        fact = self.fact
        witness = "|".join((self.source, self.published or "", str(fact.value), str(fact.span), str(self.document)))
        return f"{self.figure}~{hashlib.sha256(witness.encode()).hexdigest()[:8]}"

    @property
    def mark(self) -> str:
        """What sets it apart among the claims of its issuer and period: field, scope, witness. The eight digits
        alone do not, since one source may print the same value under two fields."""
        return self.id.removeprefix(f"{slug(self.subject)}.{self.fact.period}.").replace("~", ".")

    @property
    def value(self) -> Decimal:
        return self.fact.value

    @property
    def subject(self) -> str:
        return self.fact.issuer or "unknown"

    def __str__(self) -> str:
        """As it stands in a computation: `7,474.6`."""
        return f"{self.value:,f}"


def checked(claim: Claim) -> Claim:
    """The claim itself. Raises ValueError for one that could not be read back, or not reckoned with."""
    fact, value = claim.fact, claim.value
    unit = unit_of(fact.field)
    for period in (fact.period, claim.published, claim.dateline):
        if period is not None:
            periods.checked(period)
    if not value.is_finite():
        raise ValueError(f"{value} is no number")
    if value.copy_abs() > MAX_VALUE or places(value) > MAX_PLACES:
        raise ValueError(f"{value:.3e} is out of bounds: at most {MAX_VALUE:,} with {MAX_PLACES} decimals")
    if not fact.issuer or not fact.issuer.isprintable():
        raise ValueError("no issuer; give its ticker (--issuer)")
    if fact.unit != unit:
        raise ValueError(f"the unit is {fact.unit}, must be {unit}")
    if claim.known_at.tzinfo is None:
        raise ValueError("known_at has no zone")
    return claim


def figure_id(issuer: str | None, period: str, field: str, scope: str | None = None) -> str:
    """A name that is safe in a URL's fragment and does not change when better sources come."""
    parts = [slug(issuer or "unknown"), period, field]
    if scope:
        parts.append(slug(scope))
    return ".".join(parts)


@lru_cache(maxsize=4096)
def slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "-", text).strip("-") or "x"


def distinct(claims: Iterable[Claim]) -> list[Claim]:
    """The first claim of each value."""
    by_value: dict[Decimal, Claim] = {}
    for claim in claims:
        by_value.setdefault(claim.value, claim)
    return list(by_value.values())


def total(claims: Iterable[Claim]) -> Decimal:
    return sum((claim.value for claim in claims), Decimal(0))


def slack(*claims: Claim) -> Decimal:
    """How far the true value, or the sum of several, may lie from the printed by rounding: `slack_of` each fact."""
    return sum((slack_of(claim.fact) for claim in claims), Decimal(0))


def slack_of(fact: Fact) -> Decimal:
    """How far the true value may lie from the printed one by rounding: half of the last printed place.

    In money the last place is the last digit that is not zero, since `$38.8 million` is kept as 38800000. The
    same holds for whole numbers that the text calls approximate.
    """
    value, exponent = fact.value, int(fact.value.as_tuple().exponent)
    if fact.method == "typed" and (match := SHORT_MONEY.fullmatch(fact.printed)):
        return Decimal(5).scaleb(-len(match[2] or "") - 1) * MULTIPLES[match[3]]
    if fact.unit in _MONEY_UNITS or fact.approximate:
        exponent = int(value.normalize().as_tuple().exponent) if value else 0
    return Decimal(5).scaleb(exponent - 1)


def places(value: Decimal) -> int:
    """Decimals printed."""
    return max(0, -int(value.as_tuple().exponent))

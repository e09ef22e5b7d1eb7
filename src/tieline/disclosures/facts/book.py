"""All claims in one place, asked by figure, and the chain that they are held against.

Knows nothing of files or services: it is built from claims and never changes. Where several sources print
one figure, `best` answers with the best witness; the others stay beside it in `claims`. Two views of a
restated figure: `restated` takes the issuer's latest word, `printed` its first.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import groupby
from typing import Literal

from tieline.disclosures.comparison.chain import Chain, shipped_chain
from tieline.disclosures.facts import periods
from tieline.disclosures.facts.claims import KINDS, OWN_WORDS, Claim, figure_id

View = Literal["restated", "printed"]

_RANK = {kind: rank for rank, kind in enumerate(KINDS)}


class ClaimBook:
    """Claims by figure. Cheap to build (a pass over the claims), then read-only."""

    def __init__(self, claims: Iterable[Claim], chain: Chain | None = None) -> None:
        self.all: tuple[Claim, ...] = tuple(claims)
        self.chain = chain or shipped_chain()
        self._on: dict[Chain, ClaimBook] = {}
        grouped: dict[str, list[Claim]] = {}
        self._by_period: dict[tuple[str, str], list[Claim]] = {}
        unique: dict[str, Claim] = {}
        for claim in self.all:
            unique.setdefault(claim.id, claim)
        for claim in unique.values():
            grouped.setdefault(claim.figure, []).append(claim)
            self._by_period.setdefault((claim.subject, claim.fact.period), []).append(claim)
        self._by_figure = {name: tuple(sorted(claims, key=_witness)) for name, claims in grouped.items()}
        self._best: dict[tuple[str, View], Claim | None] = {}

    def as_of(self, moment: datetime) -> ClaimBook:
        """The book as it could be known at a moment."""
        return ClaimBook((claim for claim in self.all if claim.known_at <= moment), self.chain)

    def on(self, chain: Chain) -> ClaimBook:
        """The same claims held against another chain; asked again it is the same book."""
        if chain == self.chain:
            return self
        if chain not in self._on:
            other = self._on[chain] = copy(self)
            other.chain, other._on = chain, {}
        return self._on[chain]

    @property
    def issuers(self) -> tuple[str, ...]:
        return tuple(self._periods)

    def periods(self, issuer: str) -> tuple[str, ...]:
        return self._periods.get(issuer, ())

    def months(self, issuer: str) -> tuple[str, ...]:
        return tuple(filter(periods.is_month, self.periods(issuer)))

    @cached_property
    def _periods(self) -> dict[str, tuple[str, ...]]:
        by_issuer = groupby(sorted(self._by_period), key=lambda key: key[0])
        return {issuer: tuple(period for _, period in keys) for issuer, keys in by_issuer}

    def in_period(self, issuer: str, period: str) -> tuple[Claim, ...]:
        return tuple(self._by_period.get((issuer, period), ()))

    def claims(self, issuer: str, period: str, field: str, scope: str | None = None) -> tuple[Claim, ...]:
        """Every claim on one figure, best witness first."""
        return self.of(figure_id(issuer, period, field, scope))

    def of(self, figure: str) -> tuple[Claim, ...]:
        return self._by_figure.get(figure, ())

    def best(
        self, issuer: str, period: str, field: str, scope: str | None = None, view: View = "restated"
    ) -> Claim | None:
        """The figure's best claim: the best kind of source; among the issuer's own words the latest
        (view `restated`) or the first (view `printed`)."""
        asked = (figure_id(issuer, period, field, scope), view)
        if asked not in self._best:
            claims = self.of(asked[0])
            own = [claim for claim in claims if claim.source_kind in OWN_WORDS]
            by_date = sorted(own, key=lambda claim: (claim.published or "", -_RANK[claim.source_kind]))
            chosen = by_date[-1:] if view == "restated" else by_date[:1]
            self._best[asked] = next(iter(chosen or claims), None)
        return self._best[asked]


@dataclass(frozen=True)
class IssuerPeriod:
    """One issuer's period of a book: what checks and columns ask."""

    book: ClaimBook
    issuer: str
    period: str

    @property
    def all(self) -> tuple[Claim, ...]:
        return self.book.in_period(self.issuer, self.period)

    def best(self, field: str, scope: str | None = None) -> Claim | None:
        return self.book.best(self.issuer, self.period, field, scope)

    def printed(self, *fields: str) -> list[Claim]:
        """The best claims of these fields, where there is one."""
        return [claim for field in fields if (claim := self.best(field)) is not None]

    def pair(self, over: str, under: str) -> tuple[Claim, Claim] | None:
        """Two printed figures that can be divided; None where one is missing or the second is not above zero."""
        one, other = self.best(over), self.best(under)
        return None if one is None or other is None or other.value <= 0 else (one, other)

    def claims(self, field: str) -> tuple[Claim, ...]:
        return self.book.claims(self.issuer, self.period, field)

    @property
    def per_ehs(self) -> float | None:
        """Bitcoin of subsidy that one EH/s earned in the period; None where the chain is not known."""
        return self.book.chain.in_period(self.period)

    def at_end(self, field: str) -> Claim | None:
        """A point value at the end of a month or quarter, printed either for the period or for its last day."""
        return self.best(field) or self.end.best(field)

    def parts(self, field: str) -> list[Claim]:
        """The parts of a figure (sites, shares, lenders), by scope: the best claim of each."""
        named = sorted({claim.fact.scope for claim in self.all if claim.fact.field == field and claim.fact.scope})
        return [claim for scope in named if (claim := self.best(field, scope)) is not None]

    def at(self, period: str) -> IssuerPeriod:
        """The same issuer's other period."""
        return IssuerPeriod(self.book, self.issuer, period)

    @property
    def month(self) -> IssuerPeriod:
        """The month that a date lies in; a month itself."""
        return self.at(self.period[:7])

    @property
    def before(self) -> IssuerPeriod:
        """The month before this one, or before the one that a date lies in."""
        return self.at(periods.previous(self.period[:7]))

    @property
    def after(self) -> IssuerPeriod:
        """The month after."""
        return self.at(periods.following(self.period))

    @property
    def end(self) -> IssuerPeriod:
        """The last day."""
        return self.at(periods.last_day(self.period))

    @property
    def quarter(self) -> IssuerPeriod:
        """The quarter that a month or a date lies in."""
        return self.at(periods.quarter_of(self.period[:7]))

    @property
    def months(self) -> list[IssuerPeriod]:
        """The three months of a quarter."""
        return [self.at(month) for month in periods.months_of(self.period)]


def _witness(claim: Claim) -> tuple[int, str, str]:
    published = claim.published or "9999"
    # Of a document whose day is not known it is not known that it came first: it counts from its month's end.
    return _RANK[claim.source_kind], published if len(published) == 10 else f"{published}-99", claim.source

"""From a document to claims: what was read, with its source, date and the hash of the text it points into.

Pure. The document's text is not kept in the claim: a span is found again by reading the same document, and the
hash says whether it is the same. Facts without an issuer are left out: whose they are is not known.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tieline.disclosures.facts.claims import Claim, SourceKind
from tieline.disclosures.facts.desk import WaitingCandidate
from tieline.disclosures.facts.fact import DocumentReading
from tieline.disclosures.xbrl import Tagged


@dataclass(frozen=True)
class Origin:
    """Where a document is from, when it came out and when it was known here.

    Without a `kind` the text says it: `issuer_release_copy` where the issuer speaks, else `news_of_release`.
    """

    source: str
    kind: SourceKind | None
    published: str | None
    known_at: datetime

    def witness(self, reading: DocumentReading) -> dict[str, Any]:
        """What all figures of one text share: who speaks, when it came out and was known, and the hash of the text."""
        return {
            "source": self.source,
            "source_kind": self.kind or ("issuer_release_copy" if reading.own_words else "news_of_release"),
            "published": reading.published or self.published,
            "known_at": self.known_at,
            "document": hashlib.sha256(reading.text.encode()).hexdigest(),
        }


def claims_of(reading: DocumentReading, origin: Origin, *, candidates: bool = False) -> list[Claim]:
    """Claims of a reading; `candidates`: with what is not proven, to hold one text against the book. Such claims are
    never kept."""
    witness = origin.witness(reading)
    facts = (*reading.facts, *(c.fact for c in reading.candidates if candidates))
    return [Claim(fact=fact, **witness) for fact in facts if fact.issuer is not None]


def waiting_of(reading: DocumentReading, origin: Origin) -> list[WaitingCandidate]:
    """The reading's candidates as they wait on the desk."""
    witness = origin.witness(reading)
    return [WaitingCandidate(candidate=c, **witness) for c in reading.candidates if c.fact.issuer is not None]


def claims_of_tagged(
    tagged: Tagged, source: str, kind: SourceKind, published: str | None, known_at: datetime
) -> list[Claim]:
    """Claims of tagged facts, each dated by its own filing where the file says."""
    return [
        Claim(fact=fact, source=source, source_kind=kind, published=filed or published, known_at=known_at)
        for fact, filed in zip(tagged.facts, tagged.filed, strict=True)
    ]

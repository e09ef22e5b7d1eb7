"""From a document to claims: what was read, with its source, date and the hash of the text it points into.

Pure. The document's text is not kept in the claim: a span is found again by reading the same document, and the
hash says whether it is the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime

from tieline.disclosures.claims import Claim, SourceKind
from tieline.disclosures.fact import Fact, Reading
from tieline.disclosures.xbrl import Tagged


def claims_of(
    reading: Reading, source: str, kind: SourceKind, published: str | None, known_at: datetime
) -> list[Claim]:
    """Claims of a reading; facts without an issuer are left out (whose they are is not known)."""
    digest = hashlib.sha256(reading.text.encode()).hexdigest()
    return _claims(reading.facts, source, kind, reading.published or published, known_at, digest)


def claims_of_tagged(
    tagged: Tagged, source: str, kind: SourceKind, published: str | None, known_at: datetime
) -> list[Claim]:
    """Claims of tagged facts, each dated by its own filing where the file says."""
    found: list[Claim] = []
    for fact, filed in zip(tagged.facts, tagged.filed, strict=True):
        found.extend(_claims([fact], source, kind, filed or published, known_at, None))
    return found


def _claims(
    facts: Iterable[Fact],
    source: str,
    kind: SourceKind,
    published: str | None,
    known_at: datetime,
    document: str | None,
) -> list[Claim]:
    return [
        Claim(
            fact=fact,
            source=source,
            source_kind=kind,
            published=published,
            known_at=known_at,
            document=document,
        )
        for fact in facts
        if fact.issuer is not None
    ]

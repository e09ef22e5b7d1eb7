"""Books written the way facts are typed in: one document, its periods, its figures."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tieline.disclosures.facts.book import ClaimBook, View
from tieline.disclosures.facts.claims import Claim
from tieline.disclosures.facts.shipped import parse

Typed = Callable[..., list[Claim]]


def typed_claims(issuer: str, facts: dict[str, dict[str, Any]], **document: Any) -> list[Claim]:
    lines = ["[[document]]", f'issuer = "{issuer}"']
    told = {"source": f"{issuer} release", "kind": "issuer", "published": "2025-12-01", **document}
    for name, value in told.items():
        lines.append(f"{name} = {value!r}" if not isinstance(value, str) else f'{name} = "{value}"')
    lines.append("[document.facts]")
    for period, figures in facts.items():
        inside = ", ".join(f'"{name}" = {value}' for name, value in figures.items())
        lines.append(f'"{period}" = {{ {inside} }}')
    return list(parse("\n".join(lines), "test.toml"))


def value_of(book: ClaimBook, issuer: str, period: str, field: str, view: View = "restated") -> Decimal | None:
    """What the book's best witness prints."""
    claim = book.best(issuer, period, field, view=view)
    return None if claim is None else claim.value


@pytest.fixture
def typed() -> Typed:
    return typed_claims


@pytest.fixture
def book_of() -> Callable[..., ClaimBook]:
    """`book_of("X", {"2025-01": {"btc_produced": 310}})`"""

    def make(issuer: str, facts: dict[str, dict[str, Any]], **document: Any) -> ClaimBook:
        return ClaimBook(typed_claims(issuer, facts, **document))

    return make

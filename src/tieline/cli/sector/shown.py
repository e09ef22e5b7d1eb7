"""How `tieline disclosures read` shows one reading: facts, candidates with what they lack, and the book beside them."""

from __future__ import annotations

from typing import Any

import click

from tieline.disclosures.facts.desk import Agreement
from tieline.disclosures.facts.fact import DocumentReading, Fact
from tieline.disclosures.facts.keep import AppendResult


def show_reading(reading: DocumentReading, held: Agreement) -> None:
    for fact in reading.facts:
        _line("", fact)
    for candidate in reading.candidates:
        _line("candidate: ", candidate.fact)
        click.echo(f"       missing {', '.join(candidate.missing)}: {candidate.why}")
    for note in reading.notes:
        click.echo(f"note: {note}")
    if reading.facts or reading.candidates:
        click.echo(f"against the book: {held.says()}")
        for line in held.differ:
            click.echo(f"  differs: {line}")


def _line(lead: str, fact: Fact) -> None:
    scope = f" ({fact.scope})" if fact.scope else ""
    click.echo(f"{lead}{fact.issuer or '?':6} {fact.period:10} {fact.field}{scope} = {fact.value:,f} {fact.unit}")
    click.echo(f"       {fact.span or ''} {' '.join(fact.quote.split())[:100]}")


def reading_json(
    reading: DocumentReading, source: str, held: Agreement, appended: AppendResult | None, desk: int
) -> dict[str, Any]:
    return {
        "source": source,
        "issuer": reading.issuer,
        "period": reading.period,
        "published": reading.published,
        "kind": reading.kind,
        "own_words": reading.own_words,
        "refused": reading.refused,
        "notes": reading.notes,
        "facts": reading.facts,
        "candidates": reading.candidates,
        "against_the_book": {"says": held.says(), "agree": held.agree, "differ": held.differ, "new": held.new},
        "kept": appended,
        "new_on_the_desk": desk,
    }

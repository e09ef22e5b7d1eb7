"""Does a quote print the value? The last check before a fact leaves the reader, whoever found it.

Knows nothing of layouts or fields. A value is supported where a number of the quote, in its own unit and scale,
equals it; a zero by a dash or by words that say that nothing was sold; a sum by its printed parts.
"""

from __future__ import annotations

import re
from decimal import Decimal

from tieline.disclosures.facts.fact import Fact
from tieline.disclosures.facts.fields import SIGNED
from tieline.disclosures.lexicon.numbers import STYLES, exact, quantities, to_decimal
from tieline.disclosures.lexicon.printed import WORDS

_FACTORS = (Decimal(1), Decimal(1000), Decimal("0.001"), Decimal("0.01"), Decimal(10) ** 6)


def supports(fact: Fact) -> bool:
    """Is the fact's number literally in its quote?"""
    if not fact.printed or fact.printed not in fact.quote:
        return fact.method == "sum" and _sums(fact)
    if fact.value == 0 and not re.search(r"\d", fact.printed):
        return True
    if fact.printed.lower() in WORDS:
        return Decimal(WORDS[fact.printed.lower()]) == fact.value
    size = abs(fact.value) if fact.field in SIGNED else fact.value
    for style in STYLES:
        for q in quantities(fact.quote, 0, len(fact.quote), style):
            if any(exact(q.value * f) == size for f in _FACTORS):
                return True
        plain = to_decimal(fact.printed, style)
        if plain is not None and any(plain.scaleb(k) == size for k in (0, 3, 4, 6, 8, 9, -3, -2)):
            return True
    return False


def _sums(fact: Fact) -> bool:
    parts = [p.strip() for p in fact.printed.split("+")]
    if len(parts) < 2 or not all(p in fact.quote for p in parts):
        return False
    numbers = [to_decimal(p, "english") for p in parts]
    return all(n is not None for n in numbers) and sum((n for n in numbers if n is not None), Decimal(0)) == fact.value

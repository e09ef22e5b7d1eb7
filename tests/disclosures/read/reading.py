"""Everything that a text gives, proven or not: what the tests of finding ask for. Facts have tests of their own."""

from __future__ import annotations

from typing import Any

import msgspec

from tieline.disclosures.facts.fact import DocumentReading
from tieline.disclosures.read import read as read_release


def read(source: str | bytes, **told: Any) -> DocumentReading:
    """A reading whose `facts` are its facts and its candidates; readings that contradict one another are left out."""
    reading = read_release(source, **told)
    loose = [c.fact for c in reading.candidates if not c.why.startswith("the text prints")]
    refused = reading.refused or ("no production or treasury figure" if not (reading.facts or loose) else None)
    return msgspec.structs.replace(reading, facts=(*reading.facts, *loose), candidates=(), refused=refused)

"""Releases of our own, and recorded excerpts of real ones: nothing wrong, nine tenths found, each within its time."""

import json
import time
from decimal import Decimal
from pathlib import Path

from tests.disclosures.read.own import RELEASES
from tests.disclosures.read.reading import read

SLOW_S = 0.5
"""Ten times the aim of 50 ms, which the benchmark measures on a quiet machine."""


def test_examples(more_data: Path | None) -> None:
    examples = list(RELEASES)
    if more_data is not None:
        lines = (more_data / "disclosures" / "peer_examples.jsonl").read_text(encoding="utf-8").splitlines()
        assert len(lines) >= 33
        examples += map(json.loads, lines)
    correct, wrong, missing = 0, [], []
    for example in examples:
        begin = time.process_time()
        reading = read(example["raw"], issuer=example["ticker"], published=example["published"])
        assert time.process_time() - begin < SLOW_S, example["id"]
        got = {(f.period, f.field): f for f in reading.facts if f.scope is None}
        for period, fields in example["expected"].items():
            for field, value in fields.items():
                fact = got.get((period, value if field == "restated" else field))
                if fact is None or (field == "restated" and not fact.restated):
                    missing.append((example["id"], period, field))
                elif field != "restated" and fact.value != Decimal(str(value)):
                    wrong.append((example["id"], period, field, value, fact.value))
                else:
                    correct += 1
    assert wrong == []
    assert correct >= 0.9 * (correct + len(missing)), missing

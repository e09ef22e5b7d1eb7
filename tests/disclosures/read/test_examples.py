"""The recorded excerpts of real releases: nothing wrong, nine tenths found, each within its time."""

import json
import time
from decimal import Decimal
from pathlib import Path

from tests.disclosures.read.reading import read

SLOW_S = 0.5
"""Ten times the aim of 50 ms, which the benchmark measures on a quiet machine."""


def test_examples(shared_data: Path) -> None:
    lines = (shared_data / "disclosures" / "peer_examples.jsonl").read_text(encoding="utf-8").splitlines()
    correct, wrong, missing = 0, [], []
    for example in map(json.loads, lines):
        begin = time.perf_counter()
        reading = read(example["raw"], issuer=example["ticker"], published=example["published"])
        assert time.perf_counter() - begin < SLOW_S, example["id"]
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
    assert len(lines) >= 33
    assert wrong == []
    assert correct >= 0.9 * (correct + len(missing)), missing

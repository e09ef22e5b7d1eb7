"""A sample of `make poison`: records made from the types, and mutated messages, against a platform started for real."""

from pathlib import Path

import pytest
from fuzz import poison

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]


def test_poison_takes_no_part_down_and_moves_no_clock(tmp_path: Path) -> None:
    found = poison.run(tmp_path, seed=8, items=1_000, messages=150, settle_s=3.0, answer_s=10.0)
    assert found.broken == []
    assert found.counts["set aside"] > 100  # the items were evil enough to be turned away
    assert found.counts["stored or known"] > 100  # and good enough to be worked with

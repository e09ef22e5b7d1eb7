"""The structure keeps its limits: `make house` prints the same, `tools/house.py --list` names what is counted."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def house() -> ModuleType:
    spec = importlib.util.spec_from_file_location("house", ROOT / "tools" / "house.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["house"] = module
    spec.loader.exec_module(module)
    return module


def test_every_measure_keeps_its_limit(house: ModuleType) -> None:
    over = {name: items for name, items in house.measures().items() if len(items) > house.LIMITS[name]}
    assert not over, "\n".join(f"{name}: at most {house.LIMITS[name]}\n  " + "\n  ".join(over[name]) for name in over)


def test_a_circle_is_found_and_a_chain_is_none(house: ModuleType) -> None:
    assert house.circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert house.circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a, b, c"]


def test_paths_are_counted_as_they_are_written(house: ModuleType) -> None:
    import ast

    (node,) = ast.parse("def f(x):\n    if x and x > 1:\n        return [y for y in x if y]\n    return 0\n").body
    assert house.complexity(node) == 5  # itself, if, and, comprehension, its condition

"""The journeys of `docs/architecture.md` walk through files and functions that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
STEPS = sorted(set(re.findall(r"`([a-z_0-9/]+\.py):([A-Za-z_.]+)`", PAGE)))


def defined(path: Path) -> set[str]:
    """Functions, classes and methods (Class.method) of a file."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            inner = (n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
            names |= {f"{node.name}.{n.name}" for n in inner}
    return names


def test_it_walks_five_journeys() -> None:
    assert len(re.findall(r"^## \d\. ", PAGE, flags=re.M)) == 5
    assert len(STEPS) > 30


@pytest.mark.parametrize(("path", "name"), STEPS)
def test_each_step_is_there(path: str, name: str) -> None:
    assert name in defined(ROOT / "src" / "tieline" / path)


def test_every_room_stands_on_a_floor_of_the_page() -> None:
    rooms = {p.name for p in (ROOT / "src" / "tieline").iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    named = set(re.findall(r"`([a-z]+)`", PAGE.split("## The floors")[1].split("## 1.")[0]))
    assert rooms <= named

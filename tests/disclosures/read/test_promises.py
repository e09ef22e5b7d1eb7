"""Whatever comes in: no exception, spans in bounds, quotes that match, values that stand in them."""

import importlib.util
import random
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.disclosures.read.reading import read

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_disclosures", ROOT / "fuzz" / "disclosures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WORDS = st.sampled_from(
    [
        "Bitcoin",
        "produced",
        "mined",
        "held",
        "sold",
        "BTC",
        "EH/s",
        "PH/s",
        "463",
        "19,2113",
        "(18.0)",
        "-",
        "N/A",
        "$38.8 million",
        "3.7c/kWh",
        "21.0 J/TH",
        "|",
        "\n",
        ":",
        "May 2025",
        "June 30, 2024",
        "Q1 2026",
        "Average operating hashrate",
        "per day",
        "比特币",
        "产量",
        "2025年7月",
        "%",
        "+5%",
        "from",
        "to",
        "compared",
        "respectively",
        "<td>",
        "</tr>",
        "<table>",
        "fair value",
    ]
)


@settings(max_examples=120, deadline=None)
@given(st.lists(WORDS, max_size=60))
def test_promises_hold_on_shuffled_words(fuzz: ModuleType, words: list[str]) -> None:
    assert fuzz.broken(" ".join(words)) is None


@settings(max_examples=80, deadline=None)
@given(st.one_of(st.text(max_size=300), st.binary(max_size=300)))
def test_promises_hold_on_anything(fuzz: ModuleType, source: str | bytes) -> None:
    assert fuzz.broken(source) is None


@pytest.mark.parametrize("seed", range(4))
def test_promises_hold_on_mutated_releases(fuzz: ModuleType, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(25):
        assert fuzz.broken(fuzz.mutate(rng)) is None


@settings(max_examples=60, deadline=None)
@given(
    produced=st.integers(1, 2000),
    held=st.integers(1, 60000),
    style=st.sampled_from(["sentence", "bars", "lines", "pairs"]),
)
def test_what_is_printed_is_what_is_read(produced: int, held: int, style: str) -> None:
    text = {
        "sentence": f"In May 2025 the company mined {produced:,} BTC and held {held:,} BTC as of May 31, 2025.",
        "bars": f"Metric | May 2025 |\nBitcoin Produced | {produced:,} |\nBitcoin Held | {held:,} |\n",
        "lines": f"Metric\nMay 2025\nBitcoin Produced\n{produced:,}\nBitcoin Held\n{held:,}\n",
        "pairs": f"May 2025 update\nBitcoin Produced: {produced:,}\nBitcoin Held: {held:,}\n",
    }[style]
    got = {f.field: int(f.value) for f in read(text, published="2025-06-04").facts}
    assert got == {"btc_produced": produced, "btc_held_end": held}


def test_reading_twice_gives_the_same() -> None:
    text = "In May 2025 the company mined 514 BTC, up from 463 BTC in April 2025."
    assert read(text) == read(text)

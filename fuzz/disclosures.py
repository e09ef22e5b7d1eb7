"""Fuzz the reader: whatever comes in, it answers, its spans hold, and each value stands in its quote.

    python fuzz/disclosures.py [seconds] [seed]

Cuts, glues, repeats and garbles releases made here, wraps them as HTML, JSON or bytes, and adds noise. Prints the
smallest input that broke a promise and exits 1; a run with the same seed repeats it.
"""

from __future__ import annotations

import random
import sys
import time

from tieline.disclosures.extract.evidence import supports
from tieline.disclosures.facts.fields import FIELDS
from tieline.disclosures.read import read

SECONDS = 20.0
SLOW_S = 5.0
"""One input may not take longer, whatever it holds: 100,000 characters of noise take well under a second."""

SEEDS = (
    "Bitcoin Produced\n463\n533\n375\n-13 %\n23 %\nBitcoin Held 2\n19,2113\n19,223\n8,872\n0 %\n117 %\n",
    "Metric | June 2025 | May 2025 |\nBitcoin mined1 | 450 BTC | 463 BTC |\nBitcoin sold | - | (12.5) |\n",
    "MetricJuly 2023June 2023July 2022 Month/MonthYear/Year\nBitcoin Produced410460318 -11%29%\n",
    "In May 2025 the company produced 950 BTC, up from 705 BTC in April, and held 49,179 BTC as of May 31, 2025. ",
    "It sold 445 coins for approximately $48.7 million at an average of $109,568 per BTC (vs 32 BTC in Mar 2025). ",
    "Im Juli 2025 wurden 1.234,5 BTC geschürft; die installierte Hashrate lag bei 3,1 EH/s. ",
    "2025年7月,公司共生产650.5枚比特币,截至7月31日持有4,529.7枚比特币。",
    "Balance as of December 31, 2023 $ 388,510\nNumber of Bitcoin held as of June 30, 2024 9,102\n",
    "<table><tr><td>Deployed hashrate</td><td>50 EH/s</td><td></td></tr></table><p>fair value</p>",
    '{"content":{"rendered":"<p>Bitcoin mined: 12 BTC in June 2025<\\/p>"}}',
)
NOISE = "0123456789,.$%()|-*\n\t <>&;:'\"/\\{}[]¹²³\u00a0\u200b枚比特币EH/sBTC年月日N/A\x00\ud7ff😀"


def mutate(rng: random.Random) -> str:
    """A release, or what is left of one."""
    text = "".join(rng.choice(SEEDS) for _ in range(rng.randint(1, 6)))
    for _ in range(rng.randint(0, 12)):
        at = rng.randrange(len(text) + 1)
        until = min(len(text), at + rng.randint(0, 40))
        match rng.randrange(6):
            case 0:
                text = text[:at] + text[until:]
            case 1:
                text = text[:at] + "".join(rng.choice(NOISE) for _ in range(rng.randint(1, 12))) + text[at:]
            case 2:
                text = text[:until] + text[at:until] * rng.randint(1, 30) + text[until:]
            case 3:
                text = text[at:] + text[:at]
            case 4:
                text = text.replace(" ", rng.choice(["", "\n", "  ", " | ", "\u00a0"]), rng.randint(1, 20))
            case _:
                text = text.replace("\n", rng.choice(["", " ", "<br>", "|"]), rng.randint(1, 20))
    return text[:100_000]


def broken(source: str | bytes) -> str | None:
    """The promise that this input breaks; None where all hold."""
    begin = time.monotonic()
    try:
        reading = read(source, published="2025-07-05")
    except Exception as error:
        return f"raised {type(error).__name__}: {error}"
    if time.monotonic() - begin > SLOW_S:
        return f"took {time.monotonic() - begin:.1f} s"
    if reading.refused is not None and reading.facts:
        return "refused, yet gave facts"
    for fact in reading.facts:
        if fact.span is None or not 0 <= fact.span[0] < fact.span[1] <= len(reading.text):
            return f"span {fact.span} outside the text: {fact}"
        if reading.text[slice(*fact.span)] != fact.quote:
            return f"quote is not the span: {fact}"
        if not supports(fact):
            return f"value not in the quote: {fact}"
        if fact.field not in FIELDS or not fact.value.is_finite() or fact.value < 0:
            return f"no value for the field: {fact}"
    return None


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    rng = random.Random(seed)
    end = time.monotonic() + seconds
    runs = 0
    while time.monotonic() < end:
        source: str | bytes = mutate(rng)
        if rng.random() < 0.2:
            source = source.encode("utf-8", errors="replace")
            if rng.random() < 0.3:
                source = bytes(b ^ (rng.randrange(256) if rng.random() < 0.02 else 0) for b in source)
        reason = broken(source)
        runs += 1
        if reason is not None:
            print(f"run {runs} of seed {seed}: {reason}\n{source!r}")
            return 1
    print(f"{runs} inputs in {seconds:.0f} s, seed {seed}: every promise held")
    return 0


if __name__ == "__main__":
    sys.exit(main())

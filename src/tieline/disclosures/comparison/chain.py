"""What the chain says a hashrate earns: difficulty and subsidy since 2021.

The shipped file holds the target of every epoch of 2,016 blocks as typed-in facts (Electrum's checkpoints).
Difficulty is 0xffff x 2**208 / target. Start times are reconstructed: an epoch lasts 2,016 x 600 s x next
target / own target x 2,016/2,015 (the rule that sets the next target, read backwards; it counts 2,015
intervals), anchored at block 921,775. Against observed first blocks of 2023 the chain is off by at most one
hour; an hour moves a month's expected bitcoin by under 0.02 %, since only the step in difficulty counts.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from tieline.disclosures.data import shipped_text
from tieline.disclosures.facts import periods
from tieline.economics import BLOCKS_PER_EPOCH, Epoch, difficulty_of_target, expected_btc, subsidy_btc
from tieline.units import Hashrate

# Block 921,775 carries the time 2025-11-01T17:02:45Z in its header.
ANCHOR_HEIGHT, ANCHOR_TIME = 921_775, datetime.fromtimestamp(1_762_016_765, UTC)
# The fourth halving, block 840,000.
HALVING_HEIGHT, HALVING_TIME = 840_000, datetime(2024, 4, 20, 0, 9, 27, tzinfo=UTC)
_NOMINAL = timedelta(seconds=600 * BLOCKS_PER_EPOCH)
# The rule that sets the next target counts one interval too few.
_INTERVALS = BLOCKS_PER_EPOCH / (BLOCKS_PER_EPOCH - 1)


@dataclass(frozen=True)
class Chain:
    """Epochs in order, and the moment up to which they are known."""

    epochs: tuple[Epoch, ...]
    until: datetime

    def subsidy_per_ehs(self, start: datetime, end: datetime) -> float | None:
        """Bitcoin that one EH/s is expected to earn from subsidy alone; None outside the known epochs."""
        around = self._around(start, end)
        return expected_btc(Hashrate.eh(1), around, start, end) if around else None

    def blocks_per_ehs(self, start: datetime, end: datetime) -> float | None:
        """Blocks that one EH/s is expected to find: the difficulty's part, without the subsidy."""
        around = [Epoch(epoch.start, epoch.difficulty, 1.0) for epoch in self._around(start, end)]
        return expected_btc(Hashrate.eh(1), around, start, end) if around else None

    def in_period(self, period: str) -> float | None:
        return self.subsidy_per_ehs(*periods.window(period))

    def _around(self, start: datetime, end: datetime) -> Sequence[Epoch]:
        """The epochs that [start, end) lies in; none where they do not cover it or it is empty."""
        if end <= start or not self.epochs or start < self.epochs[0].start or self.until < end:
            return ()
        first = bisect_right(self.epochs, start, key=lambda epoch: epoch.start) - 1
        last = bisect_right(self.epochs, end, key=lambda epoch: epoch.start)
        return self.epochs[first:last]


@cache
def shipped_chain() -> Chain:
    return from_bits(_rows(shipped_text("difficulty.csv")))


def extended(text: str) -> Chain:
    """The shipped series and later epochs, as lines `height,bits` in the same shape. Raises ValueError."""
    return from_bits(sorted(dict([*_rows(shipped_text("difficulty.csv")), *_rows(text)]).items()))


class Heard(NamedTuple):
    """What a feed told of the network: at a time, a block's height and the difficulty then."""

    at: datetime
    height: int
    difficulty: float


def heard_since(chain: Chain, ticks: Iterable[Heard]) -> Chain:
    """The chain and the epochs after it that a feed was heard in, without a gap; the chain itself where none follows.

    An epoch's start is reckoned from its earliest tick at ten minutes a block, so it is off by some hours where the
    first tick came late; the answer ends with the last tick.
    """
    known = [tick for tick in ticks if tick.at >= chain.epochs[-1].start and tick.difficulty > 0]
    known.sort(key=lambda tick: tick.at, reverse=True)
    earliest = {tick.height // BLOCKS_PER_EPOCH: tick for tick in known}
    epochs = list(chain.epochs)
    number = max(height for height, _ in _rows(shipped_text("difficulty.csv"))) // BLOCKS_PER_EPOCH + 1
    while (tick := earliest.get(number)) is not None:
        into = timedelta(seconds=600 * (tick.height - number * BLOCKS_PER_EPOCH))
        start = max(tick.at - into, epochs[-1].start + timedelta(days=1))
        epochs.append(Epoch(start, tick.difficulty, subsidy_btc(number * BLOCKS_PER_EPOCH)))
        number += 1
    if len(epochs) == len(chain.epochs):
        return chain
    last = known[0]
    return Chain(tuple(epochs), last.at if last.height // BLOCKS_PER_EPOCH == number - 1 else epochs[-1].start)


def _rows(text: str) -> Iterator[tuple[int, int]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#") or line.strip() == "height,bits":
            continue
        match = re.fullmatch(r"\s*(\d{1,9})\s*,\s*([0-9a-fA-F]{8})\s*", line)
        if match is None:
            what = "is no epoch; write its first height and bits: 953568,170280a4"
            raise ValueError(f"line {number}: {line[:60]!r} {what}")
        yield int(match[1]), int(match[2], 16)


def from_bits(rows: Iterable[tuple[int, int]]) -> Chain:
    """A chain from (first height, compact target) of consecutive epochs, which must include the anchor."""
    known = list(rows)
    heights = [height for height, _ in known]
    if not known or heights != list(range(heights[0], heights[-1] + 1, BLOCKS_PER_EPOCH)):
        raise ValueError("difficulty epochs must be consecutive, 2,016 blocks apart, and not empty")
    if not heights[0] <= ANCHOR_HEIGHT < heights[-1] + BLOCKS_PER_EPOCH:
        raise ValueError(f"difficulty epochs must include block {ANCHOR_HEIGHT:,}, whose time is known")
    targets = [_target(bits) for _, bits in known]
    for height, (own, after) in zip(heights[1:], pairwise(targets), strict=True):
        # A step is by four at most; the header's form keeps three bytes of a target, so four is not exact.
        if not own < 5 * after < 25 * own:
            raise ValueError(f"the step in difficulty at block {height:,} is more than four times; check its bits")
    # The last epoch's length is not known yet: it is taken as the protocol's aim of two weeks.
    lengths = [_NOMINAL * (after / own) * _INTERVALS for own, after in pairwise(targets)] + [_NOMINAL]
    anchor, into = divmod(ANCHOR_HEIGHT - heights[0], BLOCKS_PER_EPOCH)
    start = ANCHOR_TIME - lengths[anchor] * (into / BLOCKS_PER_EPOCH) - sum(lengths[:anchor], timedelta())
    epochs: list[Epoch] = []
    for height, target, length in zip(heights, targets, lengths, strict=True):
        difficulty = difficulty_of_target(target)
        epochs.append(Epoch(start, difficulty, subsidy_btc(height)))
        if height < HALVING_HEIGHT < height + BLOCKS_PER_EPOCH:
            epochs.append(Epoch(HALVING_TIME, difficulty, subsidy_btc(HALVING_HEIGHT)))
        start += length
    return Chain(tuple(epochs), start)


def _target(bits: int) -> int:
    """The target of a header's compact form: one byte of exponent, three of mantissa."""
    exponent, mantissa = bits >> 24, bits & 0x7FFFFF
    if exponent < 3 or mantissa == 0:
        raise ValueError(f"compact target {bits:08x} is not one that a block can have")
    return mantissa << (8 * (exponent - 3))

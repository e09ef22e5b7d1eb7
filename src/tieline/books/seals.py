"""Seals over the chain of entries: what was booked and sealed cannot change unseen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from tieline.records import Seal

# Hex digits that are kept of each entry's digest: 48 bits, one chance in 2.8e14 that a change goes unseen.
SEALED = 12
# Digests in one record: about 300 KB, well under what the link carries.
AT_ONCE = 20_000


class Altered(ValueError):  # noqa: N818 - what it says is that an entry was
    """The entry at `number` (from 0) is not what was sealed."""

    def __init__(self, number: int, why: str = "was altered, or one before it") -> None:
        self.number = number
        super().__init__(why)


def unsealed(digests: Callable[[int], Iterable[str]], seals: Sequence[Seal]) -> Iterator[tuple[int, list[str]]]:
    """(number of the first, digests) of what no seal covers yet, in pieces; `digests` gives those from a number on.
    Each is over all before it, so that the last one sealed stands for them. Raises Altered where it is another."""
    last = max(seals, key=lambda one: one.first, default=None)
    first = 0 if last is None else last.first + len(last.digests)
    lasting = iter(digests(max(0, first - 1)))
    if last is not None and last.digests and next(lasting, "")[:SEALED] != last.digests[-1]:
        raise Altered(first - 1)
    while piece := [digest[:SEALED] for digest in islice(lasting, AT_ONCE)]:
        yield first, piece
        first += len(piece)


def sealed(digests: Sequence[str], seals: Sequence[Seal]) -> int:
    """How many entries are sealed, each compared. Raises Altered for the first that differs or is gone."""
    count = 0
    for seal in sorted(seals, key=lambda one: one.first):
        for number, digest in enumerate(seal.digests, seal.first):
            if number >= len(digests) or digests[number][:SEALED] != digest:
                raise Altered(number)
        count = max(count, seal.first + len(seal.digests))
    return count

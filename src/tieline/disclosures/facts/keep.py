"""Where claims are kept beside the shipped ones, and the book of them all.

A claim is appended and never changed; a restatement is a further claim. Appending the same claim twice keeps it once,
with the first `known_at`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from tieline.disclosures.facts.book import ClaimBook
from tieline.disclosures.facts.claims import Claim, checked
from tieline.disclosures.facts.desk import CandidateFile, path_beside
from tieline.disclosures.facts.lines import MAX_BYTES, KeepError, LineFile
from tieline.disclosures.facts.shipped import shipped

# One document has tens of facts, a roundup hundreds; a whole history is imported in pieces of this size.
MAX_BATCH = 20_000


class AppendResult(msgspec.Struct, frozen=True):
    """What an append did."""

    new: int
    already: int


class FileKeeper(LineFile[Claim]):
    """The kept claims of one file."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        super().__init__(path, Claim, max_bytes, checked)

    def append(self, claims: Iterable[Claim]) -> AppendResult:
        batch = list(claims)
        if len(batch) > MAX_BATCH:
            raise KeepError(f"{len(batch):,} claims at once, more than {MAX_BATCH:,}; keep them in pieces")
        # Checked at the door: what could not be read back is not kept.
        for claim in batch:
            try:
                checked(claim)
            except ValueError as error:
                raise KeepError(f"{claim.figure}: {error}") from error
        first = {claim.id: claim for claim in reversed(batch)}

        def unknown(kept: list[Claim]) -> Iterable[Claim]:
            known = {claim.id for claim in kept}
            return [claim for name, claim in reversed(first.items()) if name not in known]

        new = self.add(unknown) if batch else 0
        return AppendResult(new, len(batch) - new)

    def claims(self) -> tuple[Claim, ...]:
        return tuple(self.read())


def book(keeper: FileKeeper | None = None, desk: CandidateFile | None = None) -> ClaimBook:
    """The shipped facts, what was kept and what the desk accepted, as one book, without what was withdrawn.

    The desk is the one beside the keeper's file, unless another is given.
    """
    if keeper is None:
        return shipped()
    claims = keeper.claims()
    desk = desk or CandidateFile(path_beside(keeper.path))
    return desk.book((*shipped().all, *claims)) if claims or desk.state() is not None else shipped()


class LiveBook:
    """`book` of a file, built anew only when the file has changed: what a page that is asked often calls.

    The same book is the same object, so whatever is cached by book stays cached.
    """

    def __init__(self, path: Path) -> None:
        self._keeper = FileKeeper(path)
        self.desk = CandidateFile(path_beside(path))
        self._built: tuple[object, ClaimBook] | None = None

    def __call__(self) -> ClaimBook:
        """Raises KeepError where the file cannot be read."""
        both = (self._keeper.state(), self.desk.state())
        if self._built is None or self._built[0] != both:
            self._built = (both, book(self._keeper, self.desk))
        return self._built[1]

"""The desk: candidates that wait for a person, and every decision with who, when and why.

One append-only file beside the kept facts. A decision is a record and changes nothing that was written before: what is
accepted or corrected becomes a claim with the person as its voice; what is rejected leaves the list; what is withdrawn,
kept or shipped, leaves every rank, sum and check with the next answer, and comes back when it is restored.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal

import msgspec

from tieline.disclosures.facts.book import ClaimBook
from tieline.disclosures.facts.claims import Claim, SourceKind, slack_of
from tieline.disclosures.facts.fact import Candidate, Fact
from tieline.disclosures.terms import unit_of

Action = Literal["accept", "correct", "reject", "withdraw", "restore"]
MAX_BYTES = 64 * 2**20
MAX_REASON = 2_000


class DeskError(ValueError):
    """A decision that cannot be taken; the message says what to do."""


class WaitingCandidate(msgspec.Struct, frozen=True, kw_only=True, tag="candidate"):
    """One candidate of one document."""

    candidate: Candidate
    source: str
    source_kind: SourceKind
    published: str | None
    known_at: datetime
    document: str | None = None

    @property
    def id(self) -> str:
        return self.claim().id

    def claim(self, fact: Fact | None = None, note: str | None = None) -> Claim:
        """The claim that it becomes where a person accepts it."""
        return Claim(
            fact=fact or self.candidate.fact, source=self.source, source_kind=self.source_kind,
            published=self.published, known_at=self.known_at, document=self.document, note=note,
        )  # fmt: skip


class CandidateDecision(msgspec.Struct, frozen=True, kw_only=True, tag="decision"):
    """What a person decided on a candidate or on a claim of the book."""

    at: datetime
    who: str
    action: Action
    target: str
    """The candidate's or the claim's id."""
    reason: str = ""
    claim: Claim | None = None
    """What an accepted or corrected candidate became."""


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """What a correction puts in place of what was read; None leaves it."""

    value: Decimal | None = None
    period: str | None = None
    field: str | None = None


class CandidateFile:
    """One file of candidates and decisions. Several processes may write; each sees the others' records."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, waiting: Iterable[WaitingCandidate]) -> int:
        """Candidates not yet on the desk are put there; how many were new."""
        with self._locked() as known:
            seen = {w.id for w in known if isinstance(w, WaitingCandidate)}
            new = {w.id: w for w in waiting if w.candidate.fact.issuer is not None and w.id not in seen}
            self._write(new.values())
        return len(new)

    def waiting(self) -> tuple[WaitingCandidate, ...]:
        """Candidates that nobody has decided on, newest document first."""
        records = self._records()
        settled = {
            d.target
            for d in records
            if isinstance(d, CandidateDecision) and d.action in ("accept", "correct", "reject")
        }
        settled -= {d.target for d in _last(records).values() if d.action == "restore"}
        left = [w for w in records if isinstance(w, WaitingCandidate) and w.id not in settled]
        return tuple(sorted(left, key=lambda w: (w.published or "", w.candidate.fact.period), reverse=True))

    def decisions(self) -> tuple[CandidateDecision, ...]:
        return tuple(d for d in self._records() if isinstance(d, CandidateDecision))

    def withdrawn(self) -> frozenset[str]:
        """Ids of the claims that are out of the book."""
        return frozenset(target for target, d in _last(self._records()).items() if d.action == "withdraw")

    def accepted(self) -> tuple[Claim, ...]:
        """The claims that accepted and corrected candidates became."""
        taken_back = {target for target, d in _last(self._records()).items() if d.action == "restore"}
        return tuple(d.claim for d in self.decisions() if d.claim is not None and d.target not in taken_back)

    def decide(
        self, action: Action, target: str, who: str, at: datetime, reason: str = "", change: Correction | None = None
    ) -> CandidateDecision:
        """Take one decision. Raises DeskError where it does not fit what stands on the desk."""
        if not who.strip():
            raise DeskError("who decides is not said; give a name (--who)")
        if action in ("reject", "withdraw") and not reason.strip():
            raise DeskError(f"a reason is needed to {action} (--reason)")
        if len(reason) > MAX_REASON:
            raise DeskError(f"the reason has {len(reason):,} characters; {MAX_REASON:,} are taken")
        waiting = {w.id: w for w in self.waiting()}
        claim: Claim | None = None
        if action in ("accept", "correct", "reject"):
            if target not in waiting:
                raise DeskError(
                    f"no candidate {target!r} waits on the desk; `tieline disclosures desk list` shows them"
                )
            if action != "reject":
                claim = _decided(waiting[target], action, who, change)
        elif action == "restore" and target not in {d.target for d in self.decisions()}:
            raise DeskError(f"nothing was decided on {target!r}")
        decision = CandidateDecision(
            at=at, who=who.strip(), action=action, target=target, reason=reason.strip(), claim=claim
        )
        with self._locked():
            self._write([decision])
        return decision

    def book(self, claims: Iterable[Claim]) -> ClaimBook:
        """The book of these claims and the accepted ones, without what is withdrawn."""
        out = self.withdrawn()
        return ClaimBook(claim for claim in (*claims, *self.accepted()) if claim.id not in out)

    def state(self) -> tuple[int, int] | None:
        """Changes whenever the file does."""
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return None
        return stat.st_mtime_ns, stat.st_size

    def _records(self) -> list[WaitingCandidate | CandidateDecision]:
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        return _parse(content, self.path)

    def _locked(self) -> _Lock:
        return _Lock(self.path)

    def _write(self, records: Iterable[WaitingCandidate | CandidateDecision]) -> None:
        lines = b"".join(_encode(record) + b"\n" for record in records)
        if not lines:
            return
        with self.path.open("ab") as file:
            if file.tell() + len(lines) > MAX_BYTES:
                raise DeskError(
                    f"{self.path} would pass {MAX_BYTES:,} bytes; decide on what waits, or begin another file"
                )
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())


class _Lock:
    """One writer at a time, on a file beside; a torn last line is cut off before anything is written."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> list[WaitingCandidate | CandidateDecision]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a+b")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            self._file.truncate(len(whole))
        return _parse(whole, self._path)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def path_beside(facts: Path) -> Path:
    """Where the desk of a file of facts is kept: `disclosures.jsonl` has `disclosures.desk.jsonl`."""
    return facts.with_name(f"{facts.stem}.desk.jsonl")


class Agreement(msgspec.Struct, frozen=True):
    """A text against the book: figures that agree, that differ, and that the book does not have."""

    agree: tuple[str, ...]
    differ: tuple[str, ...]
    new: tuple[str, ...]

    def says(self) -> str:
        ending = "s" if len(self.differ) == 1 else ""
        return f"{len(self.agree)} agree, {len(self.differ)} differ{ending}, {len(self.new)} new"


def agreement(book: ClaimBook, claims: Iterable[Claim]) -> Agreement:
    """Each figure of a text against what other sources in the book state of it."""
    agree, differ, new = [], [], []
    for claim in claims:
        others = [c for c in book.of(claim.figure) if c.source != claim.source]
        if not others:
            new.append(claim.figure)
        elif any(abs(c.value - claim.value) <= max(slack_of(c.fact), slack_of(claim.fact)) for c in others):
            agree.append(claim.figure)
        else:
            differ.append(f"{claim.figure}: {claim.value:,f} here, {others[0].value:,f} in the book")
    return Agreement(tuple(agree), tuple(differ), tuple(new))


def _last(records: Iterable[WaitingCandidate | CandidateDecision]) -> dict[str, CandidateDecision]:
    return {d.target: d for d in records if isinstance(d, CandidateDecision)}


def _decided(waiting: WaitingCandidate, action: Action, who: str, change: Correction | None) -> Claim:
    fact = waiting.candidate.fact
    if action == "accept":
        return waiting.claim(note=f"accepted by {who}; was missing {', '.join(waiting.candidate.missing)}")
    if change is None or (change.value, change.period, change.field) == (None, None, None):
        raise DeskError("a correction changes the value, the period or the field; give one")
    field = change.field or fact.field
    try:
        unit = unit_of(field)
    except ValueError as error:
        raise DeskError(str(error)) from error
    corrected = msgspec.structs.replace(
        fact, value=fact.value if change.value is None else change.value, period=change.period or fact.period,
        field=field, unit=unit, method="typed",
    )  # fmt: skip
    claim = waiting.claim(corrected, f"corrected by {who}; read as {fact.field} {fact.period} {fact.value:,f}")
    try:
        _ = claim.at
    except ValueError as error:
        raise DeskError(str(error)) from error
    if not corrected.value.is_finite():
        raise DeskError(f"{corrected.value} is no number")
    return claim


def _parse(content: bytes, path: Path) -> list[WaitingCandidate | CandidateDecision]:
    records: list[WaitingCandidate | CandidateDecision] = []
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):
        try:
            records.append(_decode(line))
        except msgspec.DecodeError as error:
            raise DeskError(f"{path}, line {number}: {error}; mend or remove the line") from error
    return records


_encode = msgspec.json.Encoder(decimal_format="string").encode
_decode = msgspec.json.Decoder(WaitingCandidate | CandidateDecision).decode

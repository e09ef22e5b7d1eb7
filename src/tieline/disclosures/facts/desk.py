"""The desk: candidates that wait for a person, and every decision with who, when and why.

One append-only file beside the kept facts. A decision is a record and changes nothing that was written before: what is
accepted or corrected becomes a claim with the person as its voice; what is rejected leaves the list; what is withdrawn,
kept or shipped, leaves every rank, sum and check with the next answer, and comes back when it is restored.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Literal

import msgspec

from tieline.disclosures.facts.book import ClaimBook
from tieline.disclosures.facts.claims import Claim, SourceKind, checked, slack_of
from tieline.disclosures.facts.fact import Candidate, Fact
from tieline.disclosures.facts.fields import unit_of
from tieline.disclosures.facts.lines import LineFile

Action = Literal["accept", "correct", "reject", "withdraw", "restore"]
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


DeskRecord = WaitingCandidate | CandidateDecision


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """What a correction puts in place of what was read; None leaves it."""

    value: Decimal | None = None
    period: str | None = None
    field: str | None = None

    @classmethod
    def typed(cls, value: str | None, period: str | None, field: str | None) -> Correction:
        """As a person types it, thousands parted or not. Raises DeskError."""
        try:
            number = Decimal(value.replace(",", "")) if value else None
        except InvalidOperation as error:
            raise DeskError(f"value {value!r:.60} is no number") from error
        return cls(value=number, period=period or None, field=field or None)


class CandidateFile(LineFile[DeskRecord]):
    """One file of candidates and decisions."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, DeskRecord)

    def put(self, waiting: Iterable[WaitingCandidate]) -> int:
        """Candidates not yet on the desk are put there; how many were new."""

        def unknown(records: list[DeskRecord]) -> Iterable[DeskRecord]:
            seen = {w.id for w in records if isinstance(w, WaitingCandidate)}
            named = (w for w in waiting if w.candidate.fact.issuer is not None)
            return {w.id: w for w in named if w.id not in seen}.values()

        return self.add(unknown)

    def waiting(self) -> tuple[WaitingCandidate, ...]:
        """Candidates that nobody has decided on, newest document first."""
        left = _waiting(self.read()).values()
        return tuple(sorted(left, key=lambda w: (w.published or "", w.candidate.fact.period), reverse=True))

    def decisions(self) -> tuple[CandidateDecision, ...]:
        return tuple(d for d in self.read() if isinstance(d, CandidateDecision))

    def withdrawn(self) -> frozenset[str]:
        """Ids of the claims that are out of the book."""
        by_target = _standing(self.read())
        return frozenset(target for target, standing in by_target.items() if standing[-1].action == "withdraw")

    def accepted(self) -> tuple[Claim, ...]:
        """The claims that accepted and corrected candidates became."""
        by_target = _standing(self.read())
        return tuple(d.claim for standing in by_target.values() for d in standing if d.claim is not None)

    def decide(
        self, action: Action, target: str, who: str, at: datetime, reason: str = "", change: Correction | None = None
    ) -> CandidateDecision:
        """Take one decision. Raises DeskError where it does not fit what stands on the desk."""
        who, reason = " ".join(who.split()), " ".join(reason.split())
        if not who:
            raise DeskError("who decides is not said; give a name (--who)")
        if action in ("reject", "withdraw") and not reason:
            raise DeskError(f"a reason is needed to {action} (--reason)")
        if len(who + reason) > MAX_REASON:
            raise DeskError(f"the name and the reason have {len(who + reason):,} characters; {MAX_REASON:,} are taken")
        # The log prints both on terminals, which obey some characters.
        if not (who + reason).isprintable():
            raise DeskError("the name or the reason holds characters that do not print; write it in plain text")
        taken: list[CandidateDecision] = []

        def decided(records: list[DeskRecord]) -> list[CandidateDecision]:
            # Under the file's lock: of two people who decide on one candidate at once the second is told.
            claim = _claim_of(records, action, target, who, change)
            taken.append(CandidateDecision(at=at, who=who, action=action, target=target, reason=reason, claim=claim))
            return taken

        self.add(decided)
        return taken[0]

    def book(self, claims: Iterable[Claim]) -> ClaimBook:
        """The book of these claims and the accepted ones, without what is withdrawn."""
        out = self.withdrawn()
        return ClaimBook(claim for claim in (*claims, *self.accepted()) if claim.id not in out)


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


def _standing(records: Iterable[DeskRecord]) -> dict[str, list[CandidateDecision]]:
    """The decisions that stand, by target: one that restores takes back the last before it."""
    by_target: dict[str, list[CandidateDecision]] = {}
    for record in records:
        if isinstance(record, CandidateDecision):
            standing = by_target.setdefault(record.target, [])
            if record.action != "restore":
                standing.append(record)
            elif standing:
                standing.pop()
    return {target: standing for target, standing in by_target.items() if standing}


def _waiting(records: Iterable[DeskRecord]) -> dict[str, WaitingCandidate]:
    """Candidates that no standing decision takes off the desk."""
    by_target = _standing(records).items()
    settled = {target for target, standing in by_target if any(d.action != "withdraw" for d in standing)}
    return {w.id: w for w in records if isinstance(w, WaitingCandidate) and w.id not in settled}


def _claim_of(
    records: list[DeskRecord], action: Action, target: str, who: str, change: Correction | None
) -> Claim | None:
    """What a decision makes of a candidate; None for one that makes no claim."""
    if action == "restore" and target not in _standing(records):
        raise DeskError(f"nothing was decided on {target!r}")
    if action in ("restore", "withdraw"):
        return None
    waiting = _waiting(records).get(target)
    if waiting is None:
        raise DeskError(f"no candidate {target!r} waits on the desk; `tieline disclosures desk list` shows them")
    if action == "reject":
        return None
    fact, note = waiting.candidate.fact, f"accepted by {who}; was missing {', '.join(waiting.candidate.missing)}"
    try:
        if action == "correct":
            note = f"corrected by {who}; read as {fact.field} {fact.period} {fact.value:,f}"
            fact = _corrected(fact, change)
        return checked(waiting.claim(fact, note))
    except ValueError as error:
        raise DeskError(str(error)) from error


def _corrected(fact: Fact, change: Correction | None) -> Fact:
    if change is None or change == Correction():
        raise DeskError("a correction changes the value, the period or the field; give one")
    field, value = change.field or fact.field, fact.value if change.value is None else change.value
    period, unit = change.period or fact.period, unit_of(field)
    return msgspec.structs.replace(fact, value=value, period=period, field=field, unit=unit, method="typed")

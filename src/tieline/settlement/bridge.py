"""Why a month's production changed, on one's own records: the bridge that `disclosures explain` makes of what is
printed.

Its figures are those of the release as the books make it now, its difficulty that of the network as it was told, or the
shipped chain where that is not whole; and bitcoin not earned is set beside the step of the operating share, by cause.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import msgspec

from tieline.books import Bookkeeper, MonthlyUpdate, month_before, month_span
from tieline.books.causes import CAUSES
from tieline.books.release import MonthlyRelease, ReleasePolicy, as_text
from tieline.disclosures.comparison.chain import Chain, shipped_chain
from tieline.disclosures.comparison.explain import Bridge, NoBridge, bridge
from tieline.disclosures.facts.book import ClaimBook
from tieline.disclosures.facts.claims import Claim
from tieline.disclosures.read import read
from tieline.economics import LEAST, Epoch
from tieline.fleet import Fleet
from tieline.ledger import Method
from tieline.records import NetworkTick
from tieline.settlement.month import network_of
from tieline.settlement.release import draft_of
from tieline.store import Store
from tieline.store.rolled.kept import RolledStore

OWN = "OWN"


@dataclass(frozen=True, slots=True)
class CauseShift:
    """Bitcoin that was not earned for a cause, in the month before and in this one."""

    cause: str
    before: Decimal
    after: Decimal


@dataclass(frozen=True, slots=True)
class OwnBridge:
    """`causes`: of those with anything in either month; empty where nothing was measured by cause."""

    bridge: Bridge | NoBridge
    causes: tuple[CauseShift, ...]


def bridge_of(
    store: Store,
    fleet: Fleet,
    month: str,
    now: datetime,
    books: Bookkeeper | Method,
    policy: ReleasePolicy,
    kept: RolledStore | None = None,
) -> OwnBridge:
    """`books` and `kept` as in `draft_of`. Raises ValueError where nothing is known of a month or of the one before."""
    before = month_before(month)
    drafts = [draft_of(store, fleet, one, now, books, policy, kept) for one in (before, month)]
    claims = [claim for draft in drafts for claim in _claims(draft.release, now)]
    start, end = month_span(before)[0], month_span(month)[1]
    chain = _chain(network_of(store, start, end), start, min(end, now))
    explained = bridge(ClaimBook(claims, chain), OWN, month, before)
    return OwnBridge(explained, tuple(_causes(*(draft.update for draft in drafts))))


def _claims(release: MonthlyRelease, now: datetime) -> list[Claim]:
    """What the release prints, as one reads it of anybody."""
    figures = tuple(msgspec.structs.replace(one, was=None) for one in release.figures)
    plain = msgspec.structs.replace(release, figures=figures, company="", ticker="", policy=(), notes=())
    facts = read(as_text(plain), issuer=OWN).facts
    return [
        Claim(fact=fact, source="own books", source_kind="issuer", published=None, known_at=now)
        for fact in facts
        if fact.period == release.month
    ]


def _chain(ticks: Sequence[NetworkTick], start: datetime, end: datetime) -> Chain:
    """Of the network as it was told, where it was told from before `start` on."""
    measured = sorted(
        (t for t in ticks if t.kind != "forecast" and t.difficulty > LEAST), key=lambda t: (t.at, t.known_at)
    )
    epochs: list[Epoch] = []
    for tick in measured:
        if not epochs or epochs[-1].difficulty != tick.difficulty or epochs[-1].subsidy_btc != tick.subsidy_btc:
            epochs.append(Epoch(tick.at, tick.difficulty, tick.subsidy_btc))
    if not epochs or epochs[0].start > start:
        return shipped_chain()
    return Chain(tuple(epochs), end)


def _causes(before: MonthlyUpdate, after: MonthlyUpdate) -> list[CauseShift]:
    causes = []
    for cause in CAUSES:
        name = f"bitcoin_lost_{cause}"
        old, new = (
            next((Decimal(f.value) for f in one.figures if f.name == name and f.value is not None), Decimal(0))
            for one in (before, after)
        )
        if old or new:
            causes.append(CauseShift(cause, old, new))
    return causes

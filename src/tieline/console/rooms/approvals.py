"""The page of approvals: what waits for a second person, what was said to it, and saying it.

Whoever proposes or approves is an account that is signed in: two people who share a machine without one are nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tieline.books.treasury.position import holding_of
from tieline.console.door import Row
from tieline.console.events import Hub
from tieline.console.forms import answer, failed, read_form
from tieline.console.rooms import operator
from tieline.link import LinkDownError
from tieline.people import Account, Right
from tieline.people.proposals import PROPOSES, Proposed, action_of, asked, digest_of, proposed, refusal, said
from tieline.records import AnyRecord, Proposal, ProposalStep
from tieline.records.approval import ProposalKind, ProposalWord
from tieline.store import Store, StoreError

# What was decided longer ago is under Records.
SHOWN_FOR = timedelta(days=400)


class ProposeForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`after`: what is to be done, in words; of a change to `act` the page says it itself."""

    what: ProposalKind
    target: str
    why: str
    after: str = ""


class DecideForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`digest` is of the words that were read."""

    proposal_id: str
    digest: str
    why: str = ""


class Approvals:
    """The handlers."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    def rows(self) -> list[Row]:
        """Path, method, the right it needs, handler."""
        return [
            ("/api/approvals", "GET", Right.SEE, self.listed),
            ("/api/approvals/propose", "POST", Right.SEE, self.propose),
            ("/api/approvals/approve", "POST", Right.APPROVE, self.approve),
            ("/api/approvals/reject", "POST", Right.APPROVE, self.reject),
            ("/api/approvals/withdraw", "POST", Right.SEE, self.withdraw),
        ]

    async def listed(self, request: Request) -> Response:
        now, account = self.hub.clock.now(), request.state.account
        try:
            proposals = await self.hub.read(lambda store: proposals_in(store, now))
        except StoreError as error:
            return failed(503, str(error))
        shown = [_shown(one, account, now) for one in reversed(proposals.values())]
        may = [what for what, right in PROPOSES.items() if account.id and _may_somewhere(account, right)]
        sites = [s.id for s in self.hub.fleet.sites if account.may(Right.COMMAND, s.id, s.region)]
        return answer({"now": now.timestamp(), "proposals": shown, "may_propose": may, "sites": sites})

    async def propose(self, request: Request) -> Response:
        form, account = await read_form(request, ProposeForm), request.state.account
        if (why := self._may_not(account, form)) is not None:
            return failed(403, why)
        now = self.hub.clock.now()
        try:
            before, after = await self._words(form)
            made = asked(form.what, form.target, (before, after, form.why), account.id, now)
        except StoreError as error:
            return failed(503, str(error))
        except ValueError as error:
            return failed(400, str(error))
        return await self._keep([made, action_of(made, "propose", account.id, now)], {"proposal_id": made.proposal_id})

    def _may_not(self, account: Account, form: ProposeForm) -> str | None:
        """Why this account may not propose this; None where it may."""
        if not account.id:
            return "sign in first: a proposal has to be somebody's"
        site = self.hub.fold.sites.get(form.target)
        right = PROPOSES[form.what]
        may = account.may(right, site.id, site.region) if site is not None else _may_somewhere(account, right)
        return None if may else f"{account.name} may not {right.value}"

    async def _words(self, form: ProposeForm) -> tuple[str, str]:
        """How it stands and how it will. Raises ValueError, StoreError."""
        if form.what == "act":
            site = self.hub.fold.sites.get(form.target)
            if site is None:
                raise ValueError(f"target: no site {form.target!r} in this fleet")
            return f"{site.id}: a person confirms each plan", f"{site.id} acts on its plans without asking"
        if form.what == "invoice":
            return "not issued", form.after
        await self.hub.month.booked(self.hub.read)
        return await self.hub.read(self._coins), form.after

    def _coins(self, store: Store) -> str:
        self.hub.month.books.catch_up(store)
        holding = holding_of(self.hub.month.books.keeper)
        return f"{holding.free} BTC free, {holding.coins - holding.free} BTC pledged"

    async def approve(self, request: Request) -> Response:
        return await self._say(request, "approved")

    async def reject(self, request: Request) -> Response:
        return await self._say(request, "rejected")

    async def withdraw(self, request: Request) -> Response:
        return await self._say(request, "withdrawn")

    async def _say(self, request: Request, says: ProposalWord) -> Response:
        form, account = await read_form(request, DecideForm), request.state.account
        if not account.id:
            return failed(403, "sign in first: an approval has to be somebody's")
        now = self.hub.clock.now()
        try:
            proposals = await self.hub.read(lambda store: proposals_in(store, now))
        except StoreError as error:
            return failed(503, str(error))
        one = proposals.get(form.proposal_id)
        why = refusal(one, says, account.id, form.digest, now)
        if one is None or why is not None:
            return failed(404 if one is None else 409, why or "")
        return await self._keep([*said(one, says, account.id, form.why, now)], {"says": says})

    async def _keep(self, batch: list[AnyRecord], fields: dict[str, str]) -> Response:
        if self.hub.link is None:
            return failed(503, "this console has no link to the core: it shows, but cannot command")
        try:
            ack = await operator.send(self.hub.link, batch)
        except LinkDownError as error:
            return failed(503, f"not recorded: the core does not answer ({error}); try again")
        return failed(503, f"not recorded: {ack.error}") if ack.error is not None else answer(fields)


def proposals_in(store: Store, now: datetime) -> dict[str, Proposed]:
    """By id, the oldest first. Raises StoreError."""
    start, end = now - SHOWN_FOR, now + timedelta(minutes=5)
    records: Iterable[Proposal | ProposalStep] = [
        *store.each(Proposal, start, end),
        *store.each(ProposalStep, start, end),
    ]
    return proposed(records)


def _may_somewhere(account: Account, right: Right) -> bool:
    return any(account.may(right, place) for place in (*account.places, ""))


def _shown(one: Proposed, account: Account, now: datetime) -> dict[str, object]:
    """A proposal, what was said, and why this account cannot approve it, where it cannot."""
    proposal, digest = one.proposal, digest_of(one.proposal)
    no_right = None if account.may(Right.APPROVE) else f"you may not {Right.APPROVE.value}"
    return {
        "id": proposal.proposal_id,
        "what": proposal.what,
        "target": proposal.target,
        "before": proposal.before,
        "after": proposal.after,
        "why": proposal.why,
        "by": proposal.by,
        "person": proposal.person,
        "at": proposal.at.timestamp(),
        "until": proposal.until.timestamp(),
        "state": one.state(now),
        "lacks": one.lacks,
        "digest": digest,
        "steps": [{"says": s.says, "by": s.by, "at": s.at.timestamp(), "why": s.why} for s in one.steps],
        "cannot_approve": no_right or refusal(one, "approved", account.id, digest, now),
        "can_reject": no_right is None and refusal(one, "rejected", account.id, digest, now) is None,
        "can_withdraw": refusal(one, "withdrawn", account.id, digest, now) is None,
    }

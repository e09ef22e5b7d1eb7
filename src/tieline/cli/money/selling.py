"""`tieline treasury propose`, and what two people approved: sales and invoices that nobody does alone.

Accounts and their passwords are the platform's; books that are kept without it have one person and propose nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tieline.books.accounts import COINS
from tieline.books.keeper import Bookkeeper
from tieline.books.treasury.selling import SaleWanted, approved_sale, wanted
from tieline.cli.folder import config_and_now, data_dir, open_store
from tieline.cli.money.keep import in_json, keeper_of, price_of, record_all
from tieline.cli.outcome import AnswerIsNoError, NothingThereError
from tieline.ledger import BTC
from tieline.records import AnyRecord, Proposal, ProposalStep, Trade
from tieline.settlement.month import BEGINNING, END
from tieline.store import StoreError

if TYPE_CHECKING:
    from tieline.people.proposals import Proposed

# How long a rule's proposal may be approved: about a price as it is now.
STANDS_FOR = timedelta(days=2)


def found_in(folder: Path) -> dict[str, Proposed]:
    """Every proposal, by id. Raises click.ClickException."""
    try:
        from tieline.people.proposals import proposed
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"approvals need accounts, and those {error.name}; install the platform: pip install 'tieline[platform]'"
        ) from error
    store = open_store(folder)
    try:
        steps = store.between(ProposalStep, BEGINNING, END)
        return proposed([*store.between(Proposal, BEGINNING, END), *steps])
    except StoreError as error:
        raise click.ClickException(str(error)) from error
    finally:
        store.close()


def done(one: Proposed, why: str, now: datetime) -> list[AnyRecord]:
    """That a proposal was carried out."""
    from tieline.people.proposals import said

    return list(said(one, "done", "books", why, now))


class ApprovedSale:
    """An approved proposal, as far as it is not filled yet. Raises click.ClickException where there is none."""

    def __init__(self, folder: Path, keeper: Bookkeeper, proposal_id: str, now: datetime) -> None:
        one = found_in(folder).get(proposal_id)
        if one is None or one.proposal.what != "sale":
            raise NothingThereError(f"no proposal of a sale {proposal_id!r}; see: tieline approvals list")
        state = one.state(now)
        if state != "approved":
            raise AnswerIsNoError(f"nothing was recorded: {proposal_id} is {state}, not approved")
        try:
            self.allowed = approved_sale(one.proposal.after)
        except ValueError as error:
            raise click.ClickException(f"nothing was recorded: {proposal_id}: {error}") from error
        self.one, self.lots = one, self.allowed.lots(keeper)
        store = open_store(folder)
        try:
            fills = {t.trade_id: t for t in store.between(Trade, BEGINNING, END) if t.proposal_id == proposal_id}
        finally:
            store.close()
        self.filled = sum((Decimal(t.sats).scaleb(-8) for t in fills.values()), Decimal(0))

    def after(self, btc: Decimal, now: datetime) -> list[AnyRecord]:
        """What is on record of the proposal once so much more of it is filled."""
        left = self.allowed.btc - self.filled
        if btc > left:
            raise AnswerIsNoError(f"nothing was recorded: {left} BTC of {self.allowed.btc} are left to sell, not {btc}")
        return done(self.one, f"{self.allowed.btc} BTC sold", now) if btc == left else []


@click.command()
@data_dir
@click.option("--price", help="USD per bitcoin; default: the newest that the platform was told.")
@click.option("--dry-run", is_flag=True, help="Print what would be proposed, and propose nothing.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def propose(data_dir: Path, price: str | None, dry_run: bool, as_json: bool) -> None:
    """Propose what the policy's sale rules want sold now. Two people decide: `tieline approvals`."""
    now = config_and_now(data_dir)[1]
    keeper = keeper_of(data_dir)
    rules = keeper.policy.sale
    if not rules:
        raise NothingThereError("the policy has no [[sale]]; see: tieline books policy")
    at_price = price_of(price, data_dir)
    known = found_in(data_dir)
    open_ = {one.proposal.by for one in known.values() if one.state(now) in ("open", "approved")}
    sales = list(wanted(keeper, rules, at_price, now))
    new = [one for one in sales if _rule(one) not in open_]
    if new and not dry_run:
        record_all(data_dir, [_proposal(one, keeper, at_price, now) for one in new], now)
    state = {one.rule: "waits already" for one in sales} | dict.fromkeys(
        (one.rule for one in new), "not proposed" if dry_run else "proposed"
    )
    if as_json:
        lines = [
            {"rule": o.rule, "sell_btc": o.btc, "why": o.why, "proposed": state[o.rule] == "proposed"} for o in sales
        ]
        click.echo(json.dumps(lines, default=in_json, indent=2))
        return
    for one in sales:
        click.echo(f"{one.rule}: {one.words} at {at_price:,.2f}: {one.why} ({state[one.rule]})")
    if not sales:
        click.echo("no rule wants anything sold")


def _rule(one: SaleWanted) -> str:
    return f"policy {one.rule}"


def _proposal(one: SaleWanted, keeper: Bookkeeper, price: Decimal, now: datetime) -> Proposal:
    held = keeper.book.balance(f"{COINS}:{one.place}", BTC)
    return Proposal(
        at=now,
        known_at=now,
        source="books",
        kind="measured",
        proposal_id=f"sale {one.rule} {now:%Y-%m-%d %H:%M:%S}",
        what="sale",
        target=one.place,
        before=f"{held} BTC lie at {one.place}; the price is {price:,.2f} USD",
        after=one.words,
        why=one.why,
        by=_rule(one),
        person=False,
        until=now + STANDS_FOR,
    )


def invoices_approved(folder: Path, tenants: Sequence[str], month: str, now: datetime) -> dict[str, Proposed]:
    """By tenant, the approval of its invoice of a month. Raises click.ClickException, naming those that lack one."""
    from tieline.people.proposals import standing

    known = list(found_in(folder).values())
    approvals = {tenant: standing(known, "invoice", f"{tenant} {month}", now) for tenant in tenants}
    lacking = [tenant for tenant, one in approvals.items() if one is None]
    if lacking:
        raise AnswerIsNoError(
            f'two people decide on each invoice: `tieline approvals propose invoice "{lacking[0]} {month}"` first'
            + (f"; {len(lacking)} lack it" if len(lacking) > 1 else "")
        )
    return {tenant: one for tenant, one in approvals.items() if one is not None}

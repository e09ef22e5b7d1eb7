"""`tieline books issue` and `books invoice`: numbered, frozen, booked; and printed as JSON or PDF/A."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import click
import msgspec

from tieline.books import Invoice, month_span
from tieline.books.invoicing.form import as_json
from tieline.books.invoicing.pdf import NoTypesetterError, pdf_of
from tieline.books.invoicing.terms import Attainment, credits_of, taxes_of
from tieline.books.policy import AccountingPolicy, LegalEntity
from tieline.cli.folder import config_and_now, data_dir, open_store
from tieline.cli.money.keep import keeper_of, preview, record_all
from tieline.cli.money.selling import done, invoices_approved
from tieline.cli.outcome import AnswerIsNoError, NothingThereError
from tieline.records import AnyRecord, Issued, Usage
from tieline.records.treasury import InvoiceParty
from tieline.settlement.month import BEGINNING, END, invoices_of, span_of
from tieline.store import Store, StoreError


@click.command()
@data_dir
@click.option("--month", required=True, help="YYYY-MM.")
@click.option("--prefix", help="Of the numbers; default: the policy's, of the legal entity that invoices the tenant.")
@click.option("--dry-run", is_flag=True, help="Print what would be issued, and issue nothing.")
def issue(data_dir: Path, month: str, prefix: str | None, dry_run: bool) -> None:
    """Issue the invoices of a month that has ended: numbered without a gap, frozen, and booked as receivables.

    Numbers go by legal entity and year. Credits and taxes are those of the policy. Run again it changes nothing; usage
    that came late goes on a further invoice.
    """
    now = config_and_now(data_dir)[1]
    store = open_store(data_dir)
    try:
        end = span_of(store, month, now)[1]
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if end > now:
        raise AnswerIsNoError(f"{month} has not ended; it is {now:%Y-%m-%d}")
    keeper = keeper_of(data_dir)
    try:
        made = _Issuing(store, keeper.policy, now, prefix).due(month)
    except StoreError as error:
        raise click.ClickException(str(error)) from error
    finally:
        store.close()
    if made:
        batch: list[AnyRecord] = [*made]
        if "invoice" in keeper.policy.two_people and not dry_run:
            approved = invoices_approved(data_dir, [one.tenant for one in made], month, now)
            for one in made:
                batch += done(approved[one.tenant], f"issued as {one.number}", now)
        preview(keeper, batch)
        if not dry_run:
            record_all(data_dir, batch, now)
    for one in made:
        total = sum(line.amount_usd for line in one.lines)
        click.echo(f"{one.number}  {one.tenant:24} {total:>14,.2f} USD  {len(one.lines)} lines")
    word = "would be issued" if dry_run else "issued"
    click.echo(f"{len(made)} invoices {word}" if made else f"nothing of {month} is left to invoice")


class _Issuing:
    """What is on no invoice yet, numbered behind what was issued."""

    def __init__(self, store: Store, policy: AccountingPolicy, now: datetime, prefix: str | None) -> None:
        self.store, self.policy, self.now, self.prefix = store, policy, now, prefix
        self.issued = store.between(Issued, BEGINNING, END)
        self.made: list[Issued] = []

    def due(self, month: str) -> list[Issued]:
        attained = Attainment(self.policy.sla)
        if attained.terms:
            for used in self.store.each(Usage, *month_span(month)):
                attained.take(used)
        for invoice in invoices_of(self.store, month):
            mine = [one for one in self.issued if (one.tenant, one.month) == (invoice.tenant, month)]
            rest = invoice.less(line for one in mine for line in one.lines)
            if rest is not None:
                self.made.append(self._issued(rest, attained if not mine else None))
        return self.made

    def _issued(self, invoice: Invoice, attained: Attainment | None) -> Issued:
        """`attained` None: an invoice of this month was issued before, and had its credits."""
        policy, tenant = self.policy, invoice.tenant
        entity = policy.entity_of_tenant(tenant)
        on = self.now.astimezone(policy.zone).date()
        plain = invoice.issue(self._number(entity, on.year), self.now)
        lines = list(plain.lines)
        if attained is not None:
            used = sum((line.amount_usd for line in lines), Decimal(0))
            lines += credits_of(policy.terms, tenant, invoice.month, used, attained.by)
        lines += taxes_of(policy.terms, tenant, on, lines)
        buyer = next((one for one in policy.customer if one.tenant == tenant), None)
        return msgspec.structs.replace(
            plain,
            lines=tuple(lines),
            seller=InvoiceParty(name=entity.name, address=entity.address, tax_id=entity.tax_id),
            buyer=InvoiceParty()
            if buyer is None
            else InvoiceParty(name=buyer.name, address=buyer.address, tax_id=buyer.tax_id),
            due=self.now + timedelta(days=policy.payment_days),
        )

    def _number(self, entity: LegalEntity, year: int) -> str:
        """The next of its entity and year."""
        head = f"{entity.invoices if self.prefix is None else self.prefix}{year}-"
        return f"{head}{sum(one.number.startswith(head) for one in (*self.issued, *self.made)) + 1:05}"


@click.command()
@click.argument("number")
@data_dir
@click.option("--form", type=click.Choice(["json", "pdf"]), default="json", show_default=True)
@click.option("--to", "target", type=click.Path(dir_okay=False, path_type=Path), help="Write it to this file.")
def invoice(number: str, data_dir: Path, form: str, target: Path | None) -> None:
    """Print an invoice that was issued: JSON or PDF/A (pip install 'tieline[invoices]'), the same bytes each time."""
    store = open_store(data_dir)
    try:
        issued = next((one for one in store.between(Issued, BEGINNING, END) if one.number == number), None)
    finally:
        store.close()
    if issued is None:
        raise NothingThereError(f"no invoice {number!r} was issued; `tieline books issue --month YYYY-MM`")
    if form == "pdf" and target is None:
        raise click.UsageError("name the file: --to invoice.pdf")
    try:
        body = as_json(issued) if form == "json" else pdf_of(issued)
    except NoTypesetterError as error:
        raise click.ClickException(str(error)) from error
    if target is None:
        click.echo(body.decode(), nl=False)
    else:
        target.write_bytes(body)
        click.echo(f"{target}: {len(body):,} bytes")

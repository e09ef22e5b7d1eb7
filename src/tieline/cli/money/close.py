"""`tieline books close`, `seal`, `verify`, `statement`, `policy`: what is final, and that it stayed so."""

from __future__ import annotations

import getpass
import json
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import click
from msgspec import to_builtins

from tieline.books import Bookkeeper
from tieline.books.policy import PolicyError
from tieline.books.reports.statement import statement_of
from tieline.books.seals import SEALED, Altered, sealed, unsealed
from tieline.cli.files.tables import text_of
from tieline.cli.folder import config_and_now, data_dir, open_store
from tieline.cli.money.add import USD
from tieline.cli.money.keep import in_json, keeper_of, preview, record_all
from tieline.cli.outcome import AnswerIsNoError
from tieline.records import AnyRecord, Closing, PolicyChosen, Seal
from tieline.settlement.month import BEGINNING, END, span_of
from tieline.store import Store, StoreError
from tieline.store.ledger import AlteredError


@click.command()
@click.argument("month")
@data_dir
@click.option("--by", default=getpass.getuser, help="Who closes; default: the user of this shell.")
@click.option("--price", type=USD, help="USD per bitcoin at its end: bitcoin is taken to fair value through income.")
def close(month: str, data_dir: Path, by: str, price: Decimal | None) -> None:
    """Close the books of MONTH (YYYY-MM): later facts of it are booked in the first open month, with a reference."""
    if price is not None and price <= 0:
        raise click.BadParameter(f"{price} is not above 0", param_hint="--price")
    now = config_and_now(data_dir)[1]
    keeper = keeper_of(data_dir)
    try:
        end = span_of(open_store(data_dir), month, now, keeper.policy.zone)[1]
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if end > now:
        raise AnswerIsNoError(f"{month} has not ended; it is {now:%Y-%m-%d}")
    if keeper.open_from is not None and end <= keeper.open_from:
        raise AnswerIsNoError(f"{month} is closed already; the books are open from {keeper.open_from:%Y-%m-%d}")
    if keeper.unbookable:
        for one in keeper.unbookable:
            click.echo(str(one), err=True)
        raise AnswerIsNoError(f"{month} is not closed: {len(keeper.unbookable)} records are not in the books")
    batch = seal_of(keeper, open_store(data_dir), now)
    count = len(keeper.book.entries)
    last = next(iter(keeper.book.journal.digests(count - 1)), "") if count else ""
    batch.append(
        Closing(
            at=now, known_at=now, source="books", kind="measured", month=month, by=by, entries=count, digest=last,
            btc_usd=price,
        )
    )  # fmt: skip
    record_all(data_dir, batch, now)
    click.echo(f"{month} is closed: {count:,} entries, the last digest {last[:SEALED] or 'none'}")


def seal_of(keeper: Bookkeeper, store: Store, now: datetime) -> list[AnyRecord]:
    """Seals over the entries that none covers yet. Raises click.ClickException where a sealed one was altered."""
    try:
        seals = store.between(Seal, BEGINNING, END)
    finally:
        store.close()
    try:
        return [
            Seal(at=now, known_at=now, source="books", kind="measured", first=first, digests=tuple(some))
            for first, some in unsealed(keeper.book.journal.digests, seals)
        ]
    except Altered as error:
        raise AnswerIsNoError(f"entry {error.number + 1:,} {error}; `tieline books verify` says which") from error


@click.command()
@data_dir
def seal(data_dir: Path) -> None:
    """Seal every entry booked so far: its digest becomes a record, and what was sealed cannot change unseen."""
    now = config_and_now(data_dir)[1]
    keeper = keeper_of(data_dir)
    batch = seal_of(keeper, open_store(data_dir), now)
    if batch:
        record_all(data_dir, batch, now)
    new = sum(len(one.digests) for one in batch if isinstance(one, Seal))
    click.echo(f"{len(keeper.book.entries):,} entries, {new:,} of them sealed now")


@click.command()
@data_dir
def verify(data_dir: Path) -> None:
    """Fold every entry anew and compare it with what was sealed; name the first that was altered."""
    store = open_store(data_dir)
    try:
        seals, closings = store.between(Seal, BEGINNING, END), store.between(Closing, BEGINNING, END)
    finally:
        store.close()
    keeper = keeper_of(data_dir)
    book = keeper.book
    try:
        book.journal.verify()
    except StoreError as error:
        raise AnswerIsNoError(str(error)) from error
    if book.imbalance():
        raise AnswerIsNoError(f"the books do not close: {book.imbalance()}")
    try:
        digests = list(book.journal.proven())
        count = sealed(digests, seals)
        for closing in closings:
            if closing.entries > len(digests) or (closing.entries and digests[closing.entries - 1] != closing.digest):
                raise Altered(min(closing.entries, len(digests)) - 1, f"differs from the closing of {closing.month}")
    except (Altered, AlteredError) as error:
        entry = book.entries[error.number] if 0 <= error.number < len(book.entries) else None
        what = "an entry is gone" if entry is None else f"{entry.key}, of {entry.at:%Y-%m-%d}: {entry.narration}"
        raise AnswerIsNoError(f"entry {error.number + 1:,} {error}: {what}") from error
    last = digests[-1][:SEALED] if digests else "none"
    click.echo(f"{len(digests):,} entries close to zero; {count:,} are as they were sealed; the last digest {last}")


@click.command()
@click.argument("month")
@data_dir
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def statement(month: str, data_dir: Path, as_json: bool) -> None:
    """Bitcoin from opening to closing, income and expenses of MONTH, and the balance at its end, in USD."""
    store, now = open_store(data_dir), config_and_now(data_dir)[1]
    keeper = keeper_of(data_dir)
    try:
        span_of(store, month, now, keeper.policy.zone)
        made = statement_of(keeper, month)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(asdict(made), default=in_json, indent=2))
        return
    for line in made.lines():
        click.echo(line)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False)
@data_dir
@click.option("--by", default=getpass.getuser, help="Who chooses it; default: the user of this shell.")
@click.option("--dry-run", is_flag=True, help="Check FILE, and record nothing.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def policy(file: Path | None, data_dir: Path, by: str, dry_run: bool, as_json: bool) -> None:
    """Print the accounting policy in force, or choose the one of FILE (TOML) from now on.

    What was booked stays as it was booked. Statements and updates print the policy they were made by.
    """
    keeper = keeper_of(data_dir)
    if file is not None:
        now = config_and_now(data_dir)[1]
        try:
            keeper.chosen(text_of(file))
        except PolicyError as error:
            raise click.ClickException(f"{file.name}: {error}") from error
        chosen = PolicyChosen(at=now, known_at=now, source="books", kind="measured", by=by, text=text_of(file))
        preview(keeper, [chosen])
        if not dry_run:
            record_all(data_dir, [chosen], now)
    since = keeper.state.policy
    if as_json:
        closing = {"by": since and since[0].by, "since": since and since[0].known_at.isoformat()}
        click.echo(json.dumps(closing | to_builtins(keeper.policy), default=in_json, indent=2))
        return
    for line in keeper.policy.lines():
        click.echo(line)
    if file is not None and dry_run:
        click.echo("not recorded")
    elif since is not None:
        click.echo(f"chosen by {since[0].by} on {since[0].known_at:%Y-%m-%d}")
    else:
        click.echo("none was chosen: this is what books are kept by without one")

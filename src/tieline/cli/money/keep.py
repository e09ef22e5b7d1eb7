"""What commands that write into the books share: to whom records are told, and what they would change.

While a platform runs, its core alone writes, and is told over the link. Where none runs, the folder's store is opened
here; it is made where there is none, so that the light install keeps books without any service.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from tieline import records
from tieline.books import Bookkeeper
from tieline.cli.folder import config_and_now, place_in
from tieline.cli.outcome import AnswerIsNoError
from tieline.intake import IntakeError
from tieline.records import AnyRecord, NetworkTick, Record
from tieline.records.gate import checked
from tieline.settlement.month import books_of
from tieline.store import Store, StoreError

R = TypeVar("R", bound=Record)
# A thousand times what a bitcoin has ever cost: beyond it somebody has mistyped.
MOST_USD = 10**9


def keeper_of(folder: Path) -> Bookkeeper:
    """The folder's books; empty ones where there is no store yet. Raises click.ClickException."""
    place = place_in(folder)
    if not place.exists():
        return Bookkeeper()
    try:
        # Left open: what the books keep as references is read from it when it is asked for.
        store = Store(place, records.encode, records.decode, read_only=True)
        return books_of(store, config_and_now(folder)[0].treasury.lots)
    except StoreError as error:
        raise click.ClickException(str(error)) from error


def fresh(keeper: Bookkeeper, batch: Sequence[R]) -> tuple[list[R], int]:
    """(records that say something new, how many say what is booked already). A correction is known after what it
    corrects, also where the world's clock did not move in between."""
    new = []
    for record in batch:
        known = keeper.told(record)
        if known is None:
            new.append(record)
        elif not _says_the_same(known, record):
            after = max(record.known_at, known.known_at + timedelta(microseconds=1))
            new.append(msgspec.structs.replace(record, known_at=after))
    return new, len(batch) - len(new)


def _says_the_same(known: Record, record: Record) -> bool:
    again = msgspec.structs.replace(record, known_at=known.known_at, source=known.source)
    # What a sheet leaves open (its date) is told at the moment it is read.
    undated = record.at == record.known_at and msgspec.structs.replace(again, at=known.at) == known
    return again == known or undated


def preview(keeper: Bookkeeper, batch: Sequence[Record]) -> list[str]:
    """The entries that the batch would make, as lines. Raises click.ClickException, nothing having been kept, where one
    of it cannot be booked."""
    before, aside = len(keeper.book.entries), len(keeper.unbookable)
    for record in batch:
        keeper.take(record)
    new = [one for one in keeper.unbookable if any(one.record is record for record in batch)]
    if new or len(keeper.unbookable) > aside:
        first = new[0] if new else keeper.unbookable[-1]
        raise AnswerIsNoError(f"nothing was recorded: {first.why}")
    lines = []
    for entry in keeper.book.entries[before:]:
        lines.append(f"{entry.at:%Y-%m-%d %H:%M}  {entry.narration}")
        for posting in entry.postings:
            lot = f"  {{{posting.lot}}}" if posting.lot else ""
            lines.append(f"    {posting.account:44} {posting.amount!s:>26}{lot}")
    return lines


def in_json(value: object) -> str:
    """What JSON has no form for: an amount in digits, never `0E-8`; all else as it reads."""
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def record_all(folder: Path, batch: Sequence[AnyRecord], now: datetime) -> None:
    """Keep the records: on disk when this returns. Raises click.ClickException with nothing of them kept."""
    try:
        batch = [checked(one, now) for one in batch]
    except IntakeError as error:
        raise click.ClickException(f"nothing was recorded: {error}") from error
    if _runs(folder):
        from tieline.cli.desk.commit_act import tell

        tell(folder, list(batch))
        return
    try:
        store = Store(place_in(folder), records.encode, records.decode)
        try:
            store.append(batch)
        finally:
            store.close()
    except (StoreError, ValueError) as error:
        raise click.ClickException(f"nothing was recorded: {error}") from error


def record_booked(folder: Path, batch: Sequence[AnyRecord], now: datetime) -> None:
    """`record_all`, and that the books took them: somebody may have booked, since `preview`, what they need. Raises
    click.ClickException, where they are kept and set aside."""
    record_all(folder, batch, now)
    mine = {f"{type(one).__name__}|{one.key}" for one in batch}
    aside = next((one for one in keeper_of(folder).unbookable if one.key in mine), None)
    if aside is not None:
        raise AnswerIsNoError(f"recorded, but set aside, for the books changed meanwhile: {aside.why}")


def _runs(folder: Path) -> bool:
    if not (folder / "run" / "state.json").exists():
        return False
    from tieline.app.up import read_state

    return read_state(folder).pid is not None


def price_of(text: str | None, folder: Path) -> Decimal:
    """The price that is given, else the newest that the platform was told. Raises click.ClickException."""
    if text is not None:
        try:
            price = Decimal(text.replace(",", "").replace("_", ""))
        except InvalidOperation:
            price = Decimal(0)
        if not price.is_finite() or not 0 < price <= MOST_USD:
            raise click.BadParameter(f"{text!r} is no price; write it like 68524", param_hint="--price")
        return price
    place = place_in(folder)
    if place.exists():
        try:
            store = Store(place, records.encode, records.decode, read_only=True)
            ticks = [one for one in store.latest(NetworkTick, config_and_now(folder)[1]) if one.btc_usd > 0]
            store.close()
        except StoreError as error:
            raise click.ClickException(str(error)) from error
        if ticks:
            return ticks[0].btc_usd
    raise click.ClickException("no price of bitcoin is known here; give one with --price 68524")

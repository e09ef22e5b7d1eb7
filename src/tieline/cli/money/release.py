"""A month's update as one publishes it: what the command reads, records and prints."""

from __future__ import annotations

import tomllib
from datetime import timedelta
from pathlib import Path

import click
import msgspec

from tieline.books.release import FORMS, ReleasePolicy, against, text_digest
from tieline.cli.files.tables import text_of
from tieline.cli.folder import config_and_now, open_store, sums_in
from tieline.cli.money.keep import record_all
from tieline.cli.outcome import AnswerIsNoError
from tieline.fleet import Fleet
from tieline.records import ReleaseStep
from tieline.records.treasury import ReleaseState
from tieline.settlement.month import BEGINNING
from tieline.settlement.release import Draft, draft_of, refusal


def fleet_of(folder: Path) -> Fleet:
    """Of the platform that ran on the folder; books that are kept by hand have none."""
    if not (folder / "run" / "runtime.json").exists():
        return Fleet(name="books", sites=())
    return config_and_now(folder)[0].fleet


def policy_of(path: Path | None) -> ReleasePolicy:
    """Raises click.ClickException, naming the field, for a file that is no policy."""
    if path is None:
        return ReleasePolicy()
    try:
        return msgspec.convert(tomllib.loads(text_of(path)), ReleasePolicy)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise click.ClickException(f"{path.name}: {error}") from error


def draft_in(folder: Path, month: str, policy: ReleasePolicy) -> Draft:
    """Raises click.ClickException for a month of which nothing is known."""
    config, now = config_and_now(folder)
    store = open_store(folder)
    try:
        return draft_of(store, fleet_of(folder), month, now, config.treasury.lots, policy, sums_in(folder, store))
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    finally:
        store.close()


def advance(folder: Path, draft: Draft, state: ReleaseState, by: str) -> None:
    """Take the next step. Raises AnswerIsNoError where it may not be taken."""
    why = refusal(draft, state, by)
    if why is not None:
        raise AnswerIsNoError(why)
    now = config_and_now(folder)[1]
    last = max((one.known_at for one in draft.steps), default=BEGINNING)
    step = ReleaseStep(
        at=now,
        known_at=max(now, last + timedelta(microseconds=1)),
        source="books",
        kind="measured",
        month=draft.release.month,
        state=state,
        by=by,
        digest=text_digest(draft.release),
        **({form: make_(draft.release) for form, make_ in FORMS.items()} if state == "published" else {}),
    )
    record_all(folder, [step], now)


def compared(draft: Draft, text: str) -> tuple[int, list[str]]:
    """(figures of a text that were compared, what it prints otherwise than the books say)."""
    from tieline.disclosures.read import read

    reading = read(text, issuer=draft.release.ticker or None)
    facts = [*reading.facts, *(one.fact for one in reading.candidates)]
    printed = {one.field: one.value for one in facts if one.period == draft.release.month and one.scope is None}
    known = [name for name in printed if draft.release.value(name) is not None]
    return len(known), against(draft.release, printed)

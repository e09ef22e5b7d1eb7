"""`tieline books fetch`: what pools state, and what arrived at watched addresses, into the books.

Addresses only: there is no key here that moves coins, and none is asked for. A pool's token is read from an environment
variable, so that it stands in no history of commands.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from tieline import records
from tieline.books import Bookkeeper
from tieline.books.treasury.sheets import SheetError, priced
from tieline.cli.files.tables import sheet_of
from tieline.cli.folder import config_and_now, data_dir
from tieline.cli.money.add import When
from tieline.cli.money.imports import mapping_of
from tieline.cli.money.keep import fresh, keeper_of, preview, record_booked
from tieline.clock import begun
from tieline.feeds.coins.ask import Arrival, CoinFeedError, PoolStatements, WatchedChain
from tieline.feeds.coins.braiins import Braiins
from tieline.feeds.coins.esplora import Esplora
from tieline.feeds.coins.f2pool import F2Pool
from tieline.records import AnyRecord, Payout
from tieline.settlement.arrivals import PriceAt, Told, matured, payouts_of, price_at, receipts_of
from tieline.settlement.month import BEGINNING, END
from tieline.store import Store, StoreError

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

# A year at once; more is asked for in parts.
MOST_DAYS = 366


@click.group()
def fetch() -> None:
    """Ask a pool what it credited, or the chain what arrived; the same twice changes nothing."""


def asking(command: F) -> F:
    """What both have: from when, at which prices, and whether it is only tried."""
    for option in reversed(
        (
            data_dir,
            click.option("--since", type=When(), help="From this day on, UTC; default: 30 days ago."),
            click.option("--place", default="Treasury", show_default=True, help="Where the coins lie then."),
            click.option(
                "--prices", type=click.Path(exists=True, dir_okay=False, path_type=Path),
                help="A sheet of time and price, USD; default: what the platform was told of the network.",
            ),
            click.option("--map", "maps", multiple=True, metavar="THEIRS=OURS", help="A column of it by its name."),
            click.option("--dry-run", is_flag=True, help="Print the entries it would make, and record nothing."),
            click.option("--json", "as_json", is_flag=True, help="Machine-readable."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


@fetch.command()
@click.argument("pool", type=click.Choice(["braiins", "f2pool"]))
@asking
@click.option("--until", type=When(), help="Up to this day; default: today, whose reward is not stated yet.")
@click.option("--user", help="F2Pool: the mining account.")
@click.option("--token-env", default="TIELINE_POOL_TOKEN", show_default=True, help="The variable with its token.")
@click.option("--name", help="The pool as the policy names it; default: its own name.")
@click.option("--url", help="Another address of its API.")
def pool(pool: str, until: date | None, user: str | None, token_env: str, name: str | None, url: str | None,
         **common: Any) -> None:  # fmt: skip
    """What a pool credited by day, as it states it. Each day at the price that the policy names."""
    token = os.environ.get(token_env, "")
    if not token:
        raise click.UsageError(f"the environment variable {token_env} has no token; set it, or name another")
    if pool == "f2pool" and not user:
        raise click.UsageError("--user is missing: the mining account")
    asked = _pool(pool, user or "", token, url)
    now = config_and_now(common["data_dir"])[1]
    since, end = _days(now, common["since"], until)
    stated = _run(asked.stated(since, end))

    def make(keeper: Bookkeeper, price: PriceAt) -> list[AnyRecord]:
        terms = Told(now, _host(url) or asked.name, name or asked.name, common["place"])
        return payouts_of(stated, terms, keeper.policy, price)

    _keep(make, now, **common)


@fetch.command()
@click.argument("addresses", nargs=-1, required=True)
@asking
@click.option("--pool", "pool_name", default="", help="Who pays to them.")
@click.option(
    "--from-place", default="", help="Book them out of this place, where the pool's payouts lie; default: compare only."
)
@click.option("--api", help="An Esplora API, up to /api; default: the configuration's bitcoin_api.")
def receipts(addresses: tuple[str, ...], pool_name: str, from_place: str, api: str | None, **common: Any) -> None:
    """What arrived at ADDRESSES, six blocks deep. A block of one's own is income then, and can be spent 100 blocks
    later."""
    config, now = config_and_now(common["data_dir"])
    base = api or config.feeds.bitcoin_api
    since = _days(now, common["since"], None)[0]
    tip, arrived = _run(_arrived(Esplora(base), addresses, since))

    def make(keeper: Bookkeeper, price: PriceAt) -> list[AnyRecord]:
        terms = Told(now, _host(base) or base, pool_name, common["place"])
        arriving = receipts_of(arrived, terms, from_place, price)
        before = keeper_payouts(common["data_dir"])
        new = {one.payout_id: one for one in arriving if isinstance(one, Payout)}
        # What is new here is booked first, so that it can leave again where it is old enough.
        return [*arriving, *matured(keeper, [*(before | new).values()], tip, terms)]

    _keep(make, now, **common)


def _pool(name: str, user: str, token: str, url: str | None) -> PoolStatements:
    if name == "f2pool":
        return F2Pool(user, token, url) if url else F2Pool(user, token)
    return Braiins(token, url) if url else Braiins(token)


async def _arrived(chain: WatchedChain, addresses: Sequence[str], since: datetime) -> tuple[int, list[Arrival]]:
    tip = await chain.tip()
    return tip, [one for address in dict.fromkeys(addresses) for one in await chain.arrivals(address, since)]


def _run(job: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(job)
    except CoinFeedError as error:
        raise click.ClickException(str(error)) from error


def _days(now: datetime, since: date | None, until: date | None) -> tuple[datetime, datetime]:
    """Whole UTC days. Raises click.UsageError for a span that is none, or longer than a year."""
    end = begun(until or now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start = begun(since or end - timedelta(days=30), UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if start >= end:
        raise click.UsageError(f"--since {start:%Y-%m-%d} is not before {end:%Y-%m-%d}")
    if end - start > timedelta(days=MOST_DAYS):
        raise click.UsageError(f"more than {MOST_DAYS} days at once; ask for them in parts")
    return start, end


def _host(url: str | None) -> str:
    return urlsplit(url).netloc if url else ""


def keeper_payouts(folder: Path) -> dict[str, Payout]:
    """Every payout there is in its newest word, by its id."""
    store = _store(folder)
    if store is None:
        return {}
    try:
        payouts = sorted(store.between(Payout, BEGINNING, END), key=lambda one: one.known_at)
        return {one.payout_id: one for one in payouts}
    finally:
        store.close()


def _store(folder: Path) -> Store | None:
    path = folder / "store.db"
    try:
        return Store(path, records.encode, records.decode, read_only=True) if path.exists() else None
    except StoreError as error:
        raise click.ClickException(str(error)) from error


def _keep(
    make: Callable[[Bookkeeper, PriceAt], list[AnyRecord]], now: datetime, data_dir: Path, prices: Path | None,
    maps: tuple[str, ...], dry_run: bool, as_json: bool, **_: Any,
) -> None:  # fmt: skip
    """Show what they would book, and keep them."""
    keeper, store = keeper_of(data_dir), _store(data_dir)
    try:
        given: dict[datetime, Decimal] = {} if prices is None else priced(sheet_of(prices, "prices"), mapping_of(maps))
        new, as_before = fresh(keeper, make(keeper, price_at(store, given)))
    except (SheetError, ValueError) as error:
        raise click.ClickException(f"nothing was recorded: {error}") from error
    finally:
        if store is not None:
            store.close()
    entries = preview(keeper, new)
    if new and not dry_run:
        record_booked(data_dir, new, now)
    if as_json:
        result = {"new": len(new), "as_before": as_before, "recorded": bool(new) and not dry_run, "entries": entries}
        click.echo(json.dumps(result, indent=2))
        return
    for line in entries:
        click.echo(line)
    word = "would be recorded" if dry_run else "recorded"
    click.echo(f"{len(new)} {word}, {as_before} as before")

"""`tieline books`: balances, entries, lots and invoices, straight from the records."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from tieline.books import Bookkeeper
from tieline.books.export import as_csv, beancount
from tieline.books.reports.costs import costs_of
from tieline.books.reports.emissions import EmissionsOfMonth
from tieline.cli.folder import config_and_now, data_dir, open_store
from tieline.cli.money.add import add
from tieline.cli.money.close import close, policy, seal, statement, verify
from tieline.cli.money.fetch import fetch
from tieline.cli.money.invoices import invoice, issue
from tieline.cli.money.keep import in_json, keeper_of
from tieline.cli.money.owed import OWED
from tieline.cli.money.partner import partner
from tieline.cli.money.peaks import peaks
from tieline.clock import parse_utc
from tieline.settlement.month import END, books_of, emissions_in, hashes_by_site, invoices_of, margins_in, span_of
from tieline.settlement.reconcile import PoolDay, PoolMonth, pool_month


@click.group()
def books() -> None:
    """Entries, balances, lots and invoices: read, add to, close and verify. All of it is a fold of the records."""


for _command in (add, fetch, close, seal, statement, verify, issue, invoice, policy, peaks, partner):
    books.add_command(_command)
for _command in OWED:
    add.add_command(_command)


def _print(rows: list[dict[str, Any]], as_json: bool, empty: str) -> None:
    if as_json:
        click.echo(json.dumps(rows, default=in_json, indent=2))
    elif not rows:
        click.echo(empty)
    else:
        widths = {name: max(len(name), *(len(str(row[name])) for row in rows)) for name in rows[0]}
        click.echo("  ".join(name.ljust(widths[name]) for name in rows[0]))
        for row in rows:
            click.echo("  ".join(str(row[name]).ljust(widths[name]) for name in row))


def _keeper(folder: Path) -> Bookkeeper:
    """The folder's books; what is not in them is said, each with its reason, on the error stream."""
    config, _ = config_and_now(folder)
    keeper = books_of(open_store(folder), config.treasury.lots)
    for one in keeper.unbookable:
        click.echo(str(one), err=True)
    return keeper


def _moment(known: str | None) -> datetime:
    """A moment up to which things were known; without one, all of them."""
    try:
        return END if known is None else parse_utc(known)
    except ValueError as error:
        raise click.BadParameter(f"{known!r} is no moment; write YYYY-MM-DD", param_hint="--as-known") from error


_known = click.option("--as-known", "known", metavar="DATE", help="As the books were known then.")
_json = click.option("--json", "as_json", is_flag=True, help="Machine-readable.")


@books.command()
@data_dir
@_json
@_known
def balances(data_dir: Path, as_json: bool, known: str | None) -> None:
    """Balance of each account, and whether the book closes."""
    book = _keeper(data_dir).book.as_known(_moment(known))
    rows = [{"account": a, "commodity": c, "balance": str(n)} for (a, c), n in book.balances().items()]
    _print(rows, as_json, "No entries yet.")
    residual = book.imbalance()
    if not as_json:
        click.echo(f"{book.count():,} entries; " + ("closes to zero" if not residual else f"RESIDUAL {residual}"))


@books.command()
@data_dir
@_json
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
def entries(data_dir: Path, as_json: bool, limit: int) -> None:
    """The newest entries, each with the records behind it."""
    newest = _keeper(data_dir).book.entries[-limit:]
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(one) for one in newest], default=in_json, indent=2))
        return
    for one in newest:
        click.echo(f"{one.at:%Y-%m-%d %H:%M}  {one.narration}{'  (simulated)' if one.simulated else ''}")
        for posting in one.postings:
            lot = f"  {{{posting.lot}}}" if posting.lot else ""
            click.echo(f"    {posting.account:44} {posting.amount!s:>24}{lot}")
        click.echo(f"    from {', '.join(one.refs)}")


@books.command()
@data_dir
@_json
@_known
def lots(data_dir: Path, as_json: bool, known: str | None) -> None:
    """Bitcoin held, lot by lot, by place, oldest first."""
    held = _keeper(data_dir).book.as_known(_moment(known)).lots()
    rows = [
        {
            "place": h.account.removeprefix("Assets:"),
            "lot": h.lot,
            "at": f"{h.at:%Y-%m-%d %H:%M}",
            "btc": str(h.number),
            "cost_usd": str(h.cost),
        }
        for h in held
    ]
    _print(rows, as_json, "No bitcoin held.")


@books.command()
@data_dir
@_json
def unbookable(data_dir: Path, as_json: bool) -> None:
    """Records that are not in the books, each with the reason and what would mend it."""
    config, _ = config_and_now(data_dir)
    aside = books_of(open_store(data_dir), config.treasury.lots).unbookable
    rows = [{"record": one.key, "at": f"{one.record.at:%Y-%m-%d %H:%M}", "why": one.why} for one in aside]
    _print(rows, as_json, "Every record of money is in the books.")


@books.command()
@data_dir
@_json
@click.option("--month", help="YYYY-MM; default: the running month.")
def reconcile(data_dir: Path, as_json: bool, month: str | None) -> None:
    """Each day: what the measured hashrate was expected to earn, what pools stated, and what arrived at watched
    addresses. Exit 1 where a day needs a look."""
    _, now = config_and_now(data_dir)
    policy = keeper_of(data_dir).policy
    try:
        made = pool_month(open_store(data_dir), month or f"{now:%Y-%m}", now, policy.pool)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    rows = [_pool_row(one) for one in made.days if one.payouts or one.receipts or one.expected is not None]
    if as_json:
        printed: dict[str, Any] = {"month": made.month, "policy": list(policy.lines()), "days": rows}
        printed["remarks"] = made.remarks
        printed |= {"steps": dict(made.steps), "epochs": [{"difficulty": d, "expected": btc} for d, btc in made.epochs]}
        click.echo(json.dumps(printed | {"luck": made.luck and dataclasses.asdict(made.luck)}, indent=2))
    else:
        for line in policy.lines():
            click.echo(f"policy: {line}")
        _print(rows, False, "Nothing was heard, stated or received in this month.")
        _print_steps(made, bool(rows))
    if made.remarks:
        raise SystemExit(1)


def _print_steps(made: PoolMonth, measured: bool) -> None:
    """From expected to stated, by difficulty, and the luck of blocks of one's own."""
    for name, btc in made.steps if measured else ():
        click.echo(f"  {name:64} {btc:>+16,.8f} BTC")
    for difficulty, btc in made.epochs:
        click.echo(f"  {f'of the subsidy at difficulty {difficulty:,.0f}':64} {btc:>+16,.8f} BTC")
    if made.luck is not None:
        ratio = "" if made.luck.ratio is None else f", luck {made.luck.ratio:.2f}"
        click.echo(f"blocks of one's own: {made.luck.found}, {made.luck.expected:.4f} expected{ratio}")


def _pool_row(one: PoolDay) -> dict[str, Any]:
    def told(value: float | Decimal | None, places: int = 8) -> str | None:
        return None if value is None else f"{value:.{places}f}"

    return {
        "day": f"{one.day:%Y-%m-%d}",
        "eh/s": told(None if one.hashrate_hs is None else one.hashrate_hs / 1e18, 4),
        "expected": told(one.expected),
        "due": told(one.due),
        "stated": told(one.stated),
        "payouts": one.payouts,
        "received": told(one.received),
        "owed": told(one.owed),
        "ratio": told(one.ratio, 4),
        "remark": one.remark,
    }


@books.command()
@data_dir
@_known
@click.option("--form", type=click.Choice(["beancount", "csv"]), default="beancount", show_default=True)
def export(data_dir: Path, known: str | None, form: str) -> None:
    """Every entry for another program, on the standard output."""
    whole = _keeper(data_dir).book
    book = whole if known is None else whole.as_known(_moment(known))
    for line in beancount(book, "Tieline") if form == "beancount" else as_csv(book.entries):
        click.echo(line)


@books.command(name="invoices")
@data_dir
@_json
@click.option("--month", help="YYYY-MM; default: the running month.")
def invoices_command(data_dir: Path, as_json: bool, month: str | None) -> None:
    """What each tenant owes for a month."""
    _, now = config_and_now(data_dir)
    month = month or f"{now:%Y-%m}"
    try:
        store = open_store(data_dir)
        span_of(store, month, now)
        made = invoices_of(store, month)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    rows = [
        {
            "tenant": one.tenant,
            "project": line.project,
            "model": line.model,
            "requests": line.requests,
            "prompt_tokens": line.prompt_tokens,
            "output_tokens": line.output_tokens,
            "replica_hours": round(line.replica_s / 3600, 2),
            "unit": line.unit,
            "units": line.units,
            "usd": str(line.amount_usd),
            "exact_usd": f"{Decimal(line.nano_usd) / 1_000_000_000:.9f}",
        }
        for one in made
        for line in one.lines
    ]
    _print(rows, as_json, f"No usage in {month}.")


@books.command()
@data_dir
@_json
@click.argument("month")
def cost(data_dir: Path, as_json: bool, month: str) -> None:
    """What a bitcoin of MONTH cost in layers, by site, and a hash's cost; all of it sums to the ledger."""
    keeper, store, now = _keeper(data_dir), open_store(data_dir), config_and_now(data_dir)[1]
    try:
        hashes = hashes_by_site(store, *span_of(store, month, now, keeper.policy.zone))
        made = costs_of(keeper, month, hashes)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        printed = dataclasses.asdict(made) | {"policy": list(keeper.policy.lines())}
        click.echo(json.dumps(printed, default=in_json, indent=2))
        return
    for line in keeper.policy.lines():
        click.echo(f"policy: {line}")
    click.echo(f"{month}: {made.produced:,} BTC produced")
    for layer in made.layers:
        each = "none was produced" if layer.usd_per_btc is None else f"{layer.usd_per_btc:,.2f} USD/BTC so far"
        click.echo(f"  {layer.name:10} {layer.usd:>18,.2f} USD   {each}")
    for account, usd in made.left_out:
        click.echo(f"  left out   {usd:>18,.2f} USD   {account}")
    click.echo(f"  expenses   {made.expenses:>18,.2f} USD   in the ledger")
    if made.hashcost is not None:
        click.echo(f"  hashcost   {made.hashcost:>18,.2f} USD of energy per PH/s and day")
    for one in made.sites:
        btc = "" if one.btc is None else f"   {one.btc:,} BTC by its measured hashes"
        each = "" if one.energy_usd_per_btc is None else f", energy {one.energy_usd_per_btc:,.2f} USD/BTC"
        parts = ", ".join(f"{name} {usd:,.2f}" for name, usd in one.usd.items() if usd) or "nothing"
        click.echo(f"  {one.site or 'no site':16} {parts}{btc}{each}")


@books.command()
@data_dir
@_json
@click.argument("month")
def margins(data_dir: Path, as_json: bool, month: str) -> None:
    """Revenue, power, demand charges and margin of MONTH by site and use, and per MWh; all of it sums to the ledger."""
    keeper, store, now = _keeper(data_dir), open_store(data_dir), config_and_now(data_dir)[1]
    try:
        made = margins_in(store, month, now, keeper)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    rows = [
        {
            "site": one.site or "no site",
            "use": one.use or "other",
            "revenue": f"{one.revenue:,.2f}",
            "energy": f"{one.energy:,.2f}",
            "demand": f"{one.demand:,.2f}",
            "margin": f"{one.margin:,.2f}",
            "MWh": "not known" if one.mwh is None else f"{one.mwh:,.3f}",
            "margin/MWh": "not known" if one.margin_per_mwh is None else f"{one.margin_per_mwh:,.2f}",
        }
        for one in made.uses
    ]
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(made) | {"margin": made.margin}, default=in_json, indent=2))
        return
    for line in made.policy:
        click.echo(f"policy: {line}")
    _print(rows, False, f"Nothing was mined, served or promised in {month}.")
    click.echo(f"margin {made.margin:,.2f} USD")
    for account, usd in made.other:
        click.echo(f"  {usd:>18,.2f} USD   {account}")
    click.echo(f"net    {made.net:,.2f} USD, as in the ledger")


@books.command()
@data_dir
@_json
@click.argument("month")
def emissions(data_dir: Path, as_json: bool, month: str) -> None:
    """CO2 of MONTH's energy per kWh, bitcoin and million tokens: by location and by what was bought, unknown shares
    said."""
    keeper, store, now = _keeper(data_dir), open_store(data_dir), config_and_now(data_dir)[1]
    try:
        span_of(store, month, now, keeper.policy.zone)
        made = emissions_in(store, month, keeper)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        whole = dataclasses.asdict(made) | {"policy": list(keeper.policy.lines())}
        click.echo(json.dumps(whole, default=in_json, indent=2))
    else:
        for line in (*(f"policy: {one}" for one in keeper.policy.lines()), *_emission_lines(made)):
            click.echo(line)
    for line in made.faults:
        click.echo(f"not counted: {line}", err=True)


def _emission_lines(made: EmissionsOfMonth) -> Iterator[str]:
    for name, by_use in (("location-based", made.location), ("market-based", made.market)):
        for use, one in by_use.items():
            each = "not known" if one.gco2_per_kwh is None else f"{one.gco2_per_kwh:,} gCO2/kWh"
            share = "" if not one.unknown_share else f", {one.unknown_share * 100:.2f} % of the energy unknown"
            yield f"{name} {use}: {(one.kwh + one.unknown_kwh) / 1000:,.3f} MWh, {each}{share}"
    for name in ("location", "market"):
        for what, grams in (("bitcoin", made.per_btc), ("million tokens", made.per_million_tokens)):
            amount = "not known" if grams[name] is None else f"{grams[name]:,} g"
            yield f"{name}-based per {what}: {amount}"
    yield f"covered by certificates: {made.certified_kwh / 1000:,.3f} MWh"

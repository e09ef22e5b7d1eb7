"""`tieline reserves`: what to offer of tomorrow's load, hour by hour, and what the market awarded.

Nothing is submitted from here: a person takes the file to the market, and brings back what was awarded. An award is an
accepted promise from then on: its load must be drawing, and look-ahead plans around it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import click

from tieline.cli.desk.commit_act import tell
from tieline.cli.desk.known import known, known_options
from tieline.cli.desk.market_file import AwardError, hour_begins, hour_of, number_of, rows_of, written
from tieline.cli.folder import config_and_now, configured, data_dir, fleet_file, open_store
from tieline.dispatch import Outlook, Settings
from tieline.dispatch.reserves import ReserveOffer, offers_of_tomorrow
from tieline.feeds.days.folder import FolderError
from tieline.fleet import Fleet
from tieline.fleet.markets import zone_of
from tieline.fleet.reserves import ReserveProduct, shipped_reserves
from tieline.records import Commitment, newest_by
from tieline.store import Store

HOUR = timedelta(hours=1)
COLUMNS = ("site_id", "product", "service", "hour_begins_utc", "hour_begins_local", "mw", "at_least_usd_per_mw_h")
NEEDED = ("site_id", "product", "hour_begins_utc", "mw", "price_usd_per_mw_h")


@click.group(invoke_without_command=True)
@known_options
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the offers as CSV, to submit.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.pass_context
def reserves(
    context: click.Context,
    data_dir: Path,
    data: Path | None,
    when: str | None,
    config: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Say what to offer of tomorrow's load as reserves, by hour and product, and why. Submitting it stays with you.

    \b
    tieline reserves --out offers.csv
    tieline reserves award awards.csv
    tieline reserves list
    """
    if context.invoked_subcommand is not None:
        return
    try:
        fleet, settings, now, store = known(data_dir, data, when, config)
        try:
            offers = offered(store, fleet, settings, now)
        finally:
            store.close()
    except (FolderError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(json.dumps([_plain(one) for one in offers], indent=2) if as_json else "\n".join(_lines(fleet, offers)))
    if out is not None:
        out.write_text(as_csv(fleet, offers), encoding="utf-8")
        click.echo(f"written to {out}: submit it yourself; nothing was sent", err=True)


@reserves.command("list")
@fleet_file
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def listed(config: Path | None, as_json: bool) -> None:
    """List the products that a site's `reserves` may name."""
    own = configured(config)
    products = shipped_reserves() if own is None else own.fleet.reserve_products
    if as_json:
        click.echo(json.dumps([_product(one) for one in products.values()], indent=2))
        return
    for one in products.values():
        since = "" if one.since is None else f", since {one.since}"
        what = "takes load" if one.takes else "sheds"
        bought = "bought at the site's own price" if one.takes else "not drawn, nothing more"
        energy = "paid" if one.energy_paid else bought
        click.echo(
            f"{one.name:<20} {one.operator} {one.service}: {what} by {one.called_by} within {one.response_s} s for "
            f"{one.lasts_s // 60} min; offers by {one.offers_close}, awards at {one.published} the day before{since}"
        )
        click.echo(
            f"{'':<20} called {one.calls_per_year:g} times a year and {one.follows_share:.0%} by signal (assumed), "
            f"its energy {energy}; a MWh missed "
            f"{one.penalty_usd_per_mwh:,.0f} USD"
        )


@reserves.command("award")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@data_dir
def award(file: Path, data_dir: Path) -> None:
    """Keep what the market awarded: FILE with site_id, product, hour_begins_utc, mw, price_usd_per_mw_h.

    Each row is a promise accepted: its load must draw until it is called. More than a site's rigs draw is refused.
    """
    config, now = config_and_now(data_dir)
    store = open_store(data_dir)
    try:
        held = standing(store, now)
    finally:
        store.close()
    try:
        awards = reserve_awards(file, config.fleet, now, held)
    except (AwardError, OSError, UnicodeDecodeError) as error:
        raise click.ClickException(str(error)) from error
    tell(data_dir, [*awards])
    mw_h = sum(one.power_w for one in awards) / 1e6
    usd = sum(one.power_w / 1e6 * one.capacity_usd_per_mw_h for one in awards)
    click.echo(f"kept: {len(awards)} hours of reserves, {mw_h:,.1f} MW x hours, {usd:,.2f} USD of capacity")


# --- what is offered ----------------------------------------------------------------------------


def standing(store: Store, now: datetime) -> list[Commitment]:
    """Promises that stand and end after now, each as it was told last."""
    promises = store.between(Commitment, now - timedelta(days=14), now + timedelta(days=8), now=now)
    held = newest_by(promises, lambda one: one.commitment_id)
    return [one for one in held.values() if one.status in ("accepted", "deployed") and one.until > now]


def offered(store: Store, fleet: Fleet, settings: Settings, now: datetime) -> list[ReserveOffer]:
    """Every site's offers for tomorrow. Raises ValueError where none can be made, saying why."""
    outlook = Outlook(fleet, settings)
    outlook.read(store, now)
    fleet, _ = fleet.at_rates(outlook.rates, now)
    return offers_of_tomorrow(outlook, fleet, settings, now, standing(store, now))


def reserve_awards(file: Path, fleet: Fleet, now: datetime, held: Sequence[Commitment]) -> list[Commitment]:
    """Every row of a file as an accepted promise. Raises AwardError with file and row."""
    sold: dict[tuple[str, datetime], float] = defaultdict(float)
    awards: dict[str, Commitment] = {}
    for where, row in rows_of(file, NEEDED):
        one = _award(row, where, fleet, now)
        if one.commitment_id in awards:
            raise AwardError(f"{where}: {one.product} at {one.site_id} {one.at:%Y-%m-%d %H:%M} stands twice")
        awards[one.commitment_id] = one
        sold[one.site_id, one.at] += one.power_w
        others = [c for c in held if c.site_id == one.site_id and c.commitment_id not in awards]
        before = sum(c.power_w for c in others if c.at < one.until and c.until > one.at)
        most = sum(group.rated_w for group in fleet.site(one.site_id).rig_groups)
        whole = sold[one.site_id, one.at] + before
        if whole > most:
            raise AwardError(
                f"{where}: {whole / 1e6:.1f} MW of reserves at {one.site_id} then, its rigs draw "
                f"{most / 1e6:.1f} MW; correct the row, or release what was promised before"
            )
    return list(awards.values())


def _award(row: dict[str, str], where: str, fleet: Fleet, now: datetime) -> Commitment:
    site = next((site for site in fleet.sites if site.id == row["site_id"]), None)
    if site is None:
        raise AwardError(f"{where}: no site {row['site_id']!r} in the fleet")
    product = fleet.reserve_products.get(row["product"])
    if product is None or product.name not in site.reserves:
        able = ", ".join(site.reserves) or "none"
        raise AwardError(f"{where}: {site.id} is not qualified for {row['product']!r}; its reserves are: {able}")
    at = hour_of(row, where)
    if at < now - HOUR:
        raise AwardError(f"{where}: {at:%Y-%m-%d %H:%M} UTC is past; an award is kept before its hour")
    mw = number_of(row["mw"], f"{where}: mw")
    usd = number_of(row["price_usd_per_mw_h"], f"{where}: price_usd_per_mw_h")
    if mw <= 0 or usd < 0:
        raise AwardError(f"{where}: {mw} MW at {usd} USD; give megawatts above 0 and a price from 0 up")
    return Commitment(
        at=at,
        known_at=now,
        source="reserve awards file",
        kind="measured",
        commitment_id=f"{product.name}@{site.id}@{at:%Y-%m-%dT%H}",
        site_id=site.id,
        product=product.name,
        until=at + HOUR,
        power_w=float(mw * 1_000_000),
        response_s=product.response_s,
        capacity_usd_per_mw_h=float(usd),
        status="accepted",
        nonperformance_usd_per_mwh=product.penalty_usd_per_mwh,
        detail=f"awarded, called by {product.called_by}",
        takes=product.takes,
    )


# --- as a person, a program and a market read it ------------------------------------------------


def _lines(fleet: Fleet, offers: Sequence[ReserveOffer]) -> list[str]:
    lines: list[str] = []
    for key in dict.fromkeys((one.site_id, one.product) for one in offers):
        product = fleet.reserve_products[key[1]]
        mine = [one for one in offers if (one.site_id, one.product) == key]
        lines.append(f"{key[0]}  {product.name}: offers close {product.offers_close} local, the day before")
        for hour in dict.fromkeys(one.at for one in mine):
            steps = [one for one in mine if one.at == hour]
            blocks = ", ".join(f"{one.power_w / 1e6:.1f} MW from {one.limit_usd_per_mw_h:,.2f}" for one in steps)
            lines += [f"  {hour.astimezone(zone_of(product.zone)):%H:%M} local  {blocks} USD/MW,h"]
            lines += [f"      {steps[-1].reason}"]
    if not offers:
        lines.append("nothing to offer: every hour is sold, too hot, or likely a coincident peak")
    lines.append("each megawatt is offered to every product and can be awarded once; submitting stays with you (--out)")
    return lines


def as_csv(fleet: Fleet, offers: Iterable[ReserveOffer]) -> str:
    """A row for each step of each hour."""
    rows = []
    for one in offers:
        product = fleet.reserve_products[one.product]
        local = one.at.astimezone(zone_of(product.zone))
        power, limit = f"{one.power_w / 1e6:.1f}", f"{one.limit_usd_per_mw_h:.2f}"
        rows.append((one.site_id, one.product, product.service, *hour_begins(one.at, local), power, limit))
    return written(COLUMNS, rows)


def _plain(one: ReserveOffer) -> dict[str, object]:
    return {
        "site_id": one.site_id,
        "product": one.product,
        "at": one.at.isoformat(),
        "mw": round(one.power_w / 1e6, 3),
        "at_least_usd_per_mw_h": one.limit_usd_per_mw_h,
        "floor_usd_per_mw_h": round(one.floor_usd, 2),
        "calls_usd_per_mw_h": round(one.calls_usd, 2),
        "expected_usd_per_mwh": round(one.price_usd_per_mwh, 2),
        "peak_usd_per_mwh": round(one.peak_usd_per_mwh, 2),
        "reason": one.reason,
    }


def _product(one: ReserveProduct) -> dict[str, object]:
    return {
        "name": one.name,
        "operator": one.operator,
        "service": one.service,
        "called_by": one.called_by,
        "response_s": one.response_s,
        "lasts_s": one.lasts_s,
        "offers_close": one.offers_close,
        "published": one.published,
        "since": None if one.since is None else one.since.isoformat(),
        "calls_per_year": one.calls_per_year,
        "follows_share": one.follows_share,
        "energy_paid": one.energy_paid,
        "penalty_usd_per_mwh": one.penalty_usd_per_mwh,
        "source": one.source,
    }

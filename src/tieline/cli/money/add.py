"""`tieline books add`: what happened in money, entered by hand; each prints the entry it makes.

An id that is booked already with other content is refused, unless `--amend` says that it is a correction.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
import msgspec

from tieline.books import Bookkeeper, month_span
from tieline.books.accounts import coins_at, held_place, matured_id
from tieline.books.keeper import identity
from tieline.cli.folder import config_and_now, data_dir, open_store, place_in
from tieline.cli.money.keep import fresh, keeper_of, preview, record_all, record_booked
from tieline.cli.money.selling import ApprovedSale
from tieline.cli.outcome import AnswerIsNoError, NothingThereError
from tieline.clock import begun, day_or_moment
from tieline.economics import matures_in
from tieline.ledger import COMMODITIES, money, usd
from tieline.records import (
    AnyRecord,
    Deployed,
    EnergyEvidence,
    LoanFlow,
    Operated,
    Payment,
    Payout,
    Pledge,
    PoolMethod,
    Trade,
    Transfer,
)
from tieline.records.money import EvidenceKind
from tieline.settlement.arrivals import Told
from tieline.settlement.arrivals import matured as matured_of
from tieline.settlement.month import BEGINNING, END

F = TypeVar("F", bound=Callable[..., Any])


# Before the point, less one: more than there is of any money; beyond it a decimal's rounding has no digits left.
MOST_DIGITS = 14


class _Number(click.ParamType[Decimal]):
    """A decimal number with at most so many places."""

    name = "number"

    def __init__(self, places: int) -> None:
        self.places = places

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        if isinstance(value, Decimal):
            return value
        try:
            number = Decimal(str(value).replace(",", "").replace("_", ""))
        except InvalidOperation:
            self.fail(f"{value!r} is no number; write it like 7474.6", param, ctx)
        if not number.is_finite():
            self.fail(f"{value!r} is no number; write it like 7474.6", param, ctx)
        if number.adjusted() > MOST_DIGITS:
            self.fail(f"{value} is out of all bounds", param, ctx)
        if number != round(number, self.places):
            self.fail(f"{value} has more than {self.places} decimals; round it", param, ctx)
        return number


class When(click.ParamType[date]):
    """A day of the books' zone, or a moment; `begun` makes one of both."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        try:
            return day_or_moment(str(value))
        except ValueError as error:
            zone = str(error) if "zone" in str(error) else ""
            self.fail(zone or f"{value!r} is no date; write YYYY-MM-DD, or YYYY-MM-DDTHH:MM:SSZ", param, ctx)


BTC, USD = _Number(8), _Number(2)


def entered(command: F) -> F:
    """What every entry has: whose books, which id, when, and whether it is only tried or a correction."""
    for option in reversed(
        (
            data_dir,
            click.option("--id", "name", required=True, help="Its own name: a transaction id, a document's number."),
            click.option(
                "--at",
                type=When(),
                help="When it happened: a day of the books' zone, or a time with its offset; default: now.",
            ),
            click.option("--amend", is_flag=True, help="Correct what is booked under this id."),
            click.option("--dry-run", is_flag=True, help="Print the entry, and record nothing."),
            click.option("--json", "as_json", is_flag=True, help="Machine-readable."),
        )
    ):
        command = option(command)
    return command


@click.group()
def add() -> None:
    """Enter a payout, sale, transfer, pledge, loan, repayment, bill, payment or share issue."""


def sats(btc: Decimal) -> int:
    return int(btc * 10**8)


def enter(make: Callable[[dict[str, Any], Bookkeeper], Sequence[AnyRecord]], **common: Any) -> None:
    """Make the records, show what they would book, and keep them."""
    folder: Path = common["data_dir"]
    now = config_and_now(folder)[1]
    keeper = keeper_of(folder)
    at = begun(common["at"] or now, keeper.policy.zone)
    provenance = {"at": at, "known_at": now, "source": "entered", "kind": "measured"}
    try:
        batch = make(provenance, keeper)
    except ValueError as error:
        raise click.ClickException(f"nothing was recorded: {error}") from error
    new, _ = fresh(keeper, batch)
    for one in new:
        if keeper.told(one) is not None and not common["amend"]:
            raise AnswerIsNoError(
                f"nothing was recorded: {identity(one)} is booked already with other content; add --amend to correct it"
            )
    entries = preview(keeper, new)
    if new and not common["dry_run"]:
        record_booked(folder, new, now)
    if common["as_json"]:
        click.echo(json.dumps({"new": len(new), "recorded": bool(new) and not common["dry_run"], "entries": entries}))
        return
    click.echo("\n".join(entries) if entries else "it moves no money")
    word = "booked already, nothing changed" if not new else "not recorded" if common["dry_run"] else "recorded"
    click.echo(f"{identity(batch[0])}: {word}")


@add.command()
@entered
@click.option("--btc", type=BTC, required=True, help="What was credited.")
@click.option("--price", type=USD, required=True, help="USD per bitcoin when that day's contract with the pool began.")
@click.option("--pool", required=True)
@click.option("--from", "start", type=When(), help="Beginning of the span it pays for; default: a day before.")
@click.option("--fee", type=BTC, default=Decimal(0), help="What the pool kept, BTC.")
@click.option("--method", type=click.Choice(get_args(PoolMethod)[1:]), help="How the pool pays.")
@click.option("--hashrate", type=_Number(9), help="EH/s that the pool counted on average over that span.")
@click.option("--rejected", type=_Number(6), help="Percent of it that the pool did not pay: stale and invalid work.")
@click.option("--place", default="Treasury", show_default=True, help="Where the coins lie.")
@click.option(
    "--block", type=click.IntRange(0, 100_000_000),
    help="The height of a block of one's own: its coins lie apart for 100 blocks; --amend --btc 0: it was orphaned.",
)  # fmt: skip
def payout(btc: Decimal, price: Decimal, start: date | None, fee: Decimal, **given: Any) -> None:
    """Bitcoin credited by a pool, or of a block of one's own."""
    own = {"pool": given.pop("pool"), "place": given.pop("place"), "block": given.pop("block")}
    own |= _counted(given.pop("hashrate"), given.pop("rejected"))
    method: PoolMethod = given.pop("method") or ("" if own["block"] is None else "solo")

    def make(provenance: dict[str, Any], keeper: Bookkeeper) -> list[AnyRecord]:
        since = provenance["at"] - timedelta(days=1) if start is None else begun(start, keeper.policy.zone)
        return [
            Payout(
                **provenance, payout_id=given["name"], sats=sats(btc), span_start=since, span_end=provenance["at"],
                fee_sats=sats(fee), btc_usd=price, method=method, **own,
            )
        ]  # fmt: skip

    enter(make, **given)


def _counted(ehs: Decimal | None, rejected: Decimal | None) -> dict[str, float]:
    """What the pool says of the hashes it pays for. Raises click.UsageError."""
    if ehs is not None and not 0 <= ehs <= 10_000:
        raise click.UsageError(f"--hashrate {ehs}; give the EH/s of a fleet, 0 to 10,000")
    if rejected is not None and not 0 <= rejected <= 100:
        raise click.UsageError(f"--rejected {rejected}; give percent, 0 to 100")
    said = {} if ehs is None else {"hashrate_hs": float(ehs * 10**18)}
    return said | ({} if rejected is None else {"rejected": float(rejected / 100)})


@add.command()
@entered
@click.option("--tip", type=click.IntRange(0, 100_000_000), required=True, help="The height of the chain now.")
@click.option("--to", "target", default="Treasury", show_default=True, help="Where the coins lie from now on.")
def matured(tip: int, target: str, **common: Any) -> None:
    """A block of one's own (--id: its payout) has 100 blocks above it: its coins may be spent."""

    def make(provenance: dict[str, Any], keeper: Bookkeeper) -> list[AnyRecord]:
        payout = keeper.standing(f"payout {common['name']}")
        if not isinstance(payout, Payout) or payout.block is None or not payout.sats:
            raise NothingThereError(f"no block of one's own is booked under {common['name']!r}")
        left = matures_in(payout.block, tip)
        if left:
            raise AnswerIsNoError(
                f"block {payout.block:,} can be spent after {left} more blocks; the chain is at {tip:,}"
            )
        where = Told(provenance["known_at"], "entered", payout.pool, target)
        return matured_of(keeper, [payout], tip, where) or [told_again(keeper, payout)]

    enter(make, **common)


def told_again(keeper: Bookkeeper, payout: Payout) -> Transfer:
    """The move that is booked already."""
    stands = keeper.standing(f"transfer {matured_id(payout.payout_id)}")
    assert isinstance(stands, Transfer)
    return stands


@add.command()
@entered
@click.option("--btc", type=BTC, required=True, help="What was sold; negative: bought.")
@click.option("--price", type=USD, required=True, help="Per bitcoin, in the currency it was sold for.")
@click.option("--fee", type=USD, default=Decimal(0), show_default=True, help="In that currency.")
@click.option("--venue", default="desk", show_default=True)
@click.option("--for", "currency", type=str.upper, default="USD", show_default=True, help="What it brought.")
@click.option("--rate", type=_Number(8), help="USD per unit of that currency then; no peg is assumed.")
@click.option("--place", default="Treasury", show_default=True, help="Where the coins lay.")
@click.option("--lot", "lots", multiple=True, help="A lot by name; default: by the books' method.")
@click.option("--proposal", help="The approved proposal that it fills, or a part of it.")
@click.option("--hold", help="Post what is held under this id: the coins leave from there.")
def sale(proposal: str | None, hold: str | None, **given: Any) -> None:
    """Bitcoin sold, its lots by the books' method."""
    sold = {name: given.pop(name) for name in ("btc", "price", "fee", "venue", "currency", "rate", "place", "lots")}

    if hold is not None:
        sold["place"] = held_place(hold)

    def make(provenance: dict[str, Any], keeper: Bookkeeper) -> list[AnyRecord]:
        stands = keeper.standing(f"trade {given['name']}")
        if isinstance(stands, Trade) and sats(sold["btc"]) <= stands.sats:  # told again, and no more of it
            again = sold | {"place": stands.place, "lots": sold["lots"] or stands.lots}
            return [msgspec.structs.replace(_trade(provenance, given["name"], again), proposal_id=stands.proposal_id)]
        if sold["btc"] > 0 and proposal is None and "sale" in keeper.policy.two_people:
            raise AnswerIsNoError("two people decide on each sale: `tieline treasury propose`, then --proposal")
        if proposal is None:
            return [_trade(provenance, given["name"], sold)]
        approved = ApprovedSale(given["data_dir"], keeper, proposal, provenance["known_at"])
        mine = sold | {
            "place": sold["place"] if hold else approved.allowed.place,
            "lots": sold["lots"] or approved.lots,
        }
        trade = msgspec.structs.replace(_trade(provenance, given["name"], mine), proposal_id=proposal)
        return [trade, *approved.after(sold["btc"], provenance["known_at"])]

    enter(make, **given)


def known_currency(name: str) -> str:
    """Raises ValueError for one that is counted in no decimals that are known."""
    if name not in COMMODITIES:
        raise ValueError(f"commodity {name!r} is not known; known: {', '.join(COMMODITIES)}; a policy may name more")
    return name


def _trade(provenance: dict[str, Any], name: str, sold: dict[str, Any]) -> Trade:
    """Raises ValueError where a currency has no rate."""
    rate, other = sold["rate"], known_currency(sold["currency"]) != "USD"
    if other and (rate is None or rate <= 0):
        raise ValueError(f"--rate is missing: how many USD a {sold['currency']} was worth then; no peg is assumed")
    if other and sold["btc"] <= 0:
        raise ValueError("--for: a purchase is paid in USD; leave it out")
    worth = rate if other else Decimal(1)
    received = money(sold["btc"] * sold["price"] - sold["fee"], sold["currency"]).number if other else None
    return Trade(
        **provenance, trade_id=name, sats=sats(sold["btc"]), price_usd=usd(sold["price"] * worth).number,
        fee_usd=usd(sold["fee"] * worth).number, venue=sold["venue"], currency=sold["currency"], received=received,
        place=sold["place"], lots=tuple(sold["lots"]),
    )  # fmt: skip


@add.command()
@entered
@click.option("--btc", type=BTC, required=True)
@click.option("--from", "source", default="Treasury", show_default=True, help="The place they leave.")
@click.option("--to", "target", required=True, help="The place they arrive at.")
@click.option("--fee", type=BTC, default=Decimal(0), show_default=True, help="The network's fee, BTC, on top.")
@click.option("--price", type=USD, help="USD per bitcoin; needed with a fee, which is a disposal.")
@click.option("--lot", "lots", multiple=True, help="A lot by name; default: by the books' method.")
def transfer(
    btc: Decimal,
    source: str,
    target: str,
    fee: Decimal,
    price: Decimal | None,
    lots: tuple[str, ...],
    **common: Any,
) -> None:
    """Bitcoin moved between places of one's own; lots keep their cost and date."""

    def make(provenance: dict[str, Any], _: Bookkeeper) -> list[AnyRecord]:
        return [
            Transfer(
                **provenance, transfer_id=common["name"], sats=sats(btc), from_place=source, to_place=target,
                fee_sats=sats(fee), btc_usd=price, lots=lots,
            )
        ]  # fmt: skip

    enter(make, **common)


@add.command()
@entered
@click.option("--btc", type=BTC, required=True)
@click.option("--from", "source", default="Treasury", show_default=True, help="The place they leave.")
@click.option("--lot", "lots", multiple=True, help="A lot by name; default: by the books' method.")
def hold(btc: Decimal, source: str, lots: tuple[str, ...], **common: Any) -> None:
    """Bitcoin set apart for something pending: a sale that is ordered and not filled. Nothing else takes it until it is
    posted (`books add sale --hold ID`) or voided (`books add void`)."""

    def make(provenance: dict[str, Any], _: Bookkeeper) -> list[AnyRecord]:
        name = held_place(common["name"])
        return [Transfer(**provenance, transfer_id=name, sats=sats(btc), from_place=source, to_place=name, lots=lots)]

    enter(make, **common)


@add.command()
@entered
def post(**common: Any) -> None:
    """A payment or a loan's money that was pending (--id: its own) has moved."""

    def make(provenance: dict[str, Any], keeper: Bookkeeper) -> list[AnyRecord]:
        pending = _pending(keeper, common["name"])
        if pending is None:
            raise AnswerIsNoError(
                f"nothing of {common['name']!r} is pending; it was posted or voided, or never entered"
            )
        return [msgspec.structs.replace(pending, state="posted", at=provenance["at"], known_at=provenance["known_at"])]

    enter(make, **common | {"amend": True})


def _pending(keeper: Bookkeeper, name: str) -> Payment | LoanFlow | None:
    """What was entered under an id and has not moved yet."""
    for word in ("payment", "loan flow"):
        stands = keeper.standing(f"{word} {name}")
        if isinstance(stands, Payment | LoanFlow) and stands.state == "pending":
            return stands
    return None


@add.command()
@entered
@click.option("--to", "target", default="Treasury", show_default=True, help="Where coins go back to.")
def void(target: str, **common: Any) -> None:
    """What was pending does not happen: what is left of held coins, or the cash of a payment, goes back."""

    def make(provenance: dict[str, Any], keeper: Bookkeeper) -> list[AnyRecord]:
        pending = _pending(keeper, common["name"])
        if pending is not None:
            return [msgspec.structs.replace(pending, state="voided", known_at=provenance["known_at"])]
        place = held_place(common["name"])
        left = keeper.book.balance(coins_at(place), "BTC")
        if left <= 0:
            raise AnswerIsNoError(f"nothing is held under {common['name']!r}; it was posted or voided, or never held")
        told_ = provenance | {"transfer_id": f"{place} voided", "from_place": place, "to_place": target}
        return [Transfer(**told_, sats=sats(left))]

    enter(make, **common | {"amend": True})


@add.command()
@entered
@click.option("--loan", required=True)
@click.option("--btc", type=BTC, required=True, help="What is pledged; negative: what comes back.")
@click.option("--price", type=USD, help="USD per bitcoin; needed where the lender may sell the coins.")
@click.option("--place", default="Treasury", show_default=True, help="Where the coins lie.")
@click.option("--lot", "lots", multiple=True, help="A lot by name; default: by the books' method.")
def pledge(loan: str, btc: Decimal, price: Decimal | None, place: str, lots: tuple[str, ...], **common: Any) -> None:
    """Bitcoin pledged for a loan, or given back."""

    def make(provenance: dict[str, Any], _: Bookkeeper) -> list[AnyRecord]:
        return [
            Pledge(
                **provenance,
                pledge_id=common["name"],
                loan_id=loan,
                sats=sats(btc),
                btc_usd=price,
                place=place,
                lots=lots,
            )
        ]

    enter(make, **common)


@add.command()
@data_dir
@click.option("--month", required=True, help="YYYY-MM.")
@click.option("--deployed", type=_Number(6), help="EH/s on the racks at the month's end.")
@click.option("--operating", type=_Number(6), help="EH/s on average over the month.")
def hashrate(data_dir: Path, month: str, deployed: Decimal | None, operating: Decimal | None) -> None:
    """Hashrate of a month, where no platform measures it."""
    now = config_and_now(data_dir)[1]
    try:
        start, end = month_span(month, keeper_of(data_dir).policy.zone)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    provenance: dict[str, Any] = {"known_at": now, "source": "entered", "kind": "measured"}
    batch: list[AnyRecord] = []
    for value in (deployed, operating):
        if value is not None and not 0 <= value <= 10_000:
            raise click.ClickException(f"{value} EH/s; give what a fleet may have, 0 to 10,000")
    if deployed is not None:
        batch.append(
            Deployed(at=end - timedelta(seconds=1), hashrate_hs=float(deployed * 10**18), sites=0, **provenance)
        )
    if operating is not None:
        length_s = int((end - start).total_seconds())
        batch.append(Operated(at=start, hashrate_hs=float(operating * 10**18), length_s=length_s, **provenance))
    if not batch:
        raise click.UsageError("give --deployed, --operating or both")
    record_all(data_dir, batch, now)
    click.echo(f"hashrate of {month}: recorded")


@add.command()
@entered
@click.option("--what", type=click.Choice(get_args(EvidenceKind)), required=True)
@click.option("--until", type=When(), required=True, help="The end of what it is about; --at is its beginning.")
@click.option("--gco2", type=_Number(3), required=True, help="Grams of CO2 per kWh.")
@click.option("--site", default="", help="The site it is for; default: any.")
@click.option("--mwh", type=_Number(6), help="Of a certificate: the energy it stands for.")
@click.option("--registry", default="", help="Of a certificate.")
@click.option("--serial", default="", help="Of a certificate.")
@click.option("--year", type=click.IntRange(1990, 2200), help="Of a grid average: the year it was published for.")
@click.option("--origin", default="", help="Where it is written.")
def evidence(what: Any, until: date, gco2: Decimal, site: str, mwh: Decimal | None, **more: Any) -> None:
    """What says how much CO2 a kilowatt-hour meant: a contract, a certificate, a grid's average or residual mix."""
    own = {name: more.pop(name) for name in ("registry", "serial", "year", "origin")}

    def make(provenance: dict[str, Any], keeper: Bookkeeper) -> list[AnyRecord]:
        end = begun(until, keeper.policy.zone)
        if what == "certificate" and not (own["registry"] and own["serial"] and mwh):
            raise ValueError("a certificate has --registry, --serial and --mwh; it counts once by them")
        if what == "grid-average" and own["year"] is None:
            raise ValueError("--year is missing: of which year is the grid's average?")
        if end <= provenance["at"]:
            raise ValueError("--until is not after --at")
        if what == "certificate":
            _used_once(more["data_dir"], more["name"], own["registry"], own["serial"])
        wh = None if mwh is None else int(mwh * 10**6)
        return [
            EnergyEvidence(
                **provenance,
                evidence_id=more["name"],
                what=what,
                site_id=site,
                until=end,
                gco2_per_kwh=gco2,
                wh=wh,
                **own,
            )
        ]

    enter(make, **more)


def _used_once(folder: Path, name: str, registry: str, serial: str) -> None:
    """Raises AnswerIsNoError where the certificate is entered under another id."""
    if not place_in(folder).exists():
        return
    store = open_store(folder)
    try:
        for one in store.each(EnergyEvidence, BEGINNING, END):
            if (one.registry, one.serial) == (registry, serial) and one.evidence_id != name:
                raise AnswerIsNoError(f"certificate {registry} {serial} is {one.evidence_id} already; it counts once")
    finally:
        store.close()

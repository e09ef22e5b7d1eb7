"""`tieline treasury`: coins against debt, at a price; from the books, or from two spreadsheets and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from tieline.books import Bookkeeper
from tieline.books.treasury.cash import cash_view
from tieline.books.treasury.ladder import AskedError, Holding, asked, ladder, play, shocks, what_if
from tieline.books.treasury.position import holding_of, open_questions
from tieline.books.treasury.sheets import Sheet, SheetError, SheetTable, coins, loans, prices, table_of
from tieline.cli.files.tables import sheet_of
from tieline.cli.folder import config_and_now, data_dir, place_in
from tieline.cli.money.imports import mapping_of
from tieline.cli.money.keep import in_json, keeper_of, price_of
from tieline.cli.money.selling import propose
from tieline.cli.outcome import NothingThereError
from tieline.records import Range

F = TypeVar("F", bound=Callable[..., Any])
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class TreasuryInputs:
    """What a treasury command works on: what is held and owed, and the price."""

    holding: Holding
    price: Decimal
    questions: tuple[str, ...]
    policy: tuple[str, ...]


def on_the_desk(command: F) -> F:
    """The options that say what is held and what it is worth."""
    for option in reversed(
        (
            data_dir,
            click.option("--coins", "coins_file", type=FILE, help="Coins out of this sheet instead of the books."),
            click.option("--loans", "loans_file", type=FILE, help="Loans out of this sheet instead of the books."),
            click.option("--price", help="USD per bitcoin; default: the newest that the platform was told."),
            click.option(
                "--map", "maps", multiple=True, metavar="THEIRS=OURS", help="A column of the files by its name."
            ),
            click.option("--json", "as_json", is_flag=True, help="Machine-readable."),
        )
    ):
        command = option(command)
    return command


@click.group()
def treasury() -> None:
    """Coins, loans against them, and what a price would do to both."""


treasury.add_command(propose)


@treasury.command(name="ladder")
@on_the_desk
def ladder_command(as_json: bool, **where: Any) -> None:
    """Each loan's LTV now, and the price that reaches each of its levels."""
    desk = _desk(**where)
    held, price = desk.holding, desk.price
    rungs = ladder(held, price)
    if as_json:
        printed = {
            "price": price,
            "free_btc": held.free,
            "pledged_btc": held.pledged,
            "immature_btc": held.immature,
            "debt": held.debt,
            "cash": held.cash,
        }
        by_loan = [
            {"loan": one.loan_id, "ltv": one.ltv(price), "debt": one.debt, "pledged": one.pledged} for one in held.loans
        ]
        _json(
            printed
            | {
                "loans": by_loan,
                "ladder": [asdict(one) for one in rungs],
                "open": desk.questions,
                "policy": desk.policy,
            }
        )
        return
    parts = f"{_coins(held.free)} free, {_coins(held.pledged)} pledged"
    parts += f", {_coins(held.held)} held for what is pending" if held.held else ""
    parts += f", {_coins(held.immature)} immature" if held.immature else ""
    click.echo(f"{_coins(held.coins)} BTC at {price:,} USD: {parts}; debt {held.debt:,.2f}")
    for loan in held.loans:
        ratio = _percent(loan.ltv(price))
        click.echo(f"{loan.loan_id}: {loan.debt:,.2f} {loan.currency} on {_coins(loan.pledged)} BTC, LTV {ratio}")
        for rung in (one for one in rungs if one.loan_id == loan.loan_id):
            coins_ = "" if rung.coins is None else f", then {rung.coins:,.2f} BTC more bring it back to the initial LTV"
            where_ = "nothing is owed or pledged" if rung.trigger is None else f"at {_range(rung.trigger)} USD"
            fall = "" if rung.level == "initial" else _away(rung.fall)
            click.echo(f"  {rung.level:12} LTV {_percent_range(rung.ltv):>12}  {where_}{fall}{coins_}")
        if not any(one.loan_id == loan.loan_id for one in rungs):
            click.echo("  no level is known: its terms are not in the books")
    _questions(desk)


@treasury.command(name="what-if")
@click.argument("question")
@on_the_desk
def what_if_command(question: str, as_json: bool, **where: Any) -> None:
    """Ask what a sale would do: tieline treasury what-if "sell 4451 BTC at 68524 for USDT, repay"."""
    try:
        sale = asked(question)
        desk = _desk(**{**where, "price": where["price"] or str(sale.price)})
        made = what_if(desk.holding, sale)
    except AskedError as error:
        raise click.ClickException(str(error)) from error
    after = made.after
    ratios = {loan.loan_id: loan.ltv(sale.price) for loan in after.loans if loan.debt}
    if as_json:
        printed = {"proceeds": made.proceeds, "currency": sale.currency, "stages": [asdict(one) for one in made.stages]}
        printed |= {"debt": after.debt, "cash": after.cash, "free_btc": after.free, "pledged_btc": after.pledged}
        _json(printed | {"ltv": ratios, "gains": dict(made.gains), "open": desk.questions, "policy": desk.policy})
        return
    click.echo(f"sell {_coins(sale.btc)} BTC at {sale.price:,}: {made.proceeds:,.2f} {sale.currency}")
    for number, stage in enumerate(made.stages, 1):
        repaid = f", {stage.repaid:,.2f} repaid" if sale.repay else ""
        back = f", {stage.releasable:,.1f} BTC releasable" if stage.debt else ""
        click.echo(
            f"  {number}. {_coins(stage.sold)} BTC bring {stage.proceeds:,.2f}{repaid}; debt {stage.debt:,.2f}{back}"
        )
    levels = "".join(f", {name} LTV {_percent(ratio)}" for name, ratio in ratios.items())
    debt = f"debt {after.debt:,.2f}{levels}" if after.debt else "no debt"
    held = f"{_coins(after.coins)} BTC ({_coins(after.pledged)} pledged)"
    click.echo(f"then {debt}, {after.cash:,.2f} {sale.currency} in hand, {held}")
    if made.gains:
        click.echo("gain by lots: " + ", ".join(f"{name} {gain:,.2f}" for name, gain in made.gains.items()))
    else:
        click.echo("gain: not known, the lots and their cost are not in the books")
    _questions(desk)


@treasury.command(name="stress")
@on_the_desk
@click.option(
    "--shock", "falls", multiple=True, default=("-10%", "-20%", "-30%", "-50%"), show_default=True, help="A change."
)
@click.option("--history", type=FILE, help="Hourly prices, a sheet with time and price, played from every hour on.")
@click.option("--days", type=click.IntRange(1, 366), default=30, show_default=True, help="How long each is played.")
def stress_command(falls: tuple[str, ...], history: Path | None, days: int, as_json: bool, **where: Any) -> None:
    """What given falls, and every stretch of a price history, would do to each loan."""
    desk = _desk(**where)
    try:
        outcomes = shocks(desk.holding, desk.price, [_shock(one) for one in falls])
        hourly = [] if history is None else prices(sheet_of(history, "prices"), mapping_of(where["maps"]))
        played = [] if history is None else play(desk.holding, desk.price, hourly, days * 24)
    except (AskedError, SheetError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        _json(
            {
                "price": desk.price,
                "shocks": [asdict(one) for one in outcomes],
                "history": [asdict(one) for one in played],
                "policy": desk.policy,
            }
        )
        return
    for one in outcomes:
        cure = ""
        if one.state in ("called", "liquidated") and one.cure_btc is not None:
            cure = f"; {one.cure_btc:,.2f} BTC or {one.cure_cash:,.2f} in cash bring it back to the initial LTV"
        click.echo(f"{one.loan_id}: {one.shock:+.0%} to {one.price:,.2f}: LTV {_percent(one.ltv)}, {one.state}{cure}")
    for run in played:
        soon = (
            ""
            if run.soonest_h is None
            else f"; the soonest after {run.soonest_h} h, half of them within {run.median_h} h"
        )
        click.echo(f"{run.loan_id}: {run.level} within {days} days from {run.reached:,} of {run.starts:,} hours{soon}")
    _questions(desk)


@treasury.command(name="cash")
@data_dir
@click.option("--months", type=click.IntRange(1, 120), default=3, show_default=True, help="How many that have ended.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def cash_command(data_dir: Path, months: int, as_json: bool) -> None:
    """Cash by month, where it came from and went to, how long it lasts, and what is owed by age."""
    keeper = keeper_of(data_dir)
    view = cash_view(keeper.book, config_and_now(data_dir)[1], months, keeper.policy.zone)
    if as_json:
        _json(asdict(view) | {"policy": tuple(keeper.policy.lines())})
        return
    for line in keeper.policy.lines():
        click.echo(f"policy: {line}")
    for month in view.months:
        click.echo(f"{month.month}  opening {month.opening:>18,.2f} USD")
        for name, usd in month.moved:
            click.echo(f"         {name:36} {usd:>18,.2f}")
        click.echo(f"         closing {month.closing:>18,.2f}")
    if view.burn is None:
        click.echo(f"cash {view.cash:,.2f} USD; no month of it has ended, so how long it lasts is not known")
    elif view.runway_months is None:
        click.echo(f"cash {view.cash:,.2f} USD; operating brought {-view.burn:,.2f} a month, it does not run out")
    else:
        click.echo(
            f"cash {view.cash:,.2f} USD; operating used {view.burn:,.2f} a month, it lasts {view.runway_months} months"
        )
    for one in view.owed:
        ages = "  ".join(f"{usd:>14,.2f}" for usd in one.by_age)
        click.echo(f"owed {one.party:36} {one.total:>16,.2f}   0-30, 31-60, 61-90, older: {ages}")


def _desk(
    data_dir: Path, coins_file: Path | None, loans_file: Path | None, price: str | None, maps: tuple[str, ...]
) -> TreasuryInputs:
    """From the files where one is given, else from the folder's books."""
    now = config_and_now(data_dir)[1]
    if coins_file is None and loans_file is None:
        if not place_in(data_dir).exists():
            raise NothingThereError(
                f"no books in {data_dir}; give --coins and --loans, `tieline import` them, or name --data-dir"
            )
        keeper = keeper_of(data_dir)
    else:
        keeper = Bookkeeper()
        for read, name, file in ((coins, "coins", coins_file), (loans, "loans", loans_file)):
            if file is None:
                continue
            try:
                sheet = sheet_of(file, name)
                for record in read(sheet, _mine(maps, sheet), now):
                    keeper.take(record)
            except SheetError as error:
                raise click.ClickException(f"{file.name}: {error}") from error
    for one in keeper.unbookable:
        click.echo(str(one), err=True)
    return TreasuryInputs(
        holding_of(keeper), price_of(price, data_dir), open_questions(keeper), tuple(keeper.policy.lines())
    )


def _mine(maps: tuple[str, ...], sheet: Sheet) -> dict[str, str]:
    """Those of the mapped columns that this sheet has: two sheets share the option."""
    table = sheet if isinstance(sheet, SheetTable) else table_of(sheet)
    header = {cell.strip().lower() for cell in table.header}
    return {theirs: ours for theirs, ours in mapping_of(maps).items() if theirs.lower() in header}


def _shock(text: str) -> Decimal:
    try:
        number = Decimal(text.strip().rstrip("%"))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise click.BadParameter(f"{text!r} is no change; write it like -30%", param_hint="--shock")
    return number / 100 if "%" in text or abs(number) > 1 else number


def _away(fall: Decimal | None) -> str:
    """How far the price is from a trigger."""
    if fall is None:
        return ""
    return f", {fall:,.2f} % below the price" if fall > 0 else f", passed: it is {-fall:,.2f} % above the price"


def _coins(btc: Decimal) -> str:
    """In full, without zeros at the end."""
    text = f"{btc:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _percent(ratio: Decimal | None) -> str:
    return "not known" if ratio is None else f"{ratio * 100:,.2f} %"


def _percent_range(level: Range) -> str:
    return f"{level.low * 100:.2f} %" if level.exact is not None else f"{level.low * 100:.2f}-{level.high * 100:.2f} %"


def _range(value: Range) -> str:
    return f"{value.low:,.2f}" if value.exact is not None else f"{value.low:,.2f} to {value.high:,.2f}"


def _questions(desk: TreasuryInputs) -> None:
    for line in desk.questions:
        click.echo(f"open: {line}")
    for line in desk.policy:
        click.echo(f"policy: {line}")


def _json(printed: dict[str, Any]) -> None:
    click.echo(json.dumps(msgspec.to_builtins(printed, builtin_types=(Decimal,)), default=in_json, indent=2))

"""The monthly update one can publish: figures rounded once, half up, and four forms of the same list.

Made from the running month's fold and the ledger; what would make it contradict itself, the ledger or what was
published before is named, and then it is not published.
"""

from __future__ import annotations

import csv
import hashlib
import html
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from decimal import Decimal

import msgspec

from tieline.books.accounts import BOUGHT, COINS, COLLATERAL, ENTERED, MINED, OPENED, SOLD, SPENT
from tieline.books.follows import PrintedMonth, PrintedSpan, findings, half_up, places_of, quarter
from tieline.books.monthly import MonthlyUpdate
from tieline.books.span import month_before, month_span
from tieline.ledger import BTC, Book

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


# What moves coins in few months, and is printed in those: its sign is the one by which it is told.
MOVES = (
    ("btc_purchased", "Bitcoin bought", BOUGHT, -1),
    ("service_fee_btc", "Fees paid in bitcoin", SPENT, 1),
    ("btc_brought_in", "Bitcoin brought into the books", OPENED, -1),
    ("btc_lenders_net", "Bitcoin back from lenders with control of it, less what went to them", COLLATERAL, -1),
    ("btc_entered_net", "Bitcoin by entries of another ledger, net", ENTERED, -1),
)


class ReleasePolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a company prints, and in how many decimals."""

    company: str = ""
    ticker: str = ""
    btc_places: int = 2
    average_places: int = 2
    hashrate_places: int = 2
    cash: bool = False
    notes: tuple[str, ...] = ()


class ReleaseFigure(msgspec.Struct, frozen=True, kw_only=True):
    """One line: `value` as printed, `was` what an earlier publication printed where this restates it."""

    name: str
    label: str
    value: str
    unit: str
    was: str | None = None


class MonthlyRelease(msgspec.Struct, frozen=True, kw_only=True):
    """A month's update, in the order in which it is read."""

    month: str
    company: str
    ticker: str
    figures: tuple[ReleaseFigure, ...]
    movements: tuple[ReleaseFigure, ...]
    notes: tuple[str, ...] = ()
    policy: tuple[str, ...] = ()  # the accounting policy it was made by, in words

    def value(self, name: str) -> Decimal | None:
        figure = next((one for one in self.figures if one.name == name), None)
        return None if figure is None else Decimal(figure.value)


@dataclass(frozen=True, slots=True)
class Basis:
    """What a release is made from."""

    update: MonthlyUpdate
    book: Book
    policy: ReleasePolicy
    published: MonthlyRelease | None = None  # of this month, where it was published before
    before: MonthlyRelease | None = None  # of the month before, as published
    active_days: Decimal | None = None  # where recording began within the month
    zone: tzinfo = UTC
    quarter: tuple[MonthlyRelease, ...] = ()  # the quarter's months before this one, as published
    accounting: tuple[str, ...] = ()  # the accounting policy, line by line


def make(basis: Basis) -> MonthlyRelease:
    """The release of a month from its fold. Figures that are not known are left out, never printed as nothing."""
    policy, update = basis.policy, basis.update
    month = update.month
    days = Decimal(PrintedMonth(month=month, produced=Decimal(0)).days)
    active = basis.active_days or days
    produced = _exact(update, "bitcoin_produced") or Decimal(0)
    last_month = month_span(month_before(month), basis.zone)
    earlier = -basis.book.change(MINED, BTC, *last_month)
    was = {one.name: one.value for one in basis.published.figures} if basis.published else {}
    lines: list[ReleaseFigure] = []

    def line(name: str, label: str, exact: Decimal | None, places: int, unit: str) -> None:
        if exact is None:
            return
        value = f"{half_up(exact, places):f}"
        changed = was.get(name) if was.get(name) not in (None, value) else None
        lines.append(ReleaseFigure(name=name, label=label, value=value, unit=unit, was=changed))

    coins, average = policy.btc_places, policy.average_places
    operating, deployed = (_exact(update, name) for name in ("hashrate_operating", "hashrate_deployed"))
    line("btc_produced", "Bitcoin produced", produced, coins, "BTC")
    line("avg_btc_per_day", "Average bitcoin produced per day", produced / active, average, "BTC")
    pledged, held, free = (_exact(update, f"bitcoin_{name}") for name in ("pledged", "held", "free"))
    line("btc_held_end", "Bitcoin held at month end", held, coins, "BTC")
    line("restricted_or_pledged_btc", "Bitcoin pledged at month end", pledged if pledged else None, coins, "BTC")
    line("free_btc", "Unrestricted bitcoin held at month end", free if free != held else None, coins, "BTC")
    line("btc_sold", "Bitcoin sold", _exact(update, "bitcoin_sold"), coins, "BTC")
    for name, label, account, sign in MOVES:
        moved = sign * basis.book.change(account, BTC, *month_span(month, basis.zone))
        line(name, label, moved if moved else None, coins, "BTC")
    line("deployed_ehs", "Deployed hashrate at month end", deployed, policy.hashrate_places, "EH/s")
    line("avg_operating_ehs", "Average operating hashrate", operating, policy.hashrate_places, "EH/s")
    share = operating / deployed * 100 if operating is not None and deployed else None
    line("operating_share_pct", "Operating share of deployed hashrate", share, 1, "%")
    change = (produced / earlier - 1) * 100 if earlier else None
    line("btc_produced_mom_pct", "Bitcoin produced, change from the month before", change, 2, "%")
    if policy.cash:
        line("cash_usd", "Cash at month end", _exact(update, "cash"), 2, "USD")
    notes = list(policy.notes)
    if active != days:
        notes.append(
            f"The average is over {half_up(active, 2)} active days; over {days} calendar days it is "
            f"{half_up(produced / days, average)} BTC."
        )
    if update.simulated:
        notes.append("Simulated: made from an invented fleet and a simulated pool, not from real machines.")
    return MonthlyRelease(
        month=month, company=policy.company, ticker=policy.ticker, figures=tuple(lines),
        movements=_movements(basis, coins), notes=tuple(notes), policy=basis.accounting,
    )  # fmt: skip


def _movements(basis: Basis, places: int) -> tuple[ReleaseFigure, ...]:
    """The roll-forward of coins: opening, what came and went, closing."""
    start, end = month_span(basis.update.month, basis.zone)
    book = basis.book
    opening = book.change(COINS, BTC, None, start)
    rows = [("opening", "Opening balance", opening)]
    for name, label, account in (
        ("brought_in", "Brought into the books", OPENED),
        ("produced", "Produced", MINED),
        ("bought", "Bought", BOUGHT),
        ("sold", "Sold", SOLD),
        ("fees", "Network fees", SPENT),
        ("lent", "Out to lenders who may sell them", COLLATERAL),
        ("entered", "By entries of another ledger", ENTERED),
    ):
        moved = -book.change(account, BTC, start, end)
        if moved or name in ("produced", "sold"):
            rows.append((name, label, moved))
    rows.append(("closing", "Closing balance", book.change(COINS, BTC, None, end)))
    return tuple(
        ReleaseFigure(name=name, label=label, value=f"{half_up(number, places):f}", unit="BTC")
        for name, label, number in rows
    )


def faults(release: MonthlyRelease, basis: Basis) -> list[str]:
    """What keeps it from being published, each with its sum; none: it may be."""
    update = basis.update
    lines = [] if update.complete else [f"{update.month} has not ended"]
    lines += [f"left out of the figures: {line}" for line in update.left_out]
    lines += [*_coin_faults(release), *_average_faults(release, basis), *_opening_faults(release, basis)]
    return [*lines, *_change_faults(release, basis), *_quarter_faults(release, basis)]


def _moved(release: MonthlyRelease) -> dict[str, Decimal]:
    return {one.name: Decimal(one.value) for one in release.movements}


def _coin_faults(release: MonthlyRelease) -> Iterator[str]:
    """Opening + in - out = closing, which is what is said to be held."""
    moved = _moved(release)
    closing = moved.pop("closing")
    total = PrintedSpan(Decimal(0), Decimal(0))
    for number in moved.values():
        total += PrintedSpan.of(number)
    if not total.meets(PrintedSpan.of(closing)):
        sum_ = " + ".join(f"{number:,}" for number in moved.values())
        yield f"the coins do not roll forward: {sum_} is not {closing:,}"
    held = release.value("btc_held_end")
    if held is not None and held != closing:
        yield f"held is {held:,}, the ledger closes with {closing:,}"


def _average_faults(release: MonthlyRelease, basis: Basis) -> Iterator[str]:
    produced, average = release.value("btc_produced"), release.value("avg_btc_per_day")
    days = basis.active_days or Decimal(PrintedMonth(month=release.month, produced=Decimal(0)).days)
    if produced is None or average is None or PrintedSpan.of(produced).over(days).meets(PrintedSpan.of(average)):
        return
    yield f"average x days: {average} x {half_up(days, 2)} is not {produced:,}"


def _opening_faults(release: MonthlyRelease, basis: Basis) -> Iterator[str]:
    """The month before was published with what this one opens with."""
    opening = _moved(release)["opening"]
    then = None if basis.before is None else basis.before.value("btc_held_end")
    if basis.before is None or then is None or PrintedSpan.of(then).meets(PrintedSpan.of(opening)):
        return
    yield (
        f"opening is {opening:,} by the ledger, and {basis.before.month} was published with {then:,} held; "
        "restate that month first"
    )


def _change_faults(release: MonthlyRelease, basis: Basis) -> Iterator[str]:
    """The change from the month before follows from both months as they are printed, and that month from the ledger."""
    before = basis.before
    produced, then = release.value("btc_produced"), None if before is None else before.value("btc_produced")
    if before is None or produced is None or not then:
        return
    change = release.value("btc_produced_mom_pct")
    row = PrintedMonth(month=release.month, produced=produced, before=then, change_pct=change)
    yield from (f"month on month: {one.says}" for one in findings(row) if one.what == "change" and not one.holds)
    ledger = -basis.book.change(MINED, BTC, *month_span(before.month, basis.zone))
    if not PrintedSpan.of(then).meets(PrintedSpan(ledger, ledger)):
        says = half_up(ledger, places_of(then))
        yield f"{before.month} was published with {then:,} produced, the ledger says {says:,}; restate that month first"


def _quarter_faults(release: MonthlyRelease, basis: Basis) -> Iterator[str]:
    """At a quarter's end its months, as they are printed, sum to the ledger's quarter."""
    months = [*basis.quarter, release]
    if int(release.month[5:]) % 3 or len(months) != 3:
        return
    printed = [one.value("btc_produced") for one in months]
    if any(one is None for one in printed):
        return
    exact = [one for one in printed if one is not None]
    start, end = month_span(months[0].month, basis.zone)[0], month_span(release.month, basis.zone)[1]
    ledger = half_up(-basis.book.change(MINED, BTC, start, end), places_of(exact[-1]))
    name = f"{release.month[:4]}Q{int(release.month[5:]) // 3}"
    one = quarter(name, ledger, exact)
    if not one.holds:
        yield f"{name}: {one.says} by the ledger"


def against(release: MonthlyRelease, printed: dict[str, Decimal]) -> list[str]:
    """What a text prints otherwise than the books say, by the names of the disclosures' fields."""
    lines = []
    for name, value in sorted(printed.items()):
        ours = release.value(name)
        if ours is None:
            continue
        if not PrintedSpan.of(ours).meets(PrintedSpan.of(value)):
            lines.append(f"{name}: printed {value:,}, the books say {half_up(ours, places_of(value)):,}")
    return lines


def told_row(release: MonthlyRelease) -> PrintedMonth:
    """The printed figures as a row that can be checked against themselves."""
    moved = _moved(release)
    produced = release.value("btc_produced")
    assert produced is not None
    return PrintedMonth(
        month=release.month,
        produced=produced,
        opening=moved["opening"],
        sold=release.value("btc_sold"),
        held=release.value("btc_held_end"),
        average=release.value("avg_btc_per_day"),
        other=tuple(n for name, n in moved.items() if name not in ("opening", "produced", "sold", "closing")),
    )


def self_check(release: MonthlyRelease) -> list[str]:
    """Relations among its own printed figures that do not hold."""
    return [one.says for one in findings(told_row(release)) if not one.holds]


# --- forms ----------------------------------------------------------------------------------------------


def title(release: MonthlyRelease) -> str:
    year, month = release.month.split("-")
    who = (
        f"{release.company} ({release.ticker}): b"
        if release.ticker
        else f"{release.company}: b"
        if release.company
        else "B"
    )
    return f"{who}itcoin production and mining operations update for {MONTHS[int(month) - 1]} {year}"


def shown(figure: ReleaseFigure) -> str:
    value = Decimal(figure.value)
    sign = "+" if figure.unit == "%" and figure.name.endswith("mom_pct") and value > 0 else ""
    return f"{sign}{value:,f} {figure.unit}"


def _was(release: MonthlyRelease) -> str:
    """What was published before of the figures that this restates; empty where it restates none."""
    was = [
        f"{Decimal(one.was):,f}{' %' if one.unit == '%' else ''} for {one.label[0].lower()}{one.label[1:]}"
        for one in release.figures
        if one.was is not None
    ]
    return f"Published before this restatement: {'; '.join(was)}." if was else ""


def as_text(release: MonthlyRelease) -> str:
    """What a restatement was before stands in lines of its own: beside the figure, who reads it could take it for
    either."""
    lines = [title(release), "", *(f"{one.label}: {shown(one)}" for one in release.figures)]
    was = _was(release)
    lines += ["", was] if was else []
    notes = ["", *release.notes] if release.notes else []
    policy = ["", POLICY, *(f"- {line}" for line in release.policy)] if release.policy else []
    return "\n".join([*lines, *notes, *policy]) + "\n"


def as_csv(release: MonthlyRelease) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["month", "name", "value", "unit", "was"])
    for one in (*release.figures, *release.movements):
        writer.writerow([release.month, one.name, one.value, one.unit, one.was or ""])
    for line in release.policy:
        writer.writerow([release.month, "policy", line, "", ""])
    return out.getvalue()


def as_json(release: MonthlyRelease) -> str:
    return msgspec.json.format(msgspec.json.encode(release), indent=2).decode() + "\n"


def as_html(release: MonthlyRelease) -> str:
    """A page that stands alone: no script, nothing fetched."""

    def table(caption: str, figures: Sequence[ReleaseFigure]) -> str:
        rows = "".join(
            f"<tr><th scope=row>{html.escape(one.label)}</th><td>{html.escape(shown(one))}</td></tr>\n"
            for one in figures
        )
        return f"<table>\n<caption>{caption}</caption>\n{rows}</table>\n"

    name = html.escape(title(release))
    notes = "".join(f"<p>{html.escape(note)}</p>\n" for note in (_was(release), *release.notes) if note)
    policy = "".join(f"<li>{html.escape(line)}</li>\n" for line in release.policy)
    return (
        f'<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<meta name=viewport content="width=device-width">\n'
        f"<title>{name}</title>\n<style>{STYLE}</style>\n<h1>{name}</h1>\n"
        + table("Production and operations", release.figures)
        + table("Bitcoin, from opening to closing", release.movements)
        + notes
        + (f"<h2>{POLICY}</h2>\n<ul>\n{policy}</ul>\n" if policy else "")
    )


POLICY = "Accounting policy"
STYLE = """
body { font: 16px/1.5 system-ui; margin: 2rem auto; max-width: 44rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 }
caption { text-align: left; font-weight: 600 }
th { text-align: left; font-weight: 400 }
h2 { font-size: 1rem } li { font-size: .85rem }
td { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; padding-left: 1rem }
th, td { padding-block: .3rem; border-bottom: 1px solid #8884 }
"""
FORMS = {"text": as_text, "html": as_html, "csv": as_csv, "json": as_json}


def text_digest(release: MonthlyRelease) -> str:
    return hashlib.sha256(as_text(release).encode()).hexdigest()


def digests(release: MonthlyRelease) -> tuple[str, ...]:
    """Of its text, and of that without the policy and without what moves coins in few months, as it was published
    before those were printed."""
    names = {name for name, *_ in MOVES}
    fewer = msgspec.structs.replace(release, figures=tuple(one for one in release.figures if one.name not in names))
    forms = (release, fewer)
    return tuple(text_digest(one) for form in forms for one in (form, msgspec.structs.replace(form, policy=())))


def _exact(update: MonthlyUpdate, name: str) -> Decimal | None:
    value = update.figure(name).value
    return None if value is None else Decimal(value)

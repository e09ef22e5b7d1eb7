"""Sixteen months of a miner's published figures, played through `tieline books` and `tieline update`.

    make demo-treasury

From what was produced and sold and the two hashrates of each month, entered by hand as a treasurer would, every other
printed figure must follow to its last digit, or the contradiction is named. Then the updates that Tieline made are read
and checked by `tieline disclosures`, as a stranger would. Takes its figures from the facts that come with the package.
"""

from __future__ import annotations

import csv
import io
import json
import sys
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from click.testing import CliRunner

from tieline.books.follows import PrintedMonth, RelationCheck, findings, half_up, places_of, quarter
from tieline.books.span import month_span
from tieline.cli import main as tieline
from tieline.disclosures.comparison.derive import produced_in
from tieline.disclosures.facts.book import ClaimBook, IssuerPeriod
from tieline.disclosures.facts.shipped import shipped

ISSUER, OWN = "CANG", "DEMO"
MONTHS = [f"{2024 + n // 12}-{n % 12 + 1:02}" for n in range(10, 26)]  # November 2024 to February 2026
QUARTERS = {
    "2024Q4": MONTHS[:2],
    "2025Q1": MONTHS[2:5],
    "2025Q2": MONTHS[5:8],
    "2025Q3": MONTHS[8:11],
    "2025Q4": MONTHS[11:14],
}
# A lot's cost needs a price; none was printed, and no figure of the update depends on it.
PRICE = "90000"
# Rows of the roll-forward, whose figures the update prints under other names too.
MOVEMENTS = ("opening", "produced", "sold", "closing", "policy")


@dataclass(frozen=True)
class Played:
    """One month: what Tieline printed, and what was found of what the miner printed."""

    month: str
    printed: dict[str, str]
    found: list[RelationCheck]
    differs: list[str]


def run(*args: object, ok: bool = True) -> str:
    told = CliRunner().invoke(tieline, [str(one) for one in args])
    if ok and told.exit_code != 0:
        raise SystemExit(f"tieline {' '.join(map(str, args))}\n{told.output}")
    return told.output


def value(book: ClaimBook, month: str, field: str) -> Decimal | None:
    claim = book.best(ISSUER, month, field)
    return None if claim is None else claim.value


def sold_in(book: ClaimBook, month: str) -> Decimal | None:
    """Printed for the month, or announced on a day of it."""
    known = value(book, month, "btc_sold")
    if known is not None:
        return known
    days = [p for p in book.periods(ISSUER) if p.startswith(f"{month}-")]
    announced = [found for day in days if (found := value(book, day, "btc_announced_sale")) is not None]
    return sum(announced, Decimal(0)) if announced else None


def unprinted(book: ClaimBook) -> dict[str, Decimal]:
    """What each month may have made where its quarter prints less than its months: half of the last digit less, which
    prints the same, in as many months as it takes, the last first."""
    found = {}
    for name, months in QUARTERS.items():
        printed = value(book, name, "btc_produced")
        terms = [term.value for month in months if (term := produced_in(IssuerPeriod(book, ISSUER, month))) is not None]
        if printed is None or len(terms) != len(months):
            continue
        apart = sum(terms, Decimal(0)) - printed
        half = Decimal(5).scaleb(-max(places_of(one) for one in terms) - 1)
        if 0 < apart <= half * len(months):
            for month in list(reversed(months))[: int(apart / half)]:
                found[month] = -half
    return found


def enter(folder: Path, book: ClaimBook, month: str, less: Decimal) -> Decimal:
    """One month by hand: a payout, a sale, two hashrates. Returns what was printed as produced."""
    start, end = month_span(month)
    term = produced_in(IssuerPeriod(book, ISSUER, month))
    assert term is not None
    average = value(book, month, "avg_btc_per_day")
    began = start
    if month == MONTHS[0] and average is not None:  # mining began within the month: its average says when
        began = end - timedelta(days=float(term.value / average))
    at = ["--at", end.isoformat(), "--from", began.isoformat()]
    what = ["--id", f"pool {month}", "--btc", term.value + less, "--price", PRICE, "--pool", "demo pool"]
    run("books", "add", "payout", "--data-dir", folder, *what, *at)
    sold = sold_in(book, month)
    if sold:
        run("books", "add", "sale", "--data-dir", folder, "--id", f"sale {month}", "--btc", sold, "--price", PRICE,
            "--at", (end - timedelta(days=1)).isoformat())  # fmt: skip
    rates = []
    for option, field in (("--deployed", "deployed_ehs"), ("--operating", "avg_operating_ehs")):
        rate = value(book, month, field)
        rates += [] if rate is None else [option, rate]
    if rates:
        run("books", "add", "hashrate", "--data-dir", folder, "--month", month, *rates)
    return term.value


def policy(folder: Path, book: ClaimBook, month: str, produced: Decimal) -> Path:
    """As many decimals as the miner printed."""
    average = value(book, month, "avg_btc_per_day")
    path = folder / f"policy-{month}.toml"
    digits = 2 if average is None else places_of(average)
    places = f"btc_places = {places_of(produced)}\naverage_places = {digits}"
    path.write_text(f'company = "Demo Mining Inc."\nticker = "{OWN}"\n{places}\n')
    return path


def publish(folder: Path, month: str, rules: Path) -> None:
    """Checked by one, approved by another, published."""
    for state, by in (("checked", "Ada"), ("approved", "Bo"), ("published", "Bo")):
        run("update", month, "--data-dir", folder, "--policy", rules, "--state", state, "--by", by)


def play(folder: Path, book: ClaimBook) -> list[Played]:
    played = []
    opening, before, less = Decimal("0.0"), None, unprinted(book)
    for month in MONTHS:
        produced = enter(folder, book, month, less.get(month, Decimal(0)))
        rules = policy(folder, book, month, produced)
        publish(folder, month, rules)
        rows = csv.DictReader(
            io.StringIO(run("update", month, "--data-dir", folder, "--policy", rules, "--form", "csv"))
        )
        ours = {row["name"]: row["value"] for row in rows if row.get("name")}
        held = value(book, month, "btc_held_end")
        sold = sold_in(book, month)
        row = PrintedMonth(
            month=month, produced=produced, opening=opening, sold=sold, held=held,
            average=value(book, month, "avg_btc_per_day"), before=before,
            change_pct=value(book, month, "btc_produced_mom_pct"),
        )  # fmt: skip
        found = findings(row)
        for claim in book.of(f"{ISSUER}.{month}.btc_sold"):  # other sources of the same figure
            if claim.value != sold:
                other = PrintedMonth(month=month, produced=produced, opening=opening, sold=claim.value, held=held)
                found += [one for one in findings(other) if not one.holds]
        differs = []
        for name in ("avg_btc_per_day", "btc_held_end", "btc_sold", "deployed_ehs", "avg_operating_ehs"):
            theirs = value(book, month, name)
            if theirs is not None and name in ours and half_up(Decimal(ours[name]), places_of(theirs)) != theirs:
                differs.append(f"{name} {ours[name]} (printed {theirs})")
        played.append(Played(month, ours, found, differs))
        opening, before = (held if held is not None else opening + produced - (sold or 0)), produced
    return played


def show(played: list[Played], book: ClaimBook) -> None:
    names = ("btc_produced", "avg_btc_per_day", "btc_held_end", "btc_sold", "deployed_ehs", "avg_operating_ehs",
             "operating_share_pct", "btc_produced_mom_pct")  # fmt: skip
    heads = ("produced", "a day", "held", "sold", "deployed", "operating", "share %", "change %")
    print(f"{'month':8}" + "".join(f"{head:>11}" for head in heads))
    for one in played:
        print(f"{one.month:8}" + "".join(f"{one.printed.get(name, '-'):>11}" for name in names))
    print("\nwhat does not follow from what was printed:")
    for one in played:
        for finding in one.found:
            if not finding.holds:
                print(f"  {one.month} {finding.what}: {finding.says}")
    by_month = {one.month: value(book, one.month, "btc_produced") for one in played}
    for name, months in QUARTERS.items():
        printed, parts = value(book, name, "btc_produced"), [made for m in months if (made := by_month[m]) is not None]
        if printed is not None and len(parts) == len(months):
            found = quarter(name, printed, parts)
            if not found.holds or "apart" in found.says:
                print(f"  {found.month} {found.what}: {found.says}")
    print("\nwhere the books and the print part:")
    for one in played:
        for line in one.differs:
            print(f"  {one.month} {line}")


def read_back(folder: Path, played: list[Played]) -> int:
    """Tieline's own updates, read and checked as a stranger's; returns how many figures were not found."""
    facts, missing, contradictions = folder / "facts.jsonl", 0, 0
    for one in played:
        made = ["update", one.month, "--data-dir", folder, "--policy", folder / f"policy-{one.month}.toml"]
        due = {name: Decimal(value) for name, value in one.printed.items() if name not in MOVEMENTS}
        for form, ending in (("html", "html"), ("text", "txt")):
            path = folder / f"update-{one.month}.{ending}"
            path.write_text(run(*made, "--form", form).partition(f"{one.month}: published")[0])
            read = ["disclosures", "read", path, "--issuer", OWN, "--facts", facts, "--source-kind", "issuer"]
            told = json.loads(run(*read, "--json"))["facts"]
            found = {fact["field"]: Decimal(str(fact["value"])) for fact in told if fact["period"] == one.month}
            for name, value in due.items():
                if found.get(name) != value:
                    print(f"  {one.month} {form}: {name} {value} is read as {found.get(name, 'nothing')}")
                    missing += 1
        run(*read, "--keep")
        run(*made, "--against", path)
    for line in run("disclosures", "check", "--issuer", OWN, "--facts", facts, ok=False).splitlines():
        if line.startswith("differs"):
            contradictions += 1
            print(f"  {line}")
    print(f"\nread back by `tieline disclosures`: {missing} figures not found, {contradictions} contradictions")
    print(run("disclosures", "explain", OWN, "2025-11", "--facts", facts, ok=False))
    return missing + contradictions


def main() -> int:
    book = shipped()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        played = play(folder, book)
        show(played, book)
        print(run("books", "verify", "--data-dir", folder))
        return 1 if read_back(folder, played) else 0


if __name__ == "__main__":
    sys.exit(main())

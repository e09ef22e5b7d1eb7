"""Every figure of the pages of money opens to entries that sum to it, or to the records that it is made of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner
from tests.cli.folder import make
from tests.console.test_page import Visit, browser, served  # noqa: F401  # a fixture

from tieline.cli import main
from tieline.fleet import Fleet

NOW = datetime(2026, 9, 10, 12, 0, tzinfo=UTC)
MONEY = """
payout --id p7 --btc 620.04 --price 100000 --pool x --from 2026-07-01 --at 2026-08-01
payout --id p8 --btc 546.75 --price 104000 --pool x --from 2026-08-01 --at 2026-08-31
payout --id p9 --btc 71.5 --price 98000 --pool x --from 2026-08-31 --at 2026-09-05
sale --id s8 --btc 100 --price 110000 --at 2026-08-09
sale --id b8 --btc -12.5 --price 100000 --at 2026-08-10
sale --id s9 --btc 3 --price 97000 --at 2026-09-06
transfer --id t --btc 5 --to Cold --fee 0.2 --price 100000 --at 2026-08-11
hold --id h --btc 7 --at 2026-09-07
loan --id A:1 --lender Bank --may-rehypothecate no --initial 60% --call 75% --rate 8% --amount 9000000 --at 2026-08-12
loan --id B --lender Other --may-rehypothecate yes --call 80% --at 2026-08-12
pledge --id gA --loan A:1 --btc 300 --at 2026-08-12
pledge --id gB --loan B --btc 100 --price 101000 --at 2026-08-13
bill --id v1 --payee Host --for Hosting --amount 120000 --at 2026-08-20
bill --id v2 --payee Host --for Hosting --amount 90000 --at 2026-09-02
payment --id m1 --party Host --amount 50000 --at 2026-09-03
equity --id e --amount 10500000 --status closed --at 2026-08-14
hashrate --month 2026-08 --deployed 50 --operating 44.38
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = make(tmp_path_factory.mktemp("opened") / "data", [], NOW)

    def run(*words: str) -> None:
        told = CliRunner().invoke(main, [*words, "--data-dir", str(folder)])
        assert told.exit_code == 0, (words, told.output)

    for line in MONEY.strip().splitlines():
        run("books", "add", *line.split())
    sheet = Path(folder) / "coins.csv"
    sheet.write_text("date,btc,cost_usd\n2026-08-06,40,3500000\n")
    run("import", "coins", str(sheet))
    run("books", "close", "2026-07", "--price", "99000")
    run("books", "close", "2026-08", "--price", "105000")
    still = ModuleType("still")
    still.NOW = NOW
    with served(still, Fleet(name="Example", sites=()), folder / "store.db") as (address, _):
        yield address


LINKS = """() => [...document.querySelectorAll('main a.ref, main button.ref')].map((one) => {
  const row = one.closest('tr'), cells = row ? [...row.children] : [];
  return { tag: one.tagName, href: one.getAttribute('href'), text: one.innerText,
           cells: cells.map((cell) => cell.innerText), panel: one.closest('.panel')?.getAttribute('aria-label') ?? '' };
})"""
READ = "() => document.querySelector('main a.ref') && !document.querySelector('main').innerText.includes('Reading')"
NUMBER = re.compile(r"-?[\d,]+(?:\.\d+)?")


def amount(text: str) -> Decimal | None:
    found = NUMBER.fullmatch(re.sub(r"\s*(BTC|USD)$", "", text.strip()))
    return None if found is None else abs(Decimal(found[0].replace(",", "")))


# Figures that are reckoned from others at a price or by a rule, and open to what they are reckoned from.
RECKONED = ("What if", "Stress", "Why production changed")
RECKONED_ROWS = (
    "Worth, at that price",
    "Average bitcoin produced per day",
    "Bitcoin produced, change from the month before",
)
PAGES = ["/treasury?price=68524", "/books?of=2026-08", "/update?month=2026-08"]


def sums_of(answer: dict[str, Any]) -> set[Decimal]:
    """Every sum that the opened page shows, as it shows it."""
    places = {"BTC": 8}
    found = set()
    for one in answer["sums"]:
        for number in (one["opening"], one["moved"], one["closing"]):
            if number is not None:
                found.add(abs(round(Decimal(number), places.get(one["commodity"], 2))))
    return found


def wrong_of(link: dict[str, Any], answer: dict[str, Any]) -> str | None:
    """What a link's row says that its entries do not sum to; None where they do."""
    if link["panel"] in RECKONED or set(link["cells"][:1]) & set(RECKONED_ROWS):
        return None
    if link["panel"] == "Loans" and len(link["cells"]) == 6:  # the ladder's
        return None
    own = amount(link["text"])
    figures = [own] if own is not None else [n for cell in link["cells"] if (n := amount(cell)) is not None][:1]
    sums = sums_of(answer) or {Decimal(0)}
    rounded = sums | {round(one, 2) for one in sums}
    if figures and not any(one in rounded for one in figures):
        return f"{link['panel']} {link['cells']} {link['href']}: {sorted(map(str, sums))}"
    return None


def test_every_figure_opens_to_entries_that_sum_to_it(browser: Any, url: str) -> None:  # noqa: F811
    visit = Visit(browser, url, PAGES[0])
    for path in PAGES:
        visit.page.goto(url + path)
        visit.page.wait_for_function(READ, timeout=20_000)
        links = [one for one in visit.page.evaluate(LINKS) if one["tag"] == "A"]
        assert len(links) >= 8
        hrefs = sorted({one["href"] for one in links})
        asked = "hrefs => Promise.all(hrefs.map((href) => fetch('/api' + href).then((a) => a.json())))"
        answers = dict(zip(hrefs, visit.page.evaluate(asked, hrefs), strict=True))
        assert [answer for answer in answers.values() if "error" in answer] == []
        wrong = [line for one in links if (line := wrong_of(one, answers[one["href"]])) is not None]
        assert wrong == [], path
        moved = [href for href, one in answers.items() if any(Decimal(each["moved"]) for each in one["sums"])]
        assert [href for href in moved if not answers[href]["entries"]] == [], "a sum without the entries that make it"
    visit.context.close()

"""Reads go to the end: nothing that is summed may end early without a word."""

import ast
import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.dispatch.fleets import fleet, site

import tieline.store
from tieline import records
from tieline.books import invoices
from tieline.clock import micros
from tieline.console.month import Month
from tieline.console.rooms import provenance
from tieline.records import PriceTick, Usage
from tieline.settlement.month import update_of
from tieline.store import Selection, Store, sqlite

T0 = datetime(2026, 11, 1, tzinfo=UTC)
NOW = T0 + timedelta(days=2)
MANY = 210_000


def use(number: int, at: datetime = T0) -> Usage:
    return Usage(
        at=at, known_at=at, source="gateway", kind="measured", request_id=f"r{number}", tenant="acme", project="p",
        key_id="k", model="m", endpoint="/v1/chat/completions", status=200, prompt_tokens=3, output_tokens=7,
        cost_nano_usd=1_000_000,
    )  # fmt: skip


@pytest.fixture(scope="module")
def full() -> Store:
    """More requests of 0.001 USD than one read ever gave, a second's worth of them at each moment."""
    store = Store(None, records.encode, records.decode)
    whole = records.encode(use(0))
    rows = []
    for number in range(MANY):
        at = micros(T0) + number // 50 * 1_000_000
        moment = (T0 + timedelta(seconds=number // 50)).isoformat().replace("+00:00", "Z").encode()
        body = whole.replace(b'"r0"', b'"r%d"' % number).replace(b'"2026-11-01T00:00:00Z"', b'"%s"' % moment)
        rows.append(("Usage", f"r{number}", "acme", at, at, body))
    store._db.many("INSERT INTO record (stream, key, subject, at, known_at, body) VALUES (?,?,?,?,?,?)", rows)
    return store


def test_an_invoice_counts_every_request_of_its_month(full: Store) -> None:
    (made,) = invoices(full.each(Usage, T0, NOW), "2026-11", keyed=True)
    (line,) = made.lines
    assert (line.requests, line.output_tokens, made.total_usd) == (MANY, 7 * MANY, Decimal("210.00"))


def test_the_update_and_the_page_count_every_request_too(full: Store) -> None:
    owned = fleet(site())

    async def read(job: Callable[[Store], Any]) -> Any:
        return job(full)

    update = update_of(full, owned, "2026-11", NOW)
    page = Month(owned)

    async def looked() -> tuple[dict[str, Any], dict[str, Any]]:
        first = await page.view(read, NOW)
        late = [use(MANY, T0), use(MANY + 1, T0)]  # told late, into a stretch that was folded before
        full.append(late)
        return first, await page.view(read, NOW)

    first, second = asyncio.run(looked())
    billed = [f["value"] for view in (first, second) for f in view["figures"] if f["name"] == "inference_billed"]
    assert [update.figure("inference_billed").value, *billed] == ["210.00", "210.00", "210.00"]
    assert [view["invoices"][0]["lines"][0]["requests"] for view in (first, second)] == [MANY, MANY + 2]


def test_a_list_of_a_range_is_all_of_it(full: Store) -> None:
    assert len(full.between(Usage, T0, NOW)) >= MANY


def tick(at: int, known: int, market: str) -> PriceTick:
    return PriceTick(
        at=T0 + timedelta(hours=at), known_at=T0 + timedelta(hours=known), source="t", kind="measured", market=market,
        price_usd_per_mwh=1.0,
    )  # fmt: skip


ticks = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from("AB")), max_size=40)


@given(rows=ticks, limit=st.integers(1, 7), newest=st.booleans(), market=st.sampled_from([None, "A"]))
def test_pages_laid_end_to_end_are_the_whole_in_order(
    rows: list[tuple[int, int, str]], limit: int, newest: bool, market: str | None
) -> None:
    store = Store(None, records.encode, records.decode)
    store.append([tick(*row) for row in rows])
    found, place, more = [], None, True
    while more:
        page = store.page(Selection(PriceTick, T0, NOW, subject=market), limit, place, newest_first=newest)
        assert len(page.items) <= limit
        place, more = page.last, page.more
        assert not more or len(page.items) == limit
        found += [s.record for s in page.items]
    wanted = {r.key: r for r in (tick(*row) for row in rows) if market in (None, r.market)}
    assert sorted(r.key for r in found) == sorted(wanted)  # type: ignore[attr-defined]
    times = [(r.at, r.known_at) for r in found]  # type: ignore[attr-defined]
    assert times == sorted(times, reverse=newest)
    if not newest:
        assert found == store.between(PriceTick, T0, NOW, subject=market)
    store.close()


def test_what_is_appended_while_a_range_is_read_is_not_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "PAGE", 3)
    store = Store(None, records.encode, records.decode)
    store.append([tick(n, n, "A") for n in range(10)])
    read = store.each(PriceTick, T0, NOW)
    seen = [next(read)]
    store.append([tick(20, 20, "A"), tick(0, 20, "A")])
    seen += read
    assert [r.at for r in seen] == [T0 + timedelta(hours=n) for n in range(10)]
    assert len(store.between(PriceTick, T0, NOW)) == 12


def test_a_list_on_a_screen_says_that_there_is_more_and_where(full: Store) -> None:
    asked = {"stream": "Usage", "limit": "3"}
    first = provenance.listed(full, asked, NOW)
    second = provenance.listed(full, asked | {"after": first["next"]}, NOW)
    assert first["more"]
    assert len({one["seq"] for one in first["records"] + second["records"]}) == 6
    one = provenance.listed(full, asked | {"since": T0.isoformat(), "until": (T0 + timedelta(seconds=1)).isoformat(),
                                       "limit": "500"}, NOW)  # fmt: skip
    assert (one["more"], one["next"]) == (False, None)
    with pytest.raises(provenance.AskError, match="after"):
        provenance.listed(full, asked | {"after": "there"}, NOW)


# --- no query may shorten in silence ------------------------------------------------------

# What has a LIMIT and gives no Page: each takes one row by its order, or the head of a queue that its caller empties.
DECLARED = {
    "sqlite.py:latest": "the newest one of each subject",
    "sqlite.py:numbers": "a page of the books; they come again behind its last number until nothing is left",
    "kept.py:newest": "a page of the console, which asks behind the last entry of it",
    "kept.py:bodies": "a page of a walk that goes on behind its last entry until one is not full",
    "outbox.py:take": "the head of a queue; the caller comes again until it is empty",
    "spool.py:take": "the head of a queue; the caller comes again until it is empty",
    "used.py:deeds_before": "a page of the API, with has_more",
    "batches.py:files": "a page of the API, with has_more",
    "batches.py:batches": "a page of the API, with has_more",
    "batches.py:waiting": "lines beyond a number; the caller comes again with the last one",
    "alerts.py:put": "what is kept to be looked at, and it says how many messages did not fit",
    "people.py:untold": "the head of a queue; the caller comes again until it is empty",
    "people.py:put_session": "which of an account's sessions stay: the bound is what it is for",
}


def limited(source: str) -> set[str]:
    """Functions with a string that has an SQL limit, or that fetch only so many rows, and give no Page."""
    found = set()
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef) or ast.unparse(function.returns or ast.Constant("")).startswith(
            "Page["
        ):
            continue
        prose = ast.get_docstring(function, clean=False)
        texts = [n.value for n in ast.walk(function) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        calls = {n.attr for n in ast.walk(function) if isinstance(n, ast.Attribute)}
        if (
            any(re.search(r"\b(LIMIT|FETCH FIRST)\b", t, re.IGNORECASE) for t in texts if t != prose)
            or "fetchmany" in calls
        ):
            found.add(function.name)
    return found


def test_the_check_finds_a_query_that_shortens() -> None:
    bad = 'def rows(db):\n    "A limit in prose is none."\n    return db.execute(f"SELECT x FROM y {1} LIMIT 5")'
    assert limited(bad) == {"rows"}
    assert limited(bad.replace("rows(db)", "rows(db) -> Page[int]")) == set()
    assert limited("def rows(db):\n    return db.execute('SELECT x').fetchmany(5)") == {"rows"}


def test_no_query_of_the_store_shortens_in_silence() -> None:
    folder = Path(tieline.store.__file__).parent
    found = {f"{path.name}:{name}" for path in folder.rglob("*.py") for name in limited(path.read_text())}
    assert found - DECLARED.keys() == set(), "give a Page, or read to the end"
    assert DECLARED.keys() - found == set(), "declared, but not there any more"

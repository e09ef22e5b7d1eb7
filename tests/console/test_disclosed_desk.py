"""The desk in headless Chromium: twenty candidates cleared, and a fact taken back is gone from page, file and API."""

from __future__ import annotations

import json
import os
import shutil
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.serving import running

from tieline.clock import SimClock
from tieline.console import page as built
from tieline.console.app import Shown, make_app
from tieline.disclosures.facts.desk import CandidateFile, path_beside
from tieline.disclosures.facts.keep import LiveBook
from tieline.disclosures.intake import Origin, waiting_of
from tieline.disclosures.read import read
from tieline.fleet import Fleet
from tieline.store import Store

NOW = datetime(2025, 9, 1, tzinfo=UTC)
MANY = 20


@pytest.fixture
def browser() -> Iterator[Any]:
    path = os.environ.get("TIELINE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium here (install it, or name it in TIELINE_CHROMIUM)")
    if not (built.STATIC / "index.html").exists():
        pytest.skip("the page is not built (npm ci && npm run build in web/)")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    """A book with twenty candidates of news on its desk."""
    path = tmp_path / "disclosures.jsonl"
    months = [
        ("January", "2025-02"),
        ("February", "2025-03"),
        ("March", "2025-04"),
        ("April", "2025-05"),
        ("May", "2025-06"),
    ]
    desk = CandidateFile(path_beside(path))
    for n, (month, published) in enumerate(months):
        for issuer, name in (("HIVE", "HIVE"), ("BTDR", "Bitdeer")):
            text = f"{name} mined {101 + n} BTC in {month} 2025. {name} sold {11 + n} BTC in {month} 2025."
            reading = read(text, issuer=issuer, published=published, source_kind="news")
            desk.put(waiting_of(reading, Origin(f"https://news.test/{issuer}/{n}", "news", published, NOW)))
    assert len(desk.waiting()) == MANY
    return path


@pytest.fixture
def url(world: ModuleType, fleet: Fleet, store: Store, facts: Path) -> Iterator[str]:
    with running(make_app(store, fleet, SimClock(world.NOW), shown=Shown(disclosures=LiveBook(facts)))) as found:
        yield found


def shrunk(page: Any, left: int) -> None:
    """Waits until so many candidates stand on the page."""
    until = time.monotonic() + 60
    while page.locator(".desk-item").count() != left:
        assert time.monotonic() < until, f"{page.locator('.desk-item').count()} candidates, not {left}"
        time.sleep(0.02)


def answer(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as response:
        return str(response.read().decode())


def test_twenty_candidates_are_cleared_and_one_is_taken_back(browser: Any, url: str, facts: Path) -> None:
    page = browser.new_page()
    page.goto(f"{url}/disclosures", wait_until="load")
    page.wait_for_selector(".desk-item", timeout=60_000)
    page.fill("#desk-who", "Jane")
    begin = time.monotonic()
    for left in range(MANY, 0, -1):
        button = "Reject" if left % 5 == 0 else "Accept"
        page.locator(".desk-item").first.get_by_role("button", name=button).click()
        shrunk(page, left - 1)
    assert time.monotonic() - begin < 300
    desk = CandidateFile(path_beside(facts))
    assert not desk.waiting()
    assert {d.who for d in desk.decisions()} == {"Jane"}
    assert len(desk.accepted()) == MANY - MANY // 5

    claim = next(c for c in desk.accepted() if c.fact.field == "btc_produced" and c.fact.issuer == "HIVE")
    month = claim.fact.period
    grid = f"{url}/api/disclosures/grid?field=btc_produced&issuer=HIVE"
    assert month in answer(grid)
    desk.decide("withdraw", claim.id, "Jane", NOW, "another month's")
    assert month not in json.loads(answer(grid)).get("months", [])
    assert f"HIVE,{claim.value}" not in answer(f"{url}/api/disclosures/table.csv?month={month}")
    assert claim.id not in answer(f"{url}/api/disclosures?month={month}")
    assert claim.figure not in answer(f"{url}/api/disclosures/table.csv?month={month}&shape=long")
    page.reload(wait_until="load")
    page.wait_for_selector(".desk-log li", timeout=60_000)
    assert page.locator(f"a[href='#{claim.figure}']").count() == 0
    page.close()

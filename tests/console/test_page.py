"""The built page in headless Chromium: what it shows, that it stays on this machine, that it fits a phone."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import uvicorn

from tieline import records
from tieline.clock import SimClock
from tieline.console import page as built
from tieline.console.app import Shown, make_app
from tieline.fleet import Fleet
from tieline.store import Store

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def _chromium() -> str | None:
    named = os.environ.get("TIELINE_CHROMIUM")
    return named or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = _chromium()
    if path is None:
        pytest.skip("no Chromium here (install it, or name it in TIELINE_CHROMIUM)")
    if not (built.STATIC / "index.html").exists():
        pytest.skip("the page is not built (npm ci && npm run build in web/)")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def url(world: ModuleType, fleet: Fleet, filled: Path) -> Iterator[str]:
    with served(world, fleet, filled) as (url, _):
        yield url


@contextlib.contextmanager
def served(world: ModuleType, fleet: Fleet, filled: Path) -> Iterator[tuple[str, uvicorn.Server]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    store = Store(filled, records.encode, records.decode, read_only=True)
    parts = [{"name": "core", "ok": True, "detail": "ready"}, {"name": "world", "ok": False, "detail": "restarted"}]
    app = make_app(store, fleet, SimClock(world.NOW), shown=Shown(info={"parts": parts, "version": "0"}))
    config = uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.02)
    yield f"http://127.0.0.1:{port}", server
    server.should_exit = True
    thread.join(5)
    store.close()


class Visit:
    """One page with what it said and asked for."""

    def __init__(self, browser: Any, url: str, path: str, width: int = 1440, scheme: str = "dark") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda m: self.said.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda e: self.said.append(str(e)))
        self.page.on("request", lambda r: self.asked.append(r.url))
        self.page.goto(url + path)
        self.page.wait_for_selector(".panel", timeout=20_000)

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))


def test_the_page_shows_the_numbers_of_the_store(browser: Any, url: str) -> None:
    visit = Visit(browser, url, "/")
    page = visit.page
    keys = page.evaluate("fetch('/api/overview').then(a => a.json()).then(o => o.keys)")
    page.wait_for_selector(".power-panel canvas")
    assert visit.text(".tile.wide .value") == f"{keys['drawn_mw']:,.0f}"
    assert f"{keys['ehs']:.2f}" in visit.text(".keys")
    assert f"{keys['hashprice_usd']:.2f}" in visit.text(".keys")
    assert "1 unit not heard" in visit.text(".keys")
    banner = visit.text(".banner")
    assert "All 40 sites are invented" in banner
    assert "Synthetic" in banner
    assert "world not well" in visit.text(".parts summary")
    assert page.locator(".map-stage .site").count() == 40
    assert "Grid order" in visit.text(".decisions")
    assert "Self-test model: proves the path, not a product" in visit.text(".chat-label")
    page.wait_for_selector(".figures li:has-text('Bitcoin produced')")
    assert visit.said == []
    assert all(asked.startswith((url, "data:")) for asked in visit.asked), "nothing leaves this machine"
    out = Path("tests/out")
    out.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(out / "console.png"), full_page=True)
    visit.context.close()


@pytest.mark.parametrize("path", ["/", "/site/na-ca-01", "/treasury", "/books", "/update", "/records", "/disclosures"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_a_phone_and_says_no_error(browser: Any, url: str, path: str, scheme: str) -> None:
    visit = Visit(browser, url, path, width=390, scheme=scheme)
    visit.page.wait_for_load_state("load")
    visit.page.wait_for_timeout(300)
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert visit.said == []
    visit.context.close()


def test_a_number_opens_to_records_and_a_record_has_an_address(browser: Any, url: str) -> None:
    visit = Visit(browser, url, "/")
    page = visit.page
    page.click("section[aria-label='Power by use'] button:has-text('Records')")
    page.wait_for_selector("dialog[open] .record .own:has-text('power w')")
    page.click("dialog .record .json summary")
    assert '"type": "Sample"' in visit.text("dialog .record pre")
    link = page.locator("dialog .record a").first.get_attribute("href")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    page.goto(url + link)
    page.wait_for_selector(".record .json")
    assert visit.text("h1") == f"Record {link.rsplit('/', 1)[1]}"
    assert visit.said == []
    visit.context.close()


def test_a_stream_is_a_table_over_a_time_range_with_json_on_demand(browser: Any, url: str) -> None:
    visit = Visit(browser, url, "/records?stream=Sample&subject=na-ca-01")
    page = visit.page
    page.wait_for_selector("table.stream")
    assert page.locator("table.stream pre").count() == 0
    heads = page.locator("table.stream th").all_inner_texts()
    assert "power w" in heads
    assert "site id" not in heads, "the column About says it"
    page.click("table.stream .ref >> nth=0")
    assert '"type": "Sample"' in visit.text("table.stream .more pre")
    page.click("table.stream .ref >> nth=0")
    assert page.locator("table.stream pre").count() == 0
    rows = page.locator("table.stream tbody tr").count()
    with page.expect_download() as saved:
        page.click("button:has-text('CSV')")
    assert len(Path(saved.value.path()).read_text().splitlines()) == rows + 1
    page.fill("#until", "2020-01-01T00:00")
    page.select_option("#span", "1d")
    page.wait_for_selector("text=No Sample record in that time.")
    assert "span=1d" in page.url
    assert "until=2020-01-01T00%3A00" in page.url
    page.reload()
    page.wait_for_selector("text=No Sample record in that time.")
    assert visit.said == []
    visit.context.close()


def test_without_news_the_page_takes_back_that_all_is_well(
    browser: Any, world: ModuleType, fleet: Fleet, filled: Path
) -> None:
    with served(world, fleet, filled) as (url, server):
        visit = Visit(browser, url, "/")
        visit.page.wait_for_selector(".attention .lead:has-text('need')")
        assert "Unknown" not in visit.text(".attention")
        server.should_exit = server.force_exit = True
        unknown = ".attention .lead:has-text('Unknown whether anything needs you')"
        visit.page.wait_for_selector(unknown, timeout=20_000)
        assert "parts unknown" in visit.text(".parts summary")
        assert "no news for" in visit.text(".conn")
        visit.context.close()


def test_the_map_is_worked_by_keyboard(browser: Any, url: str) -> None:
    visit = Visit(browser, url, "/")
    page = visit.page
    page.wait_for_selector(".map-stage .site")
    page.focus(".map-stage .site >> nth=0")
    page.keyboard.press("Enter")
    card = visit.text(".map-card")
    assert "MW" in card
    assert "USD/MWh" in card
    page.keyboard.press("Enter")
    page.wait_for_selector("table.units")
    assert "/site/" in page.url
    assert visit.said == []
    visit.context.close()


def test_the_theme_is_chosen_and_remembered(browser: Any, url: str) -> None:
    visit = Visit(browser, url, "/records", scheme="light")
    page = visit.page
    paint = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(paint)
    page.click("button.theme")
    dark = page.evaluate(paint)
    assert light != dark
    page.reload()
    page.wait_for_selector(".panel")
    assert page.evaluate(paint) == dark
    visit.context.close()


def test_a_figure_opens_to_its_source_and_checks(browser: Any, url: str) -> None:
    visit = Visit(browser, url, "/disclosures")
    page = visit.page
    page.click("table.peers tbody a >> nth=0")
    page.wait_for_selector("dialog .claim")
    text = visit.text("dialog")
    assert "Source" in text
    assert "Checks" in text
    assert "#" in page.url
    address = page.url
    page.goto(address)
    page.wait_for_selector("dialog .claim", timeout=20_000)
    assert visit.said == []
    visit.context.close()

"""Anything is found by a few letters, by keyboard alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.console.site_of_pages import console, sign_in
from tests.console.test_axe import ASK, AXE
from tests.console.test_page import browser  # noqa: F401  # a fixture


@pytest.fixture(scope="module")
def url(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with console(filled, tmp_path_factory.mktemp("palette")) as url:
        yield url


def test_a_site_a_rig_a_page_and_a_record_are_found_by_keyboard_alone(browser: Any, url: str) -> None:  # noqa: F811
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    sign_in(context, url, "root")
    page = context.new_page()
    page.goto(url + "/")
    page.wait_for_selector(".tile")

    def find(words: str, there: str) -> None:
        page.keyboard.press("Control+k")
        page.wait_for_selector("dialog.palette[open]")
        page.keyboard.type(words)
        page.wait_for_selector(f"dialog.palette li[aria-selected=true]:has-text('{there}')")
        page.keyboard.press("Enter")
        page.wait_for_selector("dialog.palette", state="detached")

    find("maple sug", "Sugar Maple")
    page.wait_for_url("**/site/na-ny-02")
    find("00:00:07", "02:00:00:00:00:07")
    page.wait_for_url("**/rigs/na-ca-01/**")
    find("approv", "Approvals")
    page.wait_for_url("**/approvals")
    find("#7", "#7")
    page.wait_for_url("**/records/7")

    find("studies", "Studies")
    page.wait_for_url("**/studies")
    page.go_back()
    page.wait_for_selector(".top")

    page.focus("a.brand")
    page.keyboard.press("/")
    page.wait_for_selector("dialog.palette[open]")
    page.keyboard.type("nothing of this name")
    page.wait_for_selector("text=Nothing of that name is known here")
    if AXE.exists():
        page.evaluate(AXE.read_text())
        assert page.evaluate(ASK["light"]) == []
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog.palette", state="detached")
    assert page.evaluate("document.activeElement.className") == "brand"
    context.close()

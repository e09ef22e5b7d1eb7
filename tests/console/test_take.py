"""An incident is taken from a phone: the message's link, signing in, one button."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.console.site_of_pages import LINK, console
from tests.console.test_accounts import WORDS
from tests.console.test_page import browser  # noqa: F401  # a fixture


@pytest.fixture
def url(filled: Path, tmp_path: Path) -> Iterator[str]:
    with console(filled, tmp_path) as url:
        yield url


def test_a_message_s_link_is_opened_on_a_phone_and_takes_its_incident_once(browser: Any, url: str) -> None:  # noqa: F811
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(f"{url}/alerts/take#{LINK}")
    page.wait_for_selector("#password")
    assert "/login" in page.url
    page.fill("#name", "root")
    page.fill("#password", WORDS)
    page.click("button[type=submit]")
    page.wait_for_selector(".take form")
    shown = page.inner_text(".take")
    assert "not heard" in shown
    assert "Delta Slough, Mesquite Flat, Red Mesa" in shown
    button = page.locator(".take button")
    box = button.bounding_box()
    assert box["y"] + box["height"] < 844  # in view without scrolling
    assert box["height"] >= 44
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    button.click()
    page.wait_for_selector("text=You have it: not heard")
    assert LINK not in page.url
    (one,) = [i for i in context.request.get(f"{url}/api/alerts").json()["open"] if i["key"] == "not heard"]
    assert (one["state"], one["acknowledged_by"], "links" in one) == ("acknowledged", "Root (root)", False)
    page.goto(f"{url}/alerts/take#{LINK}")
    page.reload()
    page.wait_for_selector("text=it is used up")
    context.close()

"""No page breaks a rule of accessibility that a machine can check: axe-core's WCAG 2.2 A and AA, and best practices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.console.site_of_pages import console, sign_in
from tests.console.test_page import browser  # noqa: F401  # a fixture

AXE = Path(__file__).resolve().parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
OPERATOR = (
    "/", "/inference", "/site/na-ca-01", "/records", "/records/1", "/disclosures", "/treasury", "/books", "/update",
    "/tomorrow", "/people", "/audit", "/alerts", "/approvals", "/account", "/rigs", "/rigs/na-ca-01/02:00:00:00:00:07",
    "/observed", "/alerts/take#the-secret-of-one-message",
)  # fmt: skip
TENANT = ("/my", "/my/invoices/2026-00001")
# The other theme has the same elements in other colours.
ASK = {
    "light": "async () => (await axe.run({resultTypes: ['violations']})).violations",
    "dark": "async () => (await axe.run({runOnly: ['color-contrast'], resultTypes: ['violations']})).violations",
}


@pytest.fixture(scope="module")
def url(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with console(filled, tmp_path_factory.mktemp("axe")) as url:
        yield url


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("who", "paths"), [("root", OPERATOR), ("olive", TENANT), ("", ("/login", "/join#x"))])
def test_no_page_has_a_violation(browser: Any, url: str, who: str, paths: tuple[str, ...], scheme: str) -> None:  # noqa: F811
    if not AXE.exists():
        pytest.skip("axe-core is not installed (npm ci in web/)")
    context = browser.new_context(viewport={"width": 1400, "height": 900}, color_scheme=scheme)
    if who:
        sign_in(context, url, who)
    page = context.new_page()
    wrong = []
    for path in paths:
        page.goto(url + path)
        page.wait_for_selector(".panel, form", timeout=20_000)
        page.wait_for_timeout(150)
        page.evaluate(AXE.read_text())
        for one in page.evaluate(ASK[scheme]):
            wrong += [(path, one["id"], node["target"], node["html"][:120]) for node in one["nodes"]]
    context.close()
    lines = [" ".join(map(str, one)) for one in wrong]
    assert lines == [], "\n".join(lines)

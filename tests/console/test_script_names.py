"""A script in any name is text: of the fleet, a site, a rig, its worker and its pool."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
from tests.console.test_page import browser, served  # noqa: F401  # a fixture

from tieline.console.rooms.rigs import COLUMNS
from tieline.fleet import Fleet

EVIL = '<img src=x onerror="window.ran=1"><script>window.ran=1</script>"\'{{7*7}}'


def named(fleet: Fleet) -> Fleet:
    sites = tuple(msgspec.structs.replace(one, name=f"{one.name} {EVIL}") for one in fleet.sites)
    return msgspec.structs.replace(fleet, name=EVIL, sites=sites)


def rigs() -> bytes:
    row = [EVIL, EVIL, EVIL, EVIL, EVIL, EVIL, "mining", 200.0, 200.0, 3500.0, 17.5, 60.0, 1.0, EVIL]
    return json.dumps({"now": 0.0, "columns": COLUMNS, "rows": [row], "elsewhere": [], "modelled": 0}).encode()


def test_a_script_in_any_name_is_text(
    browser: Any,  # noqa: F811
    world: ModuleType,
    fleet: Fleet,
    filled: Path,
) -> None:
    with served(world, named(fleet), filled) as (url, _):
        context = browser.new_context(viewport={"width": 1400, "height": 900})
        page = context.new_page()
        page.route("**/api/rigs", lambda route: route.fulfill(body=rigs(), content_type="application/json"))
        for path, waits_for in (
            ("/", ".tile .value"),
            (f"/site/{fleet.sites[0].id}", "h1"),
            ("/rigs", ".rows .rig"),
            ("/tomorrow", "h1, h2"),
            ("/records", "table"),
        ):
            page.goto(f"{url}{path}")
            page.wait_for_selector(waits_for)
            page.wait_for_timeout(150)
            assert page.evaluate("window.ran") is None, path
            assert page.locator("img[src=x]").count() == 0, path
            if path in ("/rigs", f"/site/{fleet.sites[0].id}"):
                assert EVIL in page.inner_text("body"), path
        context.close()

"""Ten minutes of a platform's news under a reader's eyes: is focus, selection or anything open lost?

    .venv/bin/python bench/live_page.py [--minutes 10] [--keep FOLDER]

The demo platform runs and its door is asked twice a second. Pages that are told anew every two to ten seconds are open
side by side; on each a button of a live table has the focus, words of it are selected, a detail is open, and a field
holds what somebody began to type. Every two seconds it is looked whether all of it is still so, on the same elements.
Prints how often each page changed meanwhile, and what was lost.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from playwright.sync_api import Page, sync_playwright

from kills import Load, state
from machine import processor

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
COMMAND = [sys.executable, "-m", "tieline"]
LOOK_S, ASK_S = 2.0, 0.5


class Watched(NamedTuple):
    """One page: what has the focus, whose words are selected, what is opened by a click, and what is typed into."""

    name: str
    path: str
    focus: str
    select: str
    open: str = ""
    types: str = ""


PAGES = (
    Watched("overview", "/", ".decisions li button.ref", ".decisions li p.why", ".decisions li details summary"),
    Watched("a disc's card", "/", ".map-stage .site", ".map-card dl dd", ".parts summary"),
    Watched("site", "/site/{site}", "table.units tbody button.name", "table.units tbody th small", "", "#why"),
    Watched("a number's records", "/site/{site}", "dialog button", "dialog h2", "dialog summary >> nth=1"),
    Watched(
        "inference", "/inference", "table.units tbody th button.name", "table.units tbody th small", ".parts summary"
    ),
    Watched("alerts", "/alerts", "header button.find", "h1", ".parts summary", "#alerts-by"),
    Watched("rigs", "/rigs", ".rows .rig input", "h1"),
)
HOLD = """([focus, select, types]) => {
  const held = (window.held = { changes: 0 });
  const target = document.querySelector(select);
  if (target) {
    const range = document.createRange();
    range.selectNodeContents(target);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    held.selected = target;
    held.node = getSelection().anchorNode;
  }
  held.opened = [...document.querySelectorAll("details[open], dialog[open]")];
  if (types) {
    held.field = document.querySelector(types);
    if (held.field) held.field.value = "begun";
  }
  held.focused = document.querySelector(focus);
  held.focused?.focus({ preventScroll: true });
  const all = { subtree: true, childList: true, characterData: true, attributes: true };
  new MutationObserver((found) => (held.changes += found.length)).observe(document.body, all);
  const focused = Boolean(held.focused && document.activeElement === held.focused);
  return [focused, Boolean(target), held.opened.length, Boolean(held.field)];
}"""
LOST = """() => {
  const h = window.held, lost = [];
  if (h.focused && document.activeElement !== h.focused) lost.push("focus");
  const words = getSelection();
  const selected = () => h.selected.isConnected && !words.isCollapsed && words.containsNode(h.selected, true);
  if (h.selected && !selected()) lost.push("selection");
  if (!h.opened.every((e) => e.isConnected && e.open)) lost.push("an open detail");
  if (h.field && (!h.field.isConnected || h.field.value !== "begun")) lost.push("what was typed");
  return [lost, h.changes];
}"""


def asked(load: Load) -> None:
    """One request after another, half of them streamed."""
    with httpx.Client(timeout=40.0, trust_env=False) as client:
        number = 0
        while not load.stop:
            number += 1
            try:
                load._one(client, number % 2 == 0, f"Count to five, {number}")
            except (httpx.HTTPError, ValueError, KeyError):
                load.failed += 1
            time.sleep(ASK_S)


def opened(browser: Any, url: str, site: str, one: Watched) -> Page:
    page: Page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto(url + one.path.format(site=site))
    page.wait_for_selector(".panel", timeout=30_000)
    page.wait_for_timeout(1500)
    if not one.focus.startswith("dialog"):
        page.wait_for_selector(one.focus, timeout=30_000)
    if one.name == "a disc's card":
        page.focus(one.focus)
        page.keyboard.press("Enter")
    if one.name == "a number's records":
        page.click("section[aria-label='Units'] button:has-text('Records')")
        page.wait_for_selector("dialog .record")
    if one.open and page.locator(one.open).count():
        page.locator(one.open).first.click()
    focus, select, an_open, field = page.evaluate(HOLD, [one.focus, one.select, one.types])
    has = [
        name
        for name, is_so in (("focus", focus), ("selection", select), (f"{an_open} open", an_open), ("text", field))
        if is_so
    ]
    print(f"{one.name:20} holds {', '.join(has)}", flush=True)
    return page


def watched(url: str, site: str, minutes: float) -> int:
    chromium = os.environ.get("TIELINE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    lost: dict[str, set[str]] = {}
    changes: dict[str, int] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        pages = [(one, opened(browser, url, site, one)) for one in PAGES]
        until = time.monotonic() + 60 * minutes
        while time.monotonic() < until:
            time.sleep(LOOK_S)
            for one, page in pages:
                gone, changes[one.name] = page.evaluate(LOST)
                for what in set(gone) - lost.setdefault(one.name, set()):
                    lost[one.name].add(what)
                    since = 60 * minutes - (until - time.monotonic())
                    print(f"{one.name}: {what} was lost {since:.0f} s in", flush=True)
        browser.close()
    for one in PAGES:
        gone = ", ".join(sorted(lost[one.name])) or "nothing"
        print(f"{one.name:20} changed {changes[one.name]:7,} times; lost: {gone}")
    return sum(map(len, lost.values()))


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--minutes", type=float, default=10.0)
    given.add_argument("--keep", type=Path, help="a new folder for the data, which is then left there")
    told = given.parse_args()
    folder = told.keep or Path(tempfile.mkdtemp(prefix="tieline-live-"))
    ports = ("--console-port", "0", "--gateway-port", "0", "--feeds", "synthetic")
    subprocess.run([*COMMAND, "up", "-d", *ports, "--data-dir", str(folder)], check=True, stdout=subprocess.DEVNULL)
    print(f"on {processor()}, {os.cpu_count()} cores")
    try:
        at = state(folder)
        load = Load(at["openai_base_url"], (folder / "run" / "demo_key").read_text().strip())
        client = threading.Thread(target=asked, args=(load,), daemon=True)
        client.start()
        site = httpx.get(f"{at['console_url']}/api/overview").json()["sites"][0]["id"]
        lost = watched(at["console_url"], site, told.minutes)
        load.stop = True
        client.join(30.0)
    finally:
        subprocess.run([*COMMAND, "down", "--data-dir", str(folder)], check=False, stdout=subprocess.DEVNULL)
    return 1 if lost else 0


if __name__ == "__main__":
    raise SystemExit(main())

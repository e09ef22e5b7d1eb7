"""The four walks of docs/walks, each played from its document alone: typed, opened, clicked, and photographed.

    python bench/walks.py [operator treasurer tenant analyst] [--fresh] [--keyboard] [--out bench/out/walks]

Files are written as the document shows them, commands typed in an empty folder, links opened and buttons clicked in
Chromium, and what the document says is seen has to be there. With --fresh each begins with a clone of what is committed
here and installs as the document says; without it this checkout's environment is used. With --keyboard nothing is
clicked: fields and buttons are reached with Tab and pressed with Enter. After each page of a walk there are pictures at
1400x900 and 390x844, light and dark.

Prints each walk's steps and how long one waits, and fails where a walk is longer than ten steps or five minutes.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Error, Page, sync_playwright

from machine import processor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.cli.walking import MOST_STEPS, WALKS, Command, Deed, walk_of

ROOT = Path(__file__).resolve().parents[1]
WALK_NAMES = ("operator", "treasurer", "tenant", "analyst")
MOST_S, SEEN_S, MOST_TABS = 300.0, 60.0, 300
SIZES = ((1400, 900), (390, 844))
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
# What has the focus, as one reads it: a field's label, or the words of a button or link.
FOCUSED = """() => { const e = document.activeElement;
  return [e.tagName, (e.labels?.[0]?.innerText ?? e.innerText ?? "").trim(), e.closest("form") !== null]; }"""


class WalkError(Exception):
    """The document says something that is not so."""


class Terminal:
    """A shell in the walk's folder. What was typed with & runs until the walk ends."""

    def __init__(self, folder: Path, path: Path, fresh: bool, any_port: bool) -> None:
        self.folder, self.fresh, self.any_port = folder, fresh, any_port
        self.env = {**os.environ, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
        self.said = ""
        self.behind: list[subprocess.Popen[bytes]] = []

    def type(self, command: Command) -> None:
        if not command.line.startswith("tieline ") and not self.fresh:
            return
        out = self.folder / f"said-{len(list(self.folder.glob('said-*')))}"
        line, behind = (command.line[:-1], True) if command.line.endswith("&") else (command.line, False)
        if self.any_port and line.startswith("tieline up"):
            line += " --console-port 0 --gateway-port 0"
        with out.open("wb") as file:
            words = ["bash", "-c", f"exec {line}" if behind else line]
            told = {"stdout": file, "stderr": file, "stdin": subprocess.DEVNULL}
            ran = subprocess.Popen(words, cwd=self.folder, env=self.env, start_new_session=True, **told)
        if behind:
            self.behind.append(ran)
        elif self._ended(ran):
            raise WalkError(f"$ {command.line}\n{out.read_text()}")
        deadline = time.monotonic() + SEEN_S
        while missing := [one for one in command.answers if one not in out.read_text()]:
            if not behind or time.monotonic() > deadline:
                raise WalkError(f"$ {command.line}\n{out.read_text()}\n{missing} is not in it")
            time.sleep(0.05)
        self.said += out.read_text()

    def _ended(self, ran: subprocess.Popen[bytes]) -> int:
        """Its exit code. What does not end in time is ended, with all that it started."""
        try:
            return ran.wait(MOST_S)
        except subprocess.TimeoutExpired:
            os.killpg(ran.pid, signal.SIGKILL)
            return ran.wait()

    def link(self, label: str) -> str:
        """The newest address that was printed beside `label`."""
        found = [one for line in self.said.splitlines() if label in line for one in re.findall(r"https?://\S+", line)]
        if not found:
            raise WalkError(f"no link was printed beside {label!r}")
        return found[-1]

    def close(self) -> None:
        subprocess.run(["tieline", "down"], cwd=self.folder, env=self.env, check=False, capture_output=True)
        for one in self.behind:
            one.send_signal(signal.SIGINT)
            one.wait(60)


class Hands:
    """Clicks and types as a person does; with `keyboard` alone by Tab, Enter and letters."""

    def __init__(self, page: Page, keyboard: bool) -> None:
        self.page, self.keyboard = page, keyboard
        self.tabs = 0

    def do(self, deed: Deed, terminal: Terminal) -> None:
        if deed.what == "open":
            self.page.goto(terminal.link(deed.name))
        elif deed.what == "see":
            self.see(deed.name)
        elif deed.what == "fill":
            self.fill(deed.name, deed.value)
        else:
            self.click(deed.name)

    def see(self, text: str) -> None:
        try:
            self.page.wait_for_function(
                "(text) => document.body.innerText.replace(/\\s+/g, ' ').includes(text)", arg=text, timeout=1e3 * SEEN_S
            )
        except Error as error:
            raise WalkError(f"see {text}: it is not on\n{self.page.inner_text('body')[:3000]}") from error

    def fill(self, label: str, value: str) -> None:
        if self.keyboard:
            self._reach(lambda tag, words, _: tag in ("INPUT", "TEXTAREA") and words.startswith(label), label)
            self.page.keyboard.press("Control+a")
            self.page.keyboard.type(value)
            return
        self.page.get_by_label(label).first.fill(value)

    def click(self, name: str) -> None:
        """Of several of one name, that of the form one is in."""
        if self.keyboard:
            within = self.page.evaluate(FOCUSED)[2]
            self._reach(lambda tag, words, form: words == name and tag != "INPUT" and form >= within, name)
            self.page.keyboard.press("Enter")
            return
        own = "document.activeElement.closest('form') !== null"
        words = re.compile(rf"^\s*{re.escape(name)}\s*$")
        found = self.page.locator("a:visible, button:visible, summary:visible").filter(has_text=words)
        found.first.wait_for(timeout=1e3 * SEEN_S)
        in_form = self.page.locator("form:focus-within button:visible").filter(has_text=words)
        (in_form if self.page.evaluate(own) and in_form.count() else found).first.click()

    def _reach(self, wanted: Any, name: str) -> None:
        deadline = time.monotonic() + SEEN_S
        while time.monotonic() < deadline:
            for _ in range(MOST_TABS):
                if wanted(*self.page.evaluate(FOCUSED)):
                    return
                self.page.keyboard.press("Tab")
                self.tabs += 1
            time.sleep(0.2)
        raise WalkError(f"{name}: not reached with Tab")


def pictures(page: Page, to: Path, name: str) -> None:
    seen = page.viewport_size
    page.wait_for_function("() => !document.body.innerText.includes('Reading…')", timeout=1e3 * SEEN_S)
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of the two words it takes
            page.wait_for_timeout(400)
            page.screenshot(path=str(to / f"{name}-{width}-{scheme}.png"))
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(seen or {"width": 1400, "height": 900})


def played(name: str, browser: Any, asked: argparse.Namespace) -> float:
    """Seconds that one waits. Raises WalkError."""
    walk = walk_of((WALKS / f"{name}.md").read_text(encoding="utf-8"))
    if walk.steps > MOST_STEPS:
        raise WalkError(f"{walk.steps} steps, may be {MOST_STEPS}")
    folder = Path(tempfile.mkdtemp(prefix=f"tieline-walk-{name}-"))
    if asked.fresh:
        subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    for file, body in walk.files.items():
        (folder / file).write_text(body, encoding="utf-8")
    terminal = Terminal(folder, (folder if asked.fresh else ROOT) / ".venv" / "bin", asked.fresh, asked.any_port)
    page = browser.new_page(viewport={"width": 1400, "height": 900}, color_scheme="light")
    hands, waited, shown = Hands(page, asked.keyboard), 0.0, 0
    try:
        for block in walk.blocks:
            began = time.monotonic()
            for one in block:
                if isinstance(one, Command):
                    terminal.type(one)
                else:
                    hands.do(one, terminal)
            waited += time.monotonic() - began
            if not isinstance(block[0], Command):
                shown += 1
                pictures(page, asked.out, f"{name}-{shown}")
    finally:
        page.close()
        terminal.close()
        if not asked.keep:
            shutil.rmtree(folder, ignore_errors=True)
    tabs = f", {hands.tabs} times Tab" if asked.keyboard else ""
    print(f"{name:10} {walk.steps:2} steps, waited {waited:5.1f} s, {shown * 4} pictures{tabs}", flush=True)
    return waited


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("walks", nargs="*", default=list(WALK_NAMES), metavar="WALK", help=", ".join(WALK_NAMES))
    given.add_argument("--fresh", action="store_true", help="from a clone, installing as the document says")
    given.add_argument("--keyboard", action="store_true", help="by keyboard alone")
    given.add_argument("--any-port", action="store_true", help="where the usual ones are taken by another platform")
    given.add_argument("--keep", action="store_true", help="leave the folders")
    given.add_argument("--out", type=Path, default=ROOT / "bench" / "out" / "walks")
    asked = given.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    print(f"on {processor()}, {os.cpu_count()} cores")
    chromium = os.environ.get("TIELINE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    wrong = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for name in asked.walks:
            try:
                wrong += played(name, browser, asked) > MOST_S
            except WalkError as error:
                wrong += 1
                print(f"{name}: {error}", flush=True)
        browser.close()
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())

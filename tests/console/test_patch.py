"""What is told anew is laid over what stands: focus, selection, what is open and what is typed stay with their row."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.console.test_page import browser  # noqa: F401  # a fixture

WEB = Path(__file__).resolve().parents[2] / "web"
# Rows with a button that says which telling it is of, words, a detail and a field.
ROWS = """window.told = [];
window.show = (names, telling) => {
  const { h, on, patch } = dom;
  patch(document.body, h("ul", {}, names.map((name) => {
    const button = h("button", {}, name);
    on(button, "click", () => told.push(`${name} ${telling}`));
    const more = h("details", {}, h("summary", {}, "more"), telling);
    return h("li", { "data-key": name }, button, h("p", {}, `words of ${name}, ${telling}`), more, h("input", {}));
  })));
};
show(["a", "b", "c"], "first");
window.row = document.querySelector("[data-key=b]");
row.querySelector("input").value = "begun";
row.querySelector("details").open = true;
getSelection().selectAllChildren(row.querySelector("p"));
row.querySelector("button").focus();"""
STANDS = """() => { const b = document.querySelector("[data-key=b]");
  document.activeElement.click();
  const order = [...document.querySelectorAll("li button")].map((e) => e.innerText).join("");
  const [button, details, input] = ["button", "details", "input"].map((tag) => b?.querySelector(tag));
  const focused = document.activeElement === button, words = getSelection().toString();
  return [b === row, focused, details?.open, input?.value, words, told.at(-1), order];
}"""


def test_rows_that_come_go_and_move_take_nothing_from_whoever_reads(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    esbuild = WEB / "node_modules" / ".bin" / "esbuild"
    if not esbuild.exists():
        pytest.skip("esbuild is not installed (npm ci in web/)")
    made = tmp_path / "dom.js"
    words = ["src/dom.ts", "--bundle", "--format=iife", "--global-name=dom", f"--outfile={made}", "--log-level=error"]
    subprocess.run([esbuild, *words], cwd=WEB, check=True)
    page = browser.new_page()
    page.set_content("<body></body>")
    page.add_script_tag(path=str(made))
    page.evaluate(ROWS)
    for names in (["new", "a", "b", "c"], ["c", "b", "a"], ["b"], ["x", "y", "b", "z"]):
        telling = "".join(names)
        page.evaluate("([names, telling]) => show(names, telling)", [names, telling])
        stands = page.evaluate(STANDS)
        assert stands == [True, True, True, "begun", f"words of b, {telling}", f"b {telling}", telling], names
    page.evaluate("show(['a'], 'gone')")
    assert page.evaluate("row.isConnected") is False
    page.close()

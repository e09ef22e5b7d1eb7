"""Finished studies, read-only: what `tieline study --show` put into the data folder, each page as it was written.

A study's page fetches nothing and runs nothing; its headers forbid both.
"""

from __future__ import annotations

import asyncio
import re
from html import escape, unescape
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from tieline.console.door import Row
from tieline.console.forms import failed
from tieline.people import Right

FOLDER: Final = "studies"
NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,79}")
# A page of six plans takes 60 kB.
MOST_BYTES: Final = 20_000_000
# The newest that a list shows; it says that there are more.
MOST: Final = 200
HEADERS: Final = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"}
_STYLE: Final = (
    ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:46rem;"
    "padding:0 1rem}li{margin:.5rem 0}small{opacity:.75}"
)


class StudyPages:
    """The list of studies, and each one's page. `data` None: this console has no data folder."""

    def __init__(self, data: Path | None) -> None:
        self.folder = None if data is None else data / FOLDER

    def rows(self) -> list[Row]:
        """Path, method, the right it needs, handler."""
        return [
            ("/studies", "GET", Right.SEE_MONEY, self.listed),
            ("/studies/{name}", "GET", Right.SEE_MONEY, self.one),
        ]

    async def listed(self, request: Request) -> Response:
        studies = await asyncio.to_thread(self._found)
        items = "".join(f'<li><a href="/studies/{name}">{escape(title)}</a></li>' for name, title in studies[:MOST])
        more = f"<p>{len(studies) - MOST} older ones are in the folder.</p>" if len(studies) > MOST else ""
        none = "<p>None yet: <code>tieline study FILE --show DATA_DIR</code> puts one here.</p>"
        return HTMLResponse(
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Studies</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<style>{_STYLE}</style></head><body><main><h1>Studies</h1>"
            "<p>Where the next dollar of capital goes. Paths are assumed, not forecast; each page says on what.</p>"
            f'{f"<ul>{items}</ul>{more}" if studies else none}<p><a href="/treasury">Treasury</a></p>'
            "</main></body></html>",
            headers=HEADERS,
        )

    async def one(self, request: Request) -> Response:
        name = request.path_params["name"]
        body = await asyncio.to_thread(self._page, name) if NAME.fullmatch(name) else None
        if body is None:
            return failed(404, f"there is no study {name[:80]!r}")
        return HTMLResponse(body, headers=HEADERS)

    def _found(self) -> list[tuple[str, str]]:
        """(name, title), the newest first."""
        if self.folder is None or not self.folder.is_dir():
            return []
        pages = [path for path in self.folder.glob("*/report.html") if NAME.fullmatch(path.parent.name)]
        pages.sort(key=lambda path: (-path.stat().st_mtime, path.parent.name))
        return [(path.parent.name, _title(path)) for path in pages]

    def _page(self, name: str) -> bytes | None:
        path = None if self.folder is None else self.folder / name / "report.html"
        if path is None or not path.is_file() or path.stat().st_size > MOST_BYTES:
            return None
        return path.read_bytes()


def _title(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        match = re.search(r"<title>([^<]{1,300})</title>", file.read(4_000))
    return unescape(match[1]) if match else path.parent.name

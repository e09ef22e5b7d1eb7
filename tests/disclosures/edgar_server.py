"""A local server that behaves as SEC's and a wire's do: it wants a name, answers conditionally and by range, packs
JSON, slows people down, and breaks off now and then."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CIK = 1725123
RELEASE = """<html><head><title>Cango Inc. Announces January 2026 Bitcoin Production and Mining Operations
Update</title></head><body><p>Cango Inc. (NYSE: CANG) today published its bitcoin
production and mining operations update for January 2026.</p>
<table><tr><th>Metric</th><th>January 2026</th><th>December 2025</th></tr>
<tr><td>Bitcoin produced</td><td>496.35</td><td>569.0</td></tr>
<tr><td>Average number of bitcoin produced per day</td><td>16.01</td><td>18.35</td></tr>
<tr><td>Total number of bitcoin held</td><td>7,474.6</td><td>7,528.3</td></tr>
<tr><td>Deployed hashrate (EH/s)</td><td>50</td><td>50</td></tr>
<tr><td>Average operating hashrate (EH/s)</td><td>37.02</td><td>43.36</td></tr>
</table></body></html>"""


class World:
    """What the server holds and what it saw."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[str, bytes]] = {}
        self.seen: list[tuple[str, dict[str, str], int]] = []
        self.troubles: dict[str, list[tuple[int, dict[str, str]]]] = {}
        self.break_at: dict[str, int] = {}
        self.redirects: dict[str, str] = {}
        self.base = ""

    def put(self, path: str, body: str | bytes | dict[str, Any], kind: str = "text/html") -> None:
        if isinstance(body, dict):
            body, kind = json.dumps(body), "application/json"
        self.pages[path] = (kind, body.encode() if isinstance(body, str) else body)

    def count(self, path: str, status: int | None = None) -> int:
        return sum(1 for seen, _, code in self.seen if seen == path and status in (None, code))

    def filing(self, accession: str, names: dict[str, str | bytes]) -> None:
        folder = f"/Archives/edgar/data/{CIK}/{accession.replace('-', '')}"
        for name, body in names.items():
            self.put(f"{folder}/{name}", body)
        items = [{"name": name, "type": "text.gif", "size": ""} for name in [*names, f"{accession}-index.html"]]
        self.put(f"{folder}/index.json", {"directory": {"item": items, "name": folder}})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    world: World

    def do_GET(self) -> None:
        world, path = self.world, self.path
        headers = {name.lower(): value for name, value in self.headers.items()}
        if path.startswith(("/Archives", "/submissions", "/api", "/files")) and "@" not in headers.get(
            "user-agent", ""
        ):
            self._send(403, b"Request Rate Threshold Exceeded", {}, headers)
            return
        if world.troubles.get(path):
            code, extra = world.troubles[path].pop(0)
            self._send(code, b"busy", extra, headers)
            return
        if path in world.redirects:
            self._send(302, b"", {"Location": world.redirects[path]}, headers)
            return
        if path not in world.pages:
            self._send(404, b"no such key", {}, headers)
            return
        kind, body = world.pages[path]
        tag = f'"{hashlib.sha256(body).hexdigest()[:12]}"'
        extra = {"ETag": tag, "Content-Type": kind, "Last-Modified": "Tue, 03 Feb 2026 12:00:00 GMT"}
        if headers.get("if-none-match") == tag:
            self._send(304, b"", {"ETag": tag}, headers)
            return
        if kind == "application/json" and "gzip" in headers.get("accept-encoding", ""):
            body, extra["Content-Encoding"] = gzip.compress(body), "gzip"
        code = 200
        if (match := re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))) and headers.get("if-range") == tag:
            first = int(match[1])
            extra["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
            body, code = body[first:], 206
        stop = world.break_at.pop(path, None)
        self._send(code, body, extra, headers, stop)

    def _send(
        self, code: int, body: bytes, extra: dict[str, str], headers: dict[str, str], stop: int | None = None
    ) -> None:
        self.world.seen.append((self.path, headers, code))
        self.send_response(code)
        for name, value in extra.items():
            self.send_header(name, value)
        if code != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if code != 304:
            self.wfile.write(body if stop is None else body[:stop])
        if stop is not None:
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()

    def log_message(self, *_: object) -> None: ...


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A connection that this server broke off itself is no news."""


@contextmanager
def serving() -> Iterator[World]:
    world = World()
    handler = type("Handler", (_Handler,), {"world": world})
    server = _Server(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    world.base = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield world
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def cango(world: World) -> None:
    """Cango as EDGAR has it: two 6-Ks, a page of older filings, an annual report with tagged facts."""
    recent = {
        "accessionNumber": ["0001725123-26-000002", "0001725123-26-000001", "0001725123-25-000009"],
        "form": ["6-K", "20-F", "SC 13D"],
        "filingDate": ["2026-02-03", "2026-01-20", "2025-12-01"],
        "primaryDocument": ["form6k.htm", "cang-20251231.htm", "x.htm"],
    }
    older = {
        "accessionNumber": ["0001725123-25-000001"],
        "form": ["6-K"],
        "filingDate": ["2025-06-02"],
        "primaryDocument": ["form6k.htm"],
    }
    page = f"CIK{CIK:010d}-submissions-001.json"
    world.put(
        f"/submissions/CIK{CIK:010d}.json",
        {"cik": str(CIK), "filings": {"recent": recent, "files": [{"name": page, "filingTo": "2025-06-30"}]}},
    )
    world.put(f"/submissions/{page}", older)
    world.put("/files/company_tickers.json", {"0": {"cik_str": CIK, "ticker": "CANG", "title": "Cango Inc."}})
    world.filing(
        "0001725123-26-000002",
        {"form6k.htm": "<p>cover</p>", "tm26d1_ex99-1.htm": RELEASE, "R1.htm": "x", "logo.jpg": b"\xff\xd8"},
    )
    world.filing("0001725123-25-000001", {"form6k.htm": "<p>cover only</p>"})
    world.filing(
        "0001725123-26-000001",
        {"cang-20251231.htm": "<p>annual</p>", "cang-20251231_htm.xml": INSTANCE, "cang-20251231_cal.xml": "<x/>"},
    )
    units = {"bitcoin": [{"end": "2025-12-31", "val": 7528.3, "filed": "2026-01-20", "accn": "a", "form": "20-F"}]}
    world.put(
        f"/api/xbrl/companyfacts/CIK{CIK:010d}.json",
        {"cik": CIK, "facts": {"us-gaap": {"CryptoAssetNumberOfUnits": {"label": "", "units": units}}}},
    )


INSTANCE = """<xbrl xmlns="http://www.xbrl.org/2003/instance" xmlns:g="http://fasb.org/us-gaap/2025"
 xmlns:d="http://xbrl.org/2006/xbrldi"><context id="p"><entity><segment>
 <d:explicitMember dimension="g:CryptoAssetAxis">g:BitcoinMember</d:explicitMember>
 <d:explicitMember dimension="g:StatusAxis">g:AssetPledgedAsCollateralMember</d:explicitMember></segment></entity>
 <period><instant>2025-12-31</instant></period></context><unit id="u"><measure>pure</measure></unit>
 <g:CryptoAssetNumberOfUnits contextRef="p" unitRef="u">7000</g:CryptoAssetNumberOfUnits></xbrl>"""

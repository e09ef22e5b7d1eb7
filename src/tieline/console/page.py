"""The built page: hashed files that may be cached for ever, and the one document that names them."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from tieline.console.forms import failed

STATIC = Path(__file__).parent / "static"
FOREVER = "public, max-age=31536000, immutable"
TYPES = {".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".svg": "image/svg+xml"}

NOT_BUILT = """<!doctype html><html lang="en"><title>Tieline console</title><h1>The page has not been built</h1>
<p>Run <code>npm ci &amp;&amp; npm run build</code> in <code>web/</code> and load this page again. The data is
already served: <a href="/api/overview">/api/overview</a>.</p></html>"""


def document() -> Response:
    """Read anew each time: it is small, and a rebuilt page then needs no restart."""
    try:
        return HTMLResponse((STATIC / "index.html").read_text("utf-8"), headers={"cache-control": "no-cache"})
    except FileNotFoundError:
        return HTMLResponse(NOT_BUILT, 503)


async def asset(request: Request) -> Response:
    """A file by its plain name; its gzipped twin where the browser takes it."""
    name = request.path_params["name"]
    path = STATIC / name
    if "/" in name or name.startswith(".") or path.suffix not in TYPES or not path.is_file():
        return failed(404, "no such file")
    headers = {"cache-control": FOREVER, "vary": "accept-encoding"}
    twin = path.with_name(name + ".gz")
    if "gzip" in request.headers.get("accept-encoding", "") and twin.is_file():
        return Response(
            twin.read_bytes(), headers={**headers, "content-encoding": "gzip"}, media_type=TYPES[path.suffix]
        )
    return Response(path.read_bytes(), headers=headers, media_type=TYPES[path.suffix])

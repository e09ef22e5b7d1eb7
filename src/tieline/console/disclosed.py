"""What miners publish, as the disclosures room tells it: a month's dashboard, a figure, a table to take away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tieline.disclosures import compare, export, keep, page
from tieline.disclosures.book import Book

FORMS = {"csv": "text/csv", "json": "application/json", "parquet": "application/vnd.apache.parquet"}


def shipped_book() -> Book:
    """The facts that come with the package, without what was kept since."""
    return keep.book()


class Published:
    """Handlers over one book; the first answer of a process costs the most and is made off the event loop."""

    def __init__(self, book: Callable[[], Book]) -> None:
        self._book = book

    async def dashboard(self, request: Request) -> Response:
        month = request.query_params.get("month") or None
        try:
            return _json(await asyncio.to_thread(lambda: page.dashboard(self._book(), month)))
        except ValueError as error:
            return _json({"error": str(error)}, 400)

    async def figure(self, request: Request) -> Response:
        name = request.path_params["name"]
        try:
            return _json(await asyncio.to_thread(lambda: page.figure(self._book(), name)))
        except page.NoFigureError as error:
            return _json({"error": str(error.args[0])}, 404)

    async def table(self, request: Request) -> Response:
        """The comparison of one month (`month=`) or of all, as CSV, JSON or Parquet; `shape=long` for ids."""
        form, month = request.path_params["form"], request.query_params.get("month")
        shape: export.Shape = "long" if request.query_params.get("shape") == "long" else "wide"
        if form not in FORMS:
            return _json({"error": f"table.{form}: give one of {', '.join(FORMS)}"}, 404)

        def make() -> bytes:
            book = self._book()
            known = compare.months(book)
            if month and month not in known:
                raise ValueError(f"month {month!r}: the book has {known[0]} to {known[-1]}" if known else "empty book")
            tables = [compare.table(book, one) for one in ([month] if month else known)]
            if form == "json":
                return export.to_json(tables)
            rows = export.rows(tables, shape)
            return export.to_csv(rows).encode() if form == "csv" else export.to_parquet(rows)

        try:
            body = await asyncio.to_thread(make)
        except ValueError as error:
            return _json({"error": str(error)}, 400)
        except export.ExportError as error:
            return _json({"error": str(error)}, 501)
        name = f"miners-{month or 'all'}-{shape}.{form}"
        return Response(body, 200, {"content-disposition": f'attachment; filename="{name}"'}, FORMS[form])


def _json(data: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(data), status, media_type="application/json")

"""What miners publish, as the disclosures room tells it: a month, a figure, the grid, tables to take away, the desk."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from tieline.clock import wall_now
from tieline.console.door import Row, signed_in_as
from tieline.disclosures.comparison import compare, export, page
from tieline.disclosures.comparison.chain import Chain, Heard, heard_since, shipped_chain
from tieline.disclosures.comparison.grid import View, grid, to_csv
from tieline.disclosures.facts import keep
from tieline.disclosures.facts.book import ClaimBook
from tieline.disclosures.facts.desk import Action, CandidateFile, Correction, DeskError, WaitingCandidate
from tieline.disclosures.facts.lines import KeepError
from tieline.people import Right
from tieline.records import NetworkTick
from tieline.store import Store, StoreError

FORMS = {"csv": "text/csv", "json": "application/json", "parquet": "application/vnd.apache.parquet"}
MAX_SHOWN = 500
"""Candidates on one page; the answer says how many wait in all."""
MAX_FORM = 16_384
NEW_FOR = timedelta(days=7)
"""A release that landed within a week is news on the page."""


class DeskForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One decision from the page."""

    action: Action
    target: str
    reason: str = ""
    by: str = ""
    value: str | None = None
    period: str | None = None
    field: str | None = None


def shipped_book() -> ClaimBook:
    """The facts that come with the package, without what was kept since."""
    return keep.book()


class Published:
    """Handlers over one book; the first answer of a process costs the most and is made off the event loop.

    A book that is kept in a file has a desk beside it; without one the page shows and decides nothing.
    """

    def __init__(
        self, book: Callable[[], ClaimBook], ticks: Callable[[datetime], Awaitable[list[Heard]]] | None = None
    ) -> None:
        self._book, self._ticks = book, ticks
        self._heard: tuple[date, Chain] | None = None
        self._desk: CandidateFile | None = getattr(book, "desk", None)

    def rows(self) -> list[Row]:
        """Path, method, the right it needs, handler."""
        path = "/api/disclosures"
        return [
            (path, "GET", Right.SEE, self.dashboard),
            (f"{path}/grid", "GET", Right.SEE, self.grid),
            (f"{path}/grid.csv", "GET", Right.SEE, self.grid),
            (f"{path}/desk", "GET", Right.SEE, self.waiting),
            (f"{path}/desk", "POST", Right.DESK, self.decide),
            (f"{path}/figure/{{name}}", "GET", Right.SEE, self.figure),
            (f"{path}/table.{{form}}", "GET", Right.SEE, self.table),
        ]

    async def chain(self) -> Chain:
        """The shipped series of difficulty and what the platform's own feed has heard since, asked for once a day."""
        shipped, today = shipped_chain(), wall_now().date()
        if self._ticks is None:
            return shipped
        if self._heard is None or self._heard[0] != today:
            try:
                self._heard = (today, heard_since(shipped, await self._ticks(shipped.epochs[-1].start)))
            except StoreError:
                return shipped
        return self._heard[1]

    async def dashboard(self, request: Request) -> Response:
        month = request.query_params.get("month") or None
        chain = await self.chain()
        return await _made(lambda: _json(page.dashboard(self._book().on(chain), month)))

    async def figure(self, request: Request) -> Response:
        name = request.path_params["name"]
        chain = await self.chain()
        return await _made(lambda: _json(page.figure(self._book().on(chain), name)))

    async def grid(self, request: Request) -> Response:
        """Miner by month: `field=`, `issuer=` (repeatable), `since=`, `until=`, `view=value|month|year`."""
        asked = request.query_params
        view: View = "month" if asked.get("view") == "month" else "year" if asked.get("view") == "year" else "value"

        def make() -> Response:
            months = grid(
                self._book(), asked.get("field") or "btc_produced", issuers=asked.getlist("issuer"),
                since=asked.get("since", ""), until=asked.get("until", ""), view=view,
            )  # fmt: skip
            if not request.url.path.endswith(".csv"):
                return _json(page.plain(months))
            return _file(to_csv(months), f"miners-{months.field}-{months.view}", "csv")

        return await _made(make)

    async def table(self, request: Request) -> Response:
        """The comparison of one month (`month=`) or of all, as CSV, JSON or Parquet; `shape=long` for ids."""
        form, month = request.path_params["form"], request.query_params.get("month")
        shape: export.Shape = "long" if request.query_params.get("shape") == "long" else "wide"
        chain = await self.chain()
        if form not in FORMS:
            return _json({"error": f"table.{form}: give one of {', '.join(FORMS)}"}, 404)

        def make() -> Response:
            book = self._book().on(chain)
            known = compare.months(book)
            if month and month not in known:
                raise ValueError(f"month {month!r}: the book has {known[0]} to {known[-1]}" if known else "empty book")
            tables = [compare.table(book, one) for one in ([month] if month else known)]
            name = f"miners-{month or 'all'}-{shape}"
            if form == "json":
                return _file(export.to_json(tables), name, form)
            rows = export.rows(tables, shape)
            return _file(export.to_csv(rows) if form == "csv" else export.to_parquet(rows), name, form)

        return await _made(make)

    # --- the desk ----------------------------------------------------------------------------

    async def waiting(self, request: Request) -> Response:
        """Candidates that wait, decisions taken, and what landed or contradicts the book of late."""
        desk = self._desk
        if desk is None:
            return _json({"waiting": [], "count": 0, "decisions": [], "alerts": []})

        def make() -> Response:
            queue, book = desk.waiting(), self._book()
            return _json(
                {
                    "count": len(queue),
                    "waiting": [_waiting(one, book) for one in queue[:MAX_SHOWN]],
                    "decisions": [page.plain(d) for d in desk.decisions()[-MAX_SHOWN:]],
                    "alerts": _alerts(queue, book),
                }
            )

        return await _made(make)

    async def decide(self, request: Request) -> Response:
        """One decision, recorded with the operator's name."""
        desk = self._desk
        if desk is None:
            return _json({"error": "this console keeps no facts of its own: nothing can be decided here"}, 503)
        body = b""
        with contextlib.suppress(ClientDisconnect):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_FORM:
                    return _json({"error": f"a decision has at most {MAX_FORM:,} bytes"}, 413)
        try:
            form = msgspec.json.decode(body, type=DeskForm)
            change = Correction.typed(form.value, form.period, form.field)
            who = signed_in_as(request) or form.by
            if form.action == "withdraw" and not any(c.id == form.target for c in self._book().all):
                raise DeskError(f"no claim {form.target!r} in the book")
            done = await asyncio.to_thread(
                lambda: desk.decide(form.action, form.target, who, wall_now(), form.reason, change)
            )
        except (ValueError, RecursionError, KeepError, msgspec.MsgspecError) as error:
            return _json({"error": str(error) or "no decision"}, 400)
        return _json(page.plain(done))


STEP = timedelta(days=2)
"""An epoch lasts about two weeks: a look every two days misses none."""


def network_ticks(store: Store, since: datetime, now: datetime) -> list[Heard]:
    """A tick of the network each two days from `since`, where the store has one with its height."""
    ticks: dict[datetime, Heard] = {}
    at = since
    while at < now + STEP:
        for tick in store.latest(NetworkTick, min(at, now)):
            if tick.height is not None and tick.kind == "measured" and tick.at >= since:
                ticks[tick.at] = Heard(tick.at, tick.height, tick.difficulty)
        at += STEP
    return list(ticks.values())


def _waiting(one: WaitingCandidate, book: ClaimBook) -> dict[str, object]:
    fact = one.candidate.fact
    others = book.of(one.claim().figure)
    return {
        "id": one.id, "issuer": fact.issuer, "period": fact.period, "field": fact.field, "scope": fact.scope,
        "value": page.plain(fact.value), "shown": f"{fact.value:,f}", "unit": fact.unit, "quote": fact.quote,
        "printed": fact.printed, "missing": list(one.candidate.missing), "why": one.candidate.why,
        "source": one.source, "source_kind": one.source_kind, "published": one.published,
        "book": [f"{c.value:,f}" for c in others],
    }  # fmt: skip


def _alerts(waiting: tuple[WaitingCandidate, ...], book: ClaimBook) -> list[str]:
    """What landed within a week, and what contradicts the book."""
    since = wall_now() - NEW_FOR
    fresh = {c.source: (c.subject, c.published) for c in book.all if c.known_at >= since and c.fact.method != "typed"}
    said = [f"{issuer}: new release of {day or 'an unknown day'}: {source}" for source, (issuer, day) in fresh.items()]
    for one in waiting:
        if one.known_at < since:
            continue
        best = next(iter(book.of(one.claim().figure)), None)
        if best is not None and best.value != one.candidate.fact.value:
            fact = one.candidate.fact
            said.append(
                f"{fact.issuer} {fact.period} {fact.field}: {fact.value:,f} contradicts {best.value:,f} in the book"
            )
    return said[:50]


async def _made(make: Callable[[], Response]) -> Response:
    """What `make` gives, off the event loop; where it gives nothing, why, in one line."""
    try:
        return await asyncio.to_thread(make)
    except page.NoFigureError as error:
        return _json({"error": str(error)}, 404)
    except ValueError as error:
        return _json({"error": str(error)}, 400)
    except KeepError as error:
        return _json({"error": str(error)}, 500)
    except export.ExportError as error:
        return _json({"error": str(error)}, 501)


def _file(body: str | bytes, name: str, form: str) -> Response:
    return Response(body, 200, {"content-disposition": f'attachment; filename="{name}.{form}"'}, FORMS[form])


def _json(data: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(data), status, media_type="application/json")

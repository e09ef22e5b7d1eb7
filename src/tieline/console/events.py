"""One fold and one encoding, shared by every open page.

`Hub` follows the store and the sites' live readings, folds them, and tells all readers the same bytes as
server-sent events. A reader that falls behind loses its queue and is told to load the page's data anew.
The store is read in a worker thread; the fold is touched on the event loop only.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar, cast

import msgspec

from tieline.clock import Clock
from tieline.config import Tenant
from tieline.console import views
from tieline.console.attention import MOST, MOST_HEARD, budget_lines, left_out_lines, set_aside_lines, worst_first
from tieline.console.decided import decision_view, recent
from tieline.console.fold import Fold
from tieline.console.month import Month
from tieline.fleet import Fleet
from tieline.intake import IntakeError, read
from tieline.ledger import Method
from tieline.link import Link, heed
from tieline.records import NetworkTick, Record, WeatherTick
from tieline.settlement.rolled import RollUp
from tieline.store import Selection, Store, StoreError
from tieline.store.rolled.kept import RolledStore
from tieline.tasks import Registry, beat

T = TypeVar("T")
Info = Callable[[], dict[str, Any]]

# 40 sites leave about 240 records per interval, so this is two days and a half: more than a page shows.
CATCH_UP = 180_000
CHUNK = 1_000
POLL_S = 0.5
TELL_S = 2.0
# Markets change with each price and are the largest section; a page needs them no more often than this.
MARKETS_S = 10.0
# The month takes at most one part in thirty of a core, and is at most this old where nothing moves.
MONTH_S, MONTH_SHARE = 10.0, 30.0
# A chunk of records takes milliseconds; a store that has not answered by then does not.
READ_S = 30.0
# The first fold of a month of many records, with the pause that follows it.
FOLD_S = 3_600.0
# A live reading older than this (wall clock) is no longer live, whatever the world's speed.
LIVE_FOR_S = 15.0
# A reader is told every two seconds; one that has not read for half a minute has gone to sleep.
QUEUE = 16
# Each reader costs a socket and a queue of shared bytes; beyond this the machine has better work.
MAX_READERS = 1_000

RESYNC = b"event: resync\ndata: {}\n\n"


_read_live = msgspec.json.Decoder(views.Live).decode


class Hub:
    """Keeps the fold, and tells readers what changed."""

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        clock: Clock,
        link: Link | None,
        info: Info,
        tenants: Sequence[Tenant] = (),
        registry: Registry | None = None,
        lots: Method = "fifo",
    ) -> None:
        self.registry = registry or Registry()
        self.store, self.fleet, self.clock, self.link, self.info = store, fleet, clock, link, info
        self.tenants = tenants
        self.fold = Fold(fleet)
        self.live: dict[str, views.Live] = {}
        self.month = Month(fleet, lots)
        self.month_view: dict[str, Any] | None = None
        self.rolled: RollUp | None = None  # while the room of long spans keeps one
        self.caught_up: float = 0.0
        self.store_error: str | None = None
        self._folded: int | None = None  # the number up to which records are folded
        self._live_at: dict[str, float] = {}
        self._readers: set[asyncio.Queue[bytes]] = set()
        self._store_lock = threading.Lock()
        self._page: tuple[float, bytes, bytes] | None = None
        self._told_decision = 0
        self._told_series: datetime | None = None
        self._markets_told = 0.0
        self._markets_made: tuple[float, dict[str, Any]] | None = None

    async def start(self) -> None:
        self.registry.keep("page's records", "folds the records that pages show", self._follow_store)
        self.registry.keep("page's news", "tells open pages what changed", self._tell)
        self.registry.keep("page's month", "folds the running month", self._keep_month)
        if self.link is not None:
            link = self.link
            self.registry.keep("attention", "tells the alerts what needs a person", lambda: self._tell_alerts(link))
            self.registry.keep("live readings", "hears the sites' readings", lambda: self._follow_live(link))

    async def stop(self) -> None:
        await self.registry.close()
        for queue in self._readers:
            _put(queue, b"")

    async def read(self, job: Callable[[Store], T]) -> T:
        """Run a reading of the store in a thread, one at a time. Raises StoreError."""

        def locked() -> T:
            with self._store_lock:
                return job(self.store)

        return await asyncio.to_thread(locked)

    def kept(self, store: Store) -> RolledStore | None:
        """The sums by hour and day where they hold every record of the store; else its records are to be read. Call it
        within `read`."""
        try:
            return None if self.rolled is None else self.rolled.ready(store)
        except StoreError:
            return None  # a file that cannot be read is made anew; the records say the same

    # --- what a page loads ---------------------------------------------------------------------

    def page(self) -> tuple[bytes, bytes]:
        """The first page's data, plain and gzipped; encoded at most once a second however many ask."""
        now = asyncio.get_running_loop().time()
        if self._page is None or now - self._page[0] > 1.0:
            body = msgspec.json.encode(self.overview())
            self._page = (now, body, gzip.compress(body, 5))
        return self._page[1], self._page[2]

    def overview(self) -> dict[str, Any]:
        now = self.clock.now()
        view = views.overview(self.fold, self.fresh(), now, self.speed, self._info())
        view["attention"] = self._attention(view)
        view["markets"] = self._markets(now)
        view["month"] = self.month_view
        view["caught_up"] = self.caught_up
        return view

    @property
    def speed(self) -> float:
        return float(getattr(self.clock, "speed", 1.0))

    async def events(self) -> AsyncIterator[bytes]:
        """Server-sent events for one reader."""
        if len(self._readers) >= MAX_READERS:
            yield b"event: full\nretry: 60000\ndata: {}\n\n"
            return
        queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUE)
        self._readers.add(queue)
        try:
            yield b"retry: 2000\n\n"
            while chunk := await queue.get():
                yield chunk
        finally:
            self._readers.discard(queue)

    @property
    def readers(self) -> int:
        return len(self._readers)

    # --- keeping up ----------------------------------------------------------------------------

    async def _follow_store(self) -> None:
        # Begun anew after an error it goes on where it was: sums would count twice what they have.
        after = await self._prime() if self._folded is None else self._folded
        first, behind = after, True
        while True:
            beat(READ_S)
            try:
                page = await self.read(partial(Store.follow, after=after, limit=CHUNK))
                if behind:
                    last = await self.read(lambda s: s.last_seq())
                    self.caught_up = 1.0 if last <= first else min(1.0, (after - first) / (last - first))
                self.store_error = None
            except StoreError as error:
                self.store_error = str(error)
                await asyncio.sleep(2.0)
                continue
            for stored in page.items:
                self.fold.apply(stored.seq, cast("Record", stored.record))
            after = self._folded = page.last
            if not page.more:
                behind, self.caught_up = False, 1.0
                await asyncio.sleep(POLL_S)
            else:
                await asyncio.sleep(0)

    async def _prime(self) -> int:
        """Where to start folding: far enough back for one page, with the slow streams' last word before it."""
        while True:
            try:
                last = await self.read(lambda s: s.last_seq())
                after = max(0, last - CATCH_UP)
                if after:
                    now = self.clock.now()
                    for type_ in (NetworkTick, WeatherTick):
                        since = now - timedelta(days=3)
                        of: Selection[Any] = Selection(type_, since, now)
                        old = await self.read(partial(Store.page, of=of, limit=500, newest_first=True))
                        for stored in reversed(old.items):
                            self.fold.apply(stored.seq, cast("Record", stored.record))
                return after
            except StoreError as error:
                self.store_error = str(error)
                await asyncio.sleep(1.0)

    async def _follow_live(self, link: Link) -> None:
        loop = asyncio.get_running_loop()

        def take(said: views.Live) -> None:
            if said.site_id in self.fold.sites:
                self.live[said.site_id] = said
                self._live_at[said.site_id] = loop.time()

        def own(subject: str, said: views.Live) -> None:
            if subject != f"live.{said.site_id}":
                raise IntakeError(f"{said.site_id} may not be told here", "site_id")

        await heed(link, "live.*", lambda data: read(data, _read_live), take, own)

    def fresh(self) -> dict[str, views.Live]:
        now = asyncio.get_running_loop().time()
        return {k: v for k, v in self.live.items() if now - self._live_at.get(k, 0.0) < LIVE_FOR_S}

    async def _keep_month(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            beat(FOLD_S)
            if self.caught_up < 1.0:
                await asyncio.sleep(0.25)
                continue
            began = loop.time()
            with self.registry.attempt("month", "makes the running month"), contextlib.suppress(StoreError):
                # A store that cannot be read is said by the fold, which reads it too.
                self.month_view = await self.month.view(self.read, self.clock.now(), self.fold.money, self.kept)
                self._publish("month", self.month_view)
            await asyncio.sleep(max(MONTH_S, MONTH_SHARE * (loop.time() - began)))

    async def _tell(self) -> None:
        while True:
            beat(TELL_S + READ_S)
            await asyncio.sleep(TELL_S)
            if self._readers:
                self._publish("now", self._news())
            else:
                self._told_series = None

    async def _tell_alerts(self, link: Link) -> None:
        """What needs a person, parts that are not well included, whether or not a page is open."""
        while True:
            beat(TELL_S + READ_S)
            if self.caught_up >= 1.0:
                now = self.clock.now()
                view = views.now_view(self.fold, self.fresh(), now, self.speed, self._info())
                lines = self._attention(view, MOST_HEARD)
                parts = [
                    {"level": "bad", "what": f"{part['name']} is not well", "text": part["detail"]}
                    for part in self.parts()
                    if not part["ok"]
                ]
                await link.publish("attention", msgspec.json.encode([*parts, *lines]))
            await asyncio.sleep(TELL_S)

    def _news(self) -> dict[str, Any]:
        """What changed since the last telling."""
        now, loop_now = self.clock.now(), asyncio.get_running_loop().time()
        news = views.now_view(self.fold, self.fresh(), now, self.speed, self._info())
        news["attention"] = self._attention(news)
        news["caught_up"] = self.caught_up
        rows = self.fold.rows()
        if rows:
            # The last three intervals may still change; anything further back is told when a page loads.
            since = min(self._told_series or rows[-1].start, rows[-1].start) - timedelta(minutes=15)
            news["series"] = views.series_view(self.fold, self.speed, since)
            self._told_series = rows[-1].start
        last = max((d.seq for d in self.fold.decisions), default=0)
        if last > self._told_decision:
            fresh = [d for d in self.fold.decisions if d.seq > self._told_decision]
            shown = recent(fresh, views.PAGE_DECISIONS)
            news["decisions"] = [decision_view(self.fold, d) for d in shown]
            self._told_decision = last
        if loop_now - self._markets_told >= MARKETS_S:
            news["markets"] = self._markets(now)
            self._markets_told = loop_now
        return news

    def _attention(self, view: dict[str, Any], most: int = MOST) -> list[dict[str, Any]]:
        info = self.info()
        lines = [*budget_lines(self.tenants, self.month_view), *left_out_lines(self.left_out)]
        lines += set_aside_lines(info.get("set_aside", 0), info.get("lost", 0))
        return worst_first([*view["attention"], *lines], most)

    @property
    def left_out(self) -> tuple[str, ...]:
        """What is in no figure: records that cannot be booked, reckoned with or shown, each by name and reason."""
        unread = (str(aside) for aside in self.store.aside())
        return (*self.month.left_out, *(text for _, text in self.fold.unfit), *unread)

    def _markets(self, now: datetime) -> dict[str, Any]:
        loop_now = asyncio.get_running_loop().time()
        if self._markets_made is None or loop_now - self._markets_made[0] >= MARKETS_S:
            self._markets_made = (loop_now, views.markets_view(self.fold, now))
        return self._markets_made[1]

    def _info(self) -> dict[str, Any]:
        info = dict(self.info())
        mine = [{"name": t.name, "ok": False, "detail": t.line} for t in self.registry.troubles]
        info["parts"] = [*info.get("parts", []), *mine]
        if self.store_error is not None:
            info["parts"] = [*info.get("parts", []), {"name": "store", "ok": False, "detail": self.store_error}]
        return info

    def parts(self) -> list[dict[str, Any]]:
        """The platform's parts, and what of the console itself is not well: {"name", "ok", "detail"}."""
        parts: list[dict[str, Any]] = self._info().get("parts", [])
        return parts

    def _publish(self, event: str, data: object) -> None:
        if not self._readers:
            return
        chunk = b"event: " + event.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"
        for queue in self._readers:
            _put(queue, chunk)


def _put(queue: asyncio.Queue[bytes], chunk: bytes) -> None:
    if queue.full():
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(RESYNC)
    queue.put_nowait(chunk)

"""Orders from an OpenADR 3 server (VTN), polled: events with a limit on power drawn, interval by interval.

Read are events of one program with payloads `IMPORT_CAPACITY_LIMIT` (kW), and `SIMPLE` at level 1 and above as a limit
that is configured. An event that is no longer listed is cancelled: that is what the standing orders of a source do
with what is said no more. One that is listed in an older version than was read (`modificationDateTime`; a server behind
a balancer may do so) stays as it was. A length of zero means until cancelled, as in OpenADR 2.0b. A start at random
(`randomizeStart`) moves the whole event by a part of that window, the same each time it is read. Where events overlap
the tightest limit holds, whatever their priority. An event that cannot be read is named and costs itself alone. Reports
are not sent. Source: OpenADR 3.0.1, definition and user guide; openadr3's models agree with what is read here, no
server of a utility was at hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx

from tieline.feeds.notices.standing import MAX_ORDERS, MOST_W, SourceError, StatedOrder, chosen_delay
from tieline.intake import IntakeError, read_json

MAX_ANSWER, TIMEOUT_S = 1_000_000, 5.0
# The server sees one request in this long; an answer holds in between.
POLL_EVERY = timedelta(seconds=10)
# The definition's own most for a page, and more than a site is asked for in a year.
PAGE, MOST_PAGES = 50, 20
_DURATION = re.compile(r"^P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?$")
# The definition's word for "until cancelled".
ENDLESS = "P9999Y"
UNITS = {"KW": 1e3, "W": 1.0, "MW": 1e6}


class OpenAdrSource:
    """One program of one server. `client`: id and secret for the server's token; None where it asks for none."""

    doubt: str | None = None

    def __init__(
        self,
        url: str,
        program: str,
        client: tuple[str, str] | None = None,
        simple_limit_w: float = 0.0,
        name: str = "openadr",
        ven: str | None = None,
    ) -> None:
        """`ven`: the name under which events are aimed at this site; None takes all of the program's."""
        self.name, self._url, self._program = name, url.rstrip("/"), program
        self._client, self._simple_limit_w, self._ven = client, simple_limit_w, ven
        self._http = httpx.AsyncClient(timeout=TIMEOUT_S)
        self._token: str | None = None
        self._asked_at: datetime | None = None
        self._last: list[StatedOrder] = []
        self._versions: dict[str, tuple[str, list[StatedOrder]]] = {}

    async def read(self, now: datetime) -> list[StatedOrder]:
        if self._asked_at is not None and now - self._asked_at < POLL_EVERY:
            return self._last
        try:
            events = await self._events()
        except (httpx.HTTPError, IntakeError) as error:
            raise SourceError(f"{self._url}: {type(error).__name__}: {str(error)[:150]}") from None
        said, self.doubt = self._said(events)
        current = [one for one in said if one.until is None or one.until > now]
        if len(current) > MAX_ORDERS:
            raise SourceError(f"{self._url}: {len(current)} intervals ahead; at most {MAX_ORDERS} are taken")
        self._asked_at, self._last = now, current
        return current

    def _said(self, events: list[Any]) -> tuple[list[StatedOrder], str | None]:
        """The limits of all events that can be read, and a line on the first that cannot."""
        said: list[StatedOrder] = []
        versions: dict[str, tuple[str, list[StatedOrder]]] = {}
        doubt = None
        for event in events:
            try:
                if not aimed_at(event, self._ven):
                    continue
                key, version = str(event["id"]), str(event.get("modificationDateTime") or "")
                held = self._versions.get(key)
                orders = list(limits(event, self._simple_limit_w, self._ven or self.name))
                if held is not None and _older(version, held[0]):
                    version, orders = held
                versions[key] = (version, orders)
                said += orders
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                name = event.get("id") if isinstance(event, dict) else None
                doubt = doubt or f"event {str(name)[:60]} cannot be read: {type(error).__name__}: {str(error)[:120]}"
                last = self._versions.get(str(name))
                if last is not None:  # what it said before goes on until it is readable or gone
                    versions[str(name)] = last
                    said += last[1]
        self._versions = versions
        return said, doubt

    def tell(self, now: datetime, taken: list[str]) -> None:
        """Reports are not sent."""

    async def close(self) -> None:
        await self._http.aclose()

    async def _events(self) -> list[Any]:
        """All events of the program, page by page: one that is not on the first is not cancelled."""
        events: list[Any] = []
        for _ in range(MOST_PAGES):
            page = await self._page(len(events))
            events += page
            if len(page) < PAGE:
                return events
        raise SourceError(f"{self._url}: more than {MOST_PAGES * PAGE} events")

    async def _page(self, skip: int) -> list[Any]:
        for again in (True, False):
            headers = {} if self._client is None else {"Authorization": f"Bearer {await self._login()}"}
            query = {"programID": self._program, "skip": str(skip), "limit": str(PAGE)}
            status, body = await self._fetch("GET", f"{self._url}/events", headers=headers, params=query)
            if status in (401, 403) and again:
                self._token = None
                continue
            if status != 200:
                raise SourceError(f"{self._url}/events answered {status}")
            events = read_json(body, MAX_ANSWER)
            if not isinstance(events, list):
                raise SourceError(f"{self._url}/events answered no list")
            return events
        raise SourceError(f"{self._url}: the token was refused")

    async def _login(self) -> str:
        if self._token is None:
            assert self._client is not None
            form = {"grant_type": "client_credentials", "client_id": self._client[0], "client_secret": self._client[1]}
            status, body = await self._fetch("POST", f"{self._url}/auth/token", data=form)
            given = read_json(body, MAX_ANSWER) if status == 200 else None
            token = given.get("access_token") if isinstance(given, dict) else None
            if not isinstance(token, str):
                raise SourceError(f"{self._url}/auth/token answered {status} and gave no token")
            self._token = token
        return self._token

    async def _fetch(self, method: str, url: str, **more: Any) -> tuple[int, bytes]:
        """Status and body, cut off at a bound."""
        async with self._http.stream(method, url, **more) as answer:
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER:
                    raise SourceError(f"{url}: an answer of more than {MAX_ANSWER} bytes was cut off")
            return answer.status_code, bytes(body)


def aimed_at(event: dict[str, Any], ven: str | None) -> bool:
    """Whether an event is for this site: aimed at nobody by name, or at it. Raises KeyError, TypeError."""
    names = [name for target in event.get("targets") or [] if target["type"] == "VEN_NAME" for name in target["values"]]
    return ven is None or not names or ven in names


def _older(version: str, held: str) -> bool:
    """By their moments; a version that is not said is not older. Raises ValueError."""
    if not version or not held:
        return False
    return datetime.fromisoformat(version) < datetime.fromisoformat(held)


def limits(event: dict[str, Any], simple_limit_w: float, ven: str = "") -> Iterator[StatedOrder]:
    """The limits of one event, an interval each. Raises KeyError, TypeError or ValueError for what cannot be read."""
    period = event.get("intervalPeriod") or {}
    start, length = _moment(period.get("start")), _length(period.get("duration"))
    delay = chosen_delay(_length(period.get("randomizeStart") or "PT0S"), f"{ven}|{event['id']}")
    start = None if start is None else start + delay
    units = {d.get("payloadType"): d.get("units") for d in event.get("payloadDescriptors") or []}
    for interval in event["intervals"]:
        own = interval.get("intervalPeriod") or {}
        begin = _moment(own.get("start"))
        begins = start if begin is None else begin + delay
        lasts = _length(own.get("duration")) if "duration" in own else length
        until = None if begins is None or lasts is None else begins + lasts
        for payload in interval["payloads"]:
            limit_w = _limit(payload, units, simple_limit_w)
            if limit_w is not None:
                yield StatedOrder(f"{event['id']}.{interval['id']}", limit_w, begins, until)
        start = until  # the next one follows, unless it says otherwise


def _limit(payload: dict[str, Any], units: dict[Any, Any], simple_limit_w: float) -> float | None:
    kind, values = payload["type"], payload["values"]
    if kind == "SIMPLE":
        return simple_limit_w if float(values[0]) >= 1 else None
    if kind != "IMPORT_CAPACITY_LIMIT":
        return None
    limit_w = float(values[0]) * UNITS[units.get(kind) or "KW"]
    if not 0.0 <= limit_w <= MOST_W:
        raise ValueError(f"a limit of {limit_w:.6g} W")
    return limit_w


def _moment(text: str | None) -> datetime | None:
    """Raises ValueError for a time without a zone."""
    if not text or text.startswith("0000"):  # the definition's word for "now"
        return None
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"time {text} has no zone")
    return moment


def _length(text: str | None) -> timedelta | None:
    """None: until cancelled. Raises ValueError."""
    if text is None or text == ENDLESS:
        return None
    match = _DURATION.match(text)
    if match is None or text in ("P", "PT"):
        raise ValueError(f"duration {text!r}")
    years, months, weeks, days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    if years or months:
        raise ValueError(f"duration {text!r}: give days, hours, minutes or seconds")
    length = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    return None if length == timedelta(0) else length

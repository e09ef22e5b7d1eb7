"""Orders from an OpenADR 3 server (VTN), polled: events with a limit on power drawn, interval by interval.

Read are events of one program with payloads `IMPORT_CAPACITY_LIMIT` (kW), and `SIMPLE` at level 1 and above as a limit
that is configured. An event that is no longer listed is cancelled: that is what the standing orders of a source do
with what is said no more. Reports are not sent. Source: OpenADR 3.0.1, definition and user guide; openadr3's models
agree with what is read here, no server of a utility was at hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx

from tieline.edge.orders.sources import MOST_W, SourceError
from tieline.edge.orders.standing import MAX_ORDERS, StatedOrder
from tieline.intake import IntakeError, read_json

MAX_ANSWER, TIMEOUT_S = 1_000_000, 5.0
# The server sees one request in this long; an answer holds in between.
POLL_EVERY = timedelta(seconds=10)
_DURATION = re.compile(r"^P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?$")
# The definition's word for "until cancelled".
ENDLESS = "P9999Y"
UNITS = {"KW": 1e3, "W": 1.0, "MW": 1e6}


class OpenAdrSource:
    """One program of one server. `client`: id and secret for the server's token; None where it asks for none."""

    def __init__(
        self,
        url: str,
        program: str,
        client: tuple[str, str] | None = None,
        simple_limit_w: float = 0.0,
        name: str = "openadr",
    ) -> None:
        self.name, self._url, self._program = name, url.rstrip("/"), program
        self._client, self._simple_limit_w = client, simple_limit_w
        self._http = httpx.AsyncClient(timeout=TIMEOUT_S)
        self._token: str | None = None
        self._asked_at: datetime | None = None
        self._last: list[StatedOrder] = []

    async def read(self, now: datetime) -> list[StatedOrder]:
        if self._asked_at is not None and now - self._asked_at < POLL_EVERY:
            return self._last
        try:
            events = await self._events()
        except (httpx.HTTPError, IntakeError) as error:
            raise SourceError(f"{self._url}: {type(error).__name__}: {str(error)[:150]}") from None
        try:
            said = [one for event in events for one in limits(event, self._simple_limit_w)]
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(f"{self._url}: an event that cannot be read: {error}") from None
        current = [one for one in said if one.until is None or one.until > now]
        if len(current) > MAX_ORDERS:
            raise SourceError(f"{self._url}: {len(current)} intervals ahead; at most {MAX_ORDERS} are taken")
        self._asked_at, self._last = now, current
        return current

    def tell(self, now: datetime, taken: list[str]) -> None:
        """Reports are not sent."""

    async def close(self) -> None:
        await self._http.aclose()

    async def _events(self) -> list[Any]:
        for again in (True, False):
            headers = {} if self._client is None else {"Authorization": f"Bearer {await self._login()}"}
            query = {"programID": self._program}
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


def limits(event: dict[str, Any], simple_limit_w: float) -> Iterator[StatedOrder]:
    """The limits of one event, an interval each. Raises KeyError, TypeError or ValueError for what cannot be read."""
    period = event.get("intervalPeriod") or {}
    start, length = _moment(period.get("start")), _length(period.get("duration"))
    units = {d.get("payloadType"): d.get("units") for d in event.get("payloadDescriptors") or []}
    for interval in event["intervals"]:
        own = interval.get("intervalPeriod") or {}
        begins = _moment(own.get("start")) or start
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
    found = _DURATION.match(text)
    if found is None or text in ("P", "PT"):
        raise ValueError(f"duration {text!r}")
    years, months, weeks, days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    if years or months:
        raise ValueError(f"duration {text!r}: give days, hours, minutes or seconds")
    length = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    if length <= timedelta(0):
        raise ValueError(f"duration {text!r} is nothing")
    return length

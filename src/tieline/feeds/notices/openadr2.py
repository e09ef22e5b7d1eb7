"""Orders from an OpenADR 2.0b server (VTN): its events, asked for again and again, as limits on power drawn.

The messages are openleadr's (Apache-2.0, the extra `openadr2`); what they mean is decided here. All events are asked
for each time (`oadrRequestEvent`), so that one that is listed no more is cancelled, which openleadr's own client does
not notice. A length of zero means until cancelled. A lower modification number than was read changes nothing. A start
at random (`startafter`) moves the whole event by a part of that window, the same each time it is read. Where events
overlap the tightest holds. `SIMPLE` at level 1 and above is a limit that is configured, `LOAD_DISPATCH` as a setpoint
in watts one of its own; other signals are named and not carried out. Test events are named and move nothing. Each event
is answered with opt-in, once for each modification. Source: OpenADR 2.0b profile specification; no server of a utility
was at hand.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any, Protocol

from tieline.feeds.notices.standing import MAX_ORDERS, MOST_W, SourceError, StatedOrder, chosen_delay

POLL_EVERY = timedelta(seconds=10)
# Of an event that is over or was taken back.
OVER = ("cancelled", "completed")
SCALES = {"none": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
# Its own lines for each message and each lost connection; what matters of them is this source's fault.
logging.getLogger("openleadr").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class VenIdentity:
    """How a site shows itself: its name, and where the server asks for them a certificate with its key, the authorities
    (files, PEM) and the fingerprint of the server's own certificate, which then signs its messages."""

    name: str
    cert: str | None = None
    key: str | None = None
    ca: str | None = None
    fingerprint: str | None = None


class VenClient(Protocol):
    """What is used of openleadr's client."""

    registration_id: str | None
    client_session: Any

    async def create_party_registration(self) -> Any: ...

    async def request_event(self) -> tuple[str | None, dict[str, Any]]: ...

    async def created_event(
        self, request_id: str, event_id: str, opt_type: str, modification_number: int = 0
    ) -> None: ...


class OpenAdr2Source:
    """One server, asked every ten seconds."""

    doubt: str | None = None

    def __init__(self, url: str, identity: VenIdentity, simple_limit_w: float = 0.0, name: str = "openadr2") -> None:
        self.name, self._url, self._identity = name, url.rstrip("/"), identity
        self._simple_limit_w = simple_limit_w
        self._client: VenClient | None = None
        self._asked_at: datetime | None = None
        self._last: list[StatedOrder] = []
        self._versions: dict[str, tuple[int, list[StatedOrder]]] = {}
        self._answered: dict[tuple[str, int], None] = {}

    async def read(self, now: datetime) -> list[StatedOrder]:
        if self._asked_at is not None and now - self._asked_at < POLL_EVERY:
            return self._last
        client = await self._registered()
        kind, message = await client.request_event()
        response = message.get("response") or {}
        # Some servers say that there is no event by a plain "OK" in place of an empty list.
        if kind != "oadrDistributeEvent" and (kind, response.get("response_code")) != ("oadrResponse", 200):
            client.registration_id = None  # it may have forgotten us: register again
            why = f"{kind or 'no answer'}: {response.get('response_description') or ''}"
            raise SourceError(f"{self._url}: no list of events came ({why.rstrip(': ')})")
        said = self._said(message.get("events") or [])
        current = [one for one in said if one.until is None or one.until > now]
        if len(current) > MAX_ORDERS:
            raise SourceError(f"{self._url}: {len(current)} intervals ahead; at most {MAX_ORDERS} are taken")
        self._asked_at, self._last = now, current
        await self._answer(client, str(message.get("request_id")), message.get("events") or [])
        return current

    def tell(self, now: datetime, taken: list[str]) -> None:
        """Reports are not sent; that an event was taken is answered with opt-in."""

    async def close(self) -> None:
        if self._client is not None and self._client.client_session is not None:
            await self._client.client_session.close()

    async def _registered(self) -> VenClient:
        if self._client is None:
            self._client = _client(await asyncio.to_thread(_library), self._url, self._identity)
        if self._client.registration_id is None:
            await self._client.create_party_registration()
        if self._client.registration_id is None:
            raise SourceError(f"{self._url}: it does not answer, or does not register {self._identity.name}")
        return self._client

    def _said(self, events: list[Any]) -> list[StatedOrder]:
        """The limits of all events that can be read; `doubt` is the first that cannot."""
        said: list[StatedOrder] = []
        versions: dict[str, tuple[int, list[StatedOrder]]] = {}
        doubts: list[str] = []
        for event in events:
            try:
                about = event["event_descriptor"]
                key, version = str(about["event_id"]), int(about["modification_number"])
                held = self._versions.get(key)
                orders, doubt = _read_event(event, self._simple_limit_w, self._identity.name)
                if held is not None and version < held[0]:
                    version, orders = held
                versions[key] = (version, orders)
                said += orders
                doubts += [doubt] if doubt is not None else []
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                doubts.append(f"an event cannot be read: {type(error).__name__}: {str(error)[:120]}")
        self._versions, self.doubt = versions, doubts[0] if doubts else None
        return said

    async def _answer(self, client: VenClient, request_id: str, events: list[Any]) -> None:
        for event in events:
            about = event.get("event_descriptor", {})
            what = (str(about.get("event_id")), int(about.get("modification_number", 0)))
            if event.get("response_required") == "always" and what not in self._answered:
                await client.created_event(request_id, what[0], "optIn", what[1])
                self._answered[what] = None
        while len(self._answered) > 10 * MAX_ORDERS:
            del self._answered[next(iter(self._answered))]


def _read_event(event: Mapping[str, Any], simple_limit_w: float, ven: str) -> tuple[list[StatedOrder], str | None]:
    """Its limits, and a line on what in it is not carried out. Raises KeyError, TypeError, ValueError."""
    about = event["event_descriptor"]
    name = str(about["event_id"])[:60]
    if about["event_status"] in OVER:
        return [], None
    if str(about.get("test_event", False)).lower() not in ("false", "none", ""):
        return [], f"event {name} is a test and moves nothing"
    orders: list[StatedOrder] = []
    others = []
    for n, signal in enumerate(event["event_signals"]):
        if signal["signal_name"] == "SIMPLE" or (signal["signal_name"], signal["signal_type"]) == (
            "LOAD_DISPATCH", "setpoint",
        ):  # fmt: skip
            delay = chosen_delay(_window(event["active_period"]), f"{ven}|{about['event_id']}")
            key = f"{about['event_id']}.{n}"
            orders += signal_limits(key, event["active_period"], signal, simple_limit_w, delay)
        else:
            others.append(str(signal["signal_name"])[:40])
    return orders, f"event {name}: signal {others[0]} is not carried out" if others else None


def signal_limits(
    key: str,
    period: Mapping[str, Any],
    signal: Mapping[str, Any],
    simple_limit_w: float,
    delay: timedelta = timedelta(0),
) -> Iterator[StatedOrder]:
    """One order for each interval that asks for something, all later by `delay`. Raises KeyError, TypeError,
    ValueError."""
    start, end = _zoned(period["dtstart"]) + delay, None
    whole: timedelta = period.get("duration") or timedelta(0)
    if whole > timedelta(0):
        end = start + whole
    for n, interval in enumerate(signal["intervals"]):
        start = start if interval.get("dtstart") is None else _zoned(interval["dtstart"]) + delay
        length: timedelta = interval.get("duration") or timedelta(0)
        until = start + length if length > timedelta(0) else end
        value = float(interval["signal_payload"])
        limit_w = _limit(signal, value, simple_limit_w)
        if limit_w is not None:
            yield StatedOrder(f"{key}.{n}", limit_w, start, until)
        start = until or start


def _window(period: Mapping[str, Any]) -> timedelta | None:
    """Within which the start is to be chosen at random. Raises TypeError, ValueError."""
    tolerance = period.get("tolerance") or {}
    window = (tolerance.get("tolerate") or tolerance).get("startafter")
    if window is not None and not isinstance(window, timedelta):
        raise ValueError(f"startafter {window!r}")
    return window


def _limit(signal: Mapping[str, Any], value: float, simple_limit_w: float) -> float | None:
    if signal["signal_name"] == "SIMPLE":
        return simple_limit_w if value >= 1 else None
    unit = signal.get("measurement")
    if not isinstance(unit, Mapping) or unit.get("unit") != "W":
        raise ValueError("a setpoint without watts as its unit")
    limit_w = value * SCALES[str(unit.get("scale") or "none")]
    if not 0.0 <= limit_w <= MOST_W:
        raise ValueError(f"a limit of {limit_w:.6g} W")
    return limit_w


def _zoned(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"time {moment.isoformat()} has no zone")
    return moment


def _library() -> ModuleType:
    """Raises SourceError where it is not installed. It takes a second to import, and most sites need none of it."""
    try:
        import openleadr
    except ImportError as error:
        raise SourceError(f"OpenADR 2.0b needs openleadr ({error}); pip install 'tieline[openadr2]'") from error
    module: ModuleType = openleadr
    return module


def _client(library: ModuleType, url: str, identity: VenIdentity) -> VenClient:
    try:
        made: VenClient = library.OpenADRClient(
            ven_name=identity.name, vtn_url=url, cert=identity.cert, key=identity.key, ca_file=identity.ca,
            vtn_fingerprint=identity.fingerprint, show_fingerprint=False, disable_signature=identity.cert is None,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise SourceError(f"{url}: the certificate cannot be used: {error}") from error
    return made

"""The records behind a number: lists by stream and time, and each record at its permanent reference."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, get_args

import msgspec

from tieline.clock import parse_utc
from tieline.records import AnyRecord, Record, encode
from tieline.store import Store, Stored

STREAMS: dict[str, type[Record]] = {type_.__name__: type_ for type_ in get_args(AnyRecord)}
DEFAULT, MOST = 60, 500
# A list without a time asks for the newest: forecasts reach about two days ahead, and a quiet stream
# (trades, payouts) may have said nothing for a month.
AHEAD, BACK = timedelta(days=3), timedelta(days=62)


class AskError(ValueError):
    """What is wrong with the question."""


def listed(store: Store, query: dict[str, str], now: datetime) -> list[dict[str, Any]]:
    """Newest first. `stream` is required; `subject`, `unit`, `since`, `until` and `limit` narrow it."""
    type_ = STREAMS.get(query.get("stream", ""))
    if type_ is None:
        raise AskError(f"stream: give one of {', '.join(STREAMS)}")
    try:
        limit = max(1, min(MOST, int(query.get("limit", DEFAULT))))
        since = parse_utc(query["since"]) if "since" in query else now - BACK
        until = parse_utc(query["until"]) if "until" in query else now + AHEAD
    except ValueError as error:
        raise AskError(f"limit, since, until: {error}") from error
    unit, subject = query.get("unit"), query.get("subject")
    # A site has at most a dozen units, so the newest of one of them lie among this many of the site's.
    reach = min(6_000, limit * 12) if unit else limit
    found = store.stored(type_, since, until, subject=subject, limit=reach, newest_first=True)
    if unit:
        found = [s for s in found if getattr(s.record, "unit_id", None) == unit]
    return [described(s) for s in found[:limit]]


def one(store: Store, seq: int) -> dict[str, Any] | None:
    record = store.get(seq)
    return None if record is None else described(Stored(seq, record))


def described(stored: Stored) -> dict[str, Any]:
    record = stored.record
    assert isinstance(record, Record), "the store decodes to records"
    return {
        "seq": stored.seq,
        "type": type(record).__name__,
        "at": record.at.timestamp(),
        "known_at": record.known_at.timestamp(),
        "source": record.source,
        "kind": record.kind,
        "subject": record.subject,
        "key": record.key,
        "record": msgspec.Raw(encode(record)),
    }

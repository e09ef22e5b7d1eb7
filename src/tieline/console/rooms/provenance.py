"""The records behind a number: lists by stream and time, and each record at its permanent reference."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, get_args

import msgspec

from tieline.clock import micros, parse_utc
from tieline.records import AnyRecord, Record, encode
from tieline.store import Cursor, Selection, Store, Stored

STREAMS: dict[str, type[Record]] = {type_.__name__: type_ for type_ in get_args(AnyRecord)}
DEFAULT, MOST = 60, 500
# Pages looked through for the records of one unit.
REACH = 24
# A list without a time asks for the newest: forecasts reach about two days ahead, and a quiet stream
# (trades, payouts) may have said nothing for a month.
AHEAD, BACK = timedelta(days=3), timedelta(days=62)


class AskError(ValueError):
    """What is wrong with the question."""


@dataclass(frozen=True, slots=True)
class _Question:
    of: Selection[Record]
    limit: int
    after: Cursor | None
    unit: str | None


def listed(store: Store, query: dict[str, str], now: datetime) -> dict[str, Any]:
    """`records`, newest first, and whether there is `more`; `next` is then what to give as `after` for the next page.
    `stream` is required; `subject`, `unit`, `since`, `until` and `limit` narrow it. Raises AskError."""
    asked = _question(query, now)
    rows: list[Stored] = []
    last, more = asked.after, True
    # A site has at most a dozen units, so a page of one of them is found in a few of the site's; at most REACH, since
    # someone waits. Where that is not enough the page is short, and says that there is more.
    for _ in range(REACH if asked.unit else 1):
        page = store.page(asked.of, asked.limit, last, newest_first=True)
        rows += [s for s in page.items if not asked.unit or getattr(s.record, "unit_id", None) == asked.unit]
        last, more = page.last, page.more
        if len(rows) >= asked.limit or not more:
            break
    if len(rows) > asked.limit:
        cut = rows[asked.limit - 1]
        assert isinstance(cut.record, Record), "the store decodes to records"
        rows, more = rows[: asked.limit], True
        last = Cursor(micros(cut.record.at), micros(cut.record.known_at), cut.seq)
    return {
        "records": [described(s) for s in rows],
        "more": more,
        "next": ".".join(map(str, last)) if more and last is not None else None,
    }


def _question(query: dict[str, str], now: datetime) -> _Question:
    type_ = STREAMS.get(query.get("stream", ""))
    if type_ is None:
        raise AskError(f"stream: give one of {', '.join(STREAMS)}")
    try:
        limit = max(1, min(MOST, int(query.get("limit", DEFAULT))))
        since = parse_utc(query["since"]) if "since" in query else now - BACK
        until = parse_utc(query["until"]) if "until" in query else now + AHEAD
        after = Cursor(*(int(part) for part in query["after"].split("."))) if "after" in query else None
    except (ValueError, TypeError) as error:
        raise AskError(f"limit, since, until, after: {error}") from error
    return _Question(Selection(type_, since, until, subject=query.get("subject")), limit, after, query.get("unit"))


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

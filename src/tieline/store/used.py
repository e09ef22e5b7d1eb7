"""What was used and what was done, kept when the spool has sent its rows away.

Usage is summed by the hour, and by the day once it is older than HOURS_KEPT_S; who did what under `/admin` is kept as
it was recorded. Both are written in the transaction of the rows that they come from, so they agree with them after
any crash, and a row that comes twice counts once. Times are seconds since 1970, and of deeds microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from tieline.store.database import Database

HOUR_S: Final = 3_600
DAY_S: Final = 86_400
# Two months by the hour, so that a month's bill can be looked into while it is talked about. By the day a thousand
# keys with three models each make 100 MB in a year.
HOURS_KEPT_S: Final = 62 * DAY_S

# What was sent before these tables were there is not in them: `since` says from when on they are complete.
SCHEMA: Final = f"""
CREATE TABLE used (
    tenant        TEXT    NOT NULL,
    hour          INTEGER NOT NULL,
    project       TEXT    NOT NULL,
    key_id        TEXT    NOT NULL,
    model         TEXT    NOT NULL,
    requests      INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost_nano_usd INTEGER NOT NULL,
    PRIMARY KEY (tenant, hour, project, key_id, model)
) STRICT, WITHOUT ROWID;
CREATE INDEX used_hour ON used (hour);
CREATE TABLE deed (id INTEGER PRIMARY KEY, at_us INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE INDEX deed_at ON deed (at_us, id);
CREATE TABLE kept (id INTEGER PRIMARY KEY CHECK (id = 1), since INTEGER, by_day INTEGER NOT NULL) STRICT;
INSERT INTO kept
    SELECT 1, CASE WHEN EXISTS (SELECT 1 FROM item) OR EXISTS (SELECT 1 FROM total) THEN unixepoch() END, 0;
INSERT INTO used
    SELECT body ->> 'tenant', unixepoch(body ->> 'at') / {HOUR_S} * {HOUR_S}, body ->> 'project', body ->> 'key_id',
           body ->> 'model', count(*), sum(body ->> 'prompt_tokens'), sum(body ->> 'output_tokens'),
           sum(coalesce(body ->> 'cost_nano_usd', 0))
    FROM (SELECT CAST(body AS TEXT) AS body FROM item WHERE json_valid(CAST(body AS TEXT)))
    WHERE body ->> 'type' = 'Usage' GROUP BY 1, 2, 3, 4, 5;
INSERT INTO deed (at_us, body)
    SELECT CAST(unixepoch(CAST(body AS TEXT) ->> 'at', 'subsec') * 1000000 AS INTEGER), body FROM item
    WHERE json_valid(CAST(body AS TEXT)) AND CAST(body AS TEXT) ->> 'type' = 'Action' ORDER BY id;
"""

# What is metered in another unit than tokens is summed by itself; "" is tokens.
UNITS: Final = """
ALTER TABLE used RENAME TO used_before;
DROP INDEX used_hour;
CREATE TABLE used (
    tenant        TEXT    NOT NULL,
    hour          INTEGER NOT NULL,
    project       TEXT    NOT NULL,
    key_id        TEXT    NOT NULL,
    model         TEXT    NOT NULL,
    unit          TEXT    NOT NULL,
    requests      INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    units         INTEGER NOT NULL,
    cost_nano_usd INTEGER NOT NULL,
    PRIMARY KEY (tenant, hour, project, key_id, model, unit)
) STRICT, WITHOUT ROWID;
CREATE INDEX used_hour ON used (hour);
INSERT INTO used
    SELECT tenant, hour, project, key_id, model, '', requests, prompt_tokens, output_tokens, 0, cost_nano_usd
    FROM used_before;
DROP TABLE used_before;
"""

_ADD: Final = """
INSERT INTO used VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    requests = requests + excluded.requests, prompt_tokens = prompt_tokens + excluded.prompt_tokens,
    output_tokens = output_tokens + excluded.output_tokens, units = units + excluded.units,
    cost_nano_usd = cost_nano_usd + excluded.cost_nano_usd
"""


class _Row(msgspec.Struct, gc=False):
    """What is read of a record's line."""

    type: str
    at: datetime
    tenant: str = ""
    project: str = ""
    key_id: str = ""
    model: str = ""
    prompt_tokens: int = 0
    output_tokens: int = 0
    unit: str = ""
    units: int = 0
    cost_nano_usd: int | None = None


_read = msgspec.json.Decoder(_Row).decode


class KeptUsage(NamedTuple):
    """From when on sums are complete (None: from the beginning), and before when they are by the day."""

    since: int | None
    by_day: int


class Deed(NamedTuple):
    """An Action, and its place in the order of one spool."""

    at_us: int
    id: int
    body: bytes


def add(db: Database, bodies: Iterable[bytes]) -> None:
    """Count rows that are new here, within their transaction. Raises StoreError."""
    sums: dict[tuple[str, int, str, str, str, str], list[int]] = {}
    deeds: list[tuple[int, bytes]] = []
    for body in bodies:
        try:
            row = _read(body)
        except (msgspec.DecodeError, ValueError, RecursionError):
            continue  # no record of ours; it is not lost, only not counted
        if row.type == "Usage":
            hour = int(row.at.timestamp()) // HOUR_S * HOUR_S
            sum_ = sums.setdefault((row.tenant, hour, row.project, row.key_id, row.model, row.unit), [0, 0, 0, 0, 0])
            sum_[0] += 1
            sum_[1] += row.prompt_tokens
            sum_[2] += row.output_tokens
            sum_[3] += row.units
            sum_[4] += row.cost_nano_usd or 0
        elif row.type == "Action":
            deeds.append((round(row.at.timestamp() * 1e6), body))
    if sums:
        db.many(_ADD, [(*name, *numbers) for name, numbers in sums.items()])
    if deeds:
        db.many("INSERT INTO deed (at_us, body) VALUES (?, ?)", deeds)


def fold_old(db: Database) -> None:
    """Sum by the day what is older than HOURS_KEPT_S, in one transaction. Raises StoreError."""
    ((newest,),) = db.rows("SELECT coalesce(max(hour), 0) FROM used")
    before = (newest - HOURS_KEPT_S) // DAY_S * DAY_S
    ((done,),) = db.rows("SELECT by_day FROM kept")
    if before <= done:
        return
    with db.write():
        rows = db.rows(
            "SELECT tenant, hour / ? * ?, project, key_id, model, unit, sum(requests), sum(prompt_tokens),"
            " sum(output_tokens), sum(units), sum(cost_nano_usd) FROM used WHERE hour >= ? AND hour < ?"
            " GROUP BY 1, 2, 3, 4, 5, 6",
            (DAY_S, DAY_S, done, before),
        )
        db.run("DELETE FROM used WHERE hour >= ? AND hour < ?", (done, before))
        db.many(_ADD, rows)
        db.run("UPDATE kept SET by_day = ?", (before,))


def kept(db: Database) -> KeptUsage:
    return KeptUsage(*db.rows("SELECT since, by_day FROM kept")[0])


def spent_by(db: Database, tenant: str, since: int, until: int) -> list[tuple[Any, ...]]:
    """(project, key, model, unit, requests, prompt tokens, output tokens, units, nano-dollars) of a tenant within whole
    hours, or within whole days where they are kept by the day."""
    return db.rows(
        "SELECT project, key_id, model, unit, sum(requests), sum(prompt_tokens), sum(output_tokens), sum(units),"
        " sum(cost_nano_usd) FROM used WHERE tenant = ? AND hour >= ? AND hour < ? GROUP BY 1, 2, 3, 4",
        (tenant, since, until),
    )


def deeds_before(db: Database, at_us: int, id_: int, limit: int) -> list[Deed]:
    """The newest before (at, id), newest first."""
    sql = "SELECT at_us, id, body FROM deed WHERE (at_us, id) < (?, ?) ORDER BY at_us DESC, id DESC LIMIT ?"
    return [Deed(*row) for row in db.rows(sql, (at_us, id_, limit))]

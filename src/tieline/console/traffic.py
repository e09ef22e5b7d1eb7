"""Inference as an operator watches it: what the gateway served in the last day, by replica and by tenant.

A fold of `Usage` records by five-minute interval, and of `DoorRefusals` by hour, bounded in all that it keeps. Knows no
HTTP and no clock. A request that a gateway did not take leaves no Usage.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tieline.clock import FIVE_MINUTES, Interval
from tieline.records import DoorRefusals, Hop, Usage

Json = dict[str, Any]

STEP_S = int(FIVE_MINUTES.total_seconds())
KEEP = timedelta(hours=24)
# Sums by replica and tenant speak for the last hour: long enough to be steady, short enough to be now.
RECENT = timedelta(hours=1)
# Times to first token kept per interval; quantiles of more than this many would look the same.
MAX_TIMES = 400
MAX_REQUESTS = 120
# Replicas and tenants seen in one interval; what is beyond is added up under one name.
MAX_NAMES, OTHERS = 500, "others"
# How a hop ends when its replica failed it, and not the client or the length.
LOST = frozenset({"died", "stalled", "error"})

# Of hours, tenants and reasons of refusals; and rows of them that a page shows, what is beyond is counted.
MAX_CELLS, MAX_ROWS, OTHER_TENANTS = 20_000, 200, "(others)"
HOUR = timedelta(hours=1)

COLUMNS = ["at", "requests", "failed", "moved", "output_tokens", "first_token_p50_ms"]


@dataclass(slots=True)
class Count:
    requests: int = 0
    failed: int = 0
    lost: int = 0
    prompt: int = 0
    output: int = 0
    nano_usd: int = 0
    last: tuple[datetime, int] | None = None
    times: list[float] = field(default_factory=list)

    def time(self, ms: float | None) -> None:
        if ms is not None and len(self.times) < MAX_TIMES:
            self.times.append(ms)


@dataclass(slots=True)
class Bin:
    whole: Count = field(default_factory=Count)
    moved: int = 0
    crossed: dict[tuple[str, str], int] = field(default_factory=dict)  # from, to -> output tokens
    replicas: dict[str, Count] = field(default_factory=dict)
    tenants: dict[str, Count] = field(default_factory=dict)

    def cross(self, here: str, hop: Hop) -> None:
        """A part of a request that was served in another region than its gateway's, where both were told."""
        way = (here, hop.region)
        if all(way) and here != hop.region and (way in self.crossed or len(self.crossed) < MAX_NAMES):
            self.crossed[way] = self.crossed.get(way, 0) + hop.output_tokens


class RefusedAtDoors:
    """What gateways refused before they took it, by hour, tenant and reason, of the last day. Beyond MAX_CELLS what
    comes is counted under one tenant's name."""

    def __init__(self) -> None:
        self._cells: Counter[tuple[datetime, str, str]] = Counter()
        self._newest: datetime | None = None

    def add(self, one: DoorRefusals) -> None:
        if self._newest is None or one.at > self._newest:
            self._newest = one.at
            for old in [cell for cell in self._cells if cell[0] < one.at - KEEP]:
                del self._cells[old]
        if one.at < self._newest - KEEP:
            return
        cell = (one.at, one.tenant, one.code)
        if cell not in self._cells and len(self._cells) >= MAX_CELLS:
            cell = (one.at, OTHER_TENANTS, "other")
        self._cells[cell] += one.count

    def view(self, now: datetime, tenant: str | None = None) -> Json:
        """By tenant and reason the last day and the running hour, and the hour in which it was last; the most often
        refused first. `tenant`: of one alone."""
        since, running = now - KEEP, now.replace(minute=0, second=0, microsecond=0)
        rows: dict[tuple[str, str], list[tuple[datetime, int]]] = {}
        for (at, whose, code), count in self._cells.items():
            if at + HOUR > since and tenant in (None, whose):
                rows.setdefault((whose, code), []).append((at, count))
        made: list[Json] = [
            {
                "tenant": whose,
                "code": code,
                "day": sum(count for _, count in hours),
                "hour": sum(count for at, count in hours if at == running),
                "last": max(at for at, _ in hours).timestamp(),
                "hours": [[at.timestamp(), count] for at, count in sorted(hours)],
            }
            for (whose, code), hours in rows.items()
        ]
        made.sort(key=lambda row: (-row["day"], row["tenant"], row["code"]))
        total = sum(row["day"] for row in made)
        return {"rows": made[:MAX_ROWS], "more": max(0, len(made) - MAX_ROWS), "total": total}


class Traffic:
    """Kept up record by record."""

    def __init__(self) -> None:
        self.bins: dict[datetime, Bin] = {}
        self.newest: deque[tuple[int, Usage]] = deque(maxlen=MAX_REQUESTS)
        self.trouble: deque[tuple[int, Usage]] = deque(maxlen=MAX_REQUESTS)

    def add(self, seq: int, usage: Usage) -> None:
        self.newest.append((seq, usage))
        moved, failed = len(usage.hops) > 1, usage.status >= 500
        if moved or failed:
            self.trouble.append((seq, usage))
        start = Interval.holding(usage.at, FIVE_MINUTES).start
        if start not in self.bins:
            for old in [s for s in self.bins if s < start - KEEP]:
                del self.bins[old]
            if self.bins and start < max(self.bins) - KEEP:
                return
        at = self.bins.setdefault(start, Bin())
        at.moved += moved
        for count in (at.whole, _named(at.tenants, usage.tenant)):
            count.requests += 1
            count.failed += failed
            count.prompt += usage.prompt_tokens
            count.output += usage.output_tokens
            count.nano_usd += usage.cost_nano_usd
            count.last = (usage.at, seq)
            count.time(usage.first_token_ms)
        for hop in usage.hops:
            count = _named(at.replicas, hop.replica_id)
            count.requests += 1
            count.lost += hop.ended in LOST
            count.output += hop.output_tokens
            at.cross(usage.region, hop)
            count.last = (usage.at, seq)
            count.time(hop.first_token_ms)

    def since(self, start: datetime) -> list[Bin]:
        return [b for at, b in sorted(self.bins.items()) if at >= start]


def traffic_view(traffic: Traffic, now: datetime) -> Json:
    """One day by interval, the last hour in sums, and the last requests."""
    hour = traffic.since(now - RECENT - FIVE_MINUTES)
    # The interval that runs is not whole; a rate over the time that it covers is.
    covered_s = RECENT.total_seconds() + (now - Interval.holding(now, FIVE_MINUTES).start).total_seconds()
    return {
        "columns": COLUMNS,
        "step_s": STEP_S,
        "rows": [_row(at, b) for at, b in sorted(traffic.bins.items()) if at > now - KEEP],
        "hour": _sums([b.whole for b in hour]) | {"moved": sum(b.moved for b in hour), "covered_s": round(covered_s)},
        "crossed": _crossed(hour),
        "replicas": _by_name([b.replicas for b in hour]),
        "tenants": _by_name([b.tenants for b in hour]),
        "newest": [request_view(seq, u) for seq, u in reversed(traffic.newest)],
        "trouble": [request_view(seq, u) for seq, u in reversed(traffic.trouble) if u.at > now - KEEP],
    }


def _row(at: datetime, one: Bin) -> list[float | int | None]:
    """In the order of COLUMNS."""
    whole = one.whole
    first_ms = quantile(whole.times, 0.5)
    return [int(at.timestamp()), whole.requests, whole.failed, one.moved, whole.output, first_ms]


def _crossed(bins: list[Bin]) -> list[Json]:
    """Output tokens that a gateway's clients had from another region, the most first."""
    sums: dict[tuple[str, str], int] = {}
    for one in bins:
        for way, tokens in one.crossed.items():
            sums[way] = sums.get(way, 0) + tokens
    ordered = sorted(sums.items(), key=lambda item: (-item[1], item[0]))
    return [{"gateway": here, "served_in": there, "output_tokens": tokens} for (here, there), tokens in ordered]


def _by_name(counts: list[dict[str, Count]]) -> dict[str, Json]:
    names = sorted({name for one in counts for name in one})
    return {name: _sums([one[name] for one in counts if name in one]) for name in names}


def request_view(seq: int, usage: Usage) -> Json:
    return {
        "seq": seq,
        "at": usage.at.timestamp(),
        "tenant": usage.tenant,
        "project": usage.project,
        "model": usage.model,
        "endpoint": usage.endpoint,
        "status": usage.status,
        "finish": usage.finish,
        "prompt_tokens": usage.prompt_tokens,
        "output_tokens": usage.output_tokens,
        "estimated": usage.estimated,
        "streamed": usage.streamed,
        "usd": usage.cost_nano_usd / 1e9,
        "first_token_ms": usage.first_token_ms,
        "total_ms": usage.total_ms,
        "hops": [{"replica": h.replica_id, "site_id": h.site_id, "ended": h.ended} for h in usage.hops],
    }


def quantile(values: list[float], share: float) -> float | None:
    """The value below which `share` of them lie; None of none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _sums(counts: list[Count]) -> Json:
    times = [ms for c in counts for ms in c.times]
    last = max((c.last for c in counts if c.last is not None), default=None)
    return {
        "requests": sum(c.requests for c in counts),
        "failed": sum(c.failed for c in counts),
        "lost": sum(c.lost for c in counts),
        "prompt_tokens": sum(c.prompt for c in counts),
        "output_tokens": sum(c.output for c in counts),
        "usd": sum(c.nano_usd for c in counts) / 1e9,
        "first_token_p50_ms": quantile(times, 0.5),
        "first_token_p95_ms": quantile(times, 0.95),
        "last_at": None if last is None else last[0].timestamp(),
        "last_seq": None if last is None else last[1],
    }


def _named(counts: dict[str, Count], name: str) -> Count:
    if name not in counts and len(counts) >= MAX_NAMES:
        name = OTHERS
    return counts.setdefault(name, Count())

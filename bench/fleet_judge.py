"""What a history of a fleet says against what is on record: the checker of `make fleet-test`.

`judge` names every violation in a line. It knows only the history (`fleet_history`) and what is on record (`OnRecord`,
which `fleet_records` reads), so that tests plant a violation in either and see it found. What is promised less of is
excused here and nowhere else, each with the place that says so, and counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from fleet_history import History, Operation

CONTROL, CORES = "abc", "ab"
# Capacity that is missing for less than this is within what a request may wait for.
MISSING_S: Final = 2.0
# A process cut off, frozen or killed for longer may have what it held given away (docs/gateway.md, limits).
LEASE_S: Final = 9.0
# The level of a limit by the minute is written once a second (docs/fleet.md), by whoever leads.
WRITTEN_S: Final = 1.0
# Between two clocks that agree; and between the moments of a slot and those of its record.
CLOCK_S, SLOT_S = 0.05, 0.01


@dataclass
class Used:
    """A Usage record, as far as it is judged."""

    request: str
    tenant: str
    tokens: int
    nano_usd: int
    ended: float  # seconds of the history
    took_s: float
    user: str = ""


@dataclass
class Planned:
    """A Plan record, in the order of the store."""

    site: str
    at: datetime
    fence: int


@dataclass
class OnRecord:
    """What the store, the quarantines and the senders' disks say."""

    used: list[Used] = field(default_factory=list)
    aside: set[str] = field(default_factory=set)  # keys and requests set aside by name, for a clock that was ahead
    plans: list[Planned] = field(default_factory=list)
    told: list[tuple[datetime, datetime]] = field(default_factory=list)  # intervals said to be decided by nobody
    interval: timedelta = timedelta(seconds=60)
    keys: Counter[tuple[str, str]] = field(default_factory=Counter)  # stream and key of every record
    numbers: int = 0  # the last one given
    acknowledged: set[str] = field(default_factory=set)  # keys that senders have as acknowledged
    damage: str = ""


@dataclass
class Limits:
    """What tenants were allowed."""

    budgets_nano: dict[str, int]
    few_per_minute: int
    few_at_once: int


@dataclass
class Verdict:
    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)  # what was looked at, and what was excused


def judge(history: History, on: OnRecord, limits: Limits) -> Verdict:
    verdict = Verdict()
    checks = (
        acknowledged(on, verdict.counts),
        billed_once(history, on, verdict.counts),
        calls_made_once(history, on, verdict.counts),
        budgets_held(on, limits, verdict.counts),
        one_leader(on, verdict.counts),
        limit_by_the_minute(history, limits, verdict.counts),
        limit_at_once(history, on, limits, verdict.counts),
        answered(history, verdict.counts),
        told_otherwise(history),
    )
    for check in checks:
        verdict.violations += check
    return verdict


def acknowledged(on: OnRecord, counts: Counter[str]) -> Iterator[str]:
    """Each acknowledged record is there, once."""
    counts["records"] = sum(on.keys.values())
    counts["known as acknowledged"] = len(on.acknowledged)
    for (stream, key), count in on.keys.items():
        if count > 1:
            yield f"{stream} {key} is on record {count} times"
    there = {key for _, key in on.keys} | on.aside
    for key in sorted(on.acknowledged - there):
        yield f"{key} was acknowledged to its sender and is not on record"
    if on.numbers != counts["records"]:
        yield f"{on.numbers} numbers were given for {counts['records']} records"
    if on.damage:
        yield f"the store does not verify: {on.damage}"


def billed_once(history: History, on: OnRecord, counts: Counter[str]) -> Iterator[str]:
    """Each delivered token once: a whole answer by what it was told; one that was cut at most once."""
    used: dict[str, list[int]] = defaultdict(list)
    for one in on.used:
        used[one.request].append(one.tokens)
    for request, tokens in used.items():
        if len(tokens) > 1:
            yield f"{request} is billed {len(tokens)} times"
    for one in history.of("ask"):
        for request, delivered in one.about.get("cuts", ()):
            counts["cut"] += 1
            counts["tokens delivered in cut answers"] += delivered
            counts["tokens billed of cut answers"] += sum(used.get(request, ()))
        if one.result != "ok":
            continue
        counts["whole answers"] += 1
        request, tokens = one.about["request"], one.about["tokens"]
        if request in on.aside and request not in used:
            counts["bills set aside for a clock"] += 1
        elif used.get(request) != [tokens]:
            yield f"{request} was answered with {tokens} tokens; on record: {used.get(request, [])}"


def calls_made_once(history: History, on: OnRecord, counts: Counter[str]) -> Iterator[str]:
    """A call under a key is made and billed once, and whoever asks again hears the same answer."""
    frozen = _faults(history, ("freeze",), LEASE_S - 3.0)  # docs/gateway.md: stopped for longer than its lease
    answers: dict[str, set[str]] = defaultdict(set)
    spans: dict[str, list[float]] = defaultdict(list)
    for one in history.of("once"):
        spans[one.about["key"]] += [one.began, one.ended or one.began]
        if one.result == "ok":
            answers[one.about["key"]].add(one.about["answer"])
    bills = Counter(one.user for one in on.used if one.tenant == "once" and one.tokens)
    counts["calls under a key"] = len(answers)
    for key, span in sorted(spans.items()):
        excused = any(begin < max(span) and end > min(span) for _, begin, end in frozen)
        if len(answers[key]) > 1 or bills[key] > 1:
            if excused:
                counts["calls made twice around a gateway frozen past its lease"] += 1
                continue
            yield f"the call {key} was made more than once: {len(answers[key])} answers, billed {bills[key]} times"
        elif answers[key] and not bills[key] and not on.aside:
            yield f"the call {key} was answered and is not billed"


def budgets_held(on: OnRecord, limits: Limits, counts: Counter[str]) -> Iterator[str]:
    for tenant, most in limits.budgets_nano.items():
        spent = sum(one.nano_usd for one in on.used if one.tenant == tenant)
        counts[f"percent of the budget of {tenant} spent"] = 100 * spent // most
        if spent > most:
            yield f"the tenant {tenant} spent {spent} nano-dollars of {most}"


def one_leader(on: OnRecord, counts: Counter[str]) -> Iterator[str]:
    """Leaders' numbers only grow; an interval of a site has one; each is decided, or said not to be."""
    last = 0
    by: dict[tuple[str, datetime], set[int]] = defaultdict(set)
    for plan in on.plans:
        if plan.fence < last:
            yield f"a plan of leader {plan.fence} for {plan.site} stands behind one of leader {last}"
        last = max(last, plan.fence)
        by[plan.site, plan.at].add(plan.fence)
    counts["leaders"] = len({plan.fence for plan in on.plans})
    counts["intervals of sites"] = len(by)
    for (site, at), fences in by.items():
        if len(fences) > 1:
            yield f"the interval from {at.isoformat()} was decided for {site} by {len(fences)} leaders"
    for site in sorted({site for site, _ in by}):
        decided = {at for one, at in by if one == site}
        at, end = min(decided), max(on_at for _, on_at in by)
        while at <= end:
            if at not in decided:
                if not any(begin <= at < until for begin, until in on.told):
                    yield f"the interval from {at.isoformat()} was decided by nobody for {site}, and nobody says so"
                counts["intervals that nobody decided, said"] += 1
            at += on.interval


def limit_by_the_minute(history: History, limits: Limits, counts: Counter[str]) -> Iterator[str]:
    """Over any time at most a minute's worth and what came back meanwhile. Certain is only what began and ended within
    it; after a coordinator's death a second's requests may not be counted."""
    asked = [one for one in history.of("few") if one.result == "ok" and one.ended is not None]
    counts["requests under limits"] = len(asked)
    if not asked:
        return
    begun = np.array([one.began for one in asked])
    ended = np.array([one.ended for one in asked], dtype=float)
    order = np.argsort(ended)
    begun, ended = begun[order], ended[order]
    leads = [one.began for one in history.of("leads") if one.about["office"] == "budgets"][1:]
    uncounted = [_most_in(ended, at - 10.0, at, WRITTEN_S) for at in leads]
    rate = limits.few_per_minute / 60.0
    for begin in np.unique(begun):
        inside = ended[begun >= begin]
        allowed = limits.few_per_minute + rate * (inside - begin)
        for at, more in zip(leads, uncounted, strict=True):
            allowed += np.where((at >= begin) & (at - 10.0 <= inside), more, 0)
        over = np.arange(1, len(inside) + 1) - allowed
        if over.max() > 0:
            worst = int(over.argmax())
            yield (
                f"{worst + 1} requests within {inside[worst] - begin:.1f} s from {begin:.1f} s, "
                f"{allowed[worst]:.1f} are allowed with {limits.few_per_minute} a minute"
            )
            return


def limit_at_once(history: History, on: OnRecord, limits: Limits, counts: Counter[str]) -> Iterator[str]:
    """Never more at once than are allowed, at gateways whose clock is right and that nothing held up past a lease."""
    away = [one for one in _faults(history, None, LEASE_S) if one[0] in CONTROL]
    ops = {one.about["request"]: one for one in history.of("few") if one.result == "ok"}
    spans = []
    for one in on.used:
        op = ops.get(one.request) if one.tenant == "few" else None
        if op is None or op.ended is None or not op.began - CLOCK_S <= one.ended <= op.ended + CLOCK_S:
            counts["slots by another clock, not judged"] += op is not None
            continue
        begin, end = one.ended - one.took_s + SLOT_S / 2, one.ended - SLOT_S / 2
        if any(begin < until + LEASE_S and end > since for _, since, until in away):
            counts["slots not judged around a host away past a lease"] += 1
        elif end > begin:
            spans.append((begin, end))
    counts["slots"] = len(spans)
    live, most, at = 0, 0, 0.0
    for moment, step in sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans]):
        live += step
        if live > most:
            most, at = live, moment
    counts["most at once"] = most
    if most > limits.few_at_once:
        yield f"{most} requests of a tenant at once at {at:.1f} s, {limits.few_at_once} are allowed"


def answered(history: History, counts: Counter[str]) -> Iterator[str]:
    """Who asked is answered as long as a gateway and a site stood; who looked, as long as a console and the store."""
    faults = _faults(history, None, 0.0)
    sites = {one.about["host"] for one in history.of("host") if one.about["kind"] == "site"}
    for what, needed in (("ask", (set(CONTROL), sites)), ("look", (set(CORES), {"the store"}))):
        for one in history.of(what):
            if one.result != "unanswered":
                continue
            gone = max((_all_away(faults, hosts, one) for hosts in needed if hosts), default=0.0)
            if gone >= MISSING_S:
                counts[f"{what} while capacity for it was gone"] += 1
            else:
                why = one.about["why"]
                yield f"{one.who} stayed without an answer for {one.took_s:.0f} s from {one.began:.1f} s: {why}"
    for one in history.of("fault"):
        if one.result == "not well again":
            yield f"not well again within its time after {one.about['how']}: {', '.join(one.about['hosts'])}"


def told_otherwise(history: History) -> Iterator[str]:
    """What a client has judged where it stood."""
    for one in history.of("revoked", "not mended"):
        yield one.about["why"]


def _faults(history: History, ways: Sequence[str] | None, longer_s: float) -> list[tuple[str, float, float]]:
    """Host, begin and end (when it was well again) of what went wrong with it for longer than so long."""
    return [
        (host, one.began, one.ended if one.ended is not None else float("inf"))
        for one in history.of("fault")
        for host, how in zip(one.about["hosts"], one.about["ways"], strict=True)
        if (ways is None or how in ways) and (one.ended is None or one.took_s > longer_s)
    ]


def _all_away(faults: Iterable[tuple[str, float, float]], hosts: set[str], during: Operation) -> float:
    """For how long of an operation something was wrong with each of these hosts at once."""
    end = during.began if during.ended is None else during.ended
    steps: list[tuple[float, int, str]] = []
    for host, since, until in faults:
        if host in hosts and since < end and until > during.began:
            steps += [(max(since, during.began), 1, host), (min(until, end), -1, host)]
    away: Counter[str] = Counter()
    gone, last = 0.0, during.began
    for at, step, host in sorted(steps):
        gone += (at - last) * (sum(1 for count in away.values() if count > 0) == len(hosts))
        away[host] += step
        last = at
    return gone


def _most_in(times: np.ndarray, since: float, until: float, length_s: float) -> int:
    """The most of sorted times within any so many seconds of a span."""
    inside = times[(times >= since) & (times <= until)]
    return max((int(np.searchsorted(inside, at + length_s, "right")) - n for n, at in enumerate(inside)), default=0)

"""What needs a person now, worst first: read before anything else at three in the morning.

Pure: a fold and the sites' present state in, lines out. Nothing here is a guess: each line is a record that
stands open, or a limit that is not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from tieline.config import Tenant
from tieline.console.fold import Fold
from tieline.console.rooms.operator import ACCEPT
from tieline.fleet import Site
from tieline.people.proposals import proposed
from tieline.records import Plan

Json = dict[str, Any]

LEVELS: Final = ("bad", "warn", "note")
# Readings of one moment and a limit are compared with this much room: meters are of class 0.5.
OVER_SHARE = 1.005
# Lines that a page shows, and that the alerts hear; what is beyond is counted in one more.
MOST, MOST_HEARD = 60, 1_000
# Records that are in no figure, named one by one.
NAMED = 5
# Shares of a budget at which somebody is told, each more urgently than the one before.
BUDGET_STEPS: Final = ((1.0, "bad"), (0.95, "warn"), (0.8, "warn"), (0.5, "note"))
# The network's feed tells itself every few minutes; its price moves within hours.
NETWORK_OLD = timedelta(hours=3)


def attention_view(fold: Fold, sites: list[Json], now: datetime) -> list[Json]:
    """`sites` is `views.site_now` of each; all lines, worst first. Each has level, what, text and a site or None."""
    lines = [line for site in sites for line in _of_site(fold, fold.sites[site["id"]], site, now)]
    lines += _of_replicas(fold, now)
    lines += _of_sources(fold, now)
    lines += _of_platform(fold, now)
    lines += _of_proposals(fold, now)
    return worst_first(lines)


def worst_first(lines: list[Json], most: int | None = None) -> list[Json]:
    """Sorted by level; beyond `most` of them, the last says how many more there are."""
    lines = sorted(lines, key=lambda line: LEVELS.index(line["level"]))
    if most is None or len(lines) <= most:
        return lines
    shown, left = lines[: most - 1], lines[most - 1 :]
    text = f"{len(left):,} more lines like the ones above; each site's page has its own"
    more = {"level": left[0]["level"], "what": "and more", "text": text}
    return [*shown, {**more, "site_id": None, "site": "", "seq": None, "since": None}]


def budget_lines(tenants: Sequence[Tenant], month: Json | None) -> list[Json]:
    """Tenants that have spent half of their month's budget or more, by the last step that they passed: once it is spent
    the door refuses them."""
    spent: dict[str, float] = {}
    for invoice in [] if month is None else month.get("invoices", []):
        spent[invoice["tenant"]] = sum(line["exact_usd"] for line in invoice["lines"])
    lines = []
    for tenant in tenants:
        budget = None if tenant.budget_usd_per_month is None else float(tenant.budget_usd_per_month)
        usd = spent.get(tenant.id, 0.0)
        step = None if budget is None else budget_step(usd, budget)
        if budget is None or step is None:
            continue
        text = f"{tenant.name}: {usd:,.2f} of {budget:,.2f} USD this month"
        share, level = step
        line = {"level": level, "what": f"budget {share:.0%} spent", "text": text}
        lines.append({**line, "site_id": None, "site": "", "seq": None, "since": None})
    return lines


def budget_step(spent: float, budget: float) -> tuple[float, str] | None:
    """(share, level) of the last step that is passed; None below the first, and of a budget of nothing."""
    passed = (step for step in BUDGET_STEPS if budget > 0 and spent >= step[0] * budget)
    return next(passed, None)


def left_out_lines(left_out: Sequence[str]) -> list[Json]:
    """Records that are in no figure, each by name; beyond a handful they are counted, and `tieline books` lists all."""
    lines = []
    for text in left_out[:NAMED]:
        line = {"level": "warn", "what": "in no figure", "text": text}
        lines.append({**line, "site_id": None, "site": "", "seq": None, "since": None})
    if len(left_out) > NAMED:
        text = f"and {len(left_out) - NAMED} more; `tieline books unbookable` lists those of money"
        lines.append({**lines[0], "text": text})
    return lines


def set_aside_lines(count: int, lost: int = 0) -> list[Json]:
    """What came in and could not be taken: nothing waits for it, and a person decides what becomes of it. `lost` is
    what found no room even there."""
    lines = []
    if lost:
        text = f"{lost:,} items could neither be taken nor set aside, for want of room; see: tieline quarantine list"
        lines.append({"level": "bad", "what": "lost", "text": text})
    if count:
        text = f"{count:,} items that came in could not be taken; see: tieline quarantine list"
        lines.append({"level": "warn", "what": "set aside", "text": text})
    return [{**line, "site_id": None, "site": "", "seq": None, "since": None} for line in lines]


def _of_site(fold: Fold, site: Site, state: Json, now: datetime) -> Iterator[Json]:
    def line(level: str, what: str, text: str, seq: int | None = None, since: datetime | None = None) -> Json:
        return {
            "level": level,
            "what": what,
            "text": text,
            "site_id": site.id,
            "site": site.name,
            "seq": seq,
            "since": None if since is None else since.timestamp(),
        }

    yield from _of_units(fold, site, state, now, line)
    plan = fold.plans.get(site.id)
    if plan is not None and plan[1].valid_until <= now:
        yield line("warn", "no plan in force", "holds its safe default", plan[0], plan[1].valid_until)
    yield from _of_orders(fold, site, now, line)
    if site.mode == "advise" and plan is not None and plan[1].valid_until > now and not confirmed(fold, site, plan[1]):
        yield line("warn", "needs somebody", "its plan waits for a confirmation", plan[0], plan[1].at)


def _of_units(fold: Fold, site: Site, state: Json, now: datetime, line: Callable[..., Json]) -> Iterator[Json]:
    """What draws too much, is not heard, is broken or did not obey."""
    powers_mw = [mw for mw in (state["drawn_mw"], state["meter_mw"]) if mw is not None]
    drawn, limit = max(powers_mw, default=None), state["limit_mw"]
    if drawn is not None and drawn > limit * OVER_SHARE:
        yield line("bad", "over its limit", f"draws {drawn:.2f} of {limit:.2f} MW", state["plan_seq"])
    silent = state["units"] - state["heard"]
    if silent:
        yield line("bad", "not heard", f"{silent} of {state['units']} units")
    for seq, fault in fold.faults.values():
        if fault.site_id == site.id and (fault.until is None or fault.until > now):
            yield line("bad", "fault", f"{fault.what}: {fault.detail}" if fault.detail else fault.what, seq, fault.at)
    for group in site.units:
        known = fold.outcomes.get(group.id)
        if known is None or known[1].result not in ("refused", "unreachable"):
            continue
        said = "does not answer" if known[1].result == "unreachable" else "did not obey"
        yield line("bad", said, f"{group.id} {known[1].detail}".strip(), known[0], known[1].at)


def _of_orders(fold: Fold, site: Site, now: datetime, line: Callable[..., Json]) -> Iterator[Json]:
    """The grid's orders and what is held by hand."""
    for seq, order in fold.instructions.values():
        if order.site_id == site.id and order.at <= now < order.until:
            text = f"at most {order.limit_w / 1e6:.2f} MW until {order.until:%H:%M} UTC"
            yield line("warn", "grid order", text, seq, order.at)
    for seq, held in fold.overrides.values():
        if held.site_id == site.id and held.until > now:
            text = f"{held.unit_id or 'the site'} by {held.by}, until {held.until:%H:%M} UTC: {held.why}"
            yield line("note", "held by hand", text, seq, held.known_at)


def confirmed(fold: Fold, site: Site, plan: Plan) -> bool:
    known_at = plan.known_at.isoformat()
    return any(a.what == ACCEPT and a.target == site.id and a.detail == known_at for _, a in fold.actions)


def _of_proposals(fold: Fold, now: datetime) -> Iterator[Json]:
    """What waits for a second person."""
    for one in proposed(fold.proposals.values()).values():
        if one.state(now) == "open":
            proposal = one.proposal
            text = f"{proposal.after} ({proposal.by}, until {proposal.until:%d %b %H:%M} UTC)"
            line = {"level": "note", "what": "needs a second person", "text": text, "site_id": None, "site": ""}
            yield {**line, "seq": None, "since": proposal.at.timestamp()}


def _of_platform(fold: Fold, now: datetime) -> Iterator[Json]:
    """Faults that are no site's: what a store or an outbox has lost."""
    for seq, fault in fold.faults.values():
        if fault.site_id not in fold.sites and (fault.until is None or fault.until > now):
            text = f"{fault.what}: {fault.detail}" if fault.detail else fault.what
            line = {"level": "bad", "what": "fault", "text": text, "site_id": None, "site": ""}
            yield {**line, "seq": seq, "since": fault.at.timestamp()}


def _of_sources(fold: Fold, now: datetime) -> Iterator[Json]:
    """What nothing can be decided without, where it is missing or old: a plan then keeps what is, or falls back."""
    mining = any(site.rig_groups for site in fold.sites.values())
    known = fold.network
    if not mining or (known is not None and now - known[1].at < NETWORK_OLD):
        return
    if known is None:
        text = "no difficulty and bitcoin price is known: mining is not decided by what it earns"
    else:
        text = f"the last difficulty and bitcoin price are from {known[1].at:%d %b %H:%M} UTC"
    seq = None if known is None else known[0]
    line = {"level": "warn", "what": "bitcoin's network is not heard", "text": text, "site_id": None, "site": ""}
    yield {**line, "seq": seq, "since": None if known is None else known[1].at.timestamp()}


def _of_replicas(fold: Fold, now: datetime) -> Iterator[Json]:
    for seq, replica in fold.replicas.values():
        if replica.state == "ready":
            continue
        yield {
            "level": "note" if replica.state == "draining" else "bad",
            "what": f"replica {replica.state}",
            "text": f"{replica.replica_id} {replica.detail}".strip(),
            "site_id": replica.site_id,
            "site": fold.sites[replica.site_id].name if replica.site_id in fold.sites else replica.site_id,
            "seq": seq,
            "since": replica.known_at.timestamp(),
        }

"""A backtest in figures: one flat row per policy, as CSV, as Markdown tables, as JSON.

Knows no wall time, so that the same days give the same bytes. Money in USD; every figure is modelled from
recorded prices and weather, and what is assumed or invented is listed with it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from tieline.backtest.plant import Tally
from tieline.backtest.run import ASSUMED, DECIDED_HOURLY, PERFECT, PolicyRow, ScenarioResult

OURS = ("Tieline", PERFECT)
Flat = dict[str, str | float | int | None]


def best_rule(result: ScenarioResult) -> PolicyRow | None:
    """The policy that earned most of those without look-ahead."""
    simple = [row for row in result.rows if row.policy not in OURS]
    return max(simple, key=lambda row: row.tally.net, default=None)


def flat(result: ScenarioResult, row: PolicyRow) -> Flat:
    """Every figure of one policy. Shares are None where there was nothing to share."""
    tally, best = row.tally, best_rule(result)
    month, worst = row.worst_month
    asked, hours = tally.tokens + tally.tokens_lost + tally.batch_lost, tally.service_hours
    bound = result.bounds.clairvoyant if result.bounds is not None else None
    return {
        "scenario": result.scenario,
        "policy": row.policy,
        "net_usd": round(tally.net, 2),
        "of_bound": None if bound is None or bound <= 0 else round(tally.net / bound, 6),
        "against_best_rule": None if best is None else round(tally.net / best.tally.net - 1.0, 6),
        "worst_month": month,
        "worst_month_usd": round(worst, 2),
        "calm_days_net_usd": round(row.calm_net, 2),
        "mining_usd": round(tally.mining, 2),
        "inference_usd": round(tally.inference, 2),
        "reserves_usd": round(tally.reserves, 2),
        "power_usd": round(tally.power, 2),
        "wear_usd": round(tally.wear, 2),
        "peaks_usd": round(tally.peaks, 2),
        "penalties_usd": round(tally.penalties, 2),
        "credits_usd": round(tally.credits, 2),
        "mwh": round(tally.mwh, 1),
        "mining_mwh": round(tally.mining_mwh, 1),
        "over_limit_minutes": round(tally.violation_minutes, 2),
        "infeasible": len(tally.infeasible),
        "commitments": tally.commitments,
        "commitments_kept": tally.commitments_kept,
        "calls": tally.calls,
        "calls_kept": tally.calls_kept,
        "missed_mwh": round(tally.missed_mwh, 3),
        "service_hours_met": None if hours == 0 else round(1.0 - tally.service_missed / hours, 6),
        "tokens": round(tally.tokens),
        "batch_tokens": round(tally.batch_tokens),
        "batch_tokens_late": round(tally.batch_lost),
        "tokens_lost_share": None if asked <= 0 else round((tally.tokens_lost + tally.batch_lost) / asked, 8),
        "starts_per_group_day": None if tally.group_days <= 0 else round(tally.starts / tally.group_days, 4),
        "most_starts_group_day": round(tally.most_starts, 3),
    }


def bound_rows(result: ScenarioResult) -> list[Flat]:
    if result.bounds is None:
        return []
    rows = []
    for name, usd in (
        ("bound: clairvoyant", result.bounds.clairvoyant),
        ("reference: all known but the running interval's price", result.bounds.all_but_now),
    ):
        one: Flat = {"scenario": result.scenario, "policy": name, "net_usd": round(usd, 2)}
        one["of_bound"] = round(usd / result.bounds.clairvoyant, 6) if result.bounds.clairvoyant > 0 else None
        rows.append(one)
    return rows


def to_csv(results: Sequence[ScenarioResult]) -> str:
    out = io.StringIO()
    first = next(((r, row) for r in results for row in r.rows), None)
    if first is None:
        return ""
    writer = csv.DictWriter(out, list(flat(*first)), lineterminator="\n")
    writer.writeheader()
    for result in results:
        writer.writerows(flat(result, row) for row in result.rows)
        writer.writerows(bound_rows(result))
    return out.getvalue()


def to_figures(result: ScenarioResult) -> dict[str, object]:
    """Everything of one scenario, for JSON."""
    whole = result.row("Tieline")
    base = 0.0 if whole is None else whole.tally.net
    return {
        "rows": [flat(result, row) for row in result.rows],
        "bounds": bound_rows(result),
        "months": {row.policy: {m: round(usd, 2) for m, usd in sorted(row.months.items())} for row in result.rows},
        "ablations": [
            {"policy": row.policy, "net_usd": round(row.tally.net, 2), "less_usd": round(base - row.tally.net, 2)}
            for row in result.ablations
        ],
        "tuned": result.tuned,
        "scarcity_days": list(result.scarcity_days),
        "left_out": list(result.left_out),
        "spans": list(result.spans),
        "infeasible": {row.policy: sorted(set(row.tally.infeasible)) for row in result.rows if row.tally.infeasible},
    }


# --- Markdown ----------------------------------------------------------------

HEAD = (
    "policy",
    "net, M USD",
    "of bound",
    "to best rule",
    "worst month, M",
    "without scarcity, M",
    "over limit, min",
    "promises kept",
    "service hours met",
    "tokens lost",
    "starts / group, day",
)


def cells(result: ScenarioResult, row: PolicyRow) -> list[str]:
    one, tally = flat(result, row), row.tally
    month, worst = row.worst_month
    return [
        row.policy,
        f"{tally.net / 1e6:,.3f}",
        percent(one["of_bound"]),
        percent(one["against_best_rule"], signed=True),
        f"{worst / 1e6:,.2f} ({month})",
        f"{row.calm_net / 1e6:,.3f}",
        f"{tally.violation_minutes:,.0f}",
        kept_words(tally),
        percent(one["service_hours_met"]),
        percent(one["tokens_lost_share"], 3),
        f"{one['starts_per_group_day']} (most {tally.most_starts:.1f})",
    ]


def kept_words(tally: Tally) -> str:
    if not tally.commitments:
        return "none sold"
    words = f"{tally.commitments_kept} of {tally.commitments}"
    return f"{words}, calls {tally.calls_kept} of {tally.calls}" if tally.calls else words


def bound_cells(one: Flat) -> list[str]:
    return [str(one["policy"]), f"{float(one['net_usd'] or 0) / 1e6:,.3f}", percent(one["of_bound"])] + [""] * 8


def percent(value: object, places: int = 2, signed: bool = False) -> str:
    if not isinstance(value, int | float):
        return "-"
    return f"{100 * value:+.{places}f} %" if signed else f"{100 * value:.{places}f} %"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *lines))


PARTS = ("mining", "inference", "reserves", "power", "wear", "peaks", "penalties", "credits")


def to_markdown(result: ScenarioResult) -> str:
    """The tables of one scenario."""
    lines = [cells(result, row) for row in result.rows] + [bound_cells(one) for one in bound_rows(result)]
    parts = [[r.policy, *(f"{getattr(r.tally, part) / 1e6:,.2f}" for part in PARTS)] for r in result.rows]
    out = [f"### {heading(result)}", "", _table(HEAD, lines)]
    out += ["", "Where it comes from, M USD:", "", _table(("policy", *PARTS), parts)]
    months, best = month_lines(result), best_rule(result)
    if months and best is not None:
        out += ["", f"Tieline against the best rule here ({best.policy}), by month:", ""]
        out.append(_table(("month", "Tieline, M USD", "best rule, M USD", "difference"), months))
    whole = result.row("Tieline")
    if result.ablations and whole is not None:
        full = whole.tally.net
        out += ["", "Look-ahead without each coupling; what it then loses against the whole:", ""]
        less = [(r.policy, r.tally.net, full - r.tally.net) for r in result.ablations]
        cut = [[name, f"{net / 1e6:,.3f}", f"{lost:,.0f}", percent(lost / full, 3)] for name, net, lost in less]
        out.append(_table(("left out", "net, M USD", "less, USD", "share"), cut))
    return "\n".join([*out, "", *notes(result), ""])


def heading(result: ScenarioResult) -> str:
    steps = "hourly decisions" if result.scenario in DECIDED_HOURLY else "decisions each quarter hour"
    first, last, count = result.spans[0], result.spans[-1], len(result.spans)
    return (
        f"{result.scenario}: {first}, {steps}"
        if count == 1
        else (f"{result.scenario}: {count} spans, {first} to {last}, {steps}")
    )


def month_lines(result: ScenarioResult) -> list[list[str]]:
    mine, best = result.row("Tieline"), best_rule(result)
    if mine is None or best is None:
        return []
    pairs = [(m, mine.months[m], best.months[m]) for m in sorted(mine.months) if best.months.get(m)]
    return [[m, f"{a / 1e6:,.3f}", f"{b / 1e6:,.3f}", percent(a / b - 1, 3, True)] for m, a, b in pairs]


def notes(result: ScenarioResult) -> list[str]:
    lines = []
    if result.tuned:
        tuned = ", ".join(f"{name} {words}" for name, words in result.tuned.items() if name != "days")
        lines.append(f"Set on {result.tuned.get('days', 'no other days')}: {tuned}.")
    if result.noise is not None:
        lines.append(f"{result.noise.words().capitalize()}.")
    lines.append(f"Scarcity days (a market above 1,000 USD/MWh): {', '.join(result.scarcity_days) or 'none'}.")
    if result.left_out:
        lines.append(f"Left out, without a price: {', '.join(result.left_out)}.")
    named = sorted({words for row in result.rows for words in row.tally.infeasible})
    if named:
        lines.append(f"Infeasible (all that could be moved would not have sufficed): {'; '.join(named[:12])}.")
    return lines


def assumed() -> str:
    return "\n".join(f"- {words}" for words in ASSUMED)

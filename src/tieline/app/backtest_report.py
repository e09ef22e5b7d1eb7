"""A backtest's results as a table, as CSV, as JSON and as one page that needs nothing from elsewhere."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence

from tieline.app.backtest import ASSUMED, PERFECT, Result, Row

SIMPLE = (
    "always-on",
    "last-price rule",
    "fixed strike, hysteresis",
    "per-group strike",
    "worst-J/TH-first, fixed kW",
    "static inference > mining > curtail",
)
_HEAD = (
    "policy",
    "net USD",
    "without scarcity days",
    "worst month",
    "mining",
    "inference",
    "power",
    "wear",
    "peaks",
    "reserves",
    "violations min",
    "commitments kept",
    "SLO",
    "tokens lost",
    "starts/block/day",
)


def as_dict(result: Result) -> dict[str, object]:
    best = best_simple(result)
    tieline, perfect = result.row("Tieline"), result.row(PERFECT)
    found: dict[str, object] = {
        "scenario": result.scenario,
        "assumed": list(ASSUMED),
        "spans": list(result.spans),
        "left_out": list(result.left_out),
        "scarcity_days": list(result.scarcity_days),
        "tuned": result.tuned,
        "policies": [_row_dict(row) for row in result.rows],
        "ablations": [_row_dict(row) for row in result.ablations],
    }
    if result.ablated_full is not None:
        found["ablated_from"] = _row_dict(result.ablated_full)
    if result.bounds is not None:
        found["bound_clairvoyant_usd"] = round(result.bounds.clairvoyant)
        found["bound_all_but_now_usd"] = round(result.bounds.all_but_now)
        if perfect is not None:
            found["decision_loss_percent"] = _percent(result.bounds.clairvoyant - perfect.tally.net, perfect.tally.net)
    if best is not None and tieline is not None:
        found["best_simple"] = best.policy
        found["over_best_simple_percent"] = _percent(tieline.tally.net - best.tally.net, best.tally.net)
        worst = min(
            (
                (m, _percent(usd - best.months.get(m, usd), best.months.get(m, usd)))
                for m, usd in tieline.months.items()
            ),
            key=lambda x: x[1],
        )
        found["worst_month_against_best_simple"] = {"month": worst[0], "percent": worst[1]}
        if perfect is not None:
            found["cost_of_not_knowing_percent"] = _percent(perfect.tally.net - tieline.tally.net, perfect.tally.net)
    return found


def best_simple(result: Result) -> Row | None:
    rows = [row for row in result.rows if row.policy in SIMPLE]
    return max(rows, key=lambda r: r.tally.net) if rows else None


def table(result: Result) -> str:
    """Markdown, the best first."""
    lines = ["| " + " | ".join(_HEAD) + " |", "|" + "---|" * len(_HEAD)]
    ordered = sorted(result.rows, key=lambda r: -r.tally.net)
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in ordered]
    lines += _bound_lines(result)
    if result.ablated_full is not None:
        full = result.ablated_full.tally.net
        lines += ["", "| look-ahead on every third week | net USD | against all couplings |", "|---|---|---|"]
        lines.append(f"| all couplings | {full:,.0f} | |")
        lines += [
            f"| {row.policy} | {row.tally.net:,.0f} | {_percent(row.tally.net - full, full):+.3f} % |"
            for row in result.ablations
        ]
    return "\n".join(lines)


def to_csv(results: Sequence[Result]) -> str:
    out = io.StringIO()
    rows = [{"scenario": r.scenario, **_flat(_row_dict(row))} for r in results for row in (*r.rows, *r.ablations)]
    if rows:
        writer = csv.DictWriter(out, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return out.getvalue()


def page(results: Sequence[Result]) -> str:
    """One HTML page with bars; light and dark, no script, nothing fetched."""
    parts = [_STYLE, "<h1>Dispatch policies on recorded days</h1>"]
    parts.append("<p class=note>" + "; ".join(html.escape(a) for a in ASSUMED) + ".</p>")
    for result in results:
        parts.append(f"<h2>Scenario {html.escape(result.scenario)}</h2>")
        parts.append(_bars(result))
        if result.rows:
            parts.append(_months(result))
        cells = "".join(f"<th>{html.escape(h)}</th>" for h in _HEAD)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in _cells(row)) + "</tr>"
            for row in sorted(result.rows, key=lambda r: -r.tally.net)
        )
        parts.append(f"<div class=wide><table><tr>{cells}</tr>{body}</table></div>")
        parts += [f"<p>{html.escape(line)}</p>" for line in _bound_lines(result) if line]
    return "<!doctype html><html lang=en><meta charset=utf-8><title>Backtest</title>" + "\n".join(parts) + "</html>\n"


def _bars(result: Result) -> str:
    """Net over always-on, in per cent: the figure that policies differ in."""
    base = next((r for r in result.rows if r.policy == "always-on"), None)
    if base is None:
        return ""
    rows = sorted(result.rows, key=lambda r: -r.tally.net)
    gains = [(_percent(r.tally.net - base.tally.net, base.tally.net), r.policy) for r in rows if r is not base]
    if result.bounds is not None:
        gain = _percent(result.bounds.clairvoyant - base.tally.net, base.tally.net)
        gains.insert(0, (gain, "bound: clairvoyant"))
    most = max(0.01, *(abs(g) for g, _ in gains))
    parts = [f'<svg viewBox="0 0 720 {len(gains) * 26 + 6}" role=img aria-label="net over always-on">']
    for n, (gain, name) in enumerate(gains):
        width = abs(gain) / most * 330
        y = n * 26 + 4
        kind = "bar" if gain >= 0 else "bar less"
        parts.append(f"<text x=0 y={y + 15}>{html.escape(name)}</text>")
        parts.append(f'<rect class="{kind}" x=290 y={y} width={width:.1f} height=20 rx=2 />')
        parts.append(f"<text x={295 + width:.0f} y={y + 15}>{gain:+.2f} %</text>")
    return "<p>Net over always-on</p>" + "".join(parts) + "</svg>"


def _months(result: Result) -> str:
    """Month by month, look-ahead over the best simple rule."""
    best, tieline = best_simple(result), result.row("Tieline")
    if best is None or tieline is None:
        return ""
    months = sorted(tieline.months)
    gains = [_percent(tieline.months[m] - best.months.get(m, 0.0), best.months.get(m, 1.0)) for m in months]
    most = max(0.01, *(abs(g) for g in gains))
    step = 700 / max(1, len(months))
    parts = ['<svg viewBox="0 0 720 150" role=img aria-label="by month">']
    for n, (month, gain) in enumerate(zip(months, gains, strict=True)):
        tall = abs(gain) / most * 50
        y = 70 - tall if gain >= 0 else 70
        kind = "bar" if gain >= 0 else "bar less"
        parts.append(f'<rect class="{kind}" x={n * step + 8:.0f} y={y:.1f} width={step - 12:.0f} height={tall:.1f} />')
        parts.append(f"<text x={n * step + 8:.0f} y=145>{month[2:]}</text>")
        parts.append(f"<text x={n * step + 8:.0f} y={(y - 4) if gain >= 0 else y + tall + 14:.0f}>{gain:+.2f}</text>")
    return f"<p>Tieline over {html.escape(best.policy)}, by month, per cent</p>" + "".join(parts) + "</svg>"


def _bound_lines(result: Result) -> list[str]:
    found = as_dict(result)
    lines = [""]
    if result.bounds is not None:
        lines.append(
            f"Bounds: clairvoyant {result.bounds.clairvoyant:,.0f} USD; clairvoyant but for the price of the running "
            f"interval {result.bounds.all_but_now:,.0f} USD. Decision loss {found.get('decision_loss_percent')} %; "
            f"cost of not knowing {found.get('cost_of_not_knowing_percent')} %."
        )
    if "best_simple" in found:
        worst = found["worst_month_against_best_simple"]
        assert isinstance(worst, dict)
        lines.append(
            f"Best simple rule: {found['best_simple']}; Tieline is {found['over_best_simple_percent']:+} % against it, "
            f"in its worst month ({worst['month']}) {worst['percent']:+} %."
        )
    if result.left_out:
        lines.append("Left out: " + "; ".join(result.left_out) + ".")
    return lines


def _cells(row: Row) -> list[str]:
    tally = row.tally
    month, usd = row.worst_month
    return [
        row.policy,
        f"{tally.net:,.0f}",
        f"{row.calm_net:,.0f}",
        f"{usd:,.0f} ({month})",
        f"{tally.mining:,.0f}",
        f"{tally.inference - tally.credits:,.0f}",
        f"{tally.power:,.0f}",
        f"{tally.wear:,.0f}",
        f"{tally.peaks:,.0f}",
        f"{tally.reserves - tally.penalties:,.0f}",
        f"{tally.violation_minutes:.0f}",
        f"{tally.commitments_kept} of {tally.commitments}",
        f"{1.0 - tally.service_missed / max(1, tally.service_hours):.3%}",
        f"{tally.tokens_lost / max(1.0, tally.tokens + tally.tokens_lost):.3%}",
        f"{tally.starts / max(1e-9, tally.group_days):.3f}",
    ]


def _row_dict(row: Row) -> dict[str, object]:
    tally = row.tally
    return {
        "policy": row.policy,
        "net_usd": round(tally.net),
        "without_scarcity_days_usd": round(row.calm_net),
        "worst_month": row.worst_month[0],
        "worst_month_usd": round(row.worst_month[1]),
        "mining_usd": round(tally.mining),
        "inference_usd": round(tally.inference),
        "credits_usd": round(tally.credits),
        "power_usd": round(tally.power),
        "wear_usd": round(tally.wear),
        "peaks_usd": round(tally.peaks),
        "reserves_usd": round(tally.reserves),
        "penalties_usd": round(tally.penalties),
        "energy_mwh": round(tally.mwh),
        "mining_mwh": round(tally.mining_mwh),
        "violation_minutes": round(tally.violation_minutes),
        "infeasible_steps": len(tally.infeasible),
        "infeasible": sorted(set(tally.infeasible))[:10],
        "commitments": tally.commitments,
        "commitments_kept": tally.commitments_kept,
        "slo_attainment": round(1.0 - tally.service_missed / max(1, tally.service_hours), 5),
        "tokens": round(tally.tokens),
        "tokens_lost": round(tally.tokens_lost),
        "starts_per_block_day": round(tally.starts / max(1e-9, tally.group_days), 4),
        "months_usd": {m: round(usd) for m, usd in sorted(row.months.items())},
    }


def _flat(row: dict[str, object]) -> dict[str, object]:
    return {k: v for k, v in row.items() if not isinstance(v, (dict, list))}


def _percent(part: float, whole: float) -> float:
    return round(100.0 * part / abs(whole), 3) if whole else 0.0


_STYLE = """<style>
:root{color-scheme:light dark;--bar:#2f7d5b;--less:#b5523b}
body{font:15px/1.5 system-ui,sans-serif;max-width:860px;margin:2rem auto;padding:0 1rem}
svg{width:100%;height:auto}svg text{font-size:12px;fill:currentColor}
.bar{fill:var(--bar)}.less{fill:var(--less)}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:12px;white-space:nowrap}
td,th{padding:.25rem .5rem;border-bottom:1px solid color-mix(in srgb,currentColor 20%,transparent);text-align:right}
td:first-child,th:first-child{text-align:left}.note{font-size:13px;opacity:.75}
</style>"""

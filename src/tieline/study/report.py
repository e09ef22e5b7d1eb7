"""A study as text, JSON, a table and one page: the same figures in all, rounded once.

Nothing is fetched and nothing runs in the page: plots are inline SVG, colours follow the reader's light or dark
setting.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

import msgspec

from tieline.study.file import Assumption, Study
from tieline.study.results import PlanResult, Results, Spread, bridge

NAMES = ("report.md", "report.json", "report.csv", "report.html")
MONTHS_SHOWN = 12

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2126; --soft: #66707c; --line: #d9dee4; --paper: #fff; --ours: #0b6e4f;
  --band: #0b6e4f26; --loss: #b3412e; --bar: #8b98a8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --soft: #9aa5b1; --line: #343b44; --paper: #14181c;
  --ours: #35b889; --band: #35b88933; --loss: #e0705c; --bar: #647284; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; margin: 1.6rem 0 .3rem; }
p, li, figcaption { color: var(--soft); max-width: 46rem; } .mark { color: var(--loss); font-weight: 600; }
.wide { overflow-x: auto; } figure { margin: 1rem 0; } .two { display: grid; gap: 1rem 2rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; } svg text { fill: var(--ink); }
svg .soft { fill: var(--soft); } svg .grid { stroke: var(--line); }
"""


def write(results: Results, out: Path) -> list[Path]:
    """Write the four files; returns their paths. Raises OSError."""
    out.mkdir(parents=True, exist_ok=True)
    texts = (markdown(results), plain(results), table(results), page(results))
    paths = [out / name for name in NAMES]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def plain(results: Results) -> str:
    return msgspec.json.format(msgspec.json.encode(results), indent=1).decode() + "\n"


def table(results: Results) -> str:
    """One row per plan and month: cash at three quantiles, energy, bitcoin."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("plan", "month", "cash_p10_usd", "cash_p50_usd", "cash_p90_usd", "mean_mwh", "mean_btc"))
    for plan in results.plans:
        for n in range(results.study.months):
            cash = (plan.cash_p10_usd[n], plan.cash_p50_usd[n], plan.cash_p90_usd[n])
            figures = [f"{usd:.0f}" for usd in cash]
            writer.writerow((plan.name, results.study.label(n), *figures, f"{plan.mwh[n]:.1f}", f"{plan.btc[n]:.4f}"))
    return out.getvalue()


# --- words ------------------------------------------------------------------------------------


def usd(value: float | None) -> str:
    """Millions of USD with a decimal, thousands below a million."""
    if value is None:
        return "none"
    return f"{value / 1e6:,.1f} M" if abs(value) >= 1e6 else f"{value / 1e3:,.0f} k"


def three(one: Spread, words: str = "usd") -> str:
    if one.p50 is None or one.p10 is None or one.p90 is None:
        return "none"
    show = usd if words == "usd" else (lambda v: f"{v:.1%}") if words == "rate" else (lambda v: f"{v:.0f}")
    return f"{show(one.p10)} / {show(one.p50)} / {show(one.p90)}"


def verdict(results: Results, plan: PlanResult) -> str:
    """What a plan's cash says, in one sentence."""
    if plan.infeasible:
        return (
            f"Infeasible: {plan.runs_out_share:.0%} of paths run out of cash, the first in {plan.first_short_month}; "
            f"they need {usd(plan.short_usd.p50)} USD more on the median, {usd(plan.short_usd.p90)} at worst in ten."
        )
    if plan.runs_out_share:
        return f"{plan.runs_out_share:.1%} of paths run out of cash, the first in {plan.first_short_month}."
    return "No path runs out of cash."


HEAD = (
    "plan", "NPV, M USD (P10 / P50 / P90)", "added to the first", "rate of what is added", "pays back, months",
    "lowest cash", "in", "runs out", "best in", "regret", "covenant broken",
)  # fmt: skip


def cells(plan: PlanResult) -> list[str]:
    broken = "" if plan.covenant_broken_share is None else f"{plan.covenant_broken_share:.0%}"
    return [
        plan.name, three(plan.npv_usd), three(plan.added_npv_usd), three(plan.added_rate, "rate"),
        three(plan.payback_months, "months"), usd(plan.lowest_cash_usd.p50), plan.lowest_cash_month,
        f"{plan.runs_out_share:.0%}", f"{plan.best_share:.0%}", usd(plan.regret_usd), broken,
    ]  # fmt: skip


def assumptions(study: Study) -> list[str]:
    """Every path in words: assumed, with what it stands on."""
    assume = study.assume
    found = []
    for name in ("btc_usd", "fee_share", "power", "utilisation"):
        one: Assumption = getattr(assume, name)
        found.append(f"{name}: {one.model} from {one.start:g}{_spread_of(one)}. {one.source or 'No source given.'}")
    hard, card = assume.difficulty, assume.gpu_usd_per_hour
    found.append(
        f"difficulty: from {hard.start:.4g}, grows {hard.growth:.0%} a year at constant revenue and answers "
        f"{hard.answer:.0%} of a change of price x subsidy within {hard.lag_months:g} months. {hard.source}"
    )
    found.append(
        f"gpu_usd_per_hour: from {card.start:g}, falls {card.decline:.0%} a year and {card.generation_drop:.0%} every "
        f"{card.generation_months} months. {card.source}"
    )
    found.append(f"buildings: {assume.delay_months:g} months late on the mean; pool fee {assume.pool_fee:.2%}")
    found += [f"monthly shocks of {a} and {b}: correlation {value:g}" for a, b, value in assume.correlations]
    return found


def _spread_of(one: Assumption) -> str:
    if one.model in ("history", "table"):
        return f", {len(one.values)} values"
    back = f", back within {one.revert_months:g} months" if one.model == "revert" else f", drift {one.drift:.0%} a year"
    return f"{back}, volatility {one.volatility:.0%} a year"


def notes(results: Results) -> list[str]:
    """What a reader has to know before believing a figure."""
    study = results.study
    found = [
        f"{study.paths:,} paths of {study.months} months from {study.start}, seed {study.seed}. "
        "Paths are assumed, not forecast.",
        f"Operation: dispatch on {results.months_run[0]} to {results.months_run[-1]}"
        f"{', invented days' if results.invented_days else ''}; a month without any is the mean of the others.",
        f"Discounted at {study.money.discount:.0%} a year; tax {study.money.tax:.0%}.",
    ]
    if results.moved > 0.01:
        found.append(
            f"Half as many paths move a median NPV by up to {results.moved:.1%} ({results.moved_plan}): take more."
        )
    if study.invented:
        found.insert(0, "The fleet and the sites are invented.")
    found += [
        f"{plan.name}: {plan.several_rates_share:.1%} of paths have several internal rates; they count in none."
        for plan in results.plans
        if plan.several_rates_share
    ]
    return found


def markdown(results: Results) -> str:
    study = results.study
    out = [f"# {study.name}", "", *[f"{line}  " for line in notes(results)], ""]
    out += ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    out += ["| " + " | ".join(cells(plan)) + " |" for plan in results.plans]
    out += ["", "Months and money at P10 / P50 / P90 of the paths that have one. Regret: what choosing it costs on the "
            "mean against the best plan of each path.", ""]  # fmt: skip
    for plan in results.plans:
        out += [f"## {plan.name}", "", verdict(results, plan), ""]
        out += [f"Does: {', '.join(plan.does) or 'every site keeps mining'}.", ""]
        out += ["Break-even: " + "; ".join(breakevens(plan)) + ".", ""]
        out += [f"Worth of dispatch that curtails: {usd(plan.curtailing_usd)} USD; of rigs in the power that computers "
                f"leave: {usd(plan.sharing_room_usd)} USD (median NPV).", ""]  # fmt: skip
        out += ["| driver | lower | NPV P50 | higher | NPV P50 |", "|---|---|---|---|---|"]
        out += [
            f"| {s.driver} | -{s.by:.0%} | {usd(s.low_usd)} | +{s.by:.0%} | {usd(s.high_usd)} |" for s in plan.tornado
        ]
        if plan is not results.plans[0]:
            parts = bridge(results, results.plans[0].name, plan.name)
            out += ["", f"From {results.plans[0].name}, mean NPV:", "", "| part | USD |", "|---|---|"]
            out += [f"| {name} | {value:,.0f} |" for name, value in parts.items() if value]
            out += [f"| sum | {sum(parts.values()):,.0f} |"]
        out += [""]
    out += ["## Assumed", "", *[f"- {line}" for line in assumptions(study)], ""]
    return "\n".join(out)


def breakevens(plan: PlanResult) -> list[str]:
    units = {"hashprice": "USD/PH/s/day", "utilisation": "", "gpu_usd_per_hour": "USD per GPU-hour"}
    return [
        f"{name.replace('_', ' ')} {'none' if value is None else f'{value:.3g} {units[name]}'.strip()}"
        for name, value in plan.breakeven.items()
    ]


# --- the page -----------------------------------------------------------------------------------


def page(results: Results) -> str:
    study = results.study
    head = "".join(f"<th>{escape(word)}</th>" for word in HEAD)
    rows = "".join(
        f'<tr><td><a href="#plan-{n}">{escape(plan.name)}</a></td>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells(plan)[1:])
        + "</tr>"
        for n, plan in enumerate(results.plans)
    )
    listed = "".join(f"<li>{escape(line)}</li>" for line in assumptions(study))
    told = "".join(f"<p>{escape(line)}</p>" for line in notes(results))
    worth = _ranges([(plan.name, plan.npv_usd) for plan in results.plans])
    hash_ = _fan(study, results.hashprice_p10, results.hashprice_p50, results.hashprice_p90, "USD per PH/s and day")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(study.name)}</title><style>{_STYLE}</style></head><body><h1>{escape(study.name)}</h1>{told}"
        f"<figure>{worth}<figcaption>Net present value, M USD: P10 to P90, the mark at P50</figcaption></figure>"
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        f"{''.join(_plan(results, n, plan) for n, plan in enumerate(results.plans))}"
        f"<h2>Hashprice on these paths</h2><figure>{hash_}<figcaption>Assumed: P10 to P90, median</figcaption></figure>"
        f'<h2 id="assumed">Assumed</h2><ul>{listed}</ul></body></html>\n'
    )


def _plan(results: Results, n: int, plan: PlanResult) -> str:
    mark = ' class="mark"' if plan.infeasible else ""
    fan = _fan(results.study, plan.cash_p10_usd, plan.cash_p50_usd, plan.cash_p90_usd, "M USD", 1e6)
    swings = _tornado(plan)
    parts = ""
    if n:
        differences = bridge(results, results.plans[0].name, plan.name)
        rows = "".join(f"<tr><td>{escape(k)}</td><td>{v:,.0f}</td></tr>" for k, v in differences.items() if v)
        total = f"<tr><td>sum</td><td>{sum(differences.values()):,.0f}</td></tr>"
        parts = (
            f"<h3>From {escape(results.plans[0].name)}, mean NPV in USD</h3>"
            f'<div class="wide"><table><tbody>{rows}{total}</tbody></table></div>'
        )
    told = (
        f"Break-even: {'; '.join(breakevens(plan))}. Curtailing is worth {usd(plan.curtailing_usd)} USD, rigs in the "
        f"power that computers leave {usd(plan.sharing_room_usd)} USD (median NPV)."
    )
    return (
        f'<h2 id="plan-{n}">{escape(plan.name)}</h2><p{mark}>{escape(verdict(results, plan))}</p><p>{escape(told)}</p>'
        f'<div class="two"><figure>{fan}<figcaption>Cash at the end of each month: P10 to P90, median</figcaption>'
        f"</figure><figure>{swings}<figcaption>Median NPV, M USD, with one driver lower or higher</figcaption></figure>"
        f"</div>{parts}"
    )


def _ranges(bars: Sequence[tuple[str, Spread]]) -> str:
    values = [v for _, one in bars for v in (one.p10, one.p90) if v is not None]
    if not values:
        return ""
    low, high = min(0.0, *values), max(0.0, *values)
    left, wide, height = 210.0, 640.0, 26.0
    scale = wide / ((high - low) or 1.0)
    out = [f'<svg viewBox="0 0 1000 {height * len(bars) + 10:.0f}" role="img" aria-label="Net present value by plan">']
    zero = left - low * scale
    out.append(f'<line class="grid" x1="{zero:.1f}" x2="{zero:.1f}" y1="0" y2="{height * len(bars):.0f}"/>')
    for n, (name, one) in enumerate(bars):
        y = n * height + 4
        out.append(f'<text x="{left - 10:.0f}" y="{y + 14:.0f}" text-anchor="end">{escape(name)}</text>')
        if one.p10 is None or one.p50 is None or one.p90 is None:
            continue
        x, end, middle = (left + (v - low) * scale for v in (one.p10, one.p90, one.p50))
        colour = "--loss" if one.p50 < 0 else "--ours"
        out.append(
            f'<rect x="{x:.1f}" y="{y:.0f}" width="{max(1.0, end - x):.1f}" height="18" rx="3" fill="var(--band)"/>'
            f'<rect x="{middle - 1.5:.1f}" y="{y:.0f}" width="3" height="18" fill="var({colour})"/>'
            f'<text class="soft" x="{end + 8:.1f}" y="{y + 14:.0f}">{one.p50 / 1e6:,.1f}</text>'
        )
    return "".join([*out, "</svg>"])


def _fan(
    study: Study, low: Sequence[float], middle: Sequence[float], high: Sequence[float], unit: str, by: float = 1.0
) -> str:
    least, most = min(0.0, *low) / by, max(0.0, *high) / by
    wide, tall, left, top = 560.0, 220.0, 60.0, 12.0
    step = (wide - left - 10) / max(1, len(middle) - 1)

    def at(n: int, value: float) -> str:
        y = top + (most - value / by) / ((most - least) or 1.0) * (tall - top - 24)
        return f"{left + n * step:.1f},{y:.1f}"

    band = " ".join([*(at(n, v) for n, v in enumerate(high)), *(at(n, v) for n, v in reversed(list(enumerate(low))))])
    line = " ".join(at(n, v) for n, v in enumerate(middle))
    zero = at(0, 0.0).split(",")[1]

    def word(x: float, y: float, anchor: str, text: str) -> str:
        return f'<text class="soft" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'

    heights = ((float(at(0, v * by).split(",")[1]), v) for v in sorted({least, 0.0, most}))
    ticks = "".join(word(left - 6, y + 4, "end", f"{v:,.4g}") for y, v in heights)
    years = "".join(
        word(left + n * step, tall - 4, "middle", study.label(n)[:4])
        for n in range(0, len(middle), max(12, len(middle) // 6 // 12 * 12))
    )
    return (
        f'<svg viewBox="0 0 {wide:.0f} {tall:.0f}" role="img" aria-label="{escape(unit)} by month">'
        f'<line class="grid" x1="{left:.0f}" x2="{wide - 10:.0f}" y1="{zero}" y2="{zero}"/>'
        f'<polygon points="{band}" fill="var(--band)"/>'
        f'<polyline points="{line}" fill="none" stroke="var(--ours)" stroke-width="2"/>{ticks}{years}'
        f'<text class="soft" x="{wide - 10:.0f}" y="12" text-anchor="end">{escape(unit)}</text></svg>'
    )


def _tornado(plan: PlanResult) -> str:
    swings = sorted(plan.tornado, key=lambda s: -abs(s.high_usd - s.low_usd))
    values = [v for s in swings for v in (s.low_usd, s.high_usd)]
    low, high = min(values), max(values)
    left, wide, height = 190.0, 300.0, 30.0
    scale = wide / ((high - low) or 1.0)
    out = [f'<svg viewBox="0 0 560 {height * len(swings) + 8:.0f}" role="img" aria-label="What moves the worth">']
    for n, one in enumerate(swings):
        y = n * height + 4
        begin, end = sorted((left + (v - low) * scale) for v in (one.low_usd, one.high_usd))
        colour = "--ours" if one.high_usd >= one.low_usd else "--loss"
        name = f"{one.driver.replace('_', ' ')} ±{one.by:.0%}"
        out.append(
            f'<text x="{left - 8:.0f}" y="{y + 15:.0f}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{begin:.1f}" y="{y:.0f}" width="{max(1.0, end - begin):.1f}" height="20" rx="3" '
            f'fill="var({colour})" fill-opacity=".7"/><text class="soft" x="{left + wide + 8:.0f}" y="{y + 15:.0f}">'
            f"{min(one.low_usd, one.high_usd) / 1e6:,.0f} to {max(one.low_usd, one.high_usd) / 1e6:,.0f}</text>"
        )
    return "".join([*out, "</svg>"])

"""A study as one page: the answer, the plans side by side, each plan's figures, and every input they stand on.

Nothing is fetched and nothing runs in the page: plots are SVG and boxes, a figure is a `details` element that opens to
what it is made of, colours follow the reader's light or dark setting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Final

from tieline.study.file import Alternative, Study, StudyLoan, StudySite, Wait
from tieline.study.report import (
    REGRET,
    answer,
    assumptions,
    breakevens,
    couplings,
    money,
    notes,
    physically,
    share,
    three,
    verdict,
    waiting,
)
from tieline.study.results import VARIED, PlanResult, Results, bridge

NAME: Final = "report.html"
_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1d2126; --soft: #59636e; --line: #d9dee4; --paper: #fff; --ours: #0b6e4f;
  --band: #0b6e4f2e; --loss: #a8382a; --back: #f5f7f8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --soft: #a3adb8; --line: #343b44; --paper: #14181c;
  --ours: #45c496; --band: #45c49640; --loss: #ee8a7a; --back: #1b2026; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 1.5rem auto 4rem;
  max-width: 72rem; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.45rem; line-height: 1.25; margin: 0 0 .6rem; } a { color: var(--ours); }
h2 { font-size: 1.2rem; margin: 2.8rem 0 .3rem; padding-top: .8rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; }
p, li, figcaption { max-width: 46rem; } .soft, figcaption, small { color: var(--soft); }
figcaption { font-size: 13px; } figure { margin: 1rem 0; } .answer { font-size: 1.08rem; }
.mark { color: var(--loss); font-weight: 600; } .wide { overflow-x: auto; }
.two { display: grid; gap: 0 2.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 27rem), 1fr)); }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top;
  white-space: nowrap; } th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
th { white-space: normal; min-width: 4.6rem; } td:first-child, th:first-child { text-align: left; }
td a { color: inherit; text-decoration-color: var(--line); } .bad { color: var(--loss); font-weight: 600; }
.bars { display: grid; grid-template-columns: fit-content(36%) 1fr max-content; gap: .3rem .8rem;
  align-items: center; font-size: 13px; } .bars b { font-weight: 600; text-align: right; }
.bars small { font-size: 12px; text-align: right; } .track { position: relative; height: 1.1rem; }
.track i { position: absolute; top: 0; bottom: 0; border-radius: 3px; }
.track .zero { width: 1px; background: var(--line); top: -.15rem; bottom: -.15rem; border-radius: 0; }
details { border-bottom: 1px solid var(--line); padding: .3rem 0; } summary { cursor: pointer; display: flex; gap: 1rem;
  justify-content: space-between; flex-wrap: wrap; } summary::before { content: "+"; color: var(--soft); width: .6rem; }
details[open] > summary::before { content: "-"; } summary span { flex: 1; min-width: 11rem; }
summary b { font-variant-numeric: tabular-nums; text-align: right; margin-left: auto; }
details > div { margin: .2rem 0 .8rem 1.6rem; }
details p { margin: .4rem 0; color: var(--soft); } details :target { background: var(--back); scroll-margin-top: 6rem; }
svg { width: 100%; max-width: 38rem; height: auto; font: 12px system-ui, sans-serif; } svg text { fill: var(--soft); }
svg .grid { stroke: var(--line); }
dl { display: grid; grid-template-columns: minmax(7rem, 14rem) 1fr; gap: .3rem 1rem; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; } dd { padding-bottom: .5rem; } }
dt { font-weight: 600; } dd { margin: 0; color: var(--soft); }
:target { scroll-margin-top: 1rem; }
dt:target, tr:target { background: var(--back); outline: 2px solid var(--ours); outline-offset: 3px; }
"""


def write(results: Results, out: Path) -> Path:
    """The page, beside the report's other files. Raises OSError."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / NAME
    path.write_text(page(results), encoding="utf-8")
    return path


def page(results: Results) -> str:
    study, plans = results.study, results.plans
    remarks = "".join(f"<li>{escape(line)}</li>" for line in notes(results))
    marks = f"{'Invented fleet and sites. ' if study.invented else ''}Assumed paths, not a forecast."
    hashes = _fan(study, results.hashprice_p10, results.hashprice_p50, results.hashprice_p90, "USD per PH/s and day")
    body = (
        f'<h1>{escape(study.name)}</h1><p class="mark">{marks}</p><p class="answer">{escape(answer(results))}</p>'
        f"<figure>{_ranges(results)}<figcaption>Net present value, M {results.currency}: the bar from P10 to P90, the "
        "mark and the figure at P50</figcaption></figure>"
        f'{_compared(results)}<p class="soft">Money in {results.currency}. {REGRET} Each figure opens to what it is '
        f'made of.</p><ul class="soft">{remarks}</ul>'
        f"{''.join(_plan(results, n) for n in range(len(plans)))}"
        f'<h2 id="inputs">What it stands on</h2>{_inputs(results)}'
        f"<h3>Hashprice on these paths</h3><figure>{hashes}<figcaption>Assumed: P10 to P90, and the median</figcaption>"
        "</figure>"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(study.name)}</title><style>{_STYLE}</style></head><body><main>{body}</main></body></html>\n"
    )


# --- plans side by side -------------------------------------------------------------------------

# Column of the table, the figure it opens.
_COLUMNS: Final = (
    ("NPV, P50", "npv"),
    ("added to the first, P50", "added"),
    ("its rate, P50", "rate"),
    ("pays back, months", "payback"),
    ("lowest cash, P50", "lowest"),
    ("in", "lowest"),
    ("runs out of cash", "out"),
    ("best in", "best"),
    ("regret", "regret"),
    ("debt service broken", "cover"),
    ("loan to value broken", "value"),
)


def _compared(results: Results) -> str:
    # A covenant that no plan has takes no column.
    empty = {
        key
        for key, shares in (
            ("cover", [plan.cover_broken_share for plan in results.plans]),
            ("value", [plan.value_broken_share for plan in results.plans]),
        )
        if all(one is None for one in shares)
    }
    head = "".join(f"<th>{escape(word)}</th>" for word, key in _COLUMNS if key not in empty)
    rows = "".join(_row(results, n, plan, empty) for n, plan in enumerate(results.plans))
    return f'<div class="wide"><table><thead><tr><th>plan</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _values(plan: PlanResult, n: int) -> tuple[str, ...]:
    """The figures of a row, in the columns' order; the first plan adds nothing to itself."""
    rate, back = plan.added_rate.p50, plan.payback_months.p50
    return (
        money(plan.npv.p50),
        money(plan.added_npv.p50) if n else "",
        "" if not n else "none" if rate is None else f"{rate:.1%}",
        "" if not n else "none" if back is None else f"{back:.0f}",
        money(plan.lowest_cash.p50),
        plan.lowest_cash_month,
        share(plan.runs_out_share),
        share(plan.best_share),
        money(plan.regret),
        *("" if one is None else share(one) for one in (plan.cover_broken_share, plan.value_broken_share)),
    )


def _row(results: Results, n: int, plan: PlanResult, empty: set[str]) -> str:
    broken = (plan.cover_broken_share, plan.value_broken_share)
    values = _values(plan, n)
    bad = {6} if plan.runs_out_share > results.study.money.may_run_out else set()
    bad |= {9 + m for m, one in enumerate(broken) if one is not None and one > results.study.money.may_run_out}
    cells = "".join(
        f"<td{' class=bad' if m in bad else ''}>"
        + (f'<a href="#p{n}-{name}">{escape(value)}</a>' if value else "")
        + "</td>"
        for m, ((_, name), value) in enumerate(zip(_COLUMNS, values, strict=True))
        if name not in empty
    )
    return f'<tr><td><a href="#p{n}">{escape(plan.name)}</a></td>{cells}</tr>'


def _ranges(results: Results) -> str:
    bars = [(plan.name, plan.npv) for plan in results.plans]
    values = [v for _, one in bars for v in (one.p10, one.p90) if v is not None]
    low, high = min(0.0, *values), max(0.0, *values)
    at = _scale(low, high)
    out = []
    for name, one in bars:
        track, label = "", "none"
        if one.p10 is not None and one.p50 is not None and one.p90 is not None:
            label = f"{one.p50 / 1e6:,.1f}"
            colour = "loss" if one.p50 < 0 else "ours"
            track = _bar(at(one.p10), at(one.p90), "band") + _mark(at(one.p50), colour)
        out.append(f"<span>{escape(name)}</span>{_track(at(0.0), track)}<b>{label}</b>")
    return f'<div class="bars">{"".join(out)}</div>'


def _scale(low: float, high: float) -> Callable[[float], float]:
    """Where a value lies between two, in percent."""
    wide = (high - low) or 1.0
    return lambda value: (value - low) / wide * 100.0


def _track(zero: float, inside: str) -> str:
    return f'<span class="track"><i class="zero" style="left:{zero:.2f}%"></i>{inside}</span>'


def _bar(begin: float, end: float, colour: str) -> str:
    left, wide = min(begin, end), abs(end - begin)
    return f'<i style="left:{left:.2f}%;width:max({wide:.2f}%,2px);background:var(--{colour})"></i>'


def _mark(at: float, colour: str) -> str:
    return f'<i style="left:calc({at:.2f}% - 1.5px);width:3px;background:var(--{colour})"></i>'


# --- one plan -----------------------------------------------------------------------------------


def _plan(results: Results, n: int) -> str:
    plan, study = results.plans[n], results.study
    fan = _fan(study, plan.cash_p10, plan.cash_p50, plan.cash_p90, f"M {results.currency}", 1e6)
    mark = ' class="mark"' if plan.infeasible else ""
    does = ", ".join(f'<a href="#alternative-{_key(name)}">{escape(name)}</a>' for name in plan.does)
    return (
        f'<h2 id="p{n}">{escape(plan.name)}</h2><p{mark}>{escape(verdict(results, plan))}</p>'
        f'<p class="soft">Does: {does or "every site keeps mining"}. {physically(plan)}.</p><div class="two">'
        f"<figure>{fan}<figcaption>Cash at the end of each month: P10 to P90, and the median</figcaption></figure>"
        f"<figure>{_tornado(plan)}<figcaption>Median NPV, M {results.currency}, with one driver lower or higher by the "
        f'share beside it</figcaption></figure></div><div class="two"><div>{_figures(results, n)}</div>'
        f"<div>{_more(results, n)}</div></div>"
    )


def _figure(n: int, key: str, name: str, value: str, caption: str, more: str = "") -> str:
    """One figure that opens to what it is made of."""
    return (
        f"<details><summary><span>{escape(name)}</span><b>{escape(value)}</b></summary>"
        f'<div id="p{n}-{key}"><p>{caption}</p>{more}</div></details>'
    )


def _figures(results: Results, n: int) -> str:
    plan, study, code = results.plans[n], results.study, results.currency
    first = escape(results.plans[0].name)
    loans = _links("loan", [loan.name for loan in study.loans_of(study.plan[n])]) or "none"
    paths = f"{_input('btc_usd')}, {_input('difficulty')}, {_input('power')}, {_input('money', 'money')}"
    html = _figure(
        n, "npv", "NPV, P10 / P50 / P90", three(plan.npv),
        f"Each month's cash over (1 + {study.money.discount:.0%}) ^ years, summed on each of {study.paths:,} paths; by "
        f"where it comes from, on the mean. From {paths}, {_input('operation', 'dispatch')} and loans: {loans}.",
        _table([(name, value) for name, value in plan.worth.items() if value], code),
    )  # fmt: skip
    if n:
        parts = bridge(results, results.plans[0].name, plan.name)
        html += _figure(
            n, "added", f"Added to {results.plans[0].name}", three(plan.added_npv),
            "On each path this plan's NPV less the first one's; the bridge takes their means apart and sums exactly.",
            _table([(name, value) for name, value in parts.items() if value], code),
        )  # fmt: skip
        html += _figure(
            n, "rate", "Internal rate of what is added", three(plan.added_rate, "rate"),
            f"The yearly rate at which what the plan adds to {first}, before loans, is worth nothing; of the "
            f"{share(plan.added_rate.share)} of paths that have exactly one ({share(plan.several_rates_share)} have "
            "several).",
        )  # fmt: skip
        html += _figure(
            n, "payback", "Pays back after, months", three(plan.payback_months, "months"),
            f"From when on the sum of what is added stays above nothing; it does on "
            f"{share(plan.payback_months.share)} of paths.",
        )  # fmt: skip
    opening = f"Begins with the {_input('money', 'opening position')}; loans: {loans}."
    html += _figure(
        n, "lowest", "Lowest cash, P10 / P50 / P90", three(plan.lowest_cash),
        f"Of each path's monthly balances the least; the median balance is lowest in {plan.lowest_cash_month}. "
        f"{opening}",
    )  # fmt: skip
    html += _figure(
        n, "out", "Paths that run out of cash", share(plan.runs_out_share),
        f"Paths on which a month's balance is below nothing; over {study.money.may_run_out:.0%} the plan is called "
        f"infeasible. First: {plan.first_short_month or 'never'}. Missing on those paths: {three(plan.short)}. "
        f"{opening}",
    )  # fmt: skip
    for key, what, limit, value in (
        ("cover", "debt service", "cover_at_least", plan.cover_broken_share),
        ("value", "loan to value", "value_at_most", plan.value_broken_share),
    ):
        have = [loan.name for loan in study.loans_of(study.plan[n]) if getattr(loan, limit) is not None]
        if have:
            series = {
                "cover": "Operating cash of the last twelve months over what all loans took in them, tested each month",
                "value": "What is owed over what secures it, tested each month",
            }[key]
            html += _figure(n, key, f"Paths that break {what}", share(value), f"{series}. {_links('loan', have)}.")
    return html


def _more(results: Results, n: int) -> str:
    plan, study = results.plans[n], results.study
    html = _figure(
        n, "best", "Paths on which it is the best plan", share(plan.best_share),
        f"Paths on which no plan's NPV is higher, of {study.paths:,}; what money it lacks is not asked here.",
    )  # fmt: skip
    html += _figure(n, "regret", "Regret", money(plan.regret), escape(REGRET))
    sampled = "On the first paths, all months of the driver times one factor"
    for name, breakeven in zip(plan.breakeven, breakevens(plan), strict=True):
        level = breakeven[len(name.replace("_", " ")) + 1 :]
        what = "adds nothing to the first plan" if n else "is worth nothing"
        driver = "btc_usd" if name == "hashprice" else name
        html += _figure(
            n, f"even-{name}", f"Break-even {name.replace('_', ' ')}", level,
            f"The mean level at which the plan {what} on the median path. {sampled}. From {_input(driver)}.",
        )  # fmt: skip
    for name, value in couplings(plan).items():
        html += _figure(
            n, f"worth-{_key(name)}", f"Worth of {name}", money(value),
            f"Median NPV less that without it. From {_input('operation', 'dispatch on recorded days')}.",
        )  # fmt: skip
    return html


def _table(rows: Sequence[tuple[str, float]], code: str) -> str:
    body = "".join(f"<tr><td>{escape(name)}</td><td>{value:,.0f}</td></tr>" for name, value in rows)
    total = f"<tr><td><b>sum</b></td><td><b>{sum(value for _, value in rows):,.0f}</b></td></tr>"
    return f"<table><thead><tr><th>part</th><th>mean, {code}</th></tr></thead><tbody>{body}{total}</tbody></table>"


def _tornado(plan: PlanResult) -> str:
    swings = sorted(plan.tornado, key=lambda s: -abs(s.high - s.low))
    values = [v for s in swings for v in (s.low, s.high)]
    low, high = min(0.0, *values), max(0.0, *values)
    at = _scale(low, high)
    out = []
    for one in swings:
        colour = "ours" if one.high >= one.low else "loss"
        least, most = sorted((one.low / 1e6, one.high / 1e6))
        out.append(
            f"<span>{escape(one.driver.replace('_', ' '))} ±{one.by:.0%}</span>"
            f"{_track(at(0.0), _bar(at(one.low), at(one.high), colour))}<small>{least:,.0f} to {most:,.0f}</small>"
        )
    return f'<div class="bars">{"".join(out)}</div>'


def _fan(
    study: Study, low: Sequence[float], middle: Sequence[float], high: Sequence[float], unit: str, by: float = 1.0
) -> str:
    least, most = min(0.0, *low) / by, max(0.0, *high) / by
    wide, tall, left, top = 460.0, 220.0, 52.0, 18.0
    step = (wide - left - 8) / max(1, len(middle) - 1)

    def at(n: int, value: float) -> str:
        y = top + (most - value / by) / ((most - least) or 1.0) * (tall - top - 24)
        return f"{left + n * step:.1f},{y:.1f}"

    band = " ".join([*(at(n, v) for n, v in enumerate(high)), *(at(n, v) for n, v in reversed(list(enumerate(low))))])
    line = " ".join(at(n, v) for n, v in enumerate(middle))
    zero = at(0, 0.0).split(",")[1]

    def word(x: float, y: float, anchor: str, text: str) -> str:
        return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'

    # Two words nearer than a line would lie on each other: nothing goes first.
    heights: list[tuple[float, float]] = []
    for v in (0.0, most, least):
        y = float(at(0, v * by).split(",")[1])
        if all(abs(y - other) > 13 for other, _ in heights):
            heights.append((y, v))
    ticks = "".join(word(left - 6, y + 4, "end", f"{v:,.0f}" if abs(v) >= 10 else f"{v:.3g}") for y, v in heights)
    years = "".join(
        word(left + n * step, tall - 4, "middle", study.label(n)[:4])
        for n in range(0, len(middle) - 6, max(12, len(middle) // 6 // 12 * 12))
    )
    return (
        f'<svg viewBox="0 0 {wide:.0f} {tall:.0f}" role="img" aria-label="{escape(unit)} by month">'
        f'<line class="grid" x1="{left:.0f}" x2="{wide - 8:.0f}" y1="{zero}" y2="{zero}"/>'
        f'<polygon points="{band}" fill="var(--band)"/>'
        f'<polyline points="{line}" fill="none" stroke="var(--ours)" stroke-width="2"/>{ticks}{years}'
        f"{word(left, 11, 'start', unit)}</svg>"
    )


# --- what it stands on --------------------------------------------------------------------------


def _key(name: str) -> str:
    """A name as part of an address in the page."""
    return "".join(c if c.isalnum() else "-" for c in name.lower())


def _input(name: str, words: str = "") -> str:
    return f'<a href="#input-{_key(name)}">{escape(words or name.replace("_", " "))}</a>'


def _links(what: str, names: Sequence[str]) -> str:
    return ", ".join(f'<a href="#{what}-{_key(name)}">{escape(name)}</a>' for name in names)


def _inputs(results: Results) -> str:
    study = results.study
    given = study.money
    listed = {
        "money": f"opening cash {money(given.opening_cash_usd)} USD and {given.opening_btc:g} BTC sold over "
        f"{given.coins_sold_months} months ({given.opening_source or 'from the file'}); fixed "
        f"{money(given.fixed_usd_per_month)} USD a month; discount {given.discount:.1%}; tax {given.tax:.0%}; "
        f"reported in {given.currency}",
        "operation": f"dispatch on {results.days_run}, {results.months_run[0]} to {results.months_run[-1]}, of "
        f"{study.operation.days!r} with fleet {study.operation.fleet!r}; hashprice {_steps(study.operation.levels)}, "
        f"room {_steps(study.operation.rooms)}{_nodes(study)}; surface {results.surface}",
        **assumptions(study),
    }
    listed = {name: f"{text} (swing ±{VARIED[name]:.0%})" if name in VARIED else text for name, text in listed.items()}
    terms = "".join(
        f'<dt id="input-{_key(name)}">{escape(name.replace("_", " "))}</dt><dd>{escape(text)}</dd>'
        for name, text in listed.items()
    )
    own = "".join(
        f"<h3>{title}</h3><dl>{''.join(_terms(what, name, one) for name, one in items)}</dl>"
        for what, title, items in (
            ("site", "Sites", [(site.id, site) for site in study.site]),
            ("alternative", "Alternatives", [(one.name, one) for one in study.alternative]),
            ("loan", "Loans", [(loan.name, loan) for loan in study.loan]),
        )
        if items
    )
    return f"<dl>{terms}</dl>{own}"


def _nodes(study: Study) -> str:
    one = study.operation
    if not one.gpu_shares:
        return ""
    return (
        f"; nodes beside the rigs, share {_steps(one.gpu_shares)}, asked for {one.gpu_load:.0%} of what they can serve"
    )


def _steps(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _terms(what: str, name: str, one: StudySite | Alternative | StudyLoan) -> str:
    """Everything that the file says of it and that is not its default."""
    defaults = dict(zip(one.__struct_fields__[-len(one.__struct_defaults__) :], one.__struct_defaults__, strict=True))
    said = []
    for field in one.__struct_fields__:
        value = getattr(one, field)
        if field in ("id", "name") or (field in defaults and value == defaults[field]):
            continue
        said.append(f"{field} = {_said(value)}")
    return f'<dt id="{what}-{_key(name)}">{escape(name)}</dt><dd>{escape("; ".join(said) or "as it stands")}</dd>'


def _said(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_said, value))
    if isinstance(value, Wait):
        return waiting(value)
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"
    return str(value)

"""A study as text, JSON and tables: the same figures in all, rounded once. The page is drawn by `page`."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from math import isnan
from pathlib import Path

import msgspec

from tieline.config.lines import MistakeError
from tieline.study.alternatives import contract_usd
from tieline.study.file import Assumption, Study, Wait
from tieline.study.results import SEARCHED, STEADY, PlanResult, Results, Spread, balances, bridge
from tieline.study.sweep import PlanPaths

NAMES = ("report.md", "report.json", "report.csv", "paths.csv")


def write(results: Results, plans: Sequence[PlanPaths], out: Path) -> list[Path]:
    """Write all but the page; returns their paths. Raises OSError."""
    out.mkdir(parents=True, exist_ok=True)
    texts = (markdown(results), plain(results), table(results), by_path(results, plans))
    paths = [out / name for name in NAMES]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def plain(results: Results) -> str:
    return msgspec.json.format(msgspec.json.encode(results), indent=1).decode() + "\n"


def table(results: Results) -> str:
    """One row per plan and month: cash at three quantiles, energy, bitcoin, millions of tokens."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    money = [f"cash_{q}_{results.currency.lower()}" for q in ("p10", "p50", "p90")]
    writer.writerow(("plan", "month", *money, "mean_mwh", "mean_btc", "mean_mtokens"))
    for plan in results.plans:
        for n in range(results.study.months):
            figures = [f"{cash:.0f}" for cash in (plan.cash_p10[n], plan.cash_p50[n], plan.cash_p90[n])]
            physical = (f"{plan.mwh[n]:.1f}", f"{plan.btc[n]:.4f}", f"{plan.tokens[n] / 1e6:.0f}")
            writer.writerow((plan.name, results.study.label(n), *figures, *physical))
    return out.getvalue()


def by_path(results: Results, plans: Sequence[PlanPaths]) -> str:
    """One row per plan and path: what it is worth, its rate, when it pays back, its lowest cash and when that is."""
    out, study = io.StringIO(), results.study
    writer = csv.writer(out, lineterminator="\n")
    code = results.currency.lower()
    writer.writerow(
        ("plan", "path", f"npv_{code}", "added_rate", "payback_month", f"lowest_cash_{code}", "lowest_month")
    )
    for one, name in zip(plans, (plan.name for plan in study.plan), strict=True):
        cash = balances(study, one)
        when = cash.argmin(axis=1)
        for n, npv in enumerate(one.npv):
            rate = "" if isnan(one.added_rate[n]) else f"{one.added_rate[n]:.4f}"
            back = "" if isnan(one.payback[n]) else study.label(int(one.payback[n]))
            writer.writerow((name, n, f"{npv:.0f}", rate, back, f"{cash[n, when[n]]:.0f}", study.label(int(when[n]))))
    return out.getvalue()


# --- words ------------------------------------------------------------------------------------


def money(value: float | None) -> str:
    """Millions with a decimal, thousands below a million."""
    if value is None:
        return "none"
    return f"{value / 1e6:,.1f} M" if abs(value) >= 1e6 else f"{value / 1e3:,.0f} k"


def three(one: Spread, words: str = "money") -> str:
    if one.p50 is None or one.p10 is None or one.p90 is None:
        return "none"
    show = money if words == "money" else (lambda v: f"{v:.1%}") if words == "rate" else (lambda v: f"{v:.0f}")
    return f"{show(one.p10)} / {show(one.p50)} / {show(one.p90)}"


def share(value: float | None) -> str:
    """A whole percentage that hides neither a few nor all but a few."""
    if value is None:
        return "no covenant"
    if 0 < value < 0.01 or 0.99 < value < 1:
        return f"{value:.1%}"
    return f"{value:.0%}"


def answer(results: Results) -> str:
    """What the study comes to, in two sentences: the best plan that the cash allows, and what would be worth more."""
    code = results.currency
    able = [plan for plan in results.plans if not plan.infeasible]
    if not able:
        return _none_able(results)
    best = max(able, key=lambda plan: plan.npv.p50 or 0.0)
    first = results.plans[0]
    sentence = (
        f"Of the plans that the cash allows, {best.name} is worth the most on the median: {money(best.npv.p50)} {code}"
    )
    if best is not first:
        sentence += f", {money(first.npv.p50)} for {first.name}"
    sentence += f". It is the best plan on {share(best.best_share)} of the paths."
    for what, broken in (("debt service", best.cover_broken_share), ("loan to value", best.value_broken_share)):
        if broken is not None and broken > results.study.money.may_run_out:
            sentence += f" But it breaks its covenant on {what} on {share(broken)} of them."
    more = [plan for plan in results.plans if plan.infeasible and (plan.npv.p50 or 0.0) > (best.npv.p50 or 0.0)]
    if more:
        others = "; ".join(f"{plan.name}, {money(plan.npv.p50)}, {_why_not(plan)} of the paths" for plan in more)
        sentence += f" Worth more, but infeasible: {others}."
    return sentence


def _none_able(results: Results) -> str:
    best = max(results.plans, key=lambda plan: plan.npv.p50 or 0.0)
    sentence = f"No plan has the cash it needs: {best.name}, the highest median, {_why_not(best)} of the paths."
    if best.short.p50 is not None:
        sentence += f" {money(best.short.p50)} {results.currency} are missing on the median of the paths that run out."
    return sentence


def _why_not(plan: PlanResult) -> str:
    """Of an infeasible plan: cash, covenants, or both."""
    reasons = [f"runs out of cash on {share(plan.runs_out_share)}"] if plan.runs_out_share else []
    if plan.stopped_share:
        reasons.append(f"breaks a covenant that its lender does not waive on {share(plan.stopped_share)}")
    return " and ".join(reasons)


def _of_cash(results: Results, plan: PlanResult) -> str:
    if not plan.runs_out_share:
        return "No path runs out of cash."
    sentence = f"{share(plan.runs_out_share)} of paths run out of cash, the first in {plan.first_short_month}"
    if plan.infeasible:
        code = results.currency
        sentence += (
            f"; they need {money(plan.short.p50)} {code} more on the median, {money(plan.short.p90)} at worst in ten"
        )
    return f"{sentence}."


def verdict(results: Results, plan: PlanResult) -> str:
    """What a plan's cash says, and its covenants; first what makes it infeasible."""
    cash, stop = _of_cash(results, plan), ""
    if plan.stopped_share:
        stop = (
            f"A breach that its lender does not waive comes on {share(plan.stopped_share)} of paths, the first in "
            f"{plan.first_stopped}."
        )
    short = plan.runs_out_share > results.study.money.may_run_out
    sentence = " ".join(said for said in ((cash, stop) if short else (stop, cash)) if said)
    if plan.infeasible:
        sentence = f"Infeasible: {sentence[0].lower()}{sentence[1:]}"
    for what, broken, first in (
        ("debt service", plan.cover_broken_share, plan.first_cover_broken),
        ("loan to value", plan.value_broken_share, plan.first_value_broken),
    ):
        if broken:
            sentence += f" The covenant on {what} is broken on {share(broken)} of paths, first in {first}."
        elif broken is not None:
            sentence += f" The covenant on {what} holds on every path."
    return sentence


REGRET = "Regret: what choosing it costs on the mean against the best plan of each path."
HEAD = (
    "plan", "NPV", "added to the first", "rate of what is added", "pays back, months", "lowest cash", "in", "runs out",
    "best in", "regret", "debt service broken", "loan to value broken",
)  # fmt: skip


def cells(plan: PlanResult) -> list[str]:
    return [
        plan.name, three(plan.npv), three(plan.added_npv), three(plan.added_rate, "rate"),
        three(plan.payback_months, "months"), money(plan.lowest_cash.p50), plan.lowest_cash_month,
        share(plan.runs_out_share), share(plan.best_share), money(plan.regret),
        share(plan.cover_broken_share), share(plan.value_broken_share),
    ]  # fmt: skip


def waiting(wait: Wait) -> str:
    """A rule, or a date, in words."""
    reasons = [] if wait.until is None else [f"not before {wait.until}"]
    if wait.is_rule:
        side = f"below {wait.lower:g}" if wait.lower is not None else f"above {wait.above:g}"
        reasons.append(f"once the mean {wait.of.replace('_', ' ')} of {wait.mean_months} months lies {side}")
    return ", ".join(reasons)


def assumptions(study: Study) -> dict[str, str]:
    """Every path in words, by its name: assumed, with what it stands on."""
    assume = study.assume
    paths = {name: getattr(assume, name) for name in ("btc_usd", "fee_share", "power", "utilisation")}
    paths |= {f"fx.{code}": assume.fx[code] for code in study.currencies}
    rows = {
        name: f"{one.model} from {one.start:g}{_spread_of(one)}. {one.source or 'No source given.'}"
        for name, one in paths.items()
    }
    hard, card = assume.difficulty, assume.gpu_usd_per_hour
    rows["difficulty"] = (
        f"from {hard.start:.4g}, grows {hard.growth:.0%} a year at constant revenue and answers {hard.answer:.0%} of a "
        f"change of price x subsidy within {hard.lag_months:g} months. {hard.source or 'No source given.'}"
    )
    rows["gpu_usd_per_hour"] = (
        f"from {card.start:g}, falls {card.decline:.0%} a year and {card.generation_drop:.0%} every "
        f"{card.generation_months} months, volatility {card.volatility:.0%} a year. {card.source or 'No source given.'}"
    )
    rows["buildings"] = f"{assume.delay_months:g} months late on the mean, drawn from an exponential"
    rows["pool fee"] = f"{assume.pool_fee:.2%} of what is mined"
    for a, b, value in assume.correlations:
        rows[f"{a} and {b}"] = f"correlation {value:g} of their monthly shocks"
    return rows


def _spread_of(one: Assumption) -> str:
    if one.model in ("history", "table"):
        return f", {len(one.values)} values"
    back = f", back within {one.revert_months:g} months" if one.model == "revert" else f", drift {one.drift:.0%} a year"
    return f"{back}, volatility {one.volatility:.0%} a year"


def notes(results: Results) -> list[str]:
    """What a reader has to know before believing a figure."""
    study = results.study
    lines = [
        f"{study.paths:,} paths of {study.months} months from {study.start}, seed {study.seed}. "
        "Paths are assumed, not forecast.",
        f"Operation: dispatch on {results.months_run[0]} to {results.months_run[-1]} ({results.days_run})"
        f"{', invented days' if results.invented_days else ''}; a month without any is the mean of the others.",
        "Every figure is an estimate in floating point; the books' own money is exact, and is not touched by a study.",
        f"Discounted at {study.money.discount:.0%} a year; tax {study.money.tax:.0%}.",
    ]
    if study.money.opening_source:
        lines.append(f"Opening position: {study.money.opening_source}.")
    if study.money.currency != "USD":
        lines.append(f"Reported in {study.money.currency}, each month at its path's rate.")
    lines += businesses(study)
    if results.moved > STEADY:
        lines.append(
            f"Twice as many paths may move a median NPV by {results.moved:.1%} ({results.moved_plan}): take more."
        )
    lines.append(f"Break-evens, swings and what couplings are worth: on the first {min(SEARCHED, study.paths)} paths.")
    if study.invented:
        lines.insert(0, "The fleet and the sites are invented.")
    lines += [
        f"{plan.name}: {plan.several_rates_share:.1%} of paths have several internal rates; they count in none."
        for plan in results.plans
        if plan.several_rates_share
    ]
    lines += [
        f"{plan.name}: no path has an internal rate: what it adds is never first paid and then earned."
        for plan in results.plans[1:]
        if plan.added_rate.p50 is None and not plan.several_rates_share
    ]
    return lines


def complaints(results: Results) -> list[MistakeError]:
    """What the paths showed to be asked wrongly, each with where it is written and what to write instead."""
    lines = []
    for n, plan in enumerate(results.plans):
        if plan.runs_out_share == 1.0:
            words = f"every path of {plan.name!r} runs out of cash, the first in {plan.first_short_month}"
            fix = f"have {money(plan.short.p90)} more, borrow it with a [[loan]], or drop the plan"
            lines.append(MistakeError(("money", "opening_cash_usd"), words, fix))
        at = ("plan", n, "does")
        if plan.several_rates_share:
            words = f"{plan.several_rates_share:.1%} of paths have several internal rates"
            lines.append(MistakeError(at, words, "judge it by its NPV: they count in no rate"))
        elif n and plan.added_rate.p50 is None:
            words = "no path has an internal rate: what it adds is never first paid and then earned"
            lines.append(MistakeError(at, words, "judge it by its NPV, or put first a plan that it costs more than"))
    return lines


def businesses(study: Study) -> list[str]:
    """What contracts for computers and leases of shells earn on what they take, where a study has both: a contract of
    9.7 M USD per MW and year and a lease of 1.9 M are not the same business."""
    lines = []
    kinds = {one.kind for one in study.alternative}
    if not {"contract", "lease"} <= kinds:
        return []
    for one in study.alternative:
        if one.kind not in ("contract", "lease") or not one.mw or not one.term_months:
            continue
        years = one.term_months / 12
        earned = contract_usd(one) / one.mw / years
        nodes = 0.0 if one.kind == "lease" else (one.usd_per_node or 0.0) * 1e3 / one.node_kw
        own = 0.0 if one.customer_pays_capex else nodes + (one.shell_usd_per_mw or 0.0)
        what = (
            "nodes and all, which are worn when it ends"
            if one.kind == "contract"
            else "a shell with the customer's computers in it"
        )
        lines.append(
            f"{one.name} earns {money(earned)} USD per MW and year for {years:g} years on {money(own)} per MW of its "
            f"own, {what}: its capital is back after {own / earned:.1f} years of revenue."
        )
    return lines


def markdown(results: Results) -> str:
    study, code = results.study, results.currency
    out = [f"# {study.name}", "", answer(results), "", *[f"{line}  " for line in notes(results)], ""]
    out += ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    out += ["| " + " | ".join(cells(plan)) + " |" for plan in results.plans]
    out += ["", f"Money in {code} at P10 / P50 / P90 of the paths that have one. {REGRET}", ""]
    for plan in results.plans:
        out += [f"## {plan.name}", "", verdict(results, plan), ""]
        out += [f"Does: {', '.join(plan.does) or 'every site keeps mining'}. {physically(plan)}.", ""]
        out += ["Break-even: " + "; ".join(breakevens(plan)) + ".", ""]
        worths = "; ".join(f"{name} {money(value)}" for name, value in couplings(plan).items())
        out += [f"Worth on the median, {code}: {worths}.", ""]
        out += ["| driver | lower | NPV P50 | higher | NPV P50 |", "|---|---|---|---|---|"]
        out += [f"| {s.driver} | -{s.by:.0%} | {money(s.low)} | +{s.by:.0%} | {money(s.high)} |" for s in plan.tornado]
        if plan is not results.plans[0]:
            parts = bridge(results, results.plans[0].name, plan.name)
            out += ["", f"From {results.plans[0].name}, mean NPV:", "", f"| part | {code} |", "|---|---|"]
            out += [f"| {name} | {value:,.0f} |" for name, value in parts.items() if value]
            out += [f"| sum | {sum(parts.values()):,.0f} |"]
        out += [""]
    out += ["## Assumed", "", *[f"- {name}: {line}" for name, line in assumptions(study).items()], ""]
    return "\n".join(out)


def physically(plan: PlanResult) -> str:
    """What its sites draw, mine and serve over the study, on the mean of the paths."""
    sentence = f"On the mean {sum(plan.mwh) / 1e6:,.2f} TWh drawn and {sum(plan.btc):,.0f} BTC mined"
    tokens = sum(plan.tokens)
    return f"{sentence}, {tokens / 1e12:,.1f} trillion tokens served" if tokens else sentence


def couplings(plan: PlanResult) -> dict[str, float]:
    """What operating the parts of a site as one is worth."""
    return {
        "dispatch that rests when power is dear": plan.curtailing,
        "resting in coincident peaks": plan.avoiding_peaks,
        "rigs in the power that computers leave": plan.sharing_room,
    }


def breakevens(plan: PlanResult) -> list[str]:
    units = {"hashprice": "USD/PH/s/day", "utilisation": "", "gpu_usd_per_hour": "USD per GPU-hour"}
    return [
        f"{name.replace('_', ' ')} {'none' if value is None else f'{value:.3g} {units[name]}'.strip()}"
        for name, value in plan.breakeven.items()
    ]

"""A backtest as one page: tables and plots in a single HTML file.

Nothing is fetched and nothing runs: plots are inline SVG, colours follow the reader's light or dark setting.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tieline.backtest.report import HEAD, OURS, best_rule, bound_cells, bound_rows, cells, heading, notes
from tieline.backtest.run import ASSUMED, ScenarioResult

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2126; --soft: #66707c; --line: #d9dee4; --paper: #fff; --bar: #8b98a8;
  --ours: #0b6e4f; --bound: #c9d1da; --loss: #b3412e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --soft: #9aa5b1; --line: #343b44; --paper: #14181c;
  --bar: #647284; --ours: #35b889; --bound: #3b444f; --loss: #e0705c; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; margin-top: 1.6rem; }
p, li, figcaption { color: var(--soft); max-width: 46rem; }
.wide { overflow-x: auto; } figure { margin: 1rem 0; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; } tr.ours td { font-weight: 600; }
tr.bound td { color: var(--soft); }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; } svg text { fill: var(--ink); }
svg .soft { fill: var(--soft); } svg line { stroke: var(--line); }
"""


def page(results: Sequence[ScenarioResult]) -> str:
    body = "".join(_scenario(result) for result in results)
    assumed = "".join(f"<li>{escape(words)}</li>" for words in ASSUMED)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Tieline backtest</title><style>{_STYLE}</style></head><body>"
        "<h1>What dispatch was worth</h1>"
        "<p>Policies on recorded prices, weather, difficulty and demand, each on the same modelled fleet, each seeing "
        "only what was known. Net USD: mining and inference, less power, wear, peak charges, penalties and credits.</p>"
        f"{body}<h2>Assumed or invented</h2><ul>{assumed}</ul></body></html>\n"
    )


def _scenario(result: ScenarioResult) -> str:
    out = [f"<h2>{escape(heading(result))}</h2>", _table(result), _nets(result), _months(result), _couplings(result)]
    out += [f"<p>{escape(words)}</p>" for words in notes(result)]
    return "".join(out)


def _table(result: ScenarioResult) -> str:
    head = "".join(f"<th>{escape(word)}</th>" for word in HEAD)
    lines = []
    for row in result.rows:
        kind = ' class="ours"' if row.policy in OURS else ""
        lines.append(f"<tr{kind}>" + "".join(f"<td>{escape(c)}</td>" for c in cells(result, row)) + "</tr>")
    lines += [
        '<tr class="bound">' + "".join(f"<td>{escape(c)}</td>" for c in bound_cells(one)) + "</tr>"
        for one in bound_rows(result)
    ]
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _nets(result: ScenarioResult) -> str:
    """Each policy against the first of the table, so that what differs can be seen."""
    if not result.rows:
        return ""
    first = result.rows[0]
    bars = [(r.policy, r.tally.net - first.tally.net, "ours" if r.policy in OURS else "bar") for r in result.rows[1:]]
    bars += [(str(one["policy"]), float(one["net_usd"] or 0) - first.tally.net, "bound") for one in bound_rows(result)]
    return _figure(_bars(bars), f"Net against {first.policy}")


def _months(result: ScenarioResult) -> str:
    mine, best = result.row("Tieline"), best_rule(result)
    if mine is None or best is None:
        return ""
    bars = [(m, mine.months[m] - best.months.get(m, 0.0), "ours") for m in sorted(mine.months)]
    return _figure(_bars(bars), f"Tieline less the best rule here ({best.policy}) by month")


def _couplings(result: ScenarioResult) -> str:
    whole = result.row("Tieline")
    if not result.ablations or whole is None:
        return ""
    full = whole.tally.net
    bars = [(row.policy, full - row.tally.net, "ours") for row in result.ablations]
    return _figure(_bars(bars), "What look-ahead loses without each coupling")


def _figure(drawn: str, words: str) -> str:
    return f"<figure>{drawn}<figcaption>{escape(words)}</figcaption></figure>" if drawn else ""


def _bars(bars: Sequence[tuple[str, float, str]]) -> str:
    """Horizontal bars from a common zero; a loss points left and has its own colour."""
    if not bars:
        return ""
    left, right, height = 330.0, 110.0, 22.0
    low, high = min(0.0, *(usd for _, usd, _ in bars)), max(0.0, *(usd for _, usd, _ in bars))
    span = (high - low) or 1.0
    # A loss has its figure on its left, which takes room.
    begin = left + (95.0 if low < 0 else 0.0)
    most = max(high, -low)
    scale = (1000.0 - begin - right) / span
    zero = begin - low * scale
    out = [
        f'<svg viewBox="0 0 1000 {height * len(bars) + 8:.0f}" role="img">'
        f'<line x1="{zero:.1f}" x2="{zero:.1f}" y1="0" y2="{height * len(bars) + 4:.0f}"/>'
    ]
    for n, (name, usd, kind) in enumerate(bars):
        y, wide = n * height + 4, abs(usd) * scale
        x = zero if usd >= 0 else zero - wide
        colour = "loss" if usd < 0 else kind
        at, anchor = (x + wide + 6, "start") if usd >= 0 else (x - 6, "end")
        out.append(
            f'<text x="{left - 10:.0f}" y="{y + 13:.0f}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{x:.1f}" y="{y:.0f}" width="{wide:.1f}" height="{height - 6:.0f}" rx="2" '
            f'fill="var(--{colour})"/>'
            f'<text class="soft" x="{at:.1f}" y="{y + 13:.0f}" text-anchor="{anchor}">{_money(usd, most)}</text>'
        )
    return "".join(out) + "</svg>"


def _money(usd: float, most: float) -> str:
    """In millions where the largest bar has some, else in thousands."""
    return f"{usd / 1e6:+,.2f} M USD" if most >= 1e6 else f"{usd / 1e3:+,.1f} k USD"

"""A partner's month as one page without scripts: its sites, the sums, and every line, each leading to its records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from html import escape
from typing import Any, Final
from urllib.parse import urlencode

from tieline.books.reports.partner import PartnerLine, PartnerStatement
from tieline.fleet import Site

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1d2126; --soft: #59636e; --line: #d9dee4; --paper: #fff; --ours: #0b6e4f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --soft: #a3adb8; --line: #343b44; --paper: #14181c;
  --ours: #45c496; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 1.5rem auto 4rem;
  max-width: 64rem; padding: 0 1rem; }
h1 { font-size: 1.45rem; } h2 { font-size: 1.1rem; margin-top: 2rem; } a { color: var(--ours); }
p.soft, td.soft, th { color: var(--soft); } .wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
td.n, th.n { text-align: right; } dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; } summary { cursor: pointer; }
.said { border: 1px solid; padding: .1rem .5rem; }
"""
_TITLES: Final = {
    "mining": "Mining, by payout",
    "inference": "Inference, by day",
    "energy": "Energy, by day",
    "hashes": "Hashes, by day",
    "heard": "Seconds in which the meter was heard, by day",
    "faults": "Mining that faults took, by day",
}


def statement_page(made: PartnerStatement, months: Sequence[str], sites: Iterable[Site], asks: Sequence[str]) -> str:
    """`months`: those that can be looked at; `asks`: its floor and hours in words."""
    links = " ".join(
        f"<b>{month}</b>" if month == made.month else f'<a href="/partner?month={month}">{month}</a>'
        for month in months
    )
    said = ' <span class="said">simulated</span>' if made.simulated else ""
    rows = "".join(
        f"<tr><td>{escape(one.name)}</td><td class=soft>{escape(one.id)}</td><td>{escape(one.region)}</td>"
        f"<td class=n>{one.interconnect.limit_w / 1e6:,.1f} MW</td><td>{escape(one.mode)}</td></tr>"
        for one in sites
    )
    return _page(
        f"{made.name}, {made.month}",
        f"<h1>{escape(made.name)}, {made.month}{said}</h1><p>{links}</p>{_sums(made)}"
        f"<p class=soft>{escape('; '.join(asks))}</p><h2>Sites</h2><div class=wide><table><tr><th>site<th>id<th>region"
        f"<th class=n>interconnect<th>mode</tr>{rows}</table></div>{''.join(_lines(made, what) for what in _TITLES)}"
        f'<p><a href="/api/partner/statement?month={made.month}">The same for machines</a></p>',
    )


def records_page(title: str, back: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """What is behind one line."""
    names = list(rows[0]) if rows else []
    head = "".join(f"<th>{escape(name)}" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(row[name]))}</td>" for name in names) + "</tr>" for row in rows)
    table = f"<div class=wide><table><tr>{head}</tr>{body}</table></div>" if rows else "<p>No records.</p>"
    return _page(title, f'<h1>{escape(title)}</h1><p><a href="{escape(back)}">The statement</a></p>{table}')


def _sums(made: PartnerStatement) -> str:
    available = "not known" if made.availability is None else f"{made.availability * 100:.2f} %"
    pairs = (
        ("Energy", f"{Decimal(made.total('energy')) / 10**6:,.6f} MWh"),
        ("Hashes", f"{made.total('hashes'):,}"),
        ("Mining", f"{made.part('mining'):,} sats, {_share(made.mining_share)} of {made.total('mining'):,}"),
        ("Tokens", f"{made.tokens:,}"),
        ("Inference", f"{_usd(made.part('inference'))} USD, {_share(made.inference_share)} of "
                      f"{_usd(int(made.total('inference')))}"),
        ("Availability", f"{available} of the time heard; faults took {made.total('faults'):,} Wh of mining"),
    )  # fmt: skip
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in pairs) + "</dl>"


def _lines(made: PartnerStatement, what: str) -> str:
    lines = made.of(what)
    if not lines:
        return ""
    shared = lines[0].part is not None
    head = (
        "<th>day<th>site"
        + ("<th>payout" if what == "mining" else "")
        + ("<th class=n>tokens" if what == "inference" else "")
    )
    head += "<th class=n>amount" + ("<th class=n>your part" if shared else "") + "<th class=n>records"
    rows = "".join(_row(made.month, line) for line in lines)
    return (
        f"<h2>{_TITLES[what]}</h2><details><summary>{len(lines)} lines</summary><div class=wide><table>"
        f"<tr>{head}</tr>{rows}</table></div></details>"
    )


def _row(month: str, line: PartnerLine) -> str:
    asked = {"month": month, "what": line.what, "site": line.site, "day": str(line.day), "payout": line.payout}
    link = f"/partner/records?{urlencode({name: value for name, value in asked.items() if value})}"
    money = line.what == "inference"
    amount = f"{_usd(int(line.amount))} USD" if money else f"{line.amount:,} {line.unit}"
    part = "" if line.part is None else f"<td class=n>{_usd(line.part) + ' USD' if money else f'{line.part:,}'}</td>"
    more = (
        f"<td>{escape(line.payout)}</td>"
        if line.what == "mining"
        else f"<td class=n>{line.tokens:,}</td>"
        if money
        else ""
    )
    return (
        f"<tr><td>{line.day}</td><td>{escape(line.site)}</td>{more}<td class=n>{amount}</td>{part}"
        f'<td class=n><a href="{escape(link)}">{line.records}</a></td></tr>'
    )


def _usd(nano: int) -> str:
    return f"{Decimal(nano) / 10**9:,.9f}"


def _share(part: Decimal) -> str:
    return f"{(part * 100).normalize():f} %"


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><body>{body}</body></html>"
    )

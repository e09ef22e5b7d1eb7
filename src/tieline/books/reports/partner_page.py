"""A partner's month as one page: its sites, the sums, and every line, each leading to its records; and what it asks.

Its one script sends the form that sets a floor price and hours; all else is there without it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from html import escape
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from tieline.books.reports.partner import PartnerLine, PartnerStatement
from tieline.fleet import Partner, Site
from tieline.records import PartnerAsk

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
form { display: flex; flex-wrap: wrap; gap: .6rem 1.2rem; align-items: end; }
label { display: grid; color: var(--soft); }
input, select, button { font: inherit; padding: .3rem .5rem; color: inherit; background: var(--paper);
  border: 1px solid var(--soft); border-radius: 3px; height: 2.5rem; box-sizing: border-box; } input { width: 8rem; }
button { color: var(--paper); background: var(--ours); border-color: var(--ours); cursor: pointer; }
output { flex-basis: 100%; }
"""
# Sends the form as the console takes changes; what is refused is said beside it, what is recorded is shown anew.
_SCRIPT: Final = """
document.forms.asks.addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target, floor = form.floor.value.trim(), told = form.querySelector("output");
  const hours = form.from.value === "" ? "" : `${form.from.value}-${form.to.value}`;
  const headers = { "content-type": "application/json", "x-tieline": "console" };
  const body = JSON.stringify({ floor_usd_per_mwh: floor === "" ? null : Number(floor), hours });
  told.textContent = "Recording...";
  try {
    const answer = await fetch("/api/partner/asks", { method: "POST", headers, body });
    const said = await answer.json();
    if (answer.ok) location.reload(); else told.textContent = said.error;
  } catch { told.textContent = "Not recorded: the console does not answer. Try again."; }
});
"""
SCRIPT_DIGEST: Final = f"sha256-{base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()}"
_TITLES: Final = {
    "mining": "Mining, by payout",
    "inference": "Inference, by day",
    "energy": "Energy, by day",
    "hashes": "Hashes, by day",
    "heard": "Seconds in which the meter was heard, by day",
    "faults": "Mining that faults took, by day",
}


class StandingAsk(NamedTuple):
    """What stands, the last changes to it, newest first, and between what a floor price may be, USD/MWh."""

    now: Partner
    changes: Sequence[PartnerAsk]
    least_usd: int
    most_usd: int


def statement_page(made: PartnerStatement, months: Sequence[str], sites: Iterable[Site], asked: StandingAsk) -> str:
    """`months`: those that can be looked at."""
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
        f"{_asks(asked)}<h2>Sites</h2><div class=wide><table><tr><th>site<th>id<th>region"
        f"<th class=n>interconnect<th>mode</tr>{rows}</table></div>{''.join(_lines(made, what) for what in _TITLES)}"
        f'<p><a href="/api/partner/statement?month={made.month}">The same for machines</a></p>',
    )


def _asks(asked: StandingAsk) -> str:
    """The form, and who has asked what since when."""
    floor, hours = asked.now.floor_usd_per_mwh, asked.now.hours
    value = "" if floor is None else f"{floor:g}"

    def choice(hour: int, chosen: bool) -> str:
        return f'<option value="{hour:02}"{" selected" if chosen else ""}>{hour:02}:00</option>'

    first = "".join(choice(hour, hours is not None and hours[0] == hour) for hour in range(24))
    last = "".join(choice(hour, hours[1] == hour if hours else hour == 24) for hour in range(25))
    rows = "".join(
        f"<tr><td>{one.known_at:%Y-%m-%d %H:%M}</td><td>{escape(one.by)}</td><td class=n>"
        f"{'none' if one.floor_usd_per_mwh is None else f'{one.floor_usd_per_mwh:g}'}</td>"
        f"<td>{escape(one.hours) or 'all day'}</td></tr>"
        for one in asked.changes
    )
    table = (
        f"<details><summary>Last changes</summary><div class=wide><table><tr><th>since, UTC<th>by"
        f"<th class=n>floor, USD/MWh<th>hours, UTC</tr>{rows}</table></div></details>"
    )
    return (
        "<h2>What you ask</h2><p class=soft>The least that a megawatt-hour at your sites has to earn, and the hours in "
        "which the platform may run them. It holds from the next interval on.</p><form name=asks>"
        f"<label>Floor, USD/MWh<input name=floor type=number min={asked.least_usd} max={asked.most_usd} step=any "
        f'value="{value}" placeholder=none></label>'
        f'<label>Open from, UTC<select name=from><option value="">all day</option>{first}</select></label>'
        f"<label>to, UTC<select name=to>{last}</select></label><button>Set</button><output role=status></output></form>"
        f"{table if asked.changes else ''}<script>{_SCRIPT}</script>"
    )


def records_page(title: str, back: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """What is behind one line."""
    names = list(rows[0]) if rows else []
    head = "".join(f"<th>{escape(name)}" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(row[name]))}</td>" for name in names) + "</tr>" for row in rows)
    table = f"<div class=wide><table><tr>{head}</tr>{body}</table></div>" if rows else "<p>No records.</p>"
    return _page(title, f'<h1>{escape(title)}</h1><p><a href="{escape(back)}">The statement</a></p>{table}')


def _sums(made: PartnerStatement) -> str:
    share = made.availability
    heard = "not known yet: no meter of these sites told" if share is None else f"{share * 100:.2f} % of the time heard"
    pairs = (
        ("Energy", f"{Decimal(made.total('energy')) / 10**6:,.6f} MWh"),
        ("Hashes", f"{made.total('hashes'):,}"),
        ("Mining", f"{made.part('mining'):,} sats, {_share(made.mining_share)} of {made.total('mining'):,}"),
        ("Tokens", f"{made.tokens:,}"),
        ("Inference", f"{_usd(made.part('inference'))} USD, {_share(made.inference_share)} of "
                      f"{_usd(int(made.total('inference')))}"),
        ("Availability", f"{heard}; faults took {made.total('faults'):,} Wh of mining"),
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

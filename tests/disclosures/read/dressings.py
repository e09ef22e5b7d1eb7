"""What stands in and around a table and changes none of its figures, and shapes met less often.

A dressing is a function from a table to a table; a shape, from a table to text. See `geometry`.
"""

from __future__ import annotations

import calendar
import json
from collections.abc import Callable
from dataclasses import replace
from html import escape

from tests.disclosures.read.geometry import Row, Shape, Table

Dressing = Callable[[Table], Table]
_MONTHS = [calendar.month_name[m] for m in range(1, 13)]


def _month(heading: str) -> tuple[int, int]:
    name, year = heading.split(" ")
    return next(k for k, full in enumerate(_MONTHS, 1) if full.startswith(name)), int(year)


def _headed(style: Callable[[int, int], str]) -> Dressing:
    return lambda t: replace(t, months=tuple(style(*_month(h)) for h in t.months))


def _cells(change: Callable[[int, tuple[str, str, str]], tuple[str, str, str]]) -> Dressing:
    def dressed(t: Table) -> Table:
        rows = [
            replace(r, cells=tuple(change(7 * n + k, c) for k, c in enumerate(r.cells))) for n, r in enumerate(t.rows)
        ]
        return replace(t, rows=tuple(rows))

    return dressed


def _labels(change: Callable[[int, str], str]) -> Dressing:
    return lambda t: replace(t, rows=tuple(replace(r, label=change(n, r.label)) for n, r in enumerate(t.rows)))


def _reversed(t: Table) -> Table:
    rows = tuple(replace(r, cells=r.cells[::-1]) for r in t.rows)
    return replace(t, months=t.months[::-1], rows=rows)


def _quarter(t: Table) -> Table:
    """A last column of the quarter."""
    name = ("First", "Second", "Third", "Fourth")[(_month(t.months[0])[0] - 1) // 3]
    rows = tuple(replace(r, cells=(*r.cells, ("", f"{4000 + 37 * n:,}", ""))) for n, r in enumerate(t.rows))
    return replace(t, months=(*t.months, f"{name} Qtr. {_month(t.months[0])[1]}"), rows=rows)


def _year_to_date(t: Table) -> Table:
    rows = tuple(replace(r, cells=(*r.cells, ("", f"{5000 + 41 * n:,}", ""))) for n, r in enumerate(t.rows))
    return replace(t, months=(*t.months, f"YTD {_month(t.months[0])[1]}"), rows=rows)


def _sections(t: Table) -> Table:
    """Rows of another business below the miner's own."""
    n = len(t.months)
    others = (
        Row("", "AI Cloud revenue", tuple(("$", f"{2 + k}.4", " million") for k in range(n))),
        Row("", "Number of GPUs", tuple(("", f"1,{81 + k}6", "") for k in range(n))),
        Row("", "Network difficulty (T)", tuple(("", f"1{21 + k}.5", "") for k in range(n))),
        Row("", "Ethereum held", tuple(("", f"30,1{61 + k}", "") for k in range(n))),
    )
    return replace(t, rows=(*t.rows, *others))


def _gaps(t: Table) -> Table:
    """The oldest month prints nothing in every second row."""
    rows = tuple(
        replace(r, cells=(*r.cells[:-1], ("", ("N/A", "NM", "n/a")[n % 3], ""))) if n % 2 and len(r.cells) > 1 else r
        for n, r in enumerate(t.rows)
    )
    return replace(t, rows=rows)


DRESSINGS: dict[str, Dressing] = {
    "short_months": _headed(lambda m, y: f"{_MONTHS[m - 1][:3]}-{y % 100}"),
    "short_months_spaced": _headed(lambda m, y: f"{_MONTHS[m - 1][:3]} {y % 100}"),
    "short_months_apostrophe": _headed(lambda m, y: f"{_MONTHS[m - 1][:3]} '{y % 100}"),
    "month_ends": _headed(lambda m, y: f"{_MONTHS[m - 1]} {calendar.monthrange(y, m)[1]}, {y}"),
    "iso_months": _headed(lambda m, y: f"{y}-{m:02d}"),
    "marked_months": _headed(lambda m, y: f"{_MONTHS[m - 1]} {y} 1"),
    "capital_months": _headed(lambda m, y: f"{_MONTHS[m - 1].upper()} {y}"),
    "slashed_months": _headed(lambda m, y: f"{m:02d}/{y}"),
    "month_ended": _headed(lambda m, y: f"Month ended {_MONTHS[m - 1]} {calendar.monthrange(y, m)[1]}, {y}"),
    "oldest_first": _reversed,
    "quarter_column": _quarter,
    "year_column": _year_to_date,
    "other_rows": _sections,
    "gaps": _gaps,
    "colons": _labels(lambda n, label: f"{label}:"),
    "numbered": _labels(lambda n, label: f"{n + 1}. {label}"),
    "dotted": _labels(lambda n, label: f"{label} ........"),
    "capitals": _labels(lambda n, label: label.upper()),
    "approximate": _cells(lambda n, c: ("~" + c[0], c[1], c[2])),
    "marks_behind": _cells(lambda n, c: (c[0], c[1], c[2] + "*")),
    "notes_in_brackets": _cells(lambda n, c: (c[0], c[1], f"{c[2]} ({n % 6 + 1})")),
    "dollars_apart": _cells(lambda n, c: ("$ " if c[0] == "$" else c[0], c[1], c[2])),
    "units_joined": _cells(lambda n, c: (c[0], c[1], c[2].replace(" ", ""))),
}
HIDES = ("gaps",)
"""Dressings that leave cells out."""


def _in_prose(t: Table) -> str:
    """A release around the table: a dateline, a quotation with figures, notes below."""
    body = "\n".join(" | ".join(line) for line in t.grid())
    return (
        f"{t.title}\n\nDENVER -- Heron Compute, a miner of bitcoin, today announced its unaudited updates.\n\n"
        "“We expect to reach 60 EH/s by the end of 2027 and ordered 12,000 machines,” said Ada Lind, CEO.\n\n"
        f"{body}\n\n1. Unaudited, estimated.\n2. As of month-end.\n3. Includes machines that were off line.\n\n"
        "About Heron Compute\nHeron runs sites with 900 MW of power and has 240 employees.\n"
    )


def _two_tables(t: Table) -> str:
    """The months' table, then one of the balance sheet."""
    body = "\n".join("\t".join(line) for line in t.grid())
    return (
        f"{t.title}\n{body}\n\nCondensed balance sheet ($ in thousands)\n\tJune 30, 2021\tMarch 31, 2021\n"
        "Cash\t$81,204\t$77,310\nTotal assets\t$912,400\t$880,155\nTotal debt\t$204,900\t$199,870\n"
    )


def _records(t: Table) -> str:
    head, *body = t.grid()
    return json.dumps({"title": t.title, "table": [dict(zip(head, line, strict=True)) for line in body]}, indent=1)


def _html_columns_of_breaks(t: Table) -> str:
    """One row of the table holds all: each cell a column, its lines parted by breaks."""
    cells = "".join(f"<td>{'<br>'.join(map(escape, column))}</td>" for column in zip(*t.grid(), strict=True))
    return f"<html><body><h1>{escape(t.title)}</h1><table><tr>{cells}</tr></table></body></html>"


def _html_label_spans(t: Table) -> str:
    """A label over the whole width, its values in the row below."""
    rows = ["<tr>" + "".join(f"<th>{escape(h)}</th>" for h in t.headings()) + "</tr>"]
    for line in t.lines():
        rows.append(f'<tr><td colspan="{len(line) - 1}">{escape(line[0])}</td></tr>')
        rows.append("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in line[1:]) + "</tr>")
    return f"<html><body><h1>{escape(t.title)}</h1><table>{''.join(rows)}</table></body></html>"


def _html_spans(t: Table) -> str:
    """No table at all: spans in paragraphs, as page builders write."""
    rows = ["<p>" + " ".join(f"<span>{escape(c)}</span>" for c in line) + "</p>" for line in t.grid()]
    return f"<html><body><h2>{escape(t.title)}</h2>{''.join(rows)}</body></html>"


def _html_ids(t: Table) -> str:
    """Empty columns between and empty rows among the others."""
    rows = []
    for line in t.grid():
        cells = "".join(f'<td class="v">{escape(c)}</td><td></td>' for c in line)
        rows.append(f"<tr>{cells}</tr><tr><td></td></tr>")
    return (
        f"<html><body><div><h1>{escape(t.title)}</h1><table><tbody>{''.join(rows)}</tbody></table></div></body></html>"
    )


def _wiki(t: Table) -> str:
    head, *body = t.grid()
    rows = "\n".join("|-\n| " + " || ".join(line) for line in body)
    return f'{t.title}\n{{| class="wikitable"\n! {" !! ".join(head)}\n{rows}\n|}}'


def _simple_rst(t: Table) -> str:
    grid = t.grid()
    widths = [max(len(line[k]) for line in grid) for k in range(len(grid[0]))]
    rule = "  ".join("=" * w for w in widths)
    rows = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in grid]
    return "\n".join([t.title, "", rule, rows[0], rule, *rows[1:], rule])


def _quoted_mail(t: Table) -> str:
    return "\n".join(f"> {line}" for line in [t.title, *("  ".join(row) for row in t.grid())])


def _dashes_between(t: Table) -> str:
    head, *body = t.grid()
    return "\n".join([t.title, " / ".join(head[1:]), *(f"{line[0]} – {' / '.join(line[1:])}" for line in body)])


def _wrapped_rows(t: Table) -> str:
    """Each label on a line, its values on the next, side by side."""
    rows = [x for line in t.lines() for x in (line[0], "  ".join(line[1:]))]
    return "\n".join([t.title, "  ".join(t.headings()), *rows])


def _value_rows_first(t: Table) -> str:
    """The values in front of their label."""
    return "\n".join([t.title, " | ".join([*t.headings(), t.corner]), *(" | ".join([*r[1:], r[0]]) for r in t.lines())])


def _month_blocks_tabbed(t: Table) -> str:
    out = [t.title]
    for k, month in enumerate(t.months):
        out += ["", month, *(f"{row.label}\t{row.texts()[k]}" for row in t.rows)]
    return "\n".join(out)


def _month_blocks_html(t: Table) -> str:
    out = ""
    for k, month in enumerate(t.months):
        rows = "".join(f"<tr><td>{escape(r.label)}</td><td>{escape(r.texts()[k])}</td></tr>" for r in t.rows)
        out += f"<h3>{escape(month)}</h3><table>{rows}</table>"
    return f"<html><body><h1>{escape(t.title)}</h1>{out}</body></html>"


_NO_SHAPES = (
    "_month", "_headed", "_cells", "_labels", "_reversed", "_quarter", "_year_to_date", "_sections", "_gaps",
)  # fmt: skip
MORE_SHAPES: dict[str, Shape] = {
    name.lstrip("_"): shape
    for name, shape in globals().copy().items()
    if name.startswith("_") and callable(shape) and not name.startswith("__")
    and name not in _NO_SHAPES
}  # fmt: skip

"""One table in every shape in which tables are printed, pasted and flattened.

A `Table` is months, rows and values; a shape is a function from it to text. Whatever the shape, the reader may
read fewer of the table's figures, but never a different one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from html import escape
from itertools import zip_longest


@dataclass(frozen=True)
class Row:
    """A field under the name that a release gives it; a cell is printed as (lead, number, unit)."""

    field: str
    label: str
    cells: tuple[tuple[str, str, str], ...]

    def texts(self) -> list[str]:
        return [f"{lead}{number}{unit}" for lead, number, unit in self.cells]


@dataclass(frozen=True)
class Table:
    title: str
    months: tuple[str, ...]
    rows: tuple[Row, ...]
    corner: str = "Metric"
    changes: tuple[tuple[str, int], ...] = ()
    """Columns of changes: their heading, and before which month's column they stand."""

    def headings(self) -> list[str]:
        return [cell for cell, _ in self._woven(list(self.months), [h for h, _ in self.changes])]

    def lines(self) -> list[list[str]]:
        """Every row as label and cells, changes woven in."""
        out = []
        for n, row in enumerate(self.rows):
            moved = [f"{'-' if (n + k) % 3 == 0 else ''}{3 + 7 * (n + k) % 40}%" for k in range(len(self.changes))]
            out.append([row.label, *(cell for cell, _ in self._woven(row.texts(), moved))])
        return out

    def _woven(self, own: list[str], changes: list[str]) -> list[tuple[str, bool]]:
        out: list[tuple[str, bool]] = []
        for i in range(len(own) + 1):
            out.extend((text, False) for text, (_, at) in zip(changes, self.changes, strict=True) if at == i)
            if i < len(own):
                out.append((own[i], True))
        return out

    def grid(self) -> list[list[str]]:
        return [[self.corner, *self.headings()], *self.lines()]


Shape = Callable[[Table], str]


def _bars(t: Table) -> str:
    return "\n".join([t.title, *(" | ".join(line) for line in t.grid())])


def _markdown(t: Table) -> str:
    head, *body = t.grid()
    rule = "|" + "|".join(["---"] + [":--:"] * (len(head) - 1)) + "|"
    rows = ["| " + " | ".join(line) + " |" for line in (head, *body)]
    return "\n".join([f"# {t.title}", "", rows[0], rule, *rows[1:], ""])


def _markdown_bold(t: Table) -> str:
    head, *body = t.grid()
    rows = [f"| {line[0]} | " + " | ".join(f"**{c}**" for c in line[1:]) + " |" for line in body]
    rule = "|" + "|".join([" --- "] * len(head)) + "|"
    return "\n".join([t.title, "", "| " + " | ".join(f"**{c}**" for c in head) + " |", rule, *rows])


def _cell_a_line(t: Table) -> str:
    return "\n".join([t.title, *(cell for line in t.grid() for cell in line)])


def _cell_a_line_spaced(t: Table) -> str:
    return "\n\n".join([t.title, *(cell for line in t.grid() for cell in line)])


def _barred_cell_a_line(t: Table) -> str:
    return t.title + "\n|\n" + "\n|\n|\n".join("\n|\n".join(line) for line in t.grid()) + "\n|"


def _bar_behind_cells(t: Table) -> str:
    return t.title + "\n" + "\n".join(f"{cell} |" for line in t.grid() for cell in line)


def _tabs(t: Table) -> str:
    return "\n".join([t.title, *("\t".join(line) for line in t.grid())])


def _aligned(t: Table) -> str:
    grid = t.grid()
    widths = [max(len(line[k]) for line in grid) for k in range(len(grid[0]))]
    rows = ["   ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in grid]
    return "\n".join([t.title, "", *rows])


def _single_spaces(t: Table) -> str:
    return "\n".join([t.title, *(" ".join(line) for line in t.grid())])


def _boxed(t: Table) -> str:
    grid = t.grid()
    widths = [max(len(line[k]) for line in grid) for k in range(len(grid[0]))]
    rows = ["│ " + " │ ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " │" for line in grid]
    edge = ["┌┬┐", "├┼┤", "└┴┘"]
    top, mid, low = (e[0] + e[1].join("─" * (w + 2) for w in widths) + e[2] for e in edge)
    return "\n".join([t.title, top, rows[0], mid, *rows[1:], low])


def _ascii_grid(t: Table) -> str:
    grid = t.grid()
    widths = [max(len(line[k]) for line in grid) for k in range(len(grid[0]))]
    rule = "+" + "+".join("-" * (w + 2) for w in widths) + "+"
    rows = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in grid]
    return "\n".join([t.title, rule, rows[0], rule.replace("-", "="), *(x for r in rows[1:] for x in (r, rule))])


def _csv(t: Table) -> str:
    def quoted(cell: str) -> str:
        return f'"{cell}"' if "," in cell else cell

    return "\n".join([t.title, *(",".join(map(quoted, line)) for line in t.grid())])


def _semicolons(t: Table) -> str:
    return "\n".join([t.title, *(";".join(line) for line in t.grid())])


def _page(t: Table, body: str) -> str:
    return f"<html><head><title>{escape(t.title)}</title></head><body><h1>{escape(t.title)}</h1>{body}</body></html>"


def _html(t: Table) -> str:
    head, *body = t.grid()
    rows = ["<tr>" + "".join(f"<th>{escape(c)}</th>" for c in head) + "</tr>"]
    rows += ["<tr>" + "".join(f"<td>{escape(c)}</td>" for c in line) + "</tr>" for line in body]
    return _page(t, "<table>" + "\n".join(rows) + "</table>")


def _html_filing(t: Table) -> str:
    """Spacer cells, the currency and the unit in cells of their own, headings that span them."""
    head = "".join(f'<td colspan="3"><p><b>{escape(c)}</b></p></td><td>&nbsp;</td>' for c in t.headings())
    rows = [f"<tr><td>{escape(t.corner)}</td><td>&nbsp;</td>{head}</tr>"]
    for row, line in zip(t.rows, t.lines(), strict=True):
        parts = dict(zip(row.texts(), row.cells, strict=True))
        cells = ""
        for text in line[1:]:
            lead, number, unit = parts.get(text, ("", text, ""))
            cells += f"<td>{escape(lead)}</td><td>{escape(number)}</td><td>{escape(unit)}</td><td>&nbsp;</td>"
        rows.append(f"<tr><td><font>{escape(row.label)}</font></td><td>&nbsp;</td>{cells}</tr>")
    return _page(t, '<table border="0">' + "".join(rows) + "</table>")


def _html_nested(t: Table) -> str:
    """Each cell holds a table of one cell, and all stand in a table that only lays the page out."""
    rows = [
        "<tr>" + "".join(f"<td><table><tr><td>{escape(c)}</td></tr></table></td>" for c in line) + "</tr>"
        for line in t.grid()
    ]
    return _page(t, f"<table><tr><td><table>{''.join(rows)}</table></td></tr></table>")


def _html_merged(t: Table) -> str:
    """A heading that spans the table, a section's row that spans it, and a corner of two rows' height."""
    head, *body = t.grid()
    span = len(head)
    rows = [f'<tr><th rowspan="2">{head[0]}</th><th colspan="{span - 1}">Month</th></tr>']
    rows += ["<tr>" + "".join(f"<th>{escape(c)}</th>" for c in head[1:]) + "</tr>"]
    rows += [f'<tr><td colspan="{span}"><b>Operations</b></td></tr>']
    rows += ["<tr>" + "".join(f"<td>{escape(c)}</td>" for c in line) + "</tr>" for line in body]
    return _page(t, f"<table>{''.join(rows)}</table>")


def _html_superscripts(t: Table) -> str:
    head, *body = t.grid()
    rows = ["<tr>" + "".join(f"<th>{escape(c)}<sup>1</sup></th>" for c in head) + "</tr>"]
    for n, line in enumerate(body):
        cells = "".join(f"<td>{escape(c)}</td>" for c in line[1:])
        rows.append(f"<tr><td>{escape(line[0])}<sup>{n % 8 + 1}</sup></td>{cells}</tr>")
    return _page(t, f"<table>{''.join(rows)}</table><p><sup>1</sup> Unaudited.</p>")


def _html_divs(t: Table) -> str:
    rows = [
        "<div class='r'>" + "".join(f"<div class='c'>{escape(c)}</div>" for c in line) + "</div>" for line in t.grid()
    ]
    return _page(t, "<div class='t'>" + "\n".join(rows) + "</div>")


def _html_breaks(t: Table) -> str:
    """Labels and headings broken over lines within their cells."""
    head, *body = t.grid()
    rows = ["<tr>" + "".join(f"<td>{escape(c).replace(' ', '<br>', 1)}</td>" for c in head) + "</tr>"]
    for line in body:
        cells = "".join(f"<td>{escape(c)}</td>" for c in line[1:])
        rows.append(f"<tr><td>{escape(line[0]).replace(' ', '<br>', 1)}</td>{cells}</tr>")
    return _page(t, f"<table>{''.join(rows)}</table>")


def _turned(t: Table) -> list[list[str]]:
    cells = zip(*(row.texts() for row in t.rows), strict=True)
    return [
        ["Month", *(r.label for r in t.rows)],
        *([m, *column] for m, column in zip(t.months, cells, strict=True)),
    ]


def _turned_bars(t: Table) -> str:
    return "\n".join([t.title, *(" | ".join(line) for line in _turned(t))])


def _turned_markdown(t: Table) -> str:
    head, *body = _turned(t)
    rule = "|" + "---|" * len(head)
    rows = ["| " + " | ".join(line) + " |" for line in (head, *body)]
    return "\n".join([t.title, "", rows[0], rule, *rows[1:]])


def _turned_tabs(t: Table) -> str:
    return "\n".join([t.title, *("\t".join(line) for line in _turned(t))])


def _turned_html(t: Table) -> str:
    rows = ["<tr>" + "".join(f"<td>{escape(c)}</td>" for c in line) + "</tr>" for line in _turned(t)]
    return _page(t, f"<table>{''.join(rows)}</table>")


def _turned_cell_a_line(t: Table) -> str:
    return "\n".join([t.title, *(cell for line in _turned(t) for cell in line)])


def _labels_then_values(t: Table) -> str:
    """A pasted column of labels, and each month's column of values after it."""
    columns = list(zip(*t.grid(), strict=True))
    return "\n".join([t.title, *(cell for column in columns for cell in column)])


def _pairs_by_month(t: Table) -> str:
    out = [t.title]
    for k, month in enumerate(t.months):
        out += ["", month, *(f"{row.label}: {row.texts()[k]}" for row in t.rows)]
    return "\n".join(out)


def _bullets_by_month(t: Table) -> str:
    out = [t.title]
    for k, month in enumerate(t.months):
        out += ["", f"{month}:", *(f"• {row.label}: {row.texts()[k]}" for row in t.rows)]
    return "\n".join(out)


def _bullets_with_prior(t: Table) -> str:
    out = [t.title, ""]
    for row in t.rows:
        first, *rest = row.texts()
        prior = f" ({t.months[1]}: {rest[0]})" if rest else ""
        out.append(f"- {row.label}: {first}{prior}")
    return "\n".join(out)


def _bullets_versus(t: Table) -> str:
    out = [t.title, ""]
    for row in t.rows:
        first, *rest = row.texts()
        out.append(f"* {row.label}: {first}" + (f" vs. {rest[0]} in {t.months[1]}" if rest else ""))
    return "\n".join(out)


def _first_month(t: Table) -> Table:
    rows = tuple(replace(r, cells=r.cells[:1]) for r in t.rows)
    return replace(t, months=t.months[:1], rows=rows, changes=())


def _cards_below(t: Table) -> str:
    return "\n".join([t.title, *(x for r in _first_month(t).rows for x in (r.label, r.texts()[0]))])


def _cards_above(t: Table) -> str:
    return "\n".join([t.title, *(x for r in _first_month(t).rows for x in (r.texts()[0], r.label))])


def _definitions(t: Table) -> str:
    body = "".join(f"<dt>{escape(r.label)}</dt><dd>{escape(r.texts()[0])}</dd>" for r in _first_month(t).rows)
    return _page(t, f"<dl>{body}</dl>")


def _list_items(t: Table) -> str:
    body = "".join(f"<li><strong>{escape(r.label)}:</strong> {escape(r.texts()[0])}</li>" for r in _first_month(t).rows)
    return _page(t, f"<ul>{body}</ul>")


def _headings_twice(t: Table) -> str:
    """The table goes on on the next page, under its headings again."""
    head, *body = [" | ".join(line) for line in t.grid()]
    half = max(1, len(body) // 2)
    return "\n".join([t.title, head, *body[:half], "", "Table of Contents", "", head, *body[half:]])


def _two_line_heading(t: Table) -> str:
    """The month on one line of the heading, its year on the next."""
    names = [h.split(" ") for h in t.headings()]
    first = "  ".join(n[0] for n in names)
    second = "  ".join(" ".join(n[1:]) for n in names if len(n) > 1)
    rows = ["  ".join(line) for line in t.lines()]
    return "\n".join([t.title, first, second, *rows])


def _ragged(t: Table) -> str:
    """A heading with fewer or more bars than the rows, as copies of web pages have."""
    head, *body = t.grid()
    return "\n".join([t.title, "|".join(head) + "||", *("|" + "| ".join(line) + "|||" for line in body)])


def _side_by_side(t: Table) -> str:
    """Two rows of the table on one line, under headings printed twice."""
    head, *body = t.grid()
    pairs = zip_longest(body[::2], body[1::2], fillvalue=[""] * len(head))
    return "\n".join([t.title, "\t".join(head + head), *("\t".join(a + b) for a, b in pairs)])


SHAPES: dict[str, Shape] = {
    name.lstrip("_"): shape
    for name, shape in globals().copy().items()
    if name.startswith("_") and callable(shape) and name not in ("_page", "_turned", "_first_month")
    and not name.startswith("__")
}  # fmt: skip
ONE_MONTH = ("cards_below", "cards_above", "definitions", "list_items")
TWO_MONTHS = ("bullets_with_prior", "bullets_versus")


def footnoted(t: Table, style: str) -> Table:
    """Labels with the mark of a note behind them: `digit` glued, `spaced`, `bracket`, `star`."""

    def mark(n: int, label: str) -> str:
        return {
            "digit": f"{label}{n % 9 + 1}",
            "spaced": f"{label} {n % 9 + 1}",
            "bracket": f"{label} ({n % 9 + 1})",
            "star": f"{label}*",
        }[style]

    return replace(t, rows=tuple(replace(r, label=mark(n, r.label)) for n, r in enumerate(t.rows)))


def unit_in_label(t: Table) -> Table:
    """`Deployed hashrate (EH/s)` over bare numbers."""
    names = {"EH/s": "(EH/s)", "J/TH": "(J/TH)", "BTC": "(BTC)", "million": "($ millions)", "/kWh": "($/kWh)"}
    rows = []
    for r in t.rows:
        unit = r.cells[0][2].strip()
        if unit not in names or any(c[2].strip() != unit for c in r.cells):
            rows.append(r)
        else:
            rows.append(replace(r, label=f"{r.label} {names[unit]}", cells=tuple(("", c[1], "") for c in r.cells)))
    return replace(t, rows=tuple(rows))


def with_changes(t: Table, where: str) -> Table:
    """Columns of changes `last`, or `between` the months."""
    if where == "last":
        return replace(t, changes=(("Month/Month", len(t.months)),))
    return replace(t, changes=(("% Change", 1),))

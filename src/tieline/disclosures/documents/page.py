"""A page of HTML as text: a block to a line, and each table of figures as a grid with a row to a line.

Knows nothing of figures beyond how one looks in a cell. A heading over several columns stands over each of them, heads
of several rows become one, and a currency's sign or a bracket in a cell of its own joins its number, so that every
value keeps its place under its heading.
"""

from __future__ import annotations

import html
import re
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode

from tieline.disclosures.lexicon.words import phrases, words_of

MAX_COLUMNS = 60
"""Of a table of figures with its spacers; a filing's widest have some 40."""
MAX_PIECES = 200_000
"""Pieces of text and breaks read of a page; a filing of 6 MB has some 60,000."""
MAX_HEAD = 4
"""Rows of a head."""
_BLOCKS = words_of("""
p div li ul ol h1 h2 h3 h4 h5 h6 section article header blockquote pre table tr td th thead tbody tfoot dl dt dd main
figure figcaption address""")
_DROPPED = [*words_of("script style noscript template svg iframe nav footer form button select aside s del strike")]
"""What a reader of the page does not see, and what is struck out."""
_HIDDEN = 'body [hidden], body [style*="display:none"], body [style*="display: none"]'
_ROW = 1200
"""Characters of a row of figures; a table with longer ones lays the page out."""
_YEAR, _FIGURE = phrases("year_cell"), phrases("figure_cell")
_OPENS, _CLOSES = phrases("opens_figure"), phrases("closes_figure")


def read_page(source: str) -> tuple[str | None, str]:
    """Title and text."""
    tree = LexborHTMLParser(source)
    heading = tree.css_first("h1") or tree.css_first("title")
    title = " ".join(heading.text().split()) if heading is not None else None
    tree.strip_tags(_DROPPED)
    for hidden in tree.css(_HIDDEN):
        hidden.decompose()
    root = tree.body or tree.root
    if root is None:
        return title, html.unescape(source)
    text = re.sub(r" *\n *", "\n", re.sub(r"[^\S\n]+", " ", _text(root, "\n")))
    if title and title not in text[:2000]:
        text = title + "\n" + text
    return title or None, text


def _text(root: LexborNode, break_: str) -> str:
    """The text under a node, `break_` between blocks. A stack of its own: pages nest deeper than Python's."""
    out: list[str] = []
    stack: list[tuple[LexborNode, bool]] = [(root, False)]
    while stack and len(out) < MAX_PIECES:
        node, leaving = stack.pop()
        tag = node.tag or ""
        if tag in _BLOCKS:
            out.append(break_)
        if not leaving:
            stack.append((node, True))
            if (piece := _piece(node, tag, break_, out[-1:] == ["\n"])) is not None:
                out.append(piece)
            else:
                stack.extend((child, False) for child in reversed(list(node.iter(include_text=True))))
    return "".join(out)


def _piece(node: LexborNode, tag: str, break_: str, begins: bool) -> str | None:
    """The text of a node that is taken whole: words, a line break, a footnote's mark, a table of figures.

    `begins`: nothing stands before it on its line.
    """
    if tag == "-text":
        return re.sub(r"\s+", " ", node.text_content or "")
    if tag == "table" and (rows := _rows(node)) is not None:
        caption = node.css_first("caption")
        return "\n".join([_text(caption, " ") if caption is not None else "", *_lines(rows)])
    if tag == "sup" and re.fullmatch(r"[\s()\[\]\d,*]{1,8}", printed := node.text() or ""):
        own = re.search(r"\d", printed) if begins else None  # a note's own number stands before it
        return f"({own[0]}) " if own else " *" if "*" in printed else " "
    return break_ if tag == "br" else None


class _Cell(NamedTuple):
    """A cell of a table and the columns that it stands in, from `begin` to before `end`."""

    text: str
    begin: int
    end: int
    own: bool = True
    """It begins in this row, and does not hang down from one above."""
    tall: bool = False
    """It stands beside several rows, as the name of a group does."""


def _rows(table: LexborNode) -> list[list[_Cell]] | None:
    """The rows of a table of figures; None of one that lays a page out."""
    rows: list[list[_Cell]] = []
    hanging: dict[int, tuple[_Cell, int]] = {}
    if len(table.css("table")) > 1:
        return None
    for tr in table.css("tr"):
        row: list[_Cell] = []
        for node in [*tr.iter(), None]:
            at = row[-1].end if row else 0
            while at in hanging:
                cell, more = hanging.pop(at)
                row.append(cell)
                at = cell.end
                if more > 1:
                    hanging[cell.begin] = (cell, more - 1)
            if node is not None:
                wide, high = _span(node, "colspan"), _span(node, "rowspan")
                row.append(_Cell(_printed(node), at, at + wide, tall=high > 1))
                if high > 1:
                    hanging[at] = (row[-1]._replace(own=False), high - 1)
        if sum(len(cell.text) for cell in row) > _ROW or (row and row[-1].end > MAX_COLUMNS):
            return None
        rows.append([_Cell(c.text.replace("|", "/"), *c[1:]) for c in row])
    return rows


def _printed(cell: LexborNode) -> str:
    """The text of a cell; marks of notes stay beside words, of which a note may tell more: `Bitcoin Held (2)`."""
    text = " ".join(_text(cell, " ").split())
    marks = [] if not text or re.search(r"\d", text) else [mark.text().strip(" ()") for mark in cell.css("sup")]
    return " ".join([text, *(f"({mark})" for mark in marks if re.fullmatch(r"\d", mark))])


def _span(cell: LexborNode, name: str) -> int:
    printed = cell.attributes.get(name) or "1"
    return min(int(printed), MAX_COLUMNS + 1) if re.fullmatch("[1-9][0-9]{0,3}", printed) else 1


def _lines(rows: list[list[_Cell]]) -> list[str]:
    """The rows as lines with bars, each value under its heading."""
    width = max((row[-1].end for row in rows if row), default=0)
    heads = _head_rows(rows, width)
    body = [_joined(row) for row in rows]
    if not heads:
        return [_line([cell.text for cell in row]) for row in body]
    columns = _columns(heads, body, width)
    heading = _line([_head(heads, begin) for begin, _ in columns])
    lines: list[str] = []
    for row, cells in zip(rows, body, strict=True):
        if row is heads[-1]:
            lines.append(heading)
        elif row not in heads:
            if cells and cells[0].tall:  # the name of a group stands over its rows
                lines.append(cells[0].text)
                cells = [cells[0]._replace(text=""), *cells[1:]]
            lines.append(_under(columns, cells))
    return lines


def _head_rows(rows: list[list[_Cell]], width: int) -> list[list[_Cell]]:
    """The rows over the figures that head columns, without lines that stand over the whole table; none if too many."""
    first = next((i for i, row in enumerate(rows) if any(map(_is_figure, row[1:]))), 0)
    heads = []
    for row in rows[:first]:
        over = [cell for cell in row if cell.text and cell.end - cell.begin < width]
        if len(over) > 1 or (len(over) == 1 and not row[0].text):
            heads.append(row)
    return heads if len(heads) <= MAX_HEAD else []


def _is_figure(cell: _Cell) -> bool:
    return _FIGURE.fullmatch(cell.text) is not None and not _YEAR.fullmatch(cell.text)


def _joined(row: list[_Cell]) -> list[_Cell]:
    """The cells of a row, with a currency's sign or a bracket joined to the number that it stands beside."""
    out: list[_Cell] = []
    opened = ""
    for cell in row:
        text = cell.text if cell.own else ""
        if _OPENS.fullmatch(text):
            opened, text = text, ""
        elif text:
            before = next((i for i in reversed(range(len(out))) if out[i].text), 0)
            if before and _CLOSES.fullmatch(text) and _is_figure(out[before]):
                out[before] = out[before]._replace(text=f"{out[before].text} {text}".replace(" )", ")"))
                text = ""
            text, opened = opened + text, ""
        out.append(cell._replace(text=text))
    return out


def _columns(heads: list[list[_Cell]], body: list[list[_Cell]], width: int) -> list[tuple[int, int]]:
    """Where each column begins and ends: under the lowest heading over it, or alone where none stands over it.

    Those that hold nothing only part the others.
    """
    lowest = [
        next((c.begin for row in reversed(heads) for c in row if c.text and c.begin <= at < c.end), -1 - at)
        for at in range(width)
    ]
    edges = [at for at in range(width) if not at or lowest[at] != lowest[at - 1]]
    filled = {at for row in body for cell in row if cell.text for at in range(cell.begin, cell.end)}
    return [column for column in zip(edges, [*edges[1:], width], strict=True) if filled.intersection(range(*column))]


def _under(columns: list[tuple[int, int]], cells: list[_Cell]) -> str:
    """A row, its cells under the columns in which they begin."""
    return _line([" ".join(c.text for c in cells if begin <= c.begin < end and c.text) for begin, end in columns])


def _head(heads: list[list[_Cell]], at: int) -> str:
    """What stands over a column, from the top down, a year last: `Month Ended`, `April 30,`, `2025`."""
    over = [c.text for row in heads for c in row if c.begin <= at < c.end and c.text]
    return " ".join(sorted(dict.fromkeys(over), key=lambda text: _YEAR.fullmatch(text) is not None))


def _line(cells: list[str]) -> str:
    """A row's cells between bars; what stands alone is a line of its own."""
    filled = [cell for cell in cells if cell]
    return " | ".join(cells) + " |" if len(filled) > 1 else "".join(filled)

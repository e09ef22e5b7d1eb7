"""Any file as one normalised text with its title: HTML, PDF, JSON that wraps HTML, a pasted table, plain text.

Knows nothing of figures. Table rows come out as one line with cells between bars; superscripts are set apart
by a space so that a footnote digit does not become part of a number. What cannot be read says why.
"""

from __future__ import annotations

import html
import io
import json
import logging
import re
import unicodedata
from dataclasses import dataclass, field

from selectolax.lexbor import LexborHTMLParser, LexborNode

from tieline.disclosures.documents.shapes import set_out
from tieline.disclosures.facts.fact import Kind

MAX_BYTES = 8 * 1024 * 1024
"""The largest 10-K exhibits that carry a production table are under 6 MB; a page above this is no release."""
MAX_TEXT = 200_000
"""Characters read. A monthly update has 5,000 to 40,000; the facts of longer filings stand in their notes."""
MAX_PDF_PAGES = 60

MAX_DEPTH = 2_000
"""Open elements inside one another. Pages built by hand or by tools stay under 100; parsers slow down with depth."""

_BLOCKS = {
    "p", "div", "li", "ul", "ol", "h1", "h2", "h3", "h4", "h5", "h6", "section", "article", "header", "blockquote",
    "pre", "table", "tr", "thead", "tbody", "tfoot", "dl", "dt", "dd", "main", "figure", "figcaption", "address",
}  # fmt: skip
_DROPPED = [
    "script",
    "style",
    "noscript",
    "template",
    "svg",
    "iframe",
    "nav",
    "footer",
    "form",
    "button",
    "select",
    "aside",
    "s",
    "del",
    "strike",
]  # what a reader of the page does not see, and what is struck out


@dataclass(slots=True)
class Document:
    """The text that every span points into."""

    text: str
    kind: Kind
    title: str | None = None
    refused: str | None = None
    notes: list[str] = field(default_factory=list)


def load(source: str | bytes, kind: Kind | None = None) -> Document:
    """Normalise a file. Never raises for what the file holds."""
    if len(source) > MAX_BYTES:
        most = MAX_BYTES // 2**20
        return Document("", kind or "text", refused=f"larger than {most} MiB: no release is; cut it to the release")
    if isinstance(source, bytes) and (kind == "pdf" or source[:1024].lstrip()[:5] == b"%PDF-"):
        return _from_pdf(source)
    text = source if isinstance(source, str) else _decode(source)
    guess = kind or _kind_of(text)
    if (why := _unreadable(text)) is not None:
        return Document("", guess, refused=why)
    title: str | None = None
    if guess in ("html", "json"):
        title, text = _from_page(text, guess)
    text = normalise(text)
    notes = [f"only the first {MAX_TEXT:,} characters were read"] if len(text) > MAX_TEXT else []
    text = text[:MAX_TEXT]
    if guess == "text" and max(text.count("|"), text.count("\t")) > 4:
        guess = "table"
    if not text.strip():
        return Document("", guess, title, "no text in the file", notes)
    return Document(text, guess, title or _first_line(text), None, notes)


def _from_page(text: str, kind: Kind) -> tuple[str | None, str]:
    """Title and text of HTML, also where JSON wraps it."""
    inner = _html_in_json(text) or text if kind == "json" else text
    return _from_html(inner) if kind == "html" or _looks_html(inner) else (None, inner)


def _unreadable(text: str) -> str | None:
    """Why a text is none; None where it can be read."""
    if text.lstrip()[:5] == "%PDF-":
        return "a PDF read as text: give its bytes"
    if _is_binary(text):
        return "not text: an image, an archive or another binary file"
    if _too_deep(text):
        return f"elements nested more than {MAX_DEPTH:,} deep: no page that a reader could open"
    return None


def normalise(text: str) -> str:
    """One spelling for spaces, dashes, quotes, wide digits and superscripts; tabs become bars."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = text.translate(_TABLE)
    if "\t" in text:
        text = text.replace("\t", " | ")
    if "В" in text or "Т" in text:
        text = re.sub(r"(?<!\w)[ВB][ТT][СC](?!\w)", "BTC", text)  # Cyrillic letters that look Latin
    text = re.sub(
        r"(?m)^\|[ \t]*(?=(?:[^|\s]+[ \t]+){7}[^|\n]*$)", "\n", text
    )  # a layout table's bar before a sentence
    text = _MARK_BEHIND.sub(lambda m: " " * len(m[0]), set_out(_BOLD.sub(r"\1", text)))
    text = re.sub(r"[^\S\n]{2,}", "  ", text)
    return re.sub(r"\n{3,}", "\n\n", text)


_BOLD = re.compile(r"(?<![\w*)%])\*\*(?=\S)([^*\n]{1,200}?)(?<=\S)\*\*(?![\w*])")
"""`**July 2025**`: bold type, not a footnote's stars."""
_MARK_BEHIND = re.compile(
    r"(?<=million)\d(?=[\s|]|$)"
    r"|(?<=[A-Za-z]{3})\d(?=:\s)"
    r"|(?<=[\w%])\(\d\)(?=[\s|]|$)"
    r"|(?m:(?<=EH/s) \d$|(?<=PH/s) \d$|(?<=million) \d$)"
    r"|(?m:(?<=^\d\d\d,\d\d\d) \d$|(?<=^\d\d,\d\d\d) \d$|(?<=^\d,\d\d\d) \d$)"
)
"""A footnote digit behind a value or a label: `$0.2 million5`, `Bitcoin sold3: 41`, `140(1)`, and at the end of a line
`11.7 EH/s 2`, `106,674 2`."""


def _build_table() -> dict[int, str | None]:
    table: dict[int, str | None] = {}
    for ch in "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u3000":
        table[ord(ch)] = " "
    for ch in "\u200b\u200c\u200d\ufeff\u00ad\u2060\u200e\u200f":
        table[ord(ch)] = None
    for ch in "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe63\uff0d":
        table[ord(ch)] = "-"
    for ch in "\u2018\u2019\u201b\u02bc":
        table[ord(ch)] = "'"
    for ch in "\u201c\u201d\u201f\u00ab\u00bb":
        table[ord(ch)] = '"'
    for ch in "\u2502\u2503\uff5c\u00a6":
        table[ord(ch)] = "|"
    for code in range(0xFF01, 0xFF5F):
        table.setdefault(code, chr(code - 0xFEE0))
    for ch in "\u00b9\u00b2\u00b3\u2070\u2074\u2075\u2076\u2077\u2078\u2079":
        table[ord(ch)] = " "  # a superscript digit is a footnote mark, never part of a figure
    for code in range(32):
        if chr(code) not in "\n\t":
            table[code] = " "
    table[ord("\u2026")] = "..."
    for ch in "•●▪◦‣·∙":
        table[ord(ch)] = "\n"
    return table


_TABLE = _build_table()


def _decode(raw: bytes) -> str:
    for encoding in ("utf-8-sig", "utf-16") if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig",):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    declared = re.search(rb"charset=[\"']?([\w-]{3,20})", raw[:4096])
    if declared:
        try:
            return raw.decode(declared[1].decode("ascii"), errors="replace")
        except LookupError:
            pass
    return raw.decode("cp1252", errors="replace")


def _is_binary(text: str) -> bool:
    head = text[:4000]
    odd = sum(1 for ch in head if unicodedata.category(ch) in ("Cc", "Co", "Cn") and ch not in "\n\r\t\f") + head.count(
        "�"
    )
    return bool(head) and odd > len(head) * 0.05


def _kind_of(text: str) -> Kind:
    head = text[:200_000].lstrip()
    if re.match(r"[\[{]\s*[\"\[{\]}]", head) or re.search(r"<\\/\w|\\u003[cC]", head):
        return "json"
    return "html" if _looks_html(head) else "text"


def _looks_html(text: str) -> bool:
    return bool(
        re.search(
            r"<(?:!doctype html|html|head|body|p|div|table|tr|td|li|ul|br|span|h[1-6]|b|strong)\b[^<>]*>",
            text[:200_000],
            re.IGNORECASE,
        )
    )


def _html_in_json(text: str) -> str | None:
    """The longest strings inside JSON, whole or cut; a cut file has its escapes undone by hand."""
    try:
        pieces: list[str] = []
        _strings(json.loads(text), pieces, 0)
        wanted = [p for p in pieces if len(p) > 40 or re.search(r"\d", p)]
        return "\n".join(wanted) if wanted else None
    except (ValueError, RecursionError):
        body = re.sub(r'^\s*"[\w-]+"\s*:\s*[\[{]?\s*(?:"[\w-]+"\s*:\s*)?"', "", text)
        body = body.replace('\\"', '"').replace("\\/", "/").replace("\\n", "\n").replace("\\t", " ").replace("\\r", "")
        return re.sub(
            r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)) if not 0xD800 <= int(m[1], 16) < 0xE000 else " ", body
        )


def _strings(node: object, out: list[str], depth: int) -> None:
    if depth > 40 or len(out) > 5000:
        return
    if isinstance(node, str):
        out.append(node)
    elif isinstance(node, dict):
        for value in node.values():
            _strings(value, out, depth + 1)
    elif isinstance(node, list):
        for value in node:
            _strings(value, out, depth + 1)


def _too_deep(source: str) -> bool:
    """Counts only elements that have to be closed, so that `<p>` and `<td>` without an end do no harm."""
    depth = 0
    for m in re.finditer(
        r"<(/?)(?:div|span|section|article|font|table|ul|ol|blockquote|b|i|em|strong|a|center|small)\b",
        source,
        re.IGNORECASE,
    ):
        depth += -1 if m[1] else 1
        if depth > MAX_DEPTH:
            return True
    return False


def _from_html(source: str) -> tuple[str | None, str]:
    tree = LexborHTMLParser(source)
    title_node = tree.css_first("h1") or tree.css_first("title")
    title = re.sub(r"\s+", " ", title_node.text()).strip() if title_node is not None else None
    tree.strip_tags(_DROPPED)
    root = tree.body or tree.root
    if root is None:
        return title, html.unescape(source)
    out: list[str] = []
    _walk(root, out)
    text = "".join(out)
    text = re.sub(r"[^\S\n]+", " ", text)
    text = re.sub(r" *\n *", "\n", text)
    if title and title not in text[:2000]:
        text = title + "\n" + text
    return title or None, text


_LEAVING = {"td": " |", "th": " |", "tr": "\n"}
_ENTERING = {"td": " ", "th": " ", "tr": "\n"}


def _walk(root: LexborNode, out: list[str]) -> None:
    """Depth first with an explicit stack: pages nest deeper than Python's own."""
    stack: list[tuple[LexborNode, bool]] = [(root, False)]
    cells = written = 0
    while stack and written < 2 * MAX_TEXT:
        node, leaving = stack.pop()
        tag = node.tag or ""
        break_ = " " if cells else "\n"
        if leaving:
            cells -= tag == "tr" and _is_row(node)
            out.append(_LEAVING.get(tag, break_ if tag in _BLOCKS else ""))
        elif (text := _leaf(node, tag, break_)) is not None:
            out.append(text)
            written += len(text) + 1
        elif tag not in ("script", "style"):
            stack.append((node, True))
            cells += tag == "tr" and _is_row(node)
            out.append(_ENTERING.get(tag, break_ if tag in _BLOCKS else ""))
            stack.extend((child, False) for child in reversed(list(node.iter(include_text=True))))


def _leaf(node: LexborNode, tag: str, break_: str) -> str | None:
    """The text of a node that holds no others: words, a line break, a footnote's mark."""
    if tag == "-text":
        return re.sub(r"\s+", " ", node.text_content or "")
    if tag == "br":
        return break_
    if tag == "sup" and re.fullmatch(r"[\s()\[\]\d,*]{1,8}", node.text() or ""):
        return " *" if "*" in (node.text() or "") else " "
    return None


def _is_row(node: LexborNode) -> bool:
    """A row of figures, not a table that only lays a page out (its rows hold paragraphs)."""
    return len(node.text()) < 1200


def _from_pdf(raw: bytes) -> Document:
    from pypdf import PdfReader  # only a PDF needs it, and its import costs more than reading a page

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = PdfReader(io.BytesIO(raw))
        if reader.is_encrypted and not reader.decrypt(""):
            return Document("", "pdf", refused="the PDF is encrypted")
        pages = [page.extract_text() or "" for page in reader.pages[:MAX_PDF_PAGES]]
    except Exception as error:  # pypdf raises whatever a broken file makes it raise
        return Document("", "pdf", refused=f"the PDF cannot be read: {type(error).__name__}")
    text = normalise("\n".join(pages))[:MAX_TEXT]
    if len(re.sub(r"\s", "", text)) < 40 * max(1, min(len(pages), 3)):
        return Document("", "pdf", refused="the PDF holds no text (a scan): it needs character recognition first")
    return Document(text, "pdf", _first_line(text))


def first_sentence(line: str) -> str:
    """A line up to its first full stop, which no `Nov.` and no `Inc.` is."""
    return re.split(r"(?<=[a-z0-9)])(?<![A-Z][a-z]{2})(?<!Sept)\.\s", line, maxsplit=1)[0]


def _first_line(text: str) -> str | None:
    for line in text.split("\n", 20)[:20]:
        line = line.strip(" |")
        if len(line) > 200:  # a paragraph, not a title: its first sentence stands for one
            return first_sentence(line)[:300]
        if len(line) > 8:
            return line
    return None

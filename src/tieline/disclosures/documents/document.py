"""Any file as one normalised text with its title: HTML, PDF, JSON that wraps HTML, a pasted table, plain text.

Knows nothing of figures. Table rows come out as one line with cells between bars; superscripts are set apart
by a space so that a footnote digit does not become part of a number. What cannot be read says why.
"""

from __future__ import annotations

import io
import logging
import re
import unicodedata
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate

from tieline.disclosures.documents.page import read_page
from tieline.disclosures.documents.shapes import set_out
from tieline.disclosures.facts.fact import Kind
from tieline.disclosures.lexicon.printed import PRINTED
from tieline.disclosures.lexicon.words import phrases

MAX_BYTES = 8 * 1024 * 1024
"""The largest 10-K exhibits that carry a production table are under 6 MB; a page above this is no release."""
MAX_TEXT = 200_000
"""Characters read. A monthly update has 5,000 to 40,000; the facts of longer filings stand in their notes."""
MAX_PDF_PAGES = 60

MAX_DEPTH = 2_000
"""Open elements inside one another. Pages built by hand or by tools stay under 100; parsers slow down with depth."""


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
    title, text = _from_page(text, guess) if guess in ("html", "json") else (None, text)
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
    inner = _strings_in_json(text) or text if kind == "json" else text
    return read_page(inner) if kind == "html" or _looks_html(inner) else (None, inner)


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
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_TABLE).replace("\t", " | ")
    if "В" in text or "Т" in text:
        text = re.sub(r"(?<!\w)[ВB][ТT][СC](?!\w)", "BTC", text)  # Cyrillic letters that look Latin
    text = re.sub(r"(?m)^[ \t]*o (?=[A-Z])", "- ", text)  # a hollow bullet
    # A layout table's bar before a sentence.
    text = re.sub(r"(?m)^\|[ \t]*(?=(?:[^|\s]+[ \t]+){7}[^|\n]*$)", "\n", text)
    text = phrases("note_behind").sub(lambda m: " " * len(m[0]), set_out(phrases("bold").sub(r"\1", text)))
    text = re.sub(r"[^\S\n]{2,}", "  ", text)
    return re.sub(r"\n{3,}", "\n\n", text)


_TABLE = {
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # wide letters and digits
    **{code: " " for code in range(32) if chr(code) not in "\n\t"},
    **{ord(ch): to for to, printed in PRINTED.spellings.items() for ch in printed},
}


def _decode(raw: bytes) -> str:
    for encoding in ("utf-8-sig", "utf-16") if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig",):
        with suppress(UnicodeDecodeError):
            return raw.decode(encoding)
    if (declared := re.search(rb"charset=[\"']?([\w-]{3,20})", raw[:4096])) is not None:
        with suppress(LookupError):
            return raw.decode(declared[1].decode("ascii"), errors="replace")
    return raw.decode("cp1252", errors="replace")


def _is_binary(text: str) -> bool:
    head = text[:4000]
    odd = sum(unicodedata.category(ch) in ("Cc", "Co", "Cn") and ch not in "\n\r\t\f" for ch in head)
    return bool(head) and odd + head.count("�") > len(head) * 0.05


def _kind_of(text: str) -> Kind:
    head = text[:200_000].lstrip()
    escaped = head.count("\\n") > max(5, head.count("\n"))
    if escaped or re.match(r"[\[{]\s*[\"\[{\]}]", head) or re.search(r"<\\/\w|\\u003[cC]", head):
        return "json"
    return "html" if _looks_html(head) else "text"


def _looks_html(text: str) -> bool:
    return phrases("html").search(text, 0, 200_000) is not None


def _strings_in_json(text: str) -> str:
    """The strings inside JSON that hold more than a key, with their escapes undone; a piece of it may begin in one."""
    whole = text.lstrip()[:1] in ("[", "{", '"')
    strings = re.findall(r'"((?:[^"\\]|\\.)*+)(?:"|\Z)', text, re.DOTALL) if whole else [text]
    return "\n".join(_unescaped(s) for s in strings if len(s) > 40 or re.search(r"\d", s))


def _unescaped(text: str) -> str:
    """JSON's escapes undone, also where a copy was cut short within one."""
    named = {"n": "\n", "t": "\t", "r": "\n", "b": "", "f": ""}
    escape = r"\\(?:u([0-9a-fA-F]{4})|(.))"
    text = re.sub(escape, lambda m: chr(int(m[1], 16)) if m[1] else named.get(m[2], m[2]), text)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _too_deep(source: str) -> bool:
    """Counts only elements that have to be closed, so that `<p>` and `<td>` without an end do no harm."""
    steps = (-1 if m[1] else 1 for m in phrases("nested").finditer(source))
    return any(depth > MAX_DEPTH for depth in accumulate(steps))


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

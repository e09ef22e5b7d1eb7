"""Forms with files (multipart/form-data, RFC 7578): a body taken apart, and written anew for an engine. Pure.

Strict where two readers could read two things: every part has one name, nothing stands before the first boundary, and
the body ends with the last one.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from typing import Final

import msgspec

MAX_PARTS: Final = 64
MAX_PART_HEAD: Final = 4_096
# A file's name travels as far as it is harmless: engines look at its ending.
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)
_BOUNDARY: Final = re.compile(
    rb'multipart/form-data *; *(?:[^;]{0,100}; *)?boundary=("?)([0-9A-Za-z\x27()+_,./:=?-]{1,70})\1 *(?:;.*)?', re.I
)
_DISPOSITION: Final = re.compile(rb'form-data((?: *; *[a-z*]+=(?:"[^"\r\n]*"|[^";\r\n]*))*) *', re.I)
_PARAMETER: Final = re.compile(rb'; *([a-z*]+)=(?:"([^"\r\n]*)"|([^";\r\n]*))', re.I)
_KIND: Final = re.compile(r"[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60}", re.ASCII)

# Ours, in what is written: nobody who sends a file can know it.
_OWN: Final = b"tieline-" + secrets.token_hex(16).encode()
CONTENT_TYPE: Final = "multipart/form-data; boundary=" + _OWN.decode()


class FormError(Exception):
    """A form that cannot be read; says why, in words for who sent it."""


class FormPart(msgspec.Struct, frozen=True, gc=False):
    """A field of a form. `file`: its name, None where it is no file."""

    name: str
    data: bytes
    file: str | None = None
    kind: str = "application/octet-stream"


def boundary_of(content_type: bytes | None) -> bytes | None:
    """What parts a body, by its Content-Type; None: it is no form."""
    match = None if content_type is None else _BOUNDARY.fullmatch(content_type)
    return None if match is None else match[2]


def read(body: bytes, boundary: bytes) -> list[FormPart]:
    """Raises FormError."""
    line = b"--" + boundary
    if not body.startswith(line):
        raise FormError("the body does not begin with its boundary")
    first, *rest = (b"\r\n" + body).split(b"\r\n" + line, MAX_PARTS + 2)
    if first or len(rest) > MAX_PARTS + 1:
        raise FormError(f"the form has more than {MAX_PARTS} parts")
    end = rest.pop()
    if not end.startswith(b"--") or end.removeprefix(b"--").strip():
        raise FormError("the form does not end with its boundary")
    return [_part(one) for one in rest]


def _part(raw: bytes) -> FormPart:
    head, blank, data = raw.partition(b"\r\n\r\n")
    if not blank or not head.startswith(b"\r\n") or len(head) > MAX_PART_HEAD:
        raise FormError("a part of the form has no head")
    fields: dict[bytes, bytes] = {}
    for line in head[2:].split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if not colon or fields.setdefault(name.lower(), value.strip()) != value.strip():
            raise FormError("the head of a part is malformed")
    match = _DISPOSITION.fullmatch(fields.get(b"content-disposition", b""))
    if match is None:
        raise FormError("a part has no 'Content-Disposition: form-data'")
    given = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(match[1])}
    name = given.get(b"name", b"").decode("utf-8", "replace")
    if not name:
        raise FormError("a part has no name")
    file = given.get(b"filename")
    kind = fields.get(b"content-type", b"").decode("latin-1").lower()
    return FormPart(
        name,
        data,
        None if file is None else file.decode("utf-8", "replace"),
        kind if _KIND.fullmatch(kind) else "application/octet-stream",
    )


def write(parts: Iterable[FormPart]) -> bytes:
    """A body under CONTENT_TYPE. Names of fields were looked at, those of files are kept where they are plain."""
    out = []
    for part in parts:
        head = f'--{_OWN.decode()}\r\ncontent-disposition: form-data; name="{part.name}"'
        if part.file is not None:
            name = part.file if _NAME.fullmatch(part.file) else "file"
            head += f'; filename="{name}"\r\ncontent-type: {part.kind}'
        out += [head.encode(), b"\r\n\r\n", part.data, b"\r\n"]
    return b"".join((*out, b"--", _OWN, b"--\r\n"))

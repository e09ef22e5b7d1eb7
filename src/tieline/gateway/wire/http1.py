"""HTTP/1.1 framing, both sides, as pure functions and small state machines over bytes.

Knows nothing of sockets, models or JSON. It is strict where a proxy must be: one reading of each message, or
none. Bare LF, folded lines, a space before a colon, two lengths, a length beside a transfer coding, a second
Host, any transfer coding but `chunked`, and control bytes are refused (RFC 9112 sections 2.2, 5 and 6.3).
A request is always written anew towards an engine, so nothing a client framed ever reaches one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, TypeVar

# Bounds. 32 KB of head is what nginx takes by default (4 x 8 KB); 100 fields is h11's and Apache's number.
MAX_HEAD: Final = 32_768
MAX_LINE: Final = 8_192
MAX_FIELDS: Final = 100
# Trailers are read and thrown away; whoever sends more than this is not a client.
MAX_TRAILER: Final = 4_096
# A chunk-size line: 16 hex digits would be 2**64; extensions are allowed and ignored up to this.
MAX_CHUNK_LINE: Final = 256
_CR: Final = 13

_REQUEST = re.compile(
    rb"([A-Z][A-Z_-]{0,19}) (/[\x21-\x7e]*+) HTTP/1\.([01])\r\n"
    rb"((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+)\r\n"
)
_LINE = re.compile(rb"[A-Z][A-Z_-]{0,19} /[\x21-\x7e]* HTTP/1\.[01]")
_LINE_SO_FAR = re.compile(rb"\r?|[A-Z][A-Z_-]{0,19}(?: (?:/[\x21-\x7e]*(?: (?:H[TP/1.0]{0,7}\r?)?)?)?)?")
_RESPONSE = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*+)?\r\n"
    rb"((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+)\r\n"
)
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[\t ]*;[\t\x20-\x7e]*)?")
_TRAILERS = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+")
_LENGTH = re.compile(rb"[0-9]{1,15}")
_BLANKS = re.compile(rb"(?:\r\n)++")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]+)(?::[0-9]{0,5})?")


def after_blanks(data: bytes) -> bytes:
    """RFC 9112 2.2: empty lines before a request are ignored."""
    match = _BLANKS.match(data)
    return data if match is None else data[match.end() :]


class Framing(Enum):
    """How the end of a body is found."""

    NONE = 0
    LENGTH = 1
    CHUNKED = 2
    UNTIL_CLOSE = 3


class BadMessageError(ValueError):
    """The bytes are not one clear HTTP message; `status` is the answer a client gets."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class RequestHead:
    """A request line and its fields. `fields` is the lower-cased block; `raw` keeps the case of values."""

    method: str
    target: str
    keep_alive: bool
    http10: bool
    framing: Framing
    length: int
    expects_continue: bool
    raw: bytes
    fields: bytes
    read: object = None  # what the caller made of the fields; lives as long as this head repeats

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def get(self, name: bytes) -> bytes | None:
        """The first value of a field, name in lower case with its colon: `head.get(b"origin:")`."""
        return _field(self.fields, self.raw, name)


def presented_key(head: RequestHead) -> bytes | None:
    """What a client presents as its key, in whichever field its library writes it."""
    given = head.get(b"authorization:")
    if given is None and (key := head.get(b"x-api-key:") or head.get(b"api-key:")) is not None:
        return b"Bearer " + key
    return given


@dataclass(slots=True)
class ResponseHead:
    status: int
    framing: Framing
    length: int
    keep_alive: bool
    raw: bytes
    fields: bytes
    streamed: bool = False  # its body is a stream of events

    def get(self, name: bytes) -> bytes | None:
        return _field(self.fields, self.raw, name)


# Fields beside those of framing that nginx takes once: which of two keys is meant is nobody's to choose.
_ONCE: Final = tuple(
    b"\n%b:" % name
    for name in (
        b"authorization", b"expect", b"content-range", b"if-match", b"if-none-match", b"if-modified-since",
        b"if-unmodified-since", b"if-range", b"x-api-key", b"api-key",
    )
)  # fmt: skip


def parse_request(data: bytes) -> RequestHead:
    """One head, blank line included. Raises BadMessageError for anything that two readers could read in two ways."""
    if len(data) > MAX_HEAD:
        raise BadMessageError(431, f"request head is larger than {MAX_HEAD} bytes")
    match = _REQUEST.fullmatch(data)
    if match is None:
        raise BadMessageError(400, "request line or a header field is malformed")
    if len(data) > MAX_LINE and max(map(len, data.split(b"\r\n"))) > MAX_LINE:
        raise BadMessageError(414 if match.end(2) > MAX_LINE else 431, f"a line is longer than {MAX_LINE} bytes")
    if data.count(b"\n") > MAX_FIELDS + 2:
        raise BadMessageError(431, f"more than {MAX_FIELDS} header fields")
    method, target, minor, _ = match.groups()
    raw = data[match.start(4) - 2 :]  # starts with the CRLF of the request line, so that every name follows a LF
    fields = raw.lower()
    http10 = minor == b"0"
    _check_once(fields, raw, http10)
    framing, length = _framing(fields, raw, http10)
    connection = _field(fields, raw, b"connection:")
    keep_alive = not http10
    if connection is not None:
        words = connection.lower()
        keep_alive = b"close" not in words and (not http10 or b"keep-alive" in words)
    expects = _field(fields, raw, b"expect:")
    if expects is not None and expects.lower() != b"100-continue":
        raise BadMessageError(417, "only 'Expect: 100-continue' is understood")
    continues = expects is not None and not http10
    return RequestHead(
        method.decode(), target.decode(), keep_alive, http10, framing, length, continues, raw, fields
    )  # fmt: skip


def _check_once(fields: bytes, raw: bytes, http10: bool) -> None:
    """The one Host, and what else may stand once only. Raises BadMessageError."""
    host = _single(fields, raw, b"host:")
    if host is None and not http10:
        raise BadMessageError(400, "an HTTP/1.1 request needs a Host header")
    if host is not None and _HOST.fullmatch(host) is None:
        raise BadMessageError(400, "the Host header is malformed")
    for name in _ONCE:
        if fields.count(name) > 1:
            raise BadMessageError(400, f"two {name[1:-1].decode()} header fields")


def check_beginning(data: bytes) -> None:
    """The beginning of a head whose end has not come: raises BadMessageError where no end can make it one, so that
    whoever speaks something else is told at once and not when the head is overdue."""
    if len(data) > MAX_HEAD:
        raise BadMessageError(431, f"request head is larger than {MAX_HEAD} bytes")
    if data.count(b"\n") != data.count(b"\r\n"):
        raise BadMessageError(400, "lines end with CR LF")
    line, ended, _ = data.partition(b"\r\n")
    if not ended and len(line) > MAX_LINE:
        raise BadMessageError(414, f"a line is longer than {MAX_LINE} bytes")
    if (_LINE.fullmatch(line) if ended else _LINE_SO_FAR.fullmatch(line)) is None:
        raise BadMessageError(400, "request line or a header field is malformed")


H = TypeVar("H", "RequestHead", "ResponseHead")


class Repeat(Generic[H]):
    """Recognises a head that differs from the one before only in the number of its Content-Length: what a peer
    sends on a connection it keeps. Byte for byte the rest is equal, so nothing needs to be read again."""

    __slots__ = ("_after", "_at", "_before", "head")

    def __init__(self, data: bytes, head: H) -> None:
        """Of a head with a Content-Length, and the bytes that it was read from."""
        self.head: H = head
        at = len(data) - len(head.raw) + head.fields.find(b"\ncontent-length:") + 16
        digits = data[at : data.find(b"\r", at)].strip(b" \t")
        self._at = data.find(digits, at)
        self._before, self._after = data[: self._at], data[self._at + len(digits) :]

    def whole(self, data: bytes) -> bytes | None:
        """The body, where `data` is such a head and exactly the body it announces: what most reads of a small
        message are. Its head is then `head`."""
        if not data.startswith(self._before):
            return None
        after, at = self._after, self._at
        stop = data.find(b"\r", at, at + 16)
        start = stop + len(after)
        size = len(data) - start
        if stop < 0 or data[at:stop] != b"%d" % size or not data.startswith(after, stop):
            return None
        self.head.length = size
        return data[start:]

    def match(self, data: bytes) -> H | None:
        if not (data.startswith(self._before) and data.endswith(self._after)):
            return None
        digits = data[len(self._before) : len(data) - len(self._after)]
        if not digits.isdigit() or len(digits) > 15:
            return None
        self.head.length = int(digits)
        return self.head


def parse_response(data: bytes, *, to_head: bool = False) -> ResponseHead:
    """An engine's answer, by the same rules; a body without a length runs until the connection closes."""
    match = _RESPONSE.fullmatch(data)
    if match is None or len(data) > MAX_HEAD:
        raise BadMessageError(502, "the engine's response head is malformed")
    minor, status_text, _ = match.groups()
    status = int(status_text)
    raw = data[match.start(3) - 2 :]
    fields = raw.lower()
    framing, length = _framing(fields, raw, http10=False)
    connection = _field(fields, raw, b"connection:")
    keep_alive = minor == b"1"
    if connection is not None:
        keep_alive = keep_alive and b"close" not in connection.lower()
    if status < 200 or status in (204, 304) or to_head:
        framing, length = Framing.NONE, 0
    elif framing is Framing.NONE:
        framing, keep_alive = Framing.UNTIL_CLOSE, False
    elif framing is Framing.LENGTH and length == 0:
        framing = Framing.NONE
    streamed = b"\ncontent-type: text/event-stream" in fields
    return ResponseHead(status, framing, length, keep_alive, raw, fields, streamed)


def _framing(fields: bytes, raw: bytes, http10: bool) -> tuple[Framing, int]:
    coding = _single(fields, raw, b"transfer-encoding:")
    length = _single(fields, raw, b"content-length:")
    if coding is not None:
        if length is not None:
            raise BadMessageError(400, "Content-Length and Transfer-Encoding exclude each other")
        if http10:
            raise BadMessageError(400, "Transfer-Encoding has no meaning in HTTP/1.0")
        if coding.lower() != b"chunked":
            raise BadMessageError(501, "the only transfer coding understood is chunked")
        return Framing.CHUNKED, 0
    if length is None:
        return Framing.NONE, 0
    if _LENGTH.fullmatch(length) is None:
        raise BadMessageError(400, "Content-Length is not a plain number")
    return Framing.LENGTH, int(length)


def _field(fields: bytes, raw: bytes, name: bytes, blanks: bytes = b" \t") -> bytes | None:
    at = fields.find(b"\n" + name)
    if at < 0:
        return None
    at += 1 + len(name)
    return raw[at : raw.find(b"\r", at)].strip(blanks)


def _single(fields: bytes, raw: bytes, name: bytes) -> bytes | None:
    """A field that decides framing may stand once; twice, even with the same value, is refused."""
    if fields.count(b"\n" + name) > 1:
        raise BadMessageError(400, f"two {name[:-1].decode()} header fields")
    return _field(fields, raw, name, b" ")  # a tab is left to be refused, as nginx does


class Unchunker:
    """Takes a chunked body apart. `feed` returns payload; `done` says the last chunk and the trailers are read,
    and `rest` is what followed them."""

    __slots__ = ("_buf", "_left", "_state", "between", "done", "rest")

    def __init__(self) -> None:
        self._buf = b""
        self._left = 0
        self._state = 0  # 0 size line, 1 payload, 2 CRLF after payload, 3 trailers
        self.between = True  # at the start of a chunk, with nothing left over
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Payload pieces found in `data`, in order. Raises BadMessageError."""
        buf = self._buf + data if self._buf else data
        out: list[bytes] = []
        at, end = 0, len(buf)
        while at < end:
            if self._state == 1:
                piece = buf[at : at + self._left]
                out.append(piece)
                self._left -= len(piece)
                at += len(piece)
                if self._left:
                    break
                self._state = 2
                continue
            after = self._between(buf, at)
            if after is None:
                break
            at = after
            if self.done:
                self.rest, self._buf = buf[at:], b""
                return out
        self._buf = buf[at:]
        self.between = self._state == 0 and at == end
        return out

    # Each reads one thing and returns where it ends; None: it is not all here yet.

    def _between(self, buf: bytes, at: int) -> int | None:
        if self._state == 2:
            return self._payload_end(buf, at)
        return self._trailers(buf, at) if self._state == 3 else self._size_line(buf, at)

    def _size_line(self, buf: bytes, at: int) -> int | None:
        eol = buf.find(b"\r\n", at)
        if eol < 0:
            if len(buf) - at > MAX_CHUNK_LINE:
                raise BadMessageError(400, "a chunk-size line is too long")
            return None
        match = CHUNK_SIZE.fullmatch(buf, at, eol)
        if match is None or eol - at > MAX_CHUNK_LINE:
            raise BadMessageError(400, "a chunk size is malformed")
        self._left = int(match[1], 16)
        self._state = 1 if self._left else 3
        return eol + 2

    def _payload_end(self, buf: bytes, at: int) -> int | None:
        if buf.startswith(b"\r\n", at):
            self._state = 0
            return at + 2
        if len(buf) - at > 1 or buf[at] != _CR:
            raise BadMessageError(400, "a chunk is longer than its size says")
        return None

    def _trailers(self, buf: bytes, at: int) -> int | None:
        stop: int | None = None
        if buf.startswith(b"\r\n", at):
            stop = at
        elif (blank := buf.find(b"\r\n\r\n", at)) >= 0:
            stop = blank + 2
            if _TRAILERS.fullmatch(buf, at, stop) is None:
                raise BadMessageError(400, "a trailer field is malformed")
        if (len(buf) if stop is None else stop) - at > MAX_TRAILER:
            raise BadMessageError(400, "trailers are too long")
        if stop is None:
            return None
        self.done, self.between = True, False
        return stop + 2


# A line of a chunk's size is looked up: engines repeat a few. It holds only what was read strictly; 0: read it with
# care (malformed, or the last chunk).
SIZES: Final[dict[bytes, int]] = {}
MAX_SIZES: Final = 4_096
MAX_SIZE_LINE: Final = 20


def whole_chunks(data: bytes) -> list[bytes] | None:
    """What an engine that streams sends: a read of nothing but whole chunks, none of them the last. None: for the
    careful reader."""
    payloads = []
    at, end = 0, len(data)
    while at < end:
        eol = data.find(b"\r\n", at, at + MAX_SIZE_LINE)
        if eol < 0:
            return None
        line = data[at:eol]
        size = SIZES.get(line)
        if size is None:
            size = _size(line)
        start = eol + 2
        stop = start + size
        if not size or data[stop : stop + 2] != b"\r\n":
            return None
        payloads.append(data[start:stop])
        at = stop + 2
    return payloads


def _size(line: bytes) -> int:
    match = CHUNK_SIZE.fullmatch(line)
    size = 0 if match is None else int(match[1], 16)
    if len(SIZES) < MAX_SIZES:
        SIZES[line] = size
    return size


REASONS: Final = {
    200: "OK", 201: "Created", 204: "No Content", 400: "Bad Request", 401: "Unauthorized", 402: "Payment Required",
    403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict",
    411: "Length Required", 413: "Content Too Large", 414: "URI Too Long", 415: "Unsupported Media Type",
    417: "Expectation Failed", 422: "Unprocessable Content", 429: "Too Many Requests",
    431: "Request Header Fields Too Large", 499: "Client Closed Request", 500: "Internal Server Error",
    501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip

_STATUS_LINES: Final = {code: f"HTTP/1.1 {code} {reason}\r\n".encode() for code, reason in REASONS.items()}


def status_line(status: int) -> bytes:
    return _STATUS_LINES.get(status) or f"HTTP/1.1 {status} Status\r\n".encode()


def response(status: int, headers: bytes, body: bytes, *, keep_alive: bool, head_only: bool = False) -> bytes:
    """A whole answer with a length. `headers` are ready lines, each with its CRLF."""
    closing = b"" if keep_alive else b"connection: close\r\n"
    head = b"%bcontent-length: %d\r\n%b%b\r\n" % (status_line(status), len(body), headers, closing)
    return head if head_only else head + body


def chunk(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


LAST_CHUNK: Final = b"0\r\n\r\n"
JSON_HEADERS: Final = b"content-type: application/json\r\n"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

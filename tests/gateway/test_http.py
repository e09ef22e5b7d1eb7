"""Framing, strict as a proxy's must be: one reading of each message, or none."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from tieline.gateway.wire.http1 import BadMessageError, Framing, Repeat, Unchunker, parse_request, parse_response
from tieline.gateway.wire.sse import Framer

LINE = b"POST /v1/chat/completions HTTP/1.1\r\n"

REFUSED = {
    "two lengths": (LINE + b"host: a\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n", 400),
    "two different lengths": (LINE + b"host: a\r\ncontent-length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    "length list": (LINE + b"host: a\r\ncontent-length: 1, 1\r\n\r\n", 400),
    "signed length": (LINE + b"host: a\r\ncontent-length: +1\r\n\r\n", 400),
    "hex length": (LINE + b"host: a\r\ncontent-length: 0x1\r\n\r\n", 400),
    "huge length": (LINE + b"host: a\r\ncontent-length: 99999999999999999999\r\n\r\n", 400),
    "length and coding": (LINE + b"host: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400),
    "two codings": (LINE + b"host: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n", 400),
    "other coding": (LINE + b"host: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n", 501),
    "odd coding": (LINE + b"host: a\r\ntransfer-encoding: xchunked\r\n\r\n", 501),
    "coding in 1.0": (b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", 400),
    "no host": (LINE + b"content-length: 0\r\n\r\n", 400),
    "two keys": (LINE + b"host: a\r\nauthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n", 400),
    "two expectations": (LINE + b"host: a\r\nexpect: 100-continue\r\nexpect: 100-continue\r\n\r\n", 400),
    "two conditions": (LINE + b'host: a\r\nif-match: "a"\r\nif-match: "a"\r\n\r\n', 400),
    "two hosts": (LINE + b"host: a\r\nhost: b\r\n\r\n", 400),
    "odd host": (LINE + b"host: a b\r\n\r\n", 400),
    "bare LF": (b"POST / HTTP/1.1\nhost: a\n\n\r\n\r\n", 400),
    "bare LF in head": (LINE + b"host: a\nx: y\r\n\r\n", 400),
    "bare CR": (LINE + b"host: a\rx: y\r\n\r\n", 400),
    "folded line": (LINE + b"host: a\r\nx: y\r\n z\r\n\r\n", 400),
    "space before colon": (LINE + b"host: a\r\ncontent-length : 1\r\n\r\n", 400),
    "space in name": (LINE + b"host: a\r\ncontent length: 1\r\n\r\n", 400),
    "empty name": (LINE + b"host: a\r\n: 1\r\n\r\n", 400),
    "NUL": (LINE + b"host: a\r\nx: \0\r\n\r\n", 400),
    "no version": (b"POST /\r\nhost: a\r\n\r\n", 400),
    "version 2": (b"POST / HTTP/2.0\r\nhost: a\r\n\r\n", 400),
    "two spaces": (b"POST  / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    "absolute target": (b"GET http://b/ HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    "control in target": (b"GET /\x01 HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    "lower-case method": (b"post / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    "expectation": (LINE + b"host: a\r\nexpect: tea\r\ncontent-length: 1\r\n\r\n", 417),
    "long line": (LINE + b"host: a\r\nx: " + b"y" * 9000 + b"\r\n\r\n", 431),
    "long target": (b"GET /" + b"y" * 9000 + b" HTTP/1.1\r\nhost: a\r\n\r\n", 414),
    "many fields": (LINE + b"host: a\r\n" + b"x: y\r\n" * 200 + b"\r\n", 431),
    "large head": (LINE + b"host: a\r\n" + (b"x: " + b"y" * 4000 + b"\r\n") * 9 + b"\r\n", 431),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_heads(case: str) -> None:
    data, status = REFUSED[case]
    with pytest.raises(BadMessageError) as caught:
        parse_request(data)
    assert caught.value.status == status


def test_heads_of_real_clients_are_read() -> None:
    head = parse_request(
        LINE + b"Host: [::1]:8787\r\nAuthorization: Bearer Ab\r\nContent-Length:  42 \r\nX-Stainless-OS: Linux\r\n\r\n"
    )
    assert (head.method, head.path, head.framing, head.length) == ("POST", "/v1/chat/completions", Framing.LENGTH, 42)
    assert head.get(b"authorization:") == b"Bearer Ab"
    assert head.get(b"x-nothing:") is None
    assert head.keep_alive
    assert not parse_request(b"GET / HTTP/1.0\r\n\r\n").keep_alive
    assert parse_request(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").keep_alive
    assert not parse_request(b"GET / HTTP/1.1\r\nhost: a\r\nConnection: Close\r\n\r\n").keep_alive


def test_an_engines_body_without_a_length_ends_with_its_connection() -> None:
    head = parse_response(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n")
    assert (head.framing, head.keep_alive) == (Framing.UNTIL_CLOSE, False)
    assert parse_response(b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n").framing is Framing.NONE
    with pytest.raises(BadMessageError):
        parse_response(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n")


@given(st.integers(0, 10**15 - 1), st.text("0123456789abcdefx+- ", max_size=16))
def test_a_repeated_head_is_recognised_only_when_its_length_is_all_that_changed(length: int, other: str) -> None:
    before, after = LINE + b"host: a\r\ncontent-length: ", b"\r\nx: 7\r\n\r\n"
    repeat = Repeat(before + b"7" + after, parse_request(before + b"7" + after))
    again = repeat.match(before + b"%d" % length + after)
    assert again is not None
    assert again.length == length
    data = before + other.encode() + after
    found = repeat.match(data)
    if found is not None:
        assert found.length == parse_request(data).length
    assert repeat.match(before + b"7" + after.replace(b"x", b"y")) is None


@given(
    st.integers(0, 40), st.binary(max_size=40), st.integers(0, 120), st.binary(max_size=3),
    st.sampled_from([b"", b"0", b"+", b" "]),
)  # fmt: skip
def test_a_repeated_head_with_its_whole_body_is_what_the_careful_reader_finds(
    length: int, body: bytes, at: int, change: bytes, sign: bytes
) -> None:
    """Also where a byte is changed, or the body is shorter or longer than announced."""
    before, after = LINE + b"host: a\r\ncontent-length: ", b"\r\nx: 7\r\n\r\n"
    repeat = Repeat(before + b"7" + after, parse_request(before + b"7" + after))
    data = before + sign + b"%d" % length + after + body
    data = data[:at] + change + data[at + len(change) :]
    found = repeat.whole(data)
    end = data.find(b"\r\n\r\n") + 4
    try:
        head = parse_request(data[:end])
    except BadMessageError:
        assert found is None
        return
    if found is None:  # left to the careful reader: another head, or not just this body
        assert data[:end] != before + b"%d" % len(data[end:]) + after
    else:
        digits = data[len(before) : end - len(after)]
        assert digits.isdigit()
        assert data[:end] == before + digits + after
        assert repeat.head.length == head.length == len(found)
        assert found == data[end:]


BODY = b"4\r\nwiki\r\n6;x=y\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nTrailer: v\r\n\r\nNEXT"


@given(st.lists(st.integers(1, len(BODY)), max_size=12))
def test_chunks_split_anywhere_are_one_body(cuts: list[int]) -> None:
    chunks, out, at = Unchunker(), b"", 0
    for stop in [*sorted(cuts), len(BODY)]:
        if not chunks.done and stop > at:
            out += b"".join(chunks.feed(BODY[at:stop]))
            at = stop
    assert chunks.done
    assert out == b"wikipedia in \r\n\r\nchunks."
    assert chunks.rest + BODY[at:] == b"NEXT"


@pytest.mark.parametrize(
    "data",
    [
        b"4\nwiki\r\n", b"-4\r\n", b"+4\r\nwiki\r\n", b"0x4\r\nwiki\r\n", b"4_0\r\n", b" 4\r\nwiki\r\n", b"\r\n",
        b"4\r\nwikiX\r\n", b"4\r\nwiki\n", b"1000000000000000\r\n", b"g\r\n", b"4;\0\r\nwiki\r\n", b"4" * 300,
        b"0\r\nbad trailer\r\n\r\n", b"0\r\n" + b"a: " + b"b" * 5000 + b"\r\n\r\n",
    ],
)  # fmt: skip
def test_refused_chunks(data: bytes) -> None:
    with pytest.raises(BadMessageError):
        Unchunker().feed(data)


TEXT = 'data: {"t":"Zürich 東京 🟠"}\n\n: note\n\ndata: [DONE]\n\n'


@given(st.lists(st.integers(0, len(TEXT.encode()) * 2), max_size=10), st.booleans())
def test_events_split_anywhere_stay_whole(cuts: list[int], crlf: bool) -> None:
    """Also inside a UTF-8 sequence and inside a line end."""
    data = TEXT.replace("\n", "\r\n").encode() if crlf else TEXT.encode()
    framer, frames, at = Framer(), [], 0
    for stop in [*sorted(c for c in cuts if c < len(data)), len(data)]:
        frames += framer.feed(data[at:stop])
        at = stop
    assert b"".join(frames).decode() == TEXT
    assert not framer.partial


@effort(max_examples=300)
@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    """Whatever comes, it is a message or a BadMessageError."""
    for read in (parse_request, parse_response, Unchunker().feed):
        with suppress(BadMessageError):
            read(data)

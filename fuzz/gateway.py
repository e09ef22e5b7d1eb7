"""Feed the gateway's readers anything: `python fuzz/gateway.py [--seconds 30] [--seed N]`.

With `atheris` installed it is guided by coverage; without it, random mutations of real messages. What must hold:
no reader raises anything but its own error, a chunked body reads the same however it is cut, and a head that is
accepted means the same to a second, independent reader (the standard library's).
"""

from __future__ import annotations

import argparse
import contextlib
import email.parser
import random
import sys
import time

from tieline.gateway import body as bodies
from tieline.gateway.errors import Refusal
from tieline.gateway.http import BadMessageError, Framing, Unchunker, parse_request, parse_response
from tieline.gateway.sse import Framer

SEEDS = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a:1\r\nContent-Length: 12\r\nAuthorization: Bearer x\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: [::1]\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
    b"GET /v1/models HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n",
    b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nx: y\r\n\r\nrest",
    b'data: {"choices":[{"index":0,"delta":{"content":"\xc3\xbc"}}]}\r\n\r\n: c\n\ndata: [DONE]\n\n',
    b'{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":5,"n":2,"stream":true}',
)
SPICE = (
    b"\r\n",
    b"\n",
    b"\r",
    b":",
    b" ",
    b"\t",
    b"\0",
    b"chunked",
    b"content-length: 1\r\n",
    b"0",
    b"f",
    b";",
    b",",
    b"\xff",
)


def check(data: bytes) -> None:
    """All properties on one input."""
    _request(data)
    with contextlib.suppress(BadMessageError):
        parse_response(data)
    _chunks(data)
    try:
        whole = Framer().feed(data)
        framer, pieces = Framer(), []
        for index in range(len(data)):
            pieces += framer.feed(data[index : index + 1])
        assert b"".join(pieces) == b"".join(whole), "events differ by how they were cut"
    except ValueError:
        pass
    for kind in ("chat", "completions", "embeddings", "responses", "rerank"):
        read = bodies.read(kind, data)  # type: ignore[arg-type]
        if not isinstance(read, Refusal) and kind == "chat":
            read.encode("m", 5)
            bodies.complaint(read)


def _request(data: bytes) -> None:
    try:
        head = parse_request(data)
    except BadMessageError:
        return
    other = email.parser.BytesParser().parsebytes(data.partition(b"\r\n")[2])
    lengths, codings = other.get_all("content-length", []), other.get_all("transfer-encoding", [])
    assert len(lengths) + len(codings) <= 1, "two readings of one length"
    assert (head.framing is Framing.CHUNKED) == bool(codings)
    if head.framing is Framing.LENGTH:
        assert int(lengths[0]) == head.length


def _chunks(data: bytes) -> None:
    def read(step: int) -> object:
        chunks, out = Unchunker(), b""
        try:
            for at in range(0, len(data), step):
                if chunks.done:
                    return out, True
                out += b"".join(chunks.feed(data[at : at + step]))
        except BadMessageError:
            return "refused"
        return out, chunks.done

    assert read(1) == read(max(1, len(data))), "a chunked body differs by how it was cut"


def mutate(dice: random.Random) -> bytes:
    data = bytearray(dice.choice(SEEDS))
    for _ in range(dice.randrange(1, 8)):
        at = dice.randrange(len(data) + 1)
        what = dice.randrange(4)
        if what == 0:
            data[at:at] = dice.choice(SPICE)
        elif what == 1:
            del data[at : at + dice.randrange(1, 6)]
        elif what == 2 and at < len(data):
            data[at] = dice.randrange(256)
        else:
            data[at:at] = data[at : at + dice.randrange(1, 20)]
    return bytes(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        import atheris
    except ImportError:
        atheris = None
    if atheris is not None:
        atheris.instrument_all()
        atheris.Setup([sys.argv[0], f"-max_total_time={int(options.seconds)}"], check)
        atheris.Fuzz()
        return
    dice, until, count = random.Random(options.seed), time.monotonic() + options.seconds, 0
    while time.monotonic() < until:
        data = mutate(dice)
        try:
            check(data)
        except Exception:
            print(f"after {count} inputs: {data!r}", file=sys.stderr)
            raise
        count += 1
    print(f"{count} inputs, seed {options.seed}: nothing found")


if __name__ == "__main__":
    main()

"""Fuzz the door's HTTP: nothing passes that nginx would refuse, and what passes is what nginx would have passed on.

    python fuzz/gateway.py [seconds] [seed]
    python fuzz/gateway.py --atheris [atheris options]     where atheris is installed

Connections are made of right and wrong request lines, lengths, codings, chunks, trailers and line ends, several
requests to a connection. The door reads each in one piece and in cuts, over a transport in memory; nginx reads it
from a socket and passes what it accepts to a server that says what came. A request passes here if it would reach
an engine: then nginx must have accepted the request at the same place, with the same body. Prints the smallest
input that broke this and exits 1. Without nginx only the door's own promises are checked.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
from hypothesis import strategies as st

from tieline.gateway.metering.stats import Stats
from tieline.gateway.wire.client import ClientConnection
from tieline.gateway.wire.http1 import RequestHead

PATH = "/v1/embeddings"
SECONDS = 30.0
MAX_BODY = 4_096

# --- the door, in memory ---------------------------------------------------------------


class Wire:
    """A transport whose other end is a list."""

    def __init__(self) -> None:
        self.out = b""
        self.open = True

    def write(self, data: bytes) -> None:
        assert self.open, "written after the end"
        self.out += data

    def close(self) -> None:
        self.open = False

    abort = write_eof = close

    def can_write_eof(self) -> bool:
        return True

    def get_extra_info(self, _: str) -> None:
        return None

    def set_write_buffer_limits(self, **_: int) -> None:
        return None

    pause_reading = resume_reading = lambda self: None


# One request as read: would it reach an engine, and the checksum of its body.
Seen = tuple[bool, int]


def read_by_door(pieces: list[bytes]) -> tuple[list[Seen], bytes, bool]:
    """(requests read, what was written, still open)."""
    later: deque[Callable[[], None]] = deque()
    number = iter(range(1_000_000))
    clocks = SimpleNamespace()
    svc = SimpleNamespace(
        loop=SimpleNamespace(time=lambda: 0.0, call_soon=later.append),
        settings=SimpleNamespace(max_connections=8, max_body_bytes=MAX_BODY, clocks=clocks),
        connections=set(),
        stats=Stats(),
        draining=False,
        new_id=lambda: f"req_{next(number)}",
    )
    seen: list[Seen] = []

    def route(door: ClientConnection, head: RequestHead, body: bytes) -> None:
        seen.append((head.method == "POST" and head.path == PATH, zlib.crc32(body)))
        door.answer(200, b"", b"", head_only=head.method == "HEAD")

    wire = Wire()
    door = ClientConnection(svc, route)  # type: ignore[arg-type]
    door.connection_made(wire)  # type: ignore[arg-type]
    for piece in pieces:
        if wire.open:
            door.data_received(piece)
        while later:
            later.popleft()()
    return seen, wire.out, wire.open


# --- nginx ------------------------------------------------------------------------------

NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log crit;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  client_max_body_size {body}; lingering_close always; lingering_timeout 1s; keepalive_timeout 5s;
  client_header_timeout 2s; client_body_timeout 2s; proxy_ignore_client_abort on;
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{behind}; }} }}
}}
"""


def find_nginx() -> str | None:
    return shutil.which("nginx") or ("/usr/sbin/nginx" if Path("/usr/sbin/nginx").exists() else None)


class Nginx:
    """nginx before a server that answers each request with the checksum of its body."""

    def __init__(self, binary: str, folder: Path) -> None:
        self._folder, self._binary = folder, binary
        self.port = _free_port()

    def __enter__(self) -> Nginx:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        made = asyncio.run_coroutine_threadsafe(asyncio.start_server(_behind, "127.0.0.1", 0), self._loop)
        behind = made.result(10).sockets[0].getsockname()[1]
        config = self._folder / "nginx.conf"
        config.write_text(NGINX.format(folder=self._folder, port=self.port, behind=behind, body=MAX_BODY))
        self._process = subprocess.Popen(
            [self._binary, "-c", str(config), "-p", str(self._folder), "-e", str(self._folder / "error.log")],
            stderr=subprocess.DEVNULL,
        )
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"nginx did not start: {(self._folder / 'error.log').read_text()}")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def read(self, data: bytes) -> list[int | None]:
        """What it made of the bytes: the checksum of each body that it passed on, None for a refusal."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as sock:
            out = b""
            try:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                while piece := sock.recv(65_536):
                    out += piece
            except OSError:  # it closed while we wrote: what it said before counts
                pass
        return list(_answers(out))


def _answers(out: bytes) -> Iterator[int | None]:
    while out.startswith(b"HTTP/1."):
        head, _, out = out.partition(b"\r\n\r\n")
        status = int(head[9:12])
        length = 0
        checksum = None
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b": ")
            if name.lower() == b"content-length":
                length = int(value)
            elif name.lower() == b"x-checksum":
                checksum = int(value)
        if status == 100:
            continue
        yield checksum
        out = out[length:]


async def _behind(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """nginx speaks HTTP/1.0 with a length towards here."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        at = head.find(b"\ncontent-length:")
        length = int(head[at + 16 : head.find(b"\r", at)]) if at >= 0 else 0
        body = await reader.readexactly(length)
        writer.write(b"HTTP/1.0 200 OK\r\nx-checksum: %d\r\ncontent-length: 0\r\n\r\n" % zlib.crc32(body))
        await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        writer.close()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def nginx() -> Iterator[Nginx | None]:
    """None where there is none."""
    binary = find_nginx()
    if binary is None:
        yield None
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, Nginx(binary, Path(folder)) as running:
        yield running


# --- the promise --------------------------------------------------------------------------


def broken(data: bytes, cuts: list[int], beside: Nginx | None) -> str | None:
    """What is wrong with how these bytes were read; None: nothing."""
    seen, out, still_open = read_by_door([data])
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    in_cuts = read_by_door([data[a:b] for a, b in itertools.pairwise(edges)])
    if in_cuts[0] != seen:
        return f"in one piece {seen}, in cuts at {edges[1:-1]} {in_cuts[0]}"
    if in_cuts[2] != still_open:
        return f"in one piece the connection is {'open' if still_open else 'closed'}, in cuts not"
    if seen and not out.startswith(b"HTTP/1.1 "):
        return f"the answer begins with {out[:20]!r}"
    if beside is None or not any(passes for passes, _ in seen):
        return None
    theirs = beside.read(data)
    for index, (passes, checksum) in enumerate(seen):
        here = theirs[index] if index < len(theirs) else None
        if passes and here is None:
            return f"request {index} passes here; nginx refuses it ({theirs})"
        if passes and here != checksum:
            return f"request {index} has another body in nginx ({theirs}, here {seen})"
        if here is None:  # refused there and not passed on here: a path, a method; what follows is not compared
            return None
    return None


# --- connections -----------------------------------------------------------------------------

_SIZES = ["0", "1", "2", "5", "05", "+5", "-1", "0x5", "5,5", "5 5", "", "a", "A", "fffffffffffffffff", "7fffffff"]
_ENDS = st.sampled_from([b"\r\n"] * 120 + [b"\n", b"\r", b"\r\r\n", b"\n\r", b" \r\n"])
_LINES = st.sampled_from(
    [f"POST {PATH} HTTP/1.1".encode()] * 60
    + [
        f"POST {PATH}?a=b HTTP/1.1".encode(), f"POST {PATH} HTTP/1.0".encode(), f"GET {PATH} HTTP/1.1".encode(),
        b"POST  /v1/embeddings HTTP/1.1", b"POST /v1/embeddings  HTTP/1.1", b"POST /v1/embeddings HTTP/1.1 ",
        b"POST /v1/embeddings HTTP/2.0", b"POST /v1/embeddings HTTP/1.10", b"POST /v1/embeddings http/1.1",
        b"post /v1/embeddings HTTP/1.1", b"POST /v1/embeddings", b" POST /v1/embeddings HTTP/1.1",
        b"POST http://h/v1/embeddings HTTP/1.1", b"POST /v1/embeddings#f HTTP/1.1", b"POST * HTTP/1.1",
        b"POST /v1/embeddings?\x7f HTTP/1.1", b"POST /v1/embeddings?\x00 HTTP/1.1",
        b"P\xc3\x96ST /v1/embeddings HTTP/1.1",
    ]
)  # fmt: skip
_FIELDS = st.sampled_from(
    [b"x-a: b"] * 40
    + [
        b"Host: h:80", b"host: h h", b"host: ", b"host: h/..", b"host: [::1]", b"x: y", b"x : y", b" x: y", b"x:y",
        b"x", b": y", b"x: y\r\n z", b"x: \x00", b"x: \x07", b"x: \xff", b"x\x00: y", b"x\x80: y", b"x_y: z",
        b"x: " + b"y" * 300, b"connection: close", b"connection: keep-alive", b"connection: content-length",
        b"expect: 100-continue", b"expect: what", b"upgrade: h2c", b"trailer: x",
        b"te: trailers", b"authorization: Bearer a", b"if-match: a",
        b"content-type: application/json", b"transfer-encoding: identity", b"content_length: 3",
    ]
)  # fmt: skip
_CODINGS = st.sampled_from(
    [b"chunked"] * 50
    + [
        b"Chunked", b"chunked ", b"\tchunked", b"xchunked", b"chunked, chunked", b"gzip, chunked", b"identity",
        b"chunked\x0b", b"\"chunked\"", b"chunked;a=b", b"", b"chunked,",
    ]
)  # fmt: skip
_BODIES = st.sampled_from(
    [b"", b"a", b"abcde", b"0\r\n\r\n", b"GET / HTTP/1.1\r\nhost: h\r\n\r\n", b"\r\n", b"x" * 700]
)
_SIZE_LINES = st.sampled_from(
    [b"%x"] * 60
    + [
        b"%X", b"0%x", b"%x;a", b"%x;a=\"b\"", b"%x ", b"%x ;a", b" %x", b"0x%x", b"+%x", b"-%x", b"%x\t", b"%xg",
        b"%x,", b"00000000000000000000%x", b"%x;\x00", b"%x;\n", b"%x;" + b"e" * 300,
    ]
)  # fmt: skip
_TRAILERS = st.sampled_from(
    [b""] * 20 + [b"x: y\r\n", b"content-length: 3\r\n", b"x\r\n", b" x: y\r\n", b"x: \x00\r\n", b"x: y\n"]
)


@st.composite
def _chunked(draw: Any) -> bytes:
    out = b""
    for _ in range(draw(st.integers(0, 3))):
        body = draw(_BODIES.filter(bool))
        size = len(body) + draw(st.sampled_from([0] * 40 + [1, -1]))
        out += draw(_SIZE_LINES) % size + draw(_ENDS) + body + draw(_ENDS)
    return (
        out
        + draw(st.sampled_from([b"0"] * 10 + [b"00", b"0;a", b"", b"0 "]))
        + draw(_ENDS)
        + draw(_TRAILERS)
        + draw(_ENDS)
    )


@st.composite
def _request(draw: Any) -> bytes:
    fields = [b"host: h"] * draw(st.sampled_from([1] * 30 + [0])) + draw(
        st.lists(_FIELDS.filter(lambda f: f != b"host: h"), max_size=2)
    )
    kind = draw(st.sampled_from(["length"] * 4 + ["chunked"] * 5 + ["none", "both", "two"]))
    body = draw(_BODIES)
    size = draw(st.sampled_from([str(len(body))] * 60 + _SIZES)).encode()
    if kind in ("length", "both", "two"):
        fields.append(
            draw(st.sampled_from([b"content-length: "] * 6 + [b"Content-Length:", b"content-length : "])) + size
        )
    if kind == "two":
        fields.append(b"content-length: " + draw(st.sampled_from([size, b"3"])))
    if kind in ("chunked", "both"):
        fields.append(b"transfer-encoding: " + draw(_CODINGS))
        if draw(st.integers(0, 19)) == 0:
            fields.append(b"transfer-encoding: chunked")
        body = draw(_chunked())
    out = draw(st.sampled_from([b""] * 8 + [b"\r\n", b"\n", b"\r\n\r\n"])) + draw(_LINES) + draw(_ENDS)
    for field in draw(st.permutations(fields)):
        out += field + draw(_ENDS)
    return out + draw(_ENDS) + body


@st.composite
def connections(draw: Any) -> tuple[bytes, list[int]]:
    """(bytes of one connection, where it is cut)."""
    data = b"".join(draw(st.lists(_request(), min_size=1, max_size=3)))
    for _ in range(draw(st.sampled_from([0] * 6 + [1, 2]))):
        at = draw(st.integers(0, len(data)))
        put = draw(st.sampled_from([b"", b"\x00", b"\n", b"\r", b" ", b"\t", b":", b"0", b"\xff", b";"]))
        data = data[:at] + put + data[at + draw(st.integers(0, 2)) :]
    return data, draw(st.lists(st.integers(0, 4_000), max_size=6))


def run(examples: int, seed: int, beside: Nginx | None) -> int:
    """Read that many connections; raises AssertionError with the smallest that broke a promise. Returns how many
    of them held a request that passed."""
    passed = 0

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(connections())
    def one(connection: tuple[bytes, list[int]]) -> None:
        nonlocal passed
        data, cuts = connection
        passed += any(passes for passes, _ in read_by_door([data])[0])
        fault = broken(data, cuts, beside)
        assert fault is None, f"{fault}: {data!r}"

    one()
    return passed


def _with_atheris() -> None:
    import atheris  # type: ignore[import-not-found]

    with nginx() as beside:

        def one(data: bytes) -> None:
            fault = broken(data[8:], list(data[:8]), beside)
            assert fault is None, f"{fault}: {data[8:]!r}"

        atheris.Setup(sys.argv, one)
        atheris.Fuzz()


def main() -> None:
    if "--atheris" in sys.argv:
        sys.argv.remove("--atheris")
        _with_atheris()
        return
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    began = time.monotonic()
    count = passed = 0
    with nginx() as beside:
        print("nginx reads along" if beside is not None else "nginx is not installed: the door's own promises only")
        while time.monotonic() - began < seconds:
            passed += run(500, seed, beside)
            count, seed = count + 500, seed + 1
    print(f"{count} connections, {passed} with a request that passed; no promise broken")


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        print(error)
        sys.exit(1)

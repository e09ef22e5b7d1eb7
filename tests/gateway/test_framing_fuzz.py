"""A short, seeded run of `fuzz/gateway.py`: nothing passes that nginx would refuse."""

from __future__ import annotations

import pytest
from fuzz import gateway as fuzz


def test_nothing_passes_that_nginx_would_refuse() -> None:
    with fuzz.nginx() as beside:
        if beside is None:
            pytest.skip("nginx is not installed here")
        assert fuzz.run(300, 1, beside) > 40


def test_a_connection_reads_the_same_however_it_is_cut() -> None:
    assert fuzz.run(400, 2, None) > 40


@pytest.mark.parametrize(
    "wrong",
    [
        b"content-length: 3\r\ncontent-length: 3", b"content-length: 3\r\ntransfer-encoding: chunked",
        b"transfer-encoding: chunked, chunked", b"transfer-encoding: gzip, chunked", b"transfer-encoding: \tchunked",
        b"content-length: +3", b"content-length: 3, 3", b"content-length : 3", b"content-length: 3\r\n folded: x",
        b"content-length: 3\nx: y", b"content-length: 3\r\nhost: h", b"x: \x00\r\ncontent-length: 3",
    ],
)  # fmt: skip
def test_what_two_readers_could_read_in_two_ways_is_read_by_none(wrong: bytes) -> None:
    head = b"POST /v1/embeddings HTTP/1.1\r\nhost: h\r\n" + wrong + b"\r\n\r\n"
    seen, out, still_open = fuzz.read_by_door([head + b"abc"])
    assert seen == []
    assert out.split(b" ")[1] in (b"400", b"501")
    assert not still_open
    good, _, _ = fuzz.read_by_door([head.replace(wrong, b"content-length: 3") + b"abc"])
    assert [passes for passes, _ in good] == [True]

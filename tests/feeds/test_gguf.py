"""Fetching a model: whole, resumed, refused."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tieline.feeds.gguf import ModelFetchError, fetch_gguf

MODEL = b"GGUF" + bytes(range(256)) * 4000


class Server(http.server.BaseHTTPRequestHandler):
    """Serves MODEL; breaks off the first answer in the middle, and understands Range."""

    broke = False
    body = MODEL

    def do_GET(self) -> None:
        if self.path.endswith("missing.gguf"):
            self.send_error(404)
            return
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        rest = type(self).body[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if not type(self).broke:
            type(self).broke = True
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Server.broke, Server.body = False, MODEL
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_address[1]}"
    running.shutdown()


def test_a_broken_transfer_is_resumed_and_fetched_once(server: str, tmp_path: Path) -> None:
    seen: list[int] = []
    path = fetch_gguf(f"{server}/small.gguf", tmp_path, lambda done, total: seen.append(done))
    assert path.read_bytes() == MODEL
    assert seen[-1] == len(MODEL)
    seen.clear()
    assert fetch_gguf(f"{server}/small.gguf", tmp_path, lambda done, total: seen.append(done)) == path
    assert seen == []


def test_what_is_no_model_is_refused_and_not_kept(server: str, tmp_path: Path) -> None:
    Server.body = b"<html>not a model</html>"
    with pytest.raises(ModelFetchError, match="no GGUF"):
        fetch_gguf(f"{server}/page.gguf", tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ModelFetchError, match="404"):
        fetch_gguf(f"{server}/missing.gguf", tmp_path)
    with pytest.raises(ModelFetchError, match=r"ends in \.gguf"):
        fetch_gguf(f"{server}/model.bin", tmp_path)

"""`tieline alerts test`: one message over a channel, and why it did not arrive."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from tieline import config as configuration
from tieline.alerts import channels
from tieline.cli import main
from tieline.config.sections import AlertChannel, Alerts

HOOK = AlertChannel(id="hook", kind="webhook", url_env="T_HOOK")


@contextmanager
def receiver(says: bytes | None) -> Iterator[str]:
    """A webhook that answers this; None: it takes the message and hangs."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        kept: list[socket.socket] = []

        def serve() -> None:
            taken, _ = listening.accept()
            kept.append(taken)
            taken.recv(65_536)
            if says is not None:
                taken.sendall(says)
                taken.close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/hook"
        for one in kept:
            one.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    demo = configuration.demo()
    told = msgspec.structs.replace(demo, alerts=Alerts(channels=(HOOK,)))
    monkeypatch.setattr("tieline.cli.alerts.config_and_now", lambda _: (told, datetime.now(UTC)))
    monkeypatch.setattr(channels, "ANSWER_S", 0.3)


def tried(channel: str, tmp_path: Path) -> Result:
    return CliRunner().invoke(main, ["alerts", "test", channel, "--data-dir", str(tmp_path)])


@pytest.mark.parametrize(
    ("says", "code", "word"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 0, "hook: taken by the other side."),
        (b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", 1, "hook: answered 500"),
        (
            b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest\r\ncontent-length: 0\r\n\r\n",
            1,
            "hook: answered 302",
        ),
        (None, 1, "hook: not delivered: ReadTimeout"),
    ],
)
def test_a_channel_that_works_and_ones_that_do_not(
    asked: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, says: bytes | None, code: int, word: str
) -> None:
    with receiver(says) as url:
        monkeypatch.setenv("T_HOOK", url)
        said = tried("hook", tmp_path)
    assert (said.exit_code, word in said.output) == (code, True), said.output
    assert "169.254" not in said.output


def test_a_channel_that_there_is_not_and_one_without_its_address(
    asked: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("T_HOOK", raising=False)
    unknown, unset = tried("pager", tmp_path), tried("hook", tmp_path)
    assert (unknown.exit_code, "no channel 'pager'; configured: hook" in unknown.output) == (3, True)
    assert (unset.exit_code, "T_HOOK is not set" in unset.output) == (1, True)

"""`tieline quarantine`, as a person uses it: list, look, offer again, drop."""

import asyncio
import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from tieline.app.link_part import server_path
from tieline.app.runtime import Runtime, free_port
from tieline.cli import main
from tieline.link import Ack, ItemRefusal, NatsLink
from tieline.store.quarantine import Quarantine, count_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    core, site = Quarantine(tmp_path / "quarantine.db"), Quarantine(tmp_path / "sites" / "na-tx-01" / "quarantine.db")
    core.add("na-tx-02", [("Fault", "until: no zone", b'{"a":1}'), ("Fault", "until: no zone", b'{"a":2}')], NOW)
    core.add("na-tx-02", [("Fault", "until: no zone", b'{"a":1}')], NOW + timedelta(hours=1))
    site.add("na-tx-01", [("Sample|k", "too large", b"\x00\xff[")], NOW)
    core.close()
    site.close()
    return tmp_path


def run(data: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["quarantine", words[0], "--data-dir", str(data), *words[1:]])


def test_a_list_says_how_much_from_whom_and_why(data: Path) -> None:
    lines = run(data, "list").output.splitlines()
    assert lines[0].split() == ["2", "of", "na-tx-02", "(core:1", "to", "2):", "Fault:", "until:", "no", "zone"]
    assert lines[1].split() == ["1", "of", "na-tx-01", "(sites/na-tx-01:1):", "Sample|k:", "too", "large"]
    items = json.loads(run(data, "list", "--json").output)
    assert [(one["id"], one["times"]) for one in items] == [("core:1", 2), ("core:2", 1), ("sites/na-tx-01:1", 1)]
    assert len(run(data, "list", "--each").output.splitlines()) == 3
    assert count_of(data) == (3, 0)


def test_an_item_is_shown_with_its_bytes_and_nothing_of_them_reaches_the_terminal_raw(data: Path) -> None:
    shown = run(data, "show", "sites/na-tx-01:1").output
    assert "too large" in shown
    assert "\\x00\\xff[" in shown
    assert "\x00" not in shown


@pytest.mark.parametrize("name", ["core:9", "core:", "core", "mars:1", "core:-1", "core:" + "9" * 40])
def test_a_name_that_is_none_is_one_clear_line(data: Path, name: str) -> None:
    result = run(data, "show", name)
    assert result.exit_code == 3
    assert result.output.count("\n") == 1
    assert "nothing of that name" in result.output


def test_what_is_dropped_is_gone_and_dropping_asks(data: Path) -> None:
    assert run(data, "drop", "--all").exit_code == 1  # nobody said yes
    assert count_of(data) == (3, 0)
    assert run(data, "drop", "core:2", "--yes").output == "1 dropped.\n"
    assert run(data, "drop", "--all", "--yes", "--json").output == '{"dropped": 2}\n'
    assert run(data, "list").output == "Nothing is set aside.\n"


def test_offering_again_needs_a_platform_and_says_so(data: Path) -> None:
    result = run(data, "replay", "--all")
    assert result.exit_code == 3
    assert "no platform runs" in result.output


def test_what_the_core_now_stores_is_dropped_and_what_it_refuses_again_stays(data: Path) -> None:
    port = free_port()
    runtime = Runtime(
        version="0", data_dir=str(data), config=None, speed=1.0, anchor_wall=NOW, anchor_world=NOW,
        link_url=f"nats://127.0.0.1:{port}", link_secret="t", console_host="", console_port=0, gateway_host="",
        gateway_port=0,
    )  # fmt: skip
    runtime.save()
    server = subprocess.Popen([str(server_path()), "-a", "127.0.0.1", "-p", str(port)])
    seen: list[tuple[str, bytes]] = []

    async def take(subject: str, body: bytes) -> bytes:
        seen.append((subject, body))
        refused = () if body == b'[{"a":2}]' else (ItemRefusal(0, "still no zone", kept=True),)
        return msgspec.json.encode(Ack(1 - len(refused), refused=refused))

    async def story() -> Result:
        link = await NatsLink.connect(runtime.link_url, "core")
        await link.serve("records.*", take)
        result = await asyncio.to_thread(run, data, "replay", "core:1", "core:2")
        await link.close()
        return result

    try:
        result = asyncio.run(story())
    finally:
        server.terminate()
        server.wait()
    assert result.output == "core:1: refused again: still no zone\n1 of 2 are stored now.\n"
    assert result.exit_code == 1
    assert seen == [("records.na-tx-02", b'[{"a":1}]'), ("records.na-tx-02", b'[{"a":2}]')]
    assert [one["id"] for one in json.loads(run(data, "list", "--json").output)] == ["core:1", "sites/na-tx-01:1"]

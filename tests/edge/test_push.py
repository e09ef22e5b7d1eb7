"""What was observed leaves a site's outbox when the store has it, and not before."""

import asyncio
import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from tests.edge.edge_bench import Bench, FarStore
from tests.store.kinds import T0, tick

from tieline import records
from tieline.edge.push import push_always, push_once
from tieline.edge.sites import open_outbox
from tieline.intake import items
from tieline.link import Ack, LaterError, LinkDownError, LocalLink
from tieline.records import PriceTick
from tieline.store import Store, StoreError
from tieline.store.outbox import Outbox
from tieline.store.peer import StoreState
from tieline.store.quarantine import Quarantine


def test_an_item_is_deleted_only_when_the_store_acknowledged_it(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        far = FarStore(bench.link)
        await bench.step(61)
        waiting = len(bench.outbox)
        assert waiting == 3
        with pytest.raises(LinkDownError):
            await push_once(bench.link, "s", bench.outbox)
        await far.serve()
        far.refuses = True
        with pytest.raises(LaterError, match="disk full"):
            await push_once(bench.link, "s", bench.outbox)
        far.refuses, far.deaf = False, True
        with pytest.raises(TimeoutError):
            await push_once(bench.link, "s", bench.outbox)
        assert len(bench.outbox) == waiting
        far.deaf = False
        assert await push_once(bench.link, "s", bench.outbox) == waiting
        assert len(bench.outbox) == 0
        assert len(far.keys) == 2 * waiting  # sent twice, stored under the same keys
        assert len(set(far.keys)) == waiting

    asyncio.run(story())


def test_after_an_outage_everything_arrives(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        far = FarStore(bench.link)
        await far.serve()
        bench.link.up = False
        pusher = asyncio.create_task(push_always(bench.link, "s", bench.outbox))
        await bench.step(600)
        await asyncio.sleep(0.05)
        expected = {r.key for r in bench.kept()}
        assert len(expected) >= 30
        bench.link.up = True
        async with asyncio.timeout(5):
            while len(bench.outbox):
                await asyncio.sleep(0.02)
        pusher.cancel()
        assert set(far.keys) == expected

    asyncio.run(story())


def test_what_the_store_never_takes_is_set_aside_and_blocks_nobody(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        far = FarStore(bench.link)
        await far.serve()
        await bench.step(61)
        bad, *good = [record.key for record in bench.kept()]
        far.poison = bad
        pusher = asyncio.create_task(push_always(bench.link, "s", bench.outbox))
        async with asyncio.timeout(5):
            while len(bench.outbox):
                await asyncio.sleep(0.02)
        pusher.cancel()
        assert far.keys == good
        (held,) = Quarantine(tmp_path / "quarantine.db").each()
        assert (held.name, held.why, held.origin) == (f"Sample|{bad}", "not records", "s")

    asyncio.run(story())


# Its odd quote made one item of it and of the good ones behind it, its commas several of itself; nothing made none.
@pytest.mark.parametrize(
    "torn", [b'{"torn":1,"step_"\\u0s":300,"values":[0.0]}', b'\xa9"torn":1,"at":"2026","id":"\\u00e9\\ud', b"1,2", b""]
)
def test_a_torn_item_is_set_aside_whole_and_takes_no_neighbour_with_it(torn: bytes, tmp_path: Path) -> None:
    async def story() -> None:
        link, outbox, seen = LocalLink(), Outbox(tmp_path / "outbox.db"), []

        async def take(subject: str, data: bytes) -> bytes:
            found = items(data)
            seen.extend(found)
            return msgspec.json.encode(Ack(len(found)))

        await link.serve("records.*", take)
        good = [b'{"n":%d,"text":"a, b"}' % n for n in range(6)]
        outbox.put((f"k{n}", body) for n, body in enumerate([*good[:3], torn, *good[3:]]))
        while len(outbox):
            await push_once(link, "s", outbox)
        assert seen == good
        box = Quarantine(tmp_path / "quarantine.db")
        (held,) = box.each()
        assert box.get(held.id) == (held, torn)
        assert held.name == "k3"
        assert held.why.startswith("not sent: JSON is malformed") or not torn
        box.close()
        outbox.close()

    asyncio.run(story())


def test_the_outbox_survives_a_kill_at_any_moment(tmp_path: Path) -> None:
    """A process that keeps samples is killed without warning; whatever it said it had kept is there."""
    script = textwrap.dedent(
        """
        import asyncio, sys
        from pathlib import Path
        from tests.edge.edge_bench import Bench
        async def main():
            bench = Bench(Path(sys.argv[1]))
            while True:
                await bench.step()
                print(len(bench.outbox), flush=True)
        asyncio.run(main())
        """
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert child.stdout is not None
    said = 0
    while said < 30:
        said = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    rest = child.stdout.read().split("\n")
    child.wait()
    said = max([said, *(int(line) for line in rest[:-1] if line)])
    outbox = Outbox(tmp_path / "outbox.db")
    assert len(outbox) >= said
    outbox.close()


def test_a_site_with_nothing_new_to_say_hears_that_the_store_is_another_and_sends_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store was restored from a backup: what it had acknowledged since is gone there, and still kept here."""
    pushing = sys.modules["tieline.link.push"]  # its name in the package is its function's
    monkeypatch.setattr(pushing, "IDLE_S", 0.001)
    monkeypatch.setattr(pushing, "ASK_EVERY", 3)
    link, outbox = LocalLink(), Outbox(tmp_path / "outbox.db")
    epoch, pushes = "one", []

    async def far(subject: str, data: bytes) -> bytes:
        pushes.append(data)
        return msgspec.json.encode(Ack(len(msgspec.json.decode(data)), store=StoreState(epoch)))

    async def story() -> None:
        nonlocal epoch
        await link.serve("records.*", far)
        outbox.put([("a", b"1"), ("b", b"2")])
        pusher = asyncio.create_task(push_always(link, "s", outbox))
        async with asyncio.timeout(20):
            while len(pushes) < 4:
                await asyncio.sleep(0.001)
            assert pushes[0] == b"[1,2]"
            assert set(pushes[1:]) == {b"[]"}
            epoch = "two"
            while pushes.count(b"[1,2]") < 2:
                await asyncio.sleep(0.001)
            after = len(pushes)
            while len(pushes) < after + 3:
                await asyncio.sleep(0.001)
        pusher.cancel()
        assert pushes.count(b"[1,2]") == 2
        assert len(outbox) == 0

    asyncio.run(story())
    outbox.close()


def test_a_site_restored_from_last_week_s_disk_sends_again_and_nothing_is_there_twice(tmp_path: Path) -> None:
    """Its disk says that what was acknowledged since still waits, and numbers anew what comes next."""
    link, real = LocalLink(), Store(tmp_path / "store.db", records.encode, records.decode)
    (tmp_path / "site").mkdir()
    old = Outbox(tmp_path / "site" / "outbox.db")

    async def far(subject: str, data: bytes) -> bytes:
        batch = [records.decode(one) for one in items(data)]
        return msgspec.json.encode(Ack(real.append(batch), store=real.state))

    def said(*numbers: int) -> list[tuple[str, bytes]]:
        return [(one.key, records.encode(one)) for one in map(tick, numbers)]

    async def story() -> None:
        await link.serve("records.*", far)
        old.put(said(0, 1, 2))
        old.close()
        shutil.copytree(tmp_path / "site", tmp_path / "week-old")
        site = Outbox(tmp_path / "site" / "outbox.db")
        site.put(said(3, 4))
        await _all_of(link, site)
        site.close()
        shutil.rmtree(tmp_path / "site")
        shutil.copytree(tmp_path / "week-old", tmp_path / "site")
        back = Outbox(tmp_path / "site" / "outbox.db")
        back.put(said(4, 5))  # one that it had said before its disk went, and one that is new
        await _all_of(link, back)
        back.close()

    asyncio.run(story())
    assert [one.price_usd_per_mwh for one in real.between(PriceTick, T0, T0 + timedelta(days=9))] == [*range(6)]
    assert real.last_seq() == 6
    real.close()


async def _all_of(link: LocalLink, outbox: Outbox) -> None:
    while len(outbox):
        await push_once(link, "s", outbox)


def test_an_agent_killed_at_twenty_random_instants_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    """Orders it took are in force for the next, records it kept are in the outbox, each once."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.edge.kill_agent", str(tmp_path), "20", "11"],
        capture_output=True, text=True, timeout=100, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)
    assert summary["kills"] == 20
    assert summary["orders"] >= 20  # every life took one at least


@pytest.mark.parametrize("rubbish", [b"", b"x", b"\0" * 9000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_spool_that_is_corrupt_is_set_aside_and_the_site_goes_on(tmp_path: Path, rubbish: bytes) -> None:
    path = tmp_path / "outbox.db"
    before = open_outbox(path)
    for n in range(30):
        before.put([(f"k{n}", b"{}")])
    before.close()
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    path.write_bytes(rubbish)
    again = open_outbox(path)
    again.put([("k", b"{}")])
    assert [key for _, key, _ in again.take(10)] == ["k"]
    again.close()
    assert any("unreadable" in one.name for one in tmp_path.iterdir())
    last = open_outbox(path)  # and the next start finds nothing to set aside
    assert [key for _, key, _ in last.take(10)] == ["k"]
    last.close()


def test_an_outbox_stays_where_it_is_when_the_process_may_open_no_more_files(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    before = open_outbox(path)
    before.put([("a", b"1")])
    before.close()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = max(int(name) for name in os.listdir("/proc/self/fd")) + 1
    taken = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 8, hard))
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(path, os.O_RDONLY))
        os.close(taken.pop())
        os.close(taken.pop())  # enough for the file and its mark, not for its log
        with pytest.raises(StoreError, match="unable to open"):
            open_outbox(path)
    finally:
        for one in taken:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not list(tmp_path.glob("*.unreadable-*"))
    again = open_outbox(path)
    assert [key for _, key, _ in again.take(5)] == ["a"]
    again.close()

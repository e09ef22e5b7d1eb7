"""Who leads: one at a time, by number; an older leader keeps nothing, and nothing is decided twice."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pg8000.exceptions import InterfaceError
from tests.store.kinds import T0, tick
from tests.store.server import Server, running

from tieline import records
from tieline.store import Store, StoreError
from tieline.store.lead import holder, primary
from tieline.store.lead.fence import Fence, FencedError, TakenError, Turn
from tieline.store.lead.holder import HOLD_S, TAKE_S, Lead
from tieline.store.lead.lease import LeaseRow, open_leases
from tieline.store.place import StorePlace

INTERVAL = timedelta(minutes=5)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as one:
        yield one


@pytest.fixture(params=["file", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> StorePlace:
    if request.param == "file":
        return StorePlace(tmp_path)
    return StorePlace(tmp_path, request.getfixturevalue("server").url())


def opened(place: StorePlace) -> Store:
    return Store(place, records.encode, records.decode)


def test_one_of_two_takes_an_office_and_only_its_holder_may_change_it(place: StorePlace) -> None:
    opened(place).close()
    one, two = open_leases(place), open_leases(place)
    assert one.look("core") is None
    first = one.take("core", "a", "a:1", None)
    assert first is not None
    assert two.take("core", "b", "b:1", None) is None
    seen = two.look("core")
    assert seen is not None
    assert (seen.number, seen.holder, seen.place) == (1, "a", "a:1")
    one.renew(first)
    assert two.take("core", "b", "b:1", seen) is None, "it was renewed since it was looked at"
    second = two.take("core", "b", "b:1", two.look("core"))
    assert second is not None
    assert second.number == 2
    for forbidden in (one.renew, one.free, lambda fence: one.reserve(fence, 9)):
        with pytest.raises(FencedError, match=r"a \(number 1\) does not lead 'core' any more: b \(number 2\) does"):
            forbidden(first)
    two.reserve(second, 70)
    two.free(second)
    row = one.look("core")
    assert row is not None
    assert (row.number, row.holder, row.mark) == (2, "", 70)
    one.close()
    two.close()


def test_of_many_that_take_at_once_each_number_is_one_holders(place: StorePlace) -> None:
    opened(place).close()
    won: list[int] = []

    def grasp(name: str) -> None:
        leases = open_leases(place)
        for _ in range(5):
            fence = leases.take("core", name, "", leases.look("core"))
            if fence is not None:
                won.append(fence.number)
        leases.close()

    threads = [threading.Thread(target=grasp, args=(f"h{n}",)) for n in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(won) == list(range(1, len(won) + 1))
    assert won


def test_an_older_leader_keeps_nothing_and_no_turn_is_taken_twice(place: StorePlace) -> None:
    old, new = opened(place), opened(place)
    leases = open_leases(place)
    old.fence = leases.take("core", "a", "", None)
    assert old.append([tick(1)], [Turn("s", T0, 0), Turn("t", T0, 0)]) == 1
    new.fence = leases.take("core", "b", "", leases.look("core"))
    with pytest.raises(FencedError):
        old.append([tick(2)])
    assert new.turns(T0) == {"s": 1, "t": 1}
    assert new.last_turn() == T0
    with pytest.raises(TakenError, match="turn 0 of the interval from 2026-11-01"):
        new.append([tick(3)], [Turn("s", T0, 0)])
    assert new.append([tick(4)], [Turn("s", T0, 1), Turn("s", T0 + INTERVAL, 0)]) == 1
    assert [int(one.price_usd_per_mwh) for one in new.between(records.PriceTick, T0, T0 + timedelta(days=9))] == [1, 4]
    # A store of no leader's, such as a command's, writes as ever; and what is long past is forgotten.
    opened(place).append([tick(5)])
    new.append([tick(6)], [Turn("s", T0 + timedelta(days=9), 0)])
    assert new.turns(T0) == {}
    for one in (old, new):
        one.close()
    leases.close()


def test_a_standby_leads_when_the_leader_stands_still_and_the_leader_finds_out(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = StorePlace(tmp_path, server.url())
    opened(place).close()
    monkeypatch.setattr(holder, "BEAT_S", 0.05)
    monkeypatch.setattr(holder, "LOOK_S", 0.02)
    monkeypatch.setattr(holder, "HOLD_S", 0.4)
    monkeypatch.setattr(holder, "TAKE_S", 0.7)
    monkeypatch.setattr(holder, "STILL_S", 0.3)

    async def story() -> None:
        said: list[str] = []
        one, two = Lead(place, "core", "a"), Lead(place, "core", "b")
        first = await one.stand()
        standing = asyncio.create_task(two.stand(said.append))
        watching = asyncio.create_task(one.lost())
        await asyncio.sleep(1.2)
        assert one.holds
        assert not standing.done()
        assert said == [f"stands by; {one.holder} leads"]
        watching.cancel()  # its loop goes on no more, as far as it shows
        second = await standing
        assert second.number == first.number + 1
        assert not one.holds
        with pytest.raises(FencedError, match="leads 'core' no more"):
            one.check()
        two.close()  # it ends as it should: whoever stands by need not wait
        third = Lead(place, "core", "c")
        async with asyncio.timeout(0.5):
            await third.stand()
        third.close()
        one.close()

    asyncio.run(story())


def test_whose_clock_is_an_hour_off_does_not_lead_and_says_so(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = StorePlace(tmp_path, server.url())
    opened(place).close()
    real = holder.wall_now
    off = [timedelta(hours=-1)]
    monkeypatch.setattr(holder, "wall_now", lambda: real() + off[0])
    monkeypatch.setattr(holder, "LOOK_S", 0.02)

    async def story() -> None:
        lines: list[str] = []
        lead = Lead(place, "core", "a")
        standing = asyncio.create_task(lead.stand(wrong_clock=lines.append))
        while not lines:
            await asyncio.sleep(0.01)
        assert "clock is 3,600 s behind the store's" in lines[0]
        assert not standing.done()
        off[0] = timedelta(0)
        await asyncio.wait_for(standing, 2.0)
        assert lines[-1] == ""
        lead.close()

    asyncio.run(story())


def test_a_writer_that_hangs_within_a_transaction_is_ended_and_the_next_goes_on(server: Server, tmp_path: Path) -> None:
    place = StorePlace(tmp_path, server.url())
    hung, other = opened(place), opened(place)
    writing = hung.tables.write()
    writing.__enter__()
    began = time.monotonic()
    assert other.append([tick(1)]) == 1  # waits for the lock, and the server ends who holds it
    assert time.monotonic() - began < 5.0
    with pytest.raises(StoreError):
        writing.__exit__(None, None, None)
    assert hung.append([tick(2)]) == 1  # over a new connection
    hung.close()
    other.close()


def test_the_times_leave_room_for_clocks_that_run_apart() -> None:
    assert HOLD_S * 1.2 < TAKE_S


class Process:
    """One that stands for the office, and what it says."""

    def __init__(self, place: StorePlace, name: str) -> None:
        self.log = place.folder / f"{name}.log"
        with self.log.open("wb") as out:
            argv = [sys.executable, "-m", "tests.store.standing", str(place.folder), str(place.url), name]
            self.process = subprocess.Popen(argv, stdout=out, stderr=subprocess.DEVNULL, cwd=ROOT)

    @property
    def said(self) -> list[str]:
        return self.log.read_text().splitlines()

    def leads(self) -> int:
        """Its number, where the last it said is that it leads."""
        said = self.said
        return int(said[-1].split()[1]) if said and said[-1].startswith("leads") else 0

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 40
        while not condition():
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)


def test_leaders_that_are_killed_and_frozen_are_followed_and_what_they_wake_up_with_is_refused(
    server: Server, tmp_path: Path
) -> None:
    place = StorePlace(tmp_path, server.url())
    store = opened(place)
    one, two = Process(place, "a"), Process(place, "b")
    three: Process | None = None
    try:
        one.until(lambda: one.leads() or two.leads())
        first, second = (one, two) if one.leads() else (two, one)
        first.process.send_signal(signal.SIGSTOP)
        number = first.leads()
        second.until(lambda: second.leads() > number)
        had = store.last_seq()
        second.until(lambda: store.last_seq() > had)
        first.process.send_signal(signal.SIGCONT)
        # Woken in the middle of a write that the server had ended, it is told that; else that another leads.
        refused = ("refused FencedError", "refused NotReachedError")
        first.until(lambda: any(line.startswith(refused) for line in first.said))
        number = second.leads()
        second.process.kill()
        first.until(lambda: first.leads() > number)
        three = Process(place, "c")
        had = store.last_seq()
        first.until(lambda: store.last_seq() > had + 3)
    finally:
        for process in (one, two, three):
            if process is not None:
                process.process.send_signal(signal.SIGCONT)
                process.process.kill()
                process.process.wait()
    found = [int(each.price_usd_per_mwh) for each in store.between(records.PriceTick, T0, T0 + timedelta(days=9_999))]
    assert found == list(range(len(found))), "each once, and none left out"
    numbers = store.tables.rows("SELECT fence FROM decided ORDER BY at")
    assert [n for (n,) in numbers] == sorted(n for (n,) in numbers), "no turn of an older leader's behind a newer one's"
    store.close()


class Ticking:
    """A clock that half a second passes on with every look at it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 0.5
        return self.now


@pytest.mark.parametrize(
    ("beats_after", "takes_after"), [(7, 6.0), (8, 10.0)], ids=["nobody renewed meanwhile", "somebody did"]
)
def test_who_stands_by_counts_on_while_the_store_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, beats_after: int, takes_after: float
) -> None:
    """A primary is frozen and a standby promoted: the last renewal is as old as it is, and a newer one is seen anew."""
    monkeypatch.setattr(holder, "LOOK_S", 0.0)
    clock = Ticking()

    class Shaky:
        taken_at = 0.0

        def look(self, office: str) -> LeaseRow:
            if 1.0 < clock.now < 5.0:
                clock.now += 0.5
                raise StoreError("the primary says nothing")
            return LeaseRow(1, "a", "", 7 if clock.now < 5.0 else beats_after, 0)

        def take(self, office: str, name: str, place: str, seen: LeaseRow | None) -> Fence:
            assert seen is not None
            assert seen.beats == beats_after
            self.taken_at = clock.now
            return Fence(office, 2, name)

        def wall_s(self) -> None:
            return None

        def renew(self, fence: Fence) -> None: ...

        def free(self, fence: Fence) -> None: ...

        def close(self) -> None: ...

    shaky = Shaky()
    monkeypatch.setattr(holder, "open_leases", lambda place: shaky)
    lead = Lead(StorePlace(tmp_path, "postgresql://a,b/x"), "core", "b", clock=clock, times=(2.0, 4.0))
    asyncio.run(lead.stand())
    lead.close()
    assert shaky.taken_at == takes_after


def test_a_server_that_says_nothing_is_waited_for_less_long_but_for_each_fourth_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(primary, "CONNECT_S", 0.08)
    monkeypatch.setattr(primary, "SILENT_S", 0.02)
    waited: list[float | None] = []

    def says_nothing(place: primary.ServerPlace, sock: socket.socket) -> object:
        waited.append(sock.gettimeout())
        return sock.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as frozen:
        servers = primary.Servers([primary.ServerPlace("127.0.0.1", frozen.getsockname()[1])])
        for _ in range(6):
            with pytest.raises(InterfaceError, match="timed out"):
                servers.dial(says_nothing, 5.0)
    assert waited == [0.08, 0.02, 0.02, 0.02, 0.08, 0.02]

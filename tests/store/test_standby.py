"""Two standbys and `ANY 1`: what losing one costs, what losing both does, and what a person's promotion keeps."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tests.store.kinds import tick
from tests.store.standbys import ReplicatedServer, replicated

from tieline import records
from tieline.store import Store, StoreError
from tieline.store.lead.lease import look_at, open_leases
from tieline.store.lead.primary import servers_at
from tieline.store.place import StorePlace
from tieline.store.postgres import server_url


def opened(server: ReplicatedServer, name: str, folder: Path) -> Store:
    url = server.url_of_all("one", "primary", "two") if name == "all" else server.url(name)
    return Store(StorePlace(folder, url), records.encode, records.decode)


def test_nothing_acknowledged_is_lost_when_a_person_promotes_and_an_old_primary_acknowledges_nothing_more(
    tmp_path: Path,
) -> None:
    with replicated() as server:
        first = opened(server, "primary", tmp_path)
        assert first.append([tick(n) for n in range(10)]) is not None
        leases = open_leases(StorePlace(tmp_path, server.url("primary")))
        fence = leases.take("core", "a", "", leases.look("core"))
        assert fence is not None
        # Losing one standby costs nothing.
        server.stop("one", "immediate")
        first.append([tick(10)])
        # One address for all three: the primary is found, a standby and one that is down are passed over.
        everywhere = opened(server, "all", tmp_path)
        assert everywhere.last_seq() == 11
        # With both gone nothing is acknowledged: it waits, and is acknowledged when one is back.
        server.stop("two", "immediate")
        done = threading.Event()

        def waits() -> None:
            first.append([tick(11)])
            done.set()

        waiting = threading.Thread(target=waits, daemon=True)
        waiting.start()
        assert not done.wait(1.5), "no standby has it"
        server.start("two")
        assert done.wait(20.0), "as soon as one has it"
        waiting.join()
        acknowledged = first.last_seq()
        # The primary lives while a person promotes a standby: from then on the old one acknowledges nothing.
        server.promote("two")
        stuck, refused = threading.Event(), list[str]()

        def strays() -> None:
            try:
                first.append([tick(99)])
            except StoreError as error:
                refused.append(str(error))
            else:
                stuck.set()

        straying = threading.Thread(target=strays, daemon=True)
        straying.start()
        # Its own names wait for `one` and `two` too, and neither follows it: a person says so.
        assert server.asked("two", "ALTER SYSTEM SET synchronous_standby_names = ''") == []
        assert server.asked("two", "SELECT pg_reload_conf()") == [[True]]
        second = opened(server, "two", tmp_path / "moved")
        assert second.last_seq() == acknowledged == 12
        second.verify()
        row = look_at(StorePlace(tmp_path, server.url("two")), ["core"])["core"]
        assert row is not None
        assert (row.holder, row.number) == ("a", fence.number), "who led is known there, so that numbers only grow"
        second.append([tick(12)])
        assert second.last_seq() == acknowledged + 1
        # Whoever names all of them follows, while the old one lives; and does not go back when the new one is away.
        assert everywhere.last_seq() == acknowledged, "over the connection it has"
        everywhere.close()
        servers_at(server_url(server.url_of_all("one", "primary", "two")).places).broke(server.place("primary"))
        moved = opened(server, "all", tmp_path)
        assert moved.last_seq() == acknowledged + 1
        moved.append([tick(13)])
        moved.close()
        server.stop("two", "immediate")
        with pytest.raises(StoreError, match="is the primary of before; another was promoted since"):
            opened(server, "all", tmp_path)
        server.start("two")
        moved = opened(server, "all", tmp_path)
        assert moved.last_seq() == acknowledged + 2
        moved.close()
        assert not stuck.is_set(), "whoever writes to the old one is told nothing"
        assert straying.is_alive()
        server.stop("primary", "immediate")
        straying.join(20.0)
        assert not stuck.is_set()
        assert [one.partition(" ")[0] for one in refused] == ["cannot"], (
            "and that it failed, once the old one has ended"
        )
        with pytest.raises(StoreError):
            opened(server, "primary", tmp_path / "old").last_seq()
        second.close()

"""`make fast`: the tests that start no process, open no socket and wait for nothing; what was wrongly let in fails."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

# What a test module names when it starts something: a process, a socket, a browser, an engine, or waits for real.
_STARTS = re.compile(
    r"subprocess|create_server|open_connection|playwright|TestClient|uvicorn|asyncio\.sleep|time\.sleep|"
    r"tests\.(gateway\.(rig|engines|processes)|system|edge\.)|LuxOs|FakeRigs|NatsLink|httpserver|HTTPServer|socket\.|"
    r"threading\.Thread|start_server|make_link|feeds\.choose|app\.up|test_life|CliRunner\(\)\.invoke\(.*up|Popen|nats|(edgar|coin)_server|nginx"
)
# Take seconds without starting anything, or start something that they do not name.
_SLOW = {
    "test_accounts.py",
    "test_axe.py",
    "test_bounds.py",
    "test_compat.py",
    "test_data.py",
    "test_deferred.py",
    "test_example.py",
    "test_forecast.py",
    "test_gpu_nodes.py",
    "test_house.py",
    "test_keys.py",
    "test_known_days.py",
    "test_licences.py",
    "test_live_beside_backtest.py",
    "test_lived.py",
    "test_lookahead.py",
    "test_odds.py",
    "test_paging.py",
    "test_palette.py",
    "test_opened.py",
    "test_passkeys.py",
    "test_policies.py",
    "test_positions.py",
    "test_promises_played.py",
    "test_recorded_folder.py",
    "test_release.py",
    "test_replay_days.py",
    "test_reserves.py",
    "test_rig_table.py",
    "test_rubbish.py",
    "test_simulation.py",
    "test_simulation_books.py",
    "test_simulation_fleet.py",
    "test_sweep.py",
    "test_synthetic_world.py",
    "test_take.py",
}


class Fast:
    """Leaves out what starts something, by what its module names, and holds the rest to it."""

    def __init__(self) -> None:
        self._starts: dict[Path, bool] = {}

    def starts(self, item: pytest.Item) -> bool:
        path = item.path
        if path not in self._starts:
            self._starts[path] = path.name in _SLOW or bool(_STARTS.search(path.read_text(encoding="utf-8")))
        marked = item.get_closest_marker("slow") or item.get_closest_marker("system")
        return self._starts[path] or marked is not None

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        left_out = [item for item in items if self.starts(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not self.starts(item)]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Generator[None, Any, Any]:
        with pytest.MonkeyPatch.context() as patch:
            for owner, name in ((socket.socket, "connect"), (socket.socket, "bind"), (subprocess, "Popen")):
                patch.setattr(owner, name, refuse)
            patch.setattr(time, "sleep", refuse)
            return (yield)


def refuse(*args: object, **kwargs: object) -> None:
    raise AssertionError("a fast test opens no socket, starts no process and does not sleep")

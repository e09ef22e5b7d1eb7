"""Nothing that an agent acknowledged is lost with the power, and no metered minute is above a limit."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.edge.power_cuts import told


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Each cut is logged."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def test_power_that_goes_at_twenty_random_writes_loses_nothing_and_lifts_no_limit(tmp_path: Path) -> None:
    found = asyncio.run(told(tmp_path, 20, 3))
    assert found["lost"] == []
    assert found["disk"]["losses"] == 20
    assert found["disk"]["lost"] > 20  # writes that were not synced
    assert found["orders"] > 20
    assert found["records"] > 100
    assert found["seen"]["minutes looked at"] > 20
    assert found["seen"]["pushed again"] > 20


def test_a_disk_that_only_says_that_it_synced_is_noticed(tmp_path: Path) -> None:
    """What the test above looks at can be missed."""
    assert asyncio.run(told(tmp_path, 6, 5, lies=1.0))["lost"] != []

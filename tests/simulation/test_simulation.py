"""A sample of the simulated platform, and proof that it finds what it is there to find.

More of it: `make simulate SEED=n DAYS=n`.
"""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.simulation.defects import DEFECTS, hunt
from tests.simulation.machinery import T0, Loop, Program
from tests.simulation.world import World, many, run

from tieline.edge.decide import LEAD
from tieline.records import Instruction

# Seconds of processor; on a machine that others use too, many more of the clock.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What goes wrong on purpose is logged thousands of times."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def test_whatever_goes_wrong_at_once_what_was_promised_holds() -> None:
    total = many(range(1), days=1.0)
    for name in ("message lost", "message late", "message twice", "answer lost", "site cut off", "clock stepped"):
        assert total.seen[name] >= 3, f"{name} is hardly reached: {total.seen}"
    for name in ("requests answered whole", "records acknowledged and there", "limit looked at", "books looked at"):
        assert total.seen[name] >= 1, f"{name} is not reached: {total.seen}"
    assert sum(total.crashes.values()) >= 3


def test_a_seed_tells_the_same_history_each_time(tmp_path: Path) -> None:
    first, second = (run(5, tmp_path / name, 0.4) for name in "ab")
    assert first.history == second.history
    assert first == second


@pytest.mark.parametrize("forgotten", [False, True])
def test_an_order_that_begins_while_a_site_still_answers_gives_it_time(tmp_path: Path, forgotten: bool) -> None:
    loop = Loop()
    site = World(0, tmp_path, loop, 1.0).sites[0]
    site.program = Program(loop, site.machine, "site")
    site.units[1].turn("lies")  # what it is told is looked at for longer than until the order begins
    at = T0 + timedelta(seconds=600)
    site._took(
        Instruction(
            at=at, known_at=T0, source="s1/hook", kind="simulated", instruction_id="o", site_id="s1",
            limit_w=1e6, until=at + timedelta(seconds=60),
        )
    )  # fmt: skip
    if forgotten:
        site.bound.clear()
    loop.run_until_complete(asyncio.sleep(700))
    loop.close()
    assert site.quiet_since == (0.0 if forgotten else 600 - LEAD.total_seconds())


# Those that show soonest; all of them: `python -m tests.simulation.defects`.
@pytest.mark.parametrize("name", ["plan_obeyed_above_order", "forgotten_when_sent", "budget_granted_twice"])
def test_a_planted_defect_is_found(name: str) -> None:
    seeds, _ = hunt(replace(DEFECTS[name], days=0.8))
    assert seeds <= DEFECTS[name].seeds

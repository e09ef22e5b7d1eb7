"""Messages of many speakers are taken in turn."""

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieline.link.turns import Turns, speaker


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ("records.na-tx-01", "na-tx-01"), ("replica.na-tx-01.x.y", "na-tx-01"), ("plan.get.na-tx-01", "na-tx-01"),
        ("config.get.b", "b"), ("tunnel.site.b", "b"), ("attention", "attention"), ("", ""), ("plan.b", "b"),
    ],
)  # fmt: skip
def test_who_speaks_is_read_from_the_subject(subject: str, name: str) -> None:
    assert speaker(subject) == name


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 20))
def test_each_ones_order_is_kept_and_nobody_waits_for_more_than_one_of_each(speakers: list[int], most: int) -> None:
    turns: Turns[tuple[int, int]] = Turns(most)
    for n, who in enumerate(speakers):
        turns.put(f"records.{who}", (who, n))
    taken = []
    while (message := turns.next()) is not None:
        taken.append(message)
    for who in set(speakers):
        mine = [n for one, n in taken if one == who]
        assert mine == [n for n, one in enumerate(speakers) if one == who][-most:]
        places = [at for at, (one, _) in enumerate(taken) if one == who]
        assert places[0] < len(set(speakers))
        assert all(b - a <= len(set(speakers)) for a, b in itertools.pairwise(places))
    assert turns.dropped == len(speakers) - len(taken)


def test_who_waits_hears_what_comes_and_the_end() -> None:
    async def story() -> None:
        turns: Turns[int] = Turns()
        waiting = asyncio.create_task(turns.take())
        await asyncio.sleep(0)
        turns.put("records.a", 1)
        assert await waiting == 1
        last = asyncio.create_task(turns.take())
        await asyncio.sleep(0)
        turns.close()
        assert await last is None

    asyncio.run(story())

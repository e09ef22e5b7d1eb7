"""Where tokens go, and how many replicas stay ready for them."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dispatch.fleets import demand

from tieline.dispatch import Settings, load_table
from tieline.dispatch.inference.serving import Room, assign, route

TABLE = load_table(Settings().gpu_table)
REACH = {"a": ("b",), "b": ("c",), "c": ("b",)}


def test_work_moves_on_so_that_nothing_is_lost_that_could_be_carried():
    # c is over by 5 and fills b first; a is over by 5 and reaches b alone, b's own work can go on to c's room.
    can = {("m", "a"): 10.0, ("m", "b"): 20.0, ("m", "c"): 10.0}
    load, short = route(can, {("m", "a"): 15.0, ("m", "b"): 17.0, ("m", "c"): 8.0}, REACH)
    assert short == {}
    assert load == {("m", "a"): 10.0, ("m", "b"): 20.0, ("m", "c"): 10.0}


@settings(max_examples=200, deadline=None)
@given(
    can=st.lists(st.floats(0, 100), min_size=3, max_size=3),
    asked=st.lists(st.floats(0, 100), min_size=3, max_size=3),
)
def test_no_place_is_overfull_and_nothing_is_lost_with_room_at_home(can, asked):
    places = [("m", r) for r in "abc"]
    rooms, wants = dict(zip(places, can, strict=True)), dict(zip(places, asked, strict=True))
    load, short = route(rooms, wants, REACH)
    assert abs(sum(load.values()) + sum(short.values()) - sum(asked)) < 1e-3
    for place in places:
        assert load[place] <= rooms[place] + 1e-6
        if place in short:
            assert load[place] >= rooms[place] - 1e-3


def test_cheap_power_carries_the_load_and_one_site_may_fail():
    rooms = [Room(n, "north_america", "m", 50, 0) for n in ("dear", "cheap", "middle")]
    asked = {("m", "north_america"): demand(100_000.0)}
    cost = {"dear": 90.0, "cheap": 20.0, "middle": 50.0}
    wanted, _ = assign(rooms, asked, TABLE, Settings(), cost, {})
    busy = 100_000.0 / TABLE.tokens_per_s(128)
    counts = {name: w.replicas for name, w in wanted.items()}
    assert counts["cheap"] >= counts["middle"] >= counts["dear"]
    assert sum(counts.values()) - max(counts.values()) >= busy
    assert sum(counts.values()) >= busy * 1.15


def test_a_small_saving_moves_no_replica():
    rooms = [Room(n, "north_america", "m", 50, 0) for n in ("x", "y", "z")]
    asked = {("m", "north_america"): demand(50_000.0)}
    before, _ = assign(rooms, asked, TABLE, Settings(), {"x": 30.0, "y": 31.0, "z": 60.0}, {})
    running = {name: w.replicas for name, w in before.items()}
    after, _ = assign(rooms, asked, TABLE, Settings(), {"x": 31.0, "y": 30.0, "z": 60.0}, running)
    assert {n: w.replicas for n, w in after.items()} == running


def test_what_must_stay_at_home_has_the_first_room_there_and_is_lost_rather_than_moved():
    can = {("m", "a"): 10.0, ("m", "b"): 20.0}
    load, short = route(can, {("m", "a"): 15.0, ("m", "b"): 0.0}, {"a": ("b",)}, {"a": 0.8})
    assert load == {("m", "a"): 10.0, ("m", "b"): 3.0}
    assert short == {("m", "a"): 2.0}


@settings(max_examples=200, deadline=None)
@given(
    can=st.lists(st.floats(0, 100), min_size=3, max_size=3),
    asked=st.lists(st.floats(0, 100), min_size=3, max_size=3),
    stay=st.lists(st.floats(0, 1), min_size=3, max_size=3),
)
def test_residency_moves_nothing_that_must_stay(can, asked, stay):
    places = [("m", r) for r in "abc"]
    rooms, wants = dict(zip(places, can, strict=True)), dict(zip(places, asked, strict=True))
    residency = dict(zip("abc", stay, strict=True))
    load, short = route(rooms, wants, REACH, residency)
    assert abs(sum(load.values()) + sum(short.values()) - sum(asked)) < 1e-3
    for place in places:
        assert load[place] <= rooms[place] + 1e-6
        must = wants[place] * residency[place[1]]
        # At home stands at least what must, as far as there is room.
        assert load[place] >= min(must, rooms[place]) - 1e-3
    _, lost = route(rooms, wants, REACH)
    assert sum(short.values()) >= sum(lost.values()) - 1e-3

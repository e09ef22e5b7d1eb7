"""One site's agent, told as an operator's log."""

import asyncio
import itertools
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.edge.edge_bench import NOON, Bench, ScriptedDevice, make_plan, make_site

from tieline.edge.agent import Agent, Equipment
from tieline.edge.decide import Orders, UnitView, decide, must_wait
from tieline.records import Action, Fault, Override

MINUTE = 12  # steps of five seconds


def run(story) -> None:  # type: ignore[no-untyped-def]
    asyncio.run(story)


def test_a_plan_is_carried_out_and_read_back_once(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        await bench.step()
        plan = bench.plan(gpu=2, old=0, new=4)
        await bench.step(4)
        assert bench.true_mw == pytest.approx(6)
        found = bench.outcomes()
        assert {o.unit_id: o.result for o in found} == dict.fromkeys(("s.gpu", "s.rigs-1", "s.rigs-2"), "applied")
        assert all(o.plan_known_at == plan.known_at and o.cause == "economic" for o in found)
        assert [o.observed_w for o in found if o.unit_id == "s.rigs-1"] == [0.0]
        assert len(bench.old.told) == 1

    run(story())


@pytest.mark.parametrize("site", [{"mode": "observe"}, {"mode": "advise"}, {"ownership": "hosted"}])
def test_where_tieline_may_not_act_nothing_is_ever_sent(tmp_path: Path, site: dict[str, str]) -> None:
    async def story() -> None:
        bench = Bench(tmp_path, **site)
        await bench.step()
        bench.plan(gpu=0, old=0, new=0)
        bench.order(limit_mw=1)
        await bench.step(30)
        assert all(device.told == [] for device in bench.devices)
        wanted = "awaiting_operator" if site.get("mode") == "advise" else "observed_only"
        assert {o.result for o in bench.outcomes()} == {wanted}
        assert len(bench.outcomes()) == 3

    run(story())


def test_in_advise_an_operator_confirms_one_plan(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path, mode="advise")
        plan = bench.plan(gpu=2, old=0, new=4)
        await bench.step(2)
        assert bench.true_mw == pytest.approx(10)
        now = bench.clock.now()
        accept = Action(
            at=now, known_at=now, source="console", kind="measured", by="ops", what="accept", target="s",
            detail=plan.known_at.isoformat(),
        )  # fmt: skip
        bench.agent.take(accept, now)
        await bench.step(2)
        assert bench.true_mw == pytest.approx(6)
        bench.plan(gpu=2, old=0, new=0)  # the next plan wants its own word
        await bench.step(2)
        assert bench.true_mw == pytest.approx(6)

    run(story())


def test_a_grid_order_sheds_mining_first_the_least_efficient_first(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        bench.plan(gpu=2, old=4, new=4)
        await bench.step(2)
        bench.link.up = False  # no link, no solver
        for limit, old, new, gpu in ((7, 1, 4, 2), (3, 0, 1, 2), (1.5, 0, 0, 1.5)):
            bench.order(limit_mw=limit)
            await bench.step()
            assert [d.true_w / 1e6 for d in (bench.old, bench.new, bench.gpu)] == pytest.approx([old, new, gpu])
            await bench.step()  # read back
        assert {o.cause for o in bench.outcomes()} >= {"economic", "order"}

    run(story())


def test_the_order_ends_and_the_load_comes_back_in_stages(tmp_path: Path) -> None:
    """4 % of the interconnect a minute, the most efficient first; in the end the plan holds again."""

    async def story() -> None:
        bench = Bench(tmp_path)
        bench.plan(gpu=2, old=4, new=4)
        bench.order(limit_mw=2, minutes=1)
        await bench.step()
        assert bench.true_mw == pytest.approx(2)
        await bench.step(MINUTE + 1)
        stage_mw = 0.04 * bench.site.interconnect.limit_w / 1e6
        seen = []
        for _ in range(30):
            seen.append(bench.true_mw)
            bench.plan(gpu=2, old=4, new=4)
            await bench.step(MINUTE)
        assert seen[0] == pytest.approx(2 + stage_mw)
        assert all(0 <= after - before <= stage_mw + 1e-6 for before, after in itertools.pairwise(seen))
        half = next(n for n, drawn in enumerate(seen) if drawn >= 5)
        assert seen[half] < 10
        assert bench.old.true_w + bench.new.true_w == pytest.approx(8e6)
        assert seen[-1] == pytest.approx(10)

    run(story())


def test_a_restarted_agent_goes_on_with_the_stages(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path, keep_orders=True)
        bench.plan(gpu=2, old=4, new=4)
        bench.order(limit_mw=2, minutes=1)
        await bench.step(MINUTE + 1)
        bench.outbox.close()
        again = Bench(tmp_path, keep_orders=True)  # everything on, as after a power cut
        again.clock.set(bench.clock.now())
        await again.step()
        assert again.true_mw == pytest.approx(2.4)

    run(story())


def test_what_cannot_be_reached_counts_at_its_last_known_power(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        bench.plan(gpu=2, old=4, new=4)
        await bench.step(2)
        bench.old.answers = False
        bench.order(limit_mw=6)
        await bench.step(15)
        assert bench.new.true_w == pytest.approx(0)  # 4 unreachable + 2 inference fill the limit
        assert bench.true_mw == pytest.approx(6)
        (silent,) = [o for o in bench.outcomes() if o.result == "unreachable"]
        assert silent.unit_id == "s.rigs-1"
        assert silent.observed_w is None
        assert silent.last_known_w == pytest.approx(4e6)

    run(story())


def test_a_late_joiner_is_told_as_soon_as_it_is_heard(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        bench.old.answers = False
        bench.plan(gpu=2, old=0, new=4)
        await bench.step(20)
        assert bench.old.true_w == pytest.approx(4e6)
        bench.old.answers = True
        await bench.step(3)
        assert bench.old.true_w == 0

    run(story())


def test_what_does_not_obey_is_named_and_the_rest_makes_room(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        bench.plan(gpu=2, old=4, new=4)
        await bench.step(2)
        bench.old.obeys = False
        bench.order(limit_mw=6)
        await bench.step(20)
        assert bench.true_mw <= 6.01
        assert bench.gpu.true_w == pytest.approx(2e6)
        assert [o.unit_id for o in bench.outcomes() if o.result == "refused"] == ["s.rigs-1"]
        bench.old.obeys = True
        await bench.step(5)
        assert bench.old.true_w == pytest.approx(0)
        assert bench.new.true_w == pytest.approx(4e6)

    run(story())


@pytest.mark.parametrize("manner", ["well", "deaf", "silent"])
def test_load_goes_up_only_into_room_that_is_there(tmp_path: Path, manner: str) -> None:
    """A plan that moved load from one unit to another told both at once, and the first did not go."""

    async def story() -> None:
        bench = Bench(tmp_path)
        bench.order(limit_mw=6)
        bench.plan(gpu=2, old=4, new=0)
        await bench.step(20)
        bench.old.obeys, bench.old.answers = manner == "well", manner != "silent"
        bench.plan(gpu=2, old=0, new=4)
        for _ in range(30):
            await bench.step()
            assert bench.true_mw <= 6.01
        bench.old.obeys = bench.old.answers = True
        bench.plan(gpu=2, old=0, new=4)
        await bench.step(5)
        assert (bench.old.true_w, bench.new.true_w) == (0, pytest.approx(4e6))
        assert not [o for o in bench.outcomes() if o.result == "refused" and o.unit_id == "s.rigs-2"]

    run(story())


def test_a_unit_waits_for_its_own_feeder_and_no_other() -> None:
    site = make_site(limit_mw=20)
    site = msgspec.structs.replace(site, feeders=tuple(msgspec.structs.replace(f, limit_w=6e6) for f in site.feeders))
    gpu, mine = (feeder.id for feeder in site.feeders)
    plan = make_plan(NOON, {"s.gpu": 2, "s.rigs-1": 0, "s.rigs-2": 5})
    units = [
        UnitView("s.gpu", gpu, "inference", 0, 1e6, 2e6, sent_w=1e6),
        UnitView("s.rigs-1", mine, "mining", 29.5, 4e6, 4e6, sent_w=4e6),
        UnitView("s.rigs-2", mine, "mining", 17.5, 0, 5e6, sent_w=0),
    ]
    decided = decide(site, NOON, Orders(plan=plan), units)
    assert must_wait(site, decided, units) == {"s.rigs-2"}
    units[1] = replace(units[1], known_w=0.02e6)  # its control boards
    assert not must_wait(site, decided, units)
    units[1:] = [replace(units[1], known_w=4e6), replace(units[2], sent_w=5.5e6)]
    assert not must_wait(site, decided, units), "less than it was told before is told at once"


def test_a_limit_nothing_here_can_keep_is_said_once(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        bench.plan(gpu=2, old=4, new=4)
        await bench.step(2)
        for device in bench.devices:
            device.answers = False
        bench.order(limit_mw=6, minutes=2)
        await bench.step(40)
        faults = [r for r in bench.kept() if isinstance(r, Fault)]
        assert [f.until is None for f in faults] == [True, False]
        assert "4.000 MW" in faults[0].detail

    run(story())


def test_cut_off_the_site_goes_on_until_the_plan_ends_then_takes_its_safe_default(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        bench.plan(gpu=2, old=4, new=4, valid=timedelta(seconds=60))
        bench.link.up = False
        await bench.step(11)
        assert bench.true_mw == pytest.approx(10)
        await bench.step(2)
        assert (bench.gpu.true_w, bench.old.true_w, bench.new.true_w) == (2e6, 0, 0)
        assert [o.cause for o in bench.outcomes()][-1] == "fault"

    run(story())


@pytest.mark.parametrize(("default", "left_mw"), [("mining_off", 2), ("hold", 10), ("all_off", 0)])
def test_without_any_plan_the_safe_default_comes_after_a_grace(tmp_path: Path, default: str, left_mw: float) -> None:
    async def story() -> None:
        bench = Bench(tmp_path, safe_default=default)
        await bench.step(59)
        assert bench.true_mw == pytest.approx(10)
        await bench.step(3)
        assert bench.true_mw == pytest.approx(left_mw)

    run(story())


def test_an_operators_override_holds_a_unit_until_it_expires(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        bench.plan(gpu=2, old=4, new=4)
        now = bench.clock.now()
        bench.agent.take(
            Override(
                at=now, known_at=now, source="console", kind="measured", override_id="o1", site_id="s",
                unit_id="s.rigs-2", target_w=1e6, until=now + timedelta(minutes=1), by="ops", why="fans",
            ),
            now,
        )  # fmt: skip
        await bench.step(2)
        assert bench.new.true_w == pytest.approx(1e6)
        assert any(o.cause == "override" for o in bench.outcomes())
        await bench.step(12)
        assert bench.new.true_w == pytest.approx(4e6)

    run(story())


def test_orders_survive_a_restart_without_a_link(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path, keep_orders=True)
        bench.plan(gpu=2, old=4, new=4)
        bench.order(limit_mw=5)
        await bench.step(2)
        bench.outbox.close()
        again = Bench(tmp_path, keep_orders=True)  # everything on, as after a power cut
        assert again.true_mw == 10
        again.link.up = False
        await again.step()
        assert again.true_mw == pytest.approx(5)

    run(story())


def test_silence_is_none_and_never_zero(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        bench.old.answers = False
        await bench.step(61)
        sample = next(s for s in bench.samples() if s.unit_id == "s.rigs-1")
        assert (sample.readings, sample.power_w, sample.hashrate_hs, sample.last_heard) == (0, None, None, None)
        other = next(s for s in bench.samples() if s.unit_id == "s.rigs-2")
        assert other.power_w == pytest.approx(4e6)

    run(story())


def test_what_a_page_shows_says_how_old_it_is(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        await bench.step()
        bench.old.answers = False
        await bench.step(3)
        live = json.loads(bench.agent.live(bench.clock.now()))["units"]["s.rigs-1"]
        assert (live["power_w"], live["heard"], live["age_s"]) == (4e6, False, 15.0)

    run(story())


def test_a_cap_asks_no_unit_that_does_not_obey_for_more(tmp_path: Path) -> None:
    """Told what it draws anyway it would seem to hear again, the others would take its room, and the limit be broken
    until it was found out once more."""
    site = make_site(limit_mw=10, rigs=("Antminer S19j Pro", "Antminer S21"))
    deaf, well = (
        UnitView(unit, site.feeders[0].id, "mining", rank, known, 6.3e6, commandable=commandable)
        for unit, rank, known, commandable in (("s.rigs-1", 29.5, 6.24e6, False), ("s.rigs-2", 17.5, 5.2e6, True))
    )
    bench = Bench(tmp_path)
    plan = make_plan(bench.clock.now(), {"s.rigs-1": 4.8, "s.rigs-2": 5.2})
    found = decide(site, bench.clock.now(), Orders(plan=plan), [deaf, well], uncounted_w=0.15e6)
    asked = {target.unit_id: target.setpoint.target_w for target in found.targets if target.setpoint is not None}
    assert asked["s.rigs-1"] == pytest.approx(4.8e6)
    assert asked["s.rigs-2"] == pytest.approx(10e6 - 0.15e6 - 6.24e6)
    bench.outbox.close()


UNITS = ("s.gpu", "s.rigs-1", "s.rigs-2", "s.rigs-3")


@settings(max_examples=80, deadline=None)
@given(
    asked=st.lists(st.floats(0, 4), min_size=4, max_size=4),
    drawing=st.lists(st.floats(0, 4), min_size=4, max_size=4),
    silent=st.sets(st.sampled_from(UNITS)),
    limit_mw=st.floats(0, 16),
    planned=st.booleans(),
)
def test_the_reflex_keeps_any_limit_that_can_be_kept(
    tmp_path_factory: pytest.TempPathFactory,
    asked: list[float],
    drawing: list[float],
    silent: set[str],
    limit_mw: float,
    planned: bool,
) -> None:
    """One step after the order, with what is unreachable counted at its last known power."""

    async def story() -> None:
        bench = Bench(tmp_path_factory.mktemp("bench"))
        bench.site = make_site(limit_mw=12, rigs=("Antminer S19j Pro", "Antminer S21", "Antminer S21 XP"))
        devices = [ScriptedDevice(u, 4e6, w * 1e6) for u, w in zip(UNITS, drawing, strict=True)]
        agent = Agent(bench.clock, bench.site, Equipment(devices), bench.outbox, bench.link)
        bench.agent, bench.devices = agent, devices
        await bench.step(2)  # everything is heard, the interconnect's limit is kept and read back
        for device in devices:
            device.answers = device.unit_id not in silent
        if planned:
            agent.take(make_plan(bench.clock.now(), dict(zip(UNITS, asked, strict=True))), bench.clock.now())
        bench.order(limit_mw)
        await bench.step()
        limit_w = min(limit_mw, 12) * 1e6
        assert agent.decision is not None
        mining_w = sum(d.true_w for d in devices[1:] if d.answers)
        held_w = sum(d.true_w for d in devices if not d.answers)
        if held_w <= limit_w + 1:
            event("can be kept")
            assert sum(d.true_w for d in devices) <= limit_w + 1
            assert agent.decision.short_w <= 1
            gpu = devices[0]
            if agent.waiting:  # what was to draw more does so once the others are seen to have gone
                event("waited")
                await bench.step()
                mining_w = sum(d.true_w for d in devices[1:] if d.answers)
                assert not agent.waiting
                assert sum(d.true_w for d in devices) <= limit_w + 1
            if gpu.answers and planned and gpu.true_w < min(asked[0], 4) * 1e6 - 1:
                event("inference was shed")
                assert mining_w <= 1
        else:
            event("cannot be kept")
            assert agent.decision.short_w > 0
            assert mining_w == devices[0].true_w * devices[0].answers == 0
        bench.outbox.close()

    run(story())

"""A modelled fleet: power with cooling and heat, waking, reflex, outages, tokens, and limits that hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tieline.dispatch import load_table
from tieline.fleet import Contract, Feeder, Fleet, Interconnect, NodeGroup, RigGroup, Site
from tieline.fleet.physics import aux_share
from tieline.records import Reason, Setpoint
from tieline.sim.world import World

TABLE = load_table("llama-3.1-70b_4xh100")
WHY = Reason(rule="test", text="test")
DEMAND = {("m", "north"): 10_000.0}


def site(name: str, *groups: RigGroup | NodeGroup, cooling: str = "air", region: str = "north") -> Site:
    return Site(
        id=name,
        name=name,
        region=region,
        lat=0.0,
        lon=0.0,
        interconnect=Interconnect(limit_w=20e6),
        feeders=(
            Feeder(id=f"{name}.f-mine", load="mining", limit_w=20e6),
            Feeder(id=f"{name}.f-gpu", load="inference", limit_w=20e6),
        ),
        contract=Contract(basis="fixed", fixed_usd_per_mwh=30.0),
        cooling=cooling,  # type: ignore[arg-type]
        rig_groups=tuple(g for g in groups if isinstance(g, RigGroup)),
        node_groups=tuple(g for g in groups if isinstance(g, NodeGroup)),
    )


def rigs(name: str, model: str = "Antminer S21", count: int = 1000, wake: str = "fast") -> RigGroup:
    return RigGroup(id=name, feeder="a.f-mine", model=model, rigs=count, wake=wake)  # type: ignore[arg-type]


def nodes(name: str, count: int = 4) -> NodeGroup:
    return NodeGroup(id=name, feeder="a.f-gpu", node="8xH100", nodes=count, model="m")


def world(*sites: Site) -> World:
    made = World(Fleet(name="test", sites=sites), TABLE, batch=128)
    made.set_weather({s.id: 25.0 for s in sites})
    return made


def ask(unit: str, *, replicas: int | None = None, target_w: float = 0.0, **shares: float) -> Setpoint:
    return Setpoint(unit_id=unit, target_w=target_w, reason=WHY, shares=shares, replicas=replicas)


def test_modes_draw_and_hash_as_rated_with_cooling_on_top() -> None:
    w = world(site("a", rigs("g")))
    for shares, power, hashes in (({"normal": 1.0}, 1.0, 1.0), ({"low": 1.0}, 0.72, 0.80), ({"off": 1.0}, 0.0, 0.0)):
        w.apply(ask("g", **shares))
        w.advance(300, {})
        drawn = w.advance(300, {})
        assert drawn.load_w[0] == pytest.approx(power * 3.5e6)
        assert drawn.aux_w[0] == pytest.approx(power * 3.5e6 * aux_share("air", 25.0))
        assert drawn.hashrate_hs[0] == pytest.approx(hashes * 200e15)
    w.apply(ask("g", sleep=1.0))
    assert w.advance(300, {}).load_w[0] == pytest.approx(25.0 * 1000)


def test_heat_derates_air_and_spares_water() -> None:
    w = world(site("a", rigs("g")), site("b", rigs("h", "Antminer S21 Hyd"), cooling="hydro"))
    for unit in ("g", "h"):
        w.apply(ask(unit, normal=1.0))
    w.set_weather({"a": 45.0, "b": 45.0})
    w.advance(300, {})
    drawn = w.advance(300, {})
    assert drawn.hashrate_hs[0] == pytest.approx(0.8 * 200e15)
    assert drawn.hashrate_hs[1] == pytest.approx(335e15)
    w.set_weather({"a": 48.0, "b": 48.0})
    assert w.advance(300, {}).power_w[0] == 0.0


def test_a_waking_rig_draws_before_it_hashes() -> None:
    w = world(site("a", rigs("fast"), rigs("slow", wake="slow")))
    for unit in ("fast", "slow"):
        w.apply(ask(unit, normal=1.0))
    drawn = w.advance(60, {})
    assert drawn.load_w.tolist() == pytest.approx([3.5e6, 3.5e6])
    assert drawn.hashrate_hs.tolist() == pytest.approx([200e15 * 50 / 60, 0.0])
    assert drawn.started.tolist() == [1000.0, 1000.0]
    later = w.advance(300, {})
    assert later.hashrate_hs.tolist() == pytest.approx([200e15, 200e15 * 60 / 300])
    assert later.started.tolist() == [0.0, 0.0]


def test_the_reflex_sheds_the_least_efficient_first_and_never_inference() -> None:
    w = world(site("a", rigs("good", "Antminer S21 XP"), rigs("poor", "Antminer S19"), nodes("gpu")))
    for unit in ("good", "poor"):
        w.apply(ask(unit, normal=1.0))
    w.apply(ask("gpu", replicas=8))
    free = w.advance(300, DEMAND)
    limit = float(free.power_w.sum()) - 1e6
    held = w.advance(300, DEMAND, limit_w=np.array([limit]))
    at = w.index
    assert held.power_w.sum() == pytest.approx(limit, rel=1e-9)
    assert held.power_w[at["poor"]] < free.power_w[at["poor"]] - 0.9e6
    assert held.power_w[at["good"]] == free.power_w[at["good"]]
    assert held.tokens_per_s[at["gpu"]] == pytest.approx(10_000.0)


def test_stuck_rigs_stay_as_they_were() -> None:
    w = world(site("a", rigs("g")))
    w.apply(ask("g", normal=1.0))
    w.advance(300, {})
    w.stick(np.array([0.2]))
    w.apply(ask("g", sleep=1.0))
    for _ in range(3):
        drawn = w.advance(300, {})
    assert drawn.load_w[0] == pytest.approx(0.2 * 3.5e6 + 0.8 * 25_000)
    w.stick(np.array([0.0]))
    assert w.advance(300, {}).load_w[0] == pytest.approx(25_000)


def test_after_an_outage_rigs_boot() -> None:
    w = world(site("a", rigs("g"), nodes("gpu")))
    w.apply(ask("g", normal=1.0))
    w.apply(ask("gpu", replicas=2))
    w.advance(300, DEMAND)
    dark = w.advance(300, DEMAND, supply=np.array([0.0]))
    assert dark.power_w.tolist() == [0.0, 0.0]
    assert dark.tokens_per_s.sum() == 0.0
    assert dark.unserved_per_s == {("m", "north"): 10_000.0}
    back = w.advance(300, DEMAND)
    assert back.started[w.index["g"]] == pytest.approx(1000.0)
    assert back.hashrate_hs[w.index["g"]] == pytest.approx(200e15 * 120 / 300)  # 180 s of boot


def test_tokens_go_to_the_region_and_stop_at_what_replicas_can_do() -> None:
    w = world(site("a", nodes("gpu")), site("b", nodes("far"), region="south"))
    w.apply(ask("gpu", replicas=2))
    w.apply(ask("far", replicas=2))
    w.advance(300, {})
    most = 2 * TABLE.tokens_per_s(128)
    drawn = w.advance(300, {("m", "north"): most + 500.0, ("m", "south"): 100.0})
    assert drawn.tokens_per_s.tolist() == pytest.approx([most, 100.0])
    assert drawn.unserved_per_s == pytest.approx({("m", "north"): 500.0})
    w.reach = {"north": ("south",)}
    shared = w.advance(300, {("m", "north"): most + 500.0, ("m", "south"): 100.0})
    assert shared.tokens_per_s.tolist() == pytest.approx([most, 600.0])


shares = st.tuples(*[st.floats(0.01, 1.0)] * 4).map(lambda parts: [p / sum(parts) for p in parts])


@given(
    asked=st.lists(shares, min_size=1, max_size=6),
    temp=st.one_of(st.none(), st.floats(-30, 55)),
    limit_mw=st.floats(0.0, 8.0),
    replicas=st.integers(0, 8),
)
@settings(max_examples=80, deadline=None)
def test_the_limit_holds_whatever_is_asked(
    asked: list[list[float]], temp: float | None, limit_mw: float, replicas: int
) -> None:
    w = world(site("a", rigs("g"), rigs("h", "Antminer S19"), nodes("gpu")))
    w.set_weather({"a": temp})
    w.apply(ask("gpu", replicas=replicas))
    for split in asked:
        for unit in ("g", "h"):
            w.apply(ask(unit, **dict(zip(("normal", "low", "sleep", "off"), split, strict=True))))
        drawn = w.advance(300, DEMAND, limit_w=np.array([limit_mw * 1e6]))
        # What is left when all mining sleeps cannot be shed here: sleeping boards and inference.
        floor = 2000 * 25.0 * 1.1 + float(drawn.power_w[w.index["gpu"]])
        assert drawn.power_w.sum() <= max(limit_mw * 1e6, floor) + 1.0
        assert (drawn.power_w >= 0).all()
        assert (drawn.hashrate_hs >= 0).all()
        assert drawn.hashrate_hs.sum() <= 295e15 + 1
        assert w.shares[w.is_rig].sum(axis=1) == pytest.approx([1.0, 1.0])


def test_a_target_alone_is_met_between_sleep_and_normal() -> None:
    w = world(site("a", rigs("g")))
    for target_w in (0.0, 10_000.0, 1e6, 3e6):
        w.apply(ask("g", target_w=target_w))
        assert w.advance(300, {}).power_w[0] == pytest.approx(target_w)
    w.apply(ask("g", target_w=9e9))
    assert w.advance(300, {}).load_w[0] == pytest.approx(3.5e6)

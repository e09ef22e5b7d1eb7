"""How fast dispatch decides, and how far from optimal: look-ahead against HiGHS on the same steps.

    python bench/dispatch_speed.py [--data FOLDER] [--quick]

One core (OMP_NUM_THREADS=1 is set here). Fleet, prices, weather and demand from a data folder. Writes
bench/out/dispatch_speed.json. Times are this machine's, with whatever else runs on it.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import asyncio
import json
import platform
import resource
import statistics
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np

from tieline import records
from tieline.app.backtest import settings_for
from tieline.app.backtest_data import World, load
from tieline.app.backtest_plant import Plant
from tieline.app.backtest_policies import Known, Tieline
from tieline.dispatch import Controller, Settings, load_table
from tieline.dispatch.arrays import fleet_arrays
from tieline.dispatch.forecast import SLOT_S
from tieline.dispatch.lookahead import look
from tieline.dispatch.reference import Serving, build, follow, solve
from tieline.dispatch.serving import Room, assign
from tieline.feeds.recorded import RecordedFolder
from tieline.fleet import Fleet
from tieline.fleet.physics import GPU_AUX
from tieline.records import Demand, Instruction
from tieline.store import Store

OUT = Path(__file__).parent / "out" / "dispatch_speed.json"
START = datetime(2024, 8, 19, 5, tzinfo=UTC)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(os.environ.get("DATA", os.environ.get("TIELINE_DATA", "../shared/data")))
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--quick", action="store_true", help="fewer steps, no MILP")
    asked = parser.parse_args()
    if not asked.data.is_dir():
        sys.exit(f"no data folder at {asked.data}; give one with --data or DATA=...")
    found: dict[str, object] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one used; shared with other work",
        "python": platform.python_version(),
    }
    found["replan"] = replans(asked.data, 60 if asked.quick else 400)
    print(json.dumps(found["replan"], indent=1))
    found["sites"] = sites(asked.data, (40, 200) if asked.quick else (40, 200, 1000))
    print(json.dumps(found["sites"], indent=1))
    if not asked.quick:
        found["gap"] = gaps(asked.data)
        print(json.dumps(found["gap"], indent=1))
    found["linopy"] = "not run: linopy is not among the locked libraries"
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(found, indent=1) + "\n")
    print(f"written to {OUT}")


def replans(folder: Path, steps: int) -> dict[str, object]:
    """Whole steps of the controller, five minutes each: reading the store, deciding, building and keeping plans."""
    source = RecordedFolder(folder)
    fleet = _priced(source.fleet(), folder)
    known = source.records(fleet, START - timedelta(days=22), START + timedelta(days=3), with_events=False)
    out: dict[str, object] = {"sites": len(fleet.sites), "interval_s": 300, "scenarios": 20, "horizon_h": 48}
    for policy in ("strike", "lookahead"):
        store = Store(None, records.encode, records.decode)
        store.append(known)
        controller = Controller(store, fleet, Settings(policy=policy))
        begin = time.perf_counter()
        asyncio.run(controller.step(START))
        cold = time.perf_counter() - begin
        took = []
        for n in range(1, steps):
            begin = time.perf_counter()
            asyncio.run(controller.step(START + n * timedelta(minutes=5)))
            took.append(time.perf_counter() - begin)
        now = START + steps * timedelta(minutes=5)
        order = Instruction(
            at=now,
            known_at=now,
            source="bench",
            kind="simulated",
            instruction_id="bench",
            site_id=fleet.sites[0].id,
            limit_w=fleet.sites[0].interconnect.limit_w / 2,
            until=now + timedelta(hours=1),
        )
        store.append([order])
        begin = time.perf_counter()
        asyncio.run(controller.step(now))
        after = time.perf_counter() - begin
        took.sort()
        out[policy] = {
            "cold_s": round(cold, 4),
            "warm_median_ms": round(statistics.median(took) * 1e3, 2),
            "warm_p99_ms": round(took[int(len(took) * 0.99)] * 1e3, 2),
            "after_an_order_ms": round(after * 1e3, 2),
            "times_real_time": round(300.0 / statistics.mean(took)),
        }
        store.close()
    return out


def sites(folder: Path, counts: tuple[int, ...]) -> list[dict[str, object]]:
    """One decision of look-ahead alone on more and more sites, cold: arrays and all."""
    world, settings = _world(folder)
    out: list[dict[str, object]] = []
    for count in counts:
        wide = _repeated(world, count)
        begin = time.perf_counter()
        fleet = fleet_arrays(wide.fleet, settings)
        plant = Plant(wide, fleet, load_table(settings.gpu_table), settings)
        known = Known(wide, fleet, plant, settings, wide.slot(START), SLOT_S)
        ahead = Tieline().ahead(replace(known, seconds=300))
        built = time.perf_counter() - begin
        begin = time.perf_counter()
        look(fleet, ahead)
        took = time.perf_counter() - begin
        out.append(
            {
                "sites": count,
                "steps": len(ahead.hours),
                "scenarios": 20,
                "build_s": round(built, 3),
                "solve_s": round(took, 3),
                "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            }
        )
    return out


def gaps(folder: Path) -> list[dict[str, object]]:
    """Look-ahead's own plan against HiGHS on the same prices, limits and costs; one scenario, true prices."""
    world, settings = _world(folder)
    fleet, table = fleet_arrays(world.fleet, settings), load_table(settings.gpu_table)
    out: list[dict[str, object]] = []
    for hours in (0, 31, 62, 93):
        plant = Plant(world, fleet, table, settings)
        slot = world.slot(START + timedelta(hours=hours))
        known = Known(world, fleet, plant, settings, slot, 300, perfect=True)
        ahead = Tieline(perfect=True).ahead(known)
        running = (np.arange(fleet.groups) % 2).astype(float)  # half of the groups run already
        begin = time.perf_counter()
        mine = follow(fleet, ahead, running)
        took = time.perf_counter() - begin
        begin = time.perf_counter()
        best = solve(build(fleet, ahead, running, None), gap=1e-5)
        highs = time.perf_counter() - begin
        row: dict[str, object] = {
            "start": world.when(slot).isoformat(),
            "mining_usd": round(mine),
            "mining_highs_usd": round(best.value_usd),
            "mining_gap_percent": round(100.0 * (best.bound_usd - mine) / abs(best.bound_usd), 4),
            "lookahead_s": round(took, 3),
            "highs_s": round(highs, 2),
            "columns": best.columns,
            "rows": best.rows,
            "highs_status": best.status,
        }
        serving = _serving(world, known, ahead.hours)
        base_usd, base_w = _serve(world, known, plant, ahead, serving)
        begin = time.perf_counter()
        whole = solve(build(fleet, ahead, running, serving), gap=1e-4, limit_s=120.0)
        row["full_highs_s"] = round(time.perf_counter() - begin, 2)
        row["full_columns"] = whole.columns
        row["full_highs_status"] = whole.status
        row["full_highs_usd"] = round(whole.value_usd)
        total = follow(fleet, replace(ahead, base_w=base_w), running) + base_usd
        row["full_usd"] = round(total)
        row["full_gap_percent"] = round(100.0 * (whole.bound_usd - total) / abs(whole.bound_usd), 4)
        out.append(row)
    return out


def _serving(world: World, known: Known, hours: object) -> Serving:
    plant, settings = known.plant, known.settings
    table = plant.table
    tokens = table.tokens_per_s(settings.interactive_batch)
    idle = table.idle_w * (1.0 + GPU_AUX)
    regions = sorted(world.demand)
    offsets = np.cumsum(np.asarray(hours)) - np.asarray(hours)
    at = known.slot + (offsets * 3600 / SLOT_S).astype(int)
    where = [world.fleet.sites[n].region for _, n, _ in plant.nodes]
    reach = np.array([[w == r or w in world.reach.get(r, ()) for w in where] for r in regions])
    mean = float(np.mean([world.inputs[r][known.slot] for r in regions]))
    usd = (settings.output_usd_per_mtok + settings.input_usd_per_mtok * mean) / 1e6
    return Serving(
        site=plant.node_site,
        most=np.array([float(u.nodes * u.replicas_per_node) for _, _, u in plant.nodes]),
        tokens_per_s=tokens,
        idle_w=idle,
        busy_w=plant.full_replica_w - idle,
        load_usd=idle / 1e6 * table.load_s_cold / 3600.0 * 40.0,
        reach=reach,
        demand=np.stack([world.demand[r][at] for r in regions], axis=1),
        usd_per_token=usd,
    )


def _serve(world: World, known: Known, plant: Plant, ahead: object, serving: Serving) -> tuple[float, np.ndarray]:
    """Dispatch's own choice of replicas at each step, priced with the same costs; growth margin left out, since
    the programme it is compared with knows demand exactly."""
    from tieline.dispatch.lookahead import Ahead, powers

    assert isinstance(ahead, Ahead)
    settings = msgspec.structs.replace(known.settings, warm_headroom=0.0)
    regions, policy = sorted(world.demand), Tieline(perfect=True)
    _, high = powers(known.fleet, replace(ahead, base_w=np.zeros_like(ahead.base_w)))
    base_w = np.zeros_like(ahead.base_w)
    running: dict[str, int] = {}
    total = 0.0
    for t, hours in enumerate(ahead.hours):
        one = Ahead(
            hours=ahead.hours[t : t + 1],
            usd_per_h=ahead.usd_per_h,
            aux=ahead.aux[t : t + 1],
            derate=ahead.derate[t : t + 1],
            limit_w=ahead.limit_w[t : t + 1],
            base_w=base_w[t : t + 1],
            price=ahead.price[t : t + 1],
        )
        cost = policy.inference_cost(known, one, high[t])
        rooms = [
            Room(u.id, world.fleet.sites[n].region, u.model, u.nodes * u.replicas_per_node, 0)
            for _, n, u in plant.nodes
        ]
        costs = {u.id: float(cost[n]) for _, n, u in plant.nodes}
        now = known.world.when(known.slot)
        demands = {
            (plant.model, r): Demand(
                at=now,
                known_at=now,
                source="bench",
                kind="estimated",
                model=plant.model,
                region=r,
                output_tokens_per_s=float(serving.demand[t, i]),
            )
            for i, r in enumerate(regions)
        }
        wanted, short = assign(rooms, demands, plant.table, settings, costs, running)
        for k, (_, n, u) in enumerate(plant.nodes):
            got = wanted[u.id]
            load = (got.tokens_per_s or 0.0) / serving.tokens_per_s
            base_w[t, n] += got.replicas * serving.idle_w + load * serving.busy_w
            before = running.get(u.id, got.replicas if t == 0 else 0)
            total -= max(0, got.replicas - before) * serving.load_usd if t else 0.0
            running[u.id] = got.replicas
            del k
        served = float(serving.demand[t].sum()) - sum(short.values())
        total += served * 3600.0 * hours * serving.usd_per_token
    price = ahead.price[:, :, 0]
    take = np.zeros(price.shape[1]) if ahead.take_w is None else ahead.take_w
    under = price if ahead.below is None else ahead.below[:, :, 0]
    cheap = np.minimum(base_w, take)
    total -= float((((base_w - cheap) * price + cheap * under) / 1e6 * ahead.hours[:, None]).sum())
    return total, base_w


def _world(folder: Path) -> tuple[World, Settings]:
    span = [("bench", START, START + timedelta(days=7))]
    world = load(folder, span, events=False)
    return world, settings_for(Settings(), world, "B")


def _repeated(world: World, count: int) -> World:
    """The folder's sites over and over, renamed, until there are `count`."""
    sites = []
    for n in range(count):
        site = world.fleet.sites[n % len(world.fleet.sites)]
        groups = tuple(msgspec.structs.replace(g, id=f"{g.id}-{n}") for g in site.rig_groups)
        nodes = tuple(msgspec.structs.replace(g, id=f"{g.id}-{n}") for g in site.node_groups)
        sites.append(msgspec.structs.replace(site, id=f"{site.id}-{n}", rig_groups=groups, node_groups=nodes))
    fleet: Fleet = msgspec.structs.replace(world.fleet, sites=tuple(sites))
    temps = np.stack([world.temp_c[:, n % world.temp_c.shape[1]] for n in range(count)], axis=1)
    return replace(world, fleet=fleet, temp_c=temps)


def _priced(fleet: Fleet, folder: Path) -> Fleet:
    """Without the sites whose market has no price in these days."""
    known = {t.market for t in RecordedFolder(folder).prices(fleet, START, START + timedelta(days=1))}
    kept = tuple(s for s in fleet.sites if s.contract.basis == "fixed" or s.contract.market in known)
    return msgspec.structs.replace(fleet, sites=kept)


if __name__ == "__main__":
    main()

"""The same programme written for linopy, the layer under PyPSA: what a build of that kind takes.

    python bench/dispatch_peer.py CASE.npz LIMIT_S GAP

Run by `bench/dispatch_speed.py` with the interpreter that `--peers` names, since linopy (with xarray, pandas,
dask and polars some 350 MB) is no dependency. Knows nothing of tieline: the case holds prices, limits and rigs
as arrays. Prints one line of JSON. HiGHS solves, one thread, same gap and limit as for the direct build.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from importlib.metadata import version
from typing import Any

import linopy
import numpy as np
import pandas as pd
import xarray as xr


def main() -> None:
    warnings.simplefilter("ignore")
    path, limit_s, gap = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    with np.load(path) as case:
        given = {name: case[name] for name in case.files}
    begin = time.perf_counter()
    model = build(given)
    built = time.perf_counter() - begin
    begin = time.perf_counter()
    model.solve(
        solver_name="highs",
        io_api="direct",
        output_flag=False,
        threads=1,
        mip_rel_gap=gap,
        time_limit=limit_s,
        progress=False,
    )
    print(
        json.dumps(
            {
                "library": f"linopy {version('linopy')}, highspy {version('highspy')}",
                "build_s": round(built, 3),
                "hand_over_and_solve_s": round(time.perf_counter() - begin, 3),
                "usd": round(float(model.objective.value)),
                "status": str(model.termination_condition),
                "columns": int(model.nvars),
                "rows": int(model.ncons),
            }
        )
    )


def build(given: dict[str, Any]) -> linopy.Model:
    """Rigs as populations over modes, sites, and where the case has node groups inference beside them."""
    steps, groups = given["full_usd"].shape
    sites = given["limit_mw"].shape[1]
    t, g, n = (pd.RangeIndex(k, name=d) for k, d in ((steps, "t"), (groups, "g"), (sites, "n")))

    def over(name: str, *dims: str) -> xr.DataArray:
        return xr.DataArray(
            given[name], dims=dims, coords={d: c for d, c in (("t", t), ("g", g), ("n", n)) if d in dims}
        )

    hours, full_usd, meter, sleep = (
        over("hours", "t"),
        over("full_usd", "t", "g"),
        over("meter_mw", "t", "g"),
        over("sleep_mw", "t", "g"),
    )
    low_w, low_h = float(given["low_power"]), float(given["low_hash"])
    model = linopy.Model()
    share = {
        name: model.add_variables(0, 1, coords=[t, g], name=name)
        for name in ("low", "normal", "asleep", "off", "wake", "boot")
    }
    low, normal, asleep, off, wake, boot = share.values()
    earns = low_h * hours * full_usd * low + hours * full_usd * normal
    earns = (earns - over("wake_usd", "t", "g") * wake - over("boot_usd", "t", "g") * boot).sum()
    model.add_constraints(low + normal + asleep + off == 1, name="modes")
    on = low + normal
    later = {"t": slice(1, None)}
    model.add_constraints((on - on.shift(t=1) - wake - boot).isel(later) <= 0, name="starts")
    model.add_constraints((on - wake - boot).isel(t=0) <= over("running", "g"), name="first-start")
    model.add_constraints((wake - asleep.shift(t=1)).isel(later) <= 0, name="wakes")
    model.add_constraints((boot - off.shift(t=1)).isel(later) <= 0, name="boots")
    model.add_constraints(wake.isel(t=0) <= 1 - over("running", "g"), name="first-wake")
    model.add_constraints(boot.isel(t=0) <= 0, name="first-boot")
    above = model.add_variables(0, coords=[t, n], name="above")
    below = model.add_variables(0, over("take_mw", "n"), coords=[t, n], name="below")
    earns = earns - (hours * over("price", "t", "n") * above + hours * over("cheap", "t", "n") * below).sum()
    draw = low_w * meter * low + meter * normal + sleep * asleep
    site = xr.DataArray(given["site"], dims="g", coords={"g": g}, name="n")
    load = draw.groupby(site).sum() - above - below
    if "replica_site" in given:
        load, earns = _inference(model, given, t, hours, load, earns)
    model.add_constraints(load == -over("base_mw", "t", "n"), name="balance")
    model.add_constraints(above + below <= over("limit_mw", "t", "n"), name="interconnect")
    concave = over("concave", "t", "n").astype(bool)
    if bool(concave.any()):
        chosen = model.add_variables(binary=True, coords=[t, n], name="chosen", mask=concave)
        top, take = over("site_mw", "n"), over("take_mw", "n")
        model.add_constraints(above - top * chosen <= 0, name="resale-above", mask=concave)
        model.add_constraints(below - take * chosen >= 0, name="resale-below", mask=concave)
    if "rise_mw" in given:
        mining = low_w * meter * low + meter * normal
        rise = xr.DataArray(given["rise_mw"], dims=("t", "g"), coords={"t": t[1:], "g": g})
        model.add_constraints((mining - mining.shift(t=1)).isel(later) <= rise, name="restore")
    model.add_objective(earns, sense="max")
    return model


def _inference(
    model: linopy.Model, given: dict[str, Any], t: pd.Index, hours: xr.DataArray, load: Any, earns: Any
) -> tuple[Any, Any]:
    """Whole replicas, loads that cost, tokens routed between regions."""
    count, regions = len(given["replica_site"]), given["demand"].shape[1]
    k, r = (pd.RangeIndex(c, name=d) for c, d in ((count, "k"), (regions, "r")))
    most = xr.DataArray(given["most"], dims="k", coords={"k": k})
    per = float(given["tokens_per_s"])
    replicas = model.add_variables(0, most, coords=[t, k], integer=True, name="replicas")
    loads = model.add_variables(0, most, coords=[t, k], name="loads")
    reach = xr.DataArray(given["reach"].astype(float), dims=("r", "k"), coords={"r": r, "k": k})
    # Thousands of tokens a second keep the matrix's numbers close together.
    flow = model.add_variables(0, 1e9 * reach, coords=[t, r, k], name="flow")
    tokens = flow.sum("r")
    model.add_constraints(tokens - per / 1e3 * replicas <= 0, name="carry")
    model.add_constraints((replicas - replicas.shift(t=1) - loads).isel(t=slice(1, None)) <= 0, name="load")
    demand = xr.DataArray(given["demand"] / 1e3, dims=("t", "r"), coords={"t": t, "r": r})
    model.add_constraints(flow.sum("k") <= demand, name="demand")
    earns = earns + (float(given["usd_per_token"]) * 3.6e6 * hours * flow).sum()
    earns = earns - float(given["load_usd"]) * loads.isel(t=slice(1, None)).sum()
    where = xr.DataArray(given["replica_site"], dims="k", coords={"k": k}, name="n")
    drawn = float(given["idle_mw"]) * replicas + float(given["busy_mw"]) / per * 1e3 * tokens
    return load + drawn.groupby(where).sum().reindex(n=load.indexes["n"]), earns


if __name__ == "__main__":
    main()

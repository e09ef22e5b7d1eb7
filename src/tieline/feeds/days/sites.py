"""A fleet from a data folder's `scenario/sites.csv`.

One row is one site with one rig group and, where it has GPU megawatts, one node group. The row gives an
efficiency (J/TH), not a machine; the rig model of the site's cooling whose rating is nearest stands in, and
the counts follow from the megawatts. So deployed hashrate differs by a per cent or two from the row's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, get_args

from tieline.feeds.days.folder import FolderError, number, rows
from tieline.fleet import RIG_MODELS, Contract, Feeder, Fleet, Interconnect, NodeGroup, RigGroup, Site
from tieline.fleet.models import GPU_MODELS, Cooling, RigModel
from tieline.fleet.physics import GPU_AUX
from tieline.fleet.sites import Basis
from tieline.intake import one_of

COOLINGS: Final[tuple[Cooling, ...]] = get_args(Cooling)
BASES: Final[tuple[Basis, ...]] = get_args(Basis)

# What the nodes serve; demand of the same name comes from `llm_demand/`.
MODEL = "llama-3.1-70b"
NODE = "8xH100"

_COLUMNS = (
    "site_id", "region", "area", "lat", "lon", "capacity_mw", "gpu_mw", "asic_mw", "asic_j_per_th", "cooling",
    "price_basis", "price_market", "price_scale", "price_fixed_usd_mwh", "price_15min", "weather_station",
    "temp_offset_c", "azure_region", "rtt_penalty_ms",
)  # fmt: skip

# Take-or-pay terms by area (share of capacity billed hourly, resale allowed): the scenario's assumption.
TAKE_OR_PAY: dict[str, tuple[float, bool]] = {"Paraguay": (0.70, True), "Ethiopia": (0.60, False)}


def fleet_from_sites_csv(path: Path, scale: float = 1.0) -> Fleet:
    """All sites of the file, `scale` of their megawatts each. Raises FolderError naming line and column."""
    if not 0 < scale <= 100:
        raise FolderError(f"scale must be above 0 and at most 100, got {scale}")
    sites = tuple(_site(path, n + 2, row, n, scale) for n, row in enumerate(rows(path, _COLUMNS)))
    if not sites:
        raise FolderError(f"{path}: no site in it; one row per site is expected")
    seen: set[str] = set()
    for site in sites:
        if site.id in seen:
            raise FolderError(f"{path}: site_id {site.id!r} stands twice")
        seen.add(site.id)
    return Fleet(name=f"{path.parent.name}/{path.stem} x {scale:g}", sites=sites)


def nearest_rig(cooling: Cooling, j_per_th: float) -> RigModel:
    """The model of that cooling with the nearest rated efficiency; of two equally near, the better one."""
    of_kind = [rig for rig in RIG_MODELS.values() if rig.cooling == cooling]
    return min(of_kind, key=lambda rig: (round(abs(rig.efficiency_j_th - j_per_th), 6), rig.efficiency_j_th))


def _feeders(site_id: str, limit_w: float, *, gpus: bool) -> tuple[Feeder, ...]:
    mining = Feeder(id=f"{site_id}.f-mine", load="mining", limit_w=limit_w)
    return (Feeder(id=f"{site_id}.f-gpu", load="inference", limit_w=limit_w), mining) if gpus else (mining,)


def _site(path: Path, line: int, row: dict[str, str], index: int, scale: float) -> Site:
    def value(column: str) -> float:
        return number(path, line, row, column)

    cooling, basis, where = one_of(COOLINGS, row["cooling"]), one_of(BASES, row["price_basis"]), f"{path}:{line}"
    if cooling is None:
        raise FolderError(f"{where}: column cooling is {row['cooling']!r}; air, hydro or immersion is expected")
    if basis is None:
        raise FolderError(
            f"{path}:{line}: column price_basis is {row['price_basis']!r}; spot, tou or fixed is expected"
        )
    if basis != "fixed" and not row["price_market"]:
        raise FolderError(f"{path}:{line}: column price_market is empty; a {basis} site needs one")
    site_id, limit_w = row["site_id"], value("capacity_mw") * 1e6 * scale
    if limit_w <= 0:
        raise FolderError(f"{path}:{line}: column capacity_mw is {row['capacity_mw']}; above 0 is expected")
    rig = nearest_rig(cooling, value("asic_j_per_th"))
    rigs = int(value("asic_mw") * 1e6 * scale / rig.power_w)
    nodes = int(value("gpu_mw") * 1e6 * scale / (GPU_MODELS[NODE].rated_w * (1.0 + GPU_AUX)))
    take_share, resale = TAKE_OR_PAY.get(row["area"], (0.0, False)) if basis == "fixed" else (0.0, False)
    return Site(
        id=site_id,
        name=f"{row['area']} ({site_id})",
        region=row["region"],
        lat=value("lat"),
        lon=value("lon"),
        interconnect=Interconnect(limit_w=limit_w),
        feeders=_feeders(site_id, limit_w, gpus=nodes > 0),
        contract=Contract(
            basis=basis,
            market=row["price_market"] or None,
            scale=value("price_scale"),
            fixed_usd_per_mwh=value("price_fixed_usd_mwh") if row["price_fixed_usd_mwh"] else None,
            market_15min=row["price_15min"] or None,
            take_share=take_share,
            resale=resale,
        ),
        cooling=cooling,
        rig_groups=(
            RigGroup(
                id=f"{site_id}.rigs-1",
                feeder=f"{site_id}.f-mine",
                model=rig.name,
                rigs=rigs,
                wake="slow" if index % 2 else "fast",  # half of the groups wake slowly: the scenario's assumption
            ),
        )
        if rigs
        else (),
        node_groups=(NodeGroup(id=f"{site_id}.gpu", feeder=f"{site_id}.f-gpu", node=NODE, nodes=nodes, model=MODEL),)
        if nodes
        else (),
        mode="act",
        invented=True,
        weather_station=row["weather_station"] or None,
        temp_offset_c=value("temp_offset_c"),
        network_region=row["azure_region"] or None,
        rtt_penalty_ms=value("rtt_penalty_ms"),
    )

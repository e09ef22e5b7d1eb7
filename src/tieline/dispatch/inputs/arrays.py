"""A fleet as arrays, so that many sites are decided at once.

Shapes: G rig groups, N sites. Groups of a site stand in the order of their bids; `ranks` lists, for each place
in a site's merit order, which group's step from rest to low or from low to normal comes there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tieline.dispatch.settings import Settings
from tieline.fleet import Fleet
from tieline.fleet.physics import (
    AUX_AIR_COLD,
    AUX_AIR_HOT,
    AUX_COLD_C,
    AUX_HOT_C,
    AUX_LIQUID,
    DERATE_FROM_C,
    DERATE_PER_C,
    OFF_ABOVE_C,
    REBOOT_S,
    RIG_MODES,
    WAKE_S,
)

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.intp]

LOW, NORMAL, SLEEP = RIG_MODES["low"], RIG_MODES["normal"], RIG_MODES["sleep"]


@dataclass(frozen=True)
class FleetArrays:
    """Static facts of groups (G,) and sites (N,)."""

    unit_ids: tuple[str, ...]
    site: Ints  # (G,) index of its site
    rated_w: Floats
    rated_hs: Floats
    sleep_w: Floats
    wake_h: Floats
    boot_h: Floats
    wear_usd: Floats
    site_ids: tuple[str, ...]
    limit_w: Floats  # (N,)
    feeder_w: Floats  # (G,) limit of its feeder
    air: Floats  # (G,) 1 where the group is cooled by air
    first: Ints  # (G,) 0 for the best group of a site, then 1, 2 ...
    ranks: tuple[tuple[Ints, bool], ...]  # (groups, is the step low -> normal)

    @property
    def groups(self) -> int:
        return len(self.unit_ids)

    def block(self, sites: slice, groups: slice) -> FleetArrays:
        """These sites alone; `groups` are theirs."""
        begin, end = groups.start, groups.stop
        near = [(rows[(rows >= begin) & (rows < end)] - begin, up) for rows, up in self.ranks]
        return FleetArrays(
            unit_ids=self.unit_ids[groups],
            site=self.site[groups] - sites.start,
            rated_w=self.rated_w[groups],
            rated_hs=self.rated_hs[groups],
            sleep_w=self.sleep_w[groups],
            wake_h=self.wake_h[groups],
            boot_h=self.boot_h[groups],
            wear_usd=self.wear_usd[groups],
            site_ids=self.site_ids[sites],
            limit_w=self.limit_w[sites],
            feeder_w=self.feeder_w[groups],
            air=self.air[groups],
            first=self.first[groups],
            ranks=tuple((rows, up) for rows, up in near if rows.size),
        )


def fleet_arrays(fleet: Fleet, settings: Settings) -> FleetArrays:
    ids: list[str] = []
    site: list[int] = []
    first: list[int] = []
    air: list[float] = []
    rated: list[float] = []
    hashes: list[float] = []
    sleep: list[float] = []
    wake: list[float] = []
    feeder: list[float] = []
    places: list[list[tuple[int, bool]]] = []
    for n, one in enumerate(fleet.sites):
        limits = {f.id: f.limit_w for f in one.feeders}
        steps: list[tuple[float, int, bool]] = []
        for place, group in enumerate(sorted(one.rig_groups, key=lambda g: (g.rig.efficiency_j_th, g.id))):
            g = len(ids)
            ids.append(group.id)
            site.append(n)
            air.append(float(one.cooling_of(group) == "air"))
            rated.append(group.rated_w)
            hashes.append(group.rated_hs)
            sleep.append(SLEEP.fixed_w * group.rigs)
            wake.append(WAKE_S[group.wake] / 3600.0)
            feeder.append(limits[group.feeder])
            first.append(place)
            worth = 1.0 / group.rig.efficiency_j_th
            steps.append((-worth * LOW.hash_share / LOW.power_share, g, False))
            steps.append((-worth * (1.0 - LOW.hash_share) / (1.0 - LOW.power_share), g, True))
        places.append([(g, up) for _, g, up in sorted(steps)])
    ranks: list[tuple[Ints, bool]] = []
    for place in range(max((len(p) for p in places), default=0)):
        for up in (False, True):
            rows = [p[place][0] for p in places if len(p) > place and p[place][1] is up]
            if rows:
                ranks.append((np.array(rows, dtype=np.intp), up))
    wake_h = np.array(wake, dtype=float)
    rated_w = np.array(rated, dtype=float)
    return FleetArrays(
        unit_ids=tuple(ids),
        site=np.array(site, dtype=np.intp),
        rated_w=rated_w,
        rated_hs=np.array(hashes, dtype=float),
        sleep_w=np.array(sleep, dtype=float),
        wake_h=wake_h,
        boot_h=np.maximum(wake_h, REBOOT_S / 3600.0),
        wear_usd=settings.wear_usd_per_kw_start * rated_w / 1e3,
        site_ids=tuple(s.id for s in fleet.sites),
        limit_w=np.array([s.interconnect.limit_w for s in fleet.sites], dtype=float),
        feeder_w=np.array(feeder, dtype=float),
        air=np.array(air),
        first=np.array(first, dtype=np.intp),
        ranks=tuple(ranks),
    )


def heat(air: Floats, temp_c: Floats) -> tuple[Floats, Floats]:
    """(auxiliary share, derating) as `fleet.physics` has them, for arrays; nan: temperature unknown."""
    unknown = np.isnan(temp_c)
    temp = np.where(unknown, AUX_HOT_C, temp_c)
    warm = np.clip((temp - AUX_COLD_C) / (AUX_HOT_C - AUX_COLD_C), 0.0, 1.0)
    aux = np.where(air > 0, AUX_AIR_COLD + warm * (AUX_AIR_HOT - AUX_AIR_COLD), AUX_LIQUID)
    less = np.clip(1.0 - DERATE_PER_C * np.maximum(0.0, temp - DERATE_FROM_C), 0.0, 1.0)
    less = np.where(temp > OFF_ABOVE_C, 0.0, less)
    return aux, np.where((air > 0) & ~unknown, less, 1.0)

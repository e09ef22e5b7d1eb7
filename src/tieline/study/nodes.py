"""GPU nodes beside a site's rigs in dispatch: what they serve, draw and leave to the rigs, hour by hour.

Each site is a region of its own with the recorded shape of demand, scaled so that on the mean a share `load` of what
its nodes could serve is asked for; nobody serves another's users, and no work waits for a better hour, so that one run
of a fleet measures all of its sites. The demand's scale is assumed; its shape, throughput and power are measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from tieline.backtest.data import ScenarioWorld
from tieline.backtest.lookahead import Tieline
from tieline.backtest.policies import PolicyInputs
from tieline.backtest.sight import Recorded
from tieline.backtest.tokens import BATCH_SHARE, Tokens
from tieline.dispatch import Settings, load_table
from tieline.dispatch.inference.gpu import GpuTable
from tieline.dispatch.inputs.backlog import Lot
from tieline.dispatch.inputs.foresight import Where
from tieline.dispatch.inputs.horizon import grid
from tieline.dispatch.mining.ahead import SiteConditions, surroundings
from tieline.feeds.days.sites import MODEL
from tieline.fleet import Feeder, NodeGroup, Site
from tieline.fleet.models import GPU_MODELS
from tieline.fleet.physics import GPU_AUX

Floats = NDArray[np.float64]

# What stands in a surface's nodes, and how many model servers of the measured table each carries.
NODE: Final = "8xH100"
REPLICAS: Final = 2


def with_nodes(site: Site, share: float, region: str) -> Site:
    """The site with nodes that may draw this share of its limit, beside all of its rigs; at least one."""
    each_w = GPU_MODELS[NODE].rated_w * (1.0 + GPU_AUX)
    limit_w = site.interconnect.limit_w
    feeder = Feeder(id=f"{site.id}.study-gpu", load="inference", limit_w=limit_w)
    group = NodeGroup(
        id=f"{site.id}.study-nodes",
        feeder=feeder.id,
        node=NODE,
        nodes=max(1, int(limit_w * share / each_w)),
        model=MODEL,
        replicas_per_node=REPLICAS,
    )
    return msgspec.structs.replace(site, region=region, node_groups=(group,), feeders=(feeder, *site.feeders))


def beside(world: ScenarioWorld, share: float, load: float) -> ScenarioWorld:
    """The days with nodes of this share at every site. `world.demand` has the recorded shape by the sites' regions."""
    table = load_table(Settings().gpu_table)
    sites, demand, inputs = [], {}, {}
    for site in world.fleet.sites:
        here = with_nodes(site, share, site.id)
        series = world.demand[site.region]
        can = here.node_groups[0].nodes * REPLICAS * table.tokens_per_s(Settings().interactive_batch)
        demand[site.id] = series / series.mean() * load * can
        inputs[site.id] = world.inputs[site.region]
        sites.append(here)
    fleet = msgspec.structs.replace(world.fleet, sites=tuple(sites))
    return replace(world, fleet=fleet, demand=demand, inputs=inputs, reach={})


def steady_share(load: float) -> float:
    """What nodes draw at a steady load, over what they are rated at."""
    table: GpuTable = load_table(Settings().gpu_table)
    busy = table.power_w(load * table.tokens_per_s(Settings().interactive_batch))
    return REPLICAS * busy / GPU_MODELS[NODE].rated_w


class InteractiveTokens(Tokens):
    """All that is asked for is asked for now."""

    def asked(self, first: int, seconds: int) -> dict[tuple[str, str], float]:
        asked = super().asked(first, seconds)
        self.backlog.serve(np.inf)
        return {place: tokens / (1.0 - BATCH_SHARE) for place, tokens in asked.items()}


class InteractiveSight(Recorded):
    """Expects no work that may wait."""

    def asked(self, start: datetime, seconds: NDArray[np.intp], wide: int) -> Mapping[Where, Floats]:
        return {place: path / (1.0 - BATCH_SHARE) for place, path in super().asked(start, seconds, wide).items()}

    def owed(self, start: datetime) -> dict[str, list[Lot]]:
        return {}

    def arriving(self, model: str) -> float:
        return 0.0


class BesideNodes(Tieline):
    """Look-ahead over rigs and nodes that serve what is asked for at once."""

    def around(self, known: PolicyInputs, settings: Settings) -> tuple[Recorded, SiteConditions]:
        sight = InteractiveSight(known, perfect=False, forecaster=self._forecaster(known))
        steps = grid(known.world.when(known.slot), known.seconds, settings.horizon_s)
        around = surroundings(sight, known.world.fleet, known.fleet, settings, steps, known.hashprice_usd)
        return sight, around

"""What stands where: sites, interconnects, feeders, rig groups, GPU nodes. Facts, no behaviour.

Watts inside; configuration files say `_mw` and are converted at the door (`config`).
"""

from tieline.fleet.markets import Market, load_markets, shipped
from tieline.fleet.models import RIG_MODELS, GpuModel, RigModel
from tieline.fleet.partners import Partner
from tieline.fleet.sites import (
    Contract,
    Feeder,
    Fleet,
    Interconnect,
    NodeGroup,
    RigGroup,
    Site,
)
from tieline.fleet.tables import TableError

__all__ = [
    "RIG_MODELS",
    "Contract",
    "Feeder",
    "Fleet",
    "GpuModel",
    "Interconnect",
    "Market",
    "NodeGroup",
    "Partner",
    "RigGroup",
    "RigModel",
    "Site",
    "TableError",
    "load_markets",
    "shipped",
]

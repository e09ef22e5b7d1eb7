"""The file as it is written: its tables and keys, and the words that a key may take."""

from typing import Literal, get_args, get_origin

import msgspec

from tieline.config.sections import (
    AlertChannel,
    Alerts,
    Console,
    Dispatch,
    Feeds,
    Gateway,
    Intake,
    Key,
    LinkDoor,
    Login,
    Model,
    NoticeSource,
    PartnerTerms,
    Pool,
    Rental,
    Sections,
    StoreServer,
    Strict,
    Tenant,
    Treasury,
)
from tieline.fleet.models import Cooling
from tieline.fleet.network import NetworkBand
from tieline.fleet.positions import Leg
from tieline.fleet.sites import (
    ActMode,
    Basis,
    Hardware,
    Ownership,
)
from tieline.intake import (
    Celsius,
    Label,
    Machines,
    Megawatts,
    Milliseconds,
    NodeWatts,
    Printed,
    RigWatts,
    Terahashes,
    UsdPerMwh,
)


class RigsText(Strict, frozen=True, kw_only=True):
    model: str
    mw: Megawatts | None = None
    count: Machines | None = None
    firmware: str = "stock"
    hardware: Hardware | None = None
    addresses: tuple[str, ...] = ()
    wake: Literal["fast", "slow"] = "fast"


class RigModelText(Strict, frozen=True, kw_only=True):
    """A rig that the package does not know, as its maker rates it."""

    name: Printed
    hashrate_ths: Terahashes
    power_w: RigWatts
    cooling: Cooling = "air"
    vendor: str = ""
    release_year: Machines = 0
    source: str = ""


class GpuModelText(Strict, frozen=True, kw_only=True):
    """A GPU server that the package does not know: watts at the wall, before the site's cooling."""

    name: Printed
    gpus: Machines
    rated_w: NodeWatts
    idle_w: NodeWatts
    source: str = ""


class GpusText(Strict, frozen=True, kw_only=True):
    node: str = "8xH100"
    mw: Megawatts | None = None
    count: Machines | None = None
    model: str | None = None
    replicas_per_node: Machines = 2
    replicas_real: Machines = 0
    hardware: Hardware = "modelled"


class ContractText(Strict, frozen=True, kw_only=True):
    basis: Basis
    market: Printed | None = None
    scale: float = 1.0
    adder_usd_per_mwh: UsdPerMwh = 0.0
    fixed_usd_per_mwh: UsdPerMwh | None = None
    market_15min: Printed | None = None
    take_share: float = 0.0
    resale: bool = False
    demand_usd_per_kw_month: UsdPerMwh = 0.0
    demand_minimum_share: float = 0.0
    demand_ratchet_share: float = 0.0
    demand_hours: tuple[int, ...] = ()
    demand_zone: str = "UTC"
    peak_rules: tuple[str, ...] | None = None
    day_ahead: Printed | None = None
    legs: tuple[Leg, ...] = ()
    currency: str = "USD"
    fixed_local_per_mwh: UsdPerMwh | None = None
    adder_local_per_mwh: UsdPerMwh = 0.0
    demand_local_per_kw_month: UsdPerMwh = 0.0
    network: tuple[NetworkBand, ...] = ()


class AreaText(Strict, frozen=True, kw_only=True):
    """What sites of one area share; a site may say otherwise."""

    region: Printed | None = None
    operator: Printed | None = None
    contract: ContractText | None = None
    weather_station: Printed | None = None
    temp_offset_c: Celsius | None = None
    evaporative: float | None = None
    network_region: Printed | None = None
    rtt_penalty_ms: Milliseconds | None = None
    ownership: Ownership | None = None
    mode: ActMode | None = None
    safe_default: Literal["mining_off", "hold", "all_off"] | None = None
    reserves: tuple[str, ...] | None = None


class SiteText(AreaText, frozen=True, kw_only=True):
    id: str
    name: Label
    lat: float
    lon: float
    interconnect_mw: Megawatts
    area: str | None = None
    cooling: Cooling = "air"
    invented: bool | None = None
    mining_feeder_mw: Megawatts | None = None
    gpu_feeder_mw: Megawatts | None = None
    rigs: tuple[RigsText, ...] = ()
    gpus: tuple[GpusText, ...] = ()


class FleetText(Strict, frozen=True, kw_only=True):
    name: str
    invented: bool = False
    model: str | None = None  # what GPU nodes serve where a group does not say
    markets: str | None = None  # a file of markets besides the package's, named from this file
    peaks: str | None = None  # the same of peak rules
    reserves: str | None = None  # the same of reserve products


class FileText(Sections, frozen=True, kw_only=True):
    fleet: FleetText
    area: dict[str, AreaText] = msgspec.field(default_factory=dict)
    rig_model: tuple[RigModelText, ...] = ()
    gpu_model: tuple[GpuModelText, ...] = ()
    site: tuple[SiteText, ...] = ()
    model: tuple[Model, ...] = ()
    tenant: tuple[Tenant, ...] = ()
    rental: tuple[Rental, ...] = ()
    partner: tuple[PartnerTerms, ...] = ()


_STRUCTS: tuple[type[Strict], ...] = (
    FileText, FleetText, AreaText, SiteText, ContractText, RigsText, GpusText, RigModelText, GpuModelText,
    Pool, Treasury, Model, Tenant, Key, Rental, PartnerTerms, Dispatch, Feeds, Console, Gateway, LinkDoor, Intake,
    StoreServer, Alerts, AlertChannel, Login, NoticeSource,
)  # fmt: skip


# The words a key may take, where it takes only some.
CHOICES: dict[str, tuple[str, ...]] = {
    field.encode_name: tuple(
        str(word) for literal in (kind, *get_args(kind)) if get_origin(literal) is Literal for word in get_args(literal)
    )
    for struct in _STRUCTS
    for field in msgspec.structs.fields(struct)
    for kind in (field.type,)
}

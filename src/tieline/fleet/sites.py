"""Sites and what stands on them.

A Site has one Interconnect (the grid connection and its limit) and several Feeders (metered branches of one
kind of load, the unit of dispatch). Rigs are kept as groups of one model and firmware on one feeder; GPU
servers as groups of one node type. `hardware` says whether a unit is real, a fake on a socket, or modelled.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Literal

import msgspec

from tieline.fleet.currency import RateBook
from tieline.fleet.markets import Market, shipped, zone_of
from tieline.fleet.models import GPU_MODELS, RIG_MODELS, Cooling, GpuModel, RigModel
from tieline.fleet.network import NetworkBand, NetworkNow, network_at
from tieline.fleet.partners import Partner
from tieline.fleet.peaks import PeakRule, shipped_rules
from tieline.fleet.positions import Leg
from tieline.fleet.reserves import ReserveProduct, shipped_reserves

Ownership = Literal["owned", "leased", "hosted"]
ActMode = Literal["observe", "advise", "act"]
Hardware = Literal["real", "fake", "modelled"]
Basis = Literal["spot", "tou", "fixed"]


class Interconnect(msgspec.Struct, frozen=True, kw_only=True):
    """Grid connection point; drawn power is positive."""

    limit_w: float
    operator: str = ""


class Feeder(msgspec.Struct, frozen=True, kw_only=True):
    """A metered branch with one kind of load."""

    id: str
    load: Literal["mining", "inference"]
    limit_w: float


class RigGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Rigs of one model and firmware on one feeder, seen as a population."""

    id: str
    feeder: str
    model: str
    rigs: int
    firmware: str = "stock"
    hardware: Hardware = "modelled"
    addresses: tuple[str, ...] = ()
    wake: Literal["fast", "slow"] = "fast"
    spec: RigModel | None = None  # of a model that the operator's own file declares
    cooling: Cooling | None = None  # where it is not cooled as its site is

    @property
    def rig(self) -> RigModel:
        return RIG_MODELS[self.model] if self.spec is None else self.spec

    @property
    def rated_w(self) -> float:
        """Wall power of all rigs, before auxiliary load."""
        return self.rigs * self.rig.power_w

    @property
    def rated_hs(self) -> float:
        """Deployed hashrate, hashes per second."""
        return self.rigs * self.rig.hashrate_ths * 1e12


class NodeGroup(msgspec.Struct, frozen=True, kw_only=True):
    """GPU servers of one type on one feeder. `replicas_real` of them are real engine processes here; the
    rest are modelled and never counted as served tokens."""

    id: str
    feeder: str
    node: str
    nodes: int
    model: str
    replicas_per_node: int = 2
    replicas_real: int = 0
    hardware: Hardware = "modelled"
    spec: GpuModel | None = None  # of a node that the operator's own file declares

    @property
    def gpu(self) -> GpuModel:
        return GPU_MODELS[self.node] if self.spec is None else self.spec

    @property
    def rated_w(self) -> float:
        return self.nodes * self.gpu.rated_w


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """How a site pays for its power.

    spot: `market` x scale + adder. tou: a published time-of-use market x scale. fixed: `fixed_usd_per_mwh`,
    with `market` as the value of selling the power back where `resale`. Any of them may charge for the month's highest
    hour besides, of those that `demand_hours` names, but never less than for `demand_minimum_share` of the interconnect
    or `demand_ratchet_share` of the highest hour of the eleven months before.
    """

    basis: Basis
    market: str | None = None
    scale: float = 1.0
    adder_usd_per_mwh: float = 0.0
    fixed_usd_per_mwh: float | None = None
    market_15min: str | None = None
    take_share: float = 0.0
    resale: bool = False
    demand_usd_per_kw_month: float = 0.0
    demand_minimum_share: float = 0.0
    demand_ratchet_share: float = 0.0
    demand_hours: tuple[int, ...] = ()  # local, Monday to Friday; empty: every hour
    demand_zone: str = "UTC"  # of the hours, of the month and of the network's bands
    # What the network charges a metered MWh, and loses of it, by the hour it is drawn in.
    network: tuple[NetworkBand, ...] = ()
    # Coincident peaks that its load counts in, by name; None: those of its market's operator.
    peak_rules: tuple[str, ...] | None = None
    # Where tomorrow's power is bought; None: `market`, where its prices are published before their day.
    day_ahead: str | None = None
    # What was bought before the day. The next MWh still settles at `market`.
    legs: tuple[Leg, ...] = ()
    # Of the figures that say "local"; the market's own prices have its currency.
    currency: str = "USD"
    fixed_local_per_mwh: float | None = None
    adder_local_per_mwh: float = 0.0
    demand_local_per_kw_month: float = 0.0

    @property
    def local(self) -> bool:
        """Whether anything of it is priced in another currency than dollars."""
        priced = self.fixed_local_per_mwh is not None or self.adder_local_per_mwh or self.demand_local_per_kw_month
        return self.currency != "USD" and bool(priced or any(band.local_per_mwh for band in self.network))

    def in_usd(self, usd_per_unit: float | None) -> Contract:
        """The same in dollars at a rate. Without one a contract with local prices names no market: its power has no
        price, and what was last decided stands."""
        if not self.local:
            return self
        if usd_per_unit is None:
            return msgspec.structs.replace(self, basis="spot", market=None, market_15min=None, day_ahead=None, legs=())
        fixed = self.fixed_usd_per_mwh
        if self.fixed_local_per_mwh is not None:
            fixed = (fixed or 0.0) + self.fixed_local_per_mwh * usd_per_unit
        return msgspec.structs.replace(
            self,
            fixed_usd_per_mwh=fixed,
            adder_usd_per_mwh=self.adder_usd_per_mwh + self.adder_local_per_mwh * usd_per_unit,
            demand_usd_per_kw_month=self.demand_usd_per_kw_month + self.demand_local_per_kw_month * usd_per_unit,
            network=tuple(
                msgspec.structs.replace(
                    band, usd_per_mwh=band.usd_per_mwh + band.local_per_mwh * usd_per_unit, local_per_mwh=0.0
                )
                for band in self.network
            ),
            fixed_local_per_mwh=None,
            adder_local_per_mwh=0.0,
            demand_local_per_kw_month=0.0,
        )

    def network_at(self, moment: datetime) -> NetworkNow:
        """What the network takes of a MWh drawn at a moment."""
        return network_at(self.network, self.demand_zone, moment)

    def charges_demand(self, hour: datetime) -> bool:
        """Whether load of the hour that begins at `hour` can be what a month is charged for."""
        if self.demand_usd_per_kw_month <= 0:
            return False
        local = hour.astimezone(zone_of(self.demand_zone))
        return not self.demand_hours or (local.weekday() < 5 and local.hour in self.demand_hours)

    def demand_month(self, moment: datetime) -> tuple[datetime, datetime]:
        """The local month that holds a moment: its begin and its end, UTC."""
        zone = zone_of(self.demand_zone)
        first = moment.astimezone(zone).date().replace(day=1)
        after = (first + timedelta(days=32)).replace(day=1)
        begin, end = (datetime.combine(day, time(), tzinfo=zone).astimezone(UTC) for day in (first, after))
        return begin, end

    def named_markets(self) -> list[tuple[str, str]]:
        """(key, market) of every market that it names."""
        named = [("market", self.market), ("market_15min", self.market_15min), ("day_ahead", self.day_ahead)]
        named += [("legs", leg.market) for leg in self.legs]
        return [(key, market) for key, market in named if market is not None]


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """One place with one interconnect."""

    id: str
    name: str
    region: str
    lat: float
    lon: float
    interconnect: Interconnect
    feeders: tuple[Feeder, ...]
    contract: Contract
    cooling: Cooling = "air"
    rig_groups: tuple[RigGroup, ...] = ()
    node_groups: tuple[NodeGroup, ...] = ()
    ownership: Ownership = "owned"
    mode: ActMode = "observe"
    invented: bool = False
    weather_station: str | None = None
    temp_offset_c: float = 0.0
    # Wet pads before the intake bring the air this share of the way from dry to wet bulb; 0: dry.
    evaporative: float = 0.0
    network_region: str | None = None
    rtt_penalty_ms: float = 0.0
    safe_default: Literal["mining_off", "hold", "all_off"] = "mining_off"
    # Reserve products that it is qualified for, by name; what it is not qualified for is never offered.
    reserves: tuple[str, ...] = ()

    def cooling_of(self, unit: RigGroup | NodeGroup) -> Cooling:
        """How a group is cooled: as the site is, where it says nothing else."""
        own = unit.cooling if isinstance(unit, RigGroup) else None
        return self.cooling if own is None else own

    @property
    def has_air(self) -> bool:
        """Whether any of its rigs feels the weather."""
        return any(self.cooling_of(group) == "air" for group in self.rig_groups)

    def intake_c(self, temp_c: float, wet_bulb_c: float | None) -> float:
        """Temperature of the air that cools the rigs, from its station's dry and wet bulb. An unknown wet bulb
        counts as no help from the pads: the safe side of a limit."""
        dry = temp_c + self.temp_offset_c
        if self.evaporative <= 0.0 or wet_bulb_c is None:
            return dry
        return dry - self.evaporative * max(0.0, temp_c - wet_bulb_c)

    @property
    def units(self) -> tuple[RigGroup | NodeGroup, ...]:
        """All that can be given a setpoint, inference first."""
        return (*self.node_groups, *self.rig_groups)

    @property
    def deployed_hs(self) -> float:
        return sum(group.rated_hs for group in self.rig_groups)

    @property
    def may_act(self) -> bool:
        """Who may actuate: never at a hosted site (the host does), else as the mode says."""
        return self.mode == "act" and self.ownership != "hosted"


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """All sites of one operator. `market_table`, `peak_table`, `reserve_table`: what is not as the package's own tables
    have it. `partners`: whose sites are not the operator's own."""

    name: str
    sites: tuple[Site, ...]
    partners: tuple[Partner, ...] = ()
    market_table: tuple[Market, ...] = ()
    peak_table: tuple[PeakRule, ...] = ()
    reserve_table: tuple[ReserveProduct, ...] = ()

    @property
    def deployed_hs(self) -> float:
        return sum(site.deployed_hs for site in self.sites)

    @property
    def limit_w(self) -> float:
        return sum(site.interconnect.limit_w for site in self.sites)

    def site(self, site_id: str) -> Site:
        """Raises KeyError naming the id for a site that is not here."""
        for site in self.sites:
            if site.id == site_id:
                return site
        raise KeyError(f"no site {site_id!r} in fleet {self.name!r}")

    def partner_of(self, site_id: str) -> Partner | None:
        """Whose site it is; None: the operator's own."""
        return next((one for one in self.partners if site_id in one.sites), None)

    def market(self, name: str | None) -> Market | None:
        """What is known of a market by its name; None: nothing."""
        if name is None:
            return None
        own = next((market for market in self.market_table if market.name == name), None)
        return own if own is not None else shipped().get(name)

    @property
    def peak_rules(self) -> dict[str, PeakRule]:
        """Every rule there is, by name: the package's, and this fleet's over them."""
        return {**shipped_rules(), **{rule.name: rule for rule in self.peak_table}}

    @property
    def reserve_products(self) -> dict[str, ReserveProduct]:
        """Every product there is, by name: the package's, and this fleet's over them."""
        return {**shipped_reserves(), **{one.name: one for one in self.reserve_table}}

    def at_rates(self, rates: RateBook, moment: datetime) -> tuple[Fleet, dict[str, str]]:
        """The fleet with every contract in dollars at the rates of a moment; by site, why one cannot be priced."""
        if not any(site.contract.local for site in self.sites):
            return self, {}
        sites, why = [], {}
        for site in self.sites:
            if site.contract.local:
                rate = rates.rate(site.contract.currency, moment)
                usd = None if rate.usd_per_unit is None else float(rate.usd_per_unit)
                site = msgspec.structs.replace(site, contract=site.contract.in_usd(usd))
                if usd is None:
                    why[site.id] = rate.why
            sites.append(site)
        return msgspec.structs.replace(self, sites=tuple(sites)), why

    def pays(self, site: Site, rule: PeakRule) -> bool:
        """Whether a site's load counts in a rule's peaks: where it names the rule, or names none and buys at a market
        of the rule's operator."""
        if site.contract.peak_rules is not None:
            return rule.name in site.contract.peak_rules
        named = (self.market(site.contract.market), self.market(site.contract.market_15min))
        return any(market is not None and market.operator == rule.operator for market in named)

    @property
    def markets(self) -> tuple[str, ...]:
        """Every market whose price some contract needs, sorted."""
        return tuple(sorted({market for site in self.sites for _, market in site.contract.named_markets()}))

    @property
    def stations(self) -> tuple[str, ...]:
        return tuple(sorted({s.weather_station for s in self.sites if s.weather_station is not None}))

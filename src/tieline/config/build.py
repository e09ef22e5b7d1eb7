"""From the file as it is written to the fleet as it stands: checks that need more than one key.

Files say megawatts or counts and may share values by area; structs hold watts, rigs and nodes.
"""

import importlib.util
import ipaddress
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, get_args, get_origin
from urllib.parse import urlsplit

import msgspec

from tieline.config.lines import MistakeError, did_you_mean
from tieline.config.sections import (
    AlertChannel,
    Alerts,
    Config,
    Console,
    Dispatch,
    Feeds,
    Gateway,
    Intake,
    Key,
    LinkDoor,
    Login,
    Model,
    Pool,
    Rental,
    Strict,
    Tenant,
    Treasury,
)
from tieline.config.tables import Tables
from tieline.fleet.markets import zone_of
from tieline.fleet.models import FIRMWARES, GPU_MODELS, RIG_MODELS, Cooling, RigModel
from tieline.fleet.physics import GPU_AUX
from tieline.fleet.positions import Leg
from tieline.fleet.sites import (
    ActMode,
    Basis,
    Contract,
    Feeder,
    Fleet,
    Hardware,
    Interconnect,
    NodeGroup,
    Ownership,
    RigGroup,
    Site,
)
from tieline.intake import (
    NAME,
    Celsius,
    Label,
    Machines,
    Megawatts,
    Milliseconds,
    Printed,
    RigWatts,
    Terahashes,
    UsdPerMwh,
)

SELF_TEST = "selftest"


class _Rigs(Strict, frozen=True, kw_only=True):
    model: str
    mw: Megawatts | None = None
    count: Machines | None = None
    firmware: str = "stock"
    hardware: Hardware | None = None
    addresses: tuple[str, ...] = ()
    wake: Literal["fast", "slow"] = "fast"


class _RigModel(Strict, frozen=True, kw_only=True):
    """A rig that the package does not know, as its maker rates it."""

    name: Printed
    hashrate_ths: Terahashes
    power_w: RigWatts
    cooling: Cooling = "air"
    vendor: str = ""
    release_year: Machines = 0
    source: str = ""


class _Gpus(Strict, frozen=True, kw_only=True):
    node: str = "8xH100"
    mw: Megawatts | None = None
    count: Machines | None = None
    model: str | None = None
    replicas_per_node: Machines = 2
    replicas_real: Machines = 0
    hardware: Hardware = "modelled"


class _Contract(Strict, frozen=True, kw_only=True):
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


class _Area(Strict, frozen=True, kw_only=True):
    """What sites of one area share; a site may say otherwise."""

    region: Printed | None = None
    operator: Printed | None = None
    contract: _Contract | None = None
    weather_station: Printed | None = None
    temp_offset_c: Celsius | None = None
    evaporative: float | None = None
    network_region: Printed | None = None
    rtt_penalty_ms: Milliseconds | None = None
    ownership: Ownership | None = None
    mode: ActMode | None = None
    safe_default: Literal["mining_off", "hold", "all_off"] | None = None


class _Site(_Area, frozen=True, kw_only=True):
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
    rigs: tuple[_Rigs, ...] = ()
    gpus: tuple[_Gpus, ...] = ()


class _FleetText(Strict, frozen=True, kw_only=True):
    name: str
    invented: bool = False
    model: str | None = None  # what GPU nodes serve where a group does not say
    markets: str | None = None  # a file of markets besides the package's, named from this file
    peaks: str | None = None  # the same of peak rules


class FileText(Strict, frozen=True, kw_only=True):
    fleet: _FleetText
    area: dict[str, _Area] = msgspec.field(default_factory=dict)
    rig_model: tuple[_RigModel, ...] = ()
    site: tuple[_Site, ...] = ()
    pool: Pool = Pool()
    treasury: Treasury = Treasury()
    model: tuple[Model, ...] = ()
    tenant: tuple[Tenant, ...] = ()
    rental: tuple[Rental, ...] = ()
    dispatch: Dispatch = Dispatch()
    feeds: Feeds = Feeds()
    console: Console = Console()
    gateway: Gateway = Gateway()
    link: LinkDoor = LinkDoor()
    intake: Intake = Intake()
    alerts: Alerts = Alerts()
    login: Login | None = None


_STRUCTS: tuple[type[Strict], ...] = (
    FileText, _FleetText, _Area, _Site, _Contract, _Rigs, _Gpus, _RigModel,
    Pool, Treasury, Model, Tenant, Key, Rental, Dispatch, Feeds, Console, Gateway, LinkDoor, Intake, Alerts,
    AlertChannel, Login,
)  # fmt: skip

# Every key a file may hold, for "did you mean".
FIELDS = sorted({name for struct in _STRUCTS for name in struct.__struct_encode_fields__})

# The words a key may take, where it takes only some.
CHOICES: dict[str, tuple[str, ...]] = {
    field.encode_name: tuple(
        str(word) for literal in (kind, *get_args(kind)) if get_origin(literal) is Literal for word in get_args(literal)
    )
    for struct in _STRUCTS
    for field in msgspec.structs.fields(struct)
    for kind in (field.type,)
}


_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")  # one word of a link subject: no dots, no wildcards
# A DNS name, or an IPv4 or IPv6 address without brackets.
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|[0-9a-fA-F:]{2,45}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Tenants, projects and keys, as the door takes them: names that stand in paths and in one another.
_NAME_FIX = "use letters, digits, '-', '_' and '.', at most 64"


def build(raw: FileText, base: Path = Path()) -> Config:
    """`base`: the folder that the file's own file names are relative to."""
    _check_sections(raw)
    tables = Tables.read(raw.fleet.markets, raw.fleet.peaks, base)
    tables.check_rules(("dispatch", "peak_rules"), raw.dispatch.peak_rules)
    seen: set[str] = set()
    sites = []
    for index, text in enumerate(raw.site):
        site = _site(raw, text, ("site", index))
        tables.check_contract(site.contract, ("site", index), f"site {site.id!r} ")
        if site.id in seen:
            raise MistakeError(("site", index, "id"), f"{site.id!r} is taken", "give each site its own id")
        seen.add(site.id)
        sites.append(site)
    if not sites and not raw.gateway.upstreams:
        raise MistakeError(
            ("fleet",), "the fleet has no site", "add a [[site]], or gateway.upstreams to run the door alone"
        )
    _check_regions(raw, {site.region for site in sites})
    return Config(
        fleet=Fleet(
            name=raw.fleet.name,
            sites=tuple(sites),
            market_table=tuple(tables.own_markets.values()),
            peak_table=tuple(tables.own_rules.values()),
        ),
        pool=raw.pool,
        treasury=raw.treasury,
        models=raw.model,
        tenants=raw.tenant,
        rentals=raw.rental,
        dispatch=raw.dispatch,
        feeds=raw.feeds,
        console=raw.console,
        gateway=raw.gateway,
        link=raw.link,
        intake=raw.intake,
        alerts=raw.alerts,
        login=raw.login,
    )


def _site(raw: FileText, text: _Site, at: tuple[str | int, ...]) -> Site:
    what = f"site {text.id!r} "
    if not _ID.fullmatch(text.id):
        raise MistakeError((*at, "id"), f"{text.id!r} is no id", "use lower-case letters, digits, - and _, at most 63")
    area = _area(raw, text, at, what)
    region = text.region or area.region
    if region is None:
        raise MistakeError((*at, "region"), "missing", "write region, or an area that has one", what)
    _within((*at, "lat"), text.lat, -90, 90, what)
    _within((*at, "lon"), text.lon, -180, 180, what)
    pads = text.evaporative if text.evaporative is not None else area.evaporative
    _within((*at, "evaporative"), pads or 0.0, 0, 1, what)
    _above((*at, "interconnect_mw"), text.interconnect_mw, what)
    contract = _contract(text.contract or area.contract, at, what)
    limit_w = text.interconnect_mw * 1e6

    known = _rig_models(raw)
    rigs = tuple(_rig_group(known, text, item, n, (*at, "rigs", n)) for n, item in enumerate(text.rigs))
    _each_address_once(rigs, at, what)
    nodes = tuple(_node_group(raw, text, item, n, (*at, "gpus", n), what) for n, item in enumerate(text.gpus))
    feeders = []
    if nodes:
        feeders.append(Feeder(id=f"{text.id}.f-gpu", load="inference", limit_w=_limit_w(text.gpu_feeder_mw, limit_w)))
    if rigs:
        feeders.append(Feeder(id=f"{text.id}.f-mine", load="mining", limit_w=_limit_w(text.mining_feeder_mw, limit_w)))

    def pick(own: object, shared: object, default: object) -> object:
        return own if own is not None else shared if shared is not None else default

    return msgspec.convert(
        {
            "id": text.id,
            "name": text.name,
            "region": region,
            "lat": text.lat,
            "lon": text.lon,
            "interconnect": Interconnect(limit_w=limit_w, operator=str(pick(text.operator, area.operator, ""))),
            "feeders": tuple(feeders),
            "contract": contract,
            "cooling": text.cooling,
            "rig_groups": rigs,
            "node_groups": nodes,
            "ownership": pick(text.ownership, area.ownership, "owned"),
            "mode": pick(text.mode, area.mode, "observe"),
            "invented": pick(text.invented, raw.fleet.invented, False),
            "weather_station": pick(text.weather_station, area.weather_station, _own_station(text)),
            "temp_offset_c": pick(text.temp_offset_c, area.temp_offset_c, 0.0),
            "evaporative": pads or 0.0,
            "network_region": pick(text.network_region, area.network_region, None),
            "rtt_penalty_ms": pick(text.rtt_penalty_ms, area.rtt_penalty_ms, 0.0),
            "safe_default": pick(text.safe_default, area.safe_default, "mining_off"),
        },
        type=Site,
    )


def _area(raw: FileText, text: _Site, at: tuple[str | int, ...], what: str) -> _Area:
    """What a site shares with others of its area; nothing where it names none."""
    if text.area is None:
        return _Area()
    if text.area not in raw.area:
        raise MistakeError((*at, "area"), f"no area {text.area!r}", did_you_mean(text.area, raw.area), what)
    return raw.area[text.area]


def _limit_w(feeder_mw: float | None, site_w: float) -> float:
    return site_w if feeder_mw is None else feeder_mw * 1e6


def _own_station(text: _Site) -> str | None:
    """A site that names no station has the weather of where it stands; nobody stands at 0, 0 in the open sea."""
    return None if text.lat == 0 and text.lon == 0 else text.id


def _each_address_once(groups: Iterable[RigGroup], at: tuple[str | int, ...], what: str) -> None:
    """One rig in two groups would be commanded twice. Two sites may use the same numbers: each has its own network."""
    where: dict[str, str] = {}
    for n, group in enumerate(groups):
        for address in group.addresses:
            if address in where:
                raise MistakeError(
                    (*at, "rigs", n, "addresses"), f"{address} stands in {where[address]} already",
                    "give each rig one group", what,
                )  # fmt: skip
            where[address] = group.id


def _contract(text: _Contract | None, at: tuple[str | int, ...], what: str) -> Contract:
    if text is None:
        raise MistakeError((*at, "contract"), "missing", 'write contract = { basis = "spot", market = "..." }', what)
    path = (*at, "contract")
    if text.basis == "fixed" and text.fixed_usd_per_mwh is None:
        raise MistakeError(path, "a fixed contract without a price", "add fixed_usd_per_mwh", what)
    if text.basis != "fixed" and text.market is None:
        raise MistakeError(path, f"a {text.basis} contract without a market", "add market", what)
    if not 0 <= text.take_share <= 1:
        raise MistakeError(path, f"take_share {text.take_share}", "give a share from 0 to 1", what)
    _demand_charge(text, path, what)
    for leg in text.legs:
        if (wrong := leg.mistake()) is not None:
            raise MistakeError((*path, "legs"), *wrong, what)
    if text.legs and text.basis != "spot":
        fix = 'leave the legs out, or write basis = "spot"'
        raise MistakeError((*path, "legs"), f"legs under a {text.basis} contract", fix, what)
    if text.demand_usd_per_kw_month > 0 and text.take_share > 0:
        fix = "leave out take_share, or put the charge into fixed_usd_per_mwh"
        raise MistakeError(path, "take-or-pay with a demand charge is not modelled", fix, what)
    return msgspec.convert(msgspec.structs.asdict(text), type=Contract)


def _demand_charge(text: _Contract, path: tuple[str | int, ...], what: str) -> None:
    if text.demand_usd_per_kw_month < 0:
        raise MistakeError(path, f"demand_usd_per_kw_month {text.demand_usd_per_kw_month}", "give 0 or more", what)
    for key in ("demand_minimum_share", "demand_ratchet_share"):
        share = getattr(text, key)
        if not 0 <= share <= 1:
            raise MistakeError(path, f"{key} {share}", "give a share from 0 to 1", what)
    if not all(0 <= hour <= 23 for hour in text.demand_hours):
        hours = list(text.demand_hours)
        raise MistakeError((*path, "demand_hours"), f"hours {hours}", "give local hours from 0 to 23", what)
    try:
        zone_of(text.demand_zone)
    except ValueError as error:
        raise MistakeError((*path, "demand_zone"), str(error), "write America/Chicago, say", what) from None


def _rig_models(raw: FileText) -> dict[str, RigModel]:
    """The models that a file may name: those of the package, and its own."""
    known = dict(RIG_MODELS)
    for n, own in enumerate(raw.rig_model):
        if own.name in known:
            raise MistakeError(
                ("rig_model", n, "name"), f"{own.name!r} is rated already", "give yours another name, or leave it out"
            )
        known[own.name] = RigModel(own.vendor, own.name, own.cooling, own.hashrate_ths, own.power_w, own.release_year)
    return known


def _rig_group(known: Mapping[str, RigModel], site: _Site, text: _Rigs, n: int, at: tuple[str | int, ...]) -> RigGroup:
    what = f"site {site.id!r} "
    if text.model not in known:
        near = did_you_mean(text.model, known)
        raise MistakeError((*at, "model"), f"no rig model {text.model!r}", f"{near} or declare it: [[rig_model]]", what)
    rig = known[text.model]
    if text.firmware not in FIRMWARES:
        raise MistakeError(
            (*at, "firmware"), f"no firmware {text.firmware!r}", did_you_mean(text.firmware, FIRMWARES), what
        )
    if rig.cooling != site.cooling:
        raise MistakeError(
            (*at, "model"), f"{rig.name} is cooled by {rig.cooling}, the site by {site.cooling}",
            f'write cooling = "{rig.cooling}", or another model', what,
        )  # fmt: skip
    addresses = tuple(a for item in text.addresses for a in _addresses(item, at, what))
    if addresses and text.count is None and text.mw is None:
        rigs = len(addresses)
    else:
        rigs = _count(text.mw, text.count, rig.power_w, at, what)
    hardware = text.hardware or ("real" if addresses else "modelled")
    if hardware != "modelled" and len(addresses) != rigs:
        raise MistakeError(
            (*at, "addresses"), f"{len(addresses)} addresses for {rigs} {hardware} rigs",
            "give one address per rig, or leave count out", what,
        )  # fmt: skip
    if hardware == "fake" and any(not a.startswith("127.") for a in addresses):
        raise MistakeError((*at, "addresses"), "fake rigs live on loopback", "use addresses in 127.x.y.z", what)
    return RigGroup(
        id=f"{site.id}.rigs-{n + 1}",
        feeder=f"{site.id}.f-mine",
        model=text.model,
        rigs=rigs,
        firmware=text.firmware,
        hardware=hardware,
        addresses=addresses,
        wake=text.wake,
        spec=None if text.model in RIG_MODELS else rig,
    )


def _node_group(raw: FileText, site: _Site, text: _Gpus, n: int, at: tuple[str | int, ...], what: str) -> NodeGroup:
    if text.node not in GPU_MODELS:
        raise MistakeError((*at, "node"), f"no GPU node {text.node!r}", did_you_mean(text.node, GPU_MODELS), what)
    model = text.model or raw.fleet.model
    names = [m.name for m in raw.model]
    if model is None or model not in names:
        raise MistakeError((*at, "model"), f"no [[model]] named {model!r}", did_you_mean(model or "", names), what)
    nodes = _count(text.mw, text.count, GPU_MODELS[text.node].rated_w * (1 + GPU_AUX), at, what)
    if not 0 <= text.replicas_real <= min(nodes * text.replicas_per_node, 16):
        raise MistakeError(
            (*at, "replicas_real"), f"{text.replicas_real} real replicas",
            "at most 16, and no more than the nodes hold: each is a process on this machine", what,
        )  # fmt: skip
    if text.replicas_real and not any(m.engine == "llama.cpp" for m in raw.model):
        raise MistakeError(
            (*at, "replicas_real"), "no model to serve", 'add a [[model]] with engine = "llama.cpp"', what
        )
    return NodeGroup(
        id=f"{site.id}.gpu" if n == 0 else f"{site.id}.gpu-{n + 1}",
        feeder=f"{site.id}.f-gpu",
        node=text.node,
        nodes=nodes,
        model=model,
        replicas_per_node=text.replicas_per_node,
        replicas_real=text.replicas_real,
        hardware=text.hardware,
    )


def _count(mw: Megawatts | None, count: int | None, each_w: float, at: tuple[str | int, ...], what: str) -> int:
    if (mw is None) == (count is None):
        problem = "neither mw nor count" if mw is None else "both mw and count"
        raise MistakeError(at, problem, "give one of them", what)
    number = count if count is not None else round((mw or 0.0) * 1e6 / each_w)
    if number < 1:
        raise MistakeError(at, f"this is {number} machines of {each_w:,.0f} W", "give more, or leave it out", what)
    return number


def _addresses(item: str, at: tuple[str | int, ...], what: str) -> list[str]:
    """ "10.0.7.1" is one address, "10.0.7.1-36" a range of the last number."""
    first, dash, last = item.partition("-")
    try:
        start = ipaddress.IPv4Address(first)
        end = int(last) if dash else int(start) & 0xFF
    except ValueError:
        raise MistakeError(
            (*at, "addresses"), f"{item!r} is no address", 'write "10.0.7.1" or "10.0.7.1-36"', what
        ) from None
    low = int(start) & 0xFF
    if not low <= end <= 254:
        raise MistakeError((*at, "addresses"), f"{item!r} is no range", f"end it between {low} and 254", what)
    return [str(start + step) for step in range(end - low + 1)]


def _check_regions(raw: FileText, regions: set[str]) -> None:
    """Dispatch's words about regions name those of the sites."""

    def known(at: tuple[str | int, ...], region: str) -> None:
        if region not in regions:
            raise MistakeError(at, f"no site is in region {region!r}", did_you_mean(region, regions))

    for region, near in raw.dispatch.reach.items():
        known(("dispatch", "reach", region), region)
        for other in near:
            known(("dispatch", "reach", region), other)
    for region, share in raw.dispatch.residency.items():
        known(("dispatch", "residency", region), region)
        _within(("dispatch", "residency", region), share, 0, 1)
    _within(("dispatch", "outages_per_year"), raw.dispatch.outages_per_year, 0, 8766)
    _within(("dispatch", "resale_discount"), raw.dispatch.resale_discount, 0, 1)
    low, high = raw.dispatch.price_min_usd_per_mwh, raw.dispatch.price_max_usd_per_mwh
    if low >= high:
        raise MistakeError(
            ("dispatch", "price_max_usd_per_mwh"),
            f"{high:g} is not above the least",
            f"give more than {low:g}",
        )
    for n, one in enumerate(raw.dispatch.reserved):
        known(("dispatch", "reserved", n, "region"), one.region)
        _within(("dispatch", "reserved", n, "replicas"), one.replicas, 0, 1_000_000)
        for name, moment in (("since", one.since), ("until", one.until)):
            if moment.tzinfo is None:
                fix = "write it with its offset, 2026-09-01T00:00:00Z"
                raise MistakeError(("dispatch", "reserved", n, name), "has no time zone", fix)
        if one.until <= one.since:
            raise MistakeError(("dispatch", "reserved", n, "until"), "is not after since", "give a later end")


def _check_sections(raw: FileText) -> None:
    for path, value in (
        (("pool", "fee"), raw.pool.fee),
        (("pool", "rejects"), raw.pool.rejects),
        (("treasury", "sell_share"), float(raw.treasury.sell_share)),
        (("dispatch", "fee_share"), raw.dispatch.fee_share),
    ):
        _within(path, value, 0, 1)
    _check_treasury(raw.treasury)
    _within(("pool", "payout_hour_utc"), raw.pool.payout_hour_utc, 0, 23)
    interval = raw.dispatch.interval_s
    if interval < 60 or 3600 % interval:
        raise MistakeError(("dispatch", "interval_s"), f"{interval} s", "give 60, 300, 900 or another part of an hour")
    if raw.dispatch.forecaster == "learned" and importlib.util.find_spec("lightgbm") is None:
        fix = 'pip install "tieline[forecast]", or write "analog"'
        raise MistakeError(("dispatch", "forecaster"), '"learned" needs the extra forecast', fix)
    if raw.dispatch.valid_for_s < interval:
        raise MistakeError(("dispatch", "valid_for_s"), "shorter than an interval", f"give {interval} or more")
    models: set[str] = set()
    for n, model in enumerate(raw.model):
        if model.name in models:
            raise MistakeError(("model", n, "name"), f"{model.name!r} is taken", "give each model its own name")
        models.add(model.name)
        if model.engine == "llama.cpp" and model.path is None:
            raise MistakeError(
                ("model", n, "path"), "missing", f'write path = "{SELF_TEST}", or a GGUF file or its URL'
            )
        if model.sha256 is not None and not _SHA256.fullmatch(model.sha256):
            raise MistakeError(("model", n, "sha256"), "not 64 lower-case hex digits", "write the weights' SHA-256")
        _within(("model", n, "slots"), model.slots, 1, 256)
        _within(("model", n, "context_tokens"), model.context_tokens, 64, 10_000_000)
    _check_tenants(raw)
    _check_rentals(raw)
    _check_door("console", raw.console.host, raw.console.port, raw.console.auth)
    _check_door("gateway", raw.gateway.host, raw.gateway.port, raw.gateway.auth)
    _check_link(raw.link)
    if raw.console.auth == "token" and raw.console.token_env is None:
        raise MistakeError(
            ("console", "auth"), "token without token_env", "name the environment variable that holds it"
        )
    if raw.login is not None:
        _check_login(raw.login)


def _check_login(login: Login) -> None:
    """Tokens and codes travel to both addresses: over TLS, or within this machine."""
    for field, address in (("issuer", login.issuer), ("url", login.url)):
        parts = urlsplit(address)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            raise MistakeError(("login", field), f"{address!r} is no https address", "write https://...")
        if parts.query or parts.fragment:
            raise MistakeError(("login", field), f"{address!r} has more than a host and a path", "leave out ? and #")
    if not login.roles:
        raise MistakeError(("login", "roles"), "no group has a role", 'write [login.roles], as in "ops" = ["operator"]')


def _check_treasury(treasury: Treasury) -> None:
    for field, value, places in (
        ("opening_usd", treasury.opening_usd, 2),
        ("opening_btc", treasury.opening_btc, 8),
        ("opening_btc_cost_usd", treasury.opening_btc_cost_usd, 2),
    ):
        if value is None:
            continue
        if not value.is_finite() or abs(value) > 10**15:
            raise MistakeError(("treasury", field), f"{value} is out of all bounds", "write what the books begin with")
        if value < 0 and field != "opening_usd":
            raise MistakeError(("treasury", field), f"{value} is negative", "give 0 or more")
        if value != round(value, places):
            raise MistakeError(("treasury", field), f"{value} has more than {places} decimals", "round it yourself")
    if treasury.opening_btc > 0 and treasury.opening_btc_cost_usd is None:
        raise MistakeError(
            ("treasury", "opening_btc_cost_usd"), f"missing for {treasury.opening_btc} BTC",
            "write what they cost, or are carried at; 0 only where they cost nothing",
        )  # fmt: skip


def _check_tenants(raw: FileText) -> None:
    tenants: set[str] = set()
    keys: set[str] = set()
    secrets: dict[str, str] = {}  # how a secret is given, and the key it is given for
    for n, tenant in enumerate(raw.tenant):
        _name(("tenant", n, "id"), tenant.id, tenants)
        for k, key in enumerate(tenant.keys):
            at, what = ("tenant", n, "key", k), f"key {key.id!r} "
            _name((*at, "id"), key.id, keys)
            if not NAME.fullmatch(key.project):
                raise MistakeError((*at, "project"), f"{key.project!r} is no id", _NAME_FIX, what)
            if sum((key.sha256 is not None, key.env is not None, key.generate)) != 1:
                fix = "write sha256, env or generate = true"
                raise MistakeError((*at, "id"), "a key is given in exactly one way", fix, what)
            if key.sha256 is not None and not _SHA256.fullmatch(key.sha256):
                raise MistakeError((*at, "sha256"), "not 64 hex digits", "write the SHA-256 of the key, never the key")
            given = key.sha256 or key.env
            if given is not None and (other := secrets.setdefault(given, key.id)) != key.id:
                field = "sha256" if key.sha256 is not None else "env"
                raise MistakeError(
                    (*at, field), f"the secret of key {other!r} again", "give each key its own secret", what
                )


def _name(at: tuple[str | int, ...], id_: str, taken: set[str]) -> None:
    if not NAME.fullmatch(id_):
        raise MistakeError(at, f"{id_!r} is no id", _NAME_FIX)
    if id_ in taken:
        raise MistakeError(at, f"{id_!r} is taken", "give each its own id")
    taken.add(id_)


def _check_rentals(raw: FileText) -> None:
    seen = set()
    for n, rental in enumerate(raw.rental):
        if rental.tenant not in {one.id for one in raw.tenant}:
            raise MistakeError(("rental", n, "tenant"), f"{rental.tenant!r} is no tenant", "name one of [[tenant]]")
        if rental.model not in {one.name for one in raw.model}:
            raise MistakeError(("rental", n, "model"), f"{rental.model!r} is no model", "name one of [[model]]")
        _within(("rental", n, "replicas"), rental.replicas, 1, 100_000)
        if rental.since.tzinfo is None or rental.until.tzinfo is None or rental.since >= rental.until:
            raise MistakeError(("rental", n, "until"), "not after since", "give both with their zone, since first")
        cents = rental.usd_per_replica_hour
        if cents < 0 or cents * 10**9 % 1:
            raise MistakeError(
                ("rental", n, "usd_per_replica_hour"), f"{cents}", "give 0 or more, nine decimals at most"
            )
        what = (rental.tenant, rental.model, rental.region, rental.since)
        if what in seen:
            raise MistakeError(("rental", n, "since"), "the same rental twice", "add up their replicas")
        seen.add(what)


def _check_door(section: str, host: str, port: int, auth: str) -> None:
    if not is_loopback(host) and auth == "none":
        wanted = "accounts" if section == "console" else "keys"
        raise MistakeError(
            (section, "host"), f"{host} can be reached from outside and nobody is asked who they are",
            f'write auth = "{wanted}", or host = "127.0.0.1"',
        )  # fmt: skip
    _within((section, "port"), port, 0, 65535)


def _check_link(door: LinkDoor) -> None:
    _within(("link", "port"), door.port, 0, 65535)
    if is_loopback(door.host):
        return
    if not _HOST.fullmatch(door.name):
        raise MistakeError(
            ("link", "name"), f"{door.name!r} is no name or address that a site could dial",
            f'{door.host} can be reached from outside: write name = "link.example.org", or the address sites dial',
        )  # fmt: skip
    if door.port == 0:
        raise MistakeError(("link", "port"), "missing", "write the port that sites dial, such as 4222")


def is_loopback(host: str) -> bool:
    """Only what cannot be reached from another machine; a name other than localhost may point anywhere."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _within(path: tuple[str | int, ...], value: float, low: float, high: float, what: str = "") -> None:
    if not low <= value <= high:
        raise MistakeError(path, f"{value}", f"give a number from {low} to {high}", what)


def _above(path: tuple[str | int, ...], value: float, what: str = "") -> None:
    if not 0 < value < 1e5:
        raise MistakeError(path, f"{value}", "give megawatts above 0", what)

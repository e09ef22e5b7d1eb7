"""From the file as it is written to the fleet as it stands: checks that need more than one key.

Files say megawatts or counts and may share values by area; structs hold watts, rigs and nodes.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from tieline.config.check import above, check_notices, check_regions, check_sections, within
from tieline.config.lines import MistakeError, Where, did_you_mean
from tieline.config.sections import Config, NoticeSource, Sections
from tieline.config.tables import Tables
from tieline.config.text import AreaText, ContractText, FileText, GpusText, RigsText, SiteText
from tieline.fleet.currency import CURRENCY
from tieline.fleet.markets import zone_of
from tieline.fleet.models import FIRMWARES, GPU_MODELS, RIG_MODELS, GpuModel, RigModel
from tieline.fleet.partners import Partner, hours_of
from tieline.fleet.physics import GPU_AUX
from tieline.fleet.sites import (
    Contract,
    Feeder,
    Fleet,
    Hardware,
    Interconnect,
    NodeGroup,
    RigGroup,
    Site,
)
from tieline.intake import (
    Megawatts,
)

# Twice the largest connection of one site that was announced anywhere.
LARGEST_MW = 5_000.0
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")  # one word of a link subject: no dots, no wildcards


def build(raw: FileText, base: Path = Path()) -> Config:
    """`base`: the folder that the file's own file names are relative to."""
    check_sections(raw)
    tables = Tables.read(raw.fleet.markets, raw.fleet.peaks, raw.fleet.reserves, base)
    tables.check_rules(("dispatch", "peak_rules"), raw.dispatch.peak_rules)
    seen: set[str] = set()
    sites = []
    for index, text in enumerate(raw.site):
        site = _site(raw, text, ("site", index))
        tables.check_site(site, ("site", index))
        if site.id in seen:
            raise MistakeError(("site", index, "id"), f"{site.id!r} is taken", "give each site its own id")
        seen.add(site.id)
        sites.append(site)
    if not sites and not raw.gateway.upstreams:
        raise MistakeError(
            ("fleet",), "the fleet has no site", "add a [[site]], or gateway.upstreams to run the door alone"
        )
    check_regions(raw, {site.region for site in sites})
    check_notices(raw, seen)
    return Config(
        fleet=Fleet(
            name=raw.fleet.name,
            sites=tuple(sites),
            partners=tuple(_partners(raw, seen)),
            market_table=tuple(tables.own_markets.values()),
            peak_table=tuple(tables.own_rules.values()),
            reserve_table=tuple(tables.own_products.values()),
        ),
        models=raw.model,
        tenants=raw.tenant,
        rentals=raw.rental,
        **{section: getattr(raw, section) for section in Sections.__struct_fields__ if section != "notice"},
        notice=tuple(_beside(one, base) for one in raw.notice),
    )


def _partners(raw: FileText, sites: set[str]) -> Iterable[Partner]:
    """Each site is of one partner at most, and no partner is named as a tenant is."""
    taken = {tenant.id: "a tenant" for tenant in raw.tenant}
    whose: dict[str, str] = {}
    for n, one in enumerate(raw.partner):
        at: Where = ("partner", n)
        if not _ID.fullmatch(one.id):
            raise MistakeError(
                (*at, "id"), f"{one.id!r} is no id", "use lower-case letters, digits, - and _, at most 63"
            )
        if one.id in taken:
            raise MistakeError((*at, "id"), f"{one.id!r} is {taken[one.id]}'s already", "give each its own id")
        taken[one.id] = "a partner"
        for site in one.sites:
            if site not in sites:
                raise MistakeError((*at, "sites"), f"no site {site!r}", did_you_mean(site, sites))
            if site in whose:
                raise MistakeError((*at, "sites"), f"{site!r} is a site of {whose[site]!r}", "a site is of one partner")
            whose[site] = one.id
        for field in ("mining_share", "inference_share"):
            if not 0 <= getattr(one, field) <= 1:
                raise MistakeError((*at, field), f"{getattr(one, field)}", "give a part from 0 to 1")
        yield Partner(
            id=one.id, name=one.name, sites=one.sites, mining_share=one.mining_share,
            inference_share=one.inference_share, floor_usd_per_mwh=one.floor_usd_per_mwh, hours=_hours(one.hours, at),
        )  # fmt: skip


def _hours(text: str | None, at: Where) -> tuple[int, int] | None:
    try:
        return hours_of(text or "")
    except ValueError as error:
        what, _, mend = str(error).partition("; ")
        raise MistakeError((*at, "hours"), what, mend) from error


def _beside(notice: NoticeSource, base: Path) -> NoticeSource:
    """Its files where the file that names them lies."""
    names = {name: getattr(notice, name) for name in ("cert_file", "key_file", "ca_file")}
    whole = {name: str((base / path).resolve()) for name, path in names.items() if path is not None}
    return msgspec.structs.replace(notice, **whole)


def _site(raw: FileText, text: SiteText, at: Where) -> Site:
    what = f"site {text.id!r} "
    if not _ID.fullmatch(text.id):
        raise MistakeError((*at, "id"), f"{text.id!r} is no id", "use lower-case letters, digits, - and _, at most 63")
    area = _area(raw, text, at, what)
    region = text.region or area.region
    if region is None:
        raise MistakeError((*at, "region"), "missing", "write region, or an area that has one", what)
    within((*at, "lat"), text.lat, -90, 90, what)
    within((*at, "lon"), text.lon, -180, 180, what)
    pads = text.evaporative if text.evaporative is not None else area.evaporative
    within((*at, "evaporative"), pads or 0.0, 0, 1, what)
    above((*at, "interconnect_mw"), text.interconnect_mw, what)
    if text.interconnect_mw > LARGEST_MW:
        raise MistakeError(
            (*at, "interconnect_mw"), f"{text.interconnect_mw:g} MW is larger than any site's",
            "write megawatts; these may be kilowatts", what,
        )  # fmt: skip
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
            "reserves": pick(text.reserves, area.reserves, ()),
            "safe_default": pick(text.safe_default, area.safe_default, "mining_off"),
        },
        type=Site,
    )


def _area(raw: FileText, text: SiteText, at: Where, what: str) -> AreaText:
    """What a site shares with others of its area; nothing where it names none."""
    if text.area is None:
        return AreaText()
    if text.area not in raw.area:
        raise MistakeError((*at, "area"), f"no area {text.area!r}", did_you_mean(text.area, raw.area), what)
    return raw.area[text.area]


def _limit_w(feeder_mw: float | None, site_w: float) -> float:
    return site_w if feeder_mw is None else feeder_mw * 1e6


def _own_station(text: SiteText) -> str | None:
    """A site that names no station has the weather of where it stands; nobody stands at 0, 0 in the open sea."""
    return None if text.lat == 0 and text.lon == 0 else text.id


def _each_address_once(groups: Iterable[RigGroup], at: Where, what: str) -> None:
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


def _contract(text: ContractText | None, at: Where, what: str) -> Contract:
    if text is None:
        raise MistakeError((*at, "contract"), "missing", 'write contract = { basis = "spot", market = "..." }', what)
    path = (*at, "contract")
    _currency(text, path, what)
    if text.basis == "fixed" and text.fixed_usd_per_mwh is None and text.fixed_local_per_mwh is None:
        raise MistakeError(path, "a fixed contract without a price", "add fixed_usd_per_mwh", what)
    if text.basis != "fixed" and text.market is None:
        raise MistakeError(path, f"a {text.basis} contract without a market", "add market", what)
    if not 0 <= text.take_share <= 1:
        raise MistakeError(path, f"take_share {text.take_share}", "give a share from 0 to 1", what)
    _demand_charge(text, path, what)
    named = [("network", band.mistake()) for band in text.network] + [("legs", leg.mistake()) for leg in text.legs]
    _no_mistake(named, path, what)
    if text.legs and text.basis != "spot":
        fix = 'leave the legs out, or write basis = "spot"'
        raise MistakeError((*path, "legs"), f"legs under a {text.basis} contract", fix, what)
    if text.demand_usd_per_kw_month > 0 and text.take_share > 0:
        fix = "leave out take_share, or put the charge into fixed_usd_per_mwh"
        raise MistakeError(path, "take-or-pay with a demand charge is not modelled", fix, what)
    return msgspec.convert(msgspec.structs.asdict(text), type=Contract)


def _no_mistake(checks: Iterable[tuple[str, tuple[str, str] | None]], path: Where, what: str) -> None:
    """Raises MistakeError for the first part of a contract that says what is wrong with it."""
    for key, wrong in checks:
        if wrong is not None:
            raise MistakeError((*path, key), *wrong, what)


def _currency(text: ContractText, path: tuple[str | int, ...], what: str) -> None:
    if CURRENCY.fullmatch(text.currency) is None:
        fix = "write its three letters, NOK say"
        raise MistakeError((*path, "currency"), f"{text.currency!r} is no currency", fix, what)
    local = [n for n in ("fixed_local_per_mwh", "adder_local_per_mwh", "demand_local_per_kw_month") if getattr(text, n)]
    local += [f"network {band.name}: local_per_mwh" for band in text.network if band.local_per_mwh]
    if local and text.currency == "USD":
        fix = f'add currency = "NOK", say, or write {local[0].replace("local", "usd")}'
        raise MistakeError((*path, local[0]), "a local price without a currency", fix, what)
    if text.fixed_local_per_mwh is not None and text.fixed_usd_per_mwh is not None:
        fix = "leave one out"
        raise MistakeError((*path, "fixed_local_per_mwh"), "a fixed price in two currencies", fix, what)
    if text.demand_local_per_kw_month < 0:
        charge = text.demand_local_per_kw_month
        raise MistakeError(path, f"demand_local_per_kw_month {charge}", "give 0 or more", what)


def _demand_charge(text: ContractText, path: tuple[str | int, ...], what: str) -> None:
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


def _gpu_models(raw: FileText) -> dict[str, GpuModel]:
    """The nodes that a file may name: those of the package, and its own."""
    known = dict(GPU_MODELS)
    for n, own in enumerate(raw.gpu_model):
        at: Where = ("gpu_model", n)
        if own.name in known:
            raise MistakeError((*at, "name"), f"{own.name!r} is rated already", "give yours another name")
        if own.idle_w >= own.rated_w:
            fix = f"give less than rated_w, {own.rated_w:g}"
            raise MistakeError((*at, "idle_w"), f"{own.idle_w:g} W is not below what it draws at most", fix)
        known[own.name] = GpuModel(own.name, own.gpus, own.rated_w, own.idle_w, own.source)
    return known


def _rig_group(known: Mapping[str, RigModel], site: SiteText, text: RigsText, n: int, at: Where) -> RigGroup:
    what = f"site {site.id!r} "
    rig = _rig_of(known, site, text, at, what)
    addresses = tuple(a for item in text.addresses for a in _addresses(item, at, what))
    if addresses and text.count is None and text.mw is None:
        rigs = len(addresses)
    else:
        rigs = _count(text.mw, text.count, rig.power_w, at, what)
    return RigGroup(
        id=f"{site.id}.rigs-{n + 1}",
        feeder=f"{site.id}.f-mine",
        model=text.model,
        rigs=rigs,
        firmware=text.firmware,
        hardware=_hardware(text, addresses, rigs, at, what),
        addresses=addresses,
        wake=text.wake,
        spec=None if text.model in RIG_MODELS else rig,
        cooling=None if rig.cooling == site.cooling else rig.cooling,
    )


def _rig_of(known: Mapping[str, RigModel], site: SiteText, text: RigsText, at: Where, what: str) -> RigModel:
    """The model of a group, which must be known and run a known firmware."""
    rig = known.get(text.model)
    if rig is None:
        near = did_you_mean(text.model, known)
        raise MistakeError((*at, "model"), f"no rig model {text.model!r}", f"{near} or declare it: [[rig_model]]", what)
    if text.firmware not in FIRMWARES:
        near = did_you_mean(text.firmware, FIRMWARES)
        raise MistakeError((*at, "firmware"), f"no firmware {text.firmware!r}", near, what)
    return rig


def _hardware(text: RigsText, addresses: tuple[str, ...], rigs: int, at: Where, what: str) -> Hardware:
    """What a group is, by what it says and whether it has addresses."""
    hardware: Hardware = text.hardware or ("real" if addresses else "modelled")
    if hardware != "modelled" and len(addresses) != rigs:
        raise MistakeError(
            (*at, "addresses"), f"{len(addresses)} addresses for {rigs} {hardware} rigs",
            "give one address per rig, or leave count out", what,
        )  # fmt: skip
    if hardware == "fake" and any(not a.startswith("127.") for a in addresses):
        raise MistakeError((*at, "addresses"), "fake rigs live on loopback", "use addresses in 127.x.y.z", what)
    return hardware


def _node_group(raw: FileText, site: SiteText, text: GpusText, n: int, at: Where, what: str) -> NodeGroup:
    gpus = _gpu_models(raw)
    gpu = gpus.get(text.node)
    if gpu is None:
        near = did_you_mean(text.node, gpus)
        raise MistakeError((*at, "node"), f"no GPU node {text.node!r}", f"{near} or declare it: [[gpu_model]]", what)
    model = text.model or raw.fleet.model
    names = [m.name for m in raw.model]
    if model is None or model not in names:
        raise MistakeError((*at, "model"), f"no [[model]] named {model!r}", did_you_mean(model or "", names), what)
    nodes = _count(text.mw, text.count, gpu.rated_w * (1 + GPU_AUX), at, what)
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
        spec=None if text.node in GPU_MODELS else gpu,
    )


def _count(mw: Megawatts | None, count: int | None, each_w: float, at: Where, what: str) -> int:
    if (mw is None) == (count is None):
        problem = "neither mw nor count" if mw is None else "both mw and count"
        raise MistakeError(at, problem, "give one of them", what)
    number = count if count is not None else round((mw or 0.0) * 1e6 / each_w)
    if number < 1:
        raise MistakeError(at, f"this is {number} machines of {each_w:,.0f} W", "give more, or leave it out", what)
    return number


def addresses_of(items: tuple[str, ...]) -> list[str]:
    """The addresses that a group's text names. Raises MistakeError."""
    return [address for item in items for address in _addresses(item, (), "")]


def _addresses(item: str, at: Where, what: str) -> list[str]:
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

"""A first configuration out of what a person has: a sheet of rigs, or a network that is asked who answers.

Pure but for `scan`. What was found stands in the file as found, what was assumed as assumed; a site is never more than
observed. A mistake of the sheet names line, column and remedy, all of them at once, and nothing is written.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tieline.books.treasury.sheets import Sheet, SheetError, SheetRow, SheetTable, each, rows, table_of
from tieline.config.edit import written
from tieline.config.lines import did_you_mean
from tieline.edge.rigs.identify import identify
from tieline.edge.rigs.wire import RefusalError, SilentError
from tieline.fleet.models import FIRMWARES, RIG_MODELS

COLUMNS: Final = ("address", "model", "site", "firmware", "serial", "mac", "watts", "ths")
# What other lists call the same column.
ALSO: Final = {
    "ip": "address", "ip_address": "address", "host": "address", "hostname": "address", "miner_ip": "address",
    "type": "model", "miner": "model", "miner_type": "model", "miner_model": "model", "hardware": "model",
    "location": "site", "facility": "site", "container": "site", "building": "site", "group": "site",
    "fw": "firmware", "os": "firmware", "sn": "serial", "serial_number": "serial", "mac_address": "mac",
    "power": "watts", "power_w": "watts", "consumption": "watts", "wattage": "watts",
    "hashrate": "ths", "hashrate_ths": "ths", "th/s": "ths", "hash_rate": "ths",
}  # fmt: skip
# Addresses of one scan: a /22, which is what one site's network holds.
MOST_SCANNED: Final = 1_024
AT_ONCE: Final = 128
# A rig on a local network answers within a tenth of this.
ANSWER_S: Final = 4.0
# A column of power whose heading says another unit than watts.
_SCALED: Final = {"megawatts": "mw", "kilowatts": "kw"}
_MAKERS: Final = ("bitmain", "microbt", "canaan")


@dataclass(frozen=True, slots=True)
class FoundRig:
    """One rig of a sheet or a scan. `model` is one of RIG_MODELS."""

    address: str
    model: str
    site: str
    firmware: str = "stock"


@dataclass(frozen=True, slots=True)
class Ground:
    """What a site's table needs besides rigs; None: assumed, and said to be."""

    lat: float | None = None
    lon: float | None = None
    interconnect_mw: float | None = None
    usd_per_mwh: float | None = None
    market: str | None = None


def read_rigs(sheet: Sheet, mapping: Mapping[str, str], site: str) -> list[FoundRig]:
    """The rigs of a sheet. `site`: of rows that name none. Raises SheetError with every mistake, a line each."""
    lines: dict[str, int] = {}

    def found(row: SheetRow) -> FoundRig:
        rig = _rig(row, site)
        if rig.address in lines:
            raise SheetError(f"line {row.line}, address: {rig.address} stands in line {lines[rig.address]} already")
        lines[rig.address] = row.line
        return rig

    rigs = each(rows(_renamed(sheet, mapping), ("address", "model"), COLUMNS, mapping), found)
    if not rigs:
        raise SheetError("the sheet has no rigs; give one a line, with its address and model")
    return rigs


def _renamed(sheet: Sheet, mapping: Mapping[str, str]) -> SheetTable:
    """The sheet with its header's usual other names put into ours, but for columns that are mapped by hand."""
    table = sheet if isinstance(sheet, SheetTable) else table_of(sheet)
    by_hand = {name.strip().lower() for name in mapping}
    taken = set(mapping.values())
    cells = []
    for cell in table.header:
        plain = cell.strip().lower()
        unit = re.sub(r"\s*[(\[](.*?)[)\]]", "", plain).strip().replace(" ", "_")
        ours = ALSO.get(unit, unit)
        if ours == "watts" and (scaled := next((n for n, mark in _SCALED.items() if mark in plain), None)):
            ours = scaled
        known = plain not in by_hand and ours in (*COLUMNS, *_SCALED) and ours not in taken
        cells.append(ours if known else cell)
    return replace(table, header=tuple(cells))


def _rig(row: SheetRow, site: str) -> FoundRig:
    at = f"line {row.line}"
    address = row.text("address")
    try:
        ipaddress.IPv4Address(address)
    except ValueError as error:
        raise SheetError(f"{at}, address: {address!r} is no IPv4 address; write it like 10.0.7.12") from error
    model = model_named(row.text("model"), at)
    firmware = row.text("firmware", "stock").strip().lower()
    if firmware not in FIRMWARES:
        raise SheetError(f"{at}, firmware: {firmware!r} is not known; {did_you_mean(firmware, FIRMWARES)}")
    _watts(row, model)
    return FoundRig(address, model, row.text("site", site), firmware)


def model_named(given: str, at: str) -> str:
    """The rating that a model's name means: makers' names, cases, blanks and a trailing hashrate are seen through.
    Raises SheetError."""
    folded = {_folded(name): name for name in RIG_MODELS}
    plain = _folded(given)
    model = folded.get(plain) or folded.get(re.sub(r"\d+t(h/?s?)?$", "", plain))
    if model is None:
        near = did_you_mean(given, RIG_MODELS)
        raise SheetError(f"{at}, model: no rating of {given!r} is known; {near}")
    return model


def _folded(name: str) -> str:
    plain = name.lower()
    for maker in _MAKERS:
        plain = plain.replace(maker, "")
    plain = re.sub(r"[(\[].*?[)\]]", "", plain)
    plain = re.sub(r"[\s_-]", "", plain)
    return plain if plain.startswith(("antminer", "whatsminer", "avalon")) else _with_family(plain)


def _with_family(plain: str) -> str:
    if plain.startswith(("s", "t")):
        return f"antminer{plain}"
    return f"whatsminer{plain}" if plain.startswith("m") else f"avalon{plain}"


def _watts(row: SheetRow, model: str) -> None:
    """A power that is none of one rig is a column of another unit: refused rather than read."""
    for column, factor in (("watts", 1), ("kilowatts", 1_000), ("megawatts", 1_000_000)):
        if not row.text(column, ""):
            continue
        watts = float(row.number(column)) * factor
        rated = RIG_MODELS[model].power_w
        if not 0.3 * rated <= watts <= 2.0 * rated:
            given = row.text(column)
            raise SheetError(
                f"line {row.line}, {column}: {given} is no power of one {model} ({rated:,.0f} W); "
                "head the column `power (W)`, `power (kW)` or `power (MW)` as it is meant, or take it out"
            )


# --- asking a network ------------------------------------------------------------------------------------


def scanned_addresses(network: str) -> list[str]:
    """Raises SheetError for what is no network, or too large a one."""
    try:
        asked = ipaddress.IPv4Network(network, strict=False)
    except ValueError as error:
        raise SheetError(f"--from-scan {network}: {error}; write it like 10.0.7.0/24") from error
    if asked.num_addresses > MOST_SCANNED:
        many = f"{asked.num_addresses:,} addresses; at most {MOST_SCANNED:,} at a time (a /22)"
        raise SheetError(f"--from-scan {network}: {many}")
    return [str(host) for host in asked.hosts()]


async def scan(addresses: Iterable[str], site: str) -> tuple[list[FoundRig], list[str]]:
    """Who answers: the rigs with a known rating, and a line for each that answers and has none."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def ask(address: str) -> tuple[FoundRig | None, str]:
        async with gate:
            try:
                async with asyncio.timeout(ANSWER_S):
                    driver = await identify(address, "auto", {})
                    raw = await driver.poll()
            except (SilentError, RefusalError, TimeoutError, OSError):
                return None, ""
            try:
                model = model_named(str(raw.model or ""), address)
            except SheetError as error:
                return None, str(error)
            firmware = driver.firmware if driver.firmware in FIRMWARES else "stock"
            return FoundRig(address, model, site, firmware), ""

    answers = await asyncio.gather(*(ask(address) for address in addresses))
    return [rig for rig, _ in answers if rig is not None], [why for _, why in answers if why]


# --- the file ---------------------------------------------------------------------------------------------


def file_text(name: str, rigs: Sequence[FoundRig], ground: Ground) -> str:
    """A configuration that observes `rigs`. Every figure that nobody gave is marked ASSUMED."""
    sites: dict[str, list[FoundRig]] = {}
    for rig in rigs:
        sites.setdefault(rig.site, []).append(rig)
    parts = [_HEAD.format(name=written(name), rigs=len(rigs), sites=len(sites))]
    ids = Counter(site_id(site) for site in sites)
    if twice := next((one for one, count in ids.items() if count > 1), None):
        raise SheetError(f"two sites would both have the id {twice!r}; name them apart")
    parts += [site_text(site, rows, ground) for site, rows in sites.items()]
    return "\n".join(parts)


def site_text(name: str, rigs: Sequence[FoundRig], ground: Ground) -> str:
    rated_mw = sum(RIG_MODELS[rig.model].power_w for rig in rigs) / 1e6
    ths = sum(RIG_MODELS[rig.model].hashrate_ths for rig in rigs)
    limit = ground.interconnect_mw
    # Fans, pumps and losses draw up to a tenth; the next tenth of a megawatt above that.
    limit_mw = max(0.1, round(rated_mw * 1.15 + 0.05, 1)) if limit is None else limit
    price = 60.0 if ground.usd_per_mwh is None else ground.usd_per_mwh
    lines = [
        f"# {len(rigs)} rigs, {_mw(rated_mw)} and {ths / 1e3:,.2f} PH/s as their makers rate them.",
        "[[site]]",
        f"id = {written(site_id(name))}",
        f"name = {written(name)}",
        'region = "home"               # ASSUMED: sites of one region serve each other',
        _figure("lat", 0.0 if ground.lat is None else ground.lat, ground.lat is None, "where it stands: weather"),
        _figure("lon", 0.0 if ground.lon is None else ground.lon, ground.lon is None, "where it stands: weather"),
        _figure("interconnect_mw", limit_mw, limit is None, "rated power and 15 %; write your connection's limit"),
        'mode = "observe"              # nothing is sent to a rig; then "advise", then "act"',
        'ownership = "owned"           # or "hosted": then the host actuates',
    ]
    if ground.market is not None:
        lines.append(f'contract = {{ basis = "spot", market = {written(ground.market)} }}')
    else:
        note = '   # ASSUMED: what you pay; or basis = "spot" with a market (tieline config markets)'
        lines.append(
            f'contract = {{ basis = "fixed", fixed_usd_per_mwh = {price:g} }}' + ("" if ground.usd_per_mwh else note)
        )
    cooling = {RIG_MODELS[rig.model].cooling for rig in rigs}
    if cooling != {"air"}:
        most = Counter(RIG_MODELS[rig.model].cooling for rig in rigs).most_common(1)[0][0]
        lines.append(f"cooling = {written(most)}")
    lines.append("rigs = [")
    groups: dict[tuple[str, str], list[str]] = {}
    for rig in rigs:
        groups.setdefault((rig.model, rig.firmware), []).append(rig.address)
    for (model, firmware), addresses in groups.items():
        spans = ", ".join(written(span) for span in address_spans(addresses))
        lines.append(f"  {{ model = {written(model)}, firmware = {written(firmware)}, addresses = [{spans}] }},")
    return "\n".join([*lines, "]", ""])


def address_spans(addresses: Iterable[str]) -> list[str]:
    """`10.0.7.1-12` for neighbours of one /24, in order."""
    spans: list[tuple[ipaddress.IPv4Address, ipaddress.IPv4Address]] = []
    for address in sorted(ipaddress.IPv4Address(one) for one in addresses):
        if spans and address == spans[-1][1] + 1 and int(address) >> 8 == int(spans[-1][0]) >> 8:
            spans[-1] = (spans[-1][0], address)
        else:
            spans.append((address, address))
    return [str(low) if low == high else f"{low}-{int(high) & 255}" for low, high in spans]


def _figure(name: str, value: float, assumed: bool, why: str) -> str:
    return f"{name} = {value:g}" + (f"   # ASSUMED: {why}" if assumed else "")


def _mw(mw: float) -> str:
    return f"{mw:,.2f} MW" if mw >= 1 else f"{mw * 1e3:,.1f} kW"


def site_id(name: str) -> str:
    plain = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")[:63]
    if not plain:
        raise SheetError(f"site {name!r} gives no id; use letters and digits")
    return plain


_HEAD = """\
# Made by `tieline init`: {rigs} rigs at {sites} sites. What nobody gave is marked as ASSUMED; read those lines first.
#
#     tieline config check fleet.toml
#     tieline up --config fleet.toml
#     tieline observe                    # next day: what the plans would have earned
#
# Nothing is sent to a rig while its site says mode = "observe".

[fleet]
name = {name}
invented = false              # so nothing is made up: what has no source is missing

[feeds]
source = "auto"               # live where a source answers; live power prices: pip install 'tieline[grid]'

[pool]
simulated = false             # payouts are entered: tieline books add payout, tieline import payouts
"""

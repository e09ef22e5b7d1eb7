"""Tagged facts of regulatory filings: SEC companyfacts and the filing's own instance.

Pure: bytes in, facts out. Filers agree on the concept (`CryptoAssetNumberOfUnits`, `CryptoAssetFairValue`) and
not on its unit: bitcoin, BTC, pure, shares. A count is taken as bitcoin only where the unit or a dimension says
so; else it is left out and the remark says which unit it had (`bitcoin_units` lets a person vouch for one).
companyfacts leaves out every fact with a dimension, so pledged coins and coins by name are in the instance.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from tieline.disclosures.facts.claims import MAX_VALUE
from tieline.disclosures.facts.fact import Fact
from tieline.disclosures.facts.fields import unit_of
from tieline.disclosures.facts.periods import is_date

# An instance of a large filer has some megabytes; companyfacts up to twenty.
MAX_BYTES = 64 * 2**20

_NUMBER, _FAIR_VALUE, _COST = "CryptoAssetNumberOfUnits", "CryptoAssetFairValue", "CryptoAssetCost"
_CONCEPTS = {_NUMBER, _FAIR_VALUE, _COST}
_BITCOIN = re.compile(r"bitcoin|btc|xbt", re.IGNORECASE)
# Wrapped or staked bitcoin is another coin's promise of bitcoin; bitcoin cash is another coin.
_NOT_BITCOIN = re.compile(r"bitcoin[-_ ]?(?:cash|sv|gold)|wrapped|w[-_ ]?btc|miner|equipment", re.IGNORECASE)
_COIN_AXIS = re.compile(r"crypto|digital|intangible", re.IGNORECASE)
_XBRLI = "{http://www.xbrl.org/2003/instance}"
_DIMENSION = "{http://xbrl.org/2006/xbrldi}explicitMember"
_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"


class Tagged(msgspec.Struct, frozen=True, kw_only=True):
    """What one file of tagged facts gave."""

    facts: tuple[Fact, ...] = ()
    filed: tuple[str | None, ...] = ()
    """For each fact, the day of the filing that it is from, where the file says."""
    notes: tuple[str, ...] = ()
    refused: str | None = None


Dimensions = tuple[tuple[str, str], ...]
"""(axis, member) of a fact's context, sorted."""


def companyfacts(body: bytes, issuer: str, bitcoin_units: Iterable[str] = ()) -> Tagged:
    """Facts without dimensions from SEC companyfacts, each from the first filing that printed it and again
    from a later one that printed another value."""
    if len(body) > MAX_BYTES:
        return Tagged(refused=f"{len(body):,} bytes are more than companyfacts has")
    try:
        concepts = json.loads(body, parse_float=Decimal, parse_int=Decimal)["facts"]
        gaap: dict[str, Any] = concepts.get("us-gaap", {})
        claims = [
            (concept, unit, entry)
            for concept in sorted(_CONCEPTS & set(gaap))
            for unit, entries in gaap[concept]["units"].items()
            for entry in entries
            if isinstance(entry, dict)
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return Tagged(refused=f"no companyfacts: {type(error).__name__} {error}")
    facts, filed, notes = [], [], []
    vouched = frozenset(bitcoin_units)
    last: dict[tuple[str, str], Decimal] = {}
    for concept, unit, entry in sorted(claims, key=lambda row: str(row[2].get("filed", ""))):
        value, end = _number(entry.get("val")), str(entry.get("end", ""))
        if value is None or not is_date(end):
            notes.append(f"{concept} [{unit}]: an entry without a value or date was left out")
            continue
        field = _field(concept, unit, (), vouched)
        if field is None:
            notes.append(f"{concept} in {unit!r} at {end}: the unit does not say bitcoin; left out")
            continue
        if last.get((field, end)) == value:
            continue
        restated = (field, end) in last
        last[field, end] = value
        where = f"companyfacts us-gaap:{concept} [{unit}] {entry.get('accn', '')} {entry.get('form', '')}".strip()
        facts.append(_fact(issuer, end, field, value, None, where, restated))
        filed.append(str(entry["filed"]) if is_date(str(entry.get("filed", ""))) else None)
    return Tagged(facts=tuple(facts), filed=tuple(filed), notes=tuple(dict.fromkeys(notes)))


def instance(body: bytes, issuer: str, bitcoin_units: Iterable[str] = ()) -> Tagged:
    """Facts of a filing's extracted instance, with their dimensions as scope."""
    if len(body) > MAX_BYTES:
        return Tagged(refused=f"{len(body):,} bytes are more than an instance has")
    # An instance has no document type; one that has could swell on reading.
    if b"<!DOCTYPE" in body[:4096] or b"<!ENTITY" in body:
        return Tagged(refused="no instance: it declares a document type")
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        return Tagged(refused=f"no instance: {error}")
    if root.tag != f"{_XBRLI}xbrl":
        return Tagged(refused=f"no instance: the root is {_local(root.tag)}")
    contexts, units = dict(_contexts(root)), dict(_units(root))
    vouched = frozenset(bitcoin_units)
    facts, notes = [], []
    for element in root:
        concept = _local(element.tag)
        if concept not in _CONCEPTS or element.get(_NIL) == "true":
            continue
        end, dimensions = contexts.get(element.get("contextRef", ""), ("", ()))
        unit = units.get(element.get("unitRef", ""), "")
        if not end:
            notes.append(f"{concept}: its context is missing; left out")
            continue
        value = _number(element.text)
        if value is None:
            notes.append(f"{concept} at {end}: {element.text!r} is no number; left out")
            continue
        field = _field(concept, unit, dimensions, vouched)
        if field is None:
            notes.append(f"{concept} in {unit!r} at {end}: nothing says bitcoin; left out")
            continue
        where = f"{concept} [{unit}] " + " ".join(f"{axis}={member}" for axis, member in dimensions)
        facts.append(_fact(issuer, end, field, value, _scope(dimensions), where.strip(), False))
    unique = tuple(dict.fromkeys(facts))
    return Tagged(facts=unique, filed=(None,) * len(unique), notes=tuple(dict.fromkeys(notes)))


def _number(given: object) -> Decimal | None:
    """None for what is no number, or none that a balance sheet holds."""
    try:
        value = Decimal(str(given).strip())
    except InvalidOperation:
        return None
    return value if value.is_finite() and value.copy_abs() <= MAX_VALUE else None


def _is_bitcoin(name: str) -> bool:
    return _BITCOIN.search(name) is not None and not _NOT_BITCOIN.search(name)


def _field(concept: str, unit: str, dimensions: Dimensions, vouched: frozenset[str]) -> str | None:
    """The field of a tagged fact; None where it is not certain that bitcoin is meant."""
    coins = [member for axis, member in dimensions if _COIN_AXIS.search(axis)]
    named = any(map(_is_bitcoin, coins))
    of_bitcoin = named or unit in vouched or _is_bitcoin(unit)
    if concept == _NUMBER and (named or not coins):
        return "btc_on_balance" if of_bitcoin else None
    if (coins and not named) or unit.upper() != "USD":
        return None
    if concept == _COST:
        return "cost_basis_kusd" if named else None
    # Without a coin's name the value is that of all coins together.
    return "btc_fair_value_usd" if named else "cryptocurrencies_usd"


def _fact(issuer: str, end: str, field: str, value: Decimal, scope: str | None, where: str, restated: bool) -> Fact:
    unit = unit_of(field)
    return Fact(
        issuer=issuer, period=end, field=field, value=value / 1000 if unit == "kUSD" else value, unit=unit,
        scope=scope, quote=where, printed=f"{value:f}", rule="xbrl", restated=restated,
    )  # fmt: skip


def _scope(dimensions: Dimensions) -> str | None:
    """What else the dimensions say: pledged, a custodian. The coin itself is no scope: it is the field."""
    names = (_local(member).removesuffix("Member") for _, member in dimensions)
    return ", ".join(name for name in names if not _BITCOIN.fullmatch(name.removesuffix("Asset"))) or None


def _contexts(root: ElementTree.Element) -> Iterator[tuple[str, tuple[str, Dimensions]]]:
    """Of each context the last day and the dimensions."""
    for element in root.iter(f"{_XBRLI}context"):
        end = element.findtext(f"{_XBRLI}period/{_XBRLI}instant") or element.findtext(f"{_XBRLI}period/{_XBRLI}endDate")
        name = element.get("id")
        if name is None or end is None or not is_date(end.strip()):
            continue
        members = ((one.get("dimension", ""), (one.text or "").strip()) for one in element.iter(_DIMENSION))
        yield name, (end.strip(), tuple(sorted(members)))


def _units(root: ElementTree.Element) -> Iterator[tuple[str, str]]:
    for element in root.iter(f"{_XBRLI}unit"):
        measure = element.findtext(f"{_XBRLI}measure")
        if (name := element.get("id")) is not None and measure is not None:
            yield name, _local(measure.strip())


def _local(name: str) -> str:
    """A name without its namespace or prefix."""
    return re.split("[}:]", name)[-1]
